/* What a node does with reads and writes of one key: who is answered, when a write counts as durable, who stamps. */
#include "support/core_floor.h"

#include "replica/replica.h"
#include "version/context.h"
#include "version/prune.h"

#define OTHER 2u
#define STAND_IN_EPOCH 77u
#define INCARNATION 11u
#define TREE_BITS 8u

static struct replica *replica;
static struct growth *growth;
static struct floors *floors;
static void *tree_memory;
static struct blob *key; /* the one that all is about */

static void begin(void) {
  core_begin(3);
  void *memory = aligned_alloc(64, replica_size());
  assert_non_null(memory);
  struct actor actor = {.incarnation = INCARNATION, .node = SELF};
  struct shard_config config = {.tree_memory = calloc(1, tree_memory_bytes(TREE_BITS)), .tree_bits = TREE_BITS};
  tree_memory = config.tree_memory;
  growth = growth_init(aligned_alloc(64, growth_size()), &config);
  void *floors_memory = aligned_alloc(64, floors_size());
  assert_non_null(floors_memory);
  floors = floors_init(floors_memory, &config);
  replica = replica_init(memory, actor, STAND_IN_EPOCH, 3, growth, floors);
  key = store_key("k");
}

static void end(void) {
  assert_true(replica_is_idle(replica));
  blob_put(key);
  core_end();
  free(replica);
  free(growth);
  free(floors);
  free(tree_memory);
}

static void say(uint32_t from, const struct message *message) {
  struct step step = core_step();
  replica_message(replica, &step, from, message);
}

static void write_object(struct blob *object, uint64_t request, uint8_t flags) {
  say(OTHER, &(struct message){.type = MESSAGE_WRITE,
                               .flags = flags,
                               .request = request,
                               .key = blob_bytes(key),
                               .key_blob = key,
                               .object = blob_bytes(object),
                               .object_blob = object});
}

static uint64_t token_of_read(void) {
  return core_effect(EFFECT_READ, 0)->read.token;
}

static uint64_t token_of_commit(uint32_t nth) {
  return core_effect(EFFECT_COMMIT, nth)->commit.token;
}

static void read_done(uint64_t token, enum err err, struct blob *value) {
  struct step step = core_step();
  replica_read_done(replica, &step, token, err, value);
}

static void commit_done(uint64_t token, enum err err) {
  struct step step = core_step();
  replica_commit_done(replica, &step, token, err);
}

static void tick(void) {
  struct step step = core_step();
  replica_tick(replica, &step);
}

/* Writes the same object `count` times while the key is being read, lets it be read as absent, and keeps the tokens of
 * the commits that follow. */
static void write_while_reading(struct blob *object, uint32_t count, uint64_t tokens[OPS_PER_STEP_MAX]) {
  write_object(object, 1, 0);
  uint64_t read = token_of_read();
  for (uint32_t i = 1; i < count; i++) {
    write_object(object, 1 + i, 0);
    assert_int_equal(core.effects.count, 0);
  }
  read_done(read, ERR_OK, NULL);
  assert_int_equal(core_count(EFFECT_COMMIT), OPS_PER_STEP_MAX);
  for (uint32_t i = 0; i < OPS_PER_STEP_MAX; i++) {
    tokens[i] = token_of_commit(i);
  }
}

/* -- answers ------------------------------------------------------------------------------ */

static void all_who_wait_for_a_key_that_can_not_be_read_are_told_some_in_each_step(void **state) {
  (void)state;
  enum { WAITING = 5000 };
  begin();
  uint64_t token = 0;
  for (uint32_t i = 0; i < WAITING; i++) {
    say(i % 2 == 0 ? SELF : OTHER,
        &(struct message){.type = MESSAGE_READ, .request = i, .key = blob_bytes(key), .key_blob = key});
    token = i == 0 ? token_of_read() : token;
  }
  uint32_t answered = 0;
  uint32_t steps = 0;
  for (read_done(token, ERR_NOMEM, NULL); core.effects.count + core.local.count > 0; tick()) {
    struct message message;
    assert_true(core.effects.count + core.local.count <= OPS_PER_STEP_MAX);
    answered += core_count(EFFECT_SEND);
    assert_true(core_count(EFFECT_SEND) == 0 || core_sent(OTHER, MESSAGE_READ_REPLY)->err == ERR_NOMEM);
    while (core_local(&message)) {
      assert_int_equal(message.type, MESSAGE_READ_REPLY);
      assert_int_equal(message.err, ERR_NOMEM);
      answered += 1;
    }
    steps += 1;
  }
  assert_int_equal(answered, WAITING);
  assert_int_equal(steps, (WAITING + OPS_PER_STEP_MAX - 1) / OPS_PER_STEP_MAX);
  assert_false(replica_wants_tick(replica));
  end();
}

static void who_comes_while_others_are_being_refused_is_refused_too(void **state) {
  (void)state;
  begin();
  uint64_t token = 0;
  for (uint32_t i = 0; i < OPS_PER_STEP_MAX + 1; i++) {
    say(OTHER, &(struct message){.type = MESSAGE_READ, .request = i, .key = blob_bytes(key), .key_blob = key});
    token = i == 0 ? token_of_read() : token;
  }
  read_done(token, ERR_NOMEM, NULL);
  assert_true(replica_wants_tick(replica));
  say(OTHER, &(struct message){.type = MESSAGE_READ, .request = 999, .key = blob_bytes(key), .key_blob = key});
  assert_int_equal(core.effects.count, 0);
  tick();
  assert_int_equal(core_count(EFFECT_SEND), 2);
  assert_int_equal(core_effect(EFFECT_SEND, 1)->send.message.request, 999);
  assert_int_equal(core_effect(EFFECT_SEND, 1)->send.message.err, ERR_NOMEM);
  /* The next one has it read anew. */
  say(OTHER, &(struct message){.type = MESSAGE_READ, .request = 1000, .key = blob_bytes(key), .key_blob = key});
  read_done(token_of_read(), ERR_OK, NULL);
  assert_int_equal(core_sent(OTHER, MESSAGE_READ_REPLY)->err, ERR_OK);
  end();
}

static void a_damaged_write_is_answered_so_that_nobody_waits_for_it(void **state) {
  (void)state;
  begin();
  struct blob *damaged = blob_copy(&core.pool, text_bytes("\001 no object"));
  write_object(damaged, 5, 0);
  const struct message *ack = core_sent(OTHER, MESSAGE_WRITE_ACK);
  assert_non_null(ack);
  assert_int_equal(ack->err, ERR_CORRUPT);
  assert_int_equal(ack->request, 5);
  assert_int_equal(core.stats.messages_bad, 1);
  assert_int_equal(core_count(EFFECT_READ), 0);
  write_object(damaged, 6, MESSAGE_QUIET);
  assert_int_equal(core.effects.count, 0);
  blob_put(damaged);
  end();
}

/* -- durable ---------------------------------------------------------------------------------- */

static void a_write_is_acknowledged_when_its_commit_is_done_and_not_before(void **state) {
  (void)state;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  write_object(object, 1, 0);
  read_done(token_of_read(), ERR_OK, NULL);
  assert_null(core_sent(OTHER, MESSAGE_WRITE_ACK));
  assert_true(core_effect(EFFECT_COMMIT, 0)->commit.sync);
  commit_done(token_of_commit(0), ERR_OK);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->flags, MESSAGE_DURABLE);
  /* The same once more: the store has it. */
  write_object(object, 2, 0);
  read_done(token_of_read(), ERR_OK, object);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->flags, MESSAGE_DURABLE);
  assert_int_equal(core_count(EFFECT_COMMIT), 0);
  blob_put(object);
  end();
}

static void what_commits_that_failed_left_in_memory_does_not_count_as_stored(void **state) {
  (void)state;
  begin();
  uint64_t tokens[OPS_PER_STEP_MAX];
  struct blob *object = object_of(NULL, OTHER, "v");
  write_while_reading(object, OPS_PER_STEP_MAX + 1, tokens);
  for (uint32_t i = 0; i < OPS_PER_STEP_MAX; i++) {
    commit_done(tokens[i], ERR_NOSPACE);
    assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->err, ERR_NOSPACE);
  }
  /* The last one has waited for the tick. All that it brings is in memory by then, and none of it in the store. */
  tick();
  assert_null(core_sent(OTHER, MESSAGE_WRITE_ACK));
  uint64_t token = token_of_commit(0);
  commit_done(token, ERR_OK);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->flags, MESSAGE_DURABLE);
  blob_put(object);
  end();
}

static void a_later_commit_makes_up_for_one_that_failed(void **state) {
  (void)state;
  begin();
  uint64_t tokens[OPS_PER_STEP_MAX];
  struct blob *object = object_of(NULL, OTHER, "v");
  write_while_reading(object, OPS_PER_STEP_MAX + 1, tokens);
  for (uint32_t i = 0; i < OPS_PER_STEP_MAX; i++) {
    commit_done(tokens[i], i % 2 == 0 ? ERR_NOSPACE : ERR_OK);
  }
  tick();
  assert_int_equal(core_count(EFFECT_COMMIT), 0);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->flags, MESSAGE_DURABLE);
  blob_put(object);
  end();
}

static void a_write_that_must_be_synced_is_committed_though_an_unsynced_one_brought_the_same(void **state) {
  (void)state;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  write_object(object, 1, MESSAGE_NOSYNC);
  read_done(token_of_read(), ERR_OK, NULL);
  assert_false(core_effect(EFFECT_COMMIT, 0)->commit.sync);
  commit_done(token_of_commit(0), ERR_OK);
  write_object(object, 2, 0);
  read_done(token_of_read(), ERR_OK, object);
  assert_null(core_sent(OTHER, MESSAGE_WRITE_ACK));
  assert_true(core_effect(EFFECT_COMMIT, 0)->commit.sync);
  commit_done(token_of_commit(0), ERR_OK);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->flags, MESSAGE_DURABLE);
  write_object(object, 3, 0);
  read_done(token_of_read(), ERR_OK, object);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->request, 3);
  blob_put(object);
  end();
}

/* -- who stamps ---------------------------------------------------------------------------------- */

/* Stamps, and says with which incarnation; `token` is that of the commit. */
static uint64_t stamp(uint32_t owner, struct blob *stored, uint64_t *token) {
  struct message answer = {0};
  say(SELF, &(struct message){.type = MESSAGE_STAMP,
                              .flags = MESSAGE_BLIND,
                              .owner = owner,
                              .request = 9,
                              .digest = core.epoch,
                              .key = blob_bytes(key),
                              .key_blob = key,
                              .object = text_bytes("v")});
  read_done(token_of_read(), ERR_OK, stored);
  assert_true(core_local(&answer));
  assert_int_equal(answer.type, MESSAGE_STAMPED);
  assert_int_equal(answer.err, ERR_OK);
  *token = token_of_commit(0);
  return answer.stamp_incarnation;
}

/* The time of a version that is stamped by one who has this context. */
static uint64_t stamp_time(struct bytes context, struct blob *stored) {
  struct message answer = {0};
  say(SELF, &(struct message){.type = MESSAGE_STAMP,
                              .request = 9,
                              .digest = core.epoch,
                              .key = blob_bytes(key),
                              .key_blob = key,
                              .object = text_bytes("v"),
                              .context = context});
  read_done(token_of_read(), ERR_OK, stored);
  assert_true(core_local(&answer));
  assert_int_equal(answer.type, MESSAGE_STAMPED);
  commit_done(token_of_commit(0), ERR_OK);
  core_drop_local();
  return answer.stamp_time;
}

static void a_stamp_is_later_than_all_that_its_writer_and_its_replica_have_seen(void **state) {
  (void)state;
  begin();
  uint8_t bytes[64];
  struct writer w = writer_make(bytes, sizeof bytes);
  struct position position = position_read(key->data);
  struct past past;
  hlc_init(&core.hlc, hlc_make(WALL_MS + 2000, 0)); /* of another node, which was ahead */
  struct blob *stored = object_of(NULL, 2, "v");
  uint64_t latest = core.hlc.last;
  hlc_init(&core.hlc, hlc_make(WALL_MS, 0));
  assert_true(stamp_time(BYTES_NONE, stored) > latest);
  past_init(&past);
  past_add_dot(&past, (struct dot){.actor = {.incarnation = 5, .node = 2}, .time = hlc_make(WALL_MS + 4000, 0)});
  context_encode(&w, &past, 0, (struct context_binding){5, position.high, position.low});
  assert_true(stamp_time(writer_bytes(&w), NULL) > hlc_make(WALL_MS + 4000, 0));
  floor_set(floors, blob_bytes(key), hlc_make(WALL_MS + 6000, 0));
  assert_true(stamp_time(BYTES_NONE, NULL) > hlc_make(WALL_MS + 6000, 0));
  blob_put(stored);
  end();
}

static void what_comes_is_dead_when_it_is_below_the_floor_and_not_here(void **state) {
  (void)state;
  begin();
  struct blob *dead = object_of(NULL, OTHER, "dead");
  floor_set(floors, blob_bytes(key), core.hlc.last);
  write_object(dead, 1, 0);
  read_done(token_of_read(), ERR_OK, NULL);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->err, ERR_OK); /* nothing is wrong with who brings it */
  assert_int_equal(core_count(EFFECT_COMMIT), 0);
  assert_int_equal(core.version_stats.buried, 1);
  struct blob *both = object_of(dead, 3, "alive");
  write_object(both, 2, 0);
  read_done(token_of_read(), ERR_OK, NULL);
  struct object taken;
  assert_int_equal(object_open(&taken, blob_bytes(core_effect(EFFECT_COMMIT, 0)->commit.value)), ERR_OK);
  assert_int_equal(taken.sibling_count, 1);
  commit_done(token_of_commit(0), ERR_OK);
  /* Where it is, it is alive. */
  write_object(both, 3, 0);
  read_done(token_of_read(), ERR_OK, dead);
  assert_int_equal(object_open(&taken, blob_bytes(core_effect(EFFECT_COMMIT, 0)->commit.value)), ERR_OK);
  assert_int_equal(taken.sibling_count, 2);
  commit_done(token_of_commit(0), ERR_OK);
  blob_put(dead);
  blob_put(both);
  end();
}

static void a_stamp_whose_commit_fails_takes_the_incarnation_with_it(void **state) {
  (void)state;
  begin();
  uint64_t token = 0;
  assert_int_equal(stamp(0, NULL, &token), INCARNATION);
  commit_done(token, ERR_OK);
  core_drop_local();
  assert_int_equal(stamp(0, NULL, &token), INCARNATION);
  commit_done(token, ERR_NOSPACE);
  core_drop_local();
  uint64_t next = stamp(0, NULL, &token);
  assert_int_not_equal(next, INCARNATION);
  assert_int_equal(next, replica_actor(replica).incarnation);
  commit_done(token, ERR_OK);
  core_drop_local();
  end();
}

static void a_stand_in_stamps_anew_after_a_hint_is_given_away(void **state) {
  (void)state;
  begin();
  uint64_t token = 0;
  uint64_t first = stamp(3, NULL, &token);
  struct blob *hint = blob_get(core_effect(EFFECT_COMMIT, 0)->commit.value);
  commit_done(token, ERR_OK);
  core_drop_local();
  assert_int_equal(stamp(3, hint, &token), first);
  commit_done(token, ERR_OK);
  core_drop_local();
  say(SELF, &(struct message){.type = MESSAGE_HINT_DROP,
                              .owner = 3,
                              .digest = object_digest(blob_bytes(hint)),
                              .key = blob_bytes(key),
                              .key_blob = key});
  read_done(token_of_read(), ERR_OK, hint);
  assert_null(core_effect(EFFECT_COMMIT, 0)->commit.value);
  commit_done(token_of_commit(0), ERR_OK);
  core_drop_local();
  assert_int_not_equal(stamp(3, NULL, &token), first);
  commit_done(token, ERR_OK);
  assert_int_equal(replica_actor(replica).incarnation, INCARNATION);
  core_drop_local();
  blob_put(hint);
  end();
}

/* -- offers and drops ------------------------------------------------------------------------------- */

static void offer(struct blob *object, uint64_t request) {
  say(OTHER, &(struct message){.type = MESSAGE_OFFER,
                               .request = request,
                               .digest = object_digest(blob_bytes(object)),
                               .key = blob_bytes(key),
                               .key_blob = key});
}

static void expect_offer_answered(uint64_t request, enum err err) {
  const struct message *ack = core_sent(OTHER, MESSAGE_WRITE_ACK);
  assert_non_null(ack);
  assert_int_equal(ack->request, request);
  assert_int_equal(ack->owner, 0);
  assert_int_equal(ack->err, err);
  assert_int_equal(ack->flags, err == ERR_OK ? MESSAGE_DURABLE : 0);
}

static void an_offer_of_what_is_stored_here_is_answered_as_durable(void **state) {
  (void)state;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  struct blob *later = object_of(object, OTHER, "w");
  offer(object, 1);
  read_done(token_of_read(), ERR_OK, object);
  expect_offer_answered(1, ERR_OK);
  assert_int_equal(core_count(EFFECT_COMMIT), 0);
  offer(object, 2);
  read_done(token_of_read(), ERR_OK, NULL);
  expect_offer_answered(2, ERR_ABSENT);
  offer(object, 3);
  read_done(token_of_read(), ERR_OK, later); /* it has more: not that very object */
  expect_offer_answered(3, ERR_ABSENT);
  offer(object, 4);
  read_done(token_of_read(), ERR_IO, NULL);
  expect_offer_answered(4, ERR_IO);
  blob_put(later);
  blob_put(object);
  end();
}

static void an_offer_of_what_is_not_yet_on_disk_is_not_taken_for_held(void **state) {
  (void)state;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  write_object(object, 1, 0);
  read_done(token_of_read(), ERR_OK, NULL);
  uint64_t token = token_of_commit(0);
  offer(object, 2);
  expect_offer_answered(2, ERR_ABSENT);
  /* The commit fails while others wait: what is in memory is not in the store. */
  write_object(object, 3, 0);
  uint64_t second = token_of_commit(0);
  commit_done(second, ERR_NOSPACE);
  offer(object, 4);
  expect_offer_answered(4, ERR_ABSENT);
  commit_done(token, ERR_OK);
  offer(object, 5);
  read_done(token_of_read(), ERR_OK, object);
  expect_offer_answered(5, ERR_OK);
  blob_put(object);
  end();
}

static void an_offer_of_what_is_not_synced_is_not_taken_for_held(void **state) {
  (void)state;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  write_object(object, 1, MESSAGE_NOSYNC);
  read_done(token_of_read(), ERR_OK, NULL);
  commit_done(token_of_commit(0), ERR_OK);
  offer(object, 2);
  read_done(token_of_read(), ERR_OK, object);
  expect_offer_answered(2, ERR_ABSENT);
  write_object(object, 3, 0);
  read_done(token_of_read(), ERR_OK, object);
  commit_done(token_of_commit(0), ERR_OK);
  offer(object, 4);
  read_done(token_of_read(), ERR_OK, object);
  expect_offer_answered(4, ERR_OK);
  blob_put(object);
  end();
}

static void an_offer_of_a_hint_makes_no_sense(void **state) {
  (void)state;
  begin();
  say(OTHER,
      &(struct message){.type = MESSAGE_OFFER, .owner = 3, .request = 1, .key = blob_bytes(key), .key_blob = key});
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->err, ERR_BADARG);
  assert_int_equal(core.stats.messages_bad, 1);
  end();
}

/* The tree reads the store again, which has `object` or, NULL, nothing that can be read. */
static void grow(struct blob *object, bool gap) {
  struct scan_entry entry = {.key = key, .value = object};
  struct event event = {
      .kind = EVENT_SCAN_DONE,
      .scan = {.entries = &entry, .count = object != NULL ? 1 : 0, .end = true, .gap = gap},
  };
  core.now_ns += UINT64_C(10000000000);
  struct step step = core_step();
  growth_tick(growth, &step);
  assert_int_equal(core_count(EFFECT_SCAN), 1);
  step = core_step();
  growth_scan_done(growth, &step, &event);
  assert_true(growth_is_whole(growth));
}

/* What it had read before stands in no tree any more. */
static void a_write_over_what_has_become_damaged_since_it_was_read_leaves_the_tree_right(void **state) {
  (void)state;
  begin();
  struct blob *before = object_of(NULL, OTHER, "a");
  struct blob *after = object_of(before, OTHER, "b");
  struct position position = position_read(key->data);
  grow(before, false);
  write_object(after, 1, 0);
  read_done(token_of_read(), ERR_OK, before);
  uint64_t commit = token_of_commit(0);
  growth_lose(growth, position, position);
  grow(NULL, true);
  commit_done(commit, ERR_OK);
  core_drop_local();
  assert_true(growth_is_blind(growth));
  core.now_ns += UINT64_C(30000000000);
  grow(after, false);
  struct tree_node leaf = tree_node_of(position.high, TREE_BITS);
  assert_int_equal(tree_sum(growth_tree(growth), leaf, 1), growth_share(growth, blob_bytes(key), after));
  blob_put(before);
  blob_put(after);
  end();
}

static void write_hint(struct blob *object, uint64_t request) {
  say(OTHER, &(struct message){.type = MESSAGE_WRITE,
                               .owner = 3,
                               .request = request,
                               .key = blob_bytes(key),
                               .key_blob = key,
                               .object = blob_bytes(object),
                               .object_blob = object});
}

static bool is_told_that_it_is_kept(void) {
  struct message message = {0};
  return core_local(&message) && message.type == MESSAGE_HINT_KEPT;
}

/* Whoever counts hints may have looked between the two, and have found none. */
static void a_hint_that_another_commit_makes_after_the_first_has_failed_is_counted_again(void **state) {
  (void)state;
  begin();
  struct blob *first = object_of(NULL, OTHER, "a");
  struct blob *second = object_of(first, OTHER, "b");
  write_hint(first, 1);
  read_done(token_of_read(), ERR_OK, NULL);
  uint64_t makes = token_of_commit(0);
  write_hint(second, 2);
  uint64_t adds = token_of_commit(0);
  commit_done(makes, ERR_NOSPACE);
  assert_true(is_told_that_it_is_kept());
  core_drop_local();
  commit_done(adds, ERR_OK);
  assert_true(is_told_that_it_is_kept());
  core_drop_local();
  blob_put(first);
  blob_put(second);
  end();
}

static uint32_t own_index; /* into the members of the ring */

/* From here on the node owns nothing: it is a member of no ring. */
static void own_nothing(void) {
  int index = ring_find(&core.ring, SELF);
  own_index = index >= 0 ? (uint32_t)index : own_index;
  core.ring.members[own_index].node = 99;
  core.base = NULL;
}

static void own_again(void) {
  core.ring.members[own_index].node = SELF;
}

static void drop(struct blob *object, uint64_t request) {
  say(SELF, &(struct message){.type = MESSAGE_OBJECT_DROP,
                              .request = request,
                              .digest = object_digest(blob_bytes(object)),
                              .key = blob_bytes(key),
                              .key_blob = key});
}

static void expect_drop_answered(uint64_t request, enum err err) {
  struct message ack = {0};
  assert_true(core_local(&ack));
  assert_int_equal(ack.type, MESSAGE_WRITE_ACK);
  assert_int_equal(ack.request, request);
  assert_int_equal(ack.err, err);
  assert_false(core_local(&ack)); /* nobody keeps count of it as of a hint */
}

static void an_object_is_dropped_durably_and_then_it_is_said(void **state) {
  (void)state;
  begin();
  own_nothing();
  struct blob *object = object_of(NULL, OTHER, "v");
  drop(object, 1);
  read_done(token_of_read(), ERR_OK, object);
  const struct effect *commit = core_effect(EFFECT_COMMIT, 0);
  assert_null(commit->commit.value);
  assert_true(commit->commit.sync);
  assert_int_equal(commit->commit.space, SPACE_OBJECTS);
  assert_int_equal(core.local.count, 0);
  commit_done(commit->commit.token, ERR_OK);
  expect_drop_answered(1, ERR_OK);
  blob_put(object);
  end();
}

static void an_object_that_has_changed_is_not_dropped(void **state) {
  (void)state;
  begin();
  own_nothing();
  struct blob *object = object_of(NULL, OTHER, "v");
  struct blob *later = object_of(object, OTHER, "w");
  drop(object, 1);
  read_done(token_of_read(), ERR_OK, later);
  assert_int_equal(core_count(EFFECT_COMMIT), 0);
  expect_drop_answered(1, ERR_ABSENT);
  drop(object, 2);
  read_done(token_of_read(), ERR_OK, NULL);
  expect_drop_answered(2, ERR_ABSENT);
  blob_put(later);
  blob_put(object);
  end();
}

static void a_drop_that_fails_says_so_and_the_object_stays(void **state) {
  (void)state;
  begin();
  own_nothing();
  struct blob *object = object_of(NULL, OTHER, "v");
  drop(object, 1);
  read_done(token_of_read(), ERR_OK, object);
  commit_done(token_of_commit(0), ERR_NOSPACE);
  expect_drop_answered(1, ERR_NOSPACE);
  drop(object, 2);
  read_done(token_of_read(), ERR_IO, NULL);
  expect_drop_answered(2, ERR_IO);
  blob_put(object);
  end();
}

/* Stamps the key, in layouts in which this node replicates it. */
static uint64_t stamp_as_owner(uint32_t epoch, uint64_t buckets_digest) {
  uint64_t token = 0;
  core.epoch = epoch;
  core.buckets_digest = buckets_digest;
  uint64_t incarnation = stamp(0, NULL, &token);
  commit_done(token, ERR_OK);
  core_drop_local();
  return incarnation;
}

static void drop_done(struct blob *object) {
  drop(object, 1);
  read_done(token_of_read(), ERR_OK, object);
  commit_done(token_of_commit(0), ERR_OK);
  core_drop_local();
}

static void the_incarnation_changes_once_with_what_is_replicated_if_something_has_been_dropped(void **state) {
  (void)state;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  assert_int_equal(stamp_as_owner(0, 1), INCARNATION);
  assert_int_equal(stamp_as_owner(1, 2), INCARNATION); /* changes alone take nothing from it */
  own_nothing();
  drop_done(object);
  own_again();
  uint64_t before = stamp_as_owner(1, 2); /* of other keys: the one dropped is not its own in these layouts */
  assert_int_equal(before, INCARNATION);
  uint64_t by_layout = stamp_as_owner(2, 2);
  assert_int_not_equal(by_layout, INCARNATION);
  assert_int_equal(stamp_as_owner(3, 2), by_layout);
  own_nothing();
  drop_done(object);
  own_again();
  uint64_t by_buckets = stamp_as_owner(3, 3);
  assert_int_not_equal(by_buckets, by_layout);
  assert_int_equal(stamp_as_owner(3, 3), by_buckets);
  assert_int_equal(core.stats.incarnations, 2);
  blob_put(object);
  end();
}

static void drops_of_different_layouts_are_all_remembered(void **state) {
  (void)state;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  own_nothing();
  drop_done(object);
  core.epoch = 1;
  drop_done(object); /* the first may be the node's again by now */
  own_again();
  assert_int_not_equal(stamp_as_owner(1, 0), INCARNATION);
  blob_put(object);
  end();
}

static void a_stamp_of_a_key_that_has_changed_hands_has_an_incarnation_of_its_own(void **state) {
  (void)state;
  begin();
  struct message answer = {0};
  uint64_t incarnations[2] = {0};
  for (uint32_t i = 0; i < 2; i++) {
    say(SELF, &(struct message){.type = MESSAGE_STAMP,
                                .flags = MESSAGE_BLIND,
                                .request = 9,
                                .key = blob_bytes(key),
                                .key_blob = key,
                                .object = text_bytes("v")});
    uint64_t read = token_of_read();
    core.epoch = 1; /* while it is read; at the second stamp, long before */
    own_nothing();
    read_done(read, ERR_OK, NULL);
    assert_true(core_local(&answer));
    incarnations[i] = answer.stamp_incarnation;
    commit_done(token_of_commit(0), ERR_OK);
    core_drop_local();
  }
  assert_int_not_equal(incarnations[0], INCARNATION);
  assert_int_not_equal(incarnations[1], INCARNATION);
  assert_int_not_equal(incarnations[0], incarnations[1]);
  own_again();
  assert_int_equal(stamp_as_owner(1, 0), INCARNATION);
  end();
}

static void what_the_node_owns_by_a_live_layout_is_not_dropped(void **state) {
  (void)state;
  static struct ring base;
  begin();
  struct blob *object = object_of(NULL, OTHER, "v");
  drop(object, 1);
  read_done(token_of_read(), ERR_OK, object);
  expect_drop_answered(1, ERR_STALE);
  base = core.ring;
  own_nothing();
  core.base = &base;
  drop(object, 2);
  read_done(token_of_read(), ERR_OK, object);
  expect_drop_answered(2, ERR_STALE);
  blob_put(object);
  end();
}

static void a_write_behind_a_drop_is_kept(void **state) {
  (void)state;
  begin();
  own_nothing();
  struct blob *object = object_of(NULL, OTHER, "v");
  struct blob *fresh = object_of(NULL, 3, "fresh");
  drop(object, 1);
  uint64_t read = token_of_read();
  write_object(fresh, 2, 0);
  read_done(read, ERR_OK, object);
  assert_int_equal(core_count(EFFECT_COMMIT), 2);
  uint64_t deletion = token_of_commit(0);
  uint64_t token = token_of_commit(1);
  assert_true(core_effect(EFFECT_COMMIT, 1)->commit.value == fresh);
  commit_done(deletion, ERR_OK);
  expect_drop_answered(1, ERR_OK);
  commit_done(token, ERR_OK);
  assert_int_equal(core_sent(OTHER, MESSAGE_WRITE_ACK)->flags, MESSAGE_DURABLE);
  blob_put(fresh);
  blob_put(object);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_who_wait_for_a_key_that_can_not_be_read_are_told_some_in_each_step),
      cmocka_unit_test(who_comes_while_others_are_being_refused_is_refused_too),
      cmocka_unit_test(a_damaged_write_is_answered_so_that_nobody_waits_for_it),
      cmocka_unit_test(a_write_is_acknowledged_when_its_commit_is_done_and_not_before),
      cmocka_unit_test(what_commits_that_failed_left_in_memory_does_not_count_as_stored),
      cmocka_unit_test(a_later_commit_makes_up_for_one_that_failed),
      cmocka_unit_test(a_write_that_must_be_synced_is_committed_though_an_unsynced_one_brought_the_same),
      cmocka_unit_test(a_stamp_whose_commit_fails_takes_the_incarnation_with_it),
      cmocka_unit_test(a_stand_in_stamps_anew_after_a_hint_is_given_away),
      cmocka_unit_test(an_offer_of_what_is_stored_here_is_answered_as_durable),
      cmocka_unit_test(an_offer_of_what_is_not_yet_on_disk_is_not_taken_for_held),
      cmocka_unit_test(an_offer_of_what_is_not_synced_is_not_taken_for_held),
      cmocka_unit_test(an_offer_of_a_hint_makes_no_sense),
      cmocka_unit_test(a_write_over_what_has_become_damaged_since_it_was_read_leaves_the_tree_right),
      cmocka_unit_test(a_hint_that_another_commit_makes_after_the_first_has_failed_is_counted_again),
      cmocka_unit_test(an_object_is_dropped_durably_and_then_it_is_said),
      cmocka_unit_test(an_object_that_has_changed_is_not_dropped),
      cmocka_unit_test(a_drop_that_fails_says_so_and_the_object_stays),
      cmocka_unit_test(the_incarnation_changes_once_with_what_is_replicated_if_something_has_been_dropped),
      cmocka_unit_test(drops_of_different_layouts_are_all_remembered),
      cmocka_unit_test(a_stamp_of_a_key_that_has_changed_hands_has_an_incarnation_of_its_own),
      cmocka_unit_test(what_the_node_owns_by_a_live_layout_is_not_dropped),
      cmocka_unit_test(a_write_behind_a_drop_is_kept),
      cmocka_unit_test(a_stamp_is_later_than_all_that_its_writer_and_its_replica_have_seen),
      cmocka_unit_test(what_comes_is_dead_when_it_is_below_the_floor_and_not_here),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
