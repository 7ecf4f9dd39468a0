#include "core/lanes.h"
#include "base/hash.h"

static int best_lane (const struct runtime_port *runtime, struct slice user)
{
    uint64_t best_weight = 0;
    int best = LANE_NONE;
    for (int lane = 0; lane < runtime->lanes (runtime->self); lane++) {
        if (!runtime->lane_up (runtime->self, lane))
            continue;
        uint64_t weight = hash_bytes_keyed (user, (uint64_t) lane, 0);
        if (best == LANE_NONE || weight > best_weight) {
            best = lane;
            best_weight = weight;
        }
    }
    return best;
}

int lanes_for_user (const struct runtime_port *runtime, struct user *user)
{
    if (user->lane == LANE_NONE || !runtime->lane_up (runtime->self, user->lane)) {
        int lane = best_lane (runtime, user_id (user));
        if (lane == LANE_NONE)
            return LANE_NONE; /* remember the old one: it may come back */
        user->lane = lane;
    }
    return user->lane;
}

bool lanes_any_up (const struct runtime_port *runtime)
{
    for (int lane = 0; lane < runtime->lanes (runtime->self); lane++)
        if (runtime->lane_up (runtime->self, lane))
            return true;
    return false;
}
