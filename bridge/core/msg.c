#include "core/msg.h"

static size_t write_header (uint8_t *out, enum ws_opcode opcode, size_t n)
{
    size_t length_bytes = n < 126 ? 0 : n < 65536 ? 2 : 8;
    out[0] = (uint8_t) (0x80 | opcode);
    out[1] = (uint8_t) (length_bytes == 0 ? n : length_bytes == 2 ? 126 : 127);
    for (size_t i = 0; i < length_bytes; i++)
        out[2 + i] = (uint8_t) (n >> (8 * (length_bytes - 1 - i)));
    return 2 + length_bytes;
}

struct msg *msg_new (enum ws_opcode opcode, struct slice payload)
{
    uint8_t header[10];
    if (payload.n > UINT32_MAX - sizeof header)
        return NULL;
    size_t header_n = write_header (header, opcode, payload.n);
    struct msg *self = malloc (sizeof *self + header_n + payload.n);
    if (!self)
        return NULL;
    *self = (struct msg){.refs = 1, .n = (uint32_t) (header_n + payload.n), .type = EVENT_TYPE_COUNT};
    memcpy (self->bytes, header, header_n);
    slice_copy (self->bytes + header_n, payload);
    return self;
}

void msg_unref (struct msg **self_p)
{
    struct msg *self = *self_p;
    *self_p = NULL;
    if (self && --self->refs == 0)
        free (self);
}
