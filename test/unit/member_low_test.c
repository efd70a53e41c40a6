/* Low-water marks (docs/adr/0008): that a node tells one only when all is over that was begun before, and that one
 * counts as settled only when everybody has turned once more. Nodes of a world of membership, some with deletions. */
#include "support/member_world.h"

#define NODES 3u
#define LATER (20 * SECOND)

static void form_marked(uint64_t seed, uint32_t tombstones) {
  form_sealed(seed, NODES);
  world.tunables.sync_round_ns = SECOND;
  world.nodes[1].health.tombstones = tombstones;
}

static uint64_t low_of(uint32_t index) {
  return durable_low(&world.nodes[index]);
}

static uint64_t settled_of(uint32_t index) {
  return view_of(index).settled_low;
}

static void assert_all_rise(void) {
  uint64_t lows[NODES], settled[NODES];
  for (uint32_t i = 0; i < NODES; i++) {
    lows[i] = low_of(i);
    settled[i] = settled_of(i);
  }
  run(LATER);
  for (uint32_t i = 0; i < NODES; i++) {
    assert_true(low_of(i) > lows[i]);
    assert_true(settled_of(i) > settled[i]);
  }
}

/* No mark settles; the marks of `bits` do not even rise. */
static void assert_held_up(uint32_t bits) {
  uint64_t lows[NODES], settled[NODES];
  run(SECOND); /* what was under way */
  for (uint32_t i = 0; i < NODES; i++) {
    lows[i] = low_of(i);
    settled[i] = settled_of(i);
  }
  uint64_t least = UINT64_MAX;
  for (uint32_t i = 0; i < NODES; i++) {
    least = lows[i] < least ? lows[i] : least;
  }
  run(LATER);
  for (uint32_t i = 0; i < NODES; i++) {
    assert_true((bits & (1u << i)) == 0 || low_of(i) == lows[i]);
    assert_true(settled_of(i) == settled[i] || settled_of(i) <= least);
  }
}

static void nobody_turns_while_nothing_is_to_be_forgotten(void **state) {
  (void)state;
  form_marked(1, 0);
  run(LATER);
  for (uint32_t i = 0; i < NODES; i++) {
    assert_int_equal(low_of(i), 0);
    assert_int_equal(settled_of(i), 0);
  }
  world.nodes[1].health.tombstones = 1;
  assert_all_rise();
}

static void without_rounds_nothing_is_ever_forgotten(void **state) {
  (void)state;
  form_marked(2, 1);
  world.tunables.sync_round_ns = 0;
  run(LATER);
  assert_int_equal(low_of(0) | low_of(1) | low_of(2), 0);
}

static void a_turn_waits_for_what_was_begun_before_it(void **state) {
  (void)state;
  form_marked(3, 1);
  assert_all_rise();
  world.nodes[2].clings = true;
  assert_held_up(1u << 2);
  world.nodes[2].clings = false;
  assert_all_rise();
}

static void no_turn_begins_while_something_is_where_it_does_not_belong(void **state) {
  (void)state;
  form_marked(4, 1);
  assert_all_rise();
  world.nodes[0].moves = true;
  assert_held_up(1u << 0);
  world.nodes[0].moves = false;
  assert_all_rise();
}

static void a_member_that_is_away_holds_all_up(void **state) {
  (void)state;
  form_marked(5, 1);
  assert_all_rise();
  node_crash(0);
  assert_held_up(0);
  node_start(0);
  assert_all_rise();
}

/* Of one that nobody hears no message may still be on its way: the candidate is what was heard from it last. */
static void nobody_turns_beyond_what_it_has_heard(void **state) {
  (void)state;
  form_marked(6, 1);
  assert_all_rise();
  cut_set(1, 2, true);
  assert_held_up((1u << 1) | (1u << 2));
  cut_set(1, 2, false);
  assert_all_rise();
}

/* And of one whose clock is behind a message may come yet that was sent before. */
static void a_mark_is_above_no_clock_of_a_member(void **state) {
  (void)state;
  form_marked(10, 1);
  world.nodes[0].silent = 6; /* they do not learn how far its clock is ahead */
  hlc_raise(&world.nodes[0].hlc, hlc_make(hlc_ms(world.nodes[0].hlc.last) + 100000, 0));
  uint64_t low = low_of(0);
  run(LATER);
  assert_true(low_of(0) > low);
  assert_true(low_of(0) <= world.nodes[1].hlc.last && low_of(0) <= world.nodes[2].hlc.last);
}

static void a_removed_node_holds_it_up_while_it_has_something_to_hand_over(void **state) {
  (void)state;
  form_marked(7, 1);
  uint32_t removed = node_add(1);
  run(10 * SECOND);
  change_at(0, wish_of(CHANGE_ADD, removed));
  run(10 * SECOND);
  assert_one_cluster(NODES + 1);
  world.nodes[removed].health.strays = 1;
  change_at(0, wish_of(CHANGE_REMOVE, removed));
  run(10 * SECOND);
  assert_false(is_in_ring(0, removed));
  assert_held_up((1u << NODES) - 1);
  node_crash(removed); /* for good, as far as anybody knows */
  run(PEER_TIMEOUT);
  assert_all_rise();
  node_start(removed);
  run(5 * SECOND);
  assert_held_up((1u << NODES) - 1);
  world.nodes[removed].health.strays = 0;
  assert_all_rise();
}

static void a_mark_that_could_not_be_stored_is_not_told(void **state) {
  (void)state;
  form_marked(8, 1);
  assert_all_rise();
  world.nodes[1].commit_err = ERR_NOSPACE;
  assert_held_up(1u << 1); /* and what is told is compared with what is durable, always */
  world.nodes[1].commit_err = ERR_OK;
  assert_all_rise();
}

static void a_clock_is_above_all_marks_that_members_tell(void **state) {
  (void)state;
  form_marked(9, 0);
  uint64_t ahead = world.nodes[0].hlc.last + (UINT64_C(1) << 30);
  struct message message = {.type = MESSAGE_HEARTBEAT};
  message.heartbeat.low = ahead;
  say_to(0, 1, &message);
  assert_true(world.nodes[0].hlc.last >= ahead);
  message.heartbeat.low = UINT64_MAX; /* no clock has room above that */
  say_to(0, 1, &message);
  assert_true(world.nodes[0].hlc.last < UINT64_MAX / 2);
}

/* -- one more turn of everybody ----------------------------------------------------------- */

#define STEPS_MAX 4096u

/* What one sees who looks at all nodes each millisecond. */
struct turns {
  uint64_t lows[STEPS_MAX]; /* as they became durable */
  uint64_t times[STEPS_MAX];
  uint32_t count;
  uint32_t turn;
  uint64_t began_ns; /* the present turn */
  uint64_t over_ns;  /* when the last turn that is over had begun */
  uint64_t settled;
};

static struct turns turns[NODES];

/* When was each node's mark as high as that? */
static uint64_t reached_ns(uint64_t low) {
  uint64_t latest_ns = 0;
  for (uint32_t i = 0; i < NODES; i++) {
    uint32_t at = 0;
    while (at < turns[i].count && turns[i].lows[at] < low) {
      at += 1;
    }
    assert_true(at < turns[i].count); /* it was, at all */
    latest_ns = turns[i].times[at] > latest_ns ? turns[i].times[at] : latest_ns;
  }
  return latest_ns;
}

static uint32_t look_at_turns(void) {
  uint32_t rises = 0;
  for (uint32_t i = 0; i < NODES; i++) {
    struct turns *of = &turns[i];
    if (!world.nodes[i].alive) {
      continue;
    }
    uint64_t low = low_of(i);
    if (low != (of->count == 0 ? 0 : of->lows[of->count - 1])) {
      assert_true(of->count < STEPS_MAX);
      of->lows[of->count] = low;
      of->times[of->count++] = world.now_ns;
      of->over_ns = of->began_ns;
    }
    if (view_of(i).turn != of->turn) {
      of->turn = view_of(i).turn;
      of->began_ns = world.now_ns;
    }
  }
  for (uint32_t i = 0; i < NODES; i++) {
    uint64_t settled = world.nodes[i].alive ? settled_of(i) : 0;
    bool rises_here = settled > turns[i].settled;
    turns[i].settled = settled;
    for (uint32_t k = 0; k < NODES && rises_here; k++) {
      assert_true(turns[k].over_ns >= reached_ns(settled));
    }
    rises += rises_here ? 1 : 0;
  }
  return rises;
}

static void a_mark_is_settled_when_everybody_has_turned_once_more(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 10; seed++) {
    uint32_t rises = 0;
    memset(turns, 0, sizeof turns);
    form_marked(20 + seed, 1);
    world.loss = world.doubles = 50;
    for (uint32_t i = 0; i < 60000; i++) {
      struct node *node = &world.nodes[prng_below(&world.prng, NODES)];
      node->clings = prng_chance(&world.prng, 900);
      uint32_t index = (uint32_t)(node - world.nodes);
      if (prng_below(&world.prng, 10000) == 0 && node->alive) {
        node_crash(index);
      } else if (!node->alive && prng_below(&world.prng, 300) == 0) {
        node_start(index);
      }
      run(MS);
      rises += look_at_turns();
    }
    assert_true(rises > 10);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nobody_turns_while_nothing_is_to_be_forgotten),
      cmocka_unit_test(without_rounds_nothing_is_ever_forgotten),
      cmocka_unit_test(a_turn_waits_for_what_was_begun_before_it),
      cmocka_unit_test(no_turn_begins_while_something_is_where_it_does_not_belong),
      cmocka_unit_test(a_member_that_is_away_holds_all_up),
      cmocka_unit_test(nobody_turns_beyond_what_it_has_heard),
      cmocka_unit_test(a_mark_is_above_no_clock_of_a_member),
      cmocka_unit_test(a_removed_node_holds_it_up_while_it_has_something_to_hand_over),
      cmocka_unit_test(a_mark_that_could_not_be_stored_is_not_told),
      cmocka_unit_test(a_clock_is_above_all_marks_that_members_tell),
      cmocka_unit_test(a_mark_is_settled_when_everybody_has_turned_once_more),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
