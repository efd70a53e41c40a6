#include "front/resp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define ARGUMENTS_FIRST 16u
#define TEXT_KEEP_BYTES 1024u
#define ARGC_MAX (COMMAND_ARGS_MAX + 1u)

void resp_init(struct resp_parser *parser) {
  *parser = (struct resp_parser){0};
}

void resp_deinit(struct resp_parser *parser) {
  free(parser->argv);
  free(parser->places);
  free(parser->text);
  *parser = (struct resp_parser){0};
}

void resp_shrink(struct resp_parser *parser) {
  if (parser->capacity > 4 * ARGUMENTS_FIRST || parser->text_capacity > TEXT_KEEP_BYTES) {
    resp_deinit(parser);
  }
}

bool resp_is_idle(const struct resp_parser *parser) {
  return parser->state == RESP_STATE_START;
}

static void parser_restart(struct resp_parser *parser) {
  parser->state = RESP_STATE_START;
  parser->wanted = 0;
  parser->offset = 0;
  parser->skip_arguments = 0;
  parser->skip_bytes = 0;
}

__attribute__((format(printf, 2, 3))) static enum resp_status broken(struct resp_parser *parser, const char *format,
                                                                     ...) {
  int prefix = snprintf(parser->error, sizeof(parser->error), "ERR Protocol error: ");
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(parser->error + prefix, sizeof(parser->error) - (size_t)prefix, format, arguments);
  va_end(arguments);
  parser_restart(parser);
  return RESP_BROKEN;
}

static bool parser_reserve(struct resp_parser *parser, uint32_t count) {
  if (count <= parser->capacity) {
    return true;
  }
  uint32_t capacity = parser->capacity == 0 ? ARGUMENTS_FIRST : parser->capacity;
  while (capacity < count) {
    capacity *= 2;
  }
  struct resp_place *places = realloc(parser->places, capacity * sizeof(*places));
  if (places != NULL) {
    parser->places = places;
  }
  struct bytes *argv = realloc(parser->argv, capacity * sizeof(*argv));
  if (argv != NULL) {
    parser->argv = argv;
  }
  if (places == NULL || argv == NULL) {
    return false;
  }
  parser->capacity = capacity;
  return true;
}

/* -- headers ------------------------------------------------------------------------ */

enum header { HEADER_MORE, HEADER_OK, HEADER_BAD };

/* The number behind a type character, and the size of the whole line. */
static enum header header_read(struct bytes input, int64_t *number, size_t *line_size) {
  ASSERT(input.size > 0);
  size_t at = 1;
  bool negative = at < input.size && input.data[at] == '-';
  at += negative ? 1 : 0;
  size_t first = at;
  int64_t value = 0;
  while (at < input.size && input.data[at] >= '0' && input.data[at] <= '9') {
    if (at - first >= 18) {
      return HEADER_BAD;
    }
    value = value * 10 + (input.data[at] - '0');
    at += 1;
  }
  if (at == input.size) {
    return HEADER_MORE;
  }
  bool good = at > first && input.data[at] == '\r';
  if (!good) {
    return HEADER_BAD;
  }
  if (at + 1 == input.size) {
    return HEADER_MORE;
  }
  *number = negative ? -value : value;
  *line_size = at + 2;
  return input.data[at + 1] == '\n' ? HEADER_OK : HEADER_BAD;
}

/* -- requests that are too large ------------------------------------------------------ */

/* How large an argument may be; what to call it when it is larger. */
static uint32_t argument_limit(const struct resp_limits *limits, struct bytes name, uint32_t index, const char **what,
                               const char **option) {
  enum resp_role role = index == 0 ? RESP_OTHER : limits->role(limits->context, name, index);
  *option = "";
  switch (role) {
  case RESP_KEY:
    *what = "key";
    return KEY_MAX_BYTES;
  case RESP_VALUE:
    *what = "value";
    *option = " (max-value)";
    return limits->value_max_bytes;
  case RESP_OTHER:
    break;
  }
  *what = "argument";
  return RESP_OTHER_MAX_BYTES;
}

/* Is the argument within its limit? If not, says so in `error`. */
static bool argument_fits(struct resp_parser *parser, const struct resp_limits *limits, struct bytes name,
                          uint32_t index, uint64_t size) {
  uint32_t always = limits->value_max_bytes < KEY_MAX_BYTES ? limits->value_max_bytes : KEY_MAX_BYTES;
  if (size <= always) {
    return true;
  }
  const char *what = NULL;
  const char *option = NULL;
  uint32_t limit = argument_limit(limits, name, index, &what, &option);
  if (size <= limit) {
    return true;
  }
  snprintf(parser->error, sizeof(parser->error), "TOOBIG %s is %" PRIu64 " bytes, the limit is %" PRIu32 "%s", what,
           size, limit, option);
  return false;
}

/* From here on bytes are passed over: `bytes` of the argument at hand, then `arguments` more. */
static void skip_begin(struct resp_parser *parser, uint32_t arguments, uint64_t bytes) {
  parser->state = RESP_STATE_SKIPPING;
  parser->skip_arguments = arguments;
  parser->skip_bytes = bytes;
}

static enum resp_status bulk_header(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                                    uint64_t *size, size_t *line_size) {
  if (input.size == 0) {
    return RESP_MORE;
  }
  if (input.data[0] != '$') {
    int c = input.data[0] >= ' ' && input.data[0] < 127 ? input.data[0] : '?';
    return broken(parser, "expected '$', got '%c'", c);
  }
  int64_t number = 0;
  switch (header_read(input, &number, line_size)) {
  case HEADER_MORE:
    return RESP_MORE;
  case HEADER_OK:
    break;
  case HEADER_BAD:
    return broken(parser, "invalid bulk length");
  }
  if (number < 0 || number > (int64_t)RESP_BULK_MAX_BYTES) {
    return broken(parser, "invalid bulk length");
  }
  if (!limits->trusted && number > (int64_t)RESP_UNTRUSTED_BULK_MAX_BYTES) {
    return broken(parser, "unauthenticated bulk length");
  }
  *size = (uint64_t)number;
  return RESP_COMMAND;
}

static enum resp_status parse_skipping(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                                       size_t *consumed) {
  size_t at = 0;
  enum resp_status status = RESP_REFUSED;
  for (;;) {
    uint64_t left = input.size - at;
    uint64_t passed = parser->skip_bytes < left ? parser->skip_bytes : left;
    at += (size_t)passed;
    parser->skip_bytes -= passed;
    if (parser->skip_bytes > 0) {
      status = RESP_MORE;
      break;
    }
    if (parser->skip_arguments == 0) {
      parser_restart(parser);
      break;
    }
    uint64_t size = 0;
    size_t line_size = 0;
    status = bulk_header(parser, limits, (struct bytes){input.data + at, input.size - at}, &size, &line_size);
    if (status != RESP_COMMAND) {
      break;
    }
    status = RESP_REFUSED;
    at += line_size;
    parser->skip_bytes = size + 2;
    parser->skip_arguments -= 1;
  }
  *consumed += at;
  return status;
}

/* -- arrays ----------------------------------------------------------------------------- */

/* Reads `*N`. RESP_COMMAND: go on with the arguments. */
static enum resp_status array_header(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                                     size_t *consumed) {
  int64_t number = 0;
  size_t line_size = 0;
  switch (header_read(input, &number, &line_size)) {
  case HEADER_MORE:
    return RESP_MORE;
  case HEADER_OK:
    break;
  case HEADER_BAD:
    return broken(parser, "invalid multibulk length");
  }
  if (number > (int64_t)RESP_ANNOUNCED_ARGS_MAX) {
    return broken(parser, "invalid multibulk length");
  }
  if (!limits->trusted && number > (int64_t)RESP_UNTRUSTED_ARGS_MAX) {
    return broken(parser, "unauthenticated multibulk length");
  }
  parser->argc = 0;
  if (number <= 0) {
    *consumed += line_size; /* as Redis: no request at all */
    return RESP_REFUSED;
  }
  if (number > (int64_t)ARGC_MAX) {
    snprintf(parser->error, sizeof(parser->error), "TOOBIG command has %" PRId64 " arguments, the limit is %u",
             number - 1, COMMAND_ARGS_MAX);
    *consumed += line_size;
    skip_begin(parser, (uint32_t)number, 0);
    return RESP_COMMAND;
  }
  parser->state = RESP_STATE_ARGUMENTS;
  parser->wanted = (uint32_t)number;
  parser->offset = line_size;
  return RESP_COMMAND;
}

/* One argument. RESP_COMMAND: it is there. */
static enum resp_status parse_argument(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                                       size_t *consumed) {
  ASSERT(parser->offset <= input.size);
  struct bytes rest = {input.data + parser->offset, input.size - parser->offset};
  uint64_t size = 0;
  size_t line_size = 0;
  enum resp_status status = bulk_header(parser, limits, rest, &size, &line_size);
  if (status != RESP_COMMAND) {
    return status;
  }
  struct bytes name = {NULL, 0};
  if (parser->argc > 0) {
    name = (struct bytes){input.data + parser->places[0].offset, parser->places[0].size};
  }
  bool fits = argument_fits(parser, limits, name, parser->argc, size);
  if (fits && parser->offset + line_size + size + 2 > RESP_COMMAND_MAX_BYTES) {
    snprintf(parser->error, sizeof(parser->error),
             "TOOBIG command is more than %u bytes in all; send fewer keys at a time", RESP_COMMAND_MAX_BYTES);
    fits = false;
  }
  if (!fits) {
    *consumed += parser->offset + line_size;
    skip_begin(parser, parser->wanted - parser->argc - 1, size + 2);
    return RESP_REFUSED;
  }
  if (rest.size < line_size + size + 2) {
    return RESP_MORE;
  }
  const uint8_t *end = rest.data + line_size + size;
  if (end[0] != '\r' || end[1] != '\n') {
    return broken(parser, "a bulk string does not end where its length says");
  }
  if (!parser_reserve(parser, parser->argc + 1)) {
    return broken(parser, "no memory for the arguments");
  }
  parser->places[parser->argc] = (struct resp_place){(uint32_t)(parser->offset + line_size), (uint32_t)size};
  parser->argc += 1;
  parser->offset += line_size + (size_t)size + 2;
  return RESP_COMMAND;
}

static enum resp_status parse_arguments(struct resp_parser *parser, const struct resp_limits *limits,
                                        struct bytes input, size_t *consumed) {
  while (parser->argc < parser->wanted) {
    enum resp_status status = parse_argument(parser, limits, input, consumed);
    if (status != RESP_COMMAND) {
      return status;
    }
  }
  for (uint32_t i = 0; i < parser->argc; i++) {
    parser->argv[i] = (struct bytes){input.data + parser->places[i].offset, parser->places[i].size};
  }
  *consumed += parser->offset;
  parser_restart(parser);
  return RESP_COMMAND;
}

/* -- inline commands ---------------------------------------------------------------------- */

static bool is_space(uint8_t c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_value(uint8_t c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  uint8_t lower = c | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

struct words {
  struct bytes line;
  size_t at;
  uint8_t *out; /* one behind the last unquoted byte */
};

/* What stands behind a backslash between double quotes. */
static void word_escape(struct words *words) {
  const uint8_t *c = words->line.data + words->at;
  size_t left = words->line.size - words->at;
  if (left >= 3 && c[0] == 'x' && hex_value(c[1]) >= 0 && hex_value(c[2]) >= 0) {
    *words->out++ = (uint8_t)(hex_value(c[1]) * 16 + hex_value(c[2]));
    words->at += 3;
    return;
  }
  static const char letters[] = "nrtba";
  static const char meanings[] = "\n\r\t\b\a";
  const char *letter = c[0] == '\0' ? NULL : strchr(letters, c[0]);
  *words->out++ = letter == NULL ? c[0] : (uint8_t)meanings[letter - letters];
  words->at += 1;
}

/* A quoted part; `at` stands behind the opening quote. False when it does not end, or does not end the word. */
static bool word_quoted(struct words *words, uint8_t quote) {
  const struct bytes line = words->line;
  while (words->at < line.size && line.data[words->at] != quote) {
    uint8_t c = line.data[words->at++];
    if (c != '\\' || words->at == line.size) {
      *words->out++ = c;
    } else if (quote == '"') {
      word_escape(words);
    } else if (line.data[words->at] == '\'') {
      *words->out++ = '\'';
      words->at += 1;
    } else {
      *words->out++ = c;
    }
  }
  if (words->at == line.size) {
    return false;
  }
  words->at += 1;
  return words->at == line.size || is_space(line.data[words->at]);
}

/* The next word, unquoted. False: unbalanced quotes. */
static bool word_next(struct words *words) {
  const struct bytes line = words->line;
  while (words->at < line.size && !is_space(line.data[words->at])) {
    uint8_t c = line.data[words->at++];
    if (c == '"' || c == '\'') {
      if (!word_quoted(words, c)) {
        return false;
      }
    } else {
      *words->out++ = c;
    }
  }
  return true;
}

static bool text_reserve(struct resp_parser *parser, size_t size) {
  if (size > parser->text_capacity) {
    free(parser->text);
    parser->text_capacity = size < 256 ? 256 : size;
    parser->text = malloc(parser->text_capacity);
    parser->text_capacity = parser->text == NULL ? 0 : parser->text_capacity;
  }
  return parser->text != NULL;
}

/* The words of a line. RESP_REFUSED without a word in `error`: there are none. */
static enum resp_status line_split(struct resp_parser *parser, const struct resp_limits *limits, struct bytes line) {
  if (!text_reserve(parser, line.size + 1)) {
    return broken(parser, "no memory for the arguments");
  }
  struct words words = {.line = line, .out = parser->text};
  bool fits = true;
  parser->argc = 0;
  parser->error[0] = '\0';
  for (;;) {
    while (words.at < line.size && is_space(line.data[words.at])) {
      words.at += 1;
    }
    if (words.at == line.size || !fits) {
      break;
    }
    const uint8_t *from = words.out;
    if (!word_next(&words)) {
      return broken(parser, "unbalanced quotes in request");
    }
    if (!parser_reserve(parser, parser->argc + 1)) {
      return broken(parser, "no memory for the arguments");
    }
    struct bytes word = {from, (size_t)(words.out - from)};
    fits = argument_fits(parser, limits, parser->argc > 0 ? parser->argv[0] : word, parser->argc, word.size);
    if (parser->argc == ARGC_MAX) {
      snprintf(parser->error, sizeof(parser->error), "TOOBIG command has more than %u arguments", COMMAND_ARGS_MAX);
      fits = false;
    } else {
      parser->argv[parser->argc++] = word;
    }
  }
  return fits && parser->argc > 0 ? RESP_COMMAND : RESP_REFUSED;
}

static enum resp_status parse_inline(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                                     size_t *consumed) {
  size_t window = input.size < INLINE_MAX_BYTES ? input.size : INLINE_MAX_BYTES;
  const uint8_t *end = memchr(input.data, '\n', window);
  if (end == NULL) {
    return window == INLINE_MAX_BYTES ? broken(parser, "too big inline request") : RESP_MORE;
  }
  size_t size = (size_t)(end - input.data);
  *consumed += size + 1;
  if (size > 0 && input.data[size - 1] == '\r') {
    size -= 1;
  }
  return line_split(parser, limits, (struct bytes){input.data, size});
}

/* ----------------------------------------------------------------------------------------- */

/* One request, or as much of it as is there. */
static enum resp_status parse_one(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                                  size_t *consumed) {
  if (parser->state == RESP_STATE_START) {
    parser->error[0] = '\0';
    if (input.size == 0) {
      return RESP_MORE;
    }
    if (input.data[0] != '*') {
      return parse_inline(parser, limits, input, consumed);
    }
    enum resp_status status = array_header(parser, limits, input, consumed);
    if (status != RESP_COMMAND) {
      return status;
    }
  }
  if (parser->state == RESP_STATE_ARGUMENTS) {
    enum resp_status status = parse_arguments(parser, limits, input, consumed);
    if (parser->state != RESP_STATE_SKIPPING) {
      return status;
    }
  }
  ASSERT(parser->state == RESP_STATE_SKIPPING);
  ASSERT(*consumed <= input.size);
  return parse_skipping(parser, limits, (struct bytes){input.data + *consumed, input.size - *consumed}, consumed);
}

enum resp_status resp_parse(struct resp_parser *parser, const struct resp_limits *limits, struct bytes input,
                            size_t *consumed) {
  *consumed = 0;
  for (;;) {
    size_t used = 0;
    enum resp_status status =
        parse_one(parser, limits, (struct bytes){input.data + *consumed, input.size - *consumed}, &used);
    *consumed += used;
    ASSERT(*consumed <= input.size);
    bool nothing = status == RESP_REFUSED && parser->error[0] == '\0';
    if (!nothing) {
      return status;
    }
  }
}
