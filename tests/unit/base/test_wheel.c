#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/wheel.h"

#define START (3 * S_NS + 7)
#define TURN  (WHEEL_SLOTS * WHEEL_TICK)

static struct wheel wheel;
static struct timer timers[2000];
static unsigned fired[COUNT_OF (timers)];

static size_t index_of (const struct timer *timer)
{
    return (size_t) (timer - timers);
}

static void count (struct timer *timer)
{
    assert_false (timer_armed (timer));
    fired[index_of (timer)]++;
}

static int set_up (void **state)
{
    (void) state;
    wheel_init (&wheel, START);
    for (size_t i = 0; i < COUNT_OF (timers); i++) {
        timer_init (&timers[i], count);
        fired[i] = 0;
    }
    return 0;
}

static void fires_when_due_and_not_before (void **state)
{
    static const int64_t delays[] = {-START,         -S_NS, -1,       0,    1,        WHEEL_TICK - 1, WHEEL_TICK,
                                     WHEEL_TICK + 1, S_NS,  TURN - 1, TURN, TURN + 1, 5 * TURN + 3,   3600 * S_NS};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (delays); i++) {
        set_up (NULL);
        wheel_set (&wheel, &timers[0], START + delays[i]);
        assert_true (timer_armed (&timers[0]));
        if (delays[i] > 0) {
            wheel_advance (&wheel, START + delays[i] / 2);
            wheel_advance (&wheel, START + delays[i] - 1);
            assert_int_equal (fired[0], 0);
        }
        wheel_advance (&wheel, START + (delays[i] > 0 ? delays[i] : 0));
        assert_int_equal (fired[0], 1);
        wheel_advance (&wheel, START + 2 * TURN + 4000 * S_NS);
        assert_int_equal (fired[0], 1);
    }
}

static void one_great_leap_fires_everything (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (timers); i++)
        wheel_set (&wheel, &timers[i], START + (int64_t) i * 100 * MS_NS);
    wheel_advance (&wheel, START + 1000 * S_NS);
    for (size_t i = 0; i < COUNT_OF (timers); i++)
        assert_int_equal (fired[i], 1);
    assert_int_equal (wheel_next (&wheel), -1);
}

static void moves_and_cancels (void **state)
{
    (void) state;
    wheel_cancel (&timers[0]); /* never armed */
    wheel_set (&wheel, &timers[0], START + S_NS);
    wheel_set (&wheel, &timers[0], START + 3 * S_NS);
    wheel_set (&wheel, &timers[1], START + 3 * S_NS);
    wheel_set (&wheel, &timers[1], START + S_NS);
    wheel_set (&wheel, &timers[2], START + S_NS);
    wheel_cancel (&timers[2]);
    wheel_cancel (&timers[2]);
    wheel_advance (&wheel, START + 2 * S_NS);
    assert_int_equal (fired[0], 0);
    assert_int_equal (fired[1], 1);
    wheel_advance (&wheel, START + 3 * S_NS);
    assert_int_equal (fired[0], 1);
    assert_int_equal (fired[2], 0);
}

static void says_when_the_next_is_due (void **state)
{
    static const int64_t delays[] = {-1, 0, 1, WHEEL_TICK, S_NS, TURN - WHEEL_TICK, TURN, 3 * TURN + 5};
    (void) state;
    assert_int_equal (wheel_next (&wheel), -1);
    for (size_t i = COUNT_OF (delays); i-- > 0;) {
        wheel_set (&wheel, &timers[i], START + delays[i]);
        assert_int_equal (wheel_next (&wheel), START + delays[i]);
    }
    wheel_set (&wheel, &timers[0], -5);
    assert_int_equal (wheel_next (&wheel), 0);
}

static void set_again_in_the_past (struct timer *timer)
{
    count (timer);
    wheel_set (&wheel, timer, 0);
}

static void a_timer_that_sets_itself_fires_once_an_advance (void **state)
{
    (void) state;
    timers[0].fire = set_again_in_the_past;
    wheel_set (&wheel, &timers[0], START);
    for (unsigned i = 1; i <= 3; i++) {
        wheel_advance (&wheel, START + (int64_t) (i / 2) * S_NS);
        assert_int_equal (fired[0], i);
    }
}

/* 0 cancels 1, moves 2 to later, sets 3 to now. */
static void meddle (struct timer *timer)
{
    count (timer);
    wheel_cancel (&timers[1]);
    wheel_set (&wheel, &timers[2], START + 9 * S_NS);
    wheel_set (&wheel, &timers[3], START);
}

static void callbacks_may_touch_any_timer (void **state)
{
    (void) state;
    timers[0].fire = meddle;
    for (size_t i = 0; i < 3; i++)
        wheel_set (&wheel, &timers[i], START + S_NS);
    wheel_advance (&wheel, START + S_NS);
    assert_int_equal (fired[0], 1);
    assert_int_equal (fired[1] + fired[2] + fired[3], 0);
    wheel_advance (&wheel, START + S_NS);
    assert_int_equal (fired[3], 1);
    wheel_advance (&wheel, START + 9 * S_NS);
    assert_int_equal (fired[1], 0);
    assert_int_equal (fired[2], 1);
}

static int64_t dues[COUNT_OF (timers)]; /* -1: not armed */

static void check_due (struct timer *timer)
{
    size_t i = index_of (timer);
    count (timer);
    assert_true (dues[i] >= 0 && dues[i] == timer->due);
    dues[i] = -1;
}

static void assert_nothing_is_late (int64_t now)
{
    int64_t next = -1;
    for (size_t i = 0; i < COUNT_OF (timers); i++) {
        assert_true (dues[i] < 0 || dues[i] > now);
        if (dues[i] >= 0 && (next < 0 || dues[i] < next))
            next = dues[i];
    }
    assert_int_equal (wheel_next (&wheel), next);
}

static void random_life_agrees_with_a_plain_array (void **state)
{
    int64_t now = START;
    (void) state;
    for (size_t i = 0; i < COUNT_OF (timers); i++) {
        timers[i].fire = check_due;
        dues[i] = -1;
    }
    for (unsigned step = 0; step < 2000; step++) {
        for (unsigned n = 0; n < 20; n++) {
            size_t i = random_below (COUNT_OF (timers));
            dues[i] = random_below (4) ? now + (int64_t) random_below (60 * S_NS) : -1;
            if (dues[i] < 0)
                wheel_cancel (&timers[i]);
            else
                wheel_set (&wheel, &timers[i], dues[i]);
        }
        now += (int64_t) random_below (step % 100 ? 200 * MS_NS : 40 * S_NS);
        wheel_advance (&wheel, now);
        assert_nothing_is_late (now);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup (fires_when_due_and_not_before, set_up),
        cmocka_unit_test_setup (one_great_leap_fires_everything, set_up),
        cmocka_unit_test_setup (moves_and_cancels, set_up),
        cmocka_unit_test_setup (says_when_the_next_is_due, set_up),
        cmocka_unit_test_setup (a_timer_that_sets_itself_fires_once_an_advance, set_up),
        cmocka_unit_test_setup (callbacks_may_touch_any_timer, set_up),
        cmocka_unit_test_setup (random_life_agrees_with_a_plain_array, set_up),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
