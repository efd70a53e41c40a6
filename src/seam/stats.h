/* What a shard counts. Each becomes a metric; names are the metric's. */
#ifndef GRAMME_SEAM_STATS_H
#define GRAMME_SEAM_STATS_H

#include <stdint.h>

/* clang-format off */
#define SHARD_STATS_TABLE(X)                                                   \
  X(gets, "gets coordinated")                                                  \
  X(puts, "puts coordinated")                                                  \
  X(forwards, "puts forwarded to another coordinator")                         \
  X(forward_retries, "forwarded puts coordinated elsewhere: the first node said it had not")  \
  X(forwards_stale, "forwarded puts refused because they came too late")       \
  X(quorum_failures, "requests that too few nodes answered")                   \
  X(timeouts, "requests that ran out of time")                                 \
  X(busy, "requests refused because a table was full")                         \
  X(let_go, "requests whose stragglers were let go under pressure")            \
  X(read_repairs, "objects sent to replicas that were found behind by a read") \
  X(reads_one_version, "gets that saw one version")                            \
  X(reads_siblings, "gets that saw siblings")                                  \
  X(hedges, "stand-ins asked because a replica was slow")                      \
  X(hints_kept, "hints written for others")                                    \
  X(hint_gaps, "times that hints were met with that can not be read: what they held is lost, unless replicas have it") \
  X(hints_delivered, "hints handed to their owner and deleted")                \
  X(hints, "hints now kept")                                                   \
  X(hint_oldest_ms, "wall-clock time of the oldest hint at the most, 0 none")              \
  X(keys_new, "keys that came into being here since the start")                     \
  X(keys_gone, "keys that were handed over and dropped here since the start")       \
  X(sync_rounds, "rounds of comparing with all other replicas that were complete")  \
  X(sync_found, "keys found to differ from another replica's")                      \
  X(sync_mended, "keys that were made equal again with another replica's")          \
  X(sync_keys, "keys listed to compare them one by one")                            \
  X(tombstones, "objects with a deletion in them")                                  \
  X(expiring, "objects with a value that expires, or has expired")                  \
  X(reaped, "objects from which what everybody had forgotten was taken out")        \
  X(buried, "versions that came back and were known to be dead")                    \
  X(sync_bytes, "bytes received and sent to compare replicas and to mend them")     \
  X(losses, "times that the data directory was found emptied or old")               \
  X(resynced, "objects that this node had lost, as far as it was not all, and got back") \
  X(damaged, "stored records found damaged")                                        \
  X(healed, "of those, made whole from the other replicas")                         \
  X(damaged_lost, "of those, lost: no other replica had the key")                   \
  X(scrub_bytes, "bytes read again to look for damage")                             \
  X(scrub_gaps, "places where that found what can not be read")                     \
  X(scrub_rounds, "rounds of reading all again that were complete")                 \
  X(merges, "merges that made a third object of two")                          \
  X(truncated, "clock entries dropped past the limit")                         \
  X(overfull, "merges refused past a limit")                                   \
  X(messages_bad, "messages dropped because they made no sense")               \
  X(messages_late, "answers that nobody waited for any more")                  \
  X(clocks_ahead, "remote clocks too far ahead to follow")                     \
  X(gossip_rounds, "gossip rounds")                                            \
  X(store_errors, "storage operations that failed")                            \
  X(incarnations, "incarnations taken since the start")
/* clang-format on */

struct shard_stats {
#define X(name, help) uint64_t name;
  SHARD_STATS_TABLE(X)
#undef X
};

#endif
