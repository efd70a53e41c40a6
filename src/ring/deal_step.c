#include "ring/deal.h"

#include "base/assert.h"

#include <string.h>

#define FAR UINT32_MAX

/* -- one partition ------------------------------------------------------------- */

uint32_t deal_clash(const struct deal *deal, uint32_t p, uint32_t seat) {
  const uint32_t mask = deal->partition_count - 1;
  const uint32_t a2 = deal->owner[(p - 2) & mask];
  const uint32_t a1 = deal->owner[(p - 1) & mask];
  const uint32_t b1 = deal->owner[(p + 1) & mask];
  const uint32_t b2 = deal->owner[(p + 2) & mask];
  uint32_t clash = CLASH_NODE * ((uint32_t)(a2 == seat) + (a1 == seat) + (b1 == seat) + (b2 == seat));
  if (deal->zone_rule == ZONE_RULE_NONE) {
    return clash;
  }
  const uint32_t zone = deal->zone[seat];
  const uint32_t za2 = deal->zone[a2] == zone;
  const uint32_t za1 = deal->zone[a1] == zone;
  const uint32_t zb1 = deal->zone[b1] == zone;
  const uint32_t zb2 = deal->zone[b2] == zone;
  switch (deal->zone_rule) {
  case ZONE_RULE_NONE:
    break;
  case ZONE_RULE_MIXED:
    clash += (za2 & za1) + (za1 & zb1) + (zb1 & zb2);
    break;
  case ZONE_RULE_DISTINCT:
    clash += za2 + za1 + zb1 + zb2;
    break;
  }
  return clash;
}

uint32_t deal_gain(const struct deal *deal, uint32_t p, uint32_t seat) {
  const uint32_t mask = deal->partition_count - 1;
  if (!deal->spread) {
    return 0;
  }
  const bool a2 = deal->before[(p - 2) & mask] == seat;
  const bool a1 = deal->before[(p - 1) & mask] == seat;
  const bool at = deal->before[p] == seat;
  const bool b1 = deal->before[(p + 1) & mask] == seat;
  const bool b2 = deal->before[(p + 2) & mask] == seat;
  return (uint32_t)(a2 || a1 || at) + (a1 || at || b1) + (at || b1 || b2);
}

void deal_give(struct deal *deal, uint32_t p, uint32_t seat) {
  ASSERT(p < deal->partition_count);
  ASSERT(seat == DEAL_NONE || deal->seats[seat].node != 0);
  deal->own[deal->owner[p]]--;
  deal->owner[p] = (uint16_t)seat;
  deal->own[seat]++;
}

/* May `seat` take p without breaking more rules than its owner does? */
static bool may_take(const struct deal *deal, uint32_t p, uint32_t seat) {
  const uint32_t owner = deal->owner[p];
  if (owner == seat) {
    return false;
  }
  const uint32_t clash = deal_clash(deal, p, seat);
  return clash == 0 || (owner != DEAL_NONE && clash <= deal_clash(deal, p, owner));
}

static bool is_short(const struct deal *deal, uint32_t seat) {
  return deal->seats[seat].node != 0 && deal->own[seat] < deal->target[seat];
}

static bool is_over(const struct deal *deal, uint32_t seat) {
  return seat != DEAL_NONE && deal->own[seat] > deal->target[seat];
}

/* -- orphans ------------------------------------------------------------------- */

/* The seat that an orphan goes to: of those that it clashes least with the one most short of its target; of equals
 * the one that keeps more replicas in place. It clashes with none, save that three zones leave a place or two where
 * one clash can not be helped. */
static uint32_t find_heir(const struct deal *deal, uint32_t p, bool only_short) {
  const uint32_t clash_max = deal->zone_count == RING_SPREAD ? 1 : 0;
  uint32_t best = DEAL_NONE;
  uint32_t best_clash = clash_max;
  int best_need = 0;
  uint32_t best_gain = 0;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node == 0) {
      continue;
    }
    const int need = (int)deal->target[i] - (int)deal->own[i];
    if ((only_short && need <= 0) || (best != DEAL_NONE && need < best_need && best_clash == 0)) {
      continue;
    }
    const uint32_t clash = deal_clash(deal, p, i);
    if (clash > best_clash || (best != DEAL_NONE && clash == best_clash && need < best_need)) {
      continue;
    }
    const uint32_t gain = deal_gain(deal, p, i);
    if (best == DEAL_NONE || clash < best_clash || need > best_need || gain > best_gain) {
      best = i;
      best_clash = clash;
      best_need = need;
      best_gain = gain;
    }
  }
  return best;
}

static void give_orphans(struct deal *deal, bool only_short) {
  if (deal->own[DEAL_NONE] == 0) {
    return;
  }
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    if (deal->owner[p] == DEAL_NONE) {
      const uint32_t heir = find_heir(deal, p, only_short);
      if (heir != DEAL_NONE) {
        deal_give(deal, p, heir);
      }
    }
  }
}

/* -- theft --------------------------------------------------------------------- */

/* A seat that is short takes one partition from each of as many equal stretches of the ring as it wants: so what it
 * gets lies far apart, and there is room for the next. In each stretch the owner with most to spare gives. */
static void steal_evenly(struct deal *deal, uint32_t seat) {
  const uint32_t want = (uint32_t)deal->target[seat] - deal->own[seat];
  ASSERT(want > 0 && want <= deal->partition_count);
  for (uint32_t i = 0; i < want; i++) {
    const uint32_t end = (i + 1) * deal->partition_count / want;
    uint32_t best = FAR;
    uint32_t best_spare = 0;
    for (uint32_t p = i * deal->partition_count / want; p < end; p++) {
      const uint32_t owner = deal->owner[p];
      if (!is_over(deal, owner)) {
        continue;
      }
      const uint32_t spare = (uint32_t)deal->own[owner] - deal->target[owner];
      if (spare > best_spare && may_take(deal, p, seat)) {
        best = p;
        best_spare = spare;
      }
    }
    if (best != FAR) {
      deal_give(deal, best, seat);
    }
  }
}

/* What stretches left over: any partition of an owner with some to spare. */
static void steal_anywhere(struct deal *deal, uint32_t seat) {
  for (uint32_t p = 0; p < deal->partition_count && is_short(deal, seat); p++) {
    if (is_over(deal, deal->owner[p]) && may_take(deal, p, seat)) {
      deal_give(deal, p, seat);
    }
  }
}

/* -- chains -------------------------------------------------------------------- */

/* Where nobody with some to spare may give to anybody who is short, others stand between: x gives p to y, which
 * gives q to z. The shortest chains, found backwards from all that are short. */
struct chains {
  uint32_t steps[MEMBERS_MAX]; /* from a seat to one that is short; FAR when not known */
  uint32_t loss[MEMBERS_MAX];  /* replicas moved by the seat's first step */
  uint32_t p[MEMBERS_MAX];     /* the partition that it gives */
  uint32_t to[MEMBERS_MAX];    /* and to whom */
};

/* One round: seats that can give to one `steps` away from being short. True if there were any. */
static bool lengthen_chains(const struct deal *deal, struct chains *chains, uint32_t steps) {
  uint16_t front[MEMBERS_MAX];
  uint32_t front_count = 0;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (chains->steps[i] == steps) {
      front[front_count++] = (uint16_t)i;
    }
  }
  bool any = false;
  for (uint32_t p = 0; p < deal->partition_count && front_count > 0; p++) {
    const uint32_t owner = deal->owner[p];
    if (owner == DEAL_NONE || chains->steps[owner] <= steps) {
      continue;
    }
    /* One way for each seat will do, but a partition that has moved already in this change moves on for less. */
    if (chains->steps[owner] != FAR && deal->before[p] == owner) {
      continue;
    }
    for (uint32_t i = 0; i < front_count; i++) {
      if (!may_take(deal, p, front[i])) {
        continue;
      }
      const uint32_t loss = RING_SPREAD + deal_gain(deal, p, owner) - deal_gain(deal, p, front[i]);
      if (chains->steps[owner] == FAR || loss < chains->loss[owner]) {
        chains->steps[owner] = steps + 1;
        chains->loss[owner] = loss;
        chains->p[owner] = p;
        chains->to[owner] = front[i];
        any = true;
      }
    }
  }
  return any;
}

/* Finds chains until they reach a seat with some to spare; false when they reach none. */
static bool find_chains(const struct deal *deal, struct chains *chains) {
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    chains->steps[i] = is_short(deal, i) ? 0 : FAR;
  }
  for (uint32_t steps = 0; steps < deal->seat_count; steps++) {
    if (!lengthen_chains(deal, chains, steps)) {
      return false;
    }
    for (uint32_t i = 0; i < deal->seat_count; i++) {
      if (chains->steps[i] != FAR && is_over(deal, i)) {
        return true;
      }
    }
  }
  return false;
}

/* Passes partitions along the chain, its end first: then each that takes has already given what it may have clashed
 * with. What another chain has laid meanwhile, or this one where zones clash, may be in the way: then all is put
 * back. */
static bool follow_chain(struct deal *deal, const struct chains *chains, uint32_t from) {
  uint32_t givers[MEMBERS_MAX];
  uint32_t count = 0;
  uint32_t seat = from;
  while (chains->steps[seat] > 0) {
    ASSERT(count < deal->seat_count);
    givers[count++] = seat;
    seat = chains->to[seat];
  }
  ASSERT(count > 0);
  if (!is_short(deal, seat)) {
    return false;
  }
  for (uint32_t i = count; i > 0; i--) {
    const uint32_t giver = givers[i - 1];
    const uint32_t p = chains->p[giver];
    if (deal->owner[p] != giver || !may_take(deal, p, chains->to[giver])) {
      for (uint32_t j = i; j < count; j++) {
        deal_give(deal, chains->p[givers[j]], givers[j]);
      }
      return false;
    }
    deal_give(deal, p, chains->to[giver]);
  }
  return true;
}

static uint32_t sum_missing(const struct deal *deal) {
  uint32_t missing = 0;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    missing += is_short(deal, i) ? (uint32_t)deal->target[i] - deal->own[i] : 0;
  }
  return missing;
}

static void pass_along(struct deal *deal) {
  struct chains chains;
  bool any = true;
  while (any && sum_missing(deal) > 0 && find_chains(deal, &chains)) {
    any = false;
    for (uint32_t i = 0; i < deal->seat_count; i++) {
      if (chains.steps[i] != FAR && is_over(deal, i)) {
        any = follow_chain(deal, &chains, i) || any;
      }
    }
  }
}

/* -- the step ------------------------------------------------------------------ */

void deal_step(struct deal *deal) {
  ASSERT(deal->member_count > 0);
  give_orphans(deal, true);
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (is_short(deal, i)) {
      steal_evenly(deal, i);
    }
  }
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (is_short(deal, i)) {
      steal_anywhere(deal, i);
    }
  }
  if (deal->own[DEAL_NONE] > 0 || sum_missing(deal) > 0) {
    deal_relay(deal);
  }
  give_orphans(deal, true);
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (is_short(deal, i)) {
      steal_anywhere(deal, i);
    }
  }
  give_orphans(deal, false);
  pass_along(deal);
}

struct flaws deal_measure(const struct deal *deal) {
  const uint32_t mask = deal->partition_count - 1;
  struct flaws flaws = {deal->own[DEAL_NONE], sum_missing(deal), 0};
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    const uint32_t a = deal->owner[p];
    const uint32_t b = deal->owner[(p + 1) & mask];
    const uint32_t c = deal->owner[(p + 2) & mask];
    flaws.nodes += (uint32_t)(a == b) + (a == c);
    const bool ab = deal->zone[a] == deal->zone[b];
    const bool ac = deal->zone[a] == deal->zone[c];
    switch (deal->zone_rule) {
    case ZONE_RULE_NONE:
      break;
    case ZONE_RULE_MIXED:
      flaws.zones += ab && ac;
      break;
    case ZONE_RULE_DISTINCT:
      flaws.zones += (uint32_t)ab + ac;
      break;
    }
  }
  return flaws;
}
