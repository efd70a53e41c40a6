/* The histogram against a sorted array of the samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hist.h"
#include "base/prng.h"

#define SAMPLES 20000u

static struct hist hist;
static struct hist other;

static int hist_setup(void **state) {
  (void)state;
  memset(&hist, 0xa5, sizeof hist);
  hist_init(&hist);
  hist_init(&other);
  return 0;
}

static void an_empty_histogram_says_zero(void **state) {
  (void)state;
  assert_true(hist_percentile(&hist, 99900) == 0);
  assert_true(hist.total == 0 && hist.max == 0 && hist.sum == 0);
}

static void one_sample_is_every_percentile(void **state) {
  (void)state;
  hist_record(&hist, 123456789);
  assert_true(hist_percentile(&hist, 0) == 123456789);
  assert_true(hist_percentile(&hist, 50000) == 123456789);
  assert_true(hist_percentile(&hist, 100000) == 123456789);
  assert_true(hist.sum == 123456789);
}

static void small_values_are_exact(void **state) {
  (void)state;
  for (uint64_t value = 1; value <= 100; value++) {
    hist_record(&hist, value);
  }
  assert_true(hist_percentile(&hist, 1000) == 1);
  assert_true(hist_percentile(&hist, 50000) == 50);
  assert_true(hist_percentile(&hist, 64000) == 64);
  assert_true(hist_percentile(&hist, 100000) == 100);
}

static void the_largest_values_fit(void **state) {
  (void)state;
  hist_record(&hist, UINT64_MAX);
  hist_record(&hist, UINT64_MAX - 1);
  assert_true(hist_percentile(&hist, 100000) == UINT64_MAX);
  assert_true(hist.sum == UINT64_MAX); /* it saturates */
  assert_true(hist.counts[HIST_BUCKETS - 1] == 2);
}

static void neighbours_of_every_power_of_two_are_ordered(void **state) {
  (void)state;
  for (unsigned bit = 1; bit < 64; bit++) {
    const uint64_t power = UINT64_C(1) << bit;
    hist_init(&hist);
    hist_record(&hist, power - 1);
    hist_record(&hist, power);
    hist_record(&hist, power + power / 2);
    const uint64_t low = hist_percentile(&hist, 33333);
    const uint64_t middle = hist_percentile(&hist, 66666);
    assert_true(low == power - 1);
    assert_true(middle >= power && middle - power <= power / 64);
    assert_true(hist_percentile(&hist, 100000) == power + power / 2);
  }
}

static int value_compare(const void *a, const void *b) {
  uint64_t left = 0;
  uint64_t right = 0;
  memcpy(&left, a, sizeof left);
  memcpy(&right, b, sizeof right);
  return (left > right) - (left < right);
}

static void percentiles_are_within_a_64th_of_the_truth(void **state) {
  (void)state;
  static uint64_t samples[SAMPLES];
  struct prng prng;
  prng_init(&prng, 11);
  for (size_t i = 0; i < SAMPLES; i++) {
    const uint64_t draw = prng_u64(&prng);
    samples[i] = draw >> prng_below(&prng, 64); /* all magnitudes */
    hist_record(i % 2 == 0 ? &hist : &other, samples[i]);
  }
  hist_merge(&hist, &other);
  qsort(samples, SAMPLES, sizeof samples[0], value_compare);
  assert_true(hist.total == SAMPLES);
  assert_true(hist.max == samples[SAMPLES - 1]);
  for (uint32_t per_100k = 5; per_100k <= 100000; per_100k += 5) {
    const uint64_t rank = ((uint64_t)SAMPLES * per_100k + 99999) / 100000;
    const uint64_t truth = samples[rank - 1];
    const uint64_t said = hist_percentile(&hist, per_100k);
    assert_true(said >= truth);
    assert_true(said - truth <= truth / 64);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(an_empty_histogram_says_zero, hist_setup),
      cmocka_unit_test_setup(one_sample_is_every_percentile, hist_setup),
      cmocka_unit_test_setup(small_values_are_exact, hist_setup),
      cmocka_unit_test_setup(the_largest_values_fit, hist_setup),
      cmocka_unit_test_setup(neighbours_of_every_power_of_two_are_ordered, hist_setup),
      cmocka_unit_test_setup(percentiles_are_within_a_64th_of_the_truth, hist_setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
