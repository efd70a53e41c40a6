/* One node's replicas: what it does with reads and writes of the keys that it keeps (paper §5: the
 * "local read and write processing" of the request coordination component).
 *
 * All work on a key goes through one slot while anything of it is under way, so that a write is never merged
 * with a state older than one that this node has already accepted:
 *
 *            first operation                   storage answers
 *   (none) -------------------> READING ----------------------> KNOWN <--+
 *     ^                          operations queue                |  |    | each operation runs at once
 *     |                                                          |  +----+ on the object in memory
 *     +-- no operation waits, no commit under way ---------------+
 *
 *   state    operation arrives   storage has read          commit completes              commit fails
 *   READING  queue it            run the queue -> KNOWN    -                             -
 *            ... it is damaged: -> DAMAGED
 *   DAMAGED  queue it            (RESTORE: store what the others have, run the queue; or refuse the queue -> KNOWN)
 *   KNOWN    run it              -                         acknowledge; free if idle     answer the error; when idle:
 *   free
 *
 * An object in the space of hints is the same thing under another owner: the replica keeps it for a node that is away.
 *
 * Actors issue dots here, and each claims all that it issued before for the key. The primary actor stamps keys of which
 * this node is a replica: all that it ever issued for one is in the local store. For each owner that the node stands in
 * for there is a stand-in actor: all that it issued for a key is in that owner's hint, until a hint is given away; then
 * the next dot is another incarnation's. A stamp whose commit fails may be known elsewhere and not here: then both get
 * new incarnations. What the primary actor issued dots for may also be handed over when the layouts change, and
 * dropped: it gets a new incarnation at its first stamp after the next change, for it may get such a key back without
 * those dots; and a stamp of a key that has changed hands since the put was planned gets one of its own.
 * (docs/adr/0002)
 *
 * INVARIANTS: a slot's object descends from every state of the key that was acknowledged by this incarnation;
 * commits of a slot are emitted in the order in which its objects descend; WRITE_ACK with MESSAGE_DURABLE only after
 * the commit that holds the write, or a later one of the same key, was answered OK, and synced unless the write asked
 * not to be.
 */
#ifndef GRAMME_REPLICA_REPLICA_H
#define GRAMME_REPLICA_REPLICA_H

#include "replica/floors.h"
#include "replica/growth.h"
#include "seam/step.h"

struct replica;

size_t replica_size(void);
/* `memory` has replica_size() bytes, aligned to 64, zeroed. Both of the others are borrowed: `growth` is told what the
 * store takes, `floors` say what is dead. */
struct replica *replica_init(void *memory, struct actor actor, uint64_t stand_in_epoch, uint64_t seed,
                             struct growth *growth, const struct floors *floors);

/* Gives back every blob that is held: before the pool goes. Nobody is answered. */
void replica_deinit(struct replica *replica);
/* READ, WRITE, BURY, OFFER from any node; STAMP, HINT_DROP, OBJECT_DROP and REAP from this one. */
void replica_message(struct replica *replica, struct step *step, uint32_t from, const struct message *message);
void replica_read_done(struct replica *replica, struct step *step, uint64_t token, enum err err, struct blob *value);
void replica_commit_done(struct replica *replica, struct step *step, uint64_t token, enum err err);
/* RESTORE, from this node: what is to be stored in the place of a record that can not be read (scrub/scrub.h). */
void replica_restore(struct replica *replica, struct step *step, const struct message *message);
/* Runs operations that a step before this one left over. */
void replica_tick(struct replica *replica, struct step *step);
bool replica_wants_tick(const struct replica *replica);
struct actor replica_actor(const struct replica *replica);
/* Nothing is under way that was begun before this turn (see member/low.h). */
bool replica_is_past(const struct replica *replica, uint32_t turn);
/* Nothing is under way; for tests. */
bool replica_is_idle(const struct replica *replica);

#endif
