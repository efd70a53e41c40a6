#include "os/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "os/address.h"
#include "os/stream.h"

#define SERVER_KEEPALIVE_SECONDS 120u

struct client {
  struct stream stream;
  struct server *server;
  void *data;
  uint64_t id;
  struct list all;       /* in server->clients, oldest first */
  struct list resumed;   /* in server->resumed while `data` is to be called again */
  struct list ended;     /* in server->ended once it has closed its side, until all is answered */
  uint64_t stalled_sent; /* stream_sent when it was last seen to make progress, while stalled */
  bool paused;           /* by the front */
  bool stalled;          /* too much unsent */
  char address[ADDRESS_TEXT_BYTES];
};

_Static_assert(sizeof(struct client) < 1024, "an idle client costs less than 1 KiB");

struct server {
  uv_tcp_t listener;
  struct streams streams;
  struct server_options options;
  struct server_handler handler;
  struct server_stats stats;
  struct list clients;
  struct list resumed;
  struct list ended;
  uint64_t last_id;
  uint16_t port;
  bool listening;
  bool quiet; /* server_stop_reading */
  bool closing;
  bool listener_closed;
};

static struct client *client_of(struct stream *stream) {
  return LIST_OWNER(stream, struct client, stream);
}

/* It is read exactly while nothing speaks against it. */
static void client_update_reading(struct client *client) {
  stream_read(&client->stream, !client->paused && !client->stalled && !client->server->quiet);
}

static void client_drop(struct client *client, uint64_t *counter) {
  if (!client->stream.closing) {
    *counter += 1;
    stream_close(&client->stream);
  }
}

static bool client_shows(const struct client *client) {
  return !client->paused && !client->stalled && !client->server->quiet;
}

/* -- slow readers --------------------------------------------------------------- */

/* Without clients that are going already: one that goes must not take others with it. */
static size_t server_held(const struct server *server) {
  return server->streams.memory.bytes - server->streams.leaving_bytes;
}

static size_t server_most(const struct server *server) {
  size_t two_clients = 2 * server->options.output_max_bytes;
  return server->options.memory_max_bytes > two_clients ? server->options.memory_max_bytes : two_clients;
}

/* More than this unsent, and a client is not read: half of what it may have at most, and little while all clients
 * together have much. */
static size_t client_unread(const struct client *client) {
  size_t half = client->server->options.output_max_bytes / 2;
  bool scarce = server_held(client->server) > server_most(client->server) / 2;
  return scarce && half > SERVER_SCARCE_BYTES ? SERVER_SCARCE_BYTES : half;
}

static void client_update_stalled(struct client *client) {
  size_t queued = stream_queued(&client->stream);
  size_t unread = client_unread(client);
  if (!client->stalled && queued > unread) {
    client->stalled = true;
    client->stalled_sent = stream_sent(&client->stream);
    client_update_reading(client);
    stream_watch(&client->stream, client->server->options.stall_ms);
  } else if (client->stalled && queued <= unread / 2) {
    client->stalled = false;
    stream_unwatch(&client->stream);
    client_update_reading(client);
    if (!client->paused && !list_linked(&client->resumed)) {
      list_append(&client->server->resumed, &client->resumed);
    }
  }
}

/* All clients' buffers together are too large: the one with the largest goes. */
static void server_evict(struct server *server) {
  struct client *largest = NULL;
  size_t largest_bytes = 0;
  for (struct list *node = server->clients.next; node != &server->clients; node = node->next) {
    struct client *client = LIST_OWNER(node, struct client, all);
    size_t bytes = client->stream.in.capacity + stream_queued(&client->stream);
    if (!client->stream.closing && bytes > largest_bytes) {
      largest = client;
      largest_bytes = bytes;
    }
  }
  if (largest != NULL) {
    client_drop(largest, &server->stats.closed_output);
  }
}

/* -- what the stream calls -------------------------------------------------------- */

static size_t client_on_data(struct stream *stream, struct bytes bytes) {
  struct client *client = client_of(stream);
  struct server *server = client->server;
  client_update_stalled(client);
  if (!client_shows(client)) {
    return 0;
  }
  size_t used = server->handler.data(server->handler.context, client, bytes);
  if (bytes.size - used > server->options.input_max_bytes) {
    client_drop(client, &server->stats.closed_input);
  } else if (server_held(server) > server_most(server)) {
    server_evict(server);
  }
  return used;
}

static void client_on_ended(struct stream *stream, int status) {
  struct client *client = client_of(stream);
  struct server *server = client->server;
  if (status == UV_EOF) {
    list_append(&server->ended,
                &client->ended); /* it may still read: server_flush sees off what is queued, or to be answered */
    return;
  }
  if (status != UV_ETIMEDOUT) {
    stream_close(stream);
    return;
  }
  if (client->stalled && stream_sent(stream) > client->stalled_sent) {
    client->stalled_sent = stream_sent(stream);
    stream_watch(stream, server->options.stall_ms);
    return;
  }
  client_drop(client, &server->stats.closed_output);
}

static void client_on_drained(struct stream *stream) {
  struct client *client = client_of(stream);
  if (client->stalled) {
    client_update_stalled(client);
  }
}

static void server_free_if_done(struct server *server);

static void client_on_closed(struct stream *stream) {
  struct client *client = client_of(stream);
  struct server *server = client->server;
  list_remove(&client->all);
  list_remove(&client->resumed);
  list_remove(&client->ended);
  server->stats.connected -= 1;
  server->handler.closed(server->handler.context, client);
  free(client);
  server_free_if_done(server);
}

static const struct stream_handler client_handler = {
    .data = client_on_data,
    .ended = client_on_ended,
    .drained = client_on_drained,
    .closed = client_on_closed,
};

/* -- accepting ---------------------------------------------------------------------- */

static void refused_on_closed(uv_handle_t *handle) {
  free(handle);
}

/* One too many: it is told so, if the kernel takes the line at once. */
static void server_refuse(struct server *server) {
  server->stats.refused += 1;
  uv_tcp_t *handle = malloc(sizeof(*handle));
  if (handle == NULL) {
    return;
  }
  int status = uv_tcp_init(server->listener.loop, handle);
  ASSERT(status == 0);
  if (uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)handle) == 0 && server->options.full_message != NULL) {
    char *text = (char *)(uintptr_t)server->options.full_message; /* uv_buf_t has no const */
    uv_buf_t buffer = uv_buf_init(text, (unsigned)strlen(text));
    (void)uv_try_write((uv_stream_t *)handle, &buffer, 1);
  }
  uv_close((uv_handle_t *)handle, refused_on_closed);
}

static void server_on_connection(uv_stream_t *listener, int status) {
  struct server *server = listener->data;
  if (status != 0) {
    server->stats.refused += 1; /* out of file descriptors, most likely */
    return;
  }
  struct client *client = server->stats.connected < server->options.clients_max ? malloc(sizeof(*client)) : NULL;
  if (client == NULL) {
    server_refuse(server);
    return;
  }
  *client = (struct client){.server = server, .id = server->last_id + 1};
  stream_init(&client->stream, &server->streams, &client_handler, 0);
  list_init(&client->all);
  list_init(&client->resumed);
  list_init(&client->ended);
  list_append(&server->clients, &client->all);
  server->last_id += 1;
  server->stats.connected += 1;
  server->stats.accepted += 1;
  struct sockaddr_storage address = {.ss_family = AF_INET};
  int size = sizeof(address);
  bool accepted = uv_accept(listener, (uv_stream_t *)&client->stream.tcp) == 0;
  if (accepted) {
    (void)uv_tcp_getpeername(&client->stream.tcp, (struct sockaddr *)&address, &size);
  }
  address_text((const struct sockaddr *)&address, client->address);
  client->data = server->handler.opened(server->handler.context, client);
  if (accepted) {
    client_update_reading(client);
  } else {
    stream_close(&client->stream);
  }
}

enum err server_open(struct server **out, uv_loop_t *loop, const struct server_options *options,
                     const struct server_handler *handler, char *why) {
  struct server *server = calloc(1, sizeof(*server));
  if (server == NULL || streams_init(&server->streams, loop) != ERR_OK) {
    snprintf(why, SERVER_WHY, "no memory for client connections");
    free(server);
    return ERR_NOMEM;
  }
  server->options = *options;
  server->handler = *handler;
  list_init(&server->clients);
  list_init(&server->resumed);
  list_init(&server->ended);
  if (server->options.input_max_bytes == 0) {
    server->options.input_max_bytes = SERVER_INPUT_MAX_BYTES;
  }
  if (server->options.memory_max_bytes == 0) {
    server->options.memory_max_bytes = SERVER_MEMORY_MAX_BYTES;
  }
  if (server->options.stall_ms == 0) {
    server->options.stall_ms = SERVER_STALL_MS;
  }
  int status = uv_tcp_init(loop, &server->listener);
  ASSERT(status == 0);
  server->listener.data = server;
  server->listening = true;
  int fd = -1;
  enum err err = address_bind(options->host, options->port, "port", &fd, &server->port, why);
  if (err != ERR_OK) {
    server_close(server);
    return err;
  }
  address_tune(fd, SERVER_KEEPALIVE_SECONDS, false); /* taken connections inherit it */
  status = uv_tcp_open(&server->listener, fd);
  ASSERT(status == 0);
  status = uv_listen((uv_stream_t *)&server->listener, ADDRESS_BACKLOG, server_on_connection);
  if (status != 0) {
    snprintf(why, SERVER_WHY, "can not listen on %s:%u: %s", options->host, options->port, uv_strerror(status));
    server_close(server);
    return ERR_IO;
  }
  *out = server;
  return ERR_OK;
}

/* -- the iteration's end -------------------------------------------------------------- */

uint32_t server_run(struct server *server) {
  struct list now;
  uint32_t count = 0;
  list_init(&now);
  while (list_linked(&server->resumed)) {
    struct list *node = server->resumed.next;
    list_remove(node);
    list_append(&now, node);
  }
  while (list_linked(&now)) {
    struct client *client = LIST_OWNER(now.next, struct client, resumed);
    list_remove(&client->resumed);
    client_update_stalled(client);
    if (client_shows(client) && buffer_size(&client->stream.in) > 0) {
      stream_show(&client->stream);
      count += 1;
    }
  }
  return count;
}

bool server_has_resumed(const struct server *server) {
  return list_linked(&server->resumed);
}

/* Clients that have closed their side go when nothing is left to be told to them. One that is paused or stalled has
 * requests among its unconsumed bytes that nobody has looked at yet. */
static void server_see_off(struct server *server) {
  const struct server_handler *handler = &server->handler;
  for (struct list *node = server->ended.next, *next; node != &server->ended; node = next) {
    next = node->next;
    struct client *client = LIST_OWNER(node, struct client, ended);
    bool waits = !client->stream.closing && (!client_shows(client) || list_linked(&client->resumed));
    if (!waits && (handler->unanswered == NULL || handler->unanswered(handler->context, client) == 0)) {
      list_remove(node);
      stream_finish(&client->stream);
    }
  }
}

void server_flush(struct server *server) {
  if (list_linked(&server->ended)) {
    server_see_off(server);
  }
  streams_flush(&server->streams);
}

const struct server_stats *server_stats(struct server *server) {
  server->stats.bytes_in = server->streams.bytes_in;
  server->stats.bytes_out = server->streams.bytes_out;
  server->stats.reads = server->streams.reads;
  server->stats.writes = server->streams.writes;
  server->stats.memory_bytes = server_held(server);
  return &server->stats;
}

uint16_t server_port(const struct server *server) {
  return server->port;
}

void server_set_limits(struct server *server, uint32_t clients_max, size_t output_max_bytes) {
  server->options.clients_max = clients_max;
  server->options.output_max_bytes = output_max_bytes;
}

size_t server_queued(const struct server *server) {
  size_t queued = 0;
  for (struct list *node = server->clients.next; node != &server->clients; node = node->next) {
    const struct client *client = LIST_OWNER(node, struct client, all);
    queued += client->stream.closing ? 0 : stream_queued(&client->stream);
  }
  return queued;
}

/* -- the end ------------------------------------------------------------------------------ */

static void server_on_freed(uv_handle_t *timer) {
  free(LIST_OWNER(timer, struct server, streams.timer));
}

static void server_free_if_done(struct server *server) {
  if (server->closing && server->listener_closed && !list_linked(&server->clients)) {
    streams_deinit(&server->streams, server_on_freed);
  }
}

static void server_on_listener_closed(uv_handle_t *handle) {
  struct server *server = handle->data;
  server->listener_closed = true;
  server_free_if_done(server);
}

void server_stop_listening(struct server *server) {
  if (server->listening) {
    server->listening = false;
    uv_close((uv_handle_t *)&server->listener, server_on_listener_closed);
  }
}

void server_stop_reading(struct server *server) {
  server->quiet = true;
  for (struct list *node = server->clients.next; node != &server->clients; node = node->next) {
    client_update_reading(LIST_OWNER(node, struct client, all));
  }
}

void server_close(struct server *server) {
  ASSERT(!server->closing);
  server->closing = true;
  for (struct list *node = server->clients.next; node != &server->clients; node = node->next) {
    stream_close(&LIST_OWNER(node, struct client, all)->stream);
  }
  if (server->listener_closed) {
    server_free_if_done(server);
  } else {
    server_stop_listening(server);
  }
}

/* -- clients --------------------------------------------------------------------------------- */

void *client_data(const struct client *client) {
  return client->data;
}

uint64_t client_id(const struct client *client) {
  return client->id;
}

const char *client_address(const struct client *client) {
  return client->address;
}

bool client_write(struct client *client, struct bytes bytes) {
  struct server *server = client->server;
  if (client->stream.closing || client->stream.finishing) {
    return false;
  }
  if (stream_queued(&client->stream) + bytes.size > server->options.output_max_bytes) {
    client_drop(client, &server->stats.closed_output);
    return false;
  }
  if (!stream_write(&client->stream, bytes)) {
    stream_close(&client->stream);
    return false;
  }
  client_update_stalled(client);
  if (server_held(server) > server_most(server)) {
    server_evict(server);
  }
  return !client->stream.closing;
}

size_t client_queued(const struct client *client) {
  return stream_queued(&client->stream);
}

void client_pause(struct client *client) {
  client->paused = true;
  client_update_reading(client);
}

void client_resume(struct client *client) {
  if (!client->paused) {
    return;
  }
  client->paused = false;
  client_update_reading(client);
  if (!list_linked(&client->resumed)) {
    list_append(&client->server->resumed, &client->resumed);
  }
}

void client_close(struct client *client) {
  stream_finish(&client->stream);
}

void server_each(struct server *server, void (*each)(void *context, struct client *client), void *context) {
  for (struct list *node = server->clients.next, *next; node != &server->clients; node = next) {
    next = node->next;
    struct client *client = LIST_OWNER(node, struct client, all);
    if (!client->stream.closing) {
      each(context, client);
    }
  }
}
