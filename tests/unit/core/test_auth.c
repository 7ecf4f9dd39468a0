#include "core/auth.h"
#include "base/metrics.h"
#include "core/ident.h"
#include "jwt_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define HEADER        "{\"alg\":\"HS256\"}"
#define PAYLOAD(user) "{\"sub\":\"" user "\",\"exp\":1700000600}"

static const struct jwt_rules rules = {.user_claim = "sub", .leeway_s = 30, .require_exp = true};
static struct keys *keys;
static char *alice, *bob, *carol;

static int set_up (void **state)
{
    (void) state;
    struct buf error, skipped;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    keys = keys_load (&(struct keys_sources){.secret = SECRET}, &error, &skipped);
    buf_fini (&error);
    buf_fini (&skipped);
    alice = make_token (HEADER, PAYLOAD ("alice"));
    bob = make_token (HEADER, PAYLOAD ("bob"));
    carol = make_token (HEADER, PAYLOAD ("carol"));
    return keys ? 0 : -1;
}

static int tear_down (void **state)
{
    (void) state;
    keys_destroy (&keys);
    free (alice);
    free (bob);
    free (carol);
    return 0;
}

/* `outcome` is "user", or "CODE: check". */
static void expect_result (struct jwt_result *result, const char *outcome)
{
    char *got = result->error == ERROR_NONE ? strdup (result->user)
                                            : text ("%s: %s", error_info (result->error)->code, result->check);
    assert_string_equal (got, outcome);
    free (got);
    jwt_result_fini (result);
}

/* Takes the texts; NULL means absent. */
static void expect (char *authorization, char *subprotocols, char *query, const char *outcome)
{
    struct jwt_result result;
    struct auth_request request = {slice_str (authorization), slice_str (subprotocols), slice_str (query)};
    auth_check (&result, keys, NULL, &rules, &request, NOW);
    expect_result (&result, outcome);
    free (authorization);
    free (subprotocols);
    free (query);
}

/* Takes the token. */
static void expect_token (char *token, const char *outcome)
{
    struct jwt_result result;
    auth_check_token (&result, keys, NULL, &rules, slice_str (token), NOW);
    expect_result (&result, outcome);
    free (token);
}

static const char missing[] = "JWT_TOKEN_MISSING: token", format[] = "JWT_FORMAT_INVALID: format";

static void test_missing (void **state)
{
    (void) state;
    expect (NULL, NULL, NULL, missing);
    expect (strdup (""), strdup (""), strdup (""), missing);
    expect (NULL, strdup ("agent_chat, raw"), NULL, missing);
    expect (NULL, strdup (",, ,"), NULL, missing);
    expect (NULL, strdup ("jwt, jwt-auth, bearer, e2e.KEY, e2e-user.U"), NULL, missing);
    expect (text ("Basic %s", alice), NULL, NULL, missing);
    expect (text ("Bearers %s", alice), NULL, NULL, missing);
    expect (text ("Bearer%s", alice), NULL, NULL, missing);
    expect (text ("Bearer=%s", alice), NULL, NULL, missing);
    expect (strdup (alice), NULL, NULL, missing);
    expect (strdup ("Bear"), NULL, NULL, missing);
    expect (NULL, text ("JWT.%s", alice), NULL, missing); /* subprotocols are case-sensitive */
    expect (NULL, text ("agent_chat.jwt.%s", alice), NULL, missing);
}

static void test_authorization (void **state)
{
    (void) state;
    expect (text ("Bearer %s", alice), NULL, NULL, "alice");
    expect (text ("bearer %s", alice), NULL, NULL, "alice");
    expect (text ("BEARER  \t%s ", alice), NULL, NULL, "alice");
    expect (text ("  Bearer %s", alice), NULL, NULL, "alice");
    expect (strdup ("Bearer"), NULL, NULL, format);
    expect (strdup ("Bearer "), NULL, NULL, format);
    expect (text ("Bearer %s x", alice), NULL, NULL, format);
    expect (text ("Bearer %s,Bearer %s", alice, bob), NULL, NULL, format);
    expect (text ("Bearer \"%s\"", alice), NULL, NULL, format);
    expect (text ("Bearer Bearer %s", alice), NULL, NULL, format);
}

static void test_subprotocols (void **state)
{
    (void) state;
    expect (NULL, text ("jwt.%s", alice), NULL, "alice");
    expect (NULL, text ("jwt-auth.%s", alice), NULL, "alice");
    expect (NULL, text ("bearer.%s", alice), NULL, "alice");
    expect (NULL, text ("agent_chat, jwt.%s", alice), NULL, "alice");
    expect (NULL, text ("jwt-auth,\tjwt-auth.%s ,raw", alice), NULL, "alice");
    expect (NULL, text ("jwt.%s,", alice), NULL, "alice");
    expect (NULL, strdup ("jwt."), NULL, format);
    expect (NULL, strdup ("agent_chat,bearer."), NULL, format);
    expect (NULL, text ("jwt.jwt.%s", alice), NULL, format);
    expect (NULL, text ("jwt.%s.x", alice), NULL, format);
}

/* The first source that is there counts, good or bad. */
static void test_precedence (void **state)
{
    (void) state;
    expect (text ("Bearer %s", alice), text ("jwt.%s", bob), strdup (carol), "alice");
    expect (strdup ("Bearer x"), text ("jwt.%s", bob), strdup (carol), format);
    expect (strdup ("Bearer "), text ("jwt.%s", bob), strdup (carol), format);
    expect (strdup ("Basic x"), text ("jwt.%s", bob), strdup (carol), "bob");
    expect (NULL, text ("bearer.%s,jwt-auth.%s,jwt.%s", alice, carol, bob), NULL, "bob");
    expect (NULL, text ("bearer.%s,jwt-auth.%s", alice, carol), NULL, "carol");
    expect (NULL, text ("jwt.%s,jwt.%s", alice, bob), NULL, "alice");
    expect (NULL, text ("jwt.x,jwt.%s", bob), NULL, format);
    expect (NULL, text ("bearer.%s", bob), strdup (carol), "bob");
    expect (NULL, strdup ("raw"), strdup (carol), "carol");
    expect (NULL, NULL, strdup ("x"), format);
}

static void test_wrapped (void **state)
{
    (void) state;
    char *users[] = {alice, bob, carol};
    static const char *const names[] = {"alice", "bob", "carol"};
    for (size_t i = 0; i < COUNT_OF (users); i++) {
        char *padded = b64 (slice_str (users[i])), *bare = b64url (slice_str (users[i]));
        expect_token (strdup (padded), names[i]);
        expect_token (strdup (bare), names[i]);
        expect (NULL, text ("raw, jwt.%s", bare), NULL, names[i]);
        expect (text ("Bearer %s", padded), NULL, NULL, names[i]);
        expect (NULL, NULL, strdup (padded), names[i]);
        free (padded);
        free (bare);
    }
}

/* All three lengths of padding, and padding where none belongs. */
static void test_wrapped_padding (void **state)
{
    (void) state;
    bool seen[3] = {false};
    for (int n = 1; n <= 12; n++) {
        char *user = text ("%0*d", n, 7);
        char *payload = text ("{\"sub\":\"%s\",\"exp\":1700000600}", user);
        char *token = make_token (HEADER, payload);
        char *padded = b64 (slice_str (token));
        size_t bare = strcspn (padded, "=");
        seen[strlen (padded) - bare] = true;
        expect_token (strdup (padded), user);
        expect_token (strndup (padded, bare), user);
        expect_token (text ("%.*s===", (int) bare, padded), format);
        expect_token (text ("%s=", padded), format);
        expect_token (text ("=%s", padded), format);
        if (strlen (padded) - bare == 2)
            expect_token (text ("%.*s=", (int) bare, padded), format);
        free (padded);
        free (token);
        free (payload);
        free (user);
    }
    assert_true (seen[0] && seen[1] && seen[2]);
}

static void test_wrapped_garbage (void **state)
{
    (void) state;
    static const char *const rows[] = {"",    "=",  "==",  "====", "A",       "AA==", "+/+/", "-_-_", "+_+_",
                                       "e30", "Lg", "Li4", "Li4u", "YS5iLmM", "AA=A", "A===", "\n",   "Y S5i"};
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        expect_token (strdup (rows[i]), format);
    expect_token (text ("%s ", alice), format);
    expect_token (text (" %s", alice), format);
}

/* What the unwrapping relies on: no three characters of a JWS give a `+`, `/`, `-` or `_` in base64. */
static void test_alphabets_agree (void **state)
{
    (void) state;
    static const char jws[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    for (const char *a = jws; *a; a++)
        for (const char *b = jws; *b; b++)
            for (const char *c = jws; *c; c++) {
                const unsigned char three[] = {(unsigned char) *a, (unsigned char) *b, (unsigned char) *c};
                unsigned char four[5];
                EVP_EncodeBlock (four, three, 3);
                assert_null (strpbrk ((char *) four, "+/"));
            }
}

static void test_unwrapped_once (void **state)
{
    (void) state;
    char *once = b64url (slice_str (alice)), *twice = b64url (slice_str (once));
    expect_token (once, "alice");
    expect_token (twice, format);
    char *prefixed = text ("jwt.%s", alice);
    expect_token (b64url (slice_str (prefixed)), format);
    free (prefixed);
}

/* A token whose own form has `n` bytes, or one that is a little longer. */
static char *token_of_size (size_t n)
{
    for (int fill = (int) (n / 4 * 3) - 200;; fill++) {
        char *payload = text ("{\"sub\":\"alice\",\"exp\":1700000600%*s}", fill, "");
        char *token = make_token (HEADER, payload);
        free (payload);
        if (strlen (token) >= n)
            return token;
        free (token);
    }
}

static void test_wrapped_size (void **state)
{
    (void) state;
    char *good = token_of_size (16 * 1024 - 4), *bad = token_of_size (16 * 1024 + 1), *huge = token_of_size (100000);
    assert_true (strlen (good) <= 16 * 1024);
    expect_token (b64 (slice_str (good)), "alice");
    expect_token (b64url (slice_str (good)), "alice");
    expect_token (good, "alice");
    expect_token (b64 (slice_str (bad)), format);
    expect_token (bad, format);
    expect_token (b64url (slice_str (huge)), format);
    expect_token (huge, format);
}

/* Everything jwt_verify() finds comes through. */
static void test_other_errors (void **state)
{
    (void) state;
    expect_token (make_token (HEADER, "{\"sub\":\"a\",\"exp\":1}"), "TOKEN_EXPIRED: claims: exp");
    expect_token (make_token (HEADER, "{\"sub\":\"a\",\"exp\":1700000600,\"nbf\":1700000600}"),
                  "TOKEN_NOT_YET_VALID: claims: nbf");
    expect_token (make_token (HEADER, "{\"exp\":1700000600}"), "MISSING_USER_ID: claims: user");
    expect_token (make_token ("{\"alg\":\"none\"}", PAYLOAD ("a")), "VALIDATION_FAILED: algorithm");
    struct jwt_result result;
    auth_check_token (&result, NULL, NULL, &rules, slice_str (alice), NOW);
    expect_result (&result, "AUTH_KEYS_UNAVAILABLE: key");
}

/* --- tokens that are known ----------------------------------------------------------------------------------- */

static struct token_cache cache;

static int cache_up (void **state)
{
    (void) state;
    metrics_reset ();
    token_cache_init (&cache);
    return 0;
}

static int cache_down (void **state)
{
    (void) state;
    token_cache_fini (&cache);
    return 0;
}

#define CACHE_TEST(function) cmocka_unit_test_setup_teardown (function, cache_up, cache_down)

static void expect_cached (const struct keys *under, const struct jwt_rules *by, const char *token, double now,
                           const char *outcome)
{
    struct jwt_result result;
    auth_check_token (&result, under, &cache, by, slice_str (token), now);
    expect_result (&result, outcome);
}

static void expect_hits (double wanted)
{
    assert_true (metric_get (M_TOKEN_CACHE_HITS, 0) == wanted);
}

/* Without keys a token is good only when it is known. */
static void test_known (void **state)
{
    (void) state;
    char *wrapped = b64 (slice_str (alice));
    expect_cached (NULL, &rules, alice, NOW, "AUTH_KEYS_UNAVAILABLE: key");
    expect_cached (keys, &rules, alice, NOW, "alice");
    expect_hits (0);
    expect_cached (NULL, &rules, alice, NOW, "alice");
    expect_cached (NULL, &rules, alice, NOW, "alice"); /* results may be freed, what is kept stays */
    expect_hits (2);
    expect_cached (NULL, &rules, bob, NOW, "AUTH_KEYS_UNAVAILABLE: key");
    expect_cached (NULL, &rules, wrapped, NOW, "AUTH_KEYS_UNAVAILABLE: key"); /* bytes as they were presented */
    expect_cached (keys, &rules, wrapped, NOW, "alice");
    expect_cached (NULL, &rules, wrapped, NOW, "alice");
    expect_hits (3);
    free (wrapped);
}

static void test_known_by_every_source (void **state)
{
    (void) state;
    char *header = text ("Bearer %s", alice), *entries = text ("agent_chat, jwt.%s", alice);
    const struct auth_request requests[] = {{.authorization = slice_str (header)},
                                            {.subprotocols = slice_str (entries)},
                                            {.query_token = slice_str (alice)}};
    for (size_t i = 0; i < COUNT_OF (requests); i++) {
        struct jwt_result result;
        auth_check (&result, keys, &cache, &rules, &requests[i], NOW);
        expect_result (&result, "alice");
        expect_hits ((double) i);
    }
    free (header);
    free (entries);
}

static void test_bad_ones_are_not_kept (void **state)
{
    (void) state;
    char *forged = strdup (alice), *late = make_token (HEADER, "{\"sub\":\"alice\",\"exp\":1700000000}");
    char *nobody = make_token (HEADER, "{\"exp\":1700000600}");
    size_t n = strlen (forged);
    forged[n - 2] = forged[n - 2] == 'A' ? 'B' : 'A';
    for (int i = 0; i < 2; i++) {
        expect_cached (keys, &rules, forged, NOW, "VALIDATION_FAILED: signature");
        expect_cached (keys, &rules, late, NOW + 30, "TOKEN_EXPIRED: claims: exp");
        expect_cached (keys, &rules, nobody, NOW, "MISSING_USER_ID: claims: user");
        expect_cached (keys, &rules, "", NOW, format);
        expect_cached (keys, &rules, "x", NOW, format);
    }
    expect_hits (0);
    assert_int_equal (cache.kept, 0);
    free (forged);
    free (late);
    free (nobody);
}

/* The claims are judged by the clock and the rules of the moment: of a kept token as of any other. */
static void test_judged_anew (void **state)
{
    (void) state;
    static const struct jwt_rules strict = {.user_claim = "sub", .require_exp = true},
                                  issuer = {.user_claim = "sub", .issuer = "you"},
                                  audience = {.user_claim = "sub", .audience = "x"},
                                  email = {.user_claim = "email", .issuer = "me", .audience = "y"},
                                  name = {.user_claim = "name"};
    static const struct {
        const struct jwt_rules *rules;
        double now;
        const char *outcome;
    } cases[] = {
        {&rules, NOW, "alice"},
        {&rules, NOW + 2 + 29.75, "alice"},
        {&rules, NOW + 2 + 30, "TOKEN_EXPIRED: claims: exp"}, /* within the time that it is kept for */
        {&strict, NOW + 1.75, "alice"},
        {&strict, NOW + 2, "TOKEN_EXPIRED: claims: exp"},
        {&rules, NOW - 60 - 30, "alice"}, /* the clock is set back */
        {&rules, NOW - 60 - 30.25, "TOKEN_NOT_YET_VALID: claims: nbf"},
        {&issuer, NOW, "VALIDATION_FAILED: claims: iss"},
        {&audience, NOW, "VALIDATION_FAILED: claims: aud"},
        {&email, NOW, "a@b.example"},
        {&name, NOW, "MISSING_USER_ID: claims: user"},
        {&rules, NOW, "alice"},
    };
    char *token = make_token (HEADER, "{\"sub\":\"alice\",\"exp\":1700000002,\"nbf\":1699999940,\"iss\":\"me\","
                                      "\"aud\":[\"y\"],\"email\":\"a@b.example\"}");
    expect_cached (keys, &rules, token, NOW, "alice");
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        expect_cached (NULL, cases[i].rules, token, cases[i].now, cases[i].outcome);
        expect_hits ((double) i + 1);
    }
    free (token);
}

/* What the runtime is told of a kept token is what it was told before. */
static void test_known_has_everything (void **state)
{
    (void) state;
    for (int i = 0; i < 2; i++) {
        struct jwt_result result;
        auth_check_token (&result, i ? NULL : keys, &cache, &rules, slice_str (alice), NOW);
        assert_int_equal (result.error, ERROR_NONE);
        assert_int_equal (result.expires, 1700000600);
        char *claims = json_dumps (result.claims, JSON_COMPACT);
        assert_string_equal (claims, PAYLOAD ("alice"));
        free (claims);
        jwt_result_fini (&result);
    }
    expect_hits (1);
}

static void test_secret_entries (void **state)
{
    (void) state;
    static const char *const secret[] = {"jwt.x",      "jwt-auth.x", "bearer.x", "e2e.x",
                                         "e2e-user.x", "jwt.",       "e2e.",     "Bearer.x"};
    static const char *const open[] = {"jwt",        "jwt-auth",           "bearer", "e2e", "e2e-testing",
                                       "agent_chat", "agent_chat.msgpack", "raw",    "",    "jwt_x",
                                       "xjwt.x",     "e2e-users.x"};
    for (size_t i = 0; i < COUNT_OF (secret); i++)
        assert_true (auth_is_secret_entry (slice_str (secret[i])));
    for (size_t i = 0; i < COUNT_OF (open); i++)
        assert_false (auth_is_secret_entry (slice_str (open[i])));
    assert_false (auth_is_secret_entry (slice_of (NULL, 0)));
    assert_false (auth_is_secret_entry (slice_of ("jwt.x", 3)));
}

static void test_valid_user (void **state)
{
    (void) state;
    static const struct {
        struct slice user;
        bool valid;
    } rows[] = {
        {{"a", 1}, true},
        {{"a b", 3}, true},
        {{"\xc2\xa0", 2}, true},
        {{"\xef\xbf\xbf", 3}, true},
        {{"\xf4\x8f\xbf\xbf", 4}, true},
        {{"", 0}, false},
        {{NULL, 0}, false},
        {{"\0", 1}, false},
        {{"a\0b", 3}, false},
        {{"\x1f", 1}, false},
        {{"\x7f", 1}, false},
        {{"a\n", 2}, false},
        {{"\xc2\x80", 2}, false},
        {{"\xc2\x9f", 2}, false},
        {{"\x9f", 1}, false},
        {{"\xff", 1}, false},
        {{"\xc0\x80", 2}, false},
        {{"\xed\xa0\x80", 3}, false},
        {{"\xc3", 1}, false},
        {{"\xf4\x90\x80\x80", 4}, false},
    };
    char x[129];
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        assert_int_equal (ident_is_user (rows[i].user), rows[i].valid);
    memset (x, 'x', sizeof x);
    assert_true (ident_is_user (slice_of (x, 128)));
    assert_false (ident_is_user (slice_of (x, 129)));
    memcpy (x + 126, "\xe2\x82\xac", 3); /* cut in the middle of a character */
    assert_false (ident_is_user (slice_of (x, 128)));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_missing),         cmocka_unit_test (test_authorization),
        cmocka_unit_test (test_subprotocols),    cmocka_unit_test (test_precedence),
        cmocka_unit_test (test_wrapped),         cmocka_unit_test (test_wrapped_padding),
        cmocka_unit_test (test_wrapped_garbage), cmocka_unit_test (test_alphabets_agree),
        cmocka_unit_test (test_unwrapped_once),  cmocka_unit_test (test_wrapped_size),
        cmocka_unit_test (test_other_errors),    cmocka_unit_test (test_secret_entries),
        cmocka_unit_test (test_valid_user),      CACHE_TEST (test_known),
        CACHE_TEST (test_known_by_every_source), CACHE_TEST (test_bad_ones_are_not_kept),
        CACHE_TEST (test_judged_anew),           CACHE_TEST (test_known_has_everything),
    };
    return cmocka_run_group_tests (tests, set_up, tear_down);
}
