/* Live layouts and marks (paper §4.9; docs/adr/0005): phases that nobody passes alone, changes that follow each other
 * or meet, members that die meanwhile, nodes that come and go. */
#include "support/member_oracle.h"

static bool reads_target(uint32_t index) {
  struct step step = view_of(index);
  return step.base != step.ring && step.reading == step.ring;
}

static bool writes_both(uint32_t index) {
  struct step step = view_of(index);
  return step.base != step.ring;
}

/* `count` members and one more, which is being added; nobody goes on to HOLDS, for all lack something. */
static uint32_t begin_addition(uint64_t seed, uint32_t count) {
  form_sealed(seed, count);
  uint32_t spare = node_add(1);
  for (uint32_t i = 0; i <= count; i++) {
    world.nodes[i].lacks = true;
  }
  run(2 * SECOND);
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(2 * SECOND);
  for (uint32_t i = 0; i <= count; i++) {
    assert_int_equal(phase_of(i), MARK_KNOWS);
  }
  return spare;
}

static void nothing_is_lacking(void) {
  for (uint32_t i = 0; i < world.node_count; i++) {
    world.nodes[i].lacks = false;
  }
}

/* -- phases --------------------------------------------------------------------------------- */

static void where_nothing_moves_base_target_and_reading_are_one(void **state) {
  (void)state;
  form(100, 3);
  assert_done(FIRST(3));
  for (uint32_t i = 0; i < 3; i++) {
    struct step step = view_of(i);
    assert_true(step.agreed);
    assert_true(step.all_done);
    assert_ptr_equal(step.up, step.base_up);
    assert_false(layout_of(i).moving);
    assert_int_equal(layout_of(i).waiting_count, 0);
  }
}

static void an_addition_goes_through_all_phases_to_its_end(void **state) {
  (void)state;
  uint32_t spare = begin_addition(101, 3);
  assert_true(layout_of(1).moving);
  assert_false(layout_of(1).behind);
  for (uint32_t i = 0; i < 4; i++) {
    assert_true(writes_both(i));
    assert_false(reads_target(i));
    assert_true(view_of(i).agreed);
    assert_false(view_of(i).all_done);
  }
  world.nodes[0].lacks = world.nodes[1].lacks = world.nodes[2].lacks = false;
  run(2 * SECOND);
  assert_int_equal(phase_of(0), MARK_HOLDS);
  assert_int_equal(phase_of(2), MARK_HOLDS);
  assert_int_equal(phase_of(spare), MARK_KNOWS);
  assert_false(reads_target(0)); /* one does not hold it */
  struct layout_view view = layout_of(0);
  assert_int_equal(view.waiting_count, 1);
  assert_int_equal(view.waiting[0], world.nodes[spare].id);
  nothing_is_lacking();
  run(5 * SECOND);
  assert_done(FIRST(4));
  assert_true(view_of(0).all_done);
  assert_one_cluster(4);
}

static void the_target_is_written_at_once_and_told_when_older_puts_have_been_answered(void **state) {
  (void)state;
  form_sealed(102, 3);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  world.nodes[1].unsettled = true;
  uint32_t epoch = view_of(1).epoch;
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(2 * SECOND);
  assert_true(writes_both(1));
  assert_int_equal(view_of(1).epoch, epoch + 1);
  assert_int_equal(phase_of(1), MARK_DONE); /* of the ring before */
  assert_int_equal(phase_of(0), MARK_KNOWS);
  assert_false(view_of(0).agreed);
  world.nodes[1].unsettled = false;
  run(3 * SECOND);
  assert_done(FIRST(4));
}

static void a_node_acts_by_a_phase_only_when_it_is_durable(void **state) {
  (void)state;
  begin_addition(103, 3);
  nothing_is_lacking();
  world.nodes[1].commit_least_ns = 3 * SECOND;
  run_to_phase(0, MARK_HOLDS);
  run(SECOND);
  assert_int_equal(phase_of(1), MARK_KNOWS);
  assert_int_equal(phase_of(0), MARK_HOLDS); /* waits for it */
  run_to_phase(1, MARK_HOLDS);
  run(2 * SECOND);
  assert_int_equal(phase_of(0), MARK_READS);
  assert_true(reads_target(0));
  assert_false(reads_target(1));
  run(2 * SECOND);
  assert_true(reads_target(1) || phase_of(1) == MARK_DONE);
}

static void a_mark_that_can_not_be_stored_is_tried_again(void **state) {
  (void)state;
  begin_addition(104, 3);
  nothing_is_lacking();
  world.nodes[2].commit_err = ERR_NOSPACE;
  run(5 * SECOND);
  assert_int_equal(phase_of(2), MARK_KNOWS);
  assert_false(reads_target(0));
  world.nodes[2].commit_err = ERR_OK;
  run(5 * SECOND);
  assert_done(FIRST(4));
}

static void a_member_that_is_down_holds_a_change_up_and_nothing_else(void **state) {
  (void)state;
  form_sealed(105, 4);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  node_crash(3);
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(20 * SECOND);
  assert_int_equal(phase_of(0), MARK_KNOWS);
  assert_false(view_of(0).agreed);
  assert_int_equal(admit(0), ERR_OK);
  struct layout_view view = layout_of(0);
  assert_int_equal(view.waiting_count, 1);
  assert_int_equal(view.waiting[0], world.nodes[3].id);
  node_start(3);
  run(10 * SECOND);
  assert_done(FIRST(5));
}

static void a_restart_in_any_phase_goes_on_where_it_was(void **state) {
  (void)state;
  static const enum mark_phase phases[] = {MARK_KNOWS, MARK_HOLDS, MARK_READS, MARK_DONE, 0};
  for (uint32_t p = 0; p < 4; p++) {
    for (uint64_t seed = 0; seed < 4; seed++) {
      begin_addition(110 + 10 * p + seed, 3);
      if (phases[p] > MARK_KNOWS) {
        nothing_is_lacking();
      }
      run_to_phase(0, phases[p]);
      struct mark before[4];
      for (uint32_t i = 0; i < 4; i++) {
        node_crash(i);
        before[i] = durable_mark(&world.nodes[i]);
      }
      for (uint32_t i = 0; i < 4; i++) {
        node_start(i);
        struct mark mark = layout_of(i).mark;
        assert_true(same_marks(&mark, &before[i]));
        assert_int_equal(reads_target(i), mark.phase == MARK_READS);
        assert_int_equal(writes_both(i), mark.phase != MARK_DONE);
      }
      nothing_is_lacking();
      run(10 * SECOND);
      assert_done(FIRST(4));
    }
  }
}

static void what_comes_late_is_smaller_and_is_not_looked_at(void **state) {
  (void)state;
  begin_addition(130, 3);
  struct message old = {.type = MESSAGE_HEARTBEAT};
  uint32_t whole = layout_of(1).mark.base_count;
  uint64_t digest = layout_of(1).mark.base_digest;
  old.heartbeat.mark = (struct mark){whole, whole, digest, digest, MARK_DONE, 0};
  old.heartbeat.keys = 9;
  assert_true(view_of(0).agreed);
  say_to(0, 1, &old);
  assert_true(view_of(0).agreed);
  assert_int_equal(heard_by(0, 1).mark.phase, MARK_KNOWS);
  assert_int_equal(heard_by(0, 1).keys, 9); /* the rest of it is as it came */
}

/* Whatever its clock says: it may have been set back while the node was down. */
static void what_takes_back_an_earlier_mark_counts_and_that_one_no_more(void **state) {
  (void)state;
  begin_addition(131, 3);
  struct message more = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1), .hlc = 5000};
  struct message less = more;
  less.heartbeat.mark.revision += 1;
  less.heartbeat.mark.target_count -= 1;
  less.hlc = 1;
  say_to(0, 1, &less);
  assert_int_equal(heard_by(0, 1).mark.target_count, less.heartbeat.mark.target_count);
  say_to(0, 1, &more);
  assert_int_equal(heard_by(0, 1).mark.target_count, less.heartbeat.mark.target_count);
  assert_int_equal(heard_by(0, 1).mark.revision, less.heartbeat.mark.revision);
}

/* The others remember that it took something back before. */
static void what_a_node_says_that_has_lost_its_directory_is_not_late(void **state) {
  (void)state;
  form_sealed(132, 3);
  struct message before = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1)};
  before.heartbeat.mark.revision += 5;
  for (uint32_t i = 0; i < 3; i += 2) {
    say_to(i, 1, &before);
    assert_int_equal(heard_by(i, 1).mark.revision, before.heartbeat.mark.revision);
  }
  node_crash(1);
  run(10 * SECOND);
  node_empty(1);
  node_start(1);
  world.nodes[1].seeds = 1;
  run(5 * SECOND);
  struct change change = wish_of(CHANGE_REWEIGH, 2);
  change.weight = 200;
  change_at(0, change);
  run(10 * SECOND);
  assert_done(FIRST(3));
}

static void a_longer_base_that_a_mark_tells_of_is_taken_in_any_phase(void **state) {
  (void)state;
  uint32_t seen = 0;
  for (uint64_t seed = 0; seed < 6; seed++) {
    begin_addition(140 + seed, 3);
    nothing_is_lacking();
    run_to_phase(1, MARK_READS);
    world.nodes[1].commit_least_ns = 100 * SECOND; /* the others finish, and it dies before it has */
    run(2 * SECOND);
    assert_done(BIT(0) | BIT(2) | BIT(3));
    node_crash(1);
    world.nodes[1].commit_least_ns = 0;
    node_start(1);
    seen += phase_of(1) == MARK_READS ? 1u : 0u;
    run(2 * SECOND);
    assert_done(FIRST(4));
  }
  assert_true(seen > 0);
}

static void a_base_that_is_no_prefix_of_our_history_is_not_taken(void **state) {
  (void)state;
  form_sealed(150, 2);
  struct message strange = {.type = MESSAGE_HEARTBEAT};
  uint32_t count = layout_of(0).mark.base_count;
  strange.heartbeat.mark = (struct mark){count + 1, count + 1, 4711, 4711, MARK_DONE, 0};
  say_to(0, 1, &strange);
  run(SECOND);
  assert_int_equal(layout_of(0).mark.base_count, count);
  strange.heartbeat.mark = (struct mark){count, count + 1, 4711, 4711, MARK_DONE, 0};
  say_to(0, 1, &strange);
  assert_int_equal(layout_of(0).mark.base_count, count);
}

/* -- further changes --------------------------------------------------------------------------- */

static void with_more_history_a_node_that_knows_takes_it_as_its_target(void **state) {
  (void)state;
  begin_addition(160, 3);
  uint32_t epoch = view_of(2).epoch;
  uint32_t target = layout_of(2).mark.target_count;
  change_at(1, reweighing_of(0, 250));
  run(2 * SECOND);
  assert_int_equal(layout_of(2).mark.target_count, target + 1);
  assert_int_equal(view_of(2).epoch, epoch + 1);
  assert_int_equal(phase_of(2), MARK_KNOWS);
  nothing_is_lacking();
  run(5 * SECOND);
  assert_done(FIRST(4));
  assert_int_equal(member_ring(member_of(0))->digest, layout_of(0).history_digest);
}

static void with_more_history_a_node_that_holds_releases_and_all_go_on_with_it(void **state) {
  (void)state;
  uint32_t spare = begin_addition(161, 3);
  world.nodes[0].lacks = world.nodes[1].lacks = false;
  run(SECOND);
  assert_int_equal(phase_of(0), MARK_HOLDS);
  cut_set(1, spare, true);
  uint32_t target = layout_of(0).mark.target_count;
  node_crash(2);
  change_at(1, reweighing_of(0, 250));
  run(3 * SECOND);
  assert_int_equal(phase_of(0), MARK_RELEASES);
  assert_int_equal(layout_of(0).mark.target_count, target); /* it is bound: the one that is down might hold and read */
  assert_true(layout_of(0).behind);
  assert_false(reads_target(0));
  node_start(2);
  cut_set(1, spare, false);
  run(3 * SECOND);
  assert_int_equal(layout_of(0).mark.target_count, target + 1);
  nothing_is_lacking();
  run(5 * SECOND);
  assert_done(FIRST(4));
}

static void a_change_that_waits_for_a_dead_member_is_released_by_its_removal(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    uint32_t spare = begin_addition(170 + seed, 4);
    world.nodes[0].lacks = world.nodes[1].lacks = false;
    run(SECOND);
    node_crash(3); /* it lacks something, and will for ever */
    nothing_is_lacking();
    run(3 * SECOND);
    assert_int_equal(phase_of(0), MARK_HOLDS);
    change_at(0, removal_of(3));
    run(20 * SECOND);
    assert_done(FIRST(3) | BIT(spare));
    assert_int_equal(member_ring(member_of(0))->member_count, 4);
  }
}

static void a_newcomer_that_dies_while_it_is_added_can_be_removed(void **state) {
  (void)state;
  uint32_t spare = begin_addition(180, 3);
  world.nodes[0].lacks = world.nodes[1].lacks = world.nodes[2].lacks = false;
  run(SECOND);
  node_crash(spare);
  run(3 * SECOND);
  change_at(2, removal_of(spare));
  run(10 * SECOND);
  assert_done(FIRST(3));
  assert_int_equal(member_ring(member_of(0))->member_count, 3);
}

static void whoever_reads_by_the_target_takes_all_others_with_it(void **state) {
  (void)state;
  uint32_t seen = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    uint32_t spare = begin_addition(190 + seed, 3);
    /* Node 0 hears that all hold, and nobody hears from it; node 1 gets more history before it hears that, too. */
    world.nodes[0].silent = ~0u;
    world.nodes[2].silent = BIT(1);
    nothing_is_lacking();
    run_to_phase(1, MARK_HOLDS);
    struct change change = reweighing_of(1, 300);
    command_changes(1, &change, 1, layout_of(1).history_digest);
    run(400 * MS);
    seen += phase_of(0) == MARK_READS && phase_of(1) == MARK_RELEASES ? 1u : 0u;
    uint32_t target = layout_of(1).mark.target_count;
    run(2 * SECOND);
    if (phase_of(0) == MARK_READS && phase_of(1) == MARK_RELEASES) {
      assert_int_equal(layout_of(1).mark.target_count, target);
    }
    world.nodes[0].silent = world.nodes[2].silent = 0;
    run(10 * SECOND);
    assert_done(FIRST(3) | BIT(spare));
  }
  assert_true(seen > 0);
}

/* Nodes 0 .. 3, node 4 is being added; node 0 alone has heard that all hold, and reads by the target; nobody has heard
 * that of it, nor of anybody else. */
static void begin_lone_reader(uint64_t seed) {
  begin_addition(seed, 4);
  for (uint32_t i = 1; i < 5; i++) {
    world.nodes[i].silent = ~BIT(0);
  }
  world.nodes[0].silent = ~0u;
  nothing_is_lacking();
  run_to_phase(0, MARK_READS);
  for (uint32_t i = 1; i < 5; i++) {
    assert_int_equal(phase_of(i), MARK_HOLDS);
  }
}

static void nobody_goes_on_before_all_others_know_whom_they_may_not_follow(void **state) {
  (void)state;
  begin_lone_reader(231);
  /* Node 1 releases because of a change of its own. Nodes 2 to 4 see node 0 down, remove it, and release. */
  struct change reweighing = reweighing_of(2, 300);
  command_changes(1, &reweighing, 1, layout_of(1).history_digest);
  for (uint32_t i = 2; i < 5; i++) {
    cut_set(0, i, true);
    world.nodes[i].silent = BIT(1); /* node 1 knows nothing of that */
  }
  struct change removal = removal_of(0);
  command_changes(3, &removal, 1, layout_of(3).history_digest);
  world.nodes[1].silent = BIT(0);
  run_checked(5 * SECOND);
  assert_int_equal(phase_of(1), MARK_RELEASES);
  assert_int_equal(phase_of(3), MARK_RELEASES);
  /* It hears that node 0 reads, and not that it is removed. It follows, and so do the others. */
  world.nodes[0].silent = ~BIT(1);
  run_checked(3 * SECOND);
  assert_int_equal(phase_of(1), MARK_READS);
  for (uint32_t i = 0; i < 5; i++) {
    world.nodes[i].silent = 0;
  }
  run_checked(3 * SECOND);
  for (uint32_t i = 2; i < 5; i++) {
    cut_set(0, i, false);
  }
  run_checked(10 * SECOND);
  assert_done(FIRST(5));
}

/* Node 1 decides to follow node 0, and learns that it is removed before that is durable. */
static void who_has_decided_to_read_does_not_release_whatever_it_learns_meanwhile(void **state) {
  (void)state;
  begin_lone_reader(232);
  for (uint32_t i = 1; i < 5; i++) {
    world.nodes[i].silent = BIT(0);
    cut_set(0, i, i != 1);
  }
  struct change reweighing = reweighing_of(2, 300);
  command_changes(3, &reweighing, 1, layout_of(3).history_digest);
  run_checked(SECOND);
  world.nodes[1].silent = 0;
  run_to_phase(1, MARK_RELEASES);
  world.nodes[1].silent = BIT(0);
  world.nodes[1].commit_least_ns = 300 * MS; /* the removal is under way here ... */
  struct change removal = removal_of(0);
  command_changes(3, &removal, 1, layout_of(3).history_digest);
  run_checked(150 * MS);
  assert_int_equal(history_knows(member_history(member_of(1)), world.nodes[0].id), KNOWN_MEMBER);
  world.nodes[1].commit_least_ns = 3 * SECOND; /* ... and what follows it takes long */
  world.nodes[0].silent = ~BIT(1);
  run_checked(200 * MS);
  world.nodes[0].silent = ~0u;
  run_checked(2 * SECOND);
  assert_int_equal(history_knows(member_history(member_of(1)), world.nodes[0].id), KNOWN_GONE);
  assert_int_equal(phase_of(1), MARK_RELEASES);
  assert_int_equal(phase_of(2), MARK_RELEASES); /* it waits for what node 1 decides */
  world.nodes[1].commit_least_ns = 0;
  for (uint32_t i = 0; i < 5; i++) {
    world.nodes[i].silent = 0;
    cut_set(0, i, false);
  }
  run_checked(20 * SECOND);
  assert_done(FIRST(5));
}

static void nobody_follows_or_answers_one_that_was_removed_and_reads(void **state) {
  (void)state;
  begin_lone_reader(232);
  for (uint32_t i = 1; i < 5; i++) {
    world.nodes[i].silent = BIT(0);
    cut_set(0, i, i != 1);
  }
  world.nodes[0].silent = ~BIT(1); /* node 1 hears it all the time */
  /* All but node 0 learn that it is removed before they hear of each other that they hold. */
  uint32_t target = layout_of(1).mark.target_count;
  struct change removal = removal_of(0);
  for (uint32_t i = 1; i < 5; i++) {
    for (uint32_t j = 1; j < i; j++) {
      cut_set(i, j, true);
    }
  }
  command_changes(3, &removal, 1, layout_of(3).history_digest);
  run_checked(SECOND);
  struct bytes ours = {world.nodes[3].meta[NAME_HISTORY].data, world.nodes[3].meta[NAME_HISTORY].size};
  struct message history = {.type = MESSAGE_HISTORY, .object = ours};
  for (uint32_t i = 1; i < 5; i++) {
    if (i != 3) {
      say_to(i, 3, &history);
    }
  }
  run_checked(SECOND);
  for (uint32_t i = 1; i < 5; i++) {
    assert_int_equal(phase_of(i), MARK_RELEASES);
  }
  /* Nodes 2 to 4 hear of all and go on; node 1 is heard, but hears node 0 only, which reads by what they have left. */
  for (uint32_t i = 1; i < 5; i++) {
    world.nodes[i].silent = i == 1 ? BIT(0) : BIT(0) | BIT(1);
    for (uint32_t j = 1; j < i; j++) {
      cut_set(i, j, false);
    }
  }
  run_checked(2 * SECOND);
  assert_true(sees_up(1, 0));
  assert_int_equal(phase_of(0), MARK_READS);
  assert_int_equal(phase_of(1), MARK_RELEASES);
  assert_false(allows(1, 0, MESSAGE_READ));
  assert_int_equal(layout_of(3).mark.target_count, target + 1);
  for (uint32_t i = 0; i < 5; i++) {
    world.nodes[i].silent = 0;
    cut_set(0, i == 0 ? 1 : i, false);
  }
  run_checked(15 * SECOND);
  assert_done(FIRST(5));
  assert_false(member_is_member(member_of(0)));
}

static void changes_on_both_sides_of_a_partition_settle_when_they_meet(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_sealed(220 + seed, 4);
    uint32_t left = node_add(BIT(0));
    uint32_t right = node_add(BIT(3));
    run(2 * SECOND);
    for (uint32_t a = 0; a < 6; a++) {
      for (uint32_t b = a + 1; b < 6; b++) {
        bool a_left = a < 2 || a == left;
        bool b_left = b < 2 || b == left;
        cut_set(a, b, a_left != b_left);
      }
    }
    change_at(1, wish_of(CHANGE_ADD, left));
    change_at(2, wish_of(CHANGE_ADD, right));
    change_at(3, reweighing_of(0, 300));
    run(5 * SECOND);
    assert_int_equal(layout_of(0).mark.base_count, 4);
    for (uint32_t a = 0; a < 6; a++) {
      for (uint32_t b = a + 1; b < 6; b++) {
        cut_set(a, b, false);
      }
    }
    run(20 * SECOND);
    assert_done(FIRST(6));
    assert_int_equal(history_length(member_history(member_of(0))), 7);
  }
}

/* -- newcomers ---------------------------------------------------------------------------------- */

static void a_newcomer_serves_nobody_until_all_know_of_it(void **state) {
  (void)state;
  form_sealed(250, 3);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  world.nodes[2].unsettled = world.nodes[spare].lacks = true;
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(3 * SECOND);
  assert_true(is_in_ring(spare, spare));
  assert_int_equal(layout_of(spare).mark.phase, MARK_KNOWS);
  assert_false(member_is_member(member_of(spare)));
  assert_int_equal(admit(spare), ERR_NOTMEMBER);
  world.nodes[2].unsettled = false;
  run(3 * SECOND);
  assert_true(member_is_member(member_of(spare)));
  assert_int_equal(layout_of(spare).mark.phase, MARK_KNOWS);
  struct member_view views[8];
  assert_int_equal(member_list(member_of(0), views, 8), 4);
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(views[i].joining, views[i].node == world.nodes[spare].id);
    assert_false(views[i].leaving);
  }
}

static void a_target_is_not_written_by_before_the_nodes_that_it_brings_in_know_of_it(void **state) {
  (void)state;
  form_sealed(254, 3);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  node_crash(spare);
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(3 * SECOND);
  assert_true(is_in_ring(1, spare));
  assert_true(layout_of(1).behind);
  assert_false(layout_of(1).moving);
  assert_false(allows(spare, 1, MESSAGE_WRITE)); /* it would not take what is written to it */
  node_start(spare);
  run(5 * SECOND);
  assert_done(FIRST(4));
}

static void a_newcomer_that_crashes_at_any_time_never_takes_its_history_for_whole(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 60; seed++) {
    form_sealed(260 + seed, 2);
    uint32_t spare = node_add(1);
    world.nodes[spare].lacks = true;
    world.nodes[spare].commit_ns = 200 * MS;
    run(2 * SECOND);
    struct change add = wish_of(CHANGE_ADD, spare);
    command_changes(0, &add, 1, layout_of(0).history_digest);
    run(prng_below(&world.prng, 800) * MS);
    node_crash(spare);
    node_start(spare);
    assert_true(layout_of(spare).mark.base_count <= 2);
    run(5 * SECOND);
    assert_int_equal(layout_of(0).mark.base_count, 2);
    assert_true(layout_of(spare).moving);
    nothing_is_lacking();
    run(10 * SECOND);
    assert_done(FIRST(3));
  }
}

static void one_that_only_the_newest_ring_has_is_not_listened_to(void **state) {
  (void)state;
  form_sealed(330, 3);
  uint32_t first = node_add(1);
  uint32_t second = node_add(1);
  run(2 * SECOND);
  change_at(0, wish_of(CHANGE_ADD, first));
  world.nodes[first].lacks = true;
  run(2 * SECOND);
  assert_int_equal(phase_of(1), MARK_HOLDS);
  node_crash(2);
  change_at(0, wish_of(CHANGE_ADD, second));
  run(3 * SECOND);
  assert_int_equal(phase_of(1), MARK_RELEASES);
  assert_true(allows(1, first, MESSAGE_WRITE));
  assert_false(allows(1, second, MESSAGE_WRITE)); /* a put of its would be missed by one that reads by our target */
  assert_false(member_is_member(member_of(second)));
  node_start(2);
  nothing_is_lacking();
  run(10 * SECOND);
  assert_true(allows(1, second, MESSAGE_WRITE));
  assert_done(FIRST(5));
}

/* -- nodes that go -------------------------------------------------------------------------------- */

static void a_removed_node_that_is_up_takes_part_until_it_is_out(void **state) {
  (void)state;
  form_sealed(340, 4);
  world.nodes[1].lacks = world.nodes[3].lacks = true;
  change_at(3, removal_of(3));
  run(3 * SECOND);
  assert_true(member_is_member(member_of(3)));
  assert_int_equal(admit(3), ERR_OK);
  assert_true(allows(0, 3, MESSAGE_WRITE));
  assert_true(sees_up(0, 3));
  struct member_view views[8];
  assert_int_equal(member_list(member_of(0), views, 8), 4);
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(views[i].leaving, views[i].node == world.nodes[3].id);
  }
  world.nodes[1].lacks = false;
  run(2 * SECOND);
  assert_int_equal(phase_of(0), MARK_HOLDS); /* they wait for it */
  nothing_is_lacking();
  run(5 * SECOND);
  assert_done(FIRST(4)); /* the removed one knows, too */
  assert_false(member_is_member(member_of(3)));
  assert_int_equal(admit(3), ERR_NOTMEMBER);
  assert_non_null(strstr(member_refusal(member_of(3)), "was removed from its cluster"));
  assert_int_equal(member_list(member_of(0), views, 8), 3);
  /* It hands over what it has, and goes on to hear of further changes. */
  assert_true(allows(0, 3, MESSAGE_OFFER));
  assert_true(allows(3, 0, MESSAGE_WRITE_ACK));
  change_at(0, reweighing_of(1, 300));
  run(10 * SECOND);
  assert_done(FIRST(4));
  assert_true(allows(2, 3, MESSAGE_OFFER));
  assert_true(sees_up(3, 2));
}

static void a_node_that_leaves_answers_what_it_has_in_hand_before_the_others_are_done(void **state) {
  (void)state;
  for (uint32_t seed = 341; seed < 345; seed++) {
    form_sealed(seed, 4);
    world.nodes[3].busy = true;
    change_at(0, removal_of(3));
    run(3 * SECOND);
    assert_int_equal(phase_of(3), MARK_HOLDS);
    assert_int_equal(admit(3), ERR_NOTMEMBER); /* it takes on nothing more, and is listened to */
    assert_int_equal(phase_of(0), MARK_READS);
    assert_true(allows(0, 3, MESSAGE_READ));
    assert_true(allows(0, 3, MESSAGE_FORWARD));
    if (seed % 2 == 0) {
      node_crash(3); /* what it had in hand is lost with it */
      node_start(3);
    }
    world.nodes[3].busy = false;
    run(5 * SECOND);
    assert_done(FIRST(4));
  }
}

static void a_removed_node_that_is_down_holds_nothing_up_and_is_not_listened_to_when_it_returns(void **state) {
  (void)state;
  form_sealed(350, 4);
  node_crash(3);
  run(2 * SECOND);
  change_at(0, removal_of(3));
  run(5 * SECOND);
  assert_done(FIRST(3));
  for (uint32_t i = 0; i < 3; i++) {
    cut_set(i, 3, i != 1);
  }
  world.nodes[1].silent = BIT(3); /* it hears nothing, and goes by the ring as it was */
  node_start(3);
  run(SECOND);
  assert_true(member_is_member(member_of(3)));
  assert_false(allows(1, 3, MESSAGE_WRITE));
  assert_false(allows(1, 3, MESSAGE_READ));
  assert_true(allows(1, 3, MESSAGE_WRITE_ACK)); /* it may answer what it was asked as a member */
  world.nodes[1].silent = 0;
  run(5 * SECOND);
  assert_false(member_is_member(member_of(3)));
  assert_true(allows(1, 3, MESSAGE_OFFER));
  assert_true(is_done(3, 0));
}

static void one_that_is_fenced_stays_so_until_it_has_said_what_we_have(void **state) {
  (void)state;
  form_sealed(351, 4);
  node_crash(3);
  run(2 * SECOND);
  world.nodes[0].lacks = true; /* the others get as far as HOLDS */
  change_at(0, removal_of(3));
  run(3 * SECOND);
  assert_int_equal(phase_of(1), MARK_HOLDS);
  world.nodes[3].lacks = true;
  node_start(3);
  run(3 * SECOND);
  assert_int_equal(phase_of(3), MARK_KNOWS); /* it knows of its removal, but has not said that it holds */
  assert_int_equal(phase_of(1), MARK_HOLDS);
  assert_false(allows(1, 3, MESSAGE_WRITE));
  assert_false(sees_up(1, 3));
  assert_true(allows(0, 3, MESSAGE_WRITE));
  world.nodes[3].lacks = false;
  run(3 * SECOND);
  assert_true(allows(1, 3, MESSAGE_WRITE));
  assert_true(sees_up(1, 3));
  nothing_is_lacking();
  run(5 * SECOND);
  assert_done(FIRST(4));
}

static void one_that_returns_is_to_be_checked_against_by_who_does_not_hold_yet(void **state) {
  (void)state;
  form_sealed(352, 4);
  world.nodes[0].lacks = true;
  change_at(0, removal_of(3));
  run(2 * SECOND);
  assert_true(view_of(0).agreed);
  node_crash(3);
  for (uint32_t i = 0; i < 5000 && view_of(0).agreed; i++) {
    assert_true(sees_up(0, 3)); /* to leave it out has to be agreed upon first */
    run(MS);
  }
  run(2 * SECOND);
  assert_false(sees_up(0, 3));
  assert_true(view_of(0).agreed);
  uint32_t epoch = view_of(0).epoch;
  run(SECOND);
  assert_int_equal(view_of(0).epoch, epoch);
  node_start(3);
  run(2 * SECOND);
  assert_true(sees_up(0, 3));
  assert_int_equal(view_of(0).epoch, epoch + 1);
  world.nodes[0].lacks = false;
  run(5 * SECOND);
  assert_done(FIRST(3));
}

static void one_that_some_see_up_is_left_out_by_nobody(void **state) {
  (void)state;
  form_sealed(352, 4);
  cut_set(0, 3, true);
  cut_set(1, 3, true);
  run(2 * SECOND);
  world.nodes[3].lacks = true;
  change_at(0, removal_of(3));
  run(5 * SECOND);
  /* Node 2 hears it, so what it writes may still count: the others wait for it, though they see it down. */
  assert_false(reads_target(0));
  assert_int_equal(layout_of(0).mark.base_count, 4);
  cut_set(2, 3, true);
  run(10 * SECOND);
  assert_done(FIRST(3));
}

static void a_target_is_not_whole_without_one_that_died_before_it_held_and_is_released(void **state) {
  (void)state;
  uint32_t spare = begin_addition(353, 4);
  world.nodes[0].lacks = world.nodes[1].lacks = world.nodes[2].lacks = world.nodes[spare].lacks = false;
  run(SECOND);
  node_crash(3); /* it has not received what the target gives it */
  run(3 * SECOND);
  world.nodes[2].unsettled = true;
  world.nodes[0].commit_least_ns = 2 * SECOND; /* it learns of the removal last, when all others have released */
  change_at(1, removal_of(3));
  run(10 * SECOND);
  world.nodes[0].commit_least_ns = 0;
  assert_int_equal(layout_of(0).mark.base_count, 4);
  assert_int_equal(layout_of(0).mark.target_count, 6); /* all but the dead one hold the target before, and left it */
  node_start(3);
  run(3 * SECOND);
  assert_true(member_is_member(member_of(3))); /* a replica by the base, which it holds */
  world.nodes[2].unsettled = false;
  nothing_is_lacking();
  run(5 * SECOND);
  assert_done(FIRST(5));
  assert_false(member_is_member(member_of(3)));
}

static void two_members_are_removed_at_one_time_one_of_them_dead(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_sealed(360 + seed, 5);
    node_crash(4);
    run(2 * SECOND);
    struct change changes[2] = {removal_of(4), removal_of(3)};
    command_changes(0, changes, 2, layout_of(0).history_digest);
    run(10 * SECOND);
    assert_done(FIRST(4));
    assert_int_equal(member_ring(member_of(0))->member_count, 3);
    node_start(4);
    run(10 * SECOND);
    assert_done(FIRST(5));
    assert_false(member_is_member(member_of(4)));
  }
}

static void what_a_dead_node_knew_alone_is_lost_with_it(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_sealed(370 + seed, 4);
    for (uint32_t i = 0; i < 3; i++) {
      cut_set(i, 3, true);
    }
    run(2 * SECOND);
    change_at(3, reweighing_of(0, 700)); /* only it hears of this */
    run(SECOND);
    change_at(0, removal_of(3));
    change_at(1, reweighing_of(1, 300));
    if (seed % 2 == 0) {
      run(5 * SECOND);
      assert_done(FIRST(3));
    }
    uint64_t digest = layout_of(0).history_digest;
    for (uint32_t i = 0; i < 3; i++) {
      cut_set(i, 3, false);
    }
    run(15 * SECOND);
    assert_done(FIRST(4));
    assert_int_equal(layout_of(3).history_digest, seed % 2 == 0 ? digest : layout_of(0).history_digest);
    assert_false(member_is_member(member_of(3)));
  }
}

static void two_sides_that_removed_each_other_stay_apart(void **state) {
  (void)state;
  form_sealed(390, 4);
  for (uint32_t a = 0; a < 2; a++) {
    for (uint32_t b = 2; b < 4; b++) {
      cut_set(a, b, true);
    }
  }
  run(2 * SECOND);
  change_at(0, removal_of(2));
  change_at(0, removal_of(3));
  change_at(2, removal_of(0));
  change_at(2, removal_of(1));
  run(10 * SECOND);
  assert_done(FIRST(2));
  assert_done(BIT(2) | BIT(3));
  uint64_t left = layout_of(0).history_digest;
  uint64_t right = layout_of(2).history_digest;
  for (uint32_t a = 0; a < 2; a++) {
    for (uint32_t b = 2; b < 4; b++) {
      world.cut[a][b] = world.cut[b][a] = false;
      link_set(a, b, true);
    }
  }
  struct message gossip = {.type = MESSAGE_GOSSIP, .gossip = {.history_digest = left}};
  say_to(2, 0, &gossip);
  gossip.gossip.history_digest = right;
  say_to(0, 2, &gossip);
  run(10 * SECOND);
  assert_int_equal(layout_of(0).history_digest, left);
  assert_int_equal(layout_of(2).history_digest, right);
  assert_true(world.nodes[0].stats.messages_bad + world.nodes[2].stats.messages_bad > 0);
  assert_false(allows(0, 2, MESSAGE_WRITE));
  assert_false(allows(2, 0, MESSAGE_WRITE));
  assert_int_equal(admit(0), ERR_OK);
  assert_int_equal(admit(2), ERR_OK);
}

/* -- on disk ------------------------------------------------------------------------------------- */

static void a_directory_without_a_mark_has_its_history_as_its_base(void **state) {
  (void)state;
  form_sealed(400, 3);
  for (uint32_t i = 0; i < 3; i++) {
    node_crash(i);
    world.nodes[i].meta[NAME_LAYOUT].size = 0;
  }
  for (uint32_t i = 0; i < 3; i++) {
    node_start(i);
    assert_true(member_is_member(member_of(i)));
  }
  assert_done(FIRST(3));
  run(2 * SECOND);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(durable_mark(&world.nodes[i]).phase, MARK_DONE);
  }
}

static void a_damaged_mark_is_unsound(void **state) {
  (void)state;
  form_sealed(401, 2);
  struct meta *meta = &world.nodes[0].meta[NAME_LAYOUT];
  struct bytes bytes = {meta->data, meta->size};
  assert_true(member_layout_is_sound(bytes));
  assert_true(member_layout_is_sound(BYTES_NONE));
  for (size_t i = 0; i < meta->size; i++) {
    meta->data[i] ^= 0x10;
    assert_false(member_layout_is_sound(bytes));
    meta->data[i] ^= 0x10;
    assert_false(member_layout_is_sound((struct bytes){meta->data, i == 0 ? 1 : i}));
  }
}

static void a_mark_counts_what_has_been_folded_away_too(void **state) {
  (void)state;
  uint8_t data[80];
  struct writer w = writer_make(data, sizeof data);
  write_u8(&w, 2); /* format */
  write_u8(&w, MARK_DONE);
  for (uint32_t i = 0; i < 2; i++) {
    write_u32(&w, 10 * HISTORY_MAX);
    write_u64(&w, 7);
  }
  write_u32(&w, 3); /* revision */
  write_u8(&w, 1);  /* a target that was told */
  write_u64(&w, 5);
  write_u32(&w, 1);
  write_u64(&w, bytes_hash(writer_bytes(&w), 0));
  assert_true(member_layout_is_sound(writer_bytes(&w)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(where_nothing_moves_base_target_and_reading_are_one),
      cmocka_unit_test(an_addition_goes_through_all_phases_to_its_end),
      cmocka_unit_test(the_target_is_written_at_once_and_told_when_older_puts_have_been_answered),
      cmocka_unit_test(a_node_acts_by_a_phase_only_when_it_is_durable),
      cmocka_unit_test(a_mark_that_can_not_be_stored_is_tried_again),
      cmocka_unit_test(a_member_that_is_down_holds_a_change_up_and_nothing_else),
      cmocka_unit_test(a_restart_in_any_phase_goes_on_where_it_was),
      cmocka_unit_test(what_comes_late_is_smaller_and_is_not_looked_at),
      cmocka_unit_test(what_takes_back_an_earlier_mark_counts_and_that_one_no_more),
      cmocka_unit_test(what_a_node_says_that_has_lost_its_directory_is_not_late),
      cmocka_unit_test(a_longer_base_that_a_mark_tells_of_is_taken_in_any_phase),
      cmocka_unit_test(a_base_that_is_no_prefix_of_our_history_is_not_taken),
      cmocka_unit_test(with_more_history_a_node_that_knows_takes_it_as_its_target),
      cmocka_unit_test(with_more_history_a_node_that_holds_releases_and_all_go_on_with_it),
      cmocka_unit_test(a_change_that_waits_for_a_dead_member_is_released_by_its_removal),
      cmocka_unit_test(a_newcomer_that_dies_while_it_is_added_can_be_removed),
      cmocka_unit_test(whoever_reads_by_the_target_takes_all_others_with_it),
      cmocka_unit_test(nobody_goes_on_before_all_others_know_whom_they_may_not_follow),
      cmocka_unit_test(who_has_decided_to_read_does_not_release_whatever_it_learns_meanwhile),
      cmocka_unit_test(nobody_follows_or_answers_one_that_was_removed_and_reads),
      cmocka_unit_test(changes_on_both_sides_of_a_partition_settle_when_they_meet),
      cmocka_unit_test(a_newcomer_serves_nobody_until_all_know_of_it),
      cmocka_unit_test(a_target_is_not_written_by_before_the_nodes_that_it_brings_in_know_of_it),
      cmocka_unit_test(a_newcomer_that_crashes_at_any_time_never_takes_its_history_for_whole),
      cmocka_unit_test(one_that_only_the_newest_ring_has_is_not_listened_to),
      cmocka_unit_test(a_removed_node_that_is_up_takes_part_until_it_is_out),
      cmocka_unit_test(a_node_that_leaves_answers_what_it_has_in_hand_before_the_others_are_done),
      cmocka_unit_test(a_removed_node_that_is_down_holds_nothing_up_and_is_not_listened_to_when_it_returns),
      cmocka_unit_test(one_that_is_fenced_stays_so_until_it_has_said_what_we_have),
      cmocka_unit_test(one_that_returns_is_to_be_checked_against_by_who_does_not_hold_yet),
      cmocka_unit_test(one_that_some_see_up_is_left_out_by_nobody),
      cmocka_unit_test(a_target_is_not_whole_without_one_that_died_before_it_held_and_is_released),
      cmocka_unit_test(two_members_are_removed_at_one_time_one_of_them_dead),
      cmocka_unit_test(what_a_dead_node_knew_alone_is_lost_with_it),
      cmocka_unit_test(two_sides_that_removed_each_other_stay_apart),
      cmocka_unit_test(a_directory_without_a_mark_has_its_history_as_its_base),
      cmocka_unit_test(a_damaged_mark_is_unsound),
      cmocka_unit_test(a_mark_counts_what_has_been_folded_away_too),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
