/* The core of a node: its memory, and what the store remembers of the last run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "member/member.h"
#include "replica/floors.h"
#include "replica/tree.h"
#include "run/node_parts.h"
#include "seam/step.h"

uint16_t node_peer_port(const struct options *options) {
  return (uint16_t)(options->peer_port != 0 ? options->peer_port : options->port + 10000);
}

const char *node_host(const struct options *options) {
  return options->announce[0] != '\0' ? options->announce : options->listen;
}

/* -- what the store remembers of the last run ---------------------------------------- */

struct memory_of_store {
  struct store_value history;
  struct store_value buckets;
  struct store_value sealed;
  struct store_value layout;
  struct store_value moves;
  struct store_value scrub;
  struct store_value wrote, loss, lives;
  struct store_value floors;
  struct store_value low;
  struct store_value incarnation;
};

static void memory_free(struct memory_of_store *memory) {
  store_value_free(memory->history.data);
  store_value_free(memory->buckets.data);
  store_value_free(memory->sealed.data);
  store_value_free(memory->layout.data);
  store_value_free(memory->moves.data);
  store_value_free(memory->scrub.data);
  store_value_free(memory->wrote.data);
  store_value_free(memory->loss.data);
  store_value_free(memory->lives.data);
  store_value_free(memory->floors.data);
  store_value_free(memory->low.data);
  store_value_free(memory->incarnation.data);
}

static struct bytes value_bytes(struct store_value value) {
  return (struct bytes){value.data, value.data == NULL ? 0 : value.size};
}

static bool meta_read(const struct store_engine *engine, struct store *store, const char *name,
                      struct store_value *value, char *why) {
  struct bytes key = {(const uint8_t *)name, strlen(name)};
  enum err err = engine->get(store, SPACE_META, key, true, value);
  if (err != ERR_OK) {
    snprintf(why, NODE_WHY, "the store can not read its \"%s\" (%s): check the device, or " STORE_REMEDY, name,
             err_text(err));
  }
  return err == ERR_OK;
}

/* The core asserts that what it is started with is sound: so it is looked through here. Yields the latest time that
 * this node ever put into a record, which its clock must stay above. */
static bool memory_check(struct node *node, const struct memory_of_store *memory, uint64_t *hlc_floor, char *why) {
  struct history *history = malloc(sizeof(*history));
  struct bucket_table *buckets = malloc(sizeof(*buckets));
  bool sound = history != NULL && buckets != NULL;
  const char *what = "history";
  uint32_t count = 0;
  *hlc_floor = 0;
  if (sound) {
    history_init(history);
    bucket_table_init(buckets);
    sound = memory->history.data == NULL || history_merge(history, value_bytes(memory->history), &count) == ERR_OK;
  }
  if (sound) {
    what = "bucket properties";
    sound = memory->buckets.data == NULL || bucket_table_merge(buckets, value_bytes(memory->buckets), &count) == ERR_OK;
  }
  if (sound) {
    what = "layout";
    sound = member_layout_is_sound(value_bytes(memory->layout));
  }
  if (sound) {
    what = "floors of deletions";
    sound = floors_are_sound(value_bytes(memory->floors));
  }
  if (sound && history->snapshot.issuer == node->directory.node) {
    *hlc_floor = history->snapshot.time;
  }
  for (uint32_t i = 0; sound && i < history->count; i += 1) {
    const struct change *change = &history->changes[i];
    *hlc_floor = change->issuer == node->directory.node && change->time > *hlc_floor ? change->time : *hlc_floor;
  }
  for (uint32_t i = 0; sound && i < buckets->count; i += 1) {
    const struct bucket *bucket = &buckets->buckets[i];
    *hlc_floor = bucket->issuer == node->directory.node && bucket->time > *hlc_floor ? bucket->time : *hlc_floor;
  }
  if (!sound) {
    snprintf(why, NODE_WHY, "the %s in %.200s can not be read: " STORE_REMEDY, what, node->options->dir);
  }
  free(history);
  free(buckets);
  return sound;
}

/* Draws an incarnation that was never used before, and makes it durable before anything can be stamped with it. */
static bool incarnation_take(struct node *node, const struct store_engine *engine, struct store *store,
                             const struct memory_of_store *memory, char *why) {
  uint8_t bytes[8];
  struct reader r = reader_make(value_bytes(memory->incarnation));
  uint64_t last = read_u64(&r);
  while (node->incarnation == 0 || node->incarnation == last) {
    if (uv_random(NULL, NULL, &node->incarnation, sizeof(node->incarnation), 0, NULL) != 0) {
      snprintf(why, NODE_WHY, "the system gives no random numbers; check /dev/urandom");
      return false;
    }
  }
  struct writer w = writer_make(bytes, sizeof(bytes));
  write_u64(&w, node->incarnation);
  struct store_write write = {.space = SPACE_META, .key = BYTES_LITERAL(META_INCARNATION), .value = writer_bytes(&w)};
  enum err err = engine->commit(store, &write, 1, true);
  if (err != ERR_OK) {
    snprintf(why, NODE_WHY, "can not write to the store in %.200s (%s)", node->options->dir, err_text(err));
  }
  return err == ERR_OK;
}

/* -- the core ---------------------------------------------------------------------------- */

static void *memory_map(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

/* As many leaves as a tree of one n has room for in what is given for it. */
static uint32_t node_tree_bits(const struct options *options) {
  uint32_t bits = 0;
  while (bits < TREE_BITS_MAX && UINT64_C(2) * sizeof(uint64_t) << bits <= options->tree_memory) {
    bits += 1;
  }
  return bits;
}

static bool core_allocate(struct node *node, char *why) {
  node->value_memory_bytes = node->options->value_memory & ~(size_t)63;
  node->shard_memory = memory_map(shard_size());
  node->value_memory = memory_map(node->value_memory_bytes);
  node->tree_memory = memory_map(tree_memory_bytes(node_tree_bits(node->options)));
  node->effects = calloc(1, sizeof(*node->effects)); /* zeroed is empty */
  node->reply = malloc(sizeof(*node->reply));
  if (node->shard_memory == NULL || node->value_memory == NULL || node->tree_memory == NULL || node->effects == NULL ||
      node->reply == NULL) {
    snprintf(why, NODE_WHY, "no memory; lower value-memory");
    return false;
  }
  return true;
}

static uint64_t node_cluster_seed(const struct options *options) {
  uint64_t seed = bytes_hash((struct bytes){(const uint8_t *)options->cluster_name, strlen(options->cluster_name)}, 0);
  return bytes_hash((struct bytes){(const uint8_t *)options->secret, strlen(options->secret)}, seed);
}

static void core_init(struct node *node, const struct memory_of_store *memory, uint64_t hlc_floor) {
  const struct options *options = node->options;
  struct shard_config config = {
      .node = node->directory.node,
      .actor = {.incarnation = node->incarnation, .node = node->directory.node},
      .seed = node->incarnation,
      .cluster_seed = node_cluster_seed(options),
      .hlc_floor = hlc_floor,
      .found = options->seeds[strspn(options->seeds, ", ")] == '\0' && memory->history.data == NULL &&
               options->node_id[0] == '\0', /* it was one of a cluster already */
      .history = value_bytes(memory->history),
      .buckets = value_bytes(memory->buckets),
      .layout = value_bytes(memory->layout),
      .moves = value_bytes(memory->moves),
      .scrub = value_bytes(memory->scrub),
      .wrote = value_bytes(memory->wrote),
      .loss = value_bytes(memory->loss),
      .lives = value_bytes(memory->lives),
      .volatile_store = !store_engine_find(options->engine)->waits,
      .floors = value_bytes(memory->floors),
      .low = value_bytes(memory->low),
      .sealed = memory->sealed.data != NULL,
      .tunables = node_tunables(options),
      .value_memory = node->value_memory,
      .value_memory_bytes = node->value_memory_bytes,
      .tree_memory = node->tree_memory,
      .tree_bits = node_tree_bits(options),
  };
  struct change *self = &config.self;
  self->node = node->directory.node;
  self->weight = (uint32_t)options->weight;
  self->partition_count = config.found ? (uint32_t)options->partitions : 0;
  self->client_port = (uint16_t)options->port;
  self->peer_port = node_peer_port(options);
  snprintf(self->host, sizeof(self->host), "%s", node_host(options));
  snprintf(self->name, sizeof(self->name), "%s", node->name);
  snprintf(self->zone, sizeof(self->zone), "%s", options->zone);
  node->shard = shard_init(node->shard_memory, &config);
}

/* Blocks: nothing else runs yet. The engine is opened here for the metadata, and closed, because the disk wants the
 * core's pool and the core wants the metadata. */
bool node_core_start(struct node *node, const struct store_engine *engine, const struct store_options *store_options,
                     char *why) {
  struct memory_of_store memory = {0};
  struct store *store = NULL;
  uint64_t hlc_floor = 0;
  /* The few bytes that a start writes may come out of the reserve: reads are to be served whatever the disk is like. */
  struct store_options start_options = *store_options;
  start_options.disk_reserve_bytes = 0;
  if (!core_allocate(node, why) || engine->open(node->options->dir, &start_options, &store, why) != ERR_OK) {
    return false;
  }
  bool started = meta_read(engine, store, META_HISTORY, &memory.history, why) &&
                 meta_read(engine, store, META_BUCKETS, &memory.buckets, why) &&
                 meta_read(engine, store, META_SEALED, &memory.sealed, why) &&
                 meta_read(engine, store, META_LAYOUT, &memory.layout, why) &&
                 meta_read(engine, store, META_MOVES, &memory.moves, why) &&
                 meta_read(engine, store, META_SCRUB, &memory.scrub, why) &&
                 meta_read(engine, store, META_WROTE, &memory.wrote, why) &&
                 meta_read(engine, store, META_LOSS, &memory.loss, why) &&
                 meta_read(engine, store, META_LIVES, &memory.lives, why) &&
                 meta_read(engine, store, META_FLOORS, &memory.floors, why) &&
                 meta_read(engine, store, META_LOW, &memory.low, why) &&
                 meta_read(engine, store, META_INCARNATION, &memory.incarnation, why) &&
                 memory_check(node, &memory, &hlc_floor, why) && incarnation_take(node, engine, store, &memory, why);
  engine->close(store);
  if (started) {
    core_init(node, &memory, hlc_floor);
  }
  memory_free(&memory);
  return started;
}

void node_core_free(struct node *node) {
  if (node->effects != NULL) {
    effects_reset(node->effects); /* the last step's: they hold blobs */
  }
  if (node->shard != NULL) {
    shard_deinit(node->shard);
  }
  if (node->shard_memory != NULL) {
    munmap(node->shard_memory, shard_size());
  }
  if (node->value_memory != NULL) {
    munmap(node->value_memory, node->value_memory_bytes);
  }
  if (node->tree_memory != NULL) {
    munmap(node->tree_memory, tree_memory_bytes(node_tree_bits(node->options)));
  }
  free(node->effects);
  free(node->reply);
}
