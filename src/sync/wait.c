/* Clients that wait until nothing differs. */
#include "base/assert.h"
#include "sync/state.h"

#define LOOK_NS UINT64_C(50000000) /* between looks at what has been settled */

bool sync_is_waited_for(const struct sync *sync) {
  return sync->waiter_count > 0;
}

void sync_wait(struct sync *sync, struct step *step, const struct command *command) {
  ASSERT(command->kind == COMMAND_WAITSYNC);
  uint32_t at = 0;
  while (at < SYNC_WAITERS_MAX && sync->waiters[at].ask != 0) {
    at += 1;
  }
  if (at == SYNC_WAITERS_MAX) {
    COUNT(step->stats->busy);
    step_reply(step, command->token)->err = ERR_BUSY;
    return;
  }
  struct waiter *waiter = &sync->waiters[at];
  *waiter = (struct waiter){.token = command->token, .ask = sync_ask(sync, step->now_ns)};
  waiter->due_ns = command->timeout_ns > UINT64_MAX - step->now_ns ? UINT64_MAX : step->now_ns + command->timeout_ns;
  sync->waiter_count += 1;
  sync->waiters_due_ns = step->now_ns;
}

void sync_tell_waiters(struct sync *sync, struct step *step, uint32_t least) {
  uint32_t settled = least < sync->settled ? least : sync->settled;
  sync->waiters_due_ns = step->now_ns + LOOK_NS;
  for (uint32_t i = 0; i < SYNC_WAITERS_MAX; i++) {
    struct waiter *waiter = &sync->waiters[i];
    bool due = step->now_ns >= waiter->due_ns;
    if (waiter->ask == 0 || (settled < waiter->ask && !due) || step_replies_left(step) == 0) {
      continue;
    }
    struct reply *reply = step_reply(step, waiter->token);
    if (settled < waiter->ask) {
      reply->err = ERR_TIMEOUT;
      reply->why = "replicas still differ, or some could not be compared; DYNAMO.CLUSTER STATUS tells which";
    }
    *waiter = (struct waiter){.ask = 0};
    ASSERT(sync->waiter_count > 0);
    sync->waiter_count -= 1;
  }
}
