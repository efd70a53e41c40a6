#include "sync/compare.h"

#include "base/assert.h"
#include "sync/state.h"

#define SUMS_MAX ((SYNC_ROOTS_MAX > 32u ? SYNC_ROOTS_MAX : 32u) + 7u)

_Static_assert(SYNC_CHILDREN_BITS <= 5, "the children of a node are bits of 32");

void compare_write_head(struct writer *w, const struct compare_head *head) {
  write_u64(w, head->layout);
  write_u64(w, head->sizes);
  write_u8(w, (uint8_t)head->bits);
  write_u8(w, (uint8_t)head->child_bits);
}

void compare_write_family(struct writer *w, const struct tree *tree, struct tree_node node, uint32_t child_bits,
                          uint32_t least_n) {
  write_u64(w, node.prefix);
  write_u8(w, (uint8_t)least_n);
  for (uint32_t i = 0; i >> child_bits == 0; i++) {
    write_u64(w, tree_sum(tree, tree_child(node, child_bits, i), least_n));
  }
}

bool compared_read_head(struct bytes answer, uint32_t sums, struct compared_head *head) {
  struct reader r = reader_make(answer);
  head->bits = read_u8(&r);
  head->life = read_u64(&r);
  head->floor = read_u64(&r);
  return answer.size == COMPARED_FIXED_BYTES + (sums + 7u) / 8u && !r.failed;
}

/* -- engagements ----------------------------------------------------------------------- */

bool engage(struct sync *sync, const struct step *step, uint32_t partition, uint32_t with) {
  struct engagement *place = NULL;
  ASSERT(with != 0);
  for (uint32_t i = 0; i < SYNC_ENGAGED_MAX; i++) {
    struct engagement *engagement = &sync->engaged[i];
    bool current = engagement->with != 0 && step->now_ns < engagement->until_ns;
    if (current && engagement->partition == partition) {
      place = engagement->with == with ? engagement : NULL;
      break;
    }
    place = current ? place : engagement;
  }
  if (place != NULL) {
    *place = (struct engagement){.with = with, .partition = (uint16_t)partition};
    place->until_ns = step->now_ns + SYNC_ANSWER_NS;
  }
  return place != NULL;
}

void disengage(struct sync *sync, uint32_t partition, uint32_t with) {
  for (uint32_t i = 0; i < SYNC_ENGAGED_MAX; i++) {
    struct engagement *engagement = &sync->engaged[i];
    if (engagement->with == with && engagement->partition == partition) {
      engagement->with = 0;
    }
  }
}

/* -- answering ---------------------------------------------------------------------------- */

static void answer(struct step *step, uint32_t to, const struct message *asked, enum err err, struct bytes differ) {
  struct blob *object = err == ERR_OK ? blob_copy(step->pool, differ) : NULL;
  struct message compared = {.type = MESSAGE_COMPARED,
                             .partition = asked->partition,
                             .request = asked->request,
                             .err = err == ERR_OK && object == NULL ? ERR_NOMEM : err,
                             .object = blob_bytes(object),
                             .object_blob = object};
  step_send(step, to, &compared);
  blob_put(object);
}

/* Can the sums be looked at? BADARG: they make no sense. */
static enum err head_check(const struct sync *sync, const struct step *step, const struct compare_head *head) {
  if (!sync_is_ready(sync, step)) {
    return ERR_BUSY;
  }
  if (head->layout != sync->layout || head->sizes != sync->sizes_digest) {
    return ERR_STALE;
  }
  const struct tree *tree = growth_tree(sync->growth);
  bool sound = head->bits >= sync->partition_bits && head->child_bits <= SYNC_CHILDREN_BITS &&
               head->bits + head->child_bits <= tree->bits;
  return sound ? ERR_OK : ERR_BADARG;
}

/* The bits of one family; false when it is none, or does not stand behind the last. */
static bool family_compare(const struct tree *tree, const struct compare_head *head, struct reader *r, uint64_t *last,
                           uint8_t *differ, uint32_t *sums) {
  struct tree_node node = {read_u64(r), head->bits};
  uint32_t least_n = read_u8(r);
  bool rises = *sums == 0 || node.prefix > *last;
  if (r->failed || !rises || least_n == 0 || least_n > REPLICAS_MAX ||
      tree_node_of(node.prefix, head->bits).prefix != node.prefix) {
    return false;
  }
  *last = node.prefix;
  for (uint32_t i = 0; i >> head->child_bits == 0; i++) {
    uint64_t theirs = read_u64(r);
    if (r->failed || *sums >= SYNC_ROOTS_MAX) {
      return false;
    }
    bool other = theirs != tree_sum(tree, tree_child(node, head->child_bits, i), least_n);
    differ[*sums / 8u] = (uint8_t)(differ[*sums / 8u] | (other ? 1u << *sums % 8u : 0u));
    *sums += 1;
  }
  return true;
}

void compare_answer(struct sync *sync, struct step *step, uint32_t from, const struct message *message) {
  struct reader r = reader_make(message->object);
  struct compare_head head = {.layout = read_u64(&r)};
  head.sizes = read_u64(&r);
  head.bits = read_u8(&r);
  head.child_bits = read_u8(&r);
  uint8_t differ[COMPARED_FIXED_BYTES + SUMS_MAX / 8u] = {0};
  uint64_t last = 0;
  uint32_t sums = 0;
  ASSERT(from != step->self);
  if ((message->flags & MESSAGE_LAST) != 0) {
    disengage(sync, message->partition, from);
    return; /* nobody waits for an answer */
  }
  enum err err = r.failed ? ERR_BADARG : head_check(sync, step, &head);
  if (err == ERR_OK && (message->flags & MESSAGE_ENGAGE) != 0 && !engage(sync, step, message->partition, from)) {
    err = ERR_BUSY;
  }
  while (err == ERR_OK && reader_left(&r) > 0) {
    if (!family_compare(growth_tree(sync->growth), &head, &r, &last, differ + COMPARED_FIXED_BYTES, &sums)) {
      COUNT(step->stats->messages_bad);
      err = ERR_BADARG;
    }
  }
  struct writer w = writer_make(differ, COMPARED_FIXED_BYTES);
  write_u8(&w, (uint8_t)growth_tree(sync->growth)->bits);
  write_u64(&w, sync->life);
  write_u64(&w, floors_get(sync->floors, message->partition));
  ASSERT(!w.failed);
  answer(step, from, message, err, (struct bytes){differ, COMPARED_FIXED_BYTES + (sums + 7u) / 8u});
}
