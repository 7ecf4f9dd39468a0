/* The runs of one user that are in progress: begun by agent_started, ended by agent_completed or agent_error. */
#ifndef CORE_RUN_H
#define CORE_RUN_H

#include "core/event.h"
#include "base/list.h"

#define RUNS_MAX   256 /* in progress per user; more are delivered but not tracked */
#define RUN_ID_MAX 255 /* bytes; longer ids are delivered but not tracked */

struct runs {
    struct list open; /* struct run */
    uint32_t n;
};

void runs_init (struct runs *self);
void runs_fini (struct runs *self);

/* Take an event into account. */
void runs_note (struct runs *self, const struct event *event);

#endif
