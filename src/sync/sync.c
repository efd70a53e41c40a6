#include "sync/sync.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "sync/state.h"

#define ASKED_MAX (UINT32_MAX / 2) /* what is above is nobody's ask */

size_t sync_size(void) {
  return (sizeof(struct sync) + 63u) & ~(size_t)63u;
}

struct sync *sync_init(void *memory, const struct growth *growth, struct floors *floors, uint32_t first) {
  ASSERT(memory != NULL && growth != NULL && floors != NULL);
  struct sync *sync = memory;
  memset(sync, 0, sizeof *sync);
  sync->growth = growth;
  sync->floors = floors;
  sync->life = (uint64_t)first + 1u;
  sync->generation = first;
  return sync;
}

void sync_deinit(struct sync *sync) {
  sessions_reset(sync);
  ASSERT(sync->sessions == 0);
}

/* -- the table -------------------------------------------------------------------------- */

static void table_begin(struct sync *sync, const struct step *step) {
  const struct ring *ring = step->reading;
  uint32_t sizes = growth_sizes(sync->growth);
  sessions_reset(sync);
  sync->layout = ring->digest;
  sync->sizes_digest = growth_sizes_digest(sync->growth);
  sync->partition_count = ring->partition_count;
  sync->partition_bits = 0;
  while (1u << sync->partition_bits < ring->partition_count) {
    sync->partition_bits += 1;
  }
  sync->n_max = REPLICAS_MAX;
  while (sync->n_max > 1 && (sizes & 1u << sync->n_max) == 0) {
    sync->n_max -= 1;
  }
  sync->next = 0;
  sync->settling = 0;
  sync->differ = 0;
  sync->todo = 0;
  memset(sync->engaged, 0, sizeof sync->engaged);
  memset(sync->partners, 0, sizeof sync->partners);
  round_reset(sync, step);
}

static void pairing_make(struct sync *sync, const struct step *step, uint32_t partition) {
  struct pairing *pairing = &sync->pairings[partition];
  struct preference preference;
  ring_preference(step->reading, partition, sync->n_max, &preference);
  *pairing =
      (struct pairing){.count = (uint8_t)preference.replica_count, .own_rank = (uint8_t)preference.replica_count};
  for (uint32_t i = 0; i < preference.replica_count; i++) {
    int index = ring_find(step->reading, preference.nodes[i]);
    ASSERT(index >= 0);
    pairing->members[i] = (uint16_t)index;
    pairing->own_rank = preference.nodes[i] == step->self ? (uint8_t)i : pairing->own_rank;
  }
}

/* The layout may be another one since the last call, and so may the buckets' n. */
static void table_look(struct sync *sync, const struct step *step) {
  if (step->reading->partition_count == 0) {
    return;
  }
  if (sync->partition_count == 0 || sync->layout != step->reading->digest ||
      sync->sizes_digest != growth_sizes_digest(sync->growth)) {
    table_begin(sync, step);
  }
}

static bool table_is_made(const struct sync *sync) {
  return sync->partition_count > 0 && sync->next == sync->partition_count;
}

static void table_go(struct sync *sync, const struct step *step) {
  uint32_t end = sync->next + SYNC_RANKS_PER_TICK;
  end = end < sync->partition_count ? end : sync->partition_count;
  while (sync->next < end) {
    pairing_make(sync, step, sync->next);
    sync->next += 1;
  }
}

/* May sums be compared: is the tree whole, and fine enough, and the table of this layout? */
bool sync_is_ready(const struct sync *sync, const struct step *step) {
  bool lost =
      step->lost != 0 || !step->sure; /* it gets back what it lacks from all others, and would be sent it twice */
  return !lost && growth_is_whole(sync->growth) && table_is_made(sync) && sync->layout == step->reading->digest &&
         sync->sizes_digest == growth_sizes_digest(sync->growth) &&
         growth_tree(sync->growth)->bits >= sync->partition_bits;
}

void sync_spend(const struct step *step, uint64_t bytes) {
  step->stats->sync_bytes += bytes;
  step_worked(step, ADMIT_EXCHANGE, bytes);
}

/* -- dispatch ---------------------------------------------------------------------------------- */

uint64_t sync_request(uint32_t unit, uint32_t generation, uint32_t index) {
  ASSERT(unit <= SYNC_UNIT_ROOTS);
  ASSERT(index <= SYNC_INDEX_MASK);
  return (uint64_t)SYNC_TAG << SYNC_TAG_BITS | (uint64_t)unit << SYNC_UNIT_BITS |
         (uint64_t)generation << SYNC_GENERATION_BITS | index;
}

bool sync_owns_request(uint64_t request) {
  return request >> SYNC_TAG_BITS == SYNC_TAG;
}

void sync_message(struct sync *sync, struct step *step, uint32_t from, const struct message *message) {
  uint32_t unit = (uint32_t)(message->request >> SYNC_UNIT_BITS & 0xffu);
  table_look(sync, step);
  if (message->type == MESSAGE_COMPARE) {
    compare_answer(sync, step, from, message);
  } else if (message->type == MESSAGE_FLOORS || message->type == MESSAGE_FLOORS_HELD) {
    settle_message(sync, step, from, message);
  } else if (!sync_owns_request(message->request) || unit > SYNC_UNIT_ROOTS) {
    COUNT(step->stats->messages_bad);
  } else if (unit == SYNC_UNIT_ROOTS) {
    round_message(sync, step, from, message);
  } else {
    session_message(sync, step, unit, from, message);
  }
}

void sync_tick(struct sync *sync, struct step *step) {
  table_look(sync, step);
  if (sync->partition_count > 0 && !table_is_made(sync)) {
    table_go(sync, step);
  }
  if (table_is_made(sync)) {
    sessions_tick(sync, step);
    round_tick(sync, step);
    settle_tick(sync, step);
  }
}

bool sync_is_past(const struct sync *sync, uint32_t turn) {
  return sessions_are_past(sync, turn);
}

uint64_t sync_deadline(const struct sync *sync) {
  if (sync->partition_count == 0) {
    return HEAP_NEVER; /* membership ticks, and tells of the first layout */
  }
  if (!table_is_made(sync)) {
    return 0;
  }
  uint64_t deadline = round_deadline(sync);
  uint64_t sessions = sessions_deadline(sync);
  deadline = sessions < deadline ? sessions : deadline;
  deadline = sync->settling > 0 && sync->settle_ns < deadline ? sync->settle_ns : deadline;
  return sync->waiter_count > 0 && sync->waiters_due_ns < deadline ? sync->waiters_due_ns : deadline;
}

/* -- what is told of it ---------------------------------------------------------------------------- */

void sync_todo_set(struct sync *sync, struct pairing *pairing, uint32_t rank, bool todo) {
  bool before = (pairing->todo >> rank & 1u) != 0;
  ASSERT(rank < REPLICAS_MAX && (!before || sync->todo > 0));
  pairing->todo = (uint8_t)((pairing->todo & ~(1u << rank)) | (todo ? 1u << rank : 0u));
  sync->todo += todo && !before ? 1 : 0;
  sync->todo -= !todo && before ? 1 : 0;
}

void sync_differ_add(struct sync *sync, const struct session *session, int32_t keys) {
  uint32_t *differ = &sync->pairings[session->partition].differ[session->rank];
  ASSERT(keys >= 0 || *differ >= (uint32_t)-keys);
  *differ += (uint32_t)keys;
  sync->differ += (uint64_t)(int64_t)keys;
}

uint32_t sync_ask(struct sync *sync, uint64_t now_ns) {
  sync->asked += 1;
  sync->round.due_ns = sync->round.due_ns < now_ns ? sync->round.due_ns : now_ns;
  return sync->asked;
}

void sync_note_heartbeat(struct sync *sync, const struct step *step, const struct heartbeat *heartbeat) {
  if (heartbeat->sync_asked > sync->asked && heartbeat->sync_asked <= ASKED_MAX) {
    sync->asked = heartbeat->sync_asked - 1;
    (void)sync_ask(sync, step->now_ns);
  }
}

/* What is left is taken to be like what this round has gone into. */
static void to_go(const struct sync *sync, const struct step *step, struct heartbeat *health) {
  const struct round *round = &sync->round;
  uint64_t left = sync->todo;
  health->sync_bytes_to_go = 0;
  health->sync_ms_to_go = left == 0 ? 0 : UINT32_MAX;
  if (left > 0 && round->phase == ROUND_MENDING && round->gone_into > 0) {
    uint64_t ms = (step->now_ns - round->mending_ns) / 1000000u * left / round->gone_into;
    health->sync_bytes_to_go = (step->stats->sync_bytes - round->mending_bytes) / round->gone_into * left;
    health->sync_ms_to_go = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
  }
}

void sync_totals(const struct sync *sync, const struct step *step, struct heartbeat *health) {
  to_go(sync, step, health);
  uint64_t age_ms = sync->complete_ns == 0 ? 0 : (step->now_ns - sync->complete_ns) / 1000000u + 1u;
  health->sync_differ = sync->differ < UINT32_MAX ? (uint32_t)sync->differ : UINT32_MAX;
  health->sync_age_ms = age_ms < UINT32_MAX ? (uint32_t)age_ms : UINT32_MAX;
  health->sync_asked = sync->asked;
  health->sync_settled = sync->settled;
  ASSERT(health->sync_settled <= health->sync_asked);
}

uint32_t sync_list(const struct sync *sync, const struct ring *layout, struct sync_view *out, uint32_t capacity) {
  uint16_t places[MEMBERS_MAX] = {0}; /* in `out`, + 1 */
  uint32_t count = 0;
  uint32_t made = table_is_made(sync) && sync->layout == layout->digest ? sync->partition_count : 0;
  for (uint32_t i = 0; i < made; i++) {
    const struct pairing *pairing = &sync->pairings[i];
    for (uint32_t rank = pairing->own_rank + 1u; rank < pairing->count; rank++) {
      uint32_t member = pairing->members[rank];
      if (places[member] == 0 && count < capacity) {
        out[count] = (struct sync_view){.node = layout->members[member].node,
                                        .found = sync->partners[member].found,
                                        .whole_ns = sync->partners[member].whole_ns};
        count += 1;
        places[member] = (uint16_t)count;
      }
      if (places[member] != 0) {
        struct sync_view *view = &out[places[member] - 1u];
        view->partitions += 1;
        view->partitions_differ += pairing->todo >> rank & 1u;
        view->keys_differ += pairing->differ[rank];
      }
    }
  }
  return count;
}

uint32_t sync_differences(const struct sync *sync, const struct ring *layout, struct sync_difference *out,
                          uint32_t capacity) {
  uint32_t count = 0;
  uint32_t made = table_is_made(sync) && sync->layout == layout->digest ? sync->partition_count : 0;
  for (uint32_t i = 0; i < made; i++) {
    const struct pairing *pairing = &sync->pairings[i];
    for (uint32_t rank = pairing->own_rank + 1u; rank < pairing->count; rank++) {
      if (pairing->differ[rank] == 0 && (pairing->todo >> rank & 1u) == 0) {
        continue;
      }
      if (count < capacity) {
        out[count] = (struct sync_difference){
            .partition = i, .node = layout->members[pairing->members[rank]].node, .keys = pairing->differ[rank]};
      }
      count += 1;
    }
  }
  return count;
}
