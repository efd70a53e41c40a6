/* What leaves: objects in the store of a node that is none of their replicas, and hints whose owner is gone.
 *
 * A sweep walks the objects of the partitions of which this node may hold some that are not its own, and then the
 * hints:
 *
 *   IDLE --> PROBING (keys only: is there any?) --none here--> IDLE, at the next place
 *               |
 *               +--a stray that may go--> FETCHING (with their objects) --> GIVING --all gone, or given up--> IDLE
 *
 * and one stray, by each of the replicas of its key:
 *
 *   OFFERED --holds it--> HOLDS      OFFERED --absent--> SENT --durable--> HOLDS
 *
 * When all hold it, it is deleted here, if it is still that object. Whatever goes wrong, the next sweep meets it again.
 * There is a sweep soon after the layouts have changed, and after a stray was written (by a late message, by a hint for
 * one who owned the key before), another a while later, for what was not yet in the store, and one now and then.
 *
 * INVARIANT: nothing goes unless all members go by the ring alone (step->all_done), and never a thing that was begun
 * under other layouts: it could have become this node's own again.
 */
#ifndef GRAMME_MOVE_STRAYS_H
#define GRAMME_MOVE_STRAYS_H

#include "move/move.h"

#define STRAYS_MAX 32u                   /* given away at one time */
#define STRAY_BATCH_BYTES (1u << 20)     /* of them, about; one at least */
#define STRAY_PLACES (REPLICAS_MAX + 1u) /* for answers to one: its replicas', and its deletion's */

enum sweep_state { SWEEP_IDLE = 0, SWEEP_PROBING, SWEEP_FETCHING, SWEEP_GIVING };

enum reply_state { REPLY_OFFERED = 0, REPLY_SENT, REPLY_HOLDS };

struct stray {
  struct blob *key; /* in its space's form; NULL: free */
  struct blob *object;
  enum space space;
  uint64_t digest;
  bool dropping;
  uint32_t replica_count;
  uint8_t states[REPLICAS_MAX]; /* enum reply_state */
  uint32_t nodes[REPLICAS_MAX];
};

struct sweep {
  enum sweep_state state;
  enum space space;
  bool begun;    /* there is a place to go on from: `space`, `cursor` */
  bool ended;    /* what is being given away is the last of the sweep */
  bool jumped;   /* the cursor stands where a range begins, and most likely there is nothing in it */
  bool swept;    /* one has ended since the layouts changed */
  bool again;    /* this one left something behind that may be given away later */
  bool cut;      /* it could not look at everything */
  bool failed;   /* something of this batch */
  bool was_done; /* step->all_done as of the last look */
  uint32_t generation;
  uint64_t due_ns;
  struct blob *cursor; /* where the next scan begins; NULL: at the beginning of the space */
  uint32_t open;
  uint64_t seen, gone; /* objects in this sweep */
  uint64_t left;       /* after the last */
  uint64_t late;       /* strays that were written too late for a sweep to have met them for certain */
  uint64_t late_ns;    /* when the last of them came */
  uint64_t begun_ns;
  struct stray strays[STRAYS_MAX];
};

void strays_reset(struct move *move);
void strays_tick(struct move *move, struct step *step);
uint64_t strays_deadline(const struct move *move);
/* The node is to keep an object; it may be none of the key's replicas: a write of others that were behind, a hint. */
void strays_note(struct move *move, const struct step *step, struct bytes store_key);
void strays_scanned(struct move *move, struct step *step, uint32_t generation, const struct event *event);
void strays_message(struct move *move, struct step *step, uint32_t from, const struct message *message);
/* How many there are at the most; `keys` are all objects that the node has. A member that has not looked yet, as after
 * a start, says 1 if there may be some. */
uint64_t strays_count(const struct move *move, const struct step *step, uint64_t keys);

#endif
