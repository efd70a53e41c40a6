#include "front/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define OUTPUT_FIRST_BYTES 256u
#define ERROR_TEXT_BYTES 1024u

void output_reset(struct output *output, bool resp3) {
  output->size = 0;
  output->sent = 0;
  output->resp3 = resp3;
  output->failed = false;
  output->send = NULL;
  output->context = NULL;
}

void output_free(struct output *output) {
  free(output->data);
  *output = (struct output){0};
}

void output_shrink(struct output *output, size_t keep_bytes) {
  if (output->capacity > keep_bytes) {
    free(output->data);
    output->data = NULL;
    output->capacity = 0;
  }
  output->size = 0;
}

struct bytes output_bytes(const struct output *output) {
  return (struct bytes){output->data, output->size};
}

void output_flush(struct output *output) {
  ASSERT(output->send != NULL);
  if (output->size > 0) {
    output->send(output->context, output_bytes(output));
    output->sent += output->size;
    output->size = 0;
  }
}

static bool output_room(struct output *output, size_t size) {
  if (output->failed) {
    return false;
  }
  if (output->capacity - output->size >= size) {
    return true;
  }
  size_t capacity = output->capacity == 0 ? OUTPUT_FIRST_BYTES : output->capacity;
  while (capacity - output->size < size) {
    if (capacity > SIZE_MAX / 2) {
      output->failed = true;
      return false;
    }
    capacity *= 2;
  }
  uint8_t *data = realloc(output->data, capacity);
  if (data == NULL) {
    output->failed = true;
    return false;
  }
  output->data = data;
  output->capacity = capacity;
  return true;
}

void output_raw(struct output *output, struct bytes bytes) {
  if (bytes.size >= OUTPUT_DIRECT_BYTES && output->send != NULL && !output->failed) {
    output_flush(output);
    output->send(output->context, bytes);
    output->sent += bytes.size;
    return;
  }
  if (bytes.size > 0 && output_room(output, bytes.size)) {
    memcpy(output->data + output->size, bytes.data, bytes.size);
    output->size += bytes.size;
    if (output->send != NULL && output->size >= OUTPUT_FLUSH_BYTES) {
      output_flush(output);
    }
  }
}

void output_text(struct output *output, const char *text) {
  output_raw(output, (struct bytes){(const uint8_t *)text, strlen(text)});
}

__attribute__((format(printf, 2, 0))) static void output_vformat(struct output *output, const char *format,
                                                                 va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int size = vsnprintf(NULL, 0, format, arguments);
  ASSERT(size >= 0);
  if (output_room(output, (size_t)size + 1)) {
    vsnprintf((char *)output->data + output->size, (size_t)size + 1, format, again);
    output->size += (size_t)size;
  }
  va_end(again);
}

void output_format(struct output *output, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  output_vformat(output, format, arguments);
  va_end(arguments);
}

/* A type character, a decimal number and the line's end: `$12`. By hand, for this is in every reply. */
static void output_number(struct output *output, char type, int64_t value) {
  uint8_t text[24];
  size_t at = sizeof(text);
  uint64_t rest = value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
  text[--at] = '\n';
  text[--at] = '\r';
  do {
    text[--at] = (uint8_t)('0' + rest % 10);
    rest /= 10;
  } while (rest > 0);
  if (value < 0) {
    text[--at] = '-';
  }
  text[--at] = (uint8_t)type;
  output_raw(output, (struct bytes){text + at, sizeof(text) - at});
}

void output_simple(struct output *output, const char *text) {
  output_raw(output, BYTES_LITERAL("+"));
  output_text(output, text);
  output_raw(output, BYTES_LITERAL("\r\n"));
}

void output_error(struct output *output, const char *text) {
  output_raw(output, BYTES_LITERAL("-"));
  size_t from = output->size;
  output_text(output, text);
  for (size_t i = from; i < output->size; i++) {
    bool breaks = output->data[i] == '\r' || output->data[i] == '\n';
    output->data[i] = breaks ? (uint8_t)' ' : output->data[i];
  }
  output_raw(output, BYTES_LITERAL("\r\n"));
}

void output_error_format(struct output *output, const char *format, ...) {
  char text[ERROR_TEXT_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  output_error(output, text);
}

void output_integer(struct output *output, int64_t value) {
  output_number(output, ':', value);
}

void output_bulk(struct output *output, struct bytes bytes) {
  output_number(output, '$', (int64_t)bytes.size);
  output_raw(output, bytes);
  output_raw(output, BYTES_LITERAL("\r\n"));
}

void output_bulk_text(struct output *output, const char *text) {
  output_bulk(output, (struct bytes){(const uint8_t *)text, strlen(text)});
}

void output_null(struct output *output) {
  output_text(output, output->resp3 ? "_\r\n" : "$-1\r\n");
}

void output_array(struct output *output, size_t count) {
  output_number(output, '*', (int64_t)count);
}

void output_set(struct output *output, size_t count) {
  output_number(output, output->resp3 ? '~' : '*', (int64_t)count);
}

void output_map(struct output *output, size_t pairs) {
  output_number(output, output->resp3 ? '%' : '*', (int64_t)(output->resp3 ? pairs : pairs * 2));
}

void output_double(struct output *output, double value) {
  char text[40];
  snprintf(text, sizeof(text), "%.17g", value);
  if (output->resp3) {
    output_format(output, ",%s\r\n", text);
  } else {
    output_bulk_text(output, text);
  }
}

void output_bool(struct output *output, bool value) {
  if (output->resp3) {
    output_text(output, value ? "#t\r\n" : "#f\r\n");
  } else {
    output_integer(output, value ? 1 : 0);
  }
}

void output_verbatim(struct output *output, struct bytes text) {
  if (!output->resp3) {
    output_bulk(output, text);
    return;
  }
  output_number(output, '=', (int64_t)text.size + 4);
  output_raw(output, BYTES_LITERAL("txt:"));
  output_raw(output, text);
  output_raw(output, BYTES_LITERAL("\r\n"));
}

void output_lines(struct output *output, const char *const *lines, size_t count) {
  output_array(output, count);
  for (size_t i = 0; i < count; i++) {
    output_simple(output, lines[i]);
  }
}
