/* Strings as Redis has them, over the core's get and put.
 *
 * A plain SET overwrites what its coordinator knows of the key. All that look before they write (GETSET, SET ... GET,
 * GETDEL, DEL) are a get and a put with its context, so that what the get has not seen is not overwritten: it stays,
 * as a sibling. A command of several keys is done key by key, side by side; an error of one key is the reply of all.
 */
#include "base/assert.h"
#include "front/commands.h"
#include "front/handlers.h"
#include "front/pending.h"
#include "front/state.h"

/* The value that plain commands see: the latest of the siblings that live. */
static bool part_latest(const struct pending *pending, const struct part *part, struct sibling *latest) {
  struct object object;
  if (part->object == NULL) {
    return false;
  }
  enum err err = object_open(&object, blob_bytes(part->object));
  return err == ERR_OK && object_latest(&object, pending->wall_ms, latest);
}

static void output_latest(const struct pending *pending, const struct part *part, struct output *out) {
  struct sibling latest;
  if (part_latest(pending, part, &latest)) {
    output_bulk(out, latest.value);
  } else {
    output_null(out);
  }
}

/* -- reading ------------------------------------------------------------------------- */

static void fill_get(const struct call *call, uint32_t index, struct command *command) {
  command->kind = COMMAND_GET;
  command->key = call->argv[1 + index];
}

static void finish_get(struct pending *pending, const struct reply *last, struct output *out) {
  (void)last;
  output_latest(pending, pending->parts, out);
}

static void finish_mget(struct pending *pending, const struct reply *last, struct output *out) {
  (void)last;
  output_array(out, pending->part_count);
  for (const struct part *part = pending->parts; part != NULL; part = part->next) {
    output_latest(pending, part, out);
  }
}

static void finish_strlen(struct pending *pending, const struct reply *last, struct output *out) {
  struct sibling latest;
  (void)last;
  output_integer(out, part_latest(pending, pending->parts, &latest) ? (int64_t)latest.value.size : 0);
}

static void finish_type(struct pending *pending, const struct reply *last, struct output *out) {
  struct sibling latest;
  (void)last;
  output_simple(out, part_latest(pending, pending->parts, &latest) ? "string" : "none");
}

static void finish_exists(struct pending *pending, const struct reply *last, struct output *out) {
  int64_t count = 0;
  (void)last;
  for (const struct part *part = pending->parts; part != NULL; part = part->next) {
    struct sibling latest;
    count += part_latest(pending, part, &latest) ? 1 : 0;
  }
  output_integer(out, count);
}

/* The parser bounds what it can tell apart; an inline command's keys and those of small values' limits are looked at
 * here. */
static bool keys_fit(struct call *call, uint32_t first, uint32_t step) {
  for (uint32_t i = first; i < call->argc; i += step) {
    if (call->argv[i].size > KEY_MAX_BYTES) {
      output_error_format(call->out, "TOOBIG key is %zu bytes, the limit is %u", call->argv[i].size, KEY_MAX_BYTES);
      return false;
    }
  }
  return true;
}

static void call_read(struct call *call, const struct plan *plan) {
  if (keys_fit(call, 1, 1)) {
    pending_start(call, plan, call->argc - 1);
  }
}

void handle_get(struct call *call) {
  static const struct plan plan = {.access = ACCESS_READ, .fill = fill_get, .finish = finish_get};
  call_read(call, &plan);
}

void handle_mget(struct call *call) {
  static const struct plan plan = {.access = ACCESS_READ, .fill = fill_get, .finish = finish_mget};
  call_read(call, &plan);
}

void handle_strlen(struct call *call) {
  static const struct plan plan = {.access = ACCESS_READ, .fill = fill_get, .finish = finish_strlen};
  call_read(call, &plan);
}

void handle_type(struct call *call) {
  static const struct plan plan = {.access = ACCESS_READ, .fill = fill_get, .finish = finish_type};
  call_read(call, &plan);
}

void handle_exists(struct call *call) {
  static const struct plan plan = {.access = ACCESS_READ, .fill = fill_get, .finish = finish_exists};
  call_read(call, &plan);
}

/* -- setting -------------------------------------------------------------------------- */

static void fill_set(const struct call *call, uint32_t index, struct command *command) {
  (void)index;
  command->kind = COMMAND_PUT;
  command->key = call->argv[1];
  command->value = call->argv[call->spec->value];
  command->blind = true;
}

static void fill_mset(const struct call *call, uint32_t index, struct command *command) {
  command->kind = COMMAND_PUT;
  command->key = call->argv[1 + 2 * index];
  command->value = call->argv[2 + 2 * index];
  command->blind = true;
}

static void finish_ok(struct pending *pending, const struct reply *last, struct output *out) {
  (void)pending;
  (void)last;
  output_raw(out, BYTES_LITERAL("+OK\r\n"));
}

static const struct plan plan_set = {.access = ACCESS_WRITE, .fill = fill_set, .finish = finish_ok};
/* What was there before: the get's value, which part_latest still finds when the put is done. */
static const struct plan plan_set_get = {
    .access = ACCESS_WRITE, .reads_first = true, .fill = fill_set, .finish = finish_get};

enum expiry { EXPIRY_NONE, EXPIRY_SECONDS, EXPIRY_MILLIS, EXPIRY_AT_SECONDS, EXPIRY_AT_MILLIS };

/* The time at which a value expires, in *at_ms. False: the reply says what is wrong. */
static bool call_expiry(struct call *call, enum expiry expiry, struct bytes word, uint64_t *at_ms) {
  int64_t number = 0;
  if (!word_number(word, &number)) {
    call_not_a_number(call);
    return false;
  }
  bool seconds = expiry == EXPIRY_SECONDS || expiry == EXPIRY_AT_SECONDS;
  bool relative = expiry == EXPIRY_SECONDS || expiry == EXPIRY_MILLIS;
  uint64_t now = relative ? front_wall_ms(call->front) : 0;
  int64_t factor = seconds ? 1000 : 1;
  ASSERT(now <= INT64_MAX);
  if (number <= 0 || number > (INT64_MAX - (int64_t)now) / factor) {
    output_error_format(call->out, "ERR invalid expire time in '%s' command", call->spec->name);
    return false;
  }
  *at_ms = now + (uint64_t)(number * factor);
  return true;
}

struct set_options {
  enum expiry expiry;
  struct bytes time;
  bool keep_ttl;
  bool get;
};

static enum expiry expiry_word(struct bytes word) {
  if (word_is(word, "EX")) {
    return EXPIRY_SECONDS;
  }
  if (word_is(word, "PX")) {
    return EXPIRY_MILLIS;
  }
  if (word_is(word, "EXAT")) {
    return EXPIRY_AT_SECONDS;
  }
  return word_is(word, "PXAT") ? EXPIRY_AT_MILLIS : EXPIRY_NONE;
}

static bool set_options_read(struct call *call, struct set_options *options) {
  for (uint32_t i = 3; i < call->argc; i++) {
    struct bytes word = call->argv[i];
    enum expiry expiry = expiry_word(word);
    if (word_is(word, "NX") || word_is(word, "XX")) {
      output_error_format(call->out,
                          "ERR %s is not offered: whether the key exists can not be known in a partition; "
                          "DYNAMO.GET it and DYNAMO.PUT with its context",
                          word_is(word, "NX") ? "NX" : "XX");
      return false;
    }
    if (word_is(word, "GET")) {
      options->get = true;
    } else if (word_is(word, "KEEPTTL") && options->expiry == EXPIRY_NONE) {
      options->keep_ttl = true;
    } else if (expiry != EXPIRY_NONE && options->expiry == EXPIRY_NONE && !options->keep_ttl && i + 1 < call->argc) {
      options->expiry = expiry;
      i += 1;
      options->time = call->argv[i];
    } else {
      call_syntax_error(call);
      return false;
    }
  }
  return true;
}

void handle_set(struct call *call) {
  struct set_options options = {0};
  if (call->argv[1].size > KEY_MAX_BYTES) {
    keys_fit(call, 1, call->argc);
    return;
  }
  if (call->argc > 3) {
    if (!set_options_read(call, &options)) {
      return;
    }
    uint64_t *at_ms = &call->base.expires_at_ms;
    if (options.expiry != EXPIRY_NONE && !call_expiry(call, options.expiry, options.time, at_ms)) {
      return;
    }
    call->base.keep_expiry = options.keep_ttl;
  }
  pending_start(call, options.get ? &plan_set_get : &plan_set, 1);
}

static void call_set_expiring(struct call *call, enum expiry expiry) {
  if (keys_fit(call, 1, call->argc) && call_expiry(call, expiry, call->argv[2], &call->base.expires_at_ms)) {
    pending_start(call, &plan_set, 1);
  }
}

void handle_setex(struct call *call) {
  call_set_expiring(call, EXPIRY_SECONDS);
}

void handle_psetex(struct call *call) {
  call_set_expiring(call, EXPIRY_MILLIS);
}

void handle_getset(struct call *call) {
  if (keys_fit(call, 1, call->argc)) {
    pending_start(call, &plan_set_get, 1);
  }
}

void handle_mset(struct call *call) {
  static const struct plan plan = {.access = ACCESS_WRITE, .once = true, .fill = fill_mset, .finish = finish_ok};
  if (call->argc % 2 == 0) {
    call_wrong_arity(call);
  } else if (keys_fit(call, 1, 2)) {
    pending_start(call, &plan, (call->argc - 1) / 2);
  }
}

/* -- deleting --------------------------------------------------------------------------- */

static void fill_delete(const struct call *call, uint32_t index, struct command *command) {
  command->kind = COMMAND_PUT;
  command->key = call->argv[1 + index];
  command->tombstone = true;
}

/* Only what lives is deleted. */
static bool wants_delete(struct pending *pending, const struct part *part, const struct sibling *latest) {
  (void)part;
  pending->count += latest != NULL ? 1 : 0;
  return latest != NULL;
}

static void finish_count(struct pending *pending, const struct reply *last, struct output *out) {
  (void)last;
  output_integer(out, (int64_t)pending->count);
}

void handle_del(struct call *call) {
  static const struct plan plan = {.access = ACCESS_WRITE,
                                   .reads_first = true,
                                   .once = true,
                                   .fill = fill_delete,
                                   .wants_put = wants_delete,
                                   .finish = finish_count};
  call_read(call, &plan);
}

void handle_getdel(struct call *call) {
  static const struct plan plan = {.access = ACCESS_WRITE,
                                   .reads_first = true,
                                   .fill = fill_delete,
                                   .wants_put = wants_delete,
                                   .finish = finish_get};
  call_read(call, &plan);
}
