#include "base/hlc.h"

#include "base/assert.h"

#define COUNTER_BITS 16u
#define WALL_MAX_MS ((UINT64_C(1) << 48) - 1) /* the year 10889; a later clock is taken as this */

static uint64_t wall_clamp(uint64_t wall_ms) {
  return wall_ms < WALL_MAX_MS ? wall_ms : WALL_MAX_MS;
}

void hlc_init(struct hlc *hlc, uint64_t floor) {
  ASSERT(floor < UINT64_MAX);
  hlc->last = floor;
  hlc->ahead_count = 0;
}

uint64_t hlc_tick(struct hlc *hlc, uint64_t wall_ms) {
  ASSERT(hlc->last < UINT64_MAX);
  const uint64_t before = hlc->last;
  const uint64_t wall = wall_clamp(wall_ms) << COUNTER_BITS;
  /* A counter that runs over moves the milliseconds: still greater, and the wall clock soon catches up. */
  hlc->last = wall > before ? wall : before + 1;
  ASSERT(hlc->last > before);
  return hlc->last;
}

void hlc_observe(struct hlc *hlc, uint64_t remote, uint64_t wall_ms) {
  ASSERT(hlc->last < UINT64_MAX);
  if (hlc_ms(remote) > wall_clamp(wall_ms) + HLC_AHEAD_MAX_MS || remote == UINT64_MAX) {
    COUNT(hlc->ahead_count);
    return;
  }
  if (remote > hlc->last) {
    hlc->last = remote;
  }
  ASSERT(hlc->last >= remote);
}

uint64_t hlc_tick_after(struct hlc *hlc, uint64_t seen, uint64_t wall_ms) {
  if (seen > hlc->last) {
    hlc_observe(hlc, seen, wall_ms);
  }
  const uint64_t reading = hlc_tick(hlc, wall_ms);
  return reading > seen || seen == UINT64_MAX ? reading : seen + 1; /* nothing is above the last of all readings */
}

void hlc_raise(struct hlc *hlc, uint64_t reading) {
  ASSERT(reading < UINT64_MAX);
  hlc->last = reading > hlc->last ? reading : hlc->last;
}

uint64_t hlc_ms(uint64_t reading) {
  return reading >> COUNTER_BITS;
}

uint64_t hlc_make(uint64_t wall_ms, uint16_t counter) {
  return (wall_clamp(wall_ms) << COUNTER_BITS) | counter;
}
