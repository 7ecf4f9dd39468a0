/* Samples of the last minutes: what is in them, the ring's end, and quantiles as Prometheus takes them. */
#include "core/recent.h"
#include "base/clock.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct recent recent;
static int64_t now;

static int set_up (void **state)
{
    (void) state;
    metrics_reset ();
    now = 7 * S_NS;
    recent_init (&recent, now);
    return 0;
}

static void take_after (int64_t ns)
{
    now += ns;
    recent_take (&recent, now);
}

/* What `put` writes, parsed. */
static json_t *samples_after (uint64_t after)
{
    struct doc doc;
    struct buf out;
    buf_init (&out, 0);
    doc_init (&doc, &out, FORM_JSON);
    recent_put (&recent, &doc, after);
    json_t *value = json_loadb ((char *) out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null (value);
    buf_fini (&out);
    return value;
}

static void expect_json (const json_t *value, const char *wanted)
{
    char *got = json_dumps (value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION (6));
    assert_string_equal (got, wanted);
    free (got);
}

/* Sample `i` of the document without its time. */
static void expect_sample (json_t *document, size_t i, const char *wanted)
{
    json_t *sample = json_array_get (json_object_get (document, "samples"), i);
    assert_non_null (sample);
    assert_true (json_real_value (json_array_get (sample, 0)) > 1e9);
    json_array_remove (sample, 0);
    expect_json (sample, wanted);
}

static void test_counts_since_the_last (void **state)
{
    (void) state;
    metric_add (M_EVENTS_RECEIVED, 0, 3);
    metric_add (M_EVENTS_DELIVERED, 1, 5);
    metric_set (M_CONNECTIONS, 6, 4);
    metric_set (M_CONNECTIONS, 9, 2); /* closing: not there any more */
    metric_set (M_RUNS_ACTIVE, 0, 1);
    take_after (S_NS);
    metric_add (M_EVENTS_RECEIVED, 8, 2);
    metric_observe (M_EVENT_DELIVERY, 0.02);
    take_after (S_NS / 2);
    take_after (S_NS);
    json_t *document = samples_after (0);
    assert_int_equal (json_integer_value (json_object_get (document, "last")), 3);
    expect_sample (document, 0, "[1.0,3.0,5.0,4.0,1.0,[null,null,null]]");
    expect_sample (document, 1, "[0.5,2.0,0.0,4.0,1.0,[0.015,0.0195,0.0199]]");
    expect_sample (document, 2, "[1.0,0.0,0.0,4.0,1.0,[null,null,null]]");
    json_decref (document);
}

static void expect_numbers (uint64_t after, uint64_t last, size_t samples)
{
    json_t *document = samples_after (after);
    assert_int_equal (json_integer_value (json_object_get (document, "last")), last);
    assert_int_equal (json_array_size (json_object_get (document, "samples")), samples);
    json_decref (document);
}

static void test_after (void **state)
{
    (void) state;
    expect_numbers (0, 0, 0);
    expect_numbers (5, 0, 0);
    for (int i = 0; i < 4; i++)
        take_after (S_NS);
    expect_numbers (0, 4, 4);
    expect_numbers (3, 4, 1);
    expect_numbers (4, 4, 0);
    expect_numbers (5, 4, 4); /* the number of another process */
}

static void test_ring_ends (void **state)
{
    (void) state;
    for (int i = 0; i < RECENT_SAMPLES + 7; i++) {
        metric_add (M_EVENTS_RECEIVED, 0, i);
        take_after (S_NS);
    }
    expect_numbers (0, RECENT_SAMPLES + 7, RECENT_SAMPLES);
    expect_numbers (6, RECENT_SAMPLES + 7, RECENT_SAMPLES);
    expect_numbers (8, RECENT_SAMPLES + 7, RECENT_SAMPLES - 1);
    json_t *document = samples_after (0);
    expect_sample (document, 0, "[1.0,7.0,0.0,0.0,0.0,[null,null,null]]");
    expect_sample (document, RECENT_SAMPLES - 1, "[1.0,306.0,0.0,0.0,0.0,[null,null,null]]");
    json_decref (document);
}

static void expect_delivery (unsigned samples, const char *wanted)
{
    struct doc doc;
    struct buf out;
    buf_init (&out, 0);
    doc_init (&doc, &out, FORM_JSON);
    recent_put_delivery (&recent, &doc, samples);
    assert_true (slice_is (buf_slice (&out), wanted));
    buf_fini (&out);
}

static void test_delivery_of_the_last (void **state)
{
    (void) state;
    metric_observe (M_EVENT_DELIVERY, 100); /* over all bounds: counts as the last one */
    take_after (S_NS);
    metric_observe (M_EVENT_DELIVERY, 0.0001);
    take_after (S_NS);
    expect_delivery (1, "[0.000250,0.000475,0.000495]");
    expect_delivery (2, "[0.000500,10.000000,10.000000]");
    expect_delivery (600, "[0.000500,10.000000,10.000000]");
    take_after (S_NS);
    expect_delivery (1, "[null,null,null]");
}

static void test_quantiles (void **state)
{
    (void) state;
    static const double bounds[] = {1, 2, 4};
    static const struct {
        double counts[4], q, wanted;
    } cases[] = {
        {{0, 0, 0, 0}, 0.5, -1}, {{4, 0, 0, 0}, 0.5, 0.5}, {{4, 0, 0, 0}, 1, 1},   {{0, 10, 0, 0}, 0.5, 1.5},
        {{1, 1, 2, 0}, 0.5, 2},  {{1, 1, 2, 0}, 0.75, 3},  {{0, 0, 0, 5}, 0.5, 4}, {{98, 0, 1, 1}, 0.99, 4},
    };
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        double got = recent_quantile (bounds, cases[i].counts, 3, cases[i].q);
        if (fabs (got - cases[i].wanted) > 1e-12)
            fail_msg ("case %zu: %g, not %g", i, got, cases[i].wanted);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup (test_counts_since_the_last, set_up),
        cmocka_unit_test_setup (test_after, set_up),
        cmocka_unit_test_setup (test_ring_ends, set_up),
        cmocka_unit_test_setup (test_delivery_of_the_last, set_up),
        cmocka_unit_test_setup (test_quantiles, set_up),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
