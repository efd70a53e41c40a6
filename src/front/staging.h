/* Changes of membership that are being planned (paper §4.8.1: an administrator's explicit join and leave): staged one
 * after the other, each checked against what the ones before it make of the ring, and compared with the ring of now.
 *
 * Nothing here is issued: the front hands `staged` to the core, with the digest of the history that they were planned
 * on, and the core takes all of them or, if the history is another one by then, none.
 *
 * It is large (about 2 MiB) and lives in the heap while something is staged.
 *
 * INVARIANTS: history = the first `known` records, then the staged ones; before and after are its folds; plan_id is a
 * digest of both, so equal plans on equal histories have equal ids; 0 while nothing is staged.
 */
#ifndef GRAMME_FRONT_STAGING_H
#define GRAMME_FRONT_STAGING_H

#include "ring/plan.h"

#define STAGING_WHY 512u

struct staging {
  uint32_t self; /* this node's id: the issuer */
  struct history history;
  uint32_t known;          /* of its records that are not folded away */
  uint64_t history_digest; /* of the known ones */
  uint64_t plan_id;
  uint32_t count;
  struct change staged[CHANGES_PER_COMMIT_MAX]; /* time and issuer are provisional */
  struct ring before;
  struct ring after;
  struct ring_moves moves; /* as of the last staging_compare */
};

/* `known` has members. `near`: a fold of a part of it, to go on from. */
void staging_init(struct staging *staging, uint32_t self, const struct history *known, const struct ring *near);
/* Takes the history of now. What was staged is staged again, in its order; what makes no sense any more is dropped:
 * returns how much, and `why` (STAGING_WHY bytes) names the first. */
uint32_t staging_refresh(struct staging *staging, const struct history *known, const struct ring *near, char *why);

/* Each stages one change. False, and nothing is staged, when `why` says what is wrong and what to do. `wish` is an ADD:
 * what the node that waits announced, or with another weight and zone; a REPLACE takes the weight of `old`, and its
 * zone where the newcomer has none. */
bool staging_add(struct staging *staging, const struct change *wish, char *why) MUST_CHECK;
bool staging_remove(struct staging *staging, const char *node, char *why) MUST_CHECK;
bool staging_replace(struct staging *staging, const char *old, const struct change *wish, char *why) MUST_CHECK;
bool staging_reweigh(struct staging *staging, const char *node, uint32_t weight, char *why) MUST_CHECK;

/* Fills in `moves`, for n replicas. */
void staging_compare(struct staging *staging, uint32_t n);

/* The member that `word` names, by name, id (8 hex digits) or client address (host:port): its index; -1 and `why` when
 * there is none, or more than one of that name. */
int staging_find(const struct ring *ring, const char *word, char *why);
/* Does `word` name this node, by client or peer address, name or id? */
bool staging_names(const struct change *change, const char *word);

#endif
