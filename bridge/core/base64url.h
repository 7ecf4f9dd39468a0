/* base64url without padding, as JSON Web Tokens use it. */
#ifndef CORE_BASE64URL_H
#define CORE_BASE64URL_H

#include "base/buf.h"

/* Strict base64url of RFC 7515 section 2: no padding, no foreign characters, unused bits zero. Returns a buffer that
 * the caller frees, its length in *n (one NUL byte follows it, not counted); NULL when it is not canonical or memory is
 * out. */
NODISCARD char *base64url_decode (struct slice text, size_t *n);

/* Append `bytes` as base64url. */
void base64url_put (struct buf *out, struct slice bytes);

#endif
