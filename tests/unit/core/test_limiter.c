/* Rates by key: each its own bucket, in a table that no flood makes larger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "core/limiter.h"

#include <stdio.h>

#define T     (7 * S_NS)
#define RATE  2
#define BURST 3

static struct limiter limiter;

static int limiter_up (void **state)
{
    (void) state;
    metrics_reset ();
    limiter_init (&limiter, LIMITED_users);
    return 0;
}

static int limiter_down (void **state)
{
    (void) state;
    limiter_fini (&limiter);
    assert_true (metric_get (M_RATES_TRACKED, LIMITED_users) == 0);
    return 0;
}

static bool take (const char *key, int64_t now)
{
    return limiter_take (&limiter, slice_str (key), RATE, BURST, now);
}

static void expect_tracked (double n)
{
    assert_true (metric_get (M_RATES_TRACKED, LIMITED_users) == n);
    assert_int_equal (map_size (&limiter.buckets), (size_t) n);
    assert_true (metric_get (M_RATES_TRACKED, LIMITED_addresses) == 0);
}

static void test_each_its_own (void **state)
{
    (void) state;
    for (int i = 0; i < BURST; i++) {
        assert_true (take ("alice", T));
        assert_true (take ("bob", T));
    }
    assert_false (take ("alice", T));
    assert_false (take ("bob", T));
    assert_true (take ("alic", T));
    assert_true (take ("alice", T + S_NS / RATE));
    assert_false (take ("alice", T + S_NS / RATE));
    expect_tracked (3);
}

static void test_empty_key (void **state)
{
    (void) state;
    for (int i = 0; i < 2 * BURST; i++)
        assert_true (take ("", T));
    expect_tracked (0);
}

/* Forgotten when it is full again, and not a moment before: otherwise whoever waits a little would get a new burst. */
static void test_forgets_full_ones (void **state)
{
    (void) state;
    int64_t full = T + BURST * S_NS / RATE;
    for (int i = 0; i < BURST; i++)
        assert_true (take ("alice", T));
    assert_true (take ("bob", T + 1));
    limiter_expire (&limiter, RATE, BURST, full - 1);
    expect_tracked (2);
    limiter_expire (&limiter, RATE, BURST, full);
    expect_tracked (0);
    assert_true (take ("alice", full));
    expect_tracked (1);
    limiter_expire (&limiter, 0, 0, full); /* the limit was taken away */
    expect_tracked (0);
}

/* A million addresses: the table stays at its size, the one used last is still known. */
static void test_flood (void **state)
{
    (void) state;
    uint32_t address = 0;
    for (int i = 0; i < BURST; i++)
        assert_true (take ("kept", T));
    for (; address < 1000000; address++) {
        assert_true (limiter_take (&limiter, slice_of (&address, sizeof address), RATE, BURST, T));
        if (address % (LIMITER_MAX / 2) == 0)
            assert_false (take ("kept", T));
        assert_true (map_size (&limiter.buckets) <= LIMITER_MAX);
    }
    expect_tracked (LIMITER_MAX);
    assert_true (metric_get (M_RATES_EVICTED, LIMITED_users) == 1000001 - LIMITER_MAX);
    assert_false (take ("kept", T));
    address = 0; /* the first one went, so it begins anew */
    for (int i = 0; i < BURST; i++)
        assert_true (limiter_take (&limiter, slice_of (&address, sizeof address), RATE, BURST, T));
    assert_false (limiter_take (&limiter, slice_of (&address, sizeof address), RATE, BURST, T));
    limiter_expire (&limiter, RATE, BURST, T + 100 * S_NS);
    expect_tracked (LIMITER_MAX - LIMITER_EXPIRE_BATCH);
}

static void test_longest_key (void **state)
{
    (void) state;
    char key[LIMITER_KEY_MAX];
    memset (key, 'k', sizeof key);
    for (int i = 0; i < BURST; i++)
        assert_true (limiter_take (&limiter, slice_of (key, sizeof key), RATE, BURST, T));
    assert_false (limiter_take (&limiter, slice_of (key, sizeof key), RATE, BURST, T));
    assert_true (limiter_take (&limiter, slice_of (key, sizeof key - 1), RATE, BURST, T));
}

#define LIMITER_TEST(function) cmocka_unit_test_setup_teardown (function, limiter_up, limiter_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        LIMITER_TEST (test_each_its_own), LIMITER_TEST (test_empty_key),   LIMITER_TEST (test_forgets_full_ones),
        LIMITER_TEST (test_flood),        LIMITER_TEST (test_longest_key),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
