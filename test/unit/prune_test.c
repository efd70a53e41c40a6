/* What goes out of an object: what somebody has not who knows all as old as that, and what everybody may forget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hlc.h"
#include "version/prune.h"

#define POOL_BYTES ((size_t)4 << 20)

static struct blob_pool pool;
static struct version_scratch *scratch;
static struct version_stats stats;

static int setup(void **state) {
  (void)state;
  void *memory = aligned_alloc(64, POOL_BYTES);
  scratch = malloc(version_scratch_size());
  if (memory == NULL || scratch == NULL) {
    return 1;
  }
  blob_pool_init(&pool, memory, POOL_BYTES);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  size_t used = pool.used_bytes;
  free(pool.memory);
  free(scratch);
  return used == 0 ? 0 : 1;
}

/* `mine` (given up) with one more version, of a writer that had seen nothing; its value is a letter. */
static struct blob *with(struct blob *mine, uint32_t node, uint64_t time, bool tombstone, uint64_t expires_at_ms) {
  struct past nothing;
  past_init(&nothing);
  struct put put = {.context = &nothing,
                    .dot = {.actor = {.incarnation = 1, .node = node}, .time = time},
                    .tombstone = tombstone,
                    .expires_at_ms = expires_at_ms,
                    .value = tombstone ? BYTES_NONE : BYTES_LITERAL("v"),
                    .sibling_max = SIBLINGS_PUT_MAX};
  struct blob *out = NULL;
  assert_int_equal(object_put(scratch, &pool, mine, &put, &stats, &out), ERR_OK);
  blob_put(mine);
  return out;
}

static uint32_t siblings(const struct blob *blob) {
  struct object object;
  assert_int_equal(object_open(&object, blob_bytes(blob)), ERR_OK);
  return object.sibling_count;
}

static void what_the_other_has_not_and_is_as_old_as_its_floor_is_buried(void **state) {
  (void)state;
  struct blob *left = NULL;
  struct blob *other = with(NULL, 1, 10, false, 0);
  struct blob *object = with(with(with(NULL, 1, 10, false, 0), 2, 20, false, 0), 3, 30, false, 0);
  assert_int_equal(object_bury(&pool, blob_bytes(object), blob_bytes(other), 19, &left), PRUNED_NOTHING);
  assert_null(left);
  assert_int_equal(object_bury(&pool, blob_bytes(object), blob_bytes(other), 20, &left), PRUNED_SOME);
  assert_int_equal(siblings(left), 2);
  struct object opened;
  struct sibling sibling;
  assert_int_equal(object_open(&opened, blob_bytes(left)), ERR_OK);
  struct sibling_cursor cursor = object_siblings(&opened);
  assert_true(sibling_next(&cursor, &sibling));
  assert_int_equal(sibling.dot.time, 10);
  assert_true(sibling_next(&cursor, &sibling));
  assert_int_equal(sibling.dot.time, 30);
  assert_int_equal(sibling.value.size, 1);
  blob_put(left);
  assert_int_equal(object_bury(&pool, blob_bytes(object), BYTES_NONE, 30, &left), PRUNED_ALL);
  assert_null(left);
  assert_int_equal(object_dead(blob_bytes(object), BYTES_NONE, 0), PRUNED_NOTHING);
  assert_int_equal(object_dead(blob_bytes(object), BYTES_NONE, 10), PRUNED_SOME);
  assert_int_equal(object_dead(blob_bytes(object), BYTES_NONE, 30), PRUNED_ALL);
  assert_int_equal(object_dead(BYTES_NONE, blob_bytes(object), 30), PRUNED_NOTHING);
  blob_put(other);
  blob_put(object);
}

static void a_deletion_is_reaped_at_its_floor_and_a_value_never(void **state) {
  (void)state;
  struct blob *left = NULL;
  struct blob *deletion = with(NULL, 1, 10, true, 0);
  assert_int_equal(object_reap(&pool, blob_bytes(deletion), 9, &left), PRUNED_NOTHING);
  assert_int_equal(object_reap(&pool, blob_bytes(deletion), 10, &left), PRUNED_ALL);
  assert_true(object_is_garbage(blob_bytes(deletion), 10));
  struct blob *both = with(deletion, 2, 5, false, 0);
  assert_int_equal(object_reap(&pool, blob_bytes(both), 10, &left), PRUNED_SOME);
  assert_int_equal(siblings(left), 1);
  assert_int_equal(object_marks(blob_bytes(left)), 0);
  assert_false(object_is_garbage(blob_bytes(both), UINT64_MAX));
  assert_true(object_has_garbage(blob_bytes(both), 10));
  blob_put(left);
  blob_put(both);
}

static void a_deletion_waits_for_the_youngest_that_it_claims(void **state) {
  (void)state;
  struct blob *left = NULL;
  struct past seen;
  past_init(&seen);
  past_add_pair(&seen, (struct dot){.actor = {.incarnation = 1, .node = 9}, .time = 50});
  struct put put = {.context = &seen,
                    .dot = {.actor = {.incarnation = 1, .node = 1}, .time = 10},
                    .tombstone = true,
                    .sibling_max = SIBLINGS_PUT_MAX};
  struct blob *deletion = NULL;
  assert_int_equal(object_put(scratch, &pool, NULL, &put, &stats, &deletion), ERR_OK);
  assert_int_equal(object_reap(&pool, blob_bytes(deletion), 49, &left), PRUNED_NOTHING);
  assert_int_equal(object_reap(&pool, blob_bytes(deletion), 50, &left), PRUNED_ALL);
  blob_put(deletion);
}

static void what_had_expired_at_the_floor_goes_like_a_deletion(void **state) {
  (void)state;
  struct blob *left = NULL;
  struct blob *object = with(NULL, 1, hlc_make(1000, 0), false, 2000);
  assert_int_equal(object_marks(blob_bytes(object)), OBJECT_EXPIRES);
  assert_int_equal(object_reap(&pool, blob_bytes(object), hlc_make(1999, 7), &left), PRUNED_NOTHING);
  assert_int_equal(object_reap(&pool, blob_bytes(object), hlc_make(2000, 0), &left), PRUNED_ALL);
  blob_put(object);
}

static void damaged_bytes_are_neither_dead_nor_garbage(void **state) {
  (void)state;
  static const uint8_t bytes[] = "no object";
  struct bytes damaged = {bytes, sizeof bytes};
  assert_int_equal(object_marks(damaged), 0);
  assert_false(object_is_garbage(damaged, UINT64_MAX));
  assert_int_equal(object_dead(damaged, BYTES_NONE, UINT64_MAX), PRUNED_NOTHING);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_the_other_has_not_and_is_as_old_as_its_floor_is_buried),
      cmocka_unit_test(a_deletion_is_reaped_at_its_floor_and_a_value_never),
      cmocka_unit_test(a_deletion_waits_for_the_youngest_that_it_claims),
      cmocka_unit_test(what_had_expired_at_the_floor_goes_like_a_deletion),
      cmocka_unit_test(damaged_bytes_are_neither_dead_nor_garbage),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
