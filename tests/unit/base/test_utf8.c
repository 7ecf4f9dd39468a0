#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/utf8.h"

/* The same judgement with every byte a piece of its own. */
static bool valid_in_pieces (struct slice s)
{
    struct utf8_progress progress = {0};
    for (size_t i = 0; i < s.n; i++)
        if (!utf8_goes_on (&progress, slice_of (s.p + i, 1)))
            return false;
    return utf8_may_end (&progress);
}

static void reads_one_character (void **state)
{
    static const struct {
        const char *bytes;
        size_t n, length;
        uint32_t cp;
    } rows[] = {
        {"", 0, 0, 0},
        {"a", 1, 1, 'a'},
        {"\0", 1, 1, 0},
        {"\x7F", 1, 1, 0x7F},
        {"\xC2\x80", 2, 2, 0x80},
        {"\xDF\xBF", 2, 2, 0x7FF},
        {"\xE0\xA0\x80", 3, 3, 0x800},
        {"\xED\x9F\xBF", 3, 3, 0xD7FF},
        {"\xEE\x80\x80", 3, 3, 0xE000},
        {"\xEF\xBF\xBF", 3, 3, 0xFFFF},
        {"\xF0\x90\x80\x80", 4, 4, 0x10000},
        {"\xF4\x8F\xBF\xBF", 4, 4, 0x10FFFF},
        {"\x80", 1, 0, 0}, /* continuation alone */
        {"\xBF", 1, 0, 0},
        {"\xC0\x80", 2, 0, 0}, /* overlong */
        {"\xC1\xBF", 2, 0, 0},
        {"\xE0\x9F\xBF", 3, 0, 0},
        {"\xF0\x8F\xBF\xBF", 4, 0, 0},
        {"\xED\xA0\x80", 3, 0, 0}, /* surrogates */
        {"\xED\xBF\xBF", 3, 0, 0},
        {"\xF4\x90\x80\x80", 4, 0, 0}, /* over U+10FFFF */
        {"\xF5\x80\x80\x80", 4, 0, 0},
        {"\xFE", 1, 0, 0},
        {"\xFF", 1, 0, 0},
        {"\xC2", 1, 0, 0}, /* cut off */
        {"\xE2\x82", 2, 0, 0},
        {"\xF0\x9F\x98", 3, 0, 0},
        {"\xC2"
         "a",
         2, 0, 0}, /* wrong continuation */
        {"\xE2\x82"
         "a",
         3, 0, 0},
        {"\xE2\xC2\x80", 3, 0, 0},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        uint32_t cp = 0;
        assert_int_equal (utf8_next (slice_of (rows[i].bytes, rows[i].n), &cp), rows[i].length);
        assert_int_equal (cp, rows[i].cp);
        assert_int_equal (utf8_valid (slice_of (rows[i].bytes, rows[i].n)), rows[i].length == rows[i].n);
        assert_int_equal (valid_in_pieces (slice_of (rows[i].bytes, rows[i].n)), rows[i].length == rows[i].n);
    }
}

/* Every code point that may be encoded, encoded here in the plainest way. */
static void reads_all_code_points (void **state)
{
    (void) state;
    for (uint32_t cp = 0x80; cp <= 0x10FFFF; cp++) {
        unsigned n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        uint32_t got = 0;
        char bytes[4];
        for (unsigned i = n - 1, rest = cp; i > 0; i--, rest >>= 6)
            bytes[i] = (char) (0x80 | (rest & 0x3F));
        bytes[0] = (char) ((0xF00u >> n) | cp >> (6 * (n - 1)));
        bool surrogate = cp >= 0xD800 && cp <= 0xDFFF;
        assert_int_equal (utf8_next (slice_of (bytes, n), &got), surrogate ? 0 : n);
        assert_int_equal (got, surrogate ? 0 : cp);
        assert_int_equal (valid_in_pieces (slice_of (bytes, n)), !surrogate);
    }
}

static void judges_whole_texts (void **state)
{
    (void) state;
    assert_true (utf8_valid (slice_str ("")));
    assert_true (utf8_valid (slice_str (NULL)));
    assert_true (utf8_valid (slice_str ("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80!")));
    assert_false (utf8_valid (slice_str ("caf\xC3")));
    assert_false (utf8_valid (slice_str ("ok\xFFok")));
}

/* Both ways to judge agree on all that four bytes can begin with, and three. */
static void pieces_judge_like_the_whole (void **state)
{
    static const char tails[] = "\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0";
    (void) state;
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned mix = 0; mix < 8 * 8 * 8; mix++) {
            char bytes[] = {(char) first, tails[mix & 7], tails[mix >> 3 & 7], tails[mix >> 6]};
            for (size_t n = 1; n <= sizeof bytes; n++)
                assert_int_equal (valid_in_pieces (slice_of (bytes, n)), utf8_valid (slice_of (bytes, n)));
        }
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (reads_one_character),
        cmocka_unit_test (reads_all_code_points),
        cmocka_unit_test (judges_whole_texts),
        cmocka_unit_test (pieces_judge_like_the_whole),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
