#include "plant.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/plant.h"

#ifdef GRAMME_PLANT

enum plant plant_active = PLANT_none;

enum circumstance { WHERE_any, WHERE_changes, WHERE_losses, WHERE_amidst, WHERE_deletions };

struct planted {
  const char *name;
  enum check check;
  enum circumstance where;
  const char *sentence;
};

static const struct planted planted[PLANT_COUNT] = {{"none", CHECK_assert, WHERE_any, "nothing is wrong"},
#define X(name, checker, where, sentence) {#name, CHECK_##checker, WHERE_##where, sentence},
                                                    PLANT_TABLE(X)
#undef X
};

/* Adds what one more exploration found. */
static void add(struct summary *sum, const struct summary *more) {
  sum->runs += more->runs;
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    bool first = sum->failed[i] == 0 && more->failed[i] > 0;
    sum->first_seed[i] = first ? more->first_seed[i] : sum->first_seed[i];
    sum->failed[i] += more->failed[i];
    sum->alone[i] += more->alone[i];
  }
}

static void print_heading(void) {
  printf("%-16s %-8s %6s %6s %6s %6s  %s\n", "bug", "for", "seeds", "found", "alone", "first",
         "what is wrong; all checkers that failed, in how many seeds each");
}

static void print_proof(const struct planted *bug, const struct summary *sum) {
  bool found = sum->failed[bug->check] > 0;
  char first[24] = "MISSED";
  if (found) {
    (void)snprintf(first, sizeof first, "%" PRIu64, sum->first_seed[bug->check]);
  }
  printf("%-16s %-8s %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %6s  %s;", bug->name, check_name(bug->check), sum->runs,
         sum->failed[bug->check], sum->alone[bug->check], first, bug->sentence);
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    if (sum->failed[i] > 0) {
      printf(" %s %" PRIu64, check_name((enum check)i), sum->failed[i]);
    }
  }
  printf("\n");
  (void)fflush(stdout);
}

/* Some bugs show only where members change, or where disks lose something, or where both happen and little else. */
static void go_where(enum circumstance where, struct change_of_plan *change) {
  static const enum feature changes[] = {FEATURE_add, FEATURE_remove, FEATURE_replace, FEATURE_reweigh};
  static const enum feature loud[] = {FEATURE_clog,  FEATURE_split, FEATURE_oneway, FEATURE_bridge,   FEATURE_flap,
                                      FEATURE_crash, FEATURE_pause, FEATURE_weeks,  FEATURE_syncfails};
  bool amidst = where == WHERE_amidst;
  bool changing = where == WHERE_changes || amidst;
  bool losing = where == WHERE_losses || amidst;
  change->torture = change->torture || where == WHERE_deletions;
  for (uint32_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    change->with[changes[i]] = change->with[changes[i]] || changing;
    change->without[changes[i]] = change->without[changes[i]] || (losing && !amidst);
  }
  for (uint32_t i = 0; i < sizeof loud / sizeof loud[0]; i++) {
    change->without[loud[i]] = change->without[loud[i]] || amidst;
  }
  change->without[FEATURE_sync] = change->without[FEATURE_sync] || changing; /* it would mend what they spoil */
  change->with[FEATURE_damage] = change->with[FEATURE_damage] || (losing && !amidst);
  change->without[FEATURE_deadremove] = change->without[FEATURE_deadremove] || losing;
  change->with[FEATURE_oldcopy] = change->with[FEATURE_oldcopy] || amidst;
  change->with[FEATURE_empty] = change->with[FEATURE_empty] || losing;
  change->with[FEATURE_strict] = change->with[FEATURE_strict] || losing;
  change->with[FEATURE_load] = change->with[FEATURE_load] || losing;
}

static bool prove(enum plant plant, const struct exploration *asked, bool first) {
  const struct planted *bug = &planted[plant];
  uint64_t seeds = asked->runs == 0 ? PLANT_RUNS : asked->runs;
  struct summary sum = {.runs = 0};
  plant_active = plant;
  for (uint64_t done = 0; done < seeds && !(first && sum.failed[bug->check] > 0);) {
    struct exploration exploration = *asked;
    struct summary summary;
    uint64_t most = first ? asked->jobs : seeds;
    exploration.first = asked->first + done;
    exploration.runs = seeds - done < most ? seeds - done : most;
    exploration.quiet = true;
    go_where(bug->where, &exploration.change);
    explore(&exploration, &summary);
    add(&sum, &summary);
    done += exploration.runs;
  }
  plant_active = PLANT_none;
  print_proof(bug, &sum);
  return sum.failed[bug->check] > 0;
}

bool plants_prove(const char *name, const struct exploration *exploration, bool first) {
  bool all = strcmp(name, "all") == 0;
  bool known = all;
  uint32_t missed = 0;
  uint32_t proved = 0;
  print_heading();
  for (uint32_t i = 1; i < PLANT_COUNT; i++) {
    if (all || strcmp(planted[i].name, name) == 0) {
      known = true;
      proved += 1;
      missed += prove((enum plant)i, exploration, first) ? 0 : 1;
    }
  }
  if (!known) {
    (void)fprintf(stderr, "gramme-sim: no such planted bug: %s; see gramme-sim-plant --help\n", name);
    return false;
  }
  printf("planted=%" PRIu32 " missed=%" PRIu32 "\n", proved, missed);
  return missed == 0;
}

void plants_print(void) {
  printf("\nplanted bugs:\n");
  for (uint32_t i = 1; i < PLANT_COUNT; i++) {
    printf("  %-18s %s (%s)\n", planted[i].name, planted[i].sentence, check_name(planted[i].check));
  }
}

bool plant_set(const char *name) {
  for (uint32_t i = 1; i < PLANT_COUNT; i++) {
    if (strcmp(planted[i].name, name) == 0) {
      plant_active = (enum plant)i;
      return true;
    }
  }
  return false;
}

#else

#include <stdlib.h>
#include <unistd.h>

/* This program drives the core that ships, which has no planted bugs: the one beside it does. The arguments are
 * those of this process. */
static _Noreturn void hand_over(void) {
  static char arguments[65536];
  static char *list[1024];
  static char path[4096];
  FILE *file = fopen("/proc/self/cmdline", "rb");
  size_t size = file == NULL ? 0 : fread(arguments, 1, sizeof arguments - 1, file);
  size_t count = 0;
  for (size_t at = 0; at < size && count + 1 < sizeof list / sizeof list[0]; at += strlen(arguments + at) + 1) {
    list[count] = arguments + at;
    count += 1;
  }
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "-plant");
  if (length > 0) {
    memcpy(path + length, "-plant", sizeof "-plant");
    (void)execv(path, list);
  }
  (void)fprintf(stderr, "gramme-sim: cannot run %s; build gramme-sim-plant beside gramme-sim\n", path);
  exit(2);
}

bool plants_prove(const char *name, const struct exploration *exploration, bool first) {
  (void)name;
  (void)exploration;
  (void)first;
  hand_over();
}

void plants_print(void) {
}

bool plant_set(const char *name) {
  (void)name;
  hand_over();
}

#endif
