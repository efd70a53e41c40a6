#include "settest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "process.h"
#include "version/context.h"

#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define NODES 5u
#define INTEGERS 2000u
#define SET_BYTES (INTEGERS / 8u)
#define PARTITIONS 64u
#define CONTEXT_ROOM 16384u
#define PACE_NS (40 * MILLISECOND) /* between a client's additions: 400 of them take 16 s */

struct adder {
  uint64_t token;
  bool putting;
  uint32_t integer;       /* that it is adding */
  uint8_t set[SET_BYTES]; /* as read, with what it adds */
  uint8_t context[CONTEXT_ROOM];
  size_t context_size;
};

struct settest {
  struct world *world;
  struct prng prng;
  uint64_t token;
  uint32_t next; /* integer */
  struct adder adders[NODES];
  bool acknowledged[INTEGERS];
  struct settest_result *result;
  bool reading, read; /* the final read */
  uint8_t final[SET_BYTES];
};

static const char key[] = "set:1";

static struct command command_make(struct settest *test, uint32_t node, enum command_kind kind) {
  test->token += 1;
  test->adders[node].token = test->token;
  return (struct command){.kind = kind,
                          .token = test->token,
                          .key = BYTES_LITERAL(key),
                          .r = QUORUM_DEFAULT,
                          .pr = QUORUM_DEFAULT,
                          .w = QUORUM_DEFAULT,
                          .pw = QUORUM_DEFAULT,
                          .dw = QUORUM_DEFAULT};
}

static void begin(void *context, uint64_t node) {
  struct settest *test = context;
  if (test->next >= INTEGERS) {
    return;
  }
  struct adder *adder = &test->adders[node];
  adder->integer = test->next;
  adder->putting = false;
  test->next += 1;
  test->result->added += 1;
  struct command command = command_make(test, (uint32_t)node, COMMAND_GET);
  bool sent = world_command(test->world, (uint32_t)node, &command);
  ASSERT(sent);
}

static void put(void *context, uint64_t node) {
  struct settest *test = context;
  struct adder *adder = &test->adders[node];
  adder->putting = true;
  struct command command = command_make(test, (uint32_t)node, COMMAND_PUT);
  command.value = (struct bytes){adder->set, sizeof adder->set};
  command.context = (struct bytes){adder->context, adder->context_size};
  bool sent = world_command(test->world, (uint32_t)node, &command);
  ASSERT(sent);
}

/* The union of all siblings. */
static void unite(const struct reply *reply, uint8_t set[SET_BYTES], struct past *past) {
  memset(set, 0, SET_BYTES);
  past_init(past);
  if (reply->object == NULL) {
    return;
  }
  struct object object;
  struct sibling sibling;
  enum err err = object_open(&object, blob_bytes(reply->object));
  ASSERT(err == ERR_OK);
  object_past(&object, past);
  struct sibling_cursor cursor = object_siblings(&object);
  while (sibling_next(&cursor, &sibling)) {
    for (uint32_t i = 0; i < SET_BYTES && i < sibling.value.size; i++) {
      set[i] |= sibling.value.data[i];
    }
  }
}

static void replied(void *context, uint32_t node, const struct reply *reply) {
  static struct past past;
  struct settest *test = context;
  struct adder *adder = &test->adders[node];
  uint64_t now_ns = test->world->now_ns;
  if (reply->token != adder->token) {
    return;
  }
  if (test->reading) {
    unite(reply, test->final, &past);
    test->read = reply->err == ERR_OK;
    return;
  }
  if (!adder->putting && reply->err == ERR_OK) {
    unite(reply, adder->set, &past);
    adder->set[adder->integer / 8] |= (uint8_t)(1u << (adder->integer % 8));
    struct writer w = writer_make(adder->context, sizeof adder->context);
    context_encode(&w, &past, reply->coordinator, shard_binding(test->world->nodes[node].shard, BYTES_LITERAL(key)));
    ASSERT(!w.failed);
    adder->context_size = reply->object == NULL ? 0 : w.size;
    world_call(test->world, now_ns, put, test, node);
    return;
  }
  if (adder->putting && reply->err == ERR_OK) {
    test->acknowledged[adder->integer] = true;
    test->result->acknowledged += 1;
  }
  world_call(test->world, now_ns + prng_below(&test->prng, 2 * PACE_NS), begin, test, node);
}

static void form(struct settest *test, bool lww) {
  struct world *world = test->world;
  struct shard_tunables tunables = {.request_timeout_ns = 3 * SECOND,
                                    .hedge_ns = SECOND / 10,
                                    .repair_window_ns = SECOND / 5,
                                    .heartbeat_ns = SECOND / 4,
                                    .gossip_ns = SECOND,
                                    .peer_timeout_ns = 3 * SECOND / 2,
                                    .small_value_bytes = 16384,
                                    .value_max_bytes = VALUE_MAX_BYTES_DEFAULT,
                                    .background = {.bytes_per_s = UINT64_C(64) << 20, .target_ns = UINT64_C(50000000)},
                                    .fold_records = HISTORY_FOLD_AT};
  for (uint32_t i = 0; i < NODES; i++) {
    (void)world_add_node(world, PARTITIONS, &tunables);
    process_start(world, i);
    world_run(world, world->now_ns + 3 * SECOND);
  }
  world_run(world, world->now_ns + 10 * SECOND);
  struct command command = {.kind = COMMAND_BUCKET_SET, .key = BYTES_LITERAL("set"), .props = bucket_props_default()};
  command.props.resolve = lww ? RESOLVE_LWW : RESOLVE_SIBLINGS;
  bool sent = world_command(world, 0, &command);
  ASSERT(sent);
  world_run(world, world->now_ns + 2 * SECOND);
}

static void part(struct world *world) {
  for (uint32_t a = 0; a < 2; a++) {
    for (uint32_t b = 2; b < NODES; b++) {
      network_cut_both(world, a, b);
    }
  }
}

static void read_set(struct settest *test) {
  test->reading = true;
  for (uint32_t i = 0; i < 2 * NODES || !test->read; i++) {
    struct command command = command_make(test, i % NODES, COMMAND_GET);
    ASSERT(i < 100 * NODES);
    command.r = 3;
    bool sent = world_command(test->world, i % NODES, &command);
    ASSERT(sent);
    world_run(test->world, test->world->now_ns + SECOND);
  }
}

void settest_run(uint64_t seed, bool lww, struct settest_result *result) {
  struct settest *test = calloc(1, sizeof *test);
  struct world *world = malloc(sizeof *world);
  ASSERT(test != NULL && world != NULL);
  *result = (struct settest_result){.added = 0};
  test->world = world;
  test->result = result;
  world_init(world, seed);
  prng_init(&test->prng, seed ^ 0x5e7);
  world->watch = (struct watch){.context = test, .replied = replied};
  form(test, lww);
  uint64_t third_ns = INTEGERS / NODES * PACE_NS / 3;
  for (uint32_t i = 0; i < NODES; i++) {
    world_call(world, world->now_ns + prng_below(&test->prng, PACE_NS), begin, test, i);
  }
  world_run(world, world->now_ns + third_ns);
  part(world);
  world_run(world, world->now_ns + third_ns);
  network_heal(world);
  for (uint32_t i = 0; i < 1000 && test->next < INTEGERS; i++) {
    world_run(world, world->now_ns + SECOND);
  }
  world_run(world, world->now_ns + 20 * SECOND);
  read_set(test);
  for (uint32_t i = 0; i < INTEGERS; i++) {
    bool there = (test->final[i / 8] >> (i % 8) & 1) != 0;
    result->lost += test->acknowledged[i] && !there ? 1 : 0;
  }
  world_deinit(world);
  free(world);
  free(test);
}

bool settest_measure(uint64_t first, uint64_t runs) {
  bool well = true;
  for (int lww = 0; lww <= 1; lww++) {
    uint64_t acknowledged = 0;
    uint64_t lost = 0;
    for (uint64_t i = 0; i < runs; i++) {
      struct settest_result result;
      settest_run(first + i, lww == 1, &result);
      acknowledged += result.acknowledged;
      lost += result.lost;
    }
    uint64_t per_100k = acknowledged == 0 ? 0 : lost * 100000 / acknowledged;
    printf("set test, %s: runs=%" PRIu64 " acknowledged=%" PRIu64 " lost=%" PRIu64 " (%" PRIu64 ".%03" PRIu64 " %%)\n",
           lww == 1 ? "last write wins" : "siblings", runs, acknowledged, lost, per_100k / 1000, per_100k % 1000);
    (void)fflush(stdout);
    well = well && acknowledged > 0 && (lww == 1 || lost == 0);
  }
  return well;
}
