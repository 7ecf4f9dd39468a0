/* A connection's life beyond its socket: welcome, refusal, the runtime's comings and goings, resume, timers. */
#include "hub_fixture.h"

static void expect_connect (const struct conn *conn, int lane, bool resumed)
{
    expect_sent (form ("%d CONNECT %s %s {" REMOTE ",\"resumed\":%s}|", lane, conn->id, conn->user->id,
                       resumed ? "true" : "false"));
}

static void expect_state (const struct conn *conn, enum conn_state state)
{
    if (conn->state != state)
        fail_msg ("%s, not %s", conn_state_name (conn->state), conn_state_name (state));
    expect_gauges_right ();
}

/* As the edge does when the socket takes everything: the frames, and what they make room for. */
static void expect_flushed (struct conn *conn, const char *wanted)
{
    expect_frame (conn, wanted);
    session_catch_up (conn);
}

static const char *event_frame (uint64_t offset)
{
    return form ("{\"type\":\"x\",\"n\":%llu,\"_offset\":%llu}", (unsigned long long) offset,
                 (unsigned long long) offset);
}

/* Events of alice; each says its own offset. */
static void emit_events (uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++)
        emit ("alice", form ("{\"type\":\"x\",\"n\":%llu}", (unsigned long long) n));
}

/* --- welcome ------------------------------------------------------------------------------------------------- */

static void test_welcome (void **state)
{
    (void) state;
    for (enum form form = 0; form < FORM_COUNT; form++) {
        struct conn *conn = fixture_waiting ("alice", form);
        session_accepted (conn);
        expect_connect (conn, 0, false);
        if (form != FORM_RAW)
            expect_established (conn, 0, false, NULL);
        expect_no_frame (conn);
        expect_state (conn, CONN_processing_ready);
        assert_true (conn->established);
        assert_int_equal (conn->lane, 0);
        assert_int_equal (conn->wait_until, 0);
        assert_int_equal (conn->timer.due, clock_now () + 25 * S_NS); /* the first ping */
    }
    expect_nothing_sent ();
    expect_metric (M_HANDSHAKES, 0, FORM_COUNT);
    assert_true (metric_sum (M_HANDSHAKES, 1 + ERROR_CODE_COUNT) == FORM_COUNT);
    assert_int_equal (observed ("connection_setup_seconds"), FORM_COUNT);
    expect_metric (M_STATE_ERRORS, 0, 0);
}

static void test_all_connect_headers (void **state)
{
    (void) state;
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    struct slice pairs = pack ("{\"remote\":\"r\",\"origin\":\"o\",\"claims\":{\"sub\":\"alice\",\"n\":[1]}}");
    free (conn->connect_headers);
    conn->connect_headers = malloc (pairs.n - 1);
    assert_non_null (conn->connect_headers);
    memcpy (conn->connect_headers, pairs.p + 1, pairs.n - 1); /* without the head of the map */
    conn->connect_headers_n = (uint32_t) pairs.n - 1;
    conn->connect_pairs = 3;
    session_accepted (conn);
    expect_sent (form ("0 CONNECT %s alice {\"remote\":\"r\",\"origin\":\"o\",\"claims\":{\"sub\":\"alice\",\"n\":[1]},"
                       "\"resumed\":false}|",
                       conn->id));
}

static const struct {
    enum error_code code;
    const char *text, *message;
    bool retry, ours;
} refusals[] = {
    {ERROR_JWT_TOKEN_MISSING, "JWT_TOKEN_MISSING", "No token was sent", false, false},
    {ERROR_JWT_FORMAT_INVALID, "JWT_FORMAT_INVALID", "The token is not a well-formed JWT", false, false},
    {ERROR_TOKEN_EXPIRED, "TOKEN_EXPIRED", "The token has expired", true, false},
    {ERROR_TOKEN_NOT_YET_VALID, "TOKEN_NOT_YET_VALID", "The token is not valid yet", true, false},
    {ERROR_VALIDATION_FAILED, "VALIDATION_FAILED", "The token was not accepted", false, false},
    {ERROR_MISSING_USER_ID, "MISSING_USER_ID", "The token names no usable user", false, false},
    {ERROR_ORIGIN_DENIED, "ORIGIN_DENIED", "This origin is not allowed to connect", false, false},
    {ERROR_AUTH_KEYS_UNAVAILABLE, "AUTH_KEYS_UNAVAILABLE", "Tokens cannot be checked at the moment", true, false},
    {ERROR_TOO_MANY_CONNECTIONS, "TOO_MANY_CONNECTIONS", "The bridge is full", true, true},
    {ERROR_USER_CONNECTION_LIMIT, "USER_CONNECTION_LIMIT", "This user has too many connections", true, true},
    {ERROR_ADDRESS_CONNECTION_LIMIT, "ADDRESS_CONNECTION_LIMIT", "This address has too many connections", true, true},
    {ERROR_TOO_MANY_HANDSHAKES, "TOO_MANY_HANDSHAKES", "This address connects too often", true, true},
    {ERROR_SERVICE_NOT_READY, "SERVICE_NOT_READY", "The agent runtime is not ready", true, true},
    {ERROR_DRAINING, "DRAINING", "The bridge is shutting down", true, true},
};

static void expect_refused (struct conn *conn, size_t i)
{
    if (conn->form != FORM_RAW)
        expect_frame (conn, form ("%s{\"type\":\"%s\",\"error_code\":\"%s\",\"error_message\":\"%s\","
                                  "\"retry_allowed\":%s,\"timestamp\":0}",
                                  binary (conn), refusals[i].ours ? "connection_error" : "authentication_error",
                                  refusals[i].text, refusals[i].message, refusals[i].retry ? "true" : "false"));
    expect_frame (conn, refusals[i].ours ? "CLOSE 1013 Try again later" : "CLOSE 1008 Authentication failed");
    expect_no_frame (conn);
    expect_state (conn, CONN_failed);
    assert_false (conn->established);
    expect_nothing_sent ();
}

static void expect_not_ready (struct conn *conn)
{
    expect_refused (conn, 12);
}

/* Refused at the handshake, where it was counted, and told after the upgrade. */
static void test_refusals (void **state)
{
    (void) state;
    assert_int_equal (COUNT_OF (refusals), ERROR_CODE_COUNT);
    for (size_t i = 0; i < COUNT_OF (refusals); i++)
        for (enum form form = 0; form < FORM_COUNT; form++) {
            struct conn *conn = conn_new (&fx.hub);
            conn->form = form;
            conn->wire = &fx.wire;
            conn->refusal = refusals[i].code;
            session_accepted (conn);
            expect_refused (conn, i);
        }
    assert_true (metric_sum (M_HANDSHAKES, 1 + ERROR_CODE_COUNT) == 0);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_AUTH_FAILED, 8 * FORM_COUNT);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_TRY_LATER, 6 * FORM_COUNT);
}

static void test_refuse_later (void **state)
{
    (void) state;
    fx.events_up = false;
    for (size_t i = 0; i < COUNT_OF (refusals); i++) {
        struct conn *conn = fixture_waiting ("alice", FORM_JSON);
        session_accepted (conn);
        session_refuse (conn, refusals[i].code);
        expect_refused (conn, i);
        expect_metric (M_HANDSHAKES, 1 + refusals[i].code, 1);
    }
    assert_true (metric_sum (M_HANDSHAKES, 1 + ERROR_CODE_COUNT) == ERROR_CODE_COUNT);
}

/* --- waiting for the runtime --------------------------------------------------------------------------------- */

static struct conn *waiting_for_runtime (enum form form)
{
    struct conn *conn = fixture_waiting ("alice", form);
    session_accepted (conn);
    expect_state (conn, CONN_authenticated);
    expect_no_frame (conn);
    expect_nothing_sent ();
    assert_int_equal (conn->timer.due, clock_now () + 5000 * MS_NS);
    return conn;
}

/* Both links are needed. */
static void test_wait (void **state)
{
    (void) state;
    fx.events_up = fx.lane_up[0] = false;
    struct conn *conn = waiting_for_runtime (FORM_JSON);
    set_link (0, true);
    expect_state (conn, CONN_authenticated);
    set_link (0, false);
    set_link (LANE_NONE, true);
    expect_state (conn, CONN_authenticated);
    expect_nothing_sent ();
    set_link (0, true);
    expect_connect (conn, 0, false);
    expect_established (conn, 0, false, NULL);
    expect_state (conn, CONN_processing_ready);
    assert_int_equal (conn->timer.due, clock_now () + 25 * S_NS);
}

static void test_wait_in_vain (void **state)
{
    (void) state;
    fx.events_up = false;
    for (enum form form = 0; form < FORM_COUNT; form++) {
        struct conn *conn = waiting_for_runtime (form);
        fire (conn); /* too early */
        expect_state (conn, CONN_authenticated);
        assert_int_equal (conn->timer.due, conn->wait_until);
        conn->wait_until = clock_now ();
        fire (conn);
        expect_not_ready (conn);
    }
    expect_metric (M_HANDSHAKES, 1 + ERROR_SERVICE_NOT_READY, FORM_COUNT);
    set_link (LANE_NONE, true);
    expect_nothing_sent ();
}

static void test_connect_not_taken (void **state)
{
    (void) state;
    fx.refuse = true;
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    session_accepted (conn);
    expect_not_ready (conn);
    expect_metric (M_HANDSHAKES, 1 + ERROR_SERVICE_NOT_READY, 1);
    expect_metric (M_STATE_ERRORS, 0, 0);
}

/* What the runtime emits meanwhile follows the welcome. */
static void test_events_while_waiting (void **state)
{
    (void) state;
    emit_events (1, 2);
    fx.events_up = false;
    struct conn *conn = waiting_for_runtime (FORM_JSON);
    emit_events (3, 4);
    expect_no_frame (conn);
    set_link (LANE_NONE, true);
    expect_established (conn, 2, false, NULL);
    expect_frame (conn, event_frame (3));
    expect_frame (conn, event_frame (4));
    emit_events (5, 5);
    expect_frame (conn, event_frame (5));
    expect_no_frame (conn);
}

/* --- the link goes and comes --------------------------------------------------------------------------------- */

static void test_lane_lost_and_back (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *raw = fixture_conn ("alice", FORM_RAW);
    set_link (0, false);
    expect_state (conn, CONN_degraded);
    expect_state (raw, CONN_degraded);
    expect_nothing_sent ();
    set_link (0, true);
    expect_state (conn, CONN_processing_ready);
    expect_state (raw, CONN_processing_ready);
    assert_int_equal (fx.n_sent - fx.seen, 2);
    bool swapped = !strstr (fx.sent[fx.seen], conn->id); /* in no order */
    expect_connect (swapped ? raw : conn, 0, true);
    expect_connect (swapped ? conn : raw, 0, true);
    expect_no_frame (conn);
    expect_no_frame (raw);
    expect_metric (M_STATE_ERRORS, 0, 0);
}

/* The runtime still knows its connections when only events were away. */
static void test_events_lost_and_back (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    set_link (LANE_NONE, false);
    expect_state (conn, CONN_degraded);
    set_link (LANE_NONE, true);
    expect_state (conn, CONN_processing_ready);
    expect_nothing_sent ();
    expect_metric (M_STATE_ERRORS, 0, 0);
}

/* Gone and back between two looks: the lane was never seen down. */
static void test_runtime_restarted (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    session_links_changed (&fx.hub, 0);
    expect_connect (conn, 0, true);
    expect_nothing_sent ();
    expect_state (conn, CONN_processing_ready);
    session_links_changed (&fx.hub, LANE_NONE);
    session_links_changed (&fx.hub, 1);
    expect_nothing_sent ();
}

static void test_delivery_while_degraded (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    set_link (0, false);
    emit_events (1, 1);
    expect_frame (conn, event_frame (1));
}

static void test_back_to_processing (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"r\"}");
    expect_state (conn, CONN_processing);
    set_link (0, false);
    expect_state (conn, CONN_degraded);
    set_link (0, true);
    expect_state (conn, CONN_processing);
    expect_metric (M_STATE_ERRORS, 0, 0);
}

static void test_run_ends_while_degraded (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"r\"}");
    set_link (0, false);
    emit ("alice", "{\"type\":\"agent_error\",\"run_id\":\"r\"}");
    expect_state (conn, CONN_degraded);
    set_link (0, true);
    expect_state (conn, CONN_processing_ready);
}

/* Nobody can be told of a connection that ends while its runtime is away, and nobody needs to be. */
static void test_close_while_lost (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    set_link (0, false);
    drop_conn (conn);
    set_link (0, true);
    expect_nothing_sent ();
}

static void test_connect_not_taken_on_return (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    set_link (0, false);
    fx.refuse = true;
    set_link (0, true);
    expect_state (conn, CONN_degraded);
    assert_int_equal (conn->lane, LANE_NONE);
    fx.refuse = false;
    session_links_changed (&fx.hub, LANE_NONE);
    expect_connect (conn, 0, true);
    expect_state (conn, CONN_processing_ready);
}

/* --- several lanes ------------------------------------------------------------------------------------------- */

/* A name that two lanes send to this one. */
static const char *name_on (int lane)
{
    static char name[16];
    for (int i = 0; i < 1000; i++) {
        snprintf (name, sizeof name, "user%d", i);
        struct user *user = registry_user_get (&fx.hub.registry, slice_str (name));
        int found = lanes_for_user (&fx.hub.runtime, user);
        registry_user_release (&fx.hub.registry, user);
        if (found == lane)
            return name;
    }
    fail_msg ("no user on lane %d", lane);
    return NULL;
}

static void two_lanes (struct conn **on_0, struct conn **on_1)
{
    fx.lanes = 2;
    fx.lane_up[1] = true;
    *on_0 = fixture_conn (name_on (0), FORM_JSON);
    *on_1 = fixture_conn (name_on (1), FORM_JSON);
    assert_int_equal ((*on_0)->lane, 0);
    assert_int_equal ((*on_1)->lane, 1);
}

static void test_lane_moves (void **state)
{
    struct conn *mover, *other;
    (void) state;
    two_lanes (&mover, &other);
    set_link (0, false);
    expect_connect (mover, 1, true);
    expect_nothing_sent ();
    expect_state (mover, CONN_processing_ready); /* never without a runtime */
    expect_state (other, CONN_processing_ready);
    set_link (0, true); /* no way back while the new one is up */
    expect_nothing_sent ();
    receive_json (mover, "{\"type\":\"chat\"}");
    expect_sent (form ("1 MESSAGE %s %s {\"seq\":1,\"ts\":0,\"opcode\":\"text\"}|{\"type\":\"chat\"}", mover->id,
                       mover->user->id));
    drop_conn (mover);
    assert_non_null (strstr (fx.sent[fx.seen], "1 DISCONNECT "));
}

static void test_both_lanes_lost (void **state)
{
    struct conn *a, *b;
    (void) state;
    two_lanes (&a, &b);
    set_link (0, false);
    forget_sent ();
    set_link (1, false);
    expect_state (a, CONN_degraded);
    expect_state (b, CONN_degraded);
    expect_nothing_sent ();
    set_link (0, true); /* the other one than they were on */
    assert_int_equal (fx.n_sent - fx.seen, 2);
    assert_int_equal (a->lane, 0);
    assert_int_equal (b->lane, 0);
    expect_state (a, CONN_processing_ready);
    expect_state (b, CONN_processing_ready);
    expect_metric (M_STATE_ERRORS, 0, 0);
}

static void test_new_connection_follows_user (void **state)
{
    struct conn *mover, *other;
    (void) state;
    two_lanes (&mover, &other);
    set_link (0, false);
    set_link (0, true);
    struct conn *late = fixture_conn (mover->user->id, FORM_JSON);
    assert_int_equal (late->lane, 1);
}

/* --- resume -------------------------------------------------------------------------------------------------- */

static struct conn *resuming (const char *epoch, const char *offset)
{
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    session_set_resume (conn, slice_str (epoch), slice_str (offset));
    return conn;
}

/* Alice has had five events; the last three are held. */
static void test_resume (void **state)
{
#define UNKNOWN "\"unknown_epoch\""
    static const struct {
        bool own_epoch;
        const char *epoch, *offset;
        bool recovered;
        const char *error;
        uint64_t from;
    } cases[] = {
        {true, "", "5", true, NULL, 5},
        {true, "", "4", true, NULL, 4},
        {true, "", "2", true, NULL, 2},
        {true, "", "0000000000000000000000000000002", true, NULL, 2},
        {true, "", "1", false, "\"expired\"", 5},
        {true, "", "0", false, "\"expired\"", 5},
        {true, "", "6", false, UNKNOWN, 5},
        {true, "", "", false, UNKNOWN, 5},
        {true, "", "x", false, UNKNOWN, 5},
        {true, "", "-1", false, UNKNOWN, 5},
        {true, "", "+3", false, UNKNOWN, 5},
        {true, "", " 3", false, UNKNOWN, 5},
        {true, "", "3 ", false, UNKNOWN, 5},
        {true, "", "3.0", false, UNKNOWN, 5},
        {true, "", "0x3", false, UNKNOWN, 5},
        {true, "", "18446744073709551615", false, UNKNOWN, 5},
        {true, "", "18446744073709551616", false, UNKNOWN, 5},
        {true, "", "18446744073709551619", false, UNKNOWN, 5}, /* 3, had it wrapped */
        {true, "", "99999999999999999999999999", false, UNKNOWN, 5},
        {false, "0123456789abcdef01234567", "3", false, UNKNOWN, 5},
        {false, "x", "3", false, UNKNOWN, 5},
        {false, "", "3", false, NULL, 5}, /* no epoch: not asked */
        {false, "", "", false, NULL, 5},
        {false, "", "garbage", false, NULL, 5},
    };
    (void) state;
    fx.config->history_events = 3;
    emit_events (1, 5);
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        const char *own = user_epoch (registry_user (&fx.hub.registry, slice_str ("alice")));
        struct conn *conn = resuming (cases[i].own_epoch ? own : cases[i].epoch, cases[i].offset);
        session_accepted (conn);
        expect_established (conn, cases[i].from, cases[i].recovered, cases[i].error);
        for (uint64_t n = cases[i].from + 1; n <= 5; n++)
            expect_frame (conn, event_frame (n));
        expect_no_frame (conn);
        drop_conn (conn);
    }
}

static void test_resume_from_zero (void **state)
{
    (void) state;
    emit_events (1, 3);
    struct conn *conn = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    session_accepted (conn);
    expect_established (conn, 0, true, NULL);
    for (uint64_t n = 1; n <= 3; n++)
        expect_frame (conn, event_frame (n));
    emit_events (4, 4);
    expect_frame (conn, event_frame (4));
    expect_no_frame (conn);
    expect_metric (M_EVENTS_DELIVERED, EVENT_other, 4);
}

static void test_resume_before_first_event (void **state)
{
    (void) state;
    struct conn *first = fixture_conn ("alice", FORM_JSON);
    struct conn *conn = resuming (user_epoch (first->user), "0");
    session_accepted (conn);
    expect_established (conn, 0, true, NULL);
    expect_no_frame (conn);
}

static void test_resume_forms (void **state)
{
    (void) state;
    emit ("alice", "{\"type\":\"x\",\"_mine\":1}");
    const char *epoch = user_epoch (registry_user (&fx.hub.registry, slice_str ("alice")));
    struct conn *packed = fixture_waiting ("alice", FORM_MSGPACK), *raw = fixture_waiting ("alice", FORM_RAW);
    session_set_resume (packed, slice_str (epoch), slice_str ("0"));
    session_set_resume (raw, slice_str (epoch), slice_str ("0"));
    session_accepted (packed);
    session_accepted (raw);
    expect_established (packed, 0, true, NULL);
    expect_frame (packed, "B {\"type\":\"x\",\"_offset\":1}");
    expect_no_frame (packed);
    expect_frame (raw, "B {\"type\":\"x\",\"_mine\":1}");
    expect_no_frame (raw);
}

/* Asked for in time, gone by the time the runtime is there. */
static void test_expired_while_waiting (void **state)
{
    (void) state;
    emit_events (1, 3);
    fx.events_up = false;
    struct conn *asked = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "1");
    struct conn *not_asked = fixture_waiting ("alice", FORM_JSON);
    session_accepted (asked);
    session_accepted (not_asked);
    fx.config->history_events = 2;
    emit_events (4, 6);
    set_link (LANE_NONE, true);
    expect_established (asked, 6, false, "\"expired\"");
    expect_no_frame (asked);
    expect_established (not_asked, 6, false, NULL);
    expect_no_frame (not_asked);
}

/* The queue is never more than half filled from history; live events go there too and are not put twice. */
static void test_catch_up_under_fire (void **state)
{
    (void) state;
    fx.config->queue_messages = 4;
    emit_events (1, 20);
    struct conn *conn = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    session_accepted (conn);
    assert_int_equal (conn->outq.n, 3);
    assert_true (conn->behind);
    expect_established (conn, 0, true, NULL);
    session_catch_up (conn);
    for (uint64_t n = 1; n <= 35; n++) {
        if (n <= 15)
            emit_events (20 + n, 20 + n);
        assert_in_range (conn->outq.n, 1, 3);
        expect_flushed (conn, event_frame (n));
    }
    expect_no_frame (conn);
    assert_false (conn->behind);
    emit_events (36, 36);
    expect_frame (conn, event_frame (36));
    expect_no_frame (conn);
    expect_metric (M_EVENTS_DELIVERED, EVENT_other, 36);
    assert_false (conn_is_ending (conn));
}

static void test_catch_up_by_bytes (void **state)
{
    (void) state;
    fx.config->queue_bytes = 1000;
    emit_events (1, 100);
    struct conn *conn = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    session_accepted (conn);
    assert_in_range (conn->outq.bytes, 501, 600);
    expect_established (conn, 0, true, NULL);
    session_catch_up (conn);
    for (uint64_t n = 1; n <= 100; n++) {
        expect_flushed (conn, event_frame (n));
        assert_true (conn->outq.bytes <= 600);
    }
    expect_no_frame (conn);
    assert_false (conn_is_ending (conn));
}

/* A client that reads at once is not slow, however big the events that it missed. */
static void test_catch_up_of_big_events (void **state)
{
    char text[901] = {0};
    (void) state;
    memset (text, 't', 900);
    fx.config->queue_bytes = 1024;
    for (int i = 0; i < 3; i++)
        emit ("alice", form ("{\"type\":\"x\",\"t\":\"%s\"}", text));
    struct conn *conn = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    session_accepted (conn);
    assert_false (conn_is_ending (conn));
    expect_established (conn, 0, true, NULL);
    session_catch_up (conn);
    for (int i = 1; i <= 3; i++)
        expect_flushed (conn, form ("{\"type\":\"x\",\"t\":\"%s\",\"_offset\":%d}", text, i));
    expect_no_frame (conn);
}

/* One turn of the loop replays so many bytes, whoever they are for; the next turns go on. */
static void test_catch_up_share (void **state)
{
    (void) state;
    emit_events (1, 10);
    struct conn *first = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    struct conn *second = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    fx.hub.replay_left = 2 * (2 + strlen (event_frame (1))) + 1;
    session_accepted (first);
    session_accepted (second);
    assert_int_equal (first->outq.n, 1 + 3); /* the third begins within the share */
    assert_int_equal (second->outq.n, 1);
    assert_true (first->behind && second->behind);
    assert_false (list_empty (&second->work_link)); /* it will be looked at again */
    hub_begin_turn (&fx.hub);
    session_catch_up (first);
    session_catch_up (second);
    expect_established (first, 0, true, NULL);
    expect_established (second, 0, true, NULL);
    for (uint64_t n = 1; n <= 10; n++) {
        expect_flushed (first, event_frame (n));
        expect_flushed (second, event_frame (n));
    }
    assert_false (first->behind || second->behind);
}

static void test_history_runs_away (void **state)
{
    (void) state;
    fx.config->queue_messages = 4;
    fx.config->history_events = 10;
    emit_events (1, 10);
    struct conn *conn = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    session_accepted (conn);
    emit_events (11, 20);
    assert_false (conn_is_ending (conn)); /* it has not been looked at yet */
    expect_established (conn, 0, true, NULL);
    session_catch_up (conn);
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (conn);
}

/* --- timers -------------------------------------------------------------------------------------------------- */

static void test_ping (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fire (conn); /* nothing is due */
    expect_no_frame (conn);
    assert_int_equal (conn->timer.due, conn->ping_at);
    conn->ping_at = clock_now ();
    conn->last_rx = clock_now () - 20 * S_NS;
    fire (conn);
    expect_frame (conn, "PING ?");
    assert_int_equal (conn->pong_until, clock_now () + 10 * S_NS);
    assert_int_equal (conn->ping_at, clock_now () + 25 * S_NS);
    assert_int_equal (conn->timer.due, conn->pong_until);
    fire (conn);
    expect_no_frame (conn);
    assert_false (conn_is_ending (conn));
}

/* Anything from the client after the ping is an answer. */
static void test_ping_answered (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    conn->pong_until = clock_now ();
    conn->last_rx = clock_now () - 10 * S_NS;
    fire (conn);
    expect_no_frame (conn);
    assert_false (conn_is_ending (conn));
    assert_int_equal (conn->pong_until, 0);
    assert_int_equal (conn->timer.due, conn->ping_at);
}

static void test_ping_not_answered (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit_events (1, 1);
    conn->pong_until = clock_now ();
    conn->last_rx = clock_now () - 10 * S_NS - 1;
    fire (conn);
    expect_frame (conn, "CLOSE 1001 No answer to ping");
    expect_no_frame (conn);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_PONG_TIMEOUT, 1);
    assert_int_equal (conn->timer.due, clock_now () + 5 * S_NS); /* not rearmed */
}

static void test_expiry (void **state)
{
    (void) state;
    for (enum form form = 0; form < FORM_COUNT; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        conn->expires = (int64_t) clock_wall () + 10;
        session_rearm (conn);
        assert_in_range (conn->timer.due, clock_now () + 9 * S_NS, clock_now () + 10 * S_NS);
        fire (conn);
        expect_no_frame (conn);
        conn->expires = (int64_t) clock_wall (); /* at `exp`, not after it */
        fire (conn);
        if (form != FORM_RAW)
            expect_frame (conn, form == FORM_JSON ? "{\"type\":\"token_expired\",\"timestamp\":0}"
                                                  : "B {\"type\":\"token_expired\",\"timestamp\":0}");
        expect_frame (conn, "CLOSE 1008 Token expired");
        expect_no_frame (conn);
    }
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_TOKEN_EXPIRED, FORM_COUNT);
}

static void test_far_expiry (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn->expires = INT64_MAX;
    session_rearm (conn);
    assert_int_equal (conn->timer.due, conn->ping_at);
    conn->expires = INT64_MIN;
    session_rearm (conn);
    assert_int_equal (conn->timer.due, clock_now ());
}

static void test_send_timeout (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit_events (1, 2);
    conn->blocked_since = clock_now () - 10 * S_NS;
    session_rearm (conn);
    assert_int_equal (conn->timer.due, clock_now () + S_NS / 2); /* the edge looks whether the peer is still there */
    list_remove (&conn->work_link);
    fire (conn);
    assert_false (list_empty (&conn->work_link));
    assert_false (conn_is_ending (conn));
    conn->blocked_since = clock_now () - 30 * S_NS + 1;
    session_rearm (conn);
    assert_int_equal (conn->timer.due, clock_now () + 1);
    conn->blocked_since = clock_now () - 30 * S_NS;
    fire (conn);
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (conn);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_SEND_TIMEOUT, 1);
}

static void test_drain_time (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit_events (1, 1);
    conn->drain_at = clock_now () + S_NS;
    session_rearm (conn);
    assert_int_equal (conn->timer.due, conn->drain_at);
    conn->drain_at = clock_now ();
    fire (conn);
    expect_frame (conn, event_frame (1));
    expect_frame (conn, "CLOSE 1012 Service restart");
    expect_no_frame (conn);
}

/* The wheel gets them there. */
static void test_wheel (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn->drain_at = clock_now ();
    session_rearm (conn);
    wheel_advance (&fx.hub.wheel, clock_now ());
    expect_frame (conn, "CLOSE 1012 Service restart");
}

/* --- runs ---------------------------------------------------------------------------------------------------- */

static void test_runs (void **state)
{
    static const struct {
        const char *event;
        enum conn_state state;
    } steps[] = {
        {"{\"type\":\"agent_thinking\",\"run_id\":\"a\"}", CONN_processing_ready},
        {"{\"type\":\"agent_completed\",\"run_id\":\"a\"}", CONN_processing_ready},
        {"{\"type\":\"agent_started\"}", CONN_processing_ready},
        {"{\"type\":\"agent_started\",\"run_id\":\"a\"}", CONN_processing},
        {"{\"type\":\"agent_started\",\"run_id\":\"b\"}", CONN_processing},
        {"{\"type\":\"agent_completed\",\"run_id\":\"a\"}", CONN_processing},
        {"{\"type\":\"agent_error\",\"run_id\":\"b\"}", CONN_idle},
        {"{\"type\":\"agent_error\",\"run_id\":\"b\"}", CONN_idle},
        {"{\"type\":\"agent_started\",\"run_id\":\"a\"}", CONN_processing},
        {"{\"type\":\"agent_completed\",\"run_id\":\"a\"}", CONN_idle},
    };
    (void) state;
    struct conn *one = fixture_conn ("alice", FORM_JSON), *two = fixture_conn ("alice", FORM_RAW);
    struct conn *other = fixture_conn ("bob", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (steps); i++) {
        emit ("alice", steps[i].event);
        expect_state (one, steps[i].state);
        expect_state (two, steps[i].state);
        expect_state (other, CONN_processing_ready);
    }
    expect_metric (M_STATE_ERRORS, 0, 0);
}

static void test_welcome_into_a_run (void **state)
{
    (void) state;
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"a\",\"timestamp\":5}");
    emit ("alice", "{\"type\":\"tool_executing\",\"run_id\":\"a\",\"tool_name\":\"calc\",\"execution_id\":\"e1\"}");
    expect_metric (M_RUNS_ACTIVE, 0, 1);
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    session_accepted (conn);
    expect_established (conn, 2, false, NULL);
    expect_frame (conn, "{\"type\":\"runs_snapshot\",\"data\":{\"runs\":[{\"run_id\":\"a\",\"thread_id\":null,"
                        "\"agent_name\":null,\"started_at\":5.000000,\"last_type\":\"tool_executing\","
                        "\"open_tools\":[{\"tool_name\":\"calc\",\"execution_id\":\"e1\"}]}]},\"timestamp\":0}");
    expect_state (conn, CONN_processing);
}

/* Who has everything needs no snapshot. */
static void test_no_snapshot_after_recovery (void **state)
{
    (void) state;
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"a\"}");
    struct conn *conn = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    session_accepted (conn);
    expect_established (conn, 0, true, NULL);
    expect_frame (conn, "{\"type\":\"agent_started\",\"run_id\":\"a\",\"_offset\":1}");
    expect_no_frame (conn);
}

/* Events are lost for good: the live are told, the waiting find another epoch. */
static void test_resync (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *raw = fixture_conn ("bob", FORM_RAW);
    emit_events (1, 1);
    expect_frame (conn, event_frame (1));
    struct conn *waiting = resuming (user_epoch (conn->user), "1");
    fx.hub.registry.losses++;
    session_resync_all (&fx.hub);
    expect_frame (conn, form ("{\"type\":\"resync\",\"data\":{\"resume\":{\"epoch\":\"%s\",\"offset\":1},"
                              "\"reason\":\"events_lost\"},\"timestamp\":0}",
                              user_epoch (conn->user)));
    expect_frame (raw, "CLOSE 1013 Events lost");
    session_accepted (waiting);
    expect_established (waiting, 1, false, "\"unknown_epoch\"");
}

static void lose_events (int times)
{
    for (int i = 0; i < times; i++) {
        fx.hub.registry.losses++;
        session_resync_all (&fx.hub);
    }
}

static void expect_resync_after (struct conn *conn, unsigned offset)
{
    expect_flushed (conn, form ("{\"type\":\"resync\",\"data\":{\"resume\":{\"epoch\":\"%s\",\"offset\":%u},"
                                "\"reason\":\"events_lost\"},\"timestamp\":0}",
                                user_epoch (conn->user), offset));
}

/* A client that is back, with a queue for two of the four events that it has missed. */
static struct conn *client_behind (void)
{
    fx.config->queue_messages = 2;
    emit_events (1, 4);
    struct conn *conn = resuming (user_epoch (registry_user (&fx.hub.registry, slice_str ("alice"))), "0");
    session_accepted (conn);
    expect_established (conn, 0, true, NULL);
    return conn;
}

/* Who is still being told what was there before a loss learns of it behind that: of the first and of the last, where
 * they were, and at one place once. */
static void test_resync_in_turn (void **state)
{
    (void) state;
    struct conn *conn = client_behind ();
    for (uint64_t n = 5; n <= 7; n++) {
        lose_events (2);
        emit_events (n, n);
    }
    session_catch_up (conn);
    for (unsigned n = 1; n <= 7; n++) {
        if (n == 5 || n == 7)
            expect_resync_after (conn, n - 1);
        expect_flushed (conn, event_frame (n));
    }
    expect_no_frame (conn);
    assert_false (conn->behind);
    lose_events (1);
    expect_resync_after (conn, 7);
}

/* What has been told makes room for the next. */
static void test_resync_in_turn_again (void **state)
{
    (void) state;
    struct conn *conn = client_behind ();
    lose_events (1);
    emit_events (5, 6);
    lose_events (1);
    for (unsigned n = 1; n <= 4; n++)
        expect_flushed (conn, event_frame (n));
    expect_resync_after (conn, 4);
    emit_events (7, 7);
    lose_events (1);
    emit_events (8, 8);
    for (unsigned n = 5; n <= 8; n++) {
        if (n >= 7)
            expect_resync_after (conn, n - 1);
        expect_flushed (conn, event_frame (n));
    }
    expect_no_frame (conn);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_welcome),
        HUB_TEST (test_all_connect_headers),
        HUB_TEST (test_refusals),
        HUB_TEST (test_refuse_later),
        HUB_TEST (test_wait),
        HUB_TEST (test_wait_in_vain),
        HUB_TEST (test_connect_not_taken),
        HUB_TEST (test_events_while_waiting),
        HUB_TEST (test_lane_lost_and_back),
        HUB_TEST (test_events_lost_and_back),
        HUB_TEST (test_runtime_restarted),
        HUB_TEST (test_delivery_while_degraded),
        HUB_TEST (test_back_to_processing),
        HUB_TEST (test_run_ends_while_degraded),
        HUB_TEST (test_close_while_lost),
        HUB_TEST (test_connect_not_taken_on_return),
        HUB_TEST (test_lane_moves),
        HUB_TEST (test_both_lanes_lost),
        HUB_TEST (test_new_connection_follows_user),
        HUB_TEST (test_resume),
        HUB_TEST (test_resume_from_zero),
        HUB_TEST (test_resume_before_first_event),
        HUB_TEST (test_resume_forms),
        HUB_TEST (test_expired_while_waiting),
        HUB_TEST (test_catch_up_under_fire),
        HUB_TEST (test_catch_up_by_bytes),
        HUB_TEST (test_catch_up_of_big_events),
        HUB_TEST (test_catch_up_share),
        HUB_TEST (test_history_runs_away),
        HUB_TEST (test_ping),
        HUB_TEST (test_ping_answered),
        HUB_TEST (test_ping_not_answered),
        HUB_TEST (test_expiry),
        HUB_TEST (test_far_expiry),
        HUB_TEST (test_send_timeout),
        HUB_TEST (test_drain_time),
        HUB_TEST (test_wheel),
        HUB_TEST (test_runs),
        HUB_TEST (test_welcome_into_a_run),
        HUB_TEST (test_no_snapshot_after_recovery),
        HUB_TEST (test_resync),
        HUB_TEST (test_resync_in_turn),
        HUB_TEST (test_resync_in_turn_again),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
