/* A plan as JSON: what is staged, what it moves, and what there is to say against it. */
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "front/census.h"
#include "front/describe.h"

/* What a node takes in at the most, beside background-rate: one message a key, a commit for each batch. Only for the
 * estimate of the time. */
#define KEYS_PER_SECOND 20000u
#define BARRIER_SECONDS 2u /* all nodes tell each other that they have come as far */

static json_t *json_name(const char *name, uint32_t node) {
  return name[0] != '\0' ? json_string(name) : json_id(node);
}

/* -- the changes --------------------------------------------------------------------------- */

static const char *kind_word(enum change_kind kind) {
  switch (kind) {
  case CHANGE_FOUND:
    return "found";
  case CHANGE_ADD:
    return "add";
  case CHANGE_REMOVE:
    return "remove";
  case CHANGE_REWEIGH:
    return "reweigh";
  case CHANGE_REPLACE:
    return "replace";
  }
  ASSERT(false);
}

static const struct ring_member *member_of(const struct ring *ring, uint32_t node) {
  int index = ring_find(ring, node);
  return index < 0 ? NULL : &ring->members[index];
}

static json_t *json_change(const struct staging *staging, const struct change *change) {
  const struct ring_member *old =
      member_of(&staging->before, change->kind == CHANGE_REPLACE ? change->old : change->node);
  bool brings = change->kind == CHANGE_ADD || change->kind == CHANGE_REPLACE;
  const struct ring_member *member = brings ? NULL : old;
  json_t *object = json_object();
  ASSERT(brings || member != NULL);
  json_object_set_new(object, "kind", json_string(kind_word(change->kind)));
  json_object_set_new(object, "node", json_id(change->node));
  json_object_set_new(object, "name", json_name(brings ? change->name : member->name, change->node));
  json_object_set_new(object, "address",
                      brings ? json_place(change->host, change->client_port)
                             : json_place(member->host, member->client_port));
  json_object_set_new(object, "zone", json_string(brings ? change->zone : member->zone_name));
  json_object_set_new(object, "weight", json_integer(change->kind == CHANGE_REMOVE ? member->weight : change->weight));
  if (change->kind == CHANGE_REWEIGH) {
    json_object_set_new(object, "weight_before", json_integer(old->weight));
  }
  if (change->kind == CHANGE_REPLACE) {
    json_object_set_new(object, "old", json_id(change->old));
    json_object_set_new(object, "old_name", json_name(old != NULL ? old->name : "", change->old));
  }
  return object;
}

/* -- the members ----------------------------------------------------------------------------- */

struct totals {
  uint64_t replicas, bytes, keys;
  uint64_t most_bytes, most_keys; /* that one node receives */
};

static json_t *json_member_plan(const struct staging *staging, uint32_t node, const struct shares *shares,
                                struct totals *totals) {
  const struct ring_member *before = member_of(&staging->before, node);
  const struct ring_member *after = member_of(&staging->after, node);
  const struct ring_member *member = after != NULL ? after : before;
  uint32_t gains = after == NULL ? 0 : staging->moves.gains[after - staging->after.members];
  uint32_t loses = before == NULL ? 0 : staging->moves.losses[before - staging->before.members];
  ASSERT(member != NULL);
  uint64_t bytes_in = shares_scale(shares->bytes, shares, gains);
  uint64_t keys_in = shares_scale(shares->keys, shares, gains);
  totals->replicas += gains;
  totals->bytes += bytes_in;
  totals->keys += keys_in;
  totals->most_bytes = bytes_in > totals->most_bytes ? bytes_in : totals->most_bytes;
  totals->most_keys = keys_in > totals->most_keys ? keys_in : totals->most_keys;
  json_t *object = json_object();
  json_object_set_new(object, "id", json_id(node));
  json_object_set_new(object, "name", json_name(member->name, node));
  json_object_set_new(object, "state", json_string(before == NULL ? "joining" : after == NULL ? "leaving" : "member"));
  json_object_set_new(object, "zone", json_string(member->zone_name));
  json_object_set_new(object, "weight", json_integer(after == NULL ? 0 : after->weight));
  json_object_set_new(object, "weight_before", json_integer(before == NULL ? 0 : before->weight));
  json_object_set_new(object, "partitions_before", json_integer(before == NULL ? 0 : before->owned));
  json_object_set_new(object, "partitions_after", json_integer(after == NULL ? 0 : after->owned));
  json_object_set_new(object, "gains", json_count(gains));
  json_object_set_new(object, "loses", json_count(loses));
  json_object_set_new(object, "bytes_in", json_count(bytes_in));
  json_object_set_new(object, "bytes_out", json_count(shares_scale(shares->bytes, shares, loses)));
  return object;
}

/* Those of now, then those that come. */
static json_t *json_members_plan(const struct staging *staging, const struct shares *shares, struct totals *totals) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < staging->before.member_count; i++) {
    json_array_append_new(list, json_member_plan(staging, staging->before.members[i].node, shares, totals));
  }
  for (uint32_t i = 0; i < staging->after.member_count; i++) {
    uint32_t node = staging->after.members[i].node;
    if (ring_find(&staging->before, node) < 0) {
      json_array_append_new(list, json_member_plan(staging, node, shares, totals));
    }
  }
  return list;
}

/* -- what there is to say against it ------------------------------------------------------------- */

static void warn_of_leaver(const struct front *front, const struct staging *staging, const struct change *change,
                           json_t *warnings) {
  struct member_view views[ROSTER_MAX];
  uint32_t leaver = change->kind == CHANGE_REMOVE ? change->node : change->kind == CHANGE_REPLACE ? change->old : 0;
  const struct ring_member *member = leaver == 0 ? NULL : member_of(&staging->before, leaver);
  uint32_t count = shard_members(front_shard(front), views, ROSTER_MAX);
  for (uint32_t i = 0; member != NULL && i < count && i < ROSTER_MAX; i++) {
    if (views[i].node == leaver && !views[i].up && !views[i].self) {
      json_array_append_new(
          warnings, json_sprintf("%s is down: what only it holds is lost with it. If it can be started again, start it "
                                 "first, and remove it while it is up",
                                 member->name));
    }
  }
}

/* Does one of the members of `base` stay? Changes that leave none are refused (member/change.c). */
static bool keeps_one(const struct ring *after, const struct ring *base) {
  bool keeps = base->member_count == 0;
  for (uint32_t i = 0; i < base->member_count; i++) {
    keeps = keeps || ring_find(after, base->members[i].node) >= 0;
  }
  return keeps;
}

static json_t *json_warnings(const struct front *front, const struct staging *staging, const char *dropped) {
  json_t *warnings = json_array();
  struct layout_view layout;
  uint32_t n = front_replicas(front);
  shard_layout(front_shard(front), &layout);
  if (dropped[0] != '\0') {
    json_array_append_new(
        warnings, json_sprintf("the ring has changed, and what made no sense any more was dropped: %s", dropped));
  }
  if (staging->count == 0) {
    return warnings;
  }
  if (layout.moving || layout.behind) {
    json_array_append_new(warnings, json_string("another change is still under way: this one begins to move partitions "
                                                "when that is done"));
  }
  for (uint32_t i = 0; i < staging->count; i++) {
    warn_of_leaver(front, staging, &staging->staged[i], warnings);
  }
  if (!keeps_one(&staging->after, shard_base_ring(front_shard(front)))) {
    json_array_append_new(warnings,
                          json_string("none of the nodes that hold the data would stay: this is refused; leave "
                                      "one, and remove it when partitions have moved"));
  }
  if (staging->after.member_count < n) {
    json_array_append_new(
        warnings,
        json_sprintf("%u copies are wanted of each key (n of bucket default), and there will be %u node%s", (unsigned)n,
                     (unsigned)staging->after.member_count, staging->after.member_count == 1 ? "" : "s"));
  }
  return warnings;
}

/* -- the whole -------------------------------------------------------------------------------------- */

static json_t *json_estimate(const struct front *front, const struct totals *totals) {
  uint64_t rate = front_facts(front).background_bytes_per_s;
  uint64_t seconds = totals->most_keys / KEYS_PER_SECOND;
  if (rate > 0 && totals->most_bytes / rate > seconds) {
    seconds = totals->most_bytes / rate;
  }
  return json_count(seconds + BARRIER_SECONDS);
}

json_t *describe_plan(const struct front *front, const struct staging *staging, const char *dropped) {
  const struct ring_moves *moves = &staging->moves;
  struct shares shares = shares_estimate(front);
  struct totals totals = {0};
  json_t *changes = json_array();
  for (uint32_t i = 0; i < staging->count; i++) {
    json_array_append_new(changes, json_change(staging, &staging->staged[i]));
  }
  json_t *members = json_members_plan(staging, &shares, &totals);
  json_t *document = json_object();
  json_object_set_new(document, "plan_id", staging->count > 0 ? json_digest(staging->plan_id) : json_null());
  json_object_set_new(document, "history_digest", json_digest(staging->history_digest));
  json_object_set_new(document, "staged_on", json_string(front_facts(front).name));
  json_object_set_new(document, "empty", json_boolean(staging->count == 0));
  json_object_set_new(document, "changes", changes);
  json_object_set_new(document, "members", members);
  json_object_set_new(document, "copies", json_integer((json_int_t)front_replicas(front)));
  json_object_set_new(document, "partitions", json_integer((json_int_t)staging->after.partition_count));
  json_object_set_new(document, "zones", json_integer((json_int_t)staging->after.zone_count));
  json_object_set_new(document, "moves",
                      json_pack("{s:I, s:I, s:o, s:o}", "replicas", (json_int_t)moves->replicas_moved, "optimum",
                                (json_int_t)moves->optimum, "bytes", json_count(totals.bytes), "keys",
                                json_count(totals.keys)));
  json_object_set_new(
      document, "balance",
      json_pack("{s:f, s:f}", "before", moves->balance_before / 1000.0, "after", moves->balance_after / 1000.0));
  json_object_set_new(
      document, "violations",
      json_pack("{s:I, s:I}", "nodes", (json_int_t)moves->node_clashes, "zones", (json_int_t)moves->zone_clashes));
  json_object_set_new(document, "warnings", json_warnings(front, staging, dropped));
  json_object_set_new(document, "background_rate", json_count(front_facts(front).background_bytes_per_s));
  json_object_set_new(document, "estimate_seconds",
                      staging->count > 0 ? json_estimate(front, &totals) : json_integer(0));
  return document;
}
