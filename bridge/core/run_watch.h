/* What the bridge says and does of runs by itself: run_stalled for a silent one, RUNTIME_LOST for those of a runtime
 * that has gone, ABANDONED for those that nobody reads. */
#ifndef CORE_RUN_WATCH_H
#define CORE_RUN_WATCH_H

#include "core/hub.h"

#define RUN_WATCH_EVERY (200 * MS_NS)

/* Look at all of it. Every RUN_WATCH_EVERY. */
void run_watch (struct hub *hub);

/* The user's first connection has come; its last one has gone. Called by conn_move alone. */
void run_watch_arrived (struct user *user);
void run_watch_left (struct registry *registry, struct user *user);

/* A run of the user may have begun or ended. */
void run_watch_noted (struct registry *registry, struct user *user);

#endif
