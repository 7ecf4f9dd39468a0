/* Public keys of OpenSSL: made from numbers, judged when loaded, used to check signatures. */
#ifndef CORE_PKEY_H
#define CORE_PKEY_H

#include "core/key.h"

/* From the numbers of a JWK, big-endian; NULL when OpenSSL refuses them. The caller frees the key. */
NODISCARD EVP_PKEY *pkey_new_rsa (struct slice n, struct slice e);
NODISCARD EVP_PKEY *pkey_new_ec (const char *crv, struct slice x, struct slice y); /* crv as in RFC 7518 6.2.1.1 */
NODISCARD EVP_PKEY *pkey_new_ed25519 (struct slice x);

/* Is this key strong and sound, and which algorithms may it serve (bits 1 << enum jwt_alg)?
 * NULL when it is good, else why not (static text). */
NODISCARD const char *pkey_judge (EVP_PKEY *pkey, uint32_t *algorithms);

/* Is `signature` (in the form of RFC 7518) a signature over `text`? `alg` must be one that the key serves. */
NODISCARD bool pkey_verify (EVP_PKEY *pkey, enum jwt_alg alg, struct slice text, struct slice signature);

/* The hash of an algorithm; NULL for EdDSA. */
const EVP_MD *jwt_alg_md (enum jwt_alg alg);

#endif
