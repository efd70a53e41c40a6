/* Positions on the ring (paper §4.2, §6.4).
 *
 * A position is 128 bits: the top 14 are the Redis Cluster hash slot of the key (CRC16 of the
 * key, or of its {hash tag}, mod 16384), the other 114 are XXH3-128 of the whole key. So every
 * Redis Cluster client is a partition-aware Dynamo client. Stored data is ordered by position.
 *
 * A store key is the position's 16 bytes, big-endian, and then the key itself.
 */
#ifndef GRAMME_RING_POSITION_H
#define GRAMME_RING_POSITION_H

#include "base/bytes.h"

#define POSITION_BYTES 16u

struct position {
  uint64_t high; /* slot in its top 14 bits */
  uint64_t low;
};

struct position position_of_key(struct bytes key);
uint16_t position_slot(struct position position); /* 0 .. SLOTS-1 */
/* Redis Cluster hash slot of a key, with its {tag} rule. */
uint16_t slot_of_key(struct bytes key);
/* 0 .. partition_count-1; partition_count is a power of two <= SLOTS. */
uint16_t position_partition(struct position position, uint32_t partition_count);
void position_write(struct position position, uint8_t bytes[POSITION_BYTES]);
struct position position_read(const uint8_t bytes[POSITION_BYTES]);

#endif
