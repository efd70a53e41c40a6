#include "nemesis.h"

#include <inttypes.h>
#include <stdlib.h>

#include "admin.h"
#include "base/assert.h"
#include "client.h"
#include "process.h"

#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define WEEK_MS (INT64_C(7) * 24 * 3600 * 1000)
#define COPIES_MAX 4u
#define LOSS_KNOWN_NS (3 * SECOND)             /* after its start a node has been told what others know of it */
#define LOSS_KNOWN_HLC (UINT64_C(5000) << 16u) /* marks that differ by so much: the later one has been told */

struct nemesis {
  struct run *run;
  struct prng prng;
  uint64_t stop_ns;
  bool stopped;
  uint32_t flaps_left, flap_a, flap_b;
  uint32_t copy_count; /* old copies of data directories */
  struct disk copies[COPIES_MAX];
  uint32_t copy_node[COPIES_MAX];
  uint32_t loser; /* the node that lost data last + 1; 0: none yet */
  uint64_t lost_ns;
};

static uint32_t any_node(struct nemesis *nemesis) {
  return (uint32_t)prng_below(&nemesis->prng, nemesis->run->world->node_count);
}

static uint64_t outage(struct nemesis *nemesis) {
  return 1 + prng_below(&nemesis->prng, nemesis->run->plan.outage_max_ns);
}

static void later(struct nemesis *nemesis, uint64_t pause_ns, void (*call)(void *, uint64_t), uint64_t argument) {
  world_call(nemesis->run->world, nemesis->run->world->now_ns + pause_ns, call, nemesis, argument);
}

/* -- nodes -------------------------------------------------------------------------------- */

static void start_again(void *context, uint64_t node) {
  struct nemesis *nemesis = context;
  if (!nemesis->stopped && !nemesis->run->world->nodes[node].alive &&
      admin_may_run(nemesis->run->admin, (uint32_t)node)) {
    process_start(nemesis->run->world, (uint32_t)node);
    clients_load(nemesis->run->clients, (uint32_t)node);
  }
}

static void wake(void *context, uint64_t node) {
  struct nemesis *nemesis = context;
  process_resume(nemesis->run->world, (uint32_t)node);
}

static void act_crash(struct nemesis *nemesis, uint32_t node) {
  if (nemesis->run->world->nodes[node].alive) {
    process_crash(nemesis->run->world, node);
    later(nemesis, outage(nemesis), start_again, node);
  }
}

static void act_pause(struct nemesis *nemesis, uint32_t node) {
  if (nemesis->run->world->nodes[node].alive && !nemesis->run->world->nodes[node].paused) {
    process_pause(nemesis->run->world, node);
    later(nemesis, outage(nemesis), wake, node);
  }
}

/* A node that was away comes back when everybody's clock shows weeks more. */
static void act_weeks(struct nemesis *nemesis, uint32_t node) {
  struct world *world = nemesis->run->world;
  if (world->nodes[node].alive) {
    process_crash(nemesis->run->world, node);
  }
  int64_t weeks = 1 + (int64_t)prng_below(&nemesis->prng, 5);
  world->extra_ms += (uint64_t)(weeks * WEEK_MS);
  story_tell(nemesis->run->story, STORY_ALL, "%" PRId64 " weeks pass", weeks);
  later(nemesis, outage(nemesis), start_again, node);
}

static void act_sync_fails(struct nemesis *nemesis, uint32_t node) {
  if (nemesis->run->world->nodes[node].alive) {
    story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 ": its next commit fails, and it stops", node + 1);
    nemesis->run->world->nodes[node].sync_fails = true;
    later(nemesis, outage(nemesis), start_again, node);
  }
}

/* -- disks ---------------------------------------------------------------------------------- */

static void mend_disk(void *context, uint64_t node) {
  struct nemesis *nemesis = context;
  process_set_full(nemesis->run->world, (uint32_t)node, false);
  nemesis->run->world->nodes[node].disk_slowness = 1;
  story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu64 ": its disk is well again", node + 1);
}

static void act_slow_disk(struct nemesis *nemesis, uint32_t node) {
  uint32_t slowness = 2u << prng_below(&nemesis->prng, 8);
  nemesis->run->world->nodes[node].disk_slowness = slowness;
  story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 ": its disk is %" PRIu32 " times slower", node + 1,
             slowness);
  later(nemesis, outage(nemesis), mend_disk, node);
}

static void act_full_disk(struct nemesis *nemesis, uint32_t node) {
  process_set_full(nemesis->run->world, node, true);
  story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 ": its disk is full", node + 1);
  later(nemesis, outage(nemesis), mend_disk, node);
}

static bool is_damaged(const struct disk *disk) {
  for (size_t i = 0; i < disk->durable[SPACE_OBJECTS].count; i++) {
    if (disk->durable[SPACE_OBJECTS].entries[i].damaged) {
      return true;
    }
  }
  return false;
}

/* Has it got back what it had lost, as far as it knows, and has it been asked for long enough to know? */
static bool is_whole(const struct nemesis *nemesis, uint32_t node) {
  const struct world *world = nemesis->run->world;
  bool sure = false;
  return world->nodes[node].alive && !world->nodes[node].paused &&
         world->now_ns - nemesis->lost_ns > nemesis->run->plan.outage_max_ns + LOSS_KNOWN_NS &&
         shard_loss(world->nodes[node].shard, &sure) == LOSS_NONE && sure;
}

bool nemesis_lost_some(const struct nemesis *nemesis) {
  const struct world *world = nemesis->run->world;
  bool some = nemesis->loser != 0 && !is_whole(nemesis, nemesis->loser - 1);
  for (uint32_t i = 0; i < world->node_count; i++) {
    some = some || is_damaged(&world->nodes[i].disk);
  }
  return some;
}

/* One loss at a time, where each is to be made good; and a directory goes with all that only its node knew of who is
 * in: so all know that. */
static bool may_destroy(const struct nemesis *nemesis, uint32_t node) {
  return nemesis->run->plan.profile == PROFILE_HOSTILE ||
         (!nemesis_lost_some(nemesis) && admin_all_know(nemesis->run->admin, node));
}

static uint64_t wrote_of(const struct disk *disk) {
  struct bytes value = BYTES_NONE;
  bool there = disk_get_durable(disk, SPACE_META, BYTES_LITERAL(META_WROTE), &value);
  struct reader r = reader_make(value);
  return there ? read_u64(&r) : 0;
}

/* A copy that is only seconds old can not be told from the directory itself; of an older one the others must have
 * heard. */
static bool may_put_back(const struct nemesis *nemesis, uint32_t node, uint32_t copy) {
  const struct world *world = nemesis->run->world;
  return nemesis->run->plan.profile == PROFILE_HOSTILE ||
         (world->nodes[node].alive && wrote_of(&nemesis->copies[copy]) != 0 &&
          wrote_of(&world->nodes[node].disk) > wrote_of(&nemesis->copies[copy]) + LOSS_KNOWN_HLC);
}

/* The node must not be running: what is done to its disk meanwhile. */
static void act_destroy(struct nemesis *nemesis, uint32_t node, enum feature how) {
  struct world *world = nemesis->run->world;
  struct oracle *oracle = &nemesis->run->oracle;
  if (!admin_may_run(nemesis->run->admin, node) || !may_destroy(nemesis, node)) {
    return;
  }
  bool stops = how != FEATURE_damage || prng_chance(&nemesis->prng, 500);
  if (world->nodes[node].alive && stops) {
    process_crash(nemesis->run->world, node);
    later(nemesis, outage(nemesis), start_again, node);
  }
  nemesis->loser = how == FEATURE_damage ? nemesis->loser : node + 1;
  nemesis->lost_ns = world->now_ns;
  oracle_loss_begin(oracle, node);
  struct disk *disk = &world->nodes[node].disk;
  if (how == FEATURE_empty) {
    disk_lose(disk);
    story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 ": its directory is emptied", node + 1);
  } else if (how == FEATURE_damage) {
    size_t which = (size_t)prng_below(&nemesis->prng, 1000);
    bool damaged = disk_damage(disk, which);
    story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 ": %s", node + 1,
               damaged ? "an object on its disk is damaged" : "nothing on its disk could be damaged");
  } else {
    for (uint32_t i = 0; i < nemesis->copy_count; i++) {
      if (nemesis->copy_node[i] == node) {
        disk_put_back(disk, &nemesis->copies[i]);
        story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 ": an old copy of its data is put back", node + 1);
        break;
      }
    }
  }
  oracle_loss_end(oracle, node, true);
}

static void take_copy(struct nemesis *nemesis, uint32_t node) {
  if (nemesis->copy_count < COPIES_MAX) {
    disk_copy(&nemesis->copies[nemesis->copy_count], &nemesis->run->world->nodes[node].disk);
    nemesis->copy_node[nemesis->copy_count] = node;
    nemesis->copy_count += 1;
  }
}

static void act_old_copy(struct nemesis *nemesis, uint32_t node) {
  uint32_t copy = 0;
  while (copy < nemesis->copy_count && nemesis->copy_node[copy] != node) {
    copy += 1;
  }
  if (copy == nemesis->copy_count) {
    take_copy(nemesis, node);
  } else if (may_put_back(nemesis, node, copy)) {
    act_destroy(nemesis, node, FEATURE_oldcopy);
  }
}

/* -- connections ------------------------------------------------------------------------------- */

static void heal(void *context, uint64_t ignored) {
  struct nemesis *nemesis = context;
  (void)ignored;
  network_heal(nemesis->run->world);
  story_tell(nemesis->run->story, STORY_ALL, "all connections are whole");
}

/* The nodes fall in two; with a bridge, one of them stays with both. */
static void act_split(struct nemesis *nemesis, bool bridge) {
  struct world *world = nemesis->run->world;
  uint64_t sides = prng_u64(&nemesis->prng);
  uint32_t middle = bridge ? any_node(nemesis) : UINT32_MAX;
  network_heal(world);
  for (uint32_t a = 0; a < world->node_count; a++) {
    for (uint32_t b = a + 1; b < world->node_count; b++) {
      if ((sides >> a & 1) != (sides >> b & 1) && a != middle && b != middle) {
        network_cut_both(world, a, b);
      }
    }
  }
  story_tell(nemesis->run->story, STORY_ALL, "the cluster falls in two (%03" PRIx64 ")%s",
             sides & ((UINT64_C(1) << world->node_count) - 1), bridge ? " with a bridge" : "");
  later(nemesis, outage(nemesis), heal, 0);
}

static void act_one_way(struct nemesis *nemesis, uint32_t node) {
  struct world *world = nemesis->run->world;
  bool deaf = prng_chance(&nemesis->prng, 500);
  for (uint32_t i = 0; i < world->node_count; i++) {
    if (i != node) {
      network_cut(world, deaf ? i : node, deaf ? node : i);
    }
  }
  story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 " is %s", node + 1, deaf ? "deaf" : "dumb");
  later(nemesis, outage(nemesis), heal, 0);
}

static void flap(void *context, uint64_t ignored) {
  struct nemesis *nemesis = context;
  (void)ignored;
  if (nemesis->flaps_left == 0 || nemesis->stopped) {
    return;
  }
  nemesis->flaps_left -= 1;
  if (nemesis->flaps_left % 2 == 1) {
    network_cut_both(nemesis->run->world, nemesis->flap_a, nemesis->flap_b);
  } else {
    network_heal(nemesis->run->world);
  }
  later(nemesis, 20 * MILLISECOND + prng_below(&nemesis->prng, 500 * MILLISECOND), flap, 0);
}

static void act_flap(struct nemesis *nemesis, uint32_t a, uint32_t b) {
  if (a != b && nemesis->flaps_left == 0) {
    nemesis->flap_a = a;
    nemesis->flap_b = b;
    nemesis->flaps_left = 2u * (1u + (uint32_t)prng_below(&nemesis->prng, 10));
    story_tell(nemesis->run->story, STORY_ALL, "nodes %" PRIu32 " and %" PRIu32 " lose each other %" PRIu32 " times",
               a + 1, b + 1, nemesis->flaps_left / 2);
    flap(nemesis, 0);
  }
}

static void act_clog(struct nemesis *nemesis, uint32_t a, uint32_t b) {
  if (a != b) {
    uint64_t left_ns = nemesis->stop_ns - nemesis->run->world->now_ns; /* what is held up can not be let go earlier */
    uint64_t for_ns = outage(nemesis);
    for_ns = for_ns < left_ns ? for_ns : left_ns;
    network_clog(nemesis->run->world, a, b, nemesis->run->world->now_ns + for_ns);
    story_tell(nemesis->run->story, STORY_ALL,
               "nothing arrives from node %" PRIu32 " at node %" PRIu32 " for %" PRIu64 " ms", a + 1, b + 1,
               for_ns / MILLISECOND);
  }
}

/* -- clocks --------------------------------------------------------------------------------------- */

static void act_jump(struct nemesis *nemesis, uint32_t node) {
  uint64_t most = (uint64_t)nemesis->run->plan.jump_max_ms;
  int64_t by_ms = (int64_t)prng_below(&nemesis->prng, 2 * most + 1) - (int64_t)most;
  clock_jump(&nemesis->run->world->nodes[node].clock, by_ms);
  story_tell(nemesis->run->story, STORY_ALL, "node %" PRIu32 ": its clock jumps by %" PRId64 " ms", node + 1, by_ms);
}

/* -- the whole --------------------------------------------------------------------------------------- */

static void strike(struct nemesis *nemesis, enum feature fault) {
  uint32_t a = any_node(nemesis);
  uint32_t b = any_node(nemesis);
  switch ((int)fault) {
  case FEATURE_crash:
    act_crash(nemesis, a);
    break;
  case FEATURE_pause:
    act_pause(nemesis, a);
    break;
  case FEATURE_weeks:
    act_weeks(nemesis, a);
    break;
  case FEATURE_syncfails:
    act_sync_fails(nemesis, a);
    break;
  case FEATURE_slowdisk:
    act_slow_disk(nemesis, a);
    break;
  case FEATURE_fulldisk:
    act_full_disk(nemesis, a);
    break;
  case FEATURE_empty:
  case FEATURE_damage:
    act_destroy(nemesis, a, fault);
    break;
  case FEATURE_oldcopy:
    act_old_copy(nemesis, a);
    break;
  case FEATURE_split:
  case FEATURE_bridge:
    act_split(nemesis, fault == FEATURE_bridge);
    break;
  case FEATURE_oneway:
    act_one_way(nemesis, a);
    break;
  case FEATURE_flap:
    act_flap(nemesis, a, b);
    break;
  case FEATURE_clog:
    act_clog(nemesis, a, b);
    break;
  case FEATURE_reset:
    if (a != b) {
      network_reset(nemesis->run->world, a, b);
    }
    break;
  case FEATURE_jump:
    act_jump(nemesis, a);
    break;
  default:
    ASSERT(false && "not a fault that strikes");
  }
}

static void act(void *context, uint64_t ignored) {
  static const enum feature faults[] = {FEATURE_crash,    FEATURE_pause,    FEATURE_weeks,  FEATURE_syncfails,
                                        FEATURE_slowdisk, FEATURE_fulldisk, FEATURE_empty,  FEATURE_damage,
                                        FEATURE_oldcopy,  FEATURE_split,    FEATURE_bridge, FEATURE_oneway,
                                        FEATURE_flap,     FEATURE_clog,     FEATURE_reset,  FEATURE_jump};
  struct nemesis *nemesis = context;
  (void)ignored;
  if (nemesis->run->world->now_ns >= nemesis->stop_ns) {
    return;
  }
  enum feature fault = faults[prng_below(&nemesis->prng, sizeof faults / sizeof faults[0])];
  if (nemesis->run->plan.on[fault]) {
    strike(nemesis, fault);
  }
  later(nemesis, prng_below(&nemesis->prng, nemesis->run->plan.rest_max_ns), act, 0);
}

struct nemesis *nemesis_new(struct run *run) {
  struct nemesis *nemesis = calloc(1, sizeof *nemesis);
  ASSERT(nemesis != NULL);
  nemesis->run = run;
  prng_init(&nemesis->prng, run->plan.seed * 31 + 7);
  return nemesis;
}

void nemesis_free(struct nemesis *nemesis) {
  for (uint32_t i = 0; i < nemesis->copy_count; i++) {
    disk_deinit(&nemesis->copies[i]);
  }
  free(nemesis);
}

static void spoil_network(struct nemesis *nemesis) {
  const struct plan *plan = &nemesis->run->plan;
  struct network *network = &nemesis->run->world->network;
  network->drop_per_mille = plan->on[FEATURE_drop] ? plan->drop_per_mille : 0;
  network->duplicate_per_mille = plan->on[FEATURE_duplicate] ? plan->duplicate_per_mille : 0;
  network->slow_per_mille = plan->on[FEATURE_reorder] ? plan->reorder_per_mille : 0;
  network->slow_max_ns = plan->reorder_max_ns;
  network->delay_max_ns = plan->delay_max_ns;
  network->cuts_break = plan->on[FEATURE_broken];
}

void nemesis_start(struct nemesis *nemesis, uint64_t stop_ns) {
  const struct plan *plan = &nemesis->run->plan;
  struct world *world = nemesis->run->world;
  nemesis->stop_ns = stop_ns;
  spoil_network(nemesis);
  world->disk_max_ns = plan->disk_max_ns;
  world->busy_per_mille = plan->on[FEATURE_diskbusy] ? plan->busy_per_mille : 0;
  world->readerror_per_mille = plan->on[FEATURE_readerror] ? plan->readerror_per_mille : 0;
  for (uint32_t i = 0; i < world->node_count; i++) {
    uint64_t skew = prng_below(&nemesis->prng, 2 * (uint64_t)plan->skew_max_ms + 1);
    uint64_t drift = prng_below(&nemesis->prng, 2 * (uint64_t)plan->drift_max_ppm + 1);
    if (plan->on[FEATURE_skew]) {
      clock_jump(&world->nodes[i].clock, (int64_t)skew - plan->skew_max_ms);
    }
    if (plan->on[FEATURE_drift]) {
      clock_set_drift(&world->nodes[i].clock, world->now_ns, (int64_t)drift - plan->drift_max_ppm);
    }
  }
  later(nemesis, prng_below(&nemesis->prng, SECOND), act, 0);
}

void nemesis_stop(struct nemesis *nemesis) {
  struct world *world = nemesis->run->world;
  nemesis->stopped = true;
  world->network.drop_per_mille = world->network.duplicate_per_mille = world->network.slow_per_mille = 0;
  world->busy_per_mille = world->readerror_per_mille = 0;
  story_tell(nemesis->run->story, STORY_ALL, "-- all is healed --");
  network_heal(world);
  for (uint32_t i = 0; i < world->node_count; i++) {
    process_resume(world, i);
    process_set_full(world, i, false);
    world->nodes[i].disk_slowness = 1;
    world->nodes[i].sync_fails = false;
    if (!world->nodes[i].alive && admin_may_run(nemesis->run->admin, i)) {
      process_start(world, i);
    }
  }
}
