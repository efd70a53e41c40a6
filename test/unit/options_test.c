/* The one table of options: values, the configuration file, and the rules across options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/options.h"

struct fixture {
  struct options options;
  char why[OPTIONS_WHY];
  char path[64];
};

static int set_up(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  options_init(&f->options);
  strcpy(f->path, "/tmp/gramme-options-XXXXXX");
  int file = mkstemp(f->path);
  assert_true(file >= 0);
  close(file);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  options_deinit(&f->options);
  unlink(f->path);
  free(f);
  return 0;
}

static void write_file(struct fixture *f, const char *text, size_t size) {
  FILE *file = fopen(f->path, "w");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

static bool load(struct fixture *f, const char *text) {
  write_file(f, text, strlen(text));
  return options_load(&f->options, f->path, f->why);
}

/* The reason that stands behind FILE:LINE: */
static void assert_fault(struct fixture *f, const char *text, int line, const char *reason) {
  assert_false(load(f, text));
  char expected[128];
  snprintf(expected, sizeof expected, "%s:%d: ", f->path, line);
  if (strncmp(f->why, expected, strlen(expected)) != 0 || strstr(f->why, reason) == NULL) {
    fail_msg("wanted \"%s...%s\", got \"%s\"", expected, reason, f->why);
  }
}

static void assert_text(struct fixture *f, const char *name, const char *expected) {
  char text[OPTION_TEXT_MAX];
  assert_true(options_get(&f->options, name, text, sizeof text));
  assert_string_equal(text, expected);
}

static void assert_refused(struct fixture *f, const char *name, const char *value, const char *reason) {
  assert_false(options_set(&f->options, name, value, f->why));
  if (strstr(f->why, reason) == NULL) {
    fail_msg("wanted \"%s\" in \"%s\"", reason, f->why);
  }
}

static void the_defaults_pass_their_own_check(void **state) {
  struct fixture *f = *state;
  assert_true(options_check(&f->options, f->why));
  assert_int_equal(f->options.port, 7600);
  assert_int_equal(f->options.max_value, 1 << 20);
  assert_int_equal(f->options.request_timeout, 3000);
  assert_string_equal(f->options.engine, "rocksdb");
}

static void sizes_and_durations_are_read_with_their_units(void **state) {
  struct fixture *f = *state;
  static const struct {
    const char *name, *value, *shown;
  } cases[] = {
      {"max-value", "64kb", "64kb"},  {"max-value", "65536", "64kb"},    {"max-value", "1MB", "1mb"},
      {"max-value", "1500", "1500"},  {"max-value", "2k", "2kb"},        {"disk-reserve", "0", "0"},
      {"disk-reserve", "1tb", "1tb"}, {"hedge", "250ms", "250ms"},       {"hedge", "1500ms", "1500ms"},
      {"hedge", "3000ms", "3s"},      {"request-timeout", "10m", "10m"}, {"port", "1", "1"},
      {"port", "65535", "65535"},     {"disk-reserve", "100b", "100"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_true(options_set(&f->options, cases[i].name, cases[i].value, f->why));
    assert_text(f, cases[i].name, cases[i].shown);
  }
}

static void what_is_shown_of_a_number_reads_back_as_the_same_number(void **state) {
  struct fixture *f = *state;
  for (uint64_t bytes = 1024; bytes <= 16777216; bytes = bytes * 3 / 2 + 7) {
    char text[64];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    assert_true(options_set(&f->options, "max-value", text, f->why));
    assert_true(options_get(&f->options, "max-value", text, sizeof text));
    assert_true(options_set(&f->options, "max-value", "1mb", f->why));
    assert_true(options_set(&f->options, "max-value", text, f->why));
    assert_int_equal(f->options.max_value, bytes);
  }
}

static void a_value_out_of_range_or_of_the_wrong_type_is_refused_and_changes_nothing(void **state) {
  struct fixture *f = *state;
  assert_refused(f, "port", "0", "from 1 to 65535");
  assert_refused(f, "port", "65536", "it is 65536");
  assert_refused(f, "port", "-1", "whole number");
  assert_refused(f, "port", "+1", "whole number");
  assert_refused(f, "port", " 1", "whole number");
  assert_refused(f, "port", "7600x", "whole number");
  assert_refused(f, "port", "7600ms", "whole number");
  assert_refused(f, "port", "", "whole number");
  assert_refused(f, "port", "18446744073709551617", "whole number");
  assert_refused(f, "hedge", "100", "with its unit");
  assert_refused(f, "hedge", "100mb", "duration");
  assert_refused(f, "hedge", "2m", "from 1ms to 1m");
  assert_refused(f, "max-value", "17mb", "from 1kb to 16mb");
  assert_refused(f, "max-value", "18014398509481985kb", "size");
  assert_refused(f, "dir", "", "may not be empty");
  assert_refused(f, "zone", "a-zone-name-that-is-longer-than-32-bytes", "0 to 32 characters");
  assert_refused(f, "zone", "a\tb", "control character");
  assert_int_equal(f->options.port, 7600);
  assert_int_equal(f->options.hedge, 100);
  assert_string_equal(f->options.dir, "./gramme-data");
}

static void an_unknown_option_is_refused_with_the_nearest_name(void **state) {
  struct fixture *f = *state;
  assert_refused(f, "prot", "1", "did you mean 'port'");
  assert_refused(f, "peer_port", "1", "did you mean 'peer-port'");
  assert_refused(f, "clustername", "x", "did you mean 'cluster-name'");
  assert_refused(f, "seed", "x", "did you mean 'seeds'");
  assert_refused(f, "appendonly", "yes", "--print-config");
  char text[8];
  assert_false(options_get(&f->options, "prot", text, sizeof text));
}

static void a_secret_is_never_shown(void **state) {
  struct fixture *f = *state;
  assert_text(f, "requirepass", "");
  assert_true(options_set(&f->options, "requirepass", "hunter2", f->why));
  assert_text(f, "requirepass", "****");
  assert_string_equal(f->options.requirepass, "hunter2");
}

static void every_option_has_a_name_and_only_some_are_live(void **state) {
  struct fixture *f = *state;
  uint32_t count = 0;
  for (; options_name(count) != NULL; count++) {
    char text[OPTION_TEXT_MAX];
    assert_true(options_get(&f->options, options_name(count), text, sizeof text));
  }
  assert_true(count > 20);
  assert_true(options_is_live("hedge"));
  assert_false(options_is_live("port"));
  assert_false(options_is_live("no-such-option"));
}

static void a_configuration_file_is_read(void **state) {
  struct fixture *f = *state;
  assert_true(load(f, "# a node\n[node]\nname = a\n  port=7700\n; peers\npeer-port : 17701\nrequirepass = a ;b #c\r\n"
                      "\n[cluster]\nseeds = h:1, [::1]:2\n[timing]\nhedge = 5ms"));
  assert_string_equal(f->options.name, "a");
  assert_int_equal(f->options.port, 7700);
  assert_int_equal(f->options.peer_port, 17701);
  assert_string_equal(f->options.requirepass, "a ;b #c");
  assert_string_equal(f->options.seeds, "h:1, [::1]:2");
  assert_int_equal(f->options.hedge, 5);
  assert_true(options_check(&f->options, f->why));
}

static void a_fault_in_the_file_is_told_with_its_line(void **state) {
  struct fixture *f = *state;
  assert_fault(f, "[node]\n\nprot = 1\n", 3, "did you mean 'port'");
  assert_fault(f, "[node]\nport = 0\n", 2, "from 1 to 65535");
  assert_fault(f, "[node]\nport = 1 # one\n", 2, "whole number");
  assert_fault(f, "[nodes]\nport = 1\n", 2, "unknown section [nodes]");
  assert_fault(f, "[cluster]\nport = 1\n", 2, "belongs in section [node]");
  assert_fault(f, "port = 1\n", 1, "belongs in section [node], not before any section");
  assert_fault(f, "[node]\nport = 1\nport = 2\n", 3, "already set on line 2");
  assert_fault(f, "[node]\nport\n", 2, "neither a [section] nor name = value");
  assert_fault(f, "[node\nport = 1\n", 1, "neither a [section] nor name = value");
  assert_fault(f, "[node]\n\nengine = leveldb\n", 3, "'rocksdb' or 'memory'");
  assert_fault(f, "[cluster]\npartitions = 1000\n", 2, "power of two");
  assert_fault(f, "[cluster]\nseeds = h:1,h\n", 2, "'h' is not");
  assert_fault(f, "[node]\nport = x\nport\n", 2, "whole number");
  assert_fault(f, "[node]\nport\nport = x\n", 2, "neither");
}

static void the_longest_value_fits_on_a_line_and_a_longer_line_is_refused(void **state) {
  struct fixture *f = *state;
  static char text[8192];
  strcpy(text, "[node]\ndir = ");
  size_t start = strlen(text);
  memset(text + start, 'd', 4000);
  if (!load(f, text)) {
    fail_msg("%s", f->why);
  }
  assert_int_equal(strlen(f->options.dir), 4000);
  memset(text + start, 'd', 6000);
  assert_fault(f, text, 2, "longer than");
}

static void a_file_that_is_absent_a_directory_or_binary_is_refused(void **state) {
  struct fixture *f = *state;
  assert_false(options_load(&f->options, "/tmp/no/such/gramme.conf", f->why));
  assert_non_null(strstr(f->why, "/tmp/no/such/gramme.conf: No such file"));
  assert_false(options_load(&f->options, "/tmp", f->why));
  assert_non_null(strstr(f->why, "directory"));
  write_file(f, "[node]\nname = a\0b\n", 18);
  assert_false(options_load(&f->options, f->path, f->why));
  assert_non_null(strstr(f->why, ":2: the line holds a NUL byte"));
}

static void assert_check_refuses(const char *reason, size_t count, const char *const settings[]) {
  struct options options;
  char why[OPTIONS_WHY] = "";
  options_init(&options);
  for (size_t i = 0; i < count; i += 2) {
    assert_true(options_set(&options, settings[i], settings[i + 1], why));
  }
  assert_false(options_check(&options, why));
  if (strstr(why, reason) == NULL) {
    fail_msg("wanted \"%s\" in \"%s\"", reason, why);
  }
  options_deinit(&options);
}

#define CHECK_REFUSES(reason, ...)                                                          \
  assert_check_refuses(reason, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), \
                       (const char *const[]){__VA_ARGS__})

static void settings_that_contradict_each_other_are_refused(void **state) {
  (void)state;
  CHECK_REFUSES("power of two", "partitions", "1000");
  CHECK_REFUSES("'rocksdb' or 'memory'", "engine", "leveldb");
  CHECK_REFUSES("beyond 65535", "port", "60000");
  CHECK_REFUSES("must differ", "peer-port", "7600");
  CHECK_REFUSES("set 'requirepass' and 'secret'", "listen", "10.0.0.1");
  CHECK_REFUSES("set 'requirepass' and 'secret'", "listen", "10.0.0.1", "requirepass", "x");
  CHECK_REFUSES("set 'requirepass' and 'secret'", "listen", "10.0.0.1", "secret", "x");
  CHECK_REFUSES("set 'announce'", "listen", "0.0.0.0", "requirepass", "x", "secret", "y");
  CHECK_REFUSES("no address to connect to", "announce", "0.0.0.0");
  CHECK_REFUSES("letters, digits", "name", "node one");
  CHECK_REFUSES("letters, digits", "cluster-name", "a/b");
  CHECK_REFUSES("'hostonly' is not", "seeds", "127.0.0.1:17600,hostonly");
  CHECK_REFUSES("'h:0' is not", "seeds", "h:0");
  CHECK_REFUSES("'h:65536' is not", "seeds", "h:65536");
  CHECK_REFUSES("'h:' is not", "seeds", "h:");
  CHECK_REFUSES("':1' is not", "seeds", ":1");
  CHECK_REFUSES("longer than 'heartbeat'", "heartbeat", "2s");
  CHECK_REFUSES("smaller than 'max-value'", "client-output-limit", "64kb");
}

static void listening_beyond_loopback_is_allowed_with_password_and_secret(void **state) {
  struct fixture *f = *state;
  assert_true(options_set(&f->options, "listen", "10.0.0.1", f->why));
  assert_true(options_set(&f->options, "requirepass", "x", f->why));
  assert_true(options_set(&f->options, "secret", "y", f->why));
  assert_true(options_check(&f->options, f->why));
}

/* The sample as it is printed, or with every setting's comment sign taken away. */
static void load_sample(struct fixture *f, bool uncommented) {
  FILE *sample = tmpfile();
  assert_non_null(sample);
  options_print_sample(sample);
  rewind(sample);
  FILE *file = fopen(f->path, "w");
  assert_non_null(file);
  char line[512];
  while (fgets(line, sizeof line, sample) != NULL) {
    bool setting = line[0] == '#' && line[1] != ' ';
    fputs(uncommented && setting ? line + 1 : line, file);
  }
  fclose(sample);
  fclose(file);
  if (!options_load(&f->options, f->path, f->why)) {
    fail_msg("%s", f->why);
  }
}

static void the_sample_file_loads_and_holds_every_default(void **state) {
  struct fixture *f = *state;
  load_sample(f, false);
  assert_true(options_set(&f->options, "port", "1234", f->why));
  assert_true(options_set(&f->options, "max-value", "5mb", f->why));
  load_sample(f, true);
  struct options defaults;
  options_init(&defaults);
  for (uint32_t i = 0; options_name(i) != NULL; i++) {
    char expected[OPTION_TEXT_MAX];
    assert_true(options_get(&defaults, options_name(i), expected, sizeof expected));
    assert_text(f, options_name(i), expected);
  }
  options_deinit(&defaults);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(the_defaults_pass_their_own_check),
      TEST(sizes_and_durations_are_read_with_their_units),
      TEST(what_is_shown_of_a_number_reads_back_as_the_same_number),
      TEST(a_value_out_of_range_or_of_the_wrong_type_is_refused_and_changes_nothing),
      TEST(an_unknown_option_is_refused_with_the_nearest_name),
      TEST(a_secret_is_never_shown),
      TEST(every_option_has_a_name_and_only_some_are_live),
      TEST(a_configuration_file_is_read),
      TEST(a_fault_in_the_file_is_told_with_its_line),
      TEST(the_longest_value_fits_on_a_line_and_a_longer_line_is_refused),
      TEST(a_file_that_is_absent_a_directory_or_binary_is_refused),
      TEST(settings_that_contradict_each_other_are_refused),
      TEST(listening_beyond_loopback_is_allowed_with_password_and_secret),
      TEST(the_sample_file_loads_and_holds_every_default),
  };
  return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
