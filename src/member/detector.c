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

/* Returns NULL for a stranger too many. */
static struct peer *take_place(struct detector *detector, uint32_t node, uint16_t ring_index) {
  ASSERT(node != 0);
  if (ring_index == NO_RING_INDEX) {
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
  struct peer *peer = &detector->peers[place];
  memset(peer, 0, sizeof(*peer));
  peer->node = node;
  peer->ring_index = ring_index;
  map_insert(&detector->index, node, place);
  return peer;
}

static void give_place_back(struct detector *detector, struct peer *peer) {
  ASSERT(peer->ring_index == NO_RING_INDEX);
  ASSERT(detector->stranger_count > 0);
  bool removed = map_remove(&detector->index, peer->node);
  ASSERT(removed);
  detector->stranger_count -= 1;
  memset(peer, 0, sizeof(*peer));
}

static void set_up(struct detector *detector, struct peer *peer, bool up) {
  peer->up = up;
  if (peer->ring_index != NO_RING_INDEX) {
    ASSERT(peer->ring_index < MEMBERS_MAX);
    detector->up[peer->ring_index] = up;
  }
}

void detector_connected(struct member *member, struct step *step, uint32_t node) {
  struct detector *detector = &member->detector;
  if (node == 0 || node == member->self) {
    return;
  }
  struct peer *peer = find_mutable(detector, node);
  if (peer == NULL) {
    peer = take_place(detector, node, NO_RING_INDEX);
  }
  if (peer == NULL) {
    return;
  }
  peer->connected = true;
  peer->lag_known = false;
  peer->last_heard_ns = step->now_ns; /* it has just proved itself to us */
  set_up(detector, peer, true);
}

void detector_disconnected(struct member *member, uint32_t node) {
  struct peer *peer = find_mutable(&member->detector, node);
  if (peer == NULL) {
    return;
  }
  peer->connected = false;
  set_up(&member->detector, peer, false);
  if (peer->ring_index == NO_RING_INDEX) {
    give_place_back(&member->detector, peer);
  }
}

void detector_heard(struct member *member, struct step *step, uint32_t node) {
  struct peer *peer = find_mutable(&member->detector, node);
  if (peer == NULL) {
    return;
  }
  peer->last_heard_ns = step->now_ns;
  if (peer->connected && !peer->up && !PLANTED(never_up)) {
    set_up(&member->detector, peer, true);
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

void detector_heartbeat(struct member *member, uint32_t node, const struct heartbeat *heartbeat) {
  struct peer *peer = find_mutable(&member->detector, node);
  if (peer != NULL) {
    peer->heartbeat = *heartbeat;
  }
}

void detector_refold(struct member *member) {
  struct detector *detector = &member->detector;
  const struct ring *ring = &member->ring;
  ASSERT(ring->member_count <= MEMBERS_MAX);
  memset(detector->up, 0, sizeof(detector->up));
  detector->stranger_count = 0;
  /* 1. What is known keeps its place while it is connected or a member. */
  for (uint32_t i = 0; i < PEERS_MAX; i++) {
    struct peer *peer = &detector->peers[i];
    if (peer->node == 0) {
      continue;
    }
    int index = ring_find(ring, peer->node);
    peer->ring_index = index < 0 ? NO_RING_INDEX : (uint16_t)index;
    detector->stranger_count += index < 0 ? 1u : 0u;
    if (index < 0 && !peer->connected) {
      give_place_back(detector, peer);
    } else {
      set_up(detector, peer, peer->up);
    }
  }
  /* 2. Every other member gets one. */
  for (uint32_t i = 0; i < ring->member_count; i++) {
    uint32_t node = ring->members[i].node;
    if (node == member->self) {
      detector->up[i] = true;
    } else if (find_mutable(detector, node) == NULL) {
      struct peer *peer = take_place(detector, node, (uint16_t)i);
      ASSERT(peer != NULL);
    }
  }
}

/* We were late ourselves: what seemed the others' silence may have been our deafness. */
static void forgive(struct detector *detector, uint64_t now_ns, uint64_t lateness_ns) {
  ASSERT(lateness_ns <= now_ns);
  for (uint32_t i = 0; i < PEERS_MAX; i++) {
    struct peer *peer = &detector->peers[i];
    if (peer->node == 0 || peer->last_heard_ns == 0) {
      continue;
    }
    uint64_t silent_ns = now_ns - peer->last_heard_ns;
    peer->last_heard_ns += silent_ns < lateness_ns ? silent_ns : lateness_ns;
  }
}

static void find_silent(struct detector *detector, uint64_t now_ns, uint64_t timeout_ns) {
  for (uint32_t i = 0; i < PEERS_MAX; i++) {
    struct peer *peer = &detector->peers[i];
    if (peer->node == 0 || !peer->up) {
      continue;
    }
    ASSERT(now_ns >= peer->last_heard_ns);
    if (now_ns - peer->last_heard_ns > timeout_ns) {
      set_up(detector, peer, false);
    }
  }
}

static void send_heartbeats(struct member *member, struct step *step) {
  struct message message = {.type = MESSAGE_HEARTBEAT, .heartbeat = member->detector.own};
  message.heartbeat.sealed = member->seal == SEAL_NONE ? 0 : 1;
  ASSERT(message.heartbeat.nospace <= 1);
  for (uint32_t i = 0; i < member->ring.member_count; i++) {
    const struct peer *peer = detector_find(&member->detector, member->ring.members[i].node);
    if (peer != NULL && peer->connected) {
      step_send(step, peer->node, &message);
    }
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
  find_silent(detector, step->now_ns, timeout_ns);
  if (member->is_member) {
    send_heartbeats(member, step);
  }
  detector->heartbeat_due_ns = step->now_ns + step->tunables->heartbeat_ns;
  ASSERT(detector->heartbeat_due_ns > step->now_ns);
}

uint32_t detector_random(struct member *member, struct step *step, bool members) {
  const struct detector *detector = &member->detector;
  uint32_t candidates[PEERS_MAX];
  uint32_t count = 0;
  for (uint32_t i = 0; i < PEERS_MAX; i++) {
    const struct peer *peer = &detector->peers[i];
    bool fits = members ? peer->up && peer->ring_index != NO_RING_INDEX : peer->connected;
    if (peer->node != 0 && fits) {
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
