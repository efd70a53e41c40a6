/* Floors (docs/adr/0008): that all replicas of a partition have all versions up to a time. Of the replicas the first
 * finds it out and tells the others:
 *
 *   NONE --a round found nothing, or mended all, with each of the others: this node has all that any of them had as old
 *     |    as the settled mark when the round began (floor)--> HAS
 *   HAS --one more such round: so has each of them--> ALL_HAVE
 *   ALL_HAVE --all that was begun before that is over, everywhere: nobody has a copy that was read before--> STORING
 *   STORING --the floor is durable here--> TELLING --and on all others--> MARKING: the reap mark rises to the floor
 *   MARKING --all know that--> NONE, for the next
 *
 * What a replica has been found to have it must still have when it takes the floor: it does so only in the life in
 * which it was compared with. A round that failed for a partition leaves it where it is.
 *
 *     FLOORS       u64 layout  u64 sizes  u64 life of the receiver  entries
 *     FLOORS_HELD  the same, of the sender
 *     entry        u16 partition  u64 floor  u64 reap mark
 */
#ifndef GRAMME_SYNC_SETTLE_H
#define GRAMME_SYNC_SETTLE_H

#include "sync/sync.h"

enum settle_stage { SETTLE_NONE = 0, SETTLE_HAS, SETTLE_ALL_HAVE, SETTLE_STORING, SETTLE_TELLING, SETTLE_MARKING };

/* A round has ended. */
void settle_round(struct sync *sync, const struct step *step);
/* A member has answered in that life of its. */
void settle_met(struct sync *sync, uint32_t member, uint64_t life);
void settle_tick(struct sync *sync, struct step *step);
void settle_message(struct sync *sync, struct step *step, uint32_t from, const struct message *message);

#endif
