/* Who the client is behind proxies, and what hostile headers cannot do. Trusted: 10.0.0.0/8, fd00::/8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "core/forwarded.h"

#include <stdio.h>

#define PROXY "10.0.0.1"

static struct cidrs proxies;

/* The client's address as text; "unusable" or "absent" when no header says it. */
static const char *client_of (const char *peer_text, const char *head, enum forwarded_header header)
{
    static char text[IP_TEXT_LEN];
    struct request request;
    struct ip peer, client;
    size_t n;
    assert_true (ip_parse (slice_str (peer_text), &peer));
    if (request_parse (&request, slice_str (head), &n) != REQUEST_OK)
        fail_msg ("not a head: %s", head);
    enum forwarded result = forwarded_client (&request, header, &proxies, &peer, &client);
    if (result != FORWARDED_NAMED)
        assert_memory_equal (&client, &peer, sizeof peer);
    ip_format (&client, text);
    return result == FORWARDED_NAMED ? text : result == FORWARDED_ABSENT ? "absent" : "unusable";
}

static const char *behind_proxy (const char *header, const char *value)
{
    static char head[16384];
    snprintf (head, sizeof head, "GET / HTTP/1.1\r\n%s: %s\r\n\r\n", header, value);
    return client_of (PROXY, head, FORWARDED_ANY);
}

struct row {
    const char *value, *client;
};

static void expect (const char *header, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *client = behind_proxy (header, rows[i].value);
        if (strcmp (client, rows[i].client) != 0)
            fail_msg ("%s: %s gives %s, not %s", header, rows[i].value, client, rows[i].client);
    }
}

static void test_x_forwarded_for (void **state)
{
    static const struct row rows[] = {
        {"203.0.113.9", "203.0.113.9"},
        {"203.0.113.9:4711", "203.0.113.9"},
        {"2001:db8::9", "2001:db8::9"},
        {"[2001:db8::9]", "2001:db8::9"},
        {"[2001:db8::9]:4711", "2001:db8::9"},
        {"::ffff:203.0.113.9", "203.0.113.9"},
        {"1.1.1.1, 203.0.113.9", "203.0.113.9"},
        {"203.0.113.9, 10.0.0.2", "203.0.113.9"},
        {"1.1.1.1,203.0.113.9,10.0.0.3,fd00::2", "203.0.113.9"},
        {" \t203.0.113.9 \t,, , \t", "203.0.113.9"},
        {"10.0.0.9, 10.0.0.2", "10.0.0.9"}, /* all are trusted: the first */
        {"10.0.0.2", "10.0.0.2"},
        /* what is left of the client is not looked at */
        {"garbage, \"\", unknown, 203.0.113.9", "203.0.113.9"},
        {"\", 203.0.113.9", "203.0.113.9"},
        {"\xff\xfe, 203.0.113.9, 10.0.0.2", "203.0.113.9"},
        /* what a proxy of ours has said is no address */
        {"", "unusable"},
        {",,  ,", "unusable"},
        {"unknown", "unusable"},
        {"_hidden", "unusable"},
        {"203.0.113.9, unknown", "unusable"},
        {"garbage, 10.0.0.2", "unusable"},
        {"203.0.113.9:", "unusable"},
        {"203.0.113.9:port", "unusable"},
        {"203.0.113.9:123456", "unusable"},
        {"203.0.113.9 1.1.1.1", "unusable"},
        {"203.0.113.256", "unusable"},
        {"[203.0.113.9]", "unusable"},
        {"[2001:db8::9", "unusable"},
        {"[]", "unusable"},
        {"[", "unusable"},
        {"[2001:db8::9]x", "unusable"},
        {"[2001:db8::9]:", "unusable"},
        {"2001:db8::9]", "unusable"},
        {"\"203.0.113.9\"", "unusable"}, /* no quotes here */
        {"for=203.0.113.9", "unusable"},
        {":", "unusable"},
        {"::1%eth0", "unusable"},
    };
    (void) state;
    expect ("X-Forwarded-For", rows, COUNT_OF (rows));
    expect ("x-FORWARDED-for", rows, COUNT_OF (rows));
}

static void test_forwarded (void **state)
{
    static const struct row rows[] = {
        {"for=203.0.113.9", "203.0.113.9"},
        {"For=\"203.0.113.9\"", "203.0.113.9"},
        {"FOR=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"},
        {"proto=http;host=\"a;b,c\" ; for=\"203.0.113.9:4711\"", "203.0.113.9"},
        {"for=\"203.0.113.9:_port\"", "203.0.113.9"},
        {"for=\"[2001:db8::9]\"", "2001:db8::9"},
        {"for=\"[2001:db8::9]:4711\"", "2001:db8::9"},
        {"for=\"\\2\\0\\3.0.113.9\"", "203.0.113.9"},
        {"for=203.0.113.9;;", "203.0.113.9"},
        {"for=1.1.1.1, for=203.0.113.9, for=10.0.0.2", "203.0.113.9"},
        {"for=203.0.113.9;host=\"x, for=1.1.1.1\", for=10.0.0.2;host=\"\\\", for=2.2.2.2\"", "203.0.113.9"},
        {"for=203.0.113.9;host=\"\\\\\", for=10.0.0.2;host=\"\\\\\\\"\"", "203.0.113.9"},
        {", ,for=203.0.113.9, ,", "203.0.113.9"},
        {"for=10.0.0.9, for=10.0.0.2", "10.0.0.9"},
        /* a client's open quote does not reach what the proxy has appended */
        {"for=\"1.1.1.1, for=203.0.113.9", "203.0.113.9"},
        {"for=1.1.1.1;host=\"\\, for=203.0.113.9", "203.0.113.9"},
        {"\"\"\", for=203.0.113.9", "203.0.113.9"},
        {"=;=;for=, for=203.0.113.9", "203.0.113.9"},
        {"", "unusable"},
        {"203.0.113.9", "unusable"},
        {"for=unknown", "unusable"},
        {"for=_hidden", "unusable"},
        {"for=\"_SEVKISEK\"", "unusable"},
        {"for=203.0.113.9, for=unknown", "unusable"},
        {"for=203.0.113.9, proto=https", "unusable"},
        {"for=203.0.113.9;for=1.1.1.1", "unusable"},
        {"for=", "unusable"},
        {"for=\"", "unusable"},
        {"for=\"\"", "unusable"},
        {"for=\"203.0.113.9", "unusable"},
        {"for=203.0.113.9\"", "unusable"},
        {"for=\"203.0.113.9\\\"", "unusable"},
        {"for=\"203.0.113.9\"x", "unusable"},
        {"for=\"203.0.113.9\"\"\"", "unusable"},
        {"for=203.0.113.9;x", "unusable"},
        {"for=203.0.113.9;=x", "unusable"},
        {"for=203.0.113.9;x=", "unusable"},
        {"for =203.0.113.9", "unusable"},
        {"for= 203.0.113.9", "unusable"},
        {"for=203.0.113.9;host=\"\\", "unusable"},
        {"fort=203.0.113.9", "unusable"},
        {"for=\"                                                                203.0.113.9\"", "unusable"},
    };
    (void) state;
    expect ("Forwarded", rows, COUNT_OF (rows));
}

#define BOTH "GET / HTTP/1.1\r\nX-Forwarded-For: 203.0.113.1\r\nForwarded: for=203.0.113.2\r\n\r\n"

static void test_which_header (void **state)
{
    (void) state;
    assert_string_equal (client_of (PROXY, BOTH, FORWARDED_ANY), "203.0.113.2");
    assert_string_equal (client_of (PROXY, BOTH, FORWARDED_ONLY), "203.0.113.2");
    assert_string_equal (client_of (PROXY, BOTH, X_FORWARDED_FOR_ONLY), "203.0.113.1");
    static const char only_x[] = "GET / HTTP/1.1\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n";
    assert_string_equal (client_of (PROXY, only_x, FORWARDED_ANY), "203.0.113.1");
    assert_string_equal (client_of (PROXY, only_x, FORWARDED_ONLY), "absent");
    static const char only_forwarded[] = "GET / HTTP/1.1\r\nForwarded: for=203.0.113.2\r\n\r\n";
    assert_string_equal (client_of (PROXY, only_forwarded, X_FORWARDED_FOR_ONLY), "absent");
    static const char bad[] = "GET / HTTP/1.1\r\nX-Forwarded-For: 203.0.113.1\r\nForwarded: x\r\n\r\n";
    assert_string_equal (client_of (PROXY, bad, FORWARDED_ANY), "unusable");
    assert_string_equal (client_of (PROXY, "GET / HTTP/1.1\r\nX-Real-IP: 1.1.1.1\r\n\r\n", FORWARDED_ANY), "absent");
}

/* Several lines are one list; the last line is what was appended last. */
static void test_lines (void **state)
{
    static const char xff[] = "GET / HTTP/1.1\r\nX-Forwarded-For: junk\r\nX-Other: 1\r\nX-Forwarded-For: 1.1.1.1, "
                              "203.0.113.9\r\nX-Forwarded-For: 10.0.0.3, 10.0.0.2\r\nX-Forwarded-For:\r\n\r\n";
    static const char forwarded[] = "GET / HTTP/1.1\r\nForwarded: for=\"\r\nForwarded: for=203.0.113.9\r\n"
                                    "Forwarded: for=10.0.0.2\r\n\r\n";
    (void) state;
    assert_string_equal (client_of (PROXY, xff, FORWARDED_ANY), "203.0.113.9");
    assert_string_equal (client_of (PROXY, forwarded, FORWARDED_ANY), "203.0.113.9");
}

/* Whoever is no trusted proxy cannot say anything. */
static void test_others_cannot_choose (void **state)
{
    static const char *const peers[] = {"203.0.113.50", "11.0.0.0", "9.255.255.255",     "127.0.0.1",
                                        "::1",          "fe00::1",  "2001:db8::10.0.0.1"};
    (void) state;
    for (size_t i = 0; i < COUNT_OF (peers); i++)
        assert_string_equal (client_of (peers[i], BOTH, FORWARDED_ANY), "absent");
    assert_string_equal (client_of ("fd00::1", BOTH, FORWARDED_ANY), "203.0.113.2");
    assert_string_equal (client_of ("::ffff:10.0.0.1", BOTH, FORWARDED_ANY), "203.0.113.2");
    struct cidrs trusted = proxies;
    cidrs_parse (&proxies, "");
    assert_string_equal (client_of (PROXY, BOTH, FORWARDED_ANY), "absent");
    proxies = trusted;
}

/* Straight to the parser: no request of this size would be read. */
static void test_10000_elements (void **state)
{
    static const struct {
        const char *name, *first, *proxy;
    } rows[] = {
        {"X-Forwarded-For", "203.0.113.9", ", 10.0.0.2"},
        {"Forwarded", "for=203.0.113.9", ", for=\"10.0.0.2\";host=\"\\\",\""},
        {"Forwarded", "for=203.0.113.9;x=\"\\\\\\\\\\\\\\\\\"", ",,,, for=10.0.0.2"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        struct buf value;
        struct ip peer, client;
        char text[IP_TEXT_LEN];
        buf_init (&value, 0);
        buf_puts (&value, rows[i].first);
        for (int k = 0; k < 10000; k++)
            buf_puts (&value, rows[i].proxy);
        struct request request = {.n_headers = 1, .headers = {{slice_str (rows[i].name), buf_slice (&value)}}};
        assert_true (ip_parse (slice_str (PROXY), &peer));
        assert_int_equal (forwarded_client (&request, FORWARDED_ANY, &proxies, &peer, &client), FORWARDED_NAMED);
        ip_format (&client, text);
        assert_string_equal (text, "203.0.113.9");
        buf_puts (&value, ", x");
        request.headers[0].value = buf_slice (&value);
        assert_int_equal (forwarded_client (&request, FORWARDED_ANY, &proxies, &peer, &client), FORWARDED_UNUSABLE);
        buf_fini (&value);
    }
}

/* One text, in memory of its own size so that a read beyond it shows. True when it names a client. */
static bool try_text (const char *name, size_t number, const char *letters, size_t length)
{
    struct ip peer, client;
    char *text = malloc (length + !length);
    for (size_t i = 0; i < length; i++, number /= strlen (letters))
        text[i] = letters[number % strlen (letters)];
    struct request request = {.n_headers = 1, .headers = {{slice_str (name), slice_of (text, length)}}};
    assert_true (ip_parse (slice_str (PROXY), &peer));
    enum forwarded result = forwarded_client (&request, FORWARDED_ANY, &proxies, &peer, &client);
    assert_true (result == FORWARDED_NAMED || result == FORWARDED_UNUSABLE);
    if (result == FORWARDED_UNUSABLE)
        assert_memory_equal (&client, &peer, sizeof peer);
    free (text);
    return result == FORWARDED_NAMED;
}

/* Every text of up to four of these characters. 61 of them end with an element that is ::, 1::, [::] or the like; a
 * whole element of Forwarded is longer. */
static void test_all_short_texts (void **state)
{
    static const char letters[] = "1.:[]\"\\,;=f_ ";
    size_t named[] = {0, 0}, total = 1;
    (void) state;
    for (size_t length = 0; length <= 4; length++, total *= sizeof letters - 1)
        for (size_t number = 0; number < total; number++) {
            named[0] += try_text ("X-Forwarded-For", number, letters, length);
            named[1] += try_text ("Forwarded", number, letters, length);
        }
    assert_int_equal (named[0], 61);
    assert_int_equal (named[1], 0);
}

static int set_up (void **state)
{
    (void) state;
    cidrs_parse (&proxies, "10.0.0.0/8, fd00::/8");
    return proxies.n == 2 ? 0 : -1;
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_x_forwarded_for),      cmocka_unit_test (test_forwarded),
        cmocka_unit_test (test_which_header),         cmocka_unit_test (test_lines),
        cmocka_unit_test (test_others_cannot_choose), cmocka_unit_test (test_10000_elements),
        cmocka_unit_test (test_all_short_texts),
    };
    return cmocka_run_group_tests (tests, set_up, NULL);
}
