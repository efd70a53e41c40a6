/* What a peer that has gone mad says to the mover: PULLs, and PULLEDs that answer what was asked. Whatever it is, no
 * entry is taken that is not whole, of the partition that was asked for, and behind what was had before.
 *
 * An input is one byte (what to do with the rest: PULLED, or PULL) and the rest, again and again, as u8, u16 size,
 * bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "move/state.h"
#include "seam/seam.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define SELF 1u
#define SOURCE 2u
#define PARTITIONS 4u
#define POOL_BYTES ((size_t)4 << 20)
#define ROUNDS_MAX 64u

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
  struct ring base, ring;
  struct bucket_table buckets;
  bool up[MEMBERS_MAX];
  uint16_t held_back[MEMBERS_MAX];
  struct admit admit;
  uint64_t now_ns;
  struct move *move;
  struct floors *floors;
  void *pool_memory;
} world;

static void change_add(uint32_t node) {
  struct change change = {.time = node,
                          .issuer = 9,
                          .kind = node == SOURCE ? CHANGE_FOUND : CHANGE_ADD,
                          .node = node == SOURCE ? SOURCE : SELF,
                          .weight = 1,
                          .partition_count = node == SOURCE ? PARTITIONS : 0};
  change.name[0] = 'n';
  enum err err = history_add(&world.history, &change);
  ASSERT(err == ERR_OK);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  world.pool_memory = aligned_alloc(64, POOL_BYTES);
  world.move = aligned_alloc(64, move_size());
  world.floors = aligned_alloc(64, floors_size());
  ASSERT(world.pool_memory != NULL && world.move != NULL);
  history_init(&world.history);
  change_add(SOURCE);
  ring_fold(&world.base, &world.history);
  change_add(SOURCE + 1);
  ring_fold(&world.ring, &world.history);
  ASSERT(world.ring.member_count == 2);
  bucket_table_init(&world.buckets);
  admit_init(&world.admit);
  world.tunables.background.bytes_per_s = 1u << 30;
  world.up[0] = world.up[1] = true;
  return 0;
}

static struct step step_make(void) {
  effects_reset(&world.effects);
  return (struct step){.now_ns = world.now_ns,
                       .wall_ms = 1000000,
                       .effects = &world.effects,
                       .stats = &world.stats,
                       .pool = &world.pool,
                       .version_stats = &world.version_stats,
                       .prng = &world.prng,
                       .hlc = &world.hlc,
                       .tunables = &world.tunables,
                       .self = SELF,
                       .base = &world.base,
                       .base_up = world.up,
                       .ring = &world.ring,
                       .reading = &world.base,
                       .agreed = true,
                       .buckets = &world.buckets,
                       .up = world.up,
                       .sure = true,
                       .admit = &world.admit,
                       .held_back = world.held_back,
                       .base_held_back = world.held_back,
                       .local = &world.local};
}

/* What is told to this node's replica is a whole object's or a whole key's, of the partition that was asked for. */
static void look_at_local(uint16_t partition) {
  while (world.local.count > 0) {
    struct message message = world.local.list[world.local.head];
    world.local.head = (world.local.head + 1) % LOCAL_MESSAGES_MAX;
    world.local.count -= 1;
    ASSERT(message.type == MESSAGE_WRITE || message.type == MESSAGE_OFFER);
    ASSERT(message.key.size >= POSITION_BYTES && message.key.size <= POSITION_BYTES + KEY_MAX_BYTES);
    ASSERT(message.partition == partition);
    volatile uint64_t sum = bytes_hash(message.key, 0) ^ bytes_hash(message.object, 0);
    (void)sum;
    blob_put(message.key_blob);
    blob_put(message.object_blob);
  }
}

static const struct message *asked(void) {
  for (uint32_t i = 0; i < world.effects.count; i++) {
    const struct effect *effect = &world.effects.list[i];
    if (effect->kind == EFFECT_SEND && effect->send.message.type == MESSAGE_PULL) {
      ASSERT(effect->send.to == SOURCE);
      return &effect->send.message;
    }
  }
  return NULL;
}

/* Answers every object of the batch, so that the next is asked for. */
static void acknowledge(uint64_t request) {
  for (uint32_t i = 0; i < MOVE_BATCH_MAX; i++) {
    struct message ack = {
        .type = MESSAGE_WRITE_ACK, .flags = MESSAGE_DURABLE, .request = (request & ~(uint64_t)MOVE_INDEX_MASK) | i};
    struct step step = step_make();
    move_message(world.move, &step, SELF, &ack);
    if (asked() != NULL) {
      return;
    }
  }
}

static void tell(const struct message *pull, uint8_t what, struct bytes bytes) {
  struct message message = {.type = MESSAGE_PULLED,
                            .flags = (what & 1u) != 0 ? MESSAGE_LAST : 0,
                            .partition = pull->partition,
                            .request = pull->request,
                            .object = bytes};
  uint64_t request = pull->request;
  uint16_t partition = pull->partition;
  if ((what & 2u) != 0) {
    message = (struct message){.type = MESSAGE_PULL, .partition = what % 8u, .key = bytes, .digest = what};
  }
  struct step step = step_make();
  move_message(world.move, &step, SOURCE, &message);
  for (uint32_t i = 0; i < world.effects.count; i++) {
    if (world.effects.list[i].kind == EFFECT_SCAN) {
      struct event event = {.kind = EVENT_SCAN_DONE};
      event.scan.token = world.effects.list[i].scan.token;
      event.scan.end = true;
      step = step_make();
      move_scan_done(world.move, &step, &event);
      return;
    }
  }
  look_at_local(partition);
  if (asked() == NULL) {
    acknowledge(request);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct shard_config config;
  struct reader r = reader_make((struct bytes){data, size});
  blob_pool_init(&world.pool, world.pool_memory, POOL_BYTES);
  memset(world.move, 0, move_size());
  world.floors = floors_init(world.floors, &config);
  (void)move_init(world.move, &config, world.floors, 1);
  world.now_ns += UINT64_C(1000000000);
  struct step step = step_make();
  move_tick(world.move, &step);
  for (uint32_t i = 0; i < ROUNDS_MAX && reader_left(&r) > 0; i++) {
    const struct message *pull = asked();
    if (pull == NULL) {
      world.now_ns += UINT64_C(1000000000);
      step = step_make();
      move_tick(world.move, &step);
      continue;
    }
    struct message copy = *pull;
    uint8_t what = read_u8(&r);
    size_t part = read_u16(&r);
    part = part < reader_left(&r) ? part : reader_left(&r);
    struct bytes bytes = read_raw(&r, part);
    copy.key = BYTES_NONE;
    copy.key_blob = NULL;
    tell(&copy, what, bytes);
  }
  move_deinit(world.move);
  effects_reset(&world.effects);
  look_at_local(0);
  ASSERT(world.pool.used_bytes == 0);
  /* META_MOVES is bytes from outside too. */
  config.moves = (struct bytes){data, size};
  memset(world.move, 0, move_size());
  world.floors = floors_init(world.floors, &config);
  (void)move_init(world.move, &config, world.floors, 1);
  step = step_make();
  move_tick(world.move, &step);
  move_deinit(world.move);
  effects_reset(&world.effects);
  config.moves = BYTES_NONE;
  return 0;
}
