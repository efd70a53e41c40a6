/* The keeper of hints by itself: what it counts, what it gives away, and to whom it listens. */
#include "support/core_step.h"

#include "handoff/handoff.h"

#define OWNER 2u
#define HINTS_MAX 4u

static struct handoff *handoff;
static struct scan_entry entries[HINTS_MAX]; /* the store's hints */
static uint32_t entry_count;

static struct handoff *fresh(uint32_t first) {
  void *memory = aligned_alloc(64, handoff_size());
  assert_non_null(memory);
  return handoff_init(memory, first);
}

static void begin(void) {
  core_begin(3);
  handoff = fresh(1000);
  entry_count = 0;
}

static void end(void) {
  handoff_deinit(handoff);
  for (uint32_t i = 0; i < entry_count; i++) {
    blob_put(entries[i].key);
    blob_put(entries[i].value);
  }
  core_end();
  free(handoff);
}

/* A hint for OWNER, in the store from now on. */
static const struct scan_entry *add_hint(const char *user_key) {
  assert_true(entry_count < HINTS_MAX);
  struct bytes text = text_bytes(user_key);
  struct blob *hint_key = blob_new(&core.pool, 4 + POSITION_BYTES + text.size);
  assert_non_null(hint_key);
  memset(hint_key->data, 0, hint_key->size);
  hint_key->data[3] = OWNER;
  memcpy(hint_key->data + 4 + POSITION_BYTES, text.data, text.size);
  entries[entry_count] = (struct scan_entry){.key = hint_key, .value = object_of(NULL, SELF, "v")};
  entry_count += 1;
  return &entries[entry_count - 1];
}

static void tick(void) {
  core.now_ns = handoff_deadline(handoff) > core.now_ns ? handoff_deadline(handoff) : core.now_ns;
  struct step step = core_step();
  handoff_tick(handoff, &step);
}

/* The answer to the scan that is under way: the first `count` hints. */
static void scanned(uint32_t count, bool is_end) {
  struct event event = {.kind = EVENT_SCAN_DONE, .scan = {.entries = entries, .count = count, .end = is_end}};
  struct step step = core_step();
  handoff_scan_done(handoff, &step, &event);
}

static void tell(enum message_type type, const struct scan_entry *entry) {
  struct message message = {.type = type,
                            .owner = OWNER,
                            .key = blob_bytes(entry->key),
                            .object = type == MESSAGE_HINT_KEPT ? blob_bytes(entry->value) : BYTES_NONE};
  struct step step = core_step();
  handoff_message(handoff, &step, SELF, &message);
}

static void acknowledge(uint64_t request, enum err err) {
  struct message message = {.type = MESSAGE_WRITE_ACK,
                            .flags = err == ERR_OK ? MESSAGE_DURABLE : 0,
                            .request = request,
                            .err = err,
                            .digest = 100};
  struct step step = core_step();
  handoff_message(handoff, &step, OWNER, &message);
}

static uint64_t hint_count(void) {
  uint64_t count = 0;
  uint64_t oldest = 0;
  handoff_totals(handoff, &count, &oldest);
  return count;
}

static uint64_t sent(uint32_t nth) {
  const struct effect *effect = core_effect(EFFECT_SEND, nth);
  assert_int_equal(effect->send.to, OWNER);
  assert_int_equal(effect->send.message.type, MESSAGE_WRITE);
  return effect->send.message.request;
}

static uint32_t take_drops(void) {
  uint32_t count = 0;
  struct message message;
  while (core_local(&message)) {
    assert_int_equal(message.type, MESSAGE_HINT_DROP);
    count += 1;
  }
  return count;
}

/* Counts what is on disk, and delivers it as far as the batch's WRITEs. */
static void deliver(void) {
  tick();
  scanned(entry_count, true);
  tick();
  scanned(entry_count, true);
  assert_int_equal(core_count(EFFECT_SEND), entry_count);
}

static void what_is_on_disk_is_counted_delivered_and_deleted(void **state) {
  (void)state;
  begin();
  const struct scan_entry *a = add_hint("a");
  const struct scan_entry *b = add_hint("b");
  deliver();
  assert_int_equal(hint_count(), 2);
  uint64_t first = sent(0);
  uint64_t second = sent(1);
  acknowledge(second, ERR_OK);
  assert_int_equal(take_drops(), 1);
  acknowledge(second, ERR_OK);
  assert_int_equal(take_drops(), 0);
  acknowledge(first, ERR_OK);
  assert_int_equal(take_drops(), 1);
  tell(MESSAGE_HINT_DROPPED, a);
  tell(MESSAGE_HINT_DROPPED, b);
  assert_int_equal(hint_count(), 0);
  end();
}

/* The hint that can not be read is passed over: nobody can say whose it was, or what was in it. */
static void a_hint_that_can_not_be_read_is_told_and_holds_up_nobody(void **state) {
  (void)state;
  begin();
  (void)add_hint("a");
  struct event event = {.kind = EVENT_SCAN_DONE, .scan = {.entries = entries, .count = 1, .end = true, .gap = true}};
  tick();
  struct step step = core_step();
  handoff_scan_done(handoff, &step, &event);
  assert_int_equal(hint_count(), 1);
  assert_int_equal(core.stats.hint_gaps, 1);
  tick();
  scanned(1, true);
  acknowledge(sent(0), ERR_OK);
  assert_int_equal(take_drops(), 1);
  assert_int_equal(core.stats.hint_gaps, 1);
  end();
}

static void a_batch_waits_until_it_is_granted(void **state) {
  (void)state;
  begin();
  core.tunables.background.bytes_per_s = 500;
  (void)add_hint("a");
  (void)add_hint("b");
  tick();
  scanned(2, true);
  tick();
  scanned(1, false); /* more than is granted in a second */
  acknowledge(sent(0), ERR_OK);
  assert_int_equal(take_drops(), 1);
  assert_int_equal(core_count(EFFECT_SCAN), 0);
  uint64_t start_ns = core.now_ns;
  for (uint32_t i = 0; i < 10 && core_count(EFFECT_SCAN) == 0; i++) {
    assert_true(handoff_deadline(handoff) > core.now_ns);
    assert_true(handoff_deadline(handoff) <= core.now_ns + 1000 * MS);
    tick();
  }
  assert_int_equal(core_count(EFFECT_SCAN), 1);
  assert_in_range(core.now_ns - start_ns, 200 * MS, 5000 * MS);
  end();
}

static void hints_for_a_node_whose_clients_wait_go_slowly(void **state) {
  (void)state;
  begin();
  core.tunables.background.bytes_per_s = UINT64_C(1000) * BACKGROUND_FLOOR_BYTES;
  core.admit.level = ADMIT_WHOLE;
  core.held_back[ring_find(&core.ring, OWNER)] = ADMIT_WHOLE;
  struct step step = core_step();
  step_worked(&step, ADMIT_HINTS, UINT64_C(2) * BACKGROUND_FLOOR_BYTES);
  (void)add_hint("a");
  tick();
  scanned(1, true);
  uint64_t start_ns = core.now_ns;
  for (uint32_t i = 0; i < 10 && core_count(EFFECT_SCAN) == 0; i++) {
    tick();
  }
  assert_int_equal(core_count(EFFECT_SCAN), 1);
  assert_in_range(core.now_ns - start_ns, 900 * MS, 1500 * MS);
  end();
}

static void a_hint_made_while_those_on_disk_are_counted_is_delivered_though_the_scan_missed_it(void **state) {
  (void)state;
  begin();
  tick(); /* the scan looks at the store as it is now */
  tell(MESSAGE_HINT_KEPT, add_hint("a"));
  scanned(0, true);
  assert_int_equal(hint_count(), 1);
  tick();
  assert_int_equal(core_count(EFFECT_SCAN), 1);
  scanned(1, true);
  acknowledge(sent(0), ERR_OK);
  assert_int_equal(take_drops(), 1);
  end();
}

static void a_hint_that_was_counted_twice_is_taken_off_when_a_scan_finds_none(void **state) {
  (void)state;
  begin();
  tick();
  const struct scan_entry *a = add_hint("a");
  tell(MESSAGE_HINT_KEPT, a);
  scanned(1, true);
  assert_int_equal(hint_count(), 2);
  tick();
  scanned(1, true);
  acknowledge(sent(0), ERR_OK);
  assert_int_equal(take_drops(), 1);
  tell(MESSAGE_HINT_DROPPED, a);
  assert_int_equal(hint_count(), 1);
  tick();
  scanned(0, true);
  assert_int_equal(hint_count(), 0);
  end();
}

static void a_hint_that_its_owner_can_not_take_does_not_hold_up_the_others(void **state) {
  (void)state;
  begin();
  (void)add_hint("a");
  (void)add_hint("b");
  (void)add_hint("c");
  deliver();
  uint64_t requests[3] = {sent(0), sent(1), sent(2)};
  acknowledge(requests[0], ERR_SIBLINGS);
  assert_int_equal(take_drops(), 0);
  acknowledge(requests[1], ERR_OK);
  acknowledge(requests[2], ERR_OK);
  assert_int_equal(take_drops(), 2);
  /* It is kept, and tried again, but not at once. */
  uint64_t before_ns = core.now_ns;
  while (core_count(EFFECT_SCAN) == 0) {
    tick();
  }
  assert_true(core.now_ns - before_ns >= 500 * MS);
  scanned(0, true);
  end();
}

static void a_busy_owner_is_left_alone_for_a_while(void **state) {
  (void)state;
  begin();
  (void)add_hint("a");
  (void)add_hint("b");
  deliver();
  uint64_t second = sent(1);
  acknowledge(sent(0), ERR_BUSY);
  acknowledge(second, ERR_OK);
  assert_int_equal(take_drops(), 0);
  uint64_t before_ns = core.now_ns;
  while (core_count(EFFECT_SCAN) == 0) {
    tick();
  }
  assert_true(core.now_ns - before_ns >= 500 * MS);
  scanned(0, true);
  end();
}

static void an_answer_to_an_earlier_life_of_the_node_deletes_nothing(void **state) {
  (void)state;
  begin();
  (void)add_hint("a");
  deliver();
  uint64_t earlier = sent(0);
  handoff_deinit(handoff);
  free(handoff);
  handoff = fresh(2000);
  deliver();
  assert_int_not_equal(sent(0), earlier);
  acknowledge(earlier, ERR_OK);
  assert_int_equal(take_drops(), 0);
  end();
}

static void without_memory_the_count_goes_on_where_it_was(void **state) {
  (void)state;
  begin();
  (void)add_hint("a");
  (void)add_hint("b");
  tick();
  effects_reset(&core.effects);
  core_take_memory();
  scanned(1, false); /* there is more, and no room for the key behind this one */
  assert_int_equal(core_count(EFFECT_SCAN), 1);
  core_give_memory();
  scanned(2, true);
  assert_true(hint_count() >= 2);
  end();
}

static void hints_for_a_node_that_no_layout_has_are_left_alone_but_counted_right(void **state) {
  (void)state;
  begin();
  (void)add_hint("a");
  entries[0].key->data[3] = 9;
  tick();
  scanned(1, true);
  assert_int_equal(hint_count(), 1);
  uint32_t looks = 0;
  for (uint32_t i = 0; i < 50; i++) {
    tick();
    if (core_count(EFFECT_SCAN) > 0) {
      assert_true(core_effect(EFFECT_SCAN, 0)->scan.keys_only);
      looks += 1;
      scanned(1, true);
      assert_int_equal(core_count(EFFECT_SEND), 0);
    }
  }
  assert_true(looks > 0);
  assert_int_equal(hint_count(), 1);
  for (uint32_t i = 0; i < 50 && hint_count() > 0; i++) {
    tick();
    if (core_count(EFFECT_SCAN) > 0) {
      scanned(0, true); /* it has been given to others, or was never there */
    }
  }
  assert_int_equal(hint_count(), 0);
  end();
}

static void tell_of(enum message_type type, uint32_t owner, const struct scan_entry *entry) {
  struct message message = {.type = type, .owner = owner, .key = blob_bytes(entry->key)};
  message.object = type == MESSAGE_HINT_KEPT ? blob_bytes(entry->value) : BYTES_NONE;
  struct step step = core_step();
  handoff_message(handoff, &step, SELF, &message);
}

static void an_owner_without_hints_makes_room_for_another(void **state) {
  (void)state;
  begin();
  const struct scan_entry *hint = add_hint("a");
  uint32_t places = 2 * MEMBERS_MAX;
  tick();
  scanned(0, true);
  for (uint32_t owner = 10; owner <= 10 + places; owner++) {
    tell_of(MESSAGE_HINT_KEPT, owner, hint);
  }
  assert_int_equal(hint_count(), places); /* the last found no room */
  tell_of(MESSAGE_HINT_DROPPED, 50, hint);
  assert_int_equal(hint_count(), places - 1);
  tell_of(MESSAGE_HINT_KEPT, OWNER, hint);
  assert_int_equal(hint_count(), places);
  tick();
  assert_int_equal(core_count(EFFECT_SCAN), 1); /* it is up, and served */
  scanned(1, true);
  acknowledge(sent(0), ERR_OK);
  assert_int_equal(take_drops(), 1);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_on_disk_is_counted_delivered_and_deleted),
      cmocka_unit_test(a_hint_that_can_not_be_read_is_told_and_holds_up_nobody),
      cmocka_unit_test(a_batch_waits_until_it_is_granted),
      cmocka_unit_test(hints_for_a_node_whose_clients_wait_go_slowly),
      cmocka_unit_test(a_hint_made_while_those_on_disk_are_counted_is_delivered_though_the_scan_missed_it),
      cmocka_unit_test(a_hint_that_was_counted_twice_is_taken_off_when_a_scan_finds_none),
      cmocka_unit_test(a_hint_that_its_owner_can_not_take_does_not_hold_up_the_others),
      cmocka_unit_test(a_busy_owner_is_left_alone_for_a_while),
      cmocka_unit_test(an_answer_to_an_earlier_life_of_the_node_deletes_nothing),
      cmocka_unit_test(without_memory_the_count_goes_on_where_it_was),
      cmocka_unit_test(hints_for_a_node_that_no_layout_has_are_left_alone_but_counted_right),
      cmocka_unit_test(an_owner_without_hints_makes_room_for_another),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
