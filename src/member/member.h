/* Membership (paper §4.8, §4.9): who is in the cluster, which of them answer, and which layouts are live.
 *
 *  - The history of membership changes, persisted and gossiped: each second its digest goes to a random member;
 *    where digests differ the histories go both ways and are merged by union. Bucket properties travel the same way.
 *  - Founding and joining. A node without seeds founds. Others ask a seed (JOIN). While nobody holds data the seed adds
 *    them at once; afterwards they are kept as candidates, everywhere, until an administrator commits the change.
 *  - Changes by administrators (COMMAND_CHANGE): all or none, on the history that they were planned on.
 *  - Live layouts and this node's mark (docs/adr/0005; layout.c): base and target, by which puts go, and the ring by
 *    which gets go.
 *  - Failure detection, purely local (paper §4.8.3): a member is up while its connection stands and something was
 *    heard from it within peer_timeout; a node whose own ticks came late doubts itself first and gives everybody that
 *    much more time.
 *
 * Owns: history, rings, mark, bucket table, up flags.
 *
 * INVARIANTS: a history is committed (META_HISTORY, synced) before it is spoken of to others; a mark is committed
 * (META_LAYOUT, synced) before it is told or acted upon; target and base are folds of prefixes of the history; sealed
 * is durable before the first write is acknowledged.
 */
#ifndef GRAMME_MEMBER_MEMBER_H
#define GRAMME_MEMBER_MEMBER_H

#include "seam/step.h"
#include "seam/config.h"

struct member;

size_t member_size(void);
/* `memory` has member_size() bytes, aligned to 64. History, buckets and layout in `config` have been checked by the
 * driver: damage there is an assert. */
struct member *member_init(void *memory, const struct shard_config *config);
/* For the driver's check: is this what META_LAYOUT may hold? Nothing at all is sound. */
bool member_layout_is_sound(struct bytes encoded);
/* Gives back the blobs that it holds; nothing but freeing the memory may follow. */
void member_deinit(struct member *member);

/* Fills in step->ring, buckets and up: shard_step calls it first. */
void member_view(struct member *member, struct step *step);
/* All timers of membership; calling it early is harmless. */
void member_tick(struct member *member, struct step *step);
uint64_t member_deadline(const struct member *member);
/* Any message from a node counts as a sign of life, and tells how late it comes (step->lag_ms). */
void member_heard(struct member *member, struct step *step, uint32_t from, const struct message *message);
/* The types HEARTBEAT .. JOIN_RESULT. */
void member_message(struct member *member, struct step *step, uint32_t from, const struct message *message);
void member_peer_up(struct member *member, struct step *step, uint32_t node);
void member_peer_down(struct member *member, struct step *step, uint32_t node);
void member_commit_done(struct member *member, struct step *step, uint64_t token, enum err err);

/* What the rest of the node reports to membership with each tick. */
struct member_progress {
  bool settled;  /* the coordinator has no unanswered put that was planned by other layouts than the present ones */
  bool idle;     /* and no request at all that is still to be answered */
  bool resynced; /* what the loss of stored data concerns has been checked against the other replicas */
  bool quiet;    /* there is nothing here that belongs to others, and nothing is being moved */
  bool past;     /* nothing is under way that was begun before this turn (step->turn) */
  bool holds;    /* whatever the target gives this node has been received whole, and is durable */
};
/* What this node has said to be over: a message that was sent by a clock before that must not make a copy. */
uint64_t member_low(const struct member *member);
void member_note_progress(struct member *member, struct step *step, const struct member_progress *progress);
/* May a message of this type come from that node: is it a member of a live layout, and does it know of its removal? */
bool member_allows(const struct member *member, const struct step *step, uint32_t from, enum message_type type);
/* COMMAND_CHANGE: replies when the changes are durable and in effect here, or why not. */
void member_change(struct member *member, struct step *step, const struct command *command);
uint64_t member_wrote(const struct member *member);
enum loss member_latest_loss(const struct member *member);
enum loss member_loss(const struct member *member);
void member_layout(const struct member *member, struct layout_view *out);
/* Latest heard first; returns how many were written. */
uint32_t member_candidates(const struct member *member, struct candidate_view *out, uint32_t capacity);

/* May this node accept a client's write now? OK; NOTMEMBER; NOSPACE or IO when the seal could not be stored. RETRY:
 * the seal is being made durable, and the write may go on, for commits become durable in the order in which they are
 * emitted. */
enum err member_admit_write(struct member *member, struct step *step) MUST_CHECK;
/* The replica has taken a peer's write: this node holds data from now on. Begins to seal it; idempotent and cheap. */
void member_note_data(struct member *member, struct step *step);
/* DYNAMO.BUCKET SET: the record is in effect here at once, and is persisted and spread. BADARG (name, properties),
 * FULL. */
enum err member_set_bucket(struct member *member, struct step *step, struct bytes name,
                           const struct bucket_props *props) MUST_CHECK;

const struct history *member_history(const struct member *member);
const struct ring *member_ring(const struct member *member); /* the target */
const struct bucket_table *member_buckets(const struct member *member);
/* Does it serve clients: is it in a live layout, and do all know that? */
bool member_is_member(const struct member *member);
/* Does it take changes of membership? Also while it waits to be told of what it has lost, maybe by one that is gone. */
bool member_takes_changes(const struct member *member);
/* It holds, or has held, data: from now on nodes are added by hand. */
bool member_is_sealed(const struct member *member);
/* Why the last seed asked did not take this node in, or that it was removed; or NULL. */
const char *member_refusal(const struct member *member);
/* How many connected nodes have turned out to be of another cluster of the same name; which was the last. */
uint32_t member_foreigners(const struct member *member, uint32_t *last);
void member_set_health(struct member *member, const struct heartbeat *own);
/* The members of base and target, in order of node id; returns how many there are, of which at most `capacity` were
 * written. */
/* The lowest ask for a clean round of comparing that another member has settled (see sync/sync.h); 0 while one is down,
 * UINT32_MAX without any other. */
uint32_t member_least_settled(const struct member *member);
uint32_t member_list(const struct member *member, struct member_view *out, uint32_t capacity);

#endif
