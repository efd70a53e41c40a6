#include "cmd/terminal.h"

#include <inttypes.h>
#include <jansson.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

/* Decided once for the process's own terminal; the one state that belongs to nobody else. */
static struct { bool is_one, is_styled, has_utf8; } terminal;

void terminal_init(void) {
  const char *no_color = getenv("NO_COLOR");
  const char *term = getenv("TERM");
  setlocale(LC_CTYPE, "");
  terminal.is_one = isatty(STDOUT_FILENO) == 1;
  terminal.is_styled =
      terminal.is_one && (no_color == NULL || no_color[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
  terminal.has_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool terminal_is_one(void) {
  return terminal.is_one;
}

bool terminal_has_utf8(void) {
  return terminal.has_utf8;
}

const char *terminal_on(enum style style) {
  if (!terminal.is_styled) {
    return "";
  }
  switch (style) {
  case STYLE_PLAIN:
    return "";
  case STYLE_BOLD:
    return "\033[1m";
  case STYLE_DIM:
    return "\033[2m";
  case STYLE_RED:
    return "\033[31m";
  case STYLE_GREEN:
    return "\033[32m";
  case STYLE_YELLOW:
    return "\033[33m";
  case STYLE_CYAN:
    return "\033[36m";
  }
  ASSERT(false);
}

const char *terminal_off(void) {
  return terminal.is_styled ? "\033[0m" : "";
}

void terminal_clear(void) {
  if (terminal.is_styled) {
    fputs("\033[H\033[2J", stdout);
  }
}

int terminal_fail(const char *format, ...) {
  va_list arguments;
  fflush(stdout);
  fputs("gramme: ", stderr);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  return 1;
}

/* -- figures ------------------------------------------------------------------ */

const char *figure_count(char text[FIGURE_MAX], uint64_t count) {
  char digits[24];
  int size = snprintf(digits, sizeof digits, "%" PRIu64, count);
  size_t used = 0;
  for (int i = 0; i < size; i++) {
    if (i > 0 && (size - i) % 3 == 0) {
      text[used++] = ',';
    }
    text[used++] = digits[i];
  }
  text[used] = '\0';
  return text;
}

const char *figure_bytes(char text[FIGURE_MAX], uint64_t bytes) {
  static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  uint64_t tenths = bytes * 10;
  if (bytes < 1024) {
    snprintf(text, FIGURE_MAX, "%" PRIu64 " %s", bytes, bytes == 1 ? "byte" : "bytes");
    return text;
  }
  uint64_t whole = bytes;
  while (whole >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
    tenths = whole > UINT64_MAX / 10 ? whole / 1024 * 10 : whole * 10 / 1024;
    whole /= 1024;
    unit += 1;
  }
  snprintf(text, FIGURE_MAX, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, units[unit]);
  return text;
}

const char *figure_duration(char text[FIGURE_MAX], uint64_t ms) {
  uint64_t seconds = ms / 1000;
  if (ms < 1000) {
    snprintf(text, FIGURE_MAX, "%" PRIu64 "ms", ms);
  } else if (seconds < 60) {
    snprintf(text, FIGURE_MAX, "%" PRIu64 "s", seconds);
  } else if (seconds < 3600) {
    snprintf(text, FIGURE_MAX, "%" PRIu64 "m %" PRIu64 "s", seconds / 60, seconds % 60);
  } else if (seconds < 86400) {
    snprintf(text, FIGURE_MAX, "%" PRIu64 "h %" PRIu64 "m", seconds / 3600, seconds / 60 % 60);
  } else {
    snprintf(text, FIGURE_MAX, "%" PRIu64 "d %" PRIu64 "h", seconds / 86400, seconds / 3600 % 24);
  }
  return text;
}

/* Jansson refuses to make a string of what is not UTF-8: the judge is at hand. */
static bool is_utf8(struct bytes bytes) {
  json_t *string = json_stringn((const char *)bytes.data, bytes.size);
  json_decref(string);
  return string != NULL;
}

void terminal_quote(struct bytes bytes, size_t bytes_max) {
  bool whole_characters = terminal.has_utf8 && bytes.size > 0 && is_utf8(bytes);
  putchar('"');
  for (size_t i = 0; i < bytes.size; i++) {
    uint8_t byte = bytes.data[i];
    if (i >= bytes_max && (byte & 0xc0) != 0x80) {
      fputs("\"...", stdout);
      return;
    }
    if (byte == '"' || byte == '\\') {
      printf("\\%c", byte);
    } else if (byte == '\n') {
      fputs("\\n", stdout);
    } else if (byte == '\t') {
      fputs("\\t", stdout);
    } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !whole_characters)) {
      printf("\\x%02x", byte);
    } else {
      putchar(byte);
    }
  }
  putchar('"');
}

/* -- tables --------------------------------------------------------------------- */

void grid_init(struct grid *grid, uint32_t columns, uint32_t right) {
  ASSERT(columns > 0 && columns <= GRID_COLUMNS_MAX);
  *grid = (struct grid){.columns = columns, .right = right};
}

void grid_deinit(struct grid *grid) {
  for (uint32_t i = 0; i < grid->count; i++) {
    free(grid->cells[i].text);
  }
  free(grid->cells);
  *grid = (struct grid){0};
}

/* Characters, not bytes, of valid UTF-8. */
static uint32_t text_width(const char *text) {
  uint32_t width = 0;
  for (; *text != '\0'; text++) {
    width += ((uint8_t)*text & 0xc0) != 0x80;
  }
  return width;
}

static void grid_take(struct grid *grid, enum style style, char *text) {
  if (grid->count == grid->capacity) {
    uint32_t capacity = grid->capacity == 0 ? 64 : grid->capacity * 2;
    struct grid_cell *cells = realloc(grid->cells, capacity * sizeof *cells);
    if (cells == NULL) {
      free(text);
      return; /* a table cut short is better than none */
    }
    grid->cells = cells;
    grid->capacity = capacity;
  }
  grid->cells[grid->count++] = (struct grid_cell){text, style, text_width(text)};
}

void grid_add(struct grid *grid, enum style style, const char *format, ...) {
  char *text;
  va_list arguments;
  va_start(arguments, format);
  int size = vasprintf(&text, format, arguments);
  va_end(arguments);
  if (size >= 0) {
    grid_take(grid, style, text);
  }
}

void grid_add_bar(struct grid *grid, enum style style, uint64_t part, uint64_t whole, uint32_t width) {
  const char *block = terminal.has_utf8 ? "\u2588" : "#";
  uint64_t blocks = whole > 0 ? (part * width + whole / 2) / whole : 0;
  blocks = blocks > width ? width : blocks;
  size_t size = strlen(block);
  char *text = malloc(blocks * size + 1);
  if (text == NULL) {
    return;
  }
  for (uint64_t i = 0; i < blocks; i++) {
    memcpy(text + i * size, block, size);
  }
  text[blocks * size] = '\0';
  grid_take(grid, style, text);
}

void grid_print(const struct grid *grid, const char *indent) {
  uint32_t widths[GRID_COLUMNS_MAX] = {0};
  for (uint32_t i = 0; i < grid->count; i++) {
    uint32_t column = i % grid->columns;
    widths[column] = grid->cells[i].width > widths[column] ? grid->cells[i].width : widths[column];
  }
  for (uint32_t i = 0; i < grid->count; i++) {
    const struct grid_cell *cell = &grid->cells[i];
    uint32_t column = i % grid->columns;
    bool last = column + 1 == grid->columns || i + 1 == grid->count;
    int padding = (int)(widths[column] - cell->width);
    bool right = (grid->right >> column & 1u) != 0;
    printf("%s%*s%s%s%s", column == 0 ? indent : "  ", right ? padding : 0, "", terminal_on(cell->style), cell->text,
           terminal_off());
    if (last) {
      putchar('\n');
    } else if (!right) {
      printf("%*s", padding, "");
    }
  }
}
