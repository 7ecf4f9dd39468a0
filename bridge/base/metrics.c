#include "base/metrics.h"
#include "base/process.h"
#include "version.h"

#include <ctype.h>
#include <math.h>

#define PREFIX "agentbridge_"

/* --- Label lists: the values in the order of the index that callers pass --- */

static const char *const NONE_values[] = {""};
static const char *const BUILD_values[] = {AGENTBRIDGE_VERSION};
static const char *const HTTP_CLASS_values[] = {"2xx", "3xx", "4xx", "5xx"};

static const char *const CONN_STATE_values[] = {
#define CONN_STATE(symbol, next) #symbol,
#define TO(state)
#include "tbl/conn_states.h"
#undef TO
#undef CONN_STATE
};

static const char *const HANDSHAKE_values[] = {
    "ok",
#define ERROR_CODE(symbol, status, retry, ours, message) #symbol,
#include "tbl/error_codes.h"
#undef ERROR_CODE
};

static const char *const CLIENT_RESULT_values[] = {
#define CLIENT_RESULT(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const EVENT_TYPE_values[] = {
#define EVENT_TYPE(symbol) #symbol,
#include "tbl/event_types.h"
#undef EVENT_TYPE
    "other",
};

static const char *const CLOSE_REASON_values[] = {
#define CLOSE_REASON(symbol, label, code, frame, text) label,
#include "tbl/close_reasons.h"
#undef CLOSE_REASON
};

static const char *const DROP_REASON_values[] = {
#define DROP_REASON(symbol, label) label,
#include "tbl/drop_reasons.h"
#undef DROP_REASON
};

static const char *const EVICTION_values[] = {
#define EVICTION(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const RESUME_values[] = {
#define RESUME(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const LINK_values[] = {
#define LINK(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const RELOAD_RESULT_values[] = {
#define RELOAD_RESULT(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const RUN_OUTCOME_values[] = {
#define RUN_OUTCOME(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const TLS_RESULT_values[] = {
#define TLS_RESULT(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const TLS_RELOAD_values[] = {
#define TLS_RELOAD(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const JWKS_RESULT_values[] = {
#define JWKS_RESULT(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const COMMAND_values[] = {
#define COMMAND(name, to_runtime, to_bridge) #name,
#include "commands.h"
#undef COMMAND
};

static const char *const COMMAND_DROP_values[] = {
#define COMMAND_DROP(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const ACCEPT_FAILURE_values[] = {
#define ACCEPT_FAILURE(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const HTTP_TIMEOUT_values[] = {
#define HTTP_TIMEOUT(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const LIMITED_values[] = {
#define LIMITED(symbol) #symbol,
#include "tbl/labels.h"
};

static const char *const TOKEN_RESULT_values[] = {
#define TOKEN_RESULT(symbol) #symbol,
#include "tbl/labels.h"
};

/* Names of the labels. */
#define LABEL_NONE           NULL
#define LABEL_BUILD          "version"
#define LABEL_CONN_STATE     "state"
#define LABEL_HANDSHAKE      "result"
#define LABEL_HTTP_CLASS     "class"
#define LABEL_CLIENT_RESULT  "result"
#define LABEL_EVENT_TYPE     "type"
#define LABEL_CLOSE_REASON   "reason"
#define LABEL_DROP_REASON    "reason"
#define LABEL_EVICTION       "reason"
#define LABEL_RESUME         "result"
#define LABEL_LINK           "link"
#define LABEL_RUN_OUTCOME    "outcome"
#define LABEL_COMMAND        "command"
#define LABEL_COMMAND_DROP   "reason"
#define LABEL_ACCEPT_FAILURE "reason"
#define LABEL_HTTP_TIMEOUT   "phase"
#define LABEL_LIMITED        "of"
#define LABEL_TOKEN_RESULT   "result"
#define LABEL_RELOAD_RESULT  "result"
#define LABEL_TLS_RESULT     "result"
#define LABEL_TLS_RELOAD     "result"
#define LABEL_JWKS_RESULT    "result"

/* --- Storage: every row has its stretch of one array, laid out by the compiler --- */

/* The thresholds of alerts (k8s/monitoring) are among them, so that nothing is guessed between two bounds. */
static const double bounds_fast[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};
static const double bounds_wait[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60};
static const double bounds_slow[] = {0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800};
static const double bounds_life[] = {1, 5, 15, 60, 300, 900, 1800, 3600, 14400, 43200, 86400};

/* A histogram is its buckets (not cumulated), the one for what is over the last bound, and the sum. */
#define WIDTH_COUNTER(labels)        COUNT_OF (labels##_values)
#define WIDTH_GAUGE(labels)          COUNT_OF (labels##_values)
#define WIDTH_HISTOGRAM_FAST(labels) (COUNT_OF (bounds_fast) + 2)
#define WIDTH_HISTOGRAM_WAIT(labels) (COUNT_OF (bounds_wait) + 2)
#define WIDTH_HISTOGRAM_SLOW(labels) (COUNT_OF (bounds_slow) + 2)
#define WIDTH_HISTOGRAM_LIFE(labels) (COUNT_OF (bounds_life) + 2)

enum {
#define METRIC(symbol, name, kind, labels, help) AT_##symbol, AFTER_##symbol = AT_##symbol + WIDTH_##kind (labels) - 1,
#include "tbl/metrics.h"
#undef METRIC
    VALUE_COUNT
};

static double values[VALUE_COUNT] = {[AT_BUILD_INFO] = 1};

enum kind {
    KIND_COUNTER,
    KIND_GAUGE,
    KIND_HISTOGRAM
};

struct row {
    const char *name, *help, *label;
    const char *const *label_values;
    const double *bounds;
    uint16_t at, count; /* count: label values or bounds */
    enum kind kind;
};

#define ROW_PLAIN(metric_kind, labels)                                                                                 \
    .kind = metric_kind, .label = LABEL_##labels, .label_values = labels##_values, .count = COUNT_OF (labels##_values)
#define ROW_BOUNDS(limits)         .kind = KIND_HISTOGRAM, .bounds = limits, .count = COUNT_OF (limits)
#define ROW_COUNTER(labels)        ROW_PLAIN (KIND_COUNTER, labels)
#define ROW_GAUGE(labels)          ROW_PLAIN (KIND_GAUGE, labels)
#define ROW_HISTOGRAM_FAST(labels) ROW_BOUNDS (bounds_fast)
#define ROW_HISTOGRAM_WAIT(labels) ROW_BOUNDS (bounds_wait)
#define ROW_HISTOGRAM_SLOW(labels) ROW_BOUNDS (bounds_slow)
#define ROW_HISTOGRAM_LIFE(labels) ROW_BOUNDS (bounds_life)

static const struct row rows[METRIC_COUNT] = {
#define METRIC(symbol, metric_name, metric_kind, labels, text)                                                         \
    [M_##symbol] = {.name = PREFIX metric_name, .help = (text), .at = AT_##symbol, ROW_##metric_kind (labels)},
#include "tbl/metrics.h"
#undef METRIC
};

/* What counting needs of a row, small enough to stay in the cache; no labels where there is nothing to count. */
struct place {
    uint16_t at, labels;
};

#define LABELS_COUNTER(labels)        COUNT_OF (labels##_values)
#define LABELS_GAUGE(labels)          COUNT_OF (labels##_values)
#define LABELS_HISTOGRAM_FAST(labels) 0
#define LABELS_HISTOGRAM_WAIT(labels) 0
#define LABELS_HISTOGRAM_SLOW(labels) 0
#define LABELS_HISTOGRAM_LIFE(labels) 0

static const struct place places[METRIC_COUNT] = {
#define METRIC(symbol, name, kind, labels, help) [M_##symbol] = {AT_##symbol, LABELS_##kind (labels)},
#include "tbl/metrics.h"
#undef METRIC
};

static double *slot (enum metric id, unsigned label)
{
    CHECK (id < METRIC_COUNT && label < places[id].labels);
    return &values[places[id].at + label];
}

void metric_add (enum metric id, unsigned label, double n)
{
    *slot (id, label) += n;
}

void metric_set (enum metric id, unsigned label, double value)
{
    *slot (id, label) = value;
}

double metric_get (enum metric id, unsigned label)
{
    return *slot (id, label);
}

void metric_observe (enum metric id, double seconds)
{
    CHECK (id < METRIC_COUNT && rows[id].kind == KIND_HISTOGRAM);
    const struct row *row = &rows[id];
    double *buckets = &values[row->at];
    unsigned i = 0;

    /* Clocks of two machines may disagree: a negative age counts as none; a NaN would spoil the sum for ever.
     */
    if (!(seconds > 0))
        seconds = 0;
    while (i < row->count && seconds > row->bounds[i])
        i++;
    buckets[i]++;
    buckets[row->count + 1] += seconds;
}

unsigned metric_labels (enum metric id)
{
    CHECK (id < METRIC_COUNT);
    return places[id].labels;
}

const char *metric_label (enum metric id, unsigned label)
{
    CHECK (id < METRIC_COUNT && label < places[id].labels);
    return rows[id].label_values[label];
}

double metric_total (enum metric id)
{
    double sum = 0;
    for (unsigned i = 0; i < metric_labels (id); i++)
        sum += metric_get (id, i);
    return sum;
}

struct metric_histogram metric_histogram (enum metric id)
{
    CHECK (id < METRIC_COUNT && rows[id].kind == KIND_HISTOGRAM);
    return (struct metric_histogram){.bounds = rows[id].bounds, .counts = &values[rows[id].at], .n = rows[id].count};
}

void metrics_reset (void)
{
    memset (values, 0, sizeof values);
    values[AT_BUILD_INFO] = 1;
}

/* --- Exposition: Prometheus text 0.0.4 and OpenMetrics 1.0, which differ in three things: OpenMetrics names a
 * counter's family without _total, escapes quotes in HELP, and ends with # EOF. Series are the same in both. --- */

enum format {
    FORMAT_PROMETHEUS,
    FORMAT_OPENMETRICS
};

static const char *const type_names[] = {
    [KIND_COUNTER] = "counter", [KIND_GAUGE] = "gauge", [KIND_HISTOGRAM] = "histogram"};

/* Up to 2^53 every integer is exact in a double. */
static void put_number (struct buf *out, double value)
{
    if (value == trunc (value) && fabs (value) <= 9007199254740992.0)
        buf_printf (out, "%.0f", value == 0 ? 0.0 : value); /* no "-0" */
    else
        buf_printf (out, "%.15g", value);
}

static void put_sample (struct buf *out, double value)
{
    buf_putc (out, ' ');
    put_number (out, value);
    buf_putc (out, '\n');
}

static void put_lower (struct buf *out, const char *text)
{
    for (; *text; text++)
        buf_putc (out, (char) tolower ((unsigned char) *text));
}

/* Error codes are upper case on the wire and lower case as a label; everything else stands as it is. */
static void put_label_value (struct buf *out, const struct row *row, unsigned label)
{
    if (row->label_values == HANDSHAKE_values)
        put_lower (out, row->label_values[label]);
    else
        buf_puts (out, row->label_values[label]);
}

static void put_help (struct buf *out, const char *help, enum format format)
{
    for (; *help; help++) {
        if (*help == '\n')
            buf_puts (out, "\\n");
        else if (*help == '\\' || (*help == '"' && format == FORMAT_OPENMETRICS))
            buf_printf (out, "\\%c", *help);
        else
            buf_putc (out, *help);
    }
}

static void put_head (struct buf *out, const char *name, const char *help, enum kind kind, enum format format)
{
    size_t n = strlen (name);
    if (format == FORMAT_OPENMETRICS && kind == KIND_COUNTER)
        n -= strlen ("_total");
    buf_printf (out, "# HELP %.*s ", (int) n, name);
    put_help (out, help, format);
    buf_printf (out, "\n# TYPE %.*s %s\n", (int) n, name, type_names[kind]);
}

static void put_plain (struct buf *out, const struct row *row)
{
    for (unsigned i = 0; i < row->count; i++) {
        buf_puts (out, row->name);
        if (row->label) {
            buf_printf (out, "{%s=\"", row->label);
            put_label_value (out, row, i);
            buf_puts (out, "\"}");
        }
        put_sample (out, values[row->at + i]);
    }
}

/* A bound is a label: "1.0" in both formats, as OpenMetrics has it, or else the format would change the series. */
static void put_bound (struct buf *out, double bound)
{
    put_number (out, bound);
    if (bound == trunc (bound))
        buf_puts (out, ".0");
}

static void put_histogram (struct buf *out, const struct row *row)
{
    const double *buckets = &values[row->at];
    double total = 0;

    for (unsigned i = 0; i < row->count; i++) {
        total += buckets[i];
        buf_printf (out, "%s_bucket{le=\"", row->name);
        put_bound (out, row->bounds[i]);
        buf_puts (out, "\"}");
        put_sample (out, total);
    }
    total += buckets[row->count];
    buf_printf (out, "%s_bucket{le=\"+Inf\"}", row->name);
    put_sample (out, total);
    buf_printf (out, "%s_sum", row->name);
    put_sample (out, buckets[row->count + 1]);
    buf_printf (out, "%s_count", row->name);
    put_sample (out, total);
}

/* --- The standard process_* metrics; what the system does not tell is left out --- */

static void put_process_all (struct buf *out, enum format format)
{
    struct process_info info;
    process_info_read (&info);
    const struct {
        const char *name, *help;
        enum kind kind;
        double value;
    } standard[] = {
        {"process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", KIND_COUNTER, info.cpu_s},
        {"process_virtual_memory_bytes", "Virtual memory size in bytes.", KIND_GAUGE, info.virtual_bytes},
        {"process_resident_memory_bytes", "Resident memory size in bytes.", KIND_GAUGE, info.resident_bytes},
        {"process_open_fds", "Number of open file descriptors.", KIND_GAUGE, info.open_fds},
        {"process_max_fds", "Maximum number of open file descriptors.", KIND_GAUGE, info.max_fds},
        {"process_start_time_seconds", "Start time of the process since unix epoch in seconds.", KIND_GAUGE,
         info.start_s},
    };
    for (size_t i = 0; i < COUNT_OF (standard); i++) {
        if (standard[i].value < 0)
            continue;
        put_head (out, standard[i].name, standard[i].help, standard[i].kind, format);
        buf_puts (out, standard[i].name);
        put_sample (out, standard[i].value);
    }
}

static void put_all (struct buf *out, enum format format)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        put_head (out, rows[i].name, rows[i].help, rows[i].kind, format);
        if (rows[i].kind == KIND_HISTOGRAM)
            put_histogram (out, &rows[i]);
        else
            put_plain (out, &rows[i]);
    }
    put_process_all (out, format);
}

void metrics_write (struct buf *out)
{
    put_all (out, FORMAT_PROMETHEUS);
}

void metrics_write_openmetrics (struct buf *out)
{
    put_all (out, FORMAT_OPENMETRICS);
    buf_puts (out, "# EOF\n");
}

/* --- Reference --- */

static void put_label_cell (struct buf *out, const struct row *row)
{
    if (!row->label)
        return;
    buf_printf (out, "`%s`", row->label);
    if (row->label_values == BUILD_values) /* differs from build to build; the reference does not */
        return;
    for (unsigned i = 0; i < row->count; i++) {
        buf_puts (out, i ? ", " : ": ");
        put_label_value (out, row, i);
    }
}

void metrics_reference (struct buf *out)
{
    buf_puts (out, "| Metric | Type | Label | Meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        buf_printf (out, "| `%s` | %s | ", rows[i].name, type_names[rows[i].kind]);
        put_label_cell (out, &rows[i]);
        buf_puts (out, " | ");
        for (const char *c = rows[i].help; *c; c++)
            buf_printf (out, *c == '|' || *c == '_' || *c == '*' ? "\\%c" : "%c", *c);
        buf_puts (out, " |\n");
    }
    buf_puts (out, "\nThe standard `process_*` metrics (CPU seconds, memory, file descriptors, start time) "
                   "are there too.\n");
}
