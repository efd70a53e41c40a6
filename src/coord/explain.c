/* explain: every node of the preference list by which is read, and every replica by the other live layout, tells the
 * clock of what it holds of a key, and of the hints that it keeps. */
#include <string.h>

#include "base/assert.h"
#include "coord/request.h"

#define EXPLAIN_WAIT_NS 1000000000u

static void ask(struct coord *coord, struct step *step, struct request *request, uint32_t node, uint32_t owner) {
  struct message read = {
      .type = MESSAGE_READ,
      .flags = MESSAGE_CLOCK,
      .owner = owner,
      .request = request_number(coord, request),
      .key = blob_bytes(request->key),
      .key_blob = request->key,
  };
  request->asked += 1;
  step_send(step, node, &read);
}

static struct explained *find_explained(struct request *request, uint32_t node) {
  for (uint32_t i = 0; i < request->explained_count; i++) {
    if (request->explained[i].node == node) {
      return &request->explained[i];
    }
  }
  return NULL;
}

/* Who is asked. Replicas by the other layout take the places of the last stand-ins if need be. */
static void list_nodes(struct request *request) {
  const struct preference *list = &request->lists[0];
  for (uint32_t i = 0; i < list->count; i++) {
    request->explained[i] = (struct explained){.node = list->nodes[i], .stand_in = i >= list->replica_count};
  }
  request->explained_count = list->count;
  uint32_t last = PREFERENCE_MAX;
  for (uint32_t i = 0; request->list_count > 1 && i < request->lists[1].replica_count; i++) {
    uint32_t node = request->lists[1].nodes[i];
    struct explained *explained = find_explained(request, node);
    if (explained == NULL && request->explained_count < PREFERENCE_MAX) {
      explained = &request->explained[request->explained_count];
      request->explained_count += 1;
    }
    while (explained == NULL) {
      last -= 1;
      ASSERT(last >= list->replica_count);
      explained = request->explained[last].stand_in ? &request->explained[last] : NULL;
    }
    *explained = (struct explained){.node = node};
  }
}

void explain_start(struct coord *coord, struct step *step, const struct command *command) {
  struct blob *key = store_key_make(step->pool, command->key);
  struct request *request = key == NULL ? NULL : request_new(coord, step, REQUEST_EXPLAIN, key);
  blob_put(key);
  if (request == NULL) {
    reply_error(step, command->token, key == NULL ? ERR_NOMEM : ERR_BUSY, NULL, NULL);
    return;
  }
  request->origin_request = command->token;
  request->phase = PHASE_READING;
  request_plan_put(step, request, request_props(step, request->key).n);
  list_nodes(request);
  for (uint32_t i = 0; i < request->explained_count; i++) {
    const struct explained *explained = &request->explained[i];
    if (!step_is_up(step, explained->node)) {
      continue;
    }
    ask(coord, step, request, explained->node, 0);
    for (uint32_t j = 0; j < request->explained_count; j++) {
      const struct explained *owner = &request->explained[j];
      if (i != j && !owner->stand_in) {
        ask(coord, step, request, explained->node, owner->node);
      }
    }
  }
  if (request->asked == 0) {
    explain_finish(coord, step, request); /* nobody of the list is up; in a large cluster this node need not be in it */
    return;
  }
  request_set_timer(coord, request, step->now_ns + EXPLAIN_WAIT_NS);
}

void explain_finish(struct coord *coord, struct step *step, struct request *request) {
  ASSERT(request->kind == REQUEST_EXPLAIN);
  struct reply *reply = step_reply(step, request->origin_request);
  reply->explained_count = request->explained_count;
  for (uint32_t i = 0; i < request->explained_count; i++) {
    reply->explained[i] = request->explained[i];
  }
  request->explained_count = 0; /* the references are the reply's now */
  request_free(coord, request);
}

/* Adds { owner, size, clock } to the hints of a node. */
static void add_hint(struct step *step, struct explained *explained, uint32_t owner, struct bytes clock) {
  struct bytes before = blob_bytes(explained->hints);
  struct blob *joined = blob_new(step->pool, before.size + 2 * sizeof(uint32_t) + clock.size);
  if (joined == NULL) {
    return;
  }
  struct writer w = writer_make(joined->data, joined->size);
  write_raw(&w, before);
  write_u32(&w, owner);
  write_bytes(&w, clock);
  ASSERT(!w.failed);
  blob_put(explained->hints);
  explained->hints = joined;
}

void explain_message(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                     const struct message *message) {
  struct explained *explained = find_explained(request, from);
  if (message->type != MESSAGE_READ_REPLY || explained == NULL) {
    COUNT(step->stats->messages_late);
    return;
  }
  struct object object;
  bool present = message->err == ERR_OK && message->object.size > 0 && object_open(&object, message->object) == ERR_OK;
  if (message->owner == 0) {
    explained->answered = message->err == ERR_OK;
  }
  if (present && message->owner == 0 && explained->clock == NULL) {
    explained->clock = blob_copy(step->pool, message->object);
  } else if (present && message->owner != 0) {
    add_hint(step, explained, message->owner, message->object);
  }
  request->answered += 1;
  if (request->answered >= request->asked) {
    explain_finish(coord, step, request);
  }
}
