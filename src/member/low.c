#include "member/low.h"

#include "base/assert.h"
#include "member/state.h"

#define LOOK_NS UINT64_C(50000000) /* between looks whether a turn is over */
#define REST_NS UINT64_C(1000000000)
#define MARK_BYTES 8u

void low_init(struct member *member, const struct shard_config *config) {
  struct low *low = &member->low;
  struct reader r = reader_make(config->low);
  *low = (struct low){.turn = 1};
  if (config->low.size == MARK_BYTES) {
    low->told = read_u64(&r);
  }
  ASSERT(!r.failed);
}

/* -- whether, and to what ------------------------------------------------------------- */

/* One that is out, and still has something to hand over, holds it up while it is up: nobody else may have it. */
static bool is_handing_over(const struct peer *peer) {
  bool out = peer->removed || !peer->known;
  return out && peer->up && peer->told && (peer->heartbeat.strays > 0 || peer->heartbeat.hints > 0);
}

static bool may_turn(const struct member *member) {
  const struct layout *layout = &member->layout;
  bool quiet = layout->all_done && member->base == member->target && layout->progress.quiet;
  for (uint32_t i = 0; i < member->detector.peers_end && quiet; i++) {
    const struct peer *peer = &member->detector.peers[i];
    quiet = peer->node == 0 || !is_handing_over(peer);
  }
  return quiet;
}

static bool has_to_forget(const struct heartbeat *heartbeat) {
  return heartbeat->tombstones > 0 || heartbeat->expiring > 0;
}

/* Does anybody have what is to be forgotten, now or once it has expired? */
static bool is_wanted(const struct member *member) {
  bool wanted = has_to_forget(&member->detector.own);
  for (uint32_t i = 0; i < member->detector.peers_end && !wanted; i++) {
    const struct peer *peer = &member->detector.peers[i];
    wanted = peer->node != 0 && peer->ring_index != NO_RING_INDEX && has_to_forget(&peer->heartbeat);
  }
  return wanted;
}

/* The least of what `of` says of the other members, and of `own`; 0 when a member has not said it. */
static uint64_t least_of(const struct member *member, uint64_t own, uint64_t (*of)(const struct peer *)) {
  uint64_t least = own;
  for (uint32_t i = 0; i < member->target->member_count; i++) {
    uint32_t node = member->target->members[i].node;
    const struct peer *peer = node == member->self ? NULL : detector_find(&member->detector, node);
    uint64_t value = peer == NULL ? 0 : of(peer);
    least = node != member->self && value < least ? value : least;
  }
  return least;
}

static uint64_t heard_hlc(const struct peer *peer) {
  return peer->connected ? peer->heard_hlc : 0;
}

static uint64_t told_echo(const struct peer *peer) {
  return peer->told && peer->connected ? peer->heartbeat.echo : 0;
}

static uint64_t told_low(const struct peer *peer) {
  return peer->told ? peer->heartbeat.low : 0;
}

/* -- turns --------------------------------------------------------------------------------- */

static void store(struct member *member, struct step *step) {
  struct low *low = &member->low;
  uint8_t bytes[MARK_BYTES];
  struct writer w = writer_make(bytes, sizeof bytes);
  write_u64(&w, low->candidate);
  struct blob *value = blob_copy(step->pool, writer_bytes(&w));
  enum err err = value == NULL ? ERR_NOMEM : member_store(step, MEMBER_TOKEN_LOW, BYTES_LITERAL(META_LOW), value);
  blob_put(value);
  low->storing = err == ERR_OK;
}

void low_committed(struct member *member, struct step *step, enum err err) {
  struct low *low = &member->low;
  ASSERT(low->storing && low->candidate > low->told);
  low->storing = false;
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
    low->due_ns = step->now_ns + PERSIST_RETRY_NS;
    return;
  }
  low->told = low->candidate;
  low->candidate = 0;
  low->echo_hlc = low->turn_hlc;
  for (uint32_t i = 0; i < member->detector.peers_end; i++) {
    member->detector.peers[i].echo_hlc = member->detector.peers[i].turn_hlc;
  }
  uint64_t rest_ns = step->tunables->sync_round_ns / 8u;
  low->due_ns = step->now_ns + (rest_ns < LOOK_NS ? LOOK_NS : rest_ns);
  low_look(member, step);
}

static void turn_begin(struct member *member, struct step *step, uint64_t candidate) {
  struct low *low = &member->low;
  low->candidate = candidate;
  low->turn += 1;
  low->turn_hlc = step->hlc->last;
  step->turn = low->turn;
  for (uint32_t i = 0; i < member->detector.peers_end; i++) {
    member->detector.peers[i].turn_hlc = member->detector.peers[i].heard_hlc;
  }
}

void low_tick(struct member *member, struct step *step) {
  struct low *low = &member->low;
  if (low->storing || step->now_ns < low->due_ns) {
    return;
  }
  low->due_ns = step->now_ns + (low->candidate == 0 ? REST_NS : LOOK_NS);
  low_look(member, step);
  if (step->tunables->sync_round_ns == 0 || !is_wanted(member) || !may_turn(member)) {
    return;
  }
  if (low->candidate == 0) {
    uint64_t candidate = least_of(member, hlc_tick(step->hlc, step->wall_ms), heard_hlc);
    if (candidate > low->told) {
      turn_begin(member, step, candidate);
      low->due_ns = step->now_ns + LOOK_NS;
    }
  } else if (member->layout.progress.past) {
    store(member, step);
  }
}

void low_look(struct member *member, struct step *step) {
  struct low *low = &member->low;
  if (!member->layout.all_done || member->base != member->target) {
    return;
  }
  if (low->level != 0 && least_of(member, low->echo_hlc, told_echo) < low->since) {
    return;
  }
  low->settled = low->level > low->settled ? low->level : low->settled;
  low->waves += low->level != 0 ? 1 : 0;
  low->level = least_of(member, low->told, told_low);
  low->since = hlc_tick(step->hlc, step->wall_ms);
  step->settled_low = low->settled;
  step->waves = low->waves;
}
