/* The buddy pool against a list of what was handed out: no two blobs share a byte, contents stay, and when all is given
 * back the pool is as it was at the start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/blob.h"
#include "base/prng.h"

#define POOL_BYTES ((size_t)1 << 20)
#define HELD_MAX 512u

struct fixture {
  uint8_t *memory;
  struct blob_pool pool;
};

static int pool_setup(void **state) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  assert_non_null(fixture);
  fixture->memory = aligned_alloc(64, POOL_BYTES);
  assert_non_null(fixture->memory);
  memset(fixture->memory, 0xa5, POOL_BYTES); /* the pool may not count on zeros */
  blob_pool_init(&fixture->pool, fixture->memory, POOL_BYTES);
  *state = fixture;
  return 0;
}

static int pool_teardown(void **state) {
  struct fixture *fixture = *state;
  free(fixture->memory);
  free(fixture);
  return 0;
}

static struct blob_pool *pool_of(void **state) {
  struct fixture *fixture = *state;
  return &fixture->pool;
}

static void a_new_pool_is_all_free(void **state) {
  struct blob_pool *pool = pool_of(state);
  assert_int_equal(pool->used_bytes, 0);
  assert_true(pool->capacity_bytes > POOL_BYTES - POOL_BYTES / 32);
  assert_true(pool->base + pool->capacity_bytes <= pool->memory + POOL_BYTES);
  blob_pool_check(pool);
}

static void a_blob_keeps_its_bytes_until_its_last_reference_is_gone(void **state) {
  struct blob_pool *pool = pool_of(state);
  struct blob *blob = blob_copy(pool, BYTES_LITERAL("a cart"));
  assert_non_null(blob);
  assert_ptr_equal(blob_get(blob), blob);
  const size_t used = pool->used_bytes;
  blob_put(blob);
  assert_int_equal(pool->used_bytes, used);
  assert_true(bytes_equal(blob_bytes(blob), BYTES_LITERAL("a cart")));
  blob_put(blob);
  assert_int_equal(pool->used_bytes, 0);
}

static void no_blob_is_no_bytes_and_no_fault(void **state) {
  (void)state;
  assert_null(blob_get(NULL));
  blob_put(NULL);
  assert_int_equal(blob_bytes(NULL).size, 0);
}

static void an_empty_blob_is_a_blob(void **state) {
  struct blob_pool *pool = pool_of(state);
  struct blob *blob = blob_new(pool, 0);
  assert_non_null(blob);
  assert_int_equal(blob_bytes(blob).size, 0);
  assert_int_equal(pool->used_bytes, 64);
  blob_put(blob);
}

static void a_small_blob_takes_one_smallest_block(void **state) {
  struct blob_pool *pool = pool_of(state);
  struct blob *fits = blob_new(pool, 64 - sizeof(struct blob));
  assert_int_equal(pool->used_bytes, 64);
  struct blob *larger = blob_new(pool, 64 - sizeof(struct blob) + 1);
  assert_int_equal(pool->used_bytes, 64 + 128);
  blob_put(fits);
  blob_put(larger);
}

static void a_large_blob_wastes_at_most_an_eighth(void **state) {
  struct blob_pool *pool = pool_of(state);
  for (size_t size = 4096; size <= 400000; size += 1237) {
    struct blob *blob = blob_new(pool, size);
    assert_non_null(blob);
    assert_true(pool->used_bytes >= size + sizeof(struct blob));
    assert_true(pool->used_bytes - size <= size / 8 + sizeof(struct blob));
    memset(blob->data, 1, size);
    blob_pool_check(pool);
    blob_put(blob);
    assert_int_equal(pool->used_bytes, 0);
  }
}

static void a_blob_that_is_too_large_is_refused_and_counted(void **state) {
  struct blob_pool *pool = pool_of(state);
  assert_null(blob_new(pool, POOL_BYTES));
  assert_null(blob_new(pool, (size_t)UINT32_MAX));
  assert_null(blob_new(pool, (size_t)UINT32_MAX + 1));
  assert_int_equal(pool->refusals, 3);
  assert_int_equal(pool->used_bytes, 0);
}

static void a_full_pool_refuses_and_recovers(void **state) {
  struct blob_pool *pool = pool_of(state);
  const size_t free_blocks = blob_pool_check(pool);
  const size_t count = pool->capacity_bytes / 64;
  struct blob **blobs = calloc(count, sizeof *blobs);
  assert_non_null(blobs);
  for (size_t i = 0; i < count; i++) {
    blobs[i] = blob_new(pool, 8);
    assert_non_null(blobs[i]);
  }
  assert_int_equal(pool->used_bytes, pool->capacity_bytes);
  assert_int_equal(blob_pool_check(pool), 0);
  assert_null(blob_new(pool, 0));
  assert_int_equal(pool->refusals, 1);
  for (size_t i = 0; i < count; i += 2) {
    blob_put(blobs[i]);
  }
  for (size_t i = 1; i < count; i += 2) {
    blob_put(blobs[i]);
  }
  assert_int_equal(pool->used_bytes, 0);
  assert_int_equal(pool->peak_bytes, pool->capacity_bytes);
  assert_int_equal(blob_pool_check(pool), free_blocks);
  free(blobs);
}

static uint8_t *released;
static unsigned releases;
static void release_note(uint8_t *data) {
  released = data;
  releases++;
}

static void wrapped_data_is_released_once_at_the_last_put(void **state) {
  struct blob_pool *pool = pool_of(state);
  uint8_t foreign[100000] = {7};
  releases = 0;
  released = NULL;
  struct blob *blob = blob_wrap_take(pool, foreign, sizeof foreign, release_note);
  assert_non_null(blob);
  assert_int_equal(pool->used_bytes, 64);
  assert_ptr_equal(blob_bytes(blob).data, foreign);
  assert_int_equal(blob_bytes(blob).size, sizeof foreign);
  blob_get(blob);
  blob_put(blob);
  assert_int_equal(releases, 0);
  blob_put(blob);
  assert_int_equal(releases, 1);
  assert_ptr_equal(released, foreign);
  assert_int_equal(pool->used_bytes, 0);
}

static void wrapping_without_room_leaves_the_data_with_the_caller(void **state) {
  struct blob_pool *pool = pool_of(state);
  uint8_t foreign[10];
  struct blob *first = NULL;
  releases = 0;
  /* A chain through the blobs' own data takes all there is. */
  for (struct blob *blob = blob_new(pool, sizeof(void *)); blob != NULL; blob = blob_new(pool, sizeof(void *))) {
    memcpy(blob->data, &first, sizeof first);
    first = blob;
  }
  assert_null(blob_wrap_take(pool, foreign, sizeof foreign, release_note));
  assert_int_equal(releases, 0);
  while (first != NULL) {
    struct blob *next = NULL;
    memcpy(&next, first->data, sizeof next);
    blob_put(first);
    first = next;
  }
  assert_int_equal(pool->used_bytes, 0);
}

static void a_trimmed_blob_gives_its_whole_block_back(void **state) {
  struct blob_pool *pool = pool_of(state);
  struct blob *blob = blob_new(pool, 10000);
  const size_t used = pool->used_bytes;
  blob_trim(blob, 10);
  assert_int_equal(blob_bytes(blob).size, 10);
  assert_int_equal(pool->used_bytes, used);
  blob_put(blob);
  assert_int_equal(pool->used_bytes, 0);
  blob_pool_check(pool);
}

static void a_shared_blob_may_not_be_trimmed(void **state) {
  struct blob_pool *pool = pool_of(state);
  struct blob *blob = blob_new(pool, 100);
  blob_get(blob);
  expect_assert_failure(blob_trim(blob, 10));
  blob_put(blob);
  blob_put(blob);
}

struct held {
  struct blob *blob;
  uint8_t fill;
};

static void held_check(const struct held *held) {
  const struct bytes bytes = blob_bytes(held->blob);
  for (size_t i = 0; i < bytes.size; i++) {
    if (bytes.data[i] != held->fill) {
      fail_msg("byte %zu of %zu is %u, not %u", i, bytes.size, bytes.data[i], held->fill);
    }
  }
}

static size_t size_draw(struct prng *prng) {
  const uint64_t kind = prng_below(prng, 100);
  if (kind < 60) {
    return (size_t)prng_below(prng, 300);
  }
  if (kind < 95) {
    return (size_t)prng_below(prng, 20000);
  }
  return (size_t)prng_below(prng, 200000);
}

static void random_blobs_never_overlap_and_all_come_back(void **state) {
  struct blob_pool *pool = pool_of(state);
  const size_t free_blocks = blob_pool_check(pool);
  const uint64_t seed = 42;
  struct prng prng;
  prng_init(&prng, seed);
  struct held held[HELD_MAX];
  size_t count = 0;
  uint64_t refused = 0;
  for (unsigned round = 0; round < 20000; round++) {
    if (count < HELD_MAX && prng_chance(&prng, 520)) {
      const size_t size = size_draw(&prng);
      struct blob *blob = blob_new(pool, size);
      if (blob == NULL) {
        refused++;
      } else {
        held[count] = (struct held){.blob = blob, .fill = (uint8_t)round};
        memset(blob->data, held[count].fill, size);
        count++;
      }
    } else if (count > 0) {
      const size_t victim = (size_t)prng_below(&prng, count);
      held_check(&held[victim]);
      blob_put(held[victim].blob);
      held[victim] = held[--count];
    }
    if (round % 64 == 0) {
      blob_pool_check(pool);
    }
  }
  assert_true(refused > 0); /* the pool was full at times */
  assert_int_equal(pool->refusals, refused);
  while (count > 0) {
    count--;
    held_check(&held[count]);
    blob_put(held[count].blob);
  }
  assert_int_equal(pool->used_bytes, 0);
  assert_int_equal(blob_pool_check(pool), free_blocks);
}

static void pools_of_every_odd_size_hold_their_invariants(void **state) {
  (void)state;
  for (size_t capacity = 65536; capacity < 65536 + 66 * 65; capacity += 61) {
    uint8_t *memory = aligned_alloc(64, (capacity + 63) & ~(size_t)63);
    assert_non_null(memory);
    /* What lies behind the last block looks like a free one: the pool may not take it for a buddy. */
    memset(memory, 0x86, capacity);
    struct blob_pool pool;
    blob_pool_init(&pool, memory, capacity);
    assert_true(pool.base + pool.capacity_bytes <= memory + capacity);
    const size_t free_blocks = blob_pool_check(&pool);
    struct blob *a = blob_new(&pool, 30000);
    struct blob *b = blob_new(&pool, 1);
    assert_non_null(a);
    assert_non_null(b);
    blob_put(a);
    blob_put(b);
    assert_int_equal(blob_pool_check(&pool), free_blocks);
    free(memory);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_setup, pool_teardown)
  const struct CMUnitTest tests[] = {
      TEST(a_new_pool_is_all_free),
      TEST(a_blob_keeps_its_bytes_until_its_last_reference_is_gone),
      TEST(no_blob_is_no_bytes_and_no_fault),
      TEST(an_empty_blob_is_a_blob),
      TEST(a_small_blob_takes_one_smallest_block),
      TEST(a_large_blob_wastes_at_most_an_eighth),
      TEST(a_blob_that_is_too_large_is_refused_and_counted),
      TEST(a_full_pool_refuses_and_recovers),
      TEST(wrapped_data_is_released_once_at_the_last_put),
      TEST(wrapping_without_room_leaves_the_data_with_the_caller),
      TEST(a_trimmed_blob_gives_its_whole_block_back),
      TEST(a_shared_blob_may_not_be_trimmed),
      TEST(random_blobs_never_overlap_and_all_come_back),
      cmocka_unit_test(pools_of_every_odd_size_hold_their_invariants),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
