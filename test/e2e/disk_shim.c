/* LD_PRELOADed by disk_test.py: a disk whose syncs fail or are slow, as the file $GRAMME_DISK_SHIM says at each sync:
 *
 *     ok            nothing (also when there is no such file)
 *     delay MS      each sync takes so much longer
 *     fail          EIO from every sync
 *     fail-after N  EIO once N more syncs have been done, and from then on
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static atomic_uint done; /* syncs since `fail-after` was first seen */

static int before_sync(void) {
  const char *path = getenv("GRAMME_DISK_SHIM");
  FILE *file = path == NULL ? NULL : fopen(path, "re");
  char word[16] = "ok";
  unsigned number = 0;
  if (file != NULL) {
    if (fscanf(file, "%15s %u", word, &number) < 1) {
      strcpy(word, "ok");
    }
    fclose(file);
  }
  if (strcmp(word, "delay") == 0) {
    struct timespec pause = {number / 1000, (long)(number % 1000) * 1000000L};
    nanosleep(&pause, NULL);
  }
  int failed = strcmp(word, "fail") == 0 || (strcmp(word, "fail-after") == 0 && atomic_fetch_add(&done, 1) >= number);
  errno = failed ? EIO : errno;
  return failed ? -1 : 0;
}

static int real(const char *name, int fd) {
  int (*function)(int) = NULL;
  void *symbol = dlsym(RTLD_NEXT, name);
  memcpy(&function, &symbol, sizeof(function));
  return function(fd);
}

int fdatasync(int fd) {
  return before_sync() != 0 ? -1 : real("fdatasync", fd);
}

int fsync(int fd) {
  return before_sync() != 0 ? -1 : real("fsync", fd);
}
