#include "seam/seam.h"

#include "base/assert.h"
#include "seam/step.h"

_Static_assert(REPLIES_PER_STEP_MAX < EFFECTS_MAX, "replies are effects too");
_Static_assert(sizeof(struct effects) < (4u << 20), "a driver keeps its effects for good; they should stay small");

struct effect *effects_add(struct effects *effects, enum effect_kind kind) {
  ASSERT(effects->count < EFFECTS_MAX);
  ASSERT(kind <= EFFECT_SCAN);
  struct effect *effect = &effects->list[effects->count];
  effects->count += 1;
  effect->kind = kind;
  return effect;
}

static void reply_release(struct reply *reply) {
  ASSERT(reply->explained_count <= PREFERENCE_MAX);
  blob_put(reply->object);
  for (uint32_t i = 0; i < reply->explained_count; i++) {
    blob_put(reply->explained[i].clock);
    blob_put(reply->explained[i].hints);
  }
}

static void effect_release(struct effect *effect) {
  switch (effect->kind) {
  case EFFECT_SEND:
    blob_put(effect->send.message.key_blob);
    blob_put(effect->send.message.object_blob);
    return;
  case EFFECT_REPLY:
    reply_release(effect->reply);
    return;
  case EFFECT_READ:
    blob_put(effect->read.key);
    return;
  case EFFECT_COMMIT:
    blob_put(effect->commit.key);
    blob_put(effect->commit.value);
    return;
  case EFFECT_SCAN:
    blob_put(effect->scan.from);
    blob_put(effect->scan.prefix);
    return;
  }
  ASSERT(false); /* an effect of no kind */
}

void effects_reset(struct effects *effects) {
  ASSERT(effects->count <= EFFECTS_MAX);
  ASSERT(effects->reply_count <= effects->count);
  for (uint32_t i = 0; i < effects->count; i++) {
    effect_release(&effects->list[i]);
  }
  effects->count = 0;
  effects->reply_count = 0;
  effects->context_bytes = 0;
}
