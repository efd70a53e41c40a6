/* The oracle of true causal histories: what every put had seen, and where every version is.
 *
 * A put has a number; its version carries it (in its expiry, which is far off, so that deletions carry it too). What
 * its writer had seen follows from the contexts that the cluster itself handed out: a get shows siblings, a put adds
 * its own version; a blind SET has seen what its coordinator held when it was stamped.
 *
 * `siblings` are the numbers of the versions that stand side by side in an object. A node's view is what its replica
 * holds of a key in memory: what it read last, or committed since.
 *
 * INVARIANTS: the past of a version is whole before anyone can see the version; a version has one dot.
 */
#ifndef GRAMME_SIM_ORACLE_H
#define GRAMME_SIM_ORACLE_H

#include "plan.h"
#include "ring/ring.h"
#include "world.h"

struct run;

enum fate { FATE_OPEN, FATE_ACKED, FATE_REFUSED, FATE_UNKNOWN };

struct siblings {
  uint32_t count, capacity;
  uint32_t *numbers; /* owned */
};

/* A set of versions of one key, by their places among its versions. */
struct bitset {
  uint64_t *words; /* owned */
  uint32_t count;
};

struct version {
  uint32_t key;
  uint32_t place; /* among the versions of its key */
  uint32_t client;
  enum fate fate;
  enum err err; /* REFUSED: why */
  bool blind, tombstone;
  uint32_t size; /* of its value */
  uint8_t w, pw, dw;
  struct bitset past;
  bool past_known; /* of a blind put once it has been stamped */
  bool stamped;
  uint64_t stamped_ns; /* when it was */
  struct dot dot;
  uint64_t accepted, durable, primary; /* nodes that had it, while its put was under way; a bit each */
  uint64_t taken;                      /* those that have ever had it, as replicas or for others */
  uint64_t lost;                       /* those whose durable copy was destroyed at some time */
  uint64_t settled;                    /* those that had it durably as a replica */
  uint16_t hinted[RUN_NODES_MAX];      /* by node: whom it kept it for, a bit each */
  uint32_t coordinator;                /* index + 1 of the node that stamped it; 0: not known */
  bool ignorant;                       /* its disk had been lost, and it did not yet know the bucket's n again */
  uint64_t acked_ns;
  uint64_t
      strict[2]; /* when it was acknowledged: its replicas in the base layout, and in the target, that had it durably */
  uint32_t overwrote;  /* one that it removed without having seen it, or 0 */
  bool copy_destroyed; /* a durable copy of it was destroyed */
  bool destroyed;      /* the last copy was, by a failure that it was not protected against */
};

struct oracle_key {
  char text[32];
  struct bytes store_key; /* owned */
  struct bucket_props props;
  struct preference preference;
  uint32_t *versions; /* numbers, by place; owned */
  uint64_t *times;    /* of their dots, by place; 0: not stamped yet; owned */
  uint32_t version_count, version_capacity;
  uint32_t *open; /* numbers of puts without an answer; owned */
  uint32_t open_count, open_capacity;
  struct siblings forgotten; /* deletions that an owner has reaped */
  bool limit_reached;        /* an object of it had CLOCK_PAIRS_MAX entries: false siblings may be true */
  bool unreadable;           /* a copy is damaged */
};

struct view {
  struct siblings siblings;
};

struct oracle {
  struct run *run;
  uint32_t key_count;
  struct oracle_key keys[PLAN_KEYS_MAX];
  struct version *versions; /* by number, from 1; owned */
  uint32_t version_count, version_capacity;
  struct view views[RUN_NODES_MAX][PLAN_KEYS_MAX][RUN_NODES_MAX + 1]; /* node, key, owner's index + 1 (0: its own) */
  bool loose;                                                         /* there are puts with DW = 0 */
  bool disk_destroyed[RUN_NODES_MAX];
  bool gone[RUN_NODES_MAX]; /* it died for good: what is on its disk is nowhere */
  bool any_destroyed;       /* durable data of some node */
  uint32_t siblings_max, clock_max;
};

void oracle_init(struct oracle *oracle, struct run *run);
void oracle_deinit(struct oracle *oracle);
/* Where the keys are. */
void oracle_place(struct oracle *oracle, const struct ring *ring);

/* A put is about to be tried by somebody who has seen those. Returns its number. */
uint32_t oracle_put(struct oracle *oracle, uint32_t key, const struct siblings *seen, bool blind);
void oracle_put_done(struct oracle *oracle, uint32_t number, enum fate fate);
/* What an object holds. Fails the checkers where it holds what nobody wrote. */
void oracle_parse(struct oracle *oracle, uint32_t key, struct bytes encoded, struct siblings *out);
/* Had the writer of `later` seen `earlier`? */
bool oracle_saw(const struct oracle *oracle, uint32_t later, uint32_t earlier);
/* Is the version among these, or may it be gone because of one of them? */
bool oracle_stands(const struct oracle *oracle, uint32_t number, const struct siblings *among);
bool siblings_have(const struct siblings *siblings, uint32_t number);
void siblings_add(struct siblings *siblings, uint32_t number);
void siblings_copy(struct siblings *to, const struct siblings *from);
void siblings_free(struct siblings *siblings);
/* "{3, 5}"; in a buffer that the next calls but three overwrite. */
const char *siblings_text(const struct siblings *siblings);

/* Has the node lost its disk, and not learned again how many replicas the key has? */
bool oracle_is_ignorant(const struct oracle *oracle, uint32_t node, uint32_t key);

/* What the world shows. */
void oracle_committed(struct oracle *oracle, uint32_t node, enum space space, struct bytes key,
                      const struct bytes *value);
void oracle_read(struct oracle *oracle, uint32_t node, enum space space, struct bytes key, struct bytes value);
void oracle_durable(struct oracle *oracle, uint32_t node, const struct disk_change *change);
void oracle_commit_failed(struct oracle *oracle, uint32_t node, const struct disk_change *change);
/* Around a failure that loses data of a node: what of it is nowhere else is destroyed by it. `whole`: durable data
 * too. */
void oracle_loss_begin(struct oracle *oracle, uint32_t node);
void oracle_loss_end(struct oracle *oracle, uint32_t node, bool whole);
/* By the ring of the end: see oracle_place. `node` from 0. */
bool oracle_is_replica(const struct oracle_key *key, uint32_t node);
/* Adds what stands in hints that nobody has taken yet; `strays`: and on all nodes. */
void oracle_hinted(struct oracle *oracle, uint32_t key, bool strays, struct siblings *out);
/* The version, and what its writer had seen, is given up as far as it is on no other nodes than these (a bit each).
 * False: it is itself on another, or superseded there; or another has had it, and its disk has not been destroyed. */
bool oracle_give_up(struct oracle *oracle, uint32_t number, uint64_t nodes);
/* The node has died for good; or only seemed to have. */
void oracle_node_back(struct oracle *oracle, uint32_t node);
void oracle_node_gone(struct oracle *oracle, uint32_t node);
void oracle_forget_views(struct oracle *oracle, uint32_t node);

/* Index of the key that a key in a space's form names, or -1; `*owner` is the owner's index + 1 in the space of
 * hints. */
int oracle_find_key(const struct oracle *oracle, enum space space, struct bytes key, uint32_t *owner);

/* Far beyond any clock here; what is above it is the number. */
uint64_t oracle_expiry_ms(uint32_t number);

#endif
