#include "network.h"

#include <string.h>

#include "base/assert.h"
#include "world.h"

#define MILLISECOND UINT64_C(1000000)

void network_send(struct world *world, uint32_t from, uint32_t to, struct bytes frame) {
  struct network *network = &world->network;
  network->frames += 1;
  network->bytes += frame.size;
  bool dropped = prng_chance(&world->prng, network->drop_per_mille);
  if (network->cut[from][to] || dropped) {
    return;
  }
  uint32_t copies = prng_chance(&world->prng, network->duplicate_per_mille) ? 2 : 1;
  for (uint32_t i = 0; i < copies; i++) {
    bool slow = prng_chance(&world->prng, network->slow_per_mille);
    uint64_t delay_ns = world_draw(world, network->delay_min_ns, slow ? network->slow_max_ns : network->delay_max_ns);
    uint64_t at_ns = world->now_ns + delay_ns;
    if (at_ns < network->clogged_ns[from][to]) {
      at_ns = network->clogged_ns[from][to] + i;
    }
    struct entry entry = {
        .kind = HAPPENS_MESSAGE, .node = to, .from = from, .life = world->nodes[to].life, .size = frame.size};
    entry.bytes = world_copy(frame);
    queue_push(&world->queue, at_ns, &entry);
  }
}

/* `certain`: the connection itself breaks or is made, whoever lives. What one end sees of the other is in order. */
static void link_event(struct world *world, uint32_t at, uint32_t peer, bool up, bool certain, uint64_t delay_ns) {
  struct entry entry = {.kind = HAPPENS_LINK,
                        .node = at,
                        .from = peer,
                        .life = world->nodes[at].life,
                        .up = up,
                        .argument = certain ? 1 : 0};
  uint64_t *last_ns = &world->network.link_ns[at][peer];
  *last_ns = world->now_ns + delay_ns > *last_ns ? world->now_ns + delay_ns : *last_ns + 1;
  queue_push(&world->queue, *last_ns, &entry);
}

static void break_link(struct world *world, uint32_t a, uint32_t b) {
  struct network *network = &world->network;
  uint64_t here = world_draw(world, MILLISECOND, 200 * MILLISECOND);
  uint64_t there = world_draw(world, MILLISECOND, 200 * MILLISECOND);
  network->broken[a][b] = network->broken[b][a] = true;
  if (world->nodes[a].alive && world->nodes[b].alive) {
    link_event(world, a, b, false, true, here);
    link_event(world, b, a, false, true, there);
  }
}

/* After both ends have seen it break. */
static void mend_link(struct world *world, uint32_t a, uint32_t b) {
  struct network *network = &world->network;
  uint64_t here = world_draw(world, 201 * MILLISECOND, 500 * MILLISECOND);
  uint64_t there = world_draw(world, 201 * MILLISECOND, 500 * MILLISECOND);
  network->broken[a][b] = network->broken[b][a] = false;
  if (world->nodes[a].alive && world->nodes[b].alive) {
    link_event(world, a, b, true, false, here);
    link_event(world, b, a, true, false, there);
  }
}

void network_cut(struct world *world, uint32_t from, uint32_t to) {
  world->network.cut[from][to] = true;
}

void network_cut_both(struct world *world, uint32_t a, uint32_t b) {
  network_cut(world, a, b);
  network_cut(world, b, a);
  if (world->network.cuts_break && !world->network.broken[a][b]) {
    break_link(world, a, b);
  }
}

void network_heal(struct world *world) {
  struct network *network = &world->network;
  memset(network->cut, 0, sizeof network->cut);
  memset(network->clogged_ns, 0, sizeof network->clogged_ns);
  for (uint32_t a = 0; a < world->node_count; a++) {
    for (uint32_t b = a + 1; b < world->node_count; b++) {
      if (network->broken[a][b]) {
        mend_link(world, a, b);
      }
    }
  }
}

void network_clog(struct world *world, uint32_t from, uint32_t to, uint64_t until_ns) {
  world->network.clogged_ns[from][to] = until_ns;
}

void network_reset(struct world *world, uint32_t a, uint32_t b) {
  if (!world->network.broken[a][b]) {
    break_link(world, a, b);
    mend_link(world, a, b);
  }
}

void network_node_up(struct world *world, uint32_t node) {
  for (uint32_t i = 0; i < world->node_count; i++) {
    if (i != node && world->nodes[i].alive && !world->network.broken[i][node]) {
      uint64_t here = world_draw(world, MILLISECOND, 50 * MILLISECOND);
      uint64_t there = world_draw(world, MILLISECOND, 50 * MILLISECOND);
      link_event(world, node, i, true, false, here);
      link_event(world, i, node, true, false, there);
    }
  }
}

void network_node_down(struct world *world, uint32_t node) {
  for (uint32_t i = 0; i < world->node_count; i++) {
    if (i != node && world->nodes[i].alive) {
      link_event(world, i, node, false, false, world_draw(world, MILLISECOND, 20 * MILLISECOND));
    }
  }
}
