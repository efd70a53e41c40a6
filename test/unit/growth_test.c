/* The Merkle tree and what keeps it equal to a store, against a plain sorted list: any order of writes, failed ones and
 * scans that return what was there at any time while they were under way. */
#include <stdio.h>

#include "support/core_step.h"

#include "base/heap.h"
#include "replica/growth.h"

#define BITS 8u
#define KEYS 600u

/* A key and what the store has of it. */
struct kept {
  struct blob *key;
  struct blob *object; /* NULL: absent */
  bool damaged;        /* a scan ends here, or passes over it */
};

static struct growth *growth;
static void *tree_memory;
static struct kept list[KEYS]; /* by position */
static uint32_t kept_count;
static bool hides; /* damage hides what is written above it, too; else that lies elsewhere, and is sound */

static void grow_begin(void) {
  struct shard_config config = {
      .tree_memory = calloc(1, tree_memory_bytes(BITS)), .tree_bits = BITS, .cluster_seed = 9, .node = 1};
  assert_non_null(config.tree_memory);
  tree_memory = config.tree_memory;
  growth = growth_init(aligned_alloc(64, growth_size()), &config);
}

static void grow_end(void) {
  free(growth);
  free(tree_memory);
}

static int by_position(const void *a, const void *b) {
  const struct kept *left = a;
  const struct kept *right = b;
  return bytes_compare(blob_bytes(left->key), blob_bytes(right->key));
}

static void begin(uint32_t count) {
  core_begin(3);
  grow_begin();
  kept_count = count;
  for (uint32_t i = 0; i < count; i++) {
    char text[32];
    (void)snprintf(text, sizeof text, i % 3 == 0 ? "{one}:%u" : "b%u:key", i);
    list[i] = (struct kept){.key = store_key(text)};
  }
  qsort(list, count, sizeof list[0], by_position);
}

static void end(void) {
  for (uint32_t i = 0; i < kept_count; i++) {
    blob_put(list[i].key);
    blob_put(list[i].object);
  }
  grow_end();
  core_end();
}

static uint64_t share(uint32_t i) {
  return growth_share(growth, blob_bytes(list[i].key), list[i].object);
}

static void object_set(uint32_t i, struct blob *object) {
  blob_put(list[i].object);
  list[i].object = object;
}

/* The store takes another version, or a deletion. */
static void store_write(struct step *step, uint32_t i) {
  uint64_t out = share(i);
  bool deletes = list[i].object != NULL && prng_chance(&core.prng, 300);
  list[i].damaged = list[i].damaged && hides;
  object_set(i, deletes ? NULL : object_of(NULL, 2, "v"));
  growth_stored(growth, step, blob_bytes(list[i].key), out, share(i));
}

static void assert_tree_is_that_of_the_list(void) {
  const struct tree *tree = growth_tree(growth);
  assert_true(growth_is_whole(growth));
  for (uint32_t bits = 0; bits <= BITS; bits += 4) {
    for (uint32_t index = 0; index >> bits == 0; index++) {
      struct tree_node node = tree_child((struct tree_node){0, 0}, bits, index);
      uint64_t sum = 0;
      for (uint32_t i = 0; i < kept_count; i++) {
        uint64_t high = position_read(list[i].key->data).high;
        sum += high >= node.prefix && high <= tree_node_last(node) ? share(i) : 0;
      }
      assert_int_equal(tree_sum(tree, node, 1), sum);
      assert_int_equal(tree_sum(tree, node, 3), sum);
      assert_int_equal(tree_sum(tree, node, 4), 0);
    }
  }
}

/* Each leaf is that of the list, or blind: then there is nothing in it but the mark of that. How many are blind? */
static uint32_t assert_leaves_are_those_of_the_list_or_blind(void) {
  const struct tree *tree = growth_tree(growth);
  assert_true(growth_is_whole(growth));
  uint32_t blind = 0;
  for (uint32_t index = 0; index >> BITS == 0; index++) {
    struct tree_node node = tree_child((struct tree_node){0, 0}, BITS, index);
    uint64_t mark = tree_sum(tree, node, REPLICAS_MAX); /* no key has so many */
    uint64_t sum = mark;
    for (uint32_t i = 0; i < kept_count && mark == 0; i++) {
      uint64_t high = position_read(list[i].key->data).high;
      sum += high >= node.prefix && high <= tree_node_last(node) ? share(i) : 0;
    }
    assert_int_equal(tree_sum(tree, node, 1), sum);
    blind += mark != 0 ? 1 : 0;
    if (mark != 0) { /* what is to be reaped there is looked for */
      assert_int_equal(growth_marked_leaf(growth, index, 1), index);
    }
  }
  assert_in_range(tree_marked(tree, 1), 0, kept_count);
  assert_in_range(tree_marked(tree, 2), 0, kept_count);
  assert_int_equal(blind > 0, growth_is_blind(growth));
  return blind;
}

/* A scan that the tree asks for, or none. */
struct scan {
  bool asked;
  struct blob *from;
};

static struct scan scan_look(void) {
  struct scan scan = {.asked = core_count(EFFECT_SCAN) > 0};
  if (scan.asked) {
    const struct effect *effect = core_effect(EFFECT_SCAN, 0);
    assert_int_equal(effect->scan.space, SPACE_OBJECTS);
    assert_false(effect->scan.keys_only);
    scan.from = blob_get(effect->scan.from);
  }
  return scan;
}

static struct scan tick(void) {
  core.now_ns += 2000 * MS;
  struct step step = core_step();
  growth_look(growth, &step);
  growth_tick(growth, &step);
  return scan_look();
}

/* What a store returns: at most `most` entries. */
struct result {
  struct scan_entry entries[GROWTH_BATCH_MAX];
  uint32_t count;
  bool end, gap;
};

static void result_take(struct result *result, const struct scan *scan, uint32_t most) {
  result->count = 0;
  result->end = true;
  result->gap = false;
  for (uint32_t i = 0; i < kept_count; i++) {
    if (bytes_compare(blob_bytes(list[i].key), blob_bytes(scan->from)) < 0 ||
        (list[i].object == NULL && !list[i].damaged)) {
      continue;
    }
    if (list[i].damaged && result->count == 0) {
      result->gap = true;
      continue;
    }
    if (result->count == most || list[i].damaged) {
      result->end = false;
      break;
    }
    result->entries[result->count] = (struct scan_entry){blob_get(list[i].key), blob_get(list[i].object)};
    result->count += 1;
  }
}

static struct scan scan_done(struct scan *scan, struct result *result, enum err err) {
  struct step step = core_step();
  struct event event = {.kind = EVENT_SCAN_DONE};
  event.scan.token = token_make(TOKEN_GROWTH, 0);
  event.scan.err = err;
  event.scan.entries = result->entries;
  event.scan.count = err == ERR_OK ? result->count : 0;
  event.scan.end = result->end;
  event.scan.gap = err == ERR_OK && result->gap;
  growth_scan_done(growth, &step, &event);
  for (uint32_t i = 0; i < result->count; i++) {
    blob_put(result->entries[i].key);
    blob_put(result->entries[i].value);
  }
  blob_put(scan->from);
  return scan_look();
}

static void some_writes(uint32_t most) {
  uint32_t count = (uint32_t)prng_below(&core.prng, most + 1u);
  for (uint32_t i = 0; i < count; i++) {
    struct step step = core_step();
    store_write(&step, (uint32_t)prng_below(&core.prng, kept_count));
  }
}

/* Scans until the tree lacks nothing, with writes before and after the moment at which each scan looked. */
static void grow(uint32_t writes, uint32_t batch) {
  struct scan scan = tick();
  uint32_t scans = 0;
  while (!growth_is_whole(growth)) {
    struct result result;
    if (!scan.asked) {
      scan = tick();
      continue;
    }
    some_writes(writes);
    result_take(&result, &scan, batch);
    some_writes(writes);
    scans += 1;
    assert_true(scans < 100 * KEYS);
    scan = scan_done(&scan, &result, prng_chance(&core.prng, 100) ? ERR_IO : ERR_OK);
  }
  assert_false(scan.asked);
}

static void damage(uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t at = (uint32_t)prng_below(&core.prng, kept_count);
    list[at].damaged = list[at].object != NULL;
  }
}

static void damage_is_gone(void) {
  for (uint32_t i = 0; i < kept_count; i++) {
    list[i].damaged = false;
  }
}

/* What has been written there is looked at again after a while, one place after the other. */
static void look_again(void) {
  for (uint32_t i = 0; i < 100 && growth_deadline(growth) != HEAP_NEVER; i++) {
    core.now_ns = growth_deadline(growth);
    grow(0, 50);
  }
}

static void what_can_not_be_read_is_blind_until_it_can_be(void **state) {
  (void)state;
  for (uint32_t seed = 1; seed <= 60; seed++) {
    begin(300);
    prng_init(&core.prng, seed);
    hides = seed % 2 == 0;
    some_writes(900);
    grow(3, 100);
    for (uint32_t round = 0; round < 5; round++) {
      damage(1 + seed % 4);
      growth_lose(growth, (struct position){0, 0}, (struct position){UINT64_MAX, UINT64_MAX});
      grow(20, 1 + seed % 40); /* it comes to its end, whatever is written meanwhile */
      some_writes(50);
      assert_in_range(assert_leaves_are_those_of_the_list_or_blind(), 0, 100);
      look_again();
      (void)assert_leaves_are_those_of_the_list_or_blind();
    }
    for (uint32_t i = 0; i < kept_count; i++) {
      struct step step = core_step();
      bool above = hides || list[i].damaged;
      list[i].damaged = list[i].damaged && !hides;
      if (above) {
        store_write(&step, i);
      }
    }
    look_again();
    assert_false(growth_is_blind(growth));
    assert_tree_is_that_of_the_list();
    hides = false;
    end();
  }
}

/* A blind leaf is nobody else's, though nobody has anything in it. */
static void what_is_blind_differs_from_everything(void **state) {
  (void)state;
  uint64_t sums[2];
  for (uint32_t i = 0; i < 2; i++) {
    begin(1);
    object_set(0, object_of(NULL, 2, "v"));
    list[0].damaged = true;
    if (i == 1) {
      free(growth);
      struct shard_config config = {.tree_memory = tree_memory, .tree_bits = BITS, .cluster_seed = 9, .node = 5};
      growth = growth_init(aligned_alloc(64, growth_size()), &config);
    }
    grow(0, 10);
    assert_true(growth_is_blind(growth));
    sums[i] = tree_sum(growth_tree(growth), tree_node_of(position_read(list[0].key->data).high, BITS), REPLICAS_MAX);
    assert_int_equal(tree_marked(growth_tree(growth), 1) + tree_marked(growth_tree(growth), 2), 0);
    end();
  }
  assert_int_not_equal(sums[0], 0);
  assert_int_not_equal(sums[0], sums[1]);
}

/* More places than are kept apart. */
static void where_there_is_damage_everywhere_nothing_counts(void **state) {
  (void)state;
  begin(600);
  hides = true;
  for (uint32_t i = 0; i < kept_count; i++) {
    object_set(i, object_of(NULL, 2, "v"));
    list[i].damaged = i % 4 == 0;
  }
  grow(10, 50);
  some_writes(300);
  uint32_t blind = assert_leaves_are_those_of_the_list_or_blind();
  assert_in_range(blind, 100, 1u << BITS);
  damage_is_gone();
  some_writes(2000);
  growth_lose(growth, (struct position){0, 0}, (struct position){UINT64_MAX, UINT64_MAX});
  grow(3, 100);
  assert_false(growth_is_blind(growth));
  assert_tree_is_that_of_the_list();
  hides = false;
  end();
}

/* Far from each other: what is between the nearest two is blind, too, and no more. */
static void of_too_many_places_the_nearest_are_joined(void **state) {
  (void)state;
  begin(600);
  for (uint32_t i = 0; i < kept_count; i++) {
    object_set(i, object_of(NULL, 2, "v"));
    list[i].damaged = i % 20 == 0;
  }
  hides = true;
  grow(0, 50);
  uint32_t blind = assert_leaves_are_those_of_the_list_or_blind();
  assert_in_range(blind, 30, 30 * 4);
  some_writes(1000);
  assert_int_equal(assert_leaves_are_those_of_the_list_or_blind(), blind);
  hides = false;
  end();
}

/* Nothing is written there, and the file is gone. */
static void what_is_blind_is_looked_at_again_when_all_has_been_scrubbed(void **state) {
  (void)state;
  begin(100);
  for (uint32_t i = 0; i < kept_count; i++) {
    object_set(i, object_of(NULL, 2, "v"));
    list[i].damaged = i % 30 == 7;
  }
  grow(0, 50);
  assert_true(growth_is_blind(growth));
  damage_is_gone();
  look_again();
  assert_true(growth_is_blind(growth));
  growth_scrubbed(growth);
  look_again();
  assert_false(growth_is_blind(growth));
  assert_tree_is_that_of_the_list();
  end();
}

static void an_empty_store_costs_one_scan(void **state) {
  (void)state;
  begin(0);
  struct result result;
  struct scan scan = tick();
  assert_true(scan.asked);
  assert_false(growth_is_whole(growth));
  result_take(&result, &scan, 1);
  scan = scan_done(&scan, &result, ERR_OK);
  assert_false(scan.asked);
  assert_true(growth_is_whole(growth));
  end();
}

static void a_tree_that_is_whole_follows_each_write(void **state) {
  (void)state;
  begin(200);
  grow(0, 64);
  for (uint32_t i = 0; i < 50; i++) {
    some_writes(20);
    assert_tree_is_that_of_the_list();
  }
  end();
}

static void a_tree_grows_beside_writes(void **state) {
  (void)state;
  for (uint32_t seed = 1; seed <= 60; seed++) {
    begin(seed * 10);
    prng_init(&core.prng, seed);
    some_writes(2 * kept_count);
    grow(seed % 4 == 0 ? 150 : seed % 7, 1 + seed % 40);
    assert_tree_is_that_of_the_list();
    end();
  }
}

static void a_write_of_which_nobody_knows_whether_it_was_taken_is_looked_at(void **state) {
  (void)state;
  for (uint32_t seed = 1; seed <= 40; seed++) {
    begin(300);
    prng_init(&core.prng, seed);
    some_writes(600);
    grow(3, 100);
    for (uint32_t round = 0; round < 10; round++) {
      uint32_t at = (uint32_t)prng_below(&core.prng, kept_count);
      growth_doubt(growth, blob_bytes(list[at].key));
      if (prng_chance(&core.prng, 500)) {
        object_set(at, object_of(NULL, 3, "taken all the same"));
      }
      assert_false(tick().asked); /* before it is settled a scan would be too early */
      growth_settled(growth);
      if (round % 3 == 2) {
        grow(5, 40);
        assert_tree_is_that_of_the_list();
      }
    }
    grow(5, 40);
    assert_tree_is_that_of_the_list();
    end();
  }
}

static void another_n_of_a_bucket_grows_the_tree_anew(void **state) {
  (void)state;
  begin(90);
  some_writes(300);
  grow(2, 20);
  struct bucket bucket = {.time = 1, .issuer = 1, .name = "b7", .name_size = 2, .props = bucket_props_default()};
  bucket.props.n = bucket.props.r = bucket.props.w = 1;
  assert_int_equal(bucket_put(&core.buckets, &bucket), ERR_OK);
  core.buckets_digest = bucket_table_digest(&core.buckets);
  struct scan scan = tick();
  assert_true(scan.asked);
  blob_put(scan.from);
  assert_false(growth_is_whole(growth));
  assert_int_equal(growth_sizes(growth), 1u << 1 | 1u << 3);
  end();
}

static void a_share_depends_on_the_key_the_object_and_the_seed(void **state) {
  (void)state;
  begin(2);
  struct tree other;
  struct blob *a = object_of(NULL, 2, "a");
  struct blob *b = object_of(NULL, 2, "b");
  tree_init(&other, tree_memory, BITS, 10);
  struct bytes key = blob_bytes(list[0].key);
  uint64_t share_a = growth_share(growth, key, a);
  assert_int_not_equal(share_a, 0);
  assert_int_not_equal(share_a, growth_share(growth, key, b));
  assert_int_not_equal(share_a, growth_share(growth, blob_bytes(list[1].key), a));
  assert_int_not_equal(share_a, tree_share(&other, key, object_digest(blob_bytes(a)), 0));
  assert_int_equal(growth_share(growth, key, NULL), 0);
  blob_put(a);
  blob_put(b);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_store_costs_one_scan),
      cmocka_unit_test(a_tree_that_is_whole_follows_each_write),
      cmocka_unit_test(a_tree_grows_beside_writes),
      cmocka_unit_test(a_write_of_which_nobody_knows_whether_it_was_taken_is_looked_at),
      cmocka_unit_test(what_can_not_be_read_is_blind_until_it_can_be),
      cmocka_unit_test(what_is_blind_differs_from_everything),
      cmocka_unit_test(where_there_is_damage_everywhere_nothing_counts),
      cmocka_unit_test(of_too_many_places_the_nearest_are_joined),
      cmocka_unit_test(what_is_blind_is_looked_at_again_when_all_has_been_scrubbed),
      cmocka_unit_test(another_n_of_a_bucket_grows_the_tree_anew),
      cmocka_unit_test(a_share_depends_on_the_key_the_object_and_the_seed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
