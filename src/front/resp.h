/* Requests as they come off a connection: RESP arrays of bulk strings, and inline commands with quotes (redis.io, "RESP
 * protocol spec").
 *
 * The parser is shown all bytes that it has not consumed, and picks up where it stopped. It consumes a request only
 * when that is whole, so arguments need no copy. Two things can be wrong with a request:
 *
 *  - it is too large: a key, a value, the number of arguments, all of it. That is seen from the announced size, before
 *    the bytes are there; from then on they are consumed as they come and kept nowhere, and when they have all passed
 *    the client is told (RESP_REFUSED). The connection survives.
 *  - it is not RESP (RESP_BROKEN): nobody knows where the next request begins, so the connection ends after the reply.
 *
 * INVARIANTS: what is kept of one request is at most RESP_COMMAND_MAX_BYTES; an idle parser keeps nothing.
 */
#ifndef GRAMME_FRONT_RESP_H
#define GRAMME_FRONT_RESP_H

#include "base/bytes.h"
#include "base/limits.h"

#define RESP_COMMAND_MAX_BYTES (48u << 20) /* one request in all; past it: TOOBIG */
#define RESP_BULK_MAX_BYTES (512u << 20)   /* announced; past it: as Redis (proto-max-bulk-len), a broken protocol */
#define RESP_ANNOUNCED_ARGS_MAX (1024u * 1024u) /* as Redis: past it a broken protocol */
#define RESP_OTHER_MAX_BYTES 90000u             /* an argument that is neither key nor value: a context at most */
#define RESP_UNTRUSTED_ARGS_MAX 10u             /* as Redis: from a client that has not authenticated */
#define RESP_UNTRUSTED_BULK_MAX_BYTES 16384u

_Static_assert(VALUE_MAX_BYTES_CEILING * 2 < RESP_COMMAND_MAX_BYTES, "a command with the largest value fits");

enum resp_role { RESP_KEY, RESP_VALUE, RESP_OTHER };

struct resp_limits {
  uint32_t value_max_bytes;
  bool trusted; /* has authenticated, or need not */
  /* What argument `index` (1 or more) of a command is. Asked only about large ones. */
  enum resp_role (*role)(void *context, struct bytes name, uint32_t index);
  void *context;
};

enum resp_status {
  RESP_MORE,    /* the request is not whole yet */
  RESP_COMMAND, /* argv, argc (at least 1): borrowed from the input, or, of an inline command, from the parser */
  RESP_REFUSED, /* `error` is the reply: too large; the next request follows */
  RESP_BROKEN,  /* `error` is the reply: close the connection after it */
};

enum resp_state { RESP_STATE_START, RESP_STATE_ARGUMENTS, RESP_STATE_SKIPPING };

struct resp_place {
  uint32_t offset; /* from the request's first byte */
  uint32_t size;
};

struct resp_parser {
  struct bytes *argv;
  uint32_t argc;
  char error[160];
  /* private */
  enum resp_state state;
  uint32_t wanted;         /* arguments announced */
  uint32_t capacity;       /* of places and argv */
  size_t offset;           /* of the next argument's header */
  uint32_t skip_arguments; /* headers still to be passed over */
  uint64_t skip_bytes;     /* of the argument being passed over, with its line end */
  struct resp_place *places;
  uint8_t *text; /* an inline command, unquoted */
  size_t text_capacity;
};

void resp_init(struct resp_parser *parser);
void resp_deinit(struct resp_parser *parser);
/* Gives back memory beyond what an ordinary command needs. */
void resp_shrink(struct resp_parser *parser);
/* Nothing of a request is remembered: any other idle parser may go on with the same connection. */
bool resp_is_idle(const struct resp_parser *parser);
/* `input`: all bytes not consumed so far. `*consumed` need not be shown again (argv stays valid as long as the input).
 * */
enum resp_status resp_parse(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                            size_t *consumed);

#endif
