#include "core/keys.h"
#include "jwt_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#define BIT(alg) (UINT32_C (1) << (alg))
#define ALL_HMAC (BIT (JWT_HS256) | BIT (JWT_HS384) | BIT (JWT_HS512))
#define ALL_PSS  (BIT (JWT_PS256) | BIT (JWT_PS384) | BIT (JWT_PS512))
#define ALL_RSA  (ALL_PSS | BIT (JWT_RS256) | BIT (JWT_RS384) | BIT (JWT_RS512))

static EVP_PKEY *rsa, *weak_rsa, *p256, *p384, *p521, *ed;
static struct buf error, skipped;

static int set_up (void **state)
{
    (void) state;
    rsa = make_rsa (2048);
    weak_rsa = make_rsa (1024);
    p256 = make_ec ("P-256");
    p384 = make_ec ("P-384");
    p521 = make_ec ("P-521");
    ed = make_ed25519 ();
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    EVP_PKEY *all[] = {rsa, weak_rsa, p256, p384, p521, ed};
    for (size_t i = 0; i < COUNT_OF (all); i++)
        EVP_PKEY_free (all[i]);
    buf_fini (&error);
    buf_fini (&skipped);
    return 0;
}

/* A `wanted` that ends in * gives only the beginning (where jansson stops is its own affair). */
static void expect_text (struct buf *got, const char *wanted)
{
    size_t n = strlen (wanted);
    buf_putc (got, '\0');
    if (n && wanted[n - 1] == '*' && strlen ((char *) got->p) >= n && got->p[n - 1] >= '0')
        got->p[n - 1] = '*', got->p[n] = '\0';
    assert_string_equal ((char *) got->p, wanted);
}

static struct keys *parse (const char *jwks, const char *algorithms)
{
    buf_reset (&error);
    buf_reset (&skipped);
    struct keys *keys = keys_parse_jwks (slice_str (jwks), algorithms, &error, &skipped);
    assert_int_equal (ERR_peek_error (), 0);
    return keys;
}

static struct keys *load (const struct keys_sources *sources)
{
    buf_reset (&error);
    buf_reset (&skipped);
    struct keys *keys = keys_load (sources, &error, &skipped);
    assert_int_equal (ERR_peek_error (), 0);
    return keys;
}

/* One source fails with this line, in which %s stands for `path`. */
static void expect_fault (const struct keys_sources *sources, const char *path, const char *wanted)
{
    assert_null (load (sources));
    const char *mark = strstr (wanted, "%s");
    char *line = mark ? text ("%.*s%s%s", (int) (mark - wanted), wanted, path, mark + 2) : strdup (wanted);
    expect_text (&error, line);
    free (line);
}

/* --- one JWK; all take the text --- */

static void expect_good (char *jwk, uint32_t algorithms)
{
    char *jwks = text ("{\"keys\":[%s]}", jwk);
    struct keys *keys = parse (jwks, "");
    expect_text (&skipped, "");
    assert_int_equal (keys->n, 1);
    assert_int_equal (keys->key[0].algorithms, algorithms);
    assert_int_equal (keys->algorithms, algorithms);
    keys_destroy (&keys);
    assert_null (keys);
    free (jwks);
    free (jwk);
}

static void expect_skipped (char *jwk, const char *why)
{
    char *jwks = text ("{\"keys\":[%s]}", jwk);
    struct keys *keys = parse (jwks, "");
    char *line = text ("jwks: key 1: %s\n", why);
    expect_text (&skipped, line);
    assert_int_equal (keys->n, 0);
    assert_int_equal (keys->algorithms, 0);
    keys_destroy (&keys);
    free (line);
    free (jwks);
    free (jwk);
}

static void test_jwk_algorithms (void **state)
{
    (void) state;
    expect_good (jwk_oct (SLICE (SECRET), ""), ALL_HMAC);
    expect_good (jwk_oct (SLICE (SECRET), ",\"alg\":\"HS384\""), BIT (JWT_HS384));
    expect_good (jwk_rsa (rsa, ""), ALL_RSA);
    expect_good (jwk_rsa (rsa, ",\"alg\":\"RS256\""), BIT (JWT_RS256));
    expect_good (jwk_rsa (rsa, ",\"alg\":\"PS512\""), BIT (JWT_PS512));
    expect_good (jwk_ec (p256, ""), BIT (JWT_ES256));
    expect_good (jwk_ec (p384, ",\"alg\":\"ES384\""), BIT (JWT_ES384));
    expect_good (jwk_ec (p521, ""), BIT (JWT_ES512));
    expect_good (jwk_ed25519 (ed, ""), BIT (JWT_EdDSA));
    expect_good (jwk_ed25519 (ed, ",\"alg\":\"EdDSA\""), BIT (JWT_EdDSA));
}

static void test_jwk_alg_does_not_fit (void **state)
{
    (void) state;
    static const char why[] = "alg is unknown or does not fit the key";
    expect_skipped (jwk_rsa (rsa, ",\"alg\":\"HS256\""), why);
    expect_skipped (jwk_rsa (rsa, ",\"alg\":\"ES256\""), why);
    expect_skipped (jwk_rsa (rsa, ",\"alg\":\"none\""), why);
    expect_skipped (jwk_rsa (rsa, ",\"alg\":\"RSA-OAEP\""), why);
    expect_skipped (jwk_rsa (rsa, ",\"alg\":\"\""), why);
    expect_skipped (jwk_rsa (rsa, ",\"alg\":null"), why);
    expect_skipped (jwk_rsa (rsa, ",\"alg\":[\"RS256\"]"), why);
    expect_skipped (jwk_oct (SLICE (SECRET), ",\"alg\":\"RS256\""), why);
    expect_skipped (jwk_ec (p256, ",\"alg\":\"ES384\""), why);
    expect_skipped (jwk_ed25519 (ed, ",\"alg\":\"ES256\""), why);
}

static void test_jwk_purpose (void **state)
{
    (void) state;
    expect_good (jwk_ed25519 (ed, ",\"use\":\"sig\""), BIT (JWT_EdDSA));
    expect_good (jwk_ed25519 (ed, ",\"key_ops\":[\"verify\"]"), BIT (JWT_EdDSA));
    expect_good (jwk_ed25519 (ed, ",\"use\":\"sig\",\"key_ops\":[\"sign\",\"verify\"]"), BIT (JWT_EdDSA));
    expect_skipped (jwk_ed25519 (ed, ",\"use\":\"enc\""), "use is not sig");
    expect_skipped (jwk_ed25519 (ed, ",\"use\":\"SIG\""), "use is not sig");
    expect_skipped (jwk_ed25519 (ed, ",\"use\":null"), "use is not sig");
    expect_skipped (jwk_ed25519 (ed, ",\"use\":[\"sig\"]"), "use is not sig");
    expect_skipped (jwk_ed25519 (ed, ",\"key_ops\":[]"), "key_ops has no verify");
    expect_skipped (jwk_ed25519 (ed, ",\"key_ops\":[\"sign\"]"), "key_ops has no verify");
    expect_skipped (jwk_ed25519 (ed, ",\"key_ops\":\"verify\""), "key_ops has no verify");
    expect_skipped (jwk_ed25519 (ed, ",\"key_ops\":[1,null]"), "key_ops has no verify");
    expect_skipped (jwk_ed25519 (ed, ",\"key_ops\":null"), "key_ops has no verify");
    expect_skipped (jwk_ed25519 (ed, ",\"use\":\"enc\",\"key_ops\":[\"verify\"]"), "use is not sig");
}

static void test_jwk_private (void **state)
{
    (void) state;
    expect_skipped (jwk_ed25519 (ed, ",\"d\":\"AAAA\""), "private key");
    expect_skipped (jwk_ec (p256, ",\"d\":\"AAAA\""), "private key");
    expect_skipped (jwk_rsa (rsa, ",\"d\":\"AQAB\",\"p\":\"AQAB\",\"q\":\"AQAB\""), "private key");
    expect_skipped (jwk_rsa (rsa, ",\"dp\":\"AQAB\""), "private key");
    expect_skipped (jwk_rsa (rsa, ",\"oth\":[]"), "private key");
    expect_skipped (jwk_rsa (rsa, ",\"d\":null"), "private key");
}

static void test_jwk_shape (void **state)
{
    (void) state;
    static const char kty[] = "kty must be RSA, EC, OKP or oct", broken[] = "a member is missing or is no base64url";
    static const char *const rows[][2] = {
        {"{}", kty},
        {"{\"kty\":\"rsa\"}", kty},
        {"{\"kty\":\"AKP\"}", kty},
        {"{\"kty\":7}", kty},
        {"[]", "not an object"},
        {"null", "not an object"},
        {"\"x\"", "not an object"},
        {"{\"kty\":\"RSA\",\"e\":\"AQAB\"}", broken},
        {"{\"kty\":\"RSA\",\"n\":\"AQAB\"}", broken},
        {"{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}", broken},
        {"{\"kty\":\"RSA\",\"n\":\"AQ==\",\"e\":\"AQAB\"}", broken},
        {"{\"kty\":\"RSA\",\"n\":\"AA+/\",\"e\":\"AQAB\"}", broken},
        {"{\"kty\":\"RSA\",\"n\":7,\"e\":\"AQAB\"}", broken},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\"}", broken},
        {"{\"kty\":\"EC\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", broken},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", "the public key is not valid"},
        {"{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", "the public key is not valid"},
        {"{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AAAA\"}", "crv of an OKP key must be Ed25519"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AAAA\"}", "crv of an OKP key must be Ed25519"},
        {"{\"kty\":\"OKP\",\"x\":\"AAAA\"}", "crv of an OKP key must be Ed25519"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", "the public key is not valid"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}", broken},
        {"{\"kty\":\"oct\"}", broken},
        {"{\"kty\":\"oct\",\"k\":\"\"}", broken},
        {"{\"kty\":\"oct\",\"k\":\"AAAA\"}", "an oct key must have 32 bytes or more"},
    };
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        expect_skipped (strdup (rows[i][0]), rows[i][1]);
    expect_skipped (jwk_ed25519 (ed, ",\"kid\":7"), "kid is not a string");
    expect_skipped (jwk_ed25519 (ed, ",\"kid\":null"), "kid is not a string");
}

/* --- RSA --- */

static char *rsa_jwk_of (const BIGNUM *n, const BIGNUM *e)
{
    unsigned char bytes[4096];
    char *n64 = b64url (slice_of (bytes, (size_t) BN_bn2bin (n, bytes)));
    char *e64 = b64url (slice_of (bytes, (size_t) BN_bn2binpad (e, bytes, BN_num_bytes (e) ? BN_num_bytes (e) : 1)));
    char *jwk = text ("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", n64, e64);
    free (n64);
    free (e64);
    return jwk;
}

static void test_rsa_exponent (void **state)
{
    (void) state;
    static const char why[] = "RSA exponent must be odd and greater than 1";
    static const BN_ULONG odd[] = {3, 5, 17, 65537, 4294967297}, bad[] = {0, 1, 2, 4, 65536};
    BIGNUM *n = NULL, *e = BN_new ();
    CHECK (EVP_PKEY_get_bn_param (rsa, OSSL_PKEY_PARAM_RSA_N, &n));
    for (size_t i = 0; i < COUNT_OF (odd); i++) {
        BN_set_word (e, odd[i]);
        expect_good (rsa_jwk_of (n, e), ALL_RSA);
    }
    for (size_t i = 0; i < COUNT_OF (bad); i++) {
        BN_set_word (e, bad[i]);
        expect_skipped (rsa_jwk_of (n, e), why);
    }
    BN_free (n);
    BN_free (e);
}

static void expect_rsa_modulus (const BIGNUM *n, const char *why)
{
    BIGNUM *e = BN_new ();
    BN_set_word (e, 65537);
    if (why)
        expect_skipped (rsa_jwk_of (n, e), why);
    else
        expect_good (rsa_jwk_of (n, e), ALL_RSA);
    BN_free (e);
}

static void test_rsa_size (void **state)
{
    (void) state;
    static const char size[] = "RSA key must have 2048 to 8192 bits";
    expect_skipped (jwk_rsa (weak_rsa, ""), size);
    BIGNUM *n = NULL;
    CHECK (EVP_PKEY_get_bn_param (rsa, OSSL_PKEY_PARAM_RSA_N, &n));
    expect_rsa_modulus (n, NULL);
    BN_rshift1 (n, n);
    BN_set_bit (n, 0);
    expect_rsa_modulus (n, size); /* 2047 bits */
    BN_lshift (n, n, 8193 - 2047);
    BN_set_bit (n, 0);
    expect_rsa_modulus (n, size); /* 8193 bits */
    BN_lshift (n, n, 8192);
    expect_rsa_modulus (n, "the public key is not valid"); /* not even handed to OpenSSL */
    BN_free (n);
}

static void test_rsa_modulus (void **state)
{
    (void) state;
    static const char why[] = "RSA modulus is not sound";
    BIGNUM *n = NULL, *prime = BN_new ();
    CHECK (EVP_PKEY_get_bn_param (rsa, OSSL_PKEY_PARAM_RSA_N, &n));
    BN_clear_bit (n, 0);
    expect_rsa_modulus (n, why); /* even */
    BN_one (n);
    BN_lshift (n, n, 2047);
    BN_set_bit (n, 0);
    while (BN_mod_word (n, 3) != 0)
        BN_add_word (n, 2);
    expect_rsa_modulus (n, why); /* divisible by 3 */
    CHECK (BN_hex2bn (&prime, "1") && BN_lshift (prime, prime, 2203) && BN_sub_word (prime, 1));
    expect_rsa_modulus (prime, why); /* the Mersenne prime 2^2203 - 1 */
    BN_free (n);
    BN_free (prime);
}

/* --- points --- */

static void test_ec_point (void **state)
{
    (void) state;
    char nothing[32] = {0};
    char *zeros = b64url (slice_of (nothing, sizeof nothing));
    char *x = number (p256, OSSL_PKEY_PARAM_EC_PUB_X, 32), *y = number (p256, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    char *long_x = number (p256, OSSL_PKEY_PARAM_EC_PUB_X, 33);
    static const char why[] = "the public key is not valid";
#define EC_JWK(crv, a, b) text ("{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}", crv, a, b)
    expect_good (EC_JWK ("P-256", x, y), BIT (JWT_ES256));
    expect_skipped (EC_JWK ("P-256", y, x), why);
    expect_skipped (EC_JWK ("P-256", x, x), why);
    expect_skipped (EC_JWK ("P-256", zeros, zeros), why);
    expect_skipped (EC_JWK ("P-256", x, zeros), why);
    expect_skipped (EC_JWK ("P-256", long_x, y), why);
    expect_skipped (EC_JWK ("P-384", x, y), why);
    expect_skipped (EC_JWK ("prime256v1", x, y), why);
#undef EC_JWK
    free (long_x);
    free (y);
    free (x);
    free (zeros);
}

static void expect_ed_point (const char *hex, const char *why)
{
    size_t n;
    unsigned char *point = OPENSSL_malloc (32);
    CHECK (OPENSSL_hexstr2buf_ex (point, 32, &n, hex, '\0') && n == 32);
    for (int sign = 0; sign < 2; sign++) {
        char *x = b64url (slice_of (point, 32));
        expect_skipped (text ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}", x), why);
        free (x);
        point[31] ^= 0x80;
    }
    OPENSSL_free (point);
}

static void test_ed25519_point (void **state)
{
    (void) state;
    static const char small[] = "Ed25519 point has a small order", off[] = "Ed25519 point is not on the curve";
    static const char *const rows[][2] = {
        {"0000000000000000000000000000000000000000000000000000000000000000", small},
        {"0100000000000000000000000000000000000000000000000000000000000000", small},
        {"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", small},
        {"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", small},
        {"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", small},
        /* y + p, second forms of 0 and 1 */
        {"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", off},
        {"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", off},
        {"efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", off},
        {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", off},
        /* no x for y = 2, 7, 8 */
        {"0200000000000000000000000000000000000000000000000000000000000000", off},
        {"0700000000000000000000000000000000000000000000000000000000000000", off},
        {"0800000000000000000000000000000000000000000000000000000000000000", off},
    };
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        expect_ed_point (rows[i][0], rows[i][1]);
    for (int i = 0; i < 20; i++) {
        EVP_PKEY *key = make_ed25519 ();
        expect_good (jwk_ed25519 (key, ""), BIT (JWT_EdDSA));
        EVP_PKEY_free (key);
    }
}

/* --- sets --- */

static void test_jwks_mixed (void **state)
{
    (void) state;
    char *a = jwk_rsa (rsa, ",\"kid\":\"a\",\"use\":\"sig\",\"alg\":\"RS256\",\"x5t\":\"x\"");
    char *b = jwk_rsa (weak_rsa, ",\"kid\":\"b\"");
    char *c = jwk_ec (p256, ",\"kid\":\"bad\\nline\",\"use\":\"enc\"");
    char *d = jwk_ed25519 (ed, ",\"kid\":\"a\"");
    char *jwks = text ("{\"keys\":[%s,%s,{\"kty\":\"AKP\",\"kid\":\"\"},%s,%s],\"next\":null}", a, b, c, d);
    struct keys *keys = parse (jwks, NULL);
    assert_non_null (keys);
    expect_text (&skipped, "jwks: key 2 (kid b): RSA key must have 2048 to 8192 bits\n"
                           "jwks: key 3: kty must be RSA, EC, OKP or oct\n"
                           "jwks: key 4: use is not sig\n");
    assert_int_equal (keys->n, 2);
    assert_string_equal (keys->key[0].kid, "a");
    assert_string_equal (keys->key[1].kid, "a");
    assert_int_equal (keys->algorithms, BIT (JWT_RS256) | BIT (JWT_EdDSA));
    keys_destroy (&keys);
    keys = parse (jwks, " EdDSA , ES256 ");
    assert_int_equal (keys->n, 1);
    assert_int_equal (keys->algorithms, BIT (JWT_EdDSA));
    keys_destroy (&keys);
    free (jwks);
    free (a);
    free (b);
    free (c);
    free (d);
}

static void test_jwks_shape (void **state)
{
    (void) state;
    static const char set[] = "jwks: not a JSON Web Key Set: no array `keys`";
    static const char *const rows[][2] = {
        {"{}", set},
        {"[]", set},
        {"{\"keys\":{}}", set},
        {"{\"keys\":null}", set},
        {"{\"Keys\":[]}", set},
        {"{\"kty\":\"oct\",\"k\":\"AAAA\"}", set},
        {"", "jwks: no valid JSON at line 1, column *"},
        {"null", "jwks: no valid JSON at line 1, column *"},
        {"{\"keys\":[]", "jwks: no valid JSON at line 1, column *"},
        {"{\"keys\":[],\"keys\":[]}", "jwks: no valid JSON at line 1, column *"},
        {"{\"keys\":[{\"kty\":\"oct\",\"kty\":\"RSA\"}]}", "jwks: no valid JSON at line 1, column *"},
        {"{\"keys\":[\"\\u0000\"]}", "jwks: no valid JSON at line 1, column *"},
    };
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        assert_null (parse (rows[i][0], ""));
        expect_text (&error, rows[i][1]);
    }
    struct keys *keys = parse ("{\"keys\":[]}", "");
    assert_int_equal (keys->n, 0);
    expect_text (&skipped, "");
    keys_destroy (&keys);
    buf_reset (&error);
    assert_null (keys_parse_jwks (SLICE ("{\"keys\":[],\"x\":1\0}"), "", &error, &skipped));
    expect_text (&error, "jwks: not text: there is a NUL in it");
}

static void test_jwks_too_many (void **state)
{
    (void) state;
    struct buf jwks;
    char *jwk = jwk_oct (SLICE (SECRET), "");
    buf_init (&jwks, 0);
    buf_printf (&jwks, "{\"keys\":[%s", jwk);
    for (int i = 1; i < 256; i++)
        buf_printf (&jwks, ",%s", jwk);
    char *good = text ("%.*s]}", (int) jwks.n, (char *) jwks.p);
    char *bad = text ("%.*s,%s]}", (int) jwks.n, (char *) jwks.p, jwk);
    struct keys *keys = parse (good, "");
    assert_int_equal (keys->n, 256);
    keys_destroy (&keys);
    assert_null (parse (bad, ""));
    expect_text (&error, "jwks: more than 256 keys");
    free (good);
    free (bad);
    free (jwk);
    buf_fini (&jwks);
}

static void test_algorithm_list (void **state)
{
    (void) state;
    static const char *const bad[][2] = {{"none", "none"},
                                         {"HS256,none", "none"},
                                         {"HS256,", ""},
                                         {",", ""},
                                         {" ", ""},
                                         {"hs256", "hs256"},
                                         {"HS256;RS256", "HS256;RS256"},
                                         {"HS256, foo ,ES256", "foo"}};
    for (size_t i = 0; i < COUNT_OF (bad); i++) {
        assert_null (parse ("{\"keys\":[]}", bad[i][0]));
        char *line =
            text ("jwt-algorithms: %s: must be of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, "
                  "ES256, ES384, ES512, EdDSA",
                  bad[i][1]);
        expect_text (&error, line);
        free (line);
    }
    for (int i = 0; i < JWT_ALG_COUNT; i++)
        assert_int_equal (jwt_alg_of (slice_str (jwt_alg_name ((enum jwt_alg) i))), i);
    assert_int_equal (jwt_alg_of (SLICE ("none")), -1);
    assert_int_equal (jwt_alg_of (SLICE ("")), -1);
    assert_int_equal (jwt_alg_of (SLICE ("HS256\0")), -1);
}

/* --- sources --- */

static void test_no_source (void **state)
{
    (void) state;
    struct keys *keys = load (&(struct keys_sources){.secret = "", .jwks_file = "", .production = true});
    assert_non_null (keys);
    assert_int_equal (keys->n, 0);
    keys_destroy (&keys);
}

static void test_secret (void **state)
{
    (void) state;
    struct keys *keys = load (&(struct keys_sources){.secret = SECRET, .production = true});
    assert_int_equal (keys->n, 1);
    assert_int_equal (keys->algorithms, ALL_HMAC);
    assert_memory_equal (keys->key[0].secret, SECRET, 32);
    assert_int_equal (keys->key[0].secret_n, 32);
    assert_null (keys->key[0].kid);
    keys_destroy (&keys);
    keys = load (&(struct keys_sources){.secret = "short", .algorithms = "HS512,RS256"});
    assert_int_equal (keys->algorithms, BIT (JWT_HS512));
    keys_destroy (&keys);
    expect_fault (&(struct keys_sources){.secret = "0123456789abcdef0123456789abcde", .production = true}, NULL,
                  "jwt-secret: the secret has 31 bytes; production wants 32 or more (openssl rand -hex 32)");
    expect_fault (&(struct keys_sources){.secret = SECRET, .algorithms = "RS256"}, NULL,
                  "jwt-algorithms: RS256: none of the keys can be used with these");
}

static void expect_secret_file (struct slice content, struct slice secret)
{
    char *path = make_file (content);
    struct keys *keys = load (&(struct keys_sources){.secret_file = path, .production = true});
    assert_non_null (keys);
    assert_true (slice_eq (slice_of (keys->key[0].secret, keys->key[0].secret_n), secret));
    keys_destroy (&keys);
    unlink (path);
    free (path);
}

static void test_secret_file (void **state)
{
    (void) state;
    expect_secret_file (SLICE (SECRET), SLICE (SECRET));
    expect_secret_file (SLICE (SECRET "\n"), SLICE (SECRET));
    expect_secret_file (SLICE (SECRET "\r\n"), SLICE (SECRET));
    expect_secret_file (SLICE (SECRET "\n\n"), SLICE (SECRET "\n"));
    expect_secret_file (SLICE (SECRET "\0\xff"), SLICE (SECRET "\0\xff"));
}

/* The first one is what `agentbridge token` signs with; both verify. An empty file is no second one. */
static void test_previous_secret (void **state)
{
    static const char second[] = "fedcba9876543210fedcba9876543210";
    static const struct {
        const char *content;
        size_t keys;
    } cases[] = {{"", 1}, {"\n", 1}, {"\r\n", 1}, {second, 2}, {"fedcba9876543210fedcba9876543210\n", 2}};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        char *path = make_file (slice_str (cases[i].content));
        struct keys *keys =
            load (&(struct keys_sources){.secret = SECRET, .previous_secret_file = path, .production = true});
        assert_non_null (keys);
        assert_int_equal (keys->n, cases[i].keys);
        assert_true (slice_is (slice_of (keys->key[0].secret, keys->key[0].secret_n), SECRET));
        if (keys->n == 2)
            assert_true (slice_is (slice_of (keys->key[1].secret, keys->key[1].secret_n), second));
        keys_destroy (&keys);
        unlink (path);
        free (path);
    }
}

/* A file with this content as `member` fails with this line, in which %s stands for the file. */
#define EXPECT_FILE_FAULT(member, content, line)                                                                       \
    do {                                                                                                               \
        char *path_ = make_file (content);                                                                             \
        expect_fault (&(struct keys_sources){.member = path_, .production = true}, path_, line);                       \
        unlink (path_);                                                                                                \
        free (path_);                                                                                                  \
    } while (0)

static void test_secret_file_faults (void **state)
{
    (void) state;
    char *pem = pem_public (rsa);
    char *private = pem_private (ed);
    static const char looks[] = "jwt-secret-file: %s: looks like a PEM public key; use jwt-public-key-file";
    EXPECT_FILE_FAULT (secret_file, SLICE (""), "jwt-secret-file: %s: the secret is empty");
    EXPECT_FILE_FAULT (secret_file, SLICE ("\n"), "jwt-secret-file: %s: the secret is empty");
    EXPECT_FILE_FAULT (
        secret_file, SLICE ("short\n"),
        "jwt-secret-file: %s: the secret has 5 bytes; production wants 32 or more (openssl rand -hex 32)");
    EXPECT_FILE_FAULT (
        previous_secret_file, SLICE ("short\n"),
        "jwt-secret-previous-file: %s: the secret has 5 bytes; production wants 32 or more (openssl rand -hex 32)");
    EXPECT_FILE_FAULT (secret_file, slice_str (pem), looks);
    EXPECT_FILE_FAULT (secret_file, slice_str (private), looks);
    expect_fault (&(struct keys_sources){.secret = pem}, NULL,
                  "jwt-secret: looks like a PEM public key; use jwt-public-key-file");
    free (private);
    free (pem);
}

static void test_unreadable_files (void **state)
{
    (void) state;
    expect_fault (&(struct keys_sources){.secret_file = "/nowhere"}, NULL,
                  "jwt-secret-file: /nowhere: No such file or directory");
    expect_fault (&(struct keys_sources){.public_key_file = "/nowhere"}, NULL,
                  "jwt-public-key-file: /nowhere: No such file or directory");
    expect_fault (&(struct keys_sources){.jwks_file = "/"}, NULL, "jwks-file: /: Is a directory");
    expect_fault (&(struct keys_sources){.jwks_file = "/dev/zero"}, NULL, "jwks-file: /dev/zero: larger than 1 MiB");
}

static char *certificate (EVP_PKEY *pkey)
{
    char *p;
    X509 *cert = X509_new ();
    BIO *bio = BIO_new (BIO_s_mem ());
    CHECK (cert && bio && X509_set_pubkey (cert, pkey) && X509_gmtime_adj (X509_getm_notBefore (cert), 0) &&
           X509_gmtime_adj (X509_getm_notAfter (cert), 60) && X509_sign (cert, pkey, EVP_sha256 ()) &&
           PEM_write_bio_X509 (bio, cert));
    long n = BIO_get_mem_data (bio, &p);
    char *out = strndup (p, (size_t) n);
    BIO_free (bio);
    X509_free (cert);
    return out;
}

static void test_pem (void **state)
{
    (void) state;
    char *a = pem_public (rsa), *b = pem_public (p256), *c = pem_public (ed), *d = certificate (p384);
    char *all = text ("# signing keys\n%s\n%ssome words\n%s%s", a, b, c, d);
    char *path = make_file (slice_str (all));
    struct keys *keys = load (&(struct keys_sources){.public_key_file = path});
    assert_non_null (keys);
    assert_int_equal (keys->n, 4);
    const uint32_t wanted[] = {ALL_RSA, BIT (JWT_ES256), BIT (JWT_EdDSA), BIT (JWT_ES384)};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal (keys->key[i].algorithms, wanted[i]);
    keys_destroy (&keys);
    unlink (path);
    free (path);
    free (all);
    free (a);
    free (b);
    free (c);
    free (d);
}

/* RSA-PSS keys and the older PKCS#1 form. */
static void test_pem_other_forms (void **state)
{
    (void) state;
    char *p;
    EVP_PKEY *pss = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name (NULL, "RSA-PSS", NULL);
    CHECK (EVP_PKEY_keygen_init (ctx) > 0 && EVP_PKEY_CTX_set_rsa_keygen_bits (ctx, 2048) > 0 &&
           EVP_PKEY_generate (ctx, &pss) > 0);
    unsigned char *der = NULL;
    int n = i2d_PublicKey (rsa, &der);
    BIO *bio = BIO_new (BIO_s_mem ());
    CHECK (PEM_write_bio_PUBKEY (bio, pss) && PEM_write_bio (bio, PEM_STRING_RSA_PUBLIC, "", der, n));
    char *path = make_file (slice_of ((BIO_get_mem_data (bio, &p), p), (size_t) BIO_pending (bio)));
    struct keys *keys = load (&(struct keys_sources){.public_key_file = path});
    assert_non_null (keys);
    assert_int_equal (keys->n, 2);
    assert_int_equal (keys->key[0].algorithms, ALL_PSS);
    assert_int_equal (keys->key[1].algorithms, ALL_RSA);
    keys_destroy (&keys);
    unlink (path);
    free (path);
    BIO_free (bio);
    OPENSSL_free (der);
    EVP_PKEY_free (pss);
    EVP_PKEY_CTX_free (ctx);
}

static void test_pem_faults (void **state)
{
    (void) state;
    EVP_PKEY *k1 = make_ec ("secp256k1"), *x25519 = EVP_PKEY_Q_keygen (NULL, NULL, "X25519");
    char *private = pem_private (p256), *weak = pem_public (weak_rsa), *other = pem_public (k1);
    char *dh = pem_public (x25519), *good = pem_public (ed);
    char *cut = text ("%s%.40s\n", good, good), *both = text ("%s%s", good, private);
    EXPECT_FILE_FAULT (public_key_file, SLICE (""), "jwt-public-key-file: %s: no PEM public key in it");
    EXPECT_FILE_FAULT (public_key_file, SLICE ("hello\n"), "jwt-public-key-file: %s: no PEM public key in it");
    EXPECT_FILE_FAULT (public_key_file, slice_str (private),
                       "jwt-public-key-file: %s: holds a private key; give the public key only");
    EXPECT_FILE_FAULT (public_key_file, slice_str (both),
                       "jwt-public-key-file: %s: holds a private key; give the public key only");
    EXPECT_FILE_FAULT (public_key_file, slice_str (weak),
                       "jwt-public-key-file: %s: RSA key must have 2048 to 8192 bits");
    EXPECT_FILE_FAULT (public_key_file, slice_str (other),
                       "jwt-public-key-file: %s: EC curve must be P-256, P-384 or P-521");
    EXPECT_FILE_FAULT (public_key_file, slice_str (dh), "jwt-public-key-file: %s: key must be RSA, EC or Ed25519");
    EXPECT_FILE_FAULT (public_key_file, slice_str (cut),
                       "jwt-public-key-file: %s: holds a PEM block that cannot be read");
    EXPECT_FILE_FAULT (public_key_file, SLICE ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
                       "jwt-public-key-file: %s: holds a PEM block that cannot be read");
    EXPECT_FILE_FAULT (public_key_file, SLICE ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
                       "jwt-public-key-file: %s: holds a PEM block that is neither PUBLIC KEY nor CERTIFICATE");
    char *texts[] = {private, weak, other, dh, good, cut, both};
    for (size_t i = 0; i < COUNT_OF (texts); i++)
        free (texts[i]);
    EVP_PKEY_free (k1);
    EVP_PKEY_free (x25519);
}

static void test_jwks_file (void **state)
{
    (void) state;
    EXPECT_FILE_FAULT (jwks_file, SLICE ("{\"keys\":[]}"), "jwks-file: %s: no usable key in it");
    EXPECT_FILE_FAULT (jwks_file, SLICE ("{\"keys\":[{\"kty\":\"x\"}]}"), "jwks-file: %s: no usable key in it");
    EXPECT_FILE_FAULT (jwks_file, SLICE ("{}"), "jwks-file: %s: not a JSON Web Key Set: no array `keys`");
    EXPECT_FILE_FAULT (jwks_file, SLICE ("{\"keys\":[]}\0"), "jwks-file: %s: no valid JSON at line 1, column *");
    /* What the file holds may be secret and is not quoted. */
    EXPECT_FILE_FAULT (jwks_file, SLICE ("{\"keys\":[{\"k\":hunter2}]}"),
                       "jwks-file: %s: no valid JSON at line 1, column *");
}

static void test_all_sources (void **state)
{
    (void) state;
    char *jwk = jwk_ed25519 (ed, ",\"kid\":\"e\""), *jwks = text ("{\"keys\":[%s,{}]}", jwk), *pem = pem_public (p256);
    char *jwks_file = make_file (slice_str (jwks)), *pem_file = make_file (slice_str (pem));
    char *secret_file = make_file (SLICE ("fedcba9876543210fedcba9876543210"));
    struct keys_sources sources = {.secret = SECRET,
                                   .secret_file = secret_file,
                                   .public_key_file = pem_file,
                                   .jwks_file = jwks_file,
                                   .production = true};
    struct keys *keys = load (&sources);
    assert_int_equal (keys->n, 4);
    assert_int_equal (keys->algorithms, ALL_HMAC | BIT (JWT_ES256) | BIT (JWT_EdDSA));
    char *line = text ("jwks-file: %s: key 2: kty must be RSA, EC, OKP or oct\n", jwks_file);
    expect_text (&skipped, line);
    keys_destroy (&keys);
    sources.algorithms = "EdDSA";
    keys = load (&sources);
    assert_int_equal (keys->n, 1);
    assert_int_equal (keys->algorithms, BIT (JWT_EdDSA));
    keys_destroy (&keys);
    char *files[] = {jwks_file, pem_file, secret_file}, *texts[] = {jwk, jwks, pem, line};
    for (size_t i = 0; i < COUNT_OF (files); i++) {
        unlink (files[i]);
        free (files[i]);
    }
    for (size_t i = 0; i < COUNT_OF (texts); i++)
        free (texts[i]);
}

/* --- fetched, and together with others --- */

static struct keys *fetch (const char *jwks)
{
    buf_reset (&error);
    buf_reset (&skipped);
    struct keys *keys = keys_parse_fetched (slice_str (jwks), &error, &skipped);
    assert_int_equal (ERR_peek_error (), 0);
    return keys;
}

static void test_fetched (void **state)
{
    (void) state;
    char *oct = jwk_oct (SLICE (SECRET), ",\"kid\":\"s\""), *ec = jwk_ec (p256, ""), *okp = jwk_ed25519 (ed, "");
    char *jwks = text ("{\"keys\":[%s,%s,%s]}", oct, ec, okp);
    struct keys *keys = fetch (jwks);
    expect_text (&skipped, "jwks-url: key 1 (kid s): a secret does not belong where others can read it\n");
    assert_int_equal (keys->n, 2);
    assert_int_equal (keys->algorithms, BIT (JWT_ES256) | BIT (JWT_EdDSA));
    keys_destroy (&keys);
    assert_null (fetch ("{}"));
    expect_text (&error, "jwks-url: not a JSON Web Key Set: no array `keys`");
    char *texts[] = {oct, ec, okp, jwks};
    for (size_t i = 0; i < COUNT_OF (texts); i++)
        free (texts[i]);
}

static struct keys *fetch_two (void)
{
    char *ec = jwk_ec (p256, ",\"kid\":\"p\""), *okp = jwk_ed25519 (ed, ",\"kid\":\"e\"");
    char *jwks = text ("{\"keys\":[%s,%s]}", ec, okp);
    struct keys *keys = fetch (jwks);
    assert_int_equal (keys->n, 2);
    free (jwks);
    free (ec);
    free (okp);
    return keys;
}

/* What the union holds outlives both sets. */
static void test_union (void **state)
{
    (void) state;
    struct keys *local = load (&(struct keys_sources){.secret = SECRET}), *fetched = fetch_two ();
    struct keys *both = keys_union (local, fetched);
    keys_destroy (&local);
    keys_destroy (&fetched);
    assert_int_equal (both->n, 3);
    assert_int_equal (both->algorithms, ALL_HMAC | BIT (JWT_ES256) | BIT (JWT_EdDSA));
    assert_int_equal (both->key[0].secret_n, strlen (SECRET));
    assert_memory_equal (both->key[0].secret, SECRET, strlen (SECRET));
    assert_null (both->key[0].kid);
    assert_int_equal (EVP_PKEY_eq (both->key[1].pkey, p256), 1);
    assert_int_equal (EVP_PKEY_eq (both->key[2].pkey, ed), 1);
    assert_true (keys_have_kid (both, "p") && keys_have_kid (both, "e"));
    assert_false (keys_have_kid (both, "") || keys_have_kid (both, "P"));
    keys_destroy (&both);
}

static void test_union_is_narrowed (void **state)
{
    (void) state;
    struct keys *local = load (&(struct keys_sources){.secret = SECRET, .algorithms = "HS256,EdDSA"});
    struct keys *fetched = fetch_two (), *both = keys_union (local, fetched);
    assert_int_equal (both->n, 2);
    assert_int_equal (both->algorithms, BIT (JWT_HS256) | BIT (JWT_EdDSA));
    assert_int_equal (both->allowed, BIT (JWT_HS256) | BIT (JWT_EdDSA));
    assert_false (keys_have_kid (both, "p"));
    keys_destroy (&both);
    keys_destroy (&local);
    keys_destroy (&fetched);
}

static void test_union_of_nothing (void **state)
{
    (void) state;
    struct keys *none = load (&(struct keys_sources){0}), *fetched = fetch_two ();
    struct keys *both = keys_union (none, none);
    assert_int_equal (both->n, 0);
    keys_destroy (&both);
    both = keys_union (none, fetched);
    assert_int_equal (both->n, 2);
    keys_destroy (&both);
    keys_destroy (&none);
    keys_destroy (&fetched);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_jwk_algorithms),
        cmocka_unit_test (test_jwk_alg_does_not_fit),
        cmocka_unit_test (test_jwk_purpose),
        cmocka_unit_test (test_jwk_private),
        cmocka_unit_test (test_jwk_shape),
        cmocka_unit_test (test_rsa_exponent),
        cmocka_unit_test (test_rsa_size),
        cmocka_unit_test (test_rsa_modulus),
        cmocka_unit_test (test_ec_point),
        cmocka_unit_test (test_ed25519_point),
        cmocka_unit_test (test_jwks_mixed),
        cmocka_unit_test (test_jwks_shape),
        cmocka_unit_test (test_jwks_too_many),
        cmocka_unit_test (test_algorithm_list),
        cmocka_unit_test (test_no_source),
        cmocka_unit_test (test_secret),
        cmocka_unit_test (test_secret_file),
        cmocka_unit_test (test_secret_file_faults),
        cmocka_unit_test (test_previous_secret),
        cmocka_unit_test (test_unreadable_files),
        cmocka_unit_test (test_pem),
        cmocka_unit_test (test_pem_other_forms),
        cmocka_unit_test (test_pem_faults),
        cmocka_unit_test (test_jwks_file),
        cmocka_unit_test (test_all_sources),
        cmocka_unit_test (test_fetched),
        cmocka_unit_test (test_union),
        cmocka_unit_test (test_union_is_narrowed),
        cmocka_unit_test (test_union_of_nothing),
    };
    return cmocka_run_group_tests (tests, set_up, tear_down);
}
