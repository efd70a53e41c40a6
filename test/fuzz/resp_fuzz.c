/* Requests: any bytes, split anywhere, give the same commands, refusals and errors as the same bytes whole. The first
 * byte chooses limits and pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/prng.h"
#include "front/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum resp_role role_of(void *context, struct bytes name, uint32_t index) {
  (void)context;
  ASSERT(index > 0);
  if (name.size > 0 && name.data[0] == 'D') {
    return RESP_OTHER;
  }
  return index == 1 ? RESP_KEY : RESP_VALUE;
}

/* A digest of all that came out. */
struct outcome_seen {
  uint64_t digest;
  uint64_t count;
  bool broken;
};

static void see(struct outcome_seen *seen, struct bytes bytes) {
  seen->digest = seen->digest * 1099511628211u ^ bytes.size;
  for (size_t i = 0; i < bytes.size; i++) {
    seen->digest = (seen->digest ^ bytes.data[i]) * 1099511628211u;
  }
  seen->count += 1;
}

/* All of `input` that the parser wants to look at now; returns how much it consumed. */
static size_t drain(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                    struct outcome_seen *seen) {
  size_t at = 0;
  while (!seen->broken) {
    uint8_t *exact = malloc(input.size - at + 1);
    ASSERT(exact != NULL);
    size_t left = input.size - at;
    if (left > 0) {
      memcpy(exact + 1, input.data + at, left);
    }
    size_t used = 0;
    enum resp_status status = resp_parse(parser, limits, (struct bytes){exact + 1, left}, &used);
    ASSERT(used <= left);
    if (status == RESP_COMMAND) {
      ASSERT(parser->argc > 0);
      ASSERT(parser->argc <= COMMAND_ARGS_MAX + 1);
      for (uint32_t i = 0; i < parser->argc; i++) {
        see(seen, parser->argv[i]);
      }
    } else if (status != RESP_MORE) {
      ASSERT(strlen(parser->error) > 0);
      see(seen, (struct bytes){(const uint8_t *)parser->error, strlen(parser->error)});
      seen->broken = status == RESP_BROKEN;
    }
    ASSERT(status == RESP_MORE || status == RESP_BROKEN || used > 0);
    at += used;
    free(exact);
    if (status == RESP_MORE) {
      break;
    }
  }
  return at;
}

static struct outcome_seen parse_all(const struct resp_limits *limits, struct bytes input, struct prng *pieces) {
  struct resp_parser parser;
  struct outcome_seen seen = {0};
  size_t start = 0;
  size_t end = pieces == NULL ? input.size : 0;
  resp_init(&parser);
  for (;;) {
    start += drain(&parser, limits, (struct bytes){input.data + start, end - start}, &seen);
    if (end == input.size || seen.broken) {
      break;
    }
    size_t left = input.size - end;
    end += (size_t)prng_below(pieces, left < 24 ? left : 24) + 1;
  }
  resp_deinit(&parser);
  return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) {
    return 0;
  }
  struct prng pieces;
  prng_init(&pieces, data[0]);
  const struct resp_limits limits = {
      .value_max_bytes = (data[0] & 1) != 0 ? 40 : 1u << 20,
      .trusted = (data[0] & 2) == 0,
      .role = role_of,
  };
  struct bytes input = {data + 1, size - 1};
  struct outcome_seen whole = parse_all(&limits, input, NULL);
  struct outcome_seen split = parse_all(&limits, input, &pieces);
  ASSERT(whole.digest == split.digest);
  ASSERT(whole.count == split.count);
  ASSERT(whole.broken == split.broken);
  return 0;
}
