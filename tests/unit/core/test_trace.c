/* What of a traceparent may be logged. */
#include "base/check.h"
#include "core/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define TRACE  "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static void test_valid (void **state)
{
    (void) state;
    static const char *const good[] = {
        "00-" TRACE "-" PARENT "-01",
        "00-" TRACE "-" PARENT "-00",
        "fe-" TRACE "-" PARENT "-ff",
        "01-" TRACE "-" PARENT "-01-what-comes.later",
    };
    for (size_t i = 0; i < COUNT_OF (good); i++)
        if (!traceparent_valid (slice_str (good[i])))
            fail_msg ("refused: %s", good[i]);
}

static void test_not_valid (void **state)
{
    (void) state;
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" PARENT "-0",
        "00-" TRACE "-" PARENT "-0g",
        "00-" TRACE "-" PARENT "-011",
        "00-" TRACE "-" PARENT "-01-more",
        "01-" TRACE "-" PARENT "-01.more",
        "01-" TRACE "-" PARENT "-01-more\n",
        "01-" TRACE "-" PARENT "-01-\x1b[31m",
        "ff-" TRACE "-" PARENT "-01",
        "0G-" TRACE "-" PARENT "-01",
        "00_" TRACE "-" PARENT "-01",
        "00-" TRACE "_" PARENT "-01",
        "00-" TRACE "-" PARENT "_01",
        "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
        "00-" TRACE "-B7AD6B7169203331-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "01-" TRACE "-" PARENT "-01-0123456789012345678901234567890123456789012345678901234567890123456789012",
    };
    for (size_t i = 0; i < COUNT_OF (bad); i++)
        if (traceparent_valid (slice_str (bad[i])))
            fail_msg ("taken: %s", bad[i]);
    assert_false (traceparent_valid (slice_of ("00-" TRACE "-" PARENT "-\0\0", 55)));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_valid),
        cmocka_unit_test (test_not_valid),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
