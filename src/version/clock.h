/* Dots and causal pasts (paper §4.4; dotted version vectors: Preguica, Baquero et al. 2010, 2012).
 *
 * An actor is (node, incarnation): who issued a version. A dot is (actor, time): which version; `time` is an HLC
 * reading, strictly increasing per actor, so it is counter, last-write-wins timestamp and truncation age at once.
 *
 * A past is what somebody has seen of one key: pairs (actor, time) that claim *all* dots of the
 * actor up to that time, and single dots that claim only themselves. A coordinator that holds a key's durable state
 * can claim all its own earlier dots; a stand-in that may have handed them off, and a client that
 * has just been told of one dot, can not: they name it singly.
 *
 * INVARIANTS: pairs strictly increasing by actor; dots strictly increasing by (actor, time), none
 * covered by a pair; at most CLOCK_PAIRS_MAX pairs and dots together after past_truncate. Forgetting a claim is always
 * safe: what is not claimed can come back as a false sibling, but nothing can be lost for want of a claim.
 */
#ifndef GRAMME_VERSION_CLOCK_H
#define GRAMME_VERSION_CLOCK_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"

struct actor {
  uint64_t incarnation; /* new whenever the node may have lost anything that it issued */
  uint32_t node;        /* never 0 */
};

struct dot {
  struct actor actor;
  uint64_t time; /* HLC, never 0 */
};

/* Room for a merge of two before truncation, and for the dots of many siblings. */
#define PAST_MAX (2u * CLOCK_PAIRS_MAX + SIBLINGS_MAX)

struct past {
  uint32_t pair_count;
  uint32_t dot_count;
  struct dot pairs[2u * CLOCK_PAIRS_MAX + 2u];
  struct dot dots[PAST_MAX];
};

/* <0, 0, >0 by node, then incarnation. In line, as are those below: every walk of a list is made of them. */
static inline int actor_compare(struct actor a, struct actor b) {
  if (a.node != b.node) {
    return a.node < b.node ? -1 : 1;
  }
  return (a.incarnation > b.incarnation) - (a.incarnation < b.incarnation);
}

/* By actor, then time. */
static inline int dot_compare(struct dot a, struct dot b) {
  int order = actor_compare(a.actor, b.actor);
  return order != 0 ? order : (a.time > b.time) - (a.time < b.time);
}

/* By time, then actor: <0 when a is the older. */
static inline int dot_compare_age(struct dot a, struct dot b) {
  return a.time != b.time ? (a.time < b.time ? -1 : 1) : actor_compare(a.actor, b.actor);
}

/* On wire and disk: u32 node, u64 incarnation, u64 time. */
#define DOT_BYTES 20u
struct dot dot_load(const uint8_t at[DOT_BYTES]);
void dot_store(uint8_t at[DOT_BYTES], struct dot dot);
bool dot_is_valid(struct dot dot); /* neither node nor time is 0 */

void past_init(struct past *past);
bool past_covers(const struct past *past, struct dot dot);
void past_add_pair(struct past *past, struct dot dot); /* claims all of its actor up to it; drops dots that it covers */
/* Claims it alone; nothing when covered. When there is no room the oldest dot makes some: a writer that never reads
 * can make its context grow without end. */
void past_add_dot(struct past *past, struct dot dot);
uint64_t past_newest(const struct past *past); /* the greatest time in it; 0: it is empty */
/* Union. Asserts that the result fits: callers merge truncated pasts only. */
void past_merge(struct past *into, const struct past *from);
/* Drops the oldest by (time, actor) until pairs + dots <= CLOCK_PAIRS_MAX; returns how many were dropped. */
uint32_t past_truncate(struct past *past);

/* -- the lists that pasts and objects are made of; all of it linear in their lengths ------------------------ */

/* A borrowed view of pairs and dots that keep the invariants above. */
struct claims {
  const struct dot *pairs;
  const struct dot *dots;
  uint32_t pair_count;
  uint32_t dot_count;
};
struct claims past_claims(const struct past *past);
/* OK, or CORRUPT when the lists break an invariant. */
enum err claims_check(struct claims claims) MUST_CHECK;

/* Asks about many dots, in ascending order, in one walk. */
struct cover_cursor {
  struct claims claims;
  uint32_t pair;
  uint32_t dot;
};
struct cover_cursor cover_begin(struct claims claims);
bool cover_next(struct cover_cursor *cursor, struct dot dot);

/* Unions in place; each returns the new count and asserts that it is at most `capacity`. Of two pairs of one actor
 * the later stays. */
uint32_t pairs_union(struct dot *into, uint32_t count, uint32_t capacity, const struct dot *from, uint32_t from_count);
uint32_t dots_union(struct dot *into, uint32_t count, uint32_t capacity, const struct dot *from, uint32_t from_count);
/* Drops the dots that pairs cover; returns the new count. */
uint32_t dots_drop_covered(struct dot *dots, uint32_t count, const struct dot *pairs, uint32_t pair_count);
/* past_truncate, of two lists. */
uint32_t claims_truncate(struct dot *pairs, uint32_t *pair_count, struct dot *dots, uint32_t *dot_count);

#endif
