/* A history of which a part was folded away: what is refused, what is taken, what is remembered. What a whole history
 * does is in ring_test.c; that all merge into one, in the property test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "ring/ring.h"

static struct history history;
static struct history other;
static struct ring ring;
static uint8_t encoded[HISTORY_ENCODED_MAX_BYTES(HISTORY_MAX)];
static uint8_t again[HISTORY_ENCODED_MAX_BYTES(HISTORY_MAX)];

static struct change make(enum change_kind kind, uint64_t time, uint32_t node) {
  struct change change;
  memset(&change, 0, sizeof(change));
  change.kind = kind;
  change.time = time;
  change.issuer = 1;
  change.node = node;
  change.weight = 1;
  change.partition_count = 64;
  (void)snprintf(change.name, sizeof(change.name), "node-%u", (unsigned)node);
  return change;
}

static enum err try(struct history *to, enum change_kind kind, uint64_t time, uint32_t node) {
  const struct change change = make(kind, time, node);
  return history_add(to, &change);
}

static void add(struct history *to, enum change_kind kind, uint64_t time, uint32_t node) {
  assert_int_equal(try(to, kind, time, node), ERR_OK);
}

/* Nodes 1 to `count`, at the times 10, 20, ... */
static void fill(struct history *to, uint32_t count) {
  history_init(to);
  add(to, CHANGE_FOUND, 10, 1);
  for (uint32_t node = 2; node <= count; node++) {
    add(to, CHANGE_ADD, 10 * node, node);
  }
}

static void compact(struct history *of, uint32_t count) {
  ring_fold_prefix(&ring, of, count);
  assert_int_equal(history_compact(of, &ring), ERR_OK);
  assert_int_equal(of->snapshot.ring.records, count);
}

static struct bytes encode(const struct history *from, uint8_t *to) {
  struct writer w = writer_make(to, sizeof(encoded));
  history_encode(from, &w);
  assert_false(w.failed);
  return writer_bytes(&w);
}

static enum err merge(struct history *to, const struct history *from) {
  uint32_t added = 0;
  const uint32_t had = history_length(to);
  const uint64_t digest = history_digest(to);
  const enum err err = history_merge(to, encode(from, encoded), &added);
  assert_int_equal(history_length(to), had + added);
  assert_true(err == ERR_OK || (added == 0 && history_digest(to) == digest));
  return err;
}

/* -- folded away ----------------------------------------------------------------- */

static void only_the_ring_of_a_prefix_with_members_is_folded_away(void **state) {
  (void)state;
  fill(&history, 6);
  ring_fold_prefix(&ring, &history, 4);
  ring.digest ^= 1;
  assert_int_equal(history_compact(&history, &ring), ERR_REFUSED);
  fill(&other, 8);
  ring_fold(&ring, &other);
  assert_int_equal(history_compact(&history, &ring), ERR_REFUSED);
  ring_fold_prefix(&ring, &history, 0);
  assert_int_equal(history_compact(&history, &ring), ERR_REFUSED);
  assert_int_equal(history.count, 6);
  compact(&history, 4);
  assert_int_equal(history.count, 2);
  assert_int_equal(history_length(&history), 6);
  /* Away already, in whole or in part. */
  assert_int_equal(history_compact(&history, &ring), ERR_OK);
  ring_fold_prefix(&ring, &other, 3);
  assert_int_equal(history_compact(&history, &ring), ERR_OK);
  assert_int_equal(history.snapshot.ring.records, 4);
  assert_true(history_digest(&history) == history_prefix_digest(&other, 6));
}

static void a_record_before_the_snapshot_is_not_taken(void **state) {
  (void)state;
  fill(&history, 6);
  compact(&history, 4);
  add(&history, CHANGE_FOUND, 10, 1); /* the founding is known still */
  assert_int_equal(try(&history, CHANGE_FOUND, 10, 2), ERR_REFUSED);
  assert_int_equal(try(&history, CHANGE_ADD, 40, 4), ERR_REFUSED);
  assert_int_equal(try(&history, CHANGE_ADD, 35, 9), ERR_REFUSED);
  add(&history, CHANGE_ADD, 41, 9);
  /* All that are folded away, and one more; as many, but others. */
  fill(&other, 5);
  add(&other, CHANGE_ADD, 25, 9);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  fill(&other, 3);
  add(&other, CHANGE_ADD, 25, 9);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  /* Fewer can not be told from a part of them. */
  fill(&other, 3);
  add(&other, CHANGE_ADD, 55, 10);
  assert_int_equal(merge(&history, &other), ERR_OK);
  assert_int_equal(history_length(&history), 8);
}

static void a_snapshot_that_does_not_fit_is_refused(void **state) {
  (void)state;
  fill(&other, 6);
  compact(&other, 4);
  /* As many before its end, but others; more. */
  fill(&history, 3);
  add(&history, CHANGE_ADD, 25, 9);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  add(&history, CHANGE_ADD, 26, 10);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  assert_int_equal(history.count, 5);
  /* It ends before one of ours that covers fewer. */
  fill(&history, 2);
  add(&history, CHANGE_ADD, 90, 9);
  compact(&history, 3);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  /* Of two snapshots of one length only the same are one. */
  fill(&history, 3);
  add(&history, CHANGE_ADD, 35, 9);
  compact(&history, 4);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  assert_int_equal(merge(&other, &history), ERR_REFUSED);
}

/* Nodes 1 to 3 and then `count` changes of weight. */
static void fill_long(struct history *to, uint32_t count) {
  fill(to, 3);
  for (uint32_t i = 0; i < count; i++) {
    struct change change = make(CHANGE_REWEIGH, 1000 + i, 1 + i % 3);
    change.weight = 1 + i % 7;
    assert_int_equal(history_add(to, &change), ERR_OK);
  }
}

static void a_snapshot_that_goes_on_from_another_beginning_is_refused(void **state) {
  (void)state;
  fill(&history, 2);
  add(&history, CHANGE_ADD, 25, 9);
  compact(&history, 3);
  fill(&other, 6);
  compact(&other, 5);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  assert_int_equal(merge(&other, &history), ERR_REFUSED);
  /* But nobody can tell how one began whose trail is shorter: then its order counts. */
  fill_long(&other, HISTORY_TRAIL_MAX);
  compact(&other, 3 + HISTORY_TRAIL_MAX - 1);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  compact(&other, 3 + HISTORY_TRAIL_MAX);
  assert_int_equal(merge(&history, &other), ERR_OK);
  assert_true(history_digest(&history) == history_digest(&other));
  fill(&history, 2);
  add(&history, CHANGE_ADD, 5000, 9);
  compact(&history, 3);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
}

static void prefixes_are_known_as_far_as_the_trail_goes(void **state) {
  (void)state;
  fill_long(&history, HISTORY_TRAIL_MAX + 100);
  history_copy(&other, &history);
  compact(&history, 50);
  compact(&history, HISTORY_TRAIL_MAX + 40);
  for (uint32_t count = 1; count <= history_length(&other); count++) {
    const uint64_t digest = history_prefix_digest(&other, count);
    const bool is_known = count > 40;
    assert_true(history_prefix_digest(&history, count) == (is_known ? digest : 0));
    assert_int_equal(history_find_prefix(&history, digest), is_known ? (int)count : -1);
  }
  assert_true(history_prefix_digest(&history, 0) == 0);
  /* What goes on is folded from what is there, and from what is folded away it is not. */
  static struct ring earlier;
  ring_fold_prefix(&earlier, &other, 1000);
  ring_fold_from(&earlier, &earlier, &history, history_length(&history));
  ring_fold(&ring, &other);
  assert_true(earlier.digest == ring.digest);
  assert_memory_equal(earlier.owners, ring.owners, 64 * sizeof(ring.owners[0]));
}

static void who_was_forgotten_can_be_remembered(void **state) {
  (void)state;
  fill(&history, 6);
  compact(&history, 4);
  const uint64_t digest = history_digest(&history);
  assert_int_equal(history_knows(&history, 77), KNOWN_NOT);
  history_outlaw(&history, 77);
  assert_int_equal(history_knows(&history, 77), KNOWN_GONE);
  assert_true(history_digest(&history) == digest);
  history_init(&other);
  assert_int_equal(merge(&other, &history), ERR_OK);
  assert_int_equal(history_knows(&other, 77), KNOWN_GONE);
  compact(&other, 6);
  assert_int_equal(history_knows(&other, 77), KNOWN_GONE);
}

static void a_snapshot_of_another_cluster_is_refused(void **state) {
  (void)state;
  fill(&other, 6);
  compact(&other, 4);
  history_init(&history);
  add(&history, CHANGE_FOUND, 11, 1);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  assert_int_equal(merge(&other, &history), ERR_REFUSED);
  for (uint32_t node = 2; node < 10; node++) {
    add(&history, CHANGE_ADD, 10 * node, node);
  }
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  compact(&history, 8);
  assert_int_equal(merge(&history, &other), ERR_REFUSED);
  assert_int_equal(merge(&other, &history), ERR_REFUSED);
}

static void a_newcomer_takes_the_snapshot(void **state) {
  (void)state;
  fill(&other, 20);
  compact(&other, 17);
  history_init(&history);
  assert_int_equal(merge(&history, &other), ERR_OK);
  assert_int_equal(history.count, 3);
  assert_int_equal(history_length(&history), 20);
  /* And records of its own that are behind it stay. */
  history_init(&history);
  add(&history, CHANGE_ADD, 500, 50);
  assert_int_equal(merge(&history, &other), ERR_OK);
  assert_int_equal(history_length(&history), 21);
  ring_fold(&ring, &history);
  assert_true(ring_find(&ring, 50) >= 0);
  assert_int_equal(ring.member_count, 21);
}

static void a_history_never_fills_while_it_is_folded_away(void **state) {
  (void)state;
  fill(&history, 4);
  uint64_t time = 1000;
  for (uint32_t i = 0; i < 3 * HISTORY_MAX; i++) {
    const uint32_t node = 10 + i / 2;
    time++;
    add(&history, i % 2 == 0 ? CHANGE_ADD : CHANGE_REMOVE, time, node);
    if (history.count == 1000) {
      ring_fold(&ring, &history);
      assert_int_equal(history_compact(&history, &ring), ERR_OK);
      assert_int_equal(history.count, 0);
    }
  }
  assert_int_equal(history_length(&history), 4 + 3 * HISTORY_MAX);
  ring_fold(&ring, &history);
  assert_int_equal(ring.member_count, 4);
  assert_int_equal(ring.records, 4 + 3 * HISTORY_MAX);
  /* Former members are remembered, the last HISTORY_GONE_MAX of those that are folded away. */
  const uint32_t last = 9 + 3 * HISTORY_MAX / 2;
  const uint32_t folded = 9 + (history.snapshot.ring.records - 4) / 2;
  assert_int_equal(history_knows(&history, last), KNOWN_GONE);
  assert_int_equal(history_knows(&history, folded), KNOWN_GONE);
  assert_int_equal(history_knows(&history, folded - HISTORY_GONE_MAX + 1), KNOWN_GONE);
  assert_int_equal(history_knows(&history, folded - HISTORY_GONE_MAX), KNOWN_NOT);
  assert_int_equal(history_knows(&history, 3), KNOWN_MEMBER);
  assert_int_equal(history_knows(&history, last + 1), KNOWN_NOT);
  /* The largest encoding is taken whole. */
  history_init(&other);
  assert_int_equal(merge(&other, &history), ERR_OK);
  assert_true(history_digest(&other) == history_digest(&history));
}

static void the_largest_snapshot_fits_its_room(void **state) {
  (void)state;
  static uint8_t room[HISTORY_ENCODED_MAX_BYTES(0)];
  history_init(&history);
  for (uint32_t i = 0; i < MEMBERS_MAX + 2 * HISTORY_GONE_MAX; i++) {
    const enum change_kind kind = i == 0 ? CHANGE_FOUND : i < MEMBERS_MAX ? CHANGE_ADD : CHANGE_REMOVE;
    struct change change = make(kind, i + 1, i + 1); /* those removed are strangers */
    change.partition_count = PARTITIONS_MAX;
    memset(change.host, 'h', HOST_MAX_BYTES);
    memset(change.name, 'n', NAME_MAX_BYTES);
    memset(change.zone, 'z', NAME_MAX_BYTES);
    assert_int_equal(history_add(&history, &change), ERR_OK);
  }
  compact(&history, history.count);
  assert_int_equal(history.snapshot.ring.member_count, MEMBERS_MAX);
  assert_int_equal(history.snapshot.gone_count, HISTORY_GONE_MAX);
  struct writer w = writer_make(room, sizeof(room));
  history_encode(&history, &w);
  assert_false(w.failed);
  assert_in_range(w.size, sizeof(room) - 8, sizeof(room));
}

static void damaged_snapshots_are_refused(void **state) {
  (void)state;
  fill(&history, 6);
  add(&history, CHANGE_REMOVE, 100, 3);
  add(&history, CHANGE_ADD, 110, 12);
  compact(&history, 7);
  const struct bytes good = encode(&history, encoded);
  assert_int_equal(good.data[0], 2);
  uint32_t added = 1;
  for (size_t size = 0; size < good.size; size++) {
    history_init(&other);
    assert_int_equal(history_merge(&other, (struct bytes){good.data, size}, &added), ERR_CORRUPT);
    assert_int_equal(added, 0);
  }
  for (size_t at = 0; at < good.size; at++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      memcpy(again, good.data, good.size);
      again[at] ^= (uint8_t)(1u << bit);
      const enum err wanted = at == 0 && again[0] > 2 ? ERR_FORMAT : ERR_CORRUPT;
      assert_int_equal(history_merge(&other, (struct bytes){again, good.size}, &added), wanted);
    }
  }
  assert_int_equal(history_length(&other), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_the_ring_of_a_prefix_with_members_is_folded_away),
      cmocka_unit_test(a_record_before_the_snapshot_is_not_taken),
      cmocka_unit_test(a_snapshot_that_does_not_fit_is_refused),
      cmocka_unit_test(a_snapshot_that_goes_on_from_another_beginning_is_refused),
      cmocka_unit_test(prefixes_are_known_as_far_as_the_trail_goes),
      cmocka_unit_test(who_was_forgotten_can_be_remembered),
      cmocka_unit_test(a_snapshot_of_another_cluster_is_refused),
      cmocka_unit_test(a_newcomer_takes_the_snapshot),
      cmocka_unit_test(a_history_never_fills_while_it_is_folded_away),
      cmocka_unit_test(the_largest_snapshot_fits_its_room),
      cmocka_unit_test(damaged_snapshots_are_refused),
  };
  return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
