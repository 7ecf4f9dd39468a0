/* MessagePack to JSON: the exact text of every conversion rule, and that it is always JSON. */
#include "core/mp_json.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }
#define S(literal) ((struct slice) B (literal))
#define BAD        "\xEF\xBF\xBD" /* U+FFFD */

static uint64_t rnd_state = 0x9e3779b97f4a7c15u;

static uint64_t rnd (void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return rnd_state;
}

static void assert_text (const struct buf *out, struct slice expected)
{
    assert_false (out->failed);
    if (!slice_eq (buf_slice (out), expected))
        fail_msg ("got %.*s, not %.*s", (int) out->n, (char *) out->p, (int) expected.n, expected.p);
}

static void assert_json (struct slice value, struct slice expected)
{
    struct buf out;
    buf_init (&out, 0);
    assert_int_equal (mp_check (value), MP_OK);
    mp_json_write (&out, value);
    assert_text (&out, expected);
    buf_fini (&out);
}

struct pair {
    struct slice in, out;
};

static void assert_pairs (const struct pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_json (pairs[i].in, pairs[i].out);
}

static void test_scalars (void **state)
{
    static const struct pair pairs[] = {
        {B ("\xc0"), B ("null")},
        {B ("\xc2"), B ("false")},
        {B ("\xc3"), B ("true")},
        {B ("\x00"), B ("0")},
        {B ("\x7f"), B ("127")},
        {B ("\xcc\xff"), B ("255")},
        {B ("\xcd\xff\xff"), B ("65535")},
        {B ("\xce\xff\xff\xff\xff"), B ("4294967295")},
        {B ("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), B ("18446744073709551615")},
        {B ("\xcf\x00\x20\x00\x00\x00\x00\x00\x01"), B ("9007199254740993")},
        {B ("\xff"), B ("-1")},
        {B ("\xe0"), B ("-32")},
        {B ("\xd0\x80"), B ("-128")},
        {B ("\xd1\x80\x00"), B ("-32768")},
        {B ("\xd2\x80\x00\x00\x00"), B ("-2147483648")},
        {B ("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff"), B ("9223372036854775807")},
        {B ("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), B ("-9223372036854775808")},
        {B ("\xa0"), B ("\"\"")},
        {B ("\xc4\x00"), B ("\"\"")},
        {B ("\xc4\x01"
            "f"),
         B ("\"Zg==\"")},
        {B ("\xc4\x02"
            "fo"),
         B ("\"Zm8=\"")},
        {B ("\xc4\x03"
            "foo"),
         B ("\"Zm9v\"")},
        {B ("\xc5\x00\x06"
            "foobar"),
         B ("\"Zm9vYmFy\"")},
        {B ("\xc6\x00\x00\x00\x03\xfb\xff\xbf"), B ("\"+/+/\"")},
        {B ("\xd4\x05\xff"), B ("{\"_ext\":5,\"data\":\"/w==\"}")},
        {B ("\xd5\x80\x00\x00"), B ("{\"_ext\":-128,\"data\":\"AAA=\"}")},
        {B ("\xc7\x00\x7f"), B ("{\"_ext\":127,\"data\":\"\"}")},
        {B ("\xca\x3d\xcc\xcc\xcd"), B ("0.10000000149011612")}, /* float32 0.1 */
        {B ("\xca\x3f\x00\x00\x00"), B ("0.5")},
        {B ("\xca\x7f\x80\x00\x00"), B ("null")},
        {B ("\xca\xff\xc0\x00\x00"), B ("null")},
    };
    (void) state;
    assert_pairs (pairs, COUNT_OF (pairs));
}

static void test_containers (void **state)
{
    static const struct pair pairs[] = {
        {B ("\x90"), B ("[]")},
        {B ("\x80"), B ("{}")},
        {B ("\x93\x01\x90\x80"), B ("[1,[],{}]")},
        {B ("\x82\xa1"
            "a\x91\xc0\xa1"
            "b\x81\xa1"
            "c\x02"),
         B ("{\"a\":[null],\"b\":{\"c\":2}}")},
        {B ("\xdc\x00\x02\x01\x02"), B ("[1,2]")},
        {B ("\xdd\x00\x00\x00\x01\x01"), B ("[1]")},
        {B ("\xde\x00\x01\xa0\x01"), B ("{\"\":1}")},
        {B ("\xdf\x00\x00\x00\x01\xa1k\x01"), B ("{\"k\":1}")},
    };
    (void) state;
    assert_pairs (pairs, COUNT_OF (pairs));
}

static void test_keys (void **state)
{
    static const struct pair pairs[] = {
        {B ("\x81\x05\x01"), B ("{\"5\":1}")},
        {B ("\x81\xff\x01"), B ("{\"-1\":1}")},
        {B ("\x81\xc0\x01"), B ("{\"null\":1}")},
        {B ("\x81\xc3\x01"), B ("{\"true\":1}")},
        {B ("\x81\xc2\x01"), B ("{\"false\":1}")},
        {B ("\x81\xca\x3f\x80\x00\x00\x01"), B ("{\"1.0\":1}")},
        {B ("\x81\xca\x7f\xc0\x00\x00\x01"), B ("{\"null\":1}")},
        {B ("\x81\xc4\x03"
            "foo\x01"),
         B ("{\"Zm9v\":1}")},
        {B ("\x81\x92\x01\xa1"
            "a\x01"),
         B ("{\"[1,\\\"a\\\"]\":1}")},
        {B ("\x81\x90\x01"), B ("{\"[]\":1}")},
        {B ("\x81\x81\xa1k\xa1\"\x01"), B ("{\"{\\\"k\\\":\\\"\\\\\\\"\\\"}\":1}")},
        {B ("\x81\xd4\x05\xff\x01"), B ("{\"{\\\"_ext\\\":5,\\\"data\\\":\\\"/w==\\\"}\":1}")},
        {B ("\x81\xd6\xff\x00\x00\x00\x00\x01"), B ("{\"1970-01-01T00:00:00Z\":1}")},
        {B ("\x82\xa1\n\x01\xa1\xff\x02"), B ("{\"\\n\":1,\"" BAD "\":2}")},
        {B ("\x81\x81\x05\x06\x07"), B ("{\"{\\\"5\\\":6}\":7}")},
    };
    (void) state;
    assert_pairs (pairs, COUNT_OF (pairs));
}

/* Quotes within quotes would double with each of 64 levels. */
static void test_keys_in_keys_stay_small (void **state)
{
    struct buf out;
    char bytes[129];
    (void) state;
    memset (bytes, '\x81', 64);
    memset (bytes + 64, '\x01', 65);
    buf_init (&out, 0);
    assert_int_equal (mp_check (slice_of (bytes, sizeof bytes)), MP_OK);
    mp_json_write (&out, slice_of (bytes, sizeof bytes));
    assert_false (out.failed);
    assert_in_range (out.n, 100, 1000);
    json_t *json = json_loadb ((char *) out.p, out.n, 0, NULL);
    assert_int_equal (json_object_size (json), 1);
    json_decref (json);
    buf_fini (&out);
    assert_json (S ("\x81\x81\x81\x81\x81\x80\x01\x02\x03\x04\x05"),
                 S ("{\"{\\\"{\\\\\\\"{\\\\\\\\\\\\\\\"{\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"gA=="
                    "\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\":1}"
                    "\\\\\\\\\\\\\\\":2}\\\\\\\":3}\\\":4}\":5}"));
}

static void assert_string (struct slice text, struct slice expected)
{
    struct buf out;
    buf_init (&out, 0);
    json_write_string (&out, text);
    assert_text (&out, expected);
    buf_fini (&out);
}

static void test_strings (void **state)
{
    static const struct pair pairs[] = {
        {B ("plain"), B ("\"plain\"")},
        {B ("\"\\/"), B ("\"\\\"\\\\/\"")},
        {B ("\b\f\n\r\t"), B ("\"\\b\\f\\n\\r\\t\"")},
        {B ("\x00\x01\x1f\x7f"), B ("\"\\u0000\\u0001\\u001f\x7f\"")},
        {B ("0123456\x0b"
            "89abcdef\x1e"),
         B ("\"0123456\\u000b89abcdef\\u001e\"")},
        {B ("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\xa8\xe2\x80\xa9"),
         B ("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\xa8\xe2\x80\xa9\"")},
        {B ("12345678\xc3\xa9"
            "abcdefgh\"x"),
         B ("\"12345678\xc3\xa9"
            "abcdefgh\\\"x\"")},
        /* The Unicode Standard, tables 3-8 to 3-11: one U+FFFD for each maximal subpart. */
        {B ("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), B ("\"" BAD BAD BAD BAD BAD BAD BAD BAD "A\"")},
        {B ("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), B ("\"" BAD BAD BAD BAD BAD BAD BAD BAD "A\"")},
        {B ("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), B ("\"" BAD BAD BAD BAD BAD "A" BAD BAD "B\"")},
        {B ("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), B ("\"" BAD BAD BAD BAD "A\"")},
        {B ("\xe2\x82"), B ("\"" BAD "\"")},
        {B ("\xf0\x9f\x98"), B ("\"" BAD "\"")},
        {B ("\xf0\x9f\x98\""), B ("\"" BAD "\\\"\"")},
        {B ("\xc3"), B ("\"" BAD "\"")},
        {B ("\xc3\n"), B ("\"" BAD "\\n\"")},
        {B ("\xf5\x80\x80\x80"), B ("\"" BAD BAD BAD BAD "\"")},
        {B ("a\xff"
            "b"),
         B ("\"a" BAD "b\"")},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (pairs); i++)
        assert_string (pairs[i].in, pairs[i].out);
    assert_string (slice_of (NULL, 0), S ("\"\""));
}

/* Every byte at every place of the eight that the fast path takes at once. */
static void test_every_byte_at_every_place (void **state)
{
    (void) state;
    for (size_t place = 0; place < 16; place++)
        for (unsigned byte = 0; byte < 0x80; byte++) {
            char text[16], expected[40], escape[8];
            memset (text, 'x', sizeof text);
            text[place] = (char) byte;
            static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";
            const char *found = NULL;
            for (const char *p = letters; *p; p += 2)
                if (*p == (char) byte)
                    found = p + 1;
            if (found)
                snprintf (escape, sizeof escape, "\\%c", *found);
            else
                snprintf (escape, sizeof escape, byte < 0x20 ? "\\u%04x" : "%c", byte);
            snprintf (expected, sizeof expected, "\"%.*s%s%.*s\"", (int) place, "xxxxxxxxxxxxxxx", escape,
                      15 - (int) place, "xxxxxxxxxxxxxxx");
            assert_string (slice_of (text, sizeof text), slice_str (expected));
        }
}

/* Numbers at every change of their number of digits, as values, as keys and as the offset. */
static void test_digits (void **state)
{
    uint64_t limit = 1;
    (void) state;
    for (int digits = 0; digits < 20; digits++, limit *= 10)
        for (int less = 0; less < 2; less++) {
            uint64_t value = limit - (uint64_t) less;
            char in[] = "\x81\xcf.......1\xcf.......2", expected[80];
            struct buf out;
            for (int i = 0; i < 8; i++)
                in[2 + i] = in[11 + i] = (char) (value >> (56 - 8 * i));
            snprintf (expected, sizeof expected, value ? "{\"%ju\":%ju,\"_offset\":%ju}" : "{\"%ju\":%ju}",
                      (uintmax_t) value, (uintmax_t) value, (uintmax_t) value);
            buf_init (&out, 0);
            mp_json_write_event (&out, slice_of (in, sizeof in - 1), value);
            assert_text (&out, slice_str (expected));
            buf_fini (&out);
        }
}

static void test_large_string (void **state)
{
    size_t n = 1 << 20;
    char *text = malloc (n), *expected = malloc (6 * n + 2);
    (void) state;
    assert_non_null (text);
    assert_non_null (expected);
    memset (text, 'x', n);
    expected[0] = '"';
    memset (expected + 1, 'x', n);
    expected[n + 1] = '"';
    assert_string (slice_of (text, n), slice_of (expected, n + 2));
    memset (text, 1, n);
    for (size_t i = 0; i < n; i++)
        memcpy (expected + 1 + 6 * i, "\\u0001", 6);
    expected[6 * n + 1] = '"';
    assert_string (slice_of (text, n), slice_of (expected, 6 * n + 2));
    free (text);
    free (expected);
}

/* Base64 of more than one chunk. */
static void test_large_bin (void **state)
{
    struct buf in, out;
    msgpack_packer packer;
    char *zeros = calloc (1, 1000);
    (void) state;
    assert_non_null (zeros);
    buf_init (&in, 0);
    buf_init (&out, 0);
    mp_writer_init (&packer, &in);
    mp_put_bin (&packer, slice_of (zeros, 1000));
    mp_json_write (&out, buf_slice (&in));
    assert_int_equal (out.n, 1336 + 2);
    for (size_t i = 1; i < 1335; i++)
        assert_int_equal (out.p[i], 'A');
    assert_memory_equal (out.p + 1335, "==\"", 3);
    buf_fini (&in);
    buf_fini (&out);
    free (zeros);
}

/* The text of a double in `text` (40 bytes). */
static void double_text (double value, char *text)
{
    struct buf in, out;
    msgpack_packer packer;
    buf_init (&in, 0);
    buf_init (&out, 0);
    mp_writer_init (&packer, &in);
    mp_put_double (&packer, value);
    mp_json_write (&out, buf_slice (&in));
    assert_false (out.failed);
    assert_in_range (out.n, 1, 39);
    memcpy (text, out.p, out.n);
    text[out.n] = '\0';
    buf_fini (&in);
    buf_fini (&out);
}

static void test_doubles (void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.0, "-1.0"},
        {0.1, "0.1"},
        {-0.1, "-0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {1.5, "1.5"},
        {100.25, "100.25"},
        {0.000001, "1e-06"},
        {0.0001, "0.0001"},
        {0.00012, "0.00012"},
        {0.000123, "0.000123"},
        {1.000001, "1.000001"},
        {1700000000.123456, "1700000000.123456"},
        {1700000000.5, "1700000000.5"},
        {4294967295.999999, "4294967295.999999"},
        {4294967296.5, "4294967296.5"},
        {999999999999999.0, "999999999999999.0"},
        {-999999999999999.0, "-999999999999999.0"},
        {1e15, "1e+15"},
        {1e16, "1e+16"},
        {1e21, "1e+21"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {9007199254740993.0, "9007199254740992.0"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {5e-324, "5e-324"},
        {1e-323, "1e-323"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {-DBL_MAX, "-1.7976931348623157e+308"},
        {M_PI, "3.141592653589793"},
        {(double) NAN, "null"},
        {(double) INFINITY, "null"},
        {-(double) INFINITY, "null"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        char text[40];
        double_text (cases[i].value, text);
        assert_string_equal (text, cases[i].text);
    }
}

static int significant_digits (const char *text)
{
    int digits = 0, zeros = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (*text == '0' && digits == 0))
            continue;
        digits++;
        zeros = *text == '0' ? zeros + 1 : 0;
    }
    return digits - zeros;
}

/* Reads back exactly, and one digit less would not. */
static void assert_shortest (double value)
{
    char text[40], shorter[400];
    double_text (value, text);
    double back = strtod (text, NULL);
    if (memcmp (&back, &value, sizeof value) != 0)
        fail_msg ("%a became %s", value, text);
    assert_non_null (strpbrk (text, ".e"));
    int digits = significant_digits (text);
    snprintf (shorter, sizeof shorter, "%.*g", digits > 1 ? digits - 1 : 1, value);
    if (digits > 1 && strtod (shorter, NULL) == value)
        fail_msg ("%s is longer than %s", text, shorter);
}

static void test_random_doubles (void **state)
{
    (void) state;
    for (int round = 0; round < 60000; round++) {
        double any;
        uint64_t bits = rnd ();
        memcpy (&any, &bits, sizeof any);
        if (isfinite (any))
            assert_shortest (any);
        assert_shortest ((double) (rnd () % 4400000000000000) / 1e6);
        assert_shortest ((double) (rnd () % 1000000000) / 1e7);
        assert_shortest ((double) (rnd () >> 32) + (double) (rnd () >> 11) * 0x1p-53);
        assert_shortest ((double) (int64_t) rnd ());
    }
}

static void test_timestamps (void **state)
{
    static const struct pair pairs[] = {
        {B ("\xd6\xff\x00\x00\x00\x00"), B ("\"1970-01-01T00:00:00Z\"")},
        {B ("\xd6\xff\xff\xff\xff\xff"), B ("\"2106-02-07T06:28:15Z\"")},
        {B ("\xc7\x04\xff\x65\x92\x00\x80"), B ("\"2024-01-01T00:00:00Z\"")},
        {B ("\xd6\xff\x65\xdf\xc9\x00"), B ("\"2024-02-29T00:00:00Z\"")},
        /* 64 bit: nanoseconds << 34 | seconds */
        {B ("\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x00"), B ("\"1970-01-01T00:00:00Z\"")},
        {B ("\xd7\xff\x00\x00\x00\x04\x00\x00\x00\x01"), B ("\"1970-01-01T00:00:01.000000001Z\"")},
        {B ("\xd7\xff\x00\x00\x0f\xa0\x00\x00\x00\x01"), B ("\"1970-01-01T00:00:01.000001Z\"")},
        {B ("\xd7\xff\x77\x35\x94\x00\x00\x00\x00\x01"), B ("\"1970-01-01T00:00:01.500Z\"")},
        {B ("\xd7\xff\xee\x6b\x27\xff\xff\xff\xff\xff"), B ("\"2514-05-30T01:53:03.999999999Z\"")},
        {B ("\xd7\xff\xee\x6b\x27\xfc\x00\x00\x00\x00"), B ("\"1970-01-01T00:00:00.999999999Z\"")},
        {B ("\xd7\xff\xee\x6b\x28\x00\x00\x00\x00\x00"), B ("{\"_ext\":-1,\"data\":\"7msoAAAAAAA=\"}")},
        {B ("\xd7\xff\x00\x00\x00\x03\xff\xff\xff\xff"), B ("\"2514-05-30T01:53:03Z\"")},
        {B ("\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff"), B ("{\"_ext\":-1,\"data\":\"//////////8=\"}")},
        /* 96 bit: 32 of nanoseconds, 64 of signed seconds */
        {B ("\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"), B ("\"1969-12-31T23:59:59Z\"")},
        {B ("\xc7\x0c\xff\x3b\x9a\xc9\xff\xff\xff\xff\xff\xff\xff\xff\xff"), B ("\"1969-12-31T23:59:59.999999999Z\"")},
        {B ("\xc7\x0c\xff\x00\x0f\x42\x40\xff\xff\xff\xff\xff\xff\xff\xff"), B ("\"1969-12-31T23:59:59.001Z\"")},
        {B ("\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xf1\x88\x6e\x09\x00"), B ("\"0001-01-01T00:00:00Z\"")},
        {B ("\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x7f"), B ("\"9999-12-31T23:59:59Z\"")},
        {B ("\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xf1\x88\x6e\x08\xff"),
         B ("{\"_ext\":-1,\"data\":\"AAAAAP////GIbgj/\"}")},
        {B ("\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x80"),
         B ("{\"_ext\":-1,\"data\":\"AAAAAAAAADr/9EGA\"}")},
        {B ("\xc7\x0c\xff\x3b\x9a\xca\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
         B ("{\"_ext\":-1,\"data\":\"O5rKAAAAAAAAAAAA\"}")},
        {B ("\xc7\x00\xff"), B ("{\"_ext\":-1,\"data\":\"\"}")},
        {B ("\xd5\xff\x00\x00"), B ("{\"_ext\":-1,\"data\":\"AAA=\"}")},
    };
    (void) state;
    assert_pairs (pairs, COUNT_OF (pairs));
}

static void test_events (void **state)
{
    static const struct {
        struct slice event;
        uint64_t offset;
        struct slice json, msgpack;
    } cases[] = {
        {B ("\x80"), 0, B ("{}"), B ("\x80")},
        {B ("\x80"), 7, B ("{\"_offset\":7}"), B ("\x81\xa7_offset\x07")},
        {B ("\x81\xa4type\xa1x"), 0, B ("{\"type\":\"x\"}"), B ("\x81\xa4type\xa1x")},
        {B ("\x81\xa4type\xa1x"), 300, B ("{\"type\":\"x\",\"_offset\":300}"),
         B ("\x82\xa4type\xa1x\xa7_offset\xcd\x01\x2c")},
        /* reserved keys go, with all of their values; the same keys further in stay */
        {B ("\x84\xa7_offset\x05\xa4type\xa1x\xa2_m\x81\xa1k\x92\x01\x02\xa1"
            "d\x81\xa2_n\x01"),
         9, B ("{\"type\":\"x\",\"d\":{\"_n\":1},\"_offset\":9}"),
         B ("\x83\xa4type\xa1x\xa1"
            "d\x81\xa2_n\x01\xa7_offset\x09")},
        {B ("\x81\xa1_\xc0"), 0, B ("{}"), B ("\x80")},
        {B ("\x81\xa1_\xc0"), 1, B ("{\"_offset\":1}"), B ("\x81\xa7_offset\x01")},
        /* only strings are reserved; wide heads become narrow */
        {B ("\xde\x00\x02\xc4\x01_\x01\x05\xc0"), 0, B ("{\"Xw==\":1,\"5\":null}"), B ("\x82\xc4\x01_\x01\x05\xc0")},
        /* keys of every kind, the first one and later ones, with and without one before them that goes */
        {B ("\x85\xa3\"\n\xff\x01\xa0\x02\x92\x01\xa1x\x03\xc3\x04\xa3"
            "a\\b\x05"),
         6, B ("{\"\\\"\\n" BAD "\":1,\"\":2,\"[1,\\\"x\\\"]\":3,\"true\":4,\"a\\\\b\":5,\"_offset\":6}"),
         B ("\x86\xa3\"\n\xff\x01\xa0\x02\x92\x01\xa1x\x03\xc3\x04\xa3"
            "a\\b\x05\xa7_offset\x06")},
        {B ("\x83\xa1_\x91\x01\x81\x01\x02\x03\xd4\x05z\xa3\xe2\x82\xac"), 0,
         B ("{\"{\\\"1\\\":2}\":3,\"{\\\"_ext\\\":5,\\\"data\\\":\\\"eg==\\\"}\":\"\xe2\x82\xac\"}"),
         B ("\x82\x81\x01\x02\x03\xd4\x05z\xa3\xe2\x82\xac")},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct buf out;
        buf_init (&out, 0);
        mp_json_write_event (&out, cases[i].event, cases[i].offset);
        assert_text (&out, cases[i].json);
        buf_reset (&out);
        mp_write_event (&out, cases[i].event, cases[i].offset);
        assert_text (&out, cases[i].msgpack);
        assert_int_equal (mp_check (buf_slice (&out)), MP_OK);
        buf_fini (&out);
    }
}

#define DELTA                                                                                                          \
    "\xa5"                                                                                                             \
    "delta"

/* With "new" as the delta: one in the place of the first, none where there was none, and only at the top. */
static void test_merged_events (void **state)
{
    static const struct {
        struct slice event;
        uint64_t offset;
        struct slice json, msgpack;
    } cases[] = {
        {B ("\x80"), 0, B ("{}"), B ("\x80")},
        {B ("\x81" DELTA "\xa3old"), 0, B ("{\"delta\":\"new\"}"), B ("\x81" DELTA "\xa3new")},
        {B ("\x81" DELTA "\xa3old"), 7, B ("{\"delta\":\"new\",\"_offset\":7}"),
         B ("\x82" DELTA "\xa3new\xa7_offset\x07")},
        {B ("\x83\xa2_m\x01" DELTA "\xa0\xa1z\x01"), 7, B ("{\"delta\":\"new\",\"z\":1,\"_offset\":7}"),
         B ("\x83" DELTA "\xa3new\xa1z\x01\xa7_offset\x07")},
        {B ("\x83" DELTA "\x92\x01\x02\xa1z\x01" DELTA "\xa1o"), 7, B ("{\"delta\":\"new\",\"z\":1,\"_offset\":7}"),
         B ("\x83" DELTA "\xa3new\xa1z\x01\xa7_offset\x07")},
        {B ("\x82\xa1z\x81" DELTA "\xa1o\xc4\x05"
            "delta\x01"),
         0, B ("{\"z\":{\"delta\":\"o\"},\"ZGVsdGE=\":1}"),
         B ("\x82\xa1z\x81" DELTA "\xa1o\xc4\x05"
            "delta\x01")},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct buf out;
        buf_init (&out, 0);
        mp_json_write_merged (&out, cases[i].event, cases[i].offset, slice_str ("new"));
        assert_text (&out, cases[i].json);
        buf_reset (&out);
        mp_write_merged (&out, cases[i].event, cases[i].offset, slice_str ("new"));
        assert_text (&out, cases[i].msgpack);
        assert_int_equal (mp_check (buf_slice (&out)), MP_OK);
        buf_fini (&out);
    }
}

/* Many keys with the same name do not multiply the text. */
static void test_merged_event_of_many_deltas (void **state)
{
    struct buf event, out;
    msgpack_packer packer;
    (void) state;
    buf_init (&event, 0);
    buf_init (&out, 0);
    mp_writer_init (&packer, &event);
    mp_put_map (&packer, 1000);
    for (int i = 0; i < 1000; i++) {
        mp_put_cstr (&packer, "delta");
        mp_put_cstr (&packer, "old");
    }
    mp_json_write_merged (&out, buf_slice (&event), 0, slice_str ("new"));
    assert_text (&out, S ("{\"delta\":\"new\"}"));
    buf_reset (&out);
    mp_write_merged (&out, buf_slice (&event), 0, slice_str ("new"));
    assert_text (&out, S ("\x81" DELTA "\xa3new"));
    buf_fini (&event);
    buf_fini (&out);
}

/* The pair count outgrows its one-byte head. */
static void test_event_of_fifteen_pairs (void **state)
{
    struct buf event, out;
    msgpack_packer packer;
    (void) state;
    buf_init (&event, 0);
    buf_init (&out, 0);
    mp_writer_init (&packer, &event);
    mp_put_map (&packer, 15);
    for (unsigned i = 0; i < 15; i++) {
        mp_put_uint (&packer, i);
        mp_put_nil (&packer);
    }
    mp_write_event (&out, buf_slice (&event), 1);
    assert_memory_equal (out.p, "\xde\x00\x10", 3);
    assert_int_equal (mp_check (buf_slice (&out)), MP_OK);
    buf_fini (&event);
    buf_fini (&out);
}

static void test_depth (void **state)
{
    char bytes[65];
    struct buf out;
    (void) state;
    memset (bytes, '\x91', 64);
    bytes[64] = '\x01';
    buf_init (&out, 0);
    mp_json_write (&out, slice_of (bytes, 65));
    assert_false (out.failed);
    assert_int_equal (out.n, 64 + 1 + 64);
    buf_reset (&out);
    bytes[0] = '\x81';
    mp_json_write_event (&out, slice_of ("\x81\x01\x01", 3), 0);
    assert_text (&out, S ("{\"1\":1}"));
    buf_fini (&out);
}

/* What mp_check() would have refused fails the buffer instead of the process. */
static void test_unchecked_input_fails (void **state)
{
    static const struct slice cases[] = {
        B (""), B ("\xc1"), B ("\x91"), B ("\x81\x01"), B ("\x81\x90\xc1"), B ("\x81\xc1\x01"), B ("\xa5hi")};
    char deep[80];
    struct buf out;
    (void) state;
    buf_init (&out, 0);
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        buf_reset (&out);
        mp_json_write (&out, cases[i]);
        assert_true (out.failed);
        buf_reset (&out);
        mp_json_write_event (&out, cases[i], 1);
        assert_true (out.failed);
        buf_reset (&out);
        mp_write_event (&out, cases[i], 1);
        assert_true (out.failed);
        buf_reset (&out);
        mp_json_write_merged (&out, cases[i], 1, slice_str ("x"));
        assert_true (out.failed);
        buf_reset (&out);
        mp_write_merged (&out, cases[i], 1, slice_str ("x"));
        assert_true (out.failed);
    }
    buf_reset (&out);
    mp_write_event (&out, slice_of (NULL, 0), 1);
    assert_true (out.failed);
    buf_reset (&out);
    mp_write_event (&out, S ("\x91\x01"), 1); /* no map */
    assert_true (out.failed);
    memset (deep, '\x91', sizeof deep);
    deep[79] = '\x01';
    buf_reset (&out);
    mp_json_write (&out, slice_of (deep, sizeof deep));
    assert_true (out.failed);
    buf_fini (&out);
}

/* Every limit short of the whole text fails, and never writes beyond it by more than the buffer allows. */
static void test_output_limit (void **state)
{
    static const struct slice event =
        B ("\x86\xa4type\xa1x\xa2_m\x01\x91\xa1"
           "a\xc4\x03"
           "foo\xa1t\xd6\xff\x00\x00\x00\x00\xa1"
           "d\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\xa1s\xda\x01\x2c"
           "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
           "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
           "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
           "9");
    struct buf whole;
    (void) state;
    assert_int_equal (mp_check (event), MP_OK);
    buf_init (&whole, 0);
    mp_json_write_event (&whole, event, 5);
    assert_false (whole.failed);
    for (size_t limit = 1; limit < 300; limit++) {
        struct buf out;
        buf_init (&out, limit);
        mp_json_write_event (&out, event, 5);
        assert_true (out.failed);
        buf_fini (&out);
        buf_init (&out, limit);
        mp_write_event (&out, event, 5);
        assert_true (out.failed);
        buf_fini (&out);
    }
    buf_fini (&whole);
}

static void put_random_value (msgpack_packer *packer, unsigned depth)
{
    static const char bytes[] = "a\"\\\n\x00\xff\xc3\xa9\xe2\x82\xed\xa0\x80\xf0\x9f\x98\x80zzzz";
    struct slice some = slice_of (bytes + rnd () % 10, rnd () % 14);
    double any;
    uint64_t bits = rnd ();
    memcpy (&any, &bits, sizeof any);
    uint32_t count = (uint32_t) (rnd () % 4);
    switch (rnd () % (depth < 8 ? 9 : 6)) {
    case 0:
        mp_put_str (packer, some);
        break;
    case 1:
        mp_put_bin (packer, some);
        break;
    case 2:
        mp_put_int (packer, (int64_t) rnd ());
        break;
    case 3:
        mp_put_double (packer, any);
        break;
    case 4:
        mp_put_nil (packer);
        break;
    case 5:
        msgpack_pack_ext (packer, some.n, (char) (rnd () % 2 ? -1 : 3));
        msgpack_pack_ext_body (packer, some.p, some.n);
        break;
    case 6:
        mp_put_array (packer, count);
        while (count--)
            put_random_value (packer, depth + 1);
        break;
    default:
        mp_put_map (packer, count);
        for (count *= 2; count; count--)
            put_random_value (packer, depth + 1);
    }
}

static void assert_parses (struct slice value, struct buf *out)
{
    json_error_t error;
    buf_reset (out);
    mp_json_write (out, value);
    assert_false (out->failed);
    json_t *json = json_loadb ((char *) out->p, out->n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    /* jansson's own limits: 64-bit signed integers, no NUL in keys */
    if (!json && json_error_code (&error) != json_error_numeric_overflow &&
        json_error_code (&error) != json_error_null_byte_in_key)
        fail_msg ("%s: %.*s", error.text, (int) out->n, (char *) out->p);
    json_decref (json);
}

static void test_random_values (void **state)
{
    struct buf in, out;
    msgpack_packer packer;
    (void) state;
    buf_init (&in, 0);
    buf_init (&out, 0);
    for (int round = 0; round < 50000; round++) {
        buf_reset (&in);
        mp_writer_init (&packer, &in);
        put_random_value (&packer, 0);
        assert_int_equal (mp_check (buf_slice (&in)), MP_OK);
        assert_parses (buf_slice (&in), &out);
    }
    buf_fini (&in);
    buf_fini (&out);
}

static void test_random_bytes (void **state)
{
    struct buf out;
    size_t accepted = 0;
    (void) state;
    buf_init (&out, 0);
    for (int round = 0; round < 200000; round++) {
        char bytes[24];
        size_t n = 1 + rnd () % (rnd () % sizeof bytes + 1);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char) (rnd () % 3 ? 0x80 + rnd () % 0x24 : rnd ());
        if (mp_check (slice_of (bytes, n)) != MP_OK)
            continue;
        assert_parses (slice_of (bytes, n), &out);
        accepted++;
    }
    assert_true (accepted > 10000);
    buf_fini (&out);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_scalars),
        cmocka_unit_test (test_containers),
        cmocka_unit_test (test_keys),
        cmocka_unit_test (test_keys_in_keys_stay_small),
        cmocka_unit_test (test_strings),
        cmocka_unit_test (test_every_byte_at_every_place),
        cmocka_unit_test (test_digits),
        cmocka_unit_test (test_large_string),
        cmocka_unit_test (test_large_bin),
        cmocka_unit_test (test_doubles),
        cmocka_unit_test (test_random_doubles),
        cmocka_unit_test (test_timestamps),
        cmocka_unit_test (test_events),
        cmocka_unit_test (test_merged_events),
        cmocka_unit_test (test_merged_event_of_many_deltas),
        cmocka_unit_test (test_event_of_fifteen_pairs),
        cmocka_unit_test (test_depth),
        cmocka_unit_test (test_unchecked_input_fails),
        cmocka_unit_test (test_output_limit),
        cmocka_unit_test (test_random_values),
        cmocka_unit_test (test_random_bytes),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
