#include "base/prng.h"

#include "base/assert.h"

static uint64_t rotate_left(uint64_t value, unsigned bits) {
  return (value << bits) | (value >> (64u - bits));
}

/* SplitMix64 spreads a seed of any quality, 0 included, over the whole state. */
static uint64_t splitmix(uint64_t *state) {
  *state += 0x9e3779b97f4a7c15u;
  uint64_t z = *state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void prng_init(struct prng *prng, uint64_t seed) {
  ASSERT(prng != (struct prng *)0);
  for (unsigned i = 0; i < 4; i++) {
    prng->state[i] = splitmix(&seed);
  }
  /* SplitMix64 maps four distinct inputs to four distinct outputs: never all 0, the state that xoshiro cannot leave. */
  ASSERT((prng->state[0] | prng->state[1] | prng->state[2] | prng->state[3]) != 0);
}

uint64_t prng_u64(struct prng *prng) {
  uint64_t *s = prng->state;
  const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
  const uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate_left(s[3], 45);
  return result;
}

uint64_t prng_below(struct prng *prng, uint64_t limit) {
  ASSERT(limit > 0);
  /* The first 2^64 mod limit values would make the low results likelier: drawn again. That is less than half of
   * all values, so this ends soon. */
  const uint64_t unfair = (UINT64_MAX - limit + 1) % limit;
  uint64_t draw = prng_u64(prng);
  while (draw < unfair) {
    draw = prng_u64(prng);
  }
  return draw % limit;
}

bool prng_chance(struct prng *prng, uint32_t per_mille) {
  ASSERT(per_mille <= 1000);
  return prng_below(prng, 1000) < per_mille;
}
