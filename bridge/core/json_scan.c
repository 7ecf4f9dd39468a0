#include "core/json_scan.h"
#include "base/utf8.h"

#include <stdint.h>

/* The byte `c` in all eight places. */
#define EIGHT(c) (UINT64_C (0x0101010101010101) * (uint8_t) (c))

/* Numbers whose lowest byte is the first; compilers make one load of each. */
static inline uint64_t load4 (const char *p)
{
    const uint8_t *b = (const uint8_t *) p;
    return b[0] | (uint32_t) b[1] << 8 | (uint32_t) b[2] << 16 | (uint32_t) b[3] << 24;
}

static inline uint64_t load8 (const char *p)
{
    return load4 (p) | load4 (p + 4) << 32;
}

/* `n` bytes, 1 to 7, and zeros behind them. */
static inline uint64_t load_short (const char *p, size_t n)
{
    const uint8_t *b = (const uint8_t *) p;
    if (n >= 4)
        return load4 (p) | load4 (p + n - 4) << 8 * (n - 4);
    return b[0] | (uint32_t) b[n / 2] << 8 * (n / 2) | (uint32_t) b[n - 1] << 8 * (n - 1);
}

/* The high bit of each byte that may not stand in a string as it is, or not without a look at its neighbours. What
 * stands over the lowest one is void: the subtractions borrow from there. */
static inline uint64_t special_bytes (uint64_t word)
{
    uint64_t control = word - EIGHT (0x20), quote = (word ^ EIGHT ('"')) - EIGHT (1),
             backslash = (word ^ EIGHT ('\\')) - EIGHT (1);
    return (control | quote | backslash | word) & EIGHT (0x80);
}

/* The compiler's vectors; without such registers it takes the bytes one by one. */
typedef signed char sixteen __attribute__ ((vector_size (16)));

/* Sixteen bytes of ASCII that need no escape? Those outside ASCII are negative. */
static inline bool sixteen_plain (const char *p)
{
    sixteen bytes;
    uint64_t halves[2];
    memcpy (&bytes, p, sizeof bytes);
    sixteen special = (bytes < 0x20) | (bytes == '"') | (bytes == '\\');
    memcpy (halves, &special, sizeof halves);
    return (halves[0] | halves[1]) == 0;
}

static inline size_t first_special (uint64_t special)
{
    return (size_t) __builtin_ctzll (special) / 8;
}

/* How many bytes of ASCII that need no escape stand at the start. */
static inline size_t ascii_run (struct slice s)
{
    uint64_t special = 0;
    size_t at = 0;
    while (s.n - at >= 16 && sixteen_plain (s.p + at))
        at += 16;
    for (; s.n - at >= 8; at += 8)
        if ((special = special_bytes (load8 (s.p + at))))
            return at + first_special (special);
    if (at == s.n)
        return at;
    if (at == 0)
        return first_special (special_bytes (load_short (s.p, s.n))); /* at the latest the zero behind them */
    at = s.n - 8; /* what has been looked at already is not special */
    special = special_bytes (load8 (s.p + at));
    return special ? at + first_special (special) : s.n;
}

/* How many bytes outside ASCII, all of them UTF-8, stand at the start. */
static size_t utf8_run (struct slice s)
{
    size_t at = 0, n = 1;
    uint32_t cp;
    while (n && at < s.n && (uint8_t) s.p[at] >= 0x80) {
        n = utf8_next (slice_of (s.p + at, s.n - at), &cp);
        at += n;
    }
    return at;
}

/* Apart from json_plain_run(), which saves no registers then. */
static __attribute__ ((noinline)) size_t mixed_run (struct slice s, size_t at)
{
    size_t n;
    while ((n = utf8_run (slice_of (s.p + at, s.n - at)))) {
        at += n;
        at += ascii_run (slice_of (s.p + at, s.n - at));
    }
    return at;
}

size_t json_plain_run (struct slice s)
{
    size_t at = ascii_run (s);
    return at < s.n && (uint8_t) s.p[at] >= 0x80 ? mixed_run (s, at) : at;
}

/* 0 at the end: no token begins with it. */
static char peek (struct slice text, size_t pos)
{
    return pos < text.n ? text.p[pos] : '\0';
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

static bool skip_nested (struct slice text, size_t *pos, unsigned outer)
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

bool json_skip_value (struct slice text, size_t *pos, unsigned outer)
{
    char c = peek (text, *pos);
    size_t at = *pos;
    if (c == '{' || c == '[')
        return skip_nested (text, pos, outer);
    if (!skip_scalar (text, &at))
        return false;
    *pos = at;
    return true;
}

/* The next character of a string with its escape undone. */
static char undo_escape (struct slice raw, size_t *at)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char c = raw.p[(*at)++];
    if (c != '\\')
        return c;
    c = raw.p[(*at)++];
    if (c == 'u') {
        *at += 4;
        int32_t unit = hex4 (raw, *at - 4);
        return unit < 0x80 ? (char) unit : '?';
    }
    const char *letter = strchr (from, c);
    return letter ? to[letter - from] : c;
}

struct slice json_name (struct slice raw, char room[JSON_NAME_MAX])
{
    size_t n = 0;
    if (raw.n == 0 || !memchr (raw.p, '\\', raw.n))
        return raw;
    for (size_t at = 0; at < raw.n;) {
        if (n == JSON_NAME_MAX)
            return slice_of (NULL, 0);
        room[n++] = undo_escape (raw, &at);
    }
    return slice_of (room, n);
}
