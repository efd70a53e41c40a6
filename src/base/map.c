#include "base/map.h"

#include <string.h>

#include "base/assert.h"

/* Keys may be counters or hashes: mixed, so that neither piles up. */
static uint64_t key_mix(uint64_t key) {
  key ^= key >> 32;
  key *= 0xd6e8feb86659fd93u;
  key ^= key >> 32;
  key *= 0xd6e8feb86659fd93u;
  key ^= key >> 32;
  return key;
}

static uint32_t slot_home(const struct map *map, uint64_t key) {
  return (uint32_t)key_mix(key) & map->mask;
}

/* The slot of the key, or the empty one where it would go. The map is at most half full, so there is one. */
static uint32_t slot_seek(const struct map *map, uint64_t key) {
  uint32_t slot = slot_home(map, key);
  while (map->slots[slot].used != 0 && map->slots[slot].key != key) {
    slot = (slot + 1) & map->mask;
  }
  return slot;
}

void map_init(struct map *map, struct map_slot *slots, uint32_t slot_count) {
  ASSERT(slots != NULL);
  ASSERT(slot_count >= 2 && (slot_count & (slot_count - 1)) == 0);
  memset(slots, 0, (size_t)slot_count * sizeof *slots);
  map->slots = slots;
  map->mask = slot_count - 1;
  map->count = 0;
}

bool map_find(const struct map *map, uint64_t key, uint32_t *value) {
  ASSERT(map->slots != NULL);
  ASSERT(value != NULL);
  const struct map_slot *slot = &map->slots[slot_seek(map, key)];
  if (slot->used == 0) {
    return false;
  }
  *value = slot->value;
  return true;
}

void map_insert(struct map *map, uint64_t key, uint32_t value) {
  ASSERT(map->count < (map->mask >> 1) + 1);
  struct map_slot *slot = &map->slots[slot_seek(map, key)];
  ASSERT(slot->used == 0);
  *slot = (struct map_slot){.key = key, .value = value, .used = 1};
  map->count++;
}

bool map_remove(struct map *map, uint64_t key) {
  uint32_t hole = slot_seek(map, key);
  if (map->slots[hole].used == 0) {
    return false;
  }
  ASSERT(map->count > 0);
  /* Each entry behind the hole, up to the next empty slot, moves into it unless its home lies
   * between the hole (exclusive) and itself: then a search for it never passes the hole. */
  uint32_t slot = (hole + 1) & map->mask;
  while (map->slots[slot].used != 0) {
    const uint32_t home = slot_home(map, map->slots[slot].key);
    const uint32_t from_home = (slot - home) & map->mask;
    const uint32_t from_hole = (slot - hole) & map->mask;
    if (from_home >= from_hole) {
      map->slots[hole] = map->slots[slot];
      hole = slot;
    }
    slot = (slot + 1) & map->mask;
  }
  ASSERT(map->slots[hole].used != 0);
  map->slots[hole] = (struct map_slot){0};
  map->count--;
  return true;
}
