/* The classic set test: five nodes, a client pinned to each, integers added by read-modify-write to the one set under
 * one key; for a third of the run {1, 2} and {3, 4, 5} do not see each other; then all is healed and the set is read.
 * With siblings and their union nothing acknowledged may be missing. Where the last write wins, much is. */
#ifndef GRAMME_SIM_SETTEST_H
#define GRAMME_SIM_SETTEST_H

#include <stdbool.h>
#include <stdint.h>

struct settest_result {
  uint32_t added, acknowledged, lost;
};

void settest_run(uint64_t seed, bool lww, struct settest_result *result);
/* Both ways, for so many seeds from `first`; prints two lines. False when anything was lost with siblings. */
bool settest_measure(uint64_t first, uint64_t runs);

#endif
