#include "disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static struct bytes bytes_clone(struct bytes bytes) {
  uint8_t *data = malloc(bytes.size + 1);
  ASSERT(data != NULL);
  if (bytes.size > 0) {
    memcpy(data, bytes.data, bytes.size);
  }
  return (struct bytes){data, bytes.size};
}

static void bytes_free(struct bytes bytes) {
  union {
    const uint8_t *borrowed;
    uint8_t *owned;
  } data = {bytes.data};
  free(data.owned);
}

static size_t table_seek(const struct disk_table *table, struct bytes key) {
  size_t low = 0;
  size_t high = table->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (bytes_compare(table->entries[middle].key, key) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool table_has(const struct disk_table *table, size_t at, struct bytes key) {
  return at < table->count && bytes_equal(table->entries[at].key, key);
}

static void table_put(struct disk_table *table, struct bytes key, struct bytes value) {
  size_t at = table_seek(table, key);
  if (table_has(table, at, key)) {
    bytes_free(table->entries[at].value);
    table->entries[at].value = bytes_clone(value);
    table->entries[at].damaged = false;
    return;
  }
  if (table->count == table->capacity) {
    table->capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
    table->entries = realloc(table->entries, table->capacity * sizeof table->entries[0]);
    ASSERT(table->entries != NULL);
  }
  memmove(&table->entries[at + 1], &table->entries[at], (table->count - at) * sizeof table->entries[0]);
  table->entries[at] = (struct disk_entry){bytes_clone(key), bytes_clone(value), false};
  table->count += 1;
}

static void table_remove(struct disk_table *table, struct bytes key) {
  size_t at = table_seek(table, key);
  if (!table_has(table, at, key)) {
    return;
  }
  bytes_free(table->entries[at].key);
  bytes_free(table->entries[at].value);
  table->count -= 1;
  memmove(&table->entries[at], &table->entries[at + 1], (table->count - at) * sizeof table->entries[0]);
}

static void table_clear(struct disk_table *table) {
  for (size_t i = 0; i < table->count; i++) {
    bytes_free(table->entries[i].key);
    bytes_free(table->entries[i].value);
  }
  free(table->entries);
  *table = (struct disk_table){.entries = NULL};
}

static void table_clone(struct disk_table *to, const struct disk_table *from) {
  *to = (struct disk_table){.count = from->count, .capacity = from->count};
  to->entries = from->count == 0 ? NULL : malloc(from->count * sizeof to->entries[0]);
  ASSERT(from->count == 0 || to->entries != NULL);
  for (size_t i = 0; i < from->count; i++) {
    const struct disk_entry *entry = &from->entries[i];
    to->entries[i] = (struct disk_entry){bytes_clone(entry->key), bytes_clone(entry->value), entry->damaged};
  }
}

static void apply(struct disk_table tables[SPACE_COUNT], const struct disk_change *change) {
  if (change->remove) {
    table_remove(&tables[change->space], change->key);
  } else {
    table_put(&tables[change->space], change->key, change->value);
  }
}

static void change_free(struct disk_change *change) {
  bytes_free(change->key);
  bytes_free(change->value);
}

static void changes_drop(struct disk *disk, size_t first, size_t count) {
  if (count == 0) {
    return;
  }
  for (size_t i = first; i < first + count; i++) {
    change_free(&disk->changes[i]);
  }
  disk->change_count -= count;
  memmove(&disk->changes[first], &disk->changes[first + count], (disk->change_count - first) * sizeof disk->changes[0]);
}

void disk_init(struct disk *disk) {
  *disk = (struct disk){.changes = NULL};
}

void disk_deinit(struct disk *disk) {
  changes_drop(disk, 0, disk->change_count);
  free(disk->changes);
  for (int i = 0; i < SPACE_COUNT; i++) {
    table_clear(&disk->visible[i]);
    table_clear(&disk->durable[i]);
  }
}

void disk_begin(struct disk *disk, enum space space, struct bytes key, const struct bytes *value, bool sync) {
  if (disk->change_count == disk->change_capacity) {
    disk->change_capacity = disk->change_capacity == 0 ? 64 : 2 * disk->change_capacity;
    disk->changes = realloc(disk->changes, disk->change_capacity * sizeof disk->changes[0]);
    ASSERT(disk->changes != NULL);
  }
  disk->changes[disk->change_count] = (struct disk_change){
      .space = space,
      .sync = sync,
      .remove = value == NULL,
      .key = bytes_clone(key),
      .value = bytes_clone(value == NULL ? BYTES_NONE : *value),
  };
  disk->change_count += 1;
}

const struct disk_change *disk_oldest(const struct disk *disk) {
  ASSERT(disk->applied < disk->change_count);
  return &disk->changes[disk->applied];
}

/* The first `count` changes are durable now. */
static void make_durable(struct disk *disk, size_t count) {
  for (size_t i = 0; i < count; i++) {
    apply(disk->durable, &disk->changes[i]);
    if (disk->became_durable != NULL) {
      disk->became_durable(disk->context, disk->argument, &disk->changes[i]);
    }
  }
}

void disk_complete(struct disk *disk, enum err err) {
  ASSERT(disk->applied < disk->change_count);
  if (err != ERR_OK) {
    changes_drop(disk, disk->applied, 1);
    return;
  }
  struct disk_change *change = &disk->changes[disk->applied];
  apply(disk->visible, change);
  disk->applied += 1;
  disk->unsynced_bytes += change->key.size + change->value.size;
  if (change->sync || disk->unsynced_bytes > DISK_UNSYNCED_MAX_BYTES) {
    disk->unsynced_bytes = 0;
    make_durable(disk, disk->applied);
    changes_drop(disk, 0, disk->applied);
    disk->applied = 0;
  }
}

static bool table_get(const struct disk_table *table, struct bytes key, struct bytes *value, enum err *err) {
  size_t at = table_seek(table, key);
  *err = ERR_OK;
  if (!table_has(table, at, key)) {
    return false;
  }
  *value = table->entries[at].value;
  *err = table->entries[at].damaged ? ERR_CORRUPT : ERR_OK;
  return true;
}

bool disk_get(const struct disk *disk, enum space space, struct bytes key, struct bytes *value, enum err *err) {
  return table_get(&disk->visible[space], key, value, err);
}

bool disk_get_durable(const struct disk *disk, enum space space, struct bytes key, struct bytes *value) {
  enum err err = ERR_OK;
  return table_get(&disk->durable[space], key, value, &err) && err == ERR_OK;
}

size_t disk_seek(const struct disk *disk, enum space space, struct bytes key) {
  return table_seek(&disk->visible[space], key);
}

/* What is visible is what is durable, after a start. */
static void reload(struct disk *disk) {
  changes_drop(disk, 0, disk->change_count);
  disk->applied = 0;
  disk->unsynced_bytes = 0;
  for (int i = 0; i < SPACE_COUNT; i++) {
    table_clear(&disk->visible[i]);
    table_clone(&disk->visible[i], &disk->durable[i]);
  }
}

void disk_crash(struct disk *disk, struct prng *prng) {
  make_durable(disk, (size_t)prng_below(prng, disk->change_count + 1));
  reload(disk);
}

bool disk_damage(struct disk *disk, size_t nth) {
  struct disk_table *table = &disk->durable[SPACE_OBJECTS];
  struct disk_table *seen = &disk->visible[SPACE_OBJECTS];
  if (table->count == 0) {
    return false;
  }
  struct disk_entry *entry = &table->entries[nth % table->count];
  size_t at = table_seek(seen, entry->key);
  entry->damaged = true;
  /* What has been written since lies elsewhere, and is sound. */
  if (table_has(seen, at, entry->key) && bytes_equal(seen->entries[at].value, entry->value)) {
    seen->entries[at].damaged = true;
  }
  return true;
}

void disk_lose(struct disk *disk) {
  ASSERT(disk->change_count == 0);
  for (int i = 0; i < SPACE_COUNT; i++) {
    table_clear(&disk->durable[i]);
  }
  reload(disk);
}

void disk_forget(struct disk *disk, size_t nth) {
  struct disk_table *table = &disk->durable[SPACE_OBJECTS];
  ASSERT(disk->change_count == 0);
  if (table->count > 0) {
    table_remove(table, table->entries[nth % table->count].key);
    reload(disk);
  }
}

void disk_put_back(struct disk *disk, const struct disk *copy) {
  ASSERT(disk->change_count == 0);
  for (int i = 0; i < SPACE_COUNT; i++) {
    table_clear(&disk->durable[i]);
    table_clone(&disk->durable[i], &copy->durable[i]);
  }
  reload(disk);
}

void disk_copy(struct disk *to, const struct disk *from) {
  disk_init(to);
  for (int i = 0; i < SPACE_COUNT; i++) {
    table_clone(&to->visible[i], &from->durable[i]);
    table_clone(&to->durable[i], &from->durable[i]);
  }
}
