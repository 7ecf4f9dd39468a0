/* Events that wait for their neighbours: which may, what comes out of several, and what it costs. */
#include "base/metrics.h"
#include "core/json_mp.h"
#include "core/merge.h"
#include "core/mp_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NO_LIMIT SIZE_MAX

static struct buf packed, scratch;

static int set_up (void **state)
{
    (void) state;
    metrics_reset ();
    buf_init (&packed, 0);
    buf_init (&scratch, 0);
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    buf_fini (&packed);
    buf_fini (&scratch);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == 0);
    return 0;
}

/* JSON as an event; good until the next call, so that a merge that borrows instead of copying shows. */
static struct event event_of (const char *json)
{
    struct event event;
    msgpack_packer packer;
    json_t *value = json_loads (json, JSON_ALLOW_NUL, NULL);
    assert_non_null (value);
    buf_fini (&packed);
    mp_writer_init (&packer, &packed);
    json_mp_put (&packer, value);
    json_decref (value);
    assert_int_equal (event_parse (&event, buf_slice (&packed), slice_str ("alice")), DROP_NONE);
    return event;
}

/* With any bytes as delta. */
static struct event delta_of (struct slice delta)
{
    struct event event;
    msgpack_packer packer;
    buf_fini (&packed);
    mp_writer_init (&packer, &packed);
    mp_put_map (&packer, 3);
    mp_put_cstr (&packer, "type");
    mp_put_cstr (&packer, "x");
    mp_put_cstr (&packer, "run_id");
    mp_put_cstr (&packer, "r");
    mp_put_cstr (&packer, "delta");
    mp_put_str (&packer, delta);
    assert_int_equal (event_parse (&event, buf_slice (&packed), slice_str ("alice")), DROP_NONE);
    return event;
}

static struct merge *begin (const char *json, uint64_t offset)
{
    struct event event = event_of (json);
    struct merge *merge = merge_new (&event, offset);
    assert_non_null (merge);
    return merge;
}

static void add (struct merge *merge, const char *json, uint64_t offset)
{
    struct event event = event_of (json);
    assert_true (merge_suits (&event));
    assert_true (merge_takes (merge, &event, NO_LIMIT));
    assert_true (merge_add (merge, &event, offset));
}

static struct slice payload_of (const struct msg *msg)
{
    size_t head = msg->bytes[1] < 126 ? 2 : msg->bytes[1] == 126 ? 4 : 10;
    return slice_of (msg->bytes + head, msg->n - head);
}

/* Both forms say this JSON. */
static void expect_both (const struct merge *merge, const char *json)
{
    struct buf text;
    struct msg *msg = merge_encode (merge, &scratch, FORM_JSON);
    assert_non_null (msg);
    assert_int_equal (msg->bytes[0], 0x80 | WS_TEXT);
    assert_int_equal (payload_of (msg).n, strlen (json));
    assert_memory_equal (payload_of (msg).p, json, strlen (json));
    msg_unref (&msg);
    msg = merge_encode (merge, &scratch, FORM_MSGPACK);
    assert_non_null (msg);
    assert_int_equal (msg->bytes[0], 0x80 | WS_BINARY);
    assert_int_equal (mp_check (payload_of (msg)), MP_OK);
    buf_init (&text, 0);
    mp_json_write (&text, payload_of (msg));
    assert_int_equal (text.n, strlen (json));
    assert_memory_equal (text.p, json, text.n);
    buf_fini (&text);
    msg_unref (&msg);
}

/* --- which --------------------------------------------------------------------------------------------------- */

static void test_suits (void **state)
{
    static const struct {
        const char *json;
        bool suits;
    } cases[] = {
        {"{\"type\":\"stream_chunk\",\"run_id\":\"r\",\"delta\":\"a\"}", true},
        {"{\"type\":\"anything\",\"run_id\":\"r\",\"delta\":\"\"}", true},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"delta\":\"a\"}", true},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"reasoning\":\"a\"}", true},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"delta\":null}", true},
        {"{\"type\":\"progress_update\",\"run_id\":\"r\"}", true},
        {"{\"type\":\"progress_update\",\"run_id\":\"r\",\"delta\":\"a\"}", true},
        /* no run */
        {"{\"type\":\"stream_chunk\",\"delta\":\"a\"}", false},
        {"{\"type\":\"stream_chunk\",\"run_id\":\"\",\"delta\":\"a\"}", false},
        {"{\"type\":\"stream_chunk\",\"run_id\":7,\"delta\":\"a\"}", false},
        {"{\"type\":\"progress_update\"}", false},
        /* nothing to concatenate, and no type of which the latest is enough */
        {"{\"type\":\"stream_chunk\",\"run_id\":\"r\"}", false},
        {"{\"type\":\"stream_chunk\",\"run_id\":\"r\",\"delta\":null}", false},
        {"{\"type\":\"stream_chunk\",\"run_id\":\"r\",\"delta\":7}", false},
        {"{\"type\":\"agent_thinking2\",\"run_id\":\"r\"}", false},
        /* deltas that are no text cannot be concatenated and must not get lost */
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"delta\":{\"text\":\"a\"}}", false},
        {"{\"type\":\"progress_update\",\"run_id\":\"r\",\"delta\":7}", false},
        /* the course of a run */
        {"{\"type\":\"agent_started\",\"run_id\":\"r\",\"delta\":\"a\"}", false},
        {"{\"type\":\"tool_executing\",\"run_id\":\"r\",\"delta\":\"a\"}", false},
        {"{\"type\":\"tool_completed\",\"run_id\":\"r\",\"delta\":\"a\"}", false},
        {"{\"type\":\"agent_completed\",\"run_id\":\"r\",\"delta\":\"a\"}", false},
        {"{\"type\":\"agent_error\",\"run_id\":\"r\",\"delta\":\"a\"}", false},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct event event = event_of (cases[i].json);
        if (merge_suits (&event) != cases[i].suits)
            fail_msg ("%s", cases[i].json);
    }
}

static void test_takes (void **state)
{
    static const struct {
        const char *json;
        bool takes;
    } cases[] = {
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"thread_id\":\"t\",\"agent_name\":\"n\",\"delta\":\"b\"}",
         true},
        {"{\"agent_name\":\"n\",\"delta\":\"\",\"type\":\"agent_thinking\",\"thread_id\":\"t\",\"run_id\":\"r\"}",
         true},
        {"{\"type\":\"agent_thinkinh\",\"run_id\":\"r\",\"thread_id\":\"t\",\"agent_name\":\"n\",\"delta\":\"b\"}",
         false},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"R\",\"thread_id\":\"t\",\"agent_name\":\"n\",\"delta\":\"b\"}",
         false},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"thread_id\":\"T\",\"agent_name\":\"n\",\"delta\":\"b\"}",
         false},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"thread_id\":\"t\",\"agent_name\":\"N\",\"delta\":\"b\"}",
         false},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"thread_id\":\"t\",\"delta\":\"b\"}", false},
        {"{\"type\":\"agent_thinking\",\"run_id\":\"r\",\"thread_id\":\"t\",\"agent_name\":\"n\"}", false},
    };
    (void) state;
    struct merge *merge = begin (cases[0].json, 1);
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct event event = event_of (cases[i].json);
        if (merge_takes (merge, &event, NO_LIMIT) != cases[i].takes)
            fail_msg ("%s", cases[i].json);
    }
    merge_destroy (&merge);
    assert_null (merge);
}

/* The event and all text before it must stay within the limit. */
static void test_limit (void **state)
{
    static const char json[] = "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"abc\"}";
    (void) state;
    struct merge *merge = begin (json, 1);
    add (merge, json, 2);
    struct event event = event_of (json);
    assert_true (merge_takes (merge, &event, event.bytes.n + 6));
    assert_false (merge_takes (merge, &event, event.bytes.n + 5));
    merge_destroy (&merge);
}

/* --- what comes out ------------------------------------------------------------------------------------------- */

static void test_deltas (void **state)
{
    (void) state;
    struct merge *merge = begin ("{\"type\":\"x\",\"n\":1,\"run_id\":\"r\",\"delta\":\"one \",\"_own\":1}", 5);
    expect_both (merge, "{\"type\":\"x\",\"n\":1,\"run_id\":\"r\",\"delta\":\"one \",\"_offset\":5}");
    add (merge, "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"\"}", 6);
    expect_both (merge, "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"one \",\"_offset\":6}");
    add (merge,
         "{\"delta\":\"\\u0000\\\"two\\u00e4\",\"n\":[3],\"run_id\":\"r\",\"type\":\"x\",\"_own\":{\"delta\":1}}", 9);
    expect_both (merge,
                 "{\"delta\":\"one \\u0000\\\"two\xc3\xa4\",\"n\":[3],\"run_id\":\"r\",\"type\":\"x\",\"_offset\":9}");
    merge_destroy (&merge);
}

static void test_latest (void **state)
{
    (void) state;
    struct merge *merge = begin ("{\"type\":\"progress_update\",\"run_id\":\"r\",\"percent\":1,\"note\":\"long\"}", 5);
    add (merge, "{\"type\":\"progress_update\",\"run_id\":\"r\",\"percent\":2}", 6);
    add (merge, "{\"type\":\"progress_update\",\"run_id\":\"r\",\"percent\":3,\"delta\":null}", 8);
    expect_both (merge, "{\"type\":\"progress_update\",\"run_id\":\"r\",\"percent\":3,\"delta\":null,\"_offset\":8}");
    merge_destroy (&merge);
}

/* What operators measure by is that of the last event. */
static void test_frame (void **state)
{
    (void) state;
    struct merge *merge = begin ("{\"type\":\"stream_chunk\",\"run_id\":\"r\",\"timestamp\":1.5,\"delta\":\"a\"}", 1);
    add (merge, "{\"type\":\"stream_chunk\",\"run_id\":\"r\",\"timestamp\":2.5,\"delta\":\"b\"}", 2);
    struct msg *msg = merge_encode (merge, &scratch, FORM_JSON);
    assert_int_equal (msg->type, EVENT_stream_chunk);
    assert_true (msg->timestamp == 2.5);
    assert_int_equal (msg->refs, 1);
    msg_unref (&msg);
    merge_destroy (&merge);
}

/* Characters that were cut in two are whole again; what is no UTF-8 at all is U+FFFD in JSON and untouched in
 * MessagePack. */
static void test_bytes (void **state)
{
    static const struct slice parts[] = {
        {"\xe2\x82", 2}, {"\xac\xf0\x9f", 3}, {"\x98\x80", 2}, {"\xff", 1}, {"\xc3", 1}};
    static const char json[] =
        "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd\","
        "\"_offset\":5}";
    (void) state;
    struct event event = delta_of (parts[0]);
    struct merge *merge = merge_new (&event, 1);
    for (size_t i = 1; i < COUNT_OF (parts); i++) {
        event = delta_of (parts[i]);
        assert_true (merge_add (merge, &event, i + 1));
    }
    expect_both (merge, json);
    struct slice delta;
    struct msg *msg = merge_encode (merge, &scratch, FORM_MSGPACK);
    assert_true (mp_map_get_str (payload_of (msg), "delta", &delta));
    assert_true (slice_is (delta, "\xe2\x82\xac\xf0\x9f\x98\x80\xff\xc3"));
    msg_unref (&msg);
    merge_destroy (&merge);
}

/* One event alone is the frame that it would have been, even when `delta` stands there twice; of several, one `delta`
 * is left. */
static void test_delta_twice (void **state)
{
    static const char twice[] = "\x84\xa4type\xa1x\xa5"
                                "delta\xa1"
                                "a\xa6run_id\xa1r\xa5"
                                "delta\xa1"
                                "b";
    struct event event;
    (void) state;
    assert_int_equal (event_parse (&event, slice_of (twice, sizeof twice - 1), slice_str ("alice")), DROP_NONE);
    struct merge *merge = merge_new (&event, 1);
    expect_both (merge, "{\"type\":\"x\",\"delta\":\"a\",\"run_id\":\"r\",\"delta\":\"b\",\"_offset\":1}");
    assert_true (merge_takes (merge, &event, NO_LIMIT));
    assert_true (merge_add (merge, &event, 2));
    expect_both (merge, "{\"type\":\"x\",\"delta\":\"bb\",\"run_id\":\"r\",\"_offset\":2}");
    merge_destroy (&merge);
}

/* --- what it costs -------------------------------------------------------------------------------------------- */

static void test_size (void **state)
{
    (void) state;
    struct merge *merge = begin ("{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"abc\"}", 1);
    size_t event_n = packed.n;
    assert_int_equal (merge->size, event_n + 3);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == (double) event_n + 3);
    add (merge, "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"d\"}", 2);
    assert_int_equal (merge->size, event_n - 2 + 4);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == (double) event_n + 2);
    merge_destroy (&merge);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == 0);
}

/* Without memory for the text or the event. */
static void test_no_room (void **state)
{
    (void) state;
    for (int i = 0; i < 2; i++) {
        struct merge *merge = begin ("{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"abc\"}", 1);
        struct buf *short_one = i ? &merge->text : &merge->bytes;
        short_one->limit = short_one->n;
        struct event event = event_of ("{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"defg\"}");
        assert_false (merge_add (merge, &event, 2));
        merge_destroy (&merge);
        assert_true (metric_get (M_QUEUE_BYTES, 0) == 0);
    }
}

static void test_no_room_to_encode (void **state)
{
    (void) state;
    struct merge *merge = begin ("{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"abc\"}", 1);
    scratch.limit = 8;
    for (int n = 1; n <= 2; n++) {
        assert_null (merge_encode (merge, &scratch, FORM_JSON));
        assert_null (merge_encode (merge, &scratch, FORM_MSGPACK));
        add (merge, "{\"type\":\"x\",\"run_id\":\"r\",\"delta\":\"d\"}", 2);
    }
    scratch.limit = 0;
    merge_destroy (&merge);
}

/* Any number of pieces: the text is what they make together. */
static void test_many (void **state)
{
    struct buf all;
    struct slice delta;
    (void) state;
    buf_init (&all, 0);
    struct merge *merge = NULL;
    uint32_t seed = 99;
    for (uint64_t i = 1; i <= 5000; i++) {
        char piece[8];
        seed = seed * 1664525 + 1013904223;
        size_t n = seed >> 24 & 7;
        for (size_t k = 0; k < n; k++)
            piece[k] = (char) (seed >> k);
        buf_put (&all, piece, n);
        struct event event = delta_of (slice_of (piece, n));
        if (!merge)
            merge = merge_new (&event, i);
        else
            assert_true (merge_add (merge, &event, i));
        assert_int_equal (merge->size, event.bytes.n + all.n);
    }
    struct msg *msg = merge_encode (merge, &scratch, FORM_MSGPACK);
    assert_true (mp_map_get_str (payload_of (msg), "delta", &delta));
    assert_true (slice_eq (delta, buf_slice (&all)));
    assert_int_equal (merge->offset, 5000);
    msg_unref (&msg);
    merge_destroy (&merge);
    buf_fini (&all);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_suits),
        TEST (test_takes),
        TEST (test_limit),
        TEST (test_deltas),
        TEST (test_latest),
        TEST (test_frame),
        TEST (test_bytes),
        TEST (test_delta_twice),
        TEST (test_size),
        TEST (test_no_room),
        TEST (test_no_room_to_encode),
        TEST (test_many),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
