/* The pure core: one shard of one node as a state machine; see seam/seam.h for the rules of events and effects.
 *
 * shard.c only dispatches: to the replica (replica/), the coordinator (coord/), the keeper of hints (handoff/),
 * the mover of partitions (move/) and membership (member/), and passes one's verdict to the next.
 */
#ifndef GRAMME_SHARD_SHARD_H
#define GRAMME_SHARD_SHARD_H

#include "ring/ring.h"
#include "seam/config.h"
#include "seam/seam.h"
#include "seam/stats.h"

/* -- the shard ----------------------------------------------------------------- */
struct shard;
size_t shard_size(void); /* bytes that shard_init wants, aligned to 64 */
struct shard *shard_init(void *memory, const struct shard_config *config);
/* Before the memory goes: gives back every blob that the core still holds, foreign ones above all. Nobody is answered;
 * nothing but freeing the memory may follow. The effects of the last step are the driver's to reset. */
void shard_deinit(struct shard *shard);
void shard_step(struct shard *shard, const struct event *event, struct effects *effects);
uint64_t shard_deadline(const struct shard *shard); /* monotonic ns; HEAP_NEVER never */

/* -- for the driver and the front: read-only views, valid until the next step ---- */
struct blob_pool *shard_pool(struct shard *shard); /* a driver makes its blobs here, or wraps foreign memory */
const struct blob_pool *shard_value_pool(const struct shard *shard);
uint32_t shard_in_flight(const struct shard *shard); /* requests that are being coordinated */
void shard_set_tunables(struct shard *shard, const struct shard_tunables *tunables);
const struct ring *shard_ring(const struct shard *shard);         /* the target: who is a member */
const struct ring *shard_reading_ring(const struct shard *shard); /* by which gets are made, and clients routed */
const struct ring *shard_base_ring(const struct shard *shard);    /* what all are known to hold; the target, or older */
void shard_layout(const struct shard *shard, struct layout_view *out);
uint64_t shard_floor(const struct shard *shard, uint32_t partition); /* replica/floors.h; 0 none */
uint32_t shard_candidates(const struct shard *shard, struct candidate_view *out, uint32_t capacity);
const struct history *shard_history(const struct shard *shard);
struct sync_view;
/* How this node stands with those with which it compares what it keeps. Walks all partitions. */
uint32_t shard_sync_list(const struct shard *shard, struct sync_view *out, uint32_t capacity);
/* Why what is stored here is less than it was, until it has been got back; `*sure`: others have been asked. */
uint64_t shard_wrote(const struct shard *shard);        /* its wrote mark */
enum loss shard_latest_loss(const struct shard *shard); /* since the start */
enum loss shard_loss(const struct shard *shard, bool *sure);
struct scrub_view;
void shard_scrub(const struct shard *shard, struct scrub_view *out);
struct sync_difference;
uint32_t shard_sync_differences(const struct shard *shard, struct sync_difference *out, uint32_t capacity);
uint32_t shard_tree_left(const struct shard *shard); /* of 1000 parts, what is not in it yet after a start */
/* What background work is granted now, and why. */
void shard_background(const struct shard *shard, struct admit_view *out);
struct tree;
const struct tree *shard_tree(const struct shard *shard); /* NULL: it is being grown, or blind somewhere */
const struct bucket_table *shard_buckets(const struct shard *shard);
const struct shard_stats *shard_stats(const struct shard *shard);
struct context_binding;
struct context_binding shard_binding(const struct shard *shard, struct bytes key);

uint32_t shard_members(const struct shard *shard, struct member_view *out, uint32_t capacity);
bool shard_is_member(const struct shard *shard);           /* it serves clients */
bool shard_takes_changes(const struct shard *shard);       /* of membership */
const char *shard_join_refusal(const struct shard *shard); /* why a seed refused us, or NULL */
/* Of another cluster that has the same name: see member.h. */
uint32_t shard_foreigners(const struct shard *shard, uint32_t *last);
/* Node-wide facts that the driver measures and the core passes on in heartbeats. */
void shard_set_health(struct shard *shard, bool nospace, uint64_t keys);
/* What it said of itself last: as of its latest tick. */
const struct heartbeat *shard_health(const struct shard *shard);

#endif
