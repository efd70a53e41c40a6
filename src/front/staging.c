#include "front/staging.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "front/roster.h"

#define ADDRESS_BYTES (HOST_MAX_BYTES + 16u)

__attribute__((format(printf, 2, 3))) static bool refuse(char *why, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, STAGING_WHY, format, arguments);
  va_end(arguments);
  return false;
}

/* -- names ---------------------------------------------------------------------------- */

static void address_text(char text[ADDRESS_BYTES], const char *host, uint16_t port) {
  snprintf(text, ADDRESS_BYTES, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}

static bool is_address(const char *word, const char *host, uint16_t port) {
  char text[ADDRESS_BYTES];
  address_text(text, host, port);
  return strcmp(word, text) == 0;
}

static bool is_id(const char *word, uint32_t node) {
  char text[16];
  snprintf(text, sizeof(text), "%08" PRIx32, node);
  return strcmp(word, text) == 0;
}

/* What people call a node: its name, or its id where it has none. */
static void node_text(char text[NAME_MAX_BYTES + 1], const char *name, uint32_t node) {
  if (name[0] != '\0') {
    snprintf(text, NAME_MAX_BYTES + 1, "%s", name);
  } else {
    snprintf(text, NAME_MAX_BYTES + 1, "%08" PRIx32, node);
  }
}

bool staging_names(const struct change *change, const char *word) {
  return is_address(word, change->host, change->client_port) || is_address(word, change->host, change->peer_port) ||
         is_id(word, change->node) || (change->name[0] != '\0' && strcmp(word, change->name) == 0);
}

int staging_find(const struct ring *ring, const char *word, char *why) {
  int found = -1;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const struct ring_member *member = &ring->members[i];
    if (is_id(word, member->node) || is_address(word, member->host, member->client_port)) {
      return (int)i;
    }
    if (member->name[0] == '\0' || strcmp(word, member->name) != 0) {
      continue;
    }
    if (found >= 0) {
      refuse(why, "more than one node is called '%.64s': name it by its id or address (gramme status shows them)",
             word);
      return -1;
    }
    found = (int)i;
  }
  if (found < 0) {
    refuse(why, "there is no member '%.128s': name one by name, id or host:port (gramme status shows them)", word);
  }
  return found;
}

/* -- folding ---------------------------------------------------------------------------- */

static void seal_plan(struct staging *staging) {
  uint8_t seal[8];
  struct writer w = writer_make(seal, sizeof(seal));
  write_u64(&w, history_digest(&staging->history));
  ASSERT(!w.failed);
  staging->plan_id = staging->count == 0 ? 0 : bytes_hash(writer_bytes(&w), staging->history_digest) | 1;
}

/* The last of the staged ones goes to the end of the history. */
static void append_last(struct staging *staging) {
  struct history *history = &staging->history;
  struct change *change = &staging->staged[staging->count - 1];
  ASSERT(staging->count > 0);
  ASSERT(history->count < HISTORY_MAX);
  change->time = 1 + (history->count > 0 ? history->changes[history->count - 1].time : history->snapshot.time);
  change->issuer = staging->self;
  enum err err = history_add(history, change);
  ASSERT(err == ERR_OK);
  ring_fold_from(&staging->after, &staging->after, history, history_length(history));
  seal_plan(staging);
}

/* And is taken back. */
static void drop_last(struct staging *staging) {
  struct history *history = &staging->history;
  ASSERT(staging->count > 0);
  staging->count -= 1;
  history->count -= 1;
  ASSERT(history->count == staging->known + staging->count);
  ring_fold_from(&staging->after, &staging->before, history, history_length(history));
  seal_plan(staging);
}

static void take_history(struct staging *staging, const struct history *known, const struct ring *near) {
  history_copy(&staging->history, known);
  staging->known = known->count;
  staging->history_digest = history_digest(known);
  staging->count = 0;
  ring_fold_from(&staging->before, near, known, history_length(known));
  staging->after = staging->before;
  seal_plan(staging);
  ASSERT(staging->before.member_count > 0);
}

void staging_init(struct staging *staging, uint32_t self, const struct history *known, const struct ring *near) {
  ASSERT(self != 0);
  staging->self = self;
  take_history(staging, known, near);
}

/* The last word: what the ring rules pass over must not be shown as if it were done. */
static bool stage(struct staging *staging, const struct change *change, char *why) {
  if (staging->count == CHANGES_PER_COMMIT_MAX) {
    return refuse(why, "%u changes are staged, as many as one commit takes: commit them first", CHANGES_PER_COMMIT_MAX);
  }
  if (staging->known + staging->count >= HISTORY_MAX) {
    return refuse(why, "the cluster's history of members is full (%u changes)", HISTORY_MAX);
  }
  staging->staged[staging->count] = *change;
  staging->count += 1;
  append_last(staging);
  bool here = ring_find(&staging->after, change->node) >= 0;
  bool done = change->kind == CHANGE_REMOVE ? !here : here;
  if (!done) {
    drop_last(staging);
    return refuse(why, "the rules of the ring do not allow it");
  }
  return true;
}

/* -- the changes ---------------------------------------------------------------------------- */

/* `leaving`: the member whose place it takes, and often its name and address, too; 0 none. */
static bool check_newcomer(const struct staging *staging, const struct change *wish, uint32_t leaving, char *why) {
  char address[ADDRESS_BYTES];
  char name[NAME_MAX_BYTES + 1];
  const struct ring *ring = &staging->after;
  address_text(address, wish->host, wish->client_port);
  node_text(name, wish->name, wish->node);
  if (ring_find(&staging->before, wish->node) >= 0) {
    return refuse(why, "%s (%s) is a member already", name, address);
  }
  if (ring_find(ring, wish->node) >= 0) {
    return refuse(why, "%s (%s) is staged already: ABORT drops all that is staged", name, address);
  }
  if (roster_has_left(&staging->history, wish->node)) {
    return refuse(why,
                  "%s (%s) was a member before and was taken out: start it with an empty data directory, then add it",
                  name, address);
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const struct ring_member *member = &ring->members[i];
    if (member->node == leaving) {
      continue;
    }
    if (strcmp(member->host, wish->host) == 0 && member->client_port == wish->client_port) {
      return refuse(why, "%s is the address of the member %s, by another id: remove or replace that first", address,
                    member->name);
    }
    if (wish->name[0] != '\0' && strcmp(member->name, wish->name) == 0) {
      return refuse(why, "a member is called %s already (%s:%u): give the new node another name in its configuration",
                    wish->name, member->host, (unsigned)member->client_port);
    }
  }
  return true;
}

bool staging_add(struct staging *staging, const struct change *wish, char *why) {
  if (!check_newcomer(staging, wish, 0, why)) {
    return false;
  }
  if (wish->weight < 1 || wish->weight > WEIGHT_MAX) {
    return refuse(why, "WEIGHT must be from 1 to %u", WEIGHT_MAX);
  }
  if (staging->after.member_count >= MEMBERS_MAX) {
    return refuse(why, "the cluster has %u nodes, as many as it may have", MEMBERS_MAX);
  }
  struct change change = *wish;
  change.kind = CHANGE_ADD;
  change.partition_count = 0;
  change.old = 0;
  return stage(staging, &change, why);
}

/* A member that is to change. One that is itself only staged can not be. */
static const struct ring_member *find_member(const struct staging *staging, const char *word, char *why) {
  int index = staging_find(&staging->after, word, why);
  if (index < 0) {
    char other[STAGING_WHY];
    if (staging_find(&staging->before, word, other) >= 0) {
      refuse(why, "'%.64s' is staged to leave already: ABORT drops all that is staged", word);
    }
    return NULL;
  }
  const struct ring_member *member = &staging->after.members[index];
  if (ring_find(&staging->before, member->node) < 0) {
    refuse(why, "'%.64s' is only staged to be added: ABORT drops all that is staged", word);
    return NULL;
  }
  return member;
}

bool staging_remove(struct staging *staging, const char *node, char *why) {
  const struct ring_member *member = find_member(staging, node, why);
  if (member == NULL) {
    return false;
  }
  if (staging->after.member_count == 1) {
    return refuse(why, "%s would be the last member: a cluster has one at least", member->name);
  }
  struct change change = {.kind = CHANGE_REMOVE, .node = member->node};
  return stage(staging, &change, why);
}

bool staging_replace(struct staging *staging, const char *old, const struct change *wish, char *why) {
  const struct ring_member *member = find_member(staging, old, why);
  if (member == NULL) {
    return false;
  }
  if (!check_newcomer(staging, wish, member->node, why)) {
    return false;
  }
  struct change change = *wish;
  change.kind = CHANGE_REPLACE;
  change.partition_count = 0;
  change.old = member->node;
  change.weight = member->weight;
  if (change.zone[0] == '\0') {
    snprintf(change.zone, sizeof(change.zone), "%s", member->zone_name);
  }
  return stage(staging, &change, why);
}

bool staging_reweigh(struct staging *staging, const char *node, uint32_t weight, char *why) {
  const struct ring_member *member = find_member(staging, node, why);
  if (member == NULL) {
    return false;
  }
  if (weight < 1 || weight > WEIGHT_MAX) {
    return refuse(why, "a weight is from 1 to %u", WEIGHT_MAX);
  }
  if (member->weight == weight) {
    return refuse(why, "%s has weight %" PRIu32 " already", member->name, weight);
  }
  struct change change = {.kind = CHANGE_REWEIGH, .node = member->node, .weight = weight};
  return stage(staging, &change, why);
}

/* -- looking again ---------------------------------------------------------------------------- */

static bool stage_again(struct staging *staging, const struct change *change, char *why) {
  char word[16];
  switch (change->kind) {
  case CHANGE_FOUND:
    break;
  case CHANGE_ADD:
    return staging_add(staging, change, why);
  case CHANGE_REMOVE:
    snprintf(word, sizeof(word), "%08" PRIx32, change->node);
    return staging_remove(staging, word, why);
  case CHANGE_REWEIGH:
    snprintf(word, sizeof(word), "%08" PRIx32, change->node);
    return staging_reweigh(staging, word, change->weight, why);
  case CHANGE_REPLACE:
    snprintf(word, sizeof(word), "%08" PRIx32, change->old);
    return staging_replace(staging, word, change, why);
  }
  ASSERT(false); /* nobody stages a FOUND */
  return false;
}

uint32_t staging_refresh(struct staging *staging, const struct history *known, const struct ring *near, char *why) {
  struct change staged[CHANGES_PER_COMMIT_MAX];
  uint32_t count = staging->count;
  uint32_t dropped = 0;
  char reason[STAGING_WHY];
  ASSERT(count <= CHANGES_PER_COMMIT_MAX);
  memcpy(staged, staging->staged, count * sizeof(staged[0]));
  take_history(staging, known, near);
  for (uint32_t i = 0; i < count; i++) {
    if (!stage_again(staging, &staged[i], reason)) {
      if (dropped == 0) {
        snprintf(why, STAGING_WHY, "%s", reason);
      }
      dropped += 1;
    }
  }
  return dropped;
}

void staging_compare(struct staging *staging, uint32_t n) {
  ASSERT(staging->before.member_count > 0);
  ASSERT(staging->after.member_count > 0);
  ring_compare(&staging->before, &staging->after, n, &staging->moves);
}
