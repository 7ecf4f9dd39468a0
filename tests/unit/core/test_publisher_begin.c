/* Where the sequence of a publisher begins, and what is a restart. */
#include "publisher_fixture.h"

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

static void come_back (void)
{
    publishers_lane_down (&all, 0);
    publishers_lane_up (&all, 0);
}

/* The link came and went while it had not answered yet: the count of that time is no new one. */
static void test_answer_to_an_earlier_hello (void **state)
{
    (void) state;
    introduce ();
    take_all (1, 3);
    come_back ();
    take_all (4, 6);
    come_back ();
    hello_at (0, "p", 3);
    take (7);
    come_back ();
    hello_at (0, "p", 6);
    take (8);
    hello_at (0, "p", 7);
    take (9);
    expect ("1 2 3 4 5 6 7 8 9 ");
    expect_flowing (10);
}

/* Nor for ever: when all have been answered, or PONG tells that no older answer can come, a lower count is a new one.
 */
static void test_restart_after_answers_that_crossed (void **state)
{
    (void) state;
    introduce ();
    take (1);
    come_back ();
    come_back ();
    hello_at (0, "p", 1);
    take_all (2, 6);
    hello_at (0, "p", 6);
    come_back ();
    hello_at (0, "p", 3);
    time_out ("p");
    expect ("1 2 3 4 5 6 ?1-3 ");
}

static void test_restart_after_an_answer_that_was_lost (void **state)
{
    (void) state;
    introduce ();
    publishers_pong (&all, 0, now);
    come_back ();
    publishers_pong (&all, 0, now - 1); /* to a PING from before that HELLO */
    take_all (1, 6);
    come_back ();
    hello_at (0, "p", 3);
    expect ("1 2 3 4 5 6 ");
    publishers_pong (&all, 0, now);
    come_back ();
    hello_at (0, "p", 3);
    time_out ("p");
    expect ("?1-3 ");
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

int main (void)
{
    const struct CMUnitTest tests[] = {
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
        TEST (test_answer_to_an_earlier_hello),
        TEST (test_restart_after_answers_that_crossed),
        TEST (test_restart_after_an_answer_that_was_lost),
        TEST (test_repeats_before_hello),
        TEST (test_doubt_without_hello),
        TEST (test_successor_before_its_lane),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
