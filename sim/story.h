/* The story of a run: what happened to each key, in order, in words. It is kept only when a run is told again, after it
 * has failed or for --verbose. */
#ifndef GRAMME_SIM_STORY_H
#define GRAMME_SIM_STORY_H

#include <stdbool.h>
#include <stdint.h>

#define STORY_ALL UINT32_MAX          /* concerns every key */
#define STORY_NO_KEY (UINT32_MAX - 1) /* of printing: only what concerns every key */

struct world;
struct story_line;

struct story {
  const struct world *world;
  struct story_line *lines; /* owned */
  uint32_t count, capacity;
};

struct story *story_new(const struct world *world);
void story_free(struct story *story);
/* NULL is fine: nothing is told. */
void story_tell(struct story *story, uint32_t key, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Of one key, with what concerned all; STORY_ALL prints everything. */
void story_print(const struct story *story, uint32_t key);

#endif
