/* A node's data directory: whose it is, and that only one process uses it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "run/directory.h"

struct fixture {
  char root[64];
  char path[96]; /* does not exist yet */
  char format[128];
  struct directory directory;
  char why[DIRECTORY_WHY];
};

static int set_up(void **state) {
  struct fixture *f = calloc(1, sizeof(*f));
  assert_non_null(f);
  strcpy(f->root, "/tmp/gramme-directory-XXXXXX");
  assert_non_null(mkdtemp(f->root));
  snprintf(f->path, sizeof(f->path), "%s/a/b", f->root);
  snprintf(f->format, sizeof(f->format), "%s/gramme.format", f->path);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  char command[128];
  directory_close(&f->directory);
  snprintf(command, sizeof(command), "rm -rf %s", f->root);
  int status = system(command);
  free(f);
  return status;
}

static size_t file_read(const char *path, char *text, size_t size) {
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  size_t got = fread(text, 1, size - 1, file);
  text[got] = '\0';
  fclose(file);
  return got;
}

static void file_write(const char *path, const char *text, size_t size) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

/* The text with its checksum line, which is right. */
static void format_write(const struct fixture *f, const char *text) {
  char whole[512];
  uint64_t checksum = bytes_hash((struct bytes){(const uint8_t *)text, strlen(text)}, 0);
  int size = snprintf(whole, sizeof(whole), "%schecksum %016llx\n", text, (unsigned long long)checksum);
  file_write(f->format, whole, (size_t)size);
}

static enum err open_as(struct fixture *f, const char *cluster_name) {
  return directory_open(&f->directory, f->path, cluster_name, 0, f->why);
}

static void open_once(struct fixture *f) {
  assert_int_equal(open_as(f, "dynamo"), ERR_OK);
  directory_close(&f->directory);
}

static void a_new_directory_gets_a_node_id_that_stays(void **state) {
  struct fixture *f = *state;
  assert_int_equal(open_as(f, "dynamo"), ERR_OK);
  assert_true(f->directory.fresh);
  uint32_t node = f->directory.node;
  assert_int_not_equal(node, 0);
  directory_close(&f->directory);
  assert_int_equal(open_as(f, "dynamo"), ERR_OK);
  assert_false(f->directory.fresh);
  assert_int_equal(f->directory.node, node);
}

static void files_of_the_operator_do_not_matter(void **state) {
  struct fixture *f = *state;
  char file[128];
  char parent[96];
  snprintf(parent, sizeof(parent), "%s/a", f->root);
  assert_int_equal(mkdir(parent, 0700), 0);
  assert_int_equal(mkdir(f->path, 0700), 0);
  snprintf(file, sizeof(file), "%s/gramme.conf", f->path);
  file_write(file, "", 0);
  assert_int_equal(open_as(f, "dynamo"), ERR_OK);
  assert_true(f->directory.fresh);
}

static void the_file_says_what_the_header_says(void **state) {
  struct fixture *f = *state;
  char text[256];
  char wanted[256];
  open_once(f);
  file_read(f->format, text, sizeof(text));
  int size = snprintf(wanted, sizeof(wanted), "gramme data directory\nformat 1\ncluster dynamo\nnode %08x\n",
                      f->directory.node);
  uint64_t checksum = bytes_hash((struct bytes){(const uint8_t *)wanted, (size_t)size}, 0);
  snprintf(wanted + size, sizeof(wanted) - (size_t)size, "checksum %016llx\n", (unsigned long long)checksum);
  assert_string_equal(text, wanted);
}

static void another_process_is_named_by_its_pid(void **state) {
  struct fixture *f = *state;
  int ready[2];
  char byte = 0;
  char pid_text[32];
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    struct directory held;
    char why[DIRECTORY_WHY];
    byte = directory_open(&held, f->path, "dynamo", 0, why) == ERR_OK ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1) {
      _exit(1);
    }
    pause();
    _exit(0);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(byte, 'y');
  assert_int_equal(open_as(f, "dynamo"), ERR_BUSY);
  snprintf(pid_text, sizeof(pid_text), "(pid %ld)", (long)child);
  assert_non_null(strstr(f->why, pid_text));
  assert_non_null(strstr(f->why, f->path));
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, NULL, 0), child);
  assert_int_equal(open_as(f, "dynamo"), ERR_OK); /* its death has freed it */
  close(ready[0]);
  close(ready[1]);
}

static void a_directory_of_another_cluster_is_refused(void **state) {
  struct fixture *f = *state;
  open_once(f);
  assert_int_equal(open_as(f, "riak"), ERR_BADARG);
  assert_non_null(strstr(f->why, "belongs to the cluster \"dynamo\", not \"riak\""));
  assert_int_equal(open_as(f, "dynamo"), ERR_OK); /* and nothing of it has changed */
}

static void a_newer_format_is_refused_whatever_follows_it(void **state) {
  struct fixture *f = *state;
  open_once(f);
  const char *newer = "gramme data directory\nformat 2\nwhatever\n";
  file_write(f->format, newer, strlen(newer));
  assert_int_equal(open_as(f, "dynamo"), ERR_FORMAT);
  assert_non_null(strstr(f->why, "has format 2, this version reads up to 1; run the newer version"));
}

static void any_damage_to_the_format_file_is_refused(void **state) {
  struct fixture *f = *state;
  char whole[256];
  char text[256];
  open_once(f);
  size_t size = file_read(f->format, whole, sizeof(whole));
  for (size_t i = 0; i < size; i += 1) { /* each bit */
    for (int bit = 0; bit < 8; bit += 1) {
      memcpy(text, whole, size);
      text[i] = (char)(text[i] ^ (1 << bit));
      file_write(f->format, text, size);
      enum err err = open_as(f, "dynamo");
      assert_true(err == ERR_CORRUPT || err == ERR_FORMAT); /* "format 3" is one bit away */
    }
  }
  for (size_t cut = 0; cut < size; cut += 1) {
    file_write(f->format, whole, cut);
    assert_int_equal(open_as(f, "dynamo"), ERR_CORRUPT);
    assert_non_null(strstr(f->why, "is damaged"));
  }
  memcpy(text, whole, size);
  text[size] = '\n';
  file_write(f->format, text, size + 1);
  assert_int_equal(open_as(f, "dynamo"), ERR_CORRUPT);
  file_write(f->format, whole, size);
  assert_int_equal(open_as(f, "dynamo"), ERR_OK);
}

static void a_node_id_of_zero_is_damage_though_the_checksum_is_right(void **state) {
  struct fixture *f = *state;
  open_once(f);
  format_write(f, "gramme data directory\nformat 1\ncluster dynamo\nnode 0000002a\n");
  assert_int_equal(open_as(f, "dynamo"), ERR_OK);
  assert_int_equal(f->directory.node, 42);
  directory_close(&f->directory);
  format_write(f, "gramme data directory\nformat 1\ncluster dynamo\nnode 00000000\n");
  assert_int_equal(open_as(f, "dynamo"), ERR_CORRUPT);
}

static void data_without_a_format_file_is_not_taken_for_a_new_directory(void **state) {
  struct fixture *f = *state;
  char store[128];
  open_once(f);
  snprintf(store, sizeof(store), "%s/rocksdb", f->path);
  assert_int_equal(mkdir(store, 0700), 0);
  assert_int_equal(open_as(f, "dynamo"), ERR_OK);
  directory_close(&f->directory);
  assert_int_equal(unlink(f->format), 0);
  assert_int_equal(open_as(f, "dynamo"), ERR_CORRUPT);
  assert_non_null(strstr(f->why, "gramme.format is missing though there is data beside it"));
  assert_int_not_equal(access(f->format, F_OK), 0);
}

static void a_file_in_the_place_of_the_directory_is_named(void **state) {
  struct fixture *f = *state;
  snprintf(f->path, sizeof(f->path), "%s/file", f->root);
  file_write(f->path, "", 0);
  assert_int_equal(open_as(f, "dynamo"), ERR_IO);
  assert_non_null(strstr(f->why, f->path));
  assert_non_null(strstr(f->why, "set dir to a directory"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_new_directory_gets_a_node_id_that_stays, set_up, tear_down),
      cmocka_unit_test_setup_teardown(files_of_the_operator_do_not_matter, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_file_says_what_the_header_says, set_up, tear_down),
      cmocka_unit_test_setup_teardown(another_process_is_named_by_its_pid, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_directory_of_another_cluster_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_newer_format_is_refused_whatever_follows_it, set_up, tear_down),
      cmocka_unit_test_setup_teardown(any_damage_to_the_format_file_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_node_id_of_zero_is_damage_though_the_checksum_is_right, set_up, tear_down),
      cmocka_unit_test_setup_teardown(data_without_a_format_file_is_not_taken_for_a_new_directory, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_file_in_the_place_of_the_directory_is_named, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
