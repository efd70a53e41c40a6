/* gramme plan, commit, abort: who is in the cluster, changed in two steps (paper §4.8.1, §4.9). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "cmd/command.h"
#include "cmd/terminal.h"

#define WORDS_MAX 4u /* of the command line, after the options */
#define OPTION_WEIGHT 1001
#define OPTION_ZONE 1002

struct plan_options {
  struct target target;
  uint32_t count;
  char *words[WORDS_MAX];
  const char *weight;
  const char *zone;
};

/* -- arguments -------------------------------------------------------------------------- */

static const char usage[] = "add HOST:PORT | remove NODE | replace OLD NEW-HOST:PORT | reweigh NODE WEIGHT";

struct verb {
  const char *name;
  const char *resp;
  uint32_t words; /* the verb among them */
};

static const struct verb verbs[] = {
    {"add", "ADD", 2}, {"remove", "REMOVE", 2}, {"replace", "REPLACE", 3}, {"reweigh", "REWEIGH", 3}};

static const struct verb *verb_find(const char *name) {
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
    if (strcmp(verbs[i].name, name) == 0) {
      return &verbs[i];
    }
  }
  return NULL;
}

static void check_words(struct plan_options *plan, struct argp_state *state) {
  const struct verb *verb = plan->count > 0 ? verb_find(plan->words[0]) : NULL;
  bool adds = verb != NULL && strcmp(verb->name, "add") == 0;
  if (plan->count > 0 && verb == NULL) {
    argp_error(state, "'%s' is no change; there are: %s", plan->words[0], usage);
  } else if (verb != NULL && plan->count != verb->words) {
    argp_error(state, "%s takes %" PRIu32 " argument%s; there are: %s", verb->name, verb->words - 1,
               verb->words == 2 ? "" : "s", usage);
  } else if (verb != NULL && strcmp(verb->name, "reweigh") == 0) {
    (void)cmd_number(state, "WEIGHT", plan->words[2], 1, WEIGHT_MAX);
  }
  if ((plan->weight != NULL || plan->zone != NULL) && !adds) {
    argp_error(state, "--weight and --zone go with add");
  }
}

static error_t plan_parse(int key, char *argument, struct argp_state *state) {
  struct plan_options *plan = state->input;
  switch (key) {
  case OPTION_WEIGHT:
    (void)cmd_number(state, "--weight", argument, 1, WEIGHT_MAX);
    plan->weight = argument;
    return 0;
  case OPTION_ZONE:
    plan->zone = argument;
    return 0;
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &plan->target;
    return 0;
  case ARGP_KEY_ARG:
    if (plan->count == WORDS_MAX) {
      argp_error(state, "'%s' is one argument too many; there are: %s", argument, usage);
    } else {
      plan->words[plan->count++] = argument;
    }
    return 0;
  case ARGP_KEY_END:
    check_words(plan, state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_option plan_options[] = {
    {.name = "weight",
     .key = OPTION_WEIGHT,
     .arg = "W",
     .doc = "with add: its capacity relative to the others, 1 to "
            "1000 (what its configuration says)"},
    {.name = "zone",
     .key = OPTION_ZONE,
     .arg = "ZONE",
     .doc = "with add: its failure domain (what its configuration "
            "says)"},
    {0},
};
static const struct argp_child children[] = {{.argp = &target_argp}, {0}};
static const struct argp plan_argp = {
    .options = plan_options,
    .parser = plan_parse,
    .children = children,
    .args_doc = "\nadd HOST:PORT\nremove NODE\nreplace OLD NEW-HOST:PORT\nreweigh NODE WEIGHT",
    .doc =
        "Stages a change of who is in the cluster, and shows all that is staged: which partitions move, how evenly "
        "they lie then, how long it takes. Alone it only shows. Nothing happens before `gramme commit`.\v"
        "A node is named by its name, its id or its HOST:PORT for clients. One that is to be added has to run "
        "already, with `seeds` naming a member: it announces itself, and `gramme status` lists it. Call plan again to "
        "stage more: one commit issues all of it. What is staged is kept in the memory of the node that was asked "
        "(-h, -p): ask the same one each time.\n\n"
        "To take out a node that lives, remove it: it hands over what it holds and says in its log when it may be "
        "stopped. One that is dead is removed or replaced the same way; the others make up for its copies.",
};

/* -- what a plan does, for people -------------------------------------------------------------- */

static void print_change(const json_t *change) {
  const char *kind = field_text(change, "kind");
  const char *zone = field_text(change, "zone");
  printf("  %s%-8s%s ", terminal_on(STYLE_BOLD), kind, terminal_off());
  if (strcmp(kind, "replace") == 0) {
    printf("%s by ", field_text(change, "old_name"));
  }
  printf("%s (%s)", field_text(change, "name"), field_text(change, "address"));
  if (strcmp(kind, "reweigh") == 0) {
    printf("   weight %" PRIu64 " -> %" PRIu64, field_number(change, "weight_before"), field_number(change, "weight"));
  } else if (strcmp(kind, "remove") != 0) {
    printf("   weight %" PRIu64, field_number(change, "weight"));
    if (zone[0] != '\0') {
      printf("   zone %s", zone);
    }
  }
  putchar('\n');
}

static void add_both(struct grid *grid, uint64_t before, uint64_t after) {
  enum style style = before == after ? STYLE_PLAIN : after > before ? STYLE_GREEN : STYLE_YELLOW;
  if (before == after) {
    grid_add(grid, style, "%" PRIu64, after);
  } else {
    grid_add(grid, style, "%" PRIu64 " -> %" PRIu64, before, after);
  }
}

static void add_member(struct grid *grid, const json_t *member) {
  char figure[FIGURE_MAX];
  const char *state = field_text(member, "state");
  const char *zone = field_text(member, "zone");
  bool stays = strcmp(state, "member") == 0;
  uint64_t gains = field_number(member, "gains");
  uint64_t loses = field_number(member, "loses");
  grid_add(grid, STYLE_PLAIN, "%s", field_text(member, "name"));
  grid_add(grid, stays ? STYLE_DIM : STYLE_BOLD, "%s",
           stays                           ? "stays"
           : strcmp(state, "joining") == 0 ? "joins"
                                           : "leaves");
  grid_add(grid, STYLE_PLAIN, "%s", zone[0] != '\0' ? zone : "-");
  add_both(grid, field_number(member, "weight_before"), field_number(member, "weight"));
  add_both(grid, field_number(member, "partitions_before"), field_number(member, "partitions_after"));
  grid_add(grid, STYLE_PLAIN, "%" PRIu64, gains);
  grid_add(grid, STYLE_PLAIN, "%" PRIu64, loses);
  grid_add(grid, STYLE_PLAIN, "%s", gains > 0 ? figure_bytes(figure, field_number(member, "bytes_in")) : "-");
  grid_add(grid, STYLE_PLAIN, "%s", loses > 0 ? figure_bytes(figure, field_number(member, "bytes_out")) : "-");
}

static void print_members(const json_t *document) {
  static const char *const headings[] = {"node",  "",      "zone",     "weight", "partitions",
                                         "gains", "gives", "receives", "sends"};
  struct grid grid;
  size_t index;
  const json_t *member;
  grid_init(&grid, 9, 0x1f8);
  for (size_t i = 0; i < sizeof headings / sizeof headings[0]; i++) {
    grid_add(&grid, STYLE_DIM, "%s", headings[i]);
  }
  json_t *sorted = cmd_sorted(field_object(document, "members"));
  json_array_foreach(sorted, index, member) {
    add_member(&grid, member);
  }
  json_decref(sorted);
  putchar('\n');
  grid_print(&grid, "  ");
  grid_deinit(&grid);
}

/* Are the copies of each partition apart from each other? In words. */
static void print_spread(const json_t *document) {
  const json_t *violations = field_object(document, "violations");
  uint64_t nodes = field_number(violations, "nodes");
  uint64_t zones = field_number(violations, "zones");
  uint64_t copies = field_number(document, "copies");
  uint64_t zone_count = field_number(document, "zones");
  printf("  spread    ");
  if (nodes > 0) {
    printf("%s%" PRIu64 " of %" PRIu64 " partitions have fewer than %" PRIu64 " copies on distinct nodes%s",
           terminal_on(STYLE_RED), nodes, field_number(document, "partitions"), copies, terminal_off());
  } else {
    printf("each partition's %" PRIu64 " copies lie on distinct nodes", copies);
  }
  if (zones > 0) {
    printf("; %s%" PRIu64 " have two copies in one zone%s", terminal_on(STYLE_YELLOW), zones, terminal_off());
  } else if (zone_count >= copies && zone_count > 1) {
    printf(", in distinct zones");
  } else if (zone_count > 1) {
    printf("; there are %" PRIu64 " zones, too few for a zone to each copy", zone_count);
  }
  putchar('\n');
}

static void print_figures(const json_t *document) {
  char bytes[FIGURE_MAX];
  char keys[FIGURE_MAX];
  char rate[FIGURE_MAX];
  char time[FIGURE_MAX];
  const json_t *moves = field_object(document, "moves");
  const json_t *balance = field_object(document, "balance");
  uint64_t replicas = field_number(moves, "replicas");
  uint64_t optimum = field_number(moves, "optimum");
  uint64_t limit = field_number(document, "background_rate");
  printf("\n  moves     %" PRIu64 " cop%s of partitions", replicas, replicas == 1 ? "y" : "ies");
  if (replicas > 0) {
    printf(" (%" PRIu64 " at the least): about %s, %s keys, judged by what %s holds", optimum,
           figure_bytes(bytes, field_number(moves, "bytes")), figure_count(keys, field_number(moves, "keys")),
           field_text(document, "staged_on"));
  }
  printf("\n  balance   %.3f -> %.3f (the fullest node over the mean, by weight; 1.000 is even)\n",
         json_number_value(json_object_get(balance, "before")), json_number_value(json_object_get(balance, "after")));
  print_spread(document);
  printf("  time      about %s", figure_duration(time, field_number(document, "estimate_seconds") * 1000));
  if (limit > 0) {
    printf(", at %s a second a node (option background-rate) or less", figure_bytes(rate, limit));
  }
  putchar('\n');
}

static void print_warnings(const json_t *document) {
  size_t index;
  const json_t *warning;
  json_array_foreach(field_object(document, "warnings"), index, warning) {
    printf("\n  %snote%s      %s\n", terminal_on(STYLE_YELLOW), terminal_off(), json_string_value(warning));
  }
}

static void print_plan(const json_t *document, const struct target *target) {
  char flags[TARGET_FLAGS];
  size_t index;
  const json_t *change;
  (void)target_flags(target, flags);
  if (field_true(document, "empty")) {
    printf("nothing is staged on %s\n", field_text(document, "staged_on"));
    print_warnings(document);
    printf("\n  gramme plan %s%s\n", usage, flags);
    return;
  }
  printf("plan %s%s%s, staged on %s (in its memory, until commit or abort)\n\n", terminal_on(STYLE_BOLD),
         field_text(document, "plan_id"), terminal_off(), field_text(document, "staged_on"));
  json_array_foreach(field_object(document, "changes"), index, change) {
    print_change(change);
  }
  print_members(document);
  print_figures(document);
  print_warnings(document);
  printf("\nTo do it:    gramme commit %s%s\nTo drop it:  gramme abort%s\n", field_text(document, "plan_id"), flags,
         flags);
}

/* -- the commands ------------------------------------------------------------------------------------ */

static size_t plan_question(const struct plan_options *plan, struct bytes *question) {
  size_t count = 0;
  question[count++] = BYTES_LITERAL("DYNAMO.CLUSTER");
  question[count++] = BYTES_LITERAL("PLAN");
  for (uint32_t i = 0; i < plan->count; i++) {
    question[count++] = remote_argument(i == 0 ? verb_find(plan->words[0])->resp : plan->words[i]);
  }
  if (plan->weight != NULL) {
    question[count++] = BYTES_LITERAL("WEIGHT");
    question[count++] = remote_argument(plan->weight);
  }
  if (plan->zone != NULL) {
    question[count++] = BYTES_LITERAL("ZONE");
    question[count++] = remote_argument(plan->zone);
  }
  return count;
}

int cmd_plan(int argc, char **argv) {
  struct plan_options plan = {.target = TARGET_NONE};
  struct bytes question[2 + WORDS_MAX + 4];
  bool done = false;
  cmd_parse(&plan_argp, argc, argv, &plan);
  struct remote *remote = target_open(&plan.target);
  if (remote == NULL) {
    return EXIT_FAILED;
  }
  json_t *document = target_ask_json(remote, &plan.target, question, plan_question(&plan, question), &done);
  remote_close(remote);
  if (document != NULL) {
    print_plan(document, &plan.target);
    json_decref(document);
    done = true;
  }
  return done ? EXIT_DONE : EXIT_FAILED;
}

struct commit_options {
  struct target target;
  const char *plan_id;
  bool takes_id;
};

static error_t commit_parse(int key, char *argument, struct argp_state *state) {
  struct commit_options *commit = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &commit->target;
    return 0;
  case ARGP_KEY_ARG:
    if (!commit->takes_id || commit->plan_id != NULL) {
      argp_error(state, "'%s' is one argument too many", argument);
    }
    commit->plan_id = argument;
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp commit_argp = {
    .parser = commit_parse,
    .children = children,
    .args_doc = "[PLAN-ID]",
    .doc =
        "Issues the changes that are staged on the node that is asked: all of them, or none.\v"
        "With the PLAN-ID that `gramme plan` showed, just that plan, or none. It refuses when the ring has changed "
        "since the plan was made. Data moves in the background, while reads and writes go on: `gramme status --watch` "
        "shows how far it is.",
};
static const struct argp abort_argp = {
    .parser = commit_parse,
    .children = children,
    .doc = "Drops the changes that are staged on the node that is asked. What was committed is not undone by it: stage "
           "the contrary instead.",
};

/* Asks, and prints nothing itself but what --json wants. NULL: `*code` is the exit code. */
static json_t *ask(const struct commit_options *commit, const struct bytes *question, size_t count, int *code) {
  bool done = false;
  struct remote *remote = target_open(&commit->target);
  json_t *document = remote == NULL ? NULL : target_ask_json(remote, &commit->target, question, count, &done);
  remote_close(remote);
  *code = done || document != NULL ? EXIT_DONE : EXIT_FAILED;
  return document;
}

int cmd_commit(int argc, char **argv) {
  struct commit_options commit = {.target = TARGET_NONE, .takes_id = true};
  char flags[TARGET_FLAGS];
  int code = EXIT_FAILED;
  cmd_parse(&commit_argp, argc, argv, &commit);
  struct bytes question[3] = {BYTES_LITERAL("DYNAMO.CLUSTER"), BYTES_LITERAL("COMMIT")};
  size_t count = 2;
  if (commit.plan_id != NULL) {
    question[count++] = remote_argument(commit.plan_id);
  }
  json_t *document = ask(&commit, question, count, &code);
  if (document != NULL) {
    printf("committed plan %s; partitions move while reads and writes go on. How far it is: gramme status --watch%s\n",
           field_text(document, "committed"), target_flags(&commit.target, flags));
    json_decref(document);
  }
  return code;
}

int cmd_abort(int argc, char **argv) {
  struct commit_options commit = {.target = TARGET_NONE};
  int code = EXIT_FAILED;
  cmd_parse(&abort_argp, argc, argv, &commit);
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.CLUSTER"), BYTES_LITERAL("ABORT")};
  json_t *document = ask(&commit, question, 2, &code);
  if (document != NULL) {
    uint64_t dropped = field_number(document, "dropped");
    if (dropped == 0) {
      puts("nothing was staged");
    } else {
      printf("dropped %" PRIu64 " staged change%s; the cluster is as it was\n", dropped, dropped == 1 ? "" : "s");
    }
    json_decref(document);
  }
  return code;
}
