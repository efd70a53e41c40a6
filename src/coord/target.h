/* Inside coord/: whom a request asks (paper §4.5, §4.6), and whose answers count.
 *
 * A request has the preference list of one layout, or of the two that are live (docs/adr/0005). Its targets are the
 * first N healthy of each list. INVARIANTS: (node, owner) is a target once; a node counts once in a layout.
 */
#ifndef GRAMME_COORD_TARGET_H
#define GRAMME_COORD_TARGET_H

#include "seam/step.h"

struct request;

#define LAYOUTS_MAX 2u
/* In each layout: its replicas, and as many who join them. */
#define TARGETS_MAX (2u * LAYOUTS_MAX * REPLICAS_MAX)

/*              may become
 *  SENT        ACCEPTED DONE UNRESOLVED FAILED
 *  ACCEPTED    DONE FAILED            a put that is in the replica's memory, not yet on its disk
 *  UNRESOLVED  DONE FAILED            a get that answered with a clock whose values are not here yet
 *  DONE FAILED                        final */
enum target_state { TARGET_SENT = 0, TARGET_ACCEPTED, TARGET_UNRESOLVED, TARGET_DONE, TARGET_FAILED };

/* The layouts that a request has to do with (docs/adr/0005), as bits: a get with the one by which is read, a put with
 * the other live one too, if there is one. */
enum layout_bit { LAYOUT_READING = 1, LAYOUT_OTHER = 2 };

/* What a node was asked for: its own replica, or to stand in for an owner. A node may be asked for both, each for
 * another layout. */
struct target {
  uint64_t digest;    /* GET: of what it answered */
  uint64_t floor;     /* GET: of who answered */
  struct blob *clock; /* GET, UNRESOLVED */
  uint32_t node;
  uint32_t owner; /* 0: its own replica; else the node that it stands in for */
  enum target_state state;
  uint8_t layouts; /* that it counts for: enum layout_bit */
  bool joined;     /* it was silent or failed, and somebody else was asked in its stead */
  bool fetching;   /* GET: its values have been asked for */
};

/* The preference list of each layout, and the first N healthy of each as targets: healthy replicas first, then those
 * who stand in for the others. A get goes by the layout by which is read, a put by all live ones. */
void request_plan_get(const struct step *step, struct request *request, uint8_t n);
void request_plan_put(const struct step *step, struct request *request, uint8_t n);
/* Once the target by which a put was planned is the base, what was the base then need not count any more: nobody reads
 * by it. A base by which it was not planned outruns it: this node was not waited for, and who reads by that base knows
 * nothing of the put. To be called before the targets of a put are looked at. */
void request_refresh(const struct step *step, struct request *request);
/* Is it of no use to wait for a node that was asked? One that has left the layouts since may still answer. */
bool request_is_lost(const struct step *step, uint32_t node);
struct target *request_target(struct request *request, uint32_t node, uint32_t owner);
/* The layouts of the request in which the node is a replica of the key. */
uint8_t request_layouts(const struct request *request, uint32_t node);
/* In each of these layouts that is live the next healthy stand-in becomes a target for `owner`, or a target that stands
 * in for it already counts there too. New targets come last in the list. Returns the layouts in which there was none
 * left. */
uint8_t request_stand_in(const struct step *step, struct request *request, uint32_t owner, uint8_t layouts);
/* Targets in one of the states of `mask` (1 << state), only primaries if asked, in the live layout that has the fewest.
 * Distinct nodes: each node counts once in a layout. */
uint32_t request_count(const struct request *request, uint32_t mask, bool primaries_only);
/* Of a request that has asked nobody yet: can enough be asked? If not, those who could be count as having answered, so
 * that the error names just the others. */
bool request_reachable(struct request *request);
/* How many have answered in the live layout that is shortest of answers, and who of its replicas has not: for the
 * error's text. */
void request_outcome(const struct request *request, enum quorum_kind kind, uint8_t wanted, struct outcome *outcome);

#endif
