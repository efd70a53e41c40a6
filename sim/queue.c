#include "queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static bool before(const struct place *a, const struct place *b) {
  return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->sequence < b->sequence;
}

void queue_init(struct queue *queue) {
  memset(queue, 0, sizeof *queue);
}

void queue_deinit(struct queue *queue) {
  for (size_t i = 0; i < queue->count; i++) {
    entry_free(&queue->slots[queue->places[i].slot]);
  }
  free(queue->places);
  free(queue->slots);
  free(queue->free_slots);
}

static void grow(struct queue *queue) {
  size_t old = queue->capacity;
  queue->capacity = old == 0 ? 1024 : 2 * old;
  queue->places = realloc(queue->places, queue->capacity * sizeof queue->places[0]);
  queue->slots = realloc(queue->slots, queue->capacity * sizeof queue->slots[0]);
  queue->free_slots = realloc(queue->free_slots, queue->capacity * sizeof queue->free_slots[0]);
  ASSERT(queue->places != NULL && queue->slots != NULL && queue->free_slots != NULL);
  for (size_t i = queue->capacity; i > old; i--) {
    queue->free_slots[queue->free_count] = (uint32_t)(i - 1);
    queue->free_count += 1;
  }
}

void queue_push(struct queue *queue, uint64_t time_ns, const struct entry *entry) {
  if (queue->count == queue->capacity) {
    grow(queue);
  }
  queue->sequence += 1;
  queue->free_count -= 1;
  struct place place = {time_ns, queue->sequence, queue->free_slots[queue->free_count]};
  queue->slots[place.slot] = *entry;
  size_t at = queue->count;
  queue->count += 1;
  while (at > 0 && before(&place, &queue->places[(at - 1) / 2])) {
    queue->places[at] = queue->places[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  queue->places[at] = place;
}

uint64_t queue_next(const struct queue *queue) {
  return queue->count == 0 ? UINT64_MAX : queue->places[0].time_ns;
}

struct entry queue_pop(struct queue *queue, uint64_t *time_ns) {
  ASSERT(queue->count > 0);
  struct place first = queue->places[0];
  queue->count -= 1;
  struct place last = queue->places[queue->count];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= queue->count) {
      break;
    }
    if (child + 1 < queue->count && before(&queue->places[child + 1], &queue->places[child])) {
      child += 1;
    }
    if (!before(&queue->places[child], &last)) {
      break;
    }
    queue->places[at] = queue->places[child];
    at = child;
  }
  queue->places[at] = last;
  queue->free_slots[queue->free_count] = first.slot;
  queue->free_count += 1;
  *time_ns = first.time_ns;
  return queue->slots[first.slot];
}

void entry_free(struct entry *entry) {
  free(entry->bytes);
  free(entry->prefix);
}
