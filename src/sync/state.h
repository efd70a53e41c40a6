/* What the files of anti-entropy share. sync.c: the table of partitions, dispatch, views. round.c: the
 * schedule, and the roots. session.c: one partition with one other replica, from the root down to the keys. mend.c: one
 * key. compare.c: answering. settle.c: floors.
 *
 * Numbers of requests: u8 tag  u8 unit (a session, or the roots)  u32 generation  u16 index. A unit takes a new
 * generation with each thing that it asks, so that what answers an earlier one is known to be late.
 *
 * INVARIANTS: the table is of the layout and the sizes in `identity`, and whole once `next` == `partition_count`;
 * before, nothing is asked. A session's partition is engaged by this node.
 */
#ifndef GRAMME_SYNC_STATE_H
#define GRAMME_SYNC_STATE_H

#include "sync/compare.h"
#include "sync/session.h"
#include "sync/settle.h"
#include "sync/sync.h"

#define SYNC_TAG 4u
#define SYNC_TAG_BITS 56u
#define SYNC_UNIT_BITS 48u
#define SYNC_GENERATION_BITS 16u
#define SYNC_INDEX_MASK 0xffffu
#define SYNC_UNIT_ROOTS SYNC_SESSIONS_MAX /* units before it are sessions */

#define SYNC_ANSWER_NS UINT64_C(2000000000) /* silence after which a session is given up */
#define SYNC_BUSY_NS UINT64_C(50000000)     /* before another partition is tried: this one is engaged */
#define SYNC_SOON_NS UINT64_C(200000000)    /* between rounds while somebody waits for a clean one */
#define SYNC_RANKS_PER_TICK 512u            /* partitions of the table made in one tick */

/* A partition that this node replicates. */
struct pairing {
  uint8_t own_rank; /* == count: it does not */
  uint8_t count;
  uint8_t todo; /* by rank: roots differ */
  uint16_t members[REPLICAS_MAX];
  uint32_t differ[REPLICAS_MAX]; /* keys found to differ and not mended */
  /* On its way to the next floor: see settle.h. */
  uint8_t stage;  /* enum settle_stage */
  uint8_t clean;  /* by rank: in this round nothing differed, or all of it was mended */
  uint8_t told;   /* by rank: has the floor durably */
  uint8_t marked; /* by rank: has the reap mark */
  uint64_t floor;
  uint64_t due_wave; /* ALL_HAVE: when so many are over */
};

/* Another member. */
struct partner {
  bool failed;   /* in this round something could not be compared */
  uint32_t bits; /* of its tree */
  uint64_t life; /* which of its lives we have compared with; 0: none */
  uint64_t whole_ns, found;
};

/* A client that waits until an ask is settled. */
struct waiter {
  uint64_t token;
  uint32_t ask; /* 0: free */
  uint64_t due_ns;
};

enum round_phase { ROUND_IDLE = 0, ROUND_ROOTS, ROUND_MENDING };

struct round {
  enum round_phase phase;
  uint64_t due_ns; /* IDLE: the next begins */
  uint64_t begun_ns;
  uint32_t asked; /* the highest ask when it began */
  uint64_t low;   /* all that was begun by then was over when it began */
  uint64_t found; /* keys */
  uint32_t member, partition;
  /* MENDING: when it began, what had been spent then, and how many partitions have been gone into since */
  uint64_t mending_ns, mending_bytes;
  uint32_t gone_into;
  bool look;    /* MENDING: a session has ended: another can begin */
  bool waiting; /* for an answer, until: */
  uint64_t answer_ns;
  uint32_t generation;
  uint32_t count;
  uint16_t roots[SYNC_ROOTS_MAX];
};

struct sync {
  const struct growth *growth; /* borrowed, as are */
  struct floors *floors;
  uint64_t life;      /* another one with each start of the node */
  uint32_t settling;  /* partitions that are on their way to a floor beyond comparing */
  uint64_t settle_ns; /* when they are to be looked at */
  uint64_t layout, sizes_digest;
  uint32_t n_max;
  uint32_t partition_count, partition_bits; /* 0: no table */
  uint32_t next;                            /* of the table, to be made */
  uint32_t generation;
  uint32_t turn;     /* the partition that was begun last */
  uint32_t sessions; /* not free */
  uint32_t asked, settled;
  uint64_t complete_ns; /* when the last complete round began */
  uint64_t differ;      /* sum over all pairings */
  uint32_t todo;        /* the same: how many bits */
  uint32_t waiter_count;
  uint64_t waiters_due_ns; /* for a look at what has been settled */
  struct waiter waiters[SYNC_WAITERS_MAX];
  struct round round;
  struct session list[SYNC_SESSIONS_MAX];
  struct engagement engaged[SYNC_ENGAGED_MAX];
  struct partner partners[MEMBERS_MAX]; /* by their place in the layout */
  struct pairing pairings[PARTITIONS_MAX];
};

uint64_t sync_request(uint32_t unit, uint32_t generation, uint32_t index);
void sync_spend(const struct step *step, uint64_t bytes);
bool sync_is_ready(const struct sync *sync, const struct step *step);
/* Is the partition's difference from the node of that rank to be gone into? */
void sync_todo_set(struct sync *sync, struct pairing *pairing, uint32_t rank, bool todo);
void sync_differ_add(struct sync *sync, const struct session *session, int32_t keys);

void round_reset(struct sync *sync, const struct step *step);
void round_tick(struct sync *sync, struct step *step);
void round_message(struct sync *sync, struct step *step, uint32_t from, const struct message *message);
/* The rank by which the partition is compared with the member, or 0: it is not, or not by this node. */
uint32_t round_rank(const struct pairing *pairing, uint32_t member);
uint64_t round_deadline(const struct sync *sync);

#endif
