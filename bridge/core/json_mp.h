/* A jansson tree as MessagePack. */
#ifndef CORE_JSON_MP_H
#define CORE_JSON_MP_H

#include "core/mp.h"

#include <jansson.h>

/* What lies deeper than MP_MAX_DEPTH becomes nil. */
void json_mp_put (msgpack_packer *out, const json_t *value);

#endif
