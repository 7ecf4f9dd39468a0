/* Time. Monotonic time for deadlines, wall time for what people and runtimes read.
 * The loop refreshes both once per pulse, so that a batch of events shares one reading. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define MS_NS INT64_C (1000000)
#define S_NS  INT64_C (1000000000)

/* Read both clocks anew. */
void clock_refresh (void);

/* Monotonic nanoseconds as of the last refresh (first call refreshes). */
int64_t clock_now (void);

/* Unix time in seconds as of the last refresh. */
double clock_wall (void);

/* Monotonic nanoseconds right now. */
int64_t clock_read (void);

#endif
