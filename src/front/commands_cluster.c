/* The cluster in the words of Redis Cluster, so that its clients route each key to a node that keeps it.
 *
 * The slots of one partition are kept by the first N nodes of its preference list (N of bucket `default`). Of these
 * the ones that are up are told; the first of them stands as the master: the partition's owner, when that is up. Any
 * node serves any key, so when none of the N is up the first stand-in is named. Partitions next to each other with the
 * same nodes make one range.
 *
 * The texts are kept until the ring, N or who is up changes: cluster clients ask often, and all of them at once when a
 * node fails.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "front/commands.h"
#include "front/handlers.h"
#include "front/state.h"

#define NODE_ID_DIGITS 40

struct range {
  uint32_t first, last;           /* slots */
  uint32_t count;                 /* nodes, at least 1 */
  uint16_t members[REPLICAS_MAX]; /* index into the ring's; the first is the master */
};

struct layout {
  const struct ring *ring;
  uint32_t self; /* this node's id */
  uint32_t n;
  bool up[MEMBERS_MAX]; /* by index into the ring's members */
  struct range *ranges; /* by slot */
  uint32_t range_count;
};

static void node_id_text(uint32_t node, char text[NODE_ID_DIGITS + 1]) {
  snprintf(text, NODE_ID_DIGITS + 1, "%08" PRIx32 "%032d", node, 0);
}

/* -- the layout ----------------------------------------------------------------------- */

static void layout_init(struct layout *layout, const struct front *front) {
  const struct shard *shard = front_shard(front);
  struct member_view views[ROSTER_MAX];
  uint32_t count = shard_members(shard, views, ROSTER_MAX);
  *layout = (struct layout){.ring = shard_reading_ring(shard)}; /* who answers now, not who will */
  layout->self = front_facts(front).node;
  layout->n = bucket_find(shard_buckets(shard), BYTES_LITERAL("default")).n;
  ASSERT(layout->n >= 1 && layout->n <= REPLICAS_MAX);
  for (uint32_t i = 0; i < count && i < ROSTER_MAX; i++) {
    int index = ring_find(layout->ring, views[i].node);
    if (index >= 0) {
      layout->up[index] = views[i].up || views[i].self;
    }
  }
}

static uint64_t layout_key(const struct layout *layout) {
  uint8_t text[16 + MEMBERS_MAX];
  struct writer w = writer_make(text, sizeof(text));
  write_u64(&w, layout->ring->digest);
  write_u32(&w, layout->n);
  for (uint32_t i = 0; i < layout->ring->member_count; i++) {
    write_u8(&w, layout->up[i] ? 1 : 0);
  }
  ASSERT(!w.failed);
  return bytes_hash(writer_bytes(&w), 0) | 1;
}

/* The nodes of one partition, those that are up. */
static void layout_nodes(const struct layout *layout, uint32_t partition, struct range *range) {
  struct preference preference;
  ring_preference(layout->ring, partition, layout->n, &preference);
  ASSERT(preference.count > 0);
  range->count = 0;
  for (uint32_t i = 0; i < preference.count; i++) {
    int member = ring_find(layout->ring, preference.nodes[i]);
    ASSERT(member >= 0);
    bool wanted = i < preference.replica_count || range->count == 0;
    if (wanted && layout->up[member]) {
      range->members[range->count] = (uint16_t)member;
      range->count += 1;
    }
  }
  if (range->count == 0) {
    range->members[0] = (uint16_t)ring_find(layout->ring, preference.nodes[0]);
    range->count = 1;
  }
}

static bool same_nodes(const struct range *a, const struct range *b) {
  return a->count == b->count && memcmp(a->members, b->members, a->count * sizeof(a->members[0])) == 0;
}

/* False: no memory. */
static bool layout_ranges(struct layout *layout) {
  uint32_t partitions = layout->ring->partition_count;
  if (partitions == 0 || layout->ring->member_count == 0) {
    return true;
  }
  layout->ranges = calloc(partitions, sizeof(struct range));
  if (layout->ranges == NULL) {
    return false;
  }
  uint32_t slots = SLOTS / partitions;
  for (uint32_t partition = 0; partition < partitions; partition++) {
    struct range range = {.first = partition * slots, .last = (partition + 1) * slots - 1};
    layout_nodes(layout, partition, &range);
    struct range *before = layout->range_count > 0 ? &layout->ranges[layout->range_count - 1] : NULL;
    if (before != NULL && same_nodes(before, &range)) {
      before->last = range.last;
    } else {
      layout->ranges[layout->range_count] = range;
      layout->range_count += 1;
    }
  }
  return true;
}

/* -- the texts --------------------------------------------------------------------------- */

static void write_slots(const struct layout *layout, struct output *out) {
  output_array(out, layout->range_count);
  for (uint32_t i = 0; i < layout->range_count; i++) {
    const struct range *range = &layout->ranges[i];
    output_array(out, 2 + range->count);
    output_integer(out, range->first);
    output_integer(out, range->last);
    for (uint32_t k = 0; k < range->count; k++) {
      const struct ring_member *member = &layout->ring->members[range->members[k]];
      char id[NODE_ID_DIGITS + 1];
      node_id_text(member->node, id);
      output_array(out, 4);
      output_bulk_text(out, member->host);
      output_integer(out, member->client_port);
      output_bulk_text(out, id);
      output_map(out, 0);
    }
  }
}

static int compare_by_nodes(const void *a_pointer, const void *b_pointer) {
  const struct range *a = a_pointer;
  const struct range *b = b_pointer;
  if (a->count != b->count) {
    return a->count < b->count ? -1 : 1;
  }
  for (uint32_t i = 0; i < a->count; i++) {
    if (a->members[i] != b->members[i]) {
      return a->members[i] < b->members[i] ? -1 : 1;
    }
  }
  return a->first < b->first ? -1 : a->first > b->first ? 1 : 0;
}

static void write_shard_nodes(const struct layout *layout, const struct range *range, struct output *out) {
  output_array(out, range->count);
  for (uint32_t i = 0; i < range->count; i++) {
    const struct ring_member *member = &layout->ring->members[range->members[i]];
    char id[NODE_ID_DIGITS + 1];
    node_id_text(member->node, id);
    output_map(out, 7);
    output_bulk_text(out, "id");
    output_bulk_text(out, id);
    output_bulk_text(out, "port");
    output_integer(out, member->client_port);
    output_bulk_text(out, "ip");
    output_bulk_text(out, member->host);
    output_bulk_text(out, "endpoint");
    output_bulk_text(out, member->host);
    output_bulk_text(out, "role");
    output_bulk_text(out, i == 0 ? "master" : "replica");
    output_bulk_text(out, "replication-offset");
    output_integer(out, 0);
    output_bulk_text(out, "health");
    output_bulk_text(out, layout->up[range->members[i]] ? "online" : "failed");
  }
}

/* Ranges with the same nodes make one shard. Orders the layout's ranges by nodes. */
static void write_shards(const struct layout *layout, struct output *out) {
  uint32_t shards = 0;
  if (layout->range_count > 0) {
    qsort(layout->ranges, layout->range_count, sizeof(struct range), compare_by_nodes);
  }
  for (uint32_t i = 0; i < layout->range_count; i++) {
    shards += i == 0 || !same_nodes(&layout->ranges[i - 1], &layout->ranges[i]) ? 1 : 0;
  }
  output_array(out, shards);
  for (uint32_t i = 0; i < layout->range_count;) {
    uint32_t end = i + 1;
    while (end < layout->range_count && same_nodes(&layout->ranges[i], &layout->ranges[end])) {
      end += 1;
    }
    output_map(out, 2);
    output_bulk_text(out, "slots");
    output_array(out, (size_t)2 * (end - i));
    for (uint32_t k = i; k < end; k++) {
      output_integer(out, layout->ranges[k].first);
      output_integer(out, layout->ranges[k].last);
    }
    output_bulk_text(out, "nodes");
    write_shard_nodes(layout, &layout->ranges[i], out);
    i = end;
  }
}

static void write_node_slots(const struct layout *layout, uint32_t member, struct output *text) {
  for (uint32_t i = 0; i < layout->range_count;) {
    uint32_t end = i + 1;
    if (layout->ranges[i].members[0] != member) {
      i = end;
      continue;
    }
    while (end < layout->range_count && layout->ranges[end].members[0] == member) {
      end += 1;
    }
    uint32_t first = layout->ranges[i].first;
    uint32_t last = layout->ranges[end - 1].last;
    if (first == last) {
      output_format(text, " %" PRIu32, first);
    } else {
      output_format(text, " %" PRIu32 "-%" PRIu32, first, last);
    }
    i = end;
  }
}

static void write_nodes(const struct layout *layout, struct output *out) {
  struct output text = {0};
  for (uint32_t i = 0; i < layout->ring->member_count; i++) {
    const struct ring_member *member = &layout->ring->members[i];
    char id[NODE_ID_DIGITS + 1];
    node_id_text(member->node, id);
    output_format(&text, "%s %s:%u@%u %smaster%s - 0 0 %" PRIu32 " %s", id, member->host, member->client_port,
                  member->peer_port, member->node == layout->self ? "myself," : "", layout->up[i] ? "" : ",fail", i + 1,
                  layout->up[i] ? "connected" : "disconnected");
    write_node_slots(layout, i, &text);
    output_raw(&text, BYTES_LITERAL("\n"));
  }
  out->failed = out->failed || text.failed;
  output_verbatim(out, output_bytes(&text));
  output_free(&text);
}

/* -- the commands ------------------------------------------------------------------------------ */

static bool cache_fill(struct layout *layout, enum cluster_text kind, struct output *text) {
  bool good = layout_ranges(layout);
  if (good) {
    switch (kind) {
    case CLUSTER_SLOTS:
      write_slots(layout, text);
      break;
    case CLUSTER_SHARDS:
      write_shards(layout, text);
      break;
    case CLUSTER_NODES:
      write_nodes(layout, text);
      break;
    case CLUSTER_TEXTS:
      break;
    }
  }
  free(layout->ranges);
  layout->ranges = NULL;
  return good && !text->failed;
}

static void call_cluster_text(struct call *call, enum cluster_text kind) {
  struct cluster_cache *cache = &call->front->cluster;
  struct layout layout;
  layout_init(&layout, call->front);
  uint64_t key = layout_key(&layout);
  if (cache->key != key) {
    cache->key = key;
    memset(cache->present, 0, sizeof(cache->present));
  }
  size_t version = call->out->resp3 ? 1 : 0;
  struct output *text = &cache->texts[kind][version];
  if (!cache->present[kind][version]) {
    output_reset(text, call->out->resp3);
    if (!cache_fill(&layout, kind, text)) {
      output_error_format(call->out, "%s %s", err_code(ERR_NOMEM), err_text(ERR_NOMEM));
      return;
    }
    cache->present[kind][version] = true;
  }
  output_raw(call->out, output_bytes(text));
}

void handle_cluster_slots(struct call *call) {
  call_cluster_text(call, CLUSTER_SLOTS);
}

void handle_cluster_shards(struct call *call) {
  call_cluster_text(call, CLUSTER_SHARDS);
}

void handle_cluster_nodes(struct call *call) {
  call_cluster_text(call, CLUSTER_NODES);
}

void handle_cluster_info(struct call *call) {
  const struct shard *shard = front_shard(call->front);
  const struct ring *ring = shard_reading_ring(shard);
  uint32_t self = front_facts(call->front).node;
  uint32_t slots = ring->partition_count > 0 && ring->member_count > 0 ? SLOTS : 0;
  uint32_t owners = 0;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    owners += ring->members[i].owned > 0 ? 1 : 0;
  }
  struct output text = {0};
  output_format(&text, "cluster_state:%s\r\n", slots > 0 ? "ok" : "fail");
  output_format(&text, "cluster_slots_assigned:%" PRIu32 "\r\ncluster_slots_ok:%" PRIu32 "\r\n", slots, slots);
  output_text(&text, "cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n");
  output_format(&text, "cluster_known_nodes:%" PRIu32 "\r\n", ring->member_count);
  output_format(&text, "cluster_size:%" PRIu32 "\r\n", owners);
  output_format(&text, "cluster_current_epoch:%" PRIu32 "\r\n", history_length(shard_history(shard)));
  output_format(&text, "cluster_my_epoch:%d\r\n", ring_find(ring, self) + 1);
  output_text(&text, "cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n");
  output_text(&text, "total_cluster_links_buffer_limit_exceeded:0\r\n");
  output_verbatim(call->out, output_bytes(&text));
  call->out->failed = call->out->failed || text.failed;
  output_free(&text);
}

void handle_cluster_keyslot(struct call *call) {
  output_integer(call->out, slot_of_key(call->argv[2]));
}

void handle_cluster_myid(struct call *call) {
  char id[NODE_ID_DIGITS + 1];
  node_id_text(front_facts(call->front).node, id);
  output_bulk_text(call->out, id);
}

void handle_cluster_countkeysinslot(struct call *call) {
  int64_t slot = 0;
  if (!word_number(call->argv[2], &slot)) {
    call_not_a_number(call);
  } else if (slot < 0 || slot >= (int64_t)SLOTS) {
    output_error(call->out, "ERR Invalid slot");
  } else {
    output_integer(call->out, (int64_t)(keyspace_estimate(call->front) / SLOTS));
  }
}

void handle_cluster_help(struct call *call) {
  static const char *const lines[] = {
      "CLUSTER <subcommand> [<arg> ...]. Subcommands are:",
      "COUNTKEYSINSLOT <slot>",
      "    How many keys a hash slot has: an estimate.",
      "INFO",
      "    The state of the cluster.",
      "KEYSLOT <key>",
      "    The hash slot of a key.",
      "MYID",
      "    This node's id.",
      "NODES",
      "    The nodes, and the slots that clients should ask each for.",
      "SHARDS | SLOTS",
      "    Which nodes keep which slots.",
      "HELP",
      "    This text. Nodes are added and removed by other means: see DYNAMO.CLUSTER HELP.",
  };
  output_lines(call->out, lines, sizeof(lines) / sizeof(lines[0]));
}
