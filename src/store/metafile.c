#define _GNU_SOURCE
#include "store/metafile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

#define FORMAT 1u
#define HEADER_BYTES 8u
#define CHECKSUM_BYTES 8u
#define PATH_BYTES 4200u

static void path_of(const char *directory, const char *name, char path[PATH_BYTES]) {
  (void)snprintf(path, PATH_BYTES, "%s/%s", directory, name);
}

static enum err err_of_errno(void) {
  return errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
}

static bool write_all(int file, struct bytes bytes) {
  size_t done = 0;
  while (done < bytes.size) {
    ssize_t n = write(file, bytes.data + done, bytes.size - done);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return false;
    }
    done += (size_t)n;
  }
  return true;
}

static bool sync_directory(const char *directory) {
  int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool ok = file >= 0 && fsync(file) == 0;
  if (file >= 0) {
    (void)close(file);
  }
  return ok;
}

static enum err replace(const char *directory, struct bytes bytes) {
  char path[PATH_BYTES];
  char beside[PATH_BYTES];
  path_of(directory, "meta", path);
  path_of(directory, "meta.new", beside);
  int file = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) {
    return err_of_errno();
  }
  bool ok = write_all(file, bytes) && fsync(file) == 0;
  enum err err = ok ? ERR_OK : err_of_errno();
  (void)close(file);
  if (ok && (rename(beside, path) != 0 || !sync_directory(directory))) {
    err = err_of_errno();
  }
  return err;
}

enum err metafile_save(const char *directory, const struct store_scan_entry *entries, uint32_t count) {
  ASSERT(directory != NULL);
  size_t size = HEADER_BYTES + CHECKSUM_BYTES;
  for (uint32_t i = 0; i < count; i += 1) {
    size += 2 * sizeof(uint32_t) + entries[i].key.size + entries[i].value.size;
  }
  uint8_t *data = malloc(size);
  if (data == NULL) {
    return ERR_NOSPACE;
  }
  struct writer w = writer_make(data, size);
  write_u32(&w, FORMAT);
  write_u32(&w, count);
  for (uint32_t i = 0; i < count; i += 1) {
    write_bytes(&w, (struct bytes){entries[i].key.data, entries[i].key.size});
    write_bytes(&w, (struct bytes){entries[i].value.data, entries[i].value.size});
  }
  write_u64(&w, bytes_hash(writer_bytes(&w), FORMAT));
  ASSERT(!w.failed && w.size == size);
  enum err err = replace(directory, writer_bytes(&w));
  free(data);
  return err;
}

static enum err check(struct bytes bytes) {
  if (bytes.size < HEADER_BYTES + CHECKSUM_BYTES) {
    return ERR_CORRUPT;
  }
  struct bytes body = {bytes.data, bytes.size - CHECKSUM_BYTES};
  struct reader checksum = reader_make((struct bytes){bytes.data + body.size, CHECKSUM_BYTES});
  struct reader header = reader_make(body);
  if (read_u32(&header) > FORMAT) {
    return ERR_FORMAT;
  }
  return read_u64(&checksum) == bytes_hash(body, FORMAT) ? ERR_OK : ERR_CORRUPT;
}

enum err metafile_load(const char *directory, struct store_value *contents) {
  ASSERT(directory != NULL);
  char path[PATH_BYTES];
  struct stat status;
  *contents = (struct store_value){NULL, 0};
  path_of(directory, "meta", path);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return errno == ENOENT ? ERR_OK : ERR_IO;
  }
  enum err err = fstat(file, &status) == 0 ? ERR_OK : ERR_IO;
  uint8_t *data = err == ERR_OK ? store_value_new((size_t)status.st_size) : NULL;
  if (err == ERR_OK && data == NULL) {
    err = ERR_NOMEM;
  }
  size_t size = err == ERR_OK ? (size_t)status.st_size : 0;
  size_t done = 0;
  while (err == ERR_OK && done < size) {
    ssize_t n = read(file, data + done, size - done);
    if (n <= 0 && !(n < 0 && errno == EINTR)) {
      err = ERR_IO;
    }
    done += n > 0 ? (size_t)n : 0;
  }
  (void)close(file);
  if (err == ERR_OK) {
    err = check((struct bytes){data, size});
  }
  if (err != ERR_OK) {
    store_value_free(data);
    return err;
  }
  *contents = (struct store_value){data, size};
  return ERR_OK;
}

bool metafile_next(const struct store_value *contents, size_t *offset, struct bytes *key, struct bytes *value) {
  ASSERT(contents->size >= HEADER_BYTES + CHECKSUM_BYTES);
  size_t at = *offset == 0 ? HEADER_BYTES : *offset;
  struct reader r = reader_make((struct bytes){contents->data, contents->size - CHECKSUM_BYTES});
  r.offset = at;
  if (reader_left(&r) == 0) {
    return false;
  }
  *key = read_bytes(&r);
  *value = read_bytes(&r);
  *offset = r.offset;
  return !r.failed;
}
