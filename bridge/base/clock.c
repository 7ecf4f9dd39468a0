#include "base/clock.h"

#include <time.h>

static int64_t now_ns;
static double wall_s;

static int64_t read_ns (clockid_t id)
{
    struct timespec ts;
    clock_gettime (id, &ts);
    return ts.tv_sec * S_NS + ts.tv_nsec;
}

int64_t clock_read (void)
{
    return read_ns (CLOCK_MONOTONIC);
}

void clock_refresh (void)
{
    now_ns = clock_read ();
    wall_s = (double) read_ns (CLOCK_REALTIME) / (double) S_NS;
}

int64_t clock_now (void)
{
    if (!now_ns)
        clock_refresh ();
    return now_ns;
}

double clock_wall (void)
{
    if (!now_ns)
        clock_refresh ();
    return wall_s;
}
