#include "core/status.h"
#include "base/log.h"
#include "core/breaker.h"
#include "core/health.h"
#include "core/jwks.h"
#include "core/mint.h"
#include "core/recent.h"
#include "version.h"

#define LAST_MINUTE (60 / RECENT_EVERY_S)

struct status {
    const struct hub *hub;
    struct wheel *wheel;
    struct timer timer;
    struct status_try try;
    double started_at; /* Unix seconds */
    struct recent recent;
};

/* --- pieces -------------------------------------------------------------------------------------------------- */

static void put_text (struct doc *doc, const char *key, const char *value)
{
    doc_key (doc, key);
    if (value)
        doc_str (doc, slice_str (value));
    else
        doc_nil (doc);
}

static void put_count (struct doc *doc, const char *key, double value)
{
    doc_key (doc, key);
    doc_uint (doc, value > 0 ? (uint64_t) value : 0);
}

static void put_bool (struct doc *doc, const char *key, bool value)
{
    doc_key (doc, key);
    doc_bool (doc, value);
}

static void put_time (struct doc *doc, const char *key, double value)
{
    doc_key (doc, key);
    doc_double (doc, value);
}

/* {label: count} of every label of a metric. */
static void put_labels (struct doc *doc, const char *key, enum metric id)
{
    doc_key (doc, key);
    doc_map (doc, metric_labels (id));
    for (unsigned i = 0; i < metric_labels (id); i++)
        put_count (doc, metric_label (id, i), metric_get (id, i));
    doc_end (doc);
}

/* --- sections ------------------------------------------------------------------------------------------------ */

static void put_bridge (const struct status *self, struct doc *doc)
{
    doc_map (doc, 6);
    put_text (doc, "id", self->hub->config->bridge_id);
    put_text (doc, "version", AGENTBRIDGE_VERSION);
    put_text (doc, "environment", self->hub->config->environment);
    put_time (doc, "started_at", self->started_at);
    put_time (doc, "uptime_s", (double) (clock_now () - self->hub->started_at) / (double) S_NS);
    put_time (doc, "timestamp", clock_wall ());
    doc_end (doc);
}

static void put_health (const struct status *self, struct doc *doc)
{
    struct buf ready;
    buf_init (&ready, 0);
    health_write_ready (self->hub, &ready);
    doc_map (doc, 2);
    put_text (doc, "status", health_status (self->hub));
    doc_key (doc, "readyz");
    doc_raw (doc, slice_of (ready.p, ready.n ? ready.n - 1 : 0)); /* without its newline */
    doc_end (doc);
    doc->out->failed |= ready.failed;
    buf_fini (&ready);
}

static void put_connections (const struct status *self, struct doc *doc)
{
    doc_map (doc, 5);
    put_labels (doc, "states", M_CONNECTIONS);
    put_count (doc, "limit", (double) self->hub->config->max_connections);
    put_count (doc, "users", (double) self->hub->registry.users_connected);
    put_labels (doc, "handshakes", M_HANDSHAKES);
    put_labels (doc, "closed", M_CONNECTIONS_CLOSED);
    doc_end (doc);
}

static void put_events (UNUSED const struct status *self, struct doc *doc)
{
    doc_map (doc, 9);
    put_count (doc, "received", metric_total (M_EVENTS_RECEIVED));
    put_count (doc, "delivered", metric_total (M_EVENTS_DELIVERED));
    put_count (doc, "coalesced", metric_get (M_EVENTS_COALESCED, 0));
    put_count (doc, "repaired", metric_get (M_EVENTS_REPAIRED, 0));
    put_count (doc, "lost", metric_get (M_EVENTS_LOST, 0));
    put_count (doc, "isolation_violations", metric_get (M_ISOLATION_VIOLATIONS, 0));
    put_labels (doc, "types", M_EVENTS_RECEIVED);
    put_labels (doc, "dropped", M_EVENTS_DROPPED);
    put_labels (doc, "client_messages", M_CLIENT_MESSAGES);
    doc_end (doc);
}

/* 0.5, 0.95 and 0.99 in seconds; since the start, but for the last minute of deliveries. */
static void put_latency (const struct status *self, struct doc *doc)
{
    static const struct {
        const char *key;
        enum metric id;
    } rows[] = {{"event_delivery", M_EVENT_DELIVERY},
                {"connection_setup", M_CONNECTION_SETUP},
                {"runtime_round_trip", M_RUNTIME_ROUND_TRIP},
                {"run_first_event", M_RUN_FIRST_EVENT},
                {"run_duration", M_RUN_DURATION}};
    doc_map (doc, COUNT_OF (rows) + 1);
    doc_key (doc, "event_delivery_last_minute");
    recent_put_delivery (&self->recent, doc, LAST_MINUTE);
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct metric_histogram histogram = metric_histogram (rows[i].id);
        doc_key (doc, rows[i].key);
        recent_put_quantiles (doc, histogram.bounds, histogram.counts, histogram.n);
    }
    doc_end (doc);
}

static const struct {
    const char *key;
    int64_t below_s;
} ages[] = {{"under_10s", 10},  {"under_1m", 60},   {"under_5m", 300},
            {"under_15m", 900}, {"under_1h", 3600}, {"over_1h", INT64_MAX}};

static void count_ages (const struct list *runs, uint64_t counts[COUNT_OF (ages)], size_t *left)
{
    for (const struct list *link = runs->next; link != runs && *left; link = link->next, --*left) {
        const struct run *run = LIST_ENTRY ((struct list *) link, struct run, age_link);
        size_t i = 0;
        while ((clock_now () - run->began) / S_NS >= ages[i].below_s)
            i++;
        counts[i]++;
    }
}

static void put_runs (const struct status *self, struct doc *doc)
{
    uint64_t counts[COUNT_OF (ages)] = {0};
    size_t left = STATUS_RUNS_MAX;
    count_ages (&self->hub->registry.runs.stalled, counts, &left);
    count_ages (&self->hub->registry.runs.active, counts, &left);
    doc_map (doc, 5);
    put_count (doc, "active", metric_get (M_RUNS_ACTIVE, 0));
    put_count (doc, "stalled", metric_get (M_RUNS_STALLED, 0));
    put_count (doc, "looked_at", (double) (STATUS_RUNS_MAX - left));
    doc_key (doc, "ages");
    doc_map (doc, COUNT_OF (ages));
    for (size_t i = 0; i < COUNT_OF (ages); i++)
        put_count (doc, ages[i].key, (double) counts[i]);
    doc_end (doc);
    put_labels (doc, "ended", M_RUNS);
    doc_end (doc);
}

static void put_queues (const struct status *self, struct doc *doc)
{
    doc_map (doc, 3);
    put_count (doc, "bytes", metric_get (M_QUEUE_BYTES, 0));
    put_count (doc, "limit_bytes_each", (double) self->hub->config->queue_bytes);
    put_count (doc, "limit_messages_each", (double) self->hub->config->queue_messages);
    doc_end (doc);
}

static void put_history (const struct status *self, struct doc *doc)
{
    doc_map (doc, 5);
    put_count (doc, "events", metric_get (M_HISTORY_EVENTS, 0));
    put_count (doc, "bytes", metric_get (M_HISTORY_BYTES, 0));
    put_count (doc, "limit_bytes", (double) self->hub->config->history_total_bytes);
    put_labels (doc, "evicted", M_HISTORY_EVICTED);
    put_labels (doc, "resumes", M_RESUMES);
    doc_end (doc);
}

static uint32_t count_items (struct slice list)
{
    struct slice item;
    uint32_t n = 0;
    while (slice_next_item (&list, &item))
        n++;
    return n;
}

static void put_lanes (const struct status *self, struct doc *doc)
{
    const struct runtime_port *runtime = &self->hub->runtime;
    struct slice list = slice_str (self->hub->config->runtime_commands), endpoint;
    doc_array (doc, count_items (list));
    for (int lane = 0; slice_next_item (&list, &endpoint); lane++) {
        doc_item (doc);
        doc_map (doc, 2);
        doc_key (doc, "endpoint");
        doc_str (doc, endpoint);
        put_bool (doc, "up", lane < runtime->lanes (runtime->self) && runtime->lane_up (runtime->self, lane));
        doc_end (doc);
    }
    doc_array_end (doc);
}

static void put_runtime (const struct status *self, struct doc *doc)
{
    const struct runtime_port *runtime = &self->hub->runtime;
    doc_map (doc, 5);
    doc_key (doc, "commands");
    put_lanes (self, doc);
    put_text (doc, "events_endpoints", self->hub->config->runtime_events);
    put_bool (doc, "events_up", runtime->events_up (runtime->self));
    put_labels (doc, "sent_and_received", M_RUNTIME_COMMANDS);
    put_labels (doc, "dropped", M_COMMANDS_DROPPED);
    doc_end (doc);
}

static void put_auth (const struct status *self, struct doc *doc)
{
    const struct hub *hub = self->hub;
    doc_map (doc, 6);
    put_count (doc, "keys", hub->keys ? (double) hub->keys->n : 0);
    put_bool (doc, "jwks", hub->jwks != NULL);
    put_text (doc, "jwks_fault", jwks_fault (hub->jwks));
    put_time (doc, "jwks_last_success", metric_get (M_JWKS_LAST_SUCCESS, 0));
    put_text (doc, "breaker", breaker_state_text ((enum breaker_state) metric_get (M_AUTH_BREAKER, 0)));
    put_time (doc, "certificate_expires", metric_get (M_TLS_EXPIRY, 0));
    doc_end (doc);
}

static void put_log (UNUSED const struct status *self, struct doc *doc)
{
    struct log_tally tally;
    uint32_t n = 0;
    for (unsigned id = 0; id < LOG_ID_COUNT; id++)
        n += log_tally_of ((enum log_id) id, &tally);
    doc_array (doc, n);
    for (unsigned id = 0; id < LOG_ID_COUNT; id++) {
        if (!log_tally_of ((enum log_id) id, &tally))
            continue;
        doc_item (doc);
        doc_map (doc, 4);
        put_text (doc, "id", tally.name);
        put_text (doc, "level", tally.level);
        put_count (doc, "lines", (double) tally.lines);
        put_time (doc, "last", tally.last);
        doc_end (doc);
    }
    doc_array_end (doc);
}

static void put_option (void *arg, const char *name, const char *value, bool changed)
{
    struct doc *doc = arg;
    doc_item (doc);
    doc_map (doc, 3);
    put_text (doc, "name", name);
    put_text (doc, "value", value);
    put_bool (doc, "changed", changed);
    doc_end (doc);
}

static void put_config (const struct status *self, struct doc *doc)
{
    doc_array (doc, (uint32_t) config_count ());
    config_each (self->hub->config, put_option, doc);
    doc_array_end (doc);
}

/* null in production. */
static void put_try (const struct status *self, struct doc *doc)
{
    struct slice paths = slice_str (self->hub->config->ws_paths), path = {0};
    if (config_is_production (self->hub->config)) {
        doc_nil (doc);
        return;
    }
    slice_next_item (&paths, &path);
    doc_map (doc, 4);
    put_count (doc, "port", self->try.port);
    doc_key (doc, "path");
    doc_str (doc, path);
    put_bool (doc, "tls", self->try.tls);
    put_bool (doc, "tokens", status_signing_key (self->hub) != NULL);
    doc_end (doc);
}

/* --- the document -------------------------------------------------------------------------------------------- */

static const struct {
    const char *key;
    void (*put) (const struct status *self, struct doc *doc);
} sections[] = {
    {"bridge", put_bridge}, {"health", put_health},   {"connections", put_connections},
    {"events", put_events}, {"latency", put_latency}, {"runs", put_runs},
    {"queues", put_queues}, {"history", put_history}, {"runtime", put_runtime},
    {"auth", put_auth},     {"log", put_log},         {"config", put_config},
    {"try", put_try},
};

void status_write (const struct status *self, uint64_t after, struct buf *out)
{
    struct doc doc;
    doc_init (&doc, out, FORM_JSON);
    doc_map (&doc, COUNT_OF (sections) + 1);
    for (size_t i = 0; i < COUNT_OF (sections); i++) {
        doc_key (&doc, sections[i].key);
        sections[i].put (self, &doc);
    }
    doc_key (&doc, "recent");
    recent_put (&self->recent, &doc, after);
    doc_end (&doc);
    buf_putc (out, '\n');
}

const struct key *status_signing_key (const struct hub *hub)
{
    bool secret = hub->config->jwt_secret[0] || hub->config->jwt_secret_file[0];
    return config_is_production (hub->config) || !secret ? NULL : mint_key (hub->keys);
}

/* --- life ---------------------------------------------------------------------------------------------------- */

static void set_timer (struct status *self)
{
    wheel_set (self->wheel, &self->timer, clock_now () + RECENT_EVERY_S * S_NS);
}

static void on_sample (struct timer *timer)
{
    struct status *self = CONTAINER_OF (timer, struct status, timer);
    recent_take (&self->recent, clock_now ());
    set_timer (self);
}

struct status *status_new (const struct hub *hub, struct wheel *wheel, struct status_try try)
{
    struct status *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    self->hub = hub;
    self->wheel = wheel;
    self->try = try;
    self->started_at = clock_wall ();
    timer_init (&self->timer, on_sample);
    recent_init (&self->recent, clock_now ());
    set_timer (self);
    return self;
}

void status_destroy (struct status **self_p)
{
    struct status *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    wheel_cancel (&self->timer);
    free (self);
}
