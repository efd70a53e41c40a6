#include "move/strays.h"

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "move/state.h"

#define OWNER_BYTES 4u
#define INDEX_DROP (STRAY_PLACES - 1u)

/* -- the place of a sweep --------------------------------------------------------------- */

static void stray_free(struct sweep *sweep, struct stray *stray) {
  ASSERT(stray->key != NULL && sweep->open > 0);
  blob_put(stray->key);
  blob_put(stray->object);
  *stray = (struct stray){.key = NULL};
  sweep->open -= 1;
}

static void strays_clear(struct sweep *sweep) {
  for (uint32_t i = 0; i < STRAYS_MAX; i++) {
    if (sweep->strays[i].key != NULL) {
      stray_free(sweep, &sweep->strays[i]);
    }
  }
  ASSERT(sweep->open == 0);
}

void strays_reset(struct move *move) {
  struct sweep *sweep = &move->sweep;
  strays_clear(sweep);
  blob_put(sweep->cursor);
  move->generation += 1;
  /* A scan that is under way answers to an earlier generation. */
  *sweep = (struct sweep){.state = SWEEP_IDLE, .generation = move->generation};
}

static void cursor_set(struct sweep *sweep, struct blob *cursor) {
  blob_put(sweep->cursor);
  sweep->cursor = cursor;
  sweep->jumped = false;
}

/* There is nothing more to look at in this space. */
static void space_end(struct sweep *sweep) {
  cursor_set(sweep, NULL);
  if (sweep->space == SPACE_OBJECTS) {
    sweep->space = SPACE_HINTS;
  } else {
    sweep->ended = true;
  }
}

/* No memory, or the store can not be read: the rest of this sweep is left to the next. */
static void sweep_cut(struct sweep *sweep) {
  cursor_set(sweep, NULL);
  sweep->again = sweep->cut = sweep->ended = true;
}

static bool is_foreign(const struct move *move, uint32_t partition) {
  return move->parts[partition].target_rank >= move->n_min;
}

/* To the first partition from `partition` on that may hold strays. */
static void objects_jump(struct move *move, struct step *step, uint32_t partition) {
  struct sweep *sweep = &move->sweep;
  while (partition < move->partition_count && !is_foreign(move, partition)) {
    partition += 1;
  }
  if (partition >= move->partition_count) {
    space_end(sweep);
    return;
  }
  struct blob *first = move_first_key(step, partition, move->partition_count);
  if (first == NULL) {
    sweep_cut(sweep);
    return;
  }
  cursor_set(sweep, first);
  sweep->jumped = true;
}

static uint32_t owner_of(struct bytes hint_key) {
  ASSERT(hint_key.size >= OWNER_BYTES);
  const uint8_t *d = hint_key.data;
  return (uint32_t)d[0] << 24 | (uint32_t)d[1] << 16 | (uint32_t)d[2] << 8 | d[3];
}

/* To the first hint for an owner behind this one. */
static void hints_jump(struct move *move, struct step *step, uint32_t owner) {
  struct sweep *sweep = &move->sweep;
  if (owner == UINT32_MAX) {
    space_end(sweep);
    return;
  }
  struct blob *first = blob_new(step->pool, OWNER_BYTES);
  if (first == NULL) {
    sweep_cut(sweep);
    return;
  }
  for (uint32_t i = 0; i < OWNER_BYTES; i++) {
    first->data[i] = (uint8_t)((owner + 1u) >> (24u - 8u * i));
  }
  cursor_set(sweep, first);
}

static void cursor_behind(struct sweep *sweep, struct step *step, struct bytes key) {
  struct blob *after = move_key_after(step, key);
  if (after == NULL) {
    sweep_cut(sweep);
  } else {
    cursor_set(sweep, after);
  }
}

/* -- what is a stray, and what may go ------------------------------------------------------ */

static struct bytes store_key_of(enum space space, struct bytes key) {
  size_t skip = space == SPACE_HINTS ? OWNER_BYTES : 0;
  ASSERT(key.size >= skip + POSITION_BYTES);
  return (struct bytes){key.data + skip, key.size - skip};
}

static bool is_stray(const struct move *move, const struct step *step, struct bytes store_key) {
  uint32_t partition = move_partition(move, store_key);
  return move->parts[partition].target_rank >= move_key_n(step, store_key);
}

static bool may_give(const struct step *step) {
  return step->all_done && !move_is_moving(step);
}

/* The replicas of a key; false when not all of them are there to take it. */
static bool takers_find(const struct move *move, const struct step *step, struct bytes store_key,
                        struct preference *takers) {
  ring_preference(step->ring, move_partition(move, store_key), move_key_n(step, store_key), takers);
  for (uint32_t i = 0; i < takers->replica_count; i++) {
    if (!step_is_up(step, takers->nodes[i])) {
      return false;
    }
  }
  return takers->replica_count > 0;
}

/* -- scans ------------------------------------------------------------------------------------ */

static void scan(struct move *move, struct step *step, struct bytes prefix, uint32_t max_count, bool keys_only) {
  struct sweep *sweep = &move->sweep;
  struct blob *from = sweep->cursor != NULL ? blob_get(sweep->cursor) : blob_copy(step->pool, BYTES_NONE);
  struct blob *within = prefix.size == 0 ? NULL : blob_copy(step->pool, prefix);
  if (from == NULL || (prefix.size > 0 && within == NULL)) {
    sweep->state = SWEEP_IDLE;
    sweep->due_ns = step->now_ns + MOVE_BACKOFF_NS;
  } else {
    move->generation += 1;
    sweep->generation = move->generation;
    sweep->state = keys_only ? SWEEP_PROBING : SWEEP_FETCHING;
    sweep->due_ns = HEAP_NEVER;
    step_scan(step, move_token(MOVE_TOKEN_SWEEP, sweep->generation, 0), sweep->space, from, within, max_count,
              STRAY_BATCH_BYTES, keys_only);
  }
  blob_put(from);
  blob_put(within);
}

/* From this key on, with objects. */
static void fetch(struct move *move, struct step *step, struct blob *key) {
  struct sweep *sweep = &move->sweep;
  struct bytes bytes = blob_bytes(key);
  cursor_set(sweep, blob_get(key));
  bool hints = sweep->space == SPACE_HINTS;
  scan(move, step, hints ? (struct bytes){bytes.data, OWNER_BYTES} : BYTES_NONE, STRAYS_MAX, false);
}

static void sweep_begin(struct move *move, struct step *step) {
  struct sweep *sweep = &move->sweep;
  ASSERT(sweep->open == 0 && sweep->cursor == NULL);
  sweep->begun = true;
  sweep->begun_ns = step->now_ns;
  sweep->ended = sweep->again = sweep->cut = false;
  sweep->seen = sweep->gone = 0;
  sweep->space = SPACE_OBJECTS;
  objects_jump(move, step, 0);
}

static void sweep_end(struct move *move, const struct step *step) {
  struct sweep *sweep = &move->sweep;
  ASSERT(sweep->open == 0 && sweep->ended);
  ASSERT(sweep->gone <= sweep->seen);
  sweep->begun = false;
  if (!sweep->cut) {
    sweep->swept = true;
    sweep->left = sweep->seen - sweep->gone;
    /* What was written right before the sweep, or during it, may not have been in the store yet. */
    sweep->late = sweep->late_ns + MOVE_LATER_NS > sweep->begun_ns ? sweep->late : 0;
  }
  sweep->state = SWEEP_IDLE;
  bool soon = sweep->again || sweep->late > 0 || sweep->begun_ns < move->epoch_ns + MOVE_LATER_NS;
  sweep->due_ns = step->now_ns + (soon ? MOVE_LATER_NS : MOVE_SWEEP_NS);
}

/* The next step of the sweep, `delay_ns` from now. */
static void sweep_next(struct move *move, const struct step *step, uint64_t delay_ns) {
  struct sweep *sweep = &move->sweep;
  if (sweep->open > 0) {
    sweep->state = SWEEP_GIVING;
    sweep->due_ns = step->now_ns + MOVE_ANSWER_NS;
  } else if (sweep->ended) {
    sweep_end(move, step);
  } else {
    sweep->state = SWEEP_IDLE;
    sweep->due_ns = step->now_ns + delay_ns;
  }
}

/* -- looking ------------------------------------------------------------------------------------ */

/* A key of the space of objects that is not what the core writes is passed over. */
static bool key_is_sound(enum space space, struct bytes key) {
  size_t least = POSITION_BYTES + (space == SPACE_HINTS ? OWNER_BYTES : 0u);
  return key.size >= least;
}

static void objects_probed(struct move *move, struct step *step, const struct event *event) {
  struct sweep *sweep = &move->sweep;
  bool found = false;
  for (uint32_t i = 0; i < event->scan.count; i++) {
    struct blob *key = event->scan.entries[i].key;
    if (!key_is_sound(SPACE_OBJECTS, blob_bytes(key))) {
      continue;
    }
    uint32_t partition = move_partition(move, blob_bytes(key));
    if (!is_foreign(move, partition)) {
      objects_jump(move, step, partition + 1);
      sweep_next(move, step, 0);
      return;
    }
    struct preference takers;
    if (!is_stray(move, step, blob_bytes(key))) {
      continue;
    }
    if (may_give(step) && takers_find(move, step, blob_bytes(key), &takers)) {
      fetch(move, step, key);
      return;
    }
    found = true;
    sweep->seen += 1;
    sweep->again = true;
  }
  if (event->scan.end || event->scan.count == 0) {
    space_end(sweep);
  } else {
    cursor_behind(sweep, step, blob_bytes(event->scan.entries[event->scan.count - 1].key));
  }
  sweep_next(move, step, found ? MOVE_PAUSE_NS : 0);
}

static void hints_probed(struct move *move, struct step *step, const struct event *event) {
  struct sweep *sweep = &move->sweep;
  if (event->scan.count == 0) {
    space_end(sweep);
    sweep_next(move, step, 0);
    return;
  }
  struct blob *key = event->scan.entries[0].key;
  if (!key_is_sound(SPACE_HINTS, blob_bytes(key))) {
    cursor_behind(sweep, step, blob_bytes(key));
    sweep_next(move, step, 0);
    return;
  }
  uint32_t owner = owner_of(blob_bytes(key));
  bool gone = ring_find(step->ring, owner) < 0 && ring_find(step->base, owner) < 0;
  if (gone && may_give(step)) {
    fetch(move, step, key);
    return;
  }
  sweep->again = sweep->again || gone;
  hints_jump(move, step, owner);
  sweep_next(move, step, 0);
}

/* -- giving ------------------------------------------------------------------------------------- */

static uint64_t stray_request(const struct sweep *sweep, const struct stray *stray, uint32_t place) {
  uint32_t index = (uint32_t)(stray - sweep->strays);
  ASSERT(index < STRAYS_MAX && place < STRAY_PLACES);
  return move_request(MOVE_UNIT_SWEEP, sweep->generation, index * STRAY_PLACES + place);
}

static struct message stray_message(const struct sweep *sweep, const struct stray *stray, enum message_type type,
                                    uint32_t place) {
  return (struct message){.type = type,
                          .request = stray_request(sweep, stray, place),
                          .digest = stray->digest,
                          .key = store_key_of(stray->space, blob_bytes(stray->key)),
                          .key_blob = stray->key};
}

static void stray_begin(struct move *move, struct step *step, const struct scan_entry *entry) {
  struct sweep *sweep = &move->sweep;
  struct preference takers;
  struct object object;
  struct bytes store_key = store_key_of(sweep->space, blob_bytes(entry->key));
  if (object_open(&object, blob_bytes(entry->value)) != ERR_OK || object.is_clock) {
    COUNT(step->stats->store_errors); /* nobody would take it; it stays */
    return;
  }
  if (!takers_find(move, step, store_key, &takers)) {
    sweep->again = true;
    return;
  }
  struct stray *stray = &sweep->strays[sweep->open];
  ASSERT(stray->key == NULL && takers.replica_count <= REPLICAS_MAX);
  sweep->open += 1;
  *stray = (struct stray){.key = blob_get(entry->key),
                          .object = blob_get(entry->value),
                          .space = sweep->space,
                          .digest = object_digest(blob_bytes(entry->value)),
                          .replica_count = takers.replica_count};
  for (uint32_t i = 0; i < takers.replica_count; i++) {
    struct message offer = stray_message(sweep, stray, MESSAGE_OFFER, i);
    stray->nodes[i] = takers.nodes[i];
    step_send(step, takers.nodes[i], &offer);
  }
}

/* How many of the entries are to be looked at: those up to the next that is of no interest. */
static uint32_t objects_take(struct move *move, struct step *step, const struct event *event) {
  struct sweep *sweep = &move->sweep;
  for (uint32_t i = 0; i < event->scan.count; i++) {
    const struct scan_entry *entry = &event->scan.entries[i];
    struct bytes key = blob_bytes(entry->key);
    if (!key_is_sound(SPACE_OBJECTS, key)) {
      continue;
    }
    uint32_t partition = move_partition(move, key);
    if (!is_foreign(move, partition)) {
      objects_jump(move, step, partition + 1);
      return i;
    }
    if (is_stray(move, step, key)) {
      sweep->seen += 1;
      stray_begin(move, step, entry);
    }
  }
  return event->scan.count;
}

static void fetched(struct move *move, struct step *step, const struct event *event) {
  struct sweep *sweep = &move->sweep;
  uint32_t count = event->scan.count;
  ASSERT(sweep->open == 0 && count <= STRAYS_MAX);
  if (!may_give(step)) {
    sweep_cut(sweep); /* not any more: what was scanned stays */
    sweep_next(move, step, 0);
    return;
  }
  move->generation += 1;
  sweep->generation = move->generation;
  sweep->failed = false;
  uint32_t taken = count;
  if (sweep->space == SPACE_OBJECTS) {
    taken = objects_take(move, step, event);
  } else {
    for (uint32_t i = 0; i < count; i++) {
      if (key_is_sound(SPACE_HINTS, blob_bytes(event->scan.entries[i].key))) {
        stray_begin(move, step, &event->scan.entries[i]);
      }
    }
  }
  if (taken == count && !event->scan.end && count > 0) {
    cursor_behind(sweep, step, blob_bytes(event->scan.entries[count - 1].key));
  } else if (taken == count && sweep->space == SPACE_HINTS && count > 0) {
    hints_jump(move, step, owner_of(blob_bytes(event->scan.entries[0].key)));
  } else if (taken == count) {
    space_end(sweep);
  }
  sweep_next(move, step, 0);
}

/* What is damaged is not to keep back all that lies behind it. */
static void scan_failed(struct move *move, struct step *step, enum err err) {
  struct sweep *sweep = &move->sweep;
  COUNT(step->stats->store_errors);
  if (err == ERR_CORRUPT && sweep->space == SPACE_OBJECTS) {
    ASSERT(sweep->cursor != NULL);
    sweep->again = sweep->cut = true;
    objects_jump(move, step, move_partition(move, blob_bytes(sweep->cursor)) + 1);
  } else {
    sweep_cut(sweep);
  }
  sweep_next(move, step, MOVE_PAUSE_NS);
}

void strays_scanned(struct move *move, struct step *step, uint32_t generation, const struct event *event) {
  struct sweep *sweep = &move->sweep;
  if (generation != sweep->generation) {
    return; /* of a sweep under other layouts */
  }
  ASSERT(sweep->state == SWEEP_PROBING || sweep->state == SWEEP_FETCHING);
  ASSERT(sweep->begun);
  if (event->scan.err != ERR_OK) {
    scan_failed(move, step, event->scan.err);
  } else if (sweep->state == SWEEP_FETCHING) {
    fetched(move, step, event);
  } else if (sweep->space == SPACE_OBJECTS) {
    objects_probed(move, step, event);
  } else {
    hints_probed(move, step, event);
  }
}

/* -- answers --------------------------------------------------------------------------------------- */

/* A stray is done with, gone or not. */
static void stray_end(struct move *move, const struct step *step, struct stray *stray, bool gone) {
  struct sweep *sweep = &move->sweep;
  sweep->gone += gone && stray->space == SPACE_OBJECTS ? 1 : 0;
  sweep->again = sweep->again || !gone;
  sweep->failed = sweep->failed || !gone;
  stray_free(sweep, stray);
  sweep_next(move, step, sweep->failed ? MOVE_BACKOFF_NS : 0);
}

static void stray_drop(struct move *move, struct step *step, struct stray *stray) {
  struct sweep *sweep = &move->sweep;
  if (stray->space == SPACE_OBJECTS) {
    struct message drop = stray_message(sweep, stray, MESSAGE_OBJECT_DROP, INDEX_DROP);
    stray->dropping = true;
    step_send(step, step->self, &drop);
    return;
  }
  struct message drop = stray_message(sweep, stray, MESSAGE_HINT_DROP, INDEX_DROP);
  drop.owner = owner_of(blob_bytes(stray->key));
  step_send(step, step->self, &drop);
  stray_end(move, step, stray, true); /* nobody answers that one */
}

static void stray_held(struct move *move, struct step *step, struct stray *stray, uint32_t place) {
  stray->states[place] = REPLY_HOLDS;
  uint32_t holders = 0;
  for (uint32_t i = 0; i < stray->replica_count; i++) {
    holders += stray->states[i] == REPLY_HOLDS ? 1 : 0;
  }
  if (holders < stray->replica_count && !PLANTED(stray_early)) {
    return;
  }
  if (may_give(step)) {
    stray_drop(move, step, stray);
  } else {
    stray_end(move, step, stray, false);
  }
}

static void stray_send(struct move *move, struct step *step, struct stray *stray, uint32_t place) {
  struct message write = stray_message(&move->sweep, stray, MESSAGE_WRITE, place);
  write.digest = 0;
  write.object = blob_bytes(stray->object);
  write.object_blob = stray->object;
  stray->states[place] = REPLY_SENT;
  step_worked(step, ADMIT_TRANSFER, stray->object->size);
  step_send(step, stray->nodes[place], &write);
}

void strays_message(struct move *move, struct step *step, uint32_t from, const struct message *message) {
  struct sweep *sweep = &move->sweep;
  uint32_t index = (uint32_t)(message->request & MOVE_INDEX_MASK);
  uint32_t place = index % STRAY_PLACES;
  struct stray *stray = index / STRAY_PLACES < STRAYS_MAX ? &sweep->strays[index / STRAY_PLACES] : NULL;
  bool current = message->type == MESSAGE_WRITE_ACK && sweep->state == SWEEP_GIVING && stray != NULL &&
                 stray->key != NULL && message->request == stray_request(sweep, stray, place);
  if (current) {
    current = stray->dropping
                  ? place == INDEX_DROP && from == step->self
                  : place < stray->replica_count && from == stray->nodes[place] && stray->states[place] != REPLY_HOLDS;
  }
  if (!current) {
    COUNT(step->stats->messages_late);
    return;
  }
  sweep->due_ns = step->now_ns + MOVE_ANSWER_NS;
  bool sent = stray->states[place % REPLICAS_MAX] == REPLY_SENT;
  if (stray->dropping) {
    stray_end(move, step, stray, message->err == ERR_OK);
  } else if (message->err == ERR_OK && (!sent || (message->flags & MESSAGE_DURABLE) != 0)) {
    stray_held(move, step, stray, place);
  } else if (message->err == ERR_ABSENT && !sent) {
    stray_send(move, step, stray, place);
  } else {
    step->stats->store_errors += move_is_refusal(message->err) ? 1 : 0;
    stray_end(move, step, stray, false);
  }
}

/* -- time --------------------------------------------------------------------------------------------- */

void strays_tick(struct move *move, struct step *step) {
  struct sweep *sweep = &move->sweep;
  ASSERT(move_is_made(move));
  if (move_is_moving(step)) {
    sweep->due_ns = HEAP_NEVER; /* until the layouts change */
    return;
  }
  if (step->all_done && !sweep->was_done && sweep->state == SWEEP_IDLE) {
    sweep->due_ns = step->now_ns; /* what was only counted may go */
  }
  sweep->was_done = step->all_done;
  /* What came under other layouts is in the store by then, and no get is under way that was planned by them: one would
   * read an object that has gone as absent. */
  uint64_t earliest_ns = move->epoch_ns + step->tunables->request_timeout_ns + MOVE_BACKOFF_NS;
  if (!sweep->begun && sweep->due_ns < earliest_ns) {
    sweep->due_ns = earliest_ns;
  }
  if (step->now_ns < sweep->due_ns) {
    return;
  }
  if (sweep->state == SWEEP_GIVING) {
    sweep->again = true;
    strays_clear(sweep);
    sweep_next(move, step, MOVE_BACKOFF_NS);
    return;
  }
  ASSERT(sweep->state == SWEEP_IDLE);
  if (!step_may_work(step, ADMIT_TRANSFER, 0, &sweep->due_ns)) {
    return;
  }
  if (!sweep->begun && !floors_are_stored(move->floors)) {
    sweep->due_ns = step->now_ns + MOVE_LOOK_NS; /* none may speak of what goes */
    return;
  }
  if (!sweep->begun && step->lost != 0) {
    sweep->due_ns =
        step->now_ns + MOVE_LOOK_NS; /* it may not know its buckets: what it takes for a stray may be its own */
    return;
  }
  if (!sweep->begun) {
    sweep_begin(move, step);
  }
  if (sweep->ended) {
    sweep_end(move, step);
    return;
  }
  bool one = sweep->space == SPACE_HINTS || sweep->jumped;
  scan(move, step, BYTES_NONE, one ? 1u : MOVE_BATCH_MAX, true);
}

uint64_t strays_deadline(const struct move *move) {
  return move->sweep.due_ns;
}

void strays_note(struct move *move, const struct step *step, struct bytes store_key) {
  struct sweep *sweep = &move->sweep;
  if (!move_is_made(move) || !is_stray(move, step, store_key)) {
    return; /* what is not known yet a sweep is to find anyway */
  }
  uint64_t soon_ns = step->now_ns + MOVE_BACKOFF_NS;
  sweep->late += 1;
  sweep->late_ns = step->now_ns;
  if (sweep->state == SWEEP_IDLE && !sweep->begun && soon_ns < sweep->due_ns && !move_is_moving(step)) {
    sweep->due_ns = soon_ns;
  }
}

uint64_t strays_count(const struct move *move, const struct step *step, uint64_t keys) {
  const struct sweep *sweep = &move->sweep;
  if (move_is_moving(step) || step->ring->partition_count == 0) {
    return 0;
  }
  bool made = move_is_made(move) && move->epoch == step->epoch;
  uint64_t here = sweep->seen - sweep->gone; /* of what this sweep has come past */
  if (!made || !sweep->swept) {
    uint64_t least = ring_find(step->ring, step->self) < 0 && keys > 0 ? keys : 1u;
    return made && move->foreign == 0 ? 0 : here > least ? here : least;
  }
  if (!sweep->begun) {
    return sweep->left + sweep->late;
  }
  uint64_t rest = sweep->left > sweep->gone ? sweep->left - sweep->gone : 0;
  return (rest > here ? rest : here) + sweep->late;
}
