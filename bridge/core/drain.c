#include "core/drain.h"
#include "base/hash.h"
#include "base/metrics.h"
#include "core/notice.h"
#include "core/session.h"

#define STEP          (100 * MS_NS)
#define SPREAD_PER_MS 10 /* of close spread for each connection, so that they do not all come back at once */
#define SPREAD_MAX_MS 5000
#define CLOSE_TIME    (500 * MS_NS) /* kept for close handshakes when runs are waited for no longer */
#define JITTER_MS     1000          /* of reconnect_after_ms, beside the spread */
#define CUT_TIME      (1 * S_NS)    /* kept of drain-timeout-s for sockets that do not close */

/* Over how many milliseconds the closes are spread. */
static uint64_t spread_ms (const struct hub *hub)
{
    uint64_t spread = map_size (&hub->registry.conns) * SPREAD_PER_MS;
    uint64_t half = (uint64_t) hub->config->drain_timeout_s * 500;
    spread = spread < SPREAD_MAX_MS ? spread : SPREAD_MAX_MS;
    return spread < half ? spread : half;
}

/* Give a connection its time to close, unless it has one or its user's runs are waited for. */
static void schedule (struct drain *self, struct conn *conn)
{
    if (!conn_is_live (conn) || conn->drain_at || session_waits_for_runs (conn))
        return;
    conn->drain_at = clock_now () + (int64_t) random_below (self->spread_ms + 1) * MS_NS;
    session_rearm (conn);
}

static void send_away (struct drain *self, struct conn *conn)
{
    if (conn->state < CONN_authenticated || conn_is_ending (conn))
        return; /* refused when its handshake gets on, or ending anyway */
    if (!conn_is_live (conn)) {
        session_refuse (conn, ERROR_DRAINING);
        return;
    }
    notice_draining (conn, random_below (self->spread_ms + JITTER_MS));
    schedule (self, conn);
}

static void cut (UNUSED struct drain *self, struct conn *conn)
{
    conn_close (conn, CLOSE_DRAINING);
    conn->kill = true;
    conn_mark_dirty (conn);
}

static void for_all (struct drain *self, void (*fn) (struct drain *self, struct conn *conn))
{
    size_t cursor = 0;
    for (struct conn *conn; (conn = map_next (&self->hub->registry.conns, &cursor));)
        fn (self, conn);
}

static void finish (struct drain *self)
{
    self->stage = DRAIN_DONE;
    LOG (DRAIN_DONE, NULL, KV_D ("seconds", (double) (clock_now () - self->started_at) / (double) S_NS));
    self->done_fn (self->arg);
}

/* When the sockets that are left are cut: the last second of drain-timeout-s, or the one behind it when that is
 * shorter, is for those that do not close. */
static int64_t cut_at (const struct drain *self)
{
    int64_t at = self->started_at + self->hub->config->drain_timeout_s * S_NS - CUT_TIME;
    return at > self->started_at ? at : self->started_at;
}

static void stop_waiting (struct drain *self)
{
    self->stage = DRAIN_CLOSING;
    LOG (DRAIN_CLOSING, NULL, KV_U ("connections", map_size (&self->hub->registry.conns)),
         KV_D ("runs", metric_get (M_RUNS_ACTIVE, 0)));
}

static void start_cutting (struct drain *self)
{
    self->stage = DRAIN_CUTTING;
    LOG (DRAIN_TIMEOUT, NULL, KV_U ("connections", map_size (&self->hub->registry.conns)));
    for_all (self, cut);
}

static void step (struct timer *timer)
{
    struct drain *self = CONTAINER_OF (timer, struct drain, timer);
    int64_t now = clock_now ();
    if (map_size (&self->hub->registry.conns) == 0 || now >= cut_at (self) + CUT_TIME) {
        finish (self);
        return;
    }
    if (self->stage == DRAIN_WAITING && now >= self->hub->runs_until)
        stop_waiting (self);
    if (self->stage != DRAIN_CUTTING && now >= cut_at (self))
        start_cutting (self);
    if (self->stage != DRAIN_CUTTING)
        for_all (self, schedule);
    wheel_set (&self->hub->wheel, &self->timer, now + STEP);
}

void drain_init (struct drain *self, struct hub *hub, void (*began_fn) (void *arg), void (*done_fn) (void *arg),
                 void *arg)
{
    *self = (struct drain){.hub = hub, .began_fn = began_fn, .done_fn = done_fn, .arg = arg};
    timer_init (&self->timer, step);
}

void drain_start (struct drain *self)
{
    struct hub *hub = self->hub;
    size_t n = map_size (&hub->registry.conns);
    if (self->stage != DRAIN_OFF)
        return;
    self->stage = DRAIN_WAITING;
    self->started_at = clock_now ();
    self->spread_ms = spread_ms (hub);
    hub->draining = true;
    hub->runs_until = cut_at (self) - CLOSE_TIME - (int64_t) self->spread_ms * MS_NS;
    metric_set (M_DRAIN_STATE, 0, 1);
    LOG (DRAIN_STARTED, NULL, KV_U ("connections", n), KV_D ("runs", metric_get (M_RUNS_ACTIVE, 0)));
    for_all (self, send_away);
    self->began_fn (self->arg);
    wheel_set (&hub->wheel, &self->timer, clock_now () + (n ? STEP : 0));
}
