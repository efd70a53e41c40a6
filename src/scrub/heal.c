/* Damaged records, each made whole from all other replicas of its key: see scrub.h. */
#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "scrub/state.h"
#include "version/bucket.h"
#include "version/prune.h"

#define HEAL_ANSWER_NS UINT64_C(1000000000) /* silence after which it is given up */
#define HEAL_LOOK_NS UINT64_C(5000000)      /* between looks whether the floor is gone */

static uint64_t heal_request(const struct scrub *scrub, const struct heal *heal) {
  return (uint64_t)SCRUB_TAG << SCRUB_TAG_BITS | (uint64_t)heal->generation << SCRUB_GENERATION_BITS |
         (uint64_t)(heal - scrub->heals);
}

static void heal_free(struct scrub *scrub, struct heal *heal) {
  ASSERT(heal->key != NULL && scrub->healing > 0);
  blob_put(heal->key);
  blob_put(heal->object);
  *heal = (struct heal){.key = NULL};
  scrub->healing -= 1;
}

void heals_reset(struct scrub *scrub) {
  for (uint32_t i = 0; i < HEALS_MAX; i++) {
    if (scrub->heals[i].key != NULL) {
      heal_free(scrub, &scrub->heals[i]);
    }
  }
}

static void tell(struct step *step, struct bytes key, struct blob *key_blob, enum err err, struct blob *object) {
  struct message restore = {
      .type = MESSAGE_RESTORE,
      .err = err,
      .key = key,
      .key_blob = key_blob,
      .object = blob_bytes(object),
      .object_blob = object,
  };
  step_send(step, step->self, &restore);
}

/* May this node's claim to know all stand without the record? If not it goes; false until that is durable. */
static bool floor_look(struct scrub *scrub, const struct step *step, const struct heal *heal) {
  struct bytes key = blob_bytes(heal->key);
  uint32_t partition = position_partition(position_read(key.data), step->ring->partition_count);
  if (floors_of_key(scrub->floors, step, key) > heal->floor) {
    floors_forget(scrub->floors, partition);
  }
  return floors_has_forgotten(scrub->floors, partition);
}

static void heal_end(struct scrub *scrub, struct step *step, struct heal *heal, enum err err) {
  tell(step, blob_bytes(heal->key), heal->key, err, err == ERR_OK ? heal->object : NULL);
  heal_free(scrub, heal);
}

/* All have answered: it ends at once, or when the floor is gone. */
static void heal_look(struct scrub *scrub, struct step *step, struct heal *heal) {
  ASSERT(heal->open == 0);
  if (floor_look(scrub, step, heal)) {
    heal_end(scrub, step, heal, ERR_OK);
  } else {
    heal->look_ns = step->now_ns + HEAL_LOOK_NS;
  }
}

static struct bucket_props key_props(const struct step *step, struct bytes key) {
  ASSERT(key.size >= POSITION_BYTES);
  return bucket_find(step->buckets,
                     bucket_of_key((struct bytes){key.data + POSITION_BYTES, key.size - POSITION_BYTES}));
}

static void node_add(struct heal *heal, const struct step *step, uint32_t node) {
  for (uint32_t i = 0; i < heal->count; i++) {
    if (heal->nodes[i] == node) {
      return;
    }
  }
  if (node != step->self) {
    ASSERT(heal->count < HEAL_NODES_MAX);
    heal->nodes[heal->count] = node;
    heal->count += 1;
  }
}

/* The other replicas of the key; false when one of them can not be asked. */
static bool nodes_find(struct heal *heal, const struct step *step) {
  const struct ring *rings[2] = {step->base, step->ring};
  struct bytes key = blob_bytes(heal->key);
  uint32_t n = key_props(step, key).n;
  for (uint32_t i = 0; i < 2; i++) {
    if (rings[i]->partition_count == 0) {
      return false;
    }
    struct preference preference;
    uint32_t partition = position_partition(position_read(key.data), rings[i]->partition_count);
    ring_preference(rings[i], partition, n, &preference);
    for (uint32_t k = 0; k < preference.replica_count; k++) {
      node_add(heal, step, preference.nodes[k]);
    }
  }
  bool all = true;
  for (uint32_t i = 0; i < heal->count; i++) {
    all = all && step_is_up(step, heal->nodes[i]);
  }
  return all;
}

void heal_begin(struct scrub *scrub, struct step *step, const struct message *message) {
  uint32_t place = 0;
  while (place < HEALS_MAX && scrub->heals[place].key != NULL) {
    place += 1;
  }
  if (place == HEALS_MAX) {
    tell(step, message->key, message->key_blob, ERR_BUSY, NULL);
    return;
  }
  struct heal *heal = &scrub->heals[place];
  scrub->generation += 1;
  scrub->healing += 1;
  *heal = (struct heal){
      .key = blob_get(message->key_blob), .generation = scrub->generation, .due_ns = step->now_ns + HEAL_ANSWER_NS};
  if (!nodes_find(heal, step)) {
    heal_end(scrub, step, heal, ERR_CORRUPT);
    return;
  }
  if (heal->count == 0 || PLANTED(damage_absent)) {
    heal_look(scrub, step, heal); /* there never was another copy */
    return;
  }
  heal->open = (1u << heal->count) - 1u;
  struct message read = {.type = MESSAGE_READ,
                         .flags = MESSAGE_FULL,
                         .request = heal_request(scrub, heal),
                         .key = blob_bytes(heal->key),
                         .key_blob = heal->key};
  for (uint32_t i = 0; i < heal->count; i++) {
    step_send(step, heal->nodes[i], &read);
  }
}

/* What one of the others has. Its own copy may be damaged too: then it has nothing to add. */
static enum err heal_take(struct step *step, struct heal *heal, const struct message *message) {
  struct object opened;
  if (message->err == ERR_CORRUPT) {
    return ERR_OK;
  }
  bool sound = message->object.size == 0 || (object_open(&opened, message->object) == ERR_OK && !opened.is_clock);
  if (message->err != ERR_OK || !sound) {
    return ERR_CORRUPT;
  }
  struct holding mine = {blob_bytes(heal->object), heal->object, heal->floor};
  struct holding theirs = {message->object, message->object_blob, message->floor};
  struct blob *merged = NULL;
  enum resolve resolve = key_props(step, blob_bytes(heal->key)).resolve;
  enum err err = holding_merge(step->scratch, step->pool, &mine, &theirs, resolve, step->version_stats, &merged);
  if (err == ERR_OK) {
    blob_put(heal->object);
    heal->object = merged;
    heal->floor = message->floor > heal->floor ? message->floor : heal->floor;
  }
  return err;
}

void heal_message(struct scrub *scrub, struct step *step, uint32_t from, const struct message *message) {
  uint32_t index = (uint32_t)(message->request & SCRUB_INDEX_MASK);
  struct heal *heal = index < HEALS_MAX ? &scrub->heals[index] : NULL;
  uint32_t place = 0;
  if (heal == NULL || heal->key == NULL || message->request != heal_request(scrub, heal)) {
    COUNT(step->stats->messages_late);
    return;
  }
  while (place < heal->count && heal->nodes[place] != from) {
    place += 1;
  }
  if (place == heal->count || (heal->open >> place & 1u) == 0) {
    COUNT(step->stats->messages_late);
    return;
  }
  heal->open &= ~(1u << place);
  if (heal_take(step, heal, message) != ERR_OK) {
    heal_end(scrub, step, heal, ERR_CORRUPT);
  } else if (heal->open == 0) {
    heal_look(scrub, step, heal);
  }
}

void heals_tick(struct scrub *scrub, struct step *step) {
  for (uint32_t i = 0; i < HEALS_MAX; i++) {
    struct heal *heal = &scrub->heals[i];
    if (heal->key != NULL && step->now_ns >= heal->due_ns) {
      heal_end(scrub, step, heal, ERR_CORRUPT);
    } else if (heal->key != NULL && heal->look_ns != 0 && step->now_ns >= heal->look_ns) {
      heal_look(scrub, step, heal);
    }
  }
}

uint64_t heals_deadline(const struct scrub *scrub) {
  uint64_t deadline = HEAP_NEVER;
  for (uint32_t i = 0; i < HEALS_MAX && scrub->healing > 0; i++) {
    const struct heal *heal = &scrub->heals[i];
    uint64_t due_ns = heal->look_ns != 0 && heal->look_ns < heal->due_ns ? heal->look_ns : heal->due_ns;
    deadline = heal->key != NULL && due_ns < deadline ? due_ns : deadline;
  }
  return deadline;
}
