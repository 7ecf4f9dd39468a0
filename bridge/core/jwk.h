/* One JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037). */
#ifndef CORE_JWK_H
#define CORE_JWK_H

#include "core/key.h"

#include <jansson.h>

/* Make a key of it and bind it to its algorithms. NULL when it is good, else why it cannot be used (static
 * text); `key` is set in both cases, key_fini() it afterwards. */
NODISCARD const char *jwk_read (struct key *key, const json_t *jwk);

#endif
