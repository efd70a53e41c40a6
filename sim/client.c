#include "client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "base/assert.h"
#include "version/context.h"

#define MILLISECOND UINT64_C(1000000)
#define CONTEXT_ROOM CONTEXT_MAX_BYTES
#define MEMORY 4u /* contexts that a client remembers */
#define NOBODY UINT32_MAX
#define VALUE_ROOM 262144u
#define COLD_NS (4000 * MILLISECOND)
#define LOADS 40u
#define LOAD_NS (100 * MILLISECOND)
#define LATE_NS (200 * MILLISECOND) /* more than `request-timeout` that an answer may take */

/* What a client has seen of a key. */
struct knowledge {
  uint32_t key;
  size_t size;
  uint8_t context[CONTEXT_ROOM];
  struct siblings seen;
};

struct request {
  uint32_t client; /* NOBODY: a probe */
  uint32_t node, life, pauses;
  uint64_t sent_ns;
  uint32_t key;
  uint32_t number; /* of its put; 0: a get */
  uint32_t answers;
  uint8_t wanted;    /* replicas that must answer, at the least */
  uint8_t primaries; /* a get: replicas rather than stand-ins */
  bool given_up;
};

struct client {
  uint64_t token; /* of the request that it waits for, 0 none */
  uint32_t home;
  bool has_read;  /* `now` is of its last get and has not been used */
  uint32_t again; /* times that it still tries what has failed */
  struct knowledge now;
  struct knowledge before[MEMORY];
  uint32_t turn;
};

struct clients {
  struct run *run;
  struct prng prng;
  uint64_t stop_ns;
  struct client *list;
  struct request *requests; /* by token, from 1 */
  uint64_t request_count, request_capacity;
  struct clients_totals totals;
  struct probe *probe; /* waited for, by this token */
  uint64_t probe_token;
  uint64_t cold_ns;              /* since when every other key is only loaded */
  uint32_t loads[RUN_NODES_MAX]; /* so many times more all keys are read through that node */
  struct knowledge probed[PLAN_KEYS_MAX];
  uint8_t value[VALUE_ROOM];
};

static bool habit(struct clients *clients, enum feature feature, uint32_t per_mille) {
  bool drawn = prng_chance(&clients->prng, per_mille);
  return drawn && clients->run->plan.on[feature];
}

static struct request *request_of(struct clients *clients, uint64_t token) {
  return token >= 1 && token <= clients->request_count ? &clients->requests[token] : NULL;
}

static void knowledge_set(struct knowledge *knowledge, uint32_t key) {
  knowledge->key = key;
  knowledge->size = 0;
  knowledge->seen.count = 0;
}

static void knowledge_copy(struct knowledge *to, const struct knowledge *from) {
  to->key = from->key;
  to->size = from->size;
  memcpy(to->context, from->context, from->size);
  siblings_copy(&to->seen, &from->seen);
}

/* -- asking ------------------------------------------------------------------------------ */

static void act(void *context, uint64_t argument);
static void note_reads(struct clients *clients, uint64_t token, const struct command *command);

static void act_later(struct clients *clients, uint32_t index, uint64_t least_ns) {
  uint64_t pause_ns = least_ns + prng_below(&clients->prng, clients->run->plan.think_max_ns + 1);
  world_call(clients->run->world, clients->run->world->now_ns + pause_ns, act, clients, index);
}

static void give_up(void *context, uint64_t token) {
  struct clients *clients = context;
  struct request *request = request_of(clients, token);
  struct client *client = &clients->list[request->client];
  if (client->token != token) {
    return;
  }
  client->token = 0;
  request->given_up = true;
  if (request->number != 0 && request->answers == 0) {
    oracle_put_done(&clients->run->oracle, request->number, FATE_UNKNOWN);
    clients->totals.unknown += 1;
    story_tell(clients->run->story, request->key, "client %" PRIu32 " gives up on put %" PRIu32, request->client + 1,
               request->number);
  }
  act_later(clients, request->client, 0);
}

static uint64_t request_new(struct clients *clients, uint32_t client, uint32_t node, uint32_t key, uint32_t number) {
  if (clients->request_count + 1 >= clients->request_capacity) {
    clients->request_capacity = clients->request_capacity == 0 ? 1024 : 2 * clients->request_capacity;
    clients->requests = realloc(clients->requests, clients->request_capacity * sizeof clients->requests[0]);
    ASSERT(clients->requests != NULL);
  }
  const struct world *world = clients->run->world;
  clients->request_count += 1;
  clients->requests[clients->request_count] = (struct request){.client = client,
                                                               .node = node,
                                                               .life = world->nodes[node].life,
                                                               .pauses = world->nodes[node].pauses,
                                                               .sent_ns = world->now_ns,
                                                               .key = key,
                                                               .number = number};
  return clients->request_count;
}

/* Clients know some node that may be no member yet, or none any more; they seldom ask such a one. */
static uint32_t any_node(struct clients *clients) {
  const struct world *world = clients->run->world;
  uint32_t node = (uint32_t)prng_below(&clients->prng, world->node_count);
  for (uint32_t tries = 0; tries < 6 && plan_changes_members(&clients->run->plan); tries++) {
    if (world->nodes[node].alive && shard_is_member(world->nodes[node].shard)) {
      break;
    }
    node = (uint32_t)prng_below(&clients->prng, world->node_count);
  }
  return node;
}

static uint32_t choose_node(struct clients *clients, const struct client *client) {
  uint32_t any = any_node(clients);
  return clients->run->plan.on[FEATURE_loyal] ? client->home : any;
}

static void ask(struct clients *clients, uint32_t index, uint32_t number, struct command *command) {
  struct client *client = &clients->list[index];
  struct run *run = clients->run;
  uint32_t key = client->now.key;
  uint32_t node = choose_node(clients, client);
  uint64_t token = request_new(clients, index, node, key, number);
  command->token = token;
  client->token = token;
  if (number == 0) {
    note_reads(clients, token, command);
  } else {
    struct version *version = &run->oracle.versions[number];
    version->ignorant = oracle_is_ignorant(&run->oracle, node, key);
    clients->requests[token].wanted = version->w > version->pw ? version->w : version->pw;
  }
  uint64_t patience_ns = run->plan.tunables.request_timeout_ns + 2 * LATE_NS;
  if (run->plan.on[FEATURE_giveup]) {
    patience_ns = run->plan.patience_ns < patience_ns ? run->plan.patience_ns : patience_ns;
  }
  if (number != 0 && run->story != NULL) {
    story_tell(run->story, key, "client %" PRIu32 " to node %" PRIu32 ": put %" PRIu32 "%s%s of %s, having seen %s",
               index + 1, node + 1, number, command->blind ? " (blind)" : "", command->tombstone ? " (a deletion)" : "",
               run->oracle.keys[key].text, siblings_text(&client->now.seen));
  }
  world_call(run->world, run->world->now_ns + patience_ns, give_up, clients, token);
  if (world_command(run->world, node, command)) {
    return;
  }
  client->token = 0;
  clients->requests[token].answers = 1; /* it reached nobody */
  if (number != 0) {
    story_tell(run->story, key, "put %" PRIu32 " reaches nobody", number);
    oracle_put_done(&run->oracle, number, FATE_REFUSED);
  }
  client->home = any_node(clients);
  act_later(clients, index, 20 * MILLISECOND);
}

static struct command command_make(const struct clients *clients, enum command_kind kind, uint32_t key) {
  struct bytes store_key = clients->run->oracle.keys[key].store_key;
  return (struct command){
      .kind = kind,
      .key = {store_key.data + POSITION_BYTES, store_key.size - POSITION_BYTES},
      .r = QUORUM_DEFAULT,
      .pr = QUORUM_DEFAULT,
      .w = QUORUM_DEFAULT,
      .pw = QUORUM_DEFAULT,
      .dw = QUORUM_DEFAULT,
  };
}

static void choose_quorums(struct clients *clients, uint32_t key, struct command *command) {
  uint8_t n = clients->run->oracle.keys[key].props.n;
  if (!habit(clients, FEATURE_quorums, clients->run->plan.quorums_per_mille)) {
    return;
  }
  uint64_t draws = prng_u64(&clients->prng);
  command->r = (draws & 1) != 0 ? (uint8_t)(1 + prng_below(&clients->prng, n)) : QUORUM_DEFAULT;
  command->pr = (draws & 2) != 0 ? (uint8_t)prng_below(&clients->prng, n + 1u) : QUORUM_DEFAULT;
  command->w = (draws & 4) != 0 ? (uint8_t)(1 + prng_below(&clients->prng, n)) : QUORUM_DEFAULT;
  command->pw = (draws & 8) != 0 ? (uint8_t)prng_below(&clients->prng, n + 1u) : QUORUM_DEFAULT;
  uint8_t w = command->w == QUORUM_DEFAULT ? clients->run->oracle.keys[key].props.w : command->w;
  command->dw = (draws & 16) != 0 ? (uint8_t)prng_below(&clients->prng, w + 1u) : QUORUM_DEFAULT;
}

/* R and W primaries that have one in common. */
static void choose_strict(struct clients *clients, uint32_t key, struct command *command) {
  uint8_t n = clients->run->oracle.keys[key].props.n;
  if (!clients->run->plan.on[FEATURE_strict]) {
    return;
  }
  uint8_t r = (uint8_t)(1 + (clients->run->plan.seed + key) % n);
  command->r = command->pr = r;
  command->w = command->pw = command->dw = (uint8_t)(n + 1 - r);
}

/* What of it a get must reach. */
static void note_reads(struct clients *clients, uint64_t token, const struct command *command) {
  struct request *request = request_of(clients, token);
  const struct bucket_props *props = &clients->run->oracle.keys[request->key].props;
  uint8_t r = command->r == QUORUM_DEFAULT ? props->r : command->r;
  request->primaries = command->pr == QUORUM_DEFAULT ? props->pr : command->pr;
  request->wanted = r > request->primaries ? r : request->primaries;
}

/* The quorums that a put must reach, as the bucket and the request say. */
static void note_quorums(struct clients *clients, uint32_t number, const struct command *command) {
  struct oracle *oracle = &clients->run->oracle;
  struct version *version = &oracle->versions[number];
  const struct bucket_props *props = &oracle->keys[version->key].props;
  version->w = command->w == QUORUM_DEFAULT ? props->w : command->w;
  version->pw = command->pw == QUORUM_DEFAULT ? props->pw : command->pw;
  version->dw = command->dw == QUORUM_DEFAULT ? props->dw : command->dw;
  if (version->dw == DW_ALL || version->dw > version->w) {
    version->dw = version->w;
  }
  oracle->loose = oracle->loose || version->dw == 0;
}

/* More large values of one key could become siblings of some megabytes, which every message carries: the run would not
 * come to an end. */
#define LARGE_OF_KEY_MAX 128u

static void fill_value(struct clients *clients, uint32_t number, bool tombstone, struct command *command) {
  const struct plan *plan = &clients->run->plan;
  uint32_t size = 4 + (uint32_t)prng_below(&clients->prng, 32);
  uint32_t large = plan->tunables.small_value_bytes +
                   (uint32_t)prng_below(&clients->prng, 1 + 2u * plan->tunables.small_value_bytes);
  const struct oracle *oracle = &clients->run->oracle;
  bool room = oracle->keys[oracle->versions[number].key].version_count <= LARGE_OF_KEY_MAX;
  size = habit(clients, FEATURE_large, plan->large_per_mille) && room ? large : size;
  size = tombstone ? 0 : (size < 4 ? 4 : size);
  struct writer w = writer_make(clients->value, VALUE_ROOM);
  write_u32(&w, number);
  command->value = (struct bytes){clients->value, size};
  command->tombstone = tombstone;
  command->expires_at_ms = oracle_expiry_ms(number);
  clients->run->oracle.versions[number].size = size;
  clients->run->oracle.versions[number].tombstone = tombstone;
  if (tombstone) {
    clients->totals.deletes += 1;
  }
}

/* Puts what `now` knows of its key. */
static void put(struct clients *clients, uint32_t index, bool blind) {
  struct client *client = &clients->list[index];
  uint32_t key = client->now.key;
  struct command command = command_make(clients, COMMAND_PUT, key);
  uint32_t number = oracle_put(&clients->run->oracle, key, &client->now.seen, blind);
  clients->run->oracle.versions[number].client = index;
  clients->totals.puts += 1;
  bool tombstone = habit(clients, FEATURE_delete, clients->run->plan.delete_per_mille);
  choose_quorums(clients, key, &command);
  choose_strict(clients, key, &command);
  note_quorums(clients, number, &command);
  fill_value(clients, number, tombstone, &command);
  command.blind = blind;
  command.context = (struct bytes){client->now.context, client->now.size};
  ask(clients, index, number, &command);
}

static void get(struct clients *clients, uint32_t index, uint32_t key) {
  struct client *client = &clients->list[index];
  knowledge_set(&client->now, key);
  struct command command = command_make(clients, COMMAND_GET, key);
  choose_quorums(clients, key, &command);
  choose_strict(clients, key, &command);
  clients->totals.gets += 1;
  ask(clients, index, 0, &command);
}

static void act(void *context, uint64_t argument) {
  struct clients *clients = context;
  const struct plan *plan = &clients->run->plan;
  uint32_t index = (uint32_t)argument;
  struct client *client = &clients->list[index];
  if (clients->run->world->now_ns >= clients->stop_ns || client->token != 0) {
    return;
  }
  if (client->has_read || client->again > 0) {
    client->has_read = false;
    put(clients, index, false);
    return;
  }
  uint32_t key = (uint32_t)prng_below(&clients->prng, clients->run->oracle.key_count);
  key = habit(clients, FEATURE_hot, plan->hot_per_mille) ? 0 : key;
  key -= plan->on[FEATURE_load] && clients->run->world->now_ns > clients->cold_ns ? key % 2 : 0;
  bool blind = habit(clients, FEATURE_blind, plan->blind_per_mille);
  bool ignorant = habit(clients, FEATURE_ignorant, plan->ignorant_per_mille);
  bool stale = habit(clients, FEATURE_stale, plan->stale_per_mille);
  bool chain = habit(clients, FEATURE_chain, plan->chain_per_mille);
  const struct knowledge *old = &client->before[prng_below(&clients->prng, MEMORY)];
  if (blind || ignorant) {
    knowledge_set(&client->now, key);
    put(clients, index, blind);
  } else if (stale && old->size > 0) {
    knowledge_copy(&client->now, old);
    put(clients, index, false);
  } else if (chain && client->now.size > 0) {
    put(clients, index, false);
  } else {
    get(clients, index, key);
  }
}

/* -- answers -------------------------------------------------------------------------------- */

/* What the front makes of a get's object. */
static void learn_get(struct clients *clients, uint32_t node, uint32_t key, const struct reply *reply,
                      struct knowledge *out) {
  struct oracle *oracle = &clients->run->oracle;
  static struct past past;
  knowledge_set(out, key);
  if (reply->object == NULL) {
    return;
  }
  struct object object;
  enum err err = object_open(&object, blob_bytes(reply->object));
  ASSERT(err == ERR_OK);
  object_past(&object, &past);
  struct writer w = writer_make(out->context, sizeof out->context);
  struct bytes store_key = oracle->keys[key].store_key;
  struct bytes text = {store_key.data + POSITION_BYTES, store_key.size - POSITION_BYTES};
  context_encode(&w, &past, reply->coordinator, shard_binding(clients->run->world->nodes[node].shard, text));
  ASSERT(!w.failed);
  out->size = w.size;
  whole_saw(clients->run, node, key, "shows", blob_bytes(reply->object));
  oracle_parse(oracle, key, blob_bytes(reply->object), &out->seen);
}

static void remember(struct client *client) {
  if (client->now.size > 0) {
    knowledge_copy(&client->before[client->turn], &client->now);
    client->turn = (client->turn + 1) % MEMORY;
  }
}

static void put_answered(struct clients *clients, const struct request *request, struct knowledge *knowledge,
                         const struct reply *reply) {
  struct run *run = clients->run;
  struct version *version = &run->oracle.versions[request->number];
  bool ok = reply->err == ERR_OK;
  version->err = reply->err;
  oracle_put_done(&run->oracle, request->number, ok ? FATE_ACKED : FATE_REFUSED);
  if (ok) {
    clients->totals.acked += 1;
    quorum_put(run, request->number, request->sent_ns);
    move_put_acked(run, request->number);
  } else {
    clients->totals.refused += 1;
    refused_put(run, request->number);
  }
  story_tell(run->story, request->key, "node %" PRIu32 " answers put %" PRIu32 ": %s", request->node + 1,
             request->number, err_code(reply->err));
  if (ok && knowledge != NULL && reply->context.size <= CONTEXT_ROOM) {
    memcpy(knowledge->context, reply->context.data, reply->context.size);
    knowledge->size = reply->context.size;
    siblings_add(&knowledge->seen, request->number);
  }
}

static void get_answered(struct clients *clients, const struct request *request, struct knowledge *knowledge,
                         const struct reply *reply) {
  struct run *run = clients->run;
  struct knowledge *into = knowledge != NULL ? knowledge : &clients->probed[request->key];
  if (reply->err != ERR_OK) {
    return;
  }
  learn_get(clients, request->node, request->key, reply, into);
  causal_read(run, request->key, &into->seen);
  dead_read(run, request->node, request->key, &into->seen);
  move_read(run, request->node, request->key, request->sent_ns, request->primaries, &into->seen);
  if (run->story != NULL) {
    story_tell(run->story, request->key, "node %" PRIu32 " answers a get: %s", request->node + 1,
               siblings_text(&into->seen));
  }
}

/* Was it in time? Only a node that ran all the while owes that. */
static void check_in_time(struct clients *clients, const struct request *request, uint64_t token) {
  struct run *run = clients->run;
  const struct node *node = &run->world->nodes[request->node];
  uint64_t most_ns = run->plan.tunables.request_timeout_ns + LATE_NS;
  run->checks.looked[CHECK_once] += 1;
  if (request->answers > 1) {
    check_fail(run, CHECK_once, request->key, "request %" PRIu64 " was answered %" PRIu32 " times", token,
               request->answers);
  }
  if (node->pauses == request->pauses && run->world->now_ns - request->sent_ns > most_ns) {
    check_fail(run, CHECK_once, request->key, "request %" PRIu64 " was answered after %" PRIu64 " ms", token,
               (run->world->now_ns - request->sent_ns) / MILLISECOND);
  }
}

static void probe_answered(struct clients *clients, const struct request *request, const struct reply *reply) {
  if (request->number != 0) {
    put_answered(clients, request, NULL, reply);
  } else {
    get_answered(clients, request, NULL, reply);
  }
  if (clients->probe != NULL && reply->token == clients->probe_token) {
    clients->probe->answered = true;
    clients->probe->err = reply->err;
    if (request->number == 0 && reply->err == ERR_OK) {
      siblings_copy(&clients->probe->siblings, &clients->probed[request->key].seen);
    }
  }
}

void clients_replied(struct clients *clients, uint32_t node, const struct reply *reply) {
  struct request *request = request_of(clients, reply->token);
  if (request == NULL) {
    return; /* the setting of a bucket, or a change of membership */
  }
  ASSERT(request->node == node);
  request->answers += 1;
  check_in_time(clients, request, reply->token);
  if (request->answers > 1) {
    return;
  }
  if (request->client == NOBODY) {
    probe_answered(clients, request, reply);
    return;
  }
  struct client *client = &clients->list[request->client];
  move_answered(clients->run, node, request->key, request->sent_ns, request->wanted, reply->err);
  bool waits = client->token == reply->token;
  if (request->number != 0) {
    put_answered(clients, request, waits ? &client->now : NULL, reply);
  } else if (waits) {
    get_answered(clients, request, &client->now, reply);
  }
  if (!waits) {
    return;
  }
  client->token = 0;
  bool failed_put = request->number != 0 && reply->err != ERR_OK;
  bool retry = habit(clients, FEATURE_retry, clients->run->plan.retry_per_mille);
  client->again = failed_put && retry && !clients->run->oracle.versions[request->number].blind ? 1 : 0;
  client->has_read = request->number == 0 && reply->err == ERR_OK;
  client->home = failed_put ? any_node(clients) : client->home;
  remember(client);
  act_later(clients, request->client, 0);
}

/* -- probes ----------------------------------------------------------------------------------- */

static void probe(struct clients *clients, uint32_t node, uint64_t patience_ns, struct command *command,
                  struct probe *result) {
  struct world *world = clients->run->world;
  result->answered = false;
  result->err = ERR_TIMEOUT;
  clients->probe = result;
  clients->probe_token = command->token;
  uint64_t until_ns = world->now_ns + patience_ns;
  if (world_command(world, node, command)) {
    while (!result->answered && world->now_ns < until_ns) {
      world_run(world, world->now_ns + 5 * MILLISECOND);
    }
  }
  clients->probe = NULL;
}

void clients_probe_get(struct clients *clients, uint32_t node, uint32_t key, uint8_t r, uint64_t patience_ns,
                       struct probe *result) {
  struct command command = command_make(clients, COMMAND_GET, key);
  result->siblings.count = 0;
  command.r = r;
  command.pr = r;
  command.token = request_new(clients, NOBODY, node, key, 0);
  probe(clients, node, patience_ns, &command, result);
}

uint32_t clients_probe_put(struct clients *clients, uint32_t node, uint32_t key, uint8_t w, uint64_t patience_ns,
                           struct probe *result) {
  struct command command = command_make(clients, COMMAND_PUT, key);
  const struct knowledge *knowledge = &clients->probed[key];
  uint32_t number = oracle_put(&clients->run->oracle, key, &knowledge->seen, false);
  command.w = w;
  command.pw = 0;
  command.dw = w;
  note_quorums(clients, number, &command);
  fill_value(clients, number, false, &command);
  command.context = (struct bytes){knowledge->context, knowledge->size};
  command.token = request_new(clients, NOBODY, node, key, number);
  story_tell(clients->run->story, key, "after healing, to node %" PRIu32 ": put %" PRIu32 ", having seen %s", node + 1,
             number, siblings_text(&knowledge->seen));
  probe(clients, node, patience_ns, &command, result);
  return number;
}

/* -- loading ---------------------------------------------------------------------------------- */

/* An application that reads all that there is, over and over, through a node that has just started; half of it is
 * written only at the beginning, and read by nobody else. */
static void load(void *context, uint64_t node) {
  struct clients *clients = context;
  struct world *world = clients->run->world;
  if (clients->loads[node] == 0 || world->now_ns >= clients->stop_ns) {
    return;
  }
  clients->loads[node] -= 1;
  for (uint32_t key = 0; key < clients->run->oracle.key_count; key++) {
    struct command command = command_make(clients, COMMAND_GET, key);
    choose_strict(clients, key, &command);
    command.token = request_new(clients, NOBODY, (uint32_t)node, key, 0);
    note_reads(clients, command.token, &command);
    if (!world_command(world, (uint32_t)node, &command)) {
      clients->requests[command.token].answers = 1; /* it reached nobody */
    }
  }
  world_call(world, world->now_ns + LOAD_NS, load, clients, node);
}

void clients_load(struct clients *clients, uint32_t node) {
  bool idle = clients->loads[node] == 0;
  if (clients->run->plan.on[FEATURE_load]) {
    clients->loads[node] = LOADS;
    if (idle) {
      load(clients, node);
    }
  }
}

/* -- life ---------------------------------------------------------------------------------------- */

struct clients *clients_new(struct run *run) {
  struct clients *clients = calloc(1, sizeof *clients);
  ASSERT(clients != NULL);
  clients->run = run;
  prng_init(&clients->prng, run->plan.seed ^ UINT64_C(0x5a5a5a5a));
  clients->list = calloc(run->plan.clients, sizeof clients->list[0]);
  ASSERT(clients->list != NULL);
  return clients;
}

void clients_start(struct clients *clients, uint64_t stop_ns) {
  clients->stop_ns = stop_ns;
  clients->cold_ns = clients->run->world->now_ns + COLD_NS;
  for (uint32_t i = 0; i < clients->run->plan.clients; i++) {
    clients->list[i].home = any_node(clients);
    act_later(clients, i, 0);
  }
}

void clients_judge(struct clients *clients) {
  struct run *run = clients->run;
  for (uint64_t token = 1; token <= clients->request_count; token++) {
    const struct request *request = &clients->requests[token];
    const struct node *node = &run->world->nodes[request->node];
    if (node->life != request->life || request->answers > 0) {
      continue;
    }
    check_fail(run, CHECK_once, request->key,
               "request %" PRIu64 " (put %" PRIu32 ") to node %" PRIu32 " was never answered", token, request->number,
               request->node + 1);
  }
}

struct clients_totals clients_totals(const struct clients *clients) {
  return clients->totals;
}

void clients_free(struct clients *clients) {
  for (uint32_t i = 0; i < clients->run->plan.clients; i++) {
    siblings_free(&clients->list[i].now.seen);
    for (uint32_t j = 0; j < MEMORY; j++) {
      siblings_free(&clients->list[i].before[j].seen);
    }
  }
  for (uint32_t i = 0; i < PLAN_KEYS_MAX; i++) {
    siblings_free(&clients->probed[i].seen);
  }
  free(clients->list);
  free(clients->requests);
  free(clients);
}
