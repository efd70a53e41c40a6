/* Forgets deletions that everybody knows of (docs/adr/0008), and versions that expired: walks those leaves of the
 * Merkle tree in which there are some, and has the replica take out of each object what lies below its partition's reap
 * mark. A walk begins when a mark has risen, not oftener than once in a sync-round, and is paced with the rest of what
 * compares replicas. Nothing of it is kept: what was not reached is met by the next.
 *
 *     IDLE -- a mark has risen --> WALKING -- a leaf with something to look at --> SCANNING --> WALKING ... the last
 *      ^                                                                                                leaf |
 *      +----------------------------------------------------------------------------------------------------+
 */
#ifndef GRAMME_REPLICA_REAPER_H
#define GRAMME_REPLICA_REAPER_H

#include "replica/floors.h"
#include "replica/growth.h"

struct reaper;

size_t reaper_size(void);
/* Both are borrowed. */
struct reaper *reaper_init(void *memory, const struct growth *growth, const struct floors *floors);
void reaper_deinit(struct reaper *reaper);
void reaper_tick(struct reaper *reaper, struct step *step);
void reaper_scan_done(struct reaper *reaper, struct step *step, const struct event *event);
uint64_t reaper_deadline(const struct reaper *reaper);

#endif
