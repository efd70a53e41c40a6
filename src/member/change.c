/* Changes of membership that an administrator commits (paper §4.8.1): all of them or none, on the ring that they were
 * planned on. */
#include <string.h>

#include "base/assert.h"
#include "member/state.h"

bool change_is_active(const struct member *member) {
  return member->changing.active;
}

static void reply(struct step *step, uint64_t token, enum err err, const char *why) {
  struct reply *answer = step_reply(step, token);
  ASSERT(err == ERR_OK || why != NULL);
  answer->err = err;
  answer->why = why;
}

/* -- does it make sense? --------------------------------------------------------------- */

/* The members as they will be after the changes looked at so far. */
struct roll {
  const struct member *member;
  const struct command *command;
  uint32_t count;
  uint32_t nodes[MEMBERS_MAX + CHANGES_PER_COMMIT_MAX];
};

static uint32_t roll_find(const struct roll *roll, uint32_t node) {
  uint32_t place = 0;
  while (place < roll->count && roll->nodes[place] != node) {
    place += 1;
  }
  return place;
}

static bool roll_has(const struct roll *roll, uint32_t node) {
  ASSERT(roll->count <= MEMBERS_MAX + CHANGES_PER_COMMIT_MAX);
  return roll_find(roll, node) < roll->count;
}

static void roll_take(struct roll *roll, uint32_t node) {
  uint32_t place = roll_find(roll, node);
  ASSERT(place < roll->count);
  roll->count -= 1;
  roll->nodes[place] = roll->nodes[roll->count];
}

static bool same_text(const char *a, const char *b) {
  uint32_t i = 0;
  while (a[i] != '\0' && a[i] == b[i]) {
    i += 1;
  }
  return a[i] == b[i];
}

/* Does a member that stays stand at the newcomer's address, or another newcomer before it? */
static bool roll_has_address(const struct roll *roll, const struct change *change, uint32_t index) {
  const struct ring *ring = roll->member->newest;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const struct ring_member *known = &ring->members[i];
    if (roll_has(roll, known->node) && known->peer_port == change->peer_port && same_text(known->host, change->host)) {
      return true;
    }
  }
  for (uint32_t i = 0; i < index; i++) {
    const struct change *other = &roll->command->changes[i];
    bool brings = other->kind == CHANGE_ADD || other->kind == CHANGE_REPLACE;
    if (brings && roll_has(roll, other->node) && other->peer_port == change->peer_port &&
        same_text(other->host, change->host)) {
      return true;
    }
  }
  return false;
}

/* NULL, or why the node may not come in. */
static const char *refuse_newcomer(const struct roll *roll, const struct change *change, uint32_t index) {
  if (change->node == 0 || roll_has(roll, change->node)) {
    return "the node to be added is a member already";
  }
  if (history_knows(&roll->member->records.history, change->node) == KNOWN_GONE) {
    return "the node was removed from this cluster before; start it with an empty data directory to add it as a new "
           "node";
  }
  if (roll_has_address(roll, change, index)) {
    return "a member has the address of the node to be added";
  }
  return NULL;
}

/* NULL, or why not; puts it on the roll. */
static const char *refuse_change(struct roll *roll, uint32_t index) {
  const struct change *change = &roll->command->changes[index];
  const char *why = NULL;
  switch (change->kind) {
  case CHANGE_ADD:
    why = refuse_newcomer(roll, change, index);
    if (why == NULL && roll->count >= MEMBERS_MAX) {
      why = "the cluster has as many nodes as it may have";
    }
    if (why == NULL) {
      roll->nodes[roll->count] = change->node;
      roll->count += 1;
    }
    return why;
  case CHANGE_REMOVE:
    if (!roll_has(roll, change->node)) {
      return "the node to be removed is not a member";
    }
    if (roll->count == 1) {
      return "the last member can not be removed";
    }
    roll_take(roll, change->node);
    return NULL;
  case CHANGE_REPLACE:
    if (!roll_has(roll, change->old)) {
      return "the node to be replaced is not a member";
    }
    roll_take(roll, change->old);
    why = refuse_newcomer(roll, change, index);
    if (why == NULL) {
      roll->nodes[roll->count] = change->node;
      roll->count += 1;
    }
    return why;
  case CHANGE_REWEIGH:
    return roll_has(roll, change->node) ? NULL : "the node to be reweighed is not a member";
  case CHANGE_FOUND:
    return "a cluster is founded once";
  }
  return "a change of no known kind";
}

/* Does one stay of those that hold what there is? With all of them removed nobody could tell newcomers what was agreed
 * upon before they came (docs/adr/0005). */
static bool roll_keeps_base(const struct roll *roll) {
  const struct ring *base = roll->member->base;
  bool keeps = !roll->member->has_base;
  for (uint32_t i = 0; i < base->member_count && !keeps; i++) {
    keeps = roll_has(roll, base->members[i].node);
  }
  return keeps;
}

static const char *refuse(const struct member *member, const struct command *command) {
  const struct records *records = &member->records;
  const struct ring *ring = member->newest;
  struct roll roll = {.member = member, .command = command};
  if (command->change_count == 0 || command->change_count > CHANGES_PER_COMMIT_MAX) {
    return "too many changes at a time, or none";
  }
  if (ring_find(ring, member->self) < 0) {
    return "this node is being removed from the cluster; ask another member";
  }
  if (command->history_digest != records->digest) {
    return "the ring has changed since this was planned; look at the plan again";
  }
  if (command->change_count > HISTORY_MAX - records->staged.count) {
    return "the cluster's history of members is full";
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    roll.nodes[i] = ring->members[i].node;
  }
  roll.count = ring->member_count;
  ASSERT(roll.count <= MEMBERS_MAX);
  uint32_t removals = barrier_removed(member);
  for (uint32_t i = 0; i < command->change_count; i++) {
    const enum change_kind kind = (enum change_kind)command->changes[i].kind;
    const char *why = refuse_change(&roll, i);
    if (why != NULL) {
      return why;
    }
    removals += kind == CHANGE_REMOVE || kind == CHANGE_REPLACE ? 1 : 0;
  }
  if (!roll_keeps_base(&roll)) {
    return "this would remove the last of the nodes that hold the data; add others, and remove it when partitions have "
           "moved";
  }
  return removals > REMOVALS_MAX
             ? "no more than 64 nodes can be leaving at a time; wait until those that were removed before are out"
             : NULL;
}

/* -- staging and committing ------------------------------------------------------------ */

static bool is_ours(const struct member *member, const struct change *change) {
  const struct changing *changing = &member->changing;
  return change->issuer == member->self && change->time >= changing->first_time &&
         change->time - changing->first_time < changing->count;
}

/* Takes back what has been staged; what others have staged meanwhile stays. */
static void unstage(struct member *member) {
  struct history *staged = &member->records.staged;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < staged->count; i++) {
    if (!is_ours(member, &staged->changes[i])) {
      staged->changes[kept] = staged->changes[i];
      kept += 1;
    }
  }
  ASSERT(kept <= staged->count);
  staged->count = kept;
  member->records.tell = false;
}

static enum err stage(struct member *member, struct step *step, const struct command *command) {
  struct records *records = &member->records;
  uint64_t time = records_next_time(member, step);
  ASSERT(!member->changing.active);
  member->changing =
      (struct changing){.active = true, .token = command->token, .first_time = time, .count = command->change_count};
  for (uint32_t i = 0; i < command->change_count; i++) {
    struct change change = command->changes[i];
    change.time = time + i;
    change.issuer = member->self;
    change.partition_count = 0;
    enum err err = history_add(&records->staged, &change);
    if (err != ERR_OK) {
      return err;
    }
  }
  return ERR_OK;
}

void member_change(struct member *member, struct step *step, const struct command *command) {
  struct records *records = &member->records;
  ASSERT(command->kind == COMMAND_CHANGE);
  ASSERT(command->changes != NULL || command->change_count == 0);
  const char *why = refuse(member, command);
  if (why != NULL) {
    reply(step, command->token, ERR_REFUSED, why);
    return;
  }
  if (!member->life.sure) { /* an old copy would put it before changes that all others know */
    reply(step, command->token, ERR_BUSY,
          "this node has only just started, and has not heard from all members yet; try again");
    return;
  }
  if (member->changing.active || records->staged_dirty || records->committing != NULL) {
    reply(step, command->token, ERR_BUSY, "another change of membership is being stored; try again");
    return;
  }
  enum err err = stage(member, step, command);
  if (err == ERR_OK) {
    records->staged_dirty = true;
    records->tell = true;
    records_commit(member, step);
    err = records->committing == NULL && member->layout.stored ? ERR_NOMEM : ERR_OK;
  }
  if (err != ERR_OK) {
    unstage(member);
    records->staged_dirty = false;
    member->changing.active = false;
    reply(step, command->token, err,
          err == ERR_NOMEM ? err_text(err) : "a name, an address or a weight is out of range");
  }
}

void change_committed(struct member *member, struct step *step, enum err err) {
  struct changing *changing = &member->changing;
  if (!changing->active) {
    return;
  }
  if (err == ERR_OK) {
    ASSERT(member->records.digest != 0);
    reply(step, changing->token, ERR_OK, NULL);
  } else {
    unstage(member);
    member->records.staged_dirty = true; /* the store may hold what is being taken back */
    reply(step, changing->token, err, err_text(err));
  }
  changing->active = false;
}
