#include "base/heap.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"

static bool entry_before(struct heap_entry a, struct heap_entry b) {
  return a.time_ns < b.time_ns || (a.time_ns == b.time_ns && a.index < b.index);
}

static void entry_place(struct heap *heap, uint32_t place, struct heap_entry entry) {
  heap->entries[place] = entry;
  heap->places[entry.index] = place + 1;
}

static void entry_up(struct heap *heap, uint32_t place) {
  const struct heap_entry entry = heap->entries[place];
  while (place > 0) {
    const uint32_t parent = (place - 1) / 2;
    if (!entry_before(entry, heap->entries[parent])) {
      break;
    }
    entry_place(heap, place, heap->entries[parent]);
    place = parent;
  }
  entry_place(heap, place, entry);
}

static void entry_down(struct heap *heap, uint32_t place) {
  const struct heap_entry entry = heap->entries[place];
  while (2 * (uint64_t)place + 1 < heap->count) {
    uint32_t child = 2 * place + 1;
    if (child + 1 < heap->count && entry_before(heap->entries[child + 1], heap->entries[child])) {
      child++;
    }
    if (!entry_before(heap->entries[child], entry)) {
      break;
    }
    entry_place(heap, place, heap->entries[child]);
    place = child;
  }
  entry_place(heap, place, entry);
}

void heap_init(struct heap *heap, struct heap_entry *entries, uint32_t *places, uint32_t capacity) {
  ASSERT(entries != NULL && places != NULL);
  ASSERT(capacity > 0 && capacity < UINT32_MAX / 2);
  memset(places, 0, (size_t)capacity * sizeof *places);
  *heap = (struct heap){.entries = entries, .places = places, .capacity = capacity, .count = 0};
}

void heap_set(struct heap *heap, uint32_t index, uint64_t time_ns) {
  ASSERT(index < heap->capacity);
  if (time_ns == HEAP_NEVER) {
    heap_remove(heap, index);
    return;
  }
  const struct heap_entry entry = {.time_ns = time_ns, .index = index};
  uint32_t place = heap->places[index];
  if (place == 0) {
    ASSERT(heap->count < heap->capacity);
    place = heap->count;
    heap->count++;
  } else {
    place--;
    ASSERT(place < heap->count && heap->entries[place].index == index);
  }
  entry_place(heap, place, entry);
  entry_up(heap, place);
  entry_down(heap, heap->places[index] - 1);
}

void heap_remove(struct heap *heap, uint32_t index) {
  ASSERT(index < heap->capacity);
  if (heap->places[index] == 0) {
    return;
  }
  const uint32_t place = heap->places[index] - 1;
  ASSERT(place < heap->count && heap->entries[place].index == index);
  heap->places[index] = 0;
  heap->count--;
  if (place == heap->count) {
    return;
  }
  const struct heap_entry last = heap->entries[heap->count];
  entry_place(heap, place, last);
  entry_up(heap, place);
  entry_down(heap, heap->places[last.index] - 1);
}

uint64_t heap_next(const struct heap *heap) {
  ASSERT(heap->count <= heap->capacity);
  return heap->count == 0 ? HEAP_NEVER : heap->entries[0].time_ns;
}

bool heap_pop_due(struct heap *heap, uint64_t now_ns, uint32_t *index) {
  ASSERT(heap->count <= heap->capacity);
  ASSERT(index != NULL);
  if (heap->count == 0 || heap->entries[0].time_ns > now_ns) {
    return false;
  }
  *index = heap->entries[0].index;
  heap_remove(heap, *index);
  return true;
}
