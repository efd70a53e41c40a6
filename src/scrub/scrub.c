#include "scrub/scrub.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "scrub/state.h"

#define SCAN_BYTES (256u << 10)         /* about; one object at least */
#define BACKOFF_NS UINT64_C(1000000000) /* after a scan that failed */
#define IDLE_NS UINT64_C(1000000000)    /* between looks whether there are to be rounds */
#define REST_NS UINT64_C(1000000)       /* between two scans, whatever the round */
#define SAVE_SHIFT 56u                  /* the place is stored each 1/256 of the way */
#define FULL_TURN (UINT64_C(1) << 32)   /* parts of the way that times are reckoned with */
#define SAVE_BYTES (1u + 8u)
#define SAVE_FORMAT 1u

size_t scrub_size(void) {
  return (sizeof(struct scrub) + 63u) & ~(size_t)63u;
}

/* META_SCRUB: u8 format  u64 `high` of the position that is next. Of no more worth than the way that it spares. */
struct scrub *scrub_init(void *memory, const struct shard_config *config, struct growth *growth, struct floors *floors,
                         uint32_t first) {
  ASSERT(memory != NULL && growth != NULL && floors != NULL);
  struct scrub *scrub = memory;
  memset(scrub, 0, sizeof *scrub);
  scrub->growth = growth;
  scrub->floors = floors;
  scrub->generation = first;
  struct reader r = reader_make(config->scrub);
  uint8_t format = read_u8(&r);
  uint64_t high = read_u64(&r);
  if (!r.failed && format == SAVE_FORMAT) {
    scrub->cursor.next.high = scrub->cursor.saved = high;
  }
  return scrub;
}

void scrub_deinit(struct scrub *scrub) {
  heals_reset(scrub);
  ASSERT(scrub->healing == 0);
}

/* -- the cursor ------------------------------------------------------------------------ */

/* How much of a round so much of the way takes. */
static uint64_t time_of(uint64_t round_ns, uint64_t way) {
  return round_ns / FULL_TURN * (way >> 32u) + round_ns % FULL_TURN * (way >> 32u) / FULL_TURN;
}

static void place_save(struct scrub *scrub, struct step *step) {
  struct cursor *cursor = &scrub->cursor;
  uint8_t bytes[SAVE_BYTES];
  if (cursor->saving || cursor->saved >> SAVE_SHIFT == cursor->next.high >> SAVE_SHIFT) {
    return;
  }
  struct writer w = writer_make(bytes, sizeof bytes);
  write_u8(&w, SAVE_FORMAT);
  write_u64(&w, cursor->next.high);
  struct blob *key = blob_copy(step->pool, BYTES_LITERAL(META_SCRUB));
  struct blob *value = blob_copy(step->pool, writer_bytes(&w));
  if (key != NULL && value != NULL) {
    cursor->saving = true;
    cursor->saved = cursor->next.high;
    step_commit(step, token_make(TOKEN_SCRUB, 0), SPACE_META, key, value, false);
  }
  blob_put(key);
  blob_put(value);
}

void scrub_commit_done(struct scrub *scrub, struct step *step, enum err err) {
  ASSERT(scrub->cursor.saving);
  scrub->cursor.saving = false;
  if (err != ERR_OK) {
    COUNT(step->stats->store_errors); /* the next place will be stored */
  }
}

static void cursor_tick(struct scrub *scrub, struct step *step) {
  struct cursor *cursor = &scrub->cursor;
  if (cursor->round_ns != step->tunables->scrub_round_ns) {
    cursor->round_ns = step->tunables->scrub_round_ns;
    cursor->due_ns = step->now_ns;
  }
  if (cursor->state != CURSOR_WAITING || step->now_ns < cursor->due_ns) {
    return;
  }
  if (cursor->round_ns == 0) {
    cursor->due_ns = step->now_ns + IDLE_NS;
    return;
  }
  if (!step_may_work(step, ADMIT_SCRUB, 0, &cursor->due_ns)) {
    return;
  }
  struct blob *from = blob_new(step->pool, POSITION_BYTES);
  if (from == NULL) {
    cursor->due_ns = step->now_ns + BACKOFF_NS;
    return;
  }
  position_write(cursor->next, from->data);
  cursor->state = CURSOR_SCANNING;
  step_scan(step, token_make(TOKEN_SCRUB, 0), SPACE_OBJECTS, from, NULL, SCRUB_BATCH_MAX, SCAN_BYTES, false);
  blob_put(from);
}

static struct position entry_position(const struct scan_entry *entry) {
  struct bytes key = blob_bytes(entry->key);
  return key.size < POSITION_BYTES ? (struct position){0, 0} : position_read(key.data);
}

/* Objects that the engine takes for sound and that are none: found by reading them as anybody does. */
static bool is_sound(const struct scan_entry *entry) {
  struct object object;
  return blob_bytes(entry->key).size >= POSITION_BYTES && object_open(&object, blob_bytes(entry->value)) == ERR_OK &&
         !object.is_clock;
}

static void gap_found(struct scrub *scrub, struct step *step, struct position first, struct position last) {
  COUNT(step->stats->scrub_gaps);
  growth_lose(scrub->growth, first, last);
}

void scrub_scan_done(struct scrub *scrub, struct step *step, const struct event *event) {
  struct cursor *cursor = &scrub->cursor;
  const struct position end = {UINT64_MAX, UINT64_MAX};
  ASSERT(cursor->state == CURSOR_SCANNING);
  cursor->state = CURSOR_WAITING;
  if (event->scan.err != ERR_OK) {
    COUNT(step->stats->store_errors);
    cursor->due_ns = step->now_ns + BACKOFF_NS;
    return;
  }
  uint32_t count = event->scan.count;
  if (event->scan.gap) {
    gap_found(scrub, step, cursor->next, count > 0 ? entry_position(&event->scan.entries[0]) : end);
  }
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < count; i++) {
    const struct scan_entry *entry = &event->scan.entries[i];
    bytes += blob_bytes(entry->key).size + blob_bytes(entry->value).size;
    if (!is_sound(entry)) {
      gap_found(scrub, step, entry_position(entry), entry_position(entry));
    }
  }
  step->stats->scrub_bytes += bytes;
  step_worked(step, ADMIT_SCRUB, bytes);
  uint64_t from = cursor->next.high;
  uint64_t way = UINT64_MAX - from;
  if (event->scan.end || count == 0) {
    COUNT(step->stats->scrub_rounds);
    growth_scrubbed(scrub->growth);
    cursor->whole_ns = step->now_ns;
    cursor->next = (struct position){0, 0};
  } else {
    cursor->next = entry_position(&event->scan.entries[count - 1]);
    cursor->next.low += 1; /* a position is a hash of the key: two keys of one are not met with */
    cursor->next.high += cursor->next.low == 0 ? 1 : 0;
    way = cursor->next.high - from;
  }
  cursor->due_ns = step->now_ns + time_of(cursor->round_ns, way) + REST_NS;
  place_save(scrub, step);
}

void scrub_look(const struct scrub *scrub, uint64_t now_ns, uint64_t round_ns, struct scrub_view *out) {
  const struct cursor *cursor = &scrub->cursor;
  *out = (struct scrub_view){.running = round_ns > 0, .healing = scrub->healing};
  out->per_mille = (uint32_t)((cursor->next.high >> 32u) * 1000u / FULL_TURN);
  out->left_ms = time_of(round_ns, UINT64_MAX - cursor->next.high) / 1000000u;
  out->whole_age_ms = cursor->whole_ns == 0 ? 0 : (now_ns - cursor->whole_ns) / 1000000u + 1u;
}

/* -- dispatch ----------------------------------------------------------------------------- */

bool scrub_owns_request(uint64_t request) {
  return request >> SCRUB_TAG_BITS == SCRUB_TAG;
}

void scrub_message(struct scrub *scrub, struct step *step, uint32_t from, const struct message *message) {
  if (message->type == MESSAGE_DAMAGED) {
    ASSERT(from == step->self);
    heal_begin(scrub, step, message);
  } else {
    heal_message(scrub, step, from, message);
  }
}

void scrub_tick(struct scrub *scrub, struct step *step) {
  heals_tick(scrub, step);
  cursor_tick(scrub, step);
}

uint64_t scrub_deadline(const struct scrub *scrub) {
  uint64_t deadline = heals_deadline(scrub);
  const struct cursor *cursor = &scrub->cursor;
  return cursor->state == CURSOR_WAITING && cursor->due_ns < deadline ? cursor->due_ns : deadline;
}
