#include "bridge.h"
#include "base/log.h"
#include "base/metrics.h"
#include "core/downstream.h"
#include "core/drain.h"
#include "core/run_watch.h"
#include "edge/admin.h"
#include "edge/jwks_fetch.h"
#include "edge/link.h"
#include "edge/public.h"
#include "version.h"

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

#define TRIM_BYTES   (1 << 20) /* less is not worth the while */
#define CONN_BYTES   4096      /* about, with what libwebsockets holds */
#define EXPIRE_EVERY (1 * S_NS)

struct bridge {
    struct config *config;
    uv_loop_t loop;
    struct hub hub;
    struct drain drain;
    struct reload reload;
    struct link *link;
    struct jwks_fetch *jwks_fetch; /* NULL without jwks-url */
    struct ws *ws;
    struct tls *tls; /* NULL: the public port is plain */
    struct public *public;
    struct admin *admin;

    uv_timer_t tick;
    uv_prepare_t pulse;
    uv_idle_t busy; /* active while the pulse has more to do, so that the loop does not wait */
    uv_signal_t signals[3];
    struct timer expire;
    double held_most;   /* bytes that clients took, at most, since memory was last given back */
    struct timer watch; /* over runs */
    bool leaving;       /* a signal asked for the drain: end when it is done */
};

/* --- the pulse ----------------------------------------------------------------------------------------------- */

static void on_busy (UNUSED uv_idle_t *handle)
{
}

/* There is more to do, so this turn does not wait. ZeroMQ's thread, which brings the next events and may share the
 * core, must not wait for the end of a time slice meanwhile. */
static void give_way (struct bridge *self)
{
    uv_idle_start (&self->busy, on_busy);
    sched_yield ();
}

/* Once in every turn of the loop, before it waits: take what the runtimes have sent, write what waits for the
 * clients (all of it for one socket together), free what has gone, send the commands that have come up. */
static void on_pulse (uv_prepare_t *handle)
{
    struct bridge *self = handle->data;
    clock_refresh ();
    hub_begin_turn (&self->hub);
    link_pulse (self->link);
    ws_flush_all (self->ws);
    hub_reap (&self->hub);
    link_flush (self->link);
    if (link_has_work (self->link) || !list_empty (&self->hub.dirty))
        give_way (self);
    else
        uv_idle_stop (&self->busy);
}

static void on_tick (uv_timer_t *handle)
{
    struct bridge *self = handle->data;
    clock_refresh ();
    wheel_advance (&self->hub.wheel, clock_now ());
}

/* About what clients take in memory. */
static double held_bytes (const struct bridge *self)
{
    return metric_get (M_HISTORY_BYTES, 0) + metric_get (M_QUEUE_BYTES, 0) +
           (double) map_size (&self->hub.registry.conns) * CONN_BYTES;
}

/* glibc keeps what was freed between pieces that are in use, which after a storm is nearly all. Give it back whenever a
 * quarter has gone: that takes time for what is given back, so rarely, and not while there is work. */
static void trim (struct bridge *self)
{
    double held = held_bytes (self);
    self->held_most = held > self->held_most ? held : self->held_most;
    if (self->held_most - held < TRIM_BYTES || held > self->held_most * 3 / 4 ||
        uv_is_active ((uv_handle_t *) &self->busy))
        return;
    self->held_most = held;
    malloc_trim (0);
}

static void on_expire (struct timer *timer)
{
    struct bridge *self = CONTAINER_OF (timer, struct bridge, expire);
    struct history_limits limits = hub_history_limits (&self->hub);
    registry_expire (&self->hub.registry, &limits, clock_now ());
    token_cache_expire (&self->hub.tokens, clock_now ());
    hub_expire_rates (&self->hub);
    trim (self);
    wheel_set (&self->hub.wheel, &self->expire, clock_now () + EXPIRE_EVERY);
}

static void on_watch (struct timer *timer)
{
    struct bridge *self = CONTAINER_OF (timer, struct bridge, watch);
    run_watch (&self->hub);
    wheel_set (&self->hub.wheel, &self->watch, clock_now () + RUN_WATCH_EVERY);
}

/* --- signals ------------------------------------------------------------------------------------------------- */

/* The links have changed, or a drain has begun. */
static void on_change (void *arg)
{
    struct bridge *self = arg;
    if (self->public)
        public_settle (self->public);
}

static void on_drained (void *arg)
{
    struct bridge *self = arg;
    admin_drained (self->admin);
    if (self->leaving)
        uv_stop (&self->loop);
}

static void on_leave (uv_signal_t *handle, int signum)
{
    struct bridge *self = handle->data;
    clock_refresh ();
    if (self->leaving)
        _exit (1); /* the second one: at once */
    self->leaving = true;
    LOG (SIGNAL, NULL, KV_S ("signal", strsignal (signum)));
    if (self->drain.stage == DRAIN_DONE)
        uv_stop (&self->loop);
    else
        drain_start (&self->drain);
}

static void on_hangup (uv_signal_t *handle, UNUSED int signum)
{
    struct bridge *self = handle->data;
    clock_refresh ();
    reload_all (&self->reload);
}

void bridge_on_reload (struct bridge *self, reload_fn *load, void *arg)
{
    self->reload.load_fn = load;
    self->reload.load_arg = arg;
}

/* --- building and taking down -------------------------------------------------------------------------------- */

static void start_handles (struct bridge *self)
{
    static const int signums[] = {SIGTERM, SIGINT, SIGHUP};
    CHECK (uv_timer_init (&self->loop, &self->tick) == 0);
    CHECK (uv_prepare_init (&self->loop, &self->pulse) == 0);
    CHECK (uv_idle_init (&self->loop, &self->busy) == 0);
    self->tick.data = self->pulse.data = self->busy.data = self;
    CHECK (uv_timer_start (&self->tick, on_tick, WHEEL_TICK / MS_NS, WHEEL_TICK / MS_NS) == 0);
    CHECK (uv_prepare_start (&self->pulse, on_pulse) == 0);
    for (size_t i = 0; i < COUNT_OF (signums); i++) {
        CHECK (uv_signal_init (&self->loop, &self->signals[i]) == 0);
        self->signals[i].data = self;
        CHECK (uv_signal_start (&self->signals[i], signums[i] == SIGHUP ? on_hangup : on_leave, signums[i]) == 0);
    }
    timer_init (&self->expire, on_expire);
    wheel_set (&self->hub.wheel, &self->expire, clock_now () + EXPIRE_EVERY);
    timer_init (&self->watch, on_watch);
    wheel_set (&self->hub.wheel, &self->watch, clock_now () + RUN_WATCH_EVERY);
}

static void stop_handles (struct bridge *self)
{
    wheel_cancel (&self->expire);
    wheel_cancel (&self->watch);
    uv_close ((uv_handle_t *) &self->tick, NULL);
    uv_close ((uv_handle_t *) &self->pulse, NULL);
    uv_close ((uv_handle_t *) &self->busy, NULL);
    for (size_t i = 0; i < COUNT_OF (self->signals); i++)
        uv_close ((uv_handle_t *) &self->signals[i], NULL);
}

static bool open_jwks (struct bridge *self, struct buf *error)
{
    if (!self->hub.config->jwks_url[0])
        return true;
    self->jwks_fetch = jwks_fetch_new (&self->loop, &self->hub, error);
    if (self->jwks_fetch)
        jwks_start (self->hub.jwks);
    return self->jwks_fetch != NULL;
}

static bool open_admin (struct bridge *self, struct buf *error)
{
    struct status_try try = {.port = public_port (self->public), .tls = self->tls != NULL};
    self->admin = admin_new (&self->loop, &self->hub, &self->drain, try, error);
    return self->admin != NULL;
}

static bool open_edges (struct bridge *self, struct buf *error)
{
    self->link = link_new (&self->loop, &self->hub, error);
    if (!self->link)
        return false;
    link_on_change (self->link, on_change, self);
    if (!open_jwks (self, error))
        return false;
    self->ws = ws_new (&self->loop, &self->hub);
    if (!self->ws) {
        buf_puts (error,
                  "cannot start libwebsockets; is its plug-in for libuv there (Debian: libwebsockets-evlib-uv)?\n");
        return false;
    }
    bool secure = tls_is_configured (self->hub.config);
    self->tls = secure ? tls_new (&self->loop, &self->hub, error) : NULL;
    if (secure && !self->tls)
        return false;
    self->public = public_new (&self->loop, &self->hub, self->ws, self->tls, error);
    return self->public && open_admin (self, error);
}

struct bridge *bridge_new (struct config *config, struct keys *keys, const struct file_watch *key_files,
                           struct buf *error)
{
    struct bridge *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    CHECK (uv_loop_init (&self->loop) == 0);
    clock_refresh ();
    hub_init (&self->hub, config);
    downstream_attach (&self->hub);
    hub_set_keys (&self->hub, keys);
    drain_init (&self->drain, &self->hub, on_change, on_drained, self);
    start_handles (self);
    if (!open_edges (self, error)) {
        bridge_destroy (&self);
        return NULL;
    }
    self->config = config;
    reload_start (&self->reload, &self->hub, config, self->tls, keys, key_files);
    return self;
}

/* ZeroMQ ends before libwebsockets, which closes one of its descriptors twice: by the second time the number could be
 * one of ZeroMQ's. What is closed goes through the loop once more, which frees it. */
void bridge_destroy (struct bridge **self_p)
{
    struct bridge *self = *self_p;
    *self_p = NULL;
    if (!self || map_size (&self->hub.registry.conns)) /* libwebsockets cannot be taken down under live sockets */
        return;
    admin_destroy (&self->admin);
    public_destroy (&self->public);
    tls_destroy (&self->tls);
    jwks_fetch_destroy (&self->jwks_fetch);
    link_destroy (&self->link);
    stop_handles (self);
    uv_run (&self->loop, UV_RUN_NOWAIT);
    link_shutdown ();
    ws_close (self->ws);
    while (uv_run (&self->loop, UV_RUN_NOWAIT) != 0)
        ;
    ws_destroy (&self->ws);
    uv_loop_close (&self->loop);
    reload_stop (&self->reload);
    hub_fini (&self->hub);
    config_destroy (&self->config);
    free (self);
}

int bridge_run (struct bridge *self)
{
    LOG (START, NULL, KV_S ("version", AGENTBRIDGE_VERSION), KV_S ("environment", self->config->environment),
         KV_S ("bridge", self->config->bridge_id), KV_I ("max_connections", self->config->max_connections),
         KV_U ("keys", self->reload.keys->n));
    uv_run (&self->loop, UV_RUN_DEFAULT);
    LOG (STOPPED, NULL, KV_U ("connections_left", map_size (&self->hub.registry.conns)));
    return 0;
}
