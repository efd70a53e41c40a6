/* A log-linear histogram of durations: 2^6 linear steps per power of two, so a value is
 * known to within 1.6 %. Fixed size, no allocation; mergeable by addition. */
#ifndef GRAMME_BASE_HIST_H
#define GRAMME_BASE_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 6u
#define HIST_BUCKETS (((64u - HIST_SUB_BITS) << HIST_SUB_BITS) + (1u << HIST_SUB_BITS))

struct hist {
  uint64_t counts[HIST_BUCKETS];
  uint64_t total;
  uint64_t max;
  uint64_t sum;
};

void hist_init(struct hist *hist);
void hist_record(struct hist *hist, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);
/* The value below or at which `per_100k` of 100,000 samples lie (p99.9 = 99900); 0 when empty. */
uint64_t hist_percentile(const struct hist *hist, uint32_t per_100k);
/* The same of the samples of `count` histograms together. Quick for high percentiles: it is counted from the top. */
uint64_t hist_percentile_of(const struct hist *list, uint32_t count, uint32_t per_100k);

#endif
