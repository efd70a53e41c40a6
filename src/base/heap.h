/* Deadlines: a binary min-heap of (time, index) with removal by index, over memory given at
 * the start. Ties are broken by index, so the order is the same on every machine. */
#ifndef GRAMME_BASE_HEAP_H
#define GRAMME_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#define HEAP_NEVER UINT64_MAX

struct heap_entry {
  uint64_t time_ns;
  uint32_t index;
};

struct heap {
  struct heap_entry *entries; /* borrowed: `capacity` of them */
  uint32_t *places;           /* borrowed: index -> place + 1, or 0 */
  uint32_t capacity;          /* indexes are 0 .. capacity-1 */
  uint32_t count;
};

void heap_init(struct heap *heap, struct heap_entry *entries, uint32_t *places, uint32_t capacity);
void heap_set(struct heap *heap, uint32_t index, uint64_t time_ns); /* inserts or moves; HEAP_NEVER removes */
void heap_remove(struct heap *heap, uint32_t index);                /* absent is fine */
uint64_t heap_next(const struct heap *heap);                        /* earliest time, or HEAP_NEVER */
bool heap_pop_due(struct heap *heap, uint64_t now_ns, uint32_t *index);

#endif
