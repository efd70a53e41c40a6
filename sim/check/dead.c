/* dead: when an owner has forgotten a deletion, what its writer had seen is dead for good: no get returns it, no owner
 * takes it into its store. (Who is out already may not know it yet; by itself it answers where one answer is enough.)
 * Keys of which a clock reached the limit of its entries are left out: there what was superseded may come back; so is,
 * where more is lost than can be made good, all that follows a loss: of keys with one replica each loss is. */
#include <inttypes.h>

#include "layouts.h"
#include "run.h"

void dead_forgotten(struct run *run, uint32_t node, uint32_t key, const struct siblings *before,
                    const struct siblings *after) {
  struct oracle *oracle = &run->oracle;
  for (uint32_t i = 0; i < before->count; i++) {
    uint32_t number = before->numbers[i];
    if (oracle->versions[number].tombstone && !oracle_stands(oracle, number, after)) {
      siblings_add(&oracle->keys[key].forgotten, number);
      story_tell(run->story, key, "node %" PRIu32 " has forgotten the deletion %" PRIu32, node + 1, number);
    }
  }
}

/* The deletion that the version is dead by; 0: it may live. */
static uint32_t dead_by(const struct run *run, uint32_t key, uint32_t number) {
  const struct siblings *forgotten = &run->oracle.keys[key].forgotten;
  for (uint32_t i = 0; i < forgotten->count; i++) {
    if (oracle_saw(&run->oracle, forgotten->numbers[i], number)) {
      return forgotten->numbers[i];
    }
  }
  return 0;
}

static bool is_exempt(const struct run *run, uint32_t key) {
  bool for_good = run->plan.profile == PROFILE_HOSTILE || run->oracle.keys[key].props.n == 1;
  return run->oracle.keys[key].limit_reached || (run->oracle.any_destroyed && for_good);
}

void dead_committed(struct run *run, uint32_t node, uint32_t key, const struct siblings *before,
                    const struct siblings *after) {
  bool judged = !is_exempt(run, key) && !layouts_is_out(run->layouts, node);
  for (uint32_t i = 0; i < after->count && judged; i++) {
    uint32_t number = after->numbers[i];
    uint32_t by = siblings_have(before, number) ? 0 : dead_by(run, key, number);
    run->checks.looked[CHECK_dead] += 1;
    if (by != 0) {
      check_fail(run, CHECK_dead, key,
                 "node %" PRIu32 " takes %" PRIu32 " of %s, which %" PRIu32 " had deleted and has been forgotten for",
                 node + 1, number, run->oracle.keys[key].text, by);
    }
  }
}

void dead_read(struct run *run, uint32_t node, uint32_t key, const struct siblings *seen) {
  bool judged = !is_exempt(run, key) && !layouts_is_out(run->layouts, node);
  for (uint32_t i = 0; i < seen->count && judged; i++) {
    uint32_t by = dead_by(run, key, seen->numbers[i]);
    run->checks.looked[CHECK_dead] += 1;
    if (by != 0) {
      check_fail(run, CHECK_dead, key, "a get returns %" PRIu32 " of %s, which %" PRIu32 " had deleted",
                 seen->numbers[i], run->oracle.keys[key].text, by);
    }
  }
}
