/* What is agreed upon is folded away (docs/adr/0006): nobody sees it from outside, a cluster can change for ever, and
 * whoever was away for long is told the outcome. */
#include "support/member_oracle.h"

static uint32_t folded_of(uint32_t index) {
  return member_history(member_of(index))->snapshot.ring.records;
}

static uint32_t length_of(uint32_t index) {
  return history_length(member_history(member_of(index)));
}

static void assert_told_that_it_was_removed(uint32_t index) {
  assert_false(member_is_member(member_of(index)));
  assert_int_equal(history_knows(member_history(member_of(index)), world.nodes[index].id), KNOWN_GONE);
  assert_non_null(member_refusal(member_of(index)));
  assert_non_null(strstr(member_refusal(member_of(index)), "removed from its cluster"));
}

static void reconnect_all(void) {
  for (uint32_t a = 0; a < world.node_count; a++) {
    for (uint32_t b = 0; b < a; b++) {
      cut_set(a, b, false);
    }
  }
}

/* -- when, and what of it is seen ------------------------------------------------------------------ */

static void a_base_is_folded_away_and_nothing_else_is(void **state) {
  (void)state;
  form_sealed(500, 3);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(folded_of(i), 0);
  }
  world.tunables.fold_records = 3;
  run(SECOND);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(folded_of(i), 3);
    assert_int_equal(member_history(member_of(i))->count, 0);
    world.nodes[i].lacks = true;
  }
  for (uint32_t i = 0; i < 4; i++) {
    change_at(i % 3, reweighing_of(i % 3, 200 + i));
    run(5 * SECOND);
  }
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(length_of(i), 7);
    assert_int_equal(folded_of(i), 3);
    world.nodes[i].lacks = false;
  }
  run(5 * SECOND);
  assert_done(FIRST(3));
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(folded_of(i), 7);
  }
}

/* The marks that all have told and the events that there were, as one number. */
static uint64_t live_a_life(uint64_t seed, uint32_t fold_records) {
  uint64_t trace = seed;
  form_sealed(seed, 3);
  world.tunables.fold_records = fold_records;
  uint32_t spare = node_add(1);
  run(2 * SECOND);
  for (uint32_t i = 0; i < 12; i++) {
    if (i == 1) {
      change_at(0, wish_of(CHANGE_ADD, spare));
    } else if (i == 8) {
      change_at(0, removal_of(2));
    } else {
      change_at(i % 2, reweighing_of(i % 3 == 2 ? spare : i % 2, 100 + (uint32_t)prng_below(&world.prng, 300)));
    }
    for (uint64_t steps = prng_below(&world.prng, 100); steps > 0; steps--) {
      run(20 * MS);
      for (uint32_t n = 0; n < world.node_count; n++) {
        const struct mark *mark = &world.nodes[n].told;
        const uint64_t said[] = {world.order, mark->base_digest, mark->target_digest, mark->phase, mark->base_count};
        trace = bytes_hash((struct bytes){(const uint8_t *)said, sizeof(said)}, trace);
      }
    }
    if (i == 5) {
      node_crash(1);
      node_start(1);
      run(3 * SECOND);
    }
  }
  run(10 * SECOND);
  assert_done(BIT(0) | BIT(1) | BIT(2) | BIT(spare));
  for (uint32_t n = 0; n < world.node_count; n++) {
    assert_int_equal(folded_of(n), fold_records == 1 ? length_of(n) : 0);
    assert_int_equal(world.nodes[n].stats.messages_bad, 0);
  }
  return trace;
}

static void nobody_does_anything_else_for_it(void **state) {
  (void)state;
  for (uint64_t seed = 510; seed < 515; seed++) {
    assert_true(live_a_life(seed, 1) == live_a_life(seed, HISTORY_FOLD_AT));
  }
}

static void some_may_fold_and_others_not(void **state) {
  (void)state;
  form_sealed(520, 4);
  for (uint32_t i = 0; i < 12; i++) {
    /* Who is away meanwhile learns of the change by a history that is folded away in another place. */
    uint32_t away = i % 4;
    for (uint32_t other = 0; other < 4; other++) {
      if (other != away) {
        cut_set(away, other, true);
      }
    }
    world.tunables.fold_records = i % 3 == 0 ? 1 : HISTORY_FOLD_AT;
    change_at((i + 1) % 4, reweighing_of((i + 2) % 4, 100 + i));
    run(3 * SECOND);
    world.tunables.fold_records = i % 3 == 1 ? 1 : HISTORY_FOLD_AT;
    reconnect_all();
    run(7 * SECOND);
    assert_done(FIRST(4));
    if (i % 3 == 2) {
      node_crash(away);
      node_start(away); /* its disk may have more records than it had in memory */
      run(2 * SECOND);
    }
  }
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(length_of(i), 16);
    assert_int_equal(world.nodes[i].stats.messages_bad, 0);
  }
}

/* -- for ever -------------------------------------------------------------------------------------- */

#define CHANGES 5000u

/* Pairs of an ADD and a REMOVE of nodes that never come up, as many as one commit takes. */
static void add_and_remove(uint32_t at, uint32_t *node) {
  struct change changes[CHANGES_PER_COMMIT_MAX];
  for (uint32_t i = 0; i < CHANGES_PER_COMMIT_MAX; i++) {
    changes[i] = wish_of(i % 2 == 0 ? CHANGE_ADD : CHANGE_REMOVE, at);
    changes[i].node = *node;
    changes[i].peer_port = 1;
    *node += i % 2;
  }
  uint32_t length = length_of(at) + CHANGES_PER_COMMIT_MAX;
  command_changes(at, changes, CHANGES_PER_COMMIT_MAX, layout_of(at).history_digest);
  for (uint32_t i = 0; i < 500 && !(length_of(at) == length && is_done(0, at) && is_done(1, at)); i++) {
    run(20 * MS);
  }
  assert_int_equal(world.nodes[at].reply_err, ERR_OK);
}

/* Node 2 of three is removed while it is down, and comes back when CHANGES have been made and it is forgotten. */
static void change_for_long(uint64_t seed) {
  uint32_t node = 500;
  form_sealed(seed, 3);
  node_crash(2);
  run(2 * SECOND);
  change_at(0, removal_of(2));
  run(5 * SECOND);
  uint32_t begun = length_of(0);
  uint32_t changes = 0;
  for (uint32_t at = 0; changes < CHANGES; at = 1 - at) {
    add_and_remove(at, &node);
    changes += CHANGES_PER_COMMIT_MAX;
    for (uint32_t i = 0; i < 2; i++) {
      assert_int_equal(length_of(i), begun + changes);
      assert_true(member_history(member_of(i))->count < HISTORY_FOLD_AT + CHANGES_PER_COMMIT_MAX);
    }
  }
  assert_done(FIRST(2));
  assert_true(length_of(0) > HISTORY_MAX);
}

static void a_cluster_changes_for_ever_and_one_that_it_has_forgotten_is_told_that_it_was_removed(void **state) {
  (void)state;
  change_for_long(530);
  assert_int_equal(history_knows(member_history(member_of(0)), world.nodes[2].id), KNOWN_NOT);
  static struct meta before[NAMES];
  memcpy(before, world.nodes[2].meta, sizeof(before));
  /* It may die at any time while it learns of it. */
  for (uint32_t i = 0; i < 40; i++) {
    memcpy(world.nodes[2].meta, before, sizeof(before));
    memset(&world.nodes[2].told, 0, sizeof(world.nodes[2].told));
    node_start(2);
    run(UINT64_C(10) * i * MS + prng_below(&world.prng, 10 * MS));
    node_crash(2);
    node_start(2);
    run(3 * SECOND);
    assert_told_that_it_was_removed(2);
    assert_int_equal(length_of(2), length_of(0));
    node_crash(2);
    run(100 * MS);
  }
  node_start(2);
  assert_told_that_it_was_removed(2);
  run(10 * SECOND);
  struct candidate_view candidates[JOINERS_MAX];
  for (uint32_t i = 0; i < 2; i++) {
    assert_int_equal(member_candidates(member_of(i), candidates, JOINERS_MAX), 0);
  }
  /* Whoever remains, and a newcomer, goes on as ever. */
  for (uint32_t i = 0; i < 2; i++) {
    node_crash(i);
    node_start(i);
  }
  run(2 * SECOND);
  uint32_t spare = node_add(1);
  run(5 * SECOND);
  change_at(0, wish_of(CHANGE_ADD, spare));
  run(10 * SECOND);
  assert_done(BIT(0) | BIT(1) | BIT(spare));
  assert_true(member_is_member(member_of(spare)));
  assert_told_that_it_was_removed(2);
}

/* -- who was away -------------------------------------------------------------------------------------- */

static void whoever_missed_what_was_folded_away_is_given_the_outcome(void **state) {
  (void)state;
  for (uint64_t seed = 540; seed < 560; seed++) {
    form_sealed(seed, 4);
    world.tunables.fold_records = 1;
    node_crash(3);
    run(2 * SECOND);
    change_at(0, removal_of(3));
    run(5 * SECOND);
    for (uint32_t i = 0; i < 3; i++) {
      change_at(i, reweighing_of(i, 200));
      run(5 * SECOND);
    }
    assert_done(FIRST(3));
    assert_int_equal(folded_of(0), 8);
    node_start(3);
    run(prng_below(&world.prng, 300) * MS);
    node_crash(3);
    node_start(3);
    run(10 * SECOND);
    assert_done(FIRST(4));
    assert_told_that_it_was_removed(3);
    uint32_t spare = node_add(1);
    run(3 * SECOND);
    change_at(0, wish_of(CHANGE_ADD, spare));
    run(10 * SECOND);
    assert_done(FIRST(5));
    assert_true(member_is_member(member_of(spare)));
    node_crash(3);
    node_start(3);
    run(2 * SECOND);
    assert_done(FIRST(5));
  }
}

/* Two and two, of which the first two have made one change more. */
static void removed_each_other_and_stay_apart(uint32_t fold_records) {
  form_sealed(570, 4);
  for (uint32_t a = 0; a < 2; a++) {
    for (uint32_t b = 2; b < 4; b++) {
      cut_set(a, b, true);
    }
  }
  run(2 * SECOND);
  world.tunables.fold_records = fold_records;
  for (uint32_t i = 0; i < 4; i++) {
    change_at(i < 2 ? 2 : 0, removal_of(i));
  }
  run(10 * SECOND);
  change_at(0, reweighing_of(1, 300));
  run(10 * SECOND);
  assert_done(FIRST(2));
  assert_done(BIT(2) | BIT(3));
  assert_int_equal(folded_of(0), 7);
  assert_int_equal(folded_of(2), fold_records <= 6 ? 6 : 0);
  uint64_t left = layout_of(0).history_digest;
  uint64_t right = layout_of(2).history_digest;
  reconnect_all();
  for (uint32_t a = 0; a < 2; a++) {
    for (uint32_t b = 2; b < 4; b++) {
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
  assert_true(world.nodes[0].stats.messages_bad > 0);
  assert_true(world.nodes[2].stats.messages_bad > 0);
  assert_int_equal(admit(0), ERR_OK);
  assert_int_equal(admit(2), ERR_OK);
}

static void two_sides_that_removed_each_other_and_folded_stay_apart(void **state) {
  (void)state;
  removed_each_other_and_stay_apart(1);
  removed_each_other_and_stay_apart(7);
}

static bool is_storing(uint32_t index, enum meta_name name) {
  for (uint32_t i = 0; i < world.queue_count; i++) {
    const struct happening *h = &world.queue[i];
    if (h->kind == HAPPENS_COMMIT && h->to == index && h->name == name) {
      return true;
    }
  }
  return false;
}

/* One that was removed, and was away, hears of the base after its removal while it stores a history in which that has
 * been folded away. */
static void a_base_may_be_folded_away_while_it_is_being_stored(void **state) {
  (void)state;
  uint32_t late = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    form_sealed(800 + seed, 3);
    world.nodes[2].lacks = true; /* so that the removal is not done before it is away */
    change_at(0, removal_of(2));
    run(2 * SECOND);
    assert_int_equal(phase_of(2), MARK_KNOWS);
    cut_set(2, 0, true);
    cut_set(2, 1, true);
    run(15 * SECOND);
    assert_done(FIRST(2));
    world.tunables.fold_records = 1;
    world.nodes[1].commit_least_ns = 3 * SECOND; /* so that it is at the old base for long */
    change_at(0, reweighing_of(1, 200));
    for (uint32_t i = 0; i < 20000 && !is_done(0, 0); i++) {
      run(MS);
    }
    assert_int_equal(folded_of(0), length_of(0));
    assert_true(layout_of(1).mark.base_count < length_of(0));
    world.nodes[2].commit_least_ns = SECOND;
    cut_set(2, 0, false);
    for (uint32_t i = 0; i < 2500 && !is_storing(2, NAME_HISTORY); i++) {
      run(MS);
    }
    cut_set(2, 1, false);
    for (uint32_t i = 0; i < 1000; i++) {
      run(MS);
      late += is_storing(2, NAME_HISTORY) && is_storing(2, NAME_LAYOUT) ? 1 : 0;
    }
    run(20 * SECOND);
    assert_int_equal(layout_of(2).mark.base_count, layout_of(0).mark.base_count);
    assert_int_equal(layout_of(2).history_digest, layout_of(0).history_digest);
  }
  assert_true(late > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_base_is_folded_away_and_nothing_else_is),
      cmocka_unit_test(nobody_does_anything_else_for_it),
      cmocka_unit_test(some_may_fold_and_others_not),
      cmocka_unit_test(a_cluster_changes_for_ever_and_one_that_it_has_forgotten_is_told_that_it_was_removed),
      cmocka_unit_test(whoever_missed_what_was_folded_away_is_given_the_outcome),
      cmocka_unit_test(two_sides_that_removed_each_other_and_folded_stay_apart),
      cmocka_unit_test(a_base_may_be_folded_away_while_it_is_being_stored),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
