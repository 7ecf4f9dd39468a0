#include "core/json_mp.h"

static void put_value (msgpack_packer *out, const json_t *value, int depth);

static void put_object (msgpack_packer *out, const json_t *object, int depth)
{
    const char *key;
    json_t *value;
    mp_put_map (out, (uint32_t) json_object_size (object));
    json_object_foreach ((json_t *) object, key, value)
    {
        mp_put_cstr (out, key);
        put_value (out, value, depth + 1);
    }
}

static void put_array (msgpack_packer *out, const json_t *array, int depth)
{
    size_t n = json_array_size (array);
    mp_put_array (out, (uint32_t) n);
    for (size_t i = 0; i < n; i++)
        put_value (out, json_array_get (array, i), depth + 1);
}

static void put_value (msgpack_packer *out, const json_t *value, int depth)
{
    if (depth > MP_MAX_DEPTH) {
        mp_put_nil (out);
        return;
    }
    switch (json_typeof (value)) {
    case JSON_OBJECT:
        put_object (out, value, depth);
        return;
    case JSON_ARRAY:
        put_array (out, value, depth);
        return;
    case JSON_STRING:
        mp_put_str (out, slice_of (json_string_value (value), json_string_length (value)));
        return;
    case JSON_INTEGER:
        mp_put_int (out, json_integer_value (value));
        return;
    case JSON_REAL:
        mp_put_double (out, json_real_value (value));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        mp_put_bool (out, json_is_true (value));
        return;
    case JSON_NULL:
        mp_put_nil (out);
    }
}

void json_mp_put (msgpack_packer *out, const json_t *value)
{
    put_value (out, value, 1);
}
