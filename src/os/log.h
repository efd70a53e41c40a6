/* One line of log to stderr:
 *
 *     2026-11-22T16:00:00.123Z node-1 info  peer node-2 (0a1b2c3d) is up
 *
 * A line leaves in one write, so that lines of several processes on one terminal do not mix. Control characters
 * (a name that a stranger sent) come out as '?'.
 */
#ifndef GRAMME_OS_LOG_H
#define GRAMME_OS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX_BYTES 1024u /* longer: cut */

enum log_level { LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* What stands after the time, for all of this process; until then "gramme". Copied. */
void log_set_name(const char *name);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For what strangers can cause: at most one line in LOG_LIMIT_MS of each kind. */
#define LOG_LIMIT_MS 10000u
struct log_limit {
  bool used;
  uint64_t last_ms;
  uint64_t withheld; /* since the last line */
};
/* May a line be written now? Then `*withheld` tells how many were not since the last one. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t *withheld);

#endif
