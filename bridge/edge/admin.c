#include "edge/admin.h"
#include "base/log.h"
#include "base/metrics.h"
#include "core/accept.h"
#include "core/health.h"
#include "core/ident.h"
#include "core/mint.h"
#include "edge/page.h"

#include <openssl/crypto.h>

#define TOKEN_TTL_S   3600  /* of a token that names no other */
#define TOKEN_TTL_MAX 86400 /* seconds */
#define HEADERS_MAX   1024

struct admin {
    struct hub *hub;
    struct drain *drain;
    struct status *status;
    struct page page;
    char page_headers[HEADERS_MAX]; /* of the answer with the page */
    struct http_server *server;
    struct list waiting; /* struct waiter */
};

/* A /drain that is answered when the drain is done. */
struct waiter {
    struct list link;
    struct http_conn *http;
};

static void on_livez (UNUSED struct admin *self, struct http_conn *http, UNUSED const struct request *request)
{
    http_respond (http, 200, "", "text/plain", slice_str ("ok\n"));
}

static void on_readyz (UNUSED struct admin *self, struct http_conn *http, UNUSED const struct request *request)
{
    http_respond_document (http, health_write_ready);
}

static void on_health (UNUSED struct admin *self, struct http_conn *http, UNUSED const struct request *request)
{
    http_respond_document (http, health_write);
}

/* --- metrics -------------------------------------------------------------------------------------------------- */

/* Limits that alerts compare with. A reload may have changed them, the number of descriptors may have lowered them. */
static void tell_limits (const struct config *config)
{
    bool by_url = config->jwks_url[0];
    metric_set (M_CONNECTIONS_MAX, 0, (double) config->max_connections);
    metric_set (M_HISTORY_MAX, 0, (double) config->history_total_bytes);
    metric_set (M_JWKS_MAX_AGE, 0, by_url ? (double) config->jwks_max_age_s : 0);
    metric_set (M_JWKS_STALE, 0, by_url ? (double) config->jwks_stale_s : 0);
}

/* OpenMetrics goes to those who name it and like nothing better. */
static bool wants_openmetrics (const struct request *request)
{
    struct buf list;
    buf_init (&list, 0);
    request_header_join (request, "accept", &list);
    struct accept open = accept_read (buf_slice (&list), "application", "openmetrics-text", "1.0.0"),
                  text = accept_read (buf_slice (&list), "text", "plain", "0.0.4");
    buf_fini (&list);
    return open.match >= ACCEPT_TYPE && open.quality > 0 && open.quality >= text.quality;
}

static void on_metrics (struct admin *self, struct http_conn *http, const struct request *request)
{
    bool open = wants_openmetrics (request);
    struct buf body;
    buf_init (&body, 0);
    tell_limits (self->hub->config);
    if (open)
        metrics_write_openmetrics (&body);
    else
        metrics_write (&body);
    if (body.failed)
        http_respond_error (http, 503, "", "out of memory");
    else
        http_respond (http, 200, "Vary: Accept\r\n",
                      open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                           : "text/plain; version=0.0.4; charset=utf-8",
                      buf_slice (&body));
    buf_fini (&body);
}

/* --- the status page ----------------------------------------------------------------------------------------- */

/* No script and no style but the page's own, which are known by their hashes; nothing from anywhere else. The Try tab
 * connects to whatever WebSocket its user names. */
static void write_page_headers (struct admin *self)
{
    int n = snprintf (self->page_headers, sizeof self->page_headers,
                      "Content-Security-Policy: default-src 'none'; %.*s; connect-src 'self'%s; img-src data:; "
                      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
                      "Referrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n"
                      "Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n"
                      "Vary: Accept-Encoding\r\n",
                      (int) self->page.hashes.n, self->page.hashes.p,
                      config_is_production (self->hub->config) ? "" : " ws: wss:");
    CHECK (n > 0 && n < HEADERS_MAX);
}

static void on_page (struct admin *self, struct http_conn *http, const struct request *request)
{
    char headers[HEADERS_MAX + 32];
    bool gzip = request_header_has (request, "accept-encoding", "gzip");
    snprintf (headers, sizeof headers, "%s%s", self->page_headers, gzip ? "Content-Encoding: gzip\r\n" : "");
    http_respond (http, 200, headers, "text/html; charset=utf-8", gzip ? self->page.gzip : self->page.html);
}

/* 0 when it is no number: everything. */
static uint64_t query_number (const struct request *request, const char *name)
{
    struct slice text;
    uint64_t number = 0;
    if (!request_query (request, name, &text) || text.n == 0 || text.n > 15)
        return 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return 0;
        number = number * 10 + (uint64_t) (text.p[i] - '0');
    }
    return number;
}

static void on_status (struct admin *self, struct http_conn *http, const struct request *request)
{
    struct buf body;
    buf_init (&body, 0);
    status_write (self->status, query_number (request, "after"), &body);
    if (body.failed)
        http_respond_error (http, 503, "", "out of memory");
    else
        http_respond (http, 200, "Cross-Origin-Resource-Policy: same-origin\r\n", "application/json",
                      buf_slice (&body));
    buf_fini (&body);
}

/* --- drain --------------------------------------------------------------------------------------------------- */

static bool has_drain_key (const struct admin *self, const struct request *request)
{
    const char *key = self->hub->config->drain_key;
    struct slice sent = {0};
    return key[0] && request_header (request, "x-drain-key", &sent) == 1 && sent.n == strlen (key) &&
           CRYPTO_memcmp (sent.p, key, sent.n) == 0;
}

static void answer_drained (struct http_conn *http)
{
    http_respond (http, 200, "", "application/json", slice_str ("{\"drained\":true}\n"));
}

static void on_waiter_gone (void *arg)
{
    struct waiter *waiter = arg;
    list_remove (&waiter->link);
    free (waiter);
}

static void on_drain (struct admin *self, struct http_conn *http, const struct request *request)
{
    if (!http_is_loopback (http) && !has_drain_key (self, request)) {
        http_respond_error (http, 403, "", "drain wants a loopback peer or X-Drain-Key");
        return;
    }
    struct waiter *waiter = malloc (sizeof *waiter);
    if (!waiter) {
        http_respond_error (http, 503, "", "out of memory");
        return;
    }
    waiter->http = http;
    list_append (&self->waiting, &waiter->link);
    http_on_gone (http, on_waiter_gone, waiter);
    drain_start (self->drain);
    if (self->drain->stage == DRAIN_DONE)
        admin_drained (self);
}

void admin_drained (struct admin *self)
{
    for (struct list *link; (link = list_pop (&self->waiting));) {
        struct waiter *waiter = LIST_ENTRY (link, struct waiter, link);
        answer_drained (waiter->http);
        free (waiter);
    }
}

/* --- tokens for the Try tab; not in production ---------------------------------------------------------------- */

static bool makes_tokens (const struct admin *self)
{
    return status_signing_key (self->hub) != NULL;
}

/* `localhost` or an address, with or without a port. Not a name that somebody else's DNS may have bent here, so that
 * their page in a developer's browser could read the answer (DNS rebinding). */
static bool names_this_host (const struct request *request)
{
    struct slice host = {0}, name;
    struct ip ip;
    if (request_header (request, "host", &host) != 1)
        return false;
    if (host.n && host.p[0] == '[') {
        host = slice_of (host.p + 1, host.n - 1);
        return slice_cut (&host, ']', &name) && ip_parse (name, &ip);
    }
    if (!slice_cut (&host, ':', &name))
        name = host;
    return (name.n == 9 && strncasecmp (name.p, "localhost", 9) == 0) || ip_parse (name, &ip);
}

static void refuse_token (struct http_conn *http, enum token_result result, int status, const char *why)
{
    metric_inc (M_TOKENS, result);
    LOG (TOKEN_REFUSED, NULL, KV_S ("why", why), KV_SL ("remote", http_remote (http)));
    http_respond_error (http, status, "", why);
}

static void make_token (struct admin *self, struct http_conn *http, struct slice user, int64_t ttl_s)
{
    struct log_ctx ctx = {.user = user};
    struct buf body;
    char *token = mint_token (self->hub->config, status_signing_key (self->hub), user, ttl_s);
    if (!token) {
        http_respond_error (http, 503, "", "out of memory");
        return;
    }
    metric_inc (M_TOKENS, TOKEN_RESULT_made);
    LOG (TOKEN_MADE, &ctx, KV_I ("ttl_s", ttl_s), KV_SL ("remote", http_remote (http)));
    buf_init (&body, 0);
    buf_printf (&body, "{\"token\":\"%s\",\"expires_in\":%lld}\n", token, (long long) ttl_s);
    if (body.failed)
        http_respond_error (http, 503, "", "out of memory");
    else
        http_respond (http, 200, "", "application/json", buf_slice (&body));
    buf_fini (&body);
    free (token);
}

/* ?user=U&ttl=SECONDS */
static void on_token (struct admin *self, struct http_conn *http, const struct request *request)
{
    struct slice text = {0};
    struct buf user;
    int64_t ttl_s = request_query (request, "ttl", &text) ? (int64_t) query_number (request, "ttl") : TOKEN_TTL_S;
    bool local = http_is_loopback (http) && names_this_host (request);
    buf_init (&user, 0);
    if (!local && !has_drain_key (self, request))
        refuse_token (http, TOKEN_RESULT_forbidden, 403,
                      "token wants a loopback peer that asks localhost or an address, or X-Drain-Key");
    else if (!request_query (request, "user", &text) || !request_percent_decode (text, &user) ||
             !ident_is_user (buf_slice (&user)))
        refuse_token (http, TOKEN_RESULT_invalid, 400,
                      "user must be 1 to 128 bytes of UTF-8 without control characters");
    else if (ttl_s < 1 || ttl_s > TOKEN_TTL_MAX)
        refuse_token (http, TOKEN_RESULT_invalid, 400, "ttl must be 1 to 86400 seconds");
    else
        make_token (self, http, buf_slice (&user), ttl_s);
    buf_fini (&user);
}

/* --- requests ------------------------------------------------------------------------------------------------ */

enum methods {
    GET,
    GET_POST,
    POST
};

static const struct {
    const char *allow; /* header */
    bool get, post;
} methods[] = {
    [GET] = {"Allow: GET\r\n", true, false},
    [GET_POST] = {"Allow: GET, POST\r\n", true, true},
    [POST] = {"Allow: POST\r\n", false, true},
};

static const struct route {
    const char *path;
    enum methods methods;
    void (*handle) (struct admin *self, struct http_conn *http, const struct request *request);
    bool (*exists) (const struct admin *self); /* NULL: always */
} routes[] = {
    {"/", GET, on_page, NULL},
    {"/status.json", GET, on_status, NULL},
    {"/livez", GET, on_livez, NULL},
    {"/startupz", GET, on_livez, NULL},
    {"/readyz", GET, on_readyz, NULL},
    {"/metrics", GET, on_metrics, NULL},
    {"/ws/health", GET, on_health, NULL},
    {"/health/websocket", GET, on_health, NULL},
    {"/drain", GET_POST, on_drain, NULL},
    {"/token", POST, on_token, makes_tokens},
};

static const struct route *find_route (const struct admin *self, struct slice path)
{
    for (size_t i = 0; i < COUNT_OF (routes); i++)
        if (slice_is (path, routes[i].path) && (!routes[i].exists || routes[i].exists (self)))
            return &routes[i];
    return NULL;
}

static void on_request (void *owner, struct http_conn *http, const struct request *request)
{
    const struct route *route = find_route (owner, request->path);
    if (!route)
        http_respond_error (http, 404, "", "no such path");
    else if ((methods[route->methods].get && slice_is (request->method, "GET")) ||
             (methods[route->methods].post && slice_is (request->method, "POST")))
        route->handle (owner, http, request);
    else
        http_respond_error (http, 405, methods[route->methods].allow, "method not allowed");
}

/* --- life ---------------------------------------------------------------------------------------------------- */

struct admin *admin_new (uv_loop_t *loop, struct hub *hub, struct drain *drain, struct status_try try,
                         struct buf *error)
{
    struct admin *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    *self = (struct admin){.hub = hub, .drain = drain, .page = page_of (config_is_production (hub->config))};
    list_init (&self->waiting);
    write_page_headers (self);
    self->status = status_new (hub, &hub->wheel, try);
    if (self->status)
        self->server = http_server_new (loop, hub, "admin", hub->config->admin_listen, NULL, on_request, self, error);
    if (!self->server) {
        admin_destroy (&self);
        return NULL;
    }
    hub->page_port = config_is_production (hub->config) ? 0 : http_server_port (self->server);
    return self;
}

void admin_destroy (struct admin **self_p)
{
    struct admin *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    http_server_destroy (&self->server); /* ends what waits, by on_waiter_gone */
    status_destroy (&self->status);
    free (self);
}
