/* The loop of a running node: what one iteration does, what each second does, how it stops. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "front/roster.h"
#include "os/log.h"
#include "run/node_parts.h"

#define NS_PER_MS 1000000u
#define SEEDS_MAX 64u
#define EMPTY_SECONDS 3u
#define BOOK_MAX (2u * ROSTER_MAX + SEEDS_MAX)
#define WAITING "waits to be added" /* so the reason of a node says it that an administrator may add */

/* -- addresses ----------------------------------------------------------------------------- */

/* The next "host:port" of the seeds, which options_check has looked through; false at their end. */
static bool seed_next(const char **seeds, struct peer_address *address) {
  *seeds += strspn(*seeds, ", ");
  size_t size = strcspn(*seeds, ", ");
  char seed[HOST_MAX_BYTES + 16];
  if (size == 0) {
    return false;
  }
  snprintf(seed, sizeof(seed), "%.*s", (int)size, *seeds);
  *seeds += size;
  *address = (struct peer_address){0};
  char *colon = strrchr(seed, ':');
  if (colon == NULL) {
    return true;
  }
  *colon = '\0';
  address->port = (uint16_t)strtoul(colon + 1, NULL, 10);
  char *host = seed;
  if (*host == '[' && colon[-1] == ']') {
    colon[-1] = '\0';
    host += 1;
  }
  snprintf(address->host, sizeof(address->host), "%.*s", (int)HOST_MAX_BYTES, host);
  return true;
}

/* The first who has an address keeps it. */
struct address_book {
  uint32_t count;
  struct peer_address addresses[BOOK_MAX];
};

static void book_add(struct address_book *book, const struct peer_address *address) {
  bool known = address->port == 0 || book->count == BOOK_MAX;
  for (uint32_t i = 0; i < book->count && !known; i += 1) {
    known = book->addresses[i].port == address->port && strcmp(book->addresses[i].host, address->host) == 0;
  }
  if (!known) {
    book->addresses[book->count] = *address;
    book->count += 1;
  }
}

static void book_add_node(struct address_book *book, const struct node *node, const struct identity *who) {
  if (who->node != node->directory.node) {
    struct peer_address address = {.node = who->node, .port = who->peer_port};
    snprintf(address.host, sizeof(address.host), "%s", who->host);
    book_add(book, &address);
  }
}

/* Is there nobody of the cluster left whom this node knows and reaches? It may have been removed, and all the others
 * replaced, while it was away. */
static bool node_is_alone(const struct node *node) {
  struct member_view views[ROSTER_MAX];
  uint32_t count = shard_members(node->shard, views, ROSTER_MAX);
  for (uint32_t i = 0; i < count && i < ROSTER_MAX; i += 1) {
    if (views[i].up && views[i].node != node->directory.node) {
      return false;
    }
  }
  return true;
}

/* Dialled are all that the whole history leaves in, whether or not the layouts have come as far; those that are still
 * in a live layout; and the seeds while this node is no member, or alone. */
static void node_update_addresses(struct node *node) {
  const struct history *history = shard_history(node->shard);
  struct identity present[ROSTER_MAX];
  struct identity leaver;
  struct member_view views[ROSTER_MAX];
  struct address_book book = {.count = 0};
  uint32_t count = roster_present(history, present, ROSTER_MAX);
  for (uint32_t i = 0; i < count; i += 1) {
    book_add_node(&book, node, &present[i]);
  }
  count = shard_members(node->shard, views, ROSTER_MAX);
  for (uint32_t i = 0; i < count && i < ROSTER_MAX; i += 1) {
    if (roster_find(history, views[i].node, &leaver)) {
      book_add_node(&book, node, &leaver);
    }
  }
  const char *seeds = node->options->seeds;
  struct peer_address seed;
  while ((!node->was_member || node->alone) && seed_next(&seeds, &seed)) {
    if (seed.port != node_peer_port(node->options) || strcmp(seed.host, node_host(node->options)) != 0) {
      book_add(&book, &seed);
    }
  }
  peers_set_addresses(node->peers, book.addresses, book.count);
}

/* Both sides say so: only who runs them knows which of the two is in the wrong place. */
static void node_say_foreigner(struct node *node) {
  uint32_t foreigner = 0;
  uint32_t foreigners = shard_foreigners(node->shard, &foreigner);
  if (foreigners == node->foreigners) {
    return;
  }
  node->foreigners = foreigners;
  log_line(LOG_LEVEL_WARN,
           "node %08" PRIx32
           " has the data of another cluster, though of the same name: nothing is exchanged with it; if "
           "it is to join this one, start it with an empty data directory",
           foreigner);
}

/* What follows from the membership having changed. */
static void node_look_at_ring(struct node *node) {
  const struct ring *ring = shard_ring(node->shard);
  const struct ring *base = shard_base_ring(node->shard);
  uint32_t count = history_length(shard_history(node->shard));
  bool member = shard_is_member(node->shard);
  if (node->addressed && ring->digest == node->ring_digest && base->digest == node->base_digest &&
      count == node->history_count && member == node->was_member) {
    return;
  }
  if (node->ready && node->addressed && (ring->digest != node->ring_digest || member != node->was_member)) {
    bool coming = !member && ring_find(ring, node->directory.node) >= 0;
    log_line(LOG_LEVEL_INFO, "the cluster has %" PRIu32 " member%s, this node is %s%s", ring->member_count,
             ring->member_count == 1 ? "" : "s",
             member   ? "one of them"
             : coming ? "being taken in"
                      : "none of them",
             ring->digest != base->digest ? "; partitions move" : "");
  } else if (node->ready && node->addressed && ring->digest == base->digest && base->digest != node->base_digest) {
    log_line(LOG_LEVEL_INFO, "partitions have moved: all nodes hold what the ring of %" PRIu32 " member%s gives them",
             ring->member_count, ring->member_count == 1 ? "" : "s");
  }
  node->addressed = true;
  node->ring_digest = ring->digest;
  node->base_digest = base->digest;
  node->history_count = count;
  node->was_member = member;
  node_update_addresses(node);
}

/* -- each second ------------------------------------------------------------------------------ */

static void node_say_ready(struct node *node) {
  const struct options *options = node->options;
  node->ready = true;
  uint32_t members = shard_ring(node->shard)->member_count;
  log_line(LOG_LEVEL_INFO,
           "ready: clients on %s:%u, peers on %s:%u, node %08" PRIx32 ", cluster %s, %" PRIu32 " member%s",
           options->listen, server_port(node->server), options->listen, peers_port(node->peers), node->directory.node,
           options->cluster_name, members, members == 1 ? "" : "s");
}

/* Once each: that it was taken out, and that nothing is left here which others need. */
static void node_say_removed(struct node *node) {
  const struct heartbeat *health = shard_health(node->shard);
  if (!roster_has_left(shard_history(node->shard), node->directory.node)) {
    return;
  }
  bool in_layout = ring_find(shard_ring(node->shard), node->directory.node) >= 0 ||
                   ring_find(shard_base_ring(node->shard), node->directory.node) >= 0;
  bool empty = !in_layout && health->strays == 0 && health->hints == 0;
  if (!node->removal_told) {
    struct store_statistics statistics;
    node_statistics(node, &statistics);
    node->removal_told = true;
    log_line(LOG_LEVEL_WARN, "this node was removed from the cluster; %" PRIu64 " objects to hand over",
             health->strays > statistics.keys ? health->strays : statistics.keys);
    return;
  }
  /* It has to be so for a while: when layouts change, what is here has to be looked through first. */
  node->empty_seconds = empty ? node->empty_seconds + 1 : 0;
  if (node->empty_seconds >= EMPTY_SECONDS && !node->empty_told) {
    node->empty_told = true;
    log_line(LOG_LEVEL_WARN, "this node has handed over all it had; it may be stopped, and come back as a new one with "
                             "an empty data directory");
  }
}

/* What a node that is no member yet is told: most often, that an administrator has to add it. */
static void node_say_refusal(struct node *node) {
  const char *refusal = shard_join_refusal(node->shard);
  bool has_left = roster_has_left(shard_history(node->shard), node->directory.node);
  if (refusal != NULL && !has_left && strcmp(refusal, node->refusal) != 0) {
    bool waits = strstr(refusal, WAITING) != NULL;
    snprintf(node->refusal, sizeof(node->refusal), "%s", refusal);
    if (shard_takes_changes(node->shard)) {
      log_line(LOG_LEVEL_WARN, "this node serves nobody yet: it %s", refusal);
      return;
    }
    log_line(waits ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "not %s the cluster: %s", waits ? "yet in" : "taken into",
             refusal);
  }
}

/* What it found its directory to be, and that this has been made good. */
static void node_say_loss(struct node *node) {
  static const char *const words[] = {
      [LOSS_EMPTIED] = "the data directory is empty, and was not when this node ran last",
      [LOSS_OLD] = "the data directory is an old copy of the one that this node had",
      [LOSS_VOLATILE] = "the engine keeps nothing over a restart",
  };
  bool sure = false;
  enum loss loss = shard_loss(node->shard, &sure);
  enum loss latest = shard_latest_loss(node->shard);
  uint64_t losses = shard_stats(node->shard)->losses; /* one may have been made good since the last second */
  if (losses != node->losses_told || (loss != LOSS_NONE && node->loss_told == LOSS_NONE)) {
    node->losses_told = losses;
    node->loss_told = latest;
    log_line(LOG_LEVEL_WARN, "%s: it answers for nothing that it has not compared with all other replicas again",
             words[latest]);
  }
  if (loss == LOSS_NONE && node->loss_told != LOSS_NONE) {
    node->loss_told = LOSS_NONE;
    log_line(LOG_LEVEL_INFO,
             "what was lost has been got back: all partitions have been compared with the other replicas");
  }
}

static void node_say_damage(struct node *node) {
  const struct shard_stats *stats = shard_stats(node->shard);
  uint64_t found = stats->damaged + stats->scrub_gaps + stats->hint_gaps;
  char why[DISK_WHY];
  if (found == node->damage_told && stats->damaged_lost == node->lost_told) {
    return;
  }
  disk_failure(node->disk, why);
  log_line(LOG_LEVEL_WARN,
           "damage in the store: %" PRIu64 " records found damaged since the start, %" PRIu64
           " made whole from other replicas, %" PRIu64
           " lost (no other replica had them); hints that can not be read met "
           "%" PRIu64 " times; check the device%s%s",
           stats->damaged, stats->healed, stats->damaged_lost, stats->hint_gaps, why[0] != '\0' ? ": " : "", why);
  node->damage_told = found;
  node->lost_told = stats->damaged_lost;
}

/* Each second, and more often until it is ready or while it stops. */
static void on_second(uv_timer_t *timer) {
  struct node *node = timer->data;
  struct store_statistics statistics;
  node->clock_fresh = false;
  uint64_t age_ms = (node_now_ns(node) - node->start_ns) / NS_PER_MS;
  if (node->phase >= NODE_DRAINING) {
    return;
  }
  if (!node->ready && (shard_is_member(node->shard) || age_ms >= NODE_READY_MS)) {
    node_say_ready(node);
    uv_timer_set_repeat(timer, 1000);
  }
  node_statistics(node, &statistics);
  shard_set_health(node->shard, statistics.nospace, statistics.keys);
  if (statistics.nospace != node->nospace) {
    node->nospace = statistics.nospace;
    log_line(LOG_LEVEL_WARN, "%s",
             node->nospace ? "the disk is full: writes are refused until there is space, reads are served"
                           : "there is space on the disk again: writes are served");
  }
  if (node_is_alone(node) != node->alone) {
    node->alone = !node->alone;
    node_update_addresses(node);
  }
  node_say_loss(node);
  node_say_damage(node);
  node_say_removed(node);
  node_say_refusal(node);
  if (node->ready) {
    front_second(node->front);
  }
}

/* -- stopping ------------------------------------------------------------------------------- */

static void node_close_handles(struct node *node) {
  uv_handle_t *handles[] = {(uv_handle_t *)&node->prepare,    (uv_handle_t *)&node->idle,
                            (uv_handle_t *)&node->tick,       (uv_handle_t *)&node->second,
                            (uv_handle_t *)&node->signals[0], (uv_handle_t *)&node->signals[1],
                            (uv_handle_t *)&node->signals[2]};
  for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i += 1) {
    uv_close(handles[i], NULL);
  }
  /* libuv has given them back their default by now: being asked again must not end a node that is closing its store. */
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
}

static void node_stop(struct node *node) {
  if (node->phase != NODE_RUNNING) {
    node->stop_ns = 0; /* asked twice: now */
    return;
  }
  log_line(LOG_LEVEL_INFO, "stopping: %" PRIu64 " requests in hand", node->submitted - node->replied);
  node->phase = NODE_STOPPING;
  node->stop_ns = node_now_ns(node) + NODE_STOP_MS * (uint64_t)NS_PER_MS;
  uv_timer_start(&node->second, on_second, 20, 20); /* to notice that time is up */
  server_stop_listening(node->server);
  server_stop_reading(node->server);
}

static void on_signal(uv_signal_t *handle, int number) {
  (void)number;
  node_stop(handle->data);
}

static void node_see_client_off(void *context, struct client *client) {
  (void)context;
  client_close(client);
}

static void node_close_server(struct node *node) {
  if (!node->server_closed) {
    node->server_closed = true;
    server_close(node->server);
  }
}

/* What is in hand is done, or has had its time: on to the next phase of the stop. */
static void node_go_on_stopping(struct node *node) {
  bool late = node_now_ns(node) >= node->stop_ns;
  uint32_t unanswered = disk_stats(node->disk)->unanswered;
  if (node->phase == NODE_STOPPING &&
      (late || (node->submitted == node->replied && unanswered == 0 && server_queued(node->server) == 0))) {
    node->phase = NODE_DRAINING;
    node->stop_ns = node_now_ns(node) + NODE_DRAIN_MS * (uint64_t)NS_PER_MS;
    uv_idle_stop(&node->idle);
    peers_close(node->peers);
    server_each(node->server, node_see_client_off, NULL);
    if (late) {
      node_close_server(node); /* some client does not read what it was told */
    }
  } else if (node->phase == NODE_DRAINING &&
             (late || (unanswered == 0 && (node->server_closed || server_stats(node->server)->connected == 0)))) {
    node->phase = NODE_CLOSING;
    node_close_server(node);
    disk_close(node->disk);
    node_close_handles(node);
  }
}

/* -- the loop ---------------------------------------------------------------------------------- */

static uint32_t node_tick_if_due(struct node *node) {
  if (shard_deadline(node->shard) > node_now_ns(node)) {
    return 0;
  }
  struct event event = {.kind = EVENT_TICK};
  node_event(node, &event);
  return 1;
}

/* It only wakes the loop: node_turn looks at the deadline. */
static void on_tick(uv_timer_t *timer) {
  struct node *node = timer->data;
  node->tick_ns = 0;
}

/* That it runs is enough: the loop does not sleep. */
static void on_idle(uv_idle_t *idle) {
  (void)idle;
}

static void node_arm(struct node *node, bool work_left) {
  uint64_t deadline_ns = shard_deadline(node->shard);
  if (work_left) {
    uv_idle_start(&node->idle, on_idle);
  } else {
    uv_idle_stop(&node->idle);
  }
  if (deadline_ns == node->tick_ns) {
    return;
  }
  node->tick_ns = deadline_ns;
  if (deadline_ns == UINT64_MAX) {
    uv_timer_stop(&node->tick);
    return;
  }
  uint64_t now_ns = node_now_ns(node);
  uint64_t wait_ms = deadline_ns > now_ns ? (deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
  int status = uv_timer_start(&node->tick, on_tick, wait_ms, 0);
  ASSERT(status == 0);
}

static void node_turn(uv_prepare_t *prepare) {
  struct node *node = prepare->data;
  uint32_t work = 1;
  node->delivered_bytes = 0;
  node->clock_fresh = false; /* timers and the end of a long poll want a new reading */
  node->iterations += 1;
  /* 1. Whatever leads to more work in this very iteration. */
  for (uint32_t round = 0; round < NODE_ROUNDS_MAX && work > 0 && node->phase < NODE_DRAINING; round += 1) {
    work = node_deliver(node) + server_run(node->server) + node_tick_if_due(node);
    disk_flush(node->disk);
    work += disk_poll(node->disk);
  }
  /* 2. Out it goes: one commit, one write for each peer, one for each client. */
  if (node->phase < NODE_DRAINING) {
    node_look_at_ring(node);
    node_say_foreigner(node);
    disk_flush(node->disk);
    peers_flush(node->peers);
    server_flush(node->server);
  } else if (node->phase == NODE_DRAINING) {
    disk_flush(node->disk);
    (void)disk_poll(node->disk);
    if (!node->server_closed) {
      server_flush(node->server);
    }
  }
  /* 3. When to wake up. */
  if (node->phase == NODE_STOPPING || node->phase == NODE_DRAINING) {
    node_go_on_stopping(node);
  }
  if (node->phase < NODE_DRAINING) {
    node_arm(node, work > 0 || buffer_size(&node->replies) > 0 || server_has_resumed(node->server));
  }
  node->clock_fresh = false; /* what the poll brings wants a new one */
}

/* -- beginning ------------------------------------------------------------------------------------ */

void node_loop_start(struct node *node) {
  struct store_statistics statistics;
  disk_statistics(node->disk, &statistics);
  node->keys_base = statistics.keys;
  static const int numbers[3] = {SIGTERM, SIGINT, SIGHUP};
  uv_prepare_init(&node->loop, &node->prepare);
  uv_idle_init(&node->loop, &node->idle);
  uv_timer_init(&node->loop, &node->tick);
  uv_timer_init(&node->loop, &node->second);
  node->prepare.data = node;
  node->idle.data = node;
  node->tick.data = node;
  node->second.data = node;
  for (size_t i = 0; i < 3; i += 1) {
    uv_signal_init(&node->loop, &node->signals[i]);
    node->signals[i].data = node;
    uv_signal_start(&node->signals[i], on_signal, numbers[i]);
  }
  uv_prepare_start(&node->prepare, node_turn);
  uv_timer_start(&node->second, on_second, 10, 10);
}
