#include "ring/deal.h"

#include "base/assert.h"

#include <string.h>

struct fold {
  struct deal deal;
  struct ring_member seated[MEMBERS_MAX]; /* by seat: what a ring tells of its member beside its share */
};

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

/* The number of a zone: that of a seat in it, or `wanted` if that is free, or the least that is. */
static uint16_t number_zone(const struct fold *fold, const struct change *change, uint16_t wanted) {
  const struct deal *deal = &fold->deal;
  bool used[MEMBERS_MAX] = {false};
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node == 0) {
      continue;
    }
    if (memcmp(fold->seated[i].zone_name, change->zone, sizeof change->zone) == 0) {
      return deal->zone[i];
    }
    used[deal->zone[i]] = true;
  }
  if (!used[wanted]) {
    return wanted;
  }
  uint16_t number = 0;
  while (used[number]) {
    number++;
    ASSERT(number < MEMBERS_MAX);
  }
  return number;
}

static void sit_down(struct fold *fold, uint32_t seat, uint16_t zone, const struct change *change) {
  struct ring_member *member = &fold->seated[seat];
  fold->deal.seats[seat] = (struct seat){.node = change->node, .weight = change->weight};
  fold->deal.zone[seat] = zone;
  memset(member, 0, sizeof *member);
  member->client_port = change->client_port;
  member->peer_port = change->peer_port;
  memcpy(member->host, change->host, sizeof member->host);
  memcpy(member->name, change->name, sizeof member->name);
  memcpy(member->zone_name, change->zone, sizeof member->zone_name);
}

/* -- changes ----------------------------------------------------------------------- */

/* Each says whether there is anything to settle: whether it made sense and changed a share or a zone. */

static bool seat_node(struct fold *fold, const struct change *change) {
  struct deal *deal = &fold->deal;
  if (find_seat(deal, change->node) != DEAL_NONE || deal->member_count == MEMBERS_MAX) {
    return false;
  }
  const uint16_t zone = number_zone(fold, change, 0);
  uint32_t seat = find_seat(deal, 0);
  if (seat == DEAL_NONE) {
    seat = deal->seat_count++;
  }
  ASSERT(seat < MEMBERS_MAX && deal->own[seat] == 0);
  sit_down(fold, seat, zone, change);
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
  while (deal->seats[deal->seat_count - 1].node == 0) {
    deal->seat_count--;
    ASSERT(deal->seat_count > 0);
  }
  return true;
}

/* The newcomer takes the seat. With the weight of the old node and a zone in its place no partition but the seat's own
 * changes hands: to settle would move others, where flaws are left that no change before could mend. */
static bool replace_node(struct fold *fold, const struct change *change) {
  struct deal *deal = &fold->deal;
  const uint32_t seat = find_seat(deal, change->old);
  if (seat == DEAL_NONE || find_seat(deal, change->node) != DEAL_NONE) {
    return false;
  }
  const uint32_t weight = deal->seats[seat].weight;
  const uint16_t old_zone = deal->zone[seat];
  deal->seats[seat].node = 0; /* so that its zone is known only if others are in it */
  const uint16_t zone = number_zone(fold, change, old_zone);
  sit_down(fold, seat, zone, change);
  return weight != change->weight || zone != old_zone;
}

static bool reweigh_node(struct deal *deal, const struct change *change) {
  const uint32_t seat = find_seat(deal, change->node);
  if (seat == DEAL_NONE || deal->seats[seat].weight == change->weight) {
    return false;
  }
  deal->seats[seat].weight = change->weight;
  return true;
}

static void start(struct deal *deal, uint16_t *owners, uint32_t partition_count) {
  memset(deal, 0, offsetof(struct deal, before));
  deal->owner = owners;
  deal->partition_count = partition_count;
  deal->zone[DEAL_NONE] = UINT16_MAX;
  for (uint32_t p = 0; p < partition_count; p++) {
    deal->owner[p] = DEAL_NONE;
  }
  deal->own[DEAL_NONE] = (uint16_t)partition_count;
}

static void apply(struct fold *fold, struct ring *ring, const struct change *change) {
  struct deal *deal = &fold->deal;
  bool unsettled = false;
  switch (change->kind) {
  case CHANGE_FOUND:
    if (deal->partition_count == 0) {
      start(deal, ring->owners, change->partition_count);
      unsettled = seat_node(fold, change);
    }
    break;
  case CHANGE_ADD:
    unsettled = deal->partition_count > 0 && seat_node(fold, change);
    break;
  case CHANGE_REMOVE:
    unsettled = unseat_node(deal, change->node);
    break;
  case CHANGE_REWEIGH:
    unsettled = reweigh_node(deal, change);
    break;
  case CHANGE_REPLACE:
    unsettled = replace_node(fold, change);
    break;
  }
  if (unsettled) {
    count_zones(deal);
    deal_settle(deal);
  }
}

/* -- from a ring, and to one --------------------------------------------------------- */

/* Sits its members down where they were. `ring` may be `earlier`: its owners are read before they are written. */
static void resume(struct fold *fold, struct ring *ring, const struct ring *earlier) {
  struct deal *deal = &fold->deal;
  start(deal, ring->owners, 0);
  deal->partition_count = earlier->partition_count;
  deal->member_count = earlier->member_count;
  deal->spread = earlier->is_spread;
  for (uint32_t i = 0; i < earlier->member_count; i++) {
    const struct ring_member *member = &earlier->members[i];
    const uint32_t seat = member->seat;
    ASSERT(seat < MEMBERS_MAX && deal->seats[seat].node == 0);
    deal->seats[seat] = (struct seat){.node = member->node, .weight = member->weight};
    deal->zone[seat] = member->zone_mark;
    deal->own[seat] = (uint16_t)member->owned;
    deal->seat_count = seat >= deal->seat_count ? seat + 1 : deal->seat_count;
    fold->seated[seat] = *member;
  }
  for (uint32_t p = 0; p < earlier->partition_count; p++) {
    deal->owner[p] = earlier->members[earlier->owners[p]].seat;
  }
}

static void copy_member(struct ring_member *member, const struct fold *fold, uint32_t seat) {
  const struct deal *deal = &fold->deal;
  *member = fold->seated[seat];
  member->node = deal->seats[seat].node;
  member->weight = deal->seats[seat].weight;
  member->owned = deal->own[seat];
  member->seat = (uint16_t)seat;
  member->zone_mark = deal->zone[seat];
}

/* Members in order of node id, zones numbered as they first appear among them. */
static void finish(struct ring *ring, const struct fold *fold) {
  const struct deal *deal = &fold->deal;
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
    copy_member(&ring->members[place], fold, next);
    ring->members[place].zone = number_of_zone[zone];
  }
  ring->member_count = deal->member_count;
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    ASSERT(deal->owner[p] < deal->seat_count);
    ring->owners[p] = place_of_seat[deal->owner[p]];
  }
}

/* Folds the records from `from` up to `count`, on from `earlier` (NULL: from nothing). */
static void fold_on(struct ring *ring, const struct ring *earlier, const struct history *history, uint32_t from,
                    uint32_t count) {
  const uint32_t folded = history->snapshot.ring.records;
  ASSERT(from >= folded && count <= history_length(history));
  struct fold fold;
  start(&fold.deal, ring->owners, 0);
  if (earlier != NULL) {
    resume(&fold, ring, earlier);
  }
  for (uint32_t i = from; i < count; i++) {
    apply(&fold, ring, &history->changes[i - folded]);
  }
  ring->partition_count = fold.deal.partition_count;
  ring->member_count = 0;
  ring->zone_count = 0;
  ring->records = count;
  ring->digest = history_prefix_digest(history, count);
  ring->is_spread = fold.deal.partition_count > 0 && fold.deal.spread;
  if (fold.deal.partition_count > 0) {
    finish(ring, &fold);
  }
}

void ring_fold(struct ring *ring, const struct history *history) {
  ring_fold_prefix(ring, history, history_length(history));
}

void ring_fold_prefix(struct ring *ring, const struct history *history, uint32_t count) {
  const struct ring *folded = &history->snapshot.ring;
  ASSERT(ring != NULL && ring != folded);
  ASSERT(history->count <= HISTORY_MAX);
  ASSERT(count == 0 || count >= folded->records);
  if (count == 0) {
    memset(ring, 0, sizeof *ring);
  } else {
    fold_on(ring, folded->records > 0 ? folded : NULL, history, folded->records, count);
  }
}

bool ring_is_prefix(const struct ring *ring, const struct history *history, uint32_t count) {
  ASSERT(count <= history_length(history));
  return ring->records <= count && history_prefix_digest(history, ring->records) == ring->digest;
}

void ring_fold_from(struct ring *ring, const struct ring *earlier, const struct history *history, uint32_t count) {
  ASSERT(ring != NULL && earlier != NULL);
  ASSERT(count <= history_length(history));
  const bool is_there = earlier->records >= history->snapshot.ring.records; /* what follows it */
  if (earlier->partition_count > 0 && is_there && ring_is_prefix(earlier, history, count)) {
    fold_on(ring, earlier, history, earlier->records, count);
  } else {
    ring_fold_prefix(ring, history, count);
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
