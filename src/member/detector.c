#include <string.h>

#include "base/assert.h"
#include "base/plant.h"
#include "member/state.h"

void detector_init(struct detector *detector) {
  memset(detector, 0, sizeof(*detector));
  map_init(&detector->index, detector->slots, PEER_SLOTS);
}

const struct peer *detector_find(const struct detector *detector, uint32_t node) {
  uint32_t place = 0;
  if (!map_find(&detector->index, node, &place)) {
    return NULL;
  }
  ASSERT(place < PEERS_MAX);
  ASSERT(detector->peers[place].node == node);
  return &detector->peers[place];
}

static struct peer *find_mutable(struct detector *detector, uint32_t node) {
  uint32_t place = 0;
  return map_find(&detector->index, node, &place) ? &detector->peers[place] : NULL;
}

static bool is_stranger(const struct peer *peer) {
  return !peer->known;
}

/* Returns NULL for a stranger too many. */
static struct peer *take_place(struct detector *detector, uint32_t node, bool known) {
  ASSERT(node != 0);
  if (!known) {
    if (detector->stranger_count >= STRANGERS_MAX) {
      return NULL;
    }
    detector->stranger_count += 1;
  }
  uint32_t place = 0;
  while (place < PEERS_MAX && detector->peers[place].node != 0) {
    place += 1;
  }
  ASSERT(place < PEERS_MAX);
  detector->peers_end = place < detector->peers_end ? detector->peers_end : place + 1;
  struct peer *peer = &detector->peers[place];
  memset(peer, 0, sizeof(*peer));
  peer->node = node;
  peer->known = known;
  peer->ring_index = peer->base_index = NO_RING_INDEX;
  map_insert(&detector->index, node, place);
  return peer;
}

static void give_place_back(struct detector *detector, struct peer *peer) {
  ASSERT(is_stranger(peer));
  ASSERT(detector->stranger_count > 0);
  bool removed = map_remove(&detector->index, peer->node);
  ASSERT(removed);
  detector->stranger_count -= 1;
  memset(peer, 0, sizeof(*peer));
  while (detector->peers_end > 0 && detector->peers[detector->peers_end - 1].node == 0) {
    detector->peers_end -= 1;
  }
}

static bool is_live(const struct peer *peer) {
  return peer->ring_index != NO_RING_INDEX || peer->base_index != NO_RING_INDEX;
}

static uint16_t index_in(const struct ring *ring, uint32_t node) {
  int index = ring_find(ring, node);
  ASSERT(index < (int)MEMBERS_MAX);
  return index < 0 ? NO_RING_INDEX : (uint16_t)index;
}

/* What the rings and the history say of a peer. One that they bring in has had no reason yet to say anything to us. */
static void look_up(const struct member *member, struct peer *peer) {
  ASSERT(peer->node != member->self);
  bool was_live = is_live(peer);
  peer->ring_index = index_in(member->target, peer->node);
  peer->base_index = index_in(member->base, peer->node);
  bool newest = ring_find(member->newest, peer->node) >= 0;
  peer->known = newest || is_live(peer);
  peer->removed = !newest && (peer->known || history_knows(&member->records.history, peer->node) == KNOWN_GONE);
  if (is_live(peer) && !was_live) {
    peer->awaited = layout_phase(member) == MARK_NONE;
    peer->awaited_ns = 0;
  }
}

static bool knows_ours(const struct member *member, const struct heartbeat *heartbeat) {
  return member->has_base && mark_passes(&heartbeat->mark, member->base->digest, member->target->digest, MARK_KNOWS);
}

bool detector_knows(const struct member *member, const struct peer *peer) {
  bool further = peer->heartbeat.mark.target_count > member->layout.mark.target_count;
  return knows_ours(member, &peer->heartbeat) || (peer->knew && further);
}

/* Puts the fence of a peer up or down, and shows whether it is up. */
static void settle(struct member *member, struct peer *peer) {
  struct detector *detector = &member->detector;
  bool wanted = peer->removed && is_live(peer);
  bool out = peer->removed || !peer->known; /* or its addition was lost with the node that issued it */
  peer->abreast = out && peer->told && barrier_is_abreast(member, peer, is_live(peer));
  peer->awaited = peer->awaited && !peer->up;
  peer->knew = peer->knew || (peer->told && !peer->went_back && knows_ours(member, &peer->heartbeat));
  if (!wanted || (peer->up && peer->abreast)) {
    detector->returned = detector->returned || (wanted && peer->fenced);
    peer->fenced = false;
  } else if ((!peer->up && !peer->awaited) || barrier_is_shunned(member, peer)) {
    peer->fenced = true;
  }
  ASSERT(!peer->up || peer->connected);
  bool shown = peer->up && !peer->fenced;
  if (peer->ring_index != NO_RING_INDEX) {
    detector->up[peer->ring_index] = shown;
    detector->held_back[peer->ring_index] = peer->heartbeat.held_back;
  }
  if (peer->base_index != NO_RING_INDEX) {
    detector->base_up[peer->base_index] = shown;
    detector->base_held_back[peer->base_index] = peer->heartbeat.held_back;
  }
}

static void set_up(struct member *member, struct peer *peer, bool up) {
  peer->up = up;
  settle(member, peer);
}

void detector_connected(struct member *member, struct step *step, uint32_t node) {
  struct detector *detector = &member->detector;
  if (node == 0 || node == member->self) {
    return;
  }
  struct peer *peer = find_mutable(detector, node);
  if (peer == NULL) {
    peer = take_place(detector, node, false);
  }
  if (peer == NULL) {
    return;
  }
  look_up(member, peer);
  peer->connected = true;
  peer->lag_known = false;
  peer->last_heard_ns = step->now_ns; /* it has just proved itself to us */
  set_up(member, peer, true);
}

void detector_disconnected(struct member *member, uint32_t node) {
  struct peer *peer = find_mutable(&member->detector, node);
  if (peer == NULL) {
    return;
  }
  peer->connected = false;
  peer->heard_hlc = peer->turn_hlc = peer->echo_hlc = 0;
  set_up(member, peer, false);
  if (is_stranger(peer)) {
    give_place_back(&member->detector, peer);
  }
}

void detector_heard(struct member *member, struct step *step, uint32_t node, uint64_t hlc) {
  struct peer *peer = find_mutable(&member->detector, node);
  if (peer == NULL) {
    return;
  }
  peer->last_heard_ns = step->now_ns;
  peer->heard_hlc = hlc;
  if (peer->connected && !peer->up && !PLANTED(never_up)) {
    set_up(member, peer, true);
  }
}

/* Differences of clocks that count from different beginnings, modulo 2^32: only their order within half of that means
 * anything. A window ends only when a message comes, so that after a pause of our own what was known before it still
 * counts. */
uint32_t detector_lag(struct member *member, const struct step *step, uint32_t node, uint32_t sent_ms) {
  struct peer *peer = find_mutable(&member->detector, node);
  uint32_t lag = (uint32_t)(step->now_ns / 1000000u) - sent_ms;
  if (peer == NULL) {
    return 0;
  }
  if (!peer->lag_known) {
    peer->lag_known = true;
    peer->least_lag_ms = peer->least_lag_before_ms = lag;
    peer->lag_window_ns = step->now_ns;
  } else if (step->now_ns - peer->lag_window_ns >= LAG_WINDOW_NS) {
    peer->least_lag_before_ms = peer->least_lag_ms;
    peer->least_lag_ms = lag;
    peer->lag_window_ns = step->now_ns;
  } else if ((int32_t)(lag - peer->least_lag_ms) < 0) {
    peer->least_lag_ms = lag;
  }
  bool before = (int32_t)(peer->least_lag_before_ms - peer->least_lag_ms) < 0;
  int32_t more = (int32_t)(lag - (before ? peer->least_lag_before_ms : peer->least_lag_ms));
  return more > 0 ? (uint32_t)more : 0;
}

/* The marks of a node only grow, but for one that has lost what it had said: in its next life it says less, and is
 * bound by that from then on. Whatever it says there, it has had the base that it told before. It is not listened to
 * before it knows the live layouts again: it would write, and ask, by others. */
static void take_mark(const struct member *member, struct peer *peer, const struct heartbeat *before) {
  struct heartbeat *heartbeat = &peer->heartbeat;
  bool other = heartbeat->life != 0 && heartbeat->life != peer->life; /* and over, or not known to be the present one */
  bool less = peer->told && mark_compare(&heartbeat->mark, &before->mark) < 0;
  bool anew = !PLANTED(less_is_late) && !other && heartbeat->life != 0 && heartbeat->life != peer->mark_life;
  if (peer->told && (other || (less && !anew))) { /* it comes late, perhaps */
    heartbeat->mark = before->mark;
    heartbeat->history_digest = before->history_digest;
    heartbeat->fences = before->fences;
    peer->went_back = peer->went_back || (other && less);
  } else if (less && heartbeat->mark.base_count < before->mark.base_count) {
    heartbeat->mark = before->mark;
    heartbeat->mark.phase = MARK_NONE;
    peer->went_back = true;
  } else {
    bool knows = knows_ours(member, heartbeat);
    peer->knew = peer->knew && heartbeat->life == peer->mark_life;
    peer->mark_life = heartbeat->life;
    peer->went_back = (peer->went_back || less) && !knows;
  }
}

void detector_heartbeat(struct member *member, uint32_t node, const struct heartbeat *heartbeat) {
  struct peer *peer = find_mutable(&member->detector, node);
  if (peer == NULL || (heartbeat->life != 0 && heartbeat->life == peer->life_before)) {
    return; /* that life is over */
  }
  struct heartbeat before = peer->heartbeat;
  peer->heartbeat = *heartbeat;
  take_mark(member, peer, &before);
  peer->told = true;
  peer->knows_life = peer->knows_life || heartbeat->your_life == member->life.id;
  ASSERT(peer->heartbeat.mark.base_count >= before.mark.base_count);
  settle(member, peer);
}

void detector_remember(struct member *member, uint32_t node, uint64_t life, uint64_t wrote, uint64_t wrote_before) {
  struct peer *peer = find_mutable(&member->detector, node);
  if (peer != NULL) {
    peer->life = PLANTED(loss_imagined) ? 0 : life;
    peer->wrote = PLANTED(loss_imagined) ? 0 : wrote;
    peer->wrote_before = PLANTED(loss_imagined) ? wrote : wrote_before;
  }
}

/* Which of two lives is the later one no clock tells: it may be set back in between, and what is sent in one may come
 * long after the other has begun. Who knows of the other life, and that it is over, is. */
bool detector_note_life(struct member *member, uint32_t node, const struct heartbeat *heartbeat) {
  struct peer *peer = find_mutable(&member->detector, node);
  bool known = peer != NULL && heartbeat->life == peer->life;
  bool succeeds = peer != NULL && (peer->life == 0 || heartbeat->succeeds == peer->life);
  if (peer == NULL || heartbeat->life == 0 || (!known && !succeeds)) {
    return false;
  }
  if (!known) {
    peer->life_before = peer->life;
    peer->wrote_before = peer->wrote > peer->wrote_before ? peer->wrote : peer->wrote_before;
    peer->life = heartbeat->life;
    peer->wrote = 0;
  }
  bool more = heartbeat->wrote > peer->wrote && heartbeat->wrote > peer->wrote_before;
  peer->wrote = heartbeat->wrote > peer->wrote ? heartbeat->wrote : peer->wrote;
  return more;
}

bool detector_note_foreign(struct member *member, uint32_t node) {
  struct peer *peer = find_mutable(&member->detector, node);
  bool news = peer != NULL && !peer->foreign;
  if (news) {
    peer->foreign = true;
  }
  return news;
}

static void give_members_places(struct member *member, const struct ring *ring) {
  struct detector *detector = &member->detector;
  ASSERT(ring->member_count <= MEMBERS_MAX);
  for (uint32_t i = 0; i < ring->member_count; i++) {
    uint32_t node = ring->members[i].node;
    if (node != member->self && find_mutable(detector, node) == NULL) {
      struct peer *peer = take_place(detector, node, true);
      ASSERT(peer != NULL);
      look_up(member, peer);
    }
  }
}

void detector_refresh(struct member *member) {
  struct detector *detector = &member->detector;
  memset(detector->up, 0, sizeof(detector->up));
  memset(detector->base_up, 0, sizeof(detector->base_up));
  memset(detector->held_back, 0, sizeof(detector->held_back));
  memset(detector->base_held_back, 0, sizeof(detector->base_held_back));
  detector->stranger_count = 0;
  /* 1. What is known keeps its place while it is connected or a member. */
  for (uint32_t i = 0; i < detector->peers_end; i++) {
    struct peer *peer = &detector->peers[i];
    if (peer->node == 0) {
      continue;
    }
    look_up(member, peer);
    detector->stranger_count += is_stranger(peer) ? 1u : 0u;
    if (is_stranger(peer) && !peer->connected) {
      give_place_back(detector, peer);
    }
  }
  /* 2. Every other member gets one. */
  give_members_places(member, member->target);
  give_members_places(member, member->base);
  give_members_places(member, member->newest);
  /* 3. Now each can be judged, by what all the others say. */
  for (uint32_t i = 0; i < detector->peers_end; i++) {
    if (detector->peers[i].node != 0) {
      settle(member, &detector->peers[i]);
    }
  }
  uint16_t own = index_in(member->target, member->self);
  if (own != NO_RING_INDEX) {
    detector->up[own] = true;
  }
  own = index_in(member->base, member->self);
  if (own != NO_RING_INDEX) {
    detector->base_up[own] = true;
  }
}

/* We were late ourselves: what seemed the others' silence may have been our deafness. */
static void forgive(struct detector *detector, uint64_t now_ns, uint64_t lateness_ns) {
  ASSERT(lateness_ns <= now_ns);
  for (uint32_t i = 0; i < detector->peers_end; i++) {
    struct peer *peer = &detector->peers[i];
    if (peer->node == 0 || peer->last_heard_ns == 0) {
      continue;
    }
    uint64_t silent_ns = now_ns - peer->last_heard_ns;
    peer->last_heard_ns += silent_ns < lateness_ns ? silent_ns : lateness_ns;
  }
}

static void find_silent(struct member *member, uint64_t now_ns, uint64_t timeout_ns) {
  struct detector *detector = &member->detector;
  for (uint32_t i = 0; i < detector->peers_end; i++) {
    struct peer *peer = &detector->peers[i];
    if (peer->node == 0 || !(peer->up || peer->awaited)) {
      continue;
    }
    if (peer->awaited && peer->awaited_ns == 0) {
      peer->awaited_ns = now_ns;
    }
    uint64_t since_ns = peer->awaited ? peer->awaited_ns : peer->last_heard_ns;
    ASSERT(now_ns >= since_ns);
    if (now_ns - since_ns > timeout_ns) {
      peer->awaited = false;
      set_up(member, peer, false);
    }
  }
}

/* What this node tells everybody; false: it knows nothing yet, or its mark is not durable yet. */
static bool heartbeat_make(const struct member *member, struct message *message) {
  const struct detector *detector = &member->detector;
  ASSERT(detector->own.nospace <= 1);
  if (member->records.digest == 0 || (!member->layout.stored && member->layout.mark.base_count > 0)) {
    return false;
  }
  *message = (struct message){.type = MESSAGE_HEARTBEAT, .heartbeat = detector->own};
  message->heartbeat.sealed = member->seal == SEAL_NONE ? 0 : 1;
  message->heartbeat.props_digest = member->records.buckets_digest;
  message->heartbeat.low = member->low.told;
  layout_tell(member, &message->heartbeat);
  return true;
}

static void heartbeat_send(const struct member *member, struct step *step, const struct peer *peer,
                           struct message *message) {
  /* One that was removed and still speaks with us has to hear from us what it may hand over; so has one whose
   * addition was lost with the node that issued it. */
  if (peer->node != 0 && peer->connected && (peer->known || peer->told)) {
    ASSERT(peer->node != member->self);
    life_tell(member, peer, &message->heartbeat);
    message->heartbeat.echo = peer->echo_hlc;
    step_send(step, peer->node, message);
  }
}

void detector_send_heartbeats(struct member *member, struct step *step) {
  struct message message;
  if (!heartbeat_make(member, &message)) {
    return;
  }
  for (uint32_t i = 0; i < member->detector.peers_end; i++) {
    heartbeat_send(member, step, &member->detector.peers[i], &message);
  }
}

void detector_greet(struct member *member, struct step *step, uint32_t node) {
  const struct peer *peer = detector_find(&member->detector, node);
  struct message message;
  if (peer != NULL && heartbeat_make(member, &message)) {
    heartbeat_send(member, step, peer, &message);
  }
}

void detector_tick(struct member *member, struct step *step, uint64_t lateness_ns) {
  struct detector *detector = &member->detector;
  uint64_t timeout_ns = step->tunables->peer_timeout_ns;
  if (lateness_ns > timeout_ns / 2) {
    forgive(detector, step->now_ns, lateness_ns);
  }
  if (step->now_ns < detector->heartbeat_due_ns) {
    return;
  }
  find_silent(member, step->now_ns, timeout_ns);
  detector_send_heartbeats(member, step);
  detector->heartbeat_due_ns = step->now_ns + step->tunables->heartbeat_ns;
  ASSERT(detector->heartbeat_due_ns > step->now_ns);
}

uint32_t detector_random(struct member *member, struct step *step) {
  const struct detector *detector = &member->detector;
  uint32_t candidates[PEERS_MAX];
  uint32_t count = 0;
  for (uint32_t i = 0; i < detector->peers_end; i++) {
    const struct peer *peer = &detector->peers[i];
    if (peer->node != 0 && peer->connected) {
      candidates[count] = peer->node;
      count += 1;
    }
  }
  ASSERT(count <= PEERS_MAX);
  if (count == 0) {
    return 0;
  }
  return candidates[prng_below(step->prng, count)];
}
