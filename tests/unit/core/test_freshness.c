#include "base/check.h"
#include "core/freshness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NOW    INT64_C (784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOW_AS "Sun, 06 Nov 1994 08:49:37 GMT"

/* How long an answer with these header lines is fresh. */
static int64_t left (const char *lines)
{
    struct freshness freshness;
    struct slice rest = slice_str (lines), line, name;
    freshness_init (&freshness);
    while (slice_cut (&rest, '\n', &line)) {
        assert_true (slice_cut (&line, ':', &name));
        freshness_header (&freshness, name, line);
    }
    assert_int_equal (rest.n, 0);
    return freshness_left (&freshness, NOW);
}

static void expect_rows (const char *header, const char *const rows[][2], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char lines[256], got[32];
        snprintf (lines, sizeof lines, "%s: %s\n", header, rows[i][0]);
        snprintf (got, sizeof got, "%lld", (long long) left (lines));
        if (strcmp (got, rows[i][1]) != 0)
            fail_msg ("%s: %s gives %s, not %s", header, rows[i][0], got, rows[i][1]);
    }
}

static void test_cache_control (void **state)
{
    (void) state;
    static const char *const rows[][2] = {
        {"max-age=600", "600"},
        {"max-age=0", "0"},
        {"MAX-AGE=600", "600"},
        {"public, max-age=600, must-revalidate", "600"},
        {"public,max-age=600", "600"},
        {" ,, max-age=600 ,", "600"},
        {"max-age=\"600\"", "600"},
        {"max-age=600, max-age=5", "600"},
        {"s-maxage=5, max-age=600", "600"},
        {"x=\"a, max-age=5\", max-age=600", "600"},
        {"x=\"\\\", max-age=5\", max-age=600", "600"},
        {"max-age=600, no-cache", "0"},
        {"no-cache=\"x\", max-age=600", "0"},
        {"no-store", "0"},
        {"max-age=99999999999999999999", "2147483648"},
        {"max-age=-5", "0"},
        {"max-age=6.5", "0"},
        {"max-age=x", "0"},
        {"max-age=", "0"},
        {"max-age", "0"},
        {"max-age = 600", "-1"},
        {"x=\"max-age=5", "-1"},
        {"x=\"\\", "-1"},
        {"s-maxage=600", "-1"},
        {"public", "-1"},
        {"", "-1"},
    };
    expect_rows ("Cache-Control", rows, COUNT_OF (rows));
}

static void test_expires (void **state)
{
    (void) state;
    static const char *const rows[][2] = {
        {"Sun, 06 Nov 1994 08:59:37 GMT", "600"},
        {"Sunday, 06-Nov-94 08:59:37 GMT", "600"},
        {"Sun Nov  6 08:59:37 1994", "600"},
        {"Sun, 06 Nov 1994 08:49:37 GMT", "0"},
        {"Sun, 06 Nov 1994 08:49:36 GMT", "0"},
        {"Thu, 01 Jan 1970 00:00:00 GMT", "0"},
        {"0", "0"},
        {"-1", "0"},
        {"", "0"},
        {"Sun, 06 Nov 1994 08:59:37 CET", "0"},
        {"Sun, 06 Nov 1994 08:59:37 GMT and a long text that no date of any of the three forms could ever have", "0"},
    };
    expect_rows ("Expires", rows, COUNT_OF (rows));
}

static void test_together (void **state)
{
    (void) state;
    assert_int_equal (left (""), FRESHNESS_UNKNOWN);
    assert_int_equal (left ("Date: " NOW_AS "\nAge: 7\n"), FRESHNESS_UNKNOWN);
    assert_int_equal (left ("cache-control: max-age=600\nexpires: 0\n"), 600); /* max-age counts before Expires */
    assert_int_equal (left ("Expires: 0\nCache-Control: no-transform\n"), 0);
    assert_int_equal (left ("Cache-Control: public\nCache-Control: max-age=600\n"), 600);
    assert_int_equal (left ("Cache-Control: max-age=600\nAge: 100\n"), 500);
    assert_int_equal (left ("Cache-Control: max-age=600\nAge: 600\n"), 0);
    assert_int_equal (left ("Cache-Control: max-age=600\nAge: 601\n"), 0);
    assert_int_equal (left ("Cache-Control: max-age=600\nAge: soon\n"), 600);
    /* The server's clock is wrong, and its Date says how much. */
    assert_int_equal (left ("Date: Sun, 06 Nov 1994 10:00:00 GMT\nExpires: Sun, 06 Nov 1994 10:05:00 GMT\n"), 300);
    assert_int_equal (left ("Date: today\nExpires: Sun, 06 Nov 1994 08:54:37 GMT\n"), 300);
    assert_int_equal (left ("Expires: Sun, 06 Nov 1994 08:54:37 GMT\nExpires: Sun, 06 Nov 1994 09:54:37 GMT\n"), 0);
    assert_int_equal (left ("Expires: Sun, 06 Nov 1994 08:54:37 GMT\nExpires: Sun, 06 Nov 1994 08:54:37 GMT\n"), 300);
    assert_int_equal (left ("Expires: Sun, 06 Nov 1994 08:59:37 GMT\nAge: 100\n"), 500);
}

static void test_date (void **state)
{
    (void) state;
    int64_t at = 5;
    assert_true (http_date (slice_str (NOW_AS), &at));
    assert_int_equal (at, NOW);
    assert_true (http_date (slice_str ("Fri, 31 Dec 9999 23:59:59 GMT"), &at));
    assert_int_equal (at, INT64_C (253402300799));
    at = 5;
    assert_false (http_date (slice_of (NULL, 0), &at));
    assert_false (http_date (slice_str ("Sun, 06 Nov 1994 08:49:37 GMTx"), &at));
    assert_false (http_date (slice_str ("1994-11-06T08:49:37Z"), &at));
    assert_int_equal (at, 5);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_cache_control),
        cmocka_unit_test (test_expires),
        cmocka_unit_test (test_together),
        cmocka_unit_test (test_date),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
