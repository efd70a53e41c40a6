/* Objects from outside: nothing that object_open takes may break a law of merge, put, clock or digest.
 *
 * An input is u16 size, an object of that size, and a second object in what is left. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "version/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define POOL_BYTES ((size_t)16 << 20)

static struct blob_pool pool;
static struct version_scratch *scratch;
static struct version_stats stats;
static struct past past;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  void *memory = aligned_alloc(64, POOL_BYTES);
  scratch = malloc(version_scratch_size());
  ASSERT(memory != NULL && scratch != NULL);
  blob_pool_init(&pool, memory, POOL_BYTES);
  return 0;
}

/* What was taken is canonical: its parts written out again are the same bytes. */
static void check_canonical(const struct object *object) {
  uint8_t *room = malloc(object->encoded.size);
  ASSERT(room != NULL);
  struct writer w = writer_make(room, object->encoded.size);
  write_raw(&w, (struct bytes){object->encoded.data, object->siblings_offset});
  struct sibling sibling;
  struct sibling_cursor cursor = object_siblings(object);
  uint32_t count = 0;
  while (sibling_next(&cursor, &sibling)) {
    uint8_t dot[DOT_BYTES];
    dot_store(dot, sibling.dot);
    write_raw(&w, (struct bytes){dot, sizeof(dot)});
    write_u64(&w, sibling.expires_at_ms);
    write_u8(&w, sibling.tombstone ? 1 : 0);
    write_u32(&w, sibling.size);
    write_raw(&w, sibling.value);
    count += 1;
  }
  ASSERT(count == object->sibling_count);
  ASSERT(!w.failed);
  ASSERT(bytes_equal(writer_bytes(&w), object->encoded));
  free(room);
}

static void check_one(const struct object *object) {
  check_canonical(object);
  object_past(object, &past);
  ASSERT(claims_check(past_claims(&past)) == ERR_OK);
  struct sibling sibling;
  struct sibling_cursor cursor = object_siblings(object);
  while (sibling_next(&cursor, &sibling)) {
    ASSERT(past_covers(&past, sibling.dot));
  }
  if (object_latest(object, 1000, &sibling)) {
    ASSERT(!sibling.tombstone && (sibling.expires_at_ms == 0 || sibling.expires_at_ms > 1000));
  }
  struct blob *clock = object_clock(&pool, object);
  ASSERT(clock != NULL);
  struct object bare;
  ASSERT(object_open(&bare, blob_bytes(clock)) == ERR_OK && bare.is_clock);
  ASSERT(object_digest(blob_bytes(clock)) == object_digest(object->encoded));
  ASSERT(object_descends(object->encoded, blob_bytes(clock)));
  blob_put(clock);
}

static struct blob *check_result(enum err err, struct blob *out) {
  if (err != ERR_OK) {
    ASSERT(out == NULL);
    ASSERT(err == ERR_CORRUPT || err == ERR_SIBLINGS || err == ERR_TOOBIG || err == ERR_NOMEM);
    return NULL;
  }
  struct object object;
  ASSERT(out != NULL && object_open(&object, blob_bytes(out)) == ERR_OK);
  return out;
}

static struct blob *merge(struct blob *a, struct blob *b, enum resolve resolve) {
  struct blob *out = NULL;
  enum err err = object_merge(scratch, &pool, a, blob_bytes(b), b, resolve, &stats, &out);
  return check_result(err, out);
}

/* Values are not compared where dots are the same, so forged objects may differ in them: it is digests that agree. */
static void check_merge(struct blob *a, struct blob *b, enum resolve resolve) {
  struct blob *ab = merge(a, b, resolve);
  struct blob *ba = merge(b, a, resolve);
  ASSERT((ab == NULL) == (ba == NULL));
  if (ab != NULL) {
    ASSERT(object_digest(blob_bytes(ab)) == object_digest(blob_bytes(ba)));
    struct blob *again = merge(ab, ab, resolve);
    ASSERT(again == ab);
    blob_put(again);
    ASSERT(!object_descends(blob_bytes(a), blob_bytes(b)) || resolve == RESOLVE_LWW || ab == a);
  }
  blob_put(ab);
  blob_put(ba);
}

static void check_put(struct blob *mine, const struct past *context, enum resolve resolve) {
  struct put put = {.context = context,
                    .dot = {.actor = {.incarnation = 1, .node = 2}, .time = UINT64_C(1) << 60},
                    .contiguous = (mine->size & 1) != 0,
                    .keep_expiry = true,
                    .value = BYTES_LITERAL("new"),
                    .resolve = resolve,
                    .sibling_max = SIBLINGS_PUT_MAX};
  struct blob *out = NULL;
  enum err err = object_put(scratch, &pool, mine, &put, &stats, &out);
  blob_put(check_result(err, out));
}

/* The object in a blob, or NULL when it is none. */
static struct blob *take(struct bytes encoded) {
  struct object object;
  enum err err = object_open(&object, encoded);
  ASSERT(err == ERR_OK || err == ERR_CORRUPT || err == ERR_FORMAT);
  ASSERT(encoded.size == 0 || object_digest(encoded) != 0);
  if (err != ERR_OK) {
    return NULL;
  }
  check_one(&object);
  return blob_copy(&pool, encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct reader r = reader_make((struct bytes){data, size});
  size_t first = read_u16(&r);
  first = first < reader_left(&r) ? first : reader_left(&r);
  struct bytes mine_bytes = read_raw(&r, first);
  struct bytes theirs_bytes = read_raw(&r, reader_left(&r));
  struct blob *mine = take(mine_bytes);
  struct blob *theirs = take(theirs_bytes);
  if (mine != NULL && theirs != NULL) {
    check_merge(mine, theirs, RESOLVE_SIBLINGS);
    check_merge(mine, theirs, RESOLVE_LWW);
    struct object object;
    ASSERT(object_open(&object, blob_bytes(theirs)) == ERR_OK);
    object_past(&object, &past);
    check_put(mine, &past, RESOLVE_SIBLINGS);
    check_put(mine, &past, RESOLVE_LWW);
    check_put(mine, NULL, RESOLVE_SIBLINGS);
  }
  blob_put(mine);
  blob_put(theirs);
  ASSERT(pool.used_bytes == 0);
  return 0;
}
