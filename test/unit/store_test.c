/* Both engines against the same contract (store/store.h), a model, and for rocksdb: restarts, crashes and damage. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "store/store.h"

#define SCAN_MAX 4096u

static bool sync_fails; /* RocksDB's fdatasync is ours: the dynamic linker prefers the program's */

__attribute__((visibility("default"))) int fdatasync(int file) {
  if (sync_fails) {
    errno = EIO;
    return -1;
  }
  return (int)syscall(SYS_fdatasync, file);
}

struct fixture {
  const struct store_engine *engine;
  struct store *store;
  char directory[64];
  char why[STORE_WHY];
  struct store_scan_entry entries[SCAN_MAX];
  uint32_t count;
  bool end;
};

static const struct store_options test_options = {.cache_bytes = 1u << 20, .write_buffer_bytes = 1u << 20};

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
  (void)info;
  (void)kind;
  (void)walk;
  return remove(path);
}

static void fixture_open(struct fixture *f) {
  enum err err = f->engine->open(f->directory, &test_options, &f->store, f->why);
  if (err != ERR_OK) {
    print_error("%s\n", f->why);
  }
  assert_int_equal(err, ERR_OK);
}

static void fixture_reopen(struct fixture *f) {
  f->engine->close(f->store);
  fixture_open(f);
}

static int set_up(void **state, const struct store_engine *engine) {
  struct fixture *f = calloc(1, sizeof(*f));
  assert_non_null(f);
  f->engine = engine;
  strcpy(f->directory, "/tmp/gramme-store-XXXXXX");
  assert_non_null(mkdtemp(f->directory));
  fixture_open(f);
  *state = f;
  return 0;
}

static int set_up_memory(void **state) {
  return set_up(state, store_engine_find("memory"));
}

static int set_up_rocksdb(void **state) {
  return set_up(state, store_engine_find("rocksdb"));
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  sync_fails = false;
  if (f->store != NULL) {
    f->engine->close(f->store);
  }
  (void)nftw(f->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  free(f);
  return 0;
}

static struct bytes text(const char *string) {
  return (struct bytes){(const uint8_t *)string, strlen(string)};
}

static struct store_write put(enum space space, struct bytes key, struct bytes value) {
  return (struct store_write){space, false, key, value};
}

static struct store_write removal(enum space space, struct bytes key) {
  return (struct store_write){space, true, key, BYTES_NONE};
}

static void commit(struct fixture *f, struct store_write write) {
  assert_int_equal(f->engine->commit(f->store, &write, 1, true), ERR_OK);
}

static void expect(struct fixture *f, enum space space, struct bytes key, struct bytes value) {
  struct store_value got;
  assert_int_equal(f->engine->get(f->store, space, key, true, &got), ERR_OK);
  assert_non_null(got.data);
  assert_int_equal(got.size, value.size);
  assert_true(value.size == 0 || memcmp(got.data, value.data, value.size) == 0);
  store_value_free(got.data);
}

static void expect_absent(struct fixture *f, enum space space, struct bytes key) {
  struct store_value got;
  assert_int_equal(f->engine->get(f->store, space, key, true, &got), ERR_OK);
  assert_null(got.data);
}

static void scan(struct fixture *f, enum space space, struct bytes from, struct bytes prefix, uint32_t max_count,
                 size_t max_bytes, bool keys_only) {
  assert_true(max_count <= SCAN_MAX);
  assert_int_equal(
      f->engine->scan(f->store, space, from, prefix, max_count, max_bytes, keys_only, f->entries, &f->count, &f->end),
      ERR_OK);
  assert_true(f->count <= max_count);
}

static void scan_free(struct fixture *f) {
  for (uint32_t i = 0; i < f->count; i += 1) {
    store_value_free(f->entries[i].key.data);
    store_value_free(f->entries[i].value.data);
  }
  f->count = 0;
}

/* What the last scan returned is these keys, as one string separated by spaces. */
static void expect_keys(struct fixture *f, const char *keys, bool end) {
  char got[256] = "";
  for (uint32_t i = 0; i < f->count; i += 1) {
    size_t used = strlen(got);
    (void)snprintf(got + used, sizeof(got) - used, "%s%.*s", i > 0 ? " " : "", (int)f->entries[i].key.size,
                   (const char *)f->entries[i].key.data);
  }
  assert_string_equal(got, keys);
  assert_int_equal(f->end, end);
  scan_free(f);
}

/* -- both engines ------------------------------------------------------------ */

static void what_was_put_is_found_until_it_is_removed(void **state) {
  struct fixture *f = *state;
  expect_absent(f, SPACE_OBJECTS, text("cart"));
  commit(f, put(SPACE_OBJECTS, text("cart"), text("milk")));
  expect(f, SPACE_OBJECTS, text("cart"), text("milk"));
  commit(f, put(SPACE_OBJECTS, text("cart"), text("milk, eggs")));
  expect(f, SPACE_OBJECTS, text("cart"), text("milk, eggs"));
  commit(f, removal(SPACE_OBJECTS, text("cart")));
  expect_absent(f, SPACE_OBJECTS, text("cart"));
  commit(f, removal(SPACE_OBJECTS, text("cart")));
  expect_absent(f, SPACE_OBJECTS, text("cart"));
}

static void an_empty_value_is_not_an_absent_one(void **state) {
  struct fixture *f = *state;
  commit(f, put(SPACE_META, text("sealed"), BYTES_NONE));
  expect(f, SPACE_META, text("sealed"), BYTES_NONE);
  expect_absent(f, SPACE_META, text("seale"));
  expect_absent(f, SPACE_META, text("sealed "));
}

static void spaces_do_not_see_each_other(void **state) {
  struct fixture *f = *state;
  commit(f, put(SPACE_OBJECTS, text("k"), text("object")));
  commit(f, put(SPACE_HINTS, text("k"), text("hint")));
  expect_absent(f, SPACE_META, text("k"));
  commit(f, removal(SPACE_OBJECTS, text("k")));
  expect(f, SPACE_HINTS, text("k"), text("hint"));
  scan(f, SPACE_OBJECTS, BYTES_NONE, BYTES_NONE, 10, 1000, false);
  expect_keys(f, "", true);
}

static void the_last_write_to_a_key_in_a_batch_wins(void **state) {
  struct fixture *f = *state;
  commit(f, put(SPACE_OBJECTS, text("c"), text("old")));
  const struct store_write writes[] = {
      put(SPACE_OBJECTS, text("a"), text("1")),
      put(SPACE_OBJECTS, text("a"), text("2")),
      put(SPACE_OBJECTS, text("b"), text("1")),
      removal(SPACE_OBJECTS, text("b")),
      removal(SPACE_OBJECTS, text("c")),
      put(SPACE_OBJECTS, text("c"), text("new")),
      put(SPACE_META, text("m"), text("meta")),
      removal(SPACE_OBJECTS, text("c")),
      put(SPACE_OBJECTS, text("c"), text("newest")),
  };
  assert_int_equal(f->engine->commit(f->store, writes, sizeof(writes) / sizeof(writes[0]), false), ERR_OK);
  expect(f, SPACE_OBJECTS, text("a"), text("2"));
  expect_absent(f, SPACE_OBJECTS, text("b"));
  expect(f, SPACE_OBJECTS, text("c"), text("newest"));
  expect(f, SPACE_META, text("m"), text("meta"));
}

static void a_scan_keeps_to_its_range_and_bounds(void **state) {
  struct fixture *f = *state;
  const char *keys[] = {"b", "ab", "a", "abc", "ac", "abb", "c"};
  for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i += 1) {
    commit(f, put(SPACE_OBJECTS, text(keys[i]), text("0123456789")));
  }
  scan(f, SPACE_OBJECTS, BYTES_NONE, BYTES_NONE, 100, 1000, true);
  expect_keys(f, "a ab abb abc ac b c", true);
  scan(f, SPACE_OBJECTS, text("abb"), BYTES_NONE, 100, 1000, true);
  expect_keys(f, "abb abc ac b c", true);
  scan(f, SPACE_OBJECTS, text("abba"), BYTES_NONE, 2, 1000, true);
  expect_keys(f, "abc ac", false);
  scan(f, SPACE_OBJECTS, BYTES_NONE, text("ab"), 100, 1000, true);
  expect_keys(f, "ab abb abc", true);
  scan(f, SPACE_OBJECTS, text("abb"), text("ab"), 2, 1000, true);
  expect_keys(f, "abb abc", true);
  scan(f, SPACE_OBJECTS, text("abb"), text("ab"), 1, 1000, true);
  expect_keys(f, "abb", false);
  scan(f, SPACE_OBJECTS, text("b"), text("ab"), 100, 1000, true);
  expect_keys(f, "", true);
  scan(f, SPACE_OBJECTS, text("d"), BYTES_NONE, 100, 1000, true);
  expect_keys(f, "", true);
  scan(f, SPACE_OBJECTS, BYTES_NONE, BYTES_NONE, 100, 25, false);
  expect_keys(f, "a ab", false); /* 11 + 12 bytes; the third would make 36 */
  scan(f, SPACE_OBJECTS, text("b"), BYTES_NONE, 100, 0, false);
  expect_keys(f, "b", false); /* at least one */
}

static void a_scan_returns_values_only_when_asked(void **state) {
  struct fixture *f = *state;
  commit(f, put(SPACE_HINTS, text("a"), text("value")));
  commit(f, put(SPACE_HINTS, text("b"), BYTES_NONE));
  scan(f, SPACE_HINTS, BYTES_NONE, BYTES_NONE, 10, 1000, true);
  assert_int_equal(f->count, 2);
  assert_null(f->entries[0].value.data);
  scan_free(f);
  scan(f, SPACE_HINTS, BYTES_NONE, BYTES_NONE, 10, 1000, false);
  assert_int_equal(f->count, 2);
  assert_int_equal(f->entries[0].value.size, 5);
  assert_memory_equal(f->entries[0].value.data, "value", 5);
  assert_non_null(f->entries[1].value.data);
  assert_int_equal(f->entries[1].value.size, 0);
  scan_free(f);
}

static void keys_are_bytes_in_the_order_of_bytes(void **state) {
  struct fixture *f = *state;
  static const uint8_t zeros[16] = {0};
  static const uint8_t ones[16] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
  static const size_t sizes[] = {1, 7, 8, 9, 16};
  for (size_t i = 0; i < 5; i += 1) {
    commit(f, put(SPACE_OBJECTS, (struct bytes){zeros, sizes[i]}, text("z")));
    commit(f, put(SPACE_OBJECTS, (struct bytes){ones, sizes[i]}, text("o")));
  }
  scan(f, SPACE_OBJECTS, BYTES_NONE, BYTES_NONE, 100, 10000, false);
  assert_int_equal(f->count, 10);
  assert_true(f->end);
  for (uint32_t i = 0; i < 10; i += 1) {
    assert_int_equal(f->entries[i].key.size, sizes[i % 5]);
    assert_int_equal(f->entries[i].key.data[0], i < 5 ? 0 : 255);
    assert_int_equal(f->entries[i].value.data[0], i < 5 ? 'z' : 'o');
  }
  scan_free(f);
  scan(f, SPACE_OBJECTS, BYTES_NONE, (struct bytes){ones, 8}, 100, 10000, true);
  assert_int_equal(f->count, 3);
  assert_true(f->end);
  scan_free(f);
}

static void big_values_and_long_keys_come_back_whole(void **state) {
  struct fixture *f = *state;
  const size_t size = 16u << 20;
  uint8_t *big = malloc(size);
  assert_non_null(big);
  struct prng prng;
  prng_init(&prng, 7);
  for (size_t i = 0; i < size; i += 8) {
    uint64_t draw = prng_u64(&prng);
    memcpy(big + i, &draw, 8);
  }
  commit(f, put(SPACE_OBJECTS, (struct bytes){big, 65551}, (struct bytes){big, size}));
  expect(f, SPACE_OBJECTS, (struct bytes){big, 65551}, (struct bytes){big, size});
  expect_absent(f, SPACE_OBJECTS, (struct bytes){big, 65550});
  free(big);
}

static void a_value_outlives_its_removal(void **state) {
  struct fixture *f = *state;
  commit(f, put(SPACE_OBJECTS, text("k"), text("first")));
  struct store_value got;
  assert_int_equal(f->engine->get(f->store, SPACE_OBJECTS, text("k"), true, &got), ERR_OK);
  commit(f, put(SPACE_OBJECTS, text("k"), text("second")));
  commit(f, removal(SPACE_OBJECTS, text("k")));
  assert_int_equal(got.size, 5);
  assert_memory_equal(got.data, "first", 5);
  store_value_free(got.data);
}

static void statistics_estimate_keys_and_bytes(void **state) {
  struct fixture *f = *state;
  for (uint32_t i = 0; i < 100; i += 1) {
    char key[16];
    (void)snprintf(key, sizeof(key), "key-%u", i);
    commit(f, put(SPACE_OBJECTS, text(key), text("a value of some length")));
  }
  assert_int_equal(f->engine->recover(f->store), ERR_OK);
  struct store_statistics statistics;
  f->engine->statistics(f->store, &statistics);
  assert_in_range(statistics.keys, 90, 110);
  assert_true(statistics.bytes > 2000);
  assert_true(statistics.free_bytes > 0);
  assert_false(statistics.nospace);
}

/* -- a model ------------------------------------------------------------------- */

#define MODEL_KEYS 12000u
#define MODEL_STEPS 24000u

struct model_entry {
  uint8_t key[24];
  uint32_t key_size;
  uint64_t value; /* 0: absent; the stored value is drawn from it */
};

static struct model_entry model[MODEL_KEYS];

static int model_compare(const void *a, const void *b) {
  const struct model_entry *left = a;
  const struct model_entry *right = b;
  return bytes_compare((struct bytes){left->key, left->key_size}, (struct bytes){right->key, right->key_size});
}

/* Distinct keys, sorted: half like positions, half short ones of few letters that are often prefixes of each other. */
static uint32_t model_make(struct prng *prng) {
  for (uint32_t i = 0; i < MODEL_KEYS; i += 1) {
    struct model_entry *entry = &model[i];
    bool position = prng_chance(prng, 500);
    entry->key_size = position ? 16 + (uint32_t)prng_below(prng, 8) : 1 + (uint32_t)prng_below(prng, 12);
    for (uint32_t at = 0; at < entry->key_size; at += 1) {
      entry->key[at] = (uint8_t)(position ? prng_u64(prng) : prng_below(prng, 3) * 127);
    }
    entry->value = 0;
  }
  qsort(model, MODEL_KEYS, sizeof(model[0]), model_compare);
  uint32_t count = 0;
  for (uint32_t i = 0; i < MODEL_KEYS; i += 1) {
    if (count == 0 || model_compare(&model[count - 1], &model[i]) != 0) {
      model[count] = model[i];
      count += 1;
    }
  }
  return count;
}

static struct bytes model_value(uint64_t value, uint8_t *buffer) {
  size_t size = value % 97;
  for (size_t i = 0; i < size; i += 1) {
    buffer[i] = (uint8_t)(value >> (i % 8 * 8));
  }
  return (struct bytes){buffer, size};
}

static struct bytes model_key(const struct model_entry *entry) {
  return (struct bytes){entry->key, entry->key_size};
}

static void model_check_get(struct fixture *f, const struct model_entry *entry) {
  uint8_t buffer[128];
  if (entry->value == 0) {
    expect_absent(f, SPACE_OBJECTS, model_key(entry));
  } else {
    expect(f, SPACE_OBJECTS, model_key(entry), model_value(entry->value, buffer));
  }
}

/* A scan from entry `at` with a prefix of its key against a walk over the model. */
static void model_check_scan(struct fixture *f, uint32_t count, uint32_t at, size_t prefix_size, uint32_t max_count) {
  struct bytes from = model_key(&model[at]);
  struct bytes prefix = {from.data, prefix_size < from.size ? prefix_size : from.size};
  scan(f, SPACE_OBJECTS, from, prefix, max_count, SIZE_MAX, false);
  uint32_t found = 0;
  bool more = false;
  uint8_t buffer[128];
  for (uint32_t i = at; i < count && !more; i += 1) {
    struct bytes key = model_key(&model[i]);
    if (key.size < prefix.size || memcmp(key.data, prefix.data, prefix.size) != 0) {
      break;
    }
    if (model[i].value == 0) {
      continue;
    }
    if (found == max_count) {
      more = true;
      break;
    }
    assert_true(found < f->count);
    struct bytes value = model_value(model[i].value, buffer);
    const struct store_scan_entry *got = &f->entries[found];
    assert_true(bytes_equal((struct bytes){got->key.data, got->key.size}, key));
    assert_true(bytes_equal((struct bytes){got->value.data, got->value.size}, value));
    found += 1;
  }
  assert_int_equal(f->count, found);
  assert_int_equal(f->end, !more);
  scan_free(f);
}

static void model_commit(struct fixture *f, struct prng *prng, uint32_t count, uint32_t put_per_mille) {
  struct store_write writes[16];
  uint8_t buffers[16][128];
  uint32_t size = 1 + (uint32_t)prng_below(prng, 16);
  for (uint32_t i = 0; i < size; i += 1) {
    struct model_entry *entry = &model[prng_below(prng, count)];
    entry->value = prng_chance(prng, put_per_mille) ? prng_u64(prng) | 1u : 0;
    struct bytes key = model_key(entry);
    writes[i] = entry->value == 0 ? removal(SPACE_OBJECTS, key)
                                  : put(SPACE_OBJECTS, key, model_value(entry->value, buffers[i]));
  }
  assert_int_equal(f->engine->commit(f->store, writes, size, false), ERR_OK);
}

/* Fills, churns, empties, fills and empties again: nodes of the memory engine split and go away. */
static void an_engine_agrees_with_a_sorted_array(void **state) {
  struct fixture *f = *state;
  static const uint32_t put_per_mille[] = {950, 500, 20, 900, 10, 0};
  const uint64_t seed = 20071014;
  print_message("seed %llu\n", (unsigned long long)seed);
  struct prng prng;
  prng_init(&prng, seed);
  uint32_t count = model_make(&prng);
  for (uint32_t step = 0; step < MODEL_STEPS; step += 1) {
    uint64_t what = prng_below(&prng, 10);
    if (what < 5) {
      model_commit(f, &prng, count, put_per_mille[step / (MODEL_STEPS / 6)]);
    } else if (what < 9) {
      model_check_get(f, &model[prng_below(&prng, count)]);
    } else {
      uint32_t at = (uint32_t)prng_below(&prng, count);
      size_t prefix_size = (size_t)prng_below(&prng, 4);
      uint32_t max_count = 1 + (uint32_t)prng_below(&prng, 40);
      model_check_scan(f, count, at, prefix_size, max_count);
    }
    if (f->engine == &store_rocksdb && step % (MODEL_STEPS / 4) == MODEL_STEPS / 8) {
      fixture_reopen(f);
    }
  }
  uint32_t present = 0;
  for (uint32_t i = 0; i < count; i += 1) {
    model_check_get(f, &model[i]);
    present += model[i].value != 0 ? 1 : 0;
  }
  if (f->engine == &store_memory) {
    struct store_statistics statistics;
    f->engine->statistics(f->store, &statistics);
    assert_int_equal(statistics.keys, present);
  }
}

/* -- memory alone ---------------------------------------------------------------- */

static void a_tree_of_many_levels_gives_all_memory_back(void **state) {
  struct fixture *f = *state;
  const uint32_t count = 300000;
  struct store_statistics before;
  f->engine->statistics(f->store, &before);
  for (uint32_t pass = 0; pass < 2; pass += 1) {
    for (uint32_t i = 0; i < count; i += 1) {
      uint64_t key = i * UINT64_C(0x9E3779B97F4A7C15);
      struct bytes bytes = {(const uint8_t *)&key, sizeof(key)};
      struct store_write write = pass == 0 ? put(SPACE_OBJECTS, bytes, bytes) : removal(SPACE_OBJECTS, bytes);
      assert_int_equal(f->engine->commit(f->store, &write, 1, false), ERR_OK);
    }
    struct store_statistics statistics;
    f->engine->statistics(f->store, &statistics);
    assert_int_equal(statistics.keys, pass == 0 ? count : 0);
    if (pass == 0) {
      assert_in_range(statistics.bytes / count, 32, 112); /* 16 of key and value; see the header of memory.c */
    } else {
      assert_int_equal(statistics.bytes, before.bytes);
    }
  }
}

/* -- rocksdb alone ------------------------------------------------------------------ */

/* As long as the shortest that a node makes. */
static struct bytes fill_key(uint64_t *room, uint32_t i) {
  *room = i;
  return (struct bytes){(const uint8_t *)room, sizeof *room};
}

static void fill(struct fixture *f, uint32_t count) {
  uint64_t room;
  struct prng prng;
  prng_init(&prng, 3);
  for (uint32_t i = 0; i < count; i += 1) {
    uint64_t value[16];
    for (uint32_t at = 0; at < 16; at += 1) {
      value[at] = prng_u64(&prng);
    }
    struct store_write write =
        put(SPACE_OBJECTS, fill_key(&room, i), (struct bytes){(const uint8_t *)value, sizeof(value)});
    assert_int_equal(f->engine->commit(f->store, &write, 1, false), ERR_OK);
  }
}

/* How many of what `fill` wrote are found, and how many gets said CORRUPT; a wrong value fails. */
static void count_filled(struct fixture *f, uint32_t count, uint32_t *found, uint32_t *corrupt) {
  struct prng prng;
  prng_init(&prng, 3);
  uint64_t room;
  *found = 0;
  *corrupt = 0;
  for (uint32_t i = 0; i < count; i += 1) {
    uint64_t value[16];
    for (uint32_t at = 0; at < 16; at += 1) {
      value[at] = prng_u64(&prng);
    }
    struct store_value got;
    enum err err = f->engine->get(f->store, SPACE_OBJECTS, fill_key(&room, i), true, &got);
    assert_true(err == ERR_OK || err == ERR_CORRUPT);
    *corrupt += err == ERR_CORRUPT ? 1 : 0;
    if (err == ERR_OK && got.data != NULL) {
      assert_int_equal(got.size, sizeof(value));
      assert_memory_equal(got.data, value, sizeof(value));
      *found += 1;
      store_value_free(got.data);
    }
  }
}

/* The largest file of the database whose name ends so. */
static void find_file(const struct fixture *f, const char *ending, char *path, size_t size, off_t *file_size) {
  char directory[128];
  (void)snprintf(directory, sizeof(directory), "%s/rocksdb", f->directory);
  DIR *listing = opendir(directory);
  assert_non_null(listing);
  *file_size = -1;
  for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
    size_t length = strlen(entry->d_name);
    char candidate[512];
    struct stat info;
    (void)snprintf(candidate, sizeof(candidate), "%s/%s", directory, entry->d_name);
    if (length > strlen(ending) && strcmp(entry->d_name + length - strlen(ending), ending) == 0 &&
        stat(candidate, &info) == 0 && info.st_size > *file_size) {
      *file_size = info.st_size;
      (void)snprintf(path, size, "%s", candidate);
    }
  }
  closedir(listing);
  assert_true(*file_size >= 0);
}

static void damage(const char *path, off_t offset) {
  int file = open(path, O_RDWR);
  assert_true(file >= 0);
  uint8_t byte = 0;
  assert_int_equal(pread(file, &byte, 1, offset), 1);
  byte ^= 0x40u;
  assert_int_equal(pwrite(file, &byte, 1, offset), 1);
  close(file);
}

static void everything_is_found_after_a_restart(void **state) {
  struct fixture *f = *state;
  fill(f, 3000);
  commit(f, put(SPACE_HINTS, text("hint"), text("h")));
  commit(f, put(SPACE_META, text("history"), text("m")));
  for (uint32_t restart = 0; restart < 3; restart += 1) {
    fixture_reopen(f);
    uint32_t found;
    uint32_t corrupt;
    count_filled(f, 3000, &found, &corrupt);
    assert_int_equal(found, 3000);
    assert_int_equal(corrupt, 0);
    expect(f, SPACE_HINTS, text("hint"), text("h"));
    expect(f, SPACE_META, text("history"), text("m"));
  }
}

static void what_was_removed_in_runs_gives_its_space_back(void **state) {
  struct fixture *f = *state;
  struct store_statistics statistics;
  const uint32_t count = 20000;
  fill(f, count);
  fixture_reopen(f); /* now it is in files */
  f->engine->statistics(f->store, &statistics);
  assert_true(statistics.bytes > UINT64_C(128) * count);
  uint64_t room;
  for (uint32_t i = 0; i < count; i++) {
    struct store_write write = removal(SPACE_OBJECTS, fill_key(&room, i));
    assert_int_equal(f->engine->commit(f->store, &write, 1, false), ERR_OK);
  }
  fixture_reopen(f);
  for (uint32_t tries = 0; tries < 3000 && statistics.bytes > 100000; tries++) { /* compacted in the background */
    (void)usleep(10000);
    assert_int_equal(f->engine->recover(f->store), ERR_OK); /* counts anew */
    f->engine->statistics(f->store, &statistics);
  }
  assert_true(statistics.bytes <= 100000);
}

static void what_was_committed_survives_the_death_of_the_process(void **state) {
  struct fixture *f = *state;
  f->engine->close(f->store);
  f->store = NULL;
  pid_t child = fork();
  if (child == 0) {
    fixture_open(f);
    fill(f, 2000);
    _exit(0); /* nothing is closed */
  }
  assert_true(child > 0);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  fixture_open(f);
  uint32_t found;
  uint32_t corrupt;
  count_filled(f, 2000, &found, &corrupt);
  assert_int_equal(found, 2000);
}

static void a_directory_in_use_is_refused(void **state) {
  struct fixture *f = *state;
  struct store *second = NULL;
  assert_int_equal(f->engine->open(f->directory, &test_options, &second, f->why), ERR_BUSY);
  assert_null(second);
  assert_non_null(strstr(f->why, f->directory));
  assert_non_null(strstr(f->why, "in use by another process"));
  assert_null(strchr(f->why, '\n'));
  expect_absent(f, SPACE_META, text("x"));
}

static void a_missing_directory_is_named(void **state) {
  struct fixture *f = *state;
  struct store *other = NULL;
  assert_int_equal(f->engine->open("/tmp/gramme-store-none/here", &test_options, &other, f->why), ERR_IO);
  assert_non_null(strstr(f->why, "/tmp/gramme-store-none/here/rocksdb"));
  assert_non_null(strstr(f->why, "create the data directory"));
}

/* How many keys scans find from the first to the last, and how many of the scans began with damage. */
static uint32_t scanned_past_damage(struct fixture *f, uint32_t *gaps) {
  uint8_t room[9];
  struct bytes from = BYTES_NONE;
  uint32_t keys = 0;
  *gaps = 0;
  for (f->end = false; !f->end;) {
    enum err err =
        f->engine->scan(f->store, SPACE_OBJECTS, from, BYTES_NONE, 100, SIZE_MAX, true, f->entries, &f->count, &f->end);
    assert_true(err == ERR_OK || err == ERR_CORRUPT);
    assert_true(f->count > 0 || f->end);
    *gaps += err == ERR_CORRUPT ? 1 : 0;
    keys += f->count;
    if (f->count > 0) {
      struct store_value last = f->entries[f->count - 1].key;
      assert_int_equal(last.size + 1, sizeof room);
      memcpy(room, last.data, last.size);
      room[last.size] = 0;
      from = (struct bytes){room, last.size + 1};
    }
    scan_free(f);
  }
  return keys;
}

static void a_damaged_table_is_corrupt_not_wrong(void **state) {
  struct fixture *f = *state;
  fill(f, 3000);
  fixture_reopen(f); /* replaying the log writes tables */
  f->engine->close(f->store);
  char path[600];
  off_t size;
  find_file(f, ".sst", path, sizeof(path), &size);
  assert_true(size > 100000);
  damage(path, size / 2);
  fixture_open(f);
  uint32_t found;
  uint32_t corrupt;
  count_filled(f, 3000, &found, &corrupt);
  assert_true(corrupt > 0);
  assert_int_equal(found + corrupt, 3000);
  f->engine->failure(f->store, f->why);
  assert_non_null(strstr(f->why, "checksum"));
  assert_int_equal(scanned_past_damage(f, &corrupt), found);
  assert_true(corrupt > 0);
}

static void a_log_cut_off_at_its_end_opens_without_the_cut_record(void **state) {
  struct fixture *f = *state;
  fill(f, 100);
  f->engine->close(f->store);
  char path[600];
  off_t size;
  find_file(f, ".log", path, sizeof(path), &size);
  assert_int_equal(truncate(path, size - 10), 0);
  fixture_open(f);
  uint32_t found;
  uint32_t corrupt;
  count_filled(f, 100, &found, &corrupt);
  assert_int_equal(found, 99);
}

static void damage_in_the_middle_of_the_log_refuses_to_open(void **state) {
  struct fixture *f = *state;
  fill(f, 100);
  f->engine->close(f->store);
  f->store = NULL;
  char path[600];
  off_t size;
  find_file(f, ".log", path, sizeof(path), &size);
  damage(path, size / 2);
  assert_int_equal(f->engine->open(f->directory, &test_options, &f->store, f->why), ERR_CORRUPT);
  assert_non_null(strstr(f->why, "move the store away"));
  f->store = NULL;
}

static void a_failed_sync_is_io_for_ever(void **state) {
  struct fixture *f = *state;
  commit(f, put(SPACE_OBJECTS, text("before"), text("kept")));
  sync_fails = true;
  struct store_write write = put(SPACE_OBJECTS, text("k"), text("v"));
  assert_int_equal(f->engine->commit(f->store, &write, 1, true), ERR_IO);
  f->engine->failure(f->store, f->why);
  assert_non_null(strstr(f->why, "fdatasync"));
  sync_fails = false;
  assert_int_equal(f->engine->commit(f->store, &write, 1, true), ERR_IO);
  assert_int_equal(f->engine->commit(f->store, &write, 1, false), ERR_IO);
  assert_int_equal(f->engine->recover(f->store), ERR_IO);
  expect(f, SPACE_OBJECTS, text("before"), text("kept"));
}

static void a_get_that_may_not_wait_finds_what_is_in_memory(void **state) {
  struct fixture *f = *state;
  fill(f, 2000);
  fixture_reopen(f);
  uint64_t room;
  struct bytes bytes = fill_key(&room, 1000);
  struct store_value got;
  assert_int_equal(f->engine->get(f->store, SPACE_OBJECTS, bytes, false, &got), ERR_RETRY);
  assert_null(got.data);
  assert_int_equal(f->engine->get(f->store, SPACE_OBJECTS, bytes, true, &got), ERR_OK);
  assert_non_null(got.data);
  store_value_free(got.data);
  assert_int_equal(f->engine->get(f->store, SPACE_OBJECTS, bytes, false, &got), ERR_OK); /* now in the cache */
  assert_non_null(got.data);
  store_value_free(got.data);
}

static void commits_stop_at_the_reserve_and_go_on_below_it(void **state) {
  struct fixture *f = *state;
  struct store_write write = put(SPACE_OBJECTS, text("k"), text("v"));
  f->engine->set_reserve(f->store, UINT64_C(1) << 60);
  assert_int_equal(f->engine->commit(f->store, &write, 1, true), ERR_NOSPACE);
  assert_int_equal(f->engine->recover(f->store), ERR_NOSPACE);
  struct store_statistics statistics;
  f->engine->statistics(f->store, &statistics);
  assert_true(statistics.nospace);
  expect_absent(f, SPACE_OBJECTS, text("k"));
  f->engine->set_reserve(f->store, 0);
  assert_int_equal(f->engine->commit(f->store, &write, 1, true), ERR_OK);
  f->engine->statistics(f->store, &statistics);
  assert_false(statistics.nospace);
  expect(f, SPACE_OBJECTS, text("k"), text("v"));
}

static void an_engine_is_found_by_its_name(void **state) {
  (void)state;
  assert_ptr_equal(store_engine_find("memory"), &store_memory);
  assert_ptr_equal(store_engine_find("rocksdb"), &store_rocksdb);
  assert_null(store_engine_find("log"));
  assert_null(store_engine_find(""));
}

static void a_directory_tells_which_engine_has_used_it(void **state) {
  struct fixture *f = *state;
  bool memory = f->engine == &store_memory;
  const struct store_engine *other = memory ? &store_rocksdb : &store_memory;
  const struct store_write write = {.space = SPACE_META, .key = text("k"), .value = text("v")};
  assert_int_equal(f->engine->commit(f->store, &write, 1, true), ERR_OK);
  assert_null(store_engine_other(f->engine, f->directory));
  assert_ptr_equal(store_engine_other(other, f->directory), f->engine);
}

#define MEMORY(test) \
  { "memory: " #test, test, set_up_memory, tear_down, NULL }
#define ROCKSDB(test) \
  { "rocksdb: " #test, test, set_up_rocksdb, tear_down, NULL }
#define BOTH(test) MEMORY(test), ROCKSDB(test)

int main(void) {
  const struct CMUnitTest tests[] = {
      BOTH(what_was_put_is_found_until_it_is_removed),
      BOTH(an_empty_value_is_not_an_absent_one),
      BOTH(spaces_do_not_see_each_other),
      BOTH(the_last_write_to_a_key_in_a_batch_wins),
      BOTH(a_scan_keeps_to_its_range_and_bounds),
      BOTH(a_scan_returns_values_only_when_asked),
      BOTH(keys_are_bytes_in_the_order_of_bytes),
      BOTH(big_values_and_long_keys_come_back_whole),
      BOTH(a_value_outlives_its_removal),
      BOTH(statistics_estimate_keys_and_bytes),
      BOTH(an_engine_agrees_with_a_sorted_array),
      MEMORY(a_tree_of_many_levels_gives_all_memory_back),
      ROCKSDB(everything_is_found_after_a_restart),
      ROCKSDB(what_was_removed_in_runs_gives_its_space_back),
      ROCKSDB(what_was_committed_survives_the_death_of_the_process),
      ROCKSDB(a_directory_in_use_is_refused),
      ROCKSDB(a_missing_directory_is_named),
      ROCKSDB(a_damaged_table_is_corrupt_not_wrong),
      ROCKSDB(a_log_cut_off_at_its_end_opens_without_the_cut_record),
      ROCKSDB(damage_in_the_middle_of_the_log_refuses_to_open),
      ROCKSDB(a_failed_sync_is_io_for_ever),
      ROCKSDB(a_get_that_may_not_wait_finds_what_is_in_memory),
      ROCKSDB(commits_stop_at_the_reserve_and_go_on_below_it),
      BOTH(a_directory_tells_which_engine_has_used_it),
      cmocka_unit_test(an_engine_is_found_by_its_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
