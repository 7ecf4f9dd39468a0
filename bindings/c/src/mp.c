#include "mp.h"

#include <stdlib.h>
#include <string.h>

/* --- bytes --------------------------------------------------------------------------------------------------- */

struct abr_bytes abr_bytes_of (const char *text)
{
    return (struct abr_bytes){text, strlen (text)};
}

bool abr_bytes_eq (struct abr_bytes self, const char *text)
{
    return self.n == strlen (text) && memcmp (self.p, text, self.n) == 0;
}

void abr_buf_fini (struct abr_buf *self)
{
    free (self->p);
    *self = (struct abr_buf){0};
}

void abr_buf_reset (struct abr_buf *self)
{
    self->n = 0;
    self->failed = false;
}

static bool grow (struct abr_buf *self, size_t more)
{
    size_t cap = self->cap ? self->cap : 256;
    while (cap - self->n < more) {
        if (cap > SIZE_MAX / 2)
            return false;
        cap *= 2;
    }
    char *p = realloc (self->p, cap);
    if (!p)
        return false;
    self->p = p;
    self->cap = cap;
    return true;
}

void abr_buf_put (struct abr_buf *self, const void *bytes, size_t n)
{
    if (self->failed || n == 0)
        return;
    if (self->cap - self->n < n && !grow (self, n)) {
        self->failed = true;
        return;
    }
    memcpy (self->p + self->n, bytes, n);
    self->n += n;
}

/* --- reading ------------------------------------------------------------------------------------------------- */

/* The formats 0xc0 to 0xdf: what they are, how many bytes of number follow, and the number where none follows. */
static const struct {
    enum abr_mp_kind kind;
    uint8_t width;
    uint8_t fixed;
} formats[32] = {
    {ABR_MP_NIL, 0, 0},   {ABR_MP_NIL, 0, 0},   {ABR_MP_BOOL, 0, 0}, {ABR_MP_BOOL, 0, 1},  {ABR_MP_BIN, 1, 0},
    {ABR_MP_BIN, 2, 0},   {ABR_MP_BIN, 4, 0},   {ABR_MP_EXT, 1, 0},  {ABR_MP_EXT, 2, 0},   {ABR_MP_EXT, 4, 0},
    {ABR_MP_FLOAT, 4, 0}, {ABR_MP_FLOAT, 8, 0}, {ABR_MP_UINT, 1, 0}, {ABR_MP_UINT, 2, 0},  {ABR_MP_UINT, 4, 0},
    {ABR_MP_UINT, 8, 0},  {ABR_MP_INT, 1, 0},   {ABR_MP_INT, 2, 0},  {ABR_MP_INT, 4, 0},   {ABR_MP_INT, 8, 0},
    {ABR_MP_EXT, 0, 1},   {ABR_MP_EXT, 0, 2},   {ABR_MP_EXT, 0, 4},  {ABR_MP_EXT, 0, 8},   {ABR_MP_EXT, 0, 16},
    {ABR_MP_STR, 1, 0},   {ABR_MP_STR, 2, 0},   {ABR_MP_STR, 4, 0},  {ABR_MP_ARRAY, 2, 0}, {ABR_MP_ARRAY, 4, 0},
    {ABR_MP_MAP, 2, 0},   {ABR_MP_MAP, 4, 0},
};

static uint64_t sign_extend (uint64_t value, unsigned width)
{
    uint64_t sign = UINT64_C (1) << (width * 8 - 1);
    return (value ^ sign) - sign;
}

static bool read_number (struct abr_bytes bytes, size_t *at, unsigned width, uint64_t *number)
{
    if (width > bytes.n - *at)
        return false;
    for (*number = 0; width; width--)
        *number = *number << 8 | (uint8_t) bytes.p[(*at)++];
    return true;
}

/* Kind and number: a value, a length or a count. */
static bool read_head (struct abr_bytes bytes, size_t *at, struct abr_mp_token *token, uint64_t *number,
                       unsigned *width)
{
    if (*at >= bytes.n)
        return false;
    uint8_t first = (uint8_t) bytes.p[(*at)++];
    *width = 1;
    if ((first & 0xe0) == 0xc0) {
        token->kind = formats[first & 0x1f].kind;
        *width = formats[first & 0x1f].width;
        *number = formats[first & 0x1f].fixed;
        return first != 0xc1 && (*width == 0 || read_number (bytes, at, *width, number));
    }
    token->kind = first < 0x80   ? ABR_MP_UINT
                  : first < 0x90 ? ABR_MP_MAP
                  : first < 0xa0 ? ABR_MP_ARRAY
                  : first < 0xc0 ? ABR_MP_STR
                                 : ABR_MP_INT;
    *number = token->kind == ABR_MP_MAP || token->kind == ABR_MP_ARRAY ? first & 0x0f
              : token->kind == ABR_MP_STR                              ? first & 0x1f
                                                                       : first;
    return true;
}

static bool take_bytes (struct abr_bytes bytes, size_t *at, uint64_t n, struct abr_mp_token *token)
{
    if (token->kind == ABR_MP_EXT && (*at)++ >= bytes.n) /* its type */
        return false;
    if (n > bytes.n - *at)
        return false;
    token->v.bytes = (struct abr_bytes){bytes.p + *at, (size_t) n};
    *at += (size_t) n;
    return true;
}

static double double_of (uint64_t bits, unsigned width)
{
    uint32_t narrow = (uint32_t) bits;
    float f;
    double d;
    memcpy (&f, &narrow, sizeof f);
    memcpy (&d, &bits, sizeof d);
    return width == 4 ? (double) f : d;
}

static bool read_value (struct abr_bytes bytes, size_t *at, struct abr_mp_token *token)
{
    uint64_t number;
    unsigned width;
    if (!read_head (bytes, at, token, &number, &width))
        return false;
    switch (token->kind) {
    case ABR_MP_BOOL:
        token->v.b = number != 0;
        return true;
    case ABR_MP_FLOAT:
        token->v.d = double_of (number, width);
        return true;
    case ABR_MP_INT:
        token->v.i = (int64_t) sign_extend (number, width);
        token->kind = token->v.i < 0 ? ABR_MP_INT : ABR_MP_UINT;
        return true;
    case ABR_MP_STR:
    case ABR_MP_BIN:
    case ABR_MP_EXT:
        return take_bytes (bytes, at, number, token);
    case ABR_MP_ARRAY:
    case ABR_MP_MAP:
        token->v.count = number;
        return (token->kind == ABR_MP_MAP ? number * 2 : number) <= bytes.n - *at;
    default:
        token->v.u = number;
        return true;
    }
}

bool abr_mp_read (struct abr_bytes bytes, size_t *pos, struct abr_mp_token *token)
{
    size_t at = *pos;
    if (!read_value (bytes, &at, token))
        return false;
    *pos = at;
    return true;
}

bool abr_mp_skip (struct abr_bytes bytes, size_t *pos, unsigned outer)
{
    uint64_t left[ABR_MP_MAX_DEPTH]; /* items to come, of each container that is open */
    unsigned depth = 0;
    do {
        struct abr_mp_token token;
        if (!abr_mp_read (bytes, pos, &token))
            return false;
        if (depth)
            left[depth - 1]--;
        if (token.kind == ABR_MP_MAP || token.kind == ABR_MP_ARRAY) {
            if (outer + depth >= ABR_MP_MAX_DEPTH)
                return false;
            left[depth++] = token.kind == ABR_MP_MAP ? token.v.count * 2 : token.v.count;
        }
        while (depth && left[depth - 1] == 0)
            depth--;
    } while (depth);
    return true;
}

bool abr_mp_check (struct abr_bytes bytes, unsigned outer)
{
    size_t pos = 0;
    return abr_mp_skip (bytes, &pos, outer) && pos == bytes.n;
}

struct abr_bytes abr_mp_get (struct abr_bytes map, const char *key)
{
    struct abr_bytes found = {NULL, 0};
    struct abr_mp_token head, name;
    size_t pos = 0;
    if (!map.n || !abr_mp_read (map, &pos, &head) || head.kind != ABR_MP_MAP)
        return found;
    for (uint64_t i = 0; i < head.v.count; i++) {
        size_t key_at = pos;
        if (!abr_mp_skip (map, &pos, 1))
            return found;
        size_t value_at = pos;
        if (!abr_mp_read (map, &key_at, &name) || !abr_mp_skip (map, &pos, 1))
            return found;
        if (name.kind == ABR_MP_STR && abr_bytes_eq (name.v.bytes, key))
            found = (struct abr_bytes){map.p + value_at, pos - value_at};
    }
    return found;
}

static bool get_token (struct abr_bytes map, const char *key, struct abr_mp_token *token)
{
    struct abr_bytes value = abr_mp_get (map, key);
    size_t pos = 0;
    return value.p && abr_mp_read (value, &pos, token);
}

bool abr_mp_get_str (struct abr_bytes map, const char *key, struct abr_bytes *value)
{
    struct abr_mp_token token;
    if (!get_token (map, key, &token) || token.kind != ABR_MP_STR)
        return false;
    *value = token.v.bytes;
    return true;
}

bool abr_mp_get_uint (struct abr_bytes map, const char *key, uint64_t *value)
{
    struct abr_mp_token token;
    if (!get_token (map, key, &token) || token.kind != ABR_MP_UINT)
        return false;
    *value = token.v.u;
    return true;
}

bool abr_mp_get_bool (struct abr_bytes map, const char *key)
{
    struct abr_mp_token token;
    return get_token (map, key, &token) && token.kind == ABR_MP_BOOL && token.v.b;
}

double abr_mp_get_number (struct abr_bytes map, const char *key)
{
    struct abr_mp_token token;
    if (!get_token (map, key, &token))
        return 0;
    return token.kind == ABR_MP_FLOAT ? token.v.d : token.kind == ABR_MP_UINT ? (double) token.v.u : 0;
}

/* --- writing ------------------------------------------------------------------------------------------------- */

static int append (void *out, const char *bytes, size_t n)
{
    abr_buf_put (out, bytes, n);
    return ((struct abr_buf *) out)->failed ? -1 : 0;
}

void abr_mp_writer (msgpack_packer *self, struct abr_buf *out)
{
    msgpack_packer_init (self, out, append);
}

static bool length_fits (msgpack_packer *self, size_t n)
{
    if (n <= UINT32_MAX)
        return true;
    ((struct abr_buf *) self->data)->failed = true;
    return false;
}

void abr_mp_put_str (msgpack_packer *self, const char *text, size_t n)
{
    if (length_fits (self, n) && msgpack_pack_str (self, n) == 0)
        msgpack_pack_str_body (self, text, n);
}

void abr_mp_put_cstr (msgpack_packer *self, const char *text)
{
    abr_mp_put_str (self, text, strlen (text));
}

void abr_mp_put_bin (msgpack_packer *self, const void *data, size_t n)
{
    if (length_fits (self, n) && msgpack_pack_bin (self, n) == 0)
        msgpack_pack_bin_body (self, data, n);
}
