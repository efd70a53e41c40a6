/* Founding and joining (paper §4.8): while there is no data nodes come in by themselves, then they wait to be added;
 * and every no says why. */
#include "support/member_world.h"

/* -- founding and joining ---------------------------------------------------------------- */

static void a_node_without_seeds_founds_a_cluster_once_that_is_durable(void **state) {
  (void)state;
  world_begin(1);
  uint32_t node_0 = node_add(0);
  world.nodes[node_0].commit_ns = SECOND;
  assert_int_equal(admit(node_0), ERR_NOTMEMBER);
  run(1);
  assert_false(member_is_member(member_of(node_0)));
  assert_int_equal(world.queue_count, 1); /* first that there is no base, then the history, then that it is the base */
  assert_int_equal(durable_digest(&world.nodes[node_0]), 0);
  run(3 * SECOND + 1);
  assert_true(member_is_member(member_of(node_0)));
  assert_int_equal(member_ring(member_of(node_0))->member_count, 1);
  assert_int_equal(member_ring(member_of(node_0))->partition_count, 64);
  uint64_t digest = member_ring(member_of(node_0))->digest;
  node_crash(node_0);
  node_start(node_0);
  run(5 * SECOND);
  assert_true(member_is_member(member_of(node_0)));
  assert_int_equal(member_ring(member_of(node_0))->digest, digest);
}

static void a_founder_whose_disk_is_full_founds_when_there_is_room(void **state) {
  (void)state;
  world_begin(2);
  node_add(0);
  world.nodes[0].commit_err = ERR_NOSPACE;
  run(10 * SECOND);
  assert_false(member_is_member(member_of(0)));
  assert_true(world.nodes[0].stats.store_errors > 0);
  world.nodes[0].commit_err = ERR_OK;
  run(3 * SECOND);
  assert_true(member_is_member(member_of(0)));
}

static void three_nodes_started_together_are_one_cluster_within_a_few_seconds(void **state) {
  (void)state;
  world_begin(3);
  node_add(0);
  node_add(1);
  node_add(1);
  run(5 * SECOND);
  assert_one_cluster(3);
}

/* Nodes start at scattered times, through whichever seeds; messages are lost and doubled. */
static void scatter(uint64_t seed, uint32_t count, uint32_t loss) {
  world_begin(seed);
  world.loss = loss;
  world.doubles = loss;
  world.delay_ns = (1 + prng_below(&world.prng, 100)) * MS;
  node_add(0);
  for (uint32_t i = 1; i < count; i++) {
    uint32_t seeds = 1u << prng_below(&world.prng, i);
    seeds |= 1u << prng_below(&world.prng, i);
    run(prng_below(&world.prng, 2 * SECOND));
    node_add(seeds);
  }
  run(120 * SECOND);
  world.loss = 0;
  run(10 * SECOND);
  assert_one_cluster(count);
}

static void nodes_that_start_scattered_through_any_seeds_converge_to_one_history(void **state) {
  (void)state;
  for (uint32_t count = 2; count <= NODES_MAX; count++) {
    for (uint64_t round = 0; round < 4; round++) {
      scatter(UINT64_C(100) * count + round, count, round % 2 == 0 ? 0 : 100);
    }
  }
}

static void joiners_through_one_seed_all_come_in(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    world_begin(5000 + seed);
    node_add(0);
    run(SECOND);
    node_add(1);
    node_add(1);
    node_add(1);
    run(15 * SECOND);
    assert_one_cluster(4);
  }
}

static void joiners_through_different_seeds_all_come_in(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form(5100 + seed, 3);
    for (uint32_t i = 0; i < 3; i++) {
      node_add(1u << i);
    }
    run(30 * SECOND);
    assert_one_cluster(6);
  }
}

static void a_seed_that_is_itself_not_yet_a_member_says_so(void **state) {
  (void)state;
  world_begin(6);
  node_add(2); /* its only seed is the other one, and the other way round */
  node_add(1);
  run(5 * SECOND);
  assert_false(member_is_member(member_of(0)));
  assert_non_null(member_refusal(member_of(0)));
  assert_non_null(strstr(member_refusal(member_of(0)), "does not serve yet"));
}

static void a_joiner_whose_history_was_lost_with_a_crash_is_given_it_again(void **state) {
  (void)state;
  form(7, 2);
  node_crash(1);
  node_empty(1);
  node_start(1);
  run(5 * SECOND);
  assert_one_cluster(2);
  assert_int_equal(history_length(member_history(member_of(0))), 2);
}

static void a_node_with_the_address_of_a_member_but_another_id_is_refused_with_the_remedy(void **state) {
  (void)state;
  form(8, 2);
  node_crash(1);
  node_empty(1);
  world.nodes[1].id += 5000;
  node_start(1);
  run(5 * SECOND);
  assert_false(member_is_member(member_of(1)));
  assert_non_null(strstr(member_refusal(member_of(1)), "10.0.0.1:17601"));
  assert_non_null(strstr(member_refusal(member_of(1)), "old data directory back"));
}

static void a_node_with_the_id_of_a_member_but_another_address_is_refused_with_the_remedy(void **state) {
  (void)state;
  form(9, 2);
  node_crash(1);
  node_empty(1);
  world.nodes[1].port += 100;
  node_start(1);
  run(5 * SECOND);
  assert_false(member_is_member(member_of(1)));
  assert_non_null(strstr(member_refusal(member_of(1)), "has this node's id"));
  assert_non_null(strstr(member_refusal(member_of(1)), "empty data directory"));
}

static void two_clusters_never_merge(void **state) {
  (void)state;
  world_begin(11);
  node_add(0);
  node_add(0);
  run(2 * SECOND);
  link_set(0, 1, true);
  struct message gossip = {.type = MESSAGE_GOSSIP,
                           .gossip = {.history_digest = member_ring(member_of(1))->digest, .props_digest = 0}};
  say_to(0, 1, &gossip);
  assert_non_null(sent(1, MESSAGE_HISTORY));
  run(10 * SECOND);
  assert_true(world.nodes[1].stats.messages_bad > 0);
  for (uint32_t i = 0; i < 2; i++) {
    uint32_t foreigner = 0;
    assert_int_equal(member_foreigners(member_of(i), &foreigner), 1); /* told once, however often it is heard */
    assert_int_equal(foreigner, world.nodes[1 - i].id);
  }
  assert_int_equal(member_ring(member_of(0))->member_count, 1);
  assert_int_equal(member_ring(member_of(1))->member_count, 1);
}

static void a_history_from_one_who_is_no_member_is_ignored(void **state) {
  (void)state;
  form(12, 2);
  node_add(0); /* a founder of its own; its id is not in the history that it will send */
  struct bytes ours = {world.nodes[0].meta[NAME_HISTORY].data, world.nodes[0].meta[NAME_HISTORY].size};
  struct message message = {.type = MESSAGE_HISTORY, .flags = MESSAGE_WANT, .object = ours};
  say_to(1, 2, &message);
  assert_int_equal(effects.count, 0);
  assert_int_equal(world.nodes[1].stats.messages_bad, 0);
}

static void damaged_messages_are_counted_and_change_nothing(void **state) {
  (void)state;
  form(13, 2);
  static const enum message_type types[] = {MESSAGE_HISTORY, MESSAGE_PROPS, MESSAGE_JOIN};
  for (uint32_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    struct message message = {.type = types[i], .object = BYTES_LITERAL("rubbish")};
    say_to(0, 1, &message);
    assert_int_equal(world.nodes[0].stats.messages_bad, i + 1);
    assert_int_equal(effects.count, 0);
  }

  run(2 * SECOND);
  assert_one_cluster(2);
}

static void a_seed_adds_nobody_before_it_has_heard_from_every_member(void **state) {
  (void)state;
  form(14, 3);
  node_crash(0);
  node_crash(2);
  node_start(0); /* it can not know whether node 2 holds data */
  run(SECOND);
  uint32_t spare = node_add(1);
  run(3 * SECOND);
  assert_false(is_in_ring(0, spare));
  assert_non_null(strstr(member_refusal(member_of(spare)), "node n2 (10.0.0.1:17602) has not been heard of yet"));
  node_start(2);
  run(20 * SECOND);
  assert_one_cluster(4);
}

static void an_addition_that_can_not_be_stored_is_tried_again(void **state) {
  (void)state;
  form(15, 2);
  world.nodes[0].commit_err = ERR_NOSPACE;
  node_add(1);
  run(5 * SECOND);
  assert_false(member_is_member(member_of(2)));
  assert_non_null(strstr(member_refusal(member_of(2)), "could not store a change"));
  world.nodes[0].commit_err = ERR_OK;
  run(20 * SECOND);
  assert_one_cluster(3);
  assert_int_equal(history_length(member_history(member_of(0))), 3);
}

/* -- the seal ---------------------------------------------------------------------------- */

static void the_first_write_waits_for_the_seal_to_be_durable(void **state) {
  (void)state;
  form(20, 1);
  assert_int_equal(admit(0), ERR_RETRY);
  assert_int_equal(admit(0), ERR_RETRY);
  assert_int_equal(world.nodes[0].meta[NAME_SEALED].size, 0);
  run(SECOND);
  assert_int_equal(admit(0), ERR_OK);
  assert_true(world.nodes[0].meta[NAME_SEALED].size > 0);
  node_crash(0);
  node_start(0);
  assert_true(member_is_sealed(member_of(0)));
  assert_int_equal(admit(0), ERR_OK);
}

static void a_seal_that_does_not_fit_on_the_disk_refuses_writes_until_it_does(void **state) {
  (void)state;
  form(21, 1);
  world.nodes[0].commit_err = ERR_NOSPACE;
  assert_int_equal(admit(0), ERR_RETRY);
  run(100 * MS);
  assert_int_equal(admit(0), ERR_NOSPACE);
  assert_int_equal(admit(0), ERR_NOSPACE);
  assert_true(member_is_sealed(member_of(0))); /* a write may have slipped in: no node joins */
  world.nodes[0].commit_err = ERR_OK;
  run(2 * SECOND);
  assert_int_equal(admit(0), ERR_OK);
}

static void a_peers_write_seals_too(void **state) {
  (void)state;
  form(22, 2);
  WITH(1, member_note_data(node->member, &step));
  WITH(1, member_note_data(node->member, &step));
  assert_true(member_is_sealed(member_of(1)));
  run(SECOND);
  assert_int_equal(admit(1), ERR_OK);
  assert_false(member_is_sealed(member_of(0)));
}

static void nobody_comes_in_by_himself_once_there_is_data(void **state) {
  (void)state;
  form(23, 2);
  assert_int_equal(admit(0), ERR_RETRY);
  run(SECOND);
  node_add(1);
  node_add(2); /* through a seed that holds none itself, but knows who does */
  run(5 * SECOND);
  for (uint32_t i = 2; i < 4; i++) {
    assert_false(member_is_member(member_of(i)));
    assert_non_null(strstr(member_refusal(member_of(i)), "waits to be added"));
  }
  assert_int_equal(history_length(member_history(member_of(0))), 2);
  assert_int_equal(admit(1), ERR_RETRY); /* nobody is held up by them */
}

/* A node that took a write is in every later layout's base, or was copied from: what matters is that its write and the
 * nodes that come in meanwhile hold nothing up, and that whoever asks before there is data is let in or told. */
static void writes_that_race_with_joiners_are_taken_and_the_cluster_settles(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 40; seed++) {
    world_begin(600 + seed);
    world.delay_ns = (1 + prng_below(&world.prng, 50)) * MS;
    world.doubles = 50;
    node_add(0);
    run(SECOND);
    for (uint32_t round = 0; round < 40; round++) {
      run(prng_below(&world.prng, 300) * MS);
      uint32_t target = (uint32_t)prng_below(&world.prng, world.node_count);
      if (world.node_count < 6 && prng_chance(&world.prng, 250)) {
        node_add(1u << target);
      } else if (prng_chance(&world.prng, 30) && target != 0) {
        node_crash(target);
        run(prng_below(&world.prng, 700) * MS);
        node_start(target);
      } else if (round > 10 && member_is_member(member_of(target))) {
        enum err err = admit(target);
        assert_true(err == ERR_OK || err == ERR_RETRY);
      }
    }
    run(20 * SECOND);
    for (uint32_t i = 0; i < world.node_count; i++) {
      struct layout_view view = layout_of(i);
      if (member_is_member(member_of(i))) {
        assert_int_equal(view.mark.phase, MARK_DONE);
        assert_int_equal(view.history_digest, layout_of(0).history_digest);
        assert_false(view.moving || view.behind);
      } else {
        assert_non_null(member_refusal(member_of(i)));
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_node_without_seeds_founds_a_cluster_once_that_is_durable),
      cmocka_unit_test(a_founder_whose_disk_is_full_founds_when_there_is_room),
      cmocka_unit_test(three_nodes_started_together_are_one_cluster_within_a_few_seconds),
      cmocka_unit_test(nodes_that_start_scattered_through_any_seeds_converge_to_one_history),
      cmocka_unit_test(joiners_through_one_seed_all_come_in),
      cmocka_unit_test(joiners_through_different_seeds_all_come_in),
      cmocka_unit_test(a_seed_that_is_itself_not_yet_a_member_says_so),
      cmocka_unit_test(a_joiner_whose_history_was_lost_with_a_crash_is_given_it_again),
      cmocka_unit_test(a_node_with_the_address_of_a_member_but_another_id_is_refused_with_the_remedy),
      cmocka_unit_test(a_node_with_the_id_of_a_member_but_another_address_is_refused_with_the_remedy),
      cmocka_unit_test(two_clusters_never_merge),
      cmocka_unit_test(a_history_from_one_who_is_no_member_is_ignored),
      cmocka_unit_test(damaged_messages_are_counted_and_change_nothing),
      cmocka_unit_test(a_seed_adds_nobody_before_it_has_heard_from_every_member),
      cmocka_unit_test(an_addition_that_can_not_be_stored_is_tried_again),
      cmocka_unit_test(nobody_comes_in_by_himself_once_there_is_data),
      cmocka_unit_test(writes_that_race_with_joiners_are_taken_and_the_cluster_settles),
      cmocka_unit_test(the_first_write_waits_for_the_seal_to_be_durable),
      cmocka_unit_test(a_seal_that_does_not_fit_on_the_disk_refuses_writes_until_it_does),
      cmocka_unit_test(a_peers_write_seals_too),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
