/* Objects: what put and merge make of them, and what is refused. Pasts and contexts have clock_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hlc.h"
#include "version/object.h"

#define POOL_BYTES ((size_t)256 << 20)
#define X 11u
#define Y 12u
#define Z 13u

static struct blob_pool pool;
static struct version_scratch *scratch;
static struct version_stats stats;
static struct past past_a, past_b;

static int setup(void **state) {
  (void)state;
  void *memory = aligned_alloc(64, POOL_BYTES);
  scratch = malloc(version_scratch_size());
  if (memory == NULL || scratch == NULL) {
    return 1;
  }
  blob_pool_init(&pool, memory, POOL_BYTES);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  size_t used = pool.used_bytes;
  free(pool.memory);
  free(scratch);
  return used == 0 ? 0 : 1;
}

static int test_setup(void **state) {
  (void)state;
  memset(&stats, 0, sizeof(stats));
  past_init(&past_a);
  past_init(&past_b);
  return 0;
}

static struct dot dot_of(uint32_t node, uint64_t time) {
  return (struct dot){.actor = {.incarnation = 1, .node = node}, .time = time};
}

static struct put put_of(struct dot dot, const struct past *context, const char *value) {
  return (struct put){.context = context,
                      .dot = dot,
                      .contiguous = true,
                      .value = {(const uint8_t *)value, strlen(value)},
                      .sibling_max = SIBLINGS_PUT_MAX};
}

/* Puts into `mine`, which stays the caller's. */
static struct blob *put_new(struct blob *mine, struct put put) {
  struct blob *out = NULL;
  assert_int_equal(object_put(scratch, &pool, mine, &put, &stats, &out), ERR_OK);
  assert_non_null(out);
  struct object object;
  assert_int_equal(object_open(&object, blob_bytes(out)), ERR_OK);
  return out;
}

static struct blob *merge_new(struct blob *a, struct blob *b, enum resolve resolve) {
  struct blob *out = NULL;
  assert_int_equal(object_merge(scratch, &pool, a, blob_bytes(b), b, resolve, &stats, &out), ERR_OK);
  return out;
}

static struct object opened(const struct blob *blob) {
  struct object object;
  assert_int_equal(object_open(&object, blob_bytes(blob)), ERR_OK);
  return object;
}

static void assert_dot(struct dot actual, uint32_t node, uint64_t time) {
  assert_int_equal(actual.actor.node, node);
  assert_int_equal(actual.time, time);
}

/* The siblings' values, joined by '|'. */
static void assert_siblings(const struct blob *blob, const char *expected) {
  uint8_t text[256];
  struct writer w = writer_make(text, sizeof(text));
  struct object object = opened(blob);
  struct sibling_cursor cursor = object_siblings(&object);
  struct sibling sibling;
  while (sibling_next(&cursor, &sibling)) {
    write_raw(&w, w.size > 0 ? BYTES_LITERAL("|") : BYTES_NONE);
    write_raw(&w, sibling.value);
  }
  write_u8(&w, 0);
  assert_false(w.failed);
  assert_string_equal((const char *)text, expected);
}

static void assert_same(const struct blob *a, const struct blob *b) {
  assert_true(bytes_equal(blob_bytes(a), blob_bytes(b)));
}

/* -- the paper's example --------------------------------------------------------------- */

/* Figure 3: D1 and D2 written at Sx; D3 at Sy and D4 at Sz, both by clients that had read D2; then a client that has
 * read both reconciles them at Sx: D5. */
static void figure_3_of_the_paper(void **state) {
  (void)state;
  struct blob *d1 = put_new(NULL, put_of(dot_of(X, 1), &past_a, "D1"));
  struct object object = opened(d1);
  object_past(&object, &past_a);
  struct blob *d2 = put_new(d1, put_of(dot_of(X, 2), &past_a, "D2"));
  assert_siblings(d2, "D2");

  object = opened(d2);
  object_past(&object, &past_a); /* [Sx,2] */
  assert_int_equal(past_a.pair_count, 1);
  assert_int_equal(past_a.dot_count, 0);
  struct blob *d3 = put_new(d2, put_of(dot_of(Y, 1), &past_a, "D3"));
  struct blob *d4 = put_new(d2, put_of(dot_of(Z, 1), &past_a, "D4"));
  assert_siblings(d3, "D3");
  assert_siblings(d4, "D4");
  assert_true(object_descends(blob_bytes(d3), blob_bytes(d2)));
  assert_false(object_descends(blob_bytes(d3), blob_bytes(d4)));
  assert_false(object_descends(blob_bytes(d4), blob_bytes(d3)));

  /* D1 or D2, should they arrive again, are known to be superseded. */
  struct blob *again = merge_new(d3, d1, RESOLVE_SIBLINGS);
  assert_ptr_equal(again, d3);
  blob_put(again);

  struct blob *both = merge_new(d3, d4, RESOLVE_SIBLINGS);
  assert_siblings(both, "D3|D4");
  object = opened(both);
  object_past(&object, &past_a); /* [Sx,2] [Sy,1] [Sz,1] */
  assert_int_equal(past_a.pair_count, 3);
  assert_int_equal(past_a.dot_count, 0);

  struct blob *d5 = put_new(d2, put_of(dot_of(X, 3), &past_a, "D5")); /* Sx itself has seen D2 only */
  assert_siblings(d5, "D5");
  object = opened(d5);
  object_past(&object, &past_b); /* [Sx,3] [Sy,1] [Sz,1] */
  assert_int_equal(past_b.pair_count, 3);
  assert_int_equal(past_b.dot_count, 0);
  assert_dot(past_b.pairs[0], X, 3);
  assert_dot(past_b.pairs[1], Y, 1);
  assert_dot(past_b.pairs[2], Z, 1);
  struct blob *end = merge_new(both, d5, RESOLVE_SIBLINGS);
  assert_ptr_equal(end, d5);
  blob_put(end);
  blob_put(d1);
  blob_put(d2);
  blob_put(d3);
  blob_put(d4);
  blob_put(d5);
  blob_put(both);
}

/* -- put --------------------------------------------------------------- */

/* The case that plain version vectors get wrong: two clients of one coordinator, neither of which saw the other. */
static void two_writers_of_one_coordinator_leave_two_siblings(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  struct blob *two = put_new(one, put_of(dot_of(X, 2), &past_a, "b"));
  assert_siblings(two, "a|b");
  past_add_dot(&past_b, dot_of(X, 1)); /* the first writer goes on with what its own put told it */
  struct blob *three = put_new(two, put_of(dot_of(X, 3), &past_b, "c"));
  assert_siblings(three, "b|c");
  struct blob *late = merge_new(three, one, RESOLVE_SIBLINGS);
  assert_ptr_equal(late, three);
  blob_put(late);
  blob_put(one);
  blob_put(two);
  blob_put(three);
}

static void a_plain_set_supersedes_what_its_coordinator_holds(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  struct blob *two = put_new(one, put_of(dot_of(X, 2), &past_a, "b"));
  struct put put = put_of(dot_of(Y, 3), NULL, "c");
  put.contiguous = false;
  struct blob *three = put_new(two, put);
  assert_siblings(three, "c");
  struct object object = opened(three);
  assert_int_equal(object.pair_count, 1);
  assert_int_equal(object.dot_count, 0);
  blob_put(one);
  blob_put(two);
  blob_put(three);
}

/* A stand-in that has handed an earlier version off does not hold it any more, so it may not claim it. */
static void a_stand_in_claims_its_own_dot_alone(void **state) {
  (void)state;
  struct put put = put_of(dot_of(Z, 5), &past_a, "first");
  put.contiguous = false;
  struct blob *first = put_new(NULL, put);
  put = put_of(dot_of(Z, 8), &past_a, "second");
  put.contiguous = false;
  struct blob *second = put_new(NULL, put);
  struct object object = opened(second);
  assert_int_equal(object.pair_count + object.dot_count, 0);
  struct blob *both = merge_new(first, second, RESOLVE_SIBLINGS);
  assert_siblings(both, "first|second");
  put = put_of(dot_of(Z, 9), NULL, "third");
  put.contiguous = false;
  struct blob *third = put_new(second, put);
  object = opened(third);
  assert_int_equal(object.dot_count, 1);
  struct blob *all = merge_new(both, third, RESOLVE_SIBLINGS);
  assert_siblings(all, "first|third");
  blob_put(first);
  blob_put(second);
  blob_put(third);
  blob_put(both);
  blob_put(all);
}

static void a_deletion_is_a_sibling_without_value(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  struct put put = put_of(dot_of(X, 2), NULL, "");
  put.tombstone = true;
  struct blob *deleted = put_new(one, put);
  struct object object = opened(deleted);
  struct sibling_cursor cursor = object_siblings(&object);
  struct sibling sibling;
  assert_true(sibling_next(&cursor, &sibling));
  assert_true(sibling.tombstone);
  assert_int_equal(sibling.size, 0);
  assert_false(sibling_next(&cursor, &sibling));
  assert_false(object_latest(&object, 0, &sibling));
  blob_put(one);
  blob_put(deleted);
}

static void too_many_siblings_are_refused(void **state) {
  (void)state;
  struct put put = put_of(dot_of(X, 1), &past_a, "a");
  struct blob *one = put_new(NULL, put);
  put.dot.time = 2;
  put.sibling_max = 1;
  struct blob *out = one;
  assert_int_equal(object_put(scratch, &pool, one, &put, &stats, &out), ERR_SIBLINGS);
  assert_null(out);
  put.context = NULL;
  struct blob *two = put_new(one, put);
  assert_siblings(two, "a");
  blob_put(one);
  blob_put(two);
}

static void a_value_past_the_limit_is_refused(void **state) {
  (void)state;
  static const uint8_t byte = 0;
  struct put put = put_of(dot_of(X, 1), NULL, "");
  put.value = (struct bytes){&byte, OBJECT_MAX_BYTES};
  struct blob *out = NULL;
  assert_int_equal(object_put(scratch, &pool, NULL, &put, &stats, &out), ERR_TOOBIG);
  assert_null(out);
}

static void an_object_past_the_limit_is_refused(void **state) {
  (void)state;
  size_t size = OBJECT_MAX_BYTES / 2 + 1;
  uint8_t *value = calloc(1, size);
  assert_non_null(value);
  struct put put = put_of(dot_of(X, 1), &past_a, "");
  put.value = (struct bytes){value, size};
  struct blob *mine = put_new(NULL, put);
  put.dot = dot_of(Y, 1);
  struct blob *out = mine;
  assert_int_equal(object_put(scratch, &pool, mine, &put, &stats, &out), ERR_TOOBIG);
  assert_null(out);
  struct blob *theirs = put_new(NULL, put);
  assert_int_equal(object_merge(scratch, &pool, mine, blob_bytes(theirs), theirs, RESOLVE_SIBLINGS, &stats, &out),
                   ERR_TOOBIG);
  assert_null(out);
  assert_int_equal(stats.overfull, 1);
  assert_int_equal(object_merge(scratch, &pool, mine, blob_bytes(theirs), theirs, RESOLVE_LWW, &stats, &out), ERR_OK);
  blob_put(out);
  blob_put(mine);
  blob_put(theirs);
  free(value);
}

static void exhausted_memory_is_an_error_and_changes_nothing(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  struct blob *two = put_new(NULL, put_of(dot_of(Y, 1), &past_a, "b"));
  struct blob_pool small;
  void *memory = aligned_alloc(64, 65536);
  assert_non_null(memory);
  blob_pool_init(&small, memory, 65536);
  struct blob *held[1024];
  uint32_t count = 0;
  while (count < 1024 && (held[count] = blob_new(&small, 1)) != NULL) {
    count += 1;
  }
  assert_in_range(count, 1, 1023);
  struct put put = put_of(dot_of(X, 2), NULL, "c");
  struct blob *out = one;
  assert_int_equal(object_put(scratch, &small, one, &put, &stats, &out), ERR_NOMEM);
  assert_null(out);
  assert_int_equal(object_merge(scratch, &small, one, blob_bytes(two), two, RESOLVE_SIBLINGS, &stats, &out), ERR_NOMEM);
  assert_null(out);
  assert_int_equal(object_merge(scratch, &small, NULL, blob_bytes(two), NULL, RESOLVE_SIBLINGS, &stats, &out),
                   ERR_NOMEM);
  struct object object = opened(one);
  assert_null(object_clock(&small, &object));
  assert_int_equal(stats.merges, 0);
  for (uint32_t i = 0; i < count; i++) {
    blob_put(held[i]);
  }
  blob_put(one);
  blob_put(two);
  free(memory);
}

/* Whoever claims a version before it is made is damaged or lies; were it taken, the new version could vanish. */
static void a_dot_that_is_claimed_already_is_refused(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 5), &past_a, "a"));
  struct blob *out = NULL;
  struct put put = put_of(dot_of(X, 5), NULL, "b");
  assert_int_equal(object_put(scratch, &pool, one, &put, &stats, &out), ERR_CORRUPT);
  put.dot = dot_of(X, 4);
  assert_int_equal(object_put(scratch, &pool, one, &put, &stats, &out), ERR_CORRUPT);
  put.dot = dot_of(Y, 4);
  put.context = &past_a;
  past_add_pair(&past_a, dot_of(Y, UINT64_MAX));
  assert_int_equal(object_put(scratch, &pool, one, &put, &stats, &out), ERR_CORRUPT);
  put.context = NULL;
  put.contiguous = false;
  struct blob *standing = put_new(NULL, put);
  put.context = &past_b;
  assert_int_equal(object_put(scratch, &pool, standing, &put, &stats, &out), ERR_CORRUPT);
  assert_null(out);
  blob_put(one);
  blob_put(standing);
}

static void keepttl_takes_the_expiry_of_what_a_get_returns(void **state) {
  (void)state;
  uint64_t now = 1000000;
  struct put put = put_of(dot_of(X, hlc_make(now, 0)), &past_a, "old");
  put.expires_at_ms = now + 500;
  struct blob *one = put_new(NULL, put);
  put = put_of(dot_of(Y, hlc_make(now, 1)), &past_a, "dying");
  put.expires_at_ms = now + 2;
  struct blob *two = put_new(one, put);
  put = put_of(dot_of(Z, hlc_make(now, 2)), &past_a, "");
  put.tombstone = true;
  struct blob *three = put_new(two, put);

  put = put_of(dot_of(X, hlc_make(now + 1, 0)), NULL, "new");
  put.keep_expiry = true;
  struct sibling sibling;
  struct blob *kept = put_new(three, put);
  struct object object = opened(kept);
  assert_true(object_latest(&object, now + 1, &sibling));
  assert_int_equal(sibling.expires_at_ms, now + 2);
  put.dot.time = hlc_make(now + 2, 0);
  struct blob *later = put_new(three, put);
  object = opened(later);
  assert_true(object_latest(&object, now + 2, &sibling));
  assert_int_equal(sibling.expires_at_ms, now + 500);
  put.dot.time = hlc_make(now + 500, 0);
  put.expires_at_ms = 77;
  struct blob *expired = put_new(three, put);
  object = opened(expired);
  assert_true(object_latest(&object, 0, &sibling));
  assert_int_equal(sibling.expires_at_ms, 77);
  blob_put(one);
  blob_put(two);
  blob_put(three);
  blob_put(kept);
  blob_put(later);
  blob_put(expired);
}

static void a_get_returns_the_latest_that_is_neither_deleted_nor_expired(void **state) {
  (void)state;
  struct put put = put_of(dot_of(Z, 1), &past_a, "first");
  struct blob *one = put_new(NULL, put);
  put = put_of(dot_of(Y, 2), &past_a, "second");
  put.expires_at_ms = 100;
  struct blob *two = put_new(one, put);
  put = put_of(dot_of(X, 3), &past_a, "");
  put.tombstone = true;
  struct blob *three = put_new(two, put);
  struct object object = opened(three);
  struct sibling sibling;
  assert_true(object_latest(&object, 99, &sibling));
  assert_memory_equal(sibling.value.data, "second", 6);
  assert_true(object_latest(&object, 100, &sibling));
  assert_memory_equal(sibling.value.data, "first", 5);
  blob_put(one);
  blob_put(two);
  blob_put(three);
}

/* -- merge --------------------------------------------------------------- */

static void nothing_and_nothing_is_nothing(void **state) {
  (void)state;
  struct blob *out = NULL;
  assert_int_equal(object_merge(scratch, &pool, NULL, BYTES_NONE, NULL, RESOLVE_SIBLINGS, &stats, &out), ERR_OK);
  assert_null(out);
  assert_int_equal(object_digest(BYTES_NONE), 0);
  assert_true(object_descends(BYTES_NONE, BYTES_NONE));
}

/* The pool counts what is handed out: what needs no new object takes no memory. */
static void a_merge_that_changes_nothing_allocates_nothing(void **state) {
  (void)state;
  struct blob *old = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  struct blob *new = put_new(old, put_of(dot_of(X, 2), NULL, "b"));
  size_t used = pool.used_bytes;
  pool.peak_bytes = used; /* so that an allocation that is given back at once shows too */
  struct blob *out = merge_new(new, old, RESOLVE_SIBLINGS);
  assert_ptr_equal(out, new);
  blob_put(out);
  out = merge_new(old, new, RESOLVE_SIBLINGS);
  assert_ptr_equal(out, new);
  blob_put(out);
  out = merge_new(new, new, RESOLVE_LWW);
  assert_ptr_equal(out, new);
  blob_put(out);
  out = merge_new(NULL, new, RESOLVE_LWW);
  assert_ptr_equal(out, new);
  blob_put(out);
  assert_int_equal(object_merge(scratch, &pool, new, BYTES_NONE, NULL, RESOLVE_SIBLINGS, &stats, &out), ERR_OK);
  assert_ptr_equal(out, new);
  blob_put(out);
  assert_int_equal(pool.used_bytes, used);
  assert_int_equal(pool.peak_bytes, used);
  assert_int_equal(stats.merges, 0);
  assert_int_equal(new->references, 1);
  blob_put(old);
  blob_put(new);
}

static void bytes_that_lie_in_no_blob_of_their_own_are_copied(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  uint8_t frame[256] = {0};
  assert_true(one->size <= 200);
  memcpy(frame + 7, one->data, one->size);
  struct bytes theirs = {frame + 7, one->size};
  struct blob *out = NULL;
  assert_int_equal(object_merge(scratch, &pool, NULL, theirs, NULL, RESOLVE_SIBLINGS, &stats, &out), ERR_OK);
  assert_same(out, one);
  blob_put(out);
  struct blob *around = blob_copy(&pool, (struct bytes){frame, sizeof(frame)});
  assert_non_null(around);
  theirs.data = around->data + 7;
  assert_int_equal(object_merge(scratch, &pool, NULL, theirs, around, RESOLVE_SIBLINGS, &stats, &out), ERR_OK);
  assert_same(out, one);
  assert_int_equal(around->references, 1);
  blob_put(out);
  blob_put(around);
  blob_put(one);
}

static void one_dot_with_two_sizes_is_damage(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  struct blob *two = put_new(NULL, put_of(dot_of(X, 1), &past_a, "bb"));
  struct blob *out = one;
  assert_int_equal(object_merge(scratch, &pool, one, blob_bytes(two), two, RESOLVE_SIBLINGS, &stats, &out),
                   ERR_CORRUPT);
  assert_null(out);
  assert_false(object_descends(blob_bytes(one), blob_bytes(two)));
  blob_put(one);
  blob_put(two);
}

static void last_write_wins_keeps_the_greatest_and_knows_the_others(void **state) {
  (void)state;
  struct put put = put_of(dot_of(X, 5), &past_a, "x");
  put.contiguous = false;
  struct blob *x = put_new(NULL, put);
  put = put_of(dot_of(Y, 5), &past_a, "y");
  put.contiguous = false;
  struct blob *y = put_new(NULL, put);
  put = put_of(dot_of(Z, 4), &past_a, "z");
  put.contiguous = false;
  struct blob *z = put_new(NULL, put);
  struct blob *xy = merge_new(x, y, RESOLVE_LWW);
  assert_siblings(xy, "y");
  struct blob *all = merge_new(z, xy, RESOLVE_LWW);
  assert_siblings(all, "y");
  struct object object = opened(all);
  assert_int_equal(object.dot_count, 2);
  struct blob *again = merge_new(all, x, RESOLVE_SIBLINGS);
  assert_ptr_equal(again, all);
  blob_put(again);
  /* Siblings from before the policy was chosen are resolved at the first touch. */
  struct blob *both = merge_new(x, y, RESOLVE_SIBLINGS);
  assert_siblings(both, "x|y");
  struct blob *resolved = merge_new(both, both, RESOLVE_LWW);
  assert_same(resolved, xy);
  blob_put(resolved);
  resolved = merge_new(NULL, both, RESOLVE_LWW);
  assert_same(resolved, xy);
  blob_put(resolved);
  put = put_of(dot_of(Z, 3), &past_a, "late");
  put.resolve = RESOLVE_LWW;
  put.sibling_max = 1;
  resolved = put_new(both, put);
  assert_siblings(resolved, "y");
  blob_put(resolved);
  blob_put(x);
  blob_put(y);
  blob_put(z);
  blob_put(xy);
  blob_put(all);
  blob_put(both);
}

/* v was written by a clock far ahead; u, by a sane one, superseded it; w lies between. By time w beats u and v beats
 * w, but u had seen v: each ends claimed by another. */
static void a_circle_of_last_writes_does_not_end_with_nothing(void **state) {
  (void)state;
  struct put put = put_of(dot_of(X, 9), &past_a, "v");
  struct blob *v = put_new(NULL, put);
  put = put_of(dot_of(Y, 2), NULL, "u");
  struct blob *u = put_new(v, put);
  put = put_of(dot_of(Z, 5), &past_a, "w");
  struct blob *w = put_new(NULL, put);
  struct blob *wu = merge_new(w, u, RESOLVE_LWW);
  assert_siblings(wu, "w");
  struct blob *vw = merge_new(v, w, RESOLVE_LWW);
  assert_siblings(vw, "v");
  struct blob *uvw = merge_new(u, vw, RESOLVE_LWW);
  assert_siblings(uvw, "u");
  struct blob *one = merge_new(wu, uvw, RESOLVE_LWW);
  struct blob *other = merge_new(uvw, wu, RESOLVE_LWW);
  assert_siblings(one, "w");
  assert_same(one, other);
  blob_put(v);
  blob_put(u);
  blob_put(w);
  blob_put(wu);
  blob_put(vw);
  blob_put(uvw);
  blob_put(one);
  blob_put(other);
}

/* SIBLINGS_MAX siblings with odd times, and as many with even ones. */
static struct blob *crowd(uint64_t first) {
  struct blob *mine = NULL;
  for (uint32_t i = 0; i < SIBLINGS_MAX / SIBLINGS_PUT_MAX; i++) {
    struct blob *part = NULL;
    for (uint32_t j = 0; j < SIBLINGS_PUT_MAX; j++) {
      struct put put = put_of(dot_of(X, first + 2 * ((uint64_t)i * SIBLINGS_PUT_MAX + j)), &past_a, "v");
      put.contiguous = false;
      struct blob *next = put_new(part, put);
      blob_put(part);
      part = next;
    }
    struct blob *merged = merge_new(mine, part, RESOLVE_SIBLINGS);
    blob_put(mine);
    blob_put(part);
    mine = merged;
  }
  return mine;
}

static void a_merge_past_the_most_siblings_is_refused_and_counted(void **state) {
  (void)state;
  struct blob *odd = crowd(1);
  struct blob *even = crowd(2);
  struct object object = opened(odd);
  assert_int_equal(object.sibling_count, SIBLINGS_MAX);
  struct blob *out = odd;
  assert_int_equal(object_merge(scratch, &pool, odd, blob_bytes(even), even, RESOLVE_SIBLINGS, &stats, &out),
                   ERR_SIBLINGS);
  assert_null(out);
  assert_int_equal(stats.overfull, 1);
  out = merge_new(odd, even, RESOLVE_LWW);
  object = opened(out);
  assert_int_equal(object.sibling_count, 1);
  assert_int_equal(object.dot_count, CLOCK_PAIRS_MAX);
  assert_int_equal(stats.truncated, 2 * SIBLINGS_MAX - 1 - CLOCK_PAIRS_MAX);
  blob_put(out);
  /* A writer that has seen them all, through the fullest context there is. */
  object = opened(odd);
  object_past(&object, &past_b);
  assert_int_equal(past_b.dot_count, SIBLINGS_MAX);
  for (uint64_t time = UINT64_C(1) << 40; past_b.dot_count < PAST_MAX; time++) {
    past_add_dot(&past_b, dot_of(Y, time));
  }
  struct blob *resolved = put_new(odd, put_of(dot_of(Z, 9), &past_b, "all"));
  assert_siblings(resolved, "all");
  blob_put(resolved);
  blob_put(odd);
  blob_put(even);
}

static void an_old_claim_that_a_full_clock_drops_changes_nothing(void **state) {
  (void)state;
  struct blob *full = NULL;
  for (uint32_t i = 0; i < CLOCK_PAIRS_MAX; i++) {
    struct blob *next = put_new(full, put_of(dot_of(100 + i, 1000 + i), NULL, "v"));
    blob_put(full);
    full = next;
  }
  struct object object = opened(full);
  assert_int_equal(object.pair_count, CLOCK_PAIRS_MAX);
  struct blob *a = put_new(NULL, put_of(dot_of(X, 1), &past_a, "a"));
  struct blob *b = put_new(a, put_of(dot_of(100 + CLOCK_PAIRS_MAX - 1, 1000 + CLOCK_PAIRS_MAX - 1), NULL, "v"));
  struct blob *out = merge_new(full, b, RESOLVE_SIBLINGS);
  assert_ptr_equal(out, full);
  assert_true(object_descends(blob_bytes(full), blob_bytes(b)));
  assert_false(object_descends(blob_bytes(b), blob_bytes(full)));
  blob_put(out);
  out = merge_new(b, full, RESOLVE_SIBLINGS);
  assert_ptr_equal(out, full);
  assert_int_equal(stats.truncated, 1);
  blob_put(out);
  blob_put(a);
  blob_put(b);
  blob_put(full);
}

/* -- clock and digest --------------------------------------------------------------- */

static void a_clock_tells_all_but_the_values(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "first"));
  struct blob *two = put_new(one, put_of(dot_of(Y, 2), &past_a, "second value"));
  struct object object = opened(two);
  struct blob *clock = object_clock(&pool, &object);
  assert_non_null(clock);
  assert_int_equal(clock->size, two->size - 5 - 12);
  struct object bare = opened(clock);
  assert_true(bare.is_clock);
  assert_int_equal(bare.sibling_count, 2);
  struct sibling_cursor cursor = object_siblings(&bare);
  struct sibling sibling;
  assert_true(sibling_next(&cursor, &sibling));
  assert_dot(sibling.dot, X, 1);
  assert_int_equal(sibling.size, 5);
  assert_int_equal(sibling.value.size, 0);
  assert_true(sibling_next(&cursor, &sibling));
  assert_int_equal(sibling.size, 12);
  assert_false(sibling_next(&cursor, &sibling));
  assert_true(object_digest(blob_bytes(clock)) == object_digest(blob_bytes(two)));
  assert_true(object_digest(blob_bytes(one)) != object_digest(blob_bytes(two)));
  assert_true(object_descends(blob_bytes(two), blob_bytes(clock)));
  assert_true(object_descends(blob_bytes(clock), blob_bytes(one)));
  assert_false(object_descends(blob_bytes(one), blob_bytes(clock)));
  struct blob *same = object_clock(&pool, &bare);
  assert_same(same, clock);
  blob_put(same);
  blob_put(one);
  blob_put(two);
  blob_put(clock);
}

static void clocks_merge_with_clocks_only(void **state) {
  (void)state;
  struct blob *one = put_new(NULL, put_of(dot_of(X, 1), &past_a, "first"));
  struct blob *two = put_new(NULL, put_of(dot_of(Y, 2), &past_a, "second"));
  struct object object = opened(one);
  struct blob *clock_one = object_clock(&pool, &object);
  object = opened(two);
  struct blob *clock_two = object_clock(&pool, &object);
  struct blob *out = NULL;
  assert_int_equal(object_merge(scratch, &pool, one, blob_bytes(clock_two), clock_two, RESOLVE_SIBLINGS, &stats, &out),
                   ERR_CORRUPT);
  struct put put = put_of(dot_of(Z, 3), NULL, "third");
  assert_int_equal(object_put(scratch, &pool, clock_one, &put, &stats, &out), ERR_CORRUPT);
  struct blob *merged = merge_new(one, two, RESOLVE_SIBLINGS);
  struct blob *clock_merged = merge_new(clock_one, clock_two, RESOLVE_SIBLINGS);
  object = opened(clock_merged);
  assert_true(object.is_clock);
  assert_true(object_digest(blob_bytes(merged)) == object_digest(blob_bytes(clock_merged)));
  blob_put(one);
  blob_put(two);
  blob_put(clock_one);
  blob_put(clock_two);
  blob_put(merged);
  blob_put(clock_merged);
}

/* -- damage --------------------------------------------------------------- */

#define AT_PAIRS 8u
#define AT_DOTS (AT_PAIRS + 2u * DOT_BYTES)
#define AT_SIBLINGS (AT_DOTS + 2u * DOT_BYTES)
#define AT_SECOND (AT_SIBLINGS + 33u + 1u)
#define SAMPLE_BYTES (AT_SECOND + 33u)

/* Two pairs, two dots, a sibling "a" and a tombstone. */
static void sample(uint8_t bytes[SAMPLE_BYTES]) {
  struct writer w = writer_make(bytes, SAMPLE_BYTES);
  write_u8(&w, 1);
  write_u8(&w, 0);
  write_u16(&w, 2);
  write_u16(&w, 2);
  write_u16(&w, 2);
  struct dot dots[] = {dot_of(X, 5), dot_of(Y, 6), dot_of(X, 7), dot_of(Z, 8), dot_of(Y, 6), dot_of(Z, 9)};
  for (uint32_t i = 0; i < 6; i++) {
    uint8_t encoded[DOT_BYTES];
    dot_store(encoded, dots[i]);
    write_raw(&w, (struct bytes){encoded, DOT_BYTES});
    if (i >= 4) {
      write_u64(&w, 0);
      write_u8(&w, i == 5 ? 1 : 0);
      write_bytes(&w, i == 5 ? BYTES_NONE : BYTES_LITERAL("a"));
    }
  }
  assert_false(w.failed);
  assert_int_equal(w.size, SAMPLE_BYTES);
}

static enum err open_sample(const uint8_t *bytes, size_t size) {
  struct object object;
  uint8_t *exact = malloc(size > 0 ? size : 1);
  assert_non_null(exact);
  memcpy(exact, bytes, size);
  enum err err = object_open(&object, (struct bytes){exact, size});
  free(exact);
  return err;
}

static void assert_refused_with(size_t offset, uint8_t value) {
  uint8_t bytes[SAMPLE_BYTES];
  sample(bytes);
  assert_int_not_equal(bytes[offset], value);
  bytes[offset] = value;
  assert_int_equal(open_sample(bytes, sizeof(bytes)), ERR_CORRUPT);
}

static void what_breaks_an_invariant_is_refused(void **state) {
  (void)state;
  uint8_t bytes[SAMPLE_BYTES + 1] = {0};
  sample(bytes);
  assert_int_equal(open_sample(bytes, SAMPLE_BYTES), ERR_OK);
  assert_int_equal(open_sample(bytes, SAMPLE_BYTES + 1), ERR_CORRUPT);
  for (size_t size = 0; size < SAMPLE_BYTES; size++) {
    assert_int_equal(open_sample(bytes, size), ERR_CORRUPT);
  }
  bytes[0] = 3;
  assert_int_equal(open_sample(bytes, SAMPLE_BYTES), ERR_FORMAT);
  assert_int_equal(open_sample(bytes, 1), ERR_FORMAT);
  assert_refused_with(0, 0);
  assert_refused_with(1, 1);                        /* flags */
  assert_refused_with(0, 2);                        /* a clock has no values */
  assert_refused_with(AT_PAIRS, Y);                 /* two pairs of one actor */
  assert_refused_with(AT_PAIRS, Z);                 /* pairs out of order */
  assert_refused_with(AT_PAIRS, 0);                 /* no node */
  assert_refused_with(AT_PAIRS + 12, 0);            /* no time */
  assert_refused_with(AT_PAIRS + 12, 7);            /* the pair covers a dot */
  assert_refused_with(AT_DOTS, 99);                 /* dots out of order */
  assert_refused_with(AT_DOTS + DOT_BYTES + 12, 9); /* a dot is a sibling's */
  assert_refused_with(AT_SIBLINGS, 99);             /* siblings out of order */
  assert_refused_with(AT_SIBLINGS + 12, 0);         /* no time */
  assert_refused_with(AT_SIBLINGS + 28, 1);         /* a tombstone with a value */
  assert_refused_with(AT_SIBLINGS + 28, 2);         /* neither tombstone nor not */
  assert_refused_with(AT_SIBLINGS + 29, 2);         /* sizes do not add up */
  assert_refused_with(AT_SECOND + 29 + 3, 0xff);    /* longer than there is */
}

static void dots_that_are_equal_are_refused(void **state) {
  (void)state;
  uint8_t bytes[SAMPLE_BYTES];
  sample(bytes);
  memcpy(bytes + AT_DOTS + DOT_BYTES, bytes + AT_DOTS, DOT_BYTES);
  assert_int_equal(open_sample(bytes, sizeof(bytes)), ERR_CORRUPT);
  sample(bytes);
  memcpy(bytes + AT_SECOND, bytes + AT_SIBLINGS, DOT_BYTES);
  assert_int_equal(open_sample(bytes, sizeof(bytes)), ERR_CORRUPT);
}

static void counts_past_the_limits_are_refused(void **state) {
  (void)state;
  static uint8_t bytes[8 + (CLOCK_PAIRS_MAX + 1) * DOT_BYTES + (SIBLINGS_MAX + 1) * 33];
  for (uint32_t over = 0; over < 4; over++) {
    uint32_t pairs = CLOCK_PAIRS_MAX / 2;
    uint32_t dots = CLOCK_PAIRS_MAX - pairs + (over == 1 ? 1 : 0);
    uint32_t siblings = over == 3 ? 0 : SIBLINGS_MAX + (over == 2 ? 1 : 0);
    struct writer w = writer_make(bytes, sizeof(bytes));
    write_u16(&w, 2);
    write_u16(&w, (uint16_t)pairs);
    write_u16(&w, (uint16_t)dots);
    write_u16(&w, (uint16_t)siblings);
    for (uint32_t i = 0; i < pairs + dots + siblings; i++) {
      uint8_t encoded[33] = {0};
      dot_store(encoded, dot_of(1000 + i, 5));
      write_raw(&w, (struct bytes){encoded, i < pairs + dots ? DOT_BYTES : sizeof(encoded)});
    }
    assert_false(w.failed);
    assert_int_equal(open_sample(bytes, w.size), over == 0 ? ERR_OK : ERR_CORRUPT);
  }
}

static void damage_is_told_by_merge_and_put(void **state) {
  (void)state;
  uint8_t bytes[SAMPLE_BYTES];
  sample(bytes);
  bytes[1] = 1;
  struct bytes damaged = {bytes, sizeof(bytes)};
  struct blob *mine = blob_copy(&pool, damaged);
  assert_non_null(mine);
  struct put put = put_of(dot_of(X, 9), NULL, "b");
  struct blob *out = NULL;
  assert_int_equal(object_put(scratch, &pool, mine, &put, &stats, &out), ERR_CORRUPT);
  assert_int_equal(object_merge(scratch, &pool, NULL, damaged, NULL, RESOLVE_SIBLINGS, &stats, &out), ERR_CORRUPT);
  assert_int_equal(object_merge(scratch, &pool, mine, BYTES_NONE, NULL, RESOLVE_SIBLINGS, &stats, &out), ERR_CORRUPT);
  assert_false(object_descends(damaged, damaged));
  assert_true(object_digest(damaged) != 0);
  mine->data[0] = 3;
  assert_int_equal(object_put(scratch, &pool, mine, &put, &stats, &out), ERR_FORMAT);
  assert_null(out);
  blob_put(mine);
}

#define TEST(name) cmocka_unit_test_setup(name, test_setup)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(figure_3_of_the_paper),
      TEST(two_writers_of_one_coordinator_leave_two_siblings),
      TEST(a_plain_set_supersedes_what_its_coordinator_holds),
      TEST(a_stand_in_claims_its_own_dot_alone),
      TEST(a_deletion_is_a_sibling_without_value),
      TEST(too_many_siblings_are_refused),
      TEST(a_value_past_the_limit_is_refused),
      TEST(an_object_past_the_limit_is_refused),
      TEST(exhausted_memory_is_an_error_and_changes_nothing),
      TEST(a_dot_that_is_claimed_already_is_refused),
      TEST(keepttl_takes_the_expiry_of_what_a_get_returns),
      TEST(a_get_returns_the_latest_that_is_neither_deleted_nor_expired),
      TEST(nothing_and_nothing_is_nothing),
      TEST(a_merge_that_changes_nothing_allocates_nothing),
      TEST(bytes_that_lie_in_no_blob_of_their_own_are_copied),
      TEST(one_dot_with_two_sizes_is_damage),
      TEST(last_write_wins_keeps_the_greatest_and_knows_the_others),
      TEST(a_circle_of_last_writes_does_not_end_with_nothing),
      TEST(a_merge_past_the_most_siblings_is_refused_and_counted),
      TEST(an_old_claim_that_a_full_clock_drops_changes_nothing),
      TEST(a_clock_tells_all_but_the_values),
      TEST(clocks_merge_with_clocks_only),
      TEST(what_breaks_an_invariant_is_refused),
      TEST(dots_that_are_equal_are_refused),
      TEST(counts_past_the_limits_are_refused),
      TEST(damage_is_told_by_merge_and_put),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
