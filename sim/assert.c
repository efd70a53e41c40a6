#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line) {
  (void)fflush(stdout);
  (void)fprintf(stderr, "gramme-sim: %s:%d: %s does not hold\n", file, line, expression);
  abort();
}
