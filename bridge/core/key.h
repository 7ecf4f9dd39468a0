/* One key that tokens are checked with, bound to the algorithms of RFC 7518 and RFC 8037 that it may serve. */
#ifndef CORE_KEY_H
#define CORE_KEY_H

#include "base/check.h"
#include "base/slice.h"

#include <openssl/evp.h>
#include <stdint.h>

enum jwt_alg {
    JWT_HS256,
    JWT_HS384,
    JWT_HS512,
    JWT_RS256,
    JWT_RS384,
    JWT_RS512,
    JWT_PS256,
    JWT_PS384,
    JWT_PS512,
    JWT_ES256,
    JWT_ES384,
    JWT_ES512,
    JWT_EdDSA,
    JWT_ALG_COUNT
};

/* One key. */
struct key {
    char *kid;           /* owned; NULL when it has none */
    uint32_t algorithms; /* bit 1 << enum jwt_alg for each that it may serve */
    EVP_PKEY *pkey;      /* RSA, EC (P-256, P-384, P-521), Ed25519; NULL for HMAC */
    uint8_t *secret;     /* HMAC; owned, wiped on free */
    size_t secret_n;
};

#define HMAC_MIN_BYTES 32

/* What an HMAC key may serve. */
#define HMAC_ALGORITHMS (UINT32_C (1) << JWT_HS256 | UINT32_C (1) << JWT_HS384 | UINT32_C (1) << JWT_HS512)

/* Wipe and free what the key owns. */
void key_fini (struct key *key);

/* By the `alg` of a header: -1 when unknown (`none` is unknown). */
int jwt_alg_of (struct slice name);
const char *jwt_alg_name (enum jwt_alg alg);

#endif
