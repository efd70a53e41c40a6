/* Answering those who pull: a batch of a partition from one scan of the own store, without state between batches. */
#ifndef GRAMME_MOVE_SERVE_H
#define GRAMME_MOVE_SERVE_H

#include "move/move.h"
#include "replica/tree.h"

#define SERVES_MAX 8u /* scans for others at one time; full: ERR_BUSY */
/* Larger objects are listed only, for an answer has its bounds: their taker reads them one by one. */
#define SERVE_OBJECT_MAX_BYTES (OBJECT_MAX_BYTES / 2)

struct serving {
  uint32_t from; /* 0: free */
  uint16_t partition;
  bool full;
  uint64_t request;
  uint64_t floor;          /* of the partition, when the store was asked */
  struct tree_node within; /* only what lies in it; of 0 bits: all of the partition */
};

/* An entry of PULLED. */
struct move_entry {
  struct bytes key;
  uint64_t digest;     /* 0: damaged where it comes from */
  struct bytes object; /* empty: only listed */
};

/* Reads the next; false when there is none, or not all of it. */
bool move_entry_read(struct reader *r, struct move_entry *entry);
void serve_pull(struct move *move, struct step *step, uint32_t from, const struct message *message);
void serve_scanned(struct move *move, struct step *step, uint32_t index, const struct event *event);

#endif
