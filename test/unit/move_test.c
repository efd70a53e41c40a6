/* The mover: what is pulled, from whom, when it counts as held, and what is served to others. */
#include "support/move_world.h"

#include "support/core_floor.h"

#include "move/state.h"

/* Node 1 joins 2, 3 and 4. */
static void join_begin(void) {
  world_begin();
  layouts_make(IDS(2, 3, 4), IDS(1), NOBODY);
}

static uint32_t gained_count(void) {
  uint32_t count = 0;
  for (uint32_t partition = 0; partition < 64; partition++) {
    count += ring_rank(&core.ring, partition, 3, SELF) < 3 ? 1 : 0;
  }
  return count;
}

static const char *key_gained(uint32_t nth) {
  return key_of_rank(&core.ring, SELF, 0, nth);
}

static void what_the_target_gives_is_copied_checked_and_held(void **state) {
  (void)state;
  join_begin();
  for (uint32_t i = 0; i < 20; i++) {
    blob_put(spread(key_gained(i), IDS(2, 3, 4), "v"));
  }
  assert_false(is_complete());
  run(5000 * MS);
  assert_true(is_complete());
  for (uint32_t i = 0; i < 20; i++) {
    assert_true(held_digest(SELF, key_gained(i)) != 0);
    assert_true(held_digest(SELF, key_gained(i)) == held_digest(2, key_gained(i)));
  }
  struct heartbeat health = totals(0);
  assert_int_equal(health.parts_wanted, gained_count());
  assert_int_equal(health.parts_held, gained_count());
  assert_int_equal(health.moving_keys, 20);
  assert_true(health.moving_bytes > 0);
  /* One copies, all are checked against. */
  assert_int_equal(world.pulls_full, gained_count());
  assert_int_equal(world.pulls[2] + world.pulls[3] + world.pulls[4], 4 * gained_count());
  assert_int_equal(world.reads, 0);
  assert_int_equal(world.offers_own, 60);
  world_end();
}

static void copying_is_spread_over_the_sources(void **state) {
  (void)state;
  join_begin();
  run(5000 * MS);
  for (uint32_t node = 2; node <= 4; node++) {
    assert_true(world.pulls[node] > gained_count());
  }
  world_end();
}

static void a_key_that_is_not_this_nodes_is_not_taken(void **state) {
  (void)state;
  join_begin();
  const char *key = key_of_rank(&core.ring, SELF, 3, 0);
  blob_put(spread(key, IDS(2, 3, 4), "v"));
  run(5000 * MS);
  assert_true(is_complete());
  assert_int_equal(held_by(SELF), 0);
  world_end();
}

static void keys_of_a_bucket_with_fewer_replicas_are_taken_only_by_those(void **state) {
  (void)state;
  join_begin();
  struct bucket bucket = {.time = 1, .issuer = 2, .name_size = 3, .name = "one", .props = bucket_props_default()};
  bucket.props.n = bucket.props.r = bucket.props.w = 1;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  uint32_t wanted = 0;
  for (uint32_t i = 0; i < 40; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "one:%u", i);
    uint32_t partition = position_partition(position_of_key(text_bytes(name)), 64);
    wanted += ring_rank(&core.ring, partition, 3, SELF) == 0 ? 1 : 0;
    blob_put(spread(name, IDS(2, 3, 4), "v"));
  }
  run(5000 * MS);
  assert_true(is_complete());
  assert_true(wanted > 0 && wanted < 40);
  assert_int_equal(held_by(SELF), wanted);
  world_end();
}

static void a_long_partition_comes_in_batches(void **state) {
  (void)state;
  join_begin();
  world.batch = 3;
  const char *first = key_gained(0);
  uint32_t partition = position_partition(position_of_key(text_bytes(first)), 64);
  uint32_t count = 0;
  for (uint32_t i = 0; count < 10; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "k%u", i);
    if (position_partition(position_of_key(text_bytes(name)), 64) == partition) {
      blob_put(spread(name, IDS(2, 3, 4), "v"));
      count += 1;
    }
  }
  run(5000 * MS);
  assert_true(is_complete());
  assert_int_equal(held_by(SELF), 10);
  assert_int_equal(world.pulls[2] + world.pulls[3] + world.pulls[4], 4 * (gained_count() + 3));
  world_end();
}

static void what_only_one_source_has_is_found_by_the_check(void **state) {
  (void)state;
  join_begin();
  for (uint32_t i = 0; i < 6; i++) {
    blob_put(spread(key_gained(i), IDS(2 + i % 3), "v"));
  }
  run(5000 * MS);
  assert_true(is_complete());
  assert_int_equal(held_by(SELF), 6);
  assert_true(world.reads > 0);
  world_end();
}

static void versions_of_several_sources_are_merged(void **state) {
  (void)state;
  join_begin();
  const char *key = key_gained(0);
  struct blob *a = object_of(NULL, 2, "a");
  struct blob *b = object_of(NULL, 3, "b");
  hold_text(2, 0, key, a);
  hold_text(3, 0, key, b);
  run(5000 * MS);
  assert_true(is_complete());
  struct blob *name = store_key(key);
  struct held *own = held_find(SELF, 0, blob_bytes(name));
  assert_non_null(own);
  assert_true(object_descends(blob_bytes(own->object), blob_bytes(a)));
  assert_true(object_descends(blob_bytes(own->object), blob_bytes(b)));
  blob_put(name);
  blob_put(a);
  blob_put(b);
  world_end();
}

static void nothing_is_pulled_before_all_know_the_target(void **state) {
  (void)state;
  join_begin();
  core.disagreed = true;
  run(5000 * MS);
  assert_int_equal(world.pulls[2] + world.pulls[3] + world.pulls[4], 0);
  assert_false(is_complete());
  core.disagreed = false;
  run(5000 * MS);
  assert_true(is_complete());
  world_end();
}

static void nothing_is_pulled_while_the_disk_is_full_here(void **state) {
  (void)state;
  join_begin();
  world.refuses[SELF] = ERR_NOSPACE;
  blob_put(spread(key_gained(0), IDS(2, 3, 4), "v"));
  run(20000 * MS);
  assert_false(is_complete());
  assert_int_equal(totals(0).parts_held, gained_count() - 1);
  world.refuses[SELF] = ERR_OK;
  run(20000 * MS);
  assert_true(is_complete());
  world_end();
}

static void a_source_that_is_down_is_waited_for_though_others_gave_copies(void **state) {
  (void)state;
  join_begin();
  node_set_up(3, false);
  blob_put(spread(key_gained(0), IDS(2, 4), "v"));
  const char *only = key_gained(1);
  blob_put(spread(only, IDS(3), "only"));
  run(20000 * MS);
  assert_false(is_complete());
  assert_int_equal(totals(0).parts_held, 0);
  assert_int_equal(world.pulls[3], 0);
  assert_true(held_digest(SELF, key_gained(0)) != 0);
  node_set_up(3, true);
  run(20000 * MS);
  assert_true(is_complete());
  assert_true(held_digest(SELF, only) != 0);
  /* What was copied was not copied again. */
  assert_int_equal(world.pulls_full, gained_count());
  world_end();
}

static void a_source_that_is_removed_and_down_is_not_waited_for(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(2, 3, 4), IDS(1), IDS(3));
  node_set_up(3, false);
  blob_put(spread(key_gained(0), IDS(2, 3, 4), "v"));
  run(20000 * MS);
  assert_true(is_complete());
  assert_int_equal(world.pulls[3], 0);
  assert_true(held_digest(SELF, key_gained(0)) != 0);
  world_end();
}

static void a_removed_source_counts_as_down_only_when_there_was_time_to_connect(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(2, 3, 4), IDS(1), IDS(3));
  core.tunables.peer_timeout_ns = 5000 * MS;
  node_set_up(3, false);
  run(4000 * MS);
  assert_false(is_complete());
  assert_int_equal(totals(0).parts_held, 0);
  run(4000 * MS);
  assert_true(is_complete());
  world_end();
}

static void a_removed_source_that_is_up_is_checked_against(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(2, 3, 4), IDS(1), IDS(3));
  blob_put(spread(key_gained(0), IDS(3), "only"));
  run(20000 * MS);
  assert_true(is_complete());
  assert_true(held_digest(SELF, key_gained(0)) != 0);
  world_end();
}

/* Three removed of which one is down: what is held without it is checked against it when it is listened to again. */
static void a_removed_source_that_returns_is_checked_against(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(2, 3, 4), IDS(1), IDS(3));
  node_set_up(3, false);
  blob_put(spread(key_gained(0), IDS(3), "only"));
  run(20000 * MS);
  assert_true(is_complete());
  assert_int_equal(held_digest(SELF, key_gained(0)), 0);
  node_set_up(3, true);
  core.epoch += 1;
  assert_false(is_complete());
  uint32_t pulls = world.pulls[2] + world.pulls[4];
  run(20000 * MS);
  assert_true(is_complete());
  assert_true(held_digest(SELF, key_gained(0)) != 0);
  assert_int_equal(world.pulls[2] + world.pulls[4], pulls); /* against nobody else */
  world_end();
}

static void after_a_restart_what_was_held_without_one_that_was_down_is_checked_again(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(2, 3, 4), IDS(1), IDS(3));
  node_set_up(3, false);
  blob_put(spread(key_gained(0), IDS(3), "only"));
  run(20000 * MS);
  assert_true(is_complete());
  mover_stop();
  mover_start(5000);
  node_set_up(3, true);
  assert_false(is_complete());
  run(20000 * MS);
  assert_true(is_complete());
  assert_true(held_digest(SELF, key_gained(0)) != 0);
  world_end();
}

static void with_no_source_left_there_is_nothing_to_hold(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(2), IDS(1), IDS(2));
  node_set_up(2, false);
  run(5000 * MS);
  assert_true(is_complete());
  assert_int_equal(totals(0).parts_held, 64);
  world_end();
}

static void a_silent_source_is_asked_again_and_another_copies(void **state) {
  (void)state;
  join_begin();
  world.silent[3] = true;
  blob_put(spread(key_gained(0), IDS(2, 3, 4), "v"));
  run(20000 * MS);
  assert_false(is_complete());
  assert_true(world.pulls[3] > 0);
  world.silent[3] = false;
  run(60000 * MS);
  assert_true(is_complete());
  world_end();
}

static void a_busy_source_is_left_alone_for_a_while(void **state) {
  (void)state;
  join_begin();
  world.pull_err[2] = world.pull_err[3] = world.pull_err[4] = ERR_BUSY;
  run(500 * MS);
  uint32_t asked = world.pulls[2] + world.pulls[3] + world.pulls[4];
  assert_int_equal(asked, MOVES_MAX);
  run(600 * MS);
  assert_int_equal(world.pulls[2] + world.pulls[3] + world.pulls[4], 2 * asked);
  world.pull_err[2] = world.pull_err[3] = world.pull_err[4] = ERR_OK;
  run(20000 * MS);
  assert_true(is_complete());
  world_end();
}

static void an_object_that_is_refused_keeps_its_partition_from_being_held(void **state) {
  (void)state;
  join_begin();
  world.refuses[SELF] = ERR_TOOBIG;
  blob_put(spread(key_gained(0), IDS(2, 3, 4), "v"));
  run(30000 * MS);
  assert_false(is_complete());
  assert_int_equal(totals(0).parts_held, gained_count() - 1);
  assert_true(core.stats.store_errors > 0);
  assert_true(core.stats.store_errors < 10); /* not over and over */
  world.refuses[SELF] = ERR_OK;
  run(30000 * MS);
  assert_true(is_complete());
  world_end();
}

static void what_is_damaged_at_its_source_is_passed_over(void **state) {
  (void)state;
  join_begin();
  world.batch = 1;
  blob_put(spread(key_gained(0), IDS(2, 3, 4), "v"));
  world.held[0].damaged = true; /* at node 2 */
  run(20000 * MS);
  assert_true(is_complete());
  assert_true(held_digest(SELF, key_gained(0)) != 0);
  world_end();
}

static void an_answer_that_makes_no_sense_changes_nothing(void **state) {
  (void)state;
  join_begin();
  uint8_t room[256];
  struct blob *key = store_key(key_of_rank(&core.ring, SELF, 3, 0)); /* of another partition than any asked for */
  struct writer w = writer_make(room, sizeof room);
  write_bytes(&w, blob_bytes(key));
  write_u64(&w, 5);
  write_bytes(&w, BYTES_NONE);
  blob_put(key);
  world.damaged_answer = writer_bytes(&w);
  run(3000 * MS);
  assert_true(core.stats.messages_bad > 0);
  assert_int_equal(totals(0).parts_held, 0);
  for (size_t size = 1; size < w.size; size++) {
    world.damaged_answer.size = size;
    run(1000 * MS);
  }
  assert_int_equal(totals(0).parts_held, 0);
  assert_int_equal(held_by(SELF), 0);
  world.damaged_answer = BYTES_NONE;
  run(60000 * MS);
  assert_true(is_complete());
  world_end();
}

static void late_and_foreign_answers_are_dropped(void **state) {
  (void)state;
  join_begin();
  tick();
  uint32_t open = world.mail_count;
  assert_int_equal(open, MOVES_MAX);
  struct mail first = world.mail[world.mail_head];
  /* The right number, from another node; and of an earlier batch. */
  struct message message = first.message;
  uint64_t late = core.stats.messages_late;
  struct step step = core_step();
  move_message(world.move, &step, first.from % 3 + 2, &message);
  assert_int_equal(core.stats.messages_late, late + 1);
  message.request -= 1u << 16;
  step = core_step();
  move_message(world.move, &step, first.from, &message);
  assert_int_equal(core.stats.messages_late, late + 2);
  /* A number that no request of ours has. */
  message.request = UINT64_C(3) << 56 | UINT64_C(200) << 48;
  step = core_step();
  move_message(world.move, &step, first.from, &message);
  assert_int_equal(core.stats.messages_bad, 1);
  run(5000 * MS);
  assert_true(is_complete());
  world_end();
}

static void it_is_complete_only_when_the_store_knows_it(void **state) {
  (void)state;
  join_begin();
  world.commits_held = true;
  run(5000 * MS);
  assert_int_equal(totals(0).parts_held, gained_count());
  assert_int_equal(world.commits, 1); /* one at a time */
  assert_false(is_complete());
  world_end();
}

static void a_commit_that_fails_is_made_again(void **state) {
  (void)state;
  join_begin();
  world.commit_err = ERR_NOSPACE;
  run(5000 * MS);
  assert_int_equal(totals(0).parts_held, gained_count());
  assert_false(is_complete());
  assert_true(core.stats.store_errors > 0);
  world.commit_err = ERR_OK;
  run(5000 * MS);
  assert_true(is_complete());
  world_end();
}

static void after_a_restart_what_was_held_is_not_pulled_again(void **state) {
  (void)state;
  join_begin();
  run(5000 * MS);
  assert_true(is_complete());
  mover_stop();
  memset(world.pulls, 0, sizeof world.pulls);
  mover_start(5000);
  core.epoch = 7;
  run(5000 * MS);
  assert_true(is_complete());
  assert_int_equal(world.pulls[2] + world.pulls[3] + world.pulls[4], 0);
  world_end();
}

static void after_a_restart_in_the_middle_only_what_was_under_way_is_copied_again(void **state) {
  (void)state;
  join_begin();
  while (totals(0).parts_held < 20) {
    if (world.mail_count > 0) {
      tell_one();
    } else {
      core.now_ns += 200 * MS;
      tick();
    }
  }
  mover_stop();
  uint32_t copied = world.pulls_full;
  mover_start(5000);
  run(5000 * MS);
  assert_true(is_complete());
  assert_true(world.pulls_full <= gained_count() + 2 * MOVES_MAX);
  assert_true(copied >= 20);
  world_end();
}

static void damaged_progress_is_no_progress(void **state) {
  (void)state;
  for (uint32_t at = 0; at < 40; at += 3) {
    join_begin();
    run(5000 * MS);
    assert_true(is_complete());
    mover_stop();
    world.pulls_full = 0;
    world.moves[at % world.moves_size] ^= 0x10;
    world.moves_size -= at == 39 ? 1 : 0;
    mover_start(5000);
    run(5000 * MS);
    assert_true(is_complete());
    assert_int_equal(core.stats.store_errors, 1);
    assert_int_equal(world.pulls_full, gained_count());
    world_end();
  }
}

static void another_target_makes_what_is_held_be_checked_again_but_not_copied(void **state) {
  (void)state;
  join_begin();
  run(5000 * MS);
  assert_true(is_complete());
  uint32_t before = world.pulls_full;
  uint32_t checks = world.pulls[2] + world.pulls[3] + world.pulls[4];
  layouts_make(IDS(2, 3, 4), IDS(1, 5), NOBODY);
  assert_false(is_complete());
  /* Acknowledged by those who did not know of this node's part: the check finds it. */
  const char *key = key_gained(0);
  blob_put(spread(key, IDS(2, 3), "new"));
  run(5000 * MS);
  assert_true(is_complete());
  assert_true(held_digest(SELF, key) != 0);
  assert_true(world.pulls_full - before < gained_count());
  assert_true(world.pulls[2] + world.pulls[3] + world.pulls[4] - checks >= 3 * gained_count());
  assert_int_equal(totals(0).parts_wanted, gained_count());
  world_end();
}

static void an_answer_asked_for_by_an_older_target_is_dropped(void **state) {
  (void)state;
  join_begin();
  tick();
  assert_int_equal(world.mail_count, MOVES_MAX);
  layouts_make(IDS(2, 3, 4), IDS(1, 5), NOBODY);
  for (uint32_t i = 0; i < MOVES_MAX; i++) {
    tell_one();
  }
  assert_int_equal(core.stats.messages_late, MOVES_MAX);
  run(5000 * MS);
  assert_true(is_complete());
  world_end();
}

static void other_numbers_of_replicas_are_another_target(void **state) {
  (void)state;
  join_begin();
  run(5000 * MS);
  assert_true(is_complete());
  uint32_t before = world.pulls[2];
  struct bucket bucket = {.time = 1, .issuer = 2, .name_size = 4, .name = "four", .props = bucket_props_default()};
  bucket.props.n = 4;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  core.buckets_digest += 1;
  assert_false(is_complete()); /* whether or not it has come to look at them */
  tick();
  assert_false(is_complete());
  run(5000 * MS);
  assert_true(is_complete());
  assert_true(world.pulls[2] > before);
  assert_int_equal(totals(0).parts_wanted, 64);
  world_end();
}

/* The first partition in which this node's place, of four, was one of these (bits), and becomes one of those. */
static uint32_t partition_that_moves(uint32_t from, uint32_t to) {
  for (uint32_t i = 0; i < 64; i++) {
    uint32_t base_rank = ring_rank(&world.base, i, 4, SELF);
    uint32_t target_rank = ring_rank(&core.ring, i, 4, SELF);
    if ((from >> base_rank & 1) != 0 && (to >> target_rank & 1) != 0) {
      return i;
    }
  }
  fail_msg("there is no such partition");
  return 0;
}

#define RANKS_OF_THREE 0x7u
#define RANK_FOURTH 0x8u
#define RANK_NONE 0x10u

static void four_replicas_begin(void) {
  world_begin();
  struct bucket bucket = {.time = 1, .issuer = 2, .name_size = 4, .name = "four", .props = bucket_props_default()};
  bucket.props.n = 4;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  core.buckets_digest += 1;
  struct step step = core_step();
  floors_look(world.floors, &step);
}

/* Of the others' floor it knows nothing for keys that it has not been checked for. */
static void a_floor_comes_with_a_partition_only_as_far_as_its_keys_were_checked(void **state) {
  (void)state;
  for (uint64_t own = 0; own <= 50; own += 50) {
    four_replicas_begin();
    world.floor = 100;
    layouts_make(IDS(1, 2, 3, 4, 5, 6, 7), NOBODY, IDS(5, 6, 7));
    uint32_t some = partition_that_moves(RANK_FOURTH, RANKS_OF_THREE); /* it gets what has three replicas */
    uint32_t all = partition_that_moves(RANK_NONE, RANKS_OF_THREE | RANK_FOURTH);
    if (own != 0) {
      assert_true(floors_raise(world.floors, some, 3, own));
      floors_store(world.floors);
    }
    run(5000 * MS);
    floors_store(world.floors);
    assert_true(is_complete());
    assert_int_equal(floors_get(world.floors, some), own);
    assert_int_equal(floors_get(world.floors, all), 100);
    world_end();
  }
}

static void who_has_lost_its_data_answers_only_for_keys_that_were_checked(void **state) {
  (void)state;
  four_replicas_begin();
  core.lost = 7;
  struct step early = core_step();
  struct blob *any = store_key("four:1");
  assert_false(move_vouches(world.move, &early, blob_bytes(any))); /* it knows no layouts yet */
  blob_put(any);
  layouts_make(IDS(1, 2, 3, 4), IDS(5, 6, 7), NOBODY);
  uint32_t partition = partition_that_moves(RANKS_OF_THREE, RANK_FOURTH);
  core.lost = 7;
  run(5000 * MS);
  assert_true(is_complete());
  uint32_t looked = 0;
  for (uint32_t i = 0; i < 4000; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, i % 2 == 0 ? "four:%u" : "k%u", i);
    struct blob *key = store_key(name);
    struct step step = core_step();
    if (partition_of(blob_bytes(key)) == partition) {
      looked += i % 2 == 0 ? 1 : 0x10000;
      assert_int_equal(move_vouches(world.move, &step, blob_bytes(key)), i % 2 == 0);
    }
    blob_put(key);
  }
  assert_true((looked & 0xffff) > 0 && looked >> 16 > 0);
  world_end();
}

static void when_the_target_is_the_base_nothing_is_left_to_do(void **state) {
  (void)state;
  join_begin();
  run(5000 * MS);
  layouts_settle();
  assert_true(is_complete());
  run(5000 * MS);
  assert_true(is_complete());
  assert_int_equal(totals(0).parts_wanted, 0);
  /* Nor is it remembered: if it is taken away and given back, it is another copy. */
  mover_stop();
  world.pulls_full = 0;
  mover_start(5000);
  layouts_make(IDS(2, 3, 4), IDS(1), NOBODY);
  run(5000 * MS);
  assert_true(is_complete());
  assert_int_equal(world.pulls_full, gained_count());
  world_end();
}

static void a_node_that_gains_nothing_is_complete_at_once(void **state) {
  (void)state;
  world_begin();
  layouts_make(IDS(1, 2, 3), IDS(4), NOBODY);
  tick();
  assert_true(is_complete());
  run(5000 * MS);
  assert_int_equal(world.pulls[2] + world.pulls[3] + world.pulls[4], 0);
  world_end();
}

static void receiving_is_throttled(void **state) {
  (void)state;
  join_begin();
  static char value[2001];
  memset(value, 'x', 2000);
  for (uint32_t i = 0; i < 40; i++) {
    blob_put(spread(key_gained(i), IDS(2, 3, 4), value));
  }
  core.tunables.background.bytes_per_s = 10000;
  uint64_t start_ns = core.now_ns;
  while (!is_complete()) {
    run(100 * MS);
    assert_true(core.now_ns - start_ns < 60000 * MS);
  }
  uint64_t took_ms = (core.now_ns - start_ns) / MS;
  uint64_t bytes = world.pulled_bytes + UINT64_C(4) * gained_count() * (FRAME_HEADER_BYTES + ADMIT_SLICE_BYTES);
  assert_true(bytes > 80000);
  /* A second's worth may go at once. */
  assert_true(took_ms >= (bytes - 10000) * 1000 / 10000 * 9 / 10);
  assert_true(took_ms <= bytes * 1000 / 10000 * 12 / 10 + 2000);
  world_end();
}

static void without_memory_it_backs_off_and_goes_on_later(void **state) {
  (void)state;
  join_begin();
  blob_put(spread(key_gained(0), IDS(2, 3, 4), "v"));
  tick();
  core_take_memory();
  for (uint32_t i = 0; i < MOVES_MAX; i++) {
    struct mail mail = world.mail[world.mail_head];
    world.mail_head = (world.mail_head + 1) % MAIL_MAX;
    world.mail_count -= 1;
    struct step step = core_step();
    move_message(world.move, &step, mail.from, &mail.message);
    mail_release(&mail);
    effects_reset(&core.effects);
    core_drop_local();
  }
  core_give_memory();
  run(20000 * MS);
  assert_true(is_complete());
  world_end();
}

/* -- serving ---------------------------------------------------------------------------- */

static const struct message *pull(uint32_t from, uint32_t partition, struct bytes after, uint8_t flags) {
  struct message message = {.type = MESSAGE_PULL,
                            .flags = flags,
                            .partition = (uint16_t)partition,
                            .request = 77,
                            .key = after,
                            .digest = 1u << 20};
  struct step step = core_step();
  move_message(world.move, &step, from, &message);
  if (core_count(EFFECT_SCAN) == 0) {
    return core_sent(from, MESSAGE_PULLED);
  }
  const struct effect *effect = core_effect(EFFECT_SCAN, 0);
  struct mail mail = {.token = effect->scan.token,
                      .space = effect->scan.space,
                      .start = blob_get(effect->scan.from),
                      .prefix = blob_get(effect->scan.prefix),
                      .max_count = effect->scan.max_count};
  tell_scan(&mail);
  mail_release(&mail);
  return core_sent(from, MESSAGE_PULLED);
}

static void serve_begin(void) {
  world_begin();
  layouts_make(IDS(1, 2, 3), IDS(4), NOBODY);
}

static void a_partition_is_served_from_its_beginning_to_its_end(void **state) {
  (void)state;
  serve_begin();
  struct blob *object = object_of(NULL, 2, "v");
  uint32_t partition = position_partition(position_of_key(text_bytes("k0")), 64);
  uint32_t expected = 0;
  for (uint32_t i = 0; i < 300; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "k%u", i);
    expected += position_partition(position_of_key(text_bytes(name)), 64) == partition ? 1 : 0;
    hold_text(SELF, 0, name, object);
  }
  const struct message *pulled = pull(4, partition, BYTES_NONE, MESSAGE_FULL);
  assert_non_null(pulled);
  assert_int_equal(pulled->err, ERR_OK);
  assert_int_equal(pulled->request, 77);
  assert_int_equal(pulled->partition, partition);
  assert_int_equal(pulled->flags, MESSAGE_LAST);
  struct reader r = reader_make(pulled->object);
  struct move_entry entry;
  struct blob *first = NULL;
  uint32_t count = 0;
  while (move_entry_read(&r, &entry)) {
    assert_int_equal(position_partition(position_read(entry.key.data), 64), partition);
    assert_true(entry.digest == object_digest(blob_bytes(object)));
    assert_true(bytes_equal(entry.object, blob_bytes(object)));
    first = first == NULL ? blob_copy(&core.pool, entry.key) : first;
    count += 1;
  }
  assert_false(r.failed);
  assert_int_equal(count, expected);
  assert_true(expected > 1);
  /* Behind the first, and without the objects. */
  pulled = pull(4, partition, blob_bytes(first), 0);
  r = reader_make(pulled->object);
  count = 0;
  while (move_entry_read(&r, &entry)) {
    assert_int_equal(entry.object.size, 0);
    assert_true(bytes_compare(entry.key, blob_bytes(first)) > 0);
    count += 1;
  }
  assert_int_equal(count, expected - 1);
  blob_put(first);
  blob_put(object);
  world_end();
}

static void a_batch_is_bounded_and_says_that_there_is_more(void **state) {
  (void)state;
  serve_begin();
  struct blob *object = object_of(NULL, 2, "v");
  uint32_t partition = position_partition(position_of_key(text_bytes("{a}")), 64);
  for (uint32_t i = 0; i < 140; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "{a}%u", i);
    hold_text(SELF, 0, name, object);
  }
  const struct message *pulled = pull(4, partition, BYTES_NONE, 0);
  assert_int_equal(pulled->flags & MESSAGE_LAST, 0);
  struct reader r = reader_make(pulled->object);
  struct move_entry entry = {.digest = 0};
  uint32_t count = 0;
  while (move_entry_read(&r, &entry)) {
    count += 1;
  }
  assert_int_equal(count, MOVE_BATCH_MAX);
  struct blob *last = blob_copy(&core.pool, entry.key);
  pulled = pull(4, partition, blob_bytes(last), 0);
  assert_int_equal(pulled->flags, MESSAGE_LAST);
  blob_put(last);
  blob_put(object);
  world_end();
}

static void an_empty_partition_is_the_last_batch(void **state) {
  (void)state;
  serve_begin();
  const struct message *pulled = pull(4, 63, BYTES_NONE, MESSAGE_FULL);
  assert_int_equal(pulled->err, ERR_OK);
  assert_int_equal(pulled->flags, MESSAGE_LAST);
  assert_int_equal(pulled->object.size, 0);
  world_end();
}

static void a_damaged_record_is_listed_without_a_digest(void **state) {
  (void)state;
  serve_begin();
  struct blob *garbage = blob_copy(&core.pool, BYTES_LITERAL("garbage"));
  hold_text(SELF, 0, "k0", garbage);
  blob_put(garbage);
  const struct message *pulled =
      pull(4, position_partition(position_of_key(text_bytes("k0")), 64), BYTES_NONE, MESSAGE_FULL);
  struct reader r = reader_make(pulled->object);
  struct move_entry entry;
  assert_true(move_entry_read(&r, &entry));
  assert_true(entry.digest == 0);
  assert_int_equal(entry.object.size, 0);
  assert_int_equal(core.stats.store_errors, 1);
  world_end();
}

static void who_can_not_list_all_that_it_has_gives_no_floor_with_it(void **state) {
  (void)state;
  serve_begin();
  struct blob *key = store_key("k0");
  struct blob *garbage = blob_copy(&core.pool, BYTES_LITERAL("garbage"));
  floor_set(world.floors, blob_bytes(key), 100);
  assert_true(pull(4, partition_of(blob_bytes(key)), BYTES_NONE, 0)->floor == 100);
  hold_text(SELF, 0, "k0", garbage);
  assert_true(pull(4, partition_of(blob_bytes(key)), BYTES_NONE, 0)->floor == 0);
  held_drop(held_find(SELF, 0, blob_bytes(key)));
  world.gap = true; /* now the engine says so */
  assert_true(pull(4, partition_of(blob_bytes(key)), BYTES_NONE, 0)->floor == 0);
  blob_put(garbage);
  blob_put(key);
  world_end();
}

static void a_store_that_can_not_be_read_is_told(void **state) {
  (void)state;
  serve_begin();
  world.scan_err = ERR_CORRUPT;
  assert_int_equal(pull(4, 5, BYTES_NONE, 0)->err, ERR_CORRUPT);
  world_end();
}

static void nonsense_is_not_served(void **state) {
  (void)state;
  serve_begin();
  struct blob *key = store_key("k0");
  uint32_t partition = position_partition(position_of_key(text_bytes("k0")), 64);
  assert_null(pull(4, (partition + 1) % 64, blob_bytes(key), 0));
  assert_null(pull(4, 64, BYTES_NONE, 0));
  assert_null(pull(4, partition, (struct bytes){key->data, 5}, 0));
  assert_int_equal(core.stats.messages_bad, 3);
  blob_put(key);
  world_end();
}

static void more_pulls_than_there_are_places_are_told_to_wait(void **state) {
  (void)state;
  serve_begin();
  for (uint32_t i = 0; i < SERVES_MAX; i++) {
    struct message message = {.type = MESSAGE_PULL, .partition = (uint16_t)i, .request = i, .digest = 1000};
    struct step step = core_step();
    move_message(world.move, &step, 4, &message);
    assert_int_equal(core_count(EFFECT_SCAN), 1);
    perform();
  }
  assert_int_equal(pull(4, 40, BYTES_NONE, 0)->err, ERR_BUSY);
  effects_reset(&core.effects);
  while (world.mail_count > 0) {
    struct mail mail = world.mail[world.mail_head];
    world.mail_head = (world.mail_head + 1) % MAIL_MAX;
    world.mail_count -= 1;
    tell_scan(&mail);
    assert_non_null(core_sent(4, MESSAGE_PULLED));
    mail_release(&mail);
  }
  assert_int_equal(pull(4, 40, BYTES_NONE, 0)->err, ERR_OK);
  world_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_the_target_gives_is_copied_checked_and_held),
      cmocka_unit_test(copying_is_spread_over_the_sources),
      cmocka_unit_test(a_key_that_is_not_this_nodes_is_not_taken),
      cmocka_unit_test(keys_of_a_bucket_with_fewer_replicas_are_taken_only_by_those),
      cmocka_unit_test(a_long_partition_comes_in_batches),
      cmocka_unit_test(what_only_one_source_has_is_found_by_the_check),
      cmocka_unit_test(versions_of_several_sources_are_merged),
      cmocka_unit_test(nothing_is_pulled_before_all_know_the_target),
      cmocka_unit_test(nothing_is_pulled_while_the_disk_is_full_here),
      cmocka_unit_test(a_source_that_is_down_is_waited_for_though_others_gave_copies),
      cmocka_unit_test(a_source_that_is_removed_and_down_is_not_waited_for),
      cmocka_unit_test(a_removed_source_counts_as_down_only_when_there_was_time_to_connect),
      cmocka_unit_test(a_removed_source_that_is_up_is_checked_against),
      cmocka_unit_test(a_removed_source_that_returns_is_checked_against),
      cmocka_unit_test(after_a_restart_what_was_held_without_one_that_was_down_is_checked_again),
      cmocka_unit_test(with_no_source_left_there_is_nothing_to_hold),
      cmocka_unit_test(a_silent_source_is_asked_again_and_another_copies),
      cmocka_unit_test(a_busy_source_is_left_alone_for_a_while),
      cmocka_unit_test(an_object_that_is_refused_keeps_its_partition_from_being_held),
      cmocka_unit_test(what_is_damaged_at_its_source_is_passed_over),
      cmocka_unit_test(an_answer_that_makes_no_sense_changes_nothing),
      cmocka_unit_test(late_and_foreign_answers_are_dropped),
      cmocka_unit_test(it_is_complete_only_when_the_store_knows_it),
      cmocka_unit_test(a_commit_that_fails_is_made_again),
      cmocka_unit_test(after_a_restart_what_was_held_is_not_pulled_again),
      cmocka_unit_test(after_a_restart_in_the_middle_only_what_was_under_way_is_copied_again),
      cmocka_unit_test(damaged_progress_is_no_progress),
      cmocka_unit_test(another_target_makes_what_is_held_be_checked_again_but_not_copied),
      cmocka_unit_test(an_answer_asked_for_by_an_older_target_is_dropped),
      cmocka_unit_test(other_numbers_of_replicas_are_another_target),
      cmocka_unit_test(a_floor_comes_with_a_partition_only_as_far_as_its_keys_were_checked),
      cmocka_unit_test(who_has_lost_its_data_answers_only_for_keys_that_were_checked),
      cmocka_unit_test(when_the_target_is_the_base_nothing_is_left_to_do),
      cmocka_unit_test(a_node_that_gains_nothing_is_complete_at_once),
      cmocka_unit_test(receiving_is_throttled),
      cmocka_unit_test(without_memory_it_backs_off_and_goes_on_later),
      cmocka_unit_test(a_partition_is_served_from_its_beginning_to_its_end),
      cmocka_unit_test(a_batch_is_bounded_and_says_that_there_is_more),
      cmocka_unit_test(an_empty_partition_is_the_last_batch),
      cmocka_unit_test(a_damaged_record_is_listed_without_a_digest),
      cmocka_unit_test(a_store_that_can_not_be_read_is_told),
      cmocka_unit_test(nonsense_is_not_served),
      cmocka_unit_test(more_pulls_than_there_are_places_are_told_to_wait),
      cmocka_unit_test(who_can_not_list_all_that_it_has_gives_no_floor_with_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
