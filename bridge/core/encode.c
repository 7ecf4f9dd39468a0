#include "core/encode.h"
#include "core/mp_json.h"

static struct msg *frame (enum form form, const struct event *event, struct slice payload)
{
    struct msg *msg = msg_new (form == FORM_JSON ? WS_TEXT : WS_BINARY, payload);
    if (msg) {
        msg->type = event->type;
        msg->timestamp = event->timestamp;
    }
    return msg;
}

struct msg *encode_event (struct buf *scratch, enum form form, const struct event *event, uint64_t offset)
{
    if (form == FORM_RAW)
        return frame (form, event, event->bytes); /* as the runtime sent it */
    buf_reset (scratch);
    if (form == FORM_JSON)
        (event->synthetic ? mp_json_write_own : mp_json_write_event) (scratch, event->bytes, offset);
    else
        (event->synthetic ? mp_write_own : mp_write_event) (scratch, event->bytes, offset);
    return scratch->failed ? NULL : frame (form, event, buf_slice (scratch));
}

struct msg *encode_merged (struct buf *scratch, enum form form, const struct event *event, uint64_t offset,
                           struct slice delta)
{
    CHECK (form != FORM_RAW);
    buf_reset (scratch);
    if (form == FORM_JSON)
        mp_json_write_merged (scratch, event->bytes, offset, delta);
    else
        mp_write_merged (scratch, event->bytes, offset, delta);
    return scratch->failed ? NULL : frame (form, event, buf_slice (scratch));
}
