/* So many bytes a second at the most, and no more than a second's worth at once: what background work is held to.
 *
 * What is spent beyond what there is (the size of a batch is known only when it is there) is made up for by waiting.
 * A rate of 0 is no limit. All zeros is a pace that has waited long enough.
 */
#ifndef GRAMME_BASE_PACE_H
#define GRAMME_BASE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
  int64_t tokens;    /* bytes that may be spent; less than 0: on credit */
  uint64_t since_ns; /* up to when time has been turned into tokens */
};

/* May more be spent now? Else `*due_ns` is when. */
bool pace_may_spend(struct pace *pace, uint64_t bytes_per_s, uint64_t now_ns, uint64_t *due_ns);
void pace_spend(struct pace *pace, uint64_t bytes_per_s, uint64_t bytes);

#endif
