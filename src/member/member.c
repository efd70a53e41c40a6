#include "member/member.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "member/state.h"

size_t member_size(void) {
  return (sizeof(struct member) + 63u) & ~(size_t)63u;
}

static void fold(struct member *member) {
  ring_fold(&member->ring, &member->records.history);
  ASSERT(member->ring.digest == history_digest(&member->records.history));
  if (PLANTED(arrival_order) && member->ring.member_count > 0) {
    member->ring.owners[0] = (uint16_t)(member->self % member->ring.member_count);
  }
  member->is_member = ring_find(&member->ring, member->self) >= 0;
  detector_refold(member);
}

struct member *member_init(void *memory, const struct shard_config *config) {
  ASSERT(((uintptr_t)memory & 63u) == 0);
  ASSERT(config->node != 0);
  struct member *member = memory;
  memset(member, 0, sizeof(*member));
  member->self = config->node;
  member->seal = config->sealed ? SEAL_DURABLE : SEAL_NONE;
  detector_init(&member->detector);
  records_init(&member->records, config);
  fold(member);
  join_init(member, config);
  return member;
}

void member_deinit(struct member *member) {
  struct records *records = &member->records;
  ASSERT(records->committing == NULL || records->committing != records->history_blob);
  blob_put(records->history_blob);
  blob_put(records->committing);
  records->history_blob = records->committing = NULL;
}

void member_refold(struct member *member, struct step *step) {
  fold(member);
  ASSERT(step->ring == &member->ring);
  join_refolded(member, step);
}

void member_view(struct member *member, struct step *step) {
  ASSERT(step->self == member->self);
  ASSERT(member->ring.member_count <= MEMBERS_MAX);
  step->ring = &member->ring;
  step->buckets = &member->records.buckets;
  step->up = member->detector.up;
}

/* -- the seal ------------------------------------------------------------------------ */

/* Begins to make it durable that this node holds data, but for a while after it has failed. */
static enum err seal_begin(struct member *member, struct step *step) {
  ASSERT(member->seal == SEAL_NONE || member->seal == SEAL_WANTED);
  if (member->seal_err != ERR_OK && step->now_ns - member->seal_failed_ns < PERSIST_RETRY_NS) {
    return member->seal_err;
  }
  struct blob *value = blob_copy(step->pool, BYTES_LITERAL("1"));
  enum err err = ERR_NOMEM;
  if (value != NULL) {
    err = member_store(step, MEMBER_TOKEN_SEALED, BYTES_LITERAL(META_SEALED), value);
  }
  blob_put(value);
  if (err != ERR_OK) {
    return err;
  }
  member->seal = SEAL_COMMITTING;
  ASSERT(member->seal != SEAL_DURABLE);
  return ERR_RETRY;
}

/* What does not succeed now is tried again with the ticks. */
static void seal_again(struct member *member, struct step *step) {
  if (member->seal == SEAL_WANTED) {
    enum err err = seal_begin(member, step);
    ASSERT(err != ERR_OK);
  }
}

/* -- time ---------------------------------------------------------------------------- */

static void start(struct member *member, struct step *step) {
  ASSERT(!member->started);
  ASSERT(step->tunables->gossip_ns > 0);
  member->started = true;
  member->detector.heartbeat_due_ns = step->now_ns;
  /* Nodes that were started together do not gossip together. */
  member->records.gossip_due_ns = step->now_ns + prng_below(step->prng, step->tunables->gossip_ns);
  join_start(member, step);
}

void member_tick(struct member *member, struct step *step) {
  ASSERT(step->ring == &member->ring);
  if (!member->started) {
    start(member, step);
  }
  uint64_t due_ns = member_deadline(member);
  uint64_t lateness_ns = step->now_ns > due_ns ? step->now_ns - due_ns : 0;
  detector_tick(member, step, lateness_ns);
  records_tick(member, step);
  join_tick(member, step);
  seal_again(member, step);
  ASSERT(member_deadline(member) > step->now_ns);
}

static uint64_t earlier(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

uint64_t member_deadline(const struct member *member) {
  if (!member->started) {
    return 0;
  }
  uint64_t due_ns = member->detector.heartbeat_due_ns;
  due_ns = earlier(due_ns, member->records.gossip_due_ns);
  due_ns = earlier(due_ns, member->records.retry_due_ns);
  due_ns = earlier(due_ns, join_deadline(member));
  return due_ns;
}

/* -- what is heard ------------------------------------------------------------------- */

void member_heard(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  ASSERT(from != member->self);
  ASSERT(step->hlc != NULL);
  hlc_observe(step->hlc, message->hlc, step->wall_ms);
  step->stats->clocks_ahead = step->hlc->ahead_count;
  detector_heard(member, step, from);
  step->lag_ms = detector_lag(member, step, from, message->sent_ms);
}

void member_message(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  ASSERT(from != 0 && from != member->self);
  ASSERT(step->ring == &member->ring);
  switch (message->type) {
  case MESSAGE_HEARTBEAT:
    detector_heartbeat(member, from, &message->heartbeat);
    return;
  case MESSAGE_GOSSIP:
    records_gossip(member, step, from, &message->gossip);
    return;
  case MESSAGE_HISTORY:
    records_history(member, step, from, message);
    return;
  case MESSAGE_PROPS:
    records_props(member, step, from, message);
    return;
  case MESSAGE_JOIN:
    join_request(member, step, from, message);
    return;
  case MESSAGE_JOIN_ASK:
    join_ask(member, step, from, message);
    return;
  case MESSAGE_JOIN_ANSWER:
    join_answer(member, step, from, message);
    return;
  case MESSAGE_JOIN_RESULT:
    join_result(member, step, from, message);
    return;
  case MESSAGE_WRITE:
  case MESSAGE_WRITE_ACK:
  case MESSAGE_READ:
  case MESSAGE_READ_REPLY:
  case MESSAGE_FORWARD:
  case MESSAGE_FORWARD_REPLY:
  case MESSAGE_STAMP:
  case MESSAGE_STAMPED:
  case MESSAGE_HINT_DROP:
  case MESSAGE_HINT_KEPT:
  case MESSAGE_HINT_DROPPED:
    ASSERT(false); /* a message that is not about membership */
    return;
  }
  ASSERT(false); /* a message of no type */
}

void member_peer_up(struct member *member, struct step *step, uint32_t node) {
  ASSERT(step->ring == &member->ring);
  ASSERT(node != 0);
  detector_connected(member, step, node);
  join_connected(member, step);
}

void member_peer_down(struct member *member, struct step *step, uint32_t node) {
  ASSERT(step->ring == &member->ring);
  ASSERT(node != 0);
  detector_disconnected(member, node);
}

/* -- writes ------------------------------------------------------------------------- */

static void seal_committed(struct member *member, struct step *step, enum err err) {
  ASSERT(member->seal == SEAL_COMMITTING);
  ASSERT(err < ERR_COUNT);
  member->seal = err == ERR_OK ? SEAL_DURABLE : SEAL_WANTED;
  member->seal_err = err;
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
    member->seal_failed_ns = step->now_ns;
  }
}

enum err member_admit_write(struct member *member, struct step *step) {
  ASSERT(step->self == member->self);
  if (!member->is_member) {
    return ERR_NOTMEMBER;
  }
  switch (member->seal) {
  case SEAL_DURABLE:
    return ERR_OK;
  case SEAL_COMMITTING:
    return ERR_RETRY;
  case SEAL_NONE:
    return join_bound(member, step->now_ns) ? ERR_FORMING : seal_begin(member, step);
  case SEAL_WANTED:
    return seal_begin(member, step);
  }
  ASSERT(false); /* a seal in no state */
  return ERR_RETRY;
}

void member_note_data(struct member *member, struct step *step) {
  ASSERT(step->self == member->self);
  if (member->seal == SEAL_NONE) {
    member->seal = SEAL_WANTED;
    seal_again(member, step);
  }
}

void member_commit_done(struct member *member, struct step *step, uint64_t token, enum err err) {
  ASSERT(token_owner(token) == TOKEN_MEMBER);
  switch ((enum member_token)token_value(token)) {
  case MEMBER_TOKEN_HISTORY:
    records_history_committed(member, step, err);
    return;
  case MEMBER_TOKEN_BUCKETS:
    records_buckets_committed(member, step, err);
    return;
  case MEMBER_TOKEN_SEALED:
    seal_committed(member, step, err);
    return;
  }
  ASSERT(false); /* a commit of nobody's */
}

/* -- buckets ------------------------------------------------------------------------- */

enum err member_set_bucket(struct member *member, struct step *step, struct bytes name,
                           const struct bucket_props *props) {
  struct records *records = &member->records;
  ASSERT(props != NULL);
  if (!member->is_member) {
    return ERR_NOTMEMBER;
  }
  if (name.size == 0 || name.size > BUCKET_NAME_MAX_BYTES) {
    return ERR_BADARG;
  }
  struct bucket record = {.time = hlc_tick(step->hlc, step->wall_ms),
                          .issuer = member->self,
                          .name_size = (uint8_t)name.size,
                          .props = *props};
  memcpy(record.name, name.data, name.size);
  bool present = false;
  for (uint32_t i = 0; i < records->buckets.count; i++) {
    const struct bucket *known = &records->buckets.buckets[i];
    present = bytes_equal((struct bytes){(const uint8_t *)known->name, known->name_size}, name);
    if (present) {
      /* It supersedes what it was made from, whatever the clocks say. */
      record.time = record.time > known->time ? record.time : known->time + 1;
      break;
    }
  }
  enum err err = bucket_put(&records->buckets, &record);
  if (err != ERR_OK) {
    return err;
  }
  records_buckets_changed(member, step);
  return ERR_OK;
}

/* -- views --------------------------------------------------------------------------- */

const struct history *member_history(const struct member *member) {
  return &member->records.history;
}

const struct ring *member_ring(const struct member *member) {
  return &member->ring;
}

const struct bucket_table *member_buckets(const struct member *member) {
  return &member->records.buckets;
}

bool member_is_member(const struct member *member) {
  return member->is_member;
}

bool member_is_sealed(const struct member *member) {
  return member->seal != SEAL_NONE;
}

const char *member_refusal(const struct member *member) {
  return !member->is_member && member->joining.refusal[0] != '\0' ? member->joining.refusal : NULL;
}

void member_set_health(struct member *member, const struct heartbeat *own) {
  ASSERT(own->nospace <= 1);
  ASSERT(own->sealed <= 1);
  member->detector.own = *own;
}

uint32_t member_list(const struct member *member, struct member_view *out, uint32_t capacity) {
  const struct ring *ring = &member->ring;
  ASSERT(ring->member_count <= MEMBERS_MAX);
  ASSERT(out != NULL || capacity == 0);
  for (uint32_t i = 0; i < ring->member_count && i < capacity; i++) {
    uint32_t node = ring->members[i].node;
    struct member_view *view = &out[i];
    memset(view, 0, sizeof(*view));
    view->node = node;
    view->self = node == member->self;
    view->up = member->detector.up[i];
    const struct peer *peer = detector_find(&member->detector, node);
    if (view->self) {
      view->heartbeat = member->detector.own;
      view->heartbeat.sealed = member_is_sealed(member) ? 1 : 0;
    } else if (peer != NULL) {
      view->heartbeat = peer->heartbeat;
      view->last_heard_ns = peer->last_heard_ns;
    }
  }
  return ring->member_count;
}
