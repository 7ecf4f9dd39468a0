/* Every allocation of the library fails once: the call says ENOMEM or is done, nothing leaks or is half sent, and the
 * next call works. */
#include "fixture.h"

#include <stdlib.h>

/* -Wl,--wrap: the objects' calls come here; those of ZeroMQ and czmq do not. */
void *__real_malloc (size_t n);
void *__real_calloc (size_t n, size_t size);
void *__real_realloc (void *p, size_t n);
char *__real_strdup (const char *s);
void *__wrap_malloc (size_t n);
void *__wrap_calloc (size_t n, size_t size);
void *__wrap_realloc (void *p, size_t n);
char *__wrap_strdup (const char *s);

static int countdown; /* the allocation that fails; 0: none */

static bool fails (void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc (size_t n)
{
    return fails () ? NULL : __real_malloc (n);
}

void *__wrap_calloc (size_t n, size_t size)
{
    return fails () ? NULL : __real_calloc (n, size);
}

void *__wrap_realloc (void *p, size_t n)
{
    return fails () ? NULL : __real_realloc (p, n);
}

char *__wrap_strdup (const char *s)
{
    return fails () ? NULL : __real_strdup (s);
}

/* Call with the 1st, 2nd, … allocation failing, until none does. How many failures there were. */
static int with_each_failure (bool (*call) (void))
{
    for (int nth = 1; nth < 100; nth++) {
        countdown = nth;
        errno = 0;
        bool done = call ();
        bool reached = countdown == 0;
        countdown = 0;
        if (!done)
            assert_int_equal (errno, ENOMEM);
        if (!reached) {
            assert_true (done);
            return nth - 1;
        }
    }
    fail_msg ("it never ends");
    return 0;
}

static bool make_abr (void)
{
    abr_t *abr = abr_new ("x");
    int code = errno;
    bool made = abr != NULL;
    abr_destroy (&abr);
    errno = code;
    return made;
}

static bool make_run (void)
{
    abr_run_t *run = abr_run_new (fx.abr, "alice");
    int code = errno;
    bool made = run != NULL;
    abr_run_destroy (&run);
    errno = code;
    return made;
}

static void test_new (void **state)
{
    (void) state;
    assert_int_equal (with_each_failure (make_abr), 4);
    assert_int_equal (with_each_failure (make_run), 4);
    assert_int_equal (abr_runs (fx.abr), 0);
}

static abr_run_t *run;

static bool set_id (void)
{
    return abr_run_set_id (run, "run-1") == 0;
}

static bool start_run (void)
{
    abr_buf_fini (&fx.abr->event); /* so that there is something to allocate */
    abr_buf_fini (&fx.abr->headers);
    return abr_run_started (run, "x", NULL) == 0;
}

static bool use_tool (void)
{
    abr_tool_t *tool = abr_tool_new (run, "t", NULL);
    int code = errno;
    bool made = tool != NULL;
    if (made)
        assert_int_equal (abr_tool_complete (&tool, NULL), 0);
    errno = code;
    return made;
}

static bool end_run (void)
{
    abr_buf_fini (&fx.abr->event);
    abr_buf_fini (&fx.abr->headers);
    return abr_run_complete (run, "x", NULL) == 0;
}

static void test_run (void **state)
{
    (void) state;
    run = abr_run_new (fx.abr, "alice");
    assert_int_equal (with_each_failure (set_id), 1);
    assert_int_equal (with_each_failure (start_run), 0 + 3); /* event, headers, ring */
    assert_int_equal (abr_run_ended (run), false);
    expect_event ("agent_started"); /* said once, by the call that was done */
    assert_int_equal (with_each_failure (use_tool), 2);
    expect_event ("tool_executing");
    expect_event ("tool_completed");
    assert_int_equal (with_each_failure (end_run), 2);
    expect_event ("agent_completed");
    expect_silence (fx.sub);
    assert_int_equal (abr_seq (fx.abr), 4); /* failures took no number */
    abr_run_destroy (&run);
}

static abr_conn_t *conn;

static bool copy_conn (void)
{
    abr_conn_t *copy = abr_conn_dup (conn);
    int code = errno;
    bool made = copy != NULL;
    abr_conn_destroy (&copy);
    errno = code;
    return made;
}

static bool send_text (void)
{
    abr_buf_fini (&fx.abr->headers);
    return abr_send_text (fx.abr, conn, "x") == 0;
}

static bool kick (void)
{
    abr_buf_fini (&fx.abr->headers);
    return abr_kick (fx.abr, "alice", "reason") == 0;
}

static void test_connection (void **state)
{
    (void) state;
    say_message ("alice", "hello");
    abr_item_t *item = abr_recv (fx.abr, 0);
    conn = abr_conn_dup (abr_item_conn (item));
    abr_item_destroy (&item);
    assert_int_equal (with_each_failure (copy_conn), 1);
    assert_int_equal (with_each_failure (send_text), 1);
    expect_command ("SEND");
    assert_int_equal (with_each_failure (kick), 1);
    expect_command ("KICK");
    expect_silence (fx.dealer);
    abr_conn_destroy (&conn);
}

/* A message for which there is no memory is dropped, counted and logged; a header cannot be read for the moment. */
static void test_incoming (void **state)
{
    int failures = 0;
    (void) state;
    for (int nth = 1; nth <= 4; nth++) {
        say_message ("alice", "hello");
        countdown = nth;
        assert_null (abr_recv (fx.abr, 0));
        assert_int_equal (countdown, 0);
        assert_int_equal (abr_counter (fx.abr, ABR_COMMANDS_DROPPED), ++failures);
        assert_non_null (strstr (fx.log, "MESSAGE dropped: no memory"));
        fx.log[0] = 0;
    }
    say ("CONNECT", CONN, "alice", BYTES ("\x81\xa6remote\xa1r"), "");
    abr_item_t *item = abr_recv (fx.abr, 0);
    for (int nth = 1; nth <= 2; nth++) {
        countdown = nth;
        assert_null (abr_item_header (item, "remote"));
    }
    assert_string_equal (abr_item_header (item, "remote"), "r");
    abr_item_destroy (&item);
}

static void test_answers (void **state)
{
    (void) state;
    abr_buf_fini (&fx.abr->headers);
    say ("PING", "", "", BYTES (""), "");
    countdown = 1;
    abr_serve (fx.abr);
    assert_int_equal (abr_counter (fx.abr, ABR_ANSWERS_UNSENT), 1);
    expect_silence (fx.dealer);
    say ("PING", "", "", BYTES (""), "");
    abr_serve (fx.abr);
    expect_command ("PONG");
}

/* A run that cannot say its end is over all the same; the log tells. */
static void test_destroy (void **state)
{
    (void) state;
    abr_run_t *lost = abr_run_new (fx.abr, "alice");
    assert_int_equal (abr_run_started (lost, "x", NULL), 0);
    expect_event ("agent_started");
    abr_buf_fini (&fx.abr->event);
    countdown = 1;
    abr_run_destroy (&lost);
    assert_null (lost);
    assert_non_null (strstr (fx.log, "was not sent: no memory"));
    expect_silence (fx.sub);
}

int main (void)
{
    const struct CMUnitTest tests[] = {TEST (test_new),      TEST (test_run),     TEST (test_connection),
                                       TEST (test_incoming), TEST (test_answers), TEST (test_destroy)};
    return cmocka_run_group_tests (tests, NULL, NULL);
}
