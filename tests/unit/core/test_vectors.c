/* The wire vectors (proto/vectors): what they say is what the bridge reads and makes. */
#include "core/encode.h"
#include "core/handshake.h"
#include "core/notice.h"
#include "core/run_watch.h"
#include "hub_fixture.h"
#include "jwt_maker.h"

#define ID    "ws_0123456789ab" /* the connection of the vectors */
#define DROPS (COMMAND_DROP_no_memory + 1)

/* --- the files ----------------------------------------------------------------------------------------------- */

struct frames {
    struct slice frame[8];
    size_t n;
};

static json_t *load (const char *name)
{
    json_error_t fault;
    char path[512];
    snprintf (path, sizeof path, "%s/%s", VECTORS, name);
    json_t *cases = json_load_file (path, JSON_ALLOW_NUL, &fault);
    if (!json_is_array (cases) || json_array_size (cases) == 0)
        fail_msg ("%s: %s", path, fault.text);
    return cases;
}

static const char *str (const json_t *item, const char *key)
{
    const char *value = json_string_value (json_object_get (item, key));
    if (!value)
        fail_msg ("no text %s", key);
    return value;
}

/* Owned bytes, exactly as many as there are, so that a read beyond the end shows. */
static struct slice bytes_of (const char *hex)
{
    size_t n = strlen (hex) / 2;
    uint8_t *out = malloc (n ? n : 1);
    assert_true (out && strlen (hex) % 2 == 0);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal (sscanf (hex + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t) byte;
    }
    return slice_of (out, n);
}

static struct frames frames_of (const json_t *item)
{
    struct frames out = {.n = 0};
    size_t i;
    json_t *hex;
    json_array_foreach (json_object_get (item, "frames"), i, hex)
    {
        assert_true (out.n < COUNT_OF (out.frame));
        out.frame[out.n++] = bytes_of (json_string_value (hex));
    }
    return out;
}

static void free_frames (struct frames *self)
{
    for (size_t i = 0; i < self->n; i++)
        free ((void *) (uintptr_t) self->frame[i].p);
}

static json_t *find (json_t *cases, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach (cases, i, item) if (strcmp (str (item, "name"), name) == 0) return item;
    fail_msg ("no case \"%s\"", name);
    return NULL;
}

static struct slice id_of (const void *conn)
{
    return slice_str (((const struct conn *) conn)->id);
}

/* With the id of the vectors, which is shorter than the registry's own. */
static void rename_conn (struct conn *conn)
{
    fx.hub.registry.conns.key_of = id_of;
    assert_ptr_equal (map_remove (&fx.hub.registry.conns, slice_str (conn->id)), conn);
    snprintf (conn->id, sizeof conn->id, ID);
    assert_true (map_put (&fx.hub.registry.conns, conn));
}

static struct conn *vector_conn (const char *user, enum form form)
{
    struct conn *conn = fixture_conn (user, form);
    rename_conn (conn);
    return conn;
}

static double dropped (void)
{
    return metric_sum (M_COMMANDS_DROPPED, DROPS) + metric_sum (M_EVENTS_DROPPED, DROP_REASON_COUNT);
}

/* --- commands of a runtime ----------------------------------------------------------------------------------- */

/* Events 1 to `last` and the one after the next of demo_1: the bridge asks for the one between. */
static void make_gap (uint64_t last)
{
    command ("HELLO", "", "", "{\"publisher\":\"demo_1\",\"seq\":0}", "");
    for (uint64_t seq = 1; seq <= last + 2; seq += seq == last ? 2 : 1) {
        struct slice meta = pack (form ("{\"publisher\":\"demo_1\",\"seq\":%llu}", (unsigned long long) seq));
        struct slice frames[3] = {slice_str ("alice"), slice_str ("\x81\xa4type\xa1x"), meta};
        downstream_event (&fx.hub, frames, 3);
    }
    unsigned long long gap = last + 1;
    expect_sent (form ("0 REPLAY - - {\"publisher\":\"demo_1\",\"from\":%llu,\"to\":%llu}|", gap, gap));
}

/* What an answer to REPLAY wants to have happened before. */
static void prepare (const char *name, const json_t *headers)
{
    const char *key = strcmp (name, "LOST") == 0 ? "from" : strcmp (name, "EVENT") == 0 ? "seq" : NULL;
    if (key)
        make_gap ((uint64_t) json_integer_value (json_object_get (headers, key)) - 1);
}

/* The last frame that waits for the client, as JSON without what the bridge has added. */
static json_t *last_event (struct conn *conn)
{
    char *text = NULL;
    for (char *next; (next = pop_frame (conn)); text = next)
        free (text);
    json_t *event = text ? json_loads (text, 0, NULL) : NULL;
    json_object_del (event, "_offset");
    free (text);
    return event;
}

static void expect_bytes (struct conn *conn, enum ws_opcode opcode, struct slice bytes)
{
    struct msg *msg = outq_pop (&conn->outq);
    assert_non_null (msg);
    assert_int_equal (msg->bytes[0], 0x80 | opcode);
    assert_true (slice_eq (slice_of (msg->bytes + 2, msg->n - 2u), bytes));
    msg_unref (&msg);
}

static void expect_send (struct conn *conn, const json_t *item, struct slice body)
{
    const char *opcode = json_string_value (json_object_get (json_object_get (item, "headers"), "opcode"));
    if (opcode) {
        expect_bytes (conn, strcmp (opcode, "text") == 0 ? WS_TEXT : WS_BINARY, body);
        return;
    }
    json_t *event = last_event (conn);
    assert_true (json_equal (event, json_object_get (item, "body")));
    json_decref (event);
}

static void expect_close (const struct conn *conn, unsigned code, const json_t *headers)
{
    struct close_frame frame = conn_close_frame (conn);
    const char *reason = json_string_value (json_object_get (headers, "reason"));
    json_int_t given = json_integer_value (json_object_get (headers, "code"));
    assert_true (conn_is_ending (conn));
    assert_int_equal (frame.code, given ? given : code);
    assert_true (slice_is (slice_of (frame.text, frame.n), reason ? reason : ""));
}

/* It was carried out. */
static void expect_done (struct conn *conn, const json_t *item, struct slice body)
{
    const char *name = str (item, "command");
    const json_t *headers = json_object_get (item, "headers");
    if (strcmp (name, "SEND") == 0)
        expect_send (conn, item, body);
    else if (strcmp (name, "CLOSE") == 0)
        expect_close (conn, 1000, headers);
    else if (strcmp (name, "KICK") == 0)
        expect_close (conn, 4009, headers);
    else if (strcmp (name, "LOST") == 0)
        expect_metric (M_EVENTS_LOST, 0, 1);
    else if (strcmp (name, "EVENT") == 0)
        expect_metric (M_EVENTS_REPAIRED, 0, 1);
}

/* A PONG that is older than this machine's clock is none. */
static bool is_from_the_future (const json_t *item)
{
    json_int_t t = json_integer_value (json_object_get (json_object_get (item, "headers"), "t"));
    return strcmp (str (item, "command"), "PONG") == 0 && t > clock_read ();
}

static void test_commands_to_bridge (void **state)
{
    json_t *cases = load ("commands.json"), *item;
    size_t i, n = 0;
    json_array_foreach (cases, i, item)
    {
        if (strcmp (str (item, "to"), "bridge") != 0)
            continue;
        fixture_up (state);
        struct conn *conn = vector_conn ("alice", FORM_JSON);
        prepare (str (item, "command"), json_object_get (item, "headers"));
        enum command_name name = command_from_runtime (slice_str (str (item, "command")));
        double before = metric_get (M_RUNTIME_COMMANDS, name);
        struct frames frames = frames_of (item);
        downstream_command (&fx.hub, 0, frames.frame, frames.n);
        if (dropped () != (is_from_the_future (item) ? 1 : 0))
            fail_msg ("dropped: %s", str (item, "name"));
        expect_metric (M_RUNTIME_COMMANDS, name, before + 1);
        expect_done (conn, item, frames.frame[4]);
        free_frames (&frames);
        fixture_down (state);
        n++;
    }
    assert_true (n >= 12);
    json_decref (cases);
}

/* --- what is none -------------------------------------------------------------------------------------------- */

static void test_refused (void **state)
{
    json_t *cases = load ("refused.json"), *item;
    size_t i, n = 0;
    json_array_foreach (cases, i, item)
    {
        bool events = strcmp (str (item, "link"), "events") == 0;
        if (!events && strcmp (str (item, "link"), "to_bridge") != 0)
            continue;
        fixture_up (state);
        struct conn *conn = vector_conn ("alice", FORM_JSON);
        struct frames frames = frames_of (item);
        if (events)
            downstream_event (&fx.hub, frames.frame, frames.n);
        else
            downstream_command (&fx.hub, 0, frames.frame, frames.n);
        if (dropped () != 1)
            fail_msg ("%g dropped: %s", dropped (), str (item, "name"));
        expect_no_frame (conn);
        assert_false (conn_is_ending (conn));
        free_frames (&frames);
        fixture_down (state);
        n++;
    }
    assert_true (n >= 13);
    json_decref (cases);
}

/* --- events -------------------------------------------------------------------------------------------------- */

static void expect_json (const json_t *item, const struct frames *frames)
{
    struct event event;
    struct buf out;
    assert_int_equal (event_parse (&event, frames->frame[1], frames->frame[0]), DROP_NONE);
    buf_init (&out, 0);
    mp_json_write_event (&out, event.bytes, 0);
    if (!slice_is (buf_slice (&out), str (item, "json")))
        fail_msg ("%s: %.*s", str (item, "name"), (int) out.n, (const char *) out.p);
    buf_fini (&out);
}

/* The publisher says, before a client is there, that the event of this meta is its next. */
static void introduce (const json_t *meta)
{
    if (json_is_object (meta))
        command ("HELLO", "", "",
                 form ("{\"publisher\":\"%s\",\"seq\":%lld}", str (meta, "publisher"),
                       (long long) json_integer_value (json_object_get (meta, "seq")) - 1),
                 "");
}

static void test_events (void **state)
{
    json_t *cases = load ("events.json"), *item;
    size_t i;
    json_array_foreach (cases, i, item)
    {
        fixture_up (state);
        struct frames frames = frames_of (item);
        introduce (json_object_get (item, "meta"));
        struct conn *conn = vector_conn (str (item, "user"), FORM_JSON);
        expect_json (item, &frames);
        downstream_event (&fx.hub, frames.frame, frames.n);
        if (dropped () != 0 || conn->outq.n != 1)
            fail_msg ("%g dropped, %u frames: %s", dropped (), (unsigned) conn->outq.n, str (item, "name"));
        free_frames (&frames);
        fixture_down (state);
    }
    json_decref (cases);
}

/* --- commands to a runtime ----------------------------------------------------------------------------------- */

/* The last one that was sent. */
static struct {
    enum command_name name;
    struct buf connection, user, headers, body;
} sent;

static void keep (struct buf *out, struct slice bytes)
{
    buf_reset (out);
    buf_put (out, bytes.p, bytes.n);
}

static bool keep_sent (UNUSED void *self, UNUSED int lane, const struct command *command)
{
    sent.name = command->name;
    keep (&sent.connection, command->connection_id);
    keep (&sent.user, command->user_id);
    keep (&sent.headers, command->headers);
    keep (&sent.body, command->body);
    return true;
}

/* JSON of MessagePack; owned. */
static json_t *read_map (struct slice bytes)
{
    struct buf text;
    buf_init (&text, 0);
    mp_json_write (&text, bytes);
    json_t *map = json_loadb ((const char *) text.p, text.n, 0, NULL);
    assert_non_null (map);
    buf_fini (&text);
    return map;
}

/* What the bridge has made at another time, or with another token, takes its value from the vector. */
static void settle (json_t *made, const json_t *wanted)
{
    static const char *const volatile_keys[] = {"ts", "timestamp", "event_id", "error_message", "silent_s"};
    json_t *claims = json_object_get (made, "claims"), *wanted_claims = json_object_get (wanted, "claims");
    json_t *resume = json_object_get (json_object_get (made, "data"), "resume");
    json_t *wanted_resume = json_object_get (json_object_get (wanted, "data"), "resume");
    for (size_t i = 0; i < COUNT_OF (volatile_keys); i++)
        if (json_object_get (made, volatile_keys[i]) && json_object_get (wanted, volatile_keys[i]))
            json_object_set (made, volatile_keys[i], json_object_get (wanted, volatile_keys[i]));
    if (json_object_get (claims, "exp"))
        json_object_set (claims, "exp", json_object_get (wanted_claims, "exp"));
    if (resume)
        json_object_set (resume, "epoch", json_object_get (wanted_resume, "epoch"));
}

/* The same bytes, but for what was settled: as many, and, packed again, the same. */
static void expect_headers (const json_t *item, struct slice wanted)
{
    json_t *made = read_map (buf_slice (&sent.headers)), *map = read_map (wanted);
    msgpack_packer packer;
    struct buf again;
    settle (made, map);
    buf_init (&again, 0);
    mp_writer_init (&packer, &again);
    json_mp_put (&packer, made);
    if (sent.headers.n != wanted.n || !slice_eq (buf_slice (&again), wanted))
        fail_msg ("%s: %s", str (item, "name"), json_dumps (made, JSON_COMPACT));
    buf_fini (&again);
    json_decref (made);
    json_decref (map);
}

static void expect_command (json_t *cases, const char *name)
{
    json_t *item = find (cases, name);
    struct frames frames = frames_of (item);
    assert_string_equal (command_text (sent.name), str (item, "command"));
    assert_true (slice_eq (buf_slice (&sent.connection), frames.frame[1]));
    assert_true (slice_eq (buf_slice (&sent.user), frames.frame[2]));
    expect_headers (item, frames.frame[3]);
    assert_true (slice_eq (buf_slice (&sent.body), frames.frame[4]));
    free_frames (&frames);
}

/* A client's message makes this command. */
static void check_message (json_t *cases, struct conn *conn, const char *name)
{
    json_t *item = find (cases, name), *headers = json_object_get (item, "headers");
    struct slice body = bytes_of (str (item, "body"));
    conn->seq = (uint64_t) json_integer_value (json_object_get (headers, "seq")) - 1;
    upstream_chunk (conn, strcmp (str (headers, "opcode"), "text") == 0 ? WS_TEXT : WS_BINARY, body, true);
    expect_command (cases, name);
    free ((void *) (uintptr_t) body.p);
}

static void test_message (UNUSED void **state)
{
    json_t *cases = load ("commands.json");
    struct conn *conn = vector_conn ("alice", FORM_JSON);
    fx.hub.runtime.send = keep_sent;
    check_message (cases, conn, "message, text");
    check_message (cases, conn, "message, text, with a trace");
    check_message (cases, conn, "message, empty");
    json_decref (cases);
}

/* A client with the claims of the case asks with the headers of the case; `query` begins with ? or is empty. */
static void check_connect (json_t *cases, const char *name, const char *query, const char *more)
{
    json_t *headers = json_object_get (find (cases, name), "headers");
    json_t *claims = json_deep_copy (json_object_get (headers, "claims"));
    if (json_object_get (claims, "exp"))
        json_object_set_new (claims, "exp", json_integer (4102444800));
    char *payload = json_dumps (claims, JSON_COMPACT), *token = make_token ("{\"alg\":\"HS256\"}", payload);
    char *head = text ("GET /ws%s HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer %s\r\n"
                       "Sec-WebSocket-Protocol: %s\r\n%s\r\n",
                       query, token, str (headers, "subprotocol"), more);
    struct request request;
    struct ip client;
    size_t n;
    struct conn *conn = conn_new (&fx.hub);
    rename_conn (conn);
    assert_int_equal (request_parse (&request, slice_str (head), &n), REQUEST_OK);
    assert_true (ip_parse (slice_str (str (headers, "remote")), &client));
    handshake_admit (conn, &request, &client);
    assert_int_equal (conn->refusal, ERROR_NONE);
    conn->wire = &fx.wire;
    session_accepted (conn);
    expect_command (cases, name);
    free (head);
    free (token);
    free (payload);
    json_decref (claims);
}

static void test_connect (UNUSED void **state)
{
    json_t *cases = load ("commands.json");
    fx.hub.runtime.send = keep_sent;
    check_connect (cases, "connect", "",
                   "Origin: https://app.example\r\n"
                   "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n");
    json_decref (cases);
}

static void test_connect_again (UNUSED void **state)
{
    json_t *cases = load ("commands.json");
    struct conn *other = fixture_conn ("\xc3\xa5lice", FORM_JSON);
    fx.config->jwt_require_exp = false;
    fx.hub.runtime.send = keep_sent;
    check_connect (cases, "connect with the least", form ("?epoch=%s&offset=0", user_epoch (other->user)), "");
    json_decref (cases);
}

static void test_disconnect (UNUSED void **state)
{
    json_t *cases = load ("commands.json");
    fixture_conn ("alice", FORM_JSON);
    fixture_conn ("alice", FORM_JSON);
    struct conn *conn = vector_conn ("alice", FORM_JSON);
    fx.hub.runtime.send = keep_sent;
    conn_close_with (conn, CLOSE_PEER_CLOSED, 1000, slice_str ("bye"));
    expect_command (cases, "disconnect");
    json_decref (cases);
}

static void test_disconnect_lost (UNUSED void **state)
{
    json_t *cases = load ("commands.json");
    struct conn *conn = vector_conn ("alice", FORM_JSON);
    fx.hub.runtime.send = keep_sent;
    drop_conn (conn);
    expect_command (cases, "disconnect without a close frame, its reason empty");
    json_decref (cases);
}

static void test_abandoned (UNUSED void **state)
{
    json_t *cases = load ("commands.json");
    fx.config->abandon_grace_s = 1;
    struct conn *conn = fixture_conn ("alice", FORM_JSON);
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"run_1\"}");
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"run_2\"}");
    fx.hub.runtime.send = keep_sent;
    struct user *user = conn->user;
    drop_conn (conn);
    user->absent_since -= S_NS;
    run_watch (&fx.hub);
    expect_command (cases, "abandoned");
    json_decref (cases);
}

static void test_replay (UNUSED void **state)
{
    json_t *cases = load ("commands.json");
    command ("HELLO", "", "", "{\"publisher\":\"demo_1\",\"seq\":3}", "");
    fx.hub.runtime.send = keep_sent;
    struct slice meta = pack ("{\"publisher\":\"demo_1\",\"seq\":1004}");
    struct slice frames[3] = {slice_str ("alice"), slice_str ("\x81\xa4type\xa1x"), meta};
    downstream_event (&fx.hub, frames, 3);
    expect_command (cases, "replay");
    json_decref (cases);
}

/* --- messages to a client ------------------------------------------------------------------------------------ */

/* The text of the next frame, settled, is that of the vector; so is the meaning of the vector's bytes. */
static void expect_message (json_t *cases, struct conn *conn, const char *name)
{
    json_t *item = find (cases, name), *wanted = json_object_get (item, "message");
    char *frame = pop_frame (conn);
    assert_non_null (frame);
    json_t *made = json_loads (frame + (conn->form == FORM_MSGPACK ? 2 : 0), 0, NULL);
    settle (made, wanted);
    char *made_text = json_dumps (made, JSON_COMPACT);
    assert_string_equal (made_text, str (item, "json"));
    struct slice bytes = bytes_of (str (item, "msgpack"));
    json_t *meant = read_map (bytes);
    assert_true (json_equal (meant, wanted));
    free ((void *) (uintptr_t) bytes.p);
    json_decref (meant);
    json_decref (made);
    free (made_text);
    free (frame);
}

static void say_established (json_t *cases, struct conn *conn, const char *name, enum recovery recovery)
{
    const json_t *data = json_object_get (json_object_get (find (cases, name), "message"), "data");
    conn->cursor = (uint64_t) json_integer_value (json_object_get (json_object_get (data, "resume"), "offset"));
    conn->recovery = recovery;
    free (fx.config->bridge_id);
    fx.config->bridge_id = strdup (str (data, "bridge"));
    notice_established (conn);
    expect_message (cases, conn, name);
}

static void say_errors (json_t *cases, struct conn *conn)
{
    bool json = conn->form == FORM_JSON;
    notice_error (conn, CLIENT_ERROR_RATE_LIMITED, slice_str (NULL));
    expect_message (cases, conn, "error_message");
    notice_error (conn, CLIENT_ERROR_RUNTIME_UNAVAILABLE, slice_str (json ? "\"m1\"" : "\xa2m1"));
    expect_message (cases, conn, "error_message, not handed over");
    notice_pong (conn, slice_str (json ? "7" : "\x07"));
    expect_message (cases, conn, "pong");
    notice_refusal (conn, ERROR_TOKEN_EXPIRED);
    expect_message (cases, conn, "authentication_error");
    notice_refusal (conn, ERROR_DRAINING);
    expect_message (cases, conn, "connection_error");
}

static void say_notices (json_t *cases, struct conn *conn)
{
    say_established (cases, conn, "connection_established, new", RECOVERY_NOT_ASKED);
    say_established (cases, conn, "connection_established, recovered", RECOVERY_OK);
    say_established (cases, conn, "connection_established, expired", RECOVERY_EXPIRED);
    say_established (cases, conn, "connection_established, unknown epoch", RECOVERY_UNKNOWN_EPOCH);
    conn->cursor = 50;
    notice_resync (conn);
    expect_message (cases, conn, "resync");
    notice_heartbeat_ack (conn);
    expect_message (cases, conn, "heartbeat_ack");
    notice_token_refreshed (conn);
    expect_message (cases, conn, "token_refreshed");
    notice_token_expired (conn);
    expect_message (cases, conn, "token_expired");
    notice_draining (conn, 1700);
    expect_message (cases, conn, "bridge_draining");
    say_errors (cases, conn);
}

static void skip_frame (struct conn *conn)
{
    char *frame = pop_frame (conn);
    assert_non_null (frame);
    free (frame);
}

/* The event of the vector, as a runtime would send it; with it the user's offset is that of the vector. */
static void say_event (json_t *cases, struct conn *conn)
{
    json_t *event = json_deep_copy (json_object_get (find (cases, "an event"), "message"));
    conn->user->offset = (uint64_t) json_integer_value (json_object_get (event, "_offset")) - 1;
    json_object_del (event, "_offset");
    char *json = json_dumps (event, JSON_COMPACT);
    emit ("alice", json);
    expect_message (cases, conn, "an event");
    free (json);
    json_decref (event);
}

static void say_runs (json_t *cases, struct conn *conn)
{
    emit ("alice", "{\"type\":\"agent_started\",\"timestamp\":1700000000.5,\"run_id\":\"run_1\",\"thread_id\":\"t1\"}");
    emit ("alice",
          "{\"type\":\"tool_executing\",\"run_id\":\"run_1\",\"thread_id\":\"t1\",\"tool_name\":\"calculator\","
          "\"execution_id\":\"x1\"}");
    skip_frame (conn);
    skip_frame (conn);
    notice_runs (conn);
    expect_message (cases, conn, "runs_snapshot");
    conn->user->offset = 42;
    LIST_ENTRY (conn->user->runs.open.next, struct run, link)->last_event -= 120 * S_NS;
    run_watch (&fx.hub);
    expect_message (cases, conn, "run_stalled");
}

static void say_lost (json_t *cases, struct conn *conn)
{
    emit ("alice", "{\"type\":\"agent_started\",\"run_id\":\"run_1\"}");
    skip_frame (conn);
    conn->user->offset = 43;
    publishers_lane_down (&fx.hub.publishers, 0);
    publishers_nameless (&fx.hub.publishers, 0)->gone_since -= 10 * S_NS;
    run_watch (&fx.hub);
    expect_message (cases, conn, "runtime lost");
}

/* Each in both forms, on a hub of its own. */
static void test_client (void **state)
{
    static void (*const says[]) (json_t *, struct conn *) = {say_notices, say_event, say_runs, say_lost};
    json_t *cases = load ("client.json");
    for (size_t i = 0; i < COUNT_OF (says); i++)
        for (enum form each = FORM_JSON; each <= FORM_MSGPACK; each++) {
            fixture_up (state);
            says[i](cases, vector_conn ("alice", each));
            fixture_down (state);
        }
    json_decref (cases);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_commands_to_bridge),
        cmocka_unit_test (test_refused),
        cmocka_unit_test (test_events),
        HUB_TEST (test_message),
        HUB_TEST (test_connect),
        HUB_TEST (test_connect_again),
        HUB_TEST (test_disconnect),
        HUB_TEST (test_disconnect_lost),
        HUB_TEST (test_abandoned),
        HUB_TEST (test_replay),
        cmocka_unit_test (test_client),
    };
    int failed = cmocka_run_group_tests (tests, NULL, NULL);
    buf_fini (&sent.connection);
    buf_fini (&sent.user);
    buf_fini (&sent.headers);
    buf_fini (&sent.body);
    return failed;
}
