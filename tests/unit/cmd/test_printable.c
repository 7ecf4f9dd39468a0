/* Nothing of a peer's text steers a terminal. */
#include "cmd/printable.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define S(literal) slice_of (literal, sizeof (literal) - 1)

static void expect (struct buf *out, const char *wanted)
{
    if (!slice_is (buf_slice (out), wanted))
        fail_msg ("%.*s, not %s", (int) out->n, out->n ? (const char *) out->p : "", wanted);
    buf_fini (out);
}

static void test_text (void **state)
{
    static const struct {
        struct slice text;
        unsigned indent;
        const char *wanted;
    } cases[] = {
        {{"", 0}, 0, ""},
        {{"plain \xc3\xa5 \xe4\xbe\x8b \xf0\x9f\x98\x80", 17}, 0, "plain \xc3\xa5 \xe4\xbe\x8b \xf0\x9f\x98\x80"},
        {{"a\nb\tc", 5}, 0, "a\\nb c"},
        {{"a\nb", 3}, 2, "a\n  b"},
        {{"\x1b[31m\r\x07\x00\x7f", 9}, 4, "\\x1b[31m\\x0d\\x07\\x00\\x7f"},
        {{"\xc2\x9b"
          "1m",
          4},
         0,
         "\\x9b1m"},
        {{"\xff\xc3", 2}, 0, "\\xff\\xc3"},
        {{"\xe2\x80\xae\xe2\x81\xa6\xef\xbb\xbf\xe2\x80\x8b", 12}, 0, "\\u{202e}\\u{2066}\\u{feff}\\u{200b}"},
        {{"\xe2\x80\xa8\xf3\xa0\x80\x81", 7}, 4, "\\u{2028}\\u{e0001}"},
    };
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        struct buf out;
        buf_init (&out, 0);
        put_printable (&out, cases[i].text, cases[i].indent);
        expect (&out, cases[i].wanted);
    }
}

/* Escaped for a terminal it still means the same. */
static void test_json (void **state)
{
    static const char json[] = "{\"a\":\n\t\"\x7f\xc2\x9b\xe2\x80\xae\xf3\xa0\x80\x81 \xc3\xa5\"\r\n}";
    struct buf out;
    (void) state;
    buf_init (&out, 0);
    put_printable_json (&out, S (json));
    json_t *before = json_loadb (json, sizeof json - 1, 0, NULL), *after = json_loadb ((char *) out.p, out.n, 0, NULL);
    assert_true (before && json_equal (before, after));
    json_decref (before);
    json_decref (after);
    expect (&out, "{\"a\":  \"\\u007f\\u009b\\u202e\\udb40\\udc01 \xc3\xa5\"  }");
}

static void test_line (void **state)
{
    struct buf out;
    (void) state;
    buf_init (&out, 0);
    put_json_line (&out, S ("{\r\n\"a\": \"\x7f\"\n}"));
    expect (&out, "{  \"a\": \"\x7f\" }");
}

int main (void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test (test_text), cmocka_unit_test (test_json),
                                       cmocka_unit_test (test_line)};
    return cmocka_run_group_tests (tests, NULL, NULL);
}
