/* What a failed ASSERT does in the program: one line on stderr, then an abort, so that a supervisor starts the node
 * anew and a core dump shows where. Nothing is flushed: our own state is not to be trusted any more. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line) {
  fprintf(stderr, "gramme: this is a bug: %s:%d: assertion failed: %s\n", file, line, expression);
  abort();
}
