/* What is claimed of Gramme, and how often each claim was looked at and did not hold. One checker is one file of
 * check/, with its claim in words at its head. A checker that had nothing to look at in a run says so by its count. */
#ifndef GRAMME_SIM_CHECK_H
#define GRAMME_SIM_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

struct run;
struct reply;
struct message;
struct siblings;

/* clang-format off */
#define CHECK_TABLE(X)                                                        \
  X(acked, "nothing acknowledged is lost")                                    \
  X(refused, "a refused write destroys nothing")                              \
  X(quorum, "what was acknowledged had its copies")                           \
  X(once, "each request is answered once, each put is one version")           \
  X(causal, "siblings if and only if concurrent; no false overwrite")         \
  X(converge, "after healing all replicas are equal bytes")                   \
  X(hints, "hints reach their owner before they go, and have an effect once") \
  X(ring, "all nodes agree on members, ring and buckets")                     \
  X(move, "membership changes lose, hide and refuse nothing, and leave nothing behind") \
  X(whole, "damage is never shown or passed on, is healed, and is not imagined")              \
  X(tree, "a node's Merkle tree is that of its store")                       \
  X(dead, "what was deleted, and forgotten, does not come back")              \
  X(clean, "after healing nothing is left of what was deleted")               \
  X(bounds, "tables and memory are empty when nothing is under way")          \
  X(live, "after healing all requests are answered")                          \
  X(assert, "no assertion of the core fails")
/* clang-format on */

enum check {
#define X(name, claim) CHECK_##name,
  CHECK_TABLE(X)
#undef X
      CHECK_COUNT
};

#define CHECK_NO_KEY UINT32_MAX
#define CHECK_TEXT_BYTES 240u

struct checks {
  uint64_t looked[CHECK_COUNT];
  uint64_t failed[CHECK_COUNT];
  uint32_t key[CHECK_COUNT]; /* concerned by the first failure */
  char text[CHECK_COUNT][CHECK_TEXT_BYTES];
};

const char *check_name(enum check check);
const char *check_claim(enum check check);
void check_fail(struct run *run, enum check check, uint32_t key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* -- the checkers -------------------------------------------------------------------------- */
/* `before` and `after`: what a node holds of a key. */
void causal_committed(struct run *run, uint32_t node, uint32_t key, const struct siblings *before,
                      const struct siblings *after);
void causal_read(struct run *run, uint32_t key, const struct siblings *seen);
void causal_judge(struct run *run, uint32_t key, const struct siblings *final);
void acked_judge(struct run *run, uint32_t key, const struct siblings *final);
void refused_put(struct run *run, uint32_t number);
void refused_judge(struct run *run, uint32_t key, const struct siblings *final);
void quorum_put(struct run *run, uint32_t number, uint64_t sent_ns);
void converge_judge(struct run *run, uint32_t key);
void hints_sent(struct run *run, uint32_t from, uint32_t to, const struct message *message);
void hints_received(struct run *run, uint32_t node, uint32_t from, const struct message *message);
void hints_dropped(struct run *run, uint32_t keeper, uint32_t owner, uint32_t key, const struct siblings *hint);
void hints_judge(struct run *run);
/* Would it still have all these, which `from` has given it, after a crash, or what superseded them? */
bool hints_node_has(struct run *run, uint32_t node, uint32_t from, uint32_t key, const struct siblings *object,
                    uint32_t *missing);
struct moves *moves_new(void);
void moves_free(struct moves *moves);
/* A node that the target layout of `node` gives the key to, and that has not got all durably that `from` had;
 * UINT32_MAX: none. */
uint32_t move_find_without(struct run *run, uint32_t node, uint32_t from, uint32_t key, const struct siblings *object,
                           uint32_t *missing);
/* Does `from`, which was removed and taken for dead, bring `node` a version that nobody else has and that is older than
 * the floor there? That one is dead: removing a node that is down gives up what only that node has (docs/adr/0008). */
bool move_is_given_up(struct run *run, uint32_t from, uint32_t node, uint32_t number);
/* The same, where any member brings its floor to it. */
bool move_is_given_up_by_any(struct run *run, uint32_t from, uint32_t number);
void move_dropped(struct run *run, uint32_t node, uint32_t key, const struct siblings *known);
void move_stopped(struct run *run, uint32_t node);
void move_judge(struct run *run, uint32_t key);
/* A node takes a version that it has not got. */
void move_taken(struct run *run, uint32_t node, uint32_t number);
void move_sent(struct run *run, uint32_t from, uint32_t to, const struct message *message);
void move_put_acked(struct run *run, uint32_t number);
void move_read(struct run *run, uint32_t node, uint32_t key, uint64_t sent_ns, uint32_t primaries,
               const struct siblings *seen);
void move_answered(struct run *run, uint32_t node, uint32_t key, uint64_t sent_ns, uint32_t wanted, enum err err);
void ring_judge(struct run *run);
void whole_saw(struct run *run, uint32_t node, uint32_t key, const char *what, struct bytes object);
void whole_judge(struct run *run);
/* Of a node that is running, and may be about to stop. */
void whole_past_judge(struct run *run, uint32_t node);
void tree_node_judge(struct run *run, uint32_t node);
void tree_judge(struct run *run);
/* An owner's object lacks what it had: deletions that it may have forgotten are noted. */
void dead_forgotten(struct run *run, uint32_t node, uint32_t key, const struct siblings *before,
                    const struct siblings *after);
void dead_committed(struct run *run, uint32_t node, uint32_t key, const struct siblings *before,
                    const struct siblings *after);
void dead_read(struct run *run, uint32_t node, uint32_t key, const struct siblings *seen);
bool clean_is_reached(const struct run *run);
void clean_judge(struct run *run);
void bounds_judge(struct run *run);
void bounds_stop(struct run *run); /* stops all nodes */

#endif
