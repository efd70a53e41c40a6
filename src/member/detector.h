/* Who is connected and heard from (paper §4.8.3: failure detection is purely local), heartbeats, and how late messages
 * come.
 *
 * INVARIANTS: a peer that is up is connected; `up` mirrors the peers by index into the ring's members, this node itself
 * is up.
 */
#ifndef GRAMME_MEMBER_DETECTOR_H
#define GRAMME_MEMBER_DETECTOR_H

#include "base/map.h"
#include "member/member.h"

#define NO_RING_INDEX UINT16_MAX
#define PEER_SLOTS 2048u
_Static_assert(PEER_SLOTS >= 2u * PEERS_MAX, "the map of peers is at most half full");

#define LAG_WINDOW_NS UINT64_C(60000000000)

struct peer {
  uint32_t node;       /* 0: the place is free */
  uint16_t ring_index; /* NO_RING_INDEX: a stranger */
  bool connected;
  bool up;                /* connected, and heard from lately */
  uint64_t last_heard_ns; /* 0: never */
  /* Our monotonic clock less its, at the arrival of its quickest message: in this window, and in the one before. */
  bool lag_known;
  uint32_t least_lag_ms, least_lag_before_ms;
  uint64_t lag_window_ns;
  struct heartbeat heartbeat;
};

struct detector {
  struct peer peers[PEERS_MAX];
  struct map index; /* node id -> place in peers */
  struct map_slot slots[PEER_SLOTS];
  uint32_t stranger_count;
  uint64_t heartbeat_due_ns;
  struct heartbeat own; /* what the driver and the keeper of hints say of this node */
  bool up[MEMBERS_MAX]; /* by index into the ring's members */
};

void detector_init(struct detector *detector);
const struct peer *detector_find(const struct detector *detector, uint32_t node);
void detector_connected(struct member *member, struct step *step, uint32_t node);
void detector_disconnected(struct member *member, uint32_t node);
void detector_heard(struct member *member, struct step *step, uint32_t node);
/* How much longer than the quickest of the node's messages lately this one took, which it sent at `sent_ms` by its
 * clock. */
uint32_t detector_lag(struct member *member, const struct step *step, uint32_t node, uint32_t sent_ms);
void detector_heartbeat(struct member *member, uint32_t node, const struct heartbeat *heartbeat);
void detector_refold(struct member *member); /* the ring has changed */
/* `lateness_ns`: how much later than wanted this tick came. */
void detector_tick(struct member *member, struct step *step, uint64_t lateness_ns);
/* A random one of the connected nodes (members that are up only, if `members`), or 0. */
uint32_t detector_random(struct member *member, struct step *step, bool members);

#endif
