#include "reload.h"
#include "base/log.h"
#include "base/metrics.h"
#include "core/hub.h"
#include "core/jwks.h"
#include "edge/tls.h"

#define LOOK_EVERY (1 * S_NS) /* at the key files */

/* --- keys ---------------------------------------------------------------------------------------------------- */

static void watch_key_files (struct file_watch *files, const struct config *config)
{
    file_watch_init (files);
    file_watch_add (files, config->jwt_secret_file);
    file_watch_add (files, config->jwt_secret_previous_file);
    file_watch_add (files, config->jwt_public_key_file);
    file_watch_add (files, config->jwks_file);
}

struct keys *reload_read_keys (const struct config *config, struct file_watch *files, struct buf *error)
{
    struct buf skipped;
    struct keys_sources sources = keys_sources_of (config);
    watch_key_files (files, config);
    buf_init (&skipped, 0);
    struct keys *keys = keys_load (&sources, error, &skipped);
    keys_log_skipped (&skipped);
    buf_fini (&skipped);
    return keys;
}

static void use_keys (struct reload *self, struct keys *keys)
{
    if (self->hub->jwks)
        jwks_set_local (self->hub->jwks, keys); /* what was fetched counts on */
    else
        hub_set_keys (self->hub, keys);
    keys_destroy (&self->keys);
    self->keys = keys;
}

static void tell_failed (struct buf *error)
{
    metric_inc (M_RELOADS, RELOAD_RESULT_failed);
    LOG (RELOAD_FAILED, NULL, KV_SL ("why", error->n ? buf_slice (error) : slice_str ("out of memory")));
}

/* A key file has changed. The configuration stays what it is. */
static void reload_keys (struct reload *self)
{
    struct buf error;
    struct file_watch files;
    buf_init (&error, 0);
    struct keys *keys = reload_read_keys (self->config, &files, &error);
    if (keys) {
        self->key_files = files;
        use_keys (self, keys);
        metric_inc (M_RELOADS, RELOAD_RESULT_ok);
        LOG (KEYS_LOADED, NULL, KV_U ("keys", keys->n));
    } else {
        tell_failed (&error);
    }
    buf_fini (&error);
}

static void on_look (struct timer *timer)
{
    struct reload *self = CONTAINER_OF (timer, struct reload, look);
    if (file_watch_look (&self->key_files))
        reload_keys (self);
    wheel_set (&self->hub->wheel, &self->look, clock_now () + LOOK_EVERY);
}

/* --- everything ---------------------------------------------------------------------------------------------- */

/* The pair that `next` names, for tls_set_identity. */
static bool load_identity (const struct reload *self, const struct config *next, struct tls_identity *identity,
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
static void apply (struct reload *self, struct config *next, struct tls_identity *identity, struct keys *keys,
                   const struct file_watch *files)
{
    struct buf unchanged;
    buf_init (&unchanged, 0);
    config_reload (self->config, next, &unchanged);
    hub_apply_config (self->hub);
    self->key_files = *files;
    use_keys (self, keys);
    if (self->tls)
        tls_set_identity (self->tls, identity);
    metric_inc (M_RELOADS, RELOAD_RESULT_ok);
    log_set_level (log_level_of (self->config->log_level));
    LOG (RELOADED, NULL, KV_U ("keys", keys->n), KV_SL ("want_restart", buf_slice (&unchanged)));
    buf_fini (&unchanged);
}

void reload_all (struct reload *self)
{
    struct buf error;
    struct file_watch files;
    struct tls_identity identity = {0};
    buf_init (&error, 0);
    struct config *next = self->load_fn ? self->load_fn (self->load_arg, &error) : NULL;
    bool may = next && config_may_reload (self->config, next, &error) && load_identity (self, next, &identity, &error);
    struct keys *keys = may ? reload_read_keys (next, &files, &error) : NULL;
    if (keys)
        apply (self, next, &identity, keys, &files);
    else
        tell_failed (&error);
    tls_identity_fini (&identity);
    config_destroy (&next);
    buf_fini (&error);
}

/* --- life ---------------------------------------------------------------------------------------------------- */

void reload_start (struct reload *self, struct hub *hub, struct config *config, struct tls *tls, struct keys *keys,
                   const struct file_watch *key_files)
{
    *self = (struct reload){.hub = hub, .config = config, .tls = tls, .keys = keys, .key_files = *key_files};
    timer_init (&self->look, on_look);
    wheel_set (&hub->wheel, &self->look, clock_now () + LOOK_EVERY);
}

void reload_stop (struct reload *self)
{
    if (!self->hub)
        return;
    wheel_cancel (&self->look);
    keys_destroy (&self->keys);
}
