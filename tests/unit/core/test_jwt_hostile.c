/* Tokens made to get past a verifier, beyond those of test_jwt.c and test_pkey.c: each is refused with exactly this
 * code and check. After RFC 8725 and what other libraries have fallen for. */
#include "core/base64url.h"
#include "jwt_fixture.h"

#include <openssl/x509.h>

#define FORMAT  ERROR_JWT_FORMAT_INVALID
#define EXPIRED ERROR_TOKEN_EXPIRED
#define EARLY   ERROR_TOKEN_NOT_YET_VALID
#define FAILED  ERROR_VALIDATION_FAILED
#define NO_USER ERROR_MISSING_USER_ID
#define GOOD    ERROR_NONE

struct row {
    const char *text;
    enum error_code error;
    const char *check;
};

/* The texts are headers of tokens that are signed with HS256. */
static void run_headers (const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect (everything, make_token (rows[i].text, PAYLOAD), rows[i].error, rows[i].check);
}

/* The texts are payloads. */
static void run_claims (const struct row *rows, size_t n, const struct jwt_rules *rules)
{
    for (size_t i = 0; i < n; i++) {
        char *token = make_token (HS, rows[i].text);
        expect_slice (everything, rules, slice_str (token), rows[i].error, rows[i].check);
        free (token);
    }
}

/* --- form ---------------------------------------------------------------------------------------------------- */

/* A token with each of its parts changed in a way that decoders let pass which are not strict. */
static void test_loose_base64url (void **state)
{
    (void) state;
    static const char *const tails[] = {"=", "==", "\n", "\r\n", " ", "\t", "\xc2\xa0", "%3D", "."};
    for (int part = 0; part < 3; part++) {
        for (size_t i = 0; i < COUNT_OF (tails); i++) {
            char *token = token_of (JWT_HS256), *parts[3] = {token};
            for (int k = 1; k < 3; k++) {
                parts[k] = strchr (parts[k - 1], '.') + 1;
                parts[k][-1] = '\0';
            }
            expect (everything,
                    text ("%s%s.%s%s.%s%s", parts[0], part == 0 ? tails[i] : "", parts[1], part == 1 ? tails[i] : "",
                          parts[2], part == 2 ? tails[i] : ""),
                    FORMAT, "format");
            free (token);
        }
    }
}

/* The last character of a signature carries two bits that say nothing: three more spellings of the same bytes. */
static void test_trailing_bits (void **state)
{
    (void) state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *token = token_of (JWT_HS256);
    char *last = &token[strlen (token) - 1];
    const char *digit = strchr (digits, *last);
    for (int bits = 1; bits < 4; bits++) {
        *last = digit[bits];
        expect_slice (everything, &plain_rules, slice_str (token), FORMAT, "format");
    }
    *last = *digit;
    expect (everything, token, GOOD, "");
}

/* The other alphabet, for a signature in which the two differ. */
static void test_plain_base64 (void **state)
{
    (void) state;
    for (int id = 0; id < 64; id++) {
        char *payload = text ("{\"sub\":\"alice\",\"exp\":1700000600,\"id\":%d}", id);
        char *token = make_token (HS, payload), *signature = strrchr (token, '.');
        bool differs = signature[strcspn (signature, "-_")];
        for (char *c = signature; *c; c++)
            *c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
        expect (everything, token, differs ? FORMAT : GOOD, differs ? "format" : "");
        free (payload);
    }
}

/* The JSON serializations of RFC 7515 section 7.2, and a JWE. */
static void test_other_serializations (void **state)
{
    (void) state;
    char *token = token_of (JWT_HS256);
    int header_n = (int) strcspn (token, ".");
    const char *payload = token + header_n + 1;
    int payload_n = (int) strcspn (payload, ".");
    const char *signature = payload + payload_n + 1;
    expect (everything,
            text ("{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"%s\"}", header_n, token, payload_n,
                  payload, signature),
            FORMAT, "format");
    expect (everything,
            text ("{\"payload\":\"%.*s\",\"signatures\":[{\"protected\":\"%.*s\",\"signature\":\"%s\"}]}", payload_n,
                  payload, header_n, token, signature),
            FORMAT, "format");
    /* {"alg":"dir","enc":"A128GCM"} */
    expect (everything, text ("eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..%s.AAAA.AAAA", signature), FORMAT, "format");
    /* detached (RFC 7515 appendix F): signed, but the payload is elsewhere */
    expect (everything, text ("%.*s..%s", header_n, token, signature), FAILED, "signature");
    expect (everything, text ("Bearer %s", token), FORMAT, "format");
    free (token);
}

/* jansson steps over a NUL behind a number or a literal. */
static void test_nul_in_json (void **state)
{
    (void) state;
    const struct {
        struct slice header, payload;
        const char *check;
    } rows[] = {
        {SLICE ("{\"alg\":\"HS256\",\"x\":1\0}"), SLICE (PAYLOAD), "format"},
        {SLICE ("{\"alg\":\"HS256\",\"x\":true\0}"), SLICE (PAYLOAD), "format"},
        {SLICE ("{\"alg\":\"HS256\"}\0"), SLICE (PAYLOAD), "format"},
        {SLICE (HS), SLICE ("{\"sub\":\"alice\",\"exp\":1700000600\0}"), "claims"},
        {SLICE (HS), SLICE ("{\"sub\":\"alice\",\"exp\":1700000600\0,\"x\":null\0}"), "claims"},
        {SLICE (HS), SLICE ("{\"sub\":\"alice\0\",\"exp\":1700000600}"), "claims"},
        {SLICE (HS), SLICE ("{\"sub\0\":\"alice\",\"exp\":1700000600}"), "claims"},
        {SLICE (HS), SLICE ("\0{\"sub\":\"alice\",\"exp\":1700000600}"), "claims"},
    };
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        char *header = b64url (rows[i].header), *payload = b64url (rows[i].payload);
        char *input = text ("%s.%s", header, payload);
        struct slice signature = sign_jws (NULL, SLICE (SECRET), JWT_HS256, slice_str (input));
        expect (everything, join_signature (input, signature), FORMAT, rows[i].check);
        free (header);
        free (payload);
    }
}

/* --- header -------------------------------------------------------------------------------------------------- */

static void test_none (void **state)
{
    (void) state;
    static const struct row rows[] = {
        {"{\"alg\":\"\\u006eone\"}", FAILED, "algorithm"},
        {"{\"alg\":\"NonE\"}", FAILED, "algorithm"},
        {"{\"alg\":\"none\\n\"}", FAILED, "algorithm"},
        {"{\"alg\":\"\\u0000none\"}", FORMAT, "format"},
        {"{\"alg\":\"null\"}", FAILED, "algorithm"},
        {"{\"alg\":\"HS256,none\"}", FAILED, "algorithm"},
        {"{\"alg\":\"HS256\\u0000\"}", FORMAT, "format"},
        {"{\"alg\":false}", FORMAT, "format"},
        {"{\"alg\":0}", FORMAT, "format"},
        {"{\"alg\":[\"none\"]}", FORMAT, "format"},
        {"{\"alg\":\"none\",\"Alg\":\"HS256\"}", FAILED, "algorithm"},
    };
    run_headers (rows, COUNT_OF (rows));
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        char *input = signing_input (rows[i].text, slice_str (PAYLOAD));
        expect (everything, text ("%s.", input), rows[i].error, rows[i].check);
        expect (everything, text ("%s.AA", input), rows[i].error, rows[i].check);
        free (input);
    }
}

/* RFC 7515 section 4.1.11: whoever does not understand an extension must refuse. None is understood. */
static void test_crit_and_b64 (void **state)
{
    (void) state;
    static const struct row rows[] = {
        {"{\"alg\":\"HS256\",\"crit\":[\"alg\"]}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"crit\":[\"x\"],\"x\":1}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"crit\":{}}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"crit\":\"\"}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"crit\":0}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"crit\":false}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"cri\\u0074\":[\"x\"]}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"b64\":null}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"b\\u00364\":false}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"b64\":\"false\"}", FORMAT, "format"},
        {"{\"crit\":[\"b64\"],\"b64\":false,\"alg\":\"HS256\"}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"x\":{\"crit\":[\"y\"],\"b64\":false}}", GOOD, ""}, /* not the header's own */
    };
    run_headers (rows, COUNT_OF (rows));
}

/* RFC 7797: signed without base64url. */
static void test_unencoded_payload (void **state)
{
    (void) state;
    char *header = b64url (SLICE ("{\"alg\":\"HS256\",\"b64\":false,\"crit\":[\"b64\"]}"));
    char *input = text ("%s." PAYLOAD, header);
    struct slice signature = sign_jws (NULL, SLICE (SECRET), JWT_HS256, slice_str (input));
    expect (everything, join_signature (input, signature), FORMAT, "format");
    free (header);
}

static void test_duplicate_members (void **state)
{
    (void) state;
    static const struct row in_header[] = {
        {"{\"alg\":\"HS256\",\"kid\":\"a\",\"kid\":\"a\"}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"t\\u0079p\":\"JWT\"}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"x\":[{\"a\":1,\"a\":1}]}", FORMAT, "format"},
        {"{\"alg\":\"HS256\",\"\":1,\"\":2}", FORMAT, "format"},
    };
    static const struct row in_claims[] = {
        {"{\"sub\":\"a\",\"exp\":1,\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"aud\":\"x\",\"aud\":\"bridge\"}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"x\":[[{\"b\":{\"c\":1,\"\\u0063\":1}}]]}", FORMAT, "claims"},
    };
    run_headers (in_header, COUNT_OF (in_header));
    run_claims (in_claims, COUNT_OF (in_claims), &plain_rules);
}

static void test_kid (void **state)
{
    (void) state;
    char *jwk = jwk_oct (SLICE (SECRET), ",\"kid\":\"a\""), *jwks = text ("{\"keys\":[%s]}", jwk);
    struct keys *keys = parse (jwks);
    static const char *const kids[] = {"a/../a",
                                       "a%00",
                                       "%61",
                                       "a\\n",
                                       "a\\r\\nx: y",
                                       "A",
                                       "*",
                                       ".*",
                                       "a' --",
                                       "a\\\" OR 1=1",
                                       "${jndi:ldap}",
                                       "file:///dev/null",
                                       "a\\\\",
                                       "\\u200b",
                                       "\\ufeffa",
                                       "0",
                                       "null",
                                       "a\\u0301",
                                       "a;b",
                                       "$(id)",
                                       "`id`",
                                       "%s%n",
                                       "http://a/",
                                       "\\u0430"};
    for (size_t i = 0; i < COUNT_OF (kids); i++) {
        char *header = text ("{\"alg\":\"HS256\",\"kid\":\"%s\"}", kids[i]);
        expect (keys, make_token (header, PAYLOAD), FAILED, "key");
        free (header);
    }
    for (size_t n = 1; n <= 8192; n *= 8) {
        char *zeros = calloc (1, n + 1);
        char *header = text ("{\"alg\":\"HS256\",\"kid\":\"a%s\"}", (char *) memset (zeros, 'a', n));
        expect (keys, make_token (header, PAYLOAD), FAILED, "key");
        free (header);
        free (zeros);
    }
    keys_destroy (&keys);
    free (jwks);
    free (jwk);
}

/* RFC 8725 section 3.11: a token of another kind, signed with the same keys, is no access token. */
static void test_typ (void **state)
{
    (void) state;
    static const char *const good[] = {
        "JWT", "jwt", "Jwt", "at+jwt", "AT+jwt", "application/at+jwt", "application/JWT", "APPLICATION/jwt"};
    static const char *const bad[] = {
        "JWT ",      " JWT",    "JWT\\t",     "JW",           "JWTT",        "JOSE",
        "JOSE+JSON", "JWS",     "logout+jwt", "secevent+jwt", "dpop+jwt",    "+jwt",
        "x+jwt",     "at+jwt ", "at+jwt+jwt", "application/", "text/at+jwt", "application/application/jwt",
        "jwt;v=1",   "at jwt",  "at+JWS",     "application"};
    for (size_t i = 0; i < COUNT_OF (good); i++) {
        char *header = text ("{\"alg\":\"HS256\",\"typ\":\"%s\"}", good[i]);
        expect (everything, make_token (header, PAYLOAD), GOOD, "");
        free (header);
    }
    for (size_t i = 0; i < COUNT_OF (bad); i++) {
        char *header = text ("{\"alg\":\"HS256\",\"typ\":\"%s\"}", bad[i]);
        expect (everything, make_token (header, PAYLOAD), FORMAT, "format");
        free (header);
    }
}

/* --- keys ---------------------------------------------------------------------------------------------------- */

/* A self-signed certificate over this key, as `x5c` wants it. */
static char *certificate (EVP_PKEY *pkey)
{
    X509 *cert = X509_new ();
    unsigned char *der = NULL;
    CHECK (cert && X509_set_pubkey (cert, pkey) && X509_sign (cert, pkey, EVP_sha256 ()));
    int n = i2d_X509 (cert, &der);
    CHECK (n > 0);
    char *out = b64 (slice_of (der, (size_t) n));
    OPENSSL_free (der);
    X509_free (cert);
    return out;
}

/* The attacker's key stands in the header, in every way there is, and the signature is good under it. */
static void test_own_key (void **state)
{
    (void) state;
    EVP_PKEY *own_rsa = make_rsa (2048), *own_ec = make_ec ("P-256");
    const struct {
        enum jwt_alg alg;
        EVP_PKEY *pkey;
        char *jwk;
    } kinds[] = {{JWT_RS256, own_rsa, jwk_rsa (own_rsa, "")},
                 {JWT_PS256, own_rsa, jwk_rsa (own_rsa, ",\"kid\":\"x\"")},
                 {JWT_ES256, own_ec, jwk_ec (own_ec, "")}};
    for (size_t i = 0; i < COUNT_OF (kinds); i++) {
        char *x5c = certificate (kinds[i].pkey);
        char *members[] = {text ("\"jwk\":%s", kinds[i].jwk), text ("\"x5c\":[\"%s\"]", x5c),
                           text ("\"jku\":\"https://evil.example/jwks.json\",\"kid\":\"x\""),
                           text ("\"x5u\":\"https://evil.example/cert.pem\""),
                           text ("\"x5t#S256\":\"AAAA\",\"x5t\":\"AAAA\",\"key\":%s", kinds[i].jwk)};
        for (size_t k = 0; k < COUNT_OF (members); k++) {
            char *header = text ("{\"alg\":\"%s\",%s}", jwt_alg_name (kinds[i].alg), members[k]);
            expect (everything,
                    make_token_of (kinds[i].pkey, slice_str (""), kinds[i].alg, header, slice_str (PAYLOAD)), FAILED,
                    "signature");
            expect (only_hmac, make_token_of (kinds[i].pkey, slice_str (""), kinds[i].alg, header, slice_str (PAYLOAD)),
                    FAILED, "algorithm");
            free (header);
            free (members[k]);
        }
        free (x5c);
        free (kinds[i].jwk);
    }
    EVP_PKEY_free (own_rsa);
    EVP_PKEY_free (own_ec);
}

static void expect_no_secret (const struct keys *public_only, struct slice secret)
{
    static const enum jwt_alg algs[] = {JWT_HS256, JWT_HS384, JWT_HS512};
    for (size_t i = 0; i < COUNT_OF (algs); i++) {
        char *header = text ("{\"alg\":\"%s\"}", jwt_alg_name (algs[i]));
        expect (public_only, make_token_of (NULL, secret, algs[i], header, slice_str (PAYLOAD)), FAILED, "algorithm");
        expect (everything, make_token_of (NULL, secret, algs[i], header, slice_str (PAYLOAD)), FAILED, "signature");
        free (header);
    }
}

/* What is public of a key, in each form in which somebody may have it, as the secret of an HMAC. */
static void test_public_key_as_secret (void **state)
{
    (void) state;
    char *jwk[] = {jwk_rsa (rsa, ""), jwk_ec (ec[0], ""), jwk_ed25519 (ed, "")};
    char *jwks = text ("{\"keys\":[%s,%s,%s]}", jwk[0], jwk[1], jwk[2]);
    struct keys *public_only = parse (jwks);
    EVP_PKEY *pkeys[] = {rsa, ec[0], ed};
    for (size_t i = 0; i < COUNT_OF (pkeys); i++) {
        unsigned char *der = NULL;
        char *pem = pem_public (pkeys[i]);
        int n = i2d_PUBKEY (pkeys[i], &der);
        CHECK (n > 0);
        expect_no_secret (public_only, slice_of (der, (size_t) n));
        expect_no_secret (public_only, slice_str (pem));
        expect_no_secret (public_only, slice_str (jwk[i]));
        OPENSSL_free (der);
        der = NULL;
        if (i == 0) {
            n = i2d_PublicKey (rsa, &der); /* PKCS#1 */
            CHECK (n > 0);
            expect_no_secret (public_only, slice_of (der, (size_t) n));
            OPENSSL_free (der);
        }
        free (pem);
        free (jwk[i]);
    }
    char *n = number (rsa, OSSL_PKEY_PARAM_RSA_N, 0);
    expect_no_secret (public_only, slice_str (n));
    free (n);
    keys_destroy (&public_only);
    free (jwks);
}

/* --- signatures ---------------------------------------------------------------------------------------------- */

/* Takes the header's name of the algorithm and the signature as hex. */
static void expect_signature (const struct keys *keys, const char *alg, const char *hex, size_t size,
                              enum error_code error)
{
    unsigned char *bytes = calloc (1, size);
    size_t n = strlen (hex) / 2, got;
    char *header = text ("{\"alg\":\"%s\"}", alg);
    CHECK (bytes && n <= size && OPENSSL_hexstr2buf_ex (bytes + size - n, n, &got, hex, '\0') && got == n);
    expect (keys, join_signature (signing_input (header, slice_str (PAYLOAD)), slice_of (bytes, size)), error,
            error == GOOD ? "" : "signature");
    free (header);
}

/* Bleichenbacher 2006. This is, made in Python, the integer cube root of
 *   0001 || ff * 8 || 00 || DigestInfo of SHA-256 of the signing input || ff * 194
 * Its cube begins like a signature with short padding; with e = 3 that needs no private key, and n does not matter. */
static void test_rsa_cube_root (void **state)
{
    (void) state;
    static const char root[] = "32cbfd4a7adc7905583d767520f51640759176d37826f2ef63ae3dc7a7e7f7f2c3beb6d3e0d70fc38e0f68"
                               "570aba2a1695f80efa1cf603a959e47f23d79c10904d1a3e89c5236b9dfe5b722ebd9ce4c08141144cc7";
    char *n = number (rsa, OSSL_PKEY_PARAM_RSA_N, 0);
    char *jwks = text ("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"Aw\"}]}", n);
    struct keys *keys = parse (jwks);
    expect_signature (keys, "RS256", root, 256, FAILED);
    expect_signature (keys, "PS256", root, 256, FAILED);
    keys_destroy (&keys);
    free (jwks);
    free (n);
}

/* 0, 1 and n - 1 are their own powers for every odd exponent; n and above are no residues. */
static void test_rsa_fixed_points (void **state)
{
    (void) state;
    unsigned char bytes[256];
    char hex[513];
    BIGNUM *modulus = NULL, *value = BN_new ();
    CHECK (value && EVP_PKEY_get_bn_param (rsa, OSSL_PKEY_PARAM_RSA_N, &modulus));
    for (int i = 0; i < 5; i++) {
        CHECK (i < 2 ? BN_set_word (value, (BN_ULONG) i) : BN_copy (value, modulus) != NULL);
        CHECK (i != 2 || BN_sub_word (value, 1));
        CHECK (i != 4 || BN_add_word (value, 1));
        CHECK (BN_bn2binpad (value, bytes, sizeof bytes) == sizeof bytes);
        for (size_t k = 0; k < sizeof bytes; k++)
            snprintf (hex + 2 * k, 3, "%02x", bytes[k]);
        expect_signature (everything, "RS256", hex, 256, FAILED);
        expect_signature (everything, "PS256", hex, 256, FAILED);
    }
    BN_free (modulus);
    BN_free (value);
}

/* PSS with another hash in MGF1. */
static void test_pss_mgf (void **state)
{
    (void) state;
    char *input = signing_input ("{\"alg\":\"PS256\"}", slice_str (PAYLOAD));
    EVP_PKEY_CTX *pctx = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new ();
    size_t n = 256;
    unsigned char *signature = malloc (n);
    CHECK (ctx && signature && EVP_DigestSignInit (ctx, &pctx, EVP_sha256 (), NULL, rsa) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding (pctx, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen (pctx, RSA_PSS_SALTLEN_DIGEST) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md (pctx, EVP_sha1 ()) > 0 &&
           EVP_DigestSign (ctx, signature, &n, (const unsigned char *) input, strlen (input)) == 1);
    EVP_MD_CTX_free (ctx);
    expect (everything, join_signature (input, slice_of (signature, n)), FAILED, "signature");
}

/* s and n - s are both good (RFC 7518 demands no small s): two tokens with the same claims, nothing more. s + n is not
 * reduced. */
static void test_ecdsa_other_s (void **state)
{
    (void) state;
    BIGNUM *order = NULL, *s = BN_new (), *other = BN_new ();
    CHECK (s && other && EVP_PKEY_get_bn_param (ec[2], OSSL_PKEY_PARAM_EC_ORDER, &order));
    for (int above = 0; above < 2; above++) {
        char *input = signing_input ("{\"alg\":\"ES512\"}", slice_str (PAYLOAD));
        struct slice raw = sign_jws (ec[2], slice_str (""), JWT_ES512, slice_str (input));
        unsigned char *half = (unsigned char *) raw.p + 66;
        CHECK (BN_bin2bn (half, 66, s) && (above ? BN_add (other, s, order) : BN_sub (other, order, s)));
        CHECK (BN_bn2binpad (other, half, 66) == 66);
        expect (everything, join_signature (input, raw), above ? FAILED : GOOD, above ? "signature" : "");
    }
    BN_free (order);
    BN_free (s);
    BN_free (other);
}

/* Signatures whose R is the neutral element, made in Python as S = SHA-512 (R || A || input) * a mod L, under the key
 * of the seed 00 01 02 ... 1f. The first is what the signer's nonce 0 gives. In the others R is spelt y + p, and with
 * the sign of x = 0: RFC 8032 5.1.3 refuses both. */
static void test_ed25519_neutral_r (void **state)
{
    (void) state;
    static const struct {
        const char *hex;
        enum error_code error;
    } rows[] = {
        {"01000000000000000000000000000000000000000000000000000000000000006bf190be34e649e78423fa90e0d4edfcb61ca3027e4f5"
         "8"
         "471c1d7b5496c53d0c",
         GOOD},
        {"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7fe736ce9466aa694385d76ef4d405ab0370db046f5b66a"
         "6"
         "26e9da4ecfbc8c660b",
         FAILED},
        {"0100000000000000000000000000000000000000000000000000000000000080e20b8a2344572e71c40a224ec3dccc595f77261f71085"
         "c"
         "cb8a8bf08bd9c54400",
         FAILED},
    };
    struct keys *keys = parse ("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                               "\"x\":\"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg\"}]}");
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        expect_signature (keys, "EdDSA", rows[i].hex, 64, rows[i].error);
    keys_destroy (&keys);
}

/* --- claims -------------------------------------------------------------------------------------------------- */

static void test_odd_times (void **state)
{
    (void) state;
    static const struct row rows[] = {
        {"{\"sub\":\"a\",\"exp\":\"NaN\"}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":\"Infinity\"}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":\"\"}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":false}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":\"2033-05-18T03:33:20Z\"}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"EXP\":1700000600}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":nan}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":-Infinity}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":+1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":01700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1700000600.}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":.5}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1e}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":-1e309}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1_700_000_600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":-0}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":-0.0}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":1e-400}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":-99999999999999999999999999}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":17000006000e-1}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1.7976931348623157e308}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":1e308}", EARLY, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":-1e308}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":[]}", FORMAT, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"iat\":null}", FORMAT, "claims: iat"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"iat\":99999999999999999999}", EARLY, "claims: iat"},
    };
    run_claims (rows, COUNT_OF (rows), &plain_rules);
}

static void test_odd_audience (void **state)
{
    (void) state;
#define T "{\"sub\":\"a\",\"exp\":1700000600,\"aud\":"
    static const struct row rows[] = {
        {T "[\"bridge\",\"bridge\"]}", GOOD, ""},
        {T "[\"\",\"bridge\"]}", GOOD, ""},
        {T "[\"bridge\",null]}", FAILED, "claims: aud"},
        {T "[null,\"bridge\"]}", FAILED, "claims: aud"},
        {T "[\"bridge\",{}]}", FAILED, "claims: aud"},
        {T "[\"bridge\",[\"bridge\"]]}", FAILED, "claims: aud"},
        {T "[\"bridge\",true]}", FAILED, "claims: aud"},
        {T "[\"bridge\",1.5]}", FAILED, "claims: aud"},
        {T "[[]]}", FAILED, "claims: aud"},
        {T "[{\"bridge\":\"bridge\"}]}", FAILED, "claims: aud"},
        {T "[\"Bridge\"]}", FAILED, "claims: aud"},
        {T "\"bridge \"}", FAILED, "claims: aud"},
        {T "\"x bridge\"}", FAILED, "claims: aud"},
        {T "\"x,bridge\"}", FAILED, "claims: aud"},
        {T "\"[\\\"bridge\\\"]\"}", FAILED, "claims: aud"},
        {T "\"*\"}", FAILED, "claims: aud"},
        {T "true}", FAILED, "claims: aud"},
        {T "0}", FAILED, "claims: aud"},
        {T "\"bridge\\u0000\"}", FORMAT, "claims"},
    };
#undef T
    struct jwt_rules rules = plain_rules;
    rules.audience = "bridge";
    run_claims (rows, COUNT_OF (rows), &rules);
}

static void test_odd_users (void **state)
{
    (void) state;
    static const struct row rows[] = {
        {"{\"sub\":\"alice\\u2028\",\"exp\":1700000600}", GOOD, ""},
        {"{\"sub\":\"alice\\r\\nX: y\",\"exp\":1700000600}", NO_USER, "claims: user"},
        {"{\"sub\":\"alice\\u001b[31m\",\"exp\":1700000600}", NO_USER, "claims: user"},
        {"{\"sub\":\"alice\\u0000\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"alice\\udc00\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"\xf5\x80\x80\x80\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":1e999,\"exp\":1700000600}", FORMAT, "claims"},
    };
    run_claims (rows, COUNT_OF (rows), &plain_rules);
}

/* A token in a token, and a payload that would unpack to one. */
static void test_token_in_token (void **state)
{
    (void) state;
    char *inner = token_of (JWT_ES256);
    char *quoted = text ("\"%s\"", inner);
    static const char *const headers[] = {HS, "{\"alg\":\"HS256\",\"cty\":\"JWT\"}",
                                          "{\"alg\":\"HS256\",\"cty\":\"JWT\",\"zip\":\"DEF\"}"};
    for (size_t i = 0; i < COUNT_OF (headers); i++) {
        expect (everything, make_token (headers[i], inner), FORMAT, "claims");
        expect (everything, make_token (headers[i], quoted), FORMAT, "claims");
    }
    free (quoted);
    free (inner);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_loose_base64url),
        cmocka_unit_test (test_trailing_bits),
        cmocka_unit_test (test_plain_base64),
        cmocka_unit_test (test_other_serializations),
        cmocka_unit_test (test_nul_in_json),
        cmocka_unit_test (test_none),
        cmocka_unit_test (test_crit_and_b64),
        cmocka_unit_test (test_unencoded_payload),
        cmocka_unit_test (test_duplicate_members),
        cmocka_unit_test (test_kid),
        cmocka_unit_test (test_typ),
        cmocka_unit_test (test_own_key),
        cmocka_unit_test (test_public_key_as_secret),
        cmocka_unit_test (test_rsa_cube_root),
        cmocka_unit_test (test_rsa_fixed_points),
        cmocka_unit_test (test_pss_mgf),
        cmocka_unit_test (test_ecdsa_other_s),
        cmocka_unit_test (test_ed25519_neutral_r),
        cmocka_unit_test (test_odd_times),
        cmocka_unit_test (test_odd_audience),
        cmocka_unit_test (test_odd_users),
        cmocka_unit_test (test_token_in_token),
    };
    return cmocka_run_group_tests (tests, set_up, tear_down);
}
