#include "ring/deal.h"

#include "base/assert.h"

#include <string.h>

#define POOL_COMMON MEMBERS_MAX /* the pool of all zones that are not capped */

/* Who shares what: a zone whose weight asks for more than spread permits is capped and becomes a pool of its own;
 * all others share the rest. Within a pool a node may be capped in the same way. */
struct shares {
  uint32_t pool_of_zone[MEMBERS_MAX];
  uint32_t zone_weight[MEMBERS_MAX];
  uint32_t zone_nodes[MEMBERS_MAX];
  uint32_t zone_cap[MEMBERS_MAX];
  uint32_t zone_total[MEMBERS_MAX]; /* of targets */
  uint32_t quota[MEMBERS_MAX + 1];  /* partitions of a pool */
  uint32_t low[MEMBERS_MAX];        /* a seat's exact share rounded down and up */
  uint32_t high[MEMBERS_MAX];
  uint64_t rest[MEMBERS_MAX]; /* what rounding down left, for the order of rounding up */
};

static uint32_t less(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

static void sum_zones(const struct deal *deal, struct shares *shares) {
  memset(shares, 0, sizeof *shares);
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node != 0) {
      shares->zone_weight[deal->zone[i]] += deal->seats[i].weight;
      shares->zone_nodes[deal->zone[i]]++;
    }
  }
}

/* The most that a zone can own: every RING_SPREAD'th partition, or with two zones all but those; and what its nodes
 * can. The partition or two that do not divide go where a node is free to take them. */
static void set_zone_caps(const struct deal *deal, struct shares *shares) {
  const uint32_t q = deal->partition_count;
  const uint32_t third = q / RING_SPREAD;
  uint32_t sum = 0;
  for (uint32_t z = 0; z < MEMBERS_MAX; z++) {
    shares->pool_of_zone[z] = POOL_COMMON;
    if (shares->zone_nodes[z] == 0) {
      continue;
    }
    switch (deal->zone_rule) {
    case ZONE_RULE_NONE:
      shares->zone_cap[z] = q;
      break;
    case ZONE_RULE_MIXED:
      shares->zone_cap[z] = less(q * (RING_SPREAD - 1) / RING_SPREAD, shares->zone_nodes[z] * third);
      break;
    case ZONE_RULE_DISTINCT:
      shares->zone_cap[z] = third;
      break;
    }
    sum += shares->zone_cap[z];
  }
  for (uint32_t z = 0; z < MEMBERS_MAX && sum < q; z++) {
    if (shares->zone_nodes[z] * third > shares->zone_cap[z]) {
      const uint32_t more = less(q - sum, shares->zone_nodes[z] * third - shares->zone_cap[z]);
      shares->zone_cap[z] += more;
      sum += more;
    }
  }
  ASSERT(sum >= q);
}

static void cap_zones(const struct deal *deal, struct shares *shares) {
  uint64_t free_partitions = deal->partition_count;
  uint64_t free_weight = 0;
  for (uint32_t z = 0; z < MEMBERS_MAX; z++) {
    free_weight += shares->zone_weight[z];
  }
  bool again = true;
  while (again) {
    again = false;
    for (uint32_t z = 0; z < MEMBERS_MAX; z++) {
      if (shares->zone_nodes[z] == 0 || shares->pool_of_zone[z] != POOL_COMMON ||
          shares->zone_weight[z] * free_partitions <= shares->zone_cap[z] * free_weight) {
        continue;
      }
      shares->pool_of_zone[z] = z;
      shares->quota[z] = shares->zone_cap[z];
      free_partitions -= shares->zone_cap[z];
      free_weight -= shares->zone_weight[z];
      again = true;
    }
  }
  shares->quota[POOL_COMMON] = (uint32_t)free_partitions;
}

static bool in_pool(const struct deal *deal, const struct shares *shares, uint32_t seat, uint32_t pool) {
  return deal->seats[seat].node != 0 && shares->pool_of_zone[deal->zone[seat]] == pool;
}

/* The exact shares of a pool's nodes, rounded both ways. */
static void share_pool(const struct deal *deal, struct shares *shares, uint32_t pool) {
  const uint64_t cap = deal->partition_count / RING_SPREAD;
  uint64_t free_partitions = shares->quota[pool];
  uint64_t free_weight = 0;
  bool capped[MEMBERS_MAX] = {false};
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    free_weight += in_pool(deal, shares, i, pool) ? deal->seats[i].weight : 0;
  }
  bool again = true;
  while (again) {
    again = false;
    for (uint32_t i = 0; i < deal->seat_count; i++) {
      if (in_pool(deal, shares, i, pool) && !capped[i] && deal->seats[i].weight * free_partitions > cap * free_weight) {
        capped[i] = true;
        shares->low[i] = (uint32_t)cap;
        shares->high[i] = (uint32_t)cap;
        free_partitions -= cap;
        free_weight -= deal->seats[i].weight;
        again = true;
      }
    }
  }
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (in_pool(deal, shares, i, pool) && !capped[i]) {
      ASSERT(free_weight > 0); /* its own is part of it */
      const uint64_t exact = deal->seats[i].weight * free_partitions;
      shares->low[i] = (uint32_t)(exact / free_weight);
      shares->rest[i] = exact % free_weight;
      shares->high[i] = shares->low[i] + (shares->rest[i] > 0 ? 1 : 0);
    }
  }
}

/* The seat to take one more than its target, or DEAL_NONE. */
static uint32_t find_to_raise(const struct deal *deal, const struct shares *shares, uint32_t pool) {
  uint32_t best = DEAL_NONE;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (in_pool(deal, shares, i, pool) && deal->target[i] < shares->high[i] &&
        shares->zone_total[deal->zone[i]] < shares->zone_cap[deal->zone[i]] &&
        (best == DEAL_NONE || shares->rest[i] > shares->rest[best])) {
      best = i;
    }
  }
  return best;
}

/* The seat to take one fewer, of a zone's or (MEMBERS_MAX) of any, or DEAL_NONE. */
static uint32_t find_to_lower(const struct deal *deal, const struct shares *shares, uint32_t pool, uint32_t zone) {
  uint32_t best = DEAL_NONE;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (in_pool(deal, shares, i, pool) && deal->target[i] > shares->low[i] &&
        (zone == MEMBERS_MAX || deal->zone[i] == zone) && (best == DEAL_NONE || shares->rest[i] < shares->rest[best])) {
      best = i;
    }
  }
  return best;
}

static void change_target(struct deal *deal, struct shares *shares, uint32_t seat, int by) {
  deal->target[seat] = (uint16_t)(deal->target[seat] + by);
  shares->zone_total[deal->zone[seat]] += (uint32_t)by;
}

/* Rounds a pool's shares so that they sum to its quota and as much as possible stays where it is. */
static void round_pool(struct deal *deal, struct shares *shares, uint32_t pool) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (!in_pool(deal, shares, i, pool)) {
      continue;
    }
    const uint32_t own = deal->own[i];
    const uint32_t target = own < shares->low[i] ? shares->low[i] : less(own, shares->high[i]);
    deal->target[i] = (uint16_t)target;
    shares->zone_total[deal->zone[i]] += target;
    sum += target;
  }
  for (uint32_t z = 0; z < MEMBERS_MAX; z++) {
    while (shares->pool_of_zone[z] == pool && shares->zone_total[z] > shares->zone_cap[z]) {
      const uint32_t seat = find_to_lower(deal, shares, pool, z);
      if (seat == DEAL_NONE) {
        break; /* the exact share of an uncapped zone is within its cap, so rounded down it fits */
      }
      change_target(deal, shares, seat, -1);
      sum--;
    }
  }
  while (sum > shares->quota[pool]) {
    const uint32_t seat = find_to_lower(deal, shares, pool, MEMBERS_MAX);
    ASSERT(seat != DEAL_NONE);
    change_target(deal, shares, seat, -1);
    sum--;
  }
  while (sum < shares->quota[pool]) {
    uint32_t seat = find_to_raise(deal, shares, pool);
    for (uint32_t i = 0; i < deal->seat_count && seat == DEAL_NONE; i++) {
      /* All are at their caps: the partition or two that do not divide. */
      seat = in_pool(deal, shares, i, pool) ? i : DEAL_NONE;
    }
    ASSERT(seat != DEAL_NONE);
    change_target(deal, shares, seat, 1);
    sum++;
  }
}

void deal_set_targets(struct deal *deal) {
  ASSERT(deal->member_count > RING_SPREAD);
  ASSERT(deal->partition_count >= DEAL_PARTITIONS_MIN);
  struct shares shares;
  sum_zones(deal, &shares);
  set_zone_caps(deal, &shares);
  cap_zones(deal, &shares);
  for (uint32_t pool = 0; pool <= POOL_COMMON; pool++) {
    if (shares.quota[pool] > 0) {
      share_pool(deal, &shares, pool);
      round_pool(deal, &shares, pool);
    }
  }
}
