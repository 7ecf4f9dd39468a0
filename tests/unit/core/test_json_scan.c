/* The run of bytes that may stand in a JSON string as they are: whatever is in it, wherever, with nothing to read
 * behind it. */
#include "core/json_scan.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define LONGEST 41 /* two steps of sixteen, one of eight and one byte */

/* One character after the other, as the rule says it. */
static size_t expected_run (struct slice s)
{
    size_t at = 0;
    while (at < s.n) {
        uint32_t cp;
        size_t n = utf8_next (slice_of (s.p + at, s.n - at), &cp);
        if (n == 0 || cp < 0x20 || cp == '"' || cp == '\\')
            break;
        at += n;
    }
    return at;
}

/* Of a copy with nothing behind it, so that the address sanitizer sees a read beyond the end. */
static size_t exact_run (struct slice s)
{
    char *copy = malloc (s.n ? s.n : 1);
    assert_non_null (copy);
    slice_copy (copy, s);
    size_t n = json_plain_run (slice_of (copy, s.n));
    free (copy);
    return n;
}

static void assert_run (struct slice s)
{
    assert_int_equal (exact_run (s), expected_run (s));
}

static void test_empty (void **state)
{
    (void) state;
    assert_int_equal (json_plain_run (slice_of (NULL, 0)), 0);
    assert_int_equal (exact_run (slice_str ("")), 0);
}

/* Every byte at every place of strings of every length. */
static void test_every_byte (void **state)
{
    (void) state;
    for (size_t n = 1; n <= LONGEST; n++)
        for (size_t place = 0; place < n; place++)
            for (unsigned byte = 0; byte < 256; byte++) {
                char text[LONGEST];
                memset (text, 'x', n);
                text[place] = (char) byte;
                bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
                assert_int_equal (exact_run (slice_of (text, n)), plain ? n : place);
            }
}

/* Characters of two, three and four bytes at every place, whole, and cut by the end or by a letter. */
static void test_utf8 (void **state)
{
    static const char *const characters[] = {"\xc2\x80",         "\xc3\xa9",     "\xdf\xbf",
                                             "\xe2\x82\xac",     "\xef\xbf\xbf", "\xf0\x9f\x98\x80",
                                             "\xf4\x8f\xbf\xbf", "\xed\xa0\x80", "\xc0\xaf"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (characters); i++)
        for (size_t before = 0; before < 34; before++)
            for (size_t shown = 1; shown <= strlen (characters[i]); shown++)
                for (size_t after = 0; after < 18; after++) {
                    char text[64];
                    memset (text, 'x', sizeof text);
                    memcpy (text + before, characters[i], shown);
                    assert_run (slice_of (text, before + shown + after));
                }
    assert_int_equal (exact_run (slice_str ("abcdefg\xc3\xa9\xe2\x82\xac"
                                            "0123456789abcdef\xf0\x9f\x98\x80\"")),
                      7 + 2 + 3 + 16 + 4);
}

/* Two that are no plain bytes: the first one counts. */
static void test_the_first_of_two (void **state)
{
    static const char bytes[] = "\"\\\x1f\x00\x7f\x80\xff\x21\x23\x5b\x5d";
    (void) state;
    for (size_t first = 0; first < 24; first++)
        for (size_t second = first + 1; second < 25; second++)
            for (size_t i = 0; i < sizeof bytes * sizeof bytes; i++) {
                char text[25];
                memset (text, 'x', sizeof text);
                text[first] = bytes[i / sizeof bytes];
                text[second] = bytes[i % sizeof bytes];
                assert_run (slice_of (text, sizeof text));
            }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_empty),
        cmocka_unit_test (test_every_byte),
        cmocka_unit_test (test_utf8),
        cmocka_unit_test (test_the_first_of_two),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
