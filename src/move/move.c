#include "move/move.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "move/state.h"
#include "version/bucket.h"

#define SAVE_FORMAT 1u
#define SAVE_FIXED_BYTES (1u + 3u * 8u + 4u + 8u)
#define STATES_PER_BYTE 4u
#define SLOT_SHIFT 50u /* the slot is the top 14 bits of a position */

size_t move_size(void) {
  return (sizeof(struct move) + 63u) & ~(size_t)63u;
}

/* -- META_MOVES ------------------------------------------------------------------------
 *
 * u8 format  u64 base digest  u64 target digest  u64 sizes digest  u32 partitions  two bits for each  u64 XXH3-64 */

static uint32_t states_bytes(uint32_t partition_count) {
  return (partition_count + STATES_PER_BYTE - 1) / STATES_PER_BYTE;
}

/* It tells of progress only: what is damaged is as if it had not been. */
static bool load(struct move *move, struct bytes saved) {
  if (saved.size < SAVE_FIXED_BYTES) {
    return saved.size == 0;
  }
  struct bytes checked = {saved.data, saved.size - 8u};
  struct reader tail = reader_make((struct bytes){saved.data + checked.size, 8u});
  struct reader r = reader_make(checked);
  if (read_u64(&tail) != bytes_hash(checked, 0) || read_u8(&r) != SAVE_FORMAT) {
    return false;
  }
  struct move_identity identity = {.base_digest = read_u64(&r)};
  identity.target_digest = read_u64(&r);
  identity.sizes_digest = read_u64(&r);
  uint32_t count = read_u32(&r);
  if (count > PARTITIONS_MAX || reader_left(&r) != states_bytes(count)) {
    return false;
  }
  struct bytes states = read_raw(&r, states_bytes(count));
  for (uint32_t i = 0; i < count; i++) {
    unsigned state = (unsigned)states.data[i / STATES_PER_BYTE] >> (i % STATES_PER_BYTE * 2u) & 3u;
    move->parts[i].state = (uint8_t)state;
    move->parts[i].checked = state == PART_HELD ? CHECKED_ALL : 0;
    move->parts[i].low = state >= PART_COPIED;
  }
  move->identity = identity;
  move->partition_count = count;
  ASSERT(!r.failed);
  return true;
}

static struct blob *save_encode(const struct move *move, struct blob_pool *pool) {
  uint8_t states[PARTITIONS_MAX / STATES_PER_BYTE] = {0};
  uint32_t bytes = states_bytes(move->partition_count);
  for (uint32_t i = 0; i < move->partition_count; i++) {
    const struct part *part = &move->parts[i];
    bool whole = part->state == PART_HELD && part->checked == CHECKED_ALL;
    unsigned state = whole ? PART_HELD : part->state >= PART_COPIED ? PART_COPIED : 0u;
    states[i / STATES_PER_BYTE] = (uint8_t)(states[i / STATES_PER_BYTE] | state << (i % STATES_PER_BYTE * 2u));
  }
  struct blob *blob = blob_new(pool, SAVE_FIXED_BYTES + bytes);
  if (blob == NULL) {
    return NULL;
  }
  struct writer w = writer_make(blob->data, blob->size);
  write_u8(&w, SAVE_FORMAT);
  write_u64(&w, move->identity.base_digest);
  write_u64(&w, move->identity.target_digest);
  write_u64(&w, move->identity.sizes_digest);
  write_u32(&w, move->partition_count);
  write_raw(&w, (struct bytes){states, bytes});
  write_u64(&w, bytes_hash(writer_bytes(&w), 0));
  ASSERT(!w.failed && w.size == blob->size);
  return blob;
}

/* One commit at a time: what changes meanwhile goes with the next. */
static void save(struct move *move, struct step *step) {
  if (move->saving != 0 || move->saved == move->version || step->now_ns < move->save_due_ns) {
    return;
  }
  ASSERT(move_is_made(move));
  struct blob *key = blob_copy(step->pool, BYTES_LITERAL(META_MOVES));
  struct blob *value = key == NULL ? NULL : save_encode(move, step->pool);
  if (value == NULL) {
    move->save_due_ns = step->now_ns + MOVE_BACKOFF_NS;
  } else {
    move->saving = move->version;
    step_commit(step, move_token(MOVE_TOKEN_SAVE, 0, 0), SPACE_META, key, value, true);
  }
  blob_put(key);
  blob_put(value);
}

void move_commit_done(struct move *move, struct step *step, uint64_t token, enum err err) {
  ASSERT(token == move_token(MOVE_TOKEN_SAVE, 0, 0));
  ASSERT(move->saving != 0);
  if (err == ERR_OK) {
    move->saved = move->saving;
    move->save_due_ns = step->now_ns + MOVE_LOOK_NS; /* what changes until then goes with the next */
  } else {
    COUNT(step->stats->store_errors);
    move->save_due_ns = step->now_ns + MOVE_BACKOFF_NS;
  }
  move->saving = 0;
}

/* -- life --------------------------------------------------------------------------------- */

struct move *move_init(void *memory, const struct shard_config *config, struct floors *floors, uint32_t first) {
  ASSERT(memory != NULL && floors != NULL);
  struct move *move = memory;
  memset(move, 0, sizeof *move);
  move->floors = floors;
  move->generation = first;
  move->damaged = !load(move, config->moves);
  ASSERT(move->partition_count <= PARTITIONS_MAX);
  return move;
}

void move_deinit(struct move *move) {
  arrive_reset(move);
  strays_reset(move);
}

/* -- the table ---------------------------------------------------------------------------- */

bool move_is_made(const struct move *move) {
  ASSERT(move->next <= move->partition_count || !move->started);
  return move->started && move->partition_count > 0 && move->next == move->partition_count;
}

bool move_is_moving(const struct step *step) {
  return step->base != step->ring && step->base->digest != step->ring->digest;
}

static void sizes_take(struct move *move, uint32_t sizes) {
  move->sizes = sizes;
  move->n_min = 1;
  while ((sizes & 1u << move->n_min) == 0) {
    move->n_min += 1;
  }
  move->n_max = REPLICAS_MAX;
  while ((sizes & 1u << move->n_max) == 0) {
    move->n_max -= 1;
  }
  ASSERT(move->n_min <= move->n_max);
}

/* What it has been checked against; from whom it was copied nobody knows any more. */
static void part_forget(struct part *part) {
  part->checked = 0;
  part->floor = 0;
  part->again = false;
  part->low = part->state >= PART_COPIED;
}

/* What is known of partitions under other layouts is worth something still: a copy may lack what was written since the
 * last target, and the check finds that out. */
static void states_weaken(struct move *move, uint32_t partition_count) {
  for (uint32_t i = 0; i < PARTITIONS_MAX; i++) {
    struct part *part = &move->parts[i];
    bool keeps = partition_count == move->partition_count && part->state >= PART_COPIED;
    part->state = keeps ? PART_COPIED : PART_NONE;
    part_forget(part);
  }
}

static void table_begin(struct move *move, const struct step *step) {
  struct move_identity identity = {.base_digest = step->base->digest, .target_digest = step->ring->digest};
  uint32_t sizes = 0;
  identity.sizes_digest = bucket_table_sizes(step->buckets, &sizes) ^ step->lost;
  sizes_take(move, sizes);
  bool known = step->base->partition_count > 0 && step->ring->partition_count > 0;
  uint32_t partition_count = known ? step->ring->partition_count : 0;
  arrive_reset(move);
  strays_reset(move);
  bool same = identity.base_digest == move->identity.base_digest &&
              identity.target_digest == move->identity.target_digest &&
              identity.sizes_digest == move->identity.sizes_digest && partition_count == move->partition_count;
  if (!same && known) {
    states_weaken(move, partition_count);
  }
  if (identity.target_digest != move->identity.target_digest) {
    move->moving_keys = move->moving_bytes = 0;
  }
  if (known) {
    move->identity = identity;
    move->partition_count = partition_count;
  }
  move->lost = step->lost;
  move->next = 0;
  move->wanted = move->held = move->foreign = 0;
  move->look_due_ns = known ? step->now_ns : HEAP_NEVER;
}

/* The layouts, or what the buckets' n are, may have changed since the last call, whatever it is for. */
static void layouts_look(struct move *move, const struct step *step) {
  bool same = move->started && move->epoch == step->epoch && move->lost == step->lost;
  if (same && move->buckets_digest == step->buckets_digest) {
    return;
  }
  uint32_t sizes = 0;
  move->buckets_digest = step->buckets_digest;
  if (same && (bucket_table_sizes(step->buckets, &sizes) ^ step->lost) == move->identity.sizes_digest) {
    return;
  }
  move->started = true;
  move->epoch_ns = same ? move->epoch_ns : step->now_ns;
  move->epoch = step->epoch;
  table_begin(move, step);
}

/* Are there buckets of whose keys this node is a replica in the target, and was none in the base? */
static bool is_gained(const struct move *move, const struct part *part) {
  bool gained = false;
  for (uint32_t n = part->target_rank + 1u; n <= part->base_rank; n++) {
    gained = gained || (move->sizes & 1u << n) != 0;
  }
  return gained;
}

static void part_make(struct move *move, const struct step *step, uint32_t partition) {
  struct part *part = &move->parts[partition];
  part->target_rank = (uint8_t)ring_rank(step->ring, partition, move->n_max, step->self);
  part->base_rank =
      move_is_moving(step) ? (uint8_t)ring_rank(step->base, partition, move->n_max, step->self) : part->target_rank;
  part->base_rank = move->lost != 0 ? (uint8_t)move->n_max : part->base_rank; /* as if it had never had any */
  part->not_before_ns = 0;
  bool gained = is_gained(move, part);
  if (part->state == PART_HELD && part->checked != CHECKED_ALL && step->reading == step->base) {
    part->state = PART_COPIED; /* who was left out as dead may be back: then it is checked against too */
  }
  if (!gained && part->state >= PART_COPIED) {
    move->version += 1; /* forgotten on disk too */
  }
  if (!move_is_moving(step)) {
    floors_narrow(move->floors, partition, part->target_rank);
  }
  bool all = part->base_rank >= move->n_max;
  part->kept = all ? UINT64_MAX : floors_above(move->floors, partition, part->base_rank);
  if (gained ? part->state != PART_HELD : part->target_rank >= move->n_max && part->base_rank >= move->n_max) {
    floors_forget(move->floors, partition); /* what others know of it, this node can not know */
  }
  if (part->state == PART_NONE) {
    part_forget(part);
  }
  /* Where most of it is there, the check finds what is not. */
  enum part_state first = move->lost != 0 && step->lost_little ? PART_COPIED : PART_WANTED;
  part->state = (uint8_t)(!gained ? PART_NONE : part->state == PART_NONE ? first : part->state);
  move->wanted += gained ? 1 : 0;
  move->held += part->state == PART_HELD ? 1 : 0;
  move->foreign += part->target_rank >= move->n_min ? 1 : 0;
}

/* A bounded piece of it: each partition is up to two walks around the ring. */
static void table_go(struct move *move, const struct step *step) {
  uint32_t end = move->next + MOVE_RANKS_PER_TICK;
  end = end < move->partition_count ? end : move->partition_count;
  while (move->next < end) {
    part_make(move, step, move->next);
    move->next += 1;
  }
  move->look_due_ns = step->now_ns;
}

void move_part_set(struct move *move, uint32_t partition, enum part_state state) {
  struct part *part = &move->parts[partition];
  ASSERT(move_is_made(move));
  ASSERT(part->state != PART_NONE && part->state < state);
  part->state = (uint8_t)state;
  part->checked = state == PART_COPIED ? 0 : part->checked;
  move->held += state == PART_HELD ? 1 : 0;
  move->version += 1;
  ASSERT(move->held <= move->wanted);
}

/* By the layouts, the buckets and the loss that are known now. */
static bool is_current(const struct move *move, const struct step *step) {
  return move_is_made(move) && move->epoch == step->epoch && move->buckets_digest == step->buckets_digest &&
         move->lost == step->lost;
}

bool move_vouches(const struct move *move, const struct step *step, struct bytes store_key) {
  if (step->lost == 0 || PLANTED(loss_answers)) {
    return step->sure;
  }
  if (!is_current(move, step)) {
    return false;
  }
  const struct part *part = &move->parts[move_partition(move, store_key)];
  return part->state == PART_HELD && part->target_rank < move_key_n(step, store_key);
}

bool move_is_resynced(const struct move *move, const struct step *step) {
  return is_current(move, step) && !move_is_moving(step) && move->held == move->wanted && move->saved == move->version;
}

bool move_is_complete(const struct move *move, const struct step *step) {
  if (!move_is_moving(step) || PLANTED(move_early)) {
    return true;
  }
  if (!is_current(move, step)) {
    return false;
  }
  return move->wanted == 0 ||
         (move->held == move->wanted && move->saved == move->version && floors_are_stored(move->floors));
}

bool move_is_quiet(const struct move *move, const struct step *step) {
  bool made = move_is_made(move) && move->epoch == step->epoch && !move_is_moving(step);
  return made && move->sweep.open == 0 && strays_count(move, step, 1) == 0;
}

void move_note_write(struct move *move, const struct step *step, struct bytes store_key) {
  ASSERT(store_key.size >= POSITION_BYTES);
  if (move->epoch == step->epoch) {
    strays_note(move, step, store_key);
  }
}

void move_totals(const struct move *move, const struct step *step, struct heartbeat *health) {
  health->moving_keys = move->moving_keys;
  health->moving_bytes = move->moving_bytes;
  health->parts_wanted = move->wanted;
  health->parts_held = move->held;
  health->strays = strays_count(move, step, health->keys);
  ASSERT(health->parts_held <= health->parts_wanted);
}

/* -- dispatch ---------------------------------------------------------------------------------- */

uint64_t move_request(uint32_t unit, uint32_t generation, uint32_t index) {
  ASSERT(unit <= MOVE_UNIT_SWEEP);
  ASSERT(index <= MOVE_INDEX_MASK);
  return (uint64_t)MOVE_TAG << MOVE_TAG_BITS | (uint64_t)unit << MOVE_UNIT_BITS |
         (uint64_t)generation << MOVE_GENERATION_BITS | index;
}

bool move_owns_request(uint64_t request) {
  return request >> MOVE_TAG_BITS == MOVE_TAG;
}

uint64_t move_token(enum move_token kind, uint32_t generation, uint32_t index) {
  ASSERT(index <= MOVE_INDEX_MASK);
  return token_make(TOKEN_MOVE,
                    (uint64_t)kind << MOVE_UNIT_BITS | (uint64_t)generation << MOVE_GENERATION_BITS | index);
}

void move_message(struct move *move, struct step *step, uint32_t from, const struct message *message) {
  layouts_look(move, step);
  if (message->type == MESSAGE_PULL) {
    serve_pull(move, step, from, message);
    return;
  }
  uint32_t unit = (uint32_t)(message->request >> MOVE_UNIT_BITS & 0xffu);
  if (!move_owns_request(message->request) || unit > MOVE_UNIT_SWEEP) {
    COUNT(step->stats->messages_bad);
  } else if (unit == MOVE_UNIT_SWEEP) {
    strays_message(move, step, from, message);
  } else {
    arrive_message(move, step, unit, from, message);
  }
}

void move_scan_done(struct move *move, struct step *step, const struct event *event) {
  uint64_t value = token_value(event->scan.token);
  uint32_t generation = (uint32_t)(value >> MOVE_GENERATION_BITS);
  layouts_look(move, step);
  if (value >> MOVE_UNIT_BITS == MOVE_TOKEN_SERVE) {
    serve_scanned(move, step, (uint32_t)(value & MOVE_INDEX_MASK), event);
  } else if (value >> MOVE_UNIT_BITS == MOVE_TOKEN_OWN) {
    arrive_scanned(move, step, generation, (uint32_t)(value & MOVE_INDEX_MASK), event);
  } else {
    ASSERT(value >> MOVE_UNIT_BITS == MOVE_TOKEN_SWEEP);
    strays_scanned(move, step, generation, event);
  }
}

void move_tick(struct move *move, struct step *step) {
  layouts_look(move, step);
  if (move->damaged) {
    COUNT(step->stats->store_errors);
    move->damaged = false;
  }
  if (step->base->partition_count == 0 || step->ring->partition_count == 0) {
    move->look_due_ns = HEAP_NEVER;
    return;
  }
  if (move->partition_count != step->ring->partition_count) {
    table_begin(move, step);
  }
  if (!move_is_made(move)) {
    table_go(move, step);
  }
  if (move_is_made(move)) {
    arrive_tick(move, step);
    strays_tick(move, step);
    save(move, step);
  }
}

uint64_t move_deadline(const struct move *move) {
  uint64_t deadline = move->look_due_ns;
  if (move_is_made(move)) {
    uint64_t arrivals = arrive_deadline(move);
    uint64_t strays = strays_deadline(move);
    bool unsaved = move->saving == 0 && move->saved != move->version;
    deadline = arrivals < deadline ? arrivals : deadline;
    deadline = strays < deadline ? strays : deadline;
    deadline = unsaved && move->save_due_ns < deadline ? move->save_due_ns : deadline;
  }
  return deadline;
}

/* -- keys ----------------------------------------------------------------------------------------- */

uint32_t move_partition(const struct move *move, struct bytes store_key) {
  ASSERT(store_key.size >= POSITION_BYTES);
  ASSERT(move->partition_count > 0);
  return position_partition(position_read(store_key.data), move->partition_count);
}

uint32_t move_key_n(const struct step *step, struct bytes store_key) {
  ASSERT(store_key.size >= POSITION_BYTES);
  struct bytes user_key = {store_key.data + POSITION_BYTES, store_key.size - POSITION_BYTES};
  return bucket_find(step->buckets, bucket_of_key(user_key)).n;
}

struct blob *move_first_key(struct step *step, uint32_t partition, uint32_t partition_count) {
  ASSERT(partition < partition_count);
  struct blob *blob = blob_new(step->pool, POSITION_BYTES);
  if (blob != NULL) {
    uint64_t slot = (uint64_t)partition * SLOTS / partition_count;
    position_write((struct position){slot << SLOT_SHIFT, 0}, blob->data);
  }
  return blob;
}

struct blob *move_key_after(struct step *step, struct bytes key) {
  struct blob *after = blob_new(step->pool, key.size + 1);
  if (after != NULL && key.size > 0) {
    memcpy(after->data, key.data, key.size);
  }
  if (after != NULL) {
    after->data[key.size] = 0;
  }
  return after;
}

bool move_is_refusal(enum err err) {
  return err == ERR_SIBLINGS || err == ERR_TOOBIG || err == ERR_CORRUPT || err == ERR_FORMAT;
}
