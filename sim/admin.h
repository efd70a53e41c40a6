/* The administrators of a run: they add nodes, remove, replace and reweigh them, some of them at one time and on two
 * sides of a partition, by commands that name the history that they were planned on, as people at `gramme plan` do.
 *
 * A node is first a spare (it is started, and waits), then a member; when it has been removed it is watched until it
 * says that it has nothing left, and is stopped. One that died for good is removed or replaced; it stays away, or comes
 * back later with all that it had and must be told. No node that was removed is added again: a new one has a new id.
 *
 * Who is a member: the fold of all that the nodes that are not lost know together.
 */
#ifndef GRAMME_SIM_ADMIN_H
#define GRAMME_SIM_ADMIN_H

#include "run.h"

struct admin *admin_new(struct run *run);
void admin_free(struct admin *admin);
void admin_start(struct admin *admin, uint64_t stop_ns);
/* No further changes; those who were taken for dead and are not removed come back. */
void admin_stop(struct admin *admin);
/* An answer to a command of theirs; false when it is not. */
bool admin_replied(struct admin *admin, const struct reply *reply);
/* May others start that node? Not when it has been stopped for good, or is dead. */
bool admin_may_run(const struct admin *admin, uint32_t node);
/* A change has named it as one that goes. */
bool admin_is_removed(const struct admin *admin, uint32_t node);
/* Then, or at any time since. */
bool admin_has_been_down(const struct admin *admin, uint32_t node);
/* Is all at rest: have all changes come to an end? If not, `why` says so. Call it after nemesis and administrators have
 * stopped. */
bool admin_at_rest(struct admin *admin, char *why, size_t size);
/* The ring of all that is known. */
const struct ring *admin_ring(struct admin *admin);
/* Is the node a member, and do all know as much of who is in as all know together? */
bool admin_all_know(struct admin *admin, uint32_t node);
bool admin_has_member(struct admin *admin, uint32_t node);

#endif
