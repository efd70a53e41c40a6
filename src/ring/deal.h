/* How the partitions are dealt to the members: the working state of the fold. Private to ring/.
 *
 * One change of membership is settled in these steps; each goes on only with what the one before has left:
 *
 *   1. shares   deal_share.c    how many partitions each seat is to own
 *   2. step     deal_step.c     orphans go to those that are short, which then steal what they still want
 *   3. relay    deal_relay.c    where nodes or zones are so few that hardly any partition can change hands by itself,
 *                               stretches of neighbours are laid anew together
 *   4. chains   deal_step.c     x gives to y, which gives to z
 *   5. afresh   deal_afresh.c   where the rules of spread left no such way, and for the first four members: the whole
 *                               ring is laid from the start, near to what it was, and taken if it breaks fewer rules
 *
 * A partition that is owned by x is kept by the owners of itself and of the RING_SPREAD - 1 behind it, so giving
 * partition p to y changes the replicas of p and of the RING_SPREAD - 1 before it, and of no other. That is why the
 * fewest partitions moved are the fewest replicas moved, as long as any RING_SPREAD neighbours are distinct.
 *
 * INVARIANTS: own[] counts owner[]; each loop goes through seats or partitions in their order, so that the outcome
 * depends on the history alone.
 */
#ifndef GRAMME_RING_DEAL_H
#define GRAMME_RING_DEAL_H

#include "ring/ring.h"

#define DEAL_NONE MEMBERS_MAX  /* the owner of an orphaned partition */
#define DEAL_PARTITIONS_MIN 8u /* with fewer partitions windows overlap themselves: they are dealt in turn */

enum zone_rule {
  ZONE_RULE_NONE,     /* one zone */
  ZONE_RULE_MIXED,    /* two: each RING_SPREAD neighbours see both */
  ZONE_RULE_DISTINCT, /* more: each RING_SPREAD neighbours lie in distinct zones */
};

struct seat {
  uint32_t node; /* 0: free */
  uint32_t weight;
};

struct deal {
  uint32_t partition_count;
  uint32_t seat_count; /* seats in use are below it */
  uint32_t member_count;
  uint32_t zone_count;
  enum zone_rule zone_rule;
  bool spread; /* owner[] was laid with the rules of spread: the next step starts from it */
  struct seat seats[MEMBERS_MAX];
  uint16_t zone[MEMBERS_MAX + 1]; /* of a seat; [DEAL_NONE] is no seat's */
  uint16_t own[MEMBERS_MAX + 1];  /* partitions */
  uint16_t target[MEMBERS_MAX];
  uint16_t *owner;                 /* borrowed: partition -> seat */
  uint16_t before[PARTITIONS_MAX]; /* owner[] as this change found it, DEAL_NONE where its node is gone */
  uint16_t kept[PARTITIONS_MAX];   /* scratch */
};

/* How bad an arrangement is; less is better, from the first field down. */
struct flaws {
  uint32_t nodes;   /* pairs of partitions nearer than RING_SPREAD with one owner; orphans count as such */
  uint32_t missing; /* partitions short of the targets */
  uint32_t zones;   /* the same for zones, as their rule counts them */
};

/* deal_share.c */
void deal_set_targets(struct deal *deal);

/* deal_step.c */
#define CLASH_NODE 64u /* more than all the clashes of zones that one partition can have */
/* What partition p would clash with if `seat` owned it: CLASH_NODE for each neighbour nearer than RING_SPREAD that
 * it owns already, 1 for each clash of zones. */
uint32_t deal_clash(const struct deal *deal, uint32_t p, uint32_t seat);
/* Replicas, of RING_SPREAD, that stay where they were if `seat` owns p. */
uint32_t deal_gain(const struct deal *deal, uint32_t p, uint32_t seat);
void deal_give(struct deal *deal, uint32_t p, uint32_t seat);
void deal_step(struct deal *deal);
struct flaws deal_measure(const struct deal *deal);

/* deal_relay.c */
#define RELAY_GROUPS_MAX 6u /* with more, nearly every partition has a taker beside its neighbours */
void deal_relay(struct deal *deal);

/* deal_afresh.c */
void deal_in_turn(struct deal *deal);
void deal_afresh(struct deal *deal);

/* All of them. */
void deal_settle(struct deal *deal);

#endif
