#include "base/blob.h"

#include <stdalign.h>
#include <string.h>

#include "base/assert.h"

/* A buddy allocator. A block of order k has 2^k bytes and begins at a multiple of 2^k from `base`; its buddy is the
 * block that it was split from, at the same place but for bit k. A blob is its header and, for a pool blob, its data
 * behind it:
 *
 *     | orders: a byte per unit | base: block | block | block ...            |
 *                                      `- struct blob, data
 *
 * `orders` holds something only at the first unit of a block: its order and two flags. It need not be zeroed: a
 * block's buddy always begins a block (of the same or a lower order), whose byte was written when it was split off.
 *
 * A power of two would waste up to half of a large block, so such a blob keeps only the leading pieces that it
 * needs: 2^k + 2^j + ... bytes side by side, where all but the last are marked to continue.
 *
 *     1 MiB + 32 bytes:  | 1 MiB, continues | 64 KiB | given back ...        |
 */

#define UNIT_BYTES ((size_t)1 << BLOB_ORDER_MIN)
#define ORDER_MASK 0x3fu
#define FLAG_CONTINUES 0x40u
#define FLAG_FREE 0x80u
#define TRIM_MIN_BYTES ((size_t)4096) /* blocks of this or more give back what they do not need */
#define TRIM_KEEP_SHIFT 4u            /* as long as that is more than 1/16 of them */
#define POOL_MIN_BYTES ((size_t)65536)

struct free_block {
  struct free_block *next;
  struct free_block *previous;
};

_Static_assert(sizeof(struct blob) <= (1u << BLOB_ORDER_MIN), "a header fits the smallest block");
_Static_assert(sizeof(struct free_block) <= (1u << BLOB_ORDER_MIN), "links fit the smallest block");
_Static_assert(BLOB_ORDER_MAX <= ORDER_MASK, "an order fits its bits");

/* Under the address sanitizer a free block is out of bounds, so that a use after the last blob_put is found. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_POISON 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POOL_POISON 1
#endif
#ifdef POOL_POISON
#include <sanitizer/asan_interface.h>
#define POISON(memory, size) __asan_poison_memory_region((memory), (size))
#define UNPOISON(memory, size) __asan_unpoison_memory_region((memory), (size))
#else
#define POISON(memory, size) ((void)(memory), (void)(size))
#define UNPOISON(memory, size) ((void)(memory), (void)(size))
#endif

static size_t order_bytes(uint32_t order) {
  return (size_t)1 << order;
}

/* The least order whose blocks hold `size` bytes. */
static uint32_t order_for(size_t size) {
  ASSERT(size > 0 && size <= order_bytes(BLOB_ORDER_MAX));
  if (size <= UNIT_BYTES) {
    return BLOB_ORDER_MIN;
  }
  return 64u - (uint32_t)__builtin_clzll(size - 1);
}

static struct free_block *block_at(const struct blob_pool *pool, size_t offset) {
  ASSERT(offset % UNIT_BYTES == 0 && offset < pool->capacity_bytes);
  return (void *)(pool->base + offset);
}

static size_t block_offset(const struct blob_pool *pool, const void *block) {
  const size_t offset = (size_t)((const uint8_t *)block - pool->base);
  ASSERT(offset % UNIT_BYTES == 0 && offset < pool->capacity_bytes);
  return offset;
}

static void free_push(struct blob_pool *pool, size_t offset, uint32_t order) {
  struct free_block *block = block_at(pool, offset);
  struct free_block *head = pool->free_lists[order];
  ASSERT(head == NULL || head->previous == NULL);
  UNPOISON(block, sizeof *block);
  *block = (struct free_block){.next = head, .previous = NULL};
  if (head != NULL) {
    head->previous = block;
  }
  pool->free_lists[order] = block;
  pool->orders[offset >> BLOB_ORDER_MIN] = (uint8_t)(order | FLAG_FREE);
}

static void free_unlink(struct blob_pool *pool, size_t offset, uint32_t order) {
  struct free_block *block = block_at(pool, offset);
  ASSERT(pool->orders[offset >> BLOB_ORDER_MIN] == (order | FLAG_FREE));
  if (block->previous != NULL) {
    block->previous->next = block->next;
  } else {
    ASSERT(pool->free_lists[order] == block);
    pool->free_lists[order] = block->next;
  }
  if (block->next != NULL) {
    block->next->previous = block->previous;
  }
}

void blob_pool_init(struct blob_pool *pool, void *memory, size_t capacity_bytes) {
  ASSERT(memory != NULL && (uintptr_t)memory % UNIT_BYTES == 0);
  ASSERT(capacity_bytes >= POOL_MIN_BYTES);
  const size_t units = (capacity_bytes - (UNIT_BYTES - 1)) / (UNIT_BYTES + 1);
  const size_t orders_bytes = (units + UNIT_BYTES - 1) & ~(UNIT_BYTES - 1);
  UNPOISON(memory, capacity_bytes);
  *pool = (struct blob_pool){
      .memory = memory,
      .capacity_bytes = units * UNIT_BYTES,
      .orders = memory,
      .base = (uint8_t *)memory + orders_bytes,
      .order_top = BLOB_ORDER_MIN,
  };
  ASSERT(orders_bytes + pool->capacity_bytes <= capacity_bytes);
  while (pool->order_top < BLOB_ORDER_MAX && order_bytes(pool->order_top + 1) <= pool->capacity_bytes) {
    pool->order_top++;
  }
  /* The largest blocks first: each begins at a multiple of its size, and what would be its buddy is either of a lower
   * order or beyond the end. */
  size_t offset = 0;
  for (uint32_t order = pool->order_top + 1; order-- > BLOB_ORDER_MIN;) {
    while (pool->capacity_bytes - offset >= order_bytes(order)) {
      free_push(pool, offset, order);
      offset += order_bytes(order);
    }
  }
  ASSERT(offset == pool->capacity_bytes);
}

/* Takes a free block of at least `order`, splits it down to that, and marks it as taken. False: there is none. */
static bool block_take(struct blob_pool *pool, uint32_t order, size_t *offset) {
  uint32_t found = order;
  while (found <= pool->order_top && pool->free_lists[found] == NULL) {
    found++;
  }
  if (found > pool->order_top) {
    return false;
  }
  *offset = block_offset(pool, pool->free_lists[found]);
  free_unlink(pool, *offset, found);
  while (found > order) {
    found--;
    free_push(pool, *offset + order_bytes(found), found);
  }
  pool->orders[*offset >> BLOB_ORDER_MIN] = (uint8_t)order;
  return true;
}

/* Makes a taken block free and joins it with its buddy as long as that is free too. */
static void block_give_back(struct blob_pool *pool, size_t offset, uint32_t order) {
  ASSERT(order >= BLOB_ORDER_MIN && order <= pool->order_top);
  ASSERT((pool->orders[offset >> BLOB_ORDER_MIN] & FLAG_FREE) == 0);
  while (order < pool->order_top) {
    const size_t buddy = offset ^ order_bytes(order);
    if (buddy >= pool->capacity_bytes || pool->orders[buddy >> BLOB_ORDER_MIN] != (order | FLAG_FREE)) {
      break;
    }
    free_unlink(pool, buddy, order);
    offset = offset < buddy ? offset : buddy;
    order++;
  }
  free_push(pool, offset, order);
}

/* Cuts a taken block into the pieces that hold its first `size` bytes; the rest becomes free. Returns what it keeps. */
static size_t block_trim(struct blob_pool *pool, size_t offset, uint32_t order, size_t size) {
  ASSERT(size > 0 && size <= order_bytes(order));
  size_t kept = 0;
  const size_t slack = order_bytes(order) >> TRIM_KEEP_SHIFT;
  while (order_bytes(order) - size > slack && order > BLOB_ORDER_MIN) {
    order--;
    const size_t half = order_bytes(order);
    if (size <= half) {
      free_push(pool, offset + half, order);
    } else {
      pool->orders[offset >> BLOB_ORDER_MIN] = (uint8_t)(order | FLAG_CONTINUES);
      offset += half;
      kept += half;
      size -= half;
    }
  }
  pool->orders[offset >> BLOB_ORDER_MIN] = (uint8_t)order;
  return kept + order_bytes(order);
}

/* Room for a header and `size` bytes behind it, or NULL. */
static struct blob *blob_room(struct blob_pool *pool, size_t size) {
  const size_t whole = sizeof(struct blob) + size;
  if (size > UINT32_MAX || whole > order_bytes(pool->order_top)) {
    COUNT(pool->refusals);
    return NULL;
  }
  const uint32_t order = order_for(whole);
  size_t offset = 0;
  if (!block_take(pool, order, &offset)) {
    COUNT(pool->refusals);
    return NULL;
  }
  size_t kept = order_bytes(order);
  if (kept >= TRIM_MIN_BYTES) {
    kept = block_trim(pool, offset, order, whole);
  }
  pool->used_bytes += kept;
  ASSERT(pool->used_bytes <= pool->capacity_bytes);
  if (pool->used_bytes > pool->peak_bytes) {
    pool->peak_bytes = pool->used_bytes;
  }
  struct blob *blob = (void *)(pool->base + offset);
  UNPOISON(blob, kept);
  *blob = (struct blob){.size = (uint32_t)size, .references = 1, .pool = pool};
  return blob;
}

struct blob *blob_new(struct blob_pool *pool, size_t size) {
  struct blob *blob = blob_room(pool, size);
  if (blob != NULL) {
    blob->data = (uint8_t *)(blob + 1);
  }
  return blob;
}

struct blob *blob_copy(struct blob_pool *pool, struct bytes bytes) {
  ASSERT(bytes.data != NULL || bytes.size == 0);
  struct blob *blob = blob_new(pool, bytes.size);
  if (blob != NULL && bytes.size > 0) {
    memcpy(blob->data, bytes.data, bytes.size);
  }
  return blob;
}

struct blob *blob_wrap_take(struct blob_pool *pool, uint8_t *data, size_t size, void (*release)(uint8_t *)) {
  ASSERT(data != NULL || size == 0);
  ASSERT(release != NULL);
  if (size > UINT32_MAX) {
    COUNT(pool->refusals);
    return NULL;
  }
  struct blob *blob = blob_room(pool, 0);
  if (blob != NULL) {
    blob->data = data;
    blob->size = (uint32_t)size;
    blob->release = release;
  }
  return blob;
}

void blob_trim(struct blob *blob, size_t size) {
  ASSERT(blob->references == 1);
  ASSERT(size <= blob->size);
  blob->size = (uint32_t)size;
}

struct blob *blob_get(struct blob *blob) {
  if (blob != NULL) {
    ASSERT(blob->references >= 1 && blob->references < UINT32_MAX);
    blob->references++;
  }
  return blob;
}

void blob_put(struct blob *blob) {
  if (blob == NULL) {
    return;
  }
  ASSERT(blob->references >= 1);
  blob->references--;
  if (blob->references > 0) {
    return;
  }
  struct blob_pool *pool = blob->pool;
  if (blob->release != NULL) {
    blob->release(blob->data);
  }
  size_t offset = block_offset(pool, blob);
  bool continues = true;
  while (continues) {
    const uint8_t mark = pool->orders[offset >> BLOB_ORDER_MIN];
    const uint32_t order = mark & ORDER_MASK;
    continues = (mark & FLAG_CONTINUES) != 0;
    ASSERT(pool->used_bytes >= order_bytes(order));
    pool->used_bytes -= order_bytes(order);
    POISON(pool->base + offset, order_bytes(order));
    block_give_back(pool, offset, order);
    offset += order_bytes(order);
  }
}

struct bytes blob_bytes(const struct blob *blob) {
  if (blob == NULL) {
    return BYTES_NONE;
  }
  ASSERT(blob->references >= 1);
  return (struct bytes){blob->data, blob->size};
}

size_t blob_pool_check(const struct blob_pool *pool) {
  /* 1. Every block, from the first to the end. */
  size_t offset = 0;
  size_t free_bytes = 0;
  size_t free_count = 0;
  while (offset < pool->capacity_bytes) {
    const uint8_t mark = pool->orders[offset >> BLOB_ORDER_MIN];
    const uint32_t order = mark & ORDER_MASK;
    ASSERT(order >= BLOB_ORDER_MIN && order <= pool->order_top);
    ASSERT(offset % order_bytes(order) == 0);
    if ((mark & FLAG_FREE) != 0) {
      const size_t buddy = offset ^ order_bytes(order);
      ASSERT(order == pool->order_top || buddy >= pool->capacity_bytes ||
             pool->orders[buddy >> BLOB_ORDER_MIN] != mark);
      free_bytes += order_bytes(order);
      free_count++;
    }
    offset += order_bytes(order);
  }
  ASSERT(offset == pool->capacity_bytes);
  ASSERT(pool->used_bytes + free_bytes == pool->capacity_bytes);
  /* 2. Every free list holds free blocks of its order, and together they hold all. */
  size_t listed = 0;
  for (uint32_t order = BLOB_ORDER_MIN; order <= pool->order_top; order++) {
    const struct free_block *previous = NULL;
    for (const struct free_block *block = pool->free_lists[order]; block != NULL; block = block->next) {
      ASSERT(pool->orders[block_offset(pool, block) >> BLOB_ORDER_MIN] == (order | FLAG_FREE));
      ASSERT(block->previous == previous);
      previous = block;
      listed++;
      ASSERT(listed <= free_count);
    }
  }
  ASSERT(listed == free_count);
  return free_count;
}
