/* What the bridge says of runs by itself: silent ones, those whose runtime has gone, those that nobody reads. */
#include "core/run_watch.h"
#include "hub_fixture.h"

#define STARTED(id) "{\"type\":\"agent_started\",\"run_id\":\"" id "\",\"thread_id\":\"t\"}"
#define ENDED(id)   "{\"type\":\"agent_completed\",\"run_id\":\"" id "\"}"

static struct user *user_named (const char *id)
{
    return registry_user (&fx.hub.registry, slice_str (id));
}

static struct run *first_run (const char *user)
{
    struct user *owner = user_named (user);
    assert_true (owner && owner->runs.n);
    return LIST_ENTRY (owner->runs.open.next, struct run, link);
}

/* Nothing has been heard of the run for so long. */
static void age_run (struct run *run, int64_t seconds)
{
    run->last_event -= seconds * S_NS;
}

/* The next frame is an event of the bridge's own, with these fields. */
static void expect_own (struct conn *conn, const char *fields, const char *rest)
{
    char *text = pop_frame (conn);
    assert_non_null (text);
    char *at = strstr (text, "\"event_id\":\"");
    assert_non_null (at);
    at += strlen ("\"event_id\":\"");
    memmove (at, at + 32, strlen (at + 32) + 1);
    assert_string_equal (text, form ("%s{\"type\":%s,\"event_id\":\"\",\"timestamp\":0,\"user_id\":\"alice\",%s}",
                                     binary (conn), fields, rest));
    free (text);
}

static void skip_frame (struct conn *conn)
{
    char *text = pop_frame (conn);
    assert_non_null (text);
    free (text);
}

static void test_stalled_once (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", STARTED ("a"));
    skip_frame (conn);
    age_run (first_run ("alice"), 119);
    run_watch (&fx.hub);
    expect_no_frame (conn);
    age_run (first_run ("alice"), 1);
    run_watch (&fx.hub);
    run_watch (&fx.hub);
    expect_own (conn, "\"run_stalled\"",
                "\"run_id\":\"a\",\"thread_id\":\"t\",\"_synthetic\":true,\"silent_s\":120.0,\"_offset\":2");
    expect_no_frame (conn);
    expect_metric (M_RUNS_STALLED, 0, 1);
    expect_metric (M_RUNS_ACTIVE, 0, 1);
    emit ("alice", "{\"type\":\"agent_thinking\",\"run_id\":\"a\"}"); /* alive, and silent again */
    skip_frame (conn);
    expect_metric (M_RUNS_STALLED, 0, 0);
    age_run (first_run ("alice"), 130);
    run_watch (&fx.hub);
    skip_frame (conn);
    expect_metric (M_RUNS_STALLED, 0, 1);
    emit ("alice", ENDED ("a"));
}

static void test_stall_is_off (void **state)
{
    (void) state;
    fx.config->run_stall_s = 0;
    emit ("alice", STARTED ("a"));
    age_run (first_run ("alice"), 100000);
    run_watch (&fx.hub);
    expect_metric (M_RUNS_STALLED, 0, 0);
}

static void test_runtime_lost (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_MSGPACK), *raw = fixture_conn ("alice", FORM_RAW);
    emit ("alice", STARTED ("a"));
    skip_frame (conn);
    skip_frame (raw);
    publishers_lane_down (&fx.hub.publishers, 0);
    run_watch (&fx.hub);
    expect_no_frame (conn);
    publishers_nameless (&fx.hub.publishers, 0)->gone_since -= 10 * S_NS;
    run_watch (&fx.hub);
    expect_own (conn, "\"agent_error\"",
                "\"run_id\":\"a\",\"thread_id\":\"t\",\"_synthetic\":true,\"error_code\":\"RUNTIME_LOST\","
                "\"error_message\":\"The agent runtime has gone; the run will not go on\",\"_offset\":2");
    expect_own (raw, "\"agent_error\"",
                "\"run_id\":\"a\",\"thread_id\":\"t\",\"_synthetic\":true,\"error_code\":\"RUNTIME_LOST\","
                "\"error_message\":\"The agent runtime has gone; the run will not go on\"");
    expect_metric (M_RUNS_ACTIVE, 0, 0);
    expect_metric (M_RUNS, RUN_OUTCOME_runtime_lost, 1);
    emit ("alice", ENDED ("a"));
    expect_metric (M_EVENTS_DROPPED, DROP_SECOND_END, 1);
    expect_no_frame (conn);
}

static void test_lost_while_away (void **state)
{
    (void) state;
    emit ("alice", STARTED ("a"));
    publishers_lane_down (&fx.hub.publishers, 0);
    publishers_nameless (&fx.hub.publishers, 0)->gone_since -= 10 * S_NS;
    run_watch (&fx.hub);
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    session_set_resume (conn, slice_str (user_epoch (conn->user)), slice_str ("1"));
    session_accepted (conn);
    expect_established (conn, 1, true, NULL);
    expect_own (conn, "\"agent_error\"",
                "\"run_id\":\"a\",\"thread_id\":\"t\",\"_synthetic\":true,\"error_code\":\"RUNTIME_LOST\","
                "\"error_message\":\"The agent runtime has gone; the run will not go on\",\"_offset\":2");
}

/* A runtime cannot pretend to be the bridge. */
static void test_synthetic_is_ours (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"x\",\"_synthetic\":true}");
    expect_frame (conn, "{\"type\":\"x\",\"_offset\":1}");
}

/* --- abandoned ----------------------------------------------------------------------------------------------- */

/* Alice left so long ago, with run "a" in progress. */
static void leave (int64_t seconds)
{
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", STARTED ("a"));
    drop_conn (conn);
    forget_sent ();
    user_named ("alice")->absent_since -= seconds * S_NS;
}

static void test_abandoned_once (void **state)
{
    (void) state;
    fx.config->abandon_grace_s = 60;
    leave (59);
    run_watch (&fx.hub);
    expect_nothing_sent ();
    user_named ("alice")->absent_since -= S_NS;
    emit ("alice", STARTED ("b"));
    run_watch (&fx.hub);
    run_watch (&fx.hub);
    expect_sent ("0 ABANDONED - alice {\"runs\":[\"a\",\"b\"]}|");
    emit ("alice", STARTED ("c")); /* told of each once an absence */
    run_watch (&fx.hub);
    expect_sent ("0 ABANDONED - alice {\"runs\":[\"c\"]}|");
    expect_nothing_sent ();
    drop_conn (fixture_conn ("alice", FORM_RAW));
    forget_sent ();
    user_named ("alice")->absent_since -= 60 * S_NS;
    run_watch (&fx.hub);
    expect_sent ("0 ABANDONED - alice {\"runs\":[\"a\",\"b\",\"c\"]}|");
}

static void test_abandoned_is_off (void **state)
{
    (void) state;
    leave (100000);
    run_watch (&fx.hub);
    expect_nothing_sent ();
}

static void test_back_in_time (void **state)
{
    (void) state;
    fx.config->abandon_grace_s = 60;
    leave (59);
    struct conn *conn = fixture_waiting ("alice", FORM_RAW);
    session_accepted (conn);
    forget_sent ();
    assert_int_equal (user_named ("alice")->absent_since, 0);
    run_watch (&fx.hub);
    expect_nothing_sent ();
}

static void test_nothing_to_abandon (void **state)
{
    (void) state;
    fx.config->abandon_grace_s = 1;
    leave (100);
    emit ("alice", ENDED ("a"));
    emit ("bob", STARTED ("x")); /* who never was here */
    run_watch (&fx.hub);
    expect_nothing_sent ();
}

/* Said again until the runtime takes it. */
static void test_abandoned_not_taken (void **state)
{
    (void) state;
    fx.config->abandon_grace_s = 1;
    leave (100);
    fx.refuse = true;
    run_watch (&fx.hub);
    fx.refuse = false;
    run_watch (&fx.hub);
    expect_sent ("0 ABANDONED - alice {\"runs\":[\"a\"]}|");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_stalled_once),        HUB_TEST (test_stall_is_off),      HUB_TEST (test_runtime_lost),
        HUB_TEST (test_lost_while_away),     HUB_TEST (test_synthetic_is_ours), HUB_TEST (test_abandoned_once),
        HUB_TEST (test_abandoned_is_off),    HUB_TEST (test_back_in_time),      HUB_TEST (test_nothing_to_abandon),
        HUB_TEST (test_abandoned_not_taken),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
