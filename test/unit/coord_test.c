/* The coordinator by itself: whom it asks, whose answers it counts, and that each request ends. */
#include "support/core_step.h"

#include <stdio.h>

#include "base/heap.h"
#include "coord/coord.h"

static struct coord *coord;
static char user_key[16];
static struct blob *key;
static struct preference preference;

#define NOWHERE UINT32_MAX

/* Where this node stands in the preference list. */
static uint32_t own_place(void) {
  for (uint32_t i = 0; i < preference.count; i++) {
    if (preference.nodes[i] == SELF) {
      return i;
    }
  }
  return NOWHERE;
}

/* With a key in whose preference list this node stands at `place`: 0 is the first replica, 3 the first stand-in. */
static void begin(uint32_t members, uint32_t place) {
  core_begin(members);
  void *memory = aligned_alloc(64, coord_size());
  assert_non_null(memory);
  coord = coord_init(memory, 7);
  uint32_t i = 0;
  do {
    assert_true(i < 100000);
    snprintf(user_key, sizeof(user_key), "k%u", (unsigned)i);
    uint32_t partition = position_partition(position_of_key(text_bytes(user_key)), core.ring.partition_count);
    ring_preference(&core.ring, partition, 3, &preference);
    i += 1;
  } while (own_place() != place);
  key = store_key(user_key);
}

static void end(void) {
  assert_int_equal(coord_in_flight(coord), 0);
  assert_int_equal(coord_deadline(coord), HEAP_NEVER);
  blob_put(key);
  core_end();
  free(coord);
}

static void command(const struct command *command) {
  struct step step = core_step();
  coord_command(coord, &step, command);
}

static void say(uint32_t from, const struct message *message) {
  struct step step = core_step();
  coord_message(coord, &step, from, message);
}

static void tick_at(uint64_t now_ns) {
  core.now_ns = now_ns;
  struct step step = core_step();
  coord_tick(coord, &step);
}

static void go_down(uint32_t node) {
  core_set_up(node, false);
  struct step step = core_step();
  coord_peer_down(coord, &step, node);
}

static const struct reply *reply(void) {
  return core_count(EFFECT_REPLY) == 0 ? NULL : core_effect(EFFECT_REPLY, 0)->reply;
}

/* Takes the STAMP that was sent to the own replica, and returns its number. */
static uint64_t take_stamp(uint32_t *owner) {
  struct message message = {0};
  assert_true(core_local(&message));
  assert_int_equal(message.type, MESSAGE_STAMP);
  *owner = message.owner;
  return message.request;
}

static void stamped(uint64_t request, uint32_t owner) {
  struct blob *object = object_of(NULL, SELF, "v");
  say(SELF, &(struct message){.type = MESSAGE_STAMPED,
                              .request = request,
                              .owner = owner,
                              .object = blob_bytes(object),
                              .object_blob = object,
                              .stamp_time = core.hlc.last,
                              .stamp_incarnation = 100 + SELF});
  blob_put(object);
}

static void acknowledge(uint32_t from, uint64_t request, uint32_t owner, enum err err) {
  say(from, &(struct message){.type = MESSAGE_WRITE_ACK,
                              .flags = err == ERR_OK ? MESSAGE_DURABLE : 0,
                              .request = request,
                              .owner = owner,
                              .err = err});
}

static void put(uint8_t w) {
  command(&(struct command){.kind = COMMAND_PUT,
                            .token = 4,
                            .key = text_bytes(user_key),
                            .value = text_bytes("v"),
                            .blind = true,
                            .w = w,
                            .pw = QUORUM_DEFAULT,
                            .dw = QUORUM_DEFAULT});
}

static struct message forward(uint64_t request, uint8_t w) {
  return (struct message){.type = MESSAGE_FORWARD,
                          .flags = MESSAGE_BLIND,
                          .request = request,
                          .hlc = core.hlc.last,
                          .key = blob_bytes(key),
                          .object = text_bytes("v"),
                          .options = {.w = w, .pw = QUORUM_DEFAULT, .dw = QUORUM_DEFAULT}};
}

/* -- counting ------------------------------------------------------------------------- */

static void a_coordinator_beyond_the_first_n_is_not_asked_a_second_time_as_a_stand_in(void **state) {
  (void)state;
  begin(5, 4);
  uint32_t owner = 0;
  struct message message = forward(50, 3);
  say(preference.nodes[1], &message);
  uint64_t request = take_stamp(&owner);
  assert_int_equal(owner, preference.nodes[0]);
  stamped(request, owner);
  acknowledge(SELF, request, owner, ERR_OK);
  acknowledge(preference.nodes[0], request, 0, ERR_OK);
  assert_int_equal(core.effects.count, 0); /* two nodes of three */
  acknowledge(preference.nodes[1], request, 0, ERR_NOSPACE);
  assert_non_null(core_sent(preference.nodes[3], MESSAGE_WRITE));
  /* The next stand-in in order would be this node, which has a copy already: a hint here counts for nothing. */
  acknowledge(preference.nodes[2], request, 0, ERR_NOSPACE);
  while (core_local(&message)) {
    assert_int_equal(message.type, MESSAGE_WRITE);
    assert_int_equal(message.flags, MESSAGE_QUIET);
    acknowledge(SELF, request, message.owner, ERR_OK);
    assert_null(core_sent(preference.nodes[1], MESSAGE_FORWARD_REPLY));
  }
  acknowledge(preference.nodes[3], request, preference.nodes[1], ERR_OK);
  const struct message *answer = core_sent(preference.nodes[1], MESSAGE_FORWARD_REPLY);
  assert_non_null(answer);
  assert_int_equal(answer->err, ERR_OK);
  assert_int_equal(answer->request, 50);
  end();
}

static void an_answer_that_comes_twice_counts_once(void **state) {
  (void)state;
  begin(3, 0);
  uint32_t owner = 0;
  put(3);
  uint64_t request = take_stamp(&owner);
  stamped(request, 0);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(preference.nodes[1], request, 0, ERR_OK);
  acknowledge(preference.nodes[1], request, 0, ERR_OK);
  acknowledge(preference.nodes[1], request, preference.nodes[2], ERR_OK);
  assert_null(reply());
  acknowledge(preference.nodes[2], request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void who_has_answered_is_not_named_as_missing_though_its_disk_has_not(void **state) {
  (void)state;
  begin(3, 0);
  uint32_t owner = 0;
  command(&(struct command){.kind = COMMAND_PUT,
                            .token = 4,
                            .key = text_bytes(user_key),
                            .value = text_bytes("v"),
                            .blind = true,
                            .w = 3,
                            .pw = QUORUM_DEFAULT,
                            .dw = 1});
  uint64_t request = take_stamp(&owner);
  stamped(request, 0);
  acknowledge(SELF, request, 0, ERR_OK);
  say(preference.nodes[1],
      &(struct message){.type = MESSAGE_WRITE_ACK, .request = request}); /* in its memory, as yet */
  acknowledge(preference.nodes[2], request, 0, ERR_BUSY);
  assert_null(reply());
  tick_at(core.now_ns + core.tunables.hedge_ns);
  tick_at(core.now_ns + core.tunables.request_timeout_ns);
  assert_int_equal(reply()->outcome.kind, QUORUM_W);
  assert_int_equal(reply()->outcome.answered, 2);
  assert_int_equal(reply()->outcome.missing_count, 1);
  assert_int_equal(reply()->outcome.missing[0], preference.nodes[2]);
  core_drop_local();
  end();
}

/* -- nodes that go down, and silence ------------------------------------------------------- */

static void a_replica_that_goes_down_before_the_stamp_is_replaced_at_the_stamp(void **state) {
  (void)state;
  begin(5, 0);
  uint32_t owner = 0;
  put(3);
  uint64_t request = take_stamp(&owner);
  go_down(preference.nodes[1]);
  go_down(preference.nodes[2]);
  tick_at(core.now_ns + 1 * MS);
  assert_int_equal(core.effects.count, 0);
  stamped(request, 0);
  assert_null(core_sent(preference.nodes[1], MESSAGE_WRITE));
  assert_null(core_sent(preference.nodes[2], MESSAGE_WRITE));
  assert_int_equal(core_sent(preference.nodes[3], MESSAGE_WRITE)->owner, preference.nodes[1]);
  assert_int_equal(core_sent(preference.nodes[4], MESSAGE_WRITE)->owner, preference.nodes[2]);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(preference.nodes[3], request, preference.nodes[1], ERR_OK);
  acknowledge(preference.nodes[4], request, preference.nodes[2], ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void silence_is_counted_from_when_a_node_was_asked(void **state) {
  (void)state;
  begin(5, 0);
  uint32_t owner = 0;
  put(2);
  uint64_t request = take_stamp(&owner);
  tick_at(core.now_ns + core.tunables.hedge_ns); /* the disk is slow */
  assert_int_equal(core.effects.count, 0);
  core.now_ns += 200 * MS;
  stamped(request, 0);
  assert_int_equal(coord_deadline(coord), core.now_ns + core.tunables.hedge_ns);
  acknowledge(SELF, request, 0, ERR_OK);
  tick_at(core.now_ns + core.tunables.hedge_ns - 1);
  assert_int_equal(core.effects.count, 0);
  tick_at(core.now_ns + 1);
  assert_non_null(core_sent(preference.nodes[3], MESSAGE_WRITE));
  assert_non_null(core_sent(preference.nodes[4], MESSAGE_WRITE));
  /* Nobody answers: the writer is told when `request-timeout` has passed, counted from its coming. */
  tick_at(1000 * MS + core.tunables.request_timeout_ns);
  assert_int_equal(reply()->err, ERR_TIMEOUT);
  assert_int_equal(reply()->outcome.answered, 1);
  end();
}

static void a_node_cut_off_from_the_whole_list_takes_a_put_as_a_hint(void **state) {
  (void)state;
  begin(40, NOWHERE);
  for (uint32_t node = 2; node <= 40; node++) {
    core_set_up(node, false);
  }
  put(2);
  assert_int_equal(reply()->err, ERR_QUORUM);
  put(1);
  uint32_t owner = 0;
  uint64_t request = take_stamp(&owner);
  assert_int_equal(owner, preference.nodes[0]);
  stamped(request, owner);
  acknowledge(SELF, request, owner, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  core_drop_local(); /* hints for the two other replicas */
  end();
}

static void an_explain_of_which_nobody_is_up_is_answered(void **state) {
  (void)state;
  begin(40, NOWHERE);
  for (uint32_t node = 2; node <= 40; node++) {
    core_set_up(node, false);
  }
  command(&(struct command){.kind = COMMAND_EXPLAIN, .token = 4, .key = text_bytes(user_key)});
  assert_int_equal(reply()->explained_count, PREFERENCE_MAX);
  assert_false(reply()->explained[0].answered);
  end();
}

/* -- what others may send --------------------------------------------------------------------- */

static void a_forwarded_deletion_with_a_value_is_refused(void **state) {
  (void)state;
  begin(3, 0);
  struct message message = forward(50, 2);
  message.options.put_flags = PUT_TOMBSTONE;
  say(2, &message);
  assert_int_equal(core_sent(2, MESSAGE_FORWARD_REPLY)->err, ERR_BADARG);
  assert_int_equal(core.stats.messages_bad, 1);
  end();
}

static void a_late_copy_of_a_forward_that_was_taken_is_not_refused_as_stale(void **state) {
  (void)state;
  begin(3, 0);
  uint32_t owner = 0;
  struct message message = forward(50, 1);
  say(2, &message);
  uint64_t request = take_stamp(&owner);
  core.lag_ms = 5000;
  say(2, &message);
  assert_int_equal(core.effects.count, 0);
  assert_int_equal(core.local.count, 0);
  message.request = 51;
  say(2, &message);
  assert_int_equal(core_sent(2, MESSAGE_FORWARD_REPLY)->err, ERR_STALE);
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = request, .err = ERR_BUSY});
  assert_int_equal(core_sent(2, MESSAGE_FORWARD_REPLY)->err, ERR_BUSY);
  end();
}

static void a_copy_of_a_forward_that_was_refused_is_not_taken(void **state) {
  (void)state;
  begin(3, 0);
  struct message message = forward(50, 1);
  struct step step = core_step();
  coord_refuse_forward(coord, &step, 2, &message, ERR_NOTMEMBER);
  assert_int_equal(core_sent(2, MESSAGE_FORWARD_REPLY)->err, ERR_NOTMEMBER);
  say(2, &message);
  assert_int_equal(core.effects.count, 0);
  assert_int_equal(core.local.count, 0);
  step = core_step();
  coord_refuse_forward(coord, &step, 2, &message, ERR_NOTMEMBER);
  assert_int_equal(core.effects.count, 0);
  end();
}

static void a_forward_is_not_stale_because_wall_clocks_differ(void **state) {
  (void)state;
  begin(3, 0);
  uint32_t owner = 0;
  core.hlc.last = hlc_make(WALL_MS + 50000, 0); /* ours, against the message's 0 */
  struct message message = forward(50, 1);
  say(2, &message);
  uint64_t request = take_stamp(&owner);
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = request, .err = ERR_BUSY});
  assert_int_equal(core_sent(2, MESSAGE_FORWARD_REPLY)->err, ERR_BUSY);
  end();
}

static void a_clock_that_does_not_say_that_it_is_one_is_no_answer(void **state) {
  (void)state;
  begin(3, 0);
  struct message read = {0};
  command(
      &(struct command){.kind = COMMAND_GET, .token = 4, .key = text_bytes(user_key), .r = 1, .pr = QUORUM_DEFAULT});
  assert_true(core_local(&read));
  struct blob *whole = object_of(NULL, 2, "value");
  struct object object;
  assert_int_equal(object_open(&object, blob_bytes(whole)), ERR_OK);
  struct blob *clock = object_clock(&core.pool, &object);
  uint32_t other = preference.nodes[1];
  say(other, &(struct message){.type = MESSAGE_READ_REPLY,
                               .request = read.request,
                               .digest = object_digest(blob_bytes(whole)),
                               .object = blob_bytes(clock)});
  assert_null(reply());
  say(preference.nodes[2], &(struct message){.type = MESSAGE_READ_REPLY,
                                             .request = read.request,
                                             .digest = object_digest(blob_bytes(whole)),
                                             .object = blob_bytes(whole),
                                             .object_blob = whole});
  assert_true(reply()->object == whole);
  say(SELF, &(struct message){.type = MESSAGE_READ_REPLY, .request = read.request});
  struct message repair = {0};
  assert_true(core_local(&repair));
  assert_int_equal(repair.type, MESSAGE_WRITE);
  blob_put(clock);
  blob_put(whole);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_coordinator_beyond_the_first_n_is_not_asked_a_second_time_as_a_stand_in),
      cmocka_unit_test(an_answer_that_comes_twice_counts_once),
      cmocka_unit_test(who_has_answered_is_not_named_as_missing_though_its_disk_has_not),
      cmocka_unit_test(a_replica_that_goes_down_before_the_stamp_is_replaced_at_the_stamp),
      cmocka_unit_test(silence_is_counted_from_when_a_node_was_asked),
      cmocka_unit_test(a_node_cut_off_from_the_whole_list_takes_a_put_as_a_hint),
      cmocka_unit_test(an_explain_of_which_nobody_is_up_is_answered),
      cmocka_unit_test(a_forwarded_deletion_with_a_value_is_refused),
      cmocka_unit_test(a_late_copy_of_a_forward_that_was_taken_is_not_refused_as_stale),
      cmocka_unit_test(a_copy_of_a_forward_that_was_refused_is_not_taken),
      cmocka_unit_test(a_forward_is_not_stale_because_wall_clocks_differ),
      cmocka_unit_test(a_clock_that_does_not_say_that_it_is_one_is_no_answer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
