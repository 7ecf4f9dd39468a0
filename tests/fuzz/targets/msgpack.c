/* MessagePack to JSON, events in both forms, and events that merge (core/mp_json.c, event.c, merge.c): what comes out
 * is always valid JSON and UTF-8, both forms say the same, and only the bridge's keys begin with `_`.
 *
 * The first byte says what follows: a value, an event, or two events that may merge. */
#include "base/utf8.h"
#include "core/encode.h"
#include "core/merge.h"
#include "core/mp_json.h"
#include "input.h"
#include "json.h"

#define USER   "alice"
#define OFFSET UINT64_C (7)

static void expect_json (const struct buf *text)
{
    struct slice bytes = buf_slice (text);
    CHECK (!text->failed && utf8_valid (bytes));
    json_t *tree = json_tree (bytes, 0);
    CHECK (tree);
    json_decref (tree);
}

static void try_value (struct slice bytes)
{
    struct buf out;
    if (mp_check (bytes) != MP_OK)
        return;
    buf_init (&out, 0);
    mp_json_write (&out, bytes);
    expect_json (&out);
    buf_fini (&out);
}

/* The only key of the bridge is `_offset`, which comes last. */
static void expect_event (struct slice text, bool offset)
{
    const char *key;
    json_t *value, *tree = json_tree (text, 0);
    CHECK (json_is_object (tree));
    json_object_foreach (tree, key, value)
        CHECK (key[0] != '_' || (offset && strcmp (key, "_offset") == 0 && json_integer_value (value) == OFFSET));
    CHECK (offset == (json_object_get (tree, "_offset") != NULL));
    json_decref (tree);
}

/* Both are taken. */
static void expect_same (struct buf *json, struct buf *packed, bool offset)
{
    struct buf other;
    CHECK (!packed->failed && mp_check (buf_slice (packed)) == MP_OK);
    expect_json (json);
    expect_event (buf_slice (json), offset);
    buf_init (&other, 0);
    mp_json_write (&other, buf_slice (packed));
    CHECK (slice_eq (buf_slice (json), buf_slice (&other)));
    buf_fini (&other);
    buf_fini (json);
    buf_fini (packed);
}

static void try_event (struct slice bytes)
{
    struct event event;
    struct buf json, packed;
    if (event_parse (&event, bytes, slice_str (USER)) != DROP_NONE)
        return;
    for (uint64_t offset = 0; offset <= OFFSET; offset += OFFSET) {
        buf_init (&json, 0);
        buf_init (&packed, 0);
        mp_json_write_event (&json, bytes, offset);
        mp_write_event (&packed, bytes, offset);
        expect_same (&json, &packed, offset > 0);
    }
}

static struct slice payload (const struct msg *msg)
{
    size_t head = msg->bytes[1] < 126 ? 2 : msg->bytes[1] == 126 ? 4 : 10;
    return slice_of (msg->bytes + head, msg->n - head);
}

/* What has merged says the same in both forms. */
static void expect_merged (const struct merge *merge)
{
    struct buf scratch, json, packed;
    buf_init (&scratch, 0);
    buf_init (&json, 0);
    buf_init (&packed, 0);
    struct msg *text = merge_encode (merge, &scratch, FORM_JSON),
               *binary = merge_encode (merge, &scratch, FORM_MSGPACK);
    CHECK (text && binary && text->bytes[0] == (0x80 | WS_TEXT) && binary->bytes[0] == (0x80 | WS_BINARY));
    buf_put (&json, payload (text).p, payload (text).n);
    buf_put (&packed, payload (binary).p, payload (binary).n);
    expect_same (&json, &packed, true);
    msg_unref (&text);
    msg_unref (&binary);
    buf_fini (&scratch);
}

static void try_merge (struct slice first, struct slice second)
{
    struct event one, two;
    if (event_parse (&one, first, slice_str (USER)) != DROP_NONE ||
        event_parse (&two, second, slice_str (USER)) != DROP_NONE || !merge_suits (&one) || !merge_suits (&two))
        return;
    struct merge *merge = merge_new (&one, 1);
    CHECK (merge);
    if (merge_takes (merge, &two, 4096)) {
        CHECK (merge_add (merge, &two, OFFSET));
        CHECK (merge->text.n == one.delta.n + two.delta.n);
        expect_merged (merge);
    }
    merge_destroy (&merge);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct slice rest = slice_of (data, size);
    switch (input_byte (&rest) % 3) {
    case 0:
        try_value (rest);
        break;
    case 1:
        try_event (rest);
        break;
    default: {
        struct slice first = input_piece (&rest);
        try_merge (first, rest);
        piece_free (first);
    }
    }
    return 0;
}
