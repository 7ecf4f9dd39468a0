/* What is held for bridges that missed it, and the answers to REPLAY: ascending, held as EVENT, the rest as LOST. */
#include "fixture.h"

static void emit (uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++)
        assert_int_equal (abr_emit (fx.abr, n % 2 ? "alice" : "bob", "x", ABR_FIELDS (abr_uint ("n", n))), 0);
}

static void ask (const char *publisher, uint64_t from, uint64_t to)
{
    struct abr_buf headers = {0};
    msgpack_packer packer;
    abr_mp_writer (&packer, &headers);
    msgpack_pack_map (&packer, 3);
    abr_mp_put_cstr (&packer, "publisher");
    abr_mp_put_cstr (&packer, publisher);
    abr_mp_put_cstr (&packer, "from");
    msgpack_pack_uint64 (&packer, from);
    abr_mp_put_cstr (&packer, "to");
    msgpack_pack_uint64 (&packer, to);
    say ("REPLAY", "", "", (struct abr_bytes){headers.p, headers.n}, "");
    abr_buf_fini (&headers);
    assert_int_equal (abr_serve (fx.abr), 0);
}

static void expect_replayed (uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++) {
        expect_command ("EVENT");
        expect_bytes (frame (2), n % 2 ? "alice" : "bob");
        expect_str (frame (3), "publisher", abr_publisher (fx.abr));
        expect_uint (frame (3), "seq", n);
        expect_uint (frame (4), "n", n);
    }
}

static void expect_lost (const char *publisher, uint64_t from, uint64_t to)
{
    expect_command ("LOST");
    expect_str (frame (3), "publisher", publisher);
    expect_uint (frame (3), "from", from);
    expect_uint (frame (3), "to", to);
}

static void expect_counters (uint64_t replayed, uint64_t lost, uint64_t evicted)
{
    expect_silence (fx.dealer);
    assert_int_equal (abr_counter (fx.abr, ABR_EVENTS_REPLAYED), replayed);
    assert_int_equal (abr_counter (fx.abr, ABR_EVENTS_LOST), lost);
    assert_int_equal (abr_counter (fx.abr, ABR_REPLAY_EVICTED), evicted);
    assert_int_equal (abr_counter (fx.abr, ABR_ANSWERS_UNSENT), 0);
}

static void test_all_held (void **state)
{
    (void) state;
    emit (1, 200); /* the ring grows on the way */
    ask (abr_publisher (fx.abr), 1, 200);
    expect_replayed (1, 200);
    ask (abr_publisher (fx.abr), 77, 77);
    expect_replayed (77, 77);
    expect_counters (201, 0, 0);
}

static void test_the_same_bytes (void **state)
{
    (void) state;
    emit (1, 1);
    expect_event ("x");
    zframe_t *published = zframe_dup (fx.frames[1]);
    ask (abr_publisher (fx.abr), 1, 1);
    expect_command ("EVENT");
    assert_true (zframe_eq (published, fx.frames[4]));
    zframe_destroy (&published);
}

static void test_bounded_in_events (void **state)
{
    (void) state;
    assert_int_equal (abr_set_replay (fx.abr, 100, 1 << 20), 0);
    fixture_start ();
    emit (1, 250);
    ask (abr_publisher (fx.abr), 140, 160);
    expect_lost (abr_publisher (fx.abr), 140, 150);
    expect_replayed (151, 160);
    ask (abr_publisher (fx.abr), 1, 150);
    expect_lost (abr_publisher (fx.abr), 1, 150);
    expect_counters (10, 161, 150);
}

static void test_bounded_in_bytes (void **state)
{
    char text[1000];
    (void) state;
    memset (text, 'x', sizeof text);
    assert_int_equal (abr_set_replay (fx.abr, 1000, 10000), 0);
    fixture_start ();
    for (int i = 0; i < 50; i++)
        assert_int_equal (abr_emit (fx.abr, "alice", "x", ABR_FIELDS (abr_strn ("n", text, 1000))), 0);
    size_t held = fx.abr->replay.n;
    assert_true (held == 7 || held == 8);
    assert_true (fx.abr->replay.bytes <= 10000);
    assert_int_equal (abr_counter (fx.abr, ABR_REPLAY_EVICTED), 50 - held);
    char *large = calloc (1, 20000); /* more than all of it */
    assert_int_equal (abr_emit (fx.abr, "alice", "x", ABR_FIELDS (abr_bin ("n", large, 20000))), 0);
    free (large);
    assert_int_equal (fx.abr->replay.n, 0);
    assert_int_equal (fx.abr->replay.bytes, 0);
    ask (abr_publisher (fx.abr), 51, 51);
    expect_lost (abr_publisher (fx.abr), 51, 51);
}

static void test_nothing_held (void **state)
{
    (void) state;
    assert_int_equal (abr_set_replay (fx.abr, 0, 0), 0);
    fixture_start ();
    emit (1, 3);
    ask (abr_publisher (fx.abr), 1, 3);
    expect_lost (abr_publisher (fx.abr), 1, 3);
    expect_counters (0, 3, 3);
}

static void test_another_publisher (void **state)
{
    (void) state;
    emit (1, 3);
    ask ("somebody", 1, 2);
    expect_lost ("somebody", 1, 2);
    expect_counters (0, 2, 0);
}

static void test_what_has_never_been (void **state)
{
    (void) state;
    emit (1, 3);
    ask (abr_publisher (fx.abr), 3, 5);
    expect_replayed (3, 3);
    expect_lost (abr_publisher (fx.abr), 4, 5);
    ask (abr_publisher (fx.abr), 9, UINT64_MAX);
    expect_lost (abr_publisher (fx.abr), 9, UINT64_MAX);
    expect_silence (fx.dealer);
}

static void test_hello_and_pong_tell_the_number (void **state)
{
    (void) state;
    emit (1, 3);
    say ("HELLO", "", "",
         BYTES ("\x82\xa8protocol\x02\xa6"
                "bridge\xa1x"),
         "");
    say ("PING", "", "", BYTES ("\x81\xa1t\x81\xa1x\x90"), ""); /* whatever t is */
    abr_serve (fx.abr);
    expect_command ("HELLO");
    expect_uint (frame (3), "protocol", 1);
    expect_uint (frame (3), "seq", 3);
    expect_str (frame (3), "runtime", "tester");
    expect_str (frame (3), "publisher", abr_publisher (fx.abr));
    assert_non_null (strstr (fx.log, "protocol 2"));
    expect_command ("PONG");
    expect_uint (frame (3), "seq", 3);
    struct abr_bytes t = abr_mp_get (frame (3), "t");
    assert_int_equal (t.n, 4);
    assert_memory_equal (t.p, "\x81\xa1x\x90", 4);
}

static void test_answered_while_emitting (void **state)
{
    (void) state;
    emit (1, 3);
    say ("PING", "", "", BYTES (""), "");
    emit (4, 4);
    expect_command ("PONG");
    expect_uint (frame (3), "seq", 3);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_all_held),
        TEST (test_the_same_bytes),
        TEST_UNSTARTED (test_bounded_in_events),
        TEST_UNSTARTED (test_bounded_in_bytes),
        TEST_UNSTARTED (test_nothing_held),
        TEST (test_another_publisher),
        TEST (test_what_has_never_been),
        TEST (test_hello_and_pong_tell_the_number),
        TEST (test_answered_while_emitting),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
