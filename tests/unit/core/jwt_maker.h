/* Makes keys, JWKs and tokens for tests, good and bad ones. Everything aborts on failure; texts are freed by
 * the caller. */
#ifndef TESTS_JWT_MAKER_H
#define TESTS_JWT_MAKER_H

#include "core/keys.h"
#include "core/pkey.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <unistd.h>

#define NOW    1700000000.0
#define SECRET "0123456789abcdef0123456789abcdef" /* 32 bytes */

#define SLICE(literal) slice_of (literal, sizeof (literal) - 1)

UNUSED static char *text (const char *format, ...) PRINTF_LIKE (1, 2);
UNUSED static char *text (const char *format, ...)
{
    char *out = NULL;
    va_list args;
    va_start (args, format);
    int n = vasprintf (&out, format, args);
    va_end (args);
    CHECK (n >= 0);
    return out;
}

/* Base64 of OpenSSL, so that the tests do not lean on the code under test. */
UNUSED static char *b64 (struct slice bytes)
{
    char *out = calloc (1, bytes.n / 3 * 4 + 5);
    CHECK (out);
    EVP_EncodeBlock ((unsigned char *) out, (const unsigned char *) bytes.p, (int) bytes.n);
    return out;
}

UNUSED static char *b64url (struct slice bytes)
{
    char *out = b64 (bytes);
    for (char *c = out; *c; c++)
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '\0' : *c;
    return out;
}

UNUSED static EVP_PKEY *make_rsa (size_t bits)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen (NULL, NULL, "RSA", bits);
    CHECK (pkey);
    return pkey;
}

UNUSED static EVP_PKEY *make_ec (const char *group)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen (NULL, NULL, "EC", group);
    CHECK (pkey);
    return pkey;
}

UNUSED static EVP_PKEY *make_ed25519 (void)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen (NULL, NULL, "ED25519");
    CHECK (pkey);
    return pkey;
}

/* A number of a key as base64url, at least `size` bytes long. */
UNUSED static char *number (EVP_PKEY *pkey, const char *param, int size)
{
    unsigned char bytes[2048];
    BIGNUM *bn = NULL;
    CHECK (EVP_PKEY_get_bn_param (pkey, param, &bn));
    int n = BN_num_bytes (bn) > size ? BN_num_bytes (bn) : size;
    CHECK (BN_bn2binpad (bn, bytes, n) == n);
    BN_free (bn);
    return b64url (slice_of (bytes, (size_t) n));
}

UNUSED static char *jwk_rsa (EVP_PKEY *pkey, const char *more)
{
    char *n = number (pkey, OSSL_PKEY_PARAM_RSA_N, 0);
    char *e = number (pkey, OSSL_PKEY_PARAM_RSA_E, 0);
    char *out = text ("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", n, e, more);
    free (n);
    free (e);
    return out;
}

UNUSED static char *jwk_ec (EVP_PKEY *pkey, const char *more)
{
    int bits = EVP_PKEY_get_bits (pkey);
    char *x = number (pkey, OSSL_PKEY_PARAM_EC_PUB_X, (bits + 7) / 8);
    char *y = number (pkey, OSSL_PKEY_PARAM_EC_PUB_Y, (bits + 7) / 8);
    char *out = text ("{\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s}", bits, x, y, more);
    free (x);
    free (y);
    return out;
}

UNUSED static char *jwk_ed25519 (EVP_PKEY *pkey, const char *more)
{
    unsigned char point[32];
    size_t n = sizeof point;
    CHECK (EVP_PKEY_get_raw_public_key (pkey, point, &n));
    char *x = b64url (slice_of (point, n));
    char *out = text ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}", x, more);
    free (x);
    return out;
}

UNUSED static char *jwk_oct (struct slice secret, const char *more)
{
    char *k = b64url (secret);
    char *out = text ("{\"kty\":\"oct\",\"k\":\"%s\"%s}", k, more);
    free (k);
    return out;
}

UNUSED static char *pem_public (EVP_PKEY *pkey)
{
    char *p;
    BIO *bio = BIO_new (BIO_s_mem ());
    CHECK (bio && PEM_write_bio_PUBKEY (bio, pkey));
    long n = BIO_get_mem_data (bio, &p);
    char *out = strndup (p, (size_t) n);
    BIO_free (bio);
    return out;
}

UNUSED static char *pem_private (EVP_PKEY *pkey)
{
    char *p;
    BIO *bio = BIO_new (BIO_s_mem ());
    CHECK (bio && PEM_write_bio_PrivateKey (bio, pkey, NULL, NULL, 0, NULL, NULL));
    long n = BIO_get_mem_data (bio, &p);
    char *out = strndup (p, (size_t) n);
    BIO_free (bio);
    return out;
}

/* A file with this content; the caller unlinks and frees the name. */
UNUSED static char *make_file (struct slice content)
{
    char *path = text ("/tmp/test_jwt_XXXXXX");
    int fd = mkstemp (path);
    CHECK (fd >= 0 && write (fd, content.p, content.n) == (ssize_t) content.n);
    close (fd);
    return path;
}

/* The signature as OpenSSL gives it (ECDSA: DER). `salt` is that of PSS. */
UNUSED static struct slice sign_plain (EVP_PKEY *pkey, enum jwt_alg alg, const EVP_MD *md, int salt, struct slice what)
{
    EVP_PKEY_CTX *pctx = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new ();
    size_t n = 2048;
    unsigned char *out = malloc (n);
    CHECK (out && ctx && EVP_DigestSignInit (ctx, &pctx, md, NULL, pkey) == 1);
    if (alg >= JWT_PS256 && alg <= JWT_PS512)
        CHECK (EVP_PKEY_CTX_set_rsa_padding (pctx, RSA_PKCS1_PSS_PADDING) > 0 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen (pctx, salt) > 0);
    CHECK (EVP_DigestSign (ctx, out, &n, (const unsigned char *) what.p, what.n) == 1);
    EVP_MD_CTX_free (ctx);
    return slice_of (out, n);
}

/* DER to r || s. */
UNUSED static struct slice raw_ecdsa (struct slice der, int half)
{
    const unsigned char *p = (const unsigned char *) der.p;
    ECDSA_SIG *sig = d2i_ECDSA_SIG (NULL, &p, (long) der.n);
    unsigned char *out = malloc ((size_t) half * 2);
    CHECK (sig && out && BN_bn2binpad (ECDSA_SIG_get0_r (sig), out, half) == half &&
           BN_bn2binpad (ECDSA_SIG_get0_s (sig), out + half, half) == half);
    ECDSA_SIG_free (sig);
    return slice_of (out, (size_t) half * 2);
}

/* The signature as a JWS wants it, allocated. HMAC takes `secret`, all else `pkey`. */
UNUSED static struct slice sign_jws (EVP_PKEY *pkey, struct slice secret, enum jwt_alg alg, struct slice what)
{
    const EVP_MD *md = jwt_alg_md (alg);
    if (alg <= JWT_HS512) {
        unsigned n = EVP_MAX_MD_SIZE;
        unsigned char *out = malloc (n);
        CHECK (out && HMAC (md, secret.p, (int) secret.n, (const unsigned char *) what.p, what.n, out, &n));
        return slice_of (out, n);
    }
    struct slice plain = sign_plain (pkey, alg, md, RSA_PSS_SALTLEN_DIGEST, what);
    if (alg < JWT_ES256 || alg > JWT_ES512)
        return plain;
    struct slice raw = raw_ecdsa (plain, (EVP_PKEY_get_bits (pkey) + 7) / 8);
    free ((char *) plain.p);
    return raw;
}

/* BASE64URL(header) . BASE64URL(payload) */
UNUSED static char *signing_input (const char *header, struct slice payload)
{
    char *h = b64url (slice_str (header));
    char *p = b64url (payload);
    char *out = text ("%s.%s", h, p);
    free (h);
    free (p);
    return out;
}

/* Takes both. */
UNUSED static char *join_signature (char *input, struct slice signature)
{
    char *s = b64url (signature);
    char *out = text ("%s.%s", input, s);
    free (s);
    free (input);
    free ((char *) signature.p);
    return out;
}

UNUSED static char *make_token_of (EVP_PKEY *pkey, struct slice secret, enum jwt_alg alg, const char *header,
                                   struct slice payload)
{
    char *input = signing_input (header, payload);
    return join_signature (input, sign_jws (pkey, secret, alg, slice_str (input)));
}

/* HS256 under SECRET. */
UNUSED static char *make_token (const char *header, const char *payload)
{
    return make_token_of (NULL, SLICE (SECRET), JWT_HS256, header, slice_str (payload));
}

#endif
