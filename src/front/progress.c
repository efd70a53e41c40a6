#include "front/progress.h"

#include <string.h>

#include "base/assert.h"

#define NS_PER_MS 1000000u

void progress_note(struct progress *progress, uint64_t now_ns, uint64_t keys, uint64_t bytes) {
  struct progress_sample *samples = progress->samples;
  ASSERT(progress->count <= PROGRESS_SAMPLES);
  if (progress->count > 0) {
    const struct progress_sample *last = &samples[progress->count - 1];
    if (now_ns <= last->at_ns) {
      return;
    }
    if (keys < last->keys || bytes < last->bytes || now_ns - last->at_ns > PROGRESS_STALE_NS) {
      progress->count = 0;
    }
  }
  if (progress->count == PROGRESS_SAMPLES) {
    memmove(samples, samples + 1, (PROGRESS_SAMPLES - 1) * sizeof(samples[0]));
    progress->count -= 1;
  }
  samples[progress->count] = (struct progress_sample){now_ns, keys, bytes};
  progress->count += 1;
}

static uint64_t per_second(uint64_t rise, uint64_t span_ns) {
  uint64_t span_ms = span_ns / NS_PER_MS;
  if (span_ms == 0) {
    return 0;
  }
  return rise > UINT64_MAX / 1000 ? rise / span_ms * 1000 : rise * 1000 / span_ms;
}

uint64_t progress_bytes_per_s(const struct progress *progress) {
  if (progress->count < 2) {
    return 0;
  }
  const struct progress_sample *first = &progress->samples[0];
  const struct progress_sample *last = &progress->samples[progress->count - 1];
  return per_second(last->bytes - first->bytes, last->at_ns - first->at_ns);
}

uint64_t progress_keys_per_s(const struct progress *progress) {
  if (progress->count < 2) {
    return 0;
  }
  const struct progress_sample *first = &progress->samples[0];
  const struct progress_sample *last = &progress->samples[progress->count - 1];
  return per_second(last->keys - first->keys, last->at_ns - first->at_ns);
}

uint64_t progress_eta_s(uint64_t left, uint64_t rate) {
  if (left == 0) {
    return 0;
  }
  return rate == 0 ? UINT64_MAX : left / rate + (left % rate > 0 ? 1 : 0);
}

uint64_t progress_bytes_left(uint64_t wanted, uint64_t held, uint64_t bytes, uint64_t mean_bytes) {
  if (held >= wanted) {
    return 0;
  }
  if (held > 0) {
    uint64_t mean = bytes / held;
    return mean > UINT64_MAX / (wanted - held) ? UINT64_MAX : mean * (wanted - held);
  }
  uint64_t whole = mean_bytes > UINT64_MAX / wanted ? UINT64_MAX : mean_bytes * wanted;
  return whole > bytes ? whole - bytes : 0;
}
