/* Planted bugs: what proves that the simulator's checkers see anything.
 *
 * Only the program gramme-sim-plant compiles the core with GRAMME_PLANT; everywhere else PLANTED is the constant
 * false and leaves nothing behind. A hook is one condition in one line, beside the code that it spoils. */
#ifndef GRAMME_BASE_PLANT_H
#define GRAMME_BASE_PLANT_H

#include <stdbool.h>

/* Name, checker, where it is looked for: in runs as drawn, where members change, where disks lose something, where
 * both happen, or where deletions are forgotten all the time; what is wrong. */
/* clang-format off */
#define PLANT_TABLE(X)                                                                                          \
  X(object_forgotten, acked, any, "a crash loses an object that had been synced")                               \
  X(unsynced, acked, any, "a commit is acknowledged as durable without having been synced")                     \
  X(early_ack, quorum, any, "a write is acknowledged as durable before it is on disk")                          \
  X(w_across, quorum, any, "a put counts its answers over both live layouts together, not in each")             \
  X(messages_counted, quorum, any, "a quorum counts messages rather than nodes")                                \
  X(room_made, refused, any, "a put that is refused for too many siblings makes room all the same")             \
  X(second_answer, once, any, "a put that has been answered is answered again by the next acknowledgement")     \
  X(forward_twice, once, any, "a doubled forward is a second put")                                              \
  X(dot_reused, causal, any, "a node takes no new incarnation after an unclean restart")                        \
  X(context_claims, causal, any, "a put's context claims what its writer has not seen")                         \
  X(repair_drops, causal, any, "a read repair replaces what the replica holds by what was read")                \
  X(stale_sibling, causal, any, "a put leaves the siblings that its context covers")                            \
  X(no_repair, converge, any, "reads do not repair")                                                            \
  X(early_drop, hints, any, "a hint is deleted when its owner has answered, whatever it said")                  \
  X(hint_leak, hints, any, "the hints of an owner that was away are not delivered once it is back")             \
  X(move_unchecked, move, changes, "what was copied from one node counts as held, unchecked")                   \
  X(move_early, move, changes, "a node says that it holds what it was given before it does")                    \
  X(stray_early, move, changes, "a stray is deleted when the first of its replicas holds it")                   \
  X(arrival_order, ring, changes, "the ring depends on who folds the history")                                  \
  X(blob_leak, bounds, any, "a request does not give its object back")                                          \
  X(marks_skip, move, changes, "a node says that it holds the target before all know the target")               \
  X(reads_early, move, changes, "a node reads by the target before all hold it")                                \
  X(fence_open, move, changes, "nodes listen to one that was removed and does not know it")                     \
  X(starves, live, any, "background work is granted nothing while clients wait long")                           \
  X(mend_one_way, converge, any, "what only the other replica has is not fetched")                              \
  X(loss_unnoticed, move, losses, "a node that has lost its data answers as if it had all")                     \
  X(loss_imagined, whole, losses, "what a member tells in its present life is remembered as of an earlier one") \
  X(loss_answers, move, losses, "a node answers for what it has lost before it has it back")                    \
  X(less_is_late, live, amidst, "what a node says once it has lost what it had said is taken to be late")        \
  X(back_heard, move, amidst, "one that has lost the live layouts serves before it knows them again")            \
  X(damage_served, whole, losses, "what is read is not compared with its checksum")                             \
  X(damage_absent, move, losses, "a damaged record counts as one that never was")                               \
  X(tree_stale, tree, any, "a merge does not change the Merkle tree")                                           \
  X(fold_early, ring, changes, "a node folds away records that others may not know yet")                        \
  X(hint_outlives, acked, any, "a low-water mark does not count hints, which take long")                        \
  X(reap_timer, dead, deletions, "a deletion is forgotten when it is two seconds old, wherever it has got to")  \
  X(reap_never, clean, any, "the reap mark is not told")                                                        \
  X(never_up, live, any, "a peer that was taken for down stays down until it connects again")                   \
  X(no_timer, once, any, "a get has no timer")                                                                  \
  X(assertion, assert, any, "an assertion that does not always hold")
/* clang-format on */

#ifdef GRAMME_PLANT
enum plant {
  PLANT_none,
#define X(name, checker, where, sentence) PLANT_##name,
  PLANT_TABLE(X)
#undef X
      PLANT_COUNT
};
extern enum plant plant_active;
#define PLANTED(name) (plant_active == PLANT_##name)
#else
#define PLANTED(name) false
#endif

#endif
