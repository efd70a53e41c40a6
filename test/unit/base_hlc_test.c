#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hlc.h"
#include "base/prng.h"

static void readings_follow_the_wall_clock(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, 0);
  assert_true(hlc_tick(&hlc, 1000) == hlc_make(1000, 0));
  assert_true(hlc_tick(&hlc, 1001) == hlc_make(1001, 0));
  assert_true(hlc_ms(hlc.last) == 1001);
}

static void readings_of_one_millisecond_increase(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, 0);
  assert_true(hlc_tick(&hlc, 5) == hlc_make(5, 0));
  assert_true(hlc_tick(&hlc, 5) == hlc_make(5, 1));
  assert_true(hlc_tick(&hlc, 5) == hlc_make(5, 2));
}

static void a_wall_clock_that_jumps_back_does_not_take_readings_back(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, 0);
  const uint64_t before = hlc_tick(&hlc, 1000000);
  assert_true(hlc_tick(&hlc, 3) == before + 1);
  assert_true(hlc_tick(&hlc, 0) == before + 2);
}

static void a_counter_that_runs_over_moves_the_milliseconds(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, hlc_make(7, UINT16_MAX));
  assert_true(hlc_tick(&hlc, 7) == hlc_make(8, 0));
}

static void readings_are_above_the_floor(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, hlc_make(5000, 9));
  assert_true(hlc_tick(&hlc, 1) == hlc_make(5000, 10));
}

static void a_remote_reading_is_overtaken(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, 0);
  hlc_observe(&hlc, hlc_make(2000, 5), 1000);
  assert_true(hlc_tick(&hlc, 1000) == hlc_make(2000, 6));
  hlc_observe(&hlc, hlc_make(10, 0), 1000); /* an older one does nothing */
  assert_true(hlc_tick(&hlc, 1000) == hlc_make(2000, 7));
  assert_true(hlc.ahead_count == 0);
}

static void a_mad_clock_is_counted_and_not_followed(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, 0);
  hlc_observe(&hlc, hlc_make(1000 + HLC_AHEAD_MAX_MS, UINT16_MAX), 1000); /* just within */
  assert_true(hlc.ahead_count == 0);
  assert_true(hlc_ms(hlc.last) == 1000 + HLC_AHEAD_MAX_MS);
  const uint64_t before = hlc.last;
  hlc_observe(&hlc, hlc_make(1001 + HLC_AHEAD_MAX_MS, 0), 1000);
  hlc_observe(&hlc, UINT64_MAX, 1000);
  hlc_observe(&hlc, UINT64_MAX, UINT64_MAX);
  assert_true(hlc.ahead_count == 3);
  assert_true(hlc.last == before);
}

static void whatever_clocks_do_readings_strictly_increase(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 3);
  struct hlc hlc;
  hlc_init(&hlc, 0);
  uint64_t last = 0;
  uint64_t floor = 0;
  uint64_t wall_ms = 100000;
  for (unsigned round = 0; round < 100000; round++) {
    const uint64_t jump = prng_below(&prng, 50);
    wall_ms = prng_chance(&prng, 500) ? wall_ms + jump : wall_ms - jump;
    if (prng_chance(&prng, 300)) {
      const uint64_t ahead_ms = prng_below(&prng, UINT64_C(2) * HLC_AHEAD_MAX_MS);
      const uint64_t remote = hlc_make(wall_ms + ahead_ms, (uint16_t)round);
      hlc_observe(&hlc, remote, wall_ms);
      if (ahead_ms <= HLC_AHEAD_MAX_MS && remote > floor) {
        floor = remote;
      }
    } else {
      const uint64_t reading = hlc_tick(&hlc, wall_ms);
      assert_true(reading > last);
      assert_true(reading > floor);
      assert_true(hlc_ms(reading) >= wall_ms);
      last = reading;
    }
  }
}

static void a_reading_after_what_was_seen_is_above_it(void **state) {
  (void)state;
  struct hlc hlc;
  hlc_init(&hlc, 0);
  assert_true(hlc_tick_after(&hlc, hlc_make(2000, 5), 1000) == hlc_make(2000, 6));
  assert_true(hlc_tick(&hlc, 1000) == hlc_make(2000, 7)); /* the clock goes on from there */
  assert_true(hlc_tick_after(&hlc, hlc_make(1500, 0), 1000) == hlc_make(2000, 8));
  const uint64_t mad = hlc_make(UINT64_C(2) * HLC_AHEAD_MAX_MS, 0);
  assert_true(hlc_tick_after(&hlc, mad, 1000) == mad + 1);
  assert_true(hlc_tick(&hlc, 1000) < hlc_make(2001, 0)); /* a mad one does not drag it along */
  assert_true(hlc_tick_after(&hlc, UINT64_MAX, 1000) < mad);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(readings_follow_the_wall_clock),
      cmocka_unit_test(readings_of_one_millisecond_increase),
      cmocka_unit_test(a_wall_clock_that_jumps_back_does_not_take_readings_back),
      cmocka_unit_test(a_counter_that_runs_over_moves_the_milliseconds),
      cmocka_unit_test(readings_are_above_the_floor),
      cmocka_unit_test(a_remote_reading_is_overtaken),
      cmocka_unit_test(a_mad_clock_is_counted_and_not_followed),
      cmocka_unit_test(whatever_clocks_do_readings_strictly_increase),
      cmocka_unit_test(a_reading_after_what_was_seen_is_above_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
