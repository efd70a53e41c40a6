/* A node's data directory: who it belongs to, and that only one process uses it.
 *
 *     DIR/lock           flock()ed while a process uses the directory; holds its pid
 *     DIR/gramme.format  written once, when the directory is first used:
 *
 *         gramme data directory
 *         format 1
 *         cluster NAME
 *         node 0a1b2c3d
 *         checksum 0123456789abcdef       (XXH3-64 of the lines above)
 *
 * The rest is the storage engine's. The node id is drawn here, from the system's entropy, and never changes: it is
 * what the membership history, the ring and the dots of all values know this node by.
 *
 * INVARIANT: no error path changes a directory that was there before.
 */
#ifndef GRAMME_RUN_DIRECTORY_H
#define GRAMME_RUN_DIRECTORY_H

#include "base/err.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define DIRECTORY_FORMAT 1u
#define DIRECTORY_WHY 512u

struct directory {
  int lock;      /* file descriptor */
  uint32_t node; /* id */
  bool fresh;    /* used for the first time */
};

/* `node`: the id that the directory has to have, and gets when it is used for the first time; 0: whatever it has.
 * Creates it (and its parents) where needed, locks it, reads or writes gramme.format. On failure nothing is held, and
 * `why` (DIRECTORY_WHY bytes) is one line that names the thing and the remedy: BUSY in use, FORMAT newer, BADARG
 * another cluster's, CORRUPT damaged, NOSPACE, IO. */
enum err directory_open(struct directory *directory, const char *path, const char *cluster_name, uint32_t node,
                        char *why) MUST_CHECK;
void directory_close(struct directory *directory);

#endif
