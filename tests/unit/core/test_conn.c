/* A connection's states, its one way to end, and the numbers that go with both. */
#include "hub_fixture.h"

/* --- moves --------------------------------------------------------------------------------------------------- */

/* The table of proto/README.md, and one way from `connecting` to each state. */
static const struct {
    const char *name, *next;
    int way[8]; /* ends with 0, which is connecting itself */
} states[CONN_STATE_COUNT] = {
#define EARLY CONN_accepted, CONN_authenticated, CONN_services_ready
    [CONN_connecting] = {"connecting", "accepted failed closed", {0}},
    [CONN_accepted] = {"accepted", "authenticated failed closed", {CONN_accepted}},
    [CONN_authenticated] = {"authenticated",
                            "services_ready degraded failed closed",
                            {CONN_accepted, CONN_authenticated}},
    [CONN_services_ready] = {"services_ready", "processing_ready degraded failed closed", {EARLY}},
    [CONN_processing_ready] = {"processing_ready",
                               "processing idle degraded closing failed closed",
                               {EARLY, CONN_processing_ready}},
    [CONN_processing] = {"processing",
                         "idle processing_ready degraded closing failed closed",
                         {EARLY, CONN_processing_ready, CONN_processing}},
    [CONN_idle] = {"idle",
                   "processing processing_ready degraded closing failed closed",
                   {EARLY, CONN_processing_ready, CONN_idle}},
    [CONN_degraded] = {"degraded",
                       "processing_ready processing idle reconnecting closing failed closed",
                       {EARLY, CONN_degraded}},
    [CONN_reconnecting] = {"reconnecting",
                           "services_ready processing_ready degraded failed closed",
                           {EARLY, CONN_degraded, CONN_reconnecting}},
    [CONN_closing] = {"closing", "closed", {EARLY, CONN_processing_ready, CONN_closing}},
    [CONN_failed] = {"failed", "closed", {CONN_failed}},
    [CONN_closed] = {"closed", "", {CONN_closed}},
#undef EARLY
};

static bool allowed (int from, int to)
{
    return strstr (form (" %s ", states[from].next), form (" %s ", states[to].name)) != NULL;
}

static struct conn *conn_in (int state)
{
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    for (const int *step = states[state].way; *step; step++)
        assert_true (conn_move (conn, (enum conn_state) * step));
    assert_int_equal (conn->state, state);
    return conn;
}

/* Without the farewell. */
static void discard (struct conn *conn)
{
    conn->wire = NULL;
    if (conn->state != CONN_closed)
        assert_true (conn_move (conn, CONN_closed));
    list_remove (&conn->work_link);
    conn_destroy (&conn);
    assert_null (conn);
}

static void try_move (int from, int to)
{
    struct conn *conn = conn_in (from);
    bool ok = allowed (from, to);
    double errors = metric_get (M_STATE_ERRORS, 0);
    if (conn_move (conn, (enum conn_state) to) != ok)
        fail_msg ("%s to %s", states[from].name, states[to].name);
    assert_int_equal (conn->state, ok ? to : from);
    expect_metric (M_STATE_ERRORS, 0, errors + !ok);
    expect_gauges_right ();
    expect_metric (M_USERS, 0, conn->state >= CONN_authenticated && conn->state <= CONN_reconnecting);
    discard (conn);
}

static void test_every_pair (void **state)
{
    int n_allowed = 0;
    (void) state;
    for (int from = 0; from < CONN_STATE_COUNT; from++)
        for (int to = 0; to < CONN_STATE_COUNT; to++) {
            try_move (from, to);
            n_allowed += allowed (from, to);
        }
    assert_int_equal (n_allowed, 46);
    expect_metric (M_STATE_ERRORS, 0, CONN_STATE_COUNT * CONN_STATE_COUNT - 46);
    expect_nothing_sent ();
}

static void test_names (void **state)
{
    (void) state;
    assert_int_equal (CONN_STATE_COUNT, 12);
    for (int i = 0; i < CONN_STATE_COUNT; i++)
        assert_string_equal (conn_state_name ((enum conn_state) i), states[i].name);
}

static void test_is_live (void **state)
{
    (void) state;
    for (int i = 0; i < CONN_STATE_COUNT; i++) {
        struct conn *conn = conn_in (i);
        assert_int_equal (conn_is_live (conn), i >= CONN_processing_ready && i <= CONN_degraded);
        discard (conn);
    }
}

static uint32_t next_random (void)
{
    static uint32_t seed = 4711;
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

/* Any move to anywhere, many connections of few users. */
static void test_random_walks (void **state)
{
    struct conn *conns[20] = {NULL};
    double errors = 0;
    (void) state;
    for (int step = 0; step < 20000; step++) {
        struct conn **conn = &conns[next_random () % COUNT_OF (conns)];
        if (!*conn)
            *conn = fixture_waiting (form ("user%u", next_random () % 4), FORM_JSON);
        enum conn_state to = (enum conn_state) (next_random () % CONN_STATE_COUNT), from = (*conn)->state;
        bool ok = conn_move (*conn, to);
        assert_int_equal (ok, allowed ((int) from, (int) to));
        errors += !ok;
        if (step % 16 == 0)
            expect_gauges_right ();
        if ((*conn)->state == CONN_closed) {
            discard (*conn);
            *conn = NULL;
        }
    }
    expect_metric (M_STATE_ERRORS, 0, errors);
    for (size_t i = 0; i < COUNT_OF (conns); i++)
        if (conns[i])
            discard (conns[i]);
}

/* --- beginnings ---------------------------------------------------------------------------------------------- */

static void test_new (void **state)
{
    (void) state;
    struct conn *conn = conn_new (&fx.hub);
    assert_true (ident_is_connection (slice_str (conn->id)));
    assert_int_equal (conn->state, CONN_connecting);
    assert_int_equal (conn->subprotocol, SUBPROTOCOL_NONE);
    assert_int_equal (conn->refusal, ERROR_NONE);
    assert_false (conn_is_ending (conn));
    assert_int_equal (conn->lane, LANE_NONE);
    assert_true (conn->reading);
    assert_int_equal (conn->opened_at, clock_now ());
    expect_metric (M_CONNECTIONS, CONN_connecting, 1);
    drop_conn (conn);
    expect_metric (M_CONNECTIONS, CONN_connecting, 0);
    expect_metric (M_CONNECTIONS, CONN_closed, 0);
}

static void test_ids_are_unique (void **state)
{
    (void) state;
    for (int i = 0; i < 2000; i++)
        assert_non_null (conn_new (&fx.hub));
    assert_int_equal (map_size (&fx.hub.registry.conns), 2000);
}

/* --- ends ---------------------------------------------------------------------------------------------------- */

enum position {
    NEVER,
    NOW,
    AFTER
};

static const struct {
    enum close_reason reason;
    const char *label, *text;
    unsigned code;
    enum position position;
} reasons[] = {
    {CLOSE_PEER_CLOSED, "peer_closed", "", 0, NEVER},
    {CLOSE_PEER_LOST, "peer_lost", "", 0, NEVER},
    {CLOSE_PROTOCOL_ERROR, "protocol_error", "", 1002, NEVER},
    {CLOSE_INVALID_TEXT, "invalid_text", "Not UTF-8", 1007, AFTER},
    {CLOSE_AUTH_FAILED, "auth_failed", "Authentication failed", 1008, AFTER},
    {CLOSE_TOKEN_EXPIRED, "token_expired", "Token expired", 1008, AFTER},
    {CLOSE_RATE_LIMITED, "rate_limited", "Rate limited", 1008, AFTER},
    {CLOSE_TRY_LATER, "try_later", "Try again later", 1013, AFTER},
    {CLOSE_EVENTS_LOST, "events_lost", "Events lost", 1013, AFTER},
    {CLOSE_TOO_BIG, "message_too_big", "Message too big", 1009, AFTER},
    {CLOSE_PONG_TIMEOUT, "pong_timeout", "No answer to ping", 1001, NOW},
    {CLOSE_SEND_TIMEOUT, "send_timeout", "Slow consumer", 4008, NOW},
    {CLOSE_SLOW_CONSUMER, "slow_consumer", "Slow consumer", 4008, NOW},
    {CLOSE_DRAINING, "draining", "Service restart", 1012, AFTER},
    {CLOSE_KICKED, "kicked", "Kicked", 4009, AFTER},
    {CLOSE_RUNTIME_CLOSE, "runtime_close", "", 1000, AFTER},
    {CLOSE_INTERNAL, "internal_error", "Internal error", 1011, AFTER},
};

static void send_text (struct conn *conn, const char *text)
{
    struct msg *msg = msg_new (WS_TEXT, slice_str (text));
    conn_send (conn, msg);
    msg_unref (&msg);
}

/* The line of the exposition is there. */
static void expect_line (const char *line)
{
    struct buf out;
    buf_init (&out, 0);
    metrics_write (&out);
    char *text = buf_steal_str (&out);
    if (!strstr (text, form ("\n%s\n", line)))
        fail_msg ("no line %s", line);
    free (text);
}

static void expect_farewell (struct conn *conn, const char *close, enum position position)
{
    if (position == AFTER) {
        expect_frame (conn, "one");
        expect_frame (conn, "two");
    }
    if (position != NEVER)
        expect_frame (conn, close);
    expect_no_frame (conn);
}

static void expect_ending (struct conn *conn, enum close_reason reason)
{
    assert_int_equal (conn->closing, reason);
    assert_int_equal (conn->state, CONN_closing);
    assert_false (conn->kill);
    assert_true (conn->reading);
    assert_false (list_empty (&conn->work_link));
    assert_true (timer_armed (&conn->timer));
    assert_int_equal (conn->timer.due, clock_now () + 5 * S_NS);
    expect_gauges_right ();
}

static void close_for (size_t i)
{
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    unsigned code = reasons[i].code;
    const char *text = reasons[i].text;
    send_text (conn, "one");
    send_text (conn, "two");
    conn->reading = false;
    conn_close (conn, reasons[i].reason);
    expect_ending (conn, reasons[i].reason);
    expect_line (form ("agentbridge_connections_closed_total{reason=\"%s\"} 1", reasons[i].label));
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":%u,\"reason\":\"%s\",\"remaining\":0}|", conn->id,
                       code ? code : 1006, text));
    expect_nothing_sent ();
    expect_farewell (conn, form ("CLOSE %u %s", code, text), reasons[i].position);
    assert_int_equal (conn_close_frame (conn).code, code);
    drop_conn (conn);
}

static void test_every_reason (void **state)
{
    (void) state;
    assert_int_equal (COUNT_OF (reasons), CLOSE_REASON_COUNT);
    for (size_t i = 0; i < COUNT_OF (reasons); i++)
        close_for (i);
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        expect_metric (M_CONNECTIONS_CLOSED, i, 1);
    expect_metric (M_STATE_ERRORS, 0, 0);
    assert_int_equal (observed ("connection_duration_seconds"), CLOSE_REASON_COUNT);
}

static void close_from (int from, int to)
{
    struct conn *conn = conn_in (from);
    conn_close (conn, CLOSE_KICKED);
    if ((int) conn->state != to)
        fail_msg ("%s closes to %s", states[from].name, conn_state_name (conn->state));
    expect_frame (conn, "CLOSE 4009 Kicked");
    expect_metric (M_STATE_ERRORS, 0, 0);
    expect_gauges_right ();
    discard (conn);
}

static void test_close_from_every_state (void **state)
{
    (void) state;
    for (int from = CONN_connecting; from < CONN_processing_ready; from++)
        close_from (from, CONN_failed);
    for (int from = CONN_processing_ready; from <= CONN_degraded; from++)
        close_from (from, CONN_closing);
    expect_nothing_sent (); /* the runtime had heard of none of them */
    assert_int_equal (observed ("connection_duration_seconds"), 0);
}

static void test_close_while_reconnecting (void **state)
{
    (void) state;
    close_from (CONN_reconnecting, CONN_failed);
}

static void test_close_twice (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn_close (conn, CLOSE_KICKED);
    conn_close (conn, CLOSE_INTERNAL);
    conn_close_with (conn, CLOSE_RUNTIME_CLOSE, 3000, slice_str ("late"));
    assert_int_equal (conn->closing, CLOSE_KICKED);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_KICKED, 1);
    assert_true (metric_sum (M_CONNECTIONS_CLOSED, CLOSE_REASON_COUNT) == 1);
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":4009,\"reason\":\"Kicked\",\"remaining\":0}|", conn->id));
    expect_nothing_sent ();
    expect_frame (conn, "CLOSE 4009 Kicked");
    expect_no_frame (conn);
}

static void test_nothing_after_close (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn_close (conn, CLOSE_KICKED);
    send_text (conn, "late");
    emit ("alice", "{\"type\":\"x\"}");
    expect_frame (conn, "CLOSE 4009 Kicked");
    expect_no_frame (conn);
}

static void test_remaining (void **state)
{
    (void) state;
    struct conn *one = fixture_conn ("alice", FORM_JSON), *two = fixture_conn ("alice", FORM_RAW);
    struct conn *three = fixture_waiting ("alice", FORM_JSON), *other = fixture_conn ("bob", FORM_JSON);
    conn_close (two, CLOSE_KICKED);
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":4009,\"reason\":\"Kicked\",\"remaining\":1}|", two->id));
    session_accepted (three);
    forget_sent ();
    conn_close (one, CLOSE_DRAINING);
    expect_sent (
        form ("0 DISCONNECT %s alice {\"code\":1012,\"reason\":\"Service restart\",\"remaining\":1}|", one->id));
    conn_close (three, CLOSE_PEER_LOST);
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":1006,\"reason\":\"\",\"remaining\":0}|", three->id));
    conn_close (other, CLOSE_PEER_LOST);
    expect_sent (form ("0 DISCONNECT %s bob {\"code\":1006,\"reason\":\"\",\"remaining\":0}|", other->id));
    expect_gauges_right ();
}

static void test_close_with (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn_close_with (conn, CLOSE_RUNTIME_CLOSE, 4321, slice_str ("so long"));
    expect_frame (conn, "CLOSE 4321 so long");
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":4321,\"reason\":\"so long\",\"remaining\":0}|", conn->id));
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_RUNTIME_CLOSE, 1);
}

/* What the peer said goes to the runtime, not back to the peer. */
static void test_close_with_of_peer (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    send_text (conn, "one");
    conn_close_with (conn, CLOSE_PEER_CLOSED, 3001, slice_str ("bye"));
    expect_no_frame (conn);
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":3001,\"reason\":\"bye\",\"remaining\":0}|", conn->id));
}

static void test_close_with_long_text (void **state)
{
    char text[201] = {0};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    memset (text, 't', 200);
    conn_close_with (conn, CLOSE_RUNTIME_CLOSE, 1000, slice_str (text));
    expect_frame (conn, form ("CLOSE 1000 %.123s", text));
    assert_int_equal (conn_close_frame (conn).n, 123);
}

static void test_close_with_no_text (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn_close_with (conn, CLOSE_RUNTIME_CLOSE, 1001, slice_str (NULL));
    expect_frame (conn, "CLOSE 1001 ");
}

static void test_kill_after_grace (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn_close (conn, CLOSE_KICKED);
    list_remove (&conn->work_link);
    wheel_advance (&fx.hub.wheel, clock_now () + 5 * S_NS - 1);
    assert_false (conn->kill);
    wheel_advance (&fx.hub.wheel, clock_now () + 5 * S_NS);
    assert_true (conn->kill);
    assert_ptr_equal (fx.hub.dirty.next, &conn->work_link);
    assert_false (timer_armed (&conn->timer));
}

static void expect_gone (struct conn *conn)
{
    assert_int_equal (conn->state, CONN_closed);
    assert_null (conn->wire);
    assert_false (timer_armed (&conn->timer));
    assert_true (list_empty (&fx.hub.dirty));
    assert_ptr_equal (fx.hub.reap.prev, &conn->work_link);
    conn_mark_dirty (conn);
    assert_true (list_empty (&fx.hub.dirty));
    expect_metric (M_CONNECTIONS, CONN_closed, 1);
}

static void test_gone (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    send_text (conn, "one");
    conn_gone (conn, CLOSE_PEER_LOST);
    expect_gone (conn);
    conn_gone (conn, CLOSE_PEER_LOST);
    expect_gone (conn);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_PEER_LOST, 1);
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":1006,\"reason\":\"\",\"remaining\":0}|", conn->id));
    expect_nothing_sent ();
    hub_reap (&fx.hub);
    assert_int_equal (map_size (&fx.hub.registry.conns), 0);
    assert_int_equal (map_size (&fx.hub.registry.users), 0);
}

static void test_gone_after_close (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn_close (conn, CLOSE_KICKED);
    conn_gone (conn, CLOSE_PEER_LOST);
    expect_gone (conn);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_KICKED, 1);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_PEER_LOST, 0);
}

static void test_gone_from_every_state (void **state)
{
    (void) state;
    for (int from = CONN_connecting; from < CONN_reconnecting; from++) {
        struct conn *conn = conn_in (from);
        conn_gone (conn, CLOSE_PEER_LOST);
        expect_gone (conn);
        hub_reap (&fx.hub);
    }
    expect_metric (M_STATE_ERRORS, 0, 0);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_PEER_LOST, CONN_reconnecting);
}

/* --- the queue ----------------------------------------------------------------------------------------------- */

static void test_dirty_once (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *wireless = conn_new (&fx.hub);
    list_remove (&conn->work_link);
    conn_mark_dirty (wireless);
    assert_true (list_empty (&fx.hub.dirty));
    conn_mark_dirty (conn);
    conn_mark_dirty (conn);
    send_text (conn, "one");
    assert_ptr_equal (list_pop (&fx.hub.dirty), &conn->work_link);
    assert_true (list_empty (&fx.hub.dirty));
}

static void test_full_queue (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 3;
    send_text (conn, "one");
    send_text (conn, "two");
    send_text (conn, "three");
    assert_false (conn_is_ending (conn));
    send_text (conn, "four");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (conn);
    expect_metric (M_QUEUE_BYTES, 0, 0);
}

static void test_full_queue_of_bytes (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_bytes = 20;
    send_text (conn, "12345678");
    send_text (conn, "12345678");
    assert_int_equal (conn->outq.bytes, 20);
    assert_false (conn_is_ending (conn));
    send_text (conn, "");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
}

/* A connection past half of its queue: "one" and "two" wait, and an event behind them. */
static struct conn *slow_conn (void)
{
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 3;
    send_text (conn, "one");
    send_text (conn, "two");
    emit ("alice", "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"a\"}");
    emit ("alice", "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"b\"}");
    assert_non_null (conn->merge);
    assert_int_equal (conn->outq.n, 2);
    return conn;
}

/* What has merged goes the way of the queue. */
static void test_every_reason_with_merged (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (reasons); i++) {
        struct conn *conn = slow_conn ();
        enum position position = reasons[i].position;
        conn_close (conn, reasons[i].reason);
        assert_null (conn->merge);
        assert_false (conn->kill);
        expect_gauges_right ();
        if (position == AFTER) {
            expect_frame (conn, "one");
            expect_frame (conn, "two");
            expect_frame (conn,
                          form ("{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"ab\",\"_offset\":%d}", 2 * (int) i + 2));
        }
        expect_farewell (conn, form ("CLOSE %u %s", reasons[i].code, reasons[i].text),
                         position == AFTER ? NOW : position);
        drop_conn (conn);
    }
}

/* A client that cannot be given all that waits must not be told of an end in order. */
static void test_close_without_memory_for_merged (void **state)
{
    (void) state;
    struct conn *conn = slow_conn ();
    fx.lane_up[0] = false; /* DISCONNECT would fail for want of memory as well */
    fx.hub.scratch.limit = 8;
    conn_close (conn, CLOSE_KICKED);
    assert_null (conn->merge);
    assert_true (conn->kill);
    fx.hub.scratch.limit = 0;
}

static void test_gone_with_merged (void **state)
{
    (void) state;
    struct conn *conn = slow_conn ();
    conn_gone (conn, CLOSE_PEER_LOST);
    assert_null (conn->merge);
    expect_metric (M_QUEUE_BYTES, 0, 0);
}

/* Any other frame closes what has merged, and there must be room for both. */
static void test_frame_after_merged (void **state)
{
    (void) state;
    struct conn *conn = slow_conn ();
    fx.config->queue_messages = 4;
    send_text (conn, "three");
    assert_null (conn->merge);
    expect_frame (conn, "one");
    expect_frame (conn, "two");
    expect_frame (conn, "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"ab\",\"_offset\":2}");
    expect_frame (conn, "three");
    expect_no_frame (conn);
    drop_conn (conn);
    conn = slow_conn ();
    send_text (conn, "three");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    assert_null (conn->merge);
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (conn);
}

/* What has merged may be longer as a frame than it was; the limits hold for what it is. */
static void test_merged_does_not_fit (void **state)
{
    (void) state;
    struct conn *conn = slow_conn ();
    fx.config->queue_messages = 4;
    fx.config->queue_bytes = (int64_t) (conn->outq.bytes + conn->merge->size + 7);
    send_text (conn, "three");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    assert_null (conn->merge);
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (conn);
    expect_gauges_right ();
}

/* What has merged waits until the queue has run empty. */
static void test_send_merged (void **state)
{
    (void) state;
    struct conn *conn = slow_conn ();
    for (int i = 0; i < 2; i++) {
        conn_send_merged (conn);
        assert_non_null (conn->merge);
        free (pop_frame (conn));
    }
    list_remove (&conn->work_link);
    conn_send_merged (conn);
    assert_null (conn->merge);
    assert_ptr_equal (fx.hub.dirty.prev, &conn->work_link);
    expect_gauges_right ();
    expect_frame (conn, "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"ab\",\"_offset\":2}");
    conn_send_merged (conn);
    expect_no_frame (conn);
}

static void test_no_memory_for_merged (void **state)
{
    (void) state;
    struct conn *conn = slow_conn ();
    free (pop_frame (conn));
    free (pop_frame (conn));
    forget_sent ();
    fx.hub.scratch.limit = 8;
    conn_send_merged (conn);
    fx.hub.scratch.limit = 0;
    assert_int_equal (conn->closing, CLOSE_INTERNAL);
    expect_frame (conn, "CLOSE 1011 Internal error");
    expect_no_frame (conn);
}

/* The close frame finds its place however full the queue is. */
static void test_close_frame_in_full_queue (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 2;
    send_text (conn, "one");
    send_text (conn, "two");
    conn_close (conn, CLOSE_DRAINING);
    expect_farewell (conn, "CLOSE 1012 Service restart", AFTER);
    assert_false (conn->kill);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_every_pair),
        HUB_TEST (test_names),
        HUB_TEST (test_is_live),
        HUB_TEST (test_random_walks),
        HUB_TEST (test_new),
        HUB_TEST (test_ids_are_unique),
        HUB_TEST (test_every_reason),
        HUB_TEST (test_close_from_every_state),
        HUB_TEST (test_close_while_reconnecting),
        HUB_TEST (test_close_twice),
        HUB_TEST (test_nothing_after_close),
        HUB_TEST (test_remaining),
        HUB_TEST (test_close_with),
        HUB_TEST (test_close_with_of_peer),
        HUB_TEST (test_close_with_long_text),
        HUB_TEST (test_close_with_no_text),
        HUB_TEST (test_kill_after_grace),
        HUB_TEST (test_gone),
        HUB_TEST (test_gone_after_close),
        HUB_TEST (test_gone_from_every_state),
        HUB_TEST (test_dirty_once),
        HUB_TEST (test_full_queue),
        HUB_TEST (test_full_queue_of_bytes),
        HUB_TEST (test_every_reason_with_merged),
        HUB_TEST (test_close_without_memory_for_merged),
        HUB_TEST (test_gone_with_merged),
        HUB_TEST (test_frame_after_merged),
        HUB_TEST (test_merged_does_not_fit),
        HUB_TEST (test_send_merged),
        HUB_TEST (test_no_memory_for_merged),
        HUB_TEST (test_close_frame_in_full_queue),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
