/* gramme get, put and del: the Dynamo interface (paper §4.1) from a terminal. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "cmd/command.h"
#include "cmd/terminal.h"

enum {
  OPTION_CONTEXT = 1001,
  OPTION_CONTEXT_ONLY,
  OPTION_NEW,
  OPTION_R,
  OPTION_PR,
  OPTION_W,
  OPTION_PW,
  OPTION_DW,
  OPTION_PX
};

#define WORDS_MAX 16u
#define SHOWN_MAX 200u /* bytes of a sibling that are shown to people */

struct key_options {
  struct target target;
  const char *key;
  const char *value; /* put */
  const char *context;
  bool is_new;
  bool context_only;   /* get */
  char numbers[6][24]; /* the quorum options as given, checked; "" none */
  bool wants_value;
};

/* Index into numbers, and the word of the command. */
static const struct {
  int option;
  const char *flag, *word;
  uint64_t max;
} quorums[] = {
    {OPTION_R, "--r", "R", REPLICAS_MAX},    {OPTION_PR, "--pr", "PR", REPLICAS_MAX},
    {OPTION_W, "--w", "W", REPLICAS_MAX},    {OPTION_PW, "--pw", "PW", REPLICAS_MAX},
    {OPTION_DW, "--dw", "DW", REPLICAS_MAX}, {OPTION_PX, "--px", "PX", INT64_MAX},
};

#define QUORUM_COUNT (sizeof quorums / sizeof quorums[0])

/* Options; the same for all three commands, each of which lists those that it has. */
static error_t parse_option(int key, char *argument, struct argp_state *state) {
  struct key_options *o = state->input;
  for (size_t i = 0; i < QUORUM_COUNT; i++) {
    if (quorums[i].option == key) {
      bool may_be_zero = key == OPTION_PR || key == OPTION_PW || key == OPTION_DW;
      uint64_t number = cmd_number(state, quorums[i].flag, argument, may_be_zero ? 0 : 1, quorums[i].max);
      snprintf(o->numbers[i], sizeof o->numbers[i], "%" PRIu64, number);
      return 0;
    }
  }
  switch (key) {
  case OPTION_CONTEXT:
    o->context = argument;
    return 0;
  case OPTION_CONTEXT_ONLY:
    o->context_only = true;
    return 0;
  case OPTION_NEW:
    o->is_new = true;
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* Arguments: KEY, and for put VALUE. */
static error_t parse(int key, char *argument, struct argp_state *state) {
  struct key_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = o;
    state->child_inputs[1] = &o->target;
    return 0;
  case ARGP_KEY_ARG:
    if (state->arg_num == 0) {
      o->key = argument;
    } else if (state->arg_num == 1 && o->wants_value) {
      o->value = argument;
    } else {
      argp_error(state, "'%s' is one argument too many (a value with spaces goes in quotes)", argument);
    }
    return 0;
  case ARGP_KEY_END:
    if (o->key == NULL || (o->wants_value && o->value == NULL)) {
      argp_error(state, o->wants_value ? "a KEY and a VALUE are wanted" : "a KEY is wanted");
    }
    if (o->is_new && o->context != NULL) {
      argp_error(state, "--new says that nothing was seen, --context what was: give one of them");
    }
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const char context_doc[] = "what was seen, as get told it: just that is replaced";
static const char r_doc[] = "nodes that must answer";
static const char w_doc[] = "nodes that must have it";
static const char primaries_doc[] = "of these, how many must be replicas, not stand-ins";
static const char durable_doc[] = "of these, how many must have it on disk";

static const struct argp_option get_options[] = {
    {.name = "r", .key = OPTION_R, .arg = "N", .doc = r_doc},
    {.name = "pr", .key = OPTION_PR, .arg = "N", .doc = primaries_doc},
    {.name = "context-only", .key = OPTION_CONTEXT_ONLY, .doc = "print the context, for a put that follows"},
    {0},
};
static const struct argp_option put_options[] = {
    {.name = "context", .key = OPTION_CONTEXT, .arg = "CONTEXT", .doc = context_doc},
    {.name = "new", .key = OPTION_NEW, .doc = "nothing was seen: what is there stays, as a sibling"},
    {.name = "px", .key = OPTION_PX, .arg = "MS", .doc = "expires after so many milliseconds"},
    {.name = "w", .key = OPTION_W, .arg = "N", .doc = w_doc},
    {.name = "pw", .key = OPTION_PW, .arg = "N", .doc = primaries_doc},
    {.name = "dw", .key = OPTION_DW, .arg = "N", .doc = durable_doc},
    {0},
};
static const struct argp_option del_options[] = {
    {.name = "context", .key = OPTION_CONTEXT, .arg = "CONTEXT", .doc = context_doc},
    {.name = "w", .key = OPTION_W, .arg = "N", .doc = w_doc},
    {.name = "pw", .key = OPTION_PW, .arg = "N", .doc = primaries_doc},
    {.name = "dw", .key = OPTION_DW, .arg = "N", .doc = durable_doc},
    {0},
};

static const struct argp get_option_argp = {.options = get_options, .parser = parse_option};
static const struct argp put_option_argp = {.options = put_options, .parser = parse_option};
static const struct argp del_option_argp = {.options = del_options, .parser = parse_option};
static const struct argp_child get_children[] = {{.argp = &get_option_argp}, {.argp = &target_argp}, {0}};
static const struct argp_child put_children[] = {{.argp = &put_option_argp}, {.argp = &target_argp}, {0}};
static const struct argp_child del_children[] = {{.argp = &del_option_argp}, {.argp = &target_argp}, {0}};

static const struct argp get_argp = {
    .parser = parse,
    .children = get_children,
    .args_doc = "KEY",
    .doc =
        "Prints the value of a key, as it is. Where writers did not know of each other there are several (siblings): "
        "they are listed, with the context that a merge hands back. A key without a value: exit code 1.",
};
static const struct argp put_argp = {
    .parser = parse,
    .children = put_children,
    .args_doc = "KEY VALUE",
    .doc = "Stores a value and prints its context. VALUE '-' reads standard input.\v"
           "Without --context and --new it reads the key first, and replaces what it found.",
};
static const struct argp del_argp = {
    .parser = parse,
    .children = del_children,
    .args_doc = "KEY",
    .doc = "Deletes a key and prints the deletion's context.\v"
           "Without --context it deletes what a get finds.",
};

/* -- commands --------------------------------------------------------------------- */

struct words {
  struct bytes list[WORDS_MAX];
  size_t count;
};

static void words_add(struct words *words, struct bytes word) {
  ASSERT(words->count < WORDS_MAX);
  words->list[words->count++] = word;
}

static void words_add_numbers(struct words *words, const struct key_options *o) {
  for (size_t i = 0; i < QUORUM_COUNT; i++) {
    if (o->numbers[i][0] != '\0') {
      words_add(words, remote_argument(quorums[i].word));
      words_add(words, remote_argument(o->numbers[i]));
    }
  }
}

static struct bytes answer_bytes(const struct remote_answer *answer) {
  return answer->kind == REMOTE_TEXT ? (struct bytes){(const uint8_t *)answer->text, answer->size} : BYTES_NONE;
}

/* DYNAMO.GET: [context, [value, ...]], checked to be that. */
static struct remote_answer *ask_get(struct remote *remote, const struct key_options *o, bool with_numbers) {
  struct words words = {.count = 0};
  words_add(&words, BYTES_LITERAL("DYNAMO.GET"));
  words_add(&words, remote_argument(o->key));
  if (with_numbers) {
    words_add_numbers(&words, o);
  }
  struct remote_answer *answer = target_ask(remote, &o->target, words.list, words.count);
  if (answer == NULL) {
    return NULL;
  }
  bool good = answer->kind == REMOTE_ARRAY && answer->count == 2 && answer->items[1]->kind == REMOTE_ARRAY;
  for (size_t i = 0; good && i < answer->items[1]->count; i++) {
    good = answer->items[1]->items[i]->kind == REMOTE_TEXT;
  }
  if (!good) {
    terminal_fail("%s:%u answered DYNAMO.GET in a form that is not known here: is it of another version?",
                  o->target.remote.host, o->target.remote.port);
    remote_answer_free(answer);
    return NULL;
  }
  return answer;
}

/* -- get ---------------------------------------------------------------------------- */

static char *base64(struct bytes bytes) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char *text = malloc((bytes.size + 2) / 3 * 4 + 1);
  size_t used = 0;
  for (size_t i = 0; text != NULL && i < bytes.size; i += 3) {
    size_t left = bytes.size - i;
    uint32_t group = (uint32_t)bytes.data[i] << 16 | (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                     (left > 2 ? bytes.data[i + 2] : 0);
    text[used++] = alphabet[group >> 18];
    text[used++] = alphabet[group >> 12 & 63];
    text[used++] = left > 1 ? alphabet[group >> 6 & 63] : '=';
    text[used++] = left > 2 ? alphabet[group & 63] : '=';
  }
  if (text != NULL) {
    text[used] = '\0';
  }
  return text;
}

/* {"text": ...}, or {"base64": ...} when it is not UTF-8, which JSON can not hold. */
static json_t *value_to_json(struct bytes value) {
  json_t *text = json_stringn((const char *)value.data, value.size);
  if (text != NULL) {
    return json_pack("{s:o}", "text", text);
  }
  char *encoded = base64(value);
  json_t *json = json_pack("{s:s}", "base64", encoded != NULL ? encoded : "");
  free(encoded);
  return json;
}

static json_t *context_to_json(struct bytes context) {
  return json_stringn(context.data != NULL ? (const char *)context.data : "", context.size);
}

static void print_json(json_t *document) {
  json_dumpf(document, stdout, JSON_COMPACT);
  putchar('\n');
  json_decref(document);
}

static void get_print_json(const struct key_options *o, struct bytes context, const struct remote_answer *values) {
  json_t *list = json_array();
  for (size_t i = 0; i < values->count; i++) {
    json_array_append_new(list, value_to_json(answer_bytes(values->items[i])));
  }
  print_json(json_pack("{s:o,s:o,s:o}", "key", value_to_json(remote_argument(o->key)), "context",
                       context_to_json(context), "values", list));
}

static void print_siblings(const struct key_options *o, struct bytes context, const struct remote_answer *values) {
  printf("%s%s has %zu siblings%s: none of their writers knew of the others\n\n", terminal_on(STYLE_BOLD), o->key,
         values->count, terminal_off());
  for (size_t i = 0; i < values->count; i++) {
    printf("  %zu  ", i + 1);
    terminal_quote(answer_bytes(values->items[i]), SHOWN_MAX);
    putchar('\n');
  }
  printf("\n%scontext%s  %.*s\n", terminal_on(STYLE_DIM), terminal_off(), (int)context.size,
         (const char *)context.data);
  printf("%sto merge%s gramme put %s VALUE --context %.*s\n", terminal_on(STYLE_DIM), terminal_off(), o->key,
         (int)context.size, (const char *)context.data);
}

int cmd_get(int argc, char **argv) {
  struct key_options o = {.target = TARGET_NONE};
  cmd_parse(&get_argp, argc, argv, &o);
  struct remote *remote = target_open(&o.target);
  struct remote_answer *answer = remote != NULL ? ask_get(remote, &o, true) : NULL;
  remote_close(remote);
  if (answer == NULL) {
    return EXIT_FAILED;
  }
  struct bytes context = answer_bytes(answer->items[0]);
  const struct remote_answer *values = answer->items[1];
  int code = EXIT_DONE;
  if (o.target.json) {
    get_print_json(&o, context, values);
    code = values->count > 0 ? EXIT_DONE : EXIT_FAILED;
  } else if (o.context_only) {
    printf("%.*s\n", (int)context.size, (const char *)context.data);
  } else if (values->count == 0) {
    code = terminal_fail("%s has no value", o.key);
  } else if (values->count == 1) {
    fwrite(values->items[0]->text, 1, values->items[0]->size, stdout);
    fputs(terminal_is_one() ? "\n" : "", stdout);
  } else {
    print_siblings(&o, context, values);
  }
  remote_answer_free(answer);
  return code;
}

/* -- put and del ----------------------------------------------------------------------- */

/* All of standard input; false, told, when it can not be read or is larger than any value may be. */
static bool read_input(char **data, size_t *size) {
  size_t capacity = 65536;
  char *buffer = malloc(capacity);
  size_t used = 0;
  ssize_t got = 1;
  while (buffer != NULL && got > 0 && used <= VALUE_MAX_BYTES_CEILING) {
    if (used == capacity) {
      char *larger = realloc(buffer, capacity * 2);
      if (larger == NULL) {
        free(buffer);
      }
      buffer = larger;
      capacity *= 2;
      continue;
    }
    got = read(STDIN_FILENO, buffer + used, capacity - used);
    used += got > 0 ? (size_t)got : 0;
  }
  if (buffer == NULL || got < 0) {
    terminal_fail("standard input: %s", strerror(buffer == NULL ? ENOMEM : errno));
  } else if (used > VALUE_MAX_BYTES_CEILING) {
    terminal_fail("standard input is larger than %u bytes, the most that a value may ever have",
                  VALUE_MAX_BYTES_CEILING);
  } else {
    *data = buffer;
    *size = used;
    return true;
  }
  free(buffer);
  return false;
}

/* Sends DYNAMO.PUT or DYNAMO.DEL; prints the new context. */
static int write_key(struct remote *remote, const struct key_options *o, const struct bytes *value,
                     struct bytes context) {
  struct words words = {.count = 0};
  words_add(&words, value != NULL ? BYTES_LITERAL("DYNAMO.PUT") : BYTES_LITERAL("DYNAMO.DEL"));
  words_add(&words, remote_argument(o->key));
  if (value != NULL) {
    words_add(&words, *value);
  }
  if (context.size > 0) {
    words_add(&words, BYTES_LITERAL("CONTEXT"));
    words_add(&words, context);
  }
  words_add_numbers(&words, o);
  struct remote_answer *answer = target_ask(remote, &o->target, words.list, words.count);
  if (answer == NULL) {
    return EXIT_FAILED;
  }
  struct bytes now = answer_bytes(answer);
  if (o->target.json) {
    print_json(json_pack("{s:o,s:o}", "key", value_to_json(remote_argument(o->key)), "context", context_to_json(now)));
  } else {
    printf("%s%s%s%.*s\n", terminal_on(STYLE_DIM), terminal_is_one() ? "context  " : "", terminal_off(), (int)now.size,
           (const char *)now.data);
  }
  remote_answer_free(answer);
  return EXIT_DONE;
}

/* A put without a context first reads what it is to replace. (A deletion without one does so on the node.) */
static int write_command(const struct key_options *o, const struct bytes *value) {
  struct remote *remote = target_open(&o->target);
  if (remote == NULL) {
    return EXIT_FAILED;
  }
  struct remote_answer *seen = NULL;
  struct bytes context = o->context != NULL ? remote_argument(o->context) : BYTES_NONE;
  bool reads_first = value != NULL && o->context == NULL && !o->is_new;
  if (reads_first) {
    seen = ask_get(remote, o, false);
    context = seen != NULL ? answer_bytes(seen->items[0]) : BYTES_NONE;
  }
  int code = reads_first && seen == NULL ? EXIT_FAILED : write_key(remote, o, value, context);
  remote_answer_free(seen);
  remote_close(remote);
  return code;
}

int cmd_put(int argc, char **argv) {
  struct key_options o = {.target = TARGET_NONE, .wants_value = true};
  cmd_parse(&put_argp, argc, argv, &o);
  struct bytes value = remote_argument(o.value);
  char *input = NULL;
  if (strcmp(o.value, "-") == 0) {
    size_t size;
    if (!read_input(&input, &size)) {
      return EXIT_FAILED;
    }
    value = (struct bytes){(const uint8_t *)input, size};
  }
  int code = write_command(&o, &value);
  free(input);
  return code;
}

int cmd_del(int argc, char **argv) {
  struct key_options o = {.target = TARGET_NONE};
  cmd_parse(&del_argp, argc, argv, &o);
  return write_command(&o, NULL);
}
