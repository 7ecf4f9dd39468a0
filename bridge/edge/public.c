#include "edge/public.h"
#include "core/handshake.h"
#include "core/health.h"
#include "core/session.h"

struct public
{
    struct hub *hub;
    struct ws *ws;
    struct http_server *server;
    struct list waiting; /* struct upgrade */
};

/* An upgrade that was admitted and waits for the runtime before the 101. */
struct upgrade {
    struct list link;
    struct timer timer;
    struct public *owner;
    struct http_conn *http;
    struct conn *conn;
    char key[WS_KEY_LEN];
};

static void hand_over (struct public *self, struct conn *conn, struct http_conn *http, struct slice key)
{
    struct buf rest;
    buf_init (&rest, 0);
    int fd = http_detach (http, &rest);
    if (fd < 0)
        conn_gone (conn, CLOSE_INTERNAL);
    else
        ws_adopt (self->ws, conn, fd, key, buf_slice (&rest));
    buf_fini (&rest);
}

typedef void respond_fn (struct http_conn *, int, const char *, const char *, struct slice);

static void answer_refusal (struct http_conn *http, const struct error_info *info, respond_fn *respond)
{
    char body[256];
    int n =
        snprintf (body, sizeof body, "{\"error_code\":\"%s\",\"error_message\":\"%s\"}\n", info->code, info->message);
    bool later = info->http_status == 503 || info->http_status == 429;
    const char *headers = later ? "Retry-After: 1\r\n" : info->http_status == 401 ? "WWW-Authenticate: Bearer\r\n" : "";
    respond (http, info->http_status, headers, "application/json", slice_of (body, (size_t) n));
}

/* Refuse by HTTP status. The connection never was one; its id ends here. */
static void refuse (struct conn *conn, struct http_conn *http, enum error_code code)
{
    const struct error_info *info = error_info (code);
    answer_refusal (http, info, http_respond);
    conn_gone (conn, info->ours ? CLOSE_TRY_LATER : CLOSE_AUTH_FAILED);
}

/* --- waiting for the runtime --------------------------------------------------------------------------------- */

static void end_wait (struct upgrade *self)
{
    wheel_cancel (&self->timer);
    list_remove (&self->link);
    free (self);
}

static void give_up (struct upgrade *self, enum error_code code)
{
    session_count_refusal (self->conn, code, NULL);
    refuse (self->conn, self->http, code);
    end_wait (self);
}

static void on_wait_over (struct timer *timer)
{
    give_up (CONTAINER_OF (timer, struct upgrade, timer), ERROR_SERVICE_NOT_READY);
}

/* The bridge may be draining since, and the user's other upgrades may have got on. */
static void go_on (struct public *self, struct upgrade *upgrade)
{
    if (self->hub->draining) {
        give_up (upgrade, ERROR_DRAINING);
        return;
    }
    if (handshake_user_is_full (self->hub, upgrade->conn->user)) {
        give_up (upgrade, ERROR_USER_CONNECTION_LIMIT);
        return;
    }
    hand_over (self, upgrade->conn, upgrade->http, slice_of (upgrade->key, sizeof upgrade->key));
    end_wait (upgrade);
}

static void on_client_gone (void *arg)
{
    struct upgrade *self = arg;
    conn_gone (self->conn, CLOSE_PEER_LOST);
    end_wait (self);
}

static void wait_for_runtime (struct public *self, struct conn *conn, struct http_conn *http, struct slice key)
{
    struct upgrade *upgrade = calloc (1, sizeof *upgrade);
    if (!upgrade) {
        refuse (conn, http, ERROR_SERVICE_NOT_READY);
        return;
    }
    *upgrade = (struct upgrade){.owner = self, .http = http, .conn = conn};
    memcpy (upgrade->key, key.p, sizeof upgrade->key);
    timer_init (&upgrade->timer, on_wait_over);
    list_append (&self->waiting, &upgrade->link);
    http_on_gone (http, on_client_gone, upgrade);
    wheel_set (&self->hub->wheel, &upgrade->timer, clock_now () + self->hub->config->runtime_wait_ms * MS_NS);
}

void public_settle (struct public *self)
{
    if (!hub_link_ready (self->hub) && !self->hub->draining)
        return;
    for (struct list *link; (link = list_pop (&self->waiting));)
        go_on (self, LIST_ENTRY (link, struct upgrade, link));
}

/* --- requests ------------------------------------------------------------------------------------------------ */

static void upgrade (struct public *self, struct http_conn *http, const struct request *request,
                     const struct ip *client)
{
    struct slice key = {0};
    struct conn *conn = conn_new (self->hub);
    bool by_http = strcmp (self->hub->config->auth_failure, "http") == 0;
    if (!conn) {
        http_respond_error (http, 503, "Retry-After: 1\r\n", "out of memory");
        return;
    }
    request_header (request, "sec-websocket-key", &key);
    handshake_admit (conn, request, client);
    if (by_http && conn->refusal != ERROR_NONE)
        refuse (conn, http, conn->refusal);
    else if (by_http && !hub_link_ready (self->hub))
        wait_for_runtime (self, conn, http, key);
    else
        hand_over (self, conn, http, key);
}

static void on_ws_path (struct public *self, struct http_conn *http, const struct request *request)
{
    const char *fault;
    struct ip client = handshake_client (self->hub, request, http_peer (http));
    http_set_remote (http, &client);
    if (!handshake_within_rate (self->hub, &client)) { /* the rate is at least 1 a second: so is Retry-After */
        answer_refusal (http, error_info (ERROR_TOO_MANY_HANDSHAKES), http_turn_away);
        return;
    }
    int status = handshake_check (request, &fault);
    if (status == 0) {
        upgrade (self, http, request, &client);
        return;
    }
    LOG (REQUEST_BAD, NULL, KV_S ("listener", "public"), KV_U ("status", status), KV_S ("why", fault),
         KV_SL ("remote", http_remote (http)));
    http_respond_error (http, status,
                        status == 426   ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                        : status == 405 ? "Allow: GET\r\n"
                                        : "",
                        fault);
}

static void on_request (void *owner, struct http_conn *http, const struct request *request)
{
    struct public *self = owner;
    bool health = slice_is (request->path, "/ws/health") || slice_is (request->path, "/health/websocket");
    if (handshake_is_ws_path (self->hub, request->path))
        on_ws_path (self, http, request);
    else if (!health)
        http_respond_error (http, 404, "", "no such path");
    else if (slice_is (request->method, "GET"))
        http_respond_document (http, health_write);
    else
        http_respond_error (http, 405, "Allow: GET\r\n", "only GET");
}

struct public *public_new (uv_loop_t *loop, struct hub *hub, struct ws *ws, struct tls *tls, struct buf *error)
{
    struct public *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    *self = (struct public){.hub = hub, .ws = ws};
    list_init (&self->waiting);
    self->server = http_server_new (loop, hub, "public", hub->config->listen, tls, on_request, self, error);
    if (self->server)
        return self;
    free (self);
    return NULL;
}

void public_destroy (struct public **self_p)
{
    struct public *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    http_server_destroy (&self->server); /* ends what waits, by on_client_gone */
    free (self);
}

unsigned public_port (const struct public *self)
{
    return http_server_port (self->server);
}
