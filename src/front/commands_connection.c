/* Commands about the connection itself: answered at once, in their turn. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "front/commands.h"
#include "front/handlers.h"
#include "front/state.h"

#define CLIENT_NAME_MAX_BYTES 256u

/* -- PING ECHO SELECT QUIT RESET ------------------------------------------------------ */

void handle_ok(struct call *call) {
  output_simple(call->out, "OK");
}

void handle_ping(struct call *call) {
  if (call->argc > 2) {
    call_wrong_arity(call);
  } else if (call->argc == 2) {
    output_bulk(call->out, call->argv[1]);
  } else {
    output_simple(call->out, "PONG");
  }
}

void handle_echo(struct call *call) {
  output_bulk(call->out, call->argv[1]);
}

void handle_select(struct call *call) {
  int64_t number = 0;
  if (!word_number(call->argv[1], &number)) {
    call_not_a_number(call);
  } else if (number != 0) {
    output_error(call->out, "ERR SELECT is not allowed in cluster mode");
  } else {
    output_simple(call->out, "OK");
  }
}

void handle_quit(struct call *call) {
  output_simple(call->out, "OK");
  call->close_after = true;
}

void handle_reset(struct call *call) {
  session_reset(call->session);
  call->out->resp3 = false;
  output_simple(call->out, "RESET");
}

/* -- AUTH HELLO ------------------------------------------------------------------------- */

/* Takes as long for a wrong password as for the right one, whatever they have in common. */
static bool password_matches(const struct front *front, struct bytes password) {
  uint32_t difference = password.size > PASSWORD_MAX_BYTES ? 1 : 0;
  uint8_t given[PASSWORD_MAX_BYTES + 1] = {0};
  if (password.size > 0 && difference == 0) {
    memcpy(given, password.data, password.size);
  }
  for (size_t i = 0; i < sizeof(given); i++) {
    difference |= (uint32_t)(given[i] ^ (uint8_t)front->password[i]);
  }
  difference |= password.size != strlen(front->password) ? 1 : 0;
  explicit_bzero(given, sizeof(given));
  return difference == 0;
}

/* False: the reply says why not. */
static bool authenticate(struct call *call, struct bytes user, struct bytes password) {
  struct front *front = call->front;
  bool known = bytes_equal(user, BYTES_LITERAL("default"));
  bool open = front->password[0] == '\0'; /* then the default user's password is any */
  if (!known || (!open && !password_matches(front, password))) {
    COUNT(front->counts.auth_failures);
    output_error(call->out, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
  }
  call->session->authenticated = true;
  return true;
}

void handle_auth(struct call *call) {
  if (call->argc > 3) {
    call_syntax_error(call);
    return;
  }
  if (call->argc == 2 && call->front->password[0] == '\0') {
    output_error(call->out, "ERR AUTH <password> called without any password configured for the default user. "
                            "Are you sure your configuration is correct?");
    return;
  }
  struct bytes user = call->argc == 3 ? call->argv[1] : BYTES_LITERAL("default");
  if (authenticate(call, user, call->argv[call->argc - 1])) {
    output_simple(call->out, "OK");
  }
}

/* Printable, without spaces: a name stands in CLIENT LIST. */
static bool name_is_sound(struct bytes name) {
  for (size_t i = 0; i < name.size; i++) {
    if (name.data[i] < '!' || name.data[i] > '~') {
      return false;
    }
  }
  return name.size <= CLIENT_NAME_MAX_BYTES;
}

/* An empty name takes the name away. */
static bool name_set(struct call *call, char **field, struct bytes name) {
  if (!name_is_sound(name)) {
    output_error(call->out, "ERR Client names cannot contain spaces, newlines or special characters.");
    return false;
  }
  char *copy = NULL;
  if (name.size > 0) {
    copy = malloc(name.size + 1);
    if (copy == NULL) {
      output_error_format(call->out, "%s %s", err_code(ERR_NOMEM), err_text(ERR_NOMEM));
      return false;
    }
    memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
  }
  free(*field);
  *field = copy;
  return true;
}

static void output_hello(struct call *call) {
  struct output *out = call->out;
  out->resp3 = call->session->resp3;
  output_map(out, 7);
  output_bulk_text(out, "server");
  output_bulk_text(out, "redis"); /* clients look for it */
  output_bulk_text(out, "version");
  output_bulk_text(out, REDIS_VERSION);
  output_bulk_text(out, "proto");
  output_integer(out, call->session->resp3 ? 3 : 2);
  output_bulk_text(out, "id");
  output_integer(out, (int64_t)client_id(call->session->client));
  output_bulk_text(out, "mode");
  output_bulk_text(out, "cluster");
  output_bulk_text(out, "role");
  output_bulk_text(out, "master");
  output_bulk_text(out, "modules");
  output_array(out, 0);
}

/* The options from argument 2 on. A wrong one leaves the connection as it was, but for an AUTH before it: as Redis. */
static bool hello_options(struct call *call, struct bytes *name) {
  for (uint32_t i = 2; i < call->argc; i++) {
    uint32_t left = call->argc - i - 1;
    if (word_is(call->argv[i], "AUTH") && left >= 2) {
      if (!authenticate(call, call->argv[i + 1], call->argv[i + 2])) {
        return false;
      }
      i += 2;
    } else if (word_is(call->argv[i], "SETNAME") && left >= 1) {
      i += 1;
      *name = call->argv[i];
    } else {
      size_t shown = call->argv[i].size < 64 ? call->argv[i].size : 64;
      output_error_format(call->out, "ERR Syntax error in HELLO option '%.*s'", (int)shown,
                          (const char *)call->argv[i].data);
      return false;
    }
  }
  return true;
}

void handle_hello(struct call *call) {
  struct session *session = call->session;
  int64_t version = session->resp3 ? 3 : 2;
  if (call->argc > 1 && !word_number(call->argv[1], &version)) {
    output_error(call->out, "ERR Protocol version is not an integer or out of range");
    return;
  }
  if (version != 2 && version != 3) {
    output_error(call->out, "NOPROTO unsupported protocol version");
    return;
  }
  struct bytes name = {NULL, 0};
  if (!hello_options(call, &name)) {
    return;
  }
  if (!session->authenticated && call->front->password[0] != '\0') {
    output_error(call->out,
                 "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
                 "<user> <pass> option can be used to authenticate the client and select the RESP protocol version "
                 "at the same time");
    return;
  }
  if (name.data != NULL && !name_set(call, &session->name, name)) {
    return;
  }
  session->resp3 = version == 3;
  output_hello(call);
}

/* -- CLIENT ---------------------------------------------------------------------------------- */

void handle_client_id(struct call *call) {
  output_integer(call->out, (int64_t)client_id(call->session->client));
}

void handle_client_getname(struct call *call) {
  if (call->session->name == NULL) {
    output_null(call->out);
  } else {
    output_bulk_text(call->out, call->session->name);
  }
}

void handle_client_setname(struct call *call) {
  if (name_set(call, &call->session->name, call->argv[2])) {
    output_simple(call->out, "OK");
  }
}

void handle_client_setinfo(struct call *call) {
  struct session *session = call->session;
  bool library = word_is(call->argv[2], "LIB-NAME");
  if (!library && !word_is(call->argv[2], "LIB-VER")) {
    size_t shown = call->argv[2].size < 64 ? call->argv[2].size : 64;
    output_error_format(call->out, "ERR Unrecognized option '%.*s'", (int)shown, (const char *)call->argv[2].data);
  } else if (!name_is_sound(call->argv[3])) {
    output_error_format(call->out, "ERR %s cannot contain spaces, newlines or special characters.",
                        library ? "lib-name" : "lib-ver");
  } else if (name_set(call, library ? &session->library : &session->library_version, call->argv[3])) {
    output_simple(call->out, "OK");
  }
}

/* Clients want all numbers that Redis has; those that mean nothing here are 0. */
static void output_client_line(struct output *out, const struct session *session, uint64_t now_ns) {
  size_t queued = client_queued(session->client);
  uint64_t age = (now_ns - session->opened_ns) / 1000000000u;
  uint64_t idle = (now_ns - session->active_ns) / 1000000000u;
  output_format(out, "id=%" PRIu64 " addr=%s name=%s age=%" PRIu64 " idle=%" PRIu64, client_id(session->client),
                client_address(session->client), session->name == NULL ? "" : session->name, age, idle);
  output_format(out, " flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0");
  output_format(out, " obl=0 oll=0 omem=%zu tot-mem=%zu events=r pending=%" PRIu32 " cmd=%s user=default", queued,
                queued, session_unanswered(session), session->last == NULL ? "NULL" : session->last->name);
  output_format(out, " redir=-1 resp=%d lib-name=%s lib-ver=%s\n", session->resp3 ? 3 : 2,
                session->library == NULL ? "" : session->library,
                session->library_version == NULL ? "" : session->library_version);
}

static void output_text_reply(struct call *call, struct output *text) {
  if (text->failed) {
    output_error_format(call->out, "%s %s", err_code(ERR_NOMEM), err_text(ERR_NOMEM));
  } else {
    output_verbatim(call->out, output_bytes(text));
  }
  output_free(text);
}

void handle_client_info(struct call *call) {
  struct output text = {0};
  output_client_line(&text, call->session, front_now_ns(call->front));
  output_text_reply(call, &text);
}

struct listing {
  struct call *call;
  struct output text;
  uint32_t ids; /* arguments from here on are ids; 0: all */
};

static void list_one(void *context, struct client *client) {
  struct listing *listing = context;
  const struct session *session = client_data(client);
  if (session == NULL) {
    return;
  }
  bool wanted = listing->ids == 0;
  for (uint32_t i = listing->ids; i > 0 && i < listing->call->argc && !wanted; i++) {
    int64_t id = 0;
    wanted = word_number(listing->call->argv[i], &id) && (uint64_t)id == client_id(client);
  }
  if (wanted) {
    output_client_line(&listing->text, session, front_now_ns(listing->call->front));
  }
}

/* CLIENT LIST [TYPE normal | master | replica | pubsub] [ID id ...] */
void handle_client_list(struct call *call) {
  struct listing listing = {.call = call};
  bool none = false;
  if (call->argc == 4 && word_is(call->argv[2], "TYPE")) {
    none = word_is(call->argv[3], "MASTER") || word_is(call->argv[3], "REPLICA") || word_is(call->argv[3], "PUBSUB");
    if (!none && !word_is(call->argv[3], "NORMAL")) {
      size_t shown = call->argv[3].size < 64 ? call->argv[3].size : 64;
      output_error_format(call->out, "ERR Unknown client type '%.*s'", (int)shown, (const char *)call->argv[3].data);
      return;
    }
  } else if (call->argc > 3 && word_is(call->argv[2], "ID")) {
    listing.ids = 3;
    for (uint32_t i = 3; i < call->argc; i++) {
      int64_t id = 0;
      if (!word_number(call->argv[i], &id) || id < 1) {
        output_error(call->out, "ERR Invalid client ID");
        return;
      }
    }
  } else if (call->argc > 2) {
    call_syntax_error(call);
    return;
  }
  if (!none) {
    server_each(call->front->services.server(call->front->services.context), list_one, &listing);
  }
  output_text_reply(call, &listing.text);
}

void handle_client_no_evict(struct call *call) {
  output_error(call->out, "ERR CLIENT NO-EVICT is not offered: clients that do not read their replies are closed");
}

void handle_client_reply(struct call *call) {
  if (word_is(call->argv[2], "ON")) {
    output_simple(call->out, "OK");
  } else {
    output_error(call->out, "ERR CLIENT REPLY OFF and SKIP are not offered: each request is answered");
  }
}

void handle_client_help(struct call *call) {
  static const char *const lines[] = {
      "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
      "GETNAME | SETNAME <name>",
      "    The name of this connection.",
      "ID",
      "    The number of this connection.",
      "INFO | LIST [TYPE normal | ID <id> ...]",
      "    What is known of this connection, or of all.",
      "SETINFO LIB-NAME <name> | LIB-VER <version>",
      "    The library that the client uses.",
      "HELP",
      "    This text.",
  };
  output_lines(call->out, lines, sizeof(lines) / sizeof(lines[0]));
}
