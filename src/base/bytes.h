/* A borrowed run of bytes, and bounded cursors that write and read little-endian.
 *
 * Nothing here owns memory. A cursor that runs out sets `failed` and from then on
 * writes or yields nothing but zeros: check once, at the end.
 */
#ifndef GRAMME_BASE_BYTES_H
#define GRAMME_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
  const uint8_t *data; /* may be NULL when size is 0 */
  size_t size;
};

#define BYTES_NONE ((struct bytes){NULL, 0})
#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

bool bytes_equal(struct bytes a, struct bytes b);
/* <0, 0, >0 by unsigned bytes, the shorter first where one is a prefix. */
int bytes_compare(struct bytes a, struct bytes b);
/* XXH3-64. */
uint64_t bytes_hash(struct bytes bytes, uint64_t seed);

struct writer {
  uint8_t *data;
  size_t size; /* written */
  size_t capacity;
  bool failed; /* something did not fit */
};

struct writer writer_make(uint8_t *data, size_t capacity);
void write_u8(struct writer *w, uint8_t value);
void write_u16(struct writer *w, uint16_t value);
void write_u32(struct writer *w, uint32_t value);
void write_u64(struct writer *w, uint64_t value);
void write_raw(struct writer *w, struct bytes bytes);
/* A length (u32) and the bytes. */
void write_bytes(struct writer *w, struct bytes bytes);
struct bytes writer_bytes(const struct writer *w);

struct reader {
  const uint8_t *data;
  size_t size; /* in all */
  size_t offset;
  bool failed; /* something was not there */
};

struct reader reader_make(struct bytes bytes);
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
/* Borrowed from the reader's bytes; empty when there are too few. */
struct bytes read_raw(struct reader *r, size_t size);
struct bytes read_bytes(struct reader *r);
size_t reader_left(const struct reader *r);

#endif
