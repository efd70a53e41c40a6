/* get: ask the first N healthy, answer after R, repair after the reply (paper §4.5, §5). */
#include "base/assert.h"
#include "base/plant.h"
#include "coord/request.h"
#include "version/prune.h"

#define ANSWERED (1u << TARGET_DONE)
#define OPEN (1u << TARGET_SENT | 1u << TARGET_UNRESOLVED)

static void send_read(struct coord *coord, struct step *step, struct request *request, const struct target *target,
                      bool full) {
  struct message read = {
      .type = MESSAGE_READ,
      .flags = (uint8_t)(MESSAGE_COUNTS | (full ? MESSAGE_FULL : 0)),
      .owner = target->owner,
      .request = request_number(coord, request),
      .key = blob_bytes(request->key),
      .key_blob = request->key,
  };
  step_send(step, target->node, &read);
}

/* Which target answers with its values whatever their size: this node itself where it can, else the first. */
static uint32_t full_target(const struct step *step, const struct request *request) {
  for (uint32_t i = 0; i < request->target_count; i++) {
    if (request->targets[i].node == step->self) {
      return i;
    }
  }
  return 0;
}

static void get_fail(struct coord *coord, struct step *step, struct request *request, enum err err) {
  bool enough = request_count(request, ANSWERED, false) >= request->need;
  struct outcome outcome;
  request_outcome(request, enough ? QUORUM_PR : QUORUM_R, enough ? request->need_primary : request->need, &outcome);
  if (err == ERR_TIMEOUT) {
    COUNT(step->stats->timeouts);
  } else {
    COUNT(step->stats->quorum_failures);
  }
  reply_error(step, request->origin_request, err, &outcome, NULL);
  request_answered(step, request);
  request_free(coord, request);
}

/* After everyone has answered, or the window has closed: replicas found behind are sent what was merged, and what they
 * have that is dead. */
static void get_repair(struct coord *coord, struct step *step, struct request *request) {
  ASSERT(request->phase == PHASE_REPLIED);
  bool knows = request->object != NULL || request->floor > 0;
  for (uint32_t i = 0; i < request->target_count && knows && !PLANTED(no_repair); i++) {
    const struct target *target = &request->targets[i];
    if (target->owner != 0 || target->state != TARGET_DONE || target->digest == request->digest) {
      continue;
    }
    struct message write = {
        .type = request->floor > 0 ? MESSAGE_BURY : MESSAGE_WRITE,
        .flags = MESSAGE_QUIET,
        .floor = request->floor,
        .request = request_number(coord, request),
        .key = blob_bytes(request->key),
        .key_blob = request->key,
        .object = blob_bytes(request->object),
        .object_blob = request->object,
    };
    step_send(step, target->node, &write);
    COUNT(step->stats->read_repairs);
  }
  request_free(coord, request);
}

static void get_reply(struct coord *coord, struct step *step, struct request *request) {
  struct reply *reply = step_reply(step, request->origin_request);
  reply->object = blob_get(request->object);
  reply->coordinator = request->fastest;
  if (request->object != NULL) {
    struct object object;
    enum err err = object_open(&object, blob_bytes(request->object));
    ASSERT(err == ERR_OK);
    if (object.sibling_count > 1) {
      COUNT(step->stats->reads_siblings);
    } else {
      COUNT(step->stats->reads_one_version);
    }
  }
  request_answered(step, request);
  request_replied(coord, request);
  request->window_end_ns = step->now_ns + step->tunables->repair_window_ns;
  request_set_timer(coord, request, request->window_end_ns);
}

static void object_set(struct request *request, struct blob *object) {
  blob_put(request->object);
  request->object = object;
  request->digest = object_digest(blob_bytes(object));
}

/* Who answered with a clock knows what is dead, too. False when there is no room to take it out. */
static bool bury(struct step *step, struct request *request, const struct target *target) {
  struct blob *left = NULL;
  enum pruned pruned = PRUNED_NOTHING;
  if (target->floor > 0) {
    pruned = object_bury(step->pool, blob_bytes(request->object), blob_bytes(target->clock), target->floor, &left);
  }
  if (pruned == PRUNED_SOME || pruned == PRUNED_ALL) {
    object_set(request, left);
  }
  request->floor = pruned != PRUNED_NOMEM && target->floor > request->floor ? target->floor : request->floor;
  return pruned != PRUNED_NOMEM;
}

/* Clocks whose values are now known from elsewhere are answers. */
static void resolve_clocks(struct step *step, struct request *request) {
  for (uint32_t i = 0; i < request->target_count; i++) {
    struct target *target = &request->targets[i];
    if (target->state == TARGET_UNRESOLVED && request->object != NULL &&
        object_descends(blob_bytes(request->object), blob_bytes(target->clock)) && bury(step, request, target)) {
      target->state = TARGET_DONE;
      blob_put(target->clock);
      target->clock = NULL;
    }
  }
}

/* Values that only a clock tells of so far are asked for once nobody else is expected to bring them. */
static void fetch_unresolved(struct coord *coord, struct step *step, struct request *request) {
  bool full_answered = request->object != NULL || request_count(request, 1u << TARGET_SENT, false) == 0;
  if (!full_answered && !request->hedged && request->phase != PHASE_REPLIED) {
    return;
  }
  for (uint32_t i = 0; i < request->target_count; i++) {
    struct target *target = &request->targets[i];
    if (target->state == TARGET_UNRESOLVED && !target->fetching) {
      target->fetching = true;
      send_read(coord, step, request, target, true);
    }
  }
}

static void get_evaluate(struct coord *coord, struct step *step, struct request *request) {
  resolve_clocks(step, request);
  fetch_unresolved(coord, step, request);
  bool enough = request_count(request, ANSWERED, false) >= request->need &&
                request_count(request, ANSWERED, true) >= request->need_primary;
  bool waiting = request_count(request, OPEN, false) > 0;
  if (request->phase != PHASE_REPLIED && enough) {
    get_reply(coord, step, request);
  } else if (request->phase != PHASE_REPLIED && !waiting) {
    get_fail(coord, step, request, request->failure == ERR_OK ? ERR_QUORUM : request->failure);
    return;
  }
  if (request->phase == PHASE_REPLIED && !waiting) {
    get_repair(coord, step, request);
  }
}

/* Asks the next stand-in in a target's stead. */
static void get_join(struct coord *coord, struct step *step, struct request *request, struct target *target) {
  if (target->joined) {
    return;
  }
  target->joined = true;
  uint32_t count = request->target_count;
  (void)request_stand_in(step, request, target->owner != 0 ? target->owner : target->node, target->layouts);
  for (uint32_t i = count; i < request->target_count; i++) {
    COUNT(step->stats->hedges);
    send_read(coord, step, request, &request->targets[i], true);
  }
}

void get_target_lost(struct coord *coord, struct step *step, struct request *request, struct target *target) {
  ASSERT(target->state != TARGET_DONE);
  target->state = TARGET_FAILED;
  blob_put(target->clock);
  target->clock = NULL;
  if (request->phase != PHASE_REPLIED) {
    get_join(coord, step, request, target);
  }
}

static void get_take(struct coord *coord, struct step *step, struct request *request, struct target *target,
                     const struct message *message) {
  bool is_clock = (message->flags & MESSAGE_CLOCK) != 0;
  target->digest = message->digest;
  target->floor = message->floor;
  if (message->digest == request->digest && message->digest != 0) {
    target->state = TARGET_DONE; /* the same: nothing of it is dead for him, nor of his for another */
    request->floor = message->floor > request->floor ? message->floor : request->floor;
    return;
  }
  struct object object = {.is_clock = is_clock};
  enum err err = message->object.size == 0 ? ERR_OK : object_open(&object, message->object);
  if (err != ERR_OK || object.is_clock != is_clock || (is_clock && message->object.size == 0)) {
    COUNT(step->stats->messages_bad);
    request->failure = err != ERR_OK ? err : ERR_CORRUPT;
    get_target_lost(coord, step, request, target);
    return;
  }
  if (is_clock) {
    struct blob *kept =
        message->object_blob != NULL ? blob_get(message->object_blob) : blob_copy(step->pool, message->object);
    if (kept == NULL) {
      request->failure = ERR_NOMEM;
      get_target_lost(coord, step, request, target);
      return;
    }
    blob_put(target->clock);
    target->clock = kept;
    target->state = TARGET_UNRESOLVED;
    return;
  }
  struct holding mine = {blob_bytes(request->object), request->object, request->floor};
  struct holding theirs = {message->object, message->object_blob, message->floor};
  struct blob *merged = NULL;
  err = holding_merge(step->scratch, step->pool, &mine, &theirs, request->resolve, step->version_stats, &merged);
  if (err != ERR_OK) {
    request->failure = err;
    get_target_lost(coord, step, request, target);
    return;
  }
  object_set(request, merged);
  request->floor = message->floor > request->floor ? message->floor : request->floor;
  target->state = TARGET_DONE;
  blob_put(target->clock);
  target->clock = NULL;
}

void get_message(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                 const struct message *message) {
  struct target *target = request_target(request, from, message->owner);
  bool open = target != NULL && (target->state == TARGET_SENT || target->state == TARGET_UNRESOLVED);
  if (message->type != MESSAGE_READ_REPLY || !open) {
    COUNT(step->stats->messages_late);
    return;
  }
  if (message->err != ERR_OK) {
    /* RETRY: it can not vouch for what it has; a stand-in is as good. */
    request->failure = message->err == ERR_RETRY ? request->failure : message->err;
    get_target_lost(coord, step, request, target);
  } else {
    if (request->fastest == 0 && target->owner == 0) {
      request->fastest = from;
    }
    get_take(coord, step, request, target, message);
  }
  get_evaluate(coord, step, request);
}

void get_let_go(struct coord *coord, struct step *step, struct request *request) {
  get_repair(coord, step, request);
}

/* While layouts change a node that is removed may not be answered, for what it has said that it reads by: it has to ask
 * again (docs/adr/0005). */
static bool may_be_refused(const struct step *step, const struct request *request) {
  return step->base != step->ring || request->epoch != step->epoch;
}

void get_timer(struct coord *coord, struct step *step, struct request *request) {
  /* 1. those that went down */
  for (uint32_t i = 0; i < request->target_count; i++) {
    struct target *target = &request->targets[i];
    bool open = target->state == TARGET_SENT || target->state == TARGET_UNRESOLVED;
    if (open && request_is_lost(step, target->node)) {
      get_target_lost(coord, step, request, target);
    }
  }
  /* 2. the reply is out, and the window has closed or nobody is left to wait for */
  if (request->phase == PHASE_REPLIED) {
    if (step->now_ns >= request->window_end_ns || request_count(request, OPEN, false) == 0) {
      get_repair(coord, step, request);
    } else {
      request_set_timer(coord, request, request->window_end_ns);
    }
    return;
  }
  /* 3. out of time */
  uint64_t age_ns = step->now_ns - request->started_ns;
  if (age_ns >= step->tunables->request_timeout_ns) {
    get_fail(coord, step, request, ERR_TIMEOUT);
    return;
  }
  /* 4. silent replicas are joined by stand-ins */
  bool again = !request->hedged && may_be_refused(step, request);
  request->hedged = request->hedged || age_ns >= step->tunables->hedge_ns;
  uint32_t count = request->target_count;
  for (uint32_t i = 0; i < count && request->hedged; i++) {
    if (request->targets[i].state == TARGET_SENT && again) {
      send_read(coord, step, request, &request->targets[i], true);
    }
    if (request->targets[i].state == TARGET_SENT) {
      get_join(coord, step, request, &request->targets[i]);
    }
  }
  uint64_t wait_ns = request->hedged ? step->tunables->request_timeout_ns : step->tunables->hedge_ns;
  request_set_timer(coord, request, request->started_ns + wait_ns);
  get_evaluate(coord, step, request);
}

static const char *get_arguments(const struct command *command, const struct bucket_props *props,
                                 struct request *request) {
  uint8_t r = command->r == QUORUM_DEFAULT ? props->r : command->r;
  uint8_t pr = command->pr == QUORUM_DEFAULT ? props->pr : command->pr;
  if (r < 1 || r > props->n) {
    return "R must be between 1 and the bucket's N";
  }
  if (pr > props->n) {
    return "PR must be between 0 and the bucket's N";
  }
  request->need = r;
  request->need_primary = pr;
  request->resolve = props->resolve;
  return NULL;
}

void get_start(struct coord *coord, struct step *step, const struct command *command) {
  struct blob *key = store_key_make(step->pool, command->key);
  struct request *request = key == NULL ? NULL : request_new(coord, step, REQUEST_GET, key);
  blob_put(key);
  if (request == NULL) {
    reply_error(step, command->token, key == NULL ? ERR_NOMEM : ERR_BUSY, NULL, NULL);
    return;
  }
  COUNT(step->stats->gets);
  request->origin_request = command->token;
  request->phase = PHASE_READING;
  struct bucket_props props = request_props(step, request->key);
  const char *why = get_arguments(command, &props, request);
  if (why != NULL) {
    reply_error(step, command->token, ERR_BADARG, NULL, why);
    request_free(coord, request);
    return;
  }
  request_plan_get(step, request, props.n);
  if (!request_reachable(request)) {
    get_fail(coord, step, request, ERR_QUORUM);
    return;
  }
  request_set_timer(coord, request, PLANTED(no_timer) ? HEAP_NEVER : step->now_ns + step->tunables->hedge_ns);
  uint32_t full = full_target(step, request);
  for (uint32_t i = 0; i < request->target_count; i++) {
    send_read(coord, step, request, &request->targets[i], i == full);
  }
}
