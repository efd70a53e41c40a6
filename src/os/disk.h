/* The asynchronous face of a store on the node's libuv loop (paper §5 "pluggable local persistence", §6.1 durability).
 *
 * Everything here is called on the loop thread. Writes gather into a batch; disk_flush hands it to a worker as one
 * commit (one synced write for all puts of a loop iteration: group commit) while the next gathers. Reads are tried on
 * the loop against memory, and go to a worker only when they would have to wait for the device. An engine that never
 * waits (memory) needs no worker: its reads and scans are done at once, its batches in disk_flush. Either way the
 * answer is a callback, later:
 *
 *   disk_commit ---> gathering --disk_flush--> in flight (worker) --.
 *   disk_read ---> memory: found or absent ------------------------>+--> completions --disk_poll--> callbacks
 *        `-------> waits ---> in flight (worker, bounded) ----------'
 *
 * How the node uses it, at the end of each loop iteration (a uv_check or uv_prepare handle), before it writes to
 * sockets:
 *
 *   for (uint32_t round = 0; round < ROUNDS_MAX; round += 1) {
 *     disk_flush(disk);
 *     if (disk_poll(disk) == 0) break;
 *   }
 *   disk_flush(disk);
 *
 * The disk keeps the loop from sleeping by itself, through an idle handle of its own, while completions wait for
 * disk_poll or writes wait for disk_flush, so leaving completions for the next iteration is fine.
 *
 * INVARIANTS
 *  - Each read, commit and scan is answered by exactly one callback, from disk_poll and nowhere else, until disk_close.
 *  - Commits are applied, and answered, in the order of the calls. One batch is in flight at a time.
 *  - A read sees every commit answered before disk_read was called; of those under way it may see any.
 *  - After a commit answered IO every later one is answered IO without being tried: no guessing after a failed sync.
 */
#ifndef GRAMME_OS_DISK_H
#define GRAMME_OS_DISK_H

#include <uv.h>

#include "base/blob.h"
#include "seam/seam.h"
#include "store/store.h"

#define DISK_BATCH_WRITES_MAX 4096u     /* writes of one commit; more go into the next */
#define DISK_BATCH_BYTES_MAX (8u << 20) /* keys and values of one commit; at least one write is always taken */
#define DISK_READERS_MAX 8u             /* reads and scans on workers at one time; more wait in order */
#define DISK_READS_PER_WORKER_MAX 16u   /* waiting reads that one worker is handed at once */
#define DISK_SCAN_ENTRIES_MAX 4096u     /* a scan's max_count is cut to this */
#define DISK_OPERATIONS_MAX 131072u     /* unanswered operations: the core's tables keep far below; asserted */
#define DISK_RECOVER_MS 1000u /* how often free space is looked at, and a full disk's after-effects are mended */
#define DISK_WHY STORE_WHY

struct disk;

struct disk_callbacks {
  void *context;
  /* OK (value NULL: absent), IO, CORRUPT, NOMEM (the pool had no room for it). `value` is borrowed for the call. */
  void (*read_done)(void *context, uint64_t token, enum err err, struct blob *value);
  /* OK, NOSPACE, BUSY, IO. Durable if OK and it asked for sync; visible if OK. After IO the node stops: disk_failure
   * says why. */
  void (*commit_done)(void *context, uint64_t token, enum err err);
  /* OK, IO, NOMEM. CORRUPT: as OK, but before the first entry lies what can not be read; it is left out. Entries and
   * their blobs are borrowed for the call. */
  void (*scan_done)(void *context, uint64_t token, enum err err, const struct scan_entry *entries, uint32_t count,
                    bool end);
};
/* Callbacks may call disk_read, disk_commit, disk_scan and disk_flush, not disk_poll or disk_close. */

struct disk_stats {
  uint64_t reads, reads_on_worker, scans;
  uint64_t commits, batches, batches_synced; /* commits / batches: what group commit is worth */
  uint64_t commits_busy, commits_nospace, commits_io, reads_failed;
  uint32_t unanswered; /* operations, now */
};

/* Opens (or creates) the store of `directory`, which must exist; may take as long as its recovery does. `pool` is the
 * core's blob pool: values read become blobs of it; it must outlive the disk. On failure `why` (DISK_WHY bytes) is one
 * line with the remedy. To be called before anything else uses libuv's thread pool: it sets its size, unless
 * UV_THREADPOOL_SIZE is set. */
enum err disk_open(struct disk **disk, uv_loop_t *loop, struct blob_pool *pool, const struct store_engine *engine,
                   const char *directory, const struct store_options *options, const struct disk_callbacks *callbacks,
                   char *why) MUST_CHECK;

/* References to the blobs are taken as needed; the caller keeps his own. */
void disk_read(struct disk *disk, uint64_t token, enum space space, struct blob *key);
void disk_commit(struct disk *disk, uint64_t token, enum space space, struct blob *key, struct blob *value, bool sync);
/* `prefix` NULL: any. At most max_count entries and about max_bytes; at least one, where there is one. */
void disk_scan(struct disk *disk, uint64_t token, enum space space, struct blob *from, struct blob *prefix,
               uint32_t max_count, uint32_t max_bytes, bool keys_only);

/* Hands what was gathered to a worker unless a batch is in flight; then it is handed over when that one is done. */
void disk_flush(struct disk *disk);
/* Calls back for the completions that are there on entry, not for those that arise meanwhile; returns how many. */
uint32_t disk_poll(struct disk *disk);

/* Free space, keys and the like, as of the last second; cheap. */
void disk_statistics(const struct disk *disk, struct store_statistics *statistics);
const struct disk_stats *disk_stats(const struct disk *disk);
/* What the last failed operation said (after IO or CORRUPT); "" when none failed. DISK_WHY bytes. */
void disk_failure(const struct disk *disk, char *why);
/* CONFIG SET disk-reserve. */
void disk_set_reserve(struct disk *disk, uint64_t disk_reserve_bytes);

/* For blocking calls through the engine before the first operation above (a node's metadata at start), and tests. */
struct store *disk_store(struct disk *disk);
const struct store_engine *disk_engine(const struct disk *disk);

/* Stops. What is unanswered is never called back and may or may not have been kept (a clean stop flushes and polls
 * until disk_stats()->unanswered is 0 first). References are released, the store is closed and the memory freed once
 * the loop has run to its end: run the loop until it returns 0, and only then let go of the pool. */
void disk_close(struct disk *disk);

#endif
