/* Tokens for development and tests, signed with the HMAC secret that the bridge checks with. Callers see to it that
 * this is not production. */
#ifndef CORE_MINT_H
#define CORE_MINT_H

#include "core/keys.h"

#define MINT_TTL_MAX 31536000 /* seconds */

struct config;

/* The first key that can sign HS256; NULL when there is none. */
const struct key *mint_key (const struct keys *keys);

/* A token of `user`, valid from now on for `ttl_s`, as this configuration wants them. The caller frees it; NULL when
 * memory is out, or when an issuer, audience or claim name is not UTF-8. */
NODISCARD char *mint_token (const struct config *config, const struct key *key, struct slice user, int64_t ttl_s);

#endif
