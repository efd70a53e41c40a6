/* Who breaks things. Each of its acts is drawn among the faults that the run's plan has; what it breaks it mends itself
 * after a while. When it is told to stop, all is mended. */
#ifndef GRAMME_SIM_NEMESIS_H
#define GRAMME_SIM_NEMESIS_H

#include "run.h"

struct nemesis *nemesis_new(struct run *run);
void nemesis_free(struct nemesis *nemesis);
void nemesis_start(struct nemesis *nemesis, uint64_t stop_ns);
/* Mends everything: nodes run, connections are whole, disks have room and are quick. */
/* Is there anything lost that has not been made good? */
bool nemesis_lost_some(const struct nemesis *nemesis);
void nemesis_stop(struct nemesis *nemesis);

#endif
