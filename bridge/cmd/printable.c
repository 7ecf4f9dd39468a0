#include "cmd/printable.h"
#include "base/utf8.h"

static bool is_control (uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7F && cp < 0xA0);
}

/* Marks, overrides and isolates of the writing direction, separators of lines, and what takes no room at all. */
static bool is_deceptive (uint32_t cp)
{
    return (cp >= 0x200B && cp <= 0x200F) || (cp >= 0x2028 && cp <= 0x202E) || (cp >= 0x2060 && cp <= 0x206F) ||
           cp == 0x061C || cp == 0xFEFF || (cp >= 0xFFF9 && cp <= 0xFFFB) || (cp >= 0xE0000 && cp <= 0xE0FFF);
}

static void put_character (struct buf *out, struct slice bytes, uint32_t cp, unsigned indent)
{
    if (cp == '\n' && indent)
        buf_printf (out, "\n%*s", (int) indent, "");
    else if (cp == '\n')
        buf_puts (out, "\\n");
    else if (cp == '\t')
        buf_putc (out, ' ');
    else if (is_control (cp))
        buf_printf (out, "\\x%02x", (unsigned) cp);
    else if (is_deceptive (cp))
        buf_printf (out, "\\u{%04x}", (unsigned) cp);
    else
        buf_put (out, bytes.p, bytes.n);
}

void put_printable (struct buf *out, struct slice text, unsigned indent)
{
    while (text.n) {
        uint32_t cp = 0;
        size_t n = utf8_next (text, &cp);
        if (n)
            put_character (out, slice_of (text.p, n), cp, indent);
        else
            buf_printf (out, "\\x%02x", (unsigned) (uint8_t) text.p[0]);
        n += n == 0;
        text = slice_of (text.p + n, text.n - n);
    }
}

void put_printable_json (struct buf *out, struct slice json)
{
    while (json.n) {
        uint32_t cp = 0;
        size_t n = utf8_next (json, &cp);
        if (n == 0 || cp == '\n' || cp == '\r' || cp == '\t')
            buf_putc (out, ' ');
        else if (cp >= 0x10000 && is_deceptive (cp))
            buf_printf (out, "\\u%04x\\u%04x", 0xD800 + (unsigned) ((cp - 0x10000) >> 10),
                        0xDC00 + (unsigned) ((cp - 0x10000) & 0x3FF));
        else if (is_control (cp) || is_deceptive (cp))
            buf_printf (out, "\\u%04x", (unsigned) cp);
        else
            buf_put (out, json.p, n);
        n += n == 0;
        json = slice_of (json.p + n, json.n - n);
    }
}

void put_json_line (struct buf *out, struct slice json)
{
    for (size_t i = 0; i < json.n; i++)
        buf_putc (out, json.p[i] == '\n' || json.p[i] == '\r' ? ' ' : json.p[i]);
}
