#include "front/roster.h"

#include "base/assert.h"

struct identity identity_of_member(const struct ring_member *member) {
  return (struct identity){.node = member->node,
                           .weight = member->weight,
                           .owned = member->owned,
                           .client_port = member->client_port,
                           .peer_port = member->peer_port,
                           .host = member->host,
                           .name = member->name,
                           .zone = member->zone_name};
}

struct identity identity_of_change(const struct change *change) {
  return (struct identity){.node = change->node,
                           .weight = change->weight,
                           .client_port = change->client_port,
                           .peer_port = change->peer_port,
                           .host = change->host,
                           .name = change->name,
                           .zone = change->zone};
}

static bool brings(const struct change *change) {
  return change->kind == CHANGE_FOUND || change->kind == CHANGE_ADD || change->kind == CHANGE_REPLACE;
}

/* The node that a record takes out, or 0. */
static uint32_t taken_by(const struct change *change) {
  return change->kind == CHANGE_REMOVE ? change->node : change->kind == CHANGE_REPLACE ? change->old : 0;
}

bool roster_find(const struct history *history, uint32_t node, struct identity *identity) {
  const struct ring *folded = &history->snapshot.ring;
  ASSERT(history->count <= HISTORY_MAX);
  for (uint32_t i = history->count; i > 0; i--) {
    const struct change *change = &history->changes[i - 1];
    if (brings(change) && change->node == node) {
      *identity = identity_of_change(change);
      return true;
    }
  }
  for (uint32_t i = 0; folded->records > 0 && i < folded->member_count; i++) {
    if (folded->members[i].node == node) {
      *identity = identity_of_member(&folded->members[i]);
      identity->owned = 0; /* by then */
      return true;
    }
  }
  return false;
}

bool roster_has_left(const struct history *history, uint32_t node) {
  ASSERT(node != 0);
  return history_knows(history, node) == KNOWN_GONE;
}

static void take_out(struct identity *out, uint32_t *count, uint32_t node) {
  for (uint32_t i = 0; i < *count; i++) {
    if (out[i].node == node) {
      *count -= 1;
      out[i] = out[*count];
      return;
    }
  }
}

uint32_t roster_present(const struct history *history, struct identity *out, uint32_t capacity) {
  const struct ring *folded = &history->snapshot.ring;
  uint32_t count = 0;
  ASSERT(history->count <= HISTORY_MAX);
  for (uint32_t i = 0; folded->records > 0 && i < folded->member_count && count < capacity; i++) {
    out[count] = identity_of_member(&folded->members[i]);
    out[count].owned = 0;
    count += 1;
  }
  for (uint32_t i = 0; i < history->count; i++) {
    const struct change *change = &history->changes[i];
    if (taken_by(change) != 0) {
      take_out(out, &count, taken_by(change));
    }
    if (brings(change)) {
      take_out(out, &count, change->node);
      if (count < capacity) {
        out[count] = identity_of_change(change);
        count += 1;
      }
    }
  }
  return count;
}
