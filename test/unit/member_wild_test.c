/* Clusters in which everything happens at once: changes on all sides, crashes, partitions, copying that takes its time.
 * At no time does one read by what another does not write, and at the end all is settled. */
#include "support/member_oracle.h"

static void random_change(uint32_t at) {
  uint32_t subject = (uint32_t)prng_below(&world.prng, world.node_count);
  struct change change = reweighing_of(subject, 50 + (uint32_t)prng_below(&world.prng, 400));
  uint64_t draw = prng_below(&world.prng, 4);
  if (draw == 0 && member_ring(member_of(at))->member_count > 3) {
    change = removal_of(subject);
  } else if (draw == 1) {
    change = wish_of(CHANGE_ADD, subject);
  } else if (draw == 2) {
    uint32_t old = (uint32_t)prng_below(&world.prng, world.node_count);
    change = replacement_of(old, subject);
  }
  command_changes(at, &change, 1, layout_of(at).history_digest);
}

static void random_deed(void) {
  uint32_t a = (uint32_t)prng_below(&world.prng, world.node_count);
  uint32_t b = (uint32_t)prng_below(&world.prng, world.node_count);
  switch (prng_below(&world.prng, 8)) {
  case 0:
    if (world.nodes[a].alive && member_is_member(member_of(a))) {
      random_change(a);
    }
    return;
  case 1:
    if (world.nodes[a].alive) {
      node_crash(a);
    }
    return;
  case 2:
  case 3:
    if (!world.nodes[a].alive) {
      node_start(a);
    }
    return;
  case 4:
    if (a != b) {
      cut_set(a, b, true);
    }
    return;
  case 5:
    for (uint32_t i = 0; i < world.node_count; i++) {
      if (i != a) {
        cut_set(a, i, false);
      }
    }
    return;
  case 6:
    world.nodes[a].lacks = !world.nodes[a].lacks;
    return;
  case 7:
    world.nodes[a].unsettled = !world.nodes[a].unsettled;
    return;
  }
}

static bool is_member_anywhere(uint32_t index) {
  bool member = false;
  for (uint32_t i = 0; i < world.node_count; i++) {
    member = member || (world.nodes[i].alive && ring_find(member_ring(member_of(i)), world.nodes[index].id) >= 0);
  }
  return member;
}

/* `folds`: what is agreed upon is folded away, here and there. */
static void live_a_wild_life(uint64_t seed, bool folds) {
  form_sealed(seed, 4);
  for (uint32_t i = 0; i < 4; i++) {
    node_add(1u << prng_below(&world.prng, 4));
  }
  run(SECOND);
  world.doubles = 50;
  for (uint32_t i = 0; i < 200; i++) {
    random_deed();
    if (folds) {
      world.tunables.fold_records = 1 + (uint32_t)prng_below(&world.prng, 5);
    }
    for (uint64_t steps = prng_below(&world.prng, 20); steps > 0; steps--) {
      run(20 * MS);
      check_reads_meet_writes();
    }
  }
  /* At last all are well, and all that was begun comes to its end. */
  bool return_all = prng_chance(&world.prng, 500);
  for (uint32_t a = 0; a < world.node_count; a++) {
    world.nodes[a].lacks = world.nodes[a].unsettled = false;
    if (!world.nodes[a].alive && (return_all || !is_removed_anywhere(a))) {
      node_start(a);
    }
    for (uint32_t b = 0; b < world.node_count; b++) {
      if (a != b) {
        cut_set(a, b, false);
      }
    }
  }
  for (uint32_t i = 0; i < 800; i++) {
    run(50 * MS);
    check_reads_meet_writes();
    /* A removal may have come to nothing: it was lost with the removed node that issued it, or what goes before it came
     * to light. Then it is waited for. */
    for (uint32_t a = 0; a < world.node_count && i == 200; a++) {
      if (!world.nodes[a].alive && is_member_anywhere(a)) {
        node_start(a);
      }
    }
  }
}

static void whoever_reads_finds_what_anyone_writes_whatever_happens(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 100; seed++) {
    live_a_wild_life(9000 + seed, seed > 60);
    /* Those that are in no ring, and were never, have no history to be done with. */
    uint32_t bits = 0;
    for (uint32_t i = 0; i < world.node_count; i++) {
      bits |= world.nodes[i].alive && layout_of(i).history_digest != 0 ? BIT(i) : 0;
    }
    assert_done(bits);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whoever_reads_finds_what_anyone_writes_whatever_happens),
  };
  return cmocka_run_group_tests(tests, memory_get, memory_put);
}
