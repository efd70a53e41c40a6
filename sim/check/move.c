/* move: what changes of membership must not do.
 *
 *  - A former owner drops an object only when all that replicate its key have it durably. A node that is stopped
 *    because it said that it has nothing left has nothing left.
 *    (What only a node has that was removed when it was down, or has stamped since then, is given up if it is older
 *    than the floor where it is brought.)
 *  - When all changes have come to an end each key is on exactly its N owners, and on no other node.
 *  - No stale read: a get that PR primaries answered sees each put (or what has superseded it) that had been
 *    acknowledged before the get began and that C replicas had durably in both live layouts, if PR + C > N. Copies on
 *    nodes that a failure took are not counted, nor those on nodes that are removed where others may see them down: for
 *    these count as dead then. Nor, where the key has moved since, what such nodes were given.
 *  - Once a node lives by layouts that have left another out, it takes nothing of what that one stamps before it has
 *    learned that it is out.
 *  - Where nothing but membership changes, no request of a client to a node that is a member is refused for want of
 *    answers, and none runs out of time, be it that the node leaves meanwhile. Who has left sends clients away.
 * (That moves lose nothing acknowledged is `acked`'s claim, that W is reached in each live layout `quorum`'s, that
 * changes end is `live`'s.) */
#include <inttypes.h>
#include <stdlib.h>

#include "admin.h"
#include "base/assert.h"
#include "layouts.h"
#include "run.h"

#define TAG_BITS 56u
#define TAG_COORD 1u /* the coordinator's request numbers */

#define STRICT_MAX 256u /* puts of a key that gets are held against; of more the oldest is forgotten */
#define REPAIR_STORED_NS UINT64_C(2000000000) /* within which what a get brought is on the disk */

struct moves {
  struct siblings strict[PLAN_KEYS_MAX];
  uint64_t asked_ns[RUN_NODES_MAX][RUN_NODES_MAX][PLAN_KEYS_MAX]; /* when one last asked the other for a get */
};

struct moves *moves_new(void) {
  struct moves *moves = calloc(1, sizeof *moves);
  ASSERT(moves != NULL);
  return moves;
}

void moves_free(struct moves *moves) {
  for (uint32_t i = 0; i < PLAN_KEYS_MAX; i++) {
    siblings_free(&moves->strict[i]);
  }
  free(moves);
}

static uint32_t count(uint64_t bits) {
  uint32_t ones = 0;
  for (; bits != 0; bits &= bits - 1) {
    ones += 1;
  }
  return ones;
}

static uint32_t least(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

/* -- what was given up with a node --------------------------------------------------------- */

bool move_is_given_up(struct run *run, uint32_t from, uint32_t node, uint32_t number) {
  const struct version *version = &run->oracle.versions[number];
  const struct oracle_key *key = &run->oracle.keys[version->key];
  const struct shard *shard = run->world->nodes[node].shard;
  const struct standing *standing = layouts_since(run->layouts, node, run->world->now_ns, 0);
  if (!run->world->nodes[node].alive || standing == NULL) {
    return false;
  }
  uint64_t members = layouts_get(run->layouts, standing->base)->members;
  if ((members >> from & 1) != 0 || (members >> node & 1) == 0) {
    return false;
  }
  bool stamped_outside =
      version->coordinator != 0 && layouts_was_left_out(run->layouts, version->coordinator - 1, version->stamped_ns);
  if (!admin_has_been_down(run->admin, from) && !layouts_is_left_out(run->layouts, from) && !stamped_outside) {
    return false;
  }
  uint32_t partition = position_partition(position_read(key->store_key.data), shard_ring(shard)->partition_count);
  if (!version->stamped || key->times[version->place] > shard_floor(shard, partition)) {
    return false;
  }
  /* A deletion of that age is forgotten as it comes: nothing that it is for is left there. */
  return oracle_give_up(&run->oracle, number, ~members) || version->tombstone;
}

bool move_is_given_up_by_any(struct run *run, uint32_t from, uint32_t number) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    if (i != from && move_is_given_up(run, from, i, number)) {
      return true;
    }
  }
  return false;
}

/* -- dropping ------------------------------------------------------------------------------ */

/* The first replica in that layout that has not got all of it; UINT32_MAX: all have. */
static uint32_t find_without(struct run *run, const struct layout *layout, uint32_t from, uint32_t key,
                             const struct siblings *object, uint32_t *missing) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    bool counts = (layout->replicas[key] >> i & 1) != 0 && !run->oracle.disk_destroyed[i] && !run->oracle.gone[i];
    if (counts && !hints_node_has(run, i, from, key, object, missing)) {
      return i;
    }
  }
  return UINT32_MAX;
}

/* The node may be behind: those that it asked may have handed on what they had since then. */
uint32_t move_find_without(struct run *run, uint32_t node, uint32_t from, uint32_t key, const struct siblings *object,
                           uint32_t *missing) {
  const struct standing *standing = layouts_since(run->layouts, node, run->world->now_ns, 0);
  ASSERT(standing != NULL);
  uint32_t first = find_without(run, layouts_get(run->layouts, standing->target), from, key, object, missing);
  /* It may have taken a new target since it asked. */
  const struct layout *base = layouts_get(run->layouts, standing->base);
  uint32_t ignored = 0;
  if (first != UINT32_MAX && (base->replicas[key] >> node & 1) == 0 &&
      find_without(run, base, from, key, object, &ignored) == UINT32_MAX) {
    return UINT32_MAX;
  }
  for (uint32_t i = standing->target + 1; i < layouts_count(run->layouts) && first != UINT32_MAX; i++) {
    uint32_t other = 0;
    if (find_without(run, layouts_get(run->layouts, i), from, key, object, &other) == UINT32_MAX) {
      return UINT32_MAX;
    }
  }
  return first;
}

void move_dropped(struct run *run, uint32_t node, uint32_t key, const struct siblings *known) {
  struct siblings object = {.count = 0};
  struct bytes value = BYTES_NONE;
  enum err err = ERR_OK;
  uint32_t missing = 0;
  siblings_copy(&object, known);
  if (object.count == 0 &&
      disk_get(&run->world->nodes[node].disk, SPACE_OBJECTS, run->oracle.keys[key].store_key, &value, &err)) {
    oracle_parse(&run->oracle, key, value, &object);
  }
  run->checks.looked[CHECK_move] += 1;
  uint32_t without = move_find_without(run, node, node, key, &object, &missing);
  if (without != UINT32_MAX) {
    check_fail(run, CHECK_move, key,
               "node %" PRIu32 " drops %s of %s, and node %" PRIu32 " has not got %" PRIu32 " durably", node + 1,
               siblings_text(&object), run->oracle.keys[key].text, without + 1, missing);
  }
  siblings_free(&object);
}

void move_stopped(struct run *run, uint32_t node) {
  const struct disk *disk = &run->world->nodes[node].disk;
  size_t damaged = 0; /* what nobody can read nobody can hand over */
  for (size_t i = 0; i < disk->visible[SPACE_OBJECTS].count; i++) {
    damaged += disk->visible[SPACE_OBJECTS].entries[i].damaged ? 1 : 0;
  }
  run->checks.looked[CHECK_move] += 1;
  if (disk->visible[SPACE_OBJECTS].count != damaged || disk->visible[SPACE_HINTS].count != 0) {
    check_fail(run, CHECK_move, CHECK_NO_KEY,
               "node %" PRIu32 " says that it has nothing left, and has %zu objects and %zu hints", node + 1,
               disk->visible[SPACE_OBJECTS].count, disk->visible[SPACE_HINTS].count);
  }
}

void move_judge(struct run *run, uint32_t key_index) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    struct bytes value = BYTES_NONE;
    enum err err = ERR_OK;
    if (oracle_is_replica(key, i) || !run->world->nodes[i].alive) {
      continue;
    }
    run->checks.looked[CHECK_move] += 1;
    bool there = disk_get(&run->world->nodes[i].disk, SPACE_OBJECTS, key->store_key, &value, &err);
    if (there && err != ERR_CORRUPT) { /* of what is damaged there nobody can tell that it is not its own */
      check_fail(run, CHECK_move, key_index, "node %" PRIu32 " still has %s, which it does not own any more", i + 1,
                 key->text);
    }
  }
}

/* -- stale reads ----------------------------------------------------------------------------- */

/* A bit for each node whose copies may be lost, or passed over. */
static uint64_t unreliable(const struct run *run) {
  uint64_t bits = 0;
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    bool removed = admin_is_removed(run->admin, i) && !run->plan.on[FEATURE_calm];
    /* Where one at a time loses what it had, it answers for nothing that it has not got back. */
    bool lost = run->oracle.disk_destroyed[i] && run->plan.profile == PROFILE_HOSTILE;
    bits |= removed || lost || run->oracle.gone[i] ? UINT64_C(1) << i : 0;
  }
  return bits;
}

/* Whoever has lost its copy gets it back from another replica that had it, and answers for nothing before. */
static uint32_t copies(const struct run *run, const struct version *version) {
  uint64_t without = unreliable(run);
  uint64_t base = version->strict[0] & ~without;
  uint64_t target = version->strict[1] & ~without;
  bool kept = (base & ~version->lost) != 0 && (target & ~version->lost) != 0;
  return kept ? least(count(base), count(target)) : 0;
}

/* One whose directory was put back serves by the layouts of then until it is told of others (docs/adr/0009). */
static bool is_of_long_ago(const struct run *run, uint32_t node) {
  static struct layout_view own;
  static struct layout_view other;
  bool behind = false;
  if (!run->oracle.disk_destroyed[node] || !run->world->nodes[node].alive) {
    return false;
  }
  shard_layout(run->world->nodes[node].shard, &own);
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    if (run->world->nodes[i].alive) {
      shard_layout(run->world->nodes[i].shard, &other);
      behind = behind || other.mark.base_count > own.mark.target_count;
    }
  }
  return behind;
}

void move_put_acked(struct run *run, uint32_t number) {
  struct version *version = &run->oracle.versions[number];
  struct siblings *strict = &run->moves->strict[version->key];
  const struct standing *standing = NULL;
  if (version->coordinator != 0) {
    standing = layouts_since(run->layouts, version->coordinator - 1, run->world->now_ns, 0);
  }
  version->acked_ns = run->world->now_ns;
  if (standing == NULL || !version->stamped || is_of_long_ago(run, version->coordinator - 1)) {
    return;
  }
  version->strict[0] = version->settled & layouts_get(run->layouts, standing->base)->replicas[version->key];
  version->strict[1] = version->settled & layouts_get(run->layouts, standing->target)->replicas[version->key];
  uint32_t kept = 0;
  for (uint32_t i = 0; i < strict->count; i++) {
    uint32_t other = strict->numbers[i];
    bool covered =
        oracle_saw(&run->oracle, number, other) && copies(run, version) >= copies(run, &run->oracle.versions[other]);
    if (!covered && !(i == 0 && strict->count >= STRICT_MAX)) {
      strict->numbers[kept] = other;
      kept += 1;
    }
  }
  strict->count = kept;
  if (copies(run, version) > 0) {
    siblings_add(strict, number);
  }
}

/* Of the replicas that this layout gives the key: those that can be relied upon, if they are less; none, if all of
 * these have lost the put. The layout of a node that knows none gives it to nobody. */
static uint32_t fewer(const struct run *run, uint32_t layout, const struct version *version, uint32_t left) {
  uint64_t replicas = layouts_get(run->layouts, layout)->replicas[version->key];
  uint64_t there = replicas & ~unreliable(run);
  return replicas == 0 ? left : least(left, (there & ~version->lost) == 0 ? 0 : count(there));
}

/* So many copies can be left of a put where its key has been moved since: no more than any layout that a node has lived
 * by since then gave to nodes that can be relied upon. */
static uint32_t copies_left(const struct run *run, const struct version *version) {
  uint32_t left = copies(run, version);
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    uint32_t back = 0;
    const struct standing *standing = layouts_since(run->layouts, i, version->acked_ns, back);
    while (standing != NULL) {
      left = fewer(run, standing->base, version, left);
      left = fewer(run, standing->target, version, left);
      back += 1;
      standing = layouts_since(run->layouts, i, version->acked_ns, back);
    }
  }
  return left;
}

/* Of those that the node may ask, how many have lost what they had once held. */
static uint32_t emptied_replicas(const struct run *run, uint32_t node, uint32_t key) {
  const struct standing *standing = layouts_since(run->layouts, node, run->world->now_ns, 0);
  uint64_t replicas = standing == NULL ? 0
                                       : layouts_get(run->layouts, standing->base)->replicas[key] |
                                             layouts_get(run->layouts, standing->target)->replicas[key];
  uint32_t emptied = 0;
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    emptied += (replicas >> i & 1) != 0 && run->oracle.disk_destroyed[i] ? 1u : 0u;
  }
  return emptied;
}

void move_read(struct run *run, uint32_t node, uint32_t key_index, uint64_t sent_ns, uint32_t primaries,
               const struct siblings *seen) {
  const struct oracle_key *key = &run->oracle.keys[key_index];
  const struct siblings *strict = &run->moves->strict[key_index];
  bool hostile = run->plan.profile == PROFILE_HOSTILE;
  uint32_t emptied = hostile ? emptied_replicas(run, node, key_index) : 0;
  if (primaries <= emptied || (unreliable(run) >> node & 1) != 0) {
    return;
  }
  for (uint32_t i = 0; i < strict->count; i++) {
    const struct version *version = &run->oracle.versions[strict->numbers[i]];
    if (version->acked_ns >= sent_ns || version->destroyed ||
        copies(run, version) + primaries - emptied <= key->props.n) {
      continue;
    }
    run->checks.looked[CHECK_move] += 1;
    if (!oracle_stands(&run->oracle, strict->numbers[i], seen) &&
        copies_left(run, version) + primaries - emptied > key->props.n) {
      check_fail(run, CHECK_move, key_index,
                 "node %" PRIu32 " answers a get of %s by %" PRIu32 " primaries with %s; put %" PRIu32
                 " had been acknowledged with %" PRIu32 " copies",
                 node + 1, key->text, primaries, siblings_text(seen), strict->numbers[i], copies(run, version));
    }
  }
}

/* -- who reads by what --------------------------------------------------------------------------- */

/* Has it said that it holds the target, or gone beyond? */
static bool has_said_holds(const struct run *run, uint32_t node, uint32_t target_count) {
  static struct layout_view view;
  shard_layout(run->world->nodes[node].shard, &view);
  bool there = view.mark.target_count == target_count && view.mark.phase >= MARK_HOLDS;
  return there || view.mark.base_count >= target_count || view.mark.target_count > target_count;
}

/* The replicas of the key by all bases that the node has lived by while a get of now may have been planned: one that is
 * asked a second time is asked by the layout of the first. */
static uint64_t by_bases(const struct run *run, uint32_t node, uint32_t key) {
  uint64_t now_ns = run->world->now_ns;
  uint64_t timeout_ns = run->plan.tunables.request_timeout_ns;
  uint64_t since_ns = now_ns > timeout_ns ? now_ns - timeout_ns : 0;
  uint64_t replicas = 0;
  const struct standing *standing = layouts_since(run->layouts, node, since_ns, 0);
  for (uint32_t back = 1; standing != NULL; back++) {
    replicas |= layouts_get(run->layouts, standing->base)->replicas[key];
    standing = layouts_since(run->layouts, node, since_ns, back);
  }
  return replicas;
}

/* A replica by the target alone is asked only once all members of the target hold it. */
void move_sent(struct run *run, uint32_t from, uint32_t to, const struct message *message) {
  uint32_t owner = 0;
  bool of_a_get = message->type == MESSAGE_READ && message->owner == 0 && message->request >> TAG_BITS == TAG_COORD;
  int key = of_a_get ? oracle_find_key(&run->oracle, SPACE_OBJECTS, message->key, &owner) : -1;
  if (key >= 0) {
    run->moves->asked_ns[from][to][key] = run->world->now_ns;
  }
  const struct standing *standing = layouts_since(run->layouts, from, run->world->now_ns, 0);
  if (key < 0 || standing == NULL || standing->base == standing->target || run->oracle.any_destroyed) {
    return;
  }
  const struct layout *target = layouts_get(run->layouts, standing->target);
  if (((target->replicas[key] & ~by_bases(run, from, (uint32_t)key)) >> to & 1) == 0) {
    return;
  }
  static struct layout_view view;
  shard_layout(run->world->nodes[from].shard, &view);
  run->checks.looked[CHECK_move] += 1;
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    bool counts = (target->members >> i & 1) != 0 && !admin_is_removed(run->admin, i) && !run->oracle.gone[i] &&
                  run->world->nodes[i].alive;
    if (counts && !has_said_holds(run, i, view.mark.target_count)) {
      check_fail(run, CHECK_move, (uint32_t)key,
                 "node %" PRIu32 " asks node %" PRIu32 " for %s by its target, and node %" PRIu32
                 ", which is to hold that too, has not said that it does",
                 from + 1, to + 1, run->oracle.keys[key].text, i + 1);
    }
  }
}

/* -- who has been left out ------------------------------------------------------------------------- */

static bool lives_with(const struct run *run, const struct standing *standing, uint32_t node) {
  const struct layout *base = layouts_get(run->layouts, standing->base);
  const struct layout *target = layouts_get(run->layouts, standing->target);
  return ((base->members | target->members) >> node & 1) != 0;
}

/* One that has said nothing of any layout yet takes what it is given: nobody relies on it. */
static bool has_said_something(const struct run *run, uint32_t node) {
  static struct layout_view view;
  shard_layout(run->world->nodes[node].shard, &view);
  return view.mark.base_count > 0;
}

/* May it be in the answer to a get that is under way there? That is taken from whoever was asked, and stored by the
 * read repair. */
static bool may_be_repair(const struct run *run, uint32_t node, uint32_t by, uint32_t key) {
  const struct shard_tunables *tunables = &run->plan.tunables;
  uint64_t asked_ns = run->moves->asked_ns[node][by][key];
  return asked_ns != 0 &&
         run->world->now_ns <= asked_ns + tunables->request_timeout_ns + tunables->repair_window_ns + REPAIR_STORED_NS;
}

void move_taken(struct run *run, uint32_t node, uint32_t number) {
  const struct version *version = &run->oracle.versions[number];
  uint64_t now_ns = run->world->now_ns;
  uint32_t by = version->coordinator - 1;
  const struct standing *here = layouts_since(run->layouts, node, now_ns, 0);
  const struct standing *there = version->coordinator == 0 ? NULL : layouts_since(run->layouts, by, now_ns, 0);
  bool rolled_back = run->oracle.any_destroyed; /* an old copy of a directory knows of older layouts */
  if (here == NULL || there == NULL || node == by || version->stamped_ns <= here->since_ns || rolled_back) {
    return;
  }
  if ((version->taken & ~(UINT64_C(1) << by)) != 0) {
    return; /* it may come from one that had taken it before it knew */
  }
  if (may_be_repair(run, node, by, version->key)) {
    return;
  }
  run->checks.looked[CHECK_move] += 1;
  if (!lives_with(run, here, by) && lives_with(run, there, by) && has_said_something(run, node)) {
    check_fail(run, CHECK_move, version->key,
               "node %" PRIu32 " takes what node %" PRIu32
               " has stamped, which it lives without, and which does not know it",
               node + 1, by + 1);
  }
}

/* -- availability -------------------------------------------------------------------------------- */

/* Has a node that was one from the start come to a base with this one in it? What newcomers themselves live by says
 * nothing before they have been told a base. */
static bool is_well_in(const struct run *run, uint32_t node) {
  for (uint32_t i = 0; i < run->plan.nodes; i++) {
    const struct standing *standing = layouts_since(run->layouts, i, run->world->now_ns, 0);
    if (run->world->nodes[i].alive && standing != NULL &&
        (layouts_get(run->layouts, standing->base)->members >> node & 1) != 0) {
      return true;
    }
  }
  return false;
}

/* Had the key enough replicas by all that any node has lived by since then? Whoever coordinates may be ahead. */
static bool has_enough(const struct run *run, uint32_t key, uint64_t since_ns, uint32_t wanted) {
  for (uint32_t i = 0; i < run->world->node_count; i++) {
    const struct standing *standing = layouts_since(run->layouts, i, since_ns, 0);
    for (uint32_t j = 0; standing != NULL; j++) {
      const struct layout *base = layouts_get(run->layouts, standing->base);
      const struct layout *target = layouts_get(run->layouts, standing->target);
      if (count(base->replicas[key]) < wanted || count(target->replicas[key]) < wanted) {
        return false;
      }
      standing = layouts_since(run->layouts, i, since_ns, j + 1);
    }
  }
  return true;
}

/* Was the node a member in all that it lived by since then? Of one that leaves: was it one when the request came? */
static bool served_all_along(const struct run *run, uint32_t node, uint64_t since_ns) {
  const struct standing *standing = layouts_since(run->layouts, node, since_ns, 0);
  bool leaves = admin_is_removed(run->admin, node) && node < run->plan.nodes;
  if (standing == NULL || (!leaves && (admin_is_removed(run->admin, node) || !is_well_in(run, node)))) {
    return false;
  }
  bool member = false;
  for (uint32_t i = 0; standing != NULL; i++) {
    const struct layout *base = layouts_get(run->layouts, standing->base);
    const struct layout *target = layouts_get(run->layouts, standing->target);
    member = ((leaves ? base->members : base->members & target->members) >> node & 1) != 0;
    if (!member && !leaves) {
      return false;
    }
    standing = layouts_since(run->layouts, node, since_ns, i + 1);
  }
  return member;
}

void move_answered(struct run *run, uint32_t node, uint32_t key, uint64_t sent_ns, uint32_t wanted, enum err err) {
  if (!run->plan.on[FEATURE_calm] || !served_all_along(run, node, sent_ns) || !has_enough(run, key, sent_ns, wanted)) {
    return;
  }
  bool may_send_away = admin_is_removed(run->admin, node);
  bool lacks = err == ERR_QUORUM || err == ERR_TIMEOUT || (err == ERR_NOTMEMBER && !may_send_away);
  run->checks.looked[CHECK_move] += 1;
  if (lacks) {
    check_fail(run, CHECK_move, key, "node %" PRIu32 " answers a request for %s: %s, and nothing but members changes",
               node + 1, run->oracle.keys[key].text, err_code(err));
  }
}
