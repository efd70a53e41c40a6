/* What one put or get costs the pure core, for counting instructions: a cluster of shards in one process, a network
 * without delay, a disk that is a table of blobs. Run by bench/instructions.py under callgrind, which counts inside
 * shard_step only.
 *
 *     core_cost NODES put|get COUNT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "replica/tree.h"
#include "seam/step.h"
#include "shard/shard.h"

#define NODES 3u
#define KEYS 1024u
#define VALUE_BYTES 100u
#define VALUE_MEMORY_BYTES (64u << 20)
#define TREE_BITS 16u
#define MILLISECOND UINT64_C(1000000)

_Noreturn void assert_failed(const char *expression, const char *file, int line) {
  (void)fprintf(stderr, "core_cost: %s:%d: %s does not hold\n", file, line, expression);
  abort();
}

/* What waits to be told to a node: a frame, or the end of a read, commit or scan. */
struct item {
  enum event_kind kind;
  uint32_t to, from;
  uint64_t token;
  struct blob *value;
  uint8_t *frame;
  size_t size;
  struct item *next;
};

struct row {
  struct blob *key, *value;
};

struct node {
  struct shard *shard;
  struct row rows[4 * KEYS]; /* objects, by open addressing */
};

static struct node nodes[NODES];
static struct item *head, *tail;
static struct effects *effects;
static uint64_t now_ns = 1000 * MILLISECOND;
static uint64_t replies;
static uint32_t node_count;

static void enqueue(struct item item) {
  struct item *copy = malloc(sizeof *copy);
  ASSERT(copy != NULL);
  *copy = item;
  copy->next = NULL;
  if (tail == NULL) {
    head = copy;
  } else {
    tail->next = copy;
  }
  tail = copy;
}

static struct row *row_of(struct node *node, struct blob *key) {
  uint64_t at = bytes_hash(blob_bytes(key), 1);
  for (;; at++) {
    struct row *row = &node->rows[at % (4 * KEYS)];
    if (row->key == NULL || bytes_equal(blob_bytes(row->key), blob_bytes(key))) {
      return row;
    }
  }
}

static void execute(uint32_t index, const struct effect *effect) {
  struct item item = {.to = index};
  switch (effect->kind) {
  case EFFECT_SEND: {
    item.kind = EVENT_MESSAGE;
    item.to = effect->send.to - 1;
    item.from = index;
    item.size = message_frame_size(&effect->send.message);
    item.frame = malloc(item.size);
    ASSERT(item.frame != NULL);
    struct writer w = writer_make(item.frame, item.size);
    message_encode(&effect->send.message, &w);
    ASSERT(!w.failed);
    break;
  }
  case EFFECT_REPLY:
    ASSERT(effect->reply->err == ERR_OK || effect->reply->token == 0);
    replies += 1;
    return;
  case EFFECT_READ:
    item.kind = EVENT_READ_DONE;
    item.token = effect->read.token;
    item.value = effect->read.space == SPACE_OBJECTS ? blob_get(row_of(&nodes[index], effect->read.key)->value) : NULL;
    break;
  case EFFECT_COMMIT:
    item.kind = EVENT_COMMIT_DONE;
    item.token = effect->commit.token;
    if (effect->commit.space == SPACE_OBJECTS) {
      struct row *row = row_of(&nodes[index], effect->commit.key);
      row->key = row->key != NULL ? row->key : blob_get(effect->commit.key);
      blob_put(row->value);
      row->value = blob_get(effect->commit.value);
    }
    break;
  case EFFECT_SCAN:
    item.kind = EVENT_SCAN_DONE;
    item.token = effect->scan.token;
    break;
  }
  enqueue(item);
}

static void step(uint32_t index, struct event *event) {
  event->now_ns = now_ns;
  event->wall_ms = UINT64_C(1750000000000) + now_ns / MILLISECOND;
  shard_step(nodes[index].shard, event, effects);
  for (uint32_t i = 0; i < effects->count; i++) {
    execute(index, &effects->list[i]);
  }
  effects_reset(effects);
}

static void settle(void) {
  while (head != NULL) {
    struct item *item = head;
    head = item->next;
    tail = head == NULL ? NULL : tail;
    struct event event = {.kind = item->kind};
    struct message message;
    if (item->kind == EVENT_MESSAGE) {
      enum err err = message_decode((struct bytes){item->frame, item->size}, &message);
      ASSERT(err == ERR_OK);
      event.message.from = item->from + 1;
      event.message.message = &message;
    } else if (item->kind == EVENT_READ_DONE) {
      event.read.token = item->token;
      event.read.value = item->value;
    } else if (item->kind == EVENT_COMMIT_DONE) {
      event.commit.token = item->token;
    } else {
      event.scan.token = item->token;
      event.scan.end = true;
    }
    step(item->to, &event);
    blob_put(item->value);
    free(item->frame);
    free(item);
  }
}

static void pass(uint64_t ms) {
  for (uint64_t i = 0; i < ms; i += 50) {
    now_ns += 50 * MILLISECOND;
    for (uint32_t n = 0; n < node_count && nodes[n].shard != NULL; n++) {
      struct event tick = {.kind = EVENT_TICK};
      step(n, &tick);
    }
    settle();
  }
}

static void start(uint32_t index) {
  struct shard_config config = {
      .node = index + 1,
      .actor = {.node = index + 1, .incarnation = 1000 + index},
      .seed = index + 7,
      .cluster_seed = 3,
      .self = {.node = index + 1, .weight = 100, .client_port = 1, .peer_port = (uint16_t)(index + 1), .host = "h"},
      .found = index == 0,
      .tunables = {.hints = true,
                   .request_timeout_ns = 3000 * MILLISECOND,
                   .hedge_ns = 100 * MILLISECOND,
                   .repair_window_ns = 200 * MILLISECOND,
                   .heartbeat_ns = 250 * MILLISECOND,
                   .gossip_ns = 1000 * MILLISECOND,
                   .peer_timeout_ns = 1500 * MILLISECOND,
                   .small_value_bytes = 16384,
                   .value_max_bytes = VALUE_MAX_BYTES_DEFAULT},
  };
  config.self.partition_count = index == 0 ? 64 : 0;
  config.value_memory = aligned_alloc(64, VALUE_MEMORY_BYTES);
  config.value_memory_bytes = VALUE_MEMORY_BYTES;
  config.tree_bits = TREE_BITS;
  config.tree_memory = calloc(1, tree_memory_bytes(TREE_BITS));
  void *memory = aligned_alloc(64, shard_size());
  ASSERT(memory != NULL && config.value_memory != NULL && config.tree_memory != NULL);
  nodes[index].shard = shard_init(memory, &config);
  for (uint32_t i = 0; i < index; i++) {
    struct event up = {.kind = EVENT_PEER_UP, .peer = i + 1};
    step(index, &up);
    struct event other = {.kind = EVENT_PEER_UP, .peer = index + 1};
    step(i, &other);
  }
}

static void request(enum command_kind kind, uint64_t number) {
  uint8_t value[VALUE_BYTES] = {0};
  char key[32];
  (void)snprintf(key, sizeof key, "key:%08u", (unsigned)(number * 7919u % KEYS));
  struct command command = {
      .kind = kind,
      .token = number,
      .key = {(const uint8_t *)key, strlen(key)},
      .value = {value, kind == COMMAND_PUT ? sizeof value : 0},
      .blind = true,
      .r = QUORUM_DEFAULT,
      .pr = QUORUM_DEFAULT,
      .w = QUORUM_DEFAULT,
      .pw = QUORUM_DEFAULT,
      .dw = QUORUM_DEFAULT,
  };
  struct event event = {.kind = EVENT_COMMAND, .command = &command};
  step((uint32_t)(number % node_count), &event);
  settle();
}

int main(int argc, char **argv) {
  if (argc != 4) {
    (void)fprintf(stderr, "usage: core_cost 1|3 put|get COUNT\n");
    return 2;
  }
  node_count = strcmp(argv[1], "1") == 0 ? 1 : NODES;
  bool puts = strcmp(argv[2], "put") == 0;
  uint64_t count = strtoull(argv[3], NULL, 10);
  effects = calloc(1, sizeof *effects);
  ASSERT(effects != NULL);
  for (uint32_t i = 0; i < node_count; i++) {
    start(i);
    pass(8000);
  }
  struct command props = {.kind = COMMAND_BUCKET_SET, .key = BYTES_LITERAL("default")};
  props.props = bucket_props_default();
  if (node_count == 1) {
    props.props.n = props.props.r = props.props.w = 1;
  }
  struct event event = {.kind = EVENT_COMMAND, .command = &props};
  step(0, &event);
  pass(4000);
  for (uint64_t i = 0; i < KEYS; i++) {
    request(COMMAND_PUT, i);
  }
  pass(1000);
  uint64_t before = replies;
  for (uint64_t i = 1; i <= count; i++) {
    request(puts ? COMMAND_PUT : COMMAND_GET, i);
  }
  if (replies - before != count) {
    (void)fprintf(stderr, "core_cost: %lu of %lu requests were answered\n", (unsigned long)(replies - before),
                  (unsigned long)count);
    return 1;
  }
  return 0;
}
