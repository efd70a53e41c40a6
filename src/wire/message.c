#include "wire/message.h"

#include <string.h>

#include "admit/admit.h"
#include "base/assert.h"
#include "base/bytes.h"

#define OFFSET_CHECKSUM 4u
#define OFFSET_CHECKED 8u /* the checksum is over what follows, seeded with the body size before it */

#define POSITION_SIZE 16u /* a store key begins with one; ring/position.h stands above this layer */
#define HEARTBEAT_SIZE (26u + 32u + 16u + 29u + 24u + 14u + 49u + 32u)
#define GOSSIP_SIZE 16u
#define OPTIONS_SIZE 13u
#define PUT_FLAGS_ALL ((unsigned)PUT_TOMBSTONE | (unsigned)PUT_KEEP_EXPIRY)
#define TYPE_LOCAL_MIN MESSAGE_STAMP /* from here on: never on the wire */

/* The fields of a body, in the order in which they stand in it. */
enum field {
  FIELD_ERR = 1,
  FIELD_DIGEST = 2,
  FIELD_OUTCOME = 4,
  FIELD_OPTIONS = 8,
  FIELD_HEARTBEAT = 16,
  FIELD_GOSSIP = 32,
  FIELD_KEY = 64,     /* a store key */
  FIELD_REASON = 128, /* in `key` too: words */
  FIELD_OBJECT = 256,
  FIELD_CONTEXT = 512,
  FIELD_CURSOR = 1024, /* in `key` too: a store key or nothing */
  FIELD_FLOOR = 2048,
};

#define FIELDS_IN_KEY ((unsigned)FIELD_KEY | (unsigned)FIELD_REASON | (unsigned)FIELD_CURSOR)

/* Which of them a type has; 0 for one that is not known, or not for the wire. */
static unsigned fields_of(unsigned type) {
  switch (type) {
  case MESSAGE_HEARTBEAT:
    return FIELD_HEARTBEAT;
  case MESSAGE_GOSSIP:
    return FIELD_GOSSIP;
  case MESSAGE_HISTORY:
    return FIELD_DIGEST | FIELD_OBJECT;
  case MESSAGE_PROPS:
    return FIELD_OBJECT;
  case MESSAGE_JOIN:
    return FIELD_OBJECT;
  case MESSAGE_JOIN_RESULT:
    return FIELD_ERR | FIELD_REASON;
  case MESSAGE_WRITE:
    return FIELD_KEY | FIELD_OBJECT;
  case MESSAGE_WRITE_ACK:
    return FIELD_ERR | FIELD_DIGEST;
  case MESSAGE_READ:
    return FIELD_KEY;
  case MESSAGE_READ_REPLY:
    return FIELD_ERR | FIELD_DIGEST | FIELD_FLOOR | FIELD_OBJECT;
  case MESSAGE_FORWARD:
    return FIELD_OPTIONS | FIELD_KEY | FIELD_OBJECT | FIELD_CONTEXT;
  case MESSAGE_FORWARD_REPLY:
    return FIELD_ERR | FIELD_OUTCOME | FIELD_OBJECT;
  case MESSAGE_PULL:
    return FIELD_DIGEST | FIELD_CURSOR;
  case MESSAGE_PULLED:
    return FIELD_ERR | FIELD_FLOOR | FIELD_OBJECT;
  case MESSAGE_OFFER:
    return FIELD_DIGEST | FIELD_KEY;
  case MESSAGE_COMPARE:
    return FIELD_OBJECT;
  case MESSAGE_COMPARED:
    return FIELD_ERR | FIELD_OBJECT;
  case MESSAGE_BURY:
    return FIELD_FLOOR | FIELD_KEY | FIELD_OBJECT;
  case MESSAGE_FLOORS:
  case MESSAGE_FLOORS_HELD:
    return FIELD_OBJECT;
  default:
    return 0;
  }
}

static size_t outcome_size(const struct outcome *outcome) {
  return 4u + 4u * (size_t)outcome->missing_count;
}

static size_t body_size(const struct message *message, unsigned fields) {
  size_t size = 0;
  size += (fields & FIELD_ERR) != 0 ? 1u : 0u;
  size += (fields & FIELD_DIGEST) != 0 ? 8u : 0u;
  size += (fields & FIELD_FLOOR) != 0 ? 8u : 0u;
  size += (fields & FIELD_OUTCOME) != 0 ? outcome_size(&message->outcome) : 0u;
  size += (fields & FIELD_OPTIONS) != 0 ? OPTIONS_SIZE : 0u;
  size += (fields & FIELD_HEARTBEAT) != 0 ? HEARTBEAT_SIZE : 0u;
  size += (fields & FIELD_GOSSIP) != 0 ? GOSSIP_SIZE : 0u;
  size += (fields & FIELDS_IN_KEY) != 0 ? 4u + message->key.size : 0u;
  size += (fields & FIELD_OBJECT) != 0 ? 4u + message->object.size : 0u;
  size += (fields & FIELD_CONTEXT) != 0 ? 4u + message->context.size : 0u;
  return size;
}

size_t message_frame_size(const struct message *message) {
  unsigned fields = fields_of(message->type);
  ASSERT(fields != 0);
  size_t size = FRAME_HEADER_BYTES + body_size(message, fields);
  ASSERT(size > FRAME_HEADER_BYTES);
  return size;
}

static void outcome_write(struct writer *w, const struct outcome *outcome) {
  ASSERT(outcome->missing_count <= REPLICAS_MAX);
  ASSERT(outcome->kind <= QUORUM_DW);
  write_u8(w, outcome->kind);
  write_u8(w, outcome->wanted);
  write_u8(w, outcome->answered);
  write_u8(w, outcome->missing_count);
  for (uint32_t i = 0; i < outcome->missing_count; i++) {
    write_u32(w, outcome->missing[i]);
  }
}

static void options_write(struct writer *w, const struct put_options *options) {
  ASSERT((options->put_flags & ~PUT_FLAGS_ALL) == 0);
  write_u64(w, options->expires_at_ms);
  write_u8(w, options->n);
  write_u8(w, options->w);
  write_u8(w, options->pw);
  write_u8(w, options->dw);
  write_u8(w, options->put_flags);
}

static void heartbeat_write(struct writer *w, const struct heartbeat *heartbeat) {
  ASSERT(heartbeat->sealed <= 1);
  ASSERT(heartbeat->nospace <= 1);
  ASSERT(heartbeat->held_back <= ADMIT_WHOLE);
  write_u64(w, heartbeat->hints);
  write_u64(w, heartbeat->oldest_hint_ms);
  write_u64(w, heartbeat->keys);
  write_u64(w, heartbeat->moving_keys);
  write_u64(w, heartbeat->moving_bytes);
  write_u64(w, heartbeat->strays);
  write_u32(w, heartbeat->parts_wanted);
  write_u32(w, heartbeat->parts_held);
  write_u32(w, heartbeat->sync_differ);
  write_u32(w, heartbeat->sync_age_ms);
  write_u32(w, heartbeat->sync_asked);
  write_u32(w, heartbeat->sync_settled);
  write_u64(w, heartbeat->sync_bytes_to_go);
  write_u32(w, heartbeat->sync_ms_to_go);
  write_u16(w, heartbeat->held_back);
  write_u8(w, heartbeat->sealed);
  write_u8(w, heartbeat->nospace);
  write_u32(w, heartbeat->mark.base_count);
  write_u32(w, heartbeat->mark.target_count);
  write_u64(w, heartbeat->mark.base_digest);
  write_u64(w, heartbeat->mark.target_digest);
  write_u8(w, heartbeat->mark.phase);
  write_u32(w, heartbeat->mark.revision);
  write_u64(w, heartbeat->history_digest);
  write_u64(w, heartbeat->props_digest);
  write_u64(w, heartbeat->fences);
  write_u64(w, heartbeat->life);
  write_u64(w, heartbeat->wrote);
  write_u64(w, heartbeat->your_life);
  write_u64(w, heartbeat->your_wrote);
  write_u64(w, heartbeat->your_wrote_before);
  write_u64(w, heartbeat->succeeds);
  write_u8(w, heartbeat->loss);
  write_u64(w, heartbeat->low);
  write_u64(w, heartbeat->echo);
  write_u32(w, heartbeat->tombstones);
  write_u32(w, heartbeat->expiring);
  write_u64(w, heartbeat->floor_ms);
}

static void body_write(struct writer *w, const struct message *message, unsigned fields) {
  if ((fields & FIELD_ERR) != 0) {
    ASSERT(message->err < ERR_COUNT);
    write_u8(w, (uint8_t)message->err);
  }
  if ((fields & FIELD_DIGEST) != 0) {
    write_u64(w, message->digest);
  }
  if ((fields & FIELD_FLOOR) != 0) {
    write_u64(w, message->floor);
  }
  if ((fields & FIELD_OUTCOME) != 0) {
    outcome_write(w, &message->outcome);
  }
  if ((fields & FIELD_OPTIONS) != 0) {
    options_write(w, &message->options);
  }
  if ((fields & FIELD_HEARTBEAT) != 0) {
    heartbeat_write(w, &message->heartbeat);
  }
  if ((fields & FIELD_GOSSIP) != 0) {
    write_u64(w, message->gossip.history_digest);
    write_u64(w, message->gossip.props_digest);
  }
  if ((fields & FIELDS_IN_KEY) != 0) {
    ASSERT((fields & FIELD_KEY) == 0 || message->key.size >= POSITION_SIZE);
    write_bytes(w, message->key);
  }
  if ((fields & FIELD_OBJECT) != 0) {
    write_bytes(w, message->object);
  }
  if ((fields & FIELD_CONTEXT) != 0) {
    write_bytes(w, message->context);
  }
}

/* `frame` has at least a header. */
static uint32_t frame_checksum(struct bytes frame, uint32_t body_bytes) {
  struct bytes checked = {frame.data + OFFSET_CHECKED, frame.size - OFFSET_CHECKED};
  return (uint32_t)bytes_hash(checked, body_bytes);
}

void message_encode(const struct message *message, struct writer *w) {
  unsigned fields = fields_of(message->type);
  ASSERT(fields != 0);
  ASSERT(message->partition < PARTITIONS_MAX);
  size_t body_bytes = body_size(message, fields);
  if (body_bytes > FRAME_BODY_MAX_BYTES) {
    w->failed = true;
    return;
  }
  size_t start = w->size;
  write_u32(w, (uint32_t)body_bytes);
  write_u32(w, 0);
  write_u8(w, (uint8_t)message->type);
  write_u8(w, message->flags);
  write_u16(w, message->partition);
  write_u32(w, message->owner);
  write_u32(w, message->sent_ms);
  write_u64(w, message->request);
  write_u64(w, message->hlc);
  body_write(w, message, fields);
  if (w->failed) {
    return;
  }
  struct bytes frame = {w->data + start, w->size - start};
  ASSERT(frame.size == FRAME_HEADER_BYTES + body_bytes);
  struct writer patch = writer_make(w->data + start + OFFSET_CHECKSUM, 4);
  write_u32(&patch, frame_checksum(frame, (uint32_t)body_bytes));
}

enum err message_frame_body(struct bytes header, size_t *body_bytes) {
  ASSERT(header.size >= FRAME_HEADER_BYTES);
  ASSERT(body_bytes != NULL);
  struct reader r = reader_make(header);
  *body_bytes = read_u32(&r);
  return *body_bytes <= FRAME_BODY_MAX_BYTES ? ERR_OK : ERR_CORRUPT;
}

static bool outcome_read(struct reader *r, struct outcome *outcome) {
  outcome->kind = read_u8(r);
  outcome->wanted = read_u8(r);
  outcome->answered = read_u8(r);
  outcome->missing_count = read_u8(r);
  if (outcome->missing_count > REPLICAS_MAX || outcome->kind > QUORUM_DW) {
    return false;
  }
  for (uint32_t i = 0; i < outcome->missing_count; i++) {
    outcome->missing[i] = read_u32(r);
  }
  return true;
}

static bool options_read(struct reader *r, struct put_options *options) {
  options->expires_at_ms = read_u64(r);
  options->n = read_u8(r);
  options->w = read_u8(r);
  options->pw = read_u8(r);
  options->dw = read_u8(r);
  options->put_flags = read_u8(r);
  return (options->put_flags & ~PUT_FLAGS_ALL) == 0;
}

static bool heartbeat_read(struct reader *r, struct heartbeat *heartbeat) {
  heartbeat->hints = read_u64(r);
  heartbeat->oldest_hint_ms = read_u64(r);
  heartbeat->keys = read_u64(r);
  heartbeat->moving_keys = read_u64(r);
  heartbeat->moving_bytes = read_u64(r);
  heartbeat->strays = read_u64(r);
  heartbeat->parts_wanted = read_u32(r);
  heartbeat->parts_held = read_u32(r);
  heartbeat->sync_differ = read_u32(r);
  heartbeat->sync_age_ms = read_u32(r);
  heartbeat->sync_asked = read_u32(r);
  heartbeat->sync_settled = read_u32(r);
  heartbeat->sync_bytes_to_go = read_u64(r);
  heartbeat->sync_ms_to_go = read_u32(r);
  heartbeat->held_back = read_u16(r);
  heartbeat->sealed = read_u8(r);
  heartbeat->nospace = read_u8(r);
  heartbeat->mark.base_count = read_u32(r);
  heartbeat->mark.target_count = read_u32(r);
  heartbeat->mark.base_digest = read_u64(r);
  heartbeat->mark.target_digest = read_u64(r);
  heartbeat->mark.phase = read_u8(r);
  heartbeat->mark.revision = read_u32(r);
  heartbeat->history_digest = read_u64(r);
  heartbeat->props_digest = read_u64(r);
  heartbeat->fences = read_u64(r);
  heartbeat->life = read_u64(r);
  heartbeat->wrote = read_u64(r);
  heartbeat->your_life = read_u64(r);
  heartbeat->your_wrote = read_u64(r);
  heartbeat->your_wrote_before = read_u64(r);
  heartbeat->succeeds = read_u64(r);
  heartbeat->loss = read_u8(r);
  heartbeat->low = read_u64(r);
  heartbeat->echo = read_u64(r);
  heartbeat->tombstones = read_u32(r);
  heartbeat->expiring = read_u32(r);
  heartbeat->floor_ms = read_u64(r);
  return heartbeat->sealed <= 1 && heartbeat->nospace <= 1 && heartbeat->mark.phase <= MARK_DONE &&
         heartbeat->held_back <= ADMIT_WHOLE && heartbeat->loss <= LOSS_VOLATILE;
}

static bool key_is_sound(unsigned fields, size_t size) {
  if ((fields & FIELD_REASON) != 0) {
    return size <= REASON_MAX_BYTES;
  }
  if ((fields & FIELD_CURSOR) != 0 && size == 0) {
    return true;
  }
  return size >= POSITION_SIZE && size <= POSITION_SIZE + KEY_MAX_BYTES;
}

static bool body_read(struct reader *r, struct message *message, unsigned fields) {
  bool sound = true;
  if ((fields & FIELD_ERR) != 0) {
    unsigned err = read_u8(r);
    sound = err < ERR_COUNT;
    message->err = sound ? (enum err)err : ERR_OK;
  }
  if ((fields & FIELD_DIGEST) != 0) {
    message->digest = read_u64(r);
  }
  if ((fields & FIELD_FLOOR) != 0) {
    message->floor = read_u64(r);
  }
  if ((fields & FIELD_OUTCOME) != 0) {
    sound = outcome_read(r, &message->outcome) && sound;
  }
  if ((fields & FIELD_OPTIONS) != 0) {
    sound = options_read(r, &message->options) && sound;
  }
  if ((fields & FIELD_HEARTBEAT) != 0) {
    sound = heartbeat_read(r, &message->heartbeat) && sound;
  }
  if ((fields & FIELD_GOSSIP) != 0) {
    message->gossip.history_digest = read_u64(r);
    message->gossip.props_digest = read_u64(r);
  }
  if ((fields & FIELDS_IN_KEY) != 0) {
    message->key = read_bytes(r);
    sound = key_is_sound(fields, message->key.size) && sound;
  }
  if ((fields & FIELD_OBJECT) != 0) {
    message->object = read_bytes(r);
    sound = message->object.size <= OBJECT_MAX_BYTES && sound;
  }
  if ((fields & FIELD_CONTEXT) != 0) {
    message->context = read_bytes(r);
    sound = message->context.size <= CONTEXT_MAX_BYTES && sound;
  }
  return sound && !r->failed;
}

enum err message_decode(struct bytes frame, struct message *message) {
  ASSERT(message != NULL);
  memset(message, 0, sizeof(*message));
  if (frame.size < FRAME_HEADER_BYTES) {
    return ERR_CORRUPT;
  }
  struct reader r = reader_make(frame);
  uint32_t body_bytes = read_u32(&r);
  uint32_t checksum = read_u32(&r);
  unsigned type = read_u8(&r);
  message->flags = read_u8(&r);
  message->partition = read_u16(&r);
  message->owner = read_u32(&r);
  message->sent_ms = read_u32(&r);
  message->request = read_u64(&r);
  message->hlc = read_u64(&r);
  if (body_bytes > FRAME_BODY_MAX_BYTES || frame.size - FRAME_HEADER_BYTES != body_bytes) {
    return ERR_CORRUPT;
  }
  if (checksum != frame_checksum(frame, body_bytes) || message->partition >= PARTITIONS_MAX) {
    return ERR_CORRUPT;
  }
  unsigned fields = fields_of(type);
  if (fields == 0) {
    return type >= TYPE_LOCAL_MIN ? ERR_CORRUPT : ERR_RETRY;
  }
  message->type = (enum message_type)type;
  ASSERT(!r.failed);
  return body_read(&r, message, fields) ? ERR_OK : ERR_CORRUPT;
}

const char *message_type_name(enum message_type type) {
  switch (type) {
#define X(name, number) \
  case MESSAGE_##name:  \
    return #name;
    MESSAGE_TABLE(X)
#undef X
  }
  return "unknown";
}
