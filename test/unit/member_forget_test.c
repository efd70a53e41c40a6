/* Nodes that have lost what they had said of layouts (docs/adr/0009): what they say anew counts, nobody goes on by what
 * they said before, and they come back to a target by which others read. Nodes of a world of membership. */
#include "support/member_oracle.h"

static void lacking(uint32_t count, bool lacks) {
  for (uint32_t i = 0; i < count; i++) {
    world.nodes[i].lacks = lacks;
  }
}

/* Its directory is emptied, or what copy_take took is put back, and it starts again. */
static void forget(uint32_t index, bool old) {
  node_crash(index);
  if (old) {
    copy_put_back(index);
  } else {
    node_empty(index);
  }
  node_start(index);
}

/* -- what is said anew ------------------------------------------------------------------------ */

static void what_an_old_copy_says_is_not_late(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_written(1300 + seed, 3);
    copy_take(1);
    write_for(3, 10 * SECOND);
    struct message before = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1)};
    before.heartbeat.mark.revision += 5; /* it had forgotten something once since */
    for (uint32_t i = 0; i < 3; i += 2) {
      say_to(i, 1, &before);
      assert_int_equal(heard_by(i, 1).mark.revision, before.heartbeat.mark.revision);
    }
    forget(1, true);
    run(5 * SECOND);
    assert_int_equal(heard_by(0, 1).mark.revision, before.heartbeat.mark.revision - 5);
    say_to(0, 1, &before); /* but this is: of the life before */
    assert_int_equal(heard_by(0, 1).mark.revision, before.heartbeat.mark.revision - 5);
    change_at(0, reweighing_of(2, 200));
    run(10 * SECOND);
    assert_done(FIRST(3));
  }
}

static void a_life_that_knows_of_another_is_the_later_one_whatever_its_clock_says(void **state) {
  (void)state;
  form_written(1320, 3);
  struct message ahead = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1), .hlc = UINT64_MAX / 2};
  say_to(0, 1, &ahead);
  node_crash(1);
  node_start(1); /* and its clock is far behind what it was */
  run(5 * SECOND);
  uint64_t life = heard_by(0, 1).life;
  assert_int_not_equal(life, ahead.heartbeat.life);
  assert_int_equal(heard_by(1, 0).your_life, life);
  ahead.hlc += 1000;
  say_to(0, 1, &ahead); /* it took long, and its life is over */
  uint64_t heard_ns = world.now_ns;
  while (world.now_ns < heard_ns + SECOND) {
    run(MS);
    assert_int_equal(heard_by(1, 0).your_life, life);
  }
}

static bool listens_to(uint32_t index, uint32_t from) {
  bool reads = allows(index, from, MESSAGE_READ);
  assert_int_equal(allows(index, from, MESSAGE_WRITE), reads);
  assert_int_equal(allows(index, from, MESSAGE_PULL), reads);
  return reads;
}

/* A change has been made since the copy was taken, or is being made. */
static void who_has_gone_back_is_not_listened_to_before_it_knows_the_layouts_again(void **state) {
  (void)state;
  uint32_t behind[2] = {0, 0};
  uint32_t says_nothing = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    bool moving = seed % 2 == 1;
    form_written(1340 + seed, 3);
    copy_take(1);
    lacking(3, moving);
    change_at(0, reweighing_of(2, 200));
    write_for(3, 10 * SECOND);
    uint32_t target = layout_of(0).mark.target_count;
    assert_int_equal(phase_of(0), moving ? MARK_KNOWS : MARK_DONE);
    uint64_t life = heard_by(0, 1).life;
    forget(1, true);
    world.nodes[1].commit_least_ns = SECOND;
    while (layout_of(1).mark.target_count < target) {
      bool heard = heard_by(0, 1).life != life;
      behind[seed % 2] += heard ? 1 : 0;
      says_nothing += heard_by(0, 1).mark.phase == MARK_NONE ? 1 : 0;
      assert_int_equal(listens_to(0, 1), !heard);
      run(MS / 4);
    }
    world.nodes[1].commit_least_ns = 0;
    run(5 * SECOND);
    assert_true(listens_to(0, 1));
  }
  assert_true(behind[0] > 0 && behind[1] > 0 && says_nothing > 0);
}

/* It has lost nothing: before it holds the target it may take another, and what it asks of those who hold this one and
 * have not heard of the other is answered. */
static void who_goes_on_to_a_further_target_is_listened_to(void **state) {
  (void)state;
  uint32_t ahead = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_written(1390 + seed, 3);
    world.nodes[1].lacks = true;
    change_at(0, reweighing_of(2, 200));
    run_to_phase(0, MARK_HOLDS);
    uint32_t target = layout_of(0).mark.target_count;
    world.nodes[0].commit_least_ns = SECOND;
    change_at(2, reweighing_of(2, 300));
    for (uint32_t i = 0; i < 4000; i++) {
      bool holds = phase_of(0) == MARK_HOLDS && layout_of(0).mark.target_count == target;
      ahead += holds && heard_by(0, 1).mark.target_count > target ? 1 : 0;
      assert_true(listens_to(0, 1));
      run(MS / 4);
    }
    world.nodes[0].commit_least_ns = 0;
    world.nodes[1].lacks = false;
    run(10 * SECOND);
    assert_done(FIRST(3));
  }
  assert_true(ahead > 0);
}

static void so_it_is_if_what_is_first_heard_of_its_new_life_knows_of_the_last_one(void **state) {
  (void)state;
  for (uint32_t round = 0; round < 2; round++) {
    form_written(1380 + round, 3);
    lacking(3, true);
    change_at(0, reweighing_of(2, 200));
    run(2 * SECOND);
    struct message first = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1)};
    struct mark *mark = &first.heartbeat.mark;
    first.heartbeat.succeeds = first.heartbeat.life;
    first.heartbeat.life += 1;
    mark->base_count -= round == 0 ? 1 : 0;
    mark->base_digest += round == 0 ? 1 : 0;
    mark->target_count = mark->base_count;
    mark->target_digest = mark->base_digest;
    mark->phase = MARK_DONE;
    assert_true(listens_to(0, 1));
    say_to(0, 1, &first);
    assert_false(listens_to(0, 1));
    assert_int_equal(heard_by(0, 1).mark.phase, round == 0 ? MARK_NONE : MARK_DONE);
  }
}

/* It coordinates by layouts that are over, and would write where nobody reads. */
static void an_old_copy_serves_nobody_before_it_knows_the_layouts_of_the_others(void **state) {
  (void)state;
  uint32_t refused = 0;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_written(1360 + seed, 3);
    copy_take(1);
    change_at(0, reweighing_of(2, 200));
    write_for(3, 10 * SECOND);
    uint32_t base = layout_of(0).mark.base_count;
    world.nodes[1].lacks = true;
    forget(1, true);
    while (layout_of(1).mark.base_count < base) {
      if (member_loss(member_of(1)) != LOSS_NONE) {
        assert_int_equal(admit(1), ERR_NOTMEMBER);
        refused += 1;
      }
      run(MS / 4);
    }
    run(5 * SECOND);
    assert_int_equal(admit(1), ERR_OK);
  }
  assert_true(refused > 0);
}

/* -- layouts that change meanwhile --------------------------------------------------------------- */

enum more { MORE_REWEIGHING, MORE_REMOVAL, MORE_REMOVAL_OF_THE_NEW, MORE_ADDITION, MORE_COUNT };

/* Members 0, 1, 2 read by the target to which node 3 is being added; that one has not said so yet. More changes are
 * known. */
static void begin_reading(uint64_t seed, enum more more) {
  form_written(seed, 3);
  uint32_t spare = node_add(1);
  lacking(4, true);
  run(2 * SECOND);
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(2 * SECOND);
  lacking(4, false);
  run_to_phase(spare, MARK_HOLDS);
  world.nodes[spare].commit_least_ns = 1000 * SECOND;
  for (uint32_t i = 0; i < 3; i++) {
    run_to_phase(i, MARK_READS);
  }
  switch (more) {
  case MORE_REWEIGHING:
    change_at(0, reweighing_of(2, 200));
    break;
  case MORE_REMOVAL:
  case MORE_REMOVAL_OF_THE_NEW:
    change_at(0, removal_of(more == MORE_REMOVAL ? 2 : spare));
    break;
  case MORE_ADDITION: /* who comes by that alone was never bound by what they read by */
    change_at(0, wish_of(CHANGE_ADD, node_add(1)));
    run_to_phase(4, MARK_KNOWS);
    break;
  case MORE_COUNT:
    fail();
  }
  run(2 * SECOND);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(phase_of(i), MARK_READS);
  }
}

static void who_has_forgotten_by_what_it_reads_comes_back_to_it(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 32; seed++) {
    enum more more = (enum more)(seed % MORE_COUNT);
    begin_reading(1400 + seed, more);
    uint32_t target = layout_of(0).mark.target_count;
    cut_set(0, 1, more == MORE_REMOVAL); /* at first it hears of nobody who reads, but one that is removed */
    forget(1, false);
    run(more == MORE_REMOVAL ? 5 * SECOND : 0);
    assert_true(layout_of(1).mark.target_count < target); /* and may be bound: it says nothing */
    cut_set(0, 1, false);
    for (uint32_t i = 0; i < 10000 && phase_of(1) != MARK_READS; i++) {
      run(MS);
      assert_int_equal(layout_of(0).mark.target_count, target);
      assert_int_equal(layout_of(2).mark.target_count, target);
      assert_true(layout_of(1).mark.target_count <= target);
    }
    assert_int_equal(layout_of(1).mark.target_count, target);
    assert_int_equal(member_loss(member_of(1)), LOSS_EMPTIED); /* until it is done with it */
    node_crash(3);
    world.nodes[3].commit_least_ns = 0;
    node_start(3);
    run(30 * SECOND);
    assert_done(BIT(0) | BIT(1) | (more == MORE_REMOVAL ? 0 : BIT(2)) | (more == MORE_REMOVAL_OF_THE_NEW ? 0 : BIT(3)) |
                (more == MORE_ADDITION ? BIT(4) : 0));
    assert_int_equal(member_loss(member_of(1)), LOSS_NONE);
  }
}

/* All had left out one that was removed when it was down. It is up again, and has gone on to a further target. */
static void who_has_forgotten_leaves_out_whom_the_others_leave_out(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_written(1430 + seed, 4);
    node_crash(3);
    change_at(0, removal_of(3));
    run_to_phase(1, MARK_HOLDS);
    world.nodes[1].commit_least_ns = 1000 * SECOND;
    run_to_phase(0, MARK_READS);
    run_to_phase(2, MARK_READS);
    uint32_t target = layout_of(0).mark.target_count;
    change_at(0, reweighing_of(2, 200));
    cut_set(1, 3, true); /* who could tell it of the first change alone */
    node_start(3);
    run(10 * SECOND);
    assert_true(layout_of(3).mark.target_count > target);
    cut_set(1, 3, false);
    world.nodes[1].commit_least_ns = 0;
    forget(1, false);
    for (uint32_t i = 0; i < 30000 && layout_of(1).mark.base_count < target; i++) {
      run(MS);
      assert_true(layout_of(1).mark.target_count <= target);
    }
    assert_int_equal(layout_of(1).mark.base_count, target);
    run(30 * SECOND);
    assert_done(FIRST(3));
  }
}

/* They took one that still reads by it for removed, by a record that does not count any more: it will follow them. */
static void nobody_comes_back_to_a_target_beyond_which_others_are(void **state) {
  (void)state;
  begin_reading(1435, MORE_REWEIGHING);
  uint32_t target = layout_of(0).mark.target_count;
  world.nodes[1].lacks = true;
  forget(1, false);
  run(5 * SECOND);
  assert_int_equal(layout_of(1).mark.target_count, target);
  assert_int_equal(phase_of(1), MARK_KNOWS);
  node_crash(0);
  node_crash(2);
  run(MS);
  struct message beyond = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(1, 2)};
  beyond.heartbeat.mark.phase = MARK_KNOWS;
  beyond.heartbeat.mark.target_count = target + 1;
  beyond.heartbeat.mark.target_digest = layout_of(1).history_digest;
  say_to(1, 2, &beyond);
  run(2 * SECOND);
  assert_int_equal(layout_of(1).mark.target_count, target + 1);
}

static void tell(uint32_t to, uint32_t from, enum mark_phase phase, uint64_t your_life) {
  struct message message = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(to, from)};
  message.heartbeat.mark.phase = (uint8_t)phase;
  message.heartbeat.your_life = your_life;
  say_to(to, from, &message);
}

/* What it had said may have been that it releases the target, and others may have gone on by that. */
static void who_has_forgotten_what_it_said_does_not_read_by_what_another_has_released(void **state) {
  (void)state;
  for (uint32_t round = 0; round < 2; round++) {
    form_written(1440 + round, 3);
    lacking(3, true);
    change_at(0, reweighing_of(2, 200));
    run(2 * SECOND);
    forget(1, false);
    run_to_phase(1, MARK_KNOWS);
    run(2 * SECOND);
    uint64_t life = heard_by(0, 1).life;
    node_crash(0);
    node_crash(2);
    run(MS);
    tell(1, 0, round == 1 ? MARK_RELEASES : MARK_HOLDS, life);
    tell(1, 2, MARK_HOLDS, life);
    world.nodes[1].lacks = false;
    run(SECOND);
    assert_int_equal(phase_of(1), round == 1 ? MARK_HOLDS : MARK_READS);
  }
}

static void who_has_forgotten_what_it_said_says_nothing_before_all_have_heard_of_that(void **state) {
  (void)state;
  form_written(1460, 3);
  lacking(3, true);
  change_at(0, reweighing_of(2, 200));
  run(2 * SECOND);
  node_crash(1);
  cut_set(0, 1, true);
  node_empty(1);
  node_start(1);
  run(10 * SECOND); /* told by 2 */
  assert_int_equal(layout_of(1).history_digest, layout_of(2).history_digest);
  assert_int_equal(phase_of(1), MARK_DONE);
  assert_int_equal(admit(1), ERR_NOTMEMBER); /* the base may be over */
  struct message reads = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(2, 0)};
  reads.heartbeat.mark.phase = MARK_RELEASES;
  reads.heartbeat.history_digest = 0; /* it is storing that it reads */
  reads.heartbeat.your_life = heard_by(2, 1).life;
  say_to(1, 0, &reads);
  run(2 * SECOND);
  assert_int_equal(phase_of(1), MARK_DONE);
  reads.heartbeat.history_digest = layout_of(2).history_digest; /* it does not */
  say_to(1, 0, &reads);
  run_to_phase(1, MARK_KNOWS);
  assert_int_not_equal(admit(1), ERR_NOTMEMBER);
}

static void who_comes_back_holding_a_target_does_not_read_by_it_before_all_have_heard_of_that(void **state) {
  (void)state;
  form_written(1470, 3);
  lacking(3, true);
  world.nodes[1].lacks = false;
  change_at(0, reweighing_of(2, 200));
  run_to_phase(1, MARK_HOLDS);
  copy_take(1);
  write_for(3, 10 * SECOND);
  struct message message = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(1, 0)};
  cut_set(0, 1, true);
  forget(1, true);
  run(5 * SECOND);
  assert_int_equal(member_loss(member_of(1)), LOSS_OLD);
  uint64_t life = heard_by(2, 1).life;
  node_crash(2);
  run(MS);
  tell(1, 2, MARK_HOLDS, life);
  message.heartbeat.mark.phase = MARK_HOLDS;
  say_to(1, 0, &message); /* which knows of the life before */
  run(2 * SECOND);
  assert_int_equal(phase_of(1), MARK_HOLDS);
  message.heartbeat.your_life = life;
  say_to(1, 0, &message);
  run(2 * SECOND);
  assert_int_equal(phase_of(1), MARK_READS);
}

/* -- what it had said, and nobody that it hears knows -------------------------------------------- */

/* Members 0, 1, 2, and node 3 is being added. One of them has heard that all hold the target, and reads by it; nobody
 * has heard of that, and the others have released it, for more is known. A copy of 1 is older than all that, or is of
 * when it held the target. */
static void begin_with_one_reader(uint64_t seed, uint32_t reader, bool holding) {
  form_written(seed, 3);
  copy_take(1);
  write_for(3, 10 * SECOND);
  uint32_t spare = node_add(1);
  lacking(4, true);
  run(2 * SECOND);
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(2 * SECOND);
  for (uint32_t i = 0; i < 4; i++) {
    world.nodes[i].silent = i == reader ? FIRST(4) : FIRST(4) & ~BIT(reader);
  }
  if (holding) {
    world.nodes[reader].silent = 0;
    lacking(3, false);
    run_to_phase(1, MARK_HOLDS);
    copy_take(1);
    write_for(3, 10 * SECOND); /* else nobody could know that the copy is old */
    world.nodes[reader].silent = FIRST(4);
  }
  lacking(4, false);
  run_to_phase(reader, MARK_READS);
  for (uint32_t i = 0; i < 4; i++) {
    world.nodes[i].silent = i == reader ? FIRST(4) : 0;
  }
  change_at(reader == 0 ? 1 : 0, reweighing_of(2, 300));
  run(2 * SECOND);
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(phase_of(i), i == reader ? MARK_READS : MARK_RELEASES);
  }
}

static void cut_off(uint32_t index, bool cut) {
  for (uint32_t i = 0; i < 4; i++) {
    if (i != index) {
      cut_set(i, index, cut);
    }
  }
}

static void all_is_whole(void) {
  for (uint32_t i = 0; i < 4; i++) {
    world.nodes[i].silent = 0;
    cut_off(i, false);
  }
  write_for(4, 60 * SECOND);
  assert_done(FIRST(4));
  assert_int_equal(member_loss(member_of(1)), LOSS_NONE);
}

static void nobody_releases_by_the_word_of_one_that_has_forgotten_that_it_reads(void **state) {
  (void)state;
  for (uint32_t old = 0; old < 2; old++) {
    begin_with_one_reader(1520 + old, 1, old == 1);
    uint32_t target = layout_of(0).mark.target_count;
    world.nodes[2].silent = FIRST(4); /* it alone hears that 1 reads, and follows */
    world.nodes[1].silent = FIRST(4) & ~BIT(2);
    run_to_phase(2, MARK_READS);
    cut_off(2, true);
    world.nodes[1].silent = 0;
    forget(1, old == 1);
    run(10 * SECOND);
    assert_int_equal(layout_of(1).history_digest, layout_of(0).history_digest);
    assert_int_equal(phase_of(0), MARK_RELEASES);
    assert_int_equal(layout_of(0).mark.target_count, target);
    assert_int_equal(phase_of(1), old == 1 ? MARK_HOLDS : MARK_DONE);
    all_is_whole();
  }
}

static void who_has_forgotten_a_target_writes_nothing_that_its_readers_miss(void **state) {
  (void)state;
  for (uint32_t old = 0; old < 2; old++) {
    begin_with_one_reader(1530 + old, 3, false);
    cut_set(1, 3, true);
    forget(1, old == 1);
    write_for(3, 10 * SECOND);
    assert_int_equal(admit(1), ERR_NOTMEMBER);
    check_reads_meet_writes();
    all_is_whole();
  }
}

/* Else nothing would make it come back to the target, and those who read by it would wait for it for ever. */
static void a_loss_is_not_made_good_by_a_base_that_may_be_over(void **state) {
  (void)state;
  begin_with_one_reader(1540, 3, false);
  cut_off(3, true);
  forget(1, true);
  for (uint32_t i = 0; i < 3; i += 2) { /* nor do others know that it has gone back */
    node_crash(i);
    node_start(i);
  }
  write_for(3, 20 * SECOND);
  assert_int_equal(member_loss(member_of(1)), LOSS_OLD);
  all_is_whole();
}

static void who_may_have_been_done_with_the_base_does_not_serve_by_it(void **state) {
  (void)state;
  for (uint32_t old = 0; old < 2; old++) {
    begin_with_one_reader(1550 + old, 0, false);
    for (uint32_t i = 0; i < 4; i++) {
      world.nodes[i].silent = FIRST(4) & ~BIT(0); /* all follow it, and it alone hears of that */
    }
    world.nodes[0].silent = 0;
    for (uint32_t i = 1; i < 4; i++) {
      run_to_phase(i, MARK_READS);
    }
    world.nodes[0].silent = FIRST(4);
    run_to_phase(0, MARK_DONE);
    cut_off(0, true);
    forget(1, old == 1);
    for (uint32_t i = 1; i < 4; i++) {
      world.nodes[i].silent = 0;
    }
    write_for(4, 10 * SECOND);
    assert_int_equal(admit(1), ERR_NOTMEMBER);
    all_is_whole();
  }
}

static void who_holds_a_target_listens_to_nobody_who_does_not_know_it(void **state) {
  (void)state;
  begin_reading(1560, MORE_REWEIGHING);
  struct message less = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1)};
  assert_true(listens_to(0, 1));
  struct mark *mark = &less.heartbeat.mark;
  *mark = (struct mark){mark->base_count, mark->base_count,  mark->base_digest, mark->base_digest,
                        MARK_DONE,        mark->revision + 1}; /* as who stores its first mark does: that is greater */
  say_to(0, 1, &less);
  assert_false(listens_to(0, 1));
}

/* In its last life it may have said that it holds the target by which others read: no rule has freed it of that. */
static void nor_to_one_that_has_known_it_in_an_earlier_life_alone_and_is_beyond_it(void **state) {
  (void)state;
  begin_reading(1565, MORE_REWEIGHING);
  struct message further = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1)};
  further.heartbeat.succeeds = further.heartbeat.life;
  further.heartbeat.life += 1;
  further.heartbeat.mark.phase = MARK_KNOWS;
  further.heartbeat.mark.target_count += 1;
  further.heartbeat.mark.target_digest += 1;
  assert_true(listens_to(0, 1));
  say_to(0, 1, &further);
  assert_false(listens_to(0, 1));
}

static void of_a_life_that_is_over_nothing_counts(void **state) {
  (void)state;
  form_written(1570, 3);
  struct message late = {.type = MESSAGE_HEARTBEAT, .heartbeat = heard_by(0, 1)};
  lacking(3, true);
  change_at(0, reweighing_of(2, 200));
  run(2 * SECOND);
  node_crash(1);
  node_start(1);
  run(3 * SECOND);
  late.heartbeat.loss = LOSS_OLD;
  say_to(0, 1, &late);
  assert_int_equal(heard_by(0, 1).loss, LOSS_NONE);
  assert_true(listens_to(0, 1));
}

static void an_old_copy_takes_no_change_before_it_has_heard_anybody(void **state) {
  (void)state;
  form_written(1580, 3);
  copy_take(1);
  change_at(0, reweighing_of(2, 200));
  write_for(3, 10 * SECOND);
  cut_set(1, 0, true);
  cut_set(1, 2, true);
  forget(1, true);
  run(100 * MS);
  const struct change change = reweighing_of(0, 300);
  command_changes(1, &change, 1, layout_of(1).history_digest);
  run(100 * MS);
  assert_int_equal(world.nodes[1].reply_err, ERR_BUSY);
  assert_non_null(strstr(world.nodes[1].reply_why, "has only just started"));
}

static void a_loss_is_not_made_good_before_all_that_stay_have_heard_of_it(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_written(1480 + seed, 3);
    world.nodes[1].silent = BIT(2); /* which it hears, and is not heard by */
    forget(1, false);
    write_for(3, 20 * SECOND);
    assert_int_equal(member_loss(member_of(1)), LOSS_EMPTIED);
    world.nodes[1].silent = 0;
    write_for(3, 10 * SECOND);
    assert_int_equal(member_loss(member_of(1)), LOSS_NONE);
  }
}

/* The one that stays has forgotten, and those who have not are removed: together they know. */
static void a_newcomer_is_introduced_where_the_one_that_stays_has_lost_its_directory(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    form_written(1500 + seed, 3);
    uint32_t spare = node_add(1);
    run(2 * SECOND);
    lacking(4, true);
    forget(0, false);
    run(5 * SECOND);
    assert_int_equal(member_loss(member_of(0)), LOSS_EMPTIED);
    struct change changes[3] = {wish_of(CHANGE_ADD, spare), removal_of(1), removal_of(2)};
    command_changes(1, changes, 3, layout_of(1).history_digest);
    run(10 * SECOND);
    assert_int_equal(world.nodes[1].reply_err, ERR_OK);
    assert_int_equal(phase_of(spare), MARK_KNOWS);
    lacking(4, false);
    run(20 * SECOND);
    assert_done(BIT(0) | BIT(spare));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_an_old_copy_says_is_not_late),
      cmocka_unit_test(a_life_that_knows_of_another_is_the_later_one_whatever_its_clock_says),
      cmocka_unit_test(who_has_gone_back_is_not_listened_to_before_it_knows_the_layouts_again),
      cmocka_unit_test(who_goes_on_to_a_further_target_is_listened_to),
      cmocka_unit_test(so_it_is_if_what_is_first_heard_of_its_new_life_knows_of_the_last_one),
      cmocka_unit_test(an_old_copy_serves_nobody_before_it_knows_the_layouts_of_the_others),
      cmocka_unit_test(who_has_forgotten_by_what_it_reads_comes_back_to_it),
      cmocka_unit_test(who_has_forgotten_leaves_out_whom_the_others_leave_out),
      cmocka_unit_test(nobody_comes_back_to_a_target_beyond_which_others_are),
      cmocka_unit_test(who_has_forgotten_what_it_said_does_not_read_by_what_another_has_released),
      cmocka_unit_test(who_has_forgotten_what_it_said_says_nothing_before_all_have_heard_of_that),
      cmocka_unit_test(who_comes_back_holding_a_target_does_not_read_by_it_before_all_have_heard_of_that),
      cmocka_unit_test(nobody_releases_by_the_word_of_one_that_has_forgotten_that_it_reads),
      cmocka_unit_test(who_has_forgotten_a_target_writes_nothing_that_its_readers_miss),
      cmocka_unit_test(a_loss_is_not_made_good_by_a_base_that_may_be_over),
      cmocka_unit_test(who_may_have_been_done_with_the_base_does_not_serve_by_it),
      cmocka_unit_test(who_holds_a_target_listens_to_nobody_who_does_not_know_it),
      cmocka_unit_test(nor_to_one_that_has_known_it_in_an_earlier_life_alone_and_is_beyond_it),
      cmocka_unit_test(of_a_life_that_is_over_nothing_counts),
      cmocka_unit_test(an_old_copy_takes_no_change_before_it_has_heard_anybody),
      cmocka_unit_test(a_loss_is_not_made_good_before_all_that_stay_have_heard_of_it),
      cmocka_unit_test(a_newcomer_is_introduced_where_the_one_that_stays_has_lost_its_directory),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
