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

void json_skip_blanks (struct slice text, size_t *pos);

/* Is `c` next? Then step over it. */
bool json_take (struct slice text, size_t *pos, char c);

/* Step over a string; *raw is what stands between the quotes. */
NODISCARD bool json_scan_string (struct slice text, size_t *pos, struct slice *raw);

/* Step over one value, which stands inside `outer` containers already; no blanks before it. */
NODISCARD bool json_skip_value (struct slice text, size_t *pos, unsigned outer);

/* Does the string whose raw text json_scan_string() has found say `ascii`, once its escapes are undone? */
bool json_string_is (struct slice raw, const char *ascii);

#endif
