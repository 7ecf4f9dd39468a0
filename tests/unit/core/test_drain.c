/* Leaving without losing anyone. */
#include "core/drain.h"
#include "hub_fixture.h"

static struct drain drain;
static int n_done;

static int n_began;

static void on_began (void *arg)
{
    (void) arg;
    n_began++;
}

static void on_done (void *arg)
{
    assert_ptr_equal (arg, &n_done);
    n_done++;
}

static int set_up (void **state)
{
    n_done = 0;
    fixture_up (state);
    n_began = 0;
    drain_init (&drain, &fx.hub, on_began, on_done, &n_done);
    return 0;
}

/* The drain's timer fires, and no other. */
static void step (void)
{
    assert_true (timer_armed (&drain.timer));
    wheel_cancel (&drain.timer);
    drain.timer.fire (&drain.timer);
}

/* The number in bridge_draining, which is the next frame. */
static long reconnect_after (struct conn *conn)
{
    char *text = pop_frame (conn);
    assert_non_null (text);
    char *at = strstr (text, "\"reconnect_after_ms\":");
    assert_non_null (at);
    long ms = strtol (at + strlen ("\"reconnect_after_ms\":"), NULL, 10);
    mask (text, "\"reconnect_after_ms\":");
    assert_string_equal (text, form ("%s{\"type\":\"bridge_draining\",\"data\":{\"reconnect_after_ms\":0},"
                                     "\"timestamp\":0}",
                                     binary (conn)));
    free (text);
    return ms;
}

static void expect_done (int n)
{
    assert_int_equal (n_done, n);
    assert_int_equal (drain.stage == DRAIN_DONE, n);
    assert_int_equal (timer_armed (&drain.timer), !n);
}

static void test_not_begun (void **state)
{
    (void) state;
    assert_int_equal (drain.stage, DRAIN_OFF);
    assert_false (fx.hub.draining);
    expect_metric (M_DRAIN_STATE, 0, 0);
}

static void test_nobody_there (void **state)
{
    (void) state;
    drain_start (&drain);
    assert_int_equal (drain.stage, DRAIN_WAITING);
    assert_true (fx.hub.draining);
    expect_metric (M_DRAIN_STATE, 0, 1);
    assert_int_equal (n_done, 0); /* never inside the caller */
    wheel_advance (&fx.hub.wheel, clock_now ());
    expect_done (1);
    wheel_advance (&fx.hub.wheel, clock_now () + 60 * S_NS);
    expect_done (1);
}

/* Told now, closed within the spread, which grows with the number of connections. */
static void test_live_ones_are_told (void **state)
{
    struct conn *conns[30];
    int64_t latest = 0;
    (void) state;
    for (int i = 0; i < 30; i++)
        conns[i] = fixture_conn (form ("user%d", i % 7), i % 2 ? FORM_MSGPACK : FORM_JSON);
    set_link (LANE_NONE, false); /* degraded ones are live too */
    drain_start (&drain);
    for (int i = 0; i < 30; i++) {
        int64_t wait = conns[i]->drain_at - clock_now ();
        assert_in_range (wait, 0, 300 * MS_NS);
        long ms = reconnect_after (conns[i]);
        assert_in_range (ms, 0, 300 + 999); /* after the close */
        expect_no_frame (conns[i]);
        assert_int_equal (conns[i]->timer.due, conns[i]->drain_at);
        assert_false (conn_is_ending (conns[i]));
        latest = wait > latest ? wait : latest;
    }
    assert_true (latest > 0); /* not all at once */
    expect_done (0);
}

static void test_close_in_time (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"x\"}");
    drain_start (&drain);
    emit ("alice", "{\"type\":\"y\"}"); /* still served */
    conn->drain_at = clock_now ();
    fire (conn);
    expect_frame (conn, "{\"type\":\"x\",\"_offset\":1}");
    reconnect_after (conn);
    expect_frame (conn, "{\"type\":\"y\",\"_offset\":2}");
    expect_frame (conn, "CLOSE 1012 Service restart");
    expect_sent (
        form ("0 DISCONNECT %s alice {\"code\":1012,\"reason\":\"Service restart\",\"remaining\":0}|", conn->id));
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_DRAINING, 1);
    step ();
    expect_done (0); /* it is there until its socket has gone */
    drop_conn (conn);
    step ();
    expect_done (1);
}

static void test_raw_is_not_told (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    drain_start (&drain);
    expect_no_frame (conn);
    assert_true (conn->drain_at > 0);
    conn->drain_at = clock_now ();
    fire (conn);
    expect_frame (conn, "CLOSE 1012 Service restart");
}

static void test_waiting_ones_are_refused (void **state)
{
    (void) state;
    fx.events_up = false;
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    session_accepted (conn);
    drain_start (&drain);
    expect_frame (conn, "{\"type\":\"connection_error\",\"error_code\":\"DRAINING\","
                        "\"error_message\":\"The bridge is shutting down\",\"retry_allowed\":true,\"timestamp\":0}");
    expect_frame (conn, "CLOSE 1013 Try again later");
    expect_metric (M_HANDSHAKES, 1 + ERROR_DRAINING, 1);
    assert_int_equal (conn->state, CONN_failed);
}

static void test_ending_ones_are_left (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *nameless = conn_new (&fx.hub);
    conn_close (conn, CLOSE_KICKED);
    drain_start (&drain);
    expect_frame (conn, "CLOSE 4009 Kicked");
    expect_no_frame (conn);
    assert_int_equal (conn->drain_at, 0);
    expect_metric (M_HANDSHAKES, 1 + ERROR_DRAINING, 0);
    assert_int_equal (nameless->state, CONN_connecting);
    assert_false (conn_is_ending (nameless));
}

/* Admitted before the drain, its 101 sent after. */
static void test_late_upgrade (void **state)
{
    (void) state;
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    drain_start (&drain);
    session_accepted (conn);
    assert_true (conn_is_ending (conn) || conn->drain_at > 0);
}

static void test_twice (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    drain_start (&drain);
    int64_t drain_at = conn->drain_at, started_at = drain.started_at;
    reconnect_after (conn);
    drain_start (&drain);
    expect_no_frame (conn);
    assert_int_equal (conn->drain_at, drain_at);
    assert_int_equal (drain.started_at, started_at);
    drop_conn (conn);
    step ();
    expect_done (1);
    drain_start (&drain);
    expect_done (1);
    assert_int_equal (n_began, 1);
}

/* One second before the end what is left is cut; at the end the drain is over whatever is left. */
static void test_timeout (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *ending = fixture_conn ("bob", FORM_JSON);
    struct conn *nameless = conn_new (&fx.hub);
    drain_start (&drain);
    conn_close (ending, CLOSE_KICKED);
    drain.started_at -= 29 * S_NS - 1;
    fx.hub.runs_until -= 29 * S_NS - 1;
    step ();
    assert_int_equal (drain.stage, DRAIN_CLOSING);
    assert_false (conn->kill);
    drain.started_at -= 1;
    list_remove (&conn->work_link);
    step ();
    assert_int_equal (drain.stage, DRAIN_CUTTING);
    assert_true (conn->kill && ending->kill && nameless->kill);
    assert_false (list_empty (&conn->work_link));
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_DRAINING, 2);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_KICKED, 1);
    expect_done (0);
    drain.started_at -= S_NS - 1;
    step ();
    expect_done (0);
    drain.started_at -= 1;
    step ();
    expect_done (1);
}

static void test_done_after_cut (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    drain_start (&drain);
    drain.started_at -= 29 * S_NS;
    step ();
    drop_conn (conn);
    step ();
    expect_done (1);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_DRAINING, 1);
}

/* Connections of a user with a run in progress are told at once, and closed when the run has ended. */
static void test_runs_are_waited_for (void **state)
{
    (void) state;
    struct conn *busy = fixture_conn ("alice", FORM_JSON), *idle = fixture_conn ("bob", FORM_JSON);
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"r\"}");
    expect_frame (busy, "{\"type\":\"agent_started\",\"run_id\":\"r\",\"_offset\":1}");
    drain_start (&drain);
    reconnect_after (busy);
    reconnect_after (idle);
    assert_true (idle->drain_at > 0);
    step ();
    assert_int_equal (busy->drain_at, 0);
    emit ("alice", "{\"type\":\"agent_completed\",\"run_id\":\"r\"}");
    step ();
    assert_true (busy->drain_at >= clock_now ());
    assert_int_equal (drain.stage, DRAIN_WAITING);
}

/* A run that begins while its connection waits for its turn is waited for too. */
static void test_late_run (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    drain_start (&drain);
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"r\"}");
    conn->drain_at = clock_now ();
    fire (conn);
    assert_false (conn_is_ending (conn));
    assert_int_equal (conn->drain_at, 0);
}

/* The spread and the last second are kept of the time-out; then runs are cut off. */
static void test_runs_are_not_waited_for_too_long (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"r\"}");
    drain_start (&drain);
    assert_int_equal (fx.hub.runs_until, drain.started_at + 29 * S_NS - 510 * MS_NS);
    step ();
    assert_int_equal (conn->drain_at, 0);
    fx.hub.runs_until = clock_now ();
    step ();
    assert_int_equal (drain.stage, DRAIN_CLOSING);
    assert_true (conn->drain_at > 0);
    conn->drain_at = clock_now ();
    fire (conn);
    assert_int_equal (conn->closing, CLOSE_DRAINING);
}

/* No time to spread the closes over, but still a second for the cut. */
static void test_no_time (void **state)
{
    (void) state;
    fx.config->drain_timeout_s = 0;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    drain_start (&drain);
    assert_int_equal (conn->drain_at, clock_now ());
    step ();
    assert_int_equal (drain.stage, DRAIN_CUTTING);
    assert_true (conn->kill);
    expect_done (0);
    drain.started_at -= S_NS;
    step ();
    expect_done (1);
}

/* Half of the time-out at most, 5 s at most. */
static void test_spread_is_bounded (void **state)
{
    static const struct {
        int64_t timeout_s;
        int64_t most_ms;
    } cases[] = {{1, 500}, {2, 1000}, {30, 2000}, {3600, 2000}};
    (void) state;
    for (int i = 0; i < 200; i++)
        fixture_conn (form ("user%d", i), FORM_RAW);
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        size_t cursor = 0;
        int64_t latest = 0;
        struct conn *conn;
        fx.config->drain_timeout_s = cases[i].timeout_s;
        while ((conn = map_next (&fx.hub.registry.conns, &cursor)))
            conn->drain_at = 0;
        cursor = 0;
        drain_init (&drain, &fx.hub, on_began, on_done, &n_done);
        drain_start (&drain);
        while ((conn = map_next (&fx.hub.registry.conns, &cursor)))
            latest = conn->drain_at > latest ? conn->drain_at : latest;
        assert_in_range (latest - clock_now (), cases[i].most_ms / 2 * MS_NS, cases[i].most_ms * MS_NS);
        wheel_cancel (&drain.timer);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, fixture_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_not_begun),
        TEST (test_nobody_there),
        TEST (test_live_ones_are_told),
        TEST (test_close_in_time),
        TEST (test_raw_is_not_told),
        TEST (test_waiting_ones_are_refused),
        TEST (test_ending_ones_are_left),
        TEST (test_late_upgrade),
        TEST (test_twice),
        TEST (test_timeout),
        TEST (test_done_after_cut),
        TEST (test_runs_are_waited_for),
        TEST (test_late_run),
        TEST (test_runs_are_not_waited_for_too_long),
        TEST (test_no_time),
        TEST (test_spread_is_bounded),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
