/* MessagePack (github.com/msgpack/msgpack/blob/master/spec.md).
 * Reading: a bounded walk over borrowed bytes that allocates nothing and trusts no count: one that the bytes left
 * cannot hold is malformed. Writing: msgpack-c onto a buffer whose error sticks. */
#ifndef ABR_MP_H
#define ABR_MP_H

#include <msgpack/pack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABR_MP_MAX_DEPTH 64 /* maps and arrays within each other, the outermost counts as 1 */

/* Borrowed bytes. */
struct abr_bytes {
    const char *p;
    size_t n;
};

struct abr_bytes abr_bytes_of (const char *text);
bool abr_bytes_eq (struct abr_bytes self, const char *text);

/* A growable buffer; a failure sticks until abr_buf_reset(). All zeros is an empty one. */
struct abr_buf {
    char *p; /* owned */
    size_t n, cap;
    bool failed;
};

void abr_buf_fini (struct abr_buf *self);
void abr_buf_reset (struct abr_buf *self);
void abr_buf_put (struct abr_buf *self, const void *bytes, size_t n);

enum abr_mp_kind {
    ABR_MP_NIL,
    ABR_MP_BOOL,
    ABR_MP_UINT,
    ABR_MP_INT, /* negative */
    ABR_MP_FLOAT,
    ABR_MP_STR,
    ABR_MP_BIN,
    ABR_MP_EXT,
    ABR_MP_ARRAY,
    ABR_MP_MAP
};

/* A scalar whole, or the head of a container. */
struct abr_mp_token {
    enum abr_mp_kind kind;
    union {
        bool b;
        uint64_t u;
        int64_t i;
        double d;
        uint64_t count;         /* ARRAY: items; MAP: pairs */
        struct abr_bytes bytes; /* STR, BIN, EXT */
    } v;
};

/* Read one token at *pos and move behind it; false when it is malformed. */
bool abr_mp_read (struct abr_bytes bytes, size_t *pos, struct abr_mp_token *token);

/* Step over one whole value that stands inside `outer` containers; false when it is malformed or too deep. */
bool abr_mp_skip (struct abr_bytes bytes, size_t *pos, unsigned outer);

/* Is this exactly one well-formed value, inside `outer` containers, with nothing behind it? */
bool abr_mp_check (struct abr_bytes bytes, unsigned outer);

/* Of a map that abr_mp_check() has accepted: the bytes of the value of this key, the last one when it stands there
 * twice; p NULL when there is none. */
struct abr_bytes abr_mp_get (struct abr_bytes map, const char *key);

/* The same, read; false when absent or of another kind. */
bool abr_mp_get_str (struct abr_bytes map, const char *key, struct abr_bytes *value);
bool abr_mp_get_uint (struct abr_bytes map, const char *key, uint64_t *value);
bool abr_mp_get_bool (struct abr_bytes map, const char *key);
double abr_mp_get_number (struct abr_bytes map, const char *key); /* 0 when there is none */

/* A packer that appends to `out`. msgpack-c cuts lengths to 32 bits without a word; these fail instead. */
void abr_mp_writer (msgpack_packer *self, struct abr_buf *out);
void abr_mp_put_str (msgpack_packer *self, const char *text, size_t n);
void abr_mp_put_cstr (msgpack_packer *self, const char *text);
void abr_mp_put_bin (msgpack_packer *self, const void *data, size_t n);

#endif
