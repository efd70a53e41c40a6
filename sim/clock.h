/* The wall clocks of the nodes: each may be off, run at its own speed, and jump. Monotonic time is the world's. */
#ifndef GRAMME_SIM_CLOCK_H
#define GRAMME_SIM_CLOCK_H

#include <stdint.h>

struct clock {
  int64_t offset_ms;
  int64_t drift_ppm; /* faster than the world's, in millionths */
  uint64_t since_ns; /* world time at which offset_ms held */
};

/* `true_ms` is the world's wall clock at `now_ns`. */
uint64_t clock_read(const struct clock *clock, uint64_t now_ns, uint64_t true_ms);
void clock_jump(struct clock *clock, int64_t by_ms);
void clock_set_drift(struct clock *clock, uint64_t now_ns, int64_t drift_ppm);

#endif
