/* What a failed ASSERT does in a test: it fails the test, unless the test said with expect_assert_failure that the
 * assertion is what it wants to see. */
#include "base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line) {
  mock_assert(0, expression, file, line);
  abort(); /* mock_assert does not return */
}
