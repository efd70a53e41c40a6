/* A damaged record is made whole from the other replicas: what it becomes, and what that does to the partition's floor.
 * Rounds of the scrub, and whom it waits for, are the simulator's. */
#include "support/core_floor.h"

#include "scrub/scrub.h"

#define BITS 8u

static struct scrub *scrub;
static struct growth *growth;
static struct floors *floors;
static void *tree_memory;
static struct blob *key;
static uint32_t others[2];

static void begin(void) {
  core_begin(3);
  struct shard_config config = {.tree_memory = calloc(1, tree_memory_bytes(BITS)), .tree_bits = BITS};
  void *floors_memory = aligned_alloc(64, floors_size());
  void *scrub_memory = aligned_alloc(64, scrub_size());
  assert_non_null(floors_memory);
  assert_non_null(scrub_memory);
  tree_memory = config.tree_memory;
  growth = growth_init(aligned_alloc(64, growth_size()), &config);
  floors = floors_init(floors_memory, &config);
  scrub = scrub_init(scrub_memory, &config, growth, floors, 7);
  key = store_key("k");
  others[0] = 2;
  others[1] = 3;
}

static void end(void) {
  blob_put(key);
  scrub_deinit(scrub);
  core_end();
  free(scrub);
  free(growth);
  free(floors);
  free(tree_memory);
}

/* The record is found damaged; the number of the question to the others. */
static uint64_t damaged(void) {
  struct step step = core_step();
  struct message message = {.type = MESSAGE_DAMAGED, .key = blob_bytes(key), .key_blob = key};
  scrub_message(scrub, &step, SELF, &message);
  assert_non_null(core_sent(others[1], MESSAGE_READ));
  return core_sent(others[0], MESSAGE_READ)->request;
}

static void answer(uint32_t from, uint64_t request, struct blob *object, uint64_t floor) {
  struct step step = core_step();
  struct message message = {.type = MESSAGE_READ_REPLY,
                            .request = request,
                            .floor = floor,
                            .object = blob_bytes(object),
                            .object_blob = object};
  scrub_message(scrub, &step, from, &message);
}

static void tick_when_due(void) {
  uint64_t due_ns = scrub_deadline(scrub);
  core.now_ns = due_ns > core.now_ns ? due_ns : core.now_ns;
  struct step step = core_step();
  scrub_tick(scrub, &step);
}

static struct message restored(void) {
  struct message message = {0};
  assert_true(core_local(&message));
  assert_int_equal(message.type, MESSAGE_RESTORE);
  return message;
}

static void a_floor_stays_that_one_of_the_others_has_too(void **state) {
  (void)state;
  begin();
  floor_set(floors, blob_bytes(key), 100);
  uint64_t request = damaged();
  answer(others[0], request, NULL, 100);
  answer(others[1], request, NULL, 0);
  struct message restore = restored();
  assert_int_equal(restore.err, ERR_OK);
  assert_int_equal(restore.object.size, 0);
  assert_int_equal(floors_get(floors, partition_of(blob_bytes(key))), 100);
  end();
}

static void a_floor_that_nobody_else_has_is_gone_durably_before_the_record_is(void **state) {
  (void)state;
  begin();
  floor_set(floors, blob_bytes(key), 100);
  uint64_t request = damaged();
  answer(others[0], request, NULL, 99);
  answer(others[1], request, NULL, 0);
  assert_int_equal(floors_get(floors, partition_of(blob_bytes(key))), 0);
  tick_when_due();
  assert_int_equal(core.local.count, 0); /* it is not stored yet */
  floors_store(floors);
  tick_when_due();
  assert_int_equal(restored().err, ERR_OK);
  end();
}

static void a_floor_that_can_not_be_stored_as_gone_leaves_the_record_damaged(void **state) {
  (void)state;
  begin();
  floor_set(floors, blob_bytes(key), 100);
  uint64_t request = damaged();
  uint64_t begun_ns = core.now_ns;
  answer(others[0], request, NULL, 0);
  answer(others[1], request, NULL, 0);
  while (core.local.count == 0) {
    tick_when_due();
  }
  assert_int_equal(restored().err, ERR_CORRUPT);
  assert_true(core.now_ns <= begun_ns + 1000 * MS);
  end();
}

static void what_one_of_the_others_knows_to_be_dead_does_not_come_back(void **state) {
  (void)state;
  begin();
  struct blob *dead = object_of(NULL, 3, "dead");
  uint64_t floor = core.hlc.last;
  for (uint32_t i = 0; i < 2; i++) { /* whoever answers first */
    uint64_t request = damaged();
    answer(others[i], request, i == 0 ? NULL : dead, i == 0 ? floor : 0);
    answer(others[1 - i], request, i == 0 ? dead : NULL, i == 0 ? 0 : floor);
    struct message restore = restored();
    assert_int_equal(restore.err, ERR_OK);
    assert_int_equal(restore.object.size, 0);
  }
  uint64_t request = damaged();
  answer(others[0], request, NULL, floor - 1);
  answer(others[1], request, dead, 0);
  assert_true(bytes_equal(restored().object, blob_bytes(dead)));
  core_drop_local();
  blob_put(dead);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_floor_stays_that_one_of_the_others_has_too),
      cmocka_unit_test(a_floor_that_nobody_else_has_is_gone_durably_before_the_record_is),
      cmocka_unit_test(a_floor_that_can_not_be_stored_as_gone_leaves_the_record_damaged),
      cmocka_unit_test(what_one_of_the_others_knows_to_be_dead_does_not_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
