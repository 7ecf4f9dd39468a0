#include "core/handshake.h"
#include "base/metrics.h"
#include "base/utf8.h"
#include "core/auth.h"
#include "core/bypass.h"
#include "core/forwarded.h"
#include "core/hub.h"
#include "core/json_mp.h"
#include "core/jwks.h"
#include "core/session.h"
#include "core/trace.h"

#include <strings.h>

/* --- form ---------------------------------------------------------------------------------------------------- */

bool handshake_is_ws_path (const struct hub *hub, struct slice path)
{
    return config_list_has (hub->config->ws_paths, path);
}

static bool is_key (struct slice key)
{
    if (key.n != WS_KEY_LEN || memcmp (key.p + WS_KEY_LEN - 2, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < WS_KEY_LEN - 2; i++)
        if (!((key.p[i] >= '0' && key.p[i] <= '9') || (key.p[i] >= 'a' && key.p[i] <= 'z') ||
              (key.p[i] >= 'A' && key.p[i] <= 'Z') || key.p[i] == '+' || key.p[i] == '/'))
            return false;
    return true;
}

static bool has_body (const struct request *request)
{
    struct slice length;
    size_t lengths = request_header (request, "content-length", &length);
    return request_header (request, "transfer-encoding", NULL) || lengths > 1 ||
           (lengths == 1 && !slice_is (length, "0"));
}

int handshake_check (const struct request *request, const char **fault)
{
    struct slice value = {0};
    *fault = "not a WebSocket upgrade";
    if (!slice_is (request->method, "GET"))
        return 405;
    if (request_header (request, "upgrade", &value) != 1 || value.n != 9 ||
        strncasecmp (value.p, "websocket", 9) != 0 || !request_header_has (request, "connection", "upgrade"))
        return 426;
    *fault = "Sec-WebSocket-Version must be 13";
    if (request_header (request, "sec-websocket-version", &value) != 1 || !slice_is (value, "13"))
        return 426;
    *fault = "HTTP/1.1 is needed";
    if (request->minor != 1)
        return 400;
    *fault = "one Host header is needed";
    if (request_header (request, "host", &value) != 1 || value.n == 0)
        return 400;
    *fault = "Sec-WebSocket-Key must be 24 characters of base64";
    if (request_header (request, "sec-websocket-key", &value) != 1 || !is_key (value))
        return 400;
    *fault = "more than one Origin or Authorization header";
    if (request_header (request, "origin", NULL) > 1 || request_header (request, "authorization", NULL) > 1)
        return 400;
    *fault = "an upgrade has no body";
    return has_body (request) ? 400 : 0;
}

/* --- whence -------------------------------------------------------------------------------------------------- */

static enum forwarded_header header_of (const struct config *config)
{
    return strcmp (config->proxy_header, "forwarded") == 0         ? FORWARDED_ONLY
           : strcmp (config->proxy_header, "x-forwarded-for") == 0 ? X_FORWARDED_FOR_ONLY
                                                                   : FORWARDED_ANY;
}

struct ip handshake_client (const struct hub *hub, const struct request *request, const struct ip *peer)
{
    struct ip client;
    char remote[IP_TEXT_LEN];
    if (forwarded_client (request, header_of (hub->config), &hub->proxies, peer, &client) == FORWARDED_UNUSABLE) {
        ip_format (peer, remote);
        metric_inc (M_FORWARDED_UNUSABLE, 0);
        LOG (FORWARDED_UNUSABLE, NULL, KV_S ("remote", remote));
    }
    return client;
}

bool handshake_within_rate (struct hub *hub, const struct ip *client)
{
    double rate = (double) hub->config->handshakes_per_second_per_address;
    char remote[IP_TEXT_LEN];
    if (rate == 0 || limiter_take (&hub->handshakes, ip_group (client), rate, rate * HANDSHAKE_BURST_S, clock_now ()))
        return true;
    ip_format (client, remote);
    metric_inc (M_HANDSHAKES, 1 + ERROR_TOO_MANY_HANDSHAKES);
    LOG (HANDSHAKES_LIMITED, NULL, KV_S ("remote", remote));
    return false;
}

/* --- origin -------------------------------------------------------------------------------------------------- */

/* Cut a port that is the scheme's default. */
static struct slice without_port (struct slice host, const char *port)
{
    size_t n = strlen (port);
    if (host.n > n && memcmp (host.p + host.n - n, port, n) == 0)
        host.n -= n;
    return host;
}

static bool is_same_host (struct slice origin, struct slice host)
{
    const char *port = NULL;
    if (origin.n > 7 && strncasecmp (origin.p, "http://", 7) == 0) {
        origin = slice_of (origin.p + 7, origin.n - 7);
        port = ":80";
    } else if (origin.n > 8 && strncasecmp (origin.p, "https://", 8) == 0) {
        origin = slice_of (origin.p + 8, origin.n - 8);
        port = ":443";
    }
    if (!port)
        return false;
    origin = without_port (origin, port);
    host = without_port (host, port);
    return origin.n == host.n && strncasecmp (origin.p, host.p, host.n) == 0;
}

/* The status page's Try tab: its origin has the host of the request, and the admin port. */
static bool is_own_page (const struct hub *hub, struct slice origin, struct slice host)
{
    char port[8];
    size_t digits = host.n;
    while (digits && host.p[digits - 1] >= '0' && host.p[digits - 1] <= '9')
        digits--;
    size_t name = digits && host.p[digits - 1] == ':' ? digits - 1 : host.n;
    size_t n = (size_t) snprintf (port, sizeof port, ":%u", hub->page_port);
    return hub->page_port && origin.n == 7 + name + n && strncasecmp (origin.p, "http://", 7) == 0 &&
           strncasecmp (origin.p + 7, host.p, name) == 0 && memcmp (origin.p + 7 + name, port, n) == 0;
}

/* Only browsers send an Origin; without one there is nothing that a web page could have forged. */
static bool origin_allowed (const struct hub *hub, const struct request *request)
{
    const struct config *config = hub->config;
    struct slice origin, host = {0};
    if (request_header (request, "origin", &origin) == 0)
        return true;
    request_header (request, "host", &host);
    if (is_own_page (hub, origin, host))
        return true;
    if (config->allowed_origins[0])
        return config_list_has (config->allowed_origins, slice_str ("*")) ||
               config_list_has (config->allowed_origins, origin);
    return is_same_host (origin, host);
}

/* --- subprotocol --------------------------------------------------------------------------------------------- */

static void choose_subprotocol (struct conn *conn, struct slice offered)
{
    struct slice item;
    while (conn->subprotocol == SUBPROTOCOL_NONE && slice_next_item (&offered, &item))
        if (!auth_is_secret_entry (item))
            conn->subprotocol = subprotocol_of (item);
    enum subprotocol effective = conn->subprotocol;
    if (effective == SUBPROTOCOL_NONE)
        effective = subprotocol_of (slice_str (conn->hub->config->default_subprotocol));
    conn->form = subprotocol_form (effective);
}

/* Without memory the lines of this connection go without. */
static void keep_traceparent (struct conn *conn, const struct request *request)
{
    struct slice value;
    if (conn->hub->config->log_trace && request_header (request, "traceparent", &value) && traceparent_valid (value))
        conn->traceparent = strndup (value.p, value.n);
}

/* --- who ----------------------------------------------------------------------------------------------------- */

static void put_pair (msgpack_packer *packer, struct conn *conn, const char *key, struct slice value)
{
    conn->connect_pairs++;
    mp_put_cstr (packer, key);
    mp_put_str (packer, value);
}

static void put_header_pair (msgpack_packer *packer, struct conn *conn, const struct request *request, const char *name)
{
    struct slice value;
    if (request_header (request, name, &value) && utf8_valid (value)) /* a msgpack str is UTF-8 */
        put_pair (packer, conn, name, value);
}

/* Keep what CONNECT says, as it is said again when the runtime comes back. */
static bool keep_connect_headers (struct conn *conn, const struct request *request, const json_t *claims)
{
    struct buf *out = &conn->hub->scratch;
    char remote[IP_TEXT_LEN];
    msgpack_packer packer;
    ip_format (&conn->ip, remote);
    buf_reset (out);
    mp_writer_init (&packer, out);
    put_pair (&packer, conn, "remote", slice_str (remote));
    put_header_pair (&packer, conn, request, "origin");
    put_header_pair (&packer, conn, request, "traceparent");
    put_pair (&packer, conn, "subprotocol",
              slice_str (conn->subprotocol == SUBPROTOCOL_NONE ? conn->hub->config->default_subprotocol
                                                               : subprotocol_token (conn->subprotocol)));
    conn->connect_pairs++;
    mp_put_cstr (&packer, "claims");
    json_mp_put (&packer, claims);
    conn->connect_headers = out->failed ? NULL : malloc (out->n);
    if (!conn->connect_headers)
        return false;
    memcpy (conn->connect_headers, out->p, out->n);
    conn->connect_headers_n = (uint32_t) out->n;
    return true;
}

static bool bind_user (struct conn *conn, const struct request *request, const char *id)
{
    struct user *user = registry_user_get (&conn->hub->registry, slice_str (id));
    struct slice epoch = {0}, offset = {0};
    if (!user)
        return false;
    conn_bind_user (conn, user);
    request_query (request, "epoch", &epoch);
    request_query (request, "offset", &offset);
    session_set_resume (conn, epoch, offset);
    return true;
}

static void find_token (const struct conn *conn, const struct request *request, struct slice subprotocols,
                        struct buf *query, struct auth_request *out)
{
    struct slice token;
    *out = (struct auth_request){.subprotocols = subprotocols};
    request_header (request, "authorization", &out->authorization);
    if (conn->hub->config->allow_query_token && request_query (request, "token", &token))
        out->query_token = request_percent_decode (token, query) ? buf_slice (query) : token; /* refused as it is */
}

bool handshake_user_is_full (const struct hub *hub, const struct user *user)
{
    return user->n_conns >= (uint32_t) hub->config->max_connections_per_user;
}

static enum error_code memory_is_out (const char **check)
{
    *check = "memory";
    return ERROR_TOO_MANY_CONNECTIONS;
}

static void tell_bypass (const struct conn *conn, const char *user)
{
    struct log_ctx ctx = {.conn = slice_str (conn->id), .user = slice_str (user)};
    char remote[IP_TEXT_LEN];
    ip_format (&conn->ip, remote);
    metric_inc (M_AUTH_BYPASS, 0);
    LOG (AUTH_BYPASS_USED, &ctx, KV_S ("remote", remote));
}

/* By token; without any by the bypass, where there is one. */
static void identify (struct jwt_result *result, const struct conn *conn, const struct request *request,
                      const struct auth_request *where)
{
    struct hub *hub = conn->hub;
    struct jwt_rules rules = jwt_rules_of (hub->config);
    bool asked = bypass_asked (request, where->subprotocols) && !auth_has_token (where);
    if (!asked || !bypass_enabled (hub->config)) {
        auth_check (result, hub->keys, &hub->tokens, &rules, where, clock_wall ());
        if (asked)
            result->check = "token (the bypass is off)";
        return;
    }
    bypass_check (result, hub->config, request, where->subprotocols);
    if (result->error == ERROR_NONE)
        tell_bypass (conn, result->user);
}

static enum error_code authenticate (struct conn *conn, const struct request *request, struct slice subprotocols,
                                     const char **check)
{
    struct buf query;
    struct auth_request where;
    struct jwt_result result;
    buf_init (&query, 0);
    find_token (conn, request, subprotocols, &query, &where);
    identify (&result, conn, request, &where);
    jwks_review (conn->hub->jwks, &result);
    *check = result.check;
    enum error_code error = query.failed ? memory_is_out (check) : result.error;
    session_set_expiry (conn, result.expires);
    struct user *user = error == ERROR_NONE ? registry_user (&conn->hub->registry, slice_str (result.user)) : NULL;
    if (user && handshake_user_is_full (conn->hub, user))
        error = ERROR_USER_CONNECTION_LIMIT;
    if (error == ERROR_NONE &&
        (!keep_connect_headers (conn, request, result.claims) || !bind_user (conn, request, result.user)))
        error = memory_is_out (check);
    jwt_result_fini (&result);
    buf_fini (&query);
    return error;
}

static enum error_code admit (struct conn *conn, const struct request *request, const char **check)
{
    struct hub *hub = conn->hub;
    struct buf subprotocols;
    buf_init (&subprotocols, 0);
    request_header_join (request, "sec-websocket-protocol", &subprotocols);
    choose_subprotocol (conn, buf_slice (&subprotocols));
    double burst = (double) hub->config->client_messages_per_minute / 10;
    bucket_init (&conn->bucket, burst, clock_now ());

    enum error_code error;
    if (hub->draining)
        error = ERROR_DRAINING;
    else if (subprotocols.failed) /* neither the form nor the token is known */
        error = memory_is_out (check);
    else if (map_size (&hub->registry.conns) > (size_t) hub->config->max_connections)
        error = ERROR_TOO_MANY_CONNECTIONS;
    else if (!addresses_join (&hub->addresses, &conn->ip, hub->config->max_connections_per_address, &conn->address))
        error = ERROR_ADDRESS_CONNECTION_LIMIT;
    else if (!origin_allowed (hub, request))
        error = ERROR_ORIGIN_DENIED;
    else
        error = authenticate (conn, request, buf_slice (&subprotocols), check);
    buf_fini (&subprotocols);
    return error;
}

void handshake_admit (struct conn *conn, const struct request *request, const struct ip *client)
{
    const char *check = NULL;
    conn->ip = *client;
    keep_traceparent (conn, request);
    conn->refusal = admit (conn, request, &check);
    if (conn->refusal != ERROR_NONE)
        session_count_refusal (conn, conn->refusal, check);
}
