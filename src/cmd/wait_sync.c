/* gramme wait-sync: until all replicas have been compared, and nothing differs. */
#include <inttypes.h>
#include <stdlib.h>

#include "cmd/command.h"
#include "cmd/terminal.h"

#define SECONDS_DEFAULT 60u
#define SECONDS_MAX 86400u
#define SLACK_MS 5000 /* the node keeps the time; this is for when it is gone */

struct wait_options {
  struct target target;
  uint64_t seconds;
};

static const struct argp_option options[] = {
    {.name = "timeout", .key = 't', .arg = "SECONDS", .doc = "how long to wait at the most (60)"},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct wait_options *wait = state->input;
  switch (key) {
  case 't':
    wait->seconds = cmd_number(state, "--timeout", argument, 1, SECONDS_MAX);
    return 0;
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &wait->target;
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "wait-sync takes no arguments");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &target_argp}, {0}};
static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .doc =
        "Has all nodes compare their replicas anew, and ends when nothing differs any more.\v"
        "What differs is mended on the way. Exit status 1: the time is up, and something still differs or a node could "
        "not be compared with; `gramme status` tells which.",
};

int cmd_wait_sync(int argc, char **argv) {
  struct wait_options wait = {.target = TARGET_NONE, .seconds = SECONDS_DEFAULT};
  char timeout[24];
  cmd_parse(&argp, argc, argv, &wait);
  wait.target.remote.reply_ms = (int)(wait.seconds * 1000) + SLACK_MS;
  struct remote *remote = target_open(&wait.target);
  if (remote == NULL) {
    return EXIT_FAILED;
  }
  (void)snprintf(timeout, sizeof timeout, "%" PRIu64, wait.seconds * 1000);
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.CLUSTER"), BYTES_LITERAL("WAITSYNC"), BYTES_LITERAL("TIMEOUT"),
                                   remote_argument(timeout)};
  struct remote_answer *answer = target_ask(remote, &wait.target, question, 4);
  bool settled = answer != NULL;
  if (settled) {
    puts(wait.target.json ? "{\"settled\": true}" : "all replicas are equal");
  }
  remote_answer_free(answer);
  remote_close(remote);
  return settled ? EXIT_DONE : EXIT_FAILED;
}
