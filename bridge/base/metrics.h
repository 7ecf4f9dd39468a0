/* Metrics of the process: every metric is one row of tbl/metrics.h. Numbers are kept as they happen, so that a scrape
 * formats what is there and scans nothing. One set per process, used from the loop's thread only. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/buf.h"

#include <stdint.h>

/* M_<symbol> for each row. */
enum metric {
#define METRIC(symbol, name, kind, labels, help) M_##symbol,
#include "tbl/metrics.h"
#undef METRIC
    METRIC_COUNT
};

/* Counters and gauges. `label` is the index in the row's label list (tbl/metrics.h), 0 where there are no labels. */
void metric_add (enum metric id, unsigned label, double n);
void metric_set (enum metric id, unsigned label, double value);
double metric_get (enum metric id, unsigned label);

static inline void metric_inc (enum metric id, unsigned label)
{
    metric_add (id, label, 1);
}

/* Histograms. Seconds. */
void metric_observe (enum metric id, double seconds);

/* Append the exposition (Prometheus text format 0.0.4) of everything, `process_*` included. */
void metrics_write (struct buf *out);

/* Append the Markdown table of the reference. */
void metrics_reference (struct buf *out);

/* Back to zero, for tests. */
void metrics_reset (void);

#endif
