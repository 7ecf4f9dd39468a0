#include "body.h"

#include <inttypes.h>

#define AROUND 110 /* bytes of a body besides its text */

static char *text;
static size_t text_n;

void body_set_size (size_t bytes)
{
    text_n = bytes > AROUND ? bytes - AROUND : 0;
    free (text);
    text = malloc (text_n + 1);
    CHECK (text);
    for (size_t i = 0; i < text_n; i++)
        text[i] = (char) ('a' + i % 26);
}

/* --- JSON ---------------------------------------------------------------------------------------------------- */

static void write_json (struct buf *out, const char *type, const char *user, struct stamp stamp)
{
    buf_puts (out, "{\"type\":\"");
    buf_puts (out, type);
    buf_puts (out, "\",\"user_id\":\"");
    buf_puts (out, user);
    buf_printf (out, "\",\"seq\":%" PRIu64 ",\"ts\":%" PRId64 ",\"data\":{\"text\":\"", stamp.seq, stamp.ts);
    buf_put (out, text, text_n);
    buf_puts (out, "\"}}");
}

/* Step over `expected`; false when something else stands there. */
static bool skip (struct slice *rest, struct slice expected)
{
    if (rest->n < expected.n || memcmp (rest->p, expected.p, expected.n) != 0)
        return false;
    *rest = slice_of (rest->p + expected.n, rest->n - expected.n);
    return true;
}

static bool skip_str (struct slice *rest, const char *expected)
{
    return skip (rest, slice_str (expected));
}

static bool read_number (struct slice *rest, uint64_t *value)
{
    const char *start = rest->p;
    for (*value = 0; rest->n && rest->p[0] >= '0' && rest->p[0] <= '9'; rest->p++, rest->n--)
        *value = *value * 10 + (uint64_t) (rest->p[0] - '0');
    return rest->p > start;
}

static enum body_fault read_json (const char *type, const char *user, struct slice rest, struct stamp *stamp)
{
    uint64_t ts, offset;
    if (!skip_str (&rest, "{\"type\":\"") || !skip_str (&rest, type) || !skip_str (&rest, "\",\"user_id\":\""))
        return BODY_MALFORMED;
    if (!skip_str (&rest, user))
        return BODY_FOREIGN;
    bool good = skip_str (&rest, "\",\"seq\":") && read_number (&rest, &stamp->seq) && skip_str (&rest, ",\"ts\":") &&
                read_number (&rest, &ts) && skip_str (&rest, ",\"data\":{\"text\":\"") &&
                skip (&rest, slice_of (text, text_n)) && skip_str (&rest, "\"}");
    if (good && skip_str (&rest, ",\"_offset\":"))
        good = read_number (&rest, &offset);
    if (!good || !slice_is (rest, "}"))
        return BODY_MALFORMED;
    stamp->ts = (int64_t) ts;
    return BODY_OK;
}

/* --- msgpack ------------------------------------------------------------------------------------------------- */

static void put_key (struct buf *out, const char *key)
{
    buf_putc (out, (char) (0xa0 | strlen (key)));
    buf_puts (out, key);
}

static void put_big_endian (struct buf *out, uint64_t value, int bytes)
{
    while (bytes--)
        buf_putc (out, (char) (value >> (8 * bytes)));
}

static void put_u64 (struct buf *out, const char *key, uint64_t value)
{
    put_key (out, key);
    buf_putc (out, '\xcf');
    put_big_endian (out, value, 8);
}

static void put_text (struct buf *out)
{
    put_key (out, "data");
    buf_putc (out, '\x81');
    put_key (out, "text");
    if (text_n < 256) {
        buf_putc (out, '\xd9');
        put_big_endian (out, text_n, 1);
    } else {
        buf_putc (out, '\xdb');
        put_big_endian (out, text_n, 4);
    }
    buf_put (out, text, text_n);
}

static void write_msgpack (struct buf *out, const char *type, const char *user, struct stamp stamp)
{
    buf_putc (out, '\x85');
    put_key (out, "type");
    put_key (out, type);
    put_key (out, "user_id");
    put_key (out, user);
    put_u64 (out, "seq", stamp.seq);
    put_u64 (out, "ts", (uint64_t) stamp.ts);
    put_text (out);
}

static uint64_t big_endian (const char *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | (uint8_t) p[i];
    return value;
}

/* Write what it should be, with its own numbers, and compare. */
static enum body_fault read_msgpack (const char *type, const char *user, struct slice bytes, struct stamp *stamp)
{
    static struct buf expected;
    size_t numbers = 1 + 5 + 1 + strlen (type) + 8 + 1 + strlen (user); /* where "seq" begins */
    if (bytes.n < numbers + 29)
        return BODY_MALFORMED;
    stamp->seq = big_endian (bytes.p + numbers + 5, 8);
    stamp->ts = (int64_t) big_endian (bytes.p + numbers + 17, 8);
    buf_reset (&expected);
    write_msgpack (&expected, type, user, *stamp);
    bool offset = bytes.p[0] == '\x86';
    expected.p[0] = offset ? 0x86 : 0x85;
    if (memcmp (bytes.p, expected.p, numbers - strlen (user)) != 0)
        return BODY_MALFORMED;
    if (memcmp (bytes.p, expected.p, numbers) != 0)
        return BODY_FOREIGN;
    if (!skip (&bytes, buf_slice (&expected)))
        return BODY_MALFORMED;
    return offset ? (skip_str (&bytes, "\xa7_offset") && bytes.n ? BODY_OK : BODY_MALFORMED)
                  : (bytes.n ? BODY_MALFORMED : BODY_OK);
}

/* --- both ---------------------------------------------------------------------------------------------------- */

void body_write (struct buf *out, enum body_form form, const char *type, const char *user, struct stamp stamp)
{
    (form == BODY_JSON ? write_json : write_msgpack) (out, type, user, stamp);
}

enum body_fault body_read (enum body_form form, const char *type, const char *user, struct slice bytes,
                           struct stamp *stamp)
{
    return (form == BODY_JSON ? read_json : read_msgpack) (type, user, bytes, stamp);
}
