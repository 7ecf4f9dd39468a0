/* Commands of the runtime: carried out, or dropped for a reason that is counted. */
#include "hub_fixture.h"

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

#define REASONS (COMMAND_DROP_no_memory + 1)

/* One command was dropped since the last look, for this reason and no other. */
static void expect_drop (enum command_drop reason)
{
    if (metric_get (M_COMMANDS_DROPPED, reason) != 1 || metric_sum (M_COMMANDS_DROPPED, REASONS) != 1)
        fail_msg ("reason %d: %g, all: %g", (int) reason, metric_get (M_COMMANDS_DROPPED, reason),
                  metric_sum (M_COMMANDS_DROPPED, REASONS));
    metric_set (M_COMMANDS_DROPPED, reason, 0);
}

static void expect_carried_out (void)
{
    assert_true (metric_sum (M_COMMANDS_DROPPED, REASONS) == 0);
}

/* --- frames -------------------------------------------------------------------------------------------------- */

static void test_number_of_frames (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    struct slice frames[8] = {slice_str ("KICK"), slice_str (""), slice_str ("alice")};
    for (size_t n = 0; n <= 8; n++) {
        if (n == COMMAND_FRAMES)
            continue;
        downstream_command (&fx.hub, 0, frames, n);
        expect_drop (COMMAND_DROP_malformed);
    }
    assert_false (conn_is_ending (conn));
    assert_true (metric_sum (M_RUNTIME_COMMANDS, COMMAND_COUNT) == 0);
}

static void test_names (void **state)
{
    static const struct {
        const char *name;
        enum command_drop reason;
    } cases[] = {
        {"", COMMAND_DROP_unknown_command},        {"send", COMMAND_DROP_unknown_command},
        {"SEND ", COMMAND_DROP_unknown_command},   {"SEN", COMMAND_DROP_unknown_command},
        {"CONNECT", COMMAND_DROP_unknown_command}, {"MESSAGE", COMMAND_DROP_unknown_command},
        {"REPLAY", COMMAND_DROP_unknown_command},  {"DISCONNECT", COMMAND_DROP_unknown_command},
        {"EVENT", COMMAND_DROP_malformed},         {"LOST", COMMAND_DROP_malformed},
    };
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        command (cases[i].name, conn->id, "alice", NULL, "\x81\xa4type\xa1x");
        expect_drop (cases[i].reason);
    }
    expect_no_frame (conn);
    expect_metric (M_RUNTIME_COMMANDS, COMMAND_EVENT, 1);
    expect_metric (M_RUNTIME_COMMANDS, COMMAND_LOST, 1);
    assert_true (metric_sum (M_RUNTIME_COMMANDS, COMMAND_COUNT) == 2);
}

static void test_bad_headers (void **state)
{
    static const char *const names[] = {"HELLO", "PING", "PONG", "SEND", "CLOSE", "KICK", "EVENT", "LOST"};
    static const struct slice headers[] = {B ("\x90"),      B ("\xc0"),     B ("\x81"),
                                           B ("\x81\xa1t"), B ("\x80\x80"), B ("t")};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (names); i++)
        for (size_t k = 0; k < COUNT_OF (headers); k++) {
            struct slice frames[COMMAND_FRAMES] = {slice_str (names[i]), slice_str (conn->id), slice_str ("alice"),
                                                   headers[k], slice_str ("\x81\xa4type\xa1x")};
            downstream_command (&fx.hub, 0, frames, COMMAND_FRAMES);
            expect_drop (COMMAND_DROP_malformed);
        }
    expect_no_frame (conn);
    expect_nothing_sent ();
    assert_false (conn_is_ending (conn));
    assert_true (metric_sum (M_RUNTIME_COMMANDS, COMMAND_COUNT) == 0);
}

/* --- whose connection ---------------------------------------------------------------------------------------- */

static void expect_no_target (const char *conn, const char *user, enum command_drop reason)
{
    double violations = metric_get (M_ISOLATION_VIOLATIONS, 0);
    command ("SEND", conn, user, "{\"opcode\":\"text\"}", "x");
    expect_drop (reason);
    command ("CLOSE", conn, user, NULL, "");
    expect_drop (reason);
    expect_metric (M_ISOLATION_VIOLATIONS, 0, violations + (reason == COMMAND_DROP_isolation ? 2 : 0));
}

static void test_targets (void **state)
{
    (void) state;
    struct conn *live = fixture_conn ("alice", FORM_JSON), *bobs = fixture_conn ("bob", FORM_JSON);
    struct conn *waiting = fixture_waiting ("alice", FORM_JSON), *nameless = conn_new (&fx.hub);
    expect_no_target (live->id, "bob", COMMAND_DROP_isolation);
    expect_no_target (bobs->id, "alice", COMMAND_DROP_isolation);
    expect_no_target (live->id, "", COMMAND_DROP_isolation);
    expect_no_target (live->id, "Alice", COMMAND_DROP_isolation);
    expect_no_target (live->id, "nobody", COMMAND_DROP_isolation);
    expect_no_target (waiting->id, "bob", COMMAND_DROP_isolation);
    expect_no_target (waiting->id, "alice", COMMAND_DROP_unknown_connection);
    expect_no_target (nameless->id, "alice", COMMAND_DROP_unknown_connection);
    expect_no_target ("", "alice", COMMAND_DROP_unknown_connection);
    expect_no_target ("ws_000000000000000000000000", "alice", COMMAND_DROP_unknown_connection);
    expect_no_frame (live);
    expect_no_frame (bobs);
    expect_no_frame (waiting);
    conn_close (live, CLOSE_KICKED);
    expect_no_target (live->id, "alice", COMMAND_DROP_unknown_connection);
    expect_no_target (live->id, "bob", COMMAND_DROP_isolation);
    expect_frame (live, "CLOSE 4009 Kicked");
    expect_no_frame (live);
    assert_false (conn_is_ending (bobs));
    assert_null (registry_user (&fx.hub.registry, slice_str ("nobody")));
}

/* --- SEND ---------------------------------------------------------------------------------------------------- */

static void send_event (const struct conn *conn, const char *json)
{
    struct slice body = pack (json);
    command_bytes ("SEND", slice_str (conn->id), conn->user->id, NULL, body);
}

static void test_send_event (void **state)
{
    (void) state;
    struct conn *sibling = fixture_conn ("alice", FORM_JSON);
    for (enum form form = 0; form < FORM_COUNT; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        send_event (conn, "{\"type\":\"reply\",\"user_id\":\"alice\",\"_own\":1}");
        expect_frame (conn, form == FORM_JSON      ? "{\"type\":\"reply\",\"user_id\":\"alice\"}"
                            : form == FORM_MSGPACK ? "B {\"type\":\"reply\",\"user_id\":\"alice\"}"
                                                   : "B {\"type\":\"reply\",\"user_id\":\"alice\",\"_own\":1}");
        expect_no_frame (conn);
    }
    expect_no_frame (sibling);
    expect_carried_out ();
    expect_metric (M_RUNTIME_COMMANDS, COMMAND_SEND, FORM_COUNT);
    assert_int_equal (sibling->user->offset, 0); /* no event of the history */
    expect_metric (M_HISTORY_EVENTS, 0, 0);
    assert_true (metric_sum (M_EVENTS_RECEIVED, EVENT_TYPE_COUNT) == 0);
}

static void test_send_frame (void **state)
{
    static const struct {
        const char *opcode, *body, *frame; /* NULL: dropped as malformed */
    } cases[] = {
        {"text", "hello", "hello"},
        {"text", "", ""},
        {"text", "\xc3\xa9", "\xc3\xa9"},
        {"text", "\x81\xa4type\xa1x", NULL},
        {"text", "\xff", NULL},
        {"text", "a\xed\xa0\x80", NULL},
        {"binary", "\xff\x01", "B \xff\x01"},
        {"binary", "", "B "},
        {"", "x", NULL},
        {"Text", "x", NULL},
        {"ping", "x", NULL},
        {"close", "x", NULL},
    };
    (void) state;
    for (enum form form = 0; form < FORM_COUNT; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        for (size_t i = 0; i < COUNT_OF (cases); i++) {
            char headers[32];
            snprintf (headers, sizeof headers, "{\"opcode\":\"%s\"}", cases[i].opcode);
            command ("SEND", conn->id, "alice", headers, cases[i].body);
            if (cases[i].frame)
                expect_frame (conn, cases[i].frame);
            else
                expect_drop (COMMAND_DROP_malformed);
            expect_no_frame (conn);
        }
    }
}

static void test_send_bad_event (void **state)
{
    static const struct slice bodies[] = {
        B (""),
        B ("\x80"),
        B ("\x90"),
        B ("{\"type\":\"x\"}"),
        B ("\x81\xa4type\xa1x\x00"),
        B ("\x81\xa4type\xa0"),
        B ("\x82\xa4type\xa1x\xa4type\xa1x"),
    };
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *bobs = fixture_conn ("bob", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (bodies); i++) {
        command_bytes ("SEND", slice_str (conn->id), "alice", NULL, bodies[i]);
        expect_drop (COMMAND_DROP_malformed);
    }
    expect_no_frame (conn);
    expect_no_frame (bobs);
    assert_false (conn_is_ending (conn));
}

/* Another user or another connection named in the body. */
static void test_send_foreign_event (void **state)
{
    static const struct slice bodies[] = {
        B ("\x82\xa4type\xa1x\xa7user_id\xa3"
           "bob"),
        B ("\x82\xa4type\xa1x\xad"
           "connection_id\xa3"
           "bob"),
    };
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (bodies); i++) {
        command_bytes ("SEND", slice_str (conn->id), "alice", NULL, bodies[i]);
        expect_drop (COMMAND_DROP_isolation);
    }
    expect_no_frame (conn);
}

static void test_send_size (void **state)
{
    char body[101] = {0};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->max_event_bytes = 100;
    memset (body, 't', 100);
    command ("SEND", conn->id, "alice", "{\"opcode\":\"text\"}", body);
    expect_frame (conn, body);
    fx.config->max_event_bytes = 99;
    command ("SEND", conn->id, "alice", "{\"opcode\":\"text\"}", body);
    expect_drop (COMMAND_DROP_malformed);
    expect_no_frame (conn);
}

static void test_send_to_full_queue (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 1;
    command ("SEND", conn->id, "alice", "{\"opcode\":\"text\"}", "one");
    command ("SEND", conn->id, "alice", "{\"opcode\":\"text\"}", "two");
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (conn);
    expect_carried_out ();
}

static void test_send_while_degraded (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    set_link (LANE_NONE, false);
    command ("SEND", conn->id, "alice", "{\"opcode\":\"text\"}", "one");
    expect_frame (conn, "one");
}

/* --- CLOSE --------------------------------------------------------------------------------------------------- */

static bool may_be_sent (unsigned code)
{
    static const struct {
        unsigned first, last;
    } good[] = {{1000, 1003}, {1007, 1014}, {3000, 4999}};
    for (size_t i = 0; i < COUNT_OF (good); i++)
        if (code >= good[i].first && code <= good[i].last)
            return true;
    return false;
}

static void close_with_code (unsigned code)
{
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    command ("CLOSE", conn->id, "alice", form ("{\"code\":%u,\"reason\":\"r\"}", code), "");
    if (may_be_sent (code)) {
        expect_frame (conn, form ("CLOSE %u r", code));
        expect_sent (form ("0 DISCONNECT %s alice {\"code\":%u,\"reason\":\"r\",\"remaining\":0}|", conn->id, code));
    } else {
        expect_drop (COMMAND_DROP_malformed);
        assert_false (conn_is_ending (conn));
    }
    expect_no_frame (conn);
    expect_nothing_sent ();
    drop_conn (conn);
    forget_sent ();
}

static void test_close_codes (void **state)
{
    static const unsigned others[] = {0,    1,    999,  1999, 2000, 2999,  3000,         3001,         3999,
                                      4000, 4008, 4999, 5000, 9999, 65535, 65536 + 1000, 65536 + 4000, UINT32_MAX};
    (void) state;
    for (unsigned code = 995; code <= 1030; code++)
        close_with_code (code);
    for (size_t i = 0; i < COUNT_OF (others); i++)
        close_with_code (others[i]);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_RUNTIME_CLOSE, 12 + 6);
}

static void test_close_defaults (void **state)
{
    static const char *const headers[] = {NULL, "{}", "{\"other\":1}"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (headers); i++) {
        struct conn *conn = fixture_conn ("alice", FORM_JSON);
        struct conn *sibling = fixture_conn ("alice", FORM_JSON);
        emit ("alice", "{\"type\":\"x\"}");
        command ("CLOSE", conn->id, "alice", headers[i], "");
        free (pop_frame (conn)); /* what was queued comes first */
        expect_frame (conn, "CLOSE 1000 ");
        assert_false (conn_is_ending (sibling));
        drop_conn (conn);
        drop_conn (sibling);
        forget_sent ();
    }
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_RUNTIME_CLOSE, COUNT_OF (headers));
    expect_carried_out ();
}

/* 123 bytes of UTF-8 at most; else nothing happens. */
static void test_reasons (void **state)
{
    char longest[124] = {0}, longer[125] = {0};
    (void) state;
    memset (longest, 'r', 123);
    memset (longer, 'r', 124);
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    struct slice bad = slice_of ("\x81\xa6reason\xa1\xff", 10);
    static const char *const names[] = {"CLOSE", "KICK"};
    for (size_t i = 0; i < COUNT_OF (names); i++) {
        struct slice frames[COMMAND_FRAMES] = {slice_str (names[i]), slice_str (conn->id), slice_str ("alice"), bad};
        downstream_command (&fx.hub, 0, frames, COMMAND_FRAMES);
        expect_drop (COMMAND_DROP_malformed);
        command (names[i], conn->id, "alice", form ("{\"reason\":\"%s\"}", longer), "");
        expect_drop (COMMAND_DROP_malformed);
    }
    assert_false (conn_is_ending (conn));
    command ("CLOSE", conn->id, "alice", form ("{\"reason\":\"%s\"}", longest), "");
    expect_frame (conn, form ("CLOSE 1000 %s", longest));
    expect_carried_out ();
}

/* --- KICK ---------------------------------------------------------------------------------------------------- */

static void kick_all (const char *headers, const char *close)
{
    struct conn *conns[3], *waiting = fixture_waiting ("alice", FORM_JSON), *bobs = fixture_conn ("bob", FORM_JSON);
    for (int i = 0; i < 3; i++)
        conns[i] = fixture_conn ("alice", (enum form) i);
    fx.events_up = false;
    session_accepted (waiting);
    command ("KICK", bobs->id, "alice", headers, ""); /* the connection's frame means nothing here */
    for (int i = 0; i < 3; i++) {
        expect_frame (conns[i], close);
        expect_no_frame (conns[i]);
        assert_int_equal (conns[i]->closing, CLOSE_KICKED);
    }
    expect_frame (waiting, close);
    assert_int_equal (waiting->state, CONN_failed);
    expect_no_frame (bobs);
    assert_false (conn_is_ending (bobs));
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_KICKED, 4);
    expect_gauges_right ();
    expect_carried_out ();
}

static void test_kick (void **state)
{
    (void) state;
    kick_all (NULL, "CLOSE 4009 Kicked");
}

static void test_kick_with_reason (void **state)
{
    (void) state;
    kick_all ("{\"reason\":\"go\",\"code\":1000}", "CLOSE 4009 go");
}

static void test_kick_remaining (void **state)
{
    (void) state;
    struct conn *one = fixture_conn ("alice", FORM_JSON), *two = fixture_conn ("alice", FORM_JSON);
    command ("KICK", "", "alice", NULL, "");
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":4009,\"reason\":\"Kicked\",\"remaining\":1}|", one->id));
    expect_sent (form ("0 DISCONNECT %s alice {\"code\":4009,\"reason\":\"Kicked\",\"remaining\":0}|", two->id));
    expect_nothing_sent ();
}

static void test_kick_nobody (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("carol", "{\"type\":\"x\"}"); /* known, not connected */
    command ("KICK", "", "nobody", NULL, "");
    expect_drop (COMMAND_DROP_unknown_connection);
    command ("KICK", "", "carol", NULL, "");
    expect_drop (COMMAND_DROP_unknown_connection);
    command ("KICK", conn->id, "", NULL, "");
    expect_drop (COMMAND_DROP_unknown_connection);
    command ("KICK", "", "alice", NULL, "");
    command ("KICK", "", "alice", NULL, ""); /* ending already */
    expect_drop (COMMAND_DROP_unknown_connection);
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_KICKED, 1);
}

/* --- HELLO, PING, PONG --------------------------------------------------------------------------------------- */

static void test_hello (void **state)
{
    static const char *const headers[] = {NULL, "{}", "{\"runtime\":\"r\",\"sdk\":\"s\",\"protocol\":1}",
                                          "{\"runtime\":7,\"sdk\":[]}"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (headers); i++)
        command ("HELLO", "", "", headers[i], "");
    expect_metric (M_RUNTIME_COMMANDS, COMMAND_HELLO, COUNT_OF (headers));
    expect_carried_out ();
    expect_nothing_sent ();
}

/* Back on the lane where it came from. */
static void test_ping (void **state)
{
    (void) state;
    fx.lanes = 2;
    fx.lane_up[1] = true;
    struct slice headers = pack ("{\"t\":[\"opaque\",1]}");
    struct slice frames[COMMAND_FRAMES] = {slice_str ("PING"), slice_str (""), slice_str (""), headers, slice_str ("")};
    downstream_command (&fx.hub, 1, frames, COMMAND_FRAMES);
    expect_sent ("1 PONG - - {\"t\":[\"opaque\",1]}|");
    frames[3] = slice_str ("");
    downstream_command (&fx.hub, 0, frames, COMMAND_FRAMES);
    expect_sent ("0 PONG - - |");
    expect_nothing_sent ();
    expect_carried_out ();
    fx.refuse = true;
    downstream_command (&fx.hub, 0, frames, COMMAND_FRAMES);
    expect_carried_out (); /* the link counts what it does not take */
    expect_metric (M_RUNTIME_COMMANDS, COMMAND_PING, 3);
}

static void test_pong (void **state)
{
    static const char *const bad[] = {
        NULL, "{}", "{\"t\":\"1\"}", "{\"t\":-1}", "{\"t\":1.5}", "{\"t\":null}", "{\"t\":9223372036854775807}"};
    (void) state;
    command ("PONG", "", "", form ("{\"t\":%lld}", (long long) clock_read ()), "");
    command ("PONG", "", "", "{\"t\":0}", "");
    expect_carried_out ();
    assert_int_equal (observed ("runtime_round_trip_seconds"), 2);
    for (size_t i = 0; i < COUNT_OF (bad); i++) {
        command ("PONG", "", "", bad[i], "");
        expect_drop (COMMAND_DROP_malformed);
    }
    assert_int_equal (observed ("runtime_round_trip_seconds"), 2);
    expect_nothing_sent ();
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_number_of_frames),
        HUB_TEST (test_names),
        HUB_TEST (test_bad_headers),
        HUB_TEST (test_targets),
        HUB_TEST (test_send_event),
        HUB_TEST (test_send_frame),
        HUB_TEST (test_send_bad_event),
        HUB_TEST (test_send_foreign_event),
        HUB_TEST (test_send_size),
        HUB_TEST (test_send_to_full_queue),
        HUB_TEST (test_send_while_degraded),
        HUB_TEST (test_close_codes),
        HUB_TEST (test_close_defaults),
        HUB_TEST (test_reasons),
        HUB_TEST (test_kick),
        HUB_TEST (test_kick_with_reason),
        HUB_TEST (test_kick_remaining),
        HUB_TEST (test_kick_nobody),
        HUB_TEST (test_hello),
        HUB_TEST (test_ping),
        HUB_TEST (test_pong),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
