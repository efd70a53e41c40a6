/* The ring: where keys lie, what a history is, whom a preference list names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "ring/ring.h"

static struct history history;
static struct history other;
static struct history before;
static struct ring ring;
static uint8_t encoded[HISTORY_ENCODED_MAX_BYTES(HISTORY_MAX)];
static uint8_t again[HISTORY_ENCODED_MAX_BYTES(HISTORY_MAX)];

static struct bytes text(const char *string) {
  return (struct bytes){(const uint8_t *)string, strlen(string)};
}

/* -- positions ----------------------------------------------------------------- */

static void slots_are_those_of_redis_cluster(void **state) {
  (void)state;
  /* CRC16/XMODEM of "123456789" is 0x31c3, the check value of its catalogue entry. */
  assert_int_equal(slot_of_key(text("123456789")), 0x31c3 % SLOTS);
  assert_int_equal(slot_of_key(text("123456789")), 12739);
  assert_int_equal(slot_of_key(text("foo")), 12182);
  assert_int_equal(slot_of_key(text("bar")), 5061);
  assert_int_equal(slot_of_key(text("hello")), 866);
  assert_int_equal(slot_of_key(text("somekey")), 11058);
  assert_int_equal(slot_of_key(BYTES_NONE), 0);
}

/* The definition, a bit at a time. */
static uint16_t slow_slot(const uint8_t *data, size_t size) {
  uint32_t crc = 0;
  for (size_t i = 0; i < size; i++) {
    crc ^= (uint32_t)data[i] << 8;
    for (int bit = 0; bit < 8; bit++) {
      crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
    }
    crc &= 0xffff;
  }
  return (uint16_t)(crc % 16384);
}

static void slots_are_crc16_bit_by_bit(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 17);
  for (int i = 0; i < 10000; i++) {
    uint8_t key[64];
    const size_t size = (size_t)prng_below(&prng, sizeof(key));
    for (size_t j = 0; j < size; j++) {
      const uint64_t byte = prng_below(&prng, 256);
      key[j] = byte == '{' ? 0 : (uint8_t)byte;
    }
    assert_int_equal(slot_of_key((struct bytes){key, size}), slow_slot(key, size));
  }
}

static void a_hash_tag_decides_the_slot_and_the_whole_key_the_position(void **state) {
  (void)state;
  const uint16_t user = slot_of_key(text("user1000"));
  assert_int_equal(slot_of_key(text("{user1000}.following")), user);
  assert_int_equal(slot_of_key(text("{user1000}.followers")), user);
  assert_int_equal(slot_of_key(text("a{user1000}b{other}")), user);
  const struct position following = position_of_key(text("{user1000}.following"));
  const struct position followers = position_of_key(text("{user1000}.followers"));
  assert_int_equal(position_slot(following), user);
  assert_int_equal(position_slot(followers), user);
  assert_true(following.low != followers.low);
}

static void an_empty_or_open_tag_is_no_tag(void **state) {
  (void)state;
  assert_int_equal(slot_of_key(text("foo{}{bar}")), slow_slot((const uint8_t *)"foo{}{bar}", 10));
  assert_int_equal(slot_of_key(text("foo{bar")), slow_slot((const uint8_t *)"foo{bar", 7));
  assert_int_equal(slot_of_key(text("foo}bar{")), slow_slot((const uint8_t *)"foo}bar{", 8));
  assert_int_equal(slot_of_key(text("foo{{bar}}zap")), slow_slot((const uint8_t *)"{bar", 4));
  assert_int_equal(slot_of_key(text("{}")), slow_slot((const uint8_t *)"{}", 2));
}

static void a_position_is_the_slot_and_then_the_hash(void **state) {
  (void)state;
  /* XXH3-128 of no bytes is 99aa06d3014798d86001c324468d497f. */
  const struct position empty = position_of_key(BYTES_NONE);
  assert_true(empty.high == UINT64_C(0x99aa06d3014798d8) >> 14);
  assert_true(empty.low == UINT64_C(0x6001c324468d497f));
}

static void positions_are_written_in_their_order(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 3);
  for (int i = 0; i < 10000; i++) {
    struct position a;
    struct position b;
    a.high = prng_u64(&prng);
    a.low = prng_u64(&prng);
    b.high = prng_chance(&prng, 500) ? a.high : prng_u64(&prng);
    b.low = prng_u64(&prng);
    uint8_t bytes_a[POSITION_BYTES];
    uint8_t bytes_b[POSITION_BYTES];
    position_write(a, bytes_a);
    position_write(b, bytes_b);
    const struct position back = position_read(bytes_a);
    assert_true(back.high == a.high && back.low == a.low);
    const bool less = a.high < b.high || (a.high == b.high && a.low < b.low);
    assert_int_equal(memcmp(bytes_a, bytes_b, POSITION_BYTES) < 0, less);
  }
}

static void a_partition_is_a_run_of_slots(void **state) {
  (void)state;
  for (uint32_t q = 1; q <= PARTITIONS_MAX; q *= 2) {
    for (uint32_t slot = 0; slot < SLOTS; slot += 1) {
      const struct position position = {(uint64_t)slot << 50, UINT64_MAX};
      assert_int_equal(position_partition(position, q), slot / (SLOTS / q));
    }
  }
}

/* -- histories ------------------------------------------------------------------- */

static struct change make_change(enum change_kind kind, uint64_t time, uint32_t node) {
  struct change change;
  memset(&change, 0x5a, sizeof(change)); /* what a kind does not use may hold anything */
  change.kind = kind;
  change.time = time;
  change.issuer = 1;
  change.node = node;
  if (kind != CHANGE_REMOVE) {
    change.weight = 1;
  }
  if (kind == CHANGE_FOUND) {
    change.partition_count = 64;
  }
  if (kind == CHANGE_REPLACE) {
    change.old = 1 + node % 9;
  }
  if (kind == CHANGE_FOUND || kind == CHANGE_ADD || kind == CHANGE_REPLACE) {
    change.client_port = 7600;
    change.peer_port = 17600;
    (void)snprintf(change.host, sizeof(change.host), "10.0.0.%u", (unsigned)(node % 256));
    (void)snprintf(change.name, sizeof(change.name), "node-%u", (unsigned)node);
    (void)snprintf(change.zone, sizeof(change.zone), "%s", "");
  }
  return change;
}

static void add(struct history *to, struct change change) {
  assert_int_equal(history_add(to, &change), ERR_OK);
}

static struct change make_random_change(struct prng *prng) {
  const uint64_t time = 1 + prng_below(prng, 40);
  const uint32_t issuer = 1 + (uint32_t)prng_below(prng, 3);
  /* The rest follows from the identity, so that two nodes never tell different stories. */
  const enum change_kind kind = (enum change_kind)(CHANGE_ADD + (time + issuer) % 4);
  struct change change = make_change(kind, time, (uint32_t)(1 + (time * 7 + issuer) % 9));
  change.issuer = issuer;
  return change;
}

static struct bytes encode(const struct history *from, uint8_t *to, size_t capacity) {
  struct writer w = writer_make(to, capacity);
  history_encode(from, &w);
  assert_false(w.failed);
  return writer_bytes(&w);
}

static void assert_same_history(const struct history *a, const struct history *b) {
  assert_int_equal(a->count, b->count);
  const struct bytes bytes_a = encode(a, encoded, sizeof(encoded));
  const struct bytes bytes_b = encode(b, again, sizeof(again));
  assert_true(bytes_equal(bytes_a, bytes_b));
  assert_true(history_digest(a) == history_digest(b));
}

static void records_are_kept_in_order_of_time_and_issuer(void **state) {
  (void)state;
  history_init(&history);
  assert_true(history_digest(&history) == 0);
  add(&history, make_change(CHANGE_ADD, 30, 3));
  add(&history, make_change(CHANGE_FOUND, 10, 1));
  struct change same_time = make_change(CHANGE_REMOVE, 30, 4);
  same_time.issuer = 2;
  add(&history, same_time);
  add(&history, make_change(CHANGE_REWEIGH, 20, 1));
  assert_int_equal(history.count, 4);
  assert_int_equal(history.changes[0].kind, CHANGE_FOUND);
  assert_int_equal(history.changes[1].kind, CHANGE_REWEIGH);
  assert_int_equal(history.changes[2].kind, CHANGE_ADD);
  assert_int_equal(history.changes[3].kind, CHANGE_REMOVE);
  /* Twice is once. */
  add(&history, make_change(CHANGE_ADD, 30, 3));
  assert_int_equal(history.count, 4);
}

static void what_a_kind_does_not_use_is_forgotten(void **state) {
  (void)state;
  history_init(&history);
  history_init(&other);
  struct change remove = make_change(CHANGE_REMOVE, 5, 2);
  add(&history, remove);
  remove.weight = 7;
  remove.client_port = 9;
  memset(remove.host, 'x', sizeof(remove.host));
  add(&history, remove);
  assert_int_equal(history.count, 1);
  add(&other, remove);
  assert_same_history(&history, &other);
}

static void fields_out_of_range_are_refused(void **state) {
  (void)state;
  history_init(&history);
  const struct change good = make_change(CHANGE_FOUND, 1, 1);
  struct change bad[14];
  for (size_t i = 0; i < 14; i++) {
    bad[i] = i < 12 ? good : make_change(CHANGE_REPLACE, 1, 1);
  }
  bad[0].time = 0;
  bad[1].issuer = 0;
  bad[2].node = 0;
  bad[3].weight = 0;
  bad[4].weight = WEIGHT_MAX + 1;
  bad[5].partition_count = 0;
  bad[6].partition_count = 100;
  bad[7].partition_count = 2 * PARTITIONS_MAX;
  memset(bad[8].host, 'h', sizeof(bad[8].host));
  memset(bad[9].name, 'n', sizeof(bad[9].name));
  memset(bad[10].zone, 'z', sizeof(bad[10].zone));
  const uint32_t unknown = 9;
  memcpy(&bad[11].kind, &unknown, sizeof(bad[11].kind));
  bad[12].old = 0;
  bad[13].old = bad[13].node;
  for (size_t i = 0; i < 14; i++) {
    assert_int_equal(history_add(&history, &bad[i]), ERR_BADARG);
  }
  assert_int_equal(history.count, 0);
  add(&history, good);
}

static void another_record_of_the_same_identity_is_refused(void **state) {
  (void)state;
  history_init(&history);
  add(&history, make_change(CHANGE_ADD, 3, 2));
  const struct change rival = make_change(CHANGE_ADD, 3, 4);
  assert_int_equal(history_add(&history, &rival), ERR_REFUSED);
  history_init(&other);
  add(&other, make_change(CHANGE_ADD, 1, 9));
  add(&other, rival);
  uint32_t added = 77;
  assert_int_equal(history_merge(&history, encode(&other, encoded, sizeof(encoded)), &added), ERR_REFUSED);
  assert_int_equal(added, 0);
  assert_int_equal(history.count, 1);
}

static void clusters_founded_apart_are_never_merged(void **state) {
  (void)state;
  history_init(&history);
  history_init(&other);
  add(&history, make_change(CHANGE_FOUND, 3, 2));
  add(&other, make_change(CHANGE_FOUND, 4, 3));
  add(&other, make_change(CHANGE_ADD, 5, 4));
  const struct change founding = make_change(CHANGE_FOUND, 9, 9);
  assert_int_equal(history_add(&history, &founding), ERR_REFUSED);
  uint32_t added = 0;
  assert_int_equal(history_merge(&history, encode(&other, encoded, sizeof(encoded)), &added), ERR_REFUSED);
  assert_int_equal(history.count, 1);
}

static void union_is_commutative_and_idempotent(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 5);
  for (int i = 0; i < 2000; i++) {
    history_init(&history);
    history_init(&other);
    const uint64_t mine = prng_below(&prng, 12);
    const uint64_t theirs = prng_below(&prng, 12);
    for (uint64_t j = 0; j < mine; j++) {
      add(&history, make_random_change(&prng));
    }
    for (uint64_t j = 0; j < theirs; j++) {
      add(&other, make_random_change(&prng));
    }
    before = history;
    uint32_t added = 0;
    const struct bytes of_other = encode(&other, encoded, sizeof(encoded));
    assert_int_equal(history_merge(&history, of_other, &added), ERR_OK);
    assert_int_equal(history.count, before.count + added);
    assert_int_equal(history_merge(&history, of_other, &added), ERR_OK);
    assert_int_equal(added, 0);
    const struct bytes of_mine = encode(&before, encoded, sizeof(encoded));
    assert_int_equal(history_merge(&other, of_mine, &added), ERR_OK);
    assert_same_history(&history, &other);
    for (uint32_t j = 0; j < before.count; j++) {
      assert_int_equal(history_add(&history, &before.changes[j]), ERR_OK);
    }
    assert_int_equal(history.count, other.count);
    for (uint32_t j = 1; j < history.count; j++) {
      const struct change *a = &history.changes[j - 1];
      const struct change *b = &history.changes[j];
      assert_true(a->time < b->time || (a->time == b->time && a->issuer < b->issuer));
    }
  }
}

static void a_digest_tells_histories_apart(void **state) {
  (void)state;
  history_init(&history);
  add(&history, make_change(CHANGE_FOUND, 1, 1));
  const uint64_t one = history_digest(&history);
  add(&history, make_change(CHANGE_ADD, 2, 2));
  const uint64_t two = history_digest(&history);
  assert_true(one != 0 && two != 0 && one != two);
  history_init(&other);
  add(&other, make_change(CHANGE_FOUND, 1, 1));
  struct change moved = make_change(CHANGE_ADD, 2, 2);
  moved.peer_port++;
  add(&other, moved);
  assert_true(history_digest(&other) != two);
}

static void fill_sample(void) {
  history_init(&history);
  add(&history, make_change(CHANGE_FOUND, 1, 1));
  add(&history, make_change(CHANGE_ADD, 2, 2));
  add(&history, make_change(CHANGE_REWEIGH, 3, 2));
  add(&history, make_change(CHANGE_REMOVE, 4, 1));
  add(&history, make_change(CHANGE_REPLACE, 5, 2));
}

static void assert_refused_whole(struct bytes bytes, enum err wanted) {
  history_init(&other);
  add(&other, make_change(CHANGE_ADD, 50, 5));
  uint32_t added = 1;
  assert_int_equal(history_merge(&other, bytes, &added), wanted);
  assert_int_equal(added, 0);
  assert_int_equal(other.count, 1);
  assert_int_equal(other.changes[0].node, 5);
}

static void damaged_encodings_are_refused_and_nothing_is_taken(void **state) {
  (void)state;
  fill_sample();
  const struct bytes good = encode(&history, encoded, sizeof(encoded));
  for (size_t size = 0; size < good.size; size++) {
    assert_refused_whole((struct bytes){good.data, size}, ERR_CORRUPT);
  }
  for (size_t at = 0; at < good.size; at++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      memcpy(again, good.data, good.size);
      again[at] ^= (uint8_t)(1u << bit);
      assert_refused_whole((struct bytes){again, good.size}, at == 0 && again[0] > 2 ? ERR_FORMAT : ERR_CORRUPT);
    }
  }
  memcpy(again, good.data, good.size);
  again[good.size] = 0;
  assert_refused_whole((struct bytes){again, good.size + 1}, ERR_CORRUPT);
}

static struct bytes seal_again(size_t size) {
  struct writer w = writer_make(again + size - 8, 8);
  write_u64(&w, bytes_hash((struct bytes){again, size - 8}, 0));
  return (struct bytes){again, size};
}

/* A checksum keeps accidents out; whoever can compute one must still make sense. */
static void nonsense_with_a_good_checksum_is_refused(void **state) {
  (void)state;
  fill_sample();
  const struct bytes good = encode(&history, encoded, sizeof(encoded));
  uint32_t taken = 0;
  uint32_t refused = 0;
  struct prng prng;
  prng_init(&prng, 8);
  for (int i = 0; i < 20000; i++) {
    memcpy(again, good.data, good.size);
    const size_t at = (size_t)prng_below(&prng, good.size - 8);
    again[at] = (uint8_t)prng_below(&prng, 256);
    history_init(&other);
    uint32_t added = 0;
    const enum err err = history_merge(&other, seal_again(good.size), &added);
    assert_int_equal(other.count, added);
    if (err == ERR_OK) {
      taken++;
      /* One history, one encoding. */
      assert_true(bytes_equal(encode(&other, encoded, sizeof(encoded)), (struct bytes){again, good.size}));
    } else {
      refused++;
      assert_int_equal(added, 0);
    }
    (void)encode(&history, encoded, sizeof(encoded));
  }
  assert_true(taken > 1000);
  assert_true(refused > 1000);
  /* Two records in the wrong order. */
  const size_t first = 5;
  const size_t record = 31 + strlen("10.0.0.1") + strlen("node-1") + 1;
  memcpy(again, good.data, good.size);
  memcpy(again + first, good.data + first + record, record);
  memcpy(again + first + record, good.data + first, record);
  assert_refused_whole(seal_again(good.size), ERR_CORRUPT);
}

static void a_newer_format_is_told_from_damage(void **state) {
  (void)state;
  fill_sample();
  const struct bytes good = encode(&history, encoded, sizeof(encoded));
  memcpy(again, good.data, good.size);
  again[0] = 3;
  assert_refused_whole(seal_again(good.size), ERR_FORMAT);
}

static void a_full_history_refuses_more_and_keeps_what_it_has(void **state) {
  (void)state;
  history_init(&history);
  for (uint32_t i = 0; i < HISTORY_MAX; i++) {
    add(&history, make_change(i % 2 == 0 ? CHANGE_ADD : CHANGE_REMOVE, 2 * i + 2, 1 + i / 2));
  }
  const struct change more = make_change(CHANGE_ADD, 1, 9);
  assert_int_equal(history_add(&history, &more), ERR_FULL);
  add(&history, make_change(CHANGE_ADD, 2, 1)); /* is there already */
  history_init(&other);
  add(&other, more);
  const uint64_t digest = history_digest(&history);
  uint32_t added = 0;
  assert_int_equal(history_merge(&history, encode(&other, encoded, sizeof(encoded)), &added), ERR_FULL);
  assert_true(history_digest(&history) == digest);
  /* The largest encoding goes into an empty history, and into one that has every other record. */
  history_init(&other);
  const struct bytes all = encode(&history, encoded, sizeof(encoded));
  assert_int_equal(history_merge(&other, all, &added), ERR_OK);
  assert_int_equal(added, HISTORY_MAX);
  history_init(&other);
  for (uint32_t i = 0; i < HISTORY_MAX; i += 2) {
    add(&other, history.changes[i]);
  }
  assert_int_equal(history_merge(&other, all, &added), ERR_OK);
  assert_int_equal(added, HISTORY_MAX / 2);
  assert_true(history_digest(&other) == digest);
}

/* -- prefixes ------------------------------------------------------------------ */

static void a_prefix_has_the_digest_of_the_history_that_ends_there(void **state) {
  (void)state;
  struct prng prng;
  prng_init(&prng, 21);
  for (int i = 0; i < 500; i++) {
    history_init(&history);
    for (uint64_t records = prng_below(&prng, 30); records > 0; records--) {
      add(&history, make_random_change(&prng));
    }
    for (uint32_t count = 0; count <= history.count; count++) {
      other = history;
      other.count = count;
      const uint64_t digest = history_digest(&other);
      assert_true(history_prefix_digest(&history, count) == digest);
      assert_int_equal(history_find_prefix(&history, digest), count);
      assert_int_equal(history_find_prefix(&history, digest + 1), -1);
    }
    assert_int_equal(history_find_prefix(&history, prng_u64(&prng) | 1), -1);
  }
}

/* -- the fold ------------------------------------------------------------------ */

static void found(uint32_t node, uint32_t partition_count, const char *zone) {
  history_init(&history);
  struct change change = make_change(CHANGE_FOUND, 1, node);
  change.partition_count = partition_count;
  (void)snprintf(change.zone, sizeof(change.zone), "%s", zone);
  add(&history, change);
}

static void join(uint32_t node, uint32_t weight, const char *zone) {
  struct change change = make_change(CHANGE_ADD, 1 + history.count, node);
  change.weight = weight;
  (void)snprintf(change.zone, sizeof(change.zone), "%s", zone);
  add(&history, change);
}

static uint32_t owned_by(uint32_t node) {
  const int at = ring_find(&ring, node);
  assert_true(at >= 0);
  return ring.members[at].owned;
}

static void without_a_founding_there_is_no_ring(void **state) {
  (void)state;
  history_init(&history);
  ring_fold(&ring, &history);
  assert_int_equal(ring.partition_count, 0);
  assert_int_equal(ring.member_count, 0);
  assert_true(ring.digest == 0);
  join(1, 1, "");
  ring_fold(&ring, &history);
  assert_int_equal(ring.partition_count, 0);
  assert_int_equal(ring_find(&ring, 1), -1);
}

static void a_founder_owns_everything(void **state) {
  (void)state;
  found(42, 1024, "");
  ring_fold(&ring, &history);
  assert_int_equal(ring.partition_count, 1024);
  assert_int_equal(ring.member_count, 1);
  assert_int_equal(owned_by(42), 1024);
  assert_string_equal(ring.members[0].name, "node-42");
  assert_string_equal(ring.members[0].host, "10.0.0.42");
  assert_int_equal(ring.members[0].peer_port, 17600);
  for (uint32_t p = 0; p < 1024; p++) {
    assert_int_equal(ring_owner(&ring, p), 42);
  }
  struct preference preference;
  ring_preference(&ring, 1023, 3, &preference);
  assert_int_equal(preference.count, 1);
  assert_int_equal(preference.replica_count, 1);
  assert_int_equal(preference.nodes[0], 42);
}

static void two_and_three_take_turns(void **state) {
  (void)state;
  found(5, 16, "");
  join(3, 1000, "");
  ring_fold(&ring, &history);
  for (uint32_t p = 0; p < 16; p++) {
    assert_int_equal(ring_owner(&ring, p), p % 2 == 0 ? 3 : 5);
  }
  join(4, 1, "");
  ring_fold(&ring, &history);
  for (uint32_t p = 0; p < 16; p++) {
    assert_int_equal(ring_owner(&ring, p), 3 + p % 3);
  }
}

static void senseless_records_are_passed_over(void **state) {
  (void)state;
  found(1, 64, "");
  join(2, 1, "");
  add(&history, make_change(CHANGE_ADD, 10, 2));
  add(&history, make_change(CHANGE_REMOVE, 11, 9));
  add(&history, make_change(CHANGE_REWEIGH, 12, 9));
  ring_fold(&ring, &history);
  assert_int_equal(ring.member_count, 2);
  assert_true(ring.digest == history_digest(&history));
  add(&history, make_change(CHANGE_REMOVE, 13, 1));
  add(&history, make_change(CHANGE_REMOVE, 14, 2)); /* the last one stays */
  ring_fold(&ring, &history);
  assert_int_equal(ring.member_count, 1);
  assert_int_equal(owned_by(2), 64);
}

static void replace(uint32_t old, uint32_t node, uint32_t weight, const char *zone) {
  struct change change = make_change(CHANGE_REPLACE, 1 + history.count, node);
  change.old = old;
  change.weight = weight;
  (void)snprintf(change.zone, sizeof(change.zone), "%s", zone);
  add(&history, change);
}

/* Folds all of `history` into `ring`, and what it was one record before into `earlier`. */
static struct ring earlier;

static void fold_with_the_one_before(void) {
  ring_fold_prefix(&earlier, &history, history.count - 1);
  ring_fold(&ring, &history);
}

static void assert_only_the_seat_changed_hands(uint32_t old, uint32_t node) {
  fold_with_the_one_before();
  assert_int_equal(ring.member_count, earlier.member_count);
  assert_int_equal(ring_find(&ring, old), -1);
  for (uint32_t p = 0; p < ring.partition_count; p++) {
    const uint32_t owner = ring_owner(&earlier, p);
    assert_int_equal(ring_owner(&ring, p), owner == old ? node : owner);
  }
}

static void a_replacement_takes_the_seat_and_nothing_else_moves(void **state) {
  (void)state;
  found(1, 64, "a");
  join(2, 7, "a");
  join(3, 2, "b");
  /* Three take turns by id; a replacement keeps the turn of the old node. */
  replace(2, 9, 7, "a");
  assert_only_the_seat_changed_hands(2, 9);
  join(4, 1, "b");
  join(5, 3, "c");
  replace(9, 6, 7, "a");
  assert_only_the_seat_changed_hands(9, 6);
  assert_string_equal(ring.members[ring_find(&ring, 6)].name, "node-6");
  assert_int_equal(ring.members[ring_find(&ring, 6)].weight, 7);
  /* The only node of a zone may bring another zone with it. It takes the number of the old one, though a lower is free:
   * zones are looked at in the order of their numbers. */
  add(&history, make_change(CHANGE_REMOVE, 1 + history.count, 1));
  add(&history, make_change(CHANGE_REMOVE, 1 + history.count, 6));
  replace(5, 7, 3, "d");
  assert_only_the_seat_changed_hands(5, 7);
  assert_string_equal(ring.members[ring_find(&ring, 7)].zone_name, "d");
  assert_int_equal(ring.members[ring_find(&ring, 7)].zone_mark, 2);
  assert_int_equal(ring.zone_count, 2);
}

static void a_replacement_of_another_weight_or_zone_is_settled(void **state) {
  (void)state;
  found(1, 1024, "");
  for (uint32_t node = 2; node <= 8; node++) {
    join(node, 1, "");
  }
  replace(3, 20, 3, "");
  ring_fold(&ring, &history);
  assert_in_range(owned_by(20), 307, 308);
  replace(4, 21, 1, "b");
  ring_fold(&ring, &history);
  assert_int_equal(ring.zone_count, 2);
  for (uint32_t p = 0; p < 1024; p++) {
    struct preference preference;
    ring_preference(&ring, p, 2, &preference);
    assert_true(preference.nodes[0] == 21 || preference.nodes[1] == 21);
  }
}

static void a_senseless_replacement_is_passed_over(void **state) {
  (void)state;
  found(1, 64, "");
  join(2, 1, "");
  replace(3, 4, 1, ""); /* of a stranger */
  fold_with_the_one_before();
  assert_int_equal(ring.member_count, 2);
  assert_int_equal(ring_find(&ring, 4), -1);
  replace(2, 1, 1, ""); /* by a member */
  fold_with_the_one_before();
  assert_int_equal(ring.member_count, 2);
  assert_true(ring_find(&ring, 2) >= 0);
  /* The last node stays, but it may be replaced. */
  add(&history, make_change(CHANGE_REMOVE, 50, 2));
  add(&history, make_change(CHANGE_REPLACE, 51, 9));
  ring_fold(&ring, &history);
  assert_int_equal(ring.member_count, 1);
  assert_int_equal(owned_by(9), 64);
  /* Before the founding there is nobody. */
  history_init(&history);
  add(&history, make_change(CHANGE_REPLACE, 1, 30));
  ring_fold(&ring, &history);
  assert_int_equal(ring.member_count, 0);
}

static void a_rank_is_the_place_among_the_replicas(void **state) {
  (void)state;
  found(1, 64, "");
  for (uint32_t node = 2; node <= 9; node++) {
    join(node, 1, "");
  }
  ring_fold(&ring, &history);
  for (uint32_t p = 0; p < 64; p++) {
    struct preference preference;
    ring_preference(&ring, p, 3, &preference);
    for (uint32_t i = 0; i < preference.count; i++) {
      assert_int_equal(ring_rank(&ring, p, 3, preference.nodes[i]), i < 3 ? i : 3);
    }
    assert_int_equal(ring_rank(&ring, p, 3, 77), 3);
  }
}

static void there_are_no_more_members_than_the_limit(void **state) {
  (void)state;
  found(1, 64, "");
  for (uint32_t node = 2; node <= MEMBERS_MAX + 5; node++) {
    join(node, 1, "");
  }
  ring_fold(&ring, &history);
  assert_int_equal(ring.member_count, MEMBERS_MAX);
  assert_int_equal(ring_find(&ring, MEMBERS_MAX + 1), -1);
  struct preference preference;
  ring_preference(&ring, 7, 7, &preference);
  assert_int_equal(preference.count, PREFERENCE_MAX);
  /* A node that leaves makes room for one that comes later. */
  add(&history, make_change(CHANGE_REMOVE, 9000, 77));
  add(&history, make_change(CHANGE_ADD, 9001, 9999));
  ring_fold(&ring, &history);
  assert_int_equal(ring.member_count, MEMBERS_MAX);
  assert_true(ring_find(&ring, 9999) >= 0);
  assert_int_equal(ring_find(&ring, 77), -1);
}

static void weights_are_obeyed_up_to_a_third(void **state) {
  (void)state;
  found(1, 1024, "");
  join(2, 2, "");
  join(3, 3, "");
  join(4, 4, "");
  join(5, 6, "");
  ring_fold(&ring, &history);
  /* 16 in all: 64 partitions each, and node 5 gets 341 of the 384 that it asks for; the others share the 683 as 1 :
   * 2 : 3 : 4. */
  assert_int_equal(owned_by(5), 341);
  assert_in_range(owned_by(1), 68, 69);
  assert_in_range(owned_by(2), 136, 137);
  assert_in_range(owned_by(3), 204, 205);
  assert_in_range(owned_by(4), 273, 274);
}

static void a_zone_of_one_node_holds_a_replica_of_everything(void **state) {
  (void)state;
  found(1, 1024, "a");
  join(2, 1, "a");
  join(3, 1, "b");
  join(4, 1, "b");
  join(5, 1, "c");
  ring_fold(&ring, &history);
  assert_int_equal(ring.zone_count, 3);
  assert_in_range(owned_by(5), 341, 342);
  for (uint32_t p = 0; p < 1024; p++) {
    struct preference preference;
    ring_preference(&ring, p, 3, &preference);
    assert_true(preference.nodes[0] == 5 || preference.nodes[1] == 5 || preference.nodes[2] == 5);
  }
}

/* -- preference lists -------------------------------------------------------- */

/* A ring written by hand: 8 partitions, nodes 10, 11, ... in zones as told. */
static void write_ring(const uint16_t owners[8], const uint16_t *zones, uint32_t member_count, uint32_t zone_count) {
  memset(&ring, 0, sizeof(ring));
  ring.partition_count = 8;
  ring.member_count = member_count;
  ring.zone_count = zone_count;
  for (uint32_t i = 0; i < member_count; i++) {
    ring.members[i].node = 10 + i;
    ring.members[i].zone = zones[i];
  }
  for (uint32_t p = 0; p < 8; p++) {
    ring.owners[p] = owners[p];
    ring.members[owners[p]].owned++;
  }
}

static void assert_preference(uint32_t partition, uint32_t n, const uint32_t *nodes, uint32_t count) {
  struct preference preference;
  ring_preference(&ring, partition, n, &preference);
  assert_int_equal(preference.count, count);
  assert_int_equal(preference.replica_count, n < count ? n : count);
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(preference.nodes[i], nodes[i]);
  }
}

static void a_preference_list_walks_clockwise_over_distinct_nodes(void **state) {
  (void)state;
  const uint16_t owners[8] = {0, 1, 0, 2, 3, 1, 4, 4};
  const uint16_t zones[5] = {0, 0, 0, 0, 0};
  write_ring(owners, zones, 5, 1);
  assert_preference(0, 3, (const uint32_t[]){10, 11, 12, 13, 14}, 5);
  assert_preference(5, 3, (const uint32_t[]){11, 14, 10, 12, 13}, 5);
  assert_preference(7, 1, (const uint32_t[]){14, 10, 11, 12, 13}, 5);
  assert_preference(6, 7, (const uint32_t[]){14, 10, 11, 12, 13}, 5);
}

static void replicas_lie_in_distinct_zones_first(void **state) {
  (void)state;
  /* Walk from 0: 10(a) 11(a) 12(b) 13(a) 14(c). */
  const uint16_t owners[8] = {0, 1, 2, 3, 4, 0, 1, 2};
  const uint16_t zones[5] = {0, 0, 1, 0, 2};
  write_ring(owners, zones, 5, 3);
  assert_preference(0, 1, (const uint32_t[]){10, 11, 12, 13, 14}, 5);
  assert_preference(0, 2, (const uint32_t[]){10, 12, 11, 13, 14}, 5);
  assert_preference(0, 3, (const uint32_t[]){10, 12, 14, 11, 13}, 5);
  /* More replicas than zones: those passed over follow, in order of the walk. */
  assert_preference(0, 4, (const uint32_t[]){10, 12, 14, 11, 13}, 5);
  assert_preference(3, 3, (const uint32_t[]){13, 14, 12, 10, 11}, 5);
}

static void members_that_own_nothing_come_last(void **state) {
  (void)state;
  const uint16_t owners[8] = {3, 3, 1, 1, 3, 3, 1, 1};
  const uint16_t zones[5] = {0, 0, 0, 0, 1};
  write_ring(owners, zones, 5, 2);
  assert_preference(0, 1, (const uint32_t[]){13, 11, 10, 12, 14}, 5);
  /* Even so the only node of another zone is a replica. */
  assert_preference(2, 2, (const uint32_t[]){11, 14, 13, 10, 12}, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slots_are_those_of_redis_cluster),
      cmocka_unit_test(slots_are_crc16_bit_by_bit),
      cmocka_unit_test(a_hash_tag_decides_the_slot_and_the_whole_key_the_position),
      cmocka_unit_test(an_empty_or_open_tag_is_no_tag),
      cmocka_unit_test(a_position_is_the_slot_and_then_the_hash),
      cmocka_unit_test(positions_are_written_in_their_order),
      cmocka_unit_test(a_partition_is_a_run_of_slots),
      cmocka_unit_test(records_are_kept_in_order_of_time_and_issuer),
      cmocka_unit_test(what_a_kind_does_not_use_is_forgotten),
      cmocka_unit_test(fields_out_of_range_are_refused),
      cmocka_unit_test(another_record_of_the_same_identity_is_refused),
      cmocka_unit_test(clusters_founded_apart_are_never_merged),
      cmocka_unit_test(union_is_commutative_and_idempotent),
      cmocka_unit_test(a_digest_tells_histories_apart),
      cmocka_unit_test(damaged_encodings_are_refused_and_nothing_is_taken),
      cmocka_unit_test(nonsense_with_a_good_checksum_is_refused),
      cmocka_unit_test(a_newer_format_is_told_from_damage),
      cmocka_unit_test(a_full_history_refuses_more_and_keeps_what_it_has),
      cmocka_unit_test(a_prefix_has_the_digest_of_the_history_that_ends_there),
      cmocka_unit_test(without_a_founding_there_is_no_ring),
      cmocka_unit_test(a_founder_owns_everything),
      cmocka_unit_test(two_and_three_take_turns),
      cmocka_unit_test(senseless_records_are_passed_over),
      cmocka_unit_test(a_replacement_takes_the_seat_and_nothing_else_moves),
      cmocka_unit_test(a_replacement_of_another_weight_or_zone_is_settled),
      cmocka_unit_test(a_senseless_replacement_is_passed_over),
      cmocka_unit_test(a_rank_is_the_place_among_the_replicas),
      cmocka_unit_test(there_are_no_more_members_than_the_limit),
      cmocka_unit_test(weights_are_obeyed_up_to_a_third),
      cmocka_unit_test(a_zone_of_one_node_holds_a_replica_of_everything),
      cmocka_unit_test(a_preference_list_walks_clockwise_over_distinct_nodes),
      cmocka_unit_test(replicas_lie_in_distinct_zones_first),
      cmocka_unit_test(members_that_own_nothing_come_last),
  };
  return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
