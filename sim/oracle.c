#include "oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "layouts.h"
#include "run.h"

#define EXPIRES_BASE_MS (UINT64_C(1) << 50) /* far beyond any clock here; what is above it is the number */
#define NUMBER_BYTES 4u

/* -- sets ------------------------------------------------------------------------------ */

bool siblings_have(const struct siblings *siblings, uint32_t number) {
  for (uint32_t i = 0; i < siblings->count; i++) {
    if (siblings->numbers[i] == number) {
      return true;
    }
  }
  return false;
}

static uint32_t *grow(uint32_t *numbers, uint32_t *capacity) {
  *capacity = *capacity == 0 ? 16 : 2 * *capacity;
  uint32_t *grown = realloc(numbers, *capacity * sizeof numbers[0]);
  ASSERT(grown != NULL);
  return grown;
}

void siblings_add(struct siblings *siblings, uint32_t number) {
  if (siblings->count == siblings->capacity) {
    siblings->numbers = grow(siblings->numbers, &siblings->capacity);
  }
  siblings->numbers[siblings->count] = number;
  siblings->count += 1;
}

void siblings_copy(struct siblings *to, const struct siblings *from) {
  to->count = 0;
  for (uint32_t i = 0; i < from->count; i++) {
    siblings_add(to, from->numbers[i]);
  }
}

void siblings_free(struct siblings *siblings) {
  free(siblings->numbers);
  *siblings = (struct siblings){.count = 0};
}

const char *siblings_text(const struct siblings *siblings) {
  static char buffers[4][160];
  static uint32_t turn;
  turn = (turn + 1) % 4;
  char *text = buffers[turn];
  size_t room = sizeof buffers[0];
  size_t size = (size_t)snprintf(text, room, "{");
  for (uint32_t i = 0; i < siblings->count && size + 24 < room; i++) {
    bool last = size + 36 >= room && i + 1 < siblings->count;
    size += (size_t)snprintf(text + size, room - size, last ? "%s%" PRIu32 ", ..." : "%s%" PRIu32, i == 0 ? "" : ", ",
                             siblings->numbers[i]);
    if (last) {
      break;
    }
  }
  (void)snprintf(text + size, room - size, "}");
  return text;
}

static void bitset_set(struct bitset *set, uint32_t place) {
  uint32_t word = place / 64;
  if (word >= set->count) {
    set->words = realloc(set->words, (word + 1) * sizeof set->words[0]);
    ASSERT(set->words != NULL);
    memset(set->words + set->count, 0, (word + 1 - set->count) * sizeof set->words[0]);
    set->count = word + 1;
  }
  set->words[word] |= UINT64_C(1) << (place % 64);
}

static bool bitset_has(const struct bitset *set, uint32_t place) {
  return place / 64 < set->count && (set->words[place / 64] >> (place % 64) & 1) != 0;
}

static void bitset_unite(struct bitset *set, const struct bitset *other) {
  if (other->count > set->count) {
    bitset_set(set, 64 * other->count - 1);
    if ((other->words[other->count - 1] >> 63 & 1) == 0) {
      set->words[other->count - 1] &= ~(UINT64_C(1) << 63);
    }
  }
  for (uint32_t i = 0; i < other->count; i++) {
    set->words[i] |= other->words[i];
  }
}

static bool bitset_meets(const struct bitset *a, const struct bitset *b) {
  for (uint32_t i = 0; i < a->count && i < b->count; i++) {
    if ((a->words[i] & b->words[i]) != 0) {
      return true;
    }
  }
  return false;
}

/* -- versions ---------------------------------------------------------------------------- */

static void version_sees(struct oracle *oracle, struct version *version, const struct siblings *seen) {
  for (uint32_t i = 0; i < seen->count; i++) {
    const struct version *other = &oracle->versions[seen->numbers[i]];
    ASSERT(other->key == version->key);
    bitset_unite(&version->past, &other->past);
    bitset_set(&version->past, other->place);
  }
}

uint32_t oracle_put(struct oracle *oracle, uint32_t key_index, const struct siblings *seen, bool blind) {
  struct oracle_key *key = &oracle->keys[key_index];
  if (oracle->version_count + 1 >= oracle->version_capacity) {
    oracle->version_capacity = oracle->version_capacity == 0 ? 1024 : 2 * oracle->version_capacity;
    oracle->versions = realloc(oracle->versions, oracle->version_capacity * sizeof oracle->versions[0]);
    ASSERT(oracle->versions != NULL);
  }
  oracle->version_count += 1;
  uint32_t number = oracle->version_count;
  struct version *version = &oracle->versions[number];
  *version = (struct version){.key = key_index, .place = key->version_count, .blind = blind, .past_known = !blind};
  if (!blind) {
    version_sees(oracle, version, seen);
  }
  if (key->version_count == key->version_capacity) {
    key->versions = grow(key->versions, &key->version_capacity);
    key->times = realloc(key->times, key->version_capacity * sizeof key->times[0]);
    ASSERT(key->times != NULL);
  }
  key->versions[key->version_count] = number;
  key->times[key->version_count] = 0;
  key->version_count += 1;
  if (key->open_count == key->open_capacity) {
    key->open = grow(key->open, &key->open_capacity);
  }
  key->open[key->open_count] = number;
  key->open_count += 1;
  return number;
}

void oracle_put_done(struct oracle *oracle, uint32_t number, enum fate fate) {
  struct version *version = &oracle->versions[number];
  struct oracle_key *key = &oracle->keys[version->key];
  version->fate = fate;
  for (uint32_t i = 0; i < key->open_count && fate != FATE_UNKNOWN; i++) {
    if (key->open[i] == number) {
      key->open_count -= 1;
      key->open[i] = key->open[key->open_count];
      break;
    }
  }
}

bool oracle_saw(const struct oracle *oracle, uint32_t later, uint32_t earlier) {
  const struct version *a = &oracle->versions[later];
  const struct version *b = &oracle->versions[earlier];
  return a->key == b->key && later != earlier && bitset_has(&a->past, b->place);
}

/* Under last-write-wins a version also goes because of a younger one, and what beat that beats it too: may the winner
 * have come of it by such steps, each to a younger version or to one whose writer had seen the one before? A put that
 * lost before anybody saw it has no time that we know: whatever it lost to has taken over what its writer had seen. */
static bool lost_to(const struct oracle *oracle, uint32_t number, uint32_t winner) {
  const struct version *loser = &oracle->versions[number];
  const struct oracle_key *key = &oracle->keys[loser->key];
  struct bitset beaten = {.count = 0};
  struct dot oldest = loser->dot;
  bool growing = true;
  bitset_set(&beaten, loser->place);
  while (growing && !bitset_has(&beaten, oracle->versions[winner].place)) {
    growing = false;
    for (uint32_t i = 0; i < key->version_count; i++) {
      const struct version *other = &oracle->versions[key->versions[i]];
      bool younger = !other->stamped || dot_compare_age(other->dot, oldest) > 0;
      if (bitset_has(&beaten, i) || !(younger || bitset_meets(&other->past, &beaten))) {
        continue;
      }
      if (!other->stamped && bitset_meets(&other->past, &beaten)) {
        free(beaten.words);
        return true;
      }
      bitset_set(&beaten, i);
      oldest = other->stamped && dot_compare_age(other->dot, oldest) < 0 ? other->dot : oldest;
      growing = true;
    }
  }
  bool lost = bitset_has(&beaten, oracle->versions[winner].place);
  free(beaten.words);
  return lost;
}

static bool stands_among(const struct oracle *oracle, uint32_t number, const struct siblings *among) {
  const struct version *version = &oracle->versions[number];
  bool lww = oracle->keys[version->key].props.resolve == RESOLVE_LWW;
  for (uint32_t i = 0; i < among->count; i++) {
    uint32_t other = among->numbers[i];
    if (other == number || oracle_saw(oracle, other, number)) {
      return true;
    }
  }
  for (uint32_t i = 0; i < among->count && lww; i++) {
    const struct version *other = &oracle->versions[among->numbers[i]];
    if (!version->stamped || dot_compare_age(other->dot, version->dot) > 0 ||
        lost_to(oracle, number, among->numbers[i])) {
      return true;
    }
  }
  return false;
}

bool oracle_stands(const struct oracle *oracle, uint32_t number, const struct siblings *among) {
  const struct oracle_key *key = &oracle->keys[oracle->versions[number].key];
  return stands_among(oracle, number, among) || stands_among(oracle, number, &key->forgotten);
}

uint64_t oracle_expiry_ms(uint32_t number) {
  return EXPIRES_BASE_MS + number;
}

/* -- objects ---------------------------------------------------------------------------------- */

/* The first sight of a version's dot: no other version may have it, nor the version another. */
static void version_stamped(struct oracle *oracle, uint32_t number, struct dot dot) {
  struct version *version = &oracle->versions[number];
  const struct oracle_key *key = &oracle->keys[version->key];
  oracle->run->checks.looked[CHECK_once] += 1;
  if (version->stamped) {
    if (dot_compare(version->dot, dot) != 0) {
      check_fail(oracle->run, CHECK_once, version->key, "put %" PRIu32 " of %s stands under two dots", number,
                 key->text);
    }
    return;
  }
  version->stamped = true;
  version->stamped_ns = oracle->run->world->now_ns;
  version->dot = dot;
  ASSERT(dot.time != 0);
  for (uint32_t i = 0; i < key->version_count; i++) {
    if (key->times[i] == dot.time && dot_compare(oracle->versions[key->versions[i]].dot, dot) == 0) {
      check_fail(oracle->run, CHECK_once, version->key, "puts %" PRIu32 " and %" PRIu32 " of %s have one dot",
                 key->versions[i], number, key->text);
    }
  }
  key->times[version->place] = dot.time;
}

static uint32_t sibling_number(struct oracle *oracle, uint32_t key, const struct sibling *sibling, bool is_clock) {
  uint64_t number = sibling->expires_at_ms - EXPIRES_BASE_MS;
  if (sibling->expires_at_ms <= EXPIRES_BASE_MS || number > oracle->version_count ||
      oracle->versions[number].key != key) {
    check_fail(oracle->run, CHECK_causal, key, "%s has a sibling that nobody wrote", oracle->keys[key].text);
    return 0;
  }
  const struct version *version = &oracle->versions[number];
  bool right = sibling->tombstone == version->tombstone && sibling->size == version->size;
  if (right && !is_clock && sibling->size >= NUMBER_BYTES) {
    struct reader r = reader_make(sibling->value);
    right = read_u32(&r) == number;
  }
  if (!right) {
    check_fail(oracle->run, CHECK_causal, key, "%s: the value of put %" PRIu64 " is not what was written",
               oracle->keys[key].text, number);
  }
  return (uint32_t)number;
}

void oracle_parse(struct oracle *oracle, uint32_t key, struct bytes encoded, struct siblings *out) {
  out->count = 0;
  if (encoded.size == 0) {
    return;
  }
  struct object object;
  enum err err = object_open(&object, encoded);
  ASSERT(err == ERR_OK);
  uint32_t entries = (uint32_t)object.pair_count + object.dot_count;
  oracle->keys[key].limit_reached = oracle->keys[key].limit_reached || entries >= CLOCK_PAIRS_MAX;
  oracle->clock_max = entries > oracle->clock_max ? entries : oracle->clock_max;
  struct sibling_cursor cursor = object_siblings(&object);
  struct sibling sibling;
  while (sibling_next(&cursor, &sibling)) {
    uint32_t number = sibling_number(oracle, key, &sibling, object.is_clock);
    if (number != 0) {
      version_stamped(oracle, number, sibling.dot);
      siblings_add(out, number);
    }
  }
  oracle->siblings_max = out->count > oracle->siblings_max ? out->count : oracle->siblings_max;
}

/* Puts that are under way and whose version this object has, or has superseded. */
static void mark_open(struct oracle *oracle, uint32_t node, uint32_t key_index, enum space space, uint32_t owner,
                      struct bytes encoded, bool durable) {
  const struct oracle_key *key = &oracle->keys[key_index];
  if (key->open_count == 0) {
    return;
  }
  static struct past past;
  struct object object;
  enum err err = object_open(&object, encoded);
  ASSERT(err == ERR_OK);
  object_past(&object, &past);
  const uint64_t bit = UINT64_C(1) << node;
  for (uint32_t i = 0; i < key->open_count; i++) {
    struct version *version = &oracle->versions[key->open[i]];
    if (!version->stamped || !past_covers(&past, version->dot)) {
      continue;
    }
    version->accepted |= bit;
    version->durable |= durable ? bit : 0;
    if (space == SPACE_OBJECTS) {
      version->primary |= bit;
      version->settled |= durable ? bit : 0;
    } else {
      ASSERT(owner > 0);
      version->hinted[node] |= (uint16_t)(1u << (owner - 1));
    }
  }
}

/* -- what the world shows -------------------------------------------------------------------------- */

int oracle_find_key(const struct oracle *oracle, enum space space, struct bytes key, uint32_t *owner) {
  *owner = 0;
  if (space == SPACE_META) {
    return -1;
  }
  if (space == SPACE_HINTS) {
    ASSERT(key.size > 4);
    uint32_t id = (uint32_t)key.data[0] << 24 | (uint32_t)key.data[1] << 16 | (uint32_t)key.data[2] << 8 | key.data[3];
    int index = world_index(oracle->run->world, id);
    ASSERT(index >= 0);
    *owner = (uint32_t)index + 1;
    key = (struct bytes){key.data + 4, key.size - 4};
  }
  for (uint32_t i = 0; i < oracle->key_count; i++) {
    if (bytes_equal(key, oracle->keys[i].store_key)) {
      return (int)i;
    }
  }
  return -1;
}

static void tell_commit(const struct oracle *oracle, uint32_t node, uint32_t key, uint32_t owner,
                        const struct siblings *before, const struct siblings *after) {
  char place[48];
  if (oracle->run->story == NULL) {
    return; /* the texts cost more than the rest of a commit */
  }
  (void)snprintf(place, sizeof place, owner == 0 ? "has" : "keeps a hint for node %" PRIu32 ":", owner);
  if (owner == 0 || before->count > 0) {
    story_tell(oracle->run->story, key, "node %" PRIu32 " %s %s (before: %s)", node + 1, place, siblings_text(after),
               siblings_text(before));
  } else {
    story_tell(oracle->run->story, key, "node %" PRIu32 " %s %s", node + 1, place, siblings_text(after));
  }
}

/* By what the node lives by, is it a replica of the key? */
static bool owns(const struct oracle *oracle, uint32_t node, uint32_t key) {
  const struct run *run = oracle->run;
  const struct standing *standing = layouts_since(run->layouts, node, run->world->now_ns, 0);
  if (standing == NULL) {
    return false;
  }
  uint64_t replicas = layouts_get(run->layouts, standing->target)->replicas[key] |
                      layouts_get(run->layouts, standing->base)->replicas[key];
  return (replicas >> node & 1) != 0;
}

/* Is what the node has until now not damaged? Then, where nothing has been seen of it since its start, the view (unless
 * NULL) shows it. */
static bool is_readable(struct oracle *oracle, uint32_t node, uint32_t key, struct view *view) {
  struct bytes value = BYTES_NONE;
  enum err err = ERR_OK;
  bool there =
      disk_get(&oracle->run->world->nodes[node].disk, SPACE_OBJECTS, oracle->keys[key].store_key, &value, &err);
  if (there && err == ERR_OK && view != NULL && view->siblings.count == 0) {
    oracle_parse(oracle, key, value, &view->siblings);
  }
  return err == ERR_OK;
}

bool oracle_is_ignorant(const struct oracle *oracle, uint32_t node, uint32_t index) {
  const struct oracle_key *key = &oracle->keys[index];
  const struct shard *shard = oracle->run->world->nodes[node].shard;
  struct bytes user_key = {key->store_key.data + POSITION_BYTES, key->store_key.size - POSITION_BYTES};
  return oracle->disk_destroyed[node] && shard != NULL &&
         bucket_find(shard_buckets(shard), bucket_of_key(user_key)).n != key->props.n;
}

void oracle_committed(struct oracle *oracle, uint32_t node, enum space space, struct bytes key,
                      const struct bytes *value) {
  uint32_t owner = 0;
  int found = oracle_find_key(oracle, space, key, &owner);
  if (found < 0) {
    return;
  }
  uint32_t index = (uint32_t)found;
  struct view *view = &oracle->views[node][index][owner];
  if (value == NULL) {
    if (space == SPACE_HINTS) {
      story_tell(oracle->run->story, index, "node %" PRIu32 " deletes the hint for node %" PRIu32 ": %s", node + 1,
                 owner, siblings_text(&view->siblings));
      hints_dropped(oracle->run, node, owner - 1, index, &view->siblings);
    } else if (!is_readable(oracle, node, index, view)) {
      story_tell(oracle->run->story, index, "node %" PRIu32 " loses what is damaged", node + 1);
    } else if (owns(oracle, node, index)) {
      const struct siblings none = {.count = 0};
      story_tell(oracle->run->story, index, "node %" PRIu32 " forgets its copy: %s", node + 1,
                 siblings_text(&view->siblings));
      dead_forgotten(oracle->run, node, index, &view->siblings, &none);
      causal_committed(oracle->run, node, index, &view->siblings, &none);
    } else {
      story_tell(oracle->run->story, index, "node %" PRIu32 " drops its copy: %s", node + 1,
                 siblings_text(&view->siblings));
      move_dropped(oracle->run, node, index, &view->siblings);
    }
    view->siblings.count = 0;
    return;
  }
  struct siblings after = {.count = 0};
  oracle_parse(oracle, index, *value, &after);
  for (uint32_t i = 0; i < after.count; i++) {
    struct version *version = &oracle->versions[after.numbers[i]];
    if (version->coordinator == 0) {
      version->coordinator = node + 1;
      version->ignorant = version->ignorant || oracle_is_ignorant(oracle, node, index);
    }
    if (!siblings_have(&view->siblings, after.numbers[i])) {
      move_taken(oracle->run, node, after.numbers[i]);
      version->taken |= UINT64_C(1) << node;
    }
    if (!version->past_known) { /* its coordinator stamps it: this is what it has seen */
      version->past_known = true;
      version_sees(oracle, version, &view->siblings);
    }
  }
  mark_open(oracle, node, index, space, owner, *value, false);
  tell_commit(oracle, node, index, owner, &view->siblings, &after);
  if (space == SPACE_OBJECTS && owns(oracle, node, index)) {
    if (is_readable(oracle, node, index, NULL)) {
      dead_forgotten(oracle->run, node, index, &view->siblings, &after);
    }
    dead_committed(oracle->run, node, index, &view->siblings, &after);
  }
  causal_committed(oracle->run, node, index, &view->siblings, &after);
  siblings_free(&view->siblings);
  view->siblings = after;
}

void oracle_read(struct oracle *oracle, uint32_t node, enum space space, struct bytes key, struct bytes value) {
  uint32_t owner = 0;
  int index = oracle_find_key(oracle, space, key, &owner);
  if (index >= 0) {
    oracle_parse(oracle, (uint32_t)index, value, &oracle->views[node][index][owner].siblings);
  }
}

void oracle_forget_views(struct oracle *oracle, uint32_t node) {
  for (uint32_t i = 0; i < oracle->key_count; i++) {
    for (uint32_t owner = 0; owner <= RUN_NODES_MAX; owner++) {
      oracle->views[node][i][owner].siblings.count = 0;
    }
  }
}

/* -- what failures destroy --------------------------------------------------------------------------- */

/* Where the last write wins, an object holds also what lost to it, or to anything that it has replaced since. */
static void hold_losers(struct oracle *oracle, uint32_t key_index, struct bitset *held) {
  const struct oracle_key *key = &oracle->keys[key_index];
  struct dot latest = {.time = 0};
  for (uint32_t i = 0; i < key->version_count; i++) {
    const struct version *version = &oracle->versions[key->versions[i]];
    bool later = bitset_has(held, i) && version->stamped && dot_compare_age(version->dot, latest) > 0;
    latest = later ? version->dot : latest;
  }
  for (uint32_t i = 0; i < key->version_count && latest.time > 0; i++) {
    const struct version *other = &oracle->versions[key->versions[i]];
    if (!other->stamped || dot_compare_age(other->dot, latest) < 0) {
      bitset_set(held, i);
    }
  }
}

static void hold(struct oracle *oracle, uint32_t key, struct bytes encoded, struct bitset *held) {
  struct siblings siblings = {.count = 0};
  oracle_parse(oracle, key, encoded, &siblings);
  for (uint32_t i = 0; i < siblings.count; i++) {
    const struct version *version = &oracle->versions[siblings.numbers[i]];
    bitset_unite(held, &version->past);
    bitset_set(held, version->place);
  }
  if (oracle->keys[key].props.resolve == RESOLVE_LWW) {
    hold_losers(oracle, key, held);
  }
  siblings_free(&siblings);
}

static void hold_table(struct oracle *oracle, const struct disk_table *table, enum space space, uint32_t key,
                       struct bitset *held) {
  for (size_t i = 0; i < table->count; i++) {
    uint32_t owner = 0;
    if (!table->entries[i].damaged && oracle_find_key(oracle, space, table->entries[i].key, &owner) == (int)key) {
      hold(oracle, key, table->entries[i].value, held);
    }
  }
}

/* What a node holds of a key. `volatile_too`: also what is not durable. */
static void hold_node(struct oracle *oracle, uint32_t node, uint32_t key, bool volatile_too, struct bitset *held) {
  const struct disk *disk = &oracle->run->world->nodes[node].disk;
  hold_table(oracle, &disk->durable[SPACE_OBJECTS], SPACE_OBJECTS, key, held);
  hold_table(oracle, &disk->durable[SPACE_HINTS], SPACE_HINTS, key, held);
  for (size_t i = 0; i < disk->change_count && volatile_too; i++) {
    const struct disk_change *change = &disk->changes[i];
    uint32_t owner = 0;
    if (!change->remove && oracle_find_key(oracle, change->space, change->key, &owner) == (int)key) {
      hold(oracle, key, change->value, held);
    }
  }
}

static void hold_anywhere(struct oracle *oracle, uint32_t key, struct bitset *held) {
  for (uint32_t i = 0; i < oracle->run->world->node_count; i++) {
    if (!oracle->gone[i]) {
      hold_node(oracle, i, key, true, held);
    }
  }
}

bool oracle_give_up(struct oracle *oracle, uint32_t number, uint64_t nodes) {
  const struct version *version = &oracle->versions[number];
  const struct oracle_key *key = &oracle->keys[version->key];
  struct bitset held = {.count = 0};
  for (uint32_t i = 0; i < oracle->run->world->node_count; i++) {
    if (!oracle->gone[i] && (nodes >> i & 1) == 0) {
      hold_node(oracle, i, version->key, true, &held);
    }
  }
  uint64_t had = version->settled & ~nodes;
  for (uint32_t i = 0; i < oracle->run->world->node_count; i++) {
    had &= oracle->disk_destroyed[i] || oracle->gone[i] ? ~(UINT64_C(1) << i) : UINT64_MAX;
  }
  bool only = had == 0 && !bitset_has(&held, version->place);
  for (uint32_t i = 0; i < key->version_count && only; i++) {
    struct version *other = &oracle->versions[key->versions[i]];
    bool with = i == version->place || bitset_has(&version->past, i);
    other->destroyed = other->destroyed || (with && !bitset_has(&held, i));
  }
  free(held.words);
  return only;
}

bool oracle_is_replica(const struct oracle_key *key, uint32_t node) {
  for (uint32_t i = 0; i < key->preference.replica_count; i++) {
    if (key->preference.nodes[i] == node + 1) {
      return true;
    }
  }
  return false;
}

static struct bitset before_durable[PLAN_KEYS_MAX];
static struct bitset before_all[PLAN_KEYS_MAX];
static struct bitset before_own[PLAN_KEYS_MAX]; /* durable, and not in hints */

static void hold_own(struct oracle *oracle, uint32_t node, uint32_t key, struct bitset *held) {
  hold_table(oracle, &oracle->run->world->nodes[node].disk.durable[SPACE_OBJECTS], SPACE_OBJECTS, key, held);
}

/* What can be read on the node's disk; synced or not: nothing crashes any more. */
static void add_standing(struct oracle *oracle, uint32_t node, enum space space, uint32_t key, struct siblings *out) {
  struct siblings siblings = {.count = 0};
  const struct disk_table *table = &oracle->run->world->nodes[node].disk.visible[space];
  for (size_t i = 0; i < table->count; i++) {
    uint32_t owner = 0;
    bool damaged = table->entries[i].damaged;
    if (!damaged && oracle_find_key(oracle, space, table->entries[i].key, &owner) == (int)key) {
      oracle_parse(oracle, key, table->entries[i].value, &siblings);
      for (uint32_t j = 0; j < siblings.count; j++) {
        siblings_add(out, siblings.numbers[j]);
      }
    }
  }
  siblings_free(&siblings);
}

void oracle_hinted(struct oracle *oracle, uint32_t key, bool strays, struct siblings *out) {
  for (uint32_t node = 0; node < oracle->run->world->node_count; node++) {
    if (oracle->gone[node]) {
      continue;
    }
    add_standing(oracle, node, SPACE_HINTS, key, out);
    if (strays) {
      add_standing(oracle, node, SPACE_OBJECTS, key, out);
    }
  }
}

void oracle_loss_begin(struct oracle *oracle, uint32_t node) {
  for (uint32_t i = 0; i < oracle->key_count; i++) {
    before_durable[i] = before_all[i] = before_own[i] = (struct bitset){.count = 0};
    hold_own(oracle, node, i, &before_own[i]);
    hold_node(oracle, node, i, false, &before_durable[i]);
    hold_node(oracle, node, i, true, &before_all[i]);
  }
}

static void judge_loss(struct oracle *oracle, uint32_t node, uint32_t key_index, bool whole) {
  const struct oracle_key *key = &oracle->keys[key_index];
  struct bitset here = {.count = 0};
  struct bitset own = {.count = 0};
  struct bitset anywhere = {.count = 0};
  if (!oracle->gone[node]) {
    hold_own(oracle, node, key_index, &own);
    hold_node(oracle, node, key_index, false, &here);
  }
  hold_anywhere(oracle, key_index, &anywhere);
  for (uint32_t i = 0; i < key->version_count; i++) {
    struct version *version = &oracle->versions[key->versions[i]];
    if (whole && bitset_has(&before_durable[key_index], i) && !bitset_has(&here, i)) {
      version->copy_destroyed = true;
    }
    if (whole && bitset_has(&before_own[key_index], i) && !bitset_has(&own, i)) {
      version->lost |= UINT64_C(1) << node;
    }
    bool last = bitset_has(&before_all[key_index], i) && !bitset_has(&anywhere, i);
    if (last && (version->dw == 0 || version->copy_destroyed)) {
      version->destroyed = true;
    }
  }
  free(here.words);
  free(own.words);
  free(anywhere.words);
}

void oracle_loss_end(struct oracle *oracle, uint32_t node, bool whole) {
  for (uint32_t i = 0; i < oracle->key_count; i++) {
    judge_loss(oracle, node, i, whole);
    free(before_durable[i].words);
    free(before_all[i].words);
    free(before_own[i].words);
  }
  oracle->disk_destroyed[node] = oracle->disk_destroyed[node] || whole;
  oracle->any_destroyed = oracle->any_destroyed || whole;
}

void oracle_node_back(struct oracle *oracle, uint32_t node) {
  oracle->gone[node] = false;
}

void oracle_node_gone(struct oracle *oracle, uint32_t node) {
  oracle_loss_begin(oracle, node);
  oracle->gone[node] = true;
  oracle_loss_end(oracle, node, true);
}

/* A hint has been deleted because its owner had taken it, or a stray because all replicas had; but disks may have been
 * lost since. */
static void judge_gone(struct oracle *oracle, uint32_t key_index) {
  const struct oracle_key *key = &oracle->keys[key_index];
  struct bitset anywhere = {.count = 0};
  hold_anywhere(oracle, key_index, &anywhere);
  for (uint32_t i = 0; i < key->version_count; i++) {
    struct version *version = &oracle->versions[key->versions[i]];
    version->destroyed = version->destroyed || (version->copy_destroyed && !bitset_has(&anywhere, i));
  }
  free(anywhere.words);
}

void oracle_durable(struct oracle *oracle, uint32_t node, const struct disk_change *change) {
  uint32_t owner = 0;
  int index = oracle_find_key(oracle, change->space, change->key, &owner);
  if (index >= 0 && !change->remove) {
    mark_open(oracle, node, (uint32_t)index, change->space, owner, change->value, true);
  } else if (index >= 0 && oracle->any_destroyed) {
    judge_gone(oracle, (uint32_t)index);
  }
}

/* A put with DW = 0 may be acknowledged before its commit fails: then what was only in memory is gone. So it is with
 * one whose durable copies went with their disks. */
void oracle_commit_failed(struct oracle *oracle, uint32_t node, const struct disk_change *change) {
  uint32_t owner = 0;
  int index = oracle_find_key(oracle, change->space, change->key, &owner);
  if (index < 0 || change->remove) {
    return;
  }
  story_tell(oracle->run->story, (uint32_t)index, "node %" PRIu32 ": a commit fails", node + 1);
  struct siblings siblings = {.count = 0};
  oracle_parse(oracle, (uint32_t)index, change->value, &siblings);
  for (uint32_t i = 0; i < siblings.count; i++) {
    struct version *version = &oracle->versions[siblings.numbers[i]];
    if (version->dw == 0 || version->copy_destroyed) {
      version->destroyed = true;
    }
  }
  siblings_free(&siblings);
}

/* -- life -------------------------------------------------------------------------------------------------- */

void oracle_init(struct oracle *oracle, struct run *run) {
  const struct plan *plan = &run->plan;
  oracle->run = run;
  oracle->key_count = plan->keys;
  for (uint32_t i = 0; i < plan->keys; i++) {
    struct oracle_key *key = &oracle->keys[i];
    uint32_t bucket = i % plan->buckets;
    (void)snprintf(key->text, sizeof key->text, "b%" PRIu32 ":%" PRIu32, bucket, i);
    struct bytes text = {(const uint8_t *)key->text, strlen(key->text)};
    uint8_t *store_key = malloc(POSITION_BYTES + text.size);
    ASSERT(store_key != NULL);
    position_write(position_of_key(text), store_key);
    memcpy(store_key + POSITION_BYTES, text.data, text.size);
    key->store_key = (struct bytes){store_key, POSITION_BYTES + text.size};
    key->props = plan->props[bucket];
  }
}

void oracle_place(struct oracle *oracle, const struct ring *ring) {
  for (uint32_t i = 0; i < oracle->key_count; i++) {
    struct oracle_key *key = &oracle->keys[i];
    struct position position = position_read(key->store_key.data);
    ring_preference(ring, position_partition(position, ring->partition_count), key->props.n, &key->preference);
  }
}

void oracle_deinit(struct oracle *oracle) {
  for (uint32_t i = 1; i <= oracle->version_count; i++) {
    free(oracle->versions[i].past.words);
  }
  free(oracle->versions);
  for (uint32_t i = 0; i < oracle->key_count; i++) {
    struct oracle_key *key = &oracle->keys[i];
    union {
      const uint8_t *borrowed;
      uint8_t *owned;
    } store_key = {key->store_key.data};
    free(store_key.owned);
    free(key->versions);
    free(key->times);
    free(key->open);
    siblings_free(&key->forgotten);
    for (uint32_t node = 0; node < RUN_NODES_MAX; node++) {
      for (uint32_t owner = 0; owner <= RUN_NODES_MAX; owner++) {
        siblings_free(&oracle->views[node][i][owner].siblings);
      }
    }
  }
}
