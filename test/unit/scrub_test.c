/* Damage, as one replica meets it: a record that can not be read is made whole from all others or stays as it is, and
 * what is stored is read again, place by place. The replica is the real one; its peers and its disk are the test. */
#include "support/core_step.h"

#include <stdio.h>

#include "replica/replica.h"
#include "scrub/scrub.h"

#define SECOND (1000 * MS)
#define ROUND (3600 * SECOND)
#define TREE_BITS 8u
#define FIRST_PEER 2u
#define SECOND_PEER 3u

static struct replica *replica;
static struct growth *growth;
static struct scrub *scrub;
static struct floors *floors;
static void *tree_memory;
static struct blob *key; /* the one that all is about */

static void begin_at(const char *place) {
  core_begin(3);
  struct actor actor = {.incarnation = 11, .node = SELF};
  struct shard_config config = {
      .tree_memory = calloc(1, tree_memory_bytes(TREE_BITS)), .tree_bits = TREE_BITS, .scrub = text_bytes(place)};
  tree_memory = config.tree_memory;
  growth = growth_init(aligned_alloc(64, growth_size()), &config);
  void *memory = aligned_alloc(64, floors_size());
  assert_non_null(memory);
  floors = floors_init(memset(memory, 0, floors_size()), &config);
  replica = replica_init(aligned_alloc(64, replica_size()), actor, 77, 3, growth, floors);
  scrub = scrub_init(aligned_alloc(64, scrub_size()), &config, growth, floors, 1);
  key = store_key("k");
}

static void begin(void) {
  begin_at("");
}

static void end(void) {
  scrub_deinit(scrub);
  assert_true(replica_is_idle(replica));
  blob_put(key);
  core_end();
  free(scrub);
  free(floors);
  free(replica);
  free(growth);
  free(tree_memory);
}

static void say(uint32_t from, const struct message *message) {
  struct step step = core_step();
  replica_message(replica, &step, from, message);
}

static void ask(uint64_t request, uint8_t flags) {
  say(FIRST_PEER,
      &(struct message){
          .type = MESSAGE_READ, .flags = flags, .request = request, .key = blob_bytes(key), .key_blob = key});
}

/* What the storage says to the read that the last step began. */
static void disk_says(enum err err, struct blob *value) {
  uint64_t token = core_effect(EFFECT_READ, 0)->read.token;
  struct step step = core_step();
  replica_read_done(replica, &step, token, err, value);
}

/* The next message of the node to itself goes where the shard would take it; its type. */
static enum message_type pass_on(void) {
  struct message message = {0};
  assert_true(core_local(&message));
  struct step step = core_step();
  if (message.type == MESSAGE_RESTORE) {
    replica_restore(replica, &step, &message);
  } else {
    assert_int_equal(message.type, MESSAGE_DAMAGED);
    scrub_message(scrub, &step, SELF, &message);
  }
  return message.type;
}

/* Has the record found damaged while a get of a peer waits, and all others asked for theirs. Their numbers. */
static uint64_t find_damage(void) {
  ask(1, MESSAGE_COUNTS | MESSAGE_FULL);
  disk_says(ERR_CORRUPT, NULL);
  assert_int_equal(core.effects.count, 0); /* it waits */
  assert_int_equal(pass_on(), MESSAGE_DAMAGED);
  const struct message *first = core_sent(FIRST_PEER, MESSAGE_READ);
  const struct message *second = core_sent(SECOND_PEER, MESSAGE_READ);
  assert_non_null(first);
  assert_non_null(second);
  assert_int_equal(first->flags, MESSAGE_FULL); /* for what it is: nobody's quorum */
  assert_true(scrub_owns_request(first->request));
  assert_int_equal(first->request, second->request);
  return first->request;
}

static void answer(uint32_t from, uint64_t request, enum err err, struct blob *object) {
  struct step step = core_step();
  struct message reply = {.type = MESSAGE_READ_REPLY,
                          .request = request,
                          .err = err,
                          .key = blob_bytes(key),
                          .object = blob_bytes(object),
                          .object_blob = object};
  scrub_message(scrub, &step, from, &reply);
}

static void commit_done(enum err err) {
  uint64_t token = core_effect(EFFECT_COMMIT, 0)->commit.token;
  struct step step = core_step();
  replica_commit_done(replica, &step, token, err);
}

static uint32_t siblings_of(struct bytes encoded) {
  struct object object;
  assert_int_equal(object_open(&object, encoded), ERR_OK);
  return object.sibling_count;
}

/* The get that found the damage was answered in this step, with so many siblings. */
static void assert_answered(uint64_t request, enum err err, uint32_t siblings) {
  const struct message *reply = core_sent(FIRST_PEER, MESSAGE_READ_REPLY);
  assert_non_null(reply);
  assert_int_equal(reply->request, request);
  assert_int_equal(reply->err, err);
  assert_int_equal(reply->object.size == 0 ? 0 : siblings_of(reply->object), siblings);
}

/* -- making whole ---------------------------------------------------------------------------------- */

static void a_damaged_record_is_stored_again_with_all_that_the_others_have(void **state) {
  (void)state;
  begin();
  struct blob *milk = object_of(NULL, FIRST_PEER, "milk");
  struct blob *bread = object_of(NULL, SECOND_PEER, "bread");
  uint64_t request = find_damage();
  answer(FIRST_PEER, request, ERR_OK, milk);
  assert_int_equal(core.local.count, 0); /* not by one of them alone */
  answer(SECOND_PEER, request, ERR_OK, bread);
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  assert_answered(1, ERR_OK, 2);
  const struct effect *commit = core_effect(EFFECT_COMMIT, 0);
  assert_int_equal(siblings_of(blob_bytes(commit->commit.value)), 2);
  assert_true(commit->commit.sync);
  commit_done(ERR_OK);
  assert_int_equal(core.stats.damaged, 1);
  assert_int_equal(core.stats.healed, 1);
  assert_int_equal(core.stats.damaged_lost, 0);
  assert_int_equal(core.stats.incarnations, 1); /* dots that only the damaged record knew are lost */
  blob_put(milk);
  blob_put(bread);
  end();
}

static void a_record_that_nobody_else_has_is_gone_and_counted(void **state) {
  (void)state;
  begin();
  uint64_t request = find_damage();
  answer(FIRST_PEER, request, ERR_OK, NULL);
  answer(SECOND_PEER, request, ERR_OK, NULL);
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  assert_answered(1, ERR_OK, 0);
  assert_null(core_effect(EFFECT_COMMIT, 0)->commit.value);
  commit_done(ERR_OK);
  assert_int_equal(core.stats.healed, 0);
  assert_int_equal(core.stats.damaged_lost, 1);
  end();
}

static void a_copy_that_is_damaged_too_adds_nothing(void **state) {
  (void)state;
  begin();
  struct blob *bread = object_of(NULL, SECOND_PEER, "bread");
  uint64_t request = find_damage();
  answer(FIRST_PEER, request, ERR_CORRUPT, NULL);
  answer(SECOND_PEER, request, ERR_OK, bread);
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  assert_answered(1, ERR_OK, 1);
  commit_done(ERR_OK);
  assert_int_equal(core.stats.healed, 1);
  blob_put(bread);
  end();
}

/* Nothing is decided: who waited is told, the record stays what it is, and the next one has it tried anew. */
static void assert_given_up(void) {
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  assert_answered(1, ERR_CORRUPT, 0);
  assert_int_equal(core_count(EFFECT_COMMIT), 0);
  assert_int_equal(core.stats.healed + core.stats.damaged_lost, 0);
  (void)find_damage();
  struct blob *bread = object_of(NULL, SECOND_PEER, "bread");
  uint64_t again = core_sent(FIRST_PEER, MESSAGE_READ)->request;
  answer(FIRST_PEER, again, ERR_OK, bread);
  answer(SECOND_PEER, again, ERR_OK, bread);
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  assert_answered(1, ERR_OK, 1);
  commit_done(ERR_OK);
  blob_put(bread);
}

static void a_record_stays_damaged_while_another_replica_is_down(void **state) {
  (void)state;
  begin();
  core_set_up(SECOND_PEER, false);
  ask(1, MESSAGE_COUNTS | MESSAGE_FULL);
  disk_says(ERR_CORRUPT, NULL);
  assert_int_equal(pass_on(), MESSAGE_DAMAGED);
  assert_int_equal(core.effects.count, 0); /* nobody is asked */
  core_set_up(SECOND_PEER, true);
  assert_given_up();
  end();
}

static void a_record_stays_damaged_when_another_replica_says_nothing(void **state) {
  (void)state;
  begin();
  struct blob *milk = object_of(NULL, FIRST_PEER, "milk");
  uint64_t request = find_damage();
  answer(FIRST_PEER, request, ERR_OK, milk);
  for (uint32_t i = 0; i < 20 && core.local.count == 0; i++) {
    struct step step = core_step();
    scrub_tick(scrub, &step);
    core.now_ns = core.local.count == 0 ? scrub_deadline(scrub) : core.now_ns;
  }
  answer(SECOND_PEER, request, ERR_OK, milk); /* too late */
  assert_int_equal(core.stats.messages_late, 1);
  assert_given_up();
  blob_put(milk);
  end();
}

static void a_record_stays_damaged_when_another_replica_fails(void **state) {
  (void)state;
  begin();
  answer(SECOND_PEER, find_damage(), ERR_BUSY, NULL);
  assert_given_up();
  end();
}

static void answers_that_nobody_waits_for_change_nothing(void **state) {
  (void)state;
  begin();
  struct blob *milk = object_of(NULL, FIRST_PEER, "milk");
  uint64_t request = find_damage();
  answer(FIRST_PEER, request, ERR_OK, milk);
  answer(FIRST_PEER, request, ERR_OK, milk);      /* twice */
  answer(9, request, ERR_OK, milk);               /* not a replica */
  answer(SECOND_PEER, request + 1, ERR_OK, milk); /* of another record */
  answer(SECOND_PEER, request | 0xffffu, ERR_OK, milk);
  assert_int_equal(core.stats.messages_late, 4);
  assert_int_equal(core.local.count, 0);
  answer(SECOND_PEER, request, ERR_OK, milk);
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  commit_done(ERR_OK);
  blob_put(milk);
  end();
}

/* It might wait for the same of us. */
static void a_replica_that_mends_its_own_copy_is_not_kept_waiting(void **state) {
  (void)state;
  begin();
  uint64_t request = find_damage();
  ask(2, MESSAGE_FULL);
  assert_answered(2, ERR_CORRUPT, 0);
  answer(FIRST_PEER, request, ERR_OK, NULL);
  answer(SECOND_PEER, request, ERR_OK, NULL);
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  commit_done(ERR_OK);
  end();
}

static void what_is_written_meanwhile_is_merged_with_what_the_others_have(void **state) {
  (void)state;
  begin();
  struct blob *milk = object_of(NULL, FIRST_PEER, "milk");
  struct blob *bread = object_of(NULL, SECOND_PEER, "bread");
  uint64_t request = find_damage();
  say(FIRST_PEER, &(struct message){.type = MESSAGE_WRITE,
                                    .request = 5,
                                    .key = blob_bytes(key),
                                    .key_blob = key,
                                    .object = blob_bytes(milk),
                                    .object_blob = milk});
  assert_int_equal(core.effects.count, 0);
  answer(FIRST_PEER, request, ERR_OK, NULL);
  answer(SECOND_PEER, request, ERR_OK, bread);
  assert_int_equal(pass_on(), MESSAGE_RESTORE);
  assert_int_equal(core_count(EFFECT_COMMIT), 2);
  assert_int_equal(siblings_of(blob_bytes(core_effect(EFFECT_COMMIT, 0)->commit.value)), 1);
  assert_int_equal(siblings_of(blob_bytes(core_effect(EFFECT_COMMIT, 1)->commit.value)), 2);
  uint64_t tokens[2] = {core_effect(EFFECT_COMMIT, 0)->commit.token, core_effect(EFFECT_COMMIT, 1)->commit.token};
  for (uint32_t i = 0; i < 2; i++) {
    struct step step = core_step();
    replica_commit_done(replica, &step, tokens[i], ERR_OK);
    assert_true((core_sent(FIRST_PEER, MESSAGE_WRITE_ACK) != NULL) == (i == 1));
  }
  blob_put(milk);
  blob_put(bread);
  end();
}

static void only_so_many_records_are_made_whole_at_one_time(void **state) {
  (void)state;
  begin();
  struct blob *keys[HEALS_MAX + 1];
  struct message message;
  for (uint32_t i = 0; i < HEALS_MAX + 1; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "key%u", i);
    keys[i] = store_key(name);
    struct step step = core_step();
    struct message damaged = {.type = MESSAGE_DAMAGED, .key = blob_bytes(keys[i]), .key_blob = keys[i]};
    scrub_message(scrub, &step, SELF, &damaged);
    assert_int_equal(core.local.count, i < HEALS_MAX ? 0 : 1);
  }
  assert_true(core_local(&message));
  assert_int_equal(message.type, MESSAGE_RESTORE);
  assert_int_equal(message.err, ERR_BUSY);
  for (uint32_t i = 0; i < HEALS_MAX + 1; i++) {
    blob_put(keys[i]);
  }
  end();
}

/* -- reading again ----------------------------------------------------------------------------------- */

/* Ticks at each deadline until a scan begins; where it begins, and when. */
static struct position scan_wait(void) {
  for (uint32_t i = 0; i < 20; i++) {
    struct step step = core_step();
    scrub_tick(scrub, &step);
    if (core_count(EFFECT_SCAN) > 0) {
      return position_read(core_effect(EFFECT_SCAN, 0)->scan.from->data);
    }
    core.now_ns = scrub_deadline(scrub);
  }
  fail_msg("nothing was read again");
  return (struct position){0, 0};
}

static struct scan_entry entry_at(uint64_t high, struct blob *value) {
  struct blob *place = blob_new(&core.pool, POSITION_BYTES);
  assert_non_null(place);
  position_write((struct position){high, 0}, place->data);
  return (struct scan_entry){.key = place, .value = value};
}

static void scanned(const struct scan_entry *entries, uint32_t count, bool end_of_space, bool gap, enum err err) {
  struct event event = {.kind = EVENT_SCAN_DONE};
  event.scan.token = token_make(TOKEN_SCRUB, 0);
  event.scan.entries = entries;
  event.scan.count = count;
  event.scan.end = end_of_space;
  event.scan.gap = gap;
  event.scan.err = err;
  struct step step = core_step();
  scrub_scan_done(scrub, &step, &event);
}

static struct scrub_view look(void) {
  struct scrub_view view;
  scrub_look(scrub, core.now_ns, core.tunables.scrub_round_ns, &view);
  return view;
}

static void no_round_is_begun_where_none_is_wanted(void **state) {
  (void)state;
  begin();
  for (uint32_t i = 0; i < 100; i++) {
    struct step step = core_step();
    scrub_tick(scrub, &step);
    assert_int_equal(core.effects.count, 0);
    core.now_ns = scrub_deadline(scrub);
  }
  assert_false(look().running);
  end();
}

static void a_round_goes_through_all_positions_in_its_time(void **state) {
  (void)state;
  begin();
  core.tunables.scrub_round_ns = ROUND;
  struct blob *value = object_of(NULL, FIRST_PEER, "milk");
  uint64_t begun_ns = core.now_ns;
  for (uint64_t quarter = 0; quarter < 4; quarter++) {
    struct position from = scan_wait();
    assert_int_equal(from.high, quarter << 62u);
    assert_in_range(core.now_ns - begun_ns, ROUND / 4 * quarter, ROUND / 4 * quarter + SECOND);
    assert_in_range(look().per_mille, quarter * 250, quarter * 250 + 1);
    struct scan_entry entry = entry_at((quarter + 1) << 62u, value);
    bool last = quarter == 3;
    scanned(&entry, last ? 0 : 1, last, false, ERR_OK);
    blob_put(entry.key);
    if (core_count(EFFECT_COMMIT) > 0) {
      struct step step = core_step();
      scrub_commit_done(scrub, &step, ERR_OK);
    }
  }
  assert_int_equal(core.stats.scrub_rounds, 1);
  assert_int_equal(core.stats.scrub_gaps, 0);
  assert_true(core.stats.scrub_bytes > UINT64_C(3) * POSITION_BYTES);
  assert_int_equal(look().whole_age_ms, 1);
  struct position from = scan_wait(); /* and again */
  assert_int_equal(from.high, 0);
  assert_in_range(core.now_ns - begun_ns, ROUND, ROUND + SECOND);
  scanned(NULL, 0, true, false, ERR_OK);
  blob_put(value);
  end();
}

static void a_restart_goes_on_from_the_place_that_was_stored(void **state) {
  (void)state;
  begin();
  core.tunables.scrub_round_ns = ROUND;
  struct blob *value = object_of(NULL, FIRST_PEER, "milk");
  (void)scan_wait();
  struct scan_entry entry = entry_at(UINT64_C(3) << 62u, value);
  scanned(&entry, 1, false, false, ERR_OK);
  const struct effect *commit = core_effect(EFFECT_COMMIT, 0);
  assert_int_equal(commit->commit.space, SPACE_META);
  char stored[64];
  struct bytes bytes = blob_bytes(commit->commit.value);
  assert_true(bytes.size <= sizeof stored);
  memcpy(stored, bytes.data, bytes.size);
  struct step step = core_step();
  scrub_commit_done(scrub, &step, ERR_OK);
  blob_put(entry.key);
  blob_put(value);
  struct shard_config config = {.scrub = {(const uint8_t *)stored, bytes.size}};
  scrub_deinit(scrub);
  memset(scrub, 0, scrub_size());
  scrub = scrub_init(scrub, &config, growth, floors, 2);
  assert_int_equal(scan_wait().high, UINT64_C(3) << 62u);
  scanned(NULL, 0, true, false, ERR_OK);
  end();
}

static void a_place_that_makes_no_sense_is_the_beginning(void **state) {
  (void)state;
  begin_at("\x02nonsense");
  core.tunables.scrub_round_ns = ROUND;
  assert_int_equal(scan_wait().high, 0);
  scanned(NULL, 0, true, false, ERR_OK);
  end();
}

static void grow(void) {
  struct step step = core_step();
  growth_look(growth, &step);
  growth_tick(growth, &step);
  struct event event = {.kind = EVENT_SCAN_DONE};
  event.scan.token = token_make(TOKEN_GROWTH, 0);
  event.scan.end = true;
  step = core_step();
  growth_scan_done(growth, &step, &event);
  assert_true(growth_is_whole(growth));
}

/* The other replicas tell which keys lie there. */
static void what_can_not_be_read_is_taken_out_of_the_tree(void **state) {
  (void)state;
  begin();
  core.tunables.scrub_round_ns = ROUND;
  struct blob *value = object_of(NULL, FIRST_PEER, "milk");
  struct blob *nonsense = blob_copy(&core.pool, text_bytes("nonsense"));
  struct scan_entry sound = entry_at(UINT64_C(1) << 62u, value);
  struct scan_entry unsound = entry_at(UINT64_C(1) << 63u, nonsense);
  grow();
  (void)scan_wait();
  scanned(&sound, 1, false, false, ERR_OK);
  assert_true(growth_is_whole(growth));
  struct step step = core_step();
  scrub_commit_done(scrub, &step, ERR_OK);
  (void)scan_wait();
  scanned(&unsound, 1, false, true, ERR_OK); /* the gap before it, and what it says itself */
  assert_false(growth_is_whole(growth));
  assert_int_equal(core.stats.scrub_gaps, 2);
  step = core_step();
  scrub_commit_done(scrub, &step, ERR_OK);
  blob_put(sound.key);
  blob_put(unsound.key);
  blob_put(value);
  blob_put(nonsense);
  end();
}

static void a_scan_that_fails_is_tried_again_from_the_same_place(void **state) {
  (void)state;
  begin();
  core.tunables.scrub_round_ns = ROUND;
  (void)scan_wait();
  scanned(NULL, 0, false, false, ERR_IO);
  assert_int_equal(core.stats.store_errors, 1);
  assert_int_equal(core.stats.scrub_rounds, 0);
  uint64_t failed_ns = core.now_ns;
  assert_int_equal(scan_wait().high, 0);
  assert_true(core.now_ns >= failed_ns + SECOND);
  scanned(NULL, 0, true, false, ERR_OK);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_damaged_record_is_stored_again_with_all_that_the_others_have),
      cmocka_unit_test(a_record_that_nobody_else_has_is_gone_and_counted),
      cmocka_unit_test(a_copy_that_is_damaged_too_adds_nothing),
      cmocka_unit_test(a_record_stays_damaged_while_another_replica_is_down),
      cmocka_unit_test(a_record_stays_damaged_when_another_replica_says_nothing),
      cmocka_unit_test(a_record_stays_damaged_when_another_replica_fails),
      cmocka_unit_test(answers_that_nobody_waits_for_change_nothing),
      cmocka_unit_test(a_replica_that_mends_its_own_copy_is_not_kept_waiting),
      cmocka_unit_test(what_is_written_meanwhile_is_merged_with_what_the_others_have),
      cmocka_unit_test(only_so_many_records_are_made_whole_at_one_time),
      cmocka_unit_test(no_round_is_begun_where_none_is_wanted),
      cmocka_unit_test(a_round_goes_through_all_positions_in_its_time),
      cmocka_unit_test(a_restart_goes_on_from_the_place_that_was_stored),
      cmocka_unit_test(a_place_that_makes_no_sense_is_the_beginning),
      cmocka_unit_test(what_can_not_be_read_is_taken_out_of_the_tree),
      cmocka_unit_test(a_scan_that_fails_is_tried_again_from_the_same_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
