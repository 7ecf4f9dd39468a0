/* The outbound queue: order, both limits, memory given back. */
#include "base/metrics.h"
#include "core/outq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct outq queue;

static int set_up (void **state)
{
    (void) state;
    metrics_reset ();
    outq_init (&queue);
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    outq_fini (&queue);
    assert_int_equal (queue.n, 0);
    assert_int_equal (queue.bytes, 0);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == 0);
    return 0;
}

/* A text frame of `n` bytes in all, each `c`. */
static struct msg *frame (char c, size_t n)
{
    char payload[1024];
    assert_true (n >= 2 && n <= 127);
    memset (payload, c, n - 2);
    struct msg *msg = msg_new (WS_TEXT, slice_of (payload, n - 2));
    assert_non_null (msg);
    assert_int_equal (msg->n, n);
    return msg;
}

static enum outq_result push (char c, size_t n, size_t max_msgs, size_t max_bytes)
{
    struct msg *msg = frame (c, n);
    enum outq_result result = outq_push (&queue, msg, max_msgs, max_bytes);
    assert_int_equal (msg->refs, result == OUTQ_OK ? 2 : 1);
    msg_unref (&msg);
    return result;
}

static void expect_pop (char c)
{
    struct msg *msg = outq_pop (&queue);
    assert_non_null (msg);
    assert_int_equal (msg->refs, 1);
    assert_int_equal (msg->bytes[2], c);
    msg_unref (&msg);
}

static void test_empty (void **state)
{
    (void) state;
    assert_null (outq_peek (&queue, 0));
    assert_null (outq_peek (&queue, UINT32_MAX));
    assert_null (outq_pop (&queue));
    assert_null (queue.ring);
}

static void test_order_and_peek (void **state)
{
    (void) state;
    for (char c = 'a'; c <= 'z'; c++)
        assert_int_equal (push (c, 10, 100, 1000), OUTQ_OK);
    assert_int_equal (queue.n, 26);
    assert_int_equal (queue.bytes, 260);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == 260);
    for (uint32_t i = 0; i < 26; i++)
        assert_int_equal (outq_peek (&queue, i)->bytes[2], 'a' + (int) i);
    assert_null (outq_peek (&queue, 26));
    for (char c = 'a'; c <= 'z'; c++)
        expect_pop (c);
    assert_null (outq_pop (&queue));
}

static void test_message_limit (void **state)
{
    (void) state;
    assert_int_equal (push ('a', 10, 2, 1000), OUTQ_OK);
    assert_int_equal (push ('b', 10, 2, 1000), OUTQ_OK);
    assert_int_equal (push ('c', 10, 2, 1000), OUTQ_FULL);
    assert_int_equal (queue.n, 2);
    assert_int_equal (queue.bytes, 20);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == 20);
    expect_pop ('a');
    assert_int_equal (push ('d', 10, 2, 1000), OUTQ_OK);
    expect_pop ('b');
    expect_pop ('d');
}

/* Exactly at the limit is within it; header bytes count. */
static void test_byte_limit (void **state)
{
    (void) state;
    assert_int_equal (push ('a', 60, 100, 100), OUTQ_OK);
    assert_int_equal (push ('b', 41, 100, 100), OUTQ_FULL);
    assert_int_equal (push ('c', 40, 100, 100), OUTQ_OK);
    assert_int_equal (queue.bytes, 100);
    assert_int_equal (push ('d', 2, 100, 100), OUTQ_FULL);
}

static void test_empty_queue_takes_any (void **state)
{
    (void) state;
    assert_int_equal (push ('a', 120, 1, 10), OUTQ_OK);
    assert_int_equal (push ('b', 2, 1, 10), OUTQ_FULL);
    expect_pop ('a');
    assert_int_equal (push ('c', 120, 0, 0), OUTQ_OK);
    assert_int_equal (push ('d', 2, 0, 0), OUTQ_FULL);
}

static void test_shared_frame (void **state)
{
    (void) state;
    struct outq other;
    struct msg *msg = frame ('x', 20);
    outq_init (&other);
    assert_int_equal (outq_push (&queue, msg, 10, 1000), OUTQ_OK);
    assert_int_equal (outq_push (&other, msg, 10, 1000), OUTQ_OK);
    assert_int_equal (msg->refs, 3);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == 40); /* what waits for each client */
    outq_fini (&other);
    assert_int_equal (msg->refs, 2);
    assert_true (metric_get (M_QUEUE_BYTES, 0) == 20);
    msg_unref (&msg);
    assert_null (msg);
}

static void test_memory_is_given_back (void **state)
{
    (void) state;
    for (int i = 0; i < OUTQ_INLINE; i++)
        assert_int_equal (push ('a', 10, 100, 1000), OUTQ_OK);
    assert_null (queue.ring); /* the inline slots do */
    assert_int_equal (push ('b', 10, 100, 1000), OUTQ_OK);
    assert_non_null (queue.ring);
    expect_pop ('a');
    expect_pop ('a');
    assert_non_null (queue.ring);
    expect_pop ('b');
    assert_null (queue.ring);
    assert_int_equal (queue.cap, OUTQ_INLINE);
}

/* Against a plain count: what goes in comes out in order, however the ring turns and grows. */
static void test_turning_ring (void **state)
{
    (void) state;
    uint32_t in = 0, out = 0, seed = 12345, bytes = 0;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1664525 + 1013904223;
        if (seed >> 16 & 1 || in == out) {
            enum outq_result result = push ((char) ('A' + in % 50), 10, 40, 1000);
            assert_int_equal (result, in - out < 40 ? OUTQ_OK : OUTQ_FULL);
            in += result == OUTQ_OK;
        } else
            expect_pop ((char) ('A' + out++ % 50));
        bytes = (in - out) * 10;
        assert_int_equal (queue.n, in - out);
        assert_int_equal (queue.bytes, bytes);
    }
    assert_true (in > 5000);
}

#define TEST(function) cmocka_unit_test_setup_teardown (function, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (test_empty),
        TEST (test_order_and_peek),
        TEST (test_message_limit),
        TEST (test_byte_limit),
        TEST (test_empty_queue_takes_any),
        TEST (test_shared_frame),
        TEST (test_memory_is_given_back),
        TEST (test_turning_ring),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
