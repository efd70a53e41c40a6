/* The ring: partition -> owner, as a pure fold over the membership history (paper §4.2, §6.2 strategy 3: Q equal
 * partitions, each node owns its share by weight).
 *
 * Two nodes with the same history have the same ring; nobody gossips ownership. An ADD steals from the most loaded
 * owners, a REMOVE gives to the least loaded; both choose partitions so that any N consecutive partitions (N =
 * RING_SPREAD, wrapping) lie on distinct nodes, and in distinct zones where there are N of them. deal.h says how.
 *
 * Figures held (test/property/ring_test.c prints them): each node owns its exact share rounded down or up, hence
 * max/mean load <= 1.02 while Q/S >= 50. Replicas moved / the fewest that could be: 1.00 for whatever joins; 1.00 for
 * what leaves while 6 or more stay, 1.01 while 5, 1.03 to 1.05 while 4, for then most partitions have nobody to go to
 * while their neighbours stay. With three zones 1.00 too, with seven and
 * more up to 1.03; with two or four to six the pattern of zones has to change with their shares: what leaves, and with
 * fewer than about 16 nodes what joins, moves 1.05 to 1.7 times the fewest, the more the fewer nodes there are.
 *
 * What is relaxed, and when:
 *  - Up to N members: each replicates every partition whatever the owners, so weights can not matter. Partitions are
 *    dealt in turn; with 3 members one or two of Q, which 3 does not divide, stand nearer than N to another of their
 *    owner. So it is for Q < 8.
 *  - A node that by weight should own more than a third: owns Q / N partitions, for that makes it a replica of every
 *    partition. The others share the rest by weight.
 *  - With 3 zones or more the same holds for a zone: at most Q / N partitions, which makes it hold a replica of
 *    everything. So with 3 zones each owns a third, and what N does not divide stands beside one of its own zone. With
 *    two zones neither owns more than two thirds, and all but a few windows see both.
 *  - Distinct zones are kept as far as the shares permit; distinct nodes always.
 *
 * A REPLACE hands over a seat: the newcomer owns what the old node owned, and if its weight is the same, and its zone
 * too (or both have theirs to themselves), nothing else changes. So for 3 members and fewer it leaves the turns as they
 * are until the next change.
 *
 * The preference list of a partition (paper §4.3) is a pure function of (partition, ring, n); who is up is applied by
 * the caller. The *walk* visits each member where it first owns a partition, clockwise from the given one; members that
 * own nothing come last, by node id. The replicas are the first n of: the nodes of the walk whose zone no earlier one
 * has, and then, in order of the walk, the others. All that are not replicas are stand-ins, in order of the walk.
 *
 * INVARIANTS: members by node id, each once; owners below member_count; owned counts owners; the same history gives the
 * same ring on every machine: integers only, nothing ordered by address or by padding.
 */
#ifndef GRAMME_RING_RING_H
#define GRAMME_RING_RING_H

#include "ring/history.h"
#include "ring/position.h"
#include "ring/table.h"

struct preference {
  uint32_t count;                 /* min(members, PREFERENCE_MAX) */
  uint32_t replica_count;         /* min(n, members): the first of them */
  uint32_t nodes[PREFERENCE_MAX]; /* node ids */
};

/* Folds a history, in order. Total: records that make no sense (anything before the FOUND, an ADD of a member, a
 * REMOVE or a REPLACE of a stranger or by a member, a REMOVE of the last member, more than MEMBERS_MAX) are passed
 * over, the same way on every node. `ring` is about 80 KiB: keep it static in its owner. Takes about 200 KiB of stack.
 * A record costs 0.1 ms at Q = 4096, and up to 15 ms where zones or nodes are few (deal_relay.c): fold on from a ring
 * that you have. */
void ring_fold(struct ring *ring, const struct history *history);
/* The ring after its first `count` records: a layout (paper §4.9). 0, or not fewer than are folded away. */
void ring_fold_prefix(struct ring *ring, const struct history *history, uint32_t count);
/* The same, from `earlier` on if that is the ring of a prefix, and from the start if it is not. `earlier` is the fold
 * of some history; it may be `ring` itself. */
void ring_fold_from(struct ring *ring, const struct ring *earlier, const struct history *history, uint32_t count);
/* Is it the ring of a prefix of the first `count` records? */
bool ring_is_prefix(const struct ring *ring, const struct history *history, uint32_t count);
/* The place of a node in a partition's preference list for `n` replicas (0 the first), or `n` when it is none of
 * them. */
uint32_t ring_rank(const struct ring *ring, uint32_t partition, uint32_t n, uint32_t node);
/* Index into members, or -1. */
int ring_find(const struct ring *ring, uint32_t node);
uint32_t ring_owner(const struct ring *ring, uint32_t partition); /* node id */
/* n is 1 .. REPLICAS_MAX; the ring has members. */
void ring_preference(const struct ring *ring, uint32_t partition, uint32_t n, struct preference *out);

#endif
