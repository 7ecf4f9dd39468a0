/* What a client sends (core/client_msg.c): the JSON reader must agree with jansson, the MessagePack reader with
 * mp_check and mp_map_get, on what is a message and on the fields that the bridge acts on. */
#include "core/client_msg.h"
#include "input.h"
#include "json.h"

static enum client_msg_kind kind_named (const char *type)
{
    if (strcmp (type, "ping") == 0)
        return CLIENT_MSG_PING;
    if (strcmp (type, "heartbeat") == 0 || strcmp (type, "heartbeat_ack") == 0)
        return CLIENT_MSG_HEARTBEAT;
    return strcmp (type, "refresh_token") == 0 ? CLIENT_MSG_REFRESH_TOKEN : CLIENT_MSG_RUNTIME;
}

/* --- JSON ---------------------------------------------------------------------------------------------------- */

/* A whole value as it stood in the message. */
static void expect_value (struct slice raw, const json_t *wanted)
{
    json_t *value = raw.p ? json_tree (raw, 0) : NULL;
    CHECK ((value != NULL) == (wanted != NULL));
    CHECK (!value || json_equal (value, wanted));
    json_decref (value);
}

/* What stood between the quotes; nothing when the member is no string. */
static void expect_string (struct slice raw, const json_t *wanted)
{
    struct buf quoted;
    CHECK ((raw.p != NULL) == json_is_string (wanted));
    if (!raw.p)
        return;
    buf_init (&quoted, 0);
    buf_putc (&quoted, '"');
    buf_put (&quoted, raw.p, raw.n);
    buf_putc (&quoted, '"');
    expect_value (buf_slice (&quoted), wanted);
    buf_fini (&quoted);
}

static void expect_fields (const struct client_msg *msg, const json_t *tree)
{
    const json_t *type = json_object_get (tree, "type");
    CHECK (json_is_string (type) && msg->kind == kind_named (json_string_value (type)));
    expect_string (msg->type, type);
    expect_string (msg->traceparent, json_object_get (tree, "traceparent"));
    expect_value (msg->id, json_object_get (tree, "id"));
    expect_value (msg->message_id, json_object_get (tree, "message_id"));
    if (msg->kind == CLIENT_MSG_REFRESH_TOKEN)
        expect_string (msg->token, json_object_get (tree, "token"));
    else
        CHECK (!msg->token.p);
}

static void expect_invalid (struct slice text, const json_t *tree)
{
    json_t *unique = json_tree (text, JSON_REJECT_DUPLICATES);
    CHECK (!unique || !json_is_string (json_object_get (tree, "type")));
    json_decref (unique);
}

static void try_json (struct slice text)
{
    struct client_msg msg;
    json_t *tree = json_tree (text, 0);
    client_msg_read_json (&msg, text);
    if (msg.kind == CLIENT_MSG_BAD_SYNTAX)
        CHECK (!tree || json_depth (tree) > MP_MAX_DEPTH);
    else {
        CHECK (tree && json_depth (tree) <= MP_MAX_DEPTH);
        if (msg.kind == CLIENT_MSG_INVALID)
            expect_invalid (text, tree);
        else
            expect_fields (&msg, tree);
    }
    json_decref (tree);
}

/* --- MessagePack --------------------------------------------------------------------------------------------- */

static bool same_text (struct slice bytes, const char *key, struct slice got)
{
    struct slice wanted;
    return mp_map_get_str (bytes, key, &wanted) ? got.p && slice_eq (wanted, got) : !got.p;
}

static void try_msgpack (struct slice bytes)
{
    struct client_msg msg;
    struct slice type;
    client_msg_read_msgpack (&msg, bytes);
    CHECK ((msg.kind == CLIENT_MSG_BAD_SYNTAX) == (mp_check (bytes) != MP_OK));
    if (msg.kind == CLIENT_MSG_BAD_SYNTAX || msg.kind == CLIENT_MSG_INVALID)
        return;
    CHECK (mp_is_map (bytes) && mp_map_get_str (bytes, "type", &type) && slice_eq (type, msg.type));
    char *name = text_of (type);
    CHECK (strlen (name) != type.n || msg.kind == kind_named (name));
    free (name);
    CHECK (same_text (bytes, "traceparent", msg.traceparent));
    CHECK (!msg.id.p || mp_check (msg.id) == MP_OK);
    CHECK (!msg.message_id.p || mp_check (msg.message_id) == MP_OK);
    CHECK (msg.kind != CLIENT_MSG_REFRESH_TOKEN || same_text (bytes, "token", msg.token));
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    try_json (slice_of (data, size));
    try_msgpack (slice_of (data, size));
    return 0;
}
