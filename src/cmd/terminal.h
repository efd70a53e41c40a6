/* What people see on a terminal: styles, aligned tables, bars, and figures in words.
 *
 * Styles appear only on a terminal, and not with NO_COLOR or TERM=dumb. Block characters appear only in a UTF-8 locale.
 * Everything goes to standard output but terminal_fail, which is the one way to say that a command failed.
 */
#ifndef GRAMME_CMD_TERMINAL_H
#define GRAMME_CMD_TERMINAL_H

#include "base/bytes.h"

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_RED, STYLE_GREEN, STYLE_YELLOW, STYLE_CYAN };

void terminal_init(void);   /* once, before anything is printed */
bool terminal_is_one(void); /* is standard output a terminal? */
bool terminal_has_utf8(void);
const char *terminal_on(enum style style); /* the sequence that begins a style, or "" */
const char *terminal_off(void);
void terminal_clear(void); /* the screen, where there is one */

/* "gramme: ..." and a line end on standard error. Returns 1, the exit code of what was refused or failed. */
int terminal_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Figures in words; each returns `text`. */
#define FIGURE_MAX 48
const char *figure_count(char text[FIGURE_MAX], uint64_t count); /* 1,234,567 */
const char *figure_bytes(char text[FIGURE_MAX], uint64_t bytes); /* 5.1 MB */
const char *figure_duration(char text[FIGURE_MAX], uint64_t ms); /* 320ms, 12s, 3m 12s, 2h 5m, 4d 1h */

/* Bytes as text in quotes, with \n, \", \xNN for what does not print; at most `bytes_max` of them, then "...". */
void terminal_quote(struct bytes bytes, size_t bytes_max);

/* -- tables ---------------------------------------------------------------- */

#define GRID_COLUMNS_MAX 14u

struct grid_cell {
  char *text;
  enum style style;
  uint32_t width; /* in characters */
};

/* Cells in rows; columns become as wide as their widest cell when it is printed. The first row is the heading. */
struct grid {
  uint32_t columns;
  uint32_t right; /* bit c: column c is set flush right */
  uint32_t count; /* cells */
  uint32_t capacity;
  struct grid_cell *cells;
};

void grid_init(struct grid *grid, uint32_t columns, uint32_t right);
void grid_deinit(struct grid *grid);
void grid_add(struct grid *grid, enum style style, const char *format, ...) __attribute__((format(printf, 3, 4)));
void grid_add_bar(struct grid *grid, enum style style, uint64_t part, uint64_t whole, uint32_t width);
void grid_print(const struct grid *grid, const char *indent);

#endif
