/* What clients send: strict JSON, strict MessagePack, and the few fields that are read. */
#include "core/client_msg.h"
#include "core/json_scan.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

static uint64_t rnd_state = 0x9e3779b97f4a7c15u;

static uint64_t rnd (void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return rnd_state;
}

/* Read from a copy with nothing behind it; the slices of the result must not be used. */
static enum client_msg_kind kind_of (struct slice text)
{
    struct client_msg msg;
    char *copy = malloc (text.n ? text.n : 1);
    assert_non_null (copy);
    memcpy (copy, text.p, text.n);
    client_msg_read_json (&msg, slice_of (copy, text.n));
    free (copy);
    return msg.kind;
}

struct kind_case {
    struct slice text;
    enum client_msg_kind kind;
};

static void assert_kinds (const struct kind_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum client_msg_kind kind = kind_of (cases[i].text);
        if (kind != cases[i].kind)
            fail_msg ("%.*s: %d, not %d", (int) cases[i].text.n, cases[i].text.p, (int) kind, (int) cases[i].kind);
    }
}

static void test_kinds (void **state)
{
    static const struct kind_case cases[] = {
        {B ("{\"type\":\"ping\"}"), CLIENT_MSG_PING},
        {B (" \t\r\n{ \"type\" : \"ping\" } \r\n"), CLIENT_MSG_PING},
        {B ("{\"type\":\"heartbeat\"}"), CLIENT_MSG_HEARTBEAT},
        {B ("{\"type\":\"heartbeat_ack\"}"), CLIENT_MSG_HEARTBEAT},
        {B ("{\"type\":\"refresh_token\"}"), CLIENT_MSG_REFRESH_TOKEN},
        {B ("{\"type\":\"chat\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"type\":\"\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"type\":\"Ping\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"type\":\"pings\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"type\":\"pin\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"type\":\"p\\u0069ng\"}"), CLIENT_MSG_PING},
        {B ("{\"type\":\"p\\u0069n\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"type\":\"p\\u0069ngg\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"type\":\"\\u0070\\u0069\\u006e\\u0067\"}"), CLIENT_MSG_PING},
        {B ("{\"type\":\"\\u0070\\u0069\\u006E\\u0067\\u0000\"}"), CLIENT_MSG_RUNTIME},
        {B ("{\"ty\\u0070e\":\"ping\"}"), CLIENT_MSG_PING},
        {B ("{\"data\":{\"type\":1,\"id\":2},\"type\":\"ping\",\"id\":[{}]}"), CLIENT_MSG_PING},
        {B ("{}"), CLIENT_MSG_INVALID},
        {B ("{\"a\":1}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":1}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":null}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":[\"ping\"]}"), CLIENT_MSG_INVALID},
        {B ("[]"), CLIENT_MSG_INVALID},
        {B ("[{\"type\":\"ping\"}]"), CLIENT_MSG_INVALID},
        {B ("\"ping\""), CLIENT_MSG_INVALID},
        {B (" 12 "), CLIENT_MSG_INVALID},
        {B ("null"), CLIENT_MSG_INVALID},
        {B ("{\"type\":\"ping\",\"type\":\"ping\"}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":\"ping\",\"t\\u0079pe\":\"ping\"}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":\"x\",\"id\":1,\"id\":1}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":\"x\",\"message_id\":1,\"message_id\":null}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":\"x\",\"token\":1,\"token\":1}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":\"x\",\"traceparent\":1,\"traceparent\":1}"), CLIENT_MSG_INVALID},
        {B ("{\"type\":\"x\",\"other\":1,\"other\":1}"), CLIENT_MSG_RUNTIME},
    };
    (void) state;
    assert_kinds (cases, COUNT_OF (cases));
}

/* Good ones are no objects and so INVALID, the others BAD_SYNTAX. */
static const struct slice good_values[] = {
    B ("0"),
    B ("-0"),
    B ("1"),
    B ("-12"),
    B ("10.5"),
    B ("0.0"),
    B ("1e5"),
    B ("1E+5"),
    B ("1e-05"),
    B ("-0.10e00"),
    B ("123456789012345678901234567890"),
    B ("1e999"),
    B ("true"),
    B ("false"),
    B ("null"),
    B ("\"\""),
    B ("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uABcd\""),
    B ("\"\\ud83d\\ude00\""),
    B ("\"\\ud800\""),
    B ("\"\\ude00x\""),
    B ("\"\x7f\xc2\x80\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\""),
    B ("[]"),
    B ("[ ]"),
    B ("[1]"),
    B ("[ 1 , [ ] , { } , \"x\" ]"),
    B ("[{\"a\":{\"a\":[]}}]"),
    B ("[[],[[]],{\"\":null}]"),
    B ("\t\n\r 1"),
};

static const struct slice bad_values[] = {
    B (""),
    B (" "),
    B ("\xef\xbb\xbf{}"),
    B ("\v1"),
    B ("\f1"),
    B ("\xc2\xa0"
       "1"),
    B ("1\x00"),
    B ("\x00"),
    B ("01"),
    B ("-01"),
    B ("00"),
    B ("+1"),
    B ("-"),
    B (".5"),
    B ("1."),
    B ("1.e5"),
    B ("1e"),
    B ("1e+"),
    B ("1e-"),
    B ("1e5.0"),
    B ("0x10"),
    B ("1_0"),
    B ("NaN"),
    B ("Infinity"),
    B ("-Infinity"),
    B ("1 2"),
    B ("tru"),
    B ("truex"),
    B ("True"),
    B ("nul"),
    B ("\""),
    B ("\"a"),
    B ("\"\\\""),
    B ("\"\\"),
    B ("'a'"),
    B ("\"\n\""),
    B ("\"\t\""),
    B ("\"\x1f\""),
    B ("\"\x00\""),
    B ("\"\\x41\""),
    B ("\"\\'\""),
    B ("\"\\0\""),
    B ("\"\\\x00\""),
    B ("\"\\U0041\""),
    B ("\"\\u\""),
    B ("\"\\u12\""),
    B ("\"\\u123g\""),
    B ("\"\\u-123\""),
    B ("\"\\u 123\""),
    B ("\"\\u12"),
    B ("\"\xff\""),
    B ("\"\xc0\x80\""),
    B ("\"\xed\xa0\x80\""),
    B ("\"\xf4\x90\x80\x80\""),
    B ("\"\xe2\x82\""),
    B ("\"\xc3"),
    B ("{\"\xff\":1}"),
    B ("["),
    B ("]"),
    B ("[1"),
    B ("[1,"),
    B ("[1,]"),
    B ("[,1]"),
    B ("[,]"),
    B ("[1 2]"),
    B ("[1}"),
    B ("[1]]"),
    B ("[]["),
    B ("{"),
    B ("}"),
    B ("{\"a\""),
    B ("{\"a\":"),
    B ("{\"a\":1"),
    B ("{\"a\":1,"),
    B ("{\"a\":1,}"),
    B ("{,}"),
    B ("{\"a\"}"),
    B ("{\"a\",1}"),
    B ("{\"a\":}"),
    B ("{\"a\":1]"),
    B ("{\"a\":1 \"b\":2}"),
    B ("{a:1}"),
    B ("{1:1}"),
    B ("{\"a\":1}}"),
    B ("{\"a\":1}x"),
    B ("{\"a\"::1}"),
    B ("[{\"a\":1,}]"),
    B ("[{\"a\" 1}]"),
    B ("[{1:1}]"),
    B ("[{]"),
    B ("[{\"a\":1]"),
    B ("{}{}"),
    B ("{} // x"),
    B ("/**/{}"),
};

static void test_syntax (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (good_values); i++)
        assert_kinds (&(struct kind_case){good_values[i], CLIENT_MSG_INVALID}, 1);
    for (size_t i = 0; i < COUNT_OF (bad_values); i++)
        assert_kinds (&(struct kind_case){bad_values[i], CLIENT_MSG_BAD_SYNTAX}, 1);
}

static void assert_slice (struct slice s, const char *expected)
{
    if (!slice_is (s, expected))
        fail_msg ("%.*s, not %s", (int) s.n, s.p, expected);
}

static void test_json_fields (void **state)
{
    struct client_msg msg;
    (void) state;
    client_msg_read_json (&msg, slice_str ("{\"type\" : \"ch\\u0061t\" , \"id\" : 12e3 ,\"message_id\": \"m\\\"1\" ,"
                                           "\"token\":\"T\",\"traceparent\":\"00-ab\"}"));
    assert_int_equal (msg.kind, CLIENT_MSG_RUNTIME);
    assert_slice (msg.type, "ch\\u0061t");
    assert_slice (msg.id, "12e3");
    assert_slice (msg.message_id, "\"m\\\"1\"");
    assert_slice (msg.token, "");
    assert_slice (msg.traceparent, "00-ab");
    client_msg_read_json (&msg, slice_str ("{\"id\":{\"a\":[1, 2]},\"token\":\"a.b.c\",\"traceparent\":1,"
                                           "\"message_id\":[ ],\"type\":\"refresh_token\"}"));
    assert_int_equal (msg.kind, CLIENT_MSG_REFRESH_TOKEN);
    assert_slice (msg.id, "{\"a\":[1, 2]}");
    assert_slice (msg.message_id, "[ ]");
    assert_slice (msg.token, "a.b.c");
    assert_slice (msg.traceparent, "");
    client_msg_read_json (&msg, slice_str ("{\"type\":\"refresh_token\",\"token\":5,\"id\":null}"));
    assert_int_equal (msg.kind, CLIENT_MSG_REFRESH_TOKEN);
    assert_slice (msg.token, "");
    assert_slice (msg.id, "null");
    client_msg_read_json (&msg, slice_str ("{\"id\":1,\"type\":2}"));
    assert_int_equal (msg.kind, CLIENT_MSG_INVALID);
    assert_slice (msg.id, "");
    client_msg_read_json (&msg, slice_of (NULL, 0));
    assert_int_equal (msg.kind, CLIENT_MSG_BAD_SYNTAX);
}

static void test_truncated_json (void **state)
{
    static const struct slice text =
        B ("{\"type\":\"ch\\u0061t\",\"a\":[1.5e+3,true,{\"\xc3\xa9\":null}],\"id\":\"\\n\"}");
    (void) state;
    assert_int_equal (kind_of (text), CLIENT_MSG_RUNTIME);
    for (size_t n = 0; n < text.n; n++)
        assert_int_equal (kind_of (slice_of (text.p, n)), CLIENT_MSG_BAD_SYNTAX);
}

static enum client_msg_kind nested_json (const char *open, const char *close, int levels)
{
    char text[1024];
    size_t n = 0;
    for (int i = 0; i < levels; i++)
        n += (size_t) snprintf (text + n, sizeof text - n, "%s", open);
    n += (size_t) snprintf (text + n, sizeof text - n, "0");
    for (int i = 0; i < levels; i++)
        n += (size_t) snprintf (text + n, sizeof text - n, "%s", close);
    return kind_of (slice_of (text, n));
}

static void test_json_depth (void **state)
{
    (void) state;
    assert_int_equal (nested_json ("[", "]", 64), CLIENT_MSG_INVALID);
    assert_int_equal (nested_json ("[", "]", 65), CLIENT_MSG_BAD_SYNTAX);
    assert_int_equal (nested_json ("{\"a\":", "}", 64), CLIENT_MSG_INVALID);
    assert_int_equal (nested_json ("{\"a\":", "}", 65), CLIENT_MSG_BAD_SYNTAX);
    assert_int_equal (nested_json ("[{\"a\":", "}]", 32), CLIENT_MSG_INVALID);
    assert_int_equal (nested_json ("[{\"a\":", "}]", 33), CLIENT_MSG_BAD_SYNTAX);
    assert_int_equal (nested_json ("{\"a\":[", "]}", 32), CLIENT_MSG_INVALID);
    assert_int_equal (nested_json ("{\"a\":[", "]}", 33), CLIENT_MSG_BAD_SYNTAX);
}

static void test_large_json (void **state)
{
    struct client_msg msg;
    size_t n = 1 << 20;
    static const char head[] = "{\"id\":\"", tail[] = "\",\"type\":\"ping\"}";
    char *text = malloc (sizeof head + n + sizeof tail);
    (void) state;
    assert_non_null (text);
    memcpy (text, head, sizeof head);
    memset (text + sizeof head - 1, 'x', n);
    memcpy (text + sizeof head - 1 + n, tail, sizeof tail);
    client_msg_read_json (&msg, slice_str (text));
    assert_int_equal (msg.kind, CLIENT_MSG_PING);
    assert_int_equal (msg.id.n, n + 2);
    text[n / 2] = '\x1f';
    client_msg_read_json (&msg, slice_str (text));
    assert_int_equal (msg.kind, CLIENT_MSG_BAD_SYNTAX);
    free (text);
}

static void test_name (void **state)
{
    static const struct {
        struct slice raw;
        const char *ascii;
        bool same;
    } cases[] = {
        {B ("abc"), "abc", true},
        {B (""), "", true},
        {B ("abc"), "ab", false},
        {B ("ab"), "abc", false},
        {B ("\\u0061bc"), "abc", true},
        {B ("\\u0061bc"), "ab", false},
        {B ("\\u0061b"), "abc", false},
        {B ("a\\/b"), "a/b", true},
        {B ("\\\"\\\\\\b\\f\\n\\r\\t"), "\"\\\b\f\n\r\t", true},
        {B ("\\u004D\\u006d"), "Mm", true},
        {B ("\\u0161"), "a", false},
        {B ("\\u0000"), "", false},
        {B ("a\\u0000"), "a", false},
        {B ("refresh_token"), "refresh_token", true},
        {B ("\\u0072efresh_token"), "refresh_token", true},
        {B ("0123456789abcde\\u0066"), "0123456789abcdef", true},
        {B ("0123456789abcde\\u0066g"), "0123456789abcdefg", false}, /* no name of ours is so long */
        {B ("0123456789abcdefg"), "0123456789abcdefg", true},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        char room[JSON_NAME_MAX];
        assert_int_equal (slice_is (json_name (cases[i].raw, room), cases[i].ascii), cases[i].same);
    }
}

static void test_msgpack_kinds (void **state)
{
    static const struct kind_case cases[] = {
        {B ("\x81\xa4type\xa4ping"), CLIENT_MSG_PING},
        {B ("\xdf\x00\x00\x00\x01\xd9\x04type\xdb\x00\x00\x00\x04ping"), CLIENT_MSG_PING},
        {B ("\x81\xa4type\xa9heartbeat"), CLIENT_MSG_HEARTBEAT},
        {B ("\x81\xa4type\xadheartbeat_ack"), CLIENT_MSG_HEARTBEAT},
        {B ("\x81\xa4type\xadrefresh_token"), CLIENT_MSG_REFRESH_TOKEN},
        {B ("\x81\xa4type\xa4"
            "chat"),
         CLIENT_MSG_RUNTIME},
        {B ("\x81\xa4type\xa9p\\u0069ng"), CLIENT_MSG_RUNTIME}, /* escapes mean nothing here */
        {B ("\x80"), CLIENT_MSG_INVALID},
        {B ("\x90"), CLIENT_MSG_INVALID},
        {B ("\xa4ping"), CLIENT_MSG_INVALID},
        {B ("\xc0"), CLIENT_MSG_INVALID},
        {B ("\x81\xa4type\x01"), CLIENT_MSG_INVALID},
        {B ("\x81\xa4type\xc4\x04ping"), CLIENT_MSG_INVALID},
        {B ("\x81\xc4\x04type\xa4ping"), CLIENT_MSG_INVALID},
        {B ("\x82\xa4type\xa4ping\xa4type\xa4ping"), CLIENT_MSG_INVALID},
        {B ("\x83\xa4type\xa4ping\xa2id\x01\xa2id\x01"), CLIENT_MSG_INVALID},
        {B ("\x83\xa4type\xa4ping\xa1z\x01\xa1z\x01"), CLIENT_MSG_PING},
        {B ("\x82\xa4type\xa4ping\x92\x01\x02\x81\xa4type\x01"), CLIENT_MSG_PING},
        {B (""), CLIENT_MSG_BAD_SYNTAX},
        {B ("\xc1"), CLIENT_MSG_BAD_SYNTAX},
        {B ("\xc0\xc0"), CLIENT_MSG_BAD_SYNTAX},
        {B ("\x81\xa4type\xa4ping\x00"), CLIENT_MSG_BAD_SYNTAX},
        {B ("\x82\xa4type\xa4ping"), CLIENT_MSG_BAD_SYNTAX},
        {B ("\x81\xa4type"), CLIENT_MSG_BAD_SYNTAX},
        {B ("\xdf\xff\xff\xff\xff\xa0\xa0"), CLIENT_MSG_BAD_SYNTAX},
        {B ("{\"type\":\"ping\"}"), CLIENT_MSG_BAD_SYNTAX},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct client_msg msg;
        client_msg_read_msgpack (&msg, cases[i].text);
        if (msg.kind != cases[i].kind)
            fail_msg ("case %zu: %d, not %d", i, (int) msg.kind, (int) cases[i].kind);
    }
}

static void test_msgpack_fields (void **state)
{
    struct client_msg msg;
    static const struct slice bytes = B ("\x85\xa4type\xadrefresh_token\xa2id\x92\x01\xa1x\xaamessage_id\xcd\x01\x00"
                                         "\xa5token\xa3"
                                         "a.b\xabtraceparent\xd9\x02"
                                         "00");
    (void) state;
    client_msg_read_msgpack (&msg, bytes);
    assert_int_equal (msg.kind, CLIENT_MSG_REFRESH_TOKEN);
    assert_slice (msg.type, "refresh_token");
    assert_slice (msg.id, "\x92\x01\xa1x");
    assert_true (slice_eq (msg.message_id, slice_of ("\xcd\x01\x00", 3)));
    assert_slice (msg.token, "a.b");
    assert_slice (msg.traceparent, "00");
    for (size_t n = 0; n < bytes.n; n++) {
        char *copy = malloc (n ? n : 1);
        assert_non_null (copy);
        memcpy (copy, bytes.p, n);
        client_msg_read_msgpack (&msg, slice_of (copy, n));
        assert_int_equal (msg.kind, CLIENT_MSG_BAD_SYNTAX);
        free (copy);
    }
}

static void test_msgpack_depth (void **state)
{
    char bytes[128] = "\x82\xa4type\xa4ping\x01";
    size_t n = strlen (bytes);
    struct client_msg msg;
    (void) state;
    memset (bytes + n, '\x91', 64);
    bytes[n + 63] = '\x01';
    client_msg_read_msgpack (&msg, slice_of (bytes, n + 64));
    assert_int_equal (msg.kind, CLIENT_MSG_PING);
    bytes[n + 63] = '\x91';
    bytes[n + 64] = '\x01';
    client_msg_read_msgpack (&msg, slice_of (bytes, n + 65));
    assert_int_equal (msg.kind, CLIENT_MSG_BAD_SYNTAX);
}

static size_t random_text (char *text, size_t room)
{
    static const char *const pieces[] = {
        "{",   "}",       "[",  "]",     ",",        ":",        "\"",      "\"a\"", "\"type\"", "\"id\"", "\"ping\"",
        "0",   "1",       "-",  ".",     "e",        "+",        "true",    "false", "null",     " ",      "\n",
        "\\n", "\\u0041", "\\", "\\u12", "\xc3\xa9", "\xe2\x82", "\"b\":1", "[]",    "{}",       "\x01",
    };
    size_t n = 0, count = 1 + rnd () % 14;
    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[rnd () % COUNT_OF (pieces)];
        assert_true (n + strlen (piece) < room);
        memcpy (text + n, piece, strlen (piece));
        n += strlen (piece);
    }
    return n;
}

/* Good messages with a few pieces put in, taken out or replaced. */
static size_t mutated_text (char *text, size_t room)
{
    static const char good[] =
        "{\"type\":\"chat\",\"id\":[1,-2.5e3,{\"a\":[],\"b\":{}}],\"m\\n\\u00e9\":null,\"t\":true}";
    size_t n = sizeof good - 1;
    assert_true (n + 4 < room);
    memcpy (text, good, n);
    for (size_t edits = 1 + rnd () % 2; edits; edits--) {
        size_t at = rnd () % (n - 1);
        if (rnd () % 2) {
            text[at] = good[rnd () % (sizeof good - 1)];
        } else {
            memmove (text + at, text + at + 1, n - at - 1);
            n--;
        }
    }
    return n;
}

/* Does jansson take it? True also where its own limits, not the syntax, speak against it. */
static bool jansson_accepts (const char *text, size_t n)
{
    json_error_t error;
    json_t *json = json_loadb (text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool limit = !json && (json_error_code (&error) == json_error_numeric_overflow ||
                           json_error_code (&error) == json_error_null_byte_in_key);
    json_decref (json);
    return json || limit;
}

static void test_random_like_jansson (void **state)
{
    size_t accepted = 0;
    (void) state;
    for (int round = 0; round < 200000; round++) {
        char text[160];
        size_t n = round % 2 ? random_text (text, sizeof text) : mutated_text (text, sizeof text);
        bool ours = kind_of (slice_of (text, n)) != CLIENT_MSG_BAD_SYNTAX;
        bool surrogate = memmem (text, n, "\\ud", 3) != NULL;
        if (!surrogate && ours != jansson_accepts (text, n))
            fail_msg ("%s alone accepts: %.*s", ours ? "the scanner" : "jansson", (int) n, text);
        accepted += ours;
    }
    assert_true (accepted > 10000);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_kinds),
        cmocka_unit_test (test_syntax),
        cmocka_unit_test (test_json_fields),
        cmocka_unit_test (test_truncated_json),
        cmocka_unit_test (test_json_depth),
        cmocka_unit_test (test_large_json),
        cmocka_unit_test (test_name),
        cmocka_unit_test (test_msgpack_kinds),
        cmocka_unit_test (test_msgpack_fields),
        cmocka_unit_test (test_msgpack_depth),
        cmocka_unit_test (test_random_like_jansson),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
