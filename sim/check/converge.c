/* converge: when hints have been delivered and all replicas have compared what they have (or, in runs where they do
 * not, every key has been read with R = N through every node), all replicas of a key hold equal bytes. (Where a record
 * of nothing but deletions is damaged and not read since, nobody can tell that it is there: the others may have
 * forgotten theirs.) */
#include <inttypes.h>

#include "run.h"

static bool is_deleted(struct run *run, uint32_t key_index, struct bytes value) {
  struct siblings siblings = {.count = 0};
  oracle_parse(&run->oracle, key_index, value, &siblings);
  bool deleted = true;
  for (uint32_t i = 0; i < siblings.count; i++) {
    deleted = deleted && run->oracle.versions[siblings.numbers[i]].tombstone;
  }
  siblings_free(&siblings);
  return deleted;
}

void converge_judge(struct run *run, uint32_t key_index) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  struct bytes first = BYTES_NONE;
  bool first_is_lost = false;
  for (uint32_t i = 0; i < key->preference.replica_count; i++) {
    int index = world_index(run->world, key->preference.nodes[i]);
    struct bytes value = BYTES_NONE;
    enum err err = ERR_OK;
    (void)disk_get(&run->world->nodes[index].disk, SPACE_OBJECTS, key->store_key, &value, &err);
    bool is_lost = err == ERR_CORRUPT && is_deleted(run, key_index, value);
    if (i == 0) {
      first = value;
      first_is_lost = is_lost;
    }
    run->checks.looked[CHECK_converge] += 1;
    bool forgotten = (is_lost && first.size == 0) || (first_is_lost && value.size == 0);
    if (!bytes_equal(first, value) && !forgotten) {
      check_fail(run, CHECK_converge, key_index, "nodes %" PRIu32 " and %d hold different bytes of %s",
                 key->preference.nodes[0], index + 1, key->text);
      return;
    }
  }
}
