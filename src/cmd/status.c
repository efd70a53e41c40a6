/* gramme status: what one node knows of its cluster. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/command.h"
#include "cmd/terminal.h"

struct status_options {
  struct target target;
  bool watch;
};

static const struct argp_option options[] = {
    {.name = "watch",
     .key = 'w',
     .doc = "show it again each second, until Ctrl-C; where output is no terminal, a line each second"},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  (void)argument;
  struct status_options *status = state->input;
  switch (key) {
  case 'w':
    status->watch = true;
    return 0;
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &status->target;
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "status takes no arguments");
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
    .doc = "Shows a cluster as one of its nodes sees it: who is a member, who answers, what is kept for whom.\v"
           "`hints` are writes that a node keeps for another that did not answer; they drain to 0 when it is back. "
           "While nodes come and go it tells how far their partitions have moved, and who is waited for.",
};

#define DIFFERENCES_SHOWN 8u /* partitions, line by line */
#define LEVEL_WHOLE 1000u

static void print_cluster(const json_t *document) {
  const json_t *cluster = field_object(document, "cluster");
  const json_t *totals = field_object(document, "totals");
  bool forming = field_true(cluster, "forming") && field_true(field_object(document, "node"), "member");
  uint64_t down = field_number(totals, "members_down");
  uint64_t members = field_number(cluster, "members");
  printf("%scluster%s  %s%s%s   %" PRIu64 " member%s, ", terminal_on(STYLE_DIM), terminal_off(),
         terminal_on(STYLE_BOLD), field_text(cluster, "name"), terminal_off(), members, members == 1 ? "" : "s");
  printf("%s%" PRIu64 " down%s", terminal_on(down > 0 ? STYLE_RED : STYLE_PLAIN), down, terminal_off());
  printf("   %" PRIu64 " partitions   history %s%s\n", field_number(cluster, "partitions"),
         field_text(cluster, "history_digest"), forming ? "   being formed: no data yet, nodes may join" : "");
}

static void print_removed(const json_t *node) {
  char figure[FIGURE_MAX];
  uint64_t left = field_number(node, "strays") + field_number(node, "hints");
  if (!field_true(node, "handed_over")) {
    printf("         %swas removed from the cluster; %s object%s to hand over%s\n", terminal_on(STYLE_YELLOW),
           figure_count(figure, left), left == 1 ? "" : "s", terminal_off());
  } else {
    printf("         %swas removed from the cluster, and has handed over all it had: it may be stopped%s\n",
           terminal_on(STYLE_YELLOW), terminal_off());
  }
}

static void print_node(const json_t *document) {
  const json_t *node = field_object(document, "node");
  char uptime[FIGURE_MAX];
  char keys[FIGURE_MAX];
  char bytes[FIGURE_MAX];
  figure_duration(uptime, field_number(node, "uptime_seconds") * 1000);
  figure_count(keys, field_number(node, "keys"));
  figure_bytes(bytes, field_number(node, "bytes"));
  printf("%snode%s     %s (%s) on %s   up %s   %s in %s\n", terminal_on(STYLE_DIM), terminal_off(),
         field_text(node, "name"), field_text(node, "id"), field_text(node, "address"), uptime,
         field_text(node, "engine"), field_text(node, "dir"));
  printf("         %s keys, %s, %" PRIu64 " client%s\n", keys, bytes, field_number(node, "clients"),
         field_number(node, "clients") == 1 ? "" : "s");
  if (field_true(node, "removed")) {
    print_removed(node);
  } else if (!field_true(node, "member")) {
    const char *refusal = field_text(node, "join_refusal");
    printf("         %s%s%s%s\n", terminal_on(STYLE_YELLOW),
           field_true(node, "takes_changes") ? "it serves nobody yet: it " : "not yet a member: ",
           refusal[0] != '\0' ? refusal : "it is asking its seeds to take it in", terminal_off());
  }
  if (field_true(node, "nospace")) {
    printf("         %sits disk is full: it refuses writes and serves reads until there is space%s\n",
           terminal_on(STYLE_RED), terminal_off());
  }
}

static void add_age(struct grid *grid, const json_t *member, const char *field, bool known) {
  char age[FIGURE_MAX];
  if (known) {
    grid_add(grid, STYLE_PLAIN, "%s", figure_duration(age, field_number(member, field)));
  } else {
    grid_add(grid, STYLE_DIM, "-");
  }
}

/* In capitals what wants somebody's attention. */
static const char *state_word(const json_t *member) {
  const char *state = field_text(member, "state");
  if (!field_true(member, "up")) {
    return "DOWN";
  }
  return field_true(member, "nospace")                                    ? "full"
         : strcmp(state, "joining") == 0 || strcmp(state, "leaving") == 0 ? state
                                                                          : "up";
}

static void add_member(struct grid *grid, const json_t *member) {
  char figure[FIGURE_MAX];
  bool up = field_true(member, "up");
  bool self = field_true(member, "self");
  const char *zone = field_text(member, "zone");
  uint64_t hints = field_number(member, "hints");
  grid_add(grid, STYLE_PLAIN, "%s%s", self ? "* " : "  ", field_text(member, "name"));
  grid_add(grid, STYLE_PLAIN, "%s", field_text(member, "address"));
  grid_add(grid, up ? STYLE_GREEN : STYLE_RED, "%s", state_word(member));
  grid_add(grid, STYLE_PLAIN, "%s", zone[0] != '\0' ? zone : "-");
  grid_add(grid, STYLE_PLAIN, "%" PRIu64, field_number(member, "weight"));
  grid_add(grid, STYLE_PLAIN, "%" PRIu64, field_number(member, "partitions"));
  grid_add(grid, STYLE_PLAIN, "%s", figure_count(figure, field_number(member, "keys")));
  grid_add(grid, hints > 0 ? STYLE_YELLOW : STYLE_PLAIN, "%s", figure_count(figure, hints));
  add_age(grid, member, "oldest_hint_age_ms", hints > 0);
  add_age(grid, member, "last_heard_ms", !self && json_is_integer(json_object_get(member, "last_heard_ms")));
}

static void print_members(const json_t *document) {
  static const char *const headings[] = {"  member",   "address", "state", "zone",        "weight",
                                         "partitions", "keys",    "hints", "oldest hint", "last heard"};
  struct grid grid;
  size_t index;
  const json_t *member;
  if (json_array_size(field_object(document, "members")) == 0) {
    return;
  }
  grid_init(&grid, 10, 0x3f0);
  for (size_t i = 0; i < sizeof headings / sizeof headings[0]; i++) {
    grid_add(&grid, STYLE_DIM, "%s", headings[i]);
  }
  const json_t *members = field_object(document, "members");
  json_t *sorted = cmd_sorted(members);
  json_array_foreach(sorted, index, member) {
    add_member(&grid, member);
  }
  json_decref(sorted);
  putchar('\n');
  grid_print(&grid, "");
  grid_deinit(&grid);
}

/* Nodes that have lost what they had stored, and how far they are with getting it back. */
static void print_losses(const json_t *document) {
  size_t index;
  const json_t *member;
  json_array_foreach(field_object(document, "members"), index, member) {
    const char *loss = field_text(member, "loss");
    const json_t *resynced = field_object(member, "resynced");
    char figure[FIGURE_MAX];
    if (loss == NULL || loss[0] == '\0') {
      continue;
    }
    printf("\n%s%s: %s%s\n", terminal_on(STYLE_YELLOW), field_text(member, "name"), loss, terminal_off());
    printf("         it gets back what it had: %" PRIu64 " of %" PRIu64 " partitions, %s keys\n",
           field_number(resynced, "held"), field_number(resynced, "partitions"),
           figure_count(figure, field_number(resynced, "keys")));
  }
}

static void print_hints(const json_t *document) {
  const json_t *totals = field_object(document, "totals");
  char count[FIGURE_MAX];
  char age[FIGURE_MAX];
  uint64_t hints = field_number(totals, "hints");
  if (hints == 0) {
    puts("\nno hints: nothing waits for a node to come back");
    return;
  }
  printf("\n%s%s hint%s wait%s for a node that did not answer, the oldest for %s%s\n", terminal_on(STYLE_YELLOW),
         figure_count(count, hints), hints == 1 ? "" : "s", hints == 1 ? "s" : "",
         figure_duration(age, field_number(totals, "oldest_hint_age_ms")), terminal_off());
  const json_t *waiting = field_object(field_object(document, "background"), "waiting");
  uint64_t seconds = field_number(waiting, "hints_eta_seconds");
  if (seconds > 0) {
    printf("         this node hands over the last of its own in about %s, %s to go\n",
           figure_duration(age, seconds * 1000), figure_bytes(count, field_number(waiting, "hints_bytes_to_go")));
  }
}

/* What replicas know to differ, and how long ago all of them were compared last. */
static void print_compared(const json_t *document) {
  const json_t *totals = field_object(document, "totals");
  char count[FIGURE_MAX];
  char age[FIGURE_MAX];
  char figure[FIGURE_MAX];
  uint64_t differ = field_number(totals, "keys_differ");
  uint64_t partitions = field_number(document, "differences_count");
  uint64_t age_ms = field_number(totals, "compared_age_ms");
  uint64_t to_go = field_number(totals, "mend_bytes_to_go");
  if (differ > 0) {
    printf("%s%s key%s known to differ between replicas%s, ", terminal_on(STYLE_YELLOW), figure_count(count, differ),
           differ == 1 ? " is" : "s are", terminal_off());
  } else if (partitions > 0) {
    printf("%s%s partition%s known to differ%s, the keys not counted yet, ", terminal_on(STYLE_YELLOW),
           figure_count(count, partitions), partitions == 1 ? " is" : "s are", terminal_off());
  } else {
    printf("no key is known to differ between replicas, ");
  }
  if (to_go > 0) {
    printf("about %s to go, ", figure_bytes(figure, to_go));
  }
  if (field_number(totals, "mend_eta_seconds") > 0) {
    printf("%s left, ", figure_duration(figure, field_number(totals, "mend_eta_seconds") * 1000));
  }
  if (age_ms > 0) {
    printf("all were compared within %s\n", figure_duration(age, age_ms));
  } else {
    puts("not all have been compared yet");
  }
}

/* What the node that was asked has found to be damaged in its own store. */
static void print_scrub(const json_t *document) {
  const json_t *scrub = field_object(document, "scrub");
  char count[FIGURE_MAX];
  char left[FIGURE_MAX];
  uint64_t damaged = field_number(scrub, "damaged");
  if (damaged > 0 || field_number(scrub, "gaps") > 0) {
    printf("%s%s record%s found damaged here%s, ", terminal_on(STYLE_YELLOW), figure_count(count, damaged),
           damaged == 1 ? "" : "s", terminal_off());
    printf("%s made whole from other replicas", figure_count(count, field_number(scrub, "healed")));
    printf(", %s lost; check the device\n", figure_count(count, field_number(scrub, "lost")));
  }
  if (field_true(scrub, "running")) {
    uint64_t part = field_number(scrub, "per_mille");
    printf("what is stored here is read again: %" PRIu64 ".%" PRIu64 " %%, %s left of this round\n", part / 10,
           part % 10, figure_duration(left, field_number(scrub, "left_seconds") * 1000));
  }
}

/* Where replicas differ, as far as this node compares them. */
static void print_differences(const json_t *document) {
  const json_t *list = field_object(document, "differences");
  uint64_t more = field_number(document, "differences_count");
  size_t index;
  const json_t *difference;
  json_array_foreach(list, index, difference) {
    if (index == DIFFERENCES_SHOWN) {
      break;
    }
    printf("         partition %" PRIu64 " differs from %s's", field_number(difference, "partition"),
           field_text(difference, "name"));
    if (json_is_integer(json_object_get(difference, "keys"))) {
      uint64_t keys = field_number(difference, "keys");
      printf(" in %" PRIu64 " key%s", keys, keys == 1 ? "" : "s");
    }
    putchar('\n');
  }
  if (more > DIFFERENCES_SHOWN) {
    printf("         and %" PRIu64 " more\n", more - DIFFERENCES_SHOWN);
  }
}

/* What this node's background work is granted, and why no more. */
static void print_background(const json_t *document) {
  const json_t *background = field_object(document, "background");
  char figure[FIGURE_MAX];
  uint64_t level = field_number(background, "level");
  uint64_t p999_us = field_number(background, "p999_us");
  printf("background work may take %s/s", figure_bytes(figure, field_number(background, "bytes_per_second")));
  if (level < LEVEL_WHOLE) {
    printf(" (%slevel %" PRIu64 " of %u%s)", terminal_on(STYLE_YELLOW), level, LEVEL_WHOLE, terminal_off());
  } else if (field_number(background, "start") < LEVEL_WHOLE) {
    printf(" to begin with, and more the longer it has to wait");
  }
  printf("; p99.9 of the last minute %" PRIu64 ".%" PRIu64 " ms, wanted below %" PRIu64 " ms\n", p999_us / 1000,
         p999_us / 100 % 10, field_number(background, "target_us") / 1000);
}

/* What waits to be forgotten. */
static void print_deletions(const json_t *document) {
  const json_t *totals = field_object(document, "totals");
  char count[FIGURE_MAX];
  char age[FIGURE_MAX];
  uint64_t tombstones = field_number(totals, "tombstones");
  uint64_t age_ms = field_number(totals, "floor_age_ms");
  if (tombstones > 0) {
    printf("%s cop%s of deletions, kept until every replica has them; ", figure_count(count, tombstones),
           tombstones == 1 ? "y" : "ies");
    if (age_ms > 0) {
      printf("all have what is older than %s\n", figure_duration(age, age_ms));
    } else {
      puts("that is not known of any yet");
    }
  }
}

/* -- the change that is under way -------------------------------------------------------- */

/* What the phase means for somebody who waits for it. */
static const char *phase_text(const json_t *change) {
  const char *phase = field_text(change, "phase");
  bool holds_all = field_number(change, "partitions_held") >= field_number(change, "partitions_wanted");
  if (strcmp(phase, "knows") == 0) {
    return holds_all ? "agreeing on the change" : "copying";
  }
  if (strcmp(phase, "holds") == 0) {
    return holds_all ? "copied; agreeing to read from the new owners" : "copying";
  }
  if (strcmp(phase, "releases") == 0) {
    return "another change follows: settling which of them goes on";
  }
  if (strcmp(phase, "reads") == 0) {
    return "the new owners are read; the old ones are being let go";
  }
  if (field_true(change, "another_waits")) {
    return "another change waits";
  }
  return field_number(change, "strays") > 0 ? "cleaning up: former owners hand over what is left" : "settling";
}

static uint64_t permille(const json_t *change) {
  uint64_t wanted = field_number(change, "partitions_wanted");
  uint64_t held = field_number(change, "partitions_held");
  held = held < wanted ? held : wanted;
  return wanted == 0 ? 1000 : held * 1000 / wanted;
}

static void print_names(const json_t *names) {
  size_t index;
  const json_t *name;
  json_array_foreach(names, index, name) {
    printf("%s%s", index == 0 ? "" : ", ", json_string_value(name));
  }
}

#define BAR_WIDTH 30u

static void print_bar(uint64_t part) {
  uint64_t full = part * BAR_WIDTH / 1000;
  printf("%s", terminal_on(STYLE_GREEN));
  for (uint64_t i = 0; i < BAR_WIDTH; i++) {
    fputs(i < full ? (terminal_has_utf8() ? "\u2588" : "#") : (terminal_has_utf8() ? "\u2591" : "."), stdout);
  }
  printf("%s ", terminal_off());
}

/* "45.0 %, 230 of 512 partitions, 120,000 keys, 1.2 GB, 11.0 MB/s, about 1.4 GB to go, about 2m 5s left" */
static void print_progress(const json_t *change) {
  char figure[FIGURE_MAX];
  uint64_t part = permille(change);
  uint64_t rate = field_number(change, "rate_bytes_per_second");
  const json_t *eta = json_object_get(change, "eta_seconds");
  if (field_number(change, "partitions_wanted") == 0) {
    return;
  }
  printf("%" PRIu64 ".%" PRIu64 " %%, %" PRIu64 " of %" PRIu64 " partitions", part / 10, part % 10,
         field_number(change, "partitions_held"), field_number(change, "partitions_wanted"));
  printf(", %s keys", figure_count(figure, field_number(change, "keys_moved")));
  printf(", %s", figure_bytes(figure, field_number(change, "bytes_moved")));
  if (part < 1000 && rate > 0) {
    printf(", %s/s", figure_bytes(figure, rate));
  }
  if (part < 1000 && field_number(change, "bytes_to_go") > 0) {
    printf(", about %s to go", figure_bytes(figure, field_number(change, "bytes_to_go")));
  }
  if (part < 1000 && json_is_integer(eta)) {
    printf(", about %s left", figure_duration(figure, field_number(change, "eta_seconds") * 1000));
  }
}

static void print_change(const json_t *document) {
  const json_t *change = field_object(document, "change");
  const json_t *waiting = field_object(change, "waiting_for");
  char figure[FIGURE_MAX];
  if (change == NULL) {
    return;
  }
  printf("\n%schange%s   %s", terminal_on(STYLE_DIM), terminal_off(), phase_text(change));
  if (field_number(change, "seconds") > 0) {
    printf(", for %s", figure_duration(figure, field_number(change, "seconds") * 1000));
  }
  if (field_number(change, "partitions_wanted") > 0) {
    fputs("\n         ", stdout);
    if (terminal_is_one()) {
      print_bar(permille(change));
    }
    print_progress(change);
  }
  putchar('\n');
  if (json_array_size(waiting) > 0) {
    fputs("         waits for ", stdout);
    print_names(waiting);
    putchar('\n');
  }
  if (field_number(change, "strays") > 0) {
    printf("         %s object%s on former owners, to be handed over\n",
           figure_count(figure, field_number(change, "strays")), field_number(change, "strays") == 1 ? "" : "s");
  }
  if (field_true(change, "another_waits")) {
    puts("         a further change waits for this one");
  }
}

static void print_candidates(const json_t *document, const struct target *target) {
  char flags[TARGET_FLAGS];
  size_t index;
  const json_t *candidate;
  json_array_foreach(field_object(document, "candidates"), index, candidate) {
    const char *zone = field_text(candidate, "zone");
    printf("%swaits to be added: %s%s%s: gramme plan add %s%s\n", index == 0 ? "\n" : "", field_text(candidate, "name"),
           zone[0] != '\0' ? ", zone " : "", zone, field_text(candidate, "address"), target_flags(target, flags));
  }
}

/* For a log or a pipe: all in one. */
static void print_line(const json_t *document) {
  const json_t *change = field_object(document, "change");
  const json_t *totals = field_object(document, "totals");
  uint64_t members = field_number(field_object(document, "cluster"), "members");
  printf("%" PRIu64 " member%s, %" PRIu64 " down, %" PRIu64 " hint%s", members, members == 1 ? "" : "s",
         field_number(totals, "members_down"), field_number(totals, "hints"),
         field_number(totals, "hints") == 1 ? "" : "s");
  if (change == NULL) {
    puts(", nothing moves");
    return;
  }
  printf("; %s", phase_text(change));
  if (field_number(change, "partitions_wanted") > 0) {
    fputs("; ", stdout);
    print_progress(change);
  }
  if (field_number(change, "strays") > 0) {
    char figure[FIGURE_MAX];
    printf("; %s on former owners", figure_count(figure, field_number(change, "strays")));
  }
  if (json_array_size(field_object(change, "waiting_for")) > 0) {
    fputs("; waits for ", stdout);
    print_names(field_object(change, "waiting_for"));
  }
  putchar('\n');
}

static int show(struct remote *remote, const struct status_options *status) {
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.CLUSTER"), BYTES_LITERAL("STATUS")};
  bool done;
  json_t *document = target_ask_json(remote, &status->target, question, 2, &done);
  if (document == NULL) {
    return done ? EXIT_DONE : EXIT_FAILED;
  }
  if (status->watch && !terminal_is_one()) {
    print_line(document);
    json_decref(document);
    return EXIT_DONE;
  }
  if (status->watch) {
    terminal_clear();
  }
  print_cluster(document);
  print_node(document);
  print_members(document);
  print_losses(document);
  print_change(document);
  print_candidates(document, &status->target);
  print_hints(document);
  print_compared(document);
  print_scrub(document);
  print_differences(document);
  print_background(document);
  print_deletions(document);
  json_decref(document);
  return EXIT_DONE;
}

int cmd_status(int argc, char **argv) {
  struct status_options status = {.target = TARGET_NONE};
  cmd_parse(&argp, argc, argv, &status);
  int code;
  do {
    /* A connection for each look: who watches wants to see the node come back, too. */
    struct remote *remote = target_open(&status.target);
    code = remote != NULL ? show(remote, &status) : EXIT_FAILED;
    remote_close(remote);
    fflush(stdout);
    if (status.watch) {
      struct timespec second = {.tv_sec = 1};
      nanosleep(&second, NULL);
    }
  } while (status.watch && (code == EXIT_DONE || terminal_is_one()));
  return code;
}
