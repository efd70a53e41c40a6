/* The handshake between nodes, as bytes in and bytes out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "os/handshake.h"

/* One side, and what it has said that the other has not heard. */
struct side {
  struct handshake_identity own;
  struct handshake handshake;
  uint8_t said[4 * HANDSHAKE_OUT_BYTES];
  size_t size;
};

static void side_init(struct side *side, uint32_t node, bool dialler, const char *secret) {
  uint8_t nonce[HANDSHAKE_NONCE_BYTES];
  memset(side, 0, sizeof(*side));
  memset(nonce, (int)node, sizeof(nonce));
  side->own = (struct handshake_identity){.node = node,
                                          .instance = (uint64_t)node * 10u,
                                          .version = HANDSHAKE_VERSION,
                                          .cluster_name = "dynamo",
                                          .secret = secret};
  handshake_init(&side->handshake, &side->own, dialler, nonce);
  struct writer w = writer_make(side->said, sizeof(side->said));
  handshake_start(&side->handshake, &w);
  side->size = w.size;
}

/* `side` hears all that `other` has said, `step` bytes more at a time. */
static void side_hear(struct side *side, struct side *other, size_t step) {
  size_t offset = 0;
  for (size_t shown = step; offset < other->size && side->handshake.stage < HANDSHAKE_DONE;) {
    size_t used = 0;
    size_t end = offset + shown < other->size ? offset + shown : other->size;
    struct writer w = writer_make(side->said + side->size, sizeof(side->said) - side->size);
    enum handshake_stage before = side->handshake.stage;
    enum handshake_stage after =
        handshake_take(&side->handshake, (struct bytes){other->said + offset, end - offset}, &used, &w);
    side->size += w.size;
    offset += used;
    shown = used > 0 ? step : shown + step;
    if (after == before && end == other->size) {
      break;
    }
  }
  memmove(other->said, other->said + offset, other->size - offset);
  other->size -= offset;
}

static void talk(struct side *a, struct side *b, size_t step) {
  for (int i = 0; i < 4; i += 1) {
    side_hear(b, a, step);
    side_hear(a, b, step);
  }
}

static void both_sides_prove_themselves_however_the_bytes_are_cut(void **state) {
  (void)state;
  for (size_t step = 1; step < 200; step += 1) {
    struct side a, b;
    side_init(&a, 1, true, "s3cret");
    side_init(&b, 2, false, "s3cret");
    talk(&a, &b, step);
    assert_int_equal(a.handshake.stage, HANDSHAKE_DONE);
    assert_int_equal(b.handshake.stage, HANDSHAKE_DONE);
    assert_int_equal(a.handshake.node, 2);
    assert_int_equal(b.handshake.node, 1);
    assert_int_equal(a.size + b.size, 0);
  }
}

static void a_secret_that_is_a_prefix_of_the_other_does_not_do(void **state) {
  (void)state;
  struct side a, b;
  side_init(&a, 1, true, "s3cre");
  side_init(&b, 2, false, "s3cret");
  talk(&a, &b, 1000);
  assert_int_equal(b.handshake.refusal, REFUSAL_SECRET);
  assert_int_equal(a.handshake.refusal, REFUSAL_TOLD);
  assert_int_equal(a.handshake.told, REFUSAL_SECRET);
}

/* The acceptor says nothing that depends on the secret before the dialler has proved that he knows it. */
static void a_stranger_who_dials_hears_no_proof(void **state) {
  (void)state;
  struct side a, b, same;
  side_init(&a, 1, true, "guess");
  side_init(&b, 2, false, "s3cret");
  side_init(&same, 2, false, "another");
  uint8_t hello[HANDSHAKE_OUT_BYTES];
  size_t size = a.size;
  memcpy(hello, a.said, size);
  side_hear(&b, &a, 1000);
  memcpy(a.said, hello, size);
  a.size = size;
  side_hear(&same, &a, 1000);
  assert_true(b.size > 0);
  assert_int_equal(b.size, same.size);
  assert_memory_equal(b.said, same.said, b.size);
}

static void a_proof_can_not_be_sent_back_to_its_maker(void **state) {
  (void)state;
  struct side a, b;
  side_init(&a, 1, true, "s3cret");
  side_init(&b, 2, false, "s3cret");
  side_hear(&b, &a, 1000);
  side_hear(&a, &b, 1000);
  assert_int_equal(a.handshake.stage, HANDSHAKE_PROOF);
  struct side mirror = a; /* what a has just said comes back to it */
  side_hear(&a, &mirror, 1000);
  assert_int_equal(a.handshake.stage, HANDSHAKE_REFUSED);
  assert_int_equal(a.handshake.refusal, REFUSAL_SECRET);
}

static void a_proof_of_an_earlier_handshake_does_not_do_again(void **state) {
  (void)state;
  struct side a, b;
  uint8_t hello[HANDSHAKE_OUT_BYTES];
  uint8_t proof[HANDSHAKE_OUT_BYTES];
  side_init(&a, 1, true, "s3cret");
  side_init(&b, 2, false, "s3cret");
  size_t hello_size = a.size;
  memcpy(hello, a.said, hello_size);
  side_hear(&b, &a, 1000);
  side_hear(&a, &b, 1000);
  size_t proof_size = a.size;
  memcpy(proof, a.said, proof_size);
  side_hear(&b, &a, 1000);
  assert_int_equal(b.handshake.stage, HANDSHAKE_DONE);
  /* The acceptor has a new nonce; whoever listened has only what was said. */
  uint8_t nonce[HANDSHAKE_NONCE_BYTES] = {99};
  size_t used = 0;
  uint8_t out[HANDSHAKE_OUT_BYTES];
  struct writer w = writer_make(out, sizeof(out));
  handshake_init(&b.handshake, &b.own, false, nonce);
  assert_int_equal(handshake_take(&b.handshake, (struct bytes){hello, hello_size}, &used, &w), HANDSHAKE_PROOF);
  assert_int_equal(handshake_take(&b.handshake, (struct bytes){proof, proof_size}, &used, &w), HANDSHAKE_REFUSED);
  assert_int_equal(b.handshake.refusal, REFUSAL_SECRET);
}

/* Any one bit of anything that is said, turned over on the way: never do both sides end up satisfied. */
static void no_single_bit_can_be_changed_on_the_way(void **state) {
  (void)state;
  for (int record = 0; record < 4; record += 1) {
    for (size_t bit = 0;; bit += 1) {
      struct side a, b;
      side_init(&a, 1, true, "s3cret");
      side_init(&b, 2, false, "s3cret");
      size_t size = 0;
      for (int i = 0; i < 4; i += 1) {
        struct side *from = i % 2 == 0 ? &a : &b;
        if (i == record) {
          size = from->size;
          if (bit / 8 < size && bit / 8 != 11) { /* byte 11 of a header means nothing yet */
            from->said[bit / 8] ^= (uint8_t)(1u << bit % 8);
          }
        }
        side_hear(i % 2 == 0 ? &b : &a, from, 1000);
      }
      if (bit / 8 >= size) {
        break;
      }
      bool both = a.handshake.stage == HANDSHAKE_DONE && b.handshake.stage == HANDSHAKE_DONE;
      assert_int_equal(both, bit / 8 == 11);
    }
  }
}

static void a_stranger_is_known_by_his_first_byte(void **state) {
  (void)state;
  struct side b;
  size_t used = 0;
  uint8_t out[HANDSHAKE_OUT_BYTES];
  side_init(&b, 2, false, "s3cret");
  struct writer w = writer_make(out, sizeof(out));
  assert_int_equal(handshake_take(&b.handshake, BYTES_LITERAL("*"), &used, &w), HANDSHAKE_REFUSED);
  assert_int_equal(b.handshake.refusal, REFUSAL_MAGIC);
  assert_int_equal(out[0], '-');
}

static void every_refusal_has_a_name_and_a_remedy(void **state) {
  (void)state;
  for (enum refusal refusal = REFUSAL_MAGIC; refusal < REFUSAL_COUNT; refusal += 1) {
    assert_non_null(refusal_name(refusal));
    assert_true(strncmp(refusal_text(refusal), "for a reason", 12) != 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_sides_prove_themselves_however_the_bytes_are_cut),
      cmocka_unit_test(a_secret_that_is_a_prefix_of_the_other_does_not_do),
      cmocka_unit_test(a_stranger_who_dials_hears_no_proof),
      cmocka_unit_test(a_proof_can_not_be_sent_back_to_its_maker),
      cmocka_unit_test(a_proof_of_an_earlier_handshake_does_not_do_again),
      cmocka_unit_test(no_single_bit_can_be_changed_on_the_way),
      cmocka_unit_test(a_stranger_is_known_by_his_first_byte),
      cmocka_unit_test(every_refusal_has_a_name_and_a_remedy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
