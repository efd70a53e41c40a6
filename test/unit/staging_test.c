/* Plans of membership, who is who by the history, and how fast partitions move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front/progress.h"
#include "front/roster.h"
#include "front/staging.h"

struct fixture {
  struct history history;
  struct ring near; /* of the first members: a part of the history */
  struct staging staging;
  char why[STAGING_WHY];
};

static struct change newcomer(uint32_t number) {
  struct change change = {.kind = CHANGE_ADD,
                          .node = 0xb0 + number,
                          .weight = 100,
                          .client_port = (uint16_t)(7000 + number),
                          .peer_port = (uint16_t)(17000 + number)};
  snprintf(change.host, sizeof(change.host), "10.0.0.1");
  snprintf(change.name, sizeof(change.name), "n%u", number);
  return change;
}

static void issue(struct history *history, struct change change) {
  change.time = 100 * (history_length(history) + 1);
  change.issuer = 0xb0;
  assert_int_equal(history_add(history, &change), ERR_OK);
}

/* n0, n1 ... of weight 100. */
static struct fixture *begin(uint32_t members) {
  struct fixture *f = calloc(1, sizeof(*f));
  assert_non_null(f);
  for (uint32_t i = 0; i < members; i++) {
    struct change change = newcomer(i);
    change.kind = i == 0 ? CHANGE_FOUND : CHANGE_ADD;
    change.partition_count = i == 0 ? 64 : 0;
    issue(&f->history, change);
  }
  ring_fold(&f->near, &f->history);
  staging_init(&f->staging, 0xb0, &f->history, &f->near);
  assert_int_equal(f->staging.before.member_count, members);
  assert_int_equal(f->staging.plan_id, 0);
  return f;
}

/* -- staging ------------------------------------------------------------------------------------------ */

static void what_is_staged_is_what_the_history_makes_of_it(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  struct change five = newcomer(5);
  struct change six = newcomer(6);
  assert_true(staging_add(&f->staging, &five, f->why));
  assert_true(staging_replace(&f->staging, "n1", &six, f->why));
  assert_true(staging_remove(&f->staging, "n2", f->why));
  assert_true(staging_reweigh(&f->staging, "n3", 300, f->why));
  for (uint32_t i = 0; i < f->staging.count; i++) {
    issue(&f->history, f->staging.staged[i]); /* other times, and another issuer: the same ring */
  }
  static struct ring ring;
  ring_fold(&ring, &f->history);
  assert_int_equal(ring.member_count, 4);
  assert_memory_equal(ring.owners, f->staging.after.owners, 64 * sizeof(ring.owners[0]));
  for (uint32_t i = 0; i < ring.member_count; i++) {
    assert_int_equal(ring.members[i].node, f->staging.after.members[i].node);
    assert_int_equal(ring.members[i].weight, f->staging.after.members[i].weight);
  }
  free(f);
}

static void equal_plans_have_equal_ids_and_others_others(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  struct fixture *g = begin(4);
  assert_true(staging_remove(&f->staging, "n1", f->why));
  assert_true(staging_remove(&g->staging, "000000b1", g->why));
  assert_int_equal(f->staging.plan_id, g->staging.plan_id);
  assert_true(staging_reweigh(&f->staging, "n2", 50, f->why));
  assert_true(staging_reweigh(&g->staging, "n2", 51, g->why));
  assert_int_not_equal(f->staging.plan_id, g->staging.plan_id);
  struct fixture *h = begin(5);
  assert_true(staging_remove(&h->staging, "n1", h->why));
  assert_true(staging_reweigh(&h->staging, "n2", 50, h->why));
  assert_int_not_equal(f->staging.plan_id, h->staging.plan_id);
  free(f);
  free(g);
  free(h);
}

static void a_replacement_may_have_the_name_and_address_of_the_dead(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  struct change twin = newcomer(2);
  twin.node = 0xbf;
  assert_false(staging_add(&f->staging, &twin, f->why));
  assert_non_null(strstr(f->why, "10.0.0.1:7002 is the address of the member n2, by another id"));
  assert_true(staging_replace(&f->staging, "n2", &twin, f->why));
  assert_true(ring_find(&f->staging.after, 0xbf) >= 0);
  assert_true(ring_find(&f->staging.after, 0xb2) < 0);
  free(f);
}

static void a_replacement_takes_the_weight_and_where_it_has_none_the_zone(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  struct change zoned = newcomer(7);
  snprintf(zoned.zone, sizeof(zoned.zone), "z");
  zoned.weight = 250;
  issue(&f->history, zoned);
  assert_int_equal(staging_refresh(&f->staging, &f->history, &f->near, f->why), 0);
  struct change heir = newcomer(8);
  assert_true(staging_replace(&f->staging, "n7", &heir, f->why));
  const struct change *staged = &f->staging.staged[0];
  assert_int_equal(staged->weight, 250);
  assert_string_equal(staged->zone, "z");
  struct change other = newcomer(9);
  snprintf(other.zone, sizeof(other.zone), "y");
  assert_true(staging_replace(&f->staging, "n1", &other, f->why));
  assert_string_equal(f->staging.staged[1].zone, "y");
  free(f);
}

static void a_name_that_two_members_have_names_none(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  struct change twin = newcomer(9);
  snprintf(twin.name, sizeof(twin.name), "n1");
  issue(&f->history, twin);
  assert_int_equal(staging_refresh(&f->staging, &f->history, &f->near, f->why), 0);
  assert_false(staging_remove(&f->staging, "n1", f->why));
  assert_non_null(strstr(f->why, "more than one node is called 'n1'"));
  assert_true(staging_remove(&f->staging, "10.0.0.1:7001", f->why));
  assert_int_equal(f->staging.staged[0].node, 0xb1);
  free(f);
}

static void who_was_taken_out_comes_back_only_as_another(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  issue(&f->history, (struct change){.kind = CHANGE_REMOVE, .node = 0xb3});
  assert_int_equal(staging_refresh(&f->staging, &f->history, &f->near, f->why), 0);
  struct change back = newcomer(3);
  assert_false(staging_add(&f->staging, &back, f->why));
  assert_non_null(strstr(f->why, "start it with an empty data directory"));
  back.node = 0xc3;
  assert_true(staging_add(&f->staging, &back, f->why));
  free(f);
}

static void the_last_member_stays(void **state) {
  (void)state;
  struct fixture *f = begin(2);
  assert_true(staging_remove(&f->staging, "n0", f->why));
  assert_false(staging_remove(&f->staging, "n1", f->why));
  assert_non_null(strstr(f->why, "the last member"));
  free(f);
}

static void more_than_one_commit_takes_is_refused(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  for (uint32_t i = 0; i < CHANGES_PER_COMMIT_MAX; i++) {
    assert_true(staging_reweigh(&f->staging, "n1", 1 + i, f->why));
  }
  assert_false(staging_reweigh(&f->staging, "n1", 999, f->why));
  assert_non_null(strstr(f->why, "64 changes are staged"));
  assert_int_equal(f->staging.count, CHANGES_PER_COMMIT_MAX);
  free(f);
}

static void what_others_did_meanwhile_is_dropped_and_the_rest_kept(void **state) {
  (void)state;
  struct fixture *f = begin(5);
  assert_true(staging_remove(&f->staging, "n1", f->why));
  assert_true(staging_reweigh(&f->staging, "n2", 70, f->why));
  uint64_t before = f->staging.plan_id;
  issue(&f->history, (struct change){.kind = CHANGE_REMOVE, .node = 0xb1});
  assert_int_equal(staging_refresh(&f->staging, &f->history, &f->near, f->why), 1);
  assert_non_null(strstr(f->why, "there is no member '000000b1'"));
  assert_int_equal(f->staging.count, 1);
  assert_int_equal(f->staging.staged[0].kind, CHANGE_REWEIGH);
  assert_int_not_equal(f->staging.plan_id, before);
  assert_int_equal(f->staging.history_digest, history_digest(&f->history));
  free(f);
}

/* -- the roster ------------------------------------------------------------------------------------------- */

static void the_roster_knows_who_left_and_who_came_back(void **state) {
  (void)state;
  struct fixture *f = begin(3);
  struct identity present[ROSTER_MAX];
  struct identity one;
  assert_false(roster_has_left(&f->history, 0xb1));
  assert_false(roster_has_left(&f->history, 0xee)); /* was never there */
  issue(&f->history, (struct change){.kind = CHANGE_REMOVE, .node = 0xb1});
  struct change heir = newcomer(5);
  heir.kind = CHANGE_REPLACE;
  heir.old = 0xb2;
  issue(&f->history, heir);
  assert_true(roster_has_left(&f->history, 0xb1));
  assert_true(roster_has_left(&f->history, 0xb2));
  assert_true(roster_find(&f->history, 0xb2, &one));
  assert_string_equal(one.name, "n2");
  assert_false(roster_find(&f->history, 0xee, &one));
  assert_int_equal(roster_present(&f->history, present, ROSTER_MAX), 2);
  struct change moved = newcomer(1);
  moved.peer_port = 18000;
  issue(&f->history, moved);
  assert_false(roster_has_left(&f->history, 0xb1));
  assert_true(roster_find(&f->history, 0xb1, &one));
  assert_int_equal(one.peer_port, 18000);
  assert_int_equal(roster_present(&f->history, present, ROSTER_MAX), 3);
  assert_int_equal(roster_present(&f->history, present, 2), 2);
  free(f);
}

static void what_was_folded_away_is_still_known(void **state) {
  (void)state;
  struct fixture *f = begin(4);
  struct identity present[ROSTER_MAX];
  struct identity one;
  issue(&f->history, (struct change){.kind = CHANGE_REMOVE, .node = 0xb1});
  static struct ring ring;
  ring_fold(&ring, &f->history);
  assert_int_equal(history_compact(&f->history, &ring), ERR_OK);
  assert_int_equal(f->history.count, 0);
  assert_int_equal(roster_present(&f->history, present, ROSTER_MAX), 3);
  assert_true(roster_find(&f->history, 0xb2, &one));
  assert_string_equal(one.name, "n2");
  assert_int_equal(one.peer_port, 17002);
  assert_true(roster_has_left(&f->history, 0xb1));
  assert_int_equal(staging_refresh(&f->staging, &f->history, &ring, f->why), 0);
  assert_int_equal(f->staging.before.member_count, 3);
  struct change back = newcomer(1);
  assert_false(staging_add(&f->staging, &back, f->why));
  struct change five = newcomer(5);
  assert_true(staging_add(&f->staging, &five, f->why));
  assert_true(staging_remove(&f->staging, "n2", f->why));
  issue(&f->history, (struct change){.kind = CHANGE_REWEIGH, .node = 0xb3, .weight = 7});
  assert_int_equal(staging_refresh(&f->staging, &f->history, &ring, f->why), 0);
  assert_int_equal(f->staging.count, 2);
  assert_int_equal(f->staging.after.member_count, 3);
  free(f);
}

/* -- progress --------------------------------------------------------------------------------------------------- */

#define SECOND UINT64_C(1000000000)

static void the_rate_is_that_of_the_last_ten_seconds(void **state) {
  (void)state;
  struct progress progress = {0};
  assert_int_equal(progress_bytes_per_s(&progress), 0);
  for (uint64_t i = 0; i < 100; i++) {
    uint64_t bytes = i < 50 ? 1000 * i : 1000 * 50 + 10 * (i - 50);
    progress_note(&progress, i * SECOND, i, bytes);
  }
  assert_int_equal(progress.count, PROGRESS_SAMPLES);
  assert_int_equal(progress_bytes_per_s(&progress), 10);
  assert_int_equal(progress_keys_per_s(&progress), 1);
}

static void totals_that_fall_start_anew(void **state) {
  (void)state;
  struct progress progress = {0};
  progress_note(&progress, SECOND, 10, 1000);
  progress_note(&progress, 2 * SECOND, 20, 3000);
  assert_int_equal(progress_bytes_per_s(&progress), 2000);
  progress_note(&progress, 3 * SECOND, 0, 0);
  assert_int_equal(progress.count, 1);
  assert_int_equal(progress_bytes_per_s(&progress), 0);
  progress_note(&progress, 3 * SECOND, 5, 5); /* no time has passed */
  assert_int_equal(progress.count, 1);
  progress_note(&progress, 3 * SECOND + PROGRESS_STALE_NS + 1, 5, 5);
  assert_int_equal(progress.count, 1);
}

static void the_time_left_is_that_of_the_bytes_left(void **state) {
  (void)state;
  assert_int_equal(progress_eta_s(0, 0), 0);
  assert_int_equal(progress_eta_s(1, 0), UINT64_MAX);
  assert_int_equal(progress_eta_s(10, 3), 4);
  assert_int_equal(progress_eta_s(9, 3), 3);
  assert_int_equal(progress_bytes_left(10, 10, 500, 7), 0);
  assert_int_equal(progress_bytes_left(10, 5, 500, 7), 500);
  assert_int_equal(progress_bytes_left(10, 0, 20, 7), 50);
  assert_int_equal(progress_bytes_left(10, 0, 200, 7), 0);
  assert_int_equal(progress_bytes_left(0, 0, 0, 7), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_staged_is_what_the_history_makes_of_it),
      cmocka_unit_test(equal_plans_have_equal_ids_and_others_others),
      cmocka_unit_test(a_replacement_may_have_the_name_and_address_of_the_dead),
      cmocka_unit_test(a_replacement_takes_the_weight_and_where_it_has_none_the_zone),
      cmocka_unit_test(a_name_that_two_members_have_names_none),
      cmocka_unit_test(who_was_taken_out_comes_back_only_as_another),
      cmocka_unit_test(the_last_member_stays),
      cmocka_unit_test(more_than_one_commit_takes_is_refused),
      cmocka_unit_test(what_others_did_meanwhile_is_dropped_and_the_rest_kept),
      cmocka_unit_test(the_roster_knows_who_left_and_who_came_back),
      cmocka_unit_test(what_was_folded_away_is_still_known),
      cmocka_unit_test(the_rate_is_that_of_the_last_ten_seconds),
      cmocka_unit_test(totals_that_fall_start_anew),
      cmocka_unit_test(the_time_left_is_that_of_the_bytes_left),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
