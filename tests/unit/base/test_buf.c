#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"

#define assert_text(buf, text)                                                                                         \
    do {                                                                                                               \
        assert_false ((buf)->failed);                                                                                  \
        assert_true (slice_is (buf_slice (buf), text));                                                                \
    } while (0)

static void appends_in_order (void **state)
{
    struct buf b;
    (void) state;
    buf_init (&b, 0);
    buf_put (&b, NULL, 0);
    assert_null (b.p);
    buf_put (&b, "ab", 2);
    buf_putc (&b, 'c');
    buf_puts (&b, "de");
    buf_printf (&b, "-%d-%s", 7, "x");
    assert_text (&b, "abcde-7-x");
    buf_reset (&b);
    assert_text (&b, "");
    buf_fini (&b);
    assert_null (b.p);
}

static void formats_beyond_its_small_buffer (void **state)
{
    struct buf b;
    (void) state;
    for (int n = 509; n <= 515; n++) {
        buf_init (&b, 0);
        buf_printf (&b, "<%*d>", n, 1);
        assert_int_equal (b.n, n + 2);
        assert_int_equal (b.p[0], '<');
        assert_int_equal (b.p[n + 1], '>');
        buf_fini (&b);
    }
}

static void limit_is_exact (void **state)
{
    static const struct {
        size_t first, second, kept;
        bool failed;
    } rows[] = {{4, 4, 8, false}, {4, 5, 4, true}, {8, 0, 8, false}, {9, 0, 0, true}, {8, 1, 8, true}};
    struct buf b;
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        buf_init (&b, 8);
        buf_put (&b, "0123456789", rows[i].first);
        buf_put (&b, "0123456789", rows[i].second);
        assert_int_equal (b.n, rows[i].kept);
        assert_int_equal (b.failed, rows[i].failed);
        buf_fini (&b);
    }
}

static void extends_for_others_to_write (void **state)
{
    struct buf b;
    (void) state;
    buf_init (&b, 300);
    for (size_t n = 1; n <= 24; n++) /* 300 bytes: beyond the first allocation */
        memset (buf_extend (&b, n), (int) ('a' + n), n);
    assert_int_equal (b.n, 300);
    assert_true (b.cap > 300);
    for (size_t n = 1, at = 0; n <= 24; at += n, n++)
        for (size_t i = at; i < at + n; i++)
            assert_int_equal (b.p[i], 'a' + n);
    assert_ptr_equal (buf_extend (&b, 0), b.p + 300);
    assert_null (buf_extend (&b, 1));
    assert_true (b.failed);
    assert_null (buf_extend (&b, 0));
    assert_int_equal (b.n, 300);
    buf_reset (&b);
    assert_null (buf_extend (&b, SIZE_MAX));
    buf_fini (&b);
}

static void error_sticks_until_reset (void **state)
{
    struct buf b;
    (void) state;
    buf_init (&b, 2);
    buf_puts (&b, "abc");
    buf_putc (&b, 'x');
    buf_puts (&b, "y");
    assert_true (b.failed);
    assert_int_equal (b.n, 0);
    assert_false (buf_reserve (&b, 1));
    buf_reset (&b);
    buf_puts (&b, "ab");
    assert_text (&b, "ab");
    buf_putc (&b, 'c');
    assert_true (b.failed);
    assert_int_equal (b.n, 2);
    buf_fini (&b);
    assert_int_equal (b.limit, 2);
}

static void absurd_sizes_fail (void **state)
{
    struct buf b;
    (void) state;
    buf_init (&b, 0);
    buf_puts (&b, "a");
    assert_false (buf_reserve (&b, SIZE_MAX));
    assert_true (b.failed);
    assert_int_equal (b.n, 1);
    buf_fini (&b);
}

static void steals_a_string (void **state)
{
    struct buf b;
    (void) state;
    buf_init (&b, 0);
    char *empty = buf_steal_str (&b);
    assert_string_equal (empty, "");
    free (empty);
    for (int i = 0; i < 256; i++) /* exactly full */
        buf_putc (&b, 'z');
    char *full = buf_steal_str (&b);
    assert_int_equal (strlen (full), 256);
    assert_null (b.p);
    free (full);
    buf_init (&b, 1);
    buf_puts (&b, "ab");
    assert_null (buf_steal_str (&b));
    assert_false (b.failed);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (appends_in_order),
        cmocka_unit_test (formats_beyond_its_small_buffer),
        cmocka_unit_test (limit_is_exact),
        cmocka_unit_test (error_sticks_until_reset),
        cmocka_unit_test (absurd_sizes_fail),
        cmocka_unit_test (steals_a_string),
        cmocka_unit_test (extends_for_others_to_write),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
