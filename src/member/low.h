/* The low-water mark of this node, and what follows from everybody's (docs/adr/0008).
 *
 * A node says "low L": whatever was begun here when my clock stood at L or before is over; none of it is with me
 * outside my store of objects: no request, no write that waits for the disk, no hint, no object that is not mine; and
 * no message that was sent to me by a clock at L or before will make a copy of anything (it is dropped, however late).
 *
 * It is found by turns. A turn begins with a candidate: the own clock, or that of the member heard least lately, by the
 * messages that have come from it. Everything that begins from then on is of the new turn. When nothing of the former
 * ones is left, the candidate is stored (META_LOW), and then told, in heartbeats.
 *
 *     RESTING -- somewhere a deletion waits, all is quiet --> TURNING -- all of the old turn is over --> STORING
 *        ^                                                                                                  |
 *        +--------------------------------------------------------------------------------------------------+
 *
 * The least of all members' marks says that all requests of that age are over; but a write of one may have become a
 * hint on a node whose turn had begun before. So a mark counts as *settled* only when all members have made one more
 * turn since it was reached: hints of such writes are over too. Such a time is a *wave*. Each node has its own: a
 * member has turned when it says so to this one (echo), by this node's clock; no clock is compared with another's.
 *
 * INVARIANTS: what is told is durable, and rises only; the own clock is above all that any member tells.
 */
#ifndef GRAMME_MEMBER_LOW_H
#define GRAMME_MEMBER_LOW_H

#include "member/member.h"

struct low {
  uint64_t told;      /* durable */
  uint64_t candidate; /* 0: none */
  bool storing;
  uint32_t turn;
  uint64_t due_ns;
  uint64_t turn_hlc, echo_hlc; /* the own clock when the present turn began; when the last that is over did */
  /* Of all members: */
  uint64_t level; /* the least of their marks when the present wave began; 0: none is under way */
  uint64_t since; /* the own clock then */
  uint64_t settled;
  uint64_t waves; /* that are over */
};

void low_init(struct member *member, const struct shard_config *config);
void low_tick(struct member *member, struct step *step);
/* The marks of the others may have risen. */
void low_look(struct member *member, struct step *step);
void low_committed(struct member *member, struct step *step, enum err err);

#endif
