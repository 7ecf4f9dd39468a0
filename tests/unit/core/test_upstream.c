/* Client frames on their way to the runtime. */
#include "hub_fixture.h"
#include "jwt_maker.h"

static void expect_message (const struct conn *conn, uint64_t seq, const char *opcode, const char *body)
{
    expect_sent (form ("0 MESSAGE %s alice {\"seq\":%llu,\"ts\":0,\"opcode\":\"%s\"}|%s", conn->id,
                       (unsigned long long) seq, opcode, body));
}

/* forwarded, answered, parse_error, invalid, rate_limited, unavailable, user_rate_limited */
static void expect_results (const double counts[7])
{
    for (unsigned i = 0; i < 7; i++)
        expect_metric (M_CLIENT_MESSAGES, i, counts[i]);
}

#define EXPECT_RESULTS(...) expect_results ((const double[7]){__VA_ARGS__})

/* --- to the runtime, byte for byte --------------------------------------------------------------------------- */

static void test_forward (void **state)
{
    static const struct {
        enum form form;
        enum ws_opcode opcode;
        const char *bytes;
    } cases[] = {
        {FORM_JSON, WS_TEXT, "{\"type\":\"chat\"}"},
        {FORM_JSON, WS_TEXT, " {\"a\" : 1.50e0,\r\n\"type\":\"ch\\u0061t\",\"a\":2} "},
        {FORM_JSON, WS_TEXT, "{\"type\":\"\"}"},
        {FORM_JSON, WS_TEXT, "{\"type\":\"pong\"}"},
        {FORM_JSON, WS_BINARY, "\xff\x01 audio"},
        {FORM_JSON, WS_BINARY, ""},
        {FORM_JSON, WS_BINARY, "{\"type\":\"ping\"}"},
        {FORM_MSGPACK, WS_BINARY,
         "\x81\xa4type\xa4"
         "chat"},
        {FORM_MSGPACK, WS_BINARY, "\x82\xa4type\xa1x\xa1_\xc0"},
        {FORM_RAW, WS_TEXT, "{\"type\":\"ping\"}"},
        {FORM_RAW, WS_TEXT, "no json"},
        {FORM_RAW, WS_TEXT, ""},
        {FORM_RAW, WS_BINARY, "\xff\x01"},
        {FORM_RAW, WS_BINARY, ""},
        {FORM_RAW, WS_BINARY, "\x81\xa4type\xa4ping"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct conn *conn = fixture_conn ("alice", cases[i].form);
        receive (conn, cases[i].opcode, slice_str (cases[i].bytes));
        expect_message (conn, 1, cases[i].opcode == WS_TEXT ? "text" : "binary", cases[i].bytes);
        receive (conn, cases[i].opcode, slice_str (cases[i].bytes));
        expect_message (conn, 2, cases[i].opcode == WS_TEXT ? "text" : "binary", cases[i].bytes);
        expect_nothing_sent ();
        expect_no_frame (conn);
        drop_conn (conn);
        forget_sent ();
    }
    EXPECT_RESULTS (2 * COUNT_OF (cases), 0, 0, 0, 0, 0);
}

static void test_traceparent (void **state)
{
    (void) state;
    for (enum form form = FORM_JSON; form <= FORM_MSGPACK; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        receive_json (conn, "{\"type\":\"x\",\"traceparent\":\"00-ab-cd-01\"}");
        assert_non_null (strstr (fx.sent[fx.seen], form == FORM_JSON
                                                       ? "\"opcode\":\"text\",\"traceparent\":\"00-ab-cd-01\"}|"
                                                       : "\"opcode\":\"binary\",\"traceparent\":\"00-ab-cd-01\"}|"));
        forget_sent ();
    }
}

static void test_time_of_message (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn->last_rx = 0;
    receive_json (conn, "{\"type\":\"x\"}");
    assert_int_equal (conn->last_rx, clock_now ());
}

/* --- what the bridge answers --------------------------------------------------------------------------------- */

#define PARSE_ERROR                                                                                                    \
    "{\"type\":\"error_message\",\"error_code\":\"JSON_PARSE_ERROR\","                                                 \
    "\"error_message\":\"The message is not valid JSON\",\"details\":{},\"timestamp\":0}"
#define INVALID                                                                                                        \
    "{\"type\":\"error_message\",\"error_code\":\"INVALID_MESSAGE\","                                                  \
    "\"error_message\":\"A message is an object with a string \\\"type\\\"\",\"details\":{},"                          \
    "\"timestamp\":0}"

static const struct {
    const char *message, *answer; /* NULL: none */
    enum client_result result;
} answers[] = {
    {"{\"type\":\"ping\"}", "{\"type\":\"pong\",\"timestamp\":0}", CLIENT_RESULT_answered},
    {"{\"type\":\"ping\",\"id\":7}", "{\"type\":\"pong\",\"id\":7,\"timestamp\":0}", CLIENT_RESULT_answered},
    {"{\"id\":\"a\\\"b\",\"type\":\"ping\"}", "{\"type\":\"pong\",\"id\":\"a\\\"b\",\"timestamp\":0}",
     CLIENT_RESULT_answered},
    {"{\"type\":\"ping\",\"id\":null}", "{\"type\":\"pong\",\"id\":null,\"timestamp\":0}", CLIENT_RESULT_answered},
    {"{\"type\":\"ping\",\"id\":{\"a\":[1,true,{}]},\"x\":0}",
     "{\"type\":\"pong\",\"id\":{\"a\":[1,true,{}]},\"timestamp\":0}", CLIENT_RESULT_answered},
    {"{\"type\":\"heartbeat\"}", "{\"type\":\"heartbeat_ack\",\"timestamp\":0}", CLIENT_RESULT_answered},
    {"{\"type\":\"heartbeat_ack\"}", NULL, CLIENT_RESULT_answered},
    {"{}", INVALID, CLIENT_RESULT_invalid},
    {"{\"type\":1}", INVALID, CLIENT_RESULT_invalid},
    {"{\"message_id\":\"m\"}", INVALID, CLIENT_RESULT_invalid},
    {"[]", INVALID, CLIENT_RESULT_invalid},
    {"\"ping\"", INVALID, CLIENT_RESULT_invalid},
    {"null", INVALID, CLIENT_RESULT_invalid},
};

static void expect_answer (struct conn *conn, const char *json)
{
    expect_frame (conn, form ("%s%s", binary (conn), json));
}

static void test_answers (void **state)
{
    double counts[7] = {0};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (answers); i++)
        for (enum form form = FORM_JSON; form <= FORM_MSGPACK; form++) {
            struct conn *conn = fixture_conn ("alice", form);
            receive_json (conn, answers[i].message);
            if (answers[i].answer)
                expect_answer (conn, answers[i].answer);
            expect_no_frame (conn);
            expect_nothing_sent ();
            assert_true (conn_is_live (conn));
            assert_int_equal (conn->seq, 0);
            counts[answers[i].result]++;
            drop_conn (conn);
            forget_sent ();
        }
    expect_results (counts);
}

static void test_bad_syntax (void **state)
{
    static const char *const json[] = {"", "{", "{\"type\":\"x\"", "{\"type\":\"x\"}}", "{'type':1}"};
    static const char *const packed[] = {"", "\xc1", "\x81\xa4type", "\x81\xa4type\xa1x\x01", "{\"type\":\"x\"}"};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *other = fixture_conn ("alice", FORM_MSGPACK);
    for (size_t i = 0; i < COUNT_OF (json); i++) {
        receive (conn, WS_TEXT, slice_str (json[i]));
        expect_frame (conn, PARSE_ERROR);
    }
    for (size_t i = 0; i < COUNT_OF (packed); i++) {
        receive (other, WS_BINARY, slice_str (packed[i]));
        expect_frame (other, "B " PARSE_ERROR);
    }
    expect_nothing_sent ();
    EXPECT_RESULTS (0, 0, COUNT_OF (json) + COUNT_OF (packed), 0, 0, 0);
}

static void test_text_on_msgpack (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_MSGPACK);
    receive (conn, WS_TEXT, slice_str ("{\"type\":\"ping\"}"));
    receive (conn, WS_TEXT, slice_str ("no map"));
    expect_frame (conn, "B " INVALID);
    expect_frame (conn, "B " INVALID);
    expect_nothing_sent ();
    EXPECT_RESULTS (0, 0, 0, 2, 0, 0);
}

/* --- fragments and size -------------------------------------------------------------------------------------- */

static void test_fragments (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    upstream_chunk (conn, WS_TEXT, slice_str ("{\"ty"), false);
    assert_non_null (conn->partial);
    upstream_chunk (conn, WS_TEXT, slice_str (""), false);
    upstream_chunk (conn, WS_TEXT, slice_str ("pe\":\"ch"), false);
    expect_nothing_sent ();
    upstream_chunk (conn, WS_TEXT, slice_str ("at\"}"), true);
    assert_null (conn->partial);
    expect_message (conn, 1, "text", "{\"type\":\"chat\"}");
    upstream_chunk (conn, WS_BINARY, slice_str (""), false);
    upstream_chunk (conn, WS_BINARY, slice_str ("abc"), true);
    expect_message (conn, 2, "binary", "abc");
    upstream_chunk (conn, WS_BINARY, slice_str (""), false);
    upstream_chunk (conn, WS_BINARY, slice_of (NULL, 0), true);
    expect_message (conn, 3, "binary", "");
    assert_null (conn->partial);
}

/* A text is judged piece by piece, as soon as it can be and no sooner; what is no text is not judged. */
static void test_text (void **state)
{
    static const struct {
        const char *pieces[3]; /* up to NULL */
        enum ws_opcode opcode;
        size_t taken; /* pieces; then it closes */
    } cases[] = {
        {{"\xC3", "\xA9"}, WS_TEXT, 2},   {{"\xC3", "", "\xA9"}, WS_TEXT, 3}, {{"\xC3", ""}, WS_TEXT, 1},
        {{"\xC3"}, WS_TEXT, 0},           {{"ok", "\xFF", "ok"}, WS_TEXT, 1}, {{"\xED", "\xA0", "\x80"}, WS_TEXT, 1},
        {{"\xFF", "\xC3"}, WS_BINARY, 2},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct conn *conn = fixture_conn ("alice", FORM_RAW);
        size_t k = 0;
        for (; k < 3 && cases[i].pieces[k] && !conn_is_ending (conn); k++) {
            bool final = k == 2 || !cases[i].pieces[k + 1];
            upstream_chunk (conn, cases[i].opcode, slice_str (cases[i].pieces[k]), final);
            assert_int_equal (conn->closing, k < cases[i].taken ? CLOSE_NONE : CLOSE_INVALID_TEXT);
        }
        assert_int_equal (conn->seq, !conn_is_ending (conn));
        drop_conn (conn);
        forget_sent ();
    }
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_INVALID_TEXT, 4);
}

static void test_gone_amid_fragments (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    upstream_chunk (conn, WS_TEXT, slice_str ("{\"ty"), false);
    drop_conn (conn);
    EXPECT_RESULTS (0);
}

/* Pieces of these sizes; does the message pass? */
static void test_size (void **state)
{
    static const struct {
        size_t pieces[4];
        bool ok;
    } cases[] = {
        {{100}, true}, {{101}, false}, {{50, 50}, true}, {{50, 51}, false}, {{99, 0, 1}, true}, {{100, 0, 0, 1}, false},
    };
    static const char bytes[200] = "";
    (void) state;
    fx.config->max_message_bytes = 100;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct conn *conn = fixture_conn ("alice", FORM_RAW);
        size_t last = 3;
        while (last && !cases[i].pieces[last])
            last--;
        for (size_t k = 0; k <= last; k++)
            upstream_chunk (conn, WS_BINARY, slice_of (bytes, cases[i].pieces[k]), k == last);
        assert_int_equal (conn->seq, cases[i].ok);
        assert_int_equal (conn->closing, cases[i].ok ? CLOSE_NONE : CLOSE_TOO_BIG);
        if (!cases[i].ok)
            expect_frame (conn, "CLOSE 1009 Message too big");
        expect_no_frame (conn);
        drop_conn (conn);
        forget_sent ();
    }
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_TOO_BIG, 3);
}

/* No waiting for the end of what is too big already, and nothing is read behind it. */
static void test_too_big_at_once (void **state)
{
    static const char bytes[200] = "";
    (void) state;
    fx.config->max_message_bytes = 100;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    upstream_chunk (conn, WS_BINARY, slice_of (bytes, 60), false);
    upstream_chunk (conn, WS_BINARY, slice_of (bytes, 60), false);
    assert_int_equal (conn->closing, CLOSE_TOO_BIG);
    forget_sent ();
    upstream_chunk (conn, WS_BINARY, slice_of (bytes, 60), true);
    upstream_chunk (conn, WS_BINARY, slice_of (bytes, 1), true);
    expect_nothing_sent ();
    EXPECT_RESULTS (0);
}

/* --- early frames -------------------------------------------------------------------------------------------- */

static struct conn *early_conn (enum form form)
{
    fx.events_up = false;
    fx.config->client_messages_per_minute = 0;
    struct conn *conn = fixture_waiting ("alice", form);
    session_accepted (conn);
    assert_int_equal (conn->state, CONN_authenticated);
    return conn;
}

static void let_in (struct conn *conn)
{
    set_link (LANE_NONE, true);
    assert_non_null (strstr (fx.sent[fx.seen++], " CONNECT "));
    if (conn->form != FORM_RAW)
        expect_established (conn, 0, false, NULL);
}

static void test_early_frames (void **state)
{
    (void) state;
    struct conn *conn = early_conn (FORM_JSON);
    receive_json (conn, "{\"type\":\"one\"}");
    receive_json (conn, "{\"type\":\"ping\",\"id\":1}");
    receive (conn, WS_BINARY, slice_str ("two"));
    receive (conn, WS_BINARY, slice_str (""));
    upstream_chunk (conn, WS_TEXT, slice_str ("{\"type\":"), false);
    upstream_chunk (conn, WS_TEXT, slice_str ("\"three\"}"), true);
    receive (conn, WS_TEXT, slice_str ("{"));
    upstream_chunk (conn, WS_TEXT, slice_str ("{\"type\":"), false);
    assert_int_equal (conn->early_n, 6);
    expect_no_frame (conn);
    expect_nothing_sent ();
    let_in (conn);
    expect_message (conn, 1, "text", "{\"type\":\"one\"}");
    expect_message (conn, 2, "binary", "two");
    expect_message (conn, 3, "binary", "");
    expect_message (conn, 4, "text", "{\"type\":\"three\"}");
    expect_nothing_sent ();
    expect_frame (conn, "{\"type\":\"pong\",\"id\":1,\"timestamp\":0}");
    expect_frame (conn, PARSE_ERROR);
    expect_no_frame (conn);
    assert_int_equal (conn->early_n, 0);
    assert_true (list_empty (&conn->early));
    upstream_chunk (conn, WS_TEXT, slice_str ("\"four\"}"), true); /* begun early, ended late */
    expect_message (conn, 5, "text", "{\"type\":\"four\"}");
}

/* At the 64th frame the socket is not read any more; what had been read is kept all the same. */
static void test_early_bound (void **state)
{
    (void) state;
    struct conn *conn = early_conn (FORM_JSON);
    for (int i = 1; i <= 63; i++)
        receive_json (conn, form ("{\"type\":\"m%d\"}", i));
    assert_true (conn->reading);
    assert_true (list_empty (&conn->work_link));
    receive_json (conn, "{\"type\":\"m64\"}");
    assert_false (conn->reading);
    assert_ptr_equal (list_pop (&fx.hub.dirty), &conn->work_link);
    receive_json (conn, "{\"type\":\"m65\"}");
    assert_int_equal (conn->early_n, 65);
    let_in (conn);
    assert_true (conn->reading);
    assert_ptr_equal (fx.hub.dirty.next, &conn->work_link);
    for (int i = 1; i <= 65; i++)
        expect_message (conn, (uint64_t) i, "text", form ("{\"type\":\"m%d\"}", i));
    expect_nothing_sent ();
}

static void test_early_too_big (void **state)
{
    static const char bytes[101] = "";
    (void) state;
    struct conn *conn = early_conn (FORM_RAW);
    fx.config->max_message_bytes = 100;
    receive (conn, WS_BINARY, slice_of (bytes, 100));
    assert_int_equal (conn->early_n, 1);
    receive (conn, WS_BINARY, slice_of (bytes, 101));
    expect_frame (conn, "CLOSE 1009 Message too big");
    assert_int_equal (conn->state, CONN_failed);
    set_link (LANE_NONE, true);
    expect_nothing_sent ();
}

static void test_early_frames_of_the_lost (void **state)
{
    (void) state;
    struct conn *conn = early_conn (FORM_JSON);
    receive_json (conn, "{\"type\":\"one\"}");
    receive_json (conn, "{\"type\":\"two\"}");
    drop_conn (conn);
    set_link (LANE_NONE, true);
    expect_nothing_sent ();
    EXPECT_RESULTS (0);
}

/* Early frames are charged when they come: beyond the rate the socket is not read, and what has come is not lost. */
static void test_early_rate_pauses (void **state)
{
    (void) state;
    struct conn *conn = early_conn (FORM_RAW);
    fx.config->client_messages_per_minute = 10; /* one at once */
    conn->bucket = (struct bucket){.tokens = 1, .at = clock_now ()};
    receive (conn, WS_TEXT, slice_str ("one"));
    assert_true (conn->reading);
    receive (conn, WS_TEXT, slice_str ("two"));
    assert_false (conn->reading);
    let_in (conn);
    expect_message (conn, 1, "text", "one");
    expect_message (conn, 2, "text", "two");
    assert_true (conn->reading);
    receive (conn, WS_TEXT, slice_str ("three"));
    assert_non_null (strstr (fx.sent[fx.seen++], " DISCONNECT "));
    expect_nothing_sent ();
    expect_frame (conn, "CLOSE 1008 Rate limited");
    EXPECT_RESULTS (2, 0, 0, 0, 1, 0);
}

/* --- rate limit ---------------------------------------------------------------------------------------------- */

static void expect_rate_limited (struct conn *conn, const char *details)
{
    expect_error (conn, "RATE_LIMITED", "Too many messages; this one was not handed over", details);
}

static void test_rate_limit (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *other = fixture_conn ("alice", FORM_JSON);
    for (int i = 0; i < 60; i++)
        receive_json (conn, i % 2 ? "{\"type\":\"x\"}" : "{\"type\":\"heartbeat_ack\"}");
    expect_no_frame (conn);
    receive_json (conn, "{\"type\":\"x\",\"message_id\":\"m1\"}");
    expect_rate_limited (conn, "\"message_id\":\"m1\"");
    receive_json (conn, "{\"type\":\"ping\"}");
    expect_rate_limited (conn, "");
    receive (conn, WS_TEXT, slice_str ("{"));
    expect_rate_limited (conn, "");
    assert_int_equal (conn->seq, 30);
    EXPECT_RESULTS (30, 30, 0, 0, 3, 0);
    forget_sent ();
    receive_json (other, "{\"type\":\"x\"}");
    expect_message (other, 1, "text", "{\"type\":\"x\"}");
    conn->bucket.at -= S_NS; /* ten a second come back */
    for (int i = 0; i < 12; i++)
        receive_json (conn, "{\"type\":\"x\"}");
    assert_int_equal (conn->seq, 40);
    expect_rate_limited (conn, "");
    expect_rate_limited (conn, "");
    expect_no_frame (conn);
    EXPECT_RESULTS (41, 30, 0, 0, 5, 0);
}

/* However long it was silent, a tenth of a minute's worth at once. */
static void test_burst (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    conn->bucket.at -= 3600 * S_NS;
    for (int i = 0; i < 62; i++)
        receive_json (conn, "{\"type\":\"x\"}");
    EXPECT_RESULTS (60, 0, 0, 0, 2, 0);
    expect_rate_limited (conn, "");
    expect_rate_limited (conn, "");
    expect_no_frame (conn);
}

static void test_rate_limit_on_msgpack (void **state)
{
    (void) state;
    fx.config->client_messages_per_minute = 10;
    struct conn *conn = fixture_conn ("alice", FORM_MSGPACK);
    receive_json (conn, "{\"type\":\"x\"}");
    receive_json (conn, "{\"type\":\"x\",\"message_id\":[1,\"b\"]}");
    expect_rate_limited (conn, "\"message_id\":[1,\"b\"]");
    assert_int_equal (conn->seq, 1);
}

static void test_rate_limit_ends_raw (void **state)
{
    (void) state;
    fx.config->client_messages_per_minute = 20;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    for (int i = 0; i < 3; i++)
        receive (conn, WS_TEXT, slice_str ("x"));
    assert_int_equal (conn->seq, 2);
    assert_int_equal (conn->closing, CLOSE_RATE_LIMITED);
    expect_frame (conn, "CLOSE 1008 Rate limited");
    EXPECT_RESULTS (2, 0, 0, 0, 1, 0);
}

/* All connections of a user share one bucket, whichever sends; another user has another one, and who comes back finds
 * the bucket as it was. */
static void test_user_rate_limit (void **state)
{
    (void) state;
    fx.config->client_messages_per_minute_per_user = 60; /* six at once */
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *other = fixture_conn ("alice", FORM_MSGPACK);
    for (int i = 0; i < 3; i++) {
        receive_json (conn, "{\"type\":\"x\"}");
        receive_json (other, "{\"type\":\"x\"}");
    }
    receive_json (conn, "{\"type\":\"x\",\"message_id\":\"m1\"}");
    expect_rate_limited (conn, "\"message_id\":\"m1\"");
    receive_json (other, "{\"type\":\"x\"}");
    expect_rate_limited (other, "");
    EXPECT_RESULTS (6, 0, 0, 0, 0, 0, 2);
    drop_conn (conn);
    drop_conn (other);
    conn = fixture_conn ("alice", FORM_JSON);
    receive_json (conn, "{\"type\":\"x\"}");
    expect_rate_limited (conn, "");
    receive_json (fixture_conn ("bob", FORM_JSON), "{\"type\":\"x\"}");
    EXPECT_RESULTS (7, 0, 0, 0, 0, 0, 3);
}

/* The connection's own limit comes first, and what it refuses costs the user nothing. */
static void test_own_rate_before_users (void **state)
{
    (void) state;
    fx.config->client_messages_per_minute = 20;
    fx.config->client_messages_per_minute_per_user = 30;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *other = fixture_conn ("alice", FORM_RAW);
    for (int i = 0; i < 9; i++)
        receive_json (conn, "{\"type\":\"x\"}");
    EXPECT_RESULTS (2, 0, 0, 0, 7, 0, 0);
    receive (other, WS_TEXT, slice_str ("x"));
    EXPECT_RESULTS (3, 0, 0, 0, 7, 0, 0);
    receive (other, WS_TEXT, slice_str ("x"));
    expect_frame (other, "CLOSE 1008 Rate limited");
    EXPECT_RESULTS (3, 0, 0, 0, 7, 0, 1);
}

static void test_no_rate_limit (void **state)
{
    (void) state;
    fx.config->client_messages_per_minute = 0;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (int i = 0; i < 500; i++)
        receive_json (conn, "{\"type\":\"x\"}");
    assert_int_equal (conn->seq, 500);
}

/* --- the runtime is not there -------------------------------------------------------------------------------- */

static const struct {
    const char *message, *details;
} lost_messages[] = {
    {"{\"type\":\"x\"}", ""},
    {"{\"type\":\"x\",\"message_id\":\"m-1\"}", "\"message_id\":\"m-1\""},
    {"{\"type\":\"x\",\"message_id\":42}", "\"message_id\":42"},
    {"{\"message_id\":{\"a\":[null]},\"type\":\"x\"}", "\"message_id\":{\"a\":[null]}"},
    {"{\"type\":\"x\",\"id\":1}", ""},
};

static void lose_messages (struct conn *conn)
{
    for (size_t i = 0; i < COUNT_OF (lost_messages); i++) {
        receive_json (conn, lost_messages[i].message);
        expect_unavailable (conn, lost_messages[i].details);
    }
    expect_no_frame (conn);
    expect_nothing_sent ();
    assert_false (conn_is_ending (conn));
}

/* Not handed over, not counted, not sent later. */
static void test_unavailable (void **state)
{
    (void) state;
    for (enum form form = FORM_JSON; form <= FORM_MSGPACK; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        receive_json (conn, "{\"type\":\"x\"}");
        forget_sent ();
        fx.refuse = true; /* it does not read */
        lose_messages (conn);
        fx.refuse = false;
        set_link (LANE_NONE, false); /* it could not answer */
        lose_messages (conn);
        set_link (LANE_NONE, true);
        assert_int_equal (conn->seq, 1);
        receive_json (conn, "{\"type\":\"x\"}");
        assert_non_null (strstr (fx.sent[fx.seen], "{\"seq\":2,"));
        forget_sent ();
        drop_conn (conn);
        forget_sent ();
    }
    EXPECT_RESULTS (4, 0, 0, 0, 0, 4 * COUNT_OF (lost_messages));
}

static void test_unavailable_binary (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.refuse = true;
    receive (conn, WS_BINARY, slice_str ("{\"type\":\"x\",\"message_id\":1}"));
    expect_unavailable (conn, "");
}

static void test_unavailable_ends_raw (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    fx.refuse = true;
    receive (conn, WS_TEXT, slice_str ("x"));
    expect_frame (conn, "CLOSE 1013 Try again later");
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_TRY_LATER, 1);
    EXPECT_RESULTS (0, 0, 0, 0, 0, 1);
    assert_int_equal (conn->seq, 0);
}

/* The bridge's own answers need no runtime. */
static void test_answers_while_degraded (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    set_link (0, false);
    receive_json (conn, "{\"type\":\"ping\"}");
    expect_frame (conn, "{\"type\":\"pong\",\"timestamp\":0}");
    EXPECT_RESULTS (0, 1, 0, 0, 0, 0);
}

/* --- a new token --------------------------------------------------------------------------------------------- */

static char *token_for (const char *user, int ttl)
{
    char *payload = text ("{\"sub\":\"%s\",\"exp\":%lld}", user, (long long) clock_wall () + ttl);
    char *token = make_token ("{\"alg\":\"HS256\"}", payload);
    free (payload);
    return token;
}

/* Takes the token. */
static void refresh (struct conn *conn, char *token)
{
    receive_json (conn, form ("{\"type\":\"refresh_token\",\"message_id\":9,\"token\":\"%s\"}", token));
    free (token);
}

static void expect_token_refused (struct conn *conn, const char *details)
{
    expect_error (conn, "TOKEN_REFUSED", "The new token was not accepted; the old one still counts", details);
    expect_no_frame (conn);
    assert_true (conn_is_live (conn));
}

static void test_refresh (void **state)
{
    (void) state;
    for (enum form form = FORM_JSON; form <= FORM_MSGPACK; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        conn->expires = (int64_t) clock_wall () + 1;
        session_rearm (conn);
        refresh (conn, token_for ("alice", 1000));
        expect_frame (conn, form == FORM_JSON ? "{\"type\":\"token_refreshed\",\"timestamp\":0}"
                                              : "B {\"type\":\"token_refreshed\",\"timestamp\":0}");
        expect_no_frame (conn);
        assert_int_equal (conn->expires, (int64_t) clock_wall () + 1000);
        assert_int_equal (conn->timer.due, conn->ping_at);
    }
    expect_nothing_sent ();
    EXPECT_RESULTS (0, 2, 0, 0, 0, 0);
    expect_metric (M_TOKEN_CACHE_HITS, 0, 1); /* the second time it was the same token */
}

static void test_refresh_wrapped (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    char *token = token_for ("alice", 1000);
    refresh (conn, b64 (slice_str (token)));
    free (token);
    expect_frame (conn, "{\"type\":\"token_refreshed\",\"timestamp\":0}");
}

static void test_refresh_refused (void **state)
{
    (void) state;
    for (enum form form = FORM_JSON; form <= FORM_MSGPACK; form++) {
        struct conn *conn = fixture_conn ("alice", form);
        int64_t expires = conn->expires = (int64_t) clock_wall () + 5;
        char *forged = token_for ("alice", 1000);
        forged[strlen (forged) - 2] ^= 1;
        refresh (conn, forged);
        expect_token_refused (conn, "\"message_id\":9");
        refresh (conn, token_for ("bob", 1000));
        expect_token_refused (conn, "\"message_id\":9");
        refresh (conn, token_for ("alice2", 1000));
        expect_token_refused (conn, "\"message_id\":9");
        refresh (conn, token_for ("alice", -1000));
        expect_token_refused (conn, "\"message_id\":9");
        receive_json (conn, "{\"type\":\"refresh_token\"}");
        expect_token_refused (conn, "");
        receive_json (conn, "{\"type\":\"refresh_token\",\"token\":5}");
        expect_token_refused (conn, "");
        assert_int_equal (conn->expires, expires);
    }
    expect_nothing_sent ();
    EXPECT_RESULTS (0, 0, 0, 12, 0, 0);
}

static void test_refresh_on_raw (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    receive (conn, WS_TEXT, slice_str ("{\"type\":\"refresh_token\"}"));
    expect_message (conn, 1, "text", "{\"type\":\"refresh_token\"}");
    expect_no_frame (conn);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_forward),
        HUB_TEST (test_traceparent),
        HUB_TEST (test_time_of_message),
        HUB_TEST (test_answers),
        HUB_TEST (test_bad_syntax),
        HUB_TEST (test_text_on_msgpack),
        HUB_TEST (test_fragments),
        HUB_TEST (test_text),
        HUB_TEST (test_gone_amid_fragments),
        HUB_TEST (test_size),
        HUB_TEST (test_too_big_at_once),
        HUB_TEST (test_early_frames),
        HUB_TEST (test_early_bound),
        HUB_TEST (test_early_too_big),
        HUB_TEST (test_early_frames_of_the_lost),
        HUB_TEST (test_early_rate_pauses),
        HUB_TEST (test_rate_limit),
        HUB_TEST (test_burst),
        HUB_TEST (test_rate_limit_on_msgpack),
        HUB_TEST (test_rate_limit_ends_raw),
        HUB_TEST (test_user_rate_limit),
        HUB_TEST (test_own_rate_before_users),
        HUB_TEST (test_no_rate_limit),
        HUB_TEST (test_unavailable),
        HUB_TEST (test_unavailable_binary),
        HUB_TEST (test_unavailable_ends_raw),
        HUB_TEST (test_answers_while_degraded),
        HUB_TEST (test_refresh),
        HUB_TEST (test_refresh_wrapped),
        HUB_TEST (test_refresh_refused),
        HUB_TEST (test_refresh_on_raw),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
