/* The coordinator by itself: what its tests have in common. */
#ifndef GRAMME_TEST_COORD_STEP_H
#define GRAMME_TEST_COORD_STEP_H

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
static inline uint32_t own_place(void) {
  for (uint32_t i = 0; i < preference.count; i++) {
    if (preference.nodes[i] == SELF) {
      return i;
    }
  }
  return NOWHERE;
}

/* With a key in whose preference list this node stands at `place`: 0 is the first replica, 3 the first stand-in. */
static inline void begin(uint32_t members, uint32_t place) {
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

static inline bool is_settled(uint32_t epoch) {
  return coord_is_settled(coord, epoch);
}

static inline void end(void) {
  assert_true(is_settled(core.epoch + 1));
  assert_int_equal(coord_in_flight(coord), 0);
  assert_int_equal(coord_deadline(coord), HEAP_NEVER);
  blob_put(key);
  core_end();
  free(coord);
}

static inline void command(const struct command *command) {
  struct step step = core_step();
  coord_command(coord, &step, command);
}

static inline void say(uint32_t from, const struct message *message) {
  struct step step = core_step();
  coord_message(coord, &step, from, message);
}

static inline void tick_at(uint64_t now_ns) {
  core.now_ns = now_ns;
  struct step step = core_step();
  coord_tick(coord, &step);
}

static inline void go_down(uint32_t node) {
  core_set_up(node, false);
  struct step step = core_step();
  coord_peer_down(coord, &step, node);
}

static inline const struct reply *reply(void) {
  return core_count(EFFECT_REPLY) == 0 ? NULL : core_effect(EFFECT_REPLY, 0)->reply;
}

/* Takes the STAMP that was sent to the own replica, and returns its number. */
static inline uint64_t take_stamp(uint32_t *owner) {
  struct message message = {0};
  assert_true(core_local(&message));
  assert_int_equal(message.type, MESSAGE_STAMP);
  *owner = message.owner;
  return message.request;
}

static inline void stamped(uint64_t request, uint32_t owner) {
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

static inline void acknowledge(uint32_t from, uint64_t request, uint32_t owner, enum err err) {
  say(from, &(struct message){.type = MESSAGE_WRITE_ACK,
                              .flags = err == ERR_OK ? MESSAGE_DURABLE : 0,
                              .request = request,
                              .owner = owner,
                              .err = err});
}

static inline void put_wanting(uint8_t w, uint8_t pw, uint8_t dw) {
  command(&(struct command){.kind = COMMAND_PUT,
                            .token = 4,
                            .key = text_bytes(user_key),
                            .value = text_bytes("v"),
                            .blind = true,
                            .w = w,
                            .pw = pw,
                            .dw = dw});
}

static inline void put(uint8_t w) {
  put_wanting(w, QUORUM_DEFAULT, QUORUM_DEFAULT);
}

/* Gives the stamp that was asked of the own replica, which holds what it stamps and no hint. Returns its number. */
static inline uint64_t stamp_here(void) {
  uint32_t owner = 0;
  uint64_t request = take_stamp(&owner);
  assert_int_equal(owner, 0);
  stamped(request, 0);
  return request;
}

static inline uint64_t put_stamped(uint8_t w) {
  put(w);
  return stamp_here();
}

static inline struct message forward(uint64_t request, uint8_t w) {
  return (struct message){.type = MESSAGE_FORWARD,
                          .flags = MESSAGE_BLIND,
                          .request = request,
                          .hlc = core.hlc.last,
                          .key = blob_bytes(key),
                          .object = text_bytes("v"),
                          .options = {.w = w, .pw = QUORUM_DEFAULT, .dw = QUORUM_DEFAULT}};
}

#endif
