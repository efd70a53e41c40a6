/* The RESP front: what stands between client connections and the core.
 *
 * It parses commands (RESP2, RESP3, inline), answers those that need no data itself, turns the others into core
 * commands, and writes replies in the order of the requests.
 */
#ifndef GRAMME_FRONT_FRONT_H
#define GRAMME_FRONT_FRONT_H

#include "os/server.h"
#include "shard/shard.h"
#include "store/store.h"

#define FRONT_CONFIG_TEXT 4096u
#define FRONT_CONFIG_WHY 512u

struct front;

/* What the front asks of the node around it. */
struct front_services {
  void *context;
  /* Hands a command to the core. The reply comes through front_reply, never from inside this call. The command is
   * borrowed. */
  void (*submit)(void *context, const struct command *command);
  const struct shard *(*shard)(void *context);
  void (*store_statistics)(void *context, struct store_statistics *statistics);
  uint64_t (*now_ns)(void *context); /* monotonic, of this loop iteration */
  uint64_t (*wall_ms)(void *context);
  /* CONFIG: options as text. get: value into `text` (FRONT_CONFIG_TEXT bytes), false when unknown; a password reads ""
   * or "****". set: on failure `why` (FRONT_CONFIG_WHY bytes) says it. */
  bool (*config_get)(void *context, const char *name, char *text);
  bool (*config_set)(void *context, const char *name, const char *value, char *why);
  const char *(*config_name)(void *context, uint32_t index); /* NULL past the last */
  /* Facts for INFO and STATUS that the node's transport knows. */
  struct node_facts {
    uint32_t node;
    const char *name;
    const char *cluster_name;
    const char *engine;
    const char *directory;
    uint64_t start_wall_ms;
    uint64_t incarnation;
    uint64_t peers_refused;      /* handshakes of foreign, older or unproven peers */
    uint64_t peer_queue_dropped; /* messages dropped because a peer's queue was full */
    uint64_t commits, commit_batches, loop_iterations;
    uint64_t value_memory_used, value_memory_capacity;
    uint64_t background_bytes_per_s; /* option background-rate */
    bool handed_over;                /* it was removed, and nothing is left here that others need */
  } (*facts)(void *context);
  struct server *(*server)(void *context);
};

struct front_options {
  const char *requirepass; /* "" none; at most 256 bytes; may be changed by front_set_password */
  uint32_t value_max_bytes;
};

struct front *front_new(const struct front_services *services, const struct front_options *options);
void front_free(struct front *front);
const struct server_handler *front_handler(struct front *front);
void front_reply(struct front *front, const struct reply *reply); /* borrowed */
void front_set_password(struct front *front, const char *password);
void front_set_value_max(struct front *front, uint32_t bytes);
void front_second(struct front *front); /* once a second: looks at how fast partitions move */

#endif
