/* The sequences of publishers (core/sequence.c): order, gaps, answers, losses, bounds, and who has gone. */
#include "publisher_fixture.h"

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
