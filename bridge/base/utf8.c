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
