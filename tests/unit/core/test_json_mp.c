/* A tree of jansson as MessagePack. */
#include "core/json_mp.h"
#include "core/mp_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

/* Takes nothing; the bytes are the caller's. */
static struct buf packed (const json_t *value)
{
    struct buf out;
    msgpack_packer packer;
    buf_init (&out, 0);
    mp_writer_init (&packer, &out);
    json_mp_put (&packer, value);
    assert_false (out.failed);
    assert_int_equal (mp_check (buf_slice (&out)), MP_OK);
    return out;
}

static json_t *parsed (const char *text)
{
    json_error_t error;
    json_t *value = json_loads (text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value)
        fail_msg ("%s: %s", text, error.text);
    return value;
}

static const struct {
    const char *json;
    struct slice bytes;
} cases[] = {
    {"null", B ("\xc0")},
    {"false", B ("\xc2")},
    {"true", B ("\xc3")},
    {"0", B ("\x00")},
    {"127", B ("\x7f")},
    {"128", B ("\xcc\x80")},
    {"255", B ("\xcc\xff")},
    {"256", B ("\xcd\x01\x00")},
    {"65535", B ("\xcd\xff\xff")},
    {"65536", B ("\xce\x00\x01\x00\x00")},
    {"4294967295", B ("\xce\xff\xff\xff\xff")},
    {"4294967296", B ("\xcf\x00\x00\x00\x01\x00\x00\x00\x00")},
    {"9223372036854775807", B ("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff")},
    {"-1", B ("\xff")},
    {"-32", B ("\xe0")},
    {"-33", B ("\xd0\xdf")},
    {"-129", B ("\xd1\xff\x7f")},
    {"-9223372036854775808", B ("\xd3\x80\x00\x00\x00\x00\x00\x00\x00")},
    {"1.5", B ("\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00")},
    {"1.0", B ("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00")}, /* a real stays one */
    {"-0.0", B ("\xcb\x80\x00\x00\x00\x00\x00\x00\x00")},
    {"\"\"", B ("\xa0")},
    {"\"\\u00e4\\n\"", B ("\xa3\xc3\xa4\n")},
    {"\"a\\u0000b\"", B ("\xa3"
                         "a\0b")},
    {"\"0123456789012345678901234567890\"", B ("\xbf"
                                               "0123456789012345678901234567890")},
    {"\"01234567890123456789012345678901\"", B ("\xd9\x20"
                                                "01234567890123456789012345678901")},
    {"[]", B ("\x90")},
    {"{}", B ("\x80")},
    {"[1,\"x\",null,[true],{}]", B ("\x95\x01\xa1x\xc0\x91\xc3\x80")},
    {"{\"sub\":\"alice\",\"aud\":[\"a\",\"b\"],\"exp\":1700000600,\"n\":{\"k\":false}}",
     B ("\x84\xa3sub\xa5"
        "alice\xa3"
        "aud\x92\xa1"
        "a\xa1"
        "b\xa3"
        "exp\xce\x65\x53\xf3\x58\xa1n\x81\xa1k\xc2")},
};

static void test_bytes (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        json_t *value = parsed (cases[i].json);
        struct buf out = packed (value);
        if (!slice_eq (buf_slice (&out), cases[i].bytes))
            fail_msg ("%s", cases[i].json);
        buf_fini (&out);
        json_decref (value);
    }
}

/* 15, 16 and more items take other heads. */
static void test_sizes (void **state)
{
    (void) state;
    static const struct {
        size_t items;
        struct slice array, map;
    } sizes[] = {
        {15, B ("\x9f"), B ("\x8f")},
        {16, B ("\xdc\x00\x10"), B ("\xde\x00\x10")},
        {70000, B ("\xdd\x00\x01\x11\x70"), B ("\xdf\x00\x01\x11\x70")},
    };
    for (size_t i = 0; i < COUNT_OF (sizes); i++) {
        json_t *array = json_array (), *map = json_object ();
        for (size_t k = 0; k < sizes[i].items; k++) {
            char key[24];
            snprintf (key, sizeof key, "%zu", k);
            json_array_append_new (array, json_null ());
            json_object_set_new (map, key, json_null ());
        }
        struct buf array_out = packed (array), map_out = packed (map);
        assert_memory_equal (array_out.p, sizes[i].array.p, sizes[i].array.n);
        assert_int_equal (array_out.n, sizes[i].array.n + sizes[i].items);
        assert_memory_equal (map_out.p, sizes[i].map.p, sizes[i].map.n);
        buf_fini (&array_out);
        buf_fini (&map_out);
        json_decref (array);
        json_decref (map);
    }
}

/* `depth` arrays, or maps with the key "k", within each other. */
static json_t *nested (bool map, int depth)
{
    json_t *value = NULL;
    for (int i = 0; i < depth; i++) {
        json_t *outer = map ? json_object () : json_array ();
        if (value && map)
            json_object_set_new (outer, "k", value);
        else if (value)
            json_array_append_new (outer, value);
        value = outer;
    }
    return value;
}

static void expect_depth (bool map, int depth, int written, const char *innermost)
{
    json_t *value = nested (map, depth);
    struct buf out = packed (value), text, wanted;
    buf_init (&text, 0);
    buf_init (&wanted, 0);
    mp_json_write (&text, buf_slice (&out));
    for (int i = 1; i < written; i++)
        buf_puts (&wanted, map ? "{\"k\":" : "[");
    buf_puts (&wanted, innermost);
    for (int i = 1; i < written; i++)
        buf_putc (&wanted, map ? '}' : ']');
    assert_true (slice_eq (buf_slice (&text), buf_slice (&wanted)));
    buf_fini (&out);
    buf_fini (&text);
    buf_fini (&wanted);
    json_decref (value);
}

/* What is too deep becomes nil, so that the result is never refused for its depth. */
static void test_depth (void **state)
{
    (void) state;
    expect_depth (false, MP_MAX_DEPTH, MP_MAX_DEPTH, "[]");
    expect_depth (false, MP_MAX_DEPTH + 1, MP_MAX_DEPTH, "[null]");
    expect_depth (false, 1000, MP_MAX_DEPTH, "[null]");
    expect_depth (true, MP_MAX_DEPTH, MP_MAX_DEPTH, "{}");
    expect_depth (true, MP_MAX_DEPTH + 1, MP_MAX_DEPTH, "{\"k\":null}");
    expect_depth (true, 1000, MP_MAX_DEPTH, "{\"k\":null}");
}

/* There and back. */
static void test_text (void **state)
{
    (void) state;
    static const char *const texts[] = {
        "[1,-2,3.25,\"\\u0001\\\"\\\\\",true,null]",
        "{\"b\":1,\"a\":{\"z\":[],\"y\":{}},\"\":\"\"}",
        "\"\xf0\x9f\x98\x80\"",
    };
    for (size_t i = 0; i < COUNT_OF (texts); i++) {
        json_t *value = parsed (texts[i]);
        struct buf out = packed (value), text;
        buf_init (&text, 0);
        mp_json_write (&text, buf_slice (&out));
        assert_true (slice_is (buf_slice (&text), texts[i]));
        buf_fini (&out);
        buf_fini (&text);
        json_decref (value);
    }
}

static void test_no_room (void **state)
{
    (void) state;
    struct buf out;
    msgpack_packer packer;
    json_t *value = parsed ("[\"0123456789\",1]");
    buf_init (&out, 8);
    mp_writer_init (&packer, &out);
    json_mp_put (&packer, value);
    assert_true (out.failed);
    buf_fini (&out);
    json_decref (value);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_bytes), cmocka_unit_test (test_sizes),   cmocka_unit_test (test_depth),
        cmocka_unit_test (test_text),  cmocka_unit_test (test_no_room),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
