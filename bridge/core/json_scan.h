/* A strict scanner of JSON text (RFC 8259): it steps over values, builds nothing, allocates nothing, does not
 * recurse. Strings must be UTF-8; a lone surrogate escape is syntax and passes. Every function moves *pos
 * only over what it has found good. */
#ifndef CORE_JSON_SCAN_H
#define CORE_JSON_SCAN_H

#include "base/check.h"
#include "base/slice.h"

#define JSON_MAX_DEPTH 64 /* objects and arrays within each other, the outermost counts as 1 */

/* How many bytes at the start may stand in a JSON string as they are: UTF-8 without `"`, `\` and control
 * characters. */
size_t json_plain_run (struct slice s);

static inline void json_skip_blanks (struct slice text, size_t *pos)
{
    while (*pos < text.n &&
           (text.p[*pos] == ' ' || text.p[*pos] == '\n' || text.p[*pos] == '\r' || text.p[*pos] == '\t'))
        (*pos)++;
}

/* Is `c` next? Then step over it. */
static inline bool json_take (struct slice text, size_t *pos, char c)
{
    if (*pos >= text.n || text.p[*pos] != c)
        return false;
    (*pos)++;
    return true;
}

/* Step over a string; *raw is what stands between the quotes. */
NODISCARD bool json_scan_string (struct slice text, size_t *pos, struct slice *raw);

/* Step over one value, which stands inside `outer` containers already; no blanks before it. */
NODISCARD bool json_skip_value (struct slice text, size_t *pos, unsigned outer);

#define JSON_NAME_MAX 16

/* What a string says whose raw text json_scan_string() has found, to be compared with ASCII names: escapes are undone
 * into `room`; with more than JSON_NAME_MAX characters then it is empty, and anything outside ASCII comes as '?'. */
struct slice json_name (struct slice raw, char room[JSON_NAME_MAX]);

#endif
