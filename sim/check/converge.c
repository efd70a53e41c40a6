/* converge: when hints have been delivered and all replicas have compared what they have (or, in runs where they do
 * not, every key has been read with R = N through every node), all replicas of a key hold equal bytes. */
#include <inttypes.h>

#include "run.h"

void converge_judge(struct run *run, uint32_t key_index) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  struct bytes first = BYTES_NONE;
  enum err err = ERR_OK;
  for (uint32_t i = 0; i < key->preference.replica_count; i++) {
    int index = world_index(run->world, key->preference.nodes[i]);
    struct bytes value = BYTES_NONE;
    (void)disk_get(&run->world->nodes[index].disk, SPACE_OBJECTS, key->store_key, &value, &err);
    first = i == 0 ? value : first;
    run->checks.looked[CHECK_converge] += 1;
    if (!bytes_equal(first, value)) {
      check_fail(run, CHECK_converge, key_index, "nodes %" PRIu32 " and %d hold different bytes of %s",
                 key->preference.nodes[0], index + 1, key->text);
      return;
    }
  }
}
