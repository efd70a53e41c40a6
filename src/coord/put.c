/* put: stamp at one of the first N healthy, write to the others, answer after W (paper §4.5, §4.6, §5). */
#include "base/assert.h"
#include "base/plant.h"
#include "coord/request.h"
#include "version/context.h"

#define ACCEPTED (1u << TARGET_ACCEPTED | 1u << TARGET_DONE)
#define DURABLE (1u << TARGET_DONE)
#define OPEN (1u << TARGET_SENT | 1u << TARGET_ACCEPTED)

/* An encoded context that has been truncated, at the most. */
#define CONTEXT_CUT_BYTES (CONTEXT_FIXED_BYTES + CLOCK_PAIRS_MAX * DOT_BYTES)

/* -- the end of a put --------------------------------------------------------------- */

/* What the writer has now seen: all of the object when nothing else stands beside its version, else what
 * it had seen before and its own version alone. */
static void put_past(struct coord *coord, const struct step *step, const struct request *request, uint32_t siblings,
                     const struct object *object) {
  struct past *past = &coord->past;
  if (siblings == 1 || PLANTED(context_claims)) {
    object_past(object, past);
    return;
  }
  past_init(past);
  if (request->context != NULL) {
    struct position position = position_read(request->key->data);
    struct context_binding binding = {step->cluster_seed, position.high, position.low};
    uint32_t coordinator = 0;
    enum err err = context_decode(blob_bytes(request->context), binding, past, &coordinator);
    ASSERT(err == ERR_OK);
  }
  past_add_dot(past, request->dot);
}

/* The room for it was reserved before the put began: what has been done is not to end in an error. A context that wants
 * more than was reserved, while there is none, is truncated (which can cause a false sibling only). */
static struct blob *answer_context(struct coord *coord, struct step *step, struct request *request) {
  struct past *past = &coord->past;
  struct blob *room = request->answer_room;
  ASSERT(room != NULL);
  request->answer_room = NULL;
  size_t wanted = CONTEXT_FIXED_BYTES + ((size_t)past->pair_count + past->dot_count) * DOT_BYTES;
  struct blob *larger = wanted > room->size ? blob_new(step->pool, wanted) : NULL;
  if (larger != NULL) {
    blob_put(room);
    room = larger;
  } else if (wanted > room->size) {
    step->stats->truncated += past_truncate(past);
  }
  struct position position = position_read(request->key->data);
  struct context_binding binding = {step->cluster_seed, position.high, position.low};
  struct writer w = writer_make(room->data, room->size);
  context_encode(&w, past, step->self, binding);
  ASSERT(!w.failed);
  blob_trim(room, w.size);
  return room;
}

static void forward_reply(struct coord *coord, struct step *step, struct request *request, enum err err,
                          const struct outcome *outcome) {
  struct message answer = {.type = MESSAGE_FORWARD_REPLY, .request = request->origin_request, .err = err};
  struct blob *context = err == ERR_OK ? answer_context(coord, step, request) : NULL;
  if (outcome != NULL) {
    answer.outcome = *outcome;
  }
  answer.object = blob_bytes(context);
  answer.object_blob = context;
  step_send(step, request->origin, &answer);
  blob_put(context);
}

static void put_fail(struct coord *coord, struct step *step, struct request *request, enum err err,
                     const struct outcome *outcome, const char *why) {
  ASSERT(err != ERR_OK);
  ASSERT(request->phase != PHASE_REPLIED);
  if (err == ERR_TIMEOUT) {
    COUNT(step->stats->timeouts);
  } else if (err == ERR_QUORUM) {
    COUNT(step->stats->quorum_failures);
  }
  if (request->origin != 0) {
    forward_reply(coord, step, request, err, outcome);
  } else {
    reply_error(step, request->origin_request, err, outcome, why);
  }
  request_answered(step, request);
  request_free(coord, request);
}

static void put_fail_quorum(struct coord *coord, struct step *step, struct request *request, enum err err) {
  struct outcome outcome;
  if (request_count(request, ACCEPTED, false) < request->need) {
    request_outcome(request, QUORUM_W, request->need, &outcome);
  } else if (request_count(request, DURABLE, false) < request->need_durable) {
    request_outcome(request, QUORUM_DW, request->need_durable, &outcome);
  } else {
    request_outcome(request, QUORUM_PW, request->need_primary, &outcome);
  }
  put_fail(coord, step, request, err, &outcome, NULL);
}

static void put_succeed(struct coord *coord, struct step *step, struct request *request) {
  struct object object;
  enum err err = object_open(&object, blob_bytes(request->object));
  ASSERT(err == ERR_OK);
  ASSERT(object.sibling_count >= 1);
  put_past(coord, step, request, object.sibling_count, &object);
  if (request->origin != 0) {
    forward_reply(coord, step, request, ERR_OK, NULL);
  } else {
    struct reply *reply = step_reply(step, request->origin_request);
    step_reply_context(step, reply, &coord->past, step->self, position_read(request->key->data));
  }
  request_answered(step, request);
  request_replied(coord, request);
}

/* -- copies ------------------------------------------------------------------------------ */

static void send_write(struct coord *coord, struct step *step, const struct request *request, uint32_t to,
                       uint32_t owner, uint8_t flags) {
  struct message write = {
      .type = MESSAGE_WRITE,
      .flags = flags,
      .owner = owner,
      .request = request_number(coord, request),
      .key = blob_bytes(request->key),
      .key_blob = request->key,
      .object = blob_bytes(request->object),
      .object_blob = request->object,
  };
  step_send(step, to, &write);
}

/* Keeps a hint here, which does not count. */
static void keep_hint(struct coord *coord, struct step *step, const struct request *request, uint32_t owner) {
  if (step->tunables->hints) {
    send_write(coord, step, request, step->self, owner, MESSAGE_QUIET);
  }
}

/* Somebody else takes the copy of a target that failed or is silent, in each layout that it counts for: the next
 * stand-in, or this node as a hint that does not count. */
static void put_join(struct coord *coord, struct step *step, struct request *request, struct target *target) {
  if (target->joined || request->object == NULL) {
    return;
  }
  target->joined = true;
  uint32_t owner = target->owner != 0 ? target->owner : target->node;
  uint32_t count = request->target_count;
  uint8_t unserved = request_stand_in(step, request, owner, target->layouts);
  for (uint32_t i = count; i < request->target_count; i++) {
    COUNT(step->stats->hedges);
    send_write(coord, step, request, request->targets[i].node, owner,
               request->flags & (MESSAGE_EARLY | MESSAGE_NOSYNC));
  }
  if (unserved != 0 && owner != step->self && request_target(request, step->self, owner) == NULL) {
    keep_hint(coord, step, request, owner);
  }
}

static void put_evaluate(struct coord *coord, struct step *step, struct request *request) {
  ASSERT(request->phase == PHASE_WRITING || request->phase == PHASE_REPLIED);
  if (request->phase == PHASE_WRITING && request->outrun) {
    const char *why = "the cluster has gone on without this node; the write may have taken effect";
    put_fail(coord, step, request, ERR_TIMEOUT, NULL, why);
    return;
  }
  bool waiting = false;
  for (uint32_t i = 0; i < request->target_count; i++) {
    const struct target *target = &request->targets[i];
    bool open = target->state == TARGET_SENT || target->state == TARGET_ACCEPTED;
    waiting = waiting || (open && (!target->joined || request->phase != PHASE_REPLIED));
  }
  if (request->phase == PHASE_WRITING) {
    bool enough = request_count(request, ACCEPTED, false) >= request->need &&
                  request_count(request, DURABLE, false) >= request->need_durable &&
                  request_count(request, ACCEPTED, true) >= request->need_primary;
    if (enough) {
      put_succeed(coord, step, request);
    } else if (!waiting) {
      put_fail_quorum(coord, step, request, request->failure == ERR_OK ? ERR_QUORUM : request->failure);
      return;
    }
  }
  if (request->phase == PHASE_REPLIED && !waiting) {
    request_free(coord, request);
  }
}

void put_target_lost(struct coord *coord, struct step *step, struct request *request, struct target *target) {
  ASSERT(target->state != TARGET_DONE);
  target->state = TARGET_FAILED;
  put_join(coord, step, request, target);
}

void put_let_go(struct coord *coord, struct step *step, struct request *request) {
  ASSERT(request->phase == PHASE_REPLIED);
  request_refresh(step, request);
  uint32_t count = request->target_count;
  for (uint32_t i = 0; i < count; i++) {
    struct target *target = &request->targets[i];
    if (target->state == TARGET_SENT && target->node != step->self) {
      put_join(coord, step, request, target);
    }
  }
  request_free(coord, request);
}

/* -- coordinating here ---------------------------------------------------------------------- */

static void put_stamp(struct coord *coord, struct step *step, struct request *request, uint32_t owner,
                      struct bytes value, struct bytes context) {
  request->phase = PHASE_STAMPING;
  struct message stamp = {
      .type = MESSAGE_STAMP,
      .flags = request->flags,
      .owner = owner,
      .request = request_number(coord, request),
      .key = blob_bytes(request->key),
      .key_blob = request->key,
      .object = value,
      .object_blob = request->value,
      .context = context,
      .digest = request->epoch,
      .options = request->options,
  };
  step_send(step, step->self, &stamp);
}

static const char *put_arguments(struct step *step, struct request *request, const struct bucket_props *props) {
  const struct put_options *options = &request->options;
  uint8_t w = options->w == QUORUM_DEFAULT ? props->w : options->w;
  uint8_t pw = options->pw == QUORUM_DEFAULT ? props->pw : options->pw;
  uint8_t dw = options->dw == QUORUM_DEFAULT ? props->dw : options->dw;
  bool dw_default = options->dw == QUORUM_DEFAULT;
  if (w < 1 || w > props->n) {
    return "W must be between 1 and the bucket's N";
  }
  if (pw > props->n) {
    return "PW must be between 0 and the bucket's N";
  }
  if (dw == DW_ALL || (dw_default && dw > w)) {
    dw = w;
  }
  if (dw > w) {
    return "DW must be between 0 and W";
  }
  request->need = w;
  request->need_primary = pw;
  request->need_durable = dw;
  request->flags |= dw < w || pw > w ? MESSAGE_EARLY : 0;
  request->flags |= dw == 0 ? MESSAGE_NOSYNC : 0;
  request->resolve = props->resolve;
  if (request->options.expires_at_ms == 0 && props->ttl_ms != 0) {
    request->options.expires_at_ms = step->wall_ms + props->ttl_ms;
  }
  return NULL;
}

/* As what this node stamps: as a replica, for then it knows most of the key, or as a stand-in, for choice in the layout
 * by which is read, or (when its peers take it for one of the first N and it does not) as a further stand-in of the
 * first. */
static struct target *own_target(const struct step *step, struct request *request) {
  struct target *own = request_target(request, step->self, 0);
  for (uint32_t i = 0; i < request->target_count && own == NULL; i++) {
    struct target *target = &request->targets[i];
    own = target->node == step->self && (target->layouts & LAYOUT_READING) != 0 ? target : NULL;
  }
  for (uint32_t i = 0; i < request->target_count && own == NULL; i++) {
    own = request->targets[i].node == step->self ? &request->targets[i] : NULL;
  }
  if (own == NULL) {
    ASSERT(request->lists[0].count > 0 && request->target_count < TARGETS_MAX);
    uint32_t first = request->lists[0].nodes[0];
    own = &request->targets[request->target_count];
    *own = (struct target){.node = step->self, .owner = first, .layouts = request_layouts(request, first)};
    request->target_count += 1;
  }
  return own;
}

static void put_coordinate(struct coord *coord, struct step *step, struct request *request, struct bytes value,
                           struct bytes context) {
  struct bucket_props props = request_props(step, request->key);
  const char *why = put_arguments(step, request, &props);
  if (why != NULL) {
    put_fail(coord, step, request, ERR_BADARG, NULL, why);
    return;
  }
  request_plan_put(step, request, props.n);
  request_planned(coord, step, request);
  const struct target *own = own_target(step, request);
  if (!request_reachable(request)) {
    put_fail_quorum(coord, step, request, ERR_QUORUM);
    return;
  }
  COUNT(step->stats->puts);
  request_set_timer(coord, request, step->now_ns + step->tunables->hedge_ns);
  put_stamp(coord, step, request, own->owner, value, context);
}

/* A hint here, which does not count, for the replicas of a layout that are down and for whom there is no stand-in. */
static void hint_unserved(struct coord *coord, struct step *step, struct request *request,
                          const struct preference *list) {
  for (uint32_t i = 0; i < list->replica_count; i++) {
    uint32_t node = list->nodes[i];
    uint8_t looked_at = request_layouts(request, node) & request->live & LAYOUT_READING;
    bool other_list = list != &request->lists[0] && looked_at != 0;
    bool served = other_list || request_target(request, node, 0) != NULL;
    for (uint32_t j = 0; j < request->target_count; j++) {
      served = served || request->targets[j].owner == node;
    }
    if (!served) {
      keep_hint(coord, step, request, node);
    }
  }
}

static void put_stamped(struct coord *coord, struct step *step, struct request *request,
                        const struct message *message) {
  if (message->err != ERR_OK) {
    put_fail(coord, step, request, message->err, NULL, NULL);
    return;
  }
  ASSERT(message->object_blob != NULL);
  request->object = blob_get(message->object_blob);
  request->dot.time = message->stamp_time;
  request->dot.actor = (struct actor){.node = step->self, .incarnation = message->stamp_incarnation};
  request->phase = PHASE_WRITING;
  blob_put(request->value);
  request->value = NULL;
  uint32_t count = request->target_count;
  for (uint32_t i = 0; i < count; i++) {
    struct target *target = &request->targets[i];
    if (request_is_lost(step, target->node)) {
      put_target_lost(coord, step, request, target); /* it went down while the own replica read */
    } else if (target->node != step->self || target->owner != message->owner) {
      send_write(coord, step, request, target->node, target->owner, request->flags & (MESSAGE_EARLY | MESSAGE_NOSYNC));
    }
  }
  /* They are asked only now: `hedge` begins anew. */
  uint64_t hedge_ns = step->now_ns + step->tunables->hedge_ns;
  uint64_t end_ns = request->started_ns + step->tunables->request_timeout_ns;
  request_set_timer(coord, request, hedge_ns < end_ns ? hedge_ns : end_ns);
  for (uint32_t i = 0; i < request->list_count; i++) {
    if ((request->live >> i & 1u) != 0) {
      hint_unserved(coord, step, request, &request->lists[i]);
    }
  }
}

static void put_acknowledged(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                             const struct message *message) {
  struct target *target = request_target(request, from, message->owner);
  bool open = target != NULL && (target->state == TARGET_SENT || target->state == TARGET_ACCEPTED);
  if (PLANTED(second_answer) && request->phase == PHASE_REPLIED && request->origin == 0) {
    (void)step_reply(step, request->origin_request);
  }
  if (!open) {
    bool counts = PLANTED(messages_counted) && target != NULL && request->need > 1;
    request->need = (uint8_t)(counts ? request->need - 1 : request->need);
    request->need_durable = request->need < request->need_durable ? request->need : request->need_durable;
    COUNT(step->stats->messages_late);
    return;
  }
  if (message->err != ERR_OK) {
    request->failure = message->err;
    put_target_lost(coord, step, request, target);
  } else if ((message->flags & MESSAGE_DURABLE) != 0) {
    target->state = TARGET_DONE;
  } else {
    target->state = TARGET_ACCEPTED;
  }
  put_evaluate(coord, step, request);
}

/* -- forwarding -------------------------------------------------------------------------------- */

static bool was_tried(const struct request *request, uint32_t node) {
  for (uint32_t i = 0; i < request->tried_count; i++) {
    if (request->tried[i] == node) {
      return true;
    }
  }
  return false;
}

/* Who shall coordinate: this node when it is one of the first N healthy ("any of the top N", §6.4), else the fastest
 * reader that the context names, else the first of them. All by the layout by which is read: to whom a partition is
 * still moving does not know what a blind put is to replace. Those that have refused are passed over; this node is the
 * last resort. */
static uint32_t choose_coordinator(const struct step *step, const struct request *request, uint32_t preferred) {
  uint32_t first = 0;
  bool wanted = false;
  for (uint32_t i = 0; i < request->target_count; i++) {
    const struct target *target = &request->targets[i];
    if ((target->layouts & LAYOUT_READING) == 0) {
      continue;
    }
    if (target->node == step->self && !step->nospace && step->sure && step->lost == 0) {
      return step->self;
    }
    if (target->node != step->self && !was_tried(request, target->node)) {
      first = first == 0 ? target->node : first;
      wanted = wanted || (target->node == preferred && target->owner == 0);
    }
  }
  if (first == 0 || request->tried_count == TRIED_MAX) {
    return step->self;
  }
  return wanted ? preferred : first;
}

/* The next look at whether its coordinator is still up. */
static void set_forward_timer(struct coord *coord, const struct step *step, const struct request *request) {
  uint64_t look_ns = step->now_ns + step->tunables->hedge_ns;
  uint64_t end_ns = request->started_ns + step->tunables->request_timeout_ns;
  request_set_timer(coord, request, look_ns < end_ns ? look_ns : end_ns);
}

static void put_forward(struct coord *coord, struct step *step, struct request *request, uint32_t to) {
  ASSERT(to != step->self);
  ASSERT(request->tried_count < TRIED_MAX);
  request->phase = PHASE_FORWARDED;
  request->cut_off = false;
  request->tried[request->tried_count] = to;
  request->tried_count += 1;
  struct message forward = {
      .type = MESSAGE_FORWARD,
      .flags = request->flags & MESSAGE_BLIND,
      .request = request_number(coord, request),
      .key = blob_bytes(request->key),
      .key_blob = request->key,
      .object = blob_bytes(request->value),
      .object_blob = request->value,
      .context = blob_bytes(request->context),
      .options = request->options,
  };
  step_send(step, to, &forward);
  COUNT(step->stats->forwards);
  set_forward_timer(coord, step, request);
}

static void put_forward_again(struct coord *coord, struct step *step, struct request *request) {
  COUNT(step->stats->forward_retries);
  struct bucket_props props = request_props(step, request->key);
  request_plan_put(step, request, props.n);
  uint32_t to = choose_coordinator(step, request, 0);
  if (to == step->self) {
    put_coordinate(coord, step, request, blob_bytes(request->value), blob_bytes(request->context));
  } else {
    put_forward(coord, step, request, to);
  }
}

static void put_forward_replied(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                                const struct message *message) {
  bool current = request->phase == PHASE_FORWARDED && request->tried[request->tried_count - 1] == from;
  if (!current) {
    COUNT(step->stats->messages_late);
    return;
  }
  if (message->err == ERR_STALE || message->err == ERR_NOTMEMBER) {
    put_forward_again(coord, step, request); /* certainly not done there */
    return;
  }
  if (message->err != ERR_OK) {
    const struct outcome *outcome = message->outcome.kind != QUORUM_NONE ? &message->outcome : NULL;
    put_fail(coord, step, request, message->err, outcome, NULL);
    return;
  }
  struct position position = position_read(request->key->data);
  struct context_binding binding = {step->cluster_seed, position.high, position.low};
  uint32_t coordinator = 0;
  if (context_decode(message->object, binding, &coord->past, &coordinator) != ERR_OK) {
    COUNT(step->stats->messages_bad);
    put_fail(coord, step, request, ERR_CORRUPT, NULL,
             "the coordinator's answer was damaged; the write may have taken effect");
    return;
  }
  struct reply *reply = step_reply(step, request->origin_request);
  step_reply_context(step, reply, &coord->past, from, position);
  request_answered(step, request);
  request_free(coord, request);
}

/* -- events ---------------------------------------------------------------------------------------- */

void put_message(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                 const struct message *message) {
  bool stamped = message->type == MESSAGE_STAMPED && request->phase == PHASE_STAMPING;
  bool written = request->phase == PHASE_WRITING || request->phase == PHASE_REPLIED;
  request_refresh(step, request);
  if (stamped && from == step->self) {
    put_stamped(coord, step, request, message);
  } else if (message->type == MESSAGE_WRITE_ACK && written) {
    put_acknowledged(coord, step, request, from, message);
  } else if (message->type == MESSAGE_FORWARD_REPLY) {
    put_forward_replied(coord, step, request, from, message);
  } else {
    COUNT(step->stats->messages_late);
  }
}

void put_timer(struct coord *coord, struct step *step, struct request *request) {
  uint64_t age_ns = step->now_ns - request->started_ns;
  bool expired = age_ns >= step->tunables->request_timeout_ns;
  request_refresh(step, request);
  /* 1. a forwarded put whose coordinator went down or is silent: whether it was done nobody here can know */
  if (request->phase == PHASE_FORWARDED) {
    if (expired || request->cut_off || request_is_lost(step, request->tried[request->tried_count - 1])) {
      put_fail(coord, step, request, ERR_TIMEOUT, NULL, "its coordinator went silent; the write may have taken effect");
    } else {
      set_forward_timer(coord, step, request);
    }
    return;
  }
  /* 2. the own replica has not stamped yet: the disk is slow */
  if (request->phase == PHASE_STAMPING) {
    if (expired) {
      put_fail_quorum(coord, step, request, ERR_TIMEOUT);
    } else {
      request_set_timer(coord, request, request->started_ns + step->tunables->request_timeout_ns);
    }
    return;
  }
  /* 3. nodes that went down, and the silent ones once `hedge` has passed, are joined by others */
  request->hedged = request->hedged || age_ns >= step->tunables->hedge_ns;
  uint32_t count = request->target_count;
  for (uint32_t i = 0; i < count; i++) {
    struct target *target = &request->targets[i];
    bool open = target->state == TARGET_SENT || target->state == TARGET_ACCEPTED;
    if (open && request_is_lost(step, target->node)) {
      put_target_lost(coord, step, request, target);
    } else if (target->state == TARGET_SENT && request->hedged && target->node != step->self) {
      put_join(coord, step, request, target);
    }
  }
  if (request->phase == PHASE_WRITING && expired) {
    put_fail_quorum(coord, step, request, ERR_TIMEOUT);
    return;
  }
  if (request->phase == PHASE_REPLIED && request->hedged) {
    put_let_go(coord, step, request);
    return;
  }
  uint64_t wait_ns = request->hedged ? step->tunables->request_timeout_ns : step->tunables->hedge_ns;
  request_set_timer(coord, request, request->started_ns + wait_ns);
  put_evaluate(coord, step, request);
}

/* Keeps what a forward needs beyond this step. */
static bool keep_for_forward(struct step *step, struct request *request, struct bytes value, struct bytes context) {
  request->value = blob_copy(step->pool, value);
  if (context.size > 0 && request->context == NULL) {
    request->context = blob_copy(step->pool, context);
  }
  return request->value != NULL && (context.size == 0 || request->context != NULL);
}

/* The coordinator that the context names; BADCONTEXT when it is none of this key's. */
static enum err context_coordinator(struct coord *coord, const struct step *step, const struct request *request,
                                    struct bytes context, uint32_t *coordinator) {
  *coordinator = 0;
  if (context.size == 0) {
    return ERR_OK;
  }
  struct position position = position_read(request->key->data);
  struct context_binding binding = {step->cluster_seed, position.high, position.low};
  return context_decode(context, binding, &coord->past, coordinator);
}

static struct request *put_new(struct coord *coord, struct step *step, struct bytes context, struct blob *key,
                               enum err *err) {
  *err = ERR_BUSY;
  struct request *request = request_new(coord, step, REQUEST_PUT, key);
  if (request == NULL) {
    return NULL;
  }
  if (context.size > 0) {
    request->context = blob_copy(step->pool, context);
    if (request->context == NULL) {
      request_free(coord, request);
      *err = ERR_NOMEM;
      return NULL;
    }
  }
  return request;
}

void put_start(struct coord *coord, struct step *step, const struct command *command) {
  if (command->value.size > step->tunables->value_max_bytes) {
    reply_error(step, command->token, ERR_TOOBIG, NULL, NULL);
    return;
  }
  enum err err = ERR_NOMEM;
  struct blob *key = store_key_make(step->pool, command->key);
  struct request *request = key == NULL ? NULL : put_new(coord, step, command->context, key, &err);
  blob_put(key);
  if (request == NULL) {
    reply_error(step, command->token, err, NULL, NULL);
    return;
  }
  request->origin_request = command->token;
  request->flags = command->blind ? MESSAGE_BLIND : 0;
  request->options = (struct put_options){
      .expires_at_ms = command->expires_at_ms,
      .w = command->w,
      .pw = command->pw,
      .dw = command->dw,
      .put_flags = (uint8_t)((command->tombstone ? PUT_TOMBSTONE : 0) | (command->keep_expiry ? PUT_KEEP_EXPIRY : 0)),
  };
  request->phase = PHASE_STAMPING;
  uint32_t preferred = 0;
  if (context_coordinator(coord, step, request, command->context, &preferred) != ERR_OK) {
    put_fail(coord, step, request, ERR_BADCONTEXT, NULL, NULL);
    return;
  }
  request_plan_put(step, request, request_props(step, request->key).n);
  uint32_t to = choose_coordinator(step, request, preferred);
  if (to == step->self) {
    put_coordinate(coord, step, request, command->value, command->context);
  } else if (keep_for_forward(step, request, command->value, command->context)) {
    put_forward(coord, step, request, to);
  } else {
    put_fail(coord, step, request, ERR_NOMEM, NULL, NULL);
  }
}

/* A doubled message must not be a second put: the latest forwards are remembered. */
static bool forward_is_first(struct coord *coord, uint32_t from, uint64_t number) {
  uint64_t words[2] = {from, number};
  uint64_t hash = bytes_hash((struct bytes){(const uint8_t *)words, sizeof words}, 0);
  uint32_t ignored = 0;
  if (map_find(&coord->forwards, hash, &ignored)) {
    return false;
  }
  uint64_t *oldest = &coord->forward_ring[coord->forward_next];
  if (*oldest != 0) {
    (void)map_remove(&coord->forwards, *oldest);
  }
  *oldest = hash;
  coord->forward_next = (coord->forward_next + 1) % FORWARDS_REMEMBERED;
  map_insert(&coord->forwards, hash, 0);
  return true;
}

void coord_refuse_forward(struct coord *coord, struct step *step, uint32_t from, const struct message *message,
                          enum err err) {
  ASSERT(err != ERR_OK);
  if (!forward_is_first(coord, from, message->request)) {
    COUNT(step->stats->messages_late);
    return;
  }
  struct message refusal = {.type = MESSAGE_FORWARD_REPLY, .request = message->request, .err = err};
  step_send(step, from, &refusal);
}

void put_forwarded(struct coord *coord, struct step *step, uint32_t from, const struct message *message) {
  struct message refusal = {.type = MESSAGE_FORWARD_REPLY, .request = message->request};
  if (message->key.size < POSITION_BYTES || message->key.size > POSITION_BYTES + KEY_MAX_BYTES) {
    COUNT(step->stats->messages_bad);
    return;
  }
  bool tombstone = (message->options.put_flags & PUT_TOMBSTONE) != 0;
  if (tombstone && message->object.size > 0) {
    COUNT(step->stats->messages_bad);
    refusal.err = ERR_BADARG;
    step_send(step, from, &refusal);
    return;
  }
  /* Before anything else is said of it: a copy must not be refused while the first is being done. */
  if (!forward_is_first(coord, from, message->request) && !PLANTED(forward_twice)) {
    COUNT(step->stats->messages_late);
    return;
  }
  /* The forwarder has told its client by now that this timed out: a plain SET from then must not replace what has been
   * written since. Wall clocks have no say in it: they may differ for good. */
  if (step->lag_ms > step->tunables->request_timeout_ns / 1000000u) {
    COUNT(step->stats->forwards_stale);
    refusal.err = ERR_STALE;
    step_send(step, from, &refusal);
    return;
  }
  struct blob *key = blob_copy(step->pool, message->key);
  struct request *request = key == NULL ? NULL : put_new(coord, step, message->context, key, &refusal.err);
  blob_put(key);
  if (request != NULL) {
    request->answer_room = blob_new(step->pool, CONTEXT_CUT_BYTES);
    if (request->answer_room == NULL) {
      request_free(coord, request);
      request = NULL;
      refusal.err = ERR_NOMEM;
    }
  }
  if (request == NULL) {
    refusal.err = key == NULL ? ERR_NOMEM : refusal.err;
    step_send(step, from, &refusal);
    return;
  }
  request->origin = from;
  request->origin_request = message->request;
  request->flags = message->flags & MESSAGE_BLIND;
  request->options = message->options;
  request->phase = PHASE_STAMPING;
  put_coordinate(coord, step, request, message->object, message->context);
}
