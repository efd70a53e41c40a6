/* Moving partitions between nodes when the layout changes (paper §4.9; docs/adr/0005).
 *
 * Arriving: a partition with keys that the target layout gives this node and the base layout did not (how many replicas
 * a key has is its bucket's) is *gained*. It is pulled from the base's replicas, once all know the target
 * (step->agreed):
 *
 *   WANTED --copy: PULL FULL, batch by batch, from one base replica--> COPIED
 *   COPIED --check: PULL (keys and digests) from every base replica; what is not here, durable and the very same, is
 *            fetched whole and merged--> HELD
 *
 * The check is the verification: it ends only when every object that the source listed has been seen, durable, in the
 * own store, or was merged into it. It is made after all know the target, so that no acknowledged write escapes it:
 * those before have W copies among the base's replicas, those after are written to this node too. A target that changes
 * turns HELD back into COPIED. States are kept in META_MOVES, so that a restart of either side copies again no more
 * than the partitions that were under way. With HELD goes the partition's floor (replica/floors.h): the greatest of
 * those that it was checked against.
 *
 * Lost: a node that has lost what it had stored (step->lost) gains every partition that the layouts give it, be it that
 * they are the same: what is WANTED is copied, and all is checked against all other replicas, before it vouches for it.
 *
 * Serving: PULL is answered from a scan of the own store, one batch at a time, without state between batches.
 *
 * Leaving: an object in a partition that this node does not own any more (in no live layout, and all others have none
 * but the new one either), and a hint for a node that is in no live layout, is a *stray*. It is offered to each of its
 * key's replicas (OFFER: key and digest; what does not hold it is sent it whole), and dropped here only when all of
 * them have said that it is durable there. Nothing is forgotten because of a clock.
 *
 * An entry of PULLED: u32 size + store key, u64 digest of the object (0: it is damaged there), u32 size + object (empty
 * without FULL, and if it is too large to be sent along). Keys rise. The next PULL goes on behind the last of them.
 *
 * Both go by what is granted (admit/admit.h), and by what the replica takes (BUSY backs off).
 *
 * INVARIANTS: at most MOVES_MAX partitions arrive at one time, one batch each; a partition is HELD only if each member
 * of the base that replicates it and is not removed has been checked against since all knew the target; a stray goes
 * only when all its replicas hold it.
 */
#ifndef GRAMME_MOVE_MOVE_H
#define GRAMME_MOVE_MOVE_H

#include "replica/floors.h"
#include "seam/step.h"

struct move;

size_t move_size(void);
/* `memory` has move_size() bytes, aligned to 64, zeroed. `floors` is borrowed. `first`: where the numbers of
 * requests begin (see coord.h). */
struct move *move_init(void *memory, const struct shard_config *config, struct floors *floors, uint32_t first);
/* Gives back every blob that is held: before the pool goes. */
void move_deinit(struct move *move);

void move_tick(struct move *move, struct step *step);
uint64_t move_deadline(const struct move *move);
/* PULL from others; PULLED; READ_REPLY and WRITE_ACK whose number is this module's. */
void move_message(struct move *move, struct step *step, uint32_t from, const struct message *message);
void move_scan_done(struct move *move, struct step *step, const struct event *event);
void move_commit_done(struct move *move, struct step *step, uint64_t token, enum err err);
bool move_owns_request(uint64_t request);
/* The replica is given an object to keep as its own, by others. */
/* Nothing is on its way, and this node has nothing that is not its own. */
bool move_is_quiet(const struct move *move, const struct step *step);
void move_note_write(struct move *move, const struct step *step, struct bytes store_key);

/* Is all that step->ring gives this node HELD, and known to be so on disk? True when nothing is gained. */
bool move_is_complete(const struct move *move, const struct step *step);
/* May an answer for this key count for a quorum: is nothing lost here, or has its partition been checked since? */
bool move_vouches(const struct move *move, const struct step *step, struct bytes store_key);
/* All partitions have been checked since, and that is stored. */
bool move_is_resynced(const struct move *move, const struct step *step);
/* Fills in moving_keys, moving_bytes, parts_wanted, parts_held and strays; health->keys is all that the node has. */
void move_totals(const struct move *move, const struct step *step, struct heartbeat *health);

#endif
