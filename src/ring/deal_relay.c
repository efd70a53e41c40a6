#include "ring/deal.h"

#include "base/assert.h"

#include <string.h>

/* Where nodes (or zones) are few, the rules leave a partition hardly a choice while its neighbours stay as they are,
 * and the fewest moves are found only by laying a stretch of neighbours anew together. This does so by dynamic
 * programming: over the partitions of the stretch, the state is which groups own the last two.
 *
 * A group is a zone where zones have to be distinct (then its nodes never meet, and any of them will do), else a
 * seat. What is sought is the most replicas kept in place, less a price for groups that own more than their target
 * and plus one for those that own less. The prices rise from pass to pass, so that the cheap moves of the whole ring
 * are made before the dear ones. */

#define STRETCH 24u
#define PLACES (STRETCH + 2u) /* and the two partitions behind it, which stay */
#define STATES ((RELAY_GROUPS_MAX + 1u) * (RELAY_GROUPS_MAX + 1u))
#define GAIN_UNIT 64         /* of value, for one replica kept */
#define CLASH_COST (1 << 20) /* more than all gains of a stretch */
#define ZONE_COST (1 << 16)  /* for three in a row of one zone, where there are two */
#define IMPOSSIBLE INT32_MIN

/* A pass: the full price of a partition, and how many a group must be off its target for that price. The last ones
 * are for the few that are left then. */
struct pass {
  int price;
  int saturation;
};
static const struct pass passes[] = {{32, 4},  {96, 4},  {160, 4}, {224, 4},  {224, 1},
                                     {320, 1}, {416, 1}, {640, 1}, {1280, 1}, {2560, 1}};

#define PASSES (sizeof passes / sizeof passes[0])
#define PASS_OF_THEFT 3u /* without orphans there is nothing to be had for less than what a partition costs */
#define OFF_TO_LEAVE 4   /* that much is better left to chains */

struct relay {
  bool by_zone;
  bool mixed; /* two zones: no three in a row of one */
  uint32_t group_count;
  uint32_t group_of_seat[MEMBERS_MAX + 1]; /* [DEAL_NONE] = group_count: clashes with nothing */
  uint32_t zone_of_group[RELAY_GROUPS_MAX + 1];
  int off[RELAY_GROUPS_MAX + 1]; /* own - target */
  int price[RELAY_GROUPS_MAX + 1];
  int32_t value[PLACES + 1][STATES];
  uint8_t from[PLACES + 1][STATES];        /* the group two before, for the way back */
  uint32_t seat[PLACES][RELAY_GROUPS_MAX]; /* which seat of a group is best at a place, DEAL_NONE for the neediest */
  int32_t reward[PLACES]
                [RELAY_GROUPS_MAX + 1]; /* what it has to gain there less its price; an orphan is as bad as a clash */
};

static bool make_groups(const struct deal *deal, struct relay *relay) {
  uint32_t group_of_zone[MEMBERS_MAX];
  memset(relay, 0, offsetof(struct relay, value));
  relay->by_zone = deal->zone_rule == ZONE_RULE_DISTINCT;
  relay->mixed = deal->zone_rule == ZONE_RULE_MIXED;
  if ((relay->by_zone ? deal->zone_count : deal->member_count) > RELAY_GROUPS_MAX) {
    return false;
  }
  for (uint32_t z = 0; z < MEMBERS_MAX; z++) {
    group_of_zone[z] = RELAY_GROUPS_MAX;
  }
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node == 0) {
      continue;
    }
    const uint32_t zone = deal->zone[i];
    uint32_t group = relay->by_zone ? group_of_zone[zone] : RELAY_GROUPS_MAX;
    if (group == RELAY_GROUPS_MAX) {
      ASSERT(relay->group_count < RELAY_GROUPS_MAX);
      group = relay->group_count++;
      group_of_zone[zone] = group;
      relay->zone_of_group[group] = zone;
    }
    relay->group_of_seat[i] = group;
    relay->off[group] += (int)deal->own[i] - (int)deal->target[i];
  }
  relay->group_of_seat[DEAL_NONE] = relay->group_count;
  relay->zone_of_group[relay->group_count] = UINT32_MAX;
  return true;
}

static uint32_t group_at(const struct deal *deal, const struct relay *relay, uint32_t p) {
  return relay->group_of_seat[deal->owner[p & (deal->partition_count - 1)]];
}

/* What each group has to gain at each place of the stretch, and with which seat. */
static void set_gains(const struct deal *deal, struct relay *relay, uint32_t start) {
  const uint32_t mask = deal->partition_count - 1;
  for (uint32_t i = 0; i < STRETCH; i++) {
    const uint32_t p = (start + i) & mask;
    for (uint32_t g = 0; g < relay->group_count; g++) {
      relay->seat[i][g] = DEAL_NONE;
      relay->reward[i][g] = -relay->price[g];
    }
    relay->reward[i][relay->group_count] = -CLASH_COST;
    /* Only who was near has anything to gain. Within its zone the present owner stays: that it has p may be theft. */
    const uint32_t present = relay->group_of_seat[deal->owner[p]];
    if (present < relay->group_count) {
      relay->seat[i][present] = deal->owner[p];
      relay->reward[i][present] += (int32_t)deal_gain(deal, p, deal->owner[p]) * GAIN_UNIT;
    }
    const uint32_t near[5] = {deal->before[p], deal->before[(p - 1) & mask], deal->before[(p + 1) & mask],
                              deal->before[(p - 2) & mask], deal->before[(p + 2) & mask]};
    for (uint32_t k = 0; k < 5; k++) {
      const uint32_t g = relay->group_of_seat[near[k]];
      if (near[k] == DEAL_NONE || g == present) {
        continue;
      }
      const int32_t reward = (int32_t)deal_gain(deal, p, near[k]) * GAIN_UNIT - relay->price[g];
      if (relay->seat[i][g] == DEAL_NONE || reward > relay->reward[i][g]) {
        relay->seat[i][g] = near[k];
        relay->reward[i][g] = reward;
      }
    }
  }
}

/* Two zones: what it costs if the last of three neighbours lies in the zone of both others. */
static int32_t mixed_cost(const struct relay *relay, uint32_t a, uint32_t b, uint32_t c) {
  const uint32_t none = relay->group_count;
  const bool same =
      relay->zone_of_group[a] == relay->zone_of_group[c] && relay->zone_of_group[b] == relay->zone_of_group[c];
  return c != none && same ? ZONE_COST : 0;
}

/* The last of three neighbours, place i of the stretch, or of what lies behind it. */
static int32_t place_value(const struct relay *relay, uint32_t i, uint32_t a, uint32_t b, uint32_t c) {
  int32_t value = i < STRETCH ? relay->reward[i][c] : 0;
  if (c != relay->group_count) {
    value -= (a == c ? CLASH_COST : 0) + (b == c ? CLASH_COST : 0);
  }
  return relay->mixed ? value - mixed_cost(relay, a, b, c) : value;
}

/* The value of the stretch as it lies. */
static int32_t present_value(const struct deal *deal, const struct relay *relay, uint32_t start) {
  int32_t value = 0;
  for (uint32_t i = 0; i < PLACES; i++) {
    const uint32_t a = group_at(deal, relay, start + i - 2);
    const uint32_t b = group_at(deal, relay, start + i - 1);
    const uint32_t c = group_at(deal, relay, start + i);
    value += place_value(relay, i, a, b, c);
  }
  return value;
}

static void reach(struct relay *relay, uint32_t i, uint32_t a, uint32_t b, uint32_t c, int32_t value) {
  const uint32_t next = b * (relay->group_count + 1) + c;
  if (value > relay->value[i + 1][next]) {
    relay->value[i + 1][next] = value;
    relay->from[i + 1][next] = (uint8_t)a;
  }
}

/* What follows from one state. Within the stretch no clash of groups is laid at all, for three groups always leave
 * one that clashes with neither of the last two; only where it meets what lies behind it may there be one, at its
 * cost. */
static void extend_state(struct relay *relay, uint32_t i, uint32_t a, uint32_t b, uint32_t fixed) {
  const int32_t before = relay->value[i][a * (relay->group_count + 1) + b];
  if (i >= STRETCH) {
    reach(relay, i, a, b, fixed, before + place_value(relay, i, a, b, fixed));
    return;
  }
  for (uint32_t c = 0; c < relay->group_count; c++) {
    if (c != a && c != b) {
      const int32_t cost = relay->mixed ? mixed_cost(relay, a, b, c) : 0;
      reach(relay, i, a, b, c, before + relay->reward[i][c] - cost);
    }
  }
}

/* Fills value[] and from[]; state (b, c) after i places stands at b * (groups + 1) + c. */
static void fill_values(const struct deal *deal, struct relay *relay, uint32_t start) {
  const uint32_t width = relay->group_count + 1;
  for (uint32_t i = 0; i <= PLACES; i++) {
    for (uint32_t s = 0; s < width * width; s++) {
      relay->value[i][s] = IMPOSSIBLE;
    }
  }
  relay->value[0][group_at(deal, relay, start - 2) * width + group_at(deal, relay, start - 1)] = 0;
  for (uint32_t i = 0; i < PLACES; i++) {
    const uint32_t fixed = i < STRETCH ? UINT32_MAX : group_at(deal, relay, start + i);
    for (uint32_t a = 0; a < width; a++) {
      for (uint32_t b = 0; b < width; b++) {
        if (relay->value[i][a * width + b] != IMPOSSIBLE) {
          extend_state(relay, i, a, b, fixed);
        }
      }
    }
  }
}

static uint32_t find_neediest(const struct deal *deal, const struct relay *relay, uint32_t group) {
  uint32_t best = DEAL_NONE;
  int best_need = 0;
  for (uint32_t i = 0; i < deal->seat_count; i++) {
    if (deal->seats[i].node == 0 || relay->group_of_seat[i] != group) {
      continue;
    }
    const int need = (int)deal->target[i] - (int)deal->own[i];
    if (best == DEAL_NONE || need > best_need) {
      best = i;
      best_need = need;
    }
  }
  ASSERT(best != DEAL_NONE);
  return best;
}

/* Lays the stretch as the values say, from its end back. */
static void lay_back(struct deal *deal, struct relay *relay, uint32_t start) {
  const uint32_t width = relay->group_count + 1;
  uint32_t c = group_at(deal, relay, start + PLACES - 1);
  uint32_t b = group_at(deal, relay, start + PLACES - 2);
  for (uint32_t i = PLACES; i > 2; i--) {
    const uint32_t a = relay->from[i][b * width + c];
    c = b;
    b = a;
    const uint32_t place = i - 3; /* b is its group */
    const uint32_t group = b;
    const uint32_t p = (start + place) & (deal->partition_count - 1);
    const uint32_t now = group_at(deal, relay, p);
    uint32_t seat = relay->seat[place][group];
    if (seat == DEAL_NONE) {
      seat = find_neediest(deal, relay, group);
    }
    if (deal->owner[p] != seat) {
      deal_give(deal, p, seat);
      relay->off[group]++;
      relay->off[now]--;
    }
  }
}

static int32_t sum_off(const struct relay *relay) {
  int32_t sum = 0;
  for (uint32_t g = 0; g < relay->group_count; g++) {
    sum += relay->off[g] > 0 ? relay->off[g] : -relay->off[g];
  }
  return sum;
}

/* The prices lead the way, but they do not change while a stretch is laid, so it may overshoot; what counts in the
 * end is what is kept in place against what is off the targets. */
static bool relay_stretch(struct deal *deal, struct relay *relay, uint32_t start, struct pass pass) {
  const uint32_t width = relay->group_count + 1;
  const uint32_t mask = deal->partition_count - 1;
  for (uint32_t g = 0; g < relay->group_count; g++) {
    int off = relay->off[g];
    off = off > pass.saturation ? pass.saturation : off < -pass.saturation ? -pass.saturation : off;
    relay->price[g] = pass.price * off / pass.saturation;
  }
  set_gains(deal, relay, start);
  const int32_t present = present_value(deal, relay, start);
  fill_values(deal, relay, start);
  const uint32_t end = group_at(deal, relay, start + PLACES - 2) * width + group_at(deal, relay, start + PLACES - 1);
  if (relay->value[PLACES][end] <= present) {
    return false;
  }
  uint16_t owners[STRETCH];
  for (uint32_t i = 0; i < STRETCH; i++) {
    owners[i] = deal->owner[(start + i) & mask];
  }
  const int32_t off = sum_off(relay);
  int off_before[RELAY_GROUPS_MAX + 1];
  memcpy(off_before, relay->off, sizeof off_before);
  const int32_t better = relay->value[PLACES][end] - present;
  lay_back(deal, relay, start);
  int32_t paid = 0; /* what of `better` is prices */
  for (uint32_t g = 0; g < relay->group_count; g++) {
    paid -= relay->price[g] * (relay->off[g] - off_before[g]);
  }
  if (better - paid + (off - sum_off(relay)) * pass.price / 2 > 0) {
    return true;
  }
  for (uint32_t i = 0; i < STRETCH; i++) {
    if (deal->owner[(start + i) & mask] != owners[i]) {
      deal_give(deal, (start + i) & mask, owners[i]);
    }
  }
  memcpy(relay->off, off_before, sizeof off_before);
  return false;
}

static bool is_done(const struct deal *deal, const struct relay *relay) {
  return deal->own[DEAL_NONE] == 0 && sum_off(relay) <= (relay->by_zone ? 0 : OFF_TO_LEAVE);
}

void deal_relay(struct deal *deal) {
  ASSERT(deal->partition_count >= DEAL_PARTITIONS_MIN);
  struct relay relay;
  if (deal->partition_count < PLACES + 2 || !make_groups(deal, &relay)) {
    return;
  }
  for (uint32_t pass = deal->own[DEAL_NONE] > 0 ? 0 : PASS_OF_THEFT; pass < PASSES; pass++) {
    const uint32_t shift = pass * (STRETCH / 3);
    for (uint32_t start = 0; start < deal->partition_count; start += STRETCH) {
      if (relay_stretch(deal, &relay, start + shift, passes[pass]) && pass >= PASS_OF_THEFT && is_done(deal, &relay)) {
        return;
      }
    }
    if (is_done(deal, &relay)) {
      return;
    }
  }
}
