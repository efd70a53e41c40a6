/* Whole clusters of membership modules in one process: virtual time, a network that delays, loses and doubles
 * messages, stores that take their time or fail, nodes that crash and pause. Everything follows from a seed. What one
 * test file does not use of it is no waste: all is inline. */
#ifndef GRAMME_TEST_SUPPORT_MEMBER_WORLD_H
#define GRAMME_TEST_SUPPORT_MEMBER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "member/member.h"

#define NODES_MAX 10u
#define POOL_BYTES (2u << 20)
#define QUEUE_MAX 4096u
#define META_MAX_BYTES 65536u
#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define PEER_TIMEOUT (1500 * MS)
#define NOBODY UINT32_MAX

/* -- a small world ------------------------------------------------------------------ */

struct meta {
  uint8_t data[META_MAX_BYTES];
  size_t size;
};

enum meta_name {
  NAME_HISTORY,
  NAME_BUCKETS,
  NAME_SEALED,
  NAME_LAYOUT,
  NAME_LOW,
  NAME_LOSS,
  NAME_LIVES,
  NAME_WROTE,
  NAMES
};

static const char *const meta_keys[NAMES] = {
    [NAME_HISTORY] = META_HISTORY, [NAME_BUCKETS] = META_BUCKETS, [NAME_SEALED] = META_SEALED,
    [NAME_LAYOUT] = META_LAYOUT,   [NAME_LOW] = META_LOW,         [NAME_LOSS] = META_LOSS,
    [NAME_LIVES] = META_LIVES,     [NAME_WROTE] = META_WROTE};

struct node {
  struct member *member;
  uint8_t *pool_memory;
  struct blob_pool pool;
  struct prng prng;
  struct hlc hlc;
  struct shard_stats stats;
  struct local_queue local;
  struct meta meta[NAMES]; /* what is durable */
  uint32_t seeds;          /* bits: whom it dials while it is not a member */
  uint32_t epoch;          /* starts */
  uint32_t id;
  uint16_t port;
  bool alive;
  uint64_t paused_until_ns;
  uint64_t commit_least_ns; /* how long a commit takes at least, and how much longer at most */
  uint64_t commit_ns;
  uint64_t commit_last_ns; /* when the last of those under way ends: they end in their order */
  enum err commit_err;     /* how it ends */
  uint32_t silent;         /* bits: to whom its messages are lost, though the connection stands */
  struct mark told;        /* the latest that it has told */
  bool unsettled;          /* the coordinator has puts of earlier layouts */
  bool busy;               /* and requests that are to be answered */
  bool lacks;              /* something that the target gives it has not been received */
  bool moves;              /* it gives something away */
  bool clings;             /* something is under way that was begun before this turn */
  struct heartbeat health; /* what it has to say of itself */
  uint64_t told_low;       /* the low-water mark that it has told */
  uint64_t replies;        /* to COMMAND_CHANGE */
  enum err reply_err;      /* of the last */
  char reply_why[200];
};

enum happening_kind { HAPPENS_MESSAGE, HAPPENS_COMMIT, HAPPENS_CONNECT };

struct happening {
  uint64_t time_ns, order;
  enum happening_kind kind;
  uint32_t from, to;
  uint32_t from_epoch, to_epoch, link_epoch;
  uint64_t token;
  enum meta_name name;
  enum err err;
  size_t size;
  uint8_t *data;
};

struct world {
  uint64_t seed, now_ns, order;
  struct prng prng;
  struct shard_tunables tunables;
  struct node nodes[NODES_MAX];
  uint32_t node_count;
  uint32_t loss, doubles; /* per mille */
  uint64_t delay_ns;
  bool linked[NODES_MAX][NODES_MAX], dialling[NODES_MAX][NODES_MAX], cut[NODES_MAX][NODES_MAX];
  uint32_t link_epoch[NODES_MAX][NODES_MAX];
  struct happening queue[QUEUE_MAX];
  uint32_t queue_count;
};

static struct world world;
static struct effects effects;

static inline struct step step_of(struct node *node, struct version_stats *version_stats) {
  struct step step;
  memset(&step, 0, sizeof(step));
  effects_reset(&effects);
  step.now_ns = world.now_ns;
  step.wall_ms = 1700000000000 + world.now_ns / MS;
  step.effects = &effects;
  step.stats = &node->stats;
  step.pool = &node->pool;
  step.version_stats = version_stats;
  step.prng = &node->prng;
  step.hlc = &node->hlc;
  step.tunables = &world.tunables;
  step.self = node->id;
  step.local = &node->local;
  member_view(node->member, &step);
  return step;
}

static inline uint32_t index_of(uint32_t id) {
  for (uint32_t i = 0; i < world.node_count; i++) {
    if (world.nodes[i].id == id && world.nodes[i].alive) {
      return i;
    }
  }
  return NOBODY;
}

static inline struct happening *queue_add(enum happening_kind kind, uint64_t delay_ns) {
  assert_true(world.queue_count < QUEUE_MAX);
  struct happening *h = &world.queue[world.queue_count++];
  memset(h, 0, sizeof(*h));
  h->kind = kind;
  h->time_ns = world.now_ns + delay_ns;
  h->order = world.order++;
  return h;
}

static struct history durable, received;

static inline uint64_t durable_digest(const struct node *node) {
  uint32_t added = 0;
  history_init(&durable);
  if (node->meta[NAME_HISTORY].size > 0) {
    struct bytes bytes = {node->meta[NAME_HISTORY].data, node->meta[NAME_HISTORY].size};
    assert_int_equal(history_merge(&durable, bytes, &added), ERR_OK);
  }
  return history_digest(&durable);
}

/* Does the disk hold all of an encoded history? */
static inline bool is_durable(const struct node *node, struct bytes encoded) {
  uint32_t added = 0;
  (void)durable_digest(node);
  assert_int_equal(history_merge(&durable, encoded, &added), ERR_OK);
  return added == 0;
}

static inline struct mark durable_mark(const struct node *node) {
  struct mark mark;
  memset(&mark, 0, sizeof(mark));
  if (node->meta[NAME_LAYOUT].size > 0) {
    struct reader r = reader_make((struct bytes){node->meta[NAME_LAYOUT].data + 1, node->meta[NAME_LAYOUT].size - 1});
    mark.phase = read_u8(&r);
    mark.base_count = read_u32(&r);
    mark.base_digest = read_u64(&r);
    mark.target_count = read_u32(&r);
    mark.target_digest = read_u64(&r);
    mark.revision = read_u32(&r);
    assert_false(r.failed);
  }
  return mark;
}

static inline bool same_marks(const struct mark *a, const struct mark *b) {
  return a->phase == b->phase && a->revision == b->revision && a->base_count == b->base_count &&
         a->target_count == b->target_count && a->base_digest == b->base_digest && a->target_digest == b->target_digest;
}

static inline bool mark_is_less(const struct mark *a, const struct mark *b) {
  if (a->base_count != b->base_count) {
    return a->base_count < b->base_count;
  }
  if (a->revision != b->revision) {
    return a->revision < b->revision;
  }
  return a->target_count != b->target_count ? a->target_count < b->target_count : a->phase < b->phase;
}

/* What one who sees everything knows: is the node removed by a history that is known anywhere? */
static inline bool is_removed_anywhere(uint32_t index) {
  for (uint32_t i = 0; i < world.node_count; i++) {
    if (history_knows(member_history(world.nodes[i].member), world.nodes[index].id) == KNOWN_GONE) {
      return true;
    }
  }
  return false;
}

static inline bool is_any_removed(void) {
  for (uint32_t i = 0; i < world.node_count; i++) {
    if (is_removed_anywhere(i)) {
      return true;
    }
  }
  return false;
}

static inline uint64_t durable_low(const struct node *node) {
  struct reader r = reader_make((struct bytes){node->meta[NAME_LOW].data, node->meta[NAME_LOW].size});
  return node->meta[NAME_LOW].size > 0 ? read_u64(&r) : 0;
}

/* Nothing is said of a history, or of a mark, that is not on disk. */
static inline void check_spoken(struct node *node, const struct message *message) {
  static uint8_t room[META_MAX_BYTES];
  if (message->type == MESSAGE_GOSSIP) {
    struct writer w = writer_make(room, sizeof(room));
    history_encode(member_history(node->member), &w);
    assert_int_equal(message->gossip.history_digest, history_digest(member_history(node->member)));
    assert_true(is_durable(node, writer_bytes(&w)));
  }
  if (message->type == MESSAGE_HISTORY) {
    assert_true(is_durable(node, message->object));
  }
  if (message->type == MESSAGE_HEARTBEAT) {
    struct mark mark = durable_mark(node);
    assert_true(same_marks(&mark, &message->heartbeat.mark));
    if (mark_is_less(&mark, &node->told) ||
        (mark.revision > node->told.revision && node->told.base_count > 0 && !is_any_removed())) {
      print_error("seed %llu: node %u said base %u target %u phase %u, and now base %u target %u phase %u\n",
                  (unsigned long long)world.seed, node->id, node->told.base_count, node->told.target_count,
                  node->told.phase, mark.base_count, mark.target_count, mark.phase);
      assert_true(false);
    }
    node->told = mark;
    assert_in_range(message->heartbeat.low, node->told_low, durable_low(node));
    node->told_low = message->heartbeat.low;
  }
}

static inline void post(uint32_t from, uint32_t to, const struct message *message) {
  struct happening *h = queue_add(HAPPENS_MESSAGE, 1 + prng_below(&world.prng, world.delay_ns));
  h->from = from;
  h->to = to;
  h->from_epoch = world.nodes[from].epoch;
  h->to_epoch = world.nodes[to].epoch;
  h->link_epoch = world.link_epoch[from][to];
  h->size = message_frame_size(message);
  h->data = malloc(h->size);
  assert_non_null(h->data);
  struct writer w = writer_make(h->data, h->size);
  message_encode(message, &w);
  assert_false(w.failed);
}

static inline void do_send(uint32_t from, uint32_t to_id, const struct message *message) {
  check_spoken(&world.nodes[from], message);
  uint32_t to = index_of(to_id);
  if (to == NOBODY || !world.linked[from][to] || (world.nodes[from].silent & (1u << to)) != 0) {
    return;
  }
  if (prng_chance(&world.prng, world.loss)) {
    return;
  }
  post(from, to, message);
  if (prng_chance(&world.prng, world.doubles)) {
    post(from, to, message);
  }
}

static inline void do_commit(uint32_t from, const struct effect *effect) {
  struct node *node = &world.nodes[from];
  struct bytes key = blob_bytes(effect->commit.key);
  struct bytes value = blob_bytes(effect->commit.value);
  assert_int_equal(effect->commit.space, SPACE_META);
  assert_true(effect->commit.sync);
  struct happening *h = queue_add(HAPPENS_COMMIT, 1 + node->commit_least_ns + prng_below(&world.prng, node->commit_ns));
  h->time_ns = h->time_ns > node->commit_last_ns ? h->time_ns : node->commit_last_ns;
  node->commit_last_ns = h->time_ns;
  h->to = from;
  h->to_epoch = node->epoch;
  h->token = effect->commit.token;
  h->err = node->commit_err;
  h->name = NAMES;
  for (uint32_t i = 0; i < NAMES; i++) {
    struct bytes name = {(const uint8_t *)meta_keys[i], strlen(meta_keys[i])};
    h->name = bytes_equal(key, name) ? (enum meta_name)i : h->name;
  }
  assert_true(h->name < NAMES);
  h->size = value.size;
  h->data = malloc(value.size);
  assert_non_null(h->data);
  memcpy(h->data, value.data, value.size);
}

static inline void perform(uint32_t from) {
  for (uint32_t i = 0; i < effects.count; i++) {
    const struct effect *effect = &effects.list[i];
    if (effect->kind == EFFECT_SEND) {
      do_send(from, effect->send.to, &effect->send.message);
    } else if (effect->kind == EFFECT_REPLY) {
      struct node *node = &world.nodes[from];
      node->replies += 1;
      node->reply_err = effect->reply->err;
      snprintf(node->reply_why, sizeof(node->reply_why), "%s", effect->reply->why == NULL ? "" : effect->reply->why);
    } else {
      assert_int_equal(effect->kind, EFFECT_COMMIT);
      do_commit(from, effect);
    }
  }
  assert_int_equal(world.nodes[from].local.count, 0);
}

/* Runs one call of a member and what it caused. */
#define WITH(index, call)                             \
  do {                                                \
    struct node *node = &world.nodes[index];          \
    struct version_stats version_stats = {0};         \
    struct step step = step_of(node, &version_stats); \
    call;                                             \
    perform(index);                                   \
  } while (0)

static inline void link_set(uint32_t a, uint32_t b, bool up) {
  if (world.linked[a][b] == up) {
    return;
  }
  world.linked[a][b] = up;
  world.linked[b][a] = up;
  world.link_epoch[a][b] += 1;
  world.link_epoch[b][a] += 1;
  uint32_t ends[2] = {a, b};
  for (uint32_t i = 0; i < 2; i++) {
    uint32_t other = world.nodes[ends[1 - i]].id;
    if (!world.nodes[ends[i]].alive) {
      continue;
    }
    if (up) {
      WITH(ends[i], member_peer_up(node->member, &step, other));
    } else {
      WITH(ends[i], member_peer_down(node->member, &step, other));
    }
  }
}

/* A node dials whom its history leaves in, the members of its live layouts, and its seeds while it is no member. */
static inline bool wants(uint32_t a, uint32_t b) {
  const struct node *node = &world.nodes[a];
  static struct member_view views[4 * NODES_MAX];
  uint32_t count = member_list(node->member, views, 4 * NODES_MAX);
  for (uint32_t i = 0; i < count; i++) {
    if (views[i].node == world.nodes[b].id) {
      return true;
    }
  }
  return history_knows(member_history(node->member), world.nodes[b].id) == KNOWN_MEMBER ||
         (!member_is_member(node->member) && (node->seeds & (1u << b)) != 0);
}

static inline void dial(void) {
  for (uint32_t a = 0; a < world.node_count; a++) {
    for (uint32_t b = 0; b < world.node_count; b++) {
      if (a == b || world.linked[a][b] || world.dialling[a][b] || world.cut[a][b] || !world.nodes[a].alive ||
          !world.nodes[b].alive || !wants(a, b)) {
        continue;
      }
      world.dialling[a][b] = true;
      struct happening *h = queue_add(HAPPENS_CONNECT, 1 + prng_below(&world.prng, 30 * MS));
      h->from = a;
      h->to = b;
    }
  }
}

static inline void happen_message(const struct happening *h) {
  struct node *to = &world.nodes[h->to];
  if (!to->alive || to->epoch != h->to_epoch || world.nodes[h->from].epoch != h->from_epoch ||
      world.link_epoch[h->from][h->to] != h->link_epoch) {
    return;
  }
  struct message message;
  assert_int_equal(message_decode((struct bytes){h->data, h->size}, &message), ERR_OK);
  uint32_t from_id = world.nodes[h->from].id;
  WITH(h->to, {
    member_heard(node->member, &step, from_id, &message);
    member_message(node->member, &step, from_id, &message);
  });
}

static inline void meta_store(struct node *node, const struct happening *h) {
  assert_true(h->size <= META_MAX_BYTES);
  memcpy(node->meta[h->name].data, h->data, h->size);
  node->meta[h->name].size = h->size;
}

static inline void happen_commit(const struct happening *h) {
  struct node *to = &world.nodes[h->to];
  if (!to->alive || to->epoch != h->to_epoch) {
    return;
  }
  if (h->err == ERR_OK) {
    meta_store(to, h);
  }
  WITH(h->to, member_commit_done(node->member, &step, h->token, h->err));
}

static inline void happen(struct happening h) {
  switch (h.kind) {
  case HAPPENS_MESSAGE:
    happen_message(&h);
    break;
  case HAPPENS_COMMIT:
    happen_commit(&h);
    break;
  case HAPPENS_CONNECT:
    world.dialling[h.from][h.to] = false;
    if (world.nodes[h.from].alive && world.nodes[h.to].alive && !world.cut[h.from][h.to]) {
      link_set(h.from, h.to, true);
    }
    break;
  }
  free(h.data);
}

static inline uint64_t wakes_at(const struct happening *h) {
  const struct node *node = &world.nodes[h->to];
  return node->paused_until_ns > h->time_ns ? node->paused_until_ns : h->time_ns;
}

/* The next tick that is due: its node, and its time. */
static inline uint32_t next_tick(uint64_t *time_ns) {
  uint32_t next = NOBODY;
  *time_ns = UINT64_MAX;
  for (uint32_t i = 0; i < world.node_count; i++) {
    const struct node *node = &world.nodes[i];
    if (!node->alive) {
      continue;
    }
    uint64_t due_ns = member_deadline(node->member);
    due_ns = due_ns > node->paused_until_ns ? due_ns : node->paused_until_ns;
    if (due_ns < *time_ns) {
      *time_ns = due_ns;
      next = i;
    }
  }
  return next;
}

static inline void tick(struct node *node, struct step *step) {
  struct member_progress progress = {.settled = !node->unsettled,
                                     .idle = !node->busy,
                                     .quiet = !node->moves,
                                     .past = !node->clings,
                                     .holds = !node->lacks,
                                     .resynced = !node->lacks && step->base == step->ring};
  member_set_health(node->member, &node->health);
  member_note_progress(node->member, step, &progress);
  member_tick(node->member, step);
}

static inline void run_until(uint64_t end_ns) {
  for (;;) {
    dial();
    uint64_t tick_ns = 0;
    uint32_t ticking = next_tick(&tick_ns);
    uint32_t best = NOBODY;
    for (uint32_t i = 0; i < world.queue_count; i++) {
      if (best == NOBODY || wakes_at(&world.queue[i]) < wakes_at(&world.queue[best]) ||
          (wakes_at(&world.queue[i]) == wakes_at(&world.queue[best]) &&
           world.queue[i].order < world.queue[best].order)) {
        best = i;
      }
    }
    uint64_t event_ns = best == NOBODY ? UINT64_MAX : wakes_at(&world.queue[best]);
    uint64_t next_ns = tick_ns <= event_ns ? tick_ns : event_ns;
    if (next_ns > end_ns) {
      world.now_ns = end_ns;
      return;
    }
    world.now_ns = next_ns > world.now_ns ? next_ns : world.now_ns;
    if (tick_ns <= event_ns) {
      WITH(ticking, tick(node, &step));
    } else {
      struct happening h = world.queue[best];
      world.queue[best] = world.queue[--world.queue_count];
      happen(h);
    }
  }
}

static inline void run(uint64_t duration_ns) {
  run_until(world.now_ns + duration_ns);
}

/* -- nodes --------------------------------------------------------------------------- */

static inline struct bytes paper(const struct node *node, enum meta_name name) {
  return (struct bytes){node->meta[name].data, node->meta[name].size};
}

static inline void node_start(uint32_t index) {
  struct node *node = &world.nodes[index];
  struct shard_config config;
  memset(&config, 0, sizeof(config));
  config.node = node->id;
  config.actor = (struct actor){.node = node->id, .incarnation = node->epoch + 1};
  config.self.weight = 100;
  config.self.client_port = (uint16_t)(node->port - 1000);
  config.self.peer_port = node->port;
  config.self.partition_count = 64;
  snprintf(config.self.host, sizeof(config.self.host), "10.0.0.1");
  snprintf(config.self.name, sizeof(config.self.name), "n%u", index);
  config.found = node->seeds == 0 && node->meta[NAME_HISTORY].size == 0;
  config.history = paper(node, NAME_HISTORY);
  config.buckets = paper(node, NAME_BUCKETS);
  config.layout = paper(node, NAME_LAYOUT);
  config.low = paper(node, NAME_LOW);
  config.loss = paper(node, NAME_LOSS);
  config.lives = paper(node, NAME_LIVES);
  config.wrote = paper(node, NAME_WROTE);
  node->told = config.layout.size > 0 ? node->told : (struct mark){0};
  node->told_low = durable_low(node);
  assert_true(member_layout_is_sound(config.layout));
  config.sealed = node->meta[NAME_SEALED].size > 0;
  blob_pool_init(&node->pool, node->pool_memory, POOL_BYTES);
  uint64_t draw = prng_u64(&world.prng);
  prng_init(&node->prng, draw);
  hlc_init(&node->hlc, 0);
  memset(&node->local, 0, sizeof(node->local));
  member_init(node->member, &config);
  node->epoch += 1;
  node->alive = true;
}

static inline uint32_t node_add(uint32_t seeds) {
  uint32_t index = world.node_count++;
  assert_true(index < NODES_MAX);
  struct node *node = &world.nodes[index];
  node->id = 1000 + (uint32_t)prng_below(&world.prng, 1000000) * 16 + index;
  node->port = (uint16_t)(17600 + index);
  node->seeds = seeds;
  node->commit_ns = 5 * MS;
  node_start(index);
  return index;
}

static inline void node_crash(uint32_t index) {
  struct node *node = &world.nodes[index];
  node->alive = false;
  effects_reset(&effects);
  for (uint32_t other = 0; other < world.node_count; other++) {
    if (other != index) {
      link_set(index, other, false);
    }
  }
  /* What was being committed may be there, or not; commits become durable in their order. */
  for (uint64_t from = 0; prng_chance(&world.prng, 500);) {
    const struct happening *next = NULL;
    for (uint32_t i = 0; i < world.queue_count; i++) {
      const struct happening *h = &world.queue[i];
      bool pending = h->kind == HAPPENS_COMMIT && h->to == index && h->to_epoch == node->epoch && h->err == ERR_OK;
      if (pending && h->order >= from && (next == NULL || h->order < next->order)) {
        next = h;
      }
    }
    if (next == NULL) {
      break;
    }
    meta_store(node, next);
    from = next->order + 1;
  }
  node->commit_last_ns = 0;
}

/* Its disk is new. */
static inline void node_empty(uint32_t index) {
  memset(world.nodes[index].meta, 0, sizeof(world.nodes[index].meta));
  memset(&world.nodes[index].told, 0, sizeof(world.nodes[index].told));
}

static inline void cut_set(uint32_t a, uint32_t b, bool cut) {
  world.cut[a][b] = cut;
  world.cut[b][a] = cut;
  if (cut) {
    link_set(a, b, false);
  }
}

static inline void world_begin(uint64_t seed) {
  for (uint32_t i = 0; i < world.queue_count; i++) {
    free(world.queue[i].data);
  }
  effects_reset(&effects);
  struct member *members[NODES_MAX];
  uint8_t *pools[NODES_MAX];
  for (uint32_t i = 0; i < NODES_MAX; i++) {
    members[i] = world.nodes[i].member;
    pools[i] = world.nodes[i].pool_memory;
  }
  memset(&world, 0, sizeof(world));
  for (uint32_t i = 0; i < NODES_MAX; i++) {
    world.nodes[i].member = members[i];
    world.nodes[i].pool_memory = pools[i];
  }
  world.seed = seed;
  world.now_ns = SECOND;
  world.delay_ns = 20 * MS;
  world.tunables = (struct shard_tunables){
      .heartbeat_ns = 250 * MS, .gossip_ns = SECOND, .peer_timeout_ns = PEER_TIMEOUT, .fold_records = HISTORY_FOLD_AT};
  prng_init(&world.prng, seed);
}

static inline int memory_get(void **state) {
  (void)state;
  for (uint32_t i = 0; i < NODES_MAX; i++) {
    world.nodes[i].member = aligned_alloc(64, member_size());
    world.nodes[i].pool_memory = aligned_alloc(64, POOL_BYTES);
    if (world.nodes[i].member == NULL || world.nodes[i].pool_memory == NULL) {
      return -1;
    }
  }
  return 0;
}

static inline int memory_put(void **state) {
  (void)state;
  world_begin(0);
  for (uint32_t i = 0; i < NODES_MAX; i++) {
    free(world.nodes[i].member);
    free(world.nodes[i].pool_memory);
  }
  return 0;
}

/* -- what is asked of the world -------------------------------------------------------- */

static inline struct member *member_of(uint32_t index) {
  return world.nodes[index].member;
}

static inline bool sees_up(uint32_t index, uint32_t other) {
  struct version_stats version_stats = {0};
  struct step step = step_of(&world.nodes[index], &version_stats);
  return step_is_up(&step, world.nodes[other].id);
}

/* By all that it knows, whether or not its layouts have come as far. */
static inline bool is_in_ring(uint32_t index, uint32_t other) {
  return history_knows(member_history(member_of(index)), world.nodes[other].id) == KNOWN_MEMBER;
}

static inline enum err admit(uint32_t index) {
  enum err err = ERR_OK;
  WITH(index, err = member_admit_write(node->member, &step));
  return err;
}

static inline void assert_one_cluster(uint32_t count) {
  const struct ring *first = member_ring(member_of(0));
  for (uint32_t i = 0; i < count; i++) {
    const struct ring *ring = member_ring(member_of(i));
    if (!member_is_member(member_of(i)) || ring->member_count != count || ring->digest != first->digest) {
      print_error("seed %llu: node %u of %u: member %d, %u members, refusal: %s\n", (unsigned long long)world.seed, i,
                  count, member_is_member(member_of(i)), ring->member_count,
                  member_refusal(member_of(i)) != NULL ? member_refusal(member_of(i)) : "-");
    }
    assert_true(member_is_member(member_of(i)));
    assert_int_equal(ring->member_count, count);
    assert_int_equal(ring->digest, first->digest);
    assert_int_equal(ring->digest, durable_digest(&world.nodes[i]));
    assert_memory_equal(ring->owners, first->owners, sizeof(ring->owners));
    assert_null(member_refusal(member_of(i)));
    for (uint32_t j = 0; j < count; j++) {
      assert_true(sees_up(i, j));
    }
  }
}

/* A cluster of `count` nodes that all know each other. */
static inline void form(uint64_t seed, uint32_t count) {
  world_begin(seed);
  node_add(0);
  for (uint32_t i = 1; i < count; i++) {
    node_add(1);
  }
  run(30 * SECOND);
  assert_one_cluster(count);
}

/* A message by hand, as if it came from node `from`. */
static inline void say_to(uint32_t to, uint32_t from, const struct message *message) {
  uint32_t from_id = world.nodes[from].id;
  WITH(to, member_message(node->member, &step, from_id, message));
}

static inline const struct message *sent(uint32_t to, enum message_type type) {
  for (uint32_t i = 0; i < effects.count; i++) {
    const struct effect *effect = &effects.list[i];
    if (effect->kind == EFFECT_SEND && effect->send.to == world.nodes[to].id && effect->send.message.type == type) {
      return &effect->send.message;
    }
  }
  return NULL;
}

static inline bool reason_has(const struct message *message, const char *words) {
  char text[REASON_MAX_BYTES + 1];
  memcpy(text, message->key.data, message->key.size);
  text[message->key.size] = '\0';
  return strstr(text, words) != NULL;
}

/* The one ADD that JOIN carries, for a node that needs not exist. */
static inline struct bytes add_of(uint32_t id, uint16_t port, uint8_t *room, size_t room_bytes) {
  struct change change;
  memset(&change, 0, sizeof(change));
  change.kind = CHANGE_ADD;
  change.time = 1;
  change.issuer = id;
  change.node = id;
  change.weight = 100;
  change.peer_port = port;
  snprintf(change.host, sizeof(change.host), "10.0.0.1");
  snprintf(change.name, sizeof(change.name), "stranger");
  history_init(&received);
  assert_int_equal(history_add(&received, &change), ERR_OK);
  struct writer w = writer_make(room, room_bytes);
  history_encode(&received, &w);
  assert_false(w.failed);
  return writer_bytes(&w);
}

/* A joiner that never comes up: only its JOIN is heard. Returns its index. */
static inline uint32_t ghost_join(uint32_t seed, uint8_t *room, size_t room_bytes) {
  uint32_t ghost = node_add(0);
  node_crash(ghost);
  run(1);
  struct message join = {.type = MESSAGE_JOIN,
                         .object = add_of(world.nodes[ghost].id, world.nodes[ghost].port, room, room_bytes)};
  say_to(seed, ghost, &join);
  return ghost;
}

/* -- layouts and changes --------------------------------------------------------------- */

static inline struct layout_view layout_of(uint32_t index) {
  struct layout_view view;
  member_layout(member_of(index), &view);
  return view;
}

static inline enum mark_phase phase_of(uint32_t index) {
  return (enum mark_phase)layout_of(index).mark.phase;
}

static inline struct step view_of(uint32_t index) {
  static struct version_stats version_stats;
  return step_of(&world.nodes[index], &version_stats);
}

/* The ADD that a node would like. */
static inline struct change wish_of(enum change_kind kind, uint32_t index) {
  struct change change;
  memset(&change, 0, sizeof(change));
  change.kind = kind;
  change.node = world.nodes[index].id;
  change.weight = 100;
  change.client_port = (uint16_t)(world.nodes[index].port - 1000);
  change.peer_port = world.nodes[index].port;
  snprintf(change.host, sizeof(change.host), "10.0.0.1");
  snprintf(change.name, sizeof(change.name), "n%u", index);
  return change;
}

static inline struct change replacement_of(uint32_t old, uint32_t index) {
  struct change change = wish_of(CHANGE_REPLACE, index);
  change.old = world.nodes[old].id;
  return change;
}

/* Gives the command to a node; its answer is in replies, reply_err and reply_why. */
static inline void command_changes(uint32_t at, const struct change *changes, uint32_t count, uint64_t digest) {
  struct command command;
  memset(&command, 0, sizeof(command));
  command.kind = COMMAND_CHANGE;
  command.token = 77;
  command.changes = changes;
  command.change_count = count;
  command.history_digest = digest;
  WITH(at, member_change(node->member, &step, &command));
}

static inline void change_at(uint32_t at, struct change change) {
  uint64_t replies = world.nodes[at].replies;
  world.nodes[at].reply_err = ERR_BUSY;
  for (uint32_t i = 0; i < 100 && world.nodes[at].reply_err == ERR_BUSY; i++) {
    run(MS);
    replies = world.nodes[at].replies;
    command_changes(at, &change, 1, layout_of(at).history_digest);
    for (uint32_t j = 0; j < 100 && world.nodes[at].replies == replies; j++) {
      run(MS);
    }
  }
  if (world.nodes[at].reply_err != ERR_OK) {
    print_error("seed %llu: refused: %s\n", (unsigned long long)world.seed, world.nodes[at].reply_why);
  }
  assert_int_equal(world.nodes[at].replies, replies + 1);
  assert_int_equal(world.nodes[at].reply_err, ERR_OK);
}

/* A cluster of `count` nodes that hold data: no node comes in by itself any more. */
static inline void form_sealed(uint64_t seed, uint32_t count) {
  form(seed, count);
  for (uint32_t i = 0; i < count; i++) {
    (void)admit(i);
  }
  run(SECOND);
}

/* Is a node at rest with all the history of node `like`, and in its ring? */
static inline bool is_done(uint32_t index, uint32_t like) {
  struct layout_view view = layout_of(index);
  return view.mark.phase == MARK_DONE && !view.moving && !view.behind &&
         view.history_digest == layout_of(like).history_digest && view.mark.base_digest == view.history_digest;
}

static inline void assert_done(uint32_t bits) {
  uint32_t like = 0;
  while ((bits & (1u << like)) == 0) {
    like += 1;
  }
  for (uint32_t i = like; i < world.node_count; i++) {
    if ((bits & (1u << i)) == 0) {
      continue;
    }
    if (!is_done(i, like)) {
      struct layout_view view = layout_of(i);
      print_error("seed %llu: node %u: base %u target %u phase %u, moving %d, behind %d, waits for %u\n",
                  (unsigned long long)world.seed, i, view.mark.base_count, view.mark.target_count, view.mark.phase,
                  view.moving, view.behind, view.waiting_count);
    }
    assert_true(is_done(i, like));
    struct step step = view_of(i);
    assert_ptr_equal(step.base, step.ring);
    assert_ptr_equal(step.reading, step.ring);
  }
}

static inline bool allows(uint32_t index, uint32_t from, enum message_type type) {
  struct step step = view_of(index);
  return member_allows(member_of(index), &step, world.nodes[from].id, type);
}

/* -- what a node had, and what is known of it ------------------------------------------------- */

static struct meta copy[NAMES];

static inline void copy_take(uint32_t index) {
  memcpy(copy, world.nodes[index].meta, sizeof copy);
}

/* The node is down, and comes back with its directory as it was. */
static inline void copy_put_back(uint32_t index) {
  memcpy(world.nodes[index].meta, copy, sizeof copy);
  memset(&world.nodes[index].told, 0, sizeof world.nodes[index].told);
}

/* The first `count` are written to, and tell each other how far. */
static inline void write_for(uint32_t count, uint64_t duration_ns) {
  for (uint64_t end_ns = world.now_ns + duration_ns; world.now_ns < end_ns;) {
    for (uint32_t i = 0; i < count; i++) {
      if (world.nodes[i].alive) {
        (void)admit(i);
      }
    }
    run(500 * MS);
  }
}

static inline void form_written(uint64_t seed, uint32_t count) {
  form_sealed(seed, count);
  write_for(count, 10 * SECOND);
  for (uint32_t i = 0; i < count; i++) {
    assert_true(member_wrote(member_of(i)) > 0);
  }
}

/* What `node` has told of itself, as far as the other knows. */
static inline struct heartbeat heard_by(uint32_t at, uint32_t node) {
  static struct member_view views[NODES_MAX];
  uint32_t count = member_list(member_of(at), views, NODES_MAX);
  for (uint32_t i = 0; i < count; i++) {
    if (views[i].node == world.nodes[node].id) {
      return views[i].heartbeat;
    }
  }
  assert_true(false);
  return views[0].heartbeat;
}

/* Runs until the node is in the phase, or for ten seconds. */
static inline void run_to_phase(uint32_t index, enum mark_phase phase) {
  for (uint32_t i = 0; i < 10000 && phase_of(index) != phase; i++) {
    run(MS);
  }
  assert_int_equal(phase_of(index), phase);
}

#endif
