/* Connections per address: counted up and down, IPv6 by /64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/addresses.h"

static struct addresses addresses;

static bool join (const char *text, int64_t limit, struct address **joined)
{
    struct ip ip = {0};
    if (*text)
        assert_true (ip_parse (slice_str (text), &ip));
    return addresses_join (&addresses, &ip, limit, joined);
}

static void test_limit (void **state)
{
    (void) state;
    struct address *first, *second, *third, *other;
    assert_true (join ("192.0.2.1", 2, &first));
    assert_true (join ("192.0.2.1", 2, &second));
    assert_false (join ("192.0.2.1", 2, &third));
    assert_null (third);
    addresses_leave (&addresses, &third); /* one that was refused has nothing to give back */
    assert_false (join ("192.0.2.1", 2, &third));
    assert_true (join ("192.0.2.2", 2, &other));
    addresses_leave (&addresses, &first);
    assert_null (first);
    assert_true (join ("192.0.2.1", 2, &third));
    assert_false (join ("192.0.2.1", 1, &first)); /* the limit was lowered */
    assert_true (join ("192.0.2.1", 0, &first));  /* none */
    assert_int_equal (map_size (&addresses.map), 2);
    addresses_leave (&addresses, &first);
    addresses_leave (&addresses, &second);
    addresses_leave (&addresses, &third);
    addresses_leave (&addresses, &other);
    assert_int_equal (map_size (&addresses.map), 0);
}

static void test_ipv6 (void **state)
{
    (void) state;
    struct address *first, *second, *third;
    assert_true (join ("2001:db8::1", 1, &first));
    assert_false (join ("2001:db8::ffff:0:0:2", 1, &second));
    assert_true (join ("2001:db8:0:1::1", 1, &third));
    addresses_leave (&addresses, &first);
    assert_true (join ("2001:db8::ffff:0:0:2", 1, &second));
    addresses_leave (&addresses, &second);
    addresses_leave (&addresses, &third);
    assert_int_equal (map_size (&addresses.map), 0);
}

static void test_no_address (void **state)
{
    (void) state;
    struct address *joined;
    for (int i = 0; i < 3; i++) {
        assert_true (join ("", 1, &joined));
        assert_null (joined);
    }
}

static int set_up (void **state)
{
    (void) state;
    addresses_init (&addresses);
    return 0;
}

static int tear_down (void **state)
{
    (void) state;
    addresses_fini (&addresses);
    return 0;
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown (test_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown (test_ipv6, set_up, tear_down),
        cmocka_unit_test_setup_teardown (test_no_address, set_up, tear_down),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
