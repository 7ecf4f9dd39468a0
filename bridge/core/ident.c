#include "core/ident.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>

void ident_hex (char *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[32];
    CHECK (n <= sizeof bytes);
    random_bytes (bytes, n);
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

void ident_new_connection (char *out)
{
    memcpy (out, "ws_", 3);
    ident_hex (out + 3, (CONN_ID_LEN - 3) / 2);
}

bool ident_is_connection (struct slice id)
{
    if (id.n < 3 + 12 || id.n > 3 + 32 || memcmp (id.p, "ws_", 3) != 0)
        return false;
    for (size_t i = 3; i < id.n; i++)
        if (!((id.p[i] >= '0' && id.p[i] <= '9') || (id.p[i] >= 'a' && id.p[i] <= 'f')))
            return false;
    return true;
}

static bool is_control (uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}

bool ident_is_user (struct slice id)
{
    uint32_t cp;
    if (id.n == 0 || id.n > USER_ID_MAX)
        return false;
    while (id.n) {
        if (id.p[0] >= 0x20 && id.p[0] < 0x7f) {
            id = slice_of (id.p + 1, id.n - 1);
            continue;
        }
        size_t n = utf8_next (id, &cp);
        if (n == 0 || is_control (cp))
            return false;
        id = slice_of (id.p + n, id.n - n);
    }
    return true;
}

/* A keyed hash of the user under a key that the process draws once, and the numbers. */
void ident_epoch (char *out, struct slice user, uint64_t incarnation, uint64_t losses)
{
    static uint64_t process[2];
    if (!process[0])
        random_bytes (process, sizeof process);
    uint64_t hash = hash_bytes_keyed (user, process[0] ^ incarnation, process[1] ^ losses);
    snprintf (out, EPOCH_LEN + 1, "%016" PRIx64, hash);
}
