/* Events of the runtime: what is taken, what is dropped and why. */
#include "core/event.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

static const struct slice alice = B ("alice");

#define TYPE "\xa4type\xa1x" /* "type": "x" */
#define CONN                                                                                                           \
    "\xad"                                                                                                             \
    "connection_id"

static const struct {
    struct slice bytes;
    enum drop_reason reason;
} verdict_cases[] = {
    {B ("\x81" TYPE), DROP_NONE},
    {B (""), DROP_MALFORMED},
    {B ("\x81" TYPE "\x00"), DROP_MALFORMED},
    {B ("\x82" TYPE), DROP_MALFORMED},
    {B ("\x91\x81" TYPE), DROP_MALFORMED},
    {B ("\xc0"), DROP_MALFORMED},
    {B ("\xdf\xff\xff\xff\xff" TYPE), DROP_MALFORMED},
    {B ("\x82" TYPE "\x01\x92\x01"), DROP_MALFORMED},
    {B ("\x82" TYPE "\x01\xc1"), DROP_MALFORMED},
    {B ("\x80"), DROP_NO_TYPE},
    {B ("\x81\xa4type\x01"), DROP_NO_TYPE},
    {B ("\x81\xa4type\xc0"), DROP_NO_TYPE},
    {B ("\x81\xa4type\xa0"), DROP_NO_TYPE},
    {B ("\x81\xa4type\xc4\x01x"), DROP_NO_TYPE},
    {B ("\x81\xc4\x04type\xa1x"), DROP_NO_TYPE}, /* a bin key is not the key */
    {B ("\x81\xa4Type\xa1x"), DROP_NO_TYPE},
    {B ("\x81\xa1"
        "d\x81" TYPE),
     DROP_NO_TYPE}, /* one level down does not count */
    {B ("\x82" TYPE TYPE), DROP_DUPLICATE_KEY},
    {B ("\x83" TYPE "\xa7user_id\xa5"
        "alice\xa7user_id\xa5"
        "alice"),
     DROP_DUPLICATE_KEY},
    {B ("\x83" TYPE CONN "\xc0" CONN "\xa1"
        "c"),
     DROP_DUPLICATE_KEY},
    {B ("\x83" TYPE "\xa6run_id\x01\xa6run_id\x01"), DROP_DUPLICATE_KEY},
    {B ("\x83" TYPE "\xa9thread_id\xa1"
        "a\xa9thread_id\xa1"
        "b"),
     DROP_NONE}, /* routes nothing */
    {B ("\x82" TYPE "\xa7user_id\xa5"
        "alice"),
     DROP_NONE},
    {B ("\x82" TYPE "\xa7user_id\xa3"
        "bob"),
     DROP_ISOLATION},
    {B ("\x82" TYPE "\xa7user_id\xa4"
        "alic"),
     DROP_ISOLATION},
    {B ("\x82" TYPE "\xa7user_id\xa6"
        "alice\x00"),
     DROP_ISOLATION},
    {B ("\x82" TYPE "\xa7user_id\xa0"), DROP_ISOLATION},
    {B ("\x82" TYPE "\xa7user_id\xc0"), DROP_ISOLATION},
    {B ("\x82" TYPE "\xa7user_id\xc4\x05"
        "alice"),
     DROP_ISOLATION},
    {B ("\x82" TYPE CONN "\xc0"), DROP_NONE},
    {B ("\x82" TYPE CONN "\x05"), DROP_MALFORMED},
    {B ("\x82" TYPE CONN "\x90"), DROP_MALFORMED},
    /* several faults: the first of the list in event.h */
    {B ("\x83" TYPE TYPE "\xa7user_id\xa3"
        "bob\x00"),
     DROP_MALFORMED},
    {B ("\x82\xa4type\x01\xa4type\xa1x"), DROP_NO_TYPE},
    {B ("\x83" TYPE TYPE "\xa7user_id\xa3"
        "bob"),
     DROP_DUPLICATE_KEY},
    {B ("\x83" TYPE CONN "\x05\xa7user_id\xa3"
        "bob"),
     DROP_ISOLATION},
};

static void test_verdicts (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (verdict_cases); i++) {
        struct event event;
        enum drop_reason reason = event_parse (&event, verdict_cases[i].bytes, alice);
        if (reason != verdict_cases[i].reason)
            fail_msg ("case %zu: %d, not %d", i, (int) reason, (int) verdict_cases[i].reason);
    }
}

static void test_fields (void **state)
{
    static const struct slice bytes = B ("\x89\xa4type\xae"
                                         "agent_thinking\xa7user_id\xa5"
                                         "alice" CONN "\xa5ws_01\xa6run_id\xa2r1\xa9thread_id\xa2t1"
                                         "\xaa"
                                         "agent_name\xa3"
                                         "bot\xa5"
                                         "delta\xa2hi\xa9timestamp\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"
                                         "\xa4"
                                         "data\x92\x81\xa4type\xa1y\xa3_in");
    struct event event;
    (void) state;
    assert_int_equal (event_parse (&event, bytes, alice), DROP_NONE);
    assert_ptr_equal (event.bytes.p, bytes.p);
    assert_int_equal (event.bytes.n, bytes.n);
    assert_int_equal (event.type, EVENT_agent_thinking);
    assert_true (slice_is (event.type_name, "agent_thinking"));
    assert_true (slice_is (event.connection_id, "ws_01"));
    assert_true (slice_is (event.run_id, "r1"));
    assert_true (slice_is (event.thread_id, "t1"));
    assert_true (slice_is (event.agent_name, "bot"));
    assert_true (slice_is (event.delta, "hi"));
    assert_true (event.has_delta);
    assert_false (event.has_reserved);
    assert_true (event.timestamp == 1.5);
}

static void test_absent_and_foreign_kinds (void **state)
{
    static const struct slice cases[] = {
        B ("\x81" TYPE),
        B ("\x86" TYPE "\xa6run_id\x01\xa9thread_id\xc0\xaa"
           "agent_name\x90\xa5"
           "delta\xc4\x01z\xa9timestamp\xa1"
           "1"),
        B ("\x82" TYPE "\xa9timestamp\xd6\xff\x00\x00\x00\x05"),
        B ("\x82" TYPE "\xa9timestamp\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"),
        B ("\x82" TYPE "\xa9timestamp\xca\x7f\x80\x00\x00"),
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct event event;
        assert_int_equal (event_parse (&event, cases[i], alice), DROP_NONE);
        assert_int_equal (event.type, EVENT_other);
        assert_int_equal (event.connection_id.n + event.run_id.n + event.thread_id.n, 0);
        assert_int_equal (event.agent_name.n + event.delta.n, 0);
        assert_false (event.has_delta);
        assert_true (event.timestamp == 0);
    }
}

static void test_timestamp_kinds (void **state)
{
    static const struct {
        struct slice bytes;
        double seconds;
    } cases[] = {
        {B ("\x82" TYPE "\xa9timestamp\xce\x65\x92\x00\x80"), 1704067200},
        {B ("\x82" TYPE "\xa9timestamp\xff"), -1},
        {B ("\x82" TYPE "\xa9timestamp\xca\x3f\xc0\x00\x00"), 1.5},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct event event;
        assert_int_equal (event_parse (&event, cases[i].bytes, alice), DROP_NONE);
        assert_true (event.timestamp == cases[i].seconds);
    }
}

#define DELTA                                                                                                          \
    "\xa5"                                                                                                             \
    "delta"

static void test_flags (void **state)
{
    static const struct {
        struct slice bytes;
        bool delta, reserved, odd;
    } cases[] = {
        {B ("\x82" TYPE "\xa5"
            "delta\xa0"),
         true, false, false},
        {B ("\x82" TYPE "\xa7_offset\x01"), false, true, false},
        {B ("\x82" TYPE "\xa1_\xc0"), false, true, false},
        {B ("\x82" TYPE "\xc4\x01_\xc0"), false, false, false}, /* bin */
        {B ("\x82" TYPE "\xa0\xa1_"), false, false, false},
        {B ("\x82" TYPE DELTA "\xc0"), false, false, false}, /* nil is as good as none */
        {B ("\x82" TYPE DELTA "\x07"), false, false, true},
        {B ("\x82" TYPE DELTA "\xc4\x01z"), false, false, true},
        {B ("\x82" TYPE DELTA "\x90"), false, false, true},
        {B ("\x83" TYPE DELTA "\x07" DELTA "\xa1z"), true, false, false}, /* the last one counts */
        {B ("\x83" TYPE DELTA "\xa1z" DELTA "\x80"), false, false, true},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct event event;
        assert_int_equal (event_parse (&event, cases[i].bytes, alice), DROP_NONE);
        assert_int_equal (event.has_delta, cases[i].delta);
        assert_int_equal (event.odd_delta, cases[i].odd);
        assert_int_equal (event.has_reserved, cases[i].reserved);
    }
}

static enum drop_reason parse_nested (size_t arrays)
{
    char bytes[128] = "\x82" TYPE "\x01";
    size_t n = sizeof ("\x82" TYPE "\x01") - 1;
    struct event event;
    memset (bytes + n, '\x91', arrays);
    bytes[n + arrays] = '\x01';
    return event_parse (&event, slice_of (bytes, n + arrays + 1), alice);
}

static void test_depth (void **state)
{
    char arrays[66];
    struct event event;
    (void) state;
    assert_int_equal (parse_nested (63), DROP_NONE); /* the event is the 64th */
    assert_int_equal (parse_nested (64), DROP_TOO_DEEP);
    memset (arrays, '\x91', sizeof arrays);
    arrays[65] = '\x01';
    assert_int_equal (event_parse (&event, slice_of (arrays, 66), alice), DROP_TOO_DEEP);
}

/* Cut anywhere it is malformed, and nothing beyond the end is read (address sanitizer). */
static void test_truncated (void **state)
{
    static const struct slice bytes = B ("\x84" TYPE "\xa7user_id\xa5"
                                         "alice\xa9timestamp\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xa1"
                                         "d\x92\xc7\x01\x05z\xcd\x01\x02");
    struct event event;
    (void) state;
    assert_int_equal (event_parse (&event, bytes, alice), DROP_NONE);
    for (size_t n = 0; n < bytes.n; n++) {
        char *copy = malloc (n ? n : 1);
        assert_non_null (copy);
        memcpy (copy, bytes.p, n);
        assert_int_equal (event_parse (&event, slice_of (copy, n), alice), DROP_MALFORMED);
        assert_int_equal (event.type_name.n, 0);
        free (copy);
    }
}

/* How many of the bridge's fields an event has that says `key`: "z" besides its type. */
static size_t fields_of (struct slice key)
{
    char bytes[64] = "\x82" TYPE;
    size_t n = sizeof ("\x82" TYPE) - 1;
    struct event event;
    bytes[n++] = (char) (0xa0 | key.n);
    slice_copy (bytes + n, key);
    memcpy (bytes + n + key.n, "\xa1z", 2);
    enum drop_reason reason = event_parse (&event, slice_of (bytes, n + key.n + 2), alice);
    if (reason == DROP_ISOLATION)
        return 1; /* user_id */
    assert_int_equal (reason, DROP_NONE);
    return event.connection_id.n + event.run_id.n + event.thread_id.n + event.agent_name.n + event.tool_name.n +
           event.execution_id.n + event.delta.n;
}

/* A name with one character changed, left out or added is another name. */
static void test_nearly_fields (void **state)
{
    static const char *const names[] = {"user_id",    "connection_id", "run_id", "thread_id",
                                        "agent_name", "tool_name",     "delta",  "execution_id"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (names); i++) {
        char key[20] = {0};
        size_t n = strlen (names[i]);
        memcpy (key, names[i], n);
        assert_int_equal (fields_of (slice_of (key, n)), 1);
        assert_int_equal (fields_of (slice_of (key, n - 1)), 0);
        assert_int_equal (fields_of (slice_of (key, n + 1)), 0);
        for (size_t place = 0; place < n; place++) {
            key[place] ^= 1;
            assert_int_equal (fields_of (slice_of (key, n)), 0);
            key[place] ^= 1;
        }
    }
}

static void test_all_text_fields (void **state)
{
    static const struct slice bytes = B ("\x84" TYPE "\xa9tool_name\xa1t\xac"
                                         "execution_id\xa1"
                                         "e\xaa"
                                         "agent_name\xa1n");
    struct event event;
    (void) state;
    assert_int_equal (event_parse (&event, bytes, alice), DROP_NONE);
    assert_true (slice_is (event.tool_name, "t"));
    assert_true (slice_is (event.execution_id, "e"));
    assert_true (slice_is (event.agent_name, "n"));
}

static void test_types (void **state)
{
    (void) state;
#define EVENT_TYPE(symbol) assert_int_equal (event_type_of (slice_str (#symbol)), EVENT_##symbol);
#include "tbl/event_types.h"
#undef EVENT_TYPE
    assert_int_equal (event_type_of (slice_str ("")), EVENT_other);
    assert_int_equal (event_type_of (slice_str ("agent_starte")), EVENT_other);
    assert_int_equal (event_type_of (slice_str ("agent_startedx")), EVENT_other);
    assert_int_equal (event_type_of (slice_str ("other")), EVENT_other);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_verdicts),
        cmocka_unit_test (test_fields),
        cmocka_unit_test (test_absent_and_foreign_kinds),
        cmocka_unit_test (test_timestamp_kinds),
        cmocka_unit_test (test_flags),
        cmocka_unit_test (test_depth),
        cmocka_unit_test (test_truncated),
        cmocka_unit_test (test_nearly_fields),
        cmocka_unit_test (test_all_text_fields),
        cmocka_unit_test (test_types),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
