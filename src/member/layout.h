/* The live layouts and this node's mark (layout.c), and what the marks of the others permit (barrier.c); paper §4.9,
 * docs/adr/0005.
 *
 * INVARIANTS: what was told is `mark`; reads go by the target only when `mark` says READS of it; a node whose mark, or
 * the one that is being stored, is HOLDS, RELEASES or READS keeps its target, but as the rules of release have it.
 */
#ifndef GRAMME_MEMBER_LAYOUT_H
#define GRAMME_MEMBER_LAYOUT_H

#include "member/member.h"

/* The live layouts, as they are in memory, and the mark, as it is on disk. The mark lags behind: layouts that are new
 * are written by at once, and told when the mark is durable. */
#define LAYOUT_SOON_NS 1000000u  /* the layouts have changed: ask the coordinator how far it is */
#define LAYOUT_POLL_NS 20000000u /* and again */

/* Which record of the history: they are in the order of this. */
struct identity {
  uint64_t time;
  uint32_t issuer;
};

/* Where the targets end that were told with this base, in the order in which they were: durable with the mark. Of more
 * than SAID_MAX the oldest is forgotten. */
#define SAID_MAX 16u
struct said {
  uint32_t count;
  struct identity ends[SAID_MAX];
};

struct layout {
  struct mark mark; /* durable, and told */
  struct mark next; /* being stored, if `storing` */
  struct said said, next_said;
  bool storing;
  bool stored;           /* META_LAYOUT is there: none is an older directory, or a new one */
  bool joined;           /* gained by the target: all knew of it at some time */
  bool leaves;           /* the target has it not, and all hold: it serves nobody any more */
  bool agreed, all_done; /* as in struct step */
  uint32_t base_count, target_count;
  uint64_t base_hint; /* the digest of a base that HISTORY told of and that is not looked at yet; 0 none */
  uint64_t retry_due_ns;
  uint64_t due_ns;     /* look again */
  uint64_t started_ns; /* when the target became this one */
  uint32_t epoch;
  struct member_progress progress; /* as of the tick in `progress_epoch`, and of these bucket properties */
  uint32_t progress_epoch;
  uint64_t progress_buckets;
};

void layout_init(struct member *member, const struct shard_config *config);
/* After anything that may have changed what the marks permit: goes as far as may be gone now. */
void layout_run(struct member *member, struct step *step);
void layout_history_changed(struct member *member, struct step *step); /* the history has just become durable */
void layout_tick(struct member *member, struct step *step);
void layout_committed(struct member *member, struct step *step, enum err err);
/* The first that a new directory is told, before any history: that there is no base yet. */
void layout_store_first(struct member *member, struct step *step);
/* The mark and what it is to be read with, for a heartbeat. */
void layout_tell(const struct member *member, struct heartbeat *heartbeat);
/* Has this node said, or is it about to, what keeps it at its target? */
bool layout_is_bound(const struct member *member);
/* Is what was said of progress of these layouts, and of the buckets' n that are known now? */
bool layout_progress_is_current(const struct member *member);
/* Does the base not have it? */
bool layout_is_newcomer(const struct member *member);
/* The phase of the live layouts; NONE while the mark is not yet of them. */
enum mark_phase layout_phase(const struct member *member);

/* Does it know by what others read and write? One that has lost what it had said may not. */
bool layout_is_certain(const struct member *member);

/* -- barrier.c --------------------------------------------------------------------- */

/* Does a mark say that the phase, or a later one, of this base and target has been reached? */
bool mark_passes(const struct mark *mark, uint64_t base_digest, uint64_t target_digest, enum mark_phase phase);
/* Less, the same or greater: as (base count, revision, target count, phase). */
int mark_compare(const struct mark *a, const struct mark *b);
bool barrier_newcomers_know(const struct member *member);
/* Have all participants passed this phase of the live layouts? */
bool barrier_all(const struct member *member, enum mark_phase phase);
/* Have all participants of the live layouts known them, as far as this node can tell? Then no record may come into the
 * target any more: another may hold it, and read by it, on the strength of what we have said. */
bool barrier_is_agreed(const struct member *member);
/* In RELEASES: does one that the history does not remove read by the target? */
bool barrier_is_read(const struct member *member);
/* The longest target from our base by which one reads that the history does not remove, if nobody is known to be beyond
 * it who has lost nothing; 0: there is none. */
uint32_t barrier_target_read(const struct member *member);
/* Have all participants, and all that are to become some, that the history does not remove told that they know of this
 * life, and so what they go by? */
bool barrier_is_heard(const struct member *member);
/* May it go by what the others say that they hold, though it may have forgotten what it has said itself? */
bool barrier_is_remembered(const struct member *member);
/* In RELEASES: have all that the history does not remove released the target, or gone beyond it? */
bool barrier_is_released(const struct member *member);
/* Does a participant that the history does not remove, if there is one, have this base and a target beyond ours? */
bool barrier_is_passed_over(const struct member *member);
/* In READS, and no history removes us: may we follow all the others, none of whom will read by the target? */
bool barrier_is_deserted(const struct member *member);
/* The newest base beyond ours that a mark tells of and that is a prefix of our history: its length, or 0. */
uint32_t barrier_newer_base(const struct member *member, uint64_t *digest);
/* Has one that is no newcomer told that it has the same bucket properties? */
bool barrier_knows_props(const struct member *member);
/* Can that node tell a newcomer what the others know: is it of the base, and not removed, or are they all? */
bool barrier_is_elder(const struct member *member, uint32_t node);
/* Has such a one told that it has the same history and bucket properties, or are they all left out? */
bool barrier_is_introduced(const struct member *member);
bool barrier_all_done(const struct member *member);
/* Is what the mark of a removed node says enough for us to take its messages? See detector.h. */
bool barrier_is_abreast(const struct member *member, const struct peer *peer, bool live);
/* How many members of base and target the history removes. */
uint32_t barrier_removed(const struct member *member);
/* Does a member of the base that stays leave out one that is removed? A newcomer, who had no part in what was agreed
 * before itself, does so too; and so does one that has lost what it had said, and whom it had left out. */
bool barrier_is_shunned(const struct member *member, const struct peer *peer);
/* Of those, in their order: a bit for each that is fenced. There are not to be more than REMOVALS_MAX. */
uint64_t barrier_fences(const struct member *member);
void barrier_list_waiting(const struct member *member, struct layout_view *out);

#endif
