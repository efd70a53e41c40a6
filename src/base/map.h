/* A hash map of fixed capacity over memory given at the start: uint64_t key -> uint32_t
 * value (an index into somebody's table). Open addressing, linear probing, backward-shift
 * deletion: no tombstones, so it does not degrade.
 *
 * Iteration is not offered: nothing may be ordered by a hash slot.
 */
#ifndef GRAMME_BASE_MAP_H
#define GRAMME_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
  uint64_t key;
  uint32_t value;
  uint32_t used;
};

struct map {
  struct map_slot *slots; /* borrowed */
  uint32_t mask;          /* slots - 1 */
  uint32_t count;
};

/* `slots`: a power of two, at least twice the number of keys that will be held at once. */
void map_init(struct map *map, struct map_slot *slots, uint32_t slot_count);
bool map_find(const struct map *map, uint64_t key, uint32_t *value);
/* The key must not be present; asserts that the map is at most half full. */
void map_insert(struct map *map, uint64_t key, uint32_t value);
bool map_remove(struct map *map, uint64_t key);

#endif
