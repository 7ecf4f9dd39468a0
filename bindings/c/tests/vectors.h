/* proto/vectors: cases as JSON, values as fields, bytes as bytes. Everything lives until vectors_free(). */
#ifndef VECTORS_H
#define VECTORS_H

#include "fixture.h"

#include <jansson.h>
#include <math.h>
#include <msgpack/sbuffer.h>
#include <stdlib.h>

static json_t *vectors_root;
static struct {
    void *p[4096];
    size_t n;
} vectors_memory;

static inline void *vectors_alloc (size_t n)
{
    assert_true (vectors_memory.n < COUNT_OF (vectors_memory.p));
    void *p = calloc (1, n ? n : 1);
    assert_non_null (p);
    return vectors_memory.p[vectors_memory.n++] = p;
}

static inline json_t *vectors_load (const char *file)
{
    char path[512];
    json_error_t error;
    snprintf (path, sizeof path, VECTORS "/%s", file);
    vectors_root = json_load_file (path, JSON_ALLOW_NUL, &error);
    if (!vectors_root || json_array_size (vectors_root) < 20)
        fail_msg ("%s: %s", path, error.text);
    return vectors_root;
}

static inline void vectors_free (void)
{
    json_decref (vectors_root);
    while (vectors_memory.n)
        free (vectors_memory.p[--vectors_memory.n]);
}

static inline struct abr_bytes from_hex (const char *hex)
{
    size_t n = strlen (hex) / 2;
    char *bytes = vectors_alloc (n);
    for (size_t i = 0; i < n; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (char) strtoul (digits, NULL, 16);
    }
    return (struct abr_bytes){bytes, n};
}

static inline const char *text_of (const json_t *object, const char *key)
{
    const char *text = json_string_value (json_object_get (object, key));
    if (!text)
        fail_msg ("no %s", key);
    return text;
}

/* The frames of a case; how many. */
static inline size_t frames_of (const json_t *vector, struct abr_bytes frames[8])
{
    const json_t *list = json_object_get (vector, "frames");
    size_t n = json_array_size (list);
    assert_true (n <= 8);
    for (size_t i = 0; i < n; i++)
        frames[i] = from_hex (json_string_value (json_array_get (list, i)));
    return n;
}

/* A value that a field has no type for is packed by msgpack-c. */
static inline abr_field_t packed (const char *name, const json_t *value);

static inline abr_field_t integer (const char *name, const char *digits)
{
    return *digits == '-' ? abr_int (name, strtoll (digits, NULL, 10)) : abr_uint (name, strtoull (digits, NULL, 10));
}

static inline abr_field_t special (const char *name, const char *tag, const json_t *value)
{
    struct abr_bytes bytes = json_is_string (value) ? from_hex (json_string_value (value)) : (struct abr_bytes){0};
    if (strcmp (tag, "$bin") == 0)
        return abr_bin (name, bytes.p, bytes.n);
    if (strcmp (tag, "$str") == 0)
        return abr_strn (name, bytes.p, bytes.n);
    if (strcmp (tag, "$float") == 0)
        return abr_float (name, strcmp (json_string_value (value), "NaN") ? strtod (json_string_value (value), NULL)
                                                                          : (double) NAN);
    if (strcmp (tag, "$int") == 0)
        return integer (name, json_string_value (value));
    return packed (name, value);
}

static inline const abr_field_t *fields_of (const json_t *value);

static inline abr_field_t field_of (const char *name, const json_t *value)
{
    const char *key = json_is_object (value) ? json_object_iter_key (json_object_iter ((json_t *) value)) : NULL;
    if (key && key[0] == '$')
        return special (name, key, json_object_get (value, key));
    switch (json_typeof (value)) {
    case JSON_NULL:
        return abr_nil (name);
    case JSON_TRUE:
    case JSON_FALSE:
        return abr_bool (name, json_is_true (value));
    case JSON_INTEGER:
        return abr_int (name, json_integer_value (value));
    case JSON_REAL:
        return abr_float (name, json_real_value (value));
    case JSON_STRING:
        return abr_strn (name, json_string_value (value), json_string_length (value));
    case JSON_ARRAY:
        return abr_array (name, fields_of (value));
    default:
        return abr_map (name, fields_of (value));
    }
}

/* The members of an object or the elements of an array. */
static inline const abr_field_t *fields_of (const json_t *value)
{
    size_t n = 0, size = json_is_array (value) ? json_array_size (value) : json_object_size (value);
    abr_field_t *fields = vectors_alloc ((size + 1) * sizeof *fields);
    const char *key;
    json_t *member;
    if (json_is_array (value))
        for (; n < size; n++)
            fields[n] = field_of (NULL, json_array_get (value, n));
    else
        json_object_foreach ((json_t *) value, key, member)
        {
            fields[n++] = field_of (key, member);
        }
    fields[n] = abr_end ();
    return fields;
}

static inline void pack_json (msgpack_packer *packer, const json_t *value)
{
    if (json_is_string (value)) {
        msgpack_pack_str (packer, json_string_length (value));
        msgpack_pack_str_body (packer, json_string_value (value), json_string_length (value));
    } else if (json_is_integer (value))
        msgpack_pack_int64 (packer, json_integer_value (value));
    else if (json_is_real (value))
        msgpack_pack_double (packer, json_real_value (value));
    else if (json_is_boolean (value))
        json_is_true (value) ? msgpack_pack_true (packer) : msgpack_pack_false (packer);
    else if (json_is_null (value))
        msgpack_pack_nil (packer);
    else
        fail_msg ("a kind that this test does not know");
}

/* The argument of $map ([[key, value], …]) or $ext ([type, hex]). */
static inline abr_field_t packed (const char *name, const json_t *value)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init (&buffer);
    msgpack_packer_init (&packer, &buffer, msgpack_sbuffer_write);
    if (json_array_size (value) == 2 && json_is_integer (json_array_get (value, 0))) {
        struct abr_bytes bytes = from_hex (json_string_value (json_array_get (value, 1)));
        msgpack_pack_ext (&packer, bytes.n, (int8_t) json_integer_value (json_array_get (value, 0)));
        msgpack_pack_ext_body (&packer, bytes.p, bytes.n);
    } else {
        msgpack_pack_map (&packer, json_array_size (value));
        for (size_t i = 0; i < json_array_size (value); i++)
            for (size_t part = 0; part < 2; part++)
                pack_json (&packer, json_array_get (json_array_get (value, i), part));
    }
    char *bytes = vectors_alloc (buffer.size);
    memcpy (bytes, buffer.data, buffer.size);
    abr_field_t field = abr_packed (name, bytes, buffer.size);
    msgpack_sbuffer_destroy (&buffer);
    return field;
}

#endif
