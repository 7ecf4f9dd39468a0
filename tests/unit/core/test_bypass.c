/* The bypass for tests of a deployment: who comes in by it, who does not, and that it does nothing to tokens. */
#include "core/bypass.h"
#include "handshake_fixture.h"

#define KEY   "0123456789abcdef-key"
#define SENDS "X-E2E-Bypass-Key: " KEY "\r\n"
#define ALICE "X-E2E-User-ID: alice\r\n"

static const char bad_key[] = "VALIDATION_FAILED: bypass: key", bad_user[] = "MISSING_USER_ID: bypass: user",
                  off[] = "JWT_TOKEN_MISSING: token (the bypass is off)", missing[] = "JWT_TOKEN_MISSING: token";

static double used (void)
{
    return metric_get (M_AUTH_BYPASS, 0);
}

/* `outcome` is the user, or "CODE: check" as logged. */
static void expect (const char *headers, const char *outcome)
{
    char check[128];
    struct conn *conn = admit (text (HEAD ("/ws", "%s"), headers));
    if (conn->refusal == ERROR_NONE) {
        struct slice user = user_id (conn->user);
        assert_true (slice_is (user, outcome));
    } else {
        const char *colon = strstr (outcome, ": ");
        assert_non_null (colon);
        assert_true (slice_is (slice_of (outcome, (size_t) (colon - outcome)), error_info (conn->refusal)->code));
        snprintf (check, sizeof check, "\"check\":\"%s\"", colon + 2);
        assert_true (log_has (check));
    }
    drop (conn);
}

static void bypass_up (void)
{
    HUB_UP ("--e2e-bypass-key", KEY);
    log_set_level (LOG_LEVEL_DEBUG);
}

/* Each with a hub of its own, so that the log is one line and its budget lasts. */
static void test_cases (void **state)
{
    static const struct {
        const char *headers, *outcome;
    } cases[] = {
        {SENDS ALICE, "alice"},
        {"x-e2e-bypass-key:\t" KEY " \r\nx-e2e-user-id:alice\r\n", "alice"},
        {"Sec-WebSocket-Protocol: e2e-testing, e2e." KEY ", e2e-user.alice\r\n", "alice"},
        {SENDS "Sec-WebSocket-Protocol: e2e-user.alice\r\n", "alice"},
        {ALICE "Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: e2e." KEY "\r\n", "alice"},
        {"Sec-WebSocket-Protocol: e2e." KEY ", e2e-user.al%40ex%2Cample\r\n", "al@ex,ample"},
        {SENDS "X-E2E-User-ID: al%40\r\n", "al%40"},
        {SENDS ALICE "Authorization: Basic eDp5\r\n", "alice"},
        /* the header counts before the entry, the first entry before the others */
        {SENDS ALICE "Sec-WebSocket-Protocol: e2e.wrong, e2e-user.bob\r\n", "alice"},
        {"X-E2E-Bypass-Key: x\r\n" ALICE "Sec-WebSocket-Protocol: e2e." KEY "\r\n", bad_key},
        {ALICE "Sec-WebSocket-Protocol: e2e.x, e2e." KEY "\r\n", bad_key},
        /* keys */
        {ALICE "X-E2E-Bypass-Key:\r\n", bad_key},
        {ALICE "X-E2E-Bypass-Key: " KEY "x\r\n", bad_key},
        {ALICE "X-E2E-Bypass-Key: 0123456789abcdef-ke\r\n", bad_key},
        {ALICE "X-E2E-Bypass-Key: 0123456789ABCDEF-KEY\r\n", bad_key},
        {ALICE SENDS SENDS, bad_key},
        {ALICE "Sec-WebSocket-Protocol: e2e.\r\n", bad_key},
        {"X-E2E-Bypass-Key: x\r\n", bad_key},
        /* users */
        {SENDS, bad_user},
        {SENDS "X-E2E-User-ID:\r\n", bad_user},
        {SENDS ALICE ALICE, bad_user},
        {SENDS ALICE "X-E2E-User-ID: bob\r\n", bad_user},
        {SENDS "X-E2E-User-ID: a\xff\r\n", bad_user},
        {SENDS "X-E2E-User-ID: a\tb\r\n", bad_user},
        {SENDS "Sec-WebSocket-Protocol: e2e-user.\r\n", bad_user},
        {SENDS "Sec-WebSocket-Protocol: e2e-user.a%\r\n", bad_user},
        {SENDS "Sec-WebSocket-Protocol: e2e-user.a%00b\r\n", bad_user},
        {SENDS "Sec-WebSocket-Protocol: e2e-user.a%0Ab\r\n", bad_user},
        {SENDS "Sec-WebSocket-Protocol: e2e-user.%ff\r\n", bad_user},
        /* none asked for */
        {ALICE, missing},
        {"Sec-WebSocket-Protocol: e2e-testing, e2e-user.alice\r\n", missing},
        {"Sec-WebSocket-Protocol: E2E." KEY ", e2e-user.alice\r\n", missing},
        {"Cookie: X-E2E-Bypass-Key=" KEY "\r\n" ALICE, missing},
        {"X-E2E-Bypass: " KEY "\r\n" ALICE, missing},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        bypass_up ();
        expect (cases[i].headers, cases[i].outcome);
        bool in = !strstr (cases[i].outcome, ": ");
        assert_int_equal (log_has ("AUTH_BYPASS_USED"), in);
        assert_true (used () == in);
        assert_false (log_has (KEY));
        hub_down ();
    }
}

static void test_user_of_any_length (void **state)
{
    char id[130], *headers;
    (void) state;
    memset (id, 'u', sizeof id);
    for (size_t n = 128; n <= 129; n++) {
        bypass_up ();
        id[n] = '\0';
        headers = text (SENDS "X-E2E-User-ID: %s\r\n", id);
        expect (headers, n == 128 ? id : bad_user);
        id[n] = 'u';
        free (headers);
        hub_down ();
    }
}

/* A token counts before the bypass: a good one is its user, a bad one is not saved. */
static void test_with_a_token (void **state)
{
    char *token = token_of ("{\"sub\":\"bob\",\"exp\":" EXP "}"), *old = token_of ("{\"sub\":\"bob\",\"exp\":1}");
    char *cases[][2] = {
        {text (SENDS ALICE "Authorization: Bearer %s\r\n", token), "bob"},
        {text ("X-E2E-Bypass-Key: x\r\n" ALICE "Authorization: Bearer %s\r\n", token), "bob"},
        {text (SENDS ALICE "Sec-WebSocket-Protocol: bearer.%s\r\n", token), "bob"},
        {text (SENDS ALICE "Authorization: Bearer %s\r\n", old), "TOKEN_EXPIRED: claims: exp"},
        {text (SENDS ALICE "Authorization: Bearer %sx\r\n", token), "VALIDATION_FAILED: signature"},
        {text (SENDS ALICE "Authorization: Bearer\r\n"), "JWT_FORMAT_INVALID: format"},
        {text (SENDS ALICE "Authorization: Bearer " KEY "\r\n"), "JWT_FORMAT_INVALID: format"},
        {text (SENDS ALICE "Sec-WebSocket-Protocol: jwt.x\r\n"), "JWT_FORMAT_INVALID: format"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        bypass_up ();
        expect (cases[i][0], cases[i][1]);
        assert_false (log_has ("AUTH_BYPASS_USED"));
        assert_true (used () == 0);
        free (cases[i][0]);
        hub_down ();
    }
    free (token);
    free (old);
}

/* Without a key there is no bypass, not even for an empty one. */
static void test_off (void **state)
{
    static const char *const asks[] = {SENDS ALICE, "X-E2E-Bypass-Key:\r\n" ALICE,
                                       "Sec-WebSocket-Protocol: e2e.,e2e-user.alice\r\n"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (asks); i++) {
        HUB_UP ();
        log_set_level (LOG_LEVEL_DEBUG);
        assert_false (bypass_enabled (&(struct config){.e2e_bypass_key = "", .environment = "test"}));
        expect (asks[i], off);
        assert_true (used () == 0);
        hub_down ();
    }
}

/* The configuration keeps the key out of production; were it there all the same, it would open nothing. */
static void test_production_looks_again (void **state)
{
    (void) state;
    bypass_up ();
    assert_true (bypass_enabled (config));
    free (config->environment);
    config->environment = strdup ("production");
    assert_false (bypass_enabled (config));
    expect (SENDS ALICE, off);
    struct request request = request_of (HEAD ("/ws", SENDS ALICE));
    struct jwt_result result;
    bypass_check (&result, config, &request, slice_str (""));
    assert_int_equal (result.error, ERROR_VALIDATION_FAILED);
    assert_true (used () == 0);
    hub_down ();
}

static void expect_claims (char *claim, const char *expected)
{
    HUB_UP ("--e2e-bypass-key", KEY, "--jwt-user-claim", claim);
    struct request request = request_of (HEAD ("/ws", SENDS ALICE));
    struct jwt_result result;
    bypass_check (&result, config, &request, slice_str (""));
    char *claims = json_dumps (result.claims, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal (claims, expected);
    assert_int_equal (result.expires, 0);
    free (claims);
    jwt_result_fini (&result);
    hub_down ();
}

static void test_claims (void **state)
{
    (void) state;
    expect_claims ("sub", "{\"e2e_bypass\":true,\"sub\":\"alice\"}");
    expect_claims ("uid", "{\"e2e_bypass\":true,\"uid\":\"alice\"}");
    expect_claims ("e2e_bypass", "{\"e2e_bypass\":true}");
}

/* What holds for tokens holds for the bypass too. */
static void test_limits (void **state)
{
    (void) state;
    HUB_UP ("--e2e-bypass-key", KEY, "--max-connections-per-user", "1");
    log_set_level (LOG_LEVEL_DEBUG);
    struct conn *conn = admit (strdup (HEAD ("/ws", SENDS ALICE)));
    assert_true (conn->refusal == ERROR_NONE && conn_move (conn, CONN_accepted) &&
                 conn_move (conn, CONN_authenticated));
    expect (SENDS ALICE, "USER_CONNECTION_LIMIT: ");
    expect (SENDS ALICE "Origin: https://evil.example\r\n", "ORIGIN_DENIED: ");
    hub.draining = true;
    expect (SENDS ALICE, "DRAINING: ");
    drop (conn);
    hub_down ();
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_cases),        cmocka_unit_test (test_user_of_any_length),
        cmocka_unit_test (test_with_a_token), cmocka_unit_test (test_off),
        cmocka_unit_test (test_claims),       cmocka_unit_test (test_production_looks_again),
        cmocka_unit_test (test_limits),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
