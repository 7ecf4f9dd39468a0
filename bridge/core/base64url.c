#include "core/base64url.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* 64 for what is no digit. */
static unsigned digit_value (char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned) (c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned) (c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned) (c - '0') + 52;
    return c == '-' ? 62 : c == '_' ? 63 : 64;
}

char *base64url_decode (struct slice text, size_t *n)
{
    size_t used = 0;
    uint32_t bits = 0;
    unsigned count = 0;
    *n = 0;
    char *out = text.n % 4 == 1 ? NULL : malloc (text.n / 4 * 3 + 3);
    for (size_t i = 0; out && i < text.n; i++) {
        unsigned value = digit_value (text.p[i]);
        if (value > 63)
            goto foreign;
        bits = (bits & 0x3f) << 6 | value;
        count += 6;
        if (count < 8)
            continue;
        count -= 8;
        out[used++] = (char) (bits >> count & 0xff);
    }
    if (!out || bits & ((1u << count) - 1)) /* unused bits must be zero, or one text would have several forms */
        goto foreign;
    out[used] = '\0';
    *n = used;
    return out;

foreign:
    free (out);
    return NULL;
}

void base64url_put (struct buf *out, struct slice bytes)
{
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        bits = (bits & 0xff) << 8 | (uint8_t) bytes.p[i];
        for (count += 8; count >= 6; count -= 6)
            buf_putc (out, alphabet[bits >> (count - 6) & 0x3f]);
    }
    if (count)
        buf_putc (out, alphabet[bits << (6 - count) & 0x3f]);
}
