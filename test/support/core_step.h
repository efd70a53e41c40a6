/* One module of the core by itself: a step made by hand, of a cluster whose members are what the test says, and what
 * the module sent, committed, read and answered in it. The other modules, the disk and the peers are the test. */
#ifndef GRAMME_TEST_CORE_STEP_H
#define GRAMME_TEST_CORE_STEP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "seam/step.h"

#define MS UINT64_C(1000000)
#define WALL_MS UINT64_C(1700000000000)
#define SELF 1u
#define POOL_BYTES (8u << 20)

static struct {
  struct effects effects;
  struct local_queue local;
  struct shard_stats stats;
  struct version_stats version_stats;
  struct blob_pool pool;
  struct prng prng;
  struct hlc hlc;
  struct shard_tunables tunables;
  struct history history;
  struct ring ring;
  struct bucket_table buckets;
  uint64_t settled_low, waves;
  uint64_t lost;
  bool lost_little, unsure;
  uint64_t buckets_digest; /* as membership would keep it */
  bool up[MEMBERS_MAX];
  const struct ring *base; /* NULL: the ring, nothing moves */
  bool base_up[MEMBERS_MAX];
  struct admit admit;
  uint16_t held_back[MEMBERS_MAX];
  bool reads_target; /* while something moves: the target is read by already */
  bool disagreed;    /* not all know the target */
  bool all_done;
  uint32_t epoch;
  uint64_t now_ns;
  uint32_t lag_ms;
  struct version_scratch *scratch;
  uint8_t *pool_memory;
} core;

/* Adds the next change to a history; the first is the founding. */
static inline void core_change(struct history *history, enum change_kind kind, uint32_t node) {
  struct change change = {.time = history->count + 1u,
                          .issuer = 1,
                          .kind = kind,
                          .node = node,
                          .weight = 1,
                          .partition_count = kind == CHANGE_FOUND ? 64 : 0};
  change.name[0] = 'n';
  assert_int_equal(history_add(history, &change), ERR_OK);
}

/* Nodes 1 .. members, all up. */
static inline void core_begin(uint32_t members) {
  memset(&core, 0, sizeof(core));
  core.pool_memory = aligned_alloc(64, POOL_BYTES);
  core.scratch = aligned_alloc(64, (version_scratch_size() + 63u) & ~(size_t)63u);
  assert_non_null(core.pool_memory);
  assert_non_null(core.scratch);
  blob_pool_init(&core.pool, core.pool_memory, POOL_BYTES);
  prng_init(&core.prng, 1);
  hlc_init(&core.hlc, hlc_make(WALL_MS, 0));
  core.tunables = (struct shard_tunables){.hints = true,
                                          .request_timeout_ns = 1000 * MS,
                                          .hedge_ns = 50 * MS,
                                          .repair_window_ns = 100 * MS,
                                          .small_value_bytes = 1024,
                                          .value_max_bytes = 1u << 20};
  core.now_ns = 1000 * MS;
  admit_init(&core.admit);
  history_init(&core.history);
  for (uint32_t i = 1; i <= members; i++) {
    core_change(&core.history, i == 1 ? CHANGE_FOUND : CHANGE_ADD, i);
  }
  ring_fold(&core.ring, &core.history);
  assert_int_equal(core.ring.member_count, members);
  bucket_table_init(&core.buckets);
  for (uint32_t i = 0; i < members; i++) {
    core.up[i] = true;
  }
}

static inline void core_set_up(uint32_t node, bool up) {
  int index = ring_find(&core.ring, node);
  assert_true(index >= 0);
  core.up[index] = up;
}

/* A new step: the effects of the last one are gone. */
static inline struct step core_step(void) {
  effects_reset(&core.effects);
  return (struct step){.now_ns = core.now_ns,
                       .wall_ms = WALL_MS,
                       .lag_ms = core.lag_ms,
                       .effects = &core.effects,
                       .stats = &core.stats,
                       .pool = &core.pool,
                       .scratch = core.scratch,
                       .version_stats = &core.version_stats,
                       .prng = &core.prng,
                       .hlc = &core.hlc,
                       .tunables = &core.tunables,
                       .cluster_seed = 5,
                       .self = SELF,
                       .base = core.base != NULL ? core.base : &core.ring,
                       .base_up = core.base != NULL ? core.base_up : core.up,
                       .ring = &core.ring,
                       .reading = core.base != NULL && !core.reads_target ? core.base : &core.ring,
                       .agreed = !core.disagreed,
                       .sure = !core.unsure,
                       .settled_low = core.settled_low,
                       .waves = core.waves,
                       .lost = core.lost,
                       .lost_little = core.lost_little,
                       .all_done = core.all_done,
                       .epoch = core.epoch,
                       .buckets_digest = core.buckets_digest,
                       .buckets = &core.buckets,
                       .up = core.up,
                       .admit = &core.admit,
                       .held_back = core.held_back,
                       .base_held_back = core.held_back,
                       .local = &core.local};
}

/* The next message to the node itself; false when there is none. It is borrowed until core_end or the next call. */
static inline bool core_local(struct message *message) {
  static struct message last;
  blob_put(last.key_blob);
  blob_put(last.object_blob);
  memset(&last, 0, sizeof(last));
  if (core.local.count == 0) {
    return false;
  }
  last = core.local.list[core.local.head];
  core.local.head = (core.local.head + 1) % LOCAL_MESSAGES_MAX;
  core.local.count -= 1;
  *message = last;
  return true;
}

static inline void core_drop_local(void) {
  struct message message;
  while (core_local(&message)) {
  }
}

/* Asserts that no blob was leaked: the module must have given back its own. */
static inline void core_end(void) {
  core_drop_local();
  effects_reset(&core.effects);
  assert_int_equal(core.pool.used_bytes, 0);
  free(core.scratch);
  free(core.pool_memory);
}

/* All the memory that is left, until it is given back. */
static struct {
  struct blob *blobs[4096];
  uint32_t count;
} hoard;

static inline void core_take_memory(void) {
  for (size_t size = POOL_BYTES; size > 0; size /= 2) {
    for (struct blob *blob = blob_new(&core.pool, size); blob != NULL; blob = blob_new(&core.pool, size)) {
      assert_true(hoard.count < sizeof hoard.blobs / sizeof hoard.blobs[0]);
      hoard.blobs[hoard.count++] = blob;
    }
  }
}

static inline void core_give_memory(void) {
  while (hoard.count > 0) {
    blob_put(hoard.blobs[--hoard.count]);
  }
}

static inline uint32_t core_count(enum effect_kind kind) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < core.effects.count; i++) {
    count += core.effects.list[i].kind == kind ? 1u : 0u;
  }
  return count;
}

/* The `nth` effect of its kind. */
static inline const struct effect *core_effect(enum effect_kind kind, uint32_t nth) {
  for (uint32_t i = 0; i < core.effects.count; i++) {
    if (core.effects.list[i].kind == kind && nth-- == 0) {
      return &core.effects.list[i];
    }
  }
  fail_msg("there is no such effect");
  return NULL;
}

/* The message of a type that this step sent to a node, or NULL. */
static inline const struct message *core_sent(uint32_t to, enum message_type type) {
  for (uint32_t i = 0; i < core.effects.count; i++) {
    const struct effect *effect = &core.effects.list[i];
    if (effect->kind == EFFECT_SEND && effect->send.to == to && effect->send.message.type == type) {
      return &effect->send.message;
    }
  }
  return NULL;
}

static inline struct bytes text_bytes(const char *text) {
  return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline struct blob *store_key(const char *user_key) {
  struct bytes text = text_bytes(user_key);
  struct blob *key = blob_new(&core.pool, POSITION_BYTES + text.size);
  assert_non_null(key);
  position_write(position_of_key(text), key->data);
  memcpy(key->data + POSITION_BYTES, text.data, text.size);
  return key;
}

/* A version of some node's, written upon `mine` by one who had seen nothing. */
static inline struct blob *object_of(struct blob *mine, uint32_t node, const char *value) {
  struct past nothing;
  struct blob *out = NULL;
  past_init(&nothing);
  struct put put = {.context = &nothing,
                    .dot = {.actor = {.incarnation = 100 + node, .node = node}, .time = hlc_tick(&core.hlc, WALL_MS)},
                    .contiguous = true,
                    .value = text_bytes(value),
                    .sibling_max = SIBLINGS_PUT_MAX};
  assert_int_equal(object_put(core.scratch, &core.pool, mine, &put, &core.version_stats, &out), ERR_OK);
  return out;
}

#endif
