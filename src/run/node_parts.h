/* What the files that make up a running node share: node.c (start and end), core.c (the core and its memory),
 * loop.c (one iteration, one second, the stop), execute.c (events in, effects out), services.c (what the front asks).
 * Nobody else includes this.
 *
 * One iteration of the loop:
 *
 *     poll: sockets, workers --> node_event --> shard_step --> effects: sends and commits gather, replies queue
 *     prepare (node_turn):  replies to the front | resumed clients | a due tick | completions of the disk (some rounds)
 *                           one commit to the disk | one write for each peer | one write for each client
 *
 * INVARIANTS: shard_step is never entered from inside itself or from inside the execution of its effects; the front
 * is told a reply only from node_deliver.
 */
#ifndef GRAMME_RUN_NODE_PARTS_H
#define GRAMME_RUN_NODE_PARTS_H

#include <uv.h>

#include "front/front.h"
#include "os/buffer.h"
#include "os/disk.h"
#include "os/peers.h"
#include "os/server.h"
#include "run/directory.h"
#include "run/options.h"
#include "shard/shard.h"

#define META_INCARNATION "incarnation" /* u64: the one of the last start */
#define NODE_ROUNDS_MAX 16u            /* of one turn; what is left then is done in the next, which does not sleep */
#define NODE_DELIVER_BYTES (8u << 20)  /* the same for what clients are handed in one turn: others wait meanwhile */
#define NODE_STOP_MS 2000u             /* how long requests in hand may take at a stop */
#define NODE_DRAIN_MS 10000u           /* how long the disk and the last bytes to clients may take after that */
#define NODE_READY_MS 500u             /* how long the line "ready" waits for this node to be a member */
#define NODE_WHY 512u

enum node_phase {
  NODE_STARTING,
  NODE_RUNNING,
  NODE_STOPPING, /* no new connections, no new commands; what is in hand goes on */
  NODE_DRAINING, /* the core is not stepped any more; clients are seen off, the disk finishes */
  NODE_CLOSING,  /* everything is closed; the loop ends when the handles have gone */
};

struct node {
  struct options *options;
  char name[NAME_MAX_BYTES + 1];
  enum node_phase phase;
  uv_loop_t loop;

  /* The core and its memory. */
  struct directory directory;
  void *shard_memory;
  void *value_memory;
  void *tree_memory;
  size_t value_memory_bytes;
  struct shard *shard;
  struct effects *effects;
  bool stepping;
  uint64_t incarnation;
  uint64_t start_wall_ms;
  uint64_t start_ns;

  /* What it is driven by. */
  struct disk *disk;
  struct peers *peers;
  struct server *server;
  struct front *front;

  uint64_t keys_base; /* that the store held at the start, as it estimates */

  /* Replies on their way to the front. */
  struct buffer replies;
  struct buffer_total replies_memory;
  struct reply *reply; /* the one that the front is looking at */
  uint8_t reply_context[CONTEXT_MAX_BYTES];
  uint64_t submitted;
  uint64_t replied;
  size_t delivered_bytes; /* in this turn */

  /* The loop. */
  uv_prepare_t prepare;
  uv_idle_t idle;  /* runs while something is left over for the next turn */
  uv_timer_t tick; /* the core's deadline */
  uv_timer_t second;
  uv_signal_t signals[3];
  uint64_t tick_ns; /* what `tick` is set to; 0: not */
  uint64_t now_ns;
  uint64_t wall_ms;
  bool server_closed;
  bool clock_fresh; /* now_ns and wall_ms are of this turn */
  uint64_t iterations;
  uint64_t stop_ns; /* when the present phase of stopping ends */

  /* What was last told to the transport and to the log. */
  uint64_t ring_digest;
  uint64_t base_digest;
  uint32_t history_count;
  bool was_member;
  bool alone; /* see node_is_alone */
  enum loss loss_told;
  uint64_t losses_told;
  uint64_t damage_told, lost_told; /* so much damage has been told of */
  uint32_t foreigners;             /* see member_foreigners: so many have been told of */
  bool removal_told;               /* that the history takes it out */
  bool empty_told;                 /* and that it has handed over what it had */
  uint32_t empty_seconds;
  bool addressed; /* the peers' addresses have been set once */
  bool ready;     /* the line has been written */
  bool nospace;
  char refusal[REASON_MAX_BYTES + 1];
};

/* -- core.c ----------------------------------------------------------------------- */
/* Allocates and starts the core; blocks while the store is looked through. On failure `why` (NODE_WHY) is one line;
 * either way node_core_free lets go of it, after everything that may hold its blobs. */
bool node_core_start(struct node *node, const struct store_engine *engine, const struct store_options *store_options,
                     char *why) MUST_CHECK;
void node_core_free(struct node *node);
uint16_t node_peer_port(const struct options *options);
const char *node_host(const struct options *options); /* that others are told */

/* -- loop.c ----------------------------------------------------------------------- */
/* From here on node_turn runs in each iteration, until a signal has stopped the node. */
void node_loop_start(struct node *node);

/* -- execute.c ------------------------------------------------------------------- */
/* Stamps the event with the time, steps, executes the effects. */
void node_event(struct node *node, struct event *event);
/* The time of this turn. */
uint64_t node_now_ns(struct node *node);
uint64_t node_wall_ms(struct node *node);
/* Hands the queued replies, those that were there on entry, to the front; returns how many. */
uint32_t node_deliver(struct node *node);
void node_drop_replies(struct node *node);
extern const struct disk_callbacks node_disk_callbacks; /* context still to be set, as in the next */
extern const struct peers_handler node_peers_handler;

/* -- services.c ------------------------------------------------------------------ */
struct front_services node_services(struct node *node);
struct shard_tunables node_tunables(const struct options *options);
/* The store's, but for the keys: an engine that appends counts each overwriting until it has merged it away, so they
 * are what it held at the start, and what the core has seen come and go since. */
void node_statistics(const struct node *node, struct store_statistics *statistics);

#endif
