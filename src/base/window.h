/* What was measured in the last minute: a histogram for each ten seconds of it, in memory that never grows.
 *
 * INVARIANT: `list` holds only samples of the last WINDOW_PIECES pieces, the current and unfinished one among them; so
 * it reaches back 50 to 60 seconds.
 */
#ifndef GRAMME_BASE_WINDOW_H
#define GRAMME_BASE_WINDOW_H

#include "base/hist.h"

#define WINDOW_PIECES 6u
#define WINDOW_PIECE_NS UINT64_C(10000000000)

/* All zeros is an empty one. */
struct window {
  uint64_t piece; /* the current one, counted from time 0 */
  struct hist list[WINDOW_PIECES];
};

/* Times never go back. */
void window_record(struct window *window, uint64_t now_ns, uint64_t value);
/* As hist_percentile; 0 when nothing was measured. */
uint64_t window_percentile(struct window *window, uint64_t now_ns, uint32_t per_100k);

#endif
