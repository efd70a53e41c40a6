/* The memory engine's one file: what a node knows of its cluster must outlive the process even where its data does not,
 * or a founder that is started again would found another cluster.
 *
 * DIR/meta holds the whole of SPACE_META, replaced as a whole (written beside it, synced, renamed) by each commit that
 * changes it; such commits are rare.
 *
 *     u32 format (1)  u32 entries  entries * { u32 size, key, u32 size, value }  u64 XXH3-64 of all before it
 */
#ifndef GRAMME_STORE_METAFILE_H
#define GRAMME_STORE_METAFILE_H

#include "store/store.h"

/* `entries` are borrowed. IO when the file can not be replaced: the old one stands; NOSPACE when the disk is full. */
enum err metafile_save(const char *directory, const struct store_scan_entry *entries, uint32_t count) MUST_CHECK;
/* The file's contents, to be released with store_value_free; absent when there is none. CORRUPT, FORMAT, IO. */
enum err metafile_load(const char *directory, struct store_value *contents) MUST_CHECK;
/* Walks loaded contents: begin with *offset 0; false at the end. */
bool metafile_next(const struct store_value *contents, size_t *offset, struct bytes *key, struct bytes *value);

#endif
