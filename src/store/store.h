/* Storage engines behind one interface (paper §5: "pluggable local persistence").
 *
 * Three ordered spaces (enum space in seam/seam.h) of byte strings. An engine is opened for one node's
 * directory and used by its driver (os/disk.h). One that may wait for a device has `waits` set: then `get` with
 * may_block false, `statistics`, `failure` and `set_reserve` are for the loop thread, `commit`, `scan`, `recover` and
 * `get` with may_block true for workers, all of them safe against each other but for one commit at a time. One that
 * never waits is used on one thread only.
 *
 * A batch of writes is atomic, later writes to a key win over earlier ones in it, and with `sync` it is durable when
 * commit returns OK. Errors:
 *
 *   NOSPACE  nothing of the batch was kept, or it is unknown whether it was; reads go on; `recover` may help
 *   BUSY     the engine is stalled (compaction can not keep up); nothing was kept; try again
 *   IO       the device failed, or a sync did: the caller stops the node
 *   CORRUPT  what was read is damaged. A scan of objects or hints passes over damage at its beginning, and returns what
 *            lies behind (keys of fewer than eight bytes next to it may be passed over too); one that meets damage
 *            later ends before it, with OK
 *   RETRY    get with may_block false would have to wait for the disk
 *   NOMEM    no memory for what was to be returned
 */
#ifndef GRAMME_STORE_STORE_H
#define GRAMME_STORE_STORE_H

#include "base/blob.h"
#include "seam/seam.h"

struct store_write {
  enum space space;
  bool remove; /* else put */
  struct bytes key;
  struct bytes value;
};

/* Bytes that an engine returned; the taker releases them with store_value_free, and writes to them never. */
struct store_value {
  uint8_t *data; /* NULL: absent; an empty value has data */
  size_t size;
};

struct store_scan_entry {
  struct store_value key;
  struct store_value value; /* absent when keys_only */
};

struct store_statistics {
  uint64_t keys;       /* estimate, SPACE_OBJECTS */
  uint64_t bytes;      /* on disk or in memory, estimate */
  uint64_t free_bytes; /* of the file system; UINT64_MAX for memory */
  bool nospace;        /* commits are being refused */
  bool stalled;
};

struct store;
struct store_options;

#define STORE_WHY 256u
/* For what is damaged. To mend it in place would leave a node that does not know what it has lost. */
#define STORE_REMEDY "move the store away and start again: what the other replicas have comes back"

struct store_engine {
  const char *name;
  const char *leaves; /* the name of the file or folder that it makes in the directory */
  bool waits;         /* for a device: calls that may block belong on a worker */
  /* Opens or creates. On failure `why` (STORE_WHY bytes) says what and the remedy, on one line. */
  enum err (*open)(const char *directory, const struct store_options *options, struct store **store, char *why);
  enum err (*get)(struct store *store, enum space space, struct bytes key, bool may_block, struct store_value *value);
  enum err (*commit)(struct store *store, const struct store_write *writes, size_t count, bool sync);
  /* Entries from `from` on, in byte order of keys, that begin with `prefix`; at most max_count and about max_bytes (at
   * least one). `entries` has room for max_count. `*end` when nothing further is in the range. */
  enum err (*scan)(struct store *store, enum space space, struct bytes from, struct bytes prefix, uint32_t max_count,
                   size_t max_bytes, bool keys_only, struct store_scan_entry *entries, uint32_t *count, bool *end);
  /* Called about once a second on a worker: looks at free space, refreshes the statistics, and mends a full disk's
   * after-effects when there is space. OK, NOSPACE (not yet), IO (could not be mended: no commit will succeed any
   * more). */
  enum err (*recover)(struct store *store);
  void (*statistics)(struct store *store, struct store_statistics *statistics); /* cheap: as of the last recover */
  void (*failure)(struct store *store, char *why); /* what the last failed call said, STORE_WHY bytes; "" none */
  void (*set_reserve)(struct store *store, uint64_t disk_reserve_bytes);
  void (*close)(struct store *store);
};

struct store_options {
  uint64_t disk_reserve_bytes; /* commits are refused with NOSPACE while less is free */
  uint64_t cache_bytes;        /* block cache */
  uint64_t write_buffer_bytes;
};

extern const struct store_engine store_memory;
extern const struct store_engine store_rocksdb;
const struct store_engine *store_engine_find(const char *name); /* NULL: none of that name */
/* Another engine than `engine` that has been used in the directory; NULL: none. */
const struct store_engine *store_engine_other(const struct store_engine *engine, const char *directory);
void store_value_free(uint8_t *data); /* NULL is fine */

/* For engines: memory for a value (NULL: none left), and one more holder of it, for engines that do not wait. */
uint8_t *store_value_new(size_t size) MUST_CHECK;
void store_value_share(uint8_t *data);

#endif
