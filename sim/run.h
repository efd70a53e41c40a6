/* One run: a plan, the world that it makes, who uses it, who breaks it, who looks on.
 *
 *   1. the cluster is formed        2. clients work, the nemesis breaks, administrators change who is in
 *   3. all is healed                4. changes come to an end, hints drain; in runs where replicas compare what they
 *      have they are equal then       5. every key is read through every node with R = N, and so repaired
 *   6. the checkers judge           7. every key is written once more         8. nothing may be left under way
 */
#ifndef GRAMME_SIM_RUN_H
#define GRAMME_SIM_RUN_H

#include "check.h"
#include "oracle.h"
#include "plan.h"
#include "story.h"
#include "world.h"

struct clients;
struct nemesis;
struct deliveries;
struct admin;
struct layouts;
struct moves;

struct run {
  struct plan plan;
  struct world *world;
  struct oracle oracle;
  struct clients *clients;
  struct nemesis *nemesis;
  struct admin *admin;
  struct layouts *layouts;
  struct deliveries *deliveries; /* check/hints.c's */
  struct moves *moves;           /* check/move.c's */
  struct checks checks;
  struct story *story; /* NULL: not told */
  uint32_t changes;    /* of membership that were made */
  bool waited;         /* WAITSYNC has been answered */
  enum err wait_err;
};

/* What is left of a run; no pointers, so that it can be sent from process to process. */
struct result {
  uint64_t seed;
  uint64_t trace, steps, simulated_ns;
  uint64_t puts, acked, refused, unknown, gets, deletes;
  uint64_t truncated, hints_delivered, read_repairs, forwards, changes;
  uint32_t siblings_max, clock_max;
  struct checks checks;
};

/* `tell`: keeps the story, and prints that of the keys concerned if a checker fails, or all of it if `all`. */
void run_once(const struct plan *plan, bool tell, bool all, struct result *result);
bool result_failed(const struct result *result);
/* The run under way, for an assertion that fails in the middle of it; or NULL. */
struct run *run_current(void);

#endif
