#include "front/commands.h"

#include <string.h>

#include "base/assert.h"
#include "front/handlers.h"
#include "front/state.h"

#define COMMAND_NAME_MAX 24u /* no command has a longer name */
#define SHOWN_ARGUMENTS_BYTES 128u

#define CONNECTION_FLAGS (FLAG_FAST | FLAG_LOADING | FLAG_STALE)
#define OPEN_FLAGS (CONNECTION_FLAGS | FLAG_NOSCRIPT | FLAG_NO_AUTH)
#define CLIENT_FLAGS (FLAG_LOADING | FLAG_STALE | FLAG_NOSCRIPT)
#define CONFIG_FLAGS (FLAG_ADMIN | FLAG_LOADING | FLAG_STALE | FLAG_NOSCRIPT)
#define ASK_FLAGS (FLAG_LOADING | FLAG_STALE)

static const struct command_spec client_table[] = {
    {"client|getname", 2, CLIENT_FLAGS, 0, 0, 0, 0, handle_client_getname, NULL, "connection", "2.6.9", "O(1)",
     "The connection's name"},
    {"client|help", 2, CLIENT_FLAGS, 0, 0, 0, 0, handle_client_help, NULL, "connection", "5.0.0", "O(1)",
     "The subcommands"},
    {"client|id", 2, CLIENT_FLAGS, 0, 0, 0, 0, handle_client_id, NULL, "connection", "5.0.0", "O(1)",
     "The connection's number"},
    {"client|info", 2, CLIENT_FLAGS, 0, 0, 0, 0, handle_client_info, NULL, "connection", "6.2.0", "O(1)",
     "What is known of this connection"},
    {"client|list", -2, CLIENT_FLAGS | FLAG_ADMIN, 0, 0, 0, 0, handle_client_list, NULL, "connection", "2.4.0",
     "O(N) with N connections", "What is known of all connections"},
    {"client|no-evict", 3, CLIENT_FLAGS | FLAG_ADMIN, 0, 0, 0, 0, handle_client_no_evict, NULL, "connection", "7.0.0",
     "O(1)", "Not offered"},
    {"client|reply", 3, CLIENT_FLAGS, 0, 0, 0, 0, handle_client_reply, NULL, "connection", "3.2.0", "O(1)",
     "Not offered, but for ON"},
    {"client|setinfo", 4, CLIENT_FLAGS, 0, 0, 0, 0, handle_client_setinfo, NULL, "connection", "7.2.0", "O(1)",
     "Names the client's library"},
    {"client|setname", 3, CLIENT_FLAGS, 0, 0, 0, 0, handle_client_setname, NULL, "connection", "2.6.9", "O(1)",
     "Names the connection"},
    {0}};

static const struct command_spec cluster_table[] = {
    {"cluster|countkeysinslot", 3, FLAG_STALE, 0, 0, 0, 0, handle_cluster_countkeysinslot, NULL, "cluster", "3.0.0",
     "O(1)", "How many keys a hash slot has: an estimate"},
    {"cluster|help", 2, ASK_FLAGS, 0, 0, 0, 0, handle_cluster_help, NULL, "cluster", "5.0.0", "O(1)",
     "The subcommands"},
    {"cluster|info", 2, FLAG_STALE, 0, 0, 0, 0, handle_cluster_info, NULL, "cluster", "3.0.0", "O(1)",
     "The state of the cluster, as Redis Cluster says it"},
    {"cluster|keyslot", 3, FLAG_STALE, 0, 0, 0, 0, handle_cluster_keyslot, NULL, "cluster", "3.0.0",
     "O(N) with N bytes of key", "The hash slot of a key"},
    {"cluster|myid", 2, FLAG_STALE, 0, 0, 0, 0, handle_cluster_myid, NULL, "cluster", "3.0.0", "O(1)",
     "This node's id"},
    {"cluster|nodes", 2, FLAG_STALE, 0, 0, 0, 0, handle_cluster_nodes, NULL, "cluster", "3.0.0",
     "O(N) with N partitions", "The nodes and their slots, as Redis Cluster says it"},
    {"cluster|shards", 2, FLAG_STALE, 0, 0, 0, 0, handle_cluster_shards, NULL, "cluster", "7.0.0",
     "O(N) with N partitions", "Which nodes keep which slots, by group of nodes"},
    {"cluster|slots", 2, FLAG_STALE, 0, 0, 0, 0, handle_cluster_slots, NULL, "cluster", "3.0.0",
     "O(N) with N partitions", "Which nodes keep which slots, by range"},
    {0}};

static const struct command_spec command_table[] = {
    {"command|count", 2, ASK_FLAGS, 0, 0, 0, 0, handle_command_count, NULL, "server", "2.8.13", "O(1)",
     "How many commands there are"},
    {"command|docs", -2, ASK_FLAGS, 0, 0, 0, 0, handle_command_docs, NULL, "server", "7.0.0", "O(N) with N commands",
     "What commands are for"},
    {"command|getkeys", -3, ASK_FLAGS, 0, 0, 0, 0, handle_command_getkeys, NULL, "server", "2.8.13",
     "O(N) with N arguments", "The keys of a full command"},
    {"command|help", 2, ASK_FLAGS, 0, 0, 0, 0, handle_command_help, NULL, "server", "5.0.0", "O(1)", "The subcommands"},
    {"command|info", -2, ASK_FLAGS, 0, 0, 0, 0, handle_command_info, NULL, "server", "2.8.13", "O(N) with N commands",
     "Arity, flags and keys of commands"},
    {"command|list", -2, ASK_FLAGS, 0, 0, 0, 0, handle_command_list, NULL, "server", "7.0.0", "O(N) with N commands",
     "The names of commands"},
    {0}};

static const struct command_spec config_table[] = {
    {"config|get", -3, CONFIG_FLAGS, 0, 0, 0, 0, handle_config_get, NULL, "server", "2.0.0", "O(N) with N options",
     "Options, by glob patterns"},
    {"config|help", 2, ASK_FLAGS, 0, 0, 0, 0, handle_config_help, NULL, "server", "5.0.0", "O(1)", "The subcommands"},
    {"config|set", -4, CONFIG_FLAGS, 0, 0, 0, 0, handle_config_set, NULL, "server", "2.0.0", "O(N) with N options",
     "Changes options while the node runs"},
    {0}};

static const struct command_spec dynamo_cluster_table[] = {
    {"dynamo.cluster|abort", 2, FLAG_BARRIER | FLAG_ADMIN, 0, 0, 0, 0, handle_dynamo_abort, NULL, "dynamo", "0.1.0",
     "O(1)", "Drops the changes of membership that are staged on this node"},
    {"dynamo.cluster|commit", -2, FLAG_BARRIER | FLAG_ADMIN, 0, 0, 0, 0, handle_dynamo_commit, NULL, "dynamo", "0.1.0",
     "O(N) with N changes ever", "Issues the changes of membership that are staged on this node"},
    {"dynamo.cluster|help", 2, ASK_FLAGS, 0, 0, 0, 0, handle_dynamo_cluster_help, NULL, "dynamo", "0.1.0", "O(1)",
     "The subcommands"},
    {"dynamo.cluster|members", 2, ASK_FLAGS, 0, 0, 0, 0, handle_dynamo_members, NULL, "dynamo", "0.1.0",
     "O(N) with N members", "The members and their state, in JSON"},
    {"dynamo.cluster|plan", -2, FLAG_BARRIER | FLAG_ADMIN, 0, 0, 0, 0, handle_dynamo_plan, NULL, "dynamo", "0.1.0",
     "O(N) with N partitions", "Stages a change of membership, and shows what all that are staged would do, in JSON"},
    {"dynamo.cluster|ring", 2, ASK_FLAGS, 0, 0, 0, 0, handle_dynamo_ring, NULL, "dynamo", "0.1.0",
     "O(N) with N partitions", "Who owns which partition, in JSON"},
    {"dynamo.cluster|status", 2, ASK_FLAGS, 0, 0, 0, 0, handle_dynamo_status, NULL, "dynamo", "0.1.0",
     "O(N) with N members", "The state of the cluster, in JSON"},
    {"dynamo.cluster|waitsync", -2, FLAG_ADMIN, 0, 0, 0, 0, handle_dynamo_waitsync, NULL, "dynamo", "0.1.0",
     "O(N) with N partitions and keys that differ",
     "Compares all replicas anew, and answers when nothing differs any more"},
    {0}};

/* In alphabetical order: name, arity, flags, first key, last key, step, value, handler, subcommands, group, since,
 * complexity, summary. */
const struct command_spec commands_table[] = {
    {"asking", 1, FLAG_FAST, 0, 0, 0, 0, handle_ok, NULL, "cluster", "3.0.0", "O(1)",
     "Says OK: every node serves every key"},
    {"auth", -2, OPEN_FLAGS, 0, 0, 0, 0, handle_auth, NULL, "connection", "1.0.0", "O(1)", "Proves the password"},
    {"client", -2, CLIENT_FLAGS, 0, 0, 0, 0, NULL, client_table, "connection", "2.4.0", "", "About connections"},
    {"cluster", -2, FLAG_STALE, 0, 0, 0, 0, NULL, cluster_table, "cluster", "3.0.0", "",
     "The cluster in the words of Redis Cluster"},
    {"command", -1, ASK_FLAGS, 0, 0, 0, 0, handle_command, command_table, "server", "2.8.13", "O(N) with N commands",
     "About all commands"},
    {"config", -2, CONFIG_FLAGS, 0, 0, 0, 0, NULL, config_table, "server", "2.0.0", "", "About the node's options"},
    {"dbsize", 1, FLAG_READONLY | FLAG_FAST, 0, 0, 0, 0, handle_dbsize, NULL, "server", "1.0.0", "O(N) with N members",
     "How many keys the cluster has: an estimate"},
    {"del", -2, FLAG_WRITE | KEY_RM | KEY_DELETE, 1, -1, 1, 0, handle_del, NULL, "generic", "1.0.0", "O(N) with N keys",
     "Deletes keys, what it sees of them"},
    {"dynamo.bucket", -2, FLAG_BARRIER | FLAG_ADMIN, 0, 0, 0, 0, handle_dynamo_bucket, NULL, "dynamo", "0.1.0", "O(1)",
     "Shows or sets the properties of a bucket"},
    {"dynamo.cluster", -2, ASK_FLAGS, 0, 0, 0, 0, NULL, dynamo_cluster_table, "dynamo", "0.1.0", "",
     "The cluster as Gramme sees it"},
    {"dynamo.del", -2, FLAG_WRITE | KEY_RM | KEY_DELETE, 1, 1, 1, 0, handle_dynamo_del, NULL, "dynamo", "0.1.0", "O(1)",
     "Deletes what a context has seen of a key"},
    {"dynamo.explain", 2, FLAG_READONLY | KEY_RO, 1, 1, 1, 0, handle_dynamo_explain, NULL, "dynamo", "0.1.0",
     "O(N) with N replicas", "Where a key lies and what each replica has of it, in JSON"},
    {"dynamo.get", -2, FLAG_READONLY | KEY_RO | KEY_ACCESS, 1, 1, 1, 0, handle_dynamo_get, NULL, "dynamo", "0.1.0",
     "O(N) with N siblings", "A context and all siblings of a key"},
    {"dynamo.help", 1, ASK_FLAGS, 0, 0, 0, 0, handle_dynamo_help, NULL, "dynamo", "0.1.0", "O(1)",
     "The commands that Redis does not have"},
    {"dynamo.put", -3, FLAG_WRITE | FLAG_DENYOOM | KEY_OW | KEY_UPDATE, 1, 1, 1, 2, handle_dynamo_put, NULL, "dynamo",
     "0.1.0", "O(1)", "Puts a value in the place of what a context has seen"},
    {"echo", 2, CONNECTION_FLAGS, 0, 0, 0, 1, handle_echo, NULL, "connection", "1.0.0", "O(1)", "Says the same"},
    {"exists", -2, FLAG_READONLY | FLAG_FAST | KEY_RO, 1, -1, 1, 0, handle_exists, NULL, "generic", "1.0.0",
     "O(N) with N keys", "How many of the keys exist"},
    {"get", 2, FLAG_READONLY | FLAG_FAST | KEY_RO | KEY_ACCESS, 1, 1, 1, 0, handle_get, NULL, "string", "1.0.0", "O(1)",
     "The value of a key; the latest of its siblings"},
    {"getdel", 2, FLAG_WRITE | FLAG_FAST | KEY_RW | KEY_ACCESS | KEY_DELETE, 1, 1, 1, 0, handle_getdel, NULL, "string",
     "6.2.0", "O(1)", "The value of a key, and deletes it"},
    {"getset", 3, FLAG_WRITE | FLAG_DENYOOM | FLAG_FAST | KEY_RW | KEY_ACCESS | KEY_UPDATE, 1, 1, 1, 2, handle_getset,
     NULL, "string", "1.0.0", "O(1)", "The value of a key, and sets another"},
    {"hello", -1, OPEN_FLAGS, 0, 0, 0, 0, handle_hello, NULL, "connection", "6.0.0", "O(1)",
     "Agrees on a protocol version"},
    {"info", -1, ASK_FLAGS, 0, 0, 0, 0, handle_info, NULL, "server", "1.0.0", "O(N) with N members",
     "Figures of this node"},
    {"mget", -2, FLAG_READONLY | FLAG_FAST | KEY_RO | KEY_ACCESS, 1, -1, 1, 0, handle_mget, NULL, "string", "1.0.0",
     "O(N) with N keys", "The values of keys"},
    {"mset", -3, FLAG_WRITE | FLAG_DENYOOM | KEY_OW | KEY_UPDATE, 1, -1, 2, -1, handle_mset, NULL, "string", "1.0.1",
     "O(N) with N keys", "Sets values, each on its own: not atomic"},
    {"ping", -1, FLAG_FAST, 0, 0, 0, 1, handle_ping, NULL, "connection", "1.0.0", "O(1)", "Says PONG, or the same"},
    {"psetex", 4, FLAG_WRITE | FLAG_DENYOOM | KEY_OW | KEY_UPDATE, 1, 1, 1, 3, handle_psetex, NULL, "string", "2.6.0",
     "O(1)", "Sets a value that expires, in milliseconds"},
    {"quit", -1, OPEN_FLAGS, 0, 0, 0, 0, handle_quit, NULL, "connection", "1.0.0", "O(1)", "Closes the connection"},
    {"readonly", 1, CONNECTION_FLAGS, 0, 0, 0, 0, handle_ok, NULL, "cluster", "3.0.0", "O(1)",
     "Says OK: every node serves reads and writes"},
    {"readwrite", 1, CONNECTION_FLAGS, 0, 0, 0, 0, handle_ok, NULL, "cluster", "3.0.0", "O(1)",
     "Says OK: every node serves reads and writes"},
    {"reset", 1, OPEN_FLAGS, 0, 0, 0, 0, handle_reset, NULL, "connection", "6.2.0", "O(1)",
     "Makes the connection as new"},
    {"select", 2, CONNECTION_FLAGS, 0, 0, 0, 0, handle_select, NULL, "connection", "1.0.0", "O(1)",
     "There is database 0 alone"},
    {"set", -3, FLAG_WRITE | FLAG_DENYOOM | KEY_RW | KEY_ACCESS | KEY_UPDATE, 1, 1, 1, 2, handle_set, NULL, "string",
     "1.0.0", "O(1)", "Sets a value"},
    {"setex", 4, FLAG_WRITE | FLAG_DENYOOM | KEY_OW | KEY_UPDATE, 1, 1, 1, 3, handle_setex, NULL, "string", "2.0.0",
     "O(1)", "Sets a value that expires, in seconds"},
    {"strlen", 2, FLAG_READONLY | FLAG_FAST | KEY_RO, 1, 1, 1, 0, handle_strlen, NULL, "string", "2.2.0", "O(1)",
     "The size of a value"},
    {"type", 2, FLAG_READONLY | FLAG_FAST | KEY_RO, 1, 1, 1, 0, handle_type, NULL, "generic", "1.0.0", "O(1)",
     "string, or none"},
    {"unlink", -2, FLAG_WRITE | FLAG_FAST | KEY_RM | KEY_DELETE, 1, -1, 1, 0, handle_del, NULL, "generic", "4.0.0",
     "O(N) with N keys", "As DEL"},
    {0}};

/* -- finding ----------------------------------------------------------------------------- */

static uint8_t lower(uint8_t c) {
  return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static uint32_t name_hash(struct bytes name) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < name.size; i++) {
    hash = (hash ^ lower(name.data[i])) * 16777619u;
  }
  return hash ^ hash >> 15;
}

/* `text` is in lower case. */
static bool name_equals(struct bytes name, const char *text) {
  size_t i = 0;
  while (i < name.size && text[i] != '\0' && lower(name.data[i]) == (uint8_t)text[i]) {
    i += 1;
  }
  return i == name.size && text[i] == '\0';
}

uint32_t commands_count(void) {
  return sizeof(commands_table) / sizeof(commands_table[0]) - 1;
}

void commands_index(struct front *front) {
  _Static_assert(sizeof(commands_table) / sizeof(commands_table[0]) < COMMAND_TABLE_SLOTS / 4, "lookups stay short");
  memset(front->command_slots, 0, sizeof(front->command_slots));
  for (uint32_t i = 0; i < commands_count(); i++) {
    const char *name = commands_table[i].name;
    ASSERT(strlen(name) <= COMMAND_NAME_MAX);
    uint32_t slot = name_hash((struct bytes){(const uint8_t *)name, strlen(name)}) % COMMAND_TABLE_SLOTS;
    while (front->command_slots[slot] != 0) {
      slot = (slot + 1) % COMMAND_TABLE_SLOTS;
    }
    front->command_slots[slot] = (uint16_t)(i + 1);
  }
}

const struct command_spec *commands_find(const struct front *front, struct bytes name) {
  if (name.size > COMMAND_NAME_MAX) {
    return NULL;
  }
  uint32_t slot = name_hash(name) % COMMAND_TABLE_SLOTS;
  while (front->command_slots[slot] != 0) {
    const struct command_spec *spec = &commands_table[front->command_slots[slot] - 1];
    if (name_equals(name, spec->name)) {
      return spec;
    }
    slot = (slot + 1) % COMMAND_TABLE_SLOTS;
  }
  return NULL;
}

const struct command_spec *subcommand_find(const struct command_spec *spec, struct bytes name) {
  for (const struct command_spec *sub = spec->subcommands; sub != NULL && sub->name != NULL; sub++) {
    if (name_equals(name, strchr(sub->name, '|') + 1)) {
      return sub;
    }
  }
  return NULL;
}

enum resp_role commands_role(void *context, struct bytes name, uint32_t index) {
  const struct command_spec *spec = commands_find(context, name);
  if (spec == NULL) {
    return RESP_VALUE;
  }
  int64_t at = (int64_t)index - spec->first;
  bool in_range = spec->last < 0 || (int64_t)index <= spec->last;
  if (spec->step > 0 && at >= 0 && in_range && at % spec->step == 0) {
    return RESP_KEY;
  }
  return spec->value < 0 || (spec->value > 0 && (int64_t)index == spec->value) ? RESP_VALUE : RESP_OTHER;
}

/* -- arguments ------------------------------------------------------------------------------ */

bool word_is(struct bytes word, const char *upper) {
  size_t i = 0;
  while (i < word.size && upper[i] != '\0' && lower(word.data[i]) == lower((uint8_t)upper[i])) {
    i += 1;
  }
  return i == word.size && upper[i] == '\0';
}

bool word_number(struct bytes word, int64_t *number) {
  size_t i = word.size > 0 && word.data[0] == '-' ? 1 : 0;
  bool negative = i == 1;
  uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
  uint64_t value = 0;
  bool zero_first = word.size > i && word.data[i] == '0' && (word.size > i + 1 || negative);
  if (word.size == i || zero_first) {
    return false;
  }
  for (; i < word.size; i++) {
    if (word.data[i] < '0' || word.data[i] > '9') {
      return false;
    }
    uint64_t digit = (uint64_t)(word.data[i] - '0');
    if (value > (limit - digit) / 10) {
      return false;
    }
    value = value * 10 + digit;
  }
  *number = negative ? (int64_t)((uint64_t)0 - value) : (int64_t)value;
  return true;
}

/* `[a-c]`, `[^x]`, `[\]]`: does it take `c`? `*at` stands behind '[', and is put behind ']' (or at the end, where that
 * is missing). */
static bool glob_class(struct bytes pattern, size_t *at, uint8_t c, bool any_case) {
  bool invert = *at < pattern.size && pattern.data[*at] == '^';
  bool found = false;
  *at += invert ? 1 : 0;
  while (*at < pattern.size && pattern.data[*at] != ']') {
    if (pattern.data[*at] == '\\' && *at + 1 < pattern.size) {
      *at += 1;
    }
    uint8_t from = pattern.data[*at];
    uint8_t to = from;
    *at += 1;
    if (*at + 1 < pattern.size && pattern.data[*at] == '-' && pattern.data[*at + 1] != ']') {
      to = pattern.data[*at + 1];
      *at += 2;
    }
    if (from > to) {
      uint8_t other = from;
      from = to;
      to = other;
    }
    found = found || (c >= from && c <= to) || (any_case && lower(c) >= lower(from) && lower(c) <= lower(to));
  }
  *at += *at < pattern.size ? 1 : 0;
  return found != invert;
}

/* One step of the pattern other than '*' against one byte. */
static bool glob_one(struct bytes pattern, size_t *at, uint8_t c, bool any_case) {
  uint8_t p = pattern.data[*at];
  *at += 1;
  if (p == '?') {
    return true;
  }
  if (p == '[') {
    return glob_class(pattern, at, c, any_case);
  }
  if (p == '\\' && *at < pattern.size) {
    p = pattern.data[*at];
    *at += 1;
  }
  return any_case ? lower(p) == lower(c) : p == c;
}

/* Without recursion: after a mismatch the last '*' takes one byte more. */
bool glob_matches(struct bytes pattern, struct bytes text, bool any_case) {
  size_t p = 0;
  size_t t = 0;
  size_t star = SIZE_MAX;
  size_t star_text = 0;
  while (t < text.size) {
    size_t next = p;
    if (p < pattern.size && pattern.data[p] == '*') {
      star = ++p;
      star_text = t;
    } else if (p < pattern.size && glob_one(pattern, &next, text.data[t], any_case)) {
      p = next;
      t += 1;
    } else if (star != SIZE_MAX) {
      p = star;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size && pattern.data[p] == '*') {
    p += 1;
  }
  return p == pattern.size;
}

void call_wrong_arity(struct call *call) {
  output_error_format(call->out, "ERR wrong number of arguments for '%s' command", call->spec->name);
}

void call_syntax_error(struct call *call) {
  output_error(call->out, "ERR syntax error");
}

void call_not_a_number(struct call *call) {
  output_error(call->out, "ERR value is not an integer or out of range");
}

/* -- running ----------------------------------------------------------------------------------- */

/* Redis's wording. */
static void call_unknown(struct call *call) {
  char shown[SHOWN_ARGUMENTS_BYTES + 8] = "";
  size_t size = 0;
  for (uint32_t i = 1; i < call->argc && size < SHOWN_ARGUMENTS_BYTES; i++) {
    size_t most = SHOWN_ARGUMENTS_BYTES - size;
    size_t take = call->argv[i].size < most ? call->argv[i].size : most;
    shown[size++] = '\'';
    for (size_t k = 0; k < take; k++) {
      uint8_t c = call->argv[i].data[k];
      shown[size++] = (char)(c == '\0' ? ' ' : c);
    }
    shown[size++] = '\'';
    shown[size++] = ' ';
  }
  shown[size] = '\0';
  size_t name = call->argv[0].size < SHOWN_ARGUMENTS_BYTES ? call->argv[0].size : SHOWN_ARGUMENTS_BYTES;
  output_error_format(call->out, "ERR unknown command '%.*s', with args beginning with: %s", (int)name,
                      (const char *)call->argv[0].data, shown);
}

static void call_unknown_subcommand(struct call *call, const struct command_spec *spec) {
  char name[COMMAND_NAME_MAX + 1];
  size_t size = strlen(spec->name);
  for (size_t i = 0; i <= size; i++) {
    name[i] = spec->name[i] >= 'a' && spec->name[i] <= 'z' ? (char)(spec->name[i] & ~0x20) : spec->name[i];
  }
  size_t shown = call->argv[1].size < SHOWN_ARGUMENTS_BYTES ? call->argv[1].size : SHOWN_ARGUMENTS_BYTES;
  output_error_format(call->out, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)shown,
                      (const char *)call->argv[1].data, name);
}

bool arity_fits(const struct command_spec *spec, uint32_t argc) {
  return spec->arity > 0 ? argc == (uint32_t)spec->arity : argc >= (uint32_t)-spec->arity;
}

/* The command, or its subcommand; NULL when the reply says what is wrong. */
static const struct command_spec *call_find(struct call *call) {
  const struct command_spec *spec = commands_find(call->front, call->argv[0]);
  if (spec == NULL) {
    /* A browser that was led here: what stands in the body of its request must not be taken for commands. */
    call->close_after = word_is(call->argv[0], "POST") || word_is(call->argv[0], "HOST:");
    if (!call->close_after) {
      call_unknown(call);
    }
    return NULL;
  }
  call->top = spec;
  if (spec->subcommands != NULL && call->argc > 1) {
    const struct command_spec *sub = subcommand_find(spec, call->argv[1]);
    if (sub == NULL) {
      call_unknown_subcommand(call, spec);
    }
    return sub;
  }
  return spec;
}

bool call_execute(struct call *call) {
  ASSERT(call->argc > 0);
  struct front *front = call->front;
  struct session *session = call->session;
  call->spec = call_find(call);
  if (call->spec == NULL) {
    return true;
  }
  if (!arity_fits(call->spec, call->argc)) {
    call_wrong_arity(call);
    return true;
  }
  bool proven = session->authenticated || front->password[0] == '\0';
  if (!proven && (call->spec->flags & FLAG_NO_AUTH) == 0) {
    output_error(call->out, "NOAUTH Authentication required.");
    return true;
  }
  if ((call->spec->flags & FLAG_BARRIER) != 0 && session_unanswered(session) > 0) {
    return false;
  }
  ASSERT(call->spec->handler != NULL);
  session->last = call->spec;
  COUNT(front->command_calls[call->top - commands_table]);
  call->spec->handler(call);
  return true;
}
