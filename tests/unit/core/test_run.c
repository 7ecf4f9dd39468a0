/* The runs of one user that are in progress. */
#include "base/metrics.h"
#include "core/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct runs runs;

static int set_up (void **state)
{
    (void) state;
    metrics_reset ();
    runs_init (&runs);
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    runs_fini (&runs);
    assert_int_equal (runs.n, 0);
    assert_true (list_empty (&runs.open));
    assert_true (metric_get (M_RUNS_ACTIVE, 0) == 0);
    return 0;
}

static void note (enum event_type type, struct slice id)
{
    runs_note (&runs, &(struct event){.type = type, .run_id = id});
}

static void expect_open (uint32_t n)
{
    assert_int_equal (runs.n, n);
    assert_true (metric_get (M_RUNS_ACTIVE, 0) == (double) n);
}

/* What each event does to a user with run "a" in progress. */
static void test_events (void **state)
{
    static const struct {
        enum event_type type;
        const char *id;
        uint32_t open;
    } cases[] = {
        {EVENT_agent_started, "a", 1},
        {EVENT_agent_started, "b", 2},
        {EVENT_agent_started, "", 1},
        {EVENT_agent_thinking, "b", 1},
        {EVENT_tool_executing, "b", 1},
        {EVENT_tool_completed, "b", 1},
        {EVENT_progress_update, "b", 1},
        {EVENT_stream_chunk, "b", 1},
        {EVENT_other, "b", 1},
        {EVENT_agent_thinking, "a", 1},
        {EVENT_other, "a", 1},
        {EVENT_agent_completed, "a", 0},
        {EVENT_agent_error, "a", 0},
        {EVENT_agent_completed, "b", 1},
        {EVENT_agent_error, "b", 1},
        {EVENT_agent_completed, "", 1},
        {EVENT_agent_completed, "aa", 1},
        {EVENT_tool_completed, "a", 1},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        note (EVENT_agent_started, slice_str ("a"));
        note (cases[i].type, slice_str (cases[i].id));
        if (runs.n != cases[i].open)
            fail_msg ("case %zu: %u open, not %u", i, runs.n, cases[i].open);
        expect_open (cases[i].open);
        runs_fini (&runs);
        expect_open (0);
    }
}

static void test_ends_once (void **state)
{
    (void) state;
    note (EVENT_agent_started, slice_str ("a"));
    note (EVENT_agent_completed, slice_str ("a"));
    note (EVENT_agent_error, slice_str ("a"));
    expect_open (0);
    note (EVENT_agent_started, slice_str ("a"));
    expect_open (1);
}

static void test_most_runs (void **state)
{
    char id[8];
    (void) state;
    for (int i = 0; i < RUNS_MAX + 10; i++) {
        snprintf (id, sizeof id, "r%d", i);
        note (EVENT_agent_started, slice_str (id));
    }
    expect_open (RUNS_MAX);
    note (EVENT_agent_completed, slice_str ("r260")); /* not tracked */
    expect_open (RUNS_MAX);
    note (EVENT_agent_completed, slice_str ("r17"));
    expect_open (RUNS_MAX - 1);
    note (EVENT_agent_started, slice_str ("r300"));
    note (EVENT_agent_started, slice_str ("r301"));
    expect_open (RUNS_MAX);
}

static void test_long_ids (void **state)
{
    char id[RUN_ID_MAX + 1];
    (void) state;
    memset (id, 'x', sizeof id);
    note (EVENT_agent_started, slice_of (id, RUN_ID_MAX + 1));
    expect_open (0);
    note (EVENT_agent_started, slice_of (id, RUN_ID_MAX));
    expect_open (1);
    note (EVENT_agent_completed, slice_of (id, RUN_ID_MAX - 1));
    note (EVENT_agent_completed, slice_of (id, RUN_ID_MAX + 1));
    expect_open (1);
    note (EVENT_agent_completed, slice_of (id, RUN_ID_MAX));
    expect_open (0);
}

static void test_ids_are_bytes (void **state)
{
    (void) state;
    note (EVENT_agent_started, slice_of ("a\0b", 3));
    note (EVENT_agent_completed, slice_of ("a\0c", 3));
    note (EVENT_agent_completed, slice_of ("a", 1));
    expect_open (1);
    note (EVENT_agent_completed, slice_of ("a\0b", 3));
    expect_open (0);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_events),   TEST (test_ends_once),     TEST (test_most_runs),
        TEST (test_long_ids), TEST (test_ids_are_bytes),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
