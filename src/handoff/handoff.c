#include "handoff/handoff.h"

#include <string.h>

#include "base/assert.h"
#include "base/plant.h"

/* With hints at one time. Hints for one more are kept, but neither counted nor delivered until the node is started
 * again: members of two layouts are no more than these, and what is for others is not handed off (move/strays.h). */
#define OWNERS_MAX (2u * MEMBERS_MAX)
#define OWNER_BYTES 4u
#define TAG_BITS 56u
#define TAG_HANDOFF 2u
#define INDEX_BITS 16u
#define IDLE_NS 100000000u    /* between looks for something to do */
#define ANSWER_NS 2000000000u /* silence of an owner after which a batch is given up */
#define BACKOFF_NS 1000000000u

enum handoff_state {
  HANDOFF_START = 0,
  HANDOFF_COUNTING,
  HANDOFF_IDLE,
  HANDOFF_WAITING,
  HANDOFF_SCANNING,
  HANDOFF_SENDING
};

struct tally {
  uint32_t owner;
  uint64_t count;
  uint64_t oldest_ms; /* wall clock; 0 when count is 0 */
  uint64_t not_before_ns;
  uint32_t turn; /* in which the first of these came */
};

/* A hint under way to its owner. */
struct delivery {
  struct blob *key; /* in the space of hints; NULL: free */
  uint64_t digest;
};

struct handoff {
  enum handoff_state state;
  uint32_t tally_count;
  struct tally tallies[OWNERS_MAX]; /* by owner */
  uint32_t turn;                    /* index of the owner served last */
  uint32_t owner;                   /* WAITING, SCANNING, SENDING: who is served */
  uint32_t generation;              /* of the batch */
  struct blob *cursor;              /* where the scan goes on; NULL: at the beginning */
  bool from_start;                  /* nothing of this owner has been scanned before in this turn */
  bool end;                         /* the scan has reached the end of the owner's hints */
  bool overflown;                   /* there are hints that are not counted */
  bool refused;                     /* the owner can not take one of this turn's */
  uint64_t count_at_scan;           /* what was counted when the scan was asked for */
  uint32_t open;                    /* deliveries not yet answered */
  uint32_t credit;                  /* that the owner granted */
  uint64_t deadline_ns;
  struct delivery deliveries[HANDOFF_WINDOW];
};

_Static_assert(HANDOFF_WINDOW <= 1u << INDEX_BITS, "a delivery's index fits its number");
_Static_assert(HANDOFF_WINDOW + 64u < LOCAL_MESSAGES_MAX, "a batch's drops fit the local queue");

size_t handoff_size(void) {
  return (sizeof(struct handoff) + 63u) & ~(size_t)63u;
}

struct handoff *handoff_init(void *memory, uint32_t first) {
  ASSERT(memory != NULL);
  struct handoff *handoff = memory;
  memset(handoff, 0, sizeof *handoff);
  handoff->credit = HANDOFF_WINDOW;
  handoff->generation = first;
  return handoff;
}

bool handoff_owns_request(uint64_t request) {
  return request >> TAG_BITS == TAG_HANDOFF;
}

uint64_t handoff_deadline(const struct handoff *handoff) {
  return handoff->deadline_ns;
}

void handoff_totals(const struct handoff *handoff, uint64_t *hints, uint64_t *oldest_ms) {
  *hints = 0;
  *oldest_ms = 0;
  for (uint32_t i = 0; i < handoff->tally_count; i++) {
    const struct tally *tally = &handoff->tallies[i];
    *hints += tally->count;
    if (tally->count > 0 && (*oldest_ms == 0 || tally->oldest_ms < *oldest_ms)) {
      *oldest_ms = tally->oldest_ms;
    }
  }
}

/* -- counting ----------------------------------------------------------------------- */

static uint32_t owner_of(struct bytes hint_key) {
  ASSERT(hint_key.size >= OWNER_BYTES);
  const uint8_t *d = hint_key.data;
  return (uint32_t)d[0] << 24 | (uint32_t)d[1] << 16 | (uint32_t)d[2] << 8 | d[3];
}

static uint32_t tally_place(const struct handoff *handoff, uint32_t owner) {
  uint32_t at = 0;
  while (at < handoff->tally_count && handoff->tallies[at].owner < owner) {
    at += 1;
  }
  return at;
}

/* Makes room by forgetting an owner who has no hints, if there is one. */
static void tally_forget(struct handoff *handoff) {
  uint32_t at = 0;
  while (at < handoff->tally_count && handoff->tallies[at].count > 0) {
    at += 1;
  }
  if (at < handoff->tally_count) {
    handoff->tally_count -= 1;
    memmove(&handoff->tallies[at], &handoff->tallies[at + 1], (handoff->tally_count - at) * sizeof handoff->tallies[0]);
  }
}

/* The owner's tally, made if need be; NULL when the table is full. */
static struct tally *tally_of(struct handoff *handoff, uint32_t owner) {
  uint32_t at = tally_place(handoff, owner);
  if (at < handoff->tally_count && handoff->tallies[at].owner == owner) {
    return &handoff->tallies[at];
  }
  if (handoff->tally_count == OWNERS_MAX) {
    tally_forget(handoff);
    at = tally_place(handoff, owner);
  }
  if (handoff->tally_count == OWNERS_MAX) {
    return NULL;
  }
  memmove(&handoff->tallies[at + 1], &handoff->tallies[at], (handoff->tally_count - at) * sizeof handoff->tallies[0]);
  handoff->tally_count += 1;
  handoff->tallies[at] = (struct tally){.owner = owner};
  return &handoff->tallies[at];
}

/* When the latest version in it was written: the put that made the hint, or the last that added to it. */
static uint64_t written_ms(struct bytes encoded) {
  struct object object;
  struct sibling sibling;
  uint64_t latest = 0;
  if (encoded.size == 0 || object_open(&object, encoded) != ERR_OK) {
    return 0;
  }
  struct sibling_cursor cursor = object_siblings(&object);
  while (sibling_next(&cursor, &sibling)) {
    latest = hlc_ms(sibling.dot.time) > latest ? hlc_ms(sibling.dot.time) : latest;
  }
  return latest;
}

static void tally_add(struct handoff *handoff, const struct step *step, uint32_t owner, uint64_t ms) {
  struct tally *tally = tally_of(handoff, owner);
  if (tally == NULL) {
    handoff->overflown = true;
    return;
  }
  tally->turn = tally->count == 0 ? step->turn : tally->turn;
  tally->not_before_ns = PLANTED(hint_outlives) ? step->now_ns + 20 * (uint64_t)BACKOFF_NS : tally->not_before_ns;
  if (tally->count == 0 || ms < tally->oldest_ms) {
    tally->oldest_ms = ms;
  }
  tally->count += 1;
}

static void tally_remove(struct handoff *handoff, uint32_t owner, uint64_t count) {
  struct tally *tally = tally_of(handoff, owner);
  if (tally != NULL) {
    tally->count -= count < tally->count ? count : tally->count;
    tally->oldest_ms = tally->count == 0 ? 0 : tally->oldest_ms;
  }
}

bool handoff_is_past(const struct handoff *handoff, uint32_t turn) {
  bool counted = handoff->state != HANDOFF_START && handoff->state != HANDOFF_COUNTING && !handoff->overflown;
  for (uint32_t i = 0; i < handoff->tally_count && counted; i++) {
    const struct tally *tally = &handoff->tallies[i];
    counted = tally->count == 0 || tally->turn == turn || PLANTED(hint_outlives);
  }
  return counted;
}

static void show_totals(const struct handoff *handoff, struct step *step) {
  handoff_totals(handoff, &step->stats->hints, &step->stats->hint_oldest_ms);
}

/* Will a hint that is on disk by now be met when those on disk are counted? While a scan is under way nobody knows: it
 * may have gone past. Then it is counted: one counted twice does no harm, one that is not counted is not delivered. */
static bool will_be_met(const struct handoff *handoff, struct bytes key) {
  return handoff->state == HANDOFF_START &&
         (handoff->cursor == NULL || bytes_compare(key, blob_bytes(handoff->cursor)) >= 0);
}

/* The smallest key after `key`: the same with a zero byte behind it. */
static struct blob *key_after(struct step *step, struct bytes key) {
  struct blob *after = blob_new(step->pool, key.size + 1);
  if (after != NULL) {
    memcpy(after->data, key.data, key.size);
    after->data[key.size] = 0;
  }
  return after;
}

static void count_scan(struct handoff *handoff, struct step *step) {
  struct blob *from = handoff->cursor != NULL ? blob_get(handoff->cursor) : blob_copy(step->pool, BYTES_NONE);
  handoff->deadline_ns = step->now_ns + IDLE_NS;
  if (from == NULL) {
    return; /* tried again at the next tick */
  }
  handoff->state = HANDOFF_COUNTING;
  handoff->deadline_ns = UINT64_MAX;
  step_scan(step, token_make(TOKEN_HANDOFF, 0), SPACE_HINTS, from, NULL, HANDOFF_WINDOW, HANDOFF_WINDOW_BYTES, false);
  blob_put(from);
}

static void count_done(struct handoff *handoff, struct step *step, const struct event *event) {
  if (event->scan.err != ERR_OK) {
    COUNT(step->stats->store_errors);
    handoff->state = HANDOFF_START; /* once more, from where it was */
    handoff->deadline_ns = step->now_ns + BACKOFF_NS;
    return;
  }
  for (uint32_t i = 0; i < event->scan.count; i++) {
    const struct scan_entry *entry = &event->scan.entries[i];
    tally_add(handoff, step, owner_of(blob_bytes(entry->key)), written_ms(blob_bytes(entry->value)));
  }
  struct blob *after = NULL;
  bool more = !event->scan.end && event->scan.count > 0;
  if (more) {
    struct blob *last = event->scan.entries[event->scan.count - 1].key;
    after = key_after(step, blob_bytes(last));
    if (after == NULL) {
      after = blob_get(last); /* no memory: the last is counted once more */
    }
  }
  blob_put(handoff->cursor);
  handoff->cursor = after;
  if (more) {
    count_scan(handoff, step);
    return;
  }
  handoff->state = HANDOFF_IDLE;
  handoff->deadline_ns = step->now_ns;
}

/* -- delivery -------------------------------------------------------------------------- */

static uint64_t delivery_number(const struct handoff *handoff, uint32_t index) {
  return (uint64_t)TAG_HANDOFF << TAG_BITS | (uint64_t)handoff->generation << INDEX_BITS | index;
}

static void deliveries_clear(struct handoff *handoff) {
  for (uint32_t i = 0; i < HANDOFF_WINDOW; i++) {
    blob_put(handoff->deliveries[i].key);
    handoff->deliveries[i] = (struct delivery){.key = NULL};
  }
  handoff->open = 0;
}

void handoff_deinit(struct handoff *handoff) {
  deliveries_clear(handoff);
  blob_put(handoff->cursor);
  handoff->cursor = NULL;
}

static void turn_end(struct handoff *handoff, struct step *step, bool back_off) {
  struct tally *tally = tally_of(handoff, handoff->owner);
  if (tally != NULL && back_off) {
    tally->not_before_ns = step->now_ns + BACKOFF_NS;
  }
  deliveries_clear(handoff);
  blob_put(handoff->cursor);
  handoff->cursor = NULL;
  handoff->state = HANDOFF_IDLE;
  handoff->deadline_ns = step->now_ns + IDLE_NS; /* the deletions of this turn are done by then */
}

/* Has it left all live layouts? What was kept for it is given to the replicas of its keys (move/strays.h); here it is
 * only looked whether the count is right that none is left. */
static bool is_gone(const struct step *step, uint32_t owner) {
  ASSERT(owner != 0);
  return ring_find(step->ring, owner) < 0 && ring_find(step->base, owner) < 0;
}

static void scan_next(struct handoff *handoff, struct step *step) {
  bool gone = is_gone(step, handoff->owner);
  if (!gone && !step_may_work(step, ADMIT_HINTS, handoff->owner, &handoff->deadline_ns)) {
    handoff->state = HANDOFF_WAITING;
    return;
  }
  uint8_t bytes[OWNER_BYTES];
  for (uint32_t i = 0; i < OWNER_BYTES; i++) {
    bytes[i] = (uint8_t)(handoff->owner >> (24u - 8u * i));
  }
  struct blob *prefix = blob_copy(step->pool, (struct bytes){bytes, OWNER_BYTES});
  struct blob *from = handoff->cursor != NULL ? handoff->cursor : prefix;
  if (prefix == NULL) {
    turn_end(handoff, step, true);
    return;
  }
  const struct tally *tally = tally_of(handoff, handoff->owner);
  handoff->count_at_scan = tally == NULL ? 0 : tally->count;
  handoff->from_start = handoff->cursor == NULL;
  handoff->refused = handoff->refused && !handoff->from_start;
  handoff->state = HANDOFF_SCANNING;
  handoff->deadline_ns = UINT64_MAX;
  step_scan(step, token_make(TOKEN_HANDOFF, 1), SPACE_HINTS, from, prefix, gone ? 1 : handoff->credit,
            HANDOFF_WINDOW_BYTES, gone);
  blob_put(prefix);
}

static void deliver(struct handoff *handoff, struct step *step, uint32_t index, const struct scan_entry *entry) {
  struct delivery *delivery = &handoff->deliveries[index];
  ASSERT(delivery->key == NULL);
  struct bytes key = blob_bytes(entry->key);
  ASSERT(key.size > OWNER_BYTES);
  delivery->key = blob_get(entry->key);
  delivery->digest = object_digest(blob_bytes(entry->value));
  handoff->open += 1;
  struct message write = {
      .type = MESSAGE_WRITE,
      .request = delivery_number(handoff, index),
      .key = {key.data + OWNER_BYTES, key.size - OWNER_BYTES},
      .key_blob = entry->key,
      .object = blob_bytes(entry->value),
      .object_blob = entry->value,
  };
  step_worked(step, ADMIT_HINTS, write.object.size + FRAME_HEADER_BYTES);
  step_send(step, handoff->owner, &write);
}

static void batch_scanned(struct handoff *handoff, struct step *step, const struct event *event) {
  ASSERT(handoff->open == 0);
  ASSERT(event->scan.count <= HANDOFF_WINDOW);
  if (event->scan.err != ERR_OK) {
    turn_end(handoff, step, true);
    return;
  }
  if (event->scan.count == 0) {
    /* What was counted and is not there (a deletion that seemed to fail) is taken off the count. */
    if (handoff->from_start) {
      tally_remove(handoff, handoff->owner, handoff->count_at_scan);
      show_totals(handoff, step);
    }
    turn_end(handoff, step, handoff->refused);
    return;
  }
  if (!step_is_up(step, handoff->owner) || event->scan.entries[0].value == NULL) {
    turn_end(handoff, step, true);
    return;
  }
  blob_put(handoff->cursor);
  handoff->cursor = key_after(step, blob_bytes(event->scan.entries[event->scan.count - 1].key));
  handoff->end = event->scan.end || handoff->cursor == NULL;
  handoff->generation += 1;
  handoff->state = HANDOFF_SENDING;
  handoff->deadline_ns = step->now_ns + ANSWER_NS;
  for (uint32_t i = 0; i < event->scan.count; i++) {
    deliver(handoff, step, i, &event->scan.entries[i]);
  }
}

void handoff_scan_done(struct handoff *handoff, struct step *step, const struct event *event) {
  step->stats->hint_gaps += event->scan.gap ? 1 : 0;
  if (handoff->state == HANDOFF_COUNTING) {
    count_done(handoff, step, event);
    show_totals(handoff, step);
  } else {
    ASSERT(handoff->state == HANDOFF_SCANNING);
    batch_scanned(handoff, step, event);
  }
}

/* Does the owner say that it never will take this one? */
static bool is_refusal(enum err err) {
  return err == ERR_SIBLINGS || err == ERR_TOOBIG || err == ERR_CORRUPT || err == ERR_FORMAT;
}

static void hint_drop(struct handoff *handoff, struct step *step, const struct delivery *delivery) {
  struct bytes key = blob_bytes(delivery->key);
  struct message drop = {
      .type = MESSAGE_HINT_DROP,
      .owner = handoff->owner,
      .digest = delivery->digest,
      .key = {key.data + OWNER_BYTES, key.size - OWNER_BYTES},
      .key_blob = delivery->key,
  };
  step_send(step, step->self, &drop);
  COUNT(step->stats->hints_delivered);
}

static void acknowledged(struct handoff *handoff, struct step *step, uint32_t from, const struct message *message) {
  uint32_t index = (uint32_t)(message->request & ((1u << INDEX_BITS) - 1u));
  bool current = handoff->state == HANDOFF_SENDING && from == handoff->owner && index < HANDOFF_WINDOW &&
                 message->request == delivery_number(handoff, index) && handoff->deliveries[index].key != NULL;
  if (!current) {
    COUNT(step->stats->messages_late);
    return;
  }
  uint64_t credit = message->digest;
  handoff->credit = credit > HANDOFF_WINDOW ? HANDOFF_WINDOW : (uint32_t)credit;
  bool durable = (message->err == ERR_OK && (message->flags & MESSAGE_DURABLE) != 0) || PLANTED(early_drop);
  bool refused = is_refusal(message->err);
  if ((!durable && !refused) || handoff->credit == 0) {
    handoff->credit = handoff->credit == 0 ? 1 : handoff->credit;
    /* the owner has too much in hand: what it did take is delivered again, without effect */
    turn_end(handoff, step, true);
    return;
  }
  struct delivery *delivery = &handoff->deliveries[index];
  if (durable) {
    hint_drop(handoff, step, delivery);
  }
  handoff->refused = handoff->refused || refused;
  blob_put(delivery->key);
  delivery->key = NULL;
  handoff->open -= 1;
  handoff->deadline_ns = step->now_ns + ANSWER_NS;
  if (handoff->open == 0 && handoff->end) {
    turn_end(handoff, step, handoff->refused);
  } else if (handoff->open == 0) {
    scan_next(handoff, step);
  }
}

void handoff_message(struct handoff *handoff, struct step *step, uint32_t from, const struct message *message) {
  if (message->type == MESSAGE_WRITE_ACK) {
    acknowledged(handoff, step, from, message);
    return;
  }
  ASSERT(from == step->self);
  if (message->type == MESSAGE_HINT_KEPT) {
    COUNT(step->stats->hints_kept);
    if (!will_be_met(handoff, message->key)) {
      tally_add(handoff, step, message->owner, written_ms(message->object));
    }
  } else {
    ASSERT(message->type == MESSAGE_HINT_DROPPED);
    tally_remove(handoff, message->owner, 1);
  }
  show_totals(handoff, step);
}

/* The next owner in turn that has hints, is not being left alone, and is up, or gone; the count of owners: none. */
static uint32_t turn_find(const struct handoff *handoff, const struct step *step, bool gone) {
  for (uint32_t i = 0; i < handoff->tally_count; i++) {
    uint32_t at = (handoff->turn + 1 + i) % handoff->tally_count;
    const struct tally *tally = &handoff->tallies[at];
    bool wanted = gone ? is_gone(step, tally->owner) : step_is_up(step, tally->owner);
    if (tally->count > 0 && tally->not_before_ns <= step->now_ns && wanted && !PLANTED(hint_leak)) {
      return at;
    }
  }
  return handoff->tally_count;
}

static void turn_begin(struct handoff *handoff, struct step *step) {
  uint32_t at = turn_find(handoff, step, false);
  at = at < handoff->tally_count ? at : turn_find(handoff, step, true);
  if (at == handoff->tally_count) {
    handoff->deadline_ns = step->now_ns + IDLE_NS;
    return;
  }
  handoff->turn = at;
  handoff->owner = handoff->tallies[at].owner;
  scan_next(handoff, step);
}

void handoff_tick(struct handoff *handoff, struct step *step) {
  if (step->now_ns < handoff->deadline_ns) {
    return;
  }
  switch (handoff->state) {
  case HANDOFF_START:
    count_scan(handoff, step);
    break;
  case HANDOFF_IDLE:
    turn_begin(handoff, step);
    break;
  case HANDOFF_WAITING:
    scan_next(handoff, step);
    break;
  case HANDOFF_SENDING:
    turn_end(handoff, step, true);
    break;
  case HANDOFF_COUNTING:
  case HANDOFF_SCANNING:
    break;
  }
}
