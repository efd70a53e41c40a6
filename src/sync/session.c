#include "sync/session.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "ring/position.h"
#include "sync/state.h"
#include "version/bucket.h"

#define LIST_MAX (2u * MOVE_BATCH_MAX) /* objects of the own store beside those of one PULLED */
#define ENTRY_BYTES_MAX (POSITION_BYTES + KEY_MAX_BYTES)

/* -- beginning and ending ------------------------------------------------------------------ */

static void listing_clear(struct session *session) {
  mends_clear(session);
  blob_put(session->cursor);
  blob_put(session->theirs);
  session->cursor = session->theirs = NULL;
  session->listing = false;
}

static void session_free(struct sync *sync, struct session *session) {
  listing_clear(session);
  *session = (struct session){.state = SESSION_FREE, .generation = session->generation};
  ASSERT(sync->sessions > 0);
  sync->sessions -= 1;
  sync->round.look = true;
}

void sessions_reset(struct sync *sync) {
  for (uint32_t i = 0; i < SYNC_SESSIONS_MAX; i++) {
    if (sync->list[i].state != SESSION_FREE) {
      session_free(sync, &sync->list[i]);
    }
  }
}

static void compare_send(struct sync *sync, struct step *step, struct session *session, const struct tree_node *node,
                         uint32_t child_bits);

/* Has it gone through all, or is it given up? Either way the partition is let go. */
static void session_end(struct sync *sync, struct step *step, struct session *session, bool failed) {
  struct pairing *pairing = &sync->pairings[session->partition];
  struct partner *partner = &sync->partners[pairing->members[session->rank]];
  partner->failed = partner->failed || failed || session->failed > 0;
  pairing->clean = (uint8_t)(pairing->clean | (failed || session->failed > 0 ? 0u : 1u << session->rank));
  sync_todo_set(sync, pairing, session->rank, false);
  sync->round.gone_into += 1;
  disengage(sync, session->partition, step->self);
  compare_send(sync, step, session, NULL, 0);
  session_free(sync, session);
}

/* Somebody else has it: later. */
static void session_put_off(struct sync *sync, const struct step *step, struct session *session) {
  listing_clear(session);
  disengage(sync, session->partition, step->self);
  session->state = SESSION_WAITING;
  session->busy = true;
  session->due_ns = step->now_ns + SYNC_BUSY_NS;
}

static void ask(struct sync *sync, const struct step *step, struct session *session, enum session_state state) {
  sync->generation += 1;
  session->generation = sync->generation;
  session->state = state;
  session->due_ns = step->now_ns + SYNC_ANSWER_NS;
  (void)engage(sync, step, session->partition, step->self);
}

static uint64_t session_request(const struct sync *sync, const struct session *session, uint32_t index) {
  return sync_request((uint32_t)(session - sync->list), session->generation, index);
}

/* -- the descent ----------------------------------------------------------------------------- */

/* Asks which children of the node differ; NULL: says that this was all. */
static void compare_send(struct sync *sync, struct step *step, struct session *session, const struct tree_node *node,
                         uint32_t child_bits) {
  uint8_t bytes[COMPARE_FIXED_BYTES + FAMILY_FIXED_BYTES + (8u << SYNC_CHILDREN_BITS)];
  struct writer w = writer_make(bytes, sizeof bytes);
  struct compare_head head = {.layout = sync->layout, .sizes = sync->sizes_digest, .child_bits = child_bits};
  head.bits = node == NULL ? sync->partition_bits : node->bits;
  compare_write_head(&w, &head);
  if (node != NULL) {
    compare_write_family(&w, growth_tree(sync->growth), *node, child_bits, session->rank + 1u);
    ask(sync, step, session, SESSION_COMPARING);
    session->asked = *node;
  }
  ASSERT(!w.failed);
  struct blob *object = blob_copy(step->pool, writer_bytes(&w));
  if (object == NULL) {
    return; /* as if it had been lost */
  }
  struct message compare = {.type = MESSAGE_COMPARE,
                            .flags = node == NULL ? MESSAGE_LAST : MESSAGE_ENGAGE,
                            .partition = session->partition,
                            .request = session_request(sync, session, 0),
                            .object = blob_bytes(object),
                            .object_blob = object};
  sync_spend(step, object->size + FRAME_HEADER_BYTES);
  step_send(step, session->node, &compare);
  blob_put(object);
}

static uint32_t child_bits_of(const struct session *session, struct tree_node node) {
  uint32_t left = session->bits - node.bits;
  return left < SYNC_CHILDREN_BITS ? left : SYNC_CHILDREN_BITS;
}

static void listing_begin(struct session *session, struct tree_node node) {
  ASSERT(!session->listing && session->cursor == NULL);
  session->listing = true;
  session->listed = node;
}

static void pull_send(struct sync *sync, struct step *step, struct session *session) {
  if (session->cursor == NULL) {
    session->cursor = blob_new(step->pool, POSITION_BYTES);
    if (session->cursor == NULL) {
      session_end(sync, step, session, true);
      return;
    }
    position_write((struct position){session->listed.prefix, 0}, session->cursor->data);
  }
  ask(sync, step, session, SESSION_LISTING);
  struct message pull = {.type = MESSAGE_PULL,
                         .partition = session->partition,
                         .owner = session->listed.bits,
                         .request = session_request(sync, session, 0),
                         .digest = MOVE_BATCH_BYTES,
                         .key = blob_bytes(session->cursor),
                         .key_blob = session->cursor};
  step_send(step, session->node, &pull);
}

/* The next question, or the end. */
static void session_go(struct sync *sync, struct step *step, struct session *session) {
  ASSERT(session->theirs == NULL && session->open == 0);
  if (!step_may_work(step, ADMIT_EXCHANGE, session->node, &session->due_ns)) {
    session->state = SESSION_WAITING;
    return;
  }
  while (!session->listing && session->depth > 0) {
    struct level *level = &session->levels[session->depth - 1];
    if (level->differ == 0) {
      session->depth -= 1;
      continue;
    }
    uint32_t index = (uint32_t)__builtin_ctz(level->differ);
    level->differ &= level->differ - 1u;
    struct tree_node child = tree_child(level->node, level->child_bits, index);
    if (child.bits < session->bits) {
      compare_send(sync, step, session, &child, child_bits_of(session, child));
      return;
    }
    listing_begin(session, child);
  }
  if (session->listing) {
    pull_send(sync, step, session);
  } else {
    session_end(sync, step, session, false);
  }
}

static void compared(struct sync *sync, struct step *step, struct session *session, const struct message *message) {
  uint32_t child_bits = child_bits_of(session, session->asked);
  uint32_t children = 1u << child_bits;
  sync_spend(step, message->object.size + FRAME_HEADER_BYTES);
  if (message->err == ERR_BUSY) {
    session_put_off(sync, step, session);
    return;
  }
  struct compared_head head;
  const struct partner *partner = &sync->partners[sync->pairings[session->partition].members[session->rank]];
  if (message->err != ERR_OK || !compared_read_head(message->object, children, &head) || head.life != partner->life) {
    session_end(sync, step, session, true);
    return;
  }
  session->theirs_floor = head.floor;
  uint32_t differ = 0;
  uint32_t count = 0;
  for (uint32_t i = 0; i < children; i++) {
    uint32_t bit = message->object.data[COMPARED_FIXED_BYTES + i / 8u] >> i % 8u & 1u;
    differ |= bit << i;
    count += bit;
  }
  if (count * 2u > children) {
    listing_begin(session, session->asked); /* most of it: as well all of it */
  } else {
    ASSERT(session->depth < SYNC_LEVELS_MAX);
    session->levels[session->depth] = (struct level){session->asked, child_bits, differ};
    session->depth += 1;
  }
  session_go(sync, step, session);
}

/* -- the keys of a node ---------------------------------------------------------------------------- */

/* An entry of PULLED: see move/move.h. */
struct entry {
  struct bytes key;
  uint64_t digest;
};

static bool entry_read(struct reader *r, struct entry *entry) {
  if (r->failed || reader_left(r) == 0) {
    return false;
  }
  entry->key = read_bytes(r);
  entry->digest = read_u64(r);
  (void)read_bytes(r);
  return !r->failed;
}

static bool is_listed(const struct session *session, struct bytes key) {
  return key.size >= POSITION_BYTES && key.size <= ENTRY_BYTES_MAX &&
         tree_node_of(position_read(key.data).high, session->listed.bits).prefix == session->listed.prefix;
}

/* Entries of the node behind the cursor, in order, and nothing else? */
static bool theirs_are_sound(const struct session *session, const struct message *message) {
  struct reader r = reader_make(message->object);
  struct bytes last = blob_bytes(session->cursor);
  struct entry entry;
  uint32_t count = 0;
  while (entry_read(&r, &entry)) {
    if (!is_listed(session, entry.key) || bytes_compare(entry.key, last) <= 0) {
      return false;
    }
    last = entry.key;
    count += 1;
  }
  return !r.failed && (count > 0 || (message->flags & MESSAGE_LAST) != 0);
}

/* The smallest key behind it: a scan that began with it would get no further than it where damage follows. */
static struct blob *key_behind(struct step *step, struct bytes key) {
  struct blob *behind = blob_new(step->pool, key.size + 1);
  if (behind != NULL) {
    memcpy(behind->data, key.data, key.size);
    behind->data[key.size] = 0;
  }
  return behind;
}

static void pulled(struct sync *sync, struct step *step, struct session *session, const struct message *message) {
  sync_spend(step, message->object.size + FRAME_HEADER_BYTES);
  bool sound = message->err == ERR_OK && message->partition == session->partition && theirs_are_sound(session, message);
  session->theirs_end = (message->flags & MESSAGE_LAST) != 0;
  session->theirs = sound ? blob_copy(step->pool, message->object) : NULL;
  uint32_t whole = session->listed.bits / 8u;
  struct blob *prefix =
      session->theirs == NULL ? NULL : blob_copy(step->pool, (struct bytes){session->cursor->data, whole});
  struct blob *from = prefix == NULL ? NULL : key_behind(step, blob_bytes(session->cursor));
  if (from == NULL) {
    blob_put(prefix);
    session_end(sync, step, session, true);
    return;
  }
  ask(sync, step, session, SESSION_SCANNING);
  session->turn = step->turn;
  session->floor = floors_get(sync->floors, session->partition);
  uint64_t token = token_make(TOKEN_SYNC, (uint64_t)session->generation << 8u | (uint64_t)(session - sync->list));
  step_scan(step, token, SPACE_OBJECTS, from, whole == 0 ? NULL : prefix, LIST_MAX, MOVE_BATCH_BYTES, false);
  blob_put(prefix);
  blob_put(from);
}

/* The two lists, side by side. */
struct join {
  const struct event *event;
  uint32_t at; /* in the own entries */
  bool mine_end;
  struct reader theirs;
  struct entry entry;
  bool has_theirs, theirs_end;
};

static struct bytes mine_key(const struct join *join) {
  return blob_bytes(join->event->scan.entries[join->at].key);
}

static bool has_mine(const struct join *join) {
  return join->at < join->event->scan.count;
}

/* Passes over what is not of the node, or not behind the cursor. */
static void mine_settle(struct join *join, const struct session *session) {
  while (has_mine(join) && bytes_compare(mine_key(join), blob_bytes(session->cursor)) <= 0) {
    join->at += 1;
  }
  join->mine_end = join->event->scan.end || (has_mine(join) && !is_listed(session, mine_key(join)));
  if (has_mine(join) && !is_listed(session, mine_key(join))) {
    join->at = join->event->scan.count;
  }
}

/* Are both nodes replicas of it? */
static bool is_common(const struct step *step, const struct session *session, struct bytes key) {
  struct bytes user_key = {key.data + POSITION_BYTES, key.size - POSITION_BYTES};
  return bucket_find(step->buckets, bucket_of_key(user_key)).n > session->rank;
}

/* The next key of either list: what both have of it. False when one list has ended and goes on elsewhere. */
static bool join_next(struct join *join, const struct session *session, struct bytes *key, struct blob **mine,
                      uint64_t *theirs) {
  mine_settle(join, session);
  bool mine_open = !has_mine(join) && !join->mine_end;
  bool theirs_open = !join->has_theirs && !join->theirs_end;
  if (mine_open || theirs_open || (!has_mine(join) && !join->has_theirs)) {
    return false;
  }
  int order = !has_mine(join) ? 1 : !join->has_theirs ? -1 : bytes_compare(mine_key(join), join->entry.key);
  *key = order <= 0 ? mine_key(join) : join->entry.key;
  *mine = order <= 0 ? join->event->scan.entries[join->at].value : NULL;
  *theirs = order >= 0 ? join->entry.digest : 0;
  join->at += order <= 0 ? 1 : 0;
  if (order >= 0) {
    join->has_theirs = entry_read(&join->theirs, &join->entry);
  }
  return true;
}

static bool is_damaged(const struct blob *object) {
  struct object opened;
  return object != NULL && (object_open(&opened, blob_bytes(object)) != ERR_OK || opened.is_clock);
}

/* Goes through both lists as far as they reach and there is room for what differs. */
static void join_run(struct sync *sync, struct step *step, struct session *session, struct join *join) {
  struct bytes key = BYTES_NONE;
  struct bytes last = BYTES_NONE;
  struct blob *mine = NULL;
  uint64_t theirs = 0;
  bool room = true;
  while (room && join_next(join, session, &key, &mine, &theirs)) {
    uint64_t digest = mine == NULL ? 0 : object_digest(blob_bytes(mine));
    bool listed_damaged = mine != NULL ? is_damaged(mine) : theirs == 0;
    step->stats->sync_keys += 1;
    last = key;
    if (listed_damaged) {
      COUNT(step->stats->store_errors);
      session->failed += 1;
    } else if (digest != theirs && is_common(step, session, key)) {
      room = mend_add(sync, step, session, key, mine, theirs) && session->open < SYNC_MENDS_MAX;
    }
  }
  bool ended = join->mine_end && join->theirs_end && !has_mine(join) && !join->has_theirs;
  struct blob *cursor = ended || last.size == 0 ? NULL : blob_copy(step->pool, last);
  blob_put(session->cursor);
  session->cursor = cursor;
  session->listing = cursor != NULL;
  session->failed += !ended && cursor == NULL ? 1 : 0;
}

void sync_scan_done(struct sync *sync, struct step *step, const struct event *event) {
  uint64_t value = token_value(event->scan.token);
  ASSERT((value & 0xffu) < SYNC_SESSIONS_MAX);
  struct session *session = &sync->list[value & 0xffu];
  if (session->state != SESSION_SCANNING || session->generation != value >> 8u) {
    return; /* it was given up */
  }
  if (event->scan.err != ERR_OK) {
    COUNT(step->stats->store_errors);
    session_end(sync, step, session, true);
    return;
  }
  struct join join = {.event = event, .theirs = reader_make(blob_bytes(session->theirs))};
  join.theirs_end = session->theirs_end;
  join.has_theirs = entry_read(&join.theirs, &join.entry);
  ask(sync, step, session, SESSION_MENDING);
  session->open = 0;
  session->floor = event->scan.gap ? 0 : session->floor; /* what is not listed may be here, and unreadable */
  join_run(sync, step, session, &join);
  blob_put(session->theirs);
  session->theirs = NULL;
  if (session->open == 0) {
    session_go(sync, step, session);
  }
}

void session_mended(struct sync *sync, struct step *step, struct session *session) {
  ASSERT(session->state == SESSION_MENDING && session->open == 0);
  session_go(sync, step, session);
}

/* -- time, and answers ------------------------------------------------------------------------------- */

static void session_begin(struct sync *sync, struct step *step, struct session *session, uint32_t partition,
                          uint32_t rank) {
  const struct pairing *pairing = &sync->pairings[partition];
  const struct partner *partner = &sync->partners[pairing->members[rank]];
  uint32_t bits = growth_tree(sync->growth)->bits;
  ASSERT(session->state == SESSION_FREE);
  *session = (struct session){.state = SESSION_WAITING,
                              .partition = (uint16_t)partition,
                              .rank = (uint8_t)rank,
                              .node = step->reading->members[pairing->members[rank]].node,
                              .bits = partner->bits < bits ? partner->bits : bits};
  sync->sessions += 1;
  sync->turn = partition;
  sync->differ -= pairing->differ[rank];
  sync->pairings[partition].differ[rank] = 0;
  struct tree_node root = tree_child((struct tree_node){0, 0}, sync->partition_bits, partition);
  if (!step_is_up(step, session->node)) {
    session_end(sync, step, session, true);
  } else {
    compare_send(sync, step, session, &root, child_bits_of(session, root));
  }
}

static bool has_session(const struct sync *sync, uint32_t partition) {
  for (uint32_t i = 0; i < SYNC_SESSIONS_MAX; i++) {
    if (sync->list[i].state != SESSION_FREE && sync->list[i].partition == partition) {
      return true;
    }
  }
  return false;
}

void sessions_begin(struct sync *sync, struct step *step) {
  uint32_t place = 0;
  for (uint32_t i = 1; i <= sync->partition_count; i++) {
    uint32_t partition = (sync->turn + i) % sync->partition_count;
    while (place < SYNC_SESSIONS_MAX && sync->list[place].state != SESSION_FREE) {
      place += 1;
    }
    if (place == SYNC_SESSIONS_MAX) {
      return;
    }
    uint32_t todo = sync->pairings[partition].todo;
    if (todo != 0 && !has_session(sync, partition) && engage(sync, step, partition, step->self)) {
      session_begin(sync, step, &sync->list[place], partition, (uint32_t)__builtin_ctz(todo));
    }
  }
}

void sessions_tick(struct sync *sync, struct step *step) {
  for (uint32_t i = 0; i < SYNC_SESSIONS_MAX; i++) {
    struct session *session = &sync->list[i];
    if (session->state == SESSION_FREE || step->now_ns < session->due_ns) {
      continue;
    }
    if (session->state == SESSION_WAITING && session->busy) {
      session_free(sync, session); /* its roots are still to be gone into */
    } else if (session->state == SESSION_WAITING) {
      session_go(sync, step, session);
    } else {
      session_end(sync, step, session, true);
    }
  }
}

bool sessions_are_past(const struct sync *sync, uint32_t turn) {
  bool past = true;
  for (uint32_t i = 0; i < SYNC_SESSIONS_MAX; i++) {
    const struct session *session = &sync->list[i];
    bool holds = session->state == SESSION_SCANNING || session->state == SESSION_MENDING;
    past = past && (!holds || session->turn == turn);
  }
  return past;
}

uint64_t sessions_deadline(const struct sync *sync) {
  uint64_t deadline = HEAP_NEVER;
  for (uint32_t i = 0; i < SYNC_SESSIONS_MAX; i++) {
    const struct session *session = &sync->list[i];
    if (session->state != SESSION_FREE && session->due_ns < deadline) {
      deadline = session->due_ns;
    }
  }
  return deadline;
}

void session_message(struct sync *sync, struct step *step, uint32_t unit, uint32_t from,
                     const struct message *message) {
  ASSERT(unit < SYNC_SESSIONS_MAX);
  struct session *session = &sync->list[unit];
  uint32_t index = (uint32_t)(message->request & SYNC_INDEX_MASK);
  bool current = session->state != SESSION_FREE && message->request == session_request(sync, session, index);
  if (current && message->type == MESSAGE_COMPARED && session->state == SESSION_COMPARING && from == session->node) {
    compared(sync, step, session, message);
  } else if (current && message->type == MESSAGE_PULLED && session->state == SESSION_LISTING && from == session->node) {
    pulled(sync, step, session, message);
  } else if (current && session->state == SESSION_MENDING && index < SYNC_MENDS_MAX) {
    mend_message(sync, step, session, from, message);
  } else {
    COUNT(step->stats->messages_late);
  }
}
