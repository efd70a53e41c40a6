/* Anti-entropy: replicas compare their Merkle trees and mend what differs (paper §4.7; docs/adr/0007).
 *
 * In each *round* a node compares what it keeps with the other replicas of each partition, by the layout that is read
 * by. Of a pair the one with the lower rank does it, for both:
 *
 *     roots:    COMPARE, the sums of hundreds of partitions at once   --> which differ
 *     descent:  COMPARE, the children of one node of the tree         --> which differ, down to the leaves
 *     keys:     PULL (keys and digests of a leaf), beside a scan of the own store
 *     objects:  what the other has not: OFFER, then WRITE. What this node has not: READ, then its own WRITE. What
 *               differs: both, less what the other's version supersedes. Each side merges, as in a read repair.
 *
 * So the cost is that of the roots, and of what differs. Nothing is kept between sessions: one that was cut short is
 * begun anew and finds what is still different. A key counts as different when its objects still are at the moment at
 * which they are to be mended: what was only under way is not counted. A partition is compared key by key by one pair
 * at a time (engaged), so that what is missing on one node is not sent there by several.
 *
 * Only keys of which both nodes are replicas are compared: the sums are of keys with n > the higher rank of the two. So
 * what a node stores and does not own is never exchanged.
 *
 * Asking for a clean round (wait-sync): an ask is a number above all that were heard of; heartbeats carry the highest.
 * A node has *settled* an ask when a round that it began after it had heard of it was complete and found nothing.
 *
 * INVARIANTS: an object moves only between two nodes that read by the same layout and are both replicas of its key in
 * it; nothing is asked of another node that is not granted (step_may_work).
 */
#ifndef GRAMME_SYNC_SYNC_H
#define GRAMME_SYNC_SYNC_H

#include "replica/floors.h"
#include "replica/growth.h"
#include "seam/step.h"

struct sync;

size_t sync_size(void);
/* `memory` has sync_size() bytes, aligned to 64, zeroed. `growth` and `floors` are borrowed. `first`: where the numbers
 * of requests begin (see coord.h). */
struct sync *sync_init(void *memory, const struct growth *growth, struct floors *floors, uint32_t first);
/* Gives back every blob that is held: before the pool goes. */
void sync_deinit(struct sync *sync);

void sync_tick(struct sync *sync, struct step *step);
uint64_t sync_deadline(const struct sync *sync);
/* COMPARE, FLOORS and FLOORS_HELD from others; COMPARED, PULLED, READ_REPLY and WRITE_ACK whose number is this
 * module's. */
void sync_message(struct sync *sync, struct step *step, uint32_t from, const struct message *message);
void sync_scan_done(struct sync *sync, struct step *step, const struct event *event);
/* Nothing is being mended that was read before this turn (see member/low.h). */
bool sync_is_past(const struct sync *sync, uint32_t turn);
bool sync_owns_request(uint64_t request);

/* Asks all nodes for a clean round; the number of the ask. */
uint32_t sync_ask(struct sync *sync, uint64_t now_ns);
/* Asks, and replies to the command once all have settled it (OK), or at its time (TIMEOUT). */
void sync_wait(struct sync *sync, struct step *step, const struct command *command);
bool sync_is_waited_for(const struct sync *sync);
/* `least`: the lowest ask that any member but this one has settled. */
void sync_tell_waiters(struct sync *sync, struct step *step, uint32_t least);
void sync_note_heartbeat(struct sync *sync, const struct step *step, const struct heartbeat *heartbeat);
/* Fills in what begins with sync_. */
void sync_totals(const struct sync *sync, const struct step *step, struct heartbeat *health);

/* How this node stands with another one. */
struct sync_view {
  uint32_t node;
  uint32_t partitions;        /* that both replicate, and this node compares */
  uint32_t partitions_differ; /* known to, and not compared key by key yet */
  uint64_t keys_differ;       /* found to, and not mended yet */
  uint64_t found;             /* in all since the layouts changed */
  uint64_t whole_ns;          /* when the last round began in which all of it was compared; 0 never */
};
/* Nodes with which this one has partitions to compare, by the layout that is read by; returns how many. Walks the table
 * of partitions. */
uint32_t sync_list(const struct sync *sync, const struct ring *layout, struct sync_view *out, uint32_t capacity);

/* A partition that is not equal here and on another node. */
struct sync_difference {
  uint32_t partition;
  uint32_t node;
  uint32_t keys; /* found to differ, and not mended yet; 0: it has not been looked which they are */
};
/* As sync_list, of each partition by itself; those beyond `capacity` are only counted. */
uint32_t sync_differences(const struct sync *sync, const struct ring *layout, struct sync_difference *out,
                          uint32_t capacity);

#endif
