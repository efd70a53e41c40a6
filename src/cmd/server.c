/* gramme server: one node. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cmd/command.h"
#include "cmd/pidfile.h"
#include "cmd/terminal.h"
#include "run/node.h"

#define SETTINGS_MAX 256u

enum { OPTION_CONFIG = 1000, OPTION_SET, OPTION_PRINT, OPTION_FIRST = 2000 };

struct setting {
  char *name; /* owned */
  const char *value;
};

struct server_options {
  const char *config;
  bool print_sample;
  struct setting settings[SETTINGS_MAX]; /* flags, in their order: they override the file */
  size_t count;
  struct options trial; /* tells a bad flag before anything is read */
};

static const struct argp_option argp_options[] = {
    {.name = "config", .key = OPTION_CONFIG, .arg = "FILE", .doc = "configuration file", .group = 1},
    {.name = "set", .key = OPTION_SET, .arg = "NAME=VALUE", .doc = "set an option; may be given again", .group = 1},
    {.name = "print-config",
     .key = OPTION_PRINT,
     .doc = "print a configuration file with every option, explained",
     .group = 1},
    {.doc = "Every option of the file is a flag, too:", .group = 2},
/* A row's key is where its field lies: distinct, and an integer constant. */
#define X(section, option, kind, field, default_text, min, max, live, help) \
  {.name = option, .key = OPTION_FIRST + (int)offsetof(struct options, field), .arg = "VALUE", .doc = help, .group = 3},
    OPTION_TABLE(X)
#undef X
        {0},
};

static void add_setting(struct server_options *server, const char *name, size_t name_size, const char *value,
                        struct argp_state *state) {
  char why[OPTIONS_WHY];
  char *copy = strndup(name, name_size);
  if (copy == NULL || server->count == SETTINGS_MAX) {
    argp_failure(state, EXIT_FAILED, 0, "too many settings");
    free(copy);
    return;
  }
  if (!options_set(&server->trial, copy, value, why)) {
    argp_error(state, "%s", why);
  }
  server->settings[server->count++] = (struct setting){copy, value};
}

static const char *option_of_key(int key) {
  for (const struct argp_option *option = argp_options; option->name != NULL || option->doc != NULL; option++) {
    if (option->key == key) {
      return option->name;
    }
  }
  return NULL;
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct server_options *server = state->input;
  switch (key) {
  case OPTION_CONFIG:
    server->config = argument;
    return 0;
  case OPTION_PRINT:
    server->print_sample = true;
    return 0;
  case OPTION_SET: {
    const char *equals = strchr(argument, '=');
    if (equals == NULL) {
      argp_error(state, "--set wants NAME=VALUE; it is '%s'", argument);
      return 0;
    }
    add_setting(server, argument, (size_t)(equals - argument), equals + 1, state);
    return 0;
  }
  case ARGP_KEY_ARG:
    argp_error(state, "server takes no arguments; a file goes with --config");
    return 0;
  default:
    break;
  }
  if (key >= OPTION_FIRST && key < OPTION_FIRST + (int)sizeof(struct options)) {
    const char *name = option_of_key(key);
    ASSERT(name != NULL);
    add_setting(server, name, strlen(name), argument, state);
    return 0;
  }
  return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc = "Runs one node until SIGTERM or SIGINT. Flags override the file, the file overrides the defaults.\v"
           "`gramme server --print-config` prints every option with its range; `gramme help options` lists them.",
};

/* File, then flags, then the rules across options. False when told what is wrong. */
static bool settle(struct options *options, const struct server_options *server) {
  char why[OPTIONS_WHY];
  if (server->config != NULL && !options_load(options, server->config, why)) {
    terminal_fail("%s", why);
    return false;
  }
  for (size_t i = 0; i < server->count; i++) {
    if (!options_set(options, server->settings[i].name, server->settings[i].value, why)) {
      terminal_fail("%s", why);
      return false;
    }
  }
  if (!options_check(options, why)) {
    terminal_fail("%s%s%s", server->config != NULL ? server->config : "", server->config != NULL ? ": " : "", why);
    return false;
  }
  return true;
}

static int serve(struct options *options) {
  char why[PIDFILE_WHY];
  int file = pidfile_take(options->dir, why);
  if (file < 0) {
    return terminal_fail("%s", why);
  }
  int code = node_run(options);
  pidfile_drop(options->dir, file);
  return code;
}

int cmd_server(int argc, char **argv) {
  struct server_options *server = calloc(1, sizeof *server);
  if (server == NULL) {
    return terminal_fail("out of memory");
  }
  struct options options;
  options_init(&options);
  options_init(&server->trial);
  cmd_parse(&argp, argc, argv, server);
  int code = EXIT_DONE;
  if (server->print_sample) {
    options_print_sample(stdout);
  } else {
    code = settle(&options, server) ? serve(&options) : EXIT_FAILED;
  }
  for (size_t i = 0; i < server->count; i++) {
    free(server->settings[i].name);
  }
  options_deinit(&server->trial);
  options_deinit(&options);
  free(server);
  return code;
}
