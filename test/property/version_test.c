/* Versions against a model of true causal histories.
 *
 * The model knows for each version the exact set of versions that its writer had seen, directly or through what it
 * read. A random history of replicas, stand-ins and clients is played with real objects, contexts and merges beside
 * it. A version must be present if and only if nobody who had seen it wrote another: more is a false sibling, less a
 * loss.
 *
 * GRAMME_TEST_SEED=n plays history n alone. A failure is shrunk to the fewest operations that still fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "version/context.h"
#include "version/object.h"

#define POOL_BYTES ((size_t)64 << 20)
#define VERSIONS_MAX 256u
#define MESSAGES_MAX 1024u
#define REPLICAS 5u
#define STAND_INS 2u
#define CLIENTS 4u
#define EXCHANGES_MAX 50u

static struct blob_pool pool;
static struct version_scratch *scratch;

/* -- the model --------------------------------------------------------------- */

struct set {
  uint64_t words[VERSIONS_MAX / 64];
};

static void set_add(struct set *set, uint32_t member) {
  set->words[member / 64] |= UINT64_C(1) << (member % 64);
}

static bool set_has(const struct set *set, uint32_t member) {
  return (set->words[member / 64] >> (member % 64) & 1) != 0;
}

static void set_unite(struct set *into, const struct set *from) {
  for (uint32_t i = 0; i < VERSIONS_MAX / 64; i++) {
    into->words[i] |= from->words[i];
  }
}

static bool set_within(const struct set *inner, const struct set *outer) {
  uint64_t beyond = 0;
  for (uint32_t i = 0; i < VERSIONS_MAX / 64; i++) {
    beyond |= inner->words[i] & ~outer->words[i];
  }
  return beyond == 0;
}

struct version {
  struct dot dot;
  struct set seen; /* by its writer, and by those whose versions the writer saw: transitive */
};

/* An object, and all versions that it has heard of. */
struct held {
  struct blob *blob;
  struct set heard;
};

struct node {
  struct actor actor;
  uint64_t last_time;
  uint64_t skew;
  bool stand_in;
  struct held now;
  struct held copy; /* an old one, to which a crash may bring it back */
};

struct client {
  struct past past;
  struct set seen;
};

/* What a history is like. */
struct shape {
  const char *name;
  enum resolve resolve;
  bool crowded; /* with so many actors that clocks are truncated */
  bool mad;     /* coordinators do not follow the times that they see: what is newer may have the lesser time */
  uint32_t operations;
};

struct world {
  struct prng prng;
  struct shape shape;
  struct version_stats stats;
  const char *failure; /* the first thing that was wrong, or NULL */
  uint64_t time;
  uint64_t incarnations;
  uint32_t version_count, message_count, replica_count;
  struct version versions[VERSIONS_MAX];
  struct node nodes[REPLICAS + STAND_INS];
  struct client clients[CLIENTS];
  struct held messages[MESSAGES_MAX]; /* whole objects; any may arrive anywhere, again and again */
};

static struct world world;
static uint64_t false_siblings; /* over all histories */
static uint64_t truncated;

#define CHECK(condition)                         \
  do {                                           \
    if (!(condition) && world.failure == NULL) { \
      world.failure = #condition;                \
    }                                            \
  } while (0)

static uint32_t draw(uint32_t limit) {
  return (uint32_t)prng_below(&world.prng, limit);
}

static bool exact(void) {
  return world.shape.resolve == RESOLVE_SIBLINGS && !world.shape.crowded;
}

/* The versions that are an object's siblings. */
static struct set siblings_of(const struct blob *blob) {
  struct set set = {{0}};
  struct object object;
  if (blob == NULL) {
    return set;
  }
  enum err err = object_open(&object, blob_bytes(blob));
  CHECK(err == ERR_OK);
  if (err != ERR_OK) {
    return set;
  }
  struct sibling_cursor cursor = object_siblings(&object);
  struct sibling sibling;
  while (sibling_next(&cursor, &sibling)) {
    uint32_t found = VERSIONS_MAX;
    for (uint32_t i = 0; i < world.version_count; i++) {
      found = dot_compare(world.versions[i].dot, sibling.dot) == 0 ? i : found;
    }
    CHECK(found < VERSIONS_MAX);
    if (found < VERSIONS_MAX) {
      CHECK(sibling.tombstone || (sibling.value.size == 1 && sibling.value.data[0] == (uint8_t)found));
      set_add(&set, found);
    }
  }
  return set;
}

/* All that the writers of some versions had seen. */
static struct set seen_by(const struct set *versions) {
  struct set seen = {{0}};
  for (uint32_t i = 0; i < world.version_count; i++) {
    if (set_has(versions, i)) {
      set_unite(&seen, &world.versions[i].seen);
    }
  }
  return seen;
}

/* What a reader of an object has seen. */
static struct set shown_by(const struct blob *blob) {
  struct set siblings = siblings_of(blob);
  struct set shown = seen_by(&siblings);
  set_unite(&shown, &siblings);
  return shown;
}

/* Is this object what the versions that it has heard of make it? */
static void held_check(const struct held *held) {
  static struct past past;
  struct set siblings = siblings_of(held->blob);
  struct set all = {{0}};
  past_init(&past);
  if (held->blob != NULL && world.failure == NULL) {
    struct object object;
    CHECK(object_open(&object, blob_bytes(held->blob)) == ERR_OK);
    object_past(&object, &past);
    CHECK(object.sibling_count == 1 || world.shape.resolve == RESOLVE_SIBLINGS);
  }
  for (uint32_t i = 0; i < world.version_count; i++) {
    set_add(&all, i);
  }
  struct set heard_superseded = seen_by(&held->heard);
  struct set superseded = seen_by(&all);
  for (uint32_t i = 0; i < world.version_count; i++) {
    bool covers = past_covers(&past, world.versions[i].dot);
    if (exact()) {
      CHECK(covers == set_has(&held->heard, i));
      CHECK(set_has(&siblings, i) == (set_has(&held->heard, i) && !set_has(&heard_superseded, i)));
    } else if (world.shape.resolve == RESOLVE_SIBLINGS) {
      /* Nobody says that a version is superseded when it is not. */
      CHECK(!covers || set_has(&siblings, i) || set_has(&superseded, i));
    }
  }
}

/* -- what may happen --------------------------------------------------------------- */

static void held_set(struct held *held, struct held value) {
  blob_put(held->blob);
  *held = value;
}

static struct held held_get(const struct held *held) {
  return (struct held){.blob = blob_get(held->blob), .heard = held->heard};
}

static struct held held_merge(const struct held *a, const struct held *b) {
  struct held merged = {.heard = a->heard};
  set_unite(&merged.heard, &b->heard);
  bool lend = prng_chance(&world.prng, 800);
  enum err err = object_merge(scratch, &pool, a->blob, blob_bytes(b->blob), lend ? b->blob : NULL, world.shape.resolve,
                              &world.stats, &merged.blob);
  CHECK(err == ERR_OK);
  return merged;
}

static void message_send(const struct held *held) {
  if (held->blob != NULL && world.message_count < MESSAGES_MAX) {
    world.messages[world.message_count] = held_get(held);
    world.message_count += 1;
  }
}

static void node_receive(struct node *node, const struct held *message) {
  struct held merged = held_merge(&node->now, message);
  held_set(&node->now, merged);
  if (prng_chance(&world.prng, 250)) {
    held_check(&node->now);
  }
}

static void node_new_incarnation(struct node *node) {
  world.incarnations += 1;
  node->actor.incarnation = prng_u64(&world.prng) << 16 | world.incarnations;
}

static uint64_t past_greatest_time(const struct past *past) {
  uint64_t greatest = 0;
  for (uint32_t i = 0; i < past->pair_count; i++) {
    greatest = past->pairs[i].time > greatest ? past->pairs[i].time : greatest;
  }
  for (uint32_t i = 0; i < past->dot_count; i++) {
    greatest = past->dots[i].time > greatest ? past->dots[i].time : greatest;
  }
  return greatest;
}

/* Clocks differ, but strictly increase; those that are not mad also follow what they see. */
static struct dot node_stamp(struct node *node, const struct past *context) {
  static struct past own;
  uint64_t time = world.time + node->skew;
  if (!world.shape.mad) {
    past_init(&own);
    if (node->now.blob != NULL) {
      struct object object;
      CHECK(object_open(&object, blob_bytes(node->now.blob)) == ERR_OK);
      object_past(&object, &own);
    }
    uint64_t context_time = context != NULL ? past_greatest_time(context) : 0;
    uint64_t own_time = past_greatest_time(&own);
    time = context_time > time ? context_time : time;
    time = own_time > time ? own_time : time;
  }
  time = node->last_time > time ? node->last_time : time;
  node->last_time = time + 1 + draw(3);
  return (struct dot){.actor = node->actor, .time = node->last_time};
}

/* Out to the client and back: its context must say the same then. */
static void client_carry(struct client *client) {
  static uint8_t room[CONTEXT_MAX_BYTES];
  struct context_binding binding = {.seed = world.time, .position_high = draw(100), .position_low = 7};
  struct writer w = writer_make(room, sizeof(room));
  context_encode(&w, &client->past, 5, binding);
  uint64_t digest = bytes_hash(writer_bytes(&w), 0);
  uint32_t coordinator = 0;
  enum err err = context_decode(writer_bytes(&w), binding, &client->past, &coordinator);
  CHECK(err == ERR_OK && coordinator == 5);
  w = writer_make(room, sizeof(room));
  context_encode(&w, &client->past, 5, binding);
  CHECK(digest == bytes_hash(writer_bytes(&w), 0));
}

/* What a writer knows afterwards: all of the object when its version stands alone, else its own besides. */
static void client_learn(struct client *client, const struct held *stamped, uint32_t version, bool blind) {
  struct object object;
  CHECK(object_open(&object, blob_bytes(stamped->blob)) == ERR_OK);
  if (world.failure != NULL) {
    return;
  }
  /* The reply to a put shows no sibling, so what the writer has seen does not depend on which context it is given. */
  client->seen = world.versions[version].seen;
  set_add(&client->seen, version);
  if (object.sibling_count == 1) {
    object_past(&object, &client->past);
    CHECK(!exact() || set_within(&stamped->heard, &client->seen));
    return;
  }
  if (blind) {
    past_init(&client->past);
  }
  past_add_dot(&client->past, world.versions[version].dot);
}

static void step_put(void) {
  if (world.version_count == VERSIONS_MAX) {
    return;
  }
  struct client *client = &world.clients[draw(CLIENTS)];
  struct node *node =
      &world.nodes[prng_chance(&world.prng, 750) ? draw(world.replica_count) : REPLICAS + draw(STAND_INS)];
  if (world.shape.crowded && prng_chance(&world.prng, 600)) {
    node_new_incarnation(node);
  }
  bool blind = prng_chance(&world.prng, 150);
  if (!blind && prng_chance(&world.prng, 100)) {
    past_init(&client->past); /* a client that has read nothing */
    memset(&client->seen, 0, sizeof(client->seen));
  }
  client_carry(client);
  uint32_t version = world.version_count;
  uint8_t value = (uint8_t)version;
  struct put put = {.context = blind ? NULL : &client->past,
                    .contiguous = !node->stand_in,
                    .tombstone = prng_chance(&world.prng, 150),
                    .resolve = world.shape.resolve,
                    .sibling_max = SIBLINGS_PUT_MAX};
  put.dot = node_stamp(node, put.context);
  put.value = put.tombstone ? BYTES_NONE : (struct bytes){&value, 1};
  struct set seen = blind ? shown_by(node->now.blob) : client->seen;
  struct held stamped = {.heard = node->now.heard};
  enum err err = object_put(scratch, &pool, node->now.blob, &put, &world.stats, &stamped.blob);
  CHECK(err == ERR_OK);
  if (err != ERR_OK) {
    return;
  }
  world.versions[version] = (struct version){.dot = put.dot, .seen = seen};
  world.version_count += 1;
  set_unite(&stamped.heard, &seen);
  set_add(&stamped.heard, version);
  held_set(&node->now, stamped);
  held_check(&node->now);
  message_send(&node->now);
  client_learn(client, &node->now, version, blind);
}

/* A read of some replicas or stand-ins: the client sees what their answers merge to. */
static void step_read(void) {
  struct client *client = &world.clients[draw(CLIENTS)];
  struct held reply = {0};
  uint32_t asked = 1 + draw(3);
  for (uint32_t i = 0; i < asked; i++) {
    uint32_t index = draw(world.replica_count + STAND_INS);
    struct node *node = &world.nodes[index < world.replica_count ? index : REPLICAS + index - world.replica_count];
    struct held merged = held_merge(&reply, &node->now);
    held_set(&reply, merged);
  }
  held_check(&reply);
  past_init(&client->past);
  memset(&client->seen, 0, sizeof(client->seen));
  if (reply.blob != NULL && world.failure == NULL) {
    struct object object;
    CHECK(object_open(&object, blob_bytes(reply.blob)) == ERR_OK);
    object_past(&object, &client->past);
    client->seen = shown_by(reply.blob);
    CHECK(!exact() || (set_within(&reply.heard, &client->seen) && set_within(&client->seen, &reply.heard)));
  }
  held_set(&reply, (struct held){0});
}

static void step_deliver(void) {
  if (world.message_count > 0) {
    uint32_t message = draw(world.message_count);
    node_receive(&world.nodes[draw(world.replica_count)], &world.messages[message]);
  }
}

/* A stand-in hands over and forgets. */
static void step_hand_off(void) {
  struct node *node = &world.nodes[REPLICAS + draw(STAND_INS)];
  message_send(&node->now);
  held_set(&node->now, (struct held){0});
}

/* A replica comes back with an old state or none, or with all it had: under a new incarnation each time. */
static void step_restart(void) {
  struct node *node = &world.nodes[draw(world.replica_count)];
  uint32_t kind = draw(4);
  if (kind == 0) {
    held_set(&node->now, (struct held){0});
  } else if (kind == 1) {
    held_set(&node->now, held_get(&node->copy));
  } else if (kind == 2) {
    held_set(&node->copy, held_get(&node->now));
    return;
  }
  node_new_incarnation(node);
}

/* -- laws of merge --------------------------------------------------------------- */

static bool held_same(const struct held *a, const struct held *b) {
  return bytes_equal(blob_bytes(a->blob), blob_bytes(b->blob));
}

static void laws_of_two(const struct held *a, const struct held *b) {
  struct held ab = held_merge(a, b);
  struct held ba = held_merge(b, a);
  CHECK(held_same(&ab, &ba));
  held_check(&ab);
  struct held again = held_merge(&ab, &ab);
  CHECK(again.blob == ab.blob);
  if (!world.shape.crowded && !world.shape.mad) {
    struct held absorbed = held_merge(&ab, b);
    CHECK(absorbed.blob == ab.blob);
    CHECK(object_descends(blob_bytes(ab.blob), blob_bytes(a->blob)));
    CHECK(object_descends(blob_bytes(ab.blob), blob_bytes(b->blob)));
    held_set(&absorbed, (struct held){0});
  }
  if (world.shape.resolve == RESOLVE_SIBLINGS) {
    bool descends = object_descends(blob_bytes(a->blob), blob_bytes(b->blob));
    CHECK(descends == (ab.blob == a->blob));
    if (exact()) {
      struct set before = siblings_of(a->blob);
      struct set after = siblings_of(ab.blob);
      bool knows = set_within(&b->heard, &a->heard);
      CHECK(!descends || knows);
      CHECK(!knows || (set_within(&before, &after) && set_within(&after, &before)));
    }
  }
  held_set(&ab, (struct held){0});
  held_set(&ba, (struct held){0});
  held_set(&again, (struct held){0});
}

static void laws_of_three(const struct held *a, const struct held *b, const struct held *c) {
  struct held ab = held_merge(a, b);
  struct held ab_c = held_merge(&ab, c);
  struct held bc = held_merge(b, c);
  struct held a_bc = held_merge(a, &bc);
  CHECK(held_same(&ab_c, &a_bc));
  held_set(&ab, (struct held){0});
  held_set(&ab_c, (struct held){0});
  held_set(&bc, (struct held){0});
  held_set(&a_bc, (struct held){0});
}

/* A clock behaves as its object does. */
static void laws_of_clocks(const struct held *a, const struct held *b) {
  struct object object;
  CHECK(object_open(&object, blob_bytes(a->blob)) == ERR_OK);
  struct blob *clock = object_clock(&pool, &object);
  CHECK(clock != NULL);
  CHECK(object_digest(blob_bytes(clock)) == object_digest(blob_bytes(a->blob)));
  CHECK(held_same(a, b) == (object_digest(blob_bytes(clock)) == object_digest(blob_bytes(b->blob))));
  CHECK(object_descends(blob_bytes(b->blob), blob_bytes(clock)) ==
        object_descends(blob_bytes(b->blob), blob_bytes(a->blob)));
  CHECK(object_descends(blob_bytes(clock), blob_bytes(b->blob)) ==
        object_descends(blob_bytes(a->blob), blob_bytes(b->blob)));
  blob_put(clock);
}

static void step_laws(void) {
  if (world.message_count == 0) {
    return;
  }
  uint32_t a = draw(world.message_count);
  uint32_t b = draw(world.message_count);
  uint32_t c = draw(world.message_count);
  laws_of_two(&world.messages[a], &world.messages[b]);
  laws_of_clocks(&world.messages[a], &world.messages[b]);
  if (!world.shape.crowded && !world.shape.mad) {
    laws_of_three(&world.messages[a], &world.messages[b], &world.messages[c]);
  }
}

/* -- a history --------------------------------------------------------------- */

static void world_begin(struct shape shape, uint64_t seed, uint32_t operations) {
  memset(&world, 0, sizeof(world));
  prng_init(&world.prng, seed);
  world.shape = shape;
  world.shape.operations = operations;
  world.replica_count = 3 + draw(REPLICAS - 2);
  for (uint32_t i = 0; i < REPLICAS + STAND_INS; i++) {
    struct node *node = &world.nodes[i];
    node->actor.node = 1 + i;
    node->stand_in = i >= REPLICAS;
    node->skew = draw(40);
    node_new_incarnation(node);
  }
}

static void world_step(void) {
  world.time += draw(3);
  uint32_t kind = draw(100);
  if (kind < 38) {
    step_put();
  } else if (kind < 56) {
    step_read();
  } else if (kind < 78) {
    step_deliver();
  } else if (kind < 82) {
    message_send(&world.nodes[draw(world.replica_count)].now);
  } else if (kind < 87) {
    step_hand_off();
  } else if (kind < 93) {
    step_restart();
  } else {
    step_laws();
  }
}

/* Everything reaches everyone, each in an order of its own. */
static void world_deliver_all(void) {
  static uint32_t order[MESSAGES_MAX];
  for (uint32_t i = 0; i < STAND_INS; i++) {
    message_send(&world.nodes[REPLICAS + i].now);
  }
  for (uint32_t i = 0; i < world.replica_count; i++) {
    for (uint32_t j = 0; j < world.message_count; j++) {
      uint32_t place = draw(j + 1);
      order[j] = order[place];
      order[place] = j;
    }
    for (uint32_t j = 0; j < world.message_count; j++) {
      node_receive(&world.nodes[i], &world.messages[order[j]]);
    }
  }
}

static bool world_converged(void) {
  bool same = true;
  for (uint32_t i = 1; i < world.replica_count; i++) {
    same = same && held_same(&world.nodes[0].now, &world.nodes[i].now);
  }
  return same;
}

/* Replicas go on exchanging, pairwise and at random, as read repair and anti-entropy would. */
static void world_exchange(void) {
  for (uint32_t i = 0; i < EXCHANGES_MAX * world.replica_count && !world_converged(); i++) {
    uint32_t from = draw(world.replica_count);
    uint32_t to = draw(world.replica_count);
    node_receive(&world.nodes[to], &world.nodes[from].now);
  }
}

static void world_check(void) {
  struct set present = siblings_of(world.nodes[0].now.blob);
  struct set all = {{0}};
  uint32_t greatest = 0;
  for (uint32_t i = 0; i < world.version_count; i++) {
    set_add(&all, i);
    greatest = dot_compare_age(world.versions[greatest].dot, world.versions[i].dot) < 0 ? i : greatest;
  }
  struct set superseded = seen_by(&all);
  for (uint32_t i = 0; i < world.version_count; i++) {
    bool stands = !set_has(&superseded, i);
    if (world.shape.resolve == RESOLVE_SIBLINGS) {
      CHECK(!stands || set_has(&present, i)); /* no loss */
      if (world.shape.crowded) {
        false_siblings += !stands && set_has(&present, i) ? 1 : 0;
      } else {
        CHECK(stands || !set_has(&present, i)); /* no false sibling */
      }
    } else if (!world.shape.mad) {
      CHECK(set_has(&present, i) == (i == greatest));
    }
  }
  CHECK(world.version_count == 0 || world.nodes[0].now.blob != NULL);
  CHECK(world.shape.crowded || world.stats.truncated == 0);
}

static void world_end(void) {
  for (uint32_t i = 0; i < REPLICAS + STAND_INS; i++) {
    held_set(&world.nodes[i].now, (struct held){0});
    held_set(&world.nodes[i].copy, (struct held){0});
  }
  for (uint32_t i = 0; i < world.message_count; i++) {
    held_set(&world.messages[i], (struct held){0});
  }
  truncated += world.stats.truncated;
}

/* What was wrong, or NULL. */
static const char *history_play(struct shape shape, uint64_t seed, uint32_t operations) {
  world_begin(shape, seed, operations);
  for (uint32_t i = 0; i < operations && world.failure == NULL; i++) {
    world_step();
  }
  if (world.failure == NULL) {
    world_deliver_all();
  }
  if (world.failure == NULL && (shape.crowded || shape.mad)) {
    world_exchange();
  }
  CHECK(world_converged());
  for (uint32_t i = 0; i < world.replica_count && world.failure == NULL; i++) {
    held_check(&world.nodes[i].now);
  }
  if (world.failure == NULL) {
    world_check();
  }
  const char *failure = world.failure;
  world_end();
  return failure;
}

static void histories_play(struct shape shape, uint64_t count) {
  const char *only = getenv("GRAMME_TEST_SEED");
  uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
  false_siblings = 0;
  truncated = 0;
  for (uint64_t seed = first; seed < first + (only != NULL ? 1 : count); seed++) {
    if (history_play(shape, seed, shape.operations) == NULL) {
      continue;
    }
    uint32_t operations = 1;
    while (operations < shape.operations && history_play(shape, seed, operations) == NULL) {
      operations += 1;
    }
    const char *failure = history_play(shape, seed, operations);
    fail_msg("%s: seed %llu, %u operations: not %s", shape.name, (unsigned long long)seed, operations,
             failure != NULL ? failure : "the same twice");
  }
  assert_true(only != NULL || (truncated > 0) == shape.crowded);
  print_message("%s: %llu claims truncated, %llu false siblings\n", shape.name, (unsigned long long)truncated,
                (unsigned long long)false_siblings);
}

static void a_version_is_present_if_and_only_if_nobody_who_saw_it_wrote(void **state) {
  (void)state;
  histories_play((struct shape){.name = "siblings", .mad = true, .operations = 50}, 7000);
}

static void it_holds_with_clocks_that_follow_each_other_too(void **state) {
  (void)state;
  histories_play((struct shape){.name = "siblings, sane clocks", .operations = 50}, 3500);
}

static void truncated_clocks_lose_nothing_and_converge(void **state) {
  (void)state;
  histories_play((struct shape){.name = "truncation", .crowded = true, .operations = 240}, 120);
  histories_play((struct shape){.name = "truncation, mad clocks", .crowded = true, .mad = true, .operations = 240},
                 120);
}

static void last_write_wins_converges_to_the_greatest_dot(void **state) {
  (void)state;
  histories_play((struct shape){.name = "lww", .resolve = RESOLVE_LWW, .operations = 50}, 2000);
  histories_play((struct shape){.name = "lww, truncation", .resolve = RESOLVE_LWW, .crowded = true, .operations = 240},
                 80);
}

/* With times that contradict causality there is no right answer; there must be one, the same everywhere. */
static void last_write_wins_converges_whatever_the_clocks_do(void **state) {
  (void)state;
  histories_play((struct shape){.name = "lww, mad clocks", .resolve = RESOLVE_LWW, .mad = true, .operations = 50},
                 2000);
  histories_play((struct shape){.name = "lww, mad clocks, truncation",
                                .resolve = RESOLVE_LWW,
                                .crowded = true,
                                .mad = true,
                                .operations = 240},
                 80);
}

/* -- pasts against plain sets --------------------------------------------------------------- */

#define ACTORS 4u
#define TIMES 16u

struct plain {
  bool claimed[ACTORS][TIMES + 1];
};

static struct dot plain_dot(uint32_t actor, uint64_t time) {
  return (struct dot){.actor = {.incarnation = actor % 2, .node = 1 + actor / 2}, .time = time};
}

static void plain_check(const struct plain *plain, const struct past *past, uint64_t seed) {
  bool same = claims_check(past_claims(past)) == ERR_OK;
  for (uint32_t actor = 0; actor < ACTORS; actor++) {
    for (uint32_t time = 1; time <= TIMES; time++) {
      same = same && plain->claimed[actor][time] == past_covers(past, plain_dot(actor, time));
    }
  }
  if (!same) {
    fail_msg("pasts: seed %llu", (unsigned long long)seed);
  }
}

static void plain_fill(struct prng *prng, struct plain *plain, struct past *past, uint64_t seed) {
  memset(plain, 0, sizeof(*plain));
  past_init(past);
  uint64_t count = prng_below(prng, 20);
  for (uint64_t i = 0; i < count; i++) {
    uint32_t actor = (uint32_t)prng_below(prng, ACTORS);
    uint32_t time = 1 + (uint32_t)prng_below(prng, TIMES);
    if (prng_chance(prng, 250)) {
      past_add_pair(past, plain_dot(actor, time));
      for (uint32_t t = 1; t <= time; t++) {
        plain->claimed[actor][t] = true;
      }
    } else {
      past_add_dot(past, plain_dot(actor, time));
      plain->claimed[actor][time] = true;
    }
    plain_check(plain, past, seed);
  }
}

static void a_past_claims_what_a_plain_set_holds(void **state) {
  (void)state;
  static struct past a, b;
  struct plain plain_a, plain_b;
  for (uint64_t seed = 1; seed <= 10000; seed++) {
    struct prng prng;
    prng_init(&prng, seed);
    plain_fill(&prng, &plain_a, &a, seed);
    plain_fill(&prng, &plain_b, &b, seed);
    past_merge(&a, &b);
    for (uint32_t actor = 0; actor < ACTORS; actor++) {
      for (uint32_t time = 1; time <= TIMES; time++) {
        plain_a.claimed[actor][time] = plain_a.claimed[actor][time] || plain_b.claimed[actor][time];
      }
    }
    plain_check(&plain_a, &a, seed);
  }
}

/* Whatever stays is newer than whatever goes, and no more goes than must. */
static void truncation_keeps_the_newest(void **state) {
  (void)state;
  static struct past before, after;
  for (uint64_t seed = 1; seed <= 1000; seed++) {
    struct prng prng;
    prng_init(&prng, seed);
    past_init(&before);
    uint64_t count = prng_below(&prng, 150);
    for (uint64_t i = 0; i < count; i++) {
      uint32_t node = 1 + (uint32_t)prng_below(&prng, 90);
      uint64_t time = 1 + prng_below(&prng, 30);
      struct dot dot = {.actor = {.incarnation = 1, .node = node}, .time = time};
      if (prng_chance(&prng, 500)) {
        past_add_pair(&before, dot);
      } else {
        past_add_dot(&before, dot);
      }
    }
    after = before;
    uint32_t total = before.pair_count + before.dot_count;
    uint32_t dropped = past_truncate(&after);
    bool right = dropped == (total > CLOCK_PAIRS_MAX ? total - CLOCK_PAIRS_MAX : 0) &&
                 after.pair_count + after.dot_count + dropped == total && claims_check(past_claims(&after)) == ERR_OK;
    struct dot oldest = {.time = UINT64_MAX};
    for (uint32_t i = 0; i < after.pair_count + after.dot_count; i++) {
      struct dot dot = i < after.pair_count ? after.pairs[i] : after.dots[i - after.pair_count];
      oldest = dot_compare_age(dot, oldest) < 0 ? dot : oldest;
      right = right && past_covers(&before, dot);
    }
    for (uint32_t i = 0; i < total; i++) {
      struct dot dot = i < before.pair_count ? before.pairs[i] : before.dots[i - before.pair_count];
      right = right && (past_covers(&after, dot) || dot_compare_age(dot, oldest) < 0);
    }
    if (!right) {
      fail_msg("truncation: seed %llu", (unsigned long long)seed);
    }
  }
}

static int setup(void **state) {
  (void)state;
  void *memory = aligned_alloc(64, POOL_BYTES);
  scratch = malloc(version_scratch_size());
  if (memory == NULL || scratch == NULL) {
    return 1;
  }
  blob_pool_init(&pool, memory, POOL_BYTES);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  size_t used = pool.used_bytes;
  free(pool.memory);
  free(scratch);
  return used == 0 ? 0 : 1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_past_claims_what_a_plain_set_holds),
      cmocka_unit_test(truncation_keeps_the_newest),
      cmocka_unit_test(a_version_is_present_if_and_only_if_nobody_who_saw_it_wrote),
      cmocka_unit_test(it_holds_with_clocks_that_follow_each_other_too),
      cmocka_unit_test(truncated_clocks_lose_nothing_and_converge),
      cmocka_unit_test(last_write_wins_converges_to_the_greatest_dot),
      cmocka_unit_test(last_write_wins_converges_whatever_the_clocks_do),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
