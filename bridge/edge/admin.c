#include "edge/admin.h"
#include "base/metrics.h"
#include "core/accept.h"
#include "core/health.h"

#include <openssl/crypto.h>

struct admin {
    struct hub *hub;
    struct drain *drain;
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

/* --- drain --------------------------------------------------------------------------------------------------- */

static bool may_drain (const struct admin *self, const struct http_conn *http, const struct request *request)
{
    const char *key = self->hub->config->drain_key;
    struct slice sent = {0};
    if (http_is_loopback (http))
        return true;
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
    if (!may_drain (self, http, request)) {
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

/* --- requests ------------------------------------------------------------------------------------------------ */

static const struct route {
    const char *path;
    bool post; /* POST is allowed too */
    void (*handle) (struct admin *self, struct http_conn *http, const struct request *request);
} routes[] = {
    {"/livez", false, on_livez},     {"/startupz", false, on_livez},   {"/readyz", false, on_readyz},
    {"/metrics", false, on_metrics}, {"/ws/health", false, on_health}, {"/health/websocket", false, on_health},
    {"/drain", true, on_drain},
};

static void on_request (void *owner, struct http_conn *http, const struct request *request)
{
    for (size_t i = 0; i < COUNT_OF (routes); i++) {
        const struct route *route = &routes[i];
        if (!slice_is (request->path, route->path))
            continue;
        if (slice_is (request->method, "GET") || (route->post && slice_is (request->method, "POST")))
            route->handle (owner, http, request);
        else
            http_respond_error (http, 405, route->post ? "Allow: GET, POST\r\n" : "Allow: GET\r\n",
                                "method not allowed");
        return;
    }
    http_respond_error (http, 404, "", "no such path");
}

struct admin *admin_new (uv_loop_t *loop, struct hub *hub, struct drain *drain, struct buf *error)
{
    struct admin *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    *self = (struct admin){.hub = hub, .drain = drain};
    list_init (&self->waiting);
    self->server = http_server_new (loop, hub, "admin", hub->config->admin_listen, NULL, on_request, self, error);
    if (self->server)
        return self;
    free (self);
    return NULL;
}

void admin_destroy (struct admin **self_p)
{
    struct admin *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    http_server_destroy (&self->server); /* ends what waits, by on_waiter_gone */
    free (self);
}
