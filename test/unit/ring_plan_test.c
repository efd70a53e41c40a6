/* Two rings compared: what moves, the least that would have to, and what the new one is like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "ring/plan.h"

static struct history history;
static struct ring before;
static struct ring after;
static struct ring_moves moves;

/* -- rings written by hand: 8 partitions, nodes 10, 11, ... ------------------------ */

static void write_ring(struct ring *ring, const uint16_t owners[8], const uint16_t *zones, uint32_t member_count,
                       uint32_t zone_count) {
  memset(ring, 0, sizeof(*ring));
  ring->partition_count = 8;
  ring->member_count = member_count;
  ring->zone_count = zone_count;
  for (uint32_t i = 0; i < member_count; i++) {
    ring->members[i].node = 10 + i;
    ring->members[i].weight = 1;
    ring->members[i].zone = zones[i];
  }
  for (uint32_t p = 0; p < 8; p++) {
    ring->owners[p] = owners[p];
    ring->members[owners[p]].owned++;
  }
}

static const uint16_t one_zone[6] = {0, 0, 0, 0, 0, 0};

static void a_ring_compared_with_itself_moves_nothing(void **state) {
  (void)state;
  const uint16_t owners[8] = {0, 1, 2, 3, 0, 1, 2, 3};
  write_ring(&before, owners, one_zone, 4, 1);
  ring_compare(&before, &before, 3, &moves);
  assert_int_equal(moves.replicas_moved, 0);
  assert_int_equal(moves.optimum, 0);
  assert_int_equal(moves.node_clashes + moves.zone_clashes + moves.detours, 0);
  assert_int_equal(moves.balance_before, 1000);
  assert_int_equal(moves.balance_after, 1000);
}

static void a_partition_given_moves_a_replica_for_each_list_that_it_is_in(void **state) {
  (void)state;
  const uint16_t old[8] = {0, 1, 2, 3, 0, 1, 2, 3};
  const uint16_t new[8] = {0, 1, 2, 3, 4, 1, 2, 3};
  write_ring(&before, old, one_zone, 4, 1);
  write_ring(&after, new, one_zone, 5, 1);
  /* Partition 4, and as successors 3 and 2, go from node 10 to node 14. */
  ring_compare(&before, &after, 3, &moves);
  assert_int_equal(moves.replicas_moved, 3);
  assert_int_equal(moves.gains[4], 3);
  assert_int_equal(moves.losses[0], 3);
  for (uint32_t i = 1; i < 4; i++) {
    assert_int_equal(moves.gains[i] + moves.losses[i], 0);
  }
  /* A fifth of 8 is 1.6: one partition is enough for it. */
  assert_int_equal(moves.optimum, 3);
  assert_int_equal(moves.balance_before, 1000);
  assert_int_equal(moves.balance_after, 1250);
  ring_compare(&before, &after, 1, &moves);
  assert_int_equal(moves.replicas_moved, 1);
  assert_int_equal(moves.optimum, 1);
}

static void an_exchange_is_more_than_the_optimum(void **state) {
  (void)state;
  const uint16_t old[8] = {0, 1, 2, 3, 0, 1, 2, 3};
  const uint16_t new[8] = {1, 0, 2, 3, 0, 1, 2, 3};
  write_ring(&before, old, one_zone, 4, 1);
  write_ring(&after, new, one_zone, 4, 1);
  ring_compare(&before, &after, 1, &moves);
  assert_int_equal(moves.replicas_moved, 2);
  assert_int_equal(moves.gains[0], 1);
  assert_int_equal(moves.gains[1], 1);
  assert_int_equal(moves.losses[0], 1);
  assert_int_equal(moves.losses[1], 1);
  assert_int_equal(moves.optimum, 0);
}

static void a_node_met_twice_is_a_detour(void **state) {
  (void)state;
  const uint16_t owners[8] = {0, 1, 0, 2, 3, 1, 2, 3};
  write_ring(&after, owners, one_zone, 4, 1);
  ring_compare(&after, &after, 3, &moves);
  /* Only from partition 0 the next three owners are not three nodes. */
  assert_int_equal(moves.detours, 1);
  assert_int_equal(moves.node_clashes, 0);
}

static void a_zone_met_twice_is_a_detour_and_no_clash(void **state) {
  (void)state;
  const uint16_t owners[8] = {0, 1, 2, 3, 4, 5, 1, 2};
  const uint16_t zones[6] = {0, 1, 2, 2, 1, 0};
  write_ring(&after, owners, zones, 6, 3);
  ring_compare(&after, &after, 3, &moves);
  /* Zones 0 1 2 2 1 0 1 2: from 1, 2 and 4 a zone repeats within three, from the others none does. */
  assert_int_equal(moves.detours, 3);
  assert_int_equal(moves.zone_clashes, 0);
  /* With fewer zones than replicas they are no measure. */
  ring_compare(&after, &after, 4, &moves);
  assert_int_equal(moves.detours, 0);
  assert_int_equal(moves.zone_clashes, 0);
}

static void fewer_members_than_replicas_clash_everywhere(void **state) {
  (void)state;
  const uint16_t owners[8] = {0, 1, 0, 1, 0, 1, 0, 1};
  write_ring(&before, owners, one_zone, 2, 1);
  ring_compare(&before, &before, 3, &moves);
  assert_int_equal(moves.node_clashes, 8);
  ring_compare(&before, &before, 2, &moves);
  assert_int_equal(moves.node_clashes, 0);
}

static void balance_is_by_weight(void **state) {
  (void)state;
  const uint16_t owners[8] = {0, 1, 0, 2, 0, 3, 0, 1};
  write_ring(&after, owners, one_zone, 4, 1);
  /* 4, 2, 1, 1 of 8. */
  assert_int_equal(ring_balance(&after), 2000);
  after.members[0].weight = 4;
  after.members[1].weight = 2;
  assert_int_equal(ring_balance(&after), 1000);
  after.members[0].weight = 40;
  after.members[1].weight = 20;
  after.members[2].weight = 10;
  assert_int_equal(ring_balance(&after), 8875); /* node 13 owns 1 where a 71st of 8 is due */
}

/* -- rings as they are folded ------------------------------------------------------ */

static void append(enum change_kind kind, uint32_t node, uint32_t weight, uint32_t old) {
  struct change change;
  memset(&change, 0, sizeof(change));
  change.time = history.count + 1;
  change.issuer = 1;
  change.kind = kind;
  change.node = node;
  change.weight = weight;
  change.partition_count = kind == CHANGE_FOUND ? 1024 : 0;
  change.old = old;
  assert_int_equal(history_add(&history, &change), ERR_OK);
}

static void found_ten(void) {
  history_init(&history);
  append(CHANGE_FOUND, 1, 1, 0);
  for (uint32_t node = 2; node <= 10; node++) {
    append(CHANGE_ADD, node, 1, 0);
  }
  ring_fold(&before, &history);
}

static void an_addition_gives_the_newcomer_its_share_of_each_replica(void **state) {
  (void)state;
  found_ten();
  append(CHANGE_ADD, 11, 1, 0);
  ring_fold(&after, &history);
  ring_compare(&before, &after, 3, &moves);
  assert_int_equal(moves.gains[10], 3 * after.members[10].owned);
  assert_int_equal(moves.replicas_moved, moves.gains[10]);
  assert_in_range(moves.optimum, 3 * 93, 3 * 94);
  assert_in_range(moves.balance_after, 1001, 1020);
}

static void a_removal_moves_what_the_one_who_leaves_had(void **state) {
  (void)state;
  found_ten();
  append(CHANGE_REMOVE, 4, 0, 0);
  ring_fold(&after, &history);
  ring_compare(&before, &after, 3, &moves);
  assert_int_equal(moves.losses[3], 3 * before.members[3].owned);
  assert_int_equal(moves.optimum, 3 * before.members[3].owned);
  assert_in_range(moves.replicas_moved, moves.optimum, moves.optimum + moves.optimum / 50);
}

static void a_replacement_moves_what_the_old_one_had(void **state) {
  (void)state;
  found_ten();
  append(CHANGE_REPLACE, 99, 1, 4);
  ring_fold(&after, &history);
  ring_compare(&before, &after, 3, &moves);
  assert_int_equal(moves.replicas_moved, 3 * before.members[3].owned);
  assert_int_equal(moves.gains[9], moves.replicas_moved);
  assert_int_equal(moves.losses[3], moves.replicas_moved);
  assert_int_equal(moves.optimum, moves.replicas_moved);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_ring_compared_with_itself_moves_nothing),
      cmocka_unit_test(a_partition_given_moves_a_replica_for_each_list_that_it_is_in),
      cmocka_unit_test(an_exchange_is_more_than_the_optimum),
      cmocka_unit_test(a_node_met_twice_is_a_detour),
      cmocka_unit_test(a_zone_met_twice_is_a_detour_and_no_clash),
      cmocka_unit_test(fewer_members_than_replicas_clash_everywhere),
      cmocka_unit_test(balance_is_by_weight),
      cmocka_unit_test(an_addition_gives_the_newcomer_its_share_of_each_replica),
      cmocka_unit_test(a_removal_moves_what_the_one_who_leaves_had),
      cmocka_unit_test(a_replacement_moves_what_the_old_one_had),
  };
  return cmocka_run_group_tests_name("ring plan", tests, NULL, NULL);
}
