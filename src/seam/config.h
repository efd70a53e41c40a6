/* What a shard is started with, and what it shows of its members. */
#ifndef GRAMME_SEAM_CONFIG_H
#define GRAMME_SEAM_CONFIG_H

#include "admit/admit.h"
#include "ring/history.h"
#include "version/clock.h"
#include "wire/message.h"

struct shard_tunables { /* all but the last from the option table; see run/options.h for defaults and ranges */
  uint64_t request_timeout_ns;
  uint64_t hedge_ns;         /* a replica that has not answered by then is joined by a stand-in */
  uint64_t repair_window_ns; /* how long a get waits for stragglers after its reply */
  uint64_t heartbeat_ns;
  uint64_t gossip_ns;
  uint64_t peer_timeout_ns;   /* silence after which a peer counts as down */
  uint32_t small_value_bytes; /* reads answer in full up to this */
  uint32_t value_max_bytes;
  struct admit_settings background; /* what it reads, sends and receives at the most for nobody who waits for it */
  bool hints;                       /* what a replica misses is kept for it even where no quorum counts that copy */
  uint64_t sync_round_ns;  /* within which it compares all that it replicates with each other replica; 0: never */
  uint64_t scrub_round_ns; /* within which it reads again all that it has stored; 0: never */
  uint32_t fold_records;   /* so many membership records that are agreed upon are folded away together */
};

struct shard_config {
  uint32_t node;         /* this node's id */
  struct actor actor;    /* node, and an incarnation never used before */
  uint64_t seed;         /* for the prng */
  uint64_t cluster_seed; /* from cluster name and secret: binds contexts */
  uint64_t hlc_floor;
  struct change self;   /* kind, time, issuer unset; partition_count if it founds */
  bool found;           /* no seeds and no history: found the cluster */
  struct bytes history; /* as last committed to META_HISTORY; empty at first */
  struct bytes buckets;
  struct bytes layout;             /* META_LAYOUT as last committed; empty at first */
  struct bytes moves;              /* META_MOVES */
  struct bytes scrub;              /* META_SCRUB */
  struct bytes wrote, loss, lives; /* META_WROTE, META_LOSS, META_LIVES */
  struct bytes floors;             /* META_FLOORS */
  struct bytes low;                /* META_LOW */
  bool volatile_store;             /* objects and hints do not outlive the process */
  bool sealed;
  struct shard_tunables tunables;
  void *value_memory; /* for the blob pool */
  size_t value_memory_bytes;
  void *tree_memory;  /* for the Merkle tree: tree_memory_bytes(tree_bits), zeroed */
  uint32_t tree_bits; /* the tree has two to that many leaves */
};

/* A node that has asked to be taken in, and waits for an administrator. */
struct candidate_view {
  struct change change; /* an ADD as it would like it: id, address, name, zone, weight */
  uint64_t heard_ns;
};

/* The change of layouts that is under way, as this node sees it. */
struct layout_view {
  struct mark mark; /* its own */
  uint64_t history_digest;
  bool moving; /* base and target differ */
  bool behind; /* the history has more than the target: a further change waits */
  uint32_t waiting_count;
  uint32_t waiting[MEMBERS_MAX]; /* node ids that have not come to the phase that all are waited for in */
  uint64_t started_ns;           /* when the target became this one here */
};

struct member_view {
  uint32_t node;
  bool leaving; /* of the base, not of the target */
  bool joining; /* of the target, not of the base */
  bool up;
  bool self;
  uint64_t last_heard_ns;     /* 0 never */
  struct heartbeat heartbeat; /* its latest */
};
#endif
