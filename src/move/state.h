/* What the files of the mover share. move.c: the table of partitions, META_MOVES, dispatch. arrive.c: pulling
 * what the target gives this node. serve.c: answering those who pull. strays.c: giving away what is not this node's.
 *
 * Numbers of requests: u8 tag  u8 unit (an arrival, or the sweep)  u32 generation  u16 index within the batch. A unit
 * takes a new generation with each batch, so that what answers an earlier one is known to be late. Storage tokens: u8
 * kind  u32 generation  u16 index.
 *
 * INVARIANTS: the table is of the layouts of `epoch`, and whole once `next` == `partition_count`; before, nothing is
 * pulled or given away. `saved` == `version` when the store knows every state of the table.
 */
#ifndef GRAMME_MOVE_STATE_H
#define GRAMME_MOVE_STATE_H

#include "move/arrive.h"
#include "move/move.h"
#include "move/serve.h"
#include "move/strays.h"

#define MOVE_TAG 3u
#define MOVE_TAG_BITS 56u
#define MOVE_UNIT_BITS 48u
#define MOVE_GENERATION_BITS 16u
#define MOVE_INDEX_MASK 0xffffu
#define MOVE_UNIT_SWEEP MOVES_MAX /* units before it are arrivals */
#define MOVE_INDEX_PULL MOVE_INDEX_MASK

#define MOVE_LOOK_NS UINT64_C(100000000)     /* between looks for something to do */
#define MOVE_ANSWER_NS UINT64_C(2000000000)  /* silence after which a batch is given up */
#define MOVE_BACKOFF_NS UINT64_C(1000000000) /* after a failure that may pass */
#define MOVE_LATER_NS UINT64_C(10000000000)  /* after one that will not pass soon */
#define MOVE_SWEEP_NS UINT64_C(600000000000) /* between sweeps that left nothing behind */
#define MOVE_PAUSE_NS UINT64_C(2000000)      /* between looks at what may not go yet: it is only counted */
#define MOVE_RANKS_PER_TICK 512u             /* partitions of the table made in one tick */
#define MOVE_FAILURES_MAX 3u                 /* in a row, then another partition has its turn */
#define MOVE_FETCHES_MAX 8u                  /* objects under way to one arrival that is being checked */

_Static_assert(MOVE_BATCH_MAX + STRAYS_MAX * STRAY_PLACES < LOCAL_MESSAGES_MAX, "a batch fits the local queue");
_Static_assert(2 * MOVE_BATCH_MAX < MOVE_INDEX_PULL, "no object's index is the pull's");
_Static_assert(REPLICAS_MAX <= 8, "sources are bits of a byte");

enum move_token { MOVE_TOKEN_SAVE = 1, MOVE_TOKEN_SERVE, MOVE_TOKEN_SWEEP, MOVE_TOKEN_OWN };

#define CHECKED_ALL UINT8_MAX

enum part_state { PART_NONE = 0, PART_WANTED, PART_COPIED, PART_HELD }; /* two bits in META_MOVES */

struct part {
  uint8_t state;       /* enum part_state; not NONE: the target gives it to this node */
  uint8_t base_rank;   /* this node's place among the replicas in the base, n_max: none, or it has lost its data */
  uint8_t target_rank; /* the same in the target */
  /* by rank in the base: sources that have been checked against, for these layouts; or CHECKED_ALL */
  uint8_t checked;
  uint64_t not_before_ns;
  uint64_t floor; /* the greatest of those that it has been checked against, */
  uint8_t best;   /* and the rank of that */
  bool low;   /* something has come, or may have, from one without a floor: it may have lost what it had, and be old */
  bool again; /* so it is checked against the best once more, both ways */
  uint64_t kept; /* its own before, of those keys that are not gained, and so not checked */
};

/* What the states of the table stand for. With other layouts, or other numbers of replicas, what was held is to be
 * checked again. */
struct move_identity {
  uint64_t base_digest, target_digest;
  uint64_t sizes_digest; /* of the buckets' n, and of what has been lost */
};

struct move {
  struct floors *floors; /* borrowed */
  bool started;
  bool damaged; /* META_MOVES was */
  uint32_t epoch;
  uint64_t lost;     /* as the table has it: see step->lost */
  uint64_t epoch_ns; /* when it was first seen */
  struct move_identity identity;
  uint32_t partition_count; /* 0: no layouts yet */
  uint32_t next;            /* of the table, to be made */
  uint32_t sizes;           /* the n of all buckets, as bits */
  uint64_t buckets_digest;  /* when that was looked at */
  uint32_t n_max, n_min;    /* of them */
  uint32_t wanted, held;    /* partitions that the target gives to this node */
  uint32_t foreign;         /* partitions that may hold strays */
  uint64_t version, saved;  /* of the states: in memory, and in the store */
  uint64_t saving;          /* under way; 0 none */
  uint64_t save_due_ns;
  uint64_t look_due_ns; /* for partitions to pull */
  uint32_t turn;        /* the partition that was begun last */
  uint32_t generation;
  uint64_t moving_keys, moving_bytes;
  struct arrival arrivals[MOVES_MAX];
  struct serving servings[SERVES_MAX];
  struct sweep sweep;
  struct part parts[PARTITIONS_MAX];
};

uint64_t move_request(uint32_t unit, uint32_t generation, uint32_t index);
uint64_t move_token(enum move_token kind, uint32_t generation, uint32_t index);
bool move_is_made(const struct move *move);   /* the table is whole */
bool move_is_moving(const struct step *step); /* the layouts differ */
void move_part_set(struct move *move, uint32_t partition, enum part_state state);
uint32_t move_partition(const struct move *move, struct bytes store_key);
uint32_t move_key_n(const struct step *step, struct bytes store_key);
/* The first position of a partition; the smallest key behind `key`. NULL: no room. */
struct blob *move_first_key(struct step *step, uint32_t partition, uint32_t partition_count);
struct blob *move_key_after(struct step *step, struct bytes key);
/* Does a replica that says so never take this object? */
bool move_is_refusal(enum err err);

#endif
