/* Requests as they come off a connection, split wherever the network likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front/resp.h"

#define VALUE_MAX 200000u
#define TEXT_MAX 65536u

static enum resp_role role_of(void *context, struct bytes name, uint32_t index) {
  (void)context;
  if (name.size == 3 && memcmp(name.data, "DYN", 3) == 0) {
    return index == 1 ? RESP_KEY : RESP_OTHER;
  }
  return index == 1 ? RESP_KEY : RESP_VALUE;
}

static const struct resp_limits limits = {.value_max_bytes = VALUE_MAX, .trusted = true, .role = role_of};
static const struct resp_limits untrusted = {.value_max_bytes = VALUE_MAX, .trusted = false, .role = role_of};

/* What came out of a stream, as one text: `[a|b]` a command, `!text` refused, `#text` broken (and then nothing more).
 * */
struct reading {
  char text[TEXT_MAX];
  size_t size;
  bool broken;
  size_t kept_max; /* the most bytes that had to be shown again */
};

static void reading_add(struct reading *reading, const char *bytes, size_t size) {
  assert_true(reading->size + size < sizeof(reading->text));
  memcpy(reading->text + reading->size, bytes, size);
  reading->size += size;
  reading->text[reading->size] = '\0';
}

static void reading_take(struct reading *reading, const struct resp_parser *parser, enum resp_status status) {
  char number[40];
  if (status == RESP_REFUSED || status == RESP_BROKEN) {
    reading_add(reading, status == RESP_REFUSED ? "!" : "#", 1);
    reading_add(reading, parser->error, strlen(parser->error));
    reading->broken = status == RESP_BROKEN;
    return;
  }
  for (uint32_t i = 0; i < parser->argc; i++) {
    reading_add(reading, i == 0 ? "[" : "|", 1);
    if (parser->argv[i].size > 64) {
      int length = snprintf(number, sizeof(number), "(%zu bytes)", parser->argv[i].size);
      reading_add(reading, number, (size_t)length);
    } else {
      reading_add(reading, (const char *)parser->argv[i].data, parser->argv[i].size);
    }
  }
  reading_add(reading, "]", 1);
}

/* Bytes without a NUL behind them. Returns how many. */
static size_t put(char *at, const char *text) {
  size_t size = strlen(text);
  for (size_t i = 0; i < size; i++) {
    at[i] = text[i];
  }
  return size;
}

/* Feeds `size` bytes in pieces that end at `ends` (ascending), each time all that was not consumed, in memory of
 * exactly that size, so that a read past its end is seen. */
static void feed(struct reading *reading, const struct resp_limits *with, const char *bytes, size_t size,
                 const size_t *ends, size_t end_count) {
  struct resp_parser parser;
  size_t start = 0;
  resp_init(&parser);
  *reading = (struct reading){.size = 0};
  for (size_t i = 0; i <= end_count && !reading->broken; i++) {
    size_t end = ends != NULL && i < end_count ? ends[i] : size;
    for (bool again = true; again && !reading->broken;) {
      uint8_t *shown = malloc(end - start + 1);
      assert_non_null(shown);
      memcpy(shown, bytes + start, end - start);
      uint8_t *exact = realloc(shown, end - start > 0 ? end - start : 1);
      assert_non_null(exact);
      size_t used = 0;
      enum resp_status status = resp_parse(&parser, with, (struct bytes){exact, end - start}, &used);
      assert_true(used <= end - start);
      start += used;
      again = status != RESP_MORE;
      if (again) {
        reading_take(reading, &parser, status);
      }
      free(exact);
    }
    reading->kept_max = end - start > reading->kept_max ? end - start : reading->kept_max;
  }
  resp_deinit(&parser);
}

static void assert_reads_with(const struct resp_limits *with, const char *bytes, size_t size, const char *expected) {
  struct reading *reading = malloc(sizeof(*reading));
  assert_non_null(reading);
  feed(reading, with, bytes, size, NULL, 0);
  assert_string_equal(reading->text, expected);
  for (size_t split = 0; split <= size; split++) {
    feed(reading, with, bytes, size, &split, 1);
    assert_string_equal(reading->text, expected);
  }
  size_t *ends = calloc(size + 1, sizeof(*ends));
  assert_non_null(ends);
  for (size_t i = 0; i < size; i++) {
    ends[i] = i;
  }
  feed(reading, with, bytes, size, ends, size); /* byte by byte */
  assert_string_equal(reading->text, expected);
  free(ends);
  free(reading);
}

static void assert_reads(const char *text, const char *expected) {
  assert_reads_with(&limits, text, strlen(text), expected);
}

/* -- arrays ---------------------------------------------------------------------------- */

static void an_array_is_read_at_every_split_point(void **state) {
  (void)state;
  assert_reads("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n", "[SET|k|hello]");
  assert_reads("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "[PING][GET|a]");
  assert_reads("*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "[ECHO|]");
}

static void values_may_hold_anything(void **state) {
  (void)state;
  static const char bytes[] = "*2\r\n$4\r\nECHO\r\n$8\r\n\r\n$5*\0\r\n\r\n";
  static const char expected[] = "[ECHO|\r\n$5*\0\r\n]";
  struct reading *reading = malloc(sizeof(*reading));
  assert_non_null(reading);
  for (size_t split = 0; split < sizeof(bytes); split++) {
    feed(reading, &limits, bytes, sizeof(bytes) - 1, &split, 1);
    assert_int_equal(reading->size, sizeof(expected) - 1);
    assert_memory_equal(reading->text, expected, sizeof(expected) - 1);
  }
  free(reading);
}

static void empty_requests_are_passed_over(void **state) {
  (void)state;
  assert_reads("*0\r\n*-1\r\n*-5\r\n\r\n\n  \r\nPING\r\n*0\r\n", "[PING]");
}

static void what_is_not_resp_is_named_and_ends_the_reading(void **state) {
  (void)state;
  assert_reads("*a\r\nPING\r\n", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*\r\n", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*-\r\n", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*1 \r\n", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*1\n$4\r\nPING\r\n", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*1\rx", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*1048577\r\n", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*99999999999999999999\r\n", "#ERR Protocol error: invalid multibulk length");
  assert_reads("*1\r\n:1\r\n", "#ERR Protocol error: expected '$', got ':'");
  assert_reads("*1\r\n\x01", "#ERR Protocol error: expected '$', got '?'");
  assert_reads("*1\r\n*1\r\n", "#ERR Protocol error: expected '$', got '*'");
  assert_reads("*1\r\n$x\r\n", "#ERR Protocol error: invalid bulk length");
  assert_reads("*1\r\n$-1\r\n", "#ERR Protocol error: invalid bulk length");
  assert_reads("*1\r\n$536870913\r\n", "#ERR Protocol error: invalid bulk length");
  assert_reads("*1\r\n$4\r\nPINGxx", "#ERR Protocol error: a bulk string does not end where its length says");
  assert_reads("PING\r\n*1\r\n$4\r\nPINGPING\r\n",
               "[PING]#ERR Protocol error: a bulk string does not end where its length says");
}

static void a_client_that_has_not_authenticated_may_send_little(void **state) {
  (void)state;
  static const char many[] = "*11\r\n$4\r\n";
  static const char large[] = "*2\r\n$4\r\nAUTH\r\n$16385\r\n";
  static const char fine[] = "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n";
  assert_reads_with(&untrusted, many, sizeof(many) - 1, "#ERR Protocol error: unauthenticated multibulk length");
  assert_reads_with(&untrusted, large, sizeof(large) - 1, "#ERR Protocol error: unauthenticated bulk length");
  assert_reads_with(&untrusted, fine, sizeof(fine) - 1, "[AUTH|pw]");
}

/* -- limits --------------------------------------------------------------------------------- */

/* `head`, `size` times 'x', `tail`; read whole and in small pieces. */
static void assert_large(const char *head, size_t size, const char *tail, const char *expected, size_t kept_most) {
  size_t total = strlen(head) + size + strlen(tail);
  char *bytes = malloc(total + 1);
  struct reading *reading = malloc(sizeof(*reading));
  assert_non_null(bytes);
  assert_non_null(reading);
  (void)put(bytes, head);
  memset(bytes + strlen(head), 'x', size);
  memcpy(bytes + strlen(head) + size, tail, strlen(tail) + 1);
  feed(reading, &limits, bytes, total, NULL, 0);
  assert_string_equal(reading->text, expected);
  static const size_t pieces[] = {10007, 4096, 65536};
  for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
    size_t *ends = calloc(total / pieces[k] + 1, sizeof(*ends));
    assert_non_null(ends);
    for (size_t i = 0; i < total / pieces[k]; i++) {
      ends[i] = (i + 1) * pieces[k];
    }
    feed(reading, &limits, bytes, total, ends, total / pieces[k]);
    assert_string_equal(reading->text, expected);
    assert_true(reading->kept_max <= kept_most);
    free(ends);
  }
  free(reading);
  free(bytes);
}

static void a_value_at_the_limit_is_taken(void **state) {
  (void)state;
  assert_large("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200000\r\n", 200000, "\r\nPING\r\n", "[SET|k|(200000 bytes)][PING]",
               SIZE_MAX);
}

static void a_value_above_the_limit_is_passed_over_and_the_connection_goes_on(void **state) {
  (void)state;
  assert_large("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200001\r\n", 200001, "\r\n*1\r\n$4\r\nPING\r\n",
               "!TOOBIG value is 200001 bytes, the limit is 200000 (max-value)[PING]", 64);
}

static void what_follows_an_oversized_value_in_its_request_is_passed_over_too(void **state) {
  (void)state;
  assert_large("*5\r\n$4\r\nMSET\r\n$1\r\nk\r\n$300000\r\n", 300000, "\r\n$1\r\nl\r\n$3\r\nabc\r\nPING\r\n",
               "!TOOBIG value is 300000 bytes, the limit is 200000 (max-value)[PING]", 64);
}

static void an_oversized_key_is_named_as_one(void **state) {
  (void)state;
  assert_large("*2\r\n$3\r\nGET\r\n$65536\r\n", 65536, "\r\nPING\r\n",
               "!TOOBIG key is 65536 bytes, the limit is 65535[PING]", 64);
  assert_large("*2\r\n$3\r\nGET\r\n$65535\r\n", 65535, "\r\nPING\r\n", "[GET|(65535 bytes)][PING]", SIZE_MAX);
}

static void an_oversized_argument_of_another_kind_is_named_as_one(void **state) {
  (void)state;
  assert_large("*4\r\n$3\r\nDYN\r\n$1\r\nk\r\n$7\r\nCONTEXT\r\n$90001\r\n", 90001, "\r\nPING\r\n",
               "!TOOBIG argument is 90001 bytes, the limit is 90000[PING]", 64);
  assert_large("*1\r\n$90001\r\n", 90001, "\r\nPING\r\n", "!TOOBIG argument is 90001 bytes, the limit is 90000[PING]",
               64);
}

static void a_broken_argument_behind_an_oversized_one_ends_the_connection(void **state) {
  (void)state;
  assert_large("*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$200001\r\n", 200001, "\r\nhm",
               "#ERR Protocol error: expected '$', got 'h'", 64);
}

static void too_many_arguments_are_passed_over(void **state) {
  (void)state;
  char *bytes = malloc(TEXT_MAX);
  assert_non_null(bytes);
  size_t size = (size_t)sprintf(bytes, "*%u\r\n$4\r\nMGET\r\n", COMMAND_ARGS_MAX + 2);
  for (uint32_t i = 0; i < COMMAND_ARGS_MAX + 1; i++) {
    size += (size_t)sprintf(bytes + size, "$1\r\nk\r\n");
  }
  size += (size_t)sprintf(bytes + size, "PING\r\n");
  struct reading *reading = malloc(sizeof(*reading));
  assert_non_null(reading);
  for (size_t split = 0; split < size; split += 97) {
    feed(reading, &limits, bytes, size, &split, 1);
    assert_string_equal(reading->text, "!TOOBIG command has 1025 arguments, the limit is 1024[PING]");
  }
  size = (size_t)sprintf(bytes, "*%u\r\n$4\r\nMGET\r\n", COMMAND_ARGS_MAX + 1);
  for (uint32_t i = 0; i < COMMAND_ARGS_MAX; i++) {
    size += (size_t)sprintf(bytes + size, "$1\r\nk\r\n");
  }
  for (size_t split = 0; split < size; split += 97) {
    feed(reading, &limits, bytes, size, &split, 1);
    assert_int_equal(reading->size, 4 + 2 + 2 * COMMAND_ARGS_MAX);
  }
  free(reading);
  free(bytes);
}

static void a_request_that_is_too_large_in_all_is_passed_over(void **state) {
  (void)state;
  static const struct resp_limits most = {.value_max_bytes = VALUE_MAX_BYTES_CEILING, .trusted = true, .role = role_of};
  const size_t one = VALUE_MAX_BYTES_CEILING;
  char head[64];
  size_t size = (size_t)snprintf(head, sizeof(head), "*5\r\n$4\r\nMSET\r\n$1\r\nk\r\n");
  size_t total = size + 3 * (one + 16) + 8;
  char *bytes = malloc(total);
  assert_non_null(bytes);
  memset(bytes, 'x', total);
  (void)put(bytes, head);
  for (int i = 0; i < 3; i++) {
    int length = snprintf(bytes + size, 32, "$%zu\r\n", one);
    size += (size_t)length;
    bytes[size] = 'x';
    size += one;
    bytes[size++] = '\r';
    bytes[size++] = '\n';
  }
  size += put(bytes + size, "PING\r\n");
  struct reading *reading = malloc(sizeof(*reading));
  assert_non_null(reading);
  feed(reading, &most, bytes, size, NULL, 0);
  assert_string_equal(reading->text,
                      "!TOOBIG command is more than 50331648 bytes in all; send fewer keys at a time[PING]");
  free(reading);
  free(bytes);
}

/* -- inline commands ----------------------------------------------------------------------------- */

static void words_are_split_at_spaces(void **state) {
  (void)state;
  assert_reads("PING\r\n", "[PING]");
  assert_reads("PING\n", "[PING]");
  assert_reads("  SET \t k   v  \r\nGET k\r\n", "[SET|k|v][GET|k]");
}

static void quotes_work_as_they_do_in_redis(void **state) {
  (void)state;
  assert_reads("SET k \"a b\"\r\n", "[SET|k|a b]");
  assert_reads("SET k 'a b'\r\n", "[SET|k|a b]");
  assert_reads("SET k \"\" ''\r\n", "[SET|k||]");
  assert_reads("SET k \"\\x41\\x7a\\n\\r\\t\\b\\a\\\\\\\"\\q\\x4g\"\r\n", "[SET|k|Az\n\r\t\b\a\\\"qx4g]");
  assert_reads("SET k 'it\\'s \\n'\r\n", "[SET|k|it's \\n]");
  assert_reads("SET k a\"b c\" d'e'\r\n", "[SET|k|ab c|de]");
}

static void unbalanced_quotes_end_the_reading(void **state) {
  (void)state;
  static const char error[] = "#ERR Protocol error: unbalanced quotes in request";
  assert_reads("SET k \"a\r\n", error);
  assert_reads("SET k 'a\r\n", error);
  assert_reads("SET k \"a\"b\r\n", error);
  assert_reads("SET k 'a'b\r\n", error);
  assert_reads("SET k \"a\\\r\n", error);
  assert_reads("SET k \"\r\n", error);
}

static void a_line_without_end_is_too_big(void **state) {
  (void)state;
  size_t size = INLINE_MAX_BYTES + 10;
  char *bytes = malloc(size);
  struct reading *reading = malloc(sizeof(*reading));
  assert_non_null(bytes);
  assert_non_null(reading);
  memset(bytes, 'x', size);
  feed(reading, &limits, bytes, size, NULL, 0);
  assert_string_equal(reading->text, "#ERR Protocol error: too big inline request");
  bytes[INLINE_MAX_BYTES - 1] = '\n';
  feed(reading, &limits, bytes, INLINE_MAX_BYTES, NULL, 0);
  assert_string_equal(reading->text, "[(65535 bytes)]");
  free(reading);
  free(bytes);
}

static void an_inline_command_has_the_same_limits(void **state) {
  (void)state;
  static const struct resp_limits small = {.value_max_bytes = 1024, .trusted = true, .role = role_of};
  char bytes[4096];
  size_t size = (size_t)snprintf(bytes, sizeof(bytes), "SET k ");
  memset(bytes + size, 'v', 1025);
  size += 1025;
  size += put(bytes + size, " x\r\nPING\r\n");
  struct reading *reading = malloc(sizeof(*reading));
  assert_non_null(reading);
  for (size_t split = 0; split <= size; split++) {
    feed(reading, &small, bytes, size, &split, 1);
    assert_string_equal(reading->text, "!TOOBIG value is 1025 bytes, the limit is 1024 (max-value)[PING]");
  }
  free(reading);
  char *many = malloc(TEXT_MAX);
  assert_non_null(many);
  size = 0;
  for (uint32_t i = 0; i < COMMAND_ARGS_MAX + 2; i++) {
    size += (size_t)sprintf(many + size, "x ");
  }
  size += (size_t)sprintf(many + size, "\r\nPING\r\n");
  reading = malloc(sizeof(*reading));
  assert_non_null(reading);
  feed(reading, &limits, many, size, NULL, 0);
  assert_string_equal(reading->text, "!TOOBIG command has more than 1024 arguments[PING]");
  free(reading);
  free(many);
}

static void an_idle_parser_keeps_nothing(void **state) {
  (void)state;
  struct resp_parser parser;
  size_t used = 0;
  resp_init(&parser);
  assert_true(resp_is_idle(&parser));
  static const char half[] = "*2\r\n$3\r\nGET\r\n$1";
  assert_int_equal(resp_parse(&parser, &limits, (struct bytes){(const uint8_t *)half, sizeof(half) - 1}, &used),
                   RESP_MORE);
  assert_int_equal(used, 0);
  assert_false(resp_is_idle(&parser));
  static const char whole[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
  assert_int_equal(resp_parse(&parser, &limits, (struct bytes){(const uint8_t *)whole, sizeof(whole) - 1}, &used),
                   RESP_COMMAND);
  assert_int_equal(used, sizeof(whole) - 1);
  assert_true(resp_is_idle(&parser));
  resp_deinit(&parser);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_array_is_read_at_every_split_point),
      cmocka_unit_test(values_may_hold_anything),
      cmocka_unit_test(empty_requests_are_passed_over),
      cmocka_unit_test(what_is_not_resp_is_named_and_ends_the_reading),
      cmocka_unit_test(a_client_that_has_not_authenticated_may_send_little),
      cmocka_unit_test(a_value_at_the_limit_is_taken),
      cmocka_unit_test(a_value_above_the_limit_is_passed_over_and_the_connection_goes_on),
      cmocka_unit_test(what_follows_an_oversized_value_in_its_request_is_passed_over_too),
      cmocka_unit_test(an_oversized_key_is_named_as_one),
      cmocka_unit_test(an_oversized_argument_of_another_kind_is_named_as_one),
      cmocka_unit_test(a_broken_argument_behind_an_oversized_one_ends_the_connection),
      cmocka_unit_test(too_many_arguments_are_passed_over),
      cmocka_unit_test(a_request_that_is_too_large_in_all_is_passed_over),
      cmocka_unit_test(words_are_split_at_spaces),
      cmocka_unit_test(quotes_work_as_they_do_in_redis),
      cmocka_unit_test(unbalanced_quotes_end_the_reading),
      cmocka_unit_test(a_line_without_end_is_too_big),
      cmocka_unit_test(an_inline_command_has_the_same_limits),
      cmocka_unit_test(an_idle_parser_keeps_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
