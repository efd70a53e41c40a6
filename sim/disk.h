/* A simulated disk under one node: what a storage engine promises, and what a crash may do to it.
 *
 * Commits complete in the order in which they were made. A completed one is visible to reads; it is durable once a
 * commit with sync that was made at the same time or later has completed. A crash keeps what is durable and a
 * prefix, drawn at random, of what is not: the tail is torn off wherever it was. What nobody syncs is written back all
 * the same once there is much of it.
 *
 * Its checksums never fail to notice a flipped bit: what is damaged reads as ERR_CORRUPT until it is overwritten.
 */
#ifndef GRAMME_SIM_DISK_H
#define GRAMME_SIM_DISK_H

#include "base/prng.h"
#include "seam/seam.h"

#define DISK_UNSYNCED_MAX_BYTES ((size_t)64 << 20)

struct disk_entry {
  struct bytes key; /* owned (malloc) */
  struct bytes value;
  bool damaged;
};

struct disk_table { /* sorted by key */
  struct disk_entry *entries;
  size_t count, capacity;
};

struct disk_change {
  enum space space;
  bool sync;
  bool remove;
  struct bytes key, value; /* owned */
};

struct disk {
  struct disk_table visible[SPACE_COUNT];
  struct disk_table durable[SPACE_COUNT];
  struct disk_change *changes; /* made and not yet durable, oldest first */
  size_t change_count, change_capacity;
  size_t applied;        /* of them, completed: visible */
  size_t unsynced_bytes; /* of those */
  /* Told of each change when it becomes durable. May be NULL. */
  void (*became_durable)(void *context, uint64_t argument, const struct disk_change *change);
  void *context;
  uint64_t argument;
};

void disk_init(struct disk *disk);
void disk_deinit(struct disk *disk);
/* A commit has been handed to the disk. */
void disk_begin(struct disk *disk, enum space space, struct bytes key, const struct bytes *value, bool sync);
/* The oldest commit that has not completed. */
const struct disk_change *disk_oldest(const struct disk *disk);
/* It completes now: with an error nothing of it is kept. */
void disk_complete(struct disk *disk, enum err err);
/* Borrowed until the next change; false when absent. OK or CORRUPT in `*err`. */
bool disk_get(const struct disk *disk, enum space space, struct bytes key, struct bytes *value, enum err *err);
/* The same, of what would survive a crash now. */
bool disk_get_durable(const struct disk *disk, enum space space, struct bytes key, struct bytes *value);
/* Index of the first visible entry >= key. */
size_t disk_seek(const struct disk *disk, enum space space, struct bytes key);
void disk_crash(struct disk *disk, struct prng *prng);
/* The `nth` object that is durable, counted around, is damaged. False when there is none. */
bool disk_damage(struct disk *disk, size_t nth);
/* These on a disk that nobody uses. All is gone, the node's own papers (SPACE_META) too. */
void disk_lose(struct disk *disk);
/* The `nth` object, counted around, is gone: for a planted bug. */
void disk_forget(struct disk *disk, size_t nth);
/* Becomes what is durable in `copy`. */
void disk_put_back(struct disk *disk, const struct disk *copy);
void disk_copy(struct disk *to, const struct disk *from); /* `to` is initialised by it */

#endif
