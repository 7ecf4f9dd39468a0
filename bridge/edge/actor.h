/* Threads of ours beside the loop. */
#ifndef EDGE_ACTOR_H
#define EDGE_ACTOR_H

#include "base/check.h"

#include <czmq.h>

/* zactor_new() with all signals blocked in the new thread: they are the loop's, and one that came there would break off
 * its wait for work. NULL as zactor_new(). */
NODISCARD zactor_t *actor_new (zactor_fn *task, void *args);

#endif
