#include "admit/admit.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/plant.h"

#define LOOK_NS UINT64_C(1000000000)
#define ACTIVE_NS UINT64_C(1500000000) /* who has not asked for so long has nothing to do, or is at it */
#define P999 99900u

void admit_init(struct admit *admit) {
  ASSERT(admit->look_ns == 0);
  admit->level = ADMIT_WHOLE;
  admit->start = ADMIT_FIRST;
}

static uint32_t least(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

/* -- the level ---------------------------------------------------------------------------- */

void admit_note(struct admit *admit, const struct admit_settings *settings, uint64_t now_ns, uint64_t took_ns) {
  window_record(&admit->window, now_ns, took_ns);
  admit->all += 1;
  admit->slow += took_ns >= settings->target_ns ? 1 : 0;
  ASSERT(admit->slow <= admit->all);
}

static bool somebody_waits(const struct admit *admit, uint64_t now_ns) {
  return admit->waits_ns != 0 && now_ns - admit->waits_ns < ACTIVE_NS;
}

static void start_look(struct admit *admit, uint64_t now_ns) {
  bool was_quiet = admit->quiet == ADMIT_QUIET;
  admit->quiet = admit->p999_ns == 0 ? least(admit->quiet + 1, ADMIT_QUIET) : 0;
  if (admit->quiet == ADMIT_QUIET) {
    admit->start = ADMIT_WHOLE;
  } else if (was_quiet && !somebody_waits(admit, now_ns)) {
    admit->start = ADMIT_FIRST;
  } else if (somebody_waits(admit, now_ns)) {
    admit->start = least(admit->start + ADMIT_START_RISE, ADMIT_WHOLE);
  } else if (admit->start > ADMIT_FIRST) {
    admit->start -= least(ADMIT_START_RISE, admit->start - ADMIT_FIRST);
  }
}

void admit_tick(struct admit *admit, const struct admit_settings *settings, uint64_t now_ns) {
  if (now_ns < admit->look_ns) {
    return;
  }
  admit->p999_ns = window_percentile(&admit->window, now_ns, P999);
  bool bad = admit->p999_ns >= settings->target_ns;
  bool bad_lately = admit->slow * 1000u > admit->all || settings->target_ns == 0;
  if (!bad) {
    admit->level = least(admit->level + ADMIT_RISE, ADMIT_WHOLE);
  } else if (bad_lately) {
    /* Where nobody here would work, it is not the start that has been too much. */
    admit->level = somebody_waits(admit, now_ns) ? least(admit->level, admit->start) / 2 : admit->level / 2;
  }
  start_look(admit, now_ns);
  ASSERT(admit->level <= ADMIT_WHOLE && admit->start <= ADMIT_WHOLE);
  admit->slow = admit->all = 0;
  admit->look_ns = now_ns + LOOK_NS;
}

uint32_t admit_held_back(const struct admit *admit) {
  ASSERT(admit->level <= ADMIT_WHOLE);
  return ADMIT_WHOLE - admit->level;
}

/* -- grants --------------------------------------------------------------------------------- */

static uint64_t rate_at(const struct admit_settings *settings, uint32_t level) {
  uint64_t most = settings->bytes_per_s;
  uint64_t floor = most < BACKGROUND_FLOOR_BYTES ? most : BACKGROUND_FLOOR_BYTES;
  ASSERT(level <= ADMIT_WHOLE && most <= UINT64_MAX / ADMIT_WHOLE);
  return floor + (most - floor) * level / ADMIT_WHOLE;
}

/* Among how many the rate is shared: this one, and others that want to work too. */
static uint32_t sharers(const struct admit *admit, enum admit_kind kind, uint64_t now_ns) {
  uint32_t count = 1;
  for (uint32_t i = 0; i < ADMIT_KINDS; i++) {
    const struct admit_line *line = &admit->lines[i];
    count += i != kind && line->asked_ns != 0 && now_ns - line->asked_ns < ACTIVE_NS ? 1 : 0;
  }
  return count;
}

bool admit_may(struct admit *admit, const struct admit_settings *settings, enum admit_kind kind,
               uint32_t other_held_back, uint64_t now_ns, uint64_t *due_ns) {
  ASSERT(kind < ADMIT_KINDS && other_held_back <= ADMIT_WHOLE);
  struct admit_line *line = &admit->lines[kind];
  uint32_t level = least(least(ADMIT_WHOLE - other_held_back, admit->level), admit->start);
  line->asked_ns = now_ns;
  if (PLANTED(starves) && level == 0) {
    *due_ns = now_ns + LOOK_NS;
    return false;
  }
  uint64_t rate = rate_at(settings, level);
  uint64_t share = rate / sharers(admit, kind, now_ns);
  bool may = pace_may_spend(&line->pace, rate > 0 && share == 0 ? 1 : share, now_ns, due_ns);
  admit->waits_ns = may ? admit->waits_ns : now_ns;
  return may;
}

void admit_spend(struct admit *admit, const struct admit_settings *settings, enum admit_kind kind, uint64_t bytes) {
  ASSERT(kind < ADMIT_KINDS);
  admit->lines[kind].spent_bytes += bytes;
  pace_spend(&admit->lines[kind].pace, settings->bytes_per_s, ADMIT_SLICE_BYTES + bytes);
}

void admit_describe(const struct admit *admit, const struct admit_settings *settings, struct admit_view *out) {
  *out = (struct admit_view){.level = admit->level,
                             .start = admit->start,
                             .bytes_per_s = rate_at(settings, least(admit->level, admit->start)),
                             .p999_ns = admit->p999_ns,
                             .target_ns = settings->target_ns};
  for (uint32_t i = 0; i < ADMIT_KINDS; i++) {
    out->spent_bytes[i] = admit->lines[i].spent_bytes;
  }
}
