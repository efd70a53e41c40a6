#include "ring/plan.h"

#include "base/assert.h"

#include <string.h>

static bool keeps(const struct preference *preference, uint32_t node) {
  for (uint32_t i = 0; i < preference->replica_count; i++) {
    if (preference->nodes[i] == node) {
      return true;
    }
  }
  return false;
}

/* For each of a partition's replicas by `ring` that `other` does not have: one more in counts, by index of member. */
static uint32_t count_new(const struct ring *ring, const struct preference *own, const struct preference *other,
                          uint32_t counts[MEMBERS_MAX]) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < own->replica_count; i++) {
    if (!keeps(other, own->nodes[i])) {
      const int at = ring_find(ring, own->nodes[i]);
      ASSERT(at >= 0);
      counts[at]++;
      count++;
    }
  }
  return count;
}

/* Do replicas share a zone although there are as many zones as replicas? */
static bool zones_clash(const struct ring *ring, const struct preference *preference) {
  bool seen[MEMBERS_MAX] = {false};
  if (ring->zone_count < preference->replica_count) {
    return false;
  }
  for (uint32_t i = 0; i < preference->replica_count; i++) {
    const int at = ring_find(ring, preference->nodes[i]);
    ASSERT(at >= 0);
    const uint32_t zone = ring->members[at].zone;
    if (seen[zone]) {
      return true;
    }
    seen[zone] = true;
  }
  return false;
}

/* Do the replicas lie elsewhere than with the owners of the next partitions? */
static bool is_detour(const struct ring *ring, uint32_t partition, const struct preference *preference) {
  for (uint32_t i = 0; i < preference->replica_count; i++) {
    if (ring_owner(ring, (partition + i) & (ring->partition_count - 1)) != preference->nodes[i]) {
      return true;
    }
  }
  return false;
}

static void count_clashes(const struct ring *ring, uint32_t n, uint32_t partition, const struct preference *preference,
                          struct ring_moves *out) {
  out->node_clashes += preference->replica_count < n;
  out->zone_clashes += zones_clash(ring, preference);
  /* With fewer zones than replicas a list that takes the zones in another order is no detour of a node's. */
  if (ring->zone_count >= n || ring->zone_count == 1) {
    out->detours += is_detour(ring, partition, preference);
  }
}

/* -- the optimum ----------------------------------------------------------------- */

struct interval {
  uint32_t low;
  uint32_t high;
};

/* The exact shares by weight, none above a RING_SPREAD'th, rounded both ways. */
static void find_shares(const struct ring *ring, struct interval shares[MEMBERS_MAX]) {
  const uint64_t cap = ring->partition_count / RING_SPREAD;
  bool capped[MEMBERS_MAX] = {false};
  uint64_t partitions = ring->partition_count;
  uint64_t weight = 0;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    weight += ring->members[i].weight;
  }
  bool again = true;
  while (again) {
    again = false;
    for (uint32_t i = 0; i < ring->member_count; i++) {
      if (!capped[i] && ring->members[i].weight * partitions > cap * weight) {
        capped[i] = true;
        partitions -= cap;
        weight -= ring->members[i].weight;
        again = true;
      }
    }
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const uint64_t asked = ring->members[i].weight * partitions;
    ASSERT(capped[i] || weight > 0); /* its own is part of it */
    shares[i].low = (uint32_t)(capped[i] ? cap : asked / weight);
    shares[i].high = (uint32_t)(capped[i] ? cap : (asked + weight - 1) / weight);
  }
}

static uint32_t optimum_by_shares(const struct ring *before, const struct ring *after, uint32_t n) {
  struct interval shares[MEMBERS_MAX];
  find_shares(after, shares);
  uint32_t gained = 0;
  uint32_t lost = 0;
  for (uint32_t i = 0; i < after->member_count; i++) {
    const int at = ring_find(before, after->members[i].node);
    const uint32_t owned = at < 0 ? 0 : before->members[at].owned;
    gained += owned < shares[i].low ? shares[i].low - owned : 0;
    lost += owned > shares[i].high ? owned - shares[i].high : 0;
  }
  for (uint32_t i = 0; i < before->member_count; i++) {
    lost += ring_find(after, before->members[i].node) < 0 ? before->members[i].owned : 0;
  }
  return n * (gained > lost ? gained : lost);
}

static uint32_t optimum_by_growth(const struct ring *before, const struct ring *after, const struct ring_moves *moves) {
  uint32_t growth = 0;
  for (uint32_t i = 0; i < after->member_count; i++) {
    const int at = ring_find(before, after->members[i].node);
    const uint32_t loss = at < 0 ? 0 : moves->losses[at];
    growth += moves->gains[i] > loss ? moves->gains[i] - loss : 0;
  }
  return growth;
}

static bool is_plain(const struct ring *ring) {
  return ring->member_count > RING_SPREAD && ring->zone_count == 1;
}

/* -- all of it ------------------------------------------------------------------- */

uint32_t ring_balance(const struct ring *ring) {
  ASSERT(ring->partition_count > 0);
  ASSERT(ring->member_count > 0);
  uint64_t weight = 0;
  uint64_t most = 0;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    weight += ring->members[i].weight;
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const uint64_t mean = (uint64_t)ring->members[i].weight * ring->partition_count; /* times the sum of weights */
    const uint64_t balance = (ring->members[i].owned * weight * 1000 + mean / 2) / mean;
    most = balance > most ? balance : most;
  }
  return most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
}

void ring_compare(const struct ring *before, const struct ring *after, uint32_t n, struct ring_moves *out) {
  ASSERT(before->partition_count == after->partition_count);
  ASSERT(before->member_count > 0 && after->member_count > 0);
  ASSERT(n > 0 && n <= REPLICAS_MAX);
  memset(out, 0, sizeof *out);
  for (uint32_t p = 0; p < after->partition_count; p++) {
    struct preference old;
    struct preference new;
    ring_preference(before, p, n, &old);
    ring_preference(after, p, n, &new);
    out->replicas_moved += count_new(after, &new, &old, out->gains);
    (void)count_new(before, &old, &new, out->losses);
    count_clashes(after, n, p, &new, out);
  }
  out->optimum = optimum_by_growth(before, after, out);
  if (is_plain(before) && is_plain(after) && n <= RING_SPREAD) {
    /* Growth depends on how shares were rounded; the least that any rounding asks for is not more. */
    const uint32_t optimum = optimum_by_shares(before, after, n);
    out->optimum = optimum < out->optimum ? optimum : out->optimum;
  }
  out->balance_before = ring_balance(before);
  out->balance_after = ring_balance(after);
  ASSERT(out->replicas_moved >= out->optimum);
}
