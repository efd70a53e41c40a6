/* Failure detection and gossip (paper §4.8.1, §4.8.3). */
#include "support/member_world.h"

/* -- failure detection ------------------------------------------------------------------- */

static void a_silent_member_is_down_though_its_connection_stands(void **state) {
  (void)state;
  form(40, 3);
  world.nodes[1].silent = 1u << 0;
  run(PEER_TIMEOUT - 300 * MS);
  assert_true(sees_up(0, 1));
  run(600 * MS);
  assert_false(sees_up(0, 1));
  assert_true(sees_up(2, 1));
  world.nodes[1].silent = 0;
  run(300 * MS);
  assert_true(sees_up(0, 1));
}

static void a_member_whose_connection_is_gone_is_down_at_once(void **state) {
  (void)state;
  form(41, 2);
  cut_set(0, 1, true);
  assert_false(sees_up(0, 1));
  assert_false(sees_up(1, 0));
  assert_true(sees_up(0, 0));
  cut_set(0, 1, false);
  run(SECOND);
  assert_true(sees_up(0, 1));
}

static void a_node_that_was_late_itself_doubts_itself_first(void **state) {
  (void)state;
  form(42, 3);
  world.nodes[0].paused_until_ns = world.now_ns + 10 * SECOND;
  run(3 * SECOND);
  assert_false(sees_up(1, 0));
  run(7 * SECOND + 1);
  /* The first that it does after its pause is to tick, and it still believes in the others. */
  assert_true(sees_up(0, 1));
  assert_true(sees_up(0, 2));
  run(SECOND);
  assert_true(sees_up(0, 1));
  assert_true(sees_up(1, 0));
}

/* How late node 0 finds a message that node 1 sent so long ago. */
static uint32_t lag_of(uint32_t age_ms) {
  uint32_t lag_ms = 0;
  uint32_t from = world.nodes[1].id;
  struct message message = {.type = MESSAGE_HEARTBEAT, .sent_ms = (uint32_t)(world.now_ns / MS) - age_ms};
  WITH(0, {
    member_heard(node->member, &step, from, &message);
    lag_ms = step.lag_ms;
  });
  return lag_ms;
}

static void a_message_is_late_against_the_quickest_of_its_sender(void **state) {
  (void)state;
  form(44, 2);
  run(3 * SECOND);
  assert_in_range(lag_of(5000), 4900, 5000);
  assert_in_range(lag_of(0), 0, 40);
  /* What was known before a long pause of our own still counts after it. */
  world.now_ns += 300 * SECOND;
  assert_in_range(lag_of(100000), 99900, 100000);
  assert_in_range(lag_of(100000), 99900, 100000);
}

static void a_late_tick_forgives_only_as_much_as_it_was_late(void **state) {
  (void)state;
  form(43, 2);
  world.nodes[1].silent = 1u << 0;
  run(600 * MS);
  world.nodes[0].paused_until_ns = world.now_ns + 1200 * MS;
  run(1200 * MS + 1);
  assert_true(sees_up(0, 1)); /* silent for longer than the timeout, but most of that was our own deafness */
  run(SECOND);
  assert_false(sees_up(0, 1));
}

static void heartbeats_tell_what_a_member_has_to_say_of_itself(void **state) {
  (void)state;
  form(44, 2);
  world.nodes[1].health =
      (struct heartbeat){.hints = 7, .oldest_hint_ms = 1234, .keys = 99, .nospace = 1, .held_back = 400};
  assert_int_equal(admit(1), ERR_RETRY);
  run(SECOND);
  struct member_view views[4];
  assert_int_equal(member_list(member_of(0), views, 4), 2);
  uint32_t other = views[0].self ? 1 : 0;
  assert_true(views[0].node < views[1].node);
  assert_int_equal(views[other].node, world.nodes[1].id);
  assert_true(views[other].up);
  assert_int_equal(views[other].heartbeat.hints, 7);
  assert_int_equal(views[other].heartbeat.keys, 99);
  assert_int_equal(views[other].heartbeat.sealed, 1);
  assert_int_equal(views[other].heartbeat.nospace, 1);
  assert_true(world.now_ns - views[other].last_heard_ns < 300 * MS);
  assert_int_equal(views[1 - other].heartbeat.sealed, 0);
  struct step step = {.self = world.nodes[0].id};
  member_view(member_of(0), &step);
  assert_int_equal(step.held_back[ring_find(step.ring, world.nodes[1].id)], 400);
  assert_int_equal(step.held_back[ring_find(step.ring, world.nodes[0].id)], 0);
  assert_int_equal(member_list(member_of(0), views, 1), 2);
}

static void strangers_come_and_go_without_number(void **state) {
  (void)state;
  form(45, 2);
  for (uint32_t i = 0; i < 3 * PEERS_MAX; i++) {
    WITH(0, member_peer_up(node->member, &step, 50000000 + i));
    if (i >= 2 * PEERS_MAX) {
      WITH(0, member_peer_down(node->member, &step, 50000000 + i));
    }
  }
  for (uint32_t i = 0; i < 2 * PEERS_MAX; i++) {
    WITH(0, member_peer_down(node->member, &step, 50000000 + i));
  }
  node_add(1);
  run(5 * SECOND);
  assert_one_cluster(3);
}

/* -- gossip ------------------------------------------------------------------------------ */

static enum err set_bucket(uint32_t index, const char *name, uint8_t n) {
  struct bucket_props props = bucket_props_default();
  enum err err = ERR_OK;
  props.n = n;
  props.r = 1;
  props.w = 1;
  struct bytes bytes = {(const uint8_t *)name, strlen(name)};
  WITH(index, err = member_set_bucket(node->member, &step, bytes, &props));
  return err;
}

static uint8_t bucket_n(uint32_t index, const char *name) {
  struct bytes bytes = {(const uint8_t *)name, strlen(name)};
  return bucket_find(member_buckets(member_of(index)), bytes).n;
}

static void bucket_properties_reach_every_member_and_survive_a_restart(void **state) {
  (void)state;
  form(50, 4);
  assert_int_equal(set_bucket(1, "cart", 5), ERR_OK);
  assert_int_equal(bucket_n(1, "cart"), 5);
  run(100 * MS);
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(bucket_n(i, "cart"), 5);
  }
  assert_int_equal(set_bucket(2, "cart", 1), ERR_OK);
  assert_int_equal(set_bucket(2, "", 1), ERR_BADARG);
  assert_int_equal(set_bucket(2, "a:b", 1), ERR_BADARG);
  run(100 * MS);
  for (uint32_t i = 0; i < 4; i++) {
    node_crash(i);
  }
  for (uint32_t i = 0; i < 4; i++) {
    node_start(i);
    assert_int_equal(bucket_n(i, "cart"), 1);
  }
}

/* It is written to for some seconds, so that its mark rises, and is told. */
static void write_for_a_while(uint32_t index) {
  for (uint32_t i = 0; i < 10; i++) {
    struct version_stats version_stats = {0};
    struct step step = step_of(&world.nodes[index], &version_stats);
    member_note_data(member_of(index), &step);
    perform(index);
    run(SECOND);
  }
}

static void who_starts_again_does_not_take_what_others_wrote_meanwhile_for_lost(void **state) {
  (void)state;
  form(54, 3);
  write_for_a_while(0);
  uint64_t wrote = member_wrote(member_of(0));
  assert_true(wrote > 0);
  node_crash(1);
  node_start(1);
  run(5 * SECOND);
  assert_int_equal(member_loss(member_of(0)), LOSS_NONE);
  /* The other way around it has: the directory of then, and one who knows better. */
  struct meta old = world.nodes[0].meta[NAME_WROTE];
  write_for_a_while(0);
  assert_true(member_wrote(member_of(0)) > wrote);
  node_crash(0);
  node_crash(1);
  world.nodes[0].meta[NAME_WROTE] = old;
  world.nodes[0].lacks = true; /* what it has lost */
  node_start(0);
  node_start(1);
  run(5 * SECOND);
  assert_int_equal(member_loss(member_of(0)), LOSS_OLD);
  assert_int_equal(member_loss(member_of(1)), LOSS_NONE);
}

static void a_node_that_joins_learns_the_bucket_properties_before_it_serves(void **state) {
  (void)state;
  form(51, 1);
  assert_int_equal(set_bucket(0, "cart", 7), ERR_OK);
  run(SECOND);
  node_add(1);
  for (uint32_t i = 0; i < 10000 && !member_is_member(member_of(1)); i++) {
    run(MS);
  }
  assert_true(member_is_member(member_of(1)));
  assert_int_equal(bucket_n(1, "cart"), 7);
}

/* It coordinated by the default quorums, and acknowledged with fewer copies than the bucket says. */
static void a_member_that_has_lost_its_directory_serves_nobody_before_it_knows_the_buckets(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form(80 + seed, 3);
    assert_int_equal(set_bucket(0, "cart", 7), ERR_OK);
    run(5 * SECOND);
    node_crash(2);
    node_empty(2);
    node_start(2);
    assert_false(member_is_member(member_of(2)));
    for (uint32_t i = 0; i < 10000 && !member_is_member(member_of(2)); i++) {
      run(MS);
    }
    assert_true(member_is_member(member_of(2)));
    assert_int_equal(bucket_n(2, "cart"), 7);
  }
}

static void what_was_set_on_both_sides_of_a_partition_is_everywhere_after_it(void **state) {
  (void)state;
  form(52, 4);
  for (uint32_t a = 0; a < 2; a++) {
    for (uint32_t b = 2; b < 4; b++) {
      cut_set(a, b, true);
    }
  }
  assert_int_equal(set_bucket(0, "left", 1), ERR_OK);
  assert_int_equal(set_bucket(2, "right", 2), ERR_OK);
  assert_int_equal(set_bucket(0, "both", 3), ERR_OK);
  run(SECOND);
  assert_int_equal(set_bucket(3, "both", 4), ERR_OK);
  run(10 * SECOND);
  assert_int_equal(bucket_n(1, "left"), 1);
  assert_int_equal(bucket_n(1, "both"), 3);
  assert_int_equal(bucket_n(3, "left"), 3); /* the default */
  assert_int_equal(bucket_n(2, "both"), 4);
  for (uint32_t a = 0; a < 2; a++) {
    for (uint32_t b = 2; b < 4; b++) {
      cut_set(a, b, false);
    }
  }
  run(20 * SECOND);
  assert_one_cluster(4);
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(bucket_n(i, "left"), 1);
    assert_int_equal(bucket_n(i, "right"), 2);
    assert_int_equal(bucket_n(i, "both"), 4);
  }
}

static void a_member_that_missed_an_addition_learns_it_by_gossip(void **state) {
  (void)state;
  form(53, 3);
  uint8_t room[512];
  world.nodes[0].commit_least_ns = 200 * MS;
  uint32_t ghost = ghost_join(0, room, sizeof(room));
  run(60 * MS); /* it is being stored */
  cut_set(2, 0, true);
  cut_set(2, 1, true);
  run(SECOND);
  bool missed = is_in_ring(0, ghost) && !is_in_ring(2, ghost);
  cut_set(2, 0, false);
  cut_set(2, 1, false);
  run(10 * SECOND);
  assert_true(missed);
  assert_true(is_in_ring(1, ghost));
  assert_true(is_in_ring(2, ghost));
}

static void a_quiet_cluster_sends_digests_only(void **state) {
  (void)state;
  form(54, 3);
  run(5 * SECOND);
  for (uint32_t i = 0; i < 2000; i++) {
    run(2 * MS);
    for (uint32_t q = 0; q < world.queue_count; q++) {
      if (world.queue[q].kind == HAPPENS_MESSAGE) {
        assert_true(world.queue[q].size <= 260); /* heartbeats */
      }
    }
  }
  assert_true(world.nodes[0].stats.gossip_rounds > 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_silent_member_is_down_though_its_connection_stands),
      cmocka_unit_test(a_member_whose_connection_is_gone_is_down_at_once),
      cmocka_unit_test(a_node_that_was_late_itself_doubts_itself_first),
      cmocka_unit_test(a_message_is_late_against_the_quickest_of_its_sender),
      cmocka_unit_test(a_late_tick_forgives_only_as_much_as_it_was_late),
      cmocka_unit_test(heartbeats_tell_what_a_member_has_to_say_of_itself),
      cmocka_unit_test(strangers_come_and_go_without_number),
      cmocka_unit_test(bucket_properties_reach_every_member_and_survive_a_restart),
      cmocka_unit_test(a_node_that_joins_learns_the_bucket_properties_before_it_serves),
      cmocka_unit_test(a_member_that_has_lost_its_directory_serves_nobody_before_it_knows_the_buckets),
      cmocka_unit_test(what_was_set_on_both_sides_of_a_partition_is_everywhere_after_it),
      cmocka_unit_test(a_member_that_missed_an_addition_learns_it_by_gossip),
      cmocka_unit_test(a_quiet_cluster_sends_digests_only),
      cmocka_unit_test(who_starts_again_does_not_take_what_others_wrote_meanwhile_for_lost),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
