/* gramme: finds the subcommand and runs it. */
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/terminal.h"

#ifndef GRAMME_VERSION
#define GRAMME_VERSION "0.1.0"
#endif

static const struct cmd commands[] = {
    {"dev", cmd_dev, "a cluster of three nodes on this machine, to try it"},
    {"server", cmd_server, "one node"},
    {"status", cmd_status, "who is a member, who answers, what waits for whom"},
    {"wait-sync", cmd_wait_sync, "until all replicas have been compared and nothing differs"},
    {"ring", cmd_ring, "who owns what"},
    {"plan", cmd_plan, "stage a change of who is in the cluster, and see what it moves"},
    {"commit", cmd_commit, "issue what is staged"},
    {"abort", cmd_abort, "drop what is staged"},
    {"get", cmd_get, "the value of a key"},
    {"put", cmd_put, "store a value"},
    {"del", cmd_del, "delete a key"},
    {"explain", cmd_explain, "where a key lies, and what each node holds of it"},
    {"help", cmd_help, "this, a command's help, or a topic"},
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

const struct cmd *cmd_at(uint32_t index) {
  return index < COMMAND_COUNT ? &commands[index] : NULL;
}

const struct cmd *cmd_find(const char *name) {
  for (size_t i = 0; i < COMMAND_COUNT; i++) {
    if (strcmp(commands[i].name, name) == 0) {
      return &commands[i];
    }
  }
  return NULL;
}

void cmd_print_names(FILE *out) {
  for (size_t i = 0; i < COMMAND_COUNT; i++) {
    fprintf(out, "%s%s", i == 0 ? "" : ", ", commands[i].name);
  }
}

static int refuse_command(const char *name) {
  fprintf(stderr, "gramme: no command '%s'; there are: ", name);
  cmd_print_names(stderr);
  fputc('\n', stderr);
  return EXIT_USAGE;
}

int main(int argc, char **argv) {
  terminal_init();
  if (argc < 2) {
    cmd_help(1, argv);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
    puts("gramme " GRAMME_VERSION);
    return EXIT_DONE;
  }
  bool asks_help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "-h") == 0;
  const struct cmd *command = cmd_find(asks_help ? "help" : argv[1]);
  if (command == NULL) {
    return refuse_command(argv[1]);
  }
  char name[64];
  snprintf(name, sizeof name, "gramme %s", command->name);
  argv[1] = name; /* what argp calls the program in its messages */
  int code = command->run(argc - 1, argv + 1);
  if (fflush(stdout) != 0 || ferror(stdout) != 0) {
    return code != EXIT_DONE ? code : terminal_fail("standard output can not be written");
  }
  return code;
}
