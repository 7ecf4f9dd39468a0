/* What a client sent, read once without a tree: is it valid, and the few fields the bridge acts on. */
#ifndef CORE_CLIENT_MSG_H
#define CORE_CLIENT_MSG_H

#include "core/mp.h"

enum client_msg_kind {
    CLIENT_MSG_RUNTIME,       /* for the runtime, byte for byte */
    CLIENT_MSG_PING,          /* {"type":"ping"} */
    CLIENT_MSG_HEARTBEAT,     /* "heartbeat" or "heartbeat_ack" */
    CLIENT_MSG_REFRESH_TOKEN, /* "refresh_token" */
    CLIENT_MSG_BAD_SYNTAX,    /* not JSON (RFC 8259) / not exactly one msgpack value, or nested deeper than 64 */
    CLIENT_MSG_INVALID        /* not an object, no string `type`, or one of the fields below twice */
};

/* Slices borrow from the message. They are the raw text between the quotes (JSON escapes not undone), empty when
 * absent. */
struct client_msg {
    enum client_msg_kind kind;
    struct slice type;
    struct slice id;         /* top-level `id` as it stands in the message: a whole JSON or msgpack value of any kind */
    struct slice message_id; /* top-level `message_id`, likewise a whole value */
    struct slice token;      /* string `token`; looked at for refresh_token only */
    struct slice traceparent; /* string `traceparent` */
};

/* JSON text. `type` with escapes in it is compared undone ("p\u0069ng" is a ping). Walks without recursion deeper than
 * 64 and allocates nothing. */
void client_msg_read_json (struct client_msg *self, struct slice text);

/* One msgpack map. */
void client_msg_read_msgpack (struct client_msg *self, struct slice bytes);

#endif
