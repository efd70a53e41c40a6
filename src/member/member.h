/* Membership (paper §4.8): who is in the cluster, and which of them answer.
 *
 *  - The history of membership changes, persisted and gossiped: each second its digest goes to a random member;
 *    where digests differ the histories go both ways and are merged by union. Bucket properties travel the same way.
 *  - Founding and joining while a cluster is being formed. A node without seeds founds. Others ask a seed (JOIN); the
 *    seed asks every member whether it may (JOIN_ASK); each that holds no data promises to accept no write until it
 *    sees the change, or is released, or JOIN_PROMISE_NS have passed; when all have promised, within JOIN_ISSUE_NS of
 *    the asking, the seed issues the ADD. A member that is sealed (it has accepted a write, ever) or down makes it a
 *    refusal, in words; one that knows another history, or has promised to another seed, makes it a RETRY. A node
 *    promises to one seed at a time, itself included, so joins follow each other.
 *  - Failure detection, purely local (paper §4.8.3): a member is up while its connection stands and something was
 *    heard from it within peer_timeout; a node whose own ticks came late doubts itself first and gives everybody that
 *    much more time.
 *
 * Owns: history, ring, bucket table, up flags.
 *
 * INVARIANTS: the ring is the fold of the history; a history is committed (META_HISTORY, synced) before it is spoken
 * of to others [a record that we issue takes effect when its commit is done]; sealed is durable before the first
 * write is acknowledged.
 */
#ifndef GRAMME_MEMBER_MEMBER_H
#define GRAMME_MEMBER_MEMBER_H

#include "seam/step.h"
#include "seam/config.h"

struct member;

size_t member_size(void);
/* `memory` has member_size() bytes, aligned to 64. History and buckets in `config` have been checked by the driver's
 * reading them back: damage there is an assert. */
struct member *member_init(void *memory, const struct shard_config *config);
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

/* May this node accept a client's write now? OK; FORMING while it is bound by a promise; NOTMEMBER; NOSPACE or IO
 * when the seal could not be stored. RETRY: the seal is being made durable: ask again after the next commit completes
 * (the caller queues or answers FORMING). */
enum err member_admit_write(struct member *member, struct step *step) MUST_CHECK;
/* The replica has taken a peer's write: this node holds data from now on. Begins to seal it; idempotent and cheap. */
void member_note_data(struct member *member, struct step *step);
/* DYNAMO.BUCKET SET: the record is in effect here at once, and is persisted and spread. BADARG (name, properties),
 * FULL. */
enum err member_set_bucket(struct member *member, struct step *step, struct bytes name,
                           const struct bucket_props *props) MUST_CHECK;

const struct history *member_history(const struct member *member);
const struct ring *member_ring(const struct member *member);
const struct bucket_table *member_buckets(const struct member *member);
bool member_is_member(const struct member *member);
bool member_is_sealed(const struct member *member); /* it holds, or has held, data: no node joins any more */
/* Why the last seed asked did not take this node in, or NULL. */
const char *member_refusal(const struct member *member);
void member_set_health(struct member *member, const struct heartbeat *own);
/* In order of node id; returns how many there are, of which at most `capacity` were written. */
uint32_t member_list(const struct member *member, struct member_view *out, uint32_t capacity);

#endif
