#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "member/state.h"

/* An encoded record is smaller than its struct, its name being as long as it is; this leaves room all the same. */
#define BUCKET_ROOM_BYTES (sizeof(struct bucket) + 32u)
#define HEAD_ROOM_BYTES 64u

void records_init(struct records *records, const struct shard_config *config) {
  memset(records, 0, sizeof(*records));
  history_init(&records->history);
  bucket_table_init(&records->buckets);
  records->retry_due_ns = HEAP_NEVER;
  if (config->history.size > 0) {
    uint32_t added = 0;
    enum err err = history_merge(&records->history, config->history, &added);
    ASSERT(err == ERR_OK);
  }
  if (config->buckets.size > 0) {
    uint32_t changed = 0;
    enum err err = bucket_table_merge(&records->buckets, config->buckets, &changed);
    ASSERT(err == ERR_OK || err == ERR_FULL);
  }
  history_copy(&records->staged, &records->history);
  records->digest = history_digest(&records->history);
  records->buckets_digest = bucket_table_digest(&records->buckets);
}

/* -- persistence --------------------------------------------------------------------- */

enum err member_store(struct step *step, enum member_token token, struct bytes name, struct blob *value) {
  ASSERT(name.size > 0);
  ASSERT(value != NULL);
  struct blob *key = blob_copy(step->pool, name);
  if (key == NULL) {
    return ERR_NOMEM;
  }
  step_commit(step, token_make(TOKEN_MEMBER, token), SPACE_META, key, value, true);
  blob_put(key);
  return ERR_OK;
}

static void retry_later(struct records *records, const struct step *step) {
  records->retry_due_ns = step->now_ns + PERSIST_RETRY_NS;
}

struct blob *records_encode(struct blob_pool *pool, const struct history *history) {
  ASSERT(history->count <= HISTORY_MAX);
  struct blob *blob = blob_new(pool, HISTORY_ENCODED_MAX_BYTES(history->count));
  if (blob == NULL) {
    return NULL;
  }
  struct writer w = writer_make(blob->data, blob->size);
  history_encode(history, &w);
  ASSERT(!w.failed);
  blob_trim(blob, w.size);
  return blob;
}

static struct blob *buckets_encode(struct blob_pool *pool, const struct bucket_table *table) {
  ASSERT(table->count <= BUCKETS_MAX);
  struct blob *blob = blob_new(pool, HEAD_ROOM_BYTES + table->count * BUCKET_ROOM_BYTES);
  if (blob == NULL) {
    return NULL;
  }
  struct writer w = writer_make(blob->data, blob->size);
  bucket_table_encode(table, &w);
  ASSERT(!w.failed);
  blob_trim(blob, w.size);
  return blob;
}

static void commit_history(struct member *member, struct step *step) {
  struct records *records = &member->records;
  ASSERT(records->committing == NULL);
  ASSERT(records->staged_dirty);
  struct blob *blob = records_encode(step->pool, &records->staged);
  if (blob == NULL || member_store(step, MEMBER_TOKEN_HISTORY, BYTES_LITERAL(META_HISTORY), blob) != ERR_OK) {
    blob_put(blob);
    retry_later(records, step);
    return;
  }
  records->committing = blob;
  records->staged_dirty = false;
}

static void commit_buckets(struct member *member, struct step *step) {
  struct records *records = &member->records;
  ASSERT(!records->buckets_committing);
  ASSERT(records->buckets_dirty);
  struct blob *blob = buckets_encode(step->pool, &records->buckets);
  enum err err = ERR_NOMEM;
  if (blob != NULL) {
    err = member_store(step, MEMBER_TOKEN_BUCKETS, BYTES_LITERAL(META_BUCKETS), blob);
  }
  blob_put(blob);
  if (err != ERR_OK) {
    retry_later(records, step);
    return;
  }
  records->buckets_committing = true;
  records->buckets_dirty = false;
}

void records_commit(struct member *member, struct step *step) {
  struct records *records = &member->records;
  ASSERT(step->now_ns > 0);
  if (records->staged_dirty && records->committing == NULL) {
    if (member->layout.stored) {
      commit_history(member, step);
    } else {
      /* First it is durable that there is no base: or the history alone would say that nothing ever moved. */
      layout_store_first(member, step);
    }
  }
  if (records->buckets_dirty && !records->buckets_committing) {
    commit_buckets(member, step);
  }
}

static void tell_all(struct member *member, struct step *step) {
  ASSERT(member->records.digest != 0);
  for (uint32_t i = 0; i < member->detector.peers_end; i++) {
    const struct peer *peer = &member->detector.peers[i];
    if (peer->node != 0 && peer->connected && peer->known) {
      records_send_history(member, step, peer->node, 0);
    }
  }
}

void records_history_committed(struct member *member, struct step *step, enum err err) {
  struct records *records = &member->records;
  struct blob *blob = records->committing;
  ASSERT(blob != NULL);
  records->committing = NULL;
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
    blob_put(blob);
    records->staged_dirty = true;
    retry_later(records, step);
    change_committed(member, step, err);
    return;
  }
  uint32_t added = 0;
  history_init(&records->history);
  enum err merged = history_merge(&records->history, blob_bytes(blob), &added);
  ASSERT(merged == ERR_OK);
  blob_put(records->history_blob);
  records->history_blob = blob;
  records->digest = history_digest(&records->history);
  layout_history_changed(member, step);
  join_refolded(member);
  if (records->tell && !records->staged_dirty) {
    records->tell = false;
    tell_all(member, step);
  }
  change_committed(member, step, ERR_OK);
  records_commit(member, step);
}

void records_buckets_committed(struct member *member, struct step *step, enum err err) {
  struct records *records = &member->records;
  ASSERT(records->buckets_committing);
  records->buckets_committing = false;
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
    records->buckets_dirty = true;
    retry_later(records, step);
    return;
  }
  records_commit(member, step);
}

/* The base was known in full to all that had a part in it when they said KNOWS: nothing can come into it any more, and
 * who missed it is given the outcome. It is only another form of the same history, so what the disk has will do until
 * the next commit. */
void records_fold(struct member *member, const struct step *step) {
  struct records *records = &member->records;
  const struct ring *ring = PLANTED(fold_early) ? member->newest : member->base;
  const uint32_t folded = records->history.snapshot.ring.records;
  if (!member->has_base || ring->records <= folded || ring->records - folded < step->tunables->fold_records) {
    return;
  }
  if (history_compact(&records->staged, ring) != ERR_OK) {
    return; /* a record of a removed node has come into it, and will be forgotten */
  }
  enum err err = history_compact(&records->history, ring);
  ASSERT(err == ERR_OK);
  blob_put(records->history_blob);
  records->history_blob = NULL;
}

struct identity records_end(const struct history *history, uint32_t count) {
  ASSERT(history->count <= HISTORY_MAX && count <= history_length(history));
  const uint32_t folded = history->snapshot.ring.records;
  if (count <= folded) {
    return (struct identity){history->snapshot.time, history->snapshot.issuer};
  }
  const struct change *last = &history->changes[count - folded - 1];
  return (struct identity){last->time, last->issuer};
}

static struct identity last_of(const struct history *history) {
  return records_end(history, history_length(history));
}

uint64_t records_next_time(struct member *member, struct step *step) {
  const struct history *staged = &member->records.staged;
  uint64_t latest = last_of(staged).time;
  uint64_t time = hlc_tick(step->hlc, step->wall_ms);
  ASSERT(time > 0);
  return time > latest ? time : latest + 1;
}

/* -- gossip -------------------------------------------------------------------------- */

void records_send_history(struct member *member, struct step *step, uint32_t to, uint8_t flags) {
  struct records *records = &member->records;
  if (records->digest == 0) {
    return;
  }
  if (records->history_blob == NULL) {
    records->history_blob = records_encode(step->pool, &records->history);
  }
  if (records->history_blob == NULL) {
    return; /* no memory now; gossip comes round again */
  }
  ASSERT(to != member->self);
  struct message message = {.type = MESSAGE_HISTORY,
                            .flags = flags,
                            .digest = member->layout.mark.base_digest,
                            .object = blob_bytes(records->history_blob),
                            .object_blob = records->history_blob};
  step_send(step, to, &message);
}

/* Not to one who has just sent the very same. */
static void send_props(struct member *member, struct step *step, uint32_t to, uint8_t flags, struct bytes received) {
  ASSERT(to != member->self);
  ASSERT(member->records.buckets.count <= BUCKETS_MAX);
  struct blob *blob = buckets_encode(step->pool, &member->records.buckets);
  if (blob == NULL || bytes_equal(blob_bytes(blob), received)) {
    blob_put(blob);
    return;
  }
  struct message message = {.type = MESSAGE_PROPS, .flags = flags, .object = blob_bytes(blob), .object_blob = blob};
  step_send(step, to, &message);
  blob_put(blob);
}

void records_buckets_changed(struct member *member, struct step *step) {
  struct records *records = &member->records;
  ASSERT(records->buckets.count > 0);
  records->buckets_digest = bucket_table_digest(&records->buckets);
  records->buckets_dirty = true;
  records_commit(member, step);
  ASSERT(records->buckets_digest != 0);
  for (uint32_t i = 0; i < member->detector.peers_end; i++) {
    const struct peer *peer = &member->detector.peers[i];
    if (peer->node != 0 && peer->known && peer->up) {
      send_props(member, step, peer->node, 0, BYTES_NONE);
    }
  }
}

static void send_gossip(struct member *member, struct step *step, uint32_t to) {
  const struct records *records = &member->records;
  ASSERT(to != member->self);
  struct message message = {.type = MESSAGE_GOSSIP,
                            .gossip = {.history_digest = records->digest, .props_digest = records->buckets_digest}};
  step_send(step, to, &message);
}

void records_heartbeat(struct member *member, struct step *step, uint32_t from, const struct heartbeat *heartbeat) {
  const struct peer *peer = detector_find(&member->detector, from);
  ASSERT(from != member->self);
  bool waits = layout_is_newcomer(member) || !life_is_informed(member);
  if (peer != NULL && peer->known && member->records.digest != 0 && waits &&
      heartbeat->props_digest != member->records.buckets_digest) {
    send_gossip(member, step, from);
  }
}

void records_tick(struct member *member, struct step *step) {
  struct records *records = &member->records;
  if (step->now_ns >= records->retry_due_ns) {
    records->retry_due_ns = HEAP_NEVER;
    records_commit(member, step);
  }
  if (step->now_ns < records->gossip_due_ns) {
    return;
  }
  records->gossip_due_ns = step->now_ns + step->tunables->gossip_ns;
  ASSERT(records->gossip_due_ns > step->now_ns);
  /* Members or not: one that was removed while it was away may not know any that is left. */
  uint32_t to = records->digest != 0 ? detector_random(member, step) : 0;
  if (to == 0) {
    return;
  }
  send_gossip(member, step, to);
  COUNT(step->stats->gossip_rounds);
}

/* Does the sender lack the base that we can tell it? Heartbeats tell it too, but not to a node of which its own members
 * know nothing yet. */
static bool lacks_base(const struct member *member, uint32_t from) {
  const struct peer *peer = detector_find(&member->detector, from);
  ASSERT(from != member->self);
  return member->has_base && (peer == NULL || !peer->told || peer->heartbeat.mark.base_count == 0);
}

void records_gossip(struct member *member, struct step *step, uint32_t from, const struct gossip *gossip) {
  const struct records *records = &member->records;
  ASSERT(from != member->self);
  if (records->digest == 0 || gossip->history_digest == 0) {
    return;
  }
  /* Also to a node that our history does not have: it may be a member by a record that has not reached us. */
  if (gossip->history_digest != records->digest) {
    records_send_history(member, step, from, MESSAGE_WANT);
  } else if (lacks_base(member, from)) {
    records_send_history(member, step, from, 0);
  }
  const struct peer *peer = detector_find(&member->detector, from);
  bool tells = member_takes_changes(member) || (member->has_base && ring_find(member->base, member->self) >= 0);
  if (tells && peer != NULL && (peer->known || peer->removed) && gossip->props_digest != records->buckets_digest) {
    send_props(member, step, from, MESSAGE_WANT, BYTES_NONE);
  }
}

/* Does a received history tell of our cluster (of any, while we have none)? */
static bool same_cluster(const struct history *ours, const struct history *theirs) {
  const struct change *a = history_founding(ours);
  const struct change *b = history_founding(theirs);
  if (b == NULL) {
    return false;
  }
  ASSERT(a != NULL || history_length(ours) == 0);
  return a == NULL || (a->time == b->time && a->issuer == b->issuer && a->node == b->node &&
                       a->partition_count == b->partition_count);
}

/* -- histories meet -------------------------------------------------------------------- */

static bool is_after(struct identity a, struct identity b) {
  return a.time != b.time ? a.time > b.time : a.issuer > b.issuer;
}

static struct identity identity_of(const struct change *change) {
  return (struct identity){change->time, change->issuer};
}

static bool is_before(const struct change *change, struct identity other) {
  return is_after(other, identity_of(change));
}

static bool is_behind(const struct change *change, struct identity other) {
  return is_after(identity_of(change), other);
}

/* An agreed prefix of the history is for ever: no record may come into its middle. One can only come from a node that
 * was taken for dead and removed, for which the others did not wait when they agreed. So it is not taken from that one,
 * and it forgets it when it is told: what a dead node knew alone is lost with it. Not so while it is waited for: then
 * nothing has been agreed without it. */
static bool is_late(const struct history *history, struct identity last, const struct change *change) {
  return is_before(change, last) && history_knows(history, change->issuer) == KNOWN_GONE;
}

/* Takes out of `history` each record that would come before `last`, is late for `judge`, and that it does not have; but
 * none that is agreed, up to `base`. */
static void drop_late(struct history *history, const struct history *judge, struct identity base,
                      struct identity last) {
  uint32_t kept = 0;
  uint32_t at = 0;
  for (uint32_t i = 0; i < history->count; i++) {
    const struct change *change = &history->changes[i];
    while (at < judge->count && is_before(&judge->changes[at], identity_of(change))) {
      at += 1;
    }
    bool known =
        at < judge->count && judge->changes[at].time == change->time && judge->changes[at].issuer == change->issuer;
    if (known || !is_behind(change, base) || !is_late(judge, last, change)) {
      history->changes[kept] = *change;
      kept += 1;
    }
  }
  ASSERT(kept <= history->count);
  history->count = kept;
}

/* What is older than the trail of what was folded away can not be told any more: it is believed. */
static bool has_prefix(const struct history *history, uint32_t count, uint64_t digest) {
  ASSERT(digest != 0);
  if (count == 0 || count > history_length(history)) {
    return false;
  }
  const uint64_t known = history_prefix_digest(history, count);
  return known == digest || known == 0;
}

bool records_keep(const struct member *member, uint32_t count, uint64_t digest) {
  ASSERT(member->has_base || count > 0);
  return has_prefix(&member->records.staged, count, digest);
}

/* Can we live by that history: by our layouts, and by the base of the sender? Two that can not have each removed the
 * other while they were apart. */
static bool is_livable(const struct member *member, const struct history *merged, uint32_t from, uint64_t their_base) {
  const struct layout *layout = &member->layout;
  const struct peer *peer = detector_find(&member->detector, from);
  if (member->has_base && !has_prefix(merged, layout->base_count, member->base->digest)) {
    return false;
  }
  if (layout_is_bound(member) && !has_prefix(merged, layout->target_count, member->target->digest)) {
    return false;
  }
  const struct mark *next = &layout->next;
  if (layout->storing && next->phase == MARK_DONE && !has_prefix(merged, next->base_count, next->base_digest)) {
    return false;
  }
  if (their_base == 0 || history_find_prefix(merged, their_base) >= 0) {
    return true;
  }
  const struct mark *mark = peer != NULL && peer->told ? &peer->heartbeat.mark : NULL;
  return mark != NULL && mark->base_digest == their_base && has_prefix(merged, mark->base_count, their_base);
}

/* May the others have agreed without that node on what we have said that we know? Only if it is fenced by a target that
 * removes it: to say HOLDS a node has to have no history beyond the target. */
static bool is_outsider(const struct member *member, uint32_t node) {
  const struct peer *peer = detector_find(&member->detector, node);
  bool held = ring_find(member->base, node) >= 0;
  bool stays = ring_find(member->target, node) >= 0;
  ASSERT(node != member->self);
  return member->has_base && !stays && (!held || (peer != NULL && peer->fenced));
}

/* The record that brought a node in. What comes before may be agreed upon without that node. */
static struct identity brought_in(const struct history *history, uint32_t node) {
  ASSERT(history->count <= HISTORY_MAX);
  for (uint32_t i = history->count; i > 0; i--) {
    const struct change *change = &history->changes[i - 1];
    if (change->node == node && (change->kind == CHANGE_ADD || change->kind == CHANGE_REPLACE)) {
      return identity_of(change);
    }
  }
  return (struct identity){0};
}

/* So much of what was received, which removes this node, they may have agreed upon without it: the base of the sender,
 * if it is another one, and the target that it holds. 0: nothing. */
static uint32_t agreed_without_us(const struct member *member, uint32_t from, const struct message *message) {
  const struct history *received = &member->records.scratch;
  const struct peer *peer = detector_find(&member->detector, from);
  const uint32_t length = history_length(received);
  uint32_t count = 0;
  if (history_knows(received, member->self) == KNOWN_MEMBER) {
    return 0;
  }
  if (member->has_base && message->digest != member->base->digest) {
    int base = history_find_prefix(received, message->digest);
    count = base < 0 ? length : (uint32_t)base;
  }
  if (peer != NULL && peer->told) {
    const struct mark *mark = &peer->heartbeat.mark;
    bool holds = mark->phase >= MARK_HOLDS && mark->phase <= MARK_READS &&
                 has_prefix(received, mark->target_count, mark->target_digest);
    count = holds && mark->target_count > count ? mark->target_count : count;
  }
  return count < length ? count : length;
}

/* The end of what we have said that we know, or are about to: only on the strength of that can anybody have agreed. It
 * is a prefix of what is staged, or of one of which late records have been dropped. */
static struct identity last_said(const struct member *member) {
  const struct history *staged = &member->records.staged;
  const struct layout *layout = &member->layout;
  const uint32_t count = layout->storing ? layout->next.target_count : layout->mark.target_count;
  return records_end(staged, count < history_length(staged) ? count : history_length(staged));
}

/* Of what was received: where the base of the sender ends, if it has one. However late those records come to us, others
 * have agreed upon them. */
static struct identity last_of_their_base(const struct member *member, const struct message *message) {
  const struct history *received = &member->records.scratch;
  const int count = history_find_prefix(received, message->digest);
  return count > 0 ? records_end(received, (uint32_t)count) : (struct identity){0};
}

/* A newcomer leaves it to the members of the base what is late of all that comes before itself; but not of what it has
 * said that it knows, for that it had from one of them. */
static void forget_before_us(struct member *member) {
  struct records *records = &member->records;
  const struct layout *layout = &member->layout;
  const struct mark *said = layout->storing ? &layout->next : &layout->mark;
  drop_late(&records->merged, &records->scratch, (struct identity){0}, brought_in(&records->scratch, member->self));
  if (!has_prefix(&records->merged, said->target_count, said->target_digest)) {
    history_copy(&records->merged, &records->staged);
  }
}

/* Where the longest target ends that we have told, by this base, without the node that came with that record. */
static struct identity said_without(const struct said *said, struct identity came) {
  struct identity end = {0};
  for (uint32_t i = 0; i < said->count; i++) {
    end = is_after(came, said->ends[i]) && is_after(said->ends[i], end) ? said->ends[i] : end;
  }
  return end.time == 0 && said->count == SAID_MAX ? came : end; /* it may have been forgotten */
}

/* Up to here nothing that is late is taken from that node: others may have agreed without it, or without us. A newcomer
 * had no part in what we told before it came. */
static struct identity closed_to(const struct member *member, uint32_t from) {
  const struct identity said = last_said(member);
  if (!member->has_base) {
    return (struct identity){0};
  }
  if (is_outsider(member, from) || barrier_is_agreed(member)) {
    return said;
  }
  struct identity closed = {0};
  if (ring_find(member->base, from) < 0) {
    closed = said_without(&member->layout.said, brought_in(&member->records.staged, from));
    closed = is_after(closed, said) ? said : closed;
  }
  return closed;
}

/* `scratch` is what was received. False when the two do not go together. */
static bool meet(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct records *records = &member->records;
  struct history *merged = &records->merged;
  uint32_t added = 0;
  history_copy(merged, &records->staged);
  const uint32_t agreed = agreed_without_us(member, from, message);
  if (member->has_base && layout_is_newcomer(member) && barrier_is_elder(member, from)) {
    forget_before_us(member);
  }
  if (agreed > 0) {
    drop_late(merged, &records->scratch, (struct identity){0}, records_end(&records->scratch, agreed));
  }
  if (history_merge(merged, message->object, &added) != ERR_OK) {
    return false;
  }
  const struct identity closed = closed_to(member, from);
  if (closed.time > 0) {
    drop_late(merged, &records->staged, last_of_their_base(member, message), closed);
  }
  if (!is_livable(member, merged, from, message->digest)) {
    return false;
  }
  bool adopted = merged->snapshot.ring.records > records->staged.snapshot.ring.records;
  if (adopted && history_knows(&records->staged, member->self) != KNOWN_NOT &&
      history_knows(merged, member->self) == KNOWN_NOT) {
    history_outlaw(merged, member->self); /* we have been away for so long that we are forgotten */
  }
  if (!member->has_base) {
    member->layout.base_hint = message->digest;
  }
  if (history_digest(merged) != history_digest(&records->staged)) {
    history_copy(&records->staged, merged);
    records->staged_dirty = true;
    records_commit(member, step);
  } else {
    layout_run(member, step);
  }
  return true;
}

void records_history(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct records *records = &member->records;
  ASSERT(from != member->self);
  uint32_t added = 0;
  history_init(&records->scratch);
  if (history_merge(&records->scratch, message->object, &added) != ERR_OK) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if (!same_cluster(&records->staged, &records->scratch)) {
    COUNT(step->stats->messages_bad);
    if (detector_note_foreign(member, from)) {
      records->foreigner = from;
      records->foreigners += 1;
    }
    return;
  }
  bool sender_known =
      history_knows(&records->staged, from) != KNOWN_NOT || history_knows(&records->scratch, from) != KNOWN_NOT;
  bool concerns_us =
      history_length(&records->staged) > 0 || history_knows(&records->scratch, member->self) == KNOWN_MEMBER;
  if (!sender_known || !concerns_us) {
    return;
  }
  if (!meet(member, step, from, message)) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if ((message->flags & MESSAGE_WANT) != 0 && history_digest(&records->scratch) != records->digest) {
    records_send_history(member, step, from, 0);
  }
}

void records_props(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct records *records = &member->records;
  ASSERT(from != member->self);
  const struct peer *peer = detector_find(&member->detector, from);
  if (records->digest == 0 || peer == NULL || !(peer->known || peer->removed)) {
    return;
  }
  uint32_t changed = 0;
  enum err err = bucket_table_merge(&records->buckets, message->object, &changed);
  if (err != ERR_OK && err != ERR_FULL) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if (changed > 0) {
    records->buckets_digest = bucket_table_digest(&records->buckets);
    records->buckets_dirty = true;
    records_commit(member, step);
    layout_run(member, step);
  }
  if ((message->flags & MESSAGE_WANT) != 0) {
    send_props(member, step, from, 0, message->object);
  }
}
