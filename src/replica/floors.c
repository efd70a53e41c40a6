#include "replica/floors.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "version/bucket.h"

#define SAVE_FORMAT 1u
#define SAVE_FIXED_BYTES (1u + 8u + 4u + 8u + 4u + 8u)
#define SAVE_ENTRY_BYTES 9u
#define RETRY_NS UINT64_C(1000000000)

enum forgetting { FORGETTING_NOTHING = 0, FORGETTING_STORING, FORGETTING_WAITS };

struct floors {
  uint64_t lost;            /* the last loss (step->lost) for which all were forgotten */
  uint32_t partition_count; /* 0: nothing is known of any */
  uint32_t sizes;           /* the n of all buckets, as bits */
  uint64_t sizes_digest;
  bool looked;
  uint64_t buckets_digest;
  bool dirty, storing;
  uint64_t due_ns;
  uint64_t reap_version;
  uint64_t held[PARTITIONS_MAX];   /* in effect */
  uint64_t wanted[PARTITIONS_MAX]; /* being stored, or to be; never less */
  uint64_t reap[PARTITIONS_MAX];
  uint8_t ranks[PARTITIONS_MAX];
  uint8_t forgetting[PARTITIONS_MAX]; /* enum forgetting: what was forgotten there may still be in the store */
};

size_t floors_size(void) {
  return (sizeof(struct floors) + 63u) & ~(size_t)63u;
}

/* -- META_FLOORS --------------------------------------------------------------------------
 *
 * u8 format  u64 last loss  u32 n of all buckets, as bits  u64 sizes digest  u32 partitions  {u64 floor, u8 rank} each
 * u64 XXH3-64 */

/* Yields what comes after the format. */
static bool save_open(struct bytes saved, struct reader *r) {
  if (saved.size < SAVE_FIXED_BYTES) {
    return false;
  }
  struct bytes checked = {saved.data, saved.size - 8u};
  struct reader tail = reader_make((struct bytes){saved.data + checked.size, 8u});
  *r = reader_make(checked);
  if (read_u64(&tail) != bytes_hash(checked, 0) || read_u8(r) != SAVE_FORMAT) {
    return false;
  }
  struct reader rest = *r;
  (void)read_u64(&rest);
  (void)read_u32(&rest);
  (void)read_u64(&rest);
  uint32_t count = read_u32(&rest);
  return count <= PARTITIONS_MAX && reader_left(&rest) == (size_t)count * SAVE_ENTRY_BYTES;
}

bool floors_are_sound(struct bytes saved) {
  struct reader r;
  return saved.size == 0 || save_open(saved, &r);
}

static void load(struct floors *floors, struct bytes saved) {
  struct reader r;
  if (saved.size == 0) {
    return;
  }
  bool sound = save_open(saved, &r);
  ASSERT(sound);
  floors->lost = read_u64(&r);
  floors->sizes = read_u32(&r);
  floors->sizes_digest = read_u64(&r);
  floors->partition_count = read_u32(&r);
  for (uint32_t i = 0; i < floors->partition_count; i++) {
    floors->held[i] = floors->wanted[i] = read_u64(&r);
    floors->ranks[i] = read_u8(&r);
  }
  ASSERT(!r.failed);
}

static struct blob *save_encode(const struct floors *floors, struct blob_pool *pool) {
  struct blob *blob = blob_new(pool, SAVE_FIXED_BYTES + floors->partition_count * SAVE_ENTRY_BYTES);
  if (blob == NULL) {
    return NULL;
  }
  struct writer w = writer_make(blob->data, blob->size);
  write_u8(&w, SAVE_FORMAT);
  write_u64(&w, floors->lost);
  write_u32(&w, floors->sizes);
  write_u64(&w, floors->sizes_digest);
  write_u32(&w, floors->partition_count);
  for (uint32_t i = 0; i < floors->partition_count; i++) {
    write_u64(&w, floors->wanted[i]);
    write_u8(&w, floors->ranks[i]);
  }
  write_u64(&w, bytes_hash(writer_bytes(&w), 0));
  ASSERT(!w.failed && w.size == blob->size);
  return blob;
}

struct floors *floors_init(void *memory, const struct shard_config *config) {
  ASSERT(memory != NULL);
  struct floors *floors = memory;
  memset(floors, 0, sizeof *floors);
  load(floors, config->floors);
  return floors;
}

/* -- what they are ------------------------------------------------------------------------- */

void floors_forget(struct floors *floors, uint32_t partition) {
  ASSERT(partition < PARTITIONS_MAX);
  if (floors->wanted[partition] != 0) {
    floors->dirty = true;
    floors->forgetting[partition] = FORGETTING_WAITS;
  }
  floors->held[partition] = floors->wanted[partition] = floors->reap[partition] = 0;
}

bool floors_has_forgotten(const struct floors *floors, uint32_t partition) {
  ASSERT(partition < PARTITIONS_MAX);
  return floors->forgetting[partition] == FORGETTING_NOTHING;
}

/* The changes of a kind become another's: when they are being stored, and when that has ended. */
static void forgetting_pass(struct floors *floors, enum forgetting from, enum forgetting to) {
  for (uint32_t i = 0; i < floors->partition_count; i++) {
    floors->forgetting[i] = floors->forgetting[i] == from ? (uint8_t)to : floors->forgetting[i];
  }
}

static void forget_all(struct floors *floors, uint32_t from_rank) {
  for (uint32_t i = 0; i < floors->partition_count; i++) {
    if (floors->ranks[i] >= from_rank) {
      floors_forget(floors, i);
    }
  }
}

/* Whatever was lost, no floor may stand over it: neither those of a store that did not outlive the process, nor those
 * that were put back with an old copy. These are as old as the copy, so they harm nobody before the loss is known; but
 * it may have been copied file by file. Each partition has one again when it has been checked against the others. */
static void loss_look(struct floors *floors, const struct step *step) {
  if (step->lost != 0 && step->lost != floors->lost) {
    forget_all(floors, 0);
    floors->lost = step->lost;
    floors->dirty = true;
  }
}

void floors_look(struct floors *floors, const struct step *step) {
  loss_look(floors, step);
  if (floors->looked && floors->buckets_digest == step->buckets_digest &&
      floors->partition_count == step->ring->partition_count) {
    return;
  }
  if (step->ring->partition_count == 0) {
    return; /* it is not known yet of what they are */
  }
  if (floors->partition_count != step->ring->partition_count) {
    forget_all(floors, 0);
    floors->partition_count = step->ring->partition_count;
  }
  uint32_t sizes = 0;
  uint64_t digest = bucket_table_sizes(step->buckets, &sizes);
  if (digest != floors->sizes_digest) {
    uint32_t least = 0; /* of the n that the buckets had: below it, all keys were this node's */
    while (least < REPLICAS_MAX && (floors->sizes & 1u << least) == 0) {
      least += 1;
    }
    forget_all(floors, floors->sizes == 0 ? 0 : least);
    floors->sizes = sizes;
    floors->sizes_digest = digest;
  }
  floors->looked = true;
  floors->buckets_digest = step->buckets_digest;
}

uint64_t floors_get(const struct floors *floors, uint32_t partition) {
  ASSERT(partition < PARTITIONS_MAX);
  return floors->held[partition];
}

uint64_t floors_of_key(const struct floors *floors, const struct step *step, struct bytes store_key) {
  if (floors->partition_count == 0) {
    return 0;
  }
  ASSERT(store_key.size >= POSITION_BYTES);
  uint32_t partition = position_partition(position_read(store_key.data), floors->partition_count);
  if (floors->held[partition] == 0) {
    return 0;
  }
  struct bytes user_key = {store_key.data + POSITION_BYTES, store_key.size - POSITION_BYTES};
  uint32_t n = bucket_find(step->buckets, bucket_of_key(user_key)).n;
  return n > floors->ranks[partition] ? floors->held[partition] : 0;
}

bool floors_raise(struct floors *floors, uint32_t partition, uint32_t rank, uint64_t floor) {
  ASSERT(partition < PARTITIONS_MAX);
  ASSERT(rank < REPLICAS_MAX);
  if (floor <= floors->wanted[partition]) {
    return true;
  }
  if (floors->storing || partition >= floors->partition_count) {
    return false;
  }
  floors->wanted[partition] = floor;
  floors->ranks[partition] = (uint8_t)rank;
  floors->dirty = true;
  return true;
}

void floors_narrow(struct floors *floors, uint32_t partition, uint32_t rank) {
  ASSERT(partition < PARTITIONS_MAX && rank <= REPLICAS_MAX);
  if (rank > floors->ranks[partition]) {
    floors->ranks[partition] = (uint8_t)rank;
    floors->dirty = floors->dirty || floors->wanted[partition] != 0;
  }
}

uint64_t floors_above(const struct floors *floors, uint32_t partition, uint32_t rank) {
  ASSERT(partition < PARTITIONS_MAX);
  return rank >= floors->ranks[partition] ? floors->held[partition] : 0;
}

uint64_t floors_raised(const struct floors *floors, uint32_t partition) {
  ASSERT(partition < PARTITIONS_MAX);
  return floors->wanted[partition];
}

bool floors_are_stored(const struct floors *floors) {
  return !floors->dirty && !floors->storing;
}

uint64_t floors_reap_mark(const struct floors *floors, uint32_t partition) {
  ASSERT(partition < PARTITIONS_MAX);
  return floors->reap[partition];
}

void floors_set_reap_mark(struct floors *floors, uint32_t partition, uint64_t mark) {
  ASSERT(partition < PARTITIONS_MAX);
  mark = mark < floors->held[partition] ? mark : floors->held[partition];
  if (mark > floors->reap[partition]) {
    floors->reap[partition] = mark;
    floors->reap_version += 1;
  }
}

uint64_t floors_reap_version(const struct floors *floors) {
  return floors->reap_version;
}

uint64_t floors_least(const struct floors *floors) {
  uint64_t least = 0;
  for (uint32_t i = 0; i < floors->partition_count; i++) {
    uint64_t held = floors->held[i];
    least = held != 0 && (least == 0 || held < least) ? held : least;
  }
  return least;
}

/* -- storing --------------------------------------------------------------------------------- */

void floors_tick(struct floors *floors, struct step *step) {
  if (!floors->dirty || floors->storing || step->now_ns < floors->due_ns) {
    return;
  }
  struct blob *key = blob_copy(step->pool, BYTES_LITERAL(META_FLOORS));
  struct blob *value = key == NULL ? NULL : save_encode(floors, step->pool);
  floors->due_ns = step->now_ns + RETRY_NS;
  if (value != NULL) {
    floors->dirty = false;
    floors->storing = true;
    forgetting_pass(floors, FORGETTING_WAITS, FORGETTING_STORING);
    step_commit(step, token_make(TOKEN_FLOORS, 0), SPACE_META, key, value, true);
  }
  blob_put(key);
  blob_put(value);
}

/* None was raised since they were written, but some may have been forgotten. */
void floors_commit_done(struct floors *floors, struct step *step, enum err err) {
  ASSERT(floors->storing);
  floors->storing = false;
  forgetting_pass(floors, FORGETTING_STORING, err == ERR_OK ? FORGETTING_NOTHING : FORGETTING_WAITS);
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
    floors->dirty = true;
    return;
  }
  floors->due_ns = 0;
  for (uint32_t i = 0; i < floors->partition_count; i++) {
    floors->held[i] = floors->wanted[i];
  }
}

uint64_t floors_deadline(const struct floors *floors) {
  return floors->dirty && !floors->storing ? floors->due_ns : HEAP_NEVER;
}
