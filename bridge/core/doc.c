#include "core/doc.h"
#include "core/mp_json.h"

#include <inttypes.h>

void doc_init (struct doc *self, struct buf *out, enum form form)
{
    *self = (struct doc){.out = out, .msgpack = form == FORM_MSGPACK};
    mp_writer_init (&self->packer, out);
}

void doc_map (struct doc *self, uint32_t pairs)
{
    if (self->msgpack)
        mp_put_map (&self->packer, pairs);
    else
        buf_putc (self->out, '{');
    self->comma = false;
}

void doc_end (struct doc *self)
{
    if (!self->msgpack)
        buf_putc (self->out, '}');
    self->comma = true;
}

void doc_array (struct doc *self, uint32_t items)
{
    if (self->msgpack)
        mp_put_array (&self->packer, items);
    else
        buf_putc (self->out, '[');
    self->comma = false;
}

void doc_item (struct doc *self)
{
    if (!self->msgpack && self->comma)
        buf_putc (self->out, ',');
}

void doc_array_end (struct doc *self)
{
    if (!self->msgpack)
        buf_putc (self->out, ']');
    self->comma = true;
}

void doc_key (struct doc *self, const char *key)
{
    if (!self->msgpack && self->comma)
        buf_putc (self->out, ',');
    doc_str (self, slice_str (key));
    if (!self->msgpack)
        buf_putc (self->out, ':');
}

void doc_str (struct doc *self, struct slice value)
{
    if (self->msgpack)
        mp_put_str (&self->packer, value);
    else
        json_write_string (self->out, value);
    self->comma = true;
}

void doc_uint (struct doc *self, uint64_t value)
{
    if (self->msgpack)
        mp_put_uint (&self->packer, value);
    else
        buf_printf (self->out, "%" PRIu64, value);
    self->comma = true;
}

void doc_double (struct doc *self, double value)
{
    if (self->msgpack)
        mp_put_double (&self->packer, value);
    else
        buf_printf (self->out, "%.6f", value);
    self->comma = true;
}

void doc_bool (struct doc *self, bool value)
{
    if (self->msgpack)
        mp_put_bool (&self->packer, value);
    else
        buf_puts (self->out, value ? "true" : "false");
    self->comma = true;
}

void doc_nil (struct doc *self)
{
    if (self->msgpack)
        mp_put_nil (&self->packer);
    else
        buf_puts (self->out, "null");
    self->comma = true;
}

void doc_raw (struct doc *self, struct slice value)
{
    buf_put (self->out, value.p, value.n);
    self->comma = true;
}
