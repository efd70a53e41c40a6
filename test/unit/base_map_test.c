/* The map against a naive list that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/prng.h"

#define SLOTS_MADE 128u
#define KEYS_MAX (SLOTS_MADE / 2)

static struct map map;
static struct map_slot slots[SLOTS_MADE];

static int map_setup(void **state) {
  (void)state;
  memset(slots, 0xa5, sizeof slots);
  map_init(&map, slots, SLOTS_MADE);
  return 0;
}

static void what_was_inserted_is_found_until_removed(void **state) {
  (void)state;
  uint32_t value = 0;
  assert_false(map_find(&map, 5, &value));
  map_insert(&map, 5, 50);
  map_insert(&map, 0, 60); /* 0 is a key like any other */
  map_insert(&map, UINT64_MAX, 70);
  assert_true(map_find(&map, 5, &value));
  assert_int_equal(value, 50);
  assert_true(map_find(&map, 0, &value));
  assert_int_equal(value, 60);
  assert_true(map_find(&map, UINT64_MAX, &value));
  assert_int_equal(value, 70);
  assert_true(map_remove(&map, 5));
  assert_false(map_remove(&map, 5));
  assert_false(map_find(&map, 5, &value));
  assert_int_equal(map.count, 2);
}

static void a_key_inserted_twice_is_a_bug(void **state) {
  (void)state;
  map_insert(&map, 1, 1);
  expect_assert_failure(map_insert(&map, 1, 2));
}

static void more_than_half_full_is_a_bug(void **state) {
  (void)state;
  for (uint32_t i = 0; i < KEYS_MAX; i++) {
    map_insert(&map, i, i);
  }
  uint32_t value = 0;
  assert_true(map_find(&map, KEYS_MAX - 1, &value));
  expect_assert_failure(map_insert(&map, KEYS_MAX, 0));
}

static void a_slot_count_that_is_no_power_of_two_is_a_bug(void **state) {
  (void)state;
  expect_assert_failure(map_init(&map, slots, 100));
}

struct model {
  uint64_t keys[KEYS_MAX];
  uint32_t values[KEYS_MAX];
  uint32_t count;
};

static uint32_t model_seek(const struct model *model, uint64_t key) {
  uint32_t i = 0;
  while (i < model->count && model->keys[i] != key) {
    i++;
  }
  return i;
}

static void model_compare(const struct model *model, uint64_t key) {
  uint32_t value = 0;
  const uint32_t at = model_seek(model, key);
  assert_int_equal(map_find(&map, key, &value), at < model->count);
  if (at < model->count) {
    assert_int_equal(value, model->values[at]);
  }
}

static void the_map_agrees_with_a_naive_list(void **state) {
  (void)state;
  struct model model = {.count = 0};
  struct prng prng;
  prng_init(&prng, 5);
  for (unsigned round = 0; round < 50000; round++) {
    /* Few keys, so that they collide, are removed and come again; near neighbours and far ones. */
    const uint64_t low = prng_below(&prng, 100);
    const uint64_t key = prng_chance(&prng, 500) ? low : low << 57;
    const uint32_t at = model_seek(&model, key);
    if (at < model.count && prng_chance(&prng, 600)) {
      assert_true(map_remove(&map, key));
      model.count--;
      model.keys[at] = model.keys[model.count];
      model.values[at] = model.values[model.count];
    } else if (at == model.count && model.count < KEYS_MAX) {
      map_insert(&map, key, round);
      model.keys[model.count] = key;
      model.values[model.count] = round;
      model.count++;
    } else if (at == model.count) {
      assert_false(map_remove(&map, key));
    }
    assert_int_equal(map.count, model.count);
    model_compare(&model, key);
    if (round % 16 == 0) {
      for (uint64_t i = 0; i < 100; i++) {
        model_compare(&model, i);
        model_compare(&model, i << 57);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(what_was_inserted_is_found_until_removed, map_setup),
      cmocka_unit_test_setup(a_key_inserted_twice_is_a_bug, map_setup),
      cmocka_unit_test_setup(more_than_half_full_is_a_bug, map_setup),
      cmocka_unit_test_setup(a_slot_count_that_is_no_power_of_two_is_a_bug, map_setup),
      cmocka_unit_test_setup(the_map_agrees_with_a_naive_list, map_setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
