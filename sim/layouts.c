#include "layouts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "run.h"

struct log {
  struct standing *list; /* owned */
  uint32_t count, capacity;
  struct mark mark; /* as told last */
};

struct layouts {
  struct run *run;
  struct layout **list; /* owned */
  uint32_t count, capacity;
  struct log logs[RUN_NODES_MAX];
  bool out[RUN_NODES_MAX];
  uint64_t left_out_ns[RUN_NODES_MAX]; /* when it first was; 0: never */
};

struct layouts *layouts_new(struct run *run) {
  struct layouts *layouts = calloc(1, sizeof *layouts);
  ASSERT(layouts != NULL);
  layouts->run = run;
  return layouts;
}

void layouts_free(struct layouts *layouts) {
  for (uint32_t i = 0; i < layouts->count; i++) {
    free(layouts->list[i]);
  }
  for (uint32_t i = 0; i < RUN_NODES_MAX; i++) {
    free(layouts->logs[i].list);
  }
  free(layouts->list);
  free(layouts);
}

const struct layout *layouts_get(const struct layouts *layouts, uint32_t index) {
  ASSERT(index < layouts->count);
  return layouts->list[index];
}

uint32_t layouts_count(const struct layouts *layouts) {
  return layouts->count;
}

static void place_keys(const struct layouts *layouts, const struct ring *ring, struct layout *layout) {
  const struct oracle *oracle = &layouts->run->oracle;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    layout->members |= UINT64_C(1) << (ring->members[i].node - 1);
  }
  for (uint32_t i = 0; i < oracle->key_count && ring->member_count > 0; i++) {
    struct position position = position_read(oracle->keys[i].store_key.data);
    struct preference *preference = &layout->keys[i];
    ring_preference(ring, position_partition(position, ring->partition_count), oracle->keys[i].props.n, preference);
    for (uint32_t j = 0; j < preference->replica_count; j++) {
      layout->replicas[i] |= UINT64_C(1) << (preference->nodes[j] - 1);
    }
  }
}

static uint32_t find(struct layouts *layouts, const struct ring *ring) {
  for (uint32_t i = layouts->count; i > 0; i--) {
    if (layouts->list[i - 1]->digest == ring->digest) {
      return i - 1;
    }
  }
  if (layouts->count == layouts->capacity) {
    layouts->capacity = layouts->capacity == 0 ? 16 : 2 * layouts->capacity;
    layouts->list = realloc(layouts->list, layouts->capacity * sizeof(struct layout *));
    ASSERT(layouts->list != NULL);
  }
  struct layout *layout = calloc(1, sizeof *layout);
  ASSERT(layout != NULL);
  layout->digest = ring->digest;
  place_keys(layouts, ring, layout);
  layouts->list[layouts->count] = layout;
  layouts->count += 1;
  return layouts->count - 1;
}

const struct layout *layouts_of(struct layouts *layouts, const struct ring *ring) {
  return layouts->list[find(layouts, ring)];
}

static bool same_mark(const struct mark *a, const struct mark *b) {
  return a->base_digest == b->base_digest && a->target_digest == b->target_digest && a->phase == b->phase &&
         a->base_count == b->base_count && a->target_count == b->target_count;
}

static void tell_mark(struct layouts *layouts, uint32_t node, const struct shard *shard) {
  static const char *const phases[] = {"nothing", "KNOWS", "HOLDS", "RELEASES", "READS", "DONE"};
  static struct layout_view view;
  struct log *log = &layouts->logs[node];
  shard_layout(shard, &view);
  if (same_mark(&view.mark, &log->mark)) {
    return;
  }
  log->mark = view.mark;
  story_tell(layouts->run->story, STORY_ALL, "node %" PRIu32 ": base %" PRIu32 " (%04x), target %" PRIu32 " (%04x): %s",
             node + 1, view.mark.base_count, (unsigned)(view.mark.base_digest & 0xffff), view.mark.target_count,
             (unsigned)(view.mark.target_digest & 0xffff),
             view.mark.phase <= MARK_DONE ? phases[view.mark.phase] : "?");
}

/* Has it said all that a member of that base waits for before it goes on? */
static bool is_abreast(const struct node *node, uint32_t base_count) {
  static struct layout_view view;
  if (!node->alive) {
    return false;
  }
  shard_layout(node->shard, &view);
  return view.mark.base_count >= base_count || (view.mark.target_count >= base_count && view.mark.phase >= MARK_READS);
}

/* Does the node take itself for one of the target's? It may have been added by one who was removed unheard. */
static bool is_in_own_target(const struct layouts *layouts, uint32_t node) {
  const struct log *log = &layouts->logs[node];
  return log->count > 0 && (layouts->list[log->list[log->count - 1].target]->members >> node & 1) != 0;
}

/* The node has come to another base: who is out of that, and was not waited for? */
static void note_out(struct layouts *layouts, uint32_t node, const struct standing *last, const struct standing *now) {
  static struct layout_view view;
  const struct world *world = layouts->run->world;
  uint64_t before = layouts->list[last->base]->members;
  uint64_t after = layouts->list[now->base]->members;
  shard_layout(world->nodes[node].shard, &view);
  for (uint32_t i = 0; i < world->node_count; i++) {
    bool was = (before >> i & 1) != 0;
    if (i != node && (after >> i & 1) == 0 && (was || is_in_own_target(layouts, i))) {
      layouts->out[i] = layouts->out[i] || was;
      if (layouts->left_out_ns[i] == 0 && !is_abreast(&world->nodes[i], view.mark.base_count)) {
        layouts->left_out_ns[i] = world->now_ns;
      }
    }
  }
}

bool layouts_is_out(const struct layouts *layouts, uint32_t node) {
  return layouts->out[node];
}

bool layouts_is_left_out(const struct layouts *layouts, uint32_t node) {
  return layouts->left_out_ns[node] != 0;
}

bool layouts_was_left_out(const struct layouts *layouts, uint32_t node, uint64_t time_ns) {
  return layouts->left_out_ns[node] != 0 && layouts->left_out_ns[node] < time_ns;
}

void layouts_stepped(struct layouts *layouts, uint32_t node) {
  const struct shard *shard = layouts->run->world->nodes[node].shard;
  struct log *log = &layouts->logs[node];
  const struct ring *base = shard_base_ring(shard);
  const struct ring *target = shard_ring(shard);
  if (layouts->run->story != NULL) {
    tell_mark(layouts, node, shard);
  }
  if (log->count > 0) {
    const struct standing *last = &log->list[log->count - 1];
    if (layouts->list[last->base]->digest == base->digest && layouts->list[last->target]->digest == target->digest) {
      return;
    }
  }
  struct standing standing = {.since_ns = layouts->run->world->now_ns};
  standing.base = find(layouts, base);
  standing.target = find(layouts, target);
  if (log->count > 0) {
    note_out(layouts, node, &log->list[log->count - 1], &standing);
  }
  if (log->count == log->capacity) {
    log->capacity = log->capacity == 0 ? 16 : 2 * log->capacity;
    log->list = realloc(log->list, log->capacity * sizeof log->list[0]);
    ASSERT(log->list != NULL);
  }
  log->list[log->count] = standing;
  log->count += 1;
}

const struct standing *layouts_since(const struct layouts *layouts, uint32_t node, uint64_t since_ns, uint32_t nth) {
  const struct log *log = &layouts->logs[node];
  if (nth >= log->count) {
    return NULL;
  }
  uint32_t at = log->count - 1 - nth;
  bool over = nth > 0 && log->list[at + 1].since_ns < since_ns;
  return over ? NULL : &log->list[at];
}
