#include "front/base64url.h"

#include "base/assert.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#define NO_DIGIT 64u

static uint32_t digit_value(uint8_t c) {
  if (c >= 'A' && c <= 'Z') {
    return (uint32_t)(c - 'A');
  }
  if (c >= 'a' && c <= 'z') {
    return (uint32_t)(c - 'a') + 26u;
  }
  if (c >= '0' && c <= '9') {
    return (uint32_t)(c - '0') + 52u;
  }
  if (c == '-') {
    return 62u;
  }
  return c == '_' ? 63u : NO_DIGIT;
}

size_t base64url_encoded_size(size_t size) {
  size_t rest = size % 3;
  return size / 3 * 4 + (rest == 0 ? 0 : rest + 1);
}

size_t base64url_decoded_size(size_t size) {
  size_t rest = size % 4;
  return size / 4 * 3 + (rest == 0 ? 0 : rest - 1);
}

void base64url_encode(struct bytes bytes, char *text) {
  size_t at = 0;
  for (size_t i = 0; i < bytes.size; i += 3) {
    size_t left = bytes.size - i;
    uint32_t group = (uint32_t)bytes.data[i] << 16;
    group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
    group |= left > 2 ? (uint32_t)bytes.data[i + 2] : 0;
    size_t count = left > 2 ? 4 : left + 1;
    for (size_t k = 0; k < count; k++) {
      text[at++] = digits[group >> (18 - 6 * k) & 63u];
    }
  }
  ASSERT(at == base64url_encoded_size(bytes.size));
}

bool base64url_decode(struct bytes text, uint8_t *out, size_t *size) {
  size_t at = 0;
  *size = 0;
  if (text.size % 4 == 1) {
    return false;
  }
  for (size_t i = 0; i < text.size; i += 4) {
    size_t count = text.size - i < 4 ? text.size - i : 4;
    uint32_t group = 0;
    for (size_t k = 0; k < count; k++) {
      uint32_t value = digit_value(text.data[i + k]);
      if (value == NO_DIGIT) {
        return false;
      }
      group |= value << (18 - 6 * k);
    }
    uint32_t unused = count == 2 ? 0xffffu : count == 3 ? 0xffu : 0u;
    if ((group & unused) != 0) {
      return false; /* bits that no encoder sets: the text would have a twin */
    }
    for (size_t k = 0; k + 1 < count; k++) {
      out[at++] = (uint8_t)(group >> (16 - 8 * k));
    }
  }
  ASSERT(at <= base64url_decoded_size(text.size));
  *size = at;
  return true;
}
