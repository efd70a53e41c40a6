/* The memory engine: for caches and tests. Data does not survive the process, and `sync` is a word; SPACE_META does, in
 * a file of its own (metafile.h), where the engine is given a directory.
 *
 * Each space is a B+ tree. A node keeps the first eight bytes of its keys as numbers, side by side, so that a search
 * compares whole keys only where those tie; keys of objects begin with a position, whose first eight bytes hardly ever
 * do. Three or four nodes are touched for a million keys, there is nothing to rehash, and the order that scans need
 * comes with it.
 *
 *            branch   [ s1 | s2 | ... ]          child i holds keys k with s(i) <= k < s(i+1)
 *                    /     |      \
 *             leaf <--> leaf <--> leaf           slots in order of keys; a slot owns one block: value, then key
 *
 * A block is never changed once it is in: a get shares it with the taker, a put replaces it. A node that becomes empty
 * is freed; nodes that are only half empty are not merged, as keys spread by a hash fill them again.
 *
 * A batch is atomic even when memory runs out: see batch_apply.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "store/metafile.h"
#include "store/store.h"

#define LEAF_SLOTS 64u
#define BRANCH_CHILDREN 64u
#define HEIGHT_MAX 12u        /* 32^12 keys at the least before a tree would be higher */
#define SLOT_DEAD 0x80000000u /* in key_size: removed by the batch that is being applied */

struct slot {
  uint8_t *block; /* value_size bytes of value, then the key; from store_value_new */
  uint32_t value_size;
  uint32_t key_size; /* top bit: SLOT_DEAD */
};

struct leaf {
  uint32_t count;
  struct leaf *previous;
  struct leaf *next;
  uint64_t prefixes[LEAF_SLOTS];
  struct slot slots[LEAF_SLOTS];
};

struct separator {
  uint8_t *data; /* owned */
  size_t size;
};

struct branch {
  uint32_t count; /* children; one separator fewer */
  uint64_t prefixes[BRANCH_CHILDREN - 1];
  struct separator separators[BRANCH_CHILDREN - 1];
  void *children[BRANCH_CHILDREN];
};

struct tree {
  void *root;      /* a leaf when height is 0 */
  uint32_t height; /* branches above each leaf */
  uint64_t keys;
  uint64_t bytes; /* of blocks and nodes */
};

/* The way from the root to where a key is, or would be. */
struct path {
  struct branch *branches[HEIGHT_MAX];
  uint32_t children[HEIGHT_MAX]; /* which child was taken */
  struct leaf *leaf;
  uint32_t place;
  bool found;
};

/* What an insert into a full leaf needs, allocated before anything is changed. */
struct growth {
  struct leaf *leaf;
  struct separator separator;
  struct branch *branches[HEIGHT_MAX + 1];
  uint32_t branch_count;
};

struct undo {
  enum space space;
  struct bytes key; /* the write's */
  bool touched;
  bool inserted;      /* the key was absent */
  struct slot before; /* else what it had; its block is owned by this record while `replaced` */
  bool replaced;
};

struct store {
  struct tree trees[SPACE_COUNT];
  char *directory; /* of the metafile; NULL: none is kept */
};

/* -- keys ------------------------------------------------------------------ */

/* The first eight bytes as a big-endian number, padded with zeros: smaller means a smaller key, equal means nothing. */
static uint64_t key_prefix(struct bytes key) {
  uint64_t prefix = 0;
  const size_t size = key.size < 8 ? key.size : 8;
  for (size_t i = 0; i < size; i += 1) {
    prefix |= (uint64_t)key.data[i] << (56u - 8u * i);
  }
  return prefix;
}

static struct bytes slot_key(const struct slot *slot) {
  return (struct bytes){slot->block + slot->value_size, slot->key_size & ~SLOT_DEAD};
}

static uint64_t slot_bytes(const struct slot *slot) {
  return (uint64_t)slot->value_size + (slot->key_size & ~SLOT_DEAD) + 16u;
}

/* Asks for all cache lines of a node's prefixes at once: one wait for memory, not one for each step of the search. */
static void prefixes_prefetch(const uint64_t *prefixes, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 8) {
    __builtin_prefetch(&prefixes[i]);
  }
}

/* The first place whose prefix is >= prefix; without branches that a processor could guess wrong. */
static uint32_t prefixes_place(const uint64_t *prefixes, uint32_t count, uint64_t prefix) {
  uint32_t base = 0;
  while (count > 1) {
    uint32_t half = count / 2;
    base += prefixes[base + half - 1] < prefix ? half : 0;
    count -= half;
  }
  return count == 1 && prefixes[base] < prefix ? base + 1 : base;
}

/* The places [*low, *high) whose prefix is this one: among them whole keys decide. */
static void prefixes_tied(const uint64_t *prefixes, uint32_t count, uint64_t prefix, uint32_t *low, uint32_t *high) {
  *low = prefixes_place(prefixes, count, prefix);
  *high = *low;
  if (*low < count && prefixes[*low] == prefix) {
    bool alone = *low + 1 == count || prefixes[*low + 1] != prefix;
    uint32_t end = prefix == UINT64_MAX ? count : prefixes_place(prefixes, count, prefix + 1);
    *high = alone ? *low + 1 : end;
  }
}

/* Which child of the branch the key lies under: the number of separators that are <= key. */
static uint32_t branch_child(const struct branch *branch, uint64_t prefix, struct bytes key) {
  uint32_t low;
  uint32_t high;
  prefixes_prefetch(branch->prefixes, branch->count - 1);
  prefixes_tied(branch->prefixes, branch->count - 1, prefix, &low, &high);
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    struct bytes separator = {branch->separators[middle].data, branch->separators[middle].size};
    if (bytes_compare(separator, key) <= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* The first slot whose key is >= key. */
static uint32_t leaf_place(const struct leaf *leaf, uint64_t prefix, struct bytes key, bool *found) {
  uint32_t low;
  uint32_t high;
  prefixes_prefetch(leaf->prefixes, LEAF_SLOTS);
  prefixes_tied(leaf->prefixes, leaf->count, prefix, &low, &high);
  *found = false;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    int order = bytes_compare(slot_key(&leaf->slots[middle]), key);
    if (order == 0) {
      *found = true;
      return middle;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/* -- the tree ---------------------------------------------------------------- */

static bool tree_init(struct tree *tree) {
  *tree = (struct tree){0};
  struct leaf *leaf = malloc(sizeof(*leaf));
  if (leaf == NULL) {
    return false;
  }
  leaf->count = 0;
  leaf->previous = NULL;
  leaf->next = NULL;
  tree->root = leaf;
  tree->bytes = sizeof(*leaf);
  return true;
}

static void tree_find(const struct tree *tree, struct bytes key, struct path *path) {
  uint64_t prefix = key_prefix(key);
  void *node = tree->root;
  for (uint32_t level = 0; level < tree->height; level += 1) {
    struct branch *branch = node;
    path->branches[level] = branch;
    path->children[level] = branch_child(branch, prefix, key);
    node = branch->children[path->children[level]];
  }
  path->leaf = node;
  path->place = leaf_place(path->leaf, prefix, key, &path->found);
}

static void leaf_insert(struct leaf *leaf, uint32_t place, uint64_t prefix, struct slot slot) {
  ASSERT(leaf->count < LEAF_SLOTS);
  ASSERT(place <= leaf->count);
  size_t after = leaf->count - place;
  memmove(&leaf->prefixes[place + 1], &leaf->prefixes[place], after * sizeof(leaf->prefixes[0]));
  memmove(&leaf->slots[place + 1], &leaf->slots[place], after * sizeof(leaf->slots[0]));
  leaf->prefixes[place] = prefix;
  leaf->slots[place] = slot;
  leaf->count += 1;
}

/* Puts `child` behind child `index`, divided from it by `separator`. */
static void branch_insert(struct branch *branch, uint32_t index, struct separator separator, void *child) {
  ASSERT(branch->count < BRANCH_CHILDREN);
  ASSERT(index < branch->count);
  size_t after = branch->count - 1 - index;
  memmove(&branch->prefixes[index + 1], &branch->prefixes[index], after * sizeof(branch->prefixes[0]));
  memmove(&branch->separators[index + 1], &branch->separators[index], after * sizeof(branch->separators[0]));
  memmove(&branch->children[index + 2], &branch->children[index + 1], after * sizeof(branch->children[0]));
  branch->prefixes[index] = key_prefix((struct bytes){separator.data, separator.size});
  branch->separators[index] = separator;
  branch->children[index + 1] = child;
  branch->count += 1;
}

/* Moves the upper half of a full branch to `right`; returns the separator between the two. */
static struct separator branch_split(struct branch *left, struct branch *right) {
  const uint32_t half = BRANCH_CHILDREN / 2;
  ASSERT(left->count == BRANCH_CHILDREN);
  right->count = BRANCH_CHILDREN - half;
  memcpy(right->children, &left->children[half], right->count * sizeof(right->children[0]));
  memcpy(right->prefixes, &left->prefixes[half], (right->count - 1) * sizeof(right->prefixes[0]));
  memcpy(right->separators, &left->separators[half], (right->count - 1) * sizeof(right->separators[0]));
  left->count = half;
  return left->separators[half - 1];
}

static void leaf_split(struct leaf *left, struct leaf *right) {
  const uint32_t half = LEAF_SLOTS / 2;
  ASSERT(left->count == LEAF_SLOTS);
  right->count = LEAF_SLOTS - half;
  memcpy(right->prefixes, &left->prefixes[half], right->count * sizeof(right->prefixes[0]));
  memcpy(right->slots, &left->slots[half], right->count * sizeof(right->slots[0]));
  left->count = half;
  right->previous = left;
  right->next = left->next;
  if (right->next != NULL) {
    right->next->previous = right;
  }
  left->next = right;
}

static void growth_free(struct growth *growth) {
  free(growth->leaf);
  free(growth->separator.data);
  for (uint32_t i = 0; i < growth->branch_count; i += 1) {
    free(growth->branches[i]);
  }
}

/* Allocates a leaf, its separator, a branch for each full one on the way up, and a root if it is full to the top. */
static bool growth_prepare(const struct tree *tree, const struct path *path, struct growth *growth) {
  *growth = (struct growth){0};
  struct bytes middle = slot_key(&path->leaf->slots[LEAF_SLOTS / 2]);
  growth->leaf = malloc(sizeof(*growth->leaf));
  growth->separator.data = malloc(middle.size > 0 ? middle.size : 1);
  growth->separator.size = middle.size;
  if (growth->leaf == NULL || growth->separator.data == NULL) {
    goto fail;
  }
  memcpy(growth->separator.data, middle.data, middle.size);
  uint32_t wanted = 0;
  while (wanted < tree->height && path->branches[tree->height - 1 - wanted]->count == BRANCH_CHILDREN) {
    wanted += 1;
  }
  if (wanted == tree->height) {
    ASSERT(tree->height < HEIGHT_MAX);
    wanted += 1;
  }
  for (; growth->branch_count < wanted; growth->branch_count += 1) {
    struct branch *branch = malloc(sizeof(*branch));
    if (branch == NULL) {
      goto fail;
    }
    growth->branches[growth->branch_count] = branch;
  }
  return true;
fail:
  growth_free(growth);
  return false;
}

/* Hangs the new leaf in, splitting branches upwards with what growth_prepare provided. */
static void tree_grow(struct tree *tree, const struct path *path, const struct growth *growth) {
  struct separator separator = growth->separator;
  void *child = growth->leaf;
  uint32_t used = 0;
  for (uint32_t level = tree->height; level > 0; level -= 1) {
    struct branch *branch = path->branches[level - 1];
    uint32_t index = path->children[level - 1];
    if (branch->count < BRANCH_CHILDREN) {
      branch_insert(branch, index, separator, child);
      ASSERT(used == growth->branch_count);
      return;
    }
    ASSERT(used < growth->branch_count);
    struct branch *right = growth->branches[used];
    ASSERT(right != NULL);
    used += 1;
    struct separator between = branch_split(branch, right);
    if (index < branch->count) {
      branch_insert(branch, index, separator, child);
    } else {
      branch_insert(right, index - branch->count, separator, child);
    }
    separator = between;
    child = right;
  }
  struct branch *root = growth->branches[used];
  ASSERT(used + 1 == growth->branch_count);
  root->count = 1;
  root->children[0] = tree->root;
  branch_insert(root, 0, separator, child);
  tree->root = root;
  tree->height += 1;
}

/* The key must be absent and the path be its own. False: no memory, nothing changed. */
static bool tree_insert(struct tree *tree, struct path *path, struct bytes key, struct slot slot) {
  ASSERT(!path->found);
  struct leaf *leaf = path->leaf;
  uint32_t place = path->place;
  if (leaf->count == LEAF_SLOTS) {
    struct growth growth;
    if (!growth_prepare(tree, path, &growth)) {
      return false;
    }
    leaf_split(leaf, growth.leaf);
    tree_grow(tree, path, &growth);
    tree->bytes += sizeof(struct leaf) + growth.branch_count * sizeof(struct branch) + growth.separator.size;
    if (place > leaf->count) {
      place -= leaf->count;
      leaf = growth.leaf;
    }
  }
  leaf_insert(leaf, place, key_prefix(key), slot);
  tree->keys += 1;
  tree->bytes += slot_bytes(&slot);
  return true;
}

/* Takes out child `index` and the separator beside it. */
static void branch_remove(struct tree *tree, struct branch *branch, uint32_t index) {
  ASSERT(index < branch->count);
  if (branch->count > 1) {
    uint32_t beside = index > 0 ? index - 1 : 0;
    tree->bytes -= branch->separators[beside].size;
    free(branch->separators[beside].data);
    size_t after = branch->count - 2 - beside;
    memmove(&branch->prefixes[beside], &branch->prefixes[beside + 1], after * sizeof(branch->prefixes[0]));
    memmove(&branch->separators[beside], &branch->separators[beside + 1], after * sizeof(branch->separators[0]));
  }
  size_t after = branch->count - 1 - index;
  memmove(&branch->children[index], &branch->children[index + 1], after * sizeof(branch->children[0]));
  branch->count -= 1;
}

/* Frees nodes that have become empty, from the leaf up, and a root that has but one child. */
static void tree_shrink(struct tree *tree, const struct path *path) {
  struct leaf *leaf = path->leaf;
  ASSERT(leaf->count == 0);
  if (tree->height == 0) {
    return;
  }
  if (leaf->previous != NULL) {
    leaf->previous->next = leaf->next;
  }
  if (leaf->next != NULL) {
    leaf->next->previous = leaf->previous;
  }
  free(leaf);
  tree->bytes -= sizeof(*leaf);
  for (uint32_t level = tree->height; level > 0; level -= 1) {
    struct branch *branch = path->branches[level - 1];
    branch_remove(tree, branch, path->children[level - 1]);
    if (branch->count > 0) {
      break;
    }
    ASSERT(level > 1); /* a root with one child is replaced by it below, so it never loses its last */
    free(branch);
    tree->bytes -= sizeof(*branch);
  }
  while (tree->height > 0 && ((struct branch *)tree->root)->count == 1) {
    struct branch *root = tree->root;
    tree->root = root->children[0];
    tree->height -= 1;
    free(root);
    tree->bytes -= sizeof(*root);
  }
}

/* Takes the found slot out; its block is the caller's. */
static void tree_remove(struct tree *tree, const struct path *path) {
  ASSERT(path->found);
  struct leaf *leaf = path->leaf;
  uint32_t place = path->place;
  ASSERT(place < leaf->count);
  tree->keys -= 1;
  tree->bytes -= slot_bytes(&leaf->slots[place]);
  size_t after = leaf->count - 1 - place;
  memmove(&leaf->prefixes[place], &leaf->prefixes[place + 1], after * sizeof(leaf->prefixes[0]));
  memmove(&leaf->slots[place], &leaf->slots[place + 1], after * sizeof(leaf->slots[0]));
  leaf->count -= 1;
  if (leaf->count == 0) {
    tree_shrink(tree, path);
  }
}

/* Depth first, with a stack of its own. */
static void tree_deinit(struct tree *tree) {
  if (tree->root == NULL) {
    return;
  }
  void *stack[HEIGHT_MAX + 1];
  uint32_t next[HEIGHT_MAX + 1] = {0};
  uint32_t depth = 0;
  stack[0] = tree->root;
  for (;;) {
    if (depth < tree->height && next[depth] < ((struct branch *)stack[depth])->count) {
      struct branch *branch = stack[depth];
      void *child = branch->children[next[depth]];
      next[depth] += 1;
      depth += 1;
      stack[depth] = child;
      next[depth] = 0;
      continue;
    }
    if (depth == tree->height) {
      struct leaf *leaf = stack[depth];
      for (uint32_t i = 0; i < leaf->count; i += 1) {
        store_value_free(leaf->slots[i].block);
      }
    } else {
      struct branch *branch = stack[depth];
      for (uint32_t i = 0; i + 1 < branch->count; i += 1) {
        free(branch->separators[i].data);
      }
    }
    free(stack[depth]);
    if (depth == 0) {
      break;
    }
    depth -= 1;
  }
  tree->root = NULL;
}

/* -- the engine ---------------------------------------------------------------- */

static void memory_close(struct store *store) {
  for (uint32_t space = 0; space < SPACE_COUNT; space += 1) {
    tree_deinit(&store->trees[space]);
  }
  free(store->directory);
  free(store);
}

static enum err memory_get(struct store *store, enum space space, struct bytes key, bool may_block,
                           struct store_value *value) {
  (void)may_block;
  struct path path;
  tree_find(&store->trees[space], key, &path);
  *value = (struct store_value){NULL, 0};
  if (path.found) {
    const struct slot *slot = &path.leaf->slots[path.place];
    store_value_share(slot->block);
    *value = (struct store_value){slot->block, slot->value_size};
  }
  return ERR_OK;
}

/* Applies one write, marking instead of removing, and notes in `undo` how it was. False: no memory, nothing changed. */
static bool write_apply(struct store *store, const struct store_write *write, struct undo *undo) {
  struct tree *tree = &store->trees[write->space];
  struct path path;
  tree_find(tree, write->key, &path);
  *undo = (struct undo){.space = write->space, .key = write->key};
  if (write->remove) {
    if (path.found) {
      undo->touched = true;
      undo->before = path.leaf->slots[path.place];
      path.leaf->slots[path.place].key_size |= SLOT_DEAD;
    }
    return true;
  }
  ASSERT(write->value.size <= UINT32_MAX);
  ASSERT(write->key.size < SLOT_DEAD);
  struct slot slot = {NULL, (uint32_t)write->value.size, (uint32_t)write->key.size};
  slot.block = store_value_new(write->value.size + write->key.size);
  if (slot.block == NULL) {
    return false;
  }
  if (write->value.size > 0) {
    memcpy(slot.block, write->value.data, write->value.size);
  }
  if (write->key.size > 0) {
    memcpy(slot.block + write->value.size, write->key.data, write->key.size);
  }
  if (path.found) {
    struct slot *place = &path.leaf->slots[path.place];
    undo->before = *place;
    undo->replaced = true;
    tree->bytes += slot_bytes(&slot) - slot_bytes(place);
    *place = slot;
  } else if (tree_insert(tree, &path, write->key, slot)) {
    undo->inserted = true;
  } else {
    store_value_free(slot.block);
    return false;
  }
  undo->touched = true;
  return true;
}

static void write_undo(struct store *store, const struct undo *undo) {
  if (!undo->touched) {
    return;
  }
  struct tree *tree = &store->trees[undo->space];
  struct path path;
  tree_find(tree, undo->key, &path);
  ASSERT(path.found);
  struct slot *slot = &path.leaf->slots[path.place];
  if (undo->inserted) {
    uint8_t *block = slot->block;
    tree_remove(tree, &path);
    store_value_free(block);
  } else if (undo->replaced) {
    tree->bytes += slot_bytes(&undo->before) - slot_bytes(slot);
    store_value_free(slot->block);
    *slot = undo->before;
  } else {
    *slot = undo->before;
  }
}

/* Makes one write final: lets go of what was replaced, takes out what is marked and was not put again. */
static void write_finish(struct store *store, const struct store_write *write, const struct undo *undo) {
  if (undo->replaced) {
    store_value_free(undo->before.block);
  }
  if (!write->remove) {
    return;
  }
  struct tree *tree = &store->trees[write->space];
  struct path path;
  tree_find(tree, write->key, &path);
  if (path.found && (path.leaf->slots[path.place].key_size & SLOT_DEAD) != 0) {
    uint8_t *block = path.leaf->slots[path.place].block;
    tree_remove(tree, &path);
    store_value_free(block);
  }
}

/* 1. Apply all writes; a removal only marks its slot, so that every step can be undone without memory.
 * 2. If memory ran out, undo them backwards: nothing of the batch was kept.
 * 3. Else take out what is marked. */
static enum err batch_apply(struct store *store, const struct store_write *writes, size_t count) {
  struct undo one = {0}; /* most batches in memory are of one write */
  struct undo *undos = count > 1 ? malloc(count * sizeof(*undos)) : &one;
  if (undos == NULL) {
    return ERR_NOSPACE;
  }
  size_t applied = 0;
  while (applied < count && write_apply(store, &writes[applied], &undos[applied])) {
    applied += 1;
  }
  if (applied < count) {
    for (size_t i = applied; i > 0; i -= 1) {
      write_undo(store, &undos[i - 1]);
    }
  } else {
    for (size_t i = 0; i < count; i += 1) {
      write_finish(store, &writes[i], &undos[i]);
    }
  }
  if (undos != &one) {
    free(undos);
  }
  return applied < count ? ERR_NOSPACE : ERR_OK;
}

static bool begins_with(struct bytes bytes, struct bytes prefix) {
  return bytes.size >= prefix.size && (prefix.size == 0 || memcmp(bytes.data, prefix.data, prefix.size) == 0);
}

static bool entry_take(const struct slot *slot, bool keys_only, struct store_scan_entry *entry) {
  struct bytes key = slot_key(slot);
  *entry = (struct store_scan_entry){{store_value_new(key.size), key.size}, {NULL, 0}};
  if (entry->key.data == NULL) {
    return false;
  }
  if (key.size > 0) {
    memcpy(entry->key.data, key.data, key.size);
  }
  if (!keys_only) {
    store_value_share(slot->block);
    entry->value = (struct store_value){slot->block, slot->value_size};
  }
  return true;
}

static enum err memory_scan(struct store *store, enum space space, struct bytes from, struct bytes prefix,
                            uint32_t max_count, size_t max_bytes, bool keys_only, struct store_scan_entry *entries,
                            uint32_t *count, bool *end) {
  struct path path;
  tree_find(&store->trees[space], bytes_compare(from, prefix) < 0 ? prefix : from, &path);
  const struct leaf *leaf = path.leaf;
  uint32_t place = path.place;
  size_t bytes = 0;
  *count = 0;
  *end = false;
  for (;;) {
    while (leaf != NULL && place == leaf->count) {
      leaf = leaf->next;
      place = 0;
    }
    if (leaf == NULL || !begins_with(slot_key(&leaf->slots[place]), prefix)) {
      *end = true;
      return ERR_OK;
    }
    const struct slot *slot = &leaf->slots[place];
    size_t size = slot_key(slot).size + (keys_only ? 0 : slot->value_size);
    if (*count == max_count || (*count > 0 && (size > max_bytes || bytes > max_bytes - size))) {
      return ERR_OK;
    }
    if (!entry_take(slot, keys_only, &entries[*count])) {
      for (uint32_t i = 0; i < *count; i += 1) {
        store_value_free(entries[i].key.data);
        store_value_free(entries[i].value.data);
      }
      *count = 0;
      return ERR_NOMEM;
    }
    *count += 1;
    bytes += size;
    place += 1;
  }
}

#define META_ENTRIES_MAX 64u /* names in SPACE_META: a handful */

static enum err meta_save(struct store *store) {
  struct store_scan_entry entries[META_ENTRIES_MAX];
  uint32_t count = 0;
  bool end = false;
  enum err err =
      memory_scan(store, SPACE_META, BYTES_NONE, BYTES_NONE, META_ENTRIES_MAX, SIZE_MAX, false, entries, &count, &end);
  if (err != ERR_OK) {
    return ERR_NOSPACE;
  }
  ASSERT(end);
  err = metafile_save(store->directory, entries, count);
  for (uint32_t i = 0; i < count; i += 1) {
    store_value_free(entries[i].key.data);
    store_value_free(entries[i].value.data);
  }
  return err;
}

static enum err memory_commit(struct store *store, const struct store_write *writes, size_t count, bool sync) {
  (void)sync;
  bool meta = false;
  for (size_t i = 0; i < count; i += 1) {
    meta = meta || writes[i].space == SPACE_META;
  }
  enum err err = batch_apply(store, writes, count);
  return err == ERR_OK && meta && store->directory != NULL ? meta_save(store) : err;
}

static enum err meta_load(struct store *store) {
  struct store_value contents;
  enum err err = metafile_load(store->directory, &contents);
  size_t offset = 0;
  struct store_write write = {.space = SPACE_META};
  while (err == ERR_OK && contents.data != NULL && metafile_next(&contents, &offset, &write.key, &write.value)) {
    err = batch_apply(store, &write, 1);
  }
  store_value_free(contents.data);
  return err;
}

/* Says what is wrong with DIR/meta. */
static void meta_why(enum err err, const char *directory, char *why) {
  (void)snprintf(why, STORE_WHY, "%.120s/meta can not be used (%s): %s", directory, err_text(err),
                 err == ERR_FORMAT ? "run the newer version again" : "restore it, or start with an empty dir");
}

static enum err memory_open(const char *directory, const struct store_options *options, struct store **store,
                            char *why) {
  (void)options;
  struct store *opened = calloc(1, sizeof(*opened));
  bool ok = opened != NULL;
  for (uint32_t space = 0; ok && space < SPACE_COUNT; space += 1) {
    ok = tree_init(&opened->trees[space]);
  }
  if (ok && directory != NULL && directory[0] != '\0') {
    opened->directory = strdup(directory);
    ok = opened->directory != NULL;
  }
  if (!ok) {
    if (opened != NULL) {
      memory_close(opened);
    }
    static const char text[] = "no memory for the memory engine: give the process more";
    memcpy(why, text, sizeof(text));
    return ERR_NOMEM;
  }
  enum err err = opened->directory != NULL ? meta_load(opened) : ERR_OK;
  if (err != ERR_OK) {
    meta_why(err, directory, why);
    memory_close(opened);
    return err;
  }
  *store = opened;
  return ERR_OK;
}

static enum err memory_recover(struct store *store) {
  (void)store;
  return ERR_OK;
}

static void memory_statistics(struct store *store, struct store_statistics *statistics) {
  *statistics = (struct store_statistics){.keys = store->trees[SPACE_OBJECTS].keys, .free_bytes = UINT64_MAX};
  for (uint32_t space = 0; space < SPACE_COUNT; space += 1) {
    statistics->bytes += store->trees[space].bytes;
  }
}

static void memory_failure(struct store *store, char *why) {
  (void)store;
  why[0] = '\0';
}

static void memory_set_reserve(struct store *store, uint64_t disk_reserve_bytes) {
  (void)store;
  (void)disk_reserve_bytes;
}

const struct store_engine store_memory = {
    .name = "memory",
    .leaves = "meta",
    .waits = false,
    .open = memory_open,
    .get = memory_get,
    .commit = memory_commit,
    .scan = memory_scan,
    .recover = memory_recover,
    .statistics = memory_statistics,
    .failure = memory_failure,
    .set_reserve = memory_set_reserve,
    .close = memory_close,
};
