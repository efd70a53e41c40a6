/* Many runs: seed after seed, in several processes, so that a run that dies takes no other with it. */
#ifndef GRAMME_SIM_EXPLORE_H
#define GRAMME_SIM_EXPLORE_H

#include "run.h"

/* What the command line takes away from each run, or sets. */
struct change_of_plan {
  bool without[FEATURE_COUNT];
  bool with[FEATURE_COUNT];
  uint32_t nodes, clients, keys, seconds; /* 0: as drawn */
  uint32_t spares;                        /* one more than are wanted; 0: as drawn */
  bool torture;                           /* plan_torture */
  bool light;                             /* nothing is drawn: plan_light */
};

struct exploration {
  uint64_t first, runs;
  uint32_t jobs;
  bool profiles[2]; /* by enum profile; each seed runs under each of them */
  struct change_of_plan change;
  bool quiet;  /* nothing is printed */
  bool traces; /* a line for each run */
};

struct summary {
  uint64_t runs, failures;
  uint64_t simulated_ns, events;
  double wall_seconds;
  uint64_t looked[CHECK_COUNT], failed[CHECK_COUNT]; /* failed: runs */
  uint64_t runs_looked[CHECK_COUNT];                 /* runs in which it had something to look at */
  uint64_t alone[CHECK_COUNT];                       /* runs in which it failed, and no other */
  uint64_t first_seed[CHECK_COUNT];                  /* that it failed; if `failed` */
  uint64_t puts, acked, refused, unknown, gets;
  uint64_t truncated_runs, full_runs, hints_delivered, read_repairs, forwards, changes, changed_runs;
};

void plan_for(struct plan *plan, uint64_t seed, enum profile profile, const struct change_of_plan *change);
void explore(const struct exploration *exploration, struct summary *summary);
void summary_print(const struct summary *summary);
/* One run in a process of its own; with its story if `tell`, all of it if `all`. True when it has not failed. */
bool explore_one(const struct plan *plan, bool tell, bool all, bool quiet, struct result *result);
/* How to do a run again: one line. */
void again_print(uint64_t seed, enum profile profile, const struct change_of_plan *change);
/* Takes features, clients, keys, nodes and time away while the failure stays, and prints how to run what is left. */
bool minimize(uint64_t seed, enum profile profile, const struct change_of_plan *change);

#endif
