/* The second opinion on JSON: jansson's. It is stricter than RFC 8259 in matters that are no faults of the text, so
 * that these are taken out of a copy first: NUL in keys, lone surrogates, numbers that no double can hold. */
#ifndef TESTS_FUZZ_JSON_H
#define TESTS_FUZZ_JSON_H

#include "base/buf.h"

#include <ctype.h>
#include <jansson.h>

/* The code unit of \uXXXX at the start of `s`; -1 when there is none. */
static int escaped_unit (struct slice s)
{
    char digits[5] = {0};
    if (s.n < 6 || s.p[0] != '\\' || s.p[1] != 'u')
        return -1;
    for (int i = 0; i < 4; i++) {
        if (!isxdigit ((unsigned char) s.p[2 + i]))
            return -1;
        digits[i] = s.p[2 + i];
    }
    return (int) strtol (digits, NULL, 16);
}

/* One escape at the start of `s`: its length, and what to write for it in *as (NULL: as it is). */
static size_t tame_escape (struct slice s, const char **as)
{
    int unit = escaped_unit (s);
    *as = unit == 0 ? "\\u0001" : NULL;
    if (unit < 0)
        return s.n < 2 ? s.n : 2;
    if (unit < 0xd800 || unit > 0xdfff)
        return 6;
    int second = unit < 0xdc00 ? escaped_unit (slice_of (s.p + 6, s.n - 6)) : -1;
    if (second >= 0xdc00 && second <= 0xdfff)
        return 12;
    *as = "\\ufffd";
    return 6;
}

/* Long runs of digits outside strings are cut; those of exponents (behind e, e+, e-) to two. */
static void tame (struct slice s, struct buf *out)
{
    bool inside = false;
    unsigned digits = 0, most = 15;
    const char *as;
    for (size_t i = 0, n; i < s.n; i += n) {
        char c = s.p[i];
        n = 1;
        digits = isdigit ((unsigned char) c) && !inside ? digits + 1 : 0;
        if (digits > most)
            continue;
        if (digits == 0 && c != '+' && c != '-')
            most = c == 'e' || c == 'E' ? 2 : 15;
        if (c == '"')
            inside = !inside;
        as = NULL;
        if (c == '\\' && inside)
            n = tame_escape (slice_of (s.p + i, s.n - i), &as);
        if (as)
            buf_puts (out, as);
        else
            buf_put (out, s.p + i, n);
    }
}

/* The text as a tree, NULL when it is not JSON. */
static json_t *json_tree (struct slice text, size_t flags)
{
    struct buf tamed;
    if (text.n && memchr (text.p, '\0', text.n)) /* jansson steps over one that follows a number */
        return NULL;
    buf_init (&tamed, 0);
    tame (text, &tamed);
    json_t *tree =
        json_loadb (tamed.p ? (const char *) tamed.p : "", tamed.n, JSON_DECODE_ANY | JSON_ALLOW_NUL | flags, NULL);
    buf_fini (&tamed);
    return tree;
}

static unsigned greater (unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* Objects and arrays within each other. */
UNUSED static unsigned json_depth (const json_t *value)
{
    unsigned deepest = 0;
    const char *key;
    json_t *item;
    size_t i;
    if (!json_is_object (value) && !json_is_array (value))
        return 0;
    json_object_foreach ((json_t *) value, key, item) deepest = greater (json_depth (item), deepest);
    json_array_foreach (value, i, item) deepest = greater (json_depth (item), deepest);
    return deepest + 1;
}

#endif
