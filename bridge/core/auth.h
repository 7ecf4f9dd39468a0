/* Who is it? Finds the token in an upgrade request and checks it. */
#ifndef CORE_AUTH_H
#define CORE_AUTH_H

#include "core/jwt.h"
#include "core/token_cache.h"

/* Where a token may stand; borrowed, empty when absent. */
struct auth_request {
    struct slice authorization; /* value of the header `Authorization` */
    struct slice subprotocols;  /* value of `Sec-WebSocket-Protocol`, several lines joined with commas */
    struct slice query_token;   /* query parameter `token`, only given when allow-query-token is on */
};

/* Sources in order: `Authorization: Bearer T` (scheme in any case), then the subprotocol entries `jwt.T`, `jwt-auth.T`,
 * `bearer.T`, then query_token. The first source that is present counts, good or bad. T is the compact JWS itself, or
 * the same in base64 or base64url, padded or not; it is unwrapped at most once. An Authorization header of another
 * scheme is no source. No token: JWT_TOKEN_MISSING. When memory ran out on the way: TOO_MANY_CONNECTIONS.
 * `cache` holds what was verified under `keys` and nothing else; NULL: the signature of every token is verified. */
void auth_check (struct jwt_result *result, const struct keys *keys, struct token_cache *cache,
                 const struct jwt_rules *rules, const struct auth_request *request, double now);

/* Is there a token, good or bad? */
bool auth_has_token (const struct auth_request *request);

/* The first entry of a comma list that begins with `prefix`, without it. False when there is none. */
bool auth_find_entry (struct slice list, const char *prefix, struct slice *rest);

/* The same for a bare T, as in refresh_token. */
void auth_check_token (struct jwt_result *result, const struct keys *keys, struct token_cache *cache,
                       const struct jwt_rules *rules, struct slice token, double now);

/* Does this subprotocol entry carry a token or another secret (so that it is never echoed)? */
bool auth_is_secret_entry (struct slice entry);

#endif
