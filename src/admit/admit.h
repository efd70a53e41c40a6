/* Admission (paper §6.5): one controller that grants all background work of a node its slices.
 *
 * Who works in the background asks before each slice (a question to another replica, a batch) and says afterwards how
 * many bytes it took. What all of it together may take in a second lies between a floor and `bytes_per_s`, by a level
 * that is looked at once a second:
 *
 *     the p99.9 of what clients waited for in the last minute
 *         is below the target:                                  the level rises by ADMIT_RISE
 *         is not, and neither was that of the last second:      it is halved
 *         is not, but the last second was good:                 it stays until the minute has forgotten
 *
 * So it falls as fast as latencies get worse, does not fall twice for one bad moment, and comes back when a minute was
 * good. Kinds that want to work share evenly. Work with another node goes by the lower of both levels (heartbeats
 * tell): a node that joins has no clients of its own whose latencies could hold it back.
 *
 * The level says what clients have borne, not what they would bear. So there is a start as well, that no work goes
 * beyond: from ADMIT_FIRST it rises by ADMIT_START_RISE in each second in which somebody was made to wait, falls back
 * when nobody is, and the halving begins there. Where no client has asked anything for ADMIT_QUIET seconds (and in the
 * minute before, that the latencies are of) it is whole: a node that has just been started waits for those that return.
 * When the first comes, work that is under way goes on, and other work begins with little again.
 *
 * INVARIANTS: what is granted to one kind never falls below the floor's share of it, so all work ends; all kinds
 * together take no more in a second than `bytes_per_s`, but for what a slice takes beyond what it was granted: that is
 * waited for afterwards.
 */
#ifndef GRAMME_ADMIT_ADMIT_H
#define GRAMME_ADMIT_ADMIT_H

#include "base/pace.h"
#include "base/window.h"

#define ADMIT_WHOLE 1000u /* levels are in thousandths */
#define ADMIT_RISE 50u
#define ADMIT_FIRST 50u /* what work begins with */
#define ADMIT_START_RISE 10u
#define ADMIT_QUIET 10u         /* seconds */
#define ADMIT_SLICE_BYTES 1024u /* what a slice takes besides its bytes: a read, a message, a commit */

enum admit_kind {
  ADMIT_GROW = 0, /* reading the store once, for the Merkle tree */
  ADMIT_EXCHANGE, /* comparing replicas, and mending */
  ADMIT_TRANSFER, /* partitions that arrive, and what is given away */
  ADMIT_HINTS,
  ADMIT_SCRUB, /* reading again what is stored, against its checksums */
  ADMIT_REAP,  /* forgetting deletions that all replicas have */
  ADMIT_KINDS
};

struct admit_settings {
  uint64_t bytes_per_s; /* 0: as much as anybody wants, always */
  uint64_t target_ns;   /* 0: never more than the floor */
};

struct admit_line {
  struct pace pace;
  uint64_t asked_ns;
  uint64_t spent_bytes; /* in all */
};

struct admit {
  uint32_t level;
  uint32_t start;
  uint32_t quiet;     /* looks in a row that saw no client, up to ADMIT_QUIET */
  uint64_t waits_ns;  /* when somebody was made to wait last; 0: never */
  uint64_t p999_ns;   /* of the last minute, when it was looked at last */
  uint64_t look_ns;   /* when it is to be next */
  uint64_t slow, all; /* requests since then: those that did not meet the target, and all */
  struct admit_line lines[ADMIT_KINDS];
  struct window window;
};

/* `memory` is zeroed. */
void admit_init(struct admit *admit);
/* A client's request has been answered, or given up, after `took_ns`. */
void admit_note(struct admit *admit, const struct admit_settings *settings, uint64_t now_ns, uint64_t took_ns);
/* To be called at least every few seconds. */
void admit_tick(struct admit *admit, const struct admit_settings *settings, uint64_t now_ns);
/* May a slice be worked on now? Else `*due_ns` is when to ask again. `other_held_back`: thousandths that another node
 * that takes part is held back by, see admit_held_back; 0: none takes part. */
bool admit_may(struct admit *admit, const struct admit_settings *settings, enum admit_kind kind,
               uint32_t other_held_back, uint64_t now_ns, uint64_t *due_ns);
/* A slice has been worked on. */
void admit_spend(struct admit *admit, const struct admit_settings *settings, enum admit_kind kind, uint64_t bytes);
/* What the level lacks of the whole. */
uint32_t admit_held_back(const struct admit *admit);

struct admit_view {
  uint32_t level;       /* of ADMIT_WHOLE: what latencies allow */
  uint32_t start;       /* the same: how far work has come in its start */
  uint64_t bytes_per_s; /* that all kinds together are granted, but for what others hold back; 0: no limit */
  uint64_t p999_ns;     /* of the last minute; 0: nobody has asked anything */
  uint64_t target_ns;
  uint64_t spent_bytes[ADMIT_KINDS]; /* since the start */
};
void admit_describe(const struct admit *admit, const struct admit_settings *settings, struct admit_view *out);

#endif
