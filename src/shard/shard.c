#include "shard/shard.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "coord/coord.h"
#include "handoff/handoff.h"
#include "member/member.h"
#include "move/move.h"
#include "replica/reaper.h"
#include "replica/replica.h"
#include "scrub/scrub.h"
#include "sync/sync.h"
#include "version/context.h"
#include "version/prune.h"

struct shard {
  uint32_t node;
  uint64_t cluster_seed;
  uint64_t now_ns; /* of the last event */
  struct shard_tunables tunables;
  struct hlc hlc;
  struct prng prng;
  struct blob_pool pool;
  struct shard_stats stats;
  struct version_stats version_stats;
  struct heartbeat health;
  uint32_t health_epoch; /* of the layouts that it was made up for */
  struct local_queue local;
  struct member *member;
  struct growth *growth;
  struct floors *floors;
  struct reaper *reaper;
  struct sync *sync;
  struct scrub *scrub;
  struct replica *replica;
  struct coord *coord;
  struct handoff *handoff;
  struct move *move;
  struct version_scratch *scratch;
  struct admit admit;
};

static size_t align64(size_t size) {
  return (size + 63u) & ~(size_t)63u;
}

size_t shard_size(void) {
  return align64(sizeof(struct shard)) + align64(member_size()) + align64(replica_size()) + align64(coord_size()) +
         align64(handoff_size()) + align64(move_size()) + align64(growth_size()) + align64(sync_size()) +
         align64(scrub_size()) + align64(floors_size()) + align64(reaper_size()) + align64(version_scratch_size());
}

static void *carve(uint8_t **memory, size_t size) {
  void *piece = *memory;
  *memory += align64(size);
  return piece;
}

struct shard *shard_init(void *memory, const struct shard_config *config) {
  ASSERT(((uintptr_t)memory & 63u) == 0);
  ASSERT(config->node != 0);
  ASSERT(config->actor.node == config->node);
  uint8_t *rest = memory;
  struct shard *shard = carve(&rest, sizeof(struct shard));
  memset(shard, 0, sizeof *shard);
  shard->node = config->node;
  shard->cluster_seed = config->cluster_seed;
  shard->tunables = config->tunables;
  hlc_init(&shard->hlc, config->hlc_floor);
  prng_init(&shard->prng, config->seed);
  blob_pool_init(&shard->pool, config->value_memory, config->value_memory_bytes);
  uint64_t stand_in = prng_u64(&shard->prng);
  uint64_t hash_seed = prng_u64(&shard->prng);
  shard->member = member_init(carve(&rest, member_size()), config);
  shard->growth = growth_init(carve(&rest, growth_size()), config);
  shard->floors = floors_init(carve(&rest, floors_size()), config);
  shard->reaper = reaper_init(carve(&rest, reaper_size()), shard->growth, shard->floors);
  shard->replica =
      replica_init(carve(&rest, replica_size()), config->actor, stand_in, hash_seed, shard->growth, shard->floors);
  hlc_raise(&shard->hlc, member_low(shard->member));
  shard->coord = coord_init(carve(&rest, coord_size()), (uint32_t)prng_u64(&shard->prng));
  shard->handoff = handoff_init(carve(&rest, handoff_size()), (uint32_t)prng_u64(&shard->prng));
  shard->move = move_init(carve(&rest, move_size()), config, shard->floors, (uint32_t)prng_u64(&shard->prng));
  shard->sync = sync_init(carve(&rest, sync_size()), shard->growth, shard->floors, (uint32_t)prng_u64(&shard->prng));
  shard->scrub =
      scrub_init(carve(&rest, scrub_size()), config, shard->growth, shard->floors, (uint32_t)prng_u64(&shard->prng));
  admit_init(&shard->admit);
  shard->scratch = carve(&rest, version_scratch_size());
  ASSERT((size_t)(rest - (uint8_t *)memory) == shard_size());
  return shard;
}

void shard_deinit(struct shard *shard) {
  ASSERT(shard->local.count == 0);
  scrub_deinit(shard->scrub);
  sync_deinit(shard->sync);
  reaper_deinit(shard->reaper);
  move_deinit(shard->move);
  handoff_deinit(shard->handoff);
  coord_deinit(shard->coord);
  replica_deinit(shard->replica);
  member_deinit(shard->member);
}

/* -- dispatch -------------------------------------------------------------------- */

/* Writes need not wait until the seal is durable: commits become durable in the order in which they are emitted, and
 * the seal's comes before any of the write that asked for it. */
static enum err admit_write(struct shard *shard, struct step *step) {
  enum err err = member_admit_write(shard->member, step);
  return err == ERR_RETRY ? ERR_OK : err;
}

/* A read that counts for a quorum is not answered with less than was acknowledged here. */
static bool vouches(const struct shard *shard, const struct step *step, const struct message *message) {
  bool counts = (message->flags & MESSAGE_COUNTS) != 0 && message->key.size >= POSITION_BYTES;
  return !counts || move_vouches(shard->move, step, message->key);
}

static void on_write(struct shard *shard, struct step *step, uint32_t from, const struct message *message) {
  member_note_data(shard->member, step);
  if (message->owner == 0 && message->key.size >= POSITION_BYTES) {
    move_note_write(shard->move, step, message->key);
  }
  replica_message(shard->replica, step, from, message);
}

static void on_read(struct shard *shard, struct step *step, uint32_t from, const struct message *message) {
  if (!vouches(shard, step, message)) {
    struct message refusal = {.type = MESSAGE_READ_REPLY, .request = message->request, .owner = message->owner};
    refusal.err = ERR_RETRY;
    step_send(step, from, &refusal);
    return;
  }
  replica_message(shard->replica, step, from, message);
}

static void on_forward(struct shard *shard, struct step *step, uint32_t from, const struct message *message) {
  bool knows = step->sure && step->lost == 0; /* what is to be replaced */
  enum err err = knows ? admit_write(shard, step) : ERR_NOTMEMBER;
  if (err == ERR_OK) {
    coord_message(shard->coord, step, from, message);
  } else {
    coord_refuse_forward(shard->coord, step, from, message, err);
  }
}

/* To whoever asked. */
static void on_answer(struct shard *shard, struct step *step, uint32_t from, const struct message *message) {
  if (handoff_owns_request(message->request)) {
    handoff_message(shard->handoff, step, from, message);
  } else if (scrub_owns_request(message->request)) {
    scrub_message(shard->scrub, step, from, message);
  } else if (move_owns_request(message->request)) {
    move_message(shard->move, step, from, message);
  } else if (sync_owns_request(message->request)) {
    sync_message(shard->sync, step, from, message);
  } else {
    coord_message(shard->coord, step, from, message);
  }
}

static void on_message(struct shard *shard, struct step *step, uint32_t from, const struct message *message) {
  switch (message->type) {
  case MESSAGE_HEARTBEAT:
    sync_note_heartbeat(shard->sync, step, &message->heartbeat);
    member_message(shard->member, step, from, message);
    break;
  case MESSAGE_GOSSIP:
  case MESSAGE_HISTORY:
  case MESSAGE_PROPS:
  case MESSAGE_JOIN:
  case MESSAGE_JOIN_RESULT:
    member_message(shard->member, step, from, message);
    break;
  case MESSAGE_WRITE:
  case MESSAGE_BURY:
    on_write(shard, step, from, message);
    break;
  case MESSAGE_READ:
    on_read(shard, step, from, message);
    break;
  case MESSAGE_STAMP:
  case MESSAGE_HINT_DROP:
  case MESSAGE_OFFER:
  case MESSAGE_OBJECT_DROP:
  case MESSAGE_REAP:
    replica_message(shard->replica, step, from, message);
    break;
  case MESSAGE_FORWARD:
    on_forward(shard, step, from, message);
    break;
  case MESSAGE_WRITE_ACK:
  case MESSAGE_READ_REPLY:
    on_answer(shard, step, from, message);
    break;
  case MESSAGE_PULL:
    move_message(shard->move, step, from, message);
    break;
  case MESSAGE_PULLED:
    if (sync_owns_request(message->request)) {
      sync_message(shard->sync, step, from, message);
    } else {
      move_message(shard->move, step, from, message);
    }
    break;
  case MESSAGE_COMPARE:
  case MESSAGE_COMPARED:
  case MESSAGE_FLOORS:
  case MESSAGE_FLOORS_HELD:
    sync_message(shard->sync, step, from, message);
    break;
  case MESSAGE_DAMAGED:
    scrub_message(shard->scrub, step, from, message);
    break;
  case MESSAGE_RESTORE:
    replica_restore(shard->replica, step, message);
    break;
  case MESSAGE_STAMPED:
  case MESSAGE_FORWARD_REPLY:
    coord_message(shard->coord, step, from, message);
    break;
  case MESSAGE_HINT_KEPT:
  case MESSAGE_HINT_DROPPED:
    handoff_message(shard->handoff, step, from, message);
    break;
  }
}

/* From outside: nobody else may send what a node only tells itself, and nobody who is no member may touch data. */
static bool message_is_allowed(const struct shard *shard, const struct step *step, uint32_t from,
                               const struct message *message) {
  if (message->type >= MESSAGE_STAMP || from == shard->node || from == 0) {
    return false;
  }
  return member_allows(shard->member, step, from, message->type);
}

/* Would it make a copy of what has been said to be over? */
static bool is_over(const struct shard *shard, const struct message *message) {
  bool copies = message->type == MESSAGE_WRITE || message->type == MESSAGE_BURY;
  return copies && message->hlc < member_low(shard->member);
}

static void on_remote_message(struct shard *shard, struct step *step, uint32_t from, const struct message *message) {
  if (!message_is_allowed(shard, step, from, message)) {
    COUNT(shard->stats.messages_bad);
    return;
  }
  member_heard(shard->member, step, from, message);
  if (is_over(shard, message)) {
    COUNT(shard->stats.messages_late);
    return;
  }
  on_message(shard, step, from, message);
}

static void on_command(struct shard *shard, struct step *step, const struct command *command) {
  enum err err = ERR_OK;
  bool takes = command->kind == COMMAND_CHANGE ? member_takes_changes(shard->member) : member_is_member(shard->member);
  if (!takes) {
    err = ERR_NOTMEMBER;
  } else if (command->kind == COMMAND_PUT) {
    err = admit_write(shard, step);
  }
  if (err == ERR_OK && command->kind == COMMAND_CHANGE) {
    member_change(shard->member, step, command);
    return;
  }
  if (err == ERR_OK && command->kind == COMMAND_WAITSYNC) {
    sync_wait(shard->sync, step, command);
    return;
  }
  if (err == ERR_OK && command->kind == COMMAND_BUCKET_SET) {
    err = member_set_bucket(shard->member, step, command->key, &command->props);
    step_reply(step, command->token)->err = err;
    return;
  }
  if (err != ERR_OK) {
    step_reply(step, command->token)->err = err;
    return;
  }
  coord_command(shard->coord, step, command);
}

static void on_read_done(struct shard *shard, struct step *step, const struct event *event) {
  ASSERT(token_owner(event->read.token) == TOKEN_REPLICA);
  replica_read_done(shard->replica, step, event->read.token, event->read.err, event->read.value);
}

static void on_commit_done(struct shard *shard, struct step *step, const struct event *event) {
  switch (token_owner(event->commit.token)) {
  case TOKEN_REPLICA:
    replica_commit_done(shard->replica, step, event->commit.token, event->commit.err);
    break;
  case TOKEN_MEMBER:
    member_commit_done(shard->member, step, event->commit.token, event->commit.err);
    break;
  case TOKEN_MOVE:
    move_commit_done(shard->move, step, event->commit.token, event->commit.err);
    break;
  case TOKEN_SCRUB:
    scrub_commit_done(shard->scrub, step, event->commit.err);
    break;
  case TOKEN_FLOORS:
    floors_commit_done(shard->floors, step, event->commit.err);
    break;
  case TOKEN_HANDOFF:
  case TOKEN_GROWTH:
  case TOKEN_SYNC:
  case TOKEN_REAPER:
    ASSERT(false && "they commit through the replica, or nothing");
  }
}

static void on_scan_done(struct shard *shard, struct step *step, const struct event *event) {
  switch (token_owner(event->scan.token)) {
  case TOKEN_MOVE:
    move_scan_done(shard->move, step, event);
    break;
  case TOKEN_HANDOFF:
    handoff_scan_done(shard->handoff, step, event);
    break;
  case TOKEN_GROWTH:
    growth_scan_done(shard->growth, step, event);
    break;
  case TOKEN_SYNC:
    sync_scan_done(shard->sync, step, event);
    break;
  case TOKEN_SCRUB:
    scrub_scan_done(shard->scrub, step, event);
    break;
  case TOKEN_REAPER:
    reaper_scan_done(shard->reaper, step, event);
    break;
  case TOKEN_REPLICA:
  case TOKEN_MEMBER:
  case TOKEN_FLOORS:
    ASSERT(false && "they do not scan");
  }
}

static void on_event(struct shard *shard, struct step *step, const struct event *event) {
  switch (event->kind) {
  case EVENT_TICK:
    break; /* timers are looked at in every step */
  case EVENT_MESSAGE:
    on_remote_message(shard, step, event->message.from, event->message.message);
    break;
  case EVENT_COMMAND:
    on_command(shard, step, event->command);
    break;
  case EVENT_READ_DONE:
    on_read_done(shard, step, event);
    break;
  case EVENT_COMMIT_DONE:
    on_commit_done(shard, step, event);
    break;
  case EVENT_SCAN_DONE:
    on_scan_done(shard, step, event);
    break;
  case EVENT_PEER_UP:
    member_peer_up(shard->member, step, event->peer);
    break;
  case EVENT_PEER_DOWN:
    member_peer_down(shard->member, step, event->peer);
    coord_peer_down(shard->coord, step, event->peer);
    break;
  }
}

static void drain_local(struct shard *shard, struct step *step) {
  struct local_queue *local = &shard->local;
  while (local->count > 0) {
    struct message message = local->list[local->head];
    local->head = (local->head + 1) % LOCAL_MESSAGES_MAX;
    local->count -= 1;
    on_message(shard, step, shard->node, &message);
    blob_put(message.key_blob);
    blob_put(message.object_blob);
  }
}

/* Is all that was begun here before this turn over? */
static bool is_past(const struct shard *shard, uint32_t turn) {
  return coord_is_past(shard->coord, turn) && replica_is_past(shard->replica, turn) &&
         handoff_is_past(shard->handoff, turn) && sync_is_past(shard->sync, turn);
}

static void tick(struct shard *shard, struct step *step) {
  admit_tick(&shard->admit, &step->tunables->background, step->now_ns);
  shard->health.held_back = (uint16_t)admit_held_back(&shard->admit);
  handoff_totals(shard->handoff, &shard->health.hints, &shard->health.oldest_hint_ms);
  move_totals(shard->move, step, &shard->health);
  sync_totals(shard->sync, step, &shard->health);
  const struct tree *tree = growth_tree(shard->growth);
  shard->health.tombstones = tree_marked(tree, OBJECT_DELETES);
  shard->health.expiring = tree_marked(tree, OBJECT_EXPIRES);
  shard->stats.tombstones = shard->health.tombstones;
  shard->stats.expiring = shard->health.expiring;
  shard->health.floor_ms = hlc_ms(floors_least(shard->floors));
  shard->health_epoch = step->epoch;
  member_set_health(shard->member, &shard->health);
  const struct member_progress progress = {.settled = coord_is_settled(shard->coord, step->epoch),
                                           .idle = coord_is_idle(shard->coord),
                                           .resynced = move_is_resynced(shard->move, step),
                                           .quiet = move_is_quiet(shard->move, step),
                                           .past = is_past(shard, step->turn),
                                           .holds = move_is_complete(shard->move, step)};
  member_note_progress(shard->member, step, &progress);
  member_tick(shard->member, step);
  handoff_tick(shard->handoff, step);
  move_tick(shard->move, step);
  growth_tick(shard->growth, step);
  sync_tick(shard->sync, step);
  scrub_tick(shard->scrub, step);
  floors_tick(shard->floors, step);
  reaper_tick(shard->reaper, step);
  if (sync_is_waited_for(shard->sync)) {
    sync_tell_waiters(shard->sync, step, member_least_settled(shard->member));
  }
  drain_local(shard, step);
  replica_tick(shard->replica, step);
  drain_local(shard, step);
  coord_tick(shard->coord, step);
  drain_local(shard, step);
}

void shard_step(struct shard *shard, const struct event *event, struct effects *effects) {
  ASSERT(event->now_ns >= shard->now_ns);
  effects_reset(effects);
  shard->now_ns = event->now_ns;
  struct step step = {
      .now_ns = event->now_ns,
      .wall_ms = event->wall_ms,
      .effects = effects,
      .stats = &shard->stats,
      .pool = &shard->pool,
      .scratch = shard->scratch,
      .version_stats = &shard->version_stats,
      .prng = &shard->prng,
      .hlc = &shard->hlc,
      .tunables = &shard->tunables,
      .cluster_seed = shard->cluster_seed,
      .self = shard->node,
      .nospace = shard->health.nospace != 0,
      .admit = &shard->admit,
      .local = &shard->local,
  };
  member_view(shard->member, &step);
  growth_look(shard->growth, &step);
  floors_look(shard->floors, &step);
  on_event(shard, &step, event);
  drain_local(shard, &step);
  if (event->kind == EVENT_TICK) {
    tick(shard, &step);
  }
  if (step.epoch != shard->health_epoch) {
    shard->health.strays = shard->health.keys; /* until the next tick has looked */
  }
  ASSERT(shard->local.count == 0);
  shard->stats.merges = shard->version_stats.merges;
  shard->stats.truncated = shard->version_stats.truncated;
  shard->stats.overfull = shard->version_stats.overfull;
  shard->stats.buried = shard->version_stats.buried;
  shard->stats.clocks_ahead = shard->hlc.ahead_count;
}

uint64_t shard_deadline(const struct shard *shard) {
  if (replica_wants_tick(shard->replica)) {
    return shard->now_ns;
  }
  uint64_t deadline = member_deadline(shard->member);
  uint64_t handoff = handoff_deadline(shard->handoff);
  uint64_t coord = coord_deadline(shard->coord);
  uint64_t move = move_deadline(shard->move);
  uint64_t growth = growth_deadline(shard->growth);
  uint64_t sync = sync_deadline(shard->sync);
  uint64_t scrub = scrub_deadline(shard->scrub);
  deadline = handoff < deadline ? handoff : deadline;
  deadline = move < deadline ? move : deadline;
  deadline = growth < deadline ? growth : deadline;
  deadline = sync < deadline ? sync : deadline;
  deadline = scrub < deadline ? scrub : deadline;
  uint64_t floors = floors_deadline(shard->floors);
  uint64_t reaper = reaper_deadline(shard->reaper);
  deadline = floors < deadline ? floors : deadline;
  deadline = reaper < deadline ? reaper : deadline;
  return coord < deadline ? coord : deadline;
}

/* -- views ------------------------------------------------------------------------------ */

struct blob_pool *shard_pool(struct shard *shard) {
  return &shard->pool;
}

const struct ring *shard_ring(const struct shard *shard) {
  return member_ring(shard->member);
}

const struct history *shard_history(const struct shard *shard) {
  return member_history(shard->member);
}

const struct bucket_table *shard_buckets(const struct shard *shard) {
  return member_buckets(shard->member);
}

const struct shard_stats *shard_stats(const struct shard *shard) {
  return &shard->stats;
}

struct context_binding shard_binding(const struct shard *shard, struct bytes key) {
  struct position position = position_of_key(key);
  return (struct context_binding){shard->cluster_seed, position.high, position.low};
}

uint32_t shard_members(const struct shard *shard, struct member_view *out, uint32_t capacity) {
  return member_list(shard->member, out, capacity);
}

const struct ring *shard_reading_ring(const struct shard *shard) {
  struct step step = {.self = shard->node};
  member_view(shard->member, &step);
  return step.reading;
}

const struct ring *shard_base_ring(const struct shard *shard) {
  struct step step = {.self = shard->node};
  member_view(shard->member, &step);
  return step.base;
}

const struct heartbeat *shard_health(const struct shard *shard) {
  return &shard->health;
}

void shard_layout(const struct shard *shard, struct layout_view *out) {
  member_layout(shard->member, out);
}

uint64_t shard_floor(const struct shard *shard, uint32_t partition) {
  return floors_get(shard->floors, partition);
}

uint32_t shard_candidates(const struct shard *shard, struct candidate_view *out, uint32_t capacity) {
  return member_candidates(shard->member, out, capacity);
}

bool shard_takes_changes(const struct shard *shard) {
  return member_takes_changes(shard->member);
}

bool shard_is_member(const struct shard *shard) {
  return member_is_member(shard->member);
}

const char *shard_join_refusal(const struct shard *shard) {
  return member_refusal(shard->member);
}

uint32_t shard_foreigners(const struct shard *shard, uint32_t *last) {
  return member_foreigners(shard->member, last);
}

void shard_set_health(struct shard *shard, bool nospace, uint64_t keys) {
  shard->health.nospace = nospace ? 1 : 0;
  shard->health.keys = keys;
}

void shard_set_tunables(struct shard *shard, const struct shard_tunables *tunables) {
  shard->tunables = *tunables;
}

const struct blob_pool *shard_value_pool(const struct shard *shard) {
  return &shard->pool;
}

uint64_t shard_wrote(const struct shard *shard) {
  return member_wrote(shard->member);
}

enum loss shard_latest_loss(const struct shard *shard) {
  return member_latest_loss(shard->member);
}

enum loss shard_loss(const struct shard *shard, bool *sure) {
  struct step step = {.self = shard->node};
  member_view(shard->member, &step);
  *sure = step.sure;
  return member_loss(shard->member);
}

void shard_scrub(const struct shard *shard, struct scrub_view *out) {
  scrub_look(shard->scrub, shard->now_ns, shard->tunables.scrub_round_ns, out);
}

uint32_t shard_sync_list(const struct shard *shard, struct sync_view *out, uint32_t capacity) {
  return sync_list(shard->sync, shard_reading_ring(shard), out, capacity);
}

uint32_t shard_sync_differences(const struct shard *shard, struct sync_difference *out, uint32_t capacity) {
  return sync_differences(shard->sync, shard_reading_ring(shard), out, capacity);
}

uint32_t shard_tree_left(const struct shard *shard) {
  return growth_left(shard->growth);
}

void shard_background(const struct shard *shard, struct admit_view *out) {
  admit_describe(&shard->admit, &shard->tunables.background, out);
}

const struct tree *shard_tree(const struct shard *shard) {
  uint32_t sizes = 0; /* those of the buckets may be others since this step: it is grown anew in the next */
  bool current = bucket_table_sizes(member_buckets(shard->member), &sizes) == growth_sizes_digest(shard->growth);
  bool sees = growth_is_whole(shard->growth) && !growth_is_blind(shard->growth);
  return current && sees ? growth_tree(shard->growth) : NULL;
}

uint32_t shard_in_flight(const struct shard *shard) {
  return coord_in_flight(shard->coord);
}
