/* A hub with a made-up runtime at its other end, and connections without sockets. Limits are small, so that they are
 * reached. What no input may bring about is checked here: a frame that is none, or that is another user's. */
#ifndef TESTS_FUZZ_HUB_H
#define TESTS_FUZZ_HUB_H

#include "base/metrics.h"
#include "base/utf8.h"
#include "clock.h"
#include "core/downstream.h"
#include "core/mp_json.h"
#include "core/session.h"
#include "input.h"

#include <fcntl.h>

#define HUB_LANES  2
#define HUB_SECRET "0123456789abcdef0123456789abcdef"

static struct {
    struct hub hub;
    struct config *config; /* made once */
    struct keys *keys;
    bool lane_up[HUB_LANES], events_up;
    char wire; /* what connections have instead of a socket */
} fx;

/* --- the runtime --------------------------------------------------------------------------------------------- */

static int fake_lanes (UNUSED void *self)
{
    return HUB_LANES;
}

static bool fake_lane_up (UNUSED void *self, int lane)
{
    return fx.lane_up[lane];
}

static bool fake_events_up (UNUSED void *self)
{
    return fx.events_up;
}

/* A connection is named together with its own user only; headers are a map. */
static bool fake_send (UNUSED void *self, int lane, const struct command *command)
{
    struct conn *conn = registry_conn (&fx.hub.registry, command->connection_id);
    CHECK (!command->connection_id.n || (conn && slice_eq (user_id (conn->user), command->user_id)));
    CHECK (!command->headers.n || (mp_is_map (command->headers) && mp_check (command->headers) == MP_OK));
    return fx.lane_up[lane];
}

/* --- frames -------------------------------------------------------------------------------------------------- */

struct frame {
    enum ws_opcode opcode;
    struct slice payload;
};

static struct frame frame_of (const struct msg *msg)
{
    size_t n = msg->bytes[1], head = n < 126 ? 2 : n == 126 ? 4 : 10;
    uint64_t length = n < 126 ? n : 0;
    for (size_t i = 2; i < head; i++)
        length = length << 8 | msg->bytes[i];
    CHECK ((msg->bytes[0] & 0xf0) == 0x80 && n <= 127 && msg->n == head + length);
    return (struct frame){msg->bytes[0] & 0x0f, slice_of (msg->bytes + head, length)};
}

/* RFC 6455 section 5.5.1: a code that may be sent, and UTF-8. */
static void check_close (struct slice payload)
{
    CHECK (payload.n >= 2 && payload.n <= 125);
    unsigned code = (unsigned) (uint8_t) payload.p[0] << 8 | (uint8_t) payload.p[1];
    CHECK (code >= 1000 && code <= 4999 && (code < 1004 || code > 1006) && (code < 1015 || code > 2999));
    CHECK (utf8_valid (slice_of (payload.p + 2, payload.n - 2)));
}

/* No client is ever closed with 1007 for what the bridge has sent. */
static void check_frame (const struct frame *frame)
{
    if (frame->opcode == WS_CLOSE)
        check_close (frame->payload);
    else if (frame->opcode == WS_TEXT)
        CHECK (utf8_valid (frame->payload));
    else
        CHECK (frame->opcode == WS_BINARY || frame->opcode == WS_PING);
}

/* Take all frames off a connection, as a client that reads does. Each goes to `see`. */
UNUSED static void read_frames (struct conn *conn, void (*see) (struct conn *conn, const struct frame *frame))
{
    conn_send_merged (conn);
    session_catch_up (conn);
    for (struct msg *msg; (msg = outq_pop (&conn->outq)); msg_unref (&msg)) {
        struct frame frame = frame_of (msg);
        check_frame (&frame);
        if (see)
            see (conn, &frame);
        conn_send_merged (conn);
        session_catch_up (conn);
    }
}

/* --- connections --------------------------------------------------------------------------------------------- */

/* Its token was good, the 101 has gone out. `epoch` and `offset` as in the query. */
UNUSED static struct conn *hub_connect (const char *user, enum form form, struct slice epoch, struct slice offset)
{
    static const enum subprotocol subprotocols[] = {SUBPROTOCOL_AGENT_CHAT, SUBPROTOCOL_AGENT_CHAT_MSGPACK,
                                                    SUBPROTOCOL_RAW};
    static const char headers[] = "\xa6remote\xa9"
                                  "192.0.2.7";
    struct conn *conn = conn_new (&fx.hub);
    struct user *owner = registry_user_get (&fx.hub.registry, slice_str (user));
    CHECK (conn && owner);
    conn_bind_user (conn, owner);
    conn->form = form;
    conn->subprotocol = subprotocols[form];
    conn->connect_headers = strdup (headers);
    CHECK (conn->connect_headers);
    conn->connect_headers_n = sizeof headers - 1;
    conn->connect_pairs = 1;
    session_set_resume (conn, epoch, offset);
    conn->wire = &fx.wire;
    session_accepted (conn);
    return conn;
}

/* The turn of the loop in which the edge looks at its connections: those that are ending go. */
UNUSED static void hub_turn (void)
{
    size_t cursor = 0;
    hub_begin_turn (&fx.hub);
    while (list_pop (&fx.hub.dirty))
        ;
    for (struct conn *conn; (conn = map_next (&fx.hub.registry.conns, &cursor));)
        if (conn_is_ending (conn) && (conn->kill || conn->outq.n == 0))
            conn_gone (conn, CLOSE_PEER_CLOSED);
    hub_reap (&fx.hub);
}

/* --- set-up -------------------------------------------------------------------------------------------------- */

static struct config *hub_config (void)
{
    char *argv[] = {"--environment=test",
                    "--bridge-id=b1",
                    "--jwt-secret",
                    HUB_SECRET,
                    "--queue-messages=8",
                    "--queue-bytes=4096",
                    "--history-events=6",
                    "--history-bytes=2048",
                    "--history-ttl-s=60",
                    "--history-total-bytes=8192",
                    "--max-event-bytes=2048",
                    "--replay-events=16",
                    "--allow-query-token=true",
                    "--trusted-proxies=192.0.2.0/24",
                    "--run-stall-s=5",
                    "--runtime-lost-s=2",
                    "--abandon-grace-s=3"},
         *env[] = {NULL};
    struct buf error;
    buf_init (&error, 0);
    struct config *config = config_new ((int) COUNT_OF (argv), argv, env, &error);
    if (!config)
        fprintf (stderr, "%.*s\n", (int) error.n, (const char *) error.p);
    CHECK (config);
    buf_fini (&error);
    return config;
}

static struct keys *hub_keys (void)
{
    struct buf error, skipped;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys *keys = keys_load (&(struct keys_sources){.secret = HUB_SECRET}, &error, &skipped);
    CHECK (keys);
    buf_fini (&error);
    buf_fini (&skipped);
    return keys;
}

static void hub_up (void)
{
    if (!fx.config) {
        fx.config = hub_config ();
        fx.keys = hub_keys ();
        log_configure (open ("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_DEBUG, true);
    }
    fuzz_clock_reset ();
    metrics_reset ();
    fx.lane_up[0] = fx.lane_up[1] = fx.events_up = true;
    hub_init (&fx.hub, fx.config);
    downstream_attach (&fx.hub);
    hub_set_keys (&fx.hub, fx.keys);
    fx.hub.runtime = (struct runtime_port){
        .self = &fx, .lanes = fake_lanes, .lane_up = fake_lane_up, .events_up = fake_events_up, .send = fake_send};
}

/* Everybody goes, and every gauge ends at zero. */
static void hub_down (void)
{
    size_t cursor = 0;
    for (struct conn *conn; (conn = map_next (&fx.hub.registry.conns, &cursor));)
        conn_gone (conn, CLOSE_PEER_LOST);
    hub_fini (&fx.hub);
    for (unsigned i = 0; i < CONN_STATE_COUNT; i++)
        CHECK (metric_get (M_CONNECTIONS, i) == 0);
    CHECK (metric_get (M_STATE_ERRORS, 0) == 0);
    CHECK (metric_get (M_USERS, 0) == 0 && metric_get (M_QUEUE_BYTES, 0) == 0 && metric_get (M_RUNS_ACTIVE, 0) == 0);
    CHECK (metric_get (M_HISTORY_BYTES, 0) == 0 && metric_get (M_HISTORY_EVENTS, 0) == 0);
}

#endif
