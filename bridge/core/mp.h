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

static inline bool mp_is_container (const struct mp_token *token)
{
    return token->kind == MP_ARRAY || token->kind == MP_MAP;
}

/* The big-endian number in 1, 2, 4 or 8 bytes; compilers make one load of it. */
static inline uint64_t mp_big_endian (const char *p, size_t width)
{
    const uint8_t *b = (const uint8_t *) p;
    uint32_t high;
    switch (width) {
    case 1:
        return b[0];
    case 2:
        return (uint64_t) b[0] << 8 | b[1];
    default:
        high = (uint32_t) b[0] << 24 | (uint32_t) b[1] << 16 | (uint32_t) b[2] << 8 | b[3];
        return width == 4 ? high : (uint64_t) high << 32 | mp_big_endian (p + 4, 4);
    }
}

/* mp_read() of every format. */
NODISCARD enum mp_status mp_read_any (struct slice bytes, size_t *pos, struct mp_token *token);

/* Read one token at *pos and move behind it. For containers the count is checked against the bytes that are left
 * (one byte per item at least). MP_OK or MP_MALFORMED. */
NODISCARD static inline enum mp_status mp_read (struct slice bytes, size_t *pos, struct mp_token *token)
{
    size_t at = *pos;
    uint8_t first = at < bytes.n ? (uint8_t) bytes.p[at] : 0;
    size_t n = first & 0x1f;
    /* Most tokens are short strings: keys. */
    if ((first & 0xe0) != 0xa0 || n >= bytes.n - at)
        return mp_read_any (bytes, pos, token);
    token->kind = MP_STR;
    token->bytes = slice_of (bytes.p + at + 1, n);
    *pos = at + 1 + n;
    return MP_OK;
}

/* Step over one whole value, containers with everything in them. */
NODISCARD enum mp_status mp_skip (struct slice bytes, size_t *pos);

/* The same for a value that stands inside `outer` containers already: those count for the depth. */
NODISCARD enum mp_status mp_skip_inside (struct slice bytes, size_t *pos, unsigned outer);

/* Read the token at *pos and step over the whole value that it begins, which stands inside `outer` containers. */
NODISCARD static inline enum mp_status mp_read_whole (struct slice bytes, size_t *pos, unsigned outer,
                                                      struct mp_token *token)
{
    size_t at = *pos;
    enum mp_status status = mp_read (bytes, &at, token);
    if (status == MP_OK && mp_is_container (token))
        return mp_skip_inside (bytes, pos, outer);
    if (status == MP_OK)
        *pos = at;
    return status;
}

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
