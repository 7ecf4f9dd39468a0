/* A hub with a made-up runtime at its other end. What goes to the runtime is recorded as text, what waits for a client
 * is read as text, so that a test says in one line what it wants. The clock stands still: nothing refreshes it. */
#ifndef TESTS_HUB_FIXTURE_H
#define TESTS_HUB_FIXTURE_H

#include "base/metrics.h"
#include "core/downstream.h"
#include "core/json_mp.h"
#include "core/lanes.h"
#include "core/keys.h"
#include "core/mp_json.h"
#include "core/session.h"
#include "core/upstream.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#define FIXTURE_SECRET "0123456789abcdef0123456789abcdef"
#define FIXTURE_LANES  4
#define FIXTURE_SENT   1024
#define REMOTE         "\"remote\":\"10.0.0.1\"" /* what CONNECT says of every connection */

struct fixture {
    struct hub hub;
    struct config *config; /* the hub's; tests change limits in place */
    struct keys *keys;
    int lanes;
    bool lane_up[FIXTURE_LANES], events_up, refuse; /* refuse: send takes nothing */
    char *sent[FIXTURE_SENT];                       /* owned texts */
    size_t n_sent, seen;                            /* seen: those that expect_sent has compared */
    int log_fd;
    struct buf bytes; /* pack */
    char wire;
};

static struct fixture fx;

/* --- texts --------------------------------------------------------------------------------------------------- */

/* The number behind `key` becomes 0, as nobody knows the time. */
UNUSED static void mask (char *text, const char *key)
{
    char *at = strstr (text, key);
    if (!at)
        return;
    at += strlen (key);
    size_t n = strspn (at, "0123456789.e+-");
    *at = '0';
    memmove (at + 1, at + n, strlen (at + n) + 1);
}

/* MessagePack as JSON, anything else as it is. */
UNUSED static void put_readable (struct buf *out, struct slice bytes)
{
    if (bytes.n && mp_check (bytes) == MP_OK && mp_is_map (bytes))
        mp_json_write (out, bytes);
    else
        buf_put (out, bytes.p, bytes.n);
}

/* An owned text with times masked. */
UNUSED static char *take_text (struct buf *out)
{
    char *text = buf_steal_str (out);
    assert_non_null (text);
    mask (text, "\"timestamp\":");
    mask (text, "\"ts\":");
    return text;
}

/* JSON as MessagePack; valid until the next call. */
UNUSED static struct slice pack (const char *json)
{
    msgpack_packer packer;
    json_t *value = json_loads (json, JSON_DECODE_ANY, NULL);
    if (!value)
        fail_msg ("not JSON: %s", json);
    buf_fini (&fx.bytes); /* exactly as long as needed, so that a read beyond the end shows */
    buf_init (&fx.bytes, 0);
    mp_writer_init (&packer, &fx.bytes);
    json_mp_put (&packer, value);
    json_decref (value);
    return buf_slice (&fx.bytes);
}

/* Valid until the fourth next call. */
UNUSED static const char *form (const char *format, ...) PRINTF_LIKE (1, 2);
UNUSED static const char *form (const char *format, ...)
{
    static char texts[4][8192];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    va_list args;
    va_start (args, format);
    assert_true (vsnprintf (text, sizeof texts[0], format, args) < (int) sizeof texts[0]);
    va_end (args);
    return text;
}

/* --- the runtime --------------------------------------------------------------------------------------------- */

static int fake_lanes (void *self)
{
    return ((struct fixture *) self)->lanes;
}

static bool fake_lane_up (void *self, int lane)
{
    return ((struct fixture *) self)->lane_up[lane];
}

static bool fake_events_up (void *self)
{
    return ((struct fixture *) self)->events_up;
}

/* "LANE NAME CONNECTION USER HEADERS|BODY", absent ones as `-`. */
static bool fake_send (void *self, int lane, const struct command *command)
{
    struct fixture *f = self;
    struct buf out;
    struct slice conn = command->connection_id, user = command->user_id;
    if (f->refuse || !f->lane_up[lane])
        return false;
    buf_init (&out, 0);
    buf_printf (&out, "%d %s %.*s %.*s ", lane, command_text (command->name), conn.n ? (int) conn.n : 1,
                conn.n ? conn.p : "-", user.n ? (int) user.n : 1, user.n ? user.p : "-");
    put_readable (&out, command->headers);
    buf_putc (&out, '|');
    buf_put (&out, command->body.p, command->body.n);
    assert_true (f->n_sent < FIXTURE_SENT);
    f->sent[f->n_sent++] = take_text (&out);
    return true;
}

/* The next command that has gone to the runtime. */
UNUSED static void expect_sent (const char *wanted)
{
    if (fx.seen == fx.n_sent)
        fail_msg ("nothing was sent, wanted %s", wanted);
    assert_string_equal (fx.sent[fx.seen++], wanted);
}

UNUSED static void expect_nothing_sent (void)
{
    if (fx.seen < fx.n_sent)
        fail_msg ("sent: %s", fx.sent[fx.seen]);
}

UNUSED static void forget_sent (void)
{
    fx.seen = fx.n_sent;
}

/* A lane, or with LANE_NONE the events, comes or goes; as the link tells it. */
UNUSED static void set_link (int lane, bool up)
{
    if (lane == LANE_NONE)
        fx.events_up = up;
    else
        fx.lane_up[lane] = up;
    session_links_changed (&fx.hub, up ? LANE_NONE : lane);
}

/* An event of the runtime, written as JSON. */
UNUSED static void emit (const char *user, const char *json)
{
    struct slice frames[2] = {slice_str (user), pack (json)};
    downstream_event (&fx.hub, frames, 2);
}

UNUSED static void command_bytes (const char *name, struct slice conn, const char *user, const char *headers,
                                  struct slice body)
{
    char *copy = NULL;
    struct slice map = slice_str (NULL);
    if (headers && *headers) {
        map = pack (headers);
        copy = malloc (map.n);
        assert_non_null (copy);
        memcpy (copy, map.p, map.n);
        map.p = copy;
    }
    struct slice frames[COMMAND_FRAMES] = {slice_str (name), conn, slice_str (user), map, body};
    downstream_command (&fx.hub, 0, frames, COMMAND_FRAMES);
    free (copy);
}

/* A command of the runtime on lane 0; `headers` is JSON or NULL, the body goes as it is. */
UNUSED static void command (const char *name, const char *conn, const char *user, const char *headers, const char *body)
{
    command_bytes (name, slice_str (conn), user, headers, slice_str (body));
}

/* --- clients ------------------------------------------------------------------------------------------------- */

/* What a frame says: the payload of text and (in JSON) MessagePack frames, else its kind and payload. */
UNUSED static char *frame_text (const struct msg *msg)
{
    size_t n = msg->bytes[1], head = n < 126 ? 2 : n == 126 ? 4 : 10;
    struct slice payload = slice_of (msg->bytes + head, msg->n - head);
    struct buf out;
    uint64_t length = n < 126 ? n : 0;
    for (size_t i = 2; i < head; i++)
        length = length << 8 | msg->bytes[i];
    assert_int_equal (length, payload.n);
    buf_init (&out, 0);
    switch (msg->bytes[0]) {
    case 0x80 | WS_TEXT:
        break;
    case 0x80 | WS_BINARY:
        buf_puts (&out, "B ");
        break;
    case 0x80 | WS_PING:
        buf_puts (&out, "PING ");
        break;
    case 0x80 | WS_CLOSE:
        assert_true (payload.n >= 2);
        buf_printf (&out, "CLOSE %u ", (unsigned) (uint8_t) payload.p[0] << 8 | (uint8_t) payload.p[1]);
        payload = slice_of (payload.p + 2, payload.n - 2);
        break;
    default:
        fail_msg ("first byte %02x", msg->bytes[0]);
    }
    put_readable (&out, payload);
    return take_text (&out);
}

/* Pop the frame at the front of the queue: an owned text, NULL when there is none. */
UNUSED static char *pop_frame (struct conn *conn)
{
    struct msg *msg = outq_pop (&conn->outq);
    char *text = msg ? frame_text (msg) : NULL;
    msg_unref (&msg);
    return text;
}

UNUSED static void expect_frame (struct conn *conn, const char *wanted)
{
    char *text = pop_frame (conn);
    if (!text)
        fail_msg ("no frame, wanted %s", wanted);
    assert_string_equal (text, wanted);
    free (text);
}

UNUSED static void expect_no_frame (struct conn *conn)
{
    char *text = pop_frame (conn);
    if (text)
        fail_msg ("frame: %s", text);
}

/* "" in front of JSON, "B " in front of what a MessagePack connection gets. */
UNUSED static const char *binary (const struct conn *conn)
{
    return conn->form == FORM_JSON ? "" : "B ";
}

/* Valid until the fourth next call. */
UNUSED static const char *user_epoch (const struct user *user)
{
    char epoch[EPOCH_LEN + 1];
    registry_epoch (&fx.hub.registry, user, epoch);
    return form ("%s", epoch);
}

UNUSED static void expect_established (struct conn *conn, uint64_t offset, bool recovered, const char *error)
{
    expect_frame (conn, form ("%s{\"type\":\"connection_established\",\"data\":{\"connection_id\":\"%s\","
                              "\"user_id\":\"%s\",\"bridge\":\"b1\",\"resume\":{\"epoch\":\"%s\",\"offset\":%llu},"
                              "\"recovered\":%s,\"recovery_error\":%s,\"heartbeat_interval_ms\":25000},"
                              "\"timestamp\":0}",
                              binary (conn), conn->id, conn->user->id, user_epoch (conn->user),
                              (unsigned long long) offset, recovered ? "true" : "false", error ? error : "null"));
}

UNUSED static void expect_error (struct conn *conn, const char *code, const char *message, const char *details)
{
    expect_frame (conn, form ("%s{\"type\":\"error_message\",\"error_code\":\"%s\",\"error_message\":\"%s\","
                              "\"details\":{%s},\"timestamp\":0}",
                              binary (conn), code, message, details));
}

UNUSED static void expect_unavailable (struct conn *conn, const char *details)
{
    expect_error (conn, "RUNTIME_UNAVAILABLE", "The agent runtime cannot be reached; the message was not handed over",
                  details);
}

/* Its token was good, the 101 has not gone out: state connecting. */
UNUSED static struct conn *fixture_waiting (const char *user, enum form form)
{
    static const char headers[] = "\xa6remote\xa8"
                                  "10.0.0.1";
    struct conn *conn = conn_new (&fx.hub);
    assert_non_null (conn);
    struct user *owner = registry_user_get (&fx.hub.registry, slice_str (user));
    assert_non_null (owner);
    conn_bind_user (conn, owner);
    conn->form = form;
    conn->subprotocol = form == FORM_JSON  ? SUBPROTOCOL_AGENT_CHAT
                        : form == FORM_RAW ? SUBPROTOCOL_RAW
                                           : SUBPROTOCOL_AGENT_CHAT_MSGPACK;
    conn->connect_headers = malloc (sizeof headers - 1);
    assert_non_null (conn->connect_headers);
    memcpy (conn->connect_headers, headers, sizeof headers - 1);
    conn->connect_headers_n = sizeof headers - 1;
    conn->connect_pairs = 1;
    bucket_init (&conn->bucket, (double) fx.config->client_messages_per_minute / 10, clock_now ());
    session_set_resume (conn, slice_str (NULL), slice_str (NULL));
    conn->wire = &fx.wire;
    return conn;
}

/* Welcomed, the welcome read, CONNECT seen. */
UNUSED static struct conn *fixture_conn (const char *user, enum form form)
{
    struct conn *conn = fixture_waiting (user, form);
    session_accepted (conn);
    assert_true (conn_is_live (conn));
    if (form != FORM_RAW)
        expect_established (conn, conn->user->offset, false, NULL);
    expect_no_frame (conn);
    forget_sent ();
    return conn;
}

/* A whole message of the client. */
UNUSED static void receive (struct conn *conn, enum ws_opcode opcode, struct slice bytes)
{
    char *copy = malloc (bytes.n ? bytes.n : 1);
    assert_non_null (copy);
    if (bytes.n)
        memcpy (copy, bytes.p, bytes.n);
    upstream_chunk (conn, opcode, slice_of (copy, bytes.n), true);
    free (copy);
}

/* The same, written as JSON, in the connection's form. */
UNUSED static void receive_json (struct conn *conn, const char *json)
{
    if (conn->form == FORM_MSGPACK)
        receive (conn, WS_BINARY, pack (json));
    else
        receive (conn, WS_TEXT, slice_str (json));
}

/* The connection's timer fires now. */
UNUSED static void fire (struct conn *conn)
{
    wheel_cancel (&conn->timer);
    session_on_timer (&conn->timer);
}

UNUSED static void drop_conn (struct conn *conn)
{
    conn_gone (conn, CLOSE_PEER_LOST);
    hub_reap (&fx.hub);
}

/* --- numbers ------------------------------------------------------------------------------------------------- */

UNUSED static void expect_metric (enum metric id, unsigned label, double wanted)
{
    double got = metric_get (id, label);
    if (fabs (got - wanted) > 1e-9)
        fail_msg ("metric %d, label %u: %g, not %g", (int) id, label, got, wanted);
}

/* Over all labels; `n` is how many there are. */
UNUSED static double metric_sum (enum metric id, unsigned n)
{
    double sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += metric_get (id, i);
    return sum;
}

/* How often a histogram was observed. */
UNUSED static long observed (const char *name)
{
    struct buf out;
    char line[128];
    buf_init (&out, 0);
    metrics_write (&out);
    char *text = buf_steal_str (&out);
    snprintf (line, sizeof line, "\nagentbridge_%s_count ", name);
    const char *at = text ? strstr (text, line) : NULL;
    assert_non_null (at);
    long count = strtol (at + strlen (line), NULL, 10);
    free (text);
    return count;
}

/* Gauges against what is there. */
UNUSED static void expect_gauges_right (void)
{
    double states[CONN_STATE_COUNT] = {0}, queued = 0;
    size_t cursor = 0, users = 0;
    for (struct conn *conn; (conn = map_next (&fx.hub.registry.conns, &cursor));) {
        states[conn->state]++;
        queued += conn->outq.bytes + (conn->merge ? (double) conn->merge->size : 0);
        bool member = conn->state >= CONN_authenticated && conn->state <= CONN_reconnecting;
        assert_int_equal (!list_empty (&conn->user_link), member);
    }
    cursor = 0;
    for (struct user *user; (user = map_next (&fx.hub.registry.users, &cursor));) {
        uint32_t n = 0;
        LIST_FOREACH (&user->conns, link)
            n++;
        assert_int_equal (user->n_conns, n);
        users += n > 0;
    }
    for (unsigned i = 0; i < CONN_STATE_COUNT; i++)
        expect_metric (M_CONNECTIONS, i, states[i]);
    expect_metric (M_USERS, 0, (double) users);
    assert_int_equal (fx.hub.registry.users_connected, users);
    expect_metric (M_QUEUE_BYTES, 0, queued);
}

/* --- set-up -------------------------------------------------------------------------------------------------- */

static struct config *fixture_config (void)
{
    char *argv[] = {"--environment=test", "--bridge-id=b1", "--jwt-secret=" FIXTURE_SECRET, NULL}, *env[] = {NULL};
    struct buf error;
    buf_init (&error, 0);
    struct config *config = config_new (3, argv, env, &error);
    if (!config)
        fail_msg ("%.*s", (int) error.n, (char *) error.p);
    buf_fini (&error);
    return config;
}

static struct keys *fixture_keys (void)
{
    struct buf error, skipped;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys *keys = keys_load (&(struct keys_sources){.secret = FIXTURE_SECRET}, &error, &skipped);
    assert_non_null (keys);
    buf_fini (&error);
    buf_fini (&skipped);
    return keys;
}

UNUSED static int fixture_up (void **state)
{
    (void) state;
    metrics_reset ();
    clock_refresh ();
    fx = (struct fixture){.lanes = 1, .lane_up = {true}, .events_up = true, .log_fd = open ("/dev/null", O_WRONLY)};
    log_configure (fx.log_fd, LOG_LEVEL_DEBUG, true);
    buf_init (&fx.bytes, 0);
    fx.config = fixture_config ();
    fx.keys = fixture_keys ();
    hub_init (&fx.hub, fx.config);
    downstream_attach (&fx.hub);
    fx.hub.keys = fx.keys;
    fx.hub.runtime = (struct runtime_port){
        .self = &fx, .lanes = fake_lanes, .lane_up = fake_lane_up, .events_up = fake_events_up, .send = fake_send};
    return 0;
}

/* Every gauge ends at zero. */
UNUSED static int fixture_down (void **state)
{
    (void) state;
    size_t cursor = 0;
    expect_gauges_right ();
    for (struct conn *conn; (conn = map_next (&fx.hub.registry.conns, &cursor));)
        conn_gone (conn, CLOSE_PEER_LOST);
    hub_fini (&fx.hub);
    for (unsigned i = 0; i < CONN_STATE_COUNT; i++)
        expect_metric (M_CONNECTIONS, i, 0);
    expect_metric (M_USERS, 0, 0);
    expect_metric (M_QUEUE_BYTES, 0, 0);
    expect_metric (M_HISTORY_BYTES, 0, 0);
    expect_metric (M_HISTORY_EVENTS, 0, 0);
    expect_metric (M_RUNS_ACTIVE, 0, 0);
    config_destroy (&fx.config);
    keys_destroy (&fx.keys);
    buf_fini (&fx.bytes);
    for (size_t i = 0; i < fx.n_sent; i++)
        free (fx.sent[i]);
    log_configure (STDERR_FILENO, LOG_LEVEL_INFO, true);
    close (fx.log_fd);
    return 0;
}

#define HUB_TEST(function) cmocka_unit_test_setup_teardown (function, fixture_up, fixture_down)

#endif
