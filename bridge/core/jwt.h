/* JSON Web Tokens: compact JWS (RFC 7515) with claims (RFC 7519), algorithms of RFC 7518 and RFC 8037, checked by the
 * rules of RFC 8725. Why this is our own: see SECURITY.md. */
#ifndef CORE_JWT_H
#define CORE_JWT_H

#include "base/check.h"
#include "base/slice.h"
#include "core/errors.h"
#include "core/keys.h"

#include <jansson.h>
#include <stdint.h>

/* What is demanded of a token. Borrowed texts; "" or NULL means not checked. */
struct jwt_rules {
    const char *issuer;
    const char *audience;
    const char *user_claim; /* never NULL */
    int64_t leeway_s;
    bool require_exp;
};

/* What a configuration demands; borrows its texts. */
struct jwt_rules jwt_rules_of (const struct config *config);

/* Could the token be good under keys that are not there? */
enum jwt_miss {
    JWT_MISS_NONE,
    JWT_MISS_UNNAMED, /* it names no kid, and none of the keys has signed it */
    JWT_MISS_KID      /* it names a kid that no key has */
};

/* The outcome. `error` is ERROR_NONE when the token is good. */
struct jwt_result {
    enum error_code error;
    const char
        *check; /* which check failed, for logs and `agentbridge verify`: static text such as
                   "format", "algorithm", "key", "signature", "claims" or "claims: exp"; never shown to a client */
    enum jwt_miss
        miss;        /* of a token that is refused for its key, algorithm or signature, by keys that could be fetched */
    char *user;      /* owned, NUL-terminated, 1 to 128 bytes of UTF-8 without control characters; NULL on error */
    int64_t expires; /* `exp` as Unix seconds; 0 when the token has none */
    json_t *claims;  /* owned; NULL on error */
};

/* Check one compact JWS under `keys` at Unix time `now`. Order: format, algorithm, key, signature, claims.
 * Errors: JWT_FORMAT_INVALID, AUTH_KEYS_UNAVAILABLE (no usable key at all), VALIDATION_FAILED, TOKEN_EXPIRED,
 * TOKEN_NOT_YET_VALID, MISSING_USER_ID. A valid signature over something that is not a JSON object is
 * JWT_FORMAT_INVALID with check "claims". `exp` missing (when required) or no number: JWT_FORMAT_INVALID "claims: exp".
 * `result` is always set; jwt_result_fini() it afterwards. */
void jwt_verify (struct jwt_result *result, const struct keys *keys, const struct jwt_rules *rules, struct slice token,
                 double now);
void jwt_result_fini (struct jwt_result *self);

/* The two halves of jwt_verify, for those who keep what the first has given (core/token_cache.h).
 *
 * Format, algorithm, key and signature, which nothing but `keys` and the bytes of `token` decide. The payload, which
 * the caller frees, and its length in *n; NULL with error and check in `result`. */
NODISCARD char *jwt_open (struct jwt_result *result, const struct keys *keys, struct slice token, size_t *n);

/* The claims in the payload of a token that was opened. Sets `result` whole. */
void jwt_judge (struct jwt_result *result, const struct jwt_rules *rules, struct slice payload, double now);

/* Sign `claims` with HS256 under `secret`: a compact JWS that the caller frees; NULL when memory is out. */
NODISCARD char *jwt_sign_hs256 (const json_t *claims, struct slice secret);

#endif
