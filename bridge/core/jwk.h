/* One JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037). */
#ifndef CORE_JWK_H
#define CORE_JWK_H

#include "core/keys.h"

#include <jansson.h>

#define HMAC_MIN_BYTES 32

/* What an HMAC key may serve. */
#define HMAC_ALGORITHMS (UINT32_C (1) << JWT_HS256 | UINT32_C (1) << JWT_HS384 | UINT32_C (1) << JWT_HS512)

/* Make a key of it and bind it to its algorithms. NULL when it is good, else why it cannot be used (static
 * text); `key` is set in both cases, key_fini() it afterwards. */
NODISCARD const char *jwk_read (struct key *key, const json_t *jwk);

/* Wipe and free what the key owns. */
void key_fini (struct key *key);

#endif
