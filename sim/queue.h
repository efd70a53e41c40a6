/* What will happen in a world, in order of time; what is due at one time happens in the order in which it was put in.
 *
 * Owner: the world. An entry owns its bytes until it has been taken out and freed.
 */
#ifndef GRAMME_SIM_QUEUE_H
#define GRAMME_SIM_QUEUE_H

#include "seam/seam.h"

enum happening {
  HAPPENS_MESSAGE, /* a frame arrives */
  HAPPENS_READ,    /* the disk has read */
  HAPPENS_COMMIT,
  HAPPENS_SCAN,
  HAPPENS_TICK,
  HAPPENS_LINK, /* a connection is made or gone */
  HAPPENS_CALL, /* a function of the simulator's own */
};

struct entry {
  enum happening kind;
  uint32_t node, from;
  uint32_t life; /* of the node; what belongs to an earlier one is dropped */
  uint64_t token;
  enum space space;
  enum err err;
  uint32_t max_count, max_bytes;
  bool up;
  uint8_t *bytes; /* a frame, a key */
  size_t size;
  uint8_t *prefix;
  size_t prefix_size;
  void (*call)(void *context, uint64_t argument);
  void *context;
  uint64_t argument;
};

struct place {
  uint64_t time_ns;
  uint64_t sequence;
  uint32_t slot;
};

struct queue {
  uint64_t sequence;
  struct place *places; /* binary heap */
  size_t count, capacity;
  struct entry *slots;
  uint32_t *free_slots;
  size_t free_count;
};

void queue_init(struct queue *queue);
void queue_deinit(struct queue *queue);
void queue_push(struct queue *queue, uint64_t time_ns, const struct entry *entry);
uint64_t queue_next(const struct queue *queue); /* UINT64_MAX when empty */
struct entry queue_pop(struct queue *queue, uint64_t *time_ns);
void entry_free(struct entry *entry);

#endif
