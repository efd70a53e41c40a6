/* What the files of the scrub share. scrub.c: the cursor, and dispatch. heal.c: records that are made whole. */
#ifndef GRAMME_SCRUB_STATE_H
#define GRAMME_SCRUB_STATE_H

#include "scrub/scrub.h"

#define SCRUB_TAG 5u
#define SCRUB_TAG_BITS 56u
#define SCRUB_GENERATION_BITS 16u
#define SCRUB_INDEX_MASK 0xffffu

#define HEAL_NODES_MAX (2u * REPLICAS_MAX) /* replicas of a key in both layouts */

/* One damaged record. */
struct heal {
  struct blob *key; /* NULL: free */
  uint32_t generation;
  uint64_t due_ns;  /* then it is given up */
  uint64_t look_ns; /* all have answered, and the floor is going: when to look again; 0: not yet */
  uint32_t count;
  uint32_t open; /* a bit for each that has not answered */
  uint32_t nodes[HEAL_NODES_MAX];
  struct blob *object; /* what has come, merged; NULL: nothing yet */
  uint64_t floor;      /* the greatest of those who have answered: see scrub.h */
};

enum cursor_state { CURSOR_WAITING = 0, CURSOR_SCANNING };

struct cursor {
  enum cursor_state state;
  struct position next;
  uint64_t round_ns; /* as of the last look; 0: no rounds */
  uint64_t due_ns;
  uint64_t whole_ns; /* when the last complete round ended; 0 never */
  uint64_t saved;    /* `high` of the place that the store knows */
  bool saving;
};

struct scrub {
  struct growth *growth; /* borrowed, as are */
  struct floors *floors;
  uint32_t generation;
  uint32_t healing;
  struct cursor cursor;
  struct heal heals[HEALS_MAX];
};

void heal_begin(struct scrub *scrub, struct step *step, const struct message *message);
void heal_message(struct scrub *scrub, struct step *step, uint32_t from, const struct message *message);
void heals_tick(struct scrub *scrub, struct step *step);
uint64_t heals_deadline(const struct scrub *scrub);
void heals_reset(struct scrub *scrub);

#endif
