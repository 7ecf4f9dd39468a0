#include "core/health.h"
#include "base/metrics.h"
#include "core/bypass.h"
#include "core/jwks.h"
#include "core/lanes.h"
#include "core/subprotocol.h"
#include "version.h"

#include <jansson.h>

struct checks {
    bool commands, events, keys, accepting;
};

static struct checks look (const struct hub *hub)
{
    return (struct checks){.commands = lanes_any_up (&hub->runtime),
                           .events = hub->runtime.events_up (hub->runtime.self),
                           .keys = hub->keys && hub->keys->n > 0 && !jwks_fault (hub->jwks),
                           .accepting = !hub->draining};
}

static bool is_serving (const struct checks *checks)
{
    return checks->keys && checks->accepting;
}

static const char *status_of (const struct checks *checks)
{
    return !is_serving (checks) ? "unhealthy" : checks->commands && checks->events ? "healthy" : "degraded";
}

const char *health_status (const struct hub *hub)
{
    struct checks checks = look (hub);
    return status_of (&checks);
}

static int append (const char *text, size_t n, void *out)
{
    buf_put (out, text, n);
    return 0;
}

/* Not by json_dumps, which leaves out what it has no memory for and says nothing. */
static void append_json (json_t *document, struct buf *out)
{
    if (!document || json_dump_callback (document, append, out, JSON_COMPACT) != 0)
        out->failed = true;
    buf_putc (out, '\n');
    json_decref (document);
}

/* Share of handshakes since the start that failed. */
static double error_rate (void)
{
    double all = metric_get (M_HANDSHAKES, 0), failed = 0;
    for (unsigned i = 0; i < ERROR_CODE_COUNT; i++)
        failed += metric_get (M_HANDSHAKES, 1 + i);
    all += failed;
    return all > 0 ? failed / all : 0;
}

static json_t *numbers (const struct hub *hub)
{
    double live = 0;
    for (unsigned state = CONN_processing_ready; state <= CONN_degraded; state++)
        live += metric_get (M_CONNECTIONS, state);
    return json_pack ("{s:I, s:I, s:I, s:I, s:f}", "active_connections", (json_int_t) live, "total_connections",
                      (json_int_t) metric_get (M_HANDSHAKES, 0), "active_users",
                      (json_int_t) hub->registry.users_connected, "active_runs",
                      (json_int_t) metric_get (M_RUNS_ACTIVE, 0), "error_rate", error_rate ());
}

static json_t *subprotocols (void)
{
    json_t *list = json_array ();
    for (int i = 0; i < SUBPROTOCOL_COUNT; i++)
        json_array_append_new (list, json_string (subprotocol_token ((enum subprotocol) i)));
    return list;
}

int health_write (const struct hub *hub, struct buf *out)
{
    struct checks checks = look (hub);
    bool bypass = bypass_enabled (hub->config);
    append_json (json_pack ("{s:s, s:f, s:s, s:s, s:f, s:{s:b, s:b, s:b, s:b, s:b}, s:o, s:{s:b, s:o}, s:{s:b, s:b}}",
                            "status", status_of (&checks), "timestamp", clock_wall (), "environment",
                            hub->config->environment, "version", AGENTBRIDGE_VERSION, "uptime_s",
                            (double) (clock_now () - hub->started_at) / (double) S_NS, "checks", "runtime_commands",
                            checks.commands, "runtime_events", checks.events, "auth_keys", checks.keys, "accepting",
                            checks.accepting, "engine", true, "metrics", numbers (hub), "config",
                            "pre_connection_auth_required", true, "subprotocols", subprotocols (), "e2e_testing",
                            "enabled", bypass, "auth_bypass_active", bypass),
                 out);
    return is_serving (&checks) ? 200 : 503;
}

int health_write_ready (const struct hub *hub, struct buf *out)
{
    struct checks checks = look (hub);
    json_t *reasons = json_array ();
    const char *jwks = jwks_fault (hub->jwks);
    if (!checks.keys)
        json_array_append_new (reasons, json_string (jwks ? jwks : "no token keys"));
    if (!checks.commands)
        json_array_append_new (reasons, json_string ("no command link to the runtime"));
    if (!checks.events)
        json_array_append_new (reasons, json_string ("no event link to the runtime"));
    if (!checks.accepting)
        json_array_append_new (reasons, json_string ("draining"));
    bool ready = checks.keys && checks.commands && checks.events && checks.accepting;
    append_json (json_pack ("{s:b, s:o}", "ready", ready, "reasons", reasons), out);
    return ready ? 200 : 503;
}
