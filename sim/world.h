/* A whole cluster in one thread, from one seed, in virtual time.
 *
 * The world is the second driver of the core: it feeds each node's shard_step with messages that a network of its
 * own has delayed, lost, doubled and reordered, with completions of a simulated disk, and with time. It uses the
 * same object code as the server. Nothing in it depends on addresses, hashes of pointers, or the machine.
 *
 *     queue     what will happen        network   frames and connections
 *     disk      one node's store        clock     one node's wall clock
 *     process   a node's life: start, crash, pause; its steps and what comes of them
 */
#ifndef GRAMME_SIM_WORLD_H
#define GRAMME_SIM_WORLD_H

#include "clock.h"
#include "disk.h"
#include "network.h"
#include "queue.h"
#include "shard/shard.h"

/* CRASHING: its disk is still as it was; CRASHED: what was not durable is gone. */
enum node_news { NEWS_STARTED, NEWS_CRASHING, NEWS_CRASHED, NEWS_PAUSED, NEWS_RESUMED };

struct node {
  uint32_t id;
  bool alive;
  bool paused;
  uint32_t life;   /* counts starts and crashes: what belongs to an earlier one is dropped */
  uint32_t pauses; /* counts them */
  void *memory, *value_memory, *tree_memory;
  struct shard *shard; /* NULL while it is not alive */
  struct disk disk;
  struct clock clock;
  uint32_t disk_slowness; /* 1: as the world's disks are */
  bool disk_full;
  bool sync_fails;      /* its next commit stops the node */
  uint64_t tick_ns;     /* when its next tick is due, UINT64_MAX none */
  uint64_t commit_ns;   /* when its last commit completes: they are in order */
  struct entry *parked; /* what happened to it while it was paused, in order */
  size_t parked_count, parked_capacity;
  uint8_t *history, *buckets, *layout, *moves, *scrub, *wrote, *loss, *lives, *floors,
      *low; /* what config borrows, copied at the start */
  struct shard_config config;
};

/* Who looks on. Each may be NULL but `replied`. What they are shown is borrowed for the call, and they must not step
 * nodes: world_call does that in an event of its own. */
struct watch {
  void *context;
  void (*replied)(void *context, uint32_t node, const struct reply *reply);
  void (*sent)(void *context, uint32_t from, uint32_t to, const struct message *message);
  void (*received)(void *context, uint32_t node, uint32_t from, const struct message *message);
  void (*read)(void *context, uint32_t node, enum space space, struct bytes key, struct bytes value);
  /* `value` is NULL for a deletion. Told before what else the step has brought about. */
  void (*committed)(void *context, uint32_t node, enum space space, struct bytes key, const struct bytes *value);
  void (*commit_failed)(void *context, uint32_t node, const struct disk_change *change);
  void (*durable)(void *context, uint32_t node, const struct disk_change *change);
  void (*news)(void *context, uint32_t node, enum node_news news);
  /* A step is done; its effects are still to come. May be NULL. */
  void (*stepped)(void *context, uint32_t node);
};

struct world {
  uint64_t seed;
  struct prng prng;
  uint64_t now_ns;
  uint64_t extra_ms; /* wall-clock time that has passed unsimulated: weeks in which nothing happened */
  uint64_t trace;    /* hash of all that has happened */
  uint64_t steps;
  uint32_t node_count;
  uint32_t value_memory_bytes;
  uint32_t tree_bits;
  struct node nodes[NODES_MAX];
  struct network network;
  uint64_t disk_min_ns, disk_max_ns;
  uint32_t busy_per_mille;      /* commits that are answered BUSY or NOSPACE */
  uint32_t readerror_per_mille; /* reads that are answered IO */
  bool incarnations_repeat;     /* a planted bug: a node forgets to take a new one at its start */
  bool flips_read;              /* another: what is damaged is read as it is, with a bit that has flipped */
  bool objects_forgotten;       /* another: a crash loses an object that was durable */
  struct queue queue;
  struct effects *effects;
  struct watch watch;
};

void world_init(struct world *world, uint64_t seed);
void world_deinit(struct world *world);
/* Adds a node that is not running yet; the first founds. Returns its index; its config may be changed before its
 * start. */
uint32_t world_add_node(struct world *world, uint32_t partitions, const struct shard_tunables *tunables);
/* False when the node is not running. */
bool world_command(struct world *world, uint32_t node, const struct command *command);
/* Calls back at a time. */
void world_call(struct world *world, uint64_t time_ns, void (*call)(void *context, uint64_t argument), void *context,
                uint64_t argument);
/* Runs until `time_ns`. */
void world_run(struct world *world, uint64_t time_ns);
uint64_t world_wall_ms(const struct world *world);
int world_index(const struct world *world, uint32_t id);

/* For the parts of a world. */
uint64_t world_draw(struct world *world, uint64_t low, uint64_t high);
void world_trace(struct world *world, uint64_t value);
uint8_t *world_copy(struct bytes bytes);

#endif
