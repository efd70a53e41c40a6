#include "member/member.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "member/state.h"

size_t member_size(void) {
  return (sizeof(struct member) + 63u) & ~(size_t)63u;
}

/* A node that the target brings in takes part only when all know of it: before, nobody would listen to it. Nor would
 * they soon to one that leaves. */
bool member_takes_changes(const struct member *member) {
  const struct layout *layout = &member->layout;
  bool held = ring_find(member->base, member->self) >= 0;
  bool gained = ring_find(member->target, member->self) >= 0 && layout->joined;
  return member->has_base && !layout->leaves && (held || gained);
}

/* One that has lost its directory has to be told what the quorums are, and by which layouts others live. */
static bool may_serve(const struct member *member) {
  return member_takes_changes(member) && life_is_informed(member) && layout_is_certain(member);
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
  layout_init(member, config);
  low_init(member, config);
  join_init(member, config);
  detector_refresh(member);
  life_init(member, config);
  member->serves = may_serve(member);
  return member;
}

void member_deinit(struct member *member) {
  struct records *records = &member->records;
  ASSERT(records->committing == NULL || records->committing != records->history_blob);
  blob_put(records->history_blob);
  blob_put(records->committing);
  records->history_blob = records->committing = NULL;
}

void member_refresh(struct member *member, struct step *step) {
  ASSERT(member->target != NULL && member->base != NULL);
  ASSERT(member->has_base || member->base == member->target);
  detector_refresh(member);
  member->serves = may_serve(member);
  member_view(member, step);
}

void member_view(struct member *member, struct step *step) {
  const struct layout *layout = &member->layout;
  ASSERT(step->self == member->self);
  ASSERT(member->target->member_count <= MEMBERS_MAX);
  enum mark_phase phase = layout_phase(member);
  step->ring = member->target;
  step->base = member->base;
  step->reading = phase >= MARK_READS || (PLANTED(reads_early) && phase >= MARK_HOLDS) ? member->target : member->base;
  step->up = member->detector.up;
  step->base_up = member->base == member->target ? member->detector.up : member->detector.base_up;
  step->held_back = member->detector.held_back;
  step->base_held_back = member->base == member->target ? member->detector.held_back : member->detector.base_held_back;
  step->agreed = layout->agreed;
  step->all_done = layout->all_done;
  step->sure = member->life.sure;
  step->lost = member->life.lost;
  step->lost_little = member->life.loss == LOSS_OLD;
  step->epoch = layout->epoch;
  step->turn = member->low.turn;
  step->settled_low = member->low.settled;
  step->waves = member->low.waves;
  step->buckets = &member->records.buckets;
  step->buckets_digest = member->records.buckets_digest;
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
  ASSERT(step->ring == member->target);
  if (!member->started) {
    start(member, step);
  }
  uint64_t due_ns = member_deadline(member);
  uint64_t lateness_ns = step->now_ns > due_ns ? step->now_ns - due_ns : 0;
  detector_tick(member, step, lateness_ns);
  records_tick(member, step);
  layout_tick(member, step);
  low_tick(member, step);
  join_tick(member, step);
  seal_again(member, step);
  life_tick(member, step);
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
  due_ns = earlier(due_ns, member->layout.retry_due_ns);
  due_ns = earlier(due_ns, member->layout.due_ns);
  due_ns = earlier(due_ns, member->low.storing ? HEAP_NEVER : member->low.due_ns);
  due_ns = earlier(due_ns, join_deadline(member));
  due_ns = earlier(due_ns, life_deadline(member));
  return due_ns;
}

/* -- what is heard ------------------------------------------------------------------- */

void member_heard(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  ASSERT(from != member->self);
  ASSERT(step->hlc != NULL);
  hlc_observe(step->hlc, message->hlc, step->wall_ms);
  step->stats->clocks_ahead = step->hlc->ahead_count;
  detector_heard(member, step, from, message->hlc);
  step->lag_ms = detector_lag(member, step, from, message->sent_ms);
}

void member_message(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  ASSERT(from != 0 && from != member->self);
  ASSERT(step->ring == member->target);
  switch (message->type) {
  case MESSAGE_HEARTBEAT:
    life_heard(member, step, from, message);
    detector_heartbeat(member, from, &message->heartbeat);
    life_look(member, step);
    records_heartbeat(member, step, from, &message->heartbeat);
    layout_run(member, step);
    if (member_allows(member, step, from, MESSAGE_WRITE) && message->heartbeat.low < UINT64_MAX) {
      hlc_raise(step->hlc, message->heartbeat.low);
    }
    low_look(member, step);
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
  case MESSAGE_COMPARE:
  case MESSAGE_COMPARED:
  case MESSAGE_HINT_DROPPED:
  case MESSAGE_PULL:
  case MESSAGE_PULLED:
  case MESSAGE_OFFER:
  case MESSAGE_OBJECT_DROP:
  case MESSAGE_DAMAGED:
  case MESSAGE_RESTORE:
  case MESSAGE_BURY:
  case MESSAGE_FLOORS:
  case MESSAGE_FLOORS_HELD:
  case MESSAGE_REAP:
    ASSERT(false); /* a message that is not about membership */
    return;
  }
  ASSERT(false); /* a message of no type */
}

void member_peer_up(struct member *member, struct step *step, uint32_t node) {
  ASSERT(step->ring == member->target);
  ASSERT(node != 0);
  detector_connected(member, step, node);
  detector_greet(member, step, node); /* it may wait to be told of its past */
  join_connected(member, step);
  layout_run(member, step);
}

void member_peer_down(struct member *member, struct step *step, uint32_t node) {
  ASSERT(step->ring == member->target);
  ASSERT(node != 0);
  detector_disconnected(member, node);
  layout_run(member, step);
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
  if (!member->serves) {
    return ERR_NOTMEMBER;
  }
  member->life.written = true;
  switch (member->seal) {
  case SEAL_DURABLE:
    return ERR_OK;
  case SEAL_COMMITTING:
    return ERR_RETRY;
  case SEAL_NONE:
  case SEAL_WANTED:
    return seal_begin(member, step);
  }
  ASSERT(false); /* a seal in no state */
  return ERR_RETRY;
}

void member_note_data(struct member *member, struct step *step) {
  ASSERT(step->self == member->self);
  member->life.written = true;
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
  case MEMBER_TOKEN_LAYOUT:
    layout_committed(member, step, err);
    return;
  case MEMBER_TOKEN_WROTE:
  case MEMBER_TOKEN_LOSS:
  case MEMBER_TOKEN_LIVES:
    life_committed(member, step, token_value(token), err);
    return;
  case MEMBER_TOKEN_LOW:
    low_committed(member, step, err);
    return;
  }
  ASSERT(false); /* a commit of nobody's */
}

/* Of one that was removed and is not fenced: may it have this of us? */
static bool listens_to_removed(const struct member *member, const struct peer *peer, enum message_type type) {
  const struct mark *own = &member->layout.mark;
  const struct mark *mark = &peer->heartbeat.mark;
  ASSERT(peer->removed || !peer->known);
  if (PLANTED(fence_open)) {
    return true;
  }
  if (peer->ring_index == NO_RING_INDEX && peer->base_index == NO_RING_INDEX) {
    return peer->abreast; /* it is out, and hands over what it still has */
  }
  /* It may read by a target that we have released, and may have gone beyond. */
  bool released = own->phase == MARK_RELEASES || mark->target_digest != member->target->digest;
  bool reads = mark->phase == MARK_READS && mark->base_digest == own->base_digest && released;
  return !peer->fenced && !(reads && type == MESSAGE_READ);
}

/* All had known the layouts before this one said that it holds the target: who does not has lost that. */
static bool phase_wants_knowledge(const struct member *member) {
  const enum mark_phase phase = layout_phase(member);
  return ring_find(member->newest, member->self) >= 0 && (phase == MARK_HOLDS || phase == MARK_READS);
}

bool member_allows(const struct member *member, const struct step *step, uint32_t from, enum message_type type) {
  ASSERT(step->self == member->self);
  ASSERT(from != member->self);
  if (type < MESSAGE_WRITE) {
    return true;
  }
  if (type == MESSAGE_WRITE_ACK || type == MESSAGE_READ_REPLY || type == MESSAGE_FORWARD_REPLY) {
    return true; /* we have asked for it when the node was in our layouts, and may be waiting */
  }
  const struct peer *peer = detector_find(&member->detector, from);
  if (peer == NULL || (peer->went_back && !PLANTED(back_heard))) {
    return false;
  }
  if (peer->removed || !peer->known) {
    return listens_to_removed(member, peer, type);
  }
  if (phase_wants_knowledge(member) && peer->told && !detector_knows(member, peer)) {
    return false;
  }
  /* Not to one that only the newest ring has: what it writes by that ring would be missed by those who read by ours. */
  return peer->ring_index != NO_RING_INDEX || peer->base_index != NO_RING_INDEX;
}

/* -- buckets ------------------------------------------------------------------------- */

enum err member_set_bucket(struct member *member, struct step *step, struct bytes name,
                           const struct bucket_props *props) {
  struct records *records = &member->records;
  ASSERT(props != NULL);
  if (!member->serves) {
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
  return member->target;
}

const struct bucket_table *member_buckets(const struct member *member) {
  return &member->records.buckets;
}

bool member_is_member(const struct member *member) {
  return member->serves;
}

uint64_t member_low(const struct member *member) {
  return member->low.told;
}

bool member_is_sealed(const struct member *member) {
  return member->seal != SEAL_NONE;
}

uint32_t member_foreigners(const struct member *member, uint32_t *last) {
  const struct records *records = &member->records;
  ASSERT((records->foreigner == 0) == (records->foreigners == 0));
  *last = records->foreigner;
  return records->foreigners;
}

void member_set_health(struct member *member, const struct heartbeat *own) {
  ASSERT(own->nospace <= 1);
  ASSERT(own->sealed <= 1);
  member->detector.own = *own;
}

static void view_fill(const struct member *member, uint32_t node, struct member_view *view) {
  memset(view, 0, sizeof(*view));
  view->node = node;
  view->self = node == member->self;
  view->leaving = ring_find(member->target, node) < 0;
  view->joining = ring_find(member->base, node) < 0;
  ASSERT(!view->leaving || !view->joining);
  const struct peer *peer = detector_find(&member->detector, node);
  if (view->self) {
    view->up = true;
    view->heartbeat = member->detector.own;
    view->heartbeat.sealed = member_is_sealed(member) ? 1 : 0;
    view->heartbeat.loss = member->life.loss;
    view->heartbeat.mark = member->layout.mark;
    view->heartbeat.history_digest = member->records.digest;
  } else if (peer != NULL) {
    view->up = peer->up && !peer->fenced;
    view->heartbeat = peer->heartbeat;
    view->last_heard_ns = peer->last_heard_ns;
  }
}

uint32_t member_list(const struct member *member, struct member_view *out, uint32_t capacity) {
  const struct ring *target = member->target;
  const struct ring *base = member->base;
  ASSERT(out != NULL || capacity == 0);
  uint32_t count = 0;
  uint32_t t = 0;
  uint32_t b = 0;
  while (t < target->member_count || b < base->member_count) {
    uint32_t next = t < target->member_count ? target->members[t].node : UINT32_MAX;
    next = b < base->member_count && base->members[b].node < next ? base->members[b].node : next;
    t += t < target->member_count && target->members[t].node == next ? 1u : 0u;
    b += b < base->member_count && base->members[b].node == next ? 1u : 0u;
    if (count < capacity) {
      view_fill(member, next, &out[count]);
    }
    count += 1;
  }
  ASSERT(count >= target->member_count);
  return count;
}

uint32_t member_least_settled(const struct member *member) {
  const struct ring *rings[2] = {member->base, member->target};
  uint32_t least = UINT32_MAX;
  for (uint32_t i = 0; i < 2; i++) {
    ASSERT(rings[i]->member_count <= MEMBERS_MAX);
    for (uint32_t k = 0; k < rings[i]->member_count; k++) {
      uint32_t node = rings[i]->members[k].node;
      const struct peer *peer = node == member->self ? NULL : detector_find(&member->detector, node);
      uint32_t settled = peer != NULL && peer->up && peer->told ? peer->heartbeat.sync_settled : 0;
      least = node != member->self && settled < least ? settled : least;
    }
  }
  return least;
}
