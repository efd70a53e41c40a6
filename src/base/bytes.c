#include "base/bytes.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"

bool bytes_equal(struct bytes a, struct bytes b) {
  ASSERT(a.data != NULL || a.size == 0);
  ASSERT(b.data != NULL || b.size == 0);
  if (a.size != b.size) {
    return false;
  }
  return a.size == 0 || memcmp(a.data, b.data, a.size) == 0;
}

int bytes_compare(struct bytes a, struct bytes b) {
  ASSERT(a.data != NULL || a.size == 0);
  ASSERT(b.data != NULL || b.size == 0);
  const size_t common = a.size < b.size ? a.size : b.size;
  const int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
  if (order != 0) {
    return order;
  }
  return (a.size > b.size) - (a.size < b.size);
}

uint64_t bytes_hash(struct bytes bytes, uint64_t seed) {
  ASSERT(bytes.data != NULL || bytes.size == 0);
  return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

/* -- writing --------------------------------------------------------------- */

struct writer writer_make(uint8_t *data, size_t capacity) {
  ASSERT(data != NULL || capacity == 0);
  return (struct writer){.data = data, .size = 0, .capacity = capacity, .failed = false};
}

/* Where the next `size` bytes go, or NULL when they do not fit. */
static uint8_t *writer_room(struct writer *w, size_t size) {
  ASSERT(w->size <= w->capacity);
  if (w->failed || size > w->capacity - w->size) {
    w->failed = true;
    return NULL;
  }
  uint8_t *at = w->data + w->size;
  w->size += size;
  return at;
}

void write_u8(struct writer *w, uint8_t value) {
  uint8_t *at = writer_room(w, 1);
  if (at != NULL) {
    at[0] = value;
  }
}

void write_u16(struct writer *w, uint16_t value) {
  uint8_t *at = writer_room(w, 2);
  if (at != NULL) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
  }
}

void write_u32(struct writer *w, uint32_t value) {
  uint8_t *at = writer_room(w, 4);
  if (at != NULL) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
  }
}

void write_u64(struct writer *w, uint64_t value) {
  uint8_t *at = writer_room(w, 8);
  if (at != NULL) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
    at[4] = (uint8_t)(value >> 32);
    at[5] = (uint8_t)(value >> 40);
    at[6] = (uint8_t)(value >> 48);
    at[7] = (uint8_t)(value >> 56);
  }
}

void write_raw(struct writer *w, struct bytes bytes) {
  ASSERT(bytes.data != NULL || bytes.size == 0);
  if (bytes.size == 0) {
    return;
  }
  uint8_t *at = writer_room(w, bytes.size);
  if (at != NULL) {
    memcpy(at, bytes.data, bytes.size);
  }
}

void write_bytes(struct writer *w, struct bytes bytes) {
  if (bytes.size > UINT32_MAX) {
    w->failed = true;
    return;
  }
  write_u32(w, (uint32_t)bytes.size);
  write_raw(w, bytes);
}

struct bytes writer_bytes(const struct writer *w) {
  ASSERT(w->size <= w->capacity);
  return (struct bytes){w->data, w->size};
}

/* -- reading --------------------------------------------------------------- */

struct reader reader_make(struct bytes bytes) {
  ASSERT(bytes.data != NULL || bytes.size == 0);
  return (struct reader){.data = bytes.data, .size = bytes.size, .offset = 0, .failed = false};
}

/* The next `size` bytes, or NULL when there are too few. */
static const uint8_t *reader_take(struct reader *r, size_t size) {
  ASSERT(r->offset <= r->size);
  if (r->failed || size > r->size - r->offset) {
    r->failed = true;
    return NULL;
  }
  const uint8_t *at = r->data + r->offset;
  r->offset += size;
  return at;
}

uint8_t read_u8(struct reader *r) {
  const uint8_t *at = reader_take(r, 1);
  return at == NULL ? 0 : at[0];
}

uint16_t read_u16(struct reader *r) {
  const uint8_t *at = reader_take(r, 2);
  return at == NULL ? 0 : (uint16_t)((uint32_t)at[0] | ((uint32_t)at[1] << 8));
}

uint32_t read_u32(struct reader *r) {
  const uint8_t *at = reader_take(r, 4);
  if (at == NULL) {
    return 0;
  }
  return (uint32_t)at[0] | ((uint32_t)at[1] << 8) | ((uint32_t)at[2] << 16) | ((uint32_t)at[3] << 24);
}

uint64_t read_u64(struct reader *r) {
  const uint8_t *at = reader_take(r, 8);
  if (at == NULL) {
    return 0;
  }
  return (uint64_t)at[0] | ((uint64_t)at[1] << 8) | ((uint64_t)at[2] << 16) | ((uint64_t)at[3] << 24) |
         ((uint64_t)at[4] << 32) | ((uint64_t)at[5] << 40) | ((uint64_t)at[6] << 48) | ((uint64_t)at[7] << 56);
}

struct bytes read_raw(struct reader *r, size_t size) {
  if (size == 0) {
    return BYTES_NONE;
  }
  const uint8_t *at = reader_take(r, size);
  return at == NULL ? BYTES_NONE : (struct bytes){at, size};
}

struct bytes read_bytes(struct reader *r) {
  const uint32_t size = read_u32(r);
  return read_raw(r, size);
}

size_t reader_left(const struct reader *r) {
  ASSERT(r->offset <= r->size);
  return r->failed ? 0 : r->size - r->offset;
}
