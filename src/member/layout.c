/* The live layouts and this node's mark (paper §4.9; docs/adr/0005):
 *
 *     NONE --older puts answered--> KNOWS --all KNOW, and I hold--> HOLDS --all HOLD--> READS --all READ--> DONE
 *      ^                              |                               |                   ^                   |
 *      |                              |              there is more history               |                   |
 *      |                              |                               v     one READS     |                   |
 *      |                              |                            RELEASES --------------+                   |
 *      |   there is more history      |   all release                 |                                       |
 *      +------------------------------+-------------------------------+---------------------------------------+
 *
 * NONE is in memory only: the live layouts are new, the mark on disk is still the one before. Every other step is first
 * stored, then told and acted upon. A base beyond ours that a mark tells of becomes ours in any phase: DONE. */
#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "member/state.h"

#define LAYOUT_FORMAT 2u
#define LAYOUT_BODY_BYTES (1u + 1u + 4u + 8u + 4u + 8u + 4u + 1u)
#define END_BYTES (8u + 4u)
#define LAYOUT_BYTES(ends) (LAYOUT_BODY_BYTES + (ends)*END_BYTES + 8u)

/* -- on disk ------------------------------------------------------------------------- */

/*     u8 format (2)  u8 phase   u32 base count  u64 base digest   u32 target count  u64 target digest
 *     u32 revision   u8 n   { u64 time  u32 issuer } * n: struct said   u64 XXH3-64 of all before */
static struct blob *encode(struct blob_pool *pool, const struct mark *mark, const struct said *said) {
  ASSERT(said->count <= SAID_MAX);
  struct blob *blob = blob_new(pool, LAYOUT_BYTES(said->count));
  if (blob == NULL) {
    return NULL;
  }
  struct writer w = writer_make(blob->data, blob->size);
  write_u8(&w, LAYOUT_FORMAT);
  write_u8(&w, mark->phase);
  write_u32(&w, mark->base_count);
  write_u64(&w, mark->base_digest);
  write_u32(&w, mark->target_count);
  write_u64(&w, mark->target_digest);
  write_u32(&w, mark->revision);
  write_u8(&w, (uint8_t)said->count);
  for (uint32_t i = 0; i < said->count; i++) {
    write_u64(&w, said->ends[i].time);
    write_u32(&w, said->ends[i].issuer);
  }
  write_u64(&w, bytes_hash(writer_bytes(&w), 0));
  ASSERT(!w.failed);
  ASSERT(w.size == blob->size);
  return blob;
}

static bool mark_is_sound(const struct mark *mark) {
  if (mark->phase > MARK_DONE || mark->base_count > mark->target_count) {
    return false;
  }
  if ((mark->base_count == 0) != (mark->phase == MARK_NONE) || (mark->base_count == 0) != (mark->base_digest == 0)) {
    return false;
  }
  return mark->phase != MARK_DONE || mark->base_digest == mark->target_digest;
}

static bool decode(struct bytes encoded, struct mark *mark, struct said *said) {
  memset(mark, 0, sizeof(*mark));
  memset(said, 0, sizeof(*said));
  if (encoded.size < LAYOUT_BYTES(0)) {
    return false;
  }
  struct reader r = reader_make(encoded);
  uint8_t format = read_u8(&r);
  mark->phase = read_u8(&r);
  mark->base_count = read_u32(&r);
  mark->base_digest = read_u64(&r);
  mark->target_count = read_u32(&r);
  mark->target_digest = read_u64(&r);
  mark->revision = read_u32(&r);
  said->count = read_u8(&r);
  if (said->count > SAID_MAX || encoded.size < LAYOUT_BYTES(said->count)) {
    return false;
  }
  for (uint32_t i = 0; i < said->count; i++) {
    said->ends[i].time = read_u64(&r);
    said->ends[i].issuer = read_u32(&r);
  }
  uint64_t checksum = read_u64(&r);
  ASSERT(!r.failed);
  return format == LAYOUT_FORMAT &&
         checksum == bytes_hash((struct bytes){encoded.data, LAYOUT_BYTES(said->count) - 8u}, 0) && mark_is_sound(mark);
}

bool member_layout_is_sound(struct bytes encoded) {
  struct mark mark;
  struct said said;
  return encoded.size == 0 || decode(encoded, &mark, &said);
}

/* -- rings --------------------------------------------------------------------------- */

static struct ring *free_ring(struct member *member) {
  for (uint32_t i = 0; i < RINGS; i++) {
    struct ring *ring = &member->rings[i];
    if (ring != member->target && ring != member->base && ring != member->newest) {
      return ring;
    }
  }
  ASSERT(false); /* three of four are live at the most */
  return NULL;
}

/* The ring of the first `count` records: one that is live already, or a fold of its own. */
static struct ring *ring_of(struct member *member, uint32_t count) {
  const struct history *history = &member->records.history;
  ASSERT(count <= history_length(history));
  uint64_t digest = count == history_length(history) ? member->records.digest : history_prefix_digest(history, count);
  struct ring *live[] = {member->target, member->base, member->newest};
  for (uint32_t i = 0; i < sizeof(live) / sizeof(live[0]); i++) {
    if (live[i]->digest == digest) {
      return live[i];
    }
  }
  const struct ring *earlier = member->layout.target_count <= count ? member->target : member->base;
  struct ring *ring = free_ring(member);
  ring_fold_from(ring, earlier, history, count);
  ASSERT(ring->digest == digest);
  if (PLANTED(arrival_order) && ring->member_count > 0) {
    ring->owners[0] = (uint16_t)(member->self % ring->member_count);
  }
  return ring;
}

static void layouts_changed(struct layout *layout, uint64_t now_ns) {
  layout->epoch += 1;
  layout->due_ns = now_ns + LAYOUT_SOON_NS;
  ASSERT(layout->progress_epoch != layout->epoch);
}

static void set_target(struct member *member, struct ring *ring, uint32_t count, uint64_t now_ns) {
  struct layout *layout = &member->layout;
  ASSERT(ring->digest != 0 || count == 0);
  member->target = ring;
  layout->target_count = count;
  layout->started_ns = now_ns;
  if (!member->has_base) {
    member->base = ring;
  }
  layouts_changed(layout, now_ns);
}

/* -- at start ------------------------------------------------------------------------ */

/* Which of the history's prefixes the mark names. */
static void find_layouts(struct member *member) {
  struct layout *layout = &member->layout;
  const struct history *history = &member->records.history;
  const struct mark *mark = &layout->mark;
  if (mark->base_count < history->snapshot.ring.records) {
    return; /* the snapshot came, and the mark had not yet followed: find_next has the snapshot as the first base */
  }
  int base = history_find_prefix(history, mark->base_digest);
  ASSERT(base == (int)mark->base_count);
  member->has_base = true;
  member->base = member->target = ring_of(member, mark->base_count);
  layout->base_count = layout->target_count = mark->base_count;
  int target = history_find_prefix(history, mark->target_digest);
  bool known = target == (int)mark->target_count;
  layout->target_count = known ? mark->target_count : history_length(history);
  member->target = ring_of(member, layout->target_count);
}

void layout_init(struct member *member, const struct shard_config *config) {
  struct layout *layout = &member->layout;
  const struct history *history = &member->records.history;
  uint32_t length = history_length(history);
  layout->retry_due_ns = layout->due_ns = HEAP_NEVER;
  layout->stored = config->layout.size > 0;
  member->target = member->base = member->newest = &member->rings[0];
  ring_fold(member->target, history);
  layout->target_count = length;
  if (layout->stored) {
    bool sound = decode(config->layout, &layout->mark, &layout->said);
    ASSERT(sound);
  } else if (length > 0) {
    /* A directory from before there were layouts: nothing was ever moved. */
    layout->mark = (struct mark){length, length, member->records.digest, member->records.digest, MARK_DONE, 0};
  }
  if (layout->mark.base_count > 0) {
    find_layouts(member);
  }
  layout->leaves = layout->mark.phase == MARK_READS && ring_find(member->target, member->self) < 0;
  ASSERT(member->has_base || member->base == member->target);
}

/* -- phases -------------------------------------------------------------------------- */

static bool same_mark(const struct mark *a, const struct mark *b) {
  return mark_compare(a, b) == 0 && a->base_digest == b->base_digest && a->target_digest == b->target_digest;
}

static bool holds_target(enum mark_phase phase) {
  return phase == MARK_HOLDS || phase == MARK_RELEASES || phase == MARK_READS;
}

enum mark_phase layout_phase(const struct member *member) {
  const struct mark *mark = &member->layout.mark;
  ASSERT(mark->phase <= MARK_DONE);
  bool same =
      member->has_base && mark->base_digest == member->base->digest && mark->target_digest == member->target->digest;
  return same ? (enum mark_phase)mark->phase : MARK_NONE;
}

bool layout_is_bound(const struct member *member) {
  const struct layout *layout = &member->layout;
  ASSERT(layout->next.phase <= MARK_DONE);
  return holds_target(layout_phase(member)) || (layout->storing && holds_target((enum mark_phase)layout->next.phase) &&
                                                layout->next.target_digest == member->target->digest);
}

static bool may_retarget(const struct member *member) {
  if (!member->has_base) {
    return true;
  }
  if (!barrier_newcomers_know(member)) {
    return false;
  }
  if (!layout_is_bound(member)) {
    return true;
  }
  if (member->layout.storing) {
    return false;
  }
  switch (layout_phase(member)) {
  case MARK_RELEASES:
    return barrier_is_released(member);
  case MARK_READS:
    /* Nobody waits for one that is removed: it is bound by nothing, and follows. */
    return ring_find(member->newest, member->self) < 0 ? barrier_is_passed_over(member) : barrier_is_deserted(member);
  case MARK_NONE:
  case MARK_KNOWS:
  case MARK_HOLDS:
  case MARK_DONE:
    return false;
  }
  ASSERT(false); /* a mark of no phase */
  return false;
}

/* One that was left out takes part again: what was held without it is to be checked against it too. */
static bool note_returned(struct member *member, uint64_t now_ns) {
  bool returned = member->detector.returned && !holds_target(layout_phase(member));
  member->detector.returned = false;
  if (returned) {
    layouts_changed(&member->layout, now_ns);
  }
  return returned;
}

/* Once it says READS the others may be done with the change, and listen no more to one that their ring has not. */
static bool is_leaving(const struct member *member) {
  const struct layout *layout = &member->layout;
  if (!member->has_base || ring_find(member->target, member->self) >= 0) {
    return false;
  }
  bool storing = layout->storing && layout->next.phase == MARK_READS;
  switch (layout_phase(member)) {
  case MARK_HOLDS:
    return storing || barrier_all(member, MARK_HOLDS);
  case MARK_RELEASES:
    return storing || barrier_is_read(member);
  case MARK_READS:
    return true;
  case MARK_NONE:
  case MARK_KNOWS:
  case MARK_DONE:
    return false;
  }
  ASSERT(false); /* a mark of no phase */
  return false;
}

/* False: nothing has changed. */
static bool note_leaving(struct member *member, uint64_t now_ns) {
  struct layout *layout = &member->layout;
  bool before = layout->leaves;
  layout->leaves = is_leaving(member);
  if (layout->leaves && !before) {
    layout->progress.idle = false; /* it was, and may have been given something since */
    layout->due_ns = now_ns + LAYOUT_SOON_NS;
  }
  return layout->leaves != before;
}

bool layout_progress_is_current(const struct member *member) {
  const struct layout *layout = &member->layout;
  return layout->progress_epoch == layout->epoch && layout->progress_buckets == member->records.buckets_digest;
}

/* A request that it had taken on before it left would be answered by nobody. */
static bool may_say_reads(const struct member *member) {
  const struct layout *layout = &member->layout;
  return !layout->leaves || (layout->progress_epoch == layout->epoch && layout->progress.idle);
}

/* The durable mark, and what goes with it now. While READS is being stored behind RELEASES the history is not told: who
 * has decided to read by the target does not release it, whatever it learns meanwhile. Nor does one whose mark is an
 * old copy before all have heard of that. */
void layout_tell(const struct member *member, struct heartbeat *heartbeat) {
  const struct layout *layout = &member->layout;
  ASSERT(layout->mark.phase <= MARK_DONE);
  heartbeat->mark = layout->mark;
  bool released = layout->mark.phase == MARK_RELEASES;
  bool bound = layout->storing || (life_has_forgotten(member) && !barrier_is_heard(member));
  heartbeat->history_digest = released && bound ? 0 : member->records.digest;
  heartbeat->fences = barrier_fences(member);
}

static struct mark mark_of(const struct member *member, enum mark_phase phase) {
  const struct layout *layout = &member->layout;
  ASSERT(member->has_base);
  uint32_t base_count = member->base == member->target ? layout->target_count : layout->base_count;
  return (struct mark){base_count,     layout->target_count, member->base->digest, member->target->digest,
                       (uint8_t)phase, layout->mark.revision};
}

/* A base beyond ours, or our first: 0 there is none. */
static uint32_t find_base(const struct member *member, uint64_t *digest) {
  const struct layout *layout = &member->layout;
  const struct history *history = &member->records.history;
  uint32_t count = barrier_newer_base(member, digest);
  uint32_t least = member->has_base && layout->base_count > count ? layout->base_count : count;
  int hinted = layout->base_hint == 0 ? -1 : history_find_prefix(history, layout->base_hint);
  if (hinted > (int)least) {
    *digest = layout->base_hint;
    least = count = (uint32_t)hinted;
  }
  if (history->snapshot.ring.records > least) {
    *digest = history->snapshot.ring.digest; /* what was folded away was a base */
    count = history->snapshot.ring.records;
  }
  const struct change *founding = history_founding(history);
  if (count == 0 && !member->has_base && history_length(history) == 1 && founding != NULL &&
      founding->node == member->self) {
    *digest = member->records.digest; /* we have founded it, and hold all that there is */
    count = 1;
  }
  ASSERT(count <= history_length(history));
  return count;
}

bool layout_is_newcomer(const struct member *member) {
  ASSERT(member->base != NULL);
  return !member->has_base || ring_find(member->base, member->self) < 0;
}

/* Who is out by both layouts is waited for by nobody: it holds nothing, and follows those who do. */
static bool takes_part(const struct member *member) {
  ASSERT(member->has_base);
  return ring_find(member->base, member->self) >= 0 || ring_find(member->target, member->self) >= 0;
}

/* The target is what is known of the history. But one that has lost what it had said may have been bound to a target by
 * which others read: the length of that, or 0. */
static uint32_t target_to_come_back_to(const struct member *member) {
  return member->has_base && life_has_forgotten(member) ? barrier_target_read(member) : 0;
}

/* Others may go by what it has said in its last life, or may just have gone on by that. */
static bool may_bind_itself(const struct member *member) {
  return member->life.sure && (!life_has_forgotten(member) || barrier_is_heard(member));
}

/* Nobody reads by anything else before all members of the base know of a change. */
bool layout_is_certain(const struct member *member) {
  if (!life_has_forgotten(member) || member->newest->digest == member->base->digest) {
    return true;
  }
  return barrier_is_heard(member) && (target_to_come_back_to(member) == 0 || layout_phase(member) == MARK_READS);
}

/* What this node can say next, now, as far as what is durable goes. False: nothing new. */
static bool find_step(const struct member *member, struct mark *next) {
  const struct layout *layout = &member->layout;
  uint64_t digest = 0;
  uint32_t count = find_base(member, &digest);
  if (count > 0) {
    *next = (struct mark){count, count, digest, digest, MARK_DONE, layout->mark.revision};
    return true;
  }
  bool current = member->newest == member->target || target_to_come_back_to(member) == layout->target_count;
  bool seen = layout_progress_is_current(member);
  switch (layout_phase(member)) {
  case MARK_NONE:
    *next = member->has_base ? mark_of(member, member->base == member->target ? MARK_DONE : MARK_KNOWS) : layout->mark;
    /* Of which keys it is a replica, and what their quorums are, a newcomer has to be told first; and nobody may have
     * to rely upon what it has heard of one that is removed alone. */
    return member->has_base && current && seen && layout->progress.settled && may_bind_itself(member) &&
           (!layout_is_newcomer(member) || barrier_is_introduced(member));
  case MARK_KNOWS:
    *next = mark_of(member, MARK_HOLDS);
    return takes_part(member) && current && seen && layout->progress.holds &&
           (PLANTED(marks_skip) || barrier_all(member, MARK_KNOWS));
  case MARK_HOLDS:
    if (barrier_all(member, MARK_HOLDS) && barrier_is_remembered(member)) {
      *next = mark_of(member, MARK_READS);
      return may_say_reads(member);
    }
    *next = mark_of(member, MARK_RELEASES);
    return !current && may_bind_itself(member);
  case MARK_RELEASES:
    *next = mark_of(member, MARK_READS);
    return barrier_is_read(member) && may_say_reads(member);
  case MARK_READS:
    *next = mark_of(member, MARK_DONE);
    next->base_count = next->target_count;
    next->base_digest = next->target_digest;
    return barrier_all(member, MARK_READS);
  case MARK_DONE:
    return false;
  }
  ASSERT(false); /* a mark of no phase */
  return false;
}

/* Nor what is being stored now may break it. What says less than the mark before it, or something else, is to be told
 * from a mark that comes late. */
static bool find_next(const struct member *member, struct mark *next) {
  const struct mark *mark = &member->layout.mark;
  ASSERT(!member->layout.storing);
  if (!find_step(member, next) || !records_keep(member, next->target_count, next->target_digest)) {
    return false;
  }
  next->revision += mark_compare(next, mark) <= 0 && !same_mark(next, mark) ? 1 : 0;
  return true;
}

/* -- storing ------------------------------------------------------------------------- */

static void said_add(struct said *said, struct identity end) {
  ASSERT(end.time > 0);
  if (said->count == SAID_MAX) {
    memmove(&said->ends[0], &said->ends[1], (SAID_MAX - 1) * sizeof(said->ends[0]));
    said->count -= 1;
  }
  said->ends[said->count] = end;
  said->count += 1;
}

static void store(struct member *member, struct step *step, const struct mark *next) {
  struct layout *layout = &member->layout;
  ASSERT(!layout->storing);
  ASSERT(mark_is_sound(next));
  struct said said = next->base_digest == layout->mark.base_digest ? layout->said : (struct said){0};
  if (next->phase == MARK_KNOWS) {
    said_add(&said, records_end(&member->records.history, next->target_count));
  }
  struct blob *blob = encode(step->pool, next, &said);
  enum err err = ERR_NOMEM;
  if (blob != NULL) {
    err = member_store(step, MEMBER_TOKEN_LAYOUT, BYTES_LITERAL(META_LAYOUT), blob);
  }
  blob_put(blob);
  if (err != ERR_OK) {
    layout->retry_due_ns = step->now_ns + PERSIST_RETRY_NS;
    return;
  }
  layout->next = *next;
  layout->next_said = said;
  layout->storing = true;
  layout->retry_due_ns = HEAP_NEVER;
}

/* Others may remember marks from before this node lost its directory: what it says now is to count all the same. */
void layout_store_first(struct member *member, struct step *step) {
  struct layout *layout = &member->layout;
  ASSERT(!layout->stored);
  if (!layout->storing && layout->retry_due_ns == HEAP_NEVER) {
    struct mark first = layout->mark;
    first.revision = (uint32_t)(step->wall_ms / 1000);
    store(member, step, &first);
  }
}

/* The mark says DONE: its base is ours. */
static void take_base(struct member *member, uint64_t now_ns) {
  struct layout *layout = &member->layout;
  uint32_t count = layout->mark.base_count;
  ASSERT(count > 0);
  struct ring *base = ring_of(member, count);
  bool first = !member->has_base;
  member->has_base = true;
  member->base = base;
  layout->base_count = count;
  if (layout->target_count < count) {
    set_target(member, base, count, now_ns);
  }
  layout->base_hint = 0;
  if (first || base == member->target) {
    layout->started_ns = now_ns;
  }
  layouts_changed(layout, now_ns);
}

void layout_committed(struct member *member, struct step *step, enum err err) {
  struct layout *layout = &member->layout;
  ASSERT(layout->storing);
  layout->storing = false;
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors);
    layout->retry_due_ns = step->now_ns + PERSIST_RETRY_NS;
    return;
  }
  bool news = !same_mark(&layout->mark, &layout->next);
  layout->stored = true;
  if (news) {
    layout->mark = layout->next;
    layout->said = layout->next_said;
    bool folded = layout->mark.base_count < member->records.history.snapshot.ring.records;
    if (layout->mark.phase == MARK_DONE && !folded) { /* else what it was folded into comes next: see find_base */
      take_base(member, step->now_ns);
    } else if (layout->mark.phase == MARK_READS) {
      layouts_changed(layout, step->now_ns);
    }
    member_refresh(member, step);
    layout_run(member, step);
    detector_send_heartbeats(member, step);
  }
  records_commit(member, step);
}

/* -- running ------------------------------------------------------------------------- */

/* False: nothing has changed. */
static bool choose_target(struct member *member, uint64_t now_ns) {
  uint32_t count = layout_is_bound(member) ? 0 : target_to_come_back_to(member);
  struct ring *target = count == 0 ? member->newest : ring_of(member, count);
  if (target == member->target || (count == 0 && !may_retarget(member))) {
    return false;
  }
  set_target(member, target, count == 0 ? history_length(&member->records.history) : count, now_ns);
  if (count != 0) {
    detector_refresh(member); /* it may have members that are removed, of whom nothing was kept */
  }
  return true;
}

void layout_run(struct member *member, struct step *step) {
  struct layout *layout = &member->layout;
  if (member->records.digest == 0) {
    return;
  }
  bool changed = note_returned(member, step->now_ns);
  changed = choose_target(member, step->now_ns) || changed;
  changed = note_leaving(member, step->now_ns) || changed;
  if (layout->stored && !layout->storing && layout->retry_due_ns == HEAP_NEVER) {
    struct mark next;
    if (find_next(member, &next)) {
      bool folded = next.base_count < member->records.history.snapshot.ring.records;
      if (!member->has_base && next.phase == MARK_DONE && !folded) {
        life_base(member, step, ring_of(member, next.base_count));
      }
      store(member, step, &next);
    }
  }
  bool agreed = member->has_base && (member->base == member->target || barrier_all(member, MARK_KNOWS));
  bool gained = ring_find(member->target, member->self) >= 0;
  bool joined = gained && (layout->joined || agreed);
  layout->all_done = barrier_all_done(member);
  changed = changed || agreed != layout->agreed || joined != layout->joined;
  layout->agreed = agreed;
  layout->joined = joined;
  records_fold(member, step);
  if (changed) {
    member_refresh(member, step);
  }
  member_view(member, step);
}

void layout_history_changed(struct member *member, struct step *step) {
  ASSERT(member->records.digest != 0);
  member->newest = ring_of(member, history_length(&member->records.history));
  member_refresh(member, step);
  layout_run(member, step);
}

void layout_tick(struct member *member, struct step *step) {
  struct layout *layout = &member->layout;
  if (step->now_ns >= layout->retry_due_ns) {
    layout->retry_due_ns = HEAP_NEVER;
    records_commit(member, step);
  }
  if (!layout->stored && member->records.digest != 0) {
    layout_store_first(member, step);
  }
  layout->due_ns = HEAP_NEVER;
  layout_run(member, step);
  enum mark_phase phase = layout_phase(member);
  bool waits = member->has_base && !layout->storing && (phase == MARK_NONE || (layout->leaves && phase != MARK_READS));
  if (waits && layout->due_ns == HEAP_NEVER) {
    layout->due_ns = step->now_ns + LAYOUT_POLL_NS; /* for older requests */
  }
}

void member_note_progress(struct member *member, struct step *step, const struct member_progress *progress) {
  ASSERT(step->epoch == member->layout.epoch);
  ASSERT(progress != NULL);
  member->layout.progress = *progress;
  member->layout.progress_epoch = step->epoch;
  member->layout.progress_buckets = member->records.buckets_digest;
}

void member_layout(const struct member *member, struct layout_view *out) {
  const struct layout *layout = &member->layout;
  memset(out, 0, sizeof(*out));
  out->mark = layout->mark;
  out->history_digest = member->records.digest;
  out->moving = member->has_base && member->base != member->target;
  out->behind = member->newest != member->target;
  out->started_ns = layout->started_ns;
  barrier_list_waiting(member, out);
  ASSERT(out->waiting_count <= MEMBERS_MAX);
}
