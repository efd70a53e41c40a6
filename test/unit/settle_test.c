/* How a floor comes about (docs/adr/0008): the stages of a partition that this node leads, and what it takes from those
 * that lead others. */
#include "support/sync_bench.h"

#include "sync/settle.h"

#define LOW 1000u
#define WAVES 3u
#define THEIR_LIFE 1u /* of the others, as they answer */
#define OWN_LIFE 8u
#define SILENCE (2100 * MS)
#define HEAD_BYTES 24u
#define ENTRY_BYTES 18u

/* A round with both others, in which all is equal; not whole: one of them is silent. */
static void round_pass(bool whole) {
  struct message compare = {0};
  uint32_t node = compare_wait(&compare);
  answer_equal(node, &compare);
  node = compare_wait(&compare);
  if (whole) {
    answer_equal(node, &compare);
  } else {
    core.now_ns += SILENCE;
  }
  tick_when_due();
}

static uint32_t leads(uint32_t partition) {
  return ring_owner(&core.ring, partition) == SELF;
}

static uint32_t first_led_by(uint32_t node) {
  for (uint32_t i = 0; i < core.ring.partition_count; i++) {
    if (ring_owner(&core.ring, i) == node) {
      return i;
    }
  }
  fail_msg("it leads nothing");
  return 0;
}

/* Stores what is to be stored; was there anything? */
static bool store(void) {
  struct step step = core_step();
  floors_look(floors, &step);
  floors_tick(floors, &step);
  bool stores = core_count(EFFECT_COMMIT) > 0;
  if (stores) {
    floors_commit_done(floors, &step, ERR_OK);
  }
  return stores;
}

/* What is on its way is looked at; what is sent then stays until the next step. */
static void go_on(void) {
  core.now_ns += 250 * MS;
  tick();
}

struct told {
  uint64_t life, floor, mark;
  uint32_t count; /* partitions; 0: nothing was sent */
};

/* What was sent to that node: the same floor and mark of all partitions that it names. */
static struct told told_to(uint32_t node, enum message_type type) {
  struct told told = {0};
  const struct message *message = core_sent(node, type);
  if (message == NULL) {
    return told;
  }
  struct reader r = reader_make(message->object);
  assert_true(read_u64(&r) == core.ring.digest);
  (void)read_u64(&r);
  told.life = read_u64(&r);
  while (reader_left(&r) > 0) {
    uint32_t partition = read_u16(&r);
    uint64_t floor = read_u64(&r);
    uint64_t mark = read_u64(&r);
    assert_true(type == MESSAGE_FLOORS_HELD || leads(partition));
    assert_true(told.count == 0 || (told.floor == floor && told.mark == mark));
    told = (struct told){.life = told.life, .floor = floor, .mark = mark, .count = told.count + 1};
  }
  assert_false(r.failed);
  return told;
}

static uint64_t other_layout, other_sizes; /* 0: what is told is of the same */

/* Of all partitions the same. */
static void tell(uint32_t from, enum message_type type, uint64_t life, uint64_t floor, uint64_t mark) {
  uint8_t bytes[HEAD_BYTES + 64 * ENTRY_BYTES];
  struct writer w = writer_make(bytes, sizeof bytes);
  write_u64(&w, core.ring.digest ^ other_layout);
  write_u64(&w, growth_sizes_digest(growth) ^ other_sizes);
  write_u64(&w, life);
  for (uint32_t i = 0; i < 64; i++) {
    write_u16(&w, (uint16_t)i);
    write_u64(&w, floor);
    write_u64(&w, mark);
  }
  say(from, &(struct message){.type = type, .object = writer_bytes(&w)});
}

static void held(uint32_t from, uint64_t life, uint64_t floor, uint64_t mark) {
  tell(from, MESSAGE_FLOORS_HELD, life, floor, mark);
}

static uint32_t led(void) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < core.ring.partition_count; i++) {
    count += leads(i);
  }
  assert_true(count > 0);
  return count;
}

static void assert_floors(uint64_t floor, uint64_t mark) {
  for (uint32_t i = 0; i < core.ring.partition_count; i++) {
    assert_int_equal(floors_get(floors, i), leads(i) ? floor : 0);
    assert_int_equal(floors_reap_mark(floors, i), leads(i) ? mark : 0);
  }
}

static int start(void **state) {
  (void)state;
  begin();
  core.settled_low = LOW;
  core.waves = 10;
  struct step step = core_step();
  floors_look(floors, &step);
  return 0;
}

static int finish(void **state) {
  (void)state;
  end();
  return 0;
}

/* Up to where the floors are durable here. */
static void go_to_stored(void) {
  round_pass(true);
  round_pass(true);
  core.waves += WAVES;
  go_on();
  assert_true(store());
  go_on();
}

static void a_floor_goes_through_all_its_stages(void **state) {
  (void)state;
  struct message compare = {0};
  uint32_t node = compare_wait(&compare);
  core.settled_low = LOW + 500; /* what settles now is of the next floor */
  answer_equal(node, &compare);
  node = compare_wait(&compare);
  answer_equal(node, &compare);
  tick_when_due();
  core.waves += 100;
  go_on();
  assert_false(store()); /* it has all; the others may not */
  round_pass(true);
  core.waves += WAVES - 1;
  go_on();
  assert_false(store());
  core.waves += 1;
  go_on();
  assert_null(core_sent(2, MESSAGE_FLOORS)); /* it is not durable here */
  assert_true(store());
  assert_floors(LOW, 0);
  go_on();
  for (node = 2; node <= 3; node++) {
    struct told told = told_to(node, MESSAGE_FLOORS);
    assert_int_equal(told.count, led());
    assert_int_equal(told.life, THEIR_LIFE);
    assert_int_equal(told.floor, LOW);
    assert_int_equal(told.mark, 0);
  }
  held(2, THEIR_LIFE, LOW, 0);
  go_on();
  assert_int_equal(told_to(2, MESSAGE_FLOORS).count, 0);
  assert_int_equal(told_to(3, MESSAGE_FLOORS).count, led()); /* again, until it is known to have come */
  assert_floors(LOW, 0);
  held(3, THEIR_LIFE, LOW, 0);
  go_on();
  assert_floors(LOW, LOW);
  assert_int_equal(told_to(2, MESSAGE_FLOORS).mark, LOW);
  assert_int_equal(told_to(3, MESSAGE_FLOORS).mark, LOW);
  held(2, THEIR_LIFE, LOW, LOW);
  go_on();
  assert_int_equal(told_to(3, MESSAGE_FLOORS).mark, LOW);
  held(3, THEIR_LIFE, LOW, LOW);
  go_on();
  go_on();
  assert_int_equal(told_to(2, MESSAGE_FLOORS).count + told_to(3, MESSAGE_FLOORS).count, 0);
  go_to_stored();
  assert_floors(LOW + 500, LOW);
}

static void without_anything_newly_settled_nothing_begins(void **state) {
  (void)state;
  core.settled_low = 0;
  round_pass(true);
  round_pass(true);
  core.waves += WAVES;
  go_on();
  assert_false(store());
}

static void a_floor_that_is_held_is_not_told_again(void **state) {
  (void)state;
  go_to_stored();
  for (uint32_t node = 2; node <= 3; node++) {
    held(node, THEIR_LIFE, LOW, LOW);
  }
  go_on();
  go_on();
  round_pass(true);
  round_pass(true);
  core.waves += WAVES;
  go_on();
  go_on();
  assert_int_equal(told_to(2, MESSAGE_FLOORS).count + told_to(3, MESSAGE_FLOORS).count, 0);
}

static void what_was_not_compared_with_all_has_no_floor(void **state) {
  (void)state;
  round_pass(false);
  round_pass(true); /* has it */
  round_pass(false);
  core.waves += WAVES;
  go_on();
  assert_false(store());
  round_pass(true);
  core.waves += WAVES;
  go_on();
  assert_true(store());
  assert_floors(LOW, 0);
}

/* It may have lost what it was found to have. */
static void another_life_of_a_replica_begins_anew(void **state) {
  (void)state;
  round_pass(true);
  their_life = THEIR_LIFE + 1;
  round_pass(true); /* all have: but the one that was compared first is another one */
  core.waves += WAVES;
  go_on();
  assert_false(store());
  round_pass(true);
  core.waves += WAVES;
  go_on();
  assert_true(store());
  go_on();
  held(2, THEIR_LIFE, LOW, 0);
  held(3, THEIR_LIFE, LOW, 0); /* of their former lives */
  go_on();
  assert_floors(LOW, 0);
  held(2, THEIR_LIFE + 1, LOW, 0);
  held(3, THEIR_LIFE + 1, LOW, 0);
  go_on();
  assert_floors(LOW, LOW);
}

static void what_is_forgotten_on_the_way_is_told_to_nobody(void **state) {
  (void)state;
  go_to_stored();
  for (uint32_t i = 0; i < core.ring.partition_count; i++) {
    floors_forget(floors, i);
  }
  go_on();
  assert_null(core_sent(2, MESSAGE_FLOORS));
  held(2, THEIR_LIFE, LOW, 0);
  held(3, THEIR_LIFE, LOW, 0);
  go_on();
  assert_floors(0, 0);
}

static void a_floor_below_what_is_led_confirms_nothing(void **state) {
  (void)state;
  go_to_stored();
  held(2, THEIR_LIFE, LOW - 1, 0);
  held(3, THEIR_LIFE, LOW, 0);
  go_on();
  assert_floors(LOW, 0);
}

static void a_replica_takes_what_the_first_of_a_partition_says_and_nobody_else(void **state) {
  (void)state;
  uint32_t of_2 = first_led_by(2), of_3 = first_led_by(3), own = first_led_by(SELF);
  tell(2, MESSAGE_FLOORS, OWN_LIFE, LOW, 0);
  struct told told = told_to(2, MESSAGE_FLOORS_HELD);
  assert_int_equal(told.count, 64);
  assert_int_equal(told.life, OWN_LIFE);
  assert_int_equal(told.floor, 0); /* it is not durable yet */
  assert_true(store());
  assert_int_equal(floors_get(floors, of_2), LOW);
  assert_int_equal(floors_get(floors, of_3), 0);
  assert_int_equal(floors_get(floors, own), 0);
  assert_int_equal(floors_reap_mark(floors, of_2), 0);
  tell(2, MESSAGE_FLOORS, OWN_LIFE, LOW, LOW);
  assert_int_equal(floors_reap_mark(floors, of_2), LOW);
  assert_false(store());
  tell(2, MESSAGE_FLOORS, OWN_LIFE, UINT64_MAX, 0); /* no clock comes to that */
  assert_false(store());
}

static void what_was_meant_for_another_life_is_not_taken(void **state) {
  (void)state;
  uint64_t late = core.stats.messages_late;
  tell(2, MESSAGE_FLOORS, OWN_LIFE + 1, LOW, 0);
  assert_null(core_sent(2, MESSAGE_FLOORS_HELD));
  assert_false(store());
  assert_int_equal(core.stats.messages_late, late + 1);
}

static void what_is_said_of_another_layout_or_other_sizes_is_not_taken(void **state) {
  (void)state;
  other_layout = 1;
  tell(2, MESSAGE_FLOORS, OWN_LIFE, LOW, 0);
  other_layout = 0;
  other_sizes = 1;
  tell(2, MESSAGE_FLOORS, OWN_LIFE, LOW, 0);
  other_sizes = 0;
  assert_false(store());
}

/* What it lacks it gets back; until then it knows of nothing that it is dead. */
static void who_has_lost_something_takes_no_floor(void **state) {
  (void)state;
  core.lost = 1;
  tell(2, MESSAGE_FLOORS, OWN_LIFE, LOW, 0);
  assert_null(core_sent(2, MESSAGE_FLOORS_HELD));
  core.lost = 0;
  assert_false(store());
}

static void what_is_cut_short_is_taken_as_far_as_it_goes(void **state) {
  (void)state;
  uint8_t bytes[HEAD_BYTES + ENTRY_BYTES];
  struct writer w = writer_make(bytes, sizeof bytes);
  write_u64(&w, core.ring.digest);
  write_u64(&w, growth_sizes_digest(growth));
  write_u64(&w, OWN_LIFE);
  write_u16(&w, (uint16_t)first_led_by(2));
  write_u64(&w, LOW);
  write_u64(&w, 0);
  for (size_t size = 0; size < sizeof bytes; size++) {
    say(2, &(struct message){.type = MESSAGE_FLOORS, .object = {bytes, size}});
    assert_false(store());
  }
  bytes[HEAD_BYTES] = 64; /* no such partition */
  say(2, &(struct message){.type = MESSAGE_FLOORS, .object = {bytes, sizeof bytes}});
  assert_false(store());
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_floor_goes_through_all_its_stages, start, finish),
      cmocka_unit_test_setup_teardown(without_anything_newly_settled_nothing_begins, start, finish),
      cmocka_unit_test_setup_teardown(a_floor_that_is_held_is_not_told_again, start, finish),
      cmocka_unit_test_setup_teardown(what_was_not_compared_with_all_has_no_floor, start, finish),
      cmocka_unit_test_setup_teardown(another_life_of_a_replica_begins_anew, start, finish),
      cmocka_unit_test_setup_teardown(what_is_forgotten_on_the_way_is_told_to_nobody, start, finish),
      cmocka_unit_test_setup_teardown(a_floor_below_what_is_led_confirms_nothing, start, finish),
      cmocka_unit_test_setup_teardown(a_replica_takes_what_the_first_of_a_partition_says_and_nobody_else, start,
                                      finish),
      cmocka_unit_test_setup_teardown(what_was_meant_for_another_life_is_not_taken, start, finish),
      cmocka_unit_test_setup_teardown(what_is_said_of_another_layout_or_other_sizes_is_not_taken, start, finish),
      cmocka_unit_test_setup_teardown(who_has_lost_something_takes_no_floor, start, finish),
      cmocka_unit_test_setup_teardown(what_is_cut_short_is_taken_as_far_as_it_goes, start, finish),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
