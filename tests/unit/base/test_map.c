#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/map.h"

#define MANY 5000

struct item {
    char key[16];
    bool in; /* what the map is expected to hold */
    unsigned seen;
};

static struct item items[MANY];

static struct slice item_key (const void *value)
{
    return slice_str (((const struct item *) value)->key);
}

static int name_items (void **state)
{
    (void) state;
    for (unsigned i = 0; i < MANY; i++) {
        snprintf (items[i].key, sizeof items[i].key, "k%u", i);
        items[i].in = false;
    }
    return 0;
}

static void assert_holds_what_is_expected (const struct map *map)
{
    size_t n = 0, cursor = 0;
    for (unsigned i = 0; i < MANY; i++) {
        items[i].seen = 0;
        n += items[i].in;
        assert_ptr_equal (map_get (map, item_key (&items[i])), items[i].in ? &items[i] : NULL);
    }
    assert_int_equal (map_size (map), n);
    for (struct item *item; (item = map_next (map, &cursor));)
        item->seen++;
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal (items[i].seen, items[i].in);
}

static void empty_map_knows_nothing (void **state)
{
    struct map map;
    size_t cursor = 0;
    (void) state;
    map_init (&map, item_key);
    assert_null (map_get (&map, slice_str ("k1")));
    assert_null (map_remove (&map, slice_str ("k1")));
    assert_null (map_next (&map, &cursor));
    assert_int_equal (map_size (&map), 0);
    map_fini (&map);
}

static void keys_are_bytes (void **state)
{
    struct item plain = {.key = "a"}, empty = {.key = ""};
    struct map map;
    (void) state;
    map_init (&map, item_key);
    assert_true (map_put (&map, &plain));
    assert_true (map_put (&map, &empty));
    assert_ptr_equal (map_get (&map, slice_of ("abc", 1)), &plain);
    assert_null (map_get (&map, slice_of ("a", 2)));
    assert_ptr_equal (map_get (&map, slice_of (NULL, 0)), &empty);
    map_fini (&map);
    assert_int_equal (map_size (&map), 0);
    assert_true (map_put (&map, &plain)); /* as good as new */
    map_fini (&map);
}

static void grows_and_shrinks (void **state)
{
    struct map map;
    (void) state;
    map_init (&map, item_key);
    for (unsigned i = 0; i < MANY; i++) {
        items[i].in = true;
        assert_true (map_put (&map, &items[i]));
    }
    assert_holds_what_is_expected (&map);
    assert_true (map.cap <= 2 * MANY);
    for (unsigned i = 0; i < MANY - 3; i++) {
        items[i].in = false;
        assert_ptr_equal (map_remove (&map, item_key (&items[i])), &items[i]);
        assert_null (map_remove (&map, item_key (&items[i])));
    }
    assert_holds_what_is_expected (&map);
    assert_true (map.cap <= 32);
    map_fini (&map);
}

/* Long runs of neighbours make backward-shift deletion earn its keep. */
static void random_changes_agree_with_a_plain_array (void **state)
{
    struct map map;
    (void) state;
    map_init (&map, item_key);
    for (unsigned step = 0; step < 60000; step++) {
        unsigned range = step % 20000 < 10000 ? 40 : MANY;
        struct item *item = &items[random_below (range)];
        if (item->in)
            assert_ptr_equal (map_remove (&map, item_key (item)), item);
        else
            assert_true (map_put (&map, item));
        item->in = !item->in;
        if (step % 997 == 0)
            assert_holds_what_is_expected (&map);
    }
    assert_holds_what_is_expected (&map);
    map_fini (&map);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (empty_map_knows_nothing),
        cmocka_unit_test (keys_are_bytes),
        cmocka_unit_test_setup (grows_and_shrinks, name_items),
        cmocka_unit_test_setup (random_changes_agree_with_a_plain_array, name_items),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
