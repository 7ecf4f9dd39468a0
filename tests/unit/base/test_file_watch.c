#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/file_watch.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

static int make_folder (void **state)
{
    (void) state;
    strcpy (folder, "/tmp/file-watch-XXXXXX");
    return mkdtemp (folder) && chdir (folder) == 0 ? 0 : -1;
}

static int remove_folder (void **state)
{
    static const char *const names[] = {"file", "other", "link", "new", "a/file", "b/file", "a", "b"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (names); i++)
        remove (names[i]);
    return chdir ("/") == 0 && rmdir (folder) == 0 ? 0 : -1;
}

/* The times are given, so that no two of them are the same by chance. */
static void put (const char *path, const char *text, int second)
{
    struct timespec times[2] = {{.tv_sec = second}, {.tv_sec = second}};
    FILE *file = fopen (path, "w");
    assert_non_null (file);
    assert_true (fputs (text, file) >= 0 && fclose (file) == 0);
    assert_int_equal (utimensat (AT_FDCWD, path, times, 0), 0);
}

static void sees_no_change_where_there_is_none (void **state)
{
    struct file_watch watch;
    (void) state;
    put ("file", "a", 1);
    file_watch_note (&watch, "file");
    assert_false (file_watch_differs (&watch, "file"));
    assert_false (file_watch_differs (&watch, "./file"));
}

static void sees_another_time_and_another_size (void **state)
{
    struct file_watch watch;
    (void) state;
    put ("file", "a", 1);
    file_watch_note (&watch, "file");
    put ("file", "b", 2);
    assert_true (file_watch_differs (&watch, "file"));
    file_watch_note (&watch, "file");
    assert_false (file_watch_differs (&watch, "file"));
    put ("file", "bc", 2);
    assert_true (file_watch_differs (&watch, "file"));
}

static void sees_another_file_of_the_same_size_and_time (void **state)
{
    struct file_watch watch;
    (void) state;
    put ("file", "a", 1);
    put ("other", "b", 1);
    file_watch_note (&watch, "file");
    assert_int_equal (rename ("other", "file"), 0);
    assert_true (file_watch_differs (&watch, "file"));
}

static void sees_it_come_and_go (void **state)
{
    struct file_watch watch;
    (void) state;
    remove ("file");
    file_watch_note (&watch, "file");
    assert_false (file_watch_differs (&watch, "file"));
    put ("file", "a", 1);
    assert_true (file_watch_differs (&watch, "file"));
    file_watch_note (&watch, "file");
    assert_int_equal (remove ("file"), 0);
    assert_true (file_watch_differs (&watch, "file"));
}

static void looks_behind_links (void **state)
{
    struct file_watch watch;
    (void) state;
    assert_int_equal (mkdir ("a", 0700), 0);
    assert_int_equal (mkdir ("b", 0700), 0);
    put ("a/file", "x", 1);
    put ("b/file", "x", 1);
    assert_int_equal (symlink ("a", "link"), 0);
    file_watch_note (&watch, "link/file");
    assert_int_equal (symlink ("a", "new"), 0);
    assert_int_equal (rename ("new", "link"), 0);
    assert_false (file_watch_differs (&watch, "link/file")); /* another link to the same file */
    assert_int_equal (symlink ("b", "new"), 0);
    assert_int_equal (rename ("new", "link"), 0);
    assert_true (file_watch_differs (&watch, "link/file"));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (sees_no_change_where_there_is_none),
        cmocka_unit_test (sees_another_time_and_another_size),
        cmocka_unit_test (sees_another_file_of_the_same_size_and_time),
        cmocka_unit_test (sees_it_come_and_go),
        cmocka_unit_test (looks_behind_links),
    };
    return cmocka_run_group_tests (tests, make_folder, remove_folder);
}
