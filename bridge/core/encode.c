#include "core/encode.h"
#include "core/mp_json.h"

struct msg *encode_event (struct buf *scratch, enum form form, const struct event *event, uint64_t offset)
{
    struct slice payload = event->bytes; /* raw: as the runtime sent it */
    buf_reset (scratch);
    if (form == FORM_JSON)
        mp_json_write_event (scratch, event->bytes, offset);
    else if (form == FORM_MSGPACK)
        mp_write_event (scratch, event->bytes, offset);
    if (scratch->failed)
        return NULL;
    if (form != FORM_RAW)
        payload = buf_slice (scratch);
    struct msg *msg = msg_new (form == FORM_JSON ? WS_TEXT : WS_BINARY, payload);
    if (msg) {
        msg->type = event->type;
        msg->timestamp = event->timestamp;
    }
    return msg;
}
