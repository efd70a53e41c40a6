/* A node as a process: its life, its steps, and what comes of them. */
#ifndef GRAMME_SIM_PROCESS_H
#define GRAMME_SIM_PROCESS_H

#include "world.h"

void process_start(struct world *world, uint32_t node);
/* All that was not durable goes, but for a part of it that happened to reach the disk. */
void process_crash(struct world *world, uint32_t node);
/* For good, at the end of a world; returns the bytes of values that its core did not give back. */
size_t process_stop(struct world *world, uint32_t node);
void process_pause(struct world *world, uint32_t node);
void process_resume(struct world *world, uint32_t node);
/* Its disk has no room left, or has again. */
void process_set_full(struct world *world, uint32_t node, bool full);
void process_step(struct world *world, uint32_t node, struct event *event);
/* An entry of the queue that is for this node, which is alive. */
void process_happens(struct world *world, uint64_t time_ns, const struct entry *entry);
/* Gives back what the node holds. */
void process_deinit(struct world *world, uint32_t node);

#endif
