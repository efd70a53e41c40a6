/* ring: after healing all nodes have the same history of members, the same owner for each partition, and the same
 * properties of buckets. */
#include <inttypes.h>

#include "run.h"
#include "version/bucket.h"

static bool same_ring(const struct ring *a, const struct ring *b) {
  bool same = a->partition_count == b->partition_count && a->member_count == b->member_count;
  for (uint32_t i = 0; same && i < a->partition_count; i++) {
    same = ring_owner(a, i) == ring_owner(b, i);
  }
  return same;
}

void ring_judge(struct run *run) {
  const struct shard *first = run->world->nodes[0].shard;
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    const struct shard *shard = run->world->nodes[i].shard;
    bool histories = history_digest(shard_history(shard)) == history_digest(shard_history(first));
    bool rings = same_ring(shard_ring(shard), shard_ring(first));
    bool buckets = bucket_table_digest(shard_buckets(shard)) == bucket_table_digest(shard_buckets(first));
    run->checks.looked[CHECK_ring] += 1;
    if (!histories || !rings || !buckets || !shard_is_member(shard)) {
      check_fail(run, CHECK_ring, CHECK_NO_KEY, "node %" PRIu32 " differs from node 1 in its %s", i + 1,
                 !histories ? "history" : (!rings ? "ring" : (!buckets ? "buckets" : "membership")));
    }
  }
}
