/* gramme ring simulate: what a cluster's ring would be like as it grows or shrinks, without a cluster. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/command.h"
#include "cmd/terminal.h"
#include "ring/plan.h"

#define OPTION_NODES 1001
#define OPTION_PARTITIONS 1002
#define OPTION_WEIGHTS 1003
#define OPTION_ZONES 1004
#define OPTION_REPLICAS 1005
#define OPTION_OWNERS 1006
#define OPTION_JSON 1007

/* Large: one of them, in the heap. */
struct simulation {
  uint32_t from;
  uint32_t to;
  uint32_t partitions;
  uint32_t zones;
  uint32_t replicas;
  uint32_t weights[MEMBERS_MAX];
  uint32_t weight_count;
  bool owners;
  bool json;
  struct history history;
  struct ring before;
  struct ring after;
  struct ring_moves moves;
  struct grid grid;
  json_t *steps;
  uint64_t moved; /* of all steps */
  uint64_t optimum;
};

static const struct argp_option options[] = {
    {.name = "nodes", .key = OPTION_NODES, .arg = "A..B", .doc = "grow, or shrink, node by node from A to B (3..10)"},
    {.name = "partitions", .key = OPTION_PARTITIONS, .arg = "Q", .doc = "equal partitions, a power of two (1024)"},
    {.name = "weights",
     .key = OPTION_WEIGHTS,
     .arg = "W1,W2,...",
     .doc = "weight of the first node, of the second, ...; then from the first again (1)"},
    {.name = "zones", .key = OPTION_ZONES, .arg = "Z", .doc = "the nodes are dealt to so many zones in turn (1)"},
    {.name = "n", .key = OPTION_REPLICAS, .arg = "N", .doc = "replicas of each key (3)"},
    {.name = "owners",
     .key = OPTION_OWNERS,
     .doc = "with --json: who owns each partition in the end, by number of node"},
    {.name = "json", .key = OPTION_JSON, .doc = "print JSON, for programs"},
    {0},
};

/* -- arguments ------------------------------------------------------------------- */

static void parse_nodes(struct simulation *simulation, char *text, struct argp_state *state) {
  char *dots = strstr(text, "..");
  char *last = text;
  if (dots != NULL) {
    *dots = '\0';
    last = dots + 2;
  }
  simulation->from = (uint32_t)cmd_number(state, "--nodes (A..B)", text, 1, MEMBERS_MAX);
  simulation->to = (uint32_t)cmd_number(state, "--nodes (A..B)", last, 1, MEMBERS_MAX);
}

static void parse_partitions(struct simulation *simulation, const char *text, struct argp_state *state) {
  simulation->partitions = (uint32_t)cmd_number(state, "--partitions", text, 1, PARTITIONS_MAX);
  if ((simulation->partitions & (simulation->partitions - 1)) != 0) {
    argp_error(state, "--partitions must be a power of two from 1 to %u; it is '%s'", PARTITIONS_MAX, text);
  }
}

static void parse_weights(struct simulation *simulation, char *text, struct argp_state *state) {
  simulation->weight_count = 0;
  for (char *next = text; next != NULL;) {
    char *word = strsep(&next, ",");
    if (simulation->weight_count == MEMBERS_MAX) {
      argp_error(state, "--weights takes at most %u weights, one for each node", MEMBERS_MAX);
    }
    simulation->weights[simulation->weight_count++] =
        (uint32_t)cmd_number(state, "each of --weights", word, 1, WEIGHT_MAX);
  }
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct simulation *simulation = state->input;
  switch (key) {
  case OPTION_NODES:
    parse_nodes(simulation, argument, state);
    return 0;
  case OPTION_PARTITIONS:
    parse_partitions(simulation, argument, state);
    return 0;
  case OPTION_WEIGHTS:
    parse_weights(simulation, argument, state);
    return 0;
  case OPTION_ZONES:
    simulation->zones = (uint32_t)cmd_number(state, "--zones", argument, 1, MEMBERS_MAX);
    return 0;
  case OPTION_REPLICAS:
    simulation->replicas = (uint32_t)cmd_number(state, "--n", argument, 1, REPLICAS_MAX);
    return 0;
  case OPTION_OWNERS:
    simulation->owners = true;
    return 0;
  case OPTION_JSON:
    simulation->json = true;
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "ring simulate takes no arguments but options");
    return 0;
  case ARGP_KEY_END:
    if (simulation->owners && !simulation->json) {
      argp_error(state, "--owners goes with --json");
    }
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .doc =
        "Computes what becomes of a ring as nodes are added, or removed (the last first), one by one: how even it is, "
        "and how many replicas move, beside the fewest that would have to. No cluster is asked or needed."
        "\vmax/mean is the most partitions a unit of weight, over the mean. Clashes are partitions with two replicas "
        "on one node, or in one zone though there are N zones. Detours are partitions whose next N owners were no "
        "such N, so that a replica lies further on.",
};

/* -- the steps --------------------------------------------------------------------- */

static void issue(struct simulation *simulation, enum change_kind kind, uint32_t node) {
  struct change change;
  memset(&change, 0, sizeof change);
  change.time = simulation->history.count + 1;
  change.issuer = 1;
  change.kind = kind;
  change.node = node;
  change.weight = simulation->weights[(node - 1) % simulation->weight_count];
  change.partition_count = simulation->partitions;
  snprintf(change.zone, sizeof change.zone, "zone-%" PRIu32, (node - 1) % simulation->zones + 1);
  const enum err err = history_add(&simulation->history, &change);
  ASSERT(err == ERR_OK);
  simulation->before = simulation->after;
  ring_fold_from(&simulation->after, &simulation->before, &simulation->history, simulation->history.count);
  ASSERT(kind == CHANGE_REMOVE || ring_find(&simulation->after, node) >= 0);
}

static void find_extremes(const struct ring *ring, uint32_t *least, uint32_t *most) {
  *least = UINT32_MAX;
  *most = 0;
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const uint32_t owned = ring->members[i].owned;
    *least = owned < *least ? owned : *least;
    *most = owned > *most ? owned : *most;
  }
}

static double ratio_of(uint64_t moved, uint64_t optimum) {
  return optimum == 0 ? 1.0 : (double)moved / (double)optimum;
}

static void add_row(struct simulation *simulation, uint32_t least, uint32_t most, bool first) {
  const struct ring_moves *moves = &simulation->moves;
  struct grid *grid = &simulation->grid;
  const uint32_t clashes = moves->node_clashes + moves->zone_clashes;
  const uint32_t balance = moves->balance_after;
  grid_add(grid, STYLE_BOLD, "%" PRIu32, simulation->after.member_count);
  grid_add(grid, STYLE_PLAIN, "%" PRIu32 ".%03" PRIu32, balance / 1000, balance % 1000);
  grid_add(grid, STYLE_PLAIN, "%" PRIu32, least);
  grid_add(grid, STYLE_PLAIN, "%" PRIu32, most);
  if (first) {
    for (uint32_t i = 0; i < 3; i++) {
      grid_add(grid, STYLE_DIM, "-");
    }
  } else {
    grid_add(grid, STYLE_PLAIN, "%" PRIu32, moves->replicas_moved);
    grid_add(grid, STYLE_PLAIN, "%" PRIu32, moves->optimum);
    if (moves->optimum == 0) {
      grid_add(grid, STYLE_DIM, "-");
    } else {
      grid_add(grid, STYLE_PLAIN, "%.3f", ratio_of(moves->replicas_moved, moves->optimum));
    }
  }
  grid_add(grid, clashes > 0 ? STYLE_RED : STYLE_PLAIN, "%" PRIu32, clashes);
  grid_add(grid, STYLE_PLAIN, "%" PRIu32, moves->detours);
}

static void add_step(struct simulation *simulation, uint32_t least, uint32_t most, bool first) {
  const struct ring_moves *moves = &simulation->moves;
  json_t *step =
      json_pack("{s:i, s:f, s:i, s:i, s:i, s:i, s:i}", "nodes", (int)simulation->after.member_count, "balance",
                moves->balance_after / 1000.0, "least", (int)least, "most", (int)most, "node_clashes",
                (int)moves->node_clashes, "zone_clashes", (int)moves->zone_clashes, "detours", (int)moves->detours);
  if (!first) {
    json_object_set_new(step, "moved", json_integer(moves->replicas_moved));
    json_object_set_new(step, "optimum", json_integer(moves->optimum));
    json_object_set_new(step, "ratio",
                        moves->optimum == 0 ? json_null() : json_real(ratio_of(moves->replicas_moved, moves->optimum)));
  }
  json_array_append_new(simulation->steps, step);
}

static void take_down(struct simulation *simulation, bool first) {
  uint32_t least;
  uint32_t most;
  const struct ring *before = first ? &simulation->after : &simulation->before;
  ring_compare(before, &simulation->after, simulation->replicas, &simulation->moves);
  simulation->moved += simulation->moves.replicas_moved;
  simulation->optimum += simulation->moves.optimum;
  find_extremes(&simulation->after, &least, &most);
  if (simulation->json) {
    add_step(simulation, least, most, first);
  } else {
    add_row(simulation, least, most, first);
  }
}

static void simulate(struct simulation *simulation) {
  issue(simulation, CHANGE_FOUND, 1);
  while (simulation->after.member_count < simulation->from) {
    issue(simulation, CHANGE_ADD, simulation->after.member_count + 1);
  }
  take_down(simulation, true);
  while (simulation->after.member_count < simulation->to) {
    issue(simulation, CHANGE_ADD, simulation->after.member_count + 1);
    take_down(simulation, false);
  }
  while (simulation->after.member_count > simulation->to) {
    issue(simulation, CHANGE_REMOVE, simulation->after.member_count);
    take_down(simulation, false);
  }
}

/* -- what is printed --------------------------------------------------------------- */

static void print_table(struct simulation *simulation) {
  printf("%" PRIu32 " partitions, N = %" PRIu32 ", %" PRIu32 " zone%s\n\n", simulation->partitions,
         simulation->replicas, simulation->zones, simulation->zones == 1 ? "" : "s");
  grid_print(&simulation->grid, "");
  if (simulation->from != simulation->to) {
    char moved[FIGURE_MAX];
    char optimum[FIGURE_MAX];
    printf("\n%s replicas moved in all, the fewest that could be %s: ratio %.3f\n",
           figure_count(moved, simulation->moved), figure_count(optimum, simulation->optimum),
           ratio_of(simulation->moved, simulation->optimum));
  }
}

static void print_json(struct simulation *simulation) {
  json_t *weights = json_array();
  for (uint32_t i = 0; i < simulation->weight_count; i++) {
    json_array_append_new(weights, json_integer(simulation->weights[i]));
  }
  json_t *document =
      json_pack("{s:i, s:i, s:i, s:o, s:O, s:I, s:I, s:f}", "partitions", (int)simulation->partitions, "n",
                (int)simulation->replicas, "zones", (int)simulation->zones, "weights", weights, "steps",
                simulation->steps, "moved", (json_int_t)simulation->moved, "optimum", (json_int_t)simulation->optimum,
                "ratio", ratio_of(simulation->moved, simulation->optimum));
  if (simulation->owners) {
    json_t *owners = json_array();
    for (uint32_t p = 0; p < simulation->partitions; p++) {
      json_array_append_new(owners, json_integer(ring_owner(&simulation->after, p)));
    }
    json_object_set_new(document, "owners", owners);
  }
  json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
  putchar('\n');
  json_decref(document);
}

int cmd_ring_simulate(int argc, char **argv) {
  struct simulation *simulation = calloc(1, sizeof *simulation);
  if (simulation == NULL) {
    return terminal_fail("there is not enough memory");
  }
  simulation->from = 3;
  simulation->to = 10;
  simulation->partitions = PARTITIONS_DEFAULT;
  simulation->zones = 1;
  simulation->replicas = 3;
  simulation->weights[0] = 1;
  simulation->weight_count = 1;
  cmd_parse(&argp, argc, argv, simulation);
  history_init(&simulation->history);
  simulation->steps = json_array();
  grid_init(&simulation->grid, 9, 0x1ff);
  static const char *const headings[] = {"nodes",   "max/mean", "least",   "most",   "moved",
                                         "optimum", "ratio",    "clashes", "detours"};
  for (size_t i = 0; i < sizeof headings / sizeof headings[0]; i++) {
    grid_add(&simulation->grid, STYLE_DIM, "%s", headings[i]);
  }
  simulate(simulation);
  if (simulation->json) {
    print_json(simulation);
  } else {
    print_table(simulation);
  }
  grid_deinit(&simulation->grid);
  json_decref(simulation->steps);
  free(simulation);
  return EXIT_DONE;
}
