/* Leaving without losing anyone: no new connections, the live ones are told when to come back and closed one after
 * the other; those whose user has runs in progress when these have ended. An enum that a timer advances:
 *
 *   off -> waiting (for runs) -> closing (whatever is left) -> cutting (sockets that do not close) -> done
 */
#ifndef CORE_DRAIN_H
#define CORE_DRAIN_H

#include "core/hub.h"

struct drain {
    enum {
        DRAIN_OFF,
        DRAIN_WAITING,
        DRAIN_CLOSING,
        DRAIN_CUTTING,
        DRAIN_DONE
    } stage;
    struct hub *hub;
    struct timer timer;
    int64_t started_at;
    uint64_t spread_ms; /* the closes are spread over so long */
    void (*began_fn) (void *arg);
    void (*done_fn) (void *arg);
    void *arg;
};

/* `began_fn` is called once, when the drain has begun; `done_fn` once, when the last connection has gone or
 * drain-timeout-s has passed. */
void drain_init (struct drain *self, struct hub *hub, void (*began_fn) (void *arg), void (*done_fn) (void *arg),
                 void *arg);

/* Begin; harmless when it has begun. */
void drain_start (struct drain *self);

#endif
