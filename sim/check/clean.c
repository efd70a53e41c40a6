/* clean: when nothing fails any more, no clock is behind what was ever stamped, and replicas have compared what they
 * have for a while, no node holds a deletion, and none counts any. (But for those in leaves of its Merkle tree that
 * are blind for a damaged record that nobody has asked for: from the last sound one before it to the next.) */
#include <inttypes.h>

#include "replica/tree.h"
#include "run.h"
#include "version/prune.h"

static uint64_t leaf_of(const struct run *run, const struct disk_entry *entry) {
  return tree_node_of(position_read(entry->key.data).high, run->world->tree_bits).prefix;
}

/* Is one of the entries that hide what is in that leaf damaged? */
static bool is_hidden(const struct run *run, const struct disk_table *table, uint64_t leaf) {
  bool damaged = false;
  for (size_t i = 0; i < table->count; i++) {
    const struct disk_entry *entry = &table->entries[i];
    if (entry->damaged) {
      damaged = true;
    } else if (leaf_of(run, entry) < leaf) {
      damaged = false;
    } else if (damaged || leaf_of(run, entry) > leaf) {
      return damaged;
    }
  }
  return damaged;
}

static uint32_t deletions_on(const struct run *run, uint32_t node, bool hidden_too) {
  const struct disk_table *table = &run->world->nodes[node].disk.visible[SPACE_OBJECTS];
  uint32_t count = 0;
  for (size_t i = 0; i < table->count; i++) {
    const struct disk_entry *entry = &table->entries[i];
    bool deletes = !entry->damaged && (object_marks(entry->value) & OBJECT_DELETES) != 0; /* else `whole` judges it */
    count += deletes && (hidden_too || !is_hidden(run, table, leaf_of(run, entry))) ? 1u : 0u;
  }
  return count;
}

static bool is_clean(const struct run *run, uint32_t node, bool hidden_too) {
  return deletions_on(run, node, hidden_too) == 0 && shard_health(run->world->nodes[node].shard)->tombstones == 0;
}

bool clean_is_reached(const struct run *run) {
  bool reached = true;
  for (uint32_t i = 0; i < run->world->node_count && reached; i++) {
    reached = !run->world->nodes[i].alive || is_clean(run, i, true);
  }
  return reached;
}

void clean_judge(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    if (!run->world->nodes[i].alive) {
      continue;
    }
    run->checks.looked[CHECK_clean] += 1;
    if (!is_clean(run, i, false)) {
      check_fail(run, CHECK_clean, CHECK_NO_KEY,
                 "node %" PRIu32 " still holds %" PRIu32 " deletions, and counts %" PRIu32, i + 1,
                 deletions_on(run, i, false), shard_health(run->world->nodes[i].shard)->tombstones);
    }
  }
}
