/* Stands in for libFuzzer where the compiler has none: runs the target over every file of the folders named on the
 * command line, over every prefix of each, and over mutations of each drawn from a fixed seed, so that two runs do
 * the same. Options (which begin with a dash) are libFuzzer's, and are skipped. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"

#define FILE_MAX_BYTES ((size_t)1 << 22)
#define PREFIXES_MAX 4096u
#define MUTATIONS 1000u
#define CHANGES_MAX 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A target may define its own. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  return 0;
}

/* Each input is a block of exactly its size, so that the address sanitizer sees a read past its end. */
static void input_run(const uint8_t *data, size_t size) {
  uint8_t *exact = malloc(size > 0 ? size : 1);
  if (exact == NULL) {
    fprintf(stderr, "replay: out of memory\n");
    exit(1);
  }
  memcpy(exact, data, size);
  LLVMFuzzerTestOneInput(exact, size);
  free(exact);
}

static void input_mutate(struct prng *prng, const uint8_t *data, size_t size, uint8_t *copy) {
  memcpy(copy, data, size);
  const uint64_t changes = 1 + prng_below(prng, CHANGES_MAX);
  for (uint64_t i = 0; i < changes; i++) {
    const size_t at = (size_t)prng_below(prng, size);
    const uint64_t draw = prng_u64(prng);
    switch (draw & 3u) {
    case 0:
      copy[at] = (uint8_t)(draw >> 8);
      break;
    case 1:
      copy[at] ^= (uint8_t)(1u << ((draw >> 8) & 7u));
      break;
    case 2:
      copy[at] = (draw & 256u) != 0 ? 0xff : 0;
      break;
    case 3:
      copy[at] = (uint8_t)(copy[at] + (((draw & 256u) != 0) ? 1 : 255));
      break;
    }
  }
}

static void file_replay(const char *path, uint8_t *data, uint8_t *copy) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fprintf(stderr, "replay: cannot open %s\n", path);
    exit(1);
  }
  const size_t size = fread(data, 1, FILE_MAX_BYTES, file);
  fclose(file);
  input_run(data, size);
  const size_t prefixes = size < PREFIXES_MAX ? size : PREFIXES_MAX;
  for (size_t prefix = 0; prefix < prefixes; prefix++) {
    input_run(data, prefix);
  }
  if (size > 0) {
    struct prng prng;
    prng_init(&prng, size);
    for (uint32_t i = 0; i < MUTATIONS; i++) {
      input_mutate(&prng, data, size, copy);
      input_run(copy, size);
    }
  }
}

static unsigned folder_replay(const char *folder, uint8_t *data, uint8_t *copy) {
  struct dirent **entries = NULL;
  const int count = scandir(folder, &entries, NULL, alphasort);
  unsigned replayed = 0;
  for (int i = 0; i < count; i++) {
    if (entries[i]->d_name[0] != '.') {
      char path[4096];
      snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
      file_replay(path, data, copy);
      replayed++;
    }
    free(entries[i]);
  }
  free(entries);
  return replayed;
}

int main(int argc, char **argv) {
  static uint8_t data[FILE_MAX_BYTES];
  static uint8_t copy[FILE_MAX_BYTES];
  LLVMFuzzerInitialize(&argc, &argv);
  unsigned replayed = 0;
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] != '-') {
      replayed += folder_replay(argv[i], data, copy);
    }
  }
  printf("%u files of the corpus, their prefixes and %u mutations of each\n", replayed, MUTATIONS);
  if (replayed == 0) {
    fprintf(stderr, "replay: no files in the folders named\n");
    return 1;
  }
  return 0;
}
