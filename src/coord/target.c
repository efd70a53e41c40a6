#include "coord/target.h"

#include "base/assert.h"
#include "base/plant.h"
#include "coord/request.h"

static struct target *target_add(struct request *request, uint32_t node, uint32_t owner, uint8_t layouts) {
  ASSERT(request->target_count < TARGETS_MAX);
  struct target *target = &request->targets[request->target_count];
  request->target_count += 1;
  *target = (struct target){.node = node, .owner = owner, .layouts = layouts};
  return target;
}

static bool is_replica(const struct preference *list, uint32_t node) {
  for (uint32_t i = 0; i < list->replica_count; i++) {
    if (list->nodes[i] == node) {
      return true;
    }
  }
  return false;
}

uint8_t request_layouts(const struct request *request, uint32_t node) {
  uint8_t layouts = 0;
  for (uint32_t i = 0; i < request->list_count; i++) {
    layouts |= is_replica(&request->lists[i], node) ? (uint8_t)(1u << i) : 0;
  }
  return layouts;
}

/* May the node stand in for somebody in this layout? Not if it is one of its replicas, or counts there already (a
 * coordinator that is none of the first N healthy does so before its turn comes), or has failed or been silent. */
static bool is_free(const struct step *step, const struct request *request, uint32_t node, uint8_t layout) {
  if (!step_is_up(step, node) || (request_layouts(request, node) & layout) != 0) {
    return false;
  }
  for (uint32_t i = 0; i < request->target_count; i++) {
    const struct target *target = &request->targets[i];
    bool bad = target->state == TARGET_FAILED || target->joined;
    if (target->node == node && (bad || (target->layouts & layout) != 0)) {
      return false;
    }
  }
  return true;
}

/* Who stands in in the layout of lists[index]: the next of its own list, so that those who read by it find him, and at
 * last one of the other's, whose own replica may be asked for at the same time. 0: nobody. */
static uint32_t find_stand_in(const struct step *step, const struct request *request, uint32_t index) {
  for (uint32_t i = 0; i < request->list_count; i++) {
    const struct preference *list = &request->lists[(index + i) % request->list_count];
    for (uint32_t j = i == 0 ? list->replica_count : 0; j < list->count; j++) {
      if (is_free(step, request, list->nodes[j], (uint8_t)(1u << index))) {
        return list->nodes[j];
      }
    }
  }
  return 0;
}

uint8_t request_stand_in(const struct step *step, struct request *request, uint32_t owner, uint8_t layouts) {
  ASSERT(owner != 0);
  uint8_t left = layouts & request->live;
  for (uint32_t i = 0; i < request->list_count; i++) {
    uint8_t layout = (uint8_t)(1u << i);
    uint32_t node = (left & layout) == 0 ? 0 : find_stand_in(step, request, i);
    struct target *target = node == 0 ? NULL : request_target(request, node, owner);
    if (node == 0 || (target == NULL && request->target_count == TARGETS_MAX)) {
      continue;
    }
    if (target == NULL) {
      target = target_add(request, node, owner, 0);
    }
    target->layouts |= layout;
    left = (uint8_t)(left & ~layout);
  }
  return left;
}

/* Targets of the preference lists, which have been made. */
static void plan_targets(const struct step *step, struct request *request) {
  request->target_count = 0;
  for (uint32_t i = 0; i < request->list_count; i++) {
    const struct preference *list = &request->lists[i];
    for (uint32_t j = 0; j < list->replica_count; j++) {
      struct target *target = i == 0 ? NULL : request_target(request, list->nodes[j], 0);
      if (target != NULL) {
        target->layouts |= (uint8_t)(1u << i);
      } else if (step_is_up(step, list->nodes[j])) {
        (void)target_add(request, list->nodes[j], 0, (uint8_t)(1u << i));
      }
    }
  }
  for (uint32_t i = 0; i < request->list_count; i++) {
    const struct preference *list = &request->lists[i];
    for (uint32_t j = 0; j < list->replica_count; j++) {
      if (!step_is_up(step, list->nodes[j])) {
        (void)request_stand_in(step, request, list->nodes[j], (uint8_t)(1u << i));
      }
    }
  }
}

static void plan_list(const struct ring *ring, struct request *request, uint8_t n) {
  ASSERT(n >= 1 && n <= REPLICAS_MAX);
  ASSERT(request->list_count < LAYOUTS_MAX);
  struct position position = position_read(request->key->data);
  uint32_t partition = position_partition(position, ring->partition_count);
  ring_preference(ring, partition, n, &request->lists[request->list_count]);
  request->digests[request->list_count] = ring->digest;
  request->list_count += 1;
}

static void plan_begin(const struct step *step, struct request *request) {
  request->list_count = 0;
  request->live = LAYOUT_READING | LAYOUT_OTHER;
  request->live_epoch = step->epoch;
  request->outrun = false;
}

void request_plan_get(const struct step *step, struct request *request, uint8_t n) {
  plan_begin(step, request);
  plan_list(step->reading, request, n);
  plan_targets(step, request);
}

void request_plan_put(const struct step *step, struct request *request, uint8_t n) {
  ASSERT(step->reading == step->base || step->reading == step->ring);
  plan_begin(step, request);
  plan_list(step->reading, request, n);
  request->reads_target = step->reading == step->ring;
  if (step->base != step->ring) {
    plan_list(step->reading == step->base ? step->ring : step->base, request, n);
  }
  plan_targets(step, request);
}

void request_refresh(const struct step *step, struct request *request) {
  if (request->live_epoch == step->epoch) {
    return;
  }
  uint32_t target = request->reads_target ? 0 : 1;
  bool is_one = request->digests[0] == step->base->digest;
  bool is_other = request->list_count == 2 && request->digests[1] == step->base->digest;
  if (request->list_count == 2 && request->digests[target] == step->base->digest) {
    request->live = (uint8_t)(1u << target);
  }
  request->outrun = !is_one && !is_other;
  request->live_epoch = step->epoch;
}

bool request_is_lost(const struct step *step, uint32_t node) {
  bool is_member = ring_find(step->ring, node) >= 0 || ring_find(step->base, node) >= 0;
  return is_member && !step_is_up(step, node);
}

struct target *request_target(struct request *request, uint32_t node, uint32_t owner) {
  for (uint32_t i = 0; i < request->target_count; i++) {
    if (request->targets[i].node == node && request->targets[i].owner == owner) {
      return &request->targets[i];
    }
  }
  return NULL;
}

/* As request_count, in the layout of lists[index]. */
static uint32_t count_in(const struct request *request, uint32_t mask, bool primaries_only, uint32_t index) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < request->target_count; i++) {
    const struct target *target = &request->targets[i];
    bool in_mask = (mask >> (uint32_t)target->state & 1u) != 0;
    bool counts = (target->layouts >> index & 1u) != 0 || PLANTED(w_across);
    count += in_mask && counts && (target->owner == 0 || !primaries_only) ? 1u : 0u;
  }
  return count;
}

/* The index of the live layout that has the fewest. */
static uint32_t shortest(const struct request *request, uint32_t mask, bool primaries_only) {
  if (request->list_count == 1 || (request->live & LAYOUT_OTHER) == 0) {
    return 0;
  }
  bool fewer = count_in(request, mask, primaries_only, 1) < count_in(request, mask, primaries_only, 0);
  return fewer || (request->live & LAYOUT_READING) == 0 ? 1 : 0;
}

uint32_t request_count(const struct request *request, uint32_t mask, bool primaries_only) {
  return count_in(request, mask, primaries_only, shortest(request, mask, primaries_only));
}

void request_outcome(const struct request *request, enum quorum_kind kind, uint8_t wanted, struct outcome *outcome) {
  bool primaries_only = kind == QUORUM_PR || kind == QUORUM_PW;
  bool accepted_will_do = kind == QUORUM_W || kind == QUORUM_PW;
  uint32_t mask = 1u << TARGET_DONE | (accepted_will_do ? 1u << TARGET_ACCEPTED : 0);
  uint32_t index = shortest(request, mask, primaries_only);
  const struct preference *list = &request->lists[index];
  uint32_t answered = count_in(request, mask, primaries_only, index);
  *outcome = (struct outcome){.kind = (uint8_t)kind, .wanted = wanted, .answered = (uint8_t)answered};
  for (uint32_t i = 0; i < list->replica_count; i++) {
    bool done = false;
    for (uint32_t j = 0; j < request->target_count; j++) {
      const struct target *target = &request->targets[j];
      bool answers = (mask >> (uint32_t)target->state & 1u) != 0;
      done = done || (target->node == list->nodes[i] && target->owner == 0 && answers);
    }
    if (!done) {
      outcome->missing[outcome->missing_count] = list->nodes[i];
      outcome->missing_count += 1;
    }
  }
}

bool request_reachable(struct request *request) {
  ASSERT(request->need > 0);
  if (request_count(request, 1u << TARGET_SENT, false) >= request->need &&
      request_count(request, 1u << TARGET_SENT, true) >= request->need_primary) {
    return true;
  }
  for (uint32_t i = 0; i < request->target_count; i++) {
    ASSERT(request->targets[i].state == TARGET_SENT);
    request->targets[i].state = TARGET_DONE;
  }
  return false;
}
