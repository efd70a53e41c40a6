/* DYNAMO.*: get and put with contexts (paper §4.1), and what the cluster shows of itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "front/base64url.h"
#include "front/commands.h"
#include "front/describe.h"
#include "front/handlers.h"
#include "front/pending.h"
#include "front/state.h"
#include "version/context.h"

#define NS_PER_MS UINT64_C(1000000)
#define WAITSYNC_MS 60000
#define WAITSYNC_MAX_MS 86400000

/* -- options of get, put and del --------------------------------------------------------- */

enum option {
  OPTION_R = 1,
  OPTION_PR = 2,
  OPTION_W = 4,
  OPTION_PW = 8,
  OPTION_DW = 16,
  OPTION_PX = 32,
  OPTION_CONTEXT = 64
};

struct option_word {
  enum option option;
  const char *word;
};

static const struct option_word option_words[] = {
    {OPTION_R, "R"},   {OPTION_PR, "PR"},           {OPTION_W, "W"}, {OPTION_PW, "PW"}, {OPTION_DW, "DW"},
    {OPTION_PX, "PX"}, {OPTION_CONTEXT, "CONTEXT"},
};

static const struct option_word *option_find(struct bytes word, uint32_t allowed) {
  for (size_t i = 0; i < sizeof(option_words) / sizeof(option_words[0]); i++) {
    if ((allowed & option_words[i].option) != 0 && word_is(word, option_words[i].word)) {
      return &option_words[i];
    }
  }
  return NULL;
}

/* A number of nodes, from `least` to the bucket's N. */
static bool option_quorum(struct call *call, const struct option_word *word, struct bytes value, uint8_t *field) {
  struct bytes bucket = bucket_of_key(call->argv[1]);
  struct bucket_props props = bucket_find(shard_buckets(front_shard(call->front)), bucket);
  int64_t least = word->option == OPTION_R || word->option == OPTION_W ? 1 : 0;
  int64_t number = 0;
  size_t shown = bucket.size < BUCKET_NAME_MAX_BYTES ? bucket.size : BUCKET_NAME_MAX_BYTES;
  if (!word_number(value, &number) || number < least || number > props.n) {
    output_error_format(call->out, "ERR %s must be a number from %" PRId64 " to %u: bucket '%.*s' keeps N=%u copies",
                        word->word, least, props.n, (int)shown, (const char *)bucket.data, props.n);
    return false;
  }
  *field = (uint8_t)number;
  return true;
}

static bool option_context(struct call *call, struct bytes text) {
  size_t size = 0;
  /* An empty one is a writer's mistake: what is put or deleted must not depend on it in silence. */
  if (text.size == 0 || base64url_decoded_size(text.size) > CONTEXT_MAX_BYTES ||
      !base64url_decode(text, call->front->context, &size)) {
    output_error_format(call->out, "%s %s", err_code(ERR_BADCONTEXT), err_text(ERR_BADCONTEXT));
    return false;
  }
  call->base.context = (struct bytes){call->front->context, size};
  return true;
}

static bool option_px(struct call *call, struct bytes value) {
  int64_t number = 0;
  uint64_t now = front_wall_ms(call->front);
  if (!word_number(value, &number)) {
    call_not_a_number(call);
    return false;
  }
  if (number <= 0 || number > INT64_MAX - (int64_t)now) {
    output_error_format(call->out, "ERR invalid expire time in '%s' command", call->spec->name);
    return false;
  }
  call->base.expires_at_ms = now + (uint64_t)number;
  return true;
}

static bool option_set(struct call *call, const struct option_word *word, struct bytes value) {
  struct command *base = &call->base;
  switch (word->option) {
  case OPTION_R:
    return option_quorum(call, word, value, &base->r);
  case OPTION_PR:
    return option_quorum(call, word, value, &base->pr);
  case OPTION_W:
    return option_quorum(call, word, value, &base->w);
  case OPTION_PW:
    return option_quorum(call, word, value, &base->pw);
  case OPTION_DW:
    return option_quorum(call, word, value, &base->dw);
  case OPTION_PX:
    return option_px(call, value);
  case OPTION_CONTEXT:
    return option_context(call, value);
  }
  return false;
}

/* The options from argument `first` on, into call->base. False: the reply says what is wrong. */
static bool options_read(struct call *call, uint32_t first, uint32_t allowed) {
  uint32_t seen = 0;
  if (call->argv[1].size > KEY_MAX_BYTES) {
    output_error_format(call->out, "TOOBIG key is %zu bytes, the limit is %u", call->argv[1].size, KEY_MAX_BYTES);
    return false;
  }
  for (uint32_t i = first; i < call->argc; i += 2) {
    const struct option_word *word = option_find(call->argv[i], allowed);
    if (word == NULL || (seen & word->option) != 0 || i + 1 == call->argc) {
      call_syntax_error(call);
      return false;
    }
    seen |= word->option;
    if (!option_set(call, word, call->argv[i + 1])) {
      return false;
    }
  }
  return true;
}

/* -- contexts out ------------------------------------------------------------------------------- */

static void output_context(struct output *out, struct bytes context) {
  size_t size = base64url_encoded_size(context.size);
  char *text = malloc(size + 1);
  if (text == NULL) {
    out->failed = true;
    return;
  }
  base64url_encode(context, text);
  output_bulk(out, (struct bytes){(const uint8_t *)text, size});
  free(text);
}

/* What a reader of the part's object has seen. */
static void output_seen(const struct pending *pending, uint32_t coordinator, struct output *out) {
  struct front *front = pending->session->front;
  const struct part *part = pending->parts;
  struct writer w = writer_make(front->context, sizeof(front->context));
  struct object object;
  past_init(&front->past);
  if (part->object != NULL && object_open(&object, blob_bytes(part->object)) == ERR_OK) {
    object_past(&object, &front->past);
  }
  context_encode(&w, &front->past, coordinator, shard_binding(front_shard(front), part->command->key));
  ASSERT(!w.failed);
  output_context(out, writer_bytes(&w));
}

/* -- DYNAMO.GET key [R n] [PR n] ------------------------------------------------------------------ */

static void fill_key(const struct call *call, uint32_t index, struct command *command) {
  (void)index;
  command->kind = COMMAND_GET;
  command->key = call->argv[1];
}

static bool sibling_lives(const struct sibling *sibling, uint64_t wall_ms) {
  return !sibling->tombstone && (sibling->expires_at_ms == 0 || sibling->expires_at_ms > wall_ms);
}

static void finish_dynamo_get(struct pending *pending, const struct reply *last, struct output *out) {
  struct object object;
  struct sibling sibling;
  bool present = pending->parts->object != NULL && object_open(&object, blob_bytes(pending->parts->object)) == ERR_OK;
  size_t count = 0;
  output_array(out, 2);
  output_seen(pending, last->coordinator, out);
  if (!present) {
    output_array(out, 0);
    return;
  }
  struct sibling_cursor cursor = object_siblings(&object);
  while (sibling_next(&cursor, &sibling)) {
    count += sibling_lives(&sibling, pending->wall_ms) ? 1 : 0;
  }
  output_array(out, count);
  cursor = object_siblings(&object);
  while (sibling_next(&cursor, &sibling)) {
    if (sibling_lives(&sibling, pending->wall_ms)) {
      output_bulk(out, sibling.value);
    }
  }
}

void handle_dynamo_get(struct call *call) {
  static const struct plan plan = {.access = ACCESS_READ, .keeps = true, .fill = fill_key, .finish = finish_dynamo_get};
  if (options_read(call, 2, OPTION_R | OPTION_PR)) {
    pending_start(call, &plan, 1);
  }
}

/* -- DYNAMO.PUT key value [CONTEXT c] [W n] [PW n] [DW n] [PX ms]
 *    DYNAMO.DEL key [CONTEXT c] [W n] [PW n] [DW n] ---------------------------------------------- */

/* Without a context the writer has seen nothing, so what is there already stays beside the new value. */
static void fill_dynamo_put(const struct call *call, uint32_t index, struct command *command) {
  (void)index;
  command->kind = COMMAND_PUT;
  command->key = call->argv[1];
  command->value = call->argv[2];
}

static void fill_dynamo_del(const struct call *call, uint32_t index, struct command *command) {
  (void)index;
  command->kind = COMMAND_PUT;
  command->key = call->argv[1];
  command->tombstone = true;
}

static void finish_dynamo_put(struct pending *pending, const struct reply *last, struct output *out) {
  (void)pending;
  output_context(out, last->context);
}

static bool wants_dynamo_del(struct pending *pending, const struct part *part, const struct sibling *latest) {
  (void)part;
  pending->count = latest != NULL ? 1 : 0;
  return latest != NULL;
}

static void finish_dynamo_del(struct pending *pending, const struct reply *last, struct output *out) {
  if (pending->count > 0) {
    output_context(out, last->context);
  } else {
    output_seen(pending, last->coordinator, out); /* nothing was there to be deleted */
  }
}

void handle_dynamo_put(struct call *call) {
  static const struct plan plan = {.access = ACCESS_WRITE, .fill = fill_dynamo_put, .finish = finish_dynamo_put};
  if (options_read(call, 3, OPTION_CONTEXT | OPTION_W | OPTION_PW | OPTION_DW | OPTION_PX)) {
    pending_start(call, &plan, 1);
  }
}

/* Without a context it deletes what a get finds, as DEL does: a deletion that has seen nothing would delete nothing. */
void handle_dynamo_del(struct call *call) {
  static const struct plan with_context = {
      .access = ACCESS_WRITE, .fill = fill_dynamo_del, .finish = finish_dynamo_put};
  static const struct plan without = {.access = ACCESS_WRITE,
                                      .reads_first = true,
                                      .fill = fill_dynamo_del,
                                      .wants_put = wants_dynamo_del,
                                      .finish = finish_dynamo_del};
  if (options_read(call, 2, OPTION_CONTEXT | OPTION_W | OPTION_PW | OPTION_DW)) {
    pending_start(call, call->base.context.size > 0 ? &with_context : &without, 1);
  }
}

/* -- JSON ------------------------------------------------------------------------------------------ */

void output_json_take(struct output *out, json_t *document) {
  char *text = document == NULL ? NULL : json_dumps(document, JSON_COMPACT | JSON_PRESERVE_ORDER);
  if (text == NULL) {
    output_error_format(out, "%s %s", err_code(ERR_NOMEM), err_text(ERR_NOMEM));
  } else {
    output_bulk_text(out, text);
  }
  free(text);
  json_decref(document);
}

static void fill_explain(const struct call *call, uint32_t index, struct command *command) {
  (void)index;
  command->kind = COMMAND_EXPLAIN;
  command->key = call->argv[1];
}

static void finish_explain(struct pending *pending, const struct reply *last, struct output *out) {
  output_json_take(out, describe_key(pending->session->front, pending->parts->command->key, last));
}

void handle_dynamo_explain(struct call *call) {
  static const struct plan plan = {
      .access = ACCESS_READ, .keeps = true, .fill = fill_explain, .finish = finish_explain};
  if (options_read(call, 2, 0)) {
    pending_start(call, &plan, 1);
  }
}

void handle_dynamo_status(struct call *call) {
  output_json_take(call->out, describe_status(call->front));
}

void handle_dynamo_ring(struct call *call) {
  output_json_take(call->out, describe_ring(call->front));
}

void handle_dynamo_members(struct call *call) {
  output_json_take(call->out, describe_members(call->front));
}

/* -- DYNAMO.BUCKET name [GET | SET property value ...] --------------------------------------------------- */

static bool bucket_name_is_sound(struct call *call) {
  struct bytes name = call->argv[1];
  if (name.size == 0 || name.size > BUCKET_NAME_MAX_BYTES || memchr(name.data, ':', name.size) != NULL) {
    output_error_format(call->out, "ERR a bucket's name has 1 to %u bytes and no ':'", BUCKET_NAME_MAX_BYTES);
    return false;
  }
  return true;
}

/* As SET takes it: with the largest unit that divides it. */
static void ttl_text(uint64_t ms, char text[32]) {
  static const struct {
    const char *name;
    uint64_t ms;
  } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
  size_t unit = 0;
  while (ms % units[unit].ms != 0) {
    unit += 1;
  }
  snprintf(text, 32, ms == 0 ? "0" : "%" PRIu64 "%s", ms / units[unit].ms, units[unit].name);
}

static void output_props(struct output *out, const struct bucket_props *props) {
  const struct {
    const char *name;
    uint64_t value;
  } counts[] = {{"n", props->n}, {"r", props->r}, {"w", props->w}, {"pr", props->pr}, {"pw", props->pw}};
  char ttl[32];
  ttl_text(props->ttl_ms, ttl);
  output_map(out, 10);
  for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
    output_bulk_text(out, counts[i].name);
    output_integer(out, (int64_t)counts[i].value);
  }
  output_bulk_text(out, "dw");
  if (props->dw == DW_ALL) {
    output_bulk_text(out, "all");
  } else {
    output_integer(out, props->dw);
  }
  output_bulk_text(out, "resolve");
  output_bulk_text(out, props->resolve == RESOLVE_LWW ? "lww" : "siblings");
  output_bulk_text(out, "ttl");
  output_bulk_text(out, ttl);
  output_bulk_text(out, "ttl_ms");
  output_integer(out, (int64_t)props->ttl_ms);
  output_bulk_text(out, "sibling_max");
  output_integer(out, props->sibling_max);
}

static void fill_bucket(const struct call *call, uint32_t index, struct command *command) {
  (void)index;
  command->kind = COMMAND_BUCKET_SET;
  command->key = call->argv[1];
}

static void finish_ok(struct pending *pending, const struct reply *last, struct output *out) {
  (void)pending;
  (void)last;
  output_simple(out, "OK");
}

void handle_dynamo_bucket(struct call *call) {
  static const struct plan plan = {.access = ACCESS_WRITE, .fill = fill_bucket, .finish = finish_ok};
  struct bucket_props *props = &call->base.props;
  const char *why = NULL;
  if (!bucket_name_is_sound(call)) {
    return;
  }
  *props = bucket_find(shard_buckets(front_shard(call->front)), call->argv[1]);
  if (call->argc == 2 || (call->argc == 3 && word_is(call->argv[2], "GET"))) {
    output_props(call->out, props);
    return;
  }
  if (!word_is(call->argv[2], "SET") || call->argc < 5 || call->argc % 2 == 0) {
    call_syntax_error(call);
    return;
  }
  for (uint32_t i = 3; i < call->argc; i += 2) {
    if (bucket_props_set(props, call->argv[i], call->argv[i + 1], &why) != ERR_OK) {
      output_error_format(call->out, "ERR %s", why);
      return;
    }
  }
  if (bucket_props_check(props, &why) != ERR_OK) {
    output_error_format(call->out, "ERR %s", why);
    return;
  }
  pending_start(call, &plan, 1);
}

/* -- DYNAMO.CLUSTER WAITSYNC [TIMEOUT ms] ------------------------------------------------------------------------ */

static void fill_waitsync(const struct call *call, uint32_t index, struct command *command) {
  (void)index;
  command->kind = COMMAND_WAITSYNC;
  command->key = call->argv[1];
  command->timeout_ns = call->base.timeout_ns;
}

void handle_dynamo_waitsync(struct call *call) {
  static const struct plan plan = {.access = ACCESS_READ, .fill = fill_waitsync, .finish = finish_ok};
  int64_t timeout_ms = WAITSYNC_MS;
  bool timed = call->argc == 4 && word_is(call->argv[2], "TIMEOUT");
  if (call->argc != 2 && !timed) {
    call_syntax_error(call);
    return;
  }
  if (timed && (!word_number(call->argv[3], &timeout_ms) || timeout_ms < 1 || timeout_ms > WAITSYNC_MAX_MS)) {
    output_error_format(call->out, "ERR TIMEOUT is in milliseconds, from 1 to %d", WAITSYNC_MAX_MS);
    return;
  }
  call->base.timeout_ns = (uint64_t)timeout_ms * NS_PER_MS;
  pending_start(call, &plan, 1);
}

/* -- help ---------------------------------------------------------------------------------------------------- */

void handle_dynamo_cluster_help(struct call *call) {
  static const char *const lines[] = {
      "DYNAMO.CLUSTER <subcommand>. Subcommands are:",
      "MEMBERS | RING | STATUS",
      "    The members, who owns what, and how it all stands: JSON.",
      "PLAN [ADD <host:port> [WEIGHT <w>] [ZONE <z>] | REMOVE <node> | REPLACE <old> <new-host:port> |",
      "      REWEIGH <node> <w>]",
      "    Stages a change of who is in the cluster, and shows all that is staged on this node: what moves,",
      "    balance, violations, an estimate of the time: JSON. Nothing happens before COMMIT.",
      "COMMIT [<plan-id>]",
      "    Issues what PLAN showed, all of it or, if the ring has changed since, nothing.",
      "ABORT",
      "    Drops what is staged on this node.",
      "WAITSYNC [TIMEOUT <ms>]",
      "    Compares all replicas anew, and answers OK when nothing differs; TIMEOUT (a minute) when it still does.",
      "HELP",
      "    This text.",
  };
  output_lines(call->out, lines, sizeof(lines) / sizeof(lines[0]));
}

void handle_dynamo_help(struct call *call) {
  static const char *const lines[] = {
      "DYNAMO.GET key [R n] [PR n]",
      "    A context and all siblings: [context, [value, ...]].",
      "DYNAMO.PUT key value [CONTEXT c] [W n] [PW n] [DW n] [PX ms]",
      "    Puts a value in the place of what the context has seen; answers the new context. Without",
      "    a context it has seen nothing: what is there stays beside it.",
      "DYNAMO.DEL key [CONTEXT c] [W n] [PW n] [DW n]",
      "    Deletes what the context has seen, or without one what a get finds; answers the new context.",
      "DYNAMO.EXPLAIN key",
      "    Where the key lies, and each replica's clock, siblings and hints: JSON.",
      "DYNAMO.BUCKET name [GET | SET property value ...]",
      "    Properties of the keys `name:...`: n r w pr pw dw resolve ttl sibling_max.",
      "DYNAMO.CLUSTER STATUS | RING | MEMBERS",
      "    The cluster: JSON.",
      "DYNAMO.CLUSTER PLAN [...] | COMMIT [plan-id] | ABORT",
      "    Adds and removes nodes: see DYNAMO.CLUSTER HELP.",
      "DYNAMO.CLUSTER WAITSYNC [TIMEOUT ms]",
      "    Answers when all replicas have been compared, and nothing differs any more.",
  };
  output_lines(call->out, lines, sizeof(lines) / sizeof(lines[0]));
}
