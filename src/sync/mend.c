/* One key that differs: see session.h for its states. */
#include "base/assert.h"
#include "base/plant.h"
#include "sync/state.h"
#include "version/prune.h"

static void mend_clear(struct mend *mend) {
  blob_put(mend->key);
  blob_put(mend->mine);
  *mend = (struct mend){.state = MEND_DONE};
}

void mends_clear(struct session *session) {
  for (uint32_t i = 0; i < SYNC_MENDS_MAX; i++) {
    mend_clear(&session->mends[i]);
  }
  session->open = 0;
}

static struct message mend_says(const struct sync *sync, const struct session *session, const struct mend *mend,
                                enum message_type type) {
  uint32_t index = (uint32_t)(mend - session->mends);
  ASSERT(index < SYNC_MENDS_MAX);
  return (struct message){.type = type,
                          .request = sync_request((uint32_t)(session - sync->list), session->generation, index),
                          .key = blob_bytes(mend->key),
                          .key_blob = mend->key};
}

static void offer(struct sync *sync, struct step *step, const struct session *session, struct mend *mend, uint32_t to,
                  uint64_t digest) {
  struct message message = mend_says(sync, session, mend, MESSAGE_OFFER);
  message.digest = digest;
  mend->state = MEND_OFFERED;
  step_send(step, to, &message);
}

bool mend_add(struct sync *sync, struct step *step, struct session *session, struct bytes key, struct blob *mine,
              uint64_t theirs_digest) {
  ASSERT(session->open < SYNC_MENDS_MAX);
  ASSERT(mine != NULL || theirs_digest != 0);
  struct mend *mend = &session->mends[session->open];
  ASSERT(mend->state == MEND_DONE && mend->key == NULL);
  struct blob *copy = blob_copy(step->pool, key);
  if (copy == NULL) {
    session->failed += 1;
    return false;
  }
  *mend = (struct mend){.key = copy, .mine = blob_get(mine), .theirs_digest = theirs_digest};
  mend->mine_digest = mine == NULL ? 0 : object_digest(blob_bytes(mine));
  session->open += 1;
  if (theirs_digest == 0) {
    offer(sync, step, session, mend, session->node, mend->mine_digest);
  } else {
    offer(sync, step, session, mend, step->self, theirs_digest);
  }
  return true;
}

static void mend_end(struct sync *sync, struct step *step, struct session *session, struct mend *mend, bool mended) {
  ASSERT(mend->state != MEND_DONE && session->open > 0);
  if (mended && mend->found) {
    COUNT(step->stats->sync_mended);
    sync_differ_add(sync, session, -1);
  }
  session->failed += mended ? 0 : 1;
  session->due_ns = step->now_ns + SYNC_ANSWER_NS;
  mend_clear(mend);
  session->open -= 1;
  if (session->open == 0) {
    session_mended(sync, step, session);
  }
}

/* It does differ. */
static void mend_found(struct sync *sync, struct step *step, const struct session *session, struct mend *mend) {
  if (!mend->found) {
    mend->found = true;
    sync->round.found += 1;
    sync->partners[sync->pairings[session->partition].members[session->rank]].found += 1;
    COUNT(step->stats->sync_found);
    sync_differ_add(sync, session, 1);
  }
}

static void read_theirs(struct sync *sync, struct step *step, const struct session *session, struct mend *mend,
                        bool full) {
  struct message read = mend_says(sync, session, mend, MESSAGE_READ);
  read.flags = full ? MESSAGE_FULL : 0;
  mend->state = MEND_READING;
  mend->full = full;
  step_send(step, session->node, &read);
}

/* A write is a BURY when its writer knows what is dead. */
static void write_there(struct sync *sync, struct step *step, const struct session *session, struct mend *mend) {
  struct message write = mend_says(sync, session, mend, session->floor > 0 ? MESSAGE_BURY : MESSAGE_WRITE);
  write.floor = session->floor;
  write.object = blob_bytes(mend->mine);
  write.object_blob = mend->mine;
  mend->state = MEND_WRITING;
  mend->there = true;
  sync_spend(step, write.object.size + FRAME_HEADER_BYTES);
  step_send(step, session->node, &write);
}

static void write_here(struct sync *sync, struct step *step, const struct session *session, struct mend *mend,
                       const struct message *theirs) {
  struct message write = mend_says(sync, session, mend, theirs->floor > 0 ? MESSAGE_BURY : MESSAGE_WRITE);
  write.floor = theirs->floor;
  write.object = theirs->object;
  write.object_blob = theirs->object_blob;
  mend->state = MEND_WRITING;
  mend->here = true;
  step_send(step, step->self, &write);
}

/* Both know that deletion, or will soon: each forgets it by itself. */
static bool is_forgotten(const struct session *session, struct bytes mine, struct bytes theirs) {
  struct bytes one = mine.size == 0 ? theirs : mine;
  bool alone = mine.size == 0 || theirs.size == 0;
  return alone && session->floor > 0 && object_is_garbage(one, session->floor);
}

static void was_offered(struct sync *sync, struct step *step, struct session *session, struct mend *mend,
                        enum err err) {
  bool left = PLANTED(mend_one_way) && mend->theirs_digest != 0;
  struct bytes mine = blob_bytes(mend->mine);
  if (err == ERR_OK || left) {
    mend_end(sync, step, session, mend, true); /* it has come meanwhile */
  } else if (err != ERR_ABSENT) {
    mend_end(sync, step, session, mend, false);
  } else if (mend->theirs_digest != 0) {
    read_theirs(sync, step, session, mend, false);
  } else if (is_forgotten(session, mine, BYTES_NONE)) {
    mend_end(sync, step, session, mend, true);
  } else if (object_dead(mine, BYTES_NONE, session->theirs_floor) != PRUNED_NOTHING) {
    read_theirs(sync, step, session, mend, false); /* if they have it not, it is dead */
  } else {
    mend_found(sync, step, session, mend);
    write_there(sync, step, session, mend);
  }
}

static void was_read(struct sync *sync, struct step *step, struct session *session, struct mend *mend,
                     const struct message *message) {
  struct bytes mine = blob_bytes(mend->mine);
  struct bytes theirs = message->object;
  bool is_clock = (message->flags & MESSAGE_CLOCK) != 0;
  sync_spend(step, theirs.size + FRAME_HEADER_BYTES);
  if (message->err != ERR_OK || (mend->full && is_clock)) {
    mend_end(sync, step, session, mend, false);
    return;
  }
  enum pruned dead = object_dead(mine, theirs, message->floor);
  enum pruned theirs_dead = object_dead(theirs, mine, session->floor);
  bool gone = theirs.size == 0 && mend->mine == NULL;
  if (gone || message->digest == mend->mine_digest || is_forgotten(session, mine, theirs)) {
    mend_end(sync, step, session, mend, true); /* gone, or the same by now */
    return;
  }
  mend_found(sync, step, session, mend);
  bool take =
      dead != PRUNED_NOTHING || (theirs_dead != PRUNED_ALL && (mend->mine == NULL || !object_descends(mine, theirs)));
  bool give =
      theirs_dead != PRUNED_NOTHING || (dead != PRUNED_ALL && mend->mine != NULL && !object_descends(theirs, mine));
  if (take && is_clock) {
    read_theirs(sync, step, session, mend, true);
    return;
  }
  if (take) {
    write_here(sync, step, session, mend, message);
  }
  if (give) {
    write_there(sync, step, session, mend);
  }
  if (!take && !give) {
    mend_end(sync, step, session, mend, false);
  }
}

static void was_written(struct sync *sync, struct step *step, struct session *session, struct mend *mend, uint32_t from,
                        const struct message *message) {
  bool durable = message->err == ERR_OK && (message->flags & MESSAGE_DURABLE) != 0;
  if (!durable) {
    mend_end(sync, step, session, mend, false);
    return;
  }
  mend->here = mend->here && from != step->self;
  mend->there = mend->there && from == step->self;
  if (!mend->here && !mend->there) {
    mend_end(sync, step, session, mend, true);
  }
}

void mend_message(struct sync *sync, struct step *step, struct session *session, uint32_t from,
                  const struct message *message) {
  struct mend *mend = &session->mends[message->request & SYNC_INDEX_MASK];
  bool ack = message->type == MESSAGE_WRITE_ACK;
  uint32_t asked = mend->theirs_digest == 0 ? session->node : step->self;
  session->due_ns = step->now_ns + SYNC_ANSWER_NS;
  if (ack && mend->state == MEND_OFFERED && from == asked) {
    was_offered(sync, step, session, mend, message->err);
  } else if (message->type == MESSAGE_READ_REPLY && mend->state == MEND_READING && from == session->node) {
    was_read(sync, step, session, mend, message);
  } else if (ack && mend->state == MEND_WRITING &&
             ((from == step->self && mend->here) || (from == session->node && mend->there))) {
    was_written(sync, step, session, mend, from, message);
  } else {
    COUNT(step->stats->messages_late);
  }
}
