#include "core/pkey.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 8192
#define ED25519_SIZE 32
#define EC_MAX_SIZE  66
#define BIT(alg)     (UINT32_C (1) << (alg))

static const struct curve {
    const char *crv;   /* RFC 7518 */
    const char *group; /* OpenSSL */
    size_t size;       /* bytes of a coordinate */
    enum jwt_alg alg;
} curves[] = {
    {"P-256", "prime256v1", 32, JWT_ES256},
    {"P-384", "secp384r1", 48, JWT_ES384},
    {"P-521", "secp521r1", EC_MAX_SIZE, JWT_ES512},
};

const EVP_MD *jwt_alg_md (enum jwt_alg alg)
{
    switch (alg) {
    case JWT_HS256:
    case JWT_RS256:
    case JWT_PS256:
    case JWT_ES256:
        return EVP_sha256 ();
    case JWT_HS384:
    case JWT_RS384:
    case JWT_PS384:
    case JWT_ES384:
        return EVP_sha384 ();
    case JWT_HS512:
    case JWT_RS512:
    case JWT_PS512:
    case JWT_ES512:
        return EVP_sha512 ();
    default:
        return NULL;
    }
}

static EVP_PKEY *new_from_params (const char *type, OSSL_PARAM *params)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name (NULL, type, NULL);
    if (!ctx || EVP_PKEY_fromdata_init (ctx) <= 0 || EVP_PKEY_fromdata (ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        pkey = NULL;
    EVP_PKEY_CTX_free (ctx);
    return pkey;
}

EVP_PKEY *pkey_new_rsa (struct slice n, struct slice e)
{
    if (n.n == 0 || e.n == 0 || n.n > 2 * RSA_MAX_BITS / 8 || e.n > n.n)
        return NULL;
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new ();
    BIGNUM *modulus = BN_bin2bn ((const unsigned char *) n.p, (int) n.n, NULL);
    BIGNUM *exponent = BN_bin2bn ((const unsigned char *) e.p, (int) e.n, NULL);
    if (bld && modulus && exponent && OSSL_PARAM_BLD_push_BN (bld, OSSL_PKEY_PARAM_RSA_N, modulus) &&
        OSSL_PARAM_BLD_push_BN (bld, OSSL_PKEY_PARAM_RSA_E, exponent))
        params = OSSL_PARAM_BLD_to_param (bld);
    if (params)
        pkey = new_from_params ("RSA", params);
    OSSL_PARAM_free (params);
    BN_free (exponent);
    BN_free (modulus);
    OSSL_PARAM_BLD_free (bld);
    return pkey;
}

static const struct curve *curve_of (const char *crv)
{
    for (size_t i = 0; i < COUNT_OF (curves); i++)
        if (strcmp (curves[i].crv, crv) == 0)
            return &curves[i];
    return NULL;
}

EVP_PKEY *pkey_new_ec (const char *crv, struct slice x, struct slice y)
{
    const struct curve *curve = curve_of (crv);
    if (!curve || x.n != curve->size || y.n != curve->size)
        return NULL;
    unsigned char point[1 + 2 * EC_MAX_SIZE] = {POINT_CONVERSION_UNCOMPRESSED};
    memcpy (point + 1, x.p, x.n);
    memcpy (point + 1 + x.n, y.p, y.n);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string (OSSL_PKEY_PARAM_GROUP_NAME, (char *) curve->group, 0),
        OSSL_PARAM_construct_octet_string (OSSL_PKEY_PARAM_PUB_KEY, point, 1 + x.n + y.n),
        OSSL_PARAM_construct_end (),
    };
    return new_from_params ("EC", params);
}

EVP_PKEY *pkey_new_ed25519 (struct slice x)
{
    if (x.n != ED25519_SIZE)
        return NULL;
    return EVP_PKEY_new_raw_public_key (EVP_PKEY_ED25519, NULL, (const unsigned char *) x.p, x.n);
}

/* EVP_PKEY_public_check() of EC: on the curve, not infinity, right order. RSA: odd, composite, no small
 * factors. */
static bool sound (EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey (NULL, pkey, NULL);
    bool ok = ctx && EVP_PKEY_public_check (ctx) == 1;
    EVP_PKEY_CTX_free (ctx);
    return ok;
}

static const char *judge_rsa (EVP_PKEY *pkey, uint32_t *algorithms)
{
    BIGNUM *e = NULL;
    bool good_e = EVP_PKEY_get_bn_param (pkey, OSSL_PKEY_PARAM_RSA_E, &e) && BN_is_odd (e) && !BN_is_one (e);
    BN_free (e);
    int bits = EVP_PKEY_get_bits (pkey);
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
        return "RSA key must have 2048 to 8192 bits";
    if (!good_e)
        return "RSA exponent must be odd and greater than 1";
    if (!sound (pkey))
        return "RSA modulus is not sound";
    *algorithms = BIT (JWT_PS256) | BIT (JWT_PS384) | BIT (JWT_PS512);
    if (EVP_PKEY_is_a (pkey, "RSA"))
        *algorithms |= BIT (JWT_RS256) | BIT (JWT_RS384) | BIT (JWT_RS512);
    return NULL;
}

static const char *judge_ec (EVP_PKEY *pkey, uint32_t *algorithms)
{
    char group[64] = "";
    size_t n;
    if (!EVP_PKEY_get_group_name (pkey, group, sizeof group, &n))
        return "EC curve has no name";
    for (size_t i = 0; i < COUNT_OF (curves); i++) {
        if (strcmp (curves[i].group, group) != 0)
            continue;
        *algorithms = BIT (curves[i].alg);
        return sound (pkey) ? NULL : "EC point is not on the curve";
    }
    return "EC curve must be P-256, P-384 or P-521";
}

/* x^2 = (y^2 - 1) / (d y^2 + 1) with d = -121665/121666 has a root exactly if
 * 121666 (y^2 - 1) (121665 y^2 - 121666) is a square modulo p; its sign does not matter, as -1 is one. */
static bool has_x (const BIGNUM *y, const BIGNUM *p, BN_CTX *ctx)
{
    BIGNUM *u = BN_CTX_get (ctx);
    BIGNUM *v = BN_CTX_get (ctx);
    if (!v || !BN_mod_sqr (u, y, p, ctx) || !BN_copy (v, u))
        return false;
    if (!BN_mul_word (v, 121665) || !BN_sub_word (v, 121666) || !BN_sub_word (u, 1) || !BN_mul_word (u, 121666) ||
        !BN_mod_mul (u, u, v, p, ctx))
        return false;
    return BN_nnmod (u, u, p, ctx) && BN_kronecker (u, p, ctx) >= 0;
}

/* OpenSSL 3.0 looks at the point only when it verifies; here a bad key has to be known at load. */
static bool on_edwards25519 (const uint8_t point[ED25519_SIZE])
{
    uint8_t bytes[ED25519_SIZE];
    memcpy (bytes, point, sizeof bytes);
    bytes[31] &= 0x7f; /* the sign of x */
    BN_CTX *ctx = BN_CTX_new ();
    if (!ctx)
        return false;
    BN_CTX_start (ctx);
    BIGNUM *p = BN_CTX_get (ctx);
    BIGNUM *y = BN_CTX_get (ctx);
    bool ok = y && BN_set_bit (p, 255) && BN_sub_word (p, 19) && BN_lebin2bn (bytes, sizeof bytes, y) &&
              BN_cmp (y, p) < 0 && has_x (y, p, ctx);
    BN_CTX_end (ctx);
    BN_CTX_free (ctx);
    return ok;
}

/* Points of order 1, 2, 4 and 8: under such a key one signature fits many messages. The sign of x does not
 * matter. */
static bool small_order (const uint8_t point[ED25519_SIZE])
{
    static const uint8_t ys[][ED25519_SIZE] = {
        {0x00},
        {0x01},
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
         0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
         0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
    };
    for (size_t i = 0; i < COUNT_OF (ys); i++)
        if (memcmp (point, ys[i], ED25519_SIZE - 1) == 0 && (point[31] & 0x7f) == ys[i][31])
            return true;
    return false;
}

static const char *judge_ed25519 (EVP_PKEY *pkey, uint32_t *algorithms)
{
    uint8_t point[ED25519_SIZE];
    size_t n = sizeof point;
    if (!EVP_PKEY_get_raw_public_key (pkey, point, &n) || n != sizeof point || !on_edwards25519 (point))
        return "Ed25519 point is not on the curve";
    if (small_order (point))
        return "Ed25519 point has a small order";
    *algorithms = BIT (JWT_EdDSA);
    return NULL;
}

const char *pkey_judge (EVP_PKEY *pkey, uint32_t *algorithms)
{
    *algorithms = 0;
    if (EVP_PKEY_is_a (pkey, "RSA") || EVP_PKEY_is_a (pkey, "RSA-PSS"))
        return judge_rsa (pkey, algorithms);
    if (EVP_PKEY_is_a (pkey, "EC"))
        return judge_ec (pkey, algorithms);
    if (EVP_PKEY_is_a (pkey, "ED25519"))
        return judge_ed25519 (pkey, algorithms);
    return "key must be RSA, EC or Ed25519";
}

/* Padding of RFC 7518 3.5: the salt as long as the hash, MGF1 with the same hash. */
static bool set_pss (EVP_PKEY_CTX *ctx, const EVP_MD *md)
{
    return EVP_PKEY_CTX_set_rsa_padding (ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen (ctx, RSA_PSS_SALTLEN_DIGEST) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md (ctx, md) > 0;
}

static bool digest_verify (EVP_PKEY *pkey, enum jwt_alg alg, struct slice text, struct slice signature)
{
    const EVP_MD *md = jwt_alg_md (alg);
    EVP_PKEY_CTX *pctx = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new ();
    bool ok = ctx && EVP_DigestVerifyInit (ctx, &pctx, md, NULL, pkey) == 1;
    if (ok && alg >= JWT_PS256 && alg <= JWT_PS512)
        ok = set_pss (pctx, md);
    ok = ok && EVP_DigestVerify (ctx, (const unsigned char *) signature.p, signature.n, (const unsigned char *) text.p,
                                 text.n) == 1;
    EVP_MD_CTX_free (ctx);
    return ok;
}

/* r || s to the DER that OpenSSL wants; it checks their range itself. NULL when memory is out. */
static ECDSA_SIG *ecdsa_sig_of (struct slice raw)
{
    int half = (int) (raw.n / 2);
    const unsigned char *bytes = (const unsigned char *) raw.p;
    ECDSA_SIG *sig = ECDSA_SIG_new ();
    BIGNUM *r = BN_bin2bn (bytes, half, NULL);
    BIGNUM *s = BN_bin2bn (bytes + half, half, NULL);
    if (sig && r && s && ECDSA_SIG_set0 (sig, r, s))
        return sig;
    BN_free (r);
    BN_free (s);
    ECDSA_SIG_free (sig);
    return NULL;
}

static bool ecdsa_verify (EVP_PKEY *pkey, enum jwt_alg alg, struct slice text, struct slice signature)
{
    unsigned char *der = NULL;
    ECDSA_SIG *sig = ecdsa_sig_of (signature);
    int n = sig ? i2d_ECDSA_SIG (sig, &der) : -1;
    bool ok = n > 0 && digest_verify (pkey, alg, text, slice_of (der, (size_t) n));
    OPENSSL_free (der);
    ECDSA_SIG_free (sig);
    return ok;
}

/* Bytes of a signature in the form of RFC 7518 3.3 to 3.5 and RFC 8037 3.1. */
static size_t signature_size (EVP_PKEY *pkey, enum jwt_alg alg)
{
    for (size_t i = 0; i < COUNT_OF (curves); i++)
        if (curves[i].alg == alg)
            return 2 * curves[i].size;
    return (size_t) EVP_PKEY_get_size (pkey);
}

bool pkey_verify (EVP_PKEY *pkey, enum jwt_alg alg, struct slice text, struct slice signature)
{
    if (signature.n != signature_size (pkey, alg))
        return false;
    if (alg >= JWT_ES256 && alg <= JWT_ES512)
        return ecdsa_verify (pkey, alg, text, signature);
    return digest_verify (pkey, alg, text, signature);
}
