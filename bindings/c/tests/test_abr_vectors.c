/* The wire vectors (proto/vectors): commands and events are made byte for byte, commands are read, and what is none is
 * dropped. */
#include "vectors.h"

static void name_abr (const char *publisher, uint64_t seq)
{
    snprintf (fx.abr->publisher, sizeof fx.abr->publisher, "%s", publisher);
    fx.abr->seq = seq;
}

static void expect_frames (const struct abr_bytes *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal (frame (i).n, expected[i].n);
        assert_memory_equal (frame (i).p, expected[i].p, expected[i].n);
    }
}

/* --- events -------------------------------------------------------------------------------------------------- */

static void check_event (const json_t *vector)
{
    struct abr_bytes frames[8];
    size_t n = frames_of (vector, frames);
    const json_t *meta = json_object_get (vector, "meta");
    if (json_is_object (meta))
        name_abr (text_of (meta, "publisher"), (uint64_t) json_integer_value (json_object_get (meta, "seq")) - 1);
    assert_int_equal (abr_compose (fx.abr, fields_of (json_object_get (vector, "event")), NULL, NULL, false), 0);
    assert_int_equal (abr_publish (fx.abr, text_of (vector, "user")), 0);
    assert_int_equal (hear (fx.sub), 3);
    expect_frames (frames, n);
}

static void test_events (void **state)
{
    json_t *vectors = vectors_load ("events.json"), *vector;
    size_t i;
    (void) state;
    json_array_foreach (vectors, i, vector)
    {
        print_message ("           %s\n", text_of (vector, "name"));
        check_event (vector);
    }
    vectors_free ();
}

/* --- commands to the bridge ------------------------------------------------------------------------------------ */

static abr_conn_t *conn_of (const json_t *vector)
{
    const struct abr_bytes frames[ABR_COMMAND_FRAMES] = {BYTES ("pod-7"),
                                                         BYTES (""),
                                                         abr_bytes_of (text_of (vector, "connection")),
                                                         abr_bytes_of (text_of (vector, "user")),
                                                         BYTES (""),
                                                         BYTES ("")};
    abr_item_t *item = abr_item_new (ABR_MESSAGE, frames);
    abr_conn_t *conn = abr_conn_dup (abr_item_conn (item));
    abr_item_destroy (&item);
    return conn;
}

/* `sdk` is ours: everything up to it. */
static void make_hello (const json_t *headers, struct abr_bytes frames[8])
{
    free (fx.abr->name);
    fx.abr->name = strdup (text_of (headers, "runtime"));
    name_abr (text_of (headers, "publisher"), 0);
    say ("HELLO", "", "", BYTES (""), "");
    assert_int_equal (abr_serve (fx.abr), 0);
    expect_command ("HELLO");
    expect_str (frame (3), "sdk", "agentbridge-c/" ABR_VERSION);
    frames[3].n -= 1 + strlen (text_of (headers, "sdk"));
    assert_memory_equal (frame (3).p, frames[3].p, frames[3].n);
}

static void make_pong (const json_t *headers, struct abr_bytes frames[8])
{
    msgpack_packer packer;
    struct abr_buf ping = {0};
    abr_mp_writer (&packer, &ping);
    msgpack_pack_map (&packer, 1);
    abr_mp_put_cstr (&packer, "t");
    msgpack_pack_int64 (&packer, json_integer_value (json_object_get (headers, "t")));
    name_abr ("demo_1", (uint64_t) json_integer_value (json_object_get (headers, "seq")));
    say ("PING", "", "", (struct abr_bytes){ping.p, ping.n}, "");
    abr_buf_fini (&ping);
    assert_int_equal (abr_serve (fx.abr), 0);
    expect_command ("PONG");
    expect_frames (frames, 5);
}

static void ask_replay (struct abr_bytes headers)
{
    say ("REPLAY", "", "", headers, "");
    assert_int_equal (abr_serve (fx.abr), 0);
}

static void make_event (const json_t *vector, struct abr_bytes frames[8])
{
    name_abr ("demo_1", 4);
    assert_int_equal (abr_compose (fx.abr, fields_of (json_object_get (vector, "body")), NULL, NULL, false), 0);
    assert_int_equal (abr_publish (fx.abr, text_of (vector, "user")), 0);
    ask_replay (BYTES ("\x83\xa9publisher\xa6"
                       "demo_1\xa4"
                       "from\x05\xa2to\x05"));
    expect_command ("EVENT");
    expect_frames (frames, 5);
}

static void make_lost (struct abr_bytes frames[8])
{
    name_abr ("demo_1", 4);
    abr_replay_fini (&fx.abr->replay);
    abr_replay_init (&fx.abr->replay, 10, 1000);
    ask_replay (BYTES ("\x83\xa9publisher\xa6"
                       "demo_1\xa4"
                       "from\x04\xa2to\x04"));
    expect_command ("LOST");
    expect_frames (frames, 5);
}

static void make_send (const json_t *vector, const abr_conn_t *conn, struct abr_bytes frames[8])
{
    const json_t *headers = json_object_get (vector, "headers"), *body = json_object_get (vector, "body");
    if (json_is_object (headers)) {
        bool text = strcmp (text_of (headers, "opcode"), "text") == 0;
        assert_int_equal (abr_send_frame (fx.abr, conn, frames[4].p, frames[4].n, text), 0);
        expect_command ("SEND");
        expect_frames (frames, 5);
        return;
    }
    assert_int_equal (
        abr_send (fx.abr, conn, text_of (body, "type"), ABR_FIELDS (abr_str ("text", text_of (body, "text")))), 0);
    expect_command ("SEND");
    expect_frames (frames, 4); /* the event has more fields than the vector's */
    expect_str (frame (4), "type", text_of (body, "type"));
    expect_str (frame (4), "text", text_of (body, "text"));
    expect_str (frame (4), "user_id", "alice");
}

static void make_close (const json_t *headers, const abr_conn_t *conn, struct abr_bytes frames[8])
{
    const char *reason = json_string_value (json_object_get (headers, "reason"));
    const json_t *code = json_object_get (headers, "code");
    assert_int_equal (abr_close (fx.abr, conn, code ? (int) json_integer_value (code) : 1000, reason), 0);
    expect_command ("CLOSE");
    expect_frames (frames, 5);
}

static void make_kick (const json_t *vector, struct abr_bytes frames[8])
{
    assert_int_equal (
        abr_kick (fx.abr, text_of (vector, "user"), text_of (json_object_get (vector, "headers"), "reason")), 0);
    expect_command ("KICK");
    expect_frames (frames, 5);
}

/* Whether this library says such a thing at all. */
static bool make_command (const json_t *vector)
{
    struct abr_bytes frames[8];
    const char *command = text_of (vector, "command");
    const json_t *headers = json_object_get (vector, "headers");
    abr_conn_t *conn = conn_of (vector);
    bool made = true;
    assert_int_equal (frames_of (vector, frames), 5);
    if (strcmp (command, "HELLO") == 0 && json_object_get (headers, "seq"))
        make_hello (headers, frames);
    else if (strcmp (command, "PONG") == 0 && json_object_get (headers, "seq"))
        make_pong (headers, frames);
    else if (strcmp (command, "SEND") == 0)
        make_send (vector, conn, frames);
    else if (strcmp (command, "CLOSE") == 0)
        make_close (headers, conn, frames);
    else if (strcmp (command, "KICK") == 0)
        make_kick (vector, frames);
    else if (strcmp (command, "EVENT") == 0)
        make_event (vector, frames);
    else if (strcmp (command, "LOST") == 0)
        make_lost (frames);
    else
        made = false; /* HELLO and PONG of a runtime that does not number its events */
    abr_conn_destroy (&conn);
    return made;
}

static void test_commands_to_bridge (void **state)
{
    json_t *vectors = vectors_load ("commands.json"), *vector;
    size_t i, not_made = 0;
    (void) state;
    say ("HELLO", "", "", BYTES (""), ""); /* so that kick knows the bridge */
    assert_int_equal (abr_serve (fx.abr), 0);
    expect_command ("HELLO");
    json_array_foreach (vectors, i, vector)
    {
        if (strcmp (text_of (vector, "to"), "bridge") == 0)
            not_made += !make_command (vector);
    }
    assert_int_equal (not_made, 2);
    vectors_free ();
}

/* --- commands to the runtime ---------------------------------------------------------------------------------------
 */

static void expect_header (abr_item_t *item, const json_t *headers, const char *name)
{
    const char *expected = json_string_value (json_object_get (headers, name)), *found = abr_item_header (item, name);
    if (expected)
        assert_string_equal (found, expected);
    else
        assert_null (found);
}

static void expect_numbers (const abr_item_t *item, const json_t *headers)
{
    assert_true (abr_item_seq (item) == (uint64_t) json_integer_value (json_object_get (headers, "seq")));
    assert_int_equal (abr_item_code (item), json_integer_value (json_object_get (headers, "code")));
    assert_true (abr_item_remaining (item) == (uint64_t) json_integer_value (json_object_get (headers, "remaining")));
    assert_int_equal (abr_item_resumed (item), json_is_true (json_object_get (headers, "resumed")));
}

static void expect_time (const abr_item_t *item, const json_t *ts)
{
    double expected = json_is_object (ts) ? strtod (text_of (ts, "$float"), NULL) : json_real_value (ts);
    assert_true (abr_item_time (item) == expected);
}

static void expect_runs (abr_item_t *item, const json_t *runs)
{
    for (size_t i = 0; i < json_array_size (runs); i++)
        assert_string_equal (abr_item_run_id (item, i), json_string_value (json_array_get (runs, i)));
    assert_null (abr_item_run_id (item, json_array_size (runs)));
}

static void expect_item (abr_item_t *item, const json_t *vector, const struct abr_bytes frames[8])
{
    static const char *const texts[] = {"remote", "origin", "subprotocol", "traceparent", "reason"};
    static const char *const kinds[] = {"MESSAGE", "CONNECT", "DISCONNECT", "ABANDONED"};
    const json_t *headers = json_object_get (vector, "headers");
    size_t size;
    assert_string_equal (kinds[abr_item_kind (item)], text_of (vector, "command"));
    assert_string_equal (abr_item_user (item), text_of (vector, "user"));
    if (abr_item_kind (item) == ABR_ABANDONED)
        assert_null (abr_item_conn (item));
    else
        assert_string_equal (abr_conn_id (abr_item_conn (item)), text_of (vector, "connection"));
    assert_memory_equal (abr_item_body (item, &size), frames[4].p, frames[4].n);
    assert_int_equal (size, frames[4].n);
    for (size_t i = 0; i < COUNT_OF (texts); i++)
        expect_header (item, headers, texts[i]);
    expect_numbers (item, headers);
    expect_time (item, json_object_get (headers, "ts"));
    expect_runs (item, json_object_get (headers, "runs"));
    if (json_object_get (headers, "claims"))
        assert_string_equal (abr_item_claim (item, "sub"), text_of (json_object_get (headers, "claims"), "sub"));
    const char *opcode = json_string_value (json_object_get (headers, "opcode"));
    assert_int_equal (abr_item_is_text (item), opcode && strcmp (opcode, "text") == 0);
}

static void read_command (const json_t *vector)
{
    struct abr_bytes frames[8];
    const char *command = text_of (vector, "command");
    size_t n = frames_of (vector, frames);
    say_frames (frames, n);
    abr_item_t *item = abr_recv (fx.abr, 0);
    if (strcmp (command, "HELLO") == 0 || strcmp (command, "PING") == 0 || strcmp (command, "REPLAY") == 0) {
        assert_null (item);
        expect_command (*command == 'H' ? "HELLO" : *command == 'P' ? "PONG" : "LOST");
        return;
    }
    assert_non_null (item);
    expect_item (item, vector, frames);
    abr_item_destroy (&item);
}

static void test_commands_to_runtime (void **state)
{
    json_t *vectors = vectors_load ("commands.json"), *vector;
    size_t i, n = 0;
    (void) state;
    json_array_foreach (vectors, i, vector)
    {
        if (strcmp (text_of (vector, "to"), "runtime") != 0)
            continue;
        print_message ("           %s\n", text_of (vector, "name"));
        read_command (vector);
        n++;
    }
    assert_int_equal (abr_counter (fx.abr, ABR_COMMANDS_RECEIVED), n);
    assert_int_equal (abr_counter (fx.abr, ABR_COMMANDS_MALFORMED), 0);
    assert_string_equal (fx.log, "");
    vectors_free ();
}

/* --- what is refused ------------------------------------------------------------------------------------------- */

static void refuse (const json_t *vector)
{
    struct abr_bytes frames[8];
    size_t n = frames_of (vector, frames);
    uint64_t before = abr_counter (fx.abr, ABR_COMMANDS_MALFORMED);
    zmq_msg_t routing_id;
    fx.log[0] = 0;
    zmq_msg_init (&routing_id);
    if (n)
        say_frames (frames, n);
    else /* a DEALER cannot send this */
        abr_command_take (fx.abr, &routing_id, 1);
    zmq_msg_close (&routing_id);
    assert_null (abr_recv (fx.abr, 0));
    assert_int_equal (errno, EAGAIN);
    assert_int_equal (abr_counter (fx.abr, ABR_COMMANDS_MALFORMED), before + 1);
    assert_non_null (strstr (fx.log, "a malformed command was dropped: "));
}

static void test_refused (void **state)
{
    json_t *vectors = vectors_load ("refused.json"), *vector;
    size_t i, n = 0;
    (void) state;
    json_array_foreach (vectors, i, vector)
    {
        if (strcmp (text_of (vector, "link"), "to_runtime") != 0)
            continue;
        print_message ("           %s\n", text_of (vector, "name"));
        refuse (vector);
        n++;
    }
    assert_true (n >= 13);
    say ("PING", "", "", BYTES ("\x81\xa1t\xc0"), "");
    assert_null (abr_recv (fx.abr, 0));
    expect_command ("PONG");
    expect_silence (fx.dealer);
    vectors_free ();
}

int main (void)
{
    const struct CMUnitTest tests[] = {TEST (test_events), TEST (test_commands_to_bridge),
                                       TEST (test_commands_to_runtime), TEST (test_refused)};
    return cmocka_run_group_tests (tests, NULL, NULL);
}
