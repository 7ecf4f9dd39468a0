/* Events as MessagePack: the library's fields, those of the call, the caller's. */
#include "internal.h"

#include <string.h>

#define MAX_FIELDS 1000 /* of one list: a list without its end is found before it does much harm */

static const char *const always_reserved[] = {"type", "user_id", "event_id", "timestamp", NULL};
static const char *const run_reserved[] = {"run_id", "thread_id", "agent_name", NULL};

static bool is_listed (const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcmp (*names, name) == 0)
            return true;
    return false;
}

static bool has_name (const abr_field_t *fields, const abr_field_t *end, const char *name)
{
    for (; fields && fields != end && fields->type != ABR_TYPE_END; fields++)
        if (strcmp (fields->name, name) == 0)
            return true;
    return false;
}

static int check_name (abr_t *self, const char *name)
{
    if (!name || !*name)
        return abr_failed (self, EINVAL, "a field of an event or map has no name");
    if (!abr_utf8 (abr_bytes_of (name)))
        return abr_failed (self, EINVAL, "the name of a field is not UTF-8");
    return 0;
}

/* The caller's own names. */
static int check_more (abr_t *self, const abr_field_t *own, const abr_field_t *more, bool in_run)
{
    for (const abr_field_t *field = more; field && field->type != ABR_TYPE_END; field++) {
        if (check_name (self, field->name) != 0)
            return -1;
        if (field->name[0] == '_')
            return abr_failed (self, EINVAL, "field \"%.64s\": names that begin with _ belong to the bridge",
                               field->name);
        if (is_listed (always_reserved, field->name) || (in_run && is_listed (run_reserved, field->name)))
            return abr_failed (self, EINVAL, "field \"%.64s\" is set by the library; leave it out", field->name);
        if (strcmp (field->name, "connection_id") == 0 && field->type != ABR_TYPE_STR)
            return abr_failed (self, EINVAL, "field \"connection_id\" is a string: abr_conn_id()");
        if (has_name (own, NULL, field->name))
            return abr_failed (self, EINVAL, "field \"%.64s\" is set by this call; leave it out", field->name);
        if (has_name (more, field, field->name))
            return abr_failed (self, EINVAL, "field \"%.64s\" is there twice", field->name);
    }
    return 0;
}

static int count (abr_t *self, const abr_field_t *fields, size_t *n)
{
    for (; fields && fields->type != ABR_TYPE_END; fields++)
        if (++*n > MAX_FIELDS)
            return abr_failed (self, EINVAL,
                               "more than %d fields in one list, or no abr_end() behind them; larger ones go in "
                               "as abr_packed()",
                               MAX_FIELDS);
    return 0;
}

static int pack_value (abr_t *self, msgpack_packer *packer, const abr_field_t *field, unsigned depth);

/* `depth`: containers around the fields. */
static int pack_fields (abr_t *self, msgpack_packer *packer, const abr_field_t *fields, bool named, unsigned depth)
{
    for (; fields && fields->type != ABR_TYPE_END; fields++) {
        if (named && check_name (self, fields->name) != 0)
            return -1;
        if (named)
            abr_mp_put_cstr (packer, fields->name);
        if (pack_value (self, packer, fields, depth) != 0)
            return -1;
    }
    return 0;
}

static int pack_list (abr_t *self, msgpack_packer *packer, const abr_field_t *field, unsigned depth)
{
    size_t n = 0;
    if (depth >= ABR_MP_MAX_DEPTH)
        return abr_failed (self, EINVAL, "an event is nested more than %d deep", ABR_MP_MAX_DEPTH);
    if (count (self, field->value.fields, &n) != 0)
        return -1;
    if (field->type == ABR_TYPE_MAP)
        msgpack_pack_map (packer, n);
    else
        msgpack_pack_array (packer, n);
    return pack_fields (self, packer, field->value.fields, field->type == ABR_TYPE_MAP, depth + 1);
}

static int pack_packed (abr_t *self, const abr_field_t *field, unsigned depth)
{
    struct abr_bytes bytes = {field->value.data, field->size};
    if (!bytes.p || !abr_mp_check (bytes, depth))
        return abr_failed (self, EINVAL, "field \"%.64s\" is not exactly one MessagePack value of at most %d levels",
                           field->name ? field->name : "", ABR_MP_MAX_DEPTH);
    abr_buf_put (&self->event, bytes.p, bytes.n);
    return 0;
}

static int pack_bytes (abr_t *self, msgpack_packer *packer, const abr_field_t *field)
{
    if (!field->value.data && field->size)
        return abr_failed (self, EINVAL, "field \"%.64s\" has a size, but no bytes", field->name ? field->name : "");
    if (field->type == ABR_TYPE_STR)
        abr_mp_put_str (packer, field->value.data, field->size);
    else
        abr_mp_put_bin (packer, field->value.data, field->size);
    return 0;
}

static int pack_value (abr_t *self, msgpack_packer *packer, const abr_field_t *field, unsigned depth)
{
    switch (field->type) {
    case ABR_TYPE_NIL:
        return msgpack_pack_nil (packer), 0;
    case ABR_TYPE_BOOL:
        return field->value.b ? (msgpack_pack_true (packer), 0) : (msgpack_pack_false (packer), 0);
    case ABR_TYPE_INT:
        return msgpack_pack_int64 (packer, field->value.i), 0;
    case ABR_TYPE_UINT:
        return msgpack_pack_uint64 (packer, field->value.u), 0;
    case ABR_TYPE_FLOAT:
        return msgpack_pack_double (packer, field->value.d), 0;
    case ABR_TYPE_STR:
    case ABR_TYPE_BIN:
        return pack_bytes (self, packer, field);
    case ABR_TYPE_MAP:
    case ABR_TYPE_ARRAY:
        return pack_list (self, packer, field, depth);
    case ABR_TYPE_PACKED:
        return pack_packed (self, field, depth);
    default:
        return abr_failed (self, EINVAL, "field \"%.64s\" is of no known type", field->name ? field->name : "");
    }
}

static int check_made (abr_t *self)
{
    if (self->event.failed)
        return abr_failed (self, ENOMEM, "no memory for an event");
    if (self->event.n > self->options.max_event)
        return abr_failed (self, EMSGSIZE, "the event has %zu bytes, more than the %zu of abr_set_max_event_bytes()",
                           self->event.n, self->options.max_event);
    return 0;
}

int abr_compose (abr_t *self, const abr_field_t *base, const abr_field_t *own, const abr_field_t *more, bool in_run)
{
    const abr_field_t *lists[] = {base, own, more};
    msgpack_packer packer;
    size_t n = 0;
    for (size_t i = 0; i < 3; i++)
        if (count (self, lists[i], &n) != 0)
            return -1;
    if (check_more (self, own, more, in_run) != 0)
        return -1;
    abr_buf_reset (&self->event);
    abr_mp_writer (&packer, &self->event);
    msgpack_pack_map (&packer, n);
    for (size_t i = 0; i < 3; i++)
        if (pack_fields (self, &packer, lists[i], true, 1) != 0)
            return -1;
    return check_made (self);
}
