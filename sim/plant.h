/* Proves the checkers: each planted bug (base/plant.h) must be found by the checker that it was planted for. Only
 * gramme-sim-plant has them; gramme-sim hands such a request over to it. */
#ifndef GRAMME_SIM_PLANT_H
#define GRAMME_SIM_PLANT_H

#include "explore.h"

#define PLANT_RUNS 200u /* seeds in which a bug must be found */

/* `name`: a planted bug, or "all". Prints a line for each; `first`: stops at its first finding. True when all were
 * found. */
bool plants_prove(const char *name, const struct exploration *exploration, bool first);
void plants_print(void);
/* A planted bug to replay with. False when there is none of that name. */
bool plant_set(const char *name);

#endif
