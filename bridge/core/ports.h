/* What the core asks of the edges. The WebSocket edge has no row here: it pulls, see hub.h (`dirty`). */
#ifndef CORE_PORTS_H
#define CORE_PORTS_H

#include "core/command.h"

/* The link to the runtimes. A lane is one command endpoint; lanes are numbered from 0. */
struct runtime_port {
    void *self;

    /* How many lanes there are; fixed for life. */
    int (*lanes) (void *self);

    /* Does a runtime answer at the other end of this lane? */
    bool (*lane_up) (void *self, int lane);

    /* Is at least one event endpoint connected? */
    bool (*events_up) (void *self);

    /* Hand one command over; copies what it needs. False when the lane is down or does not take more (nothing was
     * handed over then; counted and logged). */
    bool (*send) (void *self, int lane, const struct command *command);
};

#endif
