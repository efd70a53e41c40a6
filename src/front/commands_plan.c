/* DYNAMO.CLUSTER PLAN, COMMIT, ABORT: an administrator changes who is in the cluster (paper §4.8.1), in two steps. What
 * is staged is kept in the node that was asked, in memory, until it is committed or dropped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "front/commands.h"
#include "front/describe.h"
#include "front/handlers.h"
#include "front/pending.h"
#include "front/state.h"

#define WORD_BYTES 128u /* the longest is an address */

static const char changed_text[] = "the ring has changed since the plan was made; look at it again with PLAN";

/* -- what is staged ---------------------------------------------------------------------- */

static void staging_drop(struct front *front) {
  free(front->staging);
  front->staging = NULL;
}

/* What is staged, on the history of now. NULL: the reply says why not. `dropped` (STAGING_WHY bytes): what became
 * senseless. */
static struct staging *staging_open(struct call *call, char *dropped) {
  struct front *front = call->front;
  const struct shard *shard = front_shard(front);
  const struct history *history = shard_history(shard);
  dropped[0] = '\0';
  if (!shard_takes_changes(shard)) {
    const struct reply reply = {.err = ERR_NOTMEMBER};
    front_error(front, &reply, false, call->out);
    return NULL;
  }
  if (front->staging == NULL) {
    front->staging = calloc(1, sizeof(*front->staging));
    if (front->staging == NULL) {
      output_error_format(call->out, "%s %s", err_code(ERR_NOMEM), err_text(ERR_NOMEM));
      return NULL;
    }
    staging_init(front->staging, front_facts(front).node, history, shard_ring(shard));
  } else if (front->staging->history_digest != history_digest(history)) {
    (void)staging_refresh(front->staging, history, shard_ring(shard), dropped);
  }
  return front->staging;
}

/* -- words ---------------------------------------------------------------------------------- */

/* A NUL-terminated copy. False: the reply says that it is none of what is wanted. */
static bool word_copy(struct call *call, uint32_t index, char text[WORD_BYTES]) {
  struct bytes word = call->argv[index];
  if (word.size == 0 || word.size >= WORD_BYTES || memchr(word.data, '\0', word.size) != NULL) {
    output_error_format(call->out, "ERR a node is named by its name, id or host:port, in at most %u bytes",
                        WORD_BYTES - 1);
    return false;
  }
  memcpy(text, word.data, word.size);
  text[word.size] = '\0';
  return true;
}

static bool word_weight(struct call *call, uint32_t index, uint32_t *weight) {
  int64_t number = 0;
  if (!word_number(call->argv[index], &number) || number < 1 || number > (int64_t)WEIGHT_MAX) {
    output_error_format(call->out, "ERR a weight is a number from 1 to %u", WEIGHT_MAX);
    return false;
  }
  *weight = (uint32_t)number;
  return true;
}

static bool word_zone(struct call *call, uint32_t index, char zone[NAME_MAX_BYTES + 1]) {
  struct bytes word = call->argv[index];
  bool good = word.size <= NAME_MAX_BYTES;
  for (size_t i = 0; good && i < word.size; i++) {
    uint8_t c = word.data[i];
    uint8_t letter = c | 0x20;
    good = (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  }
  if (!good) {
    output_error_format(call->out, "ERR a zone has at most %u letters, digits, '.', '_' and '-'", NAME_MAX_BYTES);
    return false;
  }
  memset(zone, 0, NAME_MAX_BYTES + 1);
  if (word.size > 0) {
    memcpy(zone, word.data, word.size);
  }
  return true;
}

/* The node that waits to be added and that the argument names; of several, the one that was heard latest. */
static bool word_candidate(struct call *call, uint32_t index, struct change *wish) {
  static const char remedy[] = "start it first, with --seeds naming a member, and see that gramme status lists it; if "
                               "it runs, its log says why it is not listed";
  const struct shard *shard = front_shard(call->front);
  struct candidate_view views[JOINERS_MAX];
  char word[WORD_BYTES];
  if (!word_copy(call, index, word)) {
    return false;
  }
  uint32_t count = shard_candidates(shard, views, JOINERS_MAX);
  for (uint32_t i = 0; i < count; i++) {
    if (staging_names(&views[i].change, word)) {
      *wish = views[i].change;
      return true;
    }
  }
  char why[STAGING_WHY];
  int member = staging_find(&call->front->staging->before, word, why);
  if (member >= 0) {
    output_error_format(call->out, "ERR %s (%s) is a member already", word,
                        call->front->staging->before.members[member].name);
  } else {
    output_error_format(call->out, "ERR no node at %s waits to be added: %s", word, remedy);
  }
  return false;
}

/* -- PLAN [ADD host:port [WEIGHT w] [ZONE z] | REMOVE node | REPLACE old new | REWEIGH node w] ----------- */

static bool plan_usage(struct call *call) {
  output_error(call->out, "ERR PLAN takes ADD host:port [WEIGHT w] [ZONE z] | REMOVE node | REPLACE old new-host:port "
                          "| REWEIGH node w, or nothing to show what is staged");
  return false;
}

static bool plan_add(struct call *call, struct staging *staging, char *why) {
  struct change wish;
  if (call->argc < 4 || call->argc % 2 != 0 || call->argc > 8) {
    return plan_usage(call);
  }
  if (!word_candidate(call, 3, &wish)) {
    return false;
  }
  for (uint32_t i = 4; i < call->argc; i += 2) {
    if (word_is(call->argv[i], "WEIGHT")) {
      if (!word_weight(call, i + 1, &wish.weight)) {
        return false;
      }
    } else if (!word_is(call->argv[i], "ZONE")) {
      return plan_usage(call);
    } else if (!word_zone(call, i + 1, wish.zone)) {
      return false;
    }
  }
  return staging_add(staging, &wish, why);
}

/* One change. False: the reply, or `why`, says what is wrong. */
static bool plan_stage(struct call *call, struct staging *staging, char *why) {
  char node[WORD_BYTES];
  struct change wish;
  uint32_t weight = 0;
  struct bytes verb = call->argv[2];
  if (word_is(verb, "ADD")) {
    return plan_add(call, staging, why);
  }
  if (word_is(verb, "REMOVE") && call->argc == 4) {
    return word_copy(call, 3, node) && staging_remove(staging, node, why);
  }
  if (word_is(verb, "REPLACE") && call->argc == 5) {
    return word_copy(call, 3, node) && word_candidate(call, 4, &wish) && staging_replace(staging, node, &wish, why);
  }
  if (word_is(verb, "REWEIGH") && call->argc == 5) {
    return word_copy(call, 3, node) && word_weight(call, 4, &weight) && staging_reweigh(staging, node, weight, why);
  }
  return plan_usage(call);
}

void handle_dynamo_plan(struct call *call) {
  char dropped[STAGING_WHY];
  char why[STAGING_WHY] = "";
  struct front *front = call->front;
  struct staging *staging = staging_open(call, dropped);
  if (staging == NULL) {
    return;
  }
  if (call->argc > 2 && !plan_stage(call, staging, why)) {
    if (why[0] != '\0') {
      output_error_format(call->out, "ERR %s", why);
    }
  } else {
    staging_compare(staging, front_replicas(front));
    output_json_take(call->out, describe_plan(front, staging, dropped));
  }
  if (staging->count == 0) {
    staging_drop(front);
  }
}

/* -- COMMIT [plan-id] -------------------------------------------------------------------------------- */

/* The changes lie in the front's own memory, and the core copies them before it returns. */
static void fill_commit(const struct call *call, uint32_t index, struct command *command) {
  const struct staging *staging = call->front->staging;
  (void)index;
  ASSERT(staging != NULL);
  command->kind = COMMAND_CHANGE;
  command->key = call->argv[1];
  command->changes = staging->staged;
  command->change_count = staging->count;
  command->history_digest = staging->history_digest;
}

static void finish_commit(struct pending *pending, const struct reply *last, struct output *out) {
  struct front *front = pending->session->front;
  const struct history *history = shard_history(front_shard(front));
  (void)last;
  /* Somebody may have staged more meanwhile: that is looked at anew when it is asked for. */
  if (front->staging != NULL && front->staging->plan_id == front->committing) {
    staging_drop(front);
  }
  json_t *document =
      json_pack("{s:o, s:o, s:I}", "committed", json_sprintf("%016" PRIx64, front->committing), "history_digest",
                json_sprintf("%016" PRIx64, history_digest(history)), "records", (json_int_t)history_length(history));
  output_json_take(out, document);
}

void handle_dynamo_commit(struct call *call) {
  static const struct plan plan = {.access = ACCESS_WRITE, .fill = fill_commit, .finish = finish_commit};
  struct front *front = call->front;
  struct staging *staging = front->staging;
  char id[20];
  if (call->argc > 3) {
    call_wrong_arity(call);
    return;
  }
  if (staging == NULL || staging->count == 0) {
    output_error(call->out, "ERR nothing is staged on this node: stage changes with PLAN, here, and look at them");
    return;
  }
  snprintf(id, sizeof(id), "%016" PRIx64, staging->plan_id);
  if (call->argc == 3 && !bytes_equal(call->argv[2], (struct bytes){(const uint8_t *)id, strlen(id)})) {
    size_t shown = call->argv[2].size < WORD_BYTES ? call->argv[2].size : WORD_BYTES;
    output_error_format(call->out, "%s the plan that is staged here is %s, not %.*s; look at it again with PLAN",
                        err_code(ERR_REFUSED), id, (int)shown, (const char *)call->argv[2].data);
    return;
  }
  if (staging->history_digest != history_digest(shard_history(front_shard(front)))) {
    output_error_format(call->out, "%s %s", err_code(ERR_REFUSED), changed_text);
    return;
  }
  front->committing = staging->plan_id;
  pending_start(call, &plan, 1);
}

/* -- ABORT ---------------------------------------------------------------------------------------------- */

void handle_dynamo_abort(struct call *call) {
  struct front *front = call->front;
  uint32_t count = front->staging == NULL ? 0 : front->staging->count;
  staging_drop(front);
  output_json_take(call->out, json_pack("{s:I}", "dropped", (json_int_t)count));
}
