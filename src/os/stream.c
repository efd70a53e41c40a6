#include "os/stream.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/assert.h"

/* Below this much unconsumed input, new bytes are read into the shared buffer and copied behind it, so that a client
 * that sends slowly costs what it sent; above, a big value is on its way and is read where it belongs. */
#define STREAM_DIRECT_BYTES (64u << 10)

struct stream_write {
  uv_write_t request;
  struct stream *stream;
  struct buffer buffer;
};

static uv_stream_t *stream_handle(struct stream *stream) {
  return (uv_stream_t *)&stream->tcp;
}

static void stream_end(struct stream *stream, int status) {
  stream_read(stream, false);
  stream->ended = true;
  if (stream->finishing) {
    stream_close(stream);
  } else {
    stream->handler->ended(stream, status);
  }
}

/* -- reading ------------------------------------------------------------------ */

static void stream_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
  (void)suggested;
  struct stream *stream = handle->data;
  struct streams *group = stream->group;
  uint8_t *room = group->read_buffer;
  if (!stream->finishing && buffer_size(&stream->in) >= STREAM_DIRECT_BYTES) {
    room = buffer_reserve(&stream->in, &group->memory, STREAM_READ_BYTES);
  }
  /* A length of 0 makes libuv call back with UV_ENOBUFS. */
  *buffer = uv_buf_init((char *)room, room == NULL ? 0 : STREAM_READ_BYTES);
}

static void stream_take(struct stream *stream, const uint8_t *data, size_t size) {
  struct streams *group = stream->group;
  if (stream->in.data == NULL) {
    size_t used = stream->handler->data(stream, (struct bytes){data, size});
    ASSERT(used <= size);
    if (used < size && !stream->closing && !stream->finishing &&
        !buffer_append(&stream->in, &group->memory, (struct bytes){data + used, size - used})) {
      stream_end(stream, UV_ENOMEM);
    }
    return;
  }
  if (data != stream->in.data + stream->in.end) {
    if (!buffer_append(&stream->in, &group->memory, (struct bytes){data, size})) {
      stream_end(stream, UV_ENOMEM);
      return;
    }
  } else {
    buffer_extend(&stream->in, size);
  }
  stream_show(stream);
}

static void stream_on_read(uv_stream_t *handle, ssize_t count, const uv_buf_t *buffer) {
  struct stream *stream = handle->data;
  struct streams *group = stream->group;
  if (count == 0 || stream->closing) {
    return;
  }
  if (count < 0) {
    stream_end(stream, count == UV_ENOBUFS ? UV_ENOMEM : (int)count);
    return;
  }
  group->reads += 1;
  group->bytes_in += (uint64_t)count;
  if (!stream->finishing) {
    stream_take(stream, (const uint8_t *)buffer->base, (size_t)count);
  }
}

void stream_show(struct stream *stream) {
  if (stream->closing || stream->finishing || buffer_size(&stream->in) == 0) {
    return;
  }
  size_t used = stream->handler->data(stream, buffer_bytes(&stream->in));
  ASSERT(used <= buffer_size(&stream->in));
  if (!stream->closing && !stream->finishing) {
    buffer_consume(&stream->in, &stream->group->memory, used, 0);
  }
}

void stream_read(struct stream *stream, bool on) {
  on = on && !stream->ended && !stream->closing;
  if (on == stream->reading) {
    return;
  }
  stream->reading = on;
  if (on) {
    int status = uv_read_start(stream_handle(stream), stream_on_alloc, stream_on_read);
    ASSERT(status == 0);
  } else {
    uv_read_stop(stream_handle(stream));
  }
}

/* -- writing ------------------------------------------------------------------ */

/* Everything is written: say so to the other side, and let it close first. */
static void stream_finished(struct stream *stream) {
  uv_os_fd_t fd;
  stream->finished = true;
  if (stream->ended || uv_fileno((const uv_handle_t *)&stream->tcp, &fd) != 0 || shutdown(fd, SHUT_WR) != 0) {
    stream_close(stream);
    return;
  }
  buffer_free(&stream->in, &stream->group->memory);
  stream_read(stream, true);
  stream_watch(stream, STREAM_LINGER_MS);
}

static void stream_on_written(uv_write_t *request, int status) {
  struct stream_write *sending = request->data;
  struct stream *stream = sending->stream;
  struct streams *group = stream->group;
  if (status == 0) {
    group->bytes_out += buffer_size(&sending->buffer);
  }
  buffer_free(&sending->buffer, &group->memory);
  free(sending);
  stream->sending = NULL;
  if (stream->closing) {
    return;
  }
  if (status != 0) {
    stream_end(stream, status);
    return;
  }
  if ((buffer_size(&stream->out) > 0 || stream->finishing) && !list_linked(&stream->dirty)) {
    list_append(&group->dirty, &stream->dirty);
  }
  if (stream->handler->drained != NULL) {
    stream->handler->drained(stream);
  }
}

/* The kernel is full: the rest goes when it has room again. */
static int stream_send_rest(struct stream *stream) {
  struct stream_write *sending = malloc(sizeof(*sending));
  if (sending == NULL) {
    return UV_ENOMEM;
  }
  sending->stream = stream;
  sending->buffer = stream->out;
  sending->request.data = sending;
  buffer_init(&stream->out);
  struct bytes rest = buffer_bytes(&sending->buffer);
  uv_buf_t buffer = {.base = (char *)(sending->buffer.data + sending->buffer.start), .len = rest.size};
  int status = uv_write(&sending->request, stream_handle(stream), &buffer, 1, stream_on_written);
  if (status != 0) {
    buffer_free(&sending->buffer, &stream->group->memory);
    free(sending);
    return status;
  }
  stream->sending = sending;
  stream->handed_bytes += rest.size;
  return 0;
}

static void stream_flush(struct stream *stream) {
  struct streams *group = stream->group;
  if (stream->sending != NULL) {
    return; /* stream_on_written comes back to it */
  }
  size_t size = buffer_size(&stream->out);
  if (size > 0) {
    uv_buf_t buffer = {.base = (char *)(stream->out.data + stream->out.start), .len = size};
    int count = uv_try_write(stream_handle(stream), &buffer, 1);
    group->writes += 1;
    if (count < 0 && count != UV_EAGAIN) {
      stream_end(stream, count);
      return;
    }
    if (count > 0) {
      stream->handed_bytes += (uint64_t)count;
      group->bytes_out += (uint64_t)count;
      buffer_consume(&stream->out, &group->memory, (size_t)count, stream->keep_bytes);
    }
    if (buffer_size(&stream->out) > 0) {
      int status = stream_send_rest(stream);
      if (status != 0) {
        stream_end(stream, status);
        return;
      }
    }
    if (count > 0 && stream->handler->drained != NULL) {
      stream->handler->drained(stream);
    }
  }
  if (stream->finishing && !stream->finished && stream->sending == NULL) {
    stream_finished(stream);
  }
}

void streams_flush(struct streams *group) {
  while (list_linked(&group->dirty)) {
    struct stream *stream = LIST_OWNER(group->dirty.next, struct stream, dirty);
    list_remove(&stream->dirty);
    stream_flush(stream);
  }
}

uint8_t *stream_reserve(struct stream *stream, size_t size) {
  if (stream->closing || stream->finishing) {
    return NULL;
  }
  return buffer_reserve(&stream->out, &stream->group->memory, size);
}

void stream_commit(struct stream *stream, size_t size) {
  ASSERT(!stream->closing && !stream->finishing);
  buffer_extend(&stream->out, size);
  if (size > 0 && !list_linked(&stream->dirty)) {
    list_append(&stream->group->dirty, &stream->dirty);
  }
}

bool stream_write(struct stream *stream, struct bytes bytes) {
  if (stream->closing || stream->finishing || !buffer_append(&stream->out, &stream->group->memory, bytes)) {
    return false;
  }
  stream_commit(stream, 0);
  if (bytes.size > 0 && !list_linked(&stream->dirty)) {
    list_append(&stream->group->dirty, &stream->dirty);
  }
  return true;
}

size_t stream_queued(const struct stream *stream) {
  return buffer_size(&stream->out) + uv_stream_get_write_queue_size((const uv_stream_t *)&stream->tcp);
}

uint64_t stream_sent(const struct stream *stream) {
  return stream->handed_bytes - uv_stream_get_write_queue_size((const uv_stream_t *)&stream->tcp);
}

/* -- deadlines ---------------------------------------------------------------- */

static void streams_on_timer(uv_timer_t *timer) {
  struct streams *group = timer->data;
  uint64_t now_ms = uv_now(group->loop);
  struct list due;
  list_init(&due);
  for (struct list *node = group->watched.next, *next; node != &group->watched; node = next) {
    next = node->next;
    if (LIST_OWNER(node, struct stream, watched)->deadline_ms <= now_ms) {
      list_remove(node);
      list_append(&due, node);
    }
  }
  while (list_linked(&due)) {
    struct stream *stream = LIST_OWNER(due.next, struct stream, watched);
    list_remove(&stream->watched);
    if (stream->finishing) {
      stream_close(stream);
    } else {
      stream->handler->ended(stream, UV_ETIMEDOUT);
    }
  }
  if (!list_linked(&group->watched)) {
    uv_timer_stop(timer);
  }
}

void stream_watch(struct stream *stream, uint64_t ms) {
  struct streams *group = stream->group;
  if (stream->closing) {
    return;
  }
  stream->deadline_ms = uv_now(group->loop) + ms;
  list_remove(&stream->watched);
  list_append(&group->watched, &stream->watched);
  if (!uv_is_active((const uv_handle_t *)&group->timer)) {
    int status = uv_timer_start(&group->timer, streams_on_timer, STREAM_WATCH_MS, STREAM_WATCH_MS);
    ASSERT(status == 0);
  }
}

void stream_unwatch(struct stream *stream) {
  if (!stream->finishing) {
    list_remove(&stream->watched);
  }
}

/* -- beginning and end ---------------------------------------------------------- */

void stream_init(struct stream *stream, struct streams *group, const struct stream_handler *handler,
                 uint32_t keep_bytes) {
  *stream = (struct stream){.handler = handler, .group = group, .keep_bytes = keep_bytes};
  buffer_init(&stream->in);
  buffer_init(&stream->out);
  list_init(&stream->dirty);
  list_init(&stream->watched);
  int status = uv_tcp_init(group->loop, &stream->tcp);
  ASSERT(status == 0);
  stream->tcp.data = stream;
}

void stream_finish(struct stream *stream) {
  if (stream->closing || stream->finishing) {
    return;
  }
  stream_watch(stream, STREAM_FINISH_MS);
  stream->finishing = true;
  if (!list_linked(&stream->dirty)) {
    list_append(&stream->group->dirty, &stream->dirty);
  }
}

static void stream_on_closed(uv_handle_t *handle) {
  struct stream *stream = handle->data;
  ASSERT(stream->group->leaving_bytes >= stream->leaving_bytes);
  stream->group->leaving_bytes -= stream->leaving_bytes;
  buffer_free(&stream->in, &stream->group->memory);
  buffer_free(&stream->out, &stream->group->memory);
  stream->handler->closed(stream);
}

void stream_close(struct stream *stream) {
  if (stream->closing) {
    return;
  }
  stream->closing = true;
  stream->reading = false;
  buffer_free(&stream->out, &stream->group->memory);
  stream->leaving_bytes = stream->in.capacity;
  stream->leaving_bytes += stream->sending == NULL ? 0 : stream->sending->buffer.capacity;
  stream->group->leaving_bytes += stream->leaving_bytes;
  list_remove(&stream->dirty);
  list_remove(&stream->watched);
  uv_close((uv_handle_t *)&stream->tcp, stream_on_closed);
}

enum err streams_init(struct streams *group, uv_loop_t *loop) {
  *group = (struct streams){.loop = loop};
  list_init(&group->dirty);
  list_init(&group->watched);
  group->read_buffer = malloc(STREAM_READ_BYTES);
  if (group->read_buffer == NULL) {
    return ERR_NOMEM;
  }
  int status = uv_timer_init(loop, &group->timer);
  ASSERT(status == 0);
  group->timer.data = group;
  uv_unref((uv_handle_t *)&group->timer);
  return ERR_OK;
}

void streams_deinit(struct streams *group, uv_close_cb freed) {
  ASSERT(!list_linked(&group->dirty) && !list_linked(&group->watched));
  ASSERT(group->memory.bytes == 0);
  free(group->read_buffer);
  group->read_buffer = NULL;
  uv_close((uv_handle_t *)&group->timer, freed);
}
