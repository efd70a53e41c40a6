#include "version/object.h"

#include <string.h>

#include "base/assert.h"
#include "base/hlc.h"

#define FORMAT_OBJECT 1u
#define FORMAT_CLOCK 2u
#define HEADER_BYTES 8u
#define SIBLING_BYTES 33u /* all but the value */
#define EXPIRES_OFFSET 20u
#define TOMBSTONE_OFFSET 28u
#define SIZE_OFFSET 29u

_Static_assert(SIZE_OFFSET + 4u == SIBLING_BYTES && EXPIRES_OFFSET == DOT_BYTES, "offsets within a sibling");
_Static_assert(SIBLINGS_MAX <= UINT16_MAX && CLOCK_PAIRS_MAX <= UINT16_MAX, "counts are 16 bits");
_Static_assert(SIBLINGS_PUT_MAX <= SIBLINGS_MAX, "what a put may make can be stored");
_Static_assert(OBJECT_MAX_BYTES <= UINT32_MAX, "a blob's size is 32 bits");

static uint16_t load_u16(const uint8_t *at) {
  return (uint16_t)(at[0] | (at[1] << 8));
}

static uint32_t load_u32(const uint8_t *at) {
  return (uint32_t)at[0] | ((uint32_t)at[1] << 8) | ((uint32_t)at[2] << 16) | ((uint32_t)at[3] << 24);
}

static uint64_t load_u64(const uint8_t *at) {
  return load_u32(at) | ((uint64_t)load_u32(at + 4) << 32);
}

static void store_u16(uint8_t *at, uint32_t value) {
  ASSERT(value <= UINT16_MAX);
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

/* -- reading ------------------------------------------------------------------------ */

/* An object that was opened, with its claims in the open: pairs, then dots. */
struct opened {
  struct object object;
  struct dot dots[CLOCK_PAIRS_MAX];
};

static struct claims opened_claims(const struct opened *opened) {
  return (struct claims){.pairs = opened->dots,
                         .dots = opened->dots + opened->object.pair_count,
                         .pair_count = opened->object.pair_count,
                         .dot_count = opened->object.dot_count};
}

/* Goes through the siblings of an object that was opened, as they are encoded. */
struct record_cursor {
  const uint8_t *at;
  uint32_t left; /* this one included */
  bool is_clock;
  struct dot dot;
  uint32_t size_bytes; /* of the record, its value included */
};

static void record_load(struct record_cursor *cursor) {
  if (cursor->left > 0) {
    cursor->dot = dot_load(cursor->at);
    cursor->size_bytes = SIBLING_BYTES + (cursor->is_clock ? 0 : load_u32(cursor->at + SIZE_OFFSET));
  }
}

static struct record_cursor record_begin(const struct object *object) {
  struct record_cursor cursor = {.left = object->sibling_count, .is_clock = object->is_clock};
  if (object->sibling_count > 0) {
    cursor.at = object->encoded.data + object->siblings_offset;
    record_load(&cursor);
  }
  return cursor;
}

static void record_next(struct record_cursor *cursor) {
  ASSERT(cursor->left > 0);
  cursor->at += cursor->size_bytes;
  cursor->left -= 1;
  record_load(cursor);
}

/* Which of two cursors stands at the lesser dot: <0 the first, >0 the second, 0 both. Not both at their end. */
static int record_order(const struct record_cursor *a, const struct record_cursor *b) {
  ASSERT(a->left > 0 || b->left > 0);
  if (a->left == 0 || b->left == 0) {
    return a->left == 0 ? 1 : -1;
  }
  return dot_compare(a->dot, b->dot);
}

/* One dot, one version: what is said about it must be the same. Values are not compared. */
static bool record_agrees(const struct record_cursor *a, const struct record_cursor *b) {
  ASSERT(a->at != NULL && b->at != NULL);
  return memcmp(a->at, b->at, SIBLING_BYTES) == 0;
}

static bool siblings_valid(const struct opened *opened) {
  const struct object *object = &opened->object;
  struct bytes encoded = object->encoded;
  struct claims claims = opened_claims(opened);
  struct cover_cursor cover = cover_begin((struct claims){.dots = claims.dots, .dot_count = claims.dot_count});
  size_t offset = object->siblings_offset;
  struct dot last = {0};
  for (uint32_t i = 0; i < object->sibling_count; i++) {
    if (encoded.size - offset < SIBLING_BYTES) {
      return false;
    }
    const uint8_t *at = encoded.data + offset;
    struct dot dot = dot_load(at);
    if (!dot_is_valid(dot) || dot_compare(last, dot) >= 0 || cover_next(&cover, dot)) {
      return false;
    }
    last = dot;
    uint8_t tombstone = at[TOMBSTONE_OFFSET];
    uint32_t size = load_u32(at + SIZE_OFFSET);
    if (tombstone > 1 || (tombstone == 1 && size > 0) || size > OBJECT_MAX_BYTES) {
      return false;
    }
    offset += SIBLING_BYTES;
    uint32_t stored = object->is_clock ? 0 : size;
    if (encoded.size - offset < stored) {
      return false;
    }
    offset += stored;
  }
  return offset == encoded.size;
}

/* An absent object opens as one without anything in it. */
static enum err opened_open(struct opened *opened, struct bytes encoded) {
  struct object *object = &opened->object;
  *object = (struct object){.encoded = encoded};
  if (encoded.size == 0) {
    return ERR_OK;
  }
  if (encoded.data[0] > FORMAT_CLOCK) {
    return ERR_FORMAT;
  }
  if (encoded.data[0] == 0 || encoded.size < HEADER_BYTES || encoded.size > OBJECT_MAX_BYTES || encoded.data[1] != 0) {
    return ERR_CORRUPT;
  }
  object->is_clock = encoded.data[0] == FORMAT_CLOCK;
  uint32_t pair_count = load_u16(encoded.data + 2);
  uint32_t dot_count = load_u16(encoded.data + 4);
  uint32_t sibling_count = load_u16(encoded.data + 6);
  size_t siblings_offset = HEADER_BYTES + (size_t)(pair_count + dot_count) * DOT_BYTES;
  if (pair_count + dot_count > CLOCK_PAIRS_MAX || sibling_count == 0 || sibling_count > SIBLINGS_MAX ||
      siblings_offset > encoded.size) {
    return ERR_CORRUPT;
  }
  object->pair_count = (uint16_t)pair_count;
  object->dot_count = (uint16_t)dot_count;
  object->sibling_count = (uint16_t)sibling_count;
  object->siblings_offset = siblings_offset;
  for (uint32_t i = 0; i < pair_count + dot_count; i++) {
    opened->dots[i] = dot_load(encoded.data + HEADER_BYTES + (size_t)i * DOT_BYTES);
  }
  if (claims_check(opened_claims(opened)) != ERR_OK || !siblings_valid(opened)) {
    return ERR_CORRUPT;
  }
  return ERR_OK;
}

enum err object_open(struct object *object, struct bytes encoded) {
  struct opened opened;
  enum err err = encoded.size == 0 ? ERR_CORRUPT : opened_open(&opened, encoded);
  if (err == ERR_OK) {
    *object = opened.object;
    ASSERT(object->sibling_count > 0);
    ASSERT(object->siblings_offset < encoded.size);
  }
  return err;
}

void object_past(const struct object *object, struct past *past) {
  ASSERT(object->pair_count + object->dot_count <= CLOCK_PAIRS_MAX);
  const uint8_t *at = object->encoded.data + HEADER_BYTES;
  past_init(past);
  for (uint32_t i = 0; i < object->pair_count; i++, at += DOT_BYTES) {
    past->pairs[i] = dot_load(at);
  }
  past->pair_count = object->pair_count;
  struct cover_cursor cover = cover_begin(past_claims(past));
  struct record_cursor record = record_begin(object);
  for (uint32_t left = object->dot_count; left > 0 || record.left > 0;) {
    bool is_sibling = left == 0 || (record.left > 0 && dot_compare(record.dot, dot_load(at)) < 0);
    struct dot dot = is_sibling ? record.dot : dot_load(at);
    if (is_sibling) {
      record_next(&record);
    } else {
      at += DOT_BYTES;
      left -= 1;
    }
    if (!cover_next(&cover, dot)) {
      ASSERT(past->dot_count < PAST_MAX);
      past->dots[past->dot_count] = dot;
      past->dot_count += 1;
    }
  }
}

struct sibling_cursor object_siblings(const struct object *object) {
  return (struct sibling_cursor){.object = object, .offset = object->siblings_offset, .left = object->sibling_count};
}

bool sibling_next(struct sibling_cursor *cursor, struct sibling *sibling) {
  if (cursor->left == 0) {
    return false;
  }
  const struct object *object = cursor->object;
  ASSERT(cursor->offset + SIBLING_BYTES <= object->encoded.size);
  const uint8_t *at = object->encoded.data + cursor->offset;
  *sibling = (struct sibling){.dot = dot_load(at),
                              .expires_at_ms = load_u64(at + EXPIRES_OFFSET),
                              .tombstone = at[TOMBSTONE_OFFSET] != 0,
                              .size = load_u32(at + SIZE_OFFSET)};
  cursor->offset += SIBLING_BYTES;
  cursor->left -= 1;
  if (!object->is_clock && sibling->size > 0) {
    ASSERT(sibling->size <= object->encoded.size - cursor->offset);
    sibling->value = (struct bytes){at + SIBLING_BYTES, sibling->size};
    cursor->offset += sibling->size;
  }
  return true;
}

uint64_t object_newest(const struct object *object) {
  uint64_t newest = 0;
  uint32_t count = (uint32_t)object->pair_count + object->dot_count;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t time = dot_load(object->encoded.data + HEADER_BYTES + (size_t)i * DOT_BYTES).time;
    newest = time > newest ? time : newest;
  }
  for (struct record_cursor record = record_begin(object); record.left > 0; record_next(&record)) {
    newest = record.dot.time > newest ? record.dot.time : newest;
  }
  return newest;
}

bool object_latest(const struct object *object, uint64_t wall_ms, struct sibling *out) {
  bool found = false;
  struct sibling sibling;
  struct sibling_cursor cursor = object_siblings(object);
  while (sibling_next(&cursor, &sibling)) {
    bool expired = sibling.expires_at_ms != 0 && sibling.expires_at_ms <= wall_ms;
    if (!expired && !sibling.tombstone && (!found || dot_compare_age(out->dot, sibling.dot) < 0)) {
      *out = sibling;
      found = true;
    }
  }
  return found;
}

/* -- scratch ------------------------------------------------------------------------ */

enum origin { ORIGIN_MINE = 1, ORIGIN_THEIRS = 2, ORIGIN_NEW = 4 };

/* A sibling that the result may have. */
struct candidate {
  struct dot dot;
  const uint8_t *record; /* NULL for the new one of a put */
  uint32_t size_bytes;   /* of the record, its value included */
  uint8_t origins;       /* of enum origin */
  bool stays;
};

#define CANDIDATES_MAX (2u * SIBLINGS_MAX)
/* A context may be any past; the object adds its own, the new dot comes on top. */
#define PAIRS_ROOM (2u * CLOCK_PAIRS_MAX + 2u + CLOCK_PAIRS_MAX + 1u)
#define DOTS_ROOM (PAST_MAX + CLOCK_PAIRS_MAX + CANDIDATES_MAX)

struct version_scratch {
  struct opened mine, theirs;
  uint32_t pair_count, dot_count, candidate_count, seen_count, stay_count;
  struct dot pairs[PAIRS_ROOM];
  struct dot dots[DOTS_ROOM];
  struct dot seen[CANDIDATES_MAX]; /* siblings' dots that become claims; ascending */
  struct candidate candidates[CANDIDATES_MAX];
  uint8_t fresh[SIBLING_BYTES]; /* the new sibling of a put, but for its value */
};

size_t version_scratch_size(void) {
  return sizeof(struct version_scratch);
}

static void scratch_reset(struct version_scratch *scratch) {
  scratch->pair_count = 0;
  scratch->dot_count = 0;
  scratch->candidate_count = 0;
  scratch->seen_count = 0;
  scratch->stay_count = 0;
}

static void candidate_add(struct version_scratch *scratch, struct candidate candidate) {
  ASSERT(scratch->candidate_count < CANDIDATES_MAX);
  ASSERT(scratch->candidate_count == 0 ||
         dot_compare(scratch->candidates[scratch->candidate_count - 1].dot, candidate.dot) < 0);
  scratch->candidates[scratch->candidate_count] = candidate;
  scratch->candidate_count += 1;
  scratch->stay_count += candidate.stays ? 1 : 0;
}

static void seen_add(struct version_scratch *scratch, struct dot dot) {
  ASSERT(scratch->seen_count < CANDIDATES_MAX);
  scratch->seen[scratch->seen_count] = dot;
  scratch->seen_count += 1;
}

/* The greatest by (time, actor), of those that stay or of all. */
static struct candidate *candidate_greatest(struct version_scratch *scratch, bool of_all) {
  struct candidate *greatest = NULL;
  for (uint32_t i = 0; i < scratch->candidate_count; i++) {
    struct candidate *candidate = &scratch->candidates[i];
    if ((of_all || candidate->stays) && (greatest == NULL || dot_compare_age(greatest->dot, candidate->dot) < 0)) {
      greatest = candidate;
    }
  }
  return greatest;
}

/* Last write wins: the rivals become claims. */
static void candidates_resolve(struct version_scratch *scratch) {
  if (scratch->stay_count <= 1) {
    return;
  }
  const struct candidate *winner = candidate_greatest(scratch, false);
  ASSERT(winner != NULL);
  for (uint32_t i = 0; i < scratch->candidate_count; i++) {
    struct candidate *candidate = &scratch->candidates[i];
    if (candidate->stays && candidate != winner) {
      candidate->stays = false;
      seen_add(scratch, candidate->dot);
    }
  }
  scratch->stay_count = 1;
}

static void claims_add(struct version_scratch *scratch, struct claims claims) {
  scratch->pair_count = pairs_union(scratch->pairs, scratch->pair_count, PAIRS_ROOM, claims.pairs, claims.pair_count);
  scratch->dot_count = dots_union(scratch->dots, scratch->dot_count, DOTS_ROOM, claims.dots, claims.dot_count);
}

/* Brings the claims into their canonical form; returns how many were dropped past the limit. */
static uint32_t claims_finish(struct version_scratch *scratch) {
  scratch->dot_count = dots_union(scratch->dots, scratch->dot_count, DOTS_ROOM, scratch->seen, scratch->seen_count);
  scratch->dot_count = dots_drop_covered(scratch->dots, scratch->dot_count, scratch->pairs, scratch->pair_count);
  uint32_t dropped = claims_truncate(scratch->pairs, &scratch->pair_count, scratch->dots, &scratch->dot_count);
  ASSERT(scratch->pair_count + scratch->dot_count <= CLOCK_PAIRS_MAX);
  return dropped;
}

/* Of exactly the size of the result. `put` has the value of the new sibling, if there is one. */
static enum err scratch_encode(const struct version_scratch *scratch, struct blob_pool *pool, bool is_clock,
                               const struct put *put, struct blob **out) {
  ASSERT(scratch->stay_count > 0 && scratch->stay_count <= SIBLINGS_MAX);
  size_t size = HEADER_BYTES + (size_t)(scratch->pair_count + scratch->dot_count) * DOT_BYTES;
  for (uint32_t i = 0; i < scratch->candidate_count; i++) {
    size += scratch->candidates[i].stays ? scratch->candidates[i].size_bytes : 0;
  }
  if (size > OBJECT_MAX_BYTES) {
    return ERR_TOOBIG;
  }
  struct blob *blob = blob_new(pool, size);
  if (blob == NULL) {
    return ERR_NOMEM;
  }
  uint8_t *at = blob->data;
  at[0] = is_clock ? FORMAT_CLOCK : FORMAT_OBJECT;
  at[1] = 0;
  store_u16(at + 2, scratch->pair_count);
  store_u16(at + 4, scratch->dot_count);
  store_u16(at + 6, scratch->stay_count);
  at += HEADER_BYTES;
  for (uint32_t i = 0; i < scratch->pair_count; i++, at += DOT_BYTES) {
    dot_store(at, scratch->pairs[i]);
  }
  for (uint32_t i = 0; i < scratch->dot_count; i++, at += DOT_BYTES) {
    dot_store(at, scratch->dots[i]);
  }
  for (uint32_t i = 0; i < scratch->candidate_count; i++) {
    const struct candidate *candidate = &scratch->candidates[i];
    if (!candidate->stays) {
      continue;
    }
    if (candidate->record != NULL) {
      memcpy(at, candidate->record, candidate->size_bytes);
    } else {
      memcpy(at, scratch->fresh, SIBLING_BYTES);
      if (put->value.size > 0) {
        memcpy(at + SIBLING_BYTES, put->value.data, put->value.size);
      }
    }
    at += candidate->size_bytes;
  }
  ASSERT(at == blob->data + size);
  *out = blob;
  return ERR_OK;
}

/* -- merge ------------------------------------------------------------------------ */

static enum err merge_siblings(struct version_scratch *scratch) {
  struct record_cursor mine = record_begin(&scratch->mine.object);
  struct record_cursor theirs = record_begin(&scratch->theirs.object);
  struct cover_cursor mine_covers = cover_begin(opened_claims(&scratch->mine));
  struct cover_cursor theirs_covers = cover_begin(opened_claims(&scratch->theirs));
  while (mine.left > 0 || theirs.left > 0) {
    int order = record_order(&mine, &theirs);
    const struct record_cursor *lesser = order <= 0 ? &mine : &theirs;
    struct candidate candidate = {.dot = lesser->dot, .record = lesser->at, .size_bytes = lesser->size_bytes};
    if (order == 0) {
      if (!record_agrees(&mine, &theirs)) {
        return ERR_CORRUPT;
      }
      candidate.origins = ORIGIN_MINE | ORIGIN_THEIRS;
      candidate.stays = true;
    } else if (order < 0) {
      candidate.origins = ORIGIN_MINE;
      candidate.stays = !cover_next(&theirs_covers, mine.dot);
    } else {
      candidate.origins = ORIGIN_THEIRS;
      candidate.stays = !cover_next(&mine_covers, theirs.dot);
    }
    candidate_add(scratch, candidate);
    if (order <= 0) {
      record_next(&mine);
    }
    if (order >= 0) {
      record_next(&theirs);
    }
  }
  return ERR_OK;
}

/* Every sibling of either side is claimed by the other: the greatest stays, and is not claimed singly then. */
static void merge_rescue(struct version_scratch *scratch) {
  ASSERT(scratch->stay_count == 0);
  struct candidate *rescued = candidate_greatest(scratch, true);
  ASSERT(rescued != NULL);
  rescued->stays = true;
  scratch->stay_count = 1;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < scratch->dot_count; i++) {
    if (dot_compare(scratch->dots[i], rescued->dot) != 0) {
      scratch->dots[kept] = scratch->dots[i];
      kept += 1;
    }
  }
  scratch->dot_count = kept;
}

static bool dots_same(const struct dot *a, const struct dot *b, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (dot_compare(a[i], b[i]) != 0) {
      return false;
    }
  }
  return true;
}

/* Is the result in the scratch this one, which is one of the two that it was made of? */
static bool merge_is(const struct version_scratch *scratch, const struct opened *opened, enum origin origin) {
  const struct object *object = &opened->object;
  if (scratch->pair_count != object->pair_count || scratch->dot_count != object->dot_count ||
      scratch->stay_count != object->sibling_count) {
    return false;
  }
  for (uint32_t i = 0; i < scratch->candidate_count; i++) {
    const struct candidate *candidate = &scratch->candidates[i];
    if (candidate->stays && (candidate->origins & origin) == 0) {
      return false;
    }
  }
  struct claims claims = opened_claims(opened);
  return dots_same(scratch->pairs, claims.pairs, claims.pair_count) &&
         dots_same(scratch->dots, claims.dots, claims.dot_count);
}

static enum err keep_theirs(struct blob_pool *pool, struct bytes theirs, struct blob *theirs_blob, struct blob **out) {
  ASSERT(theirs.size > 0);
  if (theirs_blob != NULL && theirs_blob->data == theirs.data && theirs_blob->size == theirs.size) {
    *out = blob_get(theirs_blob);
    return ERR_OK;
  }
  *out = blob_copy(pool, theirs);
  return *out != NULL ? ERR_OK : ERR_NOMEM;
}

/* Opens both. An absent one is of the other's kind. */
static enum err merge_open(struct version_scratch *scratch, struct bytes mine, struct bytes theirs) {
  scratch_reset(scratch);
  enum err err = opened_open(&scratch->mine, mine);
  if (err == ERR_OK) {
    err = opened_open(&scratch->theirs, theirs);
  }
  if (err == ERR_OK && mine.size > 0 && theirs.size > 0 &&
      scratch->mine.object.is_clock != scratch->theirs.object.is_clock) {
    err = ERR_CORRUPT;
  }
  return err;
}

enum err object_merge(struct version_scratch *scratch, struct blob_pool *pool, struct blob *mine, struct bytes theirs,
                      struct blob *theirs_blob, enum resolve resolve, struct version_stats *stats, struct blob **out) {
  ASSERT(scratch != NULL && pool != NULL && stats != NULL);
  *out = NULL;
  if (theirs.size == 0 && (mine == NULL || mine->size == 0)) {
    return ERR_OK;
  }
  enum err err = merge_open(scratch, blob_bytes(mine), theirs);
  if (err != ERR_OK) {
    return err;
  }
  /* 1. Siblings. */
  err = merge_siblings(scratch);
  if (err != ERR_OK) {
    return err;
  }
  /* 2. Claims, and what a policy makes of the siblings. */
  claims_add(scratch, opened_claims(&scratch->mine));
  claims_add(scratch, opened_claims(&scratch->theirs));
  if (scratch->stay_count == 0) {
    merge_rescue(scratch);
  }
  if (resolve == RESOLVE_LWW) {
    candidates_resolve(scratch);
  }
  uint32_t dropped = claims_finish(scratch);
  ASSERT(scratch->stay_count > 0);
  /* 3. Nothing new: the one that says it all already. */
  if (merge_is(scratch, &scratch->mine, ORIGIN_MINE)) {
    *out = blob_get(mine);
    return ERR_OK;
  }
  if (merge_is(scratch, &scratch->theirs, ORIGIN_THEIRS)) {
    stats->truncated += dropped;
    return keep_theirs(pool, theirs, theirs_blob, out);
  }
  /* 4. A third. */
  if (scratch->stay_count > SIBLINGS_MAX) {
    COUNT(stats->overfull);
    return ERR_SIBLINGS;
  }
  bool is_clock = scratch->mine.object.is_clock || scratch->theirs.object.is_clock;
  err = scratch_encode(scratch, pool, is_clock, NULL, out);
  if (err == ERR_OK) {
    COUNT(stats->merges);
    stats->truncated += dropped;
  } else if (err == ERR_TOOBIG) {
    COUNT(stats->overfull);
  }
  return err;
}

/* -- put ------------------------------------------------------------------------ */

static void fresh_encode(struct version_scratch *scratch, const struct put *put) {
  uint64_t expires_at_ms = put->expires_at_ms;
  struct sibling latest;
  if (put->keep_expiry && scratch->mine.object.sibling_count > 0 &&
      object_latest(&scratch->mine.object, hlc_ms(put->dot.time), &latest)) {
    expires_at_ms = latest.expires_at_ms;
  }
  struct writer w = writer_make(scratch->fresh + DOT_BYTES, SIBLING_BYTES - DOT_BYTES);
  dot_store(scratch->fresh, put->dot);
  write_u64(&w, expires_at_ms);
  write_u8(&w, put->tombstone ? 1 : 0);
  write_u32(&w, (uint32_t)put->value.size);
  ASSERT(!w.failed);
  ASSERT(w.size == w.capacity);
}

/* The object's siblings, less those that the writer had seen, and the new one in its place. CORRUPT when its dot is
 * taken. */
static enum err put_siblings(struct version_scratch *scratch, const struct put *put) {
  struct candidate fresh = {
      .dot = put->dot, .size_bytes = SIBLING_BYTES + (uint32_t)put->value.size, .origins = ORIGIN_NEW, .stays = true};
  struct record_cursor mine = record_begin(&scratch->mine.object);
  struct cover_cursor seen = cover_begin(put->context != NULL ? past_claims(put->context) : (struct claims){0});
  bool placed = false;
  while (mine.left > 0 || !placed) {
    int order = placed ? -1 : mine.left == 0 ? 1 : dot_compare(mine.dot, put->dot);
    if (order == 0) {
      return ERR_CORRUPT;
    }
    if (order > 0) {
      candidate_add(scratch, fresh);
      placed = true;
      continue;
    }
    if (put->context == NULL) {
      seen_add(scratch, mine.dot);
    } else if (!cover_next(&seen, mine.dot)) {
      candidate_add(scratch, (struct candidate){.dot = mine.dot,
                                                .record = mine.at,
                                                .size_bytes = mine.size_bytes,
                                                .origins = ORIGIN_MINE,
                                                .stays = true});
    }
    record_next(&mine);
  }
  return ERR_OK;
}

/* Nobody can have seen a version that is yet to be made: who claims it is damaged, or forged. */
static bool put_dot_taken(const struct version_scratch *scratch, const struct put *put) {
  struct cover_cursor mine = cover_begin(opened_claims(&scratch->mine));
  return cover_next(&mine, put->dot) || (put->context != NULL && past_covers(put->context, put->dot));
}

enum err object_put(struct version_scratch *scratch, struct blob_pool *pool, struct blob *mine, const struct put *put,
                    struct version_stats *stats, struct blob **out) {
  ASSERT(scratch != NULL && pool != NULL && stats != NULL);
  ASSERT(dot_is_valid(put->dot));
  ASSERT(!put->tombstone || put->value.size == 0);
  *out = NULL;
  if (put->value.size > OBJECT_MAX_BYTES - HEADER_BYTES - SIBLING_BYTES) {
    return ERR_TOOBIG;
  }
  enum err err = merge_open(scratch, blob_bytes(mine), BYTES_NONE);
  if (err != ERR_OK) {
    return err;
  }
  if (scratch->mine.object.is_clock || put_dot_taken(scratch, put)) {
    return ERR_CORRUPT;
  }
  fresh_encode(scratch, put);
  err = put_siblings(scratch, put);
  if (err != ERR_OK) {
    return err;
  }
  if (put->resolve == RESOLVE_LWW) {
    candidates_resolve(scratch);
  }
  if (scratch->stay_count > put->sibling_max || scratch->stay_count > SIBLINGS_MAX) {
    return ERR_SIBLINGS;
  }
  claims_add(scratch, opened_claims(&scratch->mine));
  if (put->context != NULL) {
    claims_add(scratch, past_claims(put->context));
  }
  if (put->contiguous) {
    claims_add(scratch, (struct claims){.pairs = &put->dot, .pair_count = 1});
  }
  uint32_t dropped = claims_finish(scratch);
  err = scratch_encode(scratch, pool, false, put, out);
  if (err == ERR_OK) {
    stats->truncated += dropped;
  }
  return err;
}

/* -- clock, digest, order ---------------------------------------------------------- */

struct blob *object_clock(struct blob_pool *pool, const struct object *object) {
  ASSERT(object->sibling_count > 0);
  if (object->is_clock) {
    return blob_copy(pool, object->encoded);
  }
  size_t size = object->siblings_offset + (size_t)object->sibling_count * SIBLING_BYTES;
  struct blob *blob = blob_new(pool, size);
  if (blob == NULL) {
    return NULL;
  }
  uint8_t *at = blob->data;
  memcpy(at, object->encoded.data, object->siblings_offset);
  at[0] = FORMAT_CLOCK;
  at += object->siblings_offset;
  for (struct record_cursor record = record_begin(object); record.left > 0; record_next(&record)) {
    memcpy(at, record.at, SIBLING_BYTES);
    at += SIBLING_BYTES;
  }
  ASSERT(at == blob->data + size);
  return blob;
}

uint64_t object_digest(struct bytes encoded) {
  if (encoded.size == 0) {
    return 0;
  }
  struct object object;
  if (object_open(&object, encoded) != ERR_OK) {
    /* Damaged: like no other, so that it is looked at. */
    uint64_t digest = bytes_hash(encoded, UINT64_MAX);
    return digest != 0 ? digest : 1;
  }
  uint64_t digest = bytes_hash((struct bytes){encoded.data + 1, object.siblings_offset - 1}, 0);
  for (struct record_cursor record = record_begin(&object); record.left > 0; record_next(&record)) {
    digest = bytes_hash((struct bytes){record.at, SIBLING_BYTES}, digest);
  }
  return digest != 0 ? digest : 1;
}

/* Would a merge bring `newer` no claim: has it all of `older`'s, or are they so old that a full `newer` drops them? */
static bool claims_descend(const struct opened *newer, const struct opened *older) {
  struct claims have = opened_claims(newer);
  struct claims want = opened_claims(older);
  uint32_t have_count = have.pair_count + have.dot_count;
  struct dot oldest = have_count > 0 ? newer->dots[0] : (struct dot){0};
  for (uint32_t i = 1; i < have_count; i++) {
    oldest = dot_compare_age(newer->dots[i], oldest) < 0 ? newer->dots[i] : oldest;
  }
  struct cover_cursor pairs = cover_begin((struct claims){.pairs = have.pairs, .pair_count = have.pair_count});
  struct cover_cursor all = cover_begin(have);
  for (uint32_t i = 0; i < want.pair_count + want.dot_count; i++) {
    bool is_pair = i < want.pair_count;
    struct dot dot = is_pair ? want.pairs[i] : want.dots[i - want.pair_count];
    bool forgotten = have_count == CLOCK_PAIRS_MAX && dot_compare_age(dot, oldest) < 0;
    if (!cover_next(is_pair ? &pairs : &all, dot) && !forgotten) {
      return false;
    }
  }
  return true;
}

bool object_descends(struct bytes newer_bytes, struct bytes older_bytes) {
  if (older_bytes.size == 0) {
    return true;
  }
  struct opened newer;
  struct opened older;
  if (newer_bytes.size == 0 || opened_open(&newer, newer_bytes) != ERR_OK ||
      opened_open(&older, older_bytes) != ERR_OK || !claims_descend(&newer, &older)) {
    return false;
  }
  struct record_cursor have = record_begin(&newer.object);
  struct record_cursor want = record_begin(&older.object);
  struct cover_cursor have_covers = cover_begin(opened_claims(&newer));
  struct cover_cursor want_covers = cover_begin(opened_claims(&older));
  while (have.left > 0 || want.left > 0) {
    int order = record_order(&have, &want);
    if ((order == 0 && !record_agrees(&have, &want)) || (order < 0 && cover_next(&want_covers, have.dot)) ||
        (order > 0 && !cover_next(&have_covers, want.dot))) {
      return false;
    }
    if (order <= 0) {
      record_next(&have);
    }
    if (order >= 0) {
      record_next(&want);
    }
  }
  return true;
}
