/* gramme dev: a cluster on this machine, in one terminal. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "cmd/command.h"
#include "cmd/devdir.h"
#include "cmd/pidfile.h"
#include "cmd/terminal.h"

#define START_LIMIT_MS 60000u
#define STOP_LIMIT_MS 10000u
#define POLL_MS 100u
#define TAIL_BYTES 4096u
#define WAITING "waits to be added" /* so the reason of a node says it that waits for gramme plan add */
#define TAIL_LINES 10u

enum { OPTION_NODES = 1000, OPTION_PORT, OPTION_DIR, OPTION_MEMORY, OPTION_ADD };

struct dev {
  struct devdir devdir;
  pid_t processes[DEV_NODES_MAX]; /* our children; 0: has ended */
  sigset_t signals;               /* that we wait for, blocked otherwise */
  sigset_t signals_before;
};

static const struct argp_option options[] = {
    {.name = "nodes", .key = OPTION_NODES, .arg = "N", .doc = "how many (3)"},
    {.name = "port",
     .key = OPTION_PORT,
     .arg = "PORT",
     .doc = "of the first node; the others follow (7600); peers use port + 10000"},
    {.name = "dir", .key = OPTION_DIR, .arg = "DIR", .doc = "configuration, logs and data (./gramme-dev)"},
    {.name = "memory", .key = OPTION_MEMORY, .doc = "keep data in memory only"},
    {.name = "add",
     .key = OPTION_ADD,
     .doc = "make one node more in DIR and run it here, beside a cluster that runs: it waits for gramme plan add"},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct dev_wish *wish = state->input;
  switch (key) {
  case OPTION_NODES:
    wish->nodes = (uint32_t)cmd_number(state, "--nodes", argument, 1, DEV_NODES_MAX);
    return 0;
  case OPTION_PORT:
    wish->port = (uint32_t)cmd_number(state, "--port", argument, 1, UINT16_MAX);
    return 0;
  case OPTION_DIR:
    wish->directory = argument;
    return 0;
  case OPTION_MEMORY:
    wish->memory = true;
    return 0;
  case OPTION_ADD:
    wish->add = true;
    return 0;
  case ARGP_KEY_END:
    if (wish->add && (wish->nodes != 0 || wish->port != 0 || wish->memory)) {
      argp_error(state, "--add goes with --dir alone: the rest is as in the cluster that is there");
    }
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "dev takes no arguments");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .doc =
        "Starts a cluster on this machine, one process a node, and stops it on Ctrl-C.\v"
        "The first start makes DIR/node-K/gramme.conf, with a random secret; a later one finds nodes and data again. "
        "A node that is killed stays down until it is started again by hand, as the screen tells.",
};

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* How the user called us, for what he is told to type. */
static const char *program(void) {
  return strchr(program_invocation_name, '/') != NULL ? program_invocation_name : "gramme";
}

/* -- processes ------------------------------------------------------------------------- */

_Noreturn static void become_node(const struct dev *dev, const struct dev_node *node, pid_t parent) {
  char name[] = "gramme";
  char server[] = "server";
  char flag[] = "--config";
  char config[PATH_MAX];
  char *arguments[] = {name, server, flag, config, NULL};
  snprintf(config, sizeof config, "%s", node->config);
  /* No node outlives us, however we end. Had we ended already, nobody would send that signal. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) {
    _exit(EXIT_FAILED);
  }
  setpgid(0, 0); /* a Ctrl-C is for us: we stop the nodes ourselves */
  sigprocmask(SIG_SETMASK, &dev->signals_before, NULL);
  int nothing = open("/dev/null", O_RDONLY);
  int log = open(node->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (nothing < 0 || log < 0 || dup2(nothing, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) {
    dprintf(2, "gramme: %s: %s\n", node->log, strerror(errno));
    _exit(EXIT_FAILED);
  }
  close(nothing);
  close(log);
  execv("/proc/self/exe", arguments);
  dprintf(2, "gramme: the program can not be started anew: %s\n", strerror(errno));
  _exit(EXIT_FAILED);
}

static bool start_nodes(struct dev *dev) {
  pid_t parent = getpid();
  fflush(stdout);
  for (uint32_t i = 0; i < dev->devdir.count; i++) {
    pid_t process = fork();
    if (process < 0) {
      terminal_fail("node-%" PRIu32 " can not be started: %s", i + 1, strerror(errno));
      return false;
    }
    if (process == 0) {
      become_node(dev, &dev->devdir.nodes[i], parent);
    }
    dev->processes[i] = process;
  }
  return true;
}

/* The end of a node's log, indented. */
static void print_tail(FILE *out, const char *path) {
  char text[TAIL_BYTES + 1];
  FILE *log = fopen(path, "re");
  if (log == NULL) {
    return;
  }
  long size = fseek(log, 0, SEEK_END) == 0 ? ftell(log) : 0;
  long from = size > (long)TAIL_BYTES ? size - (long)TAIL_BYTES : 0;
  size_t got = fseek(log, from, SEEK_SET) == 0 ? fread(text, 1, TAIL_BYTES, log) : 0;
  fclose(log);
  text[got] = '\0';
  size_t start = got;
  for (uint32_t lines = 0; start > 0; start--) {
    if (text[start - 1] == '\n' && start < got && ++lines == TAIL_LINES) {
      break;
    }
  }
  for (char *line = strtok(text + start, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    fprintf(out, "    %s\n", line);
  }
}

static void describe_end(char *text, size_t size, int status) {
  if (WIFSIGNALED(status)) {
    snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
  } else {
    snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
  }
}

/* The next child that has ended, as its index; -1 when none has. */
static int reap(struct dev *dev, int *status) {
  for (;;) {
    pid_t process = waitpid(-1, status, WNOHANG);
    if (process <= 0) {
      return -1;
    }
    for (uint32_t i = 0; i < dev->devdir.count; i++) {
      if (dev->processes[i] == process) {
        dev->processes[i] = 0;
        return (int)i;
      }
    }
  }
}

static uint32_t running(const struct dev *dev) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < dev->devdir.count; i++) {
    count += dev->processes[i] != 0;
  }
  return count;
}

/* One of the signals that we wait for, or 0 when the time is up. */
static int wait_signal(const struct dev *dev, uint64_t limit_ms) {
  struct timespec limit = {.tv_sec = (time_t)(limit_ms / 1000), .tv_nsec = (long)(limit_ms % 1000) * 1000000};
  int number = sigtimedwait(&dev->signals, NULL, &limit);
  return number > 0 ? number : 0;
}

/* -- stopping ----------------------------------------------------------------------------- */

static void signal_all(const struct dev *dev, int number) {
  for (uint32_t i = 0; i < dev->devdir.count; i++) {
    if (dev->processes[i] != 0) {
      kill(dev->processes[i], number);
    }
  }
}

static void tell_stragglers(const struct dev *dev, const char *reason) {
  for (uint32_t i = 0; i < dev->devdir.count; i++) {
    if (dev->processes[i] != 0) {
      terminal_fail("node-%" PRIu32 " (process %d) %s: it is killed", i + 1, (int)dev->processes[i], reason);
    }
  }
}

/* SIGTERM, and what has not ended in time, or at a second Ctrl-C, is killed. True when all ended well. */
static bool stop_nodes(struct dev *dev) {
  char text[128];
  int status;
  bool good = true;
  uint64_t deadline = now_ms() + STOP_LIMIT_MS;
  signal_all(dev, SIGTERM);
  signal_all(dev, SIGCONT); /* one that was stopped would not hear it */
  while (running(dev) > 0) {
    int index = reap(dev, &status);
    if (index >= 0) {
      bool ended_at_once = WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM; /* it was only starting */
      if (status != 0 && !ended_at_once) {
        describe_end(text, sizeof text, status);
        terminal_fail("node-%d %s while it was stopped; see %s", index + 1, text, dev->devdir.nodes[index].log);
        good = false;
      }
      continue;
    }
    uint64_t now = now_ms();
    int number = now < deadline ? wait_signal(dev, deadline - now) : 0;
    if (number == SIGCHLD) {
      continue;
    }
    if (now < deadline && number == 0) {
      continue; /* the time is up: seen in the next round */
    }
    tell_stragglers(dev, number == 0 ? "did not stop within 10 s" : "was still stopping");
    signal_all(dev, SIGKILL);
    good = false;
    deadline = UINT64_MAX; /* SIGKILL needs no second one */
  }
  return good;
}

/* Nodes that were started by hand meanwhile are not ours to stop. */
static void tell_adopted(const struct dev *dev) {
  for (uint32_t i = 0; i < dev->devdir.count; i++) {
    pid_t owner = pidfile_owner(dev->devdir.nodes[i].directory);
    if (owner > 0) {
      printf("node-%" PRIu32 " was started by hand (process %d) and goes on\n", i + 1, (int)owner);
    }
  }
}

/* -- starting ------------------------------------------------------------------------------- */

enum readiness { NODE_NOT_YET, NODE_READY, NODE_OUTSIDE };

/* Is this node a member of a whole cluster, by its own word; or one that waits to be added, or has been removed? Else
 * `why`. */
static enum readiness node_readiness(const struct dev *dev, const struct dev_node *node, char *why) {
  const struct bytes question[] = {BYTES_LITERAL("DYNAMO.CLUSTER"), BYTES_LITERAL("STATUS")};
  struct remote_target target = {"127.0.0.1", (uint16_t)node->options.port, node->options.requirepass, 500, 2000};
  struct remote *remote = remote_open(&target, why);
  struct remote_answer *answer = remote != NULL ? remote_call(remote, question, 2, why) : NULL;
  remote_close(remote);
  if (answer == NULL) {
    return false;
  }
  json_t *document = answer->kind == REMOTE_TEXT ? json_loadb(answer->text, answer->size, 0, NULL) : NULL;
  const json_t *self = field_object(document, "node");
  const json_t *members = field_object(document, "members");
  uint32_t up = 0;
  size_t index;
  const json_t *member;
  json_array_foreach(members, index, member) {
    up += field_true(member, "up");
  }
  const char *refusal = field_text(self, "join_refusal");
  bool ready = field_true(self, "member") && up == json_array_size(members) &&
               (!dev->devdir.is_new || (up == dev->devdir.count && field_object(document, "change") == NULL));
  bool outside = !dev->devdir.is_new && !field_true(self, "member") &&
                 (field_true(self, "removed") || strstr(refusal, WAITING) != NULL);
  if (document == NULL) {
    snprintf(why, REMOTE_WHY, "%s", answer->kind == REMOTE_ERROR ? answer->text : "it gives no status");
  } else if (refusal[0] != '\0') {
    snprintf(why, REMOTE_WHY, "%s", refusal);
  } else if (field_true(self, "removed")) {
    snprintf(why, REMOTE_WHY, "it was removed from the cluster");
  } else {
    snprintf(why, REMOTE_WHY, "it sees %" PRIu32 " of %" PRIu32 " nodes up", up, dev->devdir.count);
  }
  json_decref(document);
  remote_answer_free(answer);
  return ready ? NODE_READY : outside ? NODE_OUTSIDE : NODE_NOT_YET;
}

enum start { START_READY, START_FAILED, START_INTERRUPTED };

/* A child that ends before the cluster is up makes the start fail. */
static bool tell_early_end(struct dev *dev) {
  char text[128];
  int status;
  int index = reap(dev, &status);
  if (index < 0) {
    return false;
  }
  describe_end(text, sizeof text, status);
  terminal_fail("node-%d %s before the cluster was up; %s ends:", index + 1, text, dev->devdir.nodes[index].log);
  print_tail(stderr, dev->devdir.nodes[index].log);
  return true;
}

/* One node can keep one copy: the defaults would refuse every write. A property that was set before is left alone. */
static bool set_single(const struct dev_node *node, char *why) {
  const struct bytes command[] = {BYTES_LITERAL("DYNAMO.BUCKET"),
                                  BYTES_LITERAL("default"),
                                  BYTES_LITERAL("SET"),
                                  BYTES_LITERAL("n"),
                                  BYTES_LITERAL("1"),
                                  BYTES_LITERAL("r"),
                                  BYTES_LITERAL("1"),
                                  BYTES_LITERAL("w"),
                                  BYTES_LITERAL("1")};
  struct remote_target target = {"127.0.0.1", (uint16_t)node->options.port, node->options.requirepass, 500, 2000};
  struct remote *remote = remote_open(&target, why);
  struct remote_answer *answer =
      remote != NULL ? remote_call(remote, command, sizeof command / sizeof command[0], why) : NULL;
  bool done = answer != NULL && answer->kind != REMOTE_ERROR;
  if (answer != NULL && !done) {
    snprintf(why, REMOTE_WHY, "%s", answer->text);
  }
  remote_answer_free(answer);
  remote_close(remote);
  return done;
}

static enum start wait_ready(struct dev *dev) {
  char why[REMOTE_WHY] = "";
  uint32_t next = 0; /* nodes below it are ready */
  uint64_t deadline = now_ms() + START_LIMIT_MS;
  while (next < dev->devdir.count) {
    if (tell_early_end(dev)) {
      return START_FAILED;
    }
    enum readiness readiness = node_readiness(dev, &dev->devdir.nodes[next], why);
    if (readiness != NODE_NOT_YET) {
      if (readiness == NODE_OUTSIDE) {
        printf("node-%" PRIu32 " runs, but is no member: %s\n", next + 1, why);
      }
      next += 1;
      continue;
    }
    if (now_ms() >= deadline) {
      terminal_fail("node-%" PRIu32 " is not ready after %u s: %s; %s ends:", next + 1, START_LIMIT_MS / 1000, why,
                    dev->devdir.nodes[next].log);
      print_tail(stderr, dev->devdir.nodes[next].log);
      return START_FAILED;
    }
    int number = wait_signal(dev, POLL_MS);
    if (number != 0 && number != SIGCHLD) {
      return START_INTERRUPTED;
    }
  }
  if (dev->devdir.count == 1 && dev->devdir.is_new && !set_single(&dev->devdir.nodes[0], why)) {
    terminal_fail("node-1 can not be set to one copy (n, r and w of bucket default): %s", why);
    return START_FAILED;
  }
  return START_READY;
}

static void print_command(const char *command, const char *purpose) {
  printf("  %-52s %s%s%s\n", command, terminal_on(STYLE_DIM), purpose, terminal_off());
}

static void print_nodes(const struct dev *dev) {
  struct grid grid;
  grid_init(&grid, 4, 4);
  static const char *const headings[] = {"node", "address", "process", "log"};
  for (size_t i = 0; i < sizeof headings / sizeof headings[0]; i++) {
    grid_add(&grid, STYLE_DIM, "%s", headings[i]);
  }
  for (uint32_t i = 0; i < dev->devdir.count; i++) {
    const struct dev_node *node = &dev->devdir.nodes[i];
    grid_add(&grid, STYLE_BOLD, "%s", node->options.name);
    grid_add(&grid, STYLE_PLAIN, "127.0.0.1:%" PRIu64, node->options.port);
    grid_add(&grid, STYLE_PLAIN, "%d", (int)dev->processes[i]);
    grid_add(&grid, STYLE_PLAIN, "%s", node->log);
  }
  grid_print(&grid, "  ");
  grid_deinit(&grid);
}

static void print_screen(const struct dev *dev) {
  const struct devdir *devdir = &dev->devdir;
  const struct dev_node *last = &devdir->nodes[devdir->count - 1];
  bool memory = strcmp(last->options.engine, "memory") == 0;
  uint64_t first_port = devdir->nodes[0].options.port;
  char line[2 * PATH_MAX];
  char port[16] = "";
  if (first_port != DEV_PORT_DEFAULT) {
    snprintf(port, sizeof port, " -p %" PRIu64, first_port);
  }
  printf("\n%s%" PRIu32 " node%s up%s, data %s%s%s\n\n", terminal_on(STYLE_BOLD), devdir->count,
         devdir->count == 1 ? " is" : "s are", terminal_off(),
         memory           ? "in memory"
         : devdir->is_new ? "in "
                          : "found again in ",
         memory ? "" : devdir->directory, memory ? ": gone when a node stops" : "");
  print_nodes(dev);
  puts("\nIn another terminal, with any Redis client:\n");
  snprintf(line, sizeof line, "redis-cli -p %" PRIu64 " SET cart:42 milk", first_port);
  print_command(line, "any node takes any key");
  snprintf(line, sizeof line, "redis-cli -p %" PRIu64 " GET cart:42", last->options.port);
  print_command(line, "");
  snprintf(line, sizeof line, "redis-cli -p %" PRIu64 " DYNAMO.PUT cart:42 bread", first_port);
  print_command(line, "a writer who had seen nothing: a sibling");
  snprintf(line, sizeof line, "%s get cart:42%s", program(), port);
  print_command(line, "both, and the context that merges them");
  snprintf(line, sizeof line, "%s explain cart:42%s", program(), port);
  print_command(line, "where it lies, and what each node holds");
  snprintf(line, sizeof line, "%s status --watch%s", program(), port);
  print_command(line, "who is up, and what waits for whom");
  if (devdir->count > 1 && !memory) {
    puts("\nTake a node away, write on, and bring it back:\n");
    snprintf(line, sizeof line, "kill -9 $(cat %s/pid)", last->directory);
    print_command(line, "");
    snprintf(line, sizeof line, "%s server --config %s", program(), last->config);
    print_command(line, "");
  }
  if (!memory) {
    puts("\nAdd a node, while all goes on:\n");
    bool elsewhere = strcmp(devdir->directory, "gramme-dev") != 0;
    snprintf(line, sizeof line, "%s dev --add%s%s", program(), elsewhere ? " --dir " : "",
             elsewhere ? devdir->directory : "");
    print_command(line, "it says what to type next");
  }
  printf("\n%s help siblings, %s help quorum, %s help growing say more. Ctrl-C stops the nodes%s.\n", program(),
         program(), program(), memory ? "" : "; the next start finds the data again");
  fflush(stdout);
}

/* -- while it runs ----------------------------------------------------------------------------- */

static void tell_end(const struct dev *dev, int index, int status) {
  char text[128];
  const struct dev_node *node = &dev->devdir.nodes[index];
  describe_end(text, sizeof text, status);
  printf("\n%snode-%d %s%s; the others go on. Start it again with:\n\n  %s server --config %s\n",
         terminal_on(STYLE_RED), index + 1, text, terminal_off(), program(), node->config);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
    printf("\n%s ends:\n", node->log);
    print_tail(stdout, node->log);
  }
  fflush(stdout);
}

/* Until a signal says stop. False when all nodes have ended by themselves. */
static bool watch(struct dev *dev) {
  int status;
  for (;;) {
    int index = reap(dev, &status);
    if (index >= 0) {
      tell_end(dev, index, status);
      continue;
    }
    if (running(dev) == 0) {
      return false;
    }
    int number = wait_signal(dev, 3600000);
    if (number != 0 && number != SIGCHLD) {
      return true;
    }
  }
}

static int run(struct dev *dev) {
  sigemptyset(&dev->signals);
  sigaddset(&dev->signals, SIGINT);
  sigaddset(&dev->signals, SIGTERM);
  sigaddset(&dev->signals, SIGHUP);
  sigaddset(&dev->signals, SIGCHLD);
  sigprocmask(SIG_BLOCK, &dev->signals, &dev->signals_before);
  printf("starting %" PRIu32 " node%s in %s ...\n", dev->devdir.count, dev->devdir.count == 1 ? "" : "s",
         dev->devdir.directory);
  enum start start = start_nodes(dev) ? wait_ready(dev) : START_FAILED;
  bool good = start != START_FAILED;
  if (start == START_READY) {
    print_screen(dev);
    good = watch(dev);
    if (!good) {
      terminal_fail("all nodes have ended; start again with: %s dev --dir %s", program(), dev->devdir.directory);
    }
  }
  printf("%sstopping ...\n", terminal_is_one() ? "\n" : "");
  fflush(stdout);
  good = stop_nodes(dev) && good;
  tell_adopted(dev);
  puts(good ? "stopped" : "stopped, but not all went well");
  return good ? EXIT_DONE : EXIT_FAILED;
}

/* One node more, in the foreground, as `gramme server` would run it. */
static int add_node(struct dev *dev, const struct dev_wish *wish) {
  char why[DEVDIR_WHY];
  struct devdir *devdir = &dev->devdir;
  if (!devdir_open(devdir, wish, why) || !devdir_add(devdir, why)) {
    return terminal_fail("%s", why);
  }
  const struct dev_node *node = &devdir->nodes[devdir->count - 1];
  uint64_t first_port = devdir->nodes[0].options.port;
  char port[16] = "";
  char line[2 * PATH_MAX];
  if (first_port != DEV_PORT_DEFAULT) {
    snprintf(port, sizeof port, " -p %" PRIu64, first_port);
  }
  printf("%s runs here, on 127.0.0.1:%" PRIu64 ", and waits to be added. In another terminal:\n\n", node->options.name,
         node->options.port);
  snprintf(line, sizeof line, "%s plan add 127.0.0.1:%" PRIu64 "%s", program(), node->options.port, port);
  print_command(line, "what would move");
  snprintf(line, sizeof line, "%s commit%s", program(), port);
  print_command(line, "do it");
  snprintf(line, sizeof line, "%s status --watch%s", program(), port);
  print_command(line, "how far it is");
  printf("\nCtrl-C stops it. Start it again with: %s server --config %s\n\n", program(), node->config);
  fflush(stdout);
  char name[] = "gramme server";
  char flag[] = "--config";
  char config[PATH_MAX];
  snprintf(config, sizeof config, "%s", node->config);
  char *arguments[] = {name, flag, config, NULL};
  return cmd_server(3, arguments);
}

int cmd_dev(int argc, char **argv) {
  struct dev_wish wish = {.directory = "gramme-dev"};
  char why[DEVDIR_WHY];
  cmd_parse(&argp, argc, argv, &wish);
  struct dev *dev = calloc(1, sizeof *dev);
  if (dev == NULL) {
    return terminal_fail("out of memory");
  }
  int code = EXIT_FAILED;
  if (wish.add) {
    code = add_node(dev, &wish);
  } else if (!devdir_open(&dev->devdir, &wish, why) || !devdir_check_free(&dev->devdir, why)) {
    terminal_fail("%s", why);
  } else {
    code = run(dev);
  }
  devdir_close(&dev->devdir);
  free(dev);
  return code;
}
