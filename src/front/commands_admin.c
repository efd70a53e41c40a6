/* INFO, CONFIG, DBSIZE: what an operator asks a Redis, about this node. Nothing here shows a password. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/assert.h"
#include "front/census.h"
#include "front/commands.h"
#include "front/handlers.h"
#include "front/state.h"

#ifndef GRAMME_VERSION
#define GRAMME_VERSION "unknown"
#endif

#define CONFIG_SET_MAX 16u /* options of one CONFIG SET */

/* -- DBSIZE ------------------------------------------------------------------------------ */

/* Each member's keys, of which each stands on N members: deleted ones that are remembered are among them. What a node
 * that is joining holds already is somebody else's still. */
uint64_t keyspace_estimate(const struct front *front) {
  const struct shard *shard = front_shard(front);
  struct member_view views[ROSTER_MAX];
  struct store_statistics store = {0};
  uint32_t count = shard_members(shard, views, ROSTER_MAX);
  uint32_t copies = bucket_find(shard_buckets(shard), BYTES_LITERAL("default")).n;
  uint64_t keys = 0;
  count = count < ROSTER_MAX ? count : ROSTER_MAX;
  front->services.store_statistics(front->services.context, &store);
  for (uint32_t i = 0; i < count; i++) {
    if (views[i].joining) {
      continue;
    }
    keys += views[i].self ? store.keys : views[i].heartbeat.keys;
  }
  copies = copies < count ? copies : count;
  return copies == 0 ? 0 : (keys + copies - 1) / copies;
}

void handle_dbsize(struct call *call) {
  output_integer(call->out, (int64_t)keyspace_estimate(call->front));
}

/* -- INFO ---------------------------------------------------------------------------------- */

static void info_server(const struct front *front, struct output *out) {
  const struct node_facts facts = front_facts(front);
  struct utsname system;
  char port[FRONT_CONFIG_TEXT] = "0";
  uint64_t wall_ms = front_wall_ms(front);
  uint64_t uptime = wall_ms > facts.start_wall_ms ? (wall_ms - facts.start_wall_ms) / 1000 : 0;
  memset(&system, 0, sizeof(system));
  (void)uname(&system);
  (void)front->services.config_get(front->services.context, "port", port);
  output_format(out, "redis_version:%s\r\ngramme_version:%s\r\nredis_mode:cluster\r\n", REDIS_VERSION, GRAMME_VERSION);
  output_format(out, "os:%s %s %s\r\narch_bits:%zu\r\n", system.sysname, system.release, system.machine,
                sizeof(void *) * 8);
  output_format(out, "process_id:%ld\r\nrun_id:%08" PRIx32 "%016" PRIx64 "%016d\r\n", (long)getpid(), facts.node,
                facts.incarnation, 0);
  output_format(out, "tcp_port:%s\r\nserver_time_usec:%" PRIu64 "\r\n", port, wall_ms * 1000);
  output_format(out, "uptime_in_seconds:%" PRIu64 "\r\nuptime_in_days:%" PRIu64 "\r\n", uptime, uptime / 86400);
  output_format(out, "node_id:%08" PRIx32 "\r\nnode_name:%s\r\nnode_incarnation:%016" PRIx64 "\r\n", facts.node,
                facts.name, facts.incarnation);
  output_format(out, "engine:%s\r\ndirectory:%s\r\n", facts.engine, facts.directory);
}

static void info_clients(const struct front *front, struct output *out) {
  const struct server_stats *stats = server_stats(front->services.server(front->services.context));
  char most[FRONT_CONFIG_TEXT] = "0";
  (void)front->services.config_get(front->services.context, "max-clients", most);
  output_format(out, "connected_clients:%" PRIu64 "\r\nmaxclients:%s\r\nblocked_clients:0\r\n", stats->connected, most);
  output_format(out, "requests_in_progress:%" PRIu32 "\r\n", front->pool.outstanding);
}

static uint64_t resident_bytes(void) {
  unsigned long long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL) {
    return 0;
  }
  if (fscanf(file, "%*u %llu", &pages) != 1) {
    pages = 0;
  }
  fclose(file);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void info_memory(const struct front *front, struct output *out) {
  const struct node_facts facts = front_facts(front);
  uint64_t used = mallinfo2().uordblks + facts.value_memory_used;
  output_format(out, "used_memory:%" PRIu64 "\r\nused_memory_rss:%" PRIu64 "\r\n", used, resident_bytes());
  const struct server_stats *server = server_stats(front->services.server(front->services.context));
  output_format(out, "mem_clients_normal:%" PRIu64 "\r\n", server->memory_bytes);
  output_text(out, "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n");
  output_format(out, "value_memory_used:%" PRIu64 "\r\nvalue_memory_capacity:%" PRIu64 "\r\n", facts.value_memory_used,
                facts.value_memory_capacity);
}

static void info_persistence(const struct front *front, struct output *out) {
  struct store_statistics store = {0};
  const struct node_facts facts = front_facts(front);
  front->services.store_statistics(front->services.context, &store);
  output_text(out, "loading:0\r\nrdb_bgsave_in_progress:0\r\n");
  output_format(out, "aof_enabled:%d\r\n", strcmp(facts.engine, "memory") == 0 ? 0 : 1);
  output_format(out, "store_bytes:%" PRIu64 "\r\n", store.bytes);
  if (store.free_bytes != UINT64_MAX) {
    output_format(out, "store_free_bytes:%" PRIu64 "\r\n", store.free_bytes);
  }
  output_format(out, "store_nospace:%d\r\nstore_stalled:%d\r\n", store.nospace ? 1 : 0, store.stalled ? 1 : 0);
}

static void info_stats(const struct front *front, struct output *out) {
  const struct server_stats *server = server_stats(front->services.server(front->services.context));
  const struct node_facts facts = front_facts(front);
  const struct front_counts *counts = &front->counts;
  const struct shard_stats *stats = shard_stats(front_shard(front));
  output_format(out, "total_connections_received:%" PRIu64 "\r\nrejected_connections:%" PRIu64 "\r\n", server->accepted,
                server->refused);
  output_format(out, "total_commands_processed:%" PRIu64 "\r\ntotal_error_replies:%" PRIu64 "\r\n", counts->commands,
                counts->errors);
  output_format(out, "total_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64 "\r\n", server->bytes_in,
                server->bytes_out);
  output_format(out, "clients_closed_output:%" PRIu64 "\r\nclients_closed_input:%" PRIu64 "\r\n", server->closed_output,
                server->closed_input);
  output_format(out, "requests_too_large:%" PRIu64 "\r\nprotocol_errors:%" PRIu64 "\r\n", counts->refused,
                counts->protocol_errors);
  output_format(out, "replies_late:%" PRIu64 "\r\nrequests_waited:%" PRIu64 "\r\n", counts->replies_late,
                counts->waited);
  output_format(out, "clients_starved:%" PRIu64 "\r\nauth_failures:%" PRIu64 "\r\n", counts->starved,
                counts->auth_failures);
  output_format(out, "peers_refused:%" PRIu64 "\r\npeer_queue_dropped:%" PRIu64 "\r\n", facts.peers_refused,
                facts.peer_queue_dropped);
  output_format(out, "commits:%" PRIu64 "\r\ncommit_batches:%" PRIu64 "\r\nloop_iterations:%" PRIu64 "\r\n",
                facts.commits, facts.commit_batches, facts.loop_iterations);
#define X(name, help) output_format(out, #name ":%" PRIu64 "\r\n", stats->name);
  SHARD_STATS_TABLE(X)
#undef X
}

static void info_replication(const struct front *front, struct output *out) {
  (void)front;
  output_text(out, "role:master\r\nconnected_slaves:0\r\n");
}

static void info_cpu(const struct front *front, struct output *out) {
  struct rusage usage;
  (void)front;
  memset(&usage, 0, sizeof(usage));
  (void)getrusage(RUSAGE_SELF, &usage);
  output_format(out, "used_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\n", usage.ru_stime.tv_sec,
                usage.ru_stime.tv_usec, usage.ru_utime.tv_sec, usage.ru_utime.tv_usec);
}

static void info_commandstats(const struct front *front, struct output *out) {
  for (uint32_t i = 0; i < commands_count(); i++) {
    if (front->command_calls[i] > 0) {
      output_format(out, "cmdstat_%s:calls=%" PRIu64 "\r\n", commands_table[i].name, front->command_calls[i]);
    }
  }
}

static void info_cluster(const struct front *front, struct output *out) {
  const struct node_facts facts = front_facts(front);
  const struct shard *shard = front_shard(front);
  struct census census;
  struct layout_view layout;
  census_take(front, &census);
  shard_layout(shard, &layout);
  output_format(out, "cluster_enabled:1\r\ncluster_name:%s\r\n", facts.cluster_name);
  output_format(out, "cluster_members:%" PRIu32 "\r\ncluster_members_up:%" PRIu32 "\r\n", census.count,
                census.count - census.down);
  output_format(out, "cluster_partitions:%" PRIu32 "\r\n", shard_ring(shard)->partition_count);
  output_format(out, "cluster_changes:%" PRIu32 "\r\n", history_length(shard_history(shard)));
  output_format(out, "cluster_moving:%d\r\ncluster_phase:%s\r\n", layout.moving ? 1 : 0, phase_word(layout.mark.phase));
  output_format(out, "cluster_partitions_wanted:%" PRIu64 "\r\ncluster_partitions_held:%" PRIu64 "\r\n",
                census.partitions_wanted, census.partitions_held);
  output_format(out, "cluster_keys_moved:%" PRIu64 "\r\ncluster_bytes_moved:%" PRIu64 "\r\n", census.keys_moved,
                census.bytes_moved);
  output_format(out, "cluster_bytes_moved_per_second:%" PRIu64 "\r\ncluster_strays:%" PRIu64 "\r\n",
                progress_bytes_per_s(&front->progress), census.strays);
  int64_t eta_s = census.ms_to_go == UINT32_MAX ? -1 : ((int64_t)census.ms_to_go + 999) / 1000;
  int64_t compared_ms = census.compared_age_ms == 0 ? -1 : (int64_t)census.compared_age_ms;
  output_format(out, "cluster_keys_differ:%" PRIu64 "\r\ncluster_compared_age_ms:%" PRId64 "\r\n", census.keys_differ,
                compared_ms);
  output_format(out, "cluster_mend_bytes_to_go:%" PRIu64 "\r\ncluster_mend_eta_seconds:%" PRId64 "\r\n",
                census.bytes_to_go, eta_s);
  output_format(out, "cluster_hints:%" PRIu64 "\r\ncluster_oldest_hint_age_ms:%" PRIu64 "\r\n", census.hints,
                census.oldest_hint_age_ms);
  output_format(out, "cluster_tombstones:%" PRIu64 "\r\n", census.tombstones);
}

static void info_background(const struct front *front, struct output *out) {
  struct admit_view view;
  struct waiting waiting = waiting_work(front);
  const struct heartbeat *health = shard_health(front_shard(front));
  shard_background(front_shard(front), &view);
  output_format(out,
                "background_level_permille:%" PRIu32 "\r\nbackground_start_permille:%" PRIu32
                "\r\nbackground_bytes_per_second:%" PRIu64 "\r\n",
                view.level, view.start, view.bytes_per_s);
  output_format(out, "background_p999_usec:%" PRIu64 "\r\nbackground_target_usec:%" PRIu64 "\r\n", view.p999_ns / 1000u,
                view.target_ns / 1000u);
  output_format(out, "background_waiting_tree_permille:%" PRIu32 "\r\n", waiting.tree_permille);
  output_format(out,
                "background_waiting_exchange_partitions:%" PRIu64 "\r\nbackground_waiting_exchange_keys:%" PRIu64
                "\r\nbackground_waiting_exchange_bytes:%" PRIu64 "\r\n",
                waiting.exchange_partitions, waiting.exchange_keys, health->sync_bytes_to_go);
  output_format(out,
                "background_waiting_transfer_partitions:%" PRIu64 "\r\nbackground_waiting_transfer_strays:%" PRIu64
                "\r\nbackground_waiting_hints:%" PRIu64 "\r\n",
                waiting.transfer_partitions, waiting.strays, waiting.hints);
  output_format(out, "background_waiting_hints_bytes:%" PRIu64 "\r\n", waiting.hint_bytes);
  output_format(out, "background_spent_tree_bytes:%" PRIu64 "\r\nbackground_spent_exchange_bytes:%" PRIu64 "\r\n",
                view.spent_bytes[ADMIT_GROW], view.spent_bytes[ADMIT_EXCHANGE]);
  output_format(out, "background_spent_transfer_bytes:%" PRIu64 "\r\nbackground_spent_hints_bytes:%" PRIu64 "\r\n",
                view.spent_bytes[ADMIT_TRANSFER], view.spent_bytes[ADMIT_HINTS]);
  output_format(out, "background_spent_scrub_bytes:%" PRIu64 "\r\nbackground_spent_reap_bytes:%" PRIu64 "\r\n",
                view.spent_bytes[ADMIT_SCRUB], view.spent_bytes[ADMIT_REAP]);
}

static void info_keyspace(const struct front *front, struct output *out) {
  uint64_t keys = keyspace_estimate(front);
  if (keys > 0) {
    output_format(out, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0\r\n", keys);
  }
}

struct section {
  const char *name;
  const char *title;
  bool on_demand; /* with ALL, EVERYTHING or its name only */
  void (*write)(const struct front *front, struct output *out);
};

static const struct section sections[] = {
    {"SERVER", "Server", false, info_server},
    {"CLIENTS", "Clients", false, info_clients},
    {"MEMORY", "Memory", false, info_memory},
    {"PERSISTENCE", "Persistence", false, info_persistence},
    {"STATS", "Stats", false, info_stats},
    {"REPLICATION", "Replication", false, info_replication},
    {"CPU", "CPU", false, info_cpu},
    {"COMMANDSTATS", "Commandstats", true, info_commandstats},
    {"CLUSTER", "Cluster", false, info_cluster},
    {"BACKGROUND", "Background", false, info_background},
    {"KEYSPACE", "Keyspace", false, info_keyspace},
};

static bool section_wanted(const struct call *call, const struct section *section) {
  bool wanted = call->argc == 1 && !section->on_demand;
  for (uint32_t i = 1; i < call->argc; i++) {
    struct bytes word = call->argv[i];
    bool all = word_is(word, "ALL") || word_is(word, "EVERYTHING");
    wanted = wanted || all || word_is(word, section->name) || (word_is(word, "DEFAULT") && !section->on_demand);
  }
  return wanted;
}

void handle_info(struct call *call) {
  struct output text = {0};
  for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
    if (section_wanted(call, &sections[i])) {
      output_format(&text, "%s# %s\r\n", text.size > 0 ? "\r\n" : "", sections[i].title);
      sections[i].write(call->front, &text);
    }
  }
  output_verbatim(call->out, output_bytes(&text));
  call->out->failed = call->out->failed || text.failed;
  output_free(&text);
}

/* -- CONFIG ----------------------------------------------------------------------------------- */

/* What clients of Redis ask for under Redis's names. */
struct alias {
  const char *name;
  const char *option; /* of ours; NULL: the text is fixed */
  const char *text;   /* NULL: see alias_text */
};

static const struct alias aliases[] = {
    {"appendonly", NULL, NULL},
    {"cluster-enabled", NULL, "yes"},
    {"databases", NULL, "1"},
    {"maxclients", "max-clients", NULL},
    {"maxmemory", NULL, "0"},
    {"maxmemory-policy", NULL, "noeviction"},
    {"proto-max-bulk-len", NULL, NULL},
    {"save", NULL, ""},
    {"timeout", NULL, "0"},
};

#define ALIASES (sizeof(aliases) / sizeof(aliases[0]))

static bool option_text(const struct front *front, const char *name, char *text) {
  if (!front->services.config_get(front->services.context, name, text)) {
    return false;
  }
  bool secret = strcmp(name, "requirepass") == 0 || strcmp(name, "secret") == 0;
  if (secret && text[0] != '\0') {
    snprintf(text, FRONT_CONFIG_TEXT, "****");
  }
  return true;
}

static bool alias_text(const struct front *front, const struct alias *alias, char *text) {
  if (alias->option != NULL) {
    return option_text(front, alias->option, text);
  }
  if (alias->text != NULL) {
    snprintf(text, FRONT_CONFIG_TEXT, "%s", alias->text);
  } else if (strcmp(alias->name, "appendonly") == 0) {
    const struct node_facts facts = front_facts(front);
    snprintf(text, FRONT_CONFIG_TEXT, "%s", strcmp(facts.engine, "memory") == 0 ? "no" : "yes");
  } else {
    snprintf(text, FRONT_CONFIG_TEXT, "%" PRIu32, front->value_max_bytes);
  }
  return true;
}

static bool name_asked_for(const struct call *call, const char *name) {
  for (uint32_t i = 2; i < call->argc; i++) {
    if (glob_matches(call->argv[i], (struct bytes){(const uint8_t *)name, strlen(name)}, true)) {
      return true;
    }
  }
  return false;
}

/* The `index`th name that CONFIG GET knows, its text in `text`; NULL past the last. Sets *text to NULL where there is
 * none. */
static const char *config_entry(const struct front *front, uint32_t index, char *text, bool *known) {
  if (index < ALIASES) {
    *known = alias_text(front, &aliases[index], text);
    return aliases[index].name;
  }
  const char *name = front->services.config_name(front->services.context, index - (uint32_t)ALIASES);
  *known = name != NULL && option_text(front, name, text);
  return name;
}

void handle_config_get(struct call *call) {
  char text[FRONT_CONFIG_TEXT];
  const char *name = NULL;
  bool known = false;
  uint32_t count = 0;
  for (uint32_t i = 0; (name = config_entry(call->front, i, text, &known)) != NULL; i++) {
    count += known && name_asked_for(call, name) ? 1 : 0;
  }
  output_map(call->out, count);
  for (uint32_t i = 0; (name = config_entry(call->front, i, text, &known)) != NULL; i++) {
    if (known && name_asked_for(call, name)) {
      output_bulk_text(call->out, name);
      output_bulk_text(call->out, text);
    }
  }
}

/* A NUL-terminated copy, in lower case if that is wanted; false when it does not fit or holds a NUL. */
static bool word_text(struct bytes word, bool to_lower, char *text, size_t size) {
  if (word.size >= size || (word.size > 0 && memchr(word.data, '\0', word.size) != NULL)) {
    return false;
  }
  for (size_t i = 0; i < word.size; i++) {
    char c = (char)word.data[i];
    text[i] = to_lower && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
  }
  text[word.size] = '\0';
  return true;
}

/* The option that argument `index` of CONFIG SET names; false: the reply says what is wrong. */
static bool config_option(struct call *call, uint32_t index, char *name) {
  char text[FRONT_CONFIG_TEXT];
  size_t shown = call->argv[index].size < 64 ? call->argv[index].size : 64;
  bool known = word_text(call->argv[index], true, name, NAME_MAX_BYTES);
  for (size_t i = 0; known && i < ALIASES; i++) {
    if (strcmp(aliases[i].name, name) != 0) {
      continue;
    }
    if (aliases[i].option == NULL) {
      output_error_format(call->out,
                          "ERR CONFIG SET failed (possibly related to argument '%s') - "
                          "can't set immutable config",
                          name);
      return false;
    }
    snprintf(name, NAME_MAX_BYTES, "%s", aliases[i].option);
  }
  if (!known || !call->front->services.config_get(call->front->services.context, name, text)) {
    output_error_format(call->out, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'", (int)shown,
                        (const char *)call->argv[index].data);
    return false;
  }
  return true;
}

struct change_made {
  char name[NAME_MAX_BYTES];
  char before[FRONT_CONFIG_TEXT];
};

/* One option. False: the reply says why not. */
static bool config_change(struct call *call, uint32_t index, struct change_made *made) {
  const struct front_services *services = &call->front->services;
  char value[FRONT_CONFIG_TEXT];
  char why[FRONT_CONFIG_WHY] = "";
  if (!config_option(call, index, made->name)) {
    return false;
  }
  if (strcmp(made->name, "requirepass") == 0) {
    snprintf(made->before, sizeof(made->before), "%s", call->front->password);
  } else {
    (void)services->config_get(services->context, made->name, made->before);
  }
  if (!word_text(call->argv[index + 1], false, value, sizeof(value))) {
    snprintf(why, sizeof(why), "the value is too long");
  } else if (services->config_set(services->context, made->name, value, why)) {
    return true;
  }
  output_error_format(call->out, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", made->name, why);
  return false;
}

/* All of the options or none: what was changed before the first failure is put back. */
void handle_config_set(struct call *call) {
  const struct front_services *services = &call->front->services;
  uint32_t count = (call->argc - 2) / 2;
  if (call->argc % 2 != 0) {
    call_wrong_arity(call);
    return;
  }
  if (count > CONFIG_SET_MAX) {
    output_error_format(call->out, "ERR CONFIG SET takes at most %u options at a time", CONFIG_SET_MAX);
    return;
  }
  struct change_made made[CONFIG_SET_MAX];
  uint32_t done = 0;
  while (done < count && config_change(call, 2 + 2 * done, &made[done])) {
    done += 1;
  }
  if (done == count) {
    output_simple(call->out, "OK");
    return;
  }
  char why[FRONT_CONFIG_WHY];
  for (uint32_t i = done; i > 0; i--) {
    (void)services->config_set(services->context, made[i - 1].name, made[i - 1].before, why);
  }
}

void handle_config_help(struct call *call) {
  static const char *const lines[] = {
      "CONFIG <subcommand> [<arg> ...]. Subcommands are:",
      "GET <pattern> [<pattern> ...]",
      "    Options whose names match the glob patterns.",
      "SET <option> <value> [<option> <value> ...]",
      "    Changes options until the node stops; those that are not live are in its configuration file only.",
      "HELP",
      "    This text.",
  };
  output_lines(call->out, lines, sizeof(lines) / sizeof(lines[0]));
}
