#define _GNU_SOURCE
#include "os/disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

#define THREADS "16" /* of libuv's pool: readers, one commit, one recover, and some for looking up names */

_Static_assert(DISK_OPERATIONS_MAX >= 2 * PENDING_KEYS_MAX + MEMBERS_MAX * HANDOFF_WINDOW,
               "the core can not have more operations unanswered than the disk has room for");
_Static_assert(DISK_READERS_MAX <= 14, "a commit and a recover must find a thread beside the readers");

enum operation_kind { OPERATION_READ, OPERATION_COMMIT, OPERATION_SCAN };

/* One read, commit or scan, from the call until its callback. It lies in one queue, one reader, or the free list. */
struct operation {
  struct operation *next;
  uint64_t token;
  enum operation_kind kind;
  enum space space;
  enum err err;
  bool sync;
  bool keys_only;
  bool end;
  uint32_t max_count;
  uint32_t max_bytes;
  struct blob *key;       /* of a scan: from; NULL: the beginning */
  struct blob *second;    /* a commit's value, NULL: remove; a scan's prefix, NULL: any */
  struct bytes key_bytes; /* of the two: workers do not look at blobs, whose counts the loop thread changes meanwhile */
  struct bytes second_bytes;
  struct store_value value;         /* READ: what was found, not yet a blob */
  struct store_scan_entry *entries; /* SCAN: the same, `count` of them */
  uint32_t count;
};

struct queue {
  struct operation *head;
  struct operation *tail;
  uint32_t count;
};

struct read_worker {
  uv_work_t work;
  struct disk *disk;
  struct operation *operations[DISK_READS_PER_WORKER_MAX];
  uint32_t count; /* 0: idle */
};

struct disk {
  uv_loop_t *loop;
  struct blob_pool *pool;
  const struct store_engine *engine;
  struct store *store;
  struct disk_callbacks callbacks;
  struct disk_stats stats;

  struct operation *operations; /* DISK_OPERATIONS_MAX of them; pages that were never needed are never touched */
  uint32_t operations_fresh;    /* from here on never used */
  struct operation *operations_free;

  struct queue gathering;   /* commits for the next batch */
  struct queue flight;      /* commits of the batch in flight */
  struct queue waiting;     /* reads and scans that wait for a reader */
  struct queue completions; /* answered, to be called back */

  struct store_write *writes; /* the batch in flight: DISK_BATCH_WRITES_MAX */
  uint32_t write_count;
  bool write_sync;
  enum err write_err;
  bool write_busy;
  bool failed; /* a commit answered IO: no more are tried */
  uv_work_t write_work;

  struct read_worker readers[DISK_READERS_MAX];

  bool recover_busy;
  enum err recover_err;
  uv_work_t recover_work;
  uv_timer_t recover_timer;

  uv_idle_t idle;             /* active while the loop must not sleep */
  struct scan_entry *entries; /* DISK_SCAN_ENTRIES_MAX, for the callback */
  bool polling;
  bool closing;
  uint32_t handles_open;
  uint32_t workers_busy;
};

/* -- queues and operations ------------------------------------------------------ */

static void queue_push(struct queue *queue, struct operation *operation) {
  operation->next = NULL;
  if (queue->tail == NULL) {
    ASSERT(queue->head == NULL);
    queue->head = operation;
  } else {
    queue->tail->next = operation;
  }
  queue->tail = operation;
  queue->count += 1;
}

static struct operation *queue_pop(struct queue *queue) {
  struct operation *operation = queue->head;
  ASSERT(operation != NULL);
  ASSERT(queue->count > 0);
  queue->head = operation->next;
  if (queue->head == NULL) {
    queue->tail = NULL;
  }
  queue->count -= 1;
  operation->next = NULL;
  return operation;
}

static struct operation *operation_new(struct disk *disk, enum operation_kind kind, uint64_t token, enum space space) {
  ASSERT(!disk->closing);
  ASSERT(space < SPACE_COUNT);
  struct operation *operation = disk->operations_free;
  if (operation != NULL) {
    disk->operations_free = operation->next;
  } else {
    ASSERT(disk->operations_fresh < DISK_OPERATIONS_MAX);
    operation = &disk->operations[disk->operations_fresh];
    disk->operations_fresh += 1;
  }
  *operation = (struct operation){.kind = kind, .token = token, .space = space};
  disk->stats.unanswered += 1;
  return operation;
}

static void operation_hold(struct operation *operation, struct blob *key, struct blob *second) {
  operation->key = blob_get(key);
  operation->second = blob_get(second);
  operation->key_bytes = blob_bytes(key);
  operation->second_bytes = blob_bytes(second);
}

/* Gives back all that the operation holds, and the operation. */
static void operation_free(struct disk *disk, struct operation *operation) {
  blob_put(operation->key);
  blob_put(operation->second);
  store_value_free(operation->value.data);
  for (uint32_t i = 0; i < operation->count; i += 1) {
    store_value_free(operation->entries[i].key.data);
    store_value_free(operation->entries[i].value.data);
  }
  free(operation->entries);
  ASSERT(disk->stats.unanswered > 0);
  disk->stats.unanswered -= 1;
  operation->next = disk->operations_free;
  disk->operations_free = operation;
}

static void queue_drop(struct disk *disk, struct queue *queue) {
  while (queue->count > 0) {
    operation_free(disk, queue_pop(queue));
  }
}

static void idle_noop(uv_idle_t *idle) {
  (void)idle;
}

/* Keeps the loop from sleeping exactly while there is something for disk_poll or disk_flush to do. */
static void disk_wake(struct disk *disk) {
  if (disk->closing) {
    return;
  }
  bool wanted = disk->completions.count > 0 || (disk->gathering.count > 0 && !disk->write_busy);
  bool active = uv_is_active((uv_handle_t *)&disk->idle) != 0;
  if (wanted && !active) {
    uv_idle_start(&disk->idle, idle_noop);
  } else if (!wanted && active) {
    uv_idle_stop(&disk->idle);
  }
}

static void disk_complete(struct disk *disk, struct operation *operation) {
  ASSERT(operation->err < ERR_COUNT);
  if (disk->closing) {
    operation_free(disk, operation);
    return;
  }
  queue_push(&disk->completions, operation);
  disk_wake(disk);
}

/* -- closing -------------------------------------------------------------------------- */

static void disk_destroy(struct disk *disk) {
  ASSERT(disk->stats.unanswered == 0);
  if (disk->store != NULL) {
    disk->engine->close(disk->store);
  }
  free(disk->operations);
  free(disk->writes);
  free(disk->entries);
  free(disk);
}

/* Called whenever a worker or a handle is done: the last one ends the disk. */
static void disk_close_step(struct disk *disk) {
  if (disk->closing && disk->workers_busy == 0 && disk->handles_open == 0) {
    disk_destroy(disk);
  }
}

static void handle_closed(uv_handle_t *handle) {
  struct disk *disk = handle->data;
  disk->handles_open -= 1;
  disk_close_step(disk);
}

static void work_start(struct disk *disk, uv_work_t *work, uv_work_cb run, uv_after_work_cb after) {
  int failed = uv_queue_work(disk->loop, work, run, after);
  ASSERT(failed == 0); /* it fails only for want of a callback */
  disk->workers_busy += 1;
}

static void work_finish(struct disk *disk) {
  ASSERT(disk->workers_busy > 0);
  disk->workers_busy -= 1;
  disk_close_step(disk);
}

/* -- commits ------------------------------------------------------------------------------ */

/* Moves commits from `gathering` to `flight`, up to the bounds of a batch, and lists them for the engine. */
static void batch_take(struct disk *disk) {
  ASSERT(disk->flight.count == 0);
  ASSERT(disk->gathering.count > 0);
  size_t bytes = 0;
  disk->write_count = 0;
  disk->write_sync = false;
  while (disk->gathering.count > 0 && disk->write_count < DISK_BATCH_WRITES_MAX) {
    struct operation *operation = disk->gathering.head;
    struct bytes key = operation->key_bytes;
    struct bytes value = operation->second_bytes;
    if (disk->write_count > 0 && bytes + key.size + value.size > DISK_BATCH_BYTES_MAX) {
      break;
    }
    bytes += key.size + value.size;
    queue_push(&disk->flight, queue_pop(&disk->gathering));
    disk->writes[disk->write_count] = (struct store_write){operation->space, operation->second == NULL, key, value};
    disk->write_count += 1;
    disk->write_sync = disk->write_sync || operation->sync;
  }
  disk->stats.batches += 1;
  disk->stats.batches_synced += disk->write_sync ? 1 : 0;
}

/* Answers every commit of the batch. Whatever an engine should not say to a commit counts as a failed device. */
static void batch_finish(struct disk *disk, enum err err) {
  if (err != ERR_OK && err != ERR_NOSPACE && err != ERR_BUSY) {
    err = ERR_IO;
    disk->failed = true;
  }
  uint32_t count = disk->flight.count;
  ASSERT(count == disk->write_count);
  disk->stats.commits_nospace += err == ERR_NOSPACE ? count : 0;
  disk->stats.commits_busy += err == ERR_BUSY ? count : 0;
  disk->stats.commits_io += err == ERR_IO ? count : 0;
  while (disk->flight.count > 0) {
    struct operation *operation = queue_pop(&disk->flight);
    operation->err = err;
    disk_complete(disk, operation);
  }
}

static void batch_run(uv_work_t *work) {
  struct disk *disk = work->data;
  disk->write_err = disk->engine->commit(disk->store, disk->writes, disk->write_count, disk->write_sync);
}

static void batch_ran(uv_work_t *work, int status) {
  struct disk *disk = work->data;
  ASSERT(status == 0); /* never cancelled */
  ASSERT(disk->write_busy);
  disk->write_busy = false;
  batch_finish(disk, disk->write_err);
  if (!disk->closing) {
    disk_flush(disk);
  }
  work_finish(disk);
}

void disk_flush(struct disk *disk) {
  ASSERT(!disk->closing);
  while (disk->gathering.count > 0 && !disk->write_busy) {
    if (disk->failed) {
      struct operation *operation = queue_pop(&disk->gathering);
      operation->err = ERR_IO;
      disk->stats.commits_io += 1;
      disk_complete(disk, operation);
      continue;
    }
    batch_take(disk);
    if (disk->engine->waits) {
      disk->write_busy = true;
      work_start(disk, &disk->write_work, batch_run, batch_ran);
    } else {
      batch_finish(disk, disk->engine->commit(disk->store, disk->writes, disk->write_count, disk->write_sync));
    }
  }
  disk_wake(disk);
}

void disk_commit(struct disk *disk, uint64_t token, enum space space, struct blob *key, struct blob *value, bool sync) {
  ASSERT(key != NULL);
  struct operation *operation = operation_new(disk, OPERATION_COMMIT, token, space);
  operation_hold(operation, key, value);
  operation->sync = sync;
  disk->stats.commits += 1;
  queue_push(&disk->gathering, operation);
  disk_wake(disk);
}

/* -- reads and scans ----------------------------------------------------------------------- */

/* On a worker, or on the loop thread for an engine that does not wait. */
static void scan_run(const struct disk *disk, struct operation *operation) {
  operation->entries = malloc(operation->max_count * sizeof(operation->entries[0]));
  if (operation->entries == NULL) {
    operation->err = ERR_NOMEM;
    return;
  }
  operation->err = disk->engine->scan(disk->store, operation->space, operation->key_bytes, operation->second_bytes,
                                      operation->max_count, operation->max_bytes, operation->keys_only,
                                      operation->entries, &operation->count, &operation->end);
}

static void reader_run(uv_work_t *work) {
  struct read_worker *reader = work->data;
  const struct disk *disk = reader->disk;
  for (uint32_t i = 0; i < reader->count; i += 1) {
    struct operation *operation = reader->operations[i];
    if (operation->kind == OPERATION_SCAN) {
      scan_run(disk, operation);
    } else {
      operation->err = disk->engine->get(disk->store, operation->space, operation->key_bytes, true, &operation->value);
    }
  }
}

static void readers_start(struct disk *disk);

static void reader_ran(uv_work_t *work, int status) {
  struct read_worker *reader = work->data;
  struct disk *disk = reader->disk;
  ASSERT(status == 0);
  ASSERT(reader->count > 0);
  for (uint32_t i = 0; i < reader->count; i += 1) {
    disk_complete(disk, reader->operations[i]);
  }
  reader->count = 0;
  if (!disk->closing) {
    readers_start(disk);
  }
  work_finish(disk);
}

/* Hands what waits to idle readers: a fair share each, a scan alone. */
static void readers_start(struct disk *disk) {
  uint32_t idle = 0;
  for (uint32_t i = 0; i < DISK_READERS_MAX; i += 1) {
    idle += disk->readers[i].count == 0 ? 1 : 0;
  }
  for (uint32_t i = 0; i < DISK_READERS_MAX && disk->waiting.count > 0; i += 1) {
    struct read_worker *reader = &disk->readers[i];
    if (reader->count > 0) {
      continue;
    }
    ASSERT(idle > 0);
    uint32_t share = (disk->waiting.count + idle - 1) / idle;
    share = share < DISK_READS_PER_WORKER_MAX ? share : DISK_READS_PER_WORKER_MAX;
    idle -= 1;
    while (reader->count < share && disk->waiting.count > 0) {
      bool scan = disk->waiting.head->kind == OPERATION_SCAN;
      if (scan && reader->count > 0) {
        break;
      }
      reader->operations[reader->count] = queue_pop(&disk->waiting);
      reader->count += 1;
      if (scan) {
        break;
      }
    }
    work_start(disk, &reader->work, reader_run, reader_ran);
  }
}

void disk_read(struct disk *disk, uint64_t token, enum space space, struct blob *key) {
  ASSERT(key != NULL);
  struct operation *operation = operation_new(disk, OPERATION_READ, token, space);
  disk->stats.reads += 1;
  operation->err = disk->engine->get(disk->store, space, blob_bytes(key), false, &operation->value);
  if (operation->err != ERR_RETRY) {
    disk_complete(disk, operation);
    return;
  }
  ASSERT(disk->engine->waits);
  operation->err = ERR_OK;
  operation_hold(operation, key, NULL);
  disk->stats.reads_on_worker += 1;
  queue_push(&disk->waiting, operation);
  readers_start(disk);
}

void disk_scan(struct disk *disk, uint64_t token, enum space space, struct blob *from, struct blob *prefix,
               uint32_t max_count, uint32_t max_bytes, bool keys_only) {
  ASSERT(max_count > 0);
  struct operation *operation = operation_new(disk, OPERATION_SCAN, token, space);
  operation_hold(operation, from, prefix);
  operation->max_count = max_count < DISK_SCAN_ENTRIES_MAX ? max_count : DISK_SCAN_ENTRIES_MAX;
  operation->max_bytes = max_bytes;
  operation->keys_only = keys_only;
  disk->stats.scans += 1;
  if (disk->engine->waits) {
    queue_push(&disk->waiting, operation);
    readers_start(disk);
  } else {
    scan_run(disk, operation);
    disk_complete(disk, operation);
  }
}

/* -- completions ---------------------------------------------------------------------------- */

/* Makes a blob of what an engine returned and empties `value`; none of an absent one. False: the pool had no room. */
static bool value_wrap(struct disk *disk, struct store_value *value, struct blob **blob) {
  *blob = NULL;
  if (value->data == NULL) {
    return true;
  }
  *blob = blob_wrap_take(disk->pool, value->data, value->size, store_value_free);
  if (*blob != NULL) {
    *value = (struct store_value){NULL, 0};
  }
  return *blob != NULL;
}

static void read_deliver(struct disk *disk, struct operation *operation) {
  struct blob *value = NULL;
  enum err err = operation->err;
  if (err == ERR_OK && !value_wrap(disk, &operation->value, &value)) {
    err = ERR_NOMEM;
  }
  disk->stats.reads_failed += err != ERR_OK ? 1 : 0;
  disk->callbacks.read_done(disk->callbacks.context, operation->token, err, value);
  blob_put(value);
}

static void scan_deliver(struct disk *disk, struct operation *operation) {
  enum err err = operation->err;
  uint32_t wrapped = 0;
  while ((err == ERR_OK || err == ERR_CORRUPT) && wrapped < operation->count) {
    struct store_scan_entry *from = &operation->entries[wrapped];
    struct scan_entry *to = &disk->entries[wrapped];
    *to = (struct scan_entry){NULL, NULL};
    wrapped += 1;
    if (!value_wrap(disk, &from->key, &to->key) || !value_wrap(disk, &from->value, &to->value)) {
      err = ERR_NOMEM;
    }
  }
  bool told = err == ERR_OK || err == ERR_CORRUPT;
  disk->stats.reads_failed += err != ERR_OK ? 1 : 0;
  disk->callbacks.scan_done(disk->callbacks.context, operation->token, err, disk->entries, told ? wrapped : 0,
                            told && operation->end);
  for (uint32_t i = 0; i < wrapped; i += 1) {
    blob_put(disk->entries[i].key);
    blob_put(disk->entries[i].value);
  }
}

uint32_t disk_poll(struct disk *disk) {
  ASSERT(!disk->polling);
  ASSERT(!disk->closing);
  disk->polling = true;
  uint32_t count = disk->completions.count;
  for (uint32_t i = 0; i < count; i += 1) {
    struct operation *operation = queue_pop(&disk->completions);
    switch (operation->kind) {
    case OPERATION_READ:
      read_deliver(disk, operation);
      break;
    case OPERATION_COMMIT:
      disk->callbacks.commit_done(disk->callbacks.context, operation->token, operation->err);
      break;
    case OPERATION_SCAN:
      scan_deliver(disk, operation);
      break;
    }
    operation_free(disk, operation);
  }
  disk->polling = false;
  disk_wake(disk);
  return count;
}

/* -- once a second ---------------------------------------------------------------------------- */

static void recover_run(uv_work_t *work) {
  struct disk *disk = work->data;
  disk->recover_err = disk->engine->recover(disk->store);
}

static void recover_ran(uv_work_t *work, int status) {
  struct disk *disk = work->data;
  ASSERT(status == 0);
  disk->recover_busy = false;
  if (disk->recover_err != ERR_OK && disk->recover_err != ERR_NOSPACE) {
    disk->failed = true; /* the next commit says so */
  }
  work_finish(disk);
}

static void recover_tick(uv_timer_t *timer) {
  struct disk *disk = timer->data;
  if (!disk->recover_busy) {
    disk->recover_busy = true;
    work_start(disk, &disk->recover_work, recover_run, recover_ran);
  }
}

/* -- opening and closing ------------------------------------------------------------------------ */

static struct disk *disk_new(void) {
  struct disk *disk = calloc(1, sizeof(*disk));
  if (disk == NULL) {
    return NULL;
  }
  disk->operations = malloc(DISK_OPERATIONS_MAX * sizeof(disk->operations[0]));
  disk->writes = malloc(DISK_BATCH_WRITES_MAX * sizeof(disk->writes[0]));
  disk->entries = malloc(DISK_SCAN_ENTRIES_MAX * sizeof(disk->entries[0]));
  if (disk->operations == NULL || disk->writes == NULL || disk->entries == NULL) {
    disk_destroy(disk);
    return NULL;
  }
  return disk;
}

enum err disk_open(struct disk **disk, uv_loop_t *loop, struct blob_pool *pool, const struct store_engine *engine,
                   const char *directory, const struct store_options *options, const struct disk_callbacks *callbacks,
                   char *why) {
  (void)setenv("UV_THREADPOOL_SIZE", THREADS, 0);
  struct disk *opened = disk_new();
  if (opened == NULL) {
    static const char text[] = "no memory for the queues of the disk: give the process more";
    memcpy(why, text, sizeof(text));
    return ERR_NOMEM;
  }
  enum err err = engine->open(directory, options, &opened->store, why);
  if (err != ERR_OK) {
    opened->store = NULL;
    disk_destroy(opened);
    return err;
  }
  opened->loop = loop;
  opened->pool = pool;
  opened->engine = engine;
  opened->callbacks = *callbacks;
  opened->write_work.data = opened;
  opened->recover_work.data = opened;
  for (uint32_t i = 0; i < DISK_READERS_MAX; i += 1) {
    opened->readers[i].disk = opened;
    opened->readers[i].work.data = &opened->readers[i];
  }
  uv_idle_init(loop, &opened->idle);
  uv_timer_init(loop, &opened->recover_timer);
  opened->idle.data = opened;
  opened->recover_timer.data = opened;
  opened->handles_open = 2;
  if (engine->waits) {
    uv_timer_start(&opened->recover_timer, recover_tick, DISK_RECOVER_MS, DISK_RECOVER_MS);
  }
  *disk = opened;
  return ERR_OK;
}

void disk_close(struct disk *disk) {
  ASSERT(!disk->closing);
  ASSERT(!disk->polling);
  disk->closing = true;
  queue_drop(disk, &disk->gathering);
  queue_drop(disk, &disk->waiting);
  queue_drop(disk, &disk->completions);
  uv_close((uv_handle_t *)&disk->idle, handle_closed);
  uv_close((uv_handle_t *)&disk->recover_timer, handle_closed);
}

void disk_statistics(const struct disk *disk, struct store_statistics *statistics) {
  disk->engine->statistics(disk->store, statistics);
}

const struct disk_stats *disk_stats(const struct disk *disk) {
  return &disk->stats;
}

void disk_failure(const struct disk *disk, char *why) {
  disk->engine->failure(disk->store, why);
}

void disk_set_reserve(struct disk *disk, uint64_t disk_reserve_bytes) {
  disk->engine->set_reserve(disk->store, disk_reserve_bytes);
}

struct store *disk_store(struct disk *disk) {
  return disk->store;
}

const struct store_engine *disk_engine(const struct disk *disk) {
  return disk->engine;
}
