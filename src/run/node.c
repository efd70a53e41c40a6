#include "run/node.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "os/log.h"
#include "run/node_parts.h"

#define DESCRIPTORS_BESIDE_CLIENTS 1024u /* peers, the store's files, and some */

/* One line on stderr: what went wrong, and what to do. */
static void node_complain(const struct node *node, const char *why) {
  if (node->name[0] != '\0') {
    fprintf(stderr, "gramme: %s: %s\n", node->name, why);
  } else {
    fprintf(stderr, "gramme: %s\n", why);
  }
}

/* -- starting ------------------------------------------------------------------------------------- */

/* Room for the clients that are wanted; where the system does not give it, as many as it gives. */
static void node_raise_descriptors(struct node *node) {
  struct rlimit limit;
  uint64_t wanted = node->options->max_clients + DESCRIPTORS_BESIDE_CLIENTS;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
    return;
  }
  limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
    return;
  }
  uint64_t clients = limit.rlim_cur > UINT64_C(2) * DESCRIPTORS_BESIDE_CLIENTS
                         ? limit.rlim_cur - DESCRIPTORS_BESIDE_CLIENTS
                         : limit.rlim_cur / 2;
  log_line(LOG_LEVEL_WARN,
           "max-clients is %" PRIu64 ", but this process may open %" PRIu64 " files: %" PRIu64
           " clients are taken; raise ulimit -n (LimitNOFILE) to %" PRIu64,
           node->options->max_clients, (uint64_t)limit.rlim_cur, clients, wanted);
  node->options->max_clients = clients;
}

static bool open_disk(struct node *node, char *why) {
  const struct options *options = node->options;
  const struct store_engine *engine = store_engine_find(options->engine);
  struct store_options store_options = {.disk_reserve_bytes = options->disk_reserve,
                                        .cache_bytes = options->cache,
                                        .write_buffer_bytes = options->write_buffer};
  struct disk_callbacks callbacks = node_disk_callbacks;
  callbacks.context = node;
  if (engine == NULL) {
    snprintf(why, NODE_WHY, "there is no storage engine \"%s\"; set engine to rocksdb or memory", options->engine);
    return false;
  }
  const struct store_engine *other = store_engine_other(engine, options->dir);
  if (other != NULL) { /* what that one keeps would be neither read nor changed, as if it were lost */
    snprintf(why, NODE_WHY, "%.300s was used with the engine \"%s\", not \"%s\"; set engine to it, or use another dir",
             options->dir, other->name, engine->name);
    return false;
  }
  return node_core_start(node, engine, &store_options, why) &&
         disk_open(&node->disk, &node->loop, shard_pool(node->shard), engine, options->dir, &store_options, &callbacks,
                   why) == ERR_OK;
}

static bool open_peers(struct node *node, char *why) {
  struct peers_options options = {.host = node->options->listen,
                                  .port = node_peer_port(node->options),
                                  .node = node->directory.node,
                                  .instance = node->incarnation,
                                  .cluster_name = node->options->cluster_name,
                                  .secret = node->options->secret};
  struct peers_handler handler = node_peers_handler;
  handler.context = node;
  return peers_open(&node->peers, &node->loop, &options, &handler, why) == ERR_OK;
}

static bool open_server(struct node *node, char *why) {
  struct front_services services = node_services(node);
  struct front_options front_options = {.requirepass = node->options->requirepass,
                                        .value_max_bytes = (uint32_t)node->options->max_value};
  struct server_options options = {.host = node->options->listen,
                                   .port = (uint16_t)node->options->port,
                                   .clients_max = (uint32_t)node->options->max_clients,
                                   .output_max_bytes = node->options->client_output_limit,
                                   .full_message =
                                       "-BUSY max number of clients reached: close some, or raise max-clients\r\n"};
  node->front = front_new(&services, &front_options);
  if (node->front == NULL) {
    snprintf(why, NODE_WHY, "no memory for clients");
    return false;
  }
  return server_open(&node->server, &node->loop, &options, front_handler(node->front), why) == ERR_OK;
}

/* All or nothing; what was opened is closed again, and the loop has nothing left to do once it has run. */
static bool node_open(struct node *node) {
  char why[NODE_WHY] = "";
  if (!open_disk(node, why)) {
    goto fail;
  }
  if (!open_server(node, why)) {
    goto fail_disk;
  }
  if (!open_peers(node, why)) {
    goto fail_server;
  }
  node_loop_start(node);
  return true;
fail_server:
  server_close(node->server);
fail_disk:
  disk_close(node->disk);
fail:
  node_complain(node, why);
  return false;
}

static void node_free(struct node *node) {
  if (node->front != NULL) {
    node_drop_replies(node);
    front_free(node->front);
  }
  node_core_free(node);
}

static int node_run_locked(struct node *node) {
  int status = uv_loop_init(&node->loop);
  if (status != 0) {
    node_complain(node, uv_strerror(status));
    return 1;
  }
  node->start_ns = node_now_ns(node);
  node->start_wall_ms = node_wall_ms(node);
  node->clock_fresh = false;
  bool opened = node_open(node);
  if (opened) {
    node->phase = NODE_RUNNING;
    log_line(LOG_LEVEL_INFO, "engine %s in %s, incarnation %016" PRIx64, node->options->engine, node->options->dir,
             node->incarnation);
  }
  uv_run(&node->loop, UV_RUN_DEFAULT);
  status = uv_loop_close(&node->loop);
  ASSERT(status == 0);
  node_free(node);
  if (opened) {
    log_line(LOG_LEVEL_INFO, "stopped");
  }
  return opened ? 0 : 1;
}

int node_run(struct options *options) {
  char why[DIRECTORY_WHY] = "";
  struct node *node = calloc(1, sizeof(*node));
  if (node == NULL) {
    fprintf(stderr, "gramme: no memory\n");
    return 1;
  }
  node->options = options;
  snprintf(node->name, sizeof(node->name), "%s", options->name);
  signal(SIGPIPE, SIG_IGN);
  int exit_code = 1;
  uint32_t wanted = (uint32_t)strtoul(options->node_id, NULL, 16);
  if (directory_open(&node->directory, options->dir, options->cluster_name, wanted, why) != ERR_OK) {
    node_complain(node, why);
  } else {
    if (options->name[0] == '\0') {
      snprintf(node->name, sizeof(node->name), "node-%08" PRIx32, node->directory.node);
    }
    log_set_name(node->name);
    node_raise_descriptors(node);
    exit_code = node_run_locked(node);
    directory_close(&node->directory);
  }
  free(node);
  return exit_code;
}
