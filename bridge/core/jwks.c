#include "core/jwks.h"
#include "base/hash.h"
#include "base/log.h"
#include "core/breaker.h"
#include "core/freshness.h"

#define DEFAULT_AGE_S 300 /* when the server does not say */
#define RETRY_MAX     (60 * S_NS)

struct jwks {
    struct hub *hub;
    struct jwks_port port;
    const struct keys *local; /* shared */
    struct keys *fetched;     /* owned; NULL: none yet, or too old */
    struct keys *merged;      /* owned; of both; NULL when only one of them counts */
    struct jwks_mark mark;    /* of `fetched` */
    struct breaker breaker;
    struct timer refresh, stale;
    int64_t kid_refresh_at; /* from then on an unknown kid may have the set fetched, monotonic ns */
    bool fetching;
    bool behind;  /* the last fetch failed, so that nobody knows the newest set */
    bool too_old; /* there was a set once */
};

/* --- keys in force ------------------------------------------------------------------------------------------- */

/* Without memory for the union the configured keys alone count. */
static void put_in_force (struct jwks *self)
{
    struct keys *old = self->merged;
    self->merged = self->fetched ? keys_union (self->local, self->fetched) : NULL;
    if (self->fetched && !self->merged)
        LOG (NO_MEMORY, NULL, KV_S ("what", "keys"));
    hub_set_keys (self->hub, self->merged ? self->merged : self->local);
    keys_destroy (&old);
}

void jwks_set_local (struct jwks *self, const struct keys *local)
{
    self->local = local;
    put_in_force (self);
}

static void on_stale (struct timer *timer)
{
    struct jwks *self = CONTAINER_OF (timer, struct jwks, stale);
    LOG (JWKS_TOO_OLD, NULL, KV_I ("stale_s", self->hub->config->jwks_stale_s));
    self->too_old = true;
    keys_destroy (&self->fetched);
    put_in_force (self);
}

const char *jwks_fault (const struct jwks *self)
{
    if (!self || self->merged)
        return NULL;
    return self->too_old ? "the keys from jwks-url are too old" : "no keys from jwks-url yet";
}

/* --- fetching ------------------------------------------------------------------------------------------------ */

static void breaker_changed (struct jwks *self, enum breaker_state before)
{
    enum breaker_state now = self->breaker.state;
    metric_set (M_AUTH_BREAKER, 0, now);
    if (now != before)
        LOG (JWKS_BREAKER, NULL, KV_S ("from", breaker_state_text (before)), KV_S ("to", breaker_state_text (now)),
             KV_I ("failures", self->breaker.failures));
}

static void begin_fetch (struct jwks *self)
{
    enum breaker_state before = self->breaker.state;
    if (self->fetching || !breaker_allow (&self->breaker, clock_now ()))
        return;
    breaker_changed (self, before);
    wheel_cancel (&self->refresh);
    self->fetching = true;
    if (!self->port.fetch (self->port.self, self->fetched ? &self->mark : NULL))
        jwks_done (self, &(struct jwks_answer){.result = JWKS_RESULT_no_memory, .why = "cannot begin"});
}

static void on_refresh (struct timer *timer)
{
    begin_fetch (CONTAINER_OF (timer, struct jwks, refresh));
}

void jwks_start (struct jwks *self)
{
    begin_fetch (self);
}

static int64_t clamp (int64_t value, int64_t min, int64_t max)
{
    return value < min ? min : value > max ? max : value;
}

/* Many bridges that began together shall not ask together for ever. */
static int64_t jittered (int64_t ns, int64_t part)
{
    return ns - (int64_t) random_below ((uint64_t) (ns / part));
}

static void take_keys (struct jwks *self, struct jwks_answer *answer)
{
    keys_destroy (&self->fetched);
    self->fetched = answer->keys;
    answer->keys = NULL;
    keys_log_skipped (&answer->skipped);
    put_in_force (self);
}

/* Again ahead of its end, so that one failure or two leave it fresh. */
static void succeed (struct jwks *self, struct jwks_answer *answer)
{
    const struct config *config = self->hub->config;
    bool changed = answer->keys != NULL;
    int64_t said = answer->fresh_s == FRESHNESS_UNKNOWN ? DEFAULT_AGE_S : answer->fresh_s;
    int64_t fresh_s = clamp (said, config->jwks_min_age_s, config->jwks_max_age_s);
    if (changed)
        take_keys (self, answer);
    else if (!self->merged)
        put_in_force (self);
    self->mark = answer->mark;
    self->behind = self->too_old = false;
    metric_set (M_JWKS_LAST_SUCCESS, 0, clock_wall ());
    wheel_set (&self->hub->wheel, &self->refresh, clock_now () + jittered (fresh_s * S_NS * 4 / 5, 10));
    wheel_set (&self->hub->wheel, &self->stale, clock_now () + config->jwks_stale_s * S_NS);
    LOG (JWKS_FETCHED, NULL, KV_B ("changed", changed), KV_U ("keys", self->fetched->n), KV_I ("fresh_s", fresh_s));
}

static int64_t back_off (const struct jwks *self)
{
    int64_t wait = self->hub->config->jwks_retry_ms * MS_NS;
    for (int64_t i = 1; i < self->breaker.failures && wait < RETRY_MAX; i++)
        wait *= 2;
    return jittered (wait < RETRY_MAX ? wait : RETRY_MAX, 2);
}

static const char *result_text (enum jwks_result result)
{
    static const char *const texts[] = {
#define JWKS_RESULT(symbol) #symbol,
#include "tbl/labels.h"
    };
    return texts[result];
}

static void fail (struct jwks *self, const struct jwks_answer *answer)
{
    int64_t now = clock_now ();
    int64_t next = self->breaker.state == BREAKER_OPEN ? self->breaker.open_until : now + back_off (self);
    self->behind = true;
    wheel_set (&self->hub->wheel, &self->refresh, next);
    LOG (JWKS_FAILED, NULL, KV_S ("result", result_text (answer->result)), KV_S ("why", answer->why),
         KV_I ("next_ms", (next - now) / MS_NS), KV_B ("kept", self->fetched != NULL));
}

static bool is_good (const struct jwks_answer *answer)
{
    return answer->result == JWKS_RESULT_ok || answer->result == JWKS_RESULT_not_modified;
}

/* A set is good when something of it can be used, and all of it fits beside the configured keys. */
static void judge (struct jwks *self, struct jwks_answer *answer)
{
    if (is_good (answer) && !answer->keys && !self->fetched) { /* it has grown too old meanwhile */
        answer->result = JWKS_RESULT_http_status;
        snprintf (answer->why, sizeof answer->why, "unchanged, but the set at hand is gone");
    }
    if (answer->result != JWKS_RESULT_ok || !answer->keys)
        return;
    if (!(answer->keys->algorithms & self->local->allowed)) {
        answer->result = JWKS_RESULT_no_keys;
        snprintf (answer->why, sizeof answer->why, "no key in it that can be used");
    } else if (answer->keys->n + self->local->n > KEYS_MAX) {
        answer->result = JWKS_RESULT_too_large;
        snprintf (answer->why, sizeof answer->why, "more than %d keys", KEYS_MAX);
    }
}

void jwks_done (struct jwks *self, struct jwks_answer *answer)
{
    const struct config *config = self->hub->config;
    struct breaker_limits limits = {config->jwks_breaker_failures, config->jwks_breaker_open_s * S_NS};
    enum breaker_state before = self->breaker.state;
    self->fetching = false;
    judge (self, answer);
    metric_inc (M_JWKS_REFRESHES, answer->result);
    bool good = is_good (answer);
    if (good)
        breaker_succeeded (&self->breaker);
    else
        breaker_failed (&self->breaker, &limits, clock_now ());
    if (good)
        succeed (self, answer);
    else
        fail (self, answer);
    breaker_changed (self, before);
    keys_destroy (&answer->keys);
}

/* --- tokens -------------------------------------------------------------------------------------------------- */

/* After a failure the back-off and the breaker say when to ask again, not clients. */
static void ask_for_kid (struct jwks *self)
{
    int64_t now = clock_now ();
    if (self->fetching || self->behind || now < self->kid_refresh_at)
        return;
    self->kid_refresh_at = now + self->hub->config->jwks_kid_refresh_s * S_NS;
    LOG (JWKS_KID, NULL);
    begin_fetch (self);
}

void jwks_review (struct jwks *self, struct jwt_result *result)
{
    if (!self || result->error != ERROR_VALIDATION_FAILED || result->miss == JWT_MISS_NONE)
        return;
    if (self->merged && result->miss == JWT_MISS_UNNAMED)
        return;
    if (self->merged)
        ask_for_kid (self);
    if (!self->merged || self->fetching || self->behind)
        result->error = ERROR_AUTH_KEYS_UNAVAILABLE;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

struct jwks *jwks_new (struct hub *hub, const struct jwks_port *port)
{
    struct jwks *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    *self = (struct jwks){.hub = hub, .port = *port, .local = hub->keys};
    breaker_init (&self->breaker);
    timer_init (&self->refresh, on_refresh);
    timer_init (&self->stale, on_stale);
    return self;
}

void jwks_destroy (struct jwks **self_p)
{
    struct jwks *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    wheel_cancel (&self->refresh);
    wheel_cancel (&self->stale);
    if (self->local)
        hub_set_keys (self->hub, self->local);
    keys_destroy (&self->fetched);
    keys_destroy (&self->merged);
    free (self);
}
