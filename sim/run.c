#include "run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "base/assert.h"
#include "base/hlc.h"
#include "client.h"
#include "layouts.h"
#include "nemesis.h"
#include "base/plant.h"
#include "process.h"

#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define FORMING_MAX_NS (120 * SECOND)
#define DRAIN_MAX_NS (180 * SECOND)
#define REST_MAX_NS (600 * SECOND)  /* within which all changes of membership come to an end after healing */
#define SYNC_MAX_NS (300 * SECOND)  /* and replicas have compared all that they have */
#define CLEAN_MAX_NS (120 * SECOND) /* and what was deleted has been forgotten, with so many rounds of comparing: */
#define CLEAN_ROUNDS 12u
#define CLEAN_LATER_MS (UINT64_C(28) * 24 * 3600 * 1000)
#define SETTLE_NS (5 * SECOND)          /* more than promises and the detection of failures take */
#define WAITSYNC_TOKEN (UINT64_MAX - 1) /* no client's */
#define ROUNDS 2u
#define ROUNDS_MAX 40u /* where clocks were truncated, replicas may need many exchanges */

static struct run *current;

struct run *run_current(void) {
  return current;
}

bool result_failed(const struct result *result) {
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    if (result->checks.failed[i] > 0) {
      return true;
    }
  }
  return false;
}

/* -- looking on ------------------------------------------------------------------------ */

static void saw_reply(void *context, uint32_t node, const struct reply *reply) {
  struct run *run = context;
  if (reply->token == WAITSYNC_TOKEN) {
    run->waited = true;
    run->wait_err = reply->err;
    return;
  }
  if (run->admin != NULL && admin_replied(run->admin, reply)) {
    return;
  }
  if (run->clients != NULL) {
    clients_replied(run->clients, node, reply);
  }
}

/* What a node tells of a partition that it has, to one that is to have it. */
static void tell_pulled(struct run *run, uint32_t from, uint32_t to, const struct message *message) {
  struct reader r = reader_make(message->object);
  while (run->story != NULL && reader_left(&r) > 0 && !r.failed) {
    struct siblings siblings = {.count = 0};
    uint32_t owner = 0;
    struct bytes store_key = read_bytes(&r);
    uint64_t digest = read_u64(&r);
    struct bytes object = read_bytes(&r);
    int key = r.failed ? -1 : oracle_find_key(&run->oracle, SPACE_OBJECTS, store_key, &owner);
    if (key >= 0 && object.size > 0) {
      oracle_parse(&run->oracle, (uint32_t)key, object, &siblings);
    }
    if (key >= 0) {
      story_tell(run->story, (uint32_t)key, "node %" PRIu32 " lists %s to node %" PRIu32 " (%04x) %s", from + 1,
                 run->oracle.keys[key].text, to + 1, (unsigned)(digest & 0xffff),
                 object.size > 0 ? siblings_text(&siblings) : "");
    }
    siblings_free(&siblings);
  }
}

static void saw_sent(void *context, uint32_t from, uint32_t to, const struct message *message) {
  struct run *run = context;
  uint32_t owner = 0;
  int key = -1;
  bool carries = message->type == MESSAGE_WRITE && run->plan.on[FEATURE_damage];
  bool told = run->story != NULL && message->type >= MESSAGE_WRITE;
  if ((carries || told) && message->key.size > POSITION_BYTES) {
    key = oracle_find_key(&run->oracle, SPACE_OBJECTS, message->key, &owner);
  }
  if (key >= 0 && carries) {
    whole_saw(run, from, (uint32_t)key, "sends", message->object);
  }
  key = told ? key : -1;
  if (key >= 0 && (message->type == MESSAGE_WRITE || message->type == MESSAGE_FORWARD)) {
    struct siblings siblings = {.count = 0};
    if (message->type == MESSAGE_WRITE) {
      oracle_parse(&run->oracle, (uint32_t)key, message->object, &siblings);
    }
    story_tell(run->story, (uint32_t)key, "node %" PRIu32 " sends %s %s to node %" PRIu32 "%s", from + 1,
               message_type_name(message->type), siblings_text(&siblings), to + 1,
               message->owner != 0 ? " as a stand-in" : "");
    siblings_free(&siblings);
  }
  if (key >= 0 && message->type == MESSAGE_OFFER) {
    story_tell(run->story, (uint32_t)key, "node %" PRIu32 " offers what it has to node %" PRIu32 " (%04x)", from + 1,
               to + 1, (unsigned)(message->digest & 0xffff));
  }
  if (message->type == MESSAGE_PULLED && message->err == ERR_OK) {
    tell_pulled(run, from, to, message);
  }
  hints_sent(run, from, to, message);
  move_sent(run, from, to, message);
}

static void saw_received(void *context, uint32_t node, uint32_t from, const struct message *message) {
  hints_received(context, node, from, message);
}

static void saw_read(void *context, uint32_t node, enum space space, struct bytes key, struct bytes value) {
  struct run *run = context;
  oracle_read(&run->oracle, node, space, key, value);
}

static void saw_commit(void *context, uint32_t node, enum space space, struct bytes key, const struct bytes *value) {
  struct run *run = context;
  oracle_committed(&run->oracle, node, space, key, value);
}

static void saw_commit_fail(void *context, uint32_t node, const struct disk_change *change) {
  struct run *run = context;
  oracle_commit_failed(&run->oracle, node, change);
}

static void saw_durable(void *context, uint32_t node, const struct disk_change *change) {
  struct run *run = context;
  oracle_durable(&run->oracle, node, change);
}

static void saw_step(void *context, uint32_t node) {
  struct run *run = context;
  layouts_stepped(run->layouts, node);
}

static void saw_news(void *context, uint32_t node, enum node_news news) {
  static const char *const words[] = {"starts", "crashes", NULL, "is paused", "goes on"};
  struct run *run = context;
  bool losses = run->oracle.loose || run->oracle.any_destroyed || run->plan.profile == PROFILE_HOSTILE;
  if (words[news] != NULL) {
    story_tell(run->story, STORY_ALL, "node %" PRIu32 " %s", node + 1, words[news]);
  }
  if (news == NEWS_CRASHING) {
    tree_node_judge(run, node);
    whole_past_judge(run, node);
  }
  if (news == NEWS_CRASHING && losses) {
    oracle_loss_begin(&run->oracle, node);
  }
  if (news == NEWS_CRASHED) {
    if (losses) {
      oracle_loss_end(&run->oracle, node, false);
    }
    oracle_forget_views(&run->oracle, node);
  }
}

/* -- forming the cluster ------------------------------------------------------------------ */

/* Gives every node the history of a cluster that has been formed before. */
static void write_history(struct world *world, uint32_t nodes) {
  static struct history history;
  history_init(&history);
  for (uint32_t i = 0; i < nodes; i++) {
    struct change change = world->nodes[i].config.self;
    change.kind = i == 0 ? CHANGE_FOUND : CHANGE_ADD;
    change.time = hlc_make(world_wall_ms(world) - 100000 + i, 0);
    change.issuer = 1;
    enum err err = history_add(&history, &change);
    ASSERT(err == ERR_OK);
  }
  size_t room = HISTORY_ENCODED_MAX_BYTES(history.count);
  uint8_t *bytes = malloc(room);
  ASSERT(bytes != NULL);
  struct writer w = writer_make(bytes, room);
  history_encode(&history, &w);
  ASSERT(!w.failed);
  struct bytes encoded = writer_bytes(&w);
  for (uint32_t i = 0; i < nodes; i++) {
    disk_begin(&world->nodes[i].disk, SPACE_META, BYTES_LITERAL(META_HISTORY), &encoded, true);
    disk_complete(&world->nodes[i].disk, ERR_OK);
    world->nodes[i].config.found = false;
  }
  free(bytes);
}

static bool formed(const struct world *world, uint32_t nodes) {
  uint64_t digest = history_digest(shard_history(world->nodes[0].shard));
  for (uint32_t i = 0; i < nodes; i++) {
    const struct shard *shard = world->nodes[i].shard;
    if (!shard_is_member(shard) || history_digest(shard_history(shard)) != digest ||
        shard_ring(shard)->member_count != nodes || shard_base_ring(shard)->digest != digest) {
      return false;
    }
  }
  return true;
}

static bool form(struct run *run) {
  const struct plan *plan = &run->plan;
  struct world *world = run->world;
  for (uint32_t i = 0; i < plan->nodes + plan->spares; i++) {
    uint32_t index = world_add_node(world, plan->partitions, &plan->tunables);
    /* The weights of spares are drawn apart: nodes have theirs whatever --nodes says. */
    uint32_t drawn = i < plan->nodes ? i : PLAN_NODES_MAX + i - plan->nodes;
    struct change *self = &world->nodes[index].config.self;
    self->weight = plan->on[FEATURE_weights] ? plan->weights[drawn] : 100;
    if (plan->on[FEATURE_zones]) {
      (void)snprintf(self->zone, sizeof self->zone, "zone-%" PRIu32, i % plan->zones);
    }
  }
  if (!plan->on[FEATURE_joins]) {
    write_history(world, plan->nodes);
  }
  for (uint32_t i = 0; i < plan->nodes; i++) {
    process_start(world, i);
    world_run(world, world->now_ns + (plan->on[FEATURE_joins] ? SECOND : MILLISECOND));
  }
  for (uint64_t waited = 0; waited < FORMING_MAX_NS && !formed(world, plan->nodes); waited += SECOND) {
    world_run(world, world->now_ns + SECOND);
  }
  world->nodes[0].config.found = false;
  world_run(world, world->now_ns + SETTLE_NS + SECOND);
  return formed(world, plan->nodes);
}

static void set_buckets(struct run *run) {
  const struct plan *plan = &run->plan;
  struct bucket_props defaults = bucket_props_default();
  for (uint32_t i = 0; i < plan->buckets; i++) {
    char name[16];
    int size = snprintf(name, sizeof name, "b%" PRIu32, i);
    struct command command = {
        .kind = COMMAND_BUCKET_SET, .key = {(const uint8_t *)name, (size_t)size}, .props = plan->props[i]};
    if (plan->props[i].resolve != defaults.resolve || plan->on[FEATURE_props]) {
      bool sent = world_command(run->world, 0, &command);
      ASSERT(sent);
    }
  }
  world_run(run->world, run->world->now_ns + 2 * SECOND);
}

/* -- after healing ---------------------------------------------------------------------------- */

static bool hints_left(const struct world *world) {
  for (uint32_t i = 0; i < world->node_count; i++) {
    if (!world->nodes[i].alive) {
      continue;
    }
    if (world->nodes[i].disk.visible[SPACE_HINTS].count > 0 || shard_stats(world->nodes[i].shard)->hints > 0) {
      return true;
    }
  }
  return false;
}

static uint64_t probe_patience(const struct run *run) {
  return run->plan.tunables.request_timeout_ns + SECOND;
}

static uint8_t all_of(const struct run *run, uint32_t key) {
  return (uint8_t)run->oracle.keys[key].preference.replica_count;
}

static bool serves(const struct run *run, uint32_t node) {
  return run->world->nodes[node].alive && admin_has_member(run->admin, node);
}

/* The node, or the next one that is a member. */
static uint32_t member_from(const struct run *run, uint32_t node) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    uint32_t at = (node + i) % run->world->node_count;
    if (serves(run, at)) {
      return at;
    }
  }
  ASSERT(false && "nobody is a member");
  return 0;
}

/* Reads every key through every member. `final`: what was seen of each in this round. */
static void read_all(struct run *run, bool judge_live, struct siblings final[PLAN_KEYS_MAX]) {
  struct probe probe = {.answered = false};
  for (uint32_t key = 0; key < run->oracle.key_count; key++) {
    final[key].count = 0;
    for (uint32_t node = 0; node < run->world->node_count; node++) {
      uint8_t r = all_of(run, key);
      if (!serves(run, node)) {
        continue;
      }
      clients_probe_get(run->clients, node, key, r, probe_patience(run), &probe);
      if (judge_live) {
        live_probed(run, node, key, "a get with R=N", &probe);
      }
      while (probe.err != ERR_OK && r > 1) {
        r -= 1;
        clients_probe_get(run->clients, node, key, r, probe_patience(run), &probe);
      }
      for (uint32_t i = 0; i < probe.siblings.count && probe.err == ERR_OK; i++) {
        if (!siblings_have(&final[key], probe.siblings.numbers[i])) {
          siblings_add(&final[key], probe.siblings.numbers[i]);
        }
      }
    }
  }
  siblings_free(&probe.siblings);
  world_run(run->world, run->world->now_ns + run->plan.tunables.repair_window_ns + SECOND);
}

static bool replicas_equal(const struct run *run) {
  for (uint32_t key = 0; key < run->oracle.key_count; key++) {
    const struct preference *preference = &run->oracle.keys[key].preference;
    struct bytes first = BYTES_NONE;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < preference->replica_count; i++) {
      struct bytes value = BYTES_NONE;
      const struct disk *disk = &run->world->nodes[preference->nodes[i] - 1].disk;
      (void)disk_get(disk, SPACE_OBJECTS, run->oracle.keys[key].store_key, &value, &err);
      first = i == 0 ? value : first;
      if (!bytes_equal(first, value)) {
        return false;
      }
    }
  }
  return true;
}

static void drain_hints(struct run *run) {
  for (uint64_t waited = 0; waited < DRAIN_MAX_NS && hints_left(run->world); waited += SECOND) {
    world_run(run->world, run->world->now_ns + SECOND);
  }
}

/* Writes every key once more. A stand-in may take such a put too (a node whose clock is far ahead refuses to coordinate
 * for others), so what was written is looked for when hints have been delivered. */
static void write_all(struct run *run) {
  struct probe probe = {.answered = false};
  uint32_t numbers[PLAN_KEYS_MAX];
  const uint32_t key_count = run->oracle.key_count;
  for (uint32_t key = 0; key < key_count; key++) {
    uint32_t node = member_from(run, key % run->world->node_count);
    clients_probe_get(run->clients, node, key, all_of(run, key), probe_patience(run), &probe);
    numbers[key] = clients_probe_put(run->clients, node, key, all_of(run, key), probe_patience(run), &probe);
    live_probed(run, node, key, "a put with W=N", &probe);
  }
  world_run(run->world, run->world->now_ns + run->plan.tunables.hedge_ns + SECOND);
  drain_hints(run);
  for (uint32_t key = 0; key < key_count; key++) {
    uint32_t node = member_from(run, (key + 1) % run->world->node_count);
    clients_probe_get(run->clients, node, key, all_of(run, key), probe_patience(run), &probe);
    if (probe.err == ERR_OK && run->oracle.versions[numbers[key]].fate == FATE_ACKED &&
        !oracle_stands(&run->oracle, numbers[key], &probe.siblings)) {
      check_fail(run, CHECK_acked, key, "put %" PRIu32 ", made after healing, was acknowledged and is lost",
                 numbers[key]);
    }
  }
  siblings_free(&probe.siblings);
}

/* Has every node got back what it had lost? */
static bool all_whole(const struct run *run, char *why, size_t room) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    bool sure = true;
    if (run->world->nodes[i].alive && shard_loss(run->world->nodes[i].shard, &sure) != LOSS_NONE) {
      (void)snprintf(why, room, "node %" PRIu32 " has not got back what it had lost", i + 1);
      return false;
    }
  }
  return true;
}

/* Changes of membership come to an end, hints and strays are handed over. */
static bool come_to_rest(struct run *run, bool judged) {
  char why[CHECK_TEXT_BYTES] = "";
  bool rest = admin_at_rest(run->admin, why, sizeof why) && all_whole(run, why, sizeof why);
  for (uint64_t waited = 0; waited < REST_MAX_NS && !rest; waited += SECOND) {
    world_run(run->world, run->world->now_ns + SECOND);
    rest = admin_at_rest(run->admin, why, sizeof why) && all_whole(run, why, sizeof why);
  }
  run->checks.looked[CHECK_live] += 1;
  if (!rest && judged) {
    check_fail(run, CHECK_live, CHECK_NO_KEY, "%" PRIu64 " s after healing: %s", REST_MAX_NS / SECOND, why);
  }
  return rest;
}

/* What was deleted is forgotten when everybody has it and every clock is beyond it: those that are behind catch up with
 * those that have been ahead. */
static void clean_all(struct run *run) {
  uint64_t most_ns = CLEAN_MAX_NS + CLEAN_ROUNDS * run->plan.tunables.sync_round_ns;
  drain_hints(run);
  run->world->extra_ms += CLEAN_LATER_MS;
  for (uint64_t waited = 0; waited < most_ns && !clean_is_reached(run); waited += SECOND) {
    world_run(run->world, run->world->now_ns + SECOND);
  }
  clean_judge(run);
}

/* Replicas find and mend what differs by themselves. */
static void compare_all(struct run *run) {
  struct command command = {.kind = COMMAND_WAITSYNC, .token = WAITSYNC_TOKEN, .timeout_ns = SYNC_MAX_NS};
  drain_hints(run);
  bool sent = world_command(run->world, member_from(run, 0), &command);
  ASSERT(sent);
  for (uint64_t waited = 0; waited < SYNC_MAX_NS + SECOND && !run->waited; waited += SECOND) {
    world_run(run->world, run->world->now_ns + SECOND);
  }
  run->checks.looked[CHECK_live] += 1;
  if (!run->waited || run->wait_err != ERR_OK) {
    check_fail(run, CHECK_live, CHECK_NO_KEY, "%" PRIu64 " s after healing replicas still differ, as they say",
               SYNC_MAX_NS / SECOND);
  }
  for (uint32_t key = 0; key < run->oracle.key_count; key++) {
    converge_judge(run, key);
  }
}

static void judge(struct run *run) {
  struct siblings final[PLAN_KEYS_MAX];
  bool recoverable = run->plan.profile == PROFILE_RECOVERABLE;
  memset(final, 0, sizeof final);
  bool rest = come_to_rest(run, recoverable);
  const struct ring *ring = admin_ring(run->admin);
  if (ring->partition_count > 0) { /* else all members have lost what they knew: there is no cluster any more */
    oracle_place(&run->oracle, ring);
  }
  if (recoverable && run->plan.on[FEATURE_sync]) {
    clean_all(run);
    compare_all(run);
  }
  for (uint32_t round = 0; round < ROUNDS_MAX && (round < ROUNDS || (recoverable && !replicas_equal(run))); round++) {
    bool judge_live = recoverable && round == 0;
    read_all(run, judge_live, final);
    bool limited = false;
    for (uint32_t key = 0; key < run->oracle.key_count; key++) {
      limited = limited || run->oracle.keys[key].limit_reached;
    }
    if (round + 1 >= ROUNDS && !limited) {
      break;
    }
  }
  for (uint32_t key = 0; key < run->oracle.key_count; key++) {
    if (!recoverable) { /* an owner whose copy is damaged can not take its hints: they are not lost */
      oracle_hinted(&run->oracle, key, !rest, &final[key]);
    }
    refused_judge(run, key, &final[key]);
    acked_judge(run, key, &final[key]);
    if (recoverable) {
      causal_judge(run, key, &final[key]);
      converge_judge(run, key);
      move_judge(run, key);
    }
    siblings_free(&final[key]);
  }
  if (recoverable) {
    hints_judge(run);
    whole_judge(run);
    write_all(run);
  }
  const struct shard_tunables *tunables = &run->plan.tunables;
  world_run(run->world, run->world->now_ns + tunables->request_timeout_ns + tunables->repair_window_ns + 3 * SECOND);
  clients_judge(run->clients);
  if (recoverable) {
    ring_judge(run);
    tree_judge(run);
    bounds_judge(run);
  }
}

static void collect(const struct run *run, struct result *result) {
  struct clients_totals totals = clients_totals(run->clients);
  result->seed = run->plan.seed;
  result->trace = run->world->trace;
  result->steps = run->world->steps;
  result->simulated_ns = run->world->now_ns;
  result->puts = totals.puts;
  result->acked = totals.acked;
  result->refused = totals.refused;
  result->unknown = totals.unknown;
  result->gets = totals.gets;
  result->deletes = totals.deletes;
  result->changes = run->changes;
  result->siblings_max = run->oracle.siblings_max;
  result->clock_max = run->oracle.clock_max;
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    if (!run->world->nodes[i].alive) {
      continue;
    }
    const struct shard_stats *stats = shard_stats(run->world->nodes[i].shard);
    result->truncated += stats->truncated;
    result->hints_delivered += stats->hints_delivered;
    result->read_repairs += stats->read_repairs;
    result->forwards += stats->forwards;
  }
}

static void print_stories(const struct run *run, bool all) {
  bool printed[PLAN_KEYS_MAX] = {false};
  if (all) {
    story_print(run->story, STORY_ALL);
    return;
  }
  bool general = false;
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    uint32_t key = run->checks.key[i];
    if (run->checks.failed[i] > 0 && key == CHECK_NO_KEY && !general) {
      printf("the story of no key:\n");
      story_print(run->story, STORY_NO_KEY);
      general = true;
    }
    if (run->checks.failed[i] == 0 || key == CHECK_NO_KEY || printed[key]) {
      continue;
    }
    printed[key] = true;
    printf("the story of %s:\n", run->oracle.keys[key].text);
    story_print(run->story, key);
  }
}

static void live_through(struct run *run) {
  struct world *world = run->world;
  set_buckets(run);
  oracle_place(&run->oracle, shard_ring(world->nodes[0].shard));
  run->clients = clients_new(run);
  run->nemesis = nemesis_new(run);
  run->admin = admin_new(run);
  uint64_t stop_ns = world->now_ns + run->plan.duration_ns;
  clients_start(run->clients, stop_ns);
  nemesis_start(run->nemesis, stop_ns);
  admin_start(run->admin, stop_ns);
  world_run(world, stop_ns);
  admin_stop(run->admin);
  nemesis_stop(run->nemesis);
  world_run(world, world->now_ns + SETTLE_NS + run->plan.tunables.peer_timeout_ns +
                       run->plan.tunables.request_timeout_ns + 2 * SECOND);
  judge(run);
}

void run_once(const struct plan *plan, bool tell, bool all, struct result *result) {
  struct run *run = calloc(1, sizeof *run);
  struct world *world = malloc(sizeof *world);
  ASSERT(run != NULL && world != NULL);
  memset(result, 0, sizeof *result);
  current = run;
  run->plan = *plan;
  run->world = world;
  world_init(world, plan->seed);
  world->value_memory_bytes = plan->value_memory_bytes;
  world->tree_bits = plan->tree_bits;
  world->incarnations_repeat = PLANTED(dot_reused);
  world->objects_forgotten = PLANTED(object_forgotten);
  world->flips_read = PLANTED(damage_served);
  world->watch = (struct watch){.context = run,
                                .replied = saw_reply,
                                .sent = saw_sent,
                                .received = saw_received,
                                .read = saw_read,
                                .committed = saw_commit,
                                .commit_failed = saw_commit_fail,
                                .durable = saw_durable,
                                .news = saw_news,
                                .stepped = saw_step};
  run->story = tell ? story_new(world) : NULL;
  oracle_init(&run->oracle, run);
  run->layouts = layouts_new(run);
  run->moves = moves_new();
  if (form(run)) {
    live_through(run);
    collect(run, result);
    bounds_stop(run);
    result->checks = run->checks;
  } else {
    check_fail(run, CHECK_live, CHECK_NO_KEY, "the cluster was not formed within %" PRIu64 " s",
               FORMING_MAX_NS / SECOND);
    *result = (struct result){.seed = plan->seed, .trace = world->trace, .steps = world->steps, .checks = run->checks};
  }
  if (tell) {
    print_stories(run, all);
  }
  current = NULL;
  if (run->clients != NULL) {
    clients_free(run->clients);
    nemesis_free(run->nemesis);
    admin_free(run->admin);
  }
  layouts_free(run->layouts);
  moves_free(run->moves);
  free(run->deliveries);
  oracle_deinit(&run->oracle);
  story_free(run->story);
  world_deinit(world);
  free(world);
  free(run);
}
