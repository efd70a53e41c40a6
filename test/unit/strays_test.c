/* What leaves a node: objects that are not its own any more, and hints for nodes that are gone. */
#include "support/move_world.h"

#include "move/state.h"

/* Nodes 1 to 5, nothing moves, all go by that. */
static void five_begin(void) {
  world_begin();
  layouts_make(IDS(1, 2, 3, 4, 5), NOBODY, NOBODY);
  layouts_settle();
}

static const char *stray_key(uint32_t nth) {
  return key_of_rank(&core.ring, SELF, 3, nth);
}

/* Five, and an object here which is not this node's own. Returns its key. */
static const char *stray_begin(void) {
  five_begin();
  struct blob *object = object_of(NULL, 2, "v");
  hold_text(SELF, 0, stray_key(0), object);
  blob_put(object);
  return stray_key(0);
}

static struct preference takers_of(const char *key) {
  struct preference takers;
  ring_preference(&core.ring, position_partition(position_of_key(text_bytes(key)), 64), 3, &takers);
  return takers;
}

/* All its replicas hold it too. */
static void hold_at_takers(const char *key, struct blob *object) {
  struct preference takers = takers_of(key);
  for (uint32_t r = 0; r < 3; r++) {
    hold_text(takers.nodes[r], 0, key, object);
  }
}

static uint64_t strays(uint64_t keys) {
  return totals(keys).strays;
}

static void a_stray_goes_to_all_its_replicas_and_then_from_here(void **state) {
  (void)state;
  five_begin();
  struct blob *object = object_of(NULL, 2, "v");
  for (uint32_t i = 0; i < 40; i++) {
    hold_text(SELF, 0, stray_key(i), object);
  }
  hold_text(SELF, 0, key_of_rank(&core.ring, SELF, 0, 0), object);
  run(5000 * MS);
  assert_int_equal(held_by(SELF), 1);
  assert_int_equal(world.drops, 40);
  for (uint32_t i = 0; i < 40; i++) {
    struct preference takers = takers_of(stray_key(i));
    for (uint32_t r = 0; r < 3; r++) {
      assert_true(held_digest(takers.nodes[r], stray_key(i)) == object_digest(blob_bytes(object)));
    }
  }
  assert_int_equal(strays(41), 0);
  blob_put(object);
  world_end();
}

static void what_its_replicas_hold_is_not_sent_again(void **state) {
  (void)state;
  five_begin();
  const char *key = stray_key(0);
  struct blob *object = object_of(NULL, 2, "v");
  struct preference takers = takers_of(key);
  hold_text(SELF, 0, key, object);
  for (uint32_t r = 0; r < 3; r++) {
    hold_text(takers.nodes[r], 0, key, object);
    world.refuses[takers.nodes[r]] = ERR_TOOBIG; /* a WRITE would fail */
  }
  run(2000 * MS);
  assert_int_equal(world.drops, 1);
  assert_int_equal(core.stats.store_errors, 0);
  blob_put(object);
  world_end();
}

static void a_newer_version_at_a_replica_is_merged_with_it(void **state) {
  (void)state;
  five_begin();
  const char *key = stray_key(0);
  struct blob *mine = object_of(NULL, 2, "mine");
  struct blob *theirs = object_of(NULL, 3, "theirs");
  struct preference takers = takers_of(key);
  hold_text(SELF, 0, key, mine);
  hold_text(takers.nodes[0], 0, key, theirs);
  run(2000 * MS);
  assert_int_equal(held_by(SELF), 0);
  struct blob *name = store_key(key);
  struct bytes merged = blob_bytes(held_find(takers.nodes[0], 0, blob_bytes(name))->object);
  assert_true(object_descends(merged, blob_bytes(mine)));
  assert_true(object_descends(merged, blob_bytes(theirs)));
  blob_put(name);
  blob_put(mine);
  blob_put(theirs);
  world_end();
}

static void nothing_goes_until_all_members_go_by_the_ring_alone(void **state) {
  (void)state;
  five_begin();
  core.all_done = false;
  struct blob *object = object_of(NULL, 2, "v");
  for (uint32_t i = 0; i < 3; i++) {
    hold_text(SELF, 0, stray_key(i), object);
  }
  blob_put(object);
  run(60000 * MS);
  assert_int_equal(held_by(SELF), 3);
  assert_int_equal(strays(1000), 3); /* but they are counted */
  core.all_done = true;
  run(2000 * MS); /* and need not wait for the next sweep */
  assert_int_equal(held_by(SELF), 0);
  assert_int_equal(strays(1000), 0);
  world_end();
}

static void nothing_goes_while_partitions_move(void **state) {
  (void)state;
  (void)stray_begin();
  layouts_make(IDS(1, 2, 3, 4, 5), IDS(6), NOBODY);
  core.all_done = true; /* whatever it may mean */
  run(60000 * MS);
  assert_int_equal(world.drops, 0);
  assert_int_equal(strays(1), 0);
  world_end();
}

static void a_stray_stays_while_one_of_its_replicas_is_down(void **state) {
  (void)state;
  const char *key = stray_begin();
  uint32_t away = takers_of(key).nodes[2];
  node_set_up(away, false);
  run(20000 * MS);
  assert_int_equal(held_by(SELF), 1);
  assert_int_equal(strays(1), 1);
  node_set_up(away, true);
  run(20000 * MS);
  assert_int_equal(held_by(SELF), 0);
  world_end();
}

static void a_stray_stays_while_one_of_its_replicas_refuses_it(void **state) {
  (void)state;
  const char *key = stray_begin();
  uint32_t taker = takers_of(key).nodes[1];
  world.refuses[taker] = ERR_NOSPACE;
  run(60000 * MS);
  assert_int_equal(held_by(SELF), 1);
  assert_true(world.scans < 5000);
  world.refuses[taker] = ERR_OK;
  run(20000 * MS);
  assert_int_equal(held_by(SELF), 0);
  world_end();
}

static void silence_is_not_assent(void **state) {
  (void)state;
  const char *key = stray_begin();
  uint32_t taker = takers_of(key).nodes[0];
  world.silent[taker] = true;
  run(30000 * MS);
  assert_int_equal(held_by(SELF), 1);
  world.silent[taker] = false;
  run(30000 * MS);
  assert_int_equal(held_by(SELF), 0);
  world_end();
}

/* Ticks and tells until the mover has offered something. */
static void until_offered(void) {
  while (true) {
    for (uint32_t i = 0; i < world.mail_count; i++) {
      const struct mail *mail = &world.mail[(world.mail_head + i) % MAIL_MAX];
      if (mail->kind == MAIL_MESSAGE && mail->message.type == MESSAGE_WRITE_ACK) {
        return;
      }
    }
    if (world.mail_count > 0) {
      tell_one();
    } else {
      core.now_ns = move_deadline(world.move) > core.now_ns ? move_deadline(world.move) : core.now_ns;
      tick();
    }
  }
}

static void what_was_begun_under_other_layouts_does_not_go(void **state) {
  (void)state;
  five_begin();
  const char *key = stray_key(0);
  struct blob *object = object_of(NULL, 2, "v");
  hold_text(SELF, 0, key, object);
  hold_at_takers(key, object);
  blob_put(object);
  until_offered();
  assert_int_equal(world.mail_count, 3);
  /* The answers say that all hold it; but the key may be this node's own again. */
  core.epoch += 1;
  while (world.mail_count > 0) {
    tell_one();
  }
  assert_int_equal(world.drops, 0);
  assert_int_equal(core.stats.messages_late, 3);
  run(5000 * MS);
  assert_int_equal(world.drops, 1);
  world_end();
}

static void what_has_changed_since_it_was_offered_stays(void **state) {
  (void)state;
  five_begin();
  const char *key = stray_key(0);
  struct blob *object = object_of(NULL, 2, "v");
  struct blob *newer = object_of(object, 3, "w");
  struct preference takers = takers_of(key);
  hold_text(SELF, 0, key, object);
  hold_at_takers(key, object);
  until_offered();
  blob_put(world.held[0].object);
  world.held[0].object = blob_get(newer);
  run(2000 * MS);
  assert_int_equal(world.drops, 0);
  assert_int_equal(strays(1), 1);
  run(60000 * MS); /* and goes as what it is now */
  assert_int_equal(world.drops, 1);
  struct blob *name = store_key(key);
  for (uint32_t r = 0; r < 3; r++) {
    struct held *held = held_find(takers.nodes[r], 0, blob_bytes(name));
    assert_true(object_descends(blob_bytes(held->object), blob_bytes(newer)));
  }
  blob_put(name);
  blob_put(newer);
  blob_put(object);
  world_end();
}

static void a_write_that_comes_later_is_found_by_a_later_sweep(void **state) {
  (void)state;
  five_begin();
  run(5000 * MS);
  struct blob *object = object_of(NULL, 2, "v");
  hold_text(SELF, 0, stray_key(3), object);
  blob_put(object);
  run(900000 * MS); /* nobody said so */
  assert_int_equal(world.drops, 1);
  world_end();
}

static void note_write(const char *key) {
  struct blob *name = store_key(key);
  struct step step = core_step();
  move_note_write(world.move, &step, blob_bytes(name));
  blob_put(name);
}

static void a_stray_that_is_written_is_swept_soon_and_counts_until_it_is_gone(void **state) {
  (void)state;
  five_begin();
  run(60000 * MS);
  note_write(key_of_rank(&core.ring, SELF, 0, 0)); /* its own */
  assert_int_equal(strays(1), 0);
  struct blob *object = object_of(NULL, 2, "v");
  hold_text(SELF, 0, stray_key(3), object);
  note_write(stray_key(3));
  assert_int_equal(strays(1), 1);
  run(2000 * MS);
  assert_int_equal(world.drops, 1);
  /* One that was not in the store yet when the sweep came by. */
  note_write(stray_key(4));
  run(5000 * MS);
  assert_true(strays(1) > 0);
  hold_text(SELF, 0, stray_key(4), object);
  run(20000 * MS);
  assert_int_equal(world.drops, 2);
  run(20000 * MS);
  assert_int_equal(strays(1), 0);
  blob_put(object);
  world_end();
}

static void a_node_that_is_out_gives_away_all(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(1, 2, 3, 4, 5), NOBODY, IDS(1));
  struct blob *object = object_of(NULL, 2, "v");
  for (uint32_t i = 0; i < 70; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "k%u", i);
    hold_text(SELF, 0, name, object);
  }
  blob_put(object);
  layouts_settle();
  tick();
  assert_int_equal(strays(70), 70); /* it has not looked yet */
  run(10000 * MS);
  assert_int_equal(held_by(SELF), 0);
  assert_int_equal(strays(70), 0);
  world_end();
}

static void a_key_with_fewer_replicas_than_its_neighbours_goes_where_this_node_is_none(void **state) {
  (void)state;
  world_begin();
  struct bucket bucket = {.time = 1, .issuer = 2, .name_size = 3, .name = "one", .props = bucket_props_default()};
  bucket.props.n = bucket.props.r = bucket.props.w = 1;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  layouts_make(IDS(1, 2, 3), NOBODY, NOBODY);
  layouts_settle();
  struct blob *object = object_of(NULL, 2, "v");
  uint32_t own = 0;
  for (uint32_t i = 0; i < 60; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "one:%u", i);
    own += ring_rank(&core.ring, position_partition(position_of_key(text_bytes(name)), 64), 3, SELF) == 0 ? 1 : 0;
    hold_text(SELF, 0, name, object);
    (void)snprintf(name, sizeof name, "k%u", i);
    hold_text(SELF, 0, name, object);
  }
  blob_put(object);
  run(10000 * MS);
  assert_int_equal(held_by(SELF), 60 + own);
  assert_int_equal(world.drops, 60 - own);
  world_end();
}

static void hints_for_a_node_that_is_gone_go_to_the_replicas_of_their_keys(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(1, 2, 3, 4, 5, 6, 7), NOBODY, IDS(6, 7));
  layouts_settle();
  struct blob *object = object_of(NULL, 2, "v");
  for (uint32_t i = 0; i < 40; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "k%u", i);
    hold_text(SELF, 3, name, object); /* a member's: not to be touched */
    hold_text(SELF, 6, name, object);
    hold_text(SELF, 7, name, object);
  }
  run(10000 * MS);
  assert_int_equal(world.hint_drops, 80);
  uint32_t left = 0;
  for (uint32_t i = 0; i < world.held_count; i++) {
    left += world.held[i].node == SELF && world.held[i].owner == 3 ? 1 : 0;
    assert_true(world.held[i].owner == 0 || world.held[i].owner == 3);
  }
  assert_int_equal(left, 40);
  for (uint32_t i = 0; i < 40; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "k%u", i);
    struct preference takers = takers_of(name);
    for (uint32_t r = 0; r < 3; r++) {
      assert_true(held_digest(takers.nodes[r], name) != 0);
    }
  }
  assert_int_equal(world.drops, 0);
  blob_put(object);
  world_end();
}

static void a_damaged_stray_stays_and_holds_up_nobody(void **state) {
  (void)state;
  five_begin();
  struct blob *garbage = blob_copy(&core.pool, BYTES_LITERAL("garbage"));
  struct blob *object = object_of(NULL, 2, "v");
  for (uint32_t i = 0; i < 5; i++) {
    hold_text(SELF, 0, stray_key(i), i == 2 ? garbage : object);
  }
  run(5000 * MS);
  assert_int_equal(world.drops, 4);
  assert_int_equal(held_by(SELF), 1);
  assert_int_equal(strays(1), 1);
  assert_true(core.stats.store_errors > 0);
  blob_put(garbage);
  blob_put(object);
  world_end();
}

static void a_store_that_can_not_be_read_is_tried_again(void **state) {
  (void)state;
  (void)stray_begin();
  enum err errors[2] = {ERR_NOMEM, ERR_CORRUPT};
  for (uint32_t i = 0; i < 2; i++) {
    world.scan_err = errors[i];
    run(60000 * MS);
    assert_int_equal(world.drops, 0);
    assert_true(strays(7) > 0); /* nobody knows */
    assert_true(world.scans < 2000);
  }
  world.scan_err = ERR_OK;
  run(30000 * MS);
  assert_int_equal(world.drops, 1);
  world_end();
}

static void giving_is_throttled(void **state) {
  (void)state;
  five_begin();
  static char value[2001];
  memset(value, 'x', 2000);
  struct blob *object = object_of(NULL, 2, value);
  for (uint32_t i = 0; i < 100; i++) {
    hold_text(SELF, 0, stray_key(i), object);
  }
  blob_put(object);
  core.tunables.background.bytes_per_s = 50000;
  uint64_t start_ns = core.now_ns;
  while (world.drops < 100) {
    run(100 * MS);
    assert_true(core.now_ns - start_ns < 60000 * MS);
  }
  /* 100 objects of 2 KB to three nodes; the last batch of 32 goes on credit. */
  assert_true(core.now_ns - start_ns >= 10000 * MS);
  assert_true(core.now_ns - start_ns <= 22000 * MS);
  world_end();
}

static void at_rest_a_sweep_costs_little(void **state) {
  (void)state;
  five_begin();
  struct blob *object = object_of(NULL, 2, "v");
  for (uint32_t i = 0; i < 100; i++) {
    hold_text(SELF, 0, key_of_rank(&core.ring, SELF, 0, i), object);
  }
  blob_put(object);
  run(30000 * MS); /* two, after the change of layouts */
  uint32_t two = world.scans;
  assert_true(two <= 128);
  run(500000 * MS);
  assert_int_equal(world.scans, two);
  run(200000 * MS);
  assert_int_equal(world.scans, two / 2 * 3);
  world_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stray_goes_to_all_its_replicas_and_then_from_here),
      cmocka_unit_test(what_its_replicas_hold_is_not_sent_again),
      cmocka_unit_test(a_newer_version_at_a_replica_is_merged_with_it),
      cmocka_unit_test(nothing_goes_until_all_members_go_by_the_ring_alone),
      cmocka_unit_test(nothing_goes_while_partitions_move),
      cmocka_unit_test(a_stray_stays_while_one_of_its_replicas_is_down),
      cmocka_unit_test(a_stray_stays_while_one_of_its_replicas_refuses_it),
      cmocka_unit_test(silence_is_not_assent),
      cmocka_unit_test(what_was_begun_under_other_layouts_does_not_go),
      cmocka_unit_test(what_has_changed_since_it_was_offered_stays),
      cmocka_unit_test(a_write_that_comes_later_is_found_by_a_later_sweep),
      cmocka_unit_test(a_stray_that_is_written_is_swept_soon_and_counts_until_it_is_gone),
      cmocka_unit_test(a_node_that_is_out_gives_away_all),
      cmocka_unit_test(a_key_with_fewer_replicas_than_its_neighbours_goes_where_this_node_is_none),
      cmocka_unit_test(hints_for_a_node_that_is_gone_go_to_the_replicas_of_their_keys),
      cmocka_unit_test(a_damaged_stray_stays_and_holds_up_nobody),
      cmocka_unit_test(a_store_that_can_not_be_read_is_tried_again),
      cmocka_unit_test(giving_is_throttled),
      cmocka_unit_test(at_rest_a_sweep_costs_little),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
