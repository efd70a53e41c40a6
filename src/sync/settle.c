#include "sync/settle.h"

#include "base/assert.h"
#include "base/plant.h"
#include "sync/state.h"

#define LOOK_NS UINT64_C(200000000)
#define HEAD_BYTES 24u
#define ENTRY_BYTES 18u
#define ENTRIES_MAX 512u
#define WAVES 3u /* the one under way; then one for what had been read, one for hints that came of it */

static uint32_t others_of(const struct pairing *pairing) {
  return (1u << pairing->count) - 2u;
}

static void stage_set(struct sync *sync, const struct step *step, struct pairing *pairing, enum settle_stage stage) {
  bool was = pairing->stage >= SETTLE_ALL_HAVE;
  bool is = stage >= SETTLE_ALL_HAVE;
  sync->settling += is && !was ? 1u : 0u;
  sync->settling -= was && !is ? 1u : 0u;
  sync->settle_ns = step->now_ns;
  pairing->stage = (uint8_t)stage;
}

/* -- what the rounds find out ------------------------------------------------------------ */

void settle_round(struct sync *sync, const struct step *step) {
  for (uint32_t i = 0; i < sync->partition_count; i++) {
    struct pairing *pairing = &sync->pairings[i];
    bool leads = pairing->count > 0 && pairing->own_rank == 0;
    bool clean = leads && (others_of(pairing) & ~(uint32_t)pairing->clean) == 0;
    if (clean && pairing->stage == SETTLE_NONE && sync->round.low > floors_get(sync->floors, i)) {
      pairing->floor = sync->round.low;
      stage_set(sync, step, pairing, SETTLE_HAS);
    } else if (clean && pairing->stage == SETTLE_HAS) {
      pairing->due_wave = step->waves + WAVES;
      stage_set(sync, step, pairing, SETTLE_ALL_HAVE);
    }
  }
}

void settle_met(struct sync *sync, uint32_t member, uint64_t life) {
  struct partner *partner = &sync->partners[member];
  if (partner->life == life) {
    return;
  }
  for (uint32_t i = 0; i < sync->partition_count && partner->life != 0; i++) {
    struct pairing *pairing = &sync->pairings[i];
    if (pairing->own_rank == 0 && round_rank(pairing, member) != 0) {
      sync->settling -= pairing->stage >= SETTLE_ALL_HAVE ? 1u : 0u;
      pairing->stage = SETTLE_NONE;
    }
  }
  partner->life = life;
}

/* -- what follows from it ------------------------------------------------------------------ */

static void pairing_go(struct sync *sync, struct step *step, uint32_t partition) {
  struct pairing *pairing = &sync->pairings[partition];
  bool over = step->waves >= pairing->due_wave;
  if (pairing->stage >= SETTLE_STORING && floors_raised(sync->floors, partition) < pairing->floor) {
    stage_set(sync, step, pairing, SETTLE_NONE); /* something was lost: what has been found out does not hold */
    return;
  }
  if (pairing->stage == SETTLE_ALL_HAVE && over &&
      floors_raise(sync->floors, partition, pairing->own_rank, pairing->floor)) {
    stage_set(sync, step, pairing, SETTLE_STORING);
  }
  if (pairing->stage == SETTLE_STORING && floors_get(sync->floors, partition) >= pairing->floor) {
    pairing->told = pairing->marked = 0;
    stage_set(sync, step, pairing, SETTLE_TELLING);
  }
  bool told = (others_of(pairing) & ~(uint32_t)pairing->told) == 0;
  if (pairing->stage == SETTLE_TELLING && told && !PLANTED(reap_never)) {
    floors_set_reap_mark(sync->floors, partition, pairing->floor);
    stage_set(sync, step, pairing, SETTLE_MARKING);
  }
  if (pairing->stage == SETTLE_MARKING && (others_of(pairing) & ~(uint32_t)pairing->marked) == 0) {
    stage_set(sync, step, pairing, SETTLE_NONE);
  }
}

static void write_head(const struct sync *sync, struct writer *w, uint64_t life) {
  write_u64(w, sync->layout);
  write_u64(w, sync->sizes_digest);
  write_u64(w, life);
}

static void write_entry(const struct sync *sync, struct writer *w, uint32_t partition) {
  write_u16(w, (uint16_t)partition);
  write_u64(w, floors_get(sync->floors, partition));
  write_u64(w, floors_reap_mark(sync->floors, partition));
}

/* Is there something in it that the member has not confirmed? */
static bool is_to_tell(const struct pairing *pairing, uint32_t member) {
  uint32_t rank = pairing->own_rank == 0 ? round_rank(pairing, member) : 0;
  uint32_t bit = 1u << rank;
  bool floor = pairing->stage == SETTLE_TELLING && (pairing->told & bit) == 0;
  bool mark = pairing->stage == SETTLE_MARKING && (pairing->marked & bit) == 0;
  return rank != 0 && (floor || mark);
}

static void tell(struct sync *sync, struct step *step, uint32_t member) {
  uint8_t bytes[HEAD_BYTES + ENTRIES_MAX * ENTRY_BYTES];
  struct writer w = writer_make(bytes, sizeof bytes);
  uint32_t count = 0;
  write_head(sync, &w, sync->partners[member].life);
  for (uint32_t i = 0; i < sync->partition_count && count < ENTRIES_MAX; i++) {
    if (is_to_tell(&sync->pairings[i], member)) {
      write_entry(sync, &w, i);
      count += 1;
    }
  }
  uint32_t node = step->reading->members[member].node;
  struct blob *object = count == 0 || !step_is_up(step, node) ? NULL : blob_copy(step->pool, writer_bytes(&w));
  if (object != NULL) {
    struct message message = {.type = MESSAGE_FLOORS, .object = blob_bytes(object), .object_blob = object};
    step_send(step, node, &message);
  }
  blob_put(object);
}

void settle_tick(struct sync *sync, struct step *step) {
  if (sync->settling == 0 || step->now_ns < sync->settle_ns) {
    return;
  }
  if (!sync_is_ready(sync, step)) { /* the tree may be grown again where there was damage */
    sync->settle_ns = step->now_ns + LOOK_NS;
    return;
  }
  for (uint32_t i = 0; i < sync->partition_count; i++) {
    if (sync->pairings[i].stage >= SETTLE_ALL_HAVE) {
      pairing_go(sync, step, i);
    }
  }
  for (uint32_t member = 0; member < step->reading->member_count; member++) {
    if (sync->partners[member].life != 0) {
      tell(sync, step, member);
    }
  }
  sync->settle_ns = step->now_ns + LOOK_NS;
}

/* -- messages -------------------------------------------------------------------------------- */

struct entry {
  uint32_t partition;
  uint64_t floor, mark;
};

static bool entry_read(const struct sync *sync, struct reader *r, struct entry *entry) {
  if (r->failed || reader_left(r) < ENTRY_BYTES) {
    return false;
  }
  *entry = (struct entry){.partition = read_u16(r)};
  entry->floor = read_u64(r);
  entry->mark = read_u64(r);
  return entry->partition < sync->partition_count;
}

/* As the first replica says. */
static void take(struct sync *sync, const struct step *step, uint32_t from, const struct entry *entry) {
  const struct pairing *pairing = &sync->pairings[entry->partition];
  bool led = pairing->own_rank > 0 && pairing->own_rank < pairing->count &&
             step->reading->members[pairing->members[0]].node == from;
  if (!led || entry->floor == UINT64_MAX) {
    return;
  }
  floors_set_reap_mark(sync->floors, entry->partition, entry->mark);
  if (entry->floor > floors_get(sync->floors, entry->partition)) {
    (void)!floors_raise(sync->floors, entry->partition, pairing->own_rank, entry->floor); /* it is told again */
  }
}

static void confirmed(struct sync *sync, uint32_t member, const struct entry *entry) {
  struct pairing *pairing = &sync->pairings[entry->partition];
  uint32_t rank = pairing->own_rank == 0 ? round_rank(pairing, member) : 0;
  if (rank == 0) {
    return;
  }
  uint32_t bit = 1u << rank;
  pairing->told = (uint8_t)(pairing->told | (entry->floor >= pairing->floor ? bit : 0u));
  pairing->marked = (uint8_t)(pairing->marked | (entry->mark >= pairing->floor ? bit : 0u));
}

void settle_message(struct sync *sync, struct step *step, uint32_t from, const struct message *message) {
  struct reader r = reader_make(message->object);
  uint64_t layout = read_u64(&r);
  uint64_t sizes = read_u64(&r);
  uint64_t life = read_u64(&r);
  bool held = message->type == MESSAGE_FLOORS_HELD;
  int member = ring_find(step->reading, from);
  if (r.failed || member < 0 || !sync_is_ready(sync, step) || layout != sync->layout || sizes != sync->sizes_digest ||
      life != (held ? sync->partners[member].life : sync->life)) {
    COUNT(step->stats->messages_late);
    return;
  }
  uint8_t bytes[HEAD_BYTES + ENTRIES_MAX * ENTRY_BYTES];
  struct writer w = writer_make(bytes, sizeof bytes);
  struct entry entry;
  write_head(sync, &w, sync->life);
  for (uint32_t i = 0; i < ENTRIES_MAX && entry_read(sync, &r, &entry); i++) {
    if (held) {
      confirmed(sync, (uint32_t)member, &entry);
    } else {
      take(sync, step, from, &entry);
      write_entry(sync, &w, entry.partition);
    }
  }
  struct blob *object = held ? NULL : blob_copy(step->pool, writer_bytes(&w));
  if (object != NULL) {
    struct message answer = {.type = MESSAGE_FLOORS_HELD, .object = blob_bytes(object), .object_blob = object};
    step_send(step, from, &answer);
  }
  blob_put(object);
}
