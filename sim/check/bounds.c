/* bounds: when all requests have been answered and all stragglers waited for, no request is in a table, and the pool
 * of values holds but the papers of membership; when a node has been stopped, nothing at all. (That no table passes
 * its limit the core asserts itself.) */
#include <inttypes.h>

#include "process.h"
#include "run.h"

#define AT_REST_BYTES 131072u

void bounds_stop(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    if (!run->world->nodes[i].alive) {
      continue;
    }
    size_t leaked = process_stop(run->world, i);
    run->checks.looked[CHECK_bounds] += 1;
    if (leaked != 0) {
      check_fail(run, CHECK_bounds, CHECK_NO_KEY, "node %" PRIu32 " was stopped and keeps %zu bytes of values", i + 1,
                 leaked);
    }
  }
}

void bounds_judge(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    const struct shard *shard = run->world->nodes[i].shard;
    if (!run->world->nodes[i].alive) {
      continue;
    }
    size_t used = shard_value_pool(shard)->used_bytes;
    uint32_t in_flight = shard_in_flight(shard);
    run->checks.looked[CHECK_bounds] += 1;
    if (used > AT_REST_BYTES || in_flight != 0) {
      check_fail(run, CHECK_bounds, CHECK_NO_KEY,
                 "node %" PRIu32 " holds %zu bytes of values and %" PRIu32 " requests at rest", i + 1, used, in_flight);
    }
  }
}
