/* Messages between nodes: what is written is what is read, and nothing else is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "admit/admit.h"
#include "wire/message.h"

#define FRAME_MAX 4096u
#define OFFSET_TYPE 8u
#define OFFSET_PARTITION 10u

static const uint8_t store_key[] = "0123456789abcdefcart:42";
static const uint8_t some_object[] = "an object, \0 whatever it is";
static const uint8_t some_context[] = "a context";
static const uint8_t some_reason[] = "node b is down";

#define TEXT(array) ((struct bytes){(array), sizeof(array) - 1})

static const enum message_type wire_types[] = {
    MESSAGE_HEARTBEAT,   MESSAGE_GOSSIP,   MESSAGE_HISTORY,   MESSAGE_PROPS,  MESSAGE_JOIN,
    MESSAGE_JOIN_RESULT, MESSAGE_WRITE,    MESSAGE_WRITE_ACK, MESSAGE_READ,   MESSAGE_READ_REPLY,
    MESSAGE_FORWARD,     MESSAGE_PULL,     MESSAGE_PULLED,    MESSAGE_OFFER,  MESSAGE_FORWARD_REPLY,
    MESSAGE_COMPARE,     MESSAGE_COMPARED, MESSAGE_BURY,      MESSAGE_FLOORS, MESSAGE_FLOORS_HELD,
};
#define WIRE_TYPES (sizeof(wire_types) / sizeof(wire_types[0]))

static struct heartbeat example_heartbeat(void) {
  return (struct heartbeat){
      .hints = 3,
      .oldest_hint_ms = 1700000000000,
      .keys = UINT64_MAX,
      .moving_keys = 11,
      .moving_bytes = UINT64_C(1) << 40,
      .strays = 13,
      .parts_wanted = 341,
      .parts_held = 17,
      .sealed = 1,
      .nospace = 1,
      .mark.base_count = 5,
      .mark.target_count = 7,
      .mark.base_digest = UINT64_C(0x5555666677778888),
      .mark.target_digest = UINT64_C(0x9999aaaabbbbcccc),
      .mark.phase = MARK_READS,
      .mark.revision = 0x01020304,
      .history_digest = UINT64_C(0xddddeeeeffff0000),
      .props_digest = UINT64_C(0x5678567856785678),
      .sync_differ = 0x71,
      .sync_age_ms = 0x72000001,
      .sync_asked = 0x74,
      .sync_settled = 0x73,
      .sync_bytes_to_go = UINT64_C(0x7776757473727170),
      .sync_ms_to_go = 0x7a7b7c7d,
      .held_back = ADMIT_WHOLE,
      .fences = UINT64_C(0x1234123412341234),
      .low = UINT64_C(0x2345234523452345),
      .echo = UINT64_C(0x3456345634563456),
      .tombstones = UINT32_C(0x45674567),
      .expiring = UINT32_C(0x54765476),
      .floor_ms = UINT64_C(0x5678567856785679),
  };
}

static const struct put_options some_options = {
    .expires_at_ms = 1234567890123, .n = 3, .w = 2, .pw = 1, .dw = 255, .put_flags = 3};
static const struct outcome some_outcome = {
    .kind = QUORUM_DW, .wanted = 3, .answered = 1, .missing_count = 2, .missing = {0xdeadbeef, 0xfeedface}};

static struct message example_head(enum message_type type) {
  struct message m;
  memset(&m, 0, sizeof(m));
  m.type = type;
  m.flags = 0xa5;
  m.partition = 1023;
  m.owner = 0x01020304;
  m.request = UINT64_C(0x1122334455667788);
  m.sent_ms = 0xCCBBAA99u;
  m.hlc = UINT64_C(0x8877665544332211);
  return m;
}

static void fill_answer(struct message *m) {
  if (m->type == MESSAGE_JOIN_RESULT) {
    m->err = ERR_REFUSED;
    m->key = TEXT(some_reason);
    return;
  }
  if (m->type == MESSAGE_WRITE_ACK) {
    m->err = ERR_NOSPACE;
    m->digest = 12;
    return;
  }
  m->object = TEXT(some_object);
  if (m->type == MESSAGE_READ_REPLY) {
    m->err = ERR_CORRUPT;
    m->digest = 0xabcdef;
    m->floor = 0xfedcba;
  } else if (m->type == MESSAGE_PULLED) {
    m->err = ERR_BUSY;
    m->floor = 0xfedcba;
  } else if (m->type == MESSAGE_COMPARED) {
    m->err = ERR_STALE;
  } else {
    assert_int_equal(m->type, MESSAGE_FORWARD_REPLY);
    m->err = ERR_QUORUM;
    m->outcome = some_outcome;
  }
}

/* A message of the type with every field of the type set to something that is not zero. */
static struct message example(enum message_type type) {
  struct message m = example_head(type);
  switch (type) {
  case MESSAGE_HEARTBEAT:
    m.heartbeat = example_heartbeat();
    break;
  case MESSAGE_GOSSIP:
    m.gossip = (struct gossip){.history_digest = UINT64_MAX - 1, .props_digest = 7};
    break;
  case MESSAGE_HISTORY:
    m.digest = UINT64_C(0xfedcba9876543210);
    m.object = TEXT(some_object);
    break;
  case MESSAGE_PROPS:
  case MESSAGE_JOIN:
  case MESSAGE_FLOORS:
  case MESSAGE_FLOORS_HELD:
  case MESSAGE_COMPARE:
    m.object = TEXT(some_object);
    break;
  case MESSAGE_JOIN_RESULT:
  case MESSAGE_WRITE_ACK:
  case MESSAGE_READ_REPLY:
  case MESSAGE_PULLED:
  case MESSAGE_COMPARED:
  case MESSAGE_FORWARD_REPLY:
    fill_answer(&m);
    break;
  case MESSAGE_WRITE:
    m.key = TEXT(store_key);
    m.object = TEXT(some_object);
    break;
  case MESSAGE_READ:
    m.key = TEXT(store_key);
    break;
  case MESSAGE_BURY:
    m.floor = 0xfedcba;
    m.key = TEXT(store_key);
    m.object = TEXT(some_object);
    break;
  case MESSAGE_FORWARD:
    m.options = some_options;
    m.key = TEXT(store_key);
    m.object = TEXT(some_object);
    m.context = TEXT(some_context);
    break;
  case MESSAGE_PULL:
  case MESSAGE_OFFER:
    m.digest = 0xabcdef;
    m.key = TEXT(store_key);
    break;
  case MESSAGE_STAMP:
  case MESSAGE_STAMPED:
  case MESSAGE_HINT_DROP:
  case MESSAGE_HINT_KEPT:
  case MESSAGE_HINT_DROPPED:
  case MESSAGE_OBJECT_DROP:
  case MESSAGE_DAMAGED:
  case MESSAGE_RESTORE:
  case MESSAGE_REAP:
    fail_msg("%s is never on the wire", message_type_name(type));
  }
  return m;
}

static struct bytes frame_of(const struct message *message, uint8_t *room) {
  struct writer w = writer_make(room, FRAME_MAX);
  message_encode(message, &w);
  assert_false(w.failed);
  assert_int_equal(w.size, message_frame_size(message));
  return writer_bytes(&w);
}

/* Makes size and checksum right again after the body was tampered with: what a faulty peer would send. */
static struct bytes frame_reseal(uint8_t *room, size_t size) {
  uint32_t body_bytes = (uint32_t)(size - FRAME_HEADER_BYTES);
  struct writer w = writer_make(room, 8);
  write_u32(&w, body_bytes);
  write_u32(&w, (uint32_t)bytes_hash((struct bytes){room + 8, size - 8}, body_bytes));
  return (struct bytes){room, size};
}

static void assert_bytes(struct bytes a, struct bytes b) {
  assert_true(bytes_equal(a, b));
}

static void assert_same(const struct message *a, const struct message *b) {
  assert_int_equal(a->type, b->type);
  assert_int_equal(a->flags, b->flags);
  assert_int_equal(a->partition, b->partition);
  assert_int_equal(a->owner, b->owner);
  assert_int_equal(a->request, b->request);
  assert_int_equal(a->hlc, b->hlc);
  assert_int_equal(a->sent_ms, b->sent_ms);
  assert_int_equal(a->err, b->err);
  assert_int_equal(a->digest, b->digest);
  assert_bytes(a->key, b->key);
  assert_bytes(a->object, b->object);
  assert_bytes(a->context, b->context);
  assert_memory_equal(&a->options, &b->options, sizeof(a->options));
  assert_memory_equal(&a->outcome, &b->outcome, sizeof(a->outcome));
  assert_memory_equal(&a->heartbeat, &b->heartbeat, sizeof(a->heartbeat));
  assert_memory_equal(&a->gossip, &b->gossip, sizeof(a->gossip));
  assert_null(b->key_blob);
  assert_null(b->object_blob);
}

static void every_type_comes_back_as_it_was_sent(void **state) {
  (void)state;
  for (size_t i = 0; i < WIRE_TYPES; i++) {
    uint8_t room[FRAME_MAX];
    struct message sent = example(wire_types[i]);
    struct bytes frame = frame_of(&sent, room);
    size_t body_bytes = 0;
    assert_int_equal(message_frame_body((struct bytes){room, FRAME_HEADER_BYTES}, &body_bytes), ERR_OK);
    assert_int_equal(body_bytes, frame.size - FRAME_HEADER_BYTES);
    struct message got;
    assert_int_equal(message_decode(frame, &got), ERR_OK);
    assert_same(&sent, &got);
  }
}

static void every_wire_type_of_the_table_is_tested(void **state) {
  (void)state;
  size_t count = 0;
#define X(name, number) count += (number) < 64 ? 1u : 0u;
  MESSAGE_TABLE(X)
#undef X
  assert_int_equal(count, WIRE_TYPES);
}

static void frames_follow_each_other_in_one_buffer(void **state) {
  (void)state;
  uint8_t room[FRAME_MAX];
  struct message first = example(MESSAGE_WRITE);
  struct message second = example(MESSAGE_FORWARD);
  struct writer w = writer_make(room, sizeof(room));
  message_encode(&first, &w);
  size_t split = w.size;
  message_encode(&second, &w);
  assert_false(w.failed);
  struct message got;
  assert_int_equal(message_decode((struct bytes){room, split}, &got), ERR_OK);
  assert_same(&first, &got);
  assert_int_equal(message_decode((struct bytes){room + split, w.size - split}, &got), ERR_OK);
  assert_same(&second, &got);
}

static void a_frame_cut_at_any_byte_is_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < WIRE_TYPES; i++) {
    uint8_t room[FRAME_MAX];
    struct message sent = example(wire_types[i]);
    struct bytes frame = frame_of(&sent, room);
    for (size_t size = 0; size < frame.size; size++) {
      struct message got;
      assert_int_equal(message_decode((struct bytes){room, size}, &got), ERR_CORRUPT);
    }
  }
}

static void a_body_cut_at_any_byte_is_refused_even_when_its_checksum_is_right(void **state) {
  (void)state;
  for (size_t i = 0; i < WIRE_TYPES; i++) {
    uint8_t room[FRAME_MAX];
    struct message sent = example(wire_types[i]);
    size_t whole = frame_of(&sent, room).size;
    for (size_t size = FRAME_HEADER_BYTES; size < whole; size++) {
      struct message got;
      assert_int_equal(message_decode(frame_reseal(room, size), &got), ERR_CORRUPT);
    }
  }
}

static void a_frame_with_any_bit_flipped_is_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < WIRE_TYPES; i++) {
    uint8_t room[FRAME_MAX];
    struct message sent = example(wire_types[i]);
    struct bytes frame = frame_of(&sent, room);
    for (size_t bit = 0; bit < frame.size * 8; bit++) {
      struct message got;
      room[bit / 8] ^= (uint8_t)(1u << (bit % 8));
      assert_int_equal(message_decode(frame, &got), ERR_CORRUPT);
      room[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
  }
}

static void fields_of_a_newer_version_behind_the_known_ones_are_skipped(void **state) {
  (void)state;
  for (size_t i = 0; i < WIRE_TYPES; i++) {
    uint8_t room[FRAME_MAX];
    struct message sent = example(wire_types[i]);
    size_t size = frame_of(&sent, room).size;
    memset(room + size, 0x5a, 9);
    struct message got;
    assert_int_equal(message_decode(frame_reseal(room, size + 9), &got), ERR_OK);
    assert_same(&sent, &got);
  }
}

static void an_unknown_type_is_skipped_and_a_local_one_is_refused(void **state) {
  (void)state;
  uint8_t room[FRAME_MAX];
  struct message sent = example(MESSAGE_READ);
  size_t size = frame_of(&sent, room).size;
  struct message got;
  room[OFFSET_TYPE] = 63;
  assert_int_equal(message_decode(frame_reseal(room, size), &got), ERR_RETRY);
  room[OFFSET_TYPE] = 0;
  assert_int_equal(message_decode(frame_reseal(room, size), &got), ERR_RETRY);
  room[OFFSET_TYPE] = MESSAGE_STAMP;
  assert_int_equal(message_decode(frame_reseal(room, size), &got), ERR_CORRUPT);
  room[OFFSET_TYPE] = 255;
  assert_int_equal(message_decode(frame_reseal(room, size), &got), ERR_CORRUPT);
}

/* Sets one byte of the frame to `value` and expects what decoding makes of it. */
static void expect_after_change(enum message_type type, size_t offset, uint8_t value, enum err expected) {
  uint8_t room[FRAME_MAX];
  struct message sent = example(type);
  size_t size = frame_of(&sent, room).size;
  struct message got;
  assert_true(offset < size);
  assert_int_not_equal(room[offset], value);
  room[offset] = value;
  assert_int_equal(message_decode(frame_reseal(room, size), &got), expected);
}

static void values_that_make_no_sense_are_refused(void **state) {
  (void)state;
  const size_t body = FRAME_HEADER_BYTES;
  expect_after_change(MESSAGE_WRITE_ACK, body, ERR_COUNT, ERR_CORRUPT);
  expect_after_change(MESSAGE_WRITE_ACK, body, ERR_COUNT - 1, ERR_OK);
  expect_after_change(MESSAGE_READ_REPLY, body, 255, ERR_CORRUPT);
  expect_after_change(MESSAGE_FORWARD_REPLY, body + 1, QUORUM_DW + 1, ERR_CORRUPT);
  expect_after_change(MESSAGE_FORWARD_REPLY, body + 4, REPLICAS_MAX + 1, ERR_CORRUPT);
  expect_after_change(MESSAGE_FORWARD, body + 12, 4, ERR_CORRUPT);   /* an unknown flag of the put */
  expect_after_change(MESSAGE_HEARTBEAT, body + 85, 4, ERR_CORRUPT); /* held back by more than the whole */
  expect_after_change(MESSAGE_HEARTBEAT, body + 86, 2, ERR_CORRUPT); /* sealed, nospace, the phase of the mark */
  expect_after_change(MESSAGE_HEARTBEAT, body + 87, 255, ERR_CORRUPT);
  expect_after_change(MESSAGE_HEARTBEAT, body + 112, MARK_DONE + 1, ERR_CORRUPT);
  expect_after_change(MESSAGE_READ, OFFSET_PARTITION + 1, PARTITIONS_MAX / 256, ERR_CORRUPT);
}

static void a_key_shorter_than_a_position_or_longer_than_the_limit_is_refused(void **state) {
  (void)state;
  static uint8_t room[2 * KEY_MAX_BYTES];
  static uint8_t key[16 + KEY_MAX_BYTES + 1];
  for (size_t size = 15; size <= sizeof(key); size += sizeof(key) - 17) {
    struct message sent = example(MESSAGE_READ);
    sent.key = (struct bytes){key, sizeof(key)};
    struct writer w = writer_make(room, sizeof(room));
    message_encode(&sent, &w);
    assert_false(w.failed);
    struct writer length = writer_make(room + FRAME_HEADER_BYTES, 4);
    write_u32(&length, (uint32_t)size);
    struct message got;
    bool sound = size >= 16 && size <= 16 + KEY_MAX_BYTES;
    assert_int_equal(message_decode(frame_reseal(room, w.size), &got), sound ? ERR_OK : ERR_CORRUPT);
  }
}

static void a_reason_or_context_past_its_limit_is_refused(void **state) {
  (void)state;
  static uint8_t room[3 * CONTEXT_MAX_BYTES];
  static uint8_t large[CONTEXT_MAX_BYTES + 1];
  struct message got;
  for (size_t over = 0; over <= 1; over++) {
    struct message sent = example(MESSAGE_JOIN_RESULT);
    sent.key = (struct bytes){large, REASON_MAX_BYTES + over};
    struct writer w = writer_make(room, sizeof(room));
    message_encode(&sent, &w);
    assert_int_equal(message_decode(writer_bytes(&w), &got), over == 0 ? ERR_OK : ERR_CORRUPT);
    sent = example(MESSAGE_FORWARD);
    sent.context = (struct bytes){large, CONTEXT_MAX_BYTES + over};
    w = writer_make(room, sizeof(room));
    message_encode(&sent, &w);
    assert_int_equal(message_decode(writer_bytes(&w), &got), over == 0 ? ERR_OK : ERR_CORRUPT);
  }
}

static void a_header_that_tells_of_too_large_a_body_is_refused(void **state) {
  (void)state;
  uint8_t header[FRAME_HEADER_BYTES] = {0};
  size_t body_bytes = 0;
  for (uint32_t over = 0; over <= 1; over++) {
    struct writer w = writer_make(header, sizeof(header));
    write_u32(&w, FRAME_BODY_MAX_BYTES + over);
    enum err err = message_frame_body((struct bytes){header, sizeof(header)}, &body_bytes);
    assert_int_equal(err, over == 0 ? ERR_OK : ERR_CORRUPT);
  }
}

static void a_message_that_does_not_fit_fails_the_writer(void **state) {
  (void)state;
  struct message sent = example(MESSAGE_FORWARD);
  size_t size = message_frame_size(&sent);
  for (size_t room_bytes = 0; room_bytes <= size; room_bytes++) {
    uint8_t room[FRAME_MAX];
    struct writer w = writer_make(room, room_bytes);
    message_encode(&sent, &w);
    assert_int_equal(w.failed, room_bytes < size);
  }
}

static void local_types_can_not_be_encoded(void **state) {
  (void)state;
  uint8_t room[FRAME_MAX];
  struct writer w = writer_make(room, sizeof(room));
  struct message message = {.type = MESSAGE_STAMP};
  expect_assert_failure(message_encode(&message, &w));
  message.type = MESSAGE_HINT_DROP;
  expect_assert_failure((void)message_frame_size(&message));
}

static void what_is_sent_all_the_time_is_small(void **state) {
  (void)state;
  struct message heartbeat = example(MESSAGE_HEARTBEAT);
  struct message gossip = example(MESSAGE_GOSSIP);
  struct message ack = example(MESSAGE_WRITE_ACK);
  assert_true(message_frame_size(&heartbeat) <= 260);
  assert_true(message_frame_size(&gossip) <= 52);
  assert_true(message_frame_size(&ack) <= 48);
}

static void types_have_names(void **state) {
  (void)state;
  assert_string_equal(message_type_name(MESSAGE_FORWARD_REPLY), "FORWARD_REPLY");
  assert_string_equal(message_type_name(MESSAGE_HINT_DROP), "HINT_DROP");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_type_comes_back_as_it_was_sent),
      cmocka_unit_test(every_wire_type_of_the_table_is_tested),
      cmocka_unit_test(frames_follow_each_other_in_one_buffer),
      cmocka_unit_test(a_frame_cut_at_any_byte_is_refused),
      cmocka_unit_test(a_body_cut_at_any_byte_is_refused_even_when_its_checksum_is_right),
      cmocka_unit_test(a_frame_with_any_bit_flipped_is_refused),
      cmocka_unit_test(fields_of_a_newer_version_behind_the_known_ones_are_skipped),
      cmocka_unit_test(an_unknown_type_is_skipped_and_a_local_one_is_refused),
      cmocka_unit_test(values_that_make_no_sense_are_refused),
      cmocka_unit_test(a_key_shorter_than_a_position_or_longer_than_the_limit_is_refused),
      cmocka_unit_test(a_reason_or_context_past_its_limit_is_refused),
      cmocka_unit_test(a_header_that_tells_of_too_large_a_body_is_refused),
      cmocka_unit_test(a_message_that_does_not_fit_fails_the_writer),
      cmocka_unit_test(local_types_can_not_be_encoded),
      cmocka_unit_test(what_is_sent_all_the_time_is_small),
      cmocka_unit_test(types_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
