/* Requests that wait for the core: replies in the order of requests, and what may run beside what.
 *
 *     session (a connection) -> queue -> pending (a request) -> part (one key of it: one core command at a time)
 *
 * ORDER OF REPLIES. Core replies come in any order; a request that is done before an earlier one of its connection
 * keeps its reply until its turn.
 *
 * ORDER OF EFFECTS. Users of Redis expect a pipeline on one connection to act as if done one after the other. So a
 * request waits while an earlier one of its connection uses one of its keys, unless both only read, or both are blind
 * puts that this node itself stamps (the core stamps those in the order in which they are submitted; a blind put that
 * is forwarded may be forwarded again after a failure, and overtake). Other keys run in parallel, and nothing is
 * promised across connections.
 *
 * COMPOSITE COMMANDS are parts of up to two steps: a get, and a put that carries the context of that get, so that
 * nothing is overwritten that the get has not seen.
 *
 * A token is (generation, index of the part): a part that is given up (its client has gone) takes a new generation,
 * and a late reply finds nobody.
 *
 * INVARIANTS: a pending is done once; a part is in its queue's chains until its pending is done; queues that are empty
 * belong to nobody.
 */
#ifndef GRAMME_FRONT_PENDING_H
#define GRAMME_FRONT_PENDING_H

#include "front/front.h"
#include "front/output.h"

struct call;
struct command_spec;
struct pending;
struct session;

/* Parts that exist at one time, those of waiting requests included. Past it connections are not read until some have
 * been answered; a quarter of the core's table, for the other nodes' requests need room there too. */
#define PARTS_MAX (REQUESTS_MAX / 4u)
/* The same for bytes: of commands that are kept for later, and of replies that are expected. */
#define KEPT_BYTES_MAX (64u << 20)
#define EXPECTED_BYTES_MAX (4u << 20)
#define PART_KEEP_BYTES 512u /* a part that is put away keeps at most so much memory for its next command */
#define CHAINS 64u

enum access { ACCESS_READ, ACCESS_WRITE };
enum part_step { STEP_ONLY, STEP_READ, STEP_WRITE };

struct part {
  struct part *next;       /* of its pending, in the order of the keys; or in the free list */
  struct part *chain_next; /* in its queue's chain, oldest first */
  struct part *chain_previous;
  struct pending *pending;
  struct blob *object;     /* what the get found; NULL: absent */
  struct command *command; /* kept for a later step, or while it waits; the bytes stand behind it */
  size_t command_capacity;
  uint64_t hash;   /* of the key */
  uint32_t number; /* of the key in its command, from 0 */
  uint32_t index;  /* in the pool */
  uint32_t generation;
  enum part_step step;
  bool keeps; /* command is set */
  bool blind; /* a put of one step, without a context */
  bool in_flight;
};

/* What a command does with its parts. */
struct plan {
  enum access access;
  bool reads_first; /* each part: get, then the put that `fill` describes */
  bool keeps;       /* the key is needed when the reply is written */
  bool once;        /* a key that is named twice makes one part: the last */
  /* The core command for part `index`, from the arguments. It is zeroed, with default quorums. */
  void (*fill)(const struct call *call, uint32_t index, struct command *command);
  /* reads_first: is there something to put, now that part->object is known? NULL: always. */
  bool (*wants_put)(struct pending *pending, const struct part *part, const struct sibling *latest);
  /* All parts have been answered without an error. `last` is the last reply. */
  void (*finish)(struct pending *pending, const struct reply *last, struct output *out);
};

enum pending_state { PENDING_WAITING, PENDING_RUNNING, PENDING_DONE };

struct pending {
  struct pending *next; /* in its queue, or in the free list */
  struct session *session;
  const struct plan *plan; /* NULL: answered at once, waits for its turn */
  const struct command_spec *spec;
  struct part *parts;
  struct part *parts_last;
  struct output out;     /* the reply, if it is made before its turn */
  uint64_t order;        /* within its queue, ascending */
  uint64_t count;        /* for the plan: keys found, ... */
  size_t value_bytes;    /* to be put */
  size_t expected_bytes; /* of its reply: a guess, until it is there */
  uint64_t wall_ms;      /* decides what has expired: when the first get was answered; 0: none yet */
  uint32_t part_count;
  uint32_t parts_left;
  enum pending_state state;
  bool failed; /* out holds an error */
  bool resp3;
  bool close_after;
};

/* A connection's unanswered requests. */
struct queue {
  struct queue *next; /* in the free list */
  struct pending *head;
  struct pending *tail;
  uint64_t order; /* of the next request */
  uint32_t count;
  uint32_t waiting;
  struct part *chains[CHAINS];
  struct part *chains_last[CHAINS];
};

/* Memory of all three; it grows to what was once needed and is used again. */
struct pool {
  struct part **slabs; /* index -> part */
  uint32_t slab_count;
  uint32_t slab_capacity;
  uint32_t outstanding;  /* parts in use */
  size_t kept_bytes;     /* of their commands; large ones alone are counted */
  size_t expected_bytes; /* of all pendings */
  struct part *free_parts;
  struct pending *free_pendings;
  struct queue *free_queues;
};

void pool_deinit(struct pool *pool); /* nothing may be in use */

/* Starts `part_count` (1 or more) parts of the call's command; without memory for them the call gets an error instead.
 * Nothing of the call is used after it returns. */
void pending_start(struct call *call, const struct plan *plan, uint32_t part_count);
/* A finished reply that must wait for its turn, or go at once when nothing is before it. `out` is the front's scratch.
 * */
void pending_answer(struct session *session, struct output *out, bool close_after);
/* A core reply. False: nobody waits for it any more. */
bool pending_reply(struct front *front, const struct reply *reply);
/* The connection is gone: its requests are given up. */
void pending_drop_all(struct session *session);

#endif
