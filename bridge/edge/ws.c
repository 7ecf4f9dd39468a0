#include "edge/ws.h"
#include "base/metrics.h"
#include "base/utf8.h"
#include "core/session.h"
#include "core/upstream.h"

#include <libwebsockets.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define GATHER_BYTES 65536  /* small frames for one socket share a write */
#define FLUSH_BUDGET 262144 /* bytes for one connection in one pulse; then the others have their turn */
#define RX_CHUNK     256    /* held by every connection, so small; longer messages are collected in upstream.c */
#define TX_CHUNK     (1 << 20)

struct ws {
    struct hub *hub;
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct conn *adopting; /* whose 101 is being sent */
    uint8_t gather[GATHER_BYTES];
};

static void write_queue (struct ws *self, struct conn *conn);

/* Frames are complete, header and all, so they go out as raw bytes: that is what LWS_WRITE_HTTP means on a WebSocket.
 */
static bool write_raw (struct lws *wsi, uint8_t *bytes, size_t n)
{
    return lws_write (wsi, bytes, n, LWS_WRITE_HTTP) >= 0;
}

static void write_close (struct lws *wsi, const char *payload, size_t n)
{
    uint8_t frame[2 + 125] = {0x80 | WS_CLOSE, (uint8_t) n};
    memcpy (frame + 2, payload, n);
    write_raw (wsi, frame, 2 + n);
}

/* --- up ------------------------------------------------------------------------------------------------------ */

static int on_established (struct ws *self, struct lws *wsi, struct conn **slot)
{
    struct conn *conn = self->adopting;
    CHECK (conn);
    conn->wire = wsi;
    *slot = conn;
    session_accepted (conn);
    return 0;
}

static void on_receive (struct conn *conn, struct lws *wsi, struct slice bytes)
{
    bool final = lws_remaining_packet_payload (wsi) == 0 && lws_is_final_fragment (wsi);
    clock_refresh ();
    upstream_chunk (conn, lws_frame_is_binary (wsi) ? WS_BINARY : WS_TEXT, bytes, final);
}

/* What a close frame may not be (RFC 6455 sections 5.5.1 and 7.4) and libwebsockets would echo: the code of the answer,
 * or 0. It has made 1002 of the codes below 3000 that it does not like. */
static uint16_t close_fault (unsigned code, struct slice payload)
{
    if (payload.n == 1 || code > 4999)
        return 1002;
    return payload.n > 2 && !utf8_valid (slice_of (payload.p + 2, payload.n - 2)) ? 1007 : 0;
}

static void on_faulty_close (struct conn *conn, struct lws *wsi, uint16_t code)
{
    const char payload[] = {(char) (code >> 8), (char) code};
    conn_close_with (conn, CLOSE_PROTOCOL_ERROR, code, slice_str (NULL));
    write_close (wsi, payload, sizeof payload);
}

/* The answer to our own close frame ends the connection; a proper close of the peer's is answered by libwebsockets. */
static int on_peer_close (struct conn *conn, struct lws *wsi, struct slice payload)
{
    const uint8_t *p = (const uint8_t *) payload.p;
    unsigned code = payload.n >= 2 ? (unsigned) (p[0] << 8 | p[1]) : 1005;
    uint16_t fault = close_fault (code, payload);
    if (conn_is_ending (conn))
        return -1;
    if (fault)
        on_faulty_close (conn, wsi, fault);
    else
        conn_close_with (conn, CLOSE_PEER_CLOSED, (uint16_t) code,
                         payload.n > 2 ? slice_of (payload.p + 2, payload.n - 2) : slice_str (NULL));
    return fault ? -1 : 0;
}

/* libwebsockets has found a fault in what the peer sent, and says so in a close frame of its own. When ours is under
 * way that one goes out, and nothing behind it. */
static void on_fault (struct ws *self, struct conn *conn, struct lws *wsi)
{
    int n = lws_get_close_length (wsi);
    const uint8_t *payload = lws_get_close_payload (wsi);
    if (n >= 2 && conn_is_ending (conn)) {
        if (!conn->kill)
            write_queue (self, conn);
        shutdown (lws_get_socket_fd (wsi), SHUT_WR);
    } else if (n >= 2)
        conn_close_with (conn, CLOSE_PROTOCOL_ERROR, (uint16_t) (payload[0] << 8 | payload[1]),
                         slice_of (payload + 2, (size_t) n - 2));
}

/* --- down ---------------------------------------------------------------------------------------------------- */

static void observe_delivery (const struct msg *msg, double now)
{
    double seconds = now - msg->timestamp;
    if (msg->timestamp > 0 && seconds > -1)
        metric_observe (M_EVENT_DELIVERY, seconds < 0 ? 0 : seconds);
}

/* They were written together, so one look at the clock is enough. */
static void pop_frames (struct conn *conn, uint32_t count)
{
    double now = clock_wall ();
    while (count--) {
        struct msg *msg = outq_pop (&conn->outq);
        observe_delivery (msg, now);
        msg_unref (&msg);
    }
}

/* Write the frames at the front of the queue that fit one write. How many bytes, or 0 when the socket is dead. */
static size_t write_front (struct ws *self, struct conn *conn)
{
    struct msg *msg = outq_peek (&conn->outq, 0);
    uint8_t *bytes = msg->bytes;
    size_t n = msg->n;
    uint32_t count = 1;
    if (conn->outq.n > 1 && n < GATHER_BYTES) {
        bytes = self->gather;
        for (n = count = 0; (msg = outq_peek (&conn->outq, count)) && n + msg->n <= GATHER_BYTES; count++) {
            memcpy (self->gather + n, msg->bytes, msg->n);
            n += msg->n;
        }
    }
    if (!write_raw (conn->wire, bytes, n))
        return 0;
    pop_frames (conn, count);
    return n;
}

static void set_blocked (struct conn *conn)
{
    if (!conn->blocked_since) {
        conn->blocked_since = clock_now ();
        session_rearm (conn);
    }
}

static void lose_peer (struct conn *conn)
{
    conn->kill = true;
    conn_close (conn, CLOSE_PEER_LOST);
}

/* The peer has closed its side, and libwebsockets wants to get rid of its buffer first: for 5 s it reads the end of the
 * stream again and again. */
static bool peer_has_left (const struct conn *conn)
{
    char byte;
    return recv (lws_get_socket_fd (conn->wire), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* What waits elsewhere comes to the queue when there is room. */
static void refill (struct conn *conn)
{
    conn_send_merged (conn);
    session_catch_up (conn);
}

static void write_queue (struct ws *self, struct conn *conn)
{
    size_t written = 0;
    refill (conn);
    while (conn->outq.n && !lws_partial_buffered (conn->wire)) {
        conn->blocked_since = 0; /* the socket has taken what was buffered for it */
        size_t n = write_front (self, conn);
        if (n == 0) {
            lose_peer (conn);
            return;
        }
        written += n;
        if (written > FLUSH_BUDGET) {
            conn_mark_dirty (conn);
            return;
        }
        refill (conn);
    }
    if (!lws_partial_buffered (conn->wire))
        conn->blocked_since = 0;
    else if (conn->blocked_since && peer_has_left (conn))
        lose_peer (conn);
    else
        set_blocked (conn); /* libwebsockets calls on_writable when its buffer is out */
}

/* Cut the socket, whatever is still buffered for it. */
static void kill_socket (struct conn *conn)
{
    shutdown (lws_get_socket_fd (conn->wire), SHUT_RDWR);
    lws_set_timeout (conn->wire, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

static void flush (struct ws *self, struct conn *conn)
{
    if (!conn->wire)
        return;
    if (conn->reading == conn->paused) {
        conn->paused = !conn->reading;
        lws_rx_flow_control (conn->wire, conn->reading);
    }
    if (!conn->kill)
        write_queue (self, conn);
    if (conn->kill)
        kill_socket (conn);
}

void ws_flush_all (struct ws *self)
{
    struct list batch;
    list_init (&batch);
    list_move_all (&batch, &self->hub->dirty); /* what is marked during the flush has its turn in the next pulse */
    for (struct list *link; (link = list_pop (&batch));)
        flush (self, LIST_ENTRY (link, struct conn, work_link));
}

/* --- libwebsockets ------------------------------------------------------------------------------------------- */

static int callback (struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct ws *self = lws_context_user (lws_get_context (wsi));
    struct conn **slot = user, *conn = slot ? *slot : NULL;

    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        return on_established (self, wsi, slot);
    case LWS_CALLBACK_RECEIVE:
        on_receive (conn, wsi, slice_of (in, len));
        return 0;
    case LWS_CALLBACK_RECEIVE_PONG:
        clock_refresh ();
        conn->last_rx = clock_now ();
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        conn_mark_dirty (conn);
        return 0;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        clock_refresh ();
        return on_peer_close (conn, wsi, slice_of (in, len));
    case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
        if (conn)
            on_fault (self, conn, wsi);
        return 0;
    case LWS_CALLBACK_CLOSED:
        clock_refresh ();
        if (conn)
            conn_gone (conn, CLOSE_PEER_LOST);
        return 0;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return self->adopting ? 0 : -1;
    case LWS_CALLBACK_HTTP: /* never: it sees nothing but our own upgrade requests */
        return -1;
    default:
        return 0;
    }
}

#define WS_PROTOCOL(protocol_name)                                                                                     \
    {                                                                                                                  \
        .name = protocol_name, .callback = callback, .per_session_data_size = sizeof (struct conn *),                  \
        .rx_buffer_size = RX_CHUNK, .tx_packet_size = TX_CHUNK                                                         \
    }

static const struct lws_protocols protocols[] = {
    WS_PROTOCOL ("default"), /* for those that offer none; its name is never sent */
#define SUBPROTOCOL(symbol, token, form) WS_PROTOCOL (token),
#include "tbl/subprotocols.h"
#undef SUBPROTOCOL
    {.name = NULL},
};

static void log_line (int level, const char *line)
{
    size_t n = strcspn (line, "\n");
    if (level == LLL_WARN && strstr (line, "User code denied"))
        return;
    LOG (LIBRARY, NULL, KV_SL ("text", slice_of (line, n)));
}

struct ws *ws_new (uv_loop_t *loop, struct hub *hub)
{
    struct ws *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    self->hub = hub;
    void *loops[] = {loop};
    static const lws_retry_bo_t no_checks = {0}; /* session_timer.c pings; lws keeps these timers in one sorted list */
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .user = self,
        .foreign_loops = loops,
        .vhost_name = "agentbridge",
        .retry_and_idle_policy = &no_checks,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DISABLE_IPV6,
    };
    /* Adoption with bytes at hand prints two lines at LLL_ERR each time, which are no errors. */
    lws_set_log_level (LLL_WARN, log_line);
    self->context = lws_create_context (&info);
    self->vhost = self->context ? lws_create_vhost (self->context, &info) : NULL;
    if (self->vhost)
        return self;
    if (self->context)
        lws_context_destroy (self->context);
    free (self);
    return NULL;
}

void ws_close (struct ws *self)
{
    if (self)
        lws_context_destroy (self->context); /* with a foreign loop this is the first half */
}

void ws_destroy (struct ws **self_p)
{
    struct ws *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    lws_context_destroy (self->context);
    free (self);
}

/* As short as it may be: libwebsockets reads it byte by byte. */
static void write_request (const struct conn *conn, struct slice key, struct buf *out)
{
    buf_puts (out, "GET / HTTP/1.1\r\nHost:b\r\nUpgrade:websocket\r\nConnection:upgrade\r\n"
                   "Sec-WebSocket-Version:13\r\nSec-WebSocket-Key:");
    buf_put (out, key.p, key.n);
    if (conn->subprotocol != SUBPROTOCOL_NONE) {
        buf_puts (out, "\r\nSec-WebSocket-Protocol:");
        buf_puts (out, subprotocol_token (conn->subprotocol));
    }
    buf_puts (out, "\r\n\r\n");
}

/* The 101 and what is to be said first go out in one segment: the socket was accepted with TCP_CORK. */
static void greet (struct ws *self, struct conn *conn, int fd)
{
    int off = 0;
    list_remove (&conn->work_link);
    flush (self, conn);
    if (conn->wire)
        setsockopt (fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
}

void ws_adopt (struct ws *self, struct conn *conn, int fd, struct slice key, struct slice rest)
{
    struct buf text;
    buf_init (&text, 0);
    write_request (conn, key, &text);
    buf_put (&text, rest.p, rest.n);
    if (text.failed) {
        close (fd);
        conn_gone (conn, CLOSE_INTERNAL);
    } else {
        self->adopting = conn; /* libwebsockets reads the request and answers it within this call */
        lws_adopt_socket_vhost_readbuf (self->vhost, fd, (char *) text.p, text.n);
        self->adopting = NULL;
    }
    buf_fini (&text);
    if (conn->wire)
        greet (self, conn, fd);
    else
        conn_gone (conn, CLOSE_PEER_LOST);
}
