#include "gossip.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hlc.h"
#include "process.h"

#define SECOND UINT64_C(1000000000)
#define PARTITIONS 256u
#define VALUE_MEMORY_BYTES (1u << 20)
#define ROUNDS_MAX 200u
#define KNOWN 2u /* records of others that a node begins with, beside its neighbour's */

static void no_reply(void *context, uint32_t node, const struct reply *reply) {
  (void)context;
  (void)node;
  (void)reply;
}

static void add(struct history *history, const struct world *world, uint32_t index) {
  struct change change = world->nodes[index].config.self;
  change.kind = index == 0 ? CHANGE_FOUND : CHANGE_ADD;
  change.time = hlc_make(world_wall_ms(world) - 1000000 + index, 0);
  change.issuer = 1;
  enum err err = history_add(history, &change);
  ASSERT(err == ERR_OK);
}

static struct bytes encode(const struct history *history, uint8_t *room, size_t room_bytes) {
  struct writer w = writer_make(room, room_bytes);
  history_encode(history, &w);
  ASSERT(!w.failed);
  return writer_bytes(&w);
}

/* All go by the founding. */
static void start(struct world *world) {
  static struct history history;
  uint8_t room[HISTORY_ENCODED_MAX_BYTES(1)];
  history_init(&history);
  add(&history, world, 0);
  struct bytes encoded = encode(&history, room, sizeof room);
  for (uint32_t i = 0; i < world->node_count; i++) {
    disk_begin(&world->nodes[i].disk, SPACE_META, BYTES_LITERAL(META_HISTORY), &encoded, true);
    disk_complete(&world->nodes[i].disk, ERR_OK);
    world->nodes[i].config.found = false;
    process_start(world, i);
  }
}

/* Each node is told of itself, of the one that tells it, and of few others. */
static void scatter(struct world *world, struct prng *prng) {
  static struct history history;
  uint8_t room[HISTORY_ENCODED_MAX_BYTES(KNOWN + 3)];
  uint8_t frame[sizeof room + FRAME_HEADER_BYTES];
  for (uint32_t i = 0; i < world->node_count; i++) {
    uint32_t from = i == 0 ? world->node_count - 1 : i - 1;
    history_init(&history);
    add(&history, world, 0);
    add(&history, world, from);
    add(&history, world, i);
    for (uint32_t j = 0; j < KNOWN; j++) {
      add(&history, world, (uint32_t)prng_below(prng, world->node_count));
    }
    struct message message = {.type = MESSAGE_HISTORY, .object = encode(&history, room, sizeof room)};
    struct writer w = writer_make(frame, sizeof frame);
    message_encode(&message, &w);
    ASSERT(!w.failed);
    network_send(world, from, i, writer_bytes(&w));
  }
}

static bool agreed(const struct world *world) {
  uint64_t digest = history_digest(shard_history(world->nodes[0].shard));
  for (uint32_t i = 0; i < world->node_count; i++) {
    const struct shard *shard = world->nodes[i].shard;
    if (shard_ring(shard)->member_count != world->node_count || history_digest(shard_history(shard)) != digest) {
      return false;
    }
  }
  return true;
}

struct tally {
  uint64_t gossip_bytes, other_bytes;
};

static void count_sent(void *context, uint32_t from, uint32_t to, const struct message *message) {
  struct tally *tally = context;
  bool gossip = message->type == MESSAGE_GOSSIP || message->type == MESSAGE_HISTORY || message->type == MESSAGE_PROPS;
  (void)from;
  (void)to;
  *(gossip ? &tally->gossip_bytes : &tally->other_bytes) += message_frame_size(message);
}

bool gossip_measure(uint32_t nodes, uint64_t seed) {
  struct world *world = malloc(sizeof *world);
  struct tally tally = {.gossip_bytes = 0};
  struct prng prng;
  struct shard_tunables tunables = {.request_timeout_ns = 3 * SECOND,
                                    .hedge_ns = SECOND / 10,
                                    .repair_window_ns = SECOND / 5,
                                    .heartbeat_ns = SECOND,
                                    .gossip_ns = SECOND,
                                    .peer_timeout_ns = 5 * SECOND,
                                    .small_value_bytes = 16384,
                                    .value_max_bytes = VALUE_MAX_BYTES_DEFAULT,
                                    .background = {.bytes_per_s = UINT64_C(64) << 20, .target_ns = UINT64_C(50000000)},
                                    .fold_records = HISTORY_FOLD_AT};
  ASSERT(world != NULL && nodes <= NODES_MAX);
  world_init(world, seed);
  prng_init(&prng, seed);
  world->value_memory_bytes = VALUE_MEMORY_BYTES;
  world->watch = (struct watch){.context = &tally, .replied = no_reply, .sent = count_sent};
  for (uint32_t i = 0; i < nodes; i++) {
    (void)world_add_node(world, PARTITIONS, &tunables);
  }
  start(world);
  scatter(world, &prng);
  uint32_t rounds = 0;
  while (rounds < ROUNDS_MAX && !agreed(world)) {
    world_run(world, world->now_ns + SECOND);
    rounds += 1;
  }
  bool well = agreed(world);
  uint64_t until_agreed = tally.gossip_bytes;
  world_run(world, world->now_ns + 20 * SECOND);
  ASSERT(nodes > 0);
  uint64_t at_rest = (tally.gossip_bytes - until_agreed) / 20 / nodes;
  printf("gossip nodes=%" PRIu32 " %s rounds=%" PRIu32 " bytes_per_node=%" PRIu64
         " converged_bytes_per_node_and_round=%" PRIu64 "\n",
         nodes, well ? "agreed" : "DID NOT AGREE", rounds, until_agreed / nodes, at_rest);
  (void)fflush(stdout);
  world_deinit(world);
  free(world);
  return well;
}
