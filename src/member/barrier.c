/* What the marks of the others permit (docs/adr/0005): barriers between phases, who takes part in them, and who is left
 * out. */
#include <string.h>

#include "base/assert.h"
#include "base/plant.h"
#include "member/state.h"

/* -- marks --------------------------------------------------------------------------- */

int mark_compare(const struct mark *a, const struct mark *b) {
  ASSERT(a->phase <= MARK_DONE && b->phase <= MARK_DONE);
  if (a->base_count != b->base_count) {
    return a->base_count < b->base_count ? -1 : 1;
  }
  if (a->revision != b->revision) {
    return a->revision < b->revision ? -1 : 1;
  }
  if (a->target_count != b->target_count) {
    return a->target_count < b->target_count ? -1 : 1;
  }
  return (a->phase > b->phase) - (a->phase < b->phase);
}

bool mark_passes(const struct mark *mark, uint64_t base_digest, uint64_t target_digest, enum mark_phase phase) {
  ASSERT(base_digest != 0 && target_digest != 0);
  if (mark->base_digest == target_digest) {
    return true; /* it has left the whole change behind it */
  }
  return mark->base_digest == base_digest && mark->target_digest == target_digest && mark->phase >= phase;
}

/* Does our history begin with this layout? */
static bool has_layout(const struct member *member, uint32_t count, uint64_t digest) {
  const struct history *history = &member->records.history;
  ASSERT(history->count <= HISTORY_MAX);
  return count > 0 && digest != 0 && count <= history_length(history) &&
         history_prefix_digest(history, count) == digest;
}

static bool has_base_of(const struct member *member, const struct mark *mark) {
  return has_layout(member, mark->base_count, mark->base_digest);
}

/* How long a prefix of the history has to be to have the node removed. */
static uint32_t removed_at(const struct history *history, uint32_t node) {
  ASSERT(history->count <= HISTORY_MAX);
  for (uint32_t i = history->count; i > 0; i--) {
    const struct change *change = &history->changes[i - 1];
    if ((change->kind == CHANGE_REMOVE && change->node == node) ||
        (change->kind == CHANGE_REPLACE && change->old == node)) {
      return history->snapshot.ring.records + i;
    }
  }
  return history->snapshot.ring.records;
}

/* Has each node that the newest ring brings in told that it knows the history? Before, it would not listen to those who
 * write to it. */
bool barrier_newcomers_know(const struct member *member) {
  const struct ring *ring = member->newest;
  ASSERT(ring->member_count <= MEMBERS_MAX);
  for (uint32_t i = 0; i < ring->member_count; i++) {
    uint32_t node = ring->members[i].node;
    if (node == member->self || ring_find(member->base, node) >= 0 || ring_find(member->target, node) >= 0) {
      continue;
    }
    const struct peer *peer = detector_find(&member->detector, node);
    if (peer == NULL || !peer->up || !peer->told || peer->heartbeat.history_digest != member->records.digest) {
      return false;
    }
  }
  return true;
}

/* What was set, and what it has said, since then it may not know. */
static bool has_lost(const struct peer *peer) {
  return peer->told && (peer->heartbeat.loss == LOSS_EMPTIED || peer->heartbeat.loss == LOSS_OLD);
}

/* -- participants -------------------------------------------------------------------- */

/* The members of base and target, each once; this node among them. */
struct walk {
  const struct member *member;
  uint32_t next;
  uint32_t node;
  const struct peer *peer; /* NULL: this node */
};

static struct walk walk_begin(const struct member *member) {
  return (struct walk){.member = member};
}

static bool walk_next(struct walk *walk) {
  const struct ring *base = walk->member->base;
  const struct ring *target = walk->member->target;
  uint32_t first = walk->member->has_base ? base->member_count : 0;
  while (walk->next < first + target->member_count) {
    bool second = walk->next >= first;
    walk->node = second ? target->members[walk->next - first].node : base->members[walk->next].node;
    walk->next += 1;
    if (second && first > 0 && ring_find(base, walk->node) >= 0) {
      continue;
    }
    walk->peer = walk->node == walk->member->self ? NULL : detector_find(&walk->member->detector, walk->node);
    ASSERT(walk->peer != NULL || walk->node == walk->member->self);
    return true;
  }
  return false;
}

static bool is_removed(const struct member *member, const struct walk *walk) {
  ASSERT(walk->node != 0);
  return walk->peer == NULL ? ring_find(member->newest, walk->node) < 0 : walk->peer->removed;
}

uint32_t barrier_removed(const struct member *member) {
  uint32_t removed = 0;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    removed += is_removed(member, &walk) ? 1 : 0;
  }
  return removed;
}

uint64_t barrier_fences(const struct member *member) {
  uint64_t fences = 0;
  uint32_t removed = 0;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk) && removed < REMOVALS_MAX) {
    if (is_removed(member, &walk)) {
      bool fenced = walk.peer != NULL && walk.peer->fenced;
      fences |= fenced ? UINT64_C(1) << removed : 0;
      removed += 1;
    }
  }
  ASSERT(removed <= REMOVALS_MAX);
  return fences;
}

static bool says_ours(const struct mark *own, const struct mark *mark) {
  return mark_passes(mark, own->base_digest, own->target_digest, (enum mark_phase)own->phase);
}

/* It has said what we have said, and leaves out `others`. */
static bool may_return_before(const struct member *member, const struct peer *peer, uint64_t others) {
  const struct heartbeat *heartbeat = &peer->heartbeat;
  ASSERT(peer->fenced);
  return peer->up && peer->told && says_ours(&member->layout.mark, &heartbeat->mark) &&
         heartbeat->history_digest == member->records.digest && (heartbeat->fences & others) == others;
}

/* Of those that we have fenced, by their bits in `barrier_fences`: who may come back? Each leaves out all that do not
 * come back with it: else it would take from one of them what we have agreed without, and pass it on to us. */
static uint64_t may_return(const struct member *member) {
  const uint64_t fences = barrier_fences(member);
  uint64_t back = fences;
  uint64_t before = 0;
  while (back != before) {
    before = back;
    uint64_t bit = 1;
    struct walk walk = walk_begin(member);
    while (walk_next(&walk) && bit != 0) {
      if ((back & bit) != 0 && is_removed(member, &walk) && !may_return_before(member, walk.peer, fences & ~before)) {
        back &= ~bit;
      }
      bit <<= is_removed(member, &walk) ? 1 : 0;
    }
  }
  return back;
}

static bool returns(const struct member *member, const struct peer *peer) {
  uint64_t back = may_return(member);
  uint64_t bit = 1;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk) && bit != 0) {
    if (walk.peer == peer) {
      return (back & bit) != 0;
    }
    bit <<= is_removed(member, &walk) ? 1 : 0;
  }
  return false;
}

bool barrier_is_shunned(const struct member *member, const struct peer *peer) {
  ASSERT(peer->removed);
  bool had_no_part = layout_is_newcomer(member) || life_has_forgotten(member);
  if (!had_no_part || !member->has_base || peer->base_index == NO_RING_INDEX ||
      (peer->told && says_ours(&member->layout.mark, &peer->heartbeat.mark) &&
       peer->heartbeat.history_digest == member->records.digest)) {
    return false;
  }
  uint64_t bit = 1;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk) && walk.peer != peer) {
    bit <<= is_removed(member, &walk) ? 1 : 0;
  }
  walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *elder = walk.peer;
    if (elder == NULL || elder->removed || elder->base_index == NO_RING_INDEX || !elder->told) {
      continue;
    }
    const struct heartbeat *heartbeat = &elder->heartbeat;
    if ((heartbeat->fences & bit) != 0 && heartbeat->history_digest == member->records.digest &&
        heartbeat->mark.base_digest == member->base->digest &&
        heartbeat->mark.target_digest == member->target->digest) {
      return true;
    }
  }
  return false;
}

bool barrier_is_abreast(const struct member *member, const struct peer *peer, bool live) {
  const struct mark *own = &member->layout.mark;
  const struct mark *mark = &peer->heartbeat.mark;
  ASSERT(own->phase <= MARK_DONE);
  if (own->base_digest == 0 || mark->base_digest == 0) {
    return false;
  }
  if (!live) {
    /* It is out by its layouts as by ours: it plans nothing, and hands over what it has. A target with records that we
     * do not know of may have it still, and so may a base beyond ours. */
    const uint32_t removed = removed_at(&member->records.history, peer->node);
    return mark->target_count >= removed && has_layout(member, mark->target_count, mark->target_digest) &&
           (mark->base_digest == own->base_digest ||
            (mark->base_count > own->base_count && mark->base_count >= removed && has_base_of(member, mark)));
  }
  if (own->phase == MARK_RELEASES && mark->phase == MARK_READS && mark->target_digest == own->target_digest) {
    return false; /* we may go beyond what it reads by */
  }
  if (mark->base_digest == own->target_digest || (mark->base_count > own->target_count && has_base_of(member, mark))) {
    return true;
  }
  return own->target_digest == member->target->digest && returns(member, peer);
}

static bool own_passes(const struct member *member, enum mark_phase phase) {
  ASSERT(phase > MARK_NONE);
  return layout_phase(member) >= phase;
}

/* Does a node that has passed leave out whom we leave out? What has the target as its base has said everything, and so
 * have those whom it listens to. */
static bool fences_too(const struct member *member, const struct heartbeat *heartbeat, uint64_t fences) {
  ASSERT(heartbeat->mark.base_digest != 0);
  return fences == 0 || heartbeat->mark.base_digest == member->target->digest ||
         (heartbeat->history_digest == member->records.digest && (heartbeat->fences & fences) == fences);
}

/* Would the target be taken for whole though one that it gives something has never said that it holds that? */
static bool would_lack(const struct member *member, const struct peer *peer, enum mark_phase phase) {
  ASSERT(peer->fenced);
  return phase == MARK_HOLDS && peer->ring_index != NO_RING_INDEX &&
         !(peer->told && mark_passes(&peer->heartbeat.mark, member->base->digest, member->target->digest, MARK_HOLDS));
}

/* Who is fenced is left out, but only if all others have fenced it too: then none of them listens to it before it has
 * said what they have said. Not so a member of the target that died before it held: such a target is released for the
 * one without it. */
bool barrier_all(const struct member *member, enum mark_phase phase) {
  if (!member->has_base || !own_passes(member, phase)) {
    return false;
  }
  uint64_t base = member->base->digest;
  uint64_t target = member->target->digest;
  uint64_t fences = barrier_fences(member);
  uint32_t left_out = 0;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    if (walk.peer == NULL) {
      continue;
    }
    const struct heartbeat *heartbeat = &walk.peer->heartbeat;
    if (walk.peer->fenced && would_lack(member, walk.peer, phase)) {
      return false;
    }
    if (walk.peer->fenced) {
      left_out += 1;
    } else if (!walk.peer->told || !mark_passes(&heartbeat->mark, base, target, phase) ||
               !fences_too(member, heartbeat, fences)) {
      return false;
    }
  }
  uint32_t told = 0;
  for (uint64_t left = fences; left != 0; left &= left - 1) {
    told += 1;
  }
  return told == left_out; /* of more than REMOVALS_MAX one can not say whom */
}

bool barrier_is_agreed(const struct member *member) {
  if (!member->has_base || member->base == member->target) {
    return false;
  }
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer != NULL && peer->told &&
        mark_passes(&peer->heartbeat.mark, member->base->digest, member->target->digest, MARK_HOLDS)) {
      return true;
    }
  }
  return barrier_all(member, MARK_KNOWS);
}

bool barrier_is_read(const struct member *member) {
  ASSERT(layout_is_bound(member));
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer != NULL && peer->told && !peer->removed &&
        mark_passes(&peer->heartbeat.mark, member->base->digest, member->target->digest, MARK_READS)) {
      return true;
    }
  }
  return false;
}

/* Who has lost what it had said may have released the target, and does not know it. Others may go beyond it by that
 * word until they have heard of this life, and who has released may have done so already. */
bool barrier_is_remembered(const struct member *member) {
  ASSERT(member->has_base);
  if (!life_has_forgotten(member) || barrier_is_read(member)) {
    return true;
  }
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer != NULL && !peer->fenced && (!peer->knows_life || peer->heartbeat.mark.phase == MARK_RELEASES)) {
      return false;
    }
  }
  return true;
}

static bool is_beyond(const struct member *member, const struct mark *mark) {
  ASSERT(member->has_base);
  return mark->base_digest == member->base->digest && mark->target_count > member->layout.target_count;
}

/* Those that are removed are not waited for: whoever has released does not listen to what they read by the target. But
 * all others have to know of the removal, or they might follow one that is removed and reads. */
bool barrier_is_released(const struct member *member) {
  ASSERT(layout_phase(member) == MARK_RELEASES);
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer == NULL || peer->removed) {
      continue;
    }
    const struct mark *mark = &peer->heartbeat.mark;
    bool released = mark->base_digest == member->base->digest && mark->target_digest == member->target->digest &&
                    mark->phase == MARK_RELEASES && peer->heartbeat.history_digest == member->records.digest;
    if (!peer->told || (!released && !is_beyond(member, mark))) {
      return false;
    }
  }
  return true;
}

/* One that is removed may be beyond a target by which others go on to read. Its word is enough only where all are
 * removed. Nor is that of one that may have forgotten what it reads by. */
bool barrier_is_passed_over(const struct member *member) {
  ASSERT(member->has_base);
  bool one_stays = false;
  bool by_removed = false;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer == NULL) {
      continue;
    }
    bool beyond = peer->told && !has_lost(peer) && is_beyond(member, &peer->heartbeat.mark);
    if (beyond && !peer->removed) {
      return true;
    }
    one_stays = one_stays || !peer->removed;
    by_removed = by_removed || beyond;
  }
  return by_removed && !one_stays;
}

/* Who is brought in by a later target alone says nothing of what others read by: it was never bound by that. */
uint32_t barrier_target_read(const struct member *member) {
  ASSERT(member->has_base);
  uint32_t read = 0;
  uint32_t beyond = 0;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer == NULL || !peer->told || peer->removed || peer->heartbeat.mark.base_digest != member->base->digest ||
        !has_layout(member, peer->heartbeat.mark.target_count, peer->heartbeat.mark.target_digest)) {
      continue;
    }
    const struct mark *mark = &peer->heartbeat.mark;
    read = mark->phase == MARK_READS && mark->target_count > read ? mark->target_count : read;
    bool counts = peer->base_index != NO_RING_INDEX && !has_lost(peer);
    beyond = counts && mark->target_count > beyond ? mark->target_count : beyond;
  }
  return beyond > read ? 0 : read;
}

/* One that is about to read has not released: it tells no history while it stores that. */
static bool has_heard(const struct peer *peer) {
  const struct heartbeat *heartbeat = &peer->heartbeat;
  return peer->told && peer->knows_life && (heartbeat->mark.phase != MARK_RELEASES || heartbeat->history_digest != 0);
}

bool barrier_is_heard(const struct member *member) {
  const struct ring *newest = member->newest;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    if (walk.peer != NULL && !walk.peer->removed && !has_heard(walk.peer)) {
      return false;
    }
  }
  for (uint32_t i = 0; i < newest->member_count; i++) {
    const struct peer *peer = detector_find(&member->detector, newest->members[i].node);
    if (newest->members[i].node != member->self && (peer == NULL || !has_heard(peer))) {
      return false;
    }
  }
  return true;
}

/* All others, but for those that are fenced, have gone beyond it. They took this node for removed, by a record that is
 * passed over now because it would have removed the last member. Nobody else has read by the target, or ever will. */
bool barrier_is_deserted(const struct member *member) {
  ASSERT(member->has_base);
  bool deserted = false;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer == NULL || peer->fenced) {
      continue;
    }
    if (!peer->told || !is_beyond(member, &peer->heartbeat.mark)) {
      return false;
    }
    deserted = true;
  }
  return deserted;
}

uint32_t barrier_newer_base(const struct member *member, uint64_t *digest) {
  const struct detector *detector = &member->detector;
  uint32_t count = member->has_base ? member->layout.base_count : 0;
  uint32_t newest = 0;
  ASSERT(count <= history_length(&member->records.history));
  for (uint32_t i = 0; i < detector->peers_end; i++) {
    const struct peer *peer = &detector->peers[i];
    const struct mark *mark = &peer->heartbeat.mark;
    if (peer->node != 0 && peer->told && mark->base_count > count && has_base_of(member, mark)) {
      count = newest = mark->base_count;
      *digest = mark->base_digest;
    }
  }
  return newest;
}

bool barrier_is_elder(const struct member *member, uint32_t node) {
  const struct ring *base = member->base;
  ASSERT(node != member->self);
  if (!member->has_base || ring_find(base, node) < 0) {
    return false;
  }
  bool one_stays = false;
  for (uint32_t i = 0; i < base->member_count; i++) {
    one_stays = one_stays || ring_find(member->newest, base->members[i].node) >= 0;
  }
  return !one_stays || ring_find(member->newest, node) >= 0;
}

static bool has_our_props(const struct member *member, const struct peer *peer) {
  const struct heartbeat *heartbeat = &peer->heartbeat;
  return peer->told && peer->base_index != NO_RING_INDEX && heartbeat->mark.phase != MARK_NONE &&
         heartbeat->props_digest == member->records.buckets_digest;
}

/* Is there nobody left who has lost nothing, and have all that are left told each other what they know? */
static bool is_all_that_is_known(const struct member *member) {
  const struct ring *base = member->base;
  for (uint32_t i = 0; i < base->member_count; i++) {
    uint32_t node = base->members[i].node;
    const struct peer *peer = node == member->self ? NULL : detector_find(&member->detector, node);
    bool gone = peer != NULL && peer->removed && !peer->up;
    if (peer != NULL && !gone && !(has_lost(peer) && has_our_props(member, peer))) {
      return false;
    }
  }
  return ring_find(base, member->self) >= 0;
}

/* It knows of no change that we do not know, and its base is ours. */
static bool lives_by_ours(const struct member *member, const struct peer *peer) {
  const struct heartbeat *heartbeat = &peer->heartbeat;
  bool same = heartbeat->history_digest == member->records.digest;
  return PLANTED(back_heard) || (same && heartbeat->mark.base_digest == member->base->digest);
}

bool barrier_knows_props(const struct member *member) {
  ASSERT(member->has_base);
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    if (walk.peer != NULL && has_our_props(member, walk.peer) && !has_lost(walk.peer) &&
        lives_by_ours(member, walk.peer)) {
      return true;
    }
  }
  return is_all_that_is_known(member);
}

bool barrier_is_introduced(const struct member *member) {
  ASSERT(layout_is_newcomer(member));
  bool all_left_out = true;
  bool one_knows = false;
  bool one_is_whole = false; /* has lost nothing, and may be removed */
  bool one_is_elder = false; /* is to stay, and may have lost something */
  bool all_have_lost = true;
  struct walk walk = walk_begin(member);
  while (walk_next(&walk)) {
    const struct peer *peer = walk.peer;
    if (peer == NULL || peer->base_index == NO_RING_INDEX) {
      continue;
    }
    bool knows = has_our_props(member, peer);
    bool same = knows && peer->heartbeat.history_digest == member->records.digest;
    bool elder = barrier_is_elder(member, walk.node);
    one_knows = one_knows || knows;
    one_is_whole = one_is_whole || (same && !has_lost(peer));
    one_is_elder = one_is_elder || (same && elder);
    all_left_out = all_left_out && peer->fenced;
    all_have_lost = all_have_lost && ((same && has_lost(peer)) || (peer->removed && !peer->up));
  }
  return (all_left_out && one_knows) || (one_is_elder && (one_is_whole || all_have_lost));
}

bool barrier_all_done(const struct member *member) {
  const struct ring *ring = member->target;
  if (!member->has_base || member->base != ring || member->newest != ring || layout_phase(member) != MARK_DONE) {
    return false;
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    uint32_t node = ring->members[i].node;
    const struct peer *peer = node == member->self ? NULL : detector_find(&member->detector, node);
    if (peer != NULL &&
        (!peer->told || peer->heartbeat.mark.phase != MARK_DONE || peer->heartbeat.mark.base_digest != ring->digest)) {
      return false;
    }
  }
  return true;
}

void barrier_list_waiting(const struct member *member, struct layout_view *out) {
  ASSERT(out->waiting_count == 0);
  if (!member->has_base || !out->moving) {
    return;
  }
  static const enum mark_phase phases[] = {MARK_KNOWS, MARK_HOLDS, MARK_READS, MARK_DONE};
  for (uint32_t i = 0; i < sizeof(phases) / sizeof(phases[0]) && out->waiting_count == 0; i++) {
    struct walk walk = walk_begin(member);
    while (walk_next(&walk)) {
      bool passed =
          walk.peer == NULL
              ? own_passes(member, phases[i])
              : walk.peer->fenced || (walk.peer->told && mark_passes(&walk.peer->heartbeat.mark, member->base->digest,
                                                                     member->target->digest, phases[i]));
      if (!passed && out->waiting_count < MEMBERS_MAX) {
        out->waiting[out->waiting_count] = walk.node;
        out->waiting_count += 1;
      }
    }
  }
}
