/* The members as this node sees them now, those that are coming and going among them. Private to front/. */
#ifndef GRAMME_FRONT_CENSUS_H
#define GRAMME_FRONT_CENSUS_H

#include <jansson.h>

#include "front/state.h"

struct census {
  struct member_view views[ROSTER_MAX];
  uint32_t count;
  uint64_t hints;
  uint64_t oldest_hint_age_ms;
  uint32_t down;
  uint64_t tombstones;   /* copies of deletions */
  uint64_t floor_age_ms; /* of the lowest floor; 0: none */
  uint64_t keys_differ;
  uint64_t bytes_to_go;     /* about, to mend what differs */
  uint32_t ms_to_go;        /* about, of who takes longest; UINT32_MAX: it can not be said yet */
  uint64_t compared_age_ms; /* the longest since a member has compared all; 0: one never has */
  bool uncompared;          /* one never has */
  bool sealed;              /* somebody holds data: the cluster is no longer being formed */
  /* Of the change of layouts that is under way: sums over the nodes that are at it. */
  uint64_t partitions_wanted, partitions_held;
  uint64_t keys_moved, bytes_moved;
  uint64_t strays;
  bool passing; /* somebody is joining or leaving */
};

void census_take(const struct front *front, struct census *census);
const struct member_view *census_find(const struct census *census, uint32_t node);
bool view_is_up(const struct member_view *view);

/* Who a node is: by the ring, or where that does not name it any more, or not yet, by the history. */
bool identity_find(const struct front *front, uint32_t node, struct identity *identity);

/* What a partition holds in the mean, by what this node keeps: its sums, and the partitions that they are of. */
struct shares {
  uint64_t bytes;
  uint64_t keys;
  uint64_t partitions;
};
struct shares shares_estimate(const struct front *front);
uint64_t shares_scale(uint64_t sum, const struct shares *shares, uint64_t partitions);

/* What background work has to do on this node. */
struct waiting {
  uint32_t tree_permille; /* of the store is still to be read for the Merkle tree */
  uint64_t exchange_partitions, exchange_keys;
  uint64_t transfer_partitions, strays;
  uint64_t hints;
  uint64_t hint_bytes;   /* about, as large as those of the last seconds; 0: it can not be said */
  uint64_t hint_seconds; /* about; UINT64_MAX: it can not be said */
};
struct waiting waiting_work(const struct front *front);

/* Words of JSON; new references. */
json_t *json_id(uint32_t node);      /* 8 hex digits */
json_t *json_digest(uint64_t value); /* 16 hex digits */
json_t *json_count(uint64_t value);
json_t *json_place(const char *host, uint16_t port);
json_t *json_node_name(const struct front *front, uint32_t node);

/* describe_change.c: of STATUS */
json_t *describe_change(const struct front *front, const struct census *census);
json_t *describe_candidates(const struct front *front);
const char *phase_word(uint8_t phase);

#endif
