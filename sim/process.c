#include "process.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "replica/tree.h"
#include "seam/step.h"

#define MILLISECOND UINT64_C(1000000)
#define SCAN_MAX 1024u /* entries of one scan */

/* -- effects ------------------------------------------------------------------------- */

static void effect_send(struct world *world, uint32_t from, const struct effect *effect) {
  int to = world_index(world, effect->send.to);
  if (to < 0) {
    return;
  }
  if (world->watch.sent != NULL) {
    world->watch.sent(world->watch.context, from, (uint32_t)to, &effect->send.message);
  }
  size_t size = message_frame_size(&effect->send.message);
  uint8_t *frame = malloc(size);
  ASSERT(frame != NULL);
  struct writer w = writer_make(frame, size);
  message_encode(&effect->send.message, &w);
  ASSERT(!w.failed && w.size == size);
  world_trace(world, bytes_hash(writer_bytes(&w), from));
  network_send(world, from, (uint32_t)to, writer_bytes(&w));
  free(frame);
}

static uint64_t disk_delay(struct world *world, uint32_t index) {
  uint64_t delay_ns = world_draw(world, world->disk_min_ns, world->disk_max_ns);
  return delay_ns * world->nodes[index].disk_slowness;
}

static void effect_commit(struct world *world, uint32_t index, const struct effect *effect) {
  struct node *node = &world->nodes[index];
  struct bytes value = blob_bytes(effect->commit.value);
  disk_begin(&node->disk, effect->commit.space, blob_bytes(effect->commit.key),
             effect->commit.value == NULL ? NULL : &value, effect->commit.sync);
  uint64_t at_ns = world->now_ns + disk_delay(world, index);
  bool fails = prng_chance(&world->prng, world->busy_per_mille);
  bool busy = prng_chance(&world->prng, 500);
  enum err err = !fails ? ERR_OK : (busy ? ERR_BUSY : ERR_NOSPACE);
  if (node->disk_full && effect->commit.value != NULL) {
    err = ERR_NOSPACE;
  }
  node->commit_ns = at_ns > node->commit_ns ? at_ns : node->commit_ns;
  struct entry entry = {
      .kind = HAPPENS_COMMIT, .node = index, .life = node->life, .token = effect->commit.token, .err = err};
  queue_push(&world->queue, node->commit_ns, &entry);
}

static void effect_read(struct world *world, uint32_t index, const struct effect *effect) {
  struct bytes key = blob_bytes(effect->read.key);
  uint64_t at_ns = world->now_ns + disk_delay(world, index);
  bool fails = prng_chance(&world->prng, world->readerror_per_mille);
  struct entry entry = {.kind = HAPPENS_READ,
                        .node = index,
                        .life = world->nodes[index].life,
                        .token = effect->read.token,
                        .space = effect->read.space,
                        .err = fails ? ERR_IO : ERR_OK,
                        .bytes = world_copy(key),
                        .size = key.size};
  queue_push(&world->queue, at_ns, &entry);
}

static void effect_scan(struct world *world, uint32_t index, const struct effect *effect) {
  struct bytes from = blob_bytes(effect->scan.from);
  struct bytes prefix = blob_bytes(effect->scan.prefix);
  uint64_t at_ns = world->now_ns + disk_delay(world, index);
  struct entry entry = {.kind = HAPPENS_SCAN,
                        .node = index,
                        .life = world->nodes[index].life,
                        .token = effect->scan.token,
                        .space = effect->scan.space,
                        .max_count = effect->scan.max_count,
                        .max_bytes = effect->scan.max_bytes,
                        .argument = effect->scan.keys_only ? 1 : 0,
                        .bytes = world_copy(from),
                        .size = from.size,
                        .prefix = world_copy(prefix),
                        .prefix_size = prefix.size};
  queue_push(&world->queue, at_ns, &entry);
}

static void show_commits(struct world *world, uint32_t index) {
  const struct effects *effects = world->effects;
  for (uint32_t i = 0; i < effects->count && world->watch.committed != NULL; i++) {
    const struct effect *effect = &effects->list[i];
    if (effect->kind == EFFECT_COMMIT) {
      struct bytes value = blob_bytes(effect->commit.value);
      world->watch.committed(world->watch.context, index, effect->commit.space, blob_bytes(effect->commit.key),
                             effect->commit.value == NULL ? NULL : &value);
    }
  }
}

static void execute(struct world *world, uint32_t index) {
  struct effects *effects = world->effects;
  show_commits(world, index);
  for (uint32_t i = 0; i < effects->count; i++) {
    const struct effect *effect = &effects->list[i];
    switch (effect->kind) {
    case EFFECT_SEND:
      effect_send(world, index, effect);
      break;
    case EFFECT_REPLY:
      world_trace(world, effect->reply->token ^ (uint64_t)effect->reply->err << 56);
      world->watch.replied(world->watch.context, index, effect->reply);
      break;
    case EFFECT_READ:
      effect_read(world, index, effect);
      break;
    case EFFECT_COMMIT:
      effect_commit(world, index, effect);
      break;
    case EFFECT_SCAN:
      effect_scan(world, index, effect);
      break;
    }
  }
  effects_reset(effects);
}

static void schedule_tick(struct world *world, uint32_t index) {
  struct node *node = &world->nodes[index];
  uint64_t deadline_ns = shard_deadline(node->shard);
  if (deadline_ns == UINT64_MAX) {
    return;
  }
  deadline_ns = deadline_ns < world->now_ns ? world->now_ns : deadline_ns;
  if (deadline_ns < node->tick_ns) {
    node->tick_ns = deadline_ns;
    struct entry entry = {.kind = HAPPENS_TICK, .node = index, .life = node->life};
    queue_push(&world->queue, deadline_ns, &entry);
  }
}

void process_step(struct world *world, uint32_t index, struct event *event) {
  struct node *node = &world->nodes[index];
  ASSERT(node->alive);
  event->now_ns = world->now_ns;
  event->wall_ms = clock_read(&node->clock, world->now_ns, world_wall_ms(world));
  world->steps += 1;
  world_trace(world, (uint64_t)event->kind << 32 | index);
  shard_step(node->shard, event, world->effects);
  if (world->watch.stepped != NULL) {
    world->watch.stepped(world->watch.context, index);
  }
  execute(world, index);
  schedule_tick(world, index);
}

/* -- memory --------------------------------------------------------------------------- */

/* The memory of nodes that were stopped, for the next that start: pages that have been touched once cost nothing
 * more. The address sanitizer had better see each life's memory go. */
#if defined(__SANITIZE_ADDRESS__)
#define SPARES_MAX 0u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPARES_MAX 0u
#endif
#endif
#ifndef SPARES_MAX
#define SPARES_MAX 64u
#endif

struct spare {
  void *memory;
  size_t size;
};

static struct spare spares[SPARES_MAX + 1];
static uint32_t spare_count;

static void *memory_take(size_t size) {
  for (uint32_t i = 0; i < spare_count; i++) {
    if (spares[i].size == size) {
      void *memory = spares[i].memory;
      spare_count -= 1;
      spares[i] = spares[spare_count];
      return memory;
    }
  }
  void *memory = aligned_alloc(64, size);
  ASSERT(memory != NULL);
  return memory;
}

static void memory_give(void *memory, size_t size) {
  const uint32_t most = SPARES_MAX;
  if (spare_count < most) {
    spares[spare_count] = (struct spare){memory, size};
    spare_count += 1;
  } else {
    free(memory);
  }
}

/* -- life ------------------------------------------------------------------------------ */

static void tell(struct world *world, uint32_t index, enum node_news news) {
  world_trace(world, (uint64_t)news << 40 | index);
  if (world->watch.news != NULL) {
    world->watch.news(world->watch.context, index, news);
  }
}

static struct bytes read_paper(const struct node *node, struct bytes name, uint8_t **copy) {
  struct bytes value;
  enum err err = ERR_OK;
  free(*copy);
  *copy = NULL;
  if (!disk_get(&node->disk, SPACE_META, name, &value, &err)) {
    return BYTES_NONE;
  }
  *copy = world_copy(value);
  return (struct bytes){*copy, value.size};
}

void process_start(struct world *world, uint32_t index) {
  struct node *node = &world->nodes[index];
  ASSERT(!node->alive);
  node->alive = true;
  node->life += 1;
  node->tick_ns = UINT64_MAX;
  node->commit_ns = world->now_ns;
  node->disk_full = node->sync_fails = false;
  node->disk_slowness = 1;
  struct shard_config *config = &node->config;
  uint64_t incarnation = prng_u64(&world->prng);
  if (config->actor.node == 0 || !world->incarnations_repeat) {
    config->actor = (struct actor){.node = node->id, .incarnation = incarnation};
  }
  config->seed = prng_u64(&world->prng);
  config->history = read_paper(node, BYTES_LITERAL(META_HISTORY), &node->history);
  config->buckets = read_paper(node, BYTES_LITERAL(META_BUCKETS), &node->buckets);
  config->layout = read_paper(node, BYTES_LITERAL(META_LAYOUT), &node->layout);
  config->moves = read_paper(node, BYTES_LITERAL(META_MOVES), &node->moves);
  config->scrub = read_paper(node, BYTES_LITERAL(META_SCRUB), &node->scrub);
  config->wrote = read_paper(node, BYTES_LITERAL(META_WROTE), &node->wrote);
  config->loss = read_paper(node, BYTES_LITERAL(META_LOSS), &node->loss);
  config->lives = read_paper(node, BYTES_LITERAL(META_LIVES), &node->lives);
  config->floors = read_paper(node, BYTES_LITERAL(META_FLOORS), &node->floors);
  config->low = read_paper(node, BYTES_LITERAL(META_LOW), &node->low);
  struct bytes ignored;
  enum err err = ERR_OK;
  config->sealed = disk_get(&node->disk, SPACE_META, BYTES_LITERAL(META_SEALED), &ignored, &err);
  node->memory = memory_take(shard_size());
  node->value_memory = memory_take(world->value_memory_bytes);
  node->tree_memory = calloc(1, tree_memory_bytes(world->tree_bits));
  ASSERT(node->tree_memory != NULL);
  config->tree_memory = node->tree_memory;
  config->tree_bits = world->tree_bits;
  config->value_memory = node->value_memory;
  config->value_memory_bytes = world->value_memory_bytes;
  node->shard = shard_init(node->memory, config);
  shard_set_health(node->shard, false, node->disk.visible[SPACE_OBJECTS].count);
  tell(world, index, NEWS_STARTED);
  network_node_up(world, index);
  struct event tick = {.kind = EVENT_TICK};
  process_step(world, index, &tick);
}

/* Returns the bytes of values that the core did not give back. */
static size_t give_back(struct node *node) {
  shard_deinit(node->shard);
  size_t leaked = shard_value_pool(node->shard)->used_bytes;
  memory_give(node->memory, shard_size());
  memory_give(node->value_memory, node->config.value_memory_bytes);
  free(node->tree_memory);
  node->shard = NULL;
  return leaked;
}

size_t process_stop(struct world *world, uint32_t index) {
  struct node *node = &world->nodes[index];
  ASSERT(node->alive);
  node->alive = false;
  node->life += 1;
  return give_back(node);
}

void process_crash(struct world *world, uint32_t index) {
  struct node *node = &world->nodes[index];
  ASSERT(node->alive);
  node->alive = false;
  process_resume(world, index); /* what it missed is of an earlier life then */
  node->life += 1;
  tell(world, index, NEWS_CRASHING);
  disk_crash(&node->disk, &world->prng);
  if (world->objects_forgotten) {
    disk_forget(&node->disk, (size_t)prng_u64(&world->prng));
  }
  tell(world, index, NEWS_CRASHED);
  (void)give_back(node);
  network_node_down(world, index);
}

void process_pause(struct world *world, uint32_t index) {
  ASSERT(world->nodes[index].alive);
  world->nodes[index].paused = true;
  world->nodes[index].pauses += 1;
  tell(world, index, NEWS_PAUSED);
}

void process_resume(struct world *world, uint32_t index) {
  struct node *node = &world->nodes[index];
  if (!node->paused) {
    return;
  }
  node->paused = false;
  for (size_t i = 0; i < node->parked_count; i++) {
    queue_push(&world->queue, world->now_ns, &node->parked[i]);
  }
  node->parked_count = 0;
  tell(world, index, NEWS_RESUMED);
}

static void park(struct node *node, const struct entry *entry) {
  if (node->parked_count == node->parked_capacity) {
    node->parked_capacity = node->parked_capacity == 0 ? 64 : 2 * node->parked_capacity;
    node->parked = realloc(node->parked, node->parked_capacity * sizeof node->parked[0]);
    ASSERT(node->parked != NULL);
  }
  node->parked[node->parked_count] = *entry;
  node->parked_count += 1;
}

void process_set_full(struct world *world, uint32_t index, bool full) {
  struct node *node = &world->nodes[index];
  node->disk_full = full;
  if (node->alive) {
    shard_set_health(node->shard, full, node->disk.visible[SPACE_OBJECTS].count);
  }
}

void process_deinit(struct world *world, uint32_t index) {
  struct node *node = &world->nodes[index];
  disk_deinit(&node->disk);
  for (size_t i = 0; i < node->parked_count; i++) {
    entry_free(&node->parked[i]);
  }
  free(node->parked);
  free(node->history);
  free(node->buckets);
  free(node->layout);
  free(node->moves);
  free(node->scrub);
  free(node->wrote);
  free(node->loss);
  free(node->lives);
  free(node->floors);
  free(node->low);
  if (node->alive) {
    (void)process_stop(world, index);
  }
}

/* The same value with a bit of it flipped; false when it has no value to flip one of. */
static bool flip(struct blob *blob) {
  struct object object;
  struct sibling sibling;
  enum err err = blob == NULL ? ERR_NOMEM : object_open(&object, blob_bytes(blob));
  struct sibling_cursor cursor;
  if (err != ERR_OK) {
    return false;
  }
  cursor = object_siblings(&object);
  if (!sibling_next(&cursor, &sibling) || sibling.value.size == 0) {
    return false;
  }
  blob->data[sibling.value.data - blob->data] ^= 1u;
  return true;
}

/* -- what happens to it -------------------------------------------------------------------- */

static void on_message(struct world *world, const struct entry *entry) {
  struct message message;
  enum err err = message_decode((struct bytes){entry->bytes, entry->size}, &message);
  ASSERT(err == ERR_OK);
  if (world->watch.received != NULL) {
    world->watch.received(world->watch.context, entry->node, entry->from, &message);
  }
  struct event in = {.kind = EVENT_MESSAGE};
  in.message.from = world->nodes[entry->from].id;
  in.message.message = &message;
  process_step(world, entry->node, &in);
}

static void on_read(struct world *world, const struct entry *entry) {
  struct node *node = &world->nodes[entry->node];
  struct bytes key = {entry->bytes, entry->size};
  struct bytes value = BYTES_NONE;
  struct event in = {.kind = EVENT_READ_DONE};
  struct blob *blob = NULL;
  enum err err = ERR_OK;
  bool there = disk_get(&node->disk, entry->space, key, &value, &err);
  in.read.token = entry->token;
  in.read.err = entry->err != ERR_OK ? entry->err : err;
  bool flips = in.read.err == ERR_CORRUPT && world->flips_read;
  if (there && (in.read.err == ERR_OK || flips)) {
    blob = blob_copy(shard_pool(node->shard), value);
    in.read.err = blob == NULL ? ERR_NOMEM : ERR_OK;
  }
  if (flips && !flip(blob)) {
    blob_put(blob);
    blob = NULL;
    in.read.err = ERR_CORRUPT;
  }
  if ((in.read.err == ERR_OK || in.read.err == ERR_CORRUPT) && world->watch.read != NULL) {
    bool readable = there && in.read.err == ERR_OK;
    world->watch.read(world->watch.context, entry->node, entry->space, key, readable ? value : BYTES_NONE);
  }
  in.read.value = blob;
  process_step(world, entry->node, &in);
  blob_put(blob);
}

static void on_scan(struct world *world, const struct entry *entry) {
  struct node *node = &world->nodes[entry->node];
  struct scan_entry entries[SCAN_MAX];
  struct event in = {.kind = EVENT_SCAN_DONE};
  const struct disk_table *table = &node->disk.visible[entry->space];
  size_t at = disk_seek(&node->disk, entry->space, (struct bytes){entry->bytes, entry->size});
  size_t total = 0;
  ASSERT(entry->max_count <= SCAN_MAX);
  in.scan.token = entry->token;
  in.scan.entries = entries;
  for (in.scan.end = true; at < table->count; at++) {
    const struct disk_entry *found = &table->entries[at];
    if (found->key.size < entry->prefix_size || memcmp(found->key.data, entry->prefix, entry->prefix_size) != 0) {
      break;
    }
    if (in.scan.count == entry->max_count || (in.scan.count > 0 && total >= entry->max_bytes)) {
      in.scan.end = false;
      break;
    }
    if (found->damaged && in.scan.count > 0) { /* before damage a scan ends; one that begins there passes over it */
      in.scan.end = false;
      break;
    }
    if (found->damaged) {
      in.scan.gap = true;
      continue;
    }
    struct scan_entry *out = &entries[in.scan.count];
    *out = (struct scan_entry){.key = blob_copy(shard_pool(node->shard), found->key)};
    bool keys_only = entry->argument != 0;
    out->value = out->key == NULL || keys_only ? NULL : blob_copy(shard_pool(node->shard), found->value);
    if (out->key == NULL || (out->value == NULL && !keys_only)) {
      blob_put(out->key);
      in.scan.end = false;
      in.scan.err = in.scan.count == 0 ? ERR_NOMEM : ERR_OK;
      break;
    }
    total += found->key.size + (keys_only ? 0 : found->value.size);
    in.scan.count += 1;
  }
  process_step(world, entry->node, &in);
  for (uint32_t i = 0; i < in.scan.count; i++) {
    blob_put(entries[i].key);
    blob_put(entries[i].value);
  }
}

static void on_commit(struct world *world, const struct entry *entry) {
  struct node *node = &world->nodes[entry->node];
  if (node->sync_fails) {
    process_crash(world, entry->node); /* the driver does not guess: it stops */
    return;
  }
  if (entry->err != ERR_OK && world->watch.commit_failed != NULL) {
    world->watch.commit_failed(world->watch.context, entry->node, disk_oldest(&node->disk));
  }
  disk_complete(&node->disk, entry->err);
  struct event in = {.kind = EVENT_COMMIT_DONE};
  in.commit.token = entry->token;
  in.commit.err = entry->err;
  process_step(world, entry->node, &in);
}

static void on_link(struct world *world, const struct entry *entry) {
  struct event in = {.kind = entry->up ? EVENT_PEER_UP : EVENT_PEER_DOWN};
  in.peer = world->nodes[entry->from].id;
  bool certain = entry->argument != 0;
  if (certain || world->nodes[entry->from].alive == entry->up) {
    process_step(world, entry->node, &in);
  }
}

void process_happens(struct world *world, uint64_t time_ns, const struct entry *entry) {
  struct node *node = &world->nodes[entry->node];
  bool stale = !node->alive || entry->life != node->life;
  if (!stale && node->paused) {
    park(node, entry);
    return;
  }
  struct event tick = {.kind = EVENT_TICK};
  struct entry own = *entry;
  switch (stale ? HAPPENS_CALL : entry->kind) {
  case HAPPENS_MESSAGE:
    on_message(world, entry);
    break;
  case HAPPENS_READ:
    on_read(world, entry);
    break;
  case HAPPENS_COMMIT:
    on_commit(world, entry);
    break;
  case HAPPENS_SCAN:
    on_scan(world, entry);
    break;
  case HAPPENS_TICK:
    if (time_ns == node->tick_ns || node->tick_ns <= world->now_ns) {
      node->tick_ns = UINT64_MAX;
      shard_set_health(node->shard, node->disk_full, node->disk.visible[SPACE_OBJECTS].count);
      process_step(world, entry->node, &tick);
    }
    break;
  case HAPPENS_LINK:
    on_link(world, entry);
    break;
  case HAPPENS_CALL:
    break;
  }
  entry_free(&own);
}
