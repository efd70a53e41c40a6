/* The Merkle tree of all objects that a node stores (paper §4.7): a radix tree over positions.
 *
 *     bits of the position     0100 1011 10 | 01011 10010 | 1101...
 *                              a partition  |  a leaf     | the keys in it
 *
 * What a key adds to the tree is a 64-bit hash of it and of its object's digest, seeded so that nobody outside can aim
 * at it. A node's sum is the sum of what the keys below it add, modulo 2^64: it does not depend on the order in which
 * they came, and a write takes the old version's share out and puts the new one's in. As sums of nodes are the sums
 * of their children, only the leaves are kept, and a write touches one word; a node's sum is added up when somebody
 * asks. Trees with different numbers of leaves compare down to the smaller.
 *
 * How many replicas a key has is its bucket's n, so that two replicas of a partition need not have the same keys of it:
 * sums are kept apart by n, and a node's sum is asked for "of keys with n >= so many".
 *
 * Two bits of each share are marks of the object (there is a deletion in it; it will expire): they are counted, by
 * leaf, so that what is to be reaped is found where it is.
 *
 * Memory: (REPLICAS_MAX + 1) * 8 bytes for each leaf, of which what no n in use needs is never touched.
 */
#ifndef GRAMME_REPLICA_TREE_H
#define GRAMME_REPLICA_TREE_H

#include <stddef.h>

#include "base/limits.h"
#include "ring/position.h"

struct tree {
  uint64_t *sums; /* borrowed: by n - 1, then by leaf */
  uint64_t seed;
  uint32_t bits;
  uint32_t used;  /* which n it has seen, as bits: what the others have are zeros */
  uint64_t marks; /* of all leaves */
};

#define TREE_MARKS 3u

/* All positions whose first `bits` bits are those of `prefix`, which has no others. */
struct tree_node {
  uint64_t prefix;
  uint32_t bits; /* 0 .. TREE_BITS_MAX */
};

size_t tree_memory_bytes(uint32_t bits);
/* `memory`: tree_memory_bytes(bits), zeroed, aligned to 8; borrowed. */
void tree_init(struct tree *tree, void *memory, uint32_t bits, uint64_t seed);
/* What a key with an object of that digest and those marks adds; 0 for an absent one. */
uint64_t tree_share(const struct tree *tree, struct bytes store_key, uint64_t digest, uint32_t marks);
/* How many objects have this mark, 1 or 2; modulo 2^32. */
uint32_t tree_marked(const struct tree *tree, uint32_t mark);
/* The number of the leaf that has the positions whose `high` this is. */
uint64_t tree_leaf(const struct tree *tree, uint64_t high);
/* The first leaf from this one on in which any object has a mark, but not more than so many further. */
uint64_t tree_marked_leaf(const struct tree *tree, uint64_t from, uint64_t most);
void tree_replace(struct tree *tree, struct position position, uint32_t n, uint64_t out, uint64_t in);
/* Of the keys below the node that have `least_n` replicas or more. node.bits <= tree->bits. */
uint64_t tree_sum(const struct tree *tree, struct tree_node node, uint32_t least_n);
/* Empties the leaves of the positions from `first` to `last`, whose `high` these are. */
void tree_clear(struct tree *tree, uint64_t first, uint64_t last);

struct tree_node tree_node_of(uint64_t high, uint32_t bits);
struct tree_node tree_child(struct tree_node node, uint32_t child_bits, uint32_t index);
uint64_t tree_node_last(struct tree_node node); /* `high` of the last position in it */

#endif
