#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>

static struct ip ip_of (const char *text)
{
    struct ip ip;
    if (!ip_parse (slice_str (text), &ip))
        fail_msg ("%s is no address", text);
    return ip;
}

static void reads_and_writes_addresses (void **state)
{
    static const struct {
        const char *text, *written;
    } rows[] = {
        {"192.0.2.7", "192.0.2.7"},
        {"0.0.0.0", "0.0.0.0"},
        {"::1", "::1"},
        {"::", "::"},
        {"2001:DB8:0::1", "2001:db8::1"},
        {"::ffff:192.0.2.7", "192.0.2.7"},
        {"::ffff:c000:207", "192.0.2.7"},
        {"::192.0.2.7", "::192.0.2.7"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct ip ip = ip_of (rows[i].text);
        char text[IP_TEXT_LEN];
        ip_format (&ip, text);
        assert_string_equal (text, rows[i].written);
    }
}

static void refuses_what_is_no_address (void **state)
{
    static const char *const rows[] = {"",
                                       " ",
                                       "192.0.2",
                                       "192.0.2.7.1",
                                       "192.0.2.256",
                                       "192.0.2.07",
                                       "1.2.3.4 ",
                                       " 1.2.3.4",
                                       "1.2.3.4:80",
                                       "[::1]",
                                       "::1%lo",
                                       ":::",
                                       "0x7f.1",
                                       "2130706433",
                                       "1.2.3.4/32",
                                       "localhost",
                                       "g::1",
                                       "1.2.3.",
                                       "::1::",
                                       ":",
                                       "unknown",
                                       "_hidden",
                                       "1:2:3:4:5:6:7:8:9",
                                       "0000:0000:0000:0000:0000:0000:0000:0000:0000:00001"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct ip ip = ip_of ("192.0.2.1"), before = ip;
        if (ip_parse (slice_str (rows[i]), &ip))
            fail_msg ("\"%s\" was taken", rows[i]);
        assert_memory_equal (&ip, &before, sizeof ip);
    }
    struct ip ip;
    assert_false (ip_parse (slice_of ("1.2.3.4\0", 8), &ip));
    assert_false (ip_parse (slice_of (NULL, 0), &ip));
}

static void reads_sockets (void **state)
{
    (void) state;
    struct sockaddr_storage storage = {.ss_family = AF_INET6};
    struct ip ip, wanted = ip_of ("127.0.0.1");
    assert_int_equal (inet_pton (AF_INET6, "::ffff:127.0.0.1", &((struct sockaddr_in6 *) &storage)->sin6_addr), 1);
    ip = ip_of_socket (&storage);
    assert_memory_equal (&ip, &wanted, sizeof ip);
    storage = (struct sockaddr_storage){.ss_family = AF_INET};
    assert_int_equal (inet_pton (AF_INET, "127.0.0.1", &((struct sockaddr_in *) &storage)->sin_addr), 1);
    ip = ip_of_socket (&storage);
    assert_memory_equal (&ip, &wanted, sizeof ip);
    storage = (struct sockaddr_storage){.ss_family = AF_UNIX};
    ip = ip_of_socket (&storage);
    assert_int_equal (ip.n, 0);
    char text[IP_TEXT_LEN] = "x";
    ip_format (&ip, text);
    assert_string_equal (text, "");
    assert_int_equal (ip_group (&ip).n, 0);
    assert_false (ip_is_loopback (&ip));
}

static void knows_loopback (void **state)
{
    static const char *const yes[] = {"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.9"};
    static const char *const no[] = {"126.255.255.255", "128.0.0.1",      "::", "::2", "fe80::1",
                                     "::127.0.0.1",     "::ffff:10.0.0.1"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (yes); i++) {
        struct ip ip = ip_of (yes[i]);
        assert_true (ip_is_loopback (&ip));
    }
    for (size_t i = 0; i < COUNT_OF (no); i++) {
        struct ip ip = ip_of (no[i]);
        assert_false (ip_is_loopback (&ip));
    }
}

/* Limits: IPv4 by its address, IPv6 by its /64; the two never meet. */
static void groups (void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1", true},          {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1", "::ffff:192.0.2.1", true},   {"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
        {"2001:db8::1", "2001:db8:0:1::1", false}, {"2001:db8::", "32.1.13.184", false},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct ip a = ip_of (rows[i].a), b = ip_of (rows[i].b);
        assert_int_equal (slice_eq (ip_group (&a), ip_group (&b)), rows[i].same);
    }
}

static void networks_hold_addresses (void **state)
{
    static const struct {
        const char *network, *in, *out;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
        {"10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"},
        {"192.0.2.4/30", "192.0.2.7", "192.0.2.8"},
        {"192.0.2.4/31", "192.0.2.5", "192.0.2.6"},
        {"192.0.2.7", "192.0.2.7", "192.0.2.6"},
        {"192.0.2.7/32", "192.0.2.7", "192.0.2.6"},
        {"0.0.0.0/0", "255.255.255.255", "::1"},
        {"128.0.0.0/1", "255.255.255.255", "127.255.255.255"},
        {"::/0", "ffff::", "0.0.0.0"},
        {"fd00::/8", "fdff::1", "fe00::1"},
        {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
        {"2001:db8::1", "2001:db8::1", "2001:db8::2"},
        {"::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct cidr cidr;
        struct ip in = ip_of (rows[i].in), out = ip_of (rows[i].out);
        assert_null (cidr_parse (slice_str (rows[i].network), &cidr));
        if (!cidr_has (&cidr, &in) || cidr_has (&cidr, &out))
            fail_msg ("%s", rows[i].network);
    }
}

static void refuses_what_is_no_network (void **state)
{
    static const struct {
        const char *text, *fault;
    } rows[] = {
        {"", "is not an IP address or ADDRESS/BITS"},
        {"/8", "is not an IP address or ADDRESS/BITS"},
        {"10.0.0/8", "is not an IP address or ADDRESS/BITS"},
        {"example.com", "is not an IP address or ADDRESS/BITS"},
        {"[::1]/128", "is not an IP address or ADDRESS/BITS"},
        {"10.0.0.0/", "has a wrong number of bits"},
        {"10.0.0.0/33", "has a wrong number of bits"},
        {"10.0.0.0/08", "has a wrong number of bits"},
        {"10.0.0.0/-1", "has a wrong number of bits"},
        {"10.0.0.0/8/8", "has a wrong number of bits"},
        {"10.0.0.0/255.0.0.0", "has a wrong number of bits"},
        {"10.0.0.0/4294967304", "has a wrong number of bits"},
        {"::/129", "has a wrong number of bits"},
        {"::ffff:10.0.0.0/95", "has a wrong number of bits"},
        {"10.0.0.1/8", "has bits set behind the network's"},
        {"10.0.0.129/25", "has bits set behind the network's"},
        {"2001:db8::1/64", "has bits set behind the network's"},
        {"0.0.0.1/0", "has bits set behind the network's"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct cidr cidr;
        const char *fault = cidr_parse (slice_str (rows[i].text), &cidr);
        assert_string_equal (fault ? fault : rows[i].text, rows[i].fault);
    }
}

static void lists (void **state)
{
    (void) state;
    struct cidrs cidrs;
    struct ip ten = ip_of ("10.9.9.9"), local = ip_of ("fd00::9"), other = ip_of ("192.0.2.1");
    cidrs_parse (&cidrs, "");
    assert_int_equal (cidrs.n, 0);
    assert_false (cidrs_have (&cidrs, &ten));
    cidrs_parse (&cidrs, " 10.0.0.0/8 ,, nonsense, fd00::/8");
    assert_int_equal (cidrs.n, 2);
    assert_true (cidrs_have (&cidrs, &ten) && cidrs_have (&cidrs, &local));
    assert_false (cidrs_have (&cidrs, &other));
    assert_false (cidrs_have (&cidrs, &(struct ip){0}));
    char many[(CIDRS_MAX + 1) * 12 + 1] = "";
    for (int i = 0; i <= CIDRS_MAX; i++)
        snprintf (many + strlen (many), 13, "10.0.0.%d,", i);
    cidrs_parse (&cidrs, many);
    assert_int_equal (cidrs.n, CIDRS_MAX);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (reads_and_writes_addresses),
        cmocka_unit_test (refuses_what_is_no_address),
        cmocka_unit_test (reads_sockets),
        cmocka_unit_test (knows_loopback),
        cmocka_unit_test (groups),
        cmocka_unit_test (networks_hold_addresses),
        cmocka_unit_test (refuses_what_is_no_network),
        cmocka_unit_test (lists),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
