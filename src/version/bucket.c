#include "version/bucket.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

/* The table's encoding: u8 format, u16 count, then for each record, by name,
 *     u16 size of what follows   u64 time  u32 issuer  u8 name size  name
 *     u8 n r w pr pw dw resolve  u64 ttl  u32 sibling_max
 * A record may be longer than this node knows: the rest of it is skipped. */
#define FORMAT 1u
#define RECORD_FIXED_BYTES 32u /* all but the name, the size in front not counted */
#define RECORD_MAX_BYTES (RECORD_FIXED_BYTES + BUCKET_NAME_MAX_BYTES)

#define TTL_MAX_MS (UINT64_C(100) * 365u * 24u * 3600u * 1000u) /* a hundred years; beyond it lies a slip of the hand */

void bucket_table_init(struct bucket_table *table) {
  memset(table, 0, sizeof(*table));
}

struct bucket_props bucket_props_default(void) {
  return (struct bucket_props){
      .n = 3, .r = 2, .w = 2, .dw = DW_ALL, .resolve = RESOLVE_SIBLINGS, .sibling_max = SIBLING_MAX_DEFAULT};
}

/* Where the first colon stands; the size when there is none. */
static size_t colon_in(struct bytes bytes) {
  size_t i = 0;
  while (i < bytes.size && bytes.data[i] != ':') {
    i += 1;
  }
  return i;
}

struct bytes bucket_of_key(struct bytes key) {
  size_t colon = colon_in(key);
  if (colon == key.size) {
    return BYTES_LITERAL("default");
  }
  return (struct bytes){key.data, colon};
}

/* -- the table -------------------------------------------------------------------- */

static struct bytes record_name(const struct bucket *record) {
  return (struct bytes){(const uint8_t *)record->name, record->name_size};
}

/* Where `name` stands, or would stand. */
static uint32_t table_place(const struct bucket_table *table, struct bytes name, bool *present) {
  ASSERT(table->count <= BUCKETS_MAX);
  uint32_t low = 0;
  uint32_t high = table->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (bytes_compare(record_name(&table->buckets[middle]), name) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  *present = low < table->count && bytes_equal(record_name(&table->buckets[low]), name);
  return low;
}

struct bucket_props bucket_find(const struct bucket_table *table, struct bytes name) {
  bool present = false;
  if (table->count > 0) {
    uint32_t place = table_place(table, name, &present);
    if (present) {
      return table->buckets[place].props;
    }
    place = table_place(table, BYTES_LITERAL("default"), &present);
    if (present) {
      return table->buckets[place].props;
    }
  }
  return bucket_props_default();
}

static void record_encode(const struct bucket *record, struct writer *w) {
  const struct bucket_props *props = &record->props;
  write_u16(w, (uint16_t)(RECORD_FIXED_BYTES + record->name_size));
  write_u64(w, record->time);
  write_u32(w, record->issuer);
  write_u8(w, record->name_size);
  write_raw(w, record_name(record));
  write_u8(w, props->n);
  write_u8(w, props->r);
  write_u8(w, props->w);
  write_u8(w, props->pr);
  write_u8(w, props->pw);
  write_u8(w, props->dw);
  write_u8(w, (uint8_t)props->resolve);
  write_u64(w, props->ttl_ms);
  write_u32(w, props->sibling_max);
}

static enum err record_decode(struct reader *table, struct bucket *record) {
  memset(record, 0, sizeof(*record));
  struct reader r = reader_make(read_raw(table, read_u16(table)));
  record->time = read_u64(&r);
  record->issuer = read_u32(&r);
  record->name_size = read_u8(&r);
  struct bytes name = read_raw(&r, record->name_size);
  struct bucket_props *props = &record->props;
  props->n = read_u8(&r);
  props->r = read_u8(&r);
  props->w = read_u8(&r);
  props->pr = read_u8(&r);
  props->pw = read_u8(&r);
  props->dw = read_u8(&r);
  unsigned resolve = read_u8(&r);
  props->ttl_ms = read_u64(&r);
  props->sibling_max = read_u32(&r);
  if (table->failed || r.failed || resolve > RESOLVE_LWW || name.size > BUCKET_NAME_MAX_BYTES) {
    return ERR_CORRUPT;
  }
  props->resolve = (enum resolve)resolve;
  if (name.size > 0) {
    memcpy(record->name, name.data, name.size);
  }
  return ERR_OK;
}

static bool record_is_sound(const struct bucket *record) {
  const char *why = NULL;
  if (record->name_size == 0 || record->name_size > BUCKET_NAME_MAX_BYTES || record->time == 0 || record->issuer == 0) {
    return false;
  }
  if (colon_in(record_name(record)) != record->name_size) {
    return false; /* no key is in such a bucket */
  }
  return bucket_props_check(&record->props, &why) == ERR_OK;
}

/* Does `b` win over `a`? By (time, issuer); two that share them (a bug of somebody's) are told apart by their bytes,
 * so that all nodes agree even then. */
static bool record_wins(const struct bucket *b, const struct bucket *a) {
  if (b->time != a->time) {
    return b->time > a->time;
  }
  if (b->issuer != a->issuer) {
    return b->issuer > a->issuer;
  }
  uint8_t bytes_a[2 + RECORD_MAX_BYTES];
  uint8_t bytes_b[2 + RECORD_MAX_BYTES];
  struct writer wa = writer_make(bytes_a, sizeof(bytes_a));
  struct writer wb = writer_make(bytes_b, sizeof(bytes_b));
  record_encode(a, &wa);
  record_encode(b, &wb);
  ASSERT(!wa.failed && !wb.failed);
  return bytes_compare(writer_bytes(&wb), writer_bytes(&wa)) > 0;
}

/* Room at `place`; a full table loses its last record. */
static void table_insert(struct bucket_table *table, uint32_t place, const struct bucket *record) {
  ASSERT(place < BUCKETS_MAX);
  ASSERT(place <= table->count);
  uint32_t moved = table->count - place;
  if (table->count == BUCKETS_MAX) {
    moved -= 1;
  } else {
    table->count += 1;
  }
  memmove(&table->buckets[place + 1], &table->buckets[place], moved * sizeof(table->buckets[0]));
  table->buckets[place] = *record;
}

enum err bucket_put(struct bucket_table *table, const struct bucket *record) {
  if (!record_is_sound(record)) {
    return ERR_BADARG;
  }
  bool present = false;
  uint32_t place = table_place(table, record_name(record), &present);
  if (present) {
    if (record_wins(record, &table->buckets[place])) {
      table->buckets[place] = *record;
    }
    return ERR_OK;
  }
  if (table->count == BUCKETS_MAX) {
    return ERR_FULL;
  }
  table_insert(table, place, record);
  ASSERT(table->count <= BUCKETS_MAX);
  return ERR_OK;
}

/* As bucket_put, but a full table gives up its last record for one that stands before it: what is
 * kept is the least BUCKETS_MAX names ever seen, so tables converge even when they overflow. */
static bool table_take(struct bucket_table *table, const struct bucket *record, bool *overflow) {
  bool present = false;
  uint32_t place = table_place(table, record_name(record), &present);
  if (present) {
    if (!record_wins(record, &table->buckets[place])) {
      return false;
    }
    table->buckets[place] = *record;
    return true;
  }
  *overflow = *overflow || table->count == BUCKETS_MAX;
  if (place == BUCKETS_MAX) {
    return false;
  }
  table_insert(table, place, record);
  return true;
}

/* Reads the head of an encoded table. */
static enum err table_open(struct bytes encoded, struct reader *r, uint32_t *count) {
  *r = reader_make(encoded);
  uint8_t format = read_u8(r);
  *count = read_u16(r);
  if (r->failed || format == 0) {
    return ERR_CORRUPT;
  }
  if (format > FORMAT) {
    return ERR_FORMAT;
  }
  return *count <= BUCKETS_MAX ? ERR_OK : ERR_CORRUPT;
}

static enum err table_check(struct bytes encoded) {
  struct reader r;
  uint32_t count = 0;
  enum err err = table_open(encoded, &r, &count);
  struct bucket previous = {.name_size = 0};
  for (uint32_t i = 0; err == ERR_OK && i < count; i++) {
    struct bucket record;
    err = record_decode(&r, &record);
    if (err == ERR_OK && !record_is_sound(&record)) {
      err = ERR_CORRUPT;
    }
    if (err == ERR_OK && bytes_compare(record_name(&previous), record_name(&record)) >= 0) {
      err = ERR_CORRUPT;
    }
    previous = record;
  }
  return err == ERR_OK && reader_left(&r) > 0 ? ERR_CORRUPT : err;
}

enum err bucket_table_merge(struct bucket_table *table, struct bytes encoded, uint32_t *changed) {
  ASSERT(changed != NULL);
  *changed = 0;
  enum err err = table_check(encoded);
  if (err != ERR_OK) {
    return err;
  }
  struct reader r;
  uint32_t count = 0;
  bool overflow = false;
  err = table_open(encoded, &r, &count);
  ASSERT(err == ERR_OK);
  for (uint32_t i = 0; i < count; i++) {
    struct bucket record;
    err = record_decode(&r, &record);
    ASSERT(err == ERR_OK);
    *changed += table_take(table, &record, &overflow) ? 1u : 0u;
  }
  return overflow ? ERR_FULL : ERR_OK;
}

void bucket_table_encode(const struct bucket_table *table, struct writer *w) {
  ASSERT(table->count <= BUCKETS_MAX);
  write_u8(w, FORMAT);
  write_u16(w, (uint16_t)table->count);
  for (uint32_t i = 0; i < table->count; i++) {
    record_encode(&table->buckets[i], w);
  }
}

uint64_t bucket_table_digest(const struct bucket_table *table) {
  ASSERT(table->count <= BUCKETS_MAX);
  uint64_t digest = 0;
  for (uint32_t i = 0; i < table->count; i++) {
    uint8_t bytes[2 + RECORD_MAX_BYTES];
    struct writer w = writer_make(bytes, sizeof(bytes));
    record_encode(&table->buckets[i], &w);
    ASSERT(!w.failed);
    digest = bytes_hash(writer_bytes(&w), digest);
  }
  return digest;
}

/* -- one record's properties ------------------------------------------------------ */

static uint8_t lower(uint8_t c) {
  return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* `word` is in lower case. */
static bool text_is(struct bytes text, const char *word) {
  size_t i = 0;
  while (i < text.size && word[i] != '\0' && lower(text.data[i]) == (uint8_t)word[i]) {
    i += 1;
  }
  return i == text.size && word[i] == '\0';
}

/* The decimal number that `text` begins with; what stands behind it is left in `*rest`. */
static bool text_number(struct bytes text, uint64_t *value, struct bytes *rest) {
  size_t i = 0;
  *value = 0;
  while (i < text.size && text.data[i] >= '0' && text.data[i] <= '9') {
    uint64_t digit = (uint64_t)(text.data[i] - '0');
    if (*value > (UINT64_MAX - digit) / 10) {
      return false;
    }
    *value = *value * 10 + digit;
    i += 1;
  }
  *rest = (struct bytes){text.data + i, text.size - i};
  return i > 0;
}

static bool text_in_range(struct bytes text, uint64_t min, uint64_t max, uint64_t *value) {
  struct bytes rest;
  return text_number(text, value, &rest) && rest.size == 0 && *value >= min && *value <= max;
}

static enum err set_count(uint8_t *field, struct bytes value, uint8_t min, const char *range, const char **why) {
  uint64_t number = 0;
  if (!text_in_range(value, min, REPLICAS_MAX, &number)) {
    *why = range;
    return ERR_BADARG;
  }
  *field = (uint8_t)number;
  return ERR_OK;
}

static enum err set_resolve(struct bucket_props *props, struct bytes value, const char **why) {
  if (text_is(value, "siblings")) {
    props->resolve = RESOLVE_SIBLINGS;
    return ERR_OK;
  }
  if (text_is(value, "lww")) {
    props->resolve = RESOLVE_LWW;
    return ERR_OK;
  }
  *why = "resolve is 'siblings' (keep concurrent writes) or 'lww' (the last one wins, the others are lost)";
  return ERR_BADARG;
}

static enum err set_ttl(struct bucket_props *props, struct bytes value, bool milliseconds, const char **why) {
  static const struct {
    const char *unit;
    uint64_t ms;
  } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
  uint64_t number = 0;
  struct bytes rest;
  *why = milliseconds ? "ttl_ms is a number of milliseconds, at most 100 years; 0 for none"
                      : "ttl is a number with a unit, at most 100 years: 500ms, 30s, 10m, 6h, 7d; or 0 for none";
  if (!text_number(value, &number, &rest)) {
    return ERR_BADARG;
  }
  uint64_t factor = rest.size == 0 && (milliseconds || number == 0) ? 1 : 0;
  for (size_t i = 0; !milliseconds && i < sizeof(units) / sizeof(units[0]); i++) {
    factor = text_is(rest, units[i].unit) ? units[i].ms : factor;
  }
  if (factor == 0 || number > TTL_MAX_MS / factor) {
    return ERR_BADARG;
  }
  props->ttl_ms = number * factor;
  *why = NULL;
  return ERR_OK;
}

static enum err set_sibling_max(struct bucket_props *props, struct bytes value, const char **why) {
  uint64_t number = 0;
  if (!text_in_range(value, 1, SIBLINGS_PUT_MAX, &number)) {
    *why = "sibling_max is a number from 1 to 256";
    return ERR_BADARG;
  }
  props->sibling_max = (uint32_t)number;
  return ERR_OK;
}

_Static_assert(REPLICAS_MAX == 7 && SIBLINGS_PUT_MAX == 256, "the sentences here name these limits");

enum err bucket_props_set(struct bucket_props *props, struct bytes property, struct bytes value, const char **why) {
  ASSERT(props != NULL);
  ASSERT(why != NULL);
  *why = NULL;
  if (text_is(property, "n")) {
    return set_count(&props->n, value, 1, "n is a number from 1 to 7: how many nodes keep each key", why);
  }
  if (text_is(property, "r")) {
    return set_count(&props->r, value, 1, "r is a number from 1 to 7, at most n: how many nodes must answer a get",
                     why);
  }
  if (text_is(property, "w")) {
    return set_count(&props->w, value, 1, "w is a number from 1 to 7, at most n: how many nodes must take a put", why);
  }
  if (text_is(property, "pr")) {
    return set_count(&props->pr, value, 0, "pr is a number from 0 to 7, at most n: primaries that must answer a get",
                     why);
  }
  if (text_is(property, "pw")) {
    return set_count(&props->pw, value, 0, "pw is a number from 0 to 7, at most n: primaries that must take a put",
                     why);
  }
  if (text_is(property, "dw")) {
    if (text_is(value, "all")) {
      props->dw = DW_ALL;
      return ERR_OK;
    }
    return set_count(&props->dw, value, 0,
                     "dw is a number from 0 to 7, at most w, or 'all': copies that must be on disk", why);
  }
  if (text_is(property, "resolve")) {
    return set_resolve(props, value, why);
  }
  if (text_is(property, "ttl") || text_is(property, "ttl_ms")) {
    return set_ttl(props, value, text_is(property, "ttl_ms"), why);
  }
  if (text_is(property, "sibling_max")) {
    return set_sibling_max(props, value, why);
  }
  *why = "no such property; there are n, r, w, pr, pw, dw, resolve, ttl and sibling_max";
  return ERR_BADARG;
}

enum err bucket_props_check(const struct bucket_props *props, const char **why) {
  ASSERT(props != NULL);
  ASSERT(why != NULL);
  *why = NULL;
  if (props->n < 1 || props->n > REPLICAS_MAX) {
    *why = "n must be from 1 to 7";
  } else if (props->r < 1 || props->r > props->n) {
    *why = "r must be from 1 to n: lower r or raise n";
  } else if (props->w < 1 || props->w > props->n) {
    *why = "w must be from 1 to n: lower w or raise n";
  } else if (props->pr > props->n) {
    *why = "pr must not exceed n: lower pr or raise n";
  } else if (props->pw > props->n) {
    *why = "pw must not exceed n: lower pw or raise n";
  } else if (props->dw != DW_ALL && props->dw > props->w) {
    *why = "dw must not exceed w: lower dw, raise w, or set dw to 'all'";
  } else if (props->resolve != RESOLVE_SIBLINGS && props->resolve != RESOLVE_LWW) {
    *why = "resolve must be 'siblings' or 'lww'";
  } else if (props->ttl_ms > TTL_MAX_MS) {
    *why = "ttl must not exceed 100 years; 0 for none";
  } else if (props->sibling_max < 1 || props->sibling_max > SIBLINGS_PUT_MAX) {
    *why = "sibling_max must be from 1 to 256";
  }
  return *why == NULL ? ERR_OK : ERR_BADARG;
}

uint64_t bucket_table_sizes(const struct bucket_table *table, uint32_t *sizes) {
  uint32_t n = bucket_find(table, BYTES_LITERAL("default")).n;
  uint64_t digest = bytes_hash(BYTES_NONE, n);
  *sizes = 1u << n;
  for (uint32_t i = 0; i < table->count; i++) {
    const struct bucket *bucket = &table->buckets[i];
    n = bucket->props.n;
    *sizes |= 1u << n;
    digest = bytes_hash((struct bytes){(const uint8_t *)bucket->name, bucket->name_size}, digest ^ n);
  }
  ASSERT((*sizes & 1u) == 0 && *sizes < 1u << (REPLICAS_MAX + 1u));
  return digest;
}
