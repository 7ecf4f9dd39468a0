#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#define JSON_TIME "{\"ts\":\"2026-01-01T00:00:00.123Z\""
#define TEXT_TIME "00:00:00.123"

static int ends[2]; /* a pipe: log -> test */
static char text[200000];

/* The ids of one group share budgets, so every test takes ids of its own. */
static int set_up (void **state)
{
    (void) state;
    assert_int_equal (pipe2 (ends, O_CLOEXEC | O_NONBLOCK), 0);
    fcntl (ends[1], F_SETPIPE_SZ, 1 << 20);
    log_configure (ends[1], LOG_LEVEL_INFO, true);
    metrics_reset ();
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    log_configure (STDERR_FILENO, LOG_LEVEL_INFO, true);
    close (ends[0]);
    close (ends[1]);
    return 0;
}

/* All that was written since the last call. */
static const char *logged (void)
{
    ssize_t n = 0, got;
    while ((got = read (ends[0], text + n, sizeof text - 1 - (size_t) n)) > 0)
        n += got;
    text[n] = '\0';
    return text;
}

/* Replace the time at the start by a fixed one, when it has the form that it should have. */
static const char *dated (const char *pattern)
{
    size_t n = strlen (pattern);
    logged ();
    assert_true (strlen (text) > n);
    for (size_t i = 0; i < n; i++) {
        bool digit = pattern[i] >= '0' && pattern[i] <= '9';
        assert_true (digit ? text[i] >= '0' && text[i] <= '9' : text[i] == pattern[i]);
        text[i] = pattern[i];
    }
    return text;
}

static void json_line_has_context_and_all_kinds (void **state)
{
    const struct log_ctx ctx = {.conn = slice_str ("ws_1"), .user = slice_str ("alice"), .link = slice_str (NULL)};
    (void) state;
    LOG (START, &ctx, KV_S ("s", "x"), KV_SL ("sl", slice_of ("abc", 2)), KV_U ("u", UINT64_MAX), KV_I ("i", INT64_MIN),
         KV_D ("d", 0.25), KV_D ("inf", 1e308 * 10), KV_B ("yes", true), KV_B ("no", false), KV_S ("none", NULL));
    assert_string_equal (dated (JSON_TIME), JSON_TIME
                         ",\"level\":\"info\",\"id\":\"START\",\"conn\":\"ws_1\",\"user\":\"alice\",\"s\":\"x\","
                         "\"sl\":\"ab\",\"u\":18446744073709551615,\"i\":-9223372036854775808,\"d\":0.25,"
                         "\"inf\":null,\"yes\":true,\"no\":false,\"none\":\"\"}\n");
    LOG (LINK_DOWN, NULL);
    assert_string_equal (dated (JSON_TIME), JSON_TIME ",\"level\":\"warn\",\"id\":\"LINK_DOWN\"}\n");
}

static void the_time_is_now_in_utc (void **state)
{
    struct tm tm = {0};
    time_t now = time (NULL);
    (void) state;
    LOG (START, NULL);
    assert_int_equal (sscanf (logged (), "{\"ts\":\"%d-%d-%dT%d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                              &tm.tm_hour, &tm.tm_min, &tm.tm_sec),
                      6);
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    assert_in_range (timegm (&tm), now, now + 5);
}

static void strings_are_escaped (void **state)
{
    static const struct {
        const char *value, *json, *plain;
    } rows[] = {
        {"plain", "\"plain\"", "plain"},
        {"", "\"\"", "\"\""},
        {"two words", "\"two words\"", "\"two words\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""},
        {"a=b", "\"a=b\"", "\"a=b\""},
        {"\b\t\n\v\f\r", "\"\\b\\t\\n\\u000b\\f\\r\"", "\"\\b\\t\\n\\u000b\\f\\r\""},
        {"\x01\x1b[31m\x7f", "\"\\u0001\\u001b[31m\\u007f\"", "\"\\u0001\\u001b[31m\\u007f\""},
        {"\xC2\x9B", "\"\\u009b\"", "\"\\u009b\""},
        {"caf\xC3\xA9", "\"caf\xC3\xA9\"", "\"caf\xC3\xA9\""},
        {"a\xFF\xC3z", "\"a\xEF\xBF\xBD\xEF\xBF\xBDz\"", "\"a\xEF\xBF\xBD\xEF\xBF\xBDz\""},
    };
    char expected[256];
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        log_configure (ends[1], LOG_LEVEL_INFO, true);
        LOG (LISTENING, NULL, KV_S ("v", rows[i].value));
        snprintf (expected, sizeof expected, JSON_TIME ",\"level\":\"info\",\"id\":\"LISTENING\",\"v\":%s}\n",
                  rows[i].json);
        assert_string_equal (dated (JSON_TIME), expected);
        log_configure (ends[1], LOG_LEVEL_INFO, false);
        LOG (LISTENING, NULL, KV_S ("v", rows[i].value));
        snprintf (expected, sizeof expected, TEXT_TIME " INFO  LISTENING v=%s\n", rows[i].plain);
        assert_string_equal (dated (TEXT_TIME), expected);
    }
}

static void text_line_has_padded_level_and_no_colour_off_a_terminal (void **state)
{
    const struct log_ctx ctx = {.conn = slice_str ("ws_1"), .link = slice_str (">tcp://127.0.0.1:5555")};
    (void) state;
    log_configure (ends[1], LOG_LEVEL_INFO, false);
    LOG (LINK_REFUSED, &ctx, KV_U ("n", 3), KV_B ("b", true));
    assert_string_equal (dated (TEXT_TIME),
                         TEXT_TIME " ERROR LINK_REFUSED conn=ws_1 link=>tcp://127.0.0.1:5555 n=3 b=true\n");
}

static void terminals_get_colours_unless_refused (void **state)
{
    (void) state;
    int master = posix_openpt (O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master < 0 || grantpt (master) || unlockpt (master))
        skip ();
    int slave = open (ptsname (master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true (slave >= 0);
    int pipe_end = ends[0];
    ends[0] = master;
    unsetenv ("NO_COLOR");
    log_configure (slave, LOG_LEVEL_INFO, false);
    LOG (DRAIN_TIMEOUT, NULL);
    assert_string_equal (dated (TEXT_TIME), TEXT_TIME " \033[33mWARN \033[0m DRAIN_TIMEOUT\r\n");
    setenv ("NO_COLOR", "", 1);
    log_configure (slave, LOG_LEVEL_INFO, false);
    LOG (DRAIN_TIMEOUT, NULL);
    assert_string_equal (dated (TEXT_TIME), TEXT_TIME " WARN  DRAIN_TIMEOUT\r\n");
    ends[0] = pipe_end;
    close (slave);
    close (master);
}

static void long_strings_are_cut_between_characters (void **state)
{
    static const struct {
        size_t length; /* of the x's before the end */
        const char *end, *kept;
    } rows[] = {
        {1023, "y", "y"}, /* 1024: all of it */
        {1023, "yz", "y..."},
        {1023, "\xC3\xA9", "..."}, /* would be cut in two */
        {1022, "\xC3\xA9", "\xC3\xA9"},
        {1021, "\xF0\x9F\x98\x80", "..."},
        {1020, "\xF0\x9F\x98\x80z", "\xF0\x9F\x98\x80..."},
        {1024, "\x80\x80\x80\x80\x80", "..."}, /* hostile: nothing but continuations */
    };
    char value[1100], expected[1200];
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        memset (value, 'x', rows[i].length);
        strcpy (value + rows[i].length, rows[i].end);
        LOG (STOPPED, NULL, KV_S ("v", value));
        const char *got = strstr (dated (JSON_TIME), "\"v\":");
        snprintf (expected, sizeof expected, "\"v\":\"%.*s%s\"}\n", (int) rows[i].length, value, rows[i].kept);
        if (i < COUNT_OF (rows) - 1)
            assert_string_equal (got, expected);
        assert_true (strlen (got) < 1100);
    }
}

static void a_line_that_is_full_leaves_fields_out_and_stays_whole (void **state)
{
    char bells[1025];
    (void) state;
    memset (bells, '\a', 1024);
    bells[1024] = '\0';
    /* 6 KiB each once escaped: two go in, the third does not, the small one behind it does. */
    LOG (STOPPED, NULL, KV_S ("a", bells), KV_S ("b", bells), KV_S ("c", bells), KV_U ("d", 4));
    logged ();
    assert_non_null (strstr (text, ",\"b\":\"\\u0007"));
    assert_null (strstr (text, "\"c\""));
    assert_string_equal (strstr (text, ",\"d\""), ",\"d\":4}\n");
}

static void levels_silence (void **state)
{
    static const struct {
        enum log_level level;
        bool error, warn, info;
    } rows[] = {
        {LOG_LEVEL_ERROR, true, false, false},
        {LOG_LEVEL_WARN, true, true, false},
        {LOG_LEVEL_INFO, true, true, true},
        {LOG_LEVEL_DEBUG, true, true, true},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        log_configure (ends[1], rows[i].level, true);
        assert_int_equal (log_wants (LOG_NO_MEMORY), rows[i].error);
        assert_int_equal (log_wants (LOG_LINK_DOWN), rows[i].warn);
        assert_int_equal (log_wants (LOG_LINK_UP), rows[i].info);
    }
    log_configure (ends[1], LOG_LEVEL_WARN, true);
    LOG (LINK_UP, NULL);
    assert_string_equal (logged (), "");
}

static unsigned lines_of (const char *id)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr (at, id)); at++)
        n++;
    return n;
}

static void a_flood_is_cut_and_summed_up (void **state)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    (void) state;
    for (int i = 0; i < 500; i++)
        LOG (OUTQ_FULL, NULL);
    logged ();
    unsigned written = lines_of ("\"OUTQ_FULL\"}"), left_out = 500 - written;
    assert_in_range (written, 50, 60);
    assert_int_equal ((unsigned) metric_get (M_LOGS_SUPPRESSED, 0), left_out);
    LOG (DRAIN_DONE, NULL); /* other ids have budgets of their own */
    assert_int_equal (strlen (logged ()), strlen (JSON_TIME ",\"level\":\"info\",\"id\":\"DRAIN_DONE\"}\n"));
    nanosleep (&pause, NULL);
    LOG (OUTQ_FULL, NULL);
    char expected[256];
    snprintf (expected, sizeof expected,
              JSON_TIME ",\"level\":\"warn\",\"id\":\"SUPPRESSED\",\"of\":\"OUTQ_FULL\",\"lines\":%u}\n", left_out);
    dated (JSON_TIME);
    assert_memory_equal (text, expected, strlen (expected));
    assert_non_null (strstr (text + strlen (expected), "\"id\":\"OUTQ_FULL\"}\n"));
    LOG (OUTQ_FULL, NULL);
    assert_null (strstr (logged (), "SUPPRESSED"));
}

static void a_reader_that_does_not_read_is_not_waited_for (void **state)
{
    char value[1000];
    (void) state;
    memset (value, 'x', sizeof value);
    fcntl (ends[1], F_SETPIPE_SZ, 4096);
    for (int i = 0; i < 6; i++)
        LOG (DRAIN_STARTED, NULL, KV_SL ("v", slice_of (value, sizeof value)));
    unsigned dropped = (unsigned) metric_get (M_LOGS_SUPPRESSED, 0);
    assert_in_range (dropped, 2, 3);
    logged ();
    assert_int_equal (lines_of ("DRAIN_STARTED"), 6 - dropped);
    LOG (DRAIN_STARTED, NULL);
    assert_non_null (strstr (logged (), "{\"ts\""));
}

/* Over PIPE_BUF the kernel may take a part: the next line still begins at the start of a line. */
static void a_torn_line_is_ended_first (void **state)
{
    char value[1025];
    (void) state;
    memset (value, '\a', 1024);
    value[1024] = '\0';
    fcntl (ends[1], F_SETPIPE_SZ, 4096);
    LOG (RELOADED, NULL, KV_S ("a", value));
    assert_int_equal (strlen (logged ()), 4096);
    assert_true (text[4095] != '\n');
    LOG (RELOADED, NULL);
    assert_memory_equal (logged (), "\n{\"ts\"", 6);
    LOG (RELOADED, NULL);
    assert_memory_equal (logged (), "{\"ts\"", 5);
}

static void errno_survives (void **state)
{
    (void) state;
    log_configure (-1, LOG_LEVEL_INFO, true);
    errno = EPROTO;
    LOG (KEYS_LOADED, NULL);
    assert_int_equal (errno, EPROTO);
    assert_true (metric_get (M_LOGS_SUPPRESSED, 0) == 1);
}

static void reference_has_a_row_for_each (void **state)
{
    struct buf out;
    (void) state;
    buf_init (&out, 0);
    log_reference (&out);
    char *table = buf_steal_str (&out);
    assert_non_null (strstr (table, "| Id | Level | Meaning |\n|---|---|---|\n| `START` | info | The bridge starts;"));
    assert_non_null (strstr (table, "\n| `LINK_DOWN` | warn | The link to the runtime is down |\n"));
    unsigned lines = 0;
    for (const char *c = table; *c; c++)
        lines += *c == '\n';
    assert_int_equal (lines, LOG_ID_COUNT + 2);
    free (table);
}

static void tallies_count_what_is_warned_of (void **state)
{
    struct log_tally tally;
    (void) state;
    assert_false (log_tally_of (LOG_STATE_ILLEGAL, &tally));
    LOG (PUBLISHER_NEW, NULL);
    assert_false (log_tally_of (LOG_PUBLISHER_NEW, &tally));
    for (int i = 0; i < 60; i++) /* more than its budget */
        LOG (TLS_RELOAD_FAILED, NULL);
    assert_true (log_tally_of (LOG_TLS_RELOAD_FAILED, &tally));
    assert_string_equal (tally.name, "TLS_RELOAD_FAILED");
    assert_string_equal (tally.level, "error");
    assert_int_equal (tally.lines, 60);
    assert_true (tally.last == clock_wall ());
    log_set_level (LOG_LEVEL_ERROR);
    LOG (PUBLISHER_FORGOTTEN, NULL);
    assert_false (log_tally_of (LOG_PUBLISHER_FORGOTTEN, &tally));
}

#define TEST(name) cmocka_unit_test_setup_teardown (name, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (json_line_has_context_and_all_kinds),
        TEST (the_time_is_now_in_utc),
        TEST (strings_are_escaped),
        TEST (text_line_has_padded_level_and_no_colour_off_a_terminal),
        TEST (terminals_get_colours_unless_refused),
        TEST (long_strings_are_cut_between_characters),
        TEST (a_line_that_is_full_leaves_fields_out_and_stays_whole),
        TEST (levels_silence),
        TEST (a_flood_is_cut_and_summed_up),
        TEST (a_reader_that_does_not_read_is_not_waited_for),
        TEST (a_torn_line_is_ended_first),
        TEST (errno_survives),
        TEST (reference_has_a_row_for_each),
        TEST (tallies_count_what_is_warned_of),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
