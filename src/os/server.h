/* Client connections: a listening socket and the connections that it took, on the node's loop.
 *
 * Bytes that arrive in one loop iteration are handed over as they come; everything written to a client in one
 * iteration leaves in one write at its end (server_flush).
 *
 * Slow readers are bounded thrice. A client with more than half of its output limit unsent is not read, so that one
 * that reads while it sends is merely slowed down; while all clients' buffers together are more than half of
 * memory_max_bytes, one with more than SERVER_SCARCE_BYTES unsent is not read either. If then nothing of it leaves for
 * SERVER_STALL_MS, or its output passes the limit all the same, or all clients' buffers together pass
 * memory_max_bytes and its are the largest, it is closed and counted.
 *
 * An idle client has no buffers: it costs struct client (below 1 KiB) and what the kernel keeps.
 *
 * INVARIANTS: `closed` comes once for each `opened`, from the loop and never from inside another call; a paused
 * client's `data` is not called; nothing is called for a client after its `closed`.
 */
#ifndef GRAMME_OS_SERVER_H
#define GRAMME_OS_SERVER_H

#include <uv.h>

#include "base/bytes.h"
#include "base/err.h"

#define SERVER_STALL_MS 10000u               /* see above */
#define SERVER_MEMORY_MAX_BYTES (256u << 20) /* memory_max_bytes where that is 0 */
#define SERVER_SCARCE_BYTES (64u << 10)      /* see above */
#define SERVER_INPUT_MAX_BYTES (64u << 20)   /* input_max_bytes where that is 0 */
#define SERVER_WHY 256u

struct server;
struct client;

struct server_handler {
  void *context;
  /* A connection was taken; what it returns is kept with the client (client_data). */
  void *(*opened)(void *context, struct client *client);
  /* All unconsumed bytes so far; returns how many were consumed. The rest is shown again with what comes next, or
   * after client_resume. */
  size_t (*data)(void *context, struct client *client, struct bytes bytes);
  /* The connection is gone; the client must not be used after this. */
  void (*closed)(void *context, struct client *client);
  /* How many of its requests are still to be answered. Asked when the client has closed its side: it is then kept
   * until they are (`printf 'GET a\r\n' | nc`). NULL: it is kept only until what is queued has been written. */
  size_t (*unanswered)(void *context, struct client *client);
};

struct server_options {
  const char *host;
  uint16_t port;
  uint32_t clients_max;
  size_t output_max_bytes;  /* unsent bytes of one client */
  size_t input_max_bytes;   /* unconsumed bytes of one client; past it it is closed and counted */
  size_t memory_max_bytes;  /* buffers of all clients; never less than two output limits */
  uint64_t stall_ms;        /* SERVER_STALL_MS where that is 0 */
  const char *full_message; /* written to one client too many before it is closed */
};

struct server_stats {
  uint64_t accepted, connected;
  uint64_t refused;       /* one too many */
  uint64_t closed_output; /* too slow a reader */
  uint64_t closed_input;  /* too large a command */
  uint64_t bytes_in, bytes_out, reads, writes;
  uint64_t memory_bytes; /* buffers of all clients, now */
};

/* Port 0 takes a free one (server_port). On failure `why` (SERVER_WHY bytes) names the address and the remedy. */
enum err server_open(struct server **server, uv_loop_t *loop, const struct server_options *options,
                     const struct server_handler *handler, char *why) MUST_CHECK;
uint16_t server_port(const struct server *server);
/* Calls `data` for clients that were resumed; returns how many. The node calls it at the end of each loop iteration,
 * before the flushes. */
uint32_t server_run(struct server *server);
/* There are some (the flush brings them about, too): the loop must not sleep. */
bool server_has_resumed(const struct server *server);
/* Writes out what clients have queued; the node calls it once at the end of each loop iteration. */
void server_flush(struct server *server);
const struct server_stats *server_stats(struct server *server);
void server_set_limits(struct server *server, uint32_t clients_max, size_t output_max_bytes);
void server_stop_listening(struct server *server);
void server_stop_reading(struct server *server);   /* for a clean stop: no `data` from now on; replies still go out */
size_t server_queued(const struct server *server); /* unsent bytes of all clients */
void server_close(
    struct server *server); /* all connections too, unsent bytes or not; memory is freed once the loop has run */

void *client_data(const struct client *client);
uint64_t client_id(const struct client *client);         /* 1, 2, 3 ... */
const char *client_address(const struct client *client); /* "127.0.0.1:40112" */
/* Appends to the output. False when the client is being closed or has just passed its limit. */
bool client_write(struct client *client, struct bytes bytes);
size_t client_queued(const struct client *client); /* unsent bytes */
void client_pause(struct client *client);
void client_resume(struct client *client); /* `data` is called again, later in this iteration or the next */
void client_close(struct client *client);  /* after what is queued has been written */
/* Walks all clients, oldest first. */
void server_each(struct server *server, void (*each)(void *context, struct client *client), void *context);

#endif
