/* What the files of membership share. member.c: dispatch, timers, the seal. detector.c: who is connected and heard from
 * (paper §4.8.3), heartbeats. gossip.c: the history and the bucket table, kept, persisted and spread (paper §4.8.1).
 * join.c: founding, joining, promises.
 *
 * INVARIANTS: `records.history` is durable, the ring is its fold, and every message that tells of it is made of it;
 * `records.staged` is a superset of it; at most one commit of each kind is under way.
 */
#ifndef GRAMME_MEMBER_STATE_H
#define GRAMME_MEMBER_STATE_H

#include "member/detector.h"
#include "member/member.h"

/* -- gossip.c ---------------------------------------------------------------------- */
struct records {
  struct history history;    /* durable, in effect */
  struct history staged;     /* what it becomes when the next commit is done */
  struct history scratch;    /* one that has been received and is being looked at */
  struct blob *history_blob; /* `history` encoded; NULL until it is wanted */
  struct blob *committing;   /* encoded history whose commit is under way, or NULL */
  bool staged_dirty;         /* the store does not hold `staged` */
  struct bucket_table buckets;
  uint64_t buckets_digest;
  bool buckets_dirty;
  bool buckets_committing;
  uint64_t gossip_due_ns;
  uint64_t retry_due_ns; /* a commit failed: try again then; HEAP_NEVER none */
};

enum member_token { MEMBER_TOKEN_HISTORY = 1, MEMBER_TOKEN_BUCKETS, MEMBER_TOKEN_SEALED };

void records_init(struct records *records, const struct shard_config *config);
void records_tick(struct member *member, struct step *step);
/* Commits what is staged, unless a commit is under way: then when that is done. */
void records_commit(struct member *member, struct step *step);
void records_history_committed(struct member *member, struct step *step, enum err err);
void records_buckets_committed(struct member *member, struct step *step, enum err err);
void records_buckets_changed(struct member *member, struct step *step); /* here: persists and spreads it */
void records_unstage(struct member *member, struct step *step);         /* back to what is in effect */
void records_send_history(struct member *member, struct step *step, uint32_t to, uint8_t flags);
struct blob *records_encode(struct blob_pool *pool, const struct history *history) MUST_CHECK;
void records_gossip(struct member *member, struct step *step, uint32_t from, const struct gossip *gossip);
void records_history(struct member *member, struct step *step, uint32_t from, const struct message *message);
void records_props(struct member *member, struct step *step, uint32_t from, const struct message *message);
enum err member_store(struct step *step, enum member_token token, struct bytes name, struct blob *value) MUST_CHECK;

/* A seed's asking:  idle --JOIN, all up, none sealed--> asked --all promised in time--> issued --durable in time-->
 * idle
 *   asked --refused, too late, history changed--> idle, all released     issued --late or failed--> idle, withdrawn */
enum asking_state { ASKING_IDLE, ASKING_ASKED, ASKING_ISSUED };

struct asking {
  enum asking_state state;
  uint64_t request;
  uint64_t asked_ns;
  struct change change;          /* the joiner */
  uint32_t waiting[MEMBERS_MAX]; /* members that have not answered */
  uint32_t waiting_count;
};

/* No write is taken until the joiner is seen in the ring, the seed releases us, or the time has come. */
struct promise {
  bool bound;
  uint32_t seed; /* 0: a start of ours, which may have forgotten a promise */
  uint32_t joiner;
  uint64_t request;
  uint64_t until_ns;
};

struct joining {
  bool found; /* may found a cluster */
  struct change self;
  uint64_t due_ns; /* the next attempt */
  uint32_t asked;  /* the seed of the last one */
  char refusal[REASON_MAX_BYTES + 1];
  struct asking asking;
  struct promise promise;
};

void join_init(struct member *member, const struct shard_config *config);
void join_start(struct member *member, struct step *step); /* the first tick */
void join_tick(struct member *member, struct step *step);
uint64_t join_deadline(const struct member *member);
void join_connected(struct member *member, struct step *step);
bool join_bound(const struct member *member, uint64_t now_ns);
void join_refolded(struct member *member, struct step *step); /* the ring has changed */
bool join_too_late(const struct member *member, uint64_t now_ns);
void join_withdraw(struct member *member, struct step *step); /* what was issued can not be made durable in time */
void join_request(struct member *member, struct step *step, uint32_t from, const struct message *message);
void join_ask(struct member *member, struct step *step, uint32_t from, const struct message *message);
void join_answer(struct member *member, struct step *step, uint32_t from, const struct message *message);
void join_result(struct member *member, struct step *step, uint32_t from, const struct message *message);

/* WANTED: there may be data, but its commit failed. All but NONE keep joiners out. */
enum seal_state { SEAL_NONE, SEAL_WANTED, SEAL_COMMITTING, SEAL_DURABLE };

struct member {
  uint32_t self;
  bool started; /* has had a tick */
  bool is_member;
  enum seal_state seal;
  enum err seal_err; /* of the last attempt, which failed at: */
  uint64_t seal_failed_ns;
  struct ring ring;
  struct detector detector;
  struct records records;
  struct joining joining;
  uint8_t reason[REASON_MAX_BYTES]; /* of messages of this step */
};

/* Folds the history anew and tells the others. */
void member_refold(struct member *member, struct step *step);

#endif
