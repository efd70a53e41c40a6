/* The first bytes that a stranger sends to a node's peer port, or that one answers who was dialled: whatever they
 * are, the handshake ends or waits within its bounds, and nobody who lacks the secret gets through.
 *
 * The first byte of the input says which side we are and how much is shown at a time. */
#include <string.h>

#include "base/assert.h"
#include "os/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const struct handshake_identity own = {
      .node = 1, .instance = 2, .version = HANDSHAKE_VERSION, .cluster_name = "dynamo", .secret = "not to be guessed"};
  struct handshake handshake;
  uint8_t nonce[HANDSHAKE_NONCE_BYTES] = {3};
  uint8_t out[HANDSHAKE_OUT_BYTES];
  if (size == 0) {
    return 0;
  }
  struct writer w = writer_make(out, sizeof(out));
  handshake_init(&handshake, &own, (data[0] & 1) != 0, nonce);
  handshake_start(&handshake, &w);
  size_t step = 1 + (data[0] >> 1);
  size_t shown = 0;
  data += 1;
  size -= 1;
  while (shown < size) {
    size_t used = 0;
    shown = shown + step < size ? shown + step : size;
    w = writer_make(out, sizeof(out));
    enum handshake_stage stage = handshake_take(&handshake, (struct bytes){data, shown}, &used, &w);
    ASSERT(used <= shown);
    ASSERT(!w.failed);
    ASSERT(stage != HANDSHAKE_DONE);
    if (stage == HANDSHAKE_REFUSED) {
      ASSERT(handshake.refusal != REFUSAL_NONE && handshake.refusal < REFUSAL_COUNT);
      break;
    }
    data += used;
    size -= used;
    shown -= used;
  }
  return 0;
}
