/* Effects own what they refer to, a step's replies and contexts have their room, tokens say whose they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "seam/step.h"
#include "version/context.h"

#define POOL_BYTES (1u << 20)
#define SELF 7u
#define OTHER 9u
#define LEAVER 6u

static struct effects effects;
static struct local_queue local;
static struct shard_stats stats;
static struct blob_pool pool;
static struct hlc hlc;
static struct ring ring;
static struct ring base; /* of one member, who leaves */
static bool up[MEMBERS_MAX];
static bool base_up[MEMBERS_MAX];
static struct past past;

static struct step begin(void) {
  static _Alignas(64) uint8_t memory[POOL_BYTES];
  effects_reset(&effects);
  memset(&local, 0, sizeof(local));
  memset(&stats, 0, sizeof(stats));
  blob_pool_init(&pool, memory, sizeof(memory));
  hlc_init(&hlc, 0);
  memset(&ring, 0, sizeof(ring));
  ring.partition_count = 1024;
  ring.member_count = 2;
  ring.members[0].node = SELF;
  ring.members[1].node = OTHER;
  up[0] = up[1] = false;
  memset(&base, 0, sizeof(base));
  base.partition_count = 1024;
  base.member_count = 1;
  base.members[0].node = LEAVER;
  base_up[0] = false;
  return (struct step){.now_ns = 1,
                       .wall_ms = 1700000000000,
                       .effects = &effects,
                       .stats = &stats,
                       .pool = &pool,
                       .hlc = &hlc,
                       .cluster_seed = 5,
                       .self = SELF,
                       .base = &base,
                       .base_up = base_up,
                       .ring = &ring,
                       .reading = &ring,
                       .up = up,
                       .local = &local};
}

static struct blob *blob_of(const char *text) {
  struct blob *blob = blob_copy(&pool, (struct bytes){(const uint8_t *)text, strlen(text)});
  assert_non_null(blob);
  return blob;
}

static void effects_hold_references_until_they_are_reset(void **state) {
  (void)state;
  struct step step = begin();
  struct blob *a = blob_of("position-16bytes and key");
  struct blob *b = blob_of("value");
  struct message message = {
      .type = MESSAGE_WRITE, .key = blob_bytes(a), .key_blob = a, .object = blob_bytes(b), .object_blob = b};
  step_send(&step, OTHER, &message);
  step_commit(&step, token_make(TOKEN_REPLICA, 1), SPACE_OBJECTS, a, b, true);
  step_commit(&step, token_make(TOKEN_REPLICA, 2), SPACE_OBJECTS, a, NULL, false);
  step_read(&step, token_make(TOKEN_REPLICA, 3), SPACE_OBJECTS, a);
  step_scan(&step, token_make(TOKEN_HANDOFF, 4), SPACE_HINTS, a, b, 10, 1000, false);
  struct reply *reply = step_reply(&step, 5);
  reply->object = blob_get(b);
  reply->explained_count = 1;
  reply->explained[0] = (struct explained){.node = OTHER, .clock = blob_get(a), .hints = blob_get(b)};
  assert_int_equal(effects.count, 6);
  assert_int_equal(a->references, 1 + 5 + 1);
  assert_int_equal(b->references, 1 + 3 + 2);
  effects_reset(&effects);
  assert_int_equal(effects.count, 0);
  assert_int_equal(a->references, 1);
  assert_int_equal(b->references, 1);
  blob_put(a);
  blob_put(b);
  assert_int_equal(pool.used_bytes, 0);
}

static void a_message_to_another_node_carries_clock_and_partition(void **state) {
  (void)state;
  struct step step = begin();
  uint8_t key[20] = {0x12, 0x34, 0x56};
  struct message message = {.type = MESSAGE_READ, .key = {key, sizeof(key)}};
  step_send(&step, OTHER, &message);
  step_send(&step, OTHER, &message);
  const struct effect *sent = effects.list;
  assert_int_equal(sent[0].kind, EFFECT_SEND);
  assert_int_equal(sent[0].send.to, OTHER);
  assert_int_equal(sent[0].send.message.partition, 0x1234 >> 6);
  assert_int_equal(hlc_ms(sent[0].send.message.hlc), 1700000000000);
  assert_true(sent[1].send.message.hlc > sent[0].send.message.hlc);
  struct message ack = {.type = MESSAGE_WRITE_ACK, .partition = 77};
  step_send(&step, OTHER, &ack);
  assert_int_equal(sent[2].send.message.partition, 77);
}

static void a_message_to_oneself_goes_round_the_local_queue_with_references(void **state) {
  (void)state;
  struct step step = begin();
  struct blob *key = blob_of("position-16bytes and key");
  struct message message = {.type = MESSAGE_READ, .key = blob_bytes(key), .key_blob = key};
  local.head = LOCAL_MESSAGES_MAX - 1;
  step_send(&step, SELF, &message);
  message.type = MESSAGE_HINT_DROP;
  step_send(&step, SELF, &message);
  assert_int_equal(effects.count, 0);
  assert_int_equal(local.count, 2);
  assert_int_equal(local.list[LOCAL_MESSAGES_MAX - 1].type, MESSAGE_READ);
  assert_int_equal(local.list[0].type, MESSAGE_HINT_DROP);
  assert_int_equal(key->references, 3);
  uint8_t elsewhere[20] = {0};
  message.key = (struct bytes){elsewhere, sizeof(elsewhere)};
  expect_assert_failure(step_send(&step, SELF, &message));
  expect_assert_failure(step_send(&step, OTHER, &message)); /* a local type */
}

static void a_full_list_of_effects_is_a_bug(void **state) {
  (void)state;
  struct step step = begin();
  struct blob *key = blob_of("k");
  for (uint32_t i = 0; i < EFFECTS_MAX; i++) {
    step_read(&step, token_make(TOKEN_REPLICA, i), SPACE_OBJECTS, key);
  }
  expect_assert_failure(effects_add(&effects, EFFECT_READ));
  effects_reset(&effects);
  assert_int_equal(key->references, 1);
}

static void replies_are_zeroed_and_bounded(void **state) {
  (void)state;
  struct step step = begin();
  for (uint32_t round = 0; round < 2; round++) {
    for (uint32_t i = 0; i < REPLIES_PER_STEP_MAX; i++) {
      assert_int_equal(step_replies_left(&step), REPLIES_PER_STEP_MAX - i);
      struct reply *reply = step_reply(&step, i);
      assert_int_equal(reply->token, i);
      assert_int_equal(reply->err, ERR_OK);
      assert_null(reply->why);
      assert_int_equal(reply->explained_count, 0);
      reply->err = ERR_BUSY;
      reply->why = "busy";
    }
    assert_int_equal(step_replies_left(&step), 0);
    expect_assert_failure((void)step_reply(&step, 1));
    effects_reset(&effects);
  }
}

static void past_fill(uint32_t pairs, uint32_t dots) {
  past_init(&past);
  for (uint32_t i = 0; i < pairs + dots; i++) {
    struct dot dot = {.actor = {.node = i + 1, .incarnation = 1}, .time = i + 1};
    if (i < pairs) {
      past_add_pair(&past, dot);
    } else {
      past_add_dot(&past, dot);
    }
  }
}

static void a_context_comes_back_from_its_encoding(void **state) {
  (void)state;
  struct step step = begin();
  struct position position = {.high = 3, .low = 4};
  struct reply *reply = step_reply(&step, 1);
  past_fill(3, 2);
  step_reply_context(&step, reply, &past, OTHER, position);
  assert_int_equal(reply->coordinator, OTHER);
  static struct past decoded;
  uint32_t coordinator = 0;
  struct context_binding binding = {.seed = 5, .position_high = 3, .position_low = 4};
  assert_int_equal(context_decode(reply->context, binding, &decoded, &coordinator), ERR_OK);
  assert_int_equal(coordinator, OTHER);
  assert_int_equal(decoded.pair_count, 3);
  assert_int_equal(decoded.dot_count, 2);
}

/* The first replies' contexts are as long as may be: they are kept whole while there is room beyond the others'
 * share. */
static void every_reply_of_a_step_has_room_for_a_context(void **state) {
  (void)state;
  struct step step = begin();
  struct position position = {.high = 3, .low = 4};
  struct context_binding binding = {.seed = 5, .position_high = 3, .position_low = 4};
  static struct past decoded;
  uint32_t whole = 0;
  for (uint32_t i = 0; i < REPLIES_PER_STEP_MAX; i++) {
    struct reply *reply = step_reply(&step, i);
    uint32_t coordinator = 0;
    past_fill(CLOCK_PAIRS_MAX, SIBLINGS_PUT_MAX);
    step_reply_context(&step, reply, &past, OTHER, position);
    assert_int_equal(context_decode(reply->context, binding, &decoded, &coordinator), ERR_OK);
    uint32_t entries = decoded.pair_count + decoded.dot_count;
    assert_true(entries == CLOCK_PAIRS_MAX + SIBLINGS_PUT_MAX || entries == CLOCK_PAIRS_MAX);
    whole += entries > CLOCK_PAIRS_MAX ? 1u : 0u;
  }
  assert_true(whole >= 100);
  assert_true(whole < REPLIES_PER_STEP_MAX);
  assert_int_equal(stats.truncated, (REPLIES_PER_STEP_MAX - whole) * SIBLINGS_PUT_MAX);
}

static void this_node_is_always_up_and_strangers_never(void **state) {
  (void)state;
  struct step step = begin();
  assert_true(step_is_up(&step, SELF));
  assert_false(step_is_up(&step, OTHER));
  up[1] = true;
  assert_true(step_is_up(&step, OTHER));
  assert_false(step_is_up(&step, LEAVER));
  base_up[0] = true;
  assert_true(step_is_up(&step, LEAVER)); /* of the base alone */
  assert_false(step_is_up(&step, 8));
}

static void tokens_say_whose_they_are(void **state) {
  (void)state;
  uint64_t most = (UINT64_C(1) << 56) - 1;
  uint64_t token = token_make(TOKEN_HANDOFF, most);
  assert_int_equal(token_owner(token), TOKEN_HANDOFF);
  assert_int_equal(token_value(token), most);
  assert_int_equal(token_owner(token_make(TOKEN_MEMBER, 0)), TOKEN_MEMBER);
  expect_assert_failure((void)token_make(TOKEN_MEMBER, most + 1));
  expect_assert_failure((void)token_owner(5));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(effects_hold_references_until_they_are_reset),
      cmocka_unit_test(a_message_to_another_node_carries_clock_and_partition),
      cmocka_unit_test(a_message_to_oneself_goes_round_the_local_queue_with_references),
      cmocka_unit_test(a_full_list_of_effects_is_a_bug),
      cmocka_unit_test(replies_are_zeroed_and_bounded),
      cmocka_unit_test(a_context_comes_back_from_its_encoding),
      cmocka_unit_test(every_reply_of_a_step_has_room_for_a_context),
      cmocka_unit_test(this_node_is_always_up_and_strangers_never),
      cmocka_unit_test(tokens_say_whose_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
