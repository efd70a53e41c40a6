#include "ring/deal.h"
#include "ring/ring.h"

#include "base/assert.h"

#include <string.h>

/* -- seats ----------------------------------------------------------------------- */

static uint32_t find_seat(const struct deal *deal, uint32_t node) {
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node == node) {
      return i;
    }
  }
  return DEAL_NONE;
}

static void count_zones(struct deal *deal) {
  bool seen[MEMBERS_MAX] = {false};
  deal->zone_count = 0;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node != 0 && !seen[deal->zone[i]]) {
      seen[deal->zone[i]] = true;
      deal->zone_count++;
    }
  }
  ASSERT(deal->zone_count <= deal->member_count);
  deal->zone_rule = deal->zone_count >= RING_SPREAD ? ZONE_RULE_DISTINCT
                    : deal->zone_count == 2         ? ZONE_RULE_MIXED
                                                    : ZONE_RULE_NONE;
}

/* The number of a seat's zone: that of another seat in it, or the least that is free. */
static uint16_t number_zone(const struct deal *deal, const struct history *history, uint32_t change) {
  bool used[MEMBERS_MAX] = {false};
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node == 0) {
      continue;
    }
    const char *zone = history->changes[deal->seats[i].change].zone;
    if (memcmp(zone, history->changes[change].zone, sizeof history->changes[change].zone) == 0) {
      return deal->zone[i];
    }
    used[deal->zone[i]] = true;
  }
  uint16_t number = 0;
  while (used[number]) {
    number++;
    ASSERT(number < MEMBERS_MAX);
  }
  return number;
}

/* -- changes ----------------------------------------------------------------------- */

/* Each says whether it made sense. */

static bool seat_node(struct deal *deal, const struct history *history, uint32_t index) {
  const struct change *change = &history->changes[index];
  if (find_seat(deal, change->node) != DEAL_NONE || deal->member_count == MEMBERS_MAX) {
    return false;
  }
  const uint16_t zone = number_zone(deal, history, index);
  uint32_t seat = find_seat(deal, 0);
  if (seat == DEAL_NONE) {
    seat = deal->seat_count++;
  }
  ASSERT(seat < MEMBERS_MAX && deal->own[seat] == 0);
  deal->seats[seat] = (struct seat){.node = change->node, .weight = change->weight, .change = index};
  deal->zone[seat] = zone;
  deal->member_count++;
  return true;
}

static bool unseat_node(struct deal *deal, uint32_t node) {
  const uint32_t seat = find_seat(deal, node);
  /* The last node stays: a cluster of none would have nowhere to keep its data, and nobody to say so. */
  if (seat == DEAL_NONE || deal->member_count == 1) {
    return false;
  }
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    if (deal->owner[p] == seat) {
      deal_give(deal, p, DEAL_NONE);
    }
  }
  ASSERT(deal->own[seat] == 0);
  deal->seats[seat] = (struct seat){.node = 0};
  deal->target[seat] = 0;
  deal->member_count--;
  return true;
}

static bool reweigh_node(struct deal *deal, const struct change *change) {
  const uint32_t seat = find_seat(deal, change->node);
  if (seat == DEAL_NONE || deal->seats[seat].weight == change->weight) {
    return false;
  }
  deal->seats[seat].weight = change->weight;
  return true;
}

static void start(struct deal *deal, struct ring *ring, uint32_t partition_count) {
  memset(deal, 0, offsetof(struct deal, before));
  deal->owner = ring->owners;
  deal->partition_count = partition_count;
  deal->zone[DEAL_NONE] = UINT16_MAX;
  for (uint32_t p = 0; p < partition_count; p++) {
    deal->owner[p] = DEAL_NONE;
  }
  deal->own[DEAL_NONE] = (uint16_t)partition_count;
}

static void apply(struct deal *deal, struct ring *ring, const struct history *history, uint32_t index) {
  const struct change *change = &history->changes[index];
  bool sensible = false;
  switch (change->kind) {
  case CHANGE_FOUND:
    if (deal->partition_count == 0) {
      start(deal, ring, change->partition_count);
      sensible = seat_node(deal, history, index);
    }
    break;
  case CHANGE_ADD:
    sensible = deal->partition_count > 0 && seat_node(deal, history, index);
    break;
  case CHANGE_REMOVE:
    sensible = unseat_node(deal, change->node);
    break;
  case CHANGE_REWEIGH:
    sensible = reweigh_node(deal, change);
    break;
  }
  if (sensible) {
    count_zones(deal);
    deal_settle(deal);
  }
}

/* -- the ring that comes of it ------------------------------------------------------- */

static void copy_member(struct ring_member *member, const struct deal *deal, uint32_t seat,
                        const struct history *history) {
  const struct change *change = &history->changes[deal->seats[seat].change];
  member->node = deal->seats[seat].node;
  member->weight = deal->seats[seat].weight;
  member->owned = deal->own[seat];
  member->change = deal->seats[seat].change;
  member->client_port = change->client_port;
  member->peer_port = change->peer_port;
  memcpy(member->host, change->host, sizeof member->host);
  memcpy(member->name, change->name, sizeof member->name);
  memcpy(member->zone_name, change->zone, sizeof member->zone_name);
}

/* Members in order of node id, zones numbered as they first appear among them. */
static void finish(struct ring *ring, const struct deal *deal, const struct history *history) {
  uint16_t place_of_seat[MEMBERS_MAX] = {0};
  uint16_t number_of_zone[MEMBERS_MAX];
  bool zone_seen[MEMBERS_MAX] = {false};
  uint32_t after = 0;
  for (uint32_t place = 0; place < deal->member_count; place++) {
    uint32_t next = DEAL_NONE;
    for (uint32_t i = 0; i < deal->seat_count; i++) {
      if (deal->seats[i].node > after && (next == DEAL_NONE || deal->seats[i].node < deal->seats[next].node)) {
        next = i;
      }
    }
    ASSERT(next != DEAL_NONE);
    after = deal->seats[next].node;
    place_of_seat[next] = (uint16_t)place;
    const uint32_t zone = deal->zone[next];
    if (!zone_seen[zone]) {
      zone_seen[zone] = true;
      number_of_zone[zone] = (uint16_t)ring->zone_count++;
    }
    copy_member(&ring->members[place], deal, next, history);
    ring->members[place].zone = number_of_zone[zone];
  }
  ring->member_count = deal->member_count;
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    ASSERT(deal->owner[p] < deal->seat_count);
    ring->owners[p] = place_of_seat[deal->owner[p]];
  }
}

void ring_fold(struct ring *ring, const struct history *history) {
  ASSERT(ring != NULL);
  ASSERT(history->count <= HISTORY_MAX);
  struct deal deal;
  deal.partition_count = 0;
  deal.seat_count = 0;
  deal.member_count = 0;
  for (uint32_t i = 0; i < history->count; i++) {
    apply(&deal, ring, history, i);
  }
  ring->partition_count = deal.partition_count;
  ring->member_count = 0;
  ring->zone_count = 0;
  ring->digest = history_digest(history);
  if (deal.partition_count > 0) {
    finish(ring, &deal, history);
  }
}

int ring_find(const struct ring *ring, uint32_t node) {
  ASSERT(ring->member_count <= MEMBERS_MAX);
  uint32_t low = 0;
  uint32_t high = ring->member_count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (ring->members[middle].node < node) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < ring->member_count && ring->members[low].node == node ? (int)low : -1;
}

uint32_t ring_owner(const struct ring *ring, uint32_t partition) {
  ASSERT(partition < ring->partition_count);
  ASSERT(ring->owners[partition] < ring->member_count);
  return ring->members[ring->owners[partition]].node;
}
