#include "os/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

static char log_name[NAME_MAX_BYTES + 16] = "gramme";

static const char *level_text(enum log_level level) {
  switch (level) {
  case LOG_LEVEL_INFO:
    return "info";
  case LOG_LEVEL_WARN:
    return "warn";
  case LOG_LEVEL_ERROR:
    return "error";
  }
  return "error";
}

void log_set_name(const char *name) {
  snprintf(log_name, sizeof(log_name), "%s", name);
}

void log_line(enum log_level level, const char *format, ...) {
  char line[LOG_LINE_MAX_BYTES];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  struct tm utc;
  gmtime_r(&now.tv_sec, &utc);
  size_t size = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
  int more = snprintf(line + size, sizeof(line) - size, ".%03dZ %s %-5s ", (int)(now.tv_nsec / 1000000), log_name,
                      level_text(level));
  size += more > 0 ? (size_t)more : 0;
  va_list arguments;
  va_start(arguments, format);
  more = vsnprintf(line + size, sizeof(line) - size, format, arguments);
  va_end(arguments);
  size += more > 0 ? (size_t)more : 0;
  if (size > sizeof(line) - 1) {
    size = sizeof(line) - 1;
  }
  for (size_t i = 0; i < size; i += 1) {
    if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
      line[i] = '?';
    }
  }
  line[size] = '\n';
  /* A log that can not be written is no reason to stop. */
  ssize_t written = write(STDERR_FILENO, line, size + 1);
  (void)written;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t *withheld) {
  if (limit->used && now_ms - limit->last_ms < LOG_LIMIT_MS) {
    limit->withheld += 1;
    return false;
  }
  *withheld = limit->withheld;
  limit->used = true;
  limit->last_ms = now_ms;
  limit->withheld = 0;
  return true;
}
