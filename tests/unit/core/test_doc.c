/* One document, two forms. */
#include "core/doc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define B(literal)                                                                                                     \
    {                                                                                                                  \
        (literal), sizeof (literal) - 1                                                                                \
    }

typedef void write_fn (struct doc *doc);

static void write_empty (struct doc *doc)
{
    doc_map (doc, 0);
    doc_end (doc);
}

static void write_scalars (struct doc *doc)
{
    doc_map (doc, 8);
    doc_key (doc, "str");
    doc_str (doc, slice_str ("x"));
    doc_key (doc, "none");
    doc_str (doc, slice_str (NULL));
    doc_key (doc, "zero");
    doc_uint (doc, 0);
    doc_key (doc, "max");
    doc_uint (doc, UINT64_MAX);
    doc_key (doc, "real");
    doc_double (doc, 1700000000.25);
    doc_key (doc, "yes");
    doc_bool (doc, true);
    doc_key (doc, "no");
    doc_bool (doc, false);
    doc_key (doc, "nil");
    doc_nil (doc);
    doc_end (doc);
}

/* A map first, in the middle, last and empty: commas stand where they have to. */
static void write_nested (struct doc *doc)
{
    doc_map (doc, 4);
    doc_key (doc, "a");
    doc_map (doc, 1);
    doc_key (doc, "b");
    doc_map (doc, 0);
    doc_end (doc);
    doc_end (doc);
    doc_key (doc, "c");
    doc_uint (doc, 1);
    doc_key (doc, "d");
    doc_map (doc, 2);
    doc_key (doc, "e");
    doc_nil (doc);
    doc_key (doc, "f");
    doc_nil (doc);
    doc_end (doc);
    doc_key (doc, "g");
    doc_map (doc, 0);
    doc_end (doc);
    doc_end (doc);
}

static void write_texts (struct doc *doc)
{
    doc_map (doc, 1);
    doc_key (doc, "\"k\\");
    doc_str (doc, slice_of ("\"\\\n\0\x1f\xc3\xa4", 7));
    doc_end (doc);
}

static const struct {
    write_fn *write;
    struct slice json, msgpack;
} cases[] = {
    {write_empty, B ("{}"), B ("\x80")},
    {write_scalars,
     B ("{\"str\":\"x\",\"none\":\"\",\"zero\":0,\"max\":18446744073709551615,\"real\":1700000000.250000,"
        "\"yes\":true,\"no\":false,\"nil\":null}"),
     B ("\x88\xa3str\xa1x\xa4none\xa0\xa4zero\x00\xa3max\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
        "\xa4real\xcb\x41\xd9\x54\xfc\x40\x10\x00\x00\xa3yes\xc3\xa2no\xc2\xa3nil\xc0")},
    {write_nested, B ("{\"a\":{\"b\":{}},\"c\":1,\"d\":{\"e\":null,\"f\":null},\"g\":{}}"),
     B ("\x84\xa1"
        "a\x81\xa1"
        "b\x80\xa1"
        "c\x01\xa1"
        "d\x82\xa1"
        "e\xc0\xa1"
        "f\xc0\xa1"
        "g\x80")},
    {write_texts, B ("{\"\\\"k\\\\\":\"\\\"\\\\\\n\\u0000\\u001f\xc3\xa4\"}"),
     B ("\x81\xa3\"k\\\xa7\"\\\n\0\x1f\xc3\xa4")},
};

static void expect (write_fn *write, enum form form, struct slice wanted)
{
    struct buf out;
    struct doc doc;
    buf_init (&out, 0);
    doc_init (&doc, &out, form);
    write (&doc);
    if (!slice_eq (buf_slice (&out), wanted))
        fail_msg ("form %d: %.*s, wanted %.*s", form, (int) out.n, (char *) out.p, (int) wanted.n, wanted.p);
    assert_false (out.failed);
    buf_fini (&out);
}

static void test_forms (void **state)
{
    (void) state;
    for (size_t i = 0; i < COUNT_OF (cases); i++) {
        expect (cases[i].write, FORM_JSON, cases[i].json);
        expect (cases[i].write, FORM_RAW, cases[i].json);
        expect (cases[i].write, FORM_MSGPACK, cases[i].msgpack);
        assert_int_equal (mp_check (cases[i].msgpack), MP_OK);
    }
}

/* A text that is not UTF-8 never gets into a text frame. */
static void write_not_utf8 (struct doc *doc)
{
    doc_map (doc, 1);
    doc_key (doc, "k");
    doc_str (doc, slice_str ("a\xff"));
    doc_end (doc);
}

static void test_not_utf8 (void **state)
{
    (void) state;
    expect (write_not_utf8, FORM_JSON, slice_str ("{\"k\":\"a\xef\xbf\xbd\"}"));
}

static void test_double (void **state)
{
    (void) state;
    static const struct {
        double value;
        const char *json;
    } doubles[] = {
        {0, "0.000000"},
        {0.0000004, "0.000000"},
        {0.9999996, "1.000000"},
        {-1.5, "-1.500000"},
        {1700000000.1234567, "1700000000.123457"},
        {4294967295.9999998, "4294967296.000000"},
        {4294967296.5, "4294967296.500000"},
        {1e15, "1000000000000000.000000"},
    };
    for (size_t i = 0; i < COUNT_OF (doubles); i++) {
        struct buf out;
        struct doc doc;
        buf_init (&out, 0);
        doc_init (&doc, &out, FORM_JSON);
        doc_double (&doc, doubles[i].value);
        assert_true (slice_is (buf_slice (&out), doubles[i].json));
        buf_fini (&out);
    }
}

static void expect_raw (enum form form, struct slice raw, struct slice wanted)
{
    struct buf out;
    struct doc doc;
    buf_init (&out, 0);
    doc_init (&doc, &out, form);
    doc_map (&doc, 2);
    doc_key (&doc, "a");
    doc_raw (&doc, raw);
    doc_key (&doc, "b");
    doc_nil (&doc);
    doc_end (&doc);
    assert_true (slice_eq (buf_slice (&out), wanted));
    buf_fini (&out);
}

static void test_raw (void **state)
{
    (void) state;
    expect_raw (FORM_JSON, slice_str ("[1,2]"), slice_str ("{\"a\":[1,2],\"b\":null}"));
    expect_raw (FORM_MSGPACK, slice_of ("\x92\x01\x02", 3),
                slice_of ("\x82\xa1"
                          "a\x92\x01\x02\xa1"
                          "b\xc0",
                          9));
}

/* What does not fit is seen at the end. */
static void test_no_room (void **state)
{
    (void) state;
    static const enum form forms[] = {FORM_JSON, FORM_MSGPACK};
    for (size_t i = 0; i < COUNT_OF (forms); i++) {
        struct buf out;
        struct doc doc;
        buf_init (&out, 20);
        doc_init (&doc, &out, forms[i]);
        write_scalars (&doc);
        assert_true (out.failed);
        assert_true (out.n <= 20);
        buf_fini (&out);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_forms), cmocka_unit_test (test_not_utf8), cmocka_unit_test (test_double),
        cmocka_unit_test (test_raw),   cmocka_unit_test (test_no_room),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
