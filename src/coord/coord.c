
#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "base/plant.h"
#include "coord/request.h"
#include "version/context.h"

#define TAG_BITS 56u
#define TAG_COORD 1u
#define INDEX_BITS 16u

_Static_assert(REQUESTS_MAX <= 1u << INDEX_BITS, "a request's index fits its number");
_Static_assert(OPS_PER_STEP_MAX *(LAYOUTS_MAX *REPLICAS_MAX + 1u) < LOCAL_MESSAGES_MAX,
               "hints on this very node, for all replicas of all puts that go on in one step, fit the local queue");

size_t coord_size(void) {
  return (sizeof(struct coord) + 63u) & ~(size_t)63u;
}

struct coord *coord_init(void *memory, uint32_t first) {
  ASSERT(memory != NULL);
  struct coord *coord = memory;
  memset(coord, 0, offsetof(struct coord, requests));
  coord->free = REQUEST_NONE;
  coord->first_generation = first;
  coord->replied_head = coord->replied_tail = REQUEST_NONE;
  heap_init(&coord->timers, coord->timer_entries, coord->timer_places, REQUESTS_MAX);
  map_init(&coord->forwards, coord->forward_slots, 4u * FORWARDS_REMEMBERED);
  return coord;
}

uint32_t coord_in_flight(const struct coord *coord) {
  return coord->in_flight;
}

bool coord_is_settled(const struct coord *coord, uint32_t epoch) {
  uint32_t open = coord->open_before + (epoch > coord->epoch ? coord->open_now : 0);
  ASSERT(open <= coord->in_flight);
  return open == 0;
}

bool coord_is_past(const struct coord *coord, uint32_t turn) {
  ASSERT(coord->turns[0] + coord->turns[1] == coord->in_flight);
  return coord->turns[(turn + 1u) % 2u] == 0;
}

bool coord_is_idle(const struct coord *coord) {
  ASSERT(coord->replied <= coord->in_flight);
  return coord->replied == coord->in_flight;
}

uint64_t coord_deadline(const struct coord *coord) {
  return heap_next(&coord->timers);
}

bool coord_owns_request(uint64_t request) {
  return request >> TAG_BITS == TAG_COORD;
}

/* -- the table ------------------------------------------------------------------ */

static uint32_t request_index(const struct coord *coord, const struct request *request) {
  ASSERT(request >= coord->requests && request < coord->requests + REQUESTS_MAX);
  return (uint32_t)(request - coord->requests);
}

uint64_t request_number(const struct coord *coord, const struct request *request) {
  uint64_t generation = request->generation;
  return (uint64_t)TAG_COORD << TAG_BITS | generation << INDEX_BITS | request_index(coord, request);
}

struct request *request_find(struct coord *coord, uint64_t number) {
  uint32_t index = (uint32_t)(number & ((1u << INDEX_BITS) - 1u));
  if (!coord_owns_request(number) || index >= coord->fresh) {
    return NULL;
  }
  struct request *request = &coord->requests[index];
  return request->kind != REQUEST_FREE && request_number(coord, request) == number ? request : NULL;
}

static void replied_unlink(struct coord *coord, struct request *request) {
  ASSERT(coord->replied > 0);
  coord->replied -= 1;
  if (request->previous == REQUEST_NONE) {
    coord->replied_head = request->next;
  } else {
    coord->requests[request->previous].next = request->next;
  }
  if (request->next == REQUEST_NONE) {
    coord->replied_tail = request->previous;
  } else {
    coord->requests[request->next].previous = request->previous;
  }
}

void request_planned(struct coord *coord, const struct step *step, struct request *request) {
  ASSERT(request->kind == REQUEST_PUT && !request->planned);
  ASSERT(step->epoch >= coord->epoch);
  if (step->epoch > coord->epoch) {
    coord->epoch = step->epoch;
    coord->open_before += coord->open_now;
    coord->open_now = 0;
  }
  coord->open_now += 1;
  request->planned = true;
  request->epoch = step->epoch;
}

/* It has been answered, or never will be. */
static void request_settled(struct coord *coord, struct request *request) {
  if (!request->planned) {
    return;
  }
  uint32_t *open = request->epoch == coord->epoch ? &coord->open_now : &coord->open_before;
  ASSERT(*open > 0);
  *open -= 1;
  request->planned = false;
}

void request_answered(const struct step *step, const struct request *request) {
  ASSERT(request->kind == REQUEST_GET || request->kind == REQUEST_PUT);
  admit_note(step->admit, &step->tunables->background, step->now_ns, step->now_ns - request->started_ns);
}

void request_replied(struct coord *coord, struct request *request) {
  ASSERT(request->phase != PHASE_REPLIED);
  uint32_t index = request_index(coord, request);
  request_settled(coord, request);
  request->phase = PHASE_REPLIED;
  request->next = REQUEST_NONE;
  request->previous = coord->replied_tail;
  if (coord->replied_tail == REQUEST_NONE) {
    coord->replied_head = index;
  } else {
    coord->requests[coord->replied_tail].next = index;
  }
  coord->replied_tail = index;
  coord->replied += 1;
}

void request_free(struct coord *coord, struct request *request) {
  ASSERT(request->kind != REQUEST_FREE);
  ASSERT(coord->in_flight > 0);
  uint32_t index = request_index(coord, request);
  if (request->phase == PHASE_REPLIED) {
    replied_unlink(coord, request);
  }
  request_settled(coord, request);
  heap_remove(&coord->timers, index);
  for (uint32_t i = 0; i < request->target_count; i++) {
    blob_put(request->targets[i].clock);
  }
  for (uint32_t i = 0; i < request->explained_count; i++) {
    blob_put(request->explained[i].clock);
    blob_put(request->explained[i].hints);
  }
  blob_put(request->key);
  blob_put(PLANTED(blob_leak) ? NULL : request->object);
  blob_put(request->value);
  blob_put(request->context);
  blob_put(request->answer_room);
  request->kind = REQUEST_FREE;
  request->generation += 1;
  request->next = coord->free;
  coord->free = index;
  coord->in_flight -= 1;
  ASSERT(coord->turns[request->turn % 2u] > 0);
  coord->turns[request->turn % 2u] -= 1;
}

void coord_deinit(struct coord *coord) {
  for (uint32_t i = 0; i < coord->fresh; i++) {
    if (coord->requests[i].kind != REQUEST_FREE) {
      request_free(coord, &coord->requests[i]);
    }
  }
  ASSERT(coord->in_flight == 0);
}

static void let_go(struct coord *coord, struct step *step) {
  if (coord->replied_head == REQUEST_NONE) {
    return;
  }
  struct request *oldest = &coord->requests[coord->replied_head];
  COUNT(step->stats->let_go);
  if (oldest->kind == REQUEST_GET) {
    get_let_go(coord, step, oldest);
  } else {
    ASSERT(oldest->kind == REQUEST_PUT);
    put_let_go(coord, step, oldest);
  }
}

/* One that is free, its generation set, or NULL. */
static struct request *request_take(struct coord *coord) {
  if (coord->free != REQUEST_NONE) {
    struct request *request = &coord->requests[coord->free];
    coord->free = request->next;
    return request;
  }
  if (coord->fresh == REQUESTS_MAX) {
    return NULL;
  }
  struct request *request = &coord->requests[coord->fresh];
  coord->fresh += 1;
  request->generation = coord->first_generation;
  return request;
}

struct request *request_new(struct coord *coord, struct step *step, enum request_kind kind, struct blob *key) {
  ASSERT(kind != REQUEST_FREE);
  struct request *request = request_take(coord);
  if (request == NULL) {
    let_go(coord, step);
    request = request_take(coord);
  }
  if (request == NULL) {
    COUNT(step->stats->busy);
    return NULL;
  }
  coord->in_flight += 1;
  uint32_t generation = request->generation;
  memset(request, 0, offsetof(struct request, digests));
  request->generation = generation;
  request->kind = kind;
  request->key = blob_get(key);
  request->started_ns = step->now_ns;
  request->turn = step->turn;
  coord->turns[step->turn % 2u] += 1;
  request->next = request->previous = REQUEST_NONE;
  return request;
}

void request_set_timer(struct coord *coord, const struct request *request, uint64_t time_ns) {
  heap_set(&coord->timers, request_index(coord, request), time_ns);
}

/* -- what all have use for -------------------------------------------------------- */

struct bucket_props request_props(const struct step *step, const struct blob *key) {
  ASSERT(key->size >= POSITION_BYTES);
  struct bytes user_key = {key->data + POSITION_BYTES, key->size - POSITION_BYTES};
  return bucket_find(step->buckets, bucket_of_key(user_key));
}

struct blob *store_key_make(struct blob_pool *pool, struct bytes user_key) {
  struct blob *key = blob_new(pool, POSITION_BYTES + user_key.size);
  if (key != NULL) {
    position_write(position_of_key(user_key), key->data);
    if (user_key.size > 0) {
      memcpy(key->data + POSITION_BYTES, user_key.data, user_key.size);
    }
  }
  return key;
}

void reply_error(struct step *step, uint64_t token, enum err err, const struct outcome *outcome, const char *why) {
  struct reply *reply = step_reply(step, token);
  reply->err = err;
  reply->why = why;
  if (outcome != NULL) {
    reply->outcome = *outcome;
  }
}

/* -- dispatch ------------------------------------------------------------------------ */

void coord_command(struct coord *coord, struct step *step, const struct command *command) {
  if (command->key.size > KEY_MAX_BYTES) {
    reply_error(step, command->token, ERR_TOOBIG, NULL, "the key is longer than 65535 bytes");
    return;
  }
  switch (command->kind) {
  case COMMAND_GET:
    get_start(coord, step, command);
    break;
  case COMMAND_PUT:
    put_start(coord, step, command);
    break;
  case COMMAND_EXPLAIN:
    explain_start(coord, step, command);
    break;
  case COMMAND_BUCKET_SET:
  case COMMAND_CHANGE:
  case COMMAND_WAITSYNC:
    ASSERT(false && "others' commands");
  }
}

void coord_message(struct coord *coord, struct step *step, uint32_t from, const struct message *message) {
  if (message->type == MESSAGE_FORWARD) {
    put_forwarded(coord, step, from, message);
    return;
  }
  struct request *request = request_find(coord, message->request);
  if (request == NULL) {
    COUNT(step->stats->messages_late);
    return;
  }
  switch (request->kind) {
  case REQUEST_GET:
    get_message(coord, step, request, from, message);
    break;
  case REQUEST_PUT:
    put_message(coord, step, request, from, message);
    break;
  case REQUEST_EXPLAIN:
    explain_message(coord, step, request, from, message);
    break;
  case REQUEST_FREE:
    ASSERT(false && "request_find yields live requests");
  }
}

static void timer_fired(struct coord *coord, struct step *step, struct request *request) {
  switch (request->kind) {
  case REQUEST_GET:
    get_timer(coord, step, request);
    break;
  case REQUEST_PUT:
    put_timer(coord, step, request);
    break;
  case REQUEST_EXPLAIN:
    explain_finish(coord, step, request);
    break;
  case REQUEST_FREE:
    ASSERT(false && "a free request has no timer");
  }
}

void coord_tick(struct coord *coord, struct step *step) {
  uint32_t index = 0;
  for (uint32_t i = 0; i < OPS_PER_STEP_MAX && heap_pop_due(&coord->timers, step->now_ns, &index); i++) {
    timer_fired(coord, step, &coord->requests[index]);
  }
}

/* Only marks: what follows from it is done by the timers, a bounded number in each step. */
void coord_peer_down(struct coord *coord, struct step *step, uint32_t node) {
  for (uint32_t i = 0; i < coord->fresh; i++) {
    struct request *request = &coord->requests[i];
    if (request->kind == REQUEST_FREE || request->kind == REQUEST_EXPLAIN) {
      continue;
    }
    bool waits = request->phase == PHASE_FORWARDED && request->tried[request->tried_count - 1] == node;
    request->cut_off = request->cut_off || waits;
    for (uint32_t j = 0; j < request->target_count; j++) {
      const struct target *target = &request->targets[j];
      bool open = target->state != TARGET_DONE && target->state != TARGET_FAILED;
      waits = waits || (target->node == node && open && !target->joined);
    }
    if (waits) {
      heap_set(&coord->timers, i, step->now_ns);
    }
  }
}
