/* The floors of the partitions that this node replicates (docs/adr/0008).
 *
 * A partition's floor is a time: of every version as old as that this node has known all that anybody will ever know.
 * So a version of that age that it has not is dead, whoever comes with it: it is superseded, and what superseded it
 * has perhaps been forgotten. A floor is agreed upon by all replicas (sync/settle.h), or taken over with the partition
 * (move/move.h); it is in effect when it is durable (META_FLOORS). A *reap mark* is a floor that all replicas are known
 * to have durably: deletions below it may be forgotten. It is not kept: after a start it is told anew.
 *
 * A floor speaks of keys with more replicas than `rank`, this node's place when it was made: of those it had all. When
 * the place falls behind, it speaks of fewer, before any that are not this node's any more go.
 *
 * INVARIANTS: reap mark <= floor; a floor is 0 as soon as the node may lack anything of the partition: floors_forget
 * comes before what it had is lost, or before keys are its own that it has not received.
 */
#ifndef GRAMME_REPLICA_FLOORS_H
#define GRAMME_REPLICA_FLOORS_H

#include "seam/step.h"

struct floors;

/* META_FLOORS as it was stored. A node whose floors are damaged must not start: it would take the dead for living. */
bool floors_are_sound(struct bytes saved);
size_t floors_size(void);
/* `memory` has floors_size() bytes, aligned to 64, zeroed; the configuration's floors are sound. */
struct floors *floors_init(void *memory, const struct shard_config *config);

/* At the beginning of each step, before anything of it: what was stored here may be lost; and with another n for a
 * bucket keys may be this node's own that it has not got. */
void floors_look(struct floors *floors, const struct step *step);
uint64_t floors_get(const struct floors *floors, uint32_t partition);
/* For what is brought of a key; 0 when nothing is known to be dead. */
uint64_t floors_of_key(const struct floors *floors, const struct step *step, struct bytes store_key);
/* To be stored, and then in effect; false when that has to wait. */
bool floors_raise(struct floors *floors, uint32_t partition, uint32_t rank, uint64_t floor) MUST_CHECK;
/* It speaks no more of keys with `rank` replicas or fewer; at once, and stored. */
void floors_narrow(struct floors *floors, uint32_t partition, uint32_t rank);
/* As far as it speaks of all keys with more replicas than `rank`, else 0. */
uint64_t floors_above(const struct floors *floors, uint32_t partition, uint32_t rank);
/* What it was raised to, be it in effect or not yet; less, when it was forgotten since. */
uint64_t floors_raised(const struct floors *floors, uint32_t partition);
/* All that was raised is in effect. */
bool floors_are_stored(const struct floors *floors);
/* At once; has_forgotten: and durably, there is nothing in the store that a restart would find again. */
void floors_forget(struct floors *floors, uint32_t partition);
bool floors_has_forgotten(const struct floors *floors, uint32_t partition);

uint64_t floors_reap_mark(const struct floors *floors, uint32_t partition);
void floors_set_reap_mark(struct floors *floors, uint32_t partition, uint64_t mark);
uint64_t floors_reap_version(const struct floors *floors); /* another one when a mark has risen */
/* The lowest floor of those partitions that have one; 0 none. */
uint64_t floors_least(const struct floors *floors);

void floors_tick(struct floors *floors, struct step *step);
void floors_commit_done(struct floors *floors, struct step *step, enum err err);
uint64_t floors_deadline(const struct floors *floors);

#endif
