#include "move/serve.h"

#include "base/assert.h"
#include "move/state.h"

#define ENTRY_FIXED_BYTES (4u + 8u + 4u)

bool move_entry_read(struct reader *r, struct move_entry *entry) {
  if (r->failed || reader_left(r) == 0) {
    return false;
  }
  entry->key = read_bytes(r);
  entry->digest = read_u64(r);
  entry->object = read_bytes(r);
  return !r->failed;
}

static void answer(struct step *step, const struct serving *serving, enum err err, struct blob *entries, bool last) {
  struct message pulled = {
      .type = MESSAGE_PULLED,
      .flags = last ? MESSAGE_LAST : 0,
      .partition = serving->partition,
      .request = serving->request,
      .err = err,
      .floor = serving->floor,
      .object = blob_bytes(entries),
      .object_blob = entries,
  };
  ASSERT(serving->from != step->self);
  step_send(step, serving->from, &pulled);
}

/* Whole bytes that all keys asked for begin with: what the scan need not look beyond. */
static uint32_t prefix_bytes(const struct serving *serving, uint32_t partition_count) {
  uint32_t bits = 0;
  while (1u << bits < partition_count) {
    bits += 1;
  }
  return (serving->within.bits > bits ? serving->within.bits : bits) / 8u;
}

static enum err scan(const struct move *move, struct step *step, uint32_t index, const struct message *message) {
  const struct serving *serving = &move->servings[index];
  struct blob *first = move_first_key(step, serving->partition, step->ring->partition_count);
  if (first == NULL) {
    return ERR_NOMEM;
  }
  uint32_t size = prefix_bytes(serving, step->ring->partition_count);
  struct bytes prefix = {serving->within.bits == 0 ? first->data : message->key.data, size};
  struct blob *within = prefix.size == 0 ? NULL : blob_copy(step->pool, prefix);
  struct blob *from = message->key.size == 0 ? blob_get(first) : move_key_after(step, message->key);
  bool room = from != NULL && (prefix.size == 0 || within != NULL);
  if (room) {
    uint64_t most = message->digest < MOVE_BATCH_BYTES ? message->digest : MOVE_BATCH_BYTES;
    step_scan(step, move_token(MOVE_TOKEN_SERVE, 0, index), SPACE_OBJECTS, from, within, MOVE_BATCH_MAX,
              most == 0 ? 1u : (uint32_t)most, false);
  }
  blob_put(first);
  blob_put(within);
  blob_put(from);
  return room ? ERR_OK : ERR_NOMEM;
}

void serve_pull(struct move *move, struct step *step, uint32_t from, const struct message *message) {
  uint32_t count = step->ring->partition_count;
  bool sound = from != step->self && message->partition < count;
  if (sound && message->key.size > 0) {
    sound = message->key.size >= POSITION_BYTES &&
            position_partition(position_read(message->key.data), count) == message->partition;
  }
  if (!sound) {
    COUNT(step->stats->messages_bad);
    return;
  }
  if (!step->sure) { /* it may have lost what it had, and not been told yet */
    struct serving early = {.from = from, .partition = message->partition, .request = message->request};
    answer(step, &early, ERR_BUSY, NULL, false);
    return;
  }
  struct tree_node within = {0, 0};
  if (message->owner > 0 && message->owner <= TREE_BITS_MAX && message->key.size > 0) {
    within = tree_node_of(position_read(message->key.data).high, message->owner);
  }
  struct serving asked = {.from = from,
                          .partition = message->partition,
                          .full = (message->flags & MESSAGE_FULL) != 0,
                          .request = message->request,
                          .floor = floors_get(move->floors, message->partition),
                          .within = within};
  uint32_t index = 0;
  while (index < SERVES_MAX && move->servings[index].from != 0) {
    index += 1;
  }
  if (index == SERVES_MAX) {
    answer(step, &asked, ERR_BUSY, NULL, false);
    return;
  }
  move->servings[index] = asked;
  enum err err = scan(move, step, index, message);
  if (err != ERR_OK) {
    answer(step, &asked, err, NULL, false);
    move->servings[index] = (struct serving){.from = 0};
  }
}

/* The object in an answer: not without being asked for, and not if it is too large for one. */
static struct bytes listed_object(const struct serving *serving, const struct scan_entry *entry) {
  struct bytes object = blob_bytes(entry->value);
  return serving->full && object.size <= SERVE_OBJECT_MAX_BYTES ? object : BYTES_NONE;
}

/* How many of the entries lie in the partition, and what they take in the answer. */
static uint32_t entries_within(const struct serving *serving, const struct step *step, const struct event *event,
                               size_t *size) {
  uint32_t count = 0;
  *size = 0;
  while (count < event->scan.count) {
    const struct scan_entry *entry = &event->scan.entries[count];
    struct bytes key = blob_bytes(entry->key);
    if (key.size < POSITION_BYTES ||
        position_partition(position_read(key.data), step->ring->partition_count) != serving->partition ||
        tree_node_of(position_read(key.data).high, serving->within.bits).prefix != serving->within.prefix) {
      break;
    }
    *size += ENTRY_FIXED_BYTES + key.size + listed_object(serving, entry).size;
    count += 1;
  }
  return count;
}

/* One that is damaged is listed without anything: its taker passes over it, and asks for what is behind it. */
static void entry_write(struct step *step, struct serving *serving, const struct scan_entry *entry, struct writer *w) {
  struct object object;
  bool sound = object_open(&object, blob_bytes(entry->value)) == ERR_OK && !object.is_clock;
  if (!sound) {
    COUNT(step->stats->store_errors);
    serving->floor = 0;
  }
  write_bytes(w, blob_bytes(entry->key));
  write_u64(w, sound ? object_digest(blob_bytes(entry->value)) : 0);
  write_bytes(w, sound ? listed_object(serving, entry) : BYTES_NONE);
}

void serve_scanned(struct move *move, struct step *step, uint32_t index, const struct event *event) {
  ASSERT(index < SERVES_MAX);
  struct serving serving = move->servings[index];
  ASSERT(serving.from != 0);
  move->servings[index] = (struct serving){.from = 0};
  if (event->scan.err != ERR_OK) {
    COUNT(step->stats->store_errors);
    answer(step, &serving, event->scan.err, NULL, false);
    return;
  }
  serving.floor = event->scan.gap ? 0 : serving.floor; /* what is listed is not all that is known here */
  size_t size = 0;
  uint32_t count = entries_within(&serving, step, event, &size);
  bool last = event->scan.end || count < event->scan.count;
  struct blob *entries = count == 0 ? NULL : blob_new(step->pool, size);
  if (count > 0 && entries == NULL) {
    answer(step, &serving, ERR_NOMEM, NULL, false);
    return;
  }
  struct writer w = writer_make(entries == NULL ? NULL : entries->data, size);
  for (uint32_t i = 0; i < count; i++) {
    entry_write(step, &serving, &event->scan.entries[i], &w);
  }
  ASSERT(!w.failed && w.size <= size);
  if (entries != NULL) {
    blob_trim(entries, w.size);
  }
  answer(step, &serving, ERR_OK, entries, last);
  blob_put(entries);
}
