/* hints: a hint is deleted only when its owner has durably all that is in it, or (an owner that is no member any more,
 * or does not replicate the key any more) all replicas of its key have; delivered a second time after its owner had
 * acknowledged it, it has no effect; after healing no hint is left, and the count of hints says so. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "layouts.h"
#include "run.h"

#define TAG_BITS 56u
#define TAG_HANDOFF 2u /* handoff's request numbers */

struct delivery {
  uint64_t request, digest;
  uint32_t keeper, owner, key;
  bool acknowledged;
};

struct deliveries {
  uint32_t count, capacity;
  struct delivery list[];
};

static void remember(struct run *run, const struct delivery *delivery) {
  struct deliveries *deliveries = run->deliveries;
  uint32_t capacity = deliveries == NULL ? 0 : deliveries->capacity;
  if (deliveries == NULL || deliveries->count == capacity) {
    capacity = capacity == 0 ? 256 : 2 * capacity;
    deliveries = realloc(deliveries, sizeof *deliveries + capacity * sizeof deliveries->list[0]);
    ASSERT(deliveries != NULL);
    deliveries->count = run->deliveries == NULL ? 0 : deliveries->count;
    deliveries->capacity = capacity;
    run->deliveries = deliveries;
  }
  deliveries->list[deliveries->count] = *delivery;
  deliveries->count += 1;
}

/* What the owner would still have after a crash. */
static void durable_siblings(struct run *run, uint32_t owner, uint32_t key, struct siblings *out) {
  struct bytes value = BYTES_NONE;
  (void)disk_get_durable(&run->world->nodes[owner].disk, SPACE_OBJECTS, run->oracle.keys[key].store_key, &value);
  oracle_parse(&run->oracle, key, value, out);
}

bool hints_node_has(struct run *run, uint32_t owner, uint32_t from, uint32_t key, const struct siblings *hint,
                    uint32_t *missing) {
  struct siblings has = {.count = 0};
  bool all = true;
  durable_siblings(run, owner, key, &has);
  for (uint32_t i = 0; i < hint->count && all; i++) {
    uint32_t number = hint->numbers[i];
    all = oracle_stands(&run->oracle, number, &has) || move_is_given_up(run, from, owner, number);
    *missing = hint->numbers[i];
  }
  siblings_free(&has);
  return all;
}

void hints_sent(struct run *run, uint32_t from, uint32_t to, const struct message *message) {
  bool ours = message->request >> TAG_BITS == TAG_HANDOFF;
  if (ours && message->type == MESSAGE_WRITE) {
    uint32_t owner = 0;
    int key = oracle_find_key(&run->oracle, SPACE_OBJECTS, message->key, &owner);
    if (key >= 0) {
      remember(run, &(struct delivery){.request = message->request,
                                       .digest = object_digest(message->object),
                                       .keeper = from,
                                       .owner = to,
                                       .key = (uint32_t)key});
      story_tell(run->story, (uint32_t)key, "node %" PRIu32 " delivers its hint to node %" PRIu32, from + 1, to + 1);
    }
  }
  bool durable = message->err == ERR_OK && (message->flags & MESSAGE_DURABLE) != 0;
  for (uint32_t i = run->deliveries == NULL ? 0 : run->deliveries->count;
       i > 0 && ours && durable && message->type == MESSAGE_WRITE_ACK; i--) {
    struct delivery *delivery = &run->deliveries->list[i - 1];
    if (delivery->request == message->request && delivery->keeper == to && delivery->owner == from) {
      delivery->acknowledged = true;
      break;
    }
  }
}

/* It does not own the key any more: those that do have what it had. */
static bool has_passed_on(struct run *run, uint32_t node, uint32_t from, uint32_t key, const struct siblings *hint) {
  uint32_t ignored = 0;
  const struct standing *standing = layouts_since(run->layouts, node, run->world->now_ns, 0);
  bool owns = standing == NULL || (layouts_get(run->layouts, standing->target)->replicas[key] >> node & 1) != 0;
  return !owns && move_find_without(run, node, from, key, hint, &ignored) == UINT32_MAX;
}

void hints_received(struct run *run, uint32_t node, uint32_t from, const struct message *message) {
  uint32_t ignored = 0;
  uint32_t missing = 0;
  bool ours = message->type == MESSAGE_WRITE && message->request >> TAG_BITS == TAG_HANDOFF;
  int key = ours ? oracle_find_key(&run->oracle, SPACE_OBJECTS, message->key, &ignored) : -1;
  if (key < 0 || run->deliveries == NULL || run->oracle.disk_destroyed[node]) {
    return;
  }
  uint64_t digest = object_digest(message->object);
  for (uint32_t i = 0; i < run->deliveries->count; i++) {
    const struct delivery *delivery = &run->deliveries->list[i];
    bool same = delivery->keeper == from && delivery->owner == node && delivery->key == (uint32_t)key;
    if (!same || !delivery->acknowledged || delivery->digest != digest) {
      continue;
    }
    struct siblings hint = {.count = 0};
    oracle_parse(&run->oracle, (uint32_t)key, message->object, &hint);
    run->checks.looked[CHECK_hints] += 1;
    if (!hints_node_has(run, node, from, (uint32_t)key, &hint, &missing) &&
        !has_passed_on(run, node, from, (uint32_t)key, &hint)) {
      check_fail(run, CHECK_hints, (uint32_t)key,
                 "node %" PRIu32 " had acknowledged a hint of %s, and a second delivery brings back %" PRIu32, node + 1,
                 run->oracle.keys[key].text, missing);
    }
    siblings_free(&hint);
    return;
  }
}

/* Its owner was removed: its hints go to those that replicate the key. */
static bool handed_over(struct run *run, uint32_t keeper, uint32_t owner, uint32_t key, const struct siblings *hint) {
  uint32_t ignored = 0;
  const struct standing *standing = layouts_since(run->layouts, keeper, run->world->now_ns, 0);
  bool member = standing != NULL && (layouts_get(run->layouts, standing->target)->members >> owner & 1) != 0;
  return !member && move_find_without(run, keeper, keeper, key, hint, &ignored) == UINT32_MAX;
}

void hints_dropped(struct run *run, uint32_t keeper, uint32_t owner, uint32_t key, const struct siblings *hint) {
  uint32_t missing = 0;
  run->checks.looked[CHECK_hints] += 1;
  if (!run->oracle.disk_destroyed[owner] && !hints_node_has(run, owner, keeper, key, hint, &missing) &&
      !handed_over(run, keeper, owner, key, hint) && !has_passed_on(run, owner, keeper, key, hint)) {
    check_fail(run, CHECK_hints, key,
               "node %" PRIu32 " deletes its hint %s of %s, and node %" PRIu32 " has not got %" PRIu32 " durably",
               keeper + 1, siblings_text(hint), run->oracle.keys[key].text, owner + 1, missing);
  }
}

void hints_judge(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    const struct node *node = &run->world->nodes[i];
    if (!node->alive) {
      continue;
    }
    uint64_t counted = shard_stats(node->shard)->hints;
    size_t left = node->disk.visible[SPACE_HINTS].count;
    run->checks.looked[CHECK_hints] += 1;
    if (left != 0 || counted != 0) {
      check_fail(run, CHECK_hints, CHECK_NO_KEY, "node %" PRIu32 " still keeps %zu hints, and counts %" PRIu64, i + 1,
                 left, counted);
    }
  }
}
