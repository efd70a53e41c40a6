/* What every module of the core is handed while one event is worked on: the time, where effects go, and the
 * shard's shared parts. Nothing in it outlives the step but what its owners keep.
 */
#ifndef GRAMME_SEAM_STEP_H
#define GRAMME_SEAM_STEP_H

#include "base/hlc.h"
#include "base/prng.h"
#include "ring/ring.h"
#include "seam/config.h"
#include "seam/seam.h"
#include "seam/stats.h"

/* Messages of this step to this very node; shard.c hands them on before the step ends. They own their blobs. */
struct local_queue {
  uint32_t head, count;
  struct message list[LOCAL_MESSAGES_MAX];
};

struct step {
  uint64_t now_ns;
  uint64_t wall_ms;
  struct effects *effects;
  struct shard_stats *stats;
  struct blob_pool *pool;
  struct version_scratch *scratch;
  struct version_stats *version_stats;
  struct prng *prng;
  struct hlc *hlc;
  const struct shard_tunables *tunables;
  uint64_t cluster_seed;
  uint32_t self;   /* this node's id */
  uint32_t lag_ms; /* of the message in hand: how much longer it took than the quickest lately */
  bool nospace;    /* its disk is full: others had better coordinate puts */
  /* The live layouts (docs/adr/0005): writes want their quorum in `base` and in `ring`, reads in `reading`. */
  const struct ring *base;    /* the newest that all hold; == ring when nothing moves */
  const struct ring *ring;    /* where the cluster goes: the target of this node */
  const struct ring *reading; /* base, or ring once all hold it */
  bool agreed;                /* all know the target: whatever is copied from now on lacks no acknowledged write */
  bool sure;                  /* nobody has told that what is stored here is less than it was; see member/life.h */
  uint64_t lost;              /* somebody has, and not all of it has been got back: by what that is known; 0: no */
  bool lost_little;           /* most of it is still there */
  bool all_done;              /* all members go by `ring` alone: base == ring, and each has said DONE of it */
  uint32_t epoch;             /* how often the live layouts have changed since the start of this node */
  uint32_t turn;              /* counts the times between low-water marks: see member/low.h */
  uint64_t settled_low;       /* all that any node had begun by then is over, everywhere */
  uint64_t waves;             /* how often all members have made a turn since this node's start */
  const struct bucket_table *buckets;
  uint64_t buckets_digest; /* changes with what they say */
  const bool *up;          /* by index into ring->members; this node itself is always up */
  const bool *base_up;     /* the same for base */
  struct admit *admit;
  const uint16_t *held_back; /* as `up`: what their clients hold background work back by, in thousandths */
  const uint16_t *base_held_back;
  struct local_queue *local;
};

/* Sends to a node: to this one through the local queue, to others as an effect. Takes
 * references to key_blob and object_blob; bytes that lie in neither must live until the next step. To this node,
 * until the end of this one. `hlc` and, for types with a store key, `partition` are filled in here. */
void step_send(struct step *step, uint32_t to, const struct message *message);
/* These take references to the blobs too: the caller's own stay the caller's. */
void step_commit(struct step *step, uint64_t token, enum space space, struct blob *key, struct blob *value, bool sync);
void step_read(struct step *step, uint64_t token, enum space space, struct blob *key);
void step_scan(struct step *step, uint64_t token, enum space space, struct blob *from, struct blob *prefix,
               uint32_t max_count, uint32_t max_bytes, bool keys_only);
/* The caller fills in the reply, which is zeroed but for the token (entries of `explained` are to be filled in whole).
 * References put in `object` and `explained` become the effect's. `*reply` is valid until the next step. */
struct reply *step_reply(struct step *step, uint64_t token);
uint32_t step_replies_left(const struct step *step); /* how many more this step may give */
/* Encodes what a writer has now seen into reply->context, and sets reply->coordinator. `past` is truncated to
 * CLOCK_PAIRS_MAX where room is short (that can cause a false sibling only). */
void step_reply_context(struct step *step, struct reply *reply, struct past *past, uint32_t coordinator,
                        struct position position);
bool step_is_up(const struct step *step, uint32_t node);
/* Background work (admit/admit.h) with another node, or `with` == 0: with none. May a slice begin? Else when to ask. */
bool step_may_work(const struct step *step, enum admit_kind kind, uint32_t with, uint64_t *due_ns);
void step_worked(const struct step *step, enum admit_kind kind, uint64_t bytes);

/* Storage tokens say whose they are in their top byte. */
enum token_owner {
  TOKEN_REPLICA = 1,
  TOKEN_HANDOFF,
  TOKEN_MEMBER,
  TOKEN_MOVE,
  TOKEN_GROWTH,
  TOKEN_SYNC,
  TOKEN_SCRUB,
  TOKEN_FLOORS,
  TOKEN_REAPER
};
uint64_t token_make(enum token_owner owner, uint64_t value);
enum token_owner token_owner(uint64_t token);
uint64_t token_value(uint64_t token); /* low 56 bits */

/* Gives back what the effects of the last step held; shard_step begins with it. */
void effects_reset(struct effects *effects);

#endif
