#include "front/pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "front/commands.h"
#include "front/state.h"
#include "version/context.h"

#define SLAB_PARTS 256u

/* -- the pool ------------------------------------------------------------------------- */

static bool pool_grow(struct pool *pool) {
  if (pool->slab_count == pool->slab_capacity) {
    uint32_t capacity = pool->slab_capacity == 0 ? 8 : pool->slab_capacity * 2;
    struct part **slabs = realloc(pool->slabs, capacity * sizeof(struct part *));
    if (slabs == NULL) {
      return false;
    }
    pool->slabs = slabs;
    pool->slab_capacity = capacity;
  }
  struct part *slab = calloc(SLAB_PARTS, sizeof(*slab));
  if (slab == NULL) {
    return false;
  }
  uint32_t first = pool->slab_count * SLAB_PARTS;
  pool->slabs[pool->slab_count] = slab;
  pool->slab_count += 1;
  for (uint32_t i = SLAB_PARTS; i > 0; i--) {
    slab[i - 1].index = first + i - 1;
    slab[i - 1].generation = 1;
    slab[i - 1].next = pool->free_parts;
    pool->free_parts = &slab[i - 1];
  }
  return true;
}

static struct part *part_take(struct pool *pool) {
  if (pool->free_parts == NULL && !pool_grow(pool)) {
    return NULL;
  }
  struct part *part = pool->free_parts;
  pool->free_parts = part->next;
  pool->outstanding += 1;
  part->next = NULL;
  ASSERT(part->pending == NULL);
  ASSERT(part->object == NULL);
  return part;
}

/* What the part's command counts for in kept_bytes: nothing while it is small. */
static size_t part_kept_bytes(const struct part *part) {
  return part->command_capacity > sizeof(struct command) + PART_KEEP_BYTES ? part->command_capacity : 0;
}

static void part_put(struct pool *pool, struct part *part) {
  ASSERT(pool->outstanding > 0);
  ASSERT(part->chain_next == NULL && part->chain_previous == NULL);
  blob_put(part->object);
  part->object = NULL;
  part->pending = NULL;
  part->keeps = false;
  part->blind = false;
  part->in_flight = false;
  part->generation += 1;
  if (part_kept_bytes(part) > 0) {
    ASSERT(pool->kept_bytes >= part_kept_bytes(part));
    pool->kept_bytes -= part_kept_bytes(part);
    free(part->command);
    part->command = NULL;
    part->command_capacity = 0;
  }
  part->next = pool->free_parts;
  pool->free_parts = part;
  pool->outstanding -= 1;
}

static uint64_t part_token(const struct part *part) {
  return (uint64_t)part->generation << 32 | part->index;
}

static struct part *part_find(const struct pool *pool, uint64_t token) {
  uint32_t index = (uint32_t)token;
  if (index / SLAB_PARTS >= pool->slab_count) {
    return NULL;
  }
  struct part *part = &pool->slabs[index / SLAB_PARTS][index % SLAB_PARTS];
  ASSERT(part->index == index);
  return part->in_flight && part_token(part) == token ? part : NULL;
}

/* The command as the part's own, bytes and all. */
static bool part_keep(struct pool *pool, struct part *part, const struct command *command) {
  size_t size = sizeof(*command) + command->key.size + command->value.size + command->context.size;
  if (size > part->command_capacity) {
    size_t capacity = size < sizeof(*command) + PART_KEEP_BYTES ? sizeof(*command) + PART_KEEP_BYTES : size;
    pool->kept_bytes -= part_kept_bytes(part);
    free(part->command);
    part->command = malloc(capacity);
    part->command_capacity = part->command == NULL ? 0 : capacity;
    pool->kept_bytes += part_kept_bytes(part);
    if (part->command == NULL) {
      return false;
    }
  }
  uint8_t *at = (uint8_t *)(part->command + 1);
  *part->command = *command;
  struct bytes *const runs[] = {&part->command->key, &part->command->value, &part->command->context};
  for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
    if (runs[i]->size > 0) {
      memcpy(at, runs[i]->data, runs[i]->size);
    }
    runs[i]->data = at;
    at += runs[i]->size;
  }
  part->keeps = true;
  return true;
}

static struct pending *pending_take(struct pool *pool) {
  struct pending *pending = pool->free_pendings;
  if (pending == NULL) {
    return calloc(1, sizeof(*pending));
  }
  pool->free_pendings = pending->next;
  struct output out = pending->out;
  *pending = (struct pending){.out = out};
  return pending;
}

static void pending_expect(struct pool *pool, struct pending *pending, size_t bytes) {
  ASSERT(pool->expected_bytes >= pending->expected_bytes);
  pool->expected_bytes += bytes;
  pool->expected_bytes -= pending->expected_bytes;
  pending->expected_bytes = bytes;
}

static void pending_put(struct pool *pool, struct pending *pending) {
  ASSERT(pending->parts == NULL);
  pending_expect(pool, pending, 0);
  output_shrink(&pending->out, OUTPUT_KEEP_BYTES);
  pending->session = NULL;
  pending->next = pool->free_pendings;
  pool->free_pendings = pending;
}

void pool_deinit(struct pool *pool) {
  ASSERT(pool->outstanding == 0);
  ASSERT(pool->kept_bytes == 0 && pool->expected_bytes == 0);
  for (uint32_t i = 0; i < pool->slab_count; i++) {
    for (uint32_t k = 0; k < SLAB_PARTS; k++) {
      free(pool->slabs[i][k].command);
    }
    free(pool->slabs[i]);
  }
  free(pool->slabs);
  while (pool->free_pendings != NULL) {
    struct pending *pending = pool->free_pendings;
    pool->free_pendings = pending->next;
    output_free(&pending->out);
    free(pending);
  }
  while (pool->free_queues != NULL) {
    struct queue *queue = pool->free_queues;
    pool->free_queues = queue->next;
    free(queue);
  }
  *pool = (struct pool){0};
}

/* -- queues ----------------------------------------------------------------------------- */

static struct queue *session_queue(struct session *session) {
  struct pool *pool = &session->front->pool;
  if (session->queue == NULL) {
    struct queue *queue = pool->free_queues;
    if (queue == NULL) {
      queue = calloc(1, sizeof(*queue));
    } else {
      pool->free_queues = queue->next;
      queue->next = NULL;
    }
    session->queue = queue;
  }
  return session->queue;
}

static void session_queue_put(struct session *session) {
  struct queue *queue = session->queue;
  if (queue == NULL || queue->count > 0) {
    return;
  }
  ASSERT(queue->head == NULL && queue->tail == NULL);
  ASSERT(queue->waiting == 0);
  queue->next = session->front->pool.free_queues;
  session->front->pool.free_queues = queue;
  session->queue = NULL;
}

static void queue_append(struct queue *queue, struct pending *pending) {
  pending->order = queue->order;
  queue->order += 1;
  if (queue->tail == NULL) {
    queue->head = pending;
  } else {
    queue->tail->next = pending;
  }
  queue->tail = pending;
  queue->count += 1;
}

static struct pending *queue_pop(struct queue *queue) {
  struct pending *pending = queue->head;
  queue->head = pending->next;
  if (queue->head == NULL) {
    queue->tail = NULL;
  }
  pending->next = NULL;
  queue->count -= 1;
  return pending;
}

static void chain_append(struct queue *queue, struct part *part) {
  uint32_t chain = part->hash % CHAINS;
  part->chain_previous = queue->chains_last[chain];
  part->chain_next = NULL;
  if (part->chain_previous == NULL) {
    queue->chains[chain] = part;
  } else {
    part->chain_previous->chain_next = part;
  }
  queue->chains_last[chain] = part;
}

static void chain_remove(struct queue *queue, struct part *part) {
  uint32_t chain = part->hash % CHAINS;
  if (part->chain_previous == NULL) {
    ASSERT(queue->chains[chain] == part);
    queue->chains[chain] = part->chain_next;
  } else {
    part->chain_previous->chain_next = part->chain_next;
  }
  if (part->chain_next == NULL) {
    ASSERT(queue->chains_last[chain] == part);
    queue->chains_last[chain] = part->chain_previous;
  } else {
    part->chain_next->chain_previous = part->chain_previous;
  }
  part->chain_next = part->chain_previous = NULL;
}

/* -- who waits for whom ------------------------------------------------------------------- */

/* Does this node stamp blind puts of the key itself? Then the core keeps their order. */
static bool stamped_here(const struct front *front, struct bytes key) {
  const struct shard *shard = front_shard(front);
  const struct ring *ring = shard_ring(shard);
  if (ring->partition_count == 0) {
    return false;
  }
  struct bucket_props props = bucket_find(shard_buckets(shard), bucket_of_key(key));
  struct preference preference;
  ring_preference(ring, position_partition(position_of_key(key), ring->partition_count), props.n, &preference);
  uint32_t self = front_facts(front).node;
  for (uint32_t i = 0; i < preference.replica_count; i++) {
    if (preference.nodes[i] == self) {
      return true;
    }
  }
  return false;
}

static bool part_blocked(const struct front *front, const struct queue *queue, const struct part *part,
                         struct bytes key) {
  const struct pending *pending = part->pending;
  for (const struct part *other = queue->chains[part->hash % CHAINS]; other != NULL; other = other->chain_next) {
    if (other->pending->order >= pending->order) {
      break;
    }
    bool reads = other->pending->plan->access == ACCESS_READ && pending->plan->access == ACCESS_READ;
    if (other->hash != part->hash || reads) {
      continue;
    }
    bool overwrites = other->blind && part->blind && other->pending->state == PENDING_RUNNING;
    if (!overwrites || !stamped_here(front, key)) {
      return true;
    }
  }
  return false;
}

static void part_submit(struct front *front, struct part *part, struct command *command) {
  ASSERT(!part->in_flight);
  command->token = part_token(part);
  part->in_flight = true;
  front->services.submit(front->services.context, command);
}

/* The first step of a part. */
static void part_start(struct front *front, struct part *part, struct command *command) {
  if (part->step == STEP_ONLY) {
    part_submit(front, part, command);
    return;
  }
  ASSERT(part->step == STEP_READ);
  ASSERT(part->keeps);
  struct command get = {
      .kind = COMMAND_GET,
      .key = command->key,
      .r = QUORUM_DEFAULT,
      .pr = QUORUM_DEFAULT,
      .w = QUORUM_DEFAULT,
      .pw = QUORUM_DEFAULT,
      .dw = QUORUM_DEFAULT,
  };
  part_submit(front, part, &get);
}

/* A request that waited: now, if nothing is in its way any more. */
static void pending_try(struct front *front, struct queue *queue, struct pending *pending) {
  for (const struct part *part = pending->parts; part != NULL; part = part->next) {
    if (part_blocked(front, queue, part, part->command->key)) {
      return;
    }
  }
  pending->state = PENDING_RUNNING;
  queue->waiting -= 1;
  for (struct part *part = pending->parts; part != NULL; part = part->next) {
    part_start(front, part, part->command);
  }
}

static void wake_chain(struct front *front, struct queue *queue, uint64_t hash) {
  for (struct part *part = queue->chains[hash % CHAINS]; part != NULL; part = part->chain_next) {
    if (part->hash == hash && part->pending->state == PENDING_WAITING) {
      pending_try(front, queue, part->pending);
    }
  }
}

/* The parts leave; those who waited for them start. */
static void pending_release(struct front *front, struct queue *queue, struct pending *pending) {
  for (struct part *part = pending->parts; part != NULL; part = part->next) {
    chain_remove(queue, part);
  }
  for (struct part *part = pending->parts; part != NULL && queue->waiting > 0; part = part->next) {
    wake_chain(front, queue, part->hash);
  }
  while (pending->parts != NULL) {
    struct part *part = pending->parts;
    pending->parts = part->next;
    part_put(&front->pool, part);
  }
  pending->parts_last = NULL;
}

/* -- replies ------------------------------------------------------------------------------- */

static void send_to_session(void *context, struct bytes bytes) {
  session_send(context, bytes);
}

static void session_close(struct session *session) {
  session->closing = true;
  client_close(session->client);
}

/* `size` of a reply; of a put, that of its value too, for what is written large is read large. */
static void session_sized(struct session *session, size_t size) {
  uint32_t half = session->reply_bytes / 2;
  uint32_t seen = size < WINDOW_BYTES ? (uint32_t)size : WINDOW_BYTES;
  session->reply_bytes = seen > half ? seen : half;
}

/* Sends what is done at the queue's head. */
static void session_drain(struct session *session) {
  struct queue *queue = session->queue;
  while (queue->head != NULL && queue->head->state == PENDING_DONE) {
    struct pending *pending = queue_pop(queue);
    if (pending->out.failed) {
      session_close(session);
    } else if (pending->out.size > 0) {
      session_send(session, output_bytes(&pending->out));
    }
    if (pending->close_after) {
      session_close(session);
    }
    pending_put(&session->front->pool, pending);
  }
  session_queue_put(session);
  session_progressed(session);
}

/* All parts are answered: the reply is written, and leaves if it is its turn. */
static void pending_finish(struct front *front, struct pending *pending, const struct reply *last) {
  ASSERT(pending->state == PENDING_RUNNING);
  ASSERT(pending->parts_left == 0);
  struct session *session = pending->session;
  struct queue *queue = session->queue;
  if (!pending->failed) {
    bool now = queue->head == pending;
    struct output *out = now ? &front->scratch : &pending->out;
    output_reset(out, pending->resp3);
    if (now) {
      out->send = send_to_session;
      out->context = session;
    }
    pending->plan->finish(pending, last, out);
    if (now && !out->failed) {
      output_flush(out);
    }
    size_t size = out->sent + out->size;
    session_sized(session, size > pending->value_bytes ? size : pending->value_bytes);
    pending_expect(&front->pool, pending, pending->out.capacity);
    pending->out.failed = out->failed;
    output_shrink(&front->scratch, OUTPUT_SCRATCH_BYTES);
  } else {
    COUNT(front->counts.errors);
  }
  pending->state = PENDING_DONE;
  pending_release(front, queue, pending);
  if (queue->head == pending) {
    session_drain(session);
  }
  front_progressed(front);
}

static void pending_fail(struct front *front, struct pending *pending, const struct reply *reply) {
  if (!pending->failed) {
    pending->failed = true;
    output_reset(&pending->out, pending->resp3);
    front_error(front, reply, pending->plan->access == ACCESS_WRITE, &pending->out);
  }
}

/* The get of a part is answered. OK and `*again`: its put is on the way. */
static enum err part_read(struct front *front, struct part *part, const struct reply *reply, bool *again) {
  struct pending *pending = part->pending;
  struct object object;
  struct sibling latest;
  bool live = false;
  past_init(&front->past);
  if (reply->object != NULL) {
    enum err err = object_open(&object, blob_bytes(reply->object));
    if (err != ERR_OK) {
      return err;
    }
    live = object_latest(&object, pending->wall_ms, &latest);
    object_past(&object, &front->past);
    part->object = blob_get(reply->object);
  }
  const struct plan *plan = pending->plan;
  *again = plan->wants_put == NULL || plan->wants_put(pending, part, live ? &latest : NULL);
  if (*again) {
    struct writer w = writer_make(front->context, sizeof(front->context));
    struct command put = *part->command;
    context_encode(&w, &front->past, reply->coordinator, shard_binding(front_shard(front), put.key));
    ASSERT(!w.failed);
    put.context = writer_bytes(&w);
    put.blind = false;
    part->step = STEP_WRITE;
    part_submit(front, part, &put);
  }
  return ERR_OK;
}

bool pending_reply(struct front *front, const struct reply *reply) {
  struct part *part = part_find(&front->pool, reply->token);
  if (part == NULL) {
    return false;
  }
  struct pending *pending = part->pending;
  ASSERT(pending->state == PENDING_RUNNING);
  ASSERT(pending->parts_left > 0);
  part->in_flight = false;
  struct reply failure = {.err = reply->err};
  if (pending->wall_ms == 0) {
    pending->wall_ms = front_wall_ms(front);
  }
  if (reply->err == ERR_OK && part->step == STEP_READ) {
    bool again = false;
    failure.err = part_read(front, part, reply, &again);
    if (again) {
      return true;
    }
  } else if (reply->err == ERR_OK && part->step == STEP_ONLY) {
    part->object = blob_get(reply->object);
  }
  if (reply->err != ERR_OK || failure.err != ERR_OK) {
    pending_fail(front, pending, reply->err != ERR_OK ? reply : &failure);
  }
  pending->parts_left -= 1;
  if (pending->parts_left == 0) {
    pending_finish(front, pending, reply);
  }
  return true;
}

/* -- starting --------------------------------------------------------------------------------- */

static struct command command_fill(const struct call *call, const struct plan *plan, uint32_t index) {
  struct command command = call->base;
  plan->fill(call, index, &command);
  return command;
}

/* A part of the same request with the same key, if that is to be one part. */
static struct part *part_twin(const struct call *call, const struct queue *queue, const struct pending *pending,
                              uint64_t hash, struct bytes key) {
  for (struct part *other = queue->chains_last[hash % CHAINS]; other != NULL; other = other->chain_previous) {
    if (other->pending != pending) {
      break;
    }
    if (other->hash == hash) {
      struct command command = command_fill(call, pending->plan, other->number);
      if (bytes_equal(command.key, key)) {
        return other;
      }
    }
  }
  return NULL;
}

/* False: no memory. */
static bool pending_add(const struct call *call, struct pending *pending, uint32_t number, bool *blocked) {
  struct front *front = call->front;
  struct queue *queue = call->session->queue;
  const struct plan *plan = pending->plan;
  struct command command = command_fill(call, plan, number);
  uint64_t hash = bytes_hash(command.key, 0);
  struct part *part = plan->once ? part_twin(call, queue, pending, hash, command.key) : NULL;
  if (part != NULL) {
    part->number = number;
    return !part->keeps || part_keep(&front->pool, part, &command);
  }
  part = part_take(&front->pool);
  if (part == NULL) {
    return false;
  }
  part->pending = pending;
  part->hash = hash;
  part->number = number;
  part->step = plan->reads_first ? STEP_READ : STEP_ONLY;
  part->blind = command.blind && !plan->reads_first;
  if (pending->parts_last == NULL) {
    pending->parts = part;
  } else {
    pending->parts_last->next = part;
  }
  pending->parts_last = part;
  pending->part_count += 1;
  pending->value_bytes += command.value.size;
  *blocked = part_blocked(front, queue, part, command.key) || *blocked;
  chain_append(queue, part);
  return !(plan->keeps || plan->reads_first) || part_keep(&front->pool, part, &command);
}

static bool pending_keep(const struct call *call, struct pending *pending) {
  for (struct part *part = pending->parts; part != NULL; part = part->next) {
    if (!part->keeps) {
      struct command command = command_fill(call, pending->plan, part->number);
      if (!part_keep(&call->front->pool, part, &command)) {
        return false;
      }
    }
  }
  return true;
}

static void pending_undo(const struct call *call, struct pending *pending) {
  struct queue *queue = call->session->queue;
  while (pending->parts != NULL) {
    struct part *part = pending->parts;
    pending->parts = part->next;
    chain_remove(queue, part);
    part_put(&call->front->pool, part);
  }
  pending_put(&call->front->pool, pending);
  session_queue_put(call->session);
  output_error_format(call->out, "%s %s", err_code(ERR_NOMEM), err_text(ERR_NOMEM));
}

void pending_start(struct call *call, const struct plan *plan, uint32_t part_count) {
  ASSERT(part_count > 0);
  struct front *front = call->front;
  struct queue *queue = session_queue(call->session);
  struct pending *pending = queue == NULL ? NULL : pending_take(&front->pool);
  if (pending == NULL) {
    session_queue_put(call->session);
    output_error_format(call->out, "%s %s", err_code(ERR_NOMEM), err_text(ERR_NOMEM));
    return;
  }
  pending->session = call->session;
  pending->plan = plan;
  pending->spec = call->spec;
  pending->resp3 = call->session->resp3;
  pending->order = queue->order;
  bool blocked = false;
  bool complete = true;
  for (uint32_t i = 0; i < part_count && complete; i++) {
    complete = pending_add(call, pending, i, &blocked);
  }
  if (!complete || (blocked && !pending_keep(call, pending))) {
    pending_undo(call, pending);
    return;
  }
  call->started = true;
  pending_expect(&front->pool, pending, call->session->reply_bytes);
  queue_append(queue, pending);
  pending->parts_left = pending->part_count;
  pending->state = blocked ? PENDING_WAITING : PENDING_RUNNING;
  if (blocked) {
    queue->waiting += 1;
    COUNT(front->counts.waited);
    return;
  }
  for (struct part *part = pending->parts; part != NULL; part = part->next) {
    struct command command = part->keeps ? *part->command : command_fill(call, plan, part->number);
    part_start(front, part, &command);
  }
}

void pending_answer(struct session *session, struct output *out, bool close_after) {
  struct front *front = session->front;
  if (close_after) {
    session->closing = true;
  }
  if (session->queue == NULL) {
    if (out->size > 0) {
      session_send(session, output_bytes(out));
    }
    if (close_after || out->failed) {
      session_close(session);
    }
    return;
  }
  struct pending *pending = pending_take(&front->pool);
  if (pending == NULL) {
    session_close(session);
    return;
  }
  pending->session = session;
  pending->close_after = close_after;
  pending->state = PENDING_DONE;
  output_reset(&pending->out, out->resp3);
  output_raw(&pending->out, output_bytes(out));
  pending->out.failed = pending->out.failed || out->failed;
  queue_append(session->queue, pending);
}

void pending_drop_all(struct session *session) {
  struct queue *queue = session->queue;
  struct front *front = session->front;
  if (queue == NULL) {
    return;
  }
  queue->waiting = 0; /* nobody is woken: they all go */
  while (queue->head != NULL) {
    struct pending *pending = queue_pop(queue);
    pending_release(front, queue, pending);
    pending_put(&front->pool, pending);
  }
  session_queue_put(session);
  front_progressed(front);
}
