/* The ring as data: who is a member, and who owns which partition (paper §4.2). ring.h says how it comes about.
 *
 * It is all that a fold leaves behind and all that it needs to go on, so it is also what a history keeps of the records
 * that were folded away.
 *
 * INVARIANTS: members by node id, each once; owners below member_count; owned counts owners; seats are distinct; two
 * members have the same zone, and the same zone_mark, if and only if their zone_name is the same.
 */
#ifndef GRAMME_RING_TABLE_H
#define GRAMME_RING_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

#define RING_SPREAD 3u

struct ring_member {
  uint32_t node; /* id */
  uint32_t weight;
  uint32_t owned; /* partitions */
  uint16_t zone;  /* small number of its zone, by first appearance among members */
  uint16_t client_port;
  uint16_t peer_port;
  uint16_t seat;                 /* its place in the deal (deal.h): the order in which seats are looked at */
  uint16_t zone_mark;            /* number of its zone there, below MEMBERS_MAX */
  char host[HOST_MAX_BYTES + 1]; /* as its ADD, FOUND or REPLACE told; NUL-terminated */
  char name[NAME_MAX_BYTES + 1];
  char zone_name[NAME_MAX_BYTES + 1];
};

struct ring {
  uint32_t partition_count; /* Q; 0 while there is no FOUND */
  uint32_t member_count;
  uint32_t zone_count;
  uint32_t records;                        /* of the history that it was folded from: how many */
  uint64_t digest;                         /* and their digest */
  bool is_spread;                          /* laid with the rules of spread: the next change keeps what it can */
  struct ring_member members[MEMBERS_MAX]; /* in order of node id */
  uint16_t owners[PARTITIONS_MAX];         /* partition -> index into members */
};

#endif
