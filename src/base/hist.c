#include "base/hist.h"

#include <string.h>

#include "base/assert.h"

#define SUB_COUNT (1u << HIST_SUB_BITS)
#define PERCENT_WHOLE 100000u

/* Values below SUB_COUNT have a bucket each; above, the power of two chooses a row of SUB_COUNT buckets
 * and the HIST_SUB_BITS bits behind the leading one choose the bucket in it. */
static uint32_t bucket_of(uint64_t value) {
  if (value < SUB_COUNT) {
    return (uint32_t)value;
  }
  const uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value);
  const uint32_t row = exponent - HIST_SUB_BITS + 1;
  const uint32_t step = (uint32_t)(value >> (exponent - HIST_SUB_BITS)) & (SUB_COUNT - 1);
  const uint32_t bucket = (row << HIST_SUB_BITS) + step;
  ASSERT(bucket < HIST_BUCKETS);
  return bucket;
}

/* The greatest value of a bucket. */
static uint64_t bucket_top(uint32_t bucket) {
  ASSERT(bucket < HIST_BUCKETS);
  const uint32_t row = bucket >> HIST_SUB_BITS;
  const uint64_t step = bucket & (SUB_COUNT - 1);
  if (row == 0) {
    return step;
  }
  const uint64_t bottom = (SUB_COUNT + step) << (row - 1);
  return bottom + ((UINT64_C(1) << (row - 1)) - 1);
}

static uint64_t add_saturating(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void hist_init(struct hist *hist) {
  memset(hist, 0, sizeof *hist);
}

void hist_record(struct hist *hist, uint64_t value) {
  hist->counts[bucket_of(value)]++;
  hist->total++;
  hist->sum = add_saturating(hist->sum, value);
  if (value > hist->max) {
    hist->max = value;
  }
}

void hist_merge(struct hist *into, const struct hist *from) {
  ASSERT(into != from);
  for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
    into->counts[i] += from->counts[i];
  }
  into->total += from->total;
  into->sum = add_saturating(into->sum, from->sum);
  if (from->max > into->max) {
    into->max = from->max;
  }
}

uint64_t hist_percentile(const struct hist *hist, uint32_t per_100k) {
  return hist_percentile_of(hist, 1, per_100k);
}

uint64_t hist_percentile_of(const struct hist *list, uint32_t count, uint32_t per_100k) {
  ASSERT(per_100k <= PERCENT_WHOLE);
  uint64_t total = 0;
  uint64_t max = 0;
  for (uint32_t i = 0; i < count; i++) {
    total += list[i].total;
    max = list[i].max > max ? list[i].max : max;
  }
  if (total == 0) {
    return 0;
  }
  /* The sample that is wanted, counted from 1: ceil(total * per_100k / 100,000), without overflow. */
  const uint64_t whole = total / PERCENT_WHOLE;
  const uint64_t rest = total % PERCENT_WHOLE;
  const uint64_t rank = whole * per_100k + (rest * per_100k + PERCENT_WHOLE - 1) / PERCENT_WHOLE;
  ASSERT(rank <= total);
  /* So many lie above it. Rank 0 is the first sample. */
  const uint64_t above = rank == 0 ? total - 1 : total - rank;
  uint32_t bucket = bucket_of(max);
  uint64_t seen = 0;
  for (;;) {
    for (uint32_t i = 0; i < count; i++) {
      seen += list[i].counts[bucket];
    }
    if (seen > above) {
      break;
    }
    ASSERT(bucket > 0);
    bucket -= 1;
  }
  const uint64_t top = bucket_top(bucket);
  return top < max ? top : max;
}
