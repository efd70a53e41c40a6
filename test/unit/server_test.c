/* Client connections over real sockets on 127.0.0.1. The front is a stand-in that answers each line with itself. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/server.h"

#define PATIENCE_NS 20000000000u /* a test that waits longer for anything has failed */
#define IDLE_CLIENT_BYTES \
  1024u /* what an idle client may cost beside what the kernel keeps: written down in os/server.h */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WITH_ASAN)
size_t __sanitizer_get_current_allocated_bytes(void);
static size_t allocated_bytes(void) {
  return __sanitizer_get_current_allocated_bytes();
}
#else
static size_t allocated_bytes(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}
#endif

/* What the front of one test does and has seen. */
struct scene {
  uv_loop_t loop;
  struct server *server;
  uint16_t port;
  uint32_t opened, closed, data_calls, lines;
  uint64_t bytes_shown;
  uint32_t pause_after; /* lines of one call; 0 never */
  size_t answer_bytes;  /* 0: the line itself; else so many 'x' and a newline */
  bool swallow;         /* consumes nothing */
  bool hang_up;         /* one line, an error, and the end */
  bool withhold;        /* answers nothing until told */
  size_t withheld;
  bool refused_write; /* client_write said no */
  struct client *last;
};

static void *on_opened(void *context, struct client *client) {
  struct scene *scene = context;
  scene->opened += 1;
  scene->last = client;
  return scene;
}

static void answer(struct scene *scene, struct client *client, struct bytes line) {
  if (scene->withhold) {
    scene->withheld += 1;
  } else if (scene->answer_bytes == 0) {
    scene->refused_write |= !client_write(client, line);
  } else {
    uint8_t *text = malloc(scene->answer_bytes + 1);
    assert_non_null(text);
    memset(text, 'x', scene->answer_bytes);
    text[scene->answer_bytes] = '\n';
    scene->refused_write |= !client_write(client, (struct bytes){text, scene->answer_bytes + 1});
    free(text);
  }
}

static size_t on_data(void *context, struct client *client, struct bytes bytes) {
  struct scene *scene = context;
  size_t used = 0;
  uint32_t lines = 0;
  assert_ptr_equal(client_data(client), scene);
  scene->data_calls += 1;
  scene->bytes_shown += bytes.size;
  if (scene->swallow) {
    return 0;
  }
  if (scene->hang_up) {
    (void)client_write(client, BYTES_LITERAL("-ERR no\n"));
    client_close(client);
    return bytes.size;
  }
  while (used < bytes.size) {
    const uint8_t *end = memchr(bytes.data + used, '\n', bytes.size - used);
    if (end == NULL) {
      break;
    }
    size_t size = (size_t)(end - (bytes.data + used)) + 1;
    scene->lines += 1;
    lines += 1;
    answer(scene, client, (struct bytes){bytes.data + used, size});
    used += size;
    if (lines == scene->pause_after) {
      client_pause(client);
      break;
    }
  }
  return used;
}

static void on_closed(void *context, struct client *client) {
  struct scene *scene = context;
  scene->closed += 1;
  scene->last = scene->last == client ? NULL : scene->last;
}

static size_t on_unanswered(void *context, struct client *client) {
  const struct scene *scene = context;
  (void)client;
  return scene->withheld;
}

static void scene_open(struct scene *scene, const struct server_options *wanted) {
  char why[SERVER_WHY] = "";
  struct server_options options = *wanted;
  *scene = (struct scene){0};
  struct server_handler handler = {scene, on_opened, on_data, on_closed, on_unanswered};
  options.host = "127.0.0.1";
  options.clients_max = options.clients_max != 0 ? options.clients_max : 2000;
  options.output_max_bytes = options.output_max_bytes != 0 ? options.output_max_bytes : 1u << 20;
  assert_int_equal(uv_loop_init(&scene->loop), 0);
  assert_int_equal(server_open(&scene->server, &scene->loop, &options, &handler, why), ERR_OK);
  scene->port = server_port(scene->server);
}

/* One iteration of a node's loop. */
static void scene_turn(struct scene *scene) {
  uv_run(&scene->loop, UV_RUN_NOWAIT);
  (void)server_run(scene->server);
  server_flush(scene->server);
}

/* Turns until the condition holds; fails the test when it does not in time. */
#define TURN_UNTIL(scene, condition)                                                     \
  for (uint64_t until_ns = uv_hrtime() + PATIENCE_NS; !(condition); scene_turn(scene)) { \
    assert_true(uv_hrtime() < until_ns);                                                 \
  }

static void scene_close(struct scene *scene) {
  server_close(scene->server);
  uv_run(&scene->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&scene->loop), 0);
  assert_int_equal(scene->opened, scene->closed);
}

static int dial(const struct scene *scene) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(scene->port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  return fd;
}

/* Sends all of it, letting the server run whenever the socket is full. */
static void say(struct scene *scene, int fd, const void *data, size_t size) {
  uint64_t until_ns = uv_hrtime() + PATIENCE_NS;
  for (size_t sent = 0; sent < size;) {
    ssize_t count = send(fd, (const char *)data + sent, size - sent, MSG_NOSIGNAL);
    assert_true(count > 0 || errno == EAGAIN);
    sent += count > 0 ? (size_t)count : 0;
    scene_turn(scene);
    assert_true(uv_hrtime() < until_ns);
  }
}

/* Receives until `size` bytes or the end of the connection have come; returns how many. */
static size_t hear(struct scene *scene, int fd, void *data, size_t size) {
  uint64_t until_ns = uv_hrtime() + PATIENCE_NS;
  size_t got = 0;
  while (got < size) {
    ssize_t count = recv(fd, (char *)data + got, size - got, 0);
    if (count == 0 || (count < 0 && errno != EAGAIN)) {
      break;
    }
    got += count > 0 ? (size_t)count : 0;
    scene_turn(scene);
    assert_true(uv_hrtime() < until_ns);
  }
  return got;
}

static void a_line_in_single_bytes_arrives_whole(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene, &(struct server_options){0});
  int fd = dial(&scene);
  for (const char *c = "hello\n"; *c != '\0'; c += 1) {
    uint32_t calls = scene.data_calls;
    say(&scene, fd, c, 1);
    TURN_UNTIL(&scene, scene.data_calls > calls);
  }
  char text[6];
  assert_int_equal(hear(&scene, fd, text, 6), 6);
  assert_memory_equal(text, "hello\n", 6);
  assert_int_equal(scene.lines, 1);
  assert_int_equal(scene.bytes_shown, 1 + 2 + 3 + 4 + 5 + 6);
  close(fd);
  scene_close(&scene);
}

static void a_long_pipeline_is_answered_in_order(void **state) {
  (void)state;
  const size_t lines = 50000;
  const size_t size = 9;
  struct scene scene;
  scene_open(&scene, &(struct server_options){.output_max_bytes = 4u << 20});
  int fd = dial(&scene);
  char *sent = malloc(lines * size + 1);
  char *heard = malloc(lines * size);
  assert_non_null(sent);
  assert_non_null(heard);
  for (size_t i = 0; i < lines; i += 1) {
    assert_int_equal(sprintf(sent + i * size, "%08zu\n", i), size);
  }
  say(&scene, fd, sent, lines * size);
  assert_int_equal(hear(&scene, fd, heard, lines * size), lines * size);
  assert_memory_equal(sent, heard, lines * size);
  assert_int_equal(scene.lines, lines);
  /* Each byte is shown about once: a leftover is at most one line for each read. */
  assert_true(scene.bytes_shown <= lines * size + (uint64_t)scene.data_calls * size);
  free(sent);
  free(heard);
  close(fd);
  scene_close(&scene);
}

static void a_paused_client_is_shown_nothing_until_it_is_resumed(void **state) {
  (void)state;
  struct scene scene;
  char text[12];
  scene_open(&scene, &(struct server_options){0});
  int fd = dial(&scene);
  scene.pause_after = 2;
  say(&scene, fd, "1\n2\n3\n4\n5\n", 10);
  TURN_UNTIL(&scene, scene.lines == 2);
  assert_int_equal(hear(&scene, fd, text, 4), 4);
  say(&scene, fd, "6\n", 2);
  for (int i = 0; i < 100; i += 1) {
    scene_turn(&scene);
  }
  assert_int_equal(scene.lines, 2);
  assert_int_equal(scene.data_calls, 1);
  client_resume(scene.last);
  assert_int_equal(scene.data_calls, 1); /* never from inside client_resume */
  assert_int_equal(server_run(scene.server), 1);
  assert_int_equal(scene.lines, 4);
  client_resume(scene.last);
  TURN_UNTIL(&scene, scene.lines == 6);
  assert_int_equal(hear(&scene, fd, text, 8), 8);
  assert_memory_equal(text, "3\n4\n5\n6\n", 8);
  close(fd);
  scene_close(&scene);
}

static void what_one_iteration_writes_leaves_in_one_write(void **state) {
  (void)state;
  struct scene scene;
  char text[300];
  scene_open(&scene, &(struct server_options){0});
  int fd = dial(&scene);
  TURN_UNTIL(&scene, scene.last != NULL);
  uint64_t writes = server_stats(scene.server)->writes;
  for (int i = 0; i < 100; i += 1) {
    assert_true(client_write(scene.last, BYTES_LITERAL("ab\n")));
  }
  assert_int_equal(client_queued(scene.last), 300);
  server_flush(scene.server);
  assert_int_equal(client_queued(scene.last), 0);
  assert_int_equal(server_stats(scene.server)->writes, writes + 1);
  assert_int_equal(hear(&scene, fd, text, 300), 300);
  close(fd);
  scene_close(&scene);
}

static void a_reader_past_its_output_limit_is_closed_and_counted(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene, &(struct server_options){.output_max_bytes = 1u << 20});
  scene.answer_bytes = 600u << 10;
  int fd = dial(&scene);
  say(&scene, fd, "1\n2\n3\n4\n", 8);
  TURN_UNTIL(&scene, scene.closed == 1);
  assert_true(scene.refused_write);
  assert_int_equal(server_stats(scene.server)->closed_output, 1);
  assert_int_equal(server_stats(scene.server)->connected, 0);
  close(fd);
  scene_close(&scene);
}

/* It sends without reading until it is not read any more; once it reads it gets everything, though it is far more than
 * its output limit. */
static void a_reader_that_comes_late_is_slowed_down_and_loses_nothing(void **state) {
  (void)state;
  enum { LINES = 2000, ANSWER = 20000 };
  struct scene scene;
  scene_open(&scene, &(struct server_options){.output_max_bytes = 4u << 20});
  scene.answer_bytes = ANSWER - 1;
  scene.pause_after = 16;
  int fd = dial(&scene);
  for (int i = 0; i < LINES; i += 1) {
    assert_int_equal(send(fd, "1\n", 2, MSG_NOSIGNAL), 2);
  }
  uint32_t before = UINT32_MAX;
  uint64_t quiet_ns = 0;
  for (uint64_t until_ns = uv_hrtime() + PATIENCE_NS; quiet_ns == 0 || uv_hrtime() - quiet_ns < 100000000u;) {
    scene_turn(&scene);
    if (scene.last != NULL) {
      client_resume(scene.last);
    }
    quiet_ns = scene.lines != before || scene.lines == 0 ? uv_hrtime() : quiet_ns;
    before = scene.lines;
    assert_true(uv_hrtime() < until_ns);
  }
  assert_true(scene.lines < LINES);
  assert_in_range(client_queued(scene.last), 2u << 20, 4u << 20);
  char *heard = malloc(ANSWER);
  assert_non_null(heard);
  for (int i = 0; i < LINES; i += 1) {
    client_resume(scene.last);
    assert_int_equal(hear(&scene, fd, heard, ANSWER), ANSWER);
    assert_int_equal(heard[ANSWER - 1], '\n');
  }
  assert_int_equal(scene.lines, LINES);
  assert_int_equal(server_stats(scene.server)->closed_output, 0);
  free(heard);
  close(fd);
  scene_close(&scene);
}

/* An answer that makes the client one that is not read for now, and that the kernel takes whole at once. */
static void a_client_is_read_again_when_a_large_answer_leaves_in_one_write(void **state) {
  enum { ANSWER = 100000 };
  (void)state;
  struct scene scene;
  scene_open(&scene, &(struct server_options){.output_max_bytes = ANSWER * 3 / 2});
  scene.answer_bytes = ANSWER - 1;
  int fd = dial(&scene);
  char *heard = malloc(ANSWER);
  assert_non_null(heard);
  for (int i = 0; i < 20; i += 1) {
    say(&scene, fd, "1\n", 2);
    assert_int_equal(hear(&scene, fd, heard, ANSWER), ANSWER);
  }
  assert_int_equal(scene.lines, 20);
  free(heard);
  close(fd);
  scene_close(&scene);
}

static void a_reader_that_has_stopped_is_closed_and_counted(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene, &(struct server_options){.output_max_bytes = 8u << 20, .stall_ms = 200});
  scene.answer_bytes = 1u << 20;
  scene.pause_after = 1;
  int fd = dial(&scene);
  for (int i = 0; i < 100; i += 1) {
    assert_int_equal(send(fd, "1\n", 2, MSG_NOSIGNAL), 2);
  }
  for (uint64_t until_ns = uv_hrtime() + PATIENCE_NS; scene.closed == 0; scene_turn(&scene)) {
    assert_true(uv_hrtime() < until_ns);
    if (scene.last != NULL) {
      client_resume(scene.last);
    }
  }
  assert_false(scene.refused_write); /* it never passed the limit */
  assert_int_equal(server_stats(scene.server)->closed_output, 1);
  close(fd);
  scene_close(&scene);
}

static void the_largest_holder_goes_when_all_buffers_together_are_too_large(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene, &(struct server_options){.input_max_bytes = 8u << 20, .memory_max_bytes = 3u << 20});
  scene.swallow = true;
  int small = dial(&scene);
  int large = dial(&scene);
  char *data = calloc(1, 2u << 20);
  assert_non_null(data);
  say(&scene, small, data, 200u << 10);
  while (scene.closed == 0) { /* it may be closed before all of it has been sent */
    (void)send(large, data, 100000, MSG_NOSIGNAL);
    scene_turn(&scene);
  }
  char byte;
  assert_int_equal(recv(small, &byte, 1, 0), -1);
  assert_int_equal(errno, EAGAIN);
  assert_int_equal(server_stats(scene.server)->closed_output, 1);
  free(data);
  close(small);
  close(large);
  scene_close(&scene);
}

static void a_command_past_the_input_limit_is_closed_and_counted(void **state) {
  (void)state;
  struct scene scene;
  scene_open(&scene, &(struct server_options){.input_max_bytes = 100000});
  scene.swallow = true;
  int fd = dial(&scene);
  char *data = calloc(1, 100001);
  assert_non_null(data);
  say(&scene, fd, data, 100000);
  TURN_UNTIL(&scene, server_stats(scene.server)->bytes_in == 100000);
  assert_int_equal(scene.closed, 0);
  say(&scene, fd, data, 1);
  TURN_UNTIL(&scene, scene.closed == 1);
  assert_int_equal(server_stats(scene.server)->closed_input, 1);
  free(data);
  close(fd);
  scene_close(&scene);
}

static void one_client_too_many_is_told_so(void **state) {
  (void)state;
  struct scene scene;
  char text[16];
  scene_open(&scene, &(struct server_options){.clients_max = 1, .full_message = "-BUSY full\r\n"});
  int first = dial(&scene);
  TURN_UNTIL(&scene, scene.opened == 1);
  int second = dial(&scene);
  assert_int_equal(hear(&scene, second, text, sizeof(text)), 12);
  assert_memory_equal(text, "-BUSY full\r\n", 12);
  assert_int_equal(server_stats(scene.server)->refused, 1);
  assert_int_equal(scene.opened, 1);
  close(second);
  close(first);
  TURN_UNTIL(&scene, scene.closed == 1);
  int third = dial(&scene); /* there is room again */
  TURN_UNTIL(&scene, scene.opened == 2);
  close(third);
  scene_close(&scene);
}

static void a_client_that_has_closed_its_side_still_gets_its_answers(void **state) {
  (void)state;
  struct scene scene;
  char text[16];
  scene_open(&scene, &(struct server_options){0});
  scene.withhold = true;
  int fd = dial(&scene);
  say(&scene, fd, "1\n", 2);
  assert_int_equal(shutdown(fd, SHUT_WR), 0);
  TURN_UNTIL(&scene, scene.withheld == 1);
  for (int i = 0; i < 100; i += 1) {
    scene_turn(&scene);
  }
  assert_int_equal(scene.closed, 0);
  assert_true(client_write(scene.last, BYTES_LITERAL("late\n")));
  scene.withheld = 0;
  assert_int_equal(hear(&scene, fd, text, sizeof(text)), 5);
  assert_memory_equal(text, "late\n", 5);
  TURN_UNTIL(&scene, scene.closed == 1);
  close(fd);
  scene_close(&scene);
}

/* Closing a socket with unread bytes in it would throw the answer away. */
static void the_last_line_reaches_a_client_that_goes_on_sending(void **state) {
  (void)state;
  struct scene scene;
  char text[16];
  scene_open(&scene, &(struct server_options){0});
  scene.hang_up = true;
  int fd = dial(&scene);
  char *data = calloc(1, 1u << 20);
  assert_non_null(data);
  say(&scene, fd, data, 1u << 20);
  assert_int_equal(hear(&scene, fd, text, sizeof(text)), 8);
  assert_memory_equal(text, "-ERR no\n", 8);
  close(fd);
  TURN_UNTIL(&scene, scene.closed == 1);
  assert_int_equal(scene.data_calls, 1);
  free(data);
  scene_close(&scene);
}

static void after_stop_reading_no_data_comes_but_answers_go_out(void **state) {
  (void)state;
  struct scene scene;
  char text[8];
  scene_open(&scene, &(struct server_options){0});
  scene.withhold = true;
  int fd = dial(&scene);
  say(&scene, fd, "1\n", 2);
  TURN_UNTIL(&scene, scene.lines == 1);
  server_stop_listening(scene.server);
  server_stop_reading(scene.server);
  say(&scene, fd, "2\n", 2);
  client_pause(scene.last);
  client_resume(scene.last);
  for (int i = 0; i < 100; i += 1) {
    scene_turn(&scene);
  }
  assert_int_equal(scene.lines, 1);
  assert_true(client_write(scene.last, BYTES_LITERAL("one\n")));
  assert_int_equal(server_queued(scene.server), 4);
  assert_int_equal(hear(&scene, fd, text, 4), 4);
  assert_int_equal(server_queued(scene.server), 0);
  close(fd);
  scene_close(&scene);
}

static void a_port_in_use_is_named_with_the_remedy(void **state) {
  (void)state;
  struct scene scene;
  char why[SERVER_WHY] = "";
  char wanted[SERVER_WHY];
  struct server *second = NULL;
  struct server_handler handler = {&scene, on_opened, on_data, on_closed, NULL};
  scene_open(&scene, &(struct server_options){0});
  struct server_options options = {.host = "127.0.0.1", .port = scene.port, .clients_max = 1, .output_max_bytes = 1000};
  assert_int_equal(server_open(&second, &scene.loop, &options, &handler, why), ERR_IO);
  snprintf(wanted, sizeof(wanted), "127.0.0.1:%u is in use by another program; stop that one or set another port",
           scene.port);
  assert_string_equal(why, wanted);
  scene_close(&scene);
}

static void count_client(void *context, struct client *client) {
  uint64_t *ids = context;
  assert_true(client_id(client) > ids[1]); /* oldest first */
  assert_memory_equal(client_address(client), "127.0.0.1:", 10);
  ids[0] += 1;
  ids[1] = client_id(client);
}

static void a_thousand_idle_clients_cost_less_than_a_kibibyte_each(void **state) {
  (void)state;
  enum { CLIENTS = 1000 };
  static int fds[CLIENTS];
  struct rlimit limit;
  struct scene scene;
  char text[6];
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_cur < 2 * CLIENTS + 64) {
    skip();
  }
  scene_open(&scene, &(struct server_options){0});
  scene_turn(&scene);
  size_t before = allocated_bytes();
  for (int i = 0; i < CLIENTS; i += 1) {
    fds[i] = dial(&scene);
    say(&scene, fds[i], "hello\n", 6);
    assert_int_equal(hear(&scene, fds[i], text, 6), 6);
  }
  /* Each has been busy, and is idle now. What libuv keeps for them is in the figure. */
  size_t each = (allocated_bytes() - before) / CLIENTS;
  print_message("an idle client costs %zu bytes\n", each);
  assert_in_range(each, 1, IDLE_CLIENT_BYTES);
  uint64_t ids[2] = {0, 0};
  server_each(scene.server, count_client, ids);
  assert_int_equal(ids[0], CLIENTS);
  for (int i = 0; i < CLIENTS; i += 1) {
    close(fds[i]);
  }
  TURN_UNTIL(&scene, scene.closed == CLIENTS);
  assert_int_equal(server_stats(scene.server)->connected, 0);
  scene_close(&scene);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_line_in_single_bytes_arrives_whole),
      cmocka_unit_test(a_long_pipeline_is_answered_in_order),
      cmocka_unit_test(a_paused_client_is_shown_nothing_until_it_is_resumed),
      cmocka_unit_test(what_one_iteration_writes_leaves_in_one_write),
      cmocka_unit_test(a_reader_past_its_output_limit_is_closed_and_counted),
      cmocka_unit_test(a_reader_that_comes_late_is_slowed_down_and_loses_nothing),
      cmocka_unit_test(a_client_is_read_again_when_a_large_answer_leaves_in_one_write),
      cmocka_unit_test(a_reader_that_has_stopped_is_closed_and_counted),
      cmocka_unit_test(the_largest_holder_goes_when_all_buffers_together_are_too_large),
      cmocka_unit_test(a_command_past_the_input_limit_is_closed_and_counted),
      cmocka_unit_test(one_client_too_many_is_told_so),
      cmocka_unit_test(a_client_that_has_closed_its_side_still_gets_its_answers),
      cmocka_unit_test(the_last_line_reaches_a_client_that_goes_on_sending),
      cmocka_unit_test(after_stop_reading_no_data_comes_but_answers_go_out),
      cmocka_unit_test(a_port_in_use_is_named_with_the_remedy),
      cmocka_unit_test(a_thousand_idle_clients_cost_less_than_a_kibibyte_each),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
