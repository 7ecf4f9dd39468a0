/* WebSocket subprotocols and the form of frames that each stands for (tbl/subprotocols.h). */
#ifndef CORE_SUBPROTOCOL_H
#define CORE_SUBPROTOCOL_H

#include "base/slice.h"

enum form {
    FORM_JSON,
    FORM_MSGPACK,
    FORM_RAW,
    FORM_COUNT
};

enum subprotocol {
#define SUBPROTOCOL(symbol, token, form) SUBPROTOCOL_##symbol,
#include "tbl/subprotocols.h"
#undef SUBPROTOCOL
    SUBPROTOCOL_COUNT,
    SUBPROTOCOL_NONE = SUBPROTOCOL_COUNT
};

const char *subprotocol_token (enum subprotocol self);
enum form subprotocol_form (enum subprotocol self);

/* SUBPROTOCOL_NONE when the bridge does not speak it. Tokens are case-sensitive (RFC 6455 section 4.1). */
enum subprotocol subprotocol_of (struct slice token);

#endif
