/* What the functions of the core share. One hub per process, built by the bridge; everything runs in the loop's thread.
 */
#ifndef CORE_HUB_H
#define CORE_HUB_H

#include "base/config.h"
#include "base/ip.h"
#include "base/wheel.h"
#include "core/addresses.h"
#include "core/jwt.h"
#include "core/limiter.h"
#include "core/ports.h"
#include "core/publisher.h"
#include "core/registry.h"
#include "core/token_cache.h"

#define HANDSHAKE_BURST_S 10 /* an address may use up at once what it may do in so many seconds */

struct jwks;

struct hub {
    const struct config *config; /* shared; a reload changes it in place */
    const struct keys *keys;     /* shared; hub_set_keys replaces it */
    struct jwks *jwks;           /* shared; NULL without jwks-url */
    struct token_cache tokens;   /* verified under `keys` */
    struct registry registry;
    struct cidrs proxies;       /* trusted-proxies */
    struct addresses addresses; /* of connections that are not ending */
    struct limiter handshakes;  /* by address, ip_group */
    struct limiter messages;    /* by user */
    struct wheel wheel;
    struct runtime_port runtime;
    struct publishers publishers;
    struct list dirty;  /* connections that the WebSocket edge has to look at, struct conn, work_link */
    struct list reap;   /* connections to be freed by the pulse */
    struct buf scratch; /* for one encoding at a time */
    size_t replay_left; /* bytes that may still be replayed from history in this turn of the loop */
    int64_t started_at; /* monotonic ns */
    unsigned page_port; /* of the admin port, whose page may connect (its Try tab); 0: may not, as in production */
    bool draining;
    int64_t runs_until; /* draining: runs in progress are waited for until then, monotonic ns */
};

void hub_init (struct hub *self, const struct config *config);
void hub_fini (struct hub *self);

/* From now on tokens are checked with these keys (shared): what was verified under others is forgotten. */
void hub_set_keys (struct hub *self, const struct keys *keys);

/* What is kept of the configuration in another form follows it. After every reload. */
void hub_apply_config (struct hub *self);

/* Forget who has not been over a rate for some time. About once a second. */
void hub_expire_rates (struct hub *self);

/* A turn of the loop begins: what is bounded per turn starts anew, so that nobody waits long for others' replays. */
void hub_begin_turn (struct hub *self);

/* Free the connections that have gone. Called by the pulse, outside every callback of a library. */
void hub_reap (struct hub *self);

struct history_limits hub_history_limits (const struct hub *self);

/* Is the runtime link up: some lane, and some event endpoint? */
bool hub_link_ready (const struct hub *self);

#endif
