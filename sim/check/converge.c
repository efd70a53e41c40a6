/* converge: when hints have been delivered and all replicas have compared what they have (or, in runs where they do
 * not, every key has been read with R = N through every node), all replicas of a key hold equal bytes. (Damage that
 * nobody has met with is none yet. Where a record is damaged, and the others have nothing of its key, nobody can tell
 * that it is there: what it held may have been deleted, and forgotten, or have come to nobody else.) */
#include <inttypes.h>

#include "run.h"

void converge_judge(struct run *run, uint32_t key_index) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  struct bytes first = BYTES_NONE;
  int first_index = -1;
  struct bytes damaged = BYTES_NONE;
  for (uint32_t i = 0; i < key->preference.replica_count; i++) {
    int index = world_index(run->world, key->preference.nodes[i]);
    struct bytes value = BYTES_NONE;
    enum err err = ERR_OK;
    (void)disk_get(&run->world->nodes[index].disk, SPACE_OBJECTS, key->store_key, &value, &err);
    run->checks.looked[CHECK_converge] += 1;
    if (err == ERR_CORRUPT) {
      damaged = value;
    } else if (first_index < 0) {
      first = value;
      first_index = index;
    } else if (!bytes_equal(first, value)) {
      check_fail(run, CHECK_converge, key_index, "nodes %d and %d hold different bytes of %s", first_index + 1,
                 index + 1, key->text);
      return;
    }
  }
  if (damaged.size > 0 && first.size > 0 && !bytes_equal(damaged, first)) {
    check_fail(run, CHECK_converge, key_index, "a damaged record of %s is not what node %d has", key->text,
               first_index + 1);
  }
}
