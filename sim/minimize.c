#include <inttypes.h>
#include <stdio.h>

#include "explore.h"

/* Which checkers fail, one bit each. */
static uint32_t failures_of(uint64_t seed, enum profile profile, const struct change_of_plan *change) {
  struct plan plan;
  struct result result;
  uint32_t failed = 0;
  plan_for(&plan, seed, profile, change);
  (void)explore_one(&plan, false, false, true, &result);
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    failed |= result.checks.failed[i] > 0 ? 1u << i : 0;
  }
  return failed;
}

/* Tries a smaller change; keeps it when one of the same checkers still fails. */
static bool attempt(uint64_t seed, enum profile profile, uint32_t wanted, const struct change_of_plan *smaller,
                    struct change_of_plan *change) {
  if ((failures_of(seed, profile, smaller) & wanted) == 0) {
    return false;
  }
  *change = *smaller;
  return true;
}

static void lower(uint64_t seed, enum profile profile, uint32_t wanted, struct change_of_plan *change, uint32_t drawn,
                  size_t offset) {
  for (uint32_t value = 1; value < drawn; value++) {
    struct change_of_plan smaller = *change;
    *(uint32_t *)(void *)((char *)&smaller + offset) = value;
    if (attempt(seed, profile, wanted, &smaller, change)) {
      return;
    }
  }
}

void again_print(uint64_t seed, enum profile profile, const struct change_of_plan *change) {
  struct plan drawn;
  bool first = true;
  plan_draw(&drawn, seed, profile);
  printf("again: gramme-sim --seed %" PRIu64 " --profile %s", seed, profile_name(profile));
  for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
    if (change->without[i] && (drawn.on[i] || change->with[i])) {
      printf("%s%s", first ? " --without " : ",", feature_name((enum feature)i));
      first = false;
    }
  }
  first = true;
  for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
    if (change->with[i] && !change->without[i]) {
      printf("%s%s", first ? " --with " : ",", feature_name((enum feature)i));
      first = false;
    }
  }
  if (change->nodes != 0) {
    printf(" --nodes %" PRIu32, change->nodes);
  }
  if (change->spares != 0) {
    printf(" --spares %" PRIu32, change->spares - 1);
  }
  if (change->clients != 0) {
    printf(" --clients %" PRIu32, change->clients);
  }
  if (change->keys != 0) {
    printf(" --keys %" PRIu32, change->keys);
  }
  if (change->seconds != 0) {
    printf(" --seconds %" PRIu32, change->seconds);
  }
  printf("%s%s\n", change->torture ? " --delete-torture" : "", change->light ? " --light" : "");
}

bool minimize(uint64_t seed, enum profile profile, const struct change_of_plan *asked) {
  struct change_of_plan change = *asked;
  struct plan plan;
  uint32_t wanted = failures_of(seed, profile, &change);
  if (wanted == 0) {
    printf("seed %" PRIu64 ", profile %s, does not fail\n", seed, profile_name(profile));
    return true;
  }
  for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
    struct change_of_plan smaller = change;
    smaller.without[i] = true;
    plan_for(&plan, seed, profile, &change);
    if (plan.on[i]) {
      (void)attempt(seed, profile, wanted, &smaller, &change);
    }
  }
  plan_for(&plan, seed, profile, &change);
  lower(seed, profile, wanted, &change, plan.keys, offsetof(struct change_of_plan, keys));
  lower(seed, profile, wanted, &change, plan.clients, offsetof(struct change_of_plan, clients));
  lower(seed, profile, wanted, &change, plan.nodes, offsetof(struct change_of_plan, nodes));
  lower(seed, profile, wanted, &change, plan.spares + 1, offsetof(struct change_of_plan, spares));
  lower(seed, profile, wanted, &change, (uint32_t)(plan.duration_ns / 1000000000u),
        offsetof(struct change_of_plan, seconds));
  plan_for(&plan, seed, profile, &change);
  struct result result;
  (void)explore_one(&plan, true, false, false, &result);
  plan_print(&plan);
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    if (result.checks.failed[i] > 0) {
      printf("%s: %s\n", check_name((enum check)i), result.checks.text[i]);
    }
  }
  again_print(seed, profile, &change);
  return false;
}
