#include "front/census.h"

#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "sync/sync.h"

static uint64_t age_ms(const struct front *front, uint64_t then_ms) {
  uint64_t now_ms = front_wall_ms(front);
  return then_ms == 0 || then_ms > now_ms ? 0 : now_ms - then_ms;
}

bool view_is_up(const struct member_view *view) {
  return view->up || view->self;
}

/* What a node says of moving counts only when it has told that it is at this target: before, it speaks of another. */
static void census_add(const struct front *front, struct census *census, const struct member_view *view,
                       const struct mark *own) {
  const struct heartbeat *heartbeat = view->self ? shard_health(front_shard(front)) : &view->heartbeat;
  const struct mark *mark = view->self ? own : &heartbeat->mark;
  uint64_t age = age_ms(front, heartbeat->oldest_hint_ms);
  census->hints += heartbeat->hints;
  census->oldest_hint_age_ms = age > census->oldest_hint_age_ms ? age : census->oldest_hint_age_ms;
  uint64_t floor_age = age_ms(front, heartbeat->floor_ms);
  census->tombstones += heartbeat->tombstones;
  census->floor_age_ms = floor_age > census->floor_age_ms ? floor_age : census->floor_age_ms;
  census->keys_differ += heartbeat->sync_differ;
  census->bytes_to_go += heartbeat->sync_bytes_to_go;
  census->ms_to_go = heartbeat->sync_ms_to_go > census->ms_to_go ? heartbeat->sync_ms_to_go : census->ms_to_go;
  census->uncompared = census->uncompared || heartbeat->sync_age_ms == 0;
  census->compared_age_ms =
      heartbeat->sync_age_ms > census->compared_age_ms ? heartbeat->sync_age_ms : census->compared_age_ms;
  census->down += view_is_up(view) ? 0 : 1;
  census->sealed = census->sealed || view->heartbeat.sealed != 0;
  census->passing = census->passing || view->joining || view->leaving;
  census->strays += heartbeat->strays;
  if (mark->target_digest == shard_ring(front_shard(front))->digest) {
    census->partitions_wanted += heartbeat->parts_wanted;
    census->partitions_held += heartbeat->parts_held;
    census->keys_moved += heartbeat->moving_keys;
    census->bytes_moved += heartbeat->moving_bytes;
  }
}

void census_take(const struct front *front, struct census *census) {
  struct layout_view layout;
  memset(census, 0, sizeof(*census));
  shard_layout(front_shard(front), &layout);
  uint32_t count = shard_members(front_shard(front), census->views, ROSTER_MAX);
  census->count = count < ROSTER_MAX ? count : ROSTER_MAX;
  for (uint32_t i = 0; i < census->count; i++) {
    census_add(front, census, &census->views[i], &layout.mark);
  }
  census->compared_age_ms = census->uncompared ? 0 : census->compared_age_ms;
}

const struct member_view *census_find(const struct census *census, uint32_t node) {
  for (uint32_t i = 0; i < census->count; i++) {
    if (census->views[i].node == node) {
      return &census->views[i];
    }
  }
  return NULL;
}

bool identity_find(const struct front *front, uint32_t node, struct identity *identity) {
  const struct shard *shard = front_shard(front);
  const struct ring *ring = shard_ring(shard);
  int index = ring_find(ring, node);
  if (index < 0) {
    return roster_find(shard_history(shard), node, identity);
  }
  *identity = identity_of_member(&ring->members[index]);
  return true;
}

uint32_t front_replicas(const struct front *front) {
  return bucket_find(shard_buckets(front_shard(front)), BYTES_LITERAL("default")).n;
}

struct shares shares_estimate(const struct front *front) {
  const struct ring *ring = shard_reading_ring(front_shard(front));
  uint32_t self = front_facts(front).node;
  uint32_t n = front_replicas(front);
  struct shares shares = {0};
  struct store_statistics store = {0};
  if (ring_find(ring, self) < 0) {
    return shares;
  }
  for (uint32_t p = 0; p < ring->partition_count; p++) {
    shares.partitions += ring_rank(ring, p, n, self) < n ? 1 : 0;
  }
  front->services.store_statistics(front->services.context, &store);
  shares.bytes = store.bytes;
  shares.keys = store.keys;
  return shares;
}

uint64_t shares_scale(uint64_t sum, const struct shares *shares, uint64_t partitions) {
  if (shares->partitions == 0 || partitions == 0) {
    return 0;
  }
  return sum > UINT64_MAX / partitions ? sum / shares->partitions * partitions : sum * partitions / shares->partitions;
}

struct waiting waiting_work(const struct front *front) {
  const struct shard *shard = front_shard(front);
  const struct heartbeat *health = shard_health(shard);
  struct sync_view views[MEMBERS_MAX];
  uint32_t count = shard_sync_list(shard, views, MEMBERS_MAX);
  struct waiting waiting = {.tree_permille = shard_tree_left(shard),
                            .exchange_keys = health->sync_differ,
                            .transfer_partitions = health->parts_wanted - health->parts_held,
                            .strays = health->strays,
                            .hints = health->hints};
  uint64_t rate = progress_keys_per_s(&front->hints_progress);
  waiting.hint_bytes = rate == 0 ? 0 : progress_bytes_per_s(&front->hints_progress) / rate * waiting.hints;
  waiting.hint_seconds = progress_eta_s(waiting.hints, rate);
  for (uint32_t i = 0; i < count; i++) {
    waiting.exchange_partitions += views[i].partitions_differ;
  }
  return waiting;
}

/* -- words ---------------------------------------------------------------------------- */

json_t *json_id(uint32_t node) {
  return json_sprintf("%08" PRIx32, node);
}

json_t *json_digest(uint64_t value) {
  return json_sprintf("%016" PRIx64, value);
}

json_t *json_count(uint64_t value) {
  return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *json_place(const char *host, uint16_t port) {
  return json_sprintf(strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}

json_t *json_node_name(const struct front *front, uint32_t node) {
  char name[NAME_MAX_BYTES + 1];
  (void)front_node_name(front, node, name);
  return json_string(name);
}
