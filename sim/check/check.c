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

/* An object at its limit of siblings takes no more (limits.h): it stays apart from its replicas, and so do hints and
 * strays that it can not take. Such a run says nothing of what is to come to an end. */
static bool is_beyond_limits(const struct run *run, enum check check) {
  bool ends = check == CHECK_converge || check == CHECK_hints || check == CHECK_move || check == CHECK_live;
  return ends && run->oracle.siblings_max >= SIBLINGS_MAX;
}

void check_fail(struct run *run, enum check check, uint32_t key, const char *format, ...) {
  struct checks *checks = &run->checks;
  char text[CHECK_TEXT_BYTES];
  if (is_beyond_limits(run, check)) {
    return;
  }
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
