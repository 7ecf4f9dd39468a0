#include "core/trace.h"

#include <stddef.h>
#include <string.h>

#define VERSION_00_LEN 55

static bool is_hex (struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!strchr ("0123456789abcdef", text.p[i]) || !text.p[i])
            return false;
    return true;
}

static bool is_zero (struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] != '0')
            return false;
    return true;
}

static bool is_printable (struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '!' || text.p[i] > '~')
            return false;
    return true;
}

/* 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 */
bool traceparent_valid (struct slice text)
{
    if (text.n < VERSION_00_LEN || text.n > TRACEPARENT_MAX)
        return false;
    struct slice version = slice_of (text.p, 2), trace = slice_of (text.p + 3, 32);
    struct slice parent = slice_of (text.p + 36, 16), flags = slice_of (text.p + 53, 2);
    if (text.p[2] != '-' || text.p[35] != '-' || text.p[52] != '-')
        return false;
    if (!is_hex (version) || !is_hex (trace) || !is_hex (parent) || !is_hex (flags) || slice_is (version, "ff"))
        return false;
    if (text.n > VERSION_00_LEN && (is_zero (version) || text.p[VERSION_00_LEN] != '-'))
        return false;
    return !is_zero (trace) && !is_zero (parent) && is_printable (text);
}
