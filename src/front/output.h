/* Replies being written, in RESP2 or RESP3: a growing buffer and one function for each kind of value.
 *
 * What RESP2 has no word for becomes what Redis makes of it there: a map a flat array, a set an array, a null `$-1`, a
 * double and a verbatim string bulks, a boolean an integer.
 *
 * An output may have a way out (`send`): then a large string leaves through it instead of being copied into the buffer.
 *
 * INVARIANT: after a failed allocation nothing more is written and `failed` stays set: half a reply must not be sent.
 */
#ifndef GRAMME_FRONT_OUTPUT_H
#define GRAMME_FRONT_OUTPUT_H

#include "base/bytes.h"

#define OUTPUT_DIRECT_BYTES 16384u            /* strings from this size on go straight to `send` */
#define OUTPUT_FLUSH_BYTES 65536u             /* and what has gathered in the buffer from this size on */
#define OUTPUT_SCRATCH_BYTES ((size_t)131072) /* what the shared buffer keeps between two replies */
#define OUTPUT_KEEP_BYTES 1024u               /* a buffer that is put away for its next use keeps at most this */

struct output {
  uint8_t *data;
  size_t size;
  size_t capacity;
  size_t sent; /* bytes that have left through `send` since the last reset */
  bool resp3;
  bool failed;
  void (*send)(void *context, struct bytes bytes); /* or NULL */
  void *context;
};

void output_reset(struct output *output, bool resp3); /* empty; keeps the buffer, forgets `send` */
void output_free(struct output *output);
void output_shrink(struct output *output, size_t keep_bytes); /* frees the buffer when it is larger */
struct bytes output_bytes(const struct output *output);
void output_flush(struct output *output); /* what is buffered leaves through `send`, which must be there */

void output_raw(struct output *output, struct bytes bytes);
void output_text(struct output *output, const char *text);
void output_format(struct output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

void output_simple(struct output *output, const char *text);
/* Begins with the code in upper case, without the '-'. Line breaks become spaces. */
void output_error(struct output *output, const char *text);
void output_error_format(struct output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));
void output_integer(struct output *output, int64_t value);
void output_bulk(struct output *output, struct bytes bytes);
void output_bulk_text(struct output *output, const char *text);
void output_null(struct output *output);
void output_array(struct output *output, size_t count);
void output_set(struct output *output, size_t count);
void output_map(struct output *output, size_t pairs);
void output_double(struct output *output, double value);
void output_bool(struct output *output, bool value);
void output_verbatim(struct output *output, struct bytes text); /* plain text for people */
/* An array of simple strings, as HELP answers. */
void output_lines(struct output *output, const char *const *lines, size_t count);

#endif
