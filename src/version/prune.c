#include "version/prune.h"

#include <string.h>

#include "base/assert.h"
#include "base/hlc.h"

#define COUNT_OFFSET 6u /* of the number of siblings: see object.h */

/* Which siblings stay: a bit each. */
struct staying {
  uint32_t count;
  size_t bytes;
  uint64_t bits[(SIBLINGS_MAX + 63u) / 64u];
};

static void stay(struct staying *staying, uint32_t index, size_t bytes) {
  ASSERT(index < SIBLINGS_MAX);
  staying->bits[index / 64u] |= UINT64_C(1) << index % 64u;
  staying->count += 1;
  staying->bytes += bytes;
}

static bool stays(const struct staying *staying, uint32_t index) {
  return (staying->bits[index / 64u] >> index % 64u & 1u) != 0;
}

static enum pruned prune(struct blob_pool *pool, const struct object *object, const struct staying *staying,
                         struct blob **left) {
  *left = NULL;
  if (staying->count == object->sibling_count) {
    return PRUNED_NOTHING;
  }
  if (staying->count == 0) {
    return PRUNED_ALL;
  }
  struct blob *blob = blob_new(pool, object->siblings_offset + staying->bytes);
  if (blob == NULL) {
    return PRUNED_NOMEM;
  }
  memcpy(blob->data, object->encoded.data, object->siblings_offset);
  blob->data[COUNT_OFFSET] = (uint8_t)staying->count;
  blob->data[COUNT_OFFSET + 1] = (uint8_t)(staying->count >> 8u);
  size_t at = object->siblings_offset;
  struct sibling_cursor cursor = object_siblings(object);
  struct sibling sibling;
  for (uint32_t i = 0; i < object->sibling_count; i++) {
    size_t from = cursor.offset;
    bool more = sibling_next(&cursor, &sibling);
    ASSERT(more);
    if (stays(staying, i)) {
      memcpy(blob->data + at, object->encoded.data + from, cursor.offset - from);
      at += cursor.offset - from;
    }
  }
  ASSERT(at == blob->size);
  *left = blob;
  return PRUNED_SOME;
}

/* -- bury --------------------------------------------------------------------------- */

static void find_undead(const struct object *object, struct bytes other_bytes, uint64_t floor,
                        struct staying *staying) {
  struct object other = {.sibling_count = 0};
  enum err err = other_bytes.size == 0 ? ERR_OK : object_open(&other, other_bytes);
  ASSERT(err == ERR_OK);
  struct sibling_cursor cursor = object_siblings(object);
  struct sibling_cursor others = object_siblings(&other);
  struct sibling sibling;
  struct sibling has;
  bool more = sibling_next(&others, &has);
  for (uint32_t i = 0; i < object->sibling_count; i++) {
    size_t from = cursor.offset;
    bool found = sibling_next(&cursor, &sibling);
    ASSERT(found);
    while (more && dot_compare(has.dot, sibling.dot) < 0) {
      more = sibling_next(&others, &has);
    }
    if (sibling.dot.time > floor || (more && dot_compare(has.dot, sibling.dot) == 0)) {
      stay(staying, i, cursor.offset - from);
    }
  }
}

enum pruned object_bury(struct blob_pool *pool, struct bytes bytes, struct bytes other, uint64_t floor,
                        struct blob **left) {
  struct object object;
  struct staying staying = {.count = 0};
  enum err err = object_open(&object, bytes);
  ASSERT(err == ERR_OK);
  find_undead(&object, other, floor, &staying);
  return prune(pool, &object, &staying, left);
}

enum pruned object_dead(struct bytes bytes, struct bytes other, uint64_t floor) {
  struct object object;
  struct staying staying = {.count = 0};
  if (floor == 0 || bytes.size == 0 || object_open(&object, bytes) != ERR_OK) {
    return PRUNED_NOTHING;
  }
  find_undead(&object, other, floor, &staying);
  return staying.count == object.sibling_count ? PRUNED_NOTHING : staying.count == 0 ? PRUNED_ALL : PRUNED_SOME;
}

/* What of `held` is not dead for one who has `other`: a reference, NULL when nothing stays. */
static enum err undead(struct blob_pool *pool, const struct holding *held, const struct holding *other,
                       struct holding *left, enum pruned *pruned) {
  struct blob *rest = NULL;
  *left = (struct holding){.object = held->object, .blob = blob_get(held->blob)};
  *pruned = PRUNED_NOTHING;
  if (other->floor == 0 || held->object.size == 0) {
    return ERR_OK;
  }
  *pruned = object_bury(pool, held->object, other->object, other->floor, &rest);
  if (*pruned == PRUNED_SOME || *pruned == PRUNED_ALL) {
    blob_put(left->blob);
    *left = (struct holding){.object = blob_bytes(rest), .blob = rest};
  }
  return *pruned == PRUNED_NOMEM ? ERR_NOMEM : ERR_OK;
}

enum err holding_merge(struct version_scratch *scratch, struct blob_pool *pool, const struct holding *mine,
                       const struct holding *theirs, enum resolve resolve, struct version_stats *stats,
                       struct blob **out) {
  struct holding my_left = {.floor = 0};
  struct holding their_left = {.floor = 0};
  enum pruned pruned = PRUNED_NOTHING;
  *out = NULL;
  enum err err = undead(pool, mine, theirs, &my_left, &pruned);
  if (err == ERR_OK) {
    err = undead(pool, theirs, mine, &their_left, &pruned);
    stats->buried += pruned == PRUNED_SOME || pruned == PRUNED_ALL ? 1 : 0;
  }
  if (err == ERR_OK) {
    err = object_merge(scratch, pool, my_left.blob, their_left.object, their_left.blob, resolve, stats, out);
  }
  blob_put(my_left.blob);
  blob_put(their_left.blob);
  return err;
}

/* -- reap --------------------------------------------------------------------------- */

static bool says_nothing(const struct sibling *sibling, uint64_t floor) {
  bool expired = sibling->expires_at_ms != 0 && sibling->expires_at_ms <= hlc_ms(floor);
  return sibling->dot.time <= floor && (sibling->tombstone || expired);
}

static bool claims_are_below(const struct object *object, uint64_t floor) {
  uint32_t count = (uint32_t)object->pair_count + object->dot_count;
  const uint8_t *at = object->encoded.data + object->siblings_offset - (size_t)count * DOT_BYTES;
  for (uint32_t i = 0; i < count; i++) {
    if (dot_load(at + (size_t)i * DOT_BYTES).time > floor) {
      return false;
    }
  }
  return true;
}

/* All of it stays if what is left would be nothing, and it claims what is younger. */
static void find_telling(const struct object *object, uint64_t floor, struct staying *staying) {
  struct sibling_cursor cursor = object_siblings(object);
  struct sibling sibling;
  for (uint32_t i = 0; i < object->sibling_count; i++) {
    size_t from = cursor.offset;
    bool found = sibling_next(&cursor, &sibling);
    ASSERT(found);
    if (!says_nothing(&sibling, floor)) {
      stay(staying, i, cursor.offset - from);
    }
  }
  if (staying->count == 0 && !claims_are_below(object, floor)) {
    staying->count = object->sibling_count;
  }
}

enum pruned object_reap(struct blob_pool *pool, struct bytes bytes, uint64_t floor, struct blob **left) {
  struct object object;
  struct staying staying = {.count = 0};
  enum err err = object_open(&object, bytes);
  ASSERT(err == ERR_OK);
  find_telling(&object, floor, &staying);
  return prune(pool, &object, &staying, left);
}

bool object_is_garbage(struct bytes bytes, uint64_t floor) {
  struct object object;
  struct staying staying = {.count = 0};
  if (bytes.size == 0 || object_open(&object, bytes) != ERR_OK) {
    return false;
  }
  find_telling(&object, floor, &staying);
  return staying.count == 0;
}

bool object_has_garbage(struct bytes bytes, uint64_t floor) {
  struct object object;
  struct staying staying = {.count = 0};
  if (bytes.size == 0 || object_open(&object, bytes) != ERR_OK || object.is_clock) {
    return false;
  }
  find_telling(&object, floor, &staying);
  return staying.count < object.sibling_count;
}

uint32_t object_marks(struct bytes bytes) {
  struct object object;
  struct sibling sibling;
  uint32_t marks = 0;
  if (bytes.size == 0 || object_open(&object, bytes) != ERR_OK) {
    return 0;
  }
  struct sibling_cursor cursor = object_siblings(&object);
  while (sibling_next(&cursor, &sibling)) {
    marks |= sibling.tombstone ? OBJECT_DELETES : 0u;
    marks |= sibling.expires_at_ms != 0 ? OBJECT_EXPIRES : 0u;
  }
  return marks;
}
