/* bounds: when all requests have been answered and all stragglers waited for, no request is in a table, and the pool of
 * values holds but the papers of membership. (That no table passes its limit the core asserts itself.) */
#include <inttypes.h>

#include "run.h"

#define AT_REST_BYTES 65536u

void bounds_judge(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    const struct shard *shard = run->world->nodes[i].shard;
    size_t used = shard_value_pool(shard)->used_bytes;
    uint32_t in_flight = shard_in_flight(shard);
    run->checks.looked[CHECK_bounds] += 1;
    if (used > AT_REST_BYTES || in_flight != 0) {
      check_fail(run, CHECK_bounds, CHECK_NO_KEY, "node %" PRIu32 " holds %zu bytes of values and %" PRIu32 " requests at rest",
                 i + 1, used, in_flight);
    }
  }
}
