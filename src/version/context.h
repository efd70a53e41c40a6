/* Contexts (paper §4.4: "opaque to the caller"): what a client has seen of one key, handed out by
 * get and put, handed back on put.
 *
 *     u8 format (1)  u32 coordinator (the node that answered the read fastest; 0 none)  u16 pairs  u16 dots
 *     pairs and dots as in object.h      u64 checksum
 *
 * The checksum is XXH3-64 of all before it, seeded with the cluster's seed and the key's position: a context that
 * was damaged, made up, or got for another key or from another cluster is refused. It is a guard against mistakes,
 * not a signature: who may write may already write anything.
 */
#ifndef GRAMME_VERSION_CONTEXT_H
#define GRAMME_VERSION_CONTEXT_H

#include "version/clock.h"

#define CONTEXT_FIXED_BYTES 17u /* of an encoded one: all but its pairs and dots, which are DOT_BYTES each */

struct context_binding {
  uint64_t seed;          /* of the cluster */
  uint64_t position_high; /* of the key */
  uint64_t position_low;
};

void context_encode(struct writer *w, const struct past *past, uint32_t coordinator, struct context_binding binding);
/* BADCONTEXT when it is not one, or not of this key. */
enum err context_decode(struct bytes encoded, struct context_binding binding, struct past *past,
                        uint32_t *coordinator) MUST_CHECK;

#endif
