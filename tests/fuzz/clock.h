/* The clock of the fuzzers: it stands still until it is told to go on, so that one input always does the same. */
#ifndef TESTS_FUZZ_CLOCK_H
#define TESTS_FUZZ_CLOCK_H

#include "base/clock.h"

#define FUZZ_WALL 1700000000 /* Unix seconds at the start of every input */

void fuzz_clock_reset (void);
void fuzz_clock_advance (int64_t ns);

#endif
