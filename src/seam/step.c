#include "seam/step.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "version/context.h"

/* What each reply of a step is sure to have room for. */
#define CONTEXT_SHARE_BYTES (CONTEXT_FIXED_BYTES + CLOCK_PAIRS_MAX * DOT_BYTES)

_Static_assert(REPLY_CONTEXT_ROOM_BYTES >= REPLIES_PER_STEP_MAX * CONTEXT_SHARE_BYTES,
               "a context of CLOCK_PAIRS_MAX fits into every reply of a step");

#define TOKEN_VALUE_BITS 56u
#define TOKEN_VALUE_MASK ((UINT64_C(1) << TOKEN_VALUE_BITS) - 1)

/* Does `part` lie in `whole`? An empty one lies anywhere. */
static bool bytes_within(struct bytes part, const struct blob *whole) {
  if (part.size == 0) {
    return true;
  }
  if (whole == NULL || part.size > whole->size) {
    return false;
  }
  uintptr_t start = (uintptr_t)part.data;
  uintptr_t base = (uintptr_t)whole->data;
  return start >= base && start - base <= whole->size - part.size;
}

static bool has_store_key(enum message_type type) {
  switch (type) {
  case MESSAGE_WRITE:
  case MESSAGE_READ:
  case MESSAGE_FORWARD:
  case MESSAGE_STAMP:
  case MESSAGE_HINT_DROP:
  case MESSAGE_HINT_KEPT:
  case MESSAGE_HINT_DROPPED:
  case MESSAGE_OFFER:
  case MESSAGE_OBJECT_DROP:
  case MESSAGE_DAMAGED:
  case MESSAGE_RESTORE:
  case MESSAGE_BURY:
  case MESSAGE_REAP:
    return true;
  case MESSAGE_HEARTBEAT:
  case MESSAGE_GOSSIP:
  case MESSAGE_HISTORY:
  case MESSAGE_PROPS:
  case MESSAGE_JOIN:
  case MESSAGE_JOIN_RESULT:
  case MESSAGE_WRITE_ACK:
  case MESSAGE_READ_REPLY:
  case MESSAGE_FORWARD_REPLY:
  case MESSAGE_STAMPED:
  case MESSAGE_PULL:
  case MESSAGE_PULLED:
  case MESSAGE_COMPARE:
  case MESSAGE_COMPARED:
  case MESSAGE_FLOORS:
  case MESSAGE_FLOORS_HELD:
    return false;
  }
  ASSERT(false); /* a message of no type */
  return false;
}

static uint16_t partition_of(const struct step *step, const struct message *message) {
  if (!has_store_key(message->type) || step->ring->partition_count == 0) {
    return message->partition;
  }
  ASSERT(message->key.size >= POSITION_BYTES);
  return position_partition(position_read(message->key.data), step->ring->partition_count);
}

void step_send(struct step *step, uint32_t to, const struct message *message) {
  ASSERT(to != 0);
  ASSERT(message->key_blob == NULL || bytes_within(message->key, message->key_blob));
  ASSERT(message->object_blob == NULL || bytes_within(message->object, message->object_blob));
  struct message *out;
  if (to == step->self) {
    struct local_queue *local = step->local;
    ASSERT(local->count < LOCAL_MESSAGES_MAX);
    out = &local->list[(local->head + local->count) % LOCAL_MESSAGES_MAX];
    local->count += 1;
    *out = *message;
    out->hlc = 0; /* one's own clock has nothing to learn from itself */
  } else {
    ASSERT(message->type < MESSAGE_STAMP);
    struct effect *effect = effects_add(step->effects, EFFECT_SEND);
    effect->send.to = to;
    out = &effect->send.message;
    *out = *message;
    out->hlc = hlc_tick(step->hlc, step->wall_ms);
    out->sent_ms = (uint32_t)(step->now_ns / 1000000u);
  }
  out->partition = partition_of(step, message);
  (void)blob_get(out->key_blob);
  (void)blob_get(out->object_blob);
}

void step_commit(struct step *step, uint64_t token, enum space space, struct blob *key, struct blob *value, bool sync) {
  ASSERT(key != NULL);
  ASSERT(space < SPACE_COUNT);
  struct effect *effect = effects_add(step->effects, EFFECT_COMMIT);
  effect->commit.token = token;
  effect->commit.space = space;
  effect->commit.key = blob_get(key);
  effect->commit.value = blob_get(value);
  effect->commit.sync = sync;
}

void step_read(struct step *step, uint64_t token, enum space space, struct blob *key) {
  ASSERT(key != NULL);
  ASSERT(space < SPACE_COUNT);
  struct effect *effect = effects_add(step->effects, EFFECT_READ);
  effect->read.token = token;
  effect->read.space = space;
  effect->read.key = blob_get(key);
}

void step_scan(struct step *step, uint64_t token, enum space space, struct blob *from, struct blob *prefix,
               uint32_t max_count, uint32_t max_bytes, bool keys_only) {
  ASSERT(from != NULL);
  ASSERT(space < SPACE_COUNT);
  ASSERT(max_count > 0);
  struct effect *effect = effects_add(step->effects, EFFECT_SCAN);
  effect->scan.token = token;
  effect->scan.space = space;
  effect->scan.from = blob_get(from);
  effect->scan.prefix = blob_get(prefix);
  effect->scan.max_count = max_count;
  effect->scan.max_bytes = max_bytes;
  effect->scan.keys_only = keys_only;
}

struct reply *step_reply(struct step *step, uint64_t token) {
  struct effects *effects = step->effects;
  ASSERT(effects->reply_count < REPLIES_PER_STEP_MAX);
  struct reply *reply = &effects->replies[effects->reply_count];
  effects->reply_count += 1;
  /* `explained` is most of a reply and seldom used. */
  memset(reply, 0, offsetof(struct reply, explained));
  reply->token = token;
  struct effect *effect = effects_add(effects, EFFECT_REPLY);
  effect->reply = reply;
  ASSERT(reply->explained_count == 0);
  return reply;
}

uint32_t step_replies_left(const struct step *step) {
  ASSERT(step->effects->reply_count <= REPLIES_PER_STEP_MAX);
  return REPLIES_PER_STEP_MAX - step->effects->reply_count;
}

void step_reply_context(struct step *step, struct reply *reply, struct past *past, uint32_t coordinator,
                        struct position position) {
  struct effects *effects = step->effects;
  ASSERT(reply->context.size == 0);
  ASSERT(effects->reply_count > 0);
  /* What later replies of this step are sure to get is not for this one. */
  size_t reserved = (size_t)step_replies_left(step) * CONTEXT_SHARE_BYTES;
  size_t free_bytes = REPLY_CONTEXT_ROOM_BYTES - effects->context_bytes;
  size_t wanted = CONTEXT_FIXED_BYTES + ((size_t)past->pair_count + past->dot_count) * DOT_BYTES;
  if (wanted > CONTEXT_SHARE_BYTES && wanted + reserved > free_bytes) {
    step->stats->truncated += past_truncate(past);
  }
  struct writer w = writer_make(effects->context_room + effects->context_bytes, free_bytes);
  struct context_binding binding = {
      .seed = step->cluster_seed, .position_high = position.high, .position_low = position.low};
  context_encode(&w, past, coordinator, binding);
  ASSERT(!w.failed);
  reply->context = writer_bytes(&w);
  reply->coordinator = coordinator;
  effects->context_bytes += (uint32_t)w.size;
}

bool step_is_up(const struct step *step, uint32_t node) {
  if (node == step->self) {
    return true;
  }
  int index = ring_find(step->ring, node);
  ASSERT(index < (int)step->ring->member_count);
  if (index >= 0) {
    return step->up[index];
  }
  index = ring_find(step->base, node);
  return index >= 0 && step->base_up[index];
}

static uint32_t held_back(const struct step *step, uint32_t node) {
  int index = node == 0 ? -1 : ring_find(step->ring, node);
  if (index >= 0) {
    return step->held_back[index];
  }
  index = node == 0 ? -1 : ring_find(step->base, node);
  return index >= 0 ? step->base_held_back[index] : 0;
}

bool step_may_work(const struct step *step, enum admit_kind kind, uint32_t with, uint64_t *due_ns) {
  return admit_may(step->admit, &step->tunables->background, kind, held_back(step, with), step->now_ns, due_ns);
}

void step_worked(const struct step *step, enum admit_kind kind, uint64_t bytes) {
  ASSERT(bytes <= FRAME_BODY_MAX_BYTES);
  admit_spend(step->admit, &step->tunables->background, kind, bytes);
}

uint64_t token_make(enum token_owner owner, uint64_t value) {
  ASSERT(owner >= TOKEN_REPLICA && owner <= TOKEN_REAPER);
  ASSERT(value <= TOKEN_VALUE_MASK);
  return ((uint64_t)owner << TOKEN_VALUE_BITS) | value;
}

enum token_owner token_owner(uint64_t token) {
  uint64_t owner = token >> TOKEN_VALUE_BITS;
  ASSERT(owner >= TOKEN_REPLICA && owner <= TOKEN_REAPER);
  return (enum token_owner)owner;
}

uint64_t token_value(uint64_t token) {
  return token & TOKEN_VALUE_MASK;
}
