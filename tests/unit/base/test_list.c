#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
    char name;
    struct list link;
};

/* The names of the members in order, checked in both directions. */
static const char *names (const struct list *head)
{
    static char text[16];
    size_t n = 0;
    LIST_FOREACH (head, it)
        text[n++] = LIST_ENTRY (it, struct item, link)->name;
    text[n] = '\0';
    for (const struct list *it = head->prev; it != head; it = it->prev)
        assert_int_equal (text[--n], LIST_ENTRY (it, struct item, link)->name);
    assert_int_equal (n, 0);
    return text;
}

static void fill (struct list *head, struct item *items, const char *text)
{
    list_init (head);
    for (size_t i = 0; text[i]; i++) {
        items[i].name = text[i];
        list_append (head, &items[i].link);
    }
}

static void appends_and_pops_first_in_first_out (void **state)
{
    struct list head;
    struct item items[3];
    (void) state;
    fill (&head, items, "abc");
    assert_string_equal (names (&head), "abc");
    for (size_t i = 0; i < 3; i++) {
        assert_ptr_equal (list_pop (&head), &items[i].link);
        assert_true (list_empty (&items[i].link));
    }
    assert_true (list_empty (&head));
    assert_null (list_pop (&head));
}

static void removes_anywhere_and_twice (void **state)
{
    static const char *const left[] = {"bc", "ac", "ab"};
    (void) state;
    for (size_t i = 0; i < 3; i++) {
        struct list head;
        struct item items[3];
        fill (&head, items, "abc");
        list_remove (&items[i].link);
        list_remove (&items[i].link);
        assert_string_equal (names (&head), left[i]);
    }
}

static void moves_all (void **state)
{
    static const struct {
        const char *to, *from, *all;
    } rows[] = {{"", "", ""}, {"ab", "", "ab"}, {"", "cd", "cd"}, {"ab", "cd", "abcd"}, {"a", "c", "ac"}};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct list to, from;
        struct item a[4], b[4];
        fill (&to, a, rows[i].to);
        fill (&from, b, rows[i].from);
        list_move_all (&to, &from);
        assert_string_equal (names (&to), rows[i].all);
        assert_true (list_empty (&from));
    }
}

static void body_of_foreach_may_remove_its_member (void **state)
{
    struct list head;
    struct item items[4];
    (void) state;
    fill (&head, items, "abcd");
    LIST_FOREACH (&head, it)
        if (LIST_ENTRY (it, struct item, link)->name % 2)
            list_remove (it);
    assert_string_equal (names (&head), "bd");
    LIST_FOREACH (&head, it)
        list_remove (it);
    assert_true (list_empty (&head));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (appends_and_pops_first_in_first_out),
        cmocka_unit_test (removes_anywhere_and_twice),
        cmocka_unit_test (moves_all),
        cmocka_unit_test (body_of_foreach_may_remove_its_member),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
