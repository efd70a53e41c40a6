/* tree: whenever a node's Merkle tree lacks nothing and no leaf of it is blind, each leaf's sum is that of what the
 * node's store has; after healing no tree is still to be grown. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "replica/tree.h"
#include "run.h"
#include "version/prune.h"

/* The tree of what a disk has. False when something there can not be read. */
static bool store_tree(const struct disk *disk, const struct bucket_table *buckets, const struct tree *like,
                       struct tree *tree) {
  const struct disk_table *table = &disk->visible[SPACE_OBJECTS];
  void *memory = calloc(1, tree_memory_bytes(like->bits));
  ASSERT(memory != NULL);
  tree_init(tree, memory, like->bits, like->seed);
  for (size_t i = 0; i < table->count; i++) {
    const struct disk_entry *entry = &table->entries[i];
    struct bytes user_key = {entry->key.data + POSITION_BYTES, entry->key.size - POSITION_BYTES};
    uint32_t n = bucket_find(buckets, bucket_of_key(user_key)).n;
    if (entry->damaged) {
      return false;
    }
    tree_replace(tree, position_read(entry->key.data), n, 0,
                 tree_share(tree, entry->key, object_digest(entry->value), object_marks(entry->value)));
  }
  return true;
}

void tree_node_judge(struct run *run, uint32_t node) {
  const struct shard *shard = run->world->nodes[node].shard;
  const struct tree *tree = shard_tree(shard);
  struct tree stored;
  if (tree == NULL) {
    return;
  }
  bool readable = store_tree(&run->world->nodes[node].disk, shard_buckets(shard), tree, &stored);
  run->checks.looked[CHECK_tree] += 1;
  if (readable && tree->marks != stored.marks) {
    check_fail(run, CHECK_tree, CHECK_NO_KEY,
               "node %" PRIu32 " counts %" PRIu32 " deletions and %" PRIu32 " objects that expire, and has %" PRIu32
               " and %" PRIu32,
               node + 1, tree_marked(tree, 1), tree_marked(tree, 2), tree_marked(&stored, 1), tree_marked(&stored, 2));
  }
  for (uint32_t leaf = 0; leaf >> tree->bits == 0 && readable; leaf++) {
    struct tree_node at = tree_child((struct tree_node){0, 0}, tree->bits, leaf);
    for (uint32_t n = 1; n <= REPLICAS_MAX; n++) {
      if (tree_sum(tree, at, n) != tree_sum(&stored, at, n)) {
        check_fail(run, CHECK_tree, CHECK_NO_KEY,
                   "node %" PRIu32 ": leaf %" PRIu32 " of its tree is not that of its store (n >= %" PRIu32 ")",
                   node + 1, leaf, n);
        free(stored.sums);
        return;
      }
    }
  }
  free(stored.sums);
}

void tree_judge(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    if (!run->world->nodes[i].alive) {
      continue;
    }
    tree_node_judge(run, i);
    if (shard_tree_left(run->world->nodes[i].shard) > 0) {
      check_fail(run, CHECK_tree, CHECK_NO_KEY, "the tree of node %" PRIu32 " is not whole", i + 1);
    }
  }
}
