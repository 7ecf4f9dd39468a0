#include "clock.h"

#define START S_NS /* 0 means "not set" in many places */

static int64_t now_ns = START;

void fuzz_clock_reset (void)
{
    now_ns = START;
}

void fuzz_clock_advance (int64_t ns)
{
    now_ns += ns;
}

void clock_refresh (void)
{
}

int64_t clock_now (void)
{
    return now_ns;
}

int64_t clock_read (void)
{
    return now_ns;
}

double clock_wall (void)
{
    return FUZZ_WALL + (double) (now_ns - START) / (double) S_NS;
}
