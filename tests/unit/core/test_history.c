/* The history of one user: limits, what is lost, what comes after an offset. */
#include "base/clock.h"
#include "base/metrics.h"
#include "core/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define COST(n) (sizeof (struct history_entry) + (n) + sizeof (void *))

static struct history history;
static struct history_limits limits;

static int set_up (void **state)
{
    (void) state;
    metrics_reset ();
    history_init (&history);
    limits = (struct history_limits){.events = 1000, .bytes = 1000000, .ttl_ns = 10 * S_NS};
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    history_fini (&history);
    assert_true (metric_get (M_HISTORY_BYTES, 0) == 0);
    assert_true (metric_get (M_HISTORY_EVENTS, 0) == 0);
    return 0;
}

static bool append (uint64_t offset, size_t n, int64_t now)
{
    static char bytes[4096];
    struct event event = {.bytes = slice_of (bytes, n), .type = EVENT_tool_executing, .timestamp = 1.5};
    assert_true (n <= sizeof bytes);
    memset (bytes, (int) offset, n);
    return history_append (&history, &limits, &event, offset, now);
}

static uint64_t after (uint64_t offset)
{
    const struct history_entry *entry = history_after (&history, offset);
    return entry ? entry->offset : 0;
}

static void expect_held (uint64_t first, uint64_t last, size_t n_bytes)
{
    size_t n = first ? (size_t) (last - first + 1) : 0;
    assert_int_equal (history.n, n);
    assert_int_equal (history.bytes, n * COST (n_bytes));
    assert_int_equal (after (0), first);
    assert_true (metric_get (M_HISTORY_EVENTS, 0) == (double) n);
    assert_true (metric_get (M_HISTORY_BYTES, 0) == (double) history.bytes);
}

static void expect_evicted (double events, double bytes, double age, double total)
{
    assert_true (metric_get (M_HISTORY_EVICTED, EVICTION_events) == events);
    assert_true (metric_get (M_HISTORY_EVICTED, EVICTION_bytes) == bytes);
    assert_true (metric_get (M_HISTORY_EVICTED, EVICTION_age) == age);
    assert_true (metric_get (M_HISTORY_EVICTED, EVICTION_total) == total);
}

static void test_empty (void **state)
{
    (void) state;
    assert_null (history_after (&history, 0));
    assert_true (history_covers (&history, 0));
    history_expire (&history, &limits, INT64_MAX);
    history_clear (&history, EVICTION_total);
    expect_evicted (0, 0, 0, 0);
}

static void test_entry_is_a_copy (void **state)
{
    (void) state;
    char bytes[] = "\x81\xa1x\x01";
    struct event event = {.bytes = slice_of (bytes, 4), .type = EVENT_agent_error, .timestamp = 2.25};
    assert_true (history_append (&history, &limits, &event, 7, 123));
    memset (bytes, 0, sizeof bytes);
    const struct history_entry *entry = history_after (&history, 6);
    assert_int_equal (entry->offset, 7);
    assert_int_equal (entry->at, 123);
    assert_int_equal (entry->type, EVENT_agent_error);
    assert_true (entry->timestamp == 2.25);
    assert_true (slice_eq (slice_of (entry->bytes, entry->n), slice_of ("\x81\xa1x\x01", 4)));
}

static void test_after (void **state)
{
    (void) state;
    for (uint64_t offset = 10; offset <= 300; offset += 10)
        assert_true (append (offset, 5, 0));
    for (uint64_t offset = 0; offset < 300; offset++)
        assert_int_equal (after (offset), offset / 10 * 10 + 10);
    assert_null (history_after (&history, 300));
    assert_null (history_after (&history, UINT64_MAX));
}

static void test_limit_of_events (void **state)
{
    (void) state;
    limits.events = 3;
    for (uint64_t offset = 1; offset <= 8; offset++)
        assert_true (append (offset, 5, 0));
    expect_held (6, 8, 5);
    expect_evicted (5, 0, 0, 0);
    assert_int_equal (history.lost, 5);
    assert_false (history_covers (&history, 4));
    assert_true (history_covers (&history, 5));
    assert_true (history_covers (&history, 8));
}

static void test_limit_of_bytes (void **state)
{
    (void) state;
    limits.bytes = 3 * COST (100);
    for (uint64_t offset = 1; offset <= 5; offset++)
        assert_true (append (offset, 100, 0));
    expect_held (3, 5, 100);
    expect_evicted (0, 2, 0, 0);
    assert_true (append (6, 101, 0)); /* one byte more costs two old ones */
    assert_int_equal (history.n, 2);
    assert_int_equal (after (0), 5);
    expect_evicted (0, 4, 0, 0);
}

static void test_too_big_loses_all (void **state)
{
    (void) state;
    limits.bytes = COST (100);
    assert_true (append (1, 100, 0));
    assert_false (append (2, 101, 0));
    expect_held (0, 0, 0);
    expect_evicted (0, 1, 0, 0);
    assert_int_equal (history.lost, 2);
    assert_null (history.ring);
    assert_false (history_covers (&history, 1));
    assert_true (history_covers (&history, 2));
    assert_true (append (3, 100, 0));
    expect_held (3, 3, 100);
    assert_true (history_covers (&history, 2));
}

static void test_switched_off (void **state)
{
    (void) state;
    limits.events = 0;
    assert_false (append (1, 5, 0));
    limits.events = 10;
    limits.bytes = 0;
    assert_false (append (2, 5, 0));
    assert_int_equal (history.lost, 2);
    expect_held (0, 0, 0);
    expect_evicted (0, 0, 0, 0);
}

static void test_age (void **state)
{
    (void) state;
    for (uint64_t offset = 1; offset <= 5; offset++)
        assert_true (append (offset, 5, (int64_t) offset * S_NS));
    history_expire (&history, &limits, 12 * S_NS - 1);
    expect_held (2, 5, 5);
    history_expire (&history, &limits, 12 * S_NS); /* exactly the limit is too old */
    expect_held (3, 5, 5);
    expect_evicted (0, 0, 2, 0);
    assert_int_equal (history.lost, 2);
    history_expire (&history, &limits, 15 * S_NS);
    expect_held (0, 0, 0);
    assert_null (history.ring);
    assert_int_equal (history.lost, 5);
    expect_evicted (0, 0, 5, 0);
}

static void test_append_expires (void **state)
{
    (void) state;
    assert_true (append (1, 5, 0));
    assert_true (append (2, 5, 5 * S_NS));
    assert_true (append (3, 5, 12 * S_NS));
    expect_held (2, 3, 5);
    expect_evicted (0, 0, 1, 0);
}

static void test_clear (void **state)
{
    (void) state;
    for (uint64_t offset = 1; offset <= 20; offset++)
        assert_true (append (offset, 5, 0));
    history_clear (&history, EVICTION_age);
    expect_held (0, 0, 0);
    expect_evicted (0, 0, 20, 0);
    assert_int_equal (history.lost, 20);
    assert_true (append (21, 5, 0));
    expect_held (21, 21, 5);
}

/* The ring turns and grows; the held ones are always the last ones. */
static void test_turning_ring (void **state)
{
    (void) state;
    for (uint64_t offset = 1; offset <= 2000; offset++) {
        limits.events = (uint32_t) (1 + offset / 20);
        assert_true (append (offset, 5, 0));
        uint64_t first = offset - history.n + 1;
        assert_int_equal (history.lost, first - 1);
        for (uint64_t i = first - 1; i < offset; i++)
            assert_int_equal (after (i), i + 1);
        assert_true (history.n <= limits.events);
    }
    assert_int_equal (history.n, 101);
}

static void expect_bytes (uint64_t offset, size_t n)
{
    char expected[4096];
    const struct history_entry *entry = history_after (&history, offset - 1);
    assert_non_null (entry);
    assert_int_equal (entry->offset, offset);
    assert_int_equal (entry->n, n);
    memset (expected, (int) offset, n);
    assert_memory_equal (entry->bytes, expected, n);
}

static size_t size_of (uint64_t offset)
{
    return (size_t) (offset * 137 % 4097);
}

/* Entries of all sizes share blocks, which go as their entries go; what is held stays whole. */
static void test_blocks (void **state)
{
    (void) state;
    limits.bytes = 60000;
    for (uint64_t offset = 1; offset <= 500; offset++) {
        assert_true (append (offset, size_of (offset), 0));
        for (uint64_t held = offset - history.n + 1; held <= offset; held++)
            expect_bytes (held, size_of (held));
    }
    history_clear (&history, EVICTION_total);
    assert_null (history.last);
    assert_true (append (501, 10, 0));
    expect_bytes (501, 10);
}

/* Whoever has few events holds no more memory for them than that. */
static void test_first_blocks_are_small (void **state)
{
    (void) state;
    assert_true (append (1, 100, 0));
    struct history_block *first = history.last;
    assert_true (append (2, 100, 0)); /* did not fit */
    assert_ptr_not_equal (history.last, first);
    struct history_block *second = history.last;
    assert_ptr_equal (history_after (&history, 1)->block, second);
    assert_ptr_equal (history_after (&history, 0)->block, first);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_empty),
        TEST (test_entry_is_a_copy),
        TEST (test_after),
        TEST (test_limit_of_events),
        TEST (test_limit_of_bytes),
        TEST (test_too_big_loses_all),
        TEST (test_switched_off),
        TEST (test_age),
        TEST (test_append_expires),
        TEST (test_clear),
        TEST (test_turning_ring),
        TEST (test_blocks),
        TEST (test_first_blocks_are_small),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
