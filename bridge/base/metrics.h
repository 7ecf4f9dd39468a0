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

/* Label indices. HANDSHAKE: 0 is ok, else 1 + error code. HTTP_CLASS: first digit of the status - 2.
 * EVENT_TYPE: the row of tbl/event_types.h, their number for every other type. CONN_STATE, CLOSE_REASON,
 * DROP_REASON, COMMAND: the row of their table. The lists that only metrics know: */
enum client_result {
#define CLIENT_RESULT(symbol) CLIENT_RESULT_##symbol,
#include "tbl/labels.h"
};

enum eviction {
#define EVICTION(symbol) EVICTION_##symbol,
#include "tbl/labels.h"
};

enum resume {
#define RESUME(symbol) RESUME_##symbol,
#include "tbl/labels.h"
};

enum metric_link {
#define LINK(symbol) LINK_##symbol,
#include "tbl/labels.h"
};

enum run_outcome {
#define RUN_OUTCOME(symbol) RUN_OUTCOME_##symbol,
#include "tbl/labels.h"
};

enum http_timeout {
#define HTTP_TIMEOUT(symbol) HTTP_TIMEOUT_##symbol,
#include "tbl/labels.h"
};

enum accept_failure {
#define ACCEPT_FAILURE(symbol) ACCEPT_FAILURE_##symbol,
#include "tbl/labels.h"
};

enum limited {
#define LIMITED(symbol) LIMITED_##symbol,
#include "tbl/labels.h"
};

enum tls_result {
#define TLS_RESULT(symbol) TLS_RESULT_##symbol,
#include "tbl/labels.h"
};

enum tls_reload {
#define TLS_RELOAD(symbol) TLS_RELOAD_##symbol,
#include "tbl/labels.h"
};

enum jwks_result {
#define JWKS_RESULT(symbol) JWKS_RESULT_##symbol,
#include "tbl/labels.h"
};

enum command_drop {
#define COMMAND_DROP(symbol) COMMAND_DROP_##symbol,
#include "tbl/labels.h"
};

enum token_result {
#define TOKEN_RESULT(symbol) TOKEN_RESULT_##symbol,
#include "tbl/labels.h"
};

enum reload_result {
#define RELOAD_RESULT(symbol) RELOAD_RESULT_##symbol,
#include "tbl/labels.h"
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

/* The label list of a counter or gauge: how many, and the text of each ("" where there are no labels). */
unsigned metric_labels (enum metric id);
const char *metric_label (enum metric id, unsigned label);

/* The sum over all labels. */
double metric_total (enum metric id);

/* A histogram as it is kept: counts[i] observations up to bounds[i] and above bounds[i - 1], counts[n] above all. */
struct metric_histogram {
    const double *bounds, *counts;
    unsigned n; /* bounds */
};

struct metric_histogram metric_histogram (enum metric id);

/* Append the exposition of everything, `process_*` included: Prometheus text format 0.0.4, or OpenMetrics 1.0. */
void metrics_write (struct buf *out);
void metrics_write_openmetrics (struct buf *out);

/* Append the Markdown table of the reference. */
void metrics_reference (struct buf *out);

/* Back to zero, for tests. */
void metrics_reset (void);

#endif
