#include "core/mp_json.h"
#include "base/utf8.h"
#include "core/json_scan.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <time.h>

#define MAX_KEY_NESTING 4 /* quotes within quotes double with every level, so it must end somewhere */
#define EXT_TIMESTAMP   (-1)

/* A walk over one value that writes as it goes. A fault of the input, which mp_check() should have refused,
 * ends it as a failure of `out` does. */
struct writer {
    struct buf *out;
    struct slice in;
    size_t pos;
    unsigned depth;            /* containers that are open */
    unsigned keys;             /* keys within keys that are open */
    const struct slice *delta; /* of an event, instead of its own; NULL: its own */
    bool replaced;             /* `delta` has been written */
    bool own;                  /* the event is the bridge's: keys with `_` stay */
};

static void write_value (struct writer *self);
static void write_token (struct writer *self, const struct mp_token *token);

/* How many bytes one U+FFFD stands for: the longest start of a well-formed sequence (WHATWG Encoding), at
 * least one. */
static size_t bad_run (struct slice s)
{
    uint8_t first = (uint8_t) s.p[0];
    if (first < 0xC2 || first > 0xF4)
        return 1;
    size_t want = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    size_t n = 1;
    while (n < want && n < s.n && (uint8_t) s.p[n] >= low && (uint8_t) s.p[n] <= high) {
        low = 0x80;
        high = 0xBF;
        n++;
    }
    return n;
}

static void write_escape (struct buf *out, uint8_t c)
{
    static const char short_forms[0x20] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 0x0f]};
    if (c >= 0x20)
        text[1] = (char) c;
    else if (short_forms[c])
        text[1] = short_forms[c];
    buf_put (out, text, text[1] == 'u' ? 6 : 2);
}

/* What may not stand in a string as it is, at the start of `text`: how many bytes that was. */
static size_t write_odd (struct buf *out, struct slice text)
{
    if ((uint8_t) text.p[0] < 0x80) {
        write_escape (out, (uint8_t) text.p[0]);
        return 1;
    }
    buf_puts (out, "\xEF\xBF\xBD");
    return bad_run (text);
}

/* The inside of a JSON string; the first `n` bytes may stand there as they are. */
static void write_text (struct buf *out, struct slice text, size_t n)
{
    buf_put (out, text.p, n);
    while (n < text.n && !out->failed) {
        text = slice_of (text.p + n, text.n - n);
        n = write_odd (out, text);
        text = slice_of (text.p + n, text.n - n);
        n = json_plain_run (text);
        buf_put (out, text.p, n);
    }
}

/* `text` in quotes; returns where it ends. */
static uint8_t *quote (uint8_t *to, struct slice text)
{
    *to++ = '"';
    slice_copy (to, text);
    to[text.n] = '"';
    return to + text.n + 1;
}

static void write_odd_string (struct buf *out, struct slice text, size_t plain)
{
    buf_putc (out, '"');
    write_text (out, text, plain);
    buf_putc (out, '"');
}

void json_write_string (struct buf *out, struct slice text)
{
    size_t plain = json_plain_run (text);
    uint8_t *to = plain == text.n ? buf_extend (out, text.n + 2) : NULL;
    if (to)
        quote (to, text);
    else
        write_odd_string (out, text, plain);
}

/* One to three bytes as four characters. */
static void base64_group (char *to, const char *from, size_t n)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = (uint32_t) (uint8_t) from[0] << 16;
    if (n > 1)
        bits |= (uint32_t) (uint8_t) from[1] << 8;
    if (n > 2)
        bits |= (uint8_t) from[2];
    to[0] = alphabet[bits >> 18];
    to[1] = alphabet[bits >> 12 & 0x3f];
    to[2] = '=';
    to[3] = '=';
    if (n > 1)
        to[2] = alphabet[bits >> 6 & 0x3f];
    if (n > 2)
        to[3] = alphabet[bits & 0x3f];
}

static void write_base64 (struct buf *out, struct slice bytes)
{
    char chunk[256];
    size_t fill = 0;
    buf_putc (out, '"');
    for (size_t at = 0; at < bytes.n && !out->failed; at += 3) {
        base64_group (chunk + fill, bytes.p + at, bytes.n - at);
        fill += 4;
        if (fill == sizeof chunk) {
            buf_put (out, chunk, fill);
            fill = 0;
        }
    }
    buf_put (out, chunk, fill);
    buf_putc (out, '"');
}

void json_write_digits (struct buf *out, uint64_t value, size_t width)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    char text[24];
    size_t at = sizeof text;
    for (; value >= 10; value /= 100) {
        at -= 2;
        memcpy (text + at, pairs + value % 100 * 2, 2);
    }
    if (value)
        text[--at] = (char) ('0' + value);
    while (sizeof text - at < width)
        text[--at] = '0';
    buf_put (out, text + at, sizeof text - at);
}

static void write_int (struct buf *out, int64_t value)
{
    buf_putc (out, '-');
    json_write_digits (out, -(uint64_t) value, 1);
}

/* Magnitudes with six fraction digits at most, such as times and durations, without the C library's detours.
 * Below 2^32 the product is wrong by less than one half, so that rounding finds the only candidate; the
 * division rounds as strtod would, hence tells whether it is one. */
static bool write_micros (struct buf *out, double magnitude)
{
    if (magnitude < 1e-4 || magnitude >= 4294967296.0)
        return false;
    double micros = nearbyint (magnitude * 1e6);
    if (micros / 1e6 != magnitude)
        return false;
    uint64_t whole = (uint64_t) micros / 1000000;
    uint64_t fraction = (uint64_t) micros % 1000000;
    size_t width = 6;
    while (width > 1 && fraction % 10 == 0) {
        fraction /= 10;
        width--;
    }
    json_write_digits (out, whole, 1);
    buf_putc (out, '.');
    json_write_digits (out, fraction, width);
    return true;
}

/* 15 digits are enough for every number that was written with 15 or fewer, 17 for all; subnormals need fewer.
 */
static void write_scientific (struct buf *out, double magnitude)
{
    char text[32];
    int digits = magnitude < DBL_MIN ? 1 : 15;
    do {
        snprintf (text, sizeof text, "%.*g", digits, magnitude);
        digits++;
    } while (digits <= 17 && strtod (text, NULL) != magnitude);
    buf_puts (out, text);
    if (!strpbrk (text, ".e"))
        buf_puts (out, ".0");
}

static void write_double (struct buf *out, double value)
{
    double magnitude = fabs (value);
    if (!isfinite (value)) {
        buf_puts (out, "null");
        return;
    }
    if (signbit (value))
        buf_putc (out, '-');
    if (magnitude < 1e15 && magnitude == trunc (magnitude)) {
        json_write_digits (out, (uint64_t) magnitude, 1);
        buf_puts (out, ".0");
    } else if (!write_micros (out, magnitude)) {
        write_scientific (out, magnitude);
    }
}

struct moment {
    int64_t seconds; /* Unix time */
    uint32_t nanoseconds;
};

/* False when the ext is no timestamp that RFC 3339 can express. */
static bool read_timestamp (const struct mp_token *token, struct moment *moment)
{
    const char *p = token->bytes.p;
    if (token->ext_type != EXT_TIMESTAMP)
        return false;
    if (token->bytes.n == 4) {
        *moment = (struct moment){(int64_t) mp_big_endian (p, 4), 0};
    } else if (token->bytes.n == 8) {
        uint64_t both = mp_big_endian (p, 8);
        *moment = (struct moment){(int64_t) (both & ((UINT64_C (1) << 34) - 1)), (uint32_t) (both >> 34)};
    } else if (token->bytes.n == 12) {
        *moment = (struct moment){(int64_t) mp_big_endian (p + 4, 8), (uint32_t) mp_big_endian (p, 4)};
    } else {
        return false;
    }
    /* 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z */
    return moment->nanoseconds < 1000000000 && moment->seconds >= INT64_C (-62135596800) &&
           moment->seconds <= INT64_C (253402300799);
}

static void write_fraction (struct buf *out, uint32_t nanoseconds)
{
    size_t width = 9;
    if (nanoseconds == 0)
        return;
    while (nanoseconds % 1000 == 0) {
        nanoseconds /= 1000;
        width -= 3;
    }
    buf_putc (out, '.');
    json_write_digits (out, nanoseconds, width);
}

static void write_timestamp (struct buf *out, struct moment moment)
{
    struct tm tm;
    time_t seconds = (time_t) moment.seconds;
    gmtime_r (&seconds, &tm);
    buf_printf (out, "\"%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                tm.tm_min, tm.tm_sec);
    write_fraction (out, moment.nanoseconds);
    buf_puts (out, "Z\"");
}

static void write_ext (struct buf *out, const struct mp_token *token)
{
    struct moment moment;
    if (read_timestamp (token, &moment)) {
        write_timestamp (out, moment);
        return;
    }
    buf_printf (out, "{\"_ext\":%d,\"data\":", token->ext_type);
    write_base64 (out, token->bytes);
    buf_putc (out, '}');
}

/* Everything but strings, arrays and maps. */
static void write_scalar (struct buf *out, const struct mp_token *token)
{
    switch (token->kind) {
    case MP_BOOL:
        buf_puts (out, token->b ? "true" : "false");
        break;
    case MP_UINT:
        json_write_digits (out, token->u, 1);
        break;
    case MP_INT:
        write_int (out, token->i);
        break;
    case MP_FLOAT32:
    case MP_FLOAT64:
        write_double (out, token->d);
        break;
    case MP_BIN:
        write_base64 (out, token->bytes);
        break;
    case MP_EXT:
        write_ext (out, token);
        break;
    default:
        buf_puts (out, "null");
    }
}

static inline bool next (struct writer *self, struct mp_token *token)
{
    bool good = mp_read (self->in, &self->pos, token) == MP_OK;
    self->out->failed |= !good;
    return good;
}

/* Step over one whole value: its bytes. */
static struct slice next_raw (struct writer *self)
{
    size_t start = self->pos;
    self->out->failed |= mp_skip (self->in, &self->pos) != MP_OK;
    return slice_of (self->in.p + start, self->pos - start);
}

/* A key that has to be written first and then put in quotes. */
static void write_quoted_value (struct writer *self)
{
    struct buf text;
    struct writer inner = *self;
    buf_init (&text, self->out->limit);
    inner.out = &text;
    inner.keys++;
    write_value (&inner);
    self->pos = inner.pos;
    self->out->failed |= text.failed;
    json_write_string (self->out, buf_slice (&text));
    buf_fini (&text);
}

static void write_compound_key (struct writer *self)
{
    if (self->keys < MAX_KEY_NESTING)
        write_quoted_value (self);
    else
        write_base64 (self->out, next_raw (self));
}

/* Does this become a JSON string by itself? */
static bool becomes_string (const struct mp_token *token)
{
    struct moment moment;
    return token->kind == MP_STR || token->kind == MP_BIN || (token->kind == MP_EXT && read_timestamp (token, &moment));
}

static void write_odd_key (struct writer *self, const struct mp_token *key, size_t start)
{
    if (becomes_string (key)) {
        write_token (self, key);
    } else if (key->kind == MP_EXT || mp_is_container (key)) {
        self->pos = start;
        write_compound_key (self);
    } else {
        buf_putc (self->out, '"');
        write_token (self, key);
        buf_putc (self->out, '"');
    }
}

/* The key that has been read from `start`, with what stands around it; the usual one in one piece. */
static void write_key (struct writer *self, const struct mp_token *key, size_t start, bool first)
{
    if (key->kind == MP_STR && json_plain_run (key->bytes) == key->bytes.n) {
        uint8_t *to = buf_extend (self->out, key->bytes.n + (first ? 3 : 4));
        if (to && !first)
            *to++ = ',';
        if (to)
            *quote (to, key->bytes) = ':';
        return;
    }
    if (!first)
        buf_putc (self->out, ',');
    write_odd_key (self, key, start);
    buf_putc (self->out, ':');
}

static void write_array (struct writer *self, uint32_t count)
{
    buf_putc (self->out, '[');
    for (uint32_t i = 0; i < count && !self->out->failed; i++) {
        if (i)
            buf_putc (self->out, ',');
        write_value (self);
    }
    buf_putc (self->out, ']');
}

static void write_pair (struct writer *self, bool first)
{
    struct mp_token key;
    size_t start = self->pos;
    if (!next (self, &key))
        return;
    write_key (self, &key, start, first);
    write_value (self);
}

static void write_map (struct writer *self, uint32_t count)
{
    buf_putc (self->out, '{');
    for (uint32_t i = 0; i < count && !self->out->failed; i++)
        write_pair (self, i == 0);
    buf_putc (self->out, '}');
}

static void write_container (struct writer *self, const struct mp_token *token)
{
    if (self->depth == MP_MAX_DEPTH) {
        self->out->failed = true;
        return;
    }
    self->depth++;
    if (token->kind == MP_MAP)
        write_map (self, token->count);
    else
        write_array (self, token->count);
    self->depth--;
}

/* The value whose token has been read. */
static void write_token (struct writer *self, const struct mp_token *token)
{
    if (token->kind == MP_STR)
        json_write_string (self->out, token->bytes);
    else if (mp_is_container (token))
        write_container (self, token);
    else
        write_scalar (self->out, token);
}

static void write_value (struct writer *self)
{
    struct mp_token token;
    if (next (self, &token))
        write_token (self, &token);
}

void mp_json_write (struct buf *out, struct slice value)
{
    struct writer self = {.out = out, .in = value};
    write_value (&self);
}

/* Read the head of an event: the number of pairs. */
static uint32_t open_event (struct writer *self)
{
    struct mp_token head;
    if (next (self, &head) && head.kind == MP_MAP) {
        self->depth = 1;
        return head.count;
    }
    self->out->failed = true;
    return 0;
}

/* What becomes of a top-level pair of an event. */
enum fate {
    PAIR_KEPT,
    PAIR_LEFT_OUT, /* a key of the bridge's own, or a second `delta` */
    PAIR_REPLACED
};

static enum fate fate_of (struct writer *self, const struct mp_token *key)
{
    if (key->kind != MP_STR || key->bytes.n == 0)
        return PAIR_KEPT;
    if (key->bytes.p[0] == '_')
        return self->own ? PAIR_KEPT : PAIR_LEFT_OUT;
    if (!self->delta || !slice_is (key->bytes, "delta"))
        return PAIR_KEPT;
    enum fate fate = self->replaced ? PAIR_LEFT_OUT : PAIR_REPLACED;
    self->replaced = true;
    return fate;
}

/* The next pair of an event as far as it is to be seen; is it? */
static bool write_event_pair (struct writer *self, bool first)
{
    struct mp_token key;
    size_t start = self->pos;
    if (!next (self, &key))
        return false;
    enum fate fate = fate_of (self, &key);
    if (fate != PAIR_LEFT_OUT)
        write_key (self, &key, start, first);
    if (fate == PAIR_KEPT)
        write_value (self);
    else
        next_raw (self);
    if (fate == PAIR_REPLACED)
        json_write_string (self->out, *self->delta);
    return fate != PAIR_LEFT_OUT;
}

static void write_event (struct writer *self, uint64_t offset)
{
    struct buf *out = self->out;
    uint32_t count = open_event (self);
    bool first = true;
    buf_putc (out, '{');
    for (uint32_t i = 0; i < count && !out->failed; i++)
        first &= !write_event_pair (self, first);
    if (offset) {
        buf_puts (out, first ? "\"_offset\":" : ",\"_offset\":");
        json_write_digits (out, offset, 1);
    }
    buf_putc (out, '}');
}

void mp_json_write_event (struct buf *out, struct slice event, uint64_t offset)
{
    struct writer self = {.out = out, .in = event};
    write_event (&self, offset);
}

void mp_json_write_merged (struct buf *out, struct slice event, uint64_t offset, struct slice delta)
{
    struct writer self = {.out = out, .in = event, .delta = &delta};
    write_event (&self, offset);
}

void mp_json_write_own (struct buf *out, struct slice event, uint64_t offset)
{
    struct writer self = {.out = out, .in = event, .own = true};
    write_event (&self, offset);
}

/* Step over the next pair: what becomes of it. */
static enum fate next_fate (struct writer *self)
{
    struct mp_token key;
    self->out->failed |= mp_read_whole (self->in, &self->pos, 0, &key) != MP_OK;
    if (self->out->failed)
        return PAIR_LEFT_OUT;
    next_raw (self);
    return fate_of (self, &key);
}

/* How many pairs an event keeps; leaves `self` where it was. */
static uint32_t count_kept (const struct writer *self, uint32_t count)
{
    struct writer ahead = *self;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count && !ahead.out->failed; i++)
        kept += next_fate (&ahead) != PAIR_LEFT_OUT;
    return kept;
}

static void copy_kept (struct writer *self, uint32_t count, msgpack_packer *packer)
{
    for (uint32_t i = 0; i < count && !self->out->failed; i++) {
        size_t start = self->pos;
        enum fate fate = next_fate (self);
        if (fate == PAIR_KEPT)
            buf_put (self->out, self->in.p + start, self->pos - start);
        if (fate == PAIR_REPLACED) {
            mp_put_cstr (packer, "delta");
            mp_put_str (packer, *self->delta);
        }
    }
}

static void pack_event (struct writer *self, uint64_t offset)
{
    msgpack_packer packer;
    uint32_t count = open_event (self);
    if (self->out->failed)
        return;
    uint32_t kept = count_kept (self, count);
    mp_writer_init (&packer, self->out);
    mp_put_map (&packer, kept + (offset != 0));
    if (kept == count && !self->delta)
        buf_put (self->out, self->in.p + self->pos, self->in.n - self->pos);
    else
        copy_kept (self, count, &packer);
    if (offset) {
        mp_put_cstr (&packer, "_offset");
        mp_put_uint (&packer, offset);
    }
}

void mp_write_event (struct buf *out, struct slice event, uint64_t offset)
{
    struct writer self = {.out = out, .in = event};
    pack_event (&self, offset);
}

void mp_write_merged (struct buf *out, struct slice event, uint64_t offset, struct slice delta)
{
    struct writer self = {.out = out, .in = event, .delta = &delta};
    pack_event (&self, offset);
}

void mp_write_own (struct buf *out, struct slice event, uint64_t offset)
{
    struct writer self = {.out = out, .in = event, .own = true};
    pack_event (&self, offset);
}
