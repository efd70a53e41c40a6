/* How fast nodes that each know of few others agree on the history of members, and what that costs: rounds should grow
 * like log n, and a round of nodes that agree should cost each of them the same however many they are. */
#ifndef GRAMME_SIM_GOSSIP_H
#define GRAMME_SIM_GOSSIP_H

#include <stdbool.h>
#include <stdint.h>

/* Prints one line. False when they did not agree. */
bool gossip_measure(uint32_t nodes, uint64_t seed);

#endif
