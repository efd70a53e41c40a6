/* Hinted handoff (paper §4.6): the keeper of hints.
 *
 * A stand-in's replica keeps, in the space of hints, objects meant for others (replica.h). This module counts them, and
 * hands them over once their owner answers: owner by owner in turn, a batch at a time,
 *
 *   IDLE --an owner is up and has hints--> WAITING --granted--> SCANNING --batch read--> SENDING --all acknowledged-->
 *   WAITING ... --end--> IDLE                                                             |
 *                                                                                         +-- busy, or silence: back
 *                                                                                             off this owner, IDLE
 *
 * A batch is granted by admission (admit/admit.h), and bounded by count and bytes and by the credit that the owner sent
 * with its last acknowledgement. A hint is
 * deleted only after its owner has acknowledged that it is durable there, and only if it is still the object that was
 * delivered (HINT_DROP): what was added to it meanwhile stays. Hints never expire. One that the owner can not take (it
 * would grow too large there, or is damaged) is kept and passed over, so that it does not hold up those behind it.
 * Hints for a node that no live layout has any more are counted only: move/strays.h gives them away.
 *
 * INVARIANTS: at most one batch is under way; the count of an owner is never less than the hints that are durable. It
 * may be more for a while (one that was made while they were being counted may be met twice); it is put right when a
 * scan finds none.
 */
#ifndef GRAMME_HANDOFF_HANDOFF_H
#define GRAMME_HANDOFF_HANDOFF_H

#include "seam/step.h"

struct handoff;

size_t handoff_size(void);
/* `memory` has handoff_size() bytes, aligned to 64, zeroed. The first tick begins to count what is on disk. `first` is
 * where the numbers of batches begin: an answer to an earlier life of the node must not fit one of this. */
struct handoff *handoff_init(void *memory, uint32_t first);

/* Gives back every blob that is held: before the pool goes. */
void handoff_deinit(struct handoff *handoff);
void handoff_tick(struct handoff *handoff, struct step *step);
uint64_t handoff_deadline(const struct handoff *handoff);
void handoff_scan_done(struct handoff *handoff, struct step *step, const struct event *event);
/* WRITE_ACK of a delivery; HINT_KEPT and HINT_DROPPED from the own replica. */
void handoff_message(struct handoff *handoff, struct step *step, uint32_t from, const struct message *message);
/* Each hint was made in this turn, or none is left of those before (see member/low.h). */
bool handoff_is_past(const struct handoff *handoff, uint32_t turn);
bool handoff_owns_request(uint64_t request);
void handoff_totals(const struct handoff *handoff, uint64_t *hints, uint64_t *oldest_ms);

#endif
