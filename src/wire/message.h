/* Messages between nodes: one table, one struct, encode and decode with bounds.
 *
 * A frame is a header of FRAME_HEADER_BYTES and a body:
 *
 *     u32 body size   u32 checksum   u8 type  u8 flags  u16 partition   u32 owner   u32 sent   u64 request   u64 hlc
 *
 * The checksum is the low half of XXH3-64 over the rest of the header and the body. All
 * little-endian. Fields that a type does not use are 0. A reader skips bytes behind the body's fields that it knows, so
 * that a newer node may add some; an unknown type is counted and dropped.
 *
 * A message is addressed to (node, partition); whether that is this shard, another thread or a socket is the driver's
 * business. A decoded message borrows the frame's bytes.
 */
#ifndef GRAMME_WIRE_MESSAGE_H
#define GRAMME_WIRE_MESSAGE_H

#include "base/blob.h"
#include "base/err.h"
#include "base/limits.h"
#include "wire/heartbeat.h"

/*        name            number  what it is (the fields that it uses)                                         */
/* clang-format off */
#define MESSAGE_TABLE(X)                                                                                              \
  X(HEARTBEAT, 1)      /* every heartbeat-ms to every member: body = struct heartbeat                        */       \
  X(GOSSIP, 2)         /* paper §4.8.1, each second to a random member: body = struct gossip (digests)       */      \
  X(HISTORY, 3)        /* digest = of the sender's base layout, object = encoded history; answers a GOSSIP whose */   \
                       /* digest differs (flag WANT: send yours)                                             */       \
  X(PROPS, 4)          /* object = encoded bucket properties; the same way                                   */       \
  X(JOIN, 5)           /* object = an encoded history of one ADD: please take me in; members pass it on once */       \
  X(JOIN_RESULT, 8)    /* err, key = reason: why not, or not yet                                             */       \
  X(WRITE, 10)         /* request, owner (0: your own replica; else a hint for that node), key, object, flags */      \
  X(WRITE_ACK, 11)     /* request, owner, err, flag DURABLE; digest = credit: writes the replica would take now */    \
  X(READ, 12)          /* request, owner, key, flags FULL / CLOCK                                            */       \
  X(READ_REPLY, 13)    /* request, owner, err, digest, floor, object (empty: absent), flag CLOCK             */       \
  X(FORWARD, 14)       /* request, key, object = value, context, body options: coordinate this put for me    */       \
  X(FORWARD_REPLY, 15) /* request, err, outcome, object = context past as a clock                            */       \
  X(PULL, 16)          /* request, partition, key = behind there (empty: its beginning), digest = bytes at most */    \
                       /* owner = leading bits of positions that are to be those of `key` (0: all of the     */       \
                       /* partition), flag FULL: list what you hold there, with FULL the objects too         */       \
  X(PULLED, 17)        /* request, partition, err, floor, object = entries (see move/move.h), flag LAST: that */      \
                       /* was all                                                                            */       \
  X(OFFER, 18)         /* request, key, digest: do you hold this very object durably? WRITE_ACK: OK, or ABSENT   */   \
  X(COMPARE, 19)       /* request, partition, object = sums of Merkle trees (sync/compare.h), flags ENGAGE, LAST */    \
  X(COMPARED, 20)      /* request, partition, err, object = which of them differ                             */       \
  X(BURY, 21)          /* request, key, object (empty: absent), floor: a WRITE by one who knows all that is as */     \
                       /* old as that: what it has not is dead (replica/floors.h)                            */       \
  X(FLOORS, 22)        /* request, object = floors of partitions (sync/settle.h)                             */       \
  X(FLOORS_HELD, 23)   /* request, object = those of the sender                                              */       \
  /* never on the wire: a coordinator to its own node's replica */                                                    \
  X(STAMP, 64)        /* request, owner, key, object = value, context, options, digest = epoch of the layouts that */ \
                      /* it was planned by: stamp a new version                                               */      \
  X(STAMPED, 65)      /* request, owner, err, object = the new object; its WRITE_ACK follows                */        \
  X(HINT_DROP, 66)    /* owner, key, digest: delete this hint if it is still that object                    */        \
  X(HINT_KEPT, 67)    /* owner, key, object: a replica tells the keeper of hints that there is one more     */        \
  X(HINT_DROPPED, 68) /* owner, key: and that there is one fewer                                            */        \
  X(OBJECT_DROP, 69)  /* request, key, digest: delete this object if it is still that one; WRITE_ACK          */ \
  X(DAMAGED, 70)      /* key: a replica can not read what it has stored; answered by one RESTORE              */ \
  X(RESTORE, 71)      /* key, err, object = what all others have (empty: none has it): to be stored instead   */ \
  X(REAP, 72)         /* key, floor: take out of it what says nothing any more below that                     */
/* clang-format on */

enum message_type {
#define X(name, number) MESSAGE_##name = number,
  MESSAGE_TABLE(X)
#undef X
};

enum message_flag {
  MESSAGE_EARLY = 1,   /* WRITE, STAMP: acknowledge also before it is durable (dw < w) */
  MESSAGE_DURABLE = 2, /* WRITE_ACK: it is on disk */
  MESSAGE_FULL = 4,    /* READ: the value whatever its size; without it only when small */
  MESSAGE_CLOCK = 8,   /* READ: the clock will do; READ_REPLY: object is a clock */
  MESSAGE_QUIET = 16,  /* WRITE: no acknowledgement wanted (read repair) */
  MESSAGE_WANT = 32,   /* HISTORY, PROPS: send yours in return */
  MESSAGE_NOSYNC = 64, /* WRITE, STAMP: dw = 0, need not be synced */
  MESSAGE_BLIND = 128, /* FORWARD, STAMP: no context: use the coordinator's own */
  MESSAGE_COUNTS = 1,  /* READ: for a quorum: who can not vouch for what it has does not answer with it */
  MESSAGE_LAST = 1,    /* PULLED: the partition ends here. COMPARE: that was the last of the partition */
  MESSAGE_ENGAGE = 2,  /* COMPARE: the partition is compared key by key from now on, until LAST */
};

/* Options of a put, in FORWARD and STAMP; see enum put_flag and coord.h. */
struct put_options {
  uint64_t expires_at_ms;
  uint8_t n, w, pw, dw;
  uint8_t put_flags;
};
enum put_flag { PUT_TOMBSTONE = 1, PUT_KEEP_EXPIRY = 2 };

/* How a request ended when it was not OK: for the error's text. */
struct outcome {
  uint8_t kind; /* enum quorum_kind */
  uint8_t wanted;
  uint8_t answered;
  uint8_t missing_count;
  uint32_t missing[REPLICAS_MAX]; /* node ids that did not answer */
};
enum quorum_kind { QUORUM_NONE = 0, QUORUM_R, QUORUM_PR, QUORUM_W, QUORUM_PW, QUORUM_DW };

struct message {
  enum message_type type;
  uint8_t flags;
  uint16_t partition;
  uint32_t owner;
  uint64_t request;
  uint32_t sent_ms; /* the sender's monotonic clock, low 32 bits */
  uint64_t hlc;     /* the sender's clock when it was sent */
  enum err err;
  uint64_t digest;
  uint64_t floor;   /* see replica/floors.h */
  struct bytes key; /* store key: position, key (READ, WRITE, ...) */
  struct bytes object;
  struct bytes context;
  struct put_options options;
  struct outcome outcome;
  struct heartbeat heartbeat;
  struct gossip gossip;
  /* In memory only: if not NULL, the blob that `key` or `object` lies in whole, so that it need not be copied.
   * Borrowed. */
  struct blob *key_blob;
  struct blob *object_blob;
  /* STAMPED only: the new dot. */
  uint64_t stamp_time;
  uint64_t stamp_incarnation;
};

/* Size of the whole frame. */
size_t message_frame_size(const struct message *message);
/* Writes the whole frame; the writer fails when it does not fit. Types of 64 and above are a bug. */
void message_encode(const struct message *message, struct writer *w);
/* The body size from a frame header's first FRAME_HEADER_BYTES. CORRUPT when above FRAME_BODY_MAX_BYTES. */
enum err message_frame_body(struct bytes header, size_t *body_bytes) MUST_CHECK;
/* `frame` is exactly one frame. CORRUPT on a bad checksum or body; RETRY for an unknown type (skip it). */
enum err message_decode(struct bytes frame, struct message *message) MUST_CHECK;
const char *message_type_name(enum message_type type);

#endif
