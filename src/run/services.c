/* What the front asks of the node around it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "os/log.h"
#include "run/node_parts.h"

#define NS_PER_MS 1000000u

_Static_assert(OPTION_TEXT_MAX <= FRONT_CONFIG_TEXT && OPTIONS_WHY <= FRONT_CONFIG_WHY, "what an option says fits");

struct shard_tunables node_tunables(const struct options *options) {
  return (struct shard_tunables){
      .request_timeout_ns = options->request_timeout * NS_PER_MS,
      .hedge_ns = options->hedge * NS_PER_MS,
      .repair_window_ns = options->repair_window * NS_PER_MS,
      .heartbeat_ns = options->heartbeat * NS_PER_MS,
      .gossip_ns = options->gossip * NS_PER_MS,
      .peer_timeout_ns = options->peer_timeout * NS_PER_MS,
      .small_value_bytes = (uint32_t)options->small_value,
      .value_max_bytes = (uint32_t)options->max_value,
      .background = {.bytes_per_s = options->background_rate, .target_ns = options->background_p999_target * NS_PER_MS},
      .hints = options->hints != 0,
      .sync_round_ns = options->sync_round * NS_PER_MS,
      .scrub_round_ns = options->scrub_round * NS_PER_MS,
      .fold_records = HISTORY_FOLD_AT,
  };
}

static void service_submit(void *context, const struct command *command) {
  struct node *node = context;
  struct event event = {.kind = EVENT_COMMAND};
  event.command = command;
  node->submitted += 1;
  node_event(node, &event);
}

static const struct shard *service_shard(void *context) {
  const struct node *node = context;
  return node->shard;
}

void node_statistics(const struct node *node, struct store_statistics *statistics) {
  disk_statistics(node->disk, statistics);
  const struct shard_stats *stats = shard_stats(node->shard);
  uint64_t most = node->keys_base + stats->keys_new;
  statistics->keys = most > stats->keys_gone ? most - stats->keys_gone : 0;
}

static void service_store_statistics(void *context, struct store_statistics *statistics) {
  node_statistics(context, statistics);
}

static uint64_t service_now_ns(void *context) {
  return node_now_ns(context);
}

static uint64_t service_wall_ms(void *context) {
  return node_wall_ms(context);
}

static bool service_config_get(void *context, const char *name, char *text) {
  const struct node *node = context;
  return options_get(node->options, name, text, FRONT_CONFIG_TEXT);
}

static const char *service_config_name(void *context, uint32_t index) {
  (void)context;
  return options_name(index);
}

/* Gives every part what it keeps of the options that may change while it runs. */
static void node_apply_options(struct node *node) {
  const struct options *options = node->options;
  struct shard_tunables tunables = node_tunables(options);
  shard_set_tunables(node->shard, &tunables);
  server_set_limits(node->server, (uint32_t)options->max_clients, options->client_output_limit);
  disk_set_reserve(node->disk, options->disk_reserve);
  front_set_password(node->front, options->requirepass);
  front_set_value_max(node->front, (uint32_t)options->max_value);
}

/* Whole or not at all: what breaks a rule across options is put back as it was. */
static bool service_config_set(void *context, const char *name, const char *value, char *why) {
  struct node *node = context;
  char reason[OPTIONS_WHY] = "";
  char before[OPTION_TEXT_MAX + 1] = "";
  char *password = NULL;
  bool done = false;
  if (!options_get(node->options, name, before, sizeof(before))) {
    snprintf(why, FRONT_CONFIG_WHY, "there is no option '%.64s'; CONFIG GET * lists them", name);
    return false;
  }
  if (!options_is_live(name)) {
    snprintf(why, FRONT_CONFIG_WHY,
             "'%.64s' can not change while the node runs; set it in its configuration file and restart it", name);
    return false;
  }
  if (strcmp(name, "requirepass") == 0) {
    password = strdup(node->options->requirepass); /* a secret can not be read back as text */
    if (password == NULL) {
      snprintf(why, FRONT_CONFIG_WHY, "no memory");
      return false;
    }
  }
  if (options_set(node->options, name, value, reason)) {
    done = options_check(node->options, reason);
    if (!done) {
      char ignored[OPTIONS_WHY];
      bool restored = options_set(node->options, name, password != NULL ? password : before, ignored);
      ASSERT(restored);
    }
  }
  free(password);
  if (done) {
    node_apply_options(node);
    log_line(LOG_LEVEL_INFO, "option %s was changed by a client", name);
  } else {
    snprintf(why, FRONT_CONFIG_WHY, "%s", reason);
  }
  return done;
}

static struct node_facts service_facts(void *context) {
  const struct node *node = context;
  const struct disk_stats *disk = disk_stats(node->disk);
  const struct blob_pool *pool = shard_value_pool(node->shard);
  return (struct node_facts){
      .node = node->directory.node,
      .name = node->name,
      .cluster_name = node->options->cluster_name,
      .engine = node->options->engine,
      .directory = node->options->dir,
      .start_wall_ms = node->start_wall_ms,
      .incarnation = node->incarnation,
      .peers_refused = peers_refused(node->peers),
      .peer_queue_dropped = peers_stats(node->peers)->queue_dropped,
      .commits = disk->commits,
      .commit_batches = disk->batches,
      .loop_iterations = node->iterations,
      .value_memory_used = pool->used_bytes,
      .value_memory_capacity = pool->capacity_bytes,
      .background_bytes_per_s = node->options->background_rate,
      .handed_over = node->empty_told,
  };
}

static struct server *service_server(void *context) {
  const struct node *node = context;
  return node->server;
}

struct front_services node_services(struct node *node) {
  return (struct front_services){
      .context = node,
      .submit = service_submit,
      .shard = service_shard,
      .store_statistics = service_store_statistics,
      .now_ns = service_now_ns,
      .wall_ms = service_wall_ms,
      .config_get = service_config_get,
      .config_set = service_config_set,
      .config_name = service_config_name,
      .facts = service_facts,
      .server = service_server,
  };
}
