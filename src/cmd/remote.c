#include "cmd/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

#define BUFFER_BYTES 65536u
#define LINE_BYTES 65536u /* of a simple string, an error or a length */

struct remote {
  int socket;
  int reply_ms;
  char address[160];    /* for messages */
  uint64_t deadline_ms; /* of the answer being read */
  size_t start, end;    /* unread bytes of the buffer */
  char buffer[BUFFER_BYTES];
};

__attribute__((format(printf, 2, 3))) static void *refuse(char *why, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, REMOTE_WHY, format, arguments);
  va_end(arguments);
  return NULL;
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* False when the deadline passes first. */
static bool wait_ready(int socket, short events, uint64_t deadline_ms) {
  for (;;) {
    uint64_t now = now_ms();
    if (now >= deadline_ms) {
      return false;
    }
    struct pollfd wanted = {.fd = socket, .events = events};
    int ready = poll(&wanted, 1, (int)(deadline_ms - now));
    if (ready > 0) {
      return true;
    }
    if (ready < 0 && errno != EINTR) {
      return false;
    }
  }
}

/* A connected non-blocking socket, or -1 and errno. */
static int connect_one(const struct addrinfo *address, uint64_t deadline_ms) {
  int s = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
  if (s < 0) {
    return -1;
  }
  int error = 0;
  if (connect(s, address->ai_addr, address->ai_addrlen) != 0) {
    error = errno;
    if (error == EINPROGRESS) {
      socklen_t size = sizeof error;
      if (!wait_ready(s, POLLOUT, deadline_ms)) {
        error = ETIMEDOUT;
      } else if (getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
      }
    }
  }
  if (error != 0) {
    close(s);
    errno = error;
    return -1;
  }
  int on = 1;
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only a nicety: a failure changes nothing */
  return s;
}

static int connect_any(const struct remote_target *target, const char *address, char *why) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *found;
  char port[8];
  snprintf(port, sizeof port, "%u", target->port);
  int failure = getaddrinfo(target->host, port, &hints, &found);
  if (failure != 0) {
    refuse(why, "cannot find host '%.128s': %s", target->host, gai_strerror(failure));
    return -1;
  }
  int limit_ms = target->connect_ms > 0 ? target->connect_ms : REMOTE_CONNECT_MS;
  uint64_t deadline = now_ms() + (uint64_t)limit_ms;
  int s = -1;
  for (const struct addrinfo *one = found; one != NULL && s < 0; one = one->ai_next) {
    s = connect_one(one, deadline);
  }
  int error = errno;
  freeaddrinfo(found);
  if (s < 0 && error == ECONNREFUSED) {
    refuse(why, "nothing answers on %s (connection refused): is a node running? start one with: gramme dev", address);
  } else if (s < 0) {
    refuse(why, "nothing answers on %s (%s): is the address right, and the node running?", address, strerror(error));
  }
  return s;
}

/* -- reading ----------------------------------------------------------------- */

/* Something more into the buffer, of which everything has been read. */
static bool fill(struct remote *remote, char *why) {
  ASSERT(remote->start == remote->end);
  remote->start = remote->end = 0;
  for (;;) {
    ssize_t got = recv(remote->socket, remote->buffer, BUFFER_BYTES, 0);
    if (got > 0) {
      remote->end = (size_t)got;
      return true;
    }
    if (got == 0) {
      refuse(why, "%s closed the connection before it answered: see the node's log", remote->address);
      return false;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      refuse(why, "the connection to %s broke (%s)", remote->address, strerror(errno));
      return false;
    }
    if (!wait_ready(remote->socket, POLLIN, remote->deadline_ms)) {
      refuse(why, "%s took the question but gave no answer within %d ms: is it overloaded or stopped?", remote->address,
             remote->reply_ms);
      return false;
    }
  }
}

static bool read_byte(struct remote *remote, char *byte, char *why) {
  if (remote->start == remote->end && !fill(remote, why)) {
    return false;
  }
  *byte = remote->buffer[remote->start++];
  return true;
}

static void *refuse_protocol(const struct remote *remote, char *why) {
  return refuse(why, "what answers on %s does not speak RESP: it is not a Gramme node", remote->address);
}

/* A line without its end, NUL-terminated; the caller frees it. */
static char *read_line(struct remote *remote, size_t *size, char *why) {
  size_t capacity = 128;
  size_t used = 0;
  char *line = malloc(capacity);
  if (line == NULL) {
    return refuse(why, "out of memory");
  }
  for (;;) {
    char byte;
    if (!read_byte(remote, &byte, why)) {
      break;
    }
    if (byte == '\n' && used > 0 && line[used - 1] == '\r') {
      line[used - 1] = '\0';
      *size = used - 1;
      return line;
    }
    if (used + 1 == capacity) {
      char *larger = capacity < LINE_BYTES ? realloc(line, capacity * 2) : NULL;
      if (larger == NULL) {
        refuse_protocol(remote, why);
        break;
      }
      line = larger;
      capacity *= 2;
    }
    line[used++] = byte;
  }
  free(line);
  return NULL;
}

static bool read_exactly(struct remote *remote, char *into, size_t size, char *why) {
  size_t have = 0;
  while (have < size) {
    if (remote->start == remote->end && !fill(remote, why)) {
      return false;
    }
    size_t here = remote->end - remote->start;
    size_t take = here < size - have ? here : size - have;
    memcpy(into + have, remote->buffer + remote->start, take);
    remote->start += take;
    have += take;
  }
  return true;
}

static bool parse_integer(const char *text, int64_t min, int64_t max, int64_t *value) {
  char *end;
  errno = 0;
  long long number = strtoll(text, &end, 10);
  *value = number;
  return errno == 0 && end != text && *end == '\0' && number >= min && number <= max;
}

static bool read_bulk(struct remote *remote, struct remote_answer *answer, size_t size, char *why) {
  char tail[2];
  answer->text = malloc(size + 1);
  if (answer->text == NULL) {
    refuse(why, "out of memory for an answer of %zu bytes", size);
    return false;
  }
  answer->size = size;
  answer->text[size] = '\0';
  if (!read_exactly(remote, answer->text, size, why) || !read_exactly(remote, tail, sizeof tail, why)) {
    return false;
  }
  if (memcmp(tail, "\r\n", 2) != 0) {
    refuse_protocol(remote, why);
    return false;
  }
  return true;
}

/* An array's items come after it, from read_answer. */
static bool make_items(struct remote_answer *answer, size_t count, char *why) {
  answer->items = calloc(count > 0 ? count : 1, sizeof(struct remote_answer *));
  if (answer->items == NULL) {
    refuse(why, "out of memory for an answer of %zu parts", count);
    return false;
  }
  answer->count = count;
  return true;
}

static bool read_body(struct remote *remote, struct remote_answer *answer, const char *line, size_t line_size,
                      char *why) {
  int64_t number;
  int64_t max = line[0] == '$' ? REMOTE_BULK_MAX : REMOTE_ITEMS_MAX;
  switch (line[0]) {
  case '+':
  case '-':
    answer->kind = line[0] == '+' ? REMOTE_TEXT : REMOTE_ERROR;
    answer->text = strdup(line + 1);
    answer->size = line_size - 1;
    return answer->text != NULL || refuse(why, "out of memory") != NULL;
  case ':':
    answer->kind = REMOTE_INTEGER;
    return parse_integer(line + 1, INT64_MIN, INT64_MAX, &answer->integer) || refuse_protocol(remote, why) != NULL;
  case '$':
  case '*':
    if (!parse_integer(line + 1, -1, max, &number)) {
      return refuse_protocol(remote, why) != NULL;
    }
    if (number < 0) {
      answer->kind = REMOTE_NIL;
      return true;
    }
    answer->kind = line[0] == '$' ? REMOTE_TEXT : REMOTE_ARRAY;
    return line[0] == '$' ? read_bulk(remote, answer, (size_t)number, why) : make_items(answer, (size_t)number, why);
  default:
    return refuse_protocol(remote, why) != NULL;
  }
}

/* One answer; of an array, with places for its items. */
static struct remote_answer *read_one(struct remote *remote, char *why) {
  size_t size = 0;
  char *line = read_line(remote, &size, why);
  if (line == NULL) {
    return NULL;
  }
  struct remote_answer *answer = calloc(1, sizeof *answer);
  if (answer == NULL) {
    refuse(why, "out of memory");
  } else if (!read_body(remote, answer, line, size, why)) {
    remote_answer_free(answer);
    answer = NULL;
  }
  free(line);
  return answer;
}

/* One answer, whole. */
static struct remote_answer *read_answer(struct remote *remote, char *why) {
  struct remote_answer *open[REMOTE_DEPTH_MAX]; /* arrays whose items are being read, the innermost last */
  size_t have[REMOTE_DEPTH_MAX];
  size_t depth = 0;
  struct remote_answer *root = read_one(remote, why);
  if (root != NULL && root->count > 0) {
    open[0] = root;
    have[0] = 0;
    depth = 1;
  }
  while (depth > 0) {
    struct remote_answer *array = open[depth - 1];
    if (have[depth - 1] == array->count) {
      depth -= 1;
      continue;
    }
    struct remote_answer *item = read_one(remote, why);
    bool too_deep = item != NULL && item->count > 0 && depth == REMOTE_DEPTH_MAX;
    if (too_deep) {
      remote_answer_free(item);
      refuse_protocol(remote, why);
    }
    if (item == NULL || too_deep) {
      remote_answer_free(root);
      return NULL;
    }
    array->items[have[depth - 1]++] = item;
    if (item->count > 0) {
      open[depth] = item;
      have[depth] = 0;
      depth += 1;
    }
  }
  return root;
}

/* -- writing ------------------------------------------------------------------- */

static bool send_all(struct remote *remote, const char *data, size_t size, char *why) {
  size_t sent = 0;
  while (sent < size) {
    ssize_t now = send(remote->socket, data + sent, size - sent, MSG_NOSIGNAL);
    if (now > 0) {
      sent += (size_t)now;
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      refuse(why, "the connection to %s broke (%s)", remote->address, strerror(errno));
      return false;
    } else if (!wait_ready(remote->socket, POLLOUT, remote->deadline_ms)) {
      refuse(why, "%s does not read what is sent to it: is it overloaded or stopped?", remote->address);
      return false;
    }
  }
  return true;
}

static char *command_encode(const struct bytes *arguments, size_t count, size_t *size) {
  size_t capacity = 32;
  for (size_t i = 0; i < count; i++) {
    capacity += arguments[i].size + 32;
  }
  char *text = malloc(capacity);
  if (text == NULL) {
    return NULL;
  }
  size_t used = (size_t)snprintf(text, capacity, "*%zu\r\n", count);
  for (size_t i = 0; i < count; i++) {
    used += (size_t)snprintf(text + used, capacity - used, "$%zu\r\n", arguments[i].size);
    if (arguments[i].size > 0) {
      memcpy(text + used, arguments[i].data, arguments[i].size);
    }
    used += arguments[i].size;
    text[used++] = '\r';
    text[used++] = '\n';
  }
  ASSERT(used <= capacity);
  *size = used;
  return text;
}

struct remote_answer *remote_call(struct remote *remote, const struct bytes *arguments, size_t count, char *why) {
  ASSERT(count > 0);
  size_t size;
  char *text = command_encode(arguments, count, &size);
  if (text == NULL) {
    return refuse(why, "out of memory");
  }
  remote->deadline_ms = now_ms() + (uint64_t)remote->reply_ms;
  bool sent = send_all(remote, text, size, why);
  free(text);
  return sent ? read_answer(remote, why) : NULL;
}

static bool authenticate(struct remote *remote, const char *password, char *why) {
  const struct bytes command[] = {BYTES_LITERAL("AUTH"), remote_argument(password)};
  struct remote_answer *answer = remote_call(remote, command, 2, why);
  bool good = answer != NULL && answer->kind == REMOTE_TEXT;
  if (answer != NULL && !good) {
    refuse(why, "%s does not take the password: %s", remote->address,
           answer->kind == REMOTE_ERROR ? answer->text : "?");
  }
  remote_answer_free(answer);
  return good;
}

struct remote *remote_open(const struct remote_target *target, char *why) {
  struct remote *remote = calloc(1, sizeof *remote);
  if (remote == NULL) {
    return refuse(why, "out of memory");
  }
  bool bare_colons = strchr(target->host, ':') != NULL;
  snprintf(remote->address, sizeof remote->address, bare_colons ? "[%.128s]:%u" : "%.128s:%u", target->host,
           target->port);
  remote->reply_ms = target->reply_ms > 0 ? target->reply_ms : REMOTE_REPLY_MS;
  remote->socket = connect_any(target, remote->address, why);
  if (remote->socket < 0) {
    free(remote);
    return NULL;
  }
  if (target->password != NULL && target->password[0] != '\0' && !authenticate(remote, target->password, why)) {
    remote_close(remote);
    return NULL;
  }
  return remote;
}

void remote_close(struct remote *remote) {
  if (remote != NULL) {
    close(remote->socket);
    free(remote);
  }
}

void remote_answer_free(struct remote_answer *answer) {
  struct remote_answer *open[REMOTE_DEPTH_MAX + 1];
  size_t depth = 0;
  if (answer != NULL) {
    open[depth++] = answer;
  }
  while (depth > 0) {
    struct remote_answer *last = open[depth - 1];
    if (last->count > 0) { /* its last item first; one that could not be read is NULL */
      struct remote_answer *item = last->items[--last->count];
      if (item != NULL) {
        ASSERT(depth <= REMOTE_DEPTH_MAX);
        open[depth++] = item;
      }
      continue;
    }
    free(last->items);
    free(last->text);
    free(last);
    depth -= 1;
  }
}

struct bytes remote_argument(const char *text) {
  return (struct bytes){(const uint8_t *)text, strlen(text)};
}
