#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/accept.h"

#define PROMETHEUS_2                                                                                                   \
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"                    \
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
#define PROMETHEUS_3                                                                                                   \
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"                                           \
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"            \
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"

/* The list lies alone in memory, so that sanitizers see every byte that is read behind it. */
static struct accept read_alone (const char *text, const char *major, const char *minor, const char *version)
{
    size_t n = strlen (text);
    char *alone = malloc (n ? n : 1);
    assert_non_null (alone);
    slice_copy (alone, slice_of (text, n));
    struct accept found = accept_read (slice_of (alone, n), major, minor, version);
    free (alone);
    return found;
}

static void text_of_version_4 (void **state)
{
    static const struct {
        const char *list;
        enum accept_match match;
        unsigned quality;
    } rows[] = {
        {"", ACCEPT_NONE, 0},
        {"text/plain", ACCEPT_TYPE, 1000},
        {"TEXT/Plain ; Version=0.0.4", ACCEPT_VERSION, 1000},
        {"text/plain;version=\"0.0.4\";q=0.25", ACCEPT_VERSION, 250},
        {"text/plain;version=1.0.0", ACCEPT_NONE, 0},
        {"text/plainer, text, /, ;, text/", ACCEPT_NONE, 0},
        {"text/*;q=0.3", ACCEPT_ANY, 300},
        {"*/*", ACCEPT_ANY, 1000},
        {"*/plain", ACCEPT_NONE, 0},
        {"*/*;q=0.9, text/plain;q=0.1", ACCEPT_TYPE, 100},
        {"text/plain;q=0.1, */*;q=0.9", ACCEPT_TYPE, 100},
        {"text/plain;q=0.1, text/plain;q=0.2", ACCEPT_TYPE, 200},
        {"text/plain;q=0", ACCEPT_TYPE, 0},
        {"text/plain;q=0.", ACCEPT_TYPE, 0},
        {"text/plain;q=1.000", ACCEPT_TYPE, 1000},
        {"text/plain;q=0.075", ACCEPT_TYPE, 75},
        {"text/plain;q=0.0755", ACCEPT_NONE, 0},
        {"text/plain;q=1.001", ACCEPT_NONE, 0},
        {"text/plain;q=2", ACCEPT_NONE, 0},
        {"text/plain;q=", ACCEPT_NONE, 0},
        {"text/plain;q", ACCEPT_NONE, 0},
        {"text/plain;q=-1", ACCEPT_NONE, 0},
        {"text/plain;q=.5", ACCEPT_NONE, 0},
        {"text/plain;q=0,5", ACCEPT_TYPE, 0},
        {"text/plain;charset=utf-8;;q=0.5", ACCEPT_TYPE, 500},
        {PROMETHEUS_2, ACCEPT_VERSION, 500},
        {PROMETHEUS_3, ACCEPT_VERSION, 300},
    };
    (void) state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct accept found = read_alone (rows[i].list, "text", "plain", "0.0.4");
        if (found.match != rows[i].match || found.quality != rows[i].quality)
            fail_msg ("%s: %d, %u", rows[i].list, found.match, found.quality);
    }
}

static void openmetrics_of_version_1 (void **state)
{
    (void) state;
    struct accept found = read_alone (PROMETHEUS_2, "application", "openmetrics-text", "1.0.0");
    assert_int_equal (found.match, ACCEPT_VERSION);
    assert_int_equal (found.quality, 1000);
    found = read_alone (PROMETHEUS_3, "application", "openmetrics-text", "1.0.0");
    assert_int_equal (found.match, ACCEPT_VERSION);
    assert_int_equal (found.quality, 600);
    found = read_alone ("application/openmetrics-text;version=0.0.1", "application", "openmetrics-text", "1.0.0");
    assert_int_equal (found.match, ACCEPT_NONE);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (text_of_version_4),
        cmocka_unit_test (openmetrics_of_version_1),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
