/* Ids and epochs: their form, and that none comes twice. */
#include "core/ident.h"
#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define MANY 50000

static bool is_hex (const char *text, size_t n)
{
    return strspn (text, "0123456789abcdef") == n && text[n] == '\0';
}

static int compare (const void *a, const void *b)
{
    return strcmp (a, b);
}

static void expect_unique (char (*texts)[40], size_t n)
{
    qsort (texts, n, sizeof *texts, compare);
    for (size_t i = 1; i < n; i++)
        assert_string_not_equal (texts[i - 1], texts[i]);
}

static void test_hex (void **state)
{
    (void) state;
    char text[65], other[65];
    for (size_t n = 0; n <= 32; n++) {
        memset (text, '!', sizeof text);
        ident_hex (text, n);
        assert_true (is_hex (text, 2 * n));
    }
    ident_hex (other, 32);
    assert_string_not_equal (text, other);
}

/* Each digit stands in each place sooner or later. */
static void test_hex_is_random (void **state)
{
    (void) state;
    unsigned seen[64] = {0};
    char text[65];
    for (int i = 0; i < 1000; i++) {
        ident_hex (text, 32);
        for (size_t k = 0; k < COUNT_OF (seen); k++)
            seen[k] |= 1u << (text[k] <= '9' ? text[k] - '0' : text[k] - 'a' + 10);
    }
    for (size_t k = 0; k < COUNT_OF (seen); k++)
        assert_int_equal (seen[k], 0xffff);
}

static void test_connection (void **state)
{
    (void) state;
    char (*ids)[40] = calloc (MANY, sizeof *ids);
    assert_non_null (ids);
    for (size_t i = 0; i < MANY; i++) {
        memset (ids[i], '!', sizeof *ids);
        ident_new_connection (ids[i]);
        assert_memory_equal (ids[i], "ws_", 3);
        assert_true (is_hex (ids[i] + 3, 24));
        assert_int_equal (strlen (ids[i]), CONN_ID_LEN);
        assert_true (ident_is_connection (slice_str (ids[i])));
    }
    expect_unique (ids, MANY);
    free (ids);
}

static void test_is_connection (void **state)
{
    (void) state;
    static const struct {
        const char *id;
        bool good;
    } cases[] = {
        {"ws_0123456789ab", true},
        {"ws_abcdefabcdef0", true},
        {"ws_0123456789abcdef0123456789abcdef", true},
        {"ws_0123456789abcdef0123456789abcdef0", false},
        {"ws_0123456789a", false},
        {"ws_", false},
        {"", false},
        {"ws", false},
        {"0123456789abcdef", false},
        {"WS_0123456789ab", false},
        {"ws-0123456789ab", false},
        {"ws_0123456789aB", false},
        {"ws_0123456789ag", false},
        {"ws_0123456789a/", false},
        {"ws_0123456789a:", false},
        {"ws_0123456789a`", false},
        {"ws_0123456789ab ", false},
        {" ws_0123456789ab", false},
        {"ws_0123456789ab\n", false},
        {"ws__0123456789ab", false},
    };
    for (size_t i = 0; i < COUNT_OF (cases); i++)
        if (ident_is_connection (slice_str (cases[i].id)) != cases[i].good)
            fail_msg ("%s", cases[i].id);
    assert_false (ident_is_connection (slice_of ("ws_0123456789ab\0", 16)));
    assert_false (ident_is_connection (slice_str (NULL)));
}

/* Of every length and every byte in every place: only the pattern passes. */
static void test_is_connection_bytes (void **state)
{
    (void) state;
    for (size_t at = 0; at < 15; at++) {
        for (int c = 0; c < 256; c++) {
            char id[] = "ws_0123456789ab";
            bool good = at < 3 ? c == id[at] : (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            id[at] = (char) c;
            assert_int_equal (ident_is_connection (slice_of (id, 15)), good);
        }
    }
    static const char digits[] = "ws_0000000000000000000000000000000000000000";
    for (size_t n = 0; n < sizeof digits; n++)
        assert_int_equal (ident_is_connection (slice_of (digits, n)), n >= 15 && n <= 35);
}

/* The same for the same user and counts, another one for all others. */
static void test_epoch (void **state)
{
    (void) state;
    char (*epochs)[40] = calloc (MANY, sizeof *epochs);
    assert_non_null (epochs);
    for (size_t i = 0; i < MANY; i++) {
        memset (epochs[i], '!', sizeof *epochs);
        struct slice user = slice_str (i % 2 ? "alice" : "bob");
        ident_epoch (epochs[i], user, i / 2 % 50, i / 100);
        assert_true (is_hex (epochs[i], EPOCH_LEN));
        char again[EPOCH_LEN + 1];
        ident_epoch (again, user, i / 2 % 50, i / 100);
        assert_string_equal (again, epochs[i]);
    }
    expect_unique (epochs, MANY);
    free (epochs);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_hex),        cmocka_unit_test (test_hex_is_random),
        cmocka_unit_test (test_connection), cmocka_unit_test (test_is_connection),
        cmocka_unit_test (test_epoch),      cmocka_unit_test (test_is_connection_bytes),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
