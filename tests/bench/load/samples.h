/* Durations, kept one by one, so that percentiles are exact. */
#ifndef LOAD_SAMPLES_H
#define LOAD_SAMPLES_H

#include "loop.h"

struct samples {
    uint32_t *ns; /* owned; capped at about 4 s */
    size_t n, cap;
};

void samples_add (struct samples *self, int64_t ns);

/* The value below which the share `quantile` (0 to 1) lies, in µs; 0 when there are none. Sorts. */
double samples_us (struct samples *self, double quantile);

#endif
