#include "core/doc.h"
#include "core/mp_json.h"

#include <math.h>

#define SECONDS_MAX 4294967296.0 /* year 2106 */

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
        json_write_digits (self->out, value, 1);
    self->comma = true;
}

/* Times since 1970 need none of what the C library does for a double: their fraction is a short one, whose product with
 * 1e6 is exact. */
static void write_six_digits (struct buf *out, double value)
{
    if (!(value >= 0 && value < SECONDS_MAX)) {
        buf_printf (out, "%.6f", value);
        return;
    }
    uint64_t whole = (uint64_t) value;
    uint64_t micros = (uint64_t) llrint ((value - (double) whole) * 1e6);
    json_write_digits (out, whole + micros / 1000000, 1);
    buf_putc (out, '.');
    json_write_digits (out, micros % 1000000, 6);
}

void doc_double (struct doc *self, double value)
{
    if (self->msgpack)
        mp_put_double (&self->packer, value);
    else
        write_six_digits (self->out, value);
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
