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

struct heartbeat {
  uint64_t hints;          /* kept for others */
  uint64_t oldest_hint_ms; /* wall clock of the oldest, 0 none */
  uint64_t keys;           /* estimate */
  uint64_t moving_keys;    /* received so far of what the target gives it */
  uint64_t moving_bytes;
  uint64_t strays;       /* objects that it holds and does not own any more, at the most */
  uint32_t parts_wanted; /* partitions that the target gives it */
  uint32_t parts_held;   /* of those, received whole */
  uint8_t sealed;        /* it holds, or has held, data */
  uint8_t nospace;
  struct mark mark;
  uint64_t history_digest; /* of all that it knows */
  uint64_t props_digest;   /* of the bucket properties that it knows */
  uint64_t fences;         /* whom it does not listen to: a bit each, see member/detector.h */
};

struct gossip {
  uint64_t history_digest;
  uint64_t props_digest;
};

#endif
