/* Inside coord/: the table of requests under way, and what get, put and explain share. */
#ifndef GRAMME_COORD_REQUEST_H
#define GRAMME_COORD_REQUEST_H

#include "base/heap.h"
#include "base/map.h"
#include "coord/coord.h"

#define TARGETS_MAX (2u * REPLICAS_MAX)
#define TRIED_MAX 3u
#define FORWARDS_REMEMBERED 8192u
#define REQUEST_NONE UINT32_MAX

enum request_kind { REQUEST_FREE = 0, REQUEST_GET, REQUEST_PUT, REQUEST_EXPLAIN };
enum request_phase { PHASE_FORWARDED = 1, PHASE_STAMPING, PHASE_WRITING, PHASE_READING, PHASE_REPLIED };

/*              may become
 *  SENT        ACCEPTED DONE UNRESOLVED FAILED
 *  ACCEPTED    DONE FAILED            a put that is in the replica's memory, not yet on its disk
 *  UNRESOLVED  DONE FAILED            a get that answered with a clock whose values are not here yet
 *  DONE FAILED                        final */
enum target_state { TARGET_SENT = 0, TARGET_ACCEPTED, TARGET_UNRESOLVED, TARGET_DONE, TARGET_FAILED };

/* A node that was asked. */
struct target {
  uint32_t node;
  uint32_t owner; /* 0: its own replica; else the node that it stands in for */
  enum target_state state;
  bool joined;        /* it was silent or failed, and somebody else was asked in its stead */
  bool fetching;      /* GET: its values have been asked for */
  uint64_t digest;    /* GET: of what it answered */
  struct blob *clock; /* GET, UNRESOLVED */
};

struct request {
  enum request_kind kind;
  enum request_phase phase;
  uint32_t generation;
  uint32_t next, previous; /* free list; or the list of those that have replied, oldest first */
  uint32_t origin;         /* node that forwarded it; 0: a client of this node */
  uint64_t origin_request; /* its number there, or the client's token */
  uint64_t started_ns;
  bool hedged;      /* `hedge` has passed */
  struct blob *key; /* store key */
  struct preference preference;
  uint32_t next_stand_in; /* index into preference */
  uint32_t target_count;
  struct target targets[TARGETS_MAX];
  uint8_t need, need_primary, need_durable; /* R PR -, or W PW DW */
  enum err failure;                         /* what the last failed target said */
  struct blob *object;                      /* PUT: as stamped. GET: merged so far */
  uint64_t digest;                          /* GET: of `object` */
  enum resolve resolve;
  uint32_t fastest; /* GET: the primary that answered first */
  /* PUT */
  struct put_options options;
  uint8_t flags;      /* of STAMP and WRITE: BLIND, EARLY, NOSYNC */
  struct blob *value; /* while it may have to be sent again */
  struct blob *context;
  struct dot dot;
  uint32_t tried_count;
  uint32_t tried[TRIED_MAX]; /* coordinators that it was forwarded to; the last is the current one */
  /* EXPLAIN */
  uint32_t asked, answered;
  struct explained explained[PREFERENCE_MAX];
  uint32_t explained_count;
};

struct coord {
  uint32_t free;
  uint32_t in_flight;
  uint32_t replied_head, replied_tail;
  struct heap timers;
  struct heap_entry timer_entries[REQUESTS_MAX];
  uint32_t timer_places[REQUESTS_MAX];
  uint64_t forward_ring[FORWARDS_REMEMBERED]; /* hashes of the latest forwards taken; 0 unused */
  uint32_t forward_next;
  struct map forwards; /* the same, to find them */
  struct map_slot forward_slots[4u * FORWARDS_REMEMBERED];
  struct past past; /* scratch: of the context being made */
  struct request requests[REQUESTS_MAX];
};

/* -- the table ------------------------------------------------------------------ */
/* A zeroed request with its key, or NULL: full even after letting go of one that only waits for stragglers. Takes a
 * reference to `key`. */
struct request *request_new(struct coord *coord, struct step *step, enum request_kind kind, struct blob *key);
void request_free(struct coord *coord, struct request *request);
uint64_t request_number(const struct coord *coord, const struct request *request);
/* NULL when nobody waits for that number any more. */
struct request *request_find(struct coord *coord, uint64_t number);
void request_set_timer(struct coord *coord, const struct request *request, uint64_t time_ns);
/* To PHASE_REPLIED: it now only waits for stragglers and may be let go. */
void request_replied(struct coord *coord, struct request *request);

/* -- targets ---------------------------------------------------------------------- */
/* The preference list, and the first N healthy as targets. */
void request_plan(struct step *step, struct request *request, uint8_t n);
struct target *request_target(struct request *request, uint32_t node, uint32_t owner);
/* The next healthy stand-in becomes a target for `owner`; NULL when there is none left. */
struct target *request_stand_in(struct step *step, struct request *request, uint32_t owner);
/* Targets in one of the states of `mask` (1 << state), only primaries if asked. Distinct nodes: each node is a target
 * once. */
uint32_t request_count(const struct request *request, uint32_t mask, bool primaries_only);
/* Of a request that has asked nobody yet: can enough be asked? If not, those who could be count as having answered, so
 * that the error names just the others. */
bool request_reachable(struct request *request);
/* Who of the replicas has not answered, for the error's text. */
void request_outcome(const struct request *request, enum quorum_kind kind, uint8_t wanted, uint32_t answered,
                     struct outcome *outcome);
struct bucket_props request_props(const struct step *step, const struct blob *key);
struct blob *store_key_make(struct blob_pool *pool, struct bytes user_key);
void reply_error(struct step *step, uint64_t token, enum err err, const struct outcome *outcome, const char *why);

/* -- the state machines -------------------------------------------------------------- */
void get_start(struct coord *coord, struct step *step, const struct command *command);
void get_message(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                 const struct message *message);
void get_timer(struct coord *coord, struct step *step, struct request *request);
void get_target_lost(struct coord *coord, struct step *step, struct request *request, struct target *target);
void get_let_go(struct coord *coord, struct step *step, struct request *request);

void put_start(struct coord *coord, struct step *step, const struct command *command);
void put_forwarded(struct coord *coord, struct step *step, uint32_t from, const struct message *message);
void put_message(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                 const struct message *message);
void put_timer(struct coord *coord, struct step *step, struct request *request);
void put_target_lost(struct coord *coord, struct step *step, struct request *request, struct target *target);
void put_let_go(struct coord *coord, struct step *step, struct request *request);

void explain_start(struct coord *coord, struct step *step, const struct command *command);
void explain_message(struct coord *coord, struct step *step, struct request *request, uint32_t from,
                     const struct message *message);
void explain_finish(struct coord *coord, struct step *step, struct request *request);

#endif
