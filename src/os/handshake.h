/* How two nodes prove to each other that they belong to one cluster (paper §2.1 assumes a trusted network; this does
 * not).
 *
 * Bytes in, bytes out: no socket here. Records, little-endian:
 *
 *     "GRAMMEP\n"  u16 version  u8 kind  u8 0  u16 body size   body
 *
 *     HELLO   u32 node  u64 instance  nonce (32 bytes)  u32 size, cluster name
 *     PROOF   HMAC-SHA256 keyed with the secret, over: label, version, role of the prover, both nodes, instances and
 *             nonces (the dialler's first), cluster name
 *     REFUSE  u8 why (enum refusal). Its form is the same in all versions.
 *
 *     dialler    idle --HELLO-->  hello  --(HELLO) PROOF-->  proof  --(PROOF)--> done
 *     acceptor                    hello  --(HELLO) HELLO-->  proof  --(PROOF) PROOF--> done
 *                any of them --(anything else) REFUSE--> refused        (in brackets: what came in)
 *
 * The role and both nonces are in the proof, so none can be replayed or reflected; the dialler proves first, so a
 * stranger who dials learns nothing that depends on the secret. A stranger who is dialled can try guesses against one
 * proof: the secret must be long and random. What follows the handshake has checksums, not signatures: it holds off
 * mistakes and strangers, not somebody who can alter packets on the way.
 *
 * INVARIANT: DONE only after the other side's proof was compared, in constant time, with what the secret yields.
 */
#ifndef GRAMME_OS_HANDSHAKE_H
#define GRAMME_OS_HANDSHAKE_H

#include "base/bytes.h"
#include "base/limits.h"

#define HANDSHAKE_VERSION 1u
#define HANDSHAKE_NONCE_BYTES 32u
#define HANDSHAKE_PROOF_BYTES 32u
#define HANDSHAKE_OUT_BYTES 512u /* room that handshake_start and _take want in `out` */

/* Why a connection between nodes was refused. "it" is the other side. Numbers are on the wire.        */
/* clang-format off */
#define REFUSAL_TABLE(X)                                                                                           \
  X(MAGIC, 1, "it does not speak the protocol between nodes; seeds and members take peer ports, not client ports") \
  X(OLDER, 2, "it runs an older version; upgrade it")                                                              \
  X(NEWER, 3, "it runs a newer version; upgrade this node")                                                        \
  X(CLUSTER, 4, "it belongs to another cluster; check cluster-name")                                               \
  X(SECRET, 5, "its secret is another one; set the same secret on all nodes")                                      \
  X(SELF, 6, "it is this very node; leave its own address out of its seeds")                                       \
  X(TWIN, 7, "it has the id of this node; one of the two data directories is a copy: empty the copy")              \
  X(MALFORMED, 8, "its handshake makes no sense")                                                                  \
  X(TIMEOUT, 9, "it did not finish the handshake in time")                                                         \
  X(CROWDED, 10, "too many connections have not proved themselves yet")                                            \
  X(OTHER, 11, "another node than the member of that address answers; check its address and data directory")       \
  X(TOLD, 12, "it refused this node")
/* clang-format on */

enum refusal {
  REFUSAL_NONE = 0,
#define X(name, number, text) REFUSAL_##name = number,
  REFUSAL_TABLE(X)
#undef X
      REFUSAL_COUNT
};
const char *refusal_text(enum refusal refusal);
const char *refusal_name(enum refusal refusal); /* lower case */

struct handshake_identity {
  uint32_t node;
  uint64_t instance;        /* random, of this process: tells a node from a copy of it */
  uint16_t version;         /* HANDSHAKE_VERSION */
  const char *cluster_name; /* borrowed, as is the secret */
  const char *secret;       /* may be empty */
};

enum handshake_stage { HANDSHAKE_IDLE, HANDSHAKE_HELLO, HANDSHAKE_PROOF, HANDSHAKE_DONE, HANDSHAKE_REFUSED };

struct handshake {
  const struct handshake_identity *own;
  enum handshake_stage stage;
  bool dialler;
  uint32_t node; /* of the other side, proved once DONE */
  uint64_t instance;
  uint8_t own_nonce[HANDSHAKE_NONCE_BYTES];
  uint8_t nonce[HANDSHAKE_NONCE_BYTES];
  uint16_t version;                      /* that the other side spoke, once known */
  enum refusal refusal;                  /* once REFUSED */
  enum refusal told;                     /* what the other side said, when TOLD */
  char cluster_name[NAME_MAX_BYTES + 1]; /* of the other side, once known */
};

/* `nonce` must be fresh from the system's entropy. */
void handshake_init(struct handshake *handshake, const struct handshake_identity *own, bool dialler,
                    const uint8_t nonce[HANDSHAKE_NONCE_BYTES]);
/* The dialler's first word; nothing for the acceptor. */
void handshake_start(struct handshake *handshake, struct writer *out);
/* Takes at most one record; `*used` is what it took of `in` (0: more bytes are needed). What is to be said, a refusal
 * included, goes to `out`. Returns the stage that it has reached. */
enum handshake_stage handshake_take(struct handshake *handshake, struct bytes in, size_t *used, struct writer *out);

#endif
