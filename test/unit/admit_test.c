/* Admission by itself: how the level goes with what clients wait for, and that there is always something granted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "admit/admit.h"
#include "base/limits.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define MB UINT64_C(1000000)
#define TARGET (50 * MS)

static struct admit admit;
static struct admit_settings settings;
static uint64_t now_ns;

static int begin(void **state) {
  (void)state;
  memset(&admit, 0, sizeof admit);
  admit_init(&admit);
  settings = (struct admit_settings){.bytes_per_s = 64 * MB, .target_ns = TARGET};
  now_ns = 1000 * SECOND;
  return 0;
}

/* Seconds in each of which so many requests take so long. */
static void pass(uint32_t seconds, uint32_t requests, uint64_t took_ns) {
  for (uint32_t i = 0; i < seconds; i++) {
    for (uint32_t k = 0; k < requests; k++) {
      admit_note(&admit, &settings, now_ns + k, took_ns);
    }
    now_ns += SECOND;
    admit_tick(&admit, &settings, now_ns);
  }
}

/* What a kind, that always has some to do, takes in so many seconds, in slices of that size, with what slices cost. */
static uint64_t work(enum admit_kind kind, uint32_t seconds, uint64_t slice) {
  uint64_t end_ns = now_ns + seconds * SECOND;
  uint64_t taken = 0;
  while (now_ns < end_ns) {
    uint64_t due_ns = now_ns + MS;
    if (admit_may(&admit, &settings, kind, 0, now_ns, &due_ns)) {
      admit_spend(&admit, &settings, kind, slice);
      taken += slice + ADMIT_SLICE_BYTES;
      due_ns = now_ns;
    }
    assert_true(due_ns <= now_ns + SECOND); /* it is asked again soon */
    now_ns = due_ns;
  }
  return taken;
}

static void assert_about(uint64_t value, uint64_t wanted) {
  assert_in_range(value, wanted - wanted / 10, wanted + wanted / 10);
}

static void without_clients_all_is_granted(void **state) {
  (void)state;
  pass(ADMIT_QUIET, 0, 0);
  (void)work(ADMIT_TRANSFER, 2, 100000); /* what had gathered before */
  assert_about(work(ADMIT_TRANSFER, 10, 100000), 10 * settings.bytes_per_s);
}

/* A second in which somebody is made to wait. */
static void strive(uint32_t seconds, uint32_t requests, uint64_t took_ns) {
  for (uint32_t i = 0; i < seconds; i++) {
    (void)work(ADMIT_EXCHANGE, 1, 10000);
    now_ns -= SECOND;
    pass(1, requests, took_ns);
  }
}

static void where_there_are_clients_work_begins_with_little_and_rises_while_somebody_waits(void **state) {
  (void)state;
  pass(60, 100, MS);
  assert_int_equal(admit.start, ADMIT_FIRST);
  assert_int_equal(admit.level, ADMIT_WHOLE);
  strive(10, 100, MS);
  assert_int_equal(admit.start, ADMIT_FIRST + 10 * ADMIT_START_RISE);
  (void)work(ADMIT_EXCHANGE, 2, 10000); /* what had gathered before */
  uint64_t rate = settings.bytes_per_s - BACKGROUND_FLOOR_BYTES;
  assert_about(work(ADMIT_EXCHANGE, 1, 10000), BACKGROUND_FLOOR_BYTES + rate * admit.start / ADMIT_WHOLE);
  strive((ADMIT_WHOLE - admit.start) / ADMIT_START_RISE, 100, MS);
  assert_int_equal(admit.start, ADMIT_WHOLE);
}

static void when_nobody_waits_it_falls_back(void **state) {
  (void)state;
  pass(1, 100, MS);
  strive(20, 100, MS);
  uint32_t before = admit.start;
  assert_true(before > ADMIT_FIRST);
  pass(3, 100, MS);
  assert_true(admit.start < before);
  pass(60, 100, MS);
  assert_int_equal(admit.start, ADMIT_FIRST);
}

static void the_halving_begins_at_what_work_has_come_to(void **state) {
  (void)state;
  pass(1, 100, MS);
  strive(15, 100, MS);
  uint32_t before = admit.start;
  strive(1, 100, TARGET);
  assert_int_equal(admit.level, before / 2);
}

static void who_works_at_nothing_falls_by_half_and_not_to_the_start(void **state) {
  (void)state;
  pass(60, 100, MS);
  assert_int_equal(admit.start, ADMIT_FIRST);
  pass(1, 100, TARGET);
  assert_int_equal(admit.level, ADMIT_WHOLE / 2);
}

static void a_node_that_was_just_started_waits_for_its_clients_to_return(void **state) {
  (void)state;
  pass(ADMIT_QUIET - 1, 0, 0);
  assert_int_equal(admit.start, ADMIT_FIRST);
  pass(1, 100, MS);
  pass(60, 100, MS);
  assert_int_equal(admit.start, ADMIT_FIRST);
  pass(45, 0, 0); /* of the minute that is looked at */
  assert_int_equal(admit.start, ADMIT_FIRST);
  pass(30 + ADMIT_QUIET, 0, 0);
  assert_int_equal(admit.start, ADMIT_WHOLE);
  pass(1, 100, MS);
  assert_int_equal(admit.start, ADMIT_FIRST);
}

/* A thousand small slices are more work than one that is as large. */
static void a_slice_costs_something_besides_its_bytes(void **state) {
  (void)state;
  pass(ADMIT_QUIET, 0, 0);
  (void)work(ADMIT_HINTS, 2, 1); /* what had gathered before */
  uint64_t before = admit.lines[ADMIT_HINTS].spent_bytes;
  assert_about(work(ADMIT_HINTS, 10, 1), 10 * settings.bytes_per_s);
  assert_about((admit.lines[ADMIT_HINTS].spent_bytes - before) * (1 + ADMIT_SLICE_BYTES), 10 * settings.bytes_per_s);
}

static void quick_requests_do_not_hold_it_back(void **state) {
  (void)state;
  pass(60, 100, TARGET - MS);
  assert_int_equal(admit.level, ADMIT_WHOLE);
}

static void slow_requests_bring_it_down_to_the_floor_within_seconds(void **state) {
  (void)state;
  pass(60, 0, 0);
  pass(1, 1000, TARGET);
  assert_int_equal(admit.level, ADMIT_WHOLE / 2);
  pass(9, 1000, TARGET);
  assert_int_equal(admit.level, 0);
  assert_int_equal(admit_held_back(&admit), ADMIT_WHOLE);
}

static void one_slow_request_in_a_thousand_is_none_too_many(void **state) {
  (void)state;
  pass(60, 0, 0);
  for (uint32_t i = 0; i < 30; i++) {
    admit_note(&admit, &settings, now_ns, 10 * TARGET);
    pass(1, 999, MS);
  }
  assert_int_equal(admit.level, ADMIT_WHOLE);
  for (uint32_t i = 0; i < 60; i++) {
    admit_note(&admit, &settings, now_ns, 10 * TARGET);
    pass(1, 900, MS);
  }
  assert_int_equal(admit.level, 0);
}

static void it_is_never_granted_less_than_the_floor(void **state) {
  (void)state;
  pass(100, 1000, 100 * TARGET);
  assert_int_equal(admit.level, 0);
  (void)work(ADMIT_HINTS, 2, 10000); /* what had gathered before */
  assert_about(work(ADMIT_HINTS, 20, 10000), UINT64_C(20) * BACKGROUND_FLOOR_BYTES);
}

static void a_target_of_0_grants_the_floor_only(void **state) {
  (void)state;
  settings.target_ns = 0;
  pass(30, 0, 0);
  assert_int_equal(admit.level, 0);
  (void)work(ADMIT_EXCHANGE, 2, 10000);
  assert_about(work(ADMIT_EXCHANGE, 20, 10000), UINT64_C(20) * BACKGROUND_FLOOR_BYTES);
}

static void a_rate_below_the_floor_is_kept(void **state) {
  (void)state;
  settings.bytes_per_s = 20000;
  pass(60, 0, 0);
  (void)work(ADMIT_EXCHANGE, 2, 1000);
  assert_about(work(ADMIT_EXCHANGE, 20, 1000), UINT64_C(20) * 20000);
  pass(60, 1000, TARGET);
  assert_about(work(ADMIT_EXCHANGE, 20, 1000), UINT64_C(20) * 20000);
}

static void one_bad_moment_halves_it_once_and_a_good_minute_brings_it_back(void **state) {
  (void)state;
  pass(1, 0, 0);
  pass(1, 100, TARGET);
  assert_int_equal(admit.level, ADMIT_WHOLE / 2);
  pass(45, 100, MS);
  assert_int_equal(admit.level, ADMIT_WHOLE / 2);
  assert_true(admit.p999_ns >= TARGET);
  pass(30, 100, MS);
  assert_int_equal(admit.level, ADMIT_WHOLE);
  assert_true(admit.p999_ns < 2 * MS);
}

static void what_is_not_used_does_not_gather_beyond_a_second(void **state) {
  (void)state;
  pass(3600, 0, 0);
  assert_about(work(ADMIT_TRANSFER, 1, 100000), 2 * settings.bytes_per_s);
}

static void a_slice_larger_than_what_is_granted_is_waited_for_afterwards(void **state) {
  (void)state;
  uint64_t due_ns = 0;
  settings.bytes_per_s = 100000;
  assert_true(admit_may(&admit, &settings, ADMIT_GROW, 0, now_ns, &due_ns));
  admit_spend(&admit, &settings, ADMIT_GROW, 1100000);
  uint64_t start_ns = now_ns;
  while (!admit_may(&admit, &settings, ADMIT_GROW, 0, now_ns, &due_ns)) {
    assert_true(due_ns > now_ns);
    now_ns = due_ns;
  }
  assert_about((now_ns - start_ns) / MS, 10000);
}

static void kinds_that_want_to_work_share_evenly_and_none_starves(void **state) {
  (void)state;
  uint64_t spent[ADMIT_KINDS] = {0};
  pass(60, 1000, TARGET);
  uint64_t start_ns = now_ns + 2 * SECOND; /* what had gathered before is taken by then */
  uint64_t end_ns = start_ns + 40 * SECOND;
  /* The first of them always asks first, and takes large slices. */
  for (; now_ns < end_ns; now_ns += 5 * MS) {
    for (uint32_t kind = 0; kind < ADMIT_KINDS; kind++) {
      uint64_t due_ns = 0;
      uint64_t slice = kind == 0 ? 100000 : 1000;
      while (admit_may(&admit, &settings, kind, 0, now_ns, &due_ns)) {
        admit_spend(&admit, &settings, kind, slice);
        spent[kind] += now_ns < start_ns ? 0 : slice + ADMIT_SLICE_BYTES;
      }
    }
  }
  for (uint32_t kind = 0; kind < ADMIT_KINDS; kind++) {
    assert_about(spent[kind], 40 * BACKGROUND_FLOOR_BYTES / ADMIT_KINDS);
  }
}

static void who_rests_leaves_its_share_to_the_others(void **state) {
  (void)state;
  uint64_t due_ns = 0;
  pass(60, 1000, TARGET);
  assert_true(admit_may(&admit, &settings, ADMIT_HINTS, 0, now_ns, &due_ns));
  (void)work(ADMIT_EXCHANGE, 2, 1000);
  assert_about(work(ADMIT_EXCHANGE, 20, 1000), UINT64_C(20) * BACKGROUND_FLOOR_BYTES);
}

static void work_with_a_node_whose_clients_wait_goes_by_its_level(void **state) {
  (void)state;
  uint64_t due_ns = 0;
  uint64_t spent = 0;
  pass(60, 0, 0);
  uint64_t end_ns = now_ns + 20 * SECOND;
  for (; now_ns < end_ns; now_ns += MS) {
    while (admit_may(&admit, &settings, ADMIT_TRANSFER, ADMIT_WHOLE, now_ns, &due_ns)) {
      admit_spend(&admit, &settings, ADMIT_TRANSFER, 1000);
      spent += 1000 + ADMIT_SLICE_BYTES;
    }
  }
  assert_about(spent, UINT64_C(21) * BACKGROUND_FLOOR_BYTES);
  /* And with another it does not. */
  assert_about(work(ADMIT_TRANSFER, 10, 100000), 10 * settings.bytes_per_s);
}

static void without_a_rate_all_is_granted(void **state) {
  (void)state;
  uint64_t due_ns = 0;
  settings.bytes_per_s = 0;
  for (uint32_t i = 0; i < 100; i++) {
    assert_true(admit_may(&admit, &settings, ADMIT_TRANSFER, 0, now_ns, &due_ns));
    admit_spend(&admit, &settings, ADMIT_TRANSFER, 100 * MB);
  }
}

static void it_says_what_it_grants_and_why(void **state) {
  (void)state;
  struct admit_view view;
  pass(ADMIT_QUIET, 0, 0);
  strive(1, 100, 20 * MS); /* what is under way goes on */
  pass(10, 100, 20 * MS);  /* the first of them still sees somebody wait */
  admit_spend(&admit, &settings, ADMIT_HINTS, 12345);
  admit_describe(&admit, &settings, &view);
  assert_int_equal(view.level, ADMIT_WHOLE);
  assert_int_equal(view.start, ADMIT_WHOLE - 9 * ADMIT_START_RISE);
  assert_about(view.bytes_per_s, settings.bytes_per_s);
  assert_int_equal(view.target_ns, TARGET);
  assert_about(view.p999_ns, 20 * MS);
  assert_int_equal(view.spent_bytes[ADMIT_HINTS], 12345);
  pass(20, 100, TARGET);
  admit_describe(&admit, &settings, &view);
  assert_int_equal(view.level, 0);
  assert_int_equal(view.bytes_per_s, BACKGROUND_FLOOR_BYTES);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(without_clients_all_is_granted, begin),
      cmocka_unit_test_setup(where_there_are_clients_work_begins_with_little_and_rises_while_somebody_waits, begin),
      cmocka_unit_test_setup(when_nobody_waits_it_falls_back, begin),
      cmocka_unit_test_setup(who_works_at_nothing_falls_by_half_and_not_to_the_start, begin),
      cmocka_unit_test_setup(a_node_that_was_just_started_waits_for_its_clients_to_return, begin),
      cmocka_unit_test_setup(the_halving_begins_at_what_work_has_come_to, begin),
      cmocka_unit_test_setup(a_slice_costs_something_besides_its_bytes, begin),
      cmocka_unit_test_setup(quick_requests_do_not_hold_it_back, begin),
      cmocka_unit_test_setup(slow_requests_bring_it_down_to_the_floor_within_seconds, begin),
      cmocka_unit_test_setup(one_slow_request_in_a_thousand_is_none_too_many, begin),
      cmocka_unit_test_setup(it_is_never_granted_less_than_the_floor, begin),
      cmocka_unit_test_setup(a_target_of_0_grants_the_floor_only, begin),
      cmocka_unit_test_setup(a_rate_below_the_floor_is_kept, begin),
      cmocka_unit_test_setup(one_bad_moment_halves_it_once_and_a_good_minute_brings_it_back, begin),
      cmocka_unit_test_setup(what_is_not_used_does_not_gather_beyond_a_second, begin),
      cmocka_unit_test_setup(a_slice_larger_than_what_is_granted_is_waited_for_afterwards, begin),
      cmocka_unit_test_setup(kinds_that_want_to_work_share_evenly_and_none_starves, begin),
      cmocka_unit_test_setup(who_rests_leaves_its_share_to_the_others, begin),
      cmocka_unit_test_setup(work_with_a_node_whose_clients_wait_goes_by_its_level, begin),
      cmocka_unit_test_setup(without_a_rate_all_is_granted, begin),
      cmocka_unit_test_setup(it_says_what_it_grants_and_why, begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
