/* DIR/pid: which process serves a data directory, and the lock that keeps a second one away from it.
 *
 * The lock belongs to the open file (fcntl OFD locks), so it goes with the process, however that ends; a pid file
 * that nobody has locked is a leftover.
 */
#ifndef GRAMME_CMD_PIDFILE_H
#define GRAMME_CMD_PIDFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PIDFILE_WHY 512

/* Makes the directory and those above it as needed, locks DIR/pid and writes this process's id. The file
 * descriptor is to be kept open, or -1 and `why` (PIDFILE_WHY bytes). */
int pidfile_take(const char *directory, char *why);
/* Removes the file and gives the lock back. */
void pidfile_drop(const char *directory, int file);
/* The process that holds the lock, 0 when none does. -1 when one does, but its id can not be read. */
pid_t pidfile_owner(const char *directory);
/* As `mkdir -p -m 700`; false and errno otherwise. */
bool pidfile_make_directory(const char *path);

#endif
