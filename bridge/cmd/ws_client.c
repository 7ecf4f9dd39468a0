#include "cmd/ws_client.h"
#include "base/hash.h"
#include "base/list.h"

#include <libwebsockets.h>

#define RX_CHUNK       65536
#define OPEN_TIMEOUT_S 15    /* also for each later answer that the library waits for */
#define HEADERS_MAX    65535 /* long tokens */
#define PING_AFTER_S   40    /* of silence; the bridge pings every 25 s */
#define GONE_AFTER_S   60

struct outgoing {
    struct list link;
    bool text;
    size_t n;
    unsigned char bytes[]; /* LWS_PRE for the library, then n */
};

struct ws_client {
    const struct ws_client_options *options;
    const struct ws_client_events *events;
    const char *protocols;
    void *arg;
    struct lws_context *context;
    struct lws *wsi; /* NULL: no connection */
    struct list queue;
    size_t waiting;
    struct buf message;
    struct ws_client_end end;
    bool opening; /* within ws_client_open */
    bool closing, said_goodbye;
    bool over; /* on_end was called, or must not be */
};

/* --- sending ------------------------------------------------------------------------------------------------- */

bool ws_client_send (struct ws_client *self, bool text, struct slice bytes)
{
    struct outgoing *out = self->wsi ? malloc (sizeof *out + LWS_PRE + bytes.n) : NULL;
    if (!out)
        return false;
    out->text = text;
    out->n = bytes.n;
    slice_copy (out->bytes + LWS_PRE, bytes);
    list_append (&self->queue, &out->link);
    self->waiting += bytes.n;
    lws_callback_on_writable (self->wsi);
    return true;
}

size_t ws_client_waiting (const struct ws_client *self)
{
    return self->waiting + !list_empty (&self->queue);
}

static void forget_queue (struct ws_client *self)
{
    for (struct list *link; (link = list_pop (&self->queue)); self->end.unsent++)
        free (LIST_ENTRY (link, struct outgoing, link));
    self->waiting = 0;
}

void ws_client_close (struct ws_client *self)
{
    self->closing = true;
    if (self->wsi)
        lws_callback_on_writable (self->wsi);
}

/* A close frame (1000) by hand, masked as a client's has to be: to a callback for a writable socket that asks for a
 * close, libwebsockets says no goodbye. LWS_WRITE_HTTP means raw bytes on a WebSocket. */
static int say_goodbye (struct ws_client *self)
{
    unsigned char room[LWS_PRE + 8] = {0}, *frame = room + LWS_PRE, *mask = frame + 2;
    if (self->said_goodbye)
        return 0;
    self->said_goodbye = true;
    frame[0] = 0x88;
    frame[1] = 0x80 | 2;
    random_bytes (mask, 4);
    frame[6] = (1000 >> 8) ^ mask[0];
    frame[7] = (1000 & 0xFF) ^ mask[1];
    return lws_write (self->wsi, frame, 8, LWS_WRITE_HTTP) < 0 ? -1 : 0;
}

static int on_writable (struct ws_client *self)
{
    struct list *link = list_pop (&self->queue);
    if (!link)
        return self->closing ? say_goodbye (self) : 0;
    struct outgoing *out = LIST_ENTRY (link, struct outgoing, link);
    int written = lws_write (self->wsi, out->bytes + LWS_PRE, out->n, out->text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY);
    self->waiting -= out->n;
    free (out);
    if (written < 0)
        return -1;
    if (list_empty (&self->queue))
        self->events->on_sent (self->arg);
    if (!list_empty (&self->queue) || self->closing)
        lws_callback_on_writable (self->wsi);
    return 0;
}

/* --- receiving ----------------------------------------------------------------------------------------------- */

static int on_receive (struct ws_client *self, struct slice bytes)
{
    if (lws_is_first_fragment (self->wsi))
        buf_reset (&self->message);
    buf_put (&self->message, bytes.p, bytes.n);
    if (self->message.failed)
        return -1;
    if (lws_is_final_fragment (self->wsi) && lws_remaining_packet_payload (self->wsi) == 0)
        self->events->on_message (self->arg, !lws_frame_is_binary (self->wsi), buf_slice (&self->message));
    return 0;
}

static void set_why (struct ws_client_end *end, struct slice text)
{
    size_t n = text.n < sizeof end->why ? text.n : sizeof end->why - 1;
    slice_copy (end->why, slice_of (text.p, n));
    end->why[n] = '\0';
}

/* libwebsockets 4.1 makes 1002 of the codes from 1012 on that it does not know. With the text of a close reason of the
 * bridge it was that one's code. */
static unsigned real_code (unsigned code, const char *text)
{
    static const struct {
        unsigned code;
        const char *text;
    } reasons[] = {
#define CLOSE_REASON(symbol, label, code, frame, text) {code, text},
#include "tbl/close_reasons.h"
#undef CLOSE_REASON
    };
    for (size_t i = 0; code == 1002 && *text && i < COUNT_OF (reasons); i++)
        if (reasons[i].code >= 1012 && reasons[i].code < 3000 && strcmp (reasons[i].text, text) == 0)
            return reasons[i].code;
    return code;
}

/* The answer to ours ends the connection; any other is answered by libwebsockets. */
static int on_close_frame (struct ws_client *self, struct slice payload)
{
    const uint8_t *p = (const uint8_t *) payload.p;
    self->end.code = payload.n >= 2 ? (unsigned) (p[0] << 8 | p[1]) : 1005;
    if (payload.n > 2)
        set_why (&self->end, slice_of (payload.p + 2, payload.n - 2));
    self->end.code = real_code (self->end.code, self->end.why);
    return self->said_goodbye ? -1 : 0;
}

static void on_gone (struct ws_client *self)
{
    forget_queue (self);
    self->wsi = NULL;
    if (self->over || self->opening)
        return;
    self->over = true;
    self->events->on_end (self->arg, &self->end);
}

static void on_failed (struct ws_client *self, struct lws *wsi, const char *why)
{
    self->end.status = lws_http_client_http_response (wsi);
    set_why (&self->end, slice_str (why ? why : "no connection"));
    on_gone (self);
}

/* --- libwebsockets ------------------------------------------------------------------------------------------- */

static int add_headers (const struct ws_client *self, unsigned char **to, size_t room)
{
    unsigned char *end = *to + room;
    for (size_t i = 0; i < self->options->n_headers; i++) {
        size_t n = strlen (self->options->headers[i]);
        if (n + 2 >= (size_t) (end - *to))
            return -1;
        memcpy (*to, self->options->headers[i], n);
        memcpy (*to + n, "\r\n", 2);
        *to += n + 2;
    }
    return 0;
}

static int callback (struct lws *wsi, enum lws_callback_reasons reason, UNUSED void *user, void *in, size_t len)
{
    struct ws_client *self = lws_context_user (lws_get_context (wsi));
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return add_headers (self, in, len);
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        self->wsi = wsi;
        self->end.opened = true;
        self->events->on_open (self->arg);
        if (self->closing) /* asked for while it was being made */
            lws_callback_on_writable (wsi);
        return 0;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return on_receive (self, slice_of (in, len));
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return on_writable (self);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        return on_close_frame (self, slice_of (in, len));
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        on_failed (self, wsi, in);
        return 0;
    case LWS_CALLBACK_CLIENT_CLOSED:
        on_gone (self);
        return 0;
    default:
        return 0;
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "client", .callback = callback, .rx_buffer_size = RX_CHUNK},
    {.name = NULL},
};

/* What fails is said by CLIENT_CONNECTION_ERROR. */
static void no_log (UNUSED int level, UNUSED const char *line)
{
}

bool ws_client_open (struct ws_client *self, const char *path, struct ws_client_end *end)
{
    const struct ws_client_options *options = self->options;
    struct lws_client_connect_info info = {
        .context = self->context,
        .address = options->url->host,
        .host = options->url->authority,
        .port = atoi (options->url->port),
        .path = path,
        .origin = options->origin,
        .protocol = self->protocols,
        .local_protocol_name = "client",
        .alpn = "http/1.1",
        .pwsi = &self->wsi,
    };
    if (options->url->tls)
        info.ssl_connection = LCCSCF_USE_SSL;
    if (options->url->tls && options->insecure)
        info.ssl_connection |= LCCSCF_ALLOW_SELFSIGNED | LCCSCF_ALLOW_INSECURE | LCCSCF_ALLOW_EXPIRED |
                               LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK;
    self->end = (struct ws_client_end){.code = 1006};
    self->closing = self->said_goodbye = self->over = false;
    self->opening = true; /* a failure at once comes through the callback, within this call */
    struct lws *wsi = lws_client_connect_via_info (&info);
    self->opening = false;
    if (!wsi) {
        self->over = true;
        *end = self->end;
        if (!end->why[0])
            set_why (end, slice_str ("cannot connect"));
    }
    return wsi != NULL;
}

void ws_client_offer (struct ws_client *self, const char *offered)
{
    self->protocols = offered;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

struct ws_client *ws_client_new (uv_loop_t *loop, const struct ws_client_options *options,
                                 const struct ws_client_events *events, void *arg)
{
    static const lws_retry_bo_t liveness = {.secs_since_valid_ping = PING_AFTER_S,
                                            .secs_since_valid_hangup = GONE_AFTER_S};
    struct ws_client *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    *self = (struct ws_client){
        .options = options, .events = events, .protocols = options->protocols, .arg = arg, .over = true};
    list_init (&self->queue);
    buf_init (&self->message, WS_CLIENT_MESSAGE_MAX);
    void *loops[] = {loop};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .user = self,
        .foreign_loops = loops,
        .timeout_secs = OPEN_TIMEOUT_S,
        .retry_and_idle_policy = &liveness,
        .pt_serv_buf_size = HEADERS_MAX,
        .max_http_header_data2 = HEADERS_MAX,
        .client_ssl_ca_filepath = options->ca_file,
        .options = LWS_SERVER_OPTION_LIBUV | (options->url->tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0) |
                   (options->ca_file ? LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS : 0),
    };
    lws_set_log_level (LLL_ERR, no_log);
    self->context = lws_create_context (&info);
    if (self->context)
        return self;
    buf_fini (&self->message);
    free (self);
    return NULL;
}

void ws_client_stop (struct ws_client *self)
{
    self->over = true;
    lws_context_destroy (self->context); /* with a foreign loop this is the first half */
}

void ws_client_destroy (struct ws_client **self_p)
{
    struct ws_client *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    lws_context_destroy (self->context);
    forget_queue (self);
    buf_fini (&self->message);
    free (self);
}
