/* Frames from a peer that has gone mad: whatever is decoded is within its bounds, and encodes to a frame that decodes
 * to the same. The fuzzer can not guess checksums, so size and checksum are made right first, but for every eighth
 * input. */
#include <string.h>

#include "base/assert.h"
#include "wire/message.h"

#define INPUT_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reseal(uint8_t *frame, size_t size) {
  uint32_t body_bytes = (uint32_t)(size - FRAME_HEADER_BYTES);
  struct writer w = writer_make(frame, 8);
  write_u32(&w, body_bytes);
  write_u32(&w, (uint32_t)bytes_hash((struct bytes){frame + 8, size - 8}, body_bytes));
}

static void touch(struct bytes bytes, struct bytes within) {
  ASSERT(bytes.size <= within.size);
  volatile uint8_t sum = 0;
  for (size_t i = 0; i < bytes.size; i++) {
    sum = (uint8_t)(sum + bytes.data[i]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t frame[INPUT_MAX];
  static uint8_t again[INPUT_MAX];
  static uint8_t third[INPUT_MAX];
  if (size > INPUT_MAX) {
    return 0;
  }
  if (size > 0) {
    memcpy(frame, data, size);
  }
  if (size >= FRAME_HEADER_BYTES && (data[4] & 7u) != 7u) {
    reseal(frame, size);
  }
  struct bytes input = {frame, size};
  struct message message;
  if (message_decode(input, &message) != ERR_OK) {
    return 0;
  }
  ASSERT(message.err < ERR_COUNT);
  ASSERT(message.outcome.missing_count <= REPLICAS_MAX);
  ASSERT(message.partition < PARTITIONS_MAX);
  touch(message.key, input);
  touch(message.object, input);
  touch(message.context, input);
  struct writer w = writer_make(again, sizeof(again));
  message_encode(&message, &w);
  ASSERT(!w.failed);
  ASSERT(w.size == message_frame_size(&message));
  ASSERT(w.size <= size);
  struct message copy;
  enum err err = message_decode(writer_bytes(&w), &copy);
  ASSERT(err == ERR_OK);
  struct writer v = writer_make(third, sizeof(third));
  message_encode(&copy, &v);
  ASSERT(bytes_equal(writer_bytes(&w), writer_bytes(&v)));
  return 0;
}
