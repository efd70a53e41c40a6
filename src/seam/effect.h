/* What the core asks of the driver. Effects are valid until the next step, and own a reference to every blob in them;
 * see seam.h for the rules. INVARIANT: count <= EFFECTS_MAX, reply_count <= REPLIES_PER_STEP_MAX. */
#ifndef GRAMME_SEAM_EFFECT_H
#define GRAMME_SEAM_EFFECT_H

#include "seam/space.h"
#include "wire/message.h"

enum effect_kind { EFFECT_SEND, EFFECT_REPLY, EFFECT_READ, EFFECT_COMMIT, EFFECT_SCAN };

/* One node as EXPLAIN saw it. */
struct explained {
  uint32_t node;
  bool answered;
  bool stand_in;
  struct blob *clock; /* NULL: absent */
  struct blob *hints; /* repeated {u32 owner, u32 size, clock}; NULL: none */
};

struct reply {
  uint64_t token;
  enum err err;
  struct outcome outcome; /* of a failed quorum */
  const char *why;        /* static sentence, or NULL */
  struct blob *object;    /* GET: the merged object, NULL absent. PUT: NULL */
  struct bytes context;   /* PUT, OK: what the writer has now seen, encoded. GET: made of `object` by the front */
  uint32_t coordinator;   /* for the context: the fastest reader, or the write's coordinator */
  uint32_t explained_count;
  struct explained explained[PREFERENCE_MAX];
};

struct effect {
  enum effect_kind kind;
  union {
    struct {
      uint32_t to; /* never this node */
      struct message message;
    } send;
    struct reply *reply;
    struct {
      uint64_t token;
      enum space space;
      struct blob *key;
    } read;
    struct {
      uint64_t token;
      enum space space;
      struct blob *key;
      struct blob *value; /* NULL: delete */
      bool sync;
    } commit;
    struct {
      uint64_t token;
      enum space space;
      struct blob *from;   /* first key wanted */
      struct blob *prefix; /* all keys returned begin with it; NULL: any */
      uint32_t max_count;
      uint32_t max_bytes;
      bool keys_only; /* entries come with value NULL */
    } scan;
  };
};

/* The effects of one step: about 3 MiB. All zeros is an empty one. It owns a reference to every blob in it, until
 * effects_reset. */
struct effects {
  uint32_t count;
  uint32_t reply_count;
  uint32_t context_bytes; /* of the room that is used */
  struct effect list[EFFECTS_MAX];
  struct reply replies[REPLIES_PER_STEP_MAX];
  uint8_t context_room[REPLY_CONTEXT_ROOM_BYTES];
};

/* Where a module of the core puts its effects. Asserts that there is room: work per step is bounded by construction. */
struct effect *effects_add(struct effects *effects, enum effect_kind kind);

#endif
