/* A run of bytes that grows at its end and is consumed from its front.
 *
 * Consuming moves no bytes; they are moved only into room that was consumed before, so the work of a long pipeline is
 * linear in its size. An emptied buffer gives its memory back unless it is small enough to keep.
 *
 * INVARIANTS: start <= end <= capacity; data is NULL exactly when capacity is 0; total->bytes is the sum of the
 * capacities of all buffers that count in it.
 */
#ifndef GRAMME_OS_BUFFER_H
#define GRAMME_OS_BUFFER_H

#include "base/bytes.h"
#include "base/err.h"

#define BUFFER_FIRST_BYTES 512u /* capacity of a buffer at first; then doubled */

struct buffer_total {
  size_t bytes;
};

struct buffer {
  uint8_t *data;
  size_t start;
  size_t end;
  size_t capacity;
};

void buffer_init(struct buffer *buffer);
size_t buffer_size(const struct buffer *buffer);
struct bytes buffer_bytes(const struct buffer *buffer); /* valid until the next reserve */
/* Makes room for `room` more bytes and returns where they go, or NULL when memory is exhausted (nothing has changed
 * then). */
uint8_t *buffer_reserve(struct buffer *buffer, struct buffer_total *total, size_t room) MUST_CHECK;
/* `size` bytes of the room have been filled. */
void buffer_extend(struct buffer *buffer, size_t size);
bool buffer_append(struct buffer *buffer, struct buffer_total *total, struct bytes bytes) MUST_CHECK;
/* Drops `size` bytes from the front. An empty buffer of more than `keep_bytes` is freed. */
void buffer_consume(struct buffer *buffer, struct buffer_total *total, size_t size, size_t keep_bytes);
void buffer_free(struct buffer *buffer, struct buffer_total *total);

#endif
