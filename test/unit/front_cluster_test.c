/* What the front tells of itself and of the cluster, and the DYNAMO commands. */
#include "support/front_world.h"

#include <jansson.h>

/* NUL-terminated; the caller frees it. */
static char *copy_text(const uint8_t *bytes, size_t size) {
  char *text = malloc(size + 1);
  assert_non_null(text);
  memcpy(text, bytes, size);
  text[size] = '\0';
  return text;
}

/* -- COMMAND, CONFIG, INFO -------------------------------------------------------------------------------- */

static void command_tells_of_commands(void **state) {
  (void)state;
  struct client *two = world_connect();
  struct client *three = connect_resp3();
  check(two, "COMMAND INFO mset nosuch\r\n",
        "*2\r\n*10\r\n$4\r\nmset\r\n:-3\r\n*2\r\n+write\r\n+denyoom\r\n:1\r\n:-1\r\n:2\r\n*3\r\n+@write\r\n+@string\r\n"
        "+@slow\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+OW\r\n+update\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n"
        "$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
        "$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:-1\r\n$7\r\nkeystep\r\n:2\r\n$5\r\nlimit\r\n:0\r\n*0\r\n$-1\r\n");
  check(three, "COMMAND INFO config|get\r\n",
        "*1\r\n*10\r\n$10\r\nconfig|get\r\n:-3\r\n~4\r\n+admin\r\n+noscript\r\n+loading\r\n+stale\r\n:0\r\n:0\r\n:0\r\n"
        "~3\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n~0\r\n~0\r\n~0\r\n");
  check(three, "COMMAND DOCS get nosuch\r\n",
        "%1\r\n$3\r\nget\r\n%4\r\n$7\r\nsummary\r\n$46\r\nThe value of a key; the latest of its "
        "siblings\r\n$5\r\nsince\r\n"
        "$5\r\n1.0.0\r\n$5\r\ngroup\r\n$6\r\nstring\r\n$10\r\ncomplexity\r\n$4\r\nO(1)\r\n");
  check(two, "COMMAND COUNT\r\n", ":36\r\n");
  check(two, "COMMAND LIST FILTERBY PATTERN GETD*\r\n", "*1\r\n$6\r\ngetdel\r\n");
  check(two, "COMMAND LIST FILTERBY ACLCAT string\r\n",
        "*9\r\n$3\r\nget\r\n$6\r\ngetdel\r\n$6\r\ngetset\r\n$4\r\nmget\r\n$4\r\nmset\r\n$6\r\npsetex\r\n$3\r\nset\r\n"
        "$5\r\nsetex\r\n$6\r\nstrlen\r\n");
}

static void command_knows_the_keys_of_a_command(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "COMMAND GETKEYS get a\r\n", "*1\r\n$1\r\na\r\n");
  check(client, "COMMAND GETKEYS mset a 1 b 2\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
  check(client, "COMMAND GETKEYS del a b c\r\n", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
  check(client, "COMMAND GETKEYS dynamo.put k v W 2\r\n", "*1\r\n$1\r\nk\r\n");
  check(client, "COMMAND GETKEYS get\r\n", "-ERR Invalid number of arguments specified for command\r\n");
  check(client, "COMMAND GETKEYS ping\r\n", "-ERR The command has no key arguments\r\n");
  check(client, "COMMAND GETKEYS nosuch\r\n", "-ERR Invalid command specified\r\n");
}

static void all_of_command_is_well_formed(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "COMMAND\r\n");
  assert_true(client->out_size > 5000);
  assert_memory_equal(client->out, "*36\r\n*10\r\n$6\r\nasking\r\n", 22);
  client->out_size = 0;
  world_send(client, "COMMAND DOCS\r\n");
  assert_memory_equal(client->out, "*72\r\n$6\r\nasking\r\n*8\r\n", 21);
  client->out_size = 0;
}

static void config_shows_and_changes_options(void **state) {
  (void)state;
  struct client *two = world_connect();
  struct client *three = connect_resp3();
  check(two, "CONFIG GET port\r\n", "*2\r\n$4\r\nport\r\n$4\r\n7600\r\n");
  check(three, "CONFIG GET PO?T nosuch\r\n", "%1\r\n$4\r\nport\r\n$4\r\n7600\r\n");
  check(two, "CONFIG GET save appendonly\r\n", "*4\r\n$10\r\nappendonly\r\n$2\r\nno\r\n$4\r\nsave\r\n$0\r\n\r\n");
  check(two, "CONFIG GET max[a-c]lients\r\n", "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n");
  check(two, "CONFIG GET nosuch\r\n", "*0\r\n");
  check(two, "CONFIG SET maxclients 5 port 7\r\n", "+OK\r\n");
  assert_string_equal(world_option("max-clients")->text, "5");
  check(two, "CONFIG SET port 8 max-clients bad\r\n",
        "-ERR CONFIG SET failed (possibly related to argument 'max-clients') - max-clients must not be bad\r\n");
  assert_string_equal(world_option("port")->text, "7"); /* all or none */
  check(two, "CONFIG SET nosuch 1\r\n", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n");
  check(two, "CONFIG SET save 1\r\n",
        "-ERR CONFIG SET failed (possibly related to argument 'save') - can't set immutable config\r\n");
  check(two, "CONFIG SET port\r\n", "-ERR wrong number of arguments for 'config|set' command\r\n");
  check(two, "CONFIG SET port 1 max-clients\r\n", "-ERR wrong number of arguments for 'config|set' command\r\n");
}

static void no_reply_shows_a_password(void **state) {
  (void)state;
  static const char *const commands[] = {"CONFIG GET *\r\n",
                                         "INFO everything\r\n",
                                         "CLIENT LIST\r\n",
                                         "CLIENT INFO\r\n",
                                         "DYNAMO.CLUSTER STATUS\r\n",
                                         "CONFIG SET requirepass sesame port bad\r\n",
                                         "CONFIG GET requirepass\r\n",
                                         "COMMAND DOCS\r\n"};
  struct client *client = world_connect();
  check(client, "CONFIG SET requirepass sesame\r\n", "+OK\r\n");
  struct client *other = world_connect();
  check(other, "PING\r\n", "-NOAUTH Authentication required.\r\n");
  check(other, "AUTH sesame\r\n", "+OK\r\n");
  for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
    world_send(client, commands[i]);
    assert_true(client->out_size > 0);
    assert_false(contains(client, "sesame"));
    assert_false(contains(client, "s3cret"));
    client->out_size = 0;
  }
  check(client, "CONFIG GET requirepass\r\n", "*2\r\n$11\r\nrequirepass\r\n$4\r\n****\r\n");
  check(client, "CONFIG GET secret\r\n", "*2\r\n$6\r\nsecret\r\n$4\r\n****\r\n");
}

static void info_is_divided_into_sections(void **state) {
  (void)state;
  struct client *client = world_connect();
  struct client *three = connect_resp3();
  check(client, "INFO keyspace\r\n", "$44\r\n# Keyspace\r\ndb0:keys=7,expires=0,avg_ttl=0\r\n\r\n");
  check(three, "INFO KEYSPACE\r\n", "=48\r\ntxt:# Keyspace\r\ndb0:keys=7,expires=0,avg_ttl=0\r\n\r\n");
  check(client, "INFO replication keyspace\r\n",
        "$94\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Keyspace\r\n"
        "db0:keys=7,expires=0,avg_ttl=0\r\n\r\n");
  check(client, "INFO foo\r\n", "$0\r\n\r\n");
  world.stats.hints = 1234;
  world_send(client, "INFO\r\n");
  static const char *const lines[] = {"# Server\r\n",       "redis_mode:cluster\r\n", "redis_version:7.0.15\r\n",
                                      "tcp_port:7600\r\n",  "\r\n\r\n# Clients\r\n",  "\r\ncluster_enabled:1\r\n",
                                      "\r\nhints:1234\r\n", "\r\nrole:master\r\n",    "\r\nuptime_in_seconds:5\r\n",
                                      "\r\nused_memory:"};
  for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
    assert_true(contains(client, lines[i]));
  }
  assert_false(contains(client, "cmdstat_"));
  client->out_size = 0;
  world_send(client, "INFO all\r\n");
  assert_true(contains(client, "\r\ncmdstat_info:calls="));
  client->out_size = 0;
  check(client, "DBSIZE\r\n", ":7\r\n"); /* three nodes with seven keys each, three copies of each key */
}

/* -- CLUSTER ------------------------------------------------------------------------------------------------ */

#define ID_A "$40\r\n000000a100000000000000000000000000000000\r\n"
#define NODE_A(map) "*4\r\n$9\r\n127.0.0.1\r\n:7600\r\n" ID_A map

static void a_cluster_of_one_serves_all_slots(void **state) {
  (void)state;
  world_ring(1, 64);
  struct client *two = world_connect();
  struct client *three = connect_resp3();
  check(two, "CLUSTER SLOTS\r\n", "*1\r\n*3\r\n:0\r\n:16383\r\n" NODE_A("*0\r\n"));
  check(three, "CLUSTER SLOTS\r\n", "*1\r\n*3\r\n:0\r\n:16383\r\n" NODE_A("%0\r\n"));
  check(two, "CLUSTER NODES\r\n",
        "$102\r\n000000a100000000000000000000000000000000 127.0.0.1:7600@17600 myself,master - 0 0 1 connected "
        "0-16383\n\r\n");
  check(
      three, "CLUSTER SHARDS\r\n",
      "*1\r\n%2\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n%7\r\n$2\r\nid\r\n" ID_A
      "$4\r\nport\r\n:7600\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$8\r\nendpoint\r\n$9\r\n127.0.0.1\r\n$4\r\nrole\r\n$6\r\n"
      "master\r\n$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n");
  check(two, "CLUSTER MYID\r\n", ID_A);
  check(two, "CLUSTER KEYSLOT foo\r\nCLUSTER KEYSLOT {foo}bar\r\n", ":12182\r\n:12182\r\n");
  check(two, "CLUSTER COUNTKEYSINSLOT 1\r\n", ":0\r\n");
  check(two, "CLUSTER COUNTKEYSINSLOT 16384\r\n", "-ERR Invalid slot\r\n");
  check(two, "CLUSTER COUNTKEYSINSLOT x\r\n", "-ERR value is not an integer or out of range\r\n");
  world_send(two, "CLUSTER INFO\r\n");
  assert_true(contains(two, "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
  two->out_size = 0;
}

static void without_a_ring_no_slot_is_served(void **state) {
  (void)state;
  memset(&world.ring, 0, sizeof(world.ring));
  struct client *client = world_connect();
  check(client, "CLUSTER SLOTS\r\nCLUSTER SHARDS\r\nCLUSTER NODES\r\n", "*0\r\n*0\r\n$0\r\n\r\n");
  world_send(client, "CLUSTER INFO\r\n");
  assert_true(contains(client, "cluster_state:fail\r\ncluster_slots_assigned:0\r\n"));
  client->out_size = 0;
}

/* Reads CLUSTER SLOTS and checks each range against the ring. */
static void check_slots(struct client *client, uint32_t partitions, uint32_t n) {
  world_send(client, "CLUSTER SLOTS\r\n");
  char *text = copy_text(client->out, client->out_size);
  client->out_size = 0;
  char *at = text;
  int ranges = 0;
  uint32_t next = 0;
  int used = 0;
  assert_int_equal(sscanf(at, "*%d\r\n%n", &ranges, &used), 1);
  for (at += used; ranges > 0; ranges--) {
    int parts = 0;
    uint32_t first = 0;
    uint32_t last = 0;
    assert_int_equal(sscanf(at, "*%d\r\n:%" SCNu32 "\r\n:%" SCNu32 "\r\n%n", &parts, &first, &last, &used), 3);
    at += used;
    assert_int_equal(first, next);
    next = last + 1;
    struct preference preference;
    for (uint32_t slot = first; slot <= last; slot += 16384 / partitions) {
      char *node_at = at;
      uint32_t told = 0;
      ring_preference(&world.ring, slot / (16384 / partitions), n, &preference);
      for (uint32_t i = 0; i < preference.replica_count; i++) {
        if (world.down[ring_find(&world.ring, preference.nodes[i])]) {
          continue;
        }
        char expected[160];
        int length =
            snprintf(expected, sizeof(expected), "*4\r\n$9\r\n127.0.0.1\r\n:%u\r\n$40\r\n%08" PRIx32 "%032d\r\n*0\r\n",
                     7600 + preference.nodes[i] - WORLD_SELF, preference.nodes[i], 0);
        assert_memory_equal(node_at, expected, (size_t)length);
        node_at += length;
        told += 1;
      }
      assert_int_equal(told, parts - 2);
      if (slot + 16384 / partitions > last) {
        at = node_at;
        break;
      }
    }
  }
  assert_int_equal(next, 16384);
  assert_int_equal(*at, '\0');
  free(text);
}

static void slots_follow_the_ring_and_who_is_up(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_ring(3, 64);
  check_slots(client, 64, 3);
  check_slots(client, 64, 3); /* from the cache */
  world_ring(5, 256);
  check_slots(client, 256, 3);
  world.down[2] = true;
  check_slots(client, 256, 3);
  world.down[2] = false;
  check_slots(client, 256, 3);
  struct bucket record = {.time = 1, .issuer = 1, .name_size = 7, .name = "default", .props = bucket_props_default()};
  record.props.n = 2;
  assert_int_equal(bucket_put(&world.buckets, &record), ERR_OK);
  check_slots(client, 256, 2);
}

static void each_slot_has_one_master_among_the_nodes(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_ring(5, 256);
  world.down[1] = true;
  world_send(client, "CLUSTER NODES\r\n");
  char *text = copy_text(client->out, client->out_size);
  client->out_size = 0;
  static bool seen[16384];
  memset(seen, 0, sizeof(seen));
  uint32_t lines = 0;
  char *rest = NULL;
  for (char *line = strtok_r(strchr(text, '\n') + 1, "\n", &rest); line != NULL && line[0] != '\r';
       line = strtok_r(NULL, "\n", &rest)) {
    lines += 1;
    bool down = strstr(line, " master,fail - 0 0 2 disconnected") != NULL;
    assert_int_equal(down, lines == 2);
    char *slots = strstr(line, "connected") + 9;
    assert_true(!down || slots[0] == '\0');
    char *more = NULL;
    for (char *word = strtok_r(slots, " ", &more); word != NULL; word = strtok_r(NULL, " ", &more)) {
      unsigned first = 0;
      unsigned last = 0;
      assert_int_equal(sscanf(word, "%u-%u", &first, &last), 2);
      for (; first <= last; first++) {
        assert_false(seen[first]);
        seen[first] = true;
      }
    }
  }
  assert_int_equal(lines, 5);
  for (uint32_t slot = 0; slot < 16384; slot++) {
    assert_true(seen[slot]);
  }
  free(text);
}

/* -- DYNAMO ------------------------------------------------------------------------------------------------------ */

/* The context out of `$N\r\n<context>\r\n` at *at; the caller frees it. */
static char *take_bulk(char **at) {
  int size = 0;
  int used = 0;
  assert_int_equal(sscanf(*at, "$%d\r\n%n", &size, &used), 1);
  char *text = copy_text((const uint8_t *)*at + used, (size_t)size);
  *at += used + size + 2;
  return text;
}

/* Sends, settles, and returns the whole reply; the caller frees it. */
static char *ask(struct client *client, const char *request) {
  world_send(client, request);
  world_settle(false);
  char *text = copy_text(client->out, client->out_size);
  client->out_size = 0;
  return text;
}

static char *ask_context(struct client *client, const char *request) {
  char *reply = ask(client, request);
  char *at = reply;
  if (*at == '*') {
    at = strchr(at, '\n') + 1;
  }
  char *context = take_bulk(&at);
  free(reply);
  return context;
}

static void assert_siblings(struct client *client, const char *key, const char *values) {
  char request[128];
  snprintf(request, sizeof(request), "DYNAMO.GET %s\r\n", key);
  char *reply = ask(client, request);
  char *at = reply;
  assert_memory_equal(at, "*2\r\n", 4);
  at += 4;
  free(take_bulk(&at));
  assert_string_equal(at, values);
  free(reply);
}

static void a_put_supersedes_what_its_context_has_seen(void **state) {
  (void)state;
  struct client *client = world_connect();
  char request[512];
  char *first = ask_context(client, "DYNAMO.PUT k one\r\n");
  assert_siblings(client, "k", "*1\r\n$3\r\none\r\n");
  free(ask_context(client, "DYNAMO.PUT k two\r\n"));
  assert_siblings(client, "k", "*2\r\n$3\r\none\r\n$3\r\ntwo\r\n");
  snprintf(request, sizeof(request), "DYNAMO.PUT k three CONTEXT %s\r\n", first);
  free(ask_context(client, request));
  assert_siblings(client, "k", "*2\r\n$3\r\ntwo\r\n$5\r\nthree\r\n");
  char *all = ask_context(client, "DYNAMO.GET k\r\n");
  snprintf(request, sizeof(request), "DYNAMO.PUT k merged CONTEXT %s W 3 PW 1 DW 0 PX 5000\r\n", all);
  free(ask_context(client, request));
  assert_siblings(client, "k", "*1\r\n$6\r\nmerged\r\n");
  const struct command *put = &world.commands[world.command_count - 2].command;
  assert_int_equal(put->w, 3);
  assert_int_equal(put->pw, 1);
  assert_int_equal(put->dw, 0);
  assert_int_equal(put->expires_at_ms, WORLD_WALL_MS + 5000);
  assert_false(put->blind);
  world.wall_ms += 5000;
  assert_siblings(client, "k", "*0\r\n");
  free(first);
  free(all);
}

static void contexts_of_other_keys_and_made_up_ones_are_refused(void **state) {
  (void)state;
  struct client *client = world_connect();
  static const char refused[] =
      "-BADCONTEXT the context is damaged, forged or of another key; DYNAMO.GET the key again\r\n";
  char request[512];
  char *context = ask_context(client, "DYNAMO.PUT k one\r\n");
  snprintf(request, sizeof(request), "DYNAMO.PUT other two CONTEXT %s\r\n", context);
  check(client, request, refused);
  context[10] = context[10] == 'A' ? 'B' : 'A';
  snprintf(request, sizeof(request), "DYNAMO.PUT k two CONTEXT %s\r\n", context);
  check(client, request, refused);
  check(client, "DYNAMO.PUT k two CONTEXT a+b/\r\n", refused);
  check(client, "DYNAMO.DEL k CONTEXT zzzzz\r\n", refused);
  free(context);
}

static void a_context_comes_even_with_nothing(void **state) {
  (void)state;
  struct client *client = world_connect();
  char request[512];
  char *context = ask_context(client, "DYNAMO.GET k\r\n");
  assert_siblings(client, "k", "*0\r\n");
  snprintf(request, sizeof(request), "DYNAMO.PUT k v CONTEXT %s\r\n", context);
  free(ask_context(client, request));
  assert_siblings(client, "k", "*1\r\n$1\r\nv\r\n");
  free(context);
}

static void dynamo_del_deletes_what_was_seen(void **state) {
  (void)state;
  struct client *client = world_connect();
  char request[512];
  char *first = ask_context(client, "DYNAMO.PUT k one\r\n");
  free(ask_context(client, "DYNAMO.PUT k two\r\n"));
  snprintf(request, sizeof(request), "DYNAMO.DEL k CONTEXT %s\r\n", first);
  free(ask_context(client, request));
  assert_siblings(client, "k", "*1\r\n$3\r\ntwo\r\n");
  free(ask_context(client, "DYNAMO.DEL k\r\n"));
  assert_siblings(client, "k", "*0\r\n");
  uint32_t before = world.command_count;
  free(ask_context(client, "DYNAMO.DEL k W 1\r\n"));
  assert_int_equal(world.command_count, before + 1); /* a get alone: there is nothing to delete */
  check(client, "GET k\r\n", "$-1\r\n");
  free(first);
}

static void quorums_are_held_against_the_bucket(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "DYNAMO.GET k R 4\r\n", "-ERR R must be a number from 1 to 3: bucket 'default' keeps N=3 copies\r\n");
  check(client, "DYNAMO.GET cart:1 R 0\r\n", "-ERR R must be a number from 1 to 3: bucket 'cart' keeps N=3 copies\r\n");
  check(client, "DYNAMO.GET k PR x\r\n", "-ERR PR must be a number from 0 to 3: bucket 'default' keeps N=3 copies\r\n");
  check(client, "DYNAMO.PUT k v W 0\r\n", "-ERR W must be a number from 1 to 3: bucket 'default' keeps N=3 copies\r\n");
  check(client, "DYNAMO.PUT k v DW 4\r\n",
        "-ERR DW must be a number from 0 to 3: bucket 'default' keeps N=3 copies\r\n");
  check(client, "DYNAMO.PUT k v PX 0\r\n", "-ERR invalid expire time in 'dynamo.put' command\r\n");
  check(client, "DYNAMO.PUT k v R 1\r\n", "-ERR syntax error\r\n");
  check(client, "DYNAMO.PUT k v W\r\n", "-ERR syntax error\r\n");
  check(client, "DYNAMO.PUT k v W 1 W 1\r\n", "-ERR syntax error\r\n");
  check(client, "DYNAMO.DEL k PX 1\r\n", "-ERR syntax error\r\n");
  assert_int_equal(world.command_count, 0);
  world_send(client, "DYNAMO.GET k R 1 PR 2\r\n");
  assert_int_equal(world.commands[0].command.r, 1);
  assert_int_equal(world.commands[0].command.pr, 2);
  assert_int_equal(world.commands[0].command.w, QUORUM_DEFAULT);
}

static void buckets_are_shown_and_set(void **state) {
  (void)state;
  struct client *two = world_connect();
  struct client *three = connect_resp3();
  check(
      two, "DYNAMO.BUCKET cart\r\n",
      "*20\r\n$1\r\nn\r\n:3\r\n$1\r\nr\r\n:2\r\n$1\r\nw\r\n:2\r\n$2\r\npr\r\n:0\r\n$2\r\npw\r\n:0\r\n$2\r\ndw\r\n$3\r\n"
      "all\r\n$7\r\nresolve\r\n$8\r\nsiblings\r\n$3\r\nttl\r\n$1\r\n0\r\n$6\r\nttl_ms\r\n:0\r\n$11\r\nsibling_max\r\n:"
      "64\r\n");
  check(
      three, "DYNAMO.BUCKET cart GET\r\n",
      "%10\r\n$1\r\nn\r\n:3\r\n$1\r\nr\r\n:2\r\n$1\r\nw\r\n:2\r\n$2\r\npr\r\n:0\r\n$2\r\npw\r\n:0\r\n$2\r\ndw\r\n$3\r\n"
      "all\r\n$7\r\nresolve\r\n$8\r\nsiblings\r\n$3\r\nttl\r\n$1\r\n0\r\n$6\r\nttl_ms\r\n:0\r\n$11\r\nsibling_max\r\n:"
      "64\r\n");
  check(two, "DYNAMO.BUCKET cart SET resolve lww ttl 7d dw 1\r\n", "+OK\r\n");
  const struct command *set = &world.commands[0].command;
  assert_int_equal(set->kind, COMMAND_BUCKET_SET);
  assert_true(bytes_equal(set->key, text_bytes("cart")));
  assert_int_equal(set->props.resolve, RESOLVE_LWW);
  assert_int_equal(set->props.ttl_ms, 7u * 86400000u);
  assert_int_equal(set->props.dw, 1);
  assert_int_equal(set->props.n, 3);
  check(two, "DYNAMO.BUCKET a:b\r\n", "-ERR a bucket's name has 1 to 64 bytes and no ':'\r\n");
  check(two, "DYNAMO.BUCKET cart SET r\r\n", "-ERR syntax error\r\n");
  check(two, "DYNAMO.BUCKET cart FOO r 1\r\n", "-ERR syntax error\r\n");
  world_send(two, "DYNAMO.BUCKET cart SET r 9\r\nDYNAMO.BUCKET cart SET r 4\r\nDYNAMO.BUCKET cart SET color red\r\n");
  uint32_t errors = 0;
  for (size_t i = 0; i + 5 <= two->out_size; i++) {
    errors += memcmp(two->out + i, "-ERR ", 5) == 0 ? 1 : 0;
  }
  assert_int_equal(errors, 3);
  two->out_size = 0;
  assert_int_equal(world.command_count, 1);
}

static void a_bucket_is_looked_at_when_all_before_is_answered(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_send(client, "DYNAMO.BUCKET b SET n 1 r 1 w 1\r\nDYNAMO.BUCKET b\r\nPING\r\n");
  assert_int_equal(world.command_count, 1);
  assert_true(client->paused);
  struct bucket record = {
      .time = 1, .issuer = 1, .name_size = 1, .name = "b", .props = world.commands[0].command.props};
  assert_int_equal(bucket_put(&world.buckets, &record), ERR_OK);
  world_settle(false);
  assert_memory_equal(client->out, "+OK\r\n*20\r\n$1\r\nn\r\n:1\r\n", 21);
  assert_memory_equal(client->out + client->out_size - 7, "+PONG\r\n", 7);
  client->out_size = 0;
}

static json_t *ask_json(struct client *client, const char *request) {
  char *reply = ask(client, request);
  char *at = reply;
  char *text = take_bulk(&at);
  assert_string_equal(at, "");
  json_t *document = json_loads(text, 0, NULL);
  assert_non_null(document);
  free(text);
  free(reply);
  return document;
}

static const char *text_at(const json_t *object, const char *name) {
  const char *text = json_string_value(json_object_get(object, name));
  return text == NULL ? "(none)" : text;
}

static json_int_t number_at(const json_t *object, const char *name) {
  assert_true(json_is_integer(json_object_get(object, name)));
  return json_integer_value(json_object_get(object, name));
}

static void the_cluster_is_described_in_json(void **state) {
  (void)state;
  struct client *client = world_connect();
  world.down[1] = true;
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  json_t *cluster = json_object_get(status, "cluster");
  json_t *node = json_object_get(status, "node");
  json_t *member = json_array_get(json_object_get(status, "members"), 1);
  assert_string_equal(text_at(cluster, "name"), "test");
  assert_int_equal(number_at(cluster, "partitions"), 64);
  assert_int_equal(number_at(cluster, "members"), 3);
  assert_int_equal(strlen(text_at(cluster, "history_digest")), 16);
  assert_true(json_is_false(json_object_get(cluster, "forming")));
  assert_string_equal(text_at(node, "id"), "000000a1");
  assert_string_equal(text_at(node, "address"), "127.0.0.1:7600");
  assert_string_equal(text_at(node, "peer_address"), "127.0.0.1:17600");
  assert_string_equal(text_at(node, "incarnation"), "0000000000000009");
  assert_int_equal(number_at(node, "uptime_seconds"), 5);
  assert_true(json_is_null(json_object_get(node, "join_refusal")));
  assert_true(json_is_true(json_object_get(node, "member")));
  assert_string_equal(text_at(member, "name"), "b");
  assert_true(json_is_false(json_object_get(member, "up")));
  assert_int_equal(number_at(member, "last_heard_ms"), 120);
  assert_int_equal(number_at(member, "keys"), 7);
  assert_int_equal(number_at(json_object_get(status, "totals"), "members_down"), 1);
  json_decref(status);
  json_t *members = ask_json(client, "DYNAMO.CLUSTER MEMBERS\r\n");
  assert_int_equal(json_array_size(json_object_get(members, "members")), 3);
  json_decref(members);
  json_t *ring = ask_json(client, "DYNAMO.CLUSTER RING\r\n");
  assert_int_equal(json_array_size(json_object_get(ring, "owners")), 64);
  assert_int_equal(json_array_size(json_object_get(ring, "members")), 3);
  json_decref(ring);
}

static void status_tells_how_replicas_compare(void **state) {
  (void)state;
  struct client *client = world_connect();
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  const json_t *other = json_array_get(json_object_get(status, "compared"), 0);
  assert_int_equal(number_at(other, "partitions"), 40);
  assert_int_equal(number_at(other, "keys_differ"), 3);
  assert_int_equal(number_at(other, "found"), 5);
  assert_true(number_at(other, "age_ms") >= 1);
  assert_true(json_is_null(json_object_get(json_object_get(status, "totals"), "compared_age_ms")));
  json_decref(status);
}

static void status_tells_which_partitions_differ_from_whose(void **state) {
  (void)state;
  struct client *client = world_connect();
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  const json_t *list = json_object_get(status, "differences");
  assert_int_equal(number_at(status, "differences_count"), 74);
  assert_int_equal(json_array_size(list), 64);
  assert_int_equal(number_at(json_array_get(list, 0), "partition"), 7);
  assert_int_equal(number_at(json_array_get(list, 0), "keys"), 3);
  assert_int_equal(number_at(json_array_get(list, 1), "partition"), 9);
  assert_true(json_is_null(json_object_get(json_array_get(list, 1), "keys"))); /* nobody has looked yet */
  json_decref(status);
}

static void status_tells_how_long_mending_takes_yet(void **state) {
  (void)state;
  struct client *client = world_connect();
  world.health.sync_bytes_to_go = 5000;
  world.health.sync_ms_to_go = 2001;
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  const json_t *totals = json_object_get(status, "totals");
  assert_int_equal(number_at(totals, "mend_bytes_to_go"), 5000);
  assert_int_equal(number_at(totals, "mend_eta_seconds"), 3);
  json_decref(status);
  world.health.tombstones = 4;
  world_send(client, "INFO cluster\r\n");
  assert_true(contains(client, "cluster_compared_age_ms:-1\r\n"));
  assert_true(contains(client, "cluster_mend_bytes_to_go:5000\r\ncluster_mend_eta_seconds:3\r\n"));
  assert_true(contains(client, "cluster_tombstones:4\r\n"));
  client->out_size = 0;
  world.health.sync_ms_to_go = UINT32_MAX;
  world_send(client, "INFO cluster\r\n");
  assert_true(contains(client, "cluster_mend_eta_seconds:-1\r\n"));
  client->out_size = 0;
  status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  assert_true(json_is_null(json_object_get(json_object_get(status, "totals"), "mend_eta_seconds")));
  json_decref(status);
}

static void status_and_info_tell_what_background_work_is_granted(void **state) {
  (void)state;
  struct client *client = world_connect();
  world.health.held_back = 400;
  world.health.hints = 12;
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  const json_t *background = json_object_get(status, "background");
  assert_int_equal(number_at(background, "level"), 500);
  assert_int_equal(number_at(background, "bytes_per_second"), 32000000);
  assert_int_equal(number_at(background, "p999_us"), 61234);
  assert_int_equal(number_at(background, "target_us"), 50000);
  assert_int_equal(number_at(json_object_get(background, "waiting"), "tree_permille"), 125);
  assert_int_equal(number_at(json_object_get(background, "waiting"), "hints"), 12);
  assert_int_equal(number_at(json_object_get(background, "spent_bytes"), "exchange"), 4711);
  const json_t *members = json_object_get(status, "members");
  size_t index;
  const json_t *member;
  json_array_foreach(members, index, member) {
    bool self = json_is_true(json_object_get(member, "self"));
    assert_int_equal(number_at(member, "background_level"), self ? 600 : 1000);
  }
  json_decref(status);
  world_send(client, "INFO background\r\n");
  assert_true(contains(client, "background_level_permille:500\r\n"));
  assert_true(contains(client, "background_waiting_hints:12\r\n"));
}

static void waitsync_takes_its_time_and_hands_it_to_the_core(void **state) {
  (void)state;
  struct client *client = world_connect();
  check(client, "DYNAMO.CLUSTER WAITSYNC TIMEOUT 0\r\n", "-ERR TIMEOUT is in milliseconds, from 1 to 86400000\r\n");
  check(client, "DYNAMO.CLUSTER WAITSYNC 5\r\n", "-ERR syntax error\r\n");
  check(client, "DYNAMO.CLUSTER WAITSYNC TIMEOUT 250\r\n", "+OK\r\n");
  assert_int_equal(world.command_count, 1);
  assert_int_equal(world.commands[0].command.kind, COMMAND_WAITSYNC);
  assert_int_equal(world.commands[0].command.timeout_ns, 250000000u);
}

static void nothing_moves_while_nothing_changes(void **state) {
  (void)state;
  struct client *client = world_connect();
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  assert_true(json_is_null(json_object_get(status, "change")));
  assert_int_equal(json_array_size(json_object_get(status, "candidates")), 0);
  assert_string_equal(text_at(json_array_get(json_object_get(status, "members"), 0), "state"), "member");
  assert_true(json_is_false(json_object_get(json_object_get(status, "node"), "removed")));
  json_decref(status);
}

static void a_change_that_is_under_way_is_described(void **state) {
  (void)state;
  struct client *client = world_connect();
  world.layout = (struct layout_view){.mark = {.base_count = 2, .target_count = 2, .phase = MARK_DONE},
                                      .moving = true,
                                      .waiting_count = 1,
                                      .waiting = {0xa3},
                                      .started_ns = world.now_ns};
  world.health = (struct heartbeat){.moving_keys = 90, .moving_bytes = 9000};
  json_t *early = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  assert_int_equal(number_at(json_object_get(early, "change"), "bytes_moved"), 0); /* those are of the change before */
  json_decref(early);
  world.layout.mark =
      (struct mark){.base_count = 2, .target_count = 3, .target_digest = shard_ring(NULL)->digest, .phase = MARK_KNOWS};
  world.health = (struct heartbeat){.moving_keys = 10, .moving_bytes = 1000, .parts_wanted = 40, .parts_held = 10};
  front_second(world.front);
  world.now_ns += 4000000000u;
  world.health.moving_keys = 50;
  world.health.moving_bytes = 5000;
  world.health.parts_held = 20;
  world.health.strays = 3;
  front_second(world.front);
  world_candidate('d');
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  json_t *change = json_object_get(status, "change");
  assert_string_equal(text_at(change, "phase"), "knows");
  assert_int_equal(number_at(change, "base_records"), 2);
  assert_int_equal(number_at(change, "target_records"), 3);
  assert_int_equal(number_at(change, "partitions_wanted"), 40);
  assert_int_equal(number_at(change, "partitions_held"), 20);
  assert_int_equal(number_at(change, "keys_moved"), 50);
  assert_int_equal(number_at(change, "bytes_moved"), 5000);
  assert_int_equal(number_at(change, "rate_bytes_per_second"), 1000);
  assert_int_equal(number_at(change, "rate_keys_per_second"), 10);
  assert_int_equal(number_at(change, "eta_seconds"), 5); /* 20 partitions of 250 bytes */
  assert_int_equal(number_at(change, "strays"), 3);
  assert_int_equal(number_at(change, "seconds"), 4);
  assert_string_equal(json_string_value(json_array_get(json_object_get(change, "waiting_for"), 0)), "c");
  json_t *candidate = json_array_get(json_object_get(status, "candidates"), 0);
  assert_string_equal(text_at(candidate, "name"), "d");
  assert_string_equal(text_at(candidate, "address"), "127.0.0.1:7603");
  assert_string_equal(text_at(candidate, "id"), "000000a4");
  json_decref(status);
  world_send(client, "INFO cluster\r\n");
  assert_true(contains(client, "cluster_moving:1\r\ncluster_phase:knows\r\n"));
  assert_true(contains(client, "cluster_partitions_wanted:40\r\ncluster_partitions_held:20\r\n"));
  assert_true(contains(client, "cluster_bytes_moved_per_second:1000\r\ncluster_strays:3\r\n"));
  client->out_size = 0;
}

static void hints_that_are_handed_over_have_an_end(void **state) {
  (void)state;
  struct client *client = world_connect();
  world.health.hints = 1000;
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  const json_t *waiting = json_object_get(json_object_get(status, "background"), "waiting");
  assert_true(json_is_null(json_object_get(waiting, "hints_eta_seconds")));
  json_decref(status);
  for (uint32_t i = 0; i < 5; i++) {
    world.now_ns += 1000000000u;
    world.stats.hints_delivered += 50;
    world.health.hints -= 50;
    front_second(world.front);
  }
  status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  waiting = json_object_get(json_object_get(status, "background"), "waiting");
  assert_int_equal(number_at(waiting, "hints_eta_seconds"), 750 / 50);
  assert_int_equal(number_at(waiting, "hints_bytes_to_go"), 750 * 300);
  json_decref(status);
}

/* -- plans ------------------------------------------------------------------------------------------ */

static void a_plan_shows_what_would_move_and_changes_nothing(void **state) {
  (void)state;
  struct client *client = world_connect();
  json_t *plan = ask_json(client, "DYNAMO.CLUSTER PLAN\r\n");
  assert_true(json_is_true(json_object_get(plan, "empty")));
  assert_true(json_is_null(json_object_get(plan, "plan_id")));
  json_decref(plan);
  world_candidate('d');
  plan = ask_json(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603 WEIGHT 200 ZONE z1\r\n");
  json_t *change = json_array_get(json_object_get(plan, "changes"), 0);
  assert_string_equal(text_at(change, "kind"), "add");
  assert_string_equal(text_at(change, "name"), "d");
  assert_int_equal(number_at(change, "weight"), 200);
  assert_string_equal(text_at(change, "zone"), "z1");
  assert_int_equal(json_array_size(json_object_get(plan, "members")), 4);
  uint64_t gains = 0;
  uint64_t after = 0;
  for (size_t i = 0; i < 4; i++) {
    json_t *member = json_array_get(json_object_get(plan, "members"), i);
    gains += (uint64_t)number_at(member, "gains");
    after += (uint64_t)number_at(member, "partitions_after");
  }
  json_t *moves = json_object_get(plan, "moves");
  assert_int_equal(after, 64);
  assert_int_equal(gains, number_at(moves, "replicas"));
  assert_true(gains > 0);
  /* 700 bytes in 64 partitions, of which this node keeps all */
  assert_in_range(number_at(moves, "bytes"), 700 * (gains - 1) / 64, 700 * gains / 64);
  assert_int_equal(number_at(json_object_get(plan, "violations"), "nodes"), 0);
  assert_int_equal(strlen(text_at(plan, "plan_id")), 16);
  assert_int_equal(world.command_count, 0);
  assert_int_equal(world.history.count, 3);
  json_decref(plan);
}

static void changes_are_staged_one_after_the_other(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_candidate('d');
  world_candidate('e');
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603\r\n"));
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN REPLACE b 127.0.0.1:7604\r\n"));
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN REWEIGH 000000a3 50\r\n"));
  json_t *plan = ask_json(client, "DYNAMO.CLUSTER PLAN REMOVE 127.0.0.1:7600\r\n");
  json_t *changes = json_object_get(plan, "changes");
  assert_int_equal(json_array_size(changes), 4);
  assert_string_equal(text_at(json_array_get(changes, 1), "kind"), "replace");
  assert_string_equal(text_at(json_array_get(changes, 1), "old_name"), "b");
  assert_string_equal(text_at(json_array_get(changes, 1), "name"), "e");
  assert_int_equal(number_at(json_array_get(changes, 2), "weight_before"), 100);
  assert_int_equal(number_at(json_array_get(changes, 2), "weight"), 50);
  assert_string_equal(text_at(json_array_get(changes, 3), "name"), "a");
  json_t *again = ask_json(client, "DYNAMO.CLUSTER PLAN\r\n");
  assert_string_equal(text_at(again, "plan_id"), text_at(plan, "plan_id"));
  json_decref(again);
  json_decref(plan);
  json_t *dropped = ask_json(client, "DYNAMO.CLUSTER ABORT\r\n");
  assert_int_equal(number_at(dropped, "dropped"), 4);
  json_decref(dropped);
  dropped = ask_json(client, "DYNAMO.CLUSTER ABORT\r\n");
  assert_int_equal(number_at(dropped, "dropped"), 0);
  json_decref(dropped);
}

static void a_plan_that_can_not_be_is_refused_in_words(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_candidate('d');
  check(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7699\r\n",
        "-ERR no node at 127.0.0.1:7699 waits to be added: start it first, with --seeds naming a member, and see that "
        "gramme status lists it; if it runs, its log says why it is not listed\r\n");
  check(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7601\r\n", "-ERR 127.0.0.1:7601 (b) is a member already\r\n");
  check(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603 WEIGHT 0\r\n", "-ERR a weight is a number from 1 to 1000\r\n");
  check(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603 ZONE a:b\r\n",
        "-ERR a zone has at most 32 letters, digits, '.', '_' and '-'\r\n");
  check(client, "DYNAMO.CLUSTER PLAN REMOVE x\r\n",
        "-ERR there is no member 'x': name one by name, id or host:port (gramme status shows them)\r\n");
  check(client, "DYNAMO.CLUSTER PLAN REWEIGH b 100\r\n", "-ERR b has weight 100 already\r\n");
  check(client, "DYNAMO.CLUSTER PLAN GROW b\r\n",
        "-ERR PLAN takes ADD host:port [WEIGHT w] [ZONE z] | REMOVE node | REPLACE old new-host:port | REWEIGH node w, "
        "or nothing to show what is staged\r\n");
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603\r\n"));
  check(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603\r\n",
        "-ERR d (127.0.0.1:7603) is staged already: ABORT drops all that is staged\r\n");
  check(client, "DYNAMO.CLUSTER PLAN REMOVE d\r\n",
        "-ERR 'd' is only staged to be added: ABORT drops all that is staged\r\n");
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN REMOVE b\r\n"));
  check(client, "DYNAMO.CLUSTER PLAN REMOVE b\r\n",
        "-ERR 'b' is staged to leave already: ABORT drops all that is staged\r\n");
  json_decref(ask_json(client, "DYNAMO.CLUSTER ABORT\r\n"));
}

static void a_commit_issues_what_was_shown(void **state) {
  (void)state;
  struct client *client = world_connect();
  char request[80];
  check(client, "DYNAMO.CLUSTER COMMIT\r\n",
        "-ERR nothing is staged on this node: stage changes with PLAN, here, and look at them\r\n");
  world_candidate('d');
  json_t *plan = ask_json(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603\r\n");
  snprintf(request, sizeof(request), "DYNAMO.CLUSTER COMMIT %s\r\n", text_at(plan, "plan_id"));
  world_send(client, "DYNAMO.CLUSTER COMMIT 0123456789abcdef\r\n");
  assert_true(contains(client, "-REFUSED the plan that is staged here is "));
  assert_true(contains(client, ", not 0123456789abcdef; look at it again with PLAN\r\n"));
  client->out_size = 0;
  json_t *done = ask_json(client, request);
  const struct command *command = &world.commands[0].command;
  assert_int_equal(command->kind, COMMAND_CHANGE);
  assert_int_equal(command->change_count, 1);
  assert_int_equal(command->changes[0].kind, CHANGE_ADD);
  assert_int_equal(command->changes[0].node, 0xa4);
  assert_int_equal(command->changes[0].peer_port, 17603);
  assert_string_equal(text_at(done, "committed"), text_at(plan, "plan_id"));
  assert_int_equal(number_at(done, "records"), 4);
  json_decref(done);
  json_decref(plan);
  check(client, request, "-ERR nothing is staged on this node: stage changes with PLAN, here, and look at them\r\n");
  assert_int_equal(world.ring.member_count, 4);
  world.candidate_count = 0;
  world_ring(3, 64);
}

static void a_commit_on_another_ring_than_was_shown_is_refused(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_candidate('d');
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN ADD 127.0.0.1:7603\r\n"));
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN REMOVE c\r\n"));
  const struct change other = {.time = 9, .issuer = 0xa2, .kind = CHANGE_REMOVE, .node = 0xa3};
  assert_int_equal(history_add(&world.history, &other), ERR_OK);
  ring_fold(&world.ring, &world.history);
  check(client, "DYNAMO.CLUSTER COMMIT\r\n",
        "-REFUSED the ring has changed since the plan was made; look at it again with PLAN\r\n");
  assert_int_equal(world.command_count, 0);
  /* Looked at again, what makes no sense any more is gone, and said. */
  json_t *plan = ask_json(client, "DYNAMO.CLUSTER PLAN\r\n");
  assert_int_equal(json_array_size(json_object_get(plan, "changes")), 1);
  assert_non_null(strstr(json_string_value(json_array_get(json_object_get(plan, "warnings"), 0)), "was dropped"));
  json_decref(plan);
  json_decref(ask_json(client, "DYNAMO.CLUSTER COMMIT\r\n"));
  assert_int_equal(world.ring.member_count, 3);
  world_ring(3, 64);
}

static void that_nobody_who_holds_the_data_would_stay_is_said(void **state) {
  (void)state;
  struct client *client = world_connect();
  world_candidate('d');
  json_decref(ask_json(client, "DYNAMO.CLUSTER PLAN REPLACE a 127.0.0.1:7603\r\n"));
  json_t *plan = ask_json(client, "DYNAMO.CLUSTER PLAN REMOVE b\r\n");
  assert_int_equal(json_array_size(json_object_get(plan, "warnings")), 1); /* two copies of three */
  json_decref(plan);
  plan = ask_json(client, "DYNAMO.CLUSTER PLAN REMOVE c\r\n");
  const json_t *warnings = json_object_get(plan, "warnings");
  assert_int_equal(json_array_size(warnings), 2);
  assert_non_null(strstr(json_string_value(json_array_get(warnings, 0)), "none of the nodes that hold the data"));
  json_decref(plan);
  json_decref(ask_json(client, "DYNAMO.CLUSTER ABORT\r\n"));
  world.candidate_count = 0;
}

static void what_is_lost_with_a_dead_node_is_said(void **state) {
  (void)state;
  struct client *client = world_connect();
  world.down[1] = true;
  json_t *plan = ask_json(client, "DYNAMO.CLUSTER PLAN REMOVE b\r\n");
  json_t *warnings = json_object_get(plan, "warnings");
  assert_int_equal(json_array_size(warnings), 2);
  assert_non_null(strstr(json_string_value(json_array_get(warnings, 0)), "b is down: what only it holds is lost"));
  assert_non_null(strstr(json_string_value(json_array_get(warnings, 1)), "3 copies are wanted of each key"));
  assert_int_equal(number_at(json_object_get(plan, "violations"), "nodes"), 64);
  json_decref(plan);
}

static void a_node_that_was_removed_says_so(void **state) {
  (void)state;
  struct client *client = world_connect();
  const struct change removal = {.time = 9, .issuer = 0xa2, .kind = CHANGE_REMOVE, .node = WORLD_SELF};
  assert_int_equal(history_add(&world.history, &removal), ERR_OK);
  ring_fold(&world.ring, &world.history);
  json_t *status = ask_json(client, "DYNAMO.CLUSTER STATUS\r\n");
  assert_true(json_is_true(json_object_get(json_object_get(status, "node"), "removed")));
  assert_string_equal(text_at(json_object_get(status, "node"), "address"), "127.0.0.1:7600");
  json_decref(status);
  check(client, "DYNAMO.CLUSTER PLAN\r\n", "-NOTMEMBER this node was removed from its cluster: ask another one\r\n");
  world_ring(3, 64);
}

static void a_key_is_explained_in_json(void **state) {
  (void)state;
  struct client *client = world_connect();
  free(ask_context(client, "DYNAMO.PUT cart:1 one\r\n"));
  free(ask_context(client, "DYNAMO.PUT cart:1 two\r\n"));
  world_send(client, "DYNAMO.EXPLAIN cart:1\r\n");
  struct object object;
  assert_int_equal(object_open(&object, blob_bytes(world_object(text_bytes("cart:1"))->blob)), ERR_OK);
  struct blob *clock = object_clock(&world.pool, &object);
  struct blob *hints = blob_new(&world.pool, clock->size + 8);
  assert_non_null(hints);
  struct writer w = writer_make(hints->data, hints->size);
  write_u32(&w, 0xa3);
  write_bytes(&w, blob_bytes(clock));
  assert_false(w.failed);
  struct world_command *asked = &world.commands[world.command_count - 1];
  struct reply reply = {.token = asked->command.token, .explained_count = 2};
  reply.explained[0] = (struct explained){.node = 0xa1, .answered = true, .clock = clock, .hints = hints};
  reply.explained[1] = (struct explained){.node = 0xa2, .stand_in = true};
  front_reply(world.front, &reply);
  asked->answered = true;
  blob_put(clock);
  blob_put(hints);
  json_t *key = ask_json(client, "");
  assert_string_equal(text_at(key, "key"), "cart:1");
  assert_string_equal(text_at(key, "bucket"), "cart");
  assert_int_equal(strlen(text_at(key, "position")), 32);
  assert_int_equal(number_at(key, "slot"), slot_of_key(text_bytes("cart:1")));
  assert_int_equal(number_at(json_object_get(key, "props"), "n"), 3);
  json_t *preference = json_object_get(key, "preference");
  assert_int_equal(json_array_size(preference), 3);
  assert_string_equal(text_at(json_array_get(preference, 0), "role"), "replica");
  json_t *first = json_array_get(json_object_get(key, "replicas"), 0);
  assert_string_equal(text_at(first, "name"), "a");
  json_t *siblings = json_object_get(first, "siblings");
  assert_int_equal(json_array_size(siblings), 2);
  assert_int_equal(number_at(json_array_get(siblings, 1), "size"), 3);
  json_t *dot = json_object_get(json_array_get(siblings, 0), "dot");
  assert_string_equal(text_at(dot, "incarnation"), "0000000000000009");
  assert_string_equal(text_at(dot, "at"), "2020-09-13T12:26:40.000Z");
  json_t *hint = json_array_get(json_object_get(first, "hints"), 0);
  assert_string_equal(text_at(hint, "owner"), "000000a3");
  assert_string_equal(text_at(hint, "owner_name"), "c");
  assert_int_equal(json_array_size(json_object_get(hint, "siblings")), 2);
  json_t *second = json_array_get(json_object_get(key, "replicas"), 1);
  assert_string_equal(text_at(second, "role"), "stand-in");
  assert_true(json_is_false(json_object_get(second, "answered")));
  assert_true(json_is_null(json_object_get(second, "clock")));
  json_decref(key);
}

static void help_is_there(void **state) {
  (void)state;
  static const char *const commands[] = {"DYNAMO.HELP\r\n", "CLUSTER HELP\r\n", "CLIENT HELP\r\n",
                                         "CONFIG HELP\r\n", "COMMAND HELP\r\n", "DYNAMO.CLUSTER HELP\r\n"};
  struct client *client = world_connect();
  for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
    world_send(client, commands[i]);
    assert_true(client->out_size > 100);
    assert_int_equal(client->out[0], '*');
    client->out_size = 0;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WORLD_TEST(command_tells_of_commands),
      WORLD_TEST(command_knows_the_keys_of_a_command),
      WORLD_TEST(all_of_command_is_well_formed),
      WORLD_TEST(config_shows_and_changes_options),
      WORLD_TEST(no_reply_shows_a_password),
      WORLD_TEST(info_is_divided_into_sections),
      WORLD_TEST(a_cluster_of_one_serves_all_slots),
      WORLD_TEST(without_a_ring_no_slot_is_served),
      WORLD_TEST(slots_follow_the_ring_and_who_is_up),
      WORLD_TEST(each_slot_has_one_master_among_the_nodes),
      WORLD_TEST(a_put_supersedes_what_its_context_has_seen),
      WORLD_TEST(contexts_of_other_keys_and_made_up_ones_are_refused),
      WORLD_TEST(a_context_comes_even_with_nothing),
      WORLD_TEST(dynamo_del_deletes_what_was_seen),
      WORLD_TEST(quorums_are_held_against_the_bucket),
      WORLD_TEST(buckets_are_shown_and_set),
      WORLD_TEST(a_bucket_is_looked_at_when_all_before_is_answered),
      WORLD_TEST(the_cluster_is_described_in_json),
      WORLD_TEST(status_tells_how_replicas_compare),
      WORLD_TEST(status_tells_which_partitions_differ_from_whose),
      WORLD_TEST(status_tells_how_long_mending_takes_yet),
      WORLD_TEST(hints_that_are_handed_over_have_an_end),
      WORLD_TEST(status_and_info_tell_what_background_work_is_granted),
      WORLD_TEST(waitsync_takes_its_time_and_hands_it_to_the_core),
      WORLD_TEST(nothing_moves_while_nothing_changes),
      WORLD_TEST(a_change_that_is_under_way_is_described),
      WORLD_TEST(a_plan_shows_what_would_move_and_changes_nothing),
      WORLD_TEST(changes_are_staged_one_after_the_other),
      WORLD_TEST(a_plan_that_can_not_be_is_refused_in_words),
      WORLD_TEST(a_commit_issues_what_was_shown),
      WORLD_TEST(a_commit_on_another_ring_than_was_shown_is_refused),
      WORLD_TEST(that_nobody_who_holds_the_data_would_stay_is_said),
      WORLD_TEST(what_is_lost_with_a_dead_node_is_said),
      WORLD_TEST(a_node_that_was_removed_says_so),
      WORLD_TEST(a_key_is_explained_in_json),
      WORLD_TEST(help_is_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
