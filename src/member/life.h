/* What a node can know of its own past: whether its data directory is the one that it left (docs/adr/0002).
 *
 * While a node is written to, it raises its *wrote mark*: stored, then told in heartbeats. The others
 * remember the greatest that it has told in earlier lives, on disk too, and tell it back. Who is told of a greater one
 * than its directory had when it started has an old copy. Who has no papers, and is told that a base has it, has an
 * emptied one. Either has *lost* what it had stored.
 *
 *   start --> UNSURE --each member has told, or peer-timeout is over--> SURE
 *                \________ told of a greater mark, at any time ________/
 *                                       |
 *                                     LOST --all its partitions are checked against the others (move/)--> SURE
 *
 * What it had said of layouts is lost, too: see barrier.c, and what detector.c does with a mark that says less.
 *
 * It answers no quorum while it is unsure, nor, once lost, for a partition before that has been checked. That it is
 * lost is stored before anything else is, so that a restart goes on with it. What was written within WROTE_STEP_NS
 * before a copy was taken, and nothing after, can be missed: such a copy differs by seconds.
 */
#ifndef GRAMME_MEMBER_LIFE_H
#define GRAMME_MEMBER_LIFE_H

#include "member/member.h"

struct life {
  uint64_t id;                   /* of this life */
  uint64_t woke;                 /* the mark that the directory had; later, the greatest that was told back */
  uint64_t wrote;                /* durable, and told */
  uint64_t lost;                 /* what it is to be checked for: not 0; 0: nothing is lost */
  uint8_t loss;                  /* enum loss */
  uint8_t latest;                /* the same, of the latest loss since the start */
  bool written;                  /* since the mark was raised */
  bool storing;                  /* the mark: `next` */
  bool clearing;                 /* the loss is being stored as made good */
  bool loss_dirty, loss_storing; /* the loss that is known is not durable yet */
  bool loss_read;                /* it was known before this start: it may have been in an old copy itself */
  bool sure;
  bool fresh;                      /* the directory had no history */
  bool emptied;                    /* nor a mark: if something was lost, it was all */
  bool based;                      /* fresh, and it has been told a base */
  bool informed;                   /* one that knows has told the same bucket properties */
  bool lives_dirty, lives_storing; /* what peers have told */
  uint64_t next;
  uint64_t begun_ns;
  uint64_t due_ns; /* for the next mark */
};

void life_init(struct member *member, const struct shard_config *config);
void life_tick(struct member *member, struct step *step);
uint64_t life_deadline(const struct member *member);
/* After anything that may make it sure. */
void life_look(struct member *member, struct step *step);
/* Before the detector has the heartbeat. */
void life_heard(struct member *member, struct step *step, uint32_t from, const struct message *message);
/* Fills in what the heartbeat to this peer says of both. */
struct peer;
void life_tell(const struct member *member, const struct peer *peer, struct heartbeat *heartbeat);
/* That base is about to be this node's, or has become it. One that has the node is one whose part it has said that it
 * holds: so it had a directory, with papers. If it began without, that is stored now, before the base is. */
void life_base(struct member *member, struct step *step, const struct ring *base);
/* Has it lost what it had said of layouts? Not with an engine that keeps nothing: its papers are on disk. */
bool life_has_forgotten(const struct member *member);
/* Does it know the buckets' quorums, or may it at least know what it knew? */
bool life_is_informed(const struct member *member);
void life_committed(struct member *member, struct step *step, uint64_t token, enum err err);

#endif
