/* One WebSocket frame, encoded once and shared by every connection that it goes to (RFC 6455 section 5.2, unmasked).
 * Counted by reference; only the loop's thread touches it. */
#ifndef CORE_MSG_H
#define CORE_MSG_H

#include "base/buf.h"
#include "core/event.h"

enum ws_opcode {
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10
};

struct msg {
    uint32_t refs;
    uint32_t n;           /* bytes of header and payload */
    enum event_type type; /* EVENT_TYPE_COUNT for frames that are no events */
    double timestamp;     /* of the event, Unix seconds; 0 when there is none */
    uint8_t bytes[];
};

/* A frame with this payload and one reference that the caller owns; NULL when memory is out. */
NODISCARD struct msg *msg_new (enum ws_opcode opcode, struct slice payload);

static inline struct msg *msg_ref (struct msg *self)
{
    self->refs++;
    return self;
}

/* Give one reference back; the last one frees. *self_p becomes NULL. */
void msg_unref (struct msg **self_p);

#endif
