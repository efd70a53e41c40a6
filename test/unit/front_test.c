/* The front as clients see it: strings and connections in RESP2 and RESP3, the order of replies and of effects. */
#include "support/front_world.h"

#define HELLO_3                                                                                                   \
  "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n" \
  "$4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"

/* -- strings ------------------------------------------------------------------------------ */

static void set_and_get(void **state) {
  (void)state;
  struct client *two = world_connect();
  struct client *three = connect_resp3();
  check(two, "GET k\r\n", "$-1\r\n");
  check(three, "GET k\r\n", "_\r\n");
  check(two, "SET k hello\r\n", "+OK\r\n");
  check(two, "GET k\r\n", "$5\r\nhello\r\n");
  check(three, "*2\r\n$3\r\ngEt\r\n$1\r\nk\r\n", "$5\r\nhello\r\n");
  check(two, "SET k \"\"\r\nGET k\r\n", "+OK\r\n$0\r\n\r\n");
}

static void a_large_value_comes_back_whole(void **state) {
  (void)state;
  struct client *client = world_connect();
  const size_t size = 300000;
  char *text = malloc(size + 64);
  assert_non_null(text);
  int head = sprintf(text, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", size);
  for (size_t i = 0; i < size; i++) {
    text[(size_t)head + i] = (char)('a' + i % 26);
  }
  text[(size_t)head + size] = '\r';
  text[(size_t)head + size + 1] = '\n';
  for (size_t at = 0; at < (size_t)head + size + 2; at += 65536) { /* as a socket gives it */
    size_t left = (size_t)head + size + 2 - at;
    world_send_bytes(client, (struct bytes){(uint8_t *)text + at, left < 65536 ? left : 65536});
  }
  world_settle(false);
  assert_reply(client, "+OK\r\n");
  /* Once as the first in the queue, and once behind another, where the reply has to be kept. */
  world_send(client, "GET other\r\nGET k\r\nGET k\r\n");
  world_settle(true);
  assert_int_equal(client->out_size, 5 + 2 * (size + 11));
  assert_memory_equal(client->out + 5, "$300000\r\n", 9);
  assert_memory_equal(client->out + 14, text + head, size);
  assert_memory_equal(client->out + 5 + size + 11 + 9, text + head, size);
  client->out_size = 0;
  free(text);
}

static void set_with_an_expiry(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "SET a v EX 10\r\nSET b v PX 1500\r\nSET c v EXAT 1600000100\r\nSET d v PXAT 1600000000001\r\n",
        "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
  assert_int_equal(world.commands[0].command.expires_at_ms, WORLD_WALL_MS + 10000);
  assert_int_equal(world.commands[1].command.expires_at_ms, WORLD_WALL_MS + 1500);
  assert_int_equal(world.commands[2].command.expires_at_ms, 1600000100000);
  assert_int_equal(world.commands[3].command.expires_at_ms, 1600000000001);
  check(client, "SETEX e 3 v\r\nPSETEX f 4 v\r\nSET g v px 5 get\r\n", "+OK\r\n+OK\r\n$-1\r\n");
  assert_int_equal(world.commands[4].command.expires_at_ms, WORLD_WALL_MS + 3000);
  assert_int_equal(world.commands[5].command.expires_at_ms, WORLD_WALL_MS + 4);
  assert_int_equal(world.commands[7].command.expires_at_ms, WORLD_WALL_MS + 5);
  check(client, "MGET a d f\r\n", "*3\r\n$1\r\nv\r\n$1\r\nv\r\n$1\r\nv\r\n");
  world.wall_ms += 5000;
  check(client, "MGET a d f\r\nEXISTS a d f\r\nTYPE d\r\nSTRLEN d\r\n",
        "*3\r\n$1\r\nv\r\n$-1\r\n$-1\r\n:1\r\n+none\r\n:0\r\n");
  check(client, "SET a w KEEPTTL\r\n", "+OK\r\n");
  assert_true(world.commands[world.command_count - 1].command.keep_expiry);
}

static void set_refuses_what_makes_no_sense(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "SET k v EX\r\n", "-ERR syntax error\r\n");
  check(client, "SET k v EX 1 PX 1\r\n", "-ERR syntax error\r\n");
  check(client, "SET k v KEEPTTL EX 1\r\n", "-ERR syntax error\r\n");
  check(client, "SET k v EX 1 KEEPTTL\r\n", "-ERR syntax error\r\n");
  check(client, "SET k v FOO\r\n", "-ERR syntax error\r\n");
  check(client, "SET k v EX x\r\n", "-ERR value is not an integer or out of range\r\n");
  check(client, "SET k v EX 1.5\r\n", "-ERR value is not an integer or out of range\r\n");
  check(client, "SET k v EX 0\r\n", "-ERR invalid expire time in 'set' command\r\n");
  check(client, "SET k v EXAT -1\r\n", "-ERR invalid expire time in 'set' command\r\n");
  check(client, "SET k v EX 9223372036854775807\r\n", "-ERR invalid expire time in 'set' command\r\n");
  check(client, "SET k v PX 9223372036854775807\r\n", "-ERR invalid expire time in 'set' command\r\n");
  check(client, "SET k v PX 9223372036854775808\r\n", "-ERR value is not an integer or out of range\r\n");
  check(client, "SETEX k 0 v\r\n", "-ERR invalid expire time in 'setex' command\r\n");
  check(client, "PSETEX k x v\r\n", "-ERR value is not an integer or out of range\r\n");
  check(client, "SET k v NX\r\n",
        "-ERR NX is not offered: whether the key exists can not be known in a partition; DYNAMO.GET it and DYNAMO.PUT "
        "with its context\r\n");
  check(client, "SET k v XX GET\r\n",
        "-ERR XX is not offered: whether the key exists can not be known in a partition; DYNAMO.GET it and DYNAMO.PUT "
        "with its context\r\n");
  assert_int_equal(world.command_count, 0);
}

static void composite_commands_read_before_they_write(void **state) {
  (void)state;
  struct client *two = world_connect();
  struct client *three = connect_resp3();
  check(two, "GETSET k a\r\n", "$-1\r\n");
  check(two, "GETSET k b\r\n", "$1\r\na\r\n");
  check(two, "SET k c GET\r\n", "$1\r\nb\r\n");
  check(three, "GETDEL k\r\n", "$1\r\nc\r\n");
  check(three, "GETDEL k\r\n", "_\r\n");
  check(two, "GET k\r\n", "$-1\r\n");
  check(three, "SET k d GET\r\n", "_\r\n");
  check(two, "STRLEN k\r\nTYPE k\r\n", ":1\r\n+string\r\n");
}

static void a_deletion_leaves_what_it_has_not_seen(void **state) {
  (void)state;
  struct client *client = world_connect();
  struct client *other = world_connect();
  check(client, "SET k old\r\n", "+OK\r\n");
  world_send(client, "DEL k\r\n");
  assert_int_equal(world.command_count, 2);
  world_answer(1); /* the get has seen `old`; its put is on the way */
  assert_int_equal(world.command_count, 3);
  assert_true(world.commands[2].command.tombstone);
  assert_false(world.commands[2].command.blind);
  assert_true(world.commands[2].command.context.size > 0);
  world_send(other, "DYNAMO.PUT k new\r\n");
  world_answer(3);
  other->out_size = 0;
  world_answer(2);
  assert_reply(client, ":1\r\n");
  check(client, "GET k\r\n", "$3\r\nnew\r\n");
}

static void only_what_lives_is_deleted(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "MSET a 1 b 2\r\n", "+OK\r\n");
  check(client, "DEL a nosuch b a\r\n", ":2\r\n");
  uint32_t before = world.command_count;
  check(client, "UNLINK a b\r\n", ":0\r\n");
  assert_int_equal(world.command_count, before + 2); /* gets alone */
  check(client, "EXISTS a b\r\n", ":0\r\n");
}

static void commands_of_many_keys_gather_in_their_order(void **state) {
  (void)state;
  struct client *two = world_connect();
  struct client *three = connect_resp3();
  world_send(two, "MSET a 1 b 2 c 3 a 4\r\n");
  world_settle(true);
  assert_reply(two, "+OK\r\n");
  assert_int_equal(world.command_count, 3); /* `a` once: the last of its values */
  world_send(two, "MGET c nosuch a b a\r\n");
  world_settle(true);
  assert_reply(two, "*5\r\n$1\r\n3\r\n$-1\r\n$1\r\n4\r\n$1\r\n2\r\n$1\r\n4\r\n");
  world_send(three, "MGET nosuch a\r\nEXISTS a a nosuch b\r\n");
  world_settle(true);
  assert_reply(three, "*2\r\n_\r\n$1\r\n4\r\n:3\r\n");
  check(two, "MSET a 1 b\r\n", "-ERR wrong number of arguments for 'mset' command\r\n");
}

static void plain_get_shows_the_latest_sibling_and_removes_none(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "DYNAMO.PUT k one\r\nDYNAMO.PUT k two\r\n");
  world_settle(false);
  client->out_size = 0;
  check(client, "GET k\r\nSTRLEN k\r\nEXISTS k\r\n", "$3\r\ntwo\r\n:3\r\n:1\r\n");
  struct object object;
  enum err err = object_open(&object, blob_bytes(world_object(text_bytes("k"))->blob));
  assert_int_equal(err, ERR_OK);
  assert_int_equal(object.sibling_count, 2);
}

/* -- errors --------------------------------------------------------------------------------- */

static void unknown_commands_and_wrong_arity_get_the_words_of_redis(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "FOO a b\r\n", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n");
  check(client, "INCR\r\n", "-ERR unknown command 'INCR', with args beginning with: \r\n");
  check(client, "setnx k v\r\n", "-ERR unknown command 'setnx', with args beginning with: 'k' 'v' \r\n");
  check(client, "*2\r\n$3\r\na\r\n\r\n$1\r\n\n\r\n", "-ERR unknown command 'a  ', with args beginning with: ' ' \r\n");
  check(client, "GET\r\n", "-ERR wrong number of arguments for 'get' command\r\n");
  check(client, "get a b\r\n", "-ERR wrong number of arguments for 'get' command\r\n");
  check(client, "CONFIG GET\r\n", "-ERR wrong number of arguments for 'config|get' command\r\n");
  check(client, "CLUSTER\r\n", "-ERR wrong number of arguments for 'cluster' command\r\n");
  check(client, "CLUSTER FOO\r\n", "-ERR unknown subcommand 'FOO'. Try CLUSTER HELP.\r\n");
  check(client, "dynamo.cluster foo\r\n", "-ERR unknown subcommand 'foo'. Try DYNAMO.CLUSTER HELP.\r\n");
}

static void long_arguments_of_an_unknown_command_are_cut(void **state) {
  (void)state;
  struct client *client = world_connect();
  char request[1024];
  memset(request, 'x', sizeof(request));
  static const char head[] = "FOO ";
  for (size_t i = 0; i < sizeof(head) - 1; i++) {
    request[i] = head[i];
  }
  snprintf(request + 600, sizeof(request) - 600, " y\r\n");
  world_send(client, request);
  char expected[512] = "-ERR unknown command 'FOO', with args beginning with: '";
  size_t size = strlen(expected);
  memset(expected + size, 'x', 128);
  snprintf(expected + size + 128, 64, "' \r\n");
  assert_reply(client, expected);
}

static void an_oversized_value_is_named_and_the_connection_goes_on(void **state) {
  (void)state;
  struct client *client = world_connect();
  front_set_value_max(world.front, 1024);
  char value[2048];
  memset(value, 'v', sizeof(value));
  world_send(client, "GET k\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2048\r\n");
  world_send_bytes(client, (struct bytes){(uint8_t *)value, sizeof(value)});
  world_send(client, "\r\nPING\r\n");
  assert_reply(client, "");
  world_settle(false);
  assert_reply(client, "$-1\r\n-TOOBIG value is 2048 bytes, the limit is 1024 (max-value)\r\n+PONG\r\n");
  assert_false(client->finishing);
}

static void a_broken_protocol_is_answered_in_turn_and_ends_the_connection(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "SET k v\r\n*1\r\n:1\r\nPING\r\n");
  assert_reply(client, "");
  assert_false(client->finishing);
  world_settle(false);
  assert_reply(client, "+OK\r\n-ERR Protocol error: expected '$', got ':'\r\n");
  assert_true(client->finishing);
}

static void a_browser_is_shown_the_door(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k v\r\n");
  assert_reply(client, "");
  assert_true(client->finishing);
  assert_int_equal(world.command_count, 0);
}

static void failure(enum err err, enum quorum_kind kind, uint8_t wanted, uint8_t answered, uint32_t missing) {
  world.next = (struct reply){.err = err};
  world.next.outcome = (struct outcome){.kind = (uint8_t)kind, .wanted = wanted, .answered = answered};
  if (missing != 0) {
    world.next.outcome.missing_count = 1;
    world.next.outcome.missing[0] = missing;
  }
}

static void failures_of_the_core_say_what_happened(void **state) {
  (void)state;
  struct client *client = world_connect();
  failure(ERR_QUORUM, QUORUM_W, 2, 1, 0xa3);
  world.down[2] = true;
  check(client, "SET k v\r\n", "-QUORUM wanted W=2, 1 answered (c is down)\r\n");
  world.down[2] = false;
  failure(ERR_QUORUM, QUORUM_PR, 3, 2, 0xa2);
  check(client, "GET k\r\n", "-QUORUM wanted PR=3, 2 answered (b did not answer)\r\n");
  failure(ERR_TIMEOUT, QUORUM_DW, 2, 1, 0xa2);
  check(client, "SET k v\r\n",
        "-TIMEOUT wanted DW=2, 1 answered in time (b did not answer); the write may still take effect\r\n");
  failure(ERR_TIMEOUT, QUORUM_R, 2, 1, 0xff);
  check(client, "GET k\r\n", "-TIMEOUT wanted R=2, 1 answered in time (node 000000ff is down)\r\n");
  failure(ERR_QUORUM, QUORUM_W, 5, 0, WORLD_SELF);
  check(
      client, "SET k v\r\n",
      "-QUORUM wanted W=5, 0 answered (the cluster has 3 members: add nodes, or lower n, r, w with DYNAMO.BUCKET)\r\n");
  failure(ERR_TIMEOUT, QUORUM_NONE, 0, 0, 0);
  check(client, "GET k\r\n", "-TIMEOUT too few nodes answered in time\r\n");
  for (int err = ERR_OK + 1; err < ERR_COUNT; err++) {
    char expected[256];
    if (err != ERR_QUORUM && err != ERR_TIMEOUT && err != ERR_NOTMEMBER) {
      failure((enum err)err, QUORUM_NONE, 0, 0, 0);
      snprintf(expected, sizeof(expected), "-%s %s\r\n", err_code((enum err)err), err_text((enum err)err));
      check(client, "SET k v\r\n", expected);
    }
  }
  failure(ERR_NOTMEMBER, QUORUM_NONE, 0, 0, 0);
  check(client, "SET k v\r\n",
        "-NOTMEMBER this node is not yet a member of a cluster: it is asking its seeds to take it in\r\n");
  failure(ERR_BADARG, QUORUM_NONE, 0, 0, 0);
  world.next.why = "DW must be between 0 and W";
  check(client, "SET k v\r\n", "-ERR DW must be between 0 and W\r\n");
}

static void an_error_of_one_key_is_the_reply_of_all(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "MSET a 1 b 2 c 3\r\nMGET a b\r\nDEL c d\r\n");
  world_answer(0);
  failure(ERR_BUSY, QUORUM_NONE, 0, 0, 0);
  world_answer(1);
  world.next = (struct reply){0};
  assert_reply(client, "");
  world_settle(false);
  assert_reply(client, "-BUSY the node has too much work in hand; try again shortly\r\n"
                       "*2\r\n$1\r\n1\r\n$1\r\n2\r\n:1\r\n");
}

static void a_failed_second_step_is_an_error(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "SET k v\r\n", "+OK\r\n");
  world_send(client, "GETDEL k\r\n");
  world_answer(1);
  failure(ERR_NOSPACE, QUORUM_NONE, 0, 0, 0);
  world_answer(2);
  world.next = (struct reply){0};
  assert_reply(client, "-NOSPACE the disk is full; writes are refused until there is space, reads are served\r\n");
  check(client, "GET k\r\n", "$1\r\nv\r\n");
}

/* -- order ----------------------------------------------------------------------------------------- */

static void replies_come_in_the_order_of_requests(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "MSET a 1 b 2 c 3\r\n", "+OK\r\n");
  world_send(client, "GET a\r\nPING\r\nGET b\r\nECHO x\r\nFOO\r\nGET c\r\n");
  assert_reply(client, "");
  world_answer(5);
  world_answer(4);
  assert_reply(client, "");
  world_answer(3);
  assert_reply(client,
               "$1\r\n1\r\n+PONG\r\n$1\r\n2\r\n$1\r\nx\r\n-ERR unknown command 'FOO', with args beginning with: "
               "\r\n$1\r\n3\r\n");
}

static void a_pipeline_reads_its_own_writes(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "SET k 1\r\nGET k\r\nSET k 2\r\nGET k\r\nGET other\r\n");
  assert_int_equal(world.command_count, 2); /* the first SET, and what has nothing to do with it */
  assert_true(bytes_equal(world.commands[1].command.key, text_bytes("other")));
  world_settle(true);
  assert_reply(client, "+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n$-1\r\n");
}

static void a_write_waits_for_an_earlier_read_of_its_key(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "SET k old\r\n", "+OK\r\n");
  world_send(client, "GET k\r\nSET k new\r\nDEL k\r\nSET k last\r\n");
  assert_int_equal(world.command_count, 2);
  world_settle(true);
  assert_reply(client, "$3\r\nold\r\n+OK\r\n:1\r\n+OK\r\n");
  check(client, "GET k\r\n", "$4\r\nlast\r\n");
}

static void independent_keys_and_reads_run_side_by_side(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "SET a 1\r\nSET b 2\r\nGET c\r\nGET c\r\nMGET c d\r\nDEL e\r\n");
  assert_int_equal(world.command_count, 7);
  world_settle(true);
  assert_reply(client, "+OK\r\n+OK\r\n$-1\r\n$-1\r\n*2\r\n$-1\r\n$-1\r\n:0\r\n");
}

static void plain_sets_of_one_key_need_not_wait_where_this_node_stamps_them(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "SET k 1\r\nSET k 2\r\nSET k 3\r\nGET k\r\n");
  assert_int_equal(world.command_count, 3);
  world_settle(true);
  assert_reply(client, "+OK\r\n+OK\r\n+OK\r\n$1\r\n3\r\n");
}

/* A key that this node keeps no copy of, in a ring of seven. */
static void foreign_key(char *key, size_t size) {
  world_ring(7, 64);
  for (uint32_t i = 0;; i++) {
    struct preference preference;
    snprintf(key, size, "key-%" PRIu32, i);
    ring_preference(&world.ring, position_partition(position_of_key(text_bytes(key)), 64), 3, &preference);
    if (preference.nodes[0] != WORLD_SELF && preference.nodes[1] != WORLD_SELF && preference.nodes[2] != WORLD_SELF) {
      return;
    }
  }
}

static void plain_sets_of_one_key_wait_where_another_node_stamps_them(void **state) {
  (void)state;
  struct client *client = world_connect();
  char key[32];
  char request[128];
  foreign_key(key, sizeof(key));
  snprintf(request, sizeof(request), "SET %s 1\r\nSET %s 2\r\nGET %s\r\n", key, key, key);
  world_send(client, request);
  assert_int_equal(world.command_count, 1);
  world_answer(0);
  assert_int_equal(world.command_count, 2);
  world_settle(false);
  assert_reply(client, "+OK\r\n+OK\r\n$1\r\n2\r\n");
}

static void connections_do_not_wait_for_each_other(void **state) {
  (void)state;
  struct client *a = world_connect();
  struct client *b = world_connect();
  world_send(a, "SET k 1\r\n");
  world_send(b, "GET k\r\n");
  assert_int_equal(world.command_count, 2);
  world_answer(1);
  assert_reply(b, "$1\r\n1\r\n");
  world_answer(0);
  assert_reply(a, "+OK\r\n");
}

static void a_deep_pipeline_is_read_in_portions(void **state) {
  (void)state;
  struct client *client = world_connect();
  const uint32_t count = 3000;
  char *text = malloc((size_t)count * 16);
  assert_non_null(text);
  size_t size = 0;
  for (uint32_t i = 0; i < count; i++) {
    size += (size_t)sprintf(text + size, "GET k%" PRIu32 "\r\n", i % 400);
  }
  world_send_bytes(client, (struct bytes){(uint8_t *)text, size});
  free(text);
  assert_true(client->paused);
  assert_true(world.command_count <= CLIENT_PIPELINE_MAX);
  uint32_t most = 0;
  while (world_open_commands() > 0) {
    most = world_open_commands() > most ? world_open_commands() : most;
    for (uint32_t i = world.command_count; i > 0; i--) {
      if (!world.commands[i - 1].answered) {
        world_answer(i - 1);
        break;
      }
    }
    world_run();
  }
  assert_int_equal(world.command_count, count);
  assert_true(most > 100); /* small replies open the window */
  assert_true(most <= CLIENT_PIPELINE_MAX);
  assert_int_equal(client->out_size, (size_t)count * 5);
  assert_false(client->paused);
}

static void large_values_narrow_the_window_for_the_reads_behind_them(void **state) {
  (void)state;
  struct client *client = world_connect();
  static char request[64 + 1000000 + 2];
  int head = snprintf(request, sizeof(request), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n");
  memset(request + head, 'v', 1000000);
  request[head + 1000000] = '\r';
  request[head + 1000001] = '\n';
  for (uint32_t i = 0; i < 12; i++) {
    world_send_bytes(client, (struct bytes){(uint8_t *)request, (size_t)head + 1000002});
    world_settle(false);
  }
  for (uint32_t i = 0; i < 20; i++) {
    world_send(client, "GET k\r\n");
  }
  assert_true(world_open_commands() <= 8);
  world_settle(false);
  assert_int_equal(client->out_size, 12 * 5 + 20 * (1000000 + 12));
}

static void large_replies_narrow_the_window(void **state) {
  (void)state;
  struct client *client = world_connect();
  static char value[1000001];
  memset(value, 'v', sizeof(value) - 1);
  struct command set = {.kind = COMMAND_PUT, .key = text_bytes("k"), .value = text_bytes(value), .blind = true};
  assert_int_equal(world_put(&set), ERR_OK);
  for (uint32_t i = 0; i < 40; i++) {
    world_send(client, "GET k\r\n");
  }
  while (world_open_commands() > 0) {
    assert_true(world_open_commands() <= 16);
    for (uint32_t i = 0; i < world.command_count; i++) {
      if (!world.commands[i].answered) {
        world_answer(i);
        break;
      }
    }
    world_run();
  }
  assert_int_equal(world.command_count, 40);
  assert_int_equal(client->out_size, 40 * (1000000 + 12));
}

static void all_connections_together_leave_the_core_room(void **state) {
  (void)state;
  struct client *clients[4];
  char *text = malloc(65536);
  assert_non_null(text);
  for (uint32_t c = 0; c < 4; c++) {
    clients[c] = world_connect();
    check(clients[c], "GET warm\r\nGET warm\r\nGET warm\r\nGET warm\r\n", "$-1\r\n$-1\r\n$-1\r\n$-1\r\n");
    for (uint32_t i = 0; i < 20; i++) {
      check(clients[c], "GET warm\r\n", "$-1\r\n");
    }
  }
  uint32_t before = world.command_count;
  for (uint32_t c = 0; c < 4; c++) {
    size_t size = 0;
    for (uint32_t i = 0; i < 1000; i++) {
      size += (size_t)sprintf(text + size, "GET %" PRIu32 "\r\n", i % 100);
    }
    world_send_bytes(clients[c], (struct bytes){(uint8_t *)text, size});
  }
  free(text);
  assert_true(world_open_commands() <= REQUESTS_MAX / 4);
  assert_true(world_open_commands() > REQUESTS_MAX / 8);
  world_settle(false);
  assert_int_equal(world.command_count - before, 4000);
  for (uint32_t c = 0; c < 4; c++) {
    assert_int_equal(clients[c]->out_size, 5000);
  }
}

static void a_client_that_goes_takes_its_requests_with_it(void **state) {
  (void)state;
  struct client *gone = world_connect();
  check(gone, "SET k v\r\n", "+OK\r\n");
  world_send(gone, "GETDEL k\r\nMGET a b c\r\nSET a 1\r\nPING\r\nGET a\r\n*2\r\n$3\r\nGE");
  uint32_t open = world.command_count;
  world_disconnect(gone);
  struct client *next = world_connect();
  world_send(next, "GET k\r\nGET b\r\nGET c\r\nGET d\r\nSET k w\r\n");
  for (uint32_t i = 1; i < open; i++) {
    world_answer(i); /* late: these tokens name nobody now */
  }
  assert_reply(next, "");
  world_settle(false);
  assert_reply(next, "$1\r\nv\r\n$-1\r\n$-1\r\n$-1\r\n+OK\r\n");
}

static void the_second_step_is_not_taken_for_a_client_that_has_gone(void **state) {
  (void)state;
  struct client *gone = world_connect();
  check(gone, "SET k v\r\n", "+OK\r\n");
  world_send(gone, "DEL k\r\n");
  world_disconnect(gone);
  world_answer(1);
  assert_int_equal(world.command_count, 2);
}

static void unanswered_requests_are_counted_for_a_client_that_has_closed_its_side(void **state) {
  (void)state;
  struct client *client = world_connect();
  const struct server_handler *handler = front_handler(world.front);
  assert_int_equal(handler->unanswered(handler->context, client), 0);
  world_send(client, "GET a\r\nPING\r\nGET b\r\n");
  assert_int_equal(handler->unanswered(handler->context, client), 3);
  world_answer(0);
  assert_int_equal(handler->unanswered(handler->context, client), 1);
  world_settle(false);
  assert_int_equal(handler->unanswered(handler->context, client), 0);
}

/* -- connection --------------------------------------------------------------------------------------- */

static void ping_echo_select(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "PING\r\nPING hi\r\nECHO \"a b\"\r\n", "+PONG\r\n$2\r\nhi\r\n$3\r\na b\r\n");
  check(client, "PING a b\r\n", "-ERR wrong number of arguments for 'ping' command\r\n");
  check(client, "SELECT 0\r\n", "+OK\r\n");
  check(client, "SELECT 1\r\n", "-ERR SELECT is not allowed in cluster mode\r\n");
  check(client, "SELECT x\r\n", "-ERR value is not an integer or out of range\r\n");
  check(client, "READONLY\r\nREADWRITE\r\nASKING\r\n", "+OK\r\n+OK\r\n+OK\r\n");
}

static void hello_agrees_on_a_version(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "HELLO 3\r\n", HELLO_3);
  check(client, "GET nosuch\r\n", "_\r\n");
  check(client, "HELLO 2 SETNAME me\r\n",
        "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:1\r\n"
        "$4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n");
  check(client, "CLIENT GETNAME\r\n", "$2\r\nme\r\n");
  check(client, "HELLO 4\r\n", "-NOPROTO unsupported protocol version\r\n");
  check(client, "HELLO x\r\n", "-ERR Protocol version is not an integer or out of range\r\n");
  check(client, "HELLO 3 FOO\r\n", "-ERR Syntax error in HELLO option 'FOO'\r\n");
  check(client, "HELLO 3 SETNAME \"a b\"\r\n",
        "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
  check(client, "GET nosuch\r\n", "$-1\r\n");
}

static void replies_keep_the_version_that_was_agreed_when_they_were_asked_for(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "GET nosuch\r\nHELLO 3\r\nGET nosuch\r\n");
  world_settle(true);
  assert_reply(client, "$-1\r\n" HELLO_3 "_\r\n");
}

static void without_a_password_everyone_may_come_in(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "AUTH x\r\n",
        "-ERR AUTH <password> called without any password configured for the default user. Are you sure your "
        "configuration is correct?\r\n");
  check(client, "AUTH default x\r\n", "+OK\r\n");
  check(client, "AUTH other x\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
  check(client, "AUTH a b c\r\n", "-ERR syntax error\r\n");
}

static void with_a_password_little_is_served_before_auth(void **state) {
  (void)state;
  front_set_password(world.front, "sesame");
  struct client *client = world_connect();
  static const char *const commands[] = {
      "GET k\r\n",       "PING\r\n",          "SET k v\r\n", "CONFIG GET *\r\n", "INFO\r\n",
      "DYNAMO.HELP\r\n", "CLUSTER SLOTS\r\n", "COMMAND\r\n", "CLIENT LIST\r\n",  "DYNAMO.CLUSTER STATUS\r\n",
      "DBSIZE\r\n",      "SELECT 0\r\n"};
  for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
    check(client, commands[i], "-NOAUTH Authentication required.\r\n");
  }
  assert_int_equal(world.command_count, 0);
  check(client, "HELLO 3\r\n",
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
        "<pass> option can be used to authenticate the client and select the RESP protocol version at the same "
        "time\r\n");
  check(client, "AUTH sesam\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
  check(client, "AUTH sesame2\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
  check(client, "AUTH \"\"\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
  check(client, "AUTH \"sesame\\x00\"\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
  check(client, "AUTH other sesame\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
  check(client, "HELLO 3 AUTH default wrong\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
  check(client, "RESET\r\n", "+RESET\r\n");
  check(client, "AUTH sesame\r\n", "+OK\r\n");
  check(client, "PING\r\n", "+PONG\r\n");
  check(client, "RESET\r\nPING\r\n", "+RESET\r\n-NOAUTH Authentication required.\r\n");
  check(client, "AUTH default sesame\r\nPING\r\n", "+OK\r\n+PONG\r\n");
  check(client, "RESET\r\n", "+RESET\r\n");
  check(client, "HELLO 3 AUTH default sesame\r\n", HELLO_3);
  check(client, "GET nosuch\r\n", "_\r\n");
  struct client *stranger = world_connect();
  world_send(stranger, "*2\r\n$4\r\nAUTH\r\n$20000\r\n");
  assert_reply(stranger, "-ERR Protocol error: unauthenticated bulk length\r\n");
  assert_true(stranger->finishing);
  struct client *leaving = world_connect();
  check(leaving, "QUIT\r\n", "+OK\r\n");
  assert_true(leaving->finishing);
}

static void quit_answers_what_was_asked_before(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "GET a\r\nQUIT\r\nGET b\r\n");
  assert_false(client->finishing);
  assert_int_equal(world.command_count, 1);
  world_settle(false);
  assert_reply(client, "$-1\r\n+OK\r\n");
  assert_true(client->finishing);
}

static void client_tells_of_connections(void **state) {
  (void)state;
  struct client *client = world_connect();
  struct client *other = connect_resp3();
  world.now_ns += 3000000000u;
  check(client, "CLIENT ID\r\nCLIENT GETNAME\r\nCLIENT SETNAME me\r\nCLIENT GETNAME\r\n",
        ":1\r\n$-1\r\n+OK\r\n$2\r\nme\r\n");
  check(other, "CLIENT GETNAME\r\n", "_\r\n");
  check(client, "CLIENT SETINFO lib-name redis-py\r\nCLIENT SETINFO LIB-VER 4.3\r\n", "+OK\r\n+OK\r\n");
  check(client, "CLIENT SETINFO color red\r\n", "-ERR Unrecognized option 'color'\r\n");
  check(client, "CLIENT SETINFO LIB-NAME \"a b\"\r\n",
        "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n");
  check(client, "CLIENT INFO\r\n",
        "$254\r\nid=1 addr=127.0.0.1:40001 name=me age=3 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 "
        "qbuf-free=0 argv-mem=0 multi-mem=0 obl=0 oll=0 omem=0 tot-mem=0 events=r pending=0 cmd=client|info "
        "user=default redir=-1 resp=2 lib-name=redis-py lib-ver=4.3\n\r\n");
  check(other, "CLIENT LIST ID 2 7\r\n",
        "=245\r\ntxt:id=2 addr=127.0.0.1:40002 name= age=3 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 "
        "qbuf-free=0 argv-mem=0 multi-mem=0 obl=0 oll=0 omem=0 tot-mem=0 events=r pending=0 cmd=client|list "
        "user=default redir=-1 resp=3 lib-name= lib-ver=\n\r\n");
  check(client, "CLIENT LIST TYPE master\r\n", "$0\r\n\r\n");
  check(client, "CLIENT LIST TYPE foo\r\n", "-ERR Unknown client type 'foo'\r\n");
  check(client, "CLIENT LIST ID x\r\n", "-ERR Invalid client ID\r\n");
  check(client, "CLIENT SETNAME \"\"\r\nCLIENT GETNAME\r\n", "+OK\r\n$-1\r\n");
  check(client, "CLIENT REPLY ON\r\n", "+OK\r\n");
  check(client, "CLIENT REPLY OFF\r\n", "-ERR CLIENT REPLY OFF and SKIP are not offered: each request is answered\r\n");
  check(client, "CLIENT NO-EVICT ON\r\n",
        "-ERR CLIENT NO-EVICT is not offered: clients that do not read their replies are closed\r\n");
  check(client, "CLIENT KILL 1\r\n", "-ERR unknown subcommand 'KILL'. Try CLIENT HELP.\r\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WORLD_TEST(set_and_get),
      WORLD_TEST(a_large_value_comes_back_whole),
      WORLD_TEST(set_with_an_expiry),
      WORLD_TEST(set_refuses_what_makes_no_sense),
      WORLD_TEST(composite_commands_read_before_they_write),
      WORLD_TEST(a_deletion_leaves_what_it_has_not_seen),
      WORLD_TEST(only_what_lives_is_deleted),
      WORLD_TEST(commands_of_many_keys_gather_in_their_order),
      WORLD_TEST(plain_get_shows_the_latest_sibling_and_removes_none),
      WORLD_TEST(unknown_commands_and_wrong_arity_get_the_words_of_redis),
      WORLD_TEST(long_arguments_of_an_unknown_command_are_cut),
      WORLD_TEST(an_oversized_value_is_named_and_the_connection_goes_on),
      WORLD_TEST(a_broken_protocol_is_answered_in_turn_and_ends_the_connection),
      WORLD_TEST(a_browser_is_shown_the_door),
      WORLD_TEST(failures_of_the_core_say_what_happened),
      WORLD_TEST(an_error_of_one_key_is_the_reply_of_all),
      WORLD_TEST(a_failed_second_step_is_an_error),
      WORLD_TEST(replies_come_in_the_order_of_requests),
      WORLD_TEST(a_pipeline_reads_its_own_writes),
      WORLD_TEST(a_write_waits_for_an_earlier_read_of_its_key),
      WORLD_TEST(independent_keys_and_reads_run_side_by_side),
      WORLD_TEST(plain_sets_of_one_key_need_not_wait_where_this_node_stamps_them),
      WORLD_TEST(plain_sets_of_one_key_wait_where_another_node_stamps_them),
      WORLD_TEST(connections_do_not_wait_for_each_other),
      WORLD_TEST(a_deep_pipeline_is_read_in_portions),
      WORLD_TEST(large_values_narrow_the_window_for_the_reads_behind_them),
      WORLD_TEST(large_replies_narrow_the_window),
      WORLD_TEST(all_connections_together_leave_the_core_room),
      WORLD_TEST(a_client_that_goes_takes_its_requests_with_it),
      WORLD_TEST(the_second_step_is_not_taken_for_a_client_that_has_gone),
      WORLD_TEST(unanswered_requests_are_counted_for_a_client_that_has_closed_its_side),
      WORLD_TEST(ping_echo_select),
      WORLD_TEST(hello_agrees_on_a_version),
      WORLD_TEST(replies_keep_the_version_that_was_agreed_when_they_were_asked_for),
      WORLD_TEST(without_a_password_everyone_may_come_in),
      WORLD_TEST(with_a_password_little_is_served_before_auth),
      WORLD_TEST(quit_answers_what_was_asked_before),
      WORLD_TEST(client_tells_of_connections),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
