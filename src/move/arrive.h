/* Partitions that arrive (paper §4.9): see move.h for what each of them goes through.
 *
 * One batch of an arrival:
 *
 *   WAITING --PULL sent--> PULLING --PULLED--> WORKING --all its objects are done--> the next batch, the next source,
 *      ^                      |                   |                                  or the partition is held
 *      +-- after a while -----+-- silence, error --+
 *
 * and one object of it, when copying: WRITING -> DONE. When checking:
 *
 *   OFFERED --holds it--> DONE     OFFERED --absent--> MISSING --READ sent--> FETCHING --READ_REPLY--> WRITING --> DONE
 *
 * An old copy of a data directory may also have too much: what was deleted since, and forgotten everywhere. So the own
 * keys of each batch are read, too, and what the source has not, and knows to be dead, goes.
 *
 * A batch that failed is asked for again, from the same place; whatever it did write does no harm.
 */
#ifndef GRAMME_MOVE_ARRIVE_H
#define GRAMME_MOVE_ARRIVE_H

#include "move/move.h"

enum arrival_state { ARRIVAL_FREE = 0, ARRIVAL_WAITING, ARRIVAL_PULLING, ARRIVAL_WORKING };

enum op_state { OP_DONE = 0, OP_OFFERED, OP_MISSING, OP_FETCHING, OP_WRITING };

/* One object of a batch. */
struct op {
  uint8_t state;                 /* enum op_state */
  uint32_t key_offset, key_size; /* in the listing, if being checked */
};

struct arrival {
  enum arrival_state state;
  bool checking;       /* else copying */
  bool last;           /* the batch is the source's last */
  bool refused;        /* an object can not be taken: the check is to be made again */
  uint8_t failures;    /* in a row */
  uint8_t source_rank; /* in the base */
  uint16_t partition;
  uint32_t source; /* 0: to be chosen */
  uint32_t generation;
  uint64_t floor;         /* of the source, when the check of it began */
  uint64_t due_ns;        /* WAITING: go on; PULLING, WORKING: give the batch up */
  struct blob *cursor;    /* behind which the batch begins; NULL: at the partition's beginning */
  struct blob *batch_end; /* the same of the one after; NULL: none came */
  struct blob *listing;   /* of a batch being checked */
  uint32_t op_count, open, fetching;
  struct op ops[MOVE_BATCH_MAX];
  uint64_t batch_floor; /* the source's, with the batch */
  struct blob *own;     /* from which on its own keys of the batch are to be read; NULL: all have been */
  uint32_t own_open;    /* of these: being read, or buried */
  bool own_ops[MOVE_BATCH_MAX];
};

void arrive_reset(struct move *move);
/* Looks after the arrivals whose time has come, and begins others. */
void arrive_tick(struct move *move, struct step *step);
uint64_t arrive_deadline(const struct move *move);
/* PULLED, WRITE_ACK, READ_REPLY for an arrival. */
void arrive_message(struct move *move, struct step *step, uint32_t unit, uint32_t from, const struct message *message);

/* Own keys of a batch. */
void arrive_scanned(struct move *move, struct step *step, uint32_t generation, uint32_t unit,
                    const struct event *event);

#endif
