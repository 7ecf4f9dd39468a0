#include "core/breaker.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct breaker_limits limits = {.failures = 3, .open_ns = 10 * S_NS};
static struct breaker breaker;

static int set_up (void **state)
{
    (void) state;
    breaker_init (&breaker);
    return 0;
}

/* Let one try through at `now`, and fail. */
static void fail_at (int64_t now)
{
    assert_true (breaker_allow (&breaker, now));
    breaker_failed (&breaker, &limits, now);
}

static void open_at (int64_t now)
{
    for (int i = 0; i < 3; i++)
        fail_at (now);
    assert_int_equal (breaker.state, BREAKER_OPEN);
}

static void test_closed (void **state)
{
    (void) state;
    for (int64_t now = 0; now < 5; now++)
        assert_true (breaker_allow (&breaker, now));
    assert_int_equal (breaker.state, BREAKER_CLOSED);
}

static void test_opens_after_failures_in_a_row (void **state)
{
    (void) state;
    fail_at (0);
    fail_at (0);
    assert_int_equal (breaker.state, BREAKER_CLOSED);
    breaker_succeeded (&breaker);
    fail_at (0);
    fail_at (0);
    assert_int_equal (breaker.state, BREAKER_CLOSED);
    fail_at (7);
    assert_int_equal (breaker.state, BREAKER_OPEN);
    assert_int_equal (breaker.failures, 3);
    assert_int_equal (breaker.open_until, 7 + 10 * S_NS);
}

static void test_open (void **state)
{
    (void) state;
    open_at (0);
    assert_false (breaker_allow (&breaker, 0));
    assert_false (breaker_allow (&breaker, 10 * S_NS - 1));
    assert_int_equal (breaker.state, BREAKER_OPEN);
}

static void test_one_probe (void **state)
{
    (void) state;
    open_at (0);
    assert_true (breaker_allow (&breaker, 10 * S_NS));
    assert_int_equal (breaker.state, BREAKER_HALF_OPEN);
    assert_false (breaker_allow (&breaker, 10 * S_NS));
    assert_false (breaker_allow (&breaker, 1000 * S_NS));
    assert_int_equal (breaker.state, BREAKER_HALF_OPEN);
}

static void test_probe_succeeds (void **state)
{
    (void) state;
    open_at (0);
    assert_true (breaker_allow (&breaker, 10 * S_NS));
    breaker_succeeded (&breaker);
    assert_int_equal (breaker.state, BREAKER_CLOSED);
    assert_int_equal (breaker.failures, 0);
    fail_at (20 * S_NS);
    assert_int_equal (breaker.state, BREAKER_CLOSED);
}

static void test_probe_fails (void **state)
{
    (void) state;
    open_at (0);
    assert_true (breaker_allow (&breaker, 12 * S_NS));
    breaker_failed (&breaker, &limits, 13 * S_NS);
    assert_int_equal (breaker.state, BREAKER_OPEN);
    assert_int_equal (breaker.failures, 4);
    assert_false (breaker_allow (&breaker, 23 * S_NS - 1));
    assert_true (breaker_allow (&breaker, 23 * S_NS));
}

static void test_texts (void **state)
{
    (void) state;
    assert_string_equal (breaker_state_text (BREAKER_CLOSED), "closed");
    assert_string_equal (breaker_state_text (BREAKER_HALF_OPEN), "half-open");
    assert_string_equal (breaker_state_text (BREAKER_OPEN), "open");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup (test_closed, set_up),
        cmocka_unit_test_setup (test_opens_after_failures_in_a_row, set_up),
        cmocka_unit_test_setup (test_open, set_up),
        cmocka_unit_test_setup (test_one_probe, set_up),
        cmocka_unit_test_setup (test_probe_succeeds, set_up),
        cmocka_unit_test_setup (test_probe_fails, set_up),
        cmocka_unit_test_setup (test_texts, set_up),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
