/* The asynchronous face of a store: against an engine that can be held, made slow and made to fail, and against the
 * real ones, a sync that fails and a disk that fills up. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/disk.h"

#define POOL_BYTES (64u << 20)
#define TOKENS_MAX 20000u
#define FAKE_LOG_MAX 20000u
#define DEADLINE_MS 60000u
#define ENTRIES_MAX 64u

static atomic_bool sync_fails; /* RocksDB's fdatasync is ours: the dynamic linker prefers the program's */

__attribute__((visibility("default"))) int fdatasync(int file) {
  if (sync_fails) {
    errno = EIO;
    return -1;
  }
  return (int)syscall(SYS_fdatasync, file);
}

/* So is what the file system says to be free: to let RocksDB itself run into the end of a disk. */
static atomic_bool space_lies;

__attribute__((visibility("default"))) int statvfs(const char *restrict path, struct statvfs *restrict info) {
  struct statfs real;
  if (statfs(path, &real) != 0) {
    return -1;
  }
  memset(info, 0, sizeof(*info));
  info->f_bsize = info->f_frsize = (unsigned long)real.f_bsize;
  info->f_blocks = real.f_blocks;
  info->f_bfree = info->f_bavail = space_lies ? UINT64_C(1) << 40 : real.f_bavail;
  return 0;
}

/* -- an engine that does as it is told --------------------------------------- */

static struct fake {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool commits_held;
  bool reads_held;
  bool reads_wait; /* get with may_block false answers RETRY */
  enum err commit_err;
  enum err read_err;
  enum err recover_err;
  uint32_t batches;
  uint32_t batch_sizes[64];
  size_t batch_bytes[64];
  bool batch_synced[64];
  uint32_t log[FAKE_LOG_MAX]; /* the last four bytes of each key written, in order */
  uint32_t log_count;
  uint32_t readers;
  uint32_t readers_peak;
  uint32_t recovers;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void fake_reset(void) {
  pthread_mutex_lock(&fake.lock);
  memset(fake.batch_sizes, 0, sizeof(fake.batch_sizes));
  fake.commits_held = fake.reads_held = fake.reads_wait = false;
  fake.commit_err = fake.read_err = fake.recover_err = ERR_OK;
  fake.batches = fake.log_count = fake.readers = fake.readers_peak = fake.recovers = 0;
  pthread_mutex_unlock(&fake.lock);
}

static void fake_hold(bool *what, bool held) {
  pthread_mutex_lock(&fake.lock);
  *what = held;
  pthread_cond_broadcast(&fake.changed);
  pthread_mutex_unlock(&fake.lock);
}

static enum err fake_open(const char *directory, const struct store_options *options, struct store **store, char *why) {
  (void)directory;
  (void)options;
  (void)store;
  (void)why;
  return ERR_OK;
}

static enum err fake_get(struct store *store, enum space space, struct bytes key, bool may_block,
                         struct store_value *value) {
  (void)store;
  (void)space;
  *value = (struct store_value){NULL, 0};
  pthread_mutex_lock(&fake.lock);
  enum err err = fake.read_err;
  if (!may_block && fake.reads_wait) {
    err = ERR_RETRY;
  } else if (may_block) {
    fake.readers += 1;
    fake.readers_peak = fake.readers > fake.readers_peak ? fake.readers : fake.readers_peak;
    while (fake.reads_held) {
      pthread_cond_wait(&fake.changed, &fake.lock);
    }
    fake.readers -= 1;
  }
  pthread_mutex_unlock(&fake.lock);
  if (err == ERR_OK) { /* every key has itself as value */
    value->data = store_value_new(key.size);
    assert_non_null(value->data);
    memcpy(value->data, key.data, key.size);
    value->size = key.size;
  }
  return err;
}

static enum err fake_commit(struct store *store, const struct store_write *writes, size_t count, bool sync) {
  (void)store;
  pthread_mutex_lock(&fake.lock);
  while (fake.commits_held) {
    pthread_cond_wait(&fake.changed, &fake.lock);
  }
  size_t bytes = 0;
  for (size_t i = 0; i < count; i += 1) {
    bytes += writes[i].key.size + writes[i].value.size;
    memcpy(&fake.log[fake.log_count % FAKE_LOG_MAX], writes[i].key.data + writes[i].key.size - 4, 4);
    fake.log_count += 1;
  }
  fake.batch_sizes[fake.batches % 64] = (uint32_t)count;
  fake.batch_bytes[fake.batches % 64] = bytes;
  fake.batch_synced[fake.batches % 64] = sync;
  fake.batches += 1;
  enum err err = fake.commit_err;
  pthread_mutex_unlock(&fake.lock);
  return err;
}

static enum err fake_scan(struct store *store, enum space space, struct bytes from, struct bytes prefix,
                          uint32_t max_count, size_t max_bytes, bool keys_only, struct store_scan_entry *entries,
                          uint32_t *count, bool *end) {
  (void)store;
  (void)space;
  (void)prefix;
  (void)max_count;
  (void)max_bytes;
  (void)keys_only;
  (void)entries;
  (void)from;
  *count = 0;
  *end = true;
  return ERR_OK;
}

static enum err fake_recover(struct store *store) {
  (void)store;
  pthread_mutex_lock(&fake.lock);
  fake.recovers += 1;
  enum err err = fake.recover_err;
  pthread_mutex_unlock(&fake.lock);
  return err;
}

static void fake_statistics(struct store *store, struct store_statistics *statistics) {
  (void)store;
  *statistics = (struct store_statistics){.nospace = true};
}

static void fake_failure(struct store *store, char *why) {
  (void)store;
  (void)snprintf(why, STORE_WHY, "the fake failed");
}

static void fake_set_reserve(struct store *store, uint64_t disk_reserve_bytes) {
  (void)store;
  (void)disk_reserve_bytes;
}

static void fake_close(struct store *store) {
  (void)store;
}

static const struct store_engine store_fake = {"fake",           "fake",    true,         fake_open,       fake_get,
                                               fake_commit,      fake_scan, fake_recover, fake_statistics, fake_failure,
                                               fake_set_reserve, fake_close};

/* -- a loop like the node's ---------------------------------------------------- */

struct fixture {
  uv_loop_t loop;
  uv_check_t check;
  uv_timer_t deadline;
  struct blob_pool pool;
  void *pool_memory;
  struct disk *disk;
  char directory[64];
  char why[DISK_WHY];
  bool mounted;
  bool late;
  bool inside; /* a disk_ call is under way: no callback may come */
  uint32_t answered;
  uint32_t answers_of[TOKENS_MAX]; /* by token: how often */
  enum err errs[TOKENS_MAX];
  uint32_t order[TOKENS_MAX]; /* tokens of commits as they were answered */
  uint32_t order_count;
  uint8_t value[64]; /* of the last read, cut */
  size_t value_size;
  bool value_absent;
  uint8_t keys[ENTRIES_MAX]; /* the first byte of each key of the last scan */
  uint32_t scan_count;
  bool scan_end;
  uint32_t nested_reads; /* reads to issue from inside callbacks */
};

static struct blob *blob_of(struct fixture *f, const char *text) {
  struct blob *blob = blob_copy(&f->pool, (struct bytes){(const uint8_t *)text, strlen(text)});
  assert_non_null(blob);
  return blob;
}

static struct blob *blob_of_number(struct fixture *f, uint32_t number) {
  struct blob *blob = blob_copy(&f->pool, (struct bytes){(const uint8_t *)&number, sizeof(number)});
  assert_non_null(blob);
  return blob;
}

static void answer(struct fixture *f, uint64_t token, enum err err) {
  assert_false(f->inside);
  assert_true(token < TOKENS_MAX);
  assert_int_equal(f->answers_of[token], 0);
  f->answers_of[token] += 1;
  f->errs[token] = err;
  f->answered += 1;
}

static void send_read(struct fixture *f, uint64_t token, const char *key) {
  struct blob *blob = blob_of(f, key);
  bool outer = f->inside;
  f->inside = true;
  disk_read(f->disk, token, SPACE_OBJECTS, blob);
  f->inside = outer;
  blob_put(blob);
}

static void read_done(void *context, uint64_t token, enum err err, struct blob *value) {
  struct fixture *f = context;
  answer(f, token, err);
  struct bytes bytes = blob_bytes(value);
  f->value_absent = value == NULL;
  f->value_size = bytes.size;
  if (bytes.size > 0) {
    memcpy(f->value, bytes.data, bytes.size < sizeof(f->value) ? bytes.size : sizeof(f->value));
  }
  if (f->nested_reads > 0) {
    f->nested_reads -= 1;
    send_read(f, token + 1, "nested");
  }
}

static void commit_done(void *context, uint64_t token, enum err err) {
  struct fixture *f = context;
  answer(f, token, err);
  f->order[f->order_count] = (uint32_t)token;
  f->order_count += 1;
}

static void scan_done(void *context, uint64_t token, enum err err, const struct scan_entry *entries, uint32_t count,
                      bool end) {
  struct fixture *f = context;
  answer(f, token, err);
  f->scan_count = count;
  f->scan_end = end;
  for (uint32_t i = 0; i < count && i < ENTRIES_MAX; i += 1) {
    assert_true(blob_bytes(entries[i].key).size > 0);
    f->keys[i] = blob_bytes(entries[i].key).data[0];
  }
}

static void flush(struct fixture *f) {
  f->inside = true;
  disk_flush(f->disk);
  f->inside = false;
}

static void end_of_iteration(uv_check_t *check) {
  struct fixture *f = check->data;
  for (uint32_t round = 0; round < 4; round += 1) {
    flush(f);
    if (disk_poll(f->disk) == 0) {
      break;
    }
  }
}

static void too_late(uv_timer_t *timer) {
  struct fixture *f = timer->data;
  f->late = true;
}

static void run_until_answered(struct fixture *f, uint32_t answered) {
  while (f->answered < answered && !f->late) {
    uv_run(&f->loop, UV_RUN_ONCE);
  }
  assert_int_equal(f->answered, answered);
}

static void send_commit(struct fixture *f, uint64_t token, struct blob *key, struct blob *value, bool sync) {
  f->inside = true;
  disk_commit(f->disk, token, SPACE_OBJECTS, key, value, sync);
  f->inside = false;
  blob_put(key);
  blob_put(value);
}

static void disk_start(struct fixture *f, const struct store_engine *engine, const struct store_options *options) {
  const struct disk_callbacks callbacks = {f, read_done, commit_done, scan_done};
  enum err err = disk_open(&f->disk, &f->loop, &f->pool, engine, f->directory, options, &callbacks, f->why);
  if (err != ERR_OK) {
    print_error("%s\n", f->why);
  }
  assert_int_equal(err, ERR_OK);
}

static const struct store_options test_options = {.cache_bytes = 1u << 20, .write_buffer_bytes = 1u << 20};

static struct fixture *fixture_new(void) {
  struct fixture *f = calloc(1, sizeof(*f));
  assert_non_null(f);
  assert_int_equal(posix_memalign(&f->pool_memory, 64, POOL_BYTES), 0);
  blob_pool_init(&f->pool, f->pool_memory, POOL_BYTES);
  strcpy(f->directory, "/tmp/gramme-store-disk-XXXXXX");
  assert_non_null(mkdtemp(f->directory));
  assert_int_equal(uv_loop_init(&f->loop), 0);
  uv_check_init(&f->loop, &f->check);
  uv_timer_init(&f->loop, &f->deadline);
  f->check.data = f;
  f->deadline.data = f;
  uv_check_start(&f->check, end_of_iteration);
  uv_timer_start(&f->deadline, too_late, DEADLINE_MS, 0);
  fake_reset();
  return f;
}

static int set_up(void **state, const struct store_engine *engine) {
  struct fixture *f = fixture_new();
  disk_start(f, engine, &test_options);
  *state = f;
  return 0;
}

static int set_up_fake(void **state) {
  return set_up(state, &store_fake);
}

static int set_up_memory(void **state) {
  return set_up(state, &store_memory);
}

static int set_up_rocksdb(void **state) {
  return set_up(state, &store_rocksdb);
}

static int set_up_bare(void **state) {
  *state = fixture_new();
  return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
  (void)info;
  (void)kind;
  (void)walk;
  return remove(path);
}

/* Every test ends with a close whatever is under way; no blob may be left. */
static int tear_down(void **state) {
  struct fixture *f = *state;
  fake_hold(&fake.commits_held, false);
  fake_hold(&fake.reads_held, false);
  sync_fails = false;
  space_lies = false;
  uv_close((uv_handle_t *)&f->check, NULL);
  uv_close((uv_handle_t *)&f->deadline, NULL);
  if (f->disk != NULL) {
    disk_close(f->disk);
  }
  int left = uv_run(&f->loop, UV_RUN_DEFAULT);
  int closed = uv_loop_close(&f->loop);
  size_t used = f->pool.used_bytes;
  if (f->mounted) {
    (void)umount(f->directory);
  }
  (void)nftw(f->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  free(f->pool_memory);
  free(f);
  return left == 0 && closed == 0 && used == 0 ? 0 : -1;
}

/* -- group commit ------------------------------------------------------------------ */

static void commits_of_one_iteration_make_one_batch(void **state) {
  struct fixture *f = *state;
  for (uint32_t i = 0; i < 1000; i += 1) {
    send_commit(f, i, blob_of_number(f, i), blob_of(f, "value"), i == 500);
  }
  run_until_answered(f, 1000);
  assert_int_equal(fake.batches, 1);
  assert_int_equal(fake.batch_sizes[0], 1000);
  assert_true(fake.batch_synced[0]);
  for (uint32_t i = 0; i < 1000; i += 1) {
    assert_int_equal(f->order[i], i);
    assert_int_equal(fake.log[i], i);
    assert_int_equal(f->errs[i], ERR_OK);
  }
  assert_int_equal(disk_stats(f->disk)->commits, 1000);
  assert_int_equal(disk_stats(f->disk)->batches, 1);
  assert_int_equal(disk_stats(f->disk)->unanswered, 0);
}

static void the_next_batch_gathers_while_one_is_in_flight(void **state) {
  struct fixture *f = *state;
  fake_hold(&fake.commits_held, true);
  send_commit(f, 0, blob_of_number(f, 0), NULL, true);
  flush(f);
  for (uint32_t i = 1; i <= 300; i += 1) {
    send_commit(f, i, blob_of_number(f, i), NULL, false);
    flush(f);
    if (i % 100 == 0) {
      uv_run(&f->loop, UV_RUN_NOWAIT);
    }
  }
  assert_int_equal(f->answered, 0);
  fake_hold(&fake.commits_held, false);
  run_until_answered(f, 301);
  assert_int_equal(fake.batches, 2);
  assert_int_equal(fake.batch_sizes[0], 1);
  assert_int_equal(fake.batch_sizes[1], 300);
  assert_true(fake.batch_synced[0]);
  assert_false(fake.batch_synced[1]); /* nobody in it asked for sync */
  for (uint32_t i = 0; i <= 300; i += 1) {
    assert_int_equal(fake.log[i], i);
    assert_int_equal(f->order[i], i);
  }
}

static void a_batch_is_bounded_by_count_and_by_bytes(void **state) {
  struct fixture *f = *state;
  for (uint32_t i = 0; i < 10000; i += 1) {
    send_commit(f, i, blob_of_number(f, i), NULL, true);
  }
  run_until_answered(f, 10000);
  assert_int_equal(fake.batches, 3);
  assert_int_equal(fake.batch_sizes[0], DISK_BATCH_WRITES_MAX);
  assert_int_equal(fake.batch_sizes[2], 10000 - 2 * DISK_BATCH_WRITES_MAX);
  const size_t sizes[] = {3u << 20, 3u << 20, 3u << 20, 12u << 20, 1};
  for (uint32_t i = 0; i < 5; i += 1) {
    struct blob *value = blob_new(&f->pool, sizes[i]);
    assert_non_null(value);
    memset(value->data, 'x', sizes[i]);
    send_commit(f, 10000 + i, blob_of_number(f, 10000 + i), value, true);
  }
  run_until_answered(f, 10005);
  assert_int_equal(fake.batches, 7); /* 3 + 3 MiB, 3 MiB, 12 MiB alone, 1 byte */
  assert_int_equal(fake.batch_sizes[3], 2);
  assert_int_equal(fake.batch_sizes[5], 1);
  assert_true(fake.batch_bytes[3] <= DISK_BATCH_BYTES_MAX);
  for (uint32_t i = 0; i < 10005; i += 1) {
    assert_int_equal(fake.log[i], i);
  }
}

static void a_refused_batch_is_answered_and_the_next_is_tried(void **state) {
  struct fixture *f = *state;
  const enum err errs[] = {ERR_NOSPACE, ERR_BUSY, ERR_OK};
  for (uint32_t i = 0; i < 3; i += 1) {
    fake.commit_err = errs[i];
    const uint32_t token = i * 2;
    send_commit(f, token, blob_of_number(f, i), NULL, true);
    send_commit(f, token + 1, blob_of_number(f, i), NULL, false);
    run_until_answered(f, token + 2);
    assert_int_equal(f->errs[token], errs[i]);
    assert_int_equal(f->errs[token + 1], errs[i]);
  }
  assert_int_equal(disk_stats(f->disk)->commits_nospace, 2);
  assert_int_equal(disk_stats(f->disk)->commits_busy, 2);
  assert_int_equal(disk_stats(f->disk)->commits_io, 0);
}

static void after_a_failed_commit_none_is_tried(void **state) {
  struct fixture *f = *state;
  fake_hold(&fake.commits_held, true);
  fake.commit_err = ERR_CORRUPT; /* not for a commit: counts as a failed device */
  send_commit(f, 0, blob_of_number(f, 0), NULL, true);
  send_commit(f, 1, blob_of_number(f, 1), NULL, true);
  flush(f);
  send_commit(f, 2, blob_of_number(f, 2), NULL, true);
  fake_hold(&fake.commits_held, false);
  run_until_answered(f, 3);
  fake.commit_err = ERR_OK;
  send_commit(f, 3, blob_of_number(f, 3), NULL, false);
  run_until_answered(f, 4);
  for (uint32_t i = 0; i < 4; i += 1) {
    assert_int_equal(f->errs[i], ERR_IO);
    assert_int_equal(f->order[i], i);
  }
  assert_int_equal(fake.batches, 1);
  disk_failure(f->disk, f->why);
  assert_string_equal(f->why, "the fake failed");
  send_read(f, 4, "reads go on");
  run_until_answered(f, 5);
  assert_int_equal(f->errs[4], ERR_OK);
}

static void a_recover_that_fails_fails_the_next_commit(void **state) {
  struct fixture *f = *state;
  fake.recover_err = ERR_IO;
  for (uint32_t recovers = 0;
       recovers < 2 && !f->late;) { /* the first one's answer has been taken when the second runs */
    uv_run(&f->loop, UV_RUN_ONCE);
    pthread_mutex_lock(&fake.lock);
    recovers = fake.recovers;
    pthread_mutex_unlock(&fake.lock);
  }
  assert_false(f->late);
  send_commit(f, 0, blob_of_number(f, 0), NULL, true);
  run_until_answered(f, 1);
  assert_int_equal(f->errs[0], ERR_IO);
  assert_int_equal(fake.batches, 0);
}

/* -- reads ---------------------------------------------------------------------------- */

static void a_read_found_in_memory_needs_no_worker(void **state) {
  struct fixture *f = *state;
  uv_run(&f->loop, UV_RUN_NOWAIT); /* libuv's own watchers are registered */
  assert_int_not_equal(uv_backend_timeout(&f->loop), 0);
  send_read(f, 0, "key");
  assert_int_equal(f->answered, 0);
  assert_int_equal(uv_backend_timeout(&f->loop), 0); /* the loop will not sleep over it */
  assert_int_equal(disk_poll(f->disk), 1);
  assert_int_equal(f->answered, 1);
  assert_memory_equal(f->value, "key", 3);
  assert_int_equal(disk_poll(f->disk), 0);
  assert_int_not_equal(uv_backend_timeout(&f->loop), 0);
  assert_int_equal(disk_stats(f->disk)->reads_on_worker, 0);
}

static void reads_that_wait_go_to_a_bounded_number_of_workers(void **state) {
  struct fixture *f = *state;
  fake.reads_wait = true;
  fake_hold(&fake.reads_held, true);
  for (uint32_t i = 0; i < 500; i += 1) {
    send_read(f, i, "key");
  }
  uint32_t readers = 0;
  while (readers < DISK_READERS_MAX && !f->late) {
    uv_run(&f->loop, UV_RUN_NOWAIT);
    pthread_mutex_lock(&fake.lock);
    readers = fake.readers;
    pthread_mutex_unlock(&fake.lock);
  }
  send_commit(f, 500, blob_of_number(f, 0), NULL, true); /* passes the readers by */
  run_until_answered(f, 1);
  assert_int_equal(f->errs[500], ERR_OK);
  fake_hold(&fake.reads_held, false);
  run_until_answered(f, 501);
  assert_int_equal(fake.readers_peak, DISK_READERS_MAX);
  assert_int_equal(disk_stats(f->disk)->reads_on_worker, 500);
}

static void a_failed_read_is_answered_so(void **state) {
  struct fixture *f = *state;
  fake.read_err = ERR_CORRUPT;
  send_read(f, 0, "key");
  fake.reads_wait = true;
  send_read(f, 1, "key");
  run_until_answered(f, 2);
  assert_int_equal(f->errs[0], ERR_CORRUPT);
  assert_int_equal(f->errs[1], ERR_CORRUPT);
  assert_int_equal(disk_stats(f->disk)->reads_failed, 2);
}

static void a_value_without_room_in_the_pool_is_nomem(void **state) {
  struct fixture *f = *state;
  struct blob *key = blob_of(f, "key");
  disk_read(f->disk, 0, SPACE_OBJECTS, key);
  struct blob *first = NULL; /* a chain through the data of the blobs that fill the pool */
  for (;;) {
    size_t size = 1u << 20;
    struct blob *blob = blob_new(&f->pool, size);
    while (blob == NULL && size > sizeof(first)) {
      size /= 2;
      blob = blob_new(&f->pool, size);
    }
    if (blob == NULL) {
      break;
    }
    memcpy(blob->data, &first, sizeof(first));
    first = blob;
  }
  assert_int_equal(disk_poll(f->disk), 1);
  assert_int_equal(f->errs[0], ERR_NOMEM);
  while (first != NULL) {
    struct blob *blob = first;
    memcpy(&first, blob->data, sizeof(first));
    blob_put(blob);
  }
  blob_put(key);
}

static void calls_from_inside_a_callback_are_answered_later(void **state) {
  struct fixture *f = *state;
  f->nested_reads = 5;
  send_read(f, 0, "outer");
  for (uint32_t i = 1; i <= 6; i += 1) {
    assert_int_equal(disk_poll(f->disk), 1);
    assert_int_equal(f->answered, i);
  }
  assert_int_equal(disk_poll(f->disk), 0);
}

static void closing_drops_what_is_unanswered(void **state) {
  struct fixture *f = *state;
  fake.reads_wait = true;
  fake_hold(&fake.reads_held, true);
  fake_hold(&fake.commits_held, true);
  for (uint32_t i = 0; i < 200; i += 1) {
    send_read(f, i, "key");
    send_commit(f, 1000 + i, blob_of_number(f, i), blob_of(f, "v"), true);
    if (i == 100) {
      flush(f);
    }
  }
  assert_int_equal(disk_stats(f->disk)->unanswered, 400);
  /* tear_down closes, and looks for what was left behind */
}

/* -- real engines ------------------------------------------------------------------------ */

static void a_read_sees_what_was_answered_before(void **state) {
  struct fixture *f = *state;
  send_read(f, 0, "key");
  run_until_answered(f, 1);
  assert_true(f->value_absent);
  send_commit(f, 1, blob_of(f, "key"), blob_of(f, "value"), true);
  run_until_answered(f, 2);
  send_read(f, 2, "key");
  run_until_answered(f, 3);
  assert_int_equal(f->errs[2], ERR_OK);
  assert_int_equal(f->value_size, 5);
  assert_memory_equal(f->value, "value", 5);
  send_commit(f, 3, blob_of(f, "key"), blob_of(f, "other"), false);
  send_commit(f, 4, blob_of(f, "key"), blob_of(f, "last"), true);
  run_until_answered(f, 5);
  send_read(f, 5, "key");
  run_until_answered(f, 6);
  assert_memory_equal(f->value, "last", 4);
  send_commit(f, 6, blob_of(f, "key"), NULL, true);
  run_until_answered(f, 7);
  send_read(f, 7, "key");
  run_until_answered(f, 8);
  assert_true(f->value_absent);
}

static void a_scan_returns_blobs(void **state) {
  struct fixture *f = *state;
  const char *keys[] = {"a1", "b1", "b2", "b3", "c1"};
  for (uint32_t i = 0; i < 5; i += 1) {
    send_commit(f, i, blob_of(f, keys[i]), blob_of(f, "value"), true);
  }
  run_until_answered(f, 5);
  struct blob *from = blob_of(f, "b2");
  struct blob *prefix = blob_of(f, "b");
  disk_scan(f->disk, 5, SPACE_OBJECTS, from, prefix, 10, 1000, false);
  run_until_answered(f, 6);
  assert_int_equal(f->scan_count, 2);
  assert_true(f->scan_end);
  disk_scan(f->disk, 6, SPACE_OBJECTS, NULL, NULL, 2, 1000, true);
  run_until_answered(f, 7);
  assert_int_equal(f->scan_count, 2);
  assert_false(f->scan_end);
  assert_memory_equal(f->keys, "ab", 2);
  disk_scan(f->disk, 7, SPACE_HINTS, NULL, NULL, UINT32_MAX, UINT32_MAX, true);
  run_until_answered(f, 8);
  assert_int_equal(f->scan_count, 0);
  assert_true(f->scan_end);
  blob_put(from);
  blob_put(prefix);
}

static void a_failed_sync_is_answered_io_with_its_reason(void **state) {
  struct fixture *f = *state;
  send_commit(f, 0, blob_of(f, "before"), blob_of(f, "kept"), true);
  run_until_answered(f, 1);
  sync_fails = true;
  send_commit(f, 1, blob_of(f, "k"), blob_of(f, "v"), true);
  send_commit(f, 2, blob_of(f, "l"), blob_of(f, "v"), false);
  run_until_answered(f, 3);
  sync_fails = false;
  send_commit(f, 3, blob_of(f, "m"), blob_of(f, "v"), true);
  run_until_answered(f, 4);
  assert_int_equal(f->errs[0], ERR_OK);
  assert_int_equal(f->errs[1], ERR_IO);
  assert_int_equal(f->errs[2], ERR_IO);
  assert_int_equal(f->errs[3], ERR_IO);
  disk_failure(f->disk, f->why);
  assert_non_null(strstr(f->why, "fdatasync"));
  send_read(f, 4, "before");
  run_until_answered(f, 5);
  assert_memory_equal(f->value, "kept", 4);
}

static void a_store_that_can_not_be_opened_says_why(void **state) {
  struct fixture *f = *state;
  char none[128];
  (void)snprintf(none, sizeof(none), "%s/none", f->directory);
  const struct disk_callbacks callbacks = {f, read_done, commit_done, scan_done};
  struct disk *disk = NULL;
  assert_int_equal(disk_open(&disk, &f->loop, &f->pool, &store_rocksdb, none, &test_options, &callbacks, f->why),
                   ERR_IO);
  assert_null(disk);
  assert_non_null(strstr(f->why, none));
}

/* -- a full disk ---------------------------------------------------------------------------- */

#define FILL_VALUE_BYTES 16384u

static bool mount_small(struct fixture *f) {
  f->mounted = mount("gramme-store", f->directory, "tmpfs", 0, "size=48m") == 0;
  if (!f->mounted) {
    print_message("NOT TESTED: a full disk, because mounting a tmpfs failed (%s); run as root to test it\n",
                  strerror(errno));
  }
  return f->mounted;
}

/* Takes so much of the file system away, to be given back later. */
static void filler_make(const struct fixture *f, off_t size) {
  char path[128];
  (void)snprintf(path, sizeof(path), "%s/filler", f->directory);
  int file = open(path, O_RDWR | O_CREAT, 0600);
  assert_true(file >= 0);
  assert_int_equal(posix_fallocate(file, 0, size), 0);
  close(file);
}

static void filler_remove(const struct fixture *f) {
  char path[128];
  (void)snprintf(path, sizeof(path), "%s/filler", f->directory);
  assert_int_equal(unlink(path), 0);
}

/* A value that is told from every other and does not compress. */
static struct blob *fill_value(struct fixture *f, uint32_t number) {
  struct blob *value = blob_new(&f->pool, FILL_VALUE_BYTES);
  assert_non_null(value);
  uint64_t x = number + 1;
  for (uint32_t at = 0; at < FILL_VALUE_BYTES; at += 8) {
    x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    memcpy(value->data + at, &x, 8);
  }
  return value;
}

/* Commits one after the other until one is refused; returns the token after that. Tokens are keys, from `token` on. */
static uint32_t fill_until_refused(struct fixture *f, uint32_t token) {
  for (; token < TOKENS_MAX; token += 1) {
    send_commit(f, token, blob_of_number(f, token), fill_value(f, token), true);
    run_until_answered(f, token + 1);
    if (f->errs[token] != ERR_OK) {
      assert_int_equal(f->errs[token], ERR_NOSPACE);
      return token + 1;
    }
  }
  fail_msg("the disk never filled up");
  return 0;
}

/* Every key below `tokens` whose commit was answered OK is there with its value, read through the engine; returns how
 * many. */
static uint32_t check_filled(struct fixture *f, uint32_t tokens) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < tokens; i += 1) {
    if (f->errs[i] != ERR_OK) {
      continue;
    }
    struct store_value got;
    struct blob *value = fill_value(f, i);
    assert_int_equal(disk_engine(f->disk)->get(disk_store(f->disk), SPACE_OBJECTS,
                                               (struct bytes){(const uint8_t *)&i, sizeof(i)}, true, &got),
                     ERR_OK);
    assert_true(got.data != NULL);
    assert_true(bytes_equal((struct bytes){got.data, got.size}, blob_bytes(value)));
    store_value_free(got.data);
    blob_put(value);
    kept += 1;
  }
  return kept;
}

/* Runs the loop until recover has had its turn. */
static void run_recover(struct fixture *f) {
  uint64_t until = uv_now(&f->loop) + DISK_RECOVER_MS;
  while (uv_now(&f->loop) <= until && !f->late) {
    uv_run(&f->loop, UV_RUN_ONCE);
  }
  assert_false(f->late);
}

/* Fills again and again, as RocksDB gives space back by flushing, compacting and being opened again. */
static uint32_t fill_to_the_end(struct fixture *f) {
  uint32_t token = 0;
  for (uint32_t round = 0; round < 4; round += 1) {
    token = fill_until_refused(f, token);
    check_filled(f, token);
    enum err err = disk_engine(f->disk)->recover(disk_store(f->disk));
    assert_true(err == ERR_OK || err == ERR_NOSPACE);
    check_filled(f, token);
  }
  return fill_until_refused(f, token);
}

static void full_disk(struct fixture *f, uint64_t reserve_bytes, bool lies) {
  if (!mount_small(f)) {
    skip();
  }
  struct store_options options = test_options;
  options.disk_reserve_bytes = reserve_bytes;
  disk_start(f, &store_rocksdb, &options);
  filler_make(f, 24 << 20);
  space_lies = lies;
  /* 1. Fill: commits are refused by name, nothing kept earlier is lost, reads are served. */
  uint32_t token = fill_to_the_end(f);
  uint32_t kept = check_filled(f, token);
  assert_true(kept > 100);
  /* 2. Space comes back: it recovers by itself, with everything. */
  filler_remove(f);
  space_lies = false;
  struct store_statistics statistics;
  do {
    run_recover(f);
    disk_statistics(f->disk, &statistics);
  } while (statistics.nospace);
  send_commit(f, token, blob_of_number(f, token), fill_value(f, token), true);
  run_until_answered(f, token + 1);
  while (f->errs[token] == ERR_NOSPACE) { /* files that are not wanted any more are unlinked later */
    run_recover(f);
    token += 1;
    send_commit(f, token, blob_of_number(f, token), fill_value(f, token), true);
    run_until_answered(f, token + 1);
  }
  assert_int_equal(f->errs[token], ERR_OK);
  assert_int_equal(check_filled(f, token + 1), kept + 1);
  /* 3. It can happen again. */
  space_lies = lies;
  token = fill_until_refused(f, token + 1);
  print_message("%u commits of 16 KiB were kept, then %u more\n", kept, check_filled(f, token) - kept);
}

static void a_full_disk_refuses_writes_serves_reads_and_recovers(void **state) {
  full_disk(*state, 8u << 20, false);
}

static void a_disk_without_a_reserve_fills_up_and_recovers(void **state) {
  full_disk(*state, 0, false);
}

static void rocksdb_itself_meets_the_end_of_the_disk_and_recovers(void **state) {
  full_disk(*state, 0, true);
}

static void a_full_disk_loses_nothing_over_a_restart(void **state) {
  struct fixture *f = *state;
  if (!mount_small(f)) {
    skip();
  }
  disk_start(f, &store_rocksdb, &test_options);
  filler_make(f, 24 << 20);
  uint32_t tokens = fill_until_refused(f, 0);
  disk_close(f->disk);
  f->disk = NULL;
  uv_check_stop(&f->check);
  while (f->pool.used_bytes > 0 || uv_loop_alive(&f->loop) != 0) { /* until only the deadline's timer is left */
    uv_unref((uv_handle_t *)&f->deadline);
    uv_run(&f->loop, UV_RUN_ONCE);
  }
  uv_check_start(&f->check, end_of_iteration);
  filler_remove(f);
  disk_start(f, &store_rocksdb, &test_options);
  assert_true(check_filled(f, tokens) > 100);
}

#define FAKE(test) cmocka_unit_test_setup_teardown(test, set_up_fake, tear_down)
#define MEMORY(test) \
  { "memory: " #test, test, set_up_memory, tear_down, NULL }
#define ROCKSDB(test) \
  { "rocksdb: " #test, test, set_up_rocksdb, tear_down, NULL }
#define BARE(test) cmocka_unit_test_setup_teardown(test, set_up_bare, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      FAKE(commits_of_one_iteration_make_one_batch),
      FAKE(the_next_batch_gathers_while_one_is_in_flight),
      FAKE(a_batch_is_bounded_by_count_and_by_bytes),
      FAKE(a_refused_batch_is_answered_and_the_next_is_tried),
      FAKE(after_a_failed_commit_none_is_tried),
      FAKE(a_recover_that_fails_fails_the_next_commit),
      FAKE(a_read_found_in_memory_needs_no_worker),
      FAKE(reads_that_wait_go_to_a_bounded_number_of_workers),
      FAKE(a_failed_read_is_answered_so),
      FAKE(a_value_without_room_in_the_pool_is_nomem),
      FAKE(calls_from_inside_a_callback_are_answered_later),
      FAKE(closing_drops_what_is_unanswered),
      MEMORY(a_read_sees_what_was_answered_before),
      ROCKSDB(a_read_sees_what_was_answered_before),
      MEMORY(a_scan_returns_blobs),
      ROCKSDB(a_scan_returns_blobs),
      ROCKSDB(a_failed_sync_is_answered_io_with_its_reason),
      BARE(a_store_that_can_not_be_opened_says_why),
      BARE(a_full_disk_refuses_writes_serves_reads_and_recovers),
      BARE(a_disk_without_a_reserve_fills_up_and_recovers),
      BARE(rocksdb_itself_meets_the_end_of_the_disk_and_recovers),
      BARE(a_full_disk_loses_nothing_over_a_restart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
