#include "ring/position.h"

#include "base/assert.h"
#include "base/limits.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLOT_BITS 14u

_Static_assert(SLOTS == 1u << SLOT_BITS, "a slot is the top of a position");

/* CRC16/XMODEM: polynomial 0x1021, from 0, not reflected; here the remainder of each value of the top nibble. Two
 * look-ups a byte in a table that fits one cache line: the hashing of a key is not where a request's time goes. */
static const uint16_t crc_of_nibble[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
};

static uint16_t crc16(struct bytes bytes) {
  uint32_t crc = 0;
  for (size_t i = 0; i < bytes.size; i++) {
    const uint32_t byte = bytes.data[i];
    crc = ((crc << 4) ^ crc_of_nibble[((crc >> 12) ^ (byte >> 4)) & 15u]) & 0xffffu;
    crc = ((crc << 4) ^ crc_of_nibble[((crc >> 12) ^ byte) & 15u]) & 0xffffu;
  }
  return (uint16_t)crc;
}

/* Where `byte` first stands at or after `from`; the size when nowhere. */
static size_t find_byte(struct bytes bytes, uint8_t byte, size_t from) {
  for (size_t i = from; i < bytes.size; i++) {
    if (bytes.data[i] == byte) {
      return i;
    }
  }
  return bytes.size;
}

uint16_t slot_of_key(struct bytes key) {
  ASSERT(key.data != NULL || key.size == 0);
  struct bytes hashed = key;
  /* Redis Cluster's rule: from the first '{' to the first '}' after it, unless nothing stands between. */
  const size_t open = find_byte(key, '{', 0);
  if (open < key.size) {
    const size_t close = find_byte(key, '}', open + 1);
    if (close < key.size && close > open + 1) {
      hashed = (struct bytes){key.data + open + 1, close - open - 1};
    }
  }
  const uint32_t slot = crc16(hashed) % SLOTS;
  ASSERT(slot < SLOTS);
  return (uint16_t)slot;
}

struct position position_of_key(struct bytes key) {
  ASSERT(key.data != NULL || key.size == 0);
  const XXH128_hash_t hash = XXH3_128bits(key.data, key.size);
  const uint64_t slot = slot_of_key(key);
  const struct position position = {(slot << (64 - SLOT_BITS)) | (hash.high64 >> SLOT_BITS), hash.low64};
  ASSERT(position_slot(position) == slot);
  return position;
}

uint16_t position_slot(struct position position) {
  return (uint16_t)(position.high >> (64 - SLOT_BITS));
}

uint16_t position_partition(struct position position, uint32_t partition_count) {
  ASSERT(partition_count > 0 && partition_count <= SLOTS);
  ASSERT((partition_count & (partition_count - 1)) == 0);
  /* The top bits of the slot, so that a partition is a run of slots and a run of positions. */
  return (uint16_t)((uint64_t)position_slot(position) * partition_count / SLOTS);
}

void position_write(struct position position, uint8_t bytes[POSITION_BYTES]) {
  ASSERT(bytes != NULL);
  for (uint32_t i = 0; i < 8; i++) {
    bytes[i] = (uint8_t)(position.high >> (56 - 8 * i));
    bytes[8 + i] = (uint8_t)(position.low >> (56 - 8 * i));
  }
}

struct position position_read(const uint8_t bytes[POSITION_BYTES]) {
  ASSERT(bytes != NULL);
  struct position position = {0, 0};
  for (uint32_t i = 0; i < 8; i++) {
    position.high = (position.high << 8) | bytes[i];
    position.low = (position.low << 8) | bytes[8 + i];
  }
  return position;
}
