/* ASSERT is for our own bugs and stays on in release; COUNT is for what the
 * outside world may do to us. A failed ASSERT ends the process through
 * `assert_failed`, which the driver supplies (the core has no output). */
#ifndef GRAMME_BASE_ASSERT_H
#define GRAMME_BASE_ASSERT_H

#include <stdint.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line);

#define ASSERT(expression)                            \
  do {                                                \
    if (__builtin_expect(!(expression), 0)) {         \
      assert_failed(#expression, __FILE__, __LINE__); \
    }                                                 \
  } while (0)

#define COUNT(counter) ((counter) += 1)

#endif
