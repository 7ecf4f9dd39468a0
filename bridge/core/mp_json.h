/* MessagePack to JSON (RFC 8259), by the conversion rules of proto/README.md:
 *   str        string; bytes that are not UTF-8 become U+FFFD (a browser must never be closed with 1007 for them)
 *   bin        string, base64 with padding (RFC 4648 section 4)
 *   int        digits in full, up to 64 bit
 *   float      the fewest digits that read back as the same double, always with `.` or `e`; NaN and infinities are null
 *   timestamp  (ext -1, 32, 64 and 96 bit) RFC 3339 string in UTC with as many fraction digits as needed (0, 3, 6, 9);
 *              outside the years 0001 to 9999 or with nanoseconds >= 1e9: like any other ext
 *   other ext  {"_ext":type,"data":base64}
 *   map keys   what becomes a JSON string (str, bin, timestamp) is that string, everything else its own JSON text in a
 *              string. An array, map or ext that is a key inside four keys already: base64 of its MessagePack bytes,
 * since quotes inside quotes double with every level The output has no blanks, is always valid JSON and always UTF-8.
 */
#ifndef CORE_MP_JSON_H
#define CORE_MP_JSON_H

#include "core/mp.h"

/* Append `value` (one value that mp_check() has accepted) as JSON. */
void mp_json_write (struct buf *out, struct slice value);

/* The same for an event: a top-level map. Top-level string keys that begin with `_` are left out, and
 * `"_offset":offset` is added at the end unless `offset` is 0. */
void mp_json_write_event (struct buf *out, struct slice event, uint64_t offset);

/* The MessagePack form of the same: keys with `_` left out, `_offset` added. */
void mp_write_event (struct buf *out, struct slice event, uint64_t offset);

/* Both with `delta` as the value of the top-level key `delta`. An event that has the key more than once gets it once,
 * one that has none gets none. */
void mp_json_write_merged (struct buf *out, struct slice event, uint64_t offset, struct slice delta);
void mp_write_merged (struct buf *out, struct slice event, uint64_t offset, struct slice delta);

/* Both for an event that the bridge has made: its keys with `_` stay. */
void mp_json_write_own (struct buf *out, struct slice event, uint64_t offset);
void mp_write_own (struct buf *out, struct slice event, uint64_t offset);

/* Append a JSON string with quotes; what is not UTF-8 becomes U+FFFD. */
void json_write_string (struct buf *out, struct slice text);

/* Append decimal digits; at least `width` (20 at most) of them. */
void json_write_digits (struct buf *out, uint64_t value, size_t width);

#endif
