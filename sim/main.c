/* gramme-sim: runs clusters from seeds and says what broke. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "carts.h"

#define SECOND UINT64_C(1000000000)

struct nemesis {
  struct world *world;
  struct prng prng;
  uint64_t stop_ns;
};

static void nemesis_act(void *context, uint64_t argument) {
  struct nemesis *nemesis = context;
  struct world *world = nemesis->world;
  (void)argument;
  if (world->now_ns >= nemesis->stop_ns) {
    return;
  }
  uint32_t node = (uint32_t)prng_below(&nemesis->prng, world->node_count);
  uint32_t other = (uint32_t)prng_below(&nemesis->prng, world->node_count);
  uint64_t what = prng_below(&nemesis->prng, 6);
  bool alive = world->nodes[node].alive;
  if (what == 0 && alive && !world->nodes[node].paused) {
    world_crash(world, node);
  } else if (what <= 2 && !alive) {
    world_start(world, node);
  } else if (what == 3 && alive) {
    if (world->nodes[node].paused) {
      world_resume(world, node);
    } else {
      world_pause(world, node);
    }
  } else if (what == 4 && node != other) {
    world_cut(world, node, other, true);
    bool both = prng_chance(&nemesis->prng, 700);
    world_cut(world, other, node, both);
  } else if (what == 5) {
    world_heal(world);
  }
  uint64_t pause = prng_below(&nemesis->prng, 2 * SECOND);
  world_call(world, world->now_ns + pause, nemesis_act, nemesis, 0);
}

static bool run(uint64_t seed, bool verbose, struct carts_result *result) {
  struct world *world = malloc(sizeof *world);
  world_init(world, seed);
  world->verbose = verbose;
  struct nemesis nemesis = {.world = world};
  prng_init(&nemesis.prng, seed * 31 + 7);
  uint32_t nodes = 1 + (uint32_t)prng_below(&nemesis.prng, 7);
  nodes = nodes < 3 ? 3 : nodes;
  world->replied = NULL;
  struct carts_options options = {
      .clients = 1 + (uint32_t)prng_below(&nemesis.prng, 8),
      .keys = 1 + (uint32_t)prng_below(&nemesis.prng, 4),
      .think_max_ns = (1 + prng_below(&nemesis.prng, 100)) * 1000000,
      .blind_per_mille = (uint32_t)prng_below(&nemesis.prng, 3) * 50,
      .stale_per_mille = (uint32_t)prng_below(&nemesis.prng, 3) * 50,
  };
  struct carts *carts = carts_new(world, &options);
  for (uint32_t i = 0; i < nodes; i++) {
    (void)world_add_node(world, 64);
    world_start(world, i);
    world_run(world, world->now_ns + 3 * SECOND);
  }
  world_run(world, world->now_ns + 10 * SECOND);
  world->faults.drop_per_mille = (uint32_t)prng_below(&nemesis.prng, 3) * 20;
  world->faults.duplicate_per_mille = (uint32_t)prng_below(&nemesis.prng, 3) * 20;
  world->faults.slow_per_mille = (uint32_t)prng_below(&nemesis.prng, 3) * 20;
  world->faults.slow_max_ns = prng_below(&nemesis.prng, SECOND) + 2000000;
  world->faults.disk_error_per_mille = prng_chance(&nemesis.prng, 200) ? 20 : 0;
  uint64_t stop = world->now_ns + 30 * SECOND;
  /* reach in for the stop time: options are copied at creation */
  nemesis.stop_ns = stop;
  carts_set_stop(carts, stop);
  carts_start(carts);
  world_call(world, world->now_ns + SECOND, nemesis_act, &nemesis, 0);
  world_run(world, stop);
  world_heal(world);
  for (uint32_t i = 0; i < nodes; i++) {
    if (world->nodes[i].paused) {
      world_resume(world, i);
    }
    if (!world->nodes[i].alive) {
      world_start(world, i);
    }
  }
  world->faults.drop_per_mille = 0;
  world->faults.duplicate_per_mille = 0;
  world->faults.slow_per_mille = 0;
  world->faults.disk_error_per_mille = 0;
  world_run(world, world->now_ns + 30 * SECOND);
  carts_judge(carts, result);
  bool hints_left = false;
  for (uint32_t i = 0; i < nodes; i++) {
    if (shard_stats(world->nodes[i].shard)->hints != 0) {
      printf("hints: node %u still keeps %" PRIu64 "\n", i + 1, shard_stats(world->nodes[i].shard)->hints);
      hints_left = true;
    }
  }
  for (uint32_t i = 0; i < nodes; i++) {
    const struct shard_stats *stats = shard_stats(world->nodes[i].shard);
    result->truncated += stats->truncated;
    if (verbose) {
#define X(name, help) if (stats->name != 0) { printf("  %s=%" PRIu64, #name, stats->name); }
      SHARD_STATS_TABLE(X)
#undef X
      printf("\n");
    }
  }
  bool failed = result->lost + (result->truncated > 0 ? 0 : result->false_siblings) > 0 || hints_left;
  printf("seed %" PRIu64 "%s: nodes %u puts %" PRIu64 " acked %" PRIu64 " refused %" PRIu64 " unknown %" PRIu64
         " siblings %" PRIu64 " truncated %" PRIu64 " steps %" PRIu64 " trace %016" PRIx64 "\n",
         seed, failed ? " FAILED" : "", nodes, result->puts, result->acked, result->refused, result->unknown,
         result->siblings_max, result->truncated, world->steps, world->trace);
  carts_free(carts);
  world_deinit(world);
  free(world);
  return !failed;
}

int main(int argc, char **argv) {
  uint64_t seed = 1;
  uint64_t runs = 1;
  bool verbose = false;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      seed = strtoull(argv[++i], NULL, 10);
    } else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc) {
      runs = strtoull(argv[++i], NULL, 10);
    } else if (strcmp(argv[i], "--verbose") == 0) {
      verbose = true;
    }
  }
  uint64_t failures = 0;
  for (uint64_t i = 0; i < runs; i++) {
    struct carts_result result;
    failures += run(seed + i, verbose, &result) ? 0 : 1;
  }
  printf("%" PRIu64 " runs, %" PRIu64 " failures\n", runs, failures);
  return failures == 0 ? 0 : 1;
}
