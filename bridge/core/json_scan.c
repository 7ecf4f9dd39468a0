#include "core/json_scan.h"
#include "base/utf8.h"

#include <stdint.h>

/* The byte `c` in all eight places. */
#define EIGHT(c) (UINT64_C (0x0101010101010101) * (uint8_t) (c))

/* Nonzero exactly when one of the eight bytes is below `n` (at most 0x80); which one it is cannot be told. */
static uint64_t any_below (uint64_t word, uint8_t n)
{
    return (word - EIGHT (n)) & ~word & EIGHT (0x80);
}

/* Eight bytes of ASCII that need no escape? */
static bool eight_plain (const char *p)
{
    uint64_t word;
    memcpy (&word, p, sizeof word);
    uint64_t special = any_below (word, 0x20) | any_below (word ^ EIGHT ('"'), 1) | any_below (word ^ EIGHT ('\\'), 1);
    return ((special | word) & EIGHT (0x80)) == 0;
}

/* Length of the character at the start when it may stand in a string as it is, else 0. */
static size_t plain_char (struct slice s)
{
    uint32_t cp;
    uint8_t c = (uint8_t) s.p[0];
    if (c >= 0x80)
        return utf8_next (s, &cp);
    return c >= 0x20 && c != '"' && c != '\\';
}

size_t json_plain_run (struct slice s)
{
    size_t at = 0;
    while (at < s.n) {
        if (s.n - at >= 8 && eight_plain (s.p + at)) {
            at += 8;
            continue;
        }
        size_t n = plain_char (slice_of (s.p + at, s.n - at));
        if (n == 0)
            break;
        at += n;
    }
    return at;
}

/* 0 at the end: no token begins with it. */
static char peek (struct slice text, size_t pos)
{
    return pos < text.n ? text.p[pos] : '\0';
}

void json_skip_blanks (struct slice text, size_t *pos)
{
    while (*pos < text.n && memchr (" \t\r\n", text.p[*pos], 4))
        (*pos)++;
}

bool json_take (struct slice text, size_t *pos, char c)
{
    if (*pos >= text.n || text.p[*pos] != c)
        return false;
    (*pos)++;
    return true;
}

static int hex_digit (char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char) (c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of \uXXXX, -1 when they are not there. */
static int32_t hex4 (struct slice text, size_t pos)
{
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit (peek (text, pos + i));
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* *pos is on the backslash. */
static bool skip_escape (struct slice text, size_t *pos)
{
    char c = peek (text, *pos + 1);
    if (c == 'u') {
        if (hex4 (text, *pos + 2) < 0)
            return false;
        *pos += 6;
        return true;
    }
    *pos += 2;
    return c != '\0' && strchr ("\"\\/bfnrt", c);
}

bool json_scan_string (struct slice text, size_t *pos, struct slice *raw)
{
    size_t at = *pos;
    if (!json_take (text, &at, '"'))
        return false;
    for (;;) {
        at += json_plain_run (slice_of (text.p + at, text.n - at));
        char c = peek (text, at);
        if (c == '"')
            break;
        if (c != '\\' || !skip_escape (text, &at))
            return false;
    }
    *raw = slice_of (text.p + *pos + 1, at - *pos - 1);
    *pos = at + 1;
    return true;
}

static bool skip_digits (struct slice text, size_t *pos)
{
    size_t start = *pos;
    while (peek (text, *pos) >= '0' && peek (text, *pos) <= '9')
        (*pos)++;
    return *pos > start;
}

static bool skip_exponent (struct slice text, size_t *pos)
{
    if (!json_take (text, pos, 'e') && !json_take (text, pos, 'E'))
        return true;
    if (!json_take (text, pos, '+'))
        json_take (text, pos, '-');
    return skip_digits (text, pos);
}

static bool skip_number (struct slice text, size_t *pos)
{
    json_take (text, pos, '-');
    if (!json_take (text, pos, '0') && !skip_digits (text, pos))
        return false;
    if (json_take (text, pos, '.') && !skip_digits (text, pos))
        return false;
    return skip_exponent (text, pos);
}

static bool skip_word (struct slice text, size_t *pos, const char *word)
{
    size_t n = strlen (word);
    if (text.n - *pos < n || memcmp (text.p + *pos, word, n) != 0)
        return false;
    *pos += n;
    return true;
}

static bool skip_scalar (struct slice text, size_t *pos)
{
    struct slice raw;
    switch (peek (text, *pos)) {
    case '"':
        return json_scan_string (text, pos, &raw);
    case 't':
        return skip_word (text, pos, "true");
    case 'f':
        return skip_word (text, pos, "false");
    case 'n':
        return skip_word (text, pos, "null");
    default:
        return skip_number (text, pos);
    }
}

/* Which containers are open: one bit each, the innermost lowest, 1 for an object. */
struct nest {
    uint64_t objects;
    unsigned depth;
    unsigned outer;
};

static bool in_object (const struct nest *nest)
{
    return nest->objects & 1;
}

static bool nest_push (struct nest *nest, bool object)
{
    if (nest->outer + nest->depth >= JSON_MAX_DEPTH)
        return false;
    nest->objects = nest->objects << 1 | object;
    nest->depth++;
    return true;
}

static void nest_pop (struct nest *nest)
{
    nest->objects >>= 1;
    nest->depth--;
}

static bool skip_key (struct slice text, size_t *pos)
{
    struct slice raw;
    json_skip_blanks (text, pos);
    if (!json_scan_string (text, pos, &raw))
        return false;
    json_skip_blanks (text, pos);
    return json_take (text, pos, ':');
}

/* Open containers until a scalar has been read, or an empty container, which stays open for skip_ends(). */
static bool skip_starts (struct slice text, size_t *pos, struct nest *nest)
{
    for (;;) {
        json_skip_blanks (text, pos);
        char c = peek (text, *pos);
        if (c != '{' && c != '[')
            return skip_scalar (text, pos);
        (*pos)++;
        if (!nest_push (nest, c == '{'))
            return false;
        json_skip_blanks (text, pos);
        if (peek (text, *pos) == (c == '{' ? '}' : ']'))
            return true;
        if (c == '{' && !skip_key (text, pos))
            return false;
    }
}

/* Close what ends here; what is still open after it must go on with a comma (and a key). */
static bool skip_ends (struct slice text, size_t *pos, struct nest *nest)
{
    while (nest->depth) {
        json_skip_blanks (text, pos);
        if (!json_take (text, pos, in_object (nest) ? '}' : ']'))
            return json_take (text, pos, ',') && (!in_object (nest) || skip_key (text, pos));
        nest_pop (nest);
    }
    return true;
}

bool json_skip_value (struct slice text, size_t *pos, unsigned outer)
{
    struct nest nest = {.outer = outer};
    size_t at = *pos;
    do {
        if (!skip_starts (text, &at, &nest) || !skip_ends (text, &at, &nest))
            return false;
    } while (nest.depth);
    *pos = at;
    return true;
}

/* The next character of a string with its escape undone; anything outside ASCII comes as some value over
 * 0x7f. */
static int32_t undo_escape (struct slice raw, size_t *at)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char c = raw.p[(*at)++];
    if (c != '\\')
        return (uint8_t) c;
    c = raw.p[(*at)++];
    if (c == 'u') {
        *at += 4;
        return hex4 (raw, *at - 4);
    }
    const char *letter = strchr (from, c);
    return letter ? to[letter - from] : c;
}

bool json_string_is (struct slice raw, const char *ascii)
{
    if (!memchr (raw.n ? raw.p : "", '\\', raw.n))
        return slice_is (raw, ascii);
    size_t at = 0;
    while (at < raw.n) {
        int32_t c = undo_escape (raw, &at);
        if (*ascii == '\0' || c != (uint8_t) *ascii++)
            return false;
    }
    return *ascii == '\0';
}
