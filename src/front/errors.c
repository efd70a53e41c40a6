/* What clients are told when the core could not do what they asked. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "front/state.h"

#define TEXT_BYTES 512u

bool front_node_name(const struct front *front, uint32_t node, char *text) {
  const struct shard *shard = front_shard(front);
  const struct ring *ring = shard_ring(shard);
  int index = ring_find(ring, node);
  struct identity identity = {.name = ""};
  if (index >= 0) {
    identity.name = ring->members[index].name;
  } else {
    (void)roster_find(shard_history(shard), node, &identity);
  }
  const char *name = identity.name;
  if (name[0] != '\0') {
    snprintf(text, NAME_MAX_BYTES + 1, "%s", name);
  } else {
    snprintf(text, NAME_MAX_BYTES + 1, "%08" PRIx32, node);
  }
  return name[0] != '\0';
}

bool front_was_removed(const struct front *front) {
  return roster_has_left(shard_history(front_shard(front)), front_facts(front).node);
}

static const char *quorum_letters(uint8_t kind) {
  static const char *const letters[] = {[QUORUM_NONE] = "", [QUORUM_R] = "R",   [QUORUM_PR] = "PR",
                                        [QUORUM_W] = "W",   [QUORUM_PW] = "PW", [QUORUM_DW] = "DW"};
  return kind < sizeof(letters) / sizeof(letters[0]) ? letters[kind] : "";
}

static bool node_is_up(const struct front *front, uint32_t node) {
  struct member_view views[ROSTER_MAX];
  uint32_t count = shard_members(front_shard(front), views, ROSTER_MAX);
  for (uint32_t i = 0; i < count && i < ROSTER_MAX; i++) {
    if (views[i].node == node) {
      return views[i].up || views[i].self;
    }
  }
  return false;
}

/* " (b is down, c did not answer)", or why there are too few. Of nodes that are up only others than this one
 * are named: it has nothing to say about itself. */
static void missing_text(const struct front *front, const struct outcome *outcome, char *text, size_t size) {
  const struct ring *ring = shard_ring(front_shard(front));
  uint32_t count = outcome->missing_count < REPLICAS_MAX ? outcome->missing_count : REPLICAS_MAX;
  uint32_t self = front_facts(front).node;
  size_t at = 0;
  text[0] = '\0';
  if (ring->member_count < outcome->wanted) {
    snprintf(text, size, " (the cluster has %" PRIu32 " member%s: add nodes, or lower n, r, w with DYNAMO.BUCKET)",
             ring->member_count, ring->member_count == 1 ? "" : "s");
    return;
  }
  const struct ring *base = shard_base_ring(front_shard(front));
  if (base->member_count < outcome->wanted) {
    snprintf(text, size, " (%" PRIu32 " of %" PRIu32 " members %s taken in so far: try again shortly)",
             base->member_count, ring->member_count, base->member_count == 1 ? "is" : "are");
    return;
  }
  for (uint32_t i = 0; i < count && at < size; i++) {
    char name[NAME_MAX_BYTES + 1];
    if (outcome->missing[i] == self) {
      continue;
    }
    bool named = front_node_name(front, outcome->missing[i], name);
    at += (size_t)snprintf(text + at, size - at, "%s%s%s %s", at == 0 ? " (" : ", ", named ? "" : "node ", name,
                           node_is_up(front, outcome->missing[i]) ? "did not answer" : "is down");
  }
  if (at > 0 && at < size) {
    snprintf(text + at, size - at, ")");
  }
}

/* Why a node that is no member does not serve, and what to do. */
static void not_member(const struct front *front, struct output *out) {
  const char *refusal = shard_join_refusal(front_shard(front));
  if (front_was_removed(front)) {
    output_error_format(out, "%s this node was removed from its cluster: ask another one", err_code(ERR_NOTMEMBER));
  } else if (shard_takes_changes(front_shard(front)) && refusal != NULL) {
    output_error_format(out, "%s this node %s", err_code(ERR_NOTMEMBER), refusal);
  } else {
    output_error_format(out, "%s this node is not yet a member of a cluster: %s", err_code(ERR_NOTMEMBER),
                        refusal != NULL ? refusal : "it is asking its seeds to take it in");
  }
}

void front_error(const struct front *front, const struct reply *reply, bool put, struct output *out) {
  ASSERT(reply->err != ERR_OK);
  const struct outcome *outcome = &reply->outcome;
  const char *letters = quorum_letters(outcome->kind);
  if (reply->why != NULL) {
    output_error_format(out, "%s %s", err_code(reply->err), reply->why);
    return;
  }
  if (reply->err == ERR_NOTMEMBER) {
    not_member(front, out);
    return;
  }
  if ((reply->err != ERR_QUORUM && reply->err != ERR_TIMEOUT) || letters[0] == '\0') {
    bool misleads = reply->err == ERR_TIMEOUT && !put; /* its text speaks of a write */
    output_error_format(out, "%s %s", err_code(reply->err),
                        misleads ? "too few nodes answered in time" : err_text(reply->err));
    return;
  }
  char missing[TEXT_BYTES];
  missing_text(front, outcome, missing, sizeof(missing));
  bool late = reply->err == ERR_TIMEOUT;
  output_error_format(out, "%s wanted %s=%u, %u answered%s%s%s", err_code(reply->err), letters, outcome->wanted,
                      outcome->answered, late ? " in time" : "", missing,
                      late && put ? "; the write may still take effect" : "");
}
