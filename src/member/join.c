#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "member/state.h"

_Static_assert(JOIN_ISSUE_NS < JOIN_EFFECT_NS && JOIN_EFFECT_NS < JOIN_PROMISE_NS,
               "promises outlast whatever was issued on them");

#define JITTER_NS (JOIN_RETRY_NS / 4) /* joiners that were started together do not ask together for ever */

/* -- words --------------------------------------------------------------------------- */

static struct writer reason_begin(struct member *member) {
  return writer_make(member->reason, sizeof(member->reason));
}

static void say(struct writer *w, const char *words) {
  size_t size = 0;
  while (words[size] != '\0') {
    size += 1;
  }
  write_raw(w, (struct bytes){(const uint8_t *)words, size});
}

static void say_port(struct writer *w, uint16_t port) {
  char digits[6];
  size_t start = sizeof(digits);
  uint16_t left = port;
  do {
    start -= 1;
    digits[start] = (char)('0' + left % 10);
    left = (uint16_t)(left / 10);
  } while (left > 0);
  write_raw(w, (struct bytes){(const uint8_t *)&digits[start], sizeof(digits) - start});
}

static void say_member(struct writer *w, const struct ring_member *member) {
  say(w, "node ");
  say(w, member->name);
  say(w, " (");
  say(w, member->host);
  say(w, ":");
  say_port(w, member->peer_port);
  say(w, ")");
}

static struct bytes sentence(struct member *member, const char *words) {
  struct writer w = reason_begin(member);
  say(&w, words);
  return writer_bytes(&w);
}

static struct bytes about_member(struct member *member, const struct ring_member *whom, const char *words) {
  struct writer w = reason_begin(member);
  say_member(&w, whom);
  say(&w, words);
  return writer_bytes(&w);
}

/* -- promises ------------------------------------------------------------------------ */

bool join_bound(const struct member *member, uint64_t now_ns) {
  const struct promise *promise = &member->joining.promise;
  return promise->bound && now_ns < promise->until_ns;
}

static void promise_make(struct member *member, uint32_t seed, uint32_t joiner, uint64_t request, uint64_t until_ns) {
  ASSERT(until_ns > 0);
  ASSERT(member->seal == SEAL_NONE);
  member->joining.promise =
      (struct promise){.bound = true, .seed = seed, .joiner = joiner, .request = request, .until_ns = until_ns};
}

/* -- the seed ------------------------------------------------------------------------ */

static void send_result(struct step *step, uint32_t to, uint64_t request, enum err err, struct bytes reason) {
  ASSERT(to != step->self);
  ASSERT(reason.size <= REASON_MAX_BYTES);
  struct message message = {.type = MESSAGE_JOIN_RESULT, .request = request, .err = err, .key = reason};
  step_send(step, to, &message);
}

/* The asking is over without an ADD: tells the joiner, and releases all who may have promised. */
static void asking_end(struct member *member, struct step *step, enum err err, struct bytes reason) {
  struct asking *asking = &member->joining.asking;
  ASSERT(asking->state != ASKING_IDLE);
  ASSERT(err != ERR_OK);
  ASSERT(member->joining.promise.seed == member->self || !member->joining.promise.bound);
  send_result(step, asking->change.node, 0, err, reason);
  for (uint32_t i = 0; i < member->ring.member_count; i++) {
    uint32_t node = member->ring.members[i].node;
    if (node != member->self && node != asking->change.node) {
      send_result(step, node, asking->request, err, BYTES_NONE);
    }
  }
  asking->state = ASKING_IDLE;
  member->joining.promise.bound = false;
}

/* All have promised: the ADD is committed; it takes effect when that is done. */
static void asking_issue(struct member *member, struct step *step) {
  struct asking *asking = &member->joining.asking;
  struct records *records = &member->records;
  ASSERT(asking->state == ASKING_ASKED);
  ASSERT(asking->waiting_count == 0);
  if (step->now_ns - asking->asked_ns > JOIN_ISSUE_NS) {
    asking_end(member, step, ERR_RETRY, sentence(member, "the members answered too late; trying again"));
    return;
  }
  if (member->seal != SEAL_NONE || records->staged_dirty || records->committing != NULL) {
    asking_end(member, step, ERR_RETRY, sentence(member, "the cluster changed meanwhile; trying again"));
    return;
  }
  struct change *change = &asking->change;
  ASSERT(records->staged.count > 0);
  uint64_t latest = records->staged.changes[records->staged.count - 1].time;
  uint64_t time = hlc_tick(step->hlc, step->wall_ms);
  change->time = time > latest ? time : latest + 1;
  change->issuer = member->self;
  enum err err = history_add(&records->staged, change);
  if (err != ERR_OK) {
    asking_end(member, step, ERR_REFUSED, sentence(member, "the cluster's history of members is full"));
    return;
  }
  asking->state = ASKING_ISSUED;
  records->staged_dirty = true;
  records_commit(member, step);
}

bool join_too_late(const struct member *member, uint64_t now_ns) {
  const struct asking *asking = &member->joining.asking;
  return asking->state == ASKING_ISSUED && now_ns - asking->asked_ns > JOIN_EFFECT_NS;
}

void join_withdraw(struct member *member, struct step *step) {
  struct asking *asking = &member->joining.asking;
  ASSERT(member->records.committing == NULL);
  if (asking->state != ASKING_ISSUED) {
    return;
  }
  records_unstage(member, step);
  asking_end(member, step, ERR_RETRY,
             sentence(member, "the seed could not store the change in time; trying again, and see the seed's log"));
  ASSERT(asking->state == ASKING_IDLE);
}

/* Reads the one ADD that JOIN and JOIN_ASK carry. */
static bool change_read(struct member *member, struct bytes encoded, struct change *change) {
  struct history *scratch = &member->records.scratch;
  uint32_t added = 0;
  history_init(scratch);
  if (history_merge(scratch, encoded, &added) != ERR_OK) {
    return false;
  }
  if (scratch->count != 1 || scratch->changes[0].kind != CHANGE_ADD || scratch->changes[0].node == member->self) {
    return false;
  }
  *change = scratch->changes[0];
  ASSERT(change->node != 0);
  return true;
}

static struct blob *change_encode(struct member *member, struct step *step, const struct change *change) {
  struct history *scratch = &member->records.scratch;
  history_init(scratch);
  enum err err = history_add(scratch, change);
  ASSERT(err == ERR_OK);
  ASSERT(scratch->count == 1);
  return records_encode(step->pool, scratch);
}

static void asking_begin(struct member *member, struct step *step, const struct change *change) {
  struct asking *asking = &member->joining.asking;
  ASSERT(asking->state == ASKING_IDLE);
  struct blob *blob = change_encode(member, step, change);
  if (blob == NULL) {
    send_result(step, change->node, 0, ERR_RETRY, sentence(member, "the seed is short of memory; trying again"));
    return;
  }
  asking->state = ASKING_ASKED;
  asking->request = hlc_tick(step->hlc, step->wall_ms);
  asking->asked_ns = step->now_ns;
  asking->change = *change;
  asking->waiting_count = 0;
  promise_make(member, member->self, change->node, asking->request, HEAP_NEVER);
  struct message message = {.type = MESSAGE_JOIN_ASK,
                            .request = asking->request,
                            .digest = member->ring.digest,
                            .object = blob_bytes(blob),
                            .object_blob = blob};
  for (uint32_t i = 0; i < member->ring.member_count; i++) {
    uint32_t node = member->ring.members[i].node;
    if (node != member->self) {
      ASSERT(asking->waiting_count < MEMBERS_MAX);
      asking->waiting[asking->waiting_count] = node;
      asking->waiting_count += 1;
      step_send(step, node, &message);
    }
  }
  blob_put(blob);
  if (asking->waiting_count == 0) {
    asking_issue(member, step);
  }
}

static bool text_equal(const char *a, const char *b) {
  size_t i = 0;
  while (a[i] != '\0' && a[i] == b[i]) {
    i += 1;
  }
  return a[i] == b[i];
}

static bool same_address(const struct ring_member *known, const struct change *change) {
  return text_equal(known->host, change->host) && known->peer_port == change->peer_port;
}

/* Does the joiner clash with a member? OK: it is one, just as it says; RETRY: it is not; else `*reason`. */
static enum err find_clash(struct member *member, const struct change *change, struct bytes *reason) {
  const struct ring *ring = &member->ring;
  int index = ring_find(ring, change->node);
  if (index >= 0 && same_address(&ring->members[index], change)) {
    return ERR_OK;
  }
  if (index >= 0) {
    *reason = about_member(member, &ring->members[index],
                           " has this node's id; start it at that address again, or with an empty data directory "
                           "(a new id) at this one");
    return ERR_REFUSED;
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    if (same_address(&ring->members[i], change)) {
      *reason = about_member(member, &ring->members[i],
                             " has this address under another node id; give the node its old data directory back, or "
                             "start it at another address");
      return ERR_REFUSED;
    }
  }
  return ERR_RETRY;
}

/* What each other member's connection and heartbeats say against taking in a node now. OK when nothing does. */
static enum err find_unfit_member(struct member *member, struct bytes *reason) {
  const struct ring *ring = &member->ring;
  ASSERT(member->is_member);
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const struct ring_member *other = &ring->members[i];
    if (other->node == member->self) {
      continue;
    }
    const struct peer *peer = detector_find(&member->detector, other->node);
    if (peer != NULL && peer->heartbeat.sealed != 0) {
      *reason = about_member(member, other,
                             " already holds data, and moving data to a new node is not supported by this version: add "
                             "all nodes before the first write");
      return ERR_REFUSED;
    }
    if (!member->detector.up[i]) {
      bool heard_ever = peer != NULL && peer->last_heard_ns != 0;
      *reason =
          about_member(member, other,
                       heard_ever ? " is down, and all members must agree while a cluster is being formed: start it"
                                  : " has not been heard of yet by this seed; trying again");
      return heard_ever ? ERR_REFUSED : ERR_RETRY;
    }
  }
  return ERR_OK;
}

/* May this seed ask the members for this joiner now? */
static enum err may_ask(struct member *member, const struct step *step, struct bytes *reason) {
  const struct records *records = &member->records;
  ASSERT(reason->size == 0);
  if (member->seal != SEAL_NONE) {
    *reason = sentence(member, "the cluster already holds data, and moving data to a new node is not supported by this "
                               "version: add all nodes before the first write");
    return ERR_REFUSED;
  }
  if (member->ring.member_count >= MEMBERS_MAX || records->history.count >= HISTORY_MAX) {
    *reason = sentence(member, "the cluster has as many nodes as it may have");
    return ERR_REFUSED;
  }
  if (records->retry_due_ns != HEAP_NEVER) {
    *reason = sentence(member, "the seed could not store a change of membership (is its disk full?); see its log");
    return ERR_RETRY;
  }
  if (join_bound(member, step->now_ns) || records->staged_dirty || records->committing != NULL) {
    *reason = sentence(member, "the cluster is taking in another node; trying again");
    return ERR_RETRY;
  }
  return find_unfit_member(member, reason);
}

void join_request(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct change change;
  ASSERT(from != member->self);
  if (!change_read(member, message->object, &change) || change.node != from) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if (!member->is_member) {
    send_result(step, from, 0, ERR_RETRY,
                sentence(member, "this seed is not yet a member of a cluster itself; trying again"));
    return;
  }
  struct bytes reason = BYTES_NONE;
  enum err clash = find_clash(member, &change, &reason);
  if (clash == ERR_OK) {
    /* It was taken in, and the news was lost: no harm in telling it again. */
    records_send_history(member, step, from, 0);
    return;
  }
  if (clash == ERR_REFUSED) {
    send_result(step, from, 0, ERR_REFUSED, reason);
    return;
  }
  const struct asking *asking = &member->joining.asking;
  if (asking->state != ASKING_IDLE && asking->change.node == from) {
    return; /* it is being seen to */
  }
  enum err err = may_ask(member, step, &reason);
  if (err != ERR_OK) {
    send_result(step, from, 0, err, reason);
    return;
  }
  asking_begin(member, step, &change);
}

void join_answer(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct asking *asking = &member->joining.asking;
  ASSERT(from != member->self);
  if (asking->state != ASKING_ASKED || message->request != asking->request) {
    COUNT(step->stats->messages_late);
    return;
  }
  uint32_t place = 0;
  while (place < asking->waiting_count && asking->waiting[place] != from) {
    place += 1;
  }
  if (place == asking->waiting_count) {
    return; /* a second copy of its answer, or nobody who was asked */
  }
  asking->waiting_count -= 1;
  asking->waiting[place] = asking->waiting[asking->waiting_count];
  if (message->err != ERR_OK) {
    ASSERT(message->key.size <= REASON_MAX_BYTES);
    enum err err = message->err == ERR_REFUSED ? ERR_REFUSED : ERR_RETRY;
    struct writer w = reason_begin(member);
    write_raw(&w, message->key);
    asking_end(member, step, err, writer_bytes(&w));
    return;
  }
  if (asking->waiting_count == 0) {
    asking_issue(member, step);
  }
}

static void asking_tick(struct member *member, struct step *step) {
  const struct asking *asking = &member->joining.asking;
  if (asking->state != ASKING_ASKED || step->now_ns - asking->asked_ns <= JOIN_ISSUE_NS) {
    return;
  }
  ASSERT(asking->waiting_count > 0);
  int index = ring_find(&member->ring, asking->waiting[0]);
  ASSERT(index >= 0);
  asking_end(member, step, ERR_RETRY,
             about_member(member, &member->ring.members[index], " did not answer in time; trying again"));
}

/* -- a member that is asked ---------------------------------------------------------- */

static void answer(struct member *member, struct step *step, uint32_t to, uint64_t request, enum err err,
                   const char *words) {
  struct bytes reason = BYTES_NONE;
  if (err != ERR_OK) {
    int index = ring_find(&member->ring, member->self);
    ASSERT(index >= 0);
    reason = about_member(member, &member->ring.members[index], words);
  }
  struct message message = {.type = MESSAGE_JOIN_ANSWER, .request = request, .err = err, .key = reason};
  ASSERT(to != member->self);
  step_send(step, to, &message);
}

void join_ask(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  const struct promise *promise = &member->joining.promise;
  const struct records *records = &member->records;
  struct change change;
  ASSERT(from != member->self);
  if (!change_read(member, message->object, &change)) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if (!member->is_member) {
    return;
  }
  if (message->digest != member->ring.digest || records->staged_dirty || records->committing != NULL) {
    /* One of the two does not know all members that it would have to ask. */
    records_send_history(member, step, from, MESSAGE_WANT);
    if (ring_find(&member->ring, from) >= 0) {
      answer(member, step, from, message->request, ERR_RETRY, " knows another history of members; trying again");
    }
    return;
  }
  if (ring_find(&member->ring, from) < 0) {
    return;
  }
  if (member->seal != SEAL_NONE) {
    answer(member, step, from, message->request, ERR_REFUSED,
           " already holds data, and moving data to a new node is not supported by this version: add all nodes before "
           "the first write");
    return;
  }
  if (join_bound(member, step->now_ns)) {
    if (promise->seed != from) {
      answer(member, step, from, message->request, ERR_RETRY, " is taking in another node; trying again");
      return;
    }
    if (promise->request > message->request) {
      return; /* an old copy */
    }
    if (promise->request == message->request) {
      answer(member, step, from, message->request, ERR_OK, "");
      return;
    }
  }
  promise_make(member, from, change.node, message->request, step->now_ns + JOIN_PROMISE_NS);
  answer(member, step, from, message->request, ERR_OK, "");
}

/* -- the joiner ---------------------------------------------------------------------- */

void join_init(struct member *member, const struct shard_config *config) {
  struct joining *joining = &member->joining;
  joining->found = config->found;
  joining->self = config->self;
  joining->self.node = config->node;
  joining->due_ns = HEAP_NEVER;
  ASSERT(joining->asking.state == ASKING_IDLE);
  ASSERT(!joining->promise.bound);
}

void join_start(struct member *member, struct step *step) {
  struct joining *joining = &member->joining;
  ASSERT(joining->asking.state == ASKING_IDLE);
  joining->due_ns = step->now_ns;
  /* Before this start we may have promised something: what was asked then may still be issued. */
  if (member->is_member && member->ring.member_count > 1 && member->seal == SEAL_NONE) {
    promise_make(member, 0, 0, 0, step->now_ns + JOIN_PROMISE_NS);
  }
}

static void found(struct member *member, struct step *step) {
  struct change change = member->joining.self;
  struct records *records = &member->records;
  ASSERT(records->staged.count == 0);
  change.kind = CHANGE_FOUND;
  change.time = hlc_tick(step->hlc, step->wall_ms);
  change.issuer = member->self;
  enum err err = history_add(&records->staged, &change);
  ASSERT(err == ERR_OK); /* the options have been checked */
  records->staged_dirty = true;
  records_commit(member, step);
}

static void request(struct member *member, struct step *step) {
  struct joining *joining = &member->joining;
  uint32_t seed = detector_random(member, step, false);
  if (seed == 0) {
    return;
  }
  struct change change = joining->self;
  change.kind = CHANGE_ADD;
  change.partition_count = 0;
  change.time = hlc_tick(step->hlc, step->wall_ms);
  change.issuer = member->self;
  struct blob *blob = change_encode(member, step, &change);
  if (blob == NULL) {
    return;
  }
  ASSERT(seed != member->self);
  struct message message = {.type = MESSAGE_JOIN, .object = blob_bytes(blob), .object_blob = blob};
  step_send(step, seed, &message);
  blob_put(blob);
  joining->asked = seed;
}

void join_tick(struct member *member, struct step *step) {
  struct joining *joining = &member->joining;
  const struct records *records = &member->records;
  asking_tick(member, step);
  if (member->is_member || step->now_ns < joining->due_ns) {
    return;
  }
  uint64_t jitter_ns = prng_below(step->prng, JITTER_NS);
  joining->due_ns = step->now_ns + JOIN_RETRY_NS + jitter_ns;
  ASSERT(joining->due_ns > step->now_ns);
  if (records->staged_dirty || records->committing != NULL) {
    return; /* what will make us a member is being stored */
  }
  if (joining->found && records->staged.count == 0) {
    found(member, step);
  } else {
    request(member, step);
  }
}

uint64_t join_deadline(const struct member *member) {
  const struct joining *joining = &member->joining;
  uint64_t due_ns = member->is_member ? HEAP_NEVER : joining->due_ns;
  if (joining->asking.state == ASKING_ASKED) {
    uint64_t end_ns = joining->asking.asked_ns + JOIN_ISSUE_NS + 1;
    due_ns = end_ns < due_ns ? end_ns : due_ns;
  }
  return due_ns;
}

void join_connected(struct member *member, struct step *step) {
  struct joining *joining = &member->joining;
  ASSERT(step->self == member->self);
  /* The first seed to be reached is asked at once. */
  if (member->started && !member->is_member && joining->asked == 0) {
    joining->due_ns = step->now_ns;
  }
}

static void refusal_keep(struct joining *joining, struct bytes reason) {
  ASSERT(reason.size <= REASON_MAX_BYTES);
  for (size_t i = 0; i < reason.size; i++) {
    bool printable = reason.data[i] >= ' ' && reason.data[i] != 0x7f;
    joining->refusal[i] = printable ? (char)reason.data[i] : '?';
  }
  joining->refusal[reason.size] = '\0';
}

void join_result(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct joining *joining = &member->joining;
  struct promise *promise = &joining->promise;
  ASSERT(from != member->self);
  if (message->request != 0) {
    if (promise->bound && promise->seed == from && promise->request == message->request) {
      promise->bound = false;
    }
    return;
  }
  if (member->is_member || from != joining->asked) {
    return;
  }
  if (message->err == ERR_OK) {
    joining->refusal[0] = '\0';
    return;
  }
  refusal_keep(joining, message->key);
  uint64_t pause_ns = message->err == ERR_RETRY ? JOIN_RETRY_NS : JOIN_REFUSED_NS;
  uint64_t jitter_ns = prng_below(step->prng, JITTER_NS);
  joining->due_ns = step->now_ns + pause_ns + jitter_ns;
}

/* -- the ring has changed ------------------------------------------------------------ */

static void asking_settled(struct member *member, struct step *step) {
  struct asking *asking = &member->joining.asking;
  uint32_t joiner = asking->change.node;
  if (asking->state == ASKING_ASKED) {
    asking_end(member, step, ERR_RETRY, sentence(member, "the cluster changed meanwhile; trying again"));
    return;
  }
  if (asking->state == ASKING_IDLE || ring_find(&member->ring, joiner) < 0) {
    return;
  }
  asking->state = ASKING_IDLE;
  send_result(step, joiner, 0, ERR_OK, BYTES_NONE);
  /* To the joiner, and to all who hold their writes until they see it. */
  for (uint32_t i = 0; i < member->ring.member_count; i++) {
    if (member->ring.members[i].node != member->self) {
      records_send_history(member, step, member->ring.members[i].node, 0);
    }
  }
  ASSERT(asking->state == ASKING_IDLE);
}

void join_refolded(struct member *member, struct step *step) {
  struct promise *promise = &member->joining.promise;
  ASSERT(step->ring == &member->ring);
  if (promise->bound && promise->joiner != 0 && ring_find(&member->ring, promise->joiner) >= 0) {
    promise->bound = false;
  }
  if (member->is_member) {
    member->joining.refusal[0] = '\0';
  }
  asking_settled(member, step);
}
