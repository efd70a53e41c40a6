#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "run.h"

_Noreturn void assert_failed(const char *expression, const char *file, int line) {
  const struct run *run = run_current();
  if (run != NULL) {
    printf("seed %" PRIu64 ", profile %s: assert: %s:%d: %s does not hold\n", run->plan.seed,
           profile_name(run->plan.profile), file, line, expression);
    if (run->story != NULL) {
      story_print(run->story, STORY_ALL);
    }
  }
  (void)fflush(stdout);
  (void)fprintf(stderr, "gramme-sim: %s:%d: %s does not hold\n", file, line, expression);
  abort();
}
