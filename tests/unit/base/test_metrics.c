#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"

#if __has_include("version.h")
#include "version.h"
#else
#define AGENTBRIDGE_VERSION "unknown"
#endif

static char *text; /* the last exposition or reference */

static int set_up (void **state)
{
    (void) state;
    metrics_reset ();
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    free (text);
    text = NULL;
    return 0;
}

static const char *write_with (void (*writer) (struct buf *))
{
    struct buf out;
    buf_init (&out, 0);
    writer (&out);
    free (text);
    text = buf_steal_str (&out);
    assert_non_null (text);
    return text;
}

/* A whole line. */
static void assert_line (const char *line)
{
    size_t n = strlen (line);
    for (const char *at = text; (at = strstr (at, line)); at++)
        if ((at == text || at[-1] == '\n') && at[n] == '\n')
            return;
    fail_msg ("no line: %s", line);
}

/* The lines that begin with `prefix`. */
static void assert_lines (const char *prefix, const char *expected)
{
    char *got = calloc (1, strlen (text) + 1);
    for (const char *at = text; *at; at += strcspn (at, "\n") + 1)
        if (strncmp (at, prefix, strlen (prefix)) == 0)
            strncat (got, at, strcspn (at, "\n") + 1);
    assert_string_equal (got, expected);
    free (got);
}

static double sample (const char *name)
{
    const char *at = strstr (write_with (metrics_write), name);
    assert_non_null (at);
    return atof (at + strlen (name));
}

static void zeros_are_there_from_the_start (void **state)
{
    (void) state;
    write_with (metrics_write);
    assert_lines ("agentbridge_build_info{", "agentbridge_build_info{version=\"" AGENTBRIDGE_VERSION "\"} 1\n");
    assert_lines ("agentbridge_users", "agentbridge_users 0\n");
    assert_line ("# HELP agentbridge_users Users with at least one connection");
    assert_line ("# TYPE agentbridge_users gauge");
    assert_line ("# HELP agentbridge_history_bytes Bytes kept for resume, of history_max_bytes");
    assert_line ("# TYPE agentbridge_handshakes_total counter");
    assert_line ("# TYPE agentbridge_connection_setup_seconds histogram");
    assert_lines ("agentbridge_client_messages_total",
                  "agentbridge_client_messages_total{result=\"forwarded\"} 0\n"
                  "agentbridge_client_messages_total{result=\"answered\"} 0\n"
                  "agentbridge_client_messages_total{result=\"parse_error\"} 0\n"
                  "agentbridge_client_messages_total{result=\"invalid\"} 0\n"
                  "agentbridge_client_messages_total{result=\"rate_limited\"} 0\n"
                  "agentbridge_client_messages_total{result=\"unavailable\"} 0\n"
                  "agentbridge_client_messages_total{result=\"user_rate_limited\"} 0\n");
}

static void labels_stand_at_their_index (void **state)
{
    static const struct {
        enum metric id;
        unsigned label;
        const char *line;
    } rows[] = {
        {M_CONNECTIONS, 0, "agentbridge_connections{state=\"connecting\"} 1"},
        {M_CONNECTIONS, 11, "agentbridge_connections{state=\"closed\"} 1"},
        {M_HANDSHAKES, 0, "agentbridge_handshakes_total{result=\"ok\"} 1"},
        {M_HANDSHAKES, 1, "agentbridge_handshakes_total{result=\"jwt_token_missing\"} 1"},
        {M_HANDSHAKES, 14, "agentbridge_handshakes_total{result=\"draining\"} 1"},
        {M_HTTP_REQUESTS, 4 - 2, "agentbridge_http_requests_total{class=\"4xx\"} 1"},
        {M_CLIENT_MESSAGES, CLIENT_RESULT_invalid, "agentbridge_client_messages_total{result=\"invalid\"} 1"},
        {M_EVENTS_RECEIVED, 0, "agentbridge_events_received_total{type=\"agent_started\"} 1"},
        {M_EVENTS_RECEIVED, 8, "agentbridge_events_received_total{type=\"other\"} 1"},
        {M_CONNECTIONS_CLOSED, 9, "agentbridge_connections_closed_total{reason=\"message_too_big\"} 1"},
        {M_EVENTS_DROPPED, 1, "agentbridge_events_dropped_total{reason=\"too_deep\"} 1"},
        {M_HISTORY_EVICTED, EVICTION_total, "agentbridge_history_evicted_total{reason=\"total\"} 1"},
        {M_RUNTIME_LINK_UP, LINK_events, "agentbridge_runtime_link_up{link=\"events\"} 1"},
        {M_RUNTIME_COMMANDS, 0, "agentbridge_runtime_commands_total{command=\"HELLO\"} 1"},
        {M_COMMANDS_DROPPED, COMMAND_DROP_unsolicited,
         "agentbridge_runtime_commands_dropped_total{reason=\"unsolicited\"} 1"},
        {M_LOGS_SUPPRESSED, 0, "agentbridge_log_lines_suppressed_total 1"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        metric_inc (rows[i].id, rows[i].label);
    write_with (metrics_write);
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        assert_line (rows[i].line);
        assert_true (metric_get (rows[i].id, rows[i].label) == 1);
    }
}

static void numbers_are_short_and_exact (void **state)
{
    static const struct {
        double value;
        const char *line;
    } rows[] = {
        {0, "agentbridge_history_bytes 0"},
        {-0.0, "agentbridge_history_bytes 0"},
        {1, "agentbridge_history_bytes 1"},
        {-3, "agentbridge_history_bytes -3"},
        {268435456, "agentbridge_history_bytes 268435456"},
        {9007199254740992.0, "agentbridge_history_bytes 9007199254740992"},
        {0.1, "agentbridge_history_bytes 0.1"},
        {2.5, "agentbridge_history_bytes 2.5"},
        {1767225600.125, "agentbridge_history_bytes 1767225600.125"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        metric_set (M_HISTORY_BYTES, 0, rows[i].value);
        write_with (metrics_write);
        assert_line (rows[i].line);
    }
    metric_set (M_HISTORY_BYTES, 0, 10);
    metric_add (M_HISTORY_BYTES, 0, -4);
    assert_true (metric_get (M_HISTORY_BYTES, 0) == 6);
}

static void histograms_cumulate (void **state)
{
    static const double seconds[] = {0, -1, 0.0005, 0.0006, 0.3, 10, 10.5, 3600};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (seconds); i++)
        metric_observe (M_EVENT_DELIVERY, seconds[i]);
    metric_observe (M_EVENT_DELIVERY, (double) NAN);
    write_with (metrics_write);
    assert_lines ("agentbridge_event_delivery_seconds", "agentbridge_event_delivery_seconds_bucket{le=\"0.0005\"} 4\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.001\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.002\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.005\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.01\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.02\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.05\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.1\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.2\"} 5\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"0.5\"} 6\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"1.0\"} 6\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"2.0\"} 6\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"5.0\"} 6\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"10.0\"} 7\n"
                                                        "agentbridge_event_delivery_seconds_bucket{le=\"+Inf\"} 9\n"
                                                        "agentbridge_event_delivery_seconds_sum 3620.8011\n"
                                                        "agentbridge_event_delivery_seconds_count 9\n");
    metric_observe (M_CONNECTION_DURATION, 1800);
    write_with (metrics_write);
    assert_line ("agentbridge_connection_duration_seconds_bucket{le=\"900.0\"} 0");
    assert_line ("agentbridge_connection_duration_seconds_bucket{le=\"1800.0\"} 1");
    assert_line ("agentbridge_connection_duration_seconds_bucket{le=\"+Inf\"} 1");
}

static void bounds (const char *name, const char *expected)
{
    char prefix[100], got[400] = "";
    snprintf (prefix, sizeof prefix, "agentbridge_%s_bucket{le=\"", name);
    for (const char *at = text; (at = strstr (at, prefix)); at += strlen (prefix)) {
        const char *bound = at + strlen (prefix);
        strncat (got, bound, strcspn (bound, "\""));
        strcat (got, " ");
    }
    assert_string_equal (got, expected);
}

static void bounds_fit_what_is_measured (void **state)
{
    (void) state;
    write_with (metrics_write);
    bounds ("event_delivery_seconds", "0.0005 0.001 0.002 0.005 0.01 0.02 0.05 0.1 0.2 0.5 1.0 2.0 5.0 10.0 +Inf ");
    bounds ("run_first_event_seconds", "0.01 0.02 0.05 0.1 0.2 0.5 1.0 2.0 5.0 10.0 20.0 30.0 60.0 +Inf ");
    bounds ("run_duration_seconds", "0.1 0.5 1.0 2.0 5.0 10.0 30.0 60.0 120.0 300.0 600.0 1800.0 +Inf ");
    bounds ("connection_duration_seconds", "1.0 5.0 15.0 60.0 300.0 900.0 1800.0 3600.0 14400.0 43200.0 86400.0 +Inf ");
}

/* Without its comments an exposition is the same in both formats. */
static void copy_samples (char *to)
{
    for (const char *at = text; *at; at += strcspn (at, "\n") + 1)
        if (*at != '#' && strncmp (at, "process_", strlen ("process_")) != 0)
            strncat (to, at, strcspn (at, "\n") + 1);
}

static void openmetrics_differs_in_its_comments (void **state)
{
    (void) state;
    metric_inc (M_EVENTS_LOST, 0);
    metric_observe (M_EVENT_DELIVERY, 0.3);
    write_with (metrics_write);
    assert_line ("# TYPE agentbridge_events_lost_total counter");
    assert_line ("# TYPE process_cpu_seconds_total counter");
    assert_null (strstr (text, "# EOF"));
    char *classic = calloc (2, strlen (text) + 1), *open = classic + strlen (text) + 1;
    copy_samples (classic);

    write_with (metrics_write_openmetrics);
    assert_line ("# TYPE agentbridge_events_lost counter");
    assert_line ("agentbridge_events_lost_total 1");
    assert_line ("# TYPE process_cpu_seconds counter");
    assert_line ("# TYPE agentbridge_users gauge");
    assert_line ("# TYPE agentbridge_event_delivery_seconds histogram");
    assert_null (strstr (text, "_total counter"));
    assert_string_equal (text + strlen (text) - strlen ("\n# EOF\n"), "\n# EOF\n");
    copy_samples (open);
    assert_string_equal (classic, open);
    free (classic);
}

/* Every metric touched alone changes its own samples only. */
static void rows_do_not_overlap (void **state)
{
    (void) state;
#define METRIC(symbol, name, kind, labels, help) METRIC_TOUCH_##kind (M_##symbol);
#define METRIC_TOUCH_COUNTER(id)                 metric_add (id, 0, 1000 + (double) id)
#define METRIC_TOUCH_GAUGE(id)                   metric_set (id, 0, 1000 + (double) id)
#define METRIC_TOUCH_HISTOGRAM_FAST(id)          metric_observe (id, 20)
#define METRIC_TOUCH_HISTOGRAM_WAIT(id)          metric_observe (id, 200)
#define METRIC_TOUCH_HISTOGRAM_SLOW(id)          metric_observe (id, 2000)
#define METRIC_TOUCH_HISTOGRAM_LIFE(id)          metric_observe (id, 200000)
#include "tbl/metrics.h"
#undef METRIC
#define METRIC(symbol, name, kind, labels, help) METRIC_CHECK_##kind (M_##symbol)
#define METRIC_CHECK_COUNTER(id)                 assert_true (metric_get (id, 0) == 1000 + (double) id);
#define METRIC_CHECK_GAUGE(id)                   METRIC_CHECK_COUNTER (id)
#define METRIC_CHECK_HISTOGRAM_FAST(id)
#define METRIC_CHECK_HISTOGRAM_WAIT(id)
#define METRIC_CHECK_HISTOGRAM_SLOW(id)
#define METRIC_CHECK_HISTOGRAM_LIFE(id)
#include "tbl/metrics.h"
#undef METRIC
    write_with (metrics_write);
    assert_line ("agentbridge_connection_setup_seconds_sum 20");
    assert_line ("agentbridge_run_first_event_seconds_sum 200");
    assert_line ("agentbridge_run_duration_seconds_sum 2000");
    assert_line ("agentbridge_connection_duration_seconds_sum 200000");
    metrics_reset ();
    assert_true (metric_get (M_USERS, 0) == 0);
    assert_true (metric_get (M_BUILD_INFO, 0) == 1);
}

static void process_metrics_tell_the_truth (void **state)
{
    (void) state;
    double fds = sample ("\nprocess_open_fds ");
    int fd = open ("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true (sample ("\nprocess_open_fds ") == fds + 1);
    close (fd);
    assert_true (sample ("\nprocess_max_fds ") >= fds);
    assert_true (sample ("\nprocess_cpu_seconds_total ") >= 0);
    assert_true (sample ("\nprocess_resident_memory_bytes ") >= 4096);
    assert_true (sample ("\nprocess_virtual_memory_bytes ") >= sample ("\nprocess_resident_memory_bytes "));
    assert_true (fabs (sample ("\nprocess_start_time_seconds ") - (double) time (NULL)) < 60);
}

static void reference_has_a_row_for_each (void **state)
{
    (void) state;
    write_with (metrics_reference);
    assert_line ("| Metric | Type | Label | Meaning |");
    assert_line ("| `agentbridge_users` | gauge |  | Users with at least one connection |");
    assert_line ("| `agentbridge_runtime_link_up` | gauge | `link`: commands, events | 1 when the link is up (with "
                 "several endpoints: at least one of them). 0: look at the runtime and at the log line LINK\\_DOWN |");
    assert_line ("| `agentbridge_build_info` | gauge | `version` | Always 1; the version stands in the label. "
                 "Two versions for long are a rollout that hangs |");
    assert_line ("| `agentbridge_connection_setup_seconds` | histogram |  | From the upgrade request to "
                 "connection\\_established. Slow: the runtime answers HELLO late, or the processor is full |");
}

static void what_is_kept_can_be_read (void **state)
{
    (void) state;
    assert_int_equal (metric_labels (M_RUNTIME_LINK_UP), 2);
    assert_string_equal (metric_label (M_RUNTIME_LINK_UP, LINK_commands), "commands");
    assert_string_equal (metric_label (M_RUNTIME_LINK_UP, LINK_events), "events");
    assert_string_equal (metric_label (M_USERS, 0), "");
    metric_add (M_CLIENT_MESSAGES, CLIENT_RESULT_forwarded, 3);
    metric_add (M_CLIENT_MESSAGES, CLIENT_RESULT_user_rate_limited, 4);
    assert_true (metric_total (M_CLIENT_MESSAGES) == 7);
    metric_observe (M_EVENT_DELIVERY, 0.0005);
    metric_observe (M_EVENT_DELIVERY, 0.0006);
    metric_observe (M_EVENT_DELIVERY, 1e9);
    struct metric_histogram histogram = metric_histogram (M_EVENT_DELIVERY);
    assert_true (histogram.bounds[0] == 0.0005 && histogram.bounds[histogram.n - 1] == 10);
    assert_true (histogram.counts[0] == 1 && histogram.counts[1] == 1 && histogram.counts[2] == 0);
    assert_true (histogram.counts[histogram.n] == 1);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown (zeros_are_there_from_the_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown (labels_stand_at_their_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown (numbers_are_short_and_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown (histograms_cumulate, set_up, tear_down),
        cmocka_unit_test_setup_teardown (bounds_fit_what_is_measured, set_up, tear_down),
        cmocka_unit_test_setup_teardown (openmetrics_differs_in_its_comments, set_up, tear_down),
        cmocka_unit_test_setup_teardown (rows_do_not_overlap, set_up, tear_down),
        cmocka_unit_test_setup_teardown (process_metrics_tell_the_truth, set_up, tear_down),
        cmocka_unit_test_setup_teardown (reference_has_a_row_for_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown (what_is_kept_can_be_read, set_up, tear_down),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
