#include "ring/deal.h"

#include "base/assert.h"

#include <string.h>

#define ANY_ZONE UINT32_MAX
#define SLACK_URGENT 2 /* three groups that own a third each take turns: the last of them waits for two */

/* The laying of a whole ring from partition 0 on, each partition to the seat that suits best there. What binds seats
 * and zones is the same: so many still to lay, RING_SPREAD apart. */
struct group {
  uint32_t left;  /* partitions still to be laid */
  uint32_t first; /* where it lies first and last so far */
  uint32_t last;
  bool laid;
};

struct laying {
  struct group seats[MEMBERS_MAX];
  struct group zones[MEMBERS_MAX];
  /* With as many zones as a window is long: */
  uint32_t order[RING_SPREAD]; /* how they follow each other */
  uint32_t extra[RING_SPREAD]; /* what each lays beyond its turns */
  uint32_t turn;
  uint32_t next_extra; /* not before this partition */
};

/* How many partitions a group may yet be passed over before it can not be laid in full. */
static int slack_of(const struct group *group, uint32_t p, uint32_t partition_count) {
  if (group->left == 0) {
    return (int)partition_count;
  }
  int ready = (int)p;
  int end = (int)partition_count - 1;
  if (group->laid) {
    if (group->last + RING_SPREAD > p) {
      ready = (int)(group->last + RING_SPREAD);
    }
    if (group->first + partition_count - RING_SPREAD < partition_count) {
      end = (int)(group->first + partition_count - RING_SPREAD);
    }
  }
  return end - (ready + (int)(RING_SPREAD * (group->left - 1)));
}

static void lay(struct group *group, uint32_t p) {
  ASSERT(group->left > 0);
  if (!group->laid) {
    group->first = p;
  }
  group->laid = true;
  group->last = p;
  group->left--;
}

/* The seat to lay at p: of those that clash least the most urgent, else the one that is most behind its even pace,
 * where each replica that stays in place makes up for one partition of it. */
static uint32_t choose_seat(const struct deal *deal, const struct laying *laying, uint32_t p, uint32_t zone) {
  const uint32_t q = deal->partition_count;
  uint32_t best = DEAL_NONE;
  uint32_t best_clash = 0;
  int best_slack = 0;
  int64_t best_score = 0;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (laying->seats[i].left == 0 || (zone != ANY_ZONE && deal->zone[i] != zone)) {
      continue;
    }
    const uint32_t clash = deal_clash(deal, p, i);
    if (best != DEAL_NONE && clash > best_clash) {
      continue;
    }
    int slack = slack_of(&laying->seats[i], p, q);
    if (deal->zone_rule == ZONE_RULE_DISTINCT && zone == ANY_ZONE) {
      const int zone_slack = slack_of(&laying->zones[deal->zone[i]], p, q);
      slack = zone_slack < slack ? zone_slack : slack;
    }
    slack = slack > SLACK_URGENT ? SLACK_URGENT + 1 : slack;
    const uint32_t laid = deal->target[i] - laying->seats[i].left;
    const int64_t behind = (int64_t)deal->target[i] * (p + 1) - (int64_t)laid * q;
    const int64_t score = behind + (int64_t)deal_gain(deal, p, i) * q;
    if (best == DEAL_NONE || clash < best_clash || slack < best_slack || (slack == best_slack && score > best_score)) {
      best = i;
      best_clash = clash;
      best_slack = slack;
      best_score = score;
    }
  }
  return best;
}

/* Three zones have no choice but to follow each other in turn. What 3 does not divide is laid right behind one of
 * its own zone, and clashes with that one only; a second one half a ring further. */
static void order_zones(const struct deal *deal, struct laying *laying) {
  uint32_t count = 0;
  for (uint32_t z = 0; z < MEMBERS_MAX; z++) {
    const uint32_t left = laying->zones[z].left;
    if (left > 0) {
      ASSERT(count < RING_SPREAD);
      laying->order[count] = z;
      laying->extra[count] = left - deal->partition_count / RING_SPREAD;
      count++;
    }
  }
  ASSERT(count == RING_SPREAD);
}

static uint32_t next_zone(const struct deal *deal, struct laying *laying, uint32_t p) {
  const uint32_t zone = laying->order[laying->turn];
  if (laying->extra[laying->turn] > 0 && p >= laying->next_extra) {
    laying->extra[laying->turn]--;
    laying->next_extra = p + deal->partition_count / 2;
  } else {
    laying->turn = (laying->turn + 1) % RING_SPREAD;
  }
  return zone;
}

static void lay_all(struct deal *deal) {
  struct laying laying;
  memset(&laying, 0, sizeof laying);
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node != 0) {
      laying.seats[i].left = deal->target[i];
      laying.zones[deal->zone[i]].left += deal->target[i];
    }
  }
  const bool in_turn = deal->zone_count == RING_SPREAD;
  if (in_turn) {
    order_zones(deal, &laying);
  }
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    const uint32_t seat = choose_seat(deal, &laying, p, in_turn ? next_zone(deal, &laying, p) : ANY_ZONE);
    ASSERT(seat != DEAL_NONE);
    deal_give(deal, p, seat);
    lay(&laying.seats[seat], p);
    lay(&laying.zones[deal->zone[seat]], p);
  }
}

/* Exchanges the owners of p and another partition where that clashes less. True if it did. */
static bool exchange(struct deal *deal, uint32_t p) {
  const uint32_t a = deal->owner[p];
  uint32_t best = p;
  uint32_t best_relief = 0;
  for (uint32_t other = 0; other < deal->partition_count; other++) {
    const uint32_t b = deal->owner[other];
    if (b == a) {
      continue;
    }
    const uint32_t clash = deal_clash(deal, p, a) + deal_clash(deal, other, b);
    deal->owner[p] = (uint16_t)b;
    deal->owner[other] = (uint16_t)a;
    const uint32_t then = deal_clash(deal, p, b) + deal_clash(deal, other, a);
    deal->owner[p] = (uint16_t)a;
    deal->owner[other] = (uint16_t)b;
    if (then < clash && clash - then > best_relief) {
      best = other;
      best_relief = clash - then;
    }
  }
  if (best == p) {
    return false;
  }
  deal->owner[p] = deal->owner[best];
  deal->owner[best] = (uint16_t)a;
  return true;
}

#define EXCHANGES_MAX 16u /* the end of a laying leaves a clash or two; more is not worth the time */

static void mend(struct deal *deal) {
  uint32_t left = EXCHANGES_MAX;
  for (uint32_t p = 0; p < deal->partition_count && left > 0; p++) {
    if (deal_clash(deal, p, deal->owner[p]) > 0) {
      left--;
      (void)exchange(deal, p);
    }
  }
}

void deal_afresh(struct deal *deal) {
  ASSERT(deal->member_count > RING_SPREAD);
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    deal_give(deal, p, DEAL_NONE);
  }
  lay_all(deal);
  mend(deal);
  ASSERT(deal->own[DEAL_NONE] == 0);
}

/* In order of node id, one after the other. Also for RING_SPREAD members: a window that sees all of them can not do
 * better than to repeat them, and where their number does not divide the partitions two windows at the end see one
 * of them twice. */
void deal_in_turn(struct deal *deal) {
  ASSERT(deal->member_count > 0);
  uint32_t seat = DEAL_NONE;
  for (uint32_t p = 0; p < deal->partition_count; p++) {
    const uint32_t after = seat == DEAL_NONE ? 0 : deal->seats[seat].node;
    uint32_t next = DEAL_NONE;
    uint32_t lowest = DEAL_NONE;
    for (uint32_t i = 0; i < deal->seat_count; i++) {
      const uint32_t node = deal->seats[i].node;
      if (node == 0) {
        continue;
      }
      if (lowest == DEAL_NONE || node < deal->seats[lowest].node) {
        lowest = i;
      }
      if (node > after && (next == DEAL_NONE || node < deal->seats[next].node)) {
        next = i;
      }
    }
    seat = next == DEAL_NONE ? lowest : next;
    ASSERT(seat != DEAL_NONE);
    deal_give(deal, p, seat);
  }
}

/* -- all of them --------------------------------------------------------------- */

static bool is_worse(struct flaws a, struct flaws b) {
  if (a.nodes != b.nodes) {
    return a.nodes > b.nodes;
  }
  if (a.missing != b.missing) {
    return a.missing > b.missing;
  }
  return a.zones > b.zones;
}

/* How many clashes of zones are let stand. With as many zones as a window is long, they must follow each other in a
 * fixed order, and what does not divide by their number stands beside one of its own. With two, windows that see one
 * zone only are no more than walks that go a little further: a few of them are better than moving half the ring. */
static uint32_t tolerated_zone_flaws(const struct deal *deal) {
  switch (deal->zone_rule) {
  case ZONE_RULE_NONE:
    break;
  case ZONE_RULE_MIXED:
    return deal->partition_count / 32;
  case ZONE_RULE_DISTINCT:
    return deal->zone_count == RING_SPREAD ? deal->partition_count % RING_SPREAD : 0;
  }
  return 0;
}

void deal_settle(struct deal *deal) {
  ASSERT(deal->member_count > 0);
  ASSERT((deal->partition_count & (deal->partition_count - 1)) == 0);
  if (deal->member_count <= RING_SPREAD || deal->partition_count < DEAL_PARTITIONS_MIN) {
    deal_in_turn(deal);
    deal->spread = false;
    return;
  }
  const size_t size = deal->partition_count * sizeof deal->owner[0];
  deal_set_targets(deal);
  memcpy(deal->before, deal->owner, size);
  struct flaws flaws = {UINT32_MAX, 0, 0};
  if (deal->spread) {
    deal_step(deal);
    flaws = deal_measure(deal);
    memcpy(deal->kept, deal->owner, size);
  }
  if (flaws.nodes + flaws.missing > 0 || flaws.zones > tolerated_zone_flaws(deal)) {
    deal_afresh(deal);
    if (is_worse(deal_measure(deal), flaws)) {
      for (uint32_t p = 0; p < deal->partition_count; p++) {
        deal_give(deal, p, deal->kept[p]);
      }
    }
  }
  deal->spread = true;
}
