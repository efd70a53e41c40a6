/* A TCP connection on the node's loop: what client connections (server.h) and connections between nodes (peers.h)
 * share.
 *
 * Reading goes into one big buffer per group of streams; only what its owner did not consume is kept with the stream.
 * Writing gathers in the stream; streams_flush, once at the end of each loop iteration, hands each stream's bytes
 * to the kernel in one write. What the kernel did not take then follows by itself, while new bytes gather behind it.
 *
 *     open --stream_finish--> finishing (flush, say no more, wait for the other side) --.
 *       `---------------------stream_close--------------------------------------------->+--> closing --loop--> closed()
 *
 * Why finishing waits: closing a socket that has unread bytes makes the kernel throw away what was just written, so
 * an error reply to garbage would never arrive.
 *
 * INVARIANTS: `closed` is called once, from the loop, and is the last thing that a stream does; no callback is called
 * from inside stream_write, stream_reserve, stream_finish or stream_close; `data` is never called while it runs.
 */
#ifndef GRAMME_OS_STREAM_H
#define GRAMME_OS_STREAM_H

#include <uv.h>

#include "os/buffer.h"
#include "os/list.h"

#define STREAM_READ_BYTES (128u << 10) /* read at one time */
#define STREAM_FINISH_MS 30000u        /* how long what is queued may take to be written after stream_finish */
#define STREAM_LINGER_MS 1000u         /* how long a finished stream waits for the other side to close */
#define STREAM_WATCH_MS 50u            /* deadlines of streams are kept to within this */

struct stream;

struct stream_handler {
  /* All unconsumed bytes; returns how many were consumed. The rest is shown again with what comes next, or by
   * stream_show. */
  size_t (*data)(struct stream *stream, struct bytes bytes);
  /* UV_EOF, an error of reading or writing, or UV_ENOMEM: it is not read any more, and the owner closes it. Or
   * UV_ETIMEDOUT (stream_watch): the owner closes it or lets it go on. */
  void (*ended)(struct stream *stream, int status);
  /* Queued bytes have gone, some or all. From streams_flush or the loop's poll. May be NULL. */
  void (*drained)(struct stream *stream);
  /* The last call: memory may be freed. */
  void (*closed)(struct stream *stream);
};

struct stream_write;

struct stream {
  uv_tcp_t tcp;
  const struct stream_handler *handler;
  struct streams *group;
  struct buffer in;             /* not yet consumed */
  struct buffer out;            /* gathering */
  struct stream_write *sending; /* what the kernel has not taken yet, or NULL */
  uint64_t handed_bytes;        /* to libuv, ever */
  size_t leaving_bytes;         /* of its buffers, what is freed only when the loop has closed it */
  uint64_t deadline_ms;         /* while watched */
  struct list dirty;            /* in group->dirty while it has bytes to write or to finish */
  struct list watched;
  uint32_t keep_bytes; /* an empty output buffer up to this stays */
  bool reading;
  bool ended; /* nothing more can be read */
  bool finishing;
  bool finished; /* finishing, and all is written */
  bool closing;
};

struct streams {
  uv_loop_t *loop;
  uint8_t *read_buffer;
  struct buffer_total memory; /* of all buffers */
  size_t leaving_bytes;       /* of memory, what streams that are closing still hold */
  struct list dirty;
  struct list watched;
  uv_timer_t timer; /* runs while anything is watched */
  uint64_t bytes_in, bytes_out, reads, writes;
};

/* NOMEM. The group must stay where it is. */
enum err streams_init(struct streams *group, uv_loop_t *loop) MUST_CHECK;
/* All its streams are closed; calls `freed` from the loop when the group may be freed. */
void streams_deinit(struct streams *group, uv_close_cb freed);

/* Makes the handle; the caller then accepts or connects on stream->tcp, and calls stream_read. Every initialised
 * stream must be closed. */
void stream_init(struct stream *stream, struct streams *group, const struct stream_handler *handler,
                 uint32_t keep_bytes);
void stream_read(struct stream *stream, bool on);
/* Shows the unconsumed bytes again. Not from inside `data`. */
void stream_show(struct stream *stream);

/* Room for `size` more bytes of output, or NULL when it is closing or memory is exhausted; then stream_commit. */
uint8_t *stream_reserve(struct stream *stream, size_t size) MUST_CHECK;
void stream_commit(struct stream *stream, size_t size);
bool stream_write(struct stream *stream, struct bytes bytes);
size_t stream_queued(const struct stream *stream); /* written and not yet taken by the kernel */
uint64_t stream_sent(const struct stream *stream); /* taken by the kernel, ever */
/* One write for each stream that has something to write. */
void streams_flush(struct streams *group);

/* `ended` with UV_ETIMEDOUT in `ms` from now, unless watched anew or unwatched. */
void stream_watch(struct stream *stream, uint64_t ms);
void stream_unwatch(struct stream *stream);

void stream_finish(struct stream *stream); /* closes when what is queued has been written */
void stream_close(struct stream *stream);  /* now; again is fine */

#endif
