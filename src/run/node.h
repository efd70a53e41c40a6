/* A node: opens the data directory, wires store, core, peers and clients together on one libuv loop, runs, stops. */
#ifndef GRAMME_RUN_NODE_H
#define GRAMME_RUN_NODE_H

#include "run/options.h"

/* Runs until SIGTERM or SIGINT, then stops cleanly. Returns the exit code: 0 stopped cleanly, 1 failed (one line on
 * stderr says why and what to do). `options` has passed options_check. */
int node_run(struct options *options);

#endif
