/* The document of the status page: every section of a known situation, and what the timer and production change. */
#include "core/status.h"
#include "base/log.h"
#include "hub_fixture.h"

#define STARTED(id) "{\"type\":\"agent_started\",\"run_id\":\"" id "\"}"
#define ENDED(id)   "{\"type\":\"agent_completed\",\"run_id\":\"" id "\"}"

static struct status *status;

static int status_up (void **state)
{
    fixture_up (state);
    status = status_new (&fx.hub, &fx.hub.wheel, (struct status_try){.port = 8081, .tls = true});
    assert_non_null (status);
    return 0;
}

static int status_down (void **state)
{
    status_destroy (&status);
    assert_null (status);
    return fixture_down (state);
}

/* The text; valid until the next call. */
static const char *written (void)
{
    static char *text;
    struct buf out;
    buf_init (&out, 0);
    status_write (status, 0, &out);
    free (text);
    text = buf_steal_str (&out);
    assert_non_null (text);
    return text;
}

/* What stands at `path` (keys joined by points), as compact JSON. */
static void expect (const char *path, const char *wanted)
{
    json_t *document = json_loads (written (), JSON_REJECT_DUPLICATES, NULL), *value = document;
    struct slice rest = slice_str (path), key;
    assert_non_null (document);
    while (rest.n) {
        if (!slice_cut (&rest, '.', &key)) {
            key = rest;
            rest.n = 0;
        }
        value = json_object_get (value, form ("%.*s", (int) key.n, key.p));
    }
    char *got = value ? json_dumps (value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (!got || strcmp (got, wanted) != 0)
        fail_msg ("%s is %s, not %s", path, got ? got : "missing", wanted);
    free (got);
    json_decref (document);
}

static void test_sections (void **state)
{
    (void) state;
    static const char *const keys[] = {"bridge",  "health",  "connections", "events", "latency", "runs", "queues",
                                       "history", "runtime", "auth",        "log",    "config",  "try",  "recent"};
    json_t *document = json_loads (written (), JSON_REJECT_DUPLICATES, NULL), *value;
    const char *key;
    size_t n = 0;
    json_object_foreach (document, key, value)
    {
        assert_true (n < COUNT_OF (keys));
        assert_string_equal (key, keys[n++]);
    }
    assert_int_equal (n, COUNT_OF (keys));
    json_decref (document);
}

static void test_health (void **state)
{
    (void) state;
    expect ("health", "{\"status\":\"healthy\",\"readyz\":{\"ready\":true,\"reasons\":[]}}");
    fx.lane_up[0] = false;
    expect ("health", "{\"status\":\"degraded\",\"readyz\":{\"ready\":false,\"reasons\":["
                      "\"no command link to the runtime\"]}}");
    fx.lane_up[0] = true;
    fx.hub.draining = true;
    expect ("health", "{\"status\":\"unhealthy\",\"readyz\":{\"ready\":false,\"reasons\":[\"draining\"]}}");
}

static void test_runtime (void **state)
{
    (void) state;
    free (fx.config->runtime_commands);
    fx.config->runtime_commands = strdup (">ipc://a, @ipc://b,>ipc://c");
    fx.lanes = 2;
    fx.lane_up[1] = true;
    fx.lane_up[0] = false;
    expect ("runtime.commands", "[{\"endpoint\":\">ipc://a\",\"up\":false},{\"endpoint\":\"@ipc://b\",\"up\":true},"
                                "{\"endpoint\":\">ipc://c\",\"up\":false}]");
    expect ("runtime.events_up", "true");
}

static struct run *first_run (const char *user)
{
    struct user *owner = registry_user (&fx.hub.registry, slice_str (user));
    return LIST_ENTRY (owner->runs.open.next, struct run, link);
}

static void test_runs_by_age (void **state)
{
    (void) state;
    static const struct {
        const char *user;
        int64_t age_s;
    } runs[] = {{"a", 9}, {"b", 10}, {"c", 299}, {"d", 3600}, {"e", 999999}};
    for (size_t i = 0; i < COUNT_OF (runs); i++) {
        emit (runs[i].user, STARTED ("r"));
        first_run (runs[i].user)->began -= runs[i].age_s * S_NS;
    }
    run_set_stalled (first_run ("e"));
    expect ("runs.ages",
            "{\"under_10s\":1,\"under_1m\":1,\"under_5m\":1,\"under_15m\":0,\"under_1h\":0,\"over_1h\":2}");
    expect ("runs.active", "5");
    expect ("runs.stalled", "1");
    expect ("runs.looked_at", "5");
    for (size_t i = 0; i < COUNT_OF (runs); i++)
        emit (runs[i].user, ENDED ("r"));
    expect ("runs.ended", "{\"completed\":5,\"error\":0,\"runtime_lost\":0,\"untracked\":0}");
    expect ("runs.looked_at", "0");
}

/* However many there are, it looks at a bounded number of them. */
static void test_many_runs (void **state)
{
    (void) state;
    enum {
        USERS = STATUS_RUNS_MAX / RUNS_MAX + 1
    };
    for (int user = 0; user < USERS; user++)
        for (int run = 0; run < RUNS_MAX; run++)
            emit (form ("u%d", user), form ("{\"type\":\"agent_started\",\"run_id\":\"%d\"}", run));
    expect ("runs.active", form ("%d", USERS * RUNS_MAX));
    expect ("runs.looked_at", form ("%d", STATUS_RUNS_MAX));
    for (int user = 0; user < USERS; user++)
        for (int run = 0; run < RUNS_MAX; run++)
            emit (form ("u%d", user), form ("{\"type\":\"agent_completed\",\"run_id\":\"%d\"}", run));
}

static void test_connections_and_events (void **state)
{
    (void) state;
    struct conn *alice = fixture_conn ("alice", FORM_JSON), *again = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"agent_thinking\"}");
    emit ("alice", "{\"type\":\"strange\"}");
    expect ("connections.users", "1");
    expect ("connections.states.processing_ready", "2");
    expect ("events.received", "2");
    expect ("events.delivered", "4");
    expect ("events.types.other", "1");
    expect ("history.events", "2");
    assert_null (strstr (written (), "alice"));
    assert_null (strstr (written (), alice->id));
    drop_conn (alice);
    drop_conn (again);
}

static void test_samples_by_the_timer (void **state)
{
    (void) state;
    expect ("recent", "{\"last\":0,\"samples\":[]}");
    wheel_advance (&fx.hub.wheel, clock_now () + S_NS - WHEEL_TICK);
    expect ("recent.last", "0");
    wheel_advance (&fx.hub.wheel, clock_now () + S_NS + WHEEL_TICK);
    expect ("recent.last", "1");
}

static void test_try (void **state)
{
    (void) state;
    expect ("try", "{\"port\":8081,\"path\":\"/ws\",\"tls\":true,\"tokens\":true}");
    assert_ptr_equal (status_signing_key (&fx.hub), &fx.keys->key[0]);
    fx.config->jwt_secret[0] = '\0'; /* keys of another source */
    expect ("try.tokens", "false");
    assert_null (status_signing_key (&fx.hub));
}

static void test_production (void **state)
{
    (void) state;
    free (fx.config->environment);
    fx.config->environment = strdup ("production");
    expect ("try", "null");
    assert_null (status_signing_key (&fx.hub));
}

static void test_secrets (void **state)
{
    (void) state;
    assert_null (strstr (written (), FIXTURE_SECRET));
    assert_non_null (strstr (written (), "{\"name\":\"jwt-secret\",\"value\":\"***\",\"changed\":true}"));
    assert_non_null (strstr (written (), "{\"name\":\"drain-key\",\"value\":\"\",\"changed\":false}"));
}

static void test_no_memory (void **state)
{
    (void) state;
    struct buf out;
    buf_init (&out, 100);
    status_write (status, 0, &out);
    assert_true (out.failed);
    buf_fini (&out);
}

#define STATUS_TEST(function) cmocka_unit_test_setup_teardown (function, status_up, status_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        STATUS_TEST (test_sections),
        STATUS_TEST (test_health),
        STATUS_TEST (test_runtime),
        STATUS_TEST (test_runs_by_age),
        STATUS_TEST (test_many_runs),
        STATUS_TEST (test_connections_and_events),
        STATUS_TEST (test_samples_by_the_timer),
        STATUS_TEST (test_try),
        STATUS_TEST (test_production),
        STATUS_TEST (test_secrets),
        STATUS_TEST (test_no_memory),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
