/* What the front keeps: one struct front, one struct session for each connection. Private to this folder. */
#ifndef GRAMME_FRONT_STATE_H
#define GRAMME_FRONT_STATE_H

#include "front/commands.h"
#include "front/front.h"
#include "front/output.h"
#include "front/pending.h"
#include "front/progress.h"
#include "front/resp.h"
#include "front/roster.h"
#include "front/staging.h"
#include "os/list.h"

#define PASSWORD_MAX_BYTES 256u
#define REDIS_VERSION "7.0.15" /* what clients are told: the newest version whose answers these are */
/* What one connection's unanswered requests may come to in replies; their number is bounded by it as soon as large
 * replies are seen. */
#define WINDOW_BYTES (8u << 20)
#define WINDOW_FIRST 16u         /* requests, before the first reply is seen */
#define MODEST_BYTES (64u << 10) /* replies up to this are small: see session_starves */

enum hold {
  HOLD_NONE,
  HOLD_PIPELINE, /* enough unanswered requests */
  HOLD_BARRIER,  /* the next command wants all earlier ones answered */
  HOLD_STARVED,  /* the front as a whole has enough under way */
};

/* One connection. Small: an idle one has neither a queue nor a parser nor, before it asks, names. */
struct session {
  struct front *front;
  struct client *client;
  struct queue *queue;        /* NULL: nothing is unanswered */
  struct resp_parser *parser; /* NULL: not in the middle of a request */
  struct list starved;
  char *name; /* CLIENT SETNAME, SETINFO; NULL: none */
  char *library;
  char *library_version;
  const struct command_spec *last;
  uint64_t opened_ns;
  uint64_t active_ns;
  uint32_t reply_bytes; /* a guess at the size of its next replies */
  enum hold hold;
  bool authenticated;
  bool resp3;
  bool passed_over; /* released from hunger, and nothing was left: it is the next */
  bool closing;     /* what it still sends is not looked at */
};

struct front_counts {
  uint64_t commands, errors, refused, protocol_errors, replies_late, auth_failures, starved, waited;
};

/* CLUSTER SLOTS, SHARDS and NODES as they were last written. */
enum cluster_text { CLUSTER_SLOTS, CLUSTER_SHARDS, CLUSTER_NODES, CLUSTER_TEXTS };
struct cluster_cache {
  uint64_t key; /* of the ring, N and who is up, that they were written for; 0: none */
  bool present[CLUSTER_TEXTS][2];
  struct output texts[CLUSTER_TEXTS][2]; /* [1]: RESP3 */
};

#define COMMAND_TABLE_SLOTS 256u
#define SPARE_PARSERS 64u

struct front {
  struct front_services services;
  struct server_handler handler;
  char password[PASSWORD_MAX_BYTES + 1];
  uint32_t value_max_bytes;
  struct resp_parser fresh; /* shared: for requests that are whole at once */
  struct resp_parser *spares[SPARE_PARSERS];
  uint32_t spare_count;
  struct output scratch; /* the reply at hand */
  struct pool pool;
  struct list starved;
  struct front_counts counts;
  struct cluster_cache cluster;
  struct progress progress;
  struct progress hints_progress;              /* of those that this node hands over */
  struct staging *staging;                     /* changes of membership that are being planned; NULL: none */
  uint64_t committing;                         /* the plan that the core was given last */
  uint16_t command_slots[COMMAND_TABLE_SLOTS]; /* index into the table, plus 1 */
  uint64_t *command_calls;                     /* by index into the table */
  struct past past;                            /* scratch */
  uint8_t context[CONTEXT_MAX_BYTES];
};

static inline uint64_t front_now_ns(const struct front *front) {
  return front->services.now_ns(front->services.context);
}

static inline uint64_t front_wall_ms(const struct front *front) {
  return front->services.wall_ms(front->services.context);
}

static inline struct node_facts front_facts(const struct front *front) {
  return front->services.facts(front->services.context);
}

static inline const struct shard *front_shard(const struct front *front) {
  return front->services.shard(front->services.context);
}

static inline uint32_t session_unanswered(const struct session *session) {
  return session->queue == NULL ? 0 : session->queue->count;
}

/* Bytes to the client, if it is still there. */
void session_send(struct session *session, struct bytes bytes);
/* Some requests were answered: goes on with what was held back for them. */
void session_progressed(struct session *session);
void front_progressed(struct front *front);
/* Back to what a new connection is, but for its unanswered requests. */
void session_reset(struct session *session);

/* The reply for what went wrong with a core command. */
void front_error(const struct front *front, const struct reply *reply, bool put, struct output *out);
/* A node's name, also of one that has left, or its id in hex. `text` has NAME_MAX_BYTES + 1 bytes.
 * False: it has no name. */
bool front_node_name(const struct front *front, uint32_t node, char *text);
/* N of bucket `default`. */
uint32_t front_replicas(const struct front *front);
/* This node was a member, and the history has taken it out. */
bool front_was_removed(const struct front *front);

#endif
