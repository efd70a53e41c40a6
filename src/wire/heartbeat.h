/* What a node tells of itself in every heartbeat, and what it gossips (paper §4.8). */
#ifndef GRAMME_WIRE_HEARTBEAT_H
#define GRAMME_WIRE_HEARTBEAT_H

#include <stdint.h>

/* How far a node is with the change of layouts that it knows of (paper §4.9; docs/adr/0005).
 *
 * A layout is the ring after a prefix of the history, named by the prefix's length and digest. `base` is the newest
 * that is known to be whole; `target` is where the cluster is going. Marks of one node only grow, compared as (base
 * count, revision, target count, phase). */
enum mark_phase {
  MARK_NONE = 0, /* no history yet */
  MARK_KNOWS,    /* all its writes go by base and target */
  MARK_HOLDS,    /* and, since all know: it holds whole what the target gives it */
  MARK_RELEASES, /* there is more history, and it will not go on to READS unless somebody has */
  MARK_READS,    /* and, since all hold: it reads by the target */
  MARK_DONE,     /* and, since all read by it: the target is its base, writes go by it alone */
};

struct mark {
  uint32_t base_count;
  uint32_t target_count;
  uint64_t base_digest;
  uint64_t target_digest;
  uint8_t phase;     /* enum mark_phase */
  uint32_t revision; /* how many times it has taken back what it said: a removed node forgets what it knew alone */
};

/* Why what a node has stored is less than it had. */
enum loss {
  LOSS_NONE = 0,
  LOSS_EMPTIED,  /* its directory is empty, and was not */
  LOSS_OLD,      /* it is an old copy */
  LOSS_VOLATILE, /* its engine keeps nothing over a restart */
};

struct heartbeat {
  uint64_t hints;          /* kept for others */
  uint64_t oldest_hint_ms; /* wall clock of the oldest, 0 none */
  uint64_t keys;           /* estimate */
  uint64_t moving_keys;    /* received so far of what the target gives it */
  uint64_t moving_bytes;
  uint64_t strays;           /* objects that it holds and does not own any more, at the most */
  uint32_t parts_wanted;     /* partitions that the target gives it */
  uint32_t parts_held;       /* of those, received whole */
  uint32_t sync_differ;      /* keys found to differ from other replicas', not mended yet; as many as fit */
  uint32_t sync_age_ms;      /* since its last complete round of comparing began, at least 1; 0: there was none */
  uint32_t sync_asked;       /* the highest ask for a clean round that it knows of */
  uint32_t sync_settled;     /* the highest that it has settled: see sync/sync.h */
  uint16_t held_back;        /* thousandths by which its clients hold background work with it back: see admit/admit.h */
  uint64_t sync_bytes_to_go; /* about; of the round that is under way */
  uint32_t sync_ms_to_go;    /* about; UINT32_MAX: it can not be said yet */
  uint64_t life;             /* random, of this run of the process */
  uint64_t wrote;            /* its wrote mark: see member/life.h */
  uint64_t your_life;        /* the last life of the receiver that the sender has heard of */
  uint64_t your_wrote;       /* the greatest mark that the receiver told in it */
  uint64_t your_wrote_before; /* and in earlier ones */
  uint64_t succeeds;          /* the life of the sender that the receiver has told of last, and that is over; or 0 */
  uint8_t loss;               /* enum loss: its stored data is being checked against the others */
  uint8_t sealed;             /* it holds, or has held, data */
  uint8_t nospace;
  struct mark mark;
  uint64_t history_digest; /* of all that it knows */
  uint64_t props_digest;   /* of the bucket properties that it knows */
  uint64_t fences;         /* whom it does not listen to: a bit each, see member/detector.h */
  uint64_t low;            /* its low-water mark: see member/low.h */
  uint64_t echo;           /* the receiver's clock, as heard here when the last turn began: see member/low.h */
  uint32_t tombstones;     /* objects with a deletion in them */
  uint32_t expiring;       /* objects with a value that expires, or has expired */
  uint64_t floor_ms;       /* wall clock: the lowest floor of its partitions that have some, 0 none */
};

struct gossip {
  uint64_t history_digest;
  uint64_t props_digest;
};

#endif
