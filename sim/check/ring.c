/* ring: after healing all members have the same history of members, the same owner for each partition, in the layout
 * that they read by and in the one that they write by, and the same properties of buckets. */
#include <inttypes.h>

#include "admin.h"
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
  const struct ring *ring = admin_ring(run->admin);
  const struct shard *first = NULL;
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    const struct shard *shard = run->world->nodes[i].shard;
    if (!admin_has_member(run->admin, i)) {
      continue;
    }
    if (shard == NULL) {
      check_fail(run, CHECK_ring, CHECK_NO_KEY, "node %" PRIu32 " is a member, and does not run", i + 1);
      continue;
    }
    first = first == NULL ? shard : first;
    bool histories = history_digest(shard_history(shard)) == ring->digest;
    bool rings = same_ring(shard_ring(shard), shard_ring(first)) && same_ring(shard_ring(shard), ring);
    bool bases = same_ring(shard_base_ring(shard), ring) && same_ring(shard_reading_ring(shard), ring);
    bool buckets = bucket_table_digest(shard_buckets(shard)) == bucket_table_digest(shard_buckets(first));
    run->checks.looked[CHECK_ring] += 1;
    if (!histories || !rings || !bases || !buckets || !shard_is_member(shard)) {
      check_fail(run, CHECK_ring, CHECK_NO_KEY, "node %" PRIu32 " differs from others in its %s", i + 1,
                 !histories ? "history"
                            : (!rings ? "ring" : (!bases ? "layouts" : (!buckets ? "buckets" : "membership"))));
    }
  }
}
