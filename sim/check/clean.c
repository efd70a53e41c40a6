/* clean: when nothing fails any more, no clock is behind what was ever stamped, and replicas have compared what they
 * have for a while, no node holds a deletion, and none counts any. */
#include <inttypes.h>

#include "run.h"
#include "version/prune.h"

static uint32_t deletions_on(const struct run *run, uint32_t node) {
  const struct disk_table *table = &run->world->nodes[node].disk.visible[SPACE_OBJECTS];
  uint32_t count = 0;
  for (size_t i = 0; i < table->count; i++) {
    bool deletes = (object_marks(table->entries[i].value) & OBJECT_DELETES) != 0;
    count += deletes && !table->entries[i].damaged ? 1u : 0u; /* what is damaged is `whole`'s to judge */
  }
  return count;
}

static bool is_clean(const struct run *run, uint32_t node) {
  return deletions_on(run, node) == 0 && shard_health(run->world->nodes[node].shard)->tombstones == 0;
}

bool clean_is_reached(const struct run *run) {
  bool reached = true;
  for (uint32_t i = 0; i < run->world->node_count && reached; i++) {
    reached = !run->world->nodes[i].alive || is_clean(run, i);
  }
  return reached;
}

void clean_judge(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    if (!run->world->nodes[i].alive) {
      continue;
    }
    run->checks.looked[CHECK_clean] += 1;
    if (!is_clean(run, i)) {
      check_fail(run, CHECK_clean, CHECK_NO_KEY,
                 "node %" PRIu32 " still holds %" PRIu32 " deletions, and counts %" PRIu32, i + 1, deletions_on(run, i),
                 shard_health(run->world->nodes[i].shard)->tombstones);
    }
  }
}
