/* Who is connected and heard from (paper §4.8.3: failure detection is purely local), heartbeats, and how late messages
 * come.
 *
 * A member that the history removes and that is down is *fenced*: left out of the barriers between the phases of a
 * change of layouts, and in return not listened to, from then on and though it be up again, until its own mark shows
 * that it has said whatever this node's mark says (docs/adr/0005).
 *
 * INVARIANTS: a peer that is up is connected; `up` and `base_up` mirror the peers by index into the target's and the
 * base's members, who is fenced is not up there, this node itself is; the mark of a peer only grows
 * in each of its lives.
 */
#ifndef GRAMME_MEMBER_DETECTOR_H
#define GRAMME_MEMBER_DETECTOR_H

#include "base/map.h"
#include "member/member.h"

#define NO_RING_INDEX UINT16_MAX
#define PEER_SLOTS 2048u
_Static_assert(PEER_SLOTS >= 2u * PEERS_MAX, "the map of peers is at most half full");
_Static_assert(PEERS_MAX >= 3u * MEMBERS_MAX + STRANGERS_MAX, "members of three rings and strangers have room");

#define LAG_WINDOW_NS UINT64_C(60000000000)

struct peer {
  uint32_t node;       /* 0: the place is free */
  uint16_t ring_index; /* in the target; or NO_RING_INDEX */
  uint16_t base_index; /* in the base */
  bool known;          /* a member of the target, the base or the newest ring; else a stranger */
  bool removed;        /* the history has had it and has it no more */
  bool connected;
  bool up;      /* connected, and heard from lately */
  bool told;    /* there has been a heartbeat */
  bool foreign; /* it has told the history of another cluster */
  bool fenced;
  bool awaited;           /* not heard since the layouts that brought it in are new to us: it need not be down */
  uint64_t awaited_ns;    /* since when */
  bool abreast;           /* of one that is removed: its mark says at least what ours says */
  uint64_t last_heard_ns; /* 0: never */
  /* Our monotonic clock less its, at the arrival of its quickest message: in this window, and in the one before. */
  bool lag_known;
  uint32_t least_lag_ms, least_lag_before_ms;
  uint64_t lag_window_ns;
  /* Its present life as it tells, the greatest wrote mark that it told in it, and in those before (life.h). */
  uint64_t life, wrote, wrote_before;
  uint64_t life_before;
  uint64_t mark_life; /* in which it told its mark */
  bool knew;          /* and it has told there that it knows layouts that were ours then */
  bool went_back;     /* and that was less than before: see take_mark */
  bool knows_life;    /* it has told that it knows this node's present life */
  struct heartbeat heartbeat;
  uint64_t heard_hlc; /* its clock with the message that came last on this connection; 0: none has */
  uint64_t turn_hlc;  /* the same when the present turn began, or the last */
  uint64_t echo_hlc;  /* when the last turn began that is over: see low.h */
};

struct detector {
  uint32_t peers_end; /* the places from here on are free */
  struct peer peers[PEERS_MAX];
  struct map index; /* node id -> place in peers */
  struct map_slot slots[PEER_SLOTS];
  uint32_t stranger_count;
  uint64_t heartbeat_due_ns;
  struct heartbeat own;            /* what the driver and the keeper of hints say of this node */
  bool returned;                   /* one that was fenced is not any more: for layout_run */
  bool up[MEMBERS_MAX];            /* by index into the target's members */
  bool base_up[MEMBERS_MAX];       /* and the base's */
  uint16_t held_back[MEMBERS_MAX]; /* as their heartbeats say */
  uint16_t base_held_back[MEMBERS_MAX];
};

void detector_init(struct detector *detector);
const struct peer *detector_find(const struct detector *detector, uint32_t node);
/* It knows the live layouts, or has known them in its present life and gone on, by the rules, to a further target. */
bool detector_knows(const struct member *member, const struct peer *peer);
void detector_connected(struct member *member, struct step *step, uint32_t node);
void detector_disconnected(struct member *member, uint32_t node);
void detector_heard(struct member *member, struct step *step, uint32_t node, uint64_t hlc);
/* How much longer than the quickest of the node's messages lately this one took, which it sent at `sent_ms` by its
 * clock. */
uint32_t detector_lag(struct member *member, const struct step *step, uint32_t node, uint32_t sent_ms);
void detector_heartbeat(struct member *member, uint32_t node, const struct heartbeat *heartbeat);
/* What a member had told before this node started; what it tells now. True when that is worth being stored. */
void detector_remember(struct member *member, uint32_t node, uint64_t life, uint64_t wrote, uint64_t wrote_before);
bool detector_note_life(struct member *member, uint32_t node, const struct heartbeat *heartbeat);
/* It tells the history of another cluster: did nobody know that? */
bool detector_note_foreign(struct member *member, uint32_t node);
/* Rings, history or the own mark have changed. */
void detector_refresh(struct member *member);
void detector_send_heartbeats(struct member *member, struct step *step);
/* The same, to one that has just been connected. */
void detector_greet(struct member *member, struct step *step, uint32_t node);
/* `lateness_ns`: how much later than wanted this tick came. */
void detector_tick(struct member *member, struct step *step, uint64_t lateness_ns);
/* A random one of the connected nodes, members or not, or 0. */
uint32_t detector_random(struct member *member, struct step *step);

#endif
