#include "admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "nemesis.h"
#include "process.h"

#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define TOKEN_FIRST (UINT64_C(1) << 62)
#define ORDERS_MAX 8u
#define CHANGES_MAX 3u
#define TRIES_MAX 6u
#define WATCH_NS (500 * MILLISECOND)

/* A command that is under way, or will be tried again. */
struct order {
  uint64_t token; /* 0: free */
  uint32_t at, life;
  uint32_t tries;
  bool waits; /* to be tried again */
  uint32_t count;
  struct change changes[CHANGES_MAX];
};

struct admin {
  struct run *run;
  struct prng prng;
  uint64_t stop_ns;
  bool stopped;
  uint64_t token;
  struct order orders[ORDERS_MAX];
  bool added[RUN_NODES_MAX];            /* a change names it as one that comes */
  bool removed[RUN_NODES_MAX];          /* or as one that goes */
  uint32_t removed_life[RUN_NODES_MAX]; /* its life then: see world.h */
  bool dead[RUN_NODES_MAX];             /* away until it has been removed, or for good */
  bool returns[RUN_NODES_MAX];          /* but that one comes back */
  bool stays[RUN_NODES_MAX];            /* is not stopped when it has nothing left */
  bool gone[RUN_NODES_MAX];             /* stopped for good */
  struct history history;               /* of all */
  struct ring ring;
};

static void later(struct admin *admin, uint64_t pause_ns, void (*call)(void *, uint64_t), uint64_t argument) {
  world_call(admin->run->world, admin->run->world->now_ns + pause_ns, call, admin, argument);
}

/* -- who is in --------------------------------------------------------------------------------- */

/* Adds what a node has on its disk, unless it is lost. One that was removed may have a record that would come into what
 * others have folded away: it will forget that, and does not count before. Nor does one whose emptied directory has
 * become another cluster's. */
static void survey_node(struct admin *admin, uint32_t node, struct history *history) {
  struct world *world = admin->run->world;
  struct bytes encoded = BYTES_NONE;
  enum err err = ERR_OK;
  uint32_t added = 0;
  bool lost = admin->gone[node] || (admin->dead[node] && !admin->returns[node]);
  if (!lost && disk_get(&world->nodes[node].disk, SPACE_META, BYTES_LITERAL(META_HISTORY), &encoded, &err)) {
    err = history_merge(history, encoded, &added);
    bool may_differ = history->snapshot.ring.records > 0 || admin->run->oracle.any_destroyed;
    ASSERT(err == ERR_OK || (err == ERR_REFUSED && may_differ));
  }
}

/* What all nodes know together that are not lost. */
static void survey(struct admin *admin) {
  uint32_t longest = 0;
  uint32_t most = 0;
  for (uint32_t i = 0; i < admin->run->world->node_count; i++) {
    history_init(&admin->history);
    survey_node(admin, i, &admin->history);
    const uint32_t folded = admin->history.snapshot.ring.records;
    longest = folded > most ? i : longest;
    most = folded > most ? folded : most;
  }
  history_init(&admin->history);
  survey_node(admin, longest, &admin->history);
  for (uint32_t i = 0; i < admin->run->world->node_count; i++) {
    survey_node(admin, i, &admin->history);
  }
  ring_fold(&admin->ring, &admin->history);
}

const struct ring *admin_ring(struct admin *admin) {
  survey(admin);
  return &admin->ring;
}

bool admin_has_member(struct admin *admin, uint32_t node) {
  return ring_find(&admin->ring, node + 1) >= 0;
}

/* Is it in a layout that it knows to be whole? One that has only just been added holds nothing that others would
 * need. */
static bool holds(const struct world *world, uint32_t node) {
  const struct shard *shard = world->nodes[node].shard;
  return shard_is_member(shard) && ring_find(shard_base_ring(shard), node + 1) >= 0;
}

static bool any_is_dead(const struct admin *admin) {
  bool any = false;
  for (uint32_t i = 0; i < admin->run->world->node_count; i++) {
    any = any || admin->dead[i];
  }
  return any;
}

/* Who stays, and is there to tell. */
static bool another_holds(struct admin *admin, uint32_t node) {
  const struct world *world = admin->run->world;
  bool another = false;
  for (uint32_t i = 0; i < world->node_count; i++) {
    another = another || (i != node && world->nodes[i].alive && admin_has_member(admin, i) && holds(world, i));
  }
  return another;
}

bool admin_all_know(struct admin *admin, uint32_t node) {
  static struct history history;
  struct world *world = admin->run->world;
  if (!plan_changes_members(&admin->run->plan)) {
    return true;
  }
  survey(admin);
  const uint64_t digest = history_digest(&admin->history);
  bool all = admin_has_member(admin, node) && another_holds(admin, node) && !any_is_dead(admin);
  for (uint32_t i = 0; i < world->node_count && all; i++) {
    history_init(&history);
    survey_node(admin, i, &history);
    all = history_length(&history) == 0 || history_digest(&history) == digest;
  }
  return all;
}

bool admin_may_run(const struct admin *admin, uint32_t node) {
  return !admin->gone[node] && !admin->dead[node];
}

bool admin_is_removed(const struct admin *admin, uint32_t node) {
  return admin->removed[node];
}

bool admin_has_been_down(const struct admin *admin, uint32_t node) {
  return admin->removed[node] && admin->run->world->nodes[node].life != admin->removed_life[node];
}

/* A node that an administrator can talk to: it runs and takes itself for a member. UINT32_MAX: none was met. */
static uint32_t any_member(struct admin *admin) {
  const struct world *world = admin->run->world;
  for (uint32_t tries = 0; tries < 8; tries++) {
    uint32_t node = (uint32_t)prng_below(&admin->prng, world->node_count);
    const struct node *at = &world->nodes[node];
    if (at->alive && !at->paused && shard_is_member(at->shard)) {
      return node;
    }
  }
  return UINT32_MAX;
}

static bool removes(const struct change *change) {
  return change->kind == CHANGE_REMOVE || change->kind == CHANGE_REPLACE;
}

static bool history_has(const struct history *history, const struct change *change) {
  const struct snapshot *snapshot = &history->snapshot;
  if (change->time < snapshot->time || (change->time == snapshot->time && change->issuer <= snapshot->issuer)) {
    return true; /* it is folded away */
  }
  for (uint32_t i = 0; i < history->count; i++) {
    if (history->changes[i].time == change->time && history->changes[i].issuer == change->issuer) {
      return true;
    }
  }
  return false;
}

/* Where what is lost is to be made good, nobody goes before it has been. */
static bool waits_for_losses(const struct admin *admin) {
  return admin->run->plan.profile == PROFILE_RECOVERABLE && nemesis_lost_some(admin->run->nemesis);
}

/* Two sides of a partition that each remove the other as dead are two clusters from then on: no administrator can want
 * that. So where nodes may be seen down, who removes knows of all removals before. */
static bool may_remove(struct admin *admin, uint32_t at, const struct order *own) {
  const struct history *known = shard_history(admin->run->world->nodes[at].shard);
  if (waits_for_losses(admin)) {
    return false;
  }
  if (admin->run->plan.on[FEATURE_calm]) {
    return true;
  }
  for (uint32_t i = 0; i < ORDERS_MAX; i++) {
    const struct order *order = &admin->orders[i];
    for (uint32_t j = 0; j < order->count && order->token != 0 && order != own; j++) {
      if (removes(&order->changes[j])) {
        return false;
      }
    }
  }
  survey(admin);
  const struct ring *folded = &admin->history.snapshot.ring;
  if (folded->records > history_length(known) || history_prefix_digest(known, folded->records) != folded->digest) {
    return false;
  }
  for (uint32_t i = 0; i < admin->history.count; i++) {
    if (removes(&admin->history.changes[i]) && !history_has(known, &admin->history.changes[i])) {
      return false;
    }
  }
  return true;
}

/* -- commands -------------------------------------------------------------------------------------- */

static const char *change_text(const struct change *change, char text[64]) {
  switch (change->kind) {
  case CHANGE_FOUND:
    (void)snprintf(text, 64, "found");
    break;
  case CHANGE_ADD:
    (void)snprintf(text, 64, "add node %" PRIu32 " of weight %" PRIu32, change->node, change->weight);
    break;
  case CHANGE_REMOVE:
    (void)snprintf(text, 64, "remove node %" PRIu32, change->node);
    break;
  case CHANGE_REWEIGH:
    (void)snprintf(text, 64, "reweigh node %" PRIu32 ": %" PRIu32, change->node, change->weight);
    break;
  case CHANGE_REPLACE:
    (void)snprintf(text, 64, "replace node %" PRIu32 " by node %" PRIu32, change->old, change->node);
    break;
  }
  return text;
}

static void give_up_order(struct admin *admin, struct order *order, const char *why) {
  story_tell(admin->run->story, STORY_ALL, "the administrator at node %" PRIu32 ": %s", order->at + 1, why);
  order->token = 0;
}

static void try_again(void *context, uint64_t index);

static void retry_later(struct admin *admin, struct order *order) {
  order->waits = true;
  order->tries += 1;
  if (order->tries >= TRIES_MAX || admin->stopped) {
    give_up_order(admin, order, "gives up");
    return;
  }
  later(admin, 100 * MILLISECOND + prng_below(&admin->prng, 2 * SECOND), try_again, (uint64_t)(order - admin->orders));
}

static void send_order(struct admin *admin, struct order *order) {
  struct world *world = admin->run->world;
  char texts[CHANGES_MAX][64] = {"", "", ""};
  order->waits = false;
  admin->token += 1;
  order->token = TOKEN_FIRST + admin->token;
  order->life = world->nodes[order->at].life;
  for (uint32_t i = 0; i < order->count; i++) {
    (void)change_text(&order->changes[i], texts[i]);
  }
  story_tell(admin->run->story, STORY_ALL, "the administrator at node %" PRIu32 ": %s%s%s%s%s", order->at + 1, texts[0],
             order->count > 1 ? ", " : "", texts[1], order->count > 2 ? ", " : "", texts[2]);
  struct command command = {.kind = COMMAND_CHANGE,
                            .token = order->token,
                            .changes = order->changes,
                            .change_count = order->count,
                            .history_digest = history_digest(shard_history(world->nodes[order->at].shard))};
  if (!world_command(world, order->at, &command)) {
    retry_later(admin, order);
  }
}

static void try_again(void *context, uint64_t index) {
  struct admin *admin = context;
  struct order *order = &admin->orders[index];
  uint32_t at = any_member(admin);
  if (order->token == 0 || !order->waits) {
    return;
  }
  bool removing = false;
  for (uint32_t i = 0; i < order->count; i++) {
    removing = removing || removes(&order->changes[i]);
  }
  if (at == UINT32_MAX || admin->stopped || (removing && !may_remove(admin, at, order))) {
    retry_later(admin, order);
    return;
  }
  order->at = at;
  send_order(admin, order);
}

bool admin_replied(struct admin *admin, const struct reply *reply) {
  if (reply->token < TOKEN_FIRST) {
    return false;
  }
  for (uint32_t i = 0; i < ORDERS_MAX; i++) {
    struct order *order = &admin->orders[i];
    if (order->token != reply->token) {
      continue;
    }
    story_tell(admin->run->story, STORY_ALL, "node %" PRIu32 " answers the administrator: %s %s", order->at + 1,
               err_code(reply->err), reply->why != NULL ? reply->why : "");
    admin->run->changes += reply->err == ERR_OK ? order->count : 0;
    if (reply->err == ERR_OK || reply->err == ERR_BADARG || reply->err == ERR_FULL) {
      order->token = 0;
    } else {
      retry_later(admin, order);
    }
  }
  return true;
}

/* A free place; one whose node has died meanwhile is free too: nobody will answer. */
static struct order *order_new(struct admin *admin) {
  struct order *free_order = NULL;
  for (uint32_t i = 0; i < ORDERS_MAX; i++) {
    struct order *order = &admin->orders[i];
    bool orphan = order->token != 0 && !order->waits && admin->run->world->nodes[order->at].life != order->life;
    if (order->token == 0 || orphan) {
      *order = (struct order){.token = 0};
      free_order = order;
    }
  }
  return free_order;
}

/* -- what to change -------------------------------------------------------------------------------------- */

static uint32_t some_spare(struct admin *admin) {
  const struct world *world = admin->run->world;
  uint32_t first = admin->run->plan.nodes;
  uint32_t from = (uint32_t)prng_below(&admin->prng, PLAN_SPARES_MAX);
  for (uint32_t i = 0; i < PLAN_SPARES_MAX; i++) {
    uint32_t node = first + (from + i) % PLAN_SPARES_MAX;
    bool there = node < world->node_count && (world->nodes[node].alive || !admin->run->plan.on[FEATURE_calm]);
    if (there && !admin->added[node]) {
      return node;
    }
  }
  return UINT32_MAX;
}

/* A member by `ring` that nobody has removed yet. */
static uint32_t some_member(struct admin *admin, const struct ring *ring) {
  for (uint32_t tries = 0; tries < 4 && ring->member_count > 0; tries++) {
    uint32_t node = ring->members[prng_below(&admin->prng, ring->member_count)].node - 1;
    if (!admin->removed[node] && !admin->dead[node]) {
      return node;
    }
  }
  return UINT32_MAX;
}

static uint32_t left_after(const struct ring *ring, const struct order *order) {
  uint32_t left = ring->member_count;
  for (uint32_t i = 0; i < order->count; i++) {
    left += order->changes[i].kind == CHANGE_ADD ? 1 : 0;
    left -= order->changes[i].kind == CHANGE_REMOVE ? 1 : 0;
  }
  return left;
}

static void order_add(struct admin *admin, struct order *order, const struct change *change, uint32_t node,
                      uint32_t old) {
  order->changes[order->count] = *change;
  order->count += 1;
  if (node != UINT32_MAX) {
    admin->added[node] = true;
  }
  if (old != UINT32_MAX) {
    admin->removed[old] = true;
    admin->removed_life[old] = admin->run->world->nodes[old].life;
  }
}

static void choose_add(struct admin *admin, struct order *order) {
  uint32_t node = some_spare(admin);
  if (node != UINT32_MAX) {
    struct change change = admin->run->world->nodes[node].config.self;
    change.kind = CHANGE_ADD;
    change.partition_count = 0;
    order_add(admin, order, &change, node, UINT32_MAX);
  }
}

static void choose_remove(struct admin *admin, const struct ring *ring, uint32_t old, struct order *order) {
  if (old != UINT32_MAX && left_after(ring, order) > 1) {
    struct change change = {.kind = CHANGE_REMOVE, .node = old + 1};
    order_add(admin, order, &change, UINT32_MAX, old);
  }
}

static void choose_replace(struct admin *admin, uint32_t old, struct order *order) {
  uint32_t node = some_spare(admin);
  if (node != UINT32_MAX && old != UINT32_MAX) {
    struct change change = admin->run->world->nodes[node].config.self;
    change.kind = CHANGE_REPLACE;
    change.partition_count = 0;
    change.old = old + 1;
    order_add(admin, order, &change, node, old);
  }
}

static void choose_reweigh(struct admin *admin, const struct ring *ring, struct order *order) {
  uint32_t node = some_member(admin, ring);
  if (node != UINT32_MAX) {
    struct change change = {
        .kind = CHANGE_REWEIGH, .node = node + 1, .weight = 1 + (uint32_t)prng_below(&admin->prng, 400)};
    order_add(admin, order, &change, UINT32_MAX, UINT32_MAX);
  }
}

/* Has one of the dead not been removed yet? That comes first. */
static uint32_t dead_member(struct admin *admin, const struct ring *ring) {
  for (uint32_t i = 0; i < admin->run->world->node_count; i++) {
    if (admin->dead[i] && ring_find(ring, i + 1) >= 0) {
      return i;
    }
  }
  return UINT32_MAX;
}

static void choose(struct admin *admin, const struct ring *ring, enum feature feature, struct order *order) {
  const struct plan *plan = &admin->run->plan;
  if (!plan->on[feature]) {
    return;
  }
  switch ((int)feature) {
  case FEATURE_add:
    choose_add(admin, order);
    break;
  case FEATURE_remove:
    choose_remove(admin, ring, some_member(admin, ring), order);
    break;
  case FEATURE_replace:
    choose_replace(admin, some_member(admin, ring), order);
    break;
  case FEATURE_reweigh:
    choose_reweigh(admin, ring, order);
    break;
  default:
    ASSERT(false && "no change of membership");
  }
}

static void command_once(struct admin *admin) {
  static const enum feature kinds[] = {FEATURE_add, FEATURE_remove, FEATURE_replace, FEATURE_reweigh};
  static struct ring ring;
  uint32_t at = any_member(admin);
  struct order *order = order_new(admin);
  if (at == UINT32_MAX || order == NULL) {
    return;
  }
  order->at = at;
  ring_fold(&ring, shard_history(admin->run->world->nodes[at].shard));
  bool removing = may_remove(admin, at, NULL);
  uint32_t dead = removing ? dead_member(admin, &ring) : UINT32_MAX;
  uint32_t wanted = prng_chance(&admin->prng, 300) ? CHANGES_MAX : 1;
  if (dead != UINT32_MAX) {
    admin->removed[dead] = false;
    if (prng_chance(&admin->prng, 500)) {
      choose_replace(admin, dead, order);
    }
    if (order->count == 0) {
      choose_remove(admin, &ring, dead, order);
    }
  }
  for (uint32_t i = order->count; i < wanted; i++) {
    enum feature kind = kinds[prng_below(&admin->prng, sizeof kinds / sizeof kinds[0])];
    if (removing || kind == FEATURE_add || kind == FEATURE_reweigh) {
      choose(admin, &ring, kind, order);
    }
  }
  if (order->count > 0) {
    send_order(admin, order);
  }
}

/* -- the dead ---------------------------------------------------------------------------------------------- */

static void come_back(void *context, uint64_t index) {
  struct admin *admin = context;
  uint32_t node = (uint32_t)index;
  if (admin->dead[node] && admin->returns[node] && !admin->stopped) {
    admin->dead[node] = false;
    story_tell(admin->run->story, STORY_ALL, "node %" PRIu32 ", which was taken for dead, comes back", node + 1);
    process_start(admin->run->world, node);
  }
}

/* A member dies, and not so many at one time that nobody is left who holds what there is. */
static void kill_one(struct admin *admin) {
  struct world *world = admin->run->world;
  uint32_t node = some_member(admin, admin_ring(admin));
  uint32_t left = 0;
  for (uint32_t i = 0; i < admin->ring.member_count; i++) {
    uint32_t member = admin->ring.members[i].node - 1;
    bool stays = member != node && !admin->dead[member] && !admin->removed[member] && world->nodes[member].alive;
    left += stays && holds(world, member) ? 1 : 0;
  }
  if (node == UINT32_MAX || left == 0 || waits_for_losses(admin)) {
    return;
  }
  admin->returns[node] = prng_chance(&admin->prng, 600);
  story_tell(admin->run->story, STORY_ALL, "node %" PRIu32 " dies%s", node + 1,
             admin->returns[node] ? ", it is thought" : "");
  if (world->nodes[node].alive) {
    process_crash(world, node);
  }
  admin->dead[node] = true;
  if (!admin->returns[node]) {
    oracle_node_gone(&admin->run->oracle, node);
  } else {
    later(admin, prng_below(&admin->prng, 4 * admin->run->plan.change_max_ns), come_back, node);
  }
}

/* -- the removed --------------------------------------------------------------------------------------------- */

static bool node_lists(const struct world *world, uint32_t node, uint32_t other) {
  return ring_find(shard_ring(world->nodes[node].shard), other + 1) >= 0 ||
         ring_find(shard_base_ring(world->nodes[node].shard), other + 1) >= 0;
}

/* It knows that it is out, has nothing left, and nobody counts on it any more; NULL, or why not. */
static const char *why_not_drained(struct admin *admin, uint32_t node) {
  static struct layout_view view;
  const struct world *world = admin->run->world;
  const struct shard *shard = world->nodes[node].shard;
  const struct heartbeat *health = shard_health(shard);
  shard_layout(shard, &view);
  if (node_lists(world, node, node)) {
    return "was removed, and does not know it";
  }
  if (view.moving || view.behind) {
    return "was removed, and has not come to the last layout";
  }
  if (health->strays != 0) {
    return "was removed, and has strays";
  }
  if (health->hints != 0 || shard_stats(shard)->hints != 0) {
    return "was removed, and has hints";
  }
  for (uint32_t i = 0; i < world->node_count; i++) {
    if (i != node && world->nodes[i].alive && admin_has_member(admin, i) && node_lists(world, i, node)) {
      return "was removed, and others still live by a layout with it";
    }
  }
  return NULL;
}

static void stop_drained(struct admin *admin) {
  struct world *world = admin->run->world;
  survey(admin);
  for (uint32_t i = 0; i < world->node_count; i++) {
    if (!world->nodes[i].alive || world->nodes[i].paused || admin->stays[i] || !admin->removed[i] ||
        admin_has_member(admin, i) || why_not_drained(admin, i) != NULL) {
      continue;
    }
    if (prng_chance(&admin->prng, 200)) {
      admin->stays[i] = true;
      continue;
    }
    story_tell(admin->run->story, STORY_ALL, "node %" PRIu32 " has nothing left, and is stopped", i + 1);
    move_stopped(admin->run, i);
    process_crash(world, i);
    admin->gone[i] = true;
  }
}

static void watch(void *context, uint64_t ignored) {
  struct admin *admin = context;
  (void)ignored;
  if (!admin->stopped) {
    stop_drained(admin);
    later(admin, WATCH_NS, watch, 0);
  }
}

/* -- life ------------------------------------------------------------------------------------------------------ */

static void act(void *context, uint64_t ignored) {
  struct admin *admin = context;
  const struct plan *plan = &admin->run->plan;
  (void)ignored;
  if (admin->run->world->now_ns >= admin->stop_ns) {
    return;
  }
  if (plan->on[FEATURE_deadremove] && prng_chance(&admin->prng, 250)) {
    kill_one(admin);
  }
  command_once(admin);
  if (prng_chance(&admin->prng, 250)) { /* another administrator, elsewhere, at the same time */
    command_once(admin);
  }
  later(admin, prng_below(&admin->prng, plan->change_max_ns), act, 0);
}

static void start_spare(void *context, uint64_t node) {
  struct admin *admin = context;
  if (!admin->run->world->nodes[node].alive && !admin->stopped && !admin->dead[node]) {
    process_start(admin->run->world, (uint32_t)node);
  }
}

struct admin *admin_new(struct run *run) {
  struct admin *admin = calloc(1, sizeof *admin);
  ASSERT(admin != NULL);
  admin->run = run;
  prng_init(&admin->prng, run->plan.seed * 37 + 11);
  return admin;
}

void admin_free(struct admin *admin) {
  free(admin);
}

void admin_start(struct admin *admin, uint64_t stop_ns) {
  const struct plan *plan = &admin->run->plan;
  const struct world *world = admin->run->world;
  admin->stop_ns = stop_ns;
  if (!plan_changes_members(plan)) {
    return;
  }
  for (uint32_t i = plan->nodes; i < world->node_count; i++) {
    later(admin, prng_below(&admin->prng, plan->change_max_ns), start_spare, i);
  }
  later(admin, prng_below(&admin->prng, plan->change_max_ns), act, 0);
  later(admin, WATCH_NS, watch, 0);
}

void admin_stop(struct admin *admin) {
  const struct world *world = admin->run->world;
  bool found = true;
  while (found) { /* who comes back may know of changes that nobody else knows of */
    found = false;
    survey(admin);
    for (uint32_t i = 0; i < world->node_count; i++) {
      if (admin->gone[i] && admin_has_member(admin, i)) { /* it asked to join, and was heard when it had been stopped */
        admin->gone[i] = false;
        found = true;
      }
      if (admin->dead[i] && (admin->returns[i] || admin_has_member(admin, i))) {
        admin->dead[i] = false;
        oracle_node_back(&admin->run->oracle, i);
        found = true;
      }
    }
  }
  for (uint32_t i = 0; i < world->node_count; i++) {
    admin->gone[i] = admin->gone[i] || admin->dead[i];
  }
  admin->stopped = true;
}

/* -- at rest --------------------------------------------------------------------------------------------------- */

static bool node_at_rest(struct admin *admin, uint32_t node, const char **why) {
  static struct layout_view view;
  const struct shard *shard = admin->run->world->nodes[node].shard;
  const struct heartbeat *health = shard_health(shard);
  bool member = admin_has_member(admin, node);
  bool knows = history_length(shard_history(shard)) > 0;
  shard_layout(shard, &view);
  *why = NULL;
  if (!member && !knows) {
    return true; /* a spare that nobody has added */
  }
  if (!member) {
    *why = why_not_drained(admin, node);
    return *why == NULL;
  }
  if (history_digest(shard_history(shard)) != admin->ring.digest) {
    *why = "does not know the whole history";
  } else if (!shard_is_member(shard)) {
    *why = "does not know that it is a member";
  } else if (shard_base_ring(shard)->digest != admin->ring.digest || view.moving || view.behind) {
    *why = "has not come to the last layout";
  } else if (health->strays != 0) {
    *why = "has strays";
  } else if (health->hints != 0 || shard_stats(shard)->hints != 0) {
    *why = "has hints";
  }
  return *why == NULL;
}

bool admin_at_rest(struct admin *admin, char *text, size_t size) {
  const struct world *world = admin->run->world;
  const char *why = NULL;
  stop_drained(admin);
  survey(admin);
  for (uint32_t i = 0; i < world->node_count; i++) {
    if (world->nodes[i].alive && !node_at_rest(admin, i, &why)) {
      (void)snprintf(text, size, "node %" PRIu32 " %s", i + 1, why);
      return false;
    }
  }
  return true;
}
