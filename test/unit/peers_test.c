/* The transport between nodes: several of them in one loop, over real sockets on 127.0.0.1, and strangers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/peers.h"

#define PATIENCE_NS 20000000000u /* a test that waits longer for anything has failed */
#define TRANSPORTS 3u

struct transport {
  struct peers *peers;
  struct peers_options options;
  uint32_t ups, downs, messages;
  uint32_t last_from;
  uint64_t last_request;
  uint64_t last_size; /* of the object */
  uint64_t last_hash;
};

struct scene {
  uv_loop_t loop;
  struct transport all[TRANSPORTS];
};

static void on_message(void *context, uint32_t from, const struct message *message) {
  struct transport *transport = context;
  transport->messages += 1;
  transport->last_from = from;
  transport->last_request = message->request;
  transport->last_size = message->object.size;
  transport->last_hash = bytes_hash(message->object, 0);
}

static void on_up(void *context, uint32_t node) {
  struct transport *transport = context;
  assert_int_not_equal(node, transport->options.node);
  transport->ups += 1;
}

static void on_down(void *context, uint32_t node) {
  struct transport *transport = context;
  assert_int_not_equal(node, transport->options.node);
  transport->downs += 1;
}

static void scene_open(struct scene *scene) {
  *scene = (struct scene){0};
  assert_int_equal(uv_loop_init(&scene->loop), 0);
}

/* Transport `index` is node index + 1 of cluster "dynamo" with secret "s3cret", but for what `wanted` says. */
static struct transport *open_with(struct scene *scene, uint32_t index, struct peers_options wanted) {
  struct transport *transport = &scene->all[index];
  struct peers_handler handler = {transport, on_message, on_up, on_down};
  char why[PEERS_WHY] = "";
  wanted.host = "127.0.0.1";
  wanted.node = wanted.node != 0 ? wanted.node : index + 1;
  wanted.instance = wanted.instance != 0 ? wanted.instance : 100 + index;
  wanted.cluster_name = wanted.cluster_name != NULL ? wanted.cluster_name : "dynamo";
  wanted.secret = wanted.secret != NULL ? wanted.secret : "s3cret";
  transport->options = wanted;
  assert_int_equal(peers_open(&transport->peers, &scene->loop, &wanted, &handler, why), ERR_OK);
  return transport;
}

static struct transport *open_plain(struct scene *scene, uint32_t index) {
  return open_with(scene, index, (struct peers_options){0});
}

static struct peer_address address_of(const struct transport *transport, uint32_t node) {
  struct peer_address address = {.node = node, .port = peers_port(transport->peers), .host = "127.0.0.1"};
  return address;
}

static void dial(struct transport *from, const struct transport *to, uint32_t node) {
  struct peer_address address = address_of(to, node);
  peers_set_addresses(from->peers, &address, 1);
}

static void scene_turn(struct scene *scene) {
  uv_run(&scene->loop, UV_RUN_NOWAIT);
  for (uint32_t i = 0; i < TRANSPORTS; i += 1) {
    if (scene->all[i].peers != NULL) {
      peers_flush(scene->all[i].peers);
    }
  }
}

/* Turns until the condition holds; fails the test when it does not in time. */
#define TURN_UNTIL(scene, condition)                                                     \
  for (uint64_t until_ns = uv_hrtime() + PATIENCE_NS; !(condition); scene_turn(scene)) { \
    assert_true(uv_hrtime() < until_ns);                                                 \
  }

static void hang_up(struct transport *transport) {
  peers_close(transport->peers);
  transport->peers = NULL;
}

static void scene_close(struct scene *scene) {
  for (uint32_t i = 0; i < TRANSPORTS; i += 1) {
    if (scene->all[i].peers != NULL) {
      hang_up(&scene->all[i]);
    }
  }
  uv_run(&scene->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&scene->loop), 0);
}

static uint64_t refused(const struct transport *transport, enum refusal refusal) {
  return peers_stats(transport->peers)->refused[refusal];
}

static struct message message_make(uint64_t request, struct bytes object) {
  struct message message = {
      .type = MESSAGE_WRITE, .request = request, .object = object, .key = BYTES_LITERAL("0123456789abcdefkey")};
  return message;
}

static void send_small(const struct transport *from, uint32_t to, uint64_t request) {
  struct message message = message_make(request, BYTES_LITERAL("value"));
  peers_send(from->peers, to, &message);
}

/* -- strangers: plain sockets ------------------------------------------------------- */

static int stranger(const struct transport *to) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(peers_port(to->peers))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  return fd;
}

/* Until the other side says nothing more for now: everything up to `enough` bytes or the end. */
static size_t hear(struct scene *scene, int fd, void *data, size_t enough) {
  uint64_t until_ns = uv_hrtime() + PATIENCE_NS;
  size_t got = 0;
  while (got < enough) {
    ssize_t count = recv(fd, (char *)data + got, enough - got, 0);
    if (count == 0 || (count < 0 && errno != EAGAIN)) {
      break;
    }
    got += count > 0 ? (size_t)count : 0;
    scene_turn(scene);
    assert_true(uv_hrtime() < until_ns);
  }
  return got;
}

#define HELLO_RECORD_BYTES(name) (14u + 4u + 8u + 32u + 4u + (sizeof(name) - 1))
#define PROOF_RECORD_BYTES (14u + 32u)

/* A plain socket that knows the secret: shakes hands as node `node`. */
static int imposter(struct scene *scene, const struct transport *to, uint32_t node) {
  struct handshake_identity own = {
      .node = node, .instance = 9, .version = HANDSHAKE_VERSION, .cluster_name = "dynamo", .secret = "s3cret"};
  struct handshake handshake;
  uint8_t nonce[HANDSHAKE_NONCE_BYTES] = {7};
  uint8_t out[HANDSHAKE_OUT_BYTES];
  uint8_t in[256];
  size_t used = 0;
  int fd = stranger(to);
  struct writer w = writer_make(out, sizeof(out));
  handshake_init(&handshake, &own, true, nonce);
  handshake_start(&handshake, &w);
  assert_int_equal(send(fd, out, w.size, MSG_NOSIGNAL), w.size);
  size_t size = hear(scene, fd, in, HELLO_RECORD_BYTES("dynamo"));
  w = writer_make(out, sizeof(out));
  assert_int_equal(handshake_take(&handshake, (struct bytes){in, size}, &used, &w), HANDSHAKE_PROOF);
  assert_int_equal(send(fd, out, w.size, MSG_NOSIGNAL), w.size);
  size = hear(scene, fd, in, PROOF_RECORD_BYTES);
  assert_int_equal(handshake_take(&handshake, (struct bytes){in, size}, &used, &w), HANDSHAKE_DONE);
  return fd;
}

/* -- the tests ------------------------------------------------------------------------ */

static void two_nodes_prove_themselves_and_talk_both_ways(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_plain(&scene, 1);
  dial(a, b, 2);
  TURN_UNTIL(&scene, a->ups == 1 && b->ups == 1);
  assert_true(peers_is_up(a->peers, 2));
  send_small(a, 2, 41);
  send_small(b, 1, 42); /* b never dialled: it uses a's connection */
  TURN_UNTIL(&scene, a->messages == 1 && b->messages == 1);
  assert_int_equal(b->last_from, 1);
  assert_int_equal(b->last_request, 41);
  assert_int_equal(b->last_size, 5);
  assert_int_equal(a->last_from, 2);
  assert_int_equal(a->last_request, 42);
  dial(b, a, 1);
  TURN_UNTIL(&scene, peers_stats(b->peers)->dials == 1 && peers_stats(a->peers)->accepted == 1);
  send_small(b, 1, 43);
  TURN_UNTIL(&scene, a->messages == 2);
  assert_int_equal(a->ups, 1); /* a second connection to the same node is no news */
  assert_int_equal(peers_stats(a->peers)->connected, 1);
  assert_int_equal(peers_refused(a->peers), 0);
  assert_int_equal(peers_refused(b->peers), 0);
  scene_close(&scene);
}

static void another_secret_is_refused_by_both_sides(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_with(&scene, 1, (struct peers_options){.secret = "guess"});
  dial(a, b, 2);
  TURN_UNTIL(&scene, refused(b, REFUSAL_SECRET) == 1 && refused(a, REFUSAL_TOLD) == 1);
  assert_int_equal(peers_refused(b->peers), 1);
  assert_int_equal(a->ups + b->ups, 0);
  send_small(a, 2, 1);
  assert_int_equal(peers_stats(a->peers)->unreachable, 1);
  scene_close(&scene);
}

static void an_empty_secret_on_both_sides_is_a_secret(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_with(&scene, 0, (struct peers_options){.secret = ""});
  struct transport *b = open_with(&scene, 1, (struct peers_options){.secret = ""});
  struct transport *c = open_plain(&scene, 2);
  struct peer_address addresses[2] = {address_of(b, 2), address_of(c, 3)};
  peers_set_addresses(a->peers, addresses, 2);
  TURN_UNTIL(&scene, a->ups == 1 && refused(c, REFUSAL_SECRET) == 1);
  assert_true(peers_is_up(a->peers, 2));
  assert_false(peers_is_up(a->peers, 3));
  scene_close(&scene);
}

static void a_node_of_another_cluster_is_refused(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_with(&scene, 1, (struct peers_options){.cluster_name = "riak"});
  dial(a, b, 0);
  TURN_UNTIL(&scene, refused(b, REFUSAL_CLUSTER) == 1 && refused(a, REFUSAL_TOLD) == 1);
  assert_int_equal(a->ups + b->ups, 0);
  scene_close(&scene);
}

static void an_older_and_a_newer_node_are_told_apart(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_with(&scene, 0, (struct peers_options){.version = 2});
  struct transport *older = open_with(&scene, 1, (struct peers_options){.version = 1});
  struct transport *newer = open_with(&scene, 2, (struct peers_options){.version = 3});
  dial(older, a, 0);
  dial(newer, a, 0);
  TURN_UNTIL(&scene, refused(a, REFUSAL_OLDER) == 1 && refused(a, REFUSAL_NEWER) == 1);
  TURN_UNTIL(&scene, refused(older, REFUSAL_TOLD) == 1 && refused(newer, REFUSAL_TOLD) == 1);
  assert_int_equal(a->ups, 0);
  scene_close(&scene);
}

static void a_stranger_is_told_where_clients_connect(void **state) {
  (void)state;
  struct scene scene;
  char text[128] = "";
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  int fd = stranger(a);
  assert_int_equal(send(fd, "PING\r\n", 6, MSG_NOSIGNAL), 6);
  assert_true(hear(&scene, fd, text, sizeof(text) - 1) > 0);
  assert_string_equal(text, "-ERR this port is for other gramme nodes; clients connect to the client port\r\n");
  assert_int_equal(refused(a, REFUSAL_MAGIC), 1);
  close(fd);
  scene_close(&scene);
}

static void an_unfinished_handshake_is_ended(void **state) {
  (void)state;
  struct scene scene;
  char byte;
  scene_open(&scene);
  struct transport *a = open_with(&scene, 0, (struct peers_options){.handshake_ms = 100});
  int silent = stranger(a);
  int half = stranger(a);
  assert_int_equal(send(half, "GRAMMEP\n\1\0\1", 11, MSG_NOSIGNAL), 11);
  TURN_UNTIL(&scene, refused(a, REFUSAL_TIMEOUT) == 2);
  assert_int_equal(hear(&scene, silent, &byte, 1), 0);
  assert_int_equal(hear(&scene, half, &byte, 1), 0);
  close(silent);
  close(half);
  scene_close(&scene);
}

static void a_node_that_dials_itself_notices(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  dial(a, a, 0);
  TURN_UNTIL(&scene, refused(a, REFUSAL_SELF) == 1 && refused(a, REFUSAL_TOLD) == 1);
  assert_int_equal(a->ups, 0);
  scene_close(&scene);
}

static void a_copy_of_a_node_is_refused(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *copy = open_with(&scene, 1, (struct peers_options){.node = 1, .instance = 77});
  dial(a, copy, 0);
  TURN_UNTIL(&scene, refused(copy, REFUSAL_TWIN) == 1 && refused(a, REFUSAL_TOLD) == 1);
  scene_close(&scene);
}

static void another_node_at_a_members_address_is_refused(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_plain(&scene, 1);
  dial(a, b, 9);
  TURN_UNTIL(&scene, refused(a, REFUSAL_OTHER) == 1);
  assert_int_equal(a->ups, 0);
  scene_close(&scene);
}

static void one_unproven_connection_too_many_is_refused(void **state) {
  (void)state;
  struct scene scene;
  int fds[PEERS_UNPROVEN_MAX + 1];
  scene_open(&scene);
  struct transport *a = open_with(&scene, 0, (struct peers_options){.handshake_ms = 600000});
  struct transport *b = open_plain(&scene, 1);
  for (uint32_t i = 0; i < PEERS_UNPROVEN_MAX; i += 1) {
    fds[i] = stranger(a);
  }
  TURN_UNTIL(&scene, peers_stats(a->peers)->accepted == PEERS_UNPROVEN_MAX);
  assert_int_equal(refused(a, REFUSAL_CROWDED), 0);
  fds[PEERS_UNPROVEN_MAX] = stranger(a);
  TURN_UNTIL(&scene, refused(a, REFUSAL_CROWDED) == 1);
  for (uint32_t i = 0; i <= PEERS_UNPROVEN_MAX; i += 1) {
    close(fds[i]);
  }
  dial(b, a, 1); /* and when they have gone there is room again */
  TURN_UNTIL(&scene, a->ups == 1);
  scene_close(&scene);
}

static void a_node_that_comes_back_is_dialled_again(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_plain(&scene, 1);
  uint16_t port = peers_port(b->peers);
  dial(a, b, 2);
  TURN_UNTIL(&scene, a->ups == 1);
  hang_up(b);
  TURN_UNTIL(&scene, a->downs == 1);
  assert_false(peers_is_up(a->peers, 2));
  TURN_UNTIL(&scene, peers_stats(a->peers)->dials_failed >= 2);
  send_small(a, 2, 1);
  assert_int_equal(peers_stats(a->peers)->unreachable, 1);
  b = open_with(&scene, 1, (struct peers_options){.port = port});
  TURN_UNTIL(&scene, a->ups == 2);
  send_small(a, 2, 2);
  TURN_UNTIL(&scene, b->messages == 1);
  assert_int_equal(a->downs, 1);
  scene_close(&scene);
}

static void a_large_message_arrives_whole_and_in_order(void **state) {
  (void)state;
  enum { SIZE = 20 << 20 };
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_plain(&scene, 1);
  uint8_t *data = malloc(SIZE);
  assert_non_null(data);
  for (uint32_t i = 0; i < SIZE; i += 1) {
    data[i] = (uint8_t)(i * 2654435761u >> 24);
  }
  dial(a, b, 2);
  TURN_UNTIL(&scene, a->ups == 1);
  send_small(a, 2, 1);
  struct message message = message_make(2, (struct bytes){data, SIZE});
  peers_send(a->peers, 2, &message);
  TURN_UNTIL(&scene, b->messages == 2);
  assert_int_equal(b->last_request, 2);
  assert_int_equal(b->last_size, SIZE);
  assert_true(b->last_hash == bytes_hash(message.object, 0));
  send_small(a, 2, 3);
  TURN_UNTIL(&scene, b->messages == 3);
  assert_int_equal(b->last_request, 3);
  assert_int_equal(peers_stats(b->peers)->frames_bad, 0);
  free(data);
  scene_close(&scene);
}

static void a_full_queue_drops_the_newest_and_counts_them(void **state) {
  (void)state;
  enum { SENT = 3000, SIZE = 1000 };
  struct scene scene;
  uint8_t data[SIZE] = {0};
  scene_open(&scene);
  struct transport *a = open_with(&scene, 0, (struct peers_options){.queue_max_bytes = 1u << 20});
  struct transport *b = open_plain(&scene, 1);
  dial(a, b, 2);
  TURN_UNTIL(&scene, a->ups == 1);
  for (uint64_t i = 1; i <= SENT; i += 1) {
    struct message message = message_make(i, (struct bytes){data, SIZE});
    peers_send(a->peers, 2, &message);
  }
  uint64_t dropped = peers_stats(a->peers)->queue_dropped;
  assert_in_range(dropped, SENT - (1u << 20) / SIZE, SENT - 900);
  TURN_UNTIL(&scene, b->messages == SENT - dropped);
  assert_int_equal(b->last_request, SENT - dropped); /* the oldest came through */
  send_small(a, 2, SENT + 1);
  TURN_UNTIL(&scene, b->last_request == SENT + 1);
  assert_int_equal(peers_stats(a->peers)->queue_dropped, dropped);
  scene_close(&scene);
}

static void what_one_iteration_sends_leaves_in_one_write(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_plain(&scene, 1);
  dial(a, b, 2);
  TURN_UNTIL(&scene, a->ups == 1 && b->ups == 1);
  uint64_t writes = peers_stats(a->peers)->writes;
  for (uint64_t i = 0; i < 100; i += 1) {
    send_small(a, 2, i);
  }
  peers_flush(a->peers);
  assert_int_equal(peers_stats(a->peers)->writes, writes + 1);
  TURN_UNTIL(&scene, b->messages == 100);
  scene_close(&scene);
}

static void a_damaged_frame_ends_the_connection(void **state) {
  (void)state;
  struct scene scene;
  char byte;
  uint8_t frame[256];
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct message message = message_make(5, BYTES_LITERAL("value"));
  size_t size = message_frame_size(&message);
  struct writer w = writer_make(frame, sizeof(frame));
  message_encode(&message, &w);
  int fd = imposter(&scene, a, 8);
  assert_int_equal(a->ups, 1);
  assert_int_equal(send(fd, frame, size, MSG_NOSIGNAL), size);
  TURN_UNTIL(&scene, a->messages == 1);
  assert_int_equal(a->last_from, 8);
  frame[size - 1] ^= 1;
  assert_int_equal(send(fd, frame, size, MSG_NOSIGNAL), size);
  TURN_UNTIL(&scene, a->downs == 1);
  assert_int_equal(hear(&scene, fd, &byte, 1), 0);
  assert_int_equal(a->messages, 1);
  assert_int_equal(peers_stats(a->peers)->frames_bad, 1);
  close(fd);
  scene_close(&scene);
}

static void a_frame_larger_than_any_ends_the_connection(void **state) {
  (void)state;
  struct scene scene;
  uint8_t header[FRAME_HEADER_BYTES] = {0xff, 0xff, 0xff, 0xff};
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  int fd = imposter(&scene, a, 8);
  assert_int_equal(send(fd, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
  TURN_UNTIL(&scene, a->downs == 1);
  assert_int_equal(peers_stats(a->peers)->frames_bad, 1);
  close(fd);
  scene_close(&scene);
}

static void a_node_that_dials_again_replaces_what_it_left_behind(void **state) {
  (void)state;
  struct scene scene;
  char byte;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  int old = imposter(&scene, a, 8);
  int new = imposter(&scene, a, 8);
  assert_int_equal(hear(&scene, old, &byte, 1), 0);
  assert_int_equal(a->ups, 1);
  assert_int_equal(a->downs, 0);
  send_small(a, 8, 1);
  assert_int_equal(hear(&scene, new, &byte, 1), 1);
  close(new);
  TURN_UNTIL(&scene, a->downs == 1);
  close(old);
  scene_close(&scene);
}

static void an_address_that_is_gone_from_the_book_is_hung_up_on(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_with(&scene, 0, (struct peers_options){.linger_ms = 100});
  struct transport *b = open_plain(&scene, 1);
  dial(a, b, 2);
  TURN_UNTIL(&scene, a->ups == 1 && b->ups == 1);
  peers_set_addresses(a->peers, NULL, 0);
  TURN_UNTIL(&scene, a->downs == 1 && b->downs == 1);
  assert_int_equal(peers_stats(a->peers)->dials, 1);
  scene_close(&scene);
}

static void what_is_on_the_way_when_an_address_goes_still_arrives(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_with(&scene, 0, (struct peers_options){.linger_ms = 600000});
  struct transport *b = open_plain(&scene, 1);
  dial(a, b, 2);
  TURN_UNTIL(&scene, a->ups == 1 && b->ups == 1);
  send_small(a, 2, 1);
  peers_set_addresses(a->peers, NULL, 0);
  send_small(b, 1, 1);
  TURN_UNTIL(&scene, a->messages == 1 && b->messages == 1);
  assert_int_equal(a->downs + b->downs, 0);
  scene_close(&scene);
}

static void a_seed_that_becomes_a_member_keeps_its_connection(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_plain(&scene, 1);
  dial(a, b, 0);
  TURN_UNTIL(&scene, a->ups == 1);
  dial(a, b, 2);
  send_small(a, 2, 1);
  TURN_UNTIL(&scene, b->messages == 1);
  assert_int_equal(peers_stats(a->peers)->dials, 1);
  assert_int_equal(a->downs, 0);
  scene_close(&scene);
}

static void a_name_is_looked_up(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct transport *b = open_plain(&scene, 1);
  struct peer_address addresses[2] = {address_of(b, 2), address_of(b, 0)};
  strcpy(addresses[0].host, "localhost");
  strcpy(addresses[1].host, "no-such-host.invalid");
  peers_set_addresses(a->peers, addresses, 2);
  TURN_UNTIL(&scene, a->ups == 1 && peers_stats(a->peers)->dials_failed > 0);
  peers_set_addresses(a->peers, addresses, 2);
  scene_close(&scene); /* with a look-up under way, most likely */
}

static void a_peer_port_in_use_is_named_with_the_remedy(void **state) {
  (void)state;
  struct scene scene;
  char why[PEERS_WHY] = "";
  struct peers *second = NULL;
  scene_open(&scene);
  struct transport *a = open_plain(&scene, 0);
  struct peers_options options = a->options;
  struct peers_handler handler = {a, on_message, on_up, on_down};
  options.port = peers_port(a->peers);
  assert_int_equal(peers_open(&second, &scene.loop, &options, &handler, why), ERR_IO);
  assert_non_null(strstr(why, "is in use by another program; stop that one or set another peer-port"));
  scene_close(&scene);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_nodes_prove_themselves_and_talk_both_ways),
      cmocka_unit_test(another_secret_is_refused_by_both_sides),
      cmocka_unit_test(an_empty_secret_on_both_sides_is_a_secret),
      cmocka_unit_test(a_node_of_another_cluster_is_refused),
      cmocka_unit_test(an_older_and_a_newer_node_are_told_apart),
      cmocka_unit_test(a_stranger_is_told_where_clients_connect),
      cmocka_unit_test(an_unfinished_handshake_is_ended),
      cmocka_unit_test(a_node_that_dials_itself_notices),
      cmocka_unit_test(a_copy_of_a_node_is_refused),
      cmocka_unit_test(another_node_at_a_members_address_is_refused),
      cmocka_unit_test(one_unproven_connection_too_many_is_refused),
      cmocka_unit_test(a_node_that_comes_back_is_dialled_again),
      cmocka_unit_test(a_large_message_arrives_whole_and_in_order),
      cmocka_unit_test(a_full_queue_drops_the_newest_and_counts_them),
      cmocka_unit_test(what_one_iteration_sends_leaves_in_one_write),
      cmocka_unit_test(a_damaged_frame_ends_the_connection),
      cmocka_unit_test(a_frame_larger_than_any_ends_the_connection),
      cmocka_unit_test(a_node_that_dials_again_replaces_what_it_left_behind),
      cmocka_unit_test(an_address_that_is_gone_from_the_book_is_hung_up_on),
      cmocka_unit_test(what_is_on_the_way_when_an_address_goes_still_arrives),
      cmocka_unit_test(a_seed_that_becomes_a_member_keeps_its_connection),
      cmocka_unit_test(a_name_is_looked_up),
      cmocka_unit_test(a_peer_port_in_use_is_named_with_the_remedy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
