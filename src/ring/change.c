#include "ring/change.h"

#include "base/assert.h"

#include <string.h>

/* -- order and identity ------------------------------------------------------ */

int change_compare(const struct change *a, const struct change *b) {
  if (a->time != b->time) {
    return a->time < b->time ? -1 : 1;
  }
  return (a->issuer > b->issuer) - (a->issuer < b->issuer);
}

/* Field by field, for both are canonical but a struct's padding is not. */
bool change_equal(const struct change *a, const struct change *b) {
  return change_compare(a, b) == 0 && a->kind == b->kind && a->node == b->node && a->weight == b->weight &&
         a->partition_count == b->partition_count && a->old == b->old && a->client_port == b->client_port &&
         a->peer_port == b->peer_port && memcmp(a->host, b->host, sizeof a->host) == 0 &&
         memcmp(a->name, b->name, sizeof a->name) == 0 && memcmp(a->zone, b->zone, sizeof a->zone) == 0;
}

/* -- canonical form ---------------------------------------------------------- */

static bool kind_is_known(uint32_t kind) {
  return kind >= CHANGE_FOUND && kind <= CHANGE_REPLACE;
}

static bool brings_node(enum change_kind kind) {
  return kind == CHANGE_FOUND || kind == CHANGE_ADD || kind == CHANGE_REPLACE;
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
enum err change_normalize(const struct change *change, struct change *out) {
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
  if (change->kind == CHANGE_REPLACE) {
    if (change->old == 0 || change->old == change->node) {
      return ERR_BADARG;
    }
    out->old = change->old;
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

void text_encode(struct writer *w, const char *text, size_t size) {
  size_t length = 0;
  while (text[length] != '\0') {
    length++;
    ASSERT(length < size);
  }
  write_u8(w, (uint8_t)length);
  write_raw(w, (struct bytes){(const uint8_t *)text, length});
}

void change_encode(struct writer *w, const struct change *change) {
  ASSERT(kind_is_known((uint32_t)change->kind));
  write_u64(w, change->time);
  write_u32(w, change->issuer);
  write_u8(w, (uint8_t)change->kind);
  write_u32(w, change->node);
  write_u32(w, change->weight);
  write_u32(w, change->kind == CHANGE_REPLACE ? change->old : change->partition_count);
  write_u16(w, change->client_port);
  write_u16(w, change->peer_port);
  text_encode(w, change->host, sizeof change->host);
  text_encode(w, change->name, sizeof change->name);
  text_encode(w, change->zone, sizeof change->zone);
}

bool text_decode(struct reader *r, char *text, size_t size) {
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
enum err change_decode(struct reader *r, struct change *change) {
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
  const uint32_t last = read_u32(r);
  raw.old = raw.kind == CHANGE_REPLACE ? last : 0;
  raw.partition_count = raw.kind == CHANGE_REPLACE ? 0 : last;
  raw.client_port = read_u16(r);
  raw.peer_port = read_u16(r);
  if (!text_decode(r, raw.host, sizeof raw.host) || !text_decode(r, raw.name, sizeof raw.name) ||
      !text_decode(r, raw.zone, sizeof raw.zone) || r->failed) {
    return ERR_CORRUPT;
  }
  if (change_normalize(&raw, change) != ERR_OK || !change_equal(&raw, change)) {
    return ERR_CORRUPT;
  }
  return ERR_OK;
}

uint64_t change_digest(uint64_t digest, const struct change *change) {
  uint8_t record[HISTORY_RECORD_MAX_BYTES];
  struct writer w = writer_make(record, sizeof record);
  change_encode(&w, change);
  ASSERT(!w.failed);
  digest = bytes_hash(writer_bytes(&w), digest);
  return digest == 0 ? 1 : digest;
}
