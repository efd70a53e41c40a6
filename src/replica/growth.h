/* Keeps the Merkle tree equal to what the store has (paper §4.7; docs/adr/0007).
 *
 * The replica tells of each write when the store has taken it. That is all, but for one range of positions that the
 * tree lacks: everything after a start, a leaf of which the store's answer to a write leaves open what it has now, and
 * everything again when a bucket's n was changed. That range is grown by scanning it, from its first position on:
 *
 *     WHOLE <---------------- the last position -----------------+
 *       | start, doubt, another n                                |
 *       v                                                        |
 *     WAITING -- paced, and no doubt is left: scan --> SCANNING -+--> WAITING, for the rest
 *
 * A write to a key outside the range changes the tree. One inside changes nothing: a scan will meet it. But one that
 * the store takes while a scan is under way may be in what that scan returns, or not: the lowest of them are noted, and
 * count instead of what the scan says of their keys; where the notes do not suffice, the scan counts up to there only.
 *
 * A scan may meet with what can not be read. Which keys it hides nobody knows, and what is stored there later may be
 * hidden, too (where an engine has damage in a file, its scans end there whatever lies above). So the leaves that it
 * reaches into are blind: nothing in them counts, and they differ from everybody's, so that they are compared key by
 * key in each round. They are looked at again when somebody loses or doubts something there, when all has been
 * scrubbed, and some time after something was stored.
 *
 * INVARIANT: outside the range, the sum of each leaf that is not blind is that of what the store has.
 */
#ifndef GRAMME_REPLICA_GROWTH_H
#define GRAMME_REPLICA_GROWTH_H

#include "replica/tree.h"
#include "seam/step.h"

struct growth;

size_t growth_size(void);
/* `memory` has growth_size() bytes, aligned to 64, zeroed. */
struct growth *growth_init(void *memory, const struct shard_config *config);
const struct tree *growth_tree(const struct growth *growth);
/* The tree lacks nothing. */
bool growth_is_whole(const struct growth *growth);
/* Which n the buckets have, as bits, and a digest of who has which, as of the tree. */
uint32_t growth_sizes(const struct growth *growth);
uint64_t growth_sizes_digest(const struct growth *growth);

/* What is not in the tree yet, of 1000 parts; 0: it is whole. */
uint32_t growth_left(const struct growth *growth);
/* What a key of the space of objects adds with that object; 0 without one. */
uint64_t growth_share(const struct growth *growth, struct bytes store_key, const struct blob *object);
/* The store has another object of the key now: the tree's share of it is `in`, it was `out`. */
void growth_stored(struct growth *growth, const struct step *step, struct bytes store_key, uint64_t out, uint64_t in);
/* Nobody knows what the store has of the key, until growth_settled: what has been stored again is known, and so is what
 * is read after that. */
void growth_doubt(struct growth *growth, struct bytes store_key);
void growth_settled(struct growth *growth);

/* Between these positions there is damage: what the store still can read there is read again. */
void growth_lose(struct growth *growth, struct position first, struct position last);

/* All has been read again: what is blind may not be any more. */
void growth_scrubbed(struct growth *growth);
/* Are there leaves that are blind? */
bool growth_is_blind(const struct growth *growth);
/* The first leaf from this one on in which any object has a mark, or that is blind; not more than so many further. */
uint64_t growth_marked_leaf(const struct growth *growth, uint64_t from, uint64_t most);

/* At the beginning of each step, before anything of it. */
void growth_look(struct growth *growth, const struct step *step);
void growth_tick(struct growth *growth, struct step *step);
void growth_scan_done(struct growth *growth, struct step *step, const struct event *event);
uint64_t growth_deadline(const struct growth *growth);

#endif
