/* Writes a small document once for both forms: JSON text or MessagePack. */
#ifndef CORE_DOC_H
#define CORE_DOC_H

#include "core/mp.h"
#include "core/subprotocol.h"

struct doc {
    struct buf *out;
    msgpack_packer packer;
    bool msgpack;
    bool comma; /* JSON: something stands before the next key */
};

/* `form` FORM_MSGPACK writes msgpack, every other JSON. */
void doc_init (struct doc *self, struct buf *out, enum form form);

/* A map of exactly `pairs` pairs; close it with doc_end. As a value it follows doc_key. */
void doc_map (struct doc *self, uint32_t pairs);
void doc_end (struct doc *self);
void doc_key (struct doc *self, const char *key);

/* A list of exactly `items` values, doc_item in front of each; close it with doc_array_end. */
void doc_array (struct doc *self, uint32_t items);
void doc_item (struct doc *self);
void doc_array_end (struct doc *self);

/* Values. */
void doc_str (struct doc *self, struct slice value);
void doc_uint (struct doc *self, uint64_t value);
void doc_double (struct doc *self, double value); /* finite; JSON with six digits after the point */
void doc_bool (struct doc *self, bool value);
void doc_nil (struct doc *self);
void doc_raw (struct doc *self, struct slice value); /* a whole value in this document's own form */

#endif
