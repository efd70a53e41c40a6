/* A hybrid logical clock (Kulkarni et al. 2014): 48 bits of wall-clock milliseconds,
 * 16 bits of counter, so that readings of one node strictly increase even when its
 * wall clock does not.
 *
 * INVARIANT: each hlc_tick returns more than any earlier one, and more than any remote
 * reading taken, save those more than HLC_AHEAD_MAX_MS ahead of our wall clock, which
 * are counted and do not move us (one mad clock must not drag the cluster's along).
 */
#ifndef GRAMME_BASE_HLC_H
#define GRAMME_BASE_HLC_H

#include <stdint.h>

#define HLC_AHEAD_MAX_MS 60000u

struct hlc {
  uint64_t last;        /* the last reading issued or taken */
  uint64_t ahead_count; /* remote readings that were too far ahead */
};

void hlc_init(struct hlc *hlc, uint64_t floor); /* readings will be > floor */
uint64_t hlc_tick(struct hlc *hlc, uint64_t wall_ms);
void hlc_observe(struct hlc *hlc, uint64_t remote, uint64_t wall_ms);
/* A tick that is more than `seen` as well. What is too far ahead does not move the clock: then only this reading is. */
uint64_t hlc_tick_after(struct hlc *hlc, uint64_t seen, uint64_t wall_ms);
/* Readings will be > this one, which every clock has come to: it is not mad. */
void hlc_raise(struct hlc *hlc, uint64_t reading);
uint64_t hlc_ms(uint64_t reading); /* its wall-clock part */
uint64_t hlc_make(uint64_t wall_ms, uint16_t counter);

#endif
