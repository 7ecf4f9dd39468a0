/* MessagePack (github.com/msgpack/msgpack/blob/master/spec.md).
 * Reading: our own bounded walk over borrowed bytes. It allocates nothing and trusts no count: a count that the bytes
 * left cannot hold is malformed. Writing: msgpack-c onto a buf. */
#ifndef CORE_MP_H
#define CORE_MP_H

#include "base/buf.h"

#include <msgpack/pack.h>
#include <stdint.h>

#define MP_MAX_DEPTH 64 /* maps and arrays within each other, the outermost counts as 1 */

enum mp_status {
    MP_OK,
    MP_MALFORMED,
    MP_TOO_DEEP
};

enum mp_kind {
    MP_NIL,
    MP_BOOL,
    MP_UINT,
    MP_INT, /* negative */
    MP_FLOAT32,
    MP_FLOAT64,
    MP_STR,
    MP_BIN,
    MP_EXT,
    MP_ARRAY,
    MP_MAP
};

/* One token: a scalar whole, or the head of a container. */
struct mp_token {
    enum mp_kind kind;
    union {
        bool b;
        uint64_t u;
        int64_t i;
        double d;
        struct slice bytes; /* STR, BIN, EXT */
        uint32_t count;     /* ARRAY: items; MAP: pairs */
    };
    int8_t ext_type; /* EXT */
};

/* Read one token at *pos and move behind it. For containers the count is checked against the bytes that are left
 * (one byte per item at least). MP_OK or MP_MALFORMED. */
NODISCARD enum mp_status mp_read (struct slice bytes, size_t *pos, struct mp_token *token);

/* The big-endian number in `width` bytes, 8 at most. */
uint64_t mp_big_endian (const char *p, size_t width);

/* Step over one whole value, containers with everything in them. */
NODISCARD enum mp_status mp_skip (struct slice bytes, size_t *pos);

/* The same for a value that stands inside `outer` containers already: those count for the depth. */
NODISCARD enum mp_status mp_skip_inside (struct slice bytes, size_t *pos, unsigned outer);

/* Is this exactly one whole well-formed value of allowed depth, with nothing behind it? */
NODISCARD enum mp_status mp_check (struct slice bytes);

/* The value of a string key in a top-level map that mp_check() has accepted; false when there is none.
 * The last one counts when the key stands there twice. */
NODISCARD bool mp_map_get (struct slice map, const char *key, struct mp_token *value);

/* Shorthands of mp_map_get for headers: false when absent or of another kind. */
NODISCARD bool mp_map_get_str (struct slice map, const char *key, struct slice *value);
NODISCARD bool mp_map_get_uint (struct slice map, const char *key, uint64_t *value);

/* A packer that appends to `out`; errors stick in `out`. */
void mp_writer_init (msgpack_packer *self, struct buf *out);
void mp_put_str (msgpack_packer *self, struct slice s);
void mp_put_cstr (msgpack_packer *self, const char *s);
void mp_put_bin (msgpack_packer *self, struct slice s);
void mp_put_uint (msgpack_packer *self, uint64_t value);
void mp_put_int (msgpack_packer *self, int64_t value);
void mp_put_double (msgpack_packer *self, double value);
void mp_put_bool (msgpack_packer *self, bool value);
void mp_put_nil (msgpack_packer *self);
void mp_put_map (msgpack_packer *self, uint32_t pairs);
void mp_put_array (msgpack_packer *self, uint32_t items);

/* Does it begin like a map? */
static inline bool mp_is_map (struct slice bytes)
{
    uint8_t first = bytes.n ? (uint8_t) bytes.p[0] : 0;
    return (first & 0xF0) == 0x80 || first == 0xDE || first == 0xDF;
}

#endif
