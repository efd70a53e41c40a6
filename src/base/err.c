#include "base/err.h"

#include <stddef.h>

#include "base/assert.h"

static const char *const codes[ERR_COUNT] = {
#define X(name, code, text) code,
    ERR_TABLE(X)
#undef X
};

static const char *const texts[ERR_COUNT] = {
#define X(name, code, text) text,
    ERR_TABLE(X)
#undef X
};

const char *err_code(enum err err) {
  ASSERT(err < ERR_COUNT);
  ASSERT(codes[err] != NULL);
  return codes[err];
}

const char *err_text(enum err err) {
  ASSERT(err < ERR_COUNT);
  ASSERT(texts[err] != NULL);
  return texts[err];
}
