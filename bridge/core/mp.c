#include "core/mp.h"

/* The formats 0xc0 to 0xdf: what they are, how many bytes of number follow, and the number where none
 * follows. */
struct format {
    enum mp_kind kind;
    uint8_t width;
    uint8_t fixed;
};

static const struct format formats[32] = {
    [0x00] = {MP_NIL, 0, 0},   [0x02] = {MP_BOOL, 0, 0},    [0x03] = {MP_BOOL, 0, 1},    [0x04] = {MP_BIN, 1, 0},
    [0x05] = {MP_BIN, 2, 0},   [0x06] = {MP_BIN, 4, 0},     [0x07] = {MP_EXT, 1, 0},     [0x08] = {MP_EXT, 2, 0},
    [0x09] = {MP_EXT, 4, 0},   [0x0a] = {MP_FLOAT32, 4, 0}, [0x0b] = {MP_FLOAT64, 8, 0}, [0x0c] = {MP_UINT, 1, 0},
    [0x0d] = {MP_UINT, 2, 0},  [0x0e] = {MP_UINT, 4, 0},    [0x0f] = {MP_UINT, 8, 0},    [0x10] = {MP_INT, 1, 0},
    [0x11] = {MP_INT, 2, 0},   [0x12] = {MP_INT, 4, 0},     [0x13] = {MP_INT, 8, 0},     [0x14] = {MP_EXT, 0, 1},
    [0x15] = {MP_EXT, 0, 2},   [0x16] = {MP_EXT, 0, 4},     [0x17] = {MP_EXT, 0, 8},     [0x18] = {MP_EXT, 0, 16},
    [0x19] = {MP_STR, 1, 0},   [0x1a] = {MP_STR, 2, 0},     [0x1b] = {MP_STR, 4, 0},     [0x1c] = {MP_ARRAY, 2, 0},
    [0x1d] = {MP_ARRAY, 4, 0}, [0x1e] = {MP_MAP, 2, 0},     [0x1f] = {MP_MAP, 4, 0},
};

/* The kind of a token and its number: a value, a length or a count. */
struct head {
    enum mp_kind kind;
    uint64_t number;
};

/* Two's complement of `width` bytes widened to 64 bit. */
static uint64_t sign_extend (uint64_t value, size_t width)
{
    uint64_t sign = UINT64_C (1) << (width * 8 - 1);
    return (value ^ sign) - sign;
}

static enum mp_status read_wide_head (struct slice bytes, size_t *at, uint8_t first, struct head *head)
{
    const struct format *format = &formats[first - 0xc0];
    if (first == 0xc1 || format->width > bytes.n - *at)
        return MP_MALFORMED;
    head->kind = format->kind;
    head->number = format->width ? mp_big_endian (bytes.p + *at, format->width) : format->fixed;
    if (format->kind == MP_INT)
        head->number = sign_extend (head->number, format->width);
    *at += format->width;
    return MP_OK;
}

static enum mp_status read_head (struct slice bytes, size_t *at, struct head *head)
{
    if (*at >= bytes.n)
        return MP_MALFORMED;
    uint8_t first = (uint8_t) bytes.p[(*at)++];
    if ((first & 0xe0) == 0xc0)
        return read_wide_head (bytes, at, first, head);
    if (first < 0x80)
        *head = (struct head){MP_UINT, first};
    else if (first < 0x90)
        *head = (struct head){MP_MAP, first & 0x0f};
    else if (first < 0xa0)
        *head = (struct head){MP_ARRAY, first & 0x0f};
    else if (first < 0xc0)
        *head = (struct head){MP_STR, first & 0x1f};
    else
        *head = (struct head){MP_INT, sign_extend (first, 1)};
    return MP_OK;
}

static enum mp_status take_bytes (struct slice bytes, size_t *at, uint64_t n, struct mp_token *token)
{
    if (n > bytes.n - *at)
        return MP_MALFORMED;
    token->bytes = slice_of (bytes.p + *at, (size_t) n);
    *at += (size_t) n;
    return MP_OK;
}

static enum mp_status take_ext (struct slice bytes, size_t *at, uint64_t n, struct mp_token *token)
{
    if (*at >= bytes.n)
        return MP_MALFORMED;
    token->ext_type = (int8_t) bytes.p[(*at)++];
    return take_bytes (bytes, at, n, token);
}

static enum mp_status take_count (size_t left, uint64_t count, struct mp_token *token)
{
    uint64_t items = token->kind == MP_MAP ? count * 2 : count;
    token->count = (uint32_t) count;
    return items > left ? MP_MALFORMED : MP_OK;
}

static double float_of_bits (uint64_t bits)
{
    float value;
    uint32_t narrow = (uint32_t) bits;
    memcpy (&value, &narrow, sizeof value);
    return (double) value;
}

static double double_of_bits (uint64_t bits)
{
    double value;
    memcpy (&value, &bits, sizeof value);
    return value;
}

static void set_int (struct mp_token *token, uint64_t number)
{
    token->i = (int64_t) number;
    if (token->i >= 0)
        token->kind = MP_UINT;
}

static enum mp_status read_body (struct slice bytes, size_t *at, const struct head *head, struct mp_token *token)
{
    switch (head->kind) {
    case MP_NIL:
    case MP_UINT:
        token->u = head->number;
        return MP_OK;
    case MP_BOOL:
        token->b = head->number != 0;
        return MP_OK;
    case MP_INT:
        set_int (token, head->number);
        return MP_OK;
    case MP_FLOAT32:
        token->d = float_of_bits (head->number);
        return MP_OK;
    case MP_FLOAT64:
        token->d = double_of_bits (head->number);
        return MP_OK;
    case MP_STR:
    case MP_BIN:
        return take_bytes (bytes, at, head->number, token);
    case MP_EXT:
        return take_ext (bytes, at, head->number, token);
    case MP_ARRAY:
    case MP_MAP:
        return take_count (bytes.n - *at, head->number, token);
    }
    return MP_MALFORMED;
}

enum mp_status mp_read_any (struct slice bytes, size_t *pos, struct mp_token *token)
{
    struct head head;
    size_t at = *pos;
    if (read_head (bytes, &at, &head) != MP_OK)
        return MP_MALFORMED;
    token->kind = head.kind;
    enum mp_status status = read_body (bytes, &at, &head, token);
    if (status == MP_OK)
        *pos = at;
    return status;
}

enum mp_status mp_skip_inside (struct slice bytes, size_t *pos, unsigned outer)
{
    uint64_t left[MP_MAX_DEPTH]; /* items to come, of each container that is open */
    unsigned depth = 0;
    size_t at = *pos;
    do {
        struct mp_token token;
        if (mp_read (bytes, &at, &token) != MP_OK)
            return MP_MALFORMED;
        if (depth)
            left[depth - 1]--;
        if (mp_is_container (&token)) {
            if (outer + depth >= MP_MAX_DEPTH)
                return MP_TOO_DEEP;
            left[depth++] = token.kind == MP_MAP ? (uint64_t) token.count * 2 : token.count;
        }
        while (depth && left[depth - 1] == 0)
            depth--;
    } while (depth);
    *pos = at;
    return MP_OK;
}

enum mp_status mp_skip (struct slice bytes, size_t *pos)
{
    return mp_skip_inside (bytes, pos, 0);
}

enum mp_status mp_check (struct slice bytes)
{
    size_t pos = 0;
    enum mp_status status = mp_skip (bytes, &pos);
    if (status == MP_OK && pos != bytes.n)
        return MP_MALFORMED;
    return status;
}

bool mp_map_get (struct slice map, const char *key, struct mp_token *value)
{
    struct slice wanted = slice_str (key);
    struct mp_token head, name, token;
    size_t pos = 0;
    bool found = false;
    if (mp_read (map, &pos, &head) != MP_OK || head.kind != MP_MAP)
        return false;
    for (uint32_t i = 0; i < head.count; i++) {
        if (mp_read_whole (map, &pos, 1, &name) != MP_OK || mp_read_whole (map, &pos, 1, &token) != MP_OK)
            return false;
        if (name.kind == MP_STR && slice_eq (name.bytes, wanted)) {
            *value = token;
            found = true;
        }
    }
    return found;
}

bool mp_map_get_str (struct slice map, const char *key, struct slice *value)
{
    struct mp_token token;
    if (!mp_map_get (map, key, &token) || token.kind != MP_STR)
        return false;
    *value = token.bytes;
    return true;
}

bool mp_map_get_uint (struct slice map, const char *key, uint64_t *value)
{
    struct mp_token token;
    if (!mp_map_get (map, key, &token) || token.kind != MP_UINT)
        return false;
    *value = token.u;
    return true;
}

static int append (void *out, const char *bytes, size_t n)
{
    buf_put (out, bytes, n);
    return ((struct buf *) out)->failed ? -1 : 0;
}

void mp_writer_init (msgpack_packer *self, struct buf *out)
{
    msgpack_packer_init (self, out, append);
}

/* msgpack-c cuts lengths down to 32 bit without a word. */
static bool length_fits (msgpack_packer *self, size_t n)
{
    if (n <= UINT32_MAX)
        return true;
    ((struct buf *) self->data)->failed = true;
    return false;
}

void mp_put_str (msgpack_packer *self, struct slice s)
{
    if (length_fits (self, s.n) && msgpack_pack_str (self, s.n) == 0)
        msgpack_pack_str_body (self, s.p, s.n);
}

void mp_put_cstr (msgpack_packer *self, const char *s)
{
    mp_put_str (self, slice_str (s));
}

void mp_put_bin (msgpack_packer *self, struct slice s)
{
    if (length_fits (self, s.n) && msgpack_pack_bin (self, s.n) == 0)
        msgpack_pack_bin_body (self, s.p, s.n);
}

void mp_put_uint (msgpack_packer *self, uint64_t value)
{
    msgpack_pack_uint64 (self, value);
}

void mp_put_int (msgpack_packer *self, int64_t value)
{
    msgpack_pack_int64 (self, value);
}

void mp_put_double (msgpack_packer *self, double value)
{
    msgpack_pack_double (self, value);
}

void mp_put_bool (msgpack_packer *self, bool value)
{
    if (value)
        msgpack_pack_true (self);
    else
        msgpack_pack_false (self);
}

void mp_put_nil (msgpack_packer *self)
{
    msgpack_pack_nil (self);
}

void mp_put_map (msgpack_packer *self, uint32_t pairs)
{
    msgpack_pack_map (self, pairs);
}

void mp_put_array (msgpack_packer *self, uint32_t items)
{
    msgpack_pack_array (self, items);
}
