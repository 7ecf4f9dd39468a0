/* Payloads of tokens that were good a moment ago, so that several tabs of a user, or a client that comes back again and
 * again, cost one verification of a signature.
 *
 * Kept is what nothing but the bytes of a token and the keys decide: that format, algorithm, key and signature are
 * good, and what the payload says. The claims are judged anew whenever a token is presented (jwt_judge), so time (exp,
 * nbf, iat, a clock that is set back) and rules (leeway, issuer, audience, user claim) cannot make what is kept wrong.
 * Keys can, with the algorithms that they may serve: whoever changes them empties the cache (hub_set_keys).
 *
 * A token is known by the SHA-256 of its bytes as they were presented, compared whole: whoever makes tokens cannot make
 * two with the same one. Bytes of tokens are not held, and nothing of this is logged. Only good tokens are kept, so
 * that bad ones push nothing out. Bounded: the newer one takes the place of the older. One thread. */
#ifndef CORE_TOKEN_CACHE_H
#define CORE_TOKEN_CACHE_H

#include "base/check.h"
#include "base/clock.h"
#include "base/slice.h"

#include <openssl/evp.h>
#include <stdint.h>

#define TOKEN_CACHE_PLACES        1024
#define TOKEN_CACHE_PAYLOAD_BYTES 4096 /* larger payloads are not kept: 4 MiB in all, beside the places' 56 KiB */
#define TOKEN_CACHE_TOKEN_BYTES   8192 /* longer tokens are not even hashed */
#define TOKEN_CACHE_EXPIRE_BATCH  256  /* places that one token_cache_expire looks at */

/* Tabs that open together and reconnects come within seconds; later a payload only takes memory. Being used does not
 * make it longer. */
#define TOKEN_CACHE_TTL (5 * S_NS)

struct token_hash {
    uint8_t bytes[32];
};

struct token_place {
    struct token_hash hash;
    char *payload; /* owned; NULL: free */
    size_t n;
    int64_t until; /* monotonic ns */
};

struct token_cache {
    struct token_place places[TOKEN_CACHE_PLACES];
    size_t kept;        /* places that are taken */
    size_t next;        /* place that token_cache_expire goes on with */
    EVP_MD_CTX *digest; /* SHA-256, for ever; NULL until the first use */
};

void token_cache_init (struct token_cache *self);
void token_cache_fini (struct token_cache *self);

/* Forget everything. */
void token_cache_clear (struct token_cache *self);

/* What a token is known by. False when it is not for the cache: too long, no memory for the digest, `self` is NULL. */
NODISCARD bool token_cache_hash (struct token_cache *self, struct slice token, struct token_hash *hash);

/* The payload, counted as a hit; borrowed until the next call. Without bytes and p NULL when the token is not known.
 * `now` is monotonic. */
struct slice token_cache_find (struct token_cache *self, const struct token_hash *hash, int64_t now);

/* Keep the payload (malloc, taken in any case) of a token that is good. */
void token_cache_keep (struct token_cache *self, const struct token_hash *hash, char *payload, size_t n, int64_t now);

/* Free what is past its time. A bounded number of places a call. */
void token_cache_expire (struct token_cache *self, int64_t now);

#endif
