/* The front without a node around it: connections that are buffers, and a core that is a naive table of objects and
 * answers when, and in the order in which, the test says.
 *
 * A get sees, and a put with a context changes, the table when it is *answered*, the latest moment at which a real
 * core might: so what the front promises about order it must bring about itself. Blind puts change it when they are
 * submitted, for the core keeps their order.
 *
 * Defines what the front takes from os/server.h and shard/shard.h, so their objects are not linked. One test program,
 * one world.
 */
#ifndef GRAMME_TEST_SUPPORT_FRONT_WORLD_H
#define GRAMME_TEST_SUPPORT_FRONT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hlc.h"
#include "base/prng.h"
#include "front/base64url.h"
#include "front/front.h"
#include "scrub/scrub.h"
#include "sync/sync.h"
#include "version/context.h"

#define WORLD_CLIENTS 8u
#define WORLD_COMMANDS 8192u
#define WORLD_OBJECTS 512u
#define WORLD_POOL_BYTES (8u << 20)
#define WORLD_SELF 0xa1u
#define WORLD_WALL_MS 1600000000000u
#define WORLD_OPTIONS 4u

struct client {
  void *data;
  uint64_t id;
  char address[32];
  uint8_t *in; /* not yet consumed */
  size_t in_size;
  uint8_t *out; /* not yet looked at by the test */
  size_t out_size;
  size_t queued; /* what client_queued says */
  bool open, paused, resumed, finishing;
};

struct world_command {
  struct command command; /* its bytes are our own */
  bool answered;
};

struct world_object {
  uint8_t key[256];
  size_t key_size;
  struct blob *blob; /* NULL: absent */
};

struct world_option {
  const char *name;
  char text[64];
};

struct world {
  struct front *front;
  struct client clients[WORLD_CLIENTS];
  uint32_t client_count;
  struct world_command commands[WORLD_COMMANDS];
  uint32_t command_count;
  struct world_object objects[WORLD_OBJECTS];
  uint32_t object_count;
  struct blob_pool pool;
  void *pool_memory;
  struct version_scratch *scratch;
  struct version_stats version_stats;
  struct hlc hlc;
  struct past past;
  struct history history;
  struct ring ring;
  struct layout_view layout;
  struct heartbeat health;
  struct candidate_view candidates[4];
  uint32_t candidate_count;
  struct bucket_table buckets;
  struct shard_stats stats;
  struct server_stats server;
  struct world_option options[WORLD_OPTIONS];
  bool down[MEMBERS_MAX]; /* by index into the ring's members */
  uint64_t now_ns, wall_ms;
  struct reply next; /* err, why, outcome of the next answers when err is set */
};

static struct world world;

static inline struct bytes text_bytes(const char *text) {
  return (struct bytes){(const uint8_t *)text, strlen(text)};
}

/* -- what the front takes from the server ------------------------------------------------- */

void *client_data(const struct client *client) {
  return client->data;
}

uint64_t client_id(const struct client *client) {
  return client->id;
}

const char *client_address(const struct client *client) {
  return client->address;
}

bool client_write(struct client *client, struct bytes bytes) {
  assert_true(client->open);
  assert_true(bytes.size > 0); /* nothing is written for nothing */
  if (client->finishing) {
    return false;
  }
  uint8_t *out = realloc(client->out, client->out_size + bytes.size);
  assert_non_null(out);
  client->out = out;
  memcpy(client->out + client->out_size, bytes.data, bytes.size);
  client->out_size += bytes.size;
  return true;
}

size_t client_queued(const struct client *client) {
  return client->queued;
}

void client_pause(struct client *client) {
  client->paused = true;
}

void client_resume(struct client *client) {
  client->resumed = client->resumed || client->paused;
  client->paused = false;
}

void client_close(struct client *client) {
  client->finishing = true;
}

void server_each(struct server *server, void (*each)(void *context, struct client *client), void *context) {
  (void)server;
  for (uint32_t i = 0; i < world.client_count; i++) {
    if (world.clients[i].open) {
      each(context, &world.clients[i]);
    }
  }
}

const struct server_stats *server_stats(struct server *server) {
  (void)server;
  return &world.server;
}

/* -- what it takes from the shard ------------------------------------------------------------- */

const struct ring *shard_ring(const struct shard *shard) {
  (void)shard;
  return &world.ring;
}

const struct ring *shard_reading_ring(const struct shard *shard) {
  (void)shard;
  return &world.ring;
}

const struct ring *shard_base_ring(const struct shard *shard) {
  (void)shard;
  return &world.ring;
}

uint32_t shard_sync_list(const struct shard *shard, struct sync_view *out, uint32_t capacity) {
  (void)shard;
  assert_true(capacity > 0);
  out[0] = (struct sync_view){.node = WORLD_SELF + 1u, .partitions = 40, .keys_differ = 3, .found = 5, .whole_ns = 1};
  return 1;
}

uint32_t shard_sync_differences(const struct shard *shard, struct sync_difference *out, uint32_t capacity) {
  (void)shard;
  assert_true(capacity >= 2);
  out[0] = (struct sync_difference){.partition = 7, .node = WORLD_SELF + 1u, .keys = 3};
  out[1] = (struct sync_difference){.partition = 9, .node = WORLD_SELF + 1u};
  return capacity + 10;
}

uint32_t shard_tree_left(const struct shard *shard) {
  (void)shard;
  return 125;
}

void shard_scrub(const struct shard *shard, struct scrub_view *out) {
  (void)shard;
  *out = (struct scrub_view){.running = true, .per_mille = 250, .left_ms = 90000, .whole_age_ms = 7000, .healing = 2};
}

uint64_t shard_wrote(const struct shard *shard) {
  (void)shard;
  return 31;
}

void shard_background(const struct shard *shard, struct admit_view *out) {
  (void)shard;
  *out =
      (struct admit_view){.level = 500,
                          .bytes_per_s = 32000000,
                          .p999_ns = 61234567,
                          .target_ns = 50000000,
                          .spent_bytes = {[ADMIT_EXCHANGE] = 4711, [ADMIT_HINTS] = world.stats.hints_delivered * 300}};
}

void shard_layout(const struct shard *shard, struct layout_view *out) {
  (void)shard;
  *out = world.layout;
}

uint32_t shard_candidates(const struct shard *shard, struct candidate_view *out, uint32_t capacity) {
  (void)shard;
  assert_true(world.candidate_count <= capacity);
  memcpy(out, world.candidates, world.candidate_count * sizeof(out[0]));
  return world.candidate_count;
}

const struct heartbeat *shard_health(const struct shard *shard) {
  (void)shard;
  return &world.health;
}

const struct history *shard_history(const struct shard *shard) {
  (void)shard;
  return &world.history;
}

const struct bucket_table *shard_buckets(const struct shard *shard) {
  (void)shard;
  return &world.buckets;
}

const struct shard_stats *shard_stats(const struct shard *shard) {
  (void)shard;
  return &world.stats;
}

struct context_binding shard_binding(const struct shard *shard, struct bytes key) {
  struct position position = position_of_key(key);
  (void)shard;
  return (struct context_binding){77, position.high, position.low};
}

uint32_t shard_members(const struct shard *shard, struct member_view *out, uint32_t capacity) {
  uint32_t count = world.ring.member_count < capacity ? world.ring.member_count : capacity;
  (void)shard;
  for (uint32_t i = 0; i < count; i++) {
    out[i] = (struct member_view){.node = world.ring.members[i].node, .up = !world.down[i]};
    out[i].self = out[i].node == WORLD_SELF;
    out[i].last_heard_ns = out[i].self ? 0 : world.now_ns - 120000000u;
    out[i].heartbeat.keys = 7;
    out[i].heartbeat.sealed = 1;
  }
  return count;
}

bool shard_is_member(const struct shard *shard) {
  (void)shard;
  return ring_find(&world.ring, WORLD_SELF) >= 0;
}

bool shard_takes_changes(const struct shard *shard) {
  (void)shard;
  return ring_find(&world.ring, WORLD_SELF) >= 0;
}

const char *shard_join_refusal(const struct shard *shard) {
  (void)shard;
  return NULL;
}

/* -- the core ------------------------------------------------------------------------------------- */

static inline struct world_object *world_object(struct bytes key) {
  for (uint32_t i = 0; i < world.object_count; i++) {
    struct world_object *object = &world.objects[i];
    if (bytes_equal((struct bytes){object->key, object->key_size}, key)) {
      return object;
    }
  }
  assert_true(world.object_count < WORLD_OBJECTS);
  assert_true(key.size <= sizeof(world.objects[0].key));
  struct world_object *object = &world.objects[world.object_count++];
  memcpy(object->key, key.data, key.size);
  object->key_size = key.size;
  object->blob = NULL;
  return object;
}

/* Puts, and leaves in world.past what the writer has then seen. */
static inline enum err world_put(const struct command *command) {
  struct world_object *object = world_object(command->key);
  uint32_t coordinator = 0;
  struct put put = {
      .dot = {.actor = {.node = WORLD_SELF, .incarnation = 9}, .time = hlc_tick(&world.hlc, world.wall_ms)},
      .contiguous = true,
      .tombstone = command->tombstone,
      .keep_expiry = command->keep_expiry,
      .expires_at_ms = command->expires_at_ms,
      .value = command->value,
      .sibling_max = 64,
  };
  past_init(&world.past);
  if (command->context.size > 0) {
    enum err err = context_decode(command->context, shard_binding(NULL, command->key), &world.past, &coordinator);
    if (err != ERR_OK) {
      return err;
    }
  }
  put.context = command->blind ? NULL : &world.past;
  struct blob *after = NULL;
  enum err err = object_put(world.scratch, &world.pool, object->blob, &put, &world.version_stats, &after);
  assert_int_equal(err, ERR_OK);
  blob_put(object->blob);
  object->blob = after;
  struct object opened;
  err = object_open(&opened, blob_bytes(after));
  assert_int_equal(err, ERR_OK);
  object_past(&opened, &world.past);
  return ERR_OK;
}

static inline struct bytes bytes_own(struct bytes bytes) {
  uint8_t *copy = malloc(bytes.size + 1);
  assert_non_null(copy);
  if (bytes.size > 0) {
    memcpy(copy, bytes.data, bytes.size);
  }
  return (struct bytes){copy, bytes.size};
}

static inline void world_submit(void *context, const struct command *command) {
  (void)context;
  assert_true(world.command_count < WORLD_COMMANDS);
  struct world_command *taken = &world.commands[world.command_count++];
  taken->answered = false;
  taken->command = *command;
  taken->command.key = bytes_own(command->key);
  taken->command.value = bytes_own(command->value);
  taken->command.context = bytes_own(command->context);
  if (command->kind == COMMAND_CHANGE) {
    size_t size = command->change_count * sizeof(command->changes[0]);
    struct bytes copy = bytes_own((struct bytes){(const uint8_t *)command->changes, size});
    taken->command.changes = (const struct change *)(const void *)copy.data;
  }
  if (command->kind == COMMAND_PUT && command->blind && world.next.err == ERR_OK) {
    assert_int_equal(world_put(command), ERR_OK);
  }
}

/* All of the changes or none, as the core does it. */
static inline enum err world_change(const struct command *command) {
  if (command->history_digest != history_digest(&world.history)) {
    return ERR_STALE;
  }
  for (uint32_t i = 0; i < command->change_count; i++) {
    struct change change = command->changes[i];
    change.time = world.history.changes[world.history.count - 1].time + 1;
    change.issuer = WORLD_SELF;
    assert_int_equal(history_add(&world.history, &change), ERR_OK);
  }
  ring_fold(&world.ring, &world.history);
  return ERR_OK;
}

static inline void free_bytes(struct bytes bytes) {
  free((void *)(uintptr_t)bytes.data);
}

/* Answers command `index`, by the order of submission. */
static inline void world_answer(uint32_t index) {
  assert_true(index < world.command_count);
  struct world_command *taken = &world.commands[index];
  assert_false(taken->answered);
  taken->answered = true;
  const struct command *command = &taken->command;
  struct reply reply = world.next;
  uint8_t context[4096];
  struct writer w = writer_make(context, sizeof(context));
  reply.token = command->token;
  reply.coordinator = WORLD_SELF;
  if (reply.err == ERR_OK && command->kind == COMMAND_CHANGE) {
    reply.err = world_change(command);
  } else if (reply.err == ERR_OK && command->kind == COMMAND_GET) {
    reply.object = world_object(command->key)->blob;
  } else if (reply.err == ERR_OK && command->kind == COMMAND_PUT) {
    reply.err = command->blind ? ERR_OK : world_put(command);
    context_encode(&w, &world.past, WORLD_SELF, shard_binding(NULL, command->key));
    assert_false(w.failed);
    reply.context = writer_bytes(&w);
  }
  front_reply(world.front, &reply);
}

static inline uint32_t world_open_commands(void) {
  uint32_t open = 0;
  for (uint32_t i = 0; i < world.command_count; i++) {
    open += world.commands[i].answered ? 0 : 1;
  }
  return open;
}

/* -- services ------------------------------------------------------------------------------------------ */

static inline const struct shard *world_shard(void *context) {
  (void)context;
  return NULL;
}

static inline void world_store_statistics(void *context, struct store_statistics *statistics) {
  (void)context;
  *statistics = (struct store_statistics){.keys = 7, .bytes = 700, .free_bytes = UINT64_MAX};
}

static inline uint64_t world_now_ns(void *context) {
  (void)context;
  return world.now_ns;
}

static inline uint64_t world_wall_ms(void *context) {
  (void)context;
  return world.wall_ms;
}

static inline struct world_option *world_option(const char *name) {
  for (uint32_t i = 0; i < WORLD_OPTIONS; i++) {
    if (strcmp(world.options[i].name, name) == 0) {
      return &world.options[i];
    }
  }
  return NULL;
}

static inline bool world_config_get(void *context, const char *name, char *text) {
  const struct world_option *option = world_option(name);
  (void)context;
  if (option != NULL) {
    snprintf(text, FRONT_CONFIG_TEXT, "%s", option->text);
  }
  return option != NULL;
}

static inline bool world_config_set(void *context, const char *name, const char *value, char *why) {
  struct world_option *option = world_option(name);
  (void)context;
  if (option == NULL || strcmp(value, "bad") == 0) {
    snprintf(why, FRONT_CONFIG_WHY, "%s must not be bad", name);
    return false;
  }
  snprintf(option->text, sizeof(option->text), "%s", value);
  if (strcmp(name, "requirepass") == 0) {
    front_set_password(world.front, value);
  }
  return true;
}

static inline const char *world_config_name(void *context, uint32_t index) {
  (void)context;
  return index < WORLD_OPTIONS ? world.options[index].name : NULL;
}

static inline struct node_facts world_facts(void *context) {
  (void)context;
  return (struct node_facts){.node = WORLD_SELF,
                             .name = "a",
                             .cluster_name = "test",
                             .engine = "memory",
                             .directory = "/nowhere",
                             .start_wall_ms = WORLD_WALL_MS - 5000,
                             .incarnation = 9,
                             .background_bytes_per_s = 64u << 20};
}

static inline struct server *world_server(void *context) {
  (void)context;
  return NULL;
}

/* -- building it --------------------------------------------------------------------------------------------- */

/* Nodes a, b, c ...: ids a1, a2, a3 ..., ports 7600, 7601, ... This one is a. */
static inline void world_ring(uint32_t members, uint32_t partitions) {
  history_init(&world.history);
  for (uint32_t i = 0; i < members; i++) {
    struct change change = {.time = i + 1,
                            .issuer = WORLD_SELF,
                            .kind = i == 0 ? CHANGE_FOUND : CHANGE_ADD,
                            .node = WORLD_SELF + i,
                            .weight = 100,
                            .partition_count = i == 0 ? partitions : 0,
                            .client_port = (uint16_t)(7600 + i),
                            .peer_port = (uint16_t)(17600 + i)};
    snprintf(change.host, sizeof(change.host), "127.0.0.1");
    snprintf(change.name, sizeof(change.name), "%c", (char)('a' + i));
    enum err err = history_add(&world.history, &change);
    assert_int_equal(err, ERR_OK);
  }
  ring_fold(&world.ring, &world.history);
  assert_int_equal(world.ring.member_count, members);
}

/* Node d, e ...: it runs, and waits to be added. */
static inline void world_candidate(char letter) {
  assert_true(world.candidate_count < 4);
  uint32_t number = (uint32_t)(letter - 'a');
  struct candidate_view *view = &world.candidates[world.candidate_count++];
  *view = (struct candidate_view){.change = {.kind = CHANGE_ADD,
                                             .node = WORLD_SELF + number,
                                             .weight = 100,
                                             .client_port = (uint16_t)(7600 + number),
                                             .peer_port = (uint16_t)(17600 + number)}};
  snprintf(view->change.host, sizeof(view->change.host), "127.0.0.1");
  snprintf(view->change.name, sizeof(view->change.name), "%c", letter);
}

static inline void world_begin(void) {
  static const char *const names[WORLD_OPTIONS] = {"requirepass", "secret", "port", "max-clients"};
  static const char *const texts[WORLD_OPTIONS] = {"", "s3cret", "7600", "10000"};
  memset(&world, 0, sizeof(world));
  world.now_ns = 1000000000u;
  world.wall_ms = WORLD_WALL_MS;
  world.pool_memory = aligned_alloc(64, WORLD_POOL_BYTES);
  world.scratch = aligned_alloc(64, (version_scratch_size() + 63u) / 64u * 64u);
  assert_non_null(world.pool_memory);
  assert_non_null(world.scratch);
  blob_pool_init(&world.pool, world.pool_memory, WORLD_POOL_BYTES);
  hlc_init(&world.hlc, 0);
  bucket_table_init(&world.buckets);
  world_ring(3, 64);
  for (uint32_t i = 0; i < WORLD_OPTIONS; i++) {
    world.options[i].name = names[i];
    snprintf(world.options[i].text, sizeof(world.options[i].text), "%s", texts[i]);
  }
  const struct front_services services = {
      .submit = world_submit,
      .shard = world_shard,
      .store_statistics = world_store_statistics,
      .now_ns = world_now_ns,
      .wall_ms = world_wall_ms,
      .config_get = world_config_get,
      .config_set = world_config_set,
      .config_name = world_config_name,
      .facts = world_facts,
      .server = world_server,
  };
  const struct front_options options = {.requirepass = "", .value_max_bytes = VALUE_MAX_BYTES_DEFAULT};
  world.front = front_new(&services, &options);
  assert_non_null(world.front);
}

static inline struct client *world_connect(void) {
  assert_true(world.client_count < WORLD_CLIENTS);
  struct client *client = &world.clients[world.client_count++];
  *client = (struct client){.open = true};
  const struct server_handler *handler = front_handler(world.front);
  client->id = world.client_count;
  snprintf(client->address, sizeof(client->address), "127.0.0.1:%u", 40000 + world.client_count);
  client->data = handler->opened(handler->context, client);
  assert_non_null(client->data);
  return client;
}

static inline void world_disconnect(struct client *client) {
  const struct server_handler *handler = front_handler(world.front);
  assert_true(client->open);
  handler->closed(handler->context, client);
  client->open = false;
  free(client->in);
  free(client->out);
  client->in = client->out = NULL;
  client->in_size = client->out_size = 0;
}

/* No clients, no commands, no objects; the front stays. */
static inline void world_clear(void) {
  for (uint32_t i = 0; i < world.client_count; i++) {
    if (world.clients[i].open) {
      world_disconnect(&world.clients[i]);
    }
  }
  for (uint32_t i = 0; i < world.command_count; i++) {
    if (!world.commands[i].answered) {
      world_answer(i); /* late: nobody waits for it */
    }
    free_bytes(world.commands[i].command.key);
    free_bytes(world.commands[i].command.value);
    free_bytes(world.commands[i].command.context);
    free((void *)(uintptr_t)world.commands[i].command.changes);
  }
  for (uint32_t i = 0; i < world.object_count; i++) {
    blob_put(world.objects[i].blob);
  }
  assert_int_equal(world.pool.used_bytes, 0);
  world.client_count = world.command_count = world.object_count = 0;
}

/* Everything is given back: the sanitizer and these assertions see what is not. */
static inline void world_end(void) {
  world_clear();
  front_free(world.front);
  free(world.pool_memory);
  free(world.scratch);
}

/* -- driving it -------------------------------------------------------------------------------------------------- */

static inline void world_show(struct client *client) {
  const struct server_handler *handler = front_handler(world.front);
  client->resumed = false;
  if (!client->open || client->finishing || client->paused || client->in_size == 0) {
    return;
  }
  uint8_t *exact = malloc(client->in_size); /* of exactly that size: a read past its end is seen */
  assert_non_null(exact);
  memcpy(exact, client->in, client->in_size);
  size_t used = handler->data(handler->context, client, (struct bytes){exact, client->in_size});
  free(exact);
  assert_true(used <= client->in_size);
  client->in_size -= used;
  memmove(client->in, client->in + used, client->in_size);
}

/* Shows resumed clients what they have not consumed, until none is left. */
static inline void world_run(void) {
  for (bool again = true; again;) {
    again = false;
    for (uint32_t i = 0; i < world.client_count; i++) {
      if (world.clients[i].resumed) {
        world_show(&world.clients[i]);
        again = true;
      }
    }
  }
}

static inline void world_send_bytes(struct client *client, struct bytes bytes) {
  uint8_t *in = realloc(client->in, client->in_size + bytes.size + 1);
  assert_non_null(in);
  client->in = in;
  memcpy(client->in + client->in_size, bytes.data, bytes.size);
  client->in_size += bytes.size;
  world_show(client);
  world_run();
}

static inline void world_send(struct client *client, const char *text) {
  world_send_bytes(client, text_bytes(text));
}

/* Answers all there is to answer, and what comes of that, oldest or latest first. */
static inline void world_settle(bool latest_first) {
  for (;;) {
    uint32_t open = world.command_count;
    for (uint32_t i = 0; i < world.command_count && (latest_first || open == world.command_count); i++) {
      open = world.commands[i].answered ? open : i;
    }
    if (open == world.command_count) {
      return;
    }
    world_answer(open);
    world_run();
  }
}

/* What was written to the client since the last look. */
static inline void assert_reply_bytes(struct client *client, struct bytes expected) {
  if (client->out_size != expected.size || memcmp(client->out, expected.data, expected.size) != 0) {
    print_error("expected: %.*s\n     got: %.*s\n", (int)expected.size, (const char *)expected.data,
                (int)client->out_size, (const char *)client->out);
  }
  assert_int_equal(client->out_size, expected.size);
  assert_memory_equal(client->out, expected.data, expected.size);
  client->out_size = 0;
}

static inline void assert_reply(struct client *client, const char *expected) {
  if (client->out_size == 0) {
    assert_string_equal("", expected);
    return;
  }
  assert_reply_bytes(client, text_bytes(expected));
}

/* -- for tests -- */

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

static inline int world_setup(void **state) {
  (void)state;
  world_begin();
  return 0;
}

static inline int world_teardown(void **state) {
  (void)state;
  world_end();
  return 0;
}

/* One request, all answers, the reply. */
static inline void check(struct client *client, const char *request, const char *reply) {
  world_send(client, request);
  world_settle(false);
  assert_reply(client, reply);
}

static inline struct client *connect_resp3(void) {
  struct client *client = world_connect();
  world_send(client, "HELLO 3\r\n");
  client->out_size = 0;
  return client;
}

static inline bool contains(const struct client *client, const char *text) {
  return memmem(client->out, client->out_size, text, strlen(text)) != NULL;
}

#endif
