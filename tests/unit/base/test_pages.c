/* Blocks of a page: aligned, apart from each other, used again, and given back region by region. */
#include "base/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define PER_REGION 511
#define MANY       (2 * PER_REGION + 1) /* the last one begins a third region */

static void *blocks[MANY];

static void take_all (void)
{
    for (size_t i = 0; i < MANY; i++) {
        blocks[i] = pages_get ();
        assert_non_null (blocks[i]);
        assert_int_equal ((uintptr_t) blocks[i] % PAGES_BLOCK, 0);
        memset (blocks[i], (int) i, PAGES_BLOCK);
    }
}

static void put_all (void)
{
    for (size_t i = 0; i < MANY; i++)
        pages_put (blocks[i]);
    assert_int_equal (pages_regions (), 0);
}

static void test_apart (void **state)
{
    uint8_t expected[PAGES_BLOCK];
    (void) state;
    take_all ();
    assert_int_equal (pages_regions (), 3);
    for (size_t i = 0; i < MANY; i++) {
        memset (expected, (int) i, sizeof expected);
        assert_memory_equal (blocks[i], expected, sizeof expected);
    }
    put_all ();
}

/* What was put back is given again before anything new is mapped, also from a region that was full. */
static void test_used_again (void **state)
{
    (void) state;
    take_all ();
    for (size_t i = 0; i < PER_REGION - 1; i++)
        pages_put (blocks[i]);
    assert_int_equal (pages_regions (), 3);
    for (size_t i = 0; i < PER_REGION - 1; i++)
        blocks[i] = pages_get ();
    assert_int_equal (pages_regions (), 3);
    put_all ();
}

/* A region goes with its last block, whichever that is. */
static void test_given_back (void **state)
{
    (void) state;
    take_all ();
    pages_put (blocks[MANY - 1]);
    assert_int_equal (pages_regions (), 2);
    for (size_t i = PER_REGION; i > 0; i--)
        pages_put (blocks[i - 1]);
    assert_int_equal (pages_regions (), 1);
    for (size_t i = PER_REGION; i < MANY - 1; i++)
        pages_put (blocks[i]);
    assert_int_equal (pages_regions (), 0);
}

static void test_nothing (void **state)
{
    (void) state;
    pages_put (NULL);
    assert_int_equal (pages_regions (), 0);
}

/* What the heap has grown by is in memory before it is touched, unless it was much at once. */
static void test_warm_heap (void **state)
{
    (void) state;
    static const size_t growths[] = {(size_t) 128 << 10, (size_t) 2 << 20};
    for (size_t i = 0; i < 2; i++) {
        unsigned char there[512];
        pages_warm_heap ();
        char *from = sbrk ((intptr_t) growths[i]);
        pages_warm_heap ();
        char *first = (char *) (((uintptr_t) from + PAGES_BLOCK - 1) & ~(uintptr_t) (PAGES_BLOCK - 1));
        size_t pages = growths[i] / PAGES_BLOCK - 1, resident = 0;
        assert_int_equal (mincore (first, pages * PAGES_BLOCK, there), 0);
        for (size_t page = 0; page < pages; page++)
            resident += there[page] & 1;
        if (i == 0 && resident == 0)
            skip (); /* a kernel before 5.14 */
        assert_int_equal (resident, i == 0 ? pages : 0);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_apart),   cmocka_unit_test (test_used_again), cmocka_unit_test (test_given_back),
        cmocka_unit_test (test_nothing), cmocka_unit_test (test_warm_heap),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
