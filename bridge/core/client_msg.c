#include "core/client_msg.h"
#include "core/json_scan.h"

/* The top-level keys that the bridge reads; none may stand there twice. */
#define FIELDS(X)                                                                                                      \
    X (type)                                                                                                           \
    X (id)                                                                                                             \
    X (message_id)                                                                                                     \
    X (token)                                                                                                          \
    X (traceparent)

enum field {
#define FIELD_ENUM(name) FIELD_##name,
    FIELDS (FIELD_ENUM)
#undef FIELD_ENUM
    FIELD_COUNT
};

/* Whole values as they stand in the message; p is NULL where there is none. */
struct found {
    struct slice value[FIELD_COUNT];
    bool object; /* the message is one */
    bool twice;
};

/* What tells the two forms of a message apart once it has been scanned. */
struct form {
    struct slice (*name_of) (struct slice text, char room[JSON_NAME_MAX]); /* what a string's raw text says */
    bool (*string_of) (struct slice value, struct slice *text);            /* false when the value is no string */
};

static enum field field_of (struct slice key)
{
#define FIELD_IS(name)                                                                                                 \
    if (slice_is (key, #name))                                                                                         \
        return FIELD_##name;
    FIELDS (FIELD_IS)
#undef FIELD_IS
    return FIELD_COUNT;
}

static void note (struct found *found, const struct form *form, struct slice key, struct slice value)
{
    char room[JSON_NAME_MAX];
    enum field field = field_of (form->name_of (key, room));
    if (field == FIELD_COUNT)
        return;
    found->twice |= found->value[field].p != NULL;
    found->value[field] = value;
}

static enum client_msg_kind kind_of (const struct form *form, struct slice type)
{
    static const struct {
        const char *type;
        enum client_msg_kind kind;
    } ours[] = {
        {"ping", CLIENT_MSG_PING},
        {"heartbeat", CLIENT_MSG_HEARTBEAT},
        {"heartbeat_ack", CLIENT_MSG_HEARTBEAT},
        {"refresh_token", CLIENT_MSG_REFRESH_TOKEN},
    };
    char room[JSON_NAME_MAX];
    struct slice name = form->name_of (type, room);
    for (size_t i = 0; i < COUNT_OF (ours); i++)
        if (slice_is (name, ours[i].type))
            return ours[i].kind;
    return CLIENT_MSG_RUNTIME;
}

static struct slice string_or_none (const struct form *form, struct slice value)
{
    struct slice text;
    if (value.p && form->string_of (value, &text))
        return text;
    return slice_of (NULL, 0);
}

static void judge (struct client_msg *self, const struct form *form, const struct found *found)
{
    struct slice type;
    *self = (struct client_msg){.kind = CLIENT_MSG_INVALID};
    if (!found->object || found->twice || !found->value[FIELD_type].p)
        return;
    if (!form->string_of (found->value[FIELD_type], &type))
        return;
    *self = (struct client_msg){
        .kind = kind_of (form, type),
        .type = type,
        .id = found->value[FIELD_id],
        .message_id = found->value[FIELD_message_id],
        .traceparent = string_or_none (form, found->value[FIELD_traceparent]),
    };
    if (self->kind == CLIENT_MSG_REFRESH_TOKEN)
        self->token = string_or_none (form, found->value[FIELD_token]);
}

static bool json_string_of (struct slice value, struct slice *text)
{
    if (value.p[0] != '"')
        return false;
    *text = slice_of (value.p + 1, value.n - 2);
    return true;
}

static const struct form json_form = {json_name, json_string_of};

static bool scan_json_pair (struct slice text, size_t *pos, struct found *found)
{
    struct slice key;
    json_skip_blanks (text, pos);
    if (!json_scan_string (text, pos, &key))
        return false;
    json_skip_blanks (text, pos);
    if (!json_take (text, pos, ':'))
        return false;
    json_skip_blanks (text, pos);
    size_t start = *pos;
    if (!json_skip_value (text, pos, 1))
        return false;
    note (found, &json_form, key, slice_of (text.p + start, *pos - start));
    json_skip_blanks (text, pos);
    return true;
}

/* *pos is behind the opening brace. */
static bool scan_json_object (struct slice text, size_t *pos, struct found *found)
{
    json_skip_blanks (text, pos);
    if (json_take (text, pos, '}'))
        return true;
    do {
        if (!scan_json_pair (text, pos, found))
            return false;
    } while (json_take (text, pos, ','));
    return json_take (text, pos, '}');
}

void client_msg_read_json (struct client_msg *self, struct slice text)
{
    struct found found = {.twice = false};
    size_t pos = 0;
    json_skip_blanks (text, &pos);
    found.object = json_take (text, &pos, '{');
    bool good = found.object ? scan_json_object (text, &pos, &found) : json_skip_value (text, &pos, 0);
    json_skip_blanks (text, &pos);
    if (good && pos == text.n)
        judge (self, &json_form, &found);
    else
        *self = (struct client_msg){.kind = CLIENT_MSG_BAD_SYNTAX};
}

static bool mp_string_of (struct slice value, struct slice *text)
{
    struct mp_token token;
    size_t pos = 0;
    if (mp_read (value, &pos, &token) != MP_OK || token.kind != MP_STR)
        return false;
    *text = token.bytes;
    return true;
}

static struct slice mp_name (struct slice text, UNUSED char room[JSON_NAME_MAX])
{
    return text;
}

static const struct form mp_form = {mp_name, mp_string_of};

static bool scan_mp_pair (struct slice bytes, size_t *pos, struct found *found)
{
    struct slice key;
    size_t start = *pos;
    if (mp_skip_inside (bytes, pos, 1) != MP_OK)
        return false;
    size_t middle = *pos;
    if (mp_skip_inside (bytes, pos, 1) != MP_OK)
        return false;
    if (mp_string_of (slice_of (bytes.p + start, middle - start), &key))
        note (found, &mp_form, key, slice_of (bytes.p + middle, *pos - middle));
    return true;
}

/* The whole message; false when it is not exactly one value. */
static bool scan_mp (struct slice bytes, struct found *found)
{
    struct mp_token head;
    size_t pos = 0;
    if (mp_read (bytes, &pos, &head) != MP_OK || head.kind != MP_MAP)
        return mp_check (bytes) == MP_OK;
    found->object = true;
    for (uint32_t i = 0; i < head.count; i++)
        if (!scan_mp_pair (bytes, &pos, found))
            return false;
    return pos == bytes.n;
}

void client_msg_read_msgpack (struct client_msg *self, struct slice bytes)
{
    struct found found = {.twice = false};
    if (scan_mp (bytes, &found))
        judge (self, &mp_form, &found);
    else
        *self = (struct client_msg){.kind = CLIENT_MSG_BAD_SYNTAX};
}
