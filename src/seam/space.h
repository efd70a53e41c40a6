/* The spaces of a node's store, and the keys within them (paper §5):
 *   OBJECTS  position (16 bytes), key
 *   HINTS    u32 big-endian owner, position, key
 *   META     a name: see META_*; written by the core as opaque bytes, read back by the driver at start
 */
#ifndef GRAMME_SEAM_SPACE_H
#define GRAMME_SEAM_SPACE_H

enum space { SPACE_OBJECTS = 0, SPACE_HINTS = 1, SPACE_META = 2, SPACE_COUNT };

#define META_HISTORY "history"
#define META_BUCKETS "buckets"
#define META_SEALED "sealed"
#define META_LAYOUT "layout" /* this node's mark */
#define META_WROTE "wrote"   /* this node's wrote mark; the rest of its past: see member/life.h */
#define META_LOSS "loss"
#define META_LIVES "lives"
#define META_SCRUB "scrub"   /* how far stored objects have been read again */
#define META_MOVES "moves"   /* which partitions of the target it has received whole */
#define META_FLOORS "floors" /* what of each partition is known whole: see replica/floors.h */
#define META_LOW "low"       /* this node's low-water mark: see member/low.h */

#endif
