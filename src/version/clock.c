#include "version/clock.h"

#include <string.h>

#include "base/assert.h"

#define PAIRS_ROOM ((uint32_t)(sizeof(((struct past *)0)->pairs) / sizeof(struct dot)))

_Static_assert(PAST_MAX >= CLOCK_PAIRS_MAX + SIBLINGS_MAX, "a past holds an object's claims and its siblings' dots");

/* -- dots ------------------------------------------------------------------------ */

static uint32_t load_u32(const uint8_t at[4]) {
  return (uint32_t)at[0] | ((uint32_t)at[1] << 8) | ((uint32_t)at[2] << 16) | ((uint32_t)at[3] << 24);
}

static void store_u32(uint8_t at[4], uint32_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
  at[2] = (uint8_t)(value >> 16);
  at[3] = (uint8_t)(value >> 24);
}

struct dot dot_load(const uint8_t at[DOT_BYTES]) {
  return (struct dot){
      .actor = {.incarnation = load_u32(at + 4) | ((uint64_t)load_u32(at + 8) << 32), .node = load_u32(at)},
      .time = load_u32(at + 12) | ((uint64_t)load_u32(at + 16) << 32),
  };
}

void dot_store(uint8_t at[DOT_BYTES], struct dot dot) {
  store_u32(at, dot.actor.node);
  store_u32(at + 4, (uint32_t)dot.actor.incarnation);
  store_u32(at + 8, (uint32_t)(dot.actor.incarnation >> 32));
  store_u32(at + 12, (uint32_t)dot.time);
  store_u32(at + 16, (uint32_t)(dot.time >> 32));
}

bool dot_is_valid(struct dot dot) {
  return dot.actor.node != 0 && dot.time != 0;
}

/* -- lists ------------------------------------------------------------------------ */

/* The place of the first that is not below `dot`. Pairs have one entry per actor, so this finds among them the only one
 * that could cover it. */
static uint32_t list_place(const struct dot *list, uint32_t count, struct dot dot) {
  uint32_t low = 0;
  uint32_t high = count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (dot_compare(list[middle], dot) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static void list_insert(struct dot *list, uint32_t *count, uint32_t place, struct dot dot) {
  ASSERT(place <= *count);
  memmove(list + place + 1, list + place, (*count - place) * sizeof(*list));
  list[place] = dot;
  *count += 1;
}

static void list_remove(struct dot *list, uint32_t *count, uint32_t place, uint32_t removed) {
  ASSERT(place <= *count);
  ASSERT(removed <= *count - place);
  memmove(list + place, list + place + removed, (*count - place - removed) * sizeof(*list));
  *count -= removed;
}

/* Merges from the far end, so that `into` need not be copied: what is written never overtakes what is not yet read. */
static uint32_t list_union(struct dot *into, uint32_t count, uint32_t capacity, const struct dot *from,
                           uint32_t from_count, bool by_actor) {
  ASSERT(count <= capacity);
  uint32_t common = 0;
  for (uint32_t i = 0, j = 0; i < count && j < from_count;) {
    int order = by_actor ? actor_compare(into[i].actor, from[j].actor) : dot_compare(into[i], from[j]);
    common += order == 0 ? 1 : 0;
    i += order <= 0 ? 1 : 0;
    j += order >= 0 ? 1 : 0;
  }
  uint32_t total = count + from_count - common;
  ASSERT(total <= capacity);
  uint32_t i = count;
  uint32_t j = from_count;
  uint32_t k = total;
  while (j > 0) {
    int order = -1;
    if (i > 0) {
      order = by_actor ? actor_compare(into[i - 1].actor, from[j - 1].actor) : dot_compare(into[i - 1], from[j - 1]);
    }
    struct dot last = order >= 0 ? into[i - 1] : from[j - 1];
    if (order == 0 && from[j - 1].time > last.time) {
      last = from[j - 1];
    }
    i -= order >= 0 ? 1 : 0;
    j -= order <= 0 ? 1 : 0;
    k -= 1;
    into[k] = last;
  }
  ASSERT(k == i);
  return total;
}

uint32_t pairs_union(struct dot *into, uint32_t count, uint32_t capacity, const struct dot *from, uint32_t from_count) {
  return list_union(into, count, capacity, from, from_count, true);
}

uint32_t dots_union(struct dot *into, uint32_t count, uint32_t capacity, const struct dot *from, uint32_t from_count) {
  return list_union(into, count, capacity, from, from_count, false);
}

uint32_t dots_drop_covered(struct dot *dots, uint32_t count, const struct dot *pairs, uint32_t pair_count) {
  struct cover_cursor cover = cover_begin((struct claims){.pairs = pairs, .pair_count = pair_count});
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (!cover_next(&cover, dots[i])) {
      dots[kept] = dots[i];
      kept += 1;
    }
  }
  ASSERT(kept <= count);
  return kept;
}

/* -- claims ------------------------------------------------------------------------ */

enum err claims_check(struct claims claims) {
  for (uint32_t i = 0; i < claims.pair_count; i++) {
    if (!dot_is_valid(claims.pairs[i]) ||
        (i > 0 && actor_compare(claims.pairs[i - 1].actor, claims.pairs[i].actor) >= 0)) {
      return ERR_CORRUPT;
    }
  }
  struct cover_cursor cover = cover_begin((struct claims){.pairs = claims.pairs, .pair_count = claims.pair_count});
  for (uint32_t i = 0; i < claims.dot_count; i++) {
    if (!dot_is_valid(claims.dots[i]) || (i > 0 && dot_compare(claims.dots[i - 1], claims.dots[i]) >= 0) ||
        cover_next(&cover, claims.dots[i])) {
      return ERR_CORRUPT;
    }
  }
  return ERR_OK;
}

struct cover_cursor cover_begin(struct claims claims) {
  return (struct cover_cursor){.claims = claims, .pair = 0, .dot = 0};
}

bool cover_next(struct cover_cursor *cursor, struct dot dot) {
  const struct claims *claims = &cursor->claims;
  ASSERT(cursor->pair <= claims->pair_count);
  ASSERT(cursor->dot <= claims->dot_count);
  while (cursor->pair < claims->pair_count && dot_compare(claims->pairs[cursor->pair], dot) < 0) {
    cursor->pair += 1;
  }
  if (cursor->pair < claims->pair_count && actor_compare(claims->pairs[cursor->pair].actor, dot.actor) == 0) {
    return true;
  }
  while (cursor->dot < claims->dot_count && dot_compare(claims->dots[cursor->dot], dot) < 0) {
    cursor->dot += 1;
  }
  return cursor->dot < claims->dot_count && dot_compare(claims->dots[cursor->dot], dot) == 0;
}

/* A heap with the oldest on top: lets the entry at `place` sink to where it belongs. */
static void heap_sink(struct dot *heap, uint32_t count, uint32_t place) {
  for (;;) {
    uint32_t oldest = place;
    for (uint32_t child = 2 * place + 1; child <= 2 * place + 2 && child < count; child++) {
      if (dot_compare_age(heap[child], heap[oldest]) < 0) {
        oldest = child;
      }
    }
    if (oldest == place) {
      return;
    }
    struct dot swap = heap[place];
    heap[place] = heap[oldest];
    heap[oldest] = swap;
    place = oldest;
  }
}

/* The oldest of those that stay: the newest CLOCK_PAIRS_MAX go through a heap of that size. */
static struct dot claims_cut(struct claims claims) {
  struct dot heap[CLOCK_PAIRS_MAX] = {{{0}, 0}};
  uint32_t count = 0;
  for (uint32_t i = 0; i < claims.pair_count + claims.dot_count; i++) {
    struct dot dot = i < claims.pair_count ? claims.pairs[i] : claims.dots[i - claims.pair_count];
    if (count < CLOCK_PAIRS_MAX) {
      heap[count] = dot;
      count += 1;
      for (uint32_t place = count / 2; count == CLOCK_PAIRS_MAX && place > 0; place--) {
        heap_sink(heap, count, place - 1);
      }
    } else if (dot_compare_age(heap[0], dot) < 0) {
      heap[0] = dot;
      heap_sink(heap, count, 0);
    }
  }
  ASSERT(count == CLOCK_PAIRS_MAX);
  return heap[0];
}

static uint32_t list_drop_older(struct dot *list, uint32_t count, struct dot cut) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (dot_compare_age(list[i], cut) >= 0) {
      list[kept] = list[i];
      kept += 1;
    }
  }
  return kept;
}

uint32_t claims_truncate(struct dot *pairs, uint32_t *pair_count, struct dot *dots, uint32_t *dot_count) {
  uint32_t total = *pair_count + *dot_count;
  if (total <= CLOCK_PAIRS_MAX) {
    return 0;
  }
  struct dot cut =
      claims_cut((struct claims){.pairs = pairs, .dots = dots, .pair_count = *pair_count, .dot_count = *dot_count});
  *pair_count = list_drop_older(pairs, *pair_count, cut);
  *dot_count = list_drop_older(dots, *dot_count, cut);
  ASSERT(*pair_count + *dot_count == CLOCK_PAIRS_MAX);
  return total - CLOCK_PAIRS_MAX;
}

/* -- pasts ------------------------------------------------------------------------ */

void past_init(struct past *past) {
  past->pair_count = 0;
  past->dot_count = 0;
}

struct claims past_claims(const struct past *past) {
  ASSERT(past->pair_count <= PAIRS_ROOM);
  ASSERT(past->dot_count <= PAST_MAX);
  return (struct claims){
      .pairs = past->pairs, .dots = past->dots, .pair_count = past->pair_count, .dot_count = past->dot_count};
}

bool past_covers(const struct past *past, struct dot dot) {
  ASSERT(past->pair_count <= PAIRS_ROOM);
  ASSERT(past->dot_count <= PAST_MAX);
  uint32_t pair = list_place(past->pairs, past->pair_count, dot);
  if (pair < past->pair_count && actor_compare(past->pairs[pair].actor, dot.actor) == 0) {
    return true;
  }
  uint32_t place = list_place(past->dots, past->dot_count, dot);
  return place < past->dot_count && dot_compare(past->dots[place], dot) == 0;
}

void past_add_pair(struct past *past, struct dot dot) {
  ASSERT(dot_is_valid(dot));
  uint32_t place = list_place(past->pairs, past->pair_count, dot);
  if (place < past->pair_count && actor_compare(past->pairs[place].actor, dot.actor) == 0) {
    return;
  }
  if (place > 0 && actor_compare(past->pairs[place - 1].actor, dot.actor) == 0) {
    past->pairs[place - 1] = dot;
  } else {
    ASSERT(past->pair_count < PAIRS_ROOM);
    list_insert(past->pairs, &past->pair_count, place, dot);
  }
  uint32_t first = list_place(past->dots, past->dot_count, (struct dot){.actor = dot.actor, .time = 0});
  uint32_t end = list_place(past->dots, past->dot_count, dot);
  if (end < past->dot_count && dot_compare(past->dots[end], dot) == 0) {
    end += 1;
  }
  list_remove(past->dots, &past->dot_count, first, end - first);
}

void past_add_dot(struct past *past, struct dot dot) {
  ASSERT(dot_is_valid(dot));
  if (past_covers(past, dot)) {
    return;
  }
  if (past->dot_count == PAST_MAX) {
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < past->dot_count; i++) {
      if (dot_compare_age(past->dots[i], past->dots[oldest]) < 0) {
        oldest = i;
      }
    }
    list_remove(past->dots, &past->dot_count, oldest, 1);
  }
  ASSERT(past->dot_count < PAST_MAX);
  list_insert(past->dots, &past->dot_count, list_place(past->dots, past->dot_count, dot), dot);
}

void past_merge(struct past *into, const struct past *from) {
  struct claims claims = past_claims(from);
  into->pair_count = pairs_union(into->pairs, into->pair_count, PAIRS_ROOM, claims.pairs, claims.pair_count);
  into->dot_count = dots_union(into->dots, into->dot_count, PAST_MAX, claims.dots, claims.dot_count);
  into->dot_count = dots_drop_covered(into->dots, into->dot_count, into->pairs, into->pair_count);
}

uint64_t past_newest(const struct past *past) {
  uint64_t newest = 0;
  for (uint32_t i = 0; i < past->pair_count; i++) {
    newest = past->pairs[i].time > newest ? past->pairs[i].time : newest;
  }
  for (uint32_t i = 0; i < past->dot_count; i++) {
    newest = past->dots[i].time > newest ? past->dots[i].time : newest;
  }
  return newest;
}

uint32_t past_truncate(struct past *past) {
  ASSERT(past->pair_count <= PAIRS_ROOM);
  ASSERT(past->dot_count <= PAST_MAX);
  return claims_truncate(past->pairs, &past->pair_count, past->dots, &past->dot_count);
}
