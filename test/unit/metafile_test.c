/* What a memory-engine node knows of its cluster outlives the process; its data does not. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/metafile.h"
#include "store/store.h"

struct fixture {
  char directory[64];
  char path[80];
  char why[STORE_WHY];
};

static int set_up(void **state) {
  struct fixture *f = calloc(1, sizeof(*f));
  assert_non_null(f);
  (void)snprintf(f->directory, sizeof(f->directory), "/tmp/gramme-metafile-XXXXXX");
  assert_non_null(mkdtemp(f->directory));
  (void)snprintf(f->path, sizeof(f->path), "%s/meta", f->directory);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  (void)unlink(f->path);
  (void)rmdir(f->directory);
  free(f);
  return 0;
}

static void put(struct store *store, enum space space, const char *key, const char *value) {
  struct store_write write = {.space = space,
                              .key = {(const uint8_t *)key, strlen(key)},
                              .remove = value == NULL,
                              .value = {(const uint8_t *)value, value == NULL ? 0 : strlen(value)}};
  assert_int_equal(store_memory.commit(store, &write, 1, true), ERR_OK);
}

static void expect(struct store *store, enum space space, const char *key, const char *expected) {
  struct store_value value;
  assert_int_equal(store_memory.get(store, space, (struct bytes){(const uint8_t *)key, strlen(key)}, true, &value),
                   ERR_OK);
  if (expected == NULL) {
    assert_null(value.data);
    return;
  }
  assert_non_null(value.data);
  assert_int_equal(value.size, strlen(expected));
  assert_memory_equal(value.data, expected, value.size);
  store_value_free(value.data);
}

static void metadata_outlives_the_process_and_data_does_not(void **state) {
  struct fixture *f = *state;
  struct store *store = NULL;
  assert_int_equal(store_memory.open(f->directory, NULL, &store, f->why), ERR_OK);
  put(store, SPACE_META, "history", "who is in");
  put(store, SPACE_META, "sealed", "");
  put(store, SPACE_META, "gone", "soon");
  put(store, SPACE_META, "gone", NULL);
  put(store, SPACE_META, "history", "who is in now");
  put(store, SPACE_OBJECTS, "cart:42", "milk");
  store_memory.close(store);
  assert_int_equal(store_memory.open(f->directory, NULL, &store, f->why), ERR_OK);
  expect(store, SPACE_META, "history", "who is in now");
  expect(store, SPACE_META, "sealed", "");
  expect(store, SPACE_META, "gone", NULL);
  expect(store, SPACE_OBJECTS, "cart:42", NULL);
  store_memory.close(store);
}

static void every_damaged_byte_is_noticed(void **state) {
  struct fixture *f = *state;
  struct store *store = NULL;
  assert_int_equal(store_memory.open(f->directory, NULL, &store, f->why), ERR_OK);
  put(store, SPACE_META, "history", "who is in");
  store_memory.close(store);
  struct stat status;
  assert_int_equal(stat(f->path, &status), 0);
  assert_true(status.st_size > 16);
  for (off_t at = 0; at < status.st_size; at += 1) {
    int file = open(f->path, O_RDWR);
    uint8_t byte = 0;
    assert_int_equal(pread(file, &byte, 1, at), 1);
    byte ^= 0x10u;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    enum err err = store_memory.open(f->directory, NULL, &store, f->why);
    assert_true(err == ERR_CORRUPT || (err == ERR_FORMAT && at < 4));
    assert_non_null(strstr(f->why, "/meta can not be used"));
    byte ^= 0x10u;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    assert_int_equal(close(file), 0);
  }
  for (off_t size = 0; size < status.st_size; size += 1) {
    int file = open(f->path, O_RDWR);
    uint8_t *whole = malloc((size_t)status.st_size);
    assert_int_equal(pread(file, whole, (size_t)status.st_size, 0), status.st_size);
    assert_int_equal(ftruncate(file, size), 0);
    assert_int_equal(store_memory.open(f->directory, NULL, &store, f->why), ERR_CORRUPT);
    assert_int_equal(pwrite(file, whole, (size_t)status.st_size, 0), status.st_size);
    assert_int_equal(close(file), 0);
    free(whole);
  }
  assert_int_equal(store_memory.open(f->directory, NULL, &store, f->why), ERR_OK);
  expect(store, SPACE_META, "history", "who is in");
  store_memory.close(store);
}

static void a_file_that_can_not_be_replaced_is_an_error_and_the_old_one_stands(void **state) {
  struct fixture *f = *state;
  struct store *store = NULL;
  char beside[100];
  assert_int_equal(store_memory.open(f->directory, NULL, &store, f->why), ERR_OK);
  put(store, SPACE_META, "history", "first");
  (void)snprintf(beside, sizeof(beside), "%s/meta.new", f->directory);
  assert_int_equal(mkdir(beside, 0700), 0); /* stands where the new file would be written */
  struct store_write write = {.space = SPACE_META, .key = BYTES_LITERAL("history"), .value = BYTES_LITERAL("second")};
  assert_int_equal(store_memory.commit(store, &write, 1, true), ERR_IO);
  store_memory.close(store);
  assert_int_equal(rmdir(beside), 0);
  assert_int_equal(store_memory.open(f->directory, NULL, &store, f->why), ERR_OK);
  expect(store, SPACE_META, "history", "first");
  store_memory.close(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(metadata_outlives_the_process_and_data_does_not, set_up, tear_down),
      cmocka_unit_test_setup_teardown(every_damaged_byte_is_noticed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_that_can_not_be_replaced_is_an_error_and_the_old_one_stands, set_up,
                                      tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
