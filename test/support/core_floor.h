/* Floors of a module that is tested by itself: made, stored, and in effect. */
#ifndef GRAMME_TEST_CORE_FLOOR_H
#define GRAMME_TEST_CORE_FLOOR_H

#include "support/core_step.h"

#include "replica/floors.h"

static inline uint32_t partition_of(struct bytes store_key) {
  return position_partition(position_read(store_key.data), core.ring.partition_count);
}

/* Stores what is to be stored; were there no changes, the test fails. */
static inline void floors_store(struct floors *floors) {
  struct step step = core_step();
  floors_tick(floors, &step);
  assert_int_equal(core_count(EFFECT_COMMIT), 1);
  floors_commit_done(floors, &step, ERR_OK);
}

static inline void floor_set(struct floors *floors, struct bytes store_key, uint64_t floor) {
  struct step step = core_step();
  floors_look(floors, &step);
  assert_true(floors_raise(floors, partition_of(store_key), 0, floor));
  floors_store(floors);
  assert_true(floors_of_key(floors, &step, store_key) == floor);
}

#endif
