/* Who a node is by the membership history (paper §4.8.1): also one that has left, whom no ring names any more, and one
 * that has just been added, whom the ring at hand does not name yet.
 */
#ifndef GRAMME_FRONT_ROSTER_H
#define GRAMME_FRONT_ROSTER_H

#include "ring/history.h"

#define ROSTER_MAX (2u * MEMBERS_MAX)

struct identity {
  uint32_t node;
  uint32_t weight;
  uint32_t owned; /* partitions, where it is known from a ring; else 0 */
  uint16_t client_port;
  uint16_t peer_port;
  const char *host; /* these are the history's, or the ring's */
  const char *name;
  const char *zone;
};

struct identity identity_of_member(const struct ring_member *member);
struct identity identity_of_change(const struct change *change);

/* By the latest record that brought it in. False: none that is still known did; who left long ago has no name. */
bool roster_find(const struct history *history, uint32_t node, struct identity *identity);
/* The latest record about the node takes it out. */
bool roster_has_left(const struct history *history, uint32_t node);
/* All nodes that the whole history leaves in; returns how many, at most `capacity`. What the fold passes over (ring.h)
 * is among them too: it may be some nodes more than are members. */
uint32_t roster_present(const struct history *history, struct identity *out, uint32_t capacity);

#endif
