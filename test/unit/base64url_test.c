/* Contexts as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/prng.h"
#include "front/base64url.h"

static void assert_pair(const char *bytes, const char *text) {
  char encoded[64];
  uint8_t decoded[64];
  size_t size = 0;
  struct bytes in = {(const uint8_t *)bytes, strlen(bytes)};
  assert_int_equal(base64url_encoded_size(in.size), strlen(text));
  base64url_encode(in, encoded);
  assert_memory_equal(encoded, text, strlen(text));
  assert_true(base64url_decode((struct bytes){(const uint8_t *)text, strlen(text)}, decoded, &size));
  assert_int_equal(size, in.size);
  assert_memory_equal(decoded, bytes, size);
}

static void the_vectors_of_rfc_4648_hold_without_padding(void **state) {
  (void)state;
  assert_pair("", "");
  assert_pair("f", "Zg");
  assert_pair("fo", "Zm8");
  assert_pair("foo", "Zm9v");
  assert_pair("foob", "Zm9vYg");
  assert_pair("fooba", "Zm9vYmE");
  assert_pair("foobar", "Zm9vYmFy");
  assert_pair("\xfb\xff\xfe", "-__-");
}

static void what_no_encoder_writes_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      "Z", "Zm9vY", "Zh", "Zm9", "Zg==", "Zm8=", "Zm9+", "/w", "Zg ", "\nZg", "Z\0g", "Zm9vYh"};
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
    uint8_t decoded[64];
    size_t size = 1;
    size_t length = i == 10 ? 3 : strlen(texts[i]);
    assert_false(base64url_decode((struct bytes){(const uint8_t *)texts[i], length}, decoded, &size));
  }
}

static void whatever_is_encoded_comes_back(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 64);
  for (uint32_t round = 0; round < 10000; round++) {
    uint8_t bytes[80];
    char text[128];
    uint8_t back[80];
    size_t size = (size_t)prng_below(&prng, sizeof(bytes) + 1);
    for (size_t i = 0; i < size; i++) {
      bytes[i] = (uint8_t)prng_u64(&prng);
    }
    size_t text_size = base64url_encoded_size(size);
    size_t back_size = 0;
    base64url_encode((struct bytes){bytes, size}, text);
    assert_int_equal(base64url_decoded_size(text_size), size);
    assert_true(base64url_decode((struct bytes){(const uint8_t *)text, text_size}, back, &back_size));
    assert_int_equal(back_size, size);
    assert_memory_equal(back, bytes, size);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_vectors_of_rfc_4648_hold_without_padding),
      cmocka_unit_test(what_no_encoder_writes_is_refused),
      cmocka_unit_test(whatever_is_encoded_comes_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
