/* What probes read: exact documents, and the status for each check that fails. */
#include "handshake_fixture.h"
#include "core/health.h"
#include "core/subprotocol.h"
#include "version.h"

static int teardown (void **state)
{
    (void) state;
    hub_down ();
    return 0;
}

static int setup (void **state)
{
    (void) state;
    HUB_UP ("--environment", "staging");
    return 0;
}

/* The document of health_write() or health_write_ready(), parsed; its status in *status. */
static json_t *document (int (*write) (const struct hub *, struct buf *), int *status)
{
    struct buf out;
    json_error_t error;
    buf_init (&out, 0);
    *status = write (&hub, &out);
    assert_false (out.failed);
    assert_int_equal (out.p[out.n - 1], '\n');
    json_t *value = json_loadb ((char *) out.p, out.n, JSON_REJECT_DUPLICATES, &error);
    assert_non_null (value);
    buf_fini (&out);
    return value;
}

static void expect_json (const json_t *value, const char *wanted)
{
    char *got = json_dumps (value, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal (got, wanted);
    free (got);
}

static void expect_keys (const json_t *object, const char *wanted)
{
    struct buf out;
    const char *key;
    json_t *value;
    buf_init (&out, 0);
    json_object_foreach ((json_t *) object, key, value) buf_printf (&out, "%s%s", out.n ? "," : "", key);
    assert_true (slice_is (buf_slice (&out), wanted));
    buf_fini (&out);
}

static void test_keys (void **state)
{
    (void) state;
    int status;
    json_t *health = document (health_write, &status);
    expect_keys (health, "status,timestamp,environment,version,uptime_s,checks,metrics,config,e2e_testing");
    expect_keys (json_object_get (health, "checks"), "runtime_commands,runtime_events,auth_keys,accepting,engine");
    expect_keys (json_object_get (health, "metrics"),
                 "active_connections,total_connections,active_users,active_runs,error_rate");
    expect_keys (json_object_get (health, "config"), "pre_connection_auth_required,subprotocols");
    expect_keys (json_object_get (health, "e2e_testing"), "enabled,auth_bypass_active");
    json_decref (health);
}

static void test_values (void **state)
{
    (void) state;
    int status;
    hub.started_at = clock_now () - 5 * S_NS;
    json_t *health = document (health_write, &status);
    assert_int_equal (status, 200);
    expect_json (json_object_get (health, "status"), "\"healthy\"");
    expect_json (json_object_get (health, "environment"), "\"staging\"");
    expect_json (json_object_get (health, "version"), "\"" AGENTBRIDGE_VERSION "\"");
    expect_json (json_object_get (health, "uptime_s"), "5.0");
    assert_true (json_real_value (json_object_get (health, "timestamp")) == clock_wall ());
    expect_json (json_object_get (health, "checks"), "{\"runtime_commands\":true,\"runtime_events\":true,"
                                                     "\"auth_keys\":true,\"accepting\":true,\"engine\":true}");
    expect_json (json_object_get (health, "metrics"), "{\"active_connections\":0,\"total_connections\":0,"
                                                      "\"active_users\":0,\"active_runs\":0,\"error_rate\":0.0}");
    expect_json (json_object_get (health, "e2e_testing"), "{\"enabled\":false,\"auth_bypass_active\":false}");
    json_t *subprotocols = json_object_get (json_object_get (health, "config"), "subprotocols");
    assert_int_equal (json_array_size (subprotocols), SUBPROTOCOL_COUNT);
    for (int i = 0; i < SUBPROTOCOL_COUNT; i++)
        assert_string_equal (json_string_value (json_array_get (subprotocols, (size_t) i)),
                             subprotocol_token ((enum subprotocol) i));
    json_decref (health);
}

/* Where a key makes the bypass usable, whoever looks can see it; the key is not shown. */
static void test_bypass (void **state)
{
    (void) state;
    int status;
    hub_down ();
    HUB_UP ("--environment", "staging", "--e2e-bypass-key", "0123456789abcdef");
    struct buf out;
    buf_init (&out, 0);
    json_t *health = document (health_write, &status);
    expect_json (json_object_get (health, "e2e_testing"), "{\"enabled\":true,\"auth_bypass_active\":true}");
    health_write (&hub, &out);
    assert_null (memmem (out.p, out.n, "0123456789abcdef", 16));
    json_decref (health);
    buf_fini (&out);
}

/* --- checks -------------------------------------------------------------------------------------------------- */

static struct keys no_keys;

static const struct {
    bool lane[2], events, keys, accepting;
    const char *status;
    int http;
    const char *checks, *reasons;
} check_cases[] = {
    {{true, true}, true, true, true, "healthy", 200, "true,true,true,true", "[]"},
    {{true, false}, true, true, true, "healthy", 200, "true,true,true,true", "[]"},
    {{false, true}, true, true, true, "healthy", 200, "true,true,true,true", "[]"},
    {{false, false}, true, true, true, "degraded", 200, "false,true,true,true", "[\"no command link to the runtime\"]"},
    {{true, true}, false, true, true, "degraded", 200, "true,false,true,true", "[\"no event link to the runtime\"]"},
    {{true, true}, true, false, true, "unhealthy", 503, "true,true,false,true", "[\"no token keys\"]"},
    {{true, true}, true, true, false, "unhealthy", 503, "true,true,true,false", "[\"draining\"]"},
    {{false, false},
     false,
     false,
     false,
     "unhealthy",
     503,
     "false,false,false,false",
     "[\"no token keys\",\"no command link to the runtime\",\"no event link to the runtime\",\"draining\"]"},
};

static void set_checks (size_t i)
{
    memcpy (links.lane, check_cases[i].lane, sizeof links.lane);
    links.events = check_cases[i].events;
    hub.keys = check_cases[i].keys ? keys : &no_keys;
    hub.draining = !check_cases[i].accepting;
}

static void test_health_checks (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (check_cases); i++) {
        static const char *const names[] = {"runtime_commands", "runtime_events", "auth_keys", "accepting"};
        struct buf got;
        int status;
        set_checks (i);
        json_t *health = document (health_write, &status), *checks = json_object_get (health, "checks");
        assert_int_equal (status, check_cases[i].http);
        assert_string_equal (json_string_value (json_object_get (health, "status")), check_cases[i].status);
        buf_init (&got, 0);
        for (size_t k = 0; k < COUNT_OF (names); k++)
            buf_printf (&got, "%s%s", k ? "," : "",
                        json_is_true (json_object_get (checks, names[k])) ? "true" : "false");
        assert_true (slice_is (buf_slice (&got), check_cases[i].checks));
        assert_true (json_is_true (json_object_get (checks, "engine")));
        buf_fini (&got);
        json_decref (health);
    }
}

static void test_ready (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (check_cases); i++) {
        int status;
        set_checks (i);
        json_t *ready = document (health_write_ready, &status);
        bool good = strcmp (check_cases[i].reasons, "[]") == 0;
        assert_int_equal (status, good ? 200 : 503);
        expect_keys (ready, "ready,reasons");
        expect_json (json_object_get (ready, "ready"), good ? "true" : "false");
        expect_json (json_object_get (ready, "reasons"), check_cases[i].reasons);
        json_decref (ready);
    }
}

static void test_no_keys_at_all (void **state)
{
    (void) state;
    int status;
    hub.keys = NULL;
    json_decref (document (health_write, &status));
    assert_int_equal (status, 503);
    json_decref (document (health_write_ready, &status));
    assert_int_equal (status, 503);
}

/* --- numbers ------------------------------------------------------------------------------------------------- */

static void expect_numbers (const char *wanted)
{
    int status;
    json_t *health = document (health_write, &status);
    expect_json (json_object_get (health, "metrics"), wanted);
    json_decref (health);
}

/* Connections count from processing_ready to degraded, not while they come or go. */
static void test_connections (void **state)
{
    (void) state;
    for (unsigned i = 0; i < CONN_STATE_COUNT; i++)
        metric_set (M_CONNECTIONS, i, 1u << i);
    unsigned live = 1u << CONN_processing_ready | 1u << CONN_processing | 1u << CONN_idle | 1u << CONN_degraded;
    char *wanted = text ("{\"active_connections\":%u,\"total_connections\":0,\"active_users\":0,\"active_runs\":0,"
                         "\"error_rate\":0.0}",
                         live);
    expect_numbers (wanted);
    free (wanted);
}

static void test_numbers (void **state)
{
    (void) state;
    metric_set (M_HANDSHAKES, 0, 6);
    for (unsigned code = 0; code < ERROR_CODE_COUNT; code++)
        metric_set (M_HANDSHAKES, 1 + code, code == ERROR_JWT_TOKEN_MISSING || code == ERROR_DRAINING ? 1 : 0);
    metric_set (M_RUNS_ACTIVE, 0, 3);
    hub.registry.users_connected = 4;
    expect_numbers ("{\"active_connections\":0,\"total_connections\":6,\"active_users\":4,\"active_runs\":3,"
                    "\"error_rate\":0.25}");
    hub.registry.users_connected = 0;
}

/* Every refusal counts, and nothing but refusals gives 1. */
static void test_error_rate (void **state)
{
    (void) state;
    for (unsigned code = 0; code < ERROR_CODE_COUNT; code++) {
        metrics_reset ();
        metric_set (M_HANDSHAKES, 1 + code, 3);
        expect_numbers ("{\"active_connections\":0,\"total_connections\":0,\"active_users\":0,\"active_runs\":0,"
                        "\"error_rate\":1.0}");
    }
}

/* Neither document says who is there. */
static void test_nothing_private (void **state)
{
    (void) state;
    int status;
    char *token = token_of ("{\"sub\":\"alice-in-wonderland\",\"exp\":" EXP "}");
    struct conn *conn = admit (text (HEAD ("/ws", "Authorization: Bearer %s\r\n"), token));
    assert_true (conn_move (conn, CONN_accepted) && conn_move (conn, CONN_authenticated));
    json_t *documents[] = {document (health_write, &status), document (health_write_ready, &status)};
    for (size_t i = 0; i < COUNT_OF (documents); i++) {
        char *all = json_dumps (documents[i], 0);
        assert_null (strstr (all, "wonderland"));
        assert_null (strstr (all, conn->id));
        assert_null (strstr (all, SECRET));
        assert_null (strstr (all, token));
        free (all);
        json_decref (documents[i]);
    }
    expect_numbers ("{\"active_connections\":0,\"total_connections\":0,\"active_users\":1,\"active_runs\":0,"
                    "\"error_rate\":0.0}");
    drop (conn);
    free (token);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, setup, teardown)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_keys),    TEST (test_values),         TEST (test_health_checks),
        TEST (test_ready),   TEST (test_no_keys_at_all), TEST (test_connections),
        TEST (test_numbers), TEST (test_error_rate),     TEST (test_nothing_private),
        TEST (test_bypass),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
