#include "replica/tree.h"

#include <string.h>

#include "base/assert.h"

#define HIGH_BITS 64u

size_t tree_memory_bytes(uint32_t bits) {
  ASSERT(bits <= TREE_BITS_MAX);
  return (((size_t)REPLICAS_MAX + 1u) * sizeof(uint64_t)) << bits;
}

void tree_init(struct tree *tree, void *memory, uint32_t bits, uint64_t seed) {
  ASSERT(memory != NULL && ((uintptr_t)memory & 7u) == 0);
  ASSERT(bits <= TREE_BITS_MAX);
  *tree = (struct tree){.sums = memory, .seed = seed, .bits = bits};
}

uint64_t tree_leaf(const struct tree *tree, uint64_t high) {
  return tree->bits == 0 ? 0 : high >> (HIGH_BITS - tree->bits);
}

static size_t leaf_of(const struct tree *tree, uint64_t high) {
  return (size_t)tree_leaf(tree, high);
}

static uint64_t *plane_of(const struct tree *tree, uint32_t n) {
  ASSERT(n >= 1 && n <= REPLICAS_MAX);
  return tree->sums + ((size_t)(n - 1) << tree->bits);
}

static uint64_t *marks_of(const struct tree *tree) {
  return tree->sums + ((size_t)REPLICAS_MAX << tree->bits);
}

uint64_t tree_share(const struct tree *tree, struct bytes store_key, uint64_t digest, uint32_t marks) {
  ASSERT(marks <= TREE_MARKS);
  return digest == 0 ? 0 : (bytes_hash(store_key, tree->seed ^ digest) & ~(uint64_t)TREE_MARKS) | marks;
}

/* What a share counts for in the word of marks: the first in its lower half, the second in its upper. */
static uint64_t marks_in(uint64_t share) {
  return (share & 1u) | (share >> 1u & 1u) << 32u;
}

void tree_replace(struct tree *tree, struct position position, uint32_t n, uint64_t out, uint64_t in) {
  uint64_t *sum = plane_of(tree, n) + leaf_of(tree, position.high);
  *sum = *sum - out + in;
  tree->used |= 1u << n;
  uint64_t change = marks_in(in) - marks_in(out);
  if (change != 0) {
    marks_of(tree)[leaf_of(tree, position.high)] += change;
    tree->marks += change;
  }
}

uint32_t tree_marked(const struct tree *tree, uint32_t mark) {
  ASSERT(mark == 1 || mark == 2);
  return (uint32_t)(mark == 1 ? tree->marks : tree->marks >> 32u);
}

uint64_t tree_marked_leaf(const struct tree *tree, uint64_t from, uint64_t most) {
  uint64_t end = UINT64_C(1) << tree->bits;
  end = most < end - from ? from + most : end;
  const uint64_t *marks = marks_of(tree);
  while (from < end && marks[from] == 0) {
    from += 1;
  }
  return from;
}

uint64_t tree_sum(const struct tree *tree, struct tree_node node, uint32_t least_n) {
  ASSERT(node.bits <= tree->bits);
  ASSERT(least_n >= 1 && least_n <= REPLICAS_MAX);
  size_t first = leaf_of(tree, node.prefix);
  size_t count = (size_t)1 << (tree->bits - node.bits);
  uint64_t sum = 0;
  for (uint32_t n = least_n; n <= REPLICAS_MAX; n++) {
    if ((tree->used & 1u << n) == 0) {
      continue;
    }
    const uint64_t *leaves = plane_of(tree, n) + first;
    for (size_t i = 0; i < count; i++) {
      sum += leaves[i];
    }
  }
  return sum;
}

void tree_clear(struct tree *tree, uint64_t first, uint64_t last) {
  ASSERT(first <= last);
  size_t from = leaf_of(tree, first);
  size_t count = leaf_of(tree, last) - from + 1;
  for (uint32_t n = 1; n <= REPLICAS_MAX; n++) {
    if ((tree->used & 1u << n) != 0) {
      memset(plane_of(tree, n) + from, 0, count * sizeof(uint64_t));
    }
  }
  uint64_t *marks = marks_of(tree) + from;
  for (size_t i = 0; i < count; i++) {
    if (marks[i] != 0) {
      tree->marks -= marks[i];
      marks[i] = 0;
    }
  }
}

struct tree_node tree_node_of(uint64_t high, uint32_t bits) {
  ASSERT(bits <= TREE_BITS_MAX);
  return (struct tree_node){bits == 0 ? 0 : high >> (HIGH_BITS - bits) << (HIGH_BITS - bits), bits};
}

struct tree_node tree_child(struct tree_node node, uint32_t child_bits, uint32_t index) {
  uint32_t bits = node.bits + child_bits;
  ASSERT(bits <= TREE_BITS_MAX);
  ASSERT(index >> child_bits == 0);
  return (struct tree_node){bits == 0 ? 0 : node.prefix | (uint64_t)index << (HIGH_BITS - bits), bits};
}

uint64_t tree_node_last(struct tree_node node) {
  ASSERT(node.bits <= TREE_BITS_MAX);
  return node.prefix | UINT64_MAX >> node.bits;
}
