/* Scrub: what is stored is read again, and what is damaged is made whole from the other replicas (paper §4.7).
 *
 * Reading again. A cursor goes through all objects once in each `scrub-round`, at the same speed through the positions
 * (which keys are spread over evenly), so that where it stands is the progress; that is stored now and then, and
 * a restart goes on from there. The engine compares checksums. A place that it can not read is a *gap*: which keys
 * lie there nobody here knows any more. So the tree's leaves there are grown again without them, the next comparison
 * with another replica names them, and then they are found damaged one by one, as by any read.
 *
 * Making whole. A replica that finds a record damaged answers nothing for its key, takes nothing for it, and asks
 * here (DAMAGED). Every other replica of the key, in either live layout, is asked for the whole object:
 *
 *   FREE --DAMAGED--> ASKING --all have answered: RESTORE with what they have together--> FREE
 *                        +-- one is down, silent, or fails: RESTORE with an error; the next who wants the key asks anew
 *
 * Less than all is not enough: what the damaged copy was counted for, as one of W, may be on any of them, and a get
 * that this replica answers must find it. Until then the record stays damaged in the store: a restart knows as much.
 *
 * With the record goes what this node knew by it, and its floor (replica/floors.h) is one more claim to know all. While
 * it is damaged that harms nobody: nothing is said of the key. The floor stays if one of the others that were asked
 * has as high a floor: what is not in what they have together is dead for that one, too. Else it goes, and that is
 * durable before the record is replaced.
 *
 * INVARIANTS: each DAMAGED is answered by exactly one RESTORE; nothing of a damaged record is ever sent.
 */
#ifndef GRAMME_SCRUB_SCRUB_H
#define GRAMME_SCRUB_SCRUB_H

#include "replica/floors.h"
#include "replica/growth.h"
#include "seam/step.h"

struct scrub;

size_t scrub_size(void);
/* `memory` has scrub_size() bytes, aligned to 64, zeroed. `growth` and `floors` are borrowed. `first`: where the
 * numbers of requests begin (see coord.h). */
struct scrub *scrub_init(void *memory, const struct shard_config *config, struct growth *growth, struct floors *floors,
                         uint32_t first);
/* Gives back every blob that is held: before the pool goes. */
void scrub_deinit(struct scrub *scrub);

void scrub_tick(struct scrub *scrub, struct step *step);
uint64_t scrub_deadline(const struct scrub *scrub);
/* DAMAGED from this node; READ_REPLY whose number is this module's. */
void scrub_message(struct scrub *scrub, struct step *step, uint32_t from, const struct message *message);
void scrub_scan_done(struct scrub *scrub, struct step *step, const struct event *event);
void scrub_commit_done(struct scrub *scrub, struct step *step, enum err err);
bool scrub_owns_request(uint64_t request);

struct scrub_view {
  bool running;          /* there are rounds */
  uint32_t per_mille;    /* of this round */
  uint64_t left_ms;      /* until it ends, as planned */
  uint64_t whole_age_ms; /* since the last complete round ended, at least 1; 0: none has since the start */
  uint32_t healing;      /* records that are being made whole now */
};
void scrub_look(const struct scrub *scrub, uint64_t now_ns, uint64_t round_ns, struct scrub_view *out);

#endif
