/* The commands: one table, from which dispatch, COMMAND, COMMAND DOCS, argument limits and key positions all come. */
#ifndef GRAMME_FRONT_COMMANDS_H
#define GRAMME_FRONT_COMMANDS_H

#include "front/output.h"
#include "front/resp.h"
#include "seam/seam.h"

struct front;
struct session;
struct call;

enum command_flag {
  FLAG_WRITE = 1 << 0,
  FLAG_READONLY = 1 << 1,
  FLAG_DENYOOM = 1 << 2,
  FLAG_ADMIN = 1 << 3,
  FLAG_FAST = 1 << 4,
  FLAG_NO_AUTH = 1 << 5, /* served before AUTH */
  FLAG_LOADING = 1 << 6, /* in words only: Redis's loading, stale and noscript */
  FLAG_STALE = 1 << 7,
  FLAG_NOSCRIPT = 1 << 8,
  FLAG_BARRIER = 1 << 9, /* starts only when all earlier requests of its connection are answered */
  /* what it does with its keys, as COMMAND's key specifications say it */
  KEY_RO = 1 << 16,
  KEY_RW = 1 << 17,
  KEY_OW = 1 << 18,
  KEY_RM = 1 << 19,
  KEY_ACCESS = 1 << 20,
  KEY_UPDATE = 1 << 21,
  KEY_DELETE = 1 << 22,
};

struct command_spec {
  const char *name; /* lower case; of a subcommand `config|get` */
  int arity;        /* arguments, the name among them; negative: at least */
  uint32_t flags;
  int8_t first, last, step;               /* keys; last < 0 counts from the end */
  int8_t value;                           /* where the value stands; 0: none; negative: between the keys */
  void (*handler)(struct call *call);     /* NULL: it has subcommands only */
  const struct command_spec *subcommands; /* up to one without a name */
  const char *group;
  const char *since;
  const char *complexity;
  const char *summary;
};

/* One command being executed. All of it is borrowed. A handler writes its reply to `out`, or starts a plan
 * (pending.h). */
struct call {
  struct front *front;
  struct session *session;
  const struct command_spec *top; /* of a subcommand: the command that it belongs to */
  const struct command_spec *spec;
  const struct bytes *argv; /* argv[0] is the command's name, argv[1] of a subcommand's call its second word */
  uint32_t argc;
  struct output *out;
  bool started; /* the reply comes later */
  bool close_after;
  struct command base; /* options that were parsed, for plan->fill */
};

extern const struct command_spec commands_table[]; /* up to one without a name */
uint32_t commands_count(void);

void commands_index(struct front *front);
/* Any case; NULL when there is none of that name. */
const struct command_spec *commands_find(const struct front *front, struct bytes name);
const struct command_spec *subcommand_find(const struct command_spec *spec, struct bytes name);
bool arity_fits(const struct command_spec *spec, uint32_t argc);
/* For the parser: what argument `index` of a command is. */
enum resp_role commands_role(void *front, struct bytes name, uint32_t index);
/* Looks up, checks, runs. False: not now, its connection's earlier requests must be answered first. */
bool call_execute(struct call *call);

/* Arguments. */
bool word_is(struct bytes word, const char *upper);   /* any case */
bool word_number(struct bytes word, int64_t *number); /* as Redis: no sign but '-', no spaces, no leading zeros */
bool glob_matches(struct bytes pattern, struct bytes text, bool any_case);
void call_wrong_arity(struct call *call);
void call_syntax_error(struct call *call);
void call_not_a_number(struct call *call);

uint64_t keyspace_estimate(const struct front *front); /* keys of the cluster, each counted once; an estimate */

#endif
