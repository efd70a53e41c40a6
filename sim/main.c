/* gramme-sim: runs clusters from seeds and says what broke. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"
#include "gossip.h"
#include "plant.h"
#include "settest.h"
#include "world.h"

struct options {
  bool seed_given, minimize_given, verbose, first;
  const char *plant;
  const char *found;
  uint32_t gossip;
  uint64_t set_tests;
  uint64_t seed, minimize;
  struct exploration exploration;
};

static void print_help(void) {
  printf(
      "usage: gramme-sim --seed N [--verbose]      replays one run; the last line is its trace\n"
      "       gramme-sim --runs M [--jobs J]       explores from --seed on (1); the last line is the summary\n"
      "       gramme-sim --minimize N              drops faults and clients while the failure stays\n"
      "       gramme-sim --gossip N                how fast N nodes with scattered histories agree\n"
      "       gramme-sim --set-test M              the classic set test, for M seeds: siblings, last write wins\n"
      "       gramme-sim --found FILE              runs what a file lists: lines of a seed, a profile, and why it is "
      "kept\n"
      "       gramme-sim --plant NAME|all          in how many of --runs seeds (200) a planted bug is found; with "
      "--seed\n"
      "                                            or --minimize: works with the bug; --first: until it is found once\n"
      "                                            (some are looked for only where members change, disks lose "
      "something, or deletions are forgotten)\n"
      "\n"
      "  --profile recoverable|hostile|both        recoverable: what fails comes back; safety and liveness\n"
      "                                            hostile: disks are lost too; safety only\n"
      "  --traces                                  with --runs: a line with the trace of each run\n"
      "  --with, --without FEATURE[,FEATURE...]|all adds these to what the seed draws, takes them away:\n     ");
  for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
    printf(" %s%s", feature_name((enum feature)i), i % 12 == 11 ? "\n     " : "");
  }
  printf(
      "\n  --nodes N --spares N --clients N --keys N at most so many; spares: nodes that may be added\n"
      "  --seconds N                               for so long\n"
      "  --light                                   no faults, default settings, five nodes, two clients that mostly "
      "think:\n"
      "                                            what `--seed 1 --light --seconds 3600` costs is what an hour costs\n"
      "  --delete-torture                          few keys, mostly deleted, and forgotten as soon as may be; weeks "
      "pass\n"
      "\nExit status: 0 nothing failed, 1 something did, 2 usage.\n");
  plants_print();
}

static _Noreturn void usage(const char *what, const char *value) {
  (void)fprintf(stderr, "gramme-sim: %s%s%s; see gramme-sim --help\n", what, value != NULL ? ": " : "",
                value != NULL ? value : "");
  exit(2);
}

static uint64_t number(const char *option, const char *text, uint64_t least, uint64_t most) {
  char *end = NULL;
  if (text[0] < '0' || text[0] > '9') {
    usage(option, "wants a number");
  }
  unsigned long long value = strtoull(text, &end, 10);
  if (*end != '\0' || value < least || value > most) {
    usage(option, "out of range");
  }
  return value;
}

static void set_features(bool features[FEATURE_COUNT], const char *list) {
  char name[32];
  while (*list != '\0') {
    size_t size = strcspn(list, ",");
    enum feature feature = FEATURE_COUNT;
    if (size == 3 && memcmp(list, "all", 3) == 0) {
      memset(features, true, FEATURE_COUNT * sizeof features[0]);
      list += size + (list[size] == ',' ? 1 : 0);
      continue;
    }
    if (size >= sizeof name) {
      usage("no such feature", list);
    }
    memcpy(name, list, size);
    name[size] = '\0';
    if (!feature_find(name, &feature)) {
      usage("no such feature", name);
    }
    features[feature] = true;
    list += size + (list[size] == ',' ? 1 : 0);
  }
}

static void set_profile(struct exploration *exploration, const char *name) {
  bool both = strcmp(name, "both") == 0;
  exploration->profiles[PROFILE_RECOVERABLE] = both || strcmp(name, "recoverable") == 0;
  exploration->profiles[PROFILE_HOSTILE] = both || strcmp(name, "hostile") == 0;
  if (!exploration->profiles[PROFILE_RECOVERABLE] && !exploration->profiles[PROFILE_HOSTILE]) {
    usage("no such profile", name);
  }
}

/* An option with a value. */
static void set_option(struct options *options, const char *option, const char *value) {
  struct exploration *exploration = &options->exploration;
  struct change_of_plan *change = &exploration->change;
  if (strcmp(option, "--seed") == 0) {
    options->seed = number(option, value, 0, UINT64_MAX);
    options->seed_given = true;
  } else if (strcmp(option, "--runs") == 0) {
    exploration->runs = number(option, value, 1, UINT64_MAX);
  } else if (strcmp(option, "--jobs") == 0) {
    exploration->jobs = (uint32_t)number(option, value, 1, 64);
  } else if (strcmp(option, "--minimize") == 0) {
    options->minimize = number(option, value, 0, UINT64_MAX);
    options->minimize_given = true;
  } else if (strcmp(option, "--profile") == 0) {
    set_profile(exploration, value);
  } else if (strcmp(option, "--plant") == 0) {
    options->plant = value;
  } else if (strcmp(option, "--gossip") == 0) {
    options->gossip = (uint32_t)number(option, value, 2, NODES_MAX);
  } else if (strcmp(option, "--set-test") == 0) {
    options->set_tests = number(option, value, 1, 1000000);
  } else if (strcmp(option, "--found") == 0) {
    options->found = value;
  } else if (strcmp(option, "--without") == 0) {
    set_features(change->without, value);
  } else if (strcmp(option, "--with") == 0) {
    set_features(change->with, value);
  } else if (strcmp(option, "--nodes") == 0) {
    change->nodes = (uint32_t)number(option, value, 1, PLAN_NODES_MAX);
  } else if (strcmp(option, "--spares") == 0) {
    change->spares = 1 + (uint32_t)number(option, value, 0, PLAN_SPARES_MAX);
  } else if (strcmp(option, "--clients") == 0) {
    change->clients = (uint32_t)number(option, value, 1, 1000);
  } else if (strcmp(option, "--keys") == 0) {
    change->keys = (uint32_t)number(option, value, 1, PLAN_KEYS_MAX);
  } else if (strcmp(option, "--seconds") == 0) {
    change->seconds = (uint32_t)number(option, value, 1, 1000000);
  } else {
    usage("no such option", option);
  }
}

static void parse(struct options *options, int argc, char **argv) {
  *options = (struct options){.seed = 1, .exploration = {.jobs = 1}};
  options->exploration.profiles[PROFILE_RECOVERABLE] = true;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0) {
      print_help();
      exit(0);
    }
    if (strcmp(argv[i], "--verbose") == 0) {
      options->verbose = true;
    } else if (strcmp(argv[i], "--first") == 0) {
      options->first = true;
    } else if (strcmp(argv[i], "--traces") == 0) {
      options->exploration.traces = true;
    } else if (strcmp(argv[i], "--light") == 0) {
      options->exploration.change.light = true;
    } else if (strcmp(argv[i], "--delete-torture") == 0) {
      options->exploration.change.torture = true;
    } else if (strncmp(argv[i], "--", 2) != 0) {
      usage("not an option", argv[i]);
    } else if (i + 1 == argc) {
      usage("wants a value, or is no option", argv[i]);
    } else {
      set_option(options, argv[i], argv[i + 1]);
      i += 1;
    }
  }
}

static int replay(const struct options *options, enum profile profile) {
  struct plan plan;
  struct result result;
  plan_for(&plan, options->seed, profile, &options->exploration.change);
  plan_print(&plan);
  bool well = explore_one(&plan, true, options->verbose, false, &result);
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    if (result.checks.failed[i] > 0) {
      printf("seed %" PRIu64 ", profile %s: %s (%s) FAILED %" PRIu64 " times, first: %s\n", options->seed,
             profile_name(profile), check_name((enum check)i), check_claim((enum check)i), result.checks.failed[i],
             result.checks.text[i]);
    }
    if (options->verbose) {
      printf("%s: looked %" PRIu64 " times\n", check_name((enum check)i), result.checks.looked[i]);
    }
  }
  printf("puts=%" PRIu64 " acked=%" PRIu64 " refused=%" PRIu64 " unknown=%" PRIu64 " gets=%" PRIu64
         " siblings_max=%" PRIu32 " clock_max=%" PRIu32 " events=%" PRIu64 " simulated_s=%" PRIu64 "\n",
         result.puts, result.acked, result.refused, result.unknown, result.gets, result.siblings_max, result.clock_max,
         result.steps, result.simulated_ns / 1000000000u);
  printf("trace %016" PRIx64 "\n", result.trace);
  return well ? 0 : 1;
}

/* What follows the sign, which ends the text; "" when it is not there. */
static const char *cut_at(char *text, char sign) {
  char *at = strchr(text, sign);
  if (at == NULL) {
    return "";
  }
  *at = '\0';
  return at + 1;
}

/* One that was kept: "SEED PROFILE why", or with features added and taken away: "SEED PROFILE+FEATURE,...-FEATURE,...
 * why". */
static bool run_kept(const char *line, const struct change_of_plan *given) {
  char name[128];
  uint64_t seed = 0;
  if (sscanf(line, "%" SCNu64 " %127s", &seed, name) != 2) {
    usage("not a seed and a profile", line);
  }
  struct change_of_plan change = *given;
  const char *without = cut_at(name, '-');
  const char *with = cut_at(name, '+');
  set_features(change.without, without);
  set_features(change.with, with);
  struct exploration exploration = {.runs = 0};
  set_profile(&exploration, name);
  struct plan plan;
  struct result result;
  plan_for(&plan, seed, exploration.profiles[PROFILE_HOSTILE] ? PROFILE_HOSTILE : PROFILE_RECOVERABLE, &change);
  return explore_one(&plan, true, false, false, &result);
}

/* Seeds that once failed. Lines that begin with # are comment. */
static int run_found(const struct options *options) {
  FILE *file = fopen(options->found, "r");
  char line[512];
  uint64_t runs = 0;
  uint64_t failures = 0;
  if (file == NULL) {
    usage("cannot be read", options->found);
  }
  while (fgets(line, sizeof line, file) != NULL) {
    if (line[0] == '#' || line[0] == '\n') {
      continue;
    }
    bool well = run_kept(line, &options->exploration.change);
    printf("%s %s", well ? "ok" : "FAILED", line);
    runs += 1;
    failures += well ? 0 : 1;
  }
  (void)fclose(file);
  printf("runs=%" PRIu64 " failures=%" PRIu64 "\n", runs, failures);
  return runs > 0 && failures == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
  struct options options;
  parse(&options, argc, argv);
  struct exploration *exploration = &options.exploration;
  enum profile profile = exploration->profiles[PROFILE_RECOVERABLE] ? PROFILE_RECOVERABLE : PROFILE_HOSTILE;
  exploration->first = options.seed;
  bool with_bug = options.plant != NULL && (options.minimize_given || (options.seed_given && exploration->runs == 0));
  if (with_bug && !plant_set(options.plant)) {
    usage("no such planted bug", options.plant);
  }
  if (options.plant != NULL && !with_bug) {
    return plants_prove(options.plant, exploration, options.first) ? 0 : 1;
  }
  if (options.gossip != 0) {
    return gossip_measure(options.gossip, options.seed) ? 0 : 1;
  }
  if (options.set_tests != 0) {
    return settest_measure(options.seed, options.set_tests) ? 0 : 1;
  }
  if (options.found != NULL) {
    return run_found(&options);
  }
  if (options.minimize_given) {
    return minimize(options.minimize, profile, &exploration->change) ? 0 : 1;
  }
  if (exploration->runs == 0) {
    if (!options.seed_given) {
      usage("nothing to do: --seed N, --runs M or --minimize N", NULL);
    }
    return replay(&options, profile);
  }
  struct summary summary;
  explore(exploration, &summary);
  summary_print(&summary);
  return summary.failures == 0 ? 0 : 1;
}
