/* Every limit of Gramme, stated once.
 *
 * What "full" means stands beside each. Limits that an operator may change are
 * options (src/run/options.h); what stands here bounds them.
 */
#ifndef GRAMME_BASE_LIMITS_H
#define GRAMME_BASE_LIMITS_H

/* -- keys and values (paper §2: objects are usually below 1 MB) ---------- */
#define KEY_MAX_BYTES 65535u                /* longer: ERR_TOOBIG */
#define VALUE_MAX_BYTES_DEFAULT (1u << 20)  /* option max-value */
#define VALUE_MAX_BYTES_CEILING (16u << 20) /* max-value may not exceed this */
#define OBJECT_MAX_BYTES (64u << 20)        /* all siblings and clocks of one key; a put past it: ERR_TOOBIG */
#define SIBLINGS_PUT_MAX 256u               /* ceiling of the property sibling_max; a put past it: ERR_SIBLINGS */
#define SIBLING_MAX_DEFAULT 64u
#define SIBLINGS_MAX 2048u /* one object, merges included; a merge past it is refused and counted */
/* paper §4.4: older ones are dropped, counted: a false sibling at worst */
#define CLOCK_PAIRS_MAX 50u
#define CONTEXT_MAX_BYTES 65536u /* encoded; longer is ERR_BADCONTEXT */

/* -- ring (paper §6.2) -------------------------------------------------- */
#define PARTITIONS_MAX 16384u
#define PARTITIONS_DEFAULT 1024u
#define SLOTS 16384u            /* Redis Cluster hash slots */
#define MEMBERS_MAX 256u        /* nodes in the ring at one time */
#define HISTORY_MAX 4096u       /* membership records that are not folded away; an add past it is refused */
#define HISTORY_FOLD_AT 512u    /* records; when so many are agreed upon, they are folded away */
#define HISTORY_TRAIL_MAX 1024u /* prefixes, the last that were folded away, whose digests are kept */
#define HISTORY_GONE_MAX 1024u  /* former members that are remembered; the one longest gone is forgotten for one more */
#define REPLICAS_MAX 7u         /* N of a bucket */
#define PREFERENCE_MAX 32u      /* replicas and stand-ins of one partition that are considered */
#define WEIGHT_MAX 1000u
#define NAME_MAX_BYTES 32u /* node name, zone, cluster name */
#define HOST_MAX_BYTES 64u
#define BUCKETS_MAX 256u /* buckets with properties of their own; one more: ERR_FULL */
#define BUCKET_NAME_MAX_BYTES 64u

/* -- per shard tables ---------------------------------------------------- */
/* coordinated at one time; full: the oldest that only waits for stragglers is let go, else ERR_BUSY */
#define REQUESTS_MAX 8192u
#define PENDING_KEYS_MAX 8192u /* keys with a read or a commit in flight; full: ERR_BUSY */
#define PENDING_OPS_MAX 16384u /* operations that wait for such a key; full: ERR_BUSY */
/* waiting operations that one step runs; the rest at once in the next step */
#define OPS_PER_STEP_MAX 64u
#define LOCAL_MESSAGES_MAX 1024u            /* messages of a step to its own node */
#define EFFECTS_MAX 4096u                   /* effects of one step; asserted, not reached by construction */
#define REPLIES_PER_STEP_MAX 256u           /* of those, replies to clients; asserted too, see step_replies_left */
#define REPLY_CONTEXT_ROOM_BYTES (1u << 20) /* contexts of a step's replies; scarce: cut to CLOCK_PAIRS_MAX pairs */
#define HANDOFF_WINDOW 128u                 /* hints under way to one node at a time */
#define HANDOFF_WINDOW_BYTES (1u << 20)

/* -- membership (paper §4.8) ---------------------------------------------- */
#define PEERS_MAX (4u * MEMBERS_MAX) /* nodes that the detector knows: members of three rings, strangers */
#define STRANGERS_MAX MEMBERS_MAX    /* connected nodes that are not members; one more is not listened to */
#define JOIN_RETRY_NS 1000000000u    /* between a joiner's attempts */
#define JOIN_REFUSED_NS 5000000000u  /* the same after a refusal */
#define REASON_MAX_BYTES 400u        /* why a join was refused, in words; longer is cut */
#define PERSIST_RETRY_NS 1000000000u /* between attempts to store membership after a failure */

/* -- moving partitions (paper §4.9) --------------------------------------- */
#define CHANGES_PER_COMMIT_MAX 64u /* staged together; one more: refused */
#define REMOVALS_MAX 64u           /* nodes on their way out, a bit each in a heartbeat; one more: refused */
#define JOINERS_MAX 64u /* nodes that wait to be added; the one heard least lately is forgotten for one more */
#define CANDIDATE_KEEP_NS UINT64_C(10000000000) /* silence after which a candidate is forgotten */
#define MOVES_MAX 4u                            /* partitions that a node receives at one time */
#define MOVE_BATCH_MAX 128u                     /* entries of one PULLED */
#define MOVE_BATCH_BYTES (1u << 20)             /* about; one entry at least */

/* -- comparing replicas (paper §4.7) --------------------------------------- */
#define TREE_BITS_MAX 26u     /* leaves of a Merkle tree: two to that many at the most */
#define GROWTH_BATCH_MAX 512u /* objects of one scan that a tree grows by */
#define GROWTH_NOTES_MAX 64u  /* writes that are remembered while such a scan is under way; more: it covers less */
#define SYNC_SESSIONS_MAX 4u  /* partitions that a node compares key by key at one time */
#define SYNC_MENDS_MAX 32u    /* keys that one of those mends at one time */
#define SYNC_ROOTS_MAX 512u   /* roots in one COMPARE */
#define SYNC_WAITERS_MAX 64u  /* clients that wait until nothing differs; one more: ERR_BUSY */
#define SYNC_CHILDREN_BITS 5u /* of a node of a tree, in one COMPARE */
#define SYNC_ENGAGED_MAX 64u  /* partitions that others compare with this node key by key; one more: ERR_BUSY */

/* -- what a node knows of its own past --------------------------------------- */
#define WROTE_STEP_NS UINT64_C(2000000000) /* between wrote marks, while it is written to */

/* -- scrub --------------------------------------------------------------- */
#define SCRUB_BATCH_MAX 64u /* objects of one scan */
#define HEALS_MAX 32u       /* damaged records that are made whole at one time; one more: when it is wanted again */

/* -- background work (paper §6.5) -------------------------------------------- */
/* a second, for all of it: what it is granted however long clients wait, unless background-rate is less */
#define BACKGROUND_FLOOR_BYTES (256u << 10)

/* -- wire ---------------------------------------------------------------- */
#define FRAME_HEADER_BYTES 36u
#define FRAME_BODY_MAX_BYTES (OBJECT_MAX_BYTES + (1u << 20)) /* larger: the connection is closed */
#define PEER_QUEUE_MAX_BYTES (64u << 20) /* unsent bytes to one peer; past it messages are dropped and counted */

/* -- clients -------------------------------------------------------------- */
#define CLIENTS_MAX_DEFAULT 10000u /* option max-clients; one more is told so and closed */
/* option client-output-limit; past it the client is closed and counted */
#define CLIENT_OUTPUT_MAX_BYTES_DEFAULT (32u << 20)
#define CLIENT_PIPELINE_MAX 1024u /* unanswered requests of one client; past it its socket is not read */
#define COMMAND_ARGS_MAX 1024u    /* arguments of one command, keys of one MGET */
#define INLINE_MAX_BYTES 65536u

#endif
