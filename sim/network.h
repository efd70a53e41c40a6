/* The network between the nodes of a world: it loses, delays, doubles and reorders frames, holds them up, and cuts
 * nodes off from each other, one way or both. What was sent to a process that has died reaches nobody: its
 * connections died too. */
#ifndef GRAMME_SIM_NETWORK_H
#define GRAMME_SIM_NETWORK_H

#include <stdbool.h>

#include "base/bytes.h"

#define NODES_MAX 100u

struct world;

struct network {
  uint32_t drop_per_mille;
  uint32_t duplicate_per_mille;
  uint64_t delay_min_ns, delay_max_ns;
  uint32_t slow_per_mille; /* of the messages take up to slow_max_ns */
  uint64_t slow_max_ns;
  bool cuts_break;                           /* a connection that is cut both ways is seen to break */
  bool cut[NODES_MAX][NODES_MAX];            /* frames from i to j are lost */
  bool broken[NODES_MAX][NODES_MAX];         /* the ends know that it is gone */
  uint64_t link_ns[NODES_MAX][NODES_MAX];    /* when the last happens that one end sees of the other */
  uint64_t clogged_ns[NODES_MAX][NODES_MAX]; /* frames from i to j arrive after this */
  uint64_t frames, bytes;                    /* sent */
};

/* Hands a frame to the network, which copies it. */
void network_send(struct world *world, uint32_t from, uint32_t to, struct bytes frame);
/* Frames from a to b are lost from now on. */
void network_cut(struct world *world, uint32_t from, uint32_t to);
void network_cut_both(struct world *world, uint32_t a, uint32_t b);
/* All connections are whole again. */
void network_heal(struct world *world);
void network_clog(struct world *world, uint32_t from, uint32_t to, uint64_t until_ns);
/* The connection of a and b breaks, is seen to, and is made again. */
void network_reset(struct world *world, uint32_t a, uint32_t b);
/* A node has come to life, or has died: connections are made, or seen to break. */
void network_node_up(struct world *world, uint32_t node);
void network_node_down(struct world *world, uint32_t node);

#endif
