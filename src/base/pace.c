#include "base/pace.h"

#include "base/assert.h"

#define SECOND_US UINT64_C(1000000)
#define RATE_MAX (UINT64_C(1) << 43) /* more bytes per second are as many as one likes */

static void refill(struct pace *pace, uint64_t rate, uint64_t now_ns) {
  ASSERT(now_ns >= pace->since_ns);
  uint64_t elapsed_us = (now_ns - pace->since_ns) / 1000u;
  if (elapsed_us > SECOND_US) {
    elapsed_us = SECOND_US;
    pace->since_ns = now_ns - SECOND_US * 1000u;
  }
  uint64_t granted = rate * elapsed_us / SECOND_US;
  /* Only the time that these bytes take: many small steps grant as much as a large one. */
  pace->since_ns += (granted * SECOND_US + rate - 1) / rate * 1000u;
  ASSERT(pace->since_ns <= now_ns);
  pace->tokens += (int64_t)granted;
  pace->tokens = pace->tokens > (int64_t)rate ? (int64_t)rate : pace->tokens;
}

bool pace_may_spend(struct pace *pace, uint64_t bytes_per_s, uint64_t now_ns, uint64_t *due_ns) {
  uint64_t rate = bytes_per_s < RATE_MAX ? bytes_per_s : RATE_MAX;
  if (rate == 0) {
    return true;
  }
  refill(pace, rate, now_ns);
  if (pace->tokens > 0) {
    return true;
  }
  uint64_t owed = (uint64_t)(-pace->tokens) + 1u;
  uint64_t wait_us = owed >= rate ? SECOND_US : owed * SECOND_US / rate + 1u;
  *due_ns = now_ns + wait_us * 1000u;
  return false;
}

void pace_spend(struct pace *pace, uint64_t bytes_per_s, uint64_t bytes) {
  ASSERT(bytes <= INT64_MAX / 2);
  if (bytes_per_s > 0) {
    pace->tokens -= (int64_t)bytes;
  }
}
