/* refused: a write that was refused destroys nothing. It may survive; then it supersedes what its writer had seen,
 * as any would. If it does not, all that its writer had seen and that was acknowledged still stands without it. And
 * it never removes from a replica what its writer had not seen. */
#include <inttypes.h>

#include "run.h"

void refused_put(struct run *run, uint32_t number) {
  const struct version *version = &run->oracle.versions[number];
  run->checks.looked[CHECK_refused] += 1;
  if (version->overwrote != 0) {
    check_fail(run, CHECK_refused, version->key, "put %" PRIu32 " of %s was refused, and has removed %" PRIu32, number,
               run->oracle.keys[version->key].text, version->overwrote);
  }
}

/* An acknowledged version that this one's writer had seen, and that is lost; 0 when there is none. */
static uint32_t find_lost(struct run *run, uint32_t number, const struct siblings *final) {
  const struct oracle_key *key = &run->oracle.keys[run->oracle.versions[number].key];
  for (uint32_t i = 0; i < key->version_count; i++) {
    const struct version *seen = &run->oracle.versions[key->versions[i]];
    bool counts = seen->fate == FATE_ACKED && !seen->destroyed && oracle_saw(&run->oracle, number, key->versions[i]);
    if (counts && !oracle_stands(&run->oracle, key->versions[i], final)) {
      return key->versions[i];
    }
  }
  return 0;
}

void refused_judge(struct run *run, uint32_t key_index, const struct siblings *final) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  for (uint32_t i = 0; i < key->version_count; i++) {
    uint32_t number = key->versions[i];
    const struct version *version = &run->oracle.versions[number];
    if (version->fate == FATE_ACKED || version->destroyed || oracle_stands(&run->oracle, number, final)) {
      continue;
    }
    uint32_t lost = find_lost(run, number, final);
    run->checks.looked[CHECK_refused] += 1;
    if (lost != 0) {
      check_fail(run, CHECK_refused, key_index,
                 "put %" PRIu32 " of %s was refused, and %" PRIu32 " that it was to replace is lost", number, key->text,
                 lost);
    }
  }
}
