#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
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
  records->staged = records->history;
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
    commit_history(member, step);
  }
  if (records->buckets_dirty && !records->buckets_committing) {
    commit_buckets(member, step);
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
    join_withdraw(member, step);
    return;
  }
  if (join_too_late(member, step->now_ns)) {
    blob_put(blob);
    join_withdraw(member, step);
    records_commit(member, step);
    return;
  }
  uint32_t added = 0;
  enum err merged = history_merge(&records->history, blob_bytes(blob), &added);
  ASSERT(merged == ERR_OK);
  blob_put(records->history_blob);
  records->history_blob = blob;
  member_refold(member, step);
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

void records_unstage(struct member *member, struct step *step) {
  struct records *records = &member->records;
  ASSERT(records->committing == NULL);
  ASSERT(step->now_ns > 0);
  records->staged = records->history;
  /* The store may hold what is being taken back. */
  records->staged_dirty = true;
}

/* -- gossip -------------------------------------------------------------------------- */

void records_send_history(struct member *member, struct step *step, uint32_t to, uint8_t flags) {
  struct records *records = &member->records;
  if (records->history.count == 0) {
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
  for (uint32_t i = 0; i < member->ring.member_count; i++) {
    if (member->ring.members[i].node != member->self && member->detector.up[i]) {
      send_props(member, step, member->ring.members[i].node, 0, BYTES_NONE);
    }
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
  uint32_t to = member->is_member ? detector_random(member, step, true) : 0;
  if (to == 0) {
    return;
  }
  ASSERT(to != member->self);
  struct message message = {.type = MESSAGE_GOSSIP,
                            .gossip = {.history_digest = member->ring.digest, .props_digest = records->buckets_digest}};
  step_send(step, to, &message);
  COUNT(step->stats->gossip_rounds);
}

void records_gossip(struct member *member, struct step *step, uint32_t from, const struct gossip *gossip) {
  ASSERT(from != member->self);
  if (!member->is_member || gossip->history_digest == 0) {
    return;
  }
  /* Also to a node that our history does not have: it may be a member by a record that has not reached us. */
  if (gossip->history_digest != member->ring.digest) {
    records_send_history(member, step, from, MESSAGE_WANT);
  }
  bool known = ring_find(&member->ring, from) >= 0;
  if (known && gossip->props_digest != member->records.buckets_digest) {
    send_props(member, step, from, MESSAGE_WANT, BYTES_NONE);
  }
}

static const struct change *founding_of(const struct history *history) {
  ASSERT(history->count <= HISTORY_MAX);
  for (uint32_t i = 0; i < history->count; i++) {
    if (history->changes[i].kind == CHANGE_FOUND) {
      return &history->changes[i];
    }
  }
  return NULL;
}

/* Is `node` a member by the latest that a history says of it? */
static bool history_has(const struct history *history, uint32_t node) {
  ASSERT(history->count <= HISTORY_MAX);
  for (uint32_t i = history->count; i > 0; i--) {
    const struct change *change = &history->changes[i - 1];
    if (change->node == node && change->kind != CHANGE_REWEIGH) {
      return change->kind != CHANGE_REMOVE;
    }
  }
  return false;
}

/* Does a received history tell of our cluster (of any, while we have none)? */
static bool same_cluster(const struct history *ours, const struct history *theirs) {
  const struct change *a = founding_of(ours);
  const struct change *b = founding_of(theirs);
  if (b == NULL) {
    return false;
  }
  ASSERT(a != NULL || ours->count == 0);
  return a == NULL || (a->time == b->time && a->issuer == b->issuer && a->node == b->node &&
                       a->partition_count == b->partition_count);
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
    return;
  }
  bool sender_known = ring_find(&member->ring, from) >= 0 || history_has(&records->scratch, from);
  bool concerns_us = member->is_member || history_has(&records->scratch, member->self);
  if (!sender_known || !concerns_us) {
    return;
  }
  if (history_merge(&records->staged, message->object, &added) != ERR_OK) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if (added > 0) {
    records->staged_dirty = true;
    records_commit(member, step);
  }
  if ((message->flags & MESSAGE_WANT) != 0 && history_digest(&records->scratch) != member->ring.digest) {
    records_send_history(member, step, from, 0);
  }
}

void records_props(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct records *records = &member->records;
  ASSERT(from != member->self);
  if (!member->is_member || ring_find(&member->ring, from) < 0) {
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
  }
  if ((message->flags & MESSAGE_WANT) != 0) {
    send_props(member, step, from, 0, message->object);
  }
}
