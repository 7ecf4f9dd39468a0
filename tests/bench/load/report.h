/* The line of JSON that a run ends with. */
#ifndef LOAD_REPORT_H
#define LOAD_REPORT_H

#include "load.h"

/* Begin measuring: from here CPU time and wall time count, and earlier latencies do not. */
void report_begin (struct load *load);

/* How long that is ago, in ns. */
int64_t report_elapsed (void);

/* Stop measuring. */
void report_end (struct load *load);

/* One more figure; names carry the unit. */
void report_figure (const char *name, double value);

/* Print what was measured: CPU µs per `units`, wall seconds, latency and set-up percentiles, further figures, faults.
 */
void report_print (struct load *load, const char *unit, uint64_t units);

#endif
