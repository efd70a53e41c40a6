#include "front/describe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/hlc.h"
#include "front/census.h"
#include "scrub/scrub.h"
#include "sync/sync.h"

#define ADDRESS_BYTES (HOST_MAX_BYTES + 16u)
#define PEER_PORT_OFFSET 10000u /* of the peer port where the option is 0 */
#define ROWS_HEADER_BYTES 8u    /* of an encoded object: see version/object.h */

/* -- words ---------------------------------------------------------------------------- */

/* Keys are bytes: what is not UTF-8 is shown with each byte above ASCII as \xNN. */
static json_t *json_bytes(struct bytes bytes) {
  json_t *text = json_stringn(bytes.size > 0 ? (const char *)bytes.data : "", bytes.size);
  if (text != NULL) {
    return text;
  }
  struct output shown = {0};
  for (size_t i = 0; i < bytes.size; i++) {
    bool plain = bytes.data[i] >= ' ' && bytes.data[i] < 127;
    output_format(&shown, plain ? "%c" : "\\x%02x", bytes.data[i]);
  }
  text = shown.failed ? NULL : json_stringn(shown.size > 0 ? (const char *)shown.data : "", shown.size);
  output_free(&shown);
  return text;
}

static json_t *json_time(uint64_t wall_ms) {
  struct tm parts;
  char text[40];
  time_t seconds = (time_t)(wall_ms / 1000);
  if (gmtime_r(&seconds, &parts) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
    return json_null();
  }
  return json_sprintf("%s.%03uZ", text, (unsigned)(wall_ms % 1000));
}

/* -- the members ---------------------------------------------------------------------------- */

static uint64_t age_ms(const struct front *front, uint64_t then_ms) {
  uint64_t now_ms = front_wall_ms(front);
  return then_ms == 0 || then_ms > now_ms ? 0 : now_ms - then_ms;
}

/* Seconds, rounded up. */
static json_t *json_to_go(uint32_t ms_to_go) {
  return ms_to_go == UINT32_MAX ? json_null() : json_count((UINT64_C(999) + ms_to_go) / 1000);
}

/* What is told as 0 was never. */
static json_t *json_age(uint64_t age_ms) {
  return age_ms == 0 ? json_null() : json_count(age_ms);
}

/* What a node has found its directory to be, until it has got back what it had lost. */
static json_t *json_loss(const struct member_view *view) {
  static const char *const words[] = {
      [LOSS_EMPTIED] = "its data directory is empty, and was not",
      [LOSS_OLD] = "its data directory is an old copy",
      [LOSS_VOLATILE] = "its engine keeps nothing over a restart",
  };
  uint8_t loss = view->heartbeat.loss;
  ASSERT(loss <= LOSS_VOLATILE);
  return loss == LOSS_NONE ? json_null() : json_string(words[loss]);
}

/* How much of it has been compared with the other replicas since. */
static json_t *json_resynced(const struct heartbeat *heartbeat, const struct member_view *view) {
  if (view->heartbeat.loss == LOSS_NONE) {
    return json_null();
  }
  return json_pack("{s:I, s:I, s:o, s:o}", "partitions", (json_int_t)heartbeat->parts_wanted, "held",
                   (json_int_t)heartbeat->parts_held, "keys", json_count(heartbeat->moving_keys), "bytes",
                   json_count(heartbeat->moving_bytes));
}

static json_t *json_member(const struct front *front, const struct member_view *view) {
  struct identity identity;
  if (!identity_find(front, view->node, &identity)) {
    return json_object();
  }
  const struct heartbeat *heartbeat = view->self ? shard_health(front_shard(front)) : &view->heartbeat;
  struct store_statistics store = {0};
  front->services.store_statistics(front->services.context, &store);
  uint64_t now_ns = front_now_ns(front);
  json_t *heard = view->last_heard_ns == 0 || view->self || view->last_heard_ns > now_ns
                      ? json_null()
                      : json_count((now_ns - view->last_heard_ns) / 1000000u);
  bool nospace = view->self ? store.nospace : heartbeat->nospace != 0;
  json_t *object = json_object();
  json_object_set_new(object, "id", json_id(view->node));
  json_object_set_new(object, "name", json_node_name(front, view->node));
  json_object_set_new(object, "address", json_place(identity.host, identity.client_port));
  json_object_set_new(object, "peer_address", json_place(identity.host, identity.peer_port));
  json_object_set_new(object, "zone", json_string(identity.zone));
  json_object_set_new(object, "weight", json_count(identity.weight));
  json_object_set_new(object, "partitions", json_count(identity.owned));
  json_object_set_new(object, "state", json_string(view->joining ? "joining" : view->leaving ? "leaving" : "member"));
  json_object_set_new(object, "up", json_boolean(view_is_up(view)));
  json_object_set_new(object, "self", json_boolean(view->self));
  json_object_set_new(object, "last_heard_ms", heard);
  json_object_set_new(object, "hints", json_count(heartbeat->hints));
  json_object_set_new(object, "oldest_hint_age_ms", json_count(age_ms(front, heartbeat->oldest_hint_ms)));
  json_object_set_new(object, "keys", json_count(view->self ? store.keys : heartbeat->keys));
  json_object_set_new(object, "strays", json_count(heartbeat->strays));
  json_object_set_new(object, "nospace", json_boolean(nospace));
  json_object_set_new(object, "wrote", json_count(view->self ? shard_wrote(front_shard(front)) : heartbeat->wrote));
  json_object_set_new(object, "loss", json_loss(view));
  json_object_set_new(object, "resynced", json_resynced(heartbeat, view));
  json_object_set_new(object, "keys_differ", json_count(heartbeat->sync_differ));
  json_object_set_new(object, "compared_age_ms", json_age(heartbeat->sync_age_ms));
  json_object_set_new(object, "mend_bytes_to_go", json_count(heartbeat->sync_bytes_to_go));
  json_object_set_new(object, "mend_eta_seconds", json_to_go(heartbeat->sync_ms_to_go));
  json_object_set_new(object, "background_level", json_integer(ADMIT_WHOLE - heartbeat->held_back));
  json_object_set_new(object, "tombstones", json_count(heartbeat->tombstones));
  json_object_set_new(object, "floor_age_ms", json_age(age_ms(front, heartbeat->floor_ms)));
  return object;
}

static json_t *json_members(const struct front *front, const struct census *census) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < census->count; i++) {
    json_array_append_new(list, json_member(front, &census->views[i]));
  }
  return list;
}

json_t *describe_members(const struct front *front) {
  struct census census;
  census_take(front, &census);
  return json_pack("{s:o}", "members", json_members(front, &census));
}

/* Of this node while no history names it: as its options say. `port_option` "port" or "peer-port". */
static json_t *json_own_address(const struct front *front, const char *port_option) {
  const struct front_services *services = &front->services;
  char host[FRONT_CONFIG_TEXT] = "";
  char port[FRONT_CONFIG_TEXT] = "0";
  if (!services->config_get(services->context, "announce", host) || host[0] == '\0') {
    (void)services->config_get(services->context, "listen", host);
  }
  (void)services->config_get(services->context, port_option, port);
  unsigned long number = strtoul(port, NULL, 10);
  if (number == 0 && services->config_get(services->context, "port", port)) {
    number = strtoul(port, NULL, 10) + PEER_PORT_OFFSET;
  }
  return json_place(host, (uint16_t)number);
}

static json_t *json_this_node(const struct front *front) {
  const struct node_facts facts = front_facts(front);
  const struct server_stats *server = server_stats(front->services.server(front->services.context));
  const struct shard *shard = front_shard(front);
  struct identity identity;
  bool known = identity_find(front, facts.node, &identity);
  const char *refusal = shard_join_refusal(shard);
  struct store_statistics store = {0};
  front->services.store_statistics(front->services.context, &store);
  json_t *object = json_object();
  json_object_set_new(object, "id", json_id(facts.node));
  json_object_set_new(object, "name", json_string(facts.name));
  json_object_set_new(object, "address",
                      known ? json_place(identity.host, identity.client_port) : json_own_address(front, "port"));
  json_object_set_new(object, "peer_address",
                      known ? json_place(identity.host, identity.peer_port) : json_own_address(front, "peer-port"));
  json_object_set_new(object, "engine", json_string(facts.engine));
  json_object_set_new(object, "dir", json_string(facts.directory));
  json_object_set_new(object, "uptime_seconds", json_count(age_ms(front, facts.start_wall_ms) / 1000));
  json_object_set_new(object, "incarnation", json_digest(facts.incarnation));
  json_object_set_new(object, "wrote", json_count(shard_wrote(shard)));
  json_object_set_new(object, "member", json_boolean(shard_is_member(shard)));
  json_object_set_new(object, "takes_changes", json_boolean(shard_takes_changes(shard)));
  json_object_set_new(object, "removed", json_boolean(front_was_removed(front)));
  json_object_set_new(object, "handed_over", json_boolean(facts.handed_over));
  json_object_set_new(object, "strays", json_count(shard_health(shard)->strays));
  json_object_set_new(object, "hints", json_count(shard_health(shard)->hints));
  json_object_set_new(object, "join_refusal", refusal == NULL ? json_null() : json_string(refusal));
  json_object_set_new(object, "nospace", json_boolean(store.nospace));
  json_object_set_new(object, "keys", json_count(store.keys));
  json_object_set_new(object, "bytes", json_count(store.bytes));
  json_object_set_new(object, "clients", json_count(server->connected));
  return object;
}

/* How this node stands with those with which it compares partitions: paper 4.7. */
static json_t *json_compared(const struct front *front) {
  struct sync_view views[MEMBERS_MAX];
  uint32_t count = shard_sync_list(front_shard(front), views, MEMBERS_MAX);
  uint64_t now_ns = front_now_ns(front);
  json_t *list = json_array();
  for (uint32_t i = 0; i < count; i++) {
    const struct sync_view *view = &views[i];
    uint64_t age = view->whole_ns == 0 || view->whole_ns > now_ns ? 0 : (now_ns - view->whole_ns) / 1000000u + 1u;
    json_array_append_new(list, json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:o}", "id", json_id(view->node), "name",
                                          json_node_name(front, view->node), "partitions", (json_int_t)view->partitions,
                                          "partitions_differ", (json_int_t)view->partitions_differ, "keys_differ",
                                          json_count(view->keys_differ), "found", json_count(view->found), "age_ms",
                                          json_age(age)));
  }
  return list;
}

/* How far this node is with reading again what it has stored, and what it found since its start. */
static json_t *json_scrub(const struct front *front) {
  const struct shard *shard = front_shard(front);
  const struct shard_stats *stats = shard_stats(shard);
  struct scrub_view view;
  shard_scrub(shard, &view);
  json_t *object = json_object();
  json_object_set_new(object, "running", json_boolean(view.running));
  json_object_set_new(object, "per_mille", json_count(view.per_mille));
  json_object_set_new(object, "left_seconds", view.running ? json_count(view.left_ms / 1000) : json_null());
  json_object_set_new(object, "complete_age_ms", json_age(view.whole_age_ms));
  json_object_set_new(object, "bytes", json_count(stats->scrub_bytes));
  json_object_set_new(object, "gaps", json_count(stats->scrub_gaps));
  json_object_set_new(object, "hint_gaps", json_count(stats->hint_gaps));
  json_object_set_new(object, "damaged", json_count(stats->damaged));
  json_object_set_new(object, "healing", json_count(view.healing));
  json_object_set_new(object, "healed", json_count(stats->healed));
  json_object_set_new(object, "lost", json_count(stats->damaged_lost));
  return object;
}

#define DIFFERENCES_MAX 64u /* that are told one by one */

/* Partition by partition and peer by peer, what is not equal. */
static void json_set_differences(const struct front *front, json_t *document) {
  struct sync_difference list[DIFFERENCES_MAX];
  uint32_t count = shard_sync_differences(front_shard(front), list, DIFFERENCES_MAX);
  json_t *told = json_array();
  for (uint32_t i = 0; i < count && i < DIFFERENCES_MAX; i++) {
    json_array_append_new(told, json_pack("{s:I, s:o, s:o, s:o}", "partition", (json_int_t)list[i].partition, "id",
                                          json_id(list[i].node), "name", json_node_name(front, list[i].node), "keys",
                                          list[i].keys == 0 ? json_null() : json_count(list[i].keys)));
  }
  json_object_set_new(document, "differences", told);
  json_object_set_new(document, "differences_count", json_count(count));
}

/* What work that nobody waits for is granted (paper 6.5), what it has to do, and what it has taken. */
static json_t *json_background(const struct front *front) {
  const struct shard *shard = front_shard(front);
  struct admit_view view;
  struct waiting waiting = waiting_work(front);
  shard_background(shard, &view);
  json_t *hint_seconds = waiting.hint_seconds == UINT64_MAX ? json_null() : json_count(waiting.hint_seconds);
  json_t *to_do =
      json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "tree_permille", json_count(waiting.tree_permille),
                "exchange_partitions", json_count(waiting.exchange_partitions), "exchange_keys",
                json_count(waiting.exchange_keys), "transfer_partitions", json_count(waiting.transfer_partitions),
                "transfer_strays", json_count(waiting.strays), "hints", json_count(waiting.hints), "hints_bytes_to_go",
                json_count(waiting.hint_bytes), "hints_eta_seconds", hint_seconds);
  json_t *spent =
      json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "tree", json_count(view.spent_bytes[ADMIT_GROW]), "exchange",
                json_count(view.spent_bytes[ADMIT_EXCHANGE]), "transfer", json_count(view.spent_bytes[ADMIT_TRANSFER]),
                "hints", json_count(view.spent_bytes[ADMIT_HINTS]), "scrub", json_count(view.spent_bytes[ADMIT_SCRUB]),
                "reap", json_count(view.spent_bytes[ADMIT_REAP]));
  return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "level", (json_int_t)view.level, "start",
                   (json_int_t)view.start, "bytes_per_second", json_count(view.bytes_per_s), "p999_us",
                   json_count(view.p999_ns / 1000u), "target_us", json_count(view.target_ns / 1000u), "waiting", to_do,
                   "spent_bytes", spent);
}

json_t *describe_status(const struct front *front) {
  const struct shard *shard = front_shard(front);
  const struct ring *ring = shard_ring(shard);
  const struct node_facts facts = front_facts(front);
  struct census census;
  census_take(front, &census);
  json_t *cluster =
      json_pack("{s:s, s:I, s:I, s:o, s:b}", "name", facts.cluster_name, "partitions",
                (json_int_t)ring->partition_count, "members", (json_int_t)ring->member_count, "history_digest",
                json_digest(history_digest(shard_history(shard))), "forming", census.sealed ? 0 : 1);
  json_t *totals =
      json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "hints", json_count(census.hints),
                "oldest_hint_age_ms", json_count(census.oldest_hint_age_ms), "members_down", (json_int_t)census.down,
                "keys_differ", json_count(census.keys_differ), "compared_age_ms", json_age(census.compared_age_ms),
                "mend_bytes_to_go", json_count(census.bytes_to_go), "mend_eta_seconds", json_to_go(census.ms_to_go),
                "tombstones", json_count(census.tombstones), "floor_age_ms", json_age(census.floor_age_ms));
  json_t *document =
      json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "cluster", cluster, "node", json_this_node(front),
                "members", json_members(front, &census), "totals", totals, "change", describe_change(front, &census),
                "candidates", describe_candidates(front), "compared", json_compared(front), "background",
                json_background(front), "scrub", json_scrub(front));
  json_set_differences(front, document);
  return document;
}

json_t *describe_ring(const struct front *front) {
  const struct ring *ring = shard_ring(front_shard(front));
  json_t *members = json_array();
  json_t *owners = json_array();
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const struct ring_member *member = &ring->members[i];
    json_array_append_new(members, json_pack("{s:o, s:o, s:s, s:I, s:I}", "id", json_id(member->node), "name",
                                             json_node_name(front, member->node), "zone", member->zone_name, "weight",
                                             (json_int_t)member->weight, "partitions", (json_int_t)member->owned));
  }
  for (uint32_t i = 0; i < ring->partition_count && ring->member_count > 0; i++) {
    json_array_append_new(owners, json_integer(ring->owners[i]));
  }
  return json_pack("{s:I, s:o, s:o, s:o}", "partitions", (json_int_t)ring->partition_count, "digest",
                   json_digest(ring->digest), "members", members, "owners", owners);
}

/* -- a key ------------------------------------------------------------------------------------ */

static json_t *json_dot(const struct front *front, struct dot dot) {
  return json_pack("{s:o, s:o, s:o, s:o, s:o}", "node", json_id(dot.actor.node), "name",
                   json_node_name(front, dot.actor.node), "incarnation", json_digest(dot.actor.incarnation), "time",
                   json_sprintf("%" PRIu64, dot.time), "at", json_time(hlc_ms(dot.time)));
}

static json_t *json_dots(const struct front *front, struct reader *r, uint32_t count) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < count; i++) {
    struct dot dot;
    dot.actor.node = read_u32(r);
    dot.actor.incarnation = read_u64(r);
    dot.time = read_u64(r);
    json_array_append_new(list, json_dot(front, dot));
  }
  return list;
}

static json_t *json_siblings(const struct front *front, const struct object *object) {
  json_t *list = json_array();
  struct sibling_cursor cursor = object_siblings(object);
  struct sibling sibling;
  while (sibling_next(&cursor, &sibling)) {
    json_array_append_new(list, json_pack("{s:o, s:I, s:b, s:o}", "dot", json_dot(front, sibling.dot), "size",
                                          (json_int_t)sibling.size, "tombstone", sibling.tombstone ? 1 : 0,
                                          "expires_at_ms", json_count(sibling.expires_at_ms)));
  }
  return list;
}

/* Sets "clock" and "siblings" from an encoded clock; both null when it is absent or damaged. */
static void json_set_clock(const struct front *front, json_t *object, struct bytes encoded) {
  struct object clock;
  if (encoded.size == 0 || object_open(&clock, encoded) != ERR_OK) {
    json_object_set_new(object, "clock", json_null());
    json_object_set_new(object, "siblings", json_null());
    return;
  }
  struct reader r = reader_make(encoded);
  (void)read_raw(&r, ROWS_HEADER_BYTES);
  json_t *pairs = json_dots(front, &r, clock.pair_count);
  json_t *dots = json_dots(front, &r, clock.dot_count);
  ASSERT(!r.failed);
  json_object_set_new(object, "clock", json_pack("{s:o, s:o}", "pairs", pairs, "dots", dots));
  json_object_set_new(object, "siblings", json_siblings(front, &clock));
}

static json_t *json_hints(const struct front *front, struct bytes encoded) {
  json_t *list = json_array();
  struct reader r = reader_make(encoded);
  while (reader_left(&r) > 0 && !r.failed) {
    uint32_t owner = read_u32(&r);
    struct bytes clock = read_bytes(&r);
    if (r.failed) {
      break;
    }
    json_t *hint = json_pack("{s:o, s:o}", "owner", json_id(owner), "owner_name", json_node_name(front, owner));
    json_set_clock(front, hint, clock);
    json_array_append_new(list, hint);
  }
  return list;
}

static json_t *json_replicas(const struct front *front, const struct reply *reply) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < reply->explained_count; i++) {
    const struct explained *explained = &reply->explained[i];
    json_t *replica = json_pack("{s:o, s:o, s:b, s:s}", "node", json_id(explained->node), "name",
                                json_node_name(front, explained->node), "answered", explained->answered ? 1 : 0, "role",
                                explained->stand_in ? "stand-in" : "replica");
    json_set_clock(front, replica, blob_bytes(explained->clock));
    json_object_set_new(replica, "hints", json_hints(front, blob_bytes(explained->hints)));
    json_array_append_new(list, replica);
  }
  return list;
}

static json_t *json_preference(const struct front *front, uint32_t partition, uint32_t n) {
  const struct ring *ring = shard_reading_ring(front_shard(front));
  struct preference preference;
  struct census census;
  json_t *list = json_array();
  if (ring->partition_count == 0 || ring->member_count == 0) {
    return list;
  }
  census_take(front, &census);
  ring_preference(ring, partition, n, &preference);
  for (uint32_t i = 0; i < preference.count; i++) {
    uint32_t node = preference.nodes[i];
    int index = ring_find(ring, node);
    const struct member_view *view = census_find(&census, node);
    ASSERT(index >= 0);
    json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:s, s:b}", "node", json_id(node), "name",
                                          json_node_name(front, node), "address",
                                          json_place(ring->members[index].host, ring->members[index].client_port),
                                          "role", i < preference.replica_count ? "replica" : "stand-in", "up",
                                          view != NULL && view_is_up(view) ? 1 : 0));
  }
  return list;
}

static json_t *json_props(const struct bucket_props *props) {
  json_t *dw = props->dw == DW_ALL ? json_string("all") : json_integer(props->dw);
  return json_pack("{s:i, s:i, s:i, s:i, s:i, s:o, s:s, s:o, s:I}", "n", props->n, "r", props->r, "w", props->w, "pr",
                   props->pr, "pw", props->pw, "dw", dw, "resolve", props->resolve == RESOLVE_LWW ? "lww" : "siblings",
                   "ttl_ms", json_count(props->ttl_ms), "sibling_max", (json_int_t)props->sibling_max);
}

json_t *describe_key(const struct front *front, struct bytes key, const struct reply *reply) {
  const struct shard *shard = front_shard(front);
  const struct ring *ring = shard_ring(shard);
  struct position position = position_of_key(key);
  struct bytes bucket = bucket_of_key(key);
  struct bucket_props props = bucket_find(shard_buckets(shard), bucket);
  uint32_t partition = ring->partition_count == 0 ? 0 : position_partition(position, ring->partition_count);
  return json_pack("{s:o, s:o, s:i, s:o, s:I, s:o, s:o, s:o}", "key", json_bytes(key), "bucket", json_bytes(bucket),
                   "slot", (int)position_slot(position), "position",
                   json_sprintf("%016" PRIx64 "%016" PRIx64, position.high, position.low), "partition",
                   (json_int_t)partition, "props", json_props(&props), "preference",
                   json_preference(front, partition, props.n), "replicas", json_replicas(front, reply));
}
