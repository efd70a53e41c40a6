/* Changes that an administrator commits (paper §4.8.1): all or none, on the ring that they were planned on; and the
 * nodes that wait to be added. */
#include "support/member_world.h"

static void refused_at(uint32_t at, const struct change *changes, uint32_t count, const char *words) {
  uint64_t replies = world.nodes[at].replies;
  uint64_t digest = layout_of(at).history_digest;
  command_changes(at, changes, count, digest);
  assert_int_equal(world.nodes[at].replies, replies + 1);
  assert_int_equal(world.nodes[at].reply_err, ERR_REFUSED);
  assert_non_null(strstr(world.nodes[at].reply_why, words));
  run(SECOND);
  assert_int_equal(layout_of(at).history_digest, digest);
}

static struct candidate_view candidates[JOINERS_MAX];

static bool is_candidate(uint32_t at, uint32_t node) {
  uint32_t count = member_candidates(member_of(at), candidates, JOINERS_MAX);
  for (uint32_t i = 0; i < count; i++) {
    if (candidates[i].change.node == world.nodes[node].id) {
      return true;
    }
  }
  return false;
}

/* -- candidates -------------------------------------------------------------------------------- */

static void where_there_is_data_a_node_waits_and_is_told_what_to_type(void **state) {
  (void)state;
  form_sealed(500, 3);
  uint32_t spare = node_add(2);
  run(5 * SECOND);
  assert_false(is_in_ring(0, spare));
  assert_false(member_is_member(member_of(spare)));
  assert_non_null(strstr(member_refusal(member_of(spare)), "gramme plan add 10.0.0.1:16603"));
  assert_non_null(strstr(member_refusal(member_of(spare)), "gramme commit"));
  assert_int_equal(layout_of(0).history_digest, layout_of(2).history_digest);
  assert_int_equal(history_length(member_history(member_of(0))), 3);
}

static void a_node_that_waits_is_known_to_every_member_until_it_is_silent_or_added(void **state) {
  (void)state;
  form_sealed(501, 4);
  uint32_t first = node_add(2);
  run(SECOND);
  uint32_t second = node_add(4);
  run(4 * SECOND);
  for (uint32_t i = 0; i < 4; i++) {
    assert_true(is_candidate(i, first));
    assert_true(is_candidate(i, second));
    assert_int_equal(member_candidates(member_of(i), candidates, 1), 1);
    struct candidate_view latest = candidates[0];
    assert_int_equal(member_candidates(member_of(i), candidates, JOINERS_MAX), 2);
    assert_int_equal(candidates[0].change.node, latest.change.node);
    assert_true(candidates[0].heard_ns >= candidates[1].heard_ns);
    assert_int_equal(candidates[0].change.kind, CHANGE_ADD);
    assert_int_equal(candidates[0].change.weight, 100);
    assert_true(candidates[0].change.name[0] == 'n');
  }
  node_crash(second);
  run(CANDIDATE_KEEP_NS + SECOND);
  assert_false(is_candidate(0, second));
  assert_true(is_candidate(0, first));
  change_at(3, wish_of(CHANGE_ADD, first));
  run(5 * SECOND);
  assert_one_cluster(5);
  for (uint32_t i = 0; i < 5; i++) {
    assert_false(is_candidate(i, first));
  }
}

static void so_many_wait_and_the_one_heard_least_lately_makes_room(void **state) {
  (void)state;
  form_sealed(502, 2);
  uint32_t from = world.nodes[1].id;
  for (uint32_t i = 0; i < JOINERS_MAX + 3; i++) {
    uint8_t room[512];
    struct message join = {.type = MESSAGE_JOIN, .object = add_of(70000 + i, (uint16_t)(100 + i), room, sizeof(room))};
    WITH(0, member_message(node->member, &step, from, &join));
    assert_int_equal(effects.count, 0); /* what was passed on is not passed on again */
    world.now_ns += MS;
  }
  assert_int_equal(member_candidates(member_of(0), candidates, JOINERS_MAX), JOINERS_MAX);
  assert_int_equal(candidates[0].change.node, 70000 + JOINERS_MAX + 2);
  assert_int_equal(candidates[JOINERS_MAX - 1].change.node, 70003);
}

static void a_stranger_may_not_pass_on_another_joiner(void **state) {
  (void)state;
  form_sealed(503, 2);
  uint8_t room[512];
  struct message join = {.type = MESSAGE_JOIN, .object = add_of(70000, 9, room, sizeof(room))};
  WITH(0, member_message(node->member, &step, 4242, &join));
  assert_int_equal(world.nodes[0].stats.messages_bad, 1);
  assert_int_equal(member_candidates(member_of(0), candidates, JOINERS_MAX), 0);
}

static void a_node_that_was_removed_is_not_taken_in_again(void **state) {
  (void)state;
  form_sealed(504, 3);
  node_crash(2);
  run(2 * SECOND);
  change_at(0, wish_of(CHANGE_REMOVE, 2));
  run(5 * SECOND);
  node_empty(2); /* its id alone has been kept */
  node_start(2);
  world.nodes[2].seeds = 1;
  run(5 * SECOND);
  assert_false(is_candidate(0, 2));
  assert_non_null(strstr(member_refusal(member_of(2)), "was removed from this cluster"));
  assert_non_null(strstr(member_refusal(member_of(2)), "empty data directory"));
  struct change add = wish_of(CHANGE_ADD, 2);
  refused_at(0, &add, 1, "was removed from this cluster before");
}

static void a_new_node_at_a_dead_members_address_waits_to_replace_it(void **state) {
  (void)state;
  form_sealed(505, 3);
  node_crash(2);
  run(2 * SECOND);
  node_empty(2);
  uint32_t old = world.nodes[2].id;
  world.nodes[2].id += 4096;
  world.nodes[2].seeds = 1;
  node_start(2);
  run(3 * SECOND);
  assert_true(is_candidate(0, 2));
  assert_true(is_candidate(1, 2));
  assert_non_null(strstr(member_refusal(member_of(2)), "gramme plan replace"));
  struct change change = wish_of(CHANGE_REPLACE, 2);
  change.old = old;
  change_at(1, change);
  run(10 * SECOND);
  assert_one_cluster(3);
  assert_int_equal(layout_of(0).mark.phase, MARK_DONE);
  assert_true(ring_find(member_ring(member_of(0)), old) < 0);
}

/* -- commands ------------------------------------------------------------------------------------ */

static struct change reweigh(uint32_t index, uint32_t weight) {
  struct change change = wish_of(CHANGE_REWEIGH, index);
  change.weight = weight;
  return change;
}

static void changes_are_answered_when_they_are_durable_and_told_to_all_at_once(void **state) {
  (void)state;
  form_sealed(520, 3);
  world.nodes[0].commit_least_ns = SECOND;
  struct change change = reweigh(1, 500);
  uint64_t replies = world.nodes[0].replies;
  command_changes(0, &change, 1, layout_of(0).history_digest);
  run(900 * MS);
  assert_int_equal(world.nodes[0].replies, replies);
  assert_int_equal(layout_of(0).history_digest, layout_of(1).history_digest);
  run(200 * MS);
  assert_int_equal(world.nodes[0].replies, replies + 1);
  assert_int_equal(world.nodes[0].reply_err, ERR_OK);
  assert_int_equal(durable_digest(&world.nodes[0]), layout_of(0).history_digest);
  assert_int_equal(layout_of(0).history_digest, layout_of(1).history_digest);
  assert_int_equal(layout_of(0).history_digest, layout_of(2).history_digest);
  const struct change *last = &member_history(member_of(2))->changes[3];
  assert_int_equal(last->kind, CHANGE_REWEIGH);
  assert_int_equal(last->issuer, world.nodes[0].id);
}

static void several_changes_follow_each_other_behind_all_that_is_known(void **state) {
  (void)state;
  form_sealed(521, 3);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  world.nodes[1].hlc.last = 0; /* its clock is behind */
  struct change changes[3] = {wish_of(CHANGE_ADD, spare), wish_of(CHANGE_REMOVE, 2), reweigh(spare, 300)};
  command_changes(1, changes, 3, layout_of(1).history_digest);
  run(5 * SECOND);
  assert_int_equal(world.nodes[1].reply_err, ERR_OK);
  const struct history *history = member_history(member_of(0));
  assert_int_equal(history->count, 6);
  assert_true(history->changes[3].time > history->changes[2].time);
  for (uint32_t i = 3; i < 6; i++) {
    assert_int_equal(history->changes[i].kind, changes[i - 3].kind);
    assert_int_equal(history->changes[i].time, history->changes[3].time + i - 3);
    assert_int_equal(history->changes[i].issuer, world.nodes[1].id);
  }
  const struct ring *ring = member_ring(member_of(0));
  assert_int_equal(ring->member_count, 3);
  assert_int_equal(ring->members[ring_find(ring, world.nodes[spare].id)].weight, 300);
}

static void a_plan_for_another_ring_is_refused(void **state) {
  (void)state;
  form_sealed(522, 3);
  uint64_t planned = layout_of(0).history_digest;
  struct change change = reweigh(1, 500);
  change_at(1, change);
  run(2 * SECOND);
  command_changes(0, &change, 1, planned);
  assert_int_equal(world.nodes[0].reply_err, ERR_REFUSED);
  assert_non_null(strstr(world.nodes[0].reply_why, "the ring has changed since this was planned"));
}

static void all_changes_are_made_or_none(void **state) {
  (void)state;
  form_sealed(523, 3);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  struct change changes[2] = {wish_of(CHANGE_ADD, spare), wish_of(CHANGE_ADD, spare)};
  refused_at(0, changes, 2, "is a member already");
  changes[1] = reweigh(spare, WEIGHT_MAX + 1);
  uint64_t digest = layout_of(0).history_digest;
  command_changes(0, changes, 2, digest);
  assert_int_equal(world.nodes[0].reply_err, ERR_BADARG);
  run(3 * SECOND);
  assert_int_equal(layout_of(0).history_digest, digest);
  assert_int_equal(durable_digest(&world.nodes[0]), digest);
  changes[1].weight = 300;
  command_changes(0, changes, 2, digest);
  run(5 * SECOND);
  assert_int_equal(world.nodes[0].reply_err, ERR_OK);
  assert_one_cluster(4);
}

static void changes_that_make_no_sense_are_refused_in_words(void **state) {
  (void)state;
  form_sealed(524, 2);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  struct change changes[3] = {wish_of(CHANGE_REMOVE, spare)};
  refused_at(0, changes, 1, "to be removed is not a member");
  changes[0] = wish_of(CHANGE_REWEIGH, spare);
  refused_at(0, changes, 1, "to be reweighed is not a member");
  changes[0] = wish_of(CHANGE_ADD, 1);
  refused_at(0, changes, 1, "is a member already");
  changes[0] = wish_of(CHANGE_ADD, spare);
  changes[0].peer_port = world.nodes[1].port;
  refused_at(0, changes, 1, "has the address");
  changes[0] = replacement_of(spare, spare);
  changes[0].node += 1;
  refused_at(0, changes, 1, "to be replaced is not a member");
  changes[0] = replacement_of(0, 1);
  refused_at(0, changes, 1, "is a member already");
  changes[0] = wish_of(CHANGE_FOUND, spare);
  refused_at(0, changes, 1, "founded once");
  changes[0] = wish_of(CHANGE_REMOVE, 0);
  changes[1] = wish_of(CHANGE_REMOVE, 1);
  refused_at(0, changes, 2, "last member");
  refused_at(0, changes, 0, "or none");
  /* A node may take the address of one that goes in the same commit. */
  changes[0] = wish_of(CHANGE_REMOVE, 1);
  changes[1] = wish_of(CHANGE_ADD, spare);
  changes[1].peer_port = world.nodes[1].port;
  command_changes(0, changes, 2, layout_of(0).history_digest);
  run(SECOND);
  assert_int_equal(world.nodes[0].reply_err, ERR_OK);
}

/* Else nobody could tell those who come what was agreed upon before. */
static void one_of_those_who_hold_the_data_stays_until_others_do(void **state) {
  (void)state;
  form_sealed(527, 2);
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  struct change changes[2] = {replacement_of(0, spare), wish_of(CHANGE_REMOVE, 1)};
  refused_at(1, changes, 2, "the last of the nodes that hold the data");
  command_changes(1, changes, 1, layout_of(1).history_digest);
  while (world.nodes[1].reply_err != ERR_OK) {
    run(MS);
  }
  refused_at(1, &changes[1], 1, "the last of the nodes that hold the data");
  run(20 * SECOND);
  assert_int_equal(layout_of(1).mark.phase, MARK_DONE);
  command_changes(1, &changes[1], 1, layout_of(1).history_digest);
  run(SECOND);
  assert_int_equal(world.nodes[1].reply_err, ERR_OK);
}

static void one_command_is_stored_at_a_time(void **state) {
  (void)state;
  form_sealed(525, 2);
  world.nodes[0].commit_least_ns = SECOND;
  struct change change = reweigh(1, 500);
  uint64_t replies = world.nodes[0].replies;
  command_changes(0, &change, 1, layout_of(0).history_digest);
  command_changes(0, &change, 1, layout_of(0).history_digest);
  assert_int_equal(world.nodes[0].replies, replies + 1);
  assert_int_equal(world.nodes[0].reply_err, ERR_BUSY);
  run(2 * SECOND);
  assert_int_equal(world.nodes[0].replies, replies + 2);
  assert_int_equal(world.nodes[0].reply_err, ERR_OK);
  assert_int_equal(history_length(member_history(member_of(0))), 3);
}

static void what_can_not_be_stored_is_taken_back(void **state) {
  (void)state;
  form_sealed(526, 2);
  uint64_t digest = layout_of(0).history_digest;
  world.nodes[0].commit_err = ERR_NOSPACE;
  struct change change = reweigh(1, 500);
  command_changes(0, &change, 1, digest);
  run(100 * MS);
  assert_int_equal(world.nodes[0].reply_err, ERR_NOSPACE);
  run(3 * SECOND);
  world.nodes[0].commit_err = ERR_OK;
  run(3 * SECOND);
  assert_int_equal(layout_of(0).history_digest, digest);
  assert_int_equal(layout_of(1).history_digest, digest);
  assert_int_equal(durable_digest(&world.nodes[0]), digest);
  change_at(0, change);
  run(3 * SECOND);
  assert_int_equal(layout_of(1).history_digest, layout_of(0).history_digest);
}

/* A heartbeat has a bit for each node that is on its way out. */
static void only_so_many_can_be_leaving_at_a_time(void **state) {
  (void)state;
  form_sealed(523, 1);
  node_crash(0);
  static struct history history;
  struct meta *meta = &world.nodes[0].meta[NAME_HISTORY];
  uint32_t added = 0;
  history_init(&history);
  assert_int_equal(history_merge(&history, (struct bytes){meta->data, meta->size}, &added), ERR_OK);
  struct change removals[REMOVALS_MAX + 1];
  for (uint32_t i = 0; i <= REMOVALS_MAX; i++) {
    struct change add = wish_of(CHANGE_ADD, 0);
    add.node = 90000 + i;
    add.peer_port = (uint16_t)(20000 + i);
    add.time = history.changes[history.count - 1].time + 1;
    add.issuer = world.nodes[0].id;
    assert_int_equal(history_add(&history, &add), ERR_OK);
    removals[i] = wish_of(CHANGE_REMOVE, 0);
    removals[i].node = add.node;
  }
  struct writer w = writer_make(meta->data, META_MAX_BYTES);
  history_encode(&history, &w);
  assert_false(w.failed);
  meta->size = w.size;
  world.nodes[0].meta[NAME_LAYOUT].size = 0; /* what it knows is its base */
  node_start(0);
  run(10 * SECOND); /* none of the others will ever tell anything */
  assert_int_equal(member_ring(member_of(0))->member_count, REMOVALS_MAX + 2);
  command_changes(0, removals, REMOVALS_MAX - 1, layout_of(0).history_digest);
  run(SECOND);
  assert_int_equal(world.nodes[0].reply_err, ERR_OK);
  refused_at(0, &removals[REMOVALS_MAX - 1], 2, "no more than 64 nodes can be leaving at a time");
  command_changes(0, &removals[REMOVALS_MAX - 1], 1, layout_of(0).history_digest);
  run(SECOND);
  assert_int_equal(world.nodes[0].reply_err, ERR_OK);
  refused_at(0, &removals[REMOVALS_MAX], 1, "no more than 64 nodes can be leaving at a time");
}

static void a_node_that_is_leaving_takes_no_changes(void **state) {
  (void)state;
  form_sealed(527, 3);
  world.nodes[1].lacks = true;
  change_at(2, wish_of(CHANGE_REMOVE, 2));
  run(2 * SECOND);
  struct change change = reweigh(1, 500);
  refused_at(2, &change, 1, "is being removed");
}

/* It has never been connected to it: that is no sign that it is down. */
static void a_newcomer_listens_to_the_node_that_it_replaces_as_soon_as_it_meets_it(void **state) {
  (void)state;
  form_sealed(650, 3);
  uint32_t spare = node_add(1);
  cut_set(spare, 2, true);
  run(2 * SECOND);
  change_at(0, replacement_of(2, spare));
  for (uint32_t i = 0; i < 3000 && phase_of(spare) != MARK_KNOWS; i++) {
    run(MS);
  }
  assert_int_equal(phase_of(spare), MARK_KNOWS);
  assert_true(allows(spare, 2, MESSAGE_WRITE));
  cut_set(spare, 2, false);
  for (uint32_t i = 0; i < 1000 && !sees_up(spare, 2); i++) {
    run(MS);
  }
  assert_true(sees_up(spare, 2));
  assert_true(allows(spare, 2, MESSAGE_WRITE));
  run(10 * SECOND);
  assert_true(member_is_member(member_of(spare)));
  assert_false(member_is_member(member_of(2)));
}

/* Hardly anybody says anything to a stranger: that a member has been silent when it is told of it is no sign either. */
static void a_newcomer_that_has_waited_for_long_listens_to_the_node_that_it_replaces(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(660 + seed, 5);
    uint32_t spare = node_add(0x1f);
    run(10 * SECOND);
    assert_int_equal(phase_of(spare), MARK_NONE);
    change_at(0, replacement_of(4, spare));
    bool has_base = false;
    for (uint32_t i = 0; i < 3000 && phase_of(spare) != MARK_HOLDS; i++) {
      run(MS);
      has_base = has_base || phase_of(spare) != MARK_NONE;
      assert_true(!has_base || allows(spare, 4, MESSAGE_WRITE));
    }
    assert_int_equal(phase_of(spare), MARK_HOLDS);
  }
}

/* It would be bound by a target that the others may leave for another. */
static void one_that_is_out_holds_nothing(void **state) {
  (void)state;
  form_sealed(670, 4);
  change_at(0, wish_of(CHANGE_REMOVE, 3));
  run(10 * SECOND);
  for (uint32_t i = 0; i < 4; i++) {
    assert_true(is_done(i, 0));
    world.nodes[i].lacks = i < 3;
  }
  change_at(0, reweigh(1, 200));
  run(5 * SECOND);
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(phase_of(i), MARK_KNOWS);
  }
  for (uint32_t i = 0; i < 3; i++) {
    world.nodes[i].lacks = false;
  }
  run(10 * SECOND);
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(layout_of(i).mark.base_digest, layout_of(0).history_digest);
  }
}

/* By what it plans: its own layouts have it, whatever the others have removed since. */
static void nobody_takes_what_a_node_writes_that_was_added_and_removed_and_does_not_know_it(void **state) {
  (void)state;
  uint32_t apart = 0;
  for (uint64_t seed = 0; seed < 60; seed++) {
    form_sealed(68000 + seed, 3);
    uint32_t spare = node_add(7);
    world.nodes[spare].lacks = true; /* so that the addition is not done before the removal */
    run(SECOND);
    change_at(0, wish_of(CHANGE_ADD, spare));
    run(2 * SECOND);
    assert_true(member_is_member(member_of(spare)));
    struct change removal = wish_of(CHANGE_REMOVE, spare);
    struct change other = reweigh(1, 200);
    uint64_t digest = layout_of(0).history_digest;
    command_changes(0, &removal, 1, digest);
    command_changes(spare, &other, 1, digest);
    for (uint32_t i = 0; i < 3000; i++) {
      run(MS);
      for (uint32_t k = 0; k < 3; k++) {
        struct step step = view_of(k);
        bool without =
            ring_find(step.ring, world.nodes[spare].id) < 0 && ring_find(step.base, world.nodes[spare].id) < 0;
        bool plans = ring_find(view_of(spare).ring, world.nodes[spare].id) >= 0;
        apart += without && plans ? 1 : 0;
        assert_false(without && plans && allows(k, spare, MESSAGE_WRITE));
      }
    }
    assert_true(ring_find(view_of(spare).ring, world.nodes[spare].id) < 0);
    assert_true(allows(0, spare, MESSAGE_WRITE)); /* it hands over what it has */
  }
  assert_true(apart > 0);
}

/* One of them holds it already. A removed node that returns says that it knows the target; what another removed one,
 * whom all others have left out, then tells it must not change what has been agreed upon. */
static void no_record_comes_into_an_agreed_target_by_way_of_a_node_that_returns(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(700 + seed, 4);
    for (uint32_t away = 1; away <= 2; away++) {
      cut_set(away, 0, true);
      cut_set(away, 3, true);
    }
    change_at(1, reweigh(3, 200)); /* only these two hear of it before they are removed */
    run(10 * SECOND);
    world.nodes[3].lacks = true;
    struct change removals[2] = {wish_of(CHANGE_REMOVE, 1), wish_of(CHANGE_REMOVE, 2)};
    command_changes(0, removals, 2, layout_of(0).history_digest);
    run(5 * SECOND);
    assert_int_equal(phase_of(0), MARK_HOLDS);
    assert_int_equal(phase_of(3), MARK_KNOWS);
    uint64_t agreed = layout_of(0).mark.target_digest;
    assert_int_equal(layout_of(3).mark.target_digest, agreed);
    cut_set(2, 0, false);
    cut_set(2, 3, false);
    run(5 * SECOND);
    assert_int_equal(layout_of(2).mark.target_digest, agreed);
    assert_false(allows(3, 2, MESSAGE_WRITE)); /* it listens to node 1 */
    run(5 * SECOND);
    assert_int_equal(layout_of(2).mark.target_digest, agreed);
    assert_int_equal(layout_of(3).mark.target_digest, agreed);
    assert_int_equal(layout_of(3).history_digest, agreed);
    world.nodes[3].lacks = false;
    cut_set(1, 0, false);
    cut_set(1, 3, false);
    run(20 * SECOND);
    for (uint32_t i = 0; i < 4; i++) {
      assert_int_equal(layout_of(i).mark.base_digest, agreed);
    }
  }
}

/* That holds for it, too: another holds the target on the strength of what it has said. */
static void a_removed_node_that_takes_part_takes_no_record_into_what_others_may_have_agreed_upon(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(720 + seed, 5);
    for (uint32_t i = 0; i < 4; i++) {
      cut_set(i, 4, true);
      world.nodes[i].lacks = true;
    }
    change_at(4, reweigh(0, 200)); /* only it hears of this before it is removed */
    run(10 * SECOND);
    world.nodes[2].silent = 1u << 3; /* so that node 3 can not tell that all know */
    struct change removals[2] = {wish_of(CHANGE_REMOVE, 3), wish_of(CHANGE_REMOVE, 4)};
    command_changes(0, removals, 2, layout_of(0).history_digest);
    run(5 * SECOND);
    uint64_t agreed = layout_of(0).history_digest;
    world.nodes[0].silent = 1u << 3;
    world.nodes[0].lacks = false;
    run(5 * SECOND);
    assert_int_equal(phase_of(0), MARK_HOLDS);
    assert_int_equal(phase_of(3), MARK_KNOWS);
    assert_int_equal(layout_of(3).mark.target_digest, agreed);
    cut_set(3, 4, false);
    run(5 * SECOND);
    assert_int_equal(layout_of(3).history_digest, agreed);
    for (uint32_t i = 0; i < 4; i++) {
      world.nodes[i].lacks = false;
      world.nodes[i].silent = 0;
      cut_set(i, 4, false);
    }
    run(20 * SECOND);
    for (uint32_t i = 0; i < 5; i++) {
      assert_int_equal(layout_of(i).mark.base_digest, agreed);
    }
  }
}

/* Nor does it come in by way of a newcomer, who had no part in what was agreed before itself: it forgets it. */
static void no_record_comes_into_an_agreed_target_by_way_of_a_newcomer(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 40; seed++) {
    form_sealed(900 + seed, 4);
    uint32_t spare = node_add(1);
    for (uint32_t i = 0; i < 3; i++) {
      cut_set(i, 3, true);
      world.nodes[i].lacks = true;
    }
    run(5 * SECOND);
    change_at(3, reweigh(0, 200)); /* only it hears of this before it is removed */
    change_at(0, wish_of(CHANGE_REMOVE, 3));
    run(5 * SECOND);
    world.nodes[1].silent = 1u << 0 | 1u << 2; /* they do not hear that it holds the target */
    world.nodes[1].lacks = false;
    run(2 * SECOND);
    assert_int_equal(phase_of(1), MARK_HOLDS);
    assert_int_equal(phase_of(0), MARK_KNOWS);
    uint64_t agreed = layout_of(1).mark.target_digest;
    if (seed % 2 == 0) {
      cut_set(spare, 3, true); /* it hears of the record before all know of it, or after */
    }
    change_at(0, wish_of(CHANGE_ADD, spare));
    run(3 * SECOND);
    cut_set(spare, 3, false);
    run(5 * SECOND);
    assert_int_equal(history_length(member_history(member_of(0))), 6);
    assert_int_equal(history_prefix_digest(member_history(member_of(0)), 5), agreed);
    for (uint32_t i = 0; i < 4; i++) {
      world.nodes[i].lacks = false;
      world.nodes[i].silent = 0;
      cut_set(i, 3, false);
    }
    run(20 * SECOND);
    for (uint32_t i = 0; i < 5; i++) {
      assert_int_equal(layout_of(i).mark.base_count, 6);
      assert_int_equal(layout_of(i).mark.base_digest, layout_of(0).history_digest);
    }
  }
}

/* Who is left out by a further change alone, and stays by the target, was waited for: without it nothing was agreed. */
static void a_record_is_taken_from_whom_the_target_keeps(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 40; seed++) {
    form_sealed(940 + seed, 3);
    uint32_t first = node_add(2);
    uint32_t second = node_add(4);
    run(2 * SECOND);
    cut_set(1, 2, true);
    cut_set(0, 2, true);
    cut_set(first, 2, true);
    cut_set(first, second, true);
    run(3 * SECOND);
    change_at(1, wish_of(CHANGE_ADD, first));
    run(2 * SECOND);
    assert_int_equal(history_length(member_history(member_of(0))), 4);
    node_crash(0);
    change_at(2, wish_of(CHANGE_REMOVE, 1));
    run(2 * SECOND);
    assert_int_equal(phase_of(2), MARK_KNOWS);
    struct change then[2] = {wish_of(CHANGE_ADD, second), wish_of(CHANGE_REMOVE, 0)};
    command_changes(2, then, 2, layout_of(2).history_digest);
    run(2 * SECOND);
    node_start(0);
    cut_set(0, 2, false);
    run(5 * SECOND);
    cut_set(1, 2, false);
    cut_set(first, 2, false);
    cut_set(first, second, false);
    run(20 * SECOND);
    for (uint32_t i = 0; i < 5; i++) {
      assert_int_equal(layout_of(i).history_digest, layout_of(2).history_digest);
      assert_int_equal(layout_of(i).mark.base_digest, layout_of(2).history_digest);
    }
    assert_int_equal(history_length(member_history(member_of(2))), 6);
  }
}

/* Two that were left out return, and meet each other before they meet those who have agreed without them: the one does
 * not leave out the other, and so it is to be left out as long as the other has not said what they have agreed upon. */
static void one_that_returns_stays_left_out_while_it_listens_to_whom_the_others_have_left_out(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 40; seed++) {
    form_sealed(800 + seed, 4);
    for (uint32_t i = 0; i < 3; i++) {
      cut_set(i, 3, true);
      world.nodes[i].lacks = true;
    }
    change_at(3, reweigh(0, 200)); /* only it hears of this */
    node_crash(2);
    run(10 * SECOND);
    struct change removals[2] = {wish_of(CHANGE_REMOVE, 2), wish_of(CHANGE_REMOVE, 3)};
    command_changes(0, removals, 2, layout_of(0).history_digest);
    run(5 * SECOND);
    uint64_t agreed = layout_of(0).history_digest;
    assert_int_equal(layout_of(1).mark.target_digest, agreed);
    world.nodes[0].silent = 1u << 1 | 1u << 2 | 1u << 3;
    world.nodes[0].lacks = false;
    run(5 * SECOND);
    assert_int_equal(phase_of(0), MARK_HOLDS);
    assert_int_equal(phase_of(1), MARK_KNOWS);
    cut_set(2, 3, false);
    node_start(2);
    run(10 * SECOND);
    assert_int_equal(layout_of(1).history_digest, agreed);
    for (uint32_t i = 0; i < 4; i++) {
      world.nodes[i].lacks = false;
      world.nodes[i].silent = 0;
      cut_set(i, 3, false);
    }
    run(20 * SECOND);
    for (uint32_t i = 0; i < 4; i++) {
      assert_int_equal(layout_of(i).mark.base_digest, agreed);
    }
  }
}

/* Who comes back from a side on which the issuer of one of their records was removed takes that record all the same. */
static void what_a_base_has_is_not_late_to_one_who_removed_its_issuer(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(740 + seed, 3);
    uint32_t spare = node_add(1);
    cut_set(2, 0, true);
    cut_set(2, 1, true);
    cut_set(2, spare, true);
    run(2 * SECOND);
    change_at(1, reweigh(0, 200));
    run(SECOND);
    struct change here[3] = {wish_of(CHANGE_ADD, spare), wish_of(CHANGE_REMOVE, 0), wish_of(CHANGE_REMOVE, 2)};
    command_changes(1, here, 3, layout_of(1).history_digest);
    run(10 * SECOND);
    assert_true(is_done(1, 0));
    assert_true(is_done(spare, 0));
    struct change there[2] = {wish_of(CHANGE_REMOVE, 1), wish_of(CHANGE_REMOVE, 2)};
    command_changes(2, there, 1 + seed % 2, layout_of(2).history_digest);
    run(SECOND);
    assert_int_equal(history_knows(member_history(member_of(2)), world.nodes[1].id), KNOWN_GONE);
    node_crash(0); /* which it would not take for a stranger */
    cut_set(2, 1, false);
    cut_set(2, spare, false);
    run(20 * SECOND);
    for (uint32_t i = 1; i < 4; i++) {
      assert_int_equal(layout_of(i).history_digest, layout_of(spare).history_digest);
      assert_int_equal(layout_of(i).mark.base_digest, layout_of(spare).history_digest);
    }
    assert_int_equal(member_ring(member_of(spare))->member_count, 1);
  }
}

/* Only a record that would come into what it has said that it knows can be late. Here all who could tell it are left
 * out by it, or known to its newest ring alone. */
static void what_one_has_only_just_decided_makes_nothing_late(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(880 + seed, 2);
    uint32_t issuer = node_add(1);
    uint32_t newcomer = node_add(1);
    world.nodes[1].lacks = world.nodes[issuer].lacks = true;
    run(2 * SECOND);
    change_at(0, wish_of(CHANGE_ADD, issuer));
    run(2 * SECOND);
    assert_int_equal(phase_of(0), MARK_HOLDS);
    for (uint32_t i = 1; i < 4; i++) {
      world.nodes[i].silent = 1u << 0;
    }
    change_at(0, wish_of(CHANGE_ADD, newcomer));
    run(3 * SECOND);
    assert_int_equal(phase_of(0), MARK_RELEASES);
    for (uint32_t i = 1; i < 4; i++) {
      cut_set(0, i, true);
      world.nodes[i].silent = 0;
    }
    run(2 * SECOND);
    change_at(issuer, reweigh(0, 300));
    run(2 * SECOND);
    struct change removals[2] = {wish_of(CHANGE_REMOVE, 1), wish_of(CHANGE_REMOVE, issuer)};
    command_changes(0, removals, 2, layout_of(0).history_digest);
    run(2 * SECOND);
    world.nodes[1].lacks = world.nodes[issuer].lacks = false;
    for (uint32_t i = 1; i < 4; i++) {
      cut_set(0, i, false);
    }
    run(20 * SECOND);
    for (uint32_t i = 0; i < 4; i++) {
      assert_int_equal(history_length(member_history(member_of(i))), 7);
      assert_int_equal(layout_of(i).mark.base_digest, layout_of(0).history_digest);
    }
  }
}

/* One who comes back is told two histories while the first is being stored: the one of the last member, who has
 * removed all others and agreed with itself, and another's, who has a record of its own in the middle of that. */
static void a_base_is_taken_only_while_the_history_keeps_it(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 40; seed++) {
    form_sealed(760 + seed, 3);
    for (uint32_t i = 0; i < 3; i++) {
      cut_set(i, (i + 1) % 3, true);
    }
    run(2 * SECOND);
    change_at(2, reweigh(0, 200));
    change_at(0, reweigh(0, 300));
    struct change removals[2] = {wish_of(CHANGE_REMOVE, 1), wish_of(CHANGE_REMOVE, 2)};
    command_changes(0, removals, 2, layout_of(0).history_digest);
    run(5 * SECOND);
    assert_true(is_done(0, 0));
    uint64_t agreed = layout_of(0).history_digest;
    world.nodes[1].commit_least_ns = (1 + seed % 20) * 50 * MS;
    cut_set(1, 0, false);
    run(seed * 50 * MS);
    cut_set(1, 2, false);
    run(5 * SECOND);
    world.nodes[1].commit_least_ns = 0;
    cut_set(2, 0, false);
    run(10 * SECOND);
    for (uint32_t i = 0; i < 3; i++) {
      assert_int_equal(layout_of(i).mark.base_digest, agreed);
    }
  }
}

static void members_that_remove_each_other_in_the_same_moment_both_go(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(600 + seed, 5);
    struct change first[3] = {wish_of(CHANGE_REMOVE, 1), wish_of(CHANGE_REWEIGH, 2), wish_of(CHANGE_REWEIGH, 3)};
    struct change second[2] = {wish_of(CHANGE_REMOVE, 0), wish_of(CHANGE_REWEIGH, 3)};
    first[1].weight = first[2].weight = 200;
    second[1].weight = 300;
    uint64_t digest = layout_of(0).history_digest;
    command_changes(0, first, 3, digest);
    command_changes(1, second, 2, digest);
    run(10 * SECOND);
    assert_int_equal(history_length(member_history(member_of(2))), 10);
    for (uint32_t i = 0; i < 5; i++) {
      assert_int_equal(layout_of(i).history_digest, layout_of(2).history_digest);
      assert_int_equal(layout_of(i).mark.base_count, 10);
      assert_int_equal(member_is_member(member_of(i)), i >= 2);
    }
  }
}

/* While one of them is still being added: it may have agreed to what the other holds, and not to more. */
static void a_newcomer_and_its_only_peer_that_remove_each_other_agree_on_who_stays(void **state) {
  (void)state;
  uint32_t both = 0;
  for (uint64_t seed = 0; seed < 200; seed++) {
    form_sealed(800 + seed, 1);
    uint32_t spare = node_add(1);
    run(2 * SECOND);
    change_at(0, wish_of(CHANGE_ADD, spare));
    run(prng_below(&world.prng, 400) * MS);
    struct change removals[2] = {wish_of(CHANGE_REMOVE, spare), wish_of(CHANGE_REMOVE, 0)};
    command_changes(0, &removals[0], 1, layout_of(0).history_digest);
    command_changes(spare, &removals[1], 1, layout_of(spare).history_digest);
    run(20 * SECOND);
    uint32_t length = history_length(member_history(member_of(0)));
    both += length == 4 ? 1 : 0;
    for (uint32_t i = 0; i < 2; i++) {
      uint32_t index = i == 0 ? 0 : spare;
      assert_int_equal(layout_of(index).history_digest, layout_of(0).history_digest);
      assert_int_equal(layout_of(index).mark.base_count, length);
    }
    assert_int_not_equal(member_is_member(member_of(0)), member_is_member(member_of(spare)));
  }
  assert_true(both > 0);
}

/* A cluster of none would have nowhere to keep its data: the removal that comes second is passed over. */
static void of_two_members_that_remove_each_other_one_stays(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(730 + seed, 2);
    world.tunables.fold_records = seed % 2 == 0 ? 1 : HISTORY_FOLD_AT;
    struct change removals[2] = {wish_of(CHANGE_REMOVE, 1), wish_of(CHANGE_REMOVE, 0)};
    uint64_t digest = layout_of(0).history_digest;
    command_changes(0, &removals[0], 1, digest);
    command_changes(1, &removals[1], 1, digest);
    run(10 * SECOND);
    uint32_t stays = member_is_member(member_of(0)) ? 0 : 1;
    uint32_t goes = 1 - stays;
    assert_true(member_is_member(member_of(stays)));
    assert_false(member_is_member(member_of(goes)));
    assert_int_equal(layout_of(0).history_digest, layout_of(1).history_digest);
    for (uint32_t i = 0; i < 2; i++) {
      assert_int_equal(history_length(member_history(member_of(i))), 4);
      assert_int_equal(layout_of(i).mark.base_count, 4);
      assert_int_equal(history_knows(member_history(member_of(i)), world.nodes[stays].id), KNOWN_MEMBER);
      assert_int_equal(history_knows(member_history(member_of(i)), world.nodes[goes].id), KNOWN_GONE);
    }
    node_crash(stays);
    node_start(stays);
    run(2 * SECOND);
    assert_int_equal(admit(stays), ERR_OK);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(where_there_is_data_a_node_waits_and_is_told_what_to_type),
      cmocka_unit_test(a_node_that_waits_is_known_to_every_member_until_it_is_silent_or_added),
      cmocka_unit_test(so_many_wait_and_the_one_heard_least_lately_makes_room),
      cmocka_unit_test(a_stranger_may_not_pass_on_another_joiner),
      cmocka_unit_test(a_node_that_was_removed_is_not_taken_in_again),
      cmocka_unit_test(a_new_node_at_a_dead_members_address_waits_to_replace_it),
      cmocka_unit_test(changes_are_answered_when_they_are_durable_and_told_to_all_at_once),
      cmocka_unit_test(several_changes_follow_each_other_behind_all_that_is_known),
      cmocka_unit_test(a_plan_for_another_ring_is_refused),
      cmocka_unit_test(all_changes_are_made_or_none),
      cmocka_unit_test(changes_that_make_no_sense_are_refused_in_words),
      cmocka_unit_test(one_of_those_who_hold_the_data_stays_until_others_do),
      cmocka_unit_test(one_command_is_stored_at_a_time),
      cmocka_unit_test(what_can_not_be_stored_is_taken_back),
      cmocka_unit_test(only_so_many_can_be_leaving_at_a_time),
      cmocka_unit_test(a_node_that_is_leaving_takes_no_changes),
      cmocka_unit_test(a_newcomer_listens_to_the_node_that_it_replaces_as_soon_as_it_meets_it),
      cmocka_unit_test(a_newcomer_that_has_waited_for_long_listens_to_the_node_that_it_replaces),
      cmocka_unit_test(no_record_comes_into_an_agreed_target_by_way_of_a_node_that_returns),
      cmocka_unit_test(a_removed_node_that_takes_part_takes_no_record_into_what_others_may_have_agreed_upon),
      cmocka_unit_test(no_record_comes_into_an_agreed_target_by_way_of_a_newcomer),
      cmocka_unit_test(a_record_is_taken_from_whom_the_target_keeps),
      cmocka_unit_test(one_that_returns_stays_left_out_while_it_listens_to_whom_the_others_have_left_out),
      cmocka_unit_test(what_a_base_has_is_not_late_to_one_who_removed_its_issuer),
      cmocka_unit_test(what_one_has_only_just_decided_makes_nothing_late),
      cmocka_unit_test(a_base_is_taken_only_while_the_history_keeps_it),
      cmocka_unit_test(one_that_is_out_holds_nothing),
      cmocka_unit_test(nobody_takes_what_a_node_writes_that_was_added_and_removed_and_does_not_know_it),
      cmocka_unit_test(members_that_remove_each_other_in_the_same_moment_both_go),
      cmocka_unit_test(a_newcomer_and_its_only_peer_that_remove_each_other_agree_on_who_stays),
      cmocka_unit_test(of_two_members_that_remove_each_other_one_stays),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
