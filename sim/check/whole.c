/* whole: a client, and another node, is shown nothing of a value but what was written; after healing nothing that a
 * replica has stored is damaged. And who finds that its directory is an old copy, or an emptied one, is right. */
#include <inttypes.h>

#include "base/assert.h"
#include "run.h"

/* The number that a value of ours begins with, or the number that it should begin with where it has no room for one. */
static uint32_t value_number(const struct sibling *sibling, uint32_t number) {
  struct reader r = reader_make(sibling->value);
  return sibling->tombstone || sibling->value.size < 4 ? number : read_u32(&r);
}

void whole_saw(struct run *run, uint32_t node, uint32_t key, const char *what, struct bytes encoded) {
  struct object object;
  if (encoded.size == 0 || object_open(&object, encoded) != ERR_OK || object.is_clock) {
    return;
  }
  struct sibling_cursor cursor = object_siblings(&object);
  struct sibling sibling;
  while (sibling_next(&cursor, &sibling)) {
    uint32_t number = (uint32_t)(sibling.expires_at_ms - oracle_expiry_ms(0));
    run->checks.looked[CHECK_whole] += 1;
    if (value_number(&sibling, number) != number) {
      check_fail(run, CHECK_whole, key, "node %" PRIu32 " %s the value of put %" PRIu32 ", and it is damaged", node + 1,
                 what, number);
    }
  }
}

void whole_past_judge(struct run *run, uint32_t node) {
  run->checks.looked[CHECK_whole] += 1;
  if (shard_stats(run->world->nodes[node].shard)->losses > 0 && !run->oracle.disk_destroyed[node]) {
    check_fail(run, CHECK_whole, CHECK_NO_KEY, "node %" PRIu32 " says that it has lost what it had stored, and has not",
               node + 1);
  }
}

void whole_judge(struct run *run) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    const struct disk_table *table = &run->world->nodes[i].disk.visible[SPACE_OBJECTS];
    if (run->world->nodes[i].alive) {
      whole_past_judge(run, i);
    }
    for (size_t k = 0; k < table->count && run->world->nodes[i].alive; k++) {
      uint32_t owner = 0;
      int key = oracle_find_key(&run->oracle, SPACE_OBJECTS, table->entries[k].key, &owner);
      run->checks.looked[CHECK_whole] += 1;
      bool damaged = table->entries[k].damaged && key >= 0;
      if (damaged && oracle_is_replica(&run->oracle.keys[key], i)) {
        check_fail(run, CHECK_whole, (uint32_t)key, "what node %" PRIu32 " has stored of %s is still damaged", i + 1,
                   run->oracle.keys[key].text);
      }
    }
  }
}
