/* What one run is made of, drawn from its seed (swarm testing, Groce et al. 2012): which faults and which habits of
 * clients exist at all, how many nodes, and every size, time-out and tunable. A run with few features goes deeper
 * than one with all.
 *
 * What concerns changes of membership is drawn apart. A feature that is taken away afterwards (--without, --minimize)
 * leaves all other draws as they were.
 */
#ifndef GRAMME_SIM_PLAN_H
#define GRAMME_SIM_PLAN_H

#include "base/prng.h"
#include "seam/seam.h"
#include "seam/config.h"

/* Recoverable: whatever fails comes back with all that it had made durable, or one at a time loses some of it where
 * others have it; safety and liveness are checked.
 * Hostile: disks are lost, put back and damaged too, more at once than there are replicas; safety only, less what these
 * failures themselves destroyed, which is computed. */
enum profile { PROFILE_RECOVERABLE, PROFILE_HOSTILE };

/*        name       per mille of the runs that have it   what it is                                                  */
/* clang-format off */
#define FEATURE_TABLE(X)                                                          \
  X(drop, 500)      /* messages are lost */                                       \
  X(duplicate, 500) /* and doubled */                                             \
  X(reorder, 500)   /* some take very long, so that others overtake them */       \
  X(clog, 300)      /* a connection passes nothing for a while, then all of it */ \
  X(split, 500)     /* the cluster falls in two */                                \
  X(oneway, 300)    /* a node is not heard, but hears; or the other way around */ \
  X(bridge, 200)    /* in two, and one node sees both */                          \
  X(flap, 200)      /* a connection comes and goes, quickly */                    \
  X(broken, 400)    /* connections that pass nothing are seen to break */         \
  X(reset, 300)     /* connections break and are made again */                    \
  X(slowdisk, 300)  /* a disk is very slow for a while */                         \
  X(diskbusy, 150)  /* single commits are refused */                              \
  X(readerror, 100) /* single reads fail */                                       \
  X(fulldisk, 200)  /* a disk is full for a while */                              \
  X(syncfails, 150) /* a commit fails as none may: the node stops */              \
  X(crash, 700)                                                                   \
  X(pause, 400)                                                                   \
  X(weeks, 100)    /* a node is away for weeks */                                 \
  X(skew, 500)     /* wall clocks differ */                                       \
  X(drift, 300)    /* and run at different speeds */                              \
  X(jump, 300)     /* and jump both ways */                                       \
  X(empty, 400)    /* a data directory is emptied; recoverable: one at a time */  \
  X(oldcopy, 400)  /* an old copy of one is put back; the same */                 \
  X(damage, 300)   /* bits flip on a disk; recoverable: on one, and members stay */ \
  X(blind, 400)    /* clients that SET without having read */                     \
  X(ignorant, 300) /* that put with an empty context: siblings arise */           \
  X(delete, 400)                                                                  \
  X(stale, 300)   /* that use the context of an earlier read */                   \
  X(chain, 400)   /* that use the context that their last put gave them */        \
  X(giveup, 400)  /* that wait less long than the server does */                  \
  X(retry, 500)   /* that try again elsewhere what failed */                      \
  X(hot, 400)     /* that mostly want one key */                                  \
  X(loyal, 400)   /* that stay with one node */                                   \
  X(quorums, 300) /* that set R, W, PR, PW, DW themselves */                      \
  X(large, 200)   /* that put values above small-value */                         \
  X(lww, 300)     /* a bucket where the last write wins */                        \
  X(props, 500)   /* buckets with other N, R, W, PR, PW, DW */                    \
  X(joins, 300)   /* the cluster is formed by joining; else it is found formed */ \
  X(weights, 300)                                                                 \
  X(zones, 300)                                                                   \
  X(tuned, 500) /* other time-outs than the defaults */                           \
  X(add, 400)     /* nodes are added */                                           \
  X(remove, 300)  /* and removed */                                               \
  X(replace, 300) /* and replaced by new ones */                                  \
  X(reweigh, 300)                                                                 \
  X(deadremove, 200) /* nodes die for good, and are removed or replaced */        \
  X(calm, 250)       /* where membership changes: nothing else does */            \
  X(strict, 400)     /* clients that want R and W primaries, R + W > N */      \
  X(sync, 600)       /* replicas compare what they have, without being read */ \
  X(strained, 300)   /* clients are never served as fast as is wanted: background work gets as little as may be */ \
  X(load, 200)       /* one who loads all keys through each node that has just started; half of them are cold */
/* clang-format on */

enum feature {
#define X(name, per_mille) FEATURE_##name,
  FEATURE_TABLE(X)
#undef X
      FEATURE_COUNT
};

#define PLAN_BUCKETS_MAX 3u
#define PLAN_NODES_MAX 12u
#define PLAN_SPARES_MAX 4u
#define RUN_NODES_MAX (PLAN_NODES_MAX + PLAN_SPARES_MAX)
#define PLAN_KEYS_MAX 16u

struct plan {
  uint64_t seed;
  enum profile profile;
  bool on[FEATURE_COUNT];
  uint32_t nodes, partitions, zones;
  uint32_t spares; /* nodes that may be added */
  uint32_t weights[RUN_NODES_MAX];
  uint64_t duration_ns;
  struct shard_tunables tunables;
  uint32_t value_memory_bytes;
  uint32_t tree_bits;
  /* network */
  uint32_t drop_per_mille, duplicate_per_mille, reorder_per_mille;
  uint64_t delay_max_ns, reorder_max_ns;
  /* disks */
  uint64_t disk_max_ns;
  uint32_t busy_per_mille, readerror_per_mille;
  /* nemesis */
  uint64_t rest_max_ns;   /* between its acts */
  uint64_t outage_max_ns; /* how long what it breaks stays broken */
  uint64_t change_max_ns; /* between changes of membership */
  /* clocks */
  int64_t skew_max_ms;
  int64_t drift_max_ppm;
  int64_t jump_max_ms;
  /* clients */
  uint32_t clients, keys, buckets;
  struct bucket_props props[PLAN_BUCKETS_MAX];
  uint64_t think_max_ns, patience_ns;
  uint32_t blind_per_mille, ignorant_per_mille, delete_per_mille, stale_per_mille, chain_per_mille, retry_per_mille,
      hot_per_mille, quorums_per_mille, large_per_mille;
};

void plan_draw(struct plan *plan, uint64_t seed, enum profile profile);
bool plan_changes_members(const struct plan *plan);
/* Makes of it a cluster of five nodes that fails in nothing, used as the defaults are meant to be, by two clients that
 * mostly think. */
void plan_light(struct plan *plan);
const char *feature_name(enum feature feature);
bool feature_find(const char *name, enum feature *feature);
const char *profile_name(enum profile profile);
/* Makes of it a run in which what was deleted is forgotten all the time: few keys, mostly deleted, rounds of comparing
 * that follow each other fast, clocks that stand close together; nodes that come back after weeks. */
void plan_torture(struct plan *plan);
/* Takes away what may not be together, and gives the time that it takes to make losses good. Where damage is to be made
 * good, members do not change: what is damaged where its key is not at home any more has nobody to mend it. */
void plan_settle(struct plan *plan);
/* One line for people. */
void plan_print(const struct plan *plan);

#endif
