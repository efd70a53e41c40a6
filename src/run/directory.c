#include "run/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/assert.h"
#include "base/bytes.h"

#define PATH_BYTES 4352u /* option dir is at most 4000 */
#define FORMAT_FILE "gramme.format"
#define FORMAT_BYTES 256u
#define FORMAT_TITLE "gramme data directory"

struct format {
  uint32_t format;
  uint32_t node;
  char cluster_name[NAME_MAX_BYTES + 1];
};

static enum err why_errno(char *why, const char *what, const char *path, int error) {
  const char *remedy = "";
  if (error == ENOSPC || error == EDQUOT) {
    remedy = "; make space";
  } else if (error == EACCES || error == EPERM || error == EROFS) {
    remedy = "; let this user write there, or set another dir";
  } else if (error == ENOTDIR || error == EEXIST) {
    remedy = "; set dir to a directory";
  }
  snprintf(why, DIRECTORY_WHY, "can not %s %.300s: %s%s", what, path, strerror(error), remedy);
  return error == ENOSPC || error == EDQUOT ? ERR_NOSPACE : ERR_IO;
}

static void path_join(char *path, const char *directory, const char *name) {
  int size = snprintf(path, PATH_BYTES, "%s/%s", directory, name);
  ASSERT(size > 0 && (unsigned)size < PATH_BYTES);
}

/* The directory and all its parents. */
static enum err directory_make(const char *path, char *why) {
  char part[PATH_BYTES];
  snprintf(part, sizeof(part), "%s", path);
  for (char *end = part + 1;; end += 1) {
    if (*end != '/' && *end != '\0') {
      continue;
    }
    char kept = *end;
    *end = '\0';
    if (mkdir(part, 0700) != 0 && errno != EEXIST) {
      return why_errno(why, "create", part, errno);
    }
    if (kept == '\0') {
      break;
    }
    *end = kept;
  }
  struct stat status;
  if (stat(path, &status) != 0) {
    return why_errno(why, "use", path, errno);
  }
  if (!S_ISDIR(status.st_mode)) {
    return why_errno(why, "use", path, ENOTDIR);
  }
  return ERR_OK;
}

/* -- the lock ------------------------------------------------------------------------ */

static enum err directory_lock(struct directory *directory, const char *path, char *why) {
  char file[PATH_BYTES];
  char text[32] = "";
  path_join(file, path, "lock");
  int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return why_errno(why, "open", file, errno);
  }
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    int error = errno;
    ssize_t size = read(fd, text, sizeof(text) - 1);
    long pid = size > 0 ? strtol(text, NULL, 10) : 0;
    close(fd);
    if (error != EWOULDBLOCK) {
      return why_errno(why, "lock", file, error);
    }
    if (pid > 0) {
      snprintf(why, DIRECTORY_WHY,
               "another process (pid %ld) uses the data directory %.300s; stop it, or set another dir", pid, path);
    } else {
      snprintf(why, DIRECTORY_WHY, "another process uses the data directory %.300s; stop it, or set another dir", path);
    }
    return ERR_BUSY;
  }
  /* The pid is for people only: the lock itself is what counts. */
  int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)size, 0) != size) {
    enum err err = why_errno(why, "write", file, errno);
    close(fd);
    return err;
  }
  directory->lock = fd;
  return ERR_OK;
}

/* -- gramme.format --------------------------------------------------------------------- */

static size_t format_print(const struct format *format, char text[FORMAT_BYTES]) {
  int size = snprintf(text, FORMAT_BYTES, FORMAT_TITLE "\nformat %" PRIu32 "\ncluster %s\nnode %08" PRIx32 "\n",
                      format->format, format->cluster_name, format->node);
  ASSERT(size > 0 && size < (int)FORMAT_BYTES - 32);
  uint64_t checksum = bytes_hash((struct bytes){(const uint8_t *)text, (size_t)size}, 0);
  int more = snprintf(text + size, FORMAT_BYTES - (size_t)size, "checksum %016" PRIx64 "\n", checksum);
  ASSERT(more > 0);
  return (size_t)size + (size_t)more;
}

/* A number after `label` at the start of a line; moves `*text` behind the line. */
static bool line_number(const char **text, const char *label, int base, uint64_t *number) {
  size_t size = strlen(label);
  if (strncmp(*text, label, size) != 0) {
    return false;
  }
  char *end = NULL;
  *number = strtoull(*text + size, &end, base);
  if (end == *text + size || *end != '\n') {
    return false;
  }
  *text = end + 1;
  return true;
}

/* CORRUPT, or FORMAT for a newer one, of which only the number is understood. */
static enum err format_parse(const char *text, struct format *format) {
  const char *next = text;
  uint64_t number = 0;
  *format = (struct format){0};
  if (strncmp(next, FORMAT_TITLE "\n", sizeof(FORMAT_TITLE)) != 0) {
    return ERR_CORRUPT;
  }
  next += sizeof(FORMAT_TITLE);
  if (!line_number(&next, "format ", 10, &number) || number == 0 || number > UINT32_MAX) {
    return ERR_CORRUPT;
  }
  format->format = (uint32_t)number;
  if (format->format > DIRECTORY_FORMAT) {
    return ERR_FORMAT;
  }
  const char *end = strchr(next, '\n');
  if (strncmp(next, "cluster ", 8) != 0 || end == NULL || end - next - 8 > (ptrdiff_t)NAME_MAX_BYTES) {
    return ERR_CORRUPT;
  }
  memcpy(format->cluster_name, next + 8, (size_t)(end - next - 8));
  next = end + 1;
  if (!line_number(&next, "node ", 16, &number) || number == 0 || number > UINT32_MAX) {
    return ERR_CORRUPT;
  }
  format->node = (uint32_t)number;
  /* What it would look like is what it has to look like: this covers the checksum, and anything that trails. */
  char again[FORMAT_BYTES];
  size_t size = format_print(format, again);
  return strlen(text) == size && memcmp(text, again, size) == 0 ? ERR_OK : ERR_CORRUPT;
}

static enum err sync_directory(const char *path, char *why) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return why_errno(why, "open", path, errno);
  }
  enum err err = fsync(fd) == 0 ? ERR_OK : why_errno(why, "sync", path, errno);
  close(fd);
  return err;
}

/* Whole or not at all: written beside, synced, renamed into place, and the directory synced. */
static enum err format_write(const char *path, const struct format *format, char *why) {
  char file[PATH_BYTES];
  char beside[PATH_BYTES];
  char text[FORMAT_BYTES];
  size_t size = format_print(format, text);
  path_join(file, path, FORMAT_FILE);
  path_join(beside, path, FORMAT_FILE ".new");
  int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return why_errno(why, "create", beside, errno);
  }
  ssize_t written = write(fd, text, size);
  if (written != (ssize_t)size || fsync(fd) != 0) {
    enum err err = why_errno(why, "write", beside, written >= 0 && written != (ssize_t)size ? ENOSPC : errno);
    close(fd);
    unlink(beside);
    return err;
  }
  close(fd);
  if (rename(beside, file) != 0) {
    enum err err = why_errno(why, "write", file, errno);
    unlink(beside);
    return err;
  }
  return sync_directory(path, why);
}

static enum err format_judge(const struct format *format, enum err err, const char *file, const char *cluster_name,
                             char *why) {
  if (err == ERR_FORMAT) {
    snprintf(why, DIRECTORY_WHY,
             "%.200s has format %" PRIu32 ", this version reads up to %u; run the newer version that wrote it", file,
             format->format, DIRECTORY_FORMAT);
  } else if (err != ERR_OK) {
    snprintf(why, DIRECTORY_WHY,
             "%.200s is damaged; put it back from a copy of this very directory, or start with an empty dir", file);
  } else if (strcmp(format->cluster_name, cluster_name) != 0) {
    snprintf(why, DIRECTORY_WHY,
             "%.200s belongs to the cluster \"%s\", not \"%s\"; set cluster-name to it, or use another dir", file,
             format->cluster_name, cluster_name);
    err = ERR_BADARG;
  }
  return err;
}

/* The first use of a directory. A store without gramme.format is one that has lost it. */
static enum err directory_found(struct directory *directory, const char *path, const char *cluster_name, uint32_t node,
                                char *why) {
  static const char *const stores[] = {"rocksdb", "meta"};
  struct format format = {.format = DIRECTORY_FORMAT, .node = node};
  char file[PATH_BYTES];
  for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i += 1) {
    path_join(file, path, stores[i]);
    if (access(file, F_OK) == 0) {
      path_join(file, path, FORMAT_FILE);
      snprintf(why, DIRECTORY_WHY,
               "%.200s is missing though there is data beside it; put it back from a copy, or use another dir", file);
      return ERR_CORRUPT;
    }
  }
  while (format.node == 0) {
    if (uv_random(NULL, NULL, &format.node, sizeof(format.node), 0, NULL) != 0) {
      snprintf(why, DIRECTORY_WHY, "the system gives no random numbers; check /dev/urandom");
      return ERR_IO;
    }
  }
  ASSERT(strlen(cluster_name) <= NAME_MAX_BYTES);
  snprintf(format.cluster_name, sizeof(format.cluster_name), "%s", cluster_name);
  directory->node = format.node;
  directory->fresh = true;
  return format_write(path, &format, why);
}

static enum err directory_identify(struct directory *directory, const char *path, const char *cluster_name,
                                   uint32_t node, char *why) {
  char file[PATH_BYTES];
  char text[FORMAT_BYTES + 1];
  struct format format;
  path_join(file, path, FORMAT_FILE);
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    return directory_found(directory, path, cluster_name, node, why);
  }
  if (fd < 0) {
    return why_errno(why, "read", file, errno);
  }
  ssize_t size = read(fd, text, FORMAT_BYTES);
  int error = errno;
  close(fd);
  if (size < 0) {
    return why_errno(why, "read", file, error);
  }
  text[size] = '\0';
  enum err err = format_judge(&format, format_parse(text, &format), file, cluster_name, why);
  directory->node = format.node;
  if (err == ERR_OK && node != 0 && node != format.node) {
    snprintf(why, DIRECTORY_WHY,
             "%.200s is of node %08" PRIx32 ", and node-id is %08" PRIx32 "; leave node-id out, or use another dir",
             file, format.node, node);
    err = ERR_BADARG;
  }
  return err;
}

enum err directory_open(struct directory *directory, const char *path, const char *cluster_name, uint32_t node,
                        char *why) {
  *directory = (struct directory){.lock = -1};
  if (strlen(path) + 32 > PATH_BYTES || path[0] == '\0') {
    snprintf(why, DIRECTORY_WHY, "the data directory's name is %s; set another dir",
             path[0] == '\0' ? "empty" : "too long");
    return ERR_BADARG;
  }
  enum err err = directory_make(path, why);
  if (err == ERR_OK) {
    err = directory_lock(directory, path, why);
  }
  if (err == ERR_OK) {
    err = directory_identify(directory, path, cluster_name, node, why);
    if (err != ERR_OK) {
      directory_close(directory);
    }
  }
  ASSERT(err != ERR_OK || directory->node != 0);
  return err;
}

void directory_close(struct directory *directory) {
  if (directory->lock >= 0) {
    close(directory->lock);
    directory->lock = -1;
  }
}
