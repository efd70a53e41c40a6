/* A minute of measurements against all of them, kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hist.h"
#include "base/prng.h"
#include "base/window.h"

#define SECOND UINT64_C(1000000000)
#define SAMPLES 3000u

static struct window window;

static int begin(void **state) {
  (void)state;
  memset(&window, 0, sizeof window);
  return 0;
}

static void what_nobody_measured_is_0(void **state) {
  (void)state;
  assert_int_equal(window_percentile(&window, 5 * SECOND, 99900), 0);
}

static void a_measurement_is_seen_for_50_seconds_and_forgotten_after_60(void **state) {
  (void)state;
  for (uint64_t at = 100; at < 110; at++) {
    begin(state);
    window_record(&window, at * SECOND, 77);
    assert_int_equal(window_percentile(&window, (at + 50) * SECOND, 99900), 77);
    assert_int_equal(window_percentile(&window, (at + 60) * SECOND, 99900), 0);
  }
}

static void a_long_rest_forgets_everything(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 60; i++) {
    window_record(&window, i * SECOND, 5);
  }
  assert_int_equal(window_percentile(&window, UINT64_C(1) << 60, 50000), 0);
  window_record(&window, UINT64_C(1) << 60, 9);
  assert_int_equal(window_percentile(&window, UINT64_C(1) << 60, 50000), 9);
}

static void percentiles_are_those_of_one_histogram_of_the_minute(void **state) {
  (void)state;
  static struct hist wanted;
  static uint64_t times[SAMPLES];
  static uint64_t values[SAMPLES];
  struct prng prng;
  uint64_t now_ns = 7 * SECOND;
  prng_init(&prng, 3);
  for (uint32_t i = 0; i < SAMPLES; i++) {
    now_ns += prng_below(&prng, SECOND / 10);
    times[i] = now_ns;
    uint64_t magnitude = prng_below(&prng, 40);
    values[i] = prng_u64(&prng) >> (20 + magnitude);
    window_record(&window, times[i], values[i]);
    if (i % 50 != 0) {
      continue;
    }
    hist_init(&wanted);
    for (uint32_t k = 0; k <= i; k++) {
      if (times[k] / WINDOW_PIECE_NS + WINDOW_PIECES > now_ns / WINDOW_PIECE_NS) {
        hist_record(&wanted, values[k]);
      }
    }
    for (uint32_t per_100k = 0; per_100k <= 100000; per_100k += 12475) {
      assert_int_equal(window_percentile(&window, now_ns, per_100k), hist_percentile(&wanted, per_100k));
    }
    assert_int_equal(window_percentile(&window, now_ns, 99900), hist_percentile(&wanted, 99900));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(what_nobody_measured_is_0, begin),
      cmocka_unit_test_setup(a_measurement_is_seen_for_50_seconds_and_forgotten_after_60, begin),
      cmocka_unit_test_setup(a_long_rest_forgets_everything, begin),
      cmocka_unit_test_setup(percentiles_are_those_of_one_histogram_of_the_minute, begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
