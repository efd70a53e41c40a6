/* One membership record: its identity, its canonical form, its bytes. Private to ring/; history.h has the format.
 *
 * INVARIANTS: one record has one encoding, and so equal histories have equal digests.
 */
#ifndef GRAMME_RING_CHANGE_H
#define GRAMME_RING_CHANGE_H

#include "ring/history.h"

/* By (time, issuer). */
int change_compare(const struct change *a, const struct change *b);
/* Both canonical. */
bool change_equal(const struct change *a, const struct change *b);
/* Copies what the kind uses and zeros the rest, padding included. BADARG when a field is out of range. */
enum err change_normalize(const struct change *change, struct change *out) MUST_CHECK;
void change_encode(struct writer *w, const struct change *change);
/* OK or CORRUPT; takes canonical records only. */
enum err change_decode(struct reader *r, struct change *change) MUST_CHECK;
/* The digest of a history that has this record behind what `digest` is of. Never 0. */
uint64_t change_digest(uint64_t digest, const struct change *change);

/* Texts of up to size - 1 bytes, NUL-terminated in memory. The decoder wants `text` zeroed. */
void text_encode(struct writer *w, const char *text, size_t size);
bool text_decode(struct reader *r, char *text, size_t size);

#endif
