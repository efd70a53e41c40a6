/* What a node finds out of its own past: a restart is no loss, an old copy of its directory and an empty one are, and
 * they are noticed before anything of them counts. Nodes of a world of membership, and their papers. */
#include "support/member_world.h"

static uint64_t losses(void) {
  uint64_t all = 0;
  for (uint32_t i = 0; i < world.node_count; i++) {
    all += world.nodes[i].stats.losses;
  }
  return all;
}

static void a_restart_is_no_loss_to_anybody(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_written(900 + seed, 4);
    for (uint32_t i = 0; i < 12; i++) {
      uint32_t index = (uint32_t)prng_below(&world.prng, 4);
      node_crash(index);
      run(prng_below(&world.prng, 5) * SECOND);
      node_start(index);
      write_for(4, (1 + prng_below(&world.prng, 8)) * SECOND);
      assert_int_equal(losses(), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
      assert_true(view_of(i).sure);
      assert_int_equal(view_of(i).lost, 0);
    }
  }
}

/* With all that it remembers of the others, who have gone on. */
static void an_old_copy_is_noticed_by_the_node_itself_and_by_nobody_else(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_written(930 + seed, 3);
    copy_take(2);
    write_for(3, 10 * SECOND);
    node_crash(2);
    copy_put_back(2);
    world.nodes[2].lacks = true;
    node_start(2);
    assert_false(view_of(2).sure);
    for (uint32_t i = 0; i < 5000 && !view_of(2).sure; i++) {
      run(MS);
    }
    assert_true(view_of(2).sure);
    assert_int_equal(member_loss(member_of(2)), LOSS_OLD); /* it has never been sure of what it had */
    assert_int_not_equal(view_of(2).lost, 0);
    write_for(3, 5 * SECOND);
    assert_int_equal(losses(), 1);
  }
}

static void an_emptied_directory_is_noticed(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_written(960 + seed, 3);
    node_crash(1);
    node_empty(1);
    world.nodes[1].lacks = true;
    node_start(1);
    for (uint32_t i = 0; i < 10000 && member_loss(member_of(1)) == LOSS_NONE; i++) {
      struct step step = view_of(1);
      assert_false(step.sure && member_is_member(member_of(1)));
      run(MS);
    }
    assert_int_equal(member_loss(member_of(1)), LOSS_EMPTIED);
    write_for(3, 5 * SECOND);
    assert_int_equal(losses(), 1);
  }
}

/* Else others would be told of the base by one who seems to have lost nothing, and a restart would not know it. */
static void a_loss_is_durable_and_told_before_the_base_is(void **state) {
  (void)state;
  uint32_t early = 0;
  uint32_t late = 0;
  for (uint64_t seed = 0; seed < 60; seed++) {
    form_written(1200 + seed, 3);
    node_crash(1);
    node_empty(1);
    world.nodes[1].lacks = true;
    node_start(1);
    uint64_t crash_ns = 0;
    while (crash_ns == 0 || world.now_ns < crash_ns) {
      run(MS);
      bool based = layout_of(1).mark.base_count > 0;
      assert_true(!based || member_loss(member_of(1)) == LOSS_EMPTIED);
      crash_ns = crash_ns == 0 && member_loss(member_of(1)) != LOSS_NONE ? world.now_ns + seed % 12 * MS : crash_ns;
    }
    node_crash(1);
    node_start(1);
    bool based = layout_of(1).mark.base_count > 0;
    assert_true(!based || member_loss(member_of(1)) == LOSS_EMPTIED);
    early += based ? 0 : 1;
    late += based ? 1 : 0;
    write_for(3, 5 * SECOND);
    assert_int_equal(member_loss(member_of(1)), LOSS_EMPTIED);
  }
  assert_true(early > 0 && late > 0);
}

/* By what it knows before then it replicates less than it does. */
static void a_loss_is_not_made_good_before_the_buckets_are_known(void **state) {
  (void)state;
  const struct bytes name = BYTES_LITERAL("cart");
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_written(1090 + seed, 3);
    struct bucket_props props = bucket_props_default();
    props.n = 5;
    enum err err = ERR_OK;
    WITH(0, err = member_set_bucket(node->member, &step, name, &props));
    assert_int_equal(err, ERR_OK);
    write_for(3, 5 * SECOND);
    node_crash(1);
    node_empty(1);
    node_start(1);
    while (member_loss(member_of(1)) == LOSS_NONE) {
      run(MS);
    }
    while (member_loss(member_of(1)) != LOSS_NONE) {
      run(MS);
    }
    assert_int_equal(bucket_find(member_buckets(member_of(1)), name).n, 5);
    assert_int_equal(losses(), 1);
  }
}

static bool has_base_only(uint32_t index, struct bytes name) {
  return layout_of(index).mark.base_count > 0 && bucket_find(member_buckets(member_of(index)), name).n != 5;
}

/* Two of three have lost all, have been told of the members and not yet of the buckets, and hear no more of the third.
 * False: one was told both at once. */
static bool form_uninformed(uint64_t seed, struct bytes name) {
  form_written(seed, 3);
  struct bucket_props props = bucket_props_default();
  props.n = 5;
  enum err err = ERR_OK;
  WITH(0, err = member_set_bucket(node->member, &step, name, &props));
  assert_int_equal(err, ERR_OK);
  write_for(3, 5 * SECOND);
  for (uint32_t i = 1; i < 3; i++) {
    node_crash(i);
    node_empty(i);
    world.nodes[i].lacks = true;
  }
  for (uint32_t i = 1; i < 3; i++) {
    node_start(i);
    for (uint32_t k = 0; k < 5000 && !has_base_only(i, name); k++) {
      run(MS);
    }
    cut_set(0, i, true);
  }
  run(20 * SECOND);
  return has_base_only(1, name) && has_base_only(2, name);
}

static void who_has_lost_what_it_knew_informs_nobody(void **state) {
  (void)state;
  const struct bytes name = BYTES_LITERAL("cart");
  uint32_t tried = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    if (!form_uninformed(1130 + seed, name)) {
      continue;
    }
    tried += 1;
    assert_int_equal(admit(1), ERR_NOTMEMBER);
    assert_int_equal(admit(2), ERR_NOTMEMBER);
    cut_set(0, 1, false);
    cut_set(0, 2, false);
    run(10 * SECOND);
    for (uint32_t i = 1; i < 3; i++) {
      assert_int_not_equal(admit(i), ERR_NOTMEMBER);
      assert_int_equal(bucket_find(member_buckets(member_of(i)), name).n, 5);
    }
  }
  assert_true(tried > 0);
}

static void the_dead_can_be_removed_by_who_waits_for_them(void **state) {
  (void)state;
  const struct bytes name = BYTES_LITERAL("cart");
  uint32_t tried = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    if (!form_uninformed(1130 + seed, name)) {
      continue;
    }
    tried += 1;
    node_crash(0);
    for (uint32_t i = 1; i < 3; i++) {
      assert_true(member_takes_changes(member_of(i)));
      assert_non_null(strstr(member_refusal(member_of(i)), "has lost its directory"));
    }
    change_at(1, wish_of(CHANGE_REMOVE, 0));
    run(20 * SECOND);
    for (uint32_t i = 1; i < 3; i++) {
      assert_int_not_equal(admit(i), ERR_NOTMEMBER);
      assert_null(member_refusal(member_of(i)));
    }
  }
  assert_true(tried > 0);
}

/* Each knows something that the other does not, and nobody else is left. */
static void who_has_lost_what_it_knew_tells_what_it_has_been_told(void **state) {
  (void)state;
  static struct bucket_table table;
  static uint8_t room[4096];
  const struct bytes name = BYTES_LITERAL("cart");
  const struct bytes other = BYTES_LITERAL("other");
  uint32_t tried = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    if (!form_uninformed(1130 + seed, name)) {
      continue;
    }
    tried += 1;
    for (uint32_t i = 1; i < 3; i++) {
      const struct bytes told = i == 1 ? name : other;
      struct bucket record = {.time = 5, .issuer = 7, .name_size = (uint8_t)told.size, .props = bucket_props_default()};
      memcpy(record.name, told.data, told.size);
      record.props.n = 5;
      bucket_table_init(&table);
      assert_int_equal(bucket_put(&table, &record), ERR_OK);
      struct writer w = writer_make(room, sizeof room);
      bucket_table_encode(&table, &w);
      assert_false(w.failed);
      struct message props = {.type = MESSAGE_PROPS, .object = writer_bytes(&w)};
      say_to(i, 0, &props);
    }
    node_crash(0);
    change_at(1, wish_of(CHANGE_REMOVE, 0));
    run(20 * SECOND);
    for (uint32_t i = 1; i < 3; i++) {
      assert_int_not_equal(admit(i), ERR_NOTMEMBER);
      assert_int_equal(bucket_find(member_buckets(member_of(i)), name).n, 5);
      assert_int_equal(bucket_find(member_buckets(member_of(i)), other).n, 5);
    }
  }
  assert_true(tried > 0);
}

/* Old copies of two, of which nothing newer is left. */
static void when_all_have_lost_what_they_knew_they_inform_each_other(void **state) {
  (void)state;
  form_written(1160, 2);
  copy_take(0);
  static struct meta copy_of_0[NAMES];
  memcpy(copy_of_0, copy, sizeof copy);
  copy_take(1);
  write_for(2, 10 * SECOND);
  node_crash(1);
  copy_put_back(1);
  world.nodes[1].lacks = true;
  node_start(1);
  write_for(2, 10 * SECOND);
  assert_int_equal(member_loss(member_of(1)), LOSS_OLD);
  assert_int_not_equal(admit(1), ERR_NOTMEMBER);
  node_crash(0);
  memcpy(copy, copy_of_0, sizeof copy);
  copy_put_back(0);
  world.nodes[0].lacks = true;
  node_start(0);
  run(10 * SECOND);
  assert_int_equal(member_loss(member_of(0)), LOSS_OLD);
  assert_int_equal(member_loss(member_of(1)), LOSS_OLD);
  assert_int_not_equal(admit(0), ERR_NOTMEMBER);
}

/* Two, that is, of which one came back old and the other empty. */
static void where_all_have_lost_something_others_can_be_added(void **state) {
  (void)state;
  form_written(1180, 2);
  copy_take(0);
  write_for(2, 10 * SECOND);
  node_crash(0);
  copy_put_back(0);
  world.nodes[0].lacks = true;
  node_start(0);
  write_for(2, 5 * SECOND);
  node_crash(1);
  node_empty(1);
  world.nodes[1].lacks = true;
  node_start(1);
  run(10 * SECOND);
  assert_int_equal(member_loss(member_of(0)), LOSS_OLD);
  assert_int_equal(member_loss(member_of(1)), LOSS_EMPTIED);
  uint32_t added = node_add(1);
  run(5 * SECOND);
  change_at(0, wish_of(CHANGE_ADD, added));
  run(10 * SECOND);
  assert_true(phase_of(added) >= MARK_KNOWS);
}

/* Its history is durable, and nothing else yet: it is as empty as it was. */
static void a_crash_before_the_base_is_known_hides_no_loss(void **state) {
  (void)state;
  uint32_t between[2] = {0, 0};
  for (uint64_t seed = 0; seed < 40; seed++) {
    const uint32_t index = (uint32_t)(seed % 2); /* 0 has founded the cluster, and is told so */
    if (seed % 4 < 2) {
      form_written(1250 + seed, 3);
    } else {
      form_sealed(1250 + seed, 3); /* nobody can tell how far it had written */
    }
    node_crash(index);
    node_empty(index);
    world.nodes[index].seeds = 7u & ~(1u << index);
    world.nodes[index].lacks = true;
    node_start(index);
    while (world.nodes[index].meta[NAME_HISTORY].size == 0) {
      run(MS);
    }
    between[index] +=
        world.nodes[index].meta[NAME_LAYOUT].size == 0 || durable_mark(&world.nodes[index]).base_count == 0 ? 1 : 0;
    node_crash(index);
    memset(&world.nodes[index].meta[NAME_LOSS], 0, sizeof world.nodes[index].meta[NAME_LOSS]);
    node_start(index);
    run(20 * SECOND);
    assert_int_equal(member_loss(member_of(index)), LOSS_EMPTIED);
  }
  assert_true(between[0] > 0 && between[1] > 0);
}

/* What it knows of the buckets nobody can confirm any more. */
static void who_is_alone_makes_its_loss_good(void **state) {
  (void)state;
  form_written(1120, 2);
  copy_take(1);
  write_for(2, 10 * SECOND);
  node_crash(1);
  copy_put_back(1);
  world.nodes[1].lacks = true;
  node_start(1);
  run(5 * SECOND);
  assert_int_equal(member_loss(member_of(1)), LOSS_OLD);
  node_crash(0);
  run(2 * SECOND);
  change_at(1, wish_of(CHANGE_REMOVE, 0));
  node_crash(1);
  node_start(1);
  world.nodes[1].lacks = false;
  run(20 * SECOND);
  assert_int_equal(member_loss(member_of(1)), LOSS_NONE);
  assert_true(member_is_member(member_of(1)));
}

/* On their disks. */
static void the_others_know_it_after_their_own_restart(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_written(990 + seed, 3);
    copy_take(2);
    write_for(3, 10 * SECOND);
    node_crash(2);
    copy_put_back(2);
    for (uint32_t i = 0; i < 2; i++) {
      run(3 * SECOND);
      node_crash(i);
      node_start(i);
    }
    run(10 * SECOND);
    node_start(2);
    run(10 * SECOND);
    assert_int_equal(member_latest_loss(member_of(2)), LOSS_OLD);
    assert_int_equal(losses(), 1);
  }
}

static void a_node_answers_for_nothing_until_all_have_told_or_have_had_time_to(void **state) {
  (void)state;
  form_written(1010, 3);
  node_crash(0);
  cut_set(0, 1, true);
  node_start(0);
  run(PEER_TIMEOUT / 2);
  assert_false(view_of(0).sure); /* one has not told */
  run(PEER_TIMEOUT);
  assert_true(view_of(0).sure);
  assert_int_equal(losses(), 0);
  node_crash(0);
  cut_set(0, 1, false);
  node_start(0);
  run(PEER_TIMEOUT / 2);
  assert_true(view_of(0).sure);
}

/* By one who was away. */
static void a_loss_is_noticed_late_rather_than_not_at_all(void **state) {
  (void)state;
  form_written(1020, 3);
  copy_take(2);
  cut_set(2, 1, true);
  node_crash(1);
  write_for(3, 10 * SECOND);
  node_crash(2);
  copy_put_back(2);
  cut_set(2, 0, true);
  node_start(1);
  cut_set(2, 1, false);
  node_start(2);
  run(10 * SECOND);
  assert_true(view_of(2).sure);
  assert_int_equal(losses(), 0); /* who is there does not know */
  write_for(3, 5 * SECOND);
  cut_set(2, 0, false);
  run(10 * SECOND);
  assert_int_equal(losses(), 1);
  assert_int_equal(member_latest_loss(member_of(2)), LOSS_OLD);
}

static void a_loss_lasts_over_restarts_until_it_is_made_good(void **state) {
  (void)state;
  form_written(1030, 3);
  copy_take(2);
  write_for(3, 10 * SECOND);
  node_crash(2);
  copy_put_back(2);
  world.nodes[2].lacks = true;
  node_start(2);
  run(5 * SECOND);
  uint64_t lost = view_of(2).lost;
  assert_int_not_equal(lost, 0);
  for (uint32_t i = 0; i < 3; i++) {
    node_crash(2);
    node_start(2);
    assert_int_equal(view_of(2).lost, lost);
    assert_int_equal(member_loss(member_of(2)), LOSS_OLD);
    write_for(3, 3 * SECOND);
  }
  world.nodes[2].lacks = false;
  run(5 * SECOND);
  assert_int_equal(view_of(2).lost, 0);
  assert_int_equal(member_loss(member_of(2)), LOSS_NONE);
  assert_int_equal(member_latest_loss(member_of(2)), LOSS_OLD);
  node_crash(2);
  node_start(2);
  write_for(3, 5 * SECOND);
  assert_int_equal(view_of(2).lost, 0);
  assert_int_equal(losses(), 1);
}

/* Else the next mark would be above what the others can tell of the loss. */
static void a_loss_that_could_not_be_stored_is_stored_before_any_later_mark(void **state) {
  (void)state;
  form_written(1040, 3);
  copy_take(2);
  write_for(3, 10 * SECOND);
  node_crash(2);
  copy_put_back(2);
  world.nodes[2].lacks = true;
  world.nodes[2].commit_err = ERR_NOSPACE;
  node_start(2);
  run(5 * SECOND);
  uint64_t lost = view_of(2).lost;
  assert_int_not_equal(lost, 0);
  world.nodes[2].commit_err = ERR_OK;
  uint64_t wrote = member_wrote(member_of(2));
  write_for(3, 15 * SECOND);
  assert_true(member_wrote(member_of(2)) > wrote);
  node_crash(2);
  node_start(2);
  run(5 * SECOND);
  assert_int_equal(view_of(2).lost, lost);
}

static void a_copy_that_was_taken_while_a_loss_was_made_good_is_another_loss(void **state) {
  (void)state;
  form_written(1050, 3);
  copy_take(2);
  write_for(3, 10 * SECOND);
  node_crash(2);
  copy_put_back(2);
  world.nodes[2].lacks = true;
  node_start(2);
  write_for(3, 5 * SECOND);
  uint64_t lost = view_of(2).lost;
  assert_int_not_equal(lost, 0);
  copy_take(2);
  world.nodes[2].lacks = false;
  run(5 * SECOND);
  assert_int_equal(view_of(2).lost, 0);
  write_for(3, 20 * SECOND);
  node_crash(2);
  copy_put_back(2);
  world.nodes[2].lacks = true;
  node_start(2);
  run(5 * SECOND);
  assert_int_not_equal(view_of(2).lost, 0);
  assert_int_not_equal(view_of(2).lost, lost);
  assert_int_equal(losses(), 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_restart_is_no_loss_to_anybody),
      cmocka_unit_test(an_old_copy_is_noticed_by_the_node_itself_and_by_nobody_else),
      cmocka_unit_test(an_emptied_directory_is_noticed),
      cmocka_unit_test(the_others_know_it_after_their_own_restart),
      cmocka_unit_test(a_node_answers_for_nothing_until_all_have_told_or_have_had_time_to),
      cmocka_unit_test(a_loss_is_noticed_late_rather_than_not_at_all),
      cmocka_unit_test(a_loss_is_durable_and_told_before_the_base_is),
      cmocka_unit_test(a_loss_is_not_made_good_before_the_buckets_are_known),
      cmocka_unit_test(who_has_lost_what_it_knew_informs_nobody),
      cmocka_unit_test(the_dead_can_be_removed_by_who_waits_for_them),
      cmocka_unit_test(who_has_lost_what_it_knew_tells_what_it_has_been_told),
      cmocka_unit_test(when_all_have_lost_what_they_knew_they_inform_each_other),
      cmocka_unit_test(where_all_have_lost_something_others_can_be_added),
      cmocka_unit_test(a_crash_before_the_base_is_known_hides_no_loss),
      cmocka_unit_test(who_is_alone_makes_its_loss_good),
      cmocka_unit_test(a_loss_lasts_over_restarts_until_it_is_made_good),
      cmocka_unit_test(a_loss_that_could_not_be_stored_is_stored_before_any_later_mark),
      cmocka_unit_test(a_copy_that_was_taken_while_a_loss_was_made_good_is_another_loss),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
