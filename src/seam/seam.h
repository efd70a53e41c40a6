/* The seam between the pure core and whatever drives it: events in, effects out.
 *
 *     driver (server or simulator)              core
 *     ----------------------------              ----
 *     sockets, disk, clock  --- struct event --> shard_step
 *                           <-- struct effects ---
 *
 * shard_step takes one event, changes the shard's state and fills a list of effects. It never blocks, makes
 * no system call, reads no clock, and calls nobody back. What the simulator tests is what ships.
 *
 * RULES
 *  - An event is borrowed for the call. Effects are valid until the next step; a driver that needs a blob longer
 *    takes a reference (blob_get).
 *  - A driver may execute effects in any order, but for one rule about the store: a READ or SCAN sees any COMMIT that
 *    was emitted and completed before it; what is still under way the core itself remembers.
 *  - Commits are applied, and become durable, in the order in which they were emitted: a crash keeps a prefix of them.
 *  - Each READ, COMMIT and SCAN is answered exactly once, by a later event with its token; never from inside the call.
 *  - A COMMIT with `sync` is answered when it is durable. Without, when it is visible.
 *  - After a COMMIT answered with IO the driver stops the node: it does not guess. NOSPACE is survivable.
 *  - Each COMMAND is answered by exactly one REPLY with its token.
 */
#ifndef GRAMME_SEAM_SEAM_H
#define GRAMME_SEAM_SEAM_H

#include "seam/effect.h"
#include "seam/event.h"
#include "seam/space.h"
#include "version/object.h"

#endif
