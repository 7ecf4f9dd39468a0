/* Which of several runtimes serves a user. */
#ifndef CORE_LANES_H
#define CORE_LANES_H

#include "core/ports.h"
#include "core/registry.h"

#define LANES_MAX 64

/* The lane of this user, LANE_NONE when no lane is up. A user stays on its lane while that is up; otherwise the lane
 * with the highest hash of user and lane among those that are up (rendezvous hashing, Thaler and Ravishankar 1998), so
 * that every bridge chooses alike and a lost lane moves only its own users. */
int lanes_for_user (const struct runtime_port *runtime, struct user *user);

bool lanes_any_up (const struct runtime_port *runtime);

#endif
