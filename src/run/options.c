#include "run/options.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/limits.h"

struct option_row {
  const char *section;
  const char *name;
  const char *default_text;
  const char *help;
  size_t offset;     /* of its field in struct options */
  uint64_t min, max; /* of the number, or of the text's length */
  enum option_kind kind;
  bool live;
};

static const struct option_row table[] = {
#define X(section, name, kind, field, default_text, min, max, live, help) \
  {section, name, default_text, help, offsetof(struct options, field), min, max, OPTION_##kind, live},
    OPTION_TABLE(X)
#undef X
};

#define ROW_COUNT (sizeof table / sizeof table[0])
#define LINE_MAX_BYTES (OPTION_TEXT_MAX + 128u) /* a name, '=' and the longest value */
#define NUMBER_TEXT_MAX 32u

struct unit {
  const char *name;
  uint64_t factor;
};

/* The first unit of a factor is the one that options_get writes. Largest first. */
static const struct unit byte_units[] = {
    {"tb", UINT64_C(1) << 40},
    {"gb", UINT64_C(1) << 30},
    {"mb", UINT64_C(1) << 20},
    {"kb", UINT64_C(1) << 10},
    {"b", 1},
    {"t", UINT64_C(1) << 40},
    {"g", UINT64_C(1) << 30},
    {"m", UINT64_C(1) << 20},
    {"k", UINT64_C(1) << 10},
    {"", 1},
};
static const struct unit time_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

#define BYTE_UNIT_COUNT (sizeof byte_units / sizeof byte_units[0])
#define TIME_UNIT_COUNT (sizeof time_units / sizeof time_units[0])
#define BYTE_UNITS_WRITTEN 4u /* from tb down to kb; below that the plain number */

__attribute__((format(printf, 2, 3))) static bool refuse(char *why, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, OPTIONS_WHY, format, arguments);
  va_end(arguments);
  return false;
}

static const struct option_row *row_find(const char *name) {
  for (size_t i = 0; i < ROW_COUNT; i++) {
    if (strcmp(table[i].name, name) == 0) {
      return &table[i];
    }
  }
  return NULL;
}

static bool row_is_text(const struct option_row *row) {
  return row->kind == OPTION_TEXT || row->kind == OPTION_SECRET;
}

static char **text_field(struct options *options, const struct option_row *row) {
  return (char **)(void *)((char *)options + row->offset);
}

static uint64_t *number_field(struct options *options, const struct option_row *row) {
  return (uint64_t *)(void *)((char *)options + row->offset);
}

static const char *text_of(const struct options *options, const struct option_row *row) {
  const char *text;
  memcpy(&text, (const char *)options + row->offset, sizeof text);
  return text;
}

static uint64_t number_of(const struct options *options, const struct option_row *row) {
  uint64_t number;
  memcpy(&number, (const char *)options + row->offset, sizeof number);
  return number;
}

/* -- the nearest known name ------------------------------------------------- */

#define NAME_COMPARED_MAX 48u

/* Edit distance (Levenshtein 1966), two rows at a time. */
static size_t name_distance(const char *a, const char *b) {
  size_t size_a = strlen(a);
  size_t size_b = strlen(b);
  if (size_a > NAME_COMPARED_MAX || size_b > NAME_COMPARED_MAX) {
    return NAME_COMPARED_MAX;
  }
  size_t row[NAME_COMPARED_MAX + 1];
  for (size_t j = 0; j <= size_b; j++) {
    row[j] = j;
  }
  for (size_t i = 1; i <= size_a; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= size_b; j++) {
      size_t best = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
      best = row[j] + 1 < best ? row[j] + 1 : best;
      best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[size_b];
}

static const char *name_nearest(const char *name) {
  const char *nearest = NULL;
  size_t nearest_distance = strlen(name) / 3 + 2; /* further away than this it would only confuse */
  for (size_t i = 0; i < ROW_COUNT; i++) {
    size_t distance = name_distance(name, table[i].name);
    if (distance < nearest_distance) {
      nearest_distance = distance;
      nearest = table[i].name;
    }
  }
  return nearest;
}

static bool refuse_unknown(char *why, const char *name) {
  const char *nearest = name_nearest(name);
  if (nearest != NULL) {
    return refuse(why, "unknown option '%.64s'; did you mean '%s'?", name, nearest);
  }
  return refuse(why, "unknown option '%.64s'; `gramme server --print-config` lists all", name);
}

/* -- values ------------------------------------------------------------------ */

static const struct unit *units_of(enum option_kind kind, size_t *count) {
  switch (kind) {
  case OPTION_BYTES:
    *count = BYTE_UNIT_COUNT;
    return byte_units;
  case OPTION_MILLIS:
    *count = TIME_UNIT_COUNT;
    return time_units;
  case OPTION_TEXT:
  case OPTION_SECRET:
  case OPTION_NUMBER:
    break;
  }
  static const struct unit one = {"", 1};
  *count = 1;
  return &one;
}

/* Digits and a unit, nothing else. False when it is not that, or does not fit 64 bits. */
static bool number_parse(enum option_kind kind, const char *text, uint64_t *number) {
  if (!isdigit((unsigned char)text[0])) {
    return false;
  }
  char *end;
  errno = 0;
  uint64_t digits = strtoull(text, &end, 10);
  if (errno != 0) {
    return false;
  }
  size_t count;
  const struct unit *units = units_of(kind, &count);
  for (size_t i = 0; i < count; i++) {
    if (strcasecmp(end, units[i].name) == 0) {
      return !__builtin_mul_overflow(digits, units[i].factor, number);
    }
  }
  return false;
}

/* With the largest unit that divides it, so that what is read back is the same number. */
static void number_format(enum option_kind kind, uint64_t number, char *text, size_t size) {
  size_t count;
  const struct unit *units = units_of(kind, &count);
  count = kind == OPTION_BYTES ? BYTE_UNITS_WRITTEN : count;
  for (size_t i = 0; i < count; i++) {
    if (number % units[i].factor == 0 && (number != 0 || units[i].factor == 1)) {
      snprintf(text, size, "%" PRIu64 "%s", number / units[i].factor, units[i].name);
      return;
    }
  }
  snprintf(text, size, "%" PRIu64, number);
}

static const char *kind_example(enum option_kind kind) {
  switch (kind) {
  case OPTION_TEXT:
    return "text";
  case OPTION_SECRET:
    return "text";
  case OPTION_NUMBER:
    return "a whole number";
  case OPTION_BYTES:
    return "a size such as 64kb, 1mb or 65536";
  case OPTION_MILLIS:
    return "a duration with its unit, such as 250ms or 3s";
  }
  ASSERT(false);
}

static bool set_number(struct options *options, const struct option_row *row, const char *value, char *why) {
  uint64_t number;
  char min[NUMBER_TEXT_MAX];
  char max[NUMBER_TEXT_MAX];
  number_format(row->kind, row->min, min, sizeof min);
  number_format(row->kind, row->max, max, sizeof max);
  if (!number_parse(row->kind, value, &number)) {
    return refuse(why, "option '%s' must be %s, from %s to %s; it is '%.64s'", row->name, kind_example(row->kind), min,
                  max, value);
  }
  if (number < row->min || number > row->max) {
    return refuse(why, "option '%s' must be from %s to %s; it is %.64s", row->name, min, max, value);
  }
  *number_field(options, row) = number;
  return true;
}

static bool set_text(struct options *options, const struct option_row *row, const char *value, char *why) {
  size_t size = strlen(value);
  if (size == 0 && row->min > 0) {
    return refuse(why, "option '%s' may not be empty", row->name);
  }
  if (size < row->min || size > row->max) {
    return refuse(why, "option '%s' must have %" PRIu64 " to %" PRIu64 " characters; it has %zu", row->name, row->min,
                  row->max, size);
  }
  for (size_t i = 0; i < size; i++) {
    if (iscntrl((unsigned char)value[i])) {
      return refuse(why, "option '%s' holds a control character (byte %zu of its value)", row->name, i + 1);
    }
  }
  char *copy = strdup(value);
  if (copy == NULL) {
    return refuse(why, "option '%s': out of memory", row->name);
  }
  char **field = text_field(options, row);
  free(*field);
  *field = copy;
  return true;
}

void options_init(struct options *options) {
  memset(options, 0, sizeof *options);
  for (size_t i = 0; i < ROW_COUNT; i++) {
    char why[OPTIONS_WHY];
    bool set = options_set(options, table[i].name, table[i].default_text, why);
    ASSERT(set); /* a default out of its own range is our bug */
  }
}

void options_deinit(struct options *options) {
  for (size_t i = 0; i < ROW_COUNT; i++) {
    if (row_is_text(&table[i])) {
      char **field = text_field(options, &table[i]);
      free(*field);
      *field = NULL;
    }
  }
}

bool options_set(struct options *options, const char *name, const char *value, char *why) {
  ASSERT(name != NULL && value != NULL);
  ASSERT(why != NULL);
  const struct option_row *row = row_find(name);
  if (row == NULL) {
    return refuse_unknown(why, name);
  }
  return row_is_text(row) ? set_text(options, row, value, why) : set_number(options, row, value, why);
}

bool options_get(const struct options *options, const char *name, char *text, size_t size) {
  ASSERT(size > 0);
  const struct option_row *row = row_find(name);
  if (row == NULL) {
    return false;
  }
  if (row->kind == OPTION_SECRET) {
    snprintf(text, size, "%s", text_of(options, row)[0] == '\0' ? "" : "****");
  } else if (row->kind == OPTION_TEXT) {
    snprintf(text, size, "%s", text_of(options, row));
  } else {
    number_format(row->kind, number_of(options, row), text, size);
  }
  return true;
}

bool options_is_live(const char *name) {
  const struct option_row *row = row_find(name);
  return row != NULL && row->live;
}

const char *options_name(uint32_t index) {
  return index < ROW_COUNT ? table[index].name : NULL;
}

/* -- rules of one option ------------------------------------------------------- */

static bool check_word(const char *option, const char *text, char *why) {
  for (const char *c = text; *c != '\0'; c++) {
    if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL) {
      return refuse(why, "option '%s' may hold letters, digits, '.', '_' and '-' only; it is '%.64s'", option, text);
    }
  }
  return true;
}

static bool check_seed(const char *seed, size_t size, char *why) {
  const char *colon = NULL;
  for (size_t i = 0; i < size; i++) {
    colon = seed[i] == ':' ? seed + i : colon;
  }
  bool good = colon != NULL && colon > seed && (size_t)(colon - seed) <= HOST_MAX_BYTES;
  uint64_t port = 0;
  size_t digits = good ? size - (size_t)(colon - seed) - 1 : 0;
  for (size_t i = 0; i < digits && good; i++) {
    good = isdigit((unsigned char)colon[1 + i]) && digits <= 5;
    port = port * 10 + (uint64_t)(colon[1 + i] - '0');
  }
  if (!good || port < 1 || port > UINT16_MAX) {
    return refuse(why, "option 'seeds' must be host:peer-port, separated by commas; '%.*s' is not", (int)size, seed);
  }
  return true;
}

static bool check_seeds(const char *seeds, char *why) {
  const char *seed = seeds;
  while (*seed != '\0') {
    seed += strspn(seed, ", ");
    size_t size = strcspn(seed, ", ");
    if (size > 0 && !check_seed(seed, size < 200 ? size : 200, why)) {
      return false;
    }
    seed += size;
  }
  return true;
}

/* What an option's kind and range do not say of it. */
static bool check_alone(const struct options *options, const char *name, char *why) {
  if (strcmp(name, "engine") == 0 && strcmp(options->engine, "rocksdb") != 0 &&
      strcmp(options->engine, "memory") != 0) {
    return refuse(why, "option 'engine' must be 'rocksdb' or 'memory'; it is '%.64s'", options->engine);
  }
  if (strcmp(name, "partitions") == 0 && (options->partitions & (options->partitions - 1)) != 0) {
    return refuse(why, "option 'partitions' must be a power of two, from 1 to %u; it is %" PRIu64, PARTITIONS_MAX,
                  options->partitions);
  }
  if (strcmp(name, "name") == 0) {
    return check_word(name, options->name, why);
  }
  if (strcmp(name, "zone") == 0) {
    return check_word(name, options->zone, why);
  }
  if (strcmp(name, "cluster-name") == 0) {
    return check_word(name, options->cluster_name, why);
  }
  return strcmp(name, "seeds") != 0 || check_seeds(options->seeds, why);
}

/* -- the configuration file --------------------------------------------------- */

struct load {
  struct options *options;
  const char *path;
  char *why;
  FILE *file;
  unsigned line;       /* the one being read, from 1 */
  unsigned fault_line; /* 0: none so far */
  bool line_ended;
  unsigned set_on[ROW_COUNT]; /* 0: not set in this file */
};

__attribute__((format(printf, 2, 3))) static int load_fault(struct load *load, const char *format, ...) {
  if (load->fault_line != 0) {
    return 0; /* the first one is told */
  }
  load->fault_line = load->line;
  char text[OPTIONS_WHY];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  refuse(load->why, "%s:%u: %s", load->path, load->line, text);
  return 0;
}

/* As fgets, but it counts lines (inih does not tell them), and refuses what fgets would cut or hide. */
static char *load_line(char *text, int size, void *context) {
  struct load *load = context;
  int used = 0;
  while (load->fault_line == 0) {
    int c = getc(load->file);
    if (c == EOF) {
      break;
    }
    load->line += load->line_ended;
    load->line_ended = c == '\n';
    if (c == '\0') {
      load_fault(load, "the line holds a NUL byte: this is not a text file");
      return NULL;
    }
    if (used + 2 > size) {
      load_fault(load, "the line is longer than %d bytes", size - 2);
      return NULL;
    }
    text[used++] = (char)c;
    if (c == '\n') {
      break;
    }
  }
  text[used] = '\0';
  return used > 0 ? text : NULL;
}

static bool section_is_known(const char *section) {
  for (size_t i = 0; i < ROW_COUNT; i++) {
    if (strcmp(table[i].section, section) == 0) {
      return true;
    }
  }
  return false;
}

static int load_setting(void *context, const char *section, const char *name, const char *value) {
  struct load *load = context;
  char why[OPTIONS_WHY];
  const struct option_row *row = row_find(name);
  if (section[0] != '\0' && !section_is_known(section)) {
    return load_fault(load, "unknown section [%.48s]; there are [node], [cluster], [timing] and [storage]", section);
  }
  if (row == NULL) {
    refuse_unknown(why, name);
    return load_fault(load, "%s", why);
  }
  if (strcmp(row->section, section) != 0) {
    return load_fault(load, "option '%s' belongs in section [%s], not %s%s%s", name, row->section,
                      section[0] == '\0' ? "before any section" : "[", section, section[0] == '\0' ? "" : "]");
  }
  size_t index = (size_t)(row - table);
  if (load->set_on[index] != 0) {
    return load_fault(load, "option '%s' is already set on line %u", name, load->set_on[index]);
  }
  load->set_on[index] = load->line;
  if (!options_set(load->options, name, value, why) || !check_alone(load->options, row->name, why)) {
    return load_fault(load, "%s", why);
  }
  return 1;
}

bool options_load(struct options *options, const char *path, char *why) {
  struct load load = {.options = options, .path = path, .why = why, .line = 0, .line_ended = true};
  load.file = fopen(path, "re");
  if (load.file == NULL) {
    const char *remedy = errno == ENOENT   ? "; is the path right? `gramme server --print-config > FILE` makes one"
                         : errno == EACCES ? "; let this user read it"
                                           : "";
    return refuse(why, "%s: %s%s", path, strerror(errno), remedy);
  }
  /* An indented line is a setting of its own, and a ';' inside a password is a part of it. */
  ini_allow_multiline = false;
  ini_allow_inline_comments = false;
  ini_use_stack = false;
  ini_max_line = (int)LINE_MAX_BYTES;
  ini_initial_alloc = (long)LINE_MAX_BYTES;
  int line = ini_parse_stream(load_line, &load, load_setting, &load);
  bool read_failed = ferror(load.file) != 0;
  int read_errno = errno;
  fclose(load.file);
  if (read_failed) {
    return refuse(why, "%s: %s", path, strerror(read_errno));
  }
  if (line < 0) {
    return refuse(why, "%s: out of memory", path);
  }
  if (line > 0 && (load.fault_line == 0 || (unsigned)line < load.fault_line)) {
    return refuse(why, "%s:%d: this is neither a [section] nor name = value", path, line);
  }
  return load.fault_line == 0;
}

/* -- rules across options ------------------------------------------------------ */

static bool host_is_loopback(const char *host) {
  return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcasecmp(host, "localhost") == 0;
}

static bool host_is_wildcard(const char *host) {
  return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 || strcmp(host, "*") == 0;
}

static bool check_ports(const struct options *options, char *why) {
  uint64_t peer_port = options->peer_port != 0 ? options->peer_port : options->port + 10000;
  if (peer_port > UINT16_MAX) {
    return refuse(
        why, "port %" PRIu64 " + 10000 is %" PRIu64 ", beyond 65535: choose a port below 55536, or set 'peer-port'",
        options->port, peer_port);
  }
  if (peer_port == options->port) {
    return refuse(why, "'port' and 'peer-port' are both %" PRIu64 ": they must differ", peer_port);
  }
  return true;
}

static bool check_addresses(const struct options *options, char *why) {
  if (!host_is_loopback(options->listen) && (options->requirepass[0] == '\0' || options->secret[0] == '\0')) {
    return refuse(
        why, "'listen' is %.64s, which others can reach: set 'requirepass' and 'secret' first, or listen on 127.0.0.1",
        options->listen);
  }
  if (host_is_wildcard(options->announce)) {
    return refuse(why, "'announce' is %.64s, which is no address to connect to: set it to this machine's",
                  options->announce);
  }
  if (host_is_wildcard(options->listen) && options->announce[0] == '\0') {
    return refuse(why, "'listen' is %.64s: set 'announce' to the address at which others reach this node",
                  options->listen);
  }
  return true;
}

bool options_check(const struct options *options, char *why) {
  ASSERT(options->engine != NULL);
  for (size_t i = 0; i < ROW_COUNT; i++) {
    if (!check_alone(options, table[i].name, why)) {
      return false;
    }
  }
  if (options->node_id[0] != '\0' &&
      (strlen(options->node_id) != 8 || strspn(options->node_id, "0123456789abcdef") != 8 ||
       strcmp(options->node_id, "00000000") == 0)) {
    return refuse(why, "'node-id' is no id of a node: 8 hexadecimal digits as gramme status shows them");
  }
  if (options->peer_timeout <= options->heartbeat) {
    return refuse(why, "'peer-timeout' must be longer than 'heartbeat': at least twice it is wise");
  }
  if (options->client_output_limit < options->max_value) {
    return refuse(why, "'client-output-limit' is smaller than 'max-value': such a value could never be read");
  }
  if (options->hints == 0 && options->sync_round == 0) {
    return refuse(why, "'hints' 0 with 'sync-round' 0: nothing would bring a replica what it missed; set one of them");
  }
  return check_ports(options, why) && check_addresses(options, why);
}

/* -- what is printed ------------------------------------------------------------ */

static void print_range(FILE *out, const struct option_row *row) {
  if (strcmp(row->name, "engine") == 0) {
    fputs("rocksdb or memory", out);
    return;
  }
  if (row_is_text(row)) {
    fprintf(out, "text, at most %" PRIu64 " characters", row->max);
    return;
  }
  char min[NUMBER_TEXT_MAX];
  char max[NUMBER_TEXT_MAX];
  number_format(row->kind, row->min, min, sizeof min);
  number_format(row->kind, row->max, max, sizeof max);
  fprintf(out, "%s to %s", min, max);
}

static const char *section_purpose(const char *section) {
  static const struct {
    const char *section, *purpose;
  } purposes[] = {
      {"node", "this node"},
      {"cluster", "what all nodes of a cluster agree on"},
      {"timing", "durations: always with a unit (ms, s, m, h)"},
      {"storage", "the storage engine; sizes: b, kb, mb, gb, tb (1kb is 1024)"},
  };
  for (size_t i = 0; i < sizeof purposes / sizeof purposes[0]; i++) {
    if (strcmp(purposes[i].section, section) == 0) {
      return purposes[i].purpose;
    }
  }
  ASSERT(false);
}

void options_print_sample(FILE *out) {
  fputs("# Configuration of one Gramme node. Every option is here, with its default.\n"
        "# A flag of the same name (--port 7601) overrides what stands here.\n"
        "# A comment takes a line of its own. Options marked [live] may also be changed by CONFIG SET.\n",
        out);
  const char *section = "";
  for (size_t i = 0; i < ROW_COUNT; i++) {
    const struct option_row *row = &table[i];
    if (strcmp(section, row->section) != 0) {
      section = row->section;
      fprintf(out, "\n[%s]\n# %s\n", section, section_purpose(section));
    }
    fprintf(out, "\n# %s\n# (", row->help);
    print_range(out, row);
    fprintf(out, ")%s\n#%s =%s%s\n", row->live ? " [live]" : "", row->name, row->default_text[0] == '\0' ? "" : " ",
            row->default_text);
  }
}

void options_print_help(FILE *out) {
  const char *section = "";
  for (size_t i = 0; i < ROW_COUNT; i++) {
    const struct option_row *row = &table[i];
    if (strcmp(section, row->section) != 0) {
      fprintf(out, "%s[%s] %s\n", section[0] == '\0' ? "" : "\n", row->section, section_purpose(row->section));
      section = row->section;
    }
    fprintf(out, "  %-20s %-14s %s\n", row->name, row->default_text[0] == '\0' ? "-" : row->default_text, row->help);
  }
}
