#include "ring/history.h"

#include "base/assert.h"
#include "ring/change.h"
#include "ring/snapshot.h"

#include <string.h>

#define FORMAT_PLAIN 1u
#define FORMAT_SNAPSHOT 2u

/* -- what is in it ----------------------------------------------------------- */

/* The first place whose record is not before `change`. */
static uint32_t place_of(const struct history *history, const struct change *change) {
  uint32_t low = 0;
  uint32_t high = history->count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (change_compare(&history->changes[middle], change) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool has(const struct history *history, uint32_t place, const struct change *change) {
  return place < history->count && change_compare(&history->changes[place], change) == 0;
}

const struct change *history_founding(const struct history *history) {
  ASSERT(history->count <= HISTORY_MAX);
  if (history->snapshot.ring.records > 0) {
    return &history->snapshot.founding;
  }
  for (uint32_t i = 0; i < history->count; i++) {
    if (history->changes[i].kind == CHANGE_FOUND) {
      return &history->changes[i];
    }
  }
  return NULL;
}

uint32_t history_length(const struct history *history) {
  ASSERT(history->count <= HISTORY_MAX);
  return history->snapshot.ring.records + history->count;
}

uint64_t history_prefix_digest(const struct history *history, uint32_t count) {
  const struct ring *folded = &history->snapshot.ring;
  ASSERT(history->count <= HISTORY_MAX);
  ASSERT(count <= history_length(history));
  if (count < folded->records) {
    return snapshot_prefix(&history->snapshot, count);
  }
  uint64_t digest = folded->digest;
  for (uint32_t i = 0; i < count - folded->records; i++) {
    digest = change_digest(digest, &history->changes[i]);
  }
  return digest;
}

uint64_t history_digest(const struct history *history) {
  return history_prefix_digest(history, history_length(history));
}

int history_find_prefix(const struct history *history, uint64_t digest) {
  const struct ring *folded = &history->snapshot.ring;
  ASSERT(history->count <= HISTORY_MAX);
  if (digest == 0) {
    return 0;
  }
  uint64_t prefix = folded->digest;
  for (uint32_t i = 0; i < history->count; i++) {
    prefix = change_digest(prefix, &history->changes[i]);
    if (prefix == digest) {
      return (int)(folded->records + i + 1);
    }
  }
  return snapshot_find(&history->snapshot, digest);
}

static enum known known_by(const struct change *change, uint32_t node) {
  switch (change->kind) {
  case CHANGE_FOUND:
  case CHANGE_ADD:
    return change->node == node ? KNOWN_MEMBER : KNOWN_NOT;
  case CHANGE_REMOVE:
    return change->node == node ? KNOWN_GONE : KNOWN_NOT;
  case CHANGE_REWEIGH:
    break;
  case CHANGE_REPLACE:
    return change->node == node ? KNOWN_MEMBER : change->old == node ? KNOWN_GONE : KNOWN_NOT;
  }
  return KNOWN_NOT;
}

struct roll {
  uint32_t count;
  uint32_t nodes[MEMBERS_MAX];
};

static uint32_t roll_find(const struct roll *roll, uint32_t node) {
  uint32_t at = 0;
  while (at < roll->count && roll->nodes[at] != node) {
    at += 1;
  }
  return at;
}

/* Who is a member, record by record, as the fold has it. */
static void roll_take(struct roll *roll, const struct change *change) {
  const uint32_t at = roll_find(roll, change->node);
  const uint32_t old = change->kind == CHANGE_REPLACE ? roll_find(roll, change->old) : roll->count;
  const bool founds = change->kind == CHANGE_FOUND && roll->count == 0;
  const bool adds = change->kind == CHANGE_ADD && roll->count > 0 && roll->count < MEMBERS_MAX;
  if ((founds || adds) && at == roll->count) {
    roll->nodes[roll->count] = change->node;
    roll->count += 1;
  } else if (change->kind == CHANGE_REMOVE && at < roll->count && roll->count > 1) {
    roll->count -= 1;
    roll->nodes[at] = roll->nodes[roll->count];
  } else if (change->kind == CHANGE_REPLACE && old < roll->count && at == roll->count) {
    roll->nodes[old] = change->node;
  }
}

/* Is the node a member still after the record that takes it out? Of the last one that is passed over, for two that are
 * left may have removed each other; so is a replacement by one that is a member already. */
static bool stays(const struct history *history, uint32_t index, uint32_t node) {
  struct roll roll = {.count = history->snapshot.ring.member_count};
  for (uint32_t i = 0; i < roll.count; i++) {
    roll.nodes[i] = history->snapshot.ring.members[i].node;
  }
  for (uint32_t i = 0; i <= index; i++) {
    roll_take(&roll, &history->changes[i]);
  }
  return roll_find(&roll, node) < roll.count;
}

enum known history_knows(const struct history *history, uint32_t node) {
  const struct snapshot *snapshot = &history->snapshot;
  ASSERT(history->count <= HISTORY_MAX);
  ASSERT(node != 0);
  for (uint32_t i = history->count; i > 0; i--) {
    const enum known known = known_by(&history->changes[i - 1], node);
    if (known == KNOWN_MEMBER || (known == KNOWN_GONE && !stays(history, i - 1, node))) {
      return known;
    }
  }
  for (uint32_t i = 0; i < snapshot->gone_count; i++) {
    if (snapshot->gone[i] == node) {
      return KNOWN_GONE;
    }
  }
  for (uint32_t i = 0; i < snapshot->ring.member_count; i++) {
    if (snapshot->ring.members[i].node == node) {
      return KNOWN_MEMBER;
    }
  }
  return KNOWN_NOT;
}

/* -- encoding ---------------------------------------------------------------- */

void history_encode(const struct history *history, struct writer *w) {
  ASSERT(history->count <= HISTORY_MAX);
  ASSERT(w != NULL);
  const size_t start = w->size;
  if (history->snapshot.ring.records > 0) {
    write_u8(w, FORMAT_SNAPSHOT);
    snapshot_encode(&history->snapshot, w);
  } else {
    write_u8(w, FORMAT_PLAIN);
  }
  write_u32(w, history->count);
  for (uint32_t i = 0; i < history->count; i++) {
    change_encode(w, &history->changes[i]);
  }
  if (!w->failed) {
    write_u64(w, bytes_hash((struct bytes){w->data + start, w->size - start}, 0));
  }
}

/* -- the set ----------------------------------------------------------------- */

void history_init(struct history *history) {
  ASSERT(history != NULL);
  history->count = 0;
  memset(&history->snapshot, 0, sizeof history->snapshot);
}

void history_copy(struct history *to, const struct history *from) {
  ASSERT(to != from);
  ASSERT(from->count <= HISTORY_MAX);
  memcpy(to->changes, from->changes, from->count * sizeof from->changes[0]);
  to->count = from->count;
  snapshot_copy(&to->snapshot, &from->snapshot);
}

enum err history_add(struct history *history, const struct change *change) {
  ASSERT(history->count <= HISTORY_MAX);
  struct change record;
  const enum err err = change_normalize(change, &record);
  if (err != ERR_OK) {
    return err;
  }
  const struct change *founding = history_founding(history);
  if (record.kind == CHANGE_FOUND && founding != NULL) {
    return change_equal(founding, &record) ? ERR_OK : ERR_REFUSED;
  }
  const uint32_t place = place_of(history, &record);
  if (has(history, place, &record)) {
    return change_equal(&history->changes[place], &record) ? ERR_OK : ERR_REFUSED;
  }
  if (snapshot_spans(&history->snapshot, &record)) {
    return ERR_REFUSED;
  }
  if (history->count == HISTORY_MAX) {
    return ERR_FULL;
  }
  memmove(&history->changes[place + 1], &history->changes[place],
          (history->count - place) * sizeof history->changes[0]);
  history->changes[place] = record;
  history->count++;
  ASSERT(place == 0 || change_compare(&history->changes[place - 1], &record) < 0);
  return ERR_OK;
}

/* Those of its own records that a snapshot spans. */
static uint32_t count_spanned(const struct history *history, const struct snapshot *snapshot) {
  uint32_t count = 0;
  while (count < history->count && snapshot_spans(snapshot, &history->changes[count])) {
    count++;
  }
  return count;
}

static void drop_first(struct history *history, uint32_t count) {
  ASSERT(count <= history->count);
  history->count -= count;
  memmove(&history->changes[0], &history->changes[count], history->count * sizeof history->changes[0]);
}

enum err history_compact(struct history *history, const struct ring *ring) {
  struct snapshot *snapshot = &history->snapshot;
  if (ring->partition_count == 0 || ring->records > history_length(history)) {
    return ERR_REFUSED;
  }
  if (ring->records < snapshot->ring.records) {
    return ERR_OK;
  }
  if (history_prefix_digest(history, ring->records) != ring->digest) {
    return ERR_REFUSED;
  }
  if (ring->records == snapshot->ring.records) {
    return ERR_OK;
  }
  const uint32_t count = ring->records - snapshot->ring.records;
  for (uint32_t i = 0; i < count; i++) {
    snapshot_take(snapshot, &history->changes[i]);
  }
  ASSERT(snapshot->founding.kind == CHANGE_FOUND);
  ASSERT(snapshot->ring.records == ring->records && snapshot->ring.digest == ring->digest);
  drop_first(history, count);
  snapshot->ring = *ring;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    snapshot_forget(snapshot, ring->members[i].node); /* whoever has removed them: they stay */
  }
  return ERR_OK;
}

void history_outlaw(struct history *history, uint32_t node) {
  ASSERT(history->snapshot.ring.records > 0);
  ASSERT(history_knows(history, node) == KNOWN_NOT);
  snapshot_remember(&history->snapshot, node);
}

/* -- union ------------------------------------------------------------------- */

/* What the check of an encoded history finds: where each record that is new to us begins, and what a snapshot of it
 * would do here. */
struct arrivals {
  uint32_t count;
  uint32_t offsets[HISTORY_MAX];
  bool adopt;       /* the snapshot */
  uint32_t dropped; /* of our records, for it */
  struct snapshot snapshot;
};

/* Format, checksum and snapshot; leaves the reader at the number of records, bounded to the records. */
static enum err open_encoded(struct bytes encoded, struct reader *r, struct snapshot *snapshot) {
  if (encoded.size < 1 + 4 + 8) {
    return ERR_CORRUPT;
  }
  const struct bytes body = {encoded.data, encoded.size - 8};
  struct reader tail = reader_make((struct bytes){encoded.data + body.size, 8});
  *r = reader_make(body);
  const uint8_t format = read_u8(r);
  if (format > FORMAT_SNAPSHOT) {
    return ERR_FORMAT;
  }
  if (format < FORMAT_PLAIN || read_u64(&tail) != bytes_hash(body, 0)) {
    return ERR_CORRUPT;
  }
  if (format == FORMAT_SNAPSHOT) {
    return snapshot_decode(r, snapshot);
  }
  memset(snapshot, 0, sizeof *snapshot);
  return ERR_OK;
}

/* Can what the shorter covers be a part of what the longer does? */
static bool goes_on_from(const struct snapshot *longer, const struct snapshot *shorter) {
  const uint64_t digest = snapshot_prefix(longer, shorter->ring.records);
  return shorter->ring.records == 0 || digest == shorter->ring.digest ||
         (digest == 0 &&
          (shorter->time < longer->time || (shorter->time == longer->time && shorter->issuer < longer->issuer)));
}

/* Whether a snapshot tells of what we do not know (then it is adopted), and whether it can be of our history at all. */
static enum err judge_snapshot(const struct history *history, struct arrivals *arrivals) {
  const struct snapshot *theirs = &arrivals->snapshot;
  const struct snapshot *ours = &history->snapshot;
  const struct change *founding = history_founding(history);
  arrivals->adopt = false;
  arrivals->dropped = 0;
  if (theirs->ring.records == 0) {
    return ERR_OK;
  }
  if (founding != NULL && !change_equal(founding, &theirs->founding)) {
    return ERR_REFUSED;
  }
  if (theirs->ring.records < ours->ring.records) {
    return goes_on_from(ours, theirs) ? ERR_OK : ERR_REFUSED;
  }
  if (theirs->ring.records <= history_length(history) &&
      history_prefix_digest(history, theirs->ring.records) == theirs->ring.digest) {
    return ERR_OK;
  }
  /* It covers something that we have not: so it must cover more. */
  const uint32_t spanned = count_spanned(history, theirs);
  if (ours->ring.records + spanned >= theirs->ring.records || !goes_on_from(theirs, ours)) {
    return ERR_REFUSED;
  }
  arrivals->adopt = true;
  arrivals->dropped = spanned;
  return ERR_OK;
}

/* One pass over the encoded records. */
struct pass {
  struct change record;
  struct change before;
  bool refused;
  uint32_t founded;
  uint32_t spanned; /* those that our snapshot spans, theirs included */
  uint64_t digest;  /* of these */
};

/* Compares a record with what we have. True if it is new to us. */
static bool judge_record(const struct history *history, struct pass *pass, const struct change *founding) {
  const struct change *record = &pass->record;
  if (record->kind == CHANGE_FOUND) {
    pass->founded++;
    pass->refused = pass->refused || (founding != NULL && !change_equal(founding, record));
  }
  if (snapshot_spans(&history->snapshot, record)) {
    pass->spanned++;
    pass->digest = change_digest(pass->digest, record);
    return false;
  }
  const uint32_t place = place_of(history, record);
  if (has(history, place, record)) {
    pass->refused = pass->refused || !change_equal(&history->changes[place], record);
    return false;
  }
  return true;
}

/* Can what our snapshot spans of theirs be what it stands for? */
static bool is_covered(const struct history *history, const struct pass *pass) {
  const struct ring *folded = &history->snapshot.ring;
  return pass->spanned < folded->records || (pass->spanned == folded->records && pass->digest == folded->digest);
}

/* Reads all of `encoded` and changes nothing: a history is taken whole or not at all. */
static enum err check_encoded(const struct history *history, struct bytes encoded, struct arrivals *arrivals) {
  const struct snapshot *theirs = &arrivals->snapshot;
  struct reader r;
  enum err err = open_encoded(encoded, &r, &arrivals->snapshot);
  if (err != ERR_OK) {
    return err;
  }
  struct pass pass;
  memset(&pass, 0, sizeof pass);
  pass.refused = judge_snapshot(history, arrivals) != ERR_OK;
  pass.founded = theirs->ring.records > 0;
  pass.spanned = theirs->ring.records;
  pass.digest = theirs->ring.digest;
  const struct change *founding = history_founding(history);
  const uint32_t count = read_u32(&r);
  uint32_t added = 0;
  for (uint32_t i = 0; i < count; i++) {
    const size_t offset = r.offset;
    if (change_decode(&r, &pass.record) != ERR_OK || (i > 0 && change_compare(&pass.before, &pass.record) >= 0) ||
        snapshot_spans(theirs, &pass.record)) {
      return ERR_CORRUPT;
    }
    pass.before = pass.record;
    if (judge_record(history, &pass, founding)) {
      if (added < HISTORY_MAX) {
        arrivals->offsets[added] = (uint32_t)offset;
      }
      added++;
    }
  }
  if (r.failed || reader_left(&r) != 0 || pass.founded > 1) {
    return ERR_CORRUPT;
  }
  if (pass.refused || (theirs->ring.records <= history->snapshot.ring.records && !is_covered(history, &pass))) {
    return ERR_REFUSED;
  }
  if (added > HISTORY_MAX - (history->count - arrivals->dropped)) {
    return ERR_FULL;
  }
  arrivals->count = added;
  return ERR_OK;
}

enum err history_merge(struct history *history, struct bytes encoded, uint32_t *added) {
  ASSERT(history->count <= HISTORY_MAX);
  ASSERT(encoded.data != NULL || encoded.size == 0);
  *added = 0;
  struct arrivals arrivals;
  arrivals.count = 0;
  const enum err err = check_encoded(history, encoded, &arrivals);
  if (err != ERR_OK) {
    return err;
  }
  *added = arrivals.count;
  if (arrivals.adopt) {
    *added += arrivals.snapshot.ring.records - history->snapshot.ring.records - arrivals.dropped;
    drop_first(history, arrivals.dropped);
    snapshot_copy(&history->snapshot, &arrivals.snapshot);
  }
  /* From the back, so that each record of ours moves at most once. */
  uint32_t kept = history->count;
  uint32_t place = history->count + arrivals.count;
  history->count = place;
  for (uint32_t i = arrivals.count; i > 0; i--) {
    struct reader r = reader_make(encoded);
    r.offset = arrivals.offsets[i - 1];
    struct change record;
    const enum err decoded = change_decode(&r, &record);
    ASSERT(decoded == ERR_OK);
    while (kept > 0 && change_compare(&history->changes[kept - 1], &record) > 0) {
      history->changes[--place] = history->changes[--kept];
    }
    history->changes[--place] = record;
  }
  ASSERT(place == kept);
  return ERR_OK;
}
