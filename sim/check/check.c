#include "check.h"

#include <stdarg.h>
#include <stdio.h>

#include "run.h"

static const char *const names[CHECK_COUNT] = {
#define X(name, claim) #name,
    CHECK_TABLE(X)
#undef X
};

static const char *const claims[CHECK_COUNT] = {
#define X(name, claim) claim,
    CHECK_TABLE(X)
#undef X
};

const char *check_name(enum check check) {
  return names[check];
}

const char *check_claim(enum check check) {
  return claims[check];
}

void check_fail(struct run *run, enum check check, uint32_t key, const char *format, ...) {
  struct checks *checks = &run->checks;
  char text[CHECK_TEXT_BYTES];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (checks->failed[check] == 0) {
    checks->key[check] = key;
    (void)snprintf(checks->text[check], sizeof checks->text[check], "%s", text);
  }
  checks->failed[check] += 1;
  story_tell(run->story, key == CHECK_NO_KEY ? STORY_ALL : key, "** %s: %s", names[check], text);
}
