/* Contexts from clients. An input is a context as it comes from outside; as its checksum would turn nearly all away,
 * it is also tried with the right one put behind it. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "version/context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECKSUM_BYTES 8u

static const struct context_binding binding = {.seed = 1, .position_high = 2, .position_low = 3};
static struct past past;
static uint8_t room[CONTEXT_MAX_BYTES];

/* Whatever is taken keeps the invariants and is encoded as the same bytes again. */
static void check(struct bytes encoded) {
  uint32_t coordinator = 0;
  enum err err = context_decode(encoded, binding, &past, &coordinator);
  ASSERT(err == ERR_OK || err == ERR_BADCONTEXT);
  if (err != ERR_OK) {
    ASSERT(past.pair_count == 0 && past.dot_count == 0 && coordinator == 0);
    return;
  }
  ASSERT(claims_check(past_claims(&past)) == ERR_OK);
  struct writer w = writer_make(room, sizeof(room));
  context_encode(&w, &past, coordinator, binding);
  ASSERT(!w.failed);
  ASSERT(bytes_equal(writer_bytes(&w), encoded));
  past_add_dot(&past, (struct dot){.actor = {.incarnation = 1, .node = 2}, .time = UINT64_MAX});
  (void)past_truncate(&past);
  ASSERT(claims_check(past_claims(&past)) == ERR_OK);
  struct context_binding other = binding;
  other.position_low += 1;
  ASSERT(context_decode(encoded, other, &past, &coordinator) == ERR_BADCONTEXT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  check((struct bytes){data, size});
  if (size + CHECKSUM_BYTES > CONTEXT_MAX_BYTES) {
    return 0;
  }
  uint8_t position[16];
  struct writer p = writer_make(position, sizeof(position));
  write_u64(&p, binding.position_high);
  write_u64(&p, binding.position_low);
  uint64_t checksum = bytes_hash((struct bytes){data, size}, bytes_hash(writer_bytes(&p), binding.seed));
  uint8_t *signed_bytes = malloc(size + CHECKSUM_BYTES);
  ASSERT(signed_bytes != NULL);
  struct writer w = writer_make(signed_bytes, size + CHECKSUM_BYTES);
  write_raw(&w, (struct bytes){data, size});
  write_u64(&w, checksum);
  check(writer_bytes(&w));
  free(signed_bytes);
  return 0;
}
