/* The floors of partitions: in effect when they are stored, gone as soon as keys may be missing. */
#include "support/core_step.h"

#include "replica/floors.h"

static struct floors *floors;
static struct shard_config config;

static void start(void) {
  floors = floors_init(aligned_alloc(64, floors_size()), &config);
}

static void look(void) {
  struct step step = core_step();
  floors_look(floors, &step);
}

/* Stores what is to be stored; what was written. */
static struct blob *stored(enum err err) {
  struct step step = core_step();
  floors_tick(floors, &step);
  struct blob *value = blob_get(core_effect(EFFECT_COMMIT, 0)->commit.value);
  floors_commit_done(floors, &step, err);
  return value;
}

static void begin(void) {
  core_begin(3);
  config = (struct shard_config){.node = SELF};
  start();
  look();
}

static void end(void) {
  free(floors);
  core_end();
}

static void a_floor_is_in_effect_when_it_is_durable_and_rises_only(void **state) {
  (void)state;
  begin();
  assert_true(floors_raise(floors, 1, 0, 100));
  assert_int_equal(floors_get(floors, 1), 0);
  assert_false(floors_are_stored(floors));
  blob_put(stored(ERR_IO));
  assert_int_equal(floors_get(floors, 1), 0);
  core.now_ns += 2000 * MS;
  blob_put(stored(ERR_OK));
  assert_int_equal(floors_get(floors, 1), 100);
  assert_true(floors_are_stored(floors));
  assert_true(floors_raise(floors, 1, 0, 99));
  assert_true(floors_are_stored(floors));
  assert_int_equal(floors_least(floors), 100);
  end();
}

static void a_reap_mark_is_never_above_the_floor(void **state) {
  (void)state;
  begin();
  floors_set_reap_mark(floors, 1, 100);
  assert_int_equal(floors_reap_mark(floors, 1), 0);
  assert_true(floors_raise(floors, 1, 0, 100));
  blob_put(stored(ERR_OK));
  uint64_t version = floors_reap_version(floors);
  floors_set_reap_mark(floors, 1, 150);
  assert_int_equal(floors_reap_mark(floors, 1), 100);
  assert_int_not_equal(floors_reap_version(floors), version);
  floors_forget(floors, 1);
  assert_int_equal(floors_reap_mark(floors, 1), 0);
  assert_int_equal(floors_get(floors, 1), 0);
  end();
}

static void floors_outlive_the_node_and_damaged_ones_are_known(void **state) {
  (void)state;
  begin();
  assert_true(floors_raise(floors, 2, 1, 77));
  struct blob *value = stored(ERR_OK);
  free(floors);
  config.floors = blob_bytes(value);
  start();
  look();
  assert_int_equal(floors_get(floors, 2), 77);
  assert_true(floors_are_sound(BYTES_NONE));
  assert_true(floors_are_sound(config.floors));
  for (uint32_t i = 0; i < value->size; i++) {
    value->data[i] ^= 1u;
    assert_false(floors_are_sound(blob_bytes(value)));
    value->data[i] ^= 1u;
    assert_false(floors_are_sound((struct bytes){value->data, value->size - 1 - i}) && i + 1 < value->size);
  }
  blob_put(value);
  config.floors = BYTES_NONE;
  end();
}

static void one_that_is_forgotten_while_it_is_stored_stays_forgotten(void **state) {
  (void)state;
  begin();
  assert_true(floors_raise(floors, 1, 0, 100));
  struct step step = core_step();
  floors_tick(floors, &step);
  assert_false(floors_raise(floors, 2, 0, 100));
  floors_forget(floors, 1);
  floors_commit_done(floors, &step, ERR_OK);
  assert_int_equal(floors_get(floors, 1), 0);
  assert_false(floors_are_stored(floors));
  end();
}

static void a_loss_takes_all_floors_once_and_those_made_since_outlive_a_restart(void **state) {
  (void)state;
  begin();
  assert_true(floors_raise(floors, 1, 0, 100));
  blob_put(stored(ERR_OK));
  struct step step = core_step();
  step.lost = 9;
  floors_look(floors, &step);
  assert_int_equal(floors_get(floors, 1), 0);
  blob_put(stored(ERR_OK));
  assert_true(floors_raise(floors, 1, 0, 50)); /* it has been checked against the others */
  struct blob *value = stored(ERR_OK);
  free(floors);
  config.floors = blob_bytes(value);
  start();
  floors_look(floors, &step);
  assert_int_equal(floors_get(floors, 1), 50);
  step.lost = 10; /* what was stored did not outlive the process: another loss */
  floors_look(floors, &step);
  assert_int_equal(floors_get(floors, 1), 0);
  blob_put(value);
  config.floors = BYTES_NONE;
  end();
}

static void what_was_forgotten_is_said_to_be_so_when_that_is_durable(void **state) {
  (void)state;
  begin();
  assert_true(floors_raise(floors, 1, 0, 100));
  struct step step = core_step();
  floors_tick(floors, &step); /* being stored: the forgetting comes behind it */
  assert_true(floors_has_forgotten(floors, 1));
  floors_forget(floors, 1);
  floors_commit_done(floors, &step, ERR_OK);
  assert_false(floors_has_forgotten(floors, 1));
  blob_put(stored(ERR_IO));
  assert_false(floors_has_forgotten(floors, 1));
  core.now_ns += 2000 * MS;
  blob_put(stored(ERR_OK));
  assert_true(floors_has_forgotten(floors, 1));
  end();
}

static struct blob *key_of(const char *text) {
  uint8_t bytes[64];
  struct bytes user_key = text_bytes(text);
  struct position position = position_of_key(user_key);
  position_write(position, bytes);
  memcpy(bytes + POSITION_BYTES, user_key.data, user_key.size);
  return blob_copy(&core.pool, (struct bytes){bytes, POSITION_BYTES + user_key.size});
}

static void put_bucket(uint8_t n, uint64_t time) {
  struct bucket bucket = {.time = time, .issuer = 1, .name_size = 4, .name = "pair", .props = bucket_props_default()};
  bucket.props.n = bucket.props.r = bucket.props.w = n;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  core.buckets_digest = bucket_table_digest(&core.buckets);
  look();
}

static void a_floor_does_not_speak_of_what_the_nodes_place_does_not_give_it_any_more(void **state) {
  (void)state;
  begin();
  put_bucket(2, 1);
  struct blob *pair = key_of("pair:1");
  struct blob *three = key_of("three{pair:1}");
  uint32_t partition = position_partition(position_read(pair->data), core.ring.partition_count);
  struct step step = core_step();
  assert_true(floors_raise(floors, partition, 1, 100));
  blob_put(stored(ERR_OK));
  assert_int_equal(floors_of_key(floors, &step, blob_bytes(pair)), 100);
  assert_int_equal(floors_above(floors, partition, 1), 100);
  floors_narrow(floors, partition, 1);
  assert_true(floors_are_stored(floors));
  floors_narrow(floors, partition, 2);
  assert_false(floors_are_stored(floors));
  struct blob *value = stored(ERR_OK);
  assert_true(floors_are_stored(floors));
  assert_int_equal(floors_of_key(floors, &step, blob_bytes(pair)), 0);
  assert_int_equal(floors_of_key(floors, &step, blob_bytes(three)), 100);
  assert_int_equal(floors_above(floors, partition, 1), 0);
  assert_int_equal(floors_above(floors, partition, 2), 100);
  free(floors);
  config.floors = blob_bytes(value);
  start();
  look();
  assert_int_equal(floors_of_key(floors, &step, blob_bytes(pair)), 0);
  assert_int_equal(floors_of_key(floors, &step, blob_bytes(three)), 100);
  put_bucket(3, 2); /* whose keys have gone meanwhile */
  assert_int_equal(floors_get(floors, partition), 0);
  blob_put(value);
  blob_put(pair);
  blob_put(three);
  config.floors = BYTES_NONE;
  end();
}

static void with_another_n_a_floor_stays_only_where_all_keys_were_held(void **state) {
  (void)state;
  begin();
  assert_true(floors_raise(floors, 1, 2, 100));
  blob_put(stored(ERR_OK));
  struct bucket bucket = {.time = 1, .issuer = 1, .name_size = 4, .name = "pair", .props = bucket_props_default()};
  bucket.props.n = bucket.props.r = bucket.props.w = 2;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  core.buckets_digest = bucket_table_digest(&core.buckets);
  look();
  assert_int_equal(floors_get(floors, 1), 100); /* n was 3 for all: of rank 2, and had all */
  bucket.time = 2;
  bucket.props.n = 3;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  core.buckets_digest = bucket_table_digest(&core.buckets);
  look();
  assert_int_equal(floors_get(floors, 1), 0); /* it gets the keys of a bucket that it had none of */
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_floor_is_in_effect_when_it_is_durable_and_rises_only),
      cmocka_unit_test(a_reap_mark_is_never_above_the_floor),
      cmocka_unit_test(floors_outlive_the_node_and_damaged_ones_are_known),
      cmocka_unit_test(one_that_is_forgotten_while_it_is_stored_stays_forgotten),
      cmocka_unit_test(a_floor_does_not_speak_of_what_the_nodes_place_does_not_give_it_any_more),
      cmocka_unit_test(with_another_n_a_floor_stays_only_where_all_keys_were_held),
      cmocka_unit_test(a_loss_takes_all_floors_once_and_those_made_since_outlive_a_restart),
      cmocka_unit_test(what_was_forgotten_is_said_to_be_so_when_that_is_durable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
