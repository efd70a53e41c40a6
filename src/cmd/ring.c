/* gramme ring: who owns what. */
#include <inttypes.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/terminal.h"

#define BAR_WIDTH 40u
#define MAP_WIDTH 64u
#define OPTION_KEY 1001
#define OPTION_MAP 1002

struct ring_options {
  struct target target;
  const char *key;
  bool map;
};

static const struct argp_option options[] = {
    {.name = "key", .key = OPTION_KEY, .arg = "KEY", .doc = "also show where this key lies, and its preference list"},
    {.name = "map", .key = OPTION_MAP, .doc = "also show each partition's owner, one letter a partition"},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct ring_options *ring = state->input;
  switch (key) {
  case OPTION_KEY:
    ring->key = argument;
    return 0;
  case OPTION_MAP:
    ring->map = true;
    return 0;
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &ring->target;
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "ring takes no arguments (a key goes with --key)");
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
    .doc = "Shows which node owns how much of the ring (paper 4.2, 6.2: equal partitions, shared out by weight)."
           "\v`gramme ring simulate` computes how a ring fares as it grows or shrinks, without a cluster: see `gramme "
           "ring simulate --help`.",
};

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* A letter for a member; past the letters there is but '*'. */
static char letter_of(size_t index) {
  return index + 1 < sizeof letters ? letters[index] : '*';
}

static enum style style_of(size_t index) {
  static const enum style styles[] = {STYLE_CYAN, STYLE_GREEN, STYLE_YELLOW, STYLE_RED, STYLE_BOLD, STYLE_PLAIN};
  return styles[index % (sizeof styles / sizeof styles[0])];
}

static uint64_t most_partitions(const json_t *members) {
  size_t index;
  const json_t *member;
  uint64_t most = 0;
  json_array_foreach(members, index, member) {
    uint64_t partitions = field_number(member, "partitions");
    most = partitions > most ? partitions : most;
  }
  return most;
}

static void print_shares(const json_t *document) {
  const json_t *members = field_object(document, "members");
  uint64_t whole = field_number(document, "partitions");
  struct grid grid;
  size_t index;
  const json_t *member;
  grid_init(&grid, 7, 0x38);
  static const char *const headings[] = {" ", "member", "zone", "weight", "partitions", "share", ""};
  for (size_t i = 0; i < sizeof headings / sizeof headings[0]; i++) {
    grid_add(&grid, STYLE_DIM, "%s", headings[i]);
  }
  json_array_foreach(members, index, member) {
    uint64_t partitions = field_number(member, "partitions");
    uint64_t permille = whole > 0 ? (partitions * 1000 + whole / 2) / whole : 0;
    const char *zone = field_text(member, "zone");
    grid_add(&grid, style_of(index), "%c", letter_of(index));
    grid_add(&grid, STYLE_PLAIN, "%s", field_text(member, "name"));
    grid_add(&grid, STYLE_PLAIN, "%s", zone[0] != '\0' ? zone : "-");
    grid_add(&grid, STYLE_PLAIN, "%" PRIu64, field_number(member, "weight"));
    grid_add(&grid, STYLE_PLAIN, "%" PRIu64, partitions);
    grid_add(&grid, STYLE_PLAIN, "%" PRIu64 ".%" PRIu64 " %%", permille / 10, permille % 10);
    grid_add_bar(&grid, style_of(index), partitions, most_partitions(members), BAR_WIDTH);
  }
  printf("%" PRIu64 " partitions, %zu members, history %s\n\n", whole, json_array_size(members),
         field_text(document, "digest"));
  grid_print(&grid, "");
  grid_deinit(&grid);
}

/* An owner is told as an index into members, or by name or id. */
static size_t owner_index(const json_t *members, const json_t *owner) {
  size_t index;
  const json_t *member;
  if (json_is_integer(owner)) {
    return (size_t)json_integer_value(owner);
  }
  const char *name = json_string_value(owner);
  json_array_foreach(members, index, member) {
    if (name != NULL &&
        (strcmp(field_text(member, "id"), name) == 0 || strcmp(field_text(member, "name"), name) == 0)) {
      return index;
    }
  }
  return SIZE_MAX - 1;
}

static void print_map(const json_t *document) {
  const json_t *members = field_object(document, "members");
  size_t partition;
  const json_t *owner;
  json_array_foreach(field_object(document, "owners"), partition, owner) {
    if (partition % MAP_WIDTH == 0) {
      printf("\n%6zu  ", partition);
    }
    size_t index = owner_index(members, owner);
    printf("%s%c%s", terminal_on(style_of(index)), letter_of(index), terminal_off());
  }
  putchar('\n');
}

static int print_key(struct remote *remote, const struct ring_options *ring) {
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.EXPLAIN"), remote_argument(ring->key)};
  bool done;
  json_t *document = target_ask_json(remote, &ring->target, question, 2, &done);
  if (document == NULL) {
    return done ? EXIT_DONE : EXIT_FAILED;
  }
  printf("\nkey %s   slot %" PRIu64 "   partition %" PRIu64 "   position %s\n", ring->key,
         field_number(document, "slot"), field_number(document, "partition"), field_text(document, "position"));
  cmd_print_preference(field_object(document, "preference"));
  json_decref(document);
  return EXIT_DONE;
}

int cmd_ring(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "simulate") == 0) {
    static char name[] = "gramme ring simulate";
    argv[1] = name;
    return cmd_ring_simulate(argc - 1, argv + 1);
  }
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.CLUSTER"), BYTES_LITERAL("RING")};
  struct ring_options ring = {.target = TARGET_NONE};
  cmd_parse(&argp, argc, argv, &ring);
  struct remote *remote = target_open(&ring.target);
  if (remote == NULL) {
    return EXIT_FAILED;
  }
  bool done;
  json_t *document = target_ask_json(remote, &ring.target, question, 2, &done);
  int code = done || document != NULL ? EXIT_DONE : EXIT_FAILED;
  if (document != NULL) {
    print_shares(document);
    if (ring.map) {
      print_map(document);
    }
  }
  if (code == EXIT_DONE && ring.key != NULL) {
    code = print_key(remote, &ring);
  }
  json_decref(document);
  remote_close(remote);
  return code;
}
