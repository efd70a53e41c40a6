#include "version/context.h"

#include "base/assert.h"

#define FORMAT 1u
#define HEADER_BYTES 9u
#define CHECKSUM_BYTES 8u
#define PAIRS_ROOM (sizeof(((struct past *)0)->pairs) / sizeof(struct dot))

_Static_assert(HEADER_BYTES + (PAIRS_ROOM + PAST_MAX) * DOT_BYTES + CHECKSUM_BYTES <= CONTEXT_MAX_BYTES,
               "any past fits a context");
_Static_assert(PAST_MAX <= UINT16_MAX, "counts are 16 bits");

static uint64_t checksum_of(struct bytes bytes, struct context_binding binding) {
  uint8_t bound[16];
  struct writer w = writer_make(bound, sizeof(bound));
  write_u64(&w, binding.position_high);
  write_u64(&w, binding.position_low);
  ASSERT(!w.failed);
  return bytes_hash(bytes, bytes_hash(writer_bytes(&w), binding.seed));
}

static void write_dots(struct writer *w, const struct dot *dots, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    uint8_t encoded[DOT_BYTES];
    dot_store(encoded, dots[i]);
    write_raw(w, (struct bytes){encoded, sizeof(encoded)});
  }
}

static void read_dots(struct reader *r, struct dot *dots, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    struct bytes encoded = read_raw(r, DOT_BYTES);
    ASSERT(encoded.size == DOT_BYTES);
    dots[i] = dot_load(encoded.data);
  }
}

void context_encode(struct writer *w, const struct past *past, uint32_t coordinator, struct context_binding binding) {
  struct claims claims = past_claims(past);
  ASSERT(claims.pair_count <= PAIRS_ROOM);
  ASSERT(claims.dot_count <= PAST_MAX);
  size_t begin = w->size;
  write_u8(w, FORMAT);
  write_u32(w, coordinator);
  write_u16(w, (uint16_t)claims.pair_count);
  write_u16(w, (uint16_t)claims.dot_count);
  write_dots(w, claims.pairs, claims.pair_count);
  write_dots(w, claims.dots, claims.dot_count);
  if (!w->failed) {
    write_u64(w, checksum_of((struct bytes){w->data + begin, w->size - begin}, binding));
  }
}

enum err context_decode(struct bytes encoded, struct context_binding binding, struct past *past,
                        uint32_t *coordinator) {
  past_init(past);
  *coordinator = 0;
  if (encoded.size < HEADER_BYTES + CHECKSUM_BYTES || encoded.size > CONTEXT_MAX_BYTES) {
    return ERR_BADCONTEXT;
  }
  struct bytes body = {encoded.data, encoded.size - CHECKSUM_BYTES};
  struct reader tail = reader_make((struct bytes){encoded.data + body.size, CHECKSUM_BYTES});
  if (read_u64(&tail) != checksum_of(body, binding)) {
    return ERR_BADCONTEXT;
  }
  struct reader r = reader_make(body);
  uint8_t format = read_u8(&r);
  uint32_t named = read_u32(&r);
  uint32_t pair_count = read_u16(&r);
  uint32_t dot_count = read_u16(&r);
  ASSERT(!r.failed);
  if (format != FORMAT || pair_count > PAIRS_ROOM || dot_count > PAST_MAX ||
      reader_left(&r) != (size_t)(pair_count + dot_count) * DOT_BYTES) {
    return ERR_BADCONTEXT;
  }
  read_dots(&r, past->pairs, pair_count);
  read_dots(&r, past->dots, dot_count);
  struct claims claims = {.pairs = past->pairs, .dots = past->dots, .pair_count = pair_count, .dot_count = dot_count};
  if (claims_check(claims) != ERR_OK) {
    return ERR_BADCONTEXT;
  }
  past->pair_count = pair_count;
  past->dot_count = dot_count;
  *coordinator = named;
  return ERR_OK;
}
