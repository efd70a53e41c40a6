/* Anti-entropy by itself: what a node asks, what it answers, and that it rests when it can do nothing. Whole exchanges
 * are the simulator's. */
#include "support/sync_bench.h"

#include <stdio.h>

#define OTHER 2u

static struct heartbeat totals(void) {
  struct heartbeat health = {0};
  struct step step = core_step();
  sync_totals(sync, &step, &health);
  return health;
}

static void a_round_in_which_all_is_equal_is_complete(void **state) {
  (void)state;
  begin();
  struct message compare;
  assert_int_equal(totals().sync_age_ms, 0);
  for (uint32_t i = 0; i < 2; i++) {
    uint32_t node = compare_wait(&compare);
    answer_equal(node, &compare);
  }
  tick_when_due();
  assert_true(totals().sync_age_ms > 0);
  assert_int_equal(totals().sync_differ, 0);
  assert_int_equal(core.stats.sync_rounds, 1);
  uint64_t due_ns = sync_deadline(sync);
  assert_true(due_ns > core.now_ns + 9000 * MS);
  end();
}

static void a_shorter_interval_counts_from_the_last_round_on(void **state) {
  (void)state;
  begin();
  struct message compare;
  for (uint32_t i = 0; i < 2; i++) {
    uint32_t node = compare_wait(&compare);
    answer_equal(node, &compare);
  }
  tick_when_due();
  uint64_t ended_ns = core.now_ns;
  core.tunables.sync_round_ns = 2000 * MS;
  tick();
  (void)compare_wait(&compare);
  assert_true(core.now_ns <= ended_ns + 2000 * MS);
  end();
}

static void what_is_left_is_judged_by_what_has_been_gone_into(void **state) {
  (void)state;
  begin();
  struct message compare;
  struct sync_difference differences[4];
  assert_int_equal(totals().sync_ms_to_go, 0);
  uint32_t node = compare_wait(&compare);
  uint32_t roots = answer(node, &compare, true);
  assert_true(roots > 2 * SYNC_SESSIONS_MAX);
  assert_true(totals().sync_ms_to_go == UINT32_MAX);
  assert_int_equal(sync_differences(sync, &core.ring, differences, 4), roots);
  assert_int_equal(differences[3].node, node);
  assert_int_equal(differences[3].keys, 0);
  node = compare_wait(&compare);
  answer_equal(node, &compare);
  tick_when_due(); /* some are begun, and nobody answers */
  uint64_t begun_ns = core.now_ns;
  core.now_ns += 2000 * MS;
  tick();
  uint32_t left = roots - SYNC_SESSIONS_MAX;
  assert_int_equal(sync_differences(sync, &core.ring, differences, 4), left);
  assert_int_equal(totals().sync_ms_to_go, (core.now_ns - begun_ns) / MS * left / SYNC_SESSIONS_MAX);
  assert_true(totals().sync_bytes_to_go >= (uint64_t)left * COMPARE_FIXED_BYTES);
  end();
}

static void an_ask_is_settled_by_a_round_that_began_after_it(void **state) {
  (void)state;
  begin();
  struct message compare;
  uint32_t node = compare_wait(&compare);
  uint32_t ask = sync_ask(sync, core.now_ns);
  answer_equal(node, &compare);
  node = compare_wait(&compare);
  answer_equal(node, &compare);
  tick_when_due();
  assert_int_equal(core.stats.sync_rounds, 1);
  assert_true(totals().sync_settled < ask);
  for (uint32_t i = 0; i < 2; i++) {
    node = compare_wait(&compare);
    answer_equal(node, &compare);
  }
  tick_when_due();
  assert_int_equal(totals().sync_settled, ask);
  end();
}

static void a_node_that_is_silent_leaves_the_round_incomplete(void **state) {
  (void)state;
  begin();
  struct message compare;
  (void)compare_wait(&compare);
  uint32_t node = compare_wait(&compare); /* the first has had its time */
  answer_equal(node, &compare);
  tick_when_due();
  assert_int_equal(core.stats.sync_rounds, 0);
  assert_int_equal(totals().sync_age_ms, 0);
  end();
}

static void a_round_that_can_not_go_on_does_not_keep_the_node_awake(void **state) {
  (void)state;
  begin();
  struct message compare;
  (void)compare_wait(&compare);
  struct blob *key = store_key("k");
  growth_doubt(growth, blob_bytes(key)); /* sums are not to be trusted */
  blob_put(key);
  for (uint32_t i = 0; i < 20; i++) {
    tick_when_due();
    assert_true(sync_deadline(sync) > core.now_ns);
  }
  growth_settled(growth);
  end();
}

/* What the node answers to a COMPARE of the other's; the answer's bits in `*bits`. */
static enum err answer_of(const struct message *compare, uint8_t *bits) {
  struct message asked = *compare;
  asked.request = 1;
  say(OTHER, &asked);
  const struct message *compared = core_sent(OTHER, MESSAGE_COMPARED);
  assert_non_null(compared);
  *bits = compared->object.size > 1 ? compared->object.data[COMPARED_FIXED_BYTES] : 0;
  return compared->err;
}

static void sums_that_are_others_here_are_told(void **state) {
  (void)state;
  begin();
  struct message compare;
  uint8_t bits = 0;
  (void)compare_wait(&compare);
  struct blob *mine = blob_copy(&core.pool, compare.object);
  compare.object = blob_bytes(mine);
  compare.object_blob = mine;
  assert_int_equal(answer_of(&compare, &bits), ERR_OK);
  assert_int_equal(bits, 0);
  mine->data[COMPARE_FIXED_BYTES + FAMILY_FIXED_BYTES] ^= 1; /* the first sum */
  assert_int_equal(answer_of(&compare, &bits), ERR_OK);
  assert_int_equal(bits, 1);
  mine->data[0] ^= 1; /* another layout */
  assert_int_equal(answer_of(&compare, &bits), ERR_STALE);
  mine->data[0] ^= 1;
  mine->data[16] = BITS + 1; /* nodes below the leaves */
  assert_int_equal(answer_of(&compare, &bits), ERR_BADARG);
  mine->data[16] = 0; /* nodes above the partitions */
  assert_int_equal(answer_of(&compare, &bits), ERR_BADARG);
  blob_put(mine);
  end();
}

static void what_is_cut_short_anywhere_is_refused(void **state) {
  (void)state;
  begin();
  struct message compare;
  uint8_t bits = 0;
  (void)compare_wait(&compare);
  struct blob *mine = blob_copy(&core.pool, compare.object);
  compare.object_blob = mine;
  for (size_t size = 0; size < mine->size; size++) {
    bool whole = size >= COMPARE_FIXED_BYTES && (size - COMPARE_FIXED_BYTES) % (FAMILY_FIXED_BYTES + 8u) == 0;
    compare.object = (struct bytes){mine->data, size};
    assert_int_equal(answer_of(&compare, &bits), whole ? ERR_OK : ERR_BADARG);
  }
  blob_put(mine);
  end();
}

static void a_partition_is_compared_key_by_key_by_one_at_a_time(void **state) {
  (void)state;
  begin();
  struct message compare;
  uint8_t bits = 0;
  (void)compare_wait(&compare);
  struct blob *mine = blob_copy(&core.pool, compare.object);
  compare.object = blob_bytes(mine);
  compare.object_blob = mine;
  compare.flags = MESSAGE_ENGAGE;
  assert_int_equal(answer_of(&compare, &bits), ERR_OK);
  struct message third = compare;
  third.request = 2;
  say(3, &third);
  assert_int_equal(core_sent(3, MESSAGE_COMPARED)->err, ERR_BUSY);
  struct message last = compare;
  last.flags = MESSAGE_LAST;
  say(3, &last); /* not its own */
  say(3, &third);
  assert_int_equal(core_sent(3, MESSAGE_COMPARED)->err, ERR_BUSY);
  say(OTHER, &last);
  say(3, &third);
  assert_int_equal(core_sent(3, MESSAGE_COMPARED)->err, ERR_OK);
  blob_put(mine);
  end();
}

/* A key of the partition. */
static struct blob *key_in(uint32_t partition) {
  for (uint32_t i = 0; i < 100000; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "k%u", (unsigned)i);
    struct blob *key = store_key(name);
    if (partition_of(blob_bytes(key)) == partition) {
      return key;
    }
    blob_put(key);
  }
  fail_msg("no key is in it");
  return NULL;
}

/* The other replica lists the key; here the store is read, and returns nothing, with or without a gap. The number of
 * the question that is asked of it then. */
static uint64_t list_missing(uint32_t node, const struct message *pull, struct blob *key, uint64_t digest, bool gap) {
  uint8_t bytes[64];
  struct writer w = writer_make(bytes, sizeof bytes);
  write_bytes(&w, blob_bytes(key));
  write_u64(&w, digest);
  write_bytes(&w, BYTES_NONE);
  say(node, &(struct message){.type = MESSAGE_PULLED,
                              .flags = MESSAGE_LAST,
                              .partition = pull->partition,
                              .request = pull->request,
                              .object = writer_bytes(&w)});
  struct event event = {.kind = EVENT_SCAN_DONE};
  event.scan.token = core_effect(EFFECT_SCAN, 0)->scan.token;
  event.scan.end = true;
  event.scan.gap = gap;
  struct step step = core_step();
  sync_scan_done(sync, &step, &event);
  struct message offer = {0};
  assert_true(core_local(&offer));
  assert_int_equal(offer.type, MESSAGE_OFFER);
  say(SELF, &(struct message){.type = MESSAGE_WRITE_ACK, .request = offer.request, .err = ERR_ABSENT});
  return core_sent(node, MESSAGE_READ)->request;
}

/* The roots of all differ: the first partition is gone into, and listed. Which node is asked for its list. */
static uint32_t pull_wait(struct message *pull) {
  struct message compare;
  uint32_t node = compare_wait(&compare);
  while ((compare.flags & MESSAGE_ENGAGE) == 0) {
    (void)answer(node, &compare, true);
    node = compare_wait(&compare);
  }
  uint8_t bytes[COMPARED_FIXED_BYTES + 4] = {BITS, their_life};
  uint32_t children = (uint32_t)(compare.object.size - COMPARE_FIXED_BYTES - FAMILY_FIXED_BYTES) / 8u;
  assert_true(children <= 32);
  memset(bytes + COMPARED_FIXED_BYTES, 0xff, 4);
  say(node, &(struct message){.type = MESSAGE_COMPARED,
                              .partition = compare.partition,
                              .request = compare.request,
                              .object = {bytes, COMPARED_FIXED_BYTES + (children + 7u) / 8u}});
  assert_non_null(core_sent(node, MESSAGE_PULL));
  *pull = *core_sent(node, MESSAGE_PULL);
  return node;
}

static void what_lies_in_a_gap_here_is_not_told_to_be_dead(void **state) {
  (void)state;
  for (uint32_t gap = 0; gap < 2; gap++) {
    begin();
    struct message pull;
    struct message local = {0};
    uint32_t node = pull_wait(&pull);
    struct blob *key = key_in(pull.partition);
    struct blob *theirs = object_of(NULL, 2, "v");
    uint64_t digest = object_digest(blob_bytes(theirs));
    floor_set(floors, blob_bytes(key), core.hlc.last);
    uint64_t request = list_missing(node, &pull, key, digest, gap != 0);
    say(node, &(struct message){.type = MESSAGE_READ_REPLY,
                                .request = request,
                                .digest = digest,
                                .object = blob_bytes(theirs),
                                .object_blob = theirs});
    if (gap == 0) { /* it is known that there is nothing, and all that is as old is known */
      assert_int_equal(core_sent(node, MESSAGE_BURY)->object.size, 0);
      assert_false(core_local(&local));
    } else {
      assert_null(core_sent(node, MESSAGE_BURY));
      assert_true(core_local(&local));
      assert_int_equal(local.type, MESSAGE_WRITE);
    }
    core_drop_local();
    blob_put(theirs);
    blob_put(key);
    end();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_round_in_which_all_is_equal_is_complete),
      cmocka_unit_test(a_shorter_interval_counts_from_the_last_round_on),
      cmocka_unit_test(what_is_left_is_judged_by_what_has_been_gone_into),
      cmocka_unit_test(an_ask_is_settled_by_a_round_that_began_after_it),
      cmocka_unit_test(a_node_that_is_silent_leaves_the_round_incomplete),
      cmocka_unit_test(a_round_that_can_not_go_on_does_not_keep_the_node_awake),
      cmocka_unit_test(sums_that_are_others_here_are_told),
      cmocka_unit_test(what_is_cut_short_anywhere_is_refused),
      cmocka_unit_test(a_partition_is_compared_key_by_key_by_one_at_a_time),
      cmocka_unit_test(what_lies_in_a_gap_here_is_not_told_to_be_dead),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
