/* Inside coord/: the table of requests under way, and what get, put and explain share; target.h for whom they ask. */
#ifndef GRAMME_COORD_REQUEST_H
#define GRAMME_COORD_REQUEST_H

#include "base/heap.h"
#include "base/map.h"
#include "coord/coord.h"
#include "coord/target.h"

#define TRIED_MAX 3u
#define FORWARDS_REMEMBERED 8192u
#define REQUEST_NONE UINT32_MAX

enum request_kind { REQUEST_FREE = 0, REQUEST_GET, REQUEST_PUT, REQUEST_EXPLAIN };
enum request_phase { PHASE_FORWARDED = 1, PHASE_STAMPING, PHASE_WRITING, PHASE_READING, PHASE_REPLIED };

struct request {
  enum request_kind kind;
  enum request_phase phase;
  uint32_t generation;
  uint32_t next, previous; /* free list; or the list of those that have replied, oldest first */
  uint32_t origin;         /* node that forwarded it; 0: a client of this node */
  uint64_t origin_request; /* its number there, or the client's token */
  uint64_t started_ns;
  uint32_t turn;       /* step->turn when it was begun */
  bool hedged;         /* `hedge` has passed */
  struct blob *key;    /* store key */
  uint32_t list_count; /* of `lists`: 1 or 2 */
  bool reads_target;   /* lists[0] is the target's, not the base's */
  uint8_t live;        /* which of them count as yet: enum layout_bit; see request_refresh */
  bool outrun;         /* PUT: the base is none of them any more: it can not be acknowledged */
  uint32_t live_epoch; /* step->epoch when these two were looked at */
  uint32_t target_count;
  uint8_t need, need_primary, need_durable; /* R PR -, or W PW DW: in each layout */
  enum err failure;                         /* what the last failed target said */
  struct blob *object;                      /* PUT: as stamped. GET: merged so far */
  uint64_t digest;                          /* GET: of `object` */
  uint64_t floor;                           /* GET: what is as old and not in `object` is dead (replica/floors.h) */
  enum resolve resolve;
  uint32_t fastest;       /* GET: the primary that answered first */
  uint64_t window_end_ns; /* GET, REPLIED: until then stragglers are waited for */
  /* PUT */
  struct put_options options;
  bool planned;       /* counted as to be answered: see struct coord */
  uint32_t epoch;     /* of the layouts that it was planned by */
  uint8_t flags;      /* of STAMP and WRITE: BLIND, EARLY, NOSYNC */
  struct blob *value; /* while it may have to be sent again */
  struct blob *context;
  struct blob *answer_room; /* forwarded to us: room for the context in the answer */
  struct dot dot;
  bool cut_off; /* FORWARDED: the connection to its coordinator has been lost since */
  uint32_t tried_count;
  uint32_t tried[TRIED_MAX]; /* coordinators that it was forwarded to; the last is the current one */
  /* EXPLAIN */
  uint32_t asked, answered;
  uint32_t explained_count;
  /* From here on only as much as the counts say has been written. */
  uint64_t digests[LAYOUTS_MAX];        /* of the rings of `lists` */
  struct preference lists[LAYOUTS_MAX]; /* of the layout by which is read, of the other */
  struct target targets[TARGETS_MAX];
  struct explained explained[PREFERENCE_MAX];
};

struct coord {
  uint32_t free;
  uint32_t fresh; /* requests from here on have never been used: nothing is written there */
  uint32_t in_flight;
  uint32_t first_generation;
  uint32_t replied_head, replied_tail;
  uint32_t replied; /* how many are in that list */
  struct heap timers;
  struct heap_entry timer_entries[REQUESTS_MAX];
  uint32_t timer_places[REQUESTS_MAX];
  uint64_t forward_ring[FORWARDS_REMEMBERED]; /* hashes of the latest forwards taken; 0 unused */
  uint32_t forward_next;
  struct map forwards; /* the same, to find them */
  struct map_slot forward_slots[4u * FORWARDS_REMEMBERED];
  struct past past; /* scratch: of the context being made */
  /* Puts that are coordinated here and are still to be answered: those that were planned in `epoch`, the latest in
   * which any was, and those from before. */
  uint32_t epoch;
  uint32_t open_now, open_before;
  uint32_t turns[2]; /* all requests, by the turn in which they were begun: even, odd */
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
/* A put has been planned, and is to be answered: until then coord_is_settled is false for later layouts. */
void request_planned(struct coord *coord, const struct step *step, struct request *request);
/* A get or a put has its answer: what that took is what background work goes by. */
void request_answered(const struct step *step, const struct request *request);
/* To PHASE_REPLIED: it now only waits for stragglers and may be let go. */
void request_replied(struct coord *coord, struct request *request);

/* -- what all have use for -------------------------------------------------------- */
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
