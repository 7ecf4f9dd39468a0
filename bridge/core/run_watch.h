/* What the bridge says and does of runs by itself: run_stalled for a silent one, RUNTIME_LOST for those of a runtime
 * that has gone, ABANDONED for those that nobody reads. */
#ifndef CORE_RUN_WATCH_H
#define CORE_RUN_WATCH_H

#include "core/hub.h"

#define RUN_WATCH_EVERY (200 * MS_NS)

/* Look at all of it. Every RUN_WATCH_EVERY. */
void run_watch (struct hub *hub);

#endif
