/* Dots, pasts and contexts: what each does, and what each refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "version/context.h"

#define X 11u
#define Y 12u
#define Z 13u

static struct past past_a, past_b;

static int test_setup(void **state) {
  (void)state;
  past_init(&past_a);
  past_init(&past_b);
  return 0;
}

static struct dot dot_of(uint32_t node, uint64_t time) {
  return (struct dot){.actor = {.incarnation = 1, .node = node}, .time = time};
}

static void assert_dot(struct dot actual, uint32_t node, uint64_t time) {
  assert_int_equal(actual.actor.node, node);
  assert_int_equal(actual.time, time);
}

/* -- pasts --------------------------------------------------------------- */

static void dots_are_ordered_by_node_then_incarnation_then_time(void **state) {
  (void)state;
  struct dot a = {.actor = {.incarnation = 9, .node = 1}, .time = 9};
  struct dot b = {.actor = {.incarnation = 1, .node = 2}, .time = 5};
  struct dot c = {.actor = {.incarnation = 2, .node = 2}, .time = 1};
  assert_true(dot_compare(a, b) < 0);
  assert_true(dot_compare(b, c) < 0);
  assert_true(dot_compare(c, b) > 0);
  assert_int_equal(dot_compare(a, a), 0);
  assert_true(dot_compare_age(c, b) < 0);
  assert_true(dot_compare_age(b, a) < 0);
  assert_true(dot_compare_age((struct dot){.actor = b.actor, .time = 1}, c) < 0);
}

static void a_dot_survives_its_encoding(void **state) {
  (void)state;
  uint8_t bytes[DOT_BYTES];
  struct dot dot = {.actor = {.incarnation = UINT64_C(0x1122334455667788), .node = 0x99aabbcc},
                    .time = UINT64_C(0xfedcba9876543210)};
  dot_store(bytes, dot);
  assert_int_equal(dot_compare(dot_load(bytes), dot), 0);
  assert_int_equal(bytes[0], 0xcc);
  assert_int_equal(bytes[4], 0x88);
  assert_int_equal(bytes[12], 0x10);
}

static void a_pair_claims_all_before_it_and_a_dot_only_itself(void **state) {
  (void)state;
  past_add_pair(&past_a, dot_of(X, 5));
  past_add_dot(&past_a, dot_of(Y, 5));
  assert_true(past_covers(&past_a, dot_of(X, 5)));
  assert_true(past_covers(&past_a, dot_of(X, 1)));
  assert_false(past_covers(&past_a, dot_of(X, 6)));
  assert_true(past_covers(&past_a, dot_of(Y, 5)));
  assert_false(past_covers(&past_a, dot_of(Y, 4)));
  assert_false(past_covers(&past_a, dot_of(Z, 1)));
}

static void an_incarnation_claims_nothing_of_another(void **state) {
  (void)state;
  past_add_pair(&past_a, dot_of(X, 5));
  struct dot other = dot_of(X, 3);
  other.actor.incarnation = 2;
  assert_false(past_covers(&past_a, other));
}

static void a_pair_swallows_the_dots_that_it_covers(void **state) {
  (void)state;
  past_add_dot(&past_a, dot_of(X, 3));
  past_add_dot(&past_a, dot_of(Y, 2));
  past_add_dot(&past_a, dot_of(Y, 4));
  past_add_dot(&past_a, dot_of(Y, 6));
  past_add_dot(&past_a, dot_of(Z, 1));
  past_add_pair(&past_a, dot_of(Y, 4));
  assert_int_equal(past_a.pair_count, 1);
  assert_int_equal(past_a.dot_count, 3);
  assert_dot(past_a.dots[0], X, 3);
  assert_dot(past_a.dots[1], Y, 6);
  assert_dot(past_a.dots[2], Z, 1);
  past_add_pair(&past_a, dot_of(Y, 3));
  assert_int_equal(past_a.pairs[0].time, 4);
  past_add_dot(&past_a, dot_of(Y, 1));
  assert_int_equal(past_a.dot_count, 3);
}

static void a_merged_past_claims_what_either_did(void **state) {
  (void)state;
  past_add_pair(&past_a, dot_of(X, 5));
  past_add_pair(&past_a, dot_of(Y, 2));
  past_add_dot(&past_a, dot_of(Z, 7));
  past_add_pair(&past_b, dot_of(Y, 9));
  past_add_pair(&past_b, dot_of(Z, 8));
  past_add_dot(&past_b, dot_of(X, 4));
  past_add_dot(&past_b, dot_of(X, 6));
  past_merge(&past_a, &past_b);
  assert_int_equal(past_a.pair_count, 3);
  assert_dot(past_a.pairs[0], X, 5);
  assert_dot(past_a.pairs[1], Y, 9);
  assert_dot(past_a.pairs[2], Z, 8);
  assert_int_equal(past_a.dot_count, 1);
  assert_dot(past_a.dots[0], X, 6);
}

static void truncation_drops_the_oldest_of_pairs_and_dots_alike(void **state) {
  (void)state;
  for (uint32_t i = 0; i < CLOCK_PAIRS_MAX; i++) {
    past_add_pair(&past_a, dot_of(100 + i, 1000 - 2 * i));
    past_add_dot(&past_a, dot_of(300 + i, 1001 - 2 * i));
  }
  assert_int_equal(past_truncate(&past_a), CLOCK_PAIRS_MAX);
  assert_int_equal(past_a.pair_count + past_a.dot_count, CLOCK_PAIRS_MAX);
  assert_true(past_covers(&past_a, dot_of(100, 1000)));
  assert_true(past_covers(&past_a, dot_of(300 + CLOCK_PAIRS_MAX / 2 - 1, 1001 - 2 * (CLOCK_PAIRS_MAX / 2 - 1))));
  assert_false(past_covers(&past_a, dot_of(300 + CLOCK_PAIRS_MAX / 2, 1001 - 2 * (CLOCK_PAIRS_MAX / 2))));
  assert_false(past_covers(&past_a, dot_of(100 + CLOCK_PAIRS_MAX - 1, 1)));
  assert_int_equal(past_truncate(&past_a), 0);
}

static void a_full_past_lets_its_oldest_dot_go(void **state) {
  (void)state;
  for (uint32_t i = 0; i < PAST_MAX; i++) {
    past_add_dot(&past_a, dot_of(X, 2 + 2 * (uint64_t)((i + 7) % PAST_MAX)));
  }
  assert_int_equal(past_a.dot_count, PAST_MAX);
  past_add_dot(&past_a, dot_of(X, 1));
  assert_int_equal(past_a.dot_count, PAST_MAX);
  assert_true(past_covers(&past_a, dot_of(X, 1)));
  assert_false(past_covers(&past_a, dot_of(X, 2)));
  assert_true(past_covers(&past_a, dot_of(X, 4)));
}

/* -- contexts --------------------------------------------------------------- */

static const struct context_binding binding = {.seed = 1, .position_high = 2, .position_low = 3};

static struct bytes context_of(uint8_t *room, const struct past *past) {
  struct writer w = writer_make(room, CONTEXT_MAX_BYTES);
  context_encode(&w, past, Y, binding);
  assert_false(w.failed);
  return writer_bytes(&w);
}

static void a_context_survives_its_encoding(void **state) {
  (void)state;
  uint8_t room[CONTEXT_MAX_BYTES];
  past_add_pair(&past_a, dot_of(X, 5));
  past_add_dot(&past_a, dot_of(Y, 7));
  struct bytes encoded = context_of(room, &past_a);
  uint32_t coordinator = 0;
  assert_int_equal(context_decode(encoded, binding, &past_b, &coordinator), ERR_OK);
  assert_int_equal(coordinator, Y);
  assert_int_equal(past_b.pair_count, 1);
  assert_dot(past_b.pairs[0], X, 5);
  assert_int_equal(past_b.dot_count, 1);
  assert_dot(past_b.dots[0], Y, 7);
}

static void the_largest_past_fits_a_context(void **state) {
  (void)state;
  static uint8_t room[CONTEXT_MAX_BYTES];
  for (uint32_t i = 0; i < 2 * CLOCK_PAIRS_MAX; i++) {
    past_add_pair(&past_a, dot_of(100 + i, 5));
  }
  for (uint32_t i = 0; i < PAST_MAX; i++) {
    past_add_dot(&past_a, dot_of(X, 1 + i));
  }
  struct bytes encoded = context_of(room, &past_a);
  uint32_t coordinator = 0;
  assert_int_equal(context_decode(encoded, binding, &past_b, &coordinator), ERR_OK);
  assert_int_equal(past_b.pair_count, 2 * CLOCK_PAIRS_MAX);
  assert_int_equal(past_b.dot_count, PAST_MAX);
}

static void a_context_of_another_key_or_cluster_is_refused(void **state) {
  (void)state;
  uint8_t room[CONTEXT_MAX_BYTES];
  past_add_pair(&past_a, dot_of(X, 5));
  struct bytes encoded = context_of(room, &past_a);
  uint32_t coordinator = 0;
  struct context_binding wrong = binding;
  wrong.seed = 9;
  assert_int_equal(context_decode(encoded, wrong, &past_b, &coordinator), ERR_BADCONTEXT);
  wrong = binding;
  wrong.position_high = 9;
  assert_int_equal(context_decode(encoded, wrong, &past_b, &coordinator), ERR_BADCONTEXT);
  wrong = binding;
  wrong.position_low = 9;
  assert_int_equal(context_decode(encoded, wrong, &past_b, &coordinator), ERR_BADCONTEXT);
  assert_int_equal(past_b.pair_count + past_b.dot_count, 0);
}

static void every_damaged_byte_of_a_context_is_noticed(void **state) {
  (void)state;
  uint8_t room[CONTEXT_MAX_BYTES];
  past_add_pair(&past_a, dot_of(X, 5));
  past_add_dot(&past_a, dot_of(Y, 7));
  struct bytes encoded = context_of(room, &past_a);
  uint32_t coordinator = 0;
  for (size_t i = 0; i < encoded.size; i++) {
    room[i] ^= 0x40;
    assert_int_equal(context_decode(encoded, binding, &past_b, &coordinator), ERR_BADCONTEXT);
    room[i] ^= 0x40;
    struct bytes shorter = {room, i};
    assert_int_equal(context_decode(shorter, binding, &past_b, &coordinator), ERR_BADCONTEXT);
  }
  assert_int_equal(context_decode(encoded, binding, &past_b, &coordinator), ERR_OK);
}

#define TEST(name) cmocka_unit_test_setup(name, test_setup)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(dots_are_ordered_by_node_then_incarnation_then_time),
      TEST(a_dot_survives_its_encoding),
      TEST(a_pair_claims_all_before_it_and_a_dot_only_itself),
      TEST(an_incarnation_claims_nothing_of_another),
      TEST(a_pair_swallows_the_dots_that_it_covers),
      TEST(a_merged_past_claims_what_either_did),
      TEST(truncation_drops_the_oldest_of_pairs_and_dots_alike),
      TEST(a_full_past_lets_its_oldest_dot_go),
      TEST(a_context_survives_its_encoding),
      TEST(the_largest_past_fits_a_context),
      TEST(a_context_of_another_key_or_cluster_is_refused),
      TEST(every_damaged_byte_of_a_context_is_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
