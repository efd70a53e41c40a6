#include "ring/snapshot.h"

#include "base/assert.h"
#include "ring/change.h"

#include <string.h>

/* In an encoded history:
 *
 *     u32 records  u64 their digest  u64 time and u32 issuer of the last   the FOUND, as a record
 *     u8 is the ring spread?   u16 members   each { u32 node  u32 weight  u16 seat  u16 zone mark  u16 client port
 *     u16 peer port  u8 size + host  u8 size + name  u8 size + zone }
 *     for each partition u8 owner, an index into the members   u16 nodes that are gone   each u32
 *     for each of the last prefixes, as many as there are up to HISTORY_TRAIL_MAX, u64 digest
 */

_Static_assert(MEMBERS_MAX <= 256, "an owner is encoded in a byte");
_Static_assert(HISTORY_GONE_MAX <= UINT16_MAX, "their number is encoded in two");

bool snapshot_spans(const struct snapshot *snapshot, const struct change *change) {
  if (snapshot->ring.records == 0 || change->time != snapshot->time) {
    return change->time < snapshot->time && snapshot->ring.records > 0;
  }
  return change->issuer <= snapshot->issuer;
}

/* -- who is gone ----------------------------------------------------------------- */

void snapshot_forget(struct snapshot *snapshot, uint32_t node) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < snapshot->gone_count; i++) {
    if (snapshot->gone[i] != node) {
      snapshot->gone[kept++] = snapshot->gone[i];
    }
  }
  snapshot->gone_count = kept;
}

void snapshot_remember(struct snapshot *snapshot, uint32_t node) {
  ASSERT(node != 0);
  snapshot_forget(snapshot, node);
  if (snapshot->gone_count == HISTORY_GONE_MAX) {
    snapshot_forget(snapshot, snapshot->gone[0]);
  }
  ASSERT(snapshot->gone_count < HISTORY_GONE_MAX);
  snapshot->gone[snapshot->gone_count++] = node;
}

/* -- the trail ------------------------------------------------------------------- */

static uint32_t trail_count(const struct snapshot *snapshot) {
  return snapshot->ring.records < HISTORY_TRAIL_MAX ? snapshot->ring.records : HISTORY_TRAIL_MAX;
}

uint64_t snapshot_prefix(const struct snapshot *snapshot, uint32_t count) {
  const uint32_t kept = trail_count(snapshot);
  ASSERT(count <= snapshot->ring.records);
  const uint32_t longer = snapshot->ring.records - count;
  return longer < kept ? snapshot->trail[kept - 1 - longer] : 0;
}

int snapshot_find(const struct snapshot *snapshot, uint64_t digest) {
  ASSERT(digest != 0);
  const uint32_t kept = trail_count(snapshot);
  for (uint32_t i = kept; i > 0; i--) {
    if (snapshot->trail[i - 1] == digest) {
      return (int)(snapshot->ring.records - (kept - i));
    }
  }
  return -1;
}

static void lengthen(struct snapshot *snapshot, const struct change *change) {
  uint32_t kept = trail_count(snapshot);
  if (kept == HISTORY_TRAIL_MAX) {
    kept -= 1;
    memmove(&snapshot->trail[0], &snapshot->trail[1], kept * sizeof snapshot->trail[0]);
  }
  snapshot->ring.digest = change_digest(snapshot->ring.digest, change);
  snapshot->ring.records++;
  snapshot->trail[kept] = snapshot->ring.digest;
}

/* -- all of it ------------------------------------------------------------------- */

void snapshot_take(struct snapshot *snapshot, const struct change *change) {
  ASSERT(!snapshot_spans(snapshot, change));
  ASSERT(snapshot->gone_count <= HISTORY_GONE_MAX);
  lengthen(snapshot, change);
  snapshot->time = change->time;
  snapshot->issuer = change->issuer;
  switch (change->kind) {
  case CHANGE_FOUND:
    snapshot->founding = *change;
    snapshot_forget(snapshot, change->node);
    break;
  case CHANGE_ADD:
    snapshot_forget(snapshot, change->node);
    break;
  case CHANGE_REMOVE:
    snapshot_remember(snapshot, change->node);
    break;
  case CHANGE_REWEIGH:
    break;
  case CHANGE_REPLACE:
    snapshot_forget(snapshot, change->node);
    snapshot_remember(snapshot, change->old);
    break;
  }
}

void snapshot_copy(struct snapshot *to, const struct snapshot *from) {
  ASSERT(from->gone_count <= HISTORY_GONE_MAX);
  if (from->ring.records == 0) {
    memset(to, 0, sizeof *to);
  } else {
    *to = *from;
  }
}

/* -- encoding ---------------------------------------------------------------- */

void snapshot_encode(const struct snapshot *snapshot, struct writer *w) {
  const struct ring *ring = &snapshot->ring;
  ASSERT(ring->records > 0 && ring->member_count > 0);
  write_u32(w, ring->records);
  write_u64(w, ring->digest);
  write_u64(w, snapshot->time);
  write_u32(w, snapshot->issuer);
  change_encode(w, &snapshot->founding);
  write_u8(w, ring->is_spread ? 1 : 0);
  write_u16(w, (uint16_t)ring->member_count);
  for (uint32_t i = 0; i < ring->member_count; i++) {
    const struct ring_member *member = &ring->members[i];
    write_u32(w, member->node);
    write_u32(w, member->weight);
    write_u16(w, member->seat);
    write_u16(w, member->zone_mark);
    write_u16(w, member->client_port);
    write_u16(w, member->peer_port);
    text_encode(w, member->host, sizeof member->host);
    text_encode(w, member->name, sizeof member->name);
    text_encode(w, member->zone_name, sizeof member->zone_name);
  }
  for (uint32_t p = 0; p < ring->partition_count; p++) {
    write_u8(w, (uint8_t)ring->owners[p]);
  }
  write_u16(w, (uint16_t)snapshot->gone_count);
  for (uint32_t i = 0; i < snapshot->gone_count; i++) {
    write_u32(w, snapshot->gone[i]);
  }
  for (uint32_t i = 0; i < trail_count(snapshot); i++) {
    write_u64(w, snapshot->trail[i]);
  }
}

/* Seats are distinct; equal zones have equal marks, and only they; numbers each zone as it first appears. */
static bool place_member(struct ring *ring, uint32_t index) {
  struct ring_member *member = &ring->members[index];
  uint32_t zone = ring->zone_count;
  for (uint32_t i = 0; i < index; i++) {
    const struct ring_member *other = &ring->members[i];
    const bool same = memcmp(other->zone_name, member->zone_name, sizeof member->zone_name) == 0;
    if (other->seat == member->seat || same != (other->zone_mark == member->zone_mark)) {
      return false;
    }
    zone = same ? other->zone : zone;
  }
  member->zone = (uint16_t)zone;
  ring->zone_count += zone == ring->zone_count;
  return index == 0 || ring->members[index - 1].node < member->node;
}

static bool decode_member(struct reader *r, struct ring *ring, uint32_t index) {
  struct ring_member *member = &ring->members[index];
  member->node = read_u32(r);
  member->weight = read_u32(r);
  member->seat = read_u16(r);
  member->zone_mark = read_u16(r);
  member->client_port = read_u16(r);
  member->peer_port = read_u16(r);
  if (!text_decode(r, member->host, sizeof member->host) || !text_decode(r, member->name, sizeof member->name) ||
      !text_decode(r, member->zone_name, sizeof member->zone_name)) {
    return false;
  }
  return member->node != 0 && member->weight > 0 && member->weight <= WEIGHT_MAX && member->seat < MEMBERS_MAX &&
         member->zone_mark < MEMBERS_MAX && place_member(ring, index);
}

static bool decode_ring(struct reader *r, struct ring *ring) {
  const uint32_t is_spread = read_u8(r);
  ring->is_spread = is_spread == 1;
  ring->member_count = read_u16(r);
  if (is_spread > 1 || ring->member_count == 0 || ring->member_count > MEMBERS_MAX) {
    return false;
  }
  for (uint32_t i = 0; i < ring->member_count; i++) {
    if (!decode_member(r, ring, i)) {
      return false;
    }
  }
  for (uint32_t p = 0; p < ring->partition_count; p++) {
    const uint32_t owner = read_u8(r);
    if (owner >= ring->member_count) {
      return false;
    }
    ring->owners[p] = (uint16_t)owner;
    ring->members[owner].owned++;
  }
  return !r->failed;
}

static bool decode_gone(struct reader *r, struct snapshot *snapshot) {
  snapshot->gone_count = read_u16(r);
  if (snapshot->gone_count > HISTORY_GONE_MAX) {
    return false;
  }
  for (uint32_t i = 0; i < snapshot->gone_count; i++) {
    snapshot->gone[i] = read_u32(r);
    if (snapshot->gone[i] == 0) {
      return false;
    }
  }
  return !r->failed;
}

static bool decode_trail(struct reader *r, struct snapshot *snapshot) {
  const uint32_t kept = trail_count(snapshot);
  for (uint32_t i = 0; i < kept; i++) {
    snapshot->trail[i] = read_u64(r);
    if (snapshot->trail[i] == 0) {
      return false;
    }
  }
  return !r->failed && snapshot->trail[kept - 1] == snapshot->ring.digest;
}

enum err snapshot_decode(struct reader *r, struct snapshot *snapshot) {
  memset(snapshot, 0, sizeof *snapshot);
  snapshot->ring.records = read_u32(r);
  snapshot->ring.digest = read_u64(r);
  snapshot->time = read_u64(r);
  snapshot->issuer = read_u32(r);
  if (snapshot->ring.records == 0 || snapshot->ring.digest == 0 || snapshot->time == 0 || snapshot->issuer == 0 ||
      change_decode(r, &snapshot->founding) != ERR_OK || snapshot->founding.kind != CHANGE_FOUND ||
      !snapshot_spans(snapshot, &snapshot->founding)) {
    return ERR_CORRUPT;
  }
  snapshot->ring.partition_count = snapshot->founding.partition_count;
  const bool sound = decode_ring(r, &snapshot->ring) && decode_gone(r, snapshot) && decode_trail(r, snapshot);
  return sound ? ERR_OK : ERR_CORRUPT;
}
