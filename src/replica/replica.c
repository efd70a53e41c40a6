#include "replica/replica.h"

#include <string.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/plant.h"
#include "version/bucket.h"
#include "version/context.h"
#include "version/object.h"
#include "version/prune.h"

#define NONE UINT32_MAX
#define MAP_SLOTS (4u * PENDING_KEYS_MAX)
#define HINT_PREFIX_BYTES 4u

_Static_assert((MAP_SLOTS & (MAP_SLOTS - 1)) == 0, "the map wants a power of two");
_Static_assert(PENDING_OPS_MAX >= PENDING_KEYS_MAX, "each pending key has at least one operation");

/* A message that waits for its key, or (a write) for its commit. */
struct operation {
  enum message_type type;
  uint8_t flags;
  uint32_t from;
  uint32_t owner;
  uint64_t request;
  uint64_t digest;          /* STAMP: the epoch of the layouts that it was planned by */
  uint64_t floor;           /* BURY, REAP */
  uint32_t turn;            /* step->turn when it came */
  uint64_t commit_sequence; /* of its commit, among all commits of this replica */
  uint64_t share;           /* of the tree, of the object that it commits */
  struct put_options options;
  struct blob *object;  /* WRITE: object, STAMP: value; NULL when empty */
  struct blob *context; /* STAMP */
  uint32_t slot;
  uint32_t next; /* in the slot's queue, or the free list */
  bool removes;  /* its commit deletes the key */
  bool adds;     /* its commit makes a hint where there was none */
};

enum slot_state { SLOT_FREE = 0, SLOT_READING, SLOT_DAMAGED, SLOT_KNOWN };

struct slot {
  enum slot_state state;
  enum space space;
  uint32_t owner;
  uint64_t hash;
  struct blob *key;         /* in its space's form */
  struct blob *object;      /* KNOWN: what the node holds; NULL absent */
  uint32_t head, tail;      /* operations that wait */
  uint32_t commits;         /* under way */
  uint32_t next;            /* free list, or the list of slots with operations left over */
  bool listed;              /* in that list */
  bool adds_owed;           /* the commit that made this hint failed: the next that succeeds makes it */
  enum err read_err;        /* KNOWN, not OK: the storage could not read it; whoever waits is told so */
  uint64_t failed_sequence; /* of a commit that failed, while no later one has succeeded: the store has not all that
                             * `object` has; 0: none */
  bool share_known;         /* `share` is of what the store has */
  bool doubtful;            /* nobody knows what it has */
  uint64_t share;           /* of the tree */
};

struct replica {
  struct actor actor;
  bool dropped;           /* objects that may have dots of `actor` have been given away, all of them ... */
  uint32_t dropped_epoch; /* ... while the live layouts and the buckets, which say what it replicates, were these */
  uint64_t dropped_buckets;
  struct growth *growth; /* borrowed, as are */
  const struct floors *floors;
  uint32_t turns[2];       /* operations by the turn in which they came: even, odd */
  uint64_t stand_in_epoch; /* the stand-in actors' incarnations are made of it */
  bool stand_in_used;      /* a dot has been issued in this epoch */
  uint64_t seed;
  uint64_t commit_sequence;   /* of the last commit emitted */
  uint64_t unsynced_sequence; /* of the last one emitted without sync */
  uint64_t synced_sequence;   /* of the last one with sync that has completed */
  uint32_t free_slot, free_operation;
  uint32_t slots_used, operations_used;
  uint32_t left_head, left_tail;
  struct past context; /* of the put being stamped */
  struct map map;
  struct map_slot map_slots[MAP_SLOTS];
  struct slot slots[PENDING_KEYS_MAX];
  struct operation operations[PENDING_OPS_MAX];
};

size_t replica_size(void) {
  return (sizeof(struct replica) + 63u) & ~(size_t)63u;
}

struct replica *replica_init(void *memory, struct actor actor, uint64_t stand_in_epoch, uint64_t seed,
                             struct growth *growth, const struct floors *floors) {
  ASSERT(memory != NULL && growth != NULL && floors != NULL);
  ASSERT(actor.node != 0);
  ASSERT(actor.incarnation != stand_in_epoch);
  struct replica *replica = memory;
  memset(replica, 0, sizeof *replica);
  replica->actor = actor;
  replica->stand_in_epoch = stand_in_epoch;
  replica->seed = seed;
  replica->growth = growth;
  replica->floors = floors;
  replica->left_head = replica->left_tail = NONE;
  map_init(&replica->map, replica->map_slots, MAP_SLOTS);
  for (uint32_t i = 0; i < PENDING_KEYS_MAX; i++) {
    replica->slots[i].next = i + 1 < PENDING_KEYS_MAX ? i + 1 : NONE;
  }
  for (uint32_t i = 0; i < PENDING_OPS_MAX; i++) {
    replica->operations[i].next = i + 1 < PENDING_OPS_MAX ? i + 1 : NONE;
  }
  return replica;
}

void replica_deinit(struct replica *replica) {
  for (uint32_t i = 0; i < PENDING_KEYS_MAX; i++) {
    blob_put(replica->slots[i].key);
    blob_put(replica->slots[i].object);
  }
  for (uint32_t i = 0; i < PENDING_OPS_MAX; i++) {
    blob_put(replica->operations[i].object);
    blob_put(replica->operations[i].context);
  }
}

struct actor replica_actor(const struct replica *replica) {
  return replica->actor;
}

bool replica_is_idle(const struct replica *replica) {
  return replica->slots_used == 0 && replica->operations_used == 0;
}

bool replica_is_past(const struct replica *replica, uint32_t turn) {
  ASSERT(replica->turns[0] + replica->turns[1] == replica->operations_used);
  return replica->turns[(turn + 1u) % 2u] == 0;
}

bool replica_wants_tick(const struct replica *replica) {
  return replica->left_head != NONE;
}

/* How many more writes this replica would take now: what hint delivery is paced by. */
static uint64_t replica_credit(const struct replica *replica) {
  uint32_t left = PENDING_OPS_MAX - replica->operations_used;
  uint32_t keys_left = PENDING_KEYS_MAX - replica->slots_used;
  return (left < keys_left ? left : keys_left) / 16u;
}

/* -- slots and operations ------------------------------------------------ */

static struct blob *space_key(struct step *step, const struct message *message) {
  if (message->owner == 0) {
    bool whole = message->key_blob != NULL && message->key_blob->size == message->key.size;
    return whole ? blob_get(message->key_blob) : blob_copy(step->pool, message->key);
  }
  struct blob *key = blob_new(step->pool, HINT_PREFIX_BYTES + message->key.size);
  if (key != NULL) {
    for (uint32_t i = 0; i < HINT_PREFIX_BYTES; i++) {
      key->data[i] = (uint8_t)(message->owner >> (24u - 8u * i));
    }
    memcpy(key->data + HINT_PREFIX_BYTES, message->key.data, message->key.size);
  }
  return key;
}

/* The store key inside a key of either space. */
static struct bytes slot_store_key(const struct slot *slot) {
  struct bytes key = blob_bytes(slot->key);
  size_t skip = slot->space == SPACE_HINTS ? HINT_PREFIX_BYTES : 0;
  return (struct bytes){key.data + skip, key.size - skip};
}

/* Finds or makes the slot of the message's key. BUSY when there is no room, or when another key of the same
 * hash is under way (the hash is seeded: nobody can aim at it). */
static enum err slot_find(struct replica *replica, struct step *step, const struct message *message, uint32_t *index) {
  uint64_t hash = bytes_hash(message->key, replica->seed + message->owner);
  if (map_find(&replica->map, hash, index)) {
    const struct slot *found = &replica->slots[*index];
    bool same = found->owner == message->owner && bytes_equal(slot_store_key(found), message->key);
    return same ? ERR_OK : ERR_BUSY;
  }
  if (replica->free_slot == NONE) {
    return ERR_BUSY;
  }
  struct blob *key = space_key(step, message);
  if (key == NULL) {
    return ERR_NOMEM;
  }
  *index = replica->free_slot;
  struct slot *slot = &replica->slots[*index];
  ASSERT(slot->state == SLOT_FREE);
  replica->free_slot = slot->next;
  replica->slots_used += 1;
  *slot = (struct slot){
      .state = SLOT_READING,
      .space = message->owner == 0 ? SPACE_OBJECTS : SPACE_HINTS,
      .owner = message->owner,
      .hash = hash,
      .key = key,
      .head = NONE,
      .tail = NONE,
      .next = NONE,
  };
  map_insert(&replica->map, hash, *index);
  step_read(step, token_make(TOKEN_REPLICA, *index), slot->space, key);
  return ERR_OK;
}

/* What the store has is known, or about to be read again. */
static void tree_settled(struct replica *replica, struct slot *slot) {
  if (slot->doubtful) {
    slot->doubtful = false;
    growth_settled(replica->growth);
  }
}

static void slot_free_if_idle(struct replica *replica, uint32_t index) {
  struct slot *slot = &replica->slots[index];
  if (slot->state != SLOT_KNOWN || slot->commits != 0 || slot->head != NONE || slot->listed) {
    return;
  }
  bool removed = map_remove(&replica->map, slot->hash);
  ASSERT(removed);
  tree_settled(replica, slot);
  blob_put(slot->key);
  blob_put(slot->object);
  *slot = (struct slot){.state = SLOT_FREE, .next = replica->free_slot};
  replica->free_slot = index;
  replica->slots_used -= 1;
}

static uint32_t operation_take(struct replica *replica, uint32_t turn) {
  uint32_t index = replica->free_operation;
  if (index != NONE) {
    replica->free_operation = replica->operations[index].next;
    replica->operations[index].turn = turn;
    replica->turns[turn % 2u] += 1;
    replica->operations_used += 1;
  }
  return index;
}

static void operation_free(struct replica *replica, uint32_t index) {
  struct operation *operation = &replica->operations[index];
  ASSERT(replica->operations_used > 0);
  ASSERT(replica->turns[operation->turn % 2u] > 0);
  replica->turns[operation->turn % 2u] -= 1;
  blob_put(operation->object);
  blob_put(operation->context);
  *operation = (struct operation){.next = replica->free_operation};
  replica->free_operation = index;
  replica->operations_used -= 1;
}

/* -- answers --------------------------------------------------------------- */

static void answer_error(struct replica *replica, struct step *step, const struct operation *operation, enum err err) {
  ASSERT(err != ERR_OK);
  struct message answer = {.request = operation->request, .owner = operation->owner, .err = err};
  if (operation->type == MESSAGE_READ) {
    answer.type = MESSAGE_READ_REPLY;
  } else if (operation->type == MESSAGE_STAMP) {
    answer.type = MESSAGE_STAMPED;
  } else if (operation->type != MESSAGE_HINT_DROP) {
    answer.type = MESSAGE_WRITE_ACK; /* WRITE, BURY, OFFER, OBJECT_DROP; nobody waits for a REAP */
    answer.digest = replica_credit(replica);
  } else {
    return; /* nobody waits for a HINT_DROP: the hint is delivered once more */
  }
  if ((operation->flags & MESSAGE_QUIET) == 0) {
    step_send(step, operation->from, &answer);
  }
}

static void answer_written(struct replica *replica, struct step *step, const struct operation *operation, enum err err,
                           bool durable) {
  if ((operation->flags & MESSAGE_QUIET) != 0) {
    return;
  }
  struct message ack = {
      .type = MESSAGE_WRITE_ACK,
      .flags = durable ? MESSAGE_DURABLE : 0,
      .request = operation->request,
      .owner = operation->owner,
      .err = err,
      .digest = replica_credit(replica),
  };
  step_send(step, operation->from, &ack);
}

/* Up to when this node knows all versions of the key. */
static uint64_t slot_floor(const struct replica *replica, const struct step *step, const struct slot *slot) {
  return slot->space == SPACE_OBJECTS ? floors_of_key(replica->floors, step, slot_store_key(slot)) : 0;
}

static void answer_read(struct replica *replica, struct step *step, const struct slot *slot,
                        const struct operation *operation) {
  struct message reply = {.type = MESSAGE_READ_REPLY, .request = operation->request, .owner = operation->owner};
  reply.floor = slot_floor(replica, step, slot);
  struct blob *clock = NULL;
  if (slot->object != NULL) {
    bool small = slot->object->size <= step->tunables->small_value_bytes;
    bool whole = (operation->flags & MESSAGE_FULL) != 0 || (small && (operation->flags & MESSAGE_CLOCK) == 0);
    reply.object_blob = slot->object;
    reply.digest = object_digest(blob_bytes(slot->object));
    if (!whole) {
      struct object object;
      enum err err = object_open(&object, blob_bytes(slot->object));
      ASSERT(err == ERR_OK);
      clock = object_clock(step->pool, &object);
      if (clock == NULL) {
        answer_error(replica, step, operation, ERR_NOMEM);
        return;
      }
      reply.object_blob = clock;
      reply.flags = MESSAGE_CLOCK;
    }
    reply.object = blob_bytes(reply.object_blob);
  }
  step_send(step, operation->from, &reply);
  blob_put(clock);
}

/* -- running an operation on a known object ----------------------------------- */

static void primary_forgets(struct replica *replica, struct step *step) {
  replica->actor.incarnation = prng_u64(step->prng);
  replica->dropped = false;
  COUNT(step->stats->incarnations);
}

/* What this node replicates has changed since it gave objects away: it may get them back, and not with all its dots. */
static void primary_forgets_dropped(struct replica *replica, struct step *step) {
  bool same = replica->dropped_epoch == step->epoch && replica->dropped_buckets == step->buckets_digest;
  if (replica->dropped && !same) {
    primary_forgets(replica, step);
  }
}

static struct bucket_props key_props(const struct step *step, const struct slot *slot) {
  struct bytes key = slot_store_key(slot);
  ASSERT(key.size >= POSITION_BYTES);
  struct bytes user_key = {key.data + POSITION_BYTES, key.size - POSITION_BYTES};
  return bucket_find(step->buckets, bucket_of_key(user_key));
}

/* Is this node a replica of the key in a live layout? */
static bool is_owned(const struct step *step, const struct slot *slot) {
  const struct ring *rings[2] = {step->ring, step->base};
  struct position position = position_read(slot_store_key(slot).data);
  uint32_t n = key_props(step, slot).n;
  bool owned = false;
  for (uint32_t i = 0; i < 2 && rings[i]->partition_count > 0; i++) {
    uint32_t partition = position_partition(position, rings[i]->partition_count);
    owned = owned || ring_rank(rings[i], partition, n, step->self) < n;
  }
  return owned;
}

/* Who stamps: for each owner that this node stands in for another actor, new whenever hints have been given away; for a
 * key that it does not replicate any more, since the put was planned, one for this dot alone. */
static struct actor stamping_actor(struct replica *replica, struct step *step, const struct slot *slot,
                                   const struct operation *operation) {
  ASSERT(operation->type == MESSAGE_STAMP);
  if (slot->space == SPACE_OBJECTS && operation->digest != step->epoch && !is_owned(step, slot)) {
    COUNT(step->stats->incarnations);
    return (struct actor){.node = replica->actor.node, .incarnation = prng_u64(step->prng)};
  }
  if (slot->space == SPACE_OBJECTS) {
    primary_forgets_dropped(replica, step);
    return replica->actor;
  }
  ASSERT(slot->owner != 0);
  uint64_t words[2] = {replica->stand_in_epoch, slot->owner};
  uint64_t incarnation = bytes_hash((struct bytes){(const uint8_t *)words, sizeof words}, 0);
  replica->stand_in_used = true;
  return (struct actor){.node = replica->actor.node, .incarnation = incarnation};
}

/* The stand-in actors may not claim what they issued until now: it is, or may be, no longer all here. */
static void stand_in_forgets(struct replica *replica, struct step *step) {
  if (replica->stand_in_used) {
    replica->stand_in_epoch = prng_u64(step->prng);
    replica->stand_in_used = false;
    COUNT(step->stats->incarnations);
  }
}

/* Makes `object` (taken over; NULL deletes) the slot's and commits it for the operation, which then waits for that. */
static void commit_take(struct replica *replica, struct step *step, uint32_t index, struct blob *object) {
  struct operation *operation = &replica->operations[index];
  struct slot *slot = &replica->slots[operation->slot];
  bool sync = (operation->flags & MESSAGE_NOSYNC) == 0 && !PLANTED(unsynced);
  operation->removes = object == NULL;
  bool had = slot->object != NULL || operation->type == MESSAGE_RESTORE;
  step->stats->keys_new += slot->space == SPACE_OBJECTS && !had && object != NULL ? 1 : 0;
  step->stats->keys_gone += slot->space == SPACE_OBJECTS && had && object == NULL ? 1 : 0;
  operation->adds = slot->space == SPACE_HINTS && slot->object == NULL;
  if (slot->space == SPACE_OBJECTS) {
    struct bytes key = blob_bytes(slot->key);
    slot->share = slot->share_known ? slot->share : growth_share(replica->growth, key, slot->object);
    slot->share_known = true;
    operation->share = growth_share(replica->growth, key, object);
  }
  blob_put(slot->object);
  slot->object = object;
  slot->commits += 1;
  replica->commit_sequence += 1;
  operation->commit_sequence = replica->commit_sequence;
  if (!sync) {
    replica->unsynced_sequence = replica->commit_sequence;
  }
  /* The bytes are in the slot now: what the operation brought is not needed any more. */
  blob_put(operation->object);
  operation->object = NULL;
  step_commit(step, token_make(TOKEN_REPLICA, PENDING_KEYS_MAX + (uint64_t)index), slot->space, slot->key, object,
              sync);
}

/* Is the slot's object in the store, and synced if that is wanted? */
static bool is_stored(const struct replica *replica, const struct slot *slot, bool synced) {
  bool all_synced = replica->unsynced_sequence <= replica->synced_sequence;
  return slot->commits == 0 && slot->failed_sequence == 0 && (all_synced || !synced);
}

/* True when the operation is finished, false when it waits for its commit. */
static bool run_write(struct replica *replica, struct step *step, uint32_t index, struct bytes object,
                      struct blob *object_blob) {
  struct operation *operation = &replica->operations[index];
  struct slot *slot = &replica->slots[operation->slot];
  struct blob *merged = NULL;
  enum err err = ERR_OK;
  if (PLANTED(repair_drops) && (operation->flags & MESSAGE_QUIET) != 0) {
    err = object_merge(step->scratch, step->pool, NULL, object, object_blob, key_props(step, slot).resolve,
                       step->version_stats, &merged);
  } else {
    struct holding mine = {blob_bytes(slot->object), slot->object, slot_floor(replica, step, slot)};
    struct holding theirs = {object, object_blob, operation->type == MESSAGE_BURY ? operation->floor : 0};
    err = holding_merge(step->scratch, step->pool, &mine, &theirs, key_props(step, slot).resolve, step->version_stats,
                        &merged);
  }
  if (err != ERR_OK) {
    answer_error(replica, step, operation, err);
    return true;
  }
  if (merged == slot->object && is_stored(replica, slot, (operation->flags & MESSAGE_NOSYNC) == 0)) {
    blob_put(merged);
    answer_written(replica, step, operation, ERR_OK, true);
    return true;
  }
  if ((operation->flags & MESSAGE_EARLY) != 0 || PLANTED(early_ack)) {
    answer_written(replica, step, operation, ERR_OK, PLANTED(early_ack));
  }
  commit_take(replica, step, index, merged);
  return false;
}

/* Takes out of an object what everybody may forget. */
static bool run_reap(struct replica *replica, struct step *step, uint32_t index) {
  struct operation *operation = &replica->operations[index];
  struct slot *slot = &replica->slots[operation->slot];
  struct blob *left = NULL;
  enum pruned pruned = PRUNED_NOTHING;
  /* What it was found to be below may have been forgotten since: then nothing is known of it. */
  bool holds = operation->floor <= slot_floor(replica, step, slot) || PLANTED(reap_timer);
  if (slot->object != NULL && holds) {
    pruned = object_reap(step->pool, blob_bytes(slot->object), operation->floor, &left);
  }
  if (pruned != PRUNED_SOME && pruned != PRUNED_ALL) {
    return true;
  }
  COUNT(step->stats->reaped);
  commit_take(replica, step, index, left);
  return false;
}

/* What the writer has seen, into `past`: nothing when there is no context. */
static enum err context_read(struct step *step, const struct slot *slot, struct bytes context, struct past *past) {
  past_init(past);
  if (context.size == 0) {
    return ERR_OK;
  }
  struct position position = position_read(slot_store_key(slot).data);
  struct context_binding binding = {step->cluster_seed, position.high, position.low};
  uint32_t coordinator = 0;
  enum err err = context_decode(context, binding, past, &coordinator);
  if (err == ERR_OK && PLANTED(stale_sibling)) {
    past_init(past);
  }
  return err;
}

/* Later than all that its writer has seen, and than all that is here: also where those clocks were ahead of ours, and
 * before ours has heard of any since our start. What is not above the floor would be taken for dead. */
static uint64_t stamp_time(const struct replica *replica, struct step *step, const struct slot *slot) {
  struct object object;
  uint64_t seen = past_newest(&replica->context);
  uint64_t floor = slot_floor(replica, step, slot);
  seen = floor > seen ? floor : seen;
  if (slot->object != NULL && object_open(&object, blob_bytes(slot->object)) == ERR_OK) {
    uint64_t newest = object_newest(&object);
    seen = newest > seen ? newest : seen;
  }
  return hlc_tick_after(step->hlc, seen, step->wall_ms);
}

static enum err stamp_object(struct replica *replica, struct step *step, const struct slot *slot,
                             const struct operation *operation, struct bytes value, struct dot dot,
                             struct blob **stamped) {
  struct bucket_props props = key_props(step, slot);
  struct put put = {
      .context = (operation->flags & MESSAGE_BLIND) != 0 ? NULL : &replica->context,
      .dot = dot,
      .contiguous = true,
      .tombstone = (operation->options.put_flags & PUT_TOMBSTONE) != 0,
      .keep_expiry = (operation->options.put_flags & PUT_KEEP_EXPIRY) != 0,
      .expires_at_ms = operation->options.expires_at_ms,
      .value = value,
      .resolve = props.resolve,
      .sibling_max = props.sibling_max,
  };
  return object_put(step->scratch, step->pool, slot->object, &put, step->version_stats, stamped);
}

static bool run_stamp(struct replica *replica, struct step *step, uint32_t index, struct bytes value,
                      struct bytes context) {
  struct operation *operation = &replica->operations[index];
  struct slot *slot = &replica->slots[operation->slot];
  bool blind = (operation->flags & MESSAGE_BLIND) != 0;
  enum err err = context_read(step, slot, blind ? BYTES_NONE : context, &replica->context);
  if (err != ERR_OK) {
    answer_error(replica, step, operation, err);
    return true;
  }
  struct actor actor = stamping_actor(replica, step, slot, operation);
  struct dot dot = {.actor = actor, .time = stamp_time(replica, step, slot)};
  struct blob *stamped = NULL;
  err = stamp_object(replica, step, slot, operation, value, dot, &stamped);
  if (PLANTED(room_made) && err == ERR_SIBLINGS) {
    answer_error(replica, step, operation, err);
    operation->flags |= MESSAGE_BLIND;
    err = stamp_object(replica, step, slot, operation, value, dot, &stamped);
  }
  if (err != ERR_OK) {
    answer_error(replica, step, operation, err);
    return true;
  }
  struct message answer = {
      .type = MESSAGE_STAMPED,
      .request = operation->request,
      .owner = operation->owner,
      .object = blob_bytes(stamped),
      .object_blob = stamped,
      .stamp_time = dot.time,
      .stamp_incarnation = actor.incarnation,
  };
  step_send(step, operation->from, &answer);
  if ((operation->flags & MESSAGE_EARLY) != 0) {
    answer_written(replica, step, operation, ERR_OK, false);
  }
  commit_take(replica, step, index, stamped);
  return false;
}

/* Is the slot's object the very one that the operation names? */
static bool is_same(const struct slot *slot, const struct operation *operation) {
  return slot->object != NULL && object_digest(blob_bytes(slot->object)) == operation->digest;
}

static void run_offer(struct replica *replica, struct step *step, uint32_t index) {
  const struct operation *operation = &replica->operations[index];
  const struct slot *slot = &replica->slots[operation->slot];
  bool held = is_same(slot, operation) && is_stored(replica, slot, true);
  answer_written(replica, step, operation, held ? ERR_OK : ERR_ABSENT, held);
}

static bool run_drop(struct replica *replica, struct step *step, uint32_t index) {
  const struct operation *operation = &replica->operations[index];
  const struct slot *slot = &replica->slots[operation->slot];
  ASSERT((slot->space == SPACE_HINTS) == (operation->type == MESSAGE_HINT_DROP));
  if (!is_same(slot, operation)) {
    answer_error(replica, step, operation, ERR_ABSENT);
    return true;
  }
  if (slot->space == SPACE_HINTS) {
    stand_in_forgets(replica, step);
  } else if (is_owned(step, slot)) {
    answer_error(replica, step, operation, ERR_STALE); /* the layouts have changed since it was asked for */
    return true;
  } else {
    primary_forgets_dropped(replica, step);
    replica->dropped = true;
    replica->dropped_epoch = step->epoch;
    replica->dropped_buckets = step->buckets_digest;
  }
  commit_take(replica, step, index, NULL);
  return false;
}

static void run(struct replica *replica, struct step *step, uint32_t index, struct bytes object,
                struct blob *object_blob, struct bytes context) {
  struct operation *operation = &replica->operations[index];
  const struct slot *slot = &replica->slots[operation->slot];
  ASSERT(slot->state == SLOT_KNOWN);
  bool finished = true;
  if (operation->type == MESSAGE_READ) {
    answer_read(replica, step, slot, operation);
  } else if (operation->type == MESSAGE_WRITE || operation->type == MESSAGE_BURY) {
    finished = run_write(replica, step, index, object, object_blob);
  } else if (operation->type == MESSAGE_REAP) {
    finished = run_reap(replica, step, index);
  } else if (operation->type == MESSAGE_STAMP) {
    finished = run_stamp(replica, step, index, object, context);
  } else if (operation->type == MESSAGE_OFFER) {
    run_offer(replica, step, index);
  } else {
    ASSERT(operation->type == MESSAGE_HINT_DROP || operation->type == MESSAGE_OBJECT_DROP);
    finished = run_drop(replica, step, index);
  }
  if (finished) {
    operation_free(replica, index);
  }
}

/* -- queues ---------------------------------------------------------------------- */

static void left_push(struct replica *replica, uint32_t index) {
  struct slot *slot = &replica->slots[index];
  if (slot->listed) {
    return;
  }
  slot->listed = true;
  slot->next = NONE;
  if (replica->left_tail == NONE) {
    replica->left_head = index;
  } else {
    replica->slots[replica->left_tail].next = index;
  }
  replica->left_tail = index;
}

/* A hint that can not be read is lost: what comes for its owner now is kept as if there had been none. Only for reads
 * nobody can say that there is none. */
static bool hint_is_lost(const struct slot *slot, const struct operation *operation) {
  return slot->space == SPACE_HINTS && slot->read_err == ERR_CORRUPT && operation->type != MESSAGE_READ;
}

/* Runs up to `budget` waiting operations of a known slot (or refuses them, when it could not be read); returns how
 * many. */
static uint32_t slot_run(struct replica *replica, struct step *step, uint32_t index, uint32_t budget) {
  struct slot *slot = &replica->slots[index];
  uint32_t ran = 0;
  while (slot->head != NONE && ran < budget) {
    uint32_t operation = slot->head;
    slot->head = replica->operations[operation].next;
    if (slot->head == NONE) {
      slot->tail = NONE;
    }
    replica->operations[operation].next = NONE;
    ran += 1;
    if (slot->read_err != ERR_OK && !hint_is_lost(slot, &replica->operations[operation])) {
      answer_error(replica, step, &replica->operations[operation], slot->read_err);
      operation_free(replica, operation);
      continue;
    }
    struct blob *object = replica->operations[operation].object;
    struct blob *context = blob_get(replica->operations[operation].context);
    blob_get(object);
    run(replica, step, operation, blob_bytes(object), object, blob_bytes(context));
    blob_put(object);
    blob_put(context);
  }
  if (slot->head != NONE) {
    left_push(replica, index);
  }
  return ran;
}

/* -- damage --------------------------------------------------------------------- */

/* What another replica asks to mend its own copy by is not kept waiting: it might wait for the same of us. */
static bool is_to_mend(const struct operation *operation) {
  return operation->type == MESSAGE_READ && (operation->flags & MESSAGE_COUNTS) == 0;
}

/* The record can not be read: operations wait until it has been made whole. */
static void damage_found(struct replica *replica, struct step *step, uint32_t index) {
  struct slot *slot = &replica->slots[index];
  uint32_t waiting = slot->head;
  ASSERT(slot->space == SPACE_OBJECTS && slot->object == NULL);
  slot->state = SLOT_DAMAGED;
  slot->head = slot->tail = NONE;
  while (waiting != NONE) {
    struct operation *operation = &replica->operations[waiting];
    uint32_t next = operation->next;
    operation->next = NONE;
    if (is_to_mend(operation)) {
      answer_error(replica, step, operation, ERR_CORRUPT);
      operation_free(replica, waiting);
    } else if (slot->tail == NONE) {
      slot->head = slot->tail = waiting;
    } else {
      replica->operations[slot->tail].next = waiting;
      slot->tail = waiting;
    }
    waiting = next;
  }
  COUNT(step->stats->damaged);
  struct message damaged = {.type = MESSAGE_DAMAGED, .key = blob_bytes(slot->key), .key_blob = slot->key};
  step_send(step, step->self, &damaged);
}

/* Stores what the others have in the place of the damaged record. Dots that only that record knew are lost: this
 * incarnation must not claim them. The tree's share of the record is known to nobody: its leaf is read again. */
static enum err restore(struct replica *replica, struct step *step, uint32_t slot_index, struct blob *object) {
  struct slot *slot = &replica->slots[slot_index];
  uint32_t index = operation_take(replica, step->turn);
  if (index == NONE) {
    return ERR_BUSY;
  }
  replica->operations[index] = (struct operation){.type = MESSAGE_RESTORE,
                                                  .flags = MESSAGE_QUIET,
                                                  .from = step->self,
                                                  .slot = slot_index,
                                                  .turn = step->turn,
                                                  .next = NONE};
  primary_forgets(replica, step);
  growth_lose(replica->growth, position_read(slot->key->data), position_read(slot->key->data));
  slot->state = SLOT_KNOWN;
  slot->share_known = true;
  slot->share = 0;
  commit_take(replica, step, index, object);
  return ERR_OK;
}

void replica_restore(struct replica *replica, struct step *step, const struct message *message) {
  uint32_t index = NONE;
  bool found = map_find(&replica->map, bytes_hash(message->key, replica->seed), &index);
  ASSERT(found);
  struct slot *slot = &replica->slots[index];
  ASSERT(slot->state == SLOT_DAMAGED && bytes_equal(slot_store_key(slot), message->key));
  enum err err = message->err;
  if (err == ERR_OK) {
    err = restore(replica, step, index, blob_get(message->object_blob));
  }
  if (err != ERR_OK) {
    slot->state = SLOT_KNOWN;
    slot->read_err = ERR_CORRUPT;
  }
  (void)slot_run(replica, step, index, OPS_PER_STEP_MAX);
  slot_free_if_idle(replica, index);
}

/* Keeps what an operation that must wait has only borrowed. False when there is no room. */
static bool operation_keep(struct step *step, struct operation *operation, const struct message *message) {
  if (message->object.size > 0) {
    operation->object =
        message->object_blob != NULL ? blob_get(message->object_blob) : blob_copy(step->pool, message->object);
    if (operation->object == NULL) {
      return false;
    }
  }
  if (message->context.size > 0) {
    operation->context = blob_copy(step->pool, message->context);
    if (operation->context == NULL) {
      return false;
    }
  }
  return true;
}

/* OK, or what is wrong with the object that a write brings, or with whose replica is meant. */
static enum err message_check(const struct message *message) {
  bool of_objects = message->type == MESSAGE_OFFER || message->type == MESSAGE_OBJECT_DROP ||
                    message->type == MESSAGE_BURY || message->type == MESSAGE_REAP;
  if (of_objects && message->owner != 0) {
    return ERR_BADARG;
  }
  bool brings = message->type == MESSAGE_WRITE || (message->type == MESSAGE_BURY && message->object.size > 0);
  if (!brings) {
    return ERR_OK;
  }
  struct object object;
  enum err err = object_open(&object, message->object);
  return err == ERR_OK && object.is_clock ? ERR_CORRUPT : err;
}

void replica_message(struct replica *replica, struct step *step, uint32_t from, const struct message *message) {
  if (message->key.size < POSITION_BYTES || message->key.size > POSITION_BYTES + KEY_MAX_BYTES) {
    COUNT(step->stats->messages_bad);
    return;
  }
  struct operation asked = {
      .type = message->type,
      .flags = message->flags,
      .from = from,
      .owner = message->owner,
      .request = message->request,
      .digest = message->digest,
      .floor = message->floor,
      .options = message->options,
      .turn = step->turn,
      .next = NONE,
  };
  enum err bad = message_check(message);
  if (bad != ERR_OK) {
    COUNT(step->stats->messages_bad);
    answer_error(replica, step, &asked, bad);
    return;
  }
  uint32_t slot_index = NONE;
  uint32_t index = operation_take(replica, step->turn);
  enum err err = index == NONE ? ERR_BUSY : slot_find(replica, step, message, &slot_index);
  if (err != ERR_OK) {
    COUNT(step->stats->busy);
    if (index != NONE) {
      operation_free(replica, index);
    }
    answer_error(replica, step, &asked, err);
    return;
  }
  asked.slot = slot_index;
  struct operation *operation = &replica->operations[index];
  struct slot *slot = &replica->slots[slot_index];
  *operation = asked;
  if (slot->state == SLOT_DAMAGED && is_to_mend(operation)) {
    answer_error(replica, step, operation, ERR_CORRUPT);
    operation_free(replica, index);
    return;
  }
  if (slot->state == SLOT_KNOWN && slot->head == NONE) {
    run(replica, step, index, message->object, message->object_blob, message->context);
    slot_free_if_idle(replica, slot_index);
    return;
  }
  if (!operation_keep(step, operation, message)) {
    answer_error(replica, step, operation, ERR_NOMEM);
    operation_free(replica, index);
    return;
  }
  if (slot->tail == NONE) {
    slot->head = index;
  } else {
    replica->operations[slot->tail].next = index;
  }
  slot->tail = index;
}

void replica_read_done(struct replica *replica, struct step *step, uint64_t token, enum err err, struct blob *value) {
  uint64_t number = token_value(token);
  ASSERT(number < PENDING_KEYS_MAX);
  uint32_t index = (uint32_t)number;
  struct slot *slot = &replica->slots[index];
  ASSERT(slot->state == SLOT_READING);
  slot->state = SLOT_KNOWN;
  struct object object;
  if (err == ERR_OK && value != NULL) {
    err = object_open(&object, blob_bytes(value));
    if (err == ERR_OK && object.is_clock) {
      err = ERR_CORRUPT;
    }
  }
  if (err == ERR_CORRUPT && slot->space == SPACE_OBJECTS) {
    damage_found(replica, step, index);
    return;
  }
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
    slot->read_err = err;
  } else {
    slot->object = blob_get(value);
  }
  (void)slot_run(replica, step, index, OPS_PER_STEP_MAX);
  slot_free_if_idle(replica, index);
}

static void tell_hints(struct step *step, const struct slot *slot, const struct operation *operation) {
  struct message told = {
      .type = operation->removes ? MESSAGE_HINT_DROPPED : MESSAGE_HINT_KEPT,
      .owner = slot->owner,
      .key = blob_bytes(slot->key),
      .key_blob = slot->key,
      .object = blob_bytes(slot->object),
      .object_blob = slot->object,
  };
  step_send(step, step->self, &told);
}

/* The tree follows the store, whatever else was committed for the key since. */
static void tree_follow(struct replica *replica, struct step *step, struct slot *slot,
                        const struct operation *operation, enum err err) {
  if (slot->space != SPACE_OBJECTS) {
    return;
  }
  ASSERT(slot->share_known);
  bool stale = PLANTED(tree_stale) && operation->type == MESSAGE_WRITE && slot->share != 0;
  if (err == ERR_OK) {
    if (!stale) {
      growth_stored(replica->growth, step, blob_bytes(slot->key), slot->share, operation->share);
    }
    slot->share = operation->share;
    tree_settled(replica, slot);
  } else if (err != ERR_BUSY && !slot->doubtful) {
    slot->doubtful = true; /* the store may have taken it all the same */
    growth_doubt(replica->growth, blob_bytes(slot->key));
  }
}

static void commit_failed(struct replica *replica, struct step *step, const struct operation *operation, enum err err) {
  COUNT(step->stats->store_errors);
  ASSERT(!PLANTED(assertion));
  /* Our own dot may be known to others and is not in our store: this incarnation must not claim it. */
  if (operation->type == MESSAGE_STAMP) {
    stand_in_forgets(replica, step);
    primary_forgets(replica, step);
  }
  answer_written(replica, step, operation, err, false);
}

void replica_commit_done(struct replica *replica, struct step *step, uint64_t token, enum err err) {
  uint64_t number = token_value(token);
  ASSERT(number >= PENDING_KEYS_MAX && number < PENDING_KEYS_MAX + PENDING_OPS_MAX);
  uint32_t index = (uint32_t)(number - PENDING_KEYS_MAX);
  struct operation *operation = &replica->operations[index];
  struct slot *slot = &replica->slots[operation->slot];
  ASSERT(slot->state == SLOT_KNOWN);
  ASSERT(slot->commits > 0);
  slot->commits -= 1;
  bool synced = (operation->flags & MESSAGE_NOSYNC) == 0;
  tree_follow(replica, step, slot, operation, err);
  if (err == ERR_OK) {
    if (operation->commit_sequence > slot->failed_sequence) {
      slot->failed_sequence = 0;
    }
    if (synced && operation->commit_sequence > replica->synced_sequence) {
      replica->synced_sequence = operation->commit_sequence;
    }
    if (operation->type == MESSAGE_RESTORE) {
      step->stats->healed += operation->removes ? 0 : 1;
      step->stats->damaged_lost += operation->removes ? 1 : 0;
    }
    if (operation->type != MESSAGE_HINT_DROP) {
      answer_written(replica, step, operation, ERR_OK, true);
    }
    bool is_hint = slot->space == SPACE_HINTS;
    if (is_hint && (operation->removes || operation->adds || slot->adds_owed)) {
      tell_hints(step, slot, operation);
      slot->adds_owed = false;
    }
  } else {
    /* It may be there all the same, and if not the next commit makes it: one too many is counted, none too few. */
    if (operation->adds && err != ERR_BUSY) {
      tell_hints(step, slot, operation);
    }
    slot->adds_owed = slot->adds_owed || operation->adds;
    slot->failed_sequence =
        operation->commit_sequence > slot->failed_sequence ? operation->commit_sequence : slot->failed_sequence;
    commit_failed(replica, step, operation, err);
  }
  uint32_t slot_index = operation->slot;
  operation_free(replica, index);
  slot_free_if_idle(replica, slot_index);
}

void replica_tick(struct replica *replica, struct step *step) {
  uint32_t budget = OPS_PER_STEP_MAX;
  while (replica->left_head != NONE && budget > 0) {
    uint32_t index = replica->left_head;
    struct slot *slot = &replica->slots[index];
    replica->left_head = slot->next;
    if (replica->left_head == NONE) {
      replica->left_tail = NONE;
    }
    slot->listed = false;
    slot->next = NONE;
    budget -= slot_run(replica, step, index, budget);
    slot_free_if_idle(replica, index);
  }
}
