/* Anti-entropy of one of three nodes by itself: its time goes from deadline to deadline, and the test answers for the
 * others. */
#ifndef GRAMME_TEST_SYNC_BENCH_H
#define GRAMME_TEST_SYNC_BENCH_H

#include "support/core_floor.h"

#include "sync/compare.h"
#include "sync/sync.h"

#define BITS 8u

static struct sync *sync;
static struct growth *growth;
static struct floors *floors;
static void *tree_memory;
static uint8_t their_life; /* which the others tell */

static inline void tick(void) {
  struct step step = core_step();
  growth_look(growth, &step);
  growth_tick(growth, &step);
  sync_tick(sync, &step);
}

/* The time goes on to the next deadline; how far. */
static inline void tick_when_due(void) {
  uint64_t due_ns = sync_deadline(sync);
  core.now_ns = due_ns > core.now_ns ? due_ns : core.now_ns;
  tick();
}

static inline void grow(void) {
  struct step step = core_step();
  struct event event = {.kind = EVENT_SCAN_DONE};
  event.scan.token = token_make(TOKEN_GROWTH, 0);
  event.scan.end = true;
  growth_scan_done(growth, &step, &event);
  assert_true(growth_is_whole(growth));
}

static inline void begin(void) {
  core_begin(3);
  their_life = 1;
  core.tunables.sync_round_ns = 10000 * MS;
  struct shard_config config = {.tree_memory = calloc(1, tree_memory_bytes(BITS)), .tree_bits = BITS};
  tree_memory = config.tree_memory;
  growth = growth_init(aligned_alloc(64, growth_size()), &config);
  void *floors_memory = aligned_alloc(64, floors_size());
  assert_non_null(floors_memory);
  floors = floors_init(floors_memory, &config);
  sync = sync_init(aligned_alloc(64, sync_size()), growth, floors, 7);
  tick();
  grow();
}

static inline void end(void) {
  sync_deinit(sync);
  core_end();
  free(sync);
  free(growth);
  free(floors);
  free(tree_memory);
}

/* Ticks until a node is sent a COMPARE; which. It stays until the next step. */
static inline uint32_t compare_wait(struct message *compare) {
  for (uint32_t i = 0; i < 20; i++) {
    tick_when_due();
    for (uint32_t node = 2; node <= 3; node++) {
      const struct message *sent = core_sent(node, MESSAGE_COMPARE);
      if (sent != NULL) {
        *compare = *sent;
        return node;
      }
    }
  }
  fail_msg("nothing was compared");
  return 0;
}

static inline void say(uint32_t from, const struct message *message) {
  struct step step = core_step();
  sync_message(sync, &step, from, message);
}

/* All roots differ, or none; how many they are. */
static inline uint32_t answer(uint32_t from, const struct message *compare, bool differ) {
  uint32_t roots = (uint32_t)((compare->object.size - COMPARE_FIXED_BYTES) / (FAMILY_FIXED_BYTES + 8u));
  uint8_t bytes[COMPARED_FIXED_BYTES + SYNC_ROOTS_MAX / 8] = {BITS, their_life};
  memset(bytes + COMPARED_FIXED_BYTES, differ ? 0xff : 0, sizeof bytes - COMPARED_FIXED_BYTES);
  struct message compared = {.type = MESSAGE_COMPARED,
                             .request = compare->request,
                             .object = {bytes, COMPARED_FIXED_BYTES + (roots + 7u) / 8u}};
  say(from, &compared);
  return roots;
}

static inline void answer_equal(uint32_t from, const struct message *compare) {
  (void)answer(from, compare, false);
}

#endif
