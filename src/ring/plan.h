/* What a change of the ring costs and what it brings: two rings of one cluster compared (paper §4.9, §6.2).
 *
 * The optimum is the fewest replicas that the change of shares makes necessary, wherever partitions lie:
 *
 *  - With one zone, n <= RING_SPREAD, and more than RING_SPREAD members on either side, a member that owns x
 *    partitions keeps n * x replicas. Its share by weight (none above Q / RING_SPREAD, the others share the rest) is
 *    an interval: the exact figure rounded down and up. Those that own less than that gain at least the difference,
 *    those that own more lose it, and who leaves loses all. The optimum is n times the greater of the two sums.
 *  - Else (zones bend the shares, a small ring repeats its members) it is the sum of what nodes keep more of than
 *    before: the replicas by which they have grown have to come from somewhere.
 *
 * INVARIANTS: the sum of gains is replicas_moved, and never less than the optimum; integers only.
 */
#ifndef GRAMME_RING_PLAN_H
#define GRAMME_RING_PLAN_H

#include "ring/ring.h"

struct ring_moves {
  uint32_t replicas_moved; /* (partition, node) of `after` that `before` does not have */
  uint32_t optimum;
  uint32_t gains[MEMBERS_MAX];  /* replicas of partitions that a member of `after` gets; by index in after->members */
  uint32_t losses[MEMBERS_MAX]; /* that a member of `before` gives; by index in before->members */
  /* Of `after`, in partitions. The first is all of them while there are fewer than n members, and else none; the
   * second is none, by the rule of the preference list. The third is what that rule costs: */
  uint32_t node_clashes;   /* fewer than n distinct nodes hold it */
  uint32_t zone_clashes;   /* two replicas lie in one zone although there are n zones */
  uint32_t detours;        /* the next n owners will not do: a node is met twice, or (with n zones) a zone is */
  uint32_t balance_before; /* ring_balance of each */
  uint32_t balance_after;
};

/* Both have the same number of partitions, and members; n is 1 .. REPLICAS_MAX. Some ms for PARTITIONS_MAX. */
void ring_compare(const struct ring *before, const struct ring *after, uint32_t n, struct ring_moves *out);
/* The most partitions a unit of weight that a member owns, over the mean of all, in thousandths: 1000 is even. */
uint32_t ring_balance(const struct ring *ring);

#endif
