/* The one table of options: configuration file, flags, CONFIG GET/SET, --help and the annotated sample
 * file (`gramme server --print-config`) all come from it. Flags override file overrides default.
 */
#ifndef GRAMME_RUN_OPTIONS_H
#define GRAMME_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* clang-format off */
/* section, name, kind, field, default, min, max, may CONFIG SET change it, help */
#define OPTION_TABLE(X) \
  X("node", "name", TEXT, name, "", 0, 32, false, \
    "name of this node in messages; empty: node-ID") \
  X("node", "dir", TEXT, dir, "./gramme-data", 1, 4000, false, \
    "data directory") \
  X("node", "node-id", TEXT, node_id, "", 0, 8, false, \
    "the id (8 hexadecimal digits) that an emptied data directory had; it comes back as that node; empty: a new id") \
  X("node", "engine", TEXT, engine, "rocksdb", 1, 16, false, \
    "storage engine") \
  X("node", "listen", TEXT, listen, "127.0.0.1", 1, 64, false, \
    "address that clients and peers connect to; other than loopback only with requirepass and secret") \
  X("node", "port", NUMBER, port, "7600", 1, 65535, false, \
    "port for clients (RESP)") \
  X("node", "peer-port", NUMBER, peer_port, "0", 0, 65535, false, \
    "port for other nodes; 0: port + 10000") \
  X("node", "announce", TEXT, announce, "", 0, 64, false, \
    "address that others are told to use; empty: listen") \
  X("node", "zone", TEXT, zone, "", 0, 32, false, \
    "failure domain (rack, data centre); replicas are spread over zones") \
  X("node", "weight", NUMBER, weight, "100", 1, 1000, false, \
    "capacity relative to other nodes") \
  X("node", "background-rate", BYTES, background_rate, "64mb", 65536, 1099511627776, true, \
    "bytes a second that comparing and mending replicas, moving partitions and handing over hints take at the most") \
  X("node", "background-p999-target", MILLIS, background_p999_target, "50ms", 0, 60000, true, \
    "they take less while the slowest 0.1 % of requests take longer than this; 0: always as little as may be") \
  X("node", "hints", NUMBER, hints, "1", 0, 1, true, \
    "1: what a replica that is away misses is kept for it; 0: only where that copy counts for W; comparing mends it") \
  X("node", "tree-memory", BYTES, tree_memory, "8mb", 131072, 536870912, false, \
    "memory for the Merkle tree, 8 bytes a leaf; a leaf for each key is best; as much again for each further n") \
  X("node", "requirepass", SECRET, requirepass, "", 0, 256, true, \
    "password for clients (AUTH); empty: none") \
  X("node", "max-clients", NUMBER, max_clients, "10000", 1, 100000, true, \
    "client connections; one more is told so and closed") \
  X("node", "client-output-limit", BYTES, client_output_limit, "32mb", 65536, 1073741824, true, \
    "unsent bytes after which a client is closed") \
  X("node", "max-value", BYTES, max_value, "1mb", 1024, 16777216, true, \
    "largest value") \
  X("node", "value-memory", BYTES, value_memory, "256mb", 67108864, 68719476736, false, \
    "memory for values in flight") \
  X("cluster", "cluster-name", TEXT, cluster_name, "gramme", 1, 32, false, \
    "nodes of another cluster are refused") \
  X("cluster", "secret", SECRET, secret, "", 0, 256, false, \
    "what nodes prove to each other; the same on all") \
  X("cluster", "seeds", TEXT, seeds, "", 0, 4000, false, \
    "host:peer-port of nodes to join through, separated by commas; empty: found a cluster") \
  X("cluster", "partitions", NUMBER, partitions, "1024", 1, 16384, false, \
    "partitions of a cluster that this node founds; a power of two") \
  X("timing", "request-timeout", MILLIS, request_timeout, "3s", 10, 600000, true, \
    "when a request without a quorum is given up") \
  X("timing", "hedge", MILLIS, hedge, "100ms", 1, 60000, true, \
    "silence of a replica after which a stand-in is asked too, or a hint kept") \
  X("timing", "repair-window", MILLIS, repair_window, "200ms", 1, 60000, true, \
    "how long a get waits for stragglers after its reply") \
  X("timing", "heartbeat", MILLIS, heartbeat, "250ms", 10, 60000, true, \
    "interval of heartbeats") \
  X("timing", "gossip", MILLIS, gossip, "1s", 10, 60000, true, \
    "interval of gossip (paper 4.8.1)") \
  X("timing", "peer-timeout", MILLIS, peer_timeout, "1500ms", 50, 600000, true, \
    "silence after which a node counts as down") \
  X("timing", "sync-round", MILLIS, sync_round, "60s", 0, 86400000, true, \
    "interval within which a node compares all that it keeps with each other replica; 0: never") \
  X("timing", "scrub-round", MILLIS, scrub_round, "168h", 0, 31536000000, true, \
    "interval within which a node reads again all that it has stored, to find what is damaged; 0: never") \
  X("storage", "small-value", BYTES, small_value, "16kb", 0, 1048576, true, \
    "reads answer in full from all replicas up to this; larger values are read once") \
  X("storage", "disk-reserve", BYTES, disk_reserve, "64mb", 0, 1099511627776, true, \
    "writes are refused while less disk is free") \
  X("storage", "cache", BYTES, cache, "64mb", 1048576, 1099511627776, false, \
    "block cache of the rocksdb engine") \
  X("storage", "write-buffer", BYTES, write_buffer, "64mb", 1048576, 4294967296, false, \
    "write buffer of the rocksdb engine")
/* clang-format on */

enum option_kind { OPTION_TEXT, OPTION_SECRET, OPTION_NUMBER, OPTION_BYTES, OPTION_MILLIS };

#define OPTION_TEXT_MAX 4096u

/* One field for each row of the table: text (TEXT, SECRET) or number (in bytes, milliseconds, or as it is). */
struct options {
#define OPTION_FIELD_TEXT char *
#define OPTION_FIELD_SECRET char *
#define OPTION_FIELD_NUMBER uint64_t
#define OPTION_FIELD_BYTES uint64_t
#define OPTION_FIELD_MILLIS uint64_t
#define X(section, name, kind, field, default_text, min, max, live, help) OPTION_FIELD_##kind field;
  OPTION_TABLE(X)
#undef X
};

#define OPTIONS_WHY 512

void options_init(struct options *options); /* defaults */
void options_deinit(struct options *options);
/* Sets one option from text; false and `why` (OPTIONS_WHY bytes: names the option, what is wrong, the range)
 * otherwise. */
bool options_set(struct options *options, const char *name, const char *value, char *why);
bool options_get(const struct options *options, const char *name, char *text,
                 size_t size);            /* SECRET reads "" or "****" */
bool options_is_live(const char *name);   /* may CONFIG SET change it */
const char *options_name(uint32_t index); /* NULL past the last */
/* Reads an INI file; `why` begins with FILE:LINE:. An unknown section or option is an error, and so is a value that is
 * wrong by itself. */
bool options_load(struct options *options, const char *path, char *why);
/* Rules across options: partitions a power of two, engine known, listening beyond loopback needs requirepass and
 * secret, ... */
bool options_check(const struct options *options, char *why);
void options_print_sample(FILE *out); /* the annotated sample file */
void options_print_help(FILE *out);   /* one line an option, for --help */

#endif
