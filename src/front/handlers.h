/* What executes each command; named in the table in commands.c. */
#ifndef GRAMME_FRONT_HANDLERS_H
#define GRAMME_FRONT_HANDLERS_H

#include <jansson.h>

struct call;
struct output;

/* commands_string.c */
void handle_get(struct call *call);
void handle_set(struct call *call);
void handle_setex(struct call *call);
void handle_psetex(struct call *call);
void handle_getset(struct call *call);
void handle_getdel(struct call *call);
void handle_mget(struct call *call);
void handle_mset(struct call *call);
void handle_strlen(struct call *call);
void handle_exists(struct call *call);
void handle_del(struct call *call);
void handle_type(struct call *call);

/* commands_connection.c */
void handle_ping(struct call *call);
void handle_echo(struct call *call);
void handle_hello(struct call *call);
void handle_auth(struct call *call);
void handle_select(struct call *call);
void handle_quit(struct call *call);
void handle_reset(struct call *call);
void handle_ok(struct call *call);
void handle_client_id(struct call *call);
void handle_client_getname(struct call *call);
void handle_client_setname(struct call *call);
void handle_client_setinfo(struct call *call);
void handle_client_info(struct call *call);
void handle_client_list(struct call *call);
void handle_client_no_evict(struct call *call);
void handle_client_reply(struct call *call);
void handle_client_help(struct call *call);

/* commands_introspection.c */
void handle_command(struct call *call);
void handle_command_count(struct call *call);
void handle_command_docs(struct call *call);
void handle_command_info(struct call *call);
void handle_command_list(struct call *call);
void handle_command_getkeys(struct call *call);
void handle_command_help(struct call *call);

/* commands_admin.c */
void handle_info(struct call *call);
void handle_dbsize(struct call *call);
void handle_config_get(struct call *call);
void handle_config_set(struct call *call);
void handle_config_help(struct call *call);

/* commands_cluster.c */
void handle_cluster_slots(struct call *call);
void handle_cluster_shards(struct call *call);
void handle_cluster_nodes(struct call *call);
void handle_cluster_info(struct call *call);
void handle_cluster_keyslot(struct call *call);
void handle_cluster_myid(struct call *call);
void handle_cluster_countkeysinslot(struct call *call);
void handle_cluster_help(struct call *call);

/* commands_dynamo.c */
void handle_dynamo_get(struct call *call);
void handle_dynamo_put(struct call *call);
void handle_dynamo_del(struct call *call);
void handle_dynamo_explain(struct call *call);
void handle_dynamo_bucket(struct call *call);
void handle_dynamo_help(struct call *call);
void handle_dynamo_status(struct call *call);
void handle_dynamo_ring(struct call *call);
void handle_dynamo_members(struct call *call);

/* A reply of one bulk string; frees the document. */
void output_json_take(struct output *out, json_t *document);
void handle_dynamo_cluster_help(struct call *call);

/* commands_plan.c */
void handle_dynamo_plan(struct call *call);
void handle_dynamo_commit(struct call *call);
void handle_dynamo_waitsync(struct call *call);
void handle_dynamo_abort(struct call *call);

#endif
