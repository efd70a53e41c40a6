#include "replica/growth.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "version/bucket.h"
#include "version/prune.h"

#define SCAN_BYTES (1u << 20)           /* about; one object at least */
#define BACKOFF_NS UINT64_C(1000000000) /* after a scan that failed */
#define DOUBT_NS UINT64_C(100000000)    /* between looks whether all is settled */
#define AGAIN_NS UINT64_C(30000000000)  /* before leaves that are blind are looked at again */
#define BLIND_MAX 16u

_Static_assert(TREE_MARKS == OBJECT_MARKS, "a share has room for the marks of an object");

enum growth_state { GROWTH_WHOLE = 0, GROWTH_WAITING, GROWTH_SCANNING };

/* A write that the store took during a scan. */
struct note {
  struct position position;
  uint32_t n;
  uint64_t share;
};

/* Leaves in which a scan has met with what can not be read. */
struct blind {
  uint64_t first, last; /* `high` of their first and last positions */
  bool written;         /* something has been stored there since */
  uint64_t again_ns;
};

struct growth {
  struct tree tree;
  uint32_t node; /* this one */
  enum growth_state state;
  struct position first; /* of the range */
  uint64_t last;         /* `high` of its last positions */
  uint64_t due_ns;       /* WAITING */
  uint32_t doubts;       /* keys of which nobody knows what the store has */
  bool overdue;          /* the range has become another one: what is being scanned is not wanted */
  bool limited;          /* writes from `limit` on have not been noted */
  struct position limit;
  uint32_t note_count;
  struct note notes[GROWTH_NOTES_MAX]; /* by position */
  uint32_t blind_count;
  struct blind blind[BLIND_MAX + 1u]; /* none overlap; one more while two are joined */
  bool looked;
  uint64_t buckets_digest;
  uint32_t sizes;
  uint64_t sizes_digest;
};

size_t growth_size(void) {
  return (sizeof(struct growth) + 63u) & ~(size_t)63u;
}

struct growth *growth_init(void *memory, const struct shard_config *config) {
  ASSERT(memory != NULL);
  struct growth *growth = memory;
  memset(growth, 0, sizeof *growth);
  tree_init(&growth->tree, config->tree_memory, config->tree_bits, config->cluster_seed);
  growth->node = config->node;
  growth->state = GROWTH_WAITING;
  growth->last = UINT64_MAX;
  return growth;
}

const struct tree *growth_tree(const struct growth *growth) {
  return &growth->tree;
}

bool growth_is_whole(const struct growth *growth) {
  return growth->state == GROWTH_WHOLE;
}

uint32_t growth_sizes(const struct growth *growth) {
  return growth->sizes;
}

uint64_t growth_sizes_digest(const struct growth *growth) {
  return growth->sizes_digest;
}

/* -- positions ------------------------------------------------------------------------- */

static int position_compare(struct position a, struct position b) {
  if (a.high != b.high) {
    return a.high < b.high ? -1 : 1;
  }
  return (a.low > b.low) - (a.low < b.low);
}

static struct position position_after(struct position position) {
  position.low += 1;
  position.high += position.low == 0 ? 1 : 0;
  return position;
}

static struct position position_before(struct position position) {
  position.high -= position.low == 0 ? 1 : 0;
  position.low -= 1;
  return position;
}

static bool in_range(const struct growth *growth, struct position position) {
  return growth->state != GROWTH_WHOLE && position_compare(position, growth->first) >= 0 &&
         position.high <= growth->last;
}

static uint32_t key_n(const struct step *step, struct bytes store_key) {
  ASSERT(store_key.size >= POSITION_BYTES);
  struct bytes user_key = {store_key.data + POSITION_BYTES, store_key.size - POSITION_BYTES};
  return bucket_find(step->buckets, bucket_of_key(user_key)).n;
}

/* -- blind leaves ------------------------------------------------------------------------ */

static struct blind *blind_find(struct growth *growth, uint64_t high) {
  for (uint32_t i = 0; i < growth->blind_count; i++) {
    if (growth->blind[i].first <= high && high <= growth->blind[i].last) {
      return &growth->blind[i];
    }
  }
  return NULL;
}

static uint64_t distance(const struct blind *a, const struct blind *b) {
  return a->first > b->last ? a->first - b->last : b->first > a->last ? b->first - a->last : 0;
}

/* Takes it out of the list, and makes it part of `whole`. */
static void blind_take(struct growth *growth, uint32_t index, struct blind *whole) {
  const struct blind part = growth->blind[index];
  growth->blind_count -= 1;
  growth->blind[index] = growth->blind[growth->blind_count];
  whole->first = part.first < whole->first ? part.first : whole->first;
  whole->last = part.last > whole->last ? part.last : whole->last;
  whole->written = whole->written || part.written;
}

/* What nobody else's leaf has is all that is in it: so what is there is compared key by key. */
static void mark_blind(struct growth *growth, const struct blind *blind) {
  tree_clear(&growth->tree, blind->first, blind->last);
  for (uint64_t first = blind->first;;) {
    uint8_t bytes[8];
    struct writer w = writer_make(bytes, sizeof bytes);
    write_u64(&w, first);
    uint64_t mark = tree_share(&growth->tree, writer_bytes(&w), growth->node, 0);
    tree_replace(&growth->tree, (struct position){first, 0}, REPLICAS_MAX, 0, mark);
    uint64_t last = tree_node_last(tree_node_of(first, growth->tree.bits));
    if (last >= blind->last) {
      return;
    }
    first = last + 1;
  }
}

/* The two that are nearest to each other become one, with what is between them. */
static void blind_join(struct growth *growth) {
  uint32_t one = 0;
  uint32_t other = 1;
  for (uint32_t i = 0; i < growth->blind_count; i++) {
    for (uint32_t k = i + 1; k < growth->blind_count; k++) {
      bool nearer =
          distance(&growth->blind[i], &growth->blind[k]) < distance(&growth->blind[one], &growth->blind[other]);
      one = nearer ? i : one;
      other = nearer ? k : other;
    }
  }
  struct blind joined = growth->blind[one];
  blind_take(growth, other, &joined); /* the last takes its place: `one` is before it */
  growth->blind[one] = joined;
  mark_blind(growth, &joined);
}

/* With what it overlaps, or touches. */
static void blind_add(struct growth *growth, struct blind added) {
  for (uint32_t i = 0; i < growth->blind_count; i++) {
    if (distance(&added, &growth->blind[i]) <= 1) {
      blind_take(growth, i, &added);
      i = UINT32_MAX; /* from the beginning */
    }
  }
  growth->blind[growth->blind_count] = added;
  growth->blind_count += 1;
  mark_blind(growth, &added);
  if (growth->blind_count > BLIND_MAX) {
    blind_join(growth);
  }
}

bool growth_is_blind(const struct growth *growth) {
  return growth->blind_count > 0;
}

uint64_t growth_marked_leaf(const struct growth *growth, uint64_t from, uint64_t most) {
  uint64_t marked = tree_marked_leaf(&growth->tree, from, most);
  for (uint32_t i = 0; i < growth->blind_count; i++) {
    uint64_t first = tree_leaf(&growth->tree, growth->blind[i].first);
    uint64_t leaf = first > from ? first : from;
    bool reaches = leaf <= tree_leaf(&growth->tree, growth->blind[i].last);
    marked = reaches && leaf < marked ? leaf : marked;
  }
  return marked;
}

/* -- the range -------------------------------------------------------------------------- */

/* Blind leaves that it reaches into are grown too, as far as they go. */
static void range_see(struct growth *growth) {
  struct blind range = {.first = growth->first.high, .last = growth->last};
  for (uint32_t i = 0; i < growth->blind_count; i++) {
    if (distance(&range, &growth->blind[i]) == 0) {
      blind_take(growth, i, &range);
      i = UINT32_MAX; /* from the beginning */
    }
  }
  growth->first.high = range.first;
  growth->last = range.last;
}

/* These leaves are to be grown too. */
static void range_add(struct growth *growth, struct tree_node node) {
  if (growth->state == GROWTH_WHOLE) {
    growth->first = (struct position){node.prefix, 0};
    growth->last = tree_node_last(node);
    growth->state = GROWTH_WAITING;
    growth->due_ns = 0;
  } else {
    /* What has been grown of the leaf that the range begins in goes with it. */
    struct tree_node begun = tree_node_of(growth->first.high, growth->tree.bits);
    uint64_t first = begun.prefix < node.prefix ? begun.prefix : node.prefix;
    uint64_t last = tree_node_last(node);
    growth->first = (struct position){first, 0};
    growth->last = last > growth->last ? last : growth->last;
    growth->overdue = growth->state == GROWTH_SCANNING;
  }
  range_see(growth);
  tree_clear(&growth->tree, growth->first.high, growth->last);
}

void growth_look(struct growth *growth, const struct step *step) {
  if (growth->looked && growth->buckets_digest == step->buckets_digest) {
    return;
  }
  uint64_t digest = bucket_table_sizes(step->buckets, &growth->sizes);
  bool changed = growth->looked && digest != growth->sizes_digest;
  growth->looked = true;
  growth->buckets_digest = step->buckets_digest;
  growth->sizes_digest = digest;
  if (changed) {
    range_add(growth, tree_node_of(0, 0));
  }
}

void growth_doubt(struct growth *growth, struct bytes store_key) {
  ASSERT(store_key.size >= POSITION_BYTES);
  growth->doubts += 1;
  range_add(growth, tree_node_of(position_read(store_key.data).high, growth->tree.bits));
}

void growth_lose(struct growth *growth, struct position first, struct position last) {
  ASSERT(position_compare(first, last) <= 0);
  range_add(growth, tree_node_of(first.high, growth->tree.bits));
  range_add(growth, tree_node_of(last.high, growth->tree.bits));
}

void growth_settled(struct growth *growth) {
  ASSERT(growth->doubts > 0);
  growth->doubts -= 1;
}

/* -- writes ------------------------------------------------------------------------------ */

uint64_t growth_share(const struct growth *growth, struct bytes store_key, const struct blob *object) {
  if (object == NULL) {
    return 0;
  }
  struct bytes bytes = blob_bytes(object);
  return tree_share(&growth->tree, store_key, object_digest(bytes), object_marks(bytes));
}

/* The place of the note of a position, or where it would stand. */
static uint32_t note_find(const struct growth *growth, struct position position, bool *found) {
  uint32_t at = 0;
  while (at < growth->note_count && position_compare(growth->notes[at].position, position) < 0) {
    at += 1;
  }
  *found = at < growth->note_count && position_compare(growth->notes[at].position, position) == 0;
  return at;
}

static void note_add(struct growth *growth, const struct note *note) {
  bool found = false;
  uint32_t at = note_find(growth, note->position, &found);
  if (growth->limited && position_compare(note->position, growth->limit) >= 0) {
    return;
  }
  if (found) {
    growth->notes[at] = *note;
    return;
  }
  if (growth->note_count == GROWTH_NOTES_MAX) {
    growth->limited = true;
    growth->limit = at == GROWTH_NOTES_MAX ? note->position : growth->notes[GROWTH_NOTES_MAX - 1].position;
    growth->note_count -= at == GROWTH_NOTES_MAX ? 0 : 1;
  }
  if (at < GROWTH_NOTES_MAX) {
    memmove(&growth->notes[at + 1], &growth->notes[at], (growth->note_count - at) * sizeof growth->notes[0]);
    growth->notes[at] = *note;
    growth->note_count += 1;
  }
  ASSERT(growth->note_count <= GROWTH_NOTES_MAX);
}

void growth_stored(struct growth *growth, const struct step *step, struct bytes store_key, uint64_t out, uint64_t in) {
  struct position position = position_read(store_key.data);
  uint32_t n = key_n(step, store_key);
  struct blind *blind = blind_find(growth, position.high);
  if (blind != NULL) {
    blind->written = true; /* whatever it knew, it is not in the tree */
  } else if (!in_range(growth, position)) {
    tree_replace(&growth->tree, position, n, out, in);
  } else if (growth->state == GROWTH_SCANNING) {
    note_add(growth, &(struct note){.position = position, .n = n, .share = in});
  }
}

/* -- scans --------------------------------------------------------------------------------- */

/* What has been written there may be all that is there now. One place at a time: what is between two is not read. */
static void blind_look(struct growth *growth, const struct step *step) {
  for (uint32_t i = 0; i < growth->blind_count && growth->state == GROWTH_WHOLE; i++) {
    struct blind *blind = &growth->blind[i];
    if (blind->written && step->now_ns >= blind->again_ns && step->nospace) {
      blind->again_ns = step->now_ns + AGAIN_NS; /* nothing is grown now */
    } else if (blind->written && step->now_ns >= blind->again_ns) {
      range_add(growth, tree_node_of(blind->first, growth->tree.bits));
    }
  }
}

void growth_scrubbed(struct growth *growth) {
  for (uint32_t i = 0; i < growth->blind_count; i++) {
    growth->blind[i].written = true;
  }
}

void growth_tick(struct growth *growth, struct step *step) {
  blind_look(growth, step);
  if (growth->state != GROWTH_WAITING || step->now_ns < growth->due_ns) {
    return;
  }
  if (growth->doubts > 0 || step->nospace) {
    growth->due_ns = step->now_ns + DOUBT_NS;
    return;
  }
  if (!step_may_work(step, ADMIT_GROW, 0, &growth->due_ns)) {
    return;
  }
  struct blob *from = blob_new(step->pool, POSITION_BYTES);
  if (from == NULL) {
    growth->due_ns = step->now_ns + BACKOFF_NS;
    return;
  }
  position_write(growth->first, from->data);
  growth->state = GROWTH_SCANNING;
  growth->overdue = growth->limited = false;
  growth->note_count = 0;
  step_scan(step, token_make(TOKEN_GROWTH, 0), SPACE_OBJECTS, from, NULL, GROWTH_BATCH_MAX, SCAN_BYTES, false);
  blob_put(from);
}

/* Up to where the tree is known after a scan: to the end of what it returned, but not beyond what was noted. */
static struct position scanned_through(const struct growth *growth, const struct event *event) {
  struct position through = {growth->last, UINT64_MAX};
  uint32_t count = event->scan.count;
  if (!event->scan.end && count > 0) {
    struct bytes key = blob_bytes(event->scan.entries[count - 1].key);
    struct position reached = key.size < POSITION_BYTES ? growth->first : position_read(key.data);
    through = position_compare(reached, through) < 0 ? reached : through;
  }
  if (growth->limited && position_compare(growth->limit, through) <= 0) {
    through = position_before(growth->limit);
  }
  ASSERT(position_compare(through, growth->first) >= 0);
  return through;
}

/* Between where the scan began and the first that it returned, or its end, lies what can not be read: those leaves are
 * blind. */
static void scanned_gap(struct growth *growth, const struct event *event, struct position through) {
  struct position last = through;
  if (event->scan.count > 0) {
    struct bytes key = blob_bytes(event->scan.entries[0].key);
    struct position first = key.size < POSITION_BYTES ? growth->first : position_read(key.data);
    last = position_compare(first, through) < 0 ? first : through;
  }
  uint32_t bits = growth->tree.bits;
  blind_add(growth, (struct blind){.first = tree_node_of(growth->first.high, bits).prefix,
                                   .last = tree_node_last(tree_node_of(last.high, bits))});
}

static void scanned_add(struct growth *growth, const struct step *step, const struct scan_entry *entry) {
  bool noted = false;
  struct bytes key = blob_bytes(entry->key);
  struct position position = position_read(key.data);
  (void)note_find(growth, position, &noted);
  if (!noted && blind_find(growth, position.high) == NULL) {
    tree_replace(&growth->tree, position, key_n(step, key), 0, growth_share(growth, key, entry->value));
  }
}

void growth_scan_done(struct growth *growth, struct step *step, const struct event *event) {
  ASSERT(growth->state == GROWTH_SCANNING);
  growth->state = GROWTH_WAITING;
  growth->due_ns = step->now_ns;
  if (event->scan.err != ERR_OK) {
    COUNT(step->stats->store_errors);
    growth->due_ns = step->now_ns + BACKOFF_NS;
    return;
  }
  if (growth->overdue) {
    return;
  }
  struct position through = scanned_through(growth, event);
  if (event->scan.gap) {
    scanned_gap(growth, event, through);
  }
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < event->scan.count; i++) {
    const struct scan_entry *entry = &event->scan.entries[i];
    struct bytes key = blob_bytes(entry->key);
    bytes += key.size + blob_bytes(entry->value).size;
    if (key.size >= POSITION_BYTES && position_compare(position_read(key.data), through) <= 0) {
      scanned_add(growth, step, entry);
    }
  }
  for (uint32_t i = 0; i < growth->note_count; i++) {
    const struct note *note = &growth->notes[i];
    struct blind *blind = blind_find(growth, note->position.high);
    if (blind != NULL) {
      blind->written = true;
    } else if (position_compare(note->position, through) <= 0) {
      tree_replace(&growth->tree, note->position, note->n, 0, note->share);
    }
  }
  step_worked(step, ADMIT_GROW, bytes);
  if (through.high == growth->last && through.low == UINT64_MAX) {
    growth->state = GROWTH_WHOLE;
    for (uint32_t i = 0; i < growth->blind_count; i++) {
      growth->blind[i].again_ns = step->now_ns + AGAIN_NS;
    }
  } else {
    growth->first = position_after(through);
  }
  growth_tick(growth, step); /* on with it, unless it has to wait */
}

uint32_t growth_left(const struct growth *growth) {
  if (growth->state == GROWTH_WHOLE) {
    return 0;
  }
  return 1000u - (uint32_t)(growth->first.high / (UINT64_MAX / 1000u + 1u));
}

uint64_t growth_deadline(const struct growth *growth) {
  uint64_t due_ns = growth->state == GROWTH_WAITING ? growth->due_ns : HEAP_NEVER;
  for (uint32_t i = 0; i < growth->blind_count && growth->state == GROWTH_WHOLE; i++) {
    const struct blind *blind = &growth->blind[i];
    due_ns = blind->written && blind->again_ns < due_ns ? blind->again_ns : due_ns;
  }
  return due_ns;
}
