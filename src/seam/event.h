/* What the driver tells the core: commands, messages, completions, time. Everything in an event is borrowed for the
 * call; see seam.h for the rules. Owner: the driver. */
#ifndef GRAMME_SEAM_EVENT_H
#define GRAMME_SEAM_EVENT_H

#include "ring/history.h"
#include "version/bucket.h"
#include "wire/message.h"

/* -- commands from clients ------------------------------------------------ */
enum command_kind {
  COMMAND_GET,
  COMMAND_PUT,
  COMMAND_EXPLAIN,
  COMMAND_BUCKET_SET, /* key = bucket name; props: replaces the record */
  COMMAND_CHANGE,     /* changes: all of them or none, if the history is still the one of that digest */
  COMMAND_WAITSYNC,   /* answered once all replicas have been compared anew and nothing differs; TIMEOUT */
};

#define QUORUM_DEFAULT 255u /* n, r, w, ...: what the bucket says */

struct command {
  enum command_kind kind;
  uint64_t token; /* the driver's; comes back in the reply */
  struct bytes key;
  struct bytes value;   /* PUT */
  struct bytes context; /* PUT: decoded from its text form, or empty */
  bool blind;           /* PUT without context that overwrites what the coordinator knows (plain SET, DEL);
                              else an empty context
                              means that the writer has seen nothing, and siblings may arise */
  bool tombstone;       /* PUT: a deletion */
  bool keep_expiry;
  uint64_t expires_at_ms; /* PUT: wall clock, 0 none (then the bucket's ttl) */
  uint8_t r, pr, w, pw, dw;
  struct bucket_props props;    /* BUCKET_SET */
  uint64_t timeout_ns;          /* WAITSYNC */
  const struct change *changes; /* CHANGE: in the order wanted; time and issuer are filled in by the core */
  uint32_t change_count;        /* 1 .. CHANGES_PER_COMMIT_MAX */
  uint64_t history_digest;      /* of the history that they were planned on */
};

/* -- events ----------------------------------------------------------------- */
enum event_kind {
  EVENT_TICK,
  EVENT_MESSAGE,
  EVENT_COMMAND,
  EVENT_READ_DONE,
  EVENT_COMMIT_DONE,
  EVENT_SCAN_DONE,
  EVENT_PEER_UP,   /* connected and authenticated */
  EVENT_PEER_DOWN, /* the connection is gone */
};

struct scan_entry {
  struct blob *key; /* in its space's form, whole */
  struct blob *value;
};

struct event {
  enum event_kind kind;
  uint64_t now_ns;  /* monotonic */
  uint64_t wall_ms; /* may jump */
  union {
    struct {
      uint32_t from;
      const struct message *message;
    } message;
    const struct command *command;
    struct {
      uint64_t token;
      enum err err;       /* OK also when absent; IO, CORRUPT */
      struct blob *value; /* NULL: absent */
    } read;
    struct {
      uint64_t token;
      enum err err; /* OK, NOSPACE, BUSY (write stall), IO */
    } commit;
    struct {
      uint64_t token;
      enum err err;
      const struct scan_entry *entries;
      uint32_t count;
      bool end; /* nothing further in the range */
      bool gap; /* OK: between `from` and the first entry (or the end) lies what can not be read, left out here */
    } scan;
    uint32_t peer;
  };
};

#endif
