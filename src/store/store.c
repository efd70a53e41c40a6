#define _GNU_SOURCE
#include "store/store.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

/* Before the bytes of every value lies its count of holders, so that the memory engine can hand out what it stores
 * without copying. The count is not atomic: a value of an engine that waits has one holder, who passes it between
 * threads through libuv's queue; an engine that does not wait lives on one thread. */
struct value_header {
  uint64_t references;
  uint64_t unused; /* keeps the bytes aligned to 16 */
};
_Static_assert(sizeof(struct value_header) == 16, "values are aligned to 16 bytes");

static struct value_header *value_header(uint8_t *data) {
  return (struct value_header *)(void *)(data - sizeof(struct value_header));
}

uint8_t *store_value_new(size_t size) {
  if (size > SIZE_MAX - sizeof(struct value_header)) {
    return NULL;
  }
  struct value_header *header = malloc(sizeof(struct value_header) + size);
  if (header == NULL) {
    return NULL;
  }
  header->references = 1;
  header->unused = 0;
  return (uint8_t *)(header + 1);
}

void store_value_share(uint8_t *data) {
  struct value_header *header = value_header(data);
  ASSERT(header->references >= 1);
  header->references += 1;
}

void store_value_free(uint8_t *data) {
  if (data == NULL) {
    return;
  }
  struct value_header *header = value_header(data);
  ASSERT(header->references >= 1);
  header->references -= 1;
  if (header->references == 0) {
    free(header);
  }
}

static const struct store_engine *const engines[] = {&store_memory, &store_rocksdb};

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

const struct store_engine *store_engine_find(const char *name) {
  for (size_t i = 0; i < ENGINES; i += 1) {
    if (strcmp(engines[i]->name, name) == 0) {
      return engines[i];
    }
  }
  return NULL;
}

const struct store_engine *store_engine_other(const struct store_engine *engine, const char *directory) {
  char path[PATH_MAX];
  for (size_t i = 0; i < ENGINES; i += 1) {
    int size = snprintf(path, sizeof(path), "%s/%s", directory, engines[i]->leaves);
    if (engines[i] != engine && size < PATH_MAX && access(path, F_OK) == 0) {
      return engines[i];
    }
  }
  return NULL;
}
