#include "core/base64url.h"
#include "core/pkey.h"
#include "jwt_fixture.h"

/* --- algorithms --- */

static void test_every_algorithm_good (void **state)
{
    (void) state;
    for (int alg = 0; alg < JWT_ALG_COUNT; alg++)
        expect (everything, token_of ((enum jwt_alg) alg), ERROR_NONE, "");
}

/* The signature of `token` with one bit changed. */
static char *flip (const char *token, size_t where)
{
    const char *dot = strrchr (token, '.');
    size_t n;
    char *bytes = base64url_decode (slice_str (dot + 1), &n);
    bytes[where % n] ^= 1;
    char *input = strndup (token, (size_t) (dot - token));
    return join_signature (input, slice_of (bytes, n));
}

static void test_every_algorithm_tampered_signature (void **state)
{
    (void) state;
    for (int alg = 0; alg < JWT_ALG_COUNT; alg++) {
        char *token = token_of ((enum jwt_alg) alg);
        const size_t places[] = {0, 1, 31, 32, 47, SIZE_MAX / 2};
        for (size_t i = 0; i < COUNT_OF (places); i++)
            expect (everything, flip (token, places[i]), ERROR_VALIDATION_FAILED, "signature");
        free (token);
    }
}

static void test_every_algorithm_tampered_payload (void **state)
{
    (void) state;
    for (int alg = 0; alg < JWT_ALG_COUNT; alg++) {
        char *token = token_of ((enum jwt_alg) alg);
        char *header = strndup (token, strcspn (token, "."));
        char *payload = b64url (SLICE ("{\"sub\":\"mallory\",\"exp\":1700000600}"));
        expect (everything, text ("%s.%s%s", header, payload, strrchr (token, '.')), ERROR_VALIDATION_FAILED,
                "signature");
        free (payload);
        free (header);
        free (token);
    }
}

/* Shortened, lengthened, empty and doubled signatures. */
static void test_every_algorithm_signature_length (void **state)
{
    (void) state;
    for (int alg = 0; alg < JWT_ALG_COUNT; alg++) {
        char *token = token_of ((enum jwt_alg) alg);
        size_t input_n = (size_t) (strrchr (token, '.') - token), n;
        char *bytes = base64url_decode (slice_str (token + input_n + 1), &n);
        const size_t lengths[] = {0, 1, n / 2, n - 1, n + 1, 2 * n};
        char *more = calloc (2, n);
        memcpy (more, bytes, n);
        memcpy (more + n, bytes, n);
        for (size_t i = 0; i < COUNT_OF (lengths); i++) {
            char *signature = b64url (slice_of (more, lengths[i]));
            expect (everything, text ("%.*s.%s", (int) input_n, token, signature), ERROR_VALIDATION_FAILED,
                    "signature");
            free (signature);
        }
        free (more);
        free (bytes);
        free (token);
    }
}

/* The same input signed with one algorithm and named another: never good. */
static void test_algorithm_confusion (void **state)
{
    (void) state;
    for (int named = 0; named < JWT_ALG_COUNT; named++)
        for (int used = 0; used < JWT_ALG_COUNT; used++) {
            if (used == named)
                continue;
            char *header = text ("{\"alg\":\"%s\"}", jwt_alg_name ((enum jwt_alg) named));
            enum jwt_alg alg = (enum jwt_alg) used;
            expect (everything, make_token_of (signer (alg), SLICE (SECRET), alg, header, slice_str (PAYLOAD)),
                    ERROR_VALIDATION_FAILED, "signature");
            free (header);
        }
}

/* --- ECDSA, PSS, Ed25519 --- */

static void expect_ec_signature (int which, struct slice signature)
{
    char *header = text ("{\"alg\":\"%s\"}", jwt_alg_name ((enum jwt_alg) (JWT_ES256 + which)));
    char *input = signing_input (header, slice_str (PAYLOAD));
    char *copy = memcpy (malloc (signature.n + 1), signature.p, signature.n);
    expect (everything, join_signature (input, slice_of (copy, signature.n)), ERROR_VALIDATION_FAILED, "signature");
    free (header);
}

/* Fill r or s (both when `part` is 2) with a number. */
static void expect_ec_number (int which, const BIGNUM *bn, int part)
{
    int half = (EVP_PKEY_get_bits (ec[which]) + 7) / 8;
    unsigned char raw[132];
    memset (raw, 1, sizeof raw);
    if (part != 1)
        CHECK (BN_bn2binpad (bn, raw, half) == half);
    if (part != 0)
        CHECK (BN_bn2binpad (bn, raw + half, half) == half);
    expect_ec_signature (which, slice_of (raw, (size_t) half * 2));
}

static void test_ecdsa_range (void **state)
{
    (void) state;
    for (int which = 0; which < 3; which++) {
        BIGNUM *order = NULL, *zero = BN_new ();
        CHECK (EVP_PKEY_get_bn_param (ec[which], OSSL_PKEY_PARAM_EC_ORDER, &order));
        for (int part = 0; part < 3; part++) {
            expect_ec_number (which, zero, part);
            expect_ec_number (which, BN_value_one (), part);
            expect_ec_number (which, order, part);
            BN_add_word (order, 1);
            expect_ec_number (which, order, part);
            BN_sub_word (order, 1);
        }
        BN_free (order);
        BN_free (zero);
    }
}

static void test_ecdsa_der (void **state)
{
    (void) state;
    for (int which = 0; which < 3; which++) {
        enum jwt_alg alg = (enum jwt_alg) (JWT_ES256 + which);
        char *header = text ("{\"alg\":\"%s\"}", jwt_alg_name (alg));
        char *input = signing_input (header, slice_str (PAYLOAD));
        struct slice der = sign_plain (ec[which], alg, jwt_alg_md (alg), 0, slice_str (input));
        expect (everything, join_signature (input, der), ERROR_VALIDATION_FAILED, "signature");
        free (header);
    }
}

/* r || s with more zeros in front, and without the zeros that must stand there. */
static void test_ecdsa_padding (void **state)
{
    (void) state;
    char *input = signing_input ("{\"alg\":\"ES256\"}", slice_str (PAYLOAD));
    struct slice raw = sign_jws (ec[0], slice_str (""), JWT_ES256, slice_str (input));
    unsigned char wide[66] = {0};
    memcpy (wide + 1, raw.p, 32);
    memcpy (wide + 34, raw.p + 32, 32);
    expect_ec_signature (0, slice_of (wide, 66));
    expect_ec_signature (0, slice_of (wide, 65));
    expect_ec_signature (0, slice_of (wide + 1, 63));
    free ((char *) raw.p);
    free (input);
}

static void test_pss_salt (void **state)
{
    (void) state;
    static const int salts[][3] = {{0, 20, 33}, {0, 32, 49}, {0, 48, 65}};
    for (int i = 0; i < 9; i++) {
        enum jwt_alg alg = (enum jwt_alg) (JWT_PS256 + i / 3);
        char *header = text ("{\"alg\":\"%s\"}", jwt_alg_name (alg));
        char *input = signing_input (header, slice_str (PAYLOAD));
        struct slice signature = sign_plain (rsa, alg, jwt_alg_md (alg), salts[i / 3][i % 3], slice_str (input));
        expect (everything, join_signature (input, signature), ERROR_VALIDATION_FAILED, "signature");
        free (header);
    }
}

/* The digest of another algorithm under a name: RS256 with SHA-384, SHA-1 and so on. */
static void test_wrong_digest (void **state)
{
    (void) state;
    const EVP_MD *const digests[] = {EVP_sha1 (), EVP_sha384 (), EVP_sha512 (), EVP_sha224 ()};
    static const enum jwt_alg algs[] = {JWT_RS256, JWT_PS256};
    for (size_t i = 0; i < COUNT_OF (digests) * COUNT_OF (algs); i++) {
        enum jwt_alg alg = algs[i % COUNT_OF (algs)];
        char *header = text ("{\"alg\":\"%s\"}", jwt_alg_name (alg));
        char *input = signing_input (header, slice_str (PAYLOAD));
        struct slice signature = sign_plain (rsa, alg, digests[i / COUNT_OF (algs)], 32, slice_str (input));
        expect (everything, join_signature (input, signature), ERROR_VALIDATION_FAILED, "signature");
        free (header);
    }
}

/* S + L verifies wherever the range of S is not checked (RFC 8032 5.1.7). */
static void test_ed25519_malleable (void **state)
{
    (void) state;
    char *input = signing_input ("{\"alg\":\"EdDSA\"}", slice_str (PAYLOAD));
    struct slice raw = sign_jws (ed, slice_str (""), JWT_EdDSA, slice_str (input));
    BIGNUM *order = NULL, *s = BN_lebin2bn ((const unsigned char *) raw.p + 32, 32, NULL);
    BN_hex2bn (&order, "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed");
    BN_add (s, s, order);
    CHECK (BN_bn2lebinpad (s, (unsigned char *) raw.p + 32, 32) == 32);
    expect (everything, join_signature (input, raw), ERROR_VALIDATION_FAILED, "signature");
    BN_free (order);
    BN_free (s);
}

static void test_ed25519_zeros (void **state)
{
    (void) state;
    for (int r = 0; r < 3; r++) {
        unsigned char *zeros = calloc (1, 64);
        zeros[0] = (unsigned char) r; /* R = order 4, the neutral element, none */
        char *input = signing_input ("{\"alg\":\"EdDSA\"}", slice_str (PAYLOAD));
        expect (everything, join_signature (input, slice_of (zeros, 64)), ERROR_VALIDATION_FAILED, "signature");
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_every_algorithm_good),
        cmocka_unit_test (test_every_algorithm_tampered_signature),
        cmocka_unit_test (test_every_algorithm_tampered_payload),
        cmocka_unit_test (test_every_algorithm_signature_length),
        cmocka_unit_test (test_algorithm_confusion),
        cmocka_unit_test (test_ecdsa_range),
        cmocka_unit_test (test_ecdsa_der),
        cmocka_unit_test (test_ecdsa_padding),
        cmocka_unit_test (test_pss_salt),
        cmocka_unit_test (test_wrong_digest),
        cmocka_unit_test (test_ed25519_malleable),
        cmocka_unit_test (test_ed25519_zeros),
    };
    return cmocka_run_group_tests (tests, set_up, tear_down);
}
