/* What the files of membership share. member.c: dispatch, timers, the seal, views. detector.c: who is connected and
 * heard from (paper §4.8.3), heartbeats, fences. gossip.c: the history and the bucket table, kept, persisted and spread
 * (paper §4.8.1). layout.c: the live layouts and the mark (paper §4.9; docs/adr/0005). barrier.c: what the marks of the
 * others permit. low.c: what is over everywhere. join.c: founding, joining, candidates. change.c: changes that an
 * administrator commits.
 *
 * INVARIANTS: `records.history` is durable, and every message that tells of it is made of it; `records.staged` is what
 * it becomes; at most one commit of each kind is under way; `target` and `base` are folds of prefixes of the history.
 */
#ifndef GRAMME_MEMBER_STATE_H
#define GRAMME_MEMBER_STATE_H

#include "member/detector.h"
#include "member/layout.h"
#include "member/life.h"
#include "member/low.h"
#include "member/member.h"

enum member_token {
  MEMBER_TOKEN_HISTORY = 1,
  MEMBER_TOKEN_BUCKETS,
  MEMBER_TOKEN_SEALED,
  MEMBER_TOKEN_LAYOUT,
  MEMBER_TOKEN_WROTE,
  MEMBER_TOKEN_LOSS,
  MEMBER_TOKEN_LIVES,
  MEMBER_TOKEN_LOW
};

enum err member_store(struct step *step, enum member_token token, struct bytes name, struct blob *value) MUST_CHECK;

/* -- gossip.c ---------------------------------------------------------------------- */
struct records {
  struct history history;    /* durable, in effect */
  struct history staged;     /* what it becomes when the next commit is done */
  struct history scratch;    /* one that has been received and is being looked at */
  struct history merged;     /* what it and ours make together */
  uint64_t digest;           /* of `history` */
  struct blob *history_blob; /* `history` encoded; NULL until it is wanted */
  struct blob *committing;   /* encoded history whose commit is under way, or NULL */
  bool staged_dirty;         /* the store does not hold `staged` */
  bool tell;                 /* all members are told as soon as what is staged is durable: we issued it */
  struct bucket_table buckets;
  uint64_t buckets_digest;
  bool buckets_dirty;
  bool buckets_committing;
  uint32_t foreigner;  /* the latest that was found to be of another cluster */
  uint32_t foreigners; /* how many times one was */
  uint64_t gossip_due_ns;
  uint64_t retry_due_ns; /* a commit failed: try again then; HEAP_NEVER none */
};

void records_init(struct records *records, const struct shard_config *config);
void records_tick(struct member *member, struct step *step);
/* Folds away the base's records when there are enough of them. */
void records_fold(struct member *member, const struct step *step);
/* Commits what is staged, unless a commit is under way: then when that is done. */
void records_commit(struct member *member, struct step *step);
/* Does the history begin with this layout, also when what is staged is durable? */
bool records_keep(const struct member *member, uint32_t count, uint64_t digest);
void records_history_committed(struct member *member, struct step *step, enum err err);
void records_buckets_committed(struct member *member, struct step *step, enum err err);
void records_buckets_changed(struct member *member, struct step *step); /* here: persists and spreads it */
void records_send_history(struct member *member, struct step *step, uint32_t to, uint8_t flags);
struct blob *records_encode(struct blob_pool *pool, const struct history *history) MUST_CHECK;
void records_gossip(struct member *member, struct step *step, uint32_t from, const struct gossip *gossip);
/* A newcomer asks at once for bucket properties that it does not have. */
void records_heartbeat(struct member *member, struct step *step, uint32_t from, const struct heartbeat *heartbeat);
void records_history(struct member *member, struct step *step, uint32_t from, const struct message *message);
void records_props(struct member *member, struct step *step, uint32_t from, const struct message *message);
/* What the first `count` records end with; nothing for 0. */
struct identity records_end(const struct history *history, uint32_t count);
/* A time for a change that is issued here: behind all that is known. */
uint64_t records_next_time(struct member *member, struct step *step);

/* -- join.c ------------------------------------------------------------------------ */
struct joining {
  bool found; /* may found a cluster */
  struct change self;
  uint64_t due_ns; /* the next attempt */
  uint32_t asked;  /* the seed of the last one */
  char refusal[REASON_MAX_BYTES + 1];
  struct candidate_view candidates[JOINERS_MAX];
  uint32_t candidate_count;
};

void join_init(struct member *member, const struct shard_config *config);
void join_start(struct member *member, struct step *step); /* the first tick */
void join_tick(struct member *member, struct step *step);
uint64_t join_deadline(const struct member *member);
void join_connected(struct member *member, struct step *step);
void join_refolded(struct member *member); /* the history has changed */
void join_request(struct member *member, struct step *step, uint32_t from, const struct message *message);
void join_result(struct member *member, struct step *step, uint32_t from, const struct message *message);

/* -- change.c ---------------------------------------------------------------------- */

/* The one command whose changes are being stored. */
struct changing {
  bool active;
  uint64_t token;
  uint64_t first_time; /* its changes have this time and those behind it */
  uint32_t count;
};

void change_committed(struct member *member, struct step *step, enum err err);
bool change_is_active(const struct member *member);

/* WANTED: there may be data, but its commit failed. */
enum seal_state { SEAL_NONE, SEAL_WANTED, SEAL_COMMITTING, SEAL_DURABLE };

#define RINGS 4u /* three are live at the most, and one is being folded */

struct member {
  uint32_t self;
  bool started; /* has had a tick */
  bool serves;  /* its clients are answered: a live layout has it */
  enum seal_state seal;
  enum err seal_err; /* of the last attempt, which failed at: */
  uint64_t seal_failed_ns;
  struct ring rings[RINGS];
  struct ring *target; /* the same where they are of the same prefix: */
  struct ring *base;
  struct ring *newest; /* of the whole history */
  bool has_base;       /* else `base` is the target */
  struct layout layout;
  struct life life;
  struct low low;
  struct detector detector;
  struct records records;
  struct joining joining;
  struct changing changing;
  uint8_t reason[REASON_MAX_BYTES]; /* of messages of this step */
};

/* The live layouts, the newest ring or the own mark have changed: everything that follows from them. */
void member_refresh(struct member *member, struct step *step);

#endif
