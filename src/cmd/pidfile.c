#include "cmd/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

static bool pid_path(char path[PATH_MAX], const char *directory) {
  return snprintf(path, PATH_MAX, "%s/pid", directory) < PATH_MAX;
}

bool pidfile_make_directory(const char *path) {
  char part[PATH_MAX];
  size_t size = strlen(path);
  if (size == 0 || size >= sizeof part) {
    errno = size == 0 ? ENOENT : ENAMETOOLONG;
    return false;
  }
  memcpy(part, path, size + 1);
  for (size_t i = 1; i <= size; i++) {
    if (part[i] != '/' && part[i] != '\0') {
      continue;
    }
    char kept = part[i];
    part[i] = '\0';
    if (mkdir(part, 0700) != 0 && errno != EEXIST) {
      return false;
    }
    part[i] = kept;
  }
  struct stat status;
  if (stat(path, &status) != 0) {
    return false;
  }
  errno = ENOTDIR;
  return S_ISDIR(status.st_mode);
}

static pid_t pid_read(int file) {
  char text[32] = "";
  ssize_t size = pread(file, text, sizeof text - 1, 0);
  long pid = size > 0 ? strtol(text, NULL, 10) : 0;
  return pid > 0 && pid <= INT_MAX ? (pid_t)pid : -1;
}

static struct flock whole_file(void) {
  return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

/* What failed, and what to do about it. */
static void why_errno(char *why, const char *what, const char *path, int error) {
  const char *remedy = "let this user write there, or set another 'dir'";
  if (error == ENOSPC || error == EDQUOT) {
    remedy = "make space on its disk";
  } else if (error == ENAMETOOLONG) {
    remedy = "set a shorter 'dir'";
  } else if (error == ENOTDIR) {
    remedy = "set 'dir' to a directory";
  }
  snprintf(why, PIDFILE_WHY, "%s %.300s: %s; %s", what, path, strerror(error), remedy);
}

int pidfile_take(const char *directory, char *why) {
  char path[PATH_MAX];
  ASSERT(why != NULL);
  if (!pidfile_make_directory(directory) || !pid_path(path, directory)) {
    why_errno(why, "data directory", directory, errno);
    return -1;
  }
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) {
    why_errno(why, "can not open", path, errno);
    return -1;
  }
  struct flock lock = whole_file();
  if (fcntl(file, F_OFD_SETLK, &lock) != 0) {
    snprintf(why, PIDFILE_WHY, "data directory %.300s is in use by process %d: stop it first, or give another 'dir'",
             directory, (int)pid_read(file));
    close(file);
    return -1;
  }
  char text[32];
  int size = snprintf(text, sizeof text, "%d\n", (int)getpid());
  bool truncated = ftruncate(file, 0) == 0;
  ssize_t written = truncated ? pwrite(file, text, (size_t)size, 0) : -1;
  if (written != size) {
    why_errno(why, "can not write", path, written >= 0 ? ENOSPC : errno);
    close(file);
    return -1;
  }
  return file;
}

void pidfile_drop(const char *directory, int file) {
  char path[PATH_MAX];
  if (pid_path(path, directory)) {
    unlink(path);
  }
  close(file);
}

pid_t pidfile_owner(const char *directory) {
  char path[PATH_MAX];
  int file = pid_path(path, directory) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) {
    return 0;
  }
  struct flock lock = whole_file();
  bool asked = fcntl(file, F_OFD_GETLK, &lock) == 0;
  pid_t owner = asked && lock.l_type != F_UNLCK ? pid_read(file) : 0;
  close(file);
  return owner;
}
