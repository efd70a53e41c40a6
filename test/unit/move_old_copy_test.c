/* The mover of a node whose directory is an old copy: what it has too much. */
#include "support/move_world.h"

#include "support/core_floor.h"

static void hold_new(uint32_t node, const char *key) {
  struct blob *object = object_of(NULL, 2, "v");
  hold_text(node, 0, key, object);
  blob_put(object);
}

/* In batches of two, with own keys before, between and behind those of the source. */
static void what_an_old_copy_has_too_much_goes_where_the_source_knows_it_to_be_dead(void **state) {
  (void)state;
  for (uint32_t little = 0; little <= 1; little++) {
    world_begin();
    layouts_make(IDS(1, 2, 3), NOBODY, NOBODY);
    layouts_settle();
    world.batch = 2;
    char names[60][32];
    for (uint32_t i = 0; i < 60; i++) {
      (void)snprintf(names[i], sizeof names[i], "{%u}:%u", i % 3, i);
      if (i % 2 == 0) {
        blob_put(spread(names[i], IDS(1, 2, 3), "v"));
      } else if (i < 50) {
        hold_new(SELF, names[i]);
      }
    }
    world.floor = hlc_tick(&core.hlc, WALL_MS);
    for (uint32_t i = 51; i < 60; i += 2) {
      hold_new(SELF, names[i]);
    }
    core.lost = 7;
    core.lost_little = little == 1;
    struct step step = core_step();
    floors_look(world.floors, &step);
    run(5000 * MS);
    floors_store(world.floors);
    assert_true(is_complete());
    assert_int_equal(world.buried,
                     little == 1 ? 25 + 2 * 5 : 0); /* what is young stays, and is looked at for each source */
    for (uint32_t i = 0; i < 60; i++) {
      bool dead = i % 2 == 1 && i < 50 && little == 1;
      assert_int_equal(held_digest(SELF, names[i]) == 0, dead);
    }
    world_end();
  }
}

/* Of the keys that both have: every second one has a version too much that is old. That one of the others is damaged at
 * the sources says nothing of these. */
static void what_an_old_copy_has_too_much_of_a_key_goes_too(void **state) {
  (void)state;
  for (uint32_t little = 0; little <= 1; little++) {
    world_begin();
    layouts_make(IDS(1, 2, 3), NOBODY, NOBODY);
    layouts_settle();
    uint64_t whole[20];
    for (uint32_t i = 0; i < 20; i++) {
      char name[32];
      (void)snprintf(name, sizeof name, "{both}:%u", i);
      struct blob *dead = object_of(NULL, 3, "deleted since");
      struct blob *object = object_of(NULL, 2, "v");
      whole[i] = object_digest(blob_bytes(object));
      hold_text(2, 0, name, object);
      hold_text(3, 0, name, object);
      hold_text(SELF, 0, name, i % 2 == 0 ? dead : object);
      blob_put(dead);
      blob_put(object);
    }
    for (uint32_t node = 2; node <= 3; node++) {
      struct blob *key = store_key("{both}:1");
      held_find(node, 0, blob_bytes(key))->damaged = true;
      blob_put(key);
    }
    world.floor = hlc_tick(&core.hlc, WALL_MS);
    core.lost = 7;
    core.lost_little = little == 1;
    struct step step = core_step();
    floors_look(world.floors, &step);
    run(5000 * MS);
    floors_store(world.floors);
    assert_true(is_complete());
    for (uint32_t i = 0; i < 20; i++) {
      char name[32];
      (void)snprintf(name, sizeof name, "{both}:%u", i);
      assert_int_equal(held_digest(SELF, name) == whole[i], little == 1 || i % 2 == 1);
    }
    world_end();
  }
}

/* Of three that hold a partition one is an old copy: whoever is given it copies it from that one or from another, and
 * checks against all. What is dead may come from it, in any order; what is young, and it alone has, is a write. */
static void what_an_old_copy_gives_is_looked_at_again(void **state) {
  (void)state;
  for (uint32_t old = 2; old <= 4; old++) {
    for (uint32_t knows = 0; knows <= 1; knows++) {
      world_begin();
      layouts_make(IDS(2, 3, 4), IDS(1), NOBODY);
      world.batch = 3;
      char names[60][32];
      uint32_t gained = 0;
      for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(names[i], sizeof names[i], "{%u}:%u", i % 5, i);
        if (i % 2 == 0) {
          blob_put(spread(names[i], IDS(2, 3, 4), "v"));
        } else if (i < 40) {
          hold_new(old, names[i]);
        }
      }
      world.floor = hlc_tick(&core.hlc, WALL_MS);
      world.floorless = old;
      world.floor = knows == 1 ? world.floor : 0;
      for (uint32_t i = 41; i < 60; i += 2) {
        hold_new(old, names[i]);
      }
      struct step step = core_step();
      floors_look(world.floors, &step);
      for (uint32_t i = 0; i < 40; i++) { /* somebody returns, and it looks at all its partitions anew */
        run(5 * MS);
        core.epoch += 1;
      }
      run(10000 * MS);
      if (knows == 1) {
        floors_store(world.floors);
      }
      assert_true(is_complete());
      for (uint32_t i = 0; i < 60; i++) {
        struct blob *key = store_key(names[i]);
        bool mine = ring_rank(&core.ring, partition_of(blob_bytes(key)), 3, SELF) < 3;
        bool dead = i % 2 == 1 && i < 40 && knows == 1;
        assert_int_equal(held_digest(SELF, names[i]) != 0, mine && !dead);
        gained += mine ? 1 : 0;
        blob_put(key);
      }
      assert_true(gained > 20);
      assert_int_equal(world.buried > 0, knows == 1);
      world_end();
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_an_old_copy_has_too_much_goes_where_the_source_knows_it_to_be_dead),
      cmocka_unit_test(what_an_old_copy_has_too_much_of_a_key_goes_too),
      cmocka_unit_test(what_an_old_copy_gives_is_looked_at_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
