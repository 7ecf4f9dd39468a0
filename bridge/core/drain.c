#include "core/drain.h"
#include "base/hash.h"
#include "base/metrics.h"
#include "core/notice.h"
#include "core/session.h"

#define STEP          (100 * MS_NS)
#define SPREAD_PER_MS 10 /* of close spread for each connection, so that they do not all come back at once */
#define SPREAD_MAX_MS 5000
#define CUT_TIME      (1 * S_NS) /* kept of drain-timeout-s for sockets that do not close */

/* Over how many milliseconds the closes are spread. */
static uint64_t spread_ms (const struct hub *hub)
{
    uint64_t spread = map_size (&hub->registry.conns) * SPREAD_PER_MS;
    uint64_t half = (uint64_t) hub->config->drain_timeout_s * 500;
    spread = spread < SPREAD_MAX_MS ? spread : SPREAD_MAX_MS;
    return spread < half ? spread : half;
}

static void send_away (struct conn *conn, uint64_t spread)
{
    if (conn->state < CONN_authenticated || conn_is_ending (conn))
        return; /* refused when its handshake gets on, or ending anyway */
    if (!conn_is_live (conn)) {
        session_refuse (conn, ERROR_DRAINING);
        return;
    }
    uint64_t wait = random_below (spread + 1);
    notice_draining (conn, wait + random_below (1000));
    conn->drain_at = clock_now () + (int64_t) wait * MS_NS;
    session_rearm (conn);
}

static void cut (struct conn *conn)
{
    conn_close (conn, CLOSE_DRAINING);
    conn->kill = true;
    conn_mark_dirty (conn);
}

static void for_all (struct drain *self, uint64_t spread)
{
    size_t cursor = 0;
    for (struct conn *conn; (conn = map_next (&self->hub->registry.conns, &cursor));) {
        if (self->stage == DRAIN_CUTTING)
            cut (conn);
        else
            send_away (conn, spread);
    }
}

static void finish (struct drain *self)
{
    self->stage = DRAIN_DONE;
    LOG (DRAIN_DONE, NULL, KV_D ("seconds", (double) (clock_now () - self->started_at) / (double) S_NS));
    self->done_fn (self->arg);
}

/* The last second of drain-timeout-s, or the one behind it when that is shorter, is for sockets that do not close. */
static void step (struct timer *timer)
{
    struct drain *self = CONTAINER_OF (timer, struct drain, timer);
    int64_t cut_at = self->started_at + self->hub->config->drain_timeout_s * S_NS - CUT_TIME;
    size_t left = map_size (&self->hub->registry.conns);
    cut_at = cut_at > self->started_at ? cut_at : self->started_at;
    if (left == 0 || clock_now () >= cut_at + CUT_TIME) {
        finish (self);
        return;
    }
    if (self->stage == DRAIN_CLOSING && clock_now () >= cut_at) {
        self->stage = DRAIN_CUTTING;
        LOG (DRAIN_TIMEOUT, NULL, KV_U ("connections", left));
        for_all (self, 0);
    }
    wheel_set (&self->hub->wheel, &self->timer, clock_now () + STEP);
}

void drain_init (struct drain *self, struct hub *hub, void (*began_fn) (void *arg), void (*done_fn) (void *arg),
                 void *arg)
{
    *self = (struct drain){.hub = hub, .began_fn = began_fn, .done_fn = done_fn, .arg = arg};
    timer_init (&self->timer, step);
}

void drain_start (struct drain *self)
{
    size_t n = map_size (&self->hub->registry.conns);
    if (self->stage != DRAIN_OFF)
        return;
    self->stage = DRAIN_CLOSING;
    self->started_at = clock_now ();
    self->hub->draining = true;
    metric_set (M_DRAIN_STATE, 0, 1);
    LOG (DRAIN_STARTED, NULL, KV_U ("connections", n));
    for_all (self, spread_ms (self->hub));
    self->began_fn (self->arg);
    wheel_set (&self->hub->wheel, &self->timer, clock_now () + (n ? STEP : 0));
}
