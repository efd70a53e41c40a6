/* Contexts as text: base64url without padding (RFC 4648 §5), so that they pass through shells, URLs and JSON unharmed.
 *
 * INVARIANT: each byte string has exactly one text, and only that text decodes to it.
 */
#ifndef GRAMME_FRONT_BASE64URL_H
#define GRAMME_FRONT_BASE64URL_H

#include "base/bytes.h"

size_t base64url_encoded_size(size_t size);
/* At most; the exact size is what base64url_decode says. */
size_t base64url_decoded_size(size_t size);
/* Writes base64url_encoded_size characters, no NUL. */
void base64url_encode(struct bytes bytes, char *text);
/* `out` has room for base64url_decoded_size bytes. False when it is not such a text. */
bool base64url_decode(struct bytes text, uint8_t *out, size_t *size);

#endif
