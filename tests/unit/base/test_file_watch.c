#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_watch.h"

static struct file_watch watch;

/* Everything happens in an empty directory of its own, with one file in it. */
static int set_up (void **state)
{
    char dir[] = "/tmp/test_file_watch.XXXXXX";
    assert_non_null (mkdtemp (dir));
    assert_int_equal (chdir (dir), 0);
    *state = strdup (dir);
    return *state ? 0 : -1;
}

static int tear_down (void **state)
{
    static const char *const names[] = {"a", "b", "new", "data", "1/key", "2/key", "1", "2"};
    for (size_t i = 0; i < COUNT_OF (names); i++)
        (void) remove (names[i]);
    assert_int_equal (chdir ("/"), 0);
    assert_int_equal (rmdir (*state), 0);
    free (*state);
    return 0;
}

static void write_file (const char *path, const char *text)
{
    FILE *file = fopen (path, "w");
    assert_non_null (file);
    assert_true (fputs (text, file) >= 0);
    fclose (file);
}

static void set_mtime (const char *path, time_t s)
{
    const struct timespec times[2] = {{.tv_sec = s}, {.tv_sec = s}};
    assert_int_equal (utimensat (AT_FDCWD, path, times, 0), 0);
}

static void watch_files (const char *a, const char *b)
{
    file_watch_init (&watch);
    file_watch_add (&watch, a);
    file_watch_add (&watch, b);
}

/* In motion at the first look, still at the second, known from then on. */
static void expect_one_change (void)
{
    assert_false (file_watch_look (&watch));
    assert_true (file_watch_look (&watch));
    assert_false (file_watch_look (&watch));
    assert_false (file_watch_look (&watch));
}

static void nothing_changes (void **state)
{
    (void) state;
    write_file ("a", "1");
    watch_files ("a", "");
    assert_int_equal (watch.n, 1);
    for (int i = 0; i < 3; i++)
        assert_false (file_watch_look (&watch));
}

static void written_in_place (void **state)
{
    (void) state;
    write_file ("a", "1");
    watch_files ("a", "");
    write_file ("a", "12");
    expect_one_change ();
    set_mtime ("a", 1000); /* the same size */
    expect_one_change ();
}

static void renamed_over (void **state)
{
    (void) state;
    write_file ("a", "1");
    set_mtime ("a", 1000);
    watch_files ("a", "");
    write_file ("new", "2");
    set_mtime ("new", 1000);
    assert_int_equal (rename ("new", "a"), 0);
    expect_one_change ();
}

/* As Kubernetes does: the file's own link stays, a folder's link on the way changes. */
static void link_swapped (void **state)
{
    (void) state;
    assert_int_equal (mkdir ("1", 0700) | mkdir ("2", 0700), 0);
    write_file ("1/key", "1");
    write_file ("2/key", "2");
    assert_int_equal (symlink ("1", "data") | symlink ("data/key", "a"), 0);
    watch_files ("a", "");
    assert_int_equal (symlink ("2", "new") | rename ("new", "data"), 0);
    expect_one_change ();
}

static void gone_and_back (void **state)
{
    (void) state;
    write_file ("a", "1");
    watch_files ("a", "");
    assert_int_equal (unlink ("a"), 0);
    expect_one_change ();
    write_file ("a", "1");
    expect_one_change ();
}

/* Gone for one look only, and back as the same file: nothing to read. */
static void gone_for_a_moment (void **state)
{
    struct file_mark used;
    (void) state;
    write_file ("a", "1");
    watch_files ("a", "");
    used = watch.file[0].used;
    watch.file[0].seen = (struct file_mark){0};
    assert_false (file_watch_look (&watch));
    assert_false (file_watch_look (&watch));
    assert_memory_equal (&watch.file[0].used, &used, sizeof used);
}

/* Two files that belong together are read when both stand still, once. */
static void waits_for_all (void **state)
{
    (void) state;
    write_file ("a", "1");
    write_file ("b", "1");
    watch_files ("a", "b");
    write_file ("a", "12");
    assert_false (file_watch_look (&watch));
    write_file ("b", "12");
    assert_false (file_watch_look (&watch)); /* a stands still, b does not */
    write_file ("b", "123");
    assert_false (file_watch_look (&watch));
    assert_true (file_watch_look (&watch));
    assert_false (file_watch_look (&watch));
}

#define TEST(name) cmocka_unit_test_setup_teardown (name, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (nothing_changes), TEST (written_in_place),  TEST (renamed_over),  TEST (link_swapped),
        TEST (gone_and_back),   TEST (gone_for_a_moment), TEST (waits_for_all),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
