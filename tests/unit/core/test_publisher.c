/* The publishers and their sequences (core/sequence.c), with a made-up runtime that is asked and answers as the test
 * says. What happens is one line of text: "5" an event in turn, "?2-4" a question, "lost 3" the news of a loss. */
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

static int set_up (void **state)
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

static int tear_down (void **state)
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

static void expect (const char *wanted)
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

static enum publisher_result take_of (const char *name, uint64_t seq)
{
    return publishers_take (&all, slice_str (name), seq, slice_str ("alice"), text_of (seq));
}

static void take (uint64_t seq)
{
    assert_int_equal (take_of ("p", seq), PUBLISHER_TAKEN);
}

static void take_all (uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq <= to; seq++)
        take (seq);
}

static enum publisher_result answer (uint64_t seq)
{
    return publishers_answer (&all, 0, slice_str ("p"), seq, slice_str ("alice"), text_of (seq));
}

static void answer_all (uint64_t from, uint64_t to)
{
    for (uint64_t seq = from; seq <= to; seq++)
        assert_int_equal (answer (seq), PUBLISHER_TAKEN);
}

static enum publisher_result lose (uint64_t from, uint64_t to)
{
    return publishers_lost (&all, 0, slice_str ("p"), from, to);
}

static void hello (int lane, const char *name)
{
    publishers_hello (&all, lane, slice_str (name), NULL);
}

static void hello_at (int lane, const char *name, uint64_t seq)
{
    publishers_hello (&all, lane, slice_str (name), &seq);
}

/* The lane has come up and its runtime has introduced itself, having sent nothing yet. */
static void introduce (void)
{
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 0);
}

/* The publisher's deadline comes. */
static void time_out (const char *name)
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

static struct publisher *only (void)
{
    assert_int_equal (all.n, 1);
    return LIST_ENTRY (all.all.next, struct publisher, link);
}

static void expect_flowing (uint64_t next)
{
    assert_int_equal (only ()->stage, PUBLISHER_FLOWING);
    assert_int_equal (only ()->next, next);
    assert_int_equal (only ()->held_bytes, 0);
    assert_true (list_empty (&only ()->held));
    assert_false (timer_armed (&only ()->timer));
}

static void expect_counts (double gaps, double repaired)
{
    assert_true (metric_get (M_EVENT_GAPS, 0) == gaps);
    assert_true (metric_get (M_EVENTS_REPAIRED, 0) == repaired);
}

/* --- in turn ------------------------------------------------------------------------------------------------- */

static void test_in_turn (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 4);
    expect ("1 2 3 4 ");
    expect_flowing (5);
    expect_counts (0, 0);
}

static void test_repeats (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 2);
    assert_int_equal (take_of ("p", 2), PUBLISHER_REPEAT);
    assert_int_equal (take_of ("p", 1), PUBLISHER_REPEAT);
    take (4);
    assert_int_equal (take_of ("p", 4), PUBLISHER_REPEAT); /* held back already */
    expect ("1 2 ?3-3 ");
    answer_all (3, 3);
    assert_int_equal (answer (3), PUBLISHER_REPEAT);
    assert_int_equal (take_of ("p", 3), PUBLISHER_REPEAT);
    expect ("3 4 ");
    expect_flowing (5);
}

static void test_publishers_are_apart (void **state)
{
    (void) state;
    introduce ();
    take (1);
    take (3);
    assert_int_equal (take_of ("q", 1), PUBLISHER_TAKEN);
    assert_int_equal (take_of ("q", 2), PUBLISHER_TAKEN);
    expect ("1 ?2-2 1@q 2@q ");
    answer_all (2, 2);
    expect ("2 3 ");
}

/* --- gaps ---------------------------------------------------------------------------------------------------- */

static void test_gap (void **state)
{
    (void) state;
    introduce ();
    take (1);
    take_all (4, 6);
    expect ("1 ?2-3 ");
    answer_all (2, 2);
    expect ("2 ");
    take (7);
    answer_all (3, 3);
    expect ("3 4 5 6 7 ");
    expect_flowing (8);
    expect_counts (1, 2);
}

/* One question at a time, in pieces. */
static void test_large_gap (void **state)
{
    (void) state;
    introduce ();
    take (2501);
    expect ("?1-1000 ");
    answer_all (1, 1000);
    buf_reset (&happened);
    answer_all (1001, 1999);
    buf_reset (&happened);
    answer_all (2000, 2000);
    expect ("2000 ?2001-2500 ");
    answer_all (2001, 2500);
    assert_true (happened.n > 0);
    expect_flowing (2502);
    expect_counts (1, 2500);
}

static void test_several_gaps (void **state)
{
    (void) state;
    introduce ();
    take (2);
    take (4);
    take (7);
    expect ("?1-1 ");
    answer_all (1, 1);
    expect ("1 2 ?3-3 ");
    answer_all (3, 3);
    expect ("3 4 ?5-6 ");
    answer_all (5, 6);
    expect ("5 6 7 ");
    expect_flowing (8);
    expect_counts (3, 4);
}

/* What was only late fills the gap as well; the answers are repeats then. */
static void test_late_events (void **state)
{
    (void) state;
    introduce ();
    take (3);
    take_all (1, 2);
    expect ("?1-2 1 2 3 ");
    expect_flowing (4);
    assert_int_equal (answer (1), PUBLISHER_REPEAT);
    assert_int_equal (answer (2), PUBLISHER_REPEAT);
    expect ("");
}

static void test_answers_out_of_order (void **state)
{
    (void) state;
    introduce ();
    take (5);
    answer_all (3, 3);
    answer_all (1, 2);
    answer_all (4, 4);
    expect ("?1-4 1 2 3 4 5 ");
    expect_flowing (6);
}

static void test_unsolicited (void **state)
{
    (void) state;
    assert_int_equal (answer (1), PUBLISHER_UNSOLICITED);
    assert_int_equal (lose (1, 2), PUBLISHER_UNSOLICITED);
    introduce ();
    assert_int_equal (answer (1), PUBLISHER_UNSOLICITED);
    take (5);
    assert_int_equal (answer (6), PUBLISHER_UNSOLICITED);
    assert_int_equal (answer (5), PUBLISHER_REPEAT);
    assert_int_equal (lose (6, 7), PUBLISHER_UNSOLICITED);
    assert_int_equal (lose (2, 1), PUBLISHER_UNSOLICITED);
    assert_int_equal (publishers_lost (&all, 1, slice_str ("p"), 1, 4), PUBLISHER_UNSOLICITED); /* another runtime */
    expect ("?1-4 ");
}

/* --- losses -------------------------------------------------------------------------------------------------- */

static void test_lost (void **state)
{
    (void) state;
    introduce ();
    take (5);
    assert_int_equal (lose (1, 2), PUBLISHER_TAKEN);
    answer_all (3, 4);
    expect ("?1-4 lost 2 3 4 5 ");
    expect_flowing (6);
    assert_int_equal (lose (1, 4), PUBLISHER_REPEAT);
}

static void test_lost_after_events (void **state)
{
    (void) state;
    introduce ();
    take (6);
    answer_all (3, 3);
    assert_int_equal (lose (4, 99), PUBLISHER_TAKEN); /* no further than asked */
    expect ("?1-5 ");
    assert_int_equal (lose (1, 2), PUBLISHER_TAKEN);
    expect ("lost 2 3 lost 2 6 ");
    expect_flowing (7);
}

/* Part of what is said to be lost has come another way. */
static void test_lost_in_part (void **state)
{
    (void) state;
    introduce ();
    take (5);
    take_all (1, 2);
    assert_int_equal (lose (1, 4), PUBLISHER_TAKEN);
    expect ("?1-4 1 2 lost 2 5 ");
    expect_flowing (6);
}

/* Nobody answers: all that is missing now is lost, however many gaps. It is told twice, where the first hole and the
 * last are: between them may be the beginning of a run whose end is lost. */
static void test_no_answer (void **state)
{
    (void) state;
    introduce ();
    take (3);
    take (5);
    take_all (8, 9);
    assert_int_equal (only ()->timer.due, now + 2000 * MS_NS);
    time_out ("p");
    expect ("?1-2 lost 3 3 5 lost 2 8 9 ");
    expect_flowing (10);
    expect_counts (1, 0);
    take (10);
    expect ("10 ");
}

/* Every answer that brings something gives more time, up to five times as much. */
/* The last hole is behind everything that was held back. */
static void test_no_answer_for_the_end (void **state)
{
    (void) state;
    introduce ();
    take_all (2, 3);
    publishers_claim (&all, 0, 6);
    time_out ("p");
    expect ("?1-1 lost 1 2 3 lost 3 ");
    expect_flowing (7);
}

static void test_deadline (void **state)
{
    (void) state;
    introduce ();
    take (9);
    only ()->gap_since -= 9 * S_NS;
    answer_all (1, 1);
    assert_int_equal (only ()->timer.due, now + S_NS);
    time_out ("p");
    expect ("?1-8 1 lost 7 9 ");
}

static void test_too_large (void **state)
{
    (void) state;
    introduce ();
    config->replay_events = 3;
    take (10);
    expect ("lost 6 ?7-9 ");
    answer_all (7, 9);
    expect ("7 8 9 10 ");
    take (14);
    expect ("?11-13 ");
}

static void test_a_number_from_nowhere (void **state)
{
    (void) state;
    introduce ();
    take (PUBLISHER_SEQ_MAX);
    time_out ("p");
    assert_true (only ()->next == PUBLISHER_SEQ_MAX + 1);
    assert_int_equal (take_of ("p", 5), PUBLISHER_REPEAT);
}

static void test_too_much_held (void **state)
{
    (void) state;
    introduce ();
    config->replay_held_bytes = 1000;
    uint64_t next = 2;
    do
        take (next++);
    while (only ()->stage == PUBLISHER_REPAIRING);
    assert_in_range (next, 5, 20);
    assert_true (memcmp (happened.p, "?1-1 lost 1 2 3 ", 16) == 0);
    expect_flowing (next);
}

static void test_nobody_to_ask (void **state)
{
    (void) state;
    lanes = 2;
    take (5);
    take (8);
    expect ("5 lost 2 8 ");
    expect_flowing (9);
}

/* --- lanes --------------------------------------------------------------------------------------------------- */

/* The question is put (again) when the lane is back. */
static void test_lane_down (void **state)
{
    (void) state;
    introduce ();
    take (3);
    expect ("?1-2 ");
    publishers_lane_down (&all, 0);
    takes_questions = false;
    take (5);
    takes_questions = true;
    publishers_lane_up (&all, 0);
    expect ("?1-2 ");
    answer_all (1, 2);
    expect ("1 2 3 ?4-4 ");
}

static void test_question_not_taken (void **state)
{
    (void) state;
    introduce ();
    takes_questions = false;
    take (3);
    expect ("");
    assert_int_equal (answer (1), PUBLISHER_UNSOLICITED);
    time_out ("p");
    expect ("lost 2 3 ");
}

/* --- the end of a sequence ----------------------------------------------------------------------------------- */

static void test_tail (void **state)
{
    (void) state;
    introduce ();
    take (1);
    publishers_claim (&all, 0, 3);
    expect ("1 ");
    assert_int_equal (only ()->stage, PUBLISHER_TRAILING);
    time_out ("p");
    expect ("?2-3 ");
    answer_all (2, 3);
    expect ("2 3 ");
    expect_flowing (4);
    expect_counts (1, 2);
}

/* It was only on the way. */
static void test_tail_arrives (void **state)
{
    (void) state;
    introduce ();
    publishers_claim (&all, 0, 2);
    take (1);
    assert_int_equal (only ()->stage, PUBLISHER_TRAILING);
    take (2);
    expect ("1 2 ");
    expect_flowing (3);
    publishers_claim (&all, 0, 2);
    publishers_claim (&all, 0, 0);
    expect_flowing (3);
    expect_counts (0, 0);
}

static void test_claim_during_repair (void **state)
{
    (void) state;
    introduce ();
    take (2);
    publishers_claim (&all, 0, 4);
    answer_all (1, 1);
    expect ("?1-1 1 2 ");
    assert_int_equal (only ()->stage, PUBLISHER_TRAILING);
    time_out ("p");
    expect ("?3-4 ");
    time_out ("p");
    expect ("lost 2 ");
    expect_flowing (5);
}

static void test_claim_of_nobody (void **state)
{
    (void) state;
    publishers_claim (&all, 0, 3);
    assert_int_equal (all.n, 0);
}

/* --- where a sequence begins --------------------------------------------------------------------------------- */

/* A bridge that comes late begins behind what HELLO tells, and asks for what it missed since. */
static void test_late_join (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 100);
    take (103);
    expect ("?101-102 ");
    answer_all (101, 102);
    expect ("101 102 103 ");
}

/* HELLO does not tell: what was before the first event may be older than this bridge. It is asked for, but no loss. */
static void test_late_join_without_seq (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    hello (0, "p");
    take (4);
    expect ("?1-3 ");
    assert_int_equal (lose (1, 1), PUBLISHER_TAKEN);
    answer_all (2, 3);
    expect ("~2 ~3 4 ");
    take (6);
    time_out ("p");
    expect ("?5-5 lost 1 6 ");
}

static void test_late_join_without_seq_or_answer (void **state)
{
    (void) state;
    config->replay_events = 2;
    publishers_lane_up (&all, 0);
    hello (0, "p");
    take (9);
    time_out ("p");
    expect ("?7-8 9 ");
    expect_flowing (10);
}

/* Events and commands travel apart: those that come before the answer to HELLO wait for it, for a short time. */
static void test_event_before_hello (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    take (7);
    expect ("");
    hello_at (0, "p", 5);
    expect ("?6-6 ");
    answer_all (6, 6);
    expect ("6 7 ");
}

static void test_events_around_hello (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    take_all (4, 6);
    assert_int_equal (take_of ("p", 5), PUBLISHER_REPEAT);
    hello_at (0, "p", 5);
    expect ("4 5 6 ");
    expect_flowing (7);
}

/* HELLO has overtaken them. */
static void test_events_behind_hello (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 5);
    take_all (4, 6);
    expect ("4 5 6 ");
    assert_int_equal (take_of ("p", 4), PUBLISHER_REPEAT);
    expect_flowing (7);
}

static void test_hello_does_not_come (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    take (7);
    assert_int_equal (only ()->timer.due, now + 500 * MS_NS);
    time_out ("p");
    expect ("7 ");
    expect_flowing (8);
}

/* Clients were let in before the runtime answered: they may have missed what it sent up to there. */
static void test_late_hello (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    all.let_in = true;
    hello_at (0, "p", 5);
    expect ("unsure 6 ");
    take (6);
    expect ("6 ");
}

/* It has told nothing yet, or begun after they were let in: they have missed nothing. */
static void test_late_hello_of_a_beginner (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    all.let_in = true;
    hello_at (0, "p", 0);
    hello_at (0, "q", 7); /* a restart: it began with 1 */
    expect ("");
}

/* Its events are there first; said once. */
static void test_late_hello_behind_events (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    all.peers[0].hello_at -= 500 * MS_NS;
    all.let_in = true;
    take_all (6, 7);
    expect ("unsure 6 6 7 ");
    hello_at (0, "p", 7);
    expect_flowing (8);
    expect ("");
}

static void test_no_hello_with_clients (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    all.let_in = true;
    take (7);
    time_out ("p");
    expect ("unsure 7 7 ");
}

/* Nobody was there yet, or everything from the first one on has been heard. */
static void test_sure (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 5);
    all.let_in = true;
    take (6);
    expect ("6 ");
    assert_int_equal (take_of ("q", 1), PUBLISHER_TAKEN);
    expect ("1@q ");
}

/* Where the events of a first runtime begin is known when it has answered, or does not in time; a later one begins with
 * 1, and nobody waits for it. */
static void test_settled (void **state)
{
    (void) state;
    assert_true (publishers_settled (&all));
    publishers_lane_up (&all, 0);
    assert_false (publishers_settled (&all));
    assert_int_equal (all.peers[0].patience.due, now + 500 * MS_NS);
    hello_at (0, "p", 5);
    assert_true (publishers_settled (&all));
    assert_int_equal (n_settled, 1);
    assert_false (timer_armed (&all.peers[0].patience));
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    assert_true (publishers_settled (&all));
    assert_false (timer_armed (&all.peers[0].patience));
}

static void test_settled_without_answer (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    all.peers[0].hello_at -= 500 * MS_NS;
    assert_true (publishers_settled (&all));
    all.peers[0].patience.fire (&all.peers[0].patience);
    assert_int_equal (n_settled, 1);
    publishers_lane_down (&all, 0);
    assert_false (timer_armed (&all.peers[0].patience));
}

static void test_hello_without_publisher (void **state)
{
    (void) state;
    publishers_lane_up (&all, 0);
    hello (0, "");
    take (7);
    expect ("7 ");
    assert_int_equal (all.n, 1);
}

static void test_counts_from_zero (void **state)
{
    (void) state;
    introduce ();
    take_all (0, 2);
    expect ("0 1 2 ");
    assert_int_equal (take_of ("p", 0), PUBLISHER_REPEAT);
}

/* --- restarts ------------------------------------------------------------------------------------------------ */

/* A new publisher where another one was: no gap, but its own first events must not be missing. */
static void test_restart (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 5);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello_at (0, "q", 2);
    expect ("1 2 3 4 5 ");
    expect_counts (0, 0);
    time_out ("q");
    expect ("?1-2 ");
    assert_int_equal (publishers_lost (&all, 0, slice_str ("q"), 1, 2), PUBLISHER_TAKEN);
    assert_int_equal (take_of ("q", 3), PUBLISHER_TAKEN);
    expect ("lost 2 3@q ");
}

static enum publisher_result answer_of_q (uint64_t seq)
{
    return publishers_answer (&all, 0, slice_str ("q"), seq, slice_str ("alice"), text_of (seq));
}

/* Its HELLO takes longer than it is waited for. */
static void test_restart_with_a_late_hello (void **state)
{
    (void) state;
    introduce ();
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    assert_int_equal (take_of ("q", 2), PUBLISHER_TAKEN);
    expect ("");
    time_out ("q");
    expect ("?1-1 ");
    assert_int_equal (answer_of_q (1), PUBLISHER_TAKEN);
    hello_at (0, "q", 2);
    expect ("1@q 2@q ");
    expect_counts (1, 1);
}

/* Its events come before the command link is back, or while that seems to be there still. */
static void test_restart_before_hello (void **state)
{
    (void) state;
    introduce ();
    publishers_lane_down (&all, 0);
    takes_questions = false;
    assert_int_equal (take_of ("q", 2), PUBLISHER_TAKEN);
    expect ("");
    takes_questions = true;
    publishers_lane_up (&all, 0);
    expect ("?1-1 ");
    hello_at (0, "q", 2);
    assert_int_equal (answer_of_q (1), PUBLISHER_TAKEN);
    expect ("1@q 2@q ");
}

/* Where one lane has not told of its publisher yet, a name that nobody has told may be that one, and old. */
static void test_unheralded_at_a_new_lane (void **state)
{
    (void) state;
    lanes = 2;
    introduce ();
    assert_int_equal (take_of ("q", 7), PUBLISHER_TAKEN);
    expect ("7@q ");
    hello_at (1, "q", 7);
    assert_int_equal (take_of ("r", 3), PUBLISHER_TAKEN);
    expect ("lost 2 3@r ");
}

/* The same one again after a cut: HELLO tells what was missed. */
static void test_return (void **state)
{
    (void) state;
    introduce ();
    take (1);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 3);
    time_out ("p");
    expect ("1 ?2-3 ");
}

/* Its HELLO goes on with the count: the first event that comes late, after its repair, is a repeat, no new beginning.
 */
static void test_return_before_the_first_event (void **state)
{
    (void) state;
    introduce ();
    hello_at (0, "p", 2);
    time_out ("p");
    answer_all (1, 2);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 2);
    assert_int_equal (take_of ("p", 1), PUBLISHER_REPEAT);
    expect ("?1-2 1 2 ");
    expect_flowing (3);
}

/* It should have taken a new name. */
static void test_restart_under_the_old_name (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 3);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello (0, "p");
    take_all (1, 2);
    expect ("1 2 3 1 2 ");
    assert_int_equal (take_of ("p", 1), PUBLISHER_REPEAT);
}

static void test_restart_under_the_old_name_with_seq (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 3);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 1);
    take (2);
    expect ("1 2 3 ?1-1 ");
    answer_all (1, 1);
    expect ("1 2 ");
}

/* Events that overtake the answer to HELLO make no new count of it. */
static void test_hello_is_late (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 3);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    take_all (4, 6);
    hello_at (0, "p", 3);
    take (7);
    expect ("1 2 3 4 5 6 7 ");
}

/* The tail was fetched after HELLO; its originals are repeats. */
static void test_originals_after_repair (void **state)
{
    (void) state;
    introduce ();
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 2);
    time_out ("p");
    answer_all (1, 2);
    expect ("?1-2 1 2 ");
    assert_int_equal (take_of ("p", 1), PUBLISHER_REPEAT);
}

/* Its first events overtake the answer to HELLO. */
static void test_restart_under_the_old_name_overtakes_hello (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 5);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    take_all (1, 3);
    expect ("1 2 3 4 5 ");
    hello_at (0, "p", 0);
    expect ("1 2 3 ");
    expect_flowing (4);
}

static void test_repeats_before_hello (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 5);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    take_all (4, 6);
    expect ("1 2 3 4 5 ");
    hello_at (0, "p", 6);
    expect ("6 ");
    expect_flowing (7);
    assert_true (metric_get (M_EVENTS_DROPPED, DROP_REPEAT) == 2);
}

/* No answer comes: repeats, until HELLO tells that they were none; then they are asked for. */
static void test_doubt_without_hello (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 5);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    take (5);
    time_out ("p");
    expect ("1 2 3 4 5 ");
    expect_flowing (6);
    take_all (1, 2);
    time_out ("p");
    expect ("");
    expect_flowing (6);
    hello_at (0, "p", 2);
    time_out ("p");
    expect ("?1-2 ");
}

/* HELLO did not tell the count, but PONG does: it goes on. */
static void test_pong_after_return (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 2);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello (0, "p");
    publishers_claim (&all, 0, 2);
    assert_int_equal (take_of ("p", 1), PUBLISHER_REPEAT);
    expect ("1 2 ");
}

/* Nobody has introduced it, but the one before it at the only lane is gone: its first number is 1. */
static void test_successor_before_its_lane (void **state)
{
    (void) state;
    introduce ();
    publishers_lane_down (&all, 0);
    lane_up[0] = false;
    assert_int_equal (take_of ("q", 3), PUBLISHER_TAKEN);
    expect ("");
    lane_up[0] = true;
    publishers_lane_up (&all, 0);
    hello_at (0, "q", 3);
    expect ("?1-2 ");
    publishers_lane_down (&all, 0);
    lane_up[0] = false;
    assert_int_equal (take_of ("r", 2), PUBLISHER_TAKEN);
    time_out ("r");
    expect ("?1-1 ");
}

/* --- who has gone -------------------------------------------------------------------------------------------- */

static void note_gone (void *arg, struct publisher *publisher)
{
    (void) arg;
    buf_printf (&happened, "%.*s gone ", publisher->name_n ? (int) publisher->name_n : 8,
                publisher->name_n ? publisher->name : "nameless");
}

static void expect_gone (const char *wanted)
{
    buf_reset (&happened);
    publishers_each_gone (&all, now, note_gone, NULL);
    expect (wanted);
}

static void test_gone_and_back (void **state)
{
    (void) state;
    introduce ();
    assert_non_null (publishers_nameless (&all, 0));
    expect_gone ("");
    publishers_lane_down (&all, 0);
    expect_gone ("p gone nameless gone ");
    publishers_lane_up (&all, 0);
    expect_gone ("p gone "); /* it has not said that it is the same */
    hello_at (0, "p", 0);
    expect_gone ("");
}

static void test_replaced (void **state)
{
    (void) state;
    struct list run;
    introduce ();
    struct publisher *old = publishers_nameless (&all, 0);
    list_init (&run);
    list_append (&old->runs, &run);
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
    hello_at (0, "q", 0);
    assert_ptr_not_equal (publishers_nameless (&all, 0), old);
    expect_gone ("p gone nameless gone ");
    list_remove (&run);
    expect_gone ("p gone nameless gone ");
    expect_gone ("p gone "); /* nothing was left of it */
}

/* What a dead one left in the sockets is no sign of life, only of a later death. */
static void test_last_words (void **state)
{
    (void) state;
    introduce ();
    publishers_lane_down (&all, 0);
    only ()->gone_since = 1;
    take (1);
    assert_int_equal (only ()->gone_since, now);
}

/* It comes and goes while its command link is down. */
static void test_gone_before_hello (void **state)
{
    (void) state;
    introduce ();
    publishers_lane_down (&all, 0);
    lane_up[0] = false;
    assert_int_equal (take_of ("q", 1), PUBLISHER_TAKEN);
    expect_gone ("q gone p gone ");
    lane_up[0] = true;
    publishers_lane_up (&all, 0);
    hello_at (0, "r", 0);
    expect_gone ("q gone p gone ");
}

/* One that never says HELLO shows by its events that it is back. */
static void test_back_without_hello (void **state)
{
    (void) state;
    take (1);
    lane_up[0] = false;
    publishers_lane_down (&all, 0);
    take (2);
    expect_gone ("p gone ");
    lane_up[0] = true;
    publishers_lane_up (&all, 0);
    hello (0, "");
    take (3);
    expect_gone ("");
}

static void test_other_lane (void **state)
{
    (void) state;
    lanes = 2;
    introduce ();
    publishers_lane_up (&all, 1);
    hello_at (1, "q", 0);
    publishers_lane_down (&all, 1);
    expect_gone ("q gone ");
}

/* --- bounds -------------------------------------------------------------------------------------------------- */

static void test_many_publishers (void **state)
{
    char name[16];
    (void) state;
    for (int i = 0; i < PUBLISHERS_MAX + 10; i++) {
        snprintf (name, sizeof name, "p%d", i);
        assert_int_equal (take_of (name, 1), PUBLISHER_TAKEN);
        assert_int_equal (take_of ("p0", 1), PUBLISHER_REPEAT); /* heard all the time */
    }
    assert_int_equal (all.n, PUBLISHERS_MAX);
    assert_int_equal (take_of ("p0", 1), PUBLISHER_REPEAT);
    assert_int_equal (take_of ("p1", 1), PUBLISHER_TAKEN); /* forgotten */
    buf_reset (&happened);
    publishers_lane_up (&all, 0);
    hello_at (0, "p", 0);
    assert_int_equal (take_of ("p2", 2), PUBLISHER_TAKEN);
    expect ("2@p2 "); /* so is this one: it goes on where it is, and does not begin again */
}

/* What the one that is forgotten has held back is not lost with it. */
static void test_forgotten_with_a_gap (void **state)
{
    char name[16];
    (void) state;
    introduce ();
    take (2);
    buf_reset (&happened);
    for (int i = 0; i < PUBLISHERS_MAX; i++) {
        snprintf (name, sizeof name, "q%d", i);
        assert_int_equal (take_of (name, 1), PUBLISHER_TAKEN);
    }
    char *text = buf_steal_str (&happened);
    assert_non_null (strstr (text, "lost 1 2 "));
    free (text);
    assert_null (all.peers[0].publisher);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_in_turn),
        TEST (test_repeats),
        TEST (test_publishers_are_apart),
        TEST (test_gap),
        TEST (test_large_gap),
        TEST (test_several_gaps),
        TEST (test_late_events),
        TEST (test_answers_out_of_order),
        TEST (test_unsolicited),
        TEST (test_lost),
        TEST (test_lost_after_events),
        TEST (test_lost_in_part),
        TEST (test_no_answer),
        TEST (test_no_answer_for_the_end),
        TEST (test_deadline),
        TEST (test_too_large),
        TEST (test_a_number_from_nowhere),
        TEST (test_too_much_held),
        TEST (test_nobody_to_ask),
        TEST (test_lane_down),
        TEST (test_question_not_taken),
        TEST (test_tail),
        TEST (test_tail_arrives),
        TEST (test_claim_during_repair),
        TEST (test_claim_of_nobody),
        TEST (test_late_join),
        TEST (test_late_join_without_seq),
        TEST (test_late_join_without_seq_or_answer),
        TEST (test_event_before_hello),
        TEST (test_events_around_hello),
        TEST (test_events_behind_hello),
        TEST (test_hello_does_not_come),
        TEST (test_late_hello),
        TEST (test_late_hello_of_a_beginner),
        TEST (test_late_hello_behind_events),
        TEST (test_no_hello_with_clients),
        TEST (test_sure),
        TEST (test_settled),
        TEST (test_settled_without_answer),
        TEST (test_hello_without_publisher),
        TEST (test_counts_from_zero),
        TEST (test_restart),
        TEST (test_restart_with_a_late_hello),
        TEST (test_restart_before_hello),
        TEST (test_unheralded_at_a_new_lane),
        TEST (test_return),
        TEST (test_return_before_the_first_event),
        TEST (test_restart_under_the_old_name),
        TEST (test_restart_under_the_old_name_with_seq),
        TEST (test_hello_is_late),
        TEST (test_originals_after_repair),
        TEST (test_pong_after_return),
        TEST (test_restart_under_the_old_name_overtakes_hello),
        TEST (test_repeats_before_hello),
        TEST (test_doubt_without_hello),
        TEST (test_successor_before_its_lane),
        TEST (test_gone_and_back),
        TEST (test_replaced),
        TEST (test_last_words),
        TEST (test_gone_before_hello),
        TEST (test_back_without_hello),
        TEST (test_other_lane),
        TEST (test_many_publishers),
        TEST (test_forgotten_with_a_gap),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
