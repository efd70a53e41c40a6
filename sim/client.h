/* Clients that behave like applications: they read, modify and write; some write blindly, delete, use old contexts,
 * give up too early, and try again elsewhere. Each has one request under way. */
#ifndef GRAMME_SIM_CLIENT_H
#define GRAMME_SIM_CLIENT_H

#include "run.h"

struct clients_totals {
  uint64_t puts, acked, refused, unknown, gets, deletes;
};

struct clients *clients_new(struct run *run);
void clients_free(struct clients *clients);
void clients_start(struct clients *clients, uint64_t stop_ns);
/* The node has just started: who loads all keys through such a one, does. */
void clients_load(struct clients *clients, uint32_t node);
void clients_replied(struct clients *clients, uint32_t node, const struct reply *reply);
/* Every request must have been answered by now, unless its node stopped. */
void clients_judge(struct clients *clients);
struct clients_totals clients_totals(const struct clients *clients);

/* For judging: a request of nobody's, and what came of it. `out` is filled from the reply when that is OK. */
struct probe {
  bool answered;
  enum err err;
  struct siblings siblings; /* GET */
};
/* Reads through a node with R = PR = `r`; waits up to `patience_ns`. */
void clients_probe_get(struct clients *clients, uint32_t node, uint32_t key, uint8_t r, uint64_t patience_ns,
                       struct probe *probe);
/* Writes through a node, with W = DW = `w`, having seen what the last probe of the key saw. Returns the put's
 * number. */
uint32_t clients_probe_put(struct clients *clients, uint32_t node, uint32_t key, uint8_t w, uint64_t patience_ns,
                           struct probe *probe);

/* check/live.c: what came of a probe after healing. */
void live_probed(struct run *run, uint32_t node, uint32_t key, const char *what, const struct probe *probe);

#endif
