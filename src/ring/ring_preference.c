#include "ring/ring.h"

#include "base/assert.h"

#include <string.h>

/* Members that own something, in the order in which a walk clockwise from a partition first meets them. */
struct walk {
  const struct ring *ring;
  uint32_t partition; /* the next to look at */
  uint32_t left;      /* partitions not looked at */
  uint32_t unmet;     /* members not met, those that own nothing included */
  bool met[MEMBERS_MAX];
  uint32_t idle; /* the next member to look at for those that own nothing */
};

/* The next member, or -1 when all have been met. Members that own nothing come last, in order of node id. */
static int walk_next(struct walk *walk) {
  const struct ring *ring = walk->ring;
  while (walk->unmet > 0 && walk->left > 0) {
    const uint32_t member = ring->owners[walk->partition];
    walk->partition = (walk->partition + 1) & (ring->partition_count - 1);
    walk->left--;
    if (!walk->met[member]) {
      walk->met[member] = true;
      walk->unmet--;
      return (int)member;
    }
  }
  while (walk->unmet > 0 && walk->idle < ring->member_count) {
    const uint32_t member = walk->idle++;
    if (!walk->met[member]) {
      walk->met[member] = true;
      walk->unmet--;
      return (int)member;
    }
  }
  return -1;
}

void ring_preference(const struct ring *ring, uint32_t partition, uint32_t n, struct preference *out) {
  ASSERT(partition < ring->partition_count);
  ASSERT(n > 0 && n <= REPLICAS_MAX);
  struct walk walk = {.ring = ring, .partition = partition, .left = ring->partition_count, .unmet = ring->member_count};
  uint16_t others[PREFERENCE_MAX] = {0}; /* met, but not chosen in the first pass; more are never wanted */
  uint32_t other_count = 0;
  bool zone_seen[MEMBERS_MAX] = {false};
  uint32_t zones_left = ring->zone_count;
  out->count = ring->member_count < PREFERENCE_MAX ? ring->member_count : PREFERENCE_MAX;
  out->replica_count = n < ring->member_count ? n : ring->member_count;
  /* 1. The first pass: nodes of zones not yet seen. */
  uint32_t chosen = 0;
  while (chosen < out->replica_count && zones_left > 0) {
    const int member = walk_next(&walk);
    ASSERT(member >= 0);
    const uint32_t zone = ring->members[member].zone;
    if (zone_seen[zone]) {
      if (other_count < PREFERENCE_MAX) {
        others[other_count++] = (uint16_t)member;
      }
      continue;
    }
    zone_seen[zone] = true;
    zones_left--;
    out->nodes[chosen++] = ring->members[member].node;
  }
  /* 2. Those passed over and then the rest of the walk: replicas as long as some are wanted, then stand-ins. */
  for (uint32_t i = 0; i < other_count && chosen < out->count; i++) {
    out->nodes[chosen++] = ring->members[others[i]].node;
  }
  while (chosen < out->count) {
    const int member = walk_next(&walk);
    ASSERT(member >= 0);
    out->nodes[chosen++] = ring->members[member].node;
  }
}

uint32_t ring_rank(const struct ring *ring, uint32_t partition, uint32_t n, uint32_t node) {
  struct preference preference = {.replica_count = 0};
  ring_preference(ring, partition, n, &preference);
  for (uint32_t i = 0; i < preference.replica_count; i++) {
    if (preference.nodes[i] == node) {
      return i;
    }
  }
  return n;
}
