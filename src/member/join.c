#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "member/state.h"

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

static void say_place(struct writer *w, const struct change *change) {
  say(w, change->host);
  say(w, ":");
  say_port(w, change->client_port);
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

/* -- candidates ---------------------------------------------------------------------- */

static uint32_t candidate_find(const struct joining *joining, uint32_t node) {
  uint32_t place = 0;
  ASSERT(joining->candidate_count <= JOINERS_MAX);
  while (place < joining->candidate_count && joining->candidates[place].change.node != node) {
    place += 1;
  }
  return place;
}

/* They stand in the order in which they were heard, the latest first; one too many makes the last go. */
static void candidate_note(struct joining *joining, const struct change *change, uint64_t now_ns) {
  struct candidate_view *list = joining->candidates;
  uint32_t place = candidate_find(joining, change->node);
  ASSERT(change->node != 0);
  if (place == joining->candidate_count) {
    place = place < JOINERS_MAX ? place : JOINERS_MAX - 1;
    joining->candidate_count = place + 1;
  }
  memmove(&list[1], &list[0], place * sizeof(list[0]));
  list[0] = (struct candidate_view){.change = *change, .heard_ns = now_ns};
}

/* Those who have become members, and those who are silent, wait no more. */
static void candidates_sift(struct member *member, uint64_t now_ns) {
  struct joining *joining = &member->joining;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < joining->candidate_count; i++) {
    const struct candidate_view *view = &joining->candidates[i];
    bool silent = now_ns > view->heard_ns && now_ns - view->heard_ns > CANDIDATE_KEEP_NS;
    if (!silent && ring_find(member->newest, view->change.node) < 0) {
      joining->candidates[kept] = *view;
      kept += 1;
    }
  }
  ASSERT(kept <= joining->candidate_count);
  joining->candidate_count = kept;
}

uint32_t member_candidates(const struct member *member, struct candidate_view *out, uint32_t capacity) {
  const struct joining *joining = &member->joining;
  uint32_t count = joining->candidate_count < capacity ? joining->candidate_count : capacity;
  ASSERT(count <= JOINERS_MAX);
  for (uint32_t i = 0; i < count; i++) {
    out[i] = joining->candidates[i];
  }
  return count;
}

/* -- the seed ------------------------------------------------------------------------ */

static void send_result(struct step *step, uint32_t to, enum err err, struct bytes reason) {
  ASSERT(to != step->self);
  ASSERT(reason.size <= REASON_MAX_BYTES);
  struct message message = {.type = MESSAGE_JOIN_RESULT, .err = err, .key = reason};
  step_send(step, to, &message);
}

/* Reads the one ADD that JOIN carries. */
static bool change_read(struct member *member, struct bytes encoded, struct change *change) {
  struct history *scratch = &member->records.scratch;
  uint32_t added = 0;
  history_init(scratch);
  if (history_merge(scratch, encoded, &added) != ERR_OK) {
    return false;
  }
  if (history_length(scratch) != 1 || scratch->changes[0].kind != CHANGE_ADD ||
      scratch->changes[0].node == member->self) {
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

/* Does the joiner clash with a member? OK: it is one, just as it says; RETRY: it is not; else `*reason`, and in
 * `*address` whether it stands where a member stood. */
static enum err find_clash(struct member *member, const struct change *change, struct bytes *reason, bool *address) {
  const struct ring *ring = member->newest;
  int index = ring_find(ring, change->node);
  *address = false;
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
                             "that one's node-id and an empty one, "
                             "start it at another address, or type gramme plan replace and gramme commit");
      *address = true;
      return ERR_REFUSED;
    }
  }
  if (history_knows(&member->records.history, change->node) == KNOWN_GONE) {
    *reason = sentence(member, "this node was removed from this cluster; start it with an empty data directory to add "
                               "it as a new node");
    return ERR_REFUSED;
  }
  return ERR_RETRY;
}

static bool is_forming(const struct member *member) {
  if (member->seal != SEAL_NONE) {
    return false;
  }
  for (uint32_t i = 0; i < member->newest->member_count; i++) {
    const struct peer *peer = detector_find(&member->detector, member->newest->members[i].node);
    if (peer != NULL && peer->heartbeat.sealed != 0) {
      return false;
    }
  }
  return true;
}

/* May this seed add the joiner now, without being told to by an administrator? OK, or why not. */
static enum err may_add(struct member *member, const struct change *change, struct bytes *reason) {
  const struct records *records = &member->records;
  const struct ring *ring = member->newest;
  ASSERT(reason->size == 0);
  if (ring->member_count >= MEMBERS_MAX || records->staged.count >= HISTORY_MAX) {
    *reason = sentence(member, "the cluster has as many nodes as it may have");
    return ERR_REFUSED;
  }
  if (!is_forming(member)) {
    struct writer w = reason_begin(member);
    say(&w, "the node waits to be added: type gramme plan add ");
    say_place(&w, change);
    say(&w, " and then gramme commit");
    *reason = writer_bytes(&w);
    return ERR_RETRY;
  }
  if (records->retry_due_ns != HEAP_NEVER) {
    *reason = sentence(member, "the seed could not store a change of membership (is its disk full?); see its log");
    return ERR_RETRY;
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const struct peer *peer = detector_find(&member->detector, ring->members[i].node);
    if (peer != NULL && !peer->told) {
      *reason = about_member(member, &ring->members[i], " has not been heard of yet by this seed; trying again");
      return ERR_RETRY;
    }
  }
  return ERR_OK;
}

static void add(struct member *member, struct step *step, const struct change *joiner) {
  struct records *records = &member->records;
  struct change change = *joiner;
  ASSERT(change.kind == CHANGE_ADD);
  change.time = records_next_time(member, step);
  change.issuer = member->self;
  enum err err = history_add(&records->staged, &change);
  ASSERT(err == ERR_OK); /* there is room, and it has been read from an encoded history */
  records->staged_dirty = true;
  records->tell = true;
  records_commit(member, step);
}

/* A joiner asks a few seeds only; any member may be told to add it. */
static void pass_on(struct member *member, struct step *step, const struct change *change) {
  struct blob *blob = change_encode(member, step, change);
  if (blob == NULL) {
    return;
  }
  struct message message = {.type = MESSAGE_JOIN, .object = blob_bytes(blob), .object_blob = blob};
  for (uint32_t i = 0; i < member->detector.peers_end; i++) {
    const struct peer *peer = &member->detector.peers[i];
    if (peer->node != 0 && peer->node != change->node && peer->known && peer->connected) {
      ASSERT(peer->node != member->self);
      step_send(step, peer->node, &message);
    }
  }
  blob_put(blob);
}

/* It is told to wait; who it is, is kept for an administrator. */
static void keep_waiting(struct member *member, struct step *step, const struct change *change, enum err err,
                         struct bytes reason) {
  ASSERT(err != ERR_OK);
  candidate_note(&member->joining, change, step->now_ns);
  pass_on(member, step, change);
  send_result(step, change->node, err, reason);
}

static void request_direct(struct member *member, struct step *step, const struct change *change) {
  const struct records *records = &member->records;
  struct bytes reason = BYTES_NONE;
  bool address = false;
  if (!member->serves) {
    send_result(step, change->node, ERR_RETRY, sentence(member, "this seed does not serve yet itself; trying again"));
    return;
  }
  enum err clash = find_clash(member, change, &reason, &address);
  if (clash == ERR_OK) {
    /* It was taken in, and the news was lost: no harm in telling it again. */
    records_send_history(member, step, change->node, 0);
    return;
  }
  if (clash == ERR_REFUSED && address) {
    keep_waiting(member, step, change, ERR_REFUSED, reason);
    return;
  }
  if (clash == ERR_REFUSED) {
    send_result(step, change->node, ERR_REFUSED, reason);
    return;
  }
  bool staged = history_knows(&records->staged, change->node) == KNOWN_MEMBER &&
                history_knows(&records->history, change->node) != KNOWN_MEMBER;
  if (staged && records->retry_due_ns == HEAP_NEVER) {
    return; /* it is being seen to */
  }
  enum err err = may_add(member, change, &reason);
  if (err != ERR_OK) {
    keep_waiting(member, step, change, err, reason);
    return;
  }
  ASSERT(!staged);
  add(member, step, change);
}

void join_request(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct change change;
  ASSERT(from != member->self);
  if (!change_read(member, message->object, &change)) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if (change.node == from) {
    request_direct(member, step, &change);
    return;
  }
  const struct peer *peer = detector_find(&member->detector, from);
  if (peer == NULL || !peer->known) {
    COUNT(step->stats->messages_bad);
    return;
  }
  bool gone = history_knows(&member->records.history, change.node) == KNOWN_GONE;
  if (ring_find(member->newest, change.node) < 0 && !gone) {
    candidate_note(&member->joining, &change, step->now_ns);
  }
}

/* -- the joiner ---------------------------------------------------------------------- */

void join_init(struct member *member, const struct shard_config *config) {
  struct joining *joining = &member->joining;
  joining->found = config->found;
  joining->self = config->self;
  joining->self.node = config->node;
  joining->due_ns = HEAP_NEVER;
  ASSERT(joining->candidate_count == 0);
  ASSERT(joining->asked == 0);
}

void join_start(struct member *member, struct step *step) {
  ASSERT(member->joining.asked == 0);
  member->joining.due_ns = step->now_ns;
}

/* Is it neither a member nor one that was? */
static bool wants_in(const struct member *member) {
  ASSERT(member->newest != NULL);
  return ring_find(member->newest, member->self) < 0 &&
         history_knows(&member->records.history, member->self) != KNOWN_GONE;
}

static void found(struct member *member, struct step *step) {
  struct change change = member->joining.self;
  struct records *records = &member->records;
  ASSERT(history_length(&records->staged) == 0);
  change.kind = CHANGE_FOUND;
  change.time = records_next_time(member, step);
  change.issuer = member->self;
  enum err err = history_add(&records->staged, &change);
  ASSERT(err == ERR_OK); /* the options have been checked */
  records->staged_dirty = true;
  records_commit(member, step);
}

static void request(struct member *member, struct step *step) {
  struct joining *joining = &member->joining;
  uint32_t seed = detector_random(member, step);
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
  candidates_sift(member, step->now_ns);
  if (step->now_ns < joining->due_ns || !wants_in(member)) {
    return;
  }
  uint64_t jitter_ns = prng_below(step->prng, JITTER_NS);
  joining->due_ns = step->now_ns + JOIN_RETRY_NS + jitter_ns;
  ASSERT(joining->due_ns > step->now_ns);
  if (records->staged_dirty || records->committing != NULL) {
    return; /* what will make us a member is being stored */
  }
  if (joining->found && history_length(&records->staged) == 0) {
    found(member, step);
  } else {
    request(member, step);
  }
}

uint64_t join_deadline(const struct member *member) {
  ASSERT(member->started);
  return wants_in(member) ? member->joining.due_ns : HEAP_NEVER;
}

void join_connected(struct member *member, struct step *step) {
  struct joining *joining = &member->joining;
  ASSERT(step->self == member->self);
  /* The first seed to be reached is asked at once. */
  if (member->started && joining->asked == 0 && wants_in(member)) {
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
  ASSERT(from != member->self);
  if (from != joining->asked || message->err == ERR_OK || !wants_in(member)) {
    return;
  }
  refusal_keep(joining, message->key);
  uint64_t pause_ns = message->err == ERR_RETRY ? JOIN_RETRY_NS : JOIN_REFUSED_NS;
  uint64_t jitter_ns = prng_below(step->prng, JITTER_NS);
  joining->due_ns = step->now_ns + pause_ns + jitter_ns;
}

void join_refolded(struct member *member) {
  if (ring_find(member->newest, member->self) >= 0) {
    member->joining.refusal[0] = '\0';
  }
  candidates_sift(member, 0);
}

const char *member_refusal(const struct member *member) {
  const struct joining *joining = &member->joining;
  ASSERT(joining->refusal[REASON_MAX_BYTES] == '\0');
  if (member->serves) {
    return NULL;
  }
  if (history_knows(&member->records.history, member->self) == KNOWN_GONE) {
    return "this node was removed from its cluster; to add it as a new node, start it with an empty data directory";
  }
  if (member_takes_changes(member)) {
    return "has lost its directory, and waits to be told of the buckets, and of changes that are under way, by those "
           "who "
           "have not; start them, or remove those that are gone for good";
  }
  return joining->refusal[0] != '\0' ? joining->refusal : NULL;
}
