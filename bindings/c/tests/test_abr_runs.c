/* Runs and tools: fields of every event, exactly one end, whatever happens. */
#include "fixture.h"

static abr_run_t *begun (const char *user)
{
    abr_run_t *run = abr_run_new (fx.abr, user);
    assert_int_equal (abr_run_started (run, "task", NULL), 0);
    expect_event ("agent_started");
    return run;
}

static double float_of (struct abr_bytes map, const char *key)
{
    struct abr_mp_token token;
    size_t pos = 0;
    assert_true (abr_mp_read (abr_mp_get (map, key), &pos, &token));
    assert_int_equal (token.kind, ABR_MP_FLOAT);
    return token.v.d;
}

static void expect_nil (struct abr_bytes map, const char *key)
{
    struct abr_bytes value = abr_mp_get (map, key);
    assert_int_equal (value.n, 1);
    assert_int_equal ((uint8_t) *value.p, 0xc0);
}

static void expect_usual (struct abr_bytes event, const abr_run_t *run, uint64_t seq)
{
    struct abr_bytes id;
    expect_bytes (frame (0), "alice");
    expect_str (event, "user_id", "alice");
    expect_str (event, "run_id", abr_run_id (run));
    expect_str (event, "thread_id", "t1");
    expect_str (event, "agent_name", "adder");
    assert_true (abr_mp_get_str (event, "event_id", &id) && id.n == 32);
    double timestamp = float_of (event, "timestamp");
    assert_true (timestamp > 1.7e9 && timestamp <= abr_unix_time ());
    expect_str (frame (2), "publisher", abr_publisher (fx.abr));
    expect_uint (frame (2), "seq", seq);
    assert_true (abr_mp_check (event, 0));
}

static void test_course (void **state)
{
    (void) state;
    abr_run_t *run = abr_run_new (fx.abr, "alice");
    assert_int_equal (strlen (abr_run_id (run)), 36);
    assert_int_equal (abr_run_set_thread (run, "t1") | abr_run_set_agent (run, "adder"), 0);
    assert_int_equal (abr_runs (fx.abr), 0);
    assert_int_equal (abr_run_started (run, "add", ABR_FIELDS (abr_str ("message_id", "m1"))), 0);
    assert_int_equal (abr_runs (fx.abr), 1);
    struct abr_bytes event = expect_event ("agent_started");
    expect_usual (event, run, 1);
    expect_str (event, "task_description", "add");
    expect_str (event, "message_id", "m1");

    assert_int_equal (abr_run_thinking (run, "whole", 2), 0);
    expect_usual (event = expect_event ("agent_thinking"), run, 2);
    expect_str (event, "reasoning", "whole");
    expect_uint (event, "step_number", 2);
    assert_int_equal (abr_run_thinking_delta (run, "piece", 0), 0);
    expect_str (event = expect_event ("agent_thinking"), "delta", "piece");
    assert_null (abr_mp_get (event, "step_number").p);
    assert_int_equal (abr_run_chunk (run, "token"), 0);
    expect_str (expect_event ("stream_chunk"), "delta", "token");
    assert_int_equal (abr_run_progress (run, ABR_FIELDS (abr_int ("percent", 37))), 0);
    expect_uint (expect_event ("progress_update"), "percent", 37);
    assert_int_equal (abr_run_emit (run, "my_event", NULL), 0);
    expect_usual (expect_event ("my_event"), run, 6);

    assert_int_equal (abr_run_complete (run, "3", ABR_FIELDS (abr_map ("usage", ABR_FIELDS (abr_int ("tokens", 9))))),
                      0);
    expect_usual (event = expect_event ("agent_completed"), run, 7);
    expect_str (event, "status", "completed");
    expect_str (event, "final_response", "3");
    expect_uint (abr_mp_get (event, "usage"), "tokens", 9);
    uint64_t duration;
    assert_true (abr_mp_get_uint (event, "duration_ms", &duration) && duration < 60000);
    assert_int_equal (abr_runs (fx.abr), 0);
    assert_int_equal (abr_seq (fx.abr), 7);
    abr_run_destroy (&run);
    assert_null (run);
    expect_silence (fx.sub);
}

static void test_tool (void **state)
{
    (void) state;
    abr_run_t *run = begun ("alice");
    abr_tool_t *tool =
        abr_tool_new (run, "sum", ABR_FIELDS (abr_array ("of", ABR_FIELDS (abr_int (NULL, 1), abr_nil (NULL)))));
    char id[ABR_ID_SIZE];
    struct abr_bytes event = expect_event ("tool_executing");
    snprintf (id, sizeof id, "%s", abr_tool_id (tool));
    expect_str (event, "tool_name", "sum");
    expect_str (event, "execution_id", id);
    assert_memory_equal (abr_mp_get (abr_mp_get (event, "tool_args"), "of").p, "\x92\x01\xc0", 3);
    assert_int_equal (abr_tool_complete (&tool, ABR_FIELDS (abr_int ("sum", 1))), 0);
    assert_null (tool);
    event = expect_event ("tool_completed");
    expect_str (event, "tool_name", "sum");
    expect_str (event, "execution_id", id);
    expect_uint (abr_mp_get (event, "results"), "sum", 1);
    assert_true (abr_mp_get_bool (event, "success"));
    double seconds = float_of (event, "execution_time");
    assert_true (seconds >= 0 && seconds < 60);
    expect_failure (abr_tool_complete (&tool, NULL), EINVAL, "");
    abr_run_destroy (&run);
}

static void expect_failed_tool (void)
{
    struct abr_bytes event = expect_event ("tool_completed");
    assert_int_equal ((uint8_t) *abr_mp_get (event, "success").p, 0xc2);
}

static void test_ways_to_end_a_tool (void **state)
{
    (void) state;
    abr_run_t *run = begun ("alice");
    abr_tool_t *tool = abr_tool_new (run, "t", NULL);
    expect_event ("tool_executing");
    assert_int_equal (abr_tool_fail (&tool, "division by zero"), 0);
    expect_failed_tool ();
    expect_str (abr_mp_get (frame (1), "results"), "error", "division by zero");

    tool = abr_tool_new (run, "t", NULL);
    expect_event ("tool_executing");
    abr_tool_destroy (&tool);
    expect_failed_tool ();
    expect_nil (frame (1), "results");
    abr_tool_destroy (&tool);

    tool = abr_tool_new (run, "t", NULL);
    expect_event ("tool_executing");
    assert_int_equal (abr_tool_complete_value (&tool, abr_str ("whatever", "text")), 0);
    expect_str (expect_event ("tool_completed"), "results", "text");
    abr_run_destroy (&run);
}

static void test_end_completes_tools (void **state)
{
    (void) state;
    abr_run_t *run = begun ("alice");
    abr_tool_t *first = abr_tool_new (run, "first", NULL), *second = abr_tool_new (run, "second", NULL);
    expect_event ("tool_executing");
    expect_event ("tool_executing");
    expect_failure (abr_run_complete (run, "x", ABR_FIELDS (abr_str ("_x", ""))), EINVAL, "_x");
    expect_silence (fx.sub); /* the tools are still open */
    assert_int_equal (abr_run_complete (run, "x", NULL), 0);
    expect_failed_tool ();
    expect_failed_tool ();
    expect_event ("agent_completed");
    assert_int_equal (abr_tool_complete (&first, NULL), -1);
    assert_int_equal (errno, ESHUTDOWN);
    assert_null (first);
    abr_run_destroy (&run);
    abr_tool_destroy (&second);
    assert_null (second);
    expect_silence (fx.sub);
}

/* Nothing more is said in this run, whatever is called. */
static void expect_over (abr_run_t *run, int code)
{
    assert_true (abr_run_ended (run));
    expect_failure (abr_run_thinking (run, "x", 1), code, "run");
    expect_failure (abr_run_chunk (run, "x"), code, "run");
    expect_failure (abr_run_emit (run, "x", NULL), code, "run");
    expect_failure (abr_run_complete (run, "x", NULL), code, "run");
    expect_failure (abr_run_fail (run, "X", "x"), code, "run");
    expect_failure (abr_run_cancel (run), code, "run");
    expect_failure (abr_run_started (run, "x", NULL), code, "run");
    assert_null (abr_tool_new (run, "x", NULL));
    assert_int_equal (errno, code);
    abr_run_destroy (&run);
    expect_silence (fx.sub);
}

static void test_one_end (void **state)
{
    (void) state;
    abr_run_t *run = begun ("alice");
    assert_int_equal (abr_run_fail (run, "NO_MODEL", "The model is away."), 0);
    struct abr_bytes event = expect_event ("agent_error");
    expect_str (event, "error_code", "NO_MODEL");
    expect_str (event, "error_message", "The model is away.");
    assert_false (abr_run_cancelled (run));
    expect_over (run, ESHUTDOWN);

    run = begun ("alice");
    assert_int_equal (abr_run_complete_as (run, "partial", NULL, NULL), 0);
    expect_str (event = expect_event ("agent_completed"), "status", "partial");
    expect_nil (event, "final_response");
    expect_over (run, ESHUTDOWN);

    run = begun ("alice");
    assert_int_equal (abr_run_cancel (run), 0);
    expect_str (expect_event ("agent_error"), "error_code", "CANCELLED");
    assert_true (abr_run_cancelled (run));
    expect_over (run, ECANCELED);
}

static void test_destroy_is_an_end (void **state)
{
    (void) state;
    abr_run_t *run = begun ("alice"), *silent = abr_run_new (fx.abr, "alice");
    abr_tool_t *tool = abr_tool_new (run, "t", NULL);
    expect_event ("tool_executing");
    abr_run_destroy (&silent);
    expect_silence (fx.sub);
    abr_run_destroy (&run);
    expect_failed_tool ();
    expect_str (expect_event ("agent_error"), "error_code", "CANCELLED");
    abr_tool_destroy (&tool);
    expect_silence (fx.sub);
}

static void test_abr_destroy_ends_runs (void **state)
{
    (void) state;
    abr_run_t *one = begun ("alice"), *two = begun ("bob"), *silent = abr_run_new (fx.abr, "alice");
    abr_tool_t *tool = abr_tool_new (two, "t", NULL);
    expect_event ("tool_executing");
    abr_destroy (&fx.abr);
    expect_failed_tool (); /* the newest first */
    expect_str (expect_event ("agent_error"), "user_id", "bob");
    expect_str (expect_event ("agent_error"), "user_id", "alice");
    expect_silence (fx.sub);
    assert_int_equal (abr_run_chunk (one, "x"), -1);
    assert_int_equal (errno, ECANCELED);
    assert_int_equal (abr_run_started (silent, "x", NULL), -1);
    assert_int_equal (abr_tool_complete (&tool, NULL), -1);
    abr_run_destroy (&one);
    abr_run_destroy (&two);
    abr_run_destroy (&silent);
}

#define RUN_ID "run-1"

static abr_run_t *begun_as (const char *user, const char *run_id)
{
    abr_run_t *run = abr_run_new (fx.abr, user);
    assert_int_equal (abr_run_set_id (run, run_id), 0);
    assert_int_equal (abr_run_started (run, NULL, NULL), 0);
    assert_null (abr_mp_get (expect_event ("agent_started"), "task_description").p);
    return run;
}

static void abandon (void)
{
    say ("ABANDONED", "", "alice", BYTES ("\x81\xa4runs\x92\xa5run-1\xa5run-9"), "");
}

static void test_abandoned (void **state)
{
    (void) state;
    abr_run_t *run = begun_as ("alice", RUN_ID), *other = begun_as ("alice", "run-2"), *bobs = begun_as ("bob", RUN_ID);
    abr_tool_t *tool = abr_tool_new (run, "t", NULL);
    expect_event ("tool_executing");
    abandon ();
    expect_failure (abr_tool_complete (&tool, NULL), ECANCELED, ""); /* it sees the command first */
    assert_null (tool);
    expect_failed_tool ();
    struct abr_bytes event = expect_event ("agent_error");
    expect_str (event, "error_code", "CANCELLED");
    expect_str (event, "run_id", RUN_ID);
    expect_str (event, "user_id", "alice");
    assert_false (abr_run_ended (other) || abr_run_ended (bobs));
    abr_item_t *item = abr_recv (fx.abr, 0);
    assert_int_equal (abr_item_kind (item), ABR_ABANDONED);
    assert_string_equal (abr_item_run_id (item, 1), "run-9");
    abr_item_destroy (&item);
    assert_int_equal (abr_counter (fx.abr, ABR_RUNS_ABANDONED), 1);
    expect_over (run, ECANCELED);
    abr_run_destroy (&other);
    abr_run_destroy (&bobs);
}

static void test_abandoned_and_kept (void **state)
{
    (void) state;
    assert_int_equal (abr_set_cancel_abandoned (fx.abr, false), 0);
    fixture_start ();
    abr_run_t *run = begun_as ("alice", RUN_ID);
    abandon ();
    abr_item_t *item = abr_recv (fx.abr, 0);
    assert_int_equal (abr_item_kind (item), ABR_ABANDONED);
    abr_item_destroy (&item);
    assert_int_equal (abr_run_complete (run, "still", NULL), 0);
    expect_event ("agent_completed");
    abr_run_destroy (&run);
}

static void test_order_of_calls (void **state)
{
    (void) state;
    abr_run_t *run = abr_run_new (fx.abr, "alice");
    expect_failure (abr_run_thinking (run, "x", 1), EPROTO, "abr_run_started");
    expect_failure (abr_run_complete (run, "x", NULL), EPROTO, "abr_run_started");
    expect_failure (abr_run_set_id (run, ""), EINVAL, "255");
    assert_int_equal (abr_run_started (run, "x", NULL), 0);
    expect_failure (abr_run_started (run, "x", NULL), EPROTO, "already");
    expect_failure (abr_run_set_thread (run, "t"), EBUSY, "before");
    abr_run_destroy (&run);
    assert_null (abr_run_new (fx.abr, ""));
    assert_int_equal (errno, EINVAL);
    assert_null (abr_run_new (NULL, "alice"));
    assert_int_equal (abr_run_started (NULL, "x", NULL), -1);
    assert_int_equal (abr_run_complete (NULL, "x", NULL), -1);
    assert_int_equal (errno, EINVAL);
}

static void test_fields_refused (void **state)
{
    static const char *const names[] = {"type",       "user_id", "event_id", "timestamp", "run_id", "thread_id",
                                        "agent_name", "_offset", "_",        "",          "a\xff"};
    (void) state;
    abr_run_t *run = begun ("alice");
    for (size_t i = 0; i < COUNT_OF (names); i++)
        expect_failure (abr_run_emit (run, "x", ABR_FIELDS (abr_int (names[i], 1))), EINVAL, "field");
    expect_failure (abr_run_emit (run, "x", ABR_FIELDS (abr_int ("a", 1), abr_nil ("b"), abr_str ("a", ""))), EINVAL,
                    "\"a\" is there twice");
    expect_failure (abr_run_complete (run, "x", ABR_FIELDS (abr_str ("status", "x"))), EINVAL,
                    "\"status\" is set by this call");
    expect_failure (abr_run_emit (run, "x", ABR_FIELDS (abr_packed ("p", "\x92\x01", 2))), EINVAL,
                    "\"p\" is not exactly one");
    expect_failure (abr_run_emit (run, "x", ABR_FIELDS (abr_packed ("p", "\x01\x01", 2))), EINVAL,
                    "\"p\" is not exactly one");
    expect_failure (abr_run_emit (run, "x", ABR_FIELDS (abr_bin ("p", NULL, 1))), EINVAL, "no bytes");
    expect_failure (abr_run_emit (run, "x", ABR_FIELDS (abr_map ("m", ABR_FIELDS (abr_int (NULL, 1))))), EINVAL,
                    "no name");
    expect_failure (abr_run_emit (run, "x", ABR_FIELDS (abr_int ("connection_id", 1))), EINVAL, "connection_id");
    expect_failure (abr_run_emit (run, "agent_completed", NULL), EINVAL, "function of its own");
    expect_failure (abr_run_emit (run, "", NULL), EINVAL, "type");
    expect_failure (abr_emit (fx.abr, "alice", NULL, NULL), EINVAL, "type");
    expect_failure (abr_emit (fx.abr, "a\n", "x", NULL), EINVAL, "user id");
    expect_silence (fx.sub);
    assert_int_equal (abr_seq (fx.abr), 1);
    abr_run_destroy (&run);
}

/* `depth` arrays in a field of an event. */
static int emit_nested (size_t depth)
{
    abr_field_t levels[80][2];
    levels[0][0] = abr_int ("v", 1);
    levels[0][1] = abr_end ();
    for (size_t i = 1; i <= depth; i++) {
        levels[i][0] = abr_array ("v", levels[i - 1]);
        levels[i][1] = abr_end ();
    }
    return abr_emit (fx.abr, "alice", "x", levels[depth]);
}

static void test_depth_and_loops (void **state)
{
    abr_field_t loop[2] = {abr_nil ("v"), abr_end ()};
    abr_field_t endless[1100];
    (void) state;
    assert_int_equal (emit_nested (63), 0);
    assert_true (abr_mp_check (expect_event ("x"), 0));
    expect_failure (emit_nested (64), EINVAL, "nested");
    loop[0] = abr_map ("v", loop);
    expect_failure (abr_emit (fx.abr, "alice", "x", loop), EINVAL, "nested");
    for (size_t i = 0; i < COUNT_OF (endless); i++)
        endless[i] = abr_nil ("v");
    expect_failure (abr_emit (fx.abr, "alice", "x", endless), EINVAL, "abr_end()");
}

static void test_size (void **state)
{
    char text[2000];
    (void) state;
    memset (text, 'x', sizeof text);
    assert_int_equal (abr_set_max_event_bytes (fx.abr, 1000), 0);
    fixture_start ();
    abr_run_t *run = begun ("alice");
    text[1999] = 0;
    expect_failure (abr_run_complete (run, text, NULL), EMSGSIZE, "1000");
    assert_false (abr_run_ended (run));
    assert_int_equal (abr_run_fail (run, "TOO_LONG", "The answer is too long."), 0);
    expect_event ("agent_error");
    expect_silence (fx.sub);
    abr_run_destroy (&run);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_course),
        TEST (test_tool),
        TEST (test_ways_to_end_a_tool),
        TEST (test_end_completes_tools),
        TEST (test_one_end),
        TEST (test_destroy_is_an_end),
        TEST (test_abr_destroy_ends_runs),
        TEST (test_abandoned),
        TEST_UNSTARTED (test_abandoned_and_kept),
        TEST (test_order_of_calls),
        TEST (test_fields_refused),
        TEST (test_depth_and_loops),
        TEST_UNSTARTED (test_size),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
