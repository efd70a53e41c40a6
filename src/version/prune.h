/* Takes out of an object what is dead (docs/adr/0008): versions that somebody has not who knows every version as old as
 * that (bury), and deletions of which everybody knows (reap).
 *
 * A *floor* is a time up to which all versions are known. It is a claim like a pair of a clock, on all actors at once.
 */
#ifndef GRAMME_VERSION_PRUNE_H
#define GRAMME_VERSION_PRUNE_H

#include "version/object.h"

enum pruned {
  PRUNED_NOTHING, /* all of it stays */
  PRUNED_SOME,    /* `*left` is what stays */
  PRUNED_ALL,     /* nothing stays: the key is absent */
  PRUNED_NOMEM,
};

/* Of the siblings of `object` those go that are at most as old as the floor and that `other`, which is what its owner
 * has (empty: absent), has not. Both are sound objects; either may be a clock. */
enum pruned object_bury(struct blob_pool *pool, struct bytes object, struct bytes other, uint64_t floor,
                        struct blob **left) MUST_CHECK;
/* What somebody has of a key (empty: absent), and his floor: 0, he claims nothing. */
struct holding {
  struct bytes object;
  struct blob *blob; /* as for object_merge; NULL for an absent one */
  uint64_t floor;
};
/* object_merge of what two have: what either knows to be dead does not come back with the other. The greater floor is
 * true of the result. */
enum err holding_merge(struct version_scratch *scratch, struct blob_pool *pool, const struct holding *mine,
                       const struct holding *theirs, enum resolve resolve, struct version_stats *stats,
                       struct blob **out) MUST_CHECK;
/* What would go? Nothing of an absent one. */
enum pruned object_dead(struct bytes object, struct bytes other, uint64_t floor);
/* Those siblings go that say nothing any more: a deletion, or a version that had expired, at the floor. An object goes
 * whole only when it claims nothing that is younger. */
enum pruned object_reap(struct blob_pool *pool, struct bytes object, uint64_t floor, struct blob **left) MUST_CHECK;
/* Would all of it go; any of it? */
bool object_is_garbage(struct bytes object, uint64_t floor);
bool object_has_garbage(struct bytes object, uint64_t floor);

enum object_mark { OBJECT_DELETES = 1, OBJECT_EXPIRES = 2 };
#define OBJECT_MARKS 3u
/* Is there a deletion in it, or a version that will expire? Bits; damaged bytes have none. */
uint32_t object_marks(struct bytes object);

#endif
