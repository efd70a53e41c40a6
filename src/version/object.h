/* A stored object: everything that one replica holds of one key (paper §4.4).
 *
 * It is a past and the siblings: versions of which none is known to supersede another, each with
 * its dot. A deletion is a sibling without a value (a tombstone). An object is kept, sent and stored in one canonical
 * encoding, so that equal objects are equal bytes and have equal digests:
 *
 *     u8 format (1)  u8 flags (0)  u16 pairs  u16 dots  u16 siblings
 *     pairs   * { u32 node, u64 incarnation, u64 time }             by actor
 *     dots    * { the same }                                        by (actor, time)
 *     siblings* { the same, u64 expires_at_ms (0 never), u8 tombstone, u32 size, value }  by (actor, time)
 *
 * A clock is an object without the values: the same, with format byte 2; `size` still tells each value's size. It is
 * what a replica answers when the value itself is not needed.
 *
 * INVARIANTS (checked by object_open): sorted as above, without duplicates; no dot is covered by a pair; pairs and
 * dots together at most CLOCK_PAIRS_MAX; at least one sibling, at most SIBLINGS_MAX; no sibling's dot stands among
 * the dots; a tombstone has size 0; nothing trails. A pair may cover the dot of a sibling of the same object: who
 * claims a dot and has no such sibling says that it is superseded, who has the sibling says that it stands.
 *
 * MERGE of A and B. A sibling of both stays; a sibling of one stays unless the other claims its dot. Claims are
 * united. Under RESOLVE_LWW the losers' dots are claimed. Then the oldest claims by (time, actor) are dropped until
 * CLOCK_PAIRS_MAX are left. If every sibling of either is claimed by the other (LWW over clocks that ran ahead can
 * make such a circle, true histories can not) the greatest by (time, actor) stays: a merge never ends with nothing.
 *
 * Merge is commutative. Below the limit it is also associative and idempotent. Past it, it is not associative as
 * bytes: a claim may be dropped on one way and not on the other, and then a superseded sibling comes back on one of
 * them. Replicas that go on exchanging still become identical: a claim that covers another is never older than it,
 * so the k-th newest claim that anyone holds ranks k-th or better wherever it is, is never dropped while k <=
 * CLOCK_PAIRS_MAX, and reaches everyone; by induction all end with the same claims. From then on siblings that they
 * cover only vanish, the others only spread. See test/property/version_test.c.
 */
#ifndef GRAMME_VERSION_OBJECT_H
#define GRAMME_VERSION_OBJECT_H

#include "base/blob.h"
#include "version/clock.h"

struct sibling {
  struct dot dot;
  uint64_t expires_at_ms; /* wall clock; 0: never */
  bool tombstone;
  uint32_t size;      /* of the value, also in a clock */
  struct bytes value; /* borrowed; empty in a clock */
};

/* A cursor over an encoded object, which it borrows. */
struct object {
  struct bytes encoded;
  bool is_clock;
  uint16_t pair_count;
  uint16_t dot_count;
  uint16_t sibling_count;
  size_t siblings_offset;
};

/* CORRUPT when the bytes break the format or an invariant; FORMAT for a newer one. Linear in the metadata. */
enum err object_open(struct object *object, struct bytes encoded) MUST_CHECK;
/* The past with every sibling's dot in it: what a reader of the object has seen, hence the context of a get. */
void object_past(const struct object *object, struct past *past);

/* The greatest time of all dots that it claims or has. */
uint64_t object_newest(const struct object *object);

struct sibling_cursor {
  const struct object *object;
  size_t offset;
  uint16_t left;
};
struct sibling_cursor object_siblings(const struct object *object);
bool sibling_next(struct sibling_cursor *cursor, struct sibling *sibling);

enum resolve { RESOLVE_SIBLINGS = 0, RESOLVE_LWW = 1 };

/* Scratch that merges and puts work in: about 400 KiB, aligned to 8, no init; owned by the shard, one at a time. */
struct version_scratch;
size_t version_scratch_size(void);

struct version_stats {
  uint64_t merges;    /* that made a third object of two */
  uint64_t truncated; /* pairs and dots dropped past CLOCK_PAIRS_MAX */
  uint64_t overfull;  /* merges refused past SIBLINGS_MAX or OBJECT_MAX_BYTES */
  uint64_t buried;    /* objects that came with versions known to be dead: see prune.h */
};

/* What `mine` (NULL: absent) becomes when `theirs` (empty: absent) arrives. `*out` holds one reference to the
 * result: `mine` or `theirs` itself when it equals that, else a new blob of `pool`; NULL when both are absent. Under
 * RESOLVE_LWW only the sibling with the greatest (time, actor) stays; its rivals count as seen. `theirs_blob` may be
 * NULL or hold more than `theirs`: then `theirs` is copied if it has to be kept. Two clocks merge to a clock; a
 * clock and an object do not. Errors: CORRUPT (also when both have a sibling that differs), FORMAT, NOMEM, SIBLINGS,
 * TOOBIG; `*out` is NULL then. */
enum err object_merge(struct version_scratch *scratch, struct blob_pool *pool, struct blob *mine, struct bytes theirs,
                      struct blob *theirs_blob, enum resolve resolve, struct version_stats *stats,
                      struct blob **out) MUST_CHECK;

/* What a put makes of the coordinator's object (paper §4.4, §4.5). */
struct put {
  const struct past *context; /* what the writer had seen; NULL: the coordinator's own current object (a plain SET) */
  struct dot dot;             /* the new version; greater than any dot of its actor for this key */
  bool contiguous;            /* the coordinator holds all that its actor ever issued for the key: claim it as a pair */
  bool tombstone;
  bool keep_expiry; /* SET KEEPTTL: that of what a GET at the dot's time returns, if there is anything */
  uint64_t expires_at_ms;
  struct bytes value;
  enum resolve resolve;
  uint32_t sibling_max; /* more siblings than this after the put: ERR_SIBLINGS */
};
/* Siblings that the context claims go, its claims are united with the object's, the new sibling is added. Errors:
 * SIBLINGS, TOOBIG, NOMEM, FORMAT, CORRUPT (also when context or object already claim the new dot). `*out` is always
 * a new blob, NULL on an error. */
enum err object_put(struct version_scratch *scratch, struct blob_pool *pool, struct blob *mine, const struct put *put,
                    struct version_stats *stats, struct blob **out) MUST_CHECK;

/* The clock of an object, as a new blob; NULL when there is no room. */
struct blob *object_clock(struct blob_pool *pool, const struct object *object) MUST_CHECK;
/* XXH3-64 of all but the format byte and the values, chained from one sibling to the next: equal objects and their
 * clocks have equal digests. 0 for an absent one, and for no other. */
uint64_t object_digest(struct bytes encoded);
/* Would merging `older` into `newer` leave `newer` as it is (under RESOLVE_SIBLINGS)? Either may be empty = absent,
 * or a clock. False for damaged bytes. */
bool object_descends(struct bytes newer, struct bytes older);
/* The sibling that a plain GET returns: the latest by (time, actor) among those that are not expired at `wall_ms`, and
 * not tombstones; false when there is none. */
bool object_latest(const struct object *object, uint64_t wall_ms, struct sibling *out);

#endif
