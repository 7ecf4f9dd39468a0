#include "base/utf8.h"

size_t utf8_next (struct slice s, uint32_t *cp)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (s.n == 0)
        return 0;
    uint8_t first = (uint8_t) s.p[0];
    if (first < 0x80) {
        *cp = first;
        return 1;
    }
    size_t n = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || s.n < n)
        return 0;
    uint32_t value = first & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        uint8_t byte = (uint8_t) s.p[i];
        if ((byte & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (byte & 0x3F);
    }
    if (value < least[n] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *cp = value;
    return n;
}

bool utf8_valid (struct slice s)
{
    uint32_t cp;
    while (s.n) {
        size_t n = utf8_next (s, &cp);
        if (n == 0)
            return false;
        s = slice_of (s.p + n, s.n - n);
    }
    return true;
}

static bool begins (struct utf8_progress *self, uint8_t first)
{
    if (first < 0x80)
        return true;
    self->missing = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    self->low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;  /* below: too long a form */
    self->high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF; /* above: surrogates; over U+10FFFF */
    return first >= 0xC2 && first <= 0xF4;
}

static bool continues (struct utf8_progress *self, uint8_t byte)
{
    bool allowed = byte >= self->low && byte <= self->high;
    self->missing--;
    self->low = 0x80;
    self->high = 0xBF;
    return allowed;
}

bool utf8_goes_on (struct utf8_progress *self, struct slice piece)
{
    bool good = true;
    for (size_t i = 0; good && i < piece.n; i++) {
        uint8_t byte = (uint8_t) piece.p[i];
        good = self->missing ? continues (self, byte) : begins (self, byte);
    }
    return good;
}
