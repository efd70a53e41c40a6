#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/command.h"
#include "cmd/terminal.h"

#define OPTION_JSON 1000

static const struct argp_option target_options[] = {
    {.name = "host", .key = 'h', .arg = "HOST", .doc = "the node to ask (127.0.0.1)", .group = 10},
    {.name = "port", .key = 'p', .arg = "PORT", .doc = "its client port (7600)", .group = 10},
    {.name = "password",
     .key = 'a',
     .arg = "PASSWORD",
     .doc = "its password; better in the environment, as GRAMME_PASSWORD, where other users do not see it",
     .group = 10},
    {.name = "json", .key = OPTION_JSON, .doc = "print JSON, for programs", .group = 10},
    {0},
};

uint64_t cmd_number(struct argp_state *state, const char *option, const char *text, uint64_t min, uint64_t max) {
  char *end;
  errno = 0;
  unsigned long long number = strtoull(text, &end, 10);
  bool digits = text[0] >= '0' && text[0] <= '9';
  if (!digits || *end != '\0' || errno != 0 || number < min || number > max) {
    argp_error(state, "%s must be a number from %" PRIu64 " to %" PRIu64 "; it is '%s'", option, min, max, text);
  }
  return number;
}

static error_t target_parse(int key, char *argument, struct argp_state *state) {
  struct target *target = state->input;
  switch (key) {
  case 'h':
    target->remote.host = argument;
    return 0;
  case 'p':
    target->remote.port = (uint16_t)cmd_number(state, "--port", argument, 1, UINT16_MAX);
    return 0;
  case 'a':
    target->remote.password = argument;
    return 0;
  case OPTION_JSON:
    target->json = true;
    return 0;
  case ARGP_KEY_INIT:
    target->remote.password = getenv("GRAMME_PASSWORD");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

const struct argp target_argp = {.options = target_options, .parser = target_parse};

void cmd_parse(const struct argp *argp, int argc, char **argv, void *input) {
  argp_err_exit_status = EXIT_USAGE;
  error_t error = argp_parse(argp, argc, argv, 0, NULL, input);
  if (error != 0) { /* only out of memory comes here: argp exits by itself on anything else */
    exit(terminal_fail("%s", strerror(error)));
  }
}

struct remote *target_open(const struct target *target) {
  char why[REMOTE_WHY];
  struct remote *remote = remote_open(&target->remote, why);
  if (remote == NULL) {
    terminal_fail("%s", why);
  }
  return remote;
}

static bool is_dynamo(struct bytes word) {
  return word.size > 7 && memcmp(word.data, "DYNAMO.", 7) == 0;
}

static void tell_error(const struct target *target, const char *error, struct bytes command) {
  const struct remote_target *remote = &target->remote;
  if (is_dynamo(command) && strncmp(error, "ERR unknown command", 19) == 0) {
    terminal_fail("%s:%u answers, but is not a Gramme node: it does not know %.*s (a plain Redis?)", remote->host,
                  remote->port, (int)command.size, (const char *)command.data);
  } else if (strncmp(error, "NOAUTH", 6) == 0) {
    terminal_fail("%s:%u wants a password: give it with -a, or set GRAMME_PASSWORD", remote->host, remote->port);
  } else {
    terminal_fail("%s", error);
  }
}

struct remote_answer *target_ask(struct remote *remote, const struct target *target, const struct bytes *arguments,
                                 size_t count) {
  char why[REMOTE_WHY];
  ASSERT(count > 0);
  struct remote_answer *answer = remote_call(remote, arguments, count, why);
  if (answer == NULL) {
    terminal_fail("%s", why);
    return NULL;
  }
  if (answer->kind == REMOTE_ERROR) {
    tell_error(target, answer->text, arguments[0]);
    remote_answer_free(answer);
    return NULL;
  }
  return answer;
}

json_t *target_ask_json(struct remote *remote, const struct target *target, const struct bytes *arguments, size_t count,
                        bool *done) {
  *done = false;
  struct remote_answer *answer = target_ask(remote, target, arguments, count);
  if (answer == NULL) {
    return NULL;
  }
  json_error_t error;
  json_t *document = answer->kind == REMOTE_TEXT ? json_loadb(answer->text, answer->size, 0, &error) : NULL;
  if (document == NULL) {
    terminal_fail("%s:%u answered %.*s with something that is no JSON: is it of another version?", target->remote.host,
                  target->remote.port, (int)arguments[0].size, (const char *)arguments[0].data);
  } else if (target->json) {
    fwrite(answer->text, 1, answer->size, stdout);
    putchar('\n');
    json_decref(document);
    document = NULL;
    *done = true;
  }
  remote_answer_free(answer);
  return document;
}

static int compare_names(const void *a, const void *b) {
  const json_t *const *first = a;
  const json_t *const *second = b;
  return strverscmp(field_text(*first, "name"), field_text(*second, "name"));
}

json_t *cmd_sorted(const json_t *nodes) {
  size_t count = json_array_size(nodes);
  json_t **list = calloc(count + 1, sizeof(json_t *));
  json_t *sorted = json_array();
  for (size_t i = 0; list != NULL && i < count; i++) {
    list[i] = json_array_get(nodes, i);
  }
  if (list != NULL) {
    qsort(list, count, sizeof(json_t *), compare_names);
  }
  for (size_t i = 0; list != NULL && i < count; i++) {
    json_array_append(sorted, list[i]);
  }
  free(list);
  return sorted;
}

const char *target_flags(const struct target *target, char text[TARGET_FLAGS]) {
  size_t used = 0;
  text[0] = '\0';
  if (strcmp(target->remote.host, TARGET_NONE.remote.host) != 0) {
    used = (size_t)snprintf(text, TARGET_FLAGS, " -h %.256s", target->remote.host);
  }
  if (target->remote.port != TARGET_NONE.remote.port) {
    snprintf(text + used, TARGET_FLAGS - used, " -p %u", target->remote.port);
  }
  return text;
}

const char *field_text(const json_t *object, const char *name) {
  const char *text = json_string_value(json_object_get(object, name));
  return text != NULL ? text : "";
}

uint64_t field_number(const json_t *object, const char *name) {
  json_int_t number = json_integer_value(json_object_get(object, name));
  return number > 0 ? (uint64_t)number : 0;
}

bool field_true(const json_t *object, const char *name) {
  return json_is_true(json_object_get(object, name));
}

const json_t *field_object(const json_t *object, const char *name) {
  const json_t *field = json_object_get(object, name);
  return json_is_object(field) || json_is_array(field) ? field : NULL;
}
