/* quorum: when a put is acknowledged, W distinct nodes had its version (or one that had superseded it), DW of them
 * durably on their disks, and PW of them as replicas of the key rather than as stand-ins. While two layouts are live
 * that holds in each of them by itself: a node counts in a layout when it is a replica there and has the version as
 * one, or keeps it for one that is. Which layouts were live the coordinator says: any that it lived by since the
 * request was made; unless it has lost its disk, and did not know the bucket's n. (Where the last write
 * wins, one that was older than what its coordinator held has lost before anybody could see it, and that a node had
 * it can be forgotten at once when a clock is full.) */
#include <inttypes.h>

#include "layouts.h"
#include "run.h"

static uint32_t count(uint64_t bits) {
  uint32_t ones = 0;
  for (; bits != 0; bits &= bits - 1) {
    ones += 1;
  }
  return ones;
}

/* Nodes that count in a layout. */
static uint64_t counting(const struct run *run, const struct version *version, uint64_t replicas) {
  uint64_t bits = version->primary & replicas;
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    bits |= (version->hinted[i] & replicas) != 0 ? UINT64_C(1) << i : 0;
  }
  return bits;
}

static bool reached(const struct run *run, const struct version *version, uint32_t index) {
  uint64_t replicas = layouts_get(run->layouts, index)->replicas[version->key];
  uint64_t nodes = counting(run, version, replicas);
  return count(nodes & version->accepted) >= version->w && count(nodes & version->durable) >= version->dw &&
         count(version->primary & replicas) >= version->pw;
}

/* Has the target of the `nth` last standing of a node become its base since? */
static bool became_base(const struct run *run, uint32_t node, uint64_t since_ns, uint32_t nth) {
  uint32_t target = layouts_since(run->layouts, node, since_ns, nth)->target;
  for (uint32_t later = 0; later < nth; later++) {
    if (layouts_since(run->layouts, node, since_ns, later)->base == target) {
      return true;
    }
  }
  return false;
}

/* By what the coordinator lived by at some time since then: in both layouts; or in what was the target then, if that
 * has become its base. */
static bool reached_in_each(const struct run *run, const struct version *version, uint64_t since_ns) {
  uint32_t node = version->coordinator - 1;
  const struct standing *standing = layouts_since(run->layouts, node, since_ns, 0);
  for (uint32_t nth = 1; standing != NULL; nth++) {
    bool target = reached(run, version, standing->target);
    if (target && (became_base(run, node, since_ns, nth - 1) || reached(run, version, standing->base))) {
      return true;
    }
    standing = layouts_since(run->layouts, node, since_ns, nth);
  }
  return false;
}

void quorum_put(struct run *run, uint32_t number, uint64_t sent_ns) {
  const struct version *version = &run->oracle.versions[number];
  const struct oracle_key *key = &run->oracle.keys[version->key];
  bool untold = !version->stamped || key->limit_reached;
  if (untold && key->props.resolve == RESOLVE_LWW) {
    return;
  }
  uint32_t accepted = count(version->accepted);
  uint32_t durable = count(version->durable);
  bool each = version->coordinator == 0 || version->ignorant || reached_in_each(run, version, sent_ns);
  run->checks.looked[CHECK_quorum] += 1;
  if (accepted < version->w || durable < version->dw || !each) {
    check_fail(run, CHECK_quorum, version->key,
               "put %" PRIu32 " of %s was acknowledged with %" PRIu32 " copies (W=%u), %" PRIu32
               " durable (DW=%u), %" PRIu32 " as replicas (PW=%u)%s",
               number, key->text, accepted, version->w, durable, version->dw, count(version->primary), version->pw,
               each ? "" : ": not enough in each layout");
  }
}
