#include "core/base64url.h"
#include "jwt_fixture.h"

/* --- algorithm and key --- */

static void test_unknown_algorithms (void **state)
{
    (void) state;
    static const char *const algs[] = {"none",   "None",    "NONE",  "nOnE",    "none ",    " none",  "",
                                       "hs256",  "HS256 ",  "HS1",   "HS2560",  "RS1",      "ES256K", "eddsa",
                                       "EdDSA ", "Ed25519", "Ed448", "A128GCM", "RSA-OAEP", "dir"};
    for (size_t i = 0; i < COUNT_OF (algs); i++) {
        char *header = text ("{\"alg\":\"%s\"}", algs[i]);
        expect (everything, make_token (header, PAYLOAD), ERROR_VALIDATION_FAILED, "algorithm");
        char *input = signing_input (header, slice_str (PAYLOAD));
        expect (everything, text ("%s.", input), ERROR_VALIDATION_FAILED, "algorithm");
        free (input);
        free (header);
    }
}

static void test_none_served (void **state)
{
    (void) state;
    for (int alg = JWT_RS256; alg < JWT_ALG_COUNT; alg++)
        expect (only_hmac, token_of ((enum jwt_alg) alg), ERROR_VALIDATION_FAILED, "algorithm");
}

static void test_no_keys (void **state)
{
    (void) state;
    struct keys empty = {0};
    expect (&empty, token_of (JWT_HS256), ERROR_AUTH_KEYS_UNAVAILABLE, "key");
    expect (NULL, token_of (JWT_HS256), ERROR_AUTH_KEYS_UNAVAILABLE, "key");
    expect (&empty, text ("a.b"), ERROR_JWT_FORMAT_INVALID, "format");
}

static void test_public_key_as_hmac_secret (void **state)
{
    (void) state;
    char *pem = pem_public (rsa);
    char *jwk = jwk_rsa (rsa, "");
    char *jwks = text ("{\"keys\":[%s]}", jwk);
    struct keys *only_rsa = parse (jwks);
    struct slice secrets[] = {slice_str (pem), slice_of (pem, strlen (pem) - 1),
                              slice_str (jwk), slice_str (jwks),
                              slice_str (""),  SLICE ("\0")};
    for (size_t i = 0; i < COUNT_OF (secrets); i++) {
        expect (only_rsa, make_token_of (NULL, secrets[i], JWT_HS256, HS, slice_str (PAYLOAD)), ERROR_VALIDATION_FAILED,
                "algorithm");
        expect (everything, make_token_of (NULL, secrets[i], JWT_HS256, HS, slice_str (PAYLOAD)),
                ERROR_VALIDATION_FAILED, "signature");
    }
    keys_destroy (&only_rsa);
    free (jwks);
    free (jwk);
    free (pem);
}

/* --- format --- */

static void test_malformed_tokens (void **state)
{
    (void) state;
    static const char *const tokens[] = {
        "",
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c.d",
        "e30",
        "e30.e30",
        "e30.e30.",
        "e30.e30.e30",
        ".e30.e30",
        "e30..",
        "e30.e30.e",
        " ",
        "Bearer x",
        "W10.e30.",
        "bnVsbA.e30.",
        "Int9Ig.e30.", /* [], null, "{}" as header */
        "e30=.e30.",
        "e30.e30=.",
        "e30.e30.==",
        "e31.e30.",
        "e30.e31.",
        "e30.e30.YR",
        "e30.e30.\n",
        "e3 0.e30.",
        "e30.e30.+_",
        "e30.e30./A",
        "eyJhbGciOiJIUzI1NiJ9.e30.AA.",
        "eyJhbGciOiJIUzI1NiJ9.e30.AA=",
        "eyJhbGciOiJIUzI1NiJ9.e30.AB",
        "eyJhbGciOiJIUzI1NiJ9.e31.AA",
        "eyJhbGciOiJIUzI1NiJ9.e30.A",
        "eyJhbGciOiJIUzI1NiJ9.e3.AA",
        "a.b.c.d.e",
        "eyJhbGciOiJkaXIifQ.AA.AA.AA.AA",
    };
    for (size_t i = 0; i < COUNT_OF (tokens); i++)
        expect_slice (everything, &plain_rules, slice_str (tokens[i]), ERROR_JWT_FORMAT_INVALID, "format");
    expect_slice (everything, &plain_rules, slice_of (NULL, 0), ERROR_JWT_FORMAT_INVALID, "format");
}

static void test_nul_in_token (void **state)
{
    (void) state;
    char *token = token_of (JWT_HS256);
    size_t n = strlen (token);
    expect_slice (everything, &plain_rules, slice_of (token, n + 1), ERROR_JWT_FORMAT_INVALID, "format");
    token[n - 5] = '\0';
    expect_slice (everything, &plain_rules, slice_of (token, n), ERROR_JWT_FORMAT_INVALID, "format");
    free (token);
}

static char *padded_token (size_t fill)
{
    char *spaces = memset (calloc (1, fill + 1), ' ', fill);
    char *payload = text ("{\"sub\":\"alice\",\"exp\":1700000600%s}", spaces);
    char *token = make_token (HS, payload);
    free (payload);
    free (spaces);
    return token;
}

static void test_size_limit (void **state)
{
    (void) state;
    size_t fill = 16 * 1024 * 3 / 4;
    char *token = padded_token (fill);
    for (; strlen (token) > 16 * 1024; token = padded_token (--fill))
        free (token);
    expect (everything, token, ERROR_NONE, "");
    expect (everything, padded_token (fill + 1), ERROR_JWT_FORMAT_INVALID, "format");
    expect (everything, padded_token (1000000), ERROR_JWT_FORMAT_INVALID, "format");
}

static const struct {
    const char *header;
    bool good;
} headers[] = {
    {"{\"alg\":\"HS256\"}", true},
    {"{\"alg\":\"HS256\",\"typ\":\"JWT\"}", true},
    {"{\"alg\":\"HS256\",\"typ\":\"jwt\"}", true},
    {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", true},
    {"{\"alg\":\"HS256\",\"typ\":\"AT+JWT\"}", true},
    {"{\"alg\":\"HS256\",\"typ\":\"application/at+jwt\"}", true},
    {" {\"alg\" : \"HS256\" , \"cty\":\"x\"} ", true},
    {"{\"\\u0061lg\":\"HS\\u0032\\u0035\\u0036\"}", true},
    /* a token does not choose its own key */
    {"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}}", true},
    {"{\"alg\":\"HS256\",\"jku\":\"https://evil.example/\",\"x5u\":\"file:///etc/"
     "passwd\",\"x5c\":[\"AAAA\"]}",
     true},
    {"{\"alg\":\"HS256\",\"typ\":\"JWE\"}", false},
    {"{\"alg\":\"HS256\",\"typ\":\"+jw\"}", false},
    {"{\"alg\":\"HS256\",\"typ\":\"\"}", false},
    {"{\"alg\":\"HS256\",\"typ\":1}", false},
    {"{\"alg\":\"HS256\",\"typ\":null}", false},
    {"{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}", false},
    {"{\"alg\":\"HS256\",\"crit\":[]}", false},
    {"{\"alg\":\"HS256\",\"crit\":null}", false},
    {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", false},
    {"{\"alg\":\"HS256\",\"b64\":true}", false},
    {"{\"alg\":\"HS256\",\"b64\":false}", false},
    {"{\"alg\":\"HS256\",\"alg\":\"none\"}", false},
    {"{\"alg\":\"none\",\"alg\":\"HS256\"}", false},
    {"{\"alg\":\"HS256\",\"\\u0061lg\":\"HS256\"}", false},
    {"{\"alg\":\"HS256\",\"x\":{\"a\":1,\"a\":2}}", false},
    {"{\"alg\":\"HS256\\u0000\"}", false},
    {"{\"alg\\u0000\":\"HS256\"}", false},
    {"{\"alg\":null}", false},
    {"{\"alg\":1}", false},
    {"{\"alg\":[\"HS256\"]}", false},
    {"{\"alg\":{\"HS256\":1}}", false},
    {"{\"ALG\":\"HS256\"}", false},
    {"{}", false},
    {"[\"HS256\"]", false},
    {"[{\"alg\":\"HS256\"}]", false},
    {"\"HS256\"", false},
    {"{\"alg\":\"HS256\"}x", false},
    {"{\"alg\":\"HS256\"}{}", false},
    {"{\"alg\":\"HS256\",}", false},
    {"{'alg':'HS256'}", false},
    {"{\"alg\":\"HS256\",\"x\":\"\xff\"}", false},
    {"\xef\xbb\xbf{\"alg\":\"HS256\"}", false},
    {"{\"alg\":\"HS256\",\"x\":\"\xed\xa0\x80\"}", false},
    {"{\"alg\":\"HS256\",\"x\":NaN}", false},
};

static void test_headers (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (headers); i++) {
        if (headers[i].good)
            expect (everything, make_token (headers[i].header, PAYLOAD), ERROR_NONE, "");
        else
            expect (everything, make_token (headers[i].header, PAYLOAD), ERROR_JWT_FORMAT_INVALID, "format");
    }
}

/* The attacker's own key in the header, and signed with it. */
static void test_embedded_key (void **state)
{
    (void) state;
    EVP_PKEY *own = make_ec ("P-256");
    char *jwk = jwk_ec (own, "");
    char *header = text ("{\"alg\":\"ES256\",\"jwk\":%s}", jwk);
    expect (everything, make_token_of (own, slice_str (""), JWT_ES256, header, slice_str (PAYLOAD)),
            ERROR_VALIDATION_FAILED, "signature");
    free (header);
    header = text ("{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}}");
    expect (everything, make_token_of (NULL, SLICE ("\0\0\0"), JWT_HS256, header, slice_str (PAYLOAD)),
            ERROR_VALIDATION_FAILED, "signature");
    free (header);
    free (jwk);
    EVP_PKEY_free (own);
}

/* --- kid --- */

static void test_kid_tricks (void **state)
{
    (void) state;
    char *a = jwk_oct (SLICE (SECRET), ",\"kid\":\"a\"");
    char *jwks = text ("{\"keys\":[%s]}", a);
    struct keys *keys = parse (jwks);
    static const struct {
        const char *kid;
        enum error_code error;
        const char *check;
    } rows[] = {
        {"\"a\"", ERROR_NONE, ""},
        {"\"\\u0061\"", ERROR_NONE, ""},
        {"\"A\"", ERROR_VALIDATION_FAILED, "key"},
        {"\"\"", ERROR_VALIDATION_FAILED, "key"},
        {"\"a \"", ERROR_VALIDATION_FAILED, "key"},
        {"\"../../../../../../dev/null\"", ERROR_VALIDATION_FAILED, "key"},
        {"\"/proc/sys/kernel/randomize_va_space\"", ERROR_VALIDATION_FAILED, "key"},
        {"\"x' UNION SELECT 'key';--\"", ERROR_VALIDATION_FAILED, "key"},
        {"\"a|/bin/true\"", ERROR_VALIDATION_FAILED, "key"},
        {"\"a\\u0000\"", ERROR_JWT_FORMAT_INVALID, "format"},
        {"\"a\\u0000b\"", ERROR_JWT_FORMAT_INVALID, "format"},
        {"1", ERROR_JWT_FORMAT_INVALID, "format"},
        {"null", ERROR_JWT_FORMAT_INVALID, "format"},
        {"true", ERROR_JWT_FORMAT_INVALID, "format"},
        {"[\"a\"]", ERROR_JWT_FORMAT_INVALID, "format"},
        {"{\"a\":1}", ERROR_JWT_FORMAT_INVALID, "format"},
    };
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        char *header = text ("{\"alg\":\"HS256\",\"kid\":%s}", rows[i].kid);
        expect (keys, make_token (header, PAYLOAD), rows[i].error, rows[i].check);
        free (header);
    }
    expect (keys, make_token (HS, PAYLOAD), ERROR_NONE, "");
    keys_destroy (&keys);
    free (jwks);
    free (a);
}

static char *kid_token (const char *secret, const char *kid)
{
    char *header = text ("{\"alg\":\"HS256\"%s%s%s}", kid ? ",\"kid\":\"" : "", kid ? kid : "", kid ? "\"" : "");
    char *token = make_token_of (NULL, slice_str (secret), JWT_HS256, header, slice_str (PAYLOAD));
    free (header);
    return token;
}

/* The last good header is kept; what only looks like it, or was refused, is not taken for it. */
static void test_same_header_again (void **state)
{
    (void) state;
    static const char secret[] = "1-3456789abcdef0123456789abcdef__";
    char *jwk = jwk_oct (slice_str (secret), ",\"kid\":\"x\"");
    char *jwks = text ("{\"keys\":[%s]}", jwk);
    struct keys *keys = parse (jwks);
    char longer[300] = {0};
    memset (longer, 'k', sizeof longer - 1);
    for (int i = 0; i < 2; i++) {
        expect (keys, kid_token (secret, "x"), ERROR_NONE, "");
        expect (keys, kid_token (secret, "x"), ERROR_NONE, "");
        expect (keys, kid_token ("wrong", "x"), ERROR_VALIDATION_FAILED, "signature");
        expect (keys, kid_token (secret, "xx"), ERROR_VALIDATION_FAILED, "key");
        expect (keys, kid_token (secret, longer), ERROR_VALIDATION_FAILED, "key");
        expect (keys, kid_token (secret, "x\",\"crit\":\"x"), ERROR_JWT_FORMAT_INVALID, "format");
        expect (keys, kid_token (secret, "x\",\"crit\":\"x"), ERROR_JWT_FORMAT_INVALID, "format");
    }
    keys_destroy (&keys);
    free (jwks);
    free (jwk);
}

/* Two keys share a kid, one has another and one has none. */
static void test_kid_selects (void **state)
{
    (void) state;
    static const char *const s[] = {"1-3456789abcdef0123456789abcdef__", "2-3456789abcdef0123456789abcdef__",
                                    "3-3456789abcdef0123456789abcdef__", "4-3456789abcdef0123456789abcdef__"};
    static const char *const more[] = {",\"kid\":\"x\"", ",\"kid\":\"x\"", ",\"kid\":\"y\"", ""};
    char *jwk[4];
    for (size_t i = 0; i < 4; i++)
        jwk[i] = jwk_oct (slice_str (s[i]), more[i]);
    char *jwks = text ("{\"keys\":[%s,%s,%s,%s]}", jwk[0], jwk[1], jwk[2], jwk[3]);
    struct keys *keys = parse (jwks);
    assert_int_equal (keys->n, 4);
    expect (keys, kid_token (s[0], "x"), ERROR_NONE, "");
    expect (keys, kid_token (s[1], "x"), ERROR_NONE, "");
    expect (keys, kid_token (s[2], "x"), ERROR_VALIDATION_FAILED, "signature");
    expect (keys, kid_token (s[2], "y"), ERROR_NONE, "");
    expect (keys, kid_token (s[0], "y"), ERROR_VALIDATION_FAILED, "signature");
    expect (keys, kid_token (s[3], "x"), ERROR_NONE, ""); /* a key without kid serves any */
    expect (keys, kid_token (s[3], "z"), ERROR_NONE, "");
    expect (keys, kid_token (s[0], "z"), ERROR_VALIDATION_FAILED, "signature");
    for (size_t i = 0; i < 4; i++) {
        expect (keys, kid_token (s[i], NULL), ERROR_NONE, "");
        free (jwk[i]);
    }
    keys_destroy (&keys);
    free (jwks);
}

/* The kid of an RSA key does not help a token of another algorithm. */
/* Takes the token. */
static void expect_miss (const struct keys *keys, char *token, enum jwt_miss miss)
{
    struct jwt_result result;
    jwt_verify (&result, keys, &plain_rules, slice_str (token), NOW);
    assert_int_equal (result.miss, miss);
    jwt_result_fini (&result);
    free (token);
}

static char *signed_by (EVP_PKEY *key, enum jwt_alg alg, const char *header)
{
    return make_token_of (key, SLICE (SECRET), alg, header, slice_str (PAYLOAD));
}

/* Could keys that are not there make the token good? Not when its algorithm is not allowed, nor when it is HMAC's. */
static void test_miss (void **state)
{
    (void) state;
    char *jwk = jwk_ec (ec[0], ",\"kid\":\"a\""), *set = text ("{\"keys\":[%s]}", jwk);
    struct buf spill;
    buf_init (&spill, 0);
    struct keys *keys = parse (set), *narrow = keys_parse_jwks (slice_str (set), "ES256,RS256", &spill, &spill);
    assert_int_equal (keys->n + narrow->n, 2);
    static const char es256[] = "{\"alg\":\"ES256\"}", es256_a[] = "{\"alg\":\"ES256\",\"kid\":\"a\"}";
    static const char es256_b[] = "{\"alg\":\"ES256\",\"kid\":\"b\"}", es384_b[] = "{\"alg\":\"ES384\",\"kid\":\"b\"}";
    EVP_PKEY *other = make_ec ("P-256");
    expect_miss (keys, signed_by (other, JWT_ES256, es256), JWT_MISS_UNNAMED);
    expect_miss (keys, signed_by (other, JWT_ES256, es256_a), JWT_MISS_NONE);
    expect_miss (keys, signed_by (other, JWT_ES256, es256_b), JWT_MISS_KID);
    expect_miss (keys, signed_by (ec[1], JWT_ES384, es384_b), JWT_MISS_KID); /* of a kind that no key serves yet */
    expect_miss (narrow, signed_by (ec[1], JWT_ES384, es384_b), JWT_MISS_NONE);
    expect_miss (keys, signed_by (NULL, JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"b\"}"), JWT_MISS_NONE);
    expect_miss (keys, signed_by (NULL, JWT_HS256, "{\"alg\":\"none\",\"kid\":\"b\"}"), JWT_MISS_NONE);
    EVP_PKEY_free (other);
    keys_destroy (&keys);
    keys_destroy (&narrow);
    buf_fini (&spill);
    free (jwk);
    free (set);
}

static void test_kid_of_other_type (void **state)
{
    (void) state;
    char *a = jwk_rsa (rsa, ",\"kid\":\"r\"");
    char *b = jwk_oct (SLICE (SECRET), ",\"kid\":\"h\"");
    char *jwks = text ("{\"keys\":[%s,%s]}", a, b);
    struct keys *keys = parse (jwks);
    expect (keys, kid_token (SECRET, "r"), ERROR_VALIDATION_FAILED, "key");
    expect (keys, kid_token (SECRET, "h"), ERROR_NONE, "");
    keys_destroy (&keys);
    free (jwks);
    free (a);
    free (b);
}

/* --- claims --- */

struct claims_row {
    const char *payload;
    enum error_code error;
    const char *check;
};

static void run_claims (const struct claims_row *rows, size_t n, const struct jwt_rules *rules)
{
    for (size_t i = 0; i < n; i++) {
        char *token = make_token (HS, rows[i].payload);
        expect_slice (everything, rules, slice_str (token), rows[i].error, rows[i].check);
        free (token);
    }
}

#define FORMAT  ERROR_JWT_FORMAT_INVALID
#define EXPIRED ERROR_TOKEN_EXPIRED
#define EARLY   ERROR_TOKEN_NOT_YET_VALID
#define FAILED  ERROR_VALIDATION_FAILED
#define NO_USER ERROR_MISSING_USER_ID
#define GOOD    ERROR_NONE

static void test_times (void **state)
{
    (void) state;
    static const struct claims_row rows[] = {
        {"{\"sub\":\"a\"}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":\"1700000600\"}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":true}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":null}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":[1700000600]}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":{}}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":0}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":-1}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":-9223372036854775808}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":-1e300}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":1699999970}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":1699999970.5}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1699999971}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1.7000006e9}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":9223372036854775807}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":9223372036854775808}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":99999999999999999999999999}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1e300}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1e400}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":\"1\"}", FORMAT, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":false}", FORMAT, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":null}", FORMAT, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":1700000030}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":1700000030.5}", EARLY, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":1700000031}", EARLY, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":9223372036854775807}", EARLY, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":1e300}", EARLY, "claims: nbf"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":-5}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"iat\":\"now\"}", FORMAT, "claims: iat"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"iat\":{}}", FORMAT, "claims: iat"},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"iat\":1700000030}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":1700000600,\"iat\":1700000031}", EARLY, "claims: iat"},
        {"{\"sub\":\"a\",\"exp\":1699999000,\"nbf\":1700009000}", EXPIRED, "claims: exp"},
    };
    run_claims (rows, COUNT_OF (rows), &plain_rules);
}

static void test_times_relaxed (void **state)
{
    (void) state;
    static const struct claims_row rows[] = {
        {"{\"sub\":\"a\"}", GOOD, ""},
        {"{\"sub\":\"a\",\"exp\":\"1700000600\"}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":null}", FORMAT, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":1700000000}", EXPIRED, "claims: exp"},
        {"{\"sub\":\"a\",\"exp\":1700000001}", GOOD, ""},
        {"{\"sub\":\"a\",\"nbf\":1700000000}", GOOD, ""},
        {"{\"sub\":\"a\",\"nbf\":1700000001}", EARLY, "claims: nbf"},
    };
    struct jwt_rules rules = {.user_claim = "sub"};
    run_claims (rows, COUNT_OF (rows), &rules);
}

static void test_not_an_object (void **state)
{
    (void) state;
    static const struct claims_row rows[] = {
        {"", FORMAT, "claims"},
        {"[]", FORMAT, "claims"},
        {"null", FORMAT, "claims"},
        {"\"alice\"", FORMAT, "claims"},
        {"17", FORMAT, "claims"},
        {"alice", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1700000600", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":1700000600}x", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"sub\":\"b\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"s\\u0075b\":\"b\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"x\":{\"y\":1,\"y\":2},\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"sub\":\"b\",\"exp\":99999999999999999999}", FORMAT, "claims"},
        {"{\"exp\":99999999999999999999,\"sub\":\"a\",\"sub\":\"b\"}", FORMAT, "claims"},
        {"{\"sub\":\"a\\u0000b\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\\ud800\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\xff\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\xc0\x80\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\xed\xa0\x80\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\x01\",\"exp\":1700000600}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":NaN}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":Infinity}", FORMAT, "claims"},
        {"{\"sub\":\"a\",\"exp\":0x7fffffff}", FORMAT, "claims"},
    };
    run_claims (rows, COUNT_OF (rows), &plain_rules);
    struct slice nul = SLICE ("{\"sub\":\"a\",\"exp\":1700000600}\0");
    expect (everything, make_token_of (NULL, SLICE (SECRET), JWT_HS256, HS, nul), FORMAT, "claims");
}

/* A whole token as the payload, and nesting that could exhaust a stack. */
static void test_nested (void **state)
{
    (void) state;
    char *inner = make_token (HS, PAYLOAD);
    expect (everything, make_token ("{\"alg\":\"HS256\",\"cty\":\"JWT\"}", inner), FORMAT, "claims");
    free (inner);
    char *deep = calloc (1, 10001);
    memset (deep, '[', 10000);
    expect (everything, make_token (HS, deep), FORMAT, "claims");
    free (deep);
}

static void test_issuer_and_audience (void **state)
{
    (void) state;
#define T "\"sub\":\"a\",\"exp\":1700000600"
    static const struct claims_row rows[] = {
        {"{" T ",\"iss\":\"us\",\"aud\":\"bridge\"}", GOOD, ""},
        {"{" T ",\"iss\":\"us\",\"aud\":[\"bridge\"]}", GOOD, ""},
        {"{" T ",\"iss\":\"us\",\"aud\":[\"x\",\"bridge\",\"y\"]}", GOOD, ""},
        {"{" T ",\"aud\":\"bridge\"}", FAILED, "claims: iss"},
        {"{" T ",\"iss\":\"US\",\"aud\":\"bridge\"}", FAILED, "claims: iss"},
        {"{" T ",\"iss\":\"us/\",\"aud\":\"bridge\"}", FAILED, "claims: iss"},
        {"{" T ",\"iss\":\"\",\"aud\":\"bridge\"}", FAILED, "claims: iss"},
        {"{" T ",\"iss\":[\"us\"],\"aud\":\"bridge\"}", FAILED, "claims: iss"},
        {"{" T ",\"iss\":null,\"aud\":\"bridge\"}", FAILED, "claims: iss"},
        {"{" T ",\"iss\":\"us\"}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":\"\"}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":\"bridge2\"}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":\"bridg\"}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":[]}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":[\"x\"]}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":[\"bridge\",1]}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":[[\"bridge\"]]}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":{\"bridge\":true}}", FAILED, "claims: aud"},
        {"{" T ",\"iss\":\"us\",\"aud\":null}", FAILED, "claims: aud"},
        {"{\"iss\":\"x\",\"exp\":1}", EXPIRED, "claims: exp"},
    };
    struct jwt_rules rules = plain_rules;
    rules.issuer = "us";
    rules.audience = "bridge";
    run_claims (rows, COUNT_OF (rows), &rules);
    rules.issuer = rules.audience = "";
    static const struct claims_row unchecked = {"{" T ",\"iss\":1,\"aud\":{}}", GOOD, ""};
    run_claims (&unchecked, 1, &rules);
#undef T
}

static void test_user_claim (void **state)
{
    (void) state;
#define E ",\"exp\":1700000600}"
    static const struct claims_row rows[] = {
        {"{\"exp\":1700000600}", NO_USER, "claims: user"},
        {"{\"sub\":\"\"" E, NO_USER, "claims: user"},
        {"{\"sub\":null" E, NO_USER, "claims: user"},
        {"{\"sub\":7" E, NO_USER, "claims: user"},
        {"{\"sub\":true" E, NO_USER, "claims: user"},
        {"{\"sub\":[\"a\"]" E, NO_USER, "claims: user"},
        {"{\"sub\":{\"id\":\"a\"}" E, NO_USER, "claims: user"},
        {"{\"Sub\":\"a\"" E, NO_USER, "claims: user"},
        {"{\"sub\":\"a\\n\"" E, NO_USER, "claims: user"},
        {"{\"sub\":\"a\\u0001\"" E, NO_USER, "claims: user"},
        {"{\"sub\":\"\\u007f\"" E, NO_USER, "claims: user"},
        {"{\"sub\":\"\\u0085\"" E, NO_USER, "claims: user"},
        {"{\"sub\":\"\\u009f\"" E, NO_USER, "claims: user"},
        {"{\"sub\":\"\\u00a0\"" E, GOOD, ""},
        {"{\"sub\":\"a b\"" E, GOOD, ""},
        {"{\"sub\":\"auth0|5f7c\"" E, GOOD, ""},
        {"{\"sub\":\"\xc3\xa9\xf0\x9f\x98\x80\"" E, GOOD, ""},
        {"{\"sub\":\"x\"" E, GOOD, ""},
    };
    run_claims (rows, COUNT_OF (rows), &plain_rules);
    struct jwt_rules rules = plain_rules;
    rules.user_claim = "https://example.com/uid";
    static const struct claims_row other[] = {
        {"{\"sub\":\"a\"" E, NO_USER, "claims: user"},
        {"{\"https://example.com/uid\":\"a\"" E, GOOD, ""},
    };
    run_claims (other, COUNT_OF (other), &rules);
#undef E
}

static void test_user_length (void **state)
{
    (void) state;
    for (int n = 127; n <= 129; n++) {
        char *payload = text ("{\"sub\":\"%0*d\",\"exp\":1700000600}", n, 7);
        if (n <= 128)
            expect (everything, make_token (HS, payload), GOOD, "");
        else
            expect (everything, make_token (HS, payload), NO_USER, "claims: user");
        free (payload);
    }
}

/* Nothing of the claims may be told before the signature is good. */
static void test_order_of_checks (void **state)
{
    (void) state;
    static const char *const payloads[] = {"{\"sub\":\"a\",\"exp\":1}", "{\"exp\":1700000600}", "[]", "garbage", ""};
    for (size_t i = 0; i < COUNT_OF (payloads); i++) {
        struct slice payload = slice_str (payloads[i]);
        expect (everything, make_token_of (NULL, SLICE ("wrong"), JWT_HS256, HS, payload), FAILED, "signature");
        expect (only_hmac, make_token_of (NULL, SLICE ("wrong"), JWT_HS256, "{\"alg\":\"RS256\"}", payload), FAILED,
                "algorithm");
    }
    expect (only_hmac, make_token ("{\"alg\":\"none\",\"crit\":[]}", PAYLOAD), FORMAT, "format");
}

static void test_result (void **state)
{
    (void) state;
    static const struct {
        const char *exp;
        int64_t expires;
    } rows[] = {{"1700000600", 1700000600},
                {"1700000600.9", 1700000600},
                {"9223372036854775807", INT64_MAX / 1000000000},
                {"1e300", INT64_MAX / 1000000000}};
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct jwt_result result;
        char *payload = text ("{\"sub\":\"al\xc3\xaf\",\"exp\":%s,\"role\":[1,\"x\"]}", rows[i].exp);
        char *token = make_token (HS, payload);
        jwt_verify (&result, everything, &plain_rules, slice_str (token), NOW);
        assert_int_equal (result.error, ERROR_NONE);
        assert_string_equal (result.user, "al\xc3\xaf");
        assert_int_equal (result.expires, rows[i].expires);
        assert_int_equal (json_array_size (json_object_get (result.claims, "role")), 2);
        jwt_result_fini (&result);
        jwt_result_fini (&result);
        free (token);
        free (payload);
    }
}

/* --- signing, base64url --- */

static void test_sign (void **state)
{
    (void) state;
    json_t *claims = json_loads (PAYLOAD, 0, NULL);
    char *token = jwt_sign_hs256 (claims, SLICE (SECRET));
    char *same = make_token (HS, PAYLOAD);
    assert_string_equal (token, same);
    free (same);
    expect (only_hmac, token, GOOD, "");
    json_decref (claims);
}

/* RFC 7515 appendix A.1. */
static void test_rfc7515 (void **state)
{
    (void) state;
    struct keys *keys = parse ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"
                               "1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}]}");
    struct slice token =
        SLICE ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
               "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
               "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    struct jwt_rules rules = {.user_claim = "iss", .require_exp = true};
    struct jwt_result result;
    jwt_verify (&result, keys, &rules, token, 1300819379.0);
    assert_int_equal (result.error, ERROR_NONE);
    assert_string_equal (result.user, "joe");
    jwt_result_fini (&result);
    expect_slice (keys, &rules, token, EXPIRED, "claims: exp");
    keys_destroy (&keys);
}

/* RFC 8037 appendix A.4: the key and the signature; the payload is no JSON. */
static void test_rfc8037 (void **state)
{
    (void) state;
    struct keys *keys = parse ("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
                               "7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");
    expect_slice (keys, &plain_rules,
                  SLICE ("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-"
                         "09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"),
                  FORMAT, "claims");
    keys_destroy (&keys);
}

static void test_base64url (void **state)
{
    (void) state;
    static const struct {
        const char *text;
        const char *bytes; /* NULL: refused */
    } rows[] = {
        {"", ""},        {"Zg", "f"},        {"Zm8", "fo"},
        {"Zm9v", "foo"}, {"Zm9vYg", "foob"}, {"-_-_", "\xfb\xff\xbf"},
        {"Z", NULL},     {"Zh", NULL},       {"Zm9", NULL},
        {"Zg==", NULL},  {"Zm8=", NULL},     {"+/+/", NULL},
        {"Zm9vY", NULL}, {"Zg\n", NULL},     {" Zg", NULL},
        {"Z.g", NULL},   {"\xc3\xa9", NULL}, {"====", NULL},
        {"Zm9v=", NULL}, {"Zm 9", NULL},     {"Zm9vYh", NULL},
    };
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        size_t n = 99;
        char *bytes = base64url_decode (slice_str (rows[i].text), &n);
        assert_int_equal (bytes != NULL, rows[i].bytes != NULL);
        if (bytes)
            assert_string_equal (bytes, rows[i].bytes);
        assert_int_equal (n, bytes ? strlen (rows[i].bytes) : 0);
        free (bytes);
    }
}

/* Every length and every byte goes there and back; OpenSSL is the other side. */
static void test_base64url_all (void **state)
{
    (void) state;
    unsigned char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char) (i * 7 + 3);
    for (size_t length = 0; length <= sizeof bytes; length++) {
        size_t n;
        char *encoded = b64url (slice_of (bytes, length));
        char *back = base64url_decode (slice_str (encoded), &n);
        assert_non_null (back);
        assert_int_equal (n, length);
        assert_memory_equal (back, bytes, length);
        free (back);
        free (encoded);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_unknown_algorithms),
        cmocka_unit_test (test_none_served),
        cmocka_unit_test (test_no_keys),
        cmocka_unit_test (test_public_key_as_hmac_secret),
        cmocka_unit_test (test_malformed_tokens),
        cmocka_unit_test (test_nul_in_token),
        cmocka_unit_test (test_size_limit),
        cmocka_unit_test (test_headers),
        cmocka_unit_test (test_embedded_key),
        cmocka_unit_test (test_kid_tricks),
        cmocka_unit_test (test_same_header_again),
        cmocka_unit_test (test_kid_selects),
        cmocka_unit_test (test_miss),
        cmocka_unit_test (test_kid_of_other_type),
        cmocka_unit_test (test_times),
        cmocka_unit_test (test_times_relaxed),
        cmocka_unit_test (test_not_an_object),
        cmocka_unit_test (test_nested),
        cmocka_unit_test (test_issuer_and_audience),
        cmocka_unit_test (test_user_claim),
        cmocka_unit_test (test_user_length),
        cmocka_unit_test (test_order_of_checks),
        cmocka_unit_test (test_result),
        cmocka_unit_test (test_sign),
        cmocka_unit_test (test_rfc7515),
        cmocka_unit_test (test_rfc8037),
        cmocka_unit_test (test_base64url),
        cmocka_unit_test (test_base64url_all),
    };
    return cmocka_run_group_tests (tests, set_up, tear_down);
}
