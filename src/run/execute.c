/* Events in, effects out: the only place that steps the core. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "front/roster.h"
#include "os/log.h"
#include "run/node_parts.h"

/* -- time --------------------------------------------------------------------- */

static void node_update_clock(struct node *node) {
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  node->now_ns = uv_hrtime();
  node->wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000;
  node->clock_fresh = true;
}

uint64_t node_now_ns(struct node *node) {
  if (!node->clock_fresh) {
    node_update_clock(node);
  }
  return node->now_ns;
}

uint64_t node_wall_ms(struct node *node) {
  if (!node->clock_fresh) {
    node_update_clock(node);
  }
  return node->wall_ms;
}

/* -- replies -------------------------------------------------------------------- */

/* A reply as it waits for the front: this, the `explained` that are used, and its context. A whole struct reply would
 * be more than 1 KiB. */
struct queued_reply {
  uint32_t explained_count;
  uint32_t context_bytes;
  uint8_t fields[offsetof(struct reply, explained)];
};

static void reply_queue(struct node *node, const struct reply *reply) {
  struct queued_reply queued = {.explained_count = reply->explained_count,
                                .context_bytes = (uint32_t)reply->context.size};
  memcpy(queued.fields, reply, sizeof(queued.fields));
  struct bytes explained = {(const uint8_t *)reply->explained, reply->explained_count * sizeof(reply->explained[0])};
  uint8_t *room =
      buffer_reserve(&node->replies, &node->replies_memory, sizeof(queued) + explained.size + reply->context.size);
  ASSERT(room != NULL); /* a few KiB, bounded by the requests in hand; a system without them is beyond help */
  struct writer w = writer_make(room, sizeof(queued) + explained.size + reply->context.size);
  write_raw(&w, (struct bytes){(const uint8_t *)&queued, sizeof(queued)});
  write_raw(&w, explained);
  write_raw(&w, reply->context);
  ASSERT(!w.failed);
  buffer_extend(&node->replies, w.size);
  (void)blob_get(reply->object);
  for (uint32_t i = 0; i < reply->explained_count; i += 1) {
    (void)blob_get(reply->explained[i].clock);
    (void)blob_get(reply->explained[i].hints);
  }
}

/* The first of the queue, to node->reply and node->reply_context. */
static void reply_take(struct node *node) {
  struct reader r = reader_make(buffer_bytes(&node->replies));
  struct queued_reply queued;
  struct reply *reply = node->reply;
  memcpy(&queued, read_raw(&r, sizeof(queued)).data, sizeof(queued));
  memcpy(reply, queued.fields, sizeof(queued.fields));
  struct bytes explained = read_raw(&r, queued.explained_count * sizeof(reply->explained[0]));
  struct bytes context = read_raw(&r, queued.context_bytes);
  ASSERT(!r.failed);
  ASSERT(context.size <= sizeof(node->reply_context));
  if (explained.size > 0) {
    memcpy(reply->explained, explained.data, explained.size);
  }
  if (context.size > 0) {
    memcpy(node->reply_context, context.data, context.size);
  }
  reply->explained_count = queued.explained_count;
  reply->context = (struct bytes){node->reply_context, context.size};
  buffer_consume(&node->replies, &node->replies_memory, r.offset, 1u << 20);
}

static void reply_release(struct reply *reply) {
  blob_put(reply->object);
  for (uint32_t i = 0; i < reply->explained_count; i += 1) {
    blob_put(reply->explained[i].clock);
    blob_put(reply->explained[i].hints);
  }
}

uint32_t node_deliver(struct node *node) {
  uint64_t until = node->submitted; /* what is submitted meanwhile is answered in the next round */
  uint32_t count = 0;
  while (buffer_size(&node->replies) > 0 && node->replied < until && node->delivered_bytes < NODE_DELIVER_BYTES) {
    reply_take(node);
    node->replied += 1;
    node->delivered_bytes += node->reply->object == NULL ? 0 : node->reply->object->size;
    count += 1;
    front_reply(node->front, node->reply);
    reply_release(node->reply);
  }
  return count;
}

void node_drop_replies(struct node *node) {
  while (buffer_size(&node->replies) > 0) {
    reply_take(node);
    reply_release(node->reply);
  }
  buffer_free(&node->replies, &node->replies_memory);
}

/* -- stepping -------------------------------------------------------------------- */

static void effect_execute(struct node *node, const struct effect *effect) {
  switch (effect->kind) {
  case EFFECT_SEND:
    ASSERT(effect->send.to != node->directory.node);
    peers_send(node->peers, effect->send.to, &effect->send.message);
    break;
  case EFFECT_REPLY:
    reply_queue(node, effect->reply);
    break;
  case EFFECT_READ:
    disk_read(node->disk, effect->read.token, effect->read.space, effect->read.key);
    break;
  case EFFECT_COMMIT:
    disk_commit(node->disk, effect->commit.token, effect->commit.space, effect->commit.key, effect->commit.value,
                effect->commit.sync);
    break;
  case EFFECT_SCAN:
    disk_scan(node->disk, effect->scan.token, effect->scan.space, effect->scan.from, effect->scan.prefix,
              effect->scan.max_count, effect->scan.max_bytes, effect->scan.keys_only);
    break;
  }
}

void node_event(struct node *node, struct event *event) {
  ASSERT(!node->stepping);
  if (node->phase == NODE_DRAINING || node->phase == NODE_CLOSING) {
    return; /* nobody is there any more to hear of it */
  }
  event->now_ns = node_now_ns(node);
  event->wall_ms = node_wall_ms(node);
  node->stepping = true;
  shard_step(node->shard, event, node->effects);
  for (uint32_t i = 0; i < node->effects->count; i += 1) {
    effect_execute(node, &node->effects->list[i]);
  }
  node->stepping = false;
}

/* -- what the disk and the peers call ------------------------------------------------ */

static void on_read_done(void *context, uint64_t token, enum err err, struct blob *value) {
  struct event event = {.kind = EVENT_READ_DONE};
  event.read.token = token;
  event.read.err = err;
  event.read.value = value;
  node_event(context, &event);
}

/* Whether the device holds what it was given is not known any more: nothing that follows may be acknowledged, and
 * nobody should wait for a device that may hang. So the process ends here, as in a crash; the start that follows
 * finds out. */
static _Noreturn void node_storage_failed(struct node *node) {
  char why[DISK_WHY] = "";
  disk_failure(node->disk, why);
  fprintf(stderr, "gramme: %s: storage failed (%s); stopping: check the device of %s, then start the node again\n",
          node->name, why[0] != '\0' ? why : "no reason given", node->options->dir);
  fflush(stderr);
  _exit(1);
}

static void on_commit_done(void *context, uint64_t token, enum err err) {
  struct event event = {.kind = EVENT_COMMIT_DONE};
  if (err == ERR_IO) {
    node_storage_failed(context);
  }
  event.commit.token = token;
  event.commit.err = err;
  node_event(context, &event);
}

static void on_scan_done(void *context, uint64_t token, enum err err, const struct scan_entry *entries, uint32_t count,
                         bool end) {
  struct event event = {.kind = EVENT_SCAN_DONE};
  event.scan.token = token;
  event.scan.err = err == ERR_CORRUPT ? ERR_OK : err;
  event.scan.gap = err == ERR_CORRUPT;
  event.scan.entries = entries;
  event.scan.count = count;
  event.scan.end = end;
  node_event(context, &event);
}

const struct disk_callbacks node_disk_callbacks = {
    .read_done = on_read_done,
    .commit_done = on_commit_done,
    .scan_done = on_scan_done,
};

static const char *node_peer_name(const struct node *node, uint32_t id) {
  const struct history *history = shard_history(node->shard);
  struct identity identity;
  if (roster_has_left(history, id)) {
    return "removed";
  }
  return roster_find(history, id, &identity) ? identity.name : "not a member";
}

static void on_peer_message(void *context, uint32_t from, const struct message *message) {
  struct event event = {.kind = EVENT_MESSAGE};
  event.message.from = from;
  event.message.message = message;
  node_event(context, &event);
}

static void on_peer_up(void *context, uint32_t peer) {
  struct node *node = context;
  struct event event = {.kind = EVENT_PEER_UP};
  event.peer = peer;
  log_line(LOG_LEVEL_INFO, "connected to node %08" PRIx32 " (%s)", peer, node_peer_name(node, peer));
  node_event(node, &event);
}

static void on_peer_down(void *context, uint32_t peer) {
  struct node *node = context;
  struct event event = {.kind = EVENT_PEER_DOWN};
  event.peer = peer;
  log_line(LOG_LEVEL_INFO, "no connection to node %08" PRIx32 " (%s)", peer, node_peer_name(node, peer));
  node_event(node, &event);
}

const struct peers_handler node_peers_handler = {
    .message = on_peer_message,
    .up = on_peer_up,
    .down = on_peer_down,
};
