/* What stands for the records of a history that were folded away. Private to ring/; history.h has the struct.
 *
 * INVARIANTS: a pure function of the records, in whatever steps they were folded away.
 */
#ifndef GRAMME_RING_SNAPSHOT_H
#define GRAMME_RING_SNAPSHOT_H

#include "ring/history.h"

/* Is the record one of those, or would it stand among them? False for all when there are none. */
bool snapshot_spans(const struct snapshot *snapshot, const struct change *change);
/* Takes up one more record, the next: of the ring, number and digest only. */
void snapshot_take(struct snapshot *snapshot, const struct change *change);
void snapshot_remember(struct snapshot *snapshot, uint32_t node); /* as gone */
void snapshot_forget(struct snapshot *snapshot, uint32_t node);   /* it is not */
/* The digest of the first `count` of them, or 0 when it is not known any more. */
uint64_t snapshot_prefix(const struct snapshot *snapshot, uint32_t count);
/* How many of them have this digest, or -1. */
int snapshot_find(const struct snapshot *snapshot, uint64_t digest);
void snapshot_copy(struct snapshot *to, const struct snapshot *from);
void snapshot_encode(const struct snapshot *snapshot, struct writer *w);
/* OK or CORRUPT. */
enum err snapshot_decode(struct reader *r, struct snapshot *snapshot) MUST_CHECK;

#endif
