/* Buckets: whose a key is, their properties as text and together, and the table that gossip spreads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "version/bucket.h"

#define ROOM_BYTES 65536u

static struct bytes text(const char *string) {
  return (struct bytes){(const uint8_t *)string, strlen(string)};
}

static struct bucket record_of(const char *name, uint64_t time, uint32_t issuer, uint8_t n) {
  struct bucket record;
  memset(&record, 0, sizeof(record));
  record.time = time;
  record.issuer = issuer;
  record.name_size = (uint8_t)strlen(name);
  memcpy(record.name, name, strlen(name));
  record.props = bucket_props_default();
  record.props.n = n;
  record.props.r = 1;
  record.props.w = 1;
  return record;
}

static void put(struct bucket_table *table, struct bucket record) {
  assert_int_equal(bucket_put(table, &record), ERR_OK);
}

static struct bytes encode(const struct bucket_table *table, uint8_t *room) {
  struct writer w = writer_make(room, ROOM_BYTES);
  bucket_table_encode(table, &w);
  assert_false(w.failed);
  return writer_bytes(&w);
}

/* -- keys ------------------------------------------------------------------------- */

static void assert_bucket(const char *key, const char *bucket) {
  assert_true(bytes_equal(bucket_of_key(text(key)), text(bucket)));
}

static void the_bucket_of_a_key_is_what_stands_before_its_first_colon(void **state) {
  (void)state;
  assert_bucket("cart:42", "cart");
  assert_bucket("cart:42:items", "cart");
  assert_bucket("cart:", "cart");
  assert_bucket(":42", "");
  assert_bucket("cart", "default");
  assert_bucket("", "default");
  assert_bucket("{user}:1", "{user}");
}

/* -- properties ------------------------------------------------------------------- */

static void set_ok(struct bucket_props *props, const char *property, const char *value) {
  const char *why = "unset";
  assert_int_equal(bucket_props_set(props, text(property), text(value), &why), ERR_OK);
  assert_null(why);
}

static const char *set_refused(const char *property, const char *value) {
  struct bucket_props props = bucket_props_default();
  struct bucket_props before = props;
  const char *why = NULL;
  assert_int_equal(bucket_props_set(&props, text(property), text(value), &why), ERR_BADARG);
  assert_non_null(why);
  assert_memory_equal(&props, &before, sizeof(props));
  return why;
}

static void there_is_one_set_of_defaults(void **state) {
  (void)state;
  struct bucket_props props = bucket_props_default();
  const char *why = NULL;
  assert_int_equal(props.n, 3);
  assert_int_equal(props.r, 2);
  assert_int_equal(props.w, 2);
  assert_int_equal(props.pr, 0);
  assert_int_equal(props.pw, 0);
  assert_int_equal(props.dw, DW_ALL);
  assert_int_equal(props.resolve, RESOLVE_SIBLINGS);
  assert_int_equal(props.ttl_ms, 0);
  assert_int_equal(props.sibling_max, SIBLING_MAX_DEFAULT);
  assert_int_equal(bucket_props_check(&props, &why), ERR_OK);
}

static void each_property_is_set_by_its_name(void **state) {
  (void)state;
  struct bucket_props props = bucket_props_default();
  set_ok(&props, "n", "5");
  set_ok(&props, "r", "4");
  set_ok(&props, "W", "3");
  set_ok(&props, "pr", "2");
  set_ok(&props, "PW", "1");
  set_ok(&props, "dw", "0");
  set_ok(&props, "resolve", "lww");
  set_ok(&props, "sibling_max", "256");
  assert_int_equal(props.n, 5);
  assert_int_equal(props.r, 4);
  assert_int_equal(props.w, 3);
  assert_int_equal(props.pr, 2);
  assert_int_equal(props.pw, 1);
  assert_int_equal(props.dw, 0);
  assert_int_equal(props.resolve, RESOLVE_LWW);
  assert_int_equal(props.sibling_max, 256);
  set_ok(&props, "DW", "All");
  set_ok(&props, "resolve", "SIBLINGS");
  assert_int_equal(props.dw, DW_ALL);
  assert_int_equal(props.resolve, RESOLVE_SIBLINGS);
}

static void a_ttl_has_a_unit(void **state) {
  (void)state;
  static const struct {
    const char *property, *value;
    uint64_t ms;
  } cases[] = {
      {"ttl", "500ms", 500},    {"ttl", "30s", 30000},    {"ttl", "10m", 600000},
      {"ttl", "6H", 21600000},  {"ttl", "7d", 604800000}, {"ttl", "0", 0},
      {"ttl_ms", "1500", 1500}, {"ttl_ms", "0", 0},       {"ttl", "36500d", 3153600000000},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct bucket_props props = bucket_props_default();
    props.ttl_ms = 77;
    set_ok(&props, cases[i].property, cases[i].value);
    assert_int_equal(props.ttl_ms, cases[i].ms);
  }
  static const char *const bad[] = {"30", "", "s", "-1s", "1.5s", "1w", "36501d", "18446744073709551615d", "1 s"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    assert_non_null(strstr(set_refused("ttl", bad[i]), "30s"));
  }
  assert_non_null(strstr(set_refused("ttl_ms", "30s"), "milliseconds"));
}

static void values_out_of_range_are_refused_in_words_that_name_the_range(void **state) {
  (void)state;
  static const struct {
    const char *property, *value, *words;
  } cases[] = {
      {"n", "0", "1 to 7"},
      {"n", "8", "1 to 7"},
      {"n", "", "1 to 7"},
      {"n", "three", "1 to 7"},
      {"n", "3x", "1 to 7"},
      {"n", "-1", "1 to 7"},
      {"n", "18446744073709551619", "1 to 7"}, /* 3, had it wrapped round */
      {"n", "259", "1 to 7"},
      {"r", "0", "1 to 7"},
      {"r", "8", "at most n"},
      {"w", "0", "1 to 7"},
      {"w", "8", "at most n"},
      {"pr", "8", "0 to 7"},
      {"pw", "8", "0 to 7"},
      {"dw", "8", "'all'"},
      {"dw", "255", "'all'"},
      {"resolve", "last", "'lww'"},
      {"sibling_max", "0", "1 to 256"},
      {"sibling_max", "257", "1 to 256"},
      {"allow_mult", "true", "sibling_max"},
      {"", "1", "there are n, r, w"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_non_null(strstr(set_refused(cases[i].property, cases[i].value), cases[i].words));
  }
}

static void properties_that_contradict_each_other_are_refused_in_words_that_name_the_remedy(void **state) {
  (void)state;
  static const struct {
    uint8_t n, r, w, pr, pw, dw;
    const char *words; /* NULL: they are fine */
  } cases[] = {
      {1, 1, 1, 0, 0, DW_ALL, NULL},
      {7, 7, 7, 7, 7, 7, NULL},
      {3, 3, 1, 3, 3, 1, NULL},
      {3, 2, 2, 0, 0, 0, NULL},
      {0, 1, 1, 0, 0, 0, "n must be"},
      {8, 1, 1, 0, 0, 0, "n must be"},
      {1, 2, 1, 0, 0, 0, "lower r or raise n"},
      {3, 0, 1, 0, 0, 0, "r must be"},
      {1, 1, 2, 0, 0, 0, "lower w or raise n"},
      {3, 1, 0, 0, 0, 0, "w must be"},
      {2, 1, 1, 3, 0, 0, "lower pr or raise n"},
      {2, 1, 1, 0, 3, 0, "lower pw or raise n"},
      {3, 2, 1, 0, 0, 2, "raise w"},
      {3, 2, 2, 0, 0, 254, "raise w"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct bucket_props props = bucket_props_default();
    const char *why = NULL;
    props.n = cases[i].n;
    props.r = cases[i].r;
    props.w = cases[i].w;
    props.pr = cases[i].pr;
    props.pw = cases[i].pw;
    props.dw = cases[i].dw;
    enum err err = bucket_props_check(&props, &why);
    assert_int_equal(err, cases[i].words == NULL ? ERR_OK : ERR_BADARG);
    if (cases[i].words != NULL) {
      assert_non_null(strstr(why, cases[i].words));
    } else {
      assert_null(why);
    }
  }
  struct bucket_props props = bucket_props_default();
  const char *why = NULL;
  props.sibling_max = 0;
  assert_int_equal(bucket_props_check(&props, &why), ERR_BADARG);
  props = bucket_props_default();
  props.ttl_ms = UINT64_MAX;
  assert_int_equal(bucket_props_check(&props, &why), ERR_BADARG);
}

/* -- the table -------------------------------------------------------------------- */

static void a_bucket_without_a_record_has_what_default_has(void **state) {
  (void)state;
  static struct bucket_table table;
  bucket_table_init(&table);
  assert_int_equal(bucket_find(&table, text("cart")).n, 3);
  put(&table, record_of("cart", 1, 1, 5));
  assert_int_equal(bucket_find(&table, text("cart")).n, 5);
  assert_int_equal(bucket_find(&table, text("other")).n, 3);
  put(&table, record_of("default", 1, 1, 1));
  assert_int_equal(bucket_find(&table, text("cart")).n, 5);
  assert_int_equal(bucket_find(&table, text("other")).n, 1);
  assert_int_equal(bucket_find(&table, text("")).n, 1);
}

static void the_latest_record_by_time_and_issuer_wins(void **state) {
  (void)state;
  static struct bucket_table table;
  bucket_table_init(&table);
  put(&table, record_of("cart", 10, 2, 1));
  put(&table, record_of("cart", 9, 9, 2));
  assert_int_equal(bucket_find(&table, text("cart")).n, 1);
  put(&table, record_of("cart", 10, 3, 3));
  assert_int_equal(bucket_find(&table, text("cart")).n, 3);
  put(&table, record_of("cart", 11, 1, 4));
  assert_int_equal(bucket_find(&table, text("cart")).n, 4);
  assert_int_equal(table.count, 1);
}

static void records_that_make_no_sense_are_refused(void **state) {
  (void)state;
  static struct bucket_table table;
  bucket_table_init(&table);
  struct bucket record = record_of("a:b", 1, 1, 3);
  assert_int_equal(bucket_put(&table, &record), ERR_BADARG);
  record = record_of("", 1, 1, 3);
  assert_int_equal(bucket_put(&table, &record), ERR_BADARG);
  record = record_of("a", 0, 1, 3);
  assert_int_equal(bucket_put(&table, &record), ERR_BADARG);
  record = record_of("a", 1, 0, 3);
  assert_int_equal(bucket_put(&table, &record), ERR_BADARG);
  record = record_of("a", 1, 1, 0);
  assert_int_equal(bucket_put(&table, &record), ERR_BADARG);
  assert_int_equal(table.count, 0);
}

static void a_full_table_takes_no_new_bucket_but_changes_the_known_ones(void **state) {
  (void)state;
  static struct bucket_table table;
  bucket_table_init(&table);
  for (uint32_t i = 0; i < BUCKETS_MAX; i++) {
    char name[16];
    snprintf(name, sizeof(name), "b%03u", i);
    put(&table, record_of(name, 1, 1, 1));
  }
  struct bucket record = record_of("a", 1, 1, 1);
  assert_int_equal(bucket_put(&table, &record), ERR_FULL);
  put(&table, record_of("b007", 2, 1, 7));
  assert_int_equal(bucket_find(&table, text("b007")).n, 7);
  assert_int_equal(bucket_find(&table, text("b255")).n, 1);
}

static void a_table_comes_back_as_it_was_encoded(void **state) {
  (void)state;
  static struct bucket_table table, copy;
  static uint8_t room[ROOM_BYTES];
  bucket_table_init(&table);
  struct bucket record = record_of("carts", 77, 5, 5);
  record.props = (struct bucket_props){
      .n = 5, .r = 4, .w = 3, .pr = 2, .pw = 1, .dw = 3, .resolve = RESOLVE_LWW, .ttl_ms = 86400000, .sibling_max = 17};
  put(&table, record);
  char longest[BUCKET_NAME_MAX_BYTES + 1];
  memset(longest, 'x', BUCKET_NAME_MAX_BYTES);
  longest[BUCKET_NAME_MAX_BYTES] = '\0';
  put(&table, record_of(longest, 1, 1, 7));
  uint32_t changed = 0;
  bucket_table_init(&copy);
  assert_int_equal(bucket_table_merge(&copy, encode(&table, room), &changed), ERR_OK);
  assert_int_equal(changed, 2);
  assert_memory_equal(&table, &copy, sizeof(table));
  assert_int_equal(bucket_table_merge(&copy, encode(&table, room), &changed), ERR_OK);
  assert_int_equal(changed, 0);
}

static void equal_tables_have_equal_digests_and_others_have_not(void **state) {
  (void)state;
  static struct bucket_table a, b;
  bucket_table_init(&a);
  bucket_table_init(&b);
  assert_int_equal(bucket_table_digest(&a), 0);
  put(&a, record_of("one", 1, 1, 1));
  put(&a, record_of("two", 2, 1, 2));
  put(&b, record_of("two", 2, 1, 2));
  assert_int_not_equal(bucket_table_digest(&a), bucket_table_digest(&b));
  put(&b, record_of("one", 1, 1, 1));
  assert_int_equal(bucket_table_digest(&a), bucket_table_digest(&b));
  assert_int_not_equal(bucket_table_digest(&a), 0);
  put(&b, record_of("one", 3, 1, 1));
  assert_int_not_equal(bucket_table_digest(&a), bucket_table_digest(&b));
}

static void a_damaged_table_is_refused_and_changes_nothing(void **state) {
  (void)state;
  static struct bucket_table table, copy;
  static uint8_t room[ROOM_BYTES];
  bucket_table_init(&table);
  put(&table, record_of("cart", 1, 1, 3));
  put(&table, record_of("session", 2, 1, 3));
  struct bytes encoded = encode(&table, room);
  uint32_t changed = 0;
  for (size_t size = 0; size < encoded.size; size++) {
    bucket_table_init(&copy);
    assert_int_equal(bucket_table_merge(&copy, (struct bytes){room, size}, &changed), ERR_CORRUPT);
    assert_int_equal(copy.count, 0);
  }
  assert_int_equal(bucket_table_merge(&copy, (struct bytes){room, encoded.size + 1}, &changed), ERR_CORRUPT);
  room[0] = 2;
  assert_int_equal(bucket_table_merge(&copy, encoded, &changed), ERR_FORMAT);
  room[0] = 0;
  assert_int_equal(bucket_table_merge(&copy, encoded, &changed), ERR_CORRUPT);
  assert_int_equal(copy.count, 0);
}

static void records_out_of_order_or_twice_are_refused(void **state) {
  (void)state;
  static struct bucket_table table, copy;
  static uint8_t room[ROOM_BYTES];
  bucket_table_init(&table);
  put(&table, record_of("a", 1, 1, 3));
  put(&table, record_of("b", 1, 1, 3));
  struct bucket first = table.buckets[0];
  uint32_t changed = 0;
  bucket_table_init(&copy);
  table.buckets[0] = table.buckets[1];
  assert_int_equal(bucket_table_merge(&copy, encode(&table, room), &changed), ERR_CORRUPT);
  table.buckets[1] = first;
  assert_int_equal(bucket_table_merge(&copy, encode(&table, room), &changed), ERR_CORRUPT);
  assert_int_equal(copy.count, 0);
}

static void what_a_newer_version_adds_to_a_record_is_skipped(void **state) {
  (void)state;
  static struct bucket_table table, copy;
  static uint8_t room[ROOM_BYTES];
  bucket_table_init(&table);
  put(&table, record_of("a", 1, 1, 4));
  size_t size = encode(&table, room).size;
  struct writer w = writer_make(room + 3, 2); /* the record's size, behind format and count */
  write_u16(&w, (uint16_t)(size - 5 + 6));
  memset(room + size, 0xee, 6);
  uint32_t changed = 0;
  bucket_table_init(&copy);
  assert_int_equal(bucket_table_merge(&copy, (struct bytes){room, size + 6}, &changed), ERR_OK);
  assert_int_equal(bucket_find(&copy, text("a")).n, 4);
}

/* Tables that overflow keep the least names, so they agree in the end whatever the order of their meetings. */
static void tables_converge_in_whatever_order_they_meet_even_when_they_overflow(void **state) {
  (void)state;
  enum { TABLES = 5, RECORDS = 900 };
  static struct bucket_table tables[TABLES];
  static uint8_t room[ROOM_BYTES];
  struct prng prng;
  prng_init(&prng, 42);
  for (uint32_t t = 0; t < TABLES; t++) {
    bucket_table_init(&tables[t]);
  }
  for (uint32_t i = 0; i < RECORDS; i++) {
    char name[16];
    uint32_t number = (uint32_t)prng_below(&prng, 330);
    uint64_t time = 1 + prng_below(&prng, 50);
    uint32_t issuer = 1 + (uint32_t)prng_below(&prng, 4);
    uint8_t n = (uint8_t)(1 + prng_below(&prng, 7));
    uint32_t t = (uint32_t)prng_below(&prng, TABLES);
    snprintf(name, sizeof(name), "b%u", number);
    struct bucket record = record_of(name, time, issuer, n);
    enum err err = bucket_put(&tables[t], &record);
    assert_true(err == ERR_OK || err == ERR_FULL);
  }
  uint32_t overflows = 0;
  for (uint32_t meeting = 0; meeting < 200; meeting++) {
    uint32_t from = (uint32_t)prng_below(&prng, TABLES);
    uint32_t to = (uint32_t)prng_below(&prng, TABLES);
    uint32_t changed = 0;
    enum err err = bucket_table_merge(&tables[to], encode(&tables[from], room), &changed);
    assert_true(err == ERR_OK || err == ERR_FULL);
    overflows += err == ERR_FULL ? 1u : 0u;
  }
  for (uint32_t t = 1; t < TABLES; t++) {
    assert_memory_equal(&tables[0], &tables[t], sizeof(tables[0]));
  }
  assert_true(overflows > 0);
  assert_int_equal(tables[0].count, BUCKETS_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_bucket_of_a_key_is_what_stands_before_its_first_colon),
      cmocka_unit_test(there_is_one_set_of_defaults),
      cmocka_unit_test(each_property_is_set_by_its_name),
      cmocka_unit_test(a_ttl_has_a_unit),
      cmocka_unit_test(values_out_of_range_are_refused_in_words_that_name_the_range),
      cmocka_unit_test(properties_that_contradict_each_other_are_refused_in_words_that_name_the_remedy),
      cmocka_unit_test(a_bucket_without_a_record_has_what_default_has),
      cmocka_unit_test(the_latest_record_by_time_and_issuer_wins),
      cmocka_unit_test(records_that_make_no_sense_are_refused),
      cmocka_unit_test(a_full_table_takes_no_new_bucket_but_changes_the_known_ones),
      cmocka_unit_test(a_table_comes_back_as_it_was_encoded),
      cmocka_unit_test(equal_tables_have_equal_digests_and_others_have_not),
      cmocka_unit_test(a_damaged_table_is_refused_and_changes_nothing),
      cmocka_unit_test(records_out_of_order_or_twice_are_refused),
      cmocka_unit_test(what_a_newer_version_adds_to_a_record_is_skipped),
      cmocka_unit_test(tables_converge_in_whatever_order_they_meet_even_when_they_overflow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
