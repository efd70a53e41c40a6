/* The heap against a plain array of times that is searched whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/prng.h"

#define CAPACITY 100u

struct fixture {
  struct heap heap;
  struct heap_entry entries[CAPACITY];
  uint32_t places[CAPACITY];
};

static struct fixture fixture;

static int heap_setup(void **state) {
  memset(&fixture, 0xa5, sizeof fixture);
  heap_init(&fixture.heap, fixture.entries, fixture.places, CAPACITY);
  *state = &fixture.heap;
  return 0;
}

static void an_empty_heap_is_never_due(void **state) {
  struct heap *heap = *state;
  uint32_t index = 7;
  assert_true(heap_next(heap) == HEAP_NEVER);
  assert_false(heap_pop_due(heap, UINT64_MAX, &index));
  assert_int_equal(index, 7);
}

static void deadlines_come_due_in_order_of_time(void **state) {
  struct heap *heap = *state;
  heap_set(heap, 3, 30);
  heap_set(heap, 1, 10);
  heap_set(heap, 2, 20);
  uint32_t index = 0;
  assert_true(heap_next(heap) == 10);
  assert_false(heap_pop_due(heap, 9, &index));
  assert_true(heap_pop_due(heap, 25, &index));
  assert_int_equal(index, 1);
  assert_true(heap_pop_due(heap, 25, &index));
  assert_int_equal(index, 2);
  assert_false(heap_pop_due(heap, 25, &index));
  assert_true(heap_next(heap) == 30);
}

static void equal_times_come_due_in_order_of_index(void **state) {
  struct heap *heap = *state;
  const uint32_t order[] = {7, 2, 9, 0, 5, 1};
  for (size_t i = 0; i < 6; i++) {
    heap_set(heap, order[i], 50);
  }
  const uint32_t wanted[] = {0, 1, 2, 5, 7, 9};
  for (size_t i = 0; i < 6; i++) {
    uint32_t index = 0;
    assert_true(heap_pop_due(heap, 50, &index));
    assert_int_equal(index, wanted[i]);
  }
}

static void setting_again_moves_and_never_removes(void **state) {
  struct heap *heap = *state;
  heap_set(heap, 4, 40);
  heap_set(heap, 4, 10);
  assert_true(heap_next(heap) == 10);
  heap_set(heap, 4, 90);
  assert_true(heap_next(heap) == 90);
  assert_int_equal(heap->count, 1);
  heap_set(heap, 4, HEAP_NEVER);
  assert_int_equal(heap->count, 0);
  heap_remove(heap, 4); /* absent is fine */
  assert_true(heap_next(heap) == HEAP_NEVER);
}

static void the_heap_agrees_with_a_plain_array(void **state) {
  struct heap *heap = *state;
  uint64_t model[CAPACITY];
  for (uint32_t i = 0; i < CAPACITY; i++) {
    model[i] = HEAP_NEVER;
  }
  struct prng prng;
  prng_init(&prng, 7);
  for (unsigned round = 0; round < 50000; round++) {
    const uint32_t index = (uint32_t)prng_below(&prng, CAPACITY);
    const uint64_t time = prng_below(&prng, 64); /* few times: many ties */
    const uint64_t action = prng_below(&prng, 10);
    uint32_t first = 0;
    uint32_t count = 0;
    if (action < 5) {
      heap_set(heap, index, time);
      model[index] = time;
    } else if (action < 7) {
      heap_remove(heap, index);
      model[index] = HEAP_NEVER;
    }
    for (uint32_t i = 0; i < CAPACITY; i++) {
      first = model[i] < model[first] ? i : first;
      count += model[i] != HEAP_NEVER;
    }
    assert_int_equal(heap->count, count);
    assert_true(heap_next(heap) == model[first]);
    if (action >= 7) {
      uint32_t popped = 0;
      const bool due = heap_pop_due(heap, time, &popped);
      assert_int_equal(due, count > 0 && model[first] <= time);
      if (due) {
        assert_int_equal(popped, first);
        model[first] = HEAP_NEVER;
      }
    }
  }
}

static void an_index_past_the_capacity_is_a_bug(void **state) {
  struct heap *heap = *state;
  expect_assert_failure(heap_set(heap, CAPACITY, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(an_empty_heap_is_never_due, heap_setup),
      cmocka_unit_test_setup(deadlines_come_due_in_order_of_time, heap_setup),
      cmocka_unit_test_setup(equal_times_come_due_in_order_of_index, heap_setup),
      cmocka_unit_test_setup(setting_again_moves_and_never_removes, heap_setup),
      cmocka_unit_test_setup(the_heap_agrees_with_a_plain_array, heap_setup),
      cmocka_unit_test_setup(an_index_past_the_capacity_is_a_bug, heap_setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
