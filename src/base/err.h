/* Every error that Gramme tells anyone, in one table.
 *
 * A code is what a client sees as the first word of a RESP error, in upper
 * case; the text says what to do where no better detail is at hand. */
#ifndef GRAMME_BASE_ERR_H
#define GRAMME_BASE_ERR_H

/* clang-format off */
/*        name             code           text                                                            */
#define ERR_TABLE(X)                                                                                       \
  X(OK, "OK", "done")                                                                                      \
  X(QUORUM, "QUORUM", "too few nodes answered; see DYNAMO.CLUSTER STATUS")                                 \
  X(TIMEOUT, "TIMEOUT", "too few nodes answered in time; the write may still take effect")                 \
  X(BUSY, "BUSY", "the node has too much work in hand; try again shortly")                                 \
  X(NOSPACE, "NOSPACE", "the disk is full; writes are refused until there is space, reads are served")     \
  X(TOOBIG, "TOOBIG", "the key or value is larger than the limit")                                         \
  X(SIBLINGS, "SIBLINGS", "the key is at its bucket's sibling_max: DYNAMO.GET it, and put one value with its context") \
  X(BADCONTEXT, "BADCONTEXT", "the context is damaged, forged or of another key; DYNAMO.GET the key again") \
  X(BADARG, "ERR", "an argument is out of range")                                                          \
  X(NOTMEMBER, "NOTMEMBER", "this node is not a member of a cluster; gramme status says why")                       \
  X(REFUSED, "REFUSED", "the change of membership was refused")                                            \
  X(FULL, "FULL", "the table is full")                                                                     \
  X(IO, "IOERR", "the storage engine failed; see the node's log")                                          \
  X(CORRUPT, "CORRUPT", "stored or received data is damaged")                                              \
  X(FORMAT, "FORMAT", "the data was written by a newer version")                                           \
  X(NOMEM, "NOMEM", "the value memory is exhausted; try again shortly or raise value-memory")              \
  X(RETRY, "RETRY", "not now; internal")                                                                   \
  X(STALE, "STALE", "the request came too late; internal")                                                 \
  X(ABSENT, "ABSENT", "the node does not hold that object; internal")

enum err {
#define X(name, code, text) ERR_##name,
  ERR_TABLE(X)
#undef X
  ERR_COUNT
};
/* clang-format on */

#define MUST_CHECK __attribute__((warn_unused_result))

/* Static strings; `err` must be below ERR_COUNT. */
const char *err_code(enum err err);
const char *err_text(enum err err);

#endif
