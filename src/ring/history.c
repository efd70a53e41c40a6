#include "ring/history.h"

#include "base/assert.h"

#include <string.h>

#define HISTORY_FORMAT 1u

/* -- order and identity ------------------------------------------------------ */

static int compare_identity(const struct change *a, const struct change *b) {
  if (a->time != b->time) {
    return a->time < b->time ? -1 : 1;
  }
  return (a->issuer > b->issuer) - (a->issuer < b->issuer);
}

/* Field by field, for both are canonical but a struct's padding is not. */
static bool same_record(const struct change *a, const struct change *b) {
  return compare_identity(a, b) == 0 && a->kind == b->kind && a->node == b->node && a->weight == b->weight &&
         a->partition_count == b->partition_count && a->client_port == b->client_port && a->peer_port == b->peer_port &&
         memcmp(a->host, b->host, sizeof a->host) == 0 && memcmp(a->name, b->name, sizeof a->name) == 0 &&
         memcmp(a->zone, b->zone, sizeof a->zone) == 0;
}

/* The first place whose record is not before `change`. */
static uint32_t place_of(const struct history *history, const struct change *change) {
  uint32_t low = 0;
  uint32_t high = history->count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (compare_identity(&history->changes[middle], change) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static const struct change *find_founding(const struct history *history) {
  for (uint32_t i = 0; i < history->count; i++) {
    if (history->changes[i].kind == CHANGE_FOUND) {
      return &history->changes[i];
    }
  }
  return NULL;
}

/* -- canonical form ---------------------------------------------------------- */

static bool kind_is_known(uint32_t kind) {
  return kind >= CHANGE_FOUND && kind <= CHANGE_REWEIGH;
}

static bool brings_node(enum change_kind kind) {
  return kind == CHANGE_FOUND || kind == CHANGE_ADD;
}

/* Copies a text and zeros what is behind it; false when it has no end within `size`. */
static bool copy_text(char *to, const char *from, size_t size) {
  size_t length = 0;
  while (length < size && from[length] != '\0') {
    length++;
  }
  if (length == size) {
    return false;
  }
  memset(to, 0, size);
  memcpy(to, from, length);
  return true;
}

/* Zeros the whole of `out`, so that comparing and copying never depend on what was there. */
static enum err make_canonical(const struct change *change, struct change *out) {
  memset(out, 0, sizeof *out);
  if (!kind_is_known((uint32_t)change->kind) || change->time == 0 || change->issuer == 0 || change->node == 0) {
    return ERR_BADARG;
  }
  out->time = change->time;
  out->issuer = change->issuer;
  out->kind = change->kind;
  out->node = change->node;
  if (change->kind != CHANGE_REMOVE) {
    if (change->weight == 0 || change->weight > WEIGHT_MAX) {
      return ERR_BADARG;
    }
    out->weight = change->weight;
  }
  if (change->kind == CHANGE_FOUND) {
    const uint32_t partition_count = change->partition_count;
    if (partition_count == 0 || partition_count > PARTITIONS_MAX || (partition_count & (partition_count - 1)) != 0) {
      return ERR_BADARG;
    }
    out->partition_count = partition_count;
  }
  if (brings_node(change->kind)) {
    if (!copy_text(out->host, change->host, sizeof out->host) ||
        !copy_text(out->name, change->name, sizeof out->name) ||
        !copy_text(out->zone, change->zone, sizeof out->zone)) {
      return ERR_BADARG;
    }
    out->client_port = change->client_port;
    out->peer_port = change->peer_port;
  }
  return ERR_OK;
}

/* -- encoding ---------------------------------------------------------------- */

static void encode_text(struct writer *w, const char *text, size_t size) {
  size_t length = 0;
  while (text[length] != '\0') {
    length++;
    ASSERT(length < size);
  }
  write_u8(w, (uint8_t)length);
  write_raw(w, (struct bytes){(const uint8_t *)text, length});
}

static void encode_change(struct writer *w, const struct change *change) {
  ASSERT(kind_is_known((uint32_t)change->kind));
  write_u64(w, change->time);
  write_u32(w, change->issuer);
  write_u8(w, (uint8_t)change->kind);
  write_u32(w, change->node);
  write_u32(w, change->weight);
  write_u32(w, change->partition_count);
  write_u16(w, change->client_port);
  write_u16(w, change->peer_port);
  encode_text(w, change->host, sizeof change->host);
  encode_text(w, change->name, sizeof change->name);
  encode_text(w, change->zone, sizeof change->zone);
}

static bool decode_text(struct reader *r, char *text, size_t size) {
  const uint32_t length = read_u8(r);
  if (length >= size) {
    return false;
  }
  const struct bytes bytes = read_raw(r, length);
  if (r->failed) {
    return false;
  }
  for (uint32_t i = 0; i < length; i++) {
    if (bytes.data[i] == '\0') {
      return false;
    }
    text[i] = (char)bytes.data[i];
  }
  return true;
}

/* Takes canonical records only: one record has one encoding, or equal histories could have unequal digests. */
static enum err decode_change(struct reader *r, struct change *change) {
  struct change raw;
  memset(&raw, 0, sizeof raw);
  raw.time = read_u64(r);
  raw.issuer = read_u32(r);
  const uint32_t kind = read_u8(r);
  if (!kind_is_known(kind)) {
    return ERR_CORRUPT;
  }
  raw.kind = (enum change_kind)kind;
  raw.node = read_u32(r);
  raw.weight = read_u32(r);
  raw.partition_count = read_u32(r);
  raw.client_port = read_u16(r);
  raw.peer_port = read_u16(r);
  if (!decode_text(r, raw.host, sizeof raw.host) || !decode_text(r, raw.name, sizeof raw.name) ||
      !decode_text(r, raw.zone, sizeof raw.zone) || r->failed) {
    return ERR_CORRUPT;
  }
  if (make_canonical(&raw, change) != ERR_OK || !same_record(&raw, change)) {
    return ERR_CORRUPT;
  }
  return ERR_OK;
}

void history_encode(const struct history *history, struct writer *w) {
  ASSERT(history->count <= HISTORY_MAX);
  ASSERT(w != NULL);
  const size_t start = w->size;
  write_u8(w, HISTORY_FORMAT);
  write_u32(w, history->count);
  for (uint32_t i = 0; i < history->count; i++) {
    encode_change(w, &history->changes[i]);
  }
  if (!w->failed) {
    write_u64(w, bytes_hash((struct bytes){w->data + start, w->size - start}, 0));
  }
}

uint64_t history_digest(const struct history *history) {
  ASSERT(history->count <= HISTORY_MAX);
  uint8_t record[HISTORY_RECORD_MAX_BYTES];
  uint64_t digest = 0;
  for (uint32_t i = 0; i < history->count; i++) {
    struct writer w = writer_make(record, sizeof record);
    encode_change(&w, &history->changes[i]);
    ASSERT(!w.failed);
    digest = bytes_hash(writer_bytes(&w), digest);
  }
  return digest == 0 && history->count > 0 ? 1 : digest;
}

/* -- the set ----------------------------------------------------------------- */

void history_init(struct history *history) {
  ASSERT(history != NULL);
  history->count = 0;
}

enum err history_add(struct history *history, const struct change *change) {
  ASSERT(history->count <= HISTORY_MAX);
  struct change record;
  const enum err err = make_canonical(change, &record);
  if (err != ERR_OK) {
    return err;
  }
  const uint32_t place = place_of(history, &record);
  if (place < history->count && compare_identity(&history->changes[place], &record) == 0) {
    return same_record(&history->changes[place], &record) ? ERR_OK : ERR_REFUSED;
  }
  if (record.kind == CHANGE_FOUND && find_founding(history) != NULL) {
    return ERR_REFUSED;
  }
  if (history->count == HISTORY_MAX) {
    return ERR_FULL;
  }
  memmove(&history->changes[place + 1], &history->changes[place],
          (history->count - place) * sizeof history->changes[0]);
  history->changes[place] = record;
  history->count++;
  ASSERT(place == 0 || compare_identity(&history->changes[place - 1], &record) < 0);
  return ERR_OK;
}

/* What the check of an encoded history finds: where each record that is new to us begins. */
struct arrivals {
  uint32_t count;
  uint32_t offsets[HISTORY_MAX];
};

/* Format, checksum and count; leaves the reader at the first record, bounded to the records. */
static enum err open_encoded(struct bytes encoded, struct reader *r, uint32_t *count) {
  if (encoded.size < HISTORY_ENCODED_MAX_BYTES(0)) {
    return ERR_CORRUPT;
  }
  const struct bytes body = {encoded.data, encoded.size - 8};
  struct reader tail = reader_make((struct bytes){encoded.data + body.size, 8});
  *r = reader_make(body);
  const uint8_t format = read_u8(r);
  if (format > HISTORY_FORMAT) {
    return ERR_FORMAT;
  }
  if (format != HISTORY_FORMAT || read_u64(&tail) != bytes_hash(body, 0)) {
    return ERR_CORRUPT;
  }
  *count = read_u32(r);
  return ERR_OK;
}

/* Reads all of `encoded` and changes nothing: a history is taken whole or not at all. */
static enum err check_encoded(const struct history *history, struct bytes encoded, struct arrivals *arrivals) {
  struct reader r;
  uint32_t count = 0;
  enum err err = open_encoded(encoded, &r, &count);
  if (err != ERR_OK) {
    return err;
  }
  const struct change *founding = find_founding(history);
  bool refused = false;
  uint32_t founded = 0;
  struct change record;
  struct change before;
  memset(&before, 0, sizeof before);
  uint32_t added = 0;
  for (uint32_t i = 0; i < count; i++) {
    const size_t offset = r.offset;
    err = decode_change(&r, &record);
    if (err != ERR_OK || (i > 0 && compare_identity(&before, &record) >= 0)) {
      return ERR_CORRUPT;
    }
    before = record;
    if (record.kind == CHANGE_FOUND) {
      founded++;
      refused = refused || (founding != NULL && !same_record(founding, &record));
    }
    const uint32_t place = place_of(history, &record);
    if (place < history->count && compare_identity(&history->changes[place], &record) == 0) {
      refused = refused || !same_record(&history->changes[place], &record);
      continue;
    }
    if (added < HISTORY_MAX) {
      arrivals->offsets[added] = (uint32_t)offset;
    }
    added++;
  }
  if (reader_left(&r) != 0 || founded > 1) {
    return ERR_CORRUPT;
  }
  if (refused) {
    return ERR_REFUSED;
  }
  if (added > HISTORY_MAX - history->count) {
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
  /* From the back, so that each record of ours moves at most once. */
  uint32_t kept = history->count;
  uint32_t place = history->count + arrivals.count;
  history->count = place;
  for (uint32_t i = arrivals.count; i > 0; i--) {
    struct reader r = reader_make(encoded);
    r.offset = arrivals.offsets[i - 1];
    struct change record;
    const enum err decoded = decode_change(&r, &record);
    ASSERT(decoded == ERR_OK);
    while (kept > 0 && compare_identity(&history->changes[kept - 1], &record) > 0) {
      history->changes[--place] = history->changes[--kept];
    }
    history->changes[--place] = record;
  }
  ASSERT(place == kept);
  *added = arrivals.count;
  return ERR_OK;
}
