/* What has to hold between all nodes of a world of membership (member_world.h) at any time, seen from outside. */
#ifndef GRAMME_TEST_SUPPORT_MEMBER_ORACLE_H
#define GRAMME_TEST_SUPPORT_MEMBER_ORACLE_H

#include "support/member_world.h"

#define BIT(index) (1u << (index))
#define FIRST(count) ((1u << (count)) - 1u)

static inline struct change removal_of(uint32_t index) {
  return wish_of(CHANGE_REMOVE, index);
}

static inline struct change reweighing_of(uint32_t index, uint32_t weight) {
  struct change change = wish_of(CHANGE_REWEIGH, index);
  change.weight = weight;
  return change;
}

static inline uint64_t writes_of(uint32_t index, uint64_t *target) {
  struct step step = view_of(index);
  *target = step.ring->digest;
  return step.base->digest;
}

static inline bool writes_by(uint32_t index, uint64_t layout) {
  uint64_t target = 0;
  uint64_t base = writes_of(index, &target);
  return layout == base || layout == target;
}

/* Whoever reads finds what anyone writes: the layout by which one reads is among those by which each other one writes.
 * One that was removed may lag behind, but then nobody else listens to it. */
static inline void check_reads_meet_writes(void) {
  for (uint32_t p = 0; p < world.node_count; p++) {
    if (!world.nodes[p].alive || !member_is_member(member_of(p))) {
      continue;
    }
    uint64_t layout = view_of(p).reading->digest;
    for (uint32_t q = 0; q < world.node_count; q++) {
      if (p == q || !world.nodes[q].alive || !member_is_member(member_of(q)) || writes_by(q, layout)) {
        continue;
      }
      bool p_removed = is_removed_anywhere(p);
      bool q_removed = is_removed_anywhere(q);
      for (uint32_t r = 0; r < world.node_count && (p_removed || q_removed); r++) {
        if (r == p || r == q || !world.nodes[r].alive || is_removed_anywhere(r)) {
          continue;
        }
        /* Both want a quorum: of what one reads by, and of what the other writes by. */
        bool counts = (!p_removed || ring_find(view_of(p).reading, world.nodes[r].id) >= 0) &&
                      (!q_removed || ring_find(view_of(q).base, world.nodes[r].id) >= 0);
        bool heard =
            counts && (!p_removed || allows(r, p, MESSAGE_READ)) && (!q_removed || allows(r, q, MESSAGE_WRITE));
        if (heard) {
          print_error("seed %llu: node %u reads by what node %u does not write, and node %u listens\n",
                      (unsigned long long)world.seed, p, q, r);
        }
        assert_false(heard);
      }
      if (!p_removed && !q_removed) {
        print_error("seed %llu at %llu ms: node %u reads by what node %u does not write\n",
                    (unsigned long long)world.seed, (unsigned long long)(world.now_ns / MS), p, q);
      }
      assert_true(p_removed || q_removed);
    }
  }
}

static inline void run_checked(uint64_t duration_ns) {
  for (uint64_t passed = 0; passed < duration_ns; passed += 10 * MS) {
    run(10 * MS);
    check_reads_meet_writes();
  }
}

#endif
