#include "os/buffer.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

void buffer_init(struct buffer *buffer) {
  *buffer = (struct buffer){NULL, 0, 0, 0};
}

size_t buffer_size(const struct buffer *buffer) {
  return buffer->end - buffer->start;
}

struct bytes buffer_bytes(const struct buffer *buffer) {
  if (buffer->data == NULL) {
    return BYTES_NONE;
  }
  return (struct bytes){buffer->data + buffer->start, buffer_size(buffer)};
}

uint8_t *buffer_reserve(struct buffer *buffer, struct buffer_total *total, size_t room) {
  ASSERT(buffer->start <= buffer->end && buffer->end <= buffer->capacity);
  if (buffer->data != NULL && buffer->capacity - buffer->end >= room) {
    return buffer->data + buffer->end;
  }
  size_t size = buffer_size(buffer);
  if (room > SIZE_MAX / 4 - size) {
    return NULL;
  }
  /* Moving costs no more than what has been consumed since the last move. */
  if (buffer->start >= size && buffer->capacity >= size + room && buffer->data != NULL) {
    memcpy(buffer->data, buffer->data + buffer->start, size);
  } else {
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : BUFFER_FIRST_BYTES;
    while (capacity < size + room) {
      capacity *= 2;
    }
    uint8_t *data = malloc(capacity);
    if (data == NULL) {
      return NULL;
    }
    if (size > 0) {
      ASSERT(buffer->data != NULL);
      memcpy(data, buffer->data + buffer->start, size);
    }
    free(buffer->data);
    total->bytes += capacity - buffer->capacity;
    buffer->data = data;
    buffer->capacity = capacity;
  }
  buffer->start = 0;
  buffer->end = size;
  return buffer->data + buffer->end;
}

void buffer_extend(struct buffer *buffer, size_t size) {
  ASSERT(buffer->capacity - buffer->end >= size);
  buffer->end += size;
}

bool buffer_append(struct buffer *buffer, struct buffer_total *total, struct bytes bytes) {
  uint8_t *room = buffer_reserve(buffer, total, bytes.size);
  if (room == NULL) {
    return false;
  }
  if (bytes.size > 0) {
    memcpy(room, bytes.data, bytes.size);
  }
  buffer_extend(buffer, bytes.size);
  return true;
}

void buffer_consume(struct buffer *buffer, struct buffer_total *total, size_t size, size_t keep_bytes) {
  ASSERT(size <= buffer_size(buffer));
  buffer->start += size;
  if (buffer->start < buffer->end) {
    return;
  }
  if (buffer->capacity > keep_bytes) {
    buffer_free(buffer, total);
  } else {
    buffer->start = 0;
    buffer->end = 0;
  }
}

void buffer_free(struct buffer *buffer, struct buffer_total *total) {
  ASSERT(total->bytes >= buffer->capacity);
  total->bytes -= buffer->capacity;
  free(buffer->data);
  buffer_init(buffer);
}
