/* Founding and joining (paper §4.8): nodes come in one after the other, none once there is data, and every no says
 * why. */
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
  assert_int_equal(world.queue_count, 1);
  run(SECOND + 1);
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

static void joiners_through_one_seed_come_one_after_the_other(void **state) {
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

static void joiners_through_different_seeds_come_one_after_the_other(void **state) {
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
  assert_non_null(strstr(member_refusal(member_of(0)), "not yet a member"));
}

static void a_joiner_whose_history_was_lost_with_a_crash_is_given_it_again(void **state) {
  (void)state;
  form(7, 2);
  node_crash(1);
  memset(world.nodes[1].meta, 0, sizeof(world.nodes[1].meta));
  node_start(1);
  run(5 * SECOND);
  assert_one_cluster(2);
  assert_int_equal(member_history(member_of(0))->count, 2);
}

static void a_node_with_the_address_of_a_member_but_another_id_is_refused_with_the_remedy(void **state) {
  (void)state;
  form(8, 2);
  node_crash(1);
  memset(world.nodes[1].meta, 0, sizeof(world.nodes[1].meta));
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
  memset(world.nodes[1].meta, 0, sizeof(world.nodes[1].meta));
  world.nodes[1].port += 100;
  node_start(1);
  run(5 * SECOND);
  assert_false(member_is_member(member_of(1)));
  assert_non_null(strstr(member_refusal(member_of(1)), "has this node's id"));
  assert_non_null(strstr(member_refusal(member_of(1)), "empty data directory"));
}

static void no_node_joins_while_a_member_is_down(void **state) {
  (void)state;
  form(10, 3);
  node_crash(2);
  run(3 * SECOND);
  node_add(1);
  run(5 * SECOND);
  assert_false(member_is_member(member_of(3)));
  assert_non_null(strstr(member_refusal(member_of(3)), "node n2 (10.0.0.1:17602) is down"));
  node_start(2);
  run(20 * SECOND);
  assert_one_cluster(4);
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
  static const enum message_type types[] = {MESSAGE_HISTORY, MESSAGE_PROPS, MESSAGE_JOIN, MESSAGE_JOIN_ASK};
  for (uint32_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    struct message message = {.type = types[i], .object = BYTES_LITERAL("rubbish")};
    say_to(0, 1, &message);
    assert_int_equal(world.nodes[0].stats.messages_bad, i + 1);
    assert_int_equal(effects.count, 0);
  }
  uint8_t room[512];
  struct message join = {.type = MESSAGE_JOIN, .object = add_of(77, 1, room, sizeof(room))};
  say_to(0, 1, &join); /* for another than the one who sends it */
  assert_int_equal(world.nodes[0].stats.messages_bad, 5);
  run(2 * SECOND);
  assert_one_cluster(2);
}

/* -- the seal and promises --------------------------------------------------------------- */

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

static void a_cluster_that_holds_data_refuses_a_node_in_words(void **state) {
  (void)state;
  form(23, 2);
  assert_int_equal(admit(0), ERR_RETRY);
  run(SECOND);
  node_add(1);
  run(3 * SECOND);
  assert_false(member_is_member(member_of(2)));
  assert_non_null(strstr(member_refusal(member_of(2)), "already holds data"));
  assert_non_null(strstr(member_refusal(member_of(2)), "before the first write"));
  /* Through a seed that holds none itself, but knows who does. */
  node_add(2);
  run(3 * SECOND);
  assert_non_null(strstr(member_refusal(member_of(3)), "node n0 (10.0.0.1:17600) already holds data"));
  run(20 * SECOND);
  assert_int_equal(member_history(member_of(0))->count, 2);
  assert_int_equal(admit(1), ERR_RETRY); /* nobody is bound by the refused ones */
}

static void a_member_that_has_just_been_sealed_refuses_when_it_is_asked(void **state) {
  (void)state;
  form(24, 3);
  uint8_t room[512];
  WITH(2, member_note_data(node->member, &step)); /* no heartbeat has told of it yet */
  uint32_t ghost = ghost_join(0, room, sizeof(room));
  assert_non_null(sent(1, MESSAGE_JOIN_ASK));
  assert_non_null(sent(2, MESSAGE_JOIN_ASK));
  assert_int_equal(admit(0), ERR_FORMING);
  run(SECOND);
  assert_false(is_in_ring(0, ghost));
  assert_int_equal(admit(0), ERR_RETRY); /* both were released */
  assert_int_equal(admit(1), ERR_RETRY);
}

static struct message ask_of(uint32_t from, uint64_t request, uint8_t *room, size_t room_bytes) {
  return (struct message){.type = MESSAGE_JOIN_ASK,
                          .request = request,
                          .digest = member_ring(member_of(from))->digest,
                          .object = add_of(424242, 9, room, room_bytes)};
}

static void a_promise_holds_writes_until_it_expires(void **state) {
  (void)state;
  form(25, 2);
  uint8_t room[512];
  struct message ask = ask_of(0, 5, room, sizeof(room));
  say_to(1, 0, &ask);
  assert_int_equal(sent(0, MESSAGE_JOIN_ANSWER)->err, ERR_OK);
  assert_int_equal(sent(0, MESSAGE_JOIN_ANSWER)->request, 5);
  assert_int_equal(admit(1), ERR_FORMING);
  run(JOIN_PROMISE_NS - 1);
  assert_int_equal(admit(1), ERR_FORMING);
  run(1);
  assert_int_equal(admit(1), ERR_RETRY);
}

static void a_promise_ends_when_its_seed_releases_it_and_no_other_may(void **state) {
  (void)state;
  form(26, 3);
  uint8_t room[512];
  struct message ask = ask_of(0, 5, room, sizeof(room));
  say_to(1, 0, &ask);
  struct message release = {.type = MESSAGE_JOIN_RESULT, .request = 5, .err = ERR_RETRY};
  say_to(1, 2, &release);
  assert_int_equal(admit(1), ERR_FORMING);
  release.request = 4;
  say_to(1, 0, &release);
  assert_int_equal(admit(1), ERR_FORMING);
  release.request = 5;
  say_to(1, 0, &release);
  assert_int_equal(admit(1), ERR_RETRY);
}

static void a_member_promises_to_one_seed_at_a_time(void **state) {
  (void)state;
  form(27, 3);
  uint8_t room[512];
  struct message ask = ask_of(0, 5, room, sizeof(room));
  say_to(1, 0, &ask);
  say_to(1, 2, &ask);
  assert_int_equal(sent(2, MESSAGE_JOIN_ANSWER)->err, ERR_RETRY);
  assert_true(reason_has(sent(2, MESSAGE_JOIN_ANSWER), "taking in another node"));
  say_to(1, 0, &ask); /* a second copy */
  assert_int_equal(sent(0, MESSAGE_JOIN_ANSWER)->err, ERR_OK);
  ask.request = 4; /* an old copy */
  say_to(1, 0, &ask);
  assert_null(sent(0, MESSAGE_JOIN_ANSWER));
  ask.request = 6; /* it gave up the first and asks anew */
  say_to(1, 0, &ask);
  assert_int_equal(sent(0, MESSAGE_JOIN_ANSWER)->request, 6);
}

static void a_member_that_knows_another_history_promises_nothing(void **state) {
  (void)state;
  form(28, 2);
  uint8_t room[512];
  struct message ask = ask_of(0, 5, room, sizeof(room));
  ask.digest ^= 1;
  say_to(1, 0, &ask);
  assert_int_equal(sent(0, MESSAGE_JOIN_ANSWER)->err, ERR_RETRY);
  assert_non_null(sent(0, MESSAGE_HISTORY));
  assert_int_equal(admit(1), ERR_RETRY); /* the seal's */
}

static void a_restarted_member_that_may_have_promised_waits(void **state) {
  (void)state;
  form(29, 2);
  node_crash(1);
  node_start(1);
  run(SECOND);
  assert_int_equal(admit(1), ERR_FORMING);
  run(JOIN_PROMISE_NS);
  assert_int_equal(admit(1), ERR_RETRY);
}

static void a_seed_gives_up_when_a_member_does_not_answer_in_time(void **state) {
  (void)state;
  form(30, 3);
  uint8_t room[512];
  world.nodes[2].silent = ~0u;
  uint32_t ghost = ghost_join(0, room, sizeof(room));
  assert_int_equal(admit(0), ERR_FORMING);
  run(JOIN_ISSUE_NS + 50 * MS);
  assert_false(is_in_ring(0, ghost));
  assert_int_equal(admit(0), ERR_RETRY);
  assert_int_equal(admit(1), ERR_RETRY);
}

static void an_addition_that_is_not_durable_in_time_is_withdrawn(void **state) {
  (void)state;
  form(31, 2);
  world.nodes[0].commit_least_ns = JOIN_EFFECT_NS;
  node_add(1);
  run(JOIN_EFFECT_NS - SECOND);
  assert_int_equal(admit(0), ERR_FORMING);
  run(1600 * MS);
  assert_int_equal(member_history(member_of(0))->count, 2);
  assert_non_null(strstr(member_refusal(member_of(2)), "could not store the change in time"));
  node_crash(2);
  run(20 * SECOND);
  assert_int_equal(durable_digest(&world.nodes[0]), member_ring(member_of(0))->digest);
  assert_int_equal(member_history(member_of(1))->count, 2);
  world.nodes[0].commit_least_ns = 0;
  node_start(2);
  run(20 * SECOND);
  assert_one_cluster(3);
}

static void an_addition_that_can_not_be_stored_is_withdrawn(void **state) {
  (void)state;
  form(32, 2);
  world.nodes[0].commit_err = ERR_NOSPACE;
  node_add(1);
  run(5 * SECOND);
  assert_false(member_is_member(member_of(2)));
  assert_non_null(strstr(member_refusal(member_of(2)), "could not store a change"));
  world.nodes[0].commit_err = ERR_OK;
  run(20 * SECOND);
  assert_one_cluster(3);
  assert_int_equal(member_history(member_of(0))->count, 3);
}

/* Whoever takes a write knows of every node that was ever added, or ever will be: data never lies where a later ring
 * does not look for it. Nodes come, writes are tried, nodes crash and come back within the time that promises last. */
static void writes_race(uint64_t seed) {
  world_begin(seed);
  world.delay_ns = (1 + prng_below(&world.prng, 50)) * MS;
  world.doubles = 50;
  node_add(0);
  run(SECOND);
  uint32_t writes_from = (uint32_t)prng_below(&world.prng, 60);
  for (uint32_t round = 0; round < 80; round++) {
    run(prng_below(&world.prng, 300) * MS);
    uint32_t target = (uint32_t)prng_below(&world.prng, world.node_count);
    if (world.node_count < 6 && prng_chance(&world.prng, 150)) {
      node_add(1u << target);
    } else if (prng_chance(&world.prng, 30) && target != 0) {
      node_crash(target);
      run(prng_below(&world.prng, 700) * MS);
      node_start(target);
    } else if (round >= writes_from && world.nodes[target].admitted_count == 0 && admit(target) == ERR_OK) {
      world.nodes[target].admitted_count = member_ring(member_of(target))->member_count;
    }
  }
  run(30 * SECOND);
}

static void whoever_takes_a_write_knows_of_every_node_that_is_ever_added(void **state) {
  (void)state;
  uint32_t raced = 0;
  for (uint64_t seed = 1; seed <= 100; seed++) {
    writes_race(seed);
    uint32_t final_count = member_ring(member_of(0))->member_count;
    for (uint32_t i = 0; i < world.node_count; i++) {
      uint32_t at_write = world.nodes[i].admitted_count;
      if (at_write != 0 && at_write != final_count) {
        print_error("seed %llu: node %u took a write among %u members, there are %u\n", (unsigned long long)seed, i,
                    at_write, final_count);
      }
      assert_true(at_write == 0 || at_write == final_count);
      raced += at_write > 1 && final_count < world.node_count ? 1u : 0u;
    }
  }
  assert_true(raced > 0); /* in some runs a write shut the door before all were in */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_node_without_seeds_founds_a_cluster_once_that_is_durable),
      cmocka_unit_test(a_founder_whose_disk_is_full_founds_when_there_is_room),
      cmocka_unit_test(three_nodes_started_together_are_one_cluster_within_a_few_seconds),
      cmocka_unit_test(nodes_that_start_scattered_through_any_seeds_converge_to_one_history),
      cmocka_unit_test(joiners_through_one_seed_come_one_after_the_other),
      cmocka_unit_test(joiners_through_different_seeds_come_one_after_the_other),
      cmocka_unit_test(a_seed_that_is_itself_not_yet_a_member_says_so),
      cmocka_unit_test(a_joiner_whose_history_was_lost_with_a_crash_is_given_it_again),
      cmocka_unit_test(a_node_with_the_address_of_a_member_but_another_id_is_refused_with_the_remedy),
      cmocka_unit_test(a_node_with_the_id_of_a_member_but_another_address_is_refused_with_the_remedy),
      cmocka_unit_test(no_node_joins_while_a_member_is_down),
      cmocka_unit_test(two_clusters_never_merge),
      cmocka_unit_test(a_history_from_one_who_is_no_member_is_ignored),
      cmocka_unit_test(damaged_messages_are_counted_and_change_nothing),
      cmocka_unit_test(the_first_write_waits_for_the_seal_to_be_durable),
      cmocka_unit_test(a_seal_that_does_not_fit_on_the_disk_refuses_writes_until_it_does),
      cmocka_unit_test(a_peers_write_seals_too),
      cmocka_unit_test(a_cluster_that_holds_data_refuses_a_node_in_words),
      cmocka_unit_test(a_member_that_has_just_been_sealed_refuses_when_it_is_asked),
      cmocka_unit_test(a_promise_holds_writes_until_it_expires),
      cmocka_unit_test(a_promise_ends_when_its_seed_releases_it_and_no_other_may),
      cmocka_unit_test(a_member_promises_to_one_seed_at_a_time),
      cmocka_unit_test(a_member_that_knows_another_history_promises_nothing),
      cmocka_unit_test(a_restarted_member_that_may_have_promised_waits),
      cmocka_unit_test(a_seed_gives_up_when_a_member_does_not_answer_in_time),
      cmocka_unit_test(an_addition_that_is_not_durable_in_time_is_withdrawn),
      cmocka_unit_test(an_addition_that_can_not_be_stored_is_withdrawn),
      cmocka_unit_test(whoever_takes_a_write_knows_of_every_node_that_is_ever_added),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
