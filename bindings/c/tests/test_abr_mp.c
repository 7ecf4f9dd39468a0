/* The bounded reader. */
#include "fixture.h"

static void test_malformed (void **state)
{
    static const struct abr_bytes cases[] = {
        BYTES (""),
        BYTES ("\xc1"),
        BYTES ("\x81"),
        BYTES ("\x81\xa1t"),
        BYTES ("\xa2x"),
        BYTES ("\x80\x80"),
        BYTES ("\xcb\x01"),
        BYTES ("\xdd\xff\xff\xff\xff"),
        BYTES ("\xd4\x01"),
        BYTES ("\xc6\xff\xff\xff\xff"),
        BYTES ("\xdf\xff\xff\xff\xff\xa1x"),
        BYTES ("\xdb\0\0\0\x02x"),
        BYTES ("\xdf\x80\0\0\0\xc0\xc0"),
        BYTES ("\xc9\0\0\0\x02\x01x"),
        BYTES ("\xd9"),
        BYTES ("\xc7\x00"),
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++)
        if (abr_mp_check (cases[i], 0))
            fail_msg ("case %zu was let in", i);
}

static void test_every_cut_is_found (void **state)
{
    /* {"a":[nil,true,-1,1.5,"x",bin,ext,{}]} */
    struct abr_bytes whole = BYTES ("\x81\xa1"
                                    "a\x98\xc0\xc3\xff\xcb\x3f\xf8\0\0\0\0\0\0\xa1x\xc4\x01y\xd4\x05z\x80");
    (void) state;
    assert_true (abr_mp_check (whole, 0));
    for (size_t n = 0; n < whole.n; n++)
        assert_false (abr_mp_check ((struct abr_bytes){whole.p, n}, 0));
}

static void test_depth (void **state)
{
    char nested[70];
    (void) state;
    memset (nested, 0x91, sizeof nested);
    nested[64] = (char) 0xc0;
    assert_true (abr_mp_check ((struct abr_bytes){nested, 65}, 0));
    assert_false (abr_mp_check ((struct abr_bytes){nested, 65}, 1));
    nested[64] = (char) 0x91;
    nested[65] = (char) 0xc0;
    assert_false (abr_mp_check ((struct abr_bytes){nested, 66}, 0));
}

static void test_numbers (void **state)
{
    static const struct {
        struct abr_bytes bytes;
        enum abr_mp_kind kind;
        int64_t value;
    } cases[] = {
        {BYTES ("\x7f"), ABR_MP_UINT, 127},
        {BYTES ("\xe0"), ABR_MP_INT, -32},
        {BYTES ("\xd0\x80"), ABR_MP_INT, -128},
        {BYTES ("\xd1\x7f\xff"), ABR_MP_UINT, 32767},
        {BYTES ("\xd2\x80\0\0\0"), ABR_MP_INT, INT32_MIN},
        {BYTES ("\xd3\x80\0\0\0\0\0\0\0"), ABR_MP_INT, INT64_MIN},
        {BYTES ("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), ABR_MP_UINT, INT64_MAX},
        {BYTES ("\xcd\x01\x02"), ABR_MP_UINT, 258},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct abr_mp_token token;
        size_t pos = 0;
        assert_true (abr_mp_read (cases[i].bytes, &pos, &token));
        assert_int_equal (pos, cases[i].bytes.n);
        assert_int_equal (token.kind, cases[i].kind);
        assert_true (token.v.i == cases[i].value);
    }
}

static void test_get (void **state)
{
    struct abr_bytes map = BYTES ("\x84\xa1k\x01\x01\xa1k\xa1k\xa1x\xa1m\x81\xa1k\x07\xa1"
                                  "f\xca\x3f\xc0\0\0"); /* {k:1, 1:"k", k:"x", m:{k:7}, f:1.5f}, but for its count */
    char bytes[64];
    struct abr_bytes found;
    uint64_t number;
    (void) state;
    memcpy (bytes, map.p, map.n);
    bytes[0] = (char) 0x85;
    map.p = bytes;
    assert_true (abr_mp_check (map, 0));
    expect_str (map, "k", "x"); /* the last one */
    assert_false (abr_mp_get_uint (map, "k", &number));
    assert_null (abr_mp_get (map, "z").p);
    expect_uint (abr_mp_get (map, "m"), "k", 7);
    assert_true (abr_mp_get_number (map, "f") == 1.5);
    assert_false (abr_mp_get_str ((struct abr_bytes){NULL, 0}, "k", &found));
}

static void test_text (void **state)
{
    static const struct abr_bytes bad[] = {BYTES ("\xff"),     BYTES ("\xc0\x80"),         BYTES ("\xed\xa0\x80"),
                                           BYTES ("\xe2\x82"), BYTES ("\xf4\x90\x80\x80"), BYTES ("\x80")};
    char long_name[129];
    (void) state;
    for (size_t i = 0; i < COUNT_OF (bad); i++)
        assert_false (abr_utf8 (bad[i]));
    assert_true (abr_utf8 (BYTES ("h\xc3\xa9\xe4\xbe\x8b\xf0\x9f\x98\x80\n")));
    assert_true (abr_is_user (BYTES ("\xc3\xa5lice")));
    assert_false (abr_is_user (BYTES ("")));
    assert_false (abr_is_user (BYTES ("a\nb")));
    assert_false (abr_is_user (BYTES ("a\0b")));
    assert_false (abr_is_user (BYTES ("a\x7f")));
    assert_false (abr_is_user (BYTES ("a\xc2\x85")));
    memset (long_name, 'u', sizeof long_name);
    assert_true (abr_is_user ((struct abr_bytes){long_name, 128}));
    assert_false (abr_is_user ((struct abr_bytes){long_name, 129}));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_malformed), cmocka_unit_test (test_every_cut_is_found),
        cmocka_unit_test (test_depth),     cmocka_unit_test (test_numbers),
        cmocka_unit_test (test_get),       cmocka_unit_test (test_text),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
