#include "plant.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/plant.h"

#ifdef GRAMME_PLANT

enum plant plant_active = PLANT_none;

struct planted {
  const char *name;
  enum check check;
  const char *sentence;
};

static const struct planted planted[PLANT_COUNT] = {{"none", CHECK_assert, "nothing is wrong"},
#define X(name, checker, sentence) {#name, CHECK_##checker, sentence},
                                                    PLANT_TABLE(X)
#undef X
};

static bool prove(enum plant plant, const struct exploration *asked, bool first) {
  const struct planted *bug = &planted[plant];
  uint64_t runs = asked->runs == 0 ? PLANT_RUNS : asked->runs;
  uint64_t found = 0;
  uint64_t done = 0;
  uint64_t first_seed = 0;
  plant_active = plant;
  while (done < runs && !(first && found > 0)) {
    struct exploration exploration = *asked;
    struct summary summary;
    exploration.first = asked->first + done;
    exploration.runs = first ? asked->jobs : (runs - done < 20 ? runs - done : 20);
    exploration.quiet = true;
    explore(&exploration, &summary);
    first_seed = found == 0 && summary.failed[bug->check] > 0 ? exploration.first : first_seed;
    found += summary.failed[bug->check];
    done += exploration.runs;
  }
  plant_active = PLANT_none;
  printf("%-16s %s by %-8s in %" PRIu64 " of %" PRIu64 " seeds: %s\n", bug->name, found > 0 ? "found" : "MISSED",
         check_name(bug->check), found, done, bug->sentence);
  (void)fflush(stdout);
  return found > 0;
}

bool plants_prove(const char *name, const struct exploration *exploration, bool first) {
  bool all = strcmp(name, "all") == 0;
  bool known = all;
  uint32_t missed = 0;
  uint32_t proved = 0;
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
