/* The change of layouts that is under way (paper §4.9), as JSON: who waits for whom, how far it is, how long yet. */
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "front/census.h"

#define NS_PER_SECOND UINT64_C(1000000000)

const char *phase_word(uint8_t phase) {
  static const char *const words[] = {[MARK_NONE] = "none",         [MARK_KNOWS] = "knows", [MARK_HOLDS] = "holds",
                                      [MARK_RELEASES] = "releases", [MARK_READS] = "reads", [MARK_DONE] = "done"};
  return phase < sizeof(words) / sizeof(words[0]) ? words[phase] : "unknown";
}

/* Samples are taken of what all have received, from when there is something to receive, and of the hints that this node
 * hands over. */
void front_second(struct front *front) {
  struct census census;
  struct admit_view background;
  shard_background(front_shard(front), &background);
  progress_note(&front->hints_progress, front_now_ns(front), shard_stats(front_shard(front))->hints_delivered,
                background.spent_bytes[ADMIT_HINTS]);
  census_take(front, &census);
  if (census.partitions_wanted == 0) {
    front->progress.count = 0;
    return;
  }
  progress_note(&front->progress, front_now_ns(front), census.keys_moved, census.bytes_moved);
}

static json_t *json_waiting(const struct front *front, const struct layout_view *layout) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < layout->waiting_count && i < MEMBERS_MAX; i++) {
    json_array_append_new(list, json_node_name(front, layout->waiting[i]));
  }
  return list;
}

static json_t *json_at_it(const struct front *front, const struct census *census, const struct layout_view *layout) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < census->count; i++) {
    const struct member_view *view = &census->views[i];
    const struct heartbeat *heartbeat = view->self ? shard_health(front_shard(front)) : &view->heartbeat;
    const struct mark *mark = view->self ? &layout->mark : &heartbeat->mark;
    json_t *member = json_object();
    json_object_set_new(member, "name", json_node_name(front, view->node));
    json_object_set_new(member, "phase", json_string(phase_word(mark->phase)));
    json_object_set_new(member, "base_records", json_integer(mark->base_count));
    json_object_set_new(member, "target_records", json_integer(mark->target_count));
    json_object_set_new(member, "partitions_wanted", json_integer(heartbeat->parts_wanted));
    json_object_set_new(member, "partitions_held", json_integer(heartbeat->parts_held));
    json_object_set_new(member, "keys_moved", json_count(heartbeat->moving_keys));
    json_object_set_new(member, "bytes_moved", json_count(heartbeat->moving_bytes));
    json_object_set_new(member, "strays", json_count(heartbeat->strays));
    json_array_append_new(list, member);
  }
  return list;
}

static uint64_t bytes_to_go(const struct front *front, const struct census *census) {
  struct shares shares = shares_estimate(front);
  uint64_t mean = shares_scale(shares.bytes, &shares, 1);
  return progress_bytes_left(census->partitions_wanted, census->partitions_held, census->bytes_moved, mean);
}

static json_t *json_eta(uint64_t left, uint64_t rate) {
  uint64_t seconds = progress_eta_s(left, rate);
  return seconds == UINT64_MAX ? json_null() : json_count(seconds);
}

json_t *describe_change(const struct front *front, const struct census *census) {
  struct layout_view layout;
  shard_layout(front_shard(front), &layout);
  if (!layout.moving && !layout.behind && !census->passing && census->strays == 0) {
    return json_null();
  }
  uint64_t rate = progress_bytes_per_s(&front->progress);
  uint64_t left = bytes_to_go(front, census);
  uint64_t now_ns = front_now_ns(front);
  uint64_t since_ns = layout.started_ns == 0 || layout.started_ns > now_ns ? 0 : now_ns - layout.started_ns;
  json_t *change = json_object();
  json_object_set_new(change, "phase", json_string(phase_word(layout.mark.phase)));
  json_object_set_new(change, "base_records", json_integer(layout.mark.base_count));
  json_object_set_new(change, "target_records", json_integer(layout.mark.target_count));
  json_object_set_new(change, "moving", json_boolean(layout.moving));
  json_object_set_new(change, "another_waits", json_boolean(layout.behind));
  json_object_set_new(change, "seconds", json_count(since_ns / NS_PER_SECOND));
  json_object_set_new(change, "waiting_for", json_waiting(front, &layout));
  json_object_set_new(change, "partitions_wanted", json_count(census->partitions_wanted));
  json_object_set_new(change, "partitions_held", json_count(census->partitions_held));
  json_object_set_new(change, "keys_moved", json_count(census->keys_moved));
  json_object_set_new(change, "bytes_moved", json_count(census->bytes_moved));
  json_object_set_new(change, "strays", json_count(census->strays));
  json_object_set_new(change, "rate_bytes_per_second", json_count(rate));
  json_object_set_new(change, "rate_keys_per_second", json_count(progress_keys_per_s(&front->progress)));
  json_object_set_new(change, "bytes_to_go", json_count(left));
  json_object_set_new(change, "eta_seconds", json_eta(left, rate));
  json_object_set_new(change, "members", json_at_it(front, census, &layout));
  return change;
}

json_t *describe_candidates(const struct front *front) {
  struct candidate_view views[JOINERS_MAX];
  json_t *list = json_array();
  uint32_t count = shard_candidates(front_shard(front), views, JOINERS_MAX);
  for (uint32_t i = 0; i < count && i < JOINERS_MAX; i++) {
    const struct change *change = &views[i].change;
    json_t *candidate = json_object();
    json_object_set_new(candidate, "id", json_id(change->node));
    json_object_set_new(candidate, "name", change->name[0] != '\0' ? json_string(change->name) : json_id(change->node));
    json_object_set_new(candidate, "address", json_place(change->host, change->client_port));
    json_object_set_new(candidate, "zone", json_string(change->zone));
    json_object_set_new(candidate, "weight", json_integer((json_int_t)change->weight));
    json_array_append_new(list, candidate);
  }
  return list;
}
