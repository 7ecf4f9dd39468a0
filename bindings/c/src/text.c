#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The length of the code point at the front, 0 when it is none; overlong forms and surrogates are none. */
static size_t code_point (const uint8_t *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > n)
        return 0;
    uint32_t value = p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3f);
    }
    return value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff) ? 0 : length;
}

static bool is_control (const uint8_t *p, size_t length)
{
    return (length == 1 && (p[0] < 0x20 || p[0] == 0x7f)) || (length == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

static bool is_text (struct abr_bytes text, bool control_allowed)
{
    const uint8_t *p = (const uint8_t *) text.p;
    for (size_t n = text.n; n;) {
        size_t length = code_point (p, n);
        if (length == 0 || (!control_allowed && is_control (p, length)))
            return false;
        p += length;
        n -= length;
    }
    return true;
}

bool abr_utf8 (struct abr_bytes text)
{
    return is_text (text, true);
}

bool abr_is_name (struct abr_bytes text, size_t most)
{
    return text.n && text.n <= most && is_text (text, false);
}

bool abr_is_user (struct abr_bytes text)
{
    return abr_is_name (text, 128);
}

bool abr_is_reason (const char *reason)
{
    return !reason || (strlen (reason) <= 123 && abr_utf8 (abr_bytes_of (reason)));
}

void abr_new_id (char id[ABR_ID_SIZE])
{
    uint8_t bytes[ABR_ID_SIZE / 2];
    while (getrandom (bytes, sizeof bytes, 0) != (ssize_t) sizeof bytes) /* so few bytes come whole */
        if (errno != EINTR)
            abort (); /* ids that can be guessed or met twice are worse */
    for (size_t i = 0; i < sizeof bytes; i++) {
        id[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        id[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    id[ABR_ID_SIZE - 1] = 0;
}

double abr_unix_time (void)
{
    struct timespec now;
    clock_gettime (CLOCK_REALTIME, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

char *abr_copy (struct abr_bytes text)
{
    char *copy = malloc (text.n + 1);
    if (!copy)
        return NULL;
    if (text.n)
        memcpy (copy, text.p, text.n);
    copy[text.n] = 0;
    return copy;
}
