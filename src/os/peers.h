/* The transport between nodes: connections that prove themselves (handshake.h), frames on them (wire/message.h), one
 * write for each peer in each loop iteration.
 *
 * A node listens on its peer port and dials every address that it is given: the members, and the seeds while it is
 * not a member. A message to X goes over our dialled connection to X when that is proved, else over one that X
 * dialled. X is up while there is any. A dial that fails is tried again after PEERS_BACKOFF_MIN_MS, doubled each time
 * up to PEERS_BACKOFF_MAX_MS, less a random part of up to half, so that nodes that came back together do not stay in
 * step.
 *
 *     address --dial--> connecting --> shaking hands --> ready --(error, bad frame, gone)--> closed --backoff--> dial
 *     listen ---------accepted-------------^   `--(refused, PEERS_HANDSHAKE_MS over)--> counted, logged, closed
 *
 * A connection to an address that is taken away is hung up on after PEERS_LINGER_MS, so that nothing on it is lost.
 *
 * Delivery is at most once, in order while one connection stands; what is lost is the core's business. A peer that
 * has stopped acknowledging for PEERS_SILENCE_SECONDS is disconnected by the kernel, so a healed network is used
 * again within about PEERS_BACKOFF_MAX_MS.
 *
 * INVARIANTS: `message` only from a node that proved itself, with that node's id; `up` before the first message of a
 * node, `down` once for each `up`; no callback from inside peers_send; unsent bytes of one connection never pass
 * queue_max_bytes.
 */
#ifndef GRAMME_OS_PEERS_H
#define GRAMME_OS_PEERS_H

#include <uv.h>

#include "os/handshake.h"
#include "wire/message.h"

#define PEERS_BACKOFF_MIN_MS 100u
#define PEERS_BACKOFF_MAX_MS 2000u
#define PEERS_BACKOFF_SELF_MS 30000u /* an address that turned out to be this node's own */
#define PEERS_HANDSHAKE_MS 2000u     /* from dialling or accepting to proof */
#define PEERS_LINGER_MS 10000u       /* a connection to an address that is no longer wanted: answers may be on it */
#define PEERS_SILENCE_SECONDS 5u
#define PEERS_UNPROVEN_MAX 64u /* accepted connections in the middle of a handshake; one more is refused */
#define PEERS_NODES_MAX \
  512u /* nodes connected at one time (members, and some that want to join); one more is refused */
#define PEERS_KEEP_BYTES (256u << 10) /* an empty queue up to this keeps its memory */
#define PEERS_WHY 256u

struct peers;

struct peer_address {
  uint32_t node; /* 0: a seed, whoever it is */
  uint16_t port;
  char host[HOST_MAX_BYTES + 1];
};

struct peers_options {
  const char *host;
  uint16_t port; /* 0 takes a free one (peers_port) */
  uint32_t node;
  uint64_t instance;
  const char *cluster_name; /* borrowed as long as the transport lives, as is the secret */
  const char *secret;
  size_t queue_max_bytes; /* 0: PEER_QUEUE_MAX_BYTES */
  uint16_t version;       /* 0: HANDSHAKE_VERSION; for tests */
  uint64_t handshake_ms;  /* 0: PEERS_HANDSHAKE_MS; for tests */
  uint64_t linger_ms;     /* 0: PEERS_LINGER_MS; for tests */
};

struct peers_handler {
  void *context;
  void (*message)(void *context, uint32_t from, const struct message *message); /* borrowed */
  void (*up)(void *context, uint32_t node);
  void (*down)(void *context, uint32_t node);
};

struct peers_stats {
  uint64_t refused[REFUSAL_COUNT]; /* connections, by enum refusal */
  uint64_t dials, dials_failed, accepted;
  uint64_t connected; /* nodes, now */
  uint64_t messages_in, messages_out, bytes_in, bytes_out, reads, writes;
  uint64_t queue_dropped;  /* messages, because the queue to their peer was full */
  uint64_t unreachable;    /* messages, because no connection to their peer stood */
  uint64_t frames_bad;     /* each ended a connection */
  uint64_t frames_unknown; /* of a type that this version does not know: skipped */
};

/* On failure `why` (PEERS_WHY bytes) names the address and the remedy. */
enum err peers_open(struct peers **peers, uv_loop_t *loop, const struct peers_options *options,
                    const struct peers_handler *handler, char *why) MUST_CHECK;
uint16_t peers_port(const struct peers *peers);
/* The whole book of addresses; those that are no longer in it are hung up on. */
void peers_set_addresses(struct peers *peers, const struct peer_address *addresses, uint32_t count);
/* Queues; peers_flush writes. Dropped and counted when nothing stands to `to`, or its queue is full. */
void peers_send(struct peers *peers, uint32_t to, const struct message *message);
void peers_flush(struct peers *peers);
bool peers_is_up(const struct peers *peers, uint32_t node);
const struct peers_stats *peers_stats(struct peers *peers);
uint64_t peers_refused(const struct peers *peers); /* of all kinds but TOLD */
/* Hangs up on all, without calling `down`; memory is freed once the loop has run. */
void peers_close(struct peers *peers);

#endif
