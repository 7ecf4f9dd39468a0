/* Publishers with a made-up runtime that is asked and answers as the test says. What happens is one line of text: "5"
 * an event in turn, "?2-4" a question, "lost 3" the news of a loss, "unsure 4" that what came before 4 is not known. */
#ifndef TESTS_PUBLISHER_FIXTURE_H
#define TESTS_PUBLISHER_FIXTURE_H

#include "core/publisher.h"
#include "base/log.h"
#include "base/metrics.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

static struct publishers all;
static struct wheel wheel;
static struct config *config;
static struct buf happened;
static int lanes;
static bool lane_up[4], takes_questions;
static unsigned n_settled; /* times */
static int64_t now;
static int log_fd;

/* --- the surroundings ---------------------------------------------------------------------------------------- */

static int fake_lanes (void *self)
{
    (void) self;
    return lanes;
}

static bool fake_lane_up (void *self, int lane)
{
    (void) self;
    return lane_up[lane];
}

static const struct runtime_port runtime = {.lanes = fake_lanes, .lane_up = fake_lane_up};

static void on_deliver (void *self, struct publisher *publisher, struct slice user, struct slice event,
                        double not_before)
{
    (void) self;
    assert_true (slice_is (user, "alice"));
    buf_printf (&happened, "%s%.*s", not_before > 0 ? "~" : "", (int) event.n, event.p);
    if (!slice_is (publisher_name (publisher), "p"))
        buf_printf (&happened, "@%.*s", (int) publisher->name_n, publisher->name);
    buf_putc (&happened, ' ');
}

static bool on_ask (void *self, int lane, struct slice publisher, uint64_t from, uint64_t to)
{
    (void) self;
    assert_true (lane >= 0 && publisher.n > 0);
    if (!takes_questions)
        return false;
    buf_printf (&happened, "?%llu-%llu ", (unsigned long long) from, (unsigned long long) to);
    return true;
}

static void on_lost (void *self, struct slice publisher, uint64_t count, const char *why)
{
    (void) self;
    assert_true (publisher.n > 0 && why[0]);
    buf_printf (&happened, "lost %llu ", (unsigned long long) count);
}

static void on_unsure (void *self, struct slice publisher, uint64_t first)
{
    (void) self;
    assert_true (publisher.n > 0);
    buf_printf (&happened, "unsure %llu ", (unsigned long long) first);
}

static void on_settled (void *self)
{
    (void) self;
    n_settled++;
}

UNUSED static int set_up (void **state)
{
    char *argv[] = {"--environment=test", "--jwt-secret=0123456789abcdef0123456789abcdef", NULL}, *env[] = {NULL};
    (void) state;
    metrics_reset ();
    clock_refresh ();
    log_fd = open ("/dev/null", O_WRONLY);
    log_configure (log_fd, LOG_LEVEL_DEBUG, true);
    buf_init (&happened, 0);
    config = config_new (2, argv, env, &happened);
    assert_non_null (config);
    now = clock_now ();
    wheel_init (&wheel, now);
    lanes = 1;
    n_settled = 0;
    lane_up[0] = lane_up[1] = takes_questions = true;
    publishers_init (&all, config, &wheel, &runtime);
    all.port = (struct publisher_port){.self = &all,
                                       .deliver = on_deliver,
                                       .ask = on_ask,
                                       .lost = on_lost,
                                       .unsure = on_unsure,
                                       .settled = on_settled};
    return 0;
}

UNUSED static int tear_down (void **state)
{
    (void) state;
    publishers_fini (&all);
    config_destroy (&config);
    buf_fini (&happened);
    log_configure (STDERR_FILENO, LOG_LEVEL_INFO, true);
    close (log_fd);
    return 0;
}

/* --- what a test says ---------------------------------------------------------------------------------------- */

UNUSED static void expect (const char *wanted)
{
    size_t n = strlen (wanted);
    if (happened.n != n || (n && memcmp (happened.p, wanted, n) != 0))
        fail_msg ("happened: \"%.*s\", wanted \"%s\"", (int) happened.n, (char *) happened.p, wanted);
    buf_reset (&happened);
}

static struct slice text_of (uint64_t seq)
{
    static char text[32];
    return slice_of (text, (size_t) snprintf (text, sizeof text, "%llu", (unsigned long long) seq));
}

UNUSED static enum publisher_result take_of (const char *name, uint64_t seq)
{
    return publishers_take (&all, slice_str (name), seq, slice_str ("alice"), text_of (seq));
}

UNUSED static void take (uint64_t seq)
{
    assert_int_equal (take_of ("p", seq), PUBLISHER_TAKEN);
}

UNUSED static void take_all (uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq <= to; seq++)
        take (seq);
}

UNUSED static enum publisher_result answer (uint64_t seq)
{
    return publishers_answer (&all, 0, slice_str ("p"), seq, slice_str ("alice"), text_of (seq));
}

UNUSED static void answer_all (uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq <= to; seq++)
        assert_int_equal (answer (seq), PUBLISHER_TAKEN);
}

UNUSED static enum publisher_result lose (uint64_t from, uint64_t to)
{
    return publishers_lost (&all, 0, slice_str ("p"), from, to);
}

UNUSED static void hello (int lane, const char *name)
{
    publishers_hello (&all, lane, slice_str (name), NULL);
}

UNUSED static void hello_at (int lane, const char *name, uint64_t seq)
{
    publishers_hello (&all, lane, slice_str (name), &seq);
}

/* The lane has come up and its runtime has introduced itself, having sent nothing yet. */
UNUSED static void introduce (void)
{
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 0);
}

/* The publisher's deadline comes. */
UNUSED static void time_out (const char *name)
{
    LIST_FOREACH (&all.all, link) {
        struct publisher *publisher = LIST_ENTRY (link, struct publisher, link);
        if (!slice_is (publisher_name (publisher), name))
            continue;
        assert_true (timer_armed (&publisher->timer));
        wheel_cancel (&publisher->timer);
        publisher->timer.fire (&publisher->timer);
        return;
    }
    fail_msg ("no publisher %s", name);
}

UNUSED static struct publisher *only (void)
{
    assert_int_equal (all.n, 1);
    return LIST_ENTRY (all.all.next, struct publisher, link);
}

UNUSED static void expect_flowing (uint64_t next)
{
    assert_int_equal (only ()->stage, PUBLISHER_FLOWING);
    assert_int_equal (only ()->next, next);
    assert_int_equal (only ()->held_bytes, 0);
    assert_true (list_empty (&only ()->held));
    assert_false (timer_armed (&only ()->timer));
}

UNUSED static void expect_counts (double gaps, double repaired)
{
    assert_true (metric_get (M_EVENT_GAPS, 0) == gaps);
    assert_true (metric_get (M_EVENTS_REPAIRED, 0) == repaired);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

#endif
