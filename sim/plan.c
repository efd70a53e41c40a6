#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define BACKGROUND_BYTES_PER_S (UINT64_C(64) << 20)
#define BACKGROUND_LEAST 8192u
#define LARGE_BYTES_PER_S (UINT64_C(1) << 20) /* at least, where values are large: moves come to an end */

#define TREE_BITS_LEAST 7u /* as many leaves as partitions */
#define TREE_BITS_MOST 12u

static const char *const feature_names[FEATURE_COUNT] = {
#define X(name, per_mille) #name,
    FEATURE_TABLE(X)
#undef X
};

static const uint32_t feature_odds[FEATURE_COUNT] = {
#define X(name, per_mille) per_mille,
    FEATURE_TABLE(X)
#undef X
};

const char *feature_name(enum feature feature) {
  return feature_names[feature];
}

bool feature_find(const char *name, enum feature *feature) {
  for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
    if (strcmp(feature_names[i], name) == 0) {
      *feature = (enum feature)i;
      return true;
    }
  }
  return false;
}

const char *profile_name(enum profile profile) {
  return profile == PROFILE_RECOVERABLE ? "recoverable" : "hostile";
}

static uint64_t between(struct prng *prng, uint64_t low, uint64_t high) {
  return low + prng_below(prng, high - low + 1);
}

static uint32_t some(struct prng *prng, uint32_t low, uint32_t high) {
  return (uint32_t)between(prng, low, high);
}

/* Evenly over orders of magnitude. */
static uint64_t scaled(struct prng *prng, uint64_t low, uint64_t high) {
  uint32_t doublings = 0;
  while (low << (doublings + 1) <= high) {
    doublings += 1;
  }
  uint64_t base = low << some(prng, 0, doublings);
  uint64_t value = base + prng_below(prng, base);
  return value > high ? high : value;
}

static void draw_shape(struct plan *plan, struct prng *prng) {
  static const uint32_t counts[] = {1, 2, 3, 3, 3, 4, 5, 5, 5, 6, 7, 7};
  plan->nodes = counts[prng_below(prng, sizeof counts / sizeof counts[0])];
  bool many = prng_chance(prng, 50);
  uint32_t more = some(prng, 8, PLAN_NODES_MAX);
  plan->nodes = many ? more : plan->nodes;
  plan->partitions = 1u << some(prng, 0, 7);
  plan->zones = some(prng, 1, 4);
  for (uint32_t i = 0; i < PLAN_NODES_MAX; i++) {
    plan->weights[i] = some(prng, 1, 400);
  }
  plan->duration_ns = between(prng, 5 * SECOND, 40 * SECOND);
  /* A node takes no object that does not fit its value memory, and hints for it wait for ever: with large values and
   * many siblings there must be room. */
  const uint32_t bits = some(prng, 22, 24);
  plan->value_memory_bytes = 1u << (plan->on[FEATURE_large] ? 26u : bits);
}

static struct shard_tunables tunables_default(void) {
  return (struct shard_tunables){
      .request_timeout_ns = 3 * SECOND,
      .hedge_ns = 100 * MILLISECOND,
      .repair_window_ns = 200 * MILLISECOND,
      .heartbeat_ns = 250 * MILLISECOND,
      .gossip_ns = SECOND,
      .peer_timeout_ns = 1500 * MILLISECOND,
      .small_value_bytes = 16384,
      .value_max_bytes = VALUE_MAX_BYTES_DEFAULT,
      .background = {.bytes_per_s = BACKGROUND_BYTES_PER_S, .target_ns = 50 * MILLISECOND},
      .hints = true,
      .fold_records = HISTORY_FOLD_AT,
  };
}

static void draw_tunables(struct plan *plan, struct prng *prng) {
  struct shard_tunables drawn = tunables_default();
  drawn.request_timeout_ns = scaled(prng, 300 * MILLISECOND, 5 * SECOND);
  drawn.hedge_ns = scaled(prng, 5 * MILLISECOND, 500 * MILLISECOND);
  drawn.repair_window_ns = scaled(prng, 5 * MILLISECOND, SECOND);
  drawn.heartbeat_ns = scaled(prng, 50 * MILLISECOND, 500 * MILLISECOND);
  drawn.gossip_ns = scaled(prng, 200 * MILLISECOND, 2 * SECOND);
  drawn.peer_timeout_ns = scaled(prng, SECOND, 4 * SECOND);
  drawn.small_value_bytes = (uint32_t)scaled(prng, 16, 16384);
  plan->tunables = plan->on[FEATURE_tuned] ? drawn : tunables_default();
}

static void draw_faults(struct plan *plan, struct prng *prng) {
  plan->drop_per_mille = (uint32_t)scaled(prng, 2, 100);
  plan->duplicate_per_mille = (uint32_t)scaled(prng, 2, 200);
  plan->reorder_per_mille = (uint32_t)scaled(prng, 2, 200);
  plan->delay_max_ns = scaled(prng, MILLISECOND / 4, 10 * MILLISECOND);
  plan->reorder_max_ns = scaled(prng, 5 * MILLISECOND, 4 * SECOND);
  plan->disk_max_ns = scaled(prng, MILLISECOND / 10, 20 * MILLISECOND);
  plan->busy_per_mille = (uint32_t)scaled(prng, 2, 60);
  plan->readerror_per_mille = (uint32_t)scaled(prng, 2, 60);
  plan->rest_max_ns = scaled(prng, 50 * MILLISECOND, 5 * SECOND);
  plan->outage_max_ns = scaled(prng, 20 * MILLISECOND, 20 * SECOND);
  plan->skew_max_ms = (int64_t)scaled(prng, 10, 200000);
  plan->drift_max_ppm = (int64_t)scaled(prng, 100, 100000);
  plan->jump_max_ms = (int64_t)scaled(prng, 10, 10000000);
}

static void draw_props(struct plan *plan, struct prng *prng) {
  plan->buckets = some(prng, 1, PLAN_BUCKETS_MAX);
  for (uint32_t i = 0; i < PLAN_BUCKETS_MAX; i++) {
    struct bucket_props *props = &plan->props[i];
    struct bucket_props drawn = bucket_props_default();
    drawn.n = (uint8_t)some(prng, 1, 5);
    drawn.r = (uint8_t)some(prng, 1, drawn.n);
    drawn.w = (uint8_t)some(prng, 1, drawn.n);
    drawn.pr = (uint8_t)(prng_chance(prng, 300) ? some(prng, 0, drawn.n) : 0);
    drawn.pw = (uint8_t)(prng_chance(prng, 300) ? some(prng, 0, drawn.n) : 0);
    drawn.dw = (uint8_t)(prng_chance(prng, 500) ? some(prng, 0, drawn.w) : DW_ALL);
    drawn.sibling_max = (uint32_t)scaled(prng, 2, 64);
    *props = plan->on[FEATURE_props] ? drawn : bucket_props_default();
  }
  if (plan->on[FEATURE_lww]) {
    plan->props[0].resolve = RESOLVE_LWW;
  }
}

static void draw_clients(struct plan *plan, struct prng *prng) {
  plan->clients = some(prng, 1, 10);
  plan->keys = some(prng, 1, PLAN_KEYS_MAX);
  plan->think_max_ns = scaled(prng, 2 * MILLISECOND, 500 * MILLISECOND);
  plan->patience_ns = scaled(prng, 20 * MILLISECOND, 2 * SECOND);
  plan->blind_per_mille = (uint32_t)scaled(prng, 10, 900);
  plan->ignorant_per_mille = (uint32_t)scaled(prng, 5, 300);
  plan->delete_per_mille = (uint32_t)scaled(prng, 10, 500);
  plan->stale_per_mille = (uint32_t)scaled(prng, 10, 500);
  plan->chain_per_mille = (uint32_t)scaled(prng, 10, 900);
  plan->retry_per_mille = some(prng, 100, 1000);
  plan->hot_per_mille = some(prng, 300, 950);
  plan->quorums_per_mille = some(prng, 100, 1000);
  plan->large_per_mille = (uint32_t)scaled(prng, 10, 500);
}

bool plan_changes_members(const struct plan *plan) {
  return plan->on[FEATURE_add] || plan->on[FEATURE_remove] || plan->on[FEATURE_replace] || plan->on[FEATURE_reweigh] ||
         plan->on[FEATURE_deadremove];
}

/* From numbers of its own: what a seed draws otherwise stays. */
static void draw_changes(struct plan *plan) {
  struct prng prng;
  prng_init(&prng, plan->seed ^ UINT64_C(0x6c61796f757473));
  bool changes = prng_chance(&prng, 600);
  for (uint32_t i = FEATURE_add; i <= FEATURE_strict; i++) {
    plan->on[i] = prng_chance(&prng, feature_odds[i]) && (changes || i == FEATURE_strict);
  }
  plan->spares = some(&prng, 0, PLAN_SPARES_MAX);
  if (!changes) {
    plan->spares = 0;
  }
  for (uint32_t i = PLAN_NODES_MAX; i < RUN_NODES_MAX; i++) {
    plan->weights[i] = some(&prng, 1, 400);
  }
  plan->change_max_ns = scaled(&prng, 200 * MILLISECOND, 15 * SECOND);
  bool throttled = prng_chance(&prng, 300);
  uint64_t throttle = scaled(&prng, BACKGROUND_LEAST, BACKGROUND_BYTES_PER_S);
  if (plan->on[FEATURE_large] && throttle < LARGE_BYTES_PER_S) {
    throttle = LARGE_BYTES_PER_S;
  }
  plan->tunables.background.bytes_per_s = throttled ? throttle : plan->tunables.background.bytes_per_s;
  bool folds = prng_chance(&prng, 500);
  uint32_t fold = (uint32_t)scaled(&prng, 1, 16);
  plan->tunables.fold_records = folds ? fold : plan->tunables.fold_records;
  if (plan->on[FEATURE_calm]) {
    plan->on[FEATURE_deadremove] = false;
    for (uint32_t i = 0; i <= FEATURE_damage; i++) {
      plan->on[i] = false;
    }
  }
}

/* Where a node is to learn from the others what it has lost, and to lose something once more, there must be time. */
static void plan_give_time(struct plan *plan) {
  plan->duration_ns = plan->duration_ns < 25 * SECOND ? 25 * SECOND : plan->duration_ns;
  plan->outage_max_ns = plan->outage_max_ns < 4 * SECOND ? plan->outage_max_ns : 4 * SECOND;
}

void plan_settle(struct plan *plan) {
  plan->tunables.sync_round_ns = plan->on[FEATURE_sync] ? plan->tunables.sync_round_ns : 0;
  plan->tunables.hints = plan->tunables.hints || !plan->on[FEATURE_sync];
  if (plan->profile == PROFILE_HOSTILE) {
    return;
  }
  plan->on[FEATURE_damage] = plan->on[FEATURE_damage] && !plan_changes_members(plan);
  plan->on[FEATURE_empty] = plan->on[FEATURE_empty] && plan->nodes > 1;
  plan->on[FEATURE_oldcopy] = plan->on[FEATURE_oldcopy] && plan->nodes > 1;
  if (plan->on[FEATURE_empty] || plan->on[FEATURE_oldcopy]) {
    plan_give_time(plan);
  }
  plan->on[FEATURE_calm] =
      plan->on[FEATURE_calm] && !plan->on[FEATURE_damage] && !plan->on[FEATURE_empty] && !plan->on[FEATURE_oldcopy];
}

/* The same for what is lost on disks, and for finding it: in some runs only, since those are long. */
static void draw_losses(struct plan *plan) {
  struct prng prng;
  prng_init(&prng, plan->seed ^ UINT64_C(0x7363727562));
  plan->tunables.scrub_round_ns = scaled(&prng, 200 * MILLISECOND, 20 * SECOND);
  bool loses = prng_chance(&prng, 300) || plan->profile == PROFILE_HOSTILE;
  plan->on[FEATURE_empty] = plan->on[FEATURE_empty] && loses;
  plan->on[FEATURE_oldcopy] = plan->on[FEATURE_oldcopy] && loses;
  plan->on[FEATURE_load] = prng_chance(&prng, feature_odds[FEATURE_load]);
}

/* The same for the comparing of replicas. */
static void draw_sync(struct plan *plan) {
  struct prng prng;
  prng_init(&prng, plan->seed ^ UINT64_C(0x6d65726b6c65));
  plan->tree_bits = some(&prng, TREE_BITS_LEAST, TREE_BITS_MOST);
  bool throttled = prng_chance(&prng, 300);
  uint64_t throttle = scaled(&prng, BACKGROUND_LEAST, BACKGROUND_BYTES_PER_S);
  plan->tunables.background.bytes_per_s = throttled ? throttle : plan->tunables.background.bytes_per_s;
  plan->on[FEATURE_sync] = prng_chance(&prng, feature_odds[FEATURE_sync]);
  plan->tunables.sync_round_ns = scaled(&prng, 200 * MILLISECOND, 20 * SECOND);
  plan->tunables.hints = !prng_chance(&prng, 150);
}

/* And for what background work is granted. */
static void draw_background(struct plan *plan) {
  struct prng prng;
  prng_init(&prng, plan->seed ^ UINT64_C(0x61646d6974));
  plan->on[FEATURE_strained] = prng_chance(&prng, feature_odds[FEATURE_strained]);
  uint64_t target_ns = scaled(&prng, MILLISECOND, SECOND);
  plan->tunables.background.target_ns = plan->on[FEATURE_strained] ? 0 : target_ns;
}

void plan_draw(struct plan *plan, uint64_t seed, enum profile profile) {
  struct prng prng;
  memset(plan, 0, sizeof *plan);
  plan->seed = seed;
  plan->profile = profile;
  prng_init(&prng, seed ^ UINT64_C(0x67726d6d65));
  for (uint32_t i = 0; i < FEATURE_add; i++) {
    plan->on[i] = prng_chance(&prng, feature_odds[i]);
  }
  draw_shape(plan, &prng);
  draw_tunables(plan, &prng);
  draw_faults(plan, &prng);
  draw_props(plan, &prng);
  draw_clients(plan, &prng);
  draw_changes(plan);
  draw_sync(plan);
  draw_losses(plan);
  draw_background(plan);
}

void plan_torture(struct plan *plan) {
  struct prng prng;
  prng_init(&prng, plan->seed ^ UINT64_C(0x746f6d6273));
  plan->on[FEATURE_delete] = plan->on[FEATURE_sync] = true;
  plan->on[FEATURE_jump] = plan->on[FEATURE_drift] = false;
  bool calm = plan->on[FEATURE_calm];
  plan->on[FEATURE_crash] = !calm && prng_chance(&prng, 800);
  plan->on[FEATURE_weeks] = !calm && prng_chance(&prng, 400);
  plan->skew_max_ms = (int64_t)scaled(&prng, 1, 2000);
  plan->partitions = 1u << some(&prng, 0, 3);
  plan->keys = some(&prng, 1, 4);
  plan->clients = some(&prng, 1, 5);
  plan->delete_per_mille = some(&prng, 200, 700);
  plan->think_max_ns = scaled(&prng, 20 * MILLISECOND, SECOND);
  plan->outage_max_ns = scaled(&prng, 100 * MILLISECOND, 30 * SECOND);
  plan->duration_ns = between(&prng, 10 * SECOND, 40 * SECOND);
  plan->tunables.sync_round_ns = scaled(&prng, 50 * MILLISECOND, SECOND);
  plan->tunables.background.bytes_per_s = BACKGROUND_BYTES_PER_S;
  plan->tunables.heartbeat_ns = scaled(&prng, 50 * MILLISECOND, 250 * MILLISECOND);
  plan->tunables.request_timeout_ns = scaled(&prng, 300 * MILLISECOND, 2 * SECOND);
}

void plan_light(struct plan *plan) {
  memset(plan->on, 0, sizeof plan->on);
  plan->profile = PROFILE_RECOVERABLE;
  plan->nodes = 5;
  plan->spares = 0;
  plan->partitions = 64;
  plan->tunables = tunables_default();
  plan->clients = 2;
  plan->keys = PLAN_KEYS_MAX;
  plan->buckets = 1;
  plan->props[0] = bucket_props_default();
  plan->think_max_ns = SECOND;
  plan->delay_max_ns = MILLISECOND;
  plan->disk_max_ns = 2 * MILLISECOND;
}

void plan_print(const struct plan *plan) {
  printf("plan: %s, %" PRIu32 " nodes + %" PRIu32 ", %" PRIu32 " partitions, %" PRIu32 " keys in %" PRIu32
         " buckets, %" PRIu32 " clients, %" PRIu64 " s;",
         profile_name(plan->profile), plan->nodes, plan->spares, plan->partitions, plan->keys, plan->buckets,
         plan->clients, plan->duration_ns / SECOND);
  for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
    if (plan->on[i]) {
      printf(" %s", feature_names[i]);
    }
  }
  printf("\n");
  for (uint32_t i = 0; i < plan->buckets; i++) {
    const struct bucket_props *props = &plan->props[i];
    printf("bucket b%" PRIu32 ": n=%u r=%u w=%u pr=%u pw=%u dw=%u sibling_max=%" PRIu32 " %s\n", i, props->n, props->r,
           props->w, props->pr, props->pw, props->dw, props->sibling_max,
           props->resolve == RESOLVE_LWW ? "lww" : "siblings");
  }
}
