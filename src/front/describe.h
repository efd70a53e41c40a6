/* The cluster and a key's replicas as JSON, for the command line and the console. docs: the shapes stand beside each
 * function. */
#ifndef GRAMME_FRONT_DESCRIBE_H
#define GRAMME_FRONT_DESCRIBE_H

#include <jansson.h>

#include "front/front.h"

/* Each returns a new reference, or NULL without memory. */

/* {"members": [{"id", "name", "address", "peer_address", "zone", "weight", "partitions",
 *               "state": "member" | "joining" | "leaving", "up", "self", "last_heard_ms" | null, "hints",
 *               "oldest_hint_age_ms", "keys", "strays", "nospace", "keys_differ", "compared_age_ms" | null,
 *               "mend_bytes_to_go", "mend_eta_seconds" | null, "background_level"}]} */
json_t *describe_members(const struct front *front);

/* {"cluster": {"name", "partitions", "members", "history_digest", "forming"},
 *  "node": {"id", "name", "address", "peer_address", "engine", "dir", "uptime_seconds", "incarnation", "member",
 *           "takes_changes", "removed", "handed_over", "strays", "hints", "join_refusal" | null, "nospace", "keys",
 *           "bytes", "clients"},
 *  "members": as above, "totals": {"hints", "oldest_hint_age_ms", "members_down", "keys_differ",
 *      "compared_age_ms" | null, "mend_bytes_to_go", "mend_eta_seconds" | null},
 *  "change": null while nothing moves, or {"phase", "base_records", "target_records", "moving", "another_waits",
 *      "seconds", "waiting_for": [name], "partitions_wanted", "partitions_held", "keys_moved", "bytes_moved", "strays",
 *      "rate_bytes_per_second", "rate_keys_per_second", "bytes_to_go", "eta_seconds" | null,
 *      "members": [{"name", "phase", "base_records", "target_records", "partitions_wanted", "partitions_held",
 *                   "keys_moved", "bytes_moved", "strays"}]},
 *  "candidates": [{"id", "name", "address", "zone", "weight"}]: nodes that wait to be added,
 *  "compared": [{"id", "name", "partitions", "partitions_differ", "keys_differ", "found", "age_ms" | null}]: how this
 *      node stands with those with which it compares partitions,
 *  "differences": [{"partition", "id", "name", "keys" | null}], "differences_count": the first of them, and how many,
 *  "background": {"level" (of 1000), "bytes_per_second", "p999_us", "target_us", "waiting": {"tree_permille",
 *      "exchange_partitions", "exchange_keys", "transfer_partitions", "transfer_strays", "hints",
 *      "hints_bytes_to_go", "hints_eta_seconds" | null}, "spent_bytes": {"tree", "exchange", "transfer", "hints"}}} */
json_t *describe_status(const struct front *front);

/* {"partitions", "digest", "members": [{"id", "name", "zone", "weight", "partitions"}], "owners": [index into members,
 * by partition]} */
json_t *describe_ring(const struct front *front);

/* What is staged, compared with the ring of now: {"plan_id": hex | null, "history_digest", "staged_on", "empty",
 *  "changes": [{"kind", "node", "name", "address", "zone", "weight", of a reweigh "weight_before", of a replace "old",
 *               "old_name"}],
 *  "members": [{"id", "name", "state", "zone", "weight", "weight_before", "partitions_before", "partitions_after",
 *               "gains", "loses", "bytes_in", "bytes_out"}],
 *  "copies", "partitions", "zones", "moves": {"replicas", "optimum", "bytes", "keys"}, "balance": {"before", "after"},
 *  "violations": {"nodes", "zones"}, "warnings": [text], "background_rate", "estimate_seconds"}
 * Bytes and keys are estimates, by what this node keeps. `dropped`: "" or what is staged no longer, and why. */
struct staging;
json_t *describe_plan(const struct front *front, const struct staging *staging, const char *dropped);

/* {"key", "bucket", "slot", "position", "partition", "props": {...}, "preference": [{"node", "name", "address",
 *  "role", "up"}], "replicas": [{"node", "name", "answered", "role", "clock": {"pairs": [dot], "dots": [dot]} | null,
 *                "siblings": [{"dot", "size", "tombstone", "expires_at_ms"}] | null,
 *                "hints": [{"owner", "owner_name", "clock", "siblings"}]}]}
 * where a dot is {"node", "name", "incarnation", "time", "at"}. `reply` answers a COMMAND_EXPLAIN. */
json_t *describe_key(const struct front *front, struct bytes key, const struct reply *reply);

#endif
