/* The membership history as a value (paper §4.8.1): an ordered set of records.
 *
 * A record says what an administrator (or, while a cluster is being formed, a node) did: it is identified by (time,
 * issuer), never changed, and merged by union. Everything that a node knows of who is in the cluster follows from the
 * set alone; see ring.h for the fold.
 *
 * A prefix that all have agreed upon (docs/adr/0005) never changes, and may be folded away: a *snapshot* stands for its
 * records, and has their number, the ring that they come to, who has left, and its *trail*, the digests of the last
 * prefixes up to it. So a layout's name, (length, digest of the prefix), means the same before and after, but where it
 * is older than the trail: then nobody can tell.
 *
 *     u8 format (1, or 2 with a snapshot)  [snapshot: snapshot.c]  u32 records
 *     each { u64 time  u32 issuer  u8 kind  u32 node  u32 weight  u32 partitions  u16 client port  u16 peer port
 *     u8 size + host  u8 size + name  u8 size + zone }
 *     u64 XXH3-64 of all before
 *
 * A record is kept and encoded in one canonical form: what its kind does not use is 0.
 *
 * INVARIANTS: records are strictly increasing by (time, issuer), and behind the snapshot's last; at most one is a
 * FOUND, the snapshot's included, so that two clusters that were founded apart are never merged into one; a snapshot
 * has a FOUND; equal prefixes have equal snapshots, in whatever steps they were folded away, but for history_outlaw.
 */
#ifndef GRAMME_RING_HISTORY_H
#define GRAMME_RING_HISTORY_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "ring/table.h"

/* REPLACE: `node` takes the seat of the member `old`, and so its partitions. The record has a weight and a zone of its
 * own: where they are those of `old`, nothing else moves. */
enum change_kind { CHANGE_FOUND = 1, CHANGE_ADD, CHANGE_REMOVE, CHANGE_REWEIGH, CHANGE_REPLACE };

struct change {
  uint64_t time;            /* HLC reading of the issuer; never 0 */
  uint32_t issuer;          /* node id; never 0 */
  enum change_kind kind;    /* CHANGE_FOUND is an ADD that also fixes Q: at most one; the fold begins with it */
  uint32_t node;            /* the node added, removed, reweighed or put in place of `old`; never 0 */
  uint32_t weight;          /* 1 .. WEIGHT_MAX (all but REMOVE) */
  uint32_t partition_count; /* FOUND only: Q, a power of two up to PARTITIONS_MAX */
  uint32_t old; /* REPLACE only: the member that goes, not `node`; never 0; encoded in the place of `partitions` */
  uint16_t client_port; /* ADD, FOUND, REPLACE */
  uint16_t peer_port;
  char host[HOST_MAX_BYTES + 1]; /* NUL-terminated; ADD, FOUND, REPLACE */
  char name[NAME_MAX_BYTES + 1];
  char zone[NAME_MAX_BYTES + 1]; /* "" is the default zone */
};

struct snapshot {
  struct ring ring; /* ring.records of them, 0: there is no snapshot; their digest is the ring's */
  uint64_t time;    /* of the last of them */
  uint32_t issuer;
  struct change founding;
  uint32_t gone_count; /* nodes removed or replaced, those longest gone forgotten first */
  uint32_t gone[HISTORY_GONE_MAX];
  uint64_t trail[HISTORY_TRAIL_MAX]; /* the digests of prefixes, the shortest first; the last is the ring's */
};

/* About 900 KiB. */
struct history {
  struct change changes[HISTORY_MAX]; /* those that were not folded away */
  uint32_t count;
  struct snapshot snapshot;
};

/* What an encoded history of `count` records takes at most, a snapshot included. */
#define HISTORY_RECORD_MAX_BYTES (8u + 4u + 1u + 4u + 4u + 4u + 2u + 2u + 3u + HOST_MAX_BYTES + 2u * NAME_MAX_BYTES)
#define HISTORY_MEMBER_MAX_BYTES (2u * 4u + 4u * 2u + 3u + HOST_MAX_BYTES + 2u * NAME_MAX_BYTES)
#define HISTORY_SNAPSHOT_MAX_BYTES                                                                                    \
  (4u + 8u + 8u + 4u + HISTORY_RECORD_MAX_BYTES + 1u + 2u + MEMBERS_MAX * HISTORY_MEMBER_MAX_BYTES + PARTITIONS_MAX + \
   2u + 4u * HISTORY_GONE_MAX + 8u * HISTORY_TRAIL_MAX)
#define HISTORY_ENCODED_MAX_BYTES(count) (1u + HISTORY_SNAPSHOT_MAX_BYTES + 4u + (count)*HISTORY_RECORD_MAX_BYTES + 8u)

void history_init(struct history *history);
/* As `*to = *from`, but only what is in use. */
void history_copy(struct history *to, const struct history *from);
/* Inserts in order, in canonical form (fields that the kind does not use are not looked at). OK, also when it is
 * there already; FULL; BADARG when a field is out of range; REFUSED when a different record has the same (time,
 * issuer), or it would be a second FOUND, or it belongs before the snapshot's last. */
enum err history_add(struct history *history, const struct change *change) MUST_CHECK;
/* Union. `*added` counts the new ones. All of `encoded` is checked before any of it is taken. Errors: CORRUPT (also
 * for no bytes at all), FORMAT, and FULL and REFUSED as above.
 *
 * What the snapshot of one side covers and the other has, as records or as a snapshot, is the same or REFUSED, as far
 * as it can be told: by number, and by digest where that is known. A snapshot that covers more than is known here is
 * taken, and the records up to its last go. One that it does not cover can not be among them, but for a record of a
 * node that was removed before it told anyone. */
enum err history_merge(struct history *history, struct bytes encoded, uint32_t *added) MUST_CHECK;
void history_encode(const struct history *history, struct writer *w); /* versioned */
/* Records in all, those folded away included: what a layout of all of them is named by. */
uint32_t history_length(const struct history *history);
/* XXH3-64 of the encoded records, each seeded with the digest of those before it: equal histories, equal digests. 0 for
 * an empty one, and for no other. */
uint64_t history_digest(const struct history *history);
/* The same of its first `count` records; 0 too for a prefix that is older than the trail. */
uint64_t history_prefix_digest(const struct history *history, uint32_t count);
/* Length of the prefix that has this digest (0 for digest 0), or -1 when there is none, or it is no more known. */
int history_find_prefix(const struct history *history, uint64_t digest);
/* Folds away the records that `ring` was folded from: they are agreed upon. OK, also when they are away already;
 * REFUSED when it is not the ring of a prefix, or has no members. */
enum err history_compact(struct history *history, const struct ring *ring) MUST_CHECK;
/* Has the snapshot remember a former member that it has forgotten. */
void history_outlaw(struct history *history, uint32_t node);
/* The FOUND, or NULL. */
const struct change *history_founding(const struct history *history);

enum known { KNOWN_NOT, KNOWN_MEMBER, KNOWN_GONE };
/* What the latest record that speaks of a node says: brought in, or removed or replaced, unless it stays all the same
 * (the last member can not be removed, nor one be replaced by another member). Whether bringing it in made sense is for
 * the fold to say; a node that was brought in without sense is forgotten when that is folded away. */
enum known history_knows(const struct history *history, uint32_t node);

#endif
