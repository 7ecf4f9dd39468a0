#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bucket.h"
#include "base/check.h"
#include "base/clock.h"

static unsigned take_all (struct bucket *b, double rate, double burst, int64_t now)
{
    unsigned n = 0;
    while (n < 1000 && bucket_take (b, rate, burst, now))
        n++;
    return n;
}

static void fills_at_its_rate_up_to_the_burst (void **state)
{
    static const struct {
        double rate, burst;
        int64_t passed;
        unsigned first, second; /* tokens at once, and after `passed` */
    } rows[] = {
        {10, 5, 0, 5, 0},          {10, 5, S_NS / 10, 5, 1}, {10, 5, S_NS / 10 - 1, 5, 0}, {10, 5, 3 * S_NS / 10, 5, 3},
        {10, 5, 100 * S_NS, 5, 5}, {10, 0.5, S_NS, 1, 1},                          /* a burst below 1 counts as 1 */
        {0, 3, 1000 * S_NS, 3, 0}, {1000, 1, S_NS, 1, 1},    {10, 5, -S_NS, 5, 0}, /* a clock that steps back gives
                                                                                      nothing */
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct bucket b;
        int64_t now = 7 * S_NS;
        bucket_init (&b, rows[i].burst, now);
        assert_int_equal (take_all (&b, rows[i].rate, rows[i].burst, now), rows[i].first);
        assert_int_equal (take_all (&b, rows[i].rate, rows[i].burst, now + rows[i].passed), rows[i].second);
    }
}

static void keeps_fractions (void **state)
{
    struct bucket b;
    unsigned taken = 0;
    (void) state;
    bucket_init (&b, 1, 0);
    for (int64_t now = 0; now <= 100 * S_NS; now += 7 * MS_NS)
        taken += bucket_take (&b, 3, 1, now);
    assert_in_range (taken, 292, 301); /* 3 a second, less what is lost at the burst of 1 */
}

static void is_full_when_nothing_is_missing (void **state)
{
    struct bucket b;
    (void) state;
    bucket_init (&b, 5, 0);
    assert_true (bucket_is_full (&b, 10, 5, 0));
    assert_true (bucket_take (&b, 10, 5, 0));
    assert_false (bucket_is_full (&b, 10, 5, S_NS / 10 - 1));
    assert_true (bucket_is_full (&b, 10, 5, S_NS / 10));
    assert_false (bucket_is_full (&b, 0, 5, 1000 * S_NS));
    bucket_init (&b, 0.5, 0);
    assert_true (bucket_is_full (&b, 1, 0.5, 0)); /* a burst below 1 counts as 1 */
}

static void says_how_long_to_wait (void **state)
{
    struct bucket b;
    (void) state;
    bucket_init (&b, 1, 0);
    assert_int_equal (bucket_wait_ns (&b, 4, 1, 0), 0);
    assert_true (bucket_take (&b, 4, 1, 0));
    int64_t wait = bucket_wait_ns (&b, 4, 1, 0);
    assert_in_range (wait, S_NS / 4, S_NS / 4 + 1);
    assert_false (bucket_take (&b, 4, 1, wait - 2));
    assert_true (bucket_take (&b, 4, 1, wait));
    assert_true (bucket_wait_ns (&b, 0, 1, wait) == INT64_MAX);
    assert_true (bucket_wait_ns (&b, 1e-12, 1, wait) == INT64_MAX);
}

static void waiting_is_enough_at_any_rate (void **state)
{
    (void) state;
    for (double rate = 0.001; rate < 1e6; rate *= 1.37) {
        struct bucket b;
        bucket_init (&b, 1, 0);
        assert_true (bucket_take (&b, rate, 1, 0));
        assert_true (bucket_take (&b, rate, 1, bucket_wait_ns (&b, rate, 1, 0)));
    }
}

static void is_small (void **state)
{
    (void) state;
    assert_true (sizeof (struct bucket) <= 16);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (fills_at_its_rate_up_to_the_burst), cmocka_unit_test (keeps_fractions),
        cmocka_unit_test (is_full_when_nothing_is_missing),   cmocka_unit_test (says_how_long_to_wait),
        cmocka_unit_test (waiting_is_enough_at_any_rate),     cmocka_unit_test (is_small),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
