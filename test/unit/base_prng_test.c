#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"

static void the_same_seed_draws_the_same(void **state) {
  (void)state;
  struct prng a;
  struct prng b;
  struct prng c;
  prng_init(&a, 99);
  prng_init(&b, 99);
  prng_init(&c, 100);
  unsigned same = 0;
  for (unsigned i = 0; i < 1000; i++) {
    const uint64_t draw = prng_u64(&a);
    assert_true(draw == prng_u64(&b));
    same += draw == prng_u64(&c);
  }
  assert_int_equal(same, 0);
}

static void seed_zero_is_as_good_as_any(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 0);
  unsigned ones = 0;
  for (unsigned i = 0; i < 10000; i++) {
    ones += (unsigned)__builtin_popcountll(prng_u64(&prng));
  }
  assert_in_range(ones, 320000 - 3000, 320000 + 3000); /* seven standard deviations */
}

static void draws_below_a_limit_reach_all_of_it_and_no_more(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 1);
  assert_true(prng_below(&prng, 1) == 0);
  unsigned counts[7] = {0};
  for (unsigned i = 0; i < 70000; i++) {
    const uint64_t draw = prng_below(&prng, 7);
    assert_true(draw < 7);
    counts[draw]++;
  }
  for (unsigned i = 0; i < 7; i++) {
    assert_in_range(counts[i], 9400, 10600);
  }
}

static void draws_below_three_quarters_of_all_are_not_biased(void **state) {
  (void)state;
  /* Without drawing again, the lowest third of this range would be twice as likely as the rest. */
  struct prng prng;
  prng_init(&prng, 2);
  const uint64_t quarter = UINT64_C(1) << 62;
  unsigned low = 0;
  for (unsigned i = 0; i < 30000; i++) {
    low += prng_below(&prng, 3 * quarter) < quarter;
  }
  assert_in_range(low, 9400, 10600);
}

static void chances_are_per_mille(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 3);
  unsigned hits = 0;
  for (unsigned i = 0; i < 100000; i++) {
    assert_false(prng_chance(&prng, 0));
    assert_true(prng_chance(&prng, 1000));
    hits += prng_chance(&prng, 100);
  }
  assert_in_range(hits, 9300, 10700);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_same_seed_draws_the_same),
      cmocka_unit_test(seed_zero_is_as_good_as_any),
      cmocka_unit_test(draws_below_a_limit_reach_all_of_it_and_no_more),
      cmocka_unit_test(draws_below_three_quarters_of_all_are_not_biased),
      cmocka_unit_test(chances_are_per_mille),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
