/* The runs of one user, and the table of all. */
#include "base/clock.h"
#include "base/metrics.h"
#include "core/publisher.h"
#include "core/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct registry registry;
static struct user *alice;
static struct publisher publisher;
static int64_t now;

static int set_up (void **state)
{
    (void) state;
    metrics_reset ();
    registry_init (&registry);
    list_init (&publisher.runs);
    alice = registry_user_get (&registry, slice_str ("alice"));
    assert_non_null (alice);
    now = 1000 * S_NS;
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    registry_fini (&registry);
    assert_int_equal (registry.runs.n, 0);
    assert_true (list_empty (&publisher.runs) && list_empty (&registry.runs.active));
    assert_true (list_empty (&registry.runs.stalled));
    assert_true (metric_get (M_RUNS_ACTIVE, 0) == 0 && metric_get (M_RUNS_STALLED, 0) == 0);
    return 0;
}

static void take (struct user *user, struct event event)
{
    event.type_name = event.type_name.n ? event.type_name : slice_str ("type");
    runs_note (&user->runs, user, &publisher, &event, now);
}

static void note (enum event_type type, struct slice id)
{
    take (alice, (struct event){.type = type, .run_id = id});
}

static bool second_end (enum event_type type, const char *id)
{
    return runs_is_second_end (&alice->runs, &(struct event){.type = type, .run_id = slice_str (id)});
}

static void expect_open (uint32_t n)
{
    uint32_t counted = 0;
    LIST_FOREACH (&publisher.runs, link)
        counted++;
    assert_int_equal (alice->runs.n, n);
    assert_int_equal (counted, n);
    assert_true (metric_get (M_RUNS_ACTIVE, 0) == (double) n);
}

static void expect_outcome (enum run_outcome outcome, double n)
{
    assert_true (metric_get (M_RUNS, outcome) == n);
}

static struct run *only_run (void)
{
    assert_int_equal (alice->runs.n, 1);
    return LIST_ENTRY (alice->runs.open.next, struct run, link);
}

static void expect_text (struct slice text, const char *wanted)
{
    assert_int_equal (text.n, strlen (wanted));
    assert_memory_equal (text.p, wanted, text.n);
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
        if (alice->runs.n != cases[i].open)
            fail_msg ("case %zu: %u open, not %u", i, alice->runs.n, cases[i].open);
        expect_open (cases[i].open);
        runs_fini (&alice->runs);
        expect_open (0);
    }
}

static void test_ends_once (void **state)
{
    (void) state;
    note (EVENT_agent_started, slice_str ("a"));
    assert_false (second_end (EVENT_agent_completed, "a"));
    note (EVENT_agent_completed, slice_str ("a"));
    assert_true (second_end (EVENT_agent_completed, "a"));
    assert_true (second_end (EVENT_agent_error, "a"));
    assert_false (second_end (EVENT_agent_started, "a"));
    assert_false (second_end (EVENT_agent_thinking, "a"));
    assert_false (second_end (EVENT_agent_completed, "b"));
    assert_false (second_end (EVENT_agent_completed, ""));
    expect_outcome (RUN_OUTCOME_completed, 1);
    note (EVENT_agent_started, slice_str ("a")); /* begun anew, it may end again */
    expect_open (1);
    assert_false (second_end (EVENT_agent_completed, "a"));
    note (EVENT_agent_error, slice_str ("a"));
    assert_true (second_end (EVENT_agent_completed, "a"));
    expect_outcome (RUN_OUTCOME_error, 1);
}

/* The end of a run whose begin nobody saw counts as its end. */
static void test_end_without_begin (void **state)
{
    (void) state;
    note (EVENT_agent_completed, slice_str ("a"));
    expect_open (0);
    assert_true (second_end (EVENT_agent_error, "a"));
    expect_outcome (RUN_OUTCOME_completed, 0);
}

static void test_most_ends (void **state)
{
    char id[8];
    (void) state;
    for (int i = 0; i < RUN_ENDS_MAX + 5; i++) {
        snprintf (id, sizeof id, "r%d", i);
        note (EVENT_agent_completed, slice_str (id));
    }
    for (int i = 0; i < RUN_ENDS_MAX + 5; i++) {
        snprintf (id, sizeof id, "r%d", i);
        assert_int_equal (second_end (EVENT_agent_completed, id), i >= 5);
    }
}

static void test_outcome_of_the_bridges_own_end (void **state)
{
    (void) state;
    note (EVENT_agent_started, slice_str ("a"));
    take (alice, (struct event){.type = EVENT_other, .run_id = slice_str ("a"), .synthetic = true});
    expect_text (run_last_type (only_run ()), "type");
    take (alice, (struct event){.type = EVENT_agent_error, .run_id = slice_str ("a"), .synthetic = true});
    expect_open (0);
    expect_outcome (RUN_OUTCOME_runtime_lost, 1);
    expect_outcome (RUN_OUTCOME_error, 0);
    assert_true (second_end (EVENT_agent_completed, "a"));
}

/* The longest silent one makes room. */
static void test_most_runs (void **state)
{
    char id[8];
    (void) state;
    for (int i = 0; i < RUNS_MAX; i++) { /* all at one time */
        snprintf (id, sizeof id, "r%d", i);
        note (EVENT_agent_started, slice_str (id));
    }
    note (EVENT_agent_thinking, slice_str ("r0"));
    expect_open (RUNS_MAX);
    note (EVENT_agent_started, slice_str ("more"));
    expect_open (RUNS_MAX);
    expect_outcome (RUN_OUTCOME_untracked, 1);
    note (EVENT_agent_completed, slice_str ("r1")); /* not followed any more, so nothing ends */
    expect_open (RUNS_MAX);
    note (EVENT_agent_completed, slice_str ("r0"));
    expect_open (RUNS_MAX - 1);
}

static void test_oldest_of_all (void **state)
{
    (void) state;
    struct user *bob = registry_user_get (&registry, slice_str ("bob"));
    struct event started = {.type = EVENT_agent_started, .run_id = slice_str ("x")};
    take (bob, started);
    take (alice, started);
    assert_int_equal (registry.runs.n, 2);
    assert_ptr_equal (runs_forget_oldest (&registry.runs), bob);
    assert_int_equal (bob->runs.n, 0);
    assert_int_equal (registry.runs.n, 1);
    expect_outcome (RUN_OUTCOME_untracked, 1);
    run_set_stalled (only_run ());
    take (bob, started);
    assert_ptr_equal (runs_forget_oldest (&registry.runs), alice); /* stalled ones first */
}

static void test_stalled (void **state)
{
    (void) state;
    note (EVENT_agent_started, slice_str ("a"));
    run_set_stalled (only_run ());
    run_set_stalled (only_run ());
    assert_true (metric_get (M_RUNS_STALLED, 0) == 1 && list_empty (&registry.runs.active));
    note (EVENT_other, slice_str ("a"));
    assert_true (metric_get (M_RUNS_STALLED, 0) == 0 && list_empty (&registry.runs.stalled));
    assert_false (only_run ()->stalled);
    run_set_stalled (only_run ());
    note (EVENT_agent_completed, slice_str ("a"));
    assert_true (metric_get (M_RUNS_STALLED, 0) == 0);
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

/* What a snapshot shows. */
static void test_texts (void **state)
{
    char big[RUN_TEXT_MAX + 1];
    (void) state;
    memset (big, 'x', sizeof big);
    take (alice, (struct event){.type = EVENT_agent_started,
                                .type_name = slice_str ("agent_started"),
                                .run_id = slice_str ("run"),
                                .thread_id = slice_str ("thread"),
                                .agent_name = slice_of (big, sizeof big),
                                .timestamp = 5});
    expect_text (run_id (only_run ()), "run");
    expect_text (run_thread_id (only_run ()), "thread");
    expect_text (run_agent_name (only_run ()), ""); /* too long to keep */
    expect_text (run_last_type (only_run ()), "agent_started");
    assert_true (only_run ()->started_at == 5);
    take (alice,
          (struct event){.type = EVENT_other, .type_name = slice_of (big, sizeof big), .run_id = slice_str ("run")});
    expect_text (run_last_type (only_run ()), "");
}

static void tool (enum event_type type, const char *id, const char *name)
{
    take (alice,
          (struct event){
              .type = type, .run_id = slice_str ("a"), .execution_id = slice_str (id), .tool_name = slice_str (name)});
}

static void expect_tools (const char *wanted)
{
    char text[4096] = "";
    uint32_t n = 0;
    LIST_FOREACH (&only_run ()->tools, link) {
        const struct run_tool *one = LIST_ENTRY (link, struct run_tool, link);
        struct slice id = run_tool_id (one), name = run_tool_name (one);
        snprintf (text + strlen (text), sizeof text - strlen (text), "%.*s:%.*s ", (int) id.n, id.p, (int) name.n,
                  name.p);
        n++;
    }
    assert_string_equal (text, wanted);
    assert_int_equal (only_run ()->n_tools, n);
}

static void test_tools (void **state)
{
    (void) state;
    note (EVENT_agent_started, slice_str ("a"));
    tool (EVENT_tool_executing, "1", "search");
    tool (EVENT_tool_executing, "2", "search");
    tool (EVENT_tool_executing, "2", "search"); /* said twice */
    expect_tools ("1:search 2:search ");
    tool (EVENT_tool_completed, "3", "search");
    tool (EVENT_other, "1", "search");
    expect_tools ("1:search 2:search ");
    tool (EVENT_tool_completed, "1", "");
    expect_tools ("2:search ");
    tool (EVENT_tool_executing, "", "calc");
    tool (EVENT_tool_completed, "", "calc"); /* without ids the name has to do */
    tool (EVENT_tool_completed, "", "search");
    expect_tools ("");
    for (int i = 0; i < RUN_TOOLS_MAX + 3; i++) {
        char id[8];
        snprintf (id, sizeof id, "%d", i);
        tool (EVENT_tool_executing, id, "t");
    }
    assert_int_equal (only_run ()->n_tools, RUN_TOOLS_MAX);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_events),        TEST (test_ends_once), TEST (test_end_without_begin),
        TEST (test_most_ends),     TEST (test_most_runs), TEST (test_outcome_of_the_bridges_own_end),
        TEST (test_oldest_of_all), TEST (test_stalled),   TEST (test_long_ids),
        TEST (test_ids_are_bytes), TEST (test_texts),     TEST (test_tools),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
