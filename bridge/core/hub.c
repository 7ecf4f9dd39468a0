#include "core/hub.h"
#include "core/lanes.h"

/* Per turn of the loop, all connections together; fresh events do not wait longer for it. */
#define REPLAY_BYTES 65536

void hub_init (struct hub *self, const struct config *config)
{
    *self = (struct hub){.config = config, .started_at = clock_now ()};
    token_cache_init (&self->tokens);
    registry_init (&self->registry);
    addresses_init (&self->addresses);
    limiter_init (&self->handshakes, LIMITED_addresses);
    limiter_init (&self->messages, LIMITED_users);
    hub_apply_config (self);
    wheel_init (&self->wheel, clock_now ());
    publishers_init (&self->publishers, config, &self->wheel, &self->runtime);
    list_init (&self->dirty);
    list_init (&self->reap);
    buf_init (&self->scratch, 0);
    hub_begin_turn (self);
}

void hub_begin_turn (struct hub *self)
{
    self->replay_left = REPLAY_BYTES;
}

void hub_fini (struct hub *self)
{
    hub_reap (self);
    registry_fini (&self->registry);
    addresses_fini (&self->addresses);
    limiter_fini (&self->handshakes);
    limiter_fini (&self->messages);
    token_cache_fini (&self->tokens);
    publishers_fini (&self->publishers);
    buf_fini (&self->scratch);
}

void hub_apply_config (struct hub *self)
{
    cidrs_parse (&self->proxies, self->config->trusted_proxies);
}

void hub_expire_rates (struct hub *self)
{
    double handshakes = (double) self->config->handshakes_per_second_per_address;
    double messages = (double) self->config->client_messages_per_minute_per_user;
    limiter_expire (&self->handshakes, handshakes, handshakes * HANDSHAKE_BURST_S, clock_now ());
    limiter_expire (&self->messages, messages / 60, messages / 10, clock_now ());
}

void hub_set_keys (struct hub *self, const struct keys *keys)
{
    token_cache_clear (&self->tokens);
    self->keys = keys;
}

void hub_reap (struct hub *self)
{
    for (struct list *link; (link = list_pop (&self->reap));) {
        struct conn *conn = LIST_ENTRY (link, struct conn, work_link);
        conn_destroy (&conn);
    }
}

struct history_limits hub_history_limits (const struct hub *self)
{
    return (struct history_limits){.events = (uint32_t) self->config->history_events,
                                   .bytes = (size_t) self->config->history_bytes,
                                   .ttl_ns = self->config->history_ttl_s * S_NS};
}

bool hub_link_ready (const struct hub *self)
{
    return self->runtime.events_up (self->runtime.self) && lanes_any_up (&self->runtime);
}
