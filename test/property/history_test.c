/* Histories of which parts were folded away, against the same histories whole: merged in any order they are one
 * history, with one digest and one ring; and what was folded away in steps is what was folded away at once.
 *
 * GRAMME_HISTORY_SEED runs one case again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "ring/ring.h"

#define CASES 12000u
#define RECORDS_MAX 24u
#define NODES 4u
#define ROOM HISTORY_ENCODED_MAX_BYTES(RECORDS_MAX)

static struct prng prng;
static uint64_t seed;
static struct change records[RECORDS_MAX]; /* the truth, in order */
static uint32_t record_count;
static uint32_t agreed; /* so many are agreed upon: a node that has others has them all, or is behind */

static struct history whole;
static struct history nodes[NODES];
static uint32_t known[NODES]; /* bit r: it has the record, or a snapshot that covers it */
static struct history scratch;
static struct history other;
static struct ring ring;
static struct ring expected;
static uint8_t encoded[ROOM];
static uint8_t again[ROOM];
static uint32_t adopted; /* merges that took a snapshot */

#define expect(condition)                                                                                       \
  do {                                                                                                          \
    if (!(condition)) {                                                                                         \
      print_error("%s does not hold: seed %llu, %u records, %u agreed\n", #condition, (unsigned long long)seed, \
                  (unsigned)record_count, (unsigned)agreed);                                                    \
      fail();                                                                                                   \
    }                                                                                                           \
  } while (0)

/* -- cases ----------------------------------------------------------------------- */

/* Sense is of no matter: the fold passes over what has none. */
static void draw_records(void) {
  const uint32_t founding = prng_chance(&prng, 800) ? 0 : (uint32_t)prng_below(&prng, 3);
  record_count = 4 + (uint32_t)prng_below(&prng, RECORDS_MAX - 3);
  for (uint32_t i = 0; i < record_count; i++) {
    struct change *change = &records[i];
    memset(change, 0, sizeof(*change));
    change->kind = (enum change_kind)(CHANGE_ADD + (prng_chance(&prng, 500) ? 0 : prng_below(&prng, 4)));
    change->kind = i == founding ? CHANGE_FOUND : change->kind;
    change->time = 10 + 10 * (i / 2); /* in pairs of the same time */
    change->issuer = 1 + i % 2;
    change->node = 1 + (uint32_t)prng_below(&prng, 9);
    const uint32_t old = 1 + (uint32_t)prng_below(&prng, 9);
    change->old = old == change->node ? old + 1 : old;
    change->weight = 1 + (uint32_t)prng_below(&prng, 3);
    change->partition_count = 64;
    change->client_port = (uint16_t)prng_below(&prng, 100);
    (void)snprintf(change->host, sizeof(change->host), "10.0.0.%u", (unsigned)change->node);
    (void)snprintf(change->name, sizeof(change->name), "node-%u", (unsigned)change->node);
    (void)snprintf(change->zone, sizeof(change->zone), "zone-%u", (unsigned)prng_below(&prng, 3));
  }
}

static void build(struct history *history, uint32_t mask) {
  history_init(history);
  for (uint32_t i = 0; i < record_count; i++) {
    if ((mask >> i & 1u) != 0) {
      assert_int_equal(history_add(history, &records[i]), ERR_OK);
    }
  }
}

static uint32_t first(uint32_t count) {
  return (uint32_t)((UINT64_C(1) << count) - 1);
}

/* Folds away at a few points, up to `most`. What has no founding can not be folded away. */
static void compact_some(struct history *history, uint32_t most) {
  for (uint64_t steps = prng_below(&prng, 3); steps > 0; steps--) {
    const uint32_t had = history->snapshot.ring.records;
    const uint32_t count = had + (uint32_t)prng_below(&prng, most - had + 1);
    ring_fold_prefix(&ring, history, count);
    const enum err err = history_compact(history, &ring);
    expect(err == (ring.partition_count > 0 ? ERR_OK : ERR_REFUSED));
    expect(history->snapshot.ring.records == (err == ERR_OK ? count : had));
  }
}

static uint32_t draw_mask(void) {
  return (uint32_t)prng_u64(&prng) & first(record_count);
}

static void draw_case(void) {
  prng_init(&prng, seed);
  draw_records();
  agreed = (uint32_t)prng_below(&prng, record_count + 1);
  build(&whole, first(record_count));
  for (uint32_t n = 0; n < NODES; n++) {
    const bool behind = n > 0 && prng_chance(&prng, 300);
    known[n] = draw_mask();
    known[n] = behind ? known[n] & first(agreed) : known[n] | first(agreed);
    build(&nodes[n], known[n]);
    if (!behind) {
      compact_some(&nodes[n], agreed);
    }
  }
}

/* -- what is promised ---------------------------------------------------------------- */

static struct bytes encode(const struct history *history, uint8_t *to) {
  struct writer w = writer_make(to, ROOM);
  history_encode(history, &w);
  expect(!w.failed);
  expect(to[0] == (history->snapshot.ring.records > 0 ? 2 : 1));
  return writer_bytes(&w);
}

static void expect_same_ring(const struct ring *a, const struct ring *b) {
  expect(a->records == b->records && a->digest == b->digest && a->is_spread == b->is_spread);
  expect(a->partition_count == b->partition_count && a->member_count == b->member_count);
  expect(a->zone_count == b->zone_count);
  expect(memcmp(a->owners, b->owners, a->partition_count * sizeof(a->owners[0])) == 0);
  for (uint32_t i = 0; i < a->member_count; i++) {
    const struct ring_member *m = &a->members[i];
    const struct ring_member *o = &b->members[i];
    expect(m->node == o->node && m->weight == o->weight && m->owned == o->owned && m->zone == o->zone);
    expect(m->seat == o->seat && m->zone_mark == o->zone_mark && m->client_port == o->client_port);
    expect(strcmp(m->host, o->host) == 0 && strcmp(m->name, o->name) == 0);
    expect(strcmp(m->zone_name, o->zone_name) == 0);
  }
}

/* `history` says what `plain`, of which nothing was folded away, says. */
static void expect_same(const struct history *history, const struct history *plain) {
  const uint32_t folded = history->snapshot.ring.records;
  expect(history_length(history) == plain->count);
  expect(history_digest(history) == history_digest(plain));
  for (uint32_t count = 0; count <= plain->count; count++) {
    const uint64_t digest = history_prefix_digest(plain, count);
    expect(history_prefix_digest(history, count) == digest);
    expect(history_find_prefix(history, digest) == (int)count);
  }
  memset(&ring, 0x5a, sizeof(ring));
  ring_fold(&ring, history);
  ring_fold(&expected, plain);
  expect_same_ring(&ring, &expected);
  if (folded > 0) {
    ring_fold_prefix(&expected, plain, folded);
    expect_same_ring(&history->snapshot.ring, &expected);
  }
  for (uint32_t node = 1; node <= 11; node++) {
    const enum known knows = history_knows(history, node);
    const enum known plainly = history_knows(plain, node);
    expect(knows == plainly || (knows == KNOWN_NOT && plainly == KNOWN_MEMBER && folded > 0 &&
                                ring_find(&history->snapshot.ring, node) < 0));
  }
  const struct change *founding = history_founding(history);
  const struct change *original = history_founding(plain);
  expect((founding == NULL) == (original == NULL));
  expect(founding == NULL || (founding->time == original->time && founding->node == original->node));
}

static void merge(struct history *history, const struct history *from) {
  const uint32_t had = history_length(history);
  const uint32_t folded = history->snapshot.ring.records;
  uint32_t added = 0;
  const enum err err = history_merge(history, encode(from, encoded), &added);
  adopted += history->snapshot.ring.records > folded;
  expect(err == ERR_OK);
  expect(history_length(history) == had + added);
}

static void run_case(void) {
  draw_case();
  uint32_t all = 0;
  for (uint32_t n = 0; n < NODES; n++) {
    build(&other, known[n]);
    expect_same(&nodes[n], &other);
    all |= known[n];
  }
  build(&other, all);
  /* A newcomer takes them in any order; twice is once. */
  history_init(&scratch);
  uint32_t order[NODES] = {0};
  for (uint32_t n = 0; n < NODES; n++) {
    const uint32_t at = (uint32_t)prng_below(&prng, n + 1);
    order[n] = order[at];
    order[at] = n;
  }
  for (uint32_t n = 0; n < NODES; n++) {
    merge(&scratch, &nodes[order[n]]);
  }
  expect_same(&scratch, &other);
  const struct bytes before = encode(&scratch, again);
  for (uint32_t n = 0; n < NODES; n++) {
    merge(&scratch, &nodes[n]);
  }
  expect(bytes_equal(encode(&scratch, encoded), before));
  /* And so does each of them. */
  const uint32_t n = (uint32_t)prng_below(&prng, NODES);
  for (uint32_t m = 0; m < NODES; m++) {
    if (order[m] != n) {
      merge(&nodes[n], &nodes[order[m]]);
    }
  }
  expect_same(&nodes[n], &other);
  history_copy(&whole, &nodes[n]);
  expect_same(&whole, &other);
  /* Folded away at once. */
  const uint32_t folded = nodes[n].snapshot.ring.records;
  if (folded > 0) {
    ring_fold_prefix(&ring, &other, folded);
    expect(history_compact(&other, &ring) == ERR_OK);
    expect(bytes_equal(encode(&other, encoded), encode(&nodes[n], again)));
  }
}

static void compacted_histories_merge_into_one(void **state) {
  (void)state;
  const char *one = getenv("GRAMME_HISTORY_SEED");
  if (one != NULL) {
    seed = strtoull(one, NULL, 10);
    run_case();
    return;
  }
  for (seed = 1; seed <= CASES; seed++) {
    run_case();
  }
  assert_true(adopted > CASES / 2);
}

/* Damage that a checksum does not see: taken or not, but never half, and what was taken can be folded further. */
static void nonsense_with_a_good_checksum_is_refused_or_makes_sense(void **state) {
  (void)state;
  uint32_t taken = 0;
  uint32_t refused = 0;
  for (seed = 50000; seed < 50000 + CASES; seed++) {
    draw_case();
    build(&nodes[0], first(record_count));
    ring_fold_prefix(&ring, &nodes[0], record_count / 2);
    if (history_compact(&nodes[0], &ring) != ERR_OK) {
      continue;
    }
    const struct bytes good = encode(&nodes[0], again);
    /* Half of the cases spoil what comes before the records. */
    const size_t from = 1;
    const size_t size = prng_chance(&prng, 500) ? good.size - 9 : 120;
    again[from + (size_t)prng_below(&prng, size)] = (uint8_t)prng_below(&prng, 256);
    struct writer w = writer_make(again + good.size - 8, 8);
    write_u64(&w, bytes_hash((struct bytes){again, good.size - 8}, 0));
    history_init(&scratch);
    uint32_t added = 0;
    const enum err err = history_merge(&scratch, good, &added);
    expect(history_length(&scratch) == added);
    if (err != ERR_OK) {
      expect(err == ERR_CORRUPT && added == 0);
      refused++;
      continue;
    }
    taken++;
    expect(bytes_equal(encode(&scratch, encoded), good));
    for (uint32_t i = 0; i < 6; i++) {
      struct change change = records[prng_below(&prng, record_count)];
      change.time = UINT64_MAX;
      change.issuer = UINT32_MAX - 6 + i;
      if (change.kind != CHANGE_FOUND) {
        change.node += (uint32_t)prng_below(&prng, 2) * 20;
        expect(history_add(&scratch, &change) == ERR_OK);
      }
    }
    ring_fold(&ring, &scratch);
    expect(ring.member_count > 0);
  }
  assert_true(taken > CASES / 20);
  assert_true(refused > CASES / 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(compacted_histories_merge_into_one),
      cmocka_unit_test(nonsense_with_a_good_checksum_is_refused_or_makes_sense),
  };
  return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
