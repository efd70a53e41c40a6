#include "cmd/devdir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "cmd/pidfile.h"

#define PEER_PORT_STEP 10000u
#define SECRET_BYTES 32u
#define NAME_BYTES 3u

__attribute__((format(printf, 2, 3))) static bool refuse(char *why, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, DEVDIR_WHY, format, arguments);
  va_end(arguments);
  return false;
}

/* False when the directory's name is too long for a path. */
static bool name_paths(struct dev_node *node, const char *directory, uint32_t number) {
  int size = snprintf(node->directory, sizeof node->directory, "%s/node-%" PRIu32, directory, number);
  return size < PATH_MAX - 32 &&
         snprintf(node->config, sizeof node->config, "%s/node-%" PRIu32 "/gramme.conf", directory, number) < PATH_MAX &&
         snprintf(node->log, sizeof node->log, "%s/node-%" PRIu32 "/log", directory, number) < PATH_MAX;
}

/* -- making it ------------------------------------------------------------------- */

static bool random_hex(char *text, size_t bytes) {
  uint8_t random[SECRET_BYTES];
  ASSERT(bytes <= sizeof random);
  if (getrandom(random, bytes, 0) != (ssize_t)bytes) {
    return false;
  }
  for (size_t i = 0; i < bytes; i++) {
    snprintf(text + 2 * i, 3, "%02x", random[i]);
  }
  return true;
}

struct making {
  uint32_t count;
  uint32_t port;
  bool memory;
  char cluster_name[NAME_MAX_BYTES + 1];
  char secret[OPTION_TEXT_MAX];
};

static void write_config(FILE *file, const struct making *making, uint32_t index, const char *directory) {
  fprintf(file,
          "# Node %" PRIu32 " of %" PRIu32 " of a cluster made by `gramme dev`; change what you like.\n"
          "# Every option: gramme server --print-config\n\n"
          "[node]\nname = node-%" PRIu32 "\ndir = %s\nengine = %s\nlisten = 127.0.0.1\nport = %" PRIu32
          "\npeer-port = %" PRIu32 "\n\n[cluster]\ncluster-name = %s\nsecret = %s\n",
          index + 1, making->count, index + 1, directory, making->memory ? "memory" : "rocksdb", making->port + index,
          making->port + index + PEER_PORT_STEP, making->cluster_name, making->secret);
  if (index == 0) {
    fputs("# no seeds: this node founds the cluster\n", file);
    return;
  }
  fputs("seeds = ", file);
  for (uint32_t i = 0; i < making->count; i++) {
    if (i != index) {
      bool first = i == 0; /* the founder, which has no seeds itself, comes first */
      fprintf(file, "%s127.0.0.1:%" PRIu32, first ? "" : ",", making->port + i + PEER_PORT_STEP);
    }
  }
  fputc('\n', file);
}

/* Written beside and renamed, so that a file is there whole or not at all. */
static bool make_node(const struct dev_node *node, const struct making *making, uint32_t index, char *why) {
  char beside[PATH_MAX + 8];
  char real[PATH_MAX];
  if (!pidfile_make_directory(node->directory) || realpath(node->directory, real) == NULL) {
    return refuse(why, "%.300s: %s", node->directory, strerror(errno));
  }
  snprintf(beside, sizeof beside, "%s.new", node->config);
  int handle = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); /* it holds the secret */
  FILE *file = handle >= 0 ? fdopen(handle, "w") : NULL;
  if (file == NULL) {
    return refuse(why, "%.300s: %s", beside, strerror(errno));
  }
  write_config(file, making, index, real);
  bool written = ferror(file) == 0 && fflush(file) == 0 && fsync(handle) == 0;
  written = fclose(file) == 0 && written;
  if (!written || rename(beside, node->config) != 0) {
    return refuse(why, "%.300s: %s", beside, strerror(errno));
  }
  return true;
}

static bool make_all(struct devdir *dev, const struct dev_wish *wish, char *why) {
  struct making making = {
      .count = wish->nodes != 0 ? wish->nodes : DEV_NODES_DEFAULT,
      .port = wish->port != 0 ? wish->port : DEV_PORT_DEFAULT,
      .memory = wish->memory,
  };
  uint32_t last = making.port + making.count - 1 + PEER_PORT_STEP;
  if (last > UINT16_MAX) {
    return refuse(why,
                  "node %" PRIu32 " would listen to its peers on port %" PRIu32
                  " (its port + 10000), beyond 65535: choose a "
                  "--port of at most %" PRIu32,
                  making.count, last, UINT16_MAX - PEER_PORT_STEP - making.count + 1);
  }
  char name[2 * NAME_BYTES + 1];
  if (!random_hex(name, NAME_BYTES) || !random_hex(making.secret, SECRET_BYTES)) {
    return refuse(why, "no random numbers from the system: %s", strerror(errno));
  }
  snprintf(making.cluster_name, sizeof making.cluster_name, "dev-%s", name);
  for (uint32_t i = making.count; i-- > 0;) {
    if (!name_paths(&dev->nodes[i], dev->directory, i + 1)) {
      return refuse(why, "the name of the directory is too long");
    }
    if (!make_node(&dev->nodes[i], &making, i, why)) {
      return false;
    }
  }
  dev->is_new = true;
  return true;
}

/* -- finding it -------------------------------------------------------------------- */

static uint32_t count_nodes(const char *directory) {
  static struct dev_node node; /* large, and only its paths are wanted */
  for (uint32_t i = 0; i < DEV_NODES_MAX; i++) {
    if (!name_paths(&node, directory, i + 1) || access(node.config, F_OK) != 0) {
      return i;
    }
  }
  return DEV_NODES_MAX;
}

static bool load_node(struct devdir *dev, uint32_t index, char *why) {
  struct dev_node *node = &dev->nodes[index];
  char reason[OPTIONS_WHY];
  char real[PATH_MAX];
  if (!name_paths(node, dev->directory, index + 1)) {
    return refuse(why, "the name of the directory is too long");
  }
  options_init(&node->options);
  dev->count = index + 1;
  if (!options_load(&node->options, node->config, reason)) {
    return refuse(why, "%s", reason);
  }
  if (!options_check(&node->options, reason)) {
    return refuse(why, "%.300s: %s", node->config, reason);
  }
  if (realpath(node->directory, real) == NULL || strcmp(real, node->options.dir) != 0) {
    return refuse(why, "%.300s: 'dir' is %.200s, not %.200s: was the directory moved? mend that line", node->config,
                  node->options.dir, real);
  }
  return true;
}

static bool check_wish(const struct devdir *dev, const struct dev_wish *wish, char *why) {
  const struct options *first = &dev->nodes[0].options;
  if (wish->nodes != 0 && wish->nodes != dev->count) {
    return refuse(why,
                  "%.200s holds %" PRIu32 " nodes, not %" PRIu32 ": start it with --nodes %" PRIu32
                  ", or give another --dir (or remove %.200s, with all its data)",
                  dev->directory, dev->count, wish->nodes, dev->count, dev->directory);
  }
  if (wish->port != 0 && wish->port != first->port) {
    return refuse(why,
                  "the nodes in %.200s know each other by ports from %" PRIu64 " on, not %" PRIu32
                  ": start it without --port, or give another --dir",
                  dev->directory, first->port, wish->port);
  }
  if (wish->memory && strcmp(first->engine, "memory") != 0) {
    return refuse(why, "the nodes in %.200s keep their data on disk: start it without --memory, or give another --dir",
                  dev->directory);
  }
  return true;
}

bool devdir_open(struct devdir *dev, const struct dev_wish *wish, char *why) {
  ASSERT(wish->nodes <= DEV_NODES_MAX);
  dev->directory = wish->directory;
  dev->count = 0;
  uint32_t found = count_nodes(dev->directory);
  if (found == 0 && wish->add) {
    return refuse(why, "there is no cluster in %.200s to add a node to: make one with gramme dev", dev->directory);
  }
  if (found == 0 && !make_all(dev, wish, why)) {
    return false;
  }
  uint32_t count = count_nodes(dev->directory);
  for (uint32_t i = 0; i < count; i++) {
    if (!load_node(dev, i, why)) {
      return false;
    }
  }
  return check_wish(dev, wish, why);
}

void devdir_close(struct devdir *dev) {
  for (uint32_t i = 0; i < dev->count; i++) {
    options_deinit(&dev->nodes[i].options);
  }
  dev->count = 0;
}

/* -- may it start? ------------------------------------------------------------------- */

/* As a server would bind it. */
static bool port_is_free(uint16_t port) {
  int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s < 0) {
    return true; /* let the node itself say what is wrong */
  }
  int on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool free_now = bind(s, (struct sockaddr *)&address, sizeof address) == 0 || errno != EADDRINUSE;
  close(s);
  return free_now;
}

uint16_t dev_node_peer_port(const struct dev_node *node) {
  const struct options *options = &node->options;
  return (uint16_t)(options->peer_port != 0 ? options->peer_port : options->port + PEER_PORT_STEP);
}

static bool check_owner(const struct dev_node *node, char *why) {
  pid_t owner = pidfile_owner(node->directory);
  return owner == 0 ||
         refuse(why, "%.300s is running already (process %d): stop it first, or give another --dir and --port",
                node->directory, (int)owner);
}

static bool check_ports(const struct dev_node *node, uint32_t index, char *why) {
  uint16_t ports[] = {(uint16_t)node->options.port, dev_node_peer_port(node)};
  for (size_t p = 0; p < 2; p++) {
    if (!port_is_free(ports[p])) {
      return refuse(why,
                    "port %u, for node-%" PRIu32
                    "%s, is in use by another program: stop that, or give another --dir and --port",
                    ports[p], index + 1, p == 1 ? "'s peers" : "");
    }
  }
  return true;
}

bool devdir_check_free(const struct devdir *dev, char *why) {
  for (uint32_t i = 0; i < dev->count; i++) {
    if (!check_owner(&dev->nodes[i], why)) {
      return false;
    }
  }
  for (uint32_t i = 0; i < dev->count; i++) {
    if (!check_ports(&dev->nodes[i], i, why)) {
      return false;
    }
  }
  return true;
}

/* -- one more --------------------------------------------------------------------------- */

bool devdir_add(struct devdir *dev, char *why) {
  ASSERT(dev->count > 0);
  const struct options *first = &dev->nodes[0].options;
  uint32_t index = dev->count;
  struct making making = {
      .count = index + 1, .port = (uint32_t)first->port, .memory = strcmp(first->engine, "memory") == 0};
  if (index == DEV_NODES_MAX) {
    return refuse(why, "%.200s holds %u nodes, as many as it may", dev->directory, DEV_NODES_MAX);
  }
  if (making.port + index + PEER_PORT_STEP > UINT16_MAX) {
    return refuse(why, "one node more would listen to its peers on port %" PRIu32 ", beyond 65535: there is no room",
                  making.port + index + PEER_PORT_STEP);
  }
  uint16_t ports[] = {(uint16_t)(making.port + index), (uint16_t)(making.port + index + PEER_PORT_STEP)};
  for (size_t p = 0; p < 2; p++) {
    if (!port_is_free(ports[p])) {
      return refuse(why, "port %u, for node-%" PRIu32 "%s, is in use by another program: stop that first", ports[p],
                    index + 1, p == 1 ? "'s peers" : "");
    }
  }
  snprintf(making.cluster_name, sizeof making.cluster_name, "%s", first->cluster_name);
  snprintf(making.secret, sizeof making.secret, "%s", first->secret);
  if (!name_paths(&dev->nodes[index], dev->directory, index + 1)) {
    return refuse(why, "the name of the directory is too long");
  }
  return make_node(&dev->nodes[index], &making, index, why) && load_node(dev, index, why);
}
