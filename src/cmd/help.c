/* gramme help: an overview, a command's own help, or one of a few topics. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/terminal.h"
#include "run/options.h"

struct topic {
  const char *name;
  const char *summary;
  const char *text;
};

static const char siblings_text[] =
    "Two writers that do not know of each other both succeed: nothing is refused, and nothing is lost. The key then "
    "has siblings.\n"
    "DYNAMO.GET returns all of them with a context, which says what was seen. A DYNAMO.PUT with that context replaces "
    "just\n"
    "what was seen; a version that arrived in between stays, as a sibling.\n"
    "\n"
    "  redis-cli -p 7600 DYNAMO.PUT cart:42 milk             a writer who has seen nothing\n"
    "  redis-cli -p 7601 DYNAMO.PUT cart:42 bread            another: now there are two versions\n"
    "  redis-cli -p 7602 DYNAMO.GET cart:42                  both, and the context\n"
    "  redis-cli -p 7600 DYNAMO.PUT cart:42 milk,bread CONTEXT ...   the merge replaces both\n"
    "\n"
    "A plain SET overwrites what its coordinator knows; a plain GET shows the latest version by time, and removes "
    "none.\n"
    "A bucket with resolve = lww keeps only the latest by time: of concurrent writes all but one are lost, by its "
    "nature.\n";

static const char quorum_text[] =
    "A key lives on N nodes (3). A put is done when W (2) have it, a get when R (2) have answered; with R + W > N a "
    "get sees\n"
    "the latest put. When one of the N does not answer, the next node on the ring stands in for it: it keeps the "
    "write\n"
    "as a hint, and hands it over when the owner is back. So a put is refused only if too few nodes at all can be "
    "reached.\n"
    "\n"
    "  PR, PW   how many of the answers must come from the N nodes themselves, not from stand-ins (0)\n"
    "  DW       how many copies must be on disk, not only in memory, before a put is done (all W)\n"
    "\n"
    "A bucket is what stands before a key's first ':' (cart:42 is in bucket cart; without a colon: default).\n"
    "\n"
    "  redis-cli -p 7600 DYNAMO.BUCKET cart GET\n"
    "  redis-cli -p 7600 DYNAMO.BUCKET cart SET w 3 pw 2\n"
    "  gramme put cart:42 milk --w 3                         for one request\n"
    "  redis-cli -p 7600 DYNAMO.BUCKET default SET n 1 r 1 w 1   for a cluster of one node\n";

static const char growing_text[] =
    "A node is added, removed, replaced or given another weight in two steps: plan shows what would move, commit does "
    "it.\n"
    "Reads and writes go on meanwhile; no write is refused because of it.\n"
    "\n"
    "  gramme server --config new.conf               start the new node, with seeds = a member's host:peer-port; it "
    "waits\n"
    "  gramme status                                 lists it, as waiting to be added\n"
    "  gramme plan add 10.0.0.4:7600 --zone b        what would move, and how long it takes\n"
    "  gramme plan remove node-2                     one more change in the same plan\n"
    "  gramme commit PLAN-ID                         issues just what was shown, or refuses when the ring has changed\n"
    "  gramme status --watch                         how far it is\n"
    "\n"
    "  gramme plan replace node-3 10.0.0.5:7600      a node that is gone for good: another takes its place\n"
    "  gramme plan reweigh node-1 200                twice the share of a node of weight 100\n"
    "\n"
    "A node that is removed hands over what it holds; its log says when it may be stopped. One that is down is not "
    "waited "
    "for:\n"
    "what only it had is lost with it. One of the nodes that hold the data has to stay until others do.\n"
    "A removed node comes back only with an empty data directory, as a new one.\n"
    "To try it: `gramme dev`, and in another terminal `gramme dev --add`.\n";

static const char exit_text[] =
    "  0  done\n"
    "  1  refused or failed: one line on standard error, 'gramme: ...', says what and what to do\n"
    "  2  usage\n"
    "\n"
    "Environment: GRAMME_PASSWORD the password of the node (as -a, but not shown to other users), NO_COLOR no "
    "colours.\n";

static const struct topic topics[] = {
    {"siblings", "concurrent writes, contexts, merging", siblings_text},
    {"quorum", "N, R, W, stand-ins and hints, buckets", quorum_text},
    {"growing", "adding, removing, replacing nodes", growing_text},
    {"exit", "exit codes and environment", exit_text},
    {"options", "every option of a node", NULL},
};

#define TOPIC_COUNT (sizeof topics / sizeof topics[0])

static void print_overview(void) {
  printf("%sGramme%s is an always-writeable, replicated key-value store (Dynamo, SOSP 2007) that any Redis client can "
         "talk to.\n"
         "\n"
         "usage: gramme COMMAND [ARGUMENT...]\n"
         "\n",
         terminal_on(STYLE_BOLD), terminal_off());
  for (uint32_t i = 0; cmd_at(i) != NULL; i++) {
    printf("  %-9s %s\n", cmd_at(i)->name, cmd_at(i)->summary);
  }
  printf("\nTo try it: gramme dev\n"
         "More:      gramme help COMMAND, or one of these topics:\n\n");
  for (size_t i = 0; i < TOPIC_COUNT; i++) {
    printf("  %-9s %s\n", topics[i].name, topics[i].summary);
  }
}

int cmd_help(int argc, char **argv) {
  if (argc <= 1 || strcmp(argv[1], "help") == 0) {
    print_overview();
    return EXIT_DONE;
  }
  const struct cmd *command = cmd_find(argv[1]);
  if (command != NULL) {
    char name[64];
    char help[] = "--help";
    snprintf(name, sizeof name, "gramme %s", command->name);
    char *arguments[] = {name, help, NULL};
    return command->run(2, arguments);
  }
  for (size_t i = 0; i < TOPIC_COUNT; i++) {
    if (strcmp(topics[i].name, argv[1]) == 0) {
      if (topics[i].text == NULL) {
        options_print_help(stdout);
      } else {
        fputs(topics[i].text, stdout);
      }
      return EXIT_DONE;
    }
  }
  terminal_fail("no command or topic '%s'; `gramme help` lists them", argv[1]);
  return EXIT_USAGE;
}
