/* Options, start, waiting, the bounded inbox, and what goes to connections and bridges. */
#include "fixture.h"

#include <poll.h>

/* --- options and start ------------------------------------------------------------------------------------------- */

static void test_options (void **state)
{
    (void) state;
    expect_failure (abr_set_commands (fx.abr, ""), EINVAL, "comma list");
    expect_failure (abr_set_events (fx.abr, NULL), EINVAL, "comma list");
    expect_failure (abr_set_inbox (fx.abr, 0, 1), EINVAL, "inbox");
    expect_failure (abr_set_hwm (fx.abr, 0, 1), EINVAL, "hwm");
    expect_failure (abr_set_linger (fx.abr, -2), EINVAL, "linger");
    expect_failure (abr_set_max_event_bytes (fx.abr, 0), EINVAL, "max_event_bytes");
    expect_failure (abr_set_max_command_bytes (fx.abr, SIZE_MAX), EINVAL, "max_command_bytes");
    expect_failure (abr_set_curve (fx.abr, "short", "short", NULL), EINVAL, "40 characters");
    fixture_start ();
    expect_failure (abr_set_linger (fx.abr, 1), EBUSY, "before abr_start()");
    expect_failure (abr_set_replay (fx.abr, 1, 1), EBUSY, "before abr_start()");
    expect_failure (abr_start (fx.abr), EBUSY, "started already");
    assert_int_equal (abr_set_linger (NULL, 1), -1);
    assert_null (abr_new (""));
    assert_null (abr_new (NULL));
    assert_int_equal (errno, EINVAL);
    assert_string_equal (abr_version (), ABR_VERSION);
}

static void test_not_started (void **state)
{
    (void) state;
    assert_null (abr_recv (fx.abr, 0));
    assert_int_equal (errno, ENOTCONN);
    expect_failure (abr_serve (fx.abr), ENOTCONN, "abr_start()");
    expect_failure (abr_emit (fx.abr, "alice", "x", NULL), ENOTCONN, "abr_start()");
    expect_failure (abr_kick (fx.abr, "alice", NULL), ENOTCONN, "abr_start()");
    abr_run_t *run = abr_run_new (fx.abr, "alice");
    expect_failure (abr_run_started (run, "x", NULL), ENOTCONN, "abr_start()");
    abr_run_destroy (&run);
    assert_int_equal (abr_fd (fx.abr), -1);
    assert_null (abr_commands_endpoint (fx.abr));
}

static void test_address_in_use (void **state)
{
    char taken[128];
    (void) state;
    abr_t *other = abr_new ("other");
    assert_int_equal (abr_set_commands (other, "tcp://127.0.0.1:*") | abr_set_events (other, " @tcp://127.0.0.1:*"), 0);
    if (abr_start (other) != 0)
        fail_msg ("%s", abr_error (other));
    snprintf (taken, sizeof taken, "inproc://fine, %s", abr_commands_endpoint (other));
    assert_int_equal (abr_set_commands (fx.abr, taken) | abr_set_events (fx.abr, "inproc://fine-too"), 0);
    expect_failure (abr_start (fx.abr), EADDRINUSE, abr_commands_endpoint (other));
    assert_int_equal (abr_set_commands (fx.abr, "nonsense://x"), 0);
    expect_failure (abr_start (fx.abr), EPROTONOSUPPORT, "cannot bind \"nonsense://x\"");
    assert_int_equal (abr_set_commands (fx.abr, "inproc://fine-at-last"), 0);
    if (abr_start (fx.abr) != 0)
        fail_msg ("%s", abr_error (fx.abr));
    abr_destroy (&other);
}

static void test_publishers_differ (void **state)
{
    (void) state;
    abr_t *other = abr_new ("tester");
    assert_string_not_equal (abr_publisher (other), abr_publisher (fx.abr));
    abr_destroy (&other);
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static bool fd_is_readable (void)
{
    struct pollfd fd = {.fd = abr_fd (fx.abr), .events = POLLIN};
    return poll (&fd, 1, 0) == 1;
}

static void expect_message (const char *text)
{
    abr_item_t *item = abr_recv (fx.abr, 0);
    assert_non_null (item);
    assert_string_equal (abr_item_body (item, NULL), text);
    abr_item_destroy (&item);
}

static void test_order_and_timeout (void **state)
{
    (void) state;
    say_message ("alice", "1");
    say_message ("alice", "2");
    expect_message ("1");
    expect_message ("2");
    int64_t before = zclock_mono ();
    assert_null (abr_recv (fx.abr, 30));
    assert_int_equal (errno, EAGAIN);
    assert_true (zclock_mono () >= before + 30);
}

static void test_fd (void **state)
{
    (void) state;
    abr_serve (fx.abr);
    assert_false (fd_is_readable ());
    say_message ("alice", "1");
    struct pollfd fd = {.fd = abr_fd (fx.abr), .events = POLLIN};
    assert_int_equal (poll (&fd, 1, 2000), 1);
    assert_int_equal (abr_emit (fx.abr, "alice", "x", NULL), 0); /* takes the message into the inbox */
    assert_int_equal (fx.abr->inbox_n, 1);
    assert_true (fd_is_readable ());
    expect_message ("1");
    assert_false (fd_is_readable ());
    say_message ("alice", "2");
    say_message ("alice", "3");
    expect_message ("2");
    assert_true (fd_is_readable ());
    expect_message ("3");
    assert_null (abr_recv (fx.abr, 0));
    assert_false (fd_is_readable ());
}

static void test_zpoller (void **state)
{
    int fd = abr_fd (fx.abr);
    zpoller_t *poller = zpoller_new (&fd, NULL);
    (void) state;
    say_message ("alice", "1");
    assert_ptr_equal (zpoller_wait (poller, 2000), &fd);
    expect_message ("1");
    assert_null (abr_recv (fx.abr, 0));
    assert_null (zpoller_wait (poller, 0));
    assert_true (zpoller_expired (poller));
    zpoller_destroy (&poller);
}

static void test_signal (void **state)
{
    (void) state;
    zsys_interrupted = 1;
    assert_null (abr_recv (fx.abr, -1));
    assert_int_equal (errno, EINTR);
    zsys_interrupted = 0;
}

static void test_inbox_is_bounded (void **state)
{
    char text[16];
    (void) state;
    assert_int_equal (abr_set_inbox (fx.abr, 10, 1 << 20), 0);
    fixture_start ();
    for (int i = 0; i < 200; i++) {
        snprintf (text, sizeof text, "%d", i);
        say_message ("alice", text);
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal (abr_emit (fx.abr, "alice", "x", NULL), 0);
    assert_int_equal (fx.abr->inbox_n, 10);
    assert_true (fd_is_readable ());
    for (int i = 0; i < 200; i++) {
        snprintf (text, sizeof text, "%d", i);
        expect_message (text); /* all of them, in order */
        assert_true (fx.abr->inbox_n <= 10);
    }
    assert_int_equal (abr_counter (fx.abr, ABR_COMMANDS_RECEIVED), 200);
}

static void test_inbox_is_bounded_in_bytes (void **state)
{
    char text[3000];
    (void) state;
    memset (text, 'x', sizeof text);
    text[2999] = 0;
    assert_int_equal (abr_set_inbox (fx.abr, 1000, 10000), 0);
    fixture_start ();
    for (int i = 0; i < 20; i++)
        say_message ("alice", text);
    assert_int_equal (abr_serve (fx.abr), 0);
    assert_int_equal (fx.abr->inbox_n, 4);
    for (int i = 0; i < 20; i++)
        expect_message (text);
    assert_int_equal (fx.abr->inbox_bytes, 0);
}

/* --- items ------------------------------------------------------------------------------------------------------- */

static void test_strings_with_nul (void **state)
{
    (void) state;
    say ("CONNECT", CONN, "alice",
         BYTES ("\x82\xa6remote\xa3"
                "a\0b\xa6"
                "claims\x82\xa4role\xa6"
                "admin\0\xa3sub\xa5"
                "alice"),
         "");
    abr_item_t *item = abr_recv (fx.abr, 0);
    size_t size;
    assert_null (abr_item_header (item, "remote"));
    assert_null (abr_item_claim (item, "role"));
    const char *sub = abr_item_claim (item, "sub");
    assert_string_equal (sub, "alice");
    assert_ptr_equal (sub, abr_item_claim (item, "sub"));
    assert_null (abr_item_header (item, "claims"));
    assert_non_null (abr_item_headers (item, &size));
    assert_int_equal (size, 42);
    abr_item_destroy (&item);
}

/* Headers of the wrong kind are as good as none. */
static void test_headers_of_other_kinds (void **state)
{
    (void) state;
    say ("DISCONNECT", CONN, "alice",
         BYTES ("\x82\xa4"
                "code\xce\xff\xff\xff\xff\xa9remaining\xa1x"),
         "");
    abr_item_t *item = abr_recv (fx.abr, 0);
    assert_int_equal (abr_item_code (item), 0);
    assert_int_equal (abr_item_remaining (item), 0);
    assert_null (abr_item_header (item, "reason"));
    abr_item_destroy (&item);
    say ("MESSAGE", CONN, "alice", BYTES (""), "bare");
    item = abr_recv (fx.abr, 0);
    assert_true (abr_item_is_text (item));
    assert_int_equal (abr_item_seq (item), 0);
    abr_item_destroy (&item);
}

static void test_malformed_items (void **state)
{
    static const struct {
        const char *command, *conn, *user;
        struct abr_bytes headers;
    } cases[] = {
        {"MESSAGE", "", "alice", BYTES ("\x80")},
        {"MESSAGE", CONN, "", BYTES ("\x80")},
        {"MESSAGE", CONN, "a\n", BYTES ("\x80")},
        {"MESSAGE", CONN, "alice", BYTES ("\x81\xa6opcode\xa5other")},
        {"MESSAGE", CONN, "alice", BYTES ("\x81\xa6opcode\x01")},
        {"ABANDONED", "", "", BYTES ("\x81\xa4runs\x90")},
        {"ABANDONED", "", "alice", BYTES ("\x80")},
        {"ABANDONED", "", "alice", BYTES ("\x81\xa4runs\x91\x01")},
        {"ABANDONED", "", "alice", BYTES ("\x81\xa4runs\x91\xa1\0")},
        {"REPLAY", "", "",
         BYTES ("\x83\xa9publisher\xa1p\xa4"
                "from\x00\xa2to\x01")},
        {"REPLAY", "", "",
         BYTES ("\x83\xa9publisher\xa1p\xa4"
                "from\xff\xa2to\x01")},
        {"REPLAY", "", "",
         BYTES ("\x82\xa4"
                "from\x01\xa2to\x01")},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        say (cases[i].command, cases[i].conn, cases[i].user, cases[i].headers, "");
        assert_null (abr_recv (fx.abr, 0));
        assert_int_equal (abr_counter (fx.abr, ABR_COMMANDS_MALFORMED), i + 1);
    }
    expect_silence (fx.dealer);
}

static void test_too_many_runs (void **state)
{
    char headers[9 + 1001];
    (void) state;
    memcpy (headers, "\x81\xa4runs\xdc\x03\xe9", 9);
    memset (headers + 9, 0xa0, 1001);
    say ("ABANDONED", "", "alice", (struct abr_bytes){headers, sizeof headers}, "");
    assert_null (abr_recv (fx.abr, 0));
    assert_non_null (strstr (fx.log, "longer than any bridge makes it"));
}

static void test_frames_beyond_six (void **state)
{
    struct abr_bytes frames[40];
    (void) state;
    for (size_t i = 0; i < COUNT_OF (frames); i++)
        frames[i] = BYTES ("PING");
    say_frames (frames, COUNT_OF (frames));
    say_message ("alice", "next");
    expect_message ("next");
    assert_int_equal (abr_counter (fx.abr, ABR_COMMANDS_MALFORMED), 1);
}

/* --- connections and bridges ------------------------------------------------------------------------------------- */

static abr_conn_t *connection (void)
{
    say_message ("alice", "hello");
    abr_item_t *item = abr_recv (fx.abr, 0);
    abr_conn_t *conn = abr_conn_dup (abr_item_conn (item));
    abr_item_destroy (&item);
    assert_string_equal (abr_conn_user (conn), "alice");
    return conn;
}

static void test_what_a_connection_refuses (void **state)
{
    char reason[125];
    (void) state;
    abr_conn_t *conn = connection ();
    memset (reason, 'r', sizeof reason);
    reason[124] = 0;
    expect_failure (abr_send_text (fx.abr, conn, "\xff"), EINVAL, "UTF-8");
    expect_failure (abr_send_text (fx.abr, conn, NULL), EINVAL, "no text");
    expect_failure (abr_send_frame (fx.abr, conn, NULL, 1, false), EINVAL, "no bytes");
    expect_failure (abr_send_frame (fx.abr, conn, reason, (1 << 20) + 1, false), EMSGSIZE, "1048576");
    expect_failure (abr_send_text (fx.abr, NULL, "x"), EINVAL, "no connection");
    expect_failure (abr_send (fx.abr, conn, "x", ABR_FIELDS (abr_int ("type", 1))), EINVAL, "type");
    expect_failure (abr_close (fx.abr, conn, 1000, reason), EINVAL, "123");
    static const int codes[] = {0, 999, 1004, 1005, 1006, 1015, 2999, 5000};
    for (size_t i = 0; i < COUNT_OF (codes); i++)
        expect_failure (abr_close (fx.abr, conn, codes[i], NULL), EINVAL, "close code");
    reason[123] = 0;
    expect_silence (fx.dealer);
    assert_int_equal (abr_close (fx.abr, conn, 4999, reason), 0);
    expect_command ("CLOSE");
    expect_str (frame (3), "reason", reason);
    assert_int_equal (abr_send_frame (fx.abr, conn, "", 0, false), 0);
    expect_command ("SEND");
    assert_int_equal (frame (4).n, 0);
    abr_conn_destroy (&conn);
}

static void test_the_bridge_of_a_connection_is_gone (void **state)
{
    (void) state;
    abr_conn_t *conn = connection ();
    zsock_destroy (&fx.dealer);
    int64_t deadline = zclock_mono () + 5000;
    int status;
    while ((status = abr_send_text (fx.abr, conn, "x")) == 0 && zclock_mono () < deadline)
        zclock_sleep (1); /* ZeroMQ takes it apart in a thread of its own */
    expect_failure (status, EHOSTUNREACH, "gone");
    expect_failure (abr_kick (fx.abr, "alice", NULL), EHOSTUNREACH, "no bridge");
    abr_conn_destroy (&conn);
}

static void test_a_bridge_that_does_not_read (void **state)
{
    (void) state;
    assert_int_equal (abr_set_hwm (fx.abr, 10, 10), 0);
    fixture_start ();
    abr_conn_t *conn = connection ();
    int sent = 0;
    while (abr_send_text (fx.abr, conn, "x") == 0)
        assert_true (++sent < 5000);
    expect_failure (-1, EAGAIN, "does not read");
    say ("PING", "", "", BYTES (""), "");
    abr_serve (fx.abr);
    assert_int_equal (abr_counter (fx.abr, ABR_ANSWERS_UNSENT), 1);
    for (int i = 0; i < sent; i++)
        expect_command ("SEND");
    expect_silence (fx.dealer);
    abr_conn_destroy (&conn);
}

static void test_several_bridges (void **state)
{
    (void) state;
    abr_conn_t *first = connection ();
    zsock_t *dealer = fx.dealer;
    fx.dealer = fixture_connect (ZMQ_DEALER, abr_commands_endpoint (fx.abr), "pod-8");
    abr_conn_t *second = connection ();
    assert_int_equal (abr_send_text (fx.abr, second, "second"), 0);
    assert_int_equal (abr_send_text (fx.abr, first, "first"), 0);
    assert_int_equal (abr_kick (fx.abr, "alice", "enough"), 0);
    expect_command ("SEND");
    expect_bytes (frame (4), "second");
    expect_command ("KICK");
    expect_silence (fx.dealer);
    zsock_destroy (&fx.dealer);
    fx.dealer = dealer;
    expect_command ("SEND");
    expect_bytes (frame (4), "first");
    expect_command ("KICK");
    expect_str (frame (3), "reason", "enough");
    expect_silence (fx.dealer);
    abr_conn_destroy (&first);
    abr_conn_destroy (&second);
}

static void test_many_bridges (void **state)
{
    char id[16];
    (void) state;
    for (int i = 0; i < ABR_MAX_BRIDGES + 3; i++) {
        zsock_destroy (&fx.dealer);
        snprintf (id, sizeof id, "pod-%d", i);
        fx.dealer = fixture_connect (ZMQ_DEALER, abr_commands_endpoint (fx.abr), id);
        say ("PONG", "", "", BYTES (""), "");
        abr_serve (fx.abr);
    }
    assert_int_equal (fx.abr->bridges_n, ABR_MAX_BRIDGES);
    assert_non_null (strstr (fx.log, "more than 64 bridges"));
    int64_t deadline = zclock_mono () + 5000;
    for (; fx.abr->bridges_n > 1 && zclock_mono () < deadline; zclock_sleep (1))
        assert_int_equal (abr_kick (fx.abr, "alice", NULL), 0); /* finds out who is gone */
    assert_int_equal (fx.abr->bridges_n, 1);
    expect_command ("KICK");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST_UNSTARTED (test_options),
        TEST_UNSTARTED (test_not_started),
        TEST_UNSTARTED (test_address_in_use),
        TEST_UNSTARTED (test_publishers_differ),
        TEST (test_order_and_timeout),
        TEST (test_fd),
        TEST (test_zpoller),
        TEST (test_signal),
        TEST_UNSTARTED (test_inbox_is_bounded),
        TEST_UNSTARTED (test_inbox_is_bounded_in_bytes),
        TEST (test_strings_with_nul),
        TEST (test_headers_of_other_kinds),
        TEST (test_malformed_items),
        TEST (test_too_many_runs),
        TEST (test_frames_beyond_six),
        TEST (test_what_a_connection_refuses),
        TEST (test_the_bridge_of_a_connection_is_gone),
        TEST_UNSTARTED (test_a_bridge_that_does_not_read),
        TEST (test_several_bridges),
        TEST (test_many_bridges),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
