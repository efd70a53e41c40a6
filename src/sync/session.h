/* One partition compared with one other replica (paper §4.7): from the root of its Merkle tree down to the keys.
 *
 *   FREE --> COMPARING: which children differ? --+--> COMPARING: the children of one of those ...
 *              ^                                 |
 *              |                                 +--> LISTING: a leaf, or a node of which most differs (PULL)
 *              |                                          --> SCANNING: the same of the own store
 *              |                                              --> MENDING: keys of which one side has another object
 *              +-- the next child; none left: FREE <------------- all done: the rest of the node, or the next
 *
 * WAITING stands before any of the questions, for the pace. Whatever is not answered ends the session.
 *
 * A key that is mended:
 *
 *   only here:            OFFERED to the other --it has not got it--> WRITING there --> DONE
 *   there, or both:       OFFERED to this node --it has another, or none--> READING --> WRITING here, there, or both
 *                         (whose version supersedes the other's, that one need not be written to) --> DONE
 */
#ifndef GRAMME_SYNC_SESSION_H
#define GRAMME_SYNC_SESSION_H

#include "sync/sync.h"

#define SYNC_LEVELS_MAX ((TREE_BITS_MAX + SYNC_CHILDREN_BITS - 1) / SYNC_CHILDREN_BITS)

enum mend_state { MEND_DONE = 0, MEND_OFFERED, MEND_READING, MEND_WRITING };

/* One key. */
struct mend {
  enum mend_state state;
  bool found;       /* it does differ */
  bool here, there; /* WRITING: an acknowledgement is awaited from this node, from the other */
  bool full;        /* READING: the whole object was asked for */
  struct blob *key;
  struct blob *mine; /* NULL: absent */
  uint64_t mine_digest, theirs_digest;
};

/* A node of the tree whose children have been compared. */
struct level {
  struct tree_node node;
  uint32_t child_bits;
  uint32_t differ; /* children that are still to be looked at, a bit each */
};

enum session_state {
  SESSION_FREE = 0,
  SESSION_WAITING,
  SESSION_COMPARING,
  SESSION_LISTING,
  SESSION_SCANNING,
  SESSION_MENDING
};

struct session {
  enum session_state state;
  bool busy; /* WAITING: only to leave it alone for a while */
  uint16_t partition;
  uint8_t rank; /* of the other node */
  uint32_t node;
  uint32_t generation;
  uint32_t turn;         /* step->turn when what is being mended was read */
  uint64_t floor;        /* of the partition here, when the own store was scanned */
  uint64_t theirs_floor; /* there, as it said last */
  uint64_t due_ns;
  uint32_t bits; /* of the smaller tree of the two */
  uint32_t failed;
  uint32_t depth;
  struct level levels[SYNC_LEVELS_MAX];
  struct tree_node asked; /* COMPARING: whose children */
  bool listing;           /* `listed` is gone through, from `cursor` on */
  struct tree_node listed;
  struct blob *cursor;
  struct blob *theirs; /* the entries of a PULLED */
  bool theirs_end;     /* there are no more behind them */
  uint32_t open;       /* mends that have not ended */
  struct mend mends[SYNC_MENDS_MAX];
};

/* Begins partitions whose roots differ, while there is room for them. */
void sessions_begin(struct sync *sync, struct step *step);
void sessions_reset(struct sync *sync);
void sessions_tick(struct sync *sync, struct step *step);
bool sessions_are_past(const struct sync *sync, uint32_t turn);
uint64_t sessions_deadline(const struct sync *sync);
void session_message(struct sync *sync, struct step *step, uint32_t unit, uint32_t from, const struct message *message);
/* All mends have ended. */
void session_mended(struct sync *sync, struct step *step, struct session *session);

/* `mine` and a digest of 0: absent. False when there is no room. */
bool mend_add(struct sync *sync, struct step *step, struct session *session, struct bytes key, struct blob *mine,
              uint64_t theirs_digest);
void mend_message(struct sync *sync, struct step *step, struct session *session, uint32_t from,
                  const struct message *message);
void mends_clear(struct session *session);

#endif
