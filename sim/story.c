#include "story.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "world.h"

#define LINE_BYTES 400u

struct story_line {
  uint64_t time_ns;
  uint32_t key;
  char text[LINE_BYTES];
};

struct story *story_new(const struct world *world) {
  struct story *story = calloc(1, sizeof *story);
  ASSERT(story != NULL);
  story->world = world;
  return story;
}

void story_free(struct story *story) {
  if (story != NULL) {
    free(story->lines);
    free(story);
  }
}

void story_tell(struct story *story, uint32_t key, const char *format, ...) {
  if (story == NULL) {
    return;
  }
  if (story->count == story->capacity) {
    story->capacity = story->capacity == 0 ? 4096 : 2 * story->capacity;
    story->lines = realloc(story->lines, story->capacity * sizeof story->lines[0]);
    ASSERT(story->lines != NULL);
  }
  struct story_line *line = &story->lines[story->count];
  story->count += 1;
  line->time_ns = story->world->now_ns;
  line->key = key;
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(line->text, sizeof line->text, format, arguments);
  va_end(arguments);
}

void story_print(const struct story *story, uint32_t key) {
  for (uint32_t i = 0; i < story->count; i++) {
    const struct story_line *line = &story->lines[i];
    if (key == STORY_ALL || line->key == key || line->key == STORY_ALL) {
      printf("  %4" PRIu64 ".%06" PRIu64 "  %s\n", line->time_ns / 1000000000u, line->time_ns / 1000u % 1000000u,
             line->text);
    }
  }
}
