/* quorum: when a put is acknowledged, W distinct nodes had its version (or one that had superseded it), DW of them
 * durably on their disks, and PW of them as replicas of the key rather than as stand-ins. (Where the last write
 * wins, one that was older than what its coordinator held has lost before anybody could see it, and that a node had
 * it can be forgotten at once when a clock is full.) */
#include <inttypes.h>

#include "run.h"

static uint32_t count(uint64_t bits) {
  uint32_t ones = 0;
  for (; bits != 0; bits &= bits - 1) {
    ones += 1;
  }
  return ones;
}

void quorum_put(struct run *run, uint32_t number) {
  const struct version *version = &run->oracle.versions[number];
  const struct oracle_key *key = &run->oracle.keys[version->key];
  uint64_t replicas = 0;
  bool untold = !version->stamped || key->limit_reached;
  if (untold && key->props.resolve == RESOLVE_LWW) {
    return;
  }
  for (uint32_t i = 0; i < key->preference.replica_count; i++) {
    int index = world_index(run->world, key->preference.nodes[i]);
    replicas |= index >= 0 ? UINT64_C(1) << index : 0;
  }
  uint32_t accepted = count(version->accepted);
  uint32_t durable = count(version->durable);
  uint32_t primary = count(version->primary & replicas);
  run->checks.looked[CHECK_quorum] += 1;
  if (accepted < version->w || durable < version->dw || primary < version->pw) {
    check_fail(run, CHECK_quorum, version->key,
               "put %" PRIu32 " of %s was acknowledged with %" PRIu32 " copies (W=%u), %" PRIu32
               " durable (DW=%u), %" PRIu32 " at replicas (PW=%u)",
               number, key->text, accepted, version->w, durable, version->dw, primary, version->pw);
  }
}
