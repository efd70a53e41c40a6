/* Which layouts there were in a run, where each puts the keys, and which of them each node lived by at which time: what
 * the checkers need where members come and go. */
#ifndef GRAMME_SIM_LAYOUTS_H
#define GRAMME_SIM_LAYOUTS_H

#include "plan.h"
#include "ring/ring.h"

struct run;

/* The ring after a prefix of the history. */
struct layout {
  uint64_t digest;
  uint64_t members;                      /* a bit each */
  struct preference keys[PLAN_KEYS_MAX]; /* of each key, for its bucket's N */
  uint64_t replicas[PLAN_KEYS_MAX];      /* a bit for each replica */
};

/* What a node lived by from then on, until the next. */
struct standing {
  uint64_t since_ns;
  uint32_t base, target; /* indices */
};

struct layouts;

struct layouts *layouts_new(struct run *run);
void layouts_free(struct layouts *layouts);
/* The node has done a step. */
void layouts_stepped(struct layouts *layouts, uint32_t node);
const struct layout *layouts_get(const struct layouts *layouts, uint32_t index);
/* Where the ring puts the keys; it is remembered. */
const struct layout *layouts_of(struct layouts *layouts, const struct ring *ring);
/* What the node lived by at some time from `since_ns` on: the `nth` of these, the latest first. NULL: no more. */
const struct standing *layouts_since(const struct layouts *layouts, uint32_t node, uint64_t since_ns, uint32_t nth);
/* Has another node come from a base with this one to a base without it? */
bool layouts_is_out(const struct layouts *layouts, uint32_t node);
/* Has another node ever come to a base without this one, and not waited for it: for it was down, or seemed to be? */
bool layouts_is_left_out(const struct layouts *layouts, uint32_t node);
bool layouts_was_left_out(const struct layouts *layouts, uint32_t node, uint64_t time_ns); /* before then */
uint32_t layouts_count(const struct layouts *layouts);

#endif
