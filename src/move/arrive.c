#include "move/arrive.h"

#include <string.h>

#include "base/assert.h"
#include "base/heap.h"
#include "base/plant.h"
#include "move/state.h"

#define LOOK_TRIES 256u

/* -- batches ---------------------------------------------------------------------------- */

static void batch_clear(struct arrival *arrival) {
  blob_put(arrival->batch_end);
  blob_put(arrival->listing);
  blob_put(arrival->own);
  arrival->batch_end = arrival->listing = arrival->own = NULL;
  arrival->op_count = arrival->open = arrival->fetching = arrival->own_open = 0;
  memset(arrival->own_ops, 0, sizeof arrival->own_ops);
}

static void arrival_free(struct arrival *arrival) {
  batch_clear(arrival);
  blob_put(arrival->cursor);
  *arrival = (struct arrival){.state = ARRIVAL_FREE};
}

void arrive_reset(struct move *move) {
  for (uint32_t i = 0; i < MOVES_MAX; i++) {
    arrival_free(&move->arrivals[i]);
  }
}

/* Leaves the partition alone for a while: others have their turn. */
static void release(struct move *move, const struct step *step, struct arrival *arrival, uint64_t delay_ns) {
  ASSERT(arrival->state != ARRIVAL_FREE);
  move->parts[arrival->partition].not_before_ns = step->now_ns + delay_ns;
  uint64_t look_ns = step->now_ns + (delay_ns == 0 ? 0 : MOVE_LOOK_NS);
  move->look_due_ns = look_ns < move->look_due_ns ? look_ns : move->look_due_ns;
  arrival_free(arrival);
}

static void wait_until(struct arrival *arrival, uint64_t due_ns) {
  arrival->state = ARRIVAL_WAITING;
  arrival->due_ns = due_ns;
}

/* The batch has failed: the same one again after a while, if copying from another source. */
static void back_off(struct move *move, const struct step *step, struct arrival *arrival) {
  batch_clear(arrival);
  arrival->failures += 1;
  if (arrival->failures > MOVE_FAILURES_MAX) {
    release(move, step, arrival, MOVE_LATER_NS);
    return;
  }
  arrival->source = arrival->checking ? arrival->source : 0;
  wait_until(arrival, step->now_ns + MOVE_BACKOFF_NS);
}

/* -- sources ------------------------------------------------------------------------------ */

/* The base's replicas of a partition as bits by rank: all but this node, those that are to be checked against now, and
 * those of them that can be asked now. */
struct sources {
  struct preference preference;
  uint32_t all, needed, up;
};

/* A node that the target has not, and that is down, is not waited for: what only it had is lost with it. But right
 * after a start, or a change, nobody knows yet who is down. */
static bool is_needed(const struct move *move, const struct step *step, uint32_t node) {
  bool early = step->now_ns - move->epoch_ns < step->tunables->peer_timeout_ns;
  return node != step->self && (early || ring_find(step->ring, node) >= 0 || step_is_up(step, node));
}

static void sources_find(const struct move *move, const struct step *step, uint32_t partition,
                         struct sources *sources) {
  ring_preference(step->base, partition, move->n_max, &sources->preference);
  sources->all = sources->needed = sources->up = 0;
  for (uint32_t i = 0; i < sources->preference.replica_count; i++) {
    uint32_t node = sources->preference.nodes[i];
    sources->all |= node != step->self ? 1u << i : 0u;
    if (is_needed(move, step, node)) {
      sources->needed |= 1u << i;
      sources->up |= step_is_up(step, node) ? 1u << i : 0u;
    }
  }
  ASSERT((sources->up & ~sources->needed) == 0);
}

/* Chooses a source of `candidates`; what is copied is spread over them. */
static void source_choose(struct arrival *arrival, const struct sources *sources, uint32_t candidates) {
  uint32_t count = sources->preference.replica_count;
  uint32_t start = arrival->checking ? 0 : (arrival->partition + (uint32_t)arrival->failures) % count;
  ASSERT(candidates != 0);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t rank = (start + i) % count;
    if ((candidates & 1u << rank) != 0) {
      arrival->source_rank = (uint8_t)rank;
      arrival->source = sources->preference.nodes[rank];
      return;
    }
  }
  ASSERT(arrival->source != 0);
}

/* Has it a source that can be asked now, chosen anew if need be? */
static bool source_ready(const struct move *move, const struct step *step, struct arrival *arrival,
                         const struct sources *sources) {
  if (arrival->source != 0 && step_is_up(step, arrival->source)) {
    return true;
  }
  if (arrival->checking && arrival->source != 0) {
    blob_put(arrival->cursor); /* a check is of one source, from its beginning to its end */
    arrival->cursor = NULL;
  }
  arrival->source = 0;
  uint32_t checked = arrival->checking ? move->parts[arrival->partition].checked : 0u;
  uint32_t candidates = sources->up & ~checked;
  if (candidates == 0) {
    return false;
  }
  source_choose(arrival, sources, candidates);
  return true;
}

static void pull(struct move *move, struct step *step, struct arrival *arrival) {
  ASSERT(arrival->state == ARRIVAL_WAITING && arrival->source != 0);
  ASSERT(step->agreed);
  move->generation += 1;
  arrival->generation = move->generation;
  arrival->state = ARRIVAL_PULLING;
  arrival->due_ns = step->now_ns + MOVE_ANSWER_NS;
  struct message message = {
      .type = MESSAGE_PULL,
      .flags = arrival->checking ? 0 : MESSAGE_FULL,
      .partition = arrival->partition,
      .request = move_request((uint32_t)(arrival - move->arrivals), arrival->generation, MOVE_INDEX_PULL),
      .digest = MOVE_BATCH_BYTES,
      .key = blob_bytes(arrival->cursor),
      .key_blob = arrival->cursor,
  };
  step_send(step, arrival->source, &message);
}

/* All have been checked against; but what is dead may have come from one that did not know it any more. */
static bool begins_again(struct part *part, const struct sources *sources) {
  uint32_t best = 1u << part->best;
  if (!part->low || part->floor == 0 || (sources->needed & best) == 0) {
    return false;
  }
  part->low = false;
  part->again = true;
  part->checked = (uint8_t)(part->checked & ~best);
  return true;
}

/* What a waiting arrival does next. */
static void go(struct move *move, struct step *step, struct arrival *arrival) {
  ASSERT(arrival->state == ARRIVAL_WAITING);
  if (!step->agreed || step->nospace) {
    wait_until(arrival, step->now_ns + MOVE_LOOK_NS);
    return;
  }
  struct part *part = &move->parts[arrival->partition];
  struct sources sources;
  sources_find(move, step, arrival->partition, &sources);
  if (!arrival->checking && sources.needed == 0) {
    move_part_set(move, arrival->partition, PART_COPIED);
    arrival->checking = true;
  }
  if (arrival->checking && (sources.needed & ~(uint32_t)part->checked) == 0 && !begins_again(part, &sources)) {
    uint32_t partition = arrival->partition;
    uint64_t floor = part->floor < part->kept ? part->floor : part->kept;
    if (!floors_raise(move->floors, partition, part->target_rank, floor)) {
      wait_until(arrival, step->now_ns + MOVE_LOOK_NS);
      return;
    }
    move_part_set(move, arrival->partition, PART_HELD);
    part->checked = (sources.all & ~(uint32_t)part->checked) == 0 ? CHECKED_ALL : part->checked;
    release(move, step, arrival, 0);
    return;
  }
  if (!source_ready(move, step, arrival, &sources)) {
    release(move, step, arrival, MOVE_BACKOFF_NS);
    return;
  }
  uint64_t due_ns = 0;
  if (!step_may_work(step, ADMIT_TRANSFER, arrival->source, &due_ns)) {
    wait_until(arrival, due_ns);
    return;
  }
  pull(move, step, arrival);
}

/* What has been checked both ways is free of what is dead by the floor of that time, and not of an earlier one. */
static void note_floor(struct part *part, const struct arrival *arrival) {
  if (part->again && arrival->source_rank == part->best) {
    part->again = false;
    part->floor = arrival->floor < part->floor ? arrival->floor : part->floor;
  } else if (!part->again && arrival->floor > part->floor) {
    part->best = arrival->source_rank;
    part->floor = arrival->floor;
  }
}

/* The source has been gone through. */
static void pass_done(struct move *move, struct step *step, struct arrival *arrival) {
  struct part *part = &move->parts[arrival->partition];
  blob_put(arrival->cursor);
  arrival->cursor = NULL;
  if (!arrival->checking) {
    arrival->checking = true;
    move_part_set(move, arrival->partition, PLANTED(move_unchecked) ? PART_HELD : PART_COPIED);
  } else if (arrival->refused) {
    release(move, step, arrival, MOVE_LATER_NS);
    return;
  } else {
    part->checked = (uint8_t)(part->checked | 1u << arrival->source_rank);
    note_floor(part, arrival);
  }
  arrival->source = 0;
  if (part->state == PART_HELD) {
    release(move, step, arrival, 0);
    return;
  }
  wait_until(arrival, step->now_ns);
  go(move, step, arrival);
}

/* If all of the batch is done. */
static void batch_done(struct move *move, struct step *step, struct arrival *arrival) {
  if (arrival->open > 0 || arrival->own_open > 0 || arrival->own != NULL) {
    return;
  }
  bool last = arrival->last;
  if (arrival->batch_end != NULL) {
    blob_put(arrival->cursor);
    arrival->cursor = blob_get(arrival->batch_end);
  }
  batch_clear(arrival);
  arrival->failures = 0;
  if (last) {
    pass_done(move, step, arrival);
    return;
  }
  wait_until(arrival, step->now_ns);
  go(move, step, arrival);
}

/* Of an old copy, its own or one that has been copied from, it is looked at both ways: there may be what has been
 * deleted since, and forgotten. */
static bool is_two_sided(const struct move *move, const struct step *step, const struct arrival *arrival) {
  bool old = (move->lost != 0 && step->lost_little) || move->parts[arrival->partition].again;
  return arrival->checking && old;
}

/* -- objects ---------------------------------------------------------------------------------- */

static uint64_t op_request(const struct move *move, const struct arrival *arrival, uint32_t index) {
  return move_request((uint32_t)(arrival - move->arrivals), arrival->generation, index);
}

static struct bytes op_key(const struct arrival *arrival, const struct op *op) {
  ASSERT(arrival->listing != NULL);
  ASSERT((size_t)op->key_offset + op->key_size <= arrival->listing->size);
  return (struct bytes){arrival->listing->data + op->key_offset, op->key_size};
}

/* `floor`: what is as old, and here, and not in the object, is dead; 0: it is not to be said. */
static void op_write(const struct move *move, struct step *step, struct arrival *arrival, uint32_t index,
                     struct bytes key, struct bytes object, struct blob *object_blob, uint64_t floor) {
  arrival->ops[index].state = OP_WRITING;
  struct message write = {
      .type = floor == 0 ? MESSAGE_WRITE : MESSAGE_BURY,
      .floor = floor,
      .request = op_request(move, arrival, index),
      .key = key,
      .object = object,
      .object_blob = object_blob,
  };
  step_send(step, step->self, &write);
}

static void op_offer(const struct move *move, struct step *step, struct arrival *arrival, uint32_t index,
                     uint64_t digest) {
  struct op *op = &arrival->ops[index];
  op->state = OP_OFFERED;
  struct message offer = {
      .type = MESSAGE_OFFER,
      .request = op_request(move, arrival, index),
      .key = op_key(arrival, op),
      .key_blob = arrival->listing,
      .digest = digest,
  };
  step_send(step, step->self, &offer);
}

/* Asks the source for objects that are missing here, a few at a time. */
static void fetch_more(const struct move *move, struct step *step, struct arrival *arrival) {
  for (uint32_t i = 0; i < arrival->op_count && arrival->fetching < MOVE_FETCHES_MAX; i++) {
    struct op *op = &arrival->ops[i];
    if (op->state != OP_MISSING) {
      continue;
    }
    op->state = OP_FETCHING;
    arrival->fetching += 1;
    struct message read = {
        .type = MESSAGE_READ,
        .flags = MESSAGE_FULL,
        .request = op_request(move, arrival, i),
        .key = op_key(arrival, op),
        .key_blob = arrival->listing,
    };
    step_send(step, arrival->source, &read);
  }
}

static void op_done(struct move *move, struct step *step, struct arrival *arrival, struct op *op) {
  ASSERT(op->state != OP_DONE && arrival->open > 0);
  arrival->fetching -= arrival->checking && op->state == OP_WRITING ? 1 : 0;
  op->state = OP_DONE;
  arrival->open -= 1;
  arrival->due_ns = step->now_ns + MOVE_ANSWER_NS;
  if (arrival->open == 0) {
    batch_done(move, step, arrival);
  } else if (arrival->checking) {
    fetch_more(move, step, arrival);
  }
}

/* -- what is here, and not there --------------------------------------------------------------- */

static void own_scan(const struct move *move, struct step *step, struct arrival *arrival) {
  uint32_t unit = (uint32_t)(arrival - move->arrivals);
  arrival->own_open += 1;
  step_scan(step, move_token(MOVE_TOKEN_OWN, arrival->generation, unit), SPACE_OBJECTS, arrival->own, NULL,
            MOVE_BATCH_MAX, MOVE_BATCH_BYTES, true);
}

/* All own keys that have been read are done with: on to the next, if there are more. */
static void own_go(struct move *move, struct step *step, struct arrival *arrival) {
  arrival->due_ns = step->now_ns + MOVE_ANSWER_NS;
  if (arrival->own_open == 0 && arrival->own != NULL) {
    own_scan(move, step, arrival);
  } else {
    batch_done(move, step, arrival);
  }
}

static bool own_is_in_batch(const struct move *move, const struct arrival *arrival, struct bytes key) {
  return key.size >= POSITION_BYTES && move_partition(move, key) == arrival->partition &&
         (arrival->last || bytes_compare(key, blob_bytes(arrival->batch_end)) <= 0);
}

static bool is_listed(const struct arrival *arrival, struct bytes key) {
  struct reader r = reader_make(blob_bytes(arrival->listing));
  struct move_entry entry;
  while (move_entry_read(&r, &entry)) {
    if (bytes_compare(entry.key, key) == 0) {
      return true;
    }
  }
  return false;
}

/* The source has nothing of the key, and it replicates it: what is as old as its floor is dead. */
static void own_bury(const struct move *move, struct step *step, struct arrival *arrival, uint32_t index,
                     struct blob *key) {
  arrival->own_ops[index] = true;
  arrival->own_open += 1;
  struct message bury = {
      .type = MESSAGE_BURY,
      .request = op_request(move, arrival, MOVE_BATCH_MAX + index),
      .key = blob_bytes(key),
      .key_blob = key,
      .floor = arrival->batch_floor,
  };
  step_send(step, step->self, &bury);
}

void arrive_scanned(struct move *move, struct step *step, uint32_t generation, uint32_t unit,
                    const struct event *event) {
  ASSERT(unit < MOVES_MAX);
  struct arrival *arrival = &move->arrivals[unit];
  if (arrival->state != ARRIVAL_WORKING || arrival->generation != generation || arrival->own == NULL) {
    return; /* the batch was given up */
  }
  arrival->own_open -= 1;
  if (event->scan.err != ERR_OK) {
    COUNT(step->stats->store_errors);
    back_off(move, step, arrival);
    return;
  }
  bool ended = event->scan.end || event->scan.count == 0;
  for (uint32_t i = 0; i < event->scan.count; i++) {
    struct blob *key = event->scan.entries[i].key;
    if (!own_is_in_batch(move, arrival, blob_bytes(key))) {
      ended = true;
      break;
    }
    if (!is_listed(arrival, blob_bytes(key)) && move_key_n(step, blob_bytes(key)) > arrival->source_rank) {
      own_bury(move, step, arrival, i, key);
    }
  }
  struct blob *next = ended ? NULL : move_key_after(step, blob_bytes(event->scan.entries[event->scan.count - 1].key));
  blob_put(arrival->own);
  arrival->own = next;
  if (!ended && next == NULL) {
    back_off(move, step, arrival);
    return;
  }
  own_go(move, step, arrival);
}

static void own_buried(struct move *move, struct step *step, struct arrival *arrival, uint32_t index,
                       const struct message *message) {
  bool durable = message->err == ERR_OK && (message->flags & MESSAGE_DURABLE) != 0;
  if (!durable) {
    back_off(move, step, arrival);
    return;
  }
  arrival->own_ops[index] = false;
  arrival->own_open -= 1;
  own_go(move, step, arrival);
}

static void op_written(struct move *move, struct step *step, struct arrival *arrival, struct op *op,
                       const struct message *message) {
  bool durable = message->err == ERR_OK && (message->flags & MESSAGE_DURABLE) != 0;
  bool refused = move_is_refusal(message->err);
  if (!durable && !refused) {
    back_off(move, step, arrival);
    return;
  }
  move->moving_keys += durable ? 1 : 0;
  step->stats->resynced += durable && arrival->checking && move->lost != 0 ? 1 : 0;
  /* When copying, the check finds it again. */
  if (refused && arrival->checking) {
    COUNT(step->stats->store_errors);
    arrival->refused = true;
  }
  op_done(move, step, arrival, op);
}

static void op_acknowledged(struct move *move, struct step *step, struct arrival *arrival, struct op *op,
                            const struct message *message) {
  if (op->state == OP_WRITING) {
    op_written(move, step, arrival, op, message);
    return;
  }
  ASSERT(op->state == OP_OFFERED && arrival->checking);
  if (message->err == ERR_OK) {
    op_done(move, step, arrival, op);
  } else if (message->err == ERR_ABSENT) {
    op->state = OP_MISSING;
    arrival->due_ns = step->now_ns + MOVE_ANSWER_NS;
    fetch_more(move, step, arrival);
  } else {
    back_off(move, step, arrival);
  }
}

static void op_fetched(struct move *move, struct step *step, struct arrival *arrival, uint32_t index,
                       const struct message *message) {
  const struct op *op = &arrival->ops[index];
  step_worked(step, ADMIT_TRANSFER, message->object.size);
  /* It has been listed by that node just now. If it is not there any more, what there is is listed anew. */
  if (message->err != ERR_OK || message->object.size == 0 || (message->flags & MESSAGE_CLOCK) != 0) {
    back_off(move, step, arrival);
    return;
  }
  move->moving_bytes += message->object.size;
  arrival->due_ns = step->now_ns + MOVE_ANSWER_NS;
  op_write(move, step, arrival, index, op_key(arrival, op), message->object, message->object_blob,
           is_two_sided(move, step, arrival) ? message->floor : 0);
}

/* -- what has been pulled ----------------------------------------------------------------------- */

/* Entries of this partition behind the cursor, in order, not too many, and nothing else? */
static bool batch_is_sound(const struct move *move, const struct arrival *arrival, const struct message *message,
                           uint32_t *count, struct bytes *last_key) {
  struct reader r = reader_make(message->object);
  struct move_entry entry;
  *last_key = blob_bytes(arrival->cursor);
  *count = 0;
  while (move_entry_read(&r, &entry)) {
    bool sound =
        entry.key.size >= POSITION_BYTES && entry.key.size <= POSITION_BYTES + KEY_MAX_BYTES && *count < MOVE_BATCH_MAX;
    sound = sound && move_partition(move, entry.key) == arrival->partition;
    if (!sound || bytes_compare(entry.key, *last_key) <= 0) {
      return false;
    }
    *last_key = entry.key;
    *count += 1;
  }
  bool last = (message->flags & MESSAGE_LAST) != 0;
  return !r.failed && (*count > 0 || last);
}

/* Does the target give the key to this node, and the base did not? */
static bool key_is_gained(const struct step *step, const struct part *part, struct bytes key) {
  uint32_t n = move_key_n(step, key);
  ASSERT(n >= 1 && n <= REPLICAS_MAX);
  return part->target_rank < n && part->base_rank >= n;
}

static void batch_begin(struct move *move, struct step *step, struct arrival *arrival, struct bytes entries) {
  const struct part *part = &move->parts[arrival->partition];
  struct reader r = reader_make(entries);
  struct move_entry entry;
  while (move_entry_read(&r, &entry)) {
    struct op *op = &arrival->ops[arrival->op_count];
    uint32_t index = arrival->op_count;
    arrival->op_count += 1;
    op->state = OP_DONE;
    bool wanted = entry.digest != 0 && key_is_gained(step, part, entry.key);
    if (!wanted || (!arrival->checking && entry.object.size == 0)) {
      continue;
    }
    arrival->open += 1;
    if (arrival->checking) {
      op->key_offset = (uint32_t)(entry.key.data - entries.data);
      op->key_size = (uint32_t)entry.key.size;
      op_offer(move, step, arrival, index, entry.digest);
    } else {
      move->moving_bytes += entry.object.size;
      op_write(move, step, arrival, index, entry.key, entry.object, NULL, 0);
    }
  }
  ASSERT(arrival->op_count <= MOVE_BATCH_MAX);
}

static void pulled(struct move *move, struct step *step, struct arrival *arrival, const struct message *message) {
  uint32_t count = 0;
  struct bytes last_key = BYTES_NONE;
  step_worked(step, ADMIT_TRANSFER, message->object.size + FRAME_HEADER_BYTES);
  if (message->err != ERR_OK) {
    back_off(move, step, arrival);
    return;
  }
  if (message->partition != arrival->partition || !batch_is_sound(move, arrival, message, &count, &last_key)) {
    COUNT(step->stats->messages_bad);
    back_off(move, step, arrival);
    return;
  }
  ASSERT(arrival->batch_end == NULL && arrival->listing == NULL);
  if (count > 0) {
    arrival->batch_end = blob_copy(step->pool, last_key);
    arrival->listing = arrival->checking ? blob_copy(step->pool, message->object) : NULL;
    if (arrival->batch_end == NULL || (arrival->checking && arrival->listing == NULL)) {
      back_off(move, step, arrival);
      return;
    }
  }
  arrival->last = (message->flags & MESSAGE_LAST) != 0;
  arrival->batch_floor = message->floor;
  struct part *part = &move->parts[arrival->partition];
  part->low = part->low || (message->floor == 0 && !part->again);
  if (is_two_sided(move, step, arrival) && arrival->batch_floor != 0) {
    arrival->own = arrival->cursor == NULL ? move_first_key(step, arrival->partition, move->partition_count)
                                           : move_key_after(step, blob_bytes(arrival->cursor));
    if (arrival->own == NULL) {
      back_off(move, step, arrival);
      return;
    }
  }
  arrival->floor = arrival->cursor == NULL || message->floor < arrival->floor ? message->floor : arrival->floor;
  arrival->state = ARRIVAL_WORKING;
  arrival->due_ns = step->now_ns + MOVE_ANSWER_NS;
  batch_begin(move, step, arrival, arrival->checking ? blob_bytes(arrival->listing) : message->object);
  own_go(move, step, arrival);
}

void arrive_message(struct move *move, struct step *step, uint32_t unit, uint32_t from, const struct message *message) {
  ASSERT(unit < MOVES_MAX);
  struct arrival *arrival = &move->arrivals[unit];
  uint32_t index = (uint32_t)(message->request & MOVE_INDEX_MASK);
  bool current = message->request == move_request(unit, arrival->generation, index);
  struct op *op = index < MOVE_BATCH_MAX ? &arrival->ops[index] : NULL;
  bool working = current && arrival->state == ARRIVAL_WORKING && op != NULL && index < arrival->op_count;
  if (message->type == MESSAGE_PULLED && current && arrival->state == ARRIVAL_PULLING && from == arrival->source &&
      index == MOVE_INDEX_PULL) {
    pulled(move, step, arrival, message);
  } else if (message->type == MESSAGE_WRITE_ACK && working && from == step->self &&
             (op->state == OP_OFFERED || op->state == OP_WRITING)) {
    op_acknowledged(move, step, arrival, op, message);
  } else if (message->type == MESSAGE_WRITE_ACK && current && arrival->state == ARRIVAL_WORKING && from == step->self &&
             index >= MOVE_BATCH_MAX && index < 2 * MOVE_BATCH_MAX && arrival->own_ops[index - MOVE_BATCH_MAX]) {
    own_buried(move, step, arrival, index - MOVE_BATCH_MAX, message);
  } else if (message->type == MESSAGE_READ_REPLY && working && from == arrival->source && op->state == OP_FETCHING) {
    op_fetched(move, step, arrival, index, message);
  } else {
    COUNT(step->stats->messages_late);
  }
}

/* -- time ------------------------------------------------------------------------------------------ */

static bool is_arriving(const struct move *move, uint32_t partition) {
  for (uint32_t i = 0; i < MOVES_MAX; i++) {
    if (move->arrivals[i].state != ARRIVAL_FREE && move->arrivals[i].partition == partition) {
      return true;
    }
  }
  return false;
}

/* The next partition in turn that is not held and not left alone, or `partition_count`. */
static uint32_t part_next(const struct move *move, const struct step *step) {
  for (uint32_t i = 1; i <= move->partition_count; i++) {
    uint32_t at = (move->turn + i) % move->partition_count;
    const struct part *part = &move->parts[at];
    bool wanted = part->state == PART_WANTED || part->state == PART_COPIED;
    if (wanted && part->not_before_ns <= step->now_ns && !is_arriving(move, at)) {
      return at;
    }
  }
  return move->partition_count;
}

/* Begins partitions until all arrivals have one; of those that turn out to have no source now, not all in one tick. */
static void look(struct move *move, struct step *step) {
  uint32_t tries = step->agreed ? LOOK_TRIES : 0;
  uint32_t unit = 0;
  move->look_due_ns = move->held < move->wanted ? step->now_ns + MOVE_LOOK_NS : HEAP_NEVER;
  while (unit < MOVES_MAX && tries > 0) {
    struct arrival *arrival = &move->arrivals[unit];
    uint32_t partition = arrival->state == ARRIVAL_FREE ? part_next(move, step) : move->partition_count;
    if (partition == move->partition_count) {
      unit += 1;
      continue;
    }
    tries -= 1;
    move->turn = partition;
    *arrival =
        (struct arrival){.partition = (uint16_t)partition, .checking = move->parts[partition].state == PART_COPIED};
    wait_until(arrival, step->now_ns);
    go(move, step, arrival);
  }
}

void arrive_tick(struct move *move, struct step *step) {
  ASSERT(move_is_made(move));
  for (uint32_t i = 0; i < MOVES_MAX; i++) {
    struct arrival *arrival = &move->arrivals[i];
    if (arrival->state == ARRIVAL_FREE || step->now_ns < arrival->due_ns) {
      continue;
    }
    if (arrival->state == ARRIVAL_WAITING) {
      go(move, step, arrival);
    } else {
      back_off(move, step, arrival);
    }
  }
  if (step->now_ns >= move->look_due_ns) {
    look(move, step);
  }
}

uint64_t arrive_deadline(const struct move *move) {
  uint64_t deadline = HEAP_NEVER;
  for (uint32_t i = 0; i < MOVES_MAX; i++) {
    const struct arrival *arrival = &move->arrivals[i];
    if (arrival->state != ARRIVAL_FREE && arrival->due_ns < deadline) {
      deadline = arrival->due_ns;
    }
  }
  return deadline;
}
