/* The schedule: one round after the other, in each of which all roots are compared and what differs is gone into. */
#include "base/assert.h"
#include "base/heap.h"
#include "sync/state.h"

#define LOOK_NS UINT64_C(100000000)   /* between looks whether a round can begin */
#define AGAIN_NS UINT64_C(1000000000) /* after a round that could not look at everything, while somebody waits */
#define IDLE_NS UINT64_C(1000000000)  /* between looks whether there are to be rounds */

void round_reset(struct sync *sync, const struct step *step) {
  uint32_t generation = sync->round.generation;
  sync->round = (struct round){.phase = ROUND_IDLE, .due_ns = step->now_ns + SYNC_SOON_NS, .generation = generation};
}

static bool is_waited_for(const struct sync *sync) {
  return sync->asked > sync->settled;
}

uint32_t round_rank(const struct pairing *pairing, uint32_t member) {
  for (uint32_t rank = pairing->own_rank + 1u; rank < pairing->count; rank++) {
    if (pairing->members[rank] == member) {
      return rank;
    }
  }
  return 0;
}

static void round_begin(struct sync *sync, const struct step *step) {
  struct round *round = &sync->round;
  uint32_t generation = round->generation;
  ASSERT(sync->sessions == 0);
  *round =
      (struct round){.phase = ROUND_ROOTS, .begun_ns = step->now_ns, .asked = sync->asked, .low = step->settled_low};
  round->generation = generation;
  for (uint32_t i = 0; i < step->reading->member_count; i++) {
    sync->partners[i].failed = false;
  }
  for (uint32_t i = 0; i < sync->partition_count; i++) {
    sync->pairings[i].clean = 0;
  }
}

static void round_end(struct sync *sync, const struct step *step) {
  struct round *round = &sync->round;
  bool complete = true;
  for (uint32_t i = 0; i < step->reading->member_count; i++) {
    struct partner *partner = &sync->partners[i];
    complete = complete && !partner->failed;
    partner->whole_ns = partner->failed ? partner->whole_ns : round->begun_ns;
  }
  if (complete) {
    COUNT(step->stats->sync_rounds);
    sync->complete_ns = round->begun_ns;
    sync->settled = round->found == 0 && round->asked > sync->settled ? round->asked : sync->settled;
  }
  settle_round(sync, step);
  uint64_t interval_ns = step->tunables->sync_round_ns;
  round->phase = ROUND_IDLE;
  round->due_ns = interval_ns == 0 ? step->now_ns + IDLE_NS : round->begun_ns + interval_ns;
  if (is_waited_for(sync)) {
    round->due_ns = step->now_ns + (complete ? SYNC_SOON_NS : AGAIN_NS);
  }
}

/* -- roots ---------------------------------------------------------------------------------- */

/* The next roots to compare with the member at hand; 0 when there are no more. */
static uint32_t roots_gather(struct sync *sync) {
  struct round *round = &sync->round;
  round->count = 0;
  while (round->partition < sync->partition_count && round->count < SYNC_ROOTS_MAX) {
    struct pairing *pairing = &sync->pairings[round->partition];
    if (round_rank(pairing, round->member) != 0) {
      round->roots[round->count] = (uint16_t)round->partition;
      round->count += 1;
    }
    round->partition += 1;
  }
  return round->count;
}

static struct tree_node root_of(const struct sync *sync, uint32_t partition) {
  return tree_child((struct tree_node){0, 0}, sync->partition_bits, partition);
}

static bool roots_send(struct sync *sync, struct step *step) {
  struct round *round = &sync->round;
  struct blob *object = blob_new(step->pool, COMPARE_FIXED_BYTES + round->count * (FAMILY_FIXED_BYTES + 8u));
  if (object == NULL) {
    return false;
  }
  struct writer w = writer_make(object->data, object->size);
  struct compare_head head = {.layout = sync->layout, .sizes = sync->sizes_digest, .bits = sync->partition_bits};
  compare_write_head(&w, &head);
  for (uint32_t i = 0; i < round->count; i++) {
    uint32_t partition = round->roots[i];
    uint32_t rank = round_rank(&sync->pairings[partition], round->member);
    compare_write_family(&w, growth_tree(sync->growth), root_of(sync, partition), 0, rank + 1u);
  }
  ASSERT(!w.failed && w.size == object->size);
  sync->generation += 1;
  round->generation = sync->generation;
  round->waiting = true;
  round->answer_ns = step->now_ns + SYNC_ANSWER_NS;
  struct message compare = {.type = MESSAGE_COMPARE,
                            .request = sync_request(SYNC_UNIT_ROOTS, round->generation, 0),
                            .object = blob_bytes(object),
                            .object_blob = object};
  sync_spend(step, object->size);
  step_send(step, step->reading->members[round->member].node, &compare);
  blob_put(object);
  return true;
}

static void member_next(struct round *round) {
  round->waiting = false;
  round->member += 1;
  round->partition = 0;
}

static void member_fail(struct sync *sync) {
  sync->partners[sync->round.member].failed = true;
  member_next(&sync->round);
}

/* On with the members that there are partitions to compare with, until one is asked. */
static void roots_go(struct sync *sync, struct step *step) {
  struct round *round = &sync->round;
  while (round->member < step->reading->member_count && !round->waiting) {
    if (!step_may_work(step, ADMIT_EXCHANGE, step->reading->members[round->member].node, &round->due_ns)) {
      return;
    }
    if (roots_gather(sync) == 0) {
      member_next(round);
    } else if (!step_is_up(step, step->reading->members[round->member].node) || !roots_send(sync, step)) {
      member_fail(sync);
    }
  }
  if (round->member == step->reading->member_count) {
    round->phase = ROUND_MENDING;
    round->mending_ns = step->now_ns;
    round->mending_bytes = step->stats->sync_bytes;
  }
}

void round_message(struct sync *sync, struct step *step, uint32_t from, const struct message *message) {
  struct round *round = &sync->round;
  bool current = message->type == MESSAGE_COMPARED && round->phase == ROUND_ROOTS && round->waiting &&
                 message->request == sync_request(SYNC_UNIT_ROOTS, round->generation, 0) &&
                 from == step->reading->members[round->member].node;
  if (!current) {
    COUNT(step->stats->messages_late);
    return;
  }
  sync_spend(step, message->object.size + FRAME_HEADER_BYTES);
  struct compared_head head;
  if (message->err != ERR_OK || !compared_read_head(message->object, round->count, &head) ||
      head.bits < sync->partition_bits || head.bits > TREE_BITS_MAX) {
    member_fail(sync);
    return;
  }
  settle_met(sync, round->member, head.life);
  sync->partners[round->member].bits = head.bits;
  for (uint32_t i = 0; i < round->count; i++) {
    struct pairing *pairing = &sync->pairings[round->roots[i]];
    uint32_t rank = round_rank(pairing, round->member);
    bool differs = (message->object.data[COMPARED_FIXED_BYTES + i / 8u] >> i % 8u & 1u) != 0;
    pairing->clean = (uint8_t)(pairing->clean | (differs ? 0u : 1u << rank));
    if (differs) {
      sync_todo_set(sync, pairing, rank, true);
    } else { /* whatever did is mended, by whomever */
      sync->differ -= pairing->differ[rank];
      pairing->differ[rank] = 0;
    }
  }
  round->waiting = false;
}

/* -- time ------------------------------------------------------------------------------------- */

/* Something is still to be gone into, or is being. */
static bool is_mending(const struct sync *sync) {
  return sync->sessions > 0 || sync->todo > 0;
}

/* The interval may be a shorter one by now. */
static void round_reconsider(struct round *round, const struct step *step) {
  uint64_t interval_ns = step->tunables->sync_round_ns;
  if (round->phase == ROUND_IDLE && interval_ns > 0 && round->begun_ns > 0 &&
      round->begun_ns + interval_ns < round->due_ns) {
    round->due_ns = round->begun_ns + interval_ns;
  }
}

void round_tick(struct sync *sync, struct step *step) {
  struct round *round = &sync->round;
  round_reconsider(round, step);
  if (step->now_ns < round_deadline(sync)) {
    return;
  }
  if (round->phase == ROUND_ROOTS && round->waiting) {
    member_fail(sync); /* it has not answered */
  }
  bool may = sync_is_ready(sync, step) && ring_find(step->reading, step->self) >= 0 && !step->nospace;
  if (!may) {
    round->due_ns = step->now_ns + LOOK_NS;
    return;
  }
  if (round->phase == ROUND_IDLE) {
    if (step->tunables->sync_round_ns == 0 && !is_waited_for(sync)) {
      round->due_ns = step->now_ns + IDLE_NS;
      return;
    }
    round_begin(sync, step);
  }
  if (round->phase == ROUND_ROOTS) {
    roots_go(sync, step);
  }
  if (round->phase == ROUND_MENDING) {
    round->look = false;
    sessions_begin(sync, step);
    if (!is_mending(sync)) {
      round_end(sync, step);
    } else if (sync->sessions == 0) {
      round->due_ns = step->now_ns + LOOK_NS; /* not now */
    }
  }
}

uint64_t round_deadline(const struct sync *sync) {
  const struct round *round = &sync->round;
  if (round->phase == ROUND_ROOTS && round->waiting) {
    return round->answer_ns;
  }
  if (round->phase == ROUND_MENDING && sync->sessions > 0) {
    return round->look ? round->due_ns : HEAP_NEVER;
  }
  return round->due_ns;
}
