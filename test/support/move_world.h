/* The mover by itself, among nodes that are tables: what they hold, what they answer, and what the own store holds. The
 * test says who is silent, who refuses, and when to stop. */
#ifndef GRAMME_TEST_MOVE_WORLD_H
#define GRAMME_TEST_MOVE_WORLD_H

#include <stdio.h>

#include "support/core_step.h"

#include "base/heap.h"
#include "move/move.h"
#include "version/prune.h"

#define NODES_MAX 8u
#define HELD_MAX 400u
#define MAIL_MAX 4096u
#define MOVES_BYTES 8192u

struct held {
  uint32_t node;    /* whose store */
  uint32_t owner;   /* of a hint; 0: an object */
  struct blob *key; /* store key */
  struct blob *object;
  bool damaged;
};

enum mail_kind { MAIL_MESSAGE, MAIL_COMMIT, MAIL_SCAN };

/* Something that will be told to the mover. */
struct mail {
  enum mail_kind kind;
  uint32_t from;
  struct message message; /* `object` is the blob's */
  uint64_t token;
  enum space space;
  struct blob *start, *prefix;
  uint32_t max_count;
  bool keys_only;
};

static struct {
  struct move *move;
  struct floors *floors;
  struct ring base;
  struct held held[HELD_MAX];
  uint32_t held_count;
  struct mail mail[MAIL_MAX];
  uint32_t mail_head, mail_count;
  bool silent[NODES_MAX + 1];       /* does not answer */
  enum err refuses[NODES_MAX + 1];  /* a WRITE, with this */
  enum err pull_err[NODES_MAX + 1]; /* a PULL, with this */
  uint32_t pulls[NODES_MAX + 1];    /* asked of each */
  uint32_t pulls_full;
  uint32_t reads, writes_own, offers_own, scans, drops, hint_drops;
  uint32_t batch; /* entries of one PULLED */
  enum err commit_err;
  enum err scan_err;
  bool gap; /* a scan has one */
  uint32_t commits;
  uint64_t pulled_bytes;
  bool commits_held;  /* META_MOVES is not answered */
  uint64_t floor;     /* the other nodes' */
  uint32_t floorless; /* but that of this one, if any: it has lost what it had */
  uint32_t buried;
  struct bytes damaged_answer; /* what PULLED carries instead */
  uint8_t moves[MOVES_BYTES];
  size_t moves_size;
} world;

/* -- layouts ---------------------------------------------------------------------------- */

/* Nodes of `from` (node ids, 0 ends), to which `to` is added and from which `gone` is removed. */
static inline void layouts_make(const uint32_t *from, const uint32_t *to, const uint32_t *gone) {
  struct history *history = &core.history;
  history_init(history);
  for (uint32_t i = 0; from[i] != 0; i++) {
    core_change(history, i == 0 ? CHANGE_FOUND : CHANGE_ADD, from[i]);
  }
  ring_fold(&world.base, history);
  for (uint32_t i = 0; to[i] != 0; i++) {
    core_change(history, CHANGE_ADD, to[i]);
  }
  for (uint32_t i = 0; gone[i] != 0; i++) {
    core_change(history, CHANGE_REMOVE, gone[i]);
  }
  ring_fold(&core.ring, history);
  core.base = &world.base;
  core.epoch += 1;
  core.all_done = false;
}

#define IDS(...) ((const uint32_t[]){__VA_ARGS__, 0})
#define NOBODY ((const uint32_t[]){0})

/* The target has become the base. */
static inline void layouts_settle(void) {
  core.base = NULL;
  core.epoch += 1;
  core.all_done = true;
}

static inline void node_set_up(uint32_t node, bool up) {
  int index = ring_find(&core.ring, node);
  if (index >= 0) {
    core.up[index] = up;
  }
  index = ring_find(&world.base, node);
  if (index >= 0) {
    core.base_up[index] = up;
  }
}

/* -- stores ------------------------------------------------------------------------------- */

static inline struct held *held_find(uint32_t node, uint32_t owner, struct bytes key) {
  for (uint32_t i = 0; i < world.held_count; i++) {
    struct held *held = &world.held[i];
    if (held->node == node && held->owner == owner && bytes_equal(blob_bytes(held->key), key)) {
      return held;
    }
  }
  return NULL;
}

static inline struct held *hold(uint32_t node, uint32_t owner, struct bytes key, struct blob *object) {
  assert_true(world.held_count < HELD_MAX);
  struct held *held = &world.held[world.held_count];
  world.held_count += 1;
  *held = (struct held){.node = node, .owner = owner, .key = blob_copy(&core.pool, key), .object = blob_get(object)};
  assert_non_null(held->key);
  return held;
}

static inline void hold_text(uint32_t node, uint32_t owner, const char *user_key, struct blob *object) {
  struct blob *key = store_key(user_key);
  (void)hold(node, owner, blob_bytes(key), object);
  blob_put(key);
}

static inline void held_drop(struct held *held) {
  blob_put(held->key);
  blob_put(held->object);
  world.held_count -= 1;
  *held = world.held[world.held_count];
}

static inline uint64_t held_digest(uint32_t node, const char *user_key) {
  struct blob *key = store_key(user_key);
  const struct held *held = held_find(node, 0, blob_bytes(key));
  blob_put(key);
  return held == NULL ? 0 : object_digest(blob_bytes(held->object));
}

static inline uint32_t held_by(uint32_t node) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < world.held_count; i++) {
    count += world.held[i].node == node ? 1 : 0;
  }
  return count;
}

static inline enum err hold_merged(uint32_t node, struct bytes key, struct bytes object) {
  struct held *held = held_find(node, 0, key);
  struct blob *merged = NULL;
  enum err err = object_merge(core.scratch, &core.pool, held == NULL ? NULL : held->object, object, NULL,
                              RESOLVE_SIBLINGS, &core.version_stats, &merged);
  if (err != ERR_OK) {
    return err;
  }
  if (held == NULL) {
    (void)hold(node, 0, key, merged);
    blob_put(merged);
  } else {
    blob_put(held->object);
    held->object = merged;
  }
  return ERR_OK;
}

/* What the sender has of the key and how far he knows all of it goes for both. */
static inline void hold_buried(uint32_t node, struct bytes key, struct bytes object, uint64_t floor) {
  struct held *held = held_find(node, 0, key);
  assert_non_null(held);
  struct holding mine = {blob_bytes(held->object), held->object, 0};
  struct holding theirs = {object, NULL, floor};
  struct blob *merged = NULL;
  assert_int_equal(
      holding_merge(core.scratch, &core.pool, &mine, &theirs, RESOLVE_SIBLINGS, &core.version_stats, &merged), ERR_OK);
  if (merged == NULL) {
    held_drop(held);
  } else {
    blob_put(held->object);
    held->object = merged;
  }
}

/* An object that the nodes hold, each the same. */
static inline struct blob *spread(const char *key, const uint32_t *nodes, const char *value) {
  struct blob *object = object_of(NULL, 2, value);
  for (uint32_t i = 0; nodes[i] != 0; i++) {
    hold_text(nodes[i], 0, key, object);
  }
  return object;
}

/* -- what is told to the mover --------------------------------------------------------------- */

static inline struct mail *mail_add(enum mail_kind kind) {
  assert_true(world.mail_count < MAIL_MAX);
  struct mail *mail = &world.mail[(world.mail_head + world.mail_count) % MAIL_MAX];
  world.mail_count += 1;
  *mail = (struct mail){.kind = kind};
  return mail;
}

static inline struct mail *answer(uint32_t from, enum message_type type, uint64_t request, enum err err) {
  struct mail *mail = mail_add(MAIL_MESSAGE);
  mail->from = from;
  mail->message = (struct message){.type = type, .request = request, .err = err};
  mail->message.flags = type == MESSAGE_WRITE_ACK && err == ERR_OK ? MESSAGE_DURABLE : 0;
  return mail;
}

/* The least key of a node's store that is greater than `after`, of one partition (or of any, with 64). */
static inline struct held *held_next(uint32_t node, uint32_t partition, struct bytes after) {
  struct held *best = NULL;
  for (uint32_t i = 0; i < world.held_count; i++) {
    struct held *held = &world.held[i];
    struct bytes key = blob_bytes(held->key);
    if (held->node != node || held->owner != 0 || bytes_compare(key, after) <= 0) {
      continue;
    }
    if (partition < 64 && position_partition(position_read(key.data), 64) != partition) {
      continue;
    }
    best = best == NULL || bytes_compare(key, blob_bytes(best->key)) < 0 ? held : best;
  }
  return best;
}

static inline void answer_pull(uint32_t node, const struct message *pull) {
  static uint8_t room[1u << 20];
  struct writer w = writer_make(room, sizeof room);
  struct mail *mail = answer(node, MESSAGE_PULLED, pull->request, world.pull_err[node]);
  struct bytes after = pull->key;
  mail->message.partition = pull->partition;
  mail->message.flags = MESSAGE_LAST;
  mail->message.floor = node == world.floorless ? 0 : world.floor;
  for (uint32_t count = 0; world.pull_err[node] == ERR_OK; count++) {
    const struct held *held = held_next(node, pull->partition, after);
    if (held == NULL) {
      break;
    }
    if (count == world.batch) {
      mail->message.flags = 0;
      break;
    }
    after = blob_bytes(held->key);
    write_bytes(&w, after);
    mail->message.floor = held->damaged ? 0 : mail->message.floor;
    write_u64(&w, held->damaged ? 0 : object_digest(blob_bytes(held->object)));
    write_bytes(&w, (pull->flags & MESSAGE_FULL) != 0 && !held->damaged ? blob_bytes(held->object) : BYTES_NONE);
  }
  struct bytes entries = world.damaged_answer.size > 0 ? world.damaged_answer : writer_bytes(&w);
  world.pulled_bytes += entries.size;
  mail->message.object_blob = blob_copy(&core.pool, entries);
  assert_non_null(mail->message.object_blob);
  mail->message.object = blob_bytes(mail->message.object_blob);
}

/* What a node says to a message of the mover's. */
static inline void answer_message(uint32_t node, const struct message *message) {
  struct held *held = message->key.size == 0
                          ? NULL
                          : held_find(node, message->type == MESSAGE_HINT_DROP ? message->owner : 0, message->key);
  bool same = held != NULL && object_digest(blob_bytes(held->object)) == message->digest;
  if (message->type == MESSAGE_PULL) {
    world.pulls[node] += 1;
    world.pulls_full += (message->flags & MESSAGE_FULL) != 0 ? 1 : 0;
  }
  world.reads += message->type == MESSAGE_READ ? 1 : 0;
  if (world.silent[node]) {
    return;
  }
  if (message->type == MESSAGE_PULL) {
    answer_pull(node, message);
  } else if (message->type == MESSAGE_READ) {
    struct mail *mail = answer(node, MESSAGE_READ_REPLY, message->request, ERR_OK);
    mail->message.object_blob = held == NULL ? NULL : blob_get(held->object);
    mail->message.object = blob_bytes(mail->message.object_blob);
    mail->message.floor = node == world.floorless ? 0 : world.floor;
  } else if (message->type == MESSAGE_OFFER) {
    world.offers_own += node == SELF ? 1 : 0;
    (void)answer(node, MESSAGE_WRITE_ACK, message->request, same ? ERR_OK : ERR_ABSENT);
  } else if (message->type == MESSAGE_WRITE) {
    enum err err = world.refuses[node];
    world.writes_own += node == SELF ? 1 : 0;
    err = err == ERR_OK ? hold_merged(node, message->key, message->object) : err;
    (void)answer(node, MESSAGE_WRITE_ACK, message->request, err);
  } else if (message->type == MESSAGE_BURY) {
    world.buried += message->object.size == 0 ? 1 : 0;
    if (held != NULL) {
      hold_buried(node, message->key, message->object, message->floor);
    }
    (void)answer(node, MESSAGE_WRITE_ACK, message->request, world.refuses[node]);
  } else if (message->type == MESSAGE_OBJECT_DROP || message->type == MESSAGE_HINT_DROP) {
    bool hint = message->type == MESSAGE_HINT_DROP;
    world.drops += !hint && same ? 1 : 0;
    world.hint_drops += hint && same ? 1 : 0;
    if (same) {
      held_drop(held);
    }
    if (!hint) {
      (void)answer(node, MESSAGE_WRITE_ACK, message->request, same ? ERR_OK : ERR_ABSENT);
    }
  } else {
    fail_msg("the mover does not send that");
  }
}

/* Does what the last call of the mover asked for. */
static inline void perform(void) {
  struct message message;
  for (uint32_t i = 0; i < core.effects.count; i++) {
    const struct effect *effect = &core.effects.list[i];
    if (effect->kind == EFFECT_SEND) {
      answer_message(effect->send.to, &effect->send.message);
    } else if (effect->kind == EFFECT_COMMIT) {
      struct bytes value = blob_bytes(effect->commit.value);
      assert_int_equal(effect->commit.space, SPACE_META);
      assert_true(effect->commit.sync && value.size <= MOVES_BYTES);
      world.commits += 1;
      if (!world.commits_held) {
        mail_add(MAIL_COMMIT)->token = effect->commit.token;
        memcpy(world.moves, value.data, world.commit_err == ERR_OK ? value.size : 0);
        world.moves_size = world.commit_err == ERR_OK ? value.size : world.moves_size;
      }
    } else {
      assert_int_equal(effect->kind, EFFECT_SCAN);
      world.scans += 1;
      struct mail *mail = mail_add(MAIL_SCAN);
      mail->token = effect->scan.token;
      mail->space = effect->scan.space;
      mail->start = blob_get(effect->scan.from);
      mail->prefix = blob_get(effect->scan.prefix);
      mail->max_count = effect->scan.max_count;
      mail->keys_only = effect->scan.keys_only;
    }
  }
  while (core_local(&message)) {
    answer_message(SELF, &message);
  }
  effects_reset(&core.effects);
}

static inline struct blob *space_key(const struct held *held) {
  struct bytes key = blob_bytes(held->key);
  struct blob *blob = blob_new(&core.pool, key.size + (held->owner != 0 ? 4 : 0));
  assert_non_null(blob);
  for (uint32_t i = 0; i < 4 && held->owner != 0; i++) {
    blob->data[i] = (uint8_t)(held->owner >> (24 - 8 * i));
  }
  memcpy(blob->data + (held->owner != 0 ? 4 : 0), key.data, key.size);
  return blob;
}

static inline void tell_scan(const struct mail *mail) {
  static struct scan_entry entries[256];
  struct event event = {
      .kind = EVENT_SCAN_DONE,
      .scan = {.token = mail->token, .err = world.scan_err, .entries = entries, .end = true, .gap = world.gap}};
  struct bytes after = blob_bytes(mail->start);
  bool from_start = true;
  while (world.scan_err == ERR_OK) {
    struct scan_entry best = {NULL, NULL};
    for (uint32_t i = 0; i < world.held_count; i++) {
      const struct held *held = &world.held[i];
      if (held->node != SELF || (held->owner != 0) != (mail->space == SPACE_HINTS)) {
        continue;
      }
      struct blob *key = space_key(held);
      struct bytes bytes = blob_bytes(key);
      struct bytes prefix = blob_bytes(mail->prefix);
      int order = bytes_compare(bytes, after);
      bool fits = (order > 0 || (order == 0 && from_start)) && bytes.size >= prefix.size &&
                  (prefix.size == 0 || memcmp(bytes.data, prefix.data, prefix.size) == 0) &&
                  (best.key == NULL || bytes_compare(bytes, blob_bytes(best.key)) < 0);
      if (fits) {
        blob_put(best.key);
        best = (struct scan_entry){key, mail->keys_only ? NULL : held->object};
      } else {
        blob_put(key);
      }
    }
    if (best.key == NULL) {
      break;
    }
    if (event.scan.count == mail->max_count) {
      event.scan.end = false;
      blob_put(best.key);
      break;
    }
    (void)blob_get(best.value);
    entries[event.scan.count] = best;
    event.scan.count += 1;
    after = blob_bytes(best.key);
    from_start = false;
  }
  struct step step = core_step();
  move_scan_done(world.move, &step, &event);
  for (uint32_t i = 0; i < event.scan.count; i++) {
    blob_put(entries[i].key);
    blob_put(entries[i].value);
  }
}

static inline void mail_release(struct mail *mail) {
  blob_put(mail->message.object_blob);
  blob_put(mail->start);
  blob_put(mail->prefix);
}

/* Tells the mover the first of what waits. */
static inline void tell_one(void) {
  assert_true(world.mail_count > 0);
  struct mail mail = world.mail[world.mail_head];
  world.mail_head = (world.mail_head + 1) % MAIL_MAX;
  world.mail_count -= 1;
  if (mail.kind == MAIL_SCAN) {
    tell_scan(&mail);
  } else {
    struct step step = core_step();
    if (mail.kind == MAIL_COMMIT) {
      move_commit_done(world.move, &step, mail.token, world.commit_err);
    } else {
      move_message(world.move, &step, mail.from, &mail.message);
    }
  }
  perform();
  mail_release(&mail); /* what it told may lie in the queue till then */
}

static inline void tick(void) {
  struct step step = core_step();
  move_tick(world.move, &step);
  perform();
}

static inline bool is_complete(void) {
  struct step step = core_step();
  return move_is_complete(world.move, &step);
}

static inline struct heartbeat totals(uint64_t keys) {
  struct heartbeat health = {.keys = keys};
  struct step step = core_step();
  move_totals(world.move, &step, &health);
  return health;
}

/* Runs for so long, what is asked answered at once. */
static inline void run(uint64_t duration_ns) {
  uint64_t end_ns = core.now_ns + duration_ns;
  tick(); /* some other module's, that of the heartbeat above all: a change of the layouts is seen by any */
  for (uint32_t i = 0; i < 1000000; i++) {
    if (world.mail_count > 0) {
      tell_one();
      continue;
    }
    uint64_t due_ns = move_deadline(world.move);
    due_ns = due_ns > core.now_ns ? due_ns : core.now_ns;
    if (due_ns > end_ns) {
      core.now_ns = end_ns;
      return;
    }
    core.now_ns = due_ns;
    tick();
  }
  fail_msg("it does not come to rest");
}

/* -- life ------------------------------------------------------------------------------------------ */

static inline void mover_start(uint32_t first) {
  void *memory = aligned_alloc(64, move_size());
  struct shard_config *config = calloc(1, sizeof *config);
  assert_non_null(memory);
  assert_non_null(config);
  config->moves = (struct bytes){world.moves, world.moves_size};
  void *floors_memory = aligned_alloc(64, floors_size());
  assert_non_null(floors_memory);
  world.floors = floors_init(floors_memory, config);
  world.move = move_init(memory, config, world.floors, first);
  free(config);
}

static inline void mover_stop(void) {
  move_deinit(world.move);
  free(world.move);
  free(world.floors);
  while (world.mail_count > 0) {
    mail_release(&world.mail[world.mail_head]);
    world.mail_head = (world.mail_head + 1) % MAIL_MAX;
    world.mail_count -= 1;
  }
}

static inline void world_begin(void) {
  memset(&world, 0, sizeof world);
  core_begin(1);
  world.batch = 128;
  for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
    core.up[i] = core.base_up[i] = true;
  }
  mover_start(1000);
}

static inline void world_end(void) {
  mover_stop();
  while (world.held_count > 0) {
    held_drop(&world.held[0]);
  }
  core_end();
}

/* The name of a key of which `node` is a replica of that rank (of 3) in the ring, or, with 3, none; the `nth` of
 * them. */
static inline const char *key_of_rank(const struct ring *ring, uint32_t node, uint32_t rank, uint32_t nth) {
  static char names[16][32];
  static uint32_t turn;
  char *name = names[turn++ % 16];
  for (uint32_t i = 0; i < 10000; i++) {
    (void)snprintf(name, 32, "k%u", i);
    uint32_t partition = position_partition(position_of_key(text_bytes(name)), 64);
    if (ring_rank(ring, partition, 3, node) == rank && nth-- == 0) {
      return name;
    }
  }
  fail_msg("there is no such key");
  return NULL;
}

#endif
