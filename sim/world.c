#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "process.h"
#include "seam/step.h"

#define EPOCH_MS UINT64_C(1750000000000)
#define MILLISECOND UINT64_C(1000000)
#define CLUSTER_SEED 77u

uint64_t world_draw(struct world *world, uint64_t low, uint64_t high) {
  return high <= low ? low : low + prng_below(&world->prng, high - low + 1);
}

void world_trace(struct world *world, uint64_t value) {
  uint64_t words[2] = {world->trace, value};
  world->trace = bytes_hash((struct bytes){(const uint8_t *)words, sizeof words}, 0);
}

uint8_t *world_copy(struct bytes bytes) {
  uint8_t *copy = malloc(bytes.size + 1);
  ASSERT(copy != NULL);
  if (bytes.size > 0) {
    memcpy(copy, bytes.data, bytes.size);
  }
  return copy;
}

uint64_t world_wall_ms(const struct world *world) {
  return EPOCH_MS + world->extra_ms + world->now_ns / MILLISECOND;
}

int world_index(const struct world *world, uint32_t id) {
  return id >= 1 && id <= world->node_count ? (int)(id - 1) : -1;
}

static void became_durable(void *context, uint64_t argument, const struct disk_change *change) {
  struct world *world = context;
  if (world->watch.durable != NULL) {
    world->watch.durable(world->watch.context, (uint32_t)argument, change);
  }
}

uint32_t world_add_node(struct world *world, uint32_t partitions, const struct shard_tunables *tunables) {
  ASSERT(world->node_count < NODES_MAX);
  uint32_t index = world->node_count;
  struct node *node = &world->nodes[index];
  world->node_count += 1;
  *node = (struct node){.id = index + 1, .tick_ns = UINT64_MAX, .disk_slowness = 1};
  disk_init(&node->disk);
  node->disk.became_durable = became_durable;
  node->disk.context = world;
  node->disk.argument = index;
  struct shard_config *config = &node->config;
  config->node = node->id;
  config->cluster_seed = CLUSTER_SEED;
  config->found = index == 0;
  config->self.node = node->id;
  config->self.weight = 100;
  config->self.partition_count = partitions;
  config->self.client_port = (uint16_t)(7600 + index);
  config->self.peer_port = (uint16_t)(17600 + index);
  (void)snprintf(config->self.host, sizeof config->self.host, "127.0.0.1");
  (void)snprintf(config->self.name, sizeof config->self.name, "node-%" PRIu32, node->id);
  config->tunables = *tunables;
  return index;
}

bool world_command(struct world *world, uint32_t index, const struct command *command) {
  struct node *node = &world->nodes[index];
  if (!node->alive || node->paused) {
    return false;
  }
  struct event event = {.kind = EVENT_COMMAND, .command = command};
  process_step(world, index, &event);
  return true;
}

void world_call(struct world *world, uint64_t time_ns, void (*call)(void *context, uint64_t argument), void *context,
                uint64_t argument) {
  ASSERT(time_ns >= world->now_ns);
  struct entry entry = {.kind = HAPPENS_CALL, .call = call, .context = context, .argument = argument};
  queue_push(&world->queue, time_ns, &entry);
}

void world_run(struct world *world, uint64_t time_ns) {
  while (queue_next(&world->queue) <= time_ns) {
    uint64_t at_ns = 0;
    struct entry entry = queue_pop(&world->queue, &at_ns);
    ASSERT(at_ns >= world->now_ns);
    world->now_ns = at_ns;
    if (entry.kind == HAPPENS_CALL) {
      entry.call(entry.context, entry.argument);
    } else {
      process_happens(world, at_ns, &entry);
    }
  }
  world->now_ns = time_ns;
}

void world_init(struct world *world, uint64_t seed) {
  memset(world, 0, sizeof *world);
  world->seed = seed;
  world->trace = seed;
  prng_init(&world->prng, seed);
  queue_init(&world->queue);
  world->now_ns = 1000 * MILLISECOND;
  world->value_memory_bytes = 16u << 20;
  world->tree_bits = 10;
  world->effects = calloc(1, sizeof *world->effects);
  ASSERT(world->effects != NULL);
  world->network.delay_min_ns = MILLISECOND / 10;
  world->network.delay_max_ns = MILLISECOND;
  world->disk_min_ns = MILLISECOND / 20;
  world->disk_max_ns = MILLISECOND;
}

void world_deinit(struct world *world) {
  queue_deinit(&world->queue);
  effects_reset(world->effects);
  free(world->effects);
  for (uint32_t i = 0; i < world->node_count; i++) {
    process_deinit(world, i);
  }
}
