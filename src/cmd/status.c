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
    {.name = "watch", .key = 'w', .doc = "show it again each second, until Ctrl-C"},
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
           "`hints` are writes that a node keeps for another that did not answer; they drain to 0 when it is back.",
};

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
  if (!field_true(node, "member")) {
    const char *refusal = field_text(node, "join_refusal");
    printf("         %snot yet a member: %s%s\n", terminal_on(STYLE_YELLOW),
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

static void add_member(struct grid *grid, const json_t *member) {
  char figure[FIGURE_MAX];
  bool up = field_true(member, "up");
  bool self = field_true(member, "self");
  const char *zone = field_text(member, "zone");
  uint64_t hints = field_number(member, "hints");
  grid_add(grid, STYLE_PLAIN, "%s%s", self ? "* " : "  ", field_text(member, "name"));
  grid_add(grid, STYLE_PLAIN, "%s", field_text(member, "address"));
  grid_add(grid, up ? STYLE_GREEN : STYLE_RED, "%s", up ? (field_true(member, "nospace") ? "full" : "up") : "DOWN");
  grid_add(grid, STYLE_PLAIN, "%s", zone[0] != '\0' ? zone : "-");
  grid_add(grid, STYLE_PLAIN, "%" PRIu64, field_number(member, "weight"));
  grid_add(grid, STYLE_PLAIN, "%" PRIu64, field_number(member, "partitions"));
  grid_add(grid, STYLE_PLAIN, "%s", figure_count(figure, field_number(member, "keys")));
  grid_add(grid, hints > 0 ? STYLE_YELLOW : STYLE_PLAIN, "%s", figure_count(figure, hints));
  add_age(grid, member, "oldest_hint_age_ms", hints > 0);
  add_age(grid, member, "last_heard_ms", !self && json_is_integer(json_object_get(member, "last_heard_ms")));
}

static int compare_names(const void *a, const void *b) {
  const json_t *const *first = a;
  const json_t *const *second = b;
  return strverscmp(field_text(*first, "name"), field_text(*second, "name"));
}

static void print_members(const json_t *document) {
  static const char *const headings[] = {"  member",   "address", "state", "zone",        "weight",
                                         "partitions", "keys",    "hints", "oldest hint", "last heard"};
  struct grid grid;
  size_t index;
  const json_t *member;
  grid_init(&grid, 10, 0x3f0);
  for (size_t i = 0; i < sizeof headings / sizeof headings[0]; i++) {
    grid_add(&grid, STYLE_DIM, "%s", headings[i]);
  }
  const json_t *members = field_object(document, "members");
  const json_t **sorted = calloc(json_array_size(members) + 1, sizeof(const json_t *));
  json_array_foreach(members, index, member) {
    if (sorted != NULL) {
      sorted[index] = member;
    }
  }
  if (sorted != NULL) { /* the node tells them by id, which means nothing to people */
    qsort(sorted, json_array_size(members), sizeof(const json_t *), compare_names);
  }
  for (index = 0; sorted != NULL && index < json_array_size(members); index++) {
    add_member(&grid, sorted[index]);
  }
  free(sorted);
  putchar('\n');
  grid_print(&grid, "");
  grid_deinit(&grid);
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
}

static int show(struct remote *remote, const struct status_options *status) {
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.CLUSTER"), BYTES_LITERAL("STATUS")};
  bool done;
  json_t *document = target_ask_json(remote, &status->target, question, 2, &done);
  if (document == NULL) {
    return done ? EXIT_DONE : EXIT_FAILED;
  }
  if (status->watch) {
    terminal_clear();
  }
  print_cluster(document);
  print_node(document);
  print_members(document);
  print_hints(document);
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
