/* Events of the runtime on their way to the clients: to whom, in which form, and why not. */
#include "hub_fixture.h"

static struct user *user_of (const char *id)
{
    return registry_user (&fx.hub.registry, slice_str (id));
}

static void expect_dropped (enum drop_reason reason, double n)
{
    expect_metric (M_EVENTS_DROPPED, reason, n);
    assert_true (metric_sum (M_EVENTS_DROPPED, DROP_REASON_COUNT) == n);
}

static void expect_counts (double received, double delivered)
{
    assert_true (metric_sum (M_EVENTS_RECEIVED, EVENT_TYPE_COUNT) == received);
    assert_true (metric_sum (M_EVENTS_DELIVERED, EVENT_TYPE_COUNT) == delivered);
}

/* --- delivery ------------------------------------------------------------------------------------------------ */

static void test_forms (void **state)
{
    (void) state;
    struct conn *json[2], *packed[2], *raw[2], *other = fixture_conn ("bob", FORM_JSON);
    for (int i = 0; i < 2; i++) {
        json[i] = fixture_conn ("alice", FORM_JSON);
        packed[i] = fixture_conn ("alice", FORM_MSGPACK);
        raw[i] = fixture_conn ("alice", FORM_RAW);
    }
    emit ("alice", "{\"type\":\"agent_thinking\",\"user_id\":\"alice\",\"a\":[1,null]}");
    assert_ptr_equal (outq_peek (&json[0]->outq, 0), outq_peek (&json[1]->outq, 0)); /* encoded once a form */
    assert_ptr_equal (outq_peek (&packed[0]->outq, 0), outq_peek (&packed[1]->outq, 0));
    for (int i = 0; i < 2; i++) {
        expect_frame (json[i], "{\"type\":\"agent_thinking\",\"user_id\":\"alice\",\"a\":[1,null],\"_offset\":1}");
        expect_frame (packed[i], "B {\"type\":\"agent_thinking\",\"user_id\":\"alice\",\"a\":[1,null],\"_offset\":1}");
        expect_frame (raw[i], "B {\"type\":\"agent_thinking\",\"user_id\":\"alice\",\"a\":[1,null]}");
        expect_no_frame (json[i]);
        expect_no_frame (packed[i]);
        expect_no_frame (raw[i]);
    }
    expect_no_frame (other);
    expect_metric (M_EVENTS_RECEIVED, EVENT_agent_thinking, 1);
    expect_metric (M_EVENTS_DELIVERED, EVENT_agent_thinking, 6);
    expect_counts (1, 6);
    expect_dropped (DROP_MALFORMED, 0);
}

/* Not a byte is touched, whatever way the runtime writes its MessagePack. */
static void test_raw_is_untouched (void **state)
{
    static const char bytes[] = "\xde\x00\x02\xd9\x04type\xda\x00\x01x\xa2_k\xc4\x02\xff\x00";
    (void) state;
    struct slice event = slice_of (bytes, sizeof bytes - 1), frames[2] = {slice_str ("alice"), event};
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    downstream_event (&fx.hub, frames, 2);
    struct msg *msg = outq_peek (&conn->outq, 0);
    assert_true (slice_eq (slice_of (msg->bytes + 2, msg->n - 2), event));
    assert_int_equal (msg->bytes[0], 0x80 | WS_BINARY);
}

static void test_reserved_keys (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *packed = fixture_conn ("alice", FORM_MSGPACK);
    emit ("alice", "{\"_offset\":99,\"type\":\"x\",\"_\":1,\"a_\":2}");
    expect_frame (conn, "{\"type\":\"x\",\"a_\":2,\"_offset\":1}");
    expect_frame (packed, "B {\"type\":\"x\",\"a_\":2,\"_offset\":1}");
    expect_metric (M_RESERVED_KEYS, 0, 1);
    emit ("alice", "{\"type\":\"x\",\"a\":{\"_b\":1}}");
    expect_frame (conn, "{\"type\":\"x\",\"a\":{\"_b\":1},\"_offset\":2}");
    expect_metric (M_RESERVED_KEYS, 0, 1);
}

/* Each user counts its own events. */
static void test_offsets (void **state)
{
    (void) state;
    struct conn *alice = fixture_conn ("alice", FORM_JSON), *bob = fixture_conn ("bob", FORM_JSON);
    for (int i = 1; i <= 50; i++) {
        emit ("alice", "{\"type\":\"x\"}");
        expect_frame (alice, form ("{\"type\":\"x\",\"_offset\":%d}", i));
        if (i % 2)
            continue;
        emit ("bob", "{\"type\":\"x\"}");
        expect_frame (bob, form ("{\"type\":\"x\",\"_offset\":%d}", i / 2));
    }
    expect_no_frame (alice);
    expect_no_frame (bob);
    assert_int_equal (alice->cursor, 50);
    assert_int_equal (bob->cursor, 25);
}

static void test_types (void **state)
{
    static const char *const names[] = {"agent_started",   "agent_thinking",  "tool_executing",
                                        "tool_completed",  "agent_completed", "agent_error",
                                        "progress_update", "stream_chunk",    "anything"};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (unsigned i = 0; i < COUNT_OF (names); i++) {
        for (unsigned n = 0; n <= i; n++)
            emit ("alice", form ("{\"type\":\"%s\"}", names[i]));
        expect_metric (M_EVENTS_RECEIVED, i, i + 1);
        expect_metric (M_EVENTS_DELIVERED, i, i + 1);
    }
    assert_int_equal (conn->outq.n, 45);
}

static void test_timestamp_of_frame (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"tool_executing\",\"timestamp\":1700000000.25}");
    assert_true (outq_peek (&conn->outq, 0)->timestamp == 1700000000.25);
    assert_int_equal (outq_peek (&conn->outq, 0)->type, EVENT_tool_executing);
}

static void test_with_meta (void **state)
{
    static const char *const good[] = {"{}", "{\"publisher\":\"p\",\"seq\":1}", "{\"other\":[]}"};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (good); i++) {
        struct slice meta = pack (good[i]), frames[3] = {slice_str ("alice"), slice_str ("\x81\xa4type\xa1x"), meta};
        downstream_event (&fx.hub, frames, 3);
        expect_frame (conn, form ("{\"type\":\"x\",\"_offset\":%d}", (int) i + 1));
    }
}

static void test_with_bad_meta (void **state)
{
    static const char *const bad[] = {"{\"publisher\":\"p\"}",
                                      "{\"seq\":1}",
                                      "{\"publisher\":7,\"seq\":1}",
                                      "{\"publisher\":\"\",\"seq\":1}",
                                      "{\"publisher\":\"p\",\"seq\":-1}",
                                      "{\"publisher\":\"p\",\"seq\":1.5}"};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (bad); i++) {
        struct slice meta = pack (bad[i]), frames[3] = {slice_str ("alice"), slice_str ("\x81\xa4type\xa1x"), meta};
        downstream_event (&fx.hub, frames, 3);
        expect_metric (M_EVENTS_DROPPED, DROP_BAD_FRAMES, (double) i + 1);
    }
    expect_no_frame (conn);
}

/* --- narrowed delivery --------------------------------------------------------------------------------------- */

static void test_narrowed (void **state)
{
    (void) state;
    enum form forms[] = {FORM_JSON, FORM_MSGPACK, FORM_RAW};
    struct conn *sibling = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"x\"}");
    expect_frame (sibling, "{\"type\":\"x\",\"_offset\":1}");
    for (size_t i = 0; i < COUNT_OF (forms); i++) {
        struct conn *conn = fixture_conn ("alice", forms[i]);
        emit ("alice", form ("{\"type\":\"stream_chunk\",\"connection_id\":\"%s\"}", conn->id));
        expect_frame (conn, form ("%s{\"type\":\"stream_chunk\",\"connection_id\":\"%s\"}", binary (conn), conn->id));
        expect_no_frame (conn);
    }
    expect_no_frame (sibling);
    assert_int_equal (user_of ("alice")->offset, 1); /* not counted, not kept */
    assert_int_equal (user_of ("alice")->history.n, 1);
    expect_metric (M_EVENTS_RECEIVED, EVENT_stream_chunk, 3);
    expect_metric (M_EVENTS_DELIVERED, EVENT_stream_chunk, 3);
    emit ("alice", "{\"type\":\"x\",\"connection_id\":null}");
    expect_frame (sibling, "{\"type\":\"x\",\"connection_id\":null,\"_offset\":2}");
}

static void narrow_to (const char *user, const char *conn)
{
    emit (user, form ("{\"type\":\"x\",\"connection_id\":\"%s\"}", conn));
}

static void test_narrowed_to_nobody (void **state)
{
    (void) state;
    struct conn *ending = fixture_conn ("alice", FORM_JSON), *waiting = fixture_waiting ("alice", FORM_JSON);
    struct conn *nameless = conn_new (&fx.hub);
    narrow_to ("alice", "ws_000000000000000000000000");
    narrow_to ("alice", "x");
    narrow_to ("alice", waiting->id);
    narrow_to ("alice", nameless->id);
    conn_close (ending, CLOSE_KICKED);
    narrow_to ("alice", ending->id);
    expect_frame (ending, "CLOSE 4009 Kicked");
    expect_no_frame (ending);
    expect_no_frame (waiting);
    expect_no_frame (nameless);
    expect_dropped (DROP_NO_CONNECTION, 5);
    expect_metric (M_ISOLATION_VIOLATIONS, 0, 0);
    expect_counts (0, 0);
    narrow_to ("carol", ending->id); /* another user's, ending or not */
    expect_metric (M_ISOLATION_VIOLATIONS, 0, 1);
    assert_null (user_of ("carol"));
}

/* --- isolation ----------------------------------------------------------------------------------------------- */

static void test_isolation (void **state)
{
    (void) state;
    struct conn *alice = fixture_conn ("alice", FORM_JSON), *bob = fixture_conn ("bob", FORM_JSON);
    const char *const events[] = {
        "{\"type\":\"x\",\"user_id\":\"bob\"}",     "{\"type\":\"x\",\"user_id\":\"alice2\"}",
        "{\"type\":\"x\",\"user_id\":\"Alice\"}",   "{\"type\":\"x\",\"user_id\":\"\"}",
        "{\"type\":\"x\",\"user_id\":null}",        "{\"type\":\"x\",\"user_id\":7}",
        "{\"type\":\"x\",\"user_id\":[\"alice\"]}",
    };
    for (size_t i = 0; i < COUNT_OF (events); i++)
        emit ("alice", events[i]);
    narrow_to ("alice", bob->id);
    narrow_to ("nobody", bob->id);
    emit ("alice", form ("{\"type\":\"x\",\"user_id\":\"bob\",\"connection_id\":\"%s\"}", bob->id));
    expect_no_frame (alice);
    expect_no_frame (bob);
    expect_dropped (DROP_ISOLATION, COUNT_OF (events) + 3);
    expect_metric (M_ISOLATION_VIOLATIONS, 0, COUNT_OF (events) + 3);
    expect_counts (0, 0);
    assert_int_equal (user_of ("alice")->offset, 0);
    assert_int_equal (user_of ("bob")->offset, 0);
    assert_null (user_of ("nobody"));
}

/* Names that are almost alike are different users. */
static void test_names_are_exact (void **state)
{
    static const char *const names[] = {"alice ", " alice", "ALICE", "alic", "alice/", "alice.bob", "ali*"};
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    for (size_t i = 0; i < COUNT_OF (names); i++)
        emit (names[i], "{\"type\":\"x\"}");
    expect_no_frame (conn);
    expect_counts (COUNT_OF (names), 0);
    assert_int_equal (conn->user->offset, 0);
}

/* --- dropped ------------------------------------------------------------------------------------------------- */

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }
#define EVENT B ("\x81\xa4type\xa1x")

static char long_name[129], deep[70];

static const struct {
    size_t n;
    struct slice frames[4];
    enum drop_reason reason;
} faults[] = {
    {0, {{0}}, DROP_BAD_FRAMES},
    {1, {B ("alice")}, DROP_BAD_FRAMES},
    {4, {B ("alice"), EVENT, B ("\x80"), B ("")}, DROP_BAD_FRAMES},
    {3, {B ("alice"), EVENT, B ("")}, DROP_BAD_FRAMES},
    {3, {B ("alice"), EVENT, B ("\x90")}, DROP_BAD_FRAMES},
    {3, {B ("alice"), EVENT, B ("\x81\xa1x")}, DROP_BAD_FRAMES},
    {3, {B ("alice"), EVENT, B ("\x80\x80")}, DROP_BAD_FRAMES},
    {2, {B (""), EVENT}, DROP_BAD_USER},
    {2, {B ("al\nice"), EVENT}, DROP_BAD_USER},
    {2, {B ("alice\x00"), EVENT}, DROP_BAD_USER},
    {2, {B ("\xff"), EVENT}, DROP_BAD_USER},
    {2, {B ("\xc2\x85"), EVENT}, DROP_BAD_USER},
    {2, {{long_name, 129}, EVENT}, DROP_BAD_USER},
    {2, {B ("alice"), B ("")}, DROP_MALFORMED},
    {2, {B ("alice"), B ("\x90")}, DROP_MALFORMED},
    {2, {B ("alice"), B ("{\"type\":\"x\"}")}, DROP_MALFORMED},
    {2, {B ("alice"), B ("\x81\xa4type\xa1x\x00")}, DROP_MALFORMED},
    {2, {B ("alice"), B ("\x82\xa4type\xa1x")}, DROP_MALFORMED},
    {2, {B ("alice"), B ("\xdf\xff\xff\xff\xff\xa4type\xa1x")}, DROP_MALFORMED},
    {2,
     {B ("alice"), B ("\x82\xa4type\xa1x\xad"
                      "connection_id\x07")},
     DROP_MALFORMED},
    {2, {B ("alice"), {deep, sizeof deep}}, DROP_TOO_DEEP},
    {2, {B ("alice"), B ("\x80")}, DROP_NO_TYPE},
    {2, {B ("alice"), B ("\x81\xa4type\xa0")}, DROP_NO_TYPE},
    {2, {B ("alice"), B ("\x81\xa4type\x01")}, DROP_NO_TYPE},
    {2, {B ("alice"), B ("\x82\xa4type\xa1x\xa4type\xa1x")}, DROP_DUPLICATE_KEY},
    {2, {B ("alice"), B ("\x83\xa4type\xa1x\xa6run_id\x01\xa6run_id\x01")}, DROP_DUPLICATE_KEY},
};

static void test_faults (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    memset (long_name, 'n', sizeof long_name);
    memset (deep, '\x91', sizeof deep);
    deep[sizeof deep - 1] = '\xc0';
    for (size_t i = 0; i < COUNT_OF (faults); i++) {
        double before = metric_get (M_EVENTS_DROPPED, faults[i].reason);
        downstream_event (&fx.hub, faults[i].frames, faults[i].n);
        if (metric_get (M_EVENTS_DROPPED, faults[i].reason) != before + 1)
            fail_msg ("case %zu", i);
        assert_true (metric_sum (M_EVENTS_DROPPED, DROP_REASON_COUNT) == (double) i + 1);
    }
    expect_no_frame (conn);
    expect_counts (0, 0);
    expect_metric (M_ISOLATION_VIOLATIONS, 0, 0);
    assert_int_equal (map_size (&fx.hub.registry.users), 1);
    assert_int_equal (conn->user->offset, 0);
}

static void test_longest_name (void **state)
{
    (void) state;
    memset (long_name, 'n', sizeof long_name);
    struct slice frames[2] = {slice_of (long_name, 128), EVENT};
    downstream_event (&fx.hub, frames, 2);
    expect_counts (1, 0);
}

static void test_too_big (void **state)
{
    char bytes[128] = "\x82\xa4type\xa1x\xa1t\xd9\x6d";
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    memset (bytes + 12, 't', 109);
    struct slice frames[2] = {slice_str ("alice"), slice_of (bytes, 12 + 109)};
    fx.config->max_event_bytes = 12 + 109;
    downstream_event (&fx.hub, frames, 2);
    assert_int_equal (conn->outq.n, 1);
    fx.config->max_event_bytes--;
    downstream_event (&fx.hub, frames, 2);
    assert_int_equal (conn->outq.n, 1);
    expect_dropped (DROP_TOO_BIG, 1);
    expect_counts (1, 1);
}

/* --- nobody there, or not yet -------------------------------------------------------------------------------- */

static void test_kept_for_later (void **state)
{
    (void) state;
    for (int i = 0; i < 3; i++)
        emit ("alice", "{\"type\":\"x\"}");
    expect_counts (3, 0);
    expect_metric (M_HISTORY_EVENTS, 0, 3);
    expect_metric (M_USERS, 0, 0);
    assert_int_equal (user_of ("alice")->offset, 3);
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    session_set_resume (conn, slice_str (user_epoch (conn->user)), slice_str ("1"));
    session_accepted (conn);
    expect_established (conn, 1, true, NULL);
    expect_frame (conn, "{\"type\":\"x\",\"_offset\":2}");
    expect_frame (conn, "{\"type\":\"x\",\"_offset\":3}");
    expect_no_frame (conn);
    expect_counts (3, 2);
}

static void test_nobody_and_no_history (void **state)
{
    (void) state;
    fx.config->history_events = 0;
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"r\"}");
    assert_non_null (user_of ("alice")); /* its run is followed */
    emit ("alice", "{\"type\":\"agent_completed\",\"run_id\":\"r\"}");
    assert_null (user_of ("alice"));
    expect_counts (2, 0);
    expect_metric (M_RUNS_ACTIVE, 0, 0);
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"x\"}");
    expect_frame (conn, "{\"type\":\"x\",\"_offset\":1}");
    expect_metric (M_HISTORY_EVENTS, 0, 0);
}

static void test_history_of_all_users_is_full (void **state)
{
    (void) state;
    fx.config->history_total_bytes = 0;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"x\"}");
    emit ("bob", "{\"type\":\"x\"}");
    expect_frame (conn, "{\"type\":\"x\",\"_offset\":1}");
    assert_null (user_of ("bob"));
    expect_counts (2, 1);
}

static void test_not_ready_gets_nothing (void **state)
{
    (void) state;
    struct conn *live = fixture_conn ("alice", FORM_JSON), *waiting = fixture_waiting ("alice", FORM_JSON);
    fx.events_up = false;
    session_accepted (waiting);
    emit ("alice", "{\"type\":\"x\"}");
    expect_no_frame (waiting);
    expect_frame (live, "{\"type\":\"x\",\"_offset\":1}");
    expect_counts (1, 1);
}

/* --- slow and closing connections ---------------------------------------------------------------------------- */

/* Four connections; the one at `slow` has a full queue. It alone goes. */
static void overflow (int slow)
{
    struct conn *conns[4];
    for (int i = 0; i < 4; i++)
        conns[i] = fixture_conn ("alice", i == 2 ? FORM_MSGPACK : FORM_JSON);
    fx.config->queue_messages = 2;
    emit ("alice", "{\"type\":\"a\"}");
    emit ("alice", "{\"type\":\"b\"}");
    for (int i = 0; i < 4; i++)
        if (i != slow)
            free (pop_frame (conns[i]));
    emit ("alice", "{\"type\":\"c\"}");
    for (int i = 0; i < 4; i++) {
        assert_int_equal (conns[i]->closing, i == slow ? CLOSE_SLOW_CONSUMER : CLOSE_NONE);
        if (i != slow) {
            expect_frame (conns[i], form ("%s{\"type\":\"b\",\"_offset\":2}", binary (conns[i])));
            expect_frame (conns[i], form ("%s{\"type\":\"c\",\"_offset\":3}", binary (conns[i])));
        } else
            expect_frame (conns[i], "CLOSE 4008 Slow consumer");
        expect_no_frame (conns[i]);
    }
    expect_sent (
        form ("0 DISCONNECT %s alice {\"code\":4008,\"reason\":\"Slow consumer\",\"remaining\":3}|", conns[slow]->id));
    expect_nothing_sent ();
    expect_gauges_right ();
}

static void test_overflow_of_one (void **state)
{
    for (int slow = 0; slow < 4; slow++) {
        overflow (slow);
        fixture_down (state);
        fixture_up (state);
    }
}

static void test_overflow_of_all (void **state)
{
    struct conn *conns[3];
    (void) state;
    for (int i = 0; i < 3; i++)
        conns[i] = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 1;
    emit ("alice", "{\"type\":\"a\"}");
    emit ("alice", "{\"type\":\"b\"}");
    for (int i = 0; i < 3; i++)
        expect_frame (conns[i], "CLOSE 4008 Slow consumer");
    expect_metric (M_CONNECTIONS_CLOSED, CLOSE_SLOW_CONSUMER, 3);
    expect_metric (M_USERS, 0, 0);
    assert_int_equal (user_of ("alice")->history.n, 2);
    emit ("alice", "{\"type\":\"c\"}");
    assert_int_equal (user_of ("alice")->offset, 3);
}

/* The counter says what was put on a connection, not what did not fit. */
static void test_delivered_is_what_fitted (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 1;
    emit ("alice", "{\"type\":\"a\"}");
    emit ("alice", "{\"type\":\"b\"}");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    expect_counts (2, 1);
}

static void test_narrowed_overflow (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON), *sibling = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 1;
    narrow_to ("alice", conn->id);
    narrow_to ("alice", conn->id);
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (sibling);
    assert_false (conn_is_ending (sibling));
}

/* --- merging ------------------------------------------------------------------------------------------------- */

static void delta (const char *run, const char *text)
{
    emit ("alice", form ("{\"type\":\"stream_chunk\",\"run_id\":\"%s\",\"delta\":\"%s\"}", run, text));
}

static void expect_delta (struct conn *conn, const char *run, const char *text, int offset)
{
    expect_frame (conn, form ("%s{\"type\":\"stream_chunk\",\"run_id\":\"%s\",\"delta\":\"%s\",\"_offset\":%d}",
                              binary (conn), run, text, offset));
}

/* So many events that wait. */
static void fill (int n)
{
    for (int i = 0; i < n; i++)
        emit ("alice", "{\"type\":\"filler\"}");
}

static void expect_fillers (struct conn *conn, int n)
{
    for (int i = 1; i <= n; i++)
        expect_frame (conn, form ("%s{\"type\":\"filler\",\"_offset\":%d}", binary (conn), i));
}

/* All that waits but for what has merged has been written, as the edge does it. */
static void run_empty (struct conn *conn, int fillers)
{
    expect_fillers (conn, fillers);
    conn_send_merged (conn);
}

static void test_merge_past_half (void **state)
{
    (void) state;
    struct conn *slow[2] = {fixture_conn ("alice", FORM_JSON), fixture_conn ("alice", FORM_MSGPACK)};
    struct conn *quick = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 4;
    for (int i = 1; i <= 100; i++) {
        delta ("r", form ("%d,", i % 10));
        expect_delta (quick, "r", form ("%d,", i % 10), i);
        expect_gauges_right ();
    }
    for (int k = 0; k < 2; k++) {
        for (int i = 1; i <= 3; i++)
            expect_delta (slow[k], "r", form ("%d,", i), i);
        expect_no_frame (slow[k]);
        conn_send_merged (slow[k]);
        char text[200] = "";
        for (int i = 4; i <= 100; i++)
            snprintf (text + strlen (text), 3, "%d,", i % 10);
        expect_delta (slow[k], "r", text, 100);
        assert_int_equal (slow[k]->cursor, 100);
    }
    expect_metric (M_EVENTS_COALESCED, 0, 2 * 96);
    expect_metric (M_EVENTS_DELIVERED, EVENT_stream_chunk, 100 + 2 * 4);
}

/* By bytes as well; exactly half is not past it. */
static void test_merge_past_half_of_bytes (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fill (4);
    fx.config->queue_bytes = 2 * (int64_t) conn->outq.bytes;
    delta ("r", "a");
    assert_null (conn->merge);
    delta ("r", "b");
    assert_non_null (conn->merge);
    assert_int_equal (conn->outq.n, 5);
}

static void test_raw_never_merges (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_RAW);
    fx.config->queue_messages = 4;
    for (int i = 0; i < 4; i++)
        delta ("r", "a");
    assert_int_equal (conn->outq.n, 4);
    delta ("r", "a");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    expect_metric (M_EVENTS_COALESCED, 0, 0);
}

/* The latest is enough. */
static void test_keep_latest (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 8;
    fill (5);
    for (int i = 1; i <= 9; i++)
        emit ("alice", form ("{\"type\":\"progress_update\",\"run_id\":\"r\",\"percent\":%d}", i));
    for (int i = 1; i <= 9; i++)
        emit ("alice", form ("{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"reasoning\":\"%d\"}", i));
    run_empty (conn, 5);
    expect_frame (conn, "{\"type\":\"progress_update\",\"run_id\":\"r\",\"percent\":9,\"_offset\":14}");
    conn_send_merged (conn);
    expect_frame (conn, "{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"reasoning\":\"9\",\"_offset\":23}");
    expect_metric (M_EVENTS_COALESCED, 0, 16);
}

/* A slow connection: five fillers wait, and "ab" behind them. */
static struct conn *merging (enum form form)
{
    struct conn *conn = fixture_conn ("alice", form);
    fx.config->queue_messages = 8;
    fill (5);
    delta ("r", "a");
    delta ("r", "b");
    assert_non_null (conn->merge);
    return conn;
}

static void expect_around (struct conn *conn, const char *between, int last)
{
    char *wanted = strdup (between); /* it may be one of form's */
    assert_non_null (wanted);
    delta ("r", "c");
    delta ("r", "d");
    expect_fillers (conn, 5);
    expect_delta (conn, "r", "ab", 7);
    expect_frame (conn, wanted);
    free (wanted);
    conn_send_merged (conn);
    expect_delta (conn, "r", "cd", last);
    expect_no_frame (conn);
}

/* Whatever comes between keeps its place, and ends the merging. */
static void test_only_neighbours_merge (void **state)
{
    static const char *const between[] = {
        "{\"type\":\"stream_chunk\",\"run_id\":\"s\",\"delta\":\"a\"",
        "{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"delta\":\"a\"",
        "{\"type\":\"stream_chunk\",\"run_id\":\"r\"",
        "{\"type\":\"stream_chunk\",\"delta\":\"a\"",
        "{\"type\":\"tool_executing\",\"run_id\":\"r\",\"delta\":\"a\"",
        "{\"type\":\"agent_completed\",\"run_id\":\"r\"",
    };
    for (size_t i = 0; i < COUNT_OF (between); i++) {
        struct conn *conn = merging (FORM_JSON);
        emit ("alice", form ("%s}", between[i]));
        expect_around (conn, form ("%s,\"_offset\":8}", between[i]), 10);
        expect_metric (M_EVENTS_COALESCED, 0, 2);
        expect_counts (10, 8);
        fixture_down (state);
        fixture_up (state);
    }
}

static void test_narrowed_between (void **state)
{
    (void) state;
    struct conn *conn = merging (FORM_JSON);
    const char *event =
        form ("{\"type\":\"stream_chunk\",\"run_id\":\"r\",\"delta\":\"x\",\"connection_id\":\"%s\"}", conn->id);
    emit ("alice", event);
    expect_around (conn, event, 9);
}

static void test_send_between (void **state)
{
    (void) state;
    struct conn *conn = merging (FORM_JSON);
    command ("SEND", conn->id, "alice", "{\"opcode\":\"text\"}", "sent");
    expect_around (conn, "sent", 9);
}

static void test_notice_between (void **state)
{
    (void) state;
    struct conn *conn = merging (FORM_MSGPACK);
    receive_json (conn, "{\"type\":\"ping\",\"id\":7}");
    expect_around (conn, "B {\"type\":\"pong\",\"id\":7,\"timestamp\":0}", 9);
}

/* The client has caught up before the queue ran empty. */
static void test_no_longer_slow (void **state)
{
    (void) state;
    struct conn *conn = merging (FORM_JSON);
    expect_frame (conn, "{\"type\":\"filler\",\"_offset\":1}");
    delta ("r", "c");
    assert_null (conn->merge);
    assert_int_equal (conn->outq.n, 6);
    for (int i = 2; i <= 5; i++)
        expect_frame (conn, form ("{\"type\":\"filler\",\"_offset\":%d}", i));
    expect_delta (conn, "r", "ab", 7);
    expect_delta (conn, "r", "c", 8);
    expect_no_frame (conn);
    expect_gauges_right ();
}

/* What waits unencoded is one of the messages that the queue may hold. */
static void test_merge_at_full_queue (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 4;
    fill (3);
    for (int i = 0; i < 10; i++)
        delta ("r", "a");
    assert_int_equal (conn->outq.n, 3);
    assert_false (conn_is_ending (conn));
    delta ("s", "a");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    expect_frame (conn, "CLOSE 4008 Slow consumer");
    expect_no_frame (conn);
    expect_metric (M_EVENTS_DELIVERED, EVENT_stream_chunk, 1);
    expect_metric (M_EVENTS_COALESCED, 0, 9);
}

/* To the byte: the last event as it came, and all text. */
static void test_merge_at_full_queue_of_bytes (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fill (8);
    size_t room = conn->outq.bytes - 2;
    fx.config->queue_bytes = (int64_t) (conn->outq.bytes + room);
    delta ("r", "0123456789");
    size_t event_n = fx.bytes.n, n = 1;
    for (; event_n + 10 * (n + 1) <= room; n++) {
        delta ("r", "0123456789");
        assert_false (conn_is_ending (conn));
        assert_int_equal (conn->merge->size, event_n + 10 * (n + 1));
        expect_gauges_right ();
    }
    assert_true (n > 5);
    delta ("r", "0123456789");
    assert_int_equal (conn->closing, CLOSE_SLOW_CONSUMER);
    assert_null (conn->merge);
    expect_metric (M_EVENTS_COALESCED, 0, (double) n - 1);
    expect_gauges_right ();
}

/* Nobody gets an event larger than the largest that the runtime may send. */
static void test_merged_event_is_bounded (void **state)
{
    (void) state;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 8;
    fill (5);
    delta ("r", "0");
    fx.config->max_event_bytes = (int64_t) fx.bytes.n + 2;
    delta ("r", "1");
    delta ("r", "2");
    assert_int_equal (conn->outq.n, 5);
    delta ("r", "3");
    assert_int_equal (conn->outq.n, 6);
    run_empty (conn, 5);
    expect_delta (conn, "r", "012", 8);
    conn_send_merged (conn);
    expect_delta (conn, "r", "3", 9);
}

static void test_no_memory_for_a_delta (void **state)
{
    (void) state;
    struct conn *conn = merging (FORM_JSON);
    conn->merge->text.limit = conn->merge->text.n;
    delta ("r", "c");
    assert_int_equal (conn->closing, CLOSE_INTERNAL);
    expect_fillers (conn, 5);
    expect_frame (conn, "CLOSE 1011 Internal error");
    expect_no_frame (conn);
    expect_metric (M_EVENTS_COALESCED, 0, 1);
}

/* A connection that is behind gets each event from history, as it was. */
static void test_behind_does_not_merge (void **state)
{
    (void) state;
    for (int i = 1; i <= 6; i++)
        delta ("r", form ("%d", i));
    struct conn *conn = fixture_waiting ("alice", FORM_JSON);
    fx.config->queue_messages = 4;
    session_set_resume (conn, slice_str (user_epoch (conn->user)), slice_str ("0"));
    session_accepted (conn);
    assert_true (conn->behind);
    delta ("r", "7");
    delta ("r", "8");
    assert_null (conn->merge);
    expect_established (conn, 0, true, NULL);
    for (int i = 1; i <= 8; i++) {
        session_catch_up (conn);
        expect_delta (conn, "r", form ("%d", i), i);
    }
    expect_no_frame (conn);
    expect_metric (M_EVENTS_COALESCED, 0, 0);
}

/* A run that ends on a connection that closes at the same time. */
static void test_run_ends_at_overflow (void **state)
{
    (void) state;
    struct conn *slow = fixture_conn ("alice", FORM_JSON), *quick = fixture_conn ("alice", FORM_JSON);
    fx.config->queue_messages = 1;
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"r\"}");
    free (pop_frame (quick));
    emit ("alice", "{\"type\":\"agent_completed\",\"run_id\":\"r\"}");
    assert_int_equal (slow->state, CONN_closing);
    assert_int_equal (quick->state, CONN_idle);
    expect_metric (M_STATE_ERRORS, 0, 0);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST (test_forms),
        HUB_TEST (test_raw_is_untouched),
        HUB_TEST (test_reserved_keys),
        HUB_TEST (test_offsets),
        HUB_TEST (test_types),
        HUB_TEST (test_timestamp_of_frame),
        HUB_TEST (test_with_meta),
        HUB_TEST (test_with_bad_meta),
        HUB_TEST (test_narrowed),
        HUB_TEST (test_narrowed_to_nobody),
        HUB_TEST (test_isolation),
        HUB_TEST (test_names_are_exact),
        HUB_TEST (test_faults),
        HUB_TEST (test_longest_name),
        HUB_TEST (test_too_big),
        HUB_TEST (test_kept_for_later),
        HUB_TEST (test_nobody_and_no_history),
        HUB_TEST (test_history_of_all_users_is_full),
        HUB_TEST (test_not_ready_gets_nothing),
        HUB_TEST (test_overflow_of_one),
        HUB_TEST (test_overflow_of_all),
        HUB_TEST (test_delivered_is_what_fitted),
        HUB_TEST (test_narrowed_overflow),
        HUB_TEST (test_merge_past_half),
        HUB_TEST (test_merge_past_half_of_bytes),
        HUB_TEST (test_raw_never_merges),
        HUB_TEST (test_keep_latest),
        HUB_TEST (test_only_neighbours_merge),
        HUB_TEST (test_narrowed_between),
        HUB_TEST (test_send_between),
        HUB_TEST (test_notice_between),
        HUB_TEST (test_no_longer_slow),
        HUB_TEST (test_merge_at_full_queue),
        HUB_TEST (test_merge_at_full_queue_of_bytes),
        HUB_TEST (test_merged_event_is_bounded),
        HUB_TEST (test_no_memory_for_a_delta),
        HUB_TEST (test_behind_does_not_merge),
        HUB_TEST (test_run_ends_at_overflow),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
