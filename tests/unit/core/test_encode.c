/* Frames: their heads at every change of width, and an event in all three forms. */
#include "core/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

/* --- heads --------------------------------------------------------------------------------------------------- */

static const struct {
    size_t payload;
    struct slice head; /* without the first byte */
} head_cases[] = {
    {0, B ("\x00")},
    {1, B ("\x01")},
    {125, B ("\x7d")},
    {126, B ("\x7e\x00\x7e")},
    {127, B ("\x7e\x00\x7f")},
    {65535, B ("\x7e\xff\xff")},
    {65536, B ("\x7f\x00\x00\x00\x00\x00\x01\x00\x00")},
    {16777217, B ("\x7f\x00\x00\x00\x00\x01\x00\x00\x01")},
};

static void test_heads (void **state)
{
    (void) state;
    static const enum ws_opcode opcodes[] = {WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING, WS_PONG};
    static const uint8_t first[] = {0x81, 0x82, 0x88, 0x89, 0x8a};
    for (size_t i = 0; i < COUNT_OF (head_cases); i++) {
        size_t n = head_cases[i].payload;
        struct slice head = head_cases[i].head;
        char *payload = malloc (n + 1);
        assert_non_null (payload);
        for (size_t k = 0; k < n; k++)
            payload[k] = (char) (k * 31);
        for (size_t k = 0; k < COUNT_OF (opcodes) && (n <= 125 || k < 2); k++) {
            struct msg *msg = msg_new (opcodes[k], slice_of (payload, n));
            assert_non_null (msg);
            assert_int_equal (msg->n, 1 + head.n + n);
            assert_int_equal (msg->bytes[0], first[k]);
            assert_memory_equal (msg->bytes + 1, head.p, head.n);
            assert_memory_equal (msg->bytes + 1 + head.n, payload, n);
            assert_int_equal (msg->refs, 1);
            assert_int_equal (msg->type, EVENT_TYPE_COUNT);
            assert_true (msg->timestamp == 0);
            msg_unref (&msg);
            assert_null (msg);
        }
        free (payload);
    }
}

static void test_empty_payload (void **state)
{
    (void) state;
    struct msg *msg = msg_new (WS_TEXT, slice_str (NULL));
    assert_int_equal (msg->n, 2);
    assert_memory_equal (msg->bytes, "\x81\x00", 2);
    msg_unref (&msg);
}

/* The sanitizers see a reference too many or too few. */
static void test_references (void **state)
{
    (void) state;
    struct msg *msg = msg_new (WS_TEXT, slice_str ("x")), *other = msg_ref (msg), *none = NULL;
    assert_ptr_equal (msg, other);
    assert_int_equal (msg->refs, 2);
    msg_unref (&msg);
    assert_null (msg);
    assert_int_equal (other->refs, 1);
    msg_unref (&other);
    msg_unref (&none);
    assert_null (none);
}

static void test_too_big (void **state)
{
    (void) state;
    char byte = 'x';
    assert_null (msg_new (WS_BINARY, slice_of (&byte, UINT32_MAX)));
    assert_null (msg_new (WS_BINARY, slice_of (&byte, SIZE_MAX)));
}

/* --- events -------------------------------------------------------------------------------------------------- */

#define EVENT                                                                                                          \
    "\x85\xa4type\xacstream_chunk\xa9timestamp\xcb\x41\xd9\x54\xfc\x40\x20\x00\x00\xa3_me\x01\xa5"                     \
    "delta\xa2\xc3\xa4"                                                                                                \
    "\xa4"                                                                                                             \
    "blob\xc4\x02\x00\xff"
#define EVENT_WITHOUT_RESERVED(head)                                                                                   \
    head "\xa4type\xacstream_chunk\xa9timestamp\xcb\x41\xd9\x54\xfc\x40\x20\x00\x00\xa5"                               \
         "delta\xa2\xc3\xa4"                                                                                           \
         "\xa4"                                                                                                        \
         "blob\xc4\x02\x00\xff"
#define JSON "{\"type\":\"stream_chunk\",\"timestamp\":1700000000.5,\"delta\":\"\xc3\xa4\",\"blob\":\"AP8=\""

static struct event event_of (struct slice bytes)
{
    struct event event;
    assert_int_equal (event_parse (&event, bytes, slice_str ("alice")), DROP_NONE);
    return event;
}

static const struct {
    enum form form;
    uint64_t offset;
    uint8_t opcode;
    struct slice payload;
} form_cases[] = {
    {FORM_JSON, 0, 0x81, B (JSON "}")},
    {FORM_JSON, 42, 0x81, B (JSON ",\"_offset\":42}")},
    {FORM_JSON, UINT64_MAX, 0x81, B (JSON ",\"_offset\":18446744073709551615}")},
    {FORM_MSGPACK, 0, 0x82, B (EVENT_WITHOUT_RESERVED ("\x84"))},
    {FORM_MSGPACK, 42, 0x82, B (EVENT_WITHOUT_RESERVED ("\x85") "\xa7_offset\x2a")},
    {FORM_MSGPACK, 65536, 0x82, B (EVENT_WITHOUT_RESERVED ("\x85") "\xa7_offset\xce\x00\x01\x00\x00")},
    {FORM_RAW, 0, 0x82, B (EVENT)},
    {FORM_RAW, 42, 0x82, B (EVENT)},
};

static void test_forms (void **state)
{
    (void) state;
    struct buf scratch;
    struct event event = event_of (slice_of (EVENT, sizeof EVENT - 1));
    buf_init (&scratch, 0);
    buf_puts (&scratch, "left over");
    for (size_t i = 0; i < COUNT_OF (form_cases); i++) {
        struct slice payload = form_cases[i].payload;
        struct msg *msg = encode_event (&scratch, form_cases[i].form, &event, form_cases[i].offset);
        assert_non_null (msg);
        assert_true (payload.n < 126);
        assert_int_equal (msg->n, 2 + payload.n);
        assert_int_equal (msg->bytes[0], form_cases[i].opcode);
        assert_int_equal (msg->bytes[1], payload.n);
        assert_memory_equal (msg->bytes + 2, payload.p, payload.n);
        assert_int_equal (msg->type, EVENT_stream_chunk);
        assert_true (msg->timestamp == 1700000000.5);
        assert_int_equal (msg->refs, 1);
        msg_unref (&msg);
    }
    buf_fini (&scratch);
}

/* The same event with other text in it. */
static void test_merged (void **state)
{
    static const struct {
        enum form form;
        uint8_t opcode;
        struct slice payload;
    } cases[] = {
        {FORM_JSON, 0x81,
         B ("{\"type\":\"stream_chunk\",\"timestamp\":1700000000.5,\"delta\":\"two\",\"blob\":\"AP8=\",\"_offset\":"
            "42}")},
        {FORM_MSGPACK, 0x82,
         B ("\x85\xa4type\xacstream_chunk\xa9timestamp\xcb\x41\xd9\x54\xfc\x40\x20\x00\x00\xa5"
            "delta\xa3two\xa4"
            "blob\xc4\x02\x00\xff\xa7_offset\x2a")},
    };
    (void) state;
    struct buf scratch;
    struct event event = event_of (slice_of (EVENT, sizeof EVENT - 1));
    buf_init (&scratch, 0);
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct slice payload = cases[i].payload;
        struct msg *msg = encode_merged (&scratch, cases[i].form, &event, 42, slice_str ("two"));
        assert_int_equal (msg->n, 2 + payload.n);
        assert_int_equal (msg->bytes[0], cases[i].opcode);
        assert_memory_equal (msg->bytes + 2, payload.p, payload.n);
        assert_int_equal (msg->type, EVENT_stream_chunk);
        assert_true (msg->timestamp == 1700000000.5);
        msg_unref (&msg);
    }
    buf_fini (&scratch);
}

/* An event whose JSON is exactly so long: {"type":"x","pad":"..."}. */
static void expect_json_of (size_t length)
{
    static const char before[] = "{\"type\":\"x\",\"pad\":\"", after[] = "\"}";
    size_t pad = length - strlen (before) - strlen (after);
    char *text = calloc (1, pad + 1);
    struct buf packed, scratch;
    msgpack_packer packer;
    buf_init (&packed, 0);
    buf_init (&scratch, 0);
    memset (text, 'p', pad);
    mp_writer_init (&packer, &packed);
    mp_put_map (&packer, 2);
    mp_put_cstr (&packer, "type");
    mp_put_cstr (&packer, "x");
    mp_put_cstr (&packer, "pad");
    mp_put_cstr (&packer, text);
    struct event event = event_of (buf_slice (&packed));
    struct msg *msg = encode_event (&scratch, FORM_JSON, &event, 0);
    size_t head = length < 126 ? 2 : length < 65536 ? 4 : 10;
    assert_int_equal (msg->n, head + length);
    assert_int_equal (msg->bytes[1], length < 126 ? length : length < 65536 ? 126 : 127);
    assert_int_equal (mp_big_endian ((char *) msg->bytes + head - 2, 2),
                      length < 126 ? 0x8100 | length : length & 0xffff);
    assert_memory_equal (msg->bytes + head, before, strlen (before));
    assert_memory_equal (msg->bytes + msg->n - strlen (after), after, strlen (after));
    assert_int_equal (msg->type, EVENT_other);
    assert_true (msg->timestamp == 0);
    msg_unref (&msg);
    buf_fini (&packed);
    buf_fini (&scratch);
    free (text);
}

static void test_event_lengths (void **state)
{
    (void) state;
    static const size_t lengths[] = {125, 126, 65535, 65536};
    for (size_t i = 0; i < COUNT_OF (lengths); i++)
        expect_json_of (lengths[i]);
}

/* Without memory for the encoding there is no frame; raw needs none. */
static void test_no_room (void **state)
{
    (void) state;
    struct buf scratch;
    struct event event = event_of (slice_of (EVENT, sizeof EVENT - 1));
    buf_init (&scratch, 8);
    assert_null (encode_event (&scratch, FORM_JSON, &event, 1));
    assert_null (encode_event (&scratch, FORM_MSGPACK, &event, 1));
    assert_null (encode_merged (&scratch, FORM_JSON, &event, 1, slice_str ("x")));
    assert_null (encode_merged (&scratch, FORM_MSGPACK, &event, 1, slice_str ("x")));
    struct msg *msg = encode_event (&scratch, FORM_RAW, &event, 1);
    assert_int_equal (msg->n, 2 + sizeof EVENT - 1);
    msg_unref (&msg);
    buf_fini (&scratch);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_heads),   cmocka_unit_test (test_empty_payload), cmocka_unit_test (test_references),
        cmocka_unit_test (test_too_big), cmocka_unit_test (test_forms),         cmocka_unit_test (test_event_lengths),
        cmocka_unit_test (test_no_room), cmocka_unit_test (test_merged),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
