#include "front/front.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "front/state.h"

/* -- parsers: a connection has one of its own only in the middle of a request -------------- */

/* The shared parser's state becomes the session's; a spare one is shared from now on. */
static bool parser_give(struct front *front, struct session *session) {
  ASSERT(session->parser == NULL);
  struct resp_parser *parser = NULL;
  if (front->spare_count > 0) {
    front->spare_count -= 1;
    parser = front->spares[front->spare_count];
  } else {
    parser = malloc(sizeof(*parser));
    if (parser == NULL) {
      return false;
    }
    resp_init(parser);
  }
  ASSERT(resp_is_idle(parser));
  struct resp_parser shared = front->fresh;
  front->fresh = *parser;
  *parser = shared;
  session->parser = parser;
  return true;
}

/* The session's request is over. */
static void parser_take_back(struct front *front, struct session *session) {
  struct resp_parser *parser = session->parser;
  if (parser == NULL) {
    return;
  }
  session->parser = NULL;
  if (front->spare_count < SPARE_PARSERS && resp_is_idle(parser)) {
    resp_shrink(parser);
    front->spares[front->spare_count] = parser;
    front->spare_count += 1;
  } else {
    resp_deinit(parser);
    free(parser);
  }
}

/* -- holding back ---------------------------------------------------------------------------- */

static void session_hold(struct session *session, enum hold hold) {
  ASSERT(session->hold == HOLD_NONE);
  ASSERT(hold != HOLD_NONE);
  session->hold = hold;
  if (hold == HOLD_STARVED) {
    COUNT(session->front->counts.starved);
    struct list *starved = &session->front->starved;
    list_append(session->passed_over ? starved->next : starved, &session->starved);
  }
  client_pause(session->client);
}

static void session_release(struct session *session) {
  ASSERT(session->hold != HOLD_NONE);
  session->passed_over = session->hold == HOLD_STARVED;
  session->hold = HOLD_NONE;
  list_remove(&session->starved);
  client_resume(session->client);
}

/* How many unanswered requests it may have: fewer when its replies are large or it reads them slowly. */
static uint32_t session_window(const struct session *session) {
  size_t queued = client_queued(session->client);
  size_t room = queued < WINDOW_BYTES ? WINDOW_BYTES - queued : 0;
  size_t window = room / ((size_t)session->reply_bytes + 1);
  window = window < CLIENT_PIPELINE_MAX ? window : CLIENT_PIPELINE_MAX;
  return window < 1 ? 1 : (uint32_t)window;
}

void session_progressed(struct session *session) {
  uint32_t unanswered = session_unanswered(session);
  switch (session->hold) {
  case HOLD_NONE:
  case HOLD_STARVED:
    return;
  case HOLD_PIPELINE:
    if (unanswered <= session_window(session) / 2) {
      session_release(session);
    }
    return;
  case HOLD_BARRIER:
    if (unanswered == 0) {
      session_release(session);
    }
    return;
  }
}

/* A connection that has seen only small replies, and asks for one thing at a time, need not wait for room for replies;
 * one that has seen none yet finds some set aside. */
static bool session_starves(const struct session *session) {
  const struct pool *pool = &session->front->pool;
  if (pool->outstanding >= PARTS_MAX || pool->kept_bytes >= KEPT_BYTES_MAX) {
    return true;
  }
  bool first = session_unanswered(session) == 0;
  if (first && session->reply_bytes <= MODEST_BYTES) {
    return false;
  }
  size_t most = EXPECTED_BYTES_MAX;
  return pool->expected_bytes >= (first && session->reply_bytes <= WINDOW_BYTES / WINDOW_FIRST ? 2 * most : most);
}

/* Who waits longest goes on, as far as there is room. When nothing is under way, all: nobody would call again. */
void front_progressed(struct front *front) {
  const struct pool *pool = &front->pool;
  size_t expected = pool->expected_bytes;
  uint32_t outstanding = pool->outstanding;
  bool idle = outstanding == 0;
  while (list_linked(&front->starved) &&
         (idle || (outstanding < PARTS_MAX && pool->kept_bytes < KEPT_BYTES_MAX && expected < EXPECTED_BYTES_MAX))) {
    struct session *session = LIST_OWNER(front->starved.next, struct session, starved);
    expected += session->reply_bytes;
    outstanding += 1;
    session_release(session);
  }
}

/* -- requests ---------------------------------------------------------------------------------- */

void session_send(struct session *session, struct bytes bytes) {
  (void)client_write(session->client, bytes); /* false: it is being closed, which `closed` will tell */
}

static void send_to_session(void *context, struct bytes bytes) {
  session_send(context, bytes);
}

static void session_answer(struct session *session, bool close_after) {
  struct front *front = session->front;
  if (session->queue == NULL && front->scratch.send != NULL && !front->scratch.failed) {
    output_flush(&front->scratch);
  }
  pending_answer(session, &front->scratch, close_after);
  output_shrink(&front->scratch, OUTPUT_SCRATCH_BYTES);
}

/* False: not now, its earlier requests must be answered first. */
static bool session_execute(struct session *session, const struct bytes *argv, uint32_t argc) {
  struct front *front = session->front;
  struct output *out = &front->scratch;
  output_reset(out, session->resp3);
  if (session->queue == NULL) {
    out->send = send_to_session;
    out->context = session;
  }
  struct call call = {.front = front, .session = session, .argv = argv, .argc = argc, .out = out};
  call.base.r = call.base.pr = call.base.w = call.base.pw = call.base.dw = QUORUM_DEFAULT;
  if (!call_execute(&call)) {
    return false;
  }
  COUNT(front->counts.commands);
  if (!call.started) {
    front->counts.errors += out->size > 0 && out->data[0] == '-' ? 1 : 0;
    session_answer(session, call.close_after);
  }
  return true;
}

/* What the parser itself answers: too large, or not RESP. */
static void session_refuse(struct session *session, const char *error, bool close_after) {
  struct front *front = session->front;
  output_reset(&front->scratch, session->resp3);
  output_error(&front->scratch, error);
  COUNT(front->counts.errors);
  session_answer(session, close_after);
}

/* Looks at one request; `*consumed` of the bytes are done with. False: no further one now. */
static bool session_step(struct session *session, struct bytes bytes, size_t *consumed) {
  struct front *front = session->front;
  struct resp_parser *parser = session->parser != NULL ? session->parser : &front->fresh;
  struct resp_limits limits = {
      .value_max_bytes = front->value_max_bytes,
      .trusted = session->authenticated || front->password[0] == '\0',
      .role = commands_role,
      .context = front,
  };
  size_t used = 0;
  switch (resp_parse(parser, &limits, bytes, &used)) {
  case RESP_MORE:
    *consumed = used;
    if (parser == &front->fresh && !resp_is_idle(parser) && !parser_give(front, session)) {
      resp_deinit(parser); /* idle again */
      session_refuse(session, "NOMEM no memory for the request", true);
    }
    return false;
  case RESP_COMMAND:
    if (!session_execute(session, parser->argv, parser->argc)) {
      parser_take_back(front, session);
      session_hold(session, HOLD_BARRIER);
      *consumed = 0; /* it is parsed again then */
      return false;
    }
    break;
  case RESP_REFUSED:
    COUNT(front->counts.refused);
    session_refuse(session, parser->error, false);
    break;
  case RESP_BROKEN:
    COUNT(front->counts.protocol_errors);
    session_refuse(session, parser->error, true);
    break;
  }
  *consumed = used;
  parser_take_back(front, session);
  return true;
}

/* -- what the server calls ------------------------------------------------------------------------ */

static void *on_opened(void *context, struct client *client) {
  struct front *front = context;
  struct session *session = calloc(1, sizeof(*session));
  if (session == NULL) {
    client_close(client);
    return NULL;
  }
  session->front = front;
  session->client = client;
  session->opened_ns = front_now_ns(front);
  list_init(&session->starved);
  session_reset(session);
  return session;
}

void session_reset(struct session *session) {
  free(session->name);
  free(session->library);
  free(session->library_version);
  session->name = session->library = session->library_version = NULL;
  session->resp3 = false;
  session->authenticated = session->front->password[0] == '\0';
  session->reply_bytes = WINDOW_BYTES / WINDOW_FIRST;
  session->active_ns = front_now_ns(session->front);
}

static size_t on_data(void *context, struct client *client, struct bytes bytes) {
  struct session *session = client_data(client);
  struct front *front = context;
  if (session == NULL) {
    return bytes.size;
  }
  session->active_ns = front_now_ns(front);
  size_t at = 0;
  uint32_t window = session_window(session);
  while (at < bytes.size && session->hold == HOLD_NONE && !session->closing) {
    if (session_unanswered(session) >= window) {
      session_hold(session, HOLD_PIPELINE);
      break;
    }
    if (session_starves(session)) {
      session_hold(session, HOLD_STARVED);
      break;
    }
    size_t used = 0;
    bool more = session_step(session, (struct bytes){bytes.data + at, bytes.size - at}, &used);
    at += used;
    session->passed_over = false;
    if (!more) {
      break;
    }
    if (client_queued(client) > WINDOW_BYTES) {
      client_pause(client); /* the rest in a later iteration, when some of this has left */
      client_resume(client);
      break;
    }
  }
  return session->closing ? bytes.size : at;
}

static void on_closed(void *context, struct client *client) {
  struct session *session = client_data(client);
  (void)context;
  if (session == NULL) {
    return;
  }
  list_remove(&session->starved);
  session->hold = HOLD_NONE;
  session->closing = true;
  pending_drop_all(session);
  parser_take_back(session->front, session);
  free(session->name);
  free(session->library);
  free(session->library_version);
  free(session);
}

static size_t on_unanswered(void *context, struct client *client) {
  const struct session *session = client_data(client);
  (void)context;
  return session == NULL ? 0 : session_unanswered(session);
}

/* -- the front --------------------------------------------------------------------------------------- */

struct front *front_new(const struct front_services *services, const struct front_options *options) {
  struct front *front = calloc(1, sizeof(*front));
  if (front == NULL) {
    return NULL;
  }
  front->services = *services;
  front->handler = (struct server_handler){
      .context = front,
      .opened = on_opened,
      .data = on_data,
      .closed = on_closed,
      .unanswered = on_unanswered,
  };
  list_init(&front->starved);
  resp_init(&front->fresh);
  front->command_calls = calloc(commands_count(), sizeof(uint64_t));
  if (front->command_calls == NULL) {
    free(front);
    return NULL;
  }
  commands_index(front);
  front_set_password(front, options->requirepass);
  front_set_value_max(front, options->value_max_bytes);
  return front;
}

void front_free(struct front *front) {
  if (front == NULL) {
    return;
  }
  ASSERT(!list_linked(&front->starved));
  pool_deinit(&front->pool);
  resp_deinit(&front->fresh);
  for (uint32_t i = 0; i < front->spare_count; i++) {
    resp_deinit(front->spares[i]);
    free(front->spares[i]);
  }
  output_free(&front->scratch);
  for (uint32_t i = 0; i < CLUSTER_TEXTS; i++) {
    output_free(&front->cluster.texts[i][0]);
    output_free(&front->cluster.texts[i][1]);
  }
  free(front->staging);
  free(front->command_calls);
  explicit_bzero(front->password, sizeof(front->password));
  free(front);
}

const struct server_handler *front_handler(struct front *front) {
  return &front->handler;
}

void front_reply(struct front *front, const struct reply *reply) {
  if (!pending_reply(front, reply)) {
    COUNT(front->counts.replies_late);
  }
}

void front_set_password(struct front *front, const char *password) {
  size_t size = password == NULL ? 0 : strlen(password);
  ASSERT(size <= PASSWORD_MAX_BYTES);
  memset(front->password, 0, sizeof(front->password));
  if (size > 0) {
    memcpy(front->password, password, size);
  }
}

void front_set_value_max(struct front *front, uint32_t bytes) {
  ASSERT(bytes > 0);
  ASSERT(bytes <= VALUE_MAX_BYTES_CEILING);
  front->value_max_bytes = bytes;
}
