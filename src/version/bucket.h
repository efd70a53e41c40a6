/* Buckets and their properties (paper §2.3, §6: applications tune N, R, W).
 *
 * The bucket of a key is what stands before its first ':', or "default". Properties are kept in one table, spread
 * by gossip: per bucket the latest record by (time, issuer) wins. The record of bucket "default" is what a bucket
 * without one of its own has.
 *
 * INVARIANTS of a record: 1 <= n <= REPLICAS_MAX; 1 <= r, w <= n; 0 <= pr <= n; 0 <= pw <= n; 0 <= dw <= w.
 */
#ifndef GRAMME_VERSION_BUCKET_H
#define GRAMME_VERSION_BUCKET_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "version/object.h"

#define DW_ALL 255u /* dw: as many as w */

struct bucket_props {
  uint8_t n, r, w, pr, pw, dw; /* dw may be DW_ALL */
  enum resolve resolve;
  uint64_t ttl_ms;      /* 0: none */
  uint32_t sibling_max; /* 1 .. SIBLINGS_PUT_MAX */
};

struct bucket {
  uint64_t time; /* HLC */
  uint32_t issuer;
  uint8_t name_size;
  char name[BUCKET_NAME_MAX_BYTES + 1];
  struct bucket_props props;
};

struct bucket_table {
  uint32_t count;
  struct bucket buckets[BUCKETS_MAX]; /* by name */
};

void bucket_table_init(struct bucket_table *table);
struct bucket_props bucket_props_default(void); /* 3 2 2, pr 0 pw 0, dw all, siblings */
struct bytes bucket_of_key(struct bytes key);
/* What holds for a bucket: its own record, else that of "default", else the defaults. */
struct bucket_props bucket_find(const struct bucket_table *table, struct bytes name);
/* Sets one property from text, as DYNAMO.BUCKET SET does; on BADARG `*why` is a static sentence that names the
 * remedy. */
enum err bucket_props_set(struct bucket_props *props, struct bytes property, struct bytes value,
                          const char **why) MUST_CHECK;
/* OK or BADARG with `*why`: the invariants above, all together. */
enum err bucket_props_check(const struct bucket_props *props, const char **why) MUST_CHECK;
enum err bucket_put(struct bucket_table *table, const struct bucket *record) MUST_CHECK; /* FULL */
enum err bucket_table_merge(struct bucket_table *table, struct bytes encoded, uint32_t *changed) MUST_CHECK;
void bucket_table_encode(const struct bucket_table *table, struct writer *w);
uint64_t bucket_table_digest(const struct bucket_table *table); /* 0 when empty */
/* Which n the buckets have, as bits (1 << n), and a digest of who has which. */
uint64_t bucket_table_sizes(const struct bucket_table *table, uint32_t *sizes);

#endif
