#include "replica/reaper.h"

#include <string.h>

#include "base/assert.h"
#include "base/plant.h"
#include "base/heap.h"
#include "version/prune.h"

#define LEAVES_PER_TICK 65536u
#define BATCH_MAX 128u
#define BATCH_BYTES (1u << 20)
#define BACKOFF_NS UINT64_C(1000000000)
#define LOOK_NS UINT64_C(100000000) /* between looks whether a mark has risen */

enum reaper_state { REAPER_IDLE = 0, REAPER_WALKING, REAPER_SCANNING };

struct reaper {
  const struct growth *growth;
  const struct floors *floors;
  enum reaper_state state;
  uint64_t version; /* of the marks, when the walk began */
  uint64_t begun_ns;
  uint64_t due_ns;
  uint64_t leaf;
  struct blob *cursor; /* where the scan of the leaf goes on; NULL: from its beginning */
};

size_t reaper_size(void) {
  return (sizeof(struct reaper) + 63u) & ~(size_t)63u;
}

struct reaper *reaper_init(void *memory, const struct growth *growth, const struct floors *floors) {
  ASSERT(memory != NULL && growth != NULL && floors != NULL);
  struct reaper *reaper = memory;
  memset(reaper, 0, sizeof *reaper);
  reaper->growth = growth;
  reaper->floors = floors;
  return reaper;
}

void reaper_deinit(struct reaper *reaper) {
  blob_put(reaper->cursor);
  reaper->cursor = NULL;
}

static struct tree_node leaf_node(const struct reaper *reaper) {
  return tree_child((struct tree_node){0, 0}, growth_tree(reaper->growth)->bits, (uint32_t)reaper->leaf);
}

static uint32_t partition_of(const struct step *step, uint64_t high) {
  return position_partition((struct position){high, 0}, step->ring->partition_count);
}

static uint64_t mark_of(const struct reaper *reaper, const struct step *step, uint32_t partition) {
  if (PLANTED(reap_timer)) {
    return hlc_make(step->wall_ms - 2000, 0);
  }
  return floors_reap_mark(reaper->floors, partition);
}

static bool has_news(const struct reaper *reaper) {
  return reaper->state == REAPER_WALKING || reaper->version != floors_reap_version(reaper->floors) ||
         PLANTED(reap_timer);
}

/* May anything in the leaf be reaped? It may be larger than a partition. */
static bool has_mark(const struct reaper *reaper, const struct step *step, struct tree_node leaf) {
  uint32_t last = partition_of(step, tree_node_last(leaf));
  for (uint32_t i = partition_of(step, leaf.prefix); i <= last; i++) {
    if (mark_of(reaper, step, i) != 0) {
      return true;
    }
  }
  return false;
}

static void leaf_next(struct reaper *reaper) {
  blob_put(reaper->cursor);
  reaper->cursor = NULL;
  reaper->leaf += 1;
}

static void walk_begin(struct reaper *reaper, const struct step *step) {
  reaper->version = floors_reap_version(reaper->floors);
  reaper->begun_ns = step->now_ns;
  reaper->leaf = 0;
  reaper->state = REAPER_WALKING;
}

static void scan(struct reaper *reaper, struct step *step, struct tree_node leaf) {
  uint8_t bytes[POSITION_BYTES];
  position_write((struct position){leaf.prefix, 0}, bytes);
  uint32_t whole = leaf.bits / 8u;
  struct blob *from =
      reaper->cursor != NULL ? blob_get(reaper->cursor) : blob_copy(step->pool, (struct bytes){bytes, POSITION_BYTES});
  struct blob *prefix = whole == 0 ? NULL : blob_copy(step->pool, (struct bytes){bytes, whole});
  if (from == NULL || (whole > 0 && prefix == NULL)) {
    reaper->due_ns = step->now_ns + BACKOFF_NS;
  } else {
    reaper->state = REAPER_SCANNING;
    step_scan(step, token_make(TOKEN_REAPER, 0), SPACE_OBJECTS, from, prefix, BATCH_MAX, BATCH_BYTES, false);
  }
  blob_put(from);
  blob_put(prefix);
}

/* On to the next leaf in which there is something, or as far as one tick goes. */
static void walk(struct reaper *reaper, struct step *step) {
  const struct tree *tree = growth_tree(reaper->growth);
  uint64_t end = UINT64_C(1) << tree->bits;
  uint64_t left = LEAVES_PER_TICK;
  while (left > 0 && reaper->leaf < end) {
    uint64_t from = reaper->leaf;
    reaper->leaf = reaper->cursor != NULL ? from : growth_marked_leaf(reaper->growth, from, left);
    left -= reaper->leaf - from;
    if (left > 0 && reaper->leaf < end) {
      if (has_mark(reaper, step, leaf_node(reaper))) {
        scan(reaper, step, leaf_node(reaper));
        return;
      }
      leaf_next(reaper);
      left -= 1;
    }
  }
  if (reaper->leaf >= end) {
    reaper->state = REAPER_IDLE;
    reaper->due_ns = reaper->begun_ns + step->tunables->sync_round_ns / 4u;
  }
}

void reaper_tick(struct reaper *reaper, struct step *step) {
  if (reaper->state == REAPER_SCANNING || step->now_ns < reaper->due_ns) {
    return;
  }
  bool may = growth_is_whole(reaper->growth) && step->ring->partition_count > 0 && !step->nospace;
  if (!may || !has_news(reaper)) {
    reaper->due_ns = step->now_ns + LOOK_NS;
    return;
  }
  if (!step_may_work(step, ADMIT_REAP, 0, &reaper->due_ns)) {
    return;
  }
  if (reaper->state == REAPER_IDLE) {
    walk_begin(reaper, step);
  }
  walk(reaper, step);
}

/* The smallest key after `key`: the same with a zero byte behind it. NULL: no room; the next walk looks at the rest. */
static struct blob *key_after(struct step *step, const struct blob *key) {
  struct blob *after = blob_new(step->pool, key->size + 1u);
  if (after != NULL) {
    memcpy(after->data, key->data, key->size);
    after->data[key->size] = 0;
  }
  return after;
}

static void reap(struct reaper *reaper, struct step *step, const struct scan_entry *entry) {
  struct bytes key = blob_bytes(entry->key);
  if (key.size < POSITION_BYTES) {
    return;
  }
  uint32_t partition = partition_of(step, position_read(key.data).high);
  uint64_t mark = mark_of(reaper, step, partition);
  uint64_t floor = floors_of_key(reaper->floors, step, key); /* 0: it is not this node's */
  mark = mark < floor || PLANTED(reap_timer) ? mark : floor;
  if (mark == 0 || !object_has_garbage(blob_bytes(entry->value), mark)) {
    return;
  }
  struct message message = {
      .type = MESSAGE_REAP, .flags = MESSAGE_QUIET, .floor = mark, .key = key, .key_blob = entry->key};
  step_send(step, step->self, &message);
}

void reaper_scan_done(struct reaper *reaper, struct step *step, const struct event *event) {
  ASSERT(reaper->state == REAPER_SCANNING);
  reaper->state = REAPER_WALKING;
  reaper->due_ns = step->now_ns;
  if (event->scan.err != ERR_OK) {
    COUNT(step->stats->store_errors);
    leaf_next(reaper);
    return;
  }
  struct tree_node leaf = leaf_node(reaper);
  uint64_t bytes = 0;
  bool ended = event->scan.end || event->scan.count == 0;
  for (uint32_t i = 0; i < event->scan.count; i++) {
    const struct scan_entry *entry = &event->scan.entries[i];
    struct bytes key = blob_bytes(entry->key);
    bytes += key.size + blob_bytes(entry->value).size;
    if (key.size < POSITION_BYTES || position_read(key.data).high <= tree_node_last(leaf)) {
      reap(reaper, step, entry);
    } else {
      ended = true;
    }
  }
  step_worked(step, ADMIT_REAP, bytes);
  struct blob *after = ended ? NULL : key_after(step, event->scan.entries[event->scan.count - 1].key);
  if (after == NULL) {
    leaf_next(reaper);
  } else {
    blob_put(reaper->cursor);
    reaper->cursor = after;
  }
}

/* An idle one is woken by a mark that rises. */
uint64_t reaper_deadline(const struct reaper *reaper) {
  return reaper->state == REAPER_SCANNING || !has_news(reaper) ? HEAP_NEVER : reaper->due_ns;
}
