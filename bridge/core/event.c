#include "core/event.h"

#include <math.h>

/* The keys that the bridge reads. Those before `thread_id` decide who gets the event: they must not stand
 * there twice. */
#define FIELDS(X)                                                                                                      \
    X (type)                                                                                                           \
    X (user_id)                                                                                                        \
    X (connection_id)                                                                                                  \
    X (run_id)                                                                                                         \
    X (thread_id)                                                                                                      \
    X (agent_name)                                                                                                     \
    X (tool_name)                                                                                                      \
    X (execution_id)                                                                                                   \
    X (delta)                                                                                                          \
    X (timestamp)

enum field {
#define FIELD_ENUM(name) FIELD_##name,
    FIELDS (FIELD_ENUM)
#undef FIELD_ENUM
    FIELD_COUNT
};

/* What one pass over the map has found. */
struct found {
    struct mp_token value[FIELD_COUNT]; /* of those that were seen */
    bool seen[FIELD_COUNT];
    bool twice; /* a routing field */
    bool reserved;
};

static enum field field_of (struct slice key)
{
    /* Constants, so that mostly the length alone decides. */
#define FIELD_IS(name)                                                                                                 \
    if (slice_is (key, #name))                                                                                         \
        return FIELD_##name;
    FIELDS (FIELD_IS)
#undef FIELD_IS
    return FIELD_COUNT;
}

static void note (struct found *found, const struct mp_token *key, const struct mp_token *value)
{
    if (key->kind != MP_STR)
        return;
    found->reserved |= key->bytes.n > 0 && key->bytes.p[0] == '_';
    enum field field = field_of (key->bytes);
    if (field == FIELD_COUNT)
        return;
    if (field < FIELD_thread_id && found->seen[field]) {
        found->twice = true;
        return;
    }
    found->seen[field] = true;
    found->value[field] = *value;
}

static enum mp_status scan (struct slice bytes, struct found *found)
{
    struct mp_token head, key, value;
    size_t pos = 0;
    memset (found->seen, 0, sizeof found->seen); /* the values are read only where this says so */
    found->twice = found->reserved = false;
    if (mp_read (bytes, &pos, &head) != MP_OK || head.kind != MP_MAP)
        return mp_check (bytes) == MP_TOO_DEEP ? MP_TOO_DEEP : MP_MALFORMED;
    for (uint32_t i = 0; i < head.count; i++) {
        enum mp_status status = mp_read_whole (bytes, &pos, 1, &key);
        if (status == MP_OK)
            status = mp_read_whole (bytes, &pos, 1, &value);
        if (status != MP_OK)
            return status;
        note (found, &key, &value);
    }
    return pos == bytes.n ? MP_OK : MP_MALFORMED;
}

/* MP_NIL when it is not there. */
static enum mp_kind kind_of (const struct found *found, enum field field)
{
    return found->seen[field] ? found->value[field].kind : MP_NIL;
}

static struct slice text_of (const struct found *found, enum field field)
{
    return kind_of (found, field) == MP_STR ? found->value[field].bytes : slice_of (NULL, 0);
}

static bool foreign (const struct found *found, struct slice user)
{
    if (!found->seen[FIELD_user_id])
        return false;
    return found->value[FIELD_user_id].kind != MP_STR || !slice_eq (found->value[FIELD_user_id].bytes, user);
}

static bool bad_connection (const struct found *found)
{
    enum mp_kind kind = kind_of (found, FIELD_connection_id);
    return kind != MP_STR && kind != MP_NIL;
}

static enum drop_reason judge (const struct found *found, struct slice user)
{
    if (text_of (found, FIELD_type).n == 0)
        return DROP_NO_TYPE;
    if (found->twice)
        return DROP_DUPLICATE_KEY;
    if (foreign (found, user))
        return DROP_ISOLATION;
    return bad_connection (found) ? DROP_MALFORMED : DROP_NONE;
}

static double seconds_of (const struct found *found)
{
    const struct mp_token *value = &found->value[FIELD_timestamp];
    switch (kind_of (found, FIELD_timestamp)) {
    case MP_UINT:
        return (double) value->u;
    case MP_INT:
        return (double) value->i;
    case MP_FLOAT32:
    case MP_FLOAT64:
        return isfinite (value->d) ? value->d : 0;
    default:
        return 0;
    }
}

static bool odd_delta (const struct found *found)
{
    enum mp_kind kind = kind_of (found, FIELD_delta);
    return kind != MP_STR && kind != MP_NIL;
}

static void fill (struct event *self, struct slice bytes, const struct found *found)
{
    *self = (struct event){
        .bytes = bytes,
        .type_name = text_of (found, FIELD_type),
        .connection_id = text_of (found, FIELD_connection_id),
        .run_id = text_of (found, FIELD_run_id),
        .thread_id = text_of (found, FIELD_thread_id),
        .agent_name = text_of (found, FIELD_agent_name),
        .tool_name = text_of (found, FIELD_tool_name),
        .execution_id = text_of (found, FIELD_execution_id),
        .delta = text_of (found, FIELD_delta),
        .timestamp = seconds_of (found),
        .has_delta = kind_of (found, FIELD_delta) == MP_STR,
        .odd_delta = odd_delta (found),
        .has_reserved = found->reserved,
    };
    self->type = event_type_of (self->type_name);
}

enum drop_reason event_parse (struct event *self, struct slice bytes, struct slice user)
{
    struct found found;
    *self = (struct event){.bytes = bytes, .type = EVENT_other};
    enum mp_status status = scan (bytes, &found);
    if (status != MP_OK)
        return status == MP_TOO_DEEP ? DROP_TOO_DEEP : DROP_MALFORMED;
    enum drop_reason reason = judge (&found, user);
    if (reason == DROP_NONE)
        fill (self, bytes, &found);
    return reason;
}

enum event_type event_type_of (struct slice name)
{
#define EVENT_TYPE(symbol)                                                                                             \
    if (slice_is (name, #symbol))                                                                                      \
        return EVENT_##symbol;
#include "tbl/event_types.h"
#undef EVENT_TYPE
    return EVENT_other;
}
