/* COMPARE and COMPARED: sums of nodes of a Merkle tree, and which of them are others here (paper §4.7).
 *
 *     COMPARE   u64 layout  u64 sizes  u8 bits  u8 child bits  families
 *     family    u64 prefix  u8 least n  u64 sum of each child
 *     COMPARED  u8 bits of the answering tree  u64 life  u64 floor  a bit for each sum, the lowest first: it differs
 *
 * A family is a node of the tree, whose prefix has so many bits, and its children that many bits below; with no child
 * bits it is the node itself. Families rise. `layout` and `sizes` are digests of the ring that is read by, and of the
 * buckets' n: nodes that do not have the same have nothing to say to each other (STALE).
 * `life` is another one with each start of the answering node; `floor` is that of the partition that the COMPARE names.
 */
#ifndef GRAMME_SYNC_COMPARE_H
#define GRAMME_SYNC_COMPARE_H

#include "sync/sync.h"

#define COMPARE_FIXED_BYTES 18u
#define FAMILY_FIXED_BYTES 9u
#define COMPARED_FIXED_BYTES 17u

/* A partition that is compared key by key: by this node, or by another with it. */
struct engagement {
  uint32_t with; /* the node that does it; 0: free */
  uint16_t partition;
  uint64_t until_ns;
};

struct compare_head {
  uint64_t layout, sizes;
  uint32_t bits, child_bits;
};

struct compared_head {
  uint32_t bits;
  uint64_t life, floor;
};
/* False when it does not answer for so many sums. */
bool compared_read_head(struct bytes answer, uint32_t sums, struct compared_head *head);

void compare_write_head(struct writer *w, const struct compare_head *head);
void compare_write_family(struct writer *w, const struct tree *tree, struct tree_node node, uint32_t child_bits,
                          uint32_t least_n);
void compare_answer(struct sync *sync, struct step *step, uint32_t from, const struct message *message);

/* Takes the partition for a node, or goes on having it; false when another has it. */
bool engage(struct sync *sync, const struct step *step, uint32_t partition, uint32_t with);
void disengage(struct sync *sync, uint32_t partition, uint32_t with);

#endif
