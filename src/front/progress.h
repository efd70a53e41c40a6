/* How fast partitions move: totals of what all nodes have received, looked at once a second, over some ten seconds.
 *
 * INVARIANT: the samples rise; totals that fall are those of another change, or of a node that began anew, and start
 * the samples over.
 */
#ifndef GRAMME_FRONT_PROGRESS_H
#define GRAMME_FRONT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_SAMPLES 11u
#define PROGRESS_STALE_NS UINT64_C(60000000000) /* nobody has looked for so long: what was seen before does not count */

struct progress_sample {
  uint64_t at_ns;
  uint64_t keys;
  uint64_t bytes;
};

struct progress {
  uint32_t count;
  struct progress_sample samples[PROGRESS_SAMPLES]; /* the oldest first */
};

void progress_note(struct progress *progress, uint64_t now_ns, uint64_t keys, uint64_t bytes);
/* 0 while nothing is known, or nothing moves. */
uint64_t progress_bytes_per_s(const struct progress *progress);
uint64_t progress_keys_per_s(const struct progress *progress);
/* Seconds that `left` bytes take at `rate`, rounded up; UINT64_MAX when that can not be said. */
uint64_t progress_eta_s(uint64_t left, uint64_t rate);
/* Of a total of `wanted` partitions `held` have come, and `bytes` with them and with some that are still on their way:
 * about so many are still to come. `mean_bytes` is a partition's while none has come. */
uint64_t progress_bytes_left(uint64_t wanted, uint64_t held, uint64_t bytes, uint64_t mean_bytes);

#endif
