#include "clock.h"

#include "base/assert.h"

static int64_t drifted_ms(const struct clock *clock, uint64_t now_ns) {
  ASSERT(now_ns >= clock->since_ns);
  int64_t passed_us = (int64_t)((now_ns - clock->since_ns) / 1000u);
  return passed_us / 1000 * clock->drift_ppm / 1000000;
}

uint64_t clock_read(const struct clock *clock, uint64_t now_ns, uint64_t true_ms) {
  int64_t read = (int64_t)true_ms + clock->offset_ms + drifted_ms(clock, now_ns);
  return read < 0 ? 0 : (uint64_t)read;
}

void clock_jump(struct clock *clock, int64_t by_ms) {
  clock->offset_ms += by_ms;
}

void clock_set_drift(struct clock *clock, uint64_t now_ns, int64_t drift_ppm) {
  clock->offset_ms += drifted_ms(clock, now_ns);
  clock->since_ns = now_ns;
  clock->drift_ppm = drift_ppm;
}
