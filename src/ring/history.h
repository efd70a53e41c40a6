/* The membership history as a value (paper §4.8.1): an ordered set of records.
 *
 * A record says what an administrator (or, while a cluster is being formed, a node) did:
 * it is identified by (time, issuer), never changed, and merged by union. Everything that a node knows of
 * who is in the cluster follows from the set alone; see ring.h for the fold.
 *
 *     u8 format (1)  u32 records   each { u64 time  u32 issuer  u8 kind  u32 node  u32 weight  u32 partitions
 *     u16 client port  u16 peer port  u8 size + host  u8 size + name  u8 size + zone }   u64 XXH3-64 of all before
 *
 * A record is kept and encoded in one canonical form: what its kind does not use is 0.
 *
 * INVARIANTS: records are strictly increasing by (time, issuer); at most one is a FOUND, so that two clusters
 * that were founded apart are never merged into one.
 */
#ifndef GRAMME_RING_HISTORY_H
#define GRAMME_RING_HISTORY_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"

enum change_kind { CHANGE_FOUND = 1, CHANGE_ADD, CHANGE_REMOVE, CHANGE_REWEIGH };

struct change {
  uint64_t time;            /* HLC reading of the issuer; never 0 */
  uint32_t issuer;          /* node id; never 0 */
  enum change_kind kind;    /* CHANGE_FOUND is an ADD that also fixes Q: at most one; the fold begins with it */
  uint32_t node;            /* the node added, removed or reweighed; never 0 */
  uint32_t weight;          /* 1 .. WEIGHT_MAX (ADD, FOUND, REWEIGH) */
  uint32_t partition_count; /* FOUND only: Q, a power of two up to PARTITIONS_MAX */
  uint16_t client_port;     /* ADD, FOUND */
  uint16_t peer_port;
  char host[HOST_MAX_BYTES + 1]; /* NUL-terminated; ADD, FOUND */
  char name[NAME_MAX_BYTES + 1];
  char zone[NAME_MAX_BYTES + 1]; /* "" is the default zone */
};

struct history {
  struct change changes[HISTORY_MAX];
  uint32_t count;
};

/* What an encoded history of `count` records takes at most. */
#define HISTORY_RECORD_MAX_BYTES (8u + 4u + 1u + 4u + 4u + 4u + 2u + 2u + 3u + HOST_MAX_BYTES + 2u * NAME_MAX_BYTES)
#define HISTORY_ENCODED_MAX_BYTES(count) (1u + 4u + (count)*HISTORY_RECORD_MAX_BYTES + 8u)

void history_init(struct history *history);
/* Inserts in order, in canonical form (fields that the kind does not use are not looked at). OK, also when it is
 * there already; FULL; BADARG when a field is out of range; REFUSED when a different record has the same (time,
 * issuer), or would be a second FOUND. */
enum err history_add(struct history *history, const struct change *change) MUST_CHECK;
/* Union. `*added` counts the new ones. All of `encoded` is checked before any of it is taken. Errors: CORRUPT (also
 * for no bytes at all), FORMAT, and FULL and REFUSED as above. */
enum err history_merge(struct history *history, struct bytes encoded, uint32_t *added) MUST_CHECK;
void history_encode(const struct history *history, struct writer *w); /* versioned */
/* XXH3-64 of the encoded records, each seeded with the digest of those before it: equal histories, equal digests. 0 for
 * an empty one, and for no other. */
uint64_t history_digest(const struct history *history);

#endif
