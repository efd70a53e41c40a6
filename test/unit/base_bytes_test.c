#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/err.h"

static void equal_bytes_are_equal_and_others_not(void **state) {
  (void)state;
  assert_true(bytes_equal(BYTES_NONE, BYTES_NONE));
  assert_true(bytes_equal(BYTES_NONE, BYTES_LITERAL("")));
  assert_true(bytes_equal(BYTES_LITERAL("cart"), BYTES_LITERAL("cart")));
  assert_false(bytes_equal(BYTES_LITERAL("cart"), BYTES_LITERAL("carT")));
  assert_false(bytes_equal(BYTES_LITERAL("cart"), BYTES_LITERAL("car")));
}

static void order_is_by_unsigned_bytes_and_the_shorter_first(void **state) {
  (void)state;
  assert_int_equal(bytes_compare(BYTES_NONE, BYTES_LITERAL("")), 0);
  assert_true(bytes_compare(BYTES_NONE, BYTES_LITERAL("a")) < 0);
  assert_true(bytes_compare(BYTES_LITERAL("a"), BYTES_NONE) > 0);
  assert_true(bytes_compare(BYTES_LITERAL("ab"), BYTES_LITERAL("abc")) < 0);
  assert_true(bytes_compare(BYTES_LITERAL("b"), BYTES_LITERAL("abc")) > 0);
  assert_true(bytes_compare(BYTES_LITERAL("\x7f"), BYTES_LITERAL("\xff")) < 0);
  assert_int_equal(bytes_compare(BYTES_LITERAL("abc"), BYTES_LITERAL("abc")), 0);
}

static void the_hash_is_xxh3_and_depends_on_the_seed(void **state) {
  (void)state;
  /* From the xxHash specification: XXH3-64 of nothing with seed 0. */
  assert_true(bytes_hash(BYTES_NONE, 0) == UINT64_C(0x2d06800538d394c2));
  assert_true(bytes_hash(BYTES_LITERAL("a"), 0) != bytes_hash(BYTES_LITERAL("a"), 1));
  assert_true(bytes_hash(BYTES_LITERAL("a"), 0) != bytes_hash(BYTES_LITERAL("b"), 0));
}

static void numbers_are_little_endian_on_every_machine(void **state) {
  (void)state;
  uint8_t room[15];
  struct writer w = writer_make(room, sizeof room);
  write_u8(&w, 0x01);
  write_u16(&w, 0x0302);
  write_u32(&w, 0x07060504);
  write_u64(&w, UINT64_C(0x0f0e0d0c0b0a0908));
  assert_false(w.failed);
  for (uint8_t i = 0; i < 15; i++) {
    assert_int_equal(room[i], i + 1);
  }
}

static void what_is_written_is_read(void **state) {
  (void)state;
  uint8_t room[64];
  struct writer w = writer_make(room, sizeof room);
  write_u8(&w, UINT8_MAX);
  write_u16(&w, UINT16_MAX - 1);
  write_u32(&w, UINT32_MAX - 2);
  write_u64(&w, UINT64_MAX - 3);
  write_bytes(&w, BYTES_LITERAL("value"));
  write_bytes(&w, BYTES_NONE);
  write_raw(&w, BYTES_LITERAL("raw"));
  struct reader r = reader_make(writer_bytes(&w));
  assert_int_equal(read_u8(&r), UINT8_MAX);
  assert_int_equal(read_u16(&r), UINT16_MAX - 1);
  assert_int_equal(read_u32(&r), UINT32_MAX - 2);
  assert_true(read_u64(&r) == UINT64_MAX - 3);
  assert_true(bytes_equal(read_bytes(&r), BYTES_LITERAL("value")));
  assert_int_equal(read_bytes(&r).size, 0);
  assert_int_equal(reader_left(&r), 3);
  assert_true(bytes_equal(read_raw(&r, 3), BYTES_LITERAL("raw")));
  assert_int_equal(reader_left(&r), 0);
  assert_false(r.failed);
}

static void a_full_writer_fails_and_stays_so(void **state) {
  (void)state;
  uint8_t room[6] = {0};
  struct writer w = writer_make(room, 5);
  write_u32(&w, 1);
  write_u16(&w, 0xffff);
  assert_true(w.failed);
  write_u8(&w, 0xff); /* would fit, but what is before it is missing */
  assert_int_equal(w.size, 4);
  assert_int_equal(room[4], 0);
  assert_int_equal(room[5], 0);
}

static void each_kind_of_write_checks_its_room(void **state) {
  (void)state;
  uint8_t room[8] = {0};
  struct writer w = writer_make(NULL, 0);
  write_raw(&w, BYTES_NONE);
  assert_false(w.failed);
  write_u8(&w, 1);
  assert_true(w.failed);
  w = writer_make(room, 7);
  write_u64(&w, 1);
  assert_true(w.failed);
  w = writer_make(room, 3);
  write_u32(&w, 1);
  assert_true(w.failed);
  w = writer_make(room, 7);
  write_bytes(&w, BYTES_LITERAL("four"));
  assert_true(w.failed);
  assert_int_equal(room[4], 0);
  w = writer_make(room, 3);
  write_raw(&w, BYTES_LITERAL("four"));
  assert_true(w.failed);
}

static void a_reader_that_ran_out_yields_zeros_for_good(void **state) {
  (void)state;
  const uint8_t data[] = {1, 2, 3};
  struct reader r = reader_make((struct bytes){data, sizeof data});
  assert_int_equal(read_u32(&r), 0);
  assert_true(r.failed);
  assert_int_equal(read_u8(&r), 0);
  assert_int_equal(read_u16(&r), 0);
  assert_true(read_u64(&r) == 0);
  assert_int_equal(read_raw(&r, 1).size, 0);
  assert_int_equal(read_bytes(&r).size, 0);
  assert_int_equal(reader_left(&r), 0);
}

static void a_length_past_the_end_is_refused(void **state) {
  (void)state;
  const uint8_t data[] = {0xff, 0xff, 0xff, 0xff, 'x'};
  struct reader r = reader_make((struct bytes){data, sizeof data});
  assert_int_equal(read_bytes(&r).size, 0);
  assert_true(r.failed);
}

static void every_error_has_a_code_and_a_text(void **state) {
  (void)state;
  for (unsigned i = 0; i < ERR_COUNT; i++) {
    const char *code = err_code((enum err)i);
    assert_true(strlen(code) > 0 && strlen(err_text((enum err)i)) > 0);
    for (const char *c = code; *c != '\0'; c++) {
      assert_true(*c >= 'A' && *c <= 'Z'); /* RESP clients take the first word of an error as its code */
    }
  }
  assert_string_equal(err_code(ERR_QUORUM), "QUORUM");
  expect_assert_failure((void)err_text(ERR_COUNT));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_bytes_are_equal_and_others_not),
      cmocka_unit_test(order_is_by_unsigned_bytes_and_the_shorter_first),
      cmocka_unit_test(the_hash_is_xxh3_and_depends_on_the_seed),
      cmocka_unit_test(numbers_are_little_endian_on_every_machine),
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(a_full_writer_fails_and_stays_so),
      cmocka_unit_test(each_kind_of_write_checks_its_room),
      cmocka_unit_test(a_reader_that_ran_out_yields_zeros_for_good),
      cmocka_unit_test(a_length_past_the_end_is_refused),
      cmocka_unit_test(every_error_has_a_code_and_a_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
