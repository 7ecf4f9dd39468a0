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
#define LOOK_EVERY   (1 * S_NS) /* at the key files */

struct bridge {
    struct config *config;
    struct keys *keys;
    uv_loop_t loop;
    struct hub hub;
    struct drain drain;
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
    struct timer look;  /* at `key_files` */
    struct file_watch key_files;
    bool leaving; /* a signal asked for the drain: end when it is done */
    struct config *(*load_fn) (void *arg, struct buf *error);
    void *load_arg;
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

/* --- keys and configuration anew ----------------------------------------------------------------------------- */

static void watch_key_files (struct file_watch *files, const struct config *config)
{
    file_watch_init (files);
    file_watch_add (files, config->jwt_secret_file);
    file_watch_add (files, config->jwt_secret_previous_file);
    file_watch_add (files, config->jwt_public_key_file);
    file_watch_add (files, config->jwks_file);
}

struct keys *bridge_load_keys (const struct config *config, struct file_watch *files, struct buf *error)
{
    struct buf skipped;
    struct keys_sources sources = keys_sources_of (config);
    watch_key_files (files, config);
    buf_init (&skipped, 0);
    struct keys *keys = keys_load (&sources, error, &skipped);
    struct slice rest = buf_slice (&skipped);
    while (rest.n) {
        const char *end = memchr (rest.p, '\n', rest.n);
        size_t n = end ? (size_t) (end - rest.p) : rest.n;
        LOG (KEY_SKIPPED, NULL, KV_SL ("why", slice_of (rest.p, n)));
        rest = slice_of (rest.p + n, rest.n - n);
        if (rest.n)
            rest = slice_of (rest.p + 1, rest.n - 1);
    }
    buf_fini (&skipped);
    return keys;
}

static void use_keys (struct bridge *self, struct keys *keys)
{
    if (self->hub.jwks)
        jwks_set_local (self->hub.jwks, keys); /* what was fetched counts on */
    else
        hub_set_keys (&self->hub, keys);
    keys_destroy (&self->keys);
    self->keys = keys;
}

static void tell_failed (struct buf *error)
{
    metric_inc (M_RELOADS, RELOAD_failed);
    LOG (RELOAD_FAILED, NULL, KV_SL ("why", error->n ? buf_slice (error) : slice_str ("out of memory")));
}

/* A key file has changed. The configuration stays what it is. */
static void reload_keys (struct bridge *self)
{
    struct buf error;
    struct file_watch files;
    buf_init (&error, 0);
    struct keys *keys = bridge_load_keys (self->config, &files, &error);
    if (keys) {
        self->key_files = files;
        use_keys (self, keys);
        metric_inc (M_RELOADS, RELOAD_ok);
        LOG (KEYS_LOADED, NULL, KV_U ("keys", keys->n));
    } else {
        tell_failed (&error);
    }
    buf_fini (&error);
}

static void on_look (struct timer *timer)
{
    struct bridge *self = CONTAINER_OF (timer, struct bridge, look);
    if (file_watch_look (&self->key_files))
        reload_keys (self);
    wheel_set (&self->hub.wheel, &self->look, clock_now () + LOOK_EVERY);
}

/* The pair that `next` names, for tls_set_identity. */
static bool load_identity (const struct bridge *self, const struct config *next, struct tls_identity *identity,
                           struct buf *error)
{
    *identity = (struct tls_identity){0};
    if (tls_is_configured (next) != (self->tls != NULL)) {
        buf_puts (error, "option tls-cert-file: TLS is switched on and off by a restart only\n");
        return false;
    }
    if (!self->tls)
        return true;
    bool ok = tls_identity_load (identity, next, error);
    metric_inc (M_TLS_RELOADS, ok ? TLS_RELOAD_ok : TLS_RELOAD_failed);
    return ok;
}

/* The paths in `files` and `identity` go over from `next` with the options. */
static void apply (struct bridge *self, struct config *next, struct tls_identity *identity, struct keys *keys,
                   const struct file_watch *files)
{
    struct buf unchanged;
    buf_init (&unchanged, 0);
    config_reload (self->config, next, &unchanged);
    hub_apply_config (&self->hub);
    self->key_files = *files;
    use_keys (self, keys);
    if (self->tls)
        tls_set_identity (self->tls, identity);
    metric_inc (M_RELOADS, RELOAD_ok);
    log_set_level (log_level_of (self->config->log_level));
    LOG (RELOADED, NULL, KV_U ("keys", keys->n), KV_SL ("want_restart", buf_slice (&unchanged)));
    buf_fini (&unchanged);
}

/* All or nothing: what is faulty leaves everything as it was. */
static void on_hangup (uv_signal_t *handle, UNUSED int signum)
{
    struct bridge *self = handle->data;
    struct buf error;
    buf_init (&error, 0);
    clock_refresh ();
    struct file_watch files;
    struct config *next = self->load_fn ? self->load_fn (self->load_arg, &error) : NULL;
    struct tls_identity identity = {0};
    bool may = next && config_may_reload (self->config, next, &error) && load_identity (self, next, &identity, &error);
    struct keys *keys = may ? bridge_load_keys (next, &files, &error) : NULL;
    if (keys)
        apply (self, next, &identity, keys, &files);
    else
        tell_failed (&error);
    tls_identity_fini (&identity);
    config_destroy (&next);
    buf_fini (&error);
}

void bridge_on_reload (struct bridge *self, struct config *(*load) (void *arg, struct buf *error), void *arg)
{
    self->load_fn = load;
    self->load_arg = arg;
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
    timer_init (&self->look, on_look);
    wheel_set (&self->hub.wheel, &self->look, clock_now () + LOOK_EVERY);
}

static void stop_handles (struct bridge *self)
{
    wheel_cancel (&self->expire);
    wheel_cancel (&self->watch);
    wheel_cancel (&self->look);
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
    self->admin = self->public ? admin_new (&self->loop, &self->hub, &self->drain, error) : NULL;
    return self->admin != NULL;
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
    self->keys = keys;
    self->key_files = *key_files;
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
    hub_fini (&self->hub);
    keys_destroy (&self->keys);
    config_destroy (&self->config);
    free (self);
}

int bridge_run (struct bridge *self)
{
    LOG (START, NULL, KV_S ("version", AGENTBRIDGE_VERSION), KV_S ("environment", self->config->environment),
         KV_S ("bridge", self->config->bridge_id), KV_I ("max_connections", self->config->max_connections),
         KV_U ("keys", self->keys->n));
    uv_run (&self->loop, UV_RUN_DEFAULT);
    LOG (STOPPED, NULL, KV_U ("connections_left", map_size (&self->hub.registry.conns)));
    return 0;
}
