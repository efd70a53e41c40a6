/* Reference-counted byte strings, and the bounded pool that they come from.
 *
 * Values are the one reference-counted thing in Gramme. A blob is immutable once it
 * has been shown to anyone else. A pool is a buddy allocator over memory that its owner
 * gives it at the start: the core allocates nothing from the system. A blob may also
 * wrap foreign memory (what a storage engine returned); then `release` gives it back.
 *
 * Not thread-safe: a pool and its blobs belong to one shard's thread.
 *
 * INVARIANTS: references >= 1 while anyone holds it; used_bytes + free_bytes = capacity.
 */
#ifndef GRAMME_BASE_BLOB_H
#define GRAMME_BASE_BLOB_H

#include "base/bytes.h"
#include "base/err.h"

struct blob_pool;

struct blob {
  uint8_t *data;
  uint32_t size; /* bytes */
  uint32_t references;
  struct blob_pool *pool;         /* where the header (and, for pool blobs, the data) lies */
  void (*release)(uint8_t *data); /* foreign data only, else NULL; called once at the last blob_put */
};

#define BLOB_ORDER_MIN 6u /* smallest block: 64 bytes, header included */
#define BLOB_ORDER_MAX 32u

struct blob_pool {
  uint8_t *memory;       /* borrowed, aligned to 64 */
  size_t capacity_bytes; /* in blocks: a multiple of 64 */
  size_t used_bytes;     /* in blocks handed out */
  size_t peak_bytes;
  uint64_t refusals; /* blob_new that found no room */
  void *free_lists[BLOB_ORDER_MAX + 1];
  uint8_t *orders; /* one byte per 64-byte unit, at the start of memory; written where a block begins */
  uint8_t *base;   /* first block */
  uint32_t order_top;
};

/* `memory` is borrowed until the pool is no longer used; at least 64 KiB, a 65th of which is the pool's own. It need
 * not be zeroed, and pages of it that no blob has used stay untouched but for those of some dozens of block heads. */
void blob_pool_init(struct blob_pool *pool, void *memory, size_t capacity_bytes);
/* Asserts every invariant of the pool and returns the number of free blocks. For tests: it walks all blocks. */
size_t blob_pool_check(const struct blob_pool *pool);

/* A blob of `size` bytes, contents undefined, one reference, or NULL when the pool has no room. */
struct blob *blob_new(struct blob_pool *pool, size_t size) MUST_CHECK;
/* The same with contents. */
struct blob *blob_copy(struct blob_pool *pool, struct bytes bytes) MUST_CHECK;
/* Takes over foreign `data` when it succeeds; on NULL the caller still owns it. */
struct blob *blob_wrap_take(struct blob_pool *pool, uint8_t *data, size_t size, void (*release)(uint8_t *)) MUST_CHECK;
/* Shortens a blob that only the caller holds; the block keeps its size. */
void blob_trim(struct blob *blob, size_t size);

struct blob *blob_get(struct blob *blob);         /* one more reference; NULL gives NULL */
void blob_put(struct blob *blob);                 /* one fewer; NULL is fine */
struct bytes blob_bytes(const struct blob *blob); /* NULL gives none */

#endif
