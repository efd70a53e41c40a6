/* The memory engine when memory runs out: each allocation of a batch fails in turn, and nothing of it is kept. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t allocations_left = UINT32_MAX;

static void *malloc_counted(size_t size) {
  if (allocations_left == 0) {
    return NULL;
  }
  allocations_left -= 1;
  return malloc(size);
}

#define malloc(size) malloc_counted(size)
#include "store/memory.c" /* NOLINT(bugprone-suspicious-include): to stand between it and its memory */
#include "store/store.c"  /* NOLINT(bugprone-suspicious-include) */
#undef malloc

#define KEYS 6000u /* enough for branches to be full */
#define BATCH 600u

struct fixture {
  struct store *store;
  char why[STORE_WHY];
};

static int set_up(void **state) {
  struct fixture *f = calloc(1, sizeof(*f));
  assert_non_null(f);
  assert_int_equal(store_memory.open("", NULL, &f->store, f->why), ERR_OK);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  allocations_left = UINT32_MAX;
  store_memory.close(f->store);
  free(f);
  return 0;
}

static struct bytes key_of(uint32_t i, uint8_t key[8]) {
  uint64_t spread = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
  memcpy(key, &spread, 8);
  return (struct bytes){key, 8};
}

/* One number for all that a full scan shows, and the statistics. */
static uint64_t fingerprint(struct store *store) {
  static struct store_scan_entry entries[KEYS + BATCH];
  uint32_t count;
  bool end;
  assert_int_equal(store_memory.scan(store, SPACE_OBJECTS, BYTES_NONE, BYTES_NONE, KEYS + BATCH, SIZE_MAX, false,
                                     entries, &count, &end),
                   ERR_OK);
  assert_true(end);
  uint64_t hash = count;
  for (uint32_t i = 0; i < count; i += 1) {
    hash = bytes_hash((struct bytes){entries[i].key.data, entries[i].key.size}, hash);
    hash = bytes_hash((struct bytes){entries[i].value.data, entries[i].value.size}, hash);
    store_value_free(entries[i].key.data);
    store_value_free(entries[i].value.data);
  }
  struct store_statistics statistics;
  store_memory.statistics(store, &statistics);
  assert_int_equal(statistics.keys, count);
  return hash;
}

static void fill(struct store *store) {
  for (uint32_t i = 0; i < KEYS; i += 1) {
    uint8_t key[8];
    struct store_write write = {SPACE_OBJECTS, false, key_of(i, key), BYTES_LITERAL("value")};
    assert_int_equal(store_memory.commit(store, &write, 1, false), ERR_OK);
  }
}

static void a_batch_that_runs_out_of_memory_changes_nothing(void **state) {
  struct fixture *f = *state;
  fill(f->store);
  static uint8_t keys[BATCH][8];
  static struct store_write writes[BATCH];
  for (uint32_t i = 0; i < BATCH; i += 1) { /* new ones, replaced ones, removed ones, removed and put again */
    uint32_t key = i % 4 == 0 ? KEYS + i : (i - i % 2) * 7 % KEYS;
    writes[i] = (struct store_write){SPACE_OBJECTS, i % 4 == 2, key_of(key, keys[i]), BYTES_LITERAL("another value")};
  }
  uint64_t before = fingerprint(f->store);
  uint32_t failures = 0;
  enum err err = ERR_NOSPACE;
  for (uint32_t allowed = 0; err != ERR_OK; allowed += 1) {
    allocations_left = allowed;
    err = store_memory.commit(f->store, writes, BATCH, true);
    allocations_left = UINT32_MAX;
    if (err != ERR_OK) {
      assert_int_equal(err, ERR_NOSPACE);
      failures += 1;
      if (failures % 16 == 1 || failures > 440) {
        assert_int_equal(fingerprint(f->store), before);
      }
    }
  }
  assert_true(failures > BATCH / 2); /* one block for each put, and nodes */
  assert_int_not_equal(fingerprint(f->store), before);
}

static void a_scan_that_runs_out_of_memory_returns_nothing(void **state) {
  struct fixture *f = *state;
  fill(f->store);
  struct store_scan_entry entries[10];
  uint32_t count = 7;
  bool end;
  allocations_left = 5;
  assert_int_equal(
      store_memory.scan(f->store, SPACE_OBJECTS, BYTES_NONE, BYTES_NONE, 10, SIZE_MAX, false, entries, &count, &end),
      ERR_NOMEM);
  assert_int_equal(count, 0);
}

static void opening_without_memory_says_so(void **state) {
  struct fixture *f = *state;
  for (uint32_t allowed = 0; allowed < SPACE_COUNT; allowed += 1) {
    struct store *store = NULL;
    allocations_left = allowed;
    assert_int_equal(store_memory.open("", NULL, &store, f->why), ERR_NOMEM);
    assert_non_null(strstr(f->why, "no memory"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_batch_that_runs_out_of_memory_changes_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_scan_that_runs_out_of_memory_returns_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(opening_without_memory_says_so, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
