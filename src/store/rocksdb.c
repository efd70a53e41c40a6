/* The rocksdb engine: one database per node in DIRECTORY/rocksdb, a column family per space.
 *
 * Durability. Every write goes through the write-ahead log; a batch with sync is fdatasynced before commit returns.
 * After a crash the log is replayed in the mode "tolerate corrupted tail": a record that was cut off at the end of a
 * log (it was being written, so nobody was told that it was durable) is dropped, damage anywhere else refuses to open.
 * RocksDB's default, "point in time", would stop at damage in the middle and silently drop what was acknowledged after
 * it; "absolute consistency" would refuse every log that a kill -9 cut short.
 *
 * A full disk. Commits are refused while less than the reserve is free, so that RocksDB itself, its flushes and
 * compactions normally never meet the end of the disk. If it does all the same, it accepts no further write; `recover`
 * then opens the database again when there is space. Until then reads go on through the old handle:
 *
 *   RUNNING --RocksDB met ENOSPC--> FULL --there is space, opened again--> RUNNING
 *                                    | ^
 *            could not open for      | | could (read-only again) not be opened: still full
 *            any other reason        v |
 *                                   DEAD: reads if it opens read-only; commits answer IO
 *
 * The handle is guarded by a read-write lock: every call holds it shared, opening again holds it alone. A get on the
 * loop that does not obtain it answers RETRY, so the loop never waits for it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "store/store.h"

#define PLACE_BYTES 8u
#define FAMILIES \
  (SPACE_COUNT + 1u) /* RocksDB insists on "default", which stays empty; the others follow in order of spaces */
#define PATH_MAX_BYTES 4200u
#define REMOVED_WINDOW 4096u    /* neighbours in a file, of which half are removals: it is compacted */
#define BLOOM_BITS_PER_KEY 10.0 /* about 1 % of gets of absent keys read a block in vain */
#define WRITE_BUFFERS_MAX 4     /* full buffers that may wait to be flushed before writes stall */
#define OPEN_FILES_MIN 64u
#define OPEN_FILES_MAX 8192u
#define FREE_REFRESH_BYTES (1u << 20) /* bytes written after which free space is looked at again */
#define REOPEN_SPARE_BYTES \
  (4u << 20)             /* free space wanted beyond what is to be flushed before a full database is opened again */
#define LOG_LEVEL_NONE 6 /* one above RocksDB's highest */
#define STALL_TRIES 10u  /* a stalled write is tried again so often ... */
#define STALL_PAUSE_NS \
  10000000 /* ... after 10 ms each: short stalls are waited out on the worker, long ones answer BUSY */

enum state { STATE_RUNNING, STATE_FULL, STATE_DEAD };

struct store {
  char directory[PATH_MAX_BYTES]; /* the node's: its file system is the one that counts */
  char path[PATH_MAX_BYTES];
  rocksdb_options_t *options;
  rocksdb_options_t *family_options[FAMILIES];
  rocksdb_cache_t *cache;
  rocksdb_readoptions_t *read_waiting;
  rocksdb_readoptions_t *read_cached;
  rocksdb_writeoptions_t *write_synced;
  rocksdb_writeoptions_t *write_unsynced;

  pthread_rwlock_t lock; /* guards the next three */
  rocksdb_t *db;         /* NULL: could not be opened again */
  rocksdb_column_family_handle_t *families[FAMILIES];
  bool read_only;

  atomic_int state; /* enum state */
  _Atomic uint64_t reserve_bytes;
  _Atomic uint64_t free_bytes;    /* when last looked at */
  _Atomic uint64_t written_bytes; /* since then */
  _Atomic uint64_t refused_bytes; /* what the last refused commit wanted beyond the reserve */
  atomic_bool nospace;
  atomic_bool stalled;
  _Atomic uint64_t keys;
  _Atomic uint64_t bytes;

  pthread_mutex_t failure_lock;
  char failure[STORE_WHY];
};

/* -- errors ------------------------------------------------------------------ */

static bool contains(const char *text, const char *part) {
  return strstr(text, part) != NULL;
}

static bool error_is_full(const char *error) {
  /* A sync that failed for want of space has failed all the same: what it should have made durable may be gone. */
  bool full = contains(error, "No space left on device") || contains(error, "Disk quota exceeded");
  return full && !contains(error, "fdatasync") && !contains(error, "fsync");
}

/* Takes RocksDB's error text: keeps it as the last failure, frees it and says which of ours it is. `incomplete` is what
 * "Result incomplete" means for this call: RETRY for a read that may not wait, BUSY for a write that RocksDB would have
 * delayed. */
static enum err error_take(struct store *store, char *error, enum err incomplete) {
  ASSERT(error != NULL);
  enum err err = ERR_IO;
  if (strncmp(error, "Result incomplete", 17) == 0) {
    err = incomplete;
  } else if (error_is_full(error)) {
    err = ERR_NOSPACE;
  } else if (strncmp(error, "Corruption", 10) == 0) {
    err = ERR_CORRUPT;
  }
  if (err == ERR_IO || err == ERR_CORRUPT) {
    pthread_mutex_lock(&store->failure_lock);
    (void)snprintf(store->failure, sizeof(store->failure), "%s", error);
    pthread_mutex_unlock(&store->failure_lock);
  }
  rocksdb_free(error);
  return err;
}

/* One line that names the thing and the remedy. */
static enum err error_explain_open(const char *path, const char *error, char *why) {
  enum err err = ERR_IO;
  const char *remedy = "the message says why";
  if (contains(error, "/LOCK") || contains(error, "lock hold by current process")) {
    (void)snprintf(why, STORE_WHY,
                   "%.150s is in use by another process: stop that one, or give this node its own --dir", path);
    return ERR_BUSY;
  }
  if (error_is_full(error)) {
    err = ERR_NOSPACE;
    remedy = "free some space on its disk and start again";
  } else if (contains(error, "Permission denied") || contains(error, "Read-only file system")) {
    remedy = "let this user write there, or choose another --dir";
  } else if ((contains(error, "No such file or directory") && access(path, F_OK) != 0) ||
             contains(error, "Not a directory")) {
    remedy = "create the data directory, or choose another --dir";
  } else if (strncmp(error, "Corruption", 10) == 0 || contains(error, "No such file or directory")) {
    err = ERR_CORRUPT;
    remedy = STORE_REMEDY;
  } else if (strncmp(error, "Not implemented", 15) == 0 || contains(error, "nknown format") ||
             strncmp(error, "Invalid argument", 16) == 0) {
    err = ERR_FORMAT;
    remedy = "it was perhaps written by a newer version: start that one";
  } else if (contains(error, "Input/output error")) {
    remedy = "check its device";
  } else if (contains(error, "Too many open files")) {
    remedy = "raise the limit of open files (ulimit -n)";
  }
  (void)snprintf(why, STORE_WHY, "%.60s can not be opened: %s (%.90s)", path, remedy, error);
  for (char *c = why; *c != '\0'; c += 1) {
    if (*c == '\n' || *c == '\r') {
      *c = ' ';
    }
  }
  return err;
}

/* -- options ------------------------------------------------------------------- */

/* A part of what the process may open: the sockets of clients and peers need the rest. */
static int open_files_max(void) {
  struct rlimit limit;
  uint64_t files = OPEN_FILES_MIN;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    files = (uint64_t)limit.rlim_cur / 4;
  }
  files = files < OPEN_FILES_MIN ? OPEN_FILES_MIN : files;
  return (int)(files > OPEN_FILES_MAX ? OPEN_FILES_MAX : files);
}

static rocksdb_options_t *options_make(const struct store_options *options) {
  rocksdb_options_t *made = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(made, 1);
  rocksdb_options_set_create_missing_column_families(made, 1);
  rocksdb_options_set_paranoid_checks(made, 1);
  rocksdb_options_set_wal_recovery_mode(made, rocksdb_tolerate_corrupted_tail_records_recovery);
  rocksdb_options_set_max_background_jobs(made, 4);
  rocksdb_options_set_max_open_files(made, open_files_max());
  /* Spreads the write-out of big files, so that a sync of the log does not queue behind one. */
  rocksdb_options_set_bytes_per_sync(made, 1u << 20);
  /* Rarely written families must not keep old logs alive for ever. */
  rocksdb_options_set_max_total_wal_size(made, WRITE_BUFFERS_MAX * options->write_buffer_bytes);
  /* Its LOG stays empty. The build that Debian ships asserts that nobody goes on writing to a file after a write to it
   * has failed, and the LOG breaks that rule: on a full disk the process would abort. */
  rocksdb_options_set_info_log_level(made, LOG_LEVEL_NONE);
  rocksdb_options_set_keep_log_file_num(made, 1);
  rocksdb_options_set_stats_dump_period_sec(made, 0);
  return made;
}

static rocksdb_options_t *family_options_make(struct store *store, const struct store_options *options, bool small) {
  rocksdb_options_t *made = rocksdb_options_create();
  rocksdb_options_set_write_buffer_size(made, small ? 1u << 20 : options->write_buffer_bytes);
  rocksdb_options_set_max_write_buffer_number(made, WRITE_BUFFERS_MAX);
  rocksdb_options_set_compression(made, rocksdb_lz4_compression);
  rocksdb_options_set_level_compaction_dynamic_level_bytes(made, 1);
  rocksdb_options_set_level0_slowdown_writes_trigger(made, 32);
  rocksdb_options_set_level0_stop_writes_trigger(made, 48);
  rocksdb_options_set_paranoid_checks(made, 1);
  /* What was removed in runs (partitions that went, deletions that are forgotten) gives its space back soon. */
  rocksdb_options_add_compact_on_deletion_collector_factory(made, REMOVED_WINDOW, REMOVED_WINDOW / 2);
  /* A bloom filter in the write buffer too: most gets are of keys that are not in it. */
  rocksdb_options_set_memtable_prefix_bloom_size_ratio(made, 0.02);
  rocksdb_options_set_memtable_whole_key_filtering(made, 1);

  rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
  rocksdb_block_based_options_set_block_cache(table, store->cache);
  /* Filters and indexes of open files stay in memory beside the cache, about 2 bytes a key: a get reads one block. */
  rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
  rocksdb_block_based_options_set_format_version(table, 5);
  rocksdb_options_set_block_based_table_factory(made, table);
  rocksdb_block_based_options_destroy(table);
  return made;
}

static void store_make_options(struct store *store, const struct store_options *options) {
  store->options = options_make(options);
  store->cache = rocksdb_cache_create_lru((size_t)options->cache_bytes);
  for (uint32_t i = 0; i < FAMILIES; i += 1) {
    store->family_options[i] = family_options_make(store, options, i == 0 || i == 1u + SPACE_META);
  }
  store->read_waiting = rocksdb_readoptions_create();
  rocksdb_readoptions_set_verify_checksums(store->read_waiting, 1);
  store->read_cached = rocksdb_readoptions_create();
  rocksdb_readoptions_set_verify_checksums(store->read_cached, 1);
  rocksdb_readoptions_set_read_tier(store->read_cached, 1); /* what is in memory; else "Result incomplete" */
  store->write_synced = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(store->write_synced, 1);
  rocksdb_writeoptions_set_no_slowdown(store->write_synced, 1);
  store->write_unsynced = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(store->write_unsynced, 0);
  rocksdb_writeoptions_set_no_slowdown(store->write_unsynced, 1);
}

/* -- opening and closing --------------------------------------------------------- */

/* Returns RocksDB's error text, to be freed, or NULL. */
static char *database_open(struct store *store, bool read_only) {
  static const char *const names[FAMILIES] = {"default", "objects", "hints", "meta"};
  const rocksdb_options_t *family_options[FAMILIES];
  for (uint32_t i = 0; i < FAMILIES; i += 1) {
    family_options[i] = store->family_options[i];
  }
  char *error = NULL;
  ASSERT(store->db == NULL);
  if (read_only) {
    store->db = rocksdb_open_for_read_only_column_families(store->options, store->path, FAMILIES, names, family_options,
                                                           store->families, 0, &error);
  } else {
    store->db = rocksdb_open_column_families(store->options, store->path, FAMILIES, names, family_options,
                                             store->families, &error);
  }
  if (error != NULL) {
    store->db = NULL;
  }
  store->read_only = read_only;
  return error;
}

static void database_close(struct store *store) {
  if (store->db == NULL) {
    return;
  }
  for (uint32_t i = 0; i < FAMILIES; i += 1) {
    rocksdb_column_family_handle_destroy(store->families[i]);
    store->families[i] = NULL;
  }
  rocksdb_close(store->db);
  store->db = NULL;
}

static void space_refresh(struct store *store) {
  struct statvfs fs;
  uint64_t free_bytes = UINT64_MAX; /* one that does not tell does not refuse: RocksDB will see */
  if (statvfs(store->directory, &fs) == 0) {
    free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
  }
  atomic_store(&store->free_bytes, free_bytes);
  atomic_store(&store->written_bytes, 0);
}

static uint64_t property(struct store *store, uint32_t family, const char *name) {
  uint64_t value = 0;
  if (rocksdb_property_int_cf(store->db, store->families[family], name, &value) != 0) {
    return 0;
  }
  return value;
}

/* The lock is held, the database open. Some of these take RocksDB's own mutex: not for the loop thread. */
static void statistics_refresh(struct store *store) {
  uint64_t bytes = 0;
  for (uint32_t i = 1; i < FAMILIES; i += 1) {
    bytes += property(store, i, "rocksdb.total-sst-files-size");
    bytes += property(store, i, "rocksdb.cur-size-all-mem-tables");
  }
  atomic_store(&store->bytes, bytes);
  atomic_store(&store->keys, property(store, 1 + SPACE_OBJECTS, "rocksdb.estimate-num-keys"));
  bool stopped = property(store, 1 + SPACE_OBJECTS, "rocksdb.is-write-stopped") != 0;
  atomic_store(&store->stalled,
               stopped || property(store, 1 + SPACE_OBJECTS, "rocksdb.actual-delayed-write-rate") != 0);
}

static void rocksdb_store_close(struct store *store) {
  database_close(store);
  for (uint32_t i = 0; i < FAMILIES; i += 1) {
    rocksdb_options_destroy(store->family_options[i]);
  }
  rocksdb_options_destroy(store->options);
  rocksdb_cache_destroy(store->cache);
  rocksdb_readoptions_destroy(store->read_waiting);
  rocksdb_readoptions_destroy(store->read_cached);
  rocksdb_writeoptions_destroy(store->write_synced);
  rocksdb_writeoptions_destroy(store->write_unsynced);
  pthread_rwlock_destroy(&store->lock);
  pthread_mutex_destroy(&store->failure_lock);
  free(store);
}

static enum err rocksdb_store_open(const char *directory, const struct store_options *options, struct store **store,
                                   char *why) {
  struct store *opened = calloc(1, sizeof(*opened));
  if (opened == NULL) {
    (void)snprintf(why, STORE_WHY, "no memory for the rocksdb engine: give the process more");
    return ERR_NOMEM;
  }
  int length = snprintf(opened->path, sizeof(opened->path), "%s/rocksdb", directory);
  if (length < 0 || (size_t)length >= sizeof(opened->path)) {
    (void)snprintf(why, STORE_WHY, "the data directory's name is too long: choose a shorter --dir");
    free(opened);
    return ERR_BADARG;
  }
  (void)snprintf(opened->directory, sizeof(opened->directory), "%s", directory);
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  /* A steady stream of reads must not keep the database from being opened again. */
  pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&opened->lock, &attributes);
  pthread_rwlockattr_destroy(&attributes);
  pthread_mutex_init(&opened->failure_lock, NULL);
  atomic_store(&opened->reserve_bytes, options->disk_reserve_bytes);
  store_make_options(opened, options);
  char *error = database_open(opened, false);
  if (error != NULL) {
    enum err err = error_explain_open(opened->path, error, why);
    rocksdb_free(error);
    rocksdb_store_close(opened);
    return err;
  }
  atomic_store(&opened->state, STATE_RUNNING);
  space_refresh(opened);
  statistics_refresh(opened);
  *store = opened;
  return ERR_OK;
}

/* -- reading ------------------------------------------------------------------------ */

static rocksdb_column_family_handle_t *family(const struct store *store, enum space space) {
  ASSERT(space < SPACE_COUNT);
  return store->families[1u + (uint32_t)space];
}

static enum err value_copy(const char *data, size_t size, struct store_value *value) {
  value->data = store_value_new(size);
  if (value->data == NULL) {
    return ERR_NOMEM;
  }
  if (size > 0) {
    memcpy(value->data, data, size);
  }
  value->size = size;
  return ERR_OK;
}

static enum err rocksdb_store_get(struct store *store, enum space space, struct bytes key, bool may_block,
                                  struct store_value *value) {
  *value = (struct store_value){NULL, 0};
  if (may_block) {
    pthread_rwlock_rdlock(&store->lock);
  } else if (pthread_rwlock_tryrdlock(&store->lock) != 0) {
    return ERR_RETRY;
  }
  enum err err = ERR_OK;
  if (store->db == NULL) {
    err = ERR_IO;
  } else {
    char *error = NULL;
    const rocksdb_readoptions_t *options = may_block ? store->read_waiting : store->read_cached;
    rocksdb_pinnableslice_t *slice =
        rocksdb_get_pinned_cf(store->db, options, family(store, space), (const char *)key.data, key.size, &error);
    if (error != NULL) {
      err = error_take(store, error, may_block ? ERR_IO : ERR_RETRY);
    } else if (slice != NULL) {
      size_t size = 0;
      const char *data = rocksdb_pinnableslice_value(slice, &size);
      err = value_copy(data, size, value);
    }
    if (slice != NULL) {
      rocksdb_pinnableslice_destroy(slice);
    }
  }
  pthread_rwlock_unlock(&store->lock);
  /* A get that meets a full disk makes no sense; whatever says so is a failed device. */
  return err == ERR_NOSPACE ? ERR_IO : err;
}

static bool begins_with(const char *data, size_t size, struct bytes prefix) {
  return size >= prefix.size && (prefix.size == 0 || memcmp(data, prefix.data, prefix.size) == 0);
}

/* Walks the iterator from where it stands; sets `*end` when it runs out of the range. */
static enum err iterator_walk(rocksdb_iterator_t *iterator, struct bytes prefix, uint32_t max_count, size_t max_bytes,
                              bool keys_only, struct store_scan_entry *entries, uint32_t *count, bool *end) {
  size_t bytes = 0;
  for (; rocksdb_iter_valid(iterator); rocksdb_iter_next(iterator)) {
    size_t key_size = 0;
    size_t value_size = 0;
    const char *key = rocksdb_iter_key(iterator, &key_size);
    const char *value = keys_only ? NULL : rocksdb_iter_value(iterator, &value_size);
    if (!begins_with(key, key_size, prefix)) {
      break;
    }
    size_t size = key_size + value_size;
    if (*count == max_count || (*count > 0 && (size > max_bytes || bytes > max_bytes - size))) {
      return ERR_OK;
    }
    struct store_scan_entry *entry = &entries[*count];
    *entry = (struct store_scan_entry){{NULL, 0}, {NULL, 0}};
    if (value_copy(key, key_size, &entry->key) != ERR_OK) {
      return ERR_NOMEM;
    }
    *count += 1;
    if (!keys_only && value_copy(value, value_size, &entry->value) != ERR_OK) {
      return ERR_NOMEM;
    }
    bytes += size;
  }
  *end = true;
  return ERR_OK;
}

/* What the iterator has met; frees the text. */
static enum err iterator_error(struct store *store, const rocksdb_iterator_t *iterator) {
  char *error = NULL;
  rocksdb_iter_get_error(iterator, &error);
  return error == NULL ? ERR_OK : error_take(store, error, ERR_IO);
}

/* The first eight bytes of a key as a number; shorter keys padded with zeros. */
static uint64_t key_place(struct bytes key) {
  uint64_t place = 0;
  for (size_t i = 0; i < PLACE_BYTES; i += 1) {
    place = place << 8u | (i < key.size ? key.data[i] : 0u);
  }
  return place;
}

/* Begins anew, for an iterator that has met damage may go on to tell of it elsewhere. */
static enum err seek_place(struct store *store, enum space space, const rocksdb_readoptions_t *options, uint64_t place,
                           rocksdb_iterator_t **iterator) {
  char key[PLACE_BYTES];
  for (size_t i = 0; i < PLACE_BYTES; i += 1) {
    key[i] = (char)(place >> (56u - 8u * i));
  }
  rocksdb_iter_destroy(*iterator);
  *iterator = rocksdb_create_iterator_cf(store->db, options, family(store, space));
  rocksdb_iter_seek(*iterator, key, sizeof(key));
  return iterator_error(store, *iterator);
}

/* Moves the iterator behind the damage that lies at `from`: which keys it hides nobody knows, but as they are spread
 * over all places, it takes some dozens of looks to find where they go on. OK, or what else went wrong. */
static enum err gap_pass(struct store *store, enum space space, const rocksdb_readoptions_t *options, struct bytes from,
                         rocksdb_iterator_t **iterator) {
  uint64_t bad = key_place(from);
  uint64_t good = bad;
  uint64_t step = 1;
  enum err err = ERR_CORRUPT;
  while (err == ERR_CORRUPT && good < UINT64_MAX) {
    bad = good;
    good = step > UINT64_MAX - good ? UINT64_MAX : good + step;
    step = step > UINT64_MAX / 2 ? step : step * 2;
    err = seek_place(store, space, options, good, iterator);
  }
  while (err == ERR_OK && good - bad > 1) {
    uint64_t middle = bad + (good - bad) / 2;
    err = seek_place(store, space, options, middle, iterator);
    bad = err == ERR_CORRUPT ? middle : bad;
    good = err == ERR_OK ? middle : good;
    err = err == ERR_CORRUPT ? ERR_OK : err;
  }
  return err == ERR_OK ? seek_place(store, space, options, good, iterator) : err;
}

static enum err rocksdb_store_scan(struct store *store, enum space space, struct bytes from, struct bytes prefix,
                                   uint32_t max_count, size_t max_bytes, bool keys_only,
                                   struct store_scan_entry *entries, uint32_t *count, bool *end) {
  *count = 0;
  *end = false;
  pthread_rwlock_rdlock(&store->lock);
  if (store->db == NULL) {
    pthread_rwlock_unlock(&store->lock);
    return ERR_IO;
  }
  rocksdb_readoptions_t *options = rocksdb_readoptions_create();
  rocksdb_readoptions_set_verify_checksums(options, 1);
  rocksdb_readoptions_set_fill_cache(options, 0); /* a scan must not push out what gets want */
  rocksdb_iterator_t *iterator = rocksdb_create_iterator_cf(store->db, options, family(store, space));
  struct bytes first = bytes_compare(from, prefix) < 0 ? prefix : from;
  rocksdb_iter_seek(iterator, first.size > 0 ? (const char *)first.data : "", first.size);
  enum err err = iterator_walk(iterator, prefix, max_count, max_bytes, keys_only, entries, count, end);
  enum err met = iterator_error(store, iterator);
  bool gap = met == ERR_CORRUPT && err == ERR_OK && space != SPACE_META;
  err = met == ERR_OK || gap ? err : met;
  *end = *end && !gap;
  bool skipped = gap && *count == 0;
  if (skipped) {
    err = gap_pass(store, space, options, first, &iterator);
    err = err == ERR_OK ? iterator_walk(iterator, prefix, max_count, max_bytes, keys_only, entries, count, end) : err;
    *end = *end && iterator_error(store, iterator) == ERR_OK;
  }
  rocksdb_iter_destroy(iterator);
  rocksdb_readoptions_destroy(options);
  pthread_rwlock_unlock(&store->lock);
  if (err != ERR_OK) {
    for (uint32_t i = 0; i < *count; i += 1) {
      store_value_free(entries[i].key.data);
      store_value_free(entries[i].value.data);
    }
    *count = 0;
    *end = false;
  }
  err = err == ERR_OK && skipped ? ERR_CORRUPT : err;
  return err == ERR_NOSPACE ? ERR_IO : err;
}

/* -- writing ------------------------------------------------------------------------ */

/* True when the batch may be written: the reserve stays free. Asks the file system again when what it said is old or
 * would refuse. */
static bool space_allows(struct store *store, uint64_t batch_bytes) {
  uint64_t wanted = atomic_load(&store->reserve_bytes) + batch_bytes;
  uint64_t written = atomic_load(&store->written_bytes);
  uint64_t free_bytes = atomic_load(&store->free_bytes);
  bool enough = free_bytes >= written && free_bytes - written >= wanted;
  if (!enough || written >= FREE_REFRESH_BYTES) {
    space_refresh(store);
    enough = atomic_load(&store->free_bytes) >= wanted;
  }
  atomic_store(&store->refused_bytes, enough ? 0 : batch_bytes);
  atomic_store(&store->nospace, !enough);
  return enough;
}

static rocksdb_writebatch_t *batch_make(const struct store *store, const struct store_write *writes, size_t count) {
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  for (size_t i = 0; i < count; i += 1) {
    const struct store_write *write = &writes[i];
    const char *key = (const char *)write->key.data;
    if (write->remove) {
      rocksdb_writebatch_delete_cf(batch, family(store, write->space), key, write->key.size);
    } else {
      rocksdb_writebatch_put_cf(batch, family(store, write->space), key, write->key.size,
                                (const char *)write->value.data, write->value.size);
    }
  }
  return batch;
}

/* Writes one batch; the lock is held and the database open for writing. */
static enum err batch_write(struct store *store, rocksdb_writebatch_t *batch, bool sync) {
  const struct timespec pause = {0, STALL_PAUSE_NS};
  enum err err = ERR_BUSY;
  for (uint32_t try = 0; try < STALL_TRIES && err == ERR_BUSY; try += 1) {
    if (try > 0) {
      (void)nanosleep(&pause, NULL);
    }
    char *error = NULL;
    rocksdb_write(store->db, sync ? store->write_synced : store->write_unsynced, batch, &error);
    err = error == NULL ? ERR_OK : error_take(store, error, ERR_BUSY);
  }
  return err;
}

static enum err rocksdb_store_commit(struct store *store, const struct store_write *writes, size_t count, bool sync) {
  uint64_t batch_bytes = 0;
  for (size_t i = 0; i < count; i += 1) {
    batch_bytes += writes[i].key.size + (writes[i].remove ? 0 : writes[i].value.size) + 16u;
  }
  int state = atomic_load(&store->state);
  if (state != STATE_RUNNING) {
    return state == STATE_DEAD ? ERR_IO : ERR_NOSPACE;
  }
  if (!space_allows(store, batch_bytes)) {
    return ERR_NOSPACE;
  }
  pthread_rwlock_rdlock(&store->lock);
  if (store->db == NULL || store->read_only) { /* it has just been tried to open it again */
    state = atomic_load(&store->state);
    pthread_rwlock_unlock(&store->lock);
    return state == STATE_DEAD ? ERR_IO : ERR_NOSPACE;
  }
  rocksdb_writebatch_t *batch = batch_make(store, writes, count);
  enum err err = batch_write(store, batch, sync);
  rocksdb_writebatch_destroy(batch);
  pthread_rwlock_unlock(&store->lock);
  atomic_fetch_add(&store->written_bytes, batch_bytes);
  atomic_store(&store->stalled, err == ERR_BUSY);
  if (err == ERR_NOSPACE) {
    atomic_store(&store->state, STATE_FULL);
    atomic_store(&store->nospace, true);
  }
  if (err == ERR_CORRUPT) {
    err = ERR_IO; /* a compaction met damage and RocksDB takes no more writes */
  }
  if (err == ERR_IO) {
    atomic_store(&store->state, STATE_DEAD);
  }
  return err;
}

/* -- after a full disk ------------------------------------------------------------------ */

/* Closes and opens again. The log is replayed: everything that was answered OK is in it. */
static enum err database_reopen(struct store *store) {
  pthread_rwlock_wrlock(&store->lock);
  database_close(store);
  enum err err = ERR_OK;
  char *error = database_open(store, false);
  if (error != NULL) {
    err = error_take(store, error, ERR_IO);
    char *read_error = database_open(store, true);
    if (read_error != NULL) {
      enum err ignored = error_take(store, read_error, ERR_IO); /* reads answer IO until the next try */
      (void)ignored;
    }
  }
  if (err == ERR_OK) {
    atomic_store(&store->state, STATE_RUNNING);
    atomic_store(&store->nospace, false);
  } else if (err != ERR_NOSPACE) {
    atomic_store(&store->state, STATE_DEAD);
    err = ERR_IO;
  }
  pthread_rwlock_unlock(&store->lock);
  return err;
}

static enum err rocksdb_store_recover(struct store *store) {
  space_refresh(store);
  pthread_rwlock_rdlock(&store->lock);
  uint64_t unflushed_bytes = 0;
  if (store->db != NULL) {
    statistics_refresh(store);
    for (uint32_t i = 1; i < FAMILIES; i += 1) {
      unflushed_bytes += property(store, i, "rocksdb.cur-size-all-mem-tables");
    }
  }
  pthread_rwlock_unlock(&store->lock);
  uint64_t free_bytes = atomic_load(&store->free_bytes);
  uint64_t reserve_bytes = atomic_load(&store->reserve_bytes);
  int state = atomic_load(&store->state);
  if (state == STATE_DEAD) {
    return ERR_IO;
  }
  if (state == STATE_RUNNING) {
    bool nospace = free_bytes < reserve_bytes + atomic_load(&store->refused_bytes);
    atomic_store(&store->nospace, nospace);
    return nospace ? ERR_NOSPACE : ERR_OK;
  }
  if (free_bytes < reserve_bytes || free_bytes < unflushed_bytes + REOPEN_SPARE_BYTES) {
    return ERR_NOSPACE;
  }
  return database_reopen(store);
}

static void rocksdb_store_statistics(struct store *store, struct store_statistics *statistics) {
  *statistics = (struct store_statistics){
      .keys = atomic_load(&store->keys),
      .bytes = atomic_load(&store->bytes),
      .free_bytes = atomic_load(&store->free_bytes),
      .nospace = atomic_load(&store->nospace),
      .stalled = atomic_load(&store->stalled),
  };
}

static void rocksdb_store_failure(struct store *store, char *why) {
  pthread_mutex_lock(&store->failure_lock);
  (void)snprintf(why, STORE_WHY, "%s", store->failure);
  pthread_mutex_unlock(&store->failure_lock);
}

static void rocksdb_store_set_reserve(struct store *store, uint64_t disk_reserve_bytes) {
  atomic_store(&store->reserve_bytes, disk_reserve_bytes);
}

const struct store_engine store_rocksdb = {
    .name = "rocksdb",
    .leaves = "rocksdb",
    .waits = true,
    .open = rocksdb_store_open,
    .get = rocksdb_store_get,
    .commit = rocksdb_store_commit,
    .scan = rocksdb_store_scan,
    .recover = rocksdb_store_recover,
    .statistics = rocksdb_store_statistics,
    .failure = rocksdb_store_failure,
    .set_reserve = rocksdb_store_set_reserve,
    .close = rocksdb_store_close,
};
