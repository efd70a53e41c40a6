/* A small seeded generator (xoshiro256**, Blackman and Vigna 2018). One draw per
 * statement: C does not order the arguments of a call. Not for secrets. */
#ifndef GRAMME_BASE_PRNG_H
#define GRAMME_BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
  uint64_t state[4];
};

void prng_init(struct prng *prng, uint64_t seed);
uint64_t prng_u64(struct prng *prng);
uint64_t prng_below(struct prng *prng, uint64_t limit);  /* 0 .. limit-1, unbiased; limit > 0 */
bool prng_chance(struct prng *prng, uint32_t per_mille); /* true in per_mille of 1000 draws */

#endif
