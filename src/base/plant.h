/* Planted bugs: what proves that the simulator's checkers see anything.
 *
 * Only the program gramme-sim-plant compiles the core with GRAMME_PLANT; everywhere else PLANTED is the constant
 * false and leaves nothing behind. A hook is one condition in one line, beside the code that it spoils. */
#ifndef GRAMME_BASE_PLANT_H
#define GRAMME_BASE_PLANT_H

#include <stdbool.h>

/*        name                 checker   what is wrong                                                                */
/* clang-format off */
#define PLANT_TABLE(X)                                                                                 \
  X(object_forgotten, acked, "a crash loses an object that had been synced")                         \
  X(unsynced, acked, "a commit is acknowledged as durable without having been synced")                 \
  X(early_ack, quorum, "a write is acknowledged as durable before it is on disk")                      \
  X(w_across, quorum, "a put counts its answers over both live layouts together, not in each")         \
  X(messages_counted, quorum, "a quorum counts messages rather than nodes")                            \
  X(room_made, refused, "a put that is refused for too many siblings makes room all the same")         \
  X(second_answer, once, "a put that has been answered is answered again by the next acknowledgement") \
  X(forward_twice, once, "a doubled forward is a second put")                                          \
  X(dot_reused, causal, "a node takes no new incarnation after an unclean restart")                    \
  X(context_claims, causal, "a put's context claims what its writer has not seen")                     \
  X(repair_drops, causal, "a read repair replaces what the replica holds by what was read")            \
  X(stale_sibling, causal, "a put leaves the siblings that its context covers")                        \
  X(no_repair, converge, "reads do not repair")                                                        \
  X(early_drop, hints, "a hint is deleted when its owner has answered, whatever it said")              \
  X(hint_leak, hints, "the hints of an owner that was away are not delivered once it is back")         \
  X(move_unchecked, move, "what was copied from one node counts as held, unchecked")                   \
  X(move_early, move, "a node says that it holds what it was given before it does")                    \
  X(stray_early, move, "a stray is deleted when the first of its replicas holds it")                   \
  X(arrival_order, ring, "the ring depends on who folds the history")                                  \
  X(blob_leak, bounds, "a request does not give its object back")                                      \
  X(marks_skip, move, "a node says that it holds the target before all know the target")                \
  X(reads_early, move, "a node reads by the target before all hold it")                                \
  X(fence_open, move, "nodes listen to one that was removed and does not know it")                     \
  X(starves, live, "background work is granted nothing while clients wait long")                       \
  X(mend_one_way, converge, "what only the other replica has is not fetched")                          \
  X(loss_unnoticed, move, "a node that has lost its data answers as if it had all")                 \
  X(loss_imagined, whole, "what a member tells in its present life is remembered as of an earlier one") \
  X(loss_answers, move, "a node answers for what it has lost before it has it back")                  \
  X(damage_served, whole, "what is read is not compared with its checksum")                           \
  X(damage_absent, move, "a damaged record counts as one that never was")                            \
  X(tree_stale, tree, "a merge does not change the Merkle tree")                                       \
  X(fold_early, ring, "a node folds away records that others may not know yet")                        \
  X(hint_outlives, acked, "a low-water mark does not count hints, which take long")                    \
  X(reap_never, clean, "the reap mark is not told")                                                    \
  X(never_up, live, "a peer that was taken for down stays down until it connects again")               \
  X(no_timer, once, "a get has no timer")                                                              \
  X(assertion, assert, "an assertion that does not always hold")
/* clang-format on */

#ifdef GRAMME_PLANT
enum plant {
  PLANT_none,
#define X(name, checker, sentence) PLANT_##name,
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
