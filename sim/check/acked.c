/* acked: after healing, each acknowledged version is there, or a version is there whose writer had seen it, directly
 * or not; under last-write-wins, or a younger one. What the failures themselves destroyed is left out: a version
 * whose durable copies were lost with their disks, or that was put with DW = 0 and was nowhere but in the memory of
 * nodes that crashed. */
#include <inttypes.h>

#include "run.h"

void acked_judge(struct run *run, uint32_t key_index, const struct siblings *final) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  for (uint32_t i = 0; i < key->version_count; i++) {
    uint32_t number = key->versions[i];
    const struct version *version = &run->oracle.versions[number];
    if (version->fate != FATE_ACKED || version->destroyed) {
      continue;
    }
    run->checks.looked[CHECK_acked] += 1;
    if (!oracle_stands(&run->oracle, number, final)) {
      check_fail(run, CHECK_acked, key_index, "put %" PRIu32 " of %s was acknowledged and is lost; there is %s", number,
                 key->text, siblings_text(final));
    }
  }
}
