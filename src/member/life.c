#include "member/life.h"

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "member/state.h"

#define LIFE_BYTES (4u + 8u + 8u + 8u)
#define LOSS_BYTES (1u + 8u)

/* -- on disk -------------------------------------------------------------------------- */

/* META_WROTE: u64 mark. META_LOSS: u8 loss  u64 what it is known by; gone once it is made good.
 * META_LIVES: for each that has told a mark, u32 node  u64 life  u64 its mark in that life  u64 its greatest in earlier
 * ones. Who is still in that life when we start again has lost nothing, however much it has written since its start. */
void life_init(struct member *member, const struct shard_config *config) {
  struct life *life = &member->life;
  struct reader wrote = reader_make(config->wrote);
  struct reader loss = reader_make(config->loss);
  struct reader lives = reader_make(config->lives);
  life->id = config->actor.incarnation;
  life->woke = life->wrote = read_u64(&wrote);
  /* With a history and no base it crashed before it had told anybody that it holds anything. Who has founded the
   * cluster knows more before then only if others have told it: then its directory was empty. */
  const struct history *history = &member->records.history;
  const struct change *founding = history_founding(history);
  bool founds = config->found || (founding != NULL && founding->node == member->self && history_length(history) == 1);
  life->fresh = member->layout.mark.base_count == 0 && !founds;
  life->emptied = life->fresh || life->wrote == 0;
  uint8_t kind = read_u8(&loss);
  uint64_t lost = read_u64(&loss);
  if (!loss.failed && lost != 0) {
    life->loss = kind;
    life->lost = lost;
    life->loss_read = true;
  } else if (config->volatile_store && config->sealed) {
    life->loss = LOSS_VOLATILE;
    life->lost = config->actor.incarnation | 1u;
  }
  life->latest = life->loss;
  while (reader_left(&lives) >= LIFE_BYTES) {
    uint32_t node = read_u32(&lives);
    uint64_t id = read_u64(&lives);
    uint64_t mark = read_u64(&lives);
    detector_remember(member, node, id, mark, read_u64(&lives));
  }
}

static bool store(struct step *step, enum member_token token, struct bytes name, struct bytes value) {
  struct blob *blob = blob_copy(step->pool, value);
  enum err err = blob == NULL ? ERR_NOMEM : member_store(step, token, name, blob);
  blob_put(blob);
  return err == ERR_OK;
}

static bool loss_store(struct member *member, struct step *step) {
  const struct life *life = &member->life;
  uint8_t bytes[LOSS_BYTES];
  struct writer w = writer_make(bytes, sizeof bytes);
  write_u8(&w, life->clearing ? LOSS_NONE : life->loss);
  write_u64(&w, life->clearing ? 0 : life->lost);
  return store(step, MEMBER_TOKEN_LOSS, BYTES_LITERAL(META_LOSS), writer_bytes(&w));
}

static void lives_store(struct member *member, struct step *step) {
  struct life *life = &member->life;
  uint8_t bytes[LIFE_BYTES * PEERS_MAX];
  struct writer w = writer_make(bytes, sizeof bytes);
  if (!life->lives_dirty || life->lives_storing) {
    return;
  }
  for (uint32_t i = 0; i < member->detector.peers_end; i++) {
    const struct peer *peer = &member->detector.peers[i];
    if (peer->node != 0 && peer->known && (peer->wrote != 0 || peer->wrote_before != 0)) {
      write_u32(&w, peer->node);
      write_u64(&w, peer->life);
      write_u64(&w, peer->wrote);
      write_u64(&w, peer->wrote_before);
    }
  }
  ASSERT(!w.failed);
  life->lives_dirty = !store(step, MEMBER_TOKEN_LIVES, BYTES_LITERAL(META_LIVES), writer_bytes(&w));
  life->lives_storing = !life->lives_dirty;
}

void life_committed(struct member *member, struct step *step, uint64_t token, enum err err) {
  struct life *life = &member->life;
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
  }
  if (token == MEMBER_TOKEN_WROTE) {
    ASSERT(life->storing);
    life->storing = false;
    life->wrote = err == ERR_OK ? life->next : life->wrote;
    life->written = life->written || err != ERR_OK;
    detector_send_heartbeats(member, step); /* what nobody was told nobody can tell back */
  } else if (token == MEMBER_TOKEN_LIVES) {
    life->lives_storing = false;
    life->lives_dirty = life->lives_dirty || err != ERR_OK;
  } else if (life->loss_storing) {
    life->loss_storing = false;
    life->loss_dirty = life->loss_dirty || err != ERR_OK;
  } else if (life->clearing) {
    life->clearing = false;
    bool made_good = err == ERR_OK && !life->loss_dirty; /* there may be another one since */
    life->loss = made_good ? LOSS_NONE : life->loss;
    life->lost = made_good ? 0 : life->lost;
    member_refresh(member, step);
  }
}

/* -- being told ------------------------------------------------------------------------ */

/* Until it is stored no greater mark is told, by which a restart could not be told of it anew. */
static void loss_keep(struct member *member, struct step *step) {
  struct life *life = &member->life;
  if (life->loss_dirty && !life->loss_storing && !life->clearing) {
    life->loss_storing = loss_store(member, step);
    life->loss_dirty = !life->loss_storing;
  }
}

static void lose(struct member *member, struct step *step, uint64_t known_by) {
  struct life *life = &member->life;
  ASSERT(known_by != 0 && known_by != life->lost);
  if (PLANTED(loss_unnoticed)) {
    return;
  }
  COUNT(step->stats->losses);
  life->loss = life->emptied ? LOSS_EMPTIED : LOSS_OLD;
  life->latest = life->loss;
  life->lost = known_by;
  life->loss_read = false;
  life->loss_dirty = true;
  loss_keep(member, step);
  member_refresh(member, step);
}

void life_heard(struct member *member, struct step *step, uint32_t from, const struct message *message) {
  struct life *life = &member->life;
  const struct heartbeat *heartbeat = &message->heartbeat;
  bool current = heartbeat->your_life == life->id;
  uint64_t told = heartbeat->your_wrote_before;
  told = !current && heartbeat->your_wrote > told ? heartbeat->your_wrote : told;
  if (told > life->woke) {
    life->woke = told;
    life->written = true; /* the next mark is above what was told */
    /* What was got back before a copy was taken is old in it, too. */
    if (life->lost == 0 || (life->loss_read && life->lost != told)) {
      lose(member, step, told);
    }
  }
  life->lives_dirty = detector_note_life(member, from, heartbeat) || life->lives_dirty;
}

void life_tell(const struct member *member, const struct peer *peer, struct heartbeat *heartbeat) {
  const struct life *life = &member->life;
  heartbeat->life = life->id;
  heartbeat->wrote = life->wrote;
  heartbeat->loss = life->loss;
  heartbeat->your_life = peer->life;
  heartbeat->your_wrote = peer->wrote;
  heartbeat->your_wrote_before = peer->wrote_before;
  heartbeat->succeeds = peer->heartbeat.your_life != life->id ? peer->heartbeat.your_life : 0;
}

/* -- time -------------------------------------------------------------------------------- */

static bool all_have_told(const struct member *member) {
  const struct ring *rings[2] = {member->base, member->target};
  for (uint32_t i = 0; i < 2; i++) {
    for (uint32_t k = 0; k < rings[i]->member_count; k++) {
      uint32_t node = rings[i]->members[k].node;
      const struct peer *peer = node == member->self ? NULL : detector_find(&member->detector, node);
      if (node != member->self && (peer == NULL || !peer->told)) {
        return false;
      }
    }
  }
  return member->has_base;
}

static void raise(struct member *member, struct step *step) {
  struct life *life = &member->life;
  uint8_t bytes[8];
  if (!life->written || life->storing || !life->sure || life->loss_dirty || life->loss_storing) {
    return;
  }
  uint64_t next = hlc_tick(step->hlc, step->wall_ms);
  next = next > life->wrote ? next : life->wrote + 1;
  next = next > life->woke ? next : life->woke + 1;
  struct writer w = writer_make(bytes, sizeof bytes);
  write_u64(&w, next);
  if (store(step, MEMBER_TOKEN_WROTE, BYTES_LITERAL(META_WROTE), writer_bytes(&w))) {
    life->next = next;
    life->storing = true;
    life->written = false;
  }
}

void life_base(struct member *member, struct step *step, const struct ring *base) {
  struct life *life = &member->life;
  if (life->fresh && !life->based) {
    life->based = true;
    if (ring_find(base, member->self) >= 0 && life->lost == 0) {
      lose(member, step, life->id | 1u);
    }
  }
}

void life_look(struct member *member, struct step *step) {
  struct life *life = &member->life;
  if (member->has_base) {
    life_base(member, step, member->base);
  }
  bool waited = member->has_base && step->now_ns - life->begun_ns >= step->tunables->peer_timeout_ns;
  if (!life->sure && life->begun_ns != 0 && (waited || all_have_told(member))) {
    life->sure = true;
    member_view(member, step);
  }
  if (!life_is_informed(member) && member->has_base && barrier_knows_props(member)) {
    life->informed = true;
    member_refresh(member, step);
  } else if (life_has_forgotten(member)) {
    member_refresh(member, step); /* whether it is certain of the layouts may have changed */
  }
}

bool life_has_forgotten(const struct member *member) {
  return member->life.loss == LOSS_EMPTIED || member->life.loss == LOSS_OLD;
}

/* Before it knows the buckets it takes keys with many replicas for others'; and before all have heard of this life, and
 * are done with all changes, it may be bound by what it has said in the last one. */
static bool is_made_good(const struct member *member) {
  return member->layout.progress.resynced && layout_progress_is_current(member) && life_is_informed(member) &&
         (!life_has_forgotten(member) || (barrier_is_heard(member) && barrier_all_done(member)));
}

void life_tick(struct member *member, struct step *step) {
  struct life *life = &member->life;
  life->begun_ns = life->begun_ns == 0 ? step->now_ns : life->begun_ns;
  life_look(member, step);
  if (life->lost != 0 && !life->clearing && !life->loss_dirty && !life->loss_storing && is_made_good(member)) {
    life->clearing = true;
    life->clearing = loss_store(member, step);
  }
  if (step->now_ns >= life_deadline(member)) {
    life->due_ns = step->now_ns + WROTE_STEP_NS;
    lives_store(member, step);
    loss_keep(member, step);
    raise(member, step);
  }
}

bool life_is_informed(const struct member *member) {
  const struct life *life = &member->life;
  return life->informed || !(life->fresh || life_has_forgotten(member));
}

uint64_t member_wrote(const struct member *member) {
  return member->life.wrote;
}

enum loss member_latest_loss(const struct member *member) {
  return (enum loss)member->life.latest;
}

enum loss member_loss(const struct member *member) {
  return (enum loss)member->life.loss;
}

uint64_t life_deadline(const struct member *member) {
  const struct life *life = &member->life;
  bool waits = (life->written && !life->storing && life->sure) || (life->lives_dirty && !life->lives_storing) ||
               life->loss_dirty;
  return waits ? life->due_ns : HEAP_NEVER;
}
