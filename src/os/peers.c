#include "os/peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/prng.h"
#include "os/address.h"
#include "os/log.h"
#include "os/stream.h"

#define NODE_SLOTS (PEERS_NODES_MAX * 2u)

/* One address that we dial. */
struct target {
  struct peers *peers;
  struct peer_address address;
  struct list all;
  struct link *link; /* NULL: none, or it is being looked up */
  uv_getaddrinfo_t lookup;
  uint64_t next_ms; /* of the next dial */
  uint32_t backoff_ms;
  bool looking;
  bool wanted;     /* still in the book, while peers_set_addresses compares */
  bool complained; /* logged since it was last reached */
};

/* One connection. */
struct link {
  struct stream stream;
  struct peers *peers;
  struct target *target; /* NULL: accepted, or detached */
  struct list all;
  struct list of_node; /* in peer_node.links once proved */
  struct handshake handshake;
  uint32_t node; /* 0 until proved */
  bool detached; /* counts no more; only its last bytes are under way */
  char address[ADDRESS_TEXT_BYTES + HOST_MAX_BYTES];
};

/* One node that has proved itself. */
struct peer_node {
  uint32_t node;     /* 0: free */
  struct list links; /* oldest first */
  struct link *best; /* where messages go */
};

struct peers {
  uv_tcp_t listener;
  uv_timer_t timer; /* the next dial */
  struct streams streams;
  struct handshake_identity identity;
  struct peers_handler handler;
  struct peers_stats stats;
  size_t queue_max_bytes;
  uint64_t handshake_ms;
  uint64_t linger_ms;
  struct list links;
  struct list targets;
  struct list dead_targets; /* no longer wanted, but still being looked up */
  struct peer_node nodes[PEERS_NODES_MAX];
  struct map node_map; /* node id -> index into nodes */
  struct map_slot node_slots[NODE_SLOTS];
  struct log_limit refusal_limits[REFUSAL_COUNT];
  struct log_limit frame_limit;
  struct prng prng;
  uint32_t unproven; /* accepted ones that have not proved themselves */
  uint32_t handles;  /* listener and timer, until closed */
  uint16_t port;
  bool closing;
};

static const struct stream_handler link_handler;

static void peers_arm(struct peers *peers);

static uint64_t peers_now_ms(const struct peers *peers) {
  return uv_now(peers->listener.loop);
}

static struct link *link_of(struct stream *stream) {
  return LIST_OWNER(stream, struct link, stream);
}

/* -- nodes ------------------------------------------------------------------------ */

static struct peer_node *node_find(const struct peers *peers, uint32_t node) {
  uint32_t index = 0;
  ASSERT(peers != NULL);
  if (!map_find(&peers->node_map, node, &index)) {
    return NULL;
  }
  return (struct peer_node *)(uintptr_t)&peers->nodes[index];
}

static struct peer_node *node_take(struct peers *peers, uint32_t node) {
  struct peer_node *found = node_find(peers, node);
  for (uint32_t i = 0; i < PEERS_NODES_MAX && found == NULL; i += 1) {
    if (peers->nodes[i].node == 0) {
      found = &peers->nodes[i];
      found->node = node;
      found->best = NULL;
      list_init(&found->links);
      map_insert(&peers->node_map, node, i);
    }
  }
  return found;
}

/* The newest that we dialled, else the newest that it dialled. */
static void node_choose(struct peer_node *node) {
  node->best = NULL;
  for (struct list *item = node->links.next; item != &node->links; item = item->next) {
    struct link *link = LIST_OWNER(item, struct link, of_node);
    if (node->best == NULL || link->target != NULL || node->best->target == NULL) {
      node->best = link;
    }
  }
}

/* -- hanging up --------------------------------------------------------------------- */

static void target_retry(struct target *target, uint32_t backoff_ms) {
  struct peers *peers = target->peers;
  uint64_t jitter = prng_below(&peers->prng, backoff_ms / 2 + 1);
  target->next_ms = peers_now_ms(peers) + backoff_ms - jitter;
  target->backoff_ms = target->backoff_ms * 2 < PEERS_BACKOFF_MAX_MS ? target->backoff_ms * 2 : PEERS_BACKOFF_MAX_MS;
  peers_arm(peers);
}

static void target_failed(struct target *target, const char *why) {
  target->peers->stats.dials_failed += 1;
  if (!target->complained) {
    target->complained = true;
    log_line(LOG_LEVEL_WARN, "can not reach %s:%u (%s): trying again until it answers", target->address.host,
             target->address.port, why);
  }
}

/* Takes the connection out of all accounts; its last bytes may still be under way. */
static void link_detach(struct link *link, uint32_t backoff_ms) {
  struct peers *peers = link->peers;
  if (link->detached) {
    return;
  }
  link->detached = true;
  if (link->target != NULL) {
    link->target->link = NULL;
    target_retry(link->target, backoff_ms > 0 ? backoff_ms : link->target->backoff_ms);
    link->target = NULL; /* which may go before the last bytes do */
  } else if (link->node == 0) {
    ASSERT(peers->unproven > 0);
    peers->unproven -= 1;
  }
  if (link->node == 0) {
    return;
  }
  struct peer_node *node = node_find(peers, link->node);
  ASSERT(node != NULL);
  list_remove(&link->of_node);
  node_choose(node);
  if (!list_linked(&node->links)) {
    uint32_t id = node->node;
    node->node = 0;
    bool removed = map_remove(&peers->node_map, id);
    ASSERT(removed);
    peers->stats.connected -= 1;
    if (!peers->closing) {
      peers->handler.down(peers->handler.context, id);
    }
  }
}

/* One line in the log, unless there was one of the kind just now. */
static void link_log_refusal(struct link *link, enum refusal refusal) {
  struct peers *peers = link->peers;
  const struct handshake *other = &link->handshake;
  uint64_t withheld = 0;
  char more[48] = "";
  char said[192] = "";
  if (!log_limit_pass(&peers->refusal_limits[refusal], peers_now_ms(peers), &withheld)) {
    return;
  }
  if (withheld > 0) {
    snprintf(more, sizeof(more), " (and %" PRIu64 " more like it)", withheld);
  }
  if (refusal == REFUSAL_TOLD) {
    snprintf(said, sizeof(said), ", with the words \"%s\"", refusal_text(other->told));
  } else if (refusal == REFUSAL_CLUSTER) {
    snprintf(said, sizeof(said), " (its: %s, ours: %s)", other->cluster_name, other->own->cluster_name);
  } else if (refusal == REFUSAL_OLDER || refusal == REFUSAL_NEWER) {
    snprintf(said, sizeof(said), " (its: %u, ours: %u)", other->version, other->own->version);
  }
  log_line(LOG_LEVEL_WARN, "refused the connection %s %s: %s%s%s", link->target != NULL ? "to" : "from", link->address,
           refusal_text(refusal), said, more);
}

static void link_refuse(struct link *link, enum refusal refusal) {
  bool told_self =
      refusal == REFUSAL_TOLD && link->handshake.told == REFUSAL_SELF; /* by our own other end, which has logged it */
  link->peers->stats.refused[refusal] += 1;
  if (!told_self) {
    link_log_refusal(link, refusal);
  }
  link_detach(link, told_self ? PEERS_BACKOFF_SELF_MS : PEERS_BACKOFF_MAX_MS);
}

/* -- becoming ready ---------------------------------------------------------------- */

/* One older connection that the same node dialled is what it left behind when it stopped. */
static void node_drop_older(struct peer_node *node, const struct link *newest) {
  for (struct list *item = node->links.next, *next; item != &node->links; item = next) {
    next = item->next;
    struct link *link = LIST_OWNER(item, struct link, of_node);
    if (link != newest && link->target == NULL && newest->target == NULL) {
      link_detach(link, 0);
      stream_close(&link->stream);
    }
  }
}

static bool link_prove(struct link *link) {
  struct peers *peers = link->peers;
  uint32_t id = link->handshake.node;
  if (link->target != NULL && link->target->address.node != 0 && link->target->address.node != id) {
    link_refuse(link, REFUSAL_OTHER);
    return false;
  }
  struct peer_node *node = node_take(peers, id);
  if (node == NULL) {
    link_refuse(link, REFUSAL_CROWDED);
    return false;
  }
  bool first = !list_linked(&node->links);
  link->node = id;
  list_append(&node->links, &link->of_node);
  stream_unwatch(&link->stream);
  if (link->target != NULL) {
    link->target->backoff_ms = PEERS_BACKOFF_MIN_MS;
    link->target->complained = false;
  } else {
    peers->unproven -= 1;
  }
  node_choose(node);
  node_drop_older(node, link);
  if (first) {
    peers->stats.connected += 1;
    peers->handler.up(peers->handler.context, id);
  }
  return true;
}

/* -- bytes that come in -------------------------------------------------------------- */

static void link_bad_frame(struct link *link) {
  struct peers *peers = link->peers;
  uint64_t withheld = 0;
  peers->stats.frames_bad += 1;
  if (log_limit_pass(&peers->frame_limit, peers_now_ms(peers), &withheld)) {
    log_line(LOG_LEVEL_WARN,
             "a damaged frame from node %08" PRIx32 " at %s: the connection is closed (and %" PRIu64 " before)",
             link->node, link->address, withheld);
  }
  link_detach(link, 0);
  stream_close(&link->stream);
}

static size_t link_take_frames(struct link *link, struct bytes bytes) {
  struct peers *peers = link->peers;
  size_t offset = 0;
  while (!link->detached && bytes.size - offset >= FRAME_HEADER_BYTES) {
    struct message message;
    size_t body = 0;
    if (message_frame_body((struct bytes){bytes.data + offset, FRAME_HEADER_BYTES}, &body) != ERR_OK) {
      link_bad_frame(link);
      break;
    }
    if (bytes.size - offset - FRAME_HEADER_BYTES < body) {
      break;
    }
    struct bytes frame = {bytes.data + offset, FRAME_HEADER_BYTES + body};
    offset += frame.size;
    enum err err = message_decode(frame, &message);
    if (err == ERR_OK) {
      peers->stats.messages_in += 1;
      peers->handler.message(peers->handler.context, link->node, &message);
    } else if (err == ERR_RETRY) {
      peers->stats.frames_unknown += 1;
    } else {
      link_bad_frame(link);
    }
  }
  return link->detached ? bytes.size : offset;
}

/* One record of the handshake. False when it can go no further now. */
static bool link_take_record(struct link *link, struct bytes bytes, size_t *used) {
  uint8_t room[HANDSHAKE_OUT_BYTES];
  struct writer out = writer_make(room, sizeof(room));
  enum handshake_stage before = link->handshake.stage;
  enum handshake_stage stage = handshake_take(&link->handshake, bytes, used, &out);
  if (out.size > 0 && !stream_write(&link->stream, writer_bytes(&out))) {
    link_detach(link, 0);
    stream_close(&link->stream);
    return false;
  }
  if (stage == HANDSHAKE_REFUSED) {
    link_refuse(link, link->handshake.refusal);
    stream_finish(&link->stream);
    return false;
  }
  if (stage == HANDSHAKE_DONE && !link_prove(link)) {
    stream_finish(&link->stream);
    return false;
  }
  return stage != before;
}

static size_t link_on_data(struct stream *stream, struct bytes bytes) {
  struct link *link = link_of(stream);
  size_t offset = 0;
  while (link->node == 0) {
    size_t used = 0;
    if (link->detached) {
      return bytes.size;
    }
    bool further = link_take_record(link, (struct bytes){bytes.data + offset, bytes.size - offset}, &used);
    offset += used;
    if (!further) {
      return link->detached ? bytes.size : offset;
    }
  }
  return offset + link_take_frames(link, (struct bytes){bytes.data + offset, bytes.size - offset});
}

static void link_on_ended(struct stream *stream, int status) {
  struct link *link = link_of(stream);
  if (!link->detached && link->node == 0 && status == UV_ETIMEDOUT) {
    if (link->handshake.stage == HANDSHAKE_IDLE) {
      target_failed(link->target, uv_strerror(status));
    } else {
      link_refuse(link, REFUSAL_TIMEOUT);
    }
  }
  link_detach(link, 0);
  stream_close(stream);
}

static void peers_free_if_done(struct peers *peers);

static void link_on_closed(struct stream *stream) {
  struct link *link = link_of(stream);
  struct peers *peers = link->peers;
  list_remove(&link->all);
  free(link);
  peers_free_if_done(peers);
}

static const struct stream_handler link_handler = {
    .data = link_on_data,
    .ended = link_on_ended,
    .drained = NULL,
    .closed = link_on_closed,
};

/* -- new connections -------------------------------------------------------------------- */

static struct link *link_new(struct peers *peers, struct target *target) {
  uint8_t nonce[HANDSHAKE_NONCE_BYTES];
  struct link *link = malloc(sizeof(*link));
  if (link == NULL || uv_random(NULL, NULL, nonce, sizeof(nonce), 0, NULL) != 0) {
    free(link);
    return NULL;
  }
  *link = (struct link){.peers = peers, .target = target};
  stream_init(&link->stream, &peers->streams, &link_handler, PEERS_KEEP_BYTES);
  list_init(&link->of_node);
  list_init(&link->all);
  list_append(&peers->links, &link->all);
  handshake_init(&link->handshake, &peers->identity, target != NULL, nonce);
  stream_watch(&link->stream, peers->handshake_ms);
  if (target == NULL) {
    peers->unproven += 1;
  } else {
    target->link = link;
  }
  return link;
}

static void peers_on_connection(uv_stream_t *listener, int status) {
  struct peers *peers = listener->data;
  struct link *link = status == 0 ? link_new(peers, NULL) : NULL;
  if (link == NULL) {
    return; /* libuv keeps it in the backlog, or has closed it for want of descriptors */
  }
  struct sockaddr_storage address = {.ss_family = AF_INET};
  int size = sizeof(address);
  if (uv_accept(listener, (uv_stream_t *)&link->stream.tcp) != 0) {
    link_detach(link, 0);
    stream_close(&link->stream);
    return;
  }
  peers->stats.accepted += 1;
  (void)uv_tcp_getpeername(&link->stream.tcp, (struct sockaddr *)&address, &size);
  address_text((const struct sockaddr *)&address, link->address);
  if (peers->unproven > PEERS_UNPROVEN_MAX) {
    link_refuse(link, REFUSAL_CROWDED);
    stream_close(&link->stream);
    return;
  }
  stream_read(&link->stream, true);
}

static void link_on_connect(uv_connect_t *request, int status) {
  struct link *link = request->data;
  free(request);
  if (link->stream.closing || link->detached) {
    return;
  }
  if (status != 0) {
    target_failed(link->target, uv_strerror(status));
    link_detach(link, 0);
    stream_close(&link->stream);
    return;
  }
  uint8_t room[HANDSHAKE_OUT_BYTES];
  struct writer out = writer_make(room, sizeof(room));
  handshake_start(&link->handshake, &out);
  (void)stream_write(&link->stream, writer_bytes(&out)); /* when memory is short the handshake runs out of time */
  stream_read(&link->stream, true);
}

static void target_connect(struct target *target, const struct sockaddr *address) {
  struct peers *peers = target->peers;
  uv_connect_t *request = malloc(sizeof(*request));
  struct link *link = request == NULL ? NULL : link_new(peers, target);
  if (link == NULL) {
    free(request);
    target_retry(target, target->backoff_ms);
    return;
  }
  snprintf(link->address, sizeof(link->address), "%s:%u", target->address.host, target->address.port);
  request->data = link;
  peers->stats.dials += 1;
  int status = uv_tcp_connect(request, &link->stream.tcp, address, link_on_connect);
  uv_os_fd_t fd;
  if (status != 0) {
    free(request);
    target_failed(target, uv_strerror(status));
    link_detach(link, 0);
    stream_close(&link->stream);
  } else if (uv_fileno((const uv_handle_t *)&link->stream.tcp, &fd) == 0) {
    address_tune(fd, PEERS_SILENCE_SECONDS, true);
  }
}

static void target_free(struct target *target) {
  list_remove(&target->all);
  free(target);
}

static void target_on_lookup(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found) {
  struct target *target = lookup->data;
  struct peers *peers = target->peers;
  target->looking = false;
  if (!target->wanted) {
    target_free(target);
    peers_free_if_done(peers);
  } else if (status != 0) {
    target_failed(target, uv_strerror(status));
    target_retry(target, target->backoff_ms);
  } else {
    target_connect(target, found->ai_addr);
  }
  uv_freeaddrinfo(found);
}

static void target_dial(struct target *target) {
  struct peers *peers = target->peers;
  struct sockaddr_storage address;
  if (address_parse(target->address.host, target->address.port, &address)) {
    target_connect(target, (const struct sockaddr *)&address);
    return;
  }
  char service[8];
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  snprintf(service, sizeof(service), "%u", target->address.port);
  target->lookup.data = target;
  int status =
      uv_getaddrinfo(peers->listener.loop, &target->lookup, target_on_lookup, target->address.host, service, &hints);
  if (status == 0) {
    target->looking = true;
  } else {
    target_failed(target, uv_strerror(status));
    target_retry(target, target->backoff_ms);
  }
}

static void peers_on_timer(uv_timer_t *timer) {
  struct peers *peers = timer->data;
  uint64_t now_ms = peers_now_ms(peers);
  for (struct list *item = peers->targets.next, *next; item != &peers->targets; item = next) {
    next = item->next;
    struct target *target = LIST_OWNER(item, struct target, all);
    if (target->link == NULL && !target->looking && target->next_ms <= now_ms) {
      target_dial(target);
    }
  }
  peers_arm(peers);
}

/* Sets the timer to the earliest dial. */
static void peers_arm(struct peers *peers) {
  uint64_t next_ms = UINT64_MAX;
  for (struct list *item = peers->targets.next; item != &peers->targets; item = item->next) {
    const struct target *target = LIST_OWNER(item, struct target, all);
    /* The analyser does not see that a freed target has left the list. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    if (target->link == NULL && !target->looking && target->next_ms < next_ms) {
      next_ms = target->next_ms;
    }
  }
  if (peers->closing) {
    return;
  }
  if (next_ms == UINT64_MAX) {
    uv_timer_stop(&peers->timer);
    return;
  }
  uint64_t now_ms = peers_now_ms(peers);
  int status = uv_timer_start(&peers->timer, peers_on_timer, next_ms > now_ms ? next_ms - now_ms : 0, 0);
  ASSERT(status == 0);
}

/* -- the book of addresses ------------------------------------------------------------------ */

/* A seed that turns out to be a member keeps its connection: its target takes the member's id. */
static struct target *target_find(struct peers *peers, const struct peer_address *address) {
  for (struct list *item = peers->targets.next; item != &peers->targets; item = item->next) {
    struct target *target = LIST_OWNER(item, struct target, all);
    const struct peer_address *own = &target->address;
    bool same_place = own->port == address->port && strcmp(own->host, address->host) == 0;
    bool same_node =
        own->node == address->node ||
        (own->node == 0 && (target->link == NULL || target->link->node == 0 || target->link->node == address->node));
    if (same_place && same_node && !target->wanted) {
      return target;
    }
  }
  return NULL;
}

static void target_add(struct peers *peers, const struct peer_address *address) {
  struct target *target = calloc(1, sizeof(*target));
  if (target == NULL) {
    return; /* asked for again when the ring changes; the peer dials us meanwhile */
  }
  target->peers = peers;
  target->address = *address;
  target->backoff_ms = PEERS_BACKOFF_MIN_MS;
  target->next_ms = peers_now_ms(peers);
  target->wanted = true;
  list_init(&target->all);
  list_append(&peers->targets, &target->all);
}

/* Its connection, when proved, lingers for a while: there may be answers on it. */
static void target_drop(struct target *target) {
  struct peers *peers = target->peers;
  struct link *link = target->link;
  if (link != NULL && link->node != 0) {
    link->target = NULL;
    target->link = NULL;
    node_choose(node_find(peers, link->node));
    stream_watch(&link->stream, peers->linger_ms);
  } else if (link != NULL) {
    link_detach(link, 0);
    stream_close(&link->stream);
  }
  if (target->looking) {
    list_remove(&target->all);
    list_append(&peers->dead_targets, &target->all);
    target->wanted = false;
    (void)uv_cancel((uv_req_t *)&target->lookup); /* it calls back either way */
  } else {
    target_free(target);
  }
}

void peers_set_addresses(struct peers *peers, const struct peer_address *addresses, uint32_t count) {
  for (struct list *item = peers->targets.next; item != &peers->targets; item = item->next) {
    LIST_OWNER(item, struct target, all)->wanted = false;
  }
  for (uint32_t i = 0; i < count; i += 1) {
    ASSERT(addresses[i].node != peers->identity.node);
    struct target *target = target_find(peers, &addresses[i]);
    if (target != NULL) {
      target->address.node = addresses[i].node;
      target->wanted = true;
    } else {
      target_add(peers, &addresses[i]);
    }
  }
  for (struct list *item = peers->targets.next, *next; item != &peers->targets; item = next) {
    next = item->next;
    struct target *target = LIST_OWNER(item, struct target, all);
    if (!target->wanted) {
      target_drop(target);
    }
  }
  peers_arm(peers);
}

/* -- sending ------------------------------------------------------------------------------------ */

void peers_send(struct peers *peers, uint32_t to, const struct message *message) {
  const struct peer_node *node = node_find(peers, to);
  if (node == NULL) {
    peers->stats.unreachable += 1;
    return;
  }
  ASSERT(node->best != NULL);
  struct stream *stream = &node->best->stream;
  size_t size = message_frame_size(message);
  uint8_t *room = NULL;
  if (stream_queued(stream) + size <= peers->queue_max_bytes) {
    room = stream_reserve(stream, size);
  }
  if (room == NULL) {
    peers->stats.queue_dropped += 1;
    return;
  }
  struct writer w = writer_make(room, size);
  message_encode(message, &w);
  ASSERT(!w.failed && w.size == size);
  stream_commit(stream, size);
  peers->stats.messages_out += 1;
}

void peers_flush(struct peers *peers) {
  streams_flush(&peers->streams);
}

bool peers_is_up(const struct peers *peers, uint32_t node) {
  return node_find(peers, node) != NULL;
}

const struct peers_stats *peers_stats(struct peers *peers) {
  peers->stats.bytes_in = peers->streams.bytes_in;
  peers->stats.bytes_out = peers->streams.bytes_out;
  peers->stats.reads = peers->streams.reads;
  peers->stats.writes = peers->streams.writes;
  return &peers->stats;
}

uint64_t peers_refused(const struct peers *peers) {
  uint64_t refused = 0;
  for (uint32_t i = 0; i < REFUSAL_COUNT; i += 1) {
    refused += i == REFUSAL_TOLD ? 0 : peers->stats.refused[i];
  }
  return refused;
}

uint16_t peers_port(const struct peers *peers) {
  return peers->port;
}

/* -- beginning and end ------------------------------------------------------------------------------ */

enum err peers_open(struct peers **out, uv_loop_t *loop, const struct peers_options *options,
                    const struct peers_handler *handler, char *why) {
  struct peers *peers = calloc(1, sizeof(*peers));
  uint64_t seed = 0;
  if (peers == NULL || uv_random(NULL, NULL, &seed, sizeof(seed), 0, NULL) != 0 ||
      streams_init(&peers->streams, loop) != ERR_OK) {
    snprintf(why, PEERS_WHY, "no memory for connections between nodes");
    free(peers);
    return ERR_NOMEM;
  }
  peers->identity = (struct handshake_identity){
      .node = options->node,
      .instance = options->instance,
      .version = options->version != 0 ? options->version : (uint16_t)HANDSHAKE_VERSION,
      .cluster_name = options->cluster_name,
      .secret = options->secret,
  };
  peers->handler = *handler;
  peers->queue_max_bytes = options->queue_max_bytes != 0 ? options->queue_max_bytes : PEER_QUEUE_MAX_BYTES;
  peers->handshake_ms = options->handshake_ms != 0 ? options->handshake_ms : PEERS_HANDSHAKE_MS;
  peers->linger_ms = options->linger_ms != 0 ? options->linger_ms : PEERS_LINGER_MS;
  prng_init(&peers->prng, seed);
  map_init(&peers->node_map, peers->node_slots, NODE_SLOTS);
  list_init(&peers->links);
  list_init(&peers->targets);
  list_init(&peers->dead_targets);
  int status = uv_tcp_init(loop, &peers->listener);
  ASSERT(status == 0);
  status = uv_timer_init(loop, &peers->timer);
  ASSERT(status == 0);
  peers->listener.data = peers;
  peers->timer.data = peers;
  peers->handles = 2;
  int fd = -1;
  enum err err = address_bind(options->host, options->port, "peer-port", &fd, &peers->port, why);
  if (err != ERR_OK) {
    peers_close(peers);
    return err;
  }
  address_tune(fd, PEERS_SILENCE_SECONDS, true); /* taken connections inherit it */
  status = uv_tcp_open(&peers->listener, fd);
  ASSERT(status == 0);
  status = uv_listen((uv_stream_t *)&peers->listener, ADDRESS_BACKLOG, peers_on_connection);
  if (status != 0) {
    snprintf(why, PEERS_WHY, "can not listen on %s:%u: %s", options->host, options->port, uv_strerror(status));
    peers_close(peers);
    return ERR_IO;
  }
  *out = peers;
  return ERR_OK;
}

static void peers_on_freed(uv_handle_t *timer) {
  free(LIST_OWNER(timer, struct peers, streams.timer));
}

static void peers_free_if_done(struct peers *peers) {
  if (peers->closing && peers->handles == 0 && !list_linked(&peers->links) && !list_linked(&peers->dead_targets)) {
    peers->handles = UINT32_MAX; /* once */
    streams_deinit(&peers->streams, peers_on_freed);
  }
}

static void peers_on_handle_closed(uv_handle_t *handle) {
  struct peers *peers = handle->data;
  peers->handles -= 1;
  peers_free_if_done(peers);
}

void peers_close(struct peers *peers) {
  ASSERT(!peers->closing);
  peers->closing = true;
  for (struct list *item = peers->targets.next, *next; item != &peers->targets; item = next) {
    next = item->next;
    target_drop(LIST_OWNER(item, struct target, all));
  }
  for (struct list *item = peers->links.next; item != &peers->links; item = item->next) {
    struct link *link = LIST_OWNER(item, struct link, all);
    link_detach(link, 0);
    stream_close(&link->stream);
  }
  uv_close((uv_handle_t *)&peers->listener, peers_on_handle_closed);
  uv_close((uv_handle_t *)&peers->timer, peers_on_handle_closed);
}
