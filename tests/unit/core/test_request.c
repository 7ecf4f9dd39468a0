/* The head of a request: what is taken, what is refused and why, and that no input whatever gets further. */
#include "core/request.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

/* A copy with nothing behind it, so that the address sanitizer sees a read beyond the end. */
static struct slice exact_copy (struct slice s)
{
    char *p = malloc (s.n ? s.n : 1);
    assert_non_null (p);
    if (s.n)
        memcpy (p, s.p, s.n);
    return slice_of (p, s.n);
}

static void free_copy (struct slice s)
{
    free ((void *) (uintptr_t) s.p);
}

static struct request request_of (const char *head)
{
    struct request request;
    size_t n = 0;
    assert_int_equal (request_parse (&request, slice_str (head), &n), REQUEST_OK);
    assert_int_equal (n, strlen (head));
    return request;
}

/* --- good heads ---------------------------------------------------------------------------------------------- */

static const struct {
    struct slice head;
    const char *method, *path, *query;
    int minor;
    size_t n_headers;
} good_cases[] = {
    {B ("GET / HTTP/1.1\r\n\r\n"), "GET", "/", "", 1, 0},
    {B ("GET /ws HTTP/1.0\r\n\r\n"), "GET", "/ws", "", 0, 0},
    {B ("GET /ws?epoch=e&offset=1 HTTP/1.1\r\nHost: x\r\n\r\n"), "GET", "/ws", "epoch=e&offset=1", 1, 1},
    {B ("GET /ws? HTTP/1.1\r\n\r\n"), "GET", "/ws", "", 1, 0},
    {B ("GET /?a?b HTTP/1.1\r\n\r\n"), "GET", "/", "a?b", 1, 0},
    {B ("GET /%20%ZZ//../. HTTP/1.1\r\n\r\n"), "GET", "/%20%ZZ//../.", "", 1, 0},
    {B ("GET /!\"$&'()*+,-.:;<=>@[\\]^_`{|}~ HTTP/1.1\r\n\r\n"), "GET", "/!\"$&'()*+,-.:;<=>@[\\]^_`{|}~", "", 1, 0},
    {B ("get / HTTP/1.1\r\n\r\n"), "get", "/", "", 1, 0},
    {B ("M-SEARCH!#$%&'*+.^_`|~09 / HTTP/1.1\r\n\r\n"), "M-SEARCH!#$%&'*+.^_`|~09", "/", "", 1, 0},
    {B ("POST /drain HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nA:b\r\n\r\n"), "POST", "/drain", "", 1, 3},
    {B ("GET / HTTP/1.1\r\nEmpty:\r\nBlank: \t \r\nx:\ty\t\r\n\r\n"), "GET", "/", "", 1, 3},
    {B ("GET / HTTP/1.1\r\nText: a\tb \x80\xff\xc3\xa4\r\n\r\n"), "GET", "/", "", 1, 1},
    {B ("GET / HTTP/1.1\r\nHost: a:b:c\r\n!#$%&'*+-.^_`|~: x\r\n\r\n"), "GET", "/", "", 1, 2},
};

static void test_good (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (good_cases); i++) {
        struct request request;
        struct slice head = exact_copy (good_cases[i].head);
        size_t n = 0;
        assert_int_equal (request_parse (&request, head, &n), REQUEST_OK);
        assert_int_equal (n, head.n);
        assert_true (slice_is (request.method, good_cases[i].method));
        assert_true (slice_is (request.path, good_cases[i].path));
        assert_true (slice_is (request.query, good_cases[i].query));
        assert_int_equal (request.minor, good_cases[i].minor);
        assert_int_equal (request.n_headers, good_cases[i].n_headers);
        free_copy (head);
    }
}

/* What stands behind the empty line belongs to the next protocol. */
static void test_length (void **state)
{
    (void) state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n\x81\x85GET / HTTP/1.1\r\n\r\n";
    struct request request;
    size_t n = 0;
    assert_int_equal (request_parse (&request, slice_of (text, sizeof text - 1), &n), REQUEST_OK);
    assert_int_equal (n, 27);
    assert_int_equal (request.n_headers, 1);
}

static void test_truncated (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (good_cases); i++) {
        for (size_t n = 0; n < good_cases[i].head.n; n++) {
            struct request request;
            struct slice part = exact_copy (slice_of (good_cases[i].head.p, n));
            size_t head_n;
            assert_int_equal (request_parse (&request, part, &head_n), REQUEST_INCOMPLETE);
            free_copy (part);
        }
    }
}

/* --- bad heads ----------------------------------------------------------------------------------------------- */

#define LINE "GET / HTTP/1.1\r\n"

static const struct {
    struct slice head;
    const char *fault;
} bad_cases[] = {
    {B ("GET / HTTP/1.1\n\n"), "line end"},
    {B ("\n"), "line end"},
    {B ("GET / HTTP/1.1\r\r\n\r\n"), "line end"},
    {B ("GET /\r HTTP/1.1\r\n\r\n"), "line end"},
    {B (LINE "Host: x\n\r\n"), "line end"},
    {B (LINE "\n"), "line end"},
    {B (LINE "Host: x\ry\r\n\r\n"), "line end"},
    {B (LINE "Host: x\r\r\n\r\n"), "line end"},
    {B ("\r\n" LINE "\r\n"), "method"},
    {B ("\r\n"), "method"},
    {B ("GET\r\n\r\n"), "method"},
    {B (" GET / HTTP/1.1\r\n\r\n"), "method"},
    {B ("G@T / HTTP/1.1\r\n\r\n"), "method"},
    {B ("GET\t/ HTTP/1.1\r\n\r\n"), "method"},
    {B ("GE\x00T / HTTP/1.1\r\n\r\n"), "method"},
    {B ("\xc3\xa4 / HTTP/1.1\r\n\r\n"), "method"},
    {B ("\x16\x03\x01\x02\x00\x01\xfc\x03\r\n"), "method"}, /* TLS */
    {B ("GET /\r\n\r\n"), "target"},
    {B ("GET  / HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET  HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET http://x/ HTTP/1.1\r\n\r\n"), "target"},
    {B ("CONNECT x:443 HTTP/1.1\r\n\r\n"), "target"},
    {B ("OPTIONS * HTTP/1.1\r\n\r\n"), "target"},
    {B ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "target"}, /* HTTP/2 */
    {B ("GET /#f HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET /a?b#f HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET /\x7f HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET /\t HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET /\x00 HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET /\x80 HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET /?\xff HTTP/1.1\r\n\r\n"), "target"},
    {B ("GET / \r\n\r\n"), "version"},
    {B ("GET /a b HTTP/1.1\r\n\r\n"), "version"},
    {B ("GET / HTTP/1.1 \r\n\r\n"), "version"},
    {B ("GET /  HTTP/1.1\r\n\r\n"), "version"},
    {B ("GET / HTTP/1.2\r\n\r\n"), "version"},
    {B ("GET / HTTP/1.10\r\n\r\n"), "version"},
    {B ("GET / HTTP/2.0\r\n\r\n"), "version"},
    {B ("GET / HTTP/0.9\r\n\r\n"), "version"},
    {B ("GET / http/1.1\r\n\r\n"), "version"},
    {B ("GET / HTTP/1,1\r\n\r\n"), "version"},
    {B (LINE "no colon\r\n\r\n"), "header name"},
    {B (LINE ": x\r\n\r\n"), "header name"},
    {B (LINE "Host : x\r\n\r\n"), "header name"},
    {B (LINE " Host: x\r\n\r\n"), "header name"},
    {B (LINE "Host: x\r\n folded: y\r\n\r\n"), "header name"},
    {B (LINE "Host: x\r\n\tfolded\r\n\r\n"), "header name"},
    {B (LINE "a b: x\r\n\r\n"), "header name"},
    {B (LINE "a\x00: x\r\n\r\n"), "header name"},
    {B (LINE "\xc3\xa4: x\r\n\r\n"), "header name"},
    {B (LINE "a(b): x\r\n\r\n"), "header name"},
    {B (LINE "a: \x01\r\n\r\n"), "header value"},
    {B (LINE "a: b\x00"
             "c\r\n\r\n"),
     "header value"},
    {B (LINE "a: \x1f\r\n\r\n"), "header value"},
    {B (LINE "a: \x7f\r\n\r\n"), "header value"},
};

static void test_bad (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (bad_cases); i++) {
        struct request request = {0};
        struct slice head = exact_copy (bad_cases[i].head);
        size_t n;
        enum request_status status = request_parse (&request, head, &n);
        if (status != REQUEST_BAD || strcmp (request.fault, bad_cases[i].fault) != 0)
            fail_msg ("case %zu, %.*s: status %d, fault %s", i, (int) head.n, head.p, status, request.fault);
        free_copy (head);
    }
}

/* A fault is seen before the rest of the head has come, and more text does not heal it. */
static void test_bad_at_once (void **state)
{
    (void) state;
    struct request request;
    size_t n;
    assert_int_equal (request_parse (&request, slice_str ("GET / HTTP/3.0\r\n"), &n), REQUEST_BAD);
    assert_int_equal (request_parse (&request, slice_str (LINE "a b: c\r\n"), &n), REQUEST_BAD);
    for (size_t i = 0; i < COUNT_OF (bad_cases); i++) {
        bool bad = false;
        for (size_t length = 0; length <= bad_cases[i].head.n; length++) {
            struct slice part = exact_copy (slice_of (bad_cases[i].head.p, length));
            enum request_status status = request_parse (&request, part, &n);
            assert_int_not_equal (status, REQUEST_OK);
            assert_false (bad && status != REQUEST_BAD);
            bad = status == REQUEST_BAD;
            free_copy (part);
        }
        assert_true (bad);
    }
}

static void test_number_of_headers (void **state)
{
    (void) state;
    struct buf head;
    struct request request;
    size_t n = 0;
    buf_init (&head, 0);
    buf_puts (&head, LINE);
    for (int i = 0; i < REQUEST_MAX_HEADERS; i++)
        buf_printf (&head, "h%d: %d\r\n", i, i);
    size_t full = head.n;
    buf_puts (&head, "\r\n");
    assert_int_equal (request_parse (&request, buf_slice (&head), &n), REQUEST_OK);
    assert_int_equal (request.n_headers, REQUEST_MAX_HEADERS);
    struct slice value;
    assert_int_equal (request_header (&request, "h99", &value), 1);
    assert_true (slice_is (value, "99"));
    head.n = full;
    buf_puts (&head, "more: x\r\n\r\n");
    assert_int_equal (request_parse (&request, buf_slice (&head), &n), REQUEST_BAD);
    assert_string_equal (request.fault, "too many headers");
    buf_fini (&head);
}

/* --- any input ----------------------------------------------------------------------------------------------- */

static uint64_t rnd_state = 0x9e3779b97f4a7c15u;

static uint64_t rnd (void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return rnd_state;
}

static bool is_within (struct slice part, struct slice whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static enum request_status check_any (struct slice text)
{
    struct request request = {0};
    struct slice copy = exact_copy (text);
    size_t n = 0;
    enum request_status status = request_parse (&request, copy, &n);
    if (status == REQUEST_OK) {
        struct slice head = slice_of (copy.p, n);
        assert_true (n >= 18 && n <= copy.n);
        assert_memory_equal (copy.p + n - 4, "\r\n\r\n", 4);
        assert_true (is_within (request.method, head) && is_within (request.path, head));
        assert_true (is_within (request.query, head) && request.path.p[0] == '/');
        for (size_t i = 0; i < request.n_headers; i++)
            assert_true (request.headers[i].name.n && is_within (request.headers[i].name, head) &&
                         is_within (request.headers[i].value, head));
    } else if (status == REQUEST_BAD)
        assert_non_null (request.fault);
    free_copy (copy);
    return status;
}

/* Bytes of any value, pieces of real heads in any order, and real heads with a few bytes changed. */
static void test_random (void **state)
{
    (void) state;
    static const char *const pieces[] = {"GET",
                                         " ",
                                         "/",
                                         "HTTP/1.1",
                                         "HTTP/1.0",
                                         "\r\n",
                                         "\r\n",
                                         "Host",
                                         ":",
                                         " x",
                                         "?",
                                         "\r",
                                         "\n",
                                         "a=b&c",
                                         "\t",
                                         "%4",
                                         "\r\n ",
                                         "\x80",
                                         "POST / HTTP/1.1\r\n"};
    char bytes[400];
    size_t seen[3] = {0};
    for (int round = 0; round < 100000; round++) {
        size_t n = 0;
        if (round % 3 == 0)
            for (size_t wanted = rnd () % 200; n < wanted; n++)
                bytes[n] = (char) rnd ();
        else if (round % 3 == 1)
            for (size_t count = rnd () % 16; count; count--) {
                const char *piece = pieces[rnd () % COUNT_OF (pieces)];
                memcpy (bytes + n, piece, strlen (piece));
                n += strlen (piece);
            }
        else {
            struct slice head = good_cases[rnd () % COUNT_OF (good_cases)].head;
            memcpy (bytes, head.p, n = head.n);
            for (size_t changes = rnd () % 3; changes; changes--)
                bytes[rnd () % n] = (char) rnd ();
        }
        seen[check_any (slice_of (bytes, n))]++;
    }
    assert_true (seen[REQUEST_OK] > 1000 && seen[REQUEST_INCOMPLETE] > 1000 && seen[REQUEST_BAD] > 1000);
}

/* --- lookups ------------------------------------------------------------------------------------------------- */

static void test_header (void **state)
{
    (void) state;
    struct request request =
        request_of (LINE "Host: one\r\nhOST:\t two \t\r\nHosts: three\r\nHos: four\r\nEmpty:\r\n\r\n");
    struct slice value = slice_str ("untouched");
    assert_int_equal (request_header (&request, "host", &value), 2);
    assert_true (slice_is (value, "one"));
    assert_int_equal (request_header (&request, "HOST", NULL), 2);
    assert_int_equal (request_header (&request, "hosts", &value), 1);
    assert_true (slice_is (value, "three"));
    assert_int_equal (request_header (&request, "empty", &value), 1);
    assert_int_equal (value.n, 0);
    value = slice_str ("untouched");
    assert_int_equal (request_header (&request, "ho", &value), 0);
    assert_int_equal (request_header (&request, "", &value), 0);
    assert_true (slice_is (value, "untouched"));
    assert_true (slice_is (request.headers[1].value, "two"));
}

static void expect_join (const struct request *request, const char *name, const char *joined)
{
    struct buf out;
    buf_init (&out, 0);
    request_header_join (request, name, &out);
    assert_true (slice_is (buf_slice (&out), joined));
    buf_fini (&out);
}

static void test_join (void **state)
{
    (void) state;
    struct request request = request_of (LINE "P: a, b\r\nX: no\r\np: c\r\nP:\r\nP: d\r\nOne: 1\r\n\r\n");
    expect_join (&request, "p", "a, b, c, , d");
    expect_join (&request, "one", "1");
    expect_join (&request, "none", "");
}

static void test_has (void **state)
{
    (void) state;
    struct request request = request_of (
        LINE "Connection: keep-alive,\t UPGRADE \r\nconnection: close\r\nOther: upgraded,up grade,\"x\"\r\n\r\n");
    assert_true (request_header_has (&request, "connection", "upgrade"));
    assert_true (request_header_has (&request, "Connection", "Keep-Alive"));
    assert_true (request_header_has (&request, "connection", "close"));
    assert_false (request_header_has (&request, "connection", "keep"));
    assert_false (request_header_has (&request, "connection", "keep-alive, upgrade"));
    assert_false (request_header_has (&request, "connection", ""));
    assert_false (request_header_has (&request, "other", "upgrade"));
    assert_false (request_header_has (&request, "none", "upgrade"));
}

static void test_next_item (void **state)
{
    (void) state;
    static const struct {
        const char *list;
        const char *items[5];
    } cases[] = {
        {"", {0}},     {" \t ", {0}},       {",, ,\t,", {0}},
        {"a", {"a"}},  {"a,b", {"a", "b"}}, {" a b ,\tc\t,,d, ", {"a b", "c", "d"}},
        {",a", {"a"}},
    };
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct slice list = slice_str (cases[i].list), item = {0};
        for (size_t k = 0; cases[i].items[k]; k++) {
            assert_true (slice_next_item (&list, &item));
            assert_true (slice_is (item, cases[i].items[k]));
        }
        assert_false (slice_next_item (&list, &item));
        assert_false (slice_next_item (&list, &item));
    }
}

static void test_query (void **state)
{
    (void) state;
    static const struct {
        const char *query, *name, *value; /* NULL: not there */
    } cases[] = {
        {"?epoch=e1&offset=42", "epoch", "e1"},
        {"?epoch=e1&offset=42", "offset", "42"},
        {"?epoch=e1&offset=42", "off", NULL},
        {"?epoch=e1&offset=42", "offsets", NULL},
        {"?epoch=e1&offset=42", "Offset", NULL},
        {"?offset=1&offset=2", "offset", "1"},
        {"?&&offset=1&", "offset", "1"},
        {"?offset", "offset", ""},
        {"?offset=", "offset", ""},
        {"?a&offset=7", "offset", "7"},
        {"?a=offset=3&offset=4", "offset", "4"},
        {"?a=b=c", "a", "b=c"},
        {"?a=%20+", "a", "%20+"},
        {"?%61=1", "a", NULL}, /* names are not decoded */
        {"?", "a", NULL},
        {"", "a", NULL},
    };
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        char head[100];
        snprintf (head, sizeof head, "GET /ws%s HTTP/1.1\r\n\r\n", cases[i].query);
        struct request request = request_of (head);
        struct slice value = slice_str ("untouched");
        bool found = request_query (&request, cases[i].name, &value);
        assert_int_equal (found, cases[i].value != NULL);
        assert_true (slice_is (value, found ? cases[i].value : "untouched"));
    }
}

static void expect_decoded (struct slice text, bool good, struct slice decoded)
{
    struct buf out;
    struct slice copy = exact_copy (text);
    buf_init (&out, 0);
    assert_int_equal (request_percent_decode (copy, &out), good);
    if (good)
        assert_true (slice_eq (buf_slice (&out), decoded));
    buf_fini (&out);
    free_copy (copy);
}

static void test_percent (void **state)
{
    (void) state;
    static const struct {
        struct slice text, decoded;
        bool good;
    } cases[] = {
        {B (""), B (""), true},        {B ("plain.text-_~"), B ("plain.text-_~"), true},
        {B ("%41"), B ("A"), true},    {B ("a%2Fb%2f"), B ("a/b/"), true},
        {B ("%00x"), B ("\0x"), true}, {B ("%ff%C3%A4"), B ("\xff\xc3\xa4"), true},
        {B ("a+b"), B ("a+b"), true},  {B ("%2541"), B ("%41"), true},
        {B ("%"), B (""), false},      {B ("%4"), B (""), false},
        {B ("abc%"), B (""), false},   {B ("abc%4"), B (""), false},
        {B ("%%41"), B (""), false},   {B ("%4%31"), B (""), false},
        {B ("%u0041"), B (""), false}, {B ("% 1"), B (""), false},
        {B ("%+1"), B (""), false},    {B ("%-1"), B (""), false},
    };
    for (size_t i = 0; i < COUNT_OF (cases); i++)
        expect_decoded (cases[i].text, cases[i].good, cases[i].decoded);
}

/* Every pair of bytes behind the percent sign. */
static void test_percent_digits (void **state)
{
    (void) state;
    for (int pair = 0; pair < 65536; pair++) {
        char text[] = {'%', (char) (pair >> 8), (char) pair};
        bool good = isxdigit (pair >> 8) && isxdigit (pair & 255);
        char digits[] = {text[1], text[2], '\0'};
        char byte = good ? (char) strtoul (digits, NULL, 16) : '\0';
        expect_decoded (slice_of (text, 3), good, slice_of (&byte, 1));
    }
}

static void test_percent_limit (void **state)
{
    (void) state;
    struct buf out;
    buf_init (&out, 2);
    assert_true (request_percent_decode (slice_str ("%41%42"), &out));
    buf_reset (&out);
    assert_false (request_percent_decode (slice_str ("abc"), &out));
    buf_fini (&out);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_good),          cmocka_unit_test (test_length),
        cmocka_unit_test (test_truncated),     cmocka_unit_test (test_bad),
        cmocka_unit_test (test_bad_at_once),   cmocka_unit_test (test_number_of_headers),
        cmocka_unit_test (test_random),        cmocka_unit_test (test_header),
        cmocka_unit_test (test_join),          cmocka_unit_test (test_has),
        cmocka_unit_test (test_next_item),     cmocka_unit_test (test_query),
        cmocka_unit_test (test_percent),       cmocka_unit_test (test_percent_digits),
        cmocka_unit_test (test_percent_limit),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
