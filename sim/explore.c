#include "explore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

#define JOBS_MAX 64u
#define STORIES_MAX 2u

/* What a process says of a run. */
struct note {
  bool done;
  uint64_t index;
  enum profile profile;
  struct result result;
};

struct job {
  pid_t pid;
  int pipe;
  uint64_t next; /* index of the run that it does next */
  enum profile profile;
  bool finished;
};

static double seconds_now(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint32_t least(uint32_t a, uint32_t b) {
  return b != 0 && b < a ? b : a;
}

void plan_for(struct plan *plan, uint64_t seed, enum profile profile, const struct change_of_plan *change) {
  plan_draw(plan, seed, profile);
  if (change->light) {
    plan_light(plan);
  }
  if (change->torture) {
    plan_torture(plan);
  }
  for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
    plan->on[i] = (plan->on[i] || change->with[i]) && !change->without[i];
  }
  if (change->without[FEATURE_lww]) {
    plan->props[0].resolve = RESOLVE_SIBLINGS;
  }
  if (change->without[FEATURE_props]) {
    for (uint32_t i = 0; i < PLAN_BUCKETS_MAX; i++) {
      enum resolve resolve = plan->props[i].resolve;
      plan->props[i] = bucket_props_default();
      plan->props[i].resolve = resolve;
    }
  }
  bool brings = change->with[FEATURE_add] || change->with[FEATURE_replace];
  plan->spares = brings && plan->spares == 0 ? PLAN_SPARES_MAX / 2 : plan->spares;
  plan->nodes = least(plan->nodes, change->nodes);
  plan->spares = change->spares != 0 ? least(plan->spares + 1, change->spares) - 1 : plan->spares;
  plan->clients = least(plan->clients, change->clients);
  plan->keys = least(plan->keys, change->keys);
  plan_settle(plan);
  plan->duration_ns = change->seconds != 0 ? change->seconds * UINT64_C(1000000000) : plan->duration_ns;
}

/* -- one run ------------------------------------------------------------------------------ */

static void hush(void) {
  int nowhere = open("/dev/null", O_WRONLY);
  if (nowhere >= 0) {
    (void)dup2(nowhere, STDOUT_FILENO);
    (void)dup2(nowhere, STDERR_FILENO);
    (void)close(nowhere);
  }
}

static bool write_whole(int to, const void *data, size_t size) {
  const char *at = data;
  while (size > 0) {
    ssize_t written = write(to, at, size);
    if (written <= 0) {
      return false;
    }
    at += written;
    size -= (size_t)written;
  }
  return true;
}

static bool read_whole(int from, void *data, size_t size) {
  char *at = data;
  while (size > 0) {
    ssize_t got = read(from, at, size);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return false;
    }
    at += got;
    size -= (size_t)got;
  }
  return true;
}

static void result_of_death(uint64_t seed, struct result *result) {
  memset(result, 0, sizeof *result);
  result->seed = seed;
  result->checks.looked[CHECK_assert] = result->checks.failed[CHECK_assert] = 1;
  result->checks.key[CHECK_assert] = CHECK_NO_KEY;
  (void)snprintf(result->checks.text[CHECK_assert], CHECK_TEXT_BYTES, "the run died; see what it said on stderr");
}

bool explore_one(const struct plan *plan, bool tell, bool all, bool quiet, struct result *result) {
  int ends[2];
  (void)fflush(stdout);
  if (pipe(ends) != 0) {
    perror("gramme-sim: pipe");
    exit(1);
  }
  pid_t pid = fork();
  if (pid == 0) {
    (void)close(ends[0]);
    if (quiet) {
      hush();
    }
    run_once(plan, tell, all, result);
    (void)fflush(stdout);
    _exit(write_whole(ends[1], result, sizeof *result) ? 0 : 1);
  }
  (void)close(ends[1]);
  bool whole = read_whole(ends[0], result, sizeof *result);
  (void)close(ends[0]);
  (void)waitpid(pid, NULL, 0);
  if (!whole) {
    result_of_death(plan->seed, result);
  }
  return !result_failed(result);
}

/* -- many ------------------------------------------------------------------------------------ */

static bool profile_next(const struct exploration *exploration, enum profile *profile) {
  if (*profile == PROFILE_RECOVERABLE && exploration->profiles[PROFILE_HOSTILE]) {
    *profile = PROFILE_HOSTILE;
    return true;
  }
  return false;
}

static enum profile profile_first(const struct exploration *exploration) {
  return exploration->profiles[PROFILE_RECOVERABLE] ? PROFILE_RECOVERABLE : PROFILE_HOSTILE;
}

/* Puts the job on the run after this one. */
static void job_advance(const struct exploration *exploration, struct job *job) {
  if (!profile_next(exploration, &job->profile)) {
    job->profile = profile_first(exploration);
    job->next += exploration->jobs;
  }
}

static _Noreturn void job_work(const struct exploration *exploration, struct job job, int to) {
  static struct note note;
  hush();
  while (job.next < exploration->runs) {
    struct plan plan;
    plan_for(&plan, exploration->first + job.next, job.profile, &exploration->change);
    note = (struct note){.index = job.next, .profile = job.profile};
    run_once(&plan, false, false, &note.result);
    note.done = true;
    if (!write_whole(to, &note, sizeof note)) {
      _exit(1);
    }
    job_advance(exploration, &job);
  }
  _exit(0);
}

static void job_start(const struct exploration *exploration, struct job *job) {
  int ends[2];
  job->finished = job->next >= exploration->runs;
  if (job->finished) {
    return;
  }
  (void)fflush(stdout);
  if (pipe(ends) != 0) {
    perror("gramme-sim: pipe");
    exit(1);
  }
  job->pid = fork();
  if (job->pid == 0) {
    (void)close(ends[0]);
    job_work(exploration, *job, ends[1]);
  }
  (void)close(ends[1]);
  job->pipe = ends[0];
}

static void report_failure(const struct exploration *exploration, const struct summary *summary, enum profile profile,
                           const struct result *result) {
  struct plan plan;
  plan_for(&plan, result->seed, profile, &exploration->change);
  printf("seed %" PRIu64 ", profile %s: FAILED\n", result->seed, profile_name(profile));
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    if (result->checks.failed[i] > 0) {
      printf("  %s (%s), %" PRIu64 " times, first: %s\n", check_name((enum check)i), check_claim((enum check)i),
             result->checks.failed[i], result->checks.text[i]);
    }
  }
  if (summary->failures <= STORIES_MAX) {
    struct result again;
    plan_print(&plan);
    (void)explore_one(&plan, true, false, false, &again);
  }
  printf("  ");
  again_print(result->seed, profile, &exploration->change);
}

static void account(const struct exploration *exploration, struct summary *summary, enum profile profile,
                    const struct result *result) {
  summary->runs += 1;
  summary->simulated_ns += result->simulated_ns;
  summary->events += result->steps;
  summary->puts += result->puts;
  summary->acked += result->acked;
  summary->refused += result->refused;
  summary->unknown += result->unknown;
  summary->gets += result->gets;
  summary->hints_delivered += result->hints_delivered;
  summary->read_repairs += result->read_repairs;
  summary->forwards += result->forwards;
  summary->changes += result->changes;
  summary->changed_runs += result->changes > 0 ? 1 : 0;
  summary->truncated_runs += result->truncated > 0 ? 1 : 0;
  summary->full_runs += result->siblings_max >= SIBLINGS_MAX ? 1 : 0;
  uint32_t failing = 0;
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    failing += result->checks.failed[i] > 0 ? 1 : 0;
  }
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    summary->looked[i] += result->checks.looked[i];
    summary->runs_looked[i] += result->checks.looked[i] > 0 ? 1 : 0;
    if (result->checks.failed[i] > 0) {
      bool first = summary->failed[i] == 0 || result->seed < summary->first_seed[i];
      summary->first_seed[i] = first ? result->seed : summary->first_seed[i];
      summary->failed[i] += 1;
      summary->alone[i] += failing == 1 ? 1 : 0;
    }
  }
  if (exploration->traces) {
    printf("%" PRIu64 " %s %016" PRIx64 "\n", result->seed, profile_name(profile), result->trace);
  }
  if (result_failed(result)) {
    summary->failures += 1;
    if (!exploration->quiet) {
      report_failure(exploration, summary, profile, result);
    }
  }
}

/* Takes one note from a job; a job that died is counted, and started again behind the run that killed it. */
static void job_listen(const struct exploration *exploration, struct job *job, struct summary *summary) {
  static struct note note;
  if (read_whole(job->pipe, &note, sizeof note)) {
    account(exploration, summary, note.profile, &note.result);
    job_advance(exploration, job);
    return;
  }
  (void)close(job->pipe);
  (void)waitpid(job->pid, NULL, 0);
  if (job->next < exploration->runs) {
    result_of_death(exploration->first + job->next, &note.result);
    account(exploration, summary, job->profile, &note.result);
    job_advance(exploration, job);
  }
  job_start(exploration, job);
}

void explore(const struct exploration *exploration, struct summary *summary) {
  struct job jobs[JOBS_MAX];
  double started = seconds_now();
  ASSERT(exploration->jobs >= 1 && exploration->jobs <= JOBS_MAX);
  memset(summary, 0, sizeof *summary);
  for (uint32_t i = 0; i < exploration->jobs; i++) {
    jobs[i] = (struct job){.next = i, .profile = profile_first(exploration)};
    job_start(exploration, &jobs[i]);
  }
  for (;;) {
    struct pollfd polls[JOBS_MAX];
    uint32_t left = 0;
    for (uint32_t i = 0; i < exploration->jobs; i++) {
      polls[i] = (struct pollfd){.fd = jobs[i].finished ? -1 : jobs[i].pipe, .events = POLLIN};
      left += jobs[i].finished ? 0 : 1;
    }
    if (left == 0) {
      break;
    }
    if (poll(polls, exploration->jobs, -1) < 0) {
      continue;
    }
    for (uint32_t i = 0; i < exploration->jobs; i++) {
      if (!jobs[i].finished && polls[i].revents != 0) {
        job_listen(exploration, &jobs[i], summary);
      }
    }
  }
  summary->wall_seconds = seconds_now() - started;
}

void summary_print(const struct summary *summary) {
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    if (summary->runs_looked[i] == 0 && i != CHECK_assert) {
      printf("note: the checker %s had nothing to check in any run\n", check_name((enum check)i));
    }
  }
  printf("puts=%" PRIu64 " acked=%" PRIu64 " refused=%" PRIu64 " unknown=%" PRIu64 " gets=%" PRIu64 " forwards=%" PRIu64
         " hints=%" PRIu64 " repairs=%" PRIu64 " truncated_runs=%" PRIu64 " full_runs=%" PRIu64 " changes=%" PRIu64
         " in %" PRIu64 " runs\n",
         summary->puts, summary->acked, summary->refused, summary->unknown, summary->gets, summary->forwards,
         summary->hints_delivered, summary->read_repairs, summary->truncated_runs, summary->full_runs, summary->changes,
         summary->changed_runs);
  printf("runs=%" PRIu64 " failures=%" PRIu64 " simulated_s=%" PRIu64 " events=%" PRIu64 " wall_s=%.1f", summary->runs,
         summary->failures, summary->simulated_ns / 1000000000u, summary->events, summary->wall_seconds);
  for (uint32_t i = 0; i < CHECK_COUNT; i++) {
    if (i != CHECK_assert) {
      printf(" %s=%" PRIu64, check_name((enum check)i), summary->looked[i]);
    }
  }
  printf("\n");
}
