/* The subcommands of `gramme`, and what they share (design chapter 4, "The command line").
 *
 * Each takes its own argv, argv[0] being "gramme NAME", and returns the exit code: 0 done, 1 refused or failed
 * (one line on standard error says what and the remedy), 2 usage (argp exits with it by itself).
 */
#ifndef GRAMME_CMD_COMMAND_H
#define GRAMME_CMD_COMMAND_H

#include <argp.h>
#include <jansson.h>
#include <stdio.h>

#include "cmd/remote.h"

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int cmd_dev(int argc, char **argv);
int cmd_server(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_put(int argc, char **argv);
int cmd_del(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_wait_sync(int argc, char **argv);
int cmd_ring(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_commit(int argc, char **argv);
int cmd_abort(int argc, char **argv);
int cmd_ring_simulate(int argc, char **argv); /* argv from its own name on */
int cmd_help(int argc, char **argv);

struct cmd {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *summary; /* one line for the list; the help of each is its argp's */
};
const struct cmd *cmd_at(uint32_t index);     /* NULL past the last */
const struct cmd *cmd_find(const char *name); /* NULL: no such command */
void cmd_print_names(FILE *out);              /* "dev, server, ..." */

/* -- which node is asked: -h HOST -p PORT -a PASSWORD --json, an argp child of every client command ---- */
struct target {
  struct remote_target remote;
  bool json;
};
#define TARGET_NONE ((struct target){{"127.0.0.1", 7600, NULL, 0, 0}, false})
extern const struct argp target_argp; /* its input: struct target * */

/* " -h HOST -p PORT", as far as they are not the defaults: for commands that are shown. Returns `text`. */
#define TARGET_FLAGS 320u
const char *target_flags(const struct target *target, char text[TARGET_FLAGS]);

/* Parses argv with `argp` (whose input is `input`); usage errors end the process with 2. */
void cmd_parse(const struct argp *argp, int argc, char **argv, void *input);
/* A number within a range, or an argp error (exit 2) that names the option. */
uint64_t cmd_number(struct argp_state *state, const char *option, const char *text, uint64_t min, uint64_t max);

/* Connects, or says on stderr why not and gives NULL. */
struct remote *target_open(const struct target *target);
/* Asks one thing. An error reply, or no reply, is told on stderr; then NULL. */
struct remote_answer *target_ask(struct remote *remote, const struct target *target, const struct bytes *arguments,
                                 size_t count);
/* Asks for a document. With --json it is printed as the node sent it (`*done`, and NULL); else it is parsed and
 * the caller's. */
json_t *target_ask_json(struct remote *remote, const struct target *target, const struct bytes *arguments, size_t count,
                        bool *done);

/* -- fields of a node's document; what is absent or of another type reads as "", 0 or false ---- */
const char *field_text(const json_t *object, const char *name);
uint64_t field_number(const json_t *object, const char *name);
bool field_true(const json_t *object, const char *name);
const json_t *field_object(const json_t *object, const char *name); /* object or array, or NULL */

/* Members by name: a node tells them by id, which means nothing to people. The caller's. */
json_t *cmd_sorted(const json_t *nodes);

/* A key's preference list, from EXPLAIN: a line a node. */
void cmd_print_preference(const json_t *preference);

#endif
