/* The coordinator while the ring changes: quorums in each live layout, who coordinates, who is asked, and when nothing
 * that older layouts have planned is left. */
#include "support/coord_step.h"

/* -- while the ring changes ------------------------------------------------------------------ */

static struct ring base_ring;
static struct preference base_list;
static struct preference target_list;

static void fold(struct ring *ring, const uint32_t *nodes, uint32_t count) {
  static struct history history;
  history_init(&history);
  for (uint32_t i = 0; i < count; i++) {
    core_change(&history, i == 0 ? CHANGE_FOUND : CHANGE_ADD, nodes[i]);
  }
  ring_fold(ring, &history);
}

static bool is_replica(const struct preference *list, uint32_t node) {
  bool found = false;
  for (uint32_t i = 0; i < list->replica_count; i++) {
    found = found || list->nodes[i] == node;
  }
  return found;
}

/* This node is a replica by the base, by the target, or by both. */
enum part { PART_BASE = 1, PART_TARGET = 2, PART_BOTH = 3 };
static uint32_t goes, comes, stays; /* replica by the base alone; by the target alone; by both and not this node */

/* With a key of which one replica goes and one comes. */
static void begin_moving(const uint32_t *base, uint32_t base_count, const uint32_t *target, uint32_t target_count,
                         enum part part) {
  begin(5, 0);
  blob_put(key);
  fold(&base_ring, base, base_count);
  fold(&core.ring, target, target_count);
  core.base = &base_ring;
  memset(core.up, true, sizeof(core.up));
  memset(core.base_up, true, sizeof(core.base_up));
  for (uint32_t i = 0;; i++) {
    assert_true(i < 100000);
    snprintf(user_key, sizeof(user_key), "m%u", (unsigned)i);
    uint32_t partition = position_partition(position_of_key(text_bytes(user_key)), core.ring.partition_count);
    ring_preference(&base_ring, partition, 3, &base_list);
    ring_preference(&core.ring, partition, 3, &target_list);
    goes = comes = stays = 0;
    uint32_t both = 0;
    for (uint32_t j = 0; j < 3; j++) {
      uint32_t node = base_list.nodes[j];
      bool in_both = is_replica(&target_list, node);
      both += in_both ? 1 : 0;
      goes = in_both ? goes : node;
      stays = in_both && node != SELF ? node : stays;
      comes = is_replica(&base_list, target_list.nodes[j]) ? comes : target_list.nodes[j];
    }
    if (both == 2 && is_replica(&base_list, SELF) == ((part & PART_BASE) != 0) &&
        is_replica(&target_list, SELF) == ((part & PART_TARGET) != 0)) {
      break;
    }
  }
  key = store_key(user_key);
}

/* Nodes 1, 2, 3, and a fourth one comes: this node is among the three, and stays a replica. */
static void begin_join(void) {
  begin_moving((const uint32_t[]){1, 2, 3}, 3, (const uint32_t[]){1, 2, 3, 4}, 4, PART_BOTH);
  assert_int_equal(comes, 4);
}

static void set_up(uint32_t node, bool up) {
  int index = ring_find(&core.ring, node);
  int base_index = ring_find(&base_ring, node);
  assert_true(index >= 0 || base_index >= 0);
  if (index >= 0) {
    core.up[index] = up;
  }
  if (base_index >= 0) {
    core.base_up[base_index] = up;
  }
}

/* -- two live layouts -------------------------------------------------------------------------- */

static void a_put_wants_w_in_each_live_layout_by_itself(void **state) {
  (void)state;
  for (uint32_t round = 0; round < 2; round++) {
    begin_join();
    uint64_t request = put_stamped(2);
    assert_int_equal(core_count(EFFECT_SEND), 3); /* each once, though it counts in two layouts */
    acknowledge(SELF, request, 0, ERR_OK);
    acknowledge(round == 0 ? goes : comes, request, 0, ERR_OK);
    assert_null(reply()); /* two nodes, and in the other layout one */
    acknowledge(round == 0 ? comes : goes, request, 0, ERR_OK);
    assert_int_equal(reply()->err, ERR_OK);
    acknowledge(stays, request, 0, ERR_OK);
    end();
  }
}

static void a_replica_by_both_layouts_counts_in_both(void **state) {
  (void)state;
  begin_join();
  uint64_t request = put_stamped(2);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  acknowledge(comes, request, 0, ERR_OK);
  end();
}

static void durable_copies_are_counted_in_each_layout_too(void **state) {
  (void)state;
  begin_join();
  put_wanting(3, QUORUM_DEFAULT, 2);
  uint64_t request = stamp_here();
  const struct message in_memory = {.type = MESSAGE_WRITE_ACK, .request = request};
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  say(stays, &in_memory);
  say(comes, &in_memory);
  assert_null(reply()); /* two on disks in the base, and one in the target */
  acknowledge(comes, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  end();
}

static void a_replica_by_the_base_stands_in_for_a_newcomer_that_is_down(void **state) {
  (void)state;
  begin_join();
  set_up(comes, false);
  uint64_t request = put_stamped(3);
  assert_int_equal(core_count(EFFECT_SEND), 3);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  assert_null(reply()); /* all of the base, and two of the target */
  acknowledge(goes, request, comes, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void a_stand_in_is_no_primary_though_it_is_one_by_the_other_layout(void **state) {
  (void)state;
  begin_join();
  set_up(comes, false);
  put_wanting(2, 2, QUORUM_DEFAULT);
  uint64_t request = stamp_here();
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  acknowledge(goes, request, comes, ERR_OK);
  assert_null(reply());
  acknowledge(stays, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void a_newcomer_stands_in_for_a_replica_by_the_base_when_nobody_else_is_left(void **state) {
  (void)state;
  begin_join();
  set_up(goes, false);
  uint64_t request = put_stamped(3);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  acknowledge(comes, request, 0, ERR_OK);
  assert_null(reply());
  acknowledge(comes, request, goes, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void a_coordinator_that_is_a_replica_by_the_base_keeps_the_hint_for_the_newcomer_itself(void **state) {
  (void)state;
  uint32_t owner = 0;
  struct message write = {0};
  begin_moving((const uint32_t[]){1, 2, 3}, 3, (const uint32_t[]){1, 2, 3, 4}, 4, PART_BASE);
  set_up(4, false);
  put(3);
  uint64_t request = take_stamp(&owner);
  assert_int_equal(owner, 0); /* it stamps what it holds, not a hint */
  stamped(request, 0);
  assert_true(core_local(&write));
  assert_int_equal(write.type, MESSAGE_WRITE);
  assert_int_equal(write.owner, 4);
  assert_int_equal(write.flags & MESSAGE_QUIET, 0);
  assert_false(core_local(&write));
  acknowledge(SELF, request, 0, ERR_OK);
  for (uint32_t i = 0; i < 3; i++) {
    if (base_list.nodes[i] != SELF) {
      acknowledge(base_list.nodes[i], request, 0, ERR_OK);
    }
  }
  assert_null(reply());
  acknowledge(SELF, request, 4, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void a_node_that_is_being_removed_counts_in_the_base(void **state) {
  (void)state;
  begin_moving((const uint32_t[]){1, 2, 3, 4}, 4, (const uint32_t[]){1, 2, 3}, 3, PART_BOTH);
  assert_int_equal(goes, 4);
  uint64_t request = put_stamped(3);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  acknowledge(comes, request, 0, ERR_OK);
  assert_null(reply());
  acknowledge(4, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void a_silent_replica_by_both_layouts_is_joined_in_each(void **state) {
  (void)state;
  begin_join();
  uint64_t request = put_stamped(3);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  acknowledge(comes, request, 0, ERR_OK);
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_int_equal(core_sent(comes, MESSAGE_WRITE)->owner, stays); /* in the base, of which it is no replica */
  assert_int_equal(core_sent(goes, MESSAGE_WRITE)->owner, stays);
  assert_int_equal(core_count(EFFECT_SEND), 2);
  acknowledge(comes, request, stays, ERR_OK);
  assert_null(reply());
  acknowledge(goes, request, stays, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  end();
}

static void a_hint_that_nobody_takes_is_kept_here_once_for_both_layouts(void **state) {
  (void)state;
  struct message write = {0};
  uint32_t hints = 0;
  begin_join();
  set_up(goes, false);
  set_up(comes, false);
  set_up(stays, false);
  uint64_t request = put_stamped(1);
  uint32_t owners[4] = {0};
  for (; core_local(&write); hints++) {
    assert_int_equal(write.flags, MESSAGE_QUIET);
    assert_true(hints < 3);
    owners[hints] = write.owner;
  }
  assert_int_equal(hints, 3);
  assert_int_equal(owners[0] + owners[1] + owners[2], goes + comes + stays);
  acknowledge(SELF, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  end();
}

static void the_error_names_who_is_missing_in_the_layout_that_is_short(void **state) {
  (void)state;
  begin_join();
  uint64_t request = put_stamped(3);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  acknowledge(comes, request, 0, ERR_NOSPACE); /* and then who would stand in for it */
  acknowledge(goes, request, comes, ERR_NOSPACE);
  core_drop_local();
  assert_int_equal(reply()->err, ERR_NOSPACE);
  assert_int_equal(reply()->outcome.kind, QUORUM_W);
  assert_int_equal(reply()->outcome.answered, 2);
  assert_int_equal(reply()->outcome.missing_count, 1);
  assert_int_equal(reply()->outcome.missing[0], comes);
  end();
}

static void a_newcomer_forwards_until_the_target_is_read_by(void **state) {
  (void)state;
  uint32_t owner = 0;
  begin_moving((const uint32_t[]){2, 3, 4}, 3, (const uint32_t[]){1, 2, 3, 4}, 4, PART_TARGET);
  put(1);
  const struct message *forward = &core_effect(EFFECT_SEND, 0)->send.message;
  assert_int_equal(forward->type, MESSAGE_FORWARD);
  assert_true(is_replica(&base_list, core_effect(EFFECT_SEND, 0)->send.to));
  uint64_t number = forward->request;
  /* They all say that they can not: it does what it can, as a replica by the target. */
  for (uint32_t i = 0; i < 3; i++) {
    uint32_t to = core_effect(EFFECT_SEND, 0)->send.to;
    say(to, &(struct message){.type = MESSAGE_FORWARD_REPLY, .request = number, .err = ERR_STALE});
  }
  uint64_t request = take_stamp(&owner);
  assert_int_equal(owner, 0);
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = request, .err = ERR_BUSY});
  assert_int_equal(reply()->err, ERR_BUSY);
  core.reads_target = true;
  put(1);
  request = take_stamp(&owner);
  assert_int_equal(owner, 0);
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = request, .err = ERR_BUSY});
  end();
}

static void a_former_replica_forwards_once_the_target_is_read_by(void **state) {
  (void)state;
  uint32_t owner = 0;
  begin_moving((const uint32_t[]){1, 2, 3}, 3, (const uint32_t[]){1, 2, 3, 4}, 4, PART_BASE);
  put(1);
  uint64_t request = take_stamp(&owner);
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = request, .err = ERR_BUSY});
  core.reads_target = true;
  put(1);
  assert_int_equal(core_effect(EFFECT_SEND, 0)->send.message.type, MESSAGE_FORWARD);
  uint32_t to = core_effect(EFFECT_SEND, 0)->send.to;
  assert_true(is_replica(&target_list, to));
  go_down(to);
  tick_at(core.now_ns);
  assert_int_equal(reply()->err, ERR_TIMEOUT);
  end();
}

static void a_get_asks_the_layout_by_which_is_read_and_no_other(void **state) {
  (void)state;
  for (uint32_t round = 0; round < 2; round++) {
    struct message read = {0};
    begin_join();
    core.reads_target = round == 1;
    command(
        &(struct command){.kind = COMMAND_GET, .token = 4, .key = text_bytes(user_key), .r = 2, .pr = QUORUM_DEFAULT});
    assert_true(core_local(&read));
    assert_int_equal(core_count(EFFECT_SEND), 2);
    assert_non_null(core_sent(stays, MESSAGE_READ));
    uint32_t third = round == 0 ? goes : comes;
    assert_non_null(core_sent(third, MESSAGE_READ));
    say(SELF, &(struct message){.type = MESSAGE_READ_REPLY, .request = read.request});
    say(third, &(struct message){.type = MESSAGE_READ_REPLY, .request = read.request});
    assert_int_equal(reply()->err, ERR_OK);
    say(stays, &(struct message){.type = MESSAGE_READ_REPLY, .request = read.request});
    end();
  }
}

/* It may have been refused for what this node had said that it reads by. */
static void a_silent_replica_is_asked_again_while_layouts_change_and_joined(void **state) {
  (void)state;
  for (uint32_t round = 0; round < 3; round++) {
    struct message read = {0};
    begin_join();
    core.base = round == 0 ? &base_ring : &core.ring;
    core.base_up[3] = core.up[3];
    command(
        &(struct command){.kind = COMMAND_GET, .token = 4, .key = text_bytes(user_key), .r = 3, .pr = QUORUM_DEFAULT});
    assert_true(core_local(&read));
    say(SELF, &(struct message){.type = MESSAGE_READ_REPLY, .request = read.request});
    core.epoch += round == 1 ? 1 : 0; /* the layouts have changed since, and all is over */
    tick_at(core.now_ns + core.tunables.hedge_ns);
    assert_int_equal(core_sent(stays, MESSAGE_READ) != NULL, round != 2);
    uint32_t asked = 0;
    while (asked < 2 && reply() == NULL) {
      say(asked == 0   ? stays
          : round == 0 ? goes
                       : comes,
          &(struct message){.type = MESSAGE_READ_REPLY, .request = read.request});
      asked += 1;
    }
    assert_int_equal(reply()->err, ERR_OK);
    tick_at(core.now_ns + core.tunables.repair_window_ns);
    end();
  }
}

static void an_explain_shows_the_replicas_by_both_layouts(void **state) {
  (void)state;
  begin_join();
  command(&(struct command){.kind = COMMAND_EXPLAIN, .token = 4, .key = text_bytes(user_key)});
  core_drop_local();
  for (uint32_t node = 2; node <= 4; node++) {
    assert_non_null(core_sent(node, MESSAGE_READ));
  }
  assert_int_equal(core_count(EFFECT_SEND), 3 * 4); /* its own, and hints for three others */
  tick_at(core.now_ns + 1000 * MS);
  assert_int_equal(reply()->explained_count, 4);
  for (uint32_t i = 0; i < 4; i++) {
    assert_false(reply()->explained[i].stand_in);
  }
  assert_int_equal(reply()->explained[3].node, comes);
  end();
}

static void an_explain_in_a_large_cluster_has_room_for_the_replicas_by_both_layouts(void **state) {
  (void)state;
  uint32_t nodes[41];
  uint32_t seen = 0;
  for (uint32_t i = 0; i < 41; i++) {
    nodes[i] = 1 + (i + 1) % 41; /* this node comes last */
  }
  begin_moving(nodes, 40, nodes, 41, PART_TARGET);
  command(&(struct command){.kind = COMMAND_EXPLAIN, .token = 4, .key = text_bytes(user_key)});
  core_drop_local();
  tick_at(core.now_ns + 1000 * MS);
  assert_int_equal(reply()->explained_count, PREFERENCE_MAX);
  for (uint32_t i = 0; i < PREFERENCE_MAX; i++) {
    uint32_t node = reply()->explained[i].node;
    bool replica = is_replica(&base_list, node) || is_replica(&target_list, node);
    assert_int_equal(reply()->explained[i].stand_in, !replica);
    seen += replica ? 1 : 0;
  }
  assert_int_equal(seen, 4);
  end();
}

/* Who was asked to read or write, as whose stand-in. */
struct asked {
  uint32_t count;
  uint32_t nodes[32], owners[32];
};

static void collect(struct asked *asked, enum message_type type) {
  struct message message = {0};
  for (uint32_t i = 0; i < core.effects.count; i++) {
    const struct effect *effect = &core.effects.list[i];
    if (effect->kind == EFFECT_SEND && effect->send.message.type == type) {
      asked->nodes[asked->count] = effect->send.to;
      asked->owners[asked->count] = effect->send.message.owner;
      asked->count += 1;
    }
  }
  while (core_local(&message)) {
    if (message.type == type && (message.flags & MESSAGE_QUIET) == 0) {
      asked->nodes[asked->count] = SELF;
      asked->owners[asked->count] = message.owner;
      asked->count += 1;
    }
  }
}

static void give_up(void) {
  tick_at(core.now_ns + core.tunables.hedge_ns);
  tick_at(core.now_ns + core.tunables.request_timeout_ns);
  core_drop_local();
}

static void who_has_failed_is_not_asked_to_stand_in_by_the_other_layout(void **state) {
  (void)state;
  struct message hint = {0};
  begin_join();
  uint64_t request = put_stamped(3);
  acknowledge(goes, request, 0, ERR_NOSPACE); /* the newcomer stands in for it */
  assert_int_equal(core_sent(comes, MESSAGE_WRITE)->owner, goes);
  acknowledge(comes, request, 0, ERR_NOSPACE);
  assert_int_equal(core.effects.count, 0);
  assert_true(core_local(&hint));
  assert_int_equal(hint.owner, comes);
  assert_int_equal(hint.flags, MESSAGE_QUIET);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  acknowledge(comes, request, goes, ERR_OK);
  assert_int_equal(reply()->err, ERR_NOSPACE);
  assert_int_equal(reply()->outcome.answered, 2);
  end();
}

static void a_replica_that_comes_back_does_not_stand_in_for_another_of_its_layout(void **state) {
  (void)state;
  begin_join();
  set_up(stays, false);
  uint64_t request = put_stamped(3);
  assert_null(core_sent(stays, MESSAGE_WRITE));
  set_up(stays, true);
  acknowledge(goes, request, 0, ERR_NOSPACE);
  assert_null(core_sent(stays, MESSAGE_WRITE));
  core_drop_local(); /* the hint is kept here */
  say(SELF, &(struct message){.type = MESSAGE_WRITE_ACK, .request = request, .err = ERR_NOSPACE});
  acknowledge(comes, request, 0, ERR_OK);
  acknowledge(comes, request, stays, ERR_OK);
  acknowledge(goes, request, stays, ERR_OK);
  core_drop_local();
  assert_int_equal(reply()->err, ERR_NOSPACE);
  end();
}

static void a_hint_that_is_kept_here_for_one_layout_will_do_for_the_other(void **state) {
  (void)state;
  struct message hint = {0};
  begin_moving((const uint32_t[]){1, 2, 3}, 3, (const uint32_t[]){1, 2, 3, 4}, 4, PART_BASE);
  set_up(stays, false);
  uint64_t request = put_stamped(1);
  assert_int_equal(core_sent(4, MESSAGE_WRITE)->owner, 0);
  assert_true(core_local(&hint)); /* by the target this node stands in for it, by the base the newcomer does */
  assert_int_equal(hint.owner, stays);
  assert_int_equal(hint.flags & MESSAGE_QUIET, 0);
  acknowledge(4, request, stays, ERR_NOSPACE);
  assert_int_equal(core.local.count, 0);
  give_up();
  end();
}

/* Whatever is down: N nodes by each layout as far as there are so many, and who reads finds all that is written. */
static void who_reads_by_a_layout_asks_those_to_whom_puts_write_by_it(void **state) {
  (void)state;
  const uint32_t nodes[] = {1, 2, 3, 4, 5, 6, 7};
  begin_moving(nodes, 6, nodes, 7, PART_BOTH);
  for (uint32_t round = 0; round < 2000; round++) {
    struct asked written = {0};
    struct asked read = {0};
    uint32_t healthy = 1;
    for (uint32_t node = 2; node <= 7; node++) {
      bool up = prng_chance(&core.prng, 600);
      set_up(node, up);
      healthy += up && node != 7 ? 1 : 0;
    }
    (void)put_stamped(1);
    written.count = 1;
    written.nodes[0] = SELF;
    collect(&written, MESSAGE_WRITE);
    give_up();
    for (uint32_t i = 0; i < written.count; i++) {
      for (uint32_t j = 0; j < i; j++) {
        assert_false(written.nodes[i] == written.nodes[j] && written.owners[i] == written.owners[j]);
      }
    }
    core.reads_target = round % 2 == 1;
    command(&(struct command){.kind = COMMAND_GET, .token = 4, .key = text_bytes(user_key), .r = 1, .pr = 0});
    collect(&read, MESSAGE_READ);
    give_up();
    assert_true(read.count >= (healthy < 3 ? healthy : 3));
    for (uint32_t i = 0; i < read.count; i++) {
      bool found = false;
      for (uint32_t j = 0; j < written.count; j++) {
        found = found || (written.nodes[j] == read.nodes[i] && written.owners[j] == read.owners[i]);
      }
      assert_true(found);
    }
    core.reads_target = false;
  }
  end();
}

/* -- layouts that are over ------------------------------------------------------------------------ */

/* The target is the base now. */
static void arrive(void) {
  core.base = NULL;
  core.epoch += 1;
}

static void a_layout_that_is_over_is_not_waited_for(void **state) {
  (void)state;
  begin_moving((const uint32_t[]){1, 2, 3, 4}, 4, (const uint32_t[]){1, 2, 3}, 3, PART_BOTH);
  assert_int_equal(goes, 4);
  uint64_t request = put_stamped(3);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(comes, request, 0, ERR_OK);
  arrive(); /* and node 4 is gone */
  assert_null(reply());
  acknowledge(stays, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  assert_true(is_settled(core.epoch));
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_int_equal(core.effects.count, 0); /* nobody stands in for who has left */
  assert_int_equal(core.local.count, 0);
  end();
}

static void a_put_that_wanted_only_a_layout_that_is_over_ends_at_the_next_look(void **state) {
  (void)state;
  begin_moving((const uint32_t[]){1, 2, 3, 4}, 4, (const uint32_t[]){1, 2, 3}, 3, PART_BOTH);
  uint64_t request = put_stamped(3);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(comes, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  assert_null(reply());
  arrive();
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_int_equal(reply()->err, ERR_OK);
  assert_int_equal(core_count(EFFECT_SEND), 0);
  acknowledge(goes, request, 0, ERR_OK); /* who has left may still answer */
  end();
}

/* It was left out of a barrier: who reads by that base may know nothing of the put. */
static void a_put_that_the_base_has_outrun_is_not_acknowledged(void **state) {
  (void)state;
  static struct ring later;
  for (uint32_t round = 0; round < 2; round++) {
    begin_join();
    core.base = round == 0 ? core.base : NULL; /* planned by one layout or by two */
    uint64_t request = put_stamped(2);
    acknowledge(SELF, request, 0, ERR_OK);
    fold(&later, (const uint32_t[]){1, 2, 3, 4, 5}, 5);
    core.ring = later;
    arrive();
    assert_null(reply());
    acknowledge(stays, request, 0, ERR_OK);
    assert_int_equal(reply()->err, ERR_TIMEOUT);
    assert_non_null(strstr(reply()->why, "gone on without"));
    assert_true(is_settled(core.epoch));
    end();
  }
}

static void a_put_that_the_base_has_outrun_ends_at_the_next_look(void **state) {
  (void)state;
  static struct ring later;
  begin(3, 0);
  uint64_t request = put_stamped(3);
  acknowledge(SELF, request, 0, ERR_OK);
  fold(&later, (const uint32_t[]){1, 2, 3, 4, 5}, 5);
  core.ring = later;
  arrive();
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_int_equal(reply()->err, ERR_TIMEOUT);
  end();
}

static void a_target_that_was_given_up_for_another_is_waited_for(void **state) {
  (void)state;
  static struct ring later;
  begin_join();
  uint64_t request = put_stamped(2);
  fold(&later, (const uint32_t[]){1, 2, 3, 4, 5}, 5);
  core.ring = later;
  core.epoch += 1; /* the base is what it was */
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  assert_null(reply());
  acknowledge(comes, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  end();
}

static void a_replica_that_has_left_the_layouts_may_still_answer(void **state) {
  (void)state;
  static struct ring later;
  begin_join();
  uint64_t request = put_stamped(3);
  fold(&later, (const uint32_t[]){1, 2, 3, 5}, 4);
  core.ring = later;
  core.epoch += 1; /* node 4 is replaced before it held anything */
  set_up(5, true);
  assert_int_equal(comes, 4);
  acknowledge(SELF, request, 0, ERR_OK);
  acknowledge(goes, request, 0, ERR_OK);
  acknowledge(stays, request, 0, ERR_OK);
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_null(reply());
  acknowledge(4, request, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  give_up();
  end();
}

static void a_forwarded_put_waits_for_a_coordinator_that_has_left(void **state) {
  (void)state;
  begin_moving((const uint32_t[]){2, 3, 4}, 3, (const uint32_t[]){1, 2, 3}, 3, PART_TARGET);
  uint32_t to = 0;
  uint32_t tried = 0;
  uint64_t number = 0;
  put(1);
  for (; to != 4; tried++) {
    assert_true(tried < 3);
    to = core_effect(EFFECT_SEND, 0)->send.to;
    number = core_effect(EFFECT_SEND, 0)->send.message.request;
    if (to != 4) {
      say(to, &(struct message){.type = MESSAGE_FORWARD_REPLY, .request = number, .err = ERR_STALE});
    }
  }
  arrive();
  tick_at(core.now_ns + core.tunables.hedge_ns);
  assert_null(reply());
  say(4, &(struct message){.type = MESSAGE_FORWARD_REPLY, .request = number, .err = ERR_NOSPACE});
  assert_int_equal(reply()->err, ERR_NOSPACE);
  end();
}

/* -- settled ------------------------------------------------------------------------------------- */

static void puts_of_older_layouts_are_waited_for_until_they_are_answered(void **state) {
  (void)state;
  uint32_t owner = 0;
  begin(3, 0);
  core.epoch = 5;
  put(2);
  uint64_t old = take_stamp(&owner);
  assert_true(is_settled(5));
  assert_false(is_settled(6));
  core.epoch = 6;
  put(2);
  uint64_t young = take_stamp(&owner);
  assert_false(is_settled(6));
  stamped(old, 0);
  acknowledge(SELF, old, 0, ERR_OK);
  assert_false(is_settled(6));
  acknowledge(preference.nodes[1], old, 0, ERR_OK);
  assert_int_equal(reply()->err, ERR_OK);
  assert_true(is_settled(6)); /* the third may still be silent */
  assert_false(coord_is_idle(coord));
  assert_false(is_settled(7));
  core.epoch = 7;
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = young, .err = ERR_BUSY});
  assert_int_equal(reply()->err, ERR_BUSY);
  assert_true(is_settled(7));
  assert_true(coord_is_idle(coord));
  acknowledge(preference.nodes[2], old, 0, ERR_OK);
  end();
}

static void a_put_that_another_node_coordinates_is_waited_for_there(void **state) {
  (void)state;
  uint32_t owner = 0;
  begin(4, 3);
  core.epoch = 1;
  put(1);
  uint64_t number = core_effect(EFFECT_SEND, 0)->send.message.request;
  core.epoch = 2;
  assert_true(is_settled(2));
  assert_false(coord_is_idle(coord)); /* but its answer comes through here */
  for (uint32_t i = 0; i < 3; i++) {
    uint32_t to = core_effect(EFFECT_SEND, 0)->send.to;
    say(to, &(struct message){.type = MESSAGE_FORWARD_REPLY, .request = number, .err = ERR_STALE});
  }
  /* It ends up here, and is planned by the layouts of now. */
  assert_true(is_settled(2));
  assert_false(is_settled(3));
  uint64_t request = take_stamp(&owner);
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = request, .err = ERR_BUSY});
  assert_true(is_settled(3));
  end();
}

static void a_stamp_says_by_which_layouts_it_was_planned(void **state) {
  (void)state;
  struct message message = {0};
  begin(3, 0);
  core.epoch = 9;
  put(1);
  assert_true(core_local(&message));
  assert_int_equal(message.type, MESSAGE_STAMP);
  assert_int_equal(message.digest, 9);
  say(SELF, &(struct message){.type = MESSAGE_STAMPED, .request = message.request, .err = ERR_BUSY});
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_put_wants_w_in_each_live_layout_by_itself),
      cmocka_unit_test(a_replica_by_both_layouts_counts_in_both),
      cmocka_unit_test(durable_copies_are_counted_in_each_layout_too),
      cmocka_unit_test(a_replica_by_the_base_stands_in_for_a_newcomer_that_is_down),
      cmocka_unit_test(a_stand_in_is_no_primary_though_it_is_one_by_the_other_layout),
      cmocka_unit_test(a_newcomer_stands_in_for_a_replica_by_the_base_when_nobody_else_is_left),
      cmocka_unit_test(a_coordinator_that_is_a_replica_by_the_base_keeps_the_hint_for_the_newcomer_itself),
      cmocka_unit_test(a_node_that_is_being_removed_counts_in_the_base),
      cmocka_unit_test(a_silent_replica_by_both_layouts_is_joined_in_each),
      cmocka_unit_test(a_hint_that_nobody_takes_is_kept_here_once_for_both_layouts),
      cmocka_unit_test(the_error_names_who_is_missing_in_the_layout_that_is_short),
      cmocka_unit_test(a_newcomer_forwards_until_the_target_is_read_by),
      cmocka_unit_test(a_former_replica_forwards_once_the_target_is_read_by),
      cmocka_unit_test(a_get_asks_the_layout_by_which_is_read_and_no_other),
      cmocka_unit_test(a_silent_replica_is_asked_again_while_layouts_change_and_joined),
      cmocka_unit_test(an_explain_shows_the_replicas_by_both_layouts),
      cmocka_unit_test(an_explain_in_a_large_cluster_has_room_for_the_replicas_by_both_layouts),
      cmocka_unit_test(who_has_failed_is_not_asked_to_stand_in_by_the_other_layout),
      cmocka_unit_test(a_replica_that_comes_back_does_not_stand_in_for_another_of_its_layout),
      cmocka_unit_test(a_hint_that_is_kept_here_for_one_layout_will_do_for_the_other),
      cmocka_unit_test(who_reads_by_a_layout_asks_those_to_whom_puts_write_by_it),
      cmocka_unit_test(a_layout_that_is_over_is_not_waited_for),
      cmocka_unit_test(a_put_that_wanted_only_a_layout_that_is_over_ends_at_the_next_look),
      cmocka_unit_test(a_put_that_the_base_has_outrun_is_not_acknowledged),
      cmocka_unit_test(a_put_that_the_base_has_outrun_ends_at_the_next_look),
      cmocka_unit_test(a_target_that_was_given_up_for_another_is_waited_for),
      cmocka_unit_test(a_replica_that_has_left_the_layouts_may_still_answer),
      cmocka_unit_test(a_forwarded_put_waits_for_a_coordinator_that_has_left),
      cmocka_unit_test(puts_of_older_layouts_are_waited_for_until_they_are_answered),
      cmocka_unit_test(a_put_that_another_node_coordinates_is_waited_for_there),
      cmocka_unit_test(a_stamp_says_by_which_layouts_it_was_planned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
