/* The directory of a `gramme dev` cluster:
 *
 *     DIR/node-K/gramme.conf   written once, with a random secret and cluster name; the user's to change from then on
 *     DIR/node-K/pid           of the node's process
 *     DIR/node-K/log           what it prints
 *     DIR/node-K/...           its data
 *
 * The files are written from the last node to the first, so that a directory without node-1's is one whose making
 * was cut short: no node has run yet, and it is made anew.
 */
#ifndef GRAMME_CMD_DEVDIR_H
#define GRAMME_CMD_DEVDIR_H

#include <limits.h>

#include "run/options.h"

#define DEV_NODES_MAX 32u
#define DEV_NODES_DEFAULT 3u
#define DEV_PORT_DEFAULT 7600u
#define DEVDIR_WHY 1024

struct dev_wish { /* what the command line asks for; 0 and false: nothing said */
  const char *directory;
  uint32_t nodes;
  uint32_t port;
  bool memory;
  bool add; /* one node more, beside those that run */
};

struct dev_node {
  char directory[PATH_MAX]; /* as the user would type it */
  char config[PATH_MAX];
  char log[PATH_MAX];
  struct options options; /* as read from the file */
};

struct devdir {
  const char *directory;
  bool is_new;
  uint32_t count;
  struct dev_node nodes[DEV_NODES_MAX];
};

/* Finds what is there, or makes it, and checks it against the wish. False and one line in `why` (DEVDIR_WHY bytes)
 * with the remedy otherwise. devdir_close either way. */
bool devdir_open(struct devdir *dev, const struct dev_wish *wish, char *why);
void devdir_close(struct devdir *dev);
/* Writes the configuration of one node more into a directory that devdir_open has opened: dev->nodes[dev->count - 1]
 * is it. Its ports have to be free; its seeds are the others. */
bool devdir_add(struct devdir *dev, char *why);
/* Is each node's directory served by nobody, and are its ports free? */
bool devdir_check_free(const struct devdir *dev, char *why);
uint16_t dev_node_peer_port(const struct dev_node *node);

#endif
