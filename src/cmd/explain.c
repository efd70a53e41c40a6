/* gramme explain: where a key lies, and what each node holds of it (paper §4.2 to §4.6 for one key). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/terminal.h"

struct explain_options {
  struct target target;
  const char *key;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct explain_options *explain = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &explain->target;
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num > 0) {
      argp_error(state, "'%s' is one argument too many: one KEY is wanted", argument);
    }
    explain->key = argument;
    return 0;
  case ARGP_KEY_END:
    if (explain->key == NULL) {
      argp_error(state, "a KEY is wanted");
    }
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &target_argp}, {0}};
static const struct argp argp = {
    .parser = parse,
    .children = children,
    .args_doc = "KEY",
    .doc = "Shows where a key lies on the ring, its preference list, and what each node has of it: clocks, siblings, "
           "hints.\v"
           "A version is named by who issued it and when (its dot). `seen` lists what the replica's object supersedes: "
           "`<= node time` all of that node's versions up to then, `= node time` that one alone.",
};

/* The part of a time that tells two readings of one millisecond apart. */
static uint32_t time_counter(const json_t *dot) {
  return (uint32_t)(strtoull(field_text(dot, "time"), NULL, 10) & 0xffff);
}

static void print_dot(const json_t *dot) {
  uint32_t counter = time_counter(dot);
  printf("%s%s%s %s", terminal_on(STYLE_CYAN), field_text(dot, "name"), terminal_off(), field_text(dot, "at"));
  if (counter != 0) {
    printf("+%" PRIu32, counter);
  }
}

static void print_dots(const json_t *dots, const char *sign) {
  size_t index;
  const json_t *dot;
  json_array_foreach(dots, index, dot) {
    printf("      seen     %-2s ", sign);
    print_dot(dot);
    putchar('\n');
  }
}

static void print_siblings(const json_t *siblings) {
  size_t index;
  const json_t *sibling;
  char size[FIGURE_MAX];
  json_array_foreach(siblings, index, sibling) {
    fputs("      version     ", stdout);
    print_dot(json_object_get(sibling, "dot"));
    if (field_true(sibling, "tombstone")) {
      printf("   %sdeletion%s\n", terminal_on(STYLE_YELLOW), terminal_off());
    } else {
      printf("   %s%s\n", figure_bytes(size, field_number(sibling, "size")),
             field_number(sibling, "expires_at_ms") > 0 ? ", expires" : "");
    }
  }
}

static void print_clock(const json_t *clock) {
  print_dots(field_object(clock, "pairs"), "<=");
  print_dots(field_object(clock, "dots"), "=");
}

static void print_replica(const json_t *replica) {
  const json_t *siblings = field_object(replica, "siblings");
  const json_t *hints = field_object(replica, "hints");
  const char *state = "no answer";
  enum style style = STYLE_RED;
  char count[32];
  if (field_true(replica, "answered")) {
    snprintf(count, sizeof count, "%zu version%s", json_array_size(siblings),
             json_array_size(siblings) == 1 ? "" : "s");
    state = siblings == NULL ? "has nothing" : count;
    style = json_array_size(siblings) > 1 ? STYLE_YELLOW : STYLE_PLAIN;
  }
  printf("  %s%s%s  %s  %s%s%s\n", terminal_on(STYLE_BOLD), field_text(replica, "name"), terminal_off(),
         field_text(replica, "role"), terminal_on(style), state, terminal_off());
  print_siblings(siblings);
  print_clock(field_object(replica, "clock"));
  size_t index;
  const json_t *hint;
  json_array_foreach(hints, index, hint) {
    printf("      %shint for %s%s\n", terminal_on(STYLE_YELLOW), field_text(hint, "owner_name"), terminal_off());
    print_siblings(field_object(hint, "siblings"));
    print_clock(field_object(hint, "clock"));
  }
}

static void print_place(const json_t *document, const char *key) {
  const json_t *props = field_object(document, "props");
  const json_t *dw = json_object_get(props, "dw");
  char dw_text[24] = "all";
  if (json_is_integer(dw)) {
    snprintf(dw_text, sizeof dw_text, "%" PRIu64, field_number(props, "dw"));
  }
  printf("%skey%s        %s\n", terminal_on(STYLE_DIM), terminal_off(), key);
  printf("%sposition%s   %s   slot %" PRIu64 "   partition %" PRIu64 "\n", terminal_on(STYLE_DIM), terminal_off(),
         field_text(document, "position"), field_number(document, "slot"), field_number(document, "partition"));
  printf("%sbucket%s     %s   N=%" PRIu64 " R=%" PRIu64 " W=%" PRIu64 "   PR=%" PRIu64 " PW=%" PRIu64
         " DW=%s   resolve %s\n\n",
         terminal_on(STYLE_DIM), terminal_off(), field_text(document, "bucket"), field_number(props, "n"),
         field_number(props, "r"), field_number(props, "w"), field_number(props, "pr"), field_number(props, "pw"),
         dw_text, field_text(props, "resolve"));
}

void cmd_print_preference(const json_t *preference) {
  struct grid grid;
  size_t index;
  const json_t *place;
  grid_init(&grid, 5, 1);
  json_array_foreach(preference, index, place) {
    bool up = field_true(place, "up");
    grid_add(&grid, STYLE_DIM, "%zu", index + 1);
    grid_add(&grid, STYLE_PLAIN, "%s", field_text(place, "name"));
    grid_add(&grid, STYLE_PLAIN, "%s", field_text(place, "address"));
    grid_add(&grid, STYLE_PLAIN, "%s", field_text(place, "role"));
    grid_add(&grid, up ? STYLE_GREEN : STYLE_RED, "%s", up ? "up" : "DOWN");
  }
  grid_print(&grid, "  ");
  grid_deinit(&grid);
}

int cmd_explain(int argc, char **argv) {
  struct explain_options explain = {.target = TARGET_NONE};
  cmd_parse(&argp, argc, argv, &explain);
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.EXPLAIN"), remote_argument(explain.key)};
  struct remote *remote = target_open(&explain.target);
  if (remote == NULL) {
    return EXIT_FAILED;
  }
  bool done;
  size_t index;
  const json_t *replica;
  json_t *document = target_ask_json(remote, &explain.target, question, 2, &done);
  remote_close(remote);
  if (document == NULL) {
    return done ? EXIT_DONE : EXIT_FAILED;
  }
  print_place(document, explain.key);
  printf("%spreference list%s\n", terminal_on(STYLE_DIM), terminal_off());
  cmd_print_preference(field_object(document, "preference"));
  printf("\n%swhat each holds%s\n", terminal_on(STYLE_DIM), terminal_off());
  json_array_foreach(field_object(document, "replicas"), index, replica) {
    print_replica(replica);
  }
  json_decref(document);
  return EXIT_DONE;
}
