/* The coordinator by itself: whom it asks, whose answers it counts, and that each request ends. */
#include "support/coord_step.h"

#include "version/context.h"

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
  uint64_t request = put_stamped(3);
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
  put_wanting(3, QUORUM_DEFAULT, 1);
  uint64_t request = stamp_here();
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

/* What background work goes by. */
static void what_an_answer_took_is_noted_also_when_it_was_an_error(void **state) {
  (void)state;
  begin(3, 0);
  uint64_t request = put_stamped(2);
  core.now_ns += 7 * MS;
  acknowledge(SELF, request, 0, ERR_OK);
  assert_int_equal(core.admit.all, 0);
  acknowledge(preference.nodes[1], request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  acknowledge(preference.nodes[2], request, 0, ERR_OK);
  assert_int_equal(core.admit.all, 1);
  assert_int_equal(window_percentile(&core.admit.window, core.now_ns, 99900), 7 * MS);
  (void)put_stamped(3);
  tick_at(core.now_ns + core.tunables.hedge_ns);
  tick_at(core.now_ns + core.tunables.request_timeout_ns);
  assert_int_not_equal(reply()->err, ERR_OK);
  assert_int_equal(core.admit.all, 2);
  assert_true(window_percentile(&core.admit.window, core.now_ns, 99900) >= core.tunables.request_timeout_ns);
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

static void without_hints_only_copies_that_count_are_kept(void **state) {
  (void)state;
  for (uint32_t hints = 0; hints <= 1; hints++) {
    begin(40, NOWHERE);
    core.tunables.hints = hints == 1;
    for (uint32_t node = 2; node <= 40; node++) {
      core_set_up(node, false);
    }
    put(1);
    uint32_t owner = 0;
    uint64_t request = take_stamp(&owner);
    assert_int_equal(owner, preference.nodes[0]); /* the copy that counts is a stand-in's, with or without */
    stamped(request, owner);
    uint32_t kept = 0;
    struct message message;
    while (core_local(&message)) {
      assert_int_equal(message.type, MESSAGE_WRITE);
      assert_int_not_equal(message.owner, owner);
      kept += 1;
    }
    assert_int_equal(kept, hints == 1 ? 2 : 0);
    acknowledge(SELF, request, owner, ERR_OK);
    assert_int_equal(reply()->err, ERR_OK);
    end();
  }
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

/* Its clock, and what it holds, may be of long ago. */
static void who_may_have_lost_what_it_had_coordinates_only_as_the_last_resort(void **state) {
  (void)state;
  for (uint32_t lost = 0; lost <= 1; lost++) {
    begin(3, 0);
    core.unsure = lost == 0;
    core.lost = lost;
    put(2);
    struct message message = {0};
    assert_false(core_local(&message));
    for (uint32_t i = 1; i < 3; i++) {
      const struct message *forward = core_sent(preference.nodes[i], MESSAGE_FORWARD);
      assert_non_null(forward);
      say(preference.nodes[i],
          &(struct message){.type = MESSAGE_FORWARD_REPLY, .request = forward->request, .err = ERR_NOTMEMBER});
    }
    uint64_t request = stamp_here();
    acknowledge(SELF, request, 0, ERR_OK);
    acknowledge(preference.nodes[1], request, 0, ERR_OK);
    assert_int_equal(reply()->err, ERR_OK);
    acknowledge(preference.nodes[2], request, 0, ERR_OK);
    end();
  }
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

/* -- what one of those who answer knows to be dead ------------------------------------------------ */

/* A get whose answers are these: `old` from the first replica, which has no floor, and from the second what it has
 * kept of it (NULL: nothing), with its floor. Whether as a clock, and who answers first, is the caller's. */
static uint64_t get_begin(void) {
  struct message read = {0};
  command(
      &(struct command){.kind = COMMAND_GET, .token = 4, .key = text_bytes(user_key), .r = 2, .pr = QUORUM_DEFAULT});
  assert_true(core_local(&read));
  core_drop_local();
  return read.request;
}

static void read_answer(uint32_t from, uint64_t request, struct blob *object, bool as_clock, uint64_t floor) {
  struct message message = {.type = MESSAGE_READ_REPLY,
                            .flags = as_clock ? MESSAGE_CLOCK : 0,
                            .request = request,
                            .digest = object_digest(blob_bytes(object)),
                            .floor = floor};
  struct object opened;
  struct blob *sent = blob_get(object);
  if (as_clock) {
    assert_int_equal(object_open(&opened, blob_bytes(object)), ERR_OK);
    blob_put(sent);
    sent = object_clock(&core.pool, &opened);
  }
  message.object = blob_bytes(sent);
  message.object_blob = sent;
  say(from, &message);
  blob_put(sent);
}

static void a_get_does_not_show_what_one_who_answers_knows_to_be_dead(void **state) {
  (void)state;
  for (uint32_t first = 0; first < 2; first++) {
    begin(3, 0);
    struct blob *dead = object_of(NULL, 2, "dead");
    uint64_t floor = core.hlc.last;
    uint64_t request = get_begin();
    for (uint32_t i = 0; i < 2; i++) {
      bool knows = (i == 0) == (first == 0);
      read_answer(preference.nodes[knows ? 1 : 2], request, knows ? NULL : dead, false, knows ? floor : 0);
    }
    assert_int_equal(reply()->err, ERR_OK);
    assert_null(reply()->object);
    read_answer(SELF, request, NULL, false, 0);
    /* Who has it still is told. */
    const struct message *repair = core_sent(preference.nodes[2], MESSAGE_BURY);
    assert_non_null(repair);
    assert_true(repair->floor == floor);
    assert_int_equal(repair->object.size, 0);
    assert_null(core_sent(preference.nodes[1], MESSAGE_BURY));
    blob_put(dead);
    end();
  }
}

static void a_clock_tells_what_is_dead_when_its_values_are_known(void **state) {
  (void)state;
  begin(3, 0);
  struct blob *dead = object_of(NULL, 2, "dead");
  uint64_t floor = core.hlc.last;
  struct blob *alive = object_of(NULL, 3, "alive");
  struct blob *both = object_of(dead, 4, "other");
  struct blob *merged = NULL;
  assert_int_equal(object_merge(core.scratch, &core.pool, both, blob_bytes(alive), alive, RESOLVE_SIBLINGS,
                                &core.version_stats, &merged),
                   ERR_OK);
  uint64_t request = get_begin();
  read_answer(preference.nodes[1], request, alive, true, floor);
  assert_null(reply());
  read_answer(preference.nodes[2], request, merged, false, 0);
  struct object shown;
  assert_int_equal(object_open(&shown, blob_bytes(reply()->object)), ERR_OK);
  assert_int_equal(shown.sibling_count, 2); /* both that are younger than the floor */
  read_answer(SELF, request, alive, false, floor);
  assert_true(core_sent(preference.nodes[2], MESSAGE_BURY)->floor == floor);
  core_drop_local();
  blob_put(merged);
  blob_put(both);
  blob_put(alive);
  blob_put(dead);
  end();
}

/* -- forwards and stragglers --------------------------------------------------------------------- */

static void a_forwarded_put_ends_when_its_coordinator_is_seen_down(void **state) {
  (void)state;
  begin(4, 3);
  put(1);
  uint32_t to = core_effect(EFFECT_SEND, 0)->send.to;
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_null(reply());
  core_set_up(to, false); /* it is silent; its connection stands */
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_int_equal(reply()->err, ERR_TIMEOUT);
  end();
}

static void a_forwarded_put_ends_when_the_connection_was_lost_though_it_is_back(void **state) {
  (void)state;
  begin(4, 3);
  put(1);
  uint32_t to = core_effect(EFFECT_SEND, 0)->send.to;
  go_down(to);
  core_set_up(to, true);
  tick_at(core.now_ns);
  assert_int_equal(reply()->err, ERR_TIMEOUT);
  end();
}

static void a_forwarded_put_that_nobody_answers_ends_with_the_time_it_has(void **state) {
  (void)state;
  begin(4, 3);
  put(1);
  uint64_t end_ns = core.now_ns + core.tunables.request_timeout_ns;
  while (core.now_ns < end_ns) {
    assert_null(reply());
    uint64_t deadline = coord_deadline(coord);
    assert_true(deadline > core.now_ns && deadline <= end_ns);
    tick_at(deadline);
  }
  assert_int_equal(reply()->err, ERR_TIMEOUT);
  end();
}

/* Takes all memory that is left; the blobs are chained through their first bytes. */
static struct blob *exhaust(void) {
  struct blob *chain = NULL;
  for (size_t size = 1u << 20; size >= sizeof(chain); size /= 2) {
    for (struct blob *blob = blob_new(&core.pool, size); blob != NULL; blob = blob_new(&core.pool, size)) {
      memcpy(blob->data, &chain, sizeof(chain));
      chain = blob;
    }
  }
  return chain;
}

static void release(struct blob *chain) {
  while (chain != NULL) {
    struct blob *next = NULL;
    memcpy(&next, chain->data, sizeof(next));
    blob_put(chain);
    chain = next;
  }
}

static void a_forwarded_put_that_was_done_is_answered_so_though_there_is_no_memory(void **state) {
  (void)state;
  uint32_t owner = 0;
  static struct past past;
  begin(3, 0);
  struct message message = forward(50, 1);
  say(2, &message);
  uint64_t request = take_stamp(&owner);
  stamped(request, 0);
  effects_reset(&core.effects);
  struct blob *all = exhaust();
  acknowledge(SELF, request, 0, ERR_OK);
  const struct message *answer = core_sent(2, MESSAGE_FORWARD_REPLY);
  assert_int_equal(answer->err, ERR_OK);
  struct position position = position_of_key(text_bytes(user_key));
  struct context_binding binding = {5, position.high, position.low};
  uint32_t coordinator = 0;
  assert_int_equal(context_decode(answer->object, binding, &past, &coordinator), ERR_OK);
  assert_int_equal(coordinator, SELF);
  assert_int_equal(past.pair_count + past.dot_count, 1);
  release(all);
  acknowledge(preference.nodes[1], request, 0, ERR_OK);
  acknowledge(preference.nodes[2], request, 0, ERR_OK);
  end();
}

/* A context of more dots than fit into what is reserved for an answer. */
static struct bytes large_context(uint8_t *room, size_t size) {
  static struct past past;
  past_init(&past);
  for (uint32_t i = 0; i < 3u * CLOCK_PAIRS_MAX; i++) {
    past_add_dot(&past, (struct dot){.actor = {.incarnation = 300, .node = 9}, .time = 100 + 2 * i});
  }
  struct position position = position_of_key(text_bytes(user_key));
  struct writer w = writer_make(room, size);
  context_encode(&w, &past, 0, (struct context_binding){5, position.high, position.low});
  assert_false(w.failed);
  return writer_bytes(&w);
}

static void a_context_past_the_room_that_is_kept_for_it_is_cut_only_when_memory_is_short(void **state) {
  (void)state;
  static uint8_t room[CONTEXT_MAX_BYTES];
  static struct past past;
  for (uint32_t round = 0; round < 2; round++) {
    uint32_t owner = 0;
    begin(3, 0);
    struct message message = forward(50, 1);
    message.flags = 0;
    message.context = large_context(room, sizeof(room));
    say(2, &message);
    uint64_t request = take_stamp(&owner);
    /* Something stands beside it: its writer has seen what its context says, and its own version. */
    struct blob *first = object_of(NULL, 3, "a");
    struct blob *object = object_of(first, SELF, "v");
    struct dot own = {.actor = {.incarnation = 100 + SELF, .node = SELF}, .time = core.hlc.last};
    say(SELF, &(struct message){.type = MESSAGE_STAMPED,
                                .request = request,
                                .object = blob_bytes(object),
                                .object_blob = object,
                                .stamp_time = core.hlc.last,
                                .stamp_incarnation = 100 + SELF});
    effects_reset(&core.effects);
    struct blob *all = round == 0 ? NULL : exhaust();
    acknowledge(SELF, request, 0, ERR_OK);
    const struct message *answer = core_sent(2, MESSAGE_FORWARD_REPLY);
    struct position position = position_of_key(text_bytes(user_key));
    uint32_t coordinator = 0;
    assert_int_equal(answer->err, ERR_OK);
    assert_int_equal(
        context_decode(answer->object, (struct context_binding){5, position.high, position.low}, &past, &coordinator),
        ERR_OK);
    assert_int_equal(past.dot_count, round == 0 ? 3 * CLOCK_PAIRS_MAX + 1 : CLOCK_PAIRS_MAX);
    assert_true(past_covers(&past, own));
    release(all);
    acknowledge(preference.nodes[1], request, 0, ERR_OK);
    acknowledge(preference.nodes[2], request, 0, ERR_OK);
    blob_put(first);
    blob_put(object);
    end();
  }
}

static void a_forward_for_whose_answer_there_is_no_memory_is_refused_before_it_begins(void **state) {
  (void)state;
  begin(3, 0);
  struct message message = forward(50, 1);
  struct blob *all = exhaust();
  say(2, &message);
  assert_int_equal(core_sent(2, MESSAGE_FORWARD_REPLY)->err, ERR_NOMEM);
  assert_int_equal(core.local.count, 0);
  release(all);
  end();
}

static void a_straggler_that_goes_down_does_not_end_the_wait_for_the_others(void **state) {
  (void)state;
  struct message read = {0};
  begin(3, 0);
  command(
      &(struct command){.kind = COMMAND_GET, .token = 4, .key = text_bytes(user_key), .r = 1, .pr = QUORUM_DEFAULT});
  assert_true(core_local(&read));
  struct blob *object = object_of(NULL, 2, "value");
  say(SELF, &(struct message){.type = MESSAGE_READ_REPLY,
                              .request = read.request,
                              .digest = object_digest(blob_bytes(object)),
                              .object = blob_bytes(object),
                              .object_blob = object});
  assert_int_equal(reply()->err, ERR_OK);
  uint64_t end_ns = core.now_ns + core.tunables.repair_window_ns;
  go_down(preference.nodes[1]);
  tick_at(core.now_ns + 1);
  assert_int_equal(coord_in_flight(coord), 1);
  assert_int_equal(coord_deadline(coord), end_ns);
  /* The other one has nothing, and is repaired for that. */
  say(preference.nodes[2], &(struct message){.type = MESSAGE_READ_REPLY, .request = read.request});
  assert_non_null(core_sent(preference.nodes[2], MESSAGE_WRITE));
  blob_put(object);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_coordinator_beyond_the_first_n_is_not_asked_a_second_time_as_a_stand_in),
      cmocka_unit_test(an_answer_that_comes_twice_counts_once),
      cmocka_unit_test(what_an_answer_took_is_noted_also_when_it_was_an_error),
      cmocka_unit_test(who_has_answered_is_not_named_as_missing_though_its_disk_has_not),
      cmocka_unit_test(a_replica_that_goes_down_before_the_stamp_is_replaced_at_the_stamp),
      cmocka_unit_test(silence_is_counted_from_when_a_node_was_asked),
      cmocka_unit_test(a_node_cut_off_from_the_whole_list_takes_a_put_as_a_hint),
      cmocka_unit_test(without_hints_only_copies_that_count_are_kept),
      cmocka_unit_test(an_explain_of_which_nobody_is_up_is_answered),
      cmocka_unit_test(a_forwarded_deletion_with_a_value_is_refused),
      cmocka_unit_test(a_late_copy_of_a_forward_that_was_taken_is_not_refused_as_stale),
      cmocka_unit_test(who_may_have_lost_what_it_had_coordinates_only_as_the_last_resort),
      cmocka_unit_test(a_copy_of_a_forward_that_was_refused_is_not_taken),
      cmocka_unit_test(a_forward_is_not_stale_because_wall_clocks_differ),
      cmocka_unit_test(a_clock_that_does_not_say_that_it_is_one_is_no_answer),
      cmocka_unit_test(a_forwarded_put_ends_when_its_coordinator_is_seen_down),
      cmocka_unit_test(a_forwarded_put_ends_when_the_connection_was_lost_though_it_is_back),
      cmocka_unit_test(a_forwarded_put_that_nobody_answers_ends_with_the_time_it_has),
      cmocka_unit_test(a_forwarded_put_that_was_done_is_answered_so_though_there_is_no_memory),
      cmocka_unit_test(a_context_past_the_room_that_is_kept_for_it_is_cut_only_when_memory_is_short),
      cmocka_unit_test(a_forward_for_whose_answer_there_is_no_memory_is_refused_before_it_begins),
      cmocka_unit_test(a_straggler_that_goes_down_does_not_end_the_wait_for_the_others),
      cmocka_unit_test(a_get_does_not_show_what_one_who_answers_knows_to_be_dead),
      cmocka_unit_test(a_clock_tells_what_is_dead_when_its_values_are_known),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
