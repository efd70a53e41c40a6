/* The cluster and a key's replicas as JSON, for the command line and the console. docs: the shapes stand beside each
 * function. */
#ifndef GRAMME_FRONT_DESCRIBE_H
#define GRAMME_FRONT_DESCRIBE_H

#include <jansson.h>

#include "front/front.h"

/* Each returns a new reference, or NULL without memory. */

/* {"members": [{"id", "name", "address", "peer_address", "zone", "weight", "partitions", "up", "self", "last_heard_ms"
 *               | null, "hints", "oldest_hint_age_ms", "keys", "nospace"}]} */
json_t *describe_members(const struct front *front);

/* {"cluster": {"name", "partitions", "members", "history_digest", "forming"},
 *  "node": {"id", "name", "address", "peer_address", "engine", "dir", "uptime_seconds", "incarnation", "member",
 *           "join_refusal" | null, "nospace", "keys", "bytes", "clients"},
 *  "members": as above, "totals": {"hints", "oldest_hint_age_ms", "members_down"}} */
json_t *describe_status(const struct front *front);

/* {"partitions", "digest", "members": [{"id", "name", "zone", "weight", "partitions"}], "owners": [index into members,
 * by partition]} */
json_t *describe_ring(const struct front *front);

/* {"key", "bucket", "slot", "position", "partition", "props": {...}, "preference": [{"node", "name", "address",
 *  "role", "up"}], "replicas": [{"node", "name", "answered", "role", "clock": {"pairs": [dot], "dots": [dot]} | null,
 *                "siblings": [{"dot", "size", "tombstone", "expires_at_ms"}] | null,
 *                "hints": [{"owner", "owner_name", "clock", "siblings"}]}]}
 * where a dot is {"node", "name", "incarnation", "time", "at"}. `reply` answers a COMMAND_EXPLAIN. */
json_t *describe_key(const struct front *front, struct bytes key, const struct reply *reply);

#endif
