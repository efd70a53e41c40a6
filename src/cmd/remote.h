/* A small blocking RESP client: what the command line asks a node with (design chapter 4).
 *
 * One connection, one question at a time, a time limit on each wait. Not for the server: it has a loop.
 *
 * Owns: the socket and its buffer. An answer belongs to the caller (remote_answer_free).
 */
#ifndef GRAMME_CMD_REMOTE_H
#define GRAMME_CMD_REMOTE_H

#include "base/bytes.h"

#define REMOTE_WHY 512
#define REMOTE_CONNECT_MS 5000
#define REMOTE_REPLY_MS 15000        /* above the largest sensible request-timeout of the server */
#define REMOTE_BULK_MAX (256u << 20) /* what a node may send us at most in one string */
#define REMOTE_ITEMS_MAX (1u << 20)
#define REMOTE_DEPTH_MAX 8u

struct remote_target {
  const char *host;
  uint16_t port;
  const char *password; /* "" or NULL: none */
  int connect_ms;       /* 0: REMOTE_CONNECT_MS */
  int reply_ms;         /* 0: REMOTE_REPLY_MS */
};

enum remote_kind { REMOTE_NIL, REMOTE_TEXT, REMOTE_ERROR, REMOTE_INTEGER, REMOTE_ARRAY };

struct remote_answer {
  enum remote_kind kind;
  int64_t integer;
  char *text; /* TEXT, ERROR: `size` bytes and a NUL */
  size_t size;
  struct remote_answer **items; /* ARRAY */
  size_t count;
};

struct remote;

/* Connects and, with a password, authenticates. NULL, and one line in `why` (REMOTE_WHY bytes) with the remedy,
 * otherwise. */
struct remote *remote_open(const struct remote_target *target, char *why);
void remote_close(struct remote *remote); /* NULL is fine */
/* Sends one command and reads its answer, which may be of kind ERROR. NULL and `why` when the connection failed,
 * the time was up or what came was no RESP: then only remote_close is left to do. */
struct remote_answer *remote_call(struct remote *remote, const struct bytes *arguments, size_t count, char *why);
void remote_answer_free(struct remote_answer *answer); /* NULL is fine */

struct bytes remote_argument(const char *text); /* borrowed */

#endif
