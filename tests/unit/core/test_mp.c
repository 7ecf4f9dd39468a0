/* MessagePack: the bounded walk over hostile bytes, and the writer. */
#include "core/mp.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <msgpack.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

/* A copy with nothing behind it, so that the address sanitizer sees a read beyond the end. */
static struct slice exact_copy (struct slice s)
{
    char *p = malloc (s.n ? s.n : 1);
    assert_non_null (p);
    if (s.n)
        memcpy (p, s.p, s.n);
    return slice_of (p, s.n);
}

static void free_copy (struct slice s)
{
    free ((void *) (uintptr_t) s.p);
}

static uint64_t rnd_state = 0x9e3779b97f4a7c15u;

static uint64_t rnd (void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return rnd_state;
}

/* Scalars and heads, one or more of each format. `number` holds u, i, count or b. */
struct token_case {
    struct slice bytes;
    enum mp_kind kind;
    int64_t number;
    double d;
    struct slice content;
};

static const struct token_case token_cases[] = {
    {B ("\x00"), MP_UINT, 0, 0, B ("")},
    {B ("\x7f"), MP_UINT, 127, 0, B ("")},
    {B ("\x80"), MP_MAP, 0, 0, B ("")},
    {B ("\x81\x01\x02"), MP_MAP, 1, 0, B ("")},
    {B ("\x90"), MP_ARRAY, 0, 0, B ("")},
    {B ("\x92\x01\x02"), MP_ARRAY, 2, 0, B ("")},
    {B ("\xa0"), MP_STR, 0, 0, B ("")},
    {B ("\xa3xyz"), MP_STR, 0, 0, B ("xyz")},
    {B ("\xbf"
        "0123456789012345678901234567890"),
     MP_STR, 0, 0, B ("0123456789012345678901234567890")},
    {B ("\xc0"), MP_NIL, 0, 0, B ("")},
    {B ("\xc2"), MP_BOOL, 0, 0, B ("")},
    {B ("\xc3"), MP_BOOL, 1, 0, B ("")},
    {B ("\xc4\x00"), MP_BIN, 0, 0, B ("")},
    {B ("\xc4\x02\x00\xff"), MP_BIN, 0, 0, B ("\x00\xff")},
    {B ("\xc5\x00\x01z"), MP_BIN, 0, 0, B ("z")},
    {B ("\xc6\x00\x00\x00\x01z"), MP_BIN, 0, 0, B ("z")},
    {B ("\xc7\x02\x05hi"), MP_EXT, 5, 0, B ("hi")},
    {B ("\xc7\x00\xff"), MP_EXT, -1, 0, B ("")},
    {B ("\xc8\x00\x02\x80hi"), MP_EXT, -128, 0, B ("hi")},
    {B ("\xc9\x00\x00\x00\x02\x7fhi"), MP_EXT, 127, 0, B ("hi")},
    {B ("\xca\x3f\xc0\x00\x00"), MP_FLOAT32, 0, 1.5, B ("")},
    {B ("\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"), MP_FLOAT64, 0, 1.5, B ("")},
    {B ("\xcc\xff"), MP_UINT, 255, 0, B ("")},
    {B ("\xcd\xff\xfe"), MP_UINT, 65534, 0, B ("")},
    {B ("\xce\xff\xff\xff\xff"), MP_UINT, 4294967295, 0, B ("")},
    {B ("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), MP_UINT, INT64_MAX, 0, B ("")},
    {B ("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), MP_UINT, -1, 0, B ("")}, /* UINT64_MAX */
    {B ("\xd0\x80"), MP_INT, -128, 0, B ("")},
    {B ("\xd0\x05"), MP_UINT, 5, 0, B ("")},
    {B ("\xd1\x80\x00"), MP_INT, -32768, 0, B ("")},
    {B ("\xd2\x80\x00\x00\x00"), MP_INT, INT32_MIN, 0, B ("")},
    {B ("\xd2\x7f\xff\xff\xff"), MP_UINT, INT32_MAX, 0, B ("")},
    {B ("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), MP_INT, INT64_MIN, 0, B ("")},
    {B ("\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), MP_INT, -1, 0, B ("")},
    {B ("\xd4\x01z"), MP_EXT, 1, 0, B ("z")},
    {B ("\xd5\x01zz"), MP_EXT, 1, 0, B ("zz")},
    {B ("\xd6\xff\x01\x02\x03\x04"), MP_EXT, -1, 0, B ("\x01\x02\x03\x04")},
    {B ("\xd7\x01"
        "12345678"),
     MP_EXT, 1, 0, B ("12345678")},
    {B ("\xd8\x01"
        "1234567890123456"),
     MP_EXT, 1, 0, B ("1234567890123456")},
    {B ("\xd9\x02hi"), MP_STR, 0, 0, B ("hi")},
    {B ("\xda\x00\x02hi"), MP_STR, 0, 0, B ("hi")},
    {B ("\xdb\x00\x00\x00\x02hi"), MP_STR, 0, 0, B ("hi")},
    {B ("\xdc\x00\x01\xc0"), MP_ARRAY, 1, 0, B ("")},
    {B ("\xdd\x00\x00\x00\x01\xc0"), MP_ARRAY, 1, 0, B ("")},
    {B ("\xde\x00\x01\xc0\xc0"), MP_MAP, 1, 0, B ("")},
    {B ("\xdf\x00\x00\x00\x01\xc0\xc0"), MP_MAP, 1, 0, B ("")},
    {B ("\xe0"), MP_INT, -32, 0, B ("")},
    {B ("\xff"), MP_INT, -1, 0, B ("")},
};

static void assert_token (const struct token_case *c, const struct mp_token *token)
{
    assert_int_equal (token->kind, c->kind);
    switch (c->kind) {
    case MP_BOOL:
        assert_int_equal (token->b, c->number);
        break;
    case MP_UINT:
        assert_true (token->u == (uint64_t) c->number);
        break;
    case MP_INT:
        assert_true (token->i == c->number);
        break;
    case MP_FLOAT32:
    case MP_FLOAT64:
        assert_true (token->d == c->d);
        break;
    case MP_EXT:
        assert_int_equal (token->ext_type, c->number);
        assert_true (slice_eq (token->bytes, c->content));
        break;
    case MP_STR:
    case MP_BIN:
        assert_true (slice_eq (token->bytes, c->content));
        break;
    case MP_ARRAY:
    case MP_MAP:
        assert_int_equal (token->count, c->number);
        break;
    case MP_NIL:
        break;
    }
}

static size_t head_size (const struct token_case *c)
{
    size_t items = c->kind == MP_MAP ? (size_t) c->number * 2 : (size_t) c->number;
    return c->bytes.n - (c->kind == MP_MAP || c->kind == MP_ARRAY ? items : 0);
}

static void test_every_format (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (token_cases); i++) {
        const struct token_case *c = &token_cases[i];
        struct mp_token token;
        size_t pos = 0;
        assert_int_equal (mp_read (c->bytes, &pos, &token), MP_OK);
        assert_int_equal (pos, head_size (c));
        assert_token (c, &token);
        assert_int_equal (mp_check (c->bytes), MP_OK);
        pos = 0;
        assert_int_equal (mp_skip (c->bytes, &pos), MP_OK);
        assert_int_equal (pos, c->bytes.n);
    }
}

static void test_every_first_byte_is_covered (void **state)
{
    (void) state;
    for (unsigned first = 0; first < 256; first++) {
        char bytes[64] = {(char) first};
        struct mp_token token;
        size_t pos = 0;
        enum mp_status status = mp_read (slice_of (bytes, sizeof bytes), &pos, &token);
        assert_int_equal (status, first == 0xc1 ? MP_MALFORMED : MP_OK);
        assert_true (first == 0xc1 ? pos == 0 : pos > 0);
    }
}

static void test_truncated (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (token_cases); i++)
        for (size_t n = 0; n < token_cases[i].bytes.n; n++) {
            struct slice cut = exact_copy (slice_of (token_cases[i].bytes.p, n));
            size_t pos = 0;
            assert_int_equal (mp_check (cut), MP_MALFORMED);
            assert_int_equal (mp_skip (cut, &pos), MP_MALFORMED);
            assert_int_equal (pos, 0);
            free_copy (cut);
        }
}

/* Short strings of every length, in the middle and at the end, and one byte short. */
static void test_every_short_string (void **state)
{
    (void) state;
    for (size_t n = 0; n < 32; n++)
        for (size_t before = 0; before < 3; before++) {
            char bytes[40];
            struct mp_token token;
            size_t pos = before;
            memset (bytes, 'x', sizeof bytes);
            bytes[before] = (char) (0xa0 | n);
            struct slice whole = exact_copy (slice_of (bytes, before + 1 + n));
            assert_int_equal (mp_read (whole, &pos, &token), MP_OK);
            assert_int_equal (pos, before + 1 + n);
            assert_int_equal (token.kind, MP_STR);
            assert_ptr_equal (token.bytes.p, whole.p + before + 1);
            assert_int_equal (token.bytes.n, n);
            struct slice cut = exact_copy (slice_of (bytes, before + n));
            pos = before;
            assert_int_equal (mp_read (cut, &pos, &token), MP_MALFORMED);
            assert_int_equal (pos, before);
            free_copy (whole);
            free_copy (cut);
        }
}

static void test_big_endian (void **state)
{
    static const char bytes[] = "\x81\x92\xa3\xb4\xc5\xd6\xe7\xf8";
    (void) state;
    assert_true (mp_big_endian (bytes, 1) == 0x81);
    assert_true (mp_big_endian (bytes, 2) == 0x8192);
    assert_true (mp_big_endian (bytes, 4) == 0x8192a3b4);
    assert_true (mp_big_endian (bytes, 8) == UINT64_C (0x8192a3b4c5d6e7f8));
    assert_true (mp_big_endian (bytes + 1, 4) == 0x92a3b4c5);
}

/* The head comes back, the position is behind everything. */
static void test_read_whole (void **state)
{
    static const struct slice map = B ("\x81\x01\x92\xa1x\x80"), bad = B ("\x92\x01\xc1");
    struct mp_token token;
    size_t pos = 0;
    (void) state;
    assert_int_equal (mp_read_whole (map, &pos, 0, &token), MP_OK);
    assert_int_equal (token.kind, MP_MAP);
    assert_int_equal (token.count, 1);
    assert_int_equal (pos, map.n);
    pos = 1;
    assert_int_equal (mp_read_whole (map, &pos, 0, &token), MP_OK);
    assert_int_equal (token.kind, MP_UINT);
    assert_int_equal (pos, 2);
    assert_int_equal (mp_read_whole (map, &pos, MP_MAX_DEPTH - 2, &token), MP_OK);
    assert_int_equal (pos, map.n);
    pos = 2;
    assert_int_equal (mp_read_whole (map, &pos, MP_MAX_DEPTH - 1, &token), MP_TOO_DEEP);
    assert_int_equal (pos, 2);
    pos = 0;
    assert_int_equal (mp_read_whole (bad, &pos, 0, &token), MP_MALFORMED);
    assert_int_equal (pos, 0);
}

static void test_trailing_bytes (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (token_cases); i++) {
        char bytes[64] = {0};
        struct slice value = token_cases[i].bytes;
        memcpy (bytes, value.p, value.n);
        assert_int_equal (mp_check (slice_of (bytes, value.n + 1)), MP_MALFORMED);
    }
}

static void test_position_beyond_the_end (void **state)
{
    (void) state;
    struct mp_token token;
    size_t pos = 2;
    assert_int_equal (mp_read (slice_of ("\xc0", 1), &pos, &token), MP_MALFORMED);
    assert_int_equal (mp_skip (slice_of ("\xc0", 1), &pos), MP_MALFORMED);
    assert_int_equal (pos, 2);
    assert_int_equal (mp_check (slice_of (NULL, 0)), MP_MALFORMED);
}

static void test_hostile_counts (void **state)
{
    static const struct slice cases[] = {
        B ("\xdd\xff\xff\xff\xff\xc0\xc0"),
        B ("\xdf\xff\xff\xff\xff\xc0\xc0"),
        B ("\xdb\xff\xff\xff\xff\xc0\xc0"),
        B ("\xc6\xff\xff\xff\xff\xc0\xc0"),
        B ("\xc9\xff\xff\xff\xff\x01\xc0"),
        B ("\xdf\x80\x00\x00\x00\xc0\xc0"),
        B ("\xdf\x80\x00\x00\x01\xc0\xc0"),
        B ("\xdc\xff\xff\xc0"),
        B ("\xde\x00\x02\xc0\xc0\xc0"),
        B ("\x82\xc0\xc0\xc0"),
        B ("\x93\xc0\xc0"),
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct slice copy = exact_copy (cases[i]);
        struct mp_token token;
        size_t pos = 0;
        assert_int_equal (mp_read (copy, &pos, &token), MP_MALFORMED);
        assert_int_equal (pos, 0);
        assert_int_equal (mp_check (copy), MP_MALFORMED);
        free_copy (copy);
    }
}

static void test_depth (void **state)
{
    char arrays[66], maps[132];
    size_t pos = 0;
    (void) state;
    memset (arrays, '\x91', sizeof arrays);
    arrays[65] = '\xc0';
    assert_int_equal (mp_check (slice_of (arrays + 1, 65)), MP_OK); /* 64 arrays and the nil */
    assert_int_equal (mp_check (slice_of (arrays, 66)), MP_TOO_DEEP);
    assert_int_equal (mp_skip_inside (slice_of (arrays + 2, 64), &pos, 1), MP_OK);
    pos = 0;
    assert_int_equal (mp_skip_inside (slice_of (arrays + 1, 65), &pos, 1), MP_TOO_DEEP);
    assert_int_equal (pos, 0);
    for (size_t i = 0; i < sizeof maps; i += 2)
        memcpy (maps + i, "\x81\xc0", 2);
    maps[130] = '\xc0'; /* 65 maps, then nil */
    assert_int_equal (mp_check (slice_of (maps + 2, 129)), MP_OK);
    assert_int_equal (mp_check (slice_of (maps, 131)), MP_TOO_DEEP);
    arrays[64] = '\x90'; /* an empty one counts too */
    assert_int_equal (mp_check (slice_of (arrays, 65)), MP_TOO_DEEP);
    assert_int_equal (mp_check (slice_of (arrays + 1, 64)), MP_OK);
}

static void test_depth_does_not_add_up_over_neighbours (void **state)
{
    char bytes[3 + 200];
    (void) state;
    memcpy (bytes, "\xdc\x00\xc8", 3);
    memset (bytes + 3, '\x90', 200);
    assert_int_equal (mp_check (slice_of (bytes, sizeof bytes)), MP_OK);
}

static void test_map_get (void **state)
{
    static const struct slice map = B ("\x86\xa1"
                                       "a\x01\xa1n\x92\x01\x81\xa1"
                                       "a\x07\xa1s\xa2hi\xc4\x01s\x05\xa1"
                                       "a\x02\xa1m\xff");
    struct mp_token token;
    struct slice text;
    uint64_t number;
    (void) state;
    assert_int_equal (mp_check (map), MP_OK);
    assert_true (mp_map_get_uint (map, "a", &number));
    assert_int_equal (number, 2); /* the last one counts */
    assert_true (mp_map_get (map, "n", &token));
    assert_int_equal (token.kind, MP_ARRAY);
    assert_int_equal (token.count, 2);
    assert_true (mp_map_get_str (map, "s", &text)); /* and not the bin key */
    assert_true (slice_is (text, "hi"));
    assert_false (mp_map_get (map, "z", &token));
    assert_false (mp_map_get (map, "", &token));
    assert_false (mp_map_get_uint (map, "s", &number));
    assert_false (mp_map_get_uint (map, "m", &number)); /* negative */
    assert_false (mp_map_get_str (map, "a", &text));
    assert_false (mp_map_get (slice_of ("\x92\xa1k\x01", 4), "k", &token));
    assert_false (mp_map_get (slice_of ("\x81\xa1k", 3), "k", &token));
    assert_false (mp_map_get (slice_of (NULL, 0), "k", &token));
}

/* What the writer makes of numbers at the limits of all widths: shortest form, same number back. */
static void test_write_ints (void **state)
{
    static const struct {
        int64_t value;
        size_t size;
    } cases[] = {
        {0, 1},
        {127, 1},
        {128, 2},
        {255, 2},
        {256, 3},
        {65535, 3},
        {65536, 5},
        {4294967295, 5},
        {4294967296, 9},
        {INT64_MAX, 9},
        {-1, 1},
        {-32, 1},
        {-33, 2},
        {-128, 2},
        {-129, 3},
        {-32768, 3},
        {-32769, 5},
        {INT32_MIN, 5},
        {INT32_MIN - 1LL, 9},
        {INT64_MIN, 9},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct buf out;
        msgpack_packer packer;
        struct mp_token token;
        size_t pos = 0;
        buf_init (&out, 0);
        mp_writer_init (&packer, &out);
        mp_put_int (&packer, cases[i].value);
        assert_int_equal (out.n, cases[i].size);
        assert_int_equal (mp_read (buf_slice (&out), &pos, &token), MP_OK);
        assert_int_equal (token.kind, cases[i].value < 0 ? MP_INT : MP_UINT);
        assert_true (token.i == cases[i].value);
        buf_fini (&out);
    }
}

static void test_write_all (void **state)
{
    static const char expected[] =
        "\x88\x01\xa2hi\x02\xa2yo\x03\xc4\x02\x00\xff\x04\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
        "\x05\xd0\x80\x06\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\x07\x92\xc3\xc2\x08\xc0";
    struct buf out;
    msgpack_packer packer;
    (void) state;
    buf_init (&out, 0);
    mp_writer_init (&packer, &out);
    mp_put_map (&packer, 8);
    mp_put_uint (&packer, 1);
    mp_put_str (&packer, slice_of ("hi!", 2));
    mp_put_uint (&packer, 2);
    mp_put_cstr (&packer, "yo");
    mp_put_uint (&packer, 3);
    mp_put_bin (&packer, slice_of ("\x00\xff", 2));
    mp_put_uint (&packer, 4);
    mp_put_uint (&packer, UINT64_MAX);
    mp_put_uint (&packer, 5);
    mp_put_int (&packer, -128);
    mp_put_uint (&packer, 6);
    mp_put_double (&packer, 1.5);
    mp_put_uint (&packer, 7);
    mp_put_array (&packer, 2);
    mp_put_bool (&packer, true);
    mp_put_bool (&packer, false);
    mp_put_uint (&packer, 8);
    mp_put_nil (&packer);
    assert_false (out.failed);
    assert_int_equal (out.n, sizeof expected - 1);
    assert_memory_equal (out.p, expected, out.n);
    assert_int_equal (mp_check (buf_slice (&out)), MP_OK);
    buf_fini (&out);
}

static void test_write_empty_and_large (void **state)
{
    struct buf out;
    msgpack_packer packer;
    struct mp_token token;
    size_t pos = 2, n = 1 << 20;
    char *large = calloc (1, n);
    (void) state;
    assert_non_null (large);
    buf_init (&out, 0);
    mp_writer_init (&packer, &out);
    mp_put_str (&packer, slice_of (NULL, 0));
    mp_put_bin (&packer, slice_of (NULL, 0));
    assert_int_equal (out.n, 3);
    assert_memory_equal (out.p, "\xa0\xc4\x00", 3);
    buf_reset (&out);
    mp_put_array (&packer, 1);
    mp_put_str (&packer, slice_of (large, n));
    assert_int_equal (mp_check (buf_slice (&out)), MP_OK);
    pos = 1;
    assert_int_equal (mp_read (buf_slice (&out), &pos, &token), MP_OK);
    assert_int_equal (token.bytes.n, n);
    buf_fini (&out);
    free (large);
}

static void test_write_failures_stick (void **state)
{
    struct buf out;
    msgpack_packer packer;
    (void) state;
    buf_init (&out, 8);
    mp_writer_init (&packer, &out);
    mp_put_cstr (&packer, "0123456789");
    assert_true (out.failed);
    mp_put_nil (&packer);
    assert_true (out.failed);
    buf_fini (&out);
    buf_init (&out, 0);
    mp_writer_init (&packer, &out);
    mp_put_str (&packer, slice_of ("x", (size_t) UINT32_MAX + 1)); /* a length that 32 bit cannot hold */
    assert_true (out.failed);
    assert_int_equal (out.n, 0);
    buf_fini (&out);
}

/* Random bytes never make it read beyond the end, and what it accepts msgpack-c accepts. */
static void test_random (void **state)
{
    size_t accepted = 0;
    (void) state;
    for (int round = 0; round < 200000; round++) {
        char bytes[24];
        size_t n = 1 + rnd () % (rnd () % sizeof bytes + 1);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char) (rnd () % 3 ? 0x80 + rnd () % 0x24 : rnd ());
        struct slice copy = exact_copy (slice_of (bytes, n));
        if (mp_check (copy) == MP_OK) {
            msgpack_unpacked unpacked;
            size_t off = 0;
            accepted++;
            msgpack_unpacked_init (&unpacked);
            assert_int_equal (msgpack_unpack_next (&unpacked, copy.p, copy.n, &off), MSGPACK_UNPACK_SUCCESS);
            assert_int_equal (off, n);
            msgpack_unpacked_destroy (&unpacked);
        }
        free_copy (copy);
    }
    assert_true (accepted > 10000);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_every_format),
        cmocka_unit_test (test_every_first_byte_is_covered),
        cmocka_unit_test (test_truncated),
        cmocka_unit_test (test_every_short_string),
        cmocka_unit_test (test_big_endian),
        cmocka_unit_test (test_read_whole),
        cmocka_unit_test (test_trailing_bytes),
        cmocka_unit_test (test_position_beyond_the_end),
        cmocka_unit_test (test_hostile_counts),
        cmocka_unit_test (test_depth),
        cmocka_unit_test (test_depth_does_not_add_up_over_neighbours),
        cmocka_unit_test (test_map_get),
        cmocka_unit_test (test_write_ints),
        cmocka_unit_test (test_write_all),
        cmocka_unit_test (test_write_empty_and_large),
        cmocka_unit_test (test_write_failures_stick),
        cmocka_unit_test (test_random),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
