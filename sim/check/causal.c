/* causal: a version is superseded if and only if its successor's writer had seen it, directly or not.
 *
 * At every commit of every node: what the node held stands in what it holds now (no false overwrite), but for what is
 * given up with a node that is removed. In every answer to a get, and in what is left in the end: no version stands
 * beside one whose writer had seen it (no false sibling); but for keys of which an object reached the limit of a
 * clock's entries, where forgetting may bring back what was superseded. Under last-write-wins there is one version
 * at most. */
#include <inttypes.h>

#include "run.h"

static bool find_false_sibling(const struct run *run, const struct siblings *seen, uint32_t *number, uint32_t *by) {
  for (uint32_t i = 0; i < seen->count; i++) {
    for (uint32_t j = 0; j < seen->count; j++) {
      if (oracle_saw(&run->oracle, seen->numbers[j], seen->numbers[i])) {
        *number = seen->numbers[i];
        *by = seen->numbers[j];
        return true;
      }
    }
  }
  return false;
}

void causal_committed(struct run *run, uint32_t node, uint32_t key, const struct siblings *before,
                      const struct siblings *after) {
  struct oracle *oracle = &run->oracle;
  for (uint32_t i = 0; i < before->count; i++) {
    run->checks.looked[CHECK_causal] += 1;
    if (oracle_stands(oracle, before->numbers[i], after) || move_is_given_up_by_any(run, node, before->numbers[i])) {
      continue;
    }
    for (uint32_t j = 0; j < after->count; j++) {
      struct version *version = &oracle->versions[after->numbers[j]];
      version->overwrote = !siblings_have(before, after->numbers[j]) ? before->numbers[i] : version->overwrote;
    }
    check_fail(run, CHECK_causal, key, "node %" PRIu32 " had %s of %s, and %" PRIu32 " has been overwritten by %s",
               node + 1, siblings_text(before), oracle->keys[key].text, before->numbers[i], siblings_text(after));
  }
}

void causal_read(struct run *run, uint32_t key_index, const struct siblings *seen) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  uint32_t number = 0;
  uint32_t by = 0;
  run->checks.looked[CHECK_causal] += 1;
  if (key->props.resolve == RESOLVE_LWW && seen->count > 1) {
    check_fail(run, CHECK_causal, key_index, "%s is of a bucket where the last write wins, and has %s", key->text,
               siblings_text(seen));
  }
  if (!key->limit_reached && find_false_sibling(run, seen, &number, &by)) {
    check_fail(run, CHECK_causal, key_index, "%s has %s: %" PRIu32 " stands beside %" PRIu32 ", which had seen it",
               key->text, siblings_text(seen), number, by);
  }
}

void causal_judge(struct run *run, uint32_t key, const struct siblings *final) {
  causal_read(run, key, final);
}
