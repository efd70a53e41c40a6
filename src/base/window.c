#include "base/window.h"

#include "base/assert.h"

/* Forgets what is too old by now. */
static void turn(struct window *window, uint64_t now_ns) {
  const uint64_t piece = now_ns / WINDOW_PIECE_NS;
  ASSERT(piece >= window->piece);
  const uint64_t passed = piece - window->piece;
  for (uint64_t i = 1; i <= passed && i <= WINDOW_PIECES; i++) {
    struct hist *oldest = &window->list[(window->piece + i) % WINDOW_PIECES];
    if (oldest->total > 0) {
      hist_init(oldest);
    }
  }
  window->piece = piece;
}

void window_record(struct window *window, uint64_t now_ns, uint64_t value) {
  turn(window, now_ns);
  hist_record(&window->list[window->piece % WINDOW_PIECES], value);
}

uint64_t window_percentile(struct window *window, uint64_t now_ns, uint32_t per_100k) {
  turn(window, now_ns);
  return hist_percentile_of(window->list, WINDOW_PIECES, per_100k);
}
